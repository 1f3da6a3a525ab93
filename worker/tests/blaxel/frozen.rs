//! Standby: a sandbox is frozen with all that runs in it, and its clock jumps when it wakes up.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use manimq_worker::sandbox::Sandbox;
use manimq_worker::sandbox::blaxel::BlaxelSandbox;

use crate::support::*;

/// About four seconds of drawing, told step by step.
const LONG: &str = "import time\nfor n in range(8):\n    self.play(Create(Square()), run_time=0.2)\n    \
                    print('step', n)\n    time.sleep(0.4)";

/// Renders for longer than its limit of time, most of it frozen. If it `refuses`, requests are answered with
/// `WORKLOAD_UNAVAILABLE` until that time has passed; else the first one wakes it.
async fn frozen_in_the_middle(streams_break: bool, refuses: bool, wall: Duration) {
    let site = Site::new().await;
    let mut sandbox = site.connect().await;
    let keeper = sandbox.keeper().expect("one").to_owned();
    let mut request = constructing(LONG);
    request.limits.wall = wall;
    let machine = site.machine.clone();
    let inside = crate::cloud::Cloud::inside(&machine);
    let begun = Instant::now();
    let freezing = async {
        eventually("it draws", || {
            // Its program has said something of its frames.
            let running = machine.processes.running();
            let name = running.iter().find(|name| name.contains("render"));
            name.is_some_and(|name| machine.processes.said(name) > 1000)
        })
        .await;
        if refuses {
            machine.asleep.store(u32::MAX, Ordering::Relaxed);
        }
        machine.processes.freeze(streams_break);
        if refuses {
            tokio::time::sleep_until((begun + wall).into()).await;
            machine.asleep.store(1, Ordering::Relaxed);
        }
    };
    let ((rendered, events), ()) = tokio::join!(render(&mut sandbox, request), freezing);
    let rendered = rendered.expect("a film");
    let took = begun.elapsed();
    println!("a limit of {wall:?}, took {took:?}");
    assert!(
        took > wall,
        "it was frozen for longer than it had: {took:?}"
    );
    let steps: String = (0..8).map(|n| format!("step {n}\n")).collect();
    assert_eq!(log_of(&events), steps, "nothing twice, nothing lost");
    assert_eq!(rendered.artifacts[0].frames, 24);
    sandbox.reset().await.expect("ready");
    assert_eq!(sandbox.keeper(), Some(keeper.as_str()), "the same renderer");
    assert_eq!(site.place.openings(), 1);
    assert_eq!(
        std::fs::read_dir(inside.join("jobs"))
            .expect("jobs")
            .count(),
        0
    );
    sandbox.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_render_that_is_frozen_for_longer_than_its_limit_goes_on_and_ends_well() {
    frozen_in_the_middle(true, true, Duration::from_secs(15)).await;
}

/// The connection stays and says nothing: found out after 45 s of silence.
#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_hangs_with_its_sandbox_is_given_up_and_the_render_goes_on() {
    // 45 s of silence.
    if std::env::var_os("MANIMQ_SOAK_BLAXEL").is_none() {
        println!("only with MANIMQ_SOAK_BLAXEL=1: a stream that hangs with its sandbox");
        return;
    }
    frozen_in_the_middle(false, false, Duration::from_secs(30)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sandbox_that_slept_between_renders_wakes_up_with_its_renderer() {
    let site = Site::new().await;
    let mut sandbox = site.connect().await;
    let keeper = sandbox.keeper().expect("one").to_owned();
    let alive = crate::cloud::Cloud::inside(&site.machine).join(format!("slots/{keeper}/alive"));
    for refusals in [0, 3] {
        sandbox.reset().await.expect("ready");
        site.machine.asleep.store(refusals, Ordering::Relaxed);
        site.machine.processes.freeze(true);
        // Its clock jumps by an hour, as seen from there: the last sign of life is as old.
        let hour = std::time::SystemTime::now() - Duration::from_secs(3600);
        let file = std::fs::File::options().append(true).open(&alive);
        file.and_then(|file| file.set_modified(hour)).expect("set");
        let rendered = render(&mut sandbox, constructing(SHORT)).await.0;
        rendered.expect("a film");
        assert_eq!(sandbox.keeper(), Some(keeper.as_str()), "{refusals}");
    }
    // Between the render and what tidies up after it.
    site.machine.processes.freeze(true);
    sandbox.reset().await.expect("ready");
    assert_eq!(sandbox.keeper(), Some(keeper.as_str()));
    assert_eq!((site.place.openings(), site.count("jobs")), (1, 0));
    sandbox.close().await;
    eventually("nothing runs", || {
        site.machine.processes.running().is_empty()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sandbox_that_does_not_wake_up_is_lost_within_its_bound_and_connected_again_when_it_does()
{
    // Over a minute of waiting.
    if std::env::var_os("MANIMQ_SOAK_BLAXEL").is_none() {
        println!("only with MANIMQ_SOAK_BLAXEL=1: a sandbox that does not wake up");
        return;
    }
    let site = Site::new().await;
    let mut sandbox = site.connect().await;
    site.machine.processes.freeze(true);
    site.machine.asleep.store(u32::MAX, Ordering::Relaxed);
    let begun = Instant::now();
    let lost = render(&mut sandbox, constructing(SHORT)).await.0;
    assert!(lost.is_err(), "{lost:?}");
    assert!(
        begun.elapsed() < Duration::from_secs(120),
        "{:?}",
        begun.elapsed()
    );
    site.machine.asleep.store(2, Ordering::Relaxed);
    sandbox.reset().await.expect("ready");
    let rendered = render(&mut sandbox, constructing(SHORT)).await.0;
    rendered.expect("a film");
    BlaxelSandbox::close(sandbox).await;
}
