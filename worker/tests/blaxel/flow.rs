//! Whole renders with real Manim inside the counterpart.

use std::time::{Duration, Instant};

use manimq_worker::sandbox::blaxel::BlaxelSandbox;
use manimq_worker::sandbox::{
    ConnectError, Content, FailureClass, RenderError, RenderEvent, Sandbox,
};

use crate::cloud::lock;
use crate::faults::{Fault, What};
use crate::support::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_film_comes_with_progress_and_log_and_nothing_stays_in_the_sandbox() {
    let site = Site::new().await;
    let mut sandbox = site.connect().await;
    let mut request = constructing(
        "print('one ä two')\nself.play(Create(MathTex('x^2')), run_time=0.4)\nprint(stdout_is_not_this := 3)",
    );
    request = of_tenant(request, "acme");
    let (rendered, events) = render(&mut sandbox, request).await;
    let rendered = rendered.expect("a film");
    assert!(
        log_of(&events).contains("one ä two\n3\n"),
        "{}",
        log_of(&events)
    );
    assert!(matches!(events[0], RenderEvent::Started), "{events:?}");
    assert!(
        events
            .iter()
            .any(|event| matches!(event, RenderEvent::Progress(_)))
    );
    assert_eq!(rendered.artifacts[0].name, "video.mp4");
    assert_eq!(rendered.artifacts[0].frames, 6);
    assert_eq!(rendered.usage.formulas_set, 1);
    let Content::There(film) = &rendered.artifacts[0].file else {
        panic!("it is still in the sandbox");
    };
    let file = film.fetch().await.expect("fetched");
    assert_eq!(
        file.metadata().expect("a file").len(),
        rendered.artifacts[0].bytes
    );
    drop(rendered);
    sandbox.reset().await.expect("ready");
    let inside = crate::cloud::Cloud::inside(&site.machine);
    let count = |folder: &str| {
        std::fs::read_dir(inside.join(folder))
            .expect(folder)
            .count()
    };
    assert_eq!(count("jobs"), 0);
    let logs = std::fs::read_dir(site.machine.folder.join("log")).expect("logs");
    let left: Vec<_> = logs.flatten().map(|log| log.file_name()).collect();
    assert!(
        left.iter()
            .all(|name| name.to_string_lossy().contains("keep")),
        "{left:?}"
    );

    // The same tenant's formula is not set again, another one's is.
    for (tenant, set) in [("acme", 0), ("other", 1)] {
        let request = of_tenant(
            constructing("self.add(MathTex('x^2'))\nself.wait(0.2)"),
            tenant,
        );
        let rendered = render(&mut sandbox, request).await.0.expect("a film");
        assert_eq!(rendered.usage.formulas_set, set, "{tenant}");
        sandbox.reset().await.expect("ready");
    }
    assert_eq!(count("tex"), 2);
    sandbox.close().await;
    eventually("nothing runs", || {
        site.machine.processes.running().is_empty()
    })
    .await;
    assert_eq!((count("slots"), count("areas")), (0, 0));
    assert_eq!(site.cloud.count("control GET"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_are_told_at_the_users_line_and_limits_hold() {
    let site = Site::new().await;
    let mut sandbox = site.connect().await;
    let fails = |result: Result<_, RenderError>| match result {
        Err(RenderError::Failed(failure)) => *failure,
        other => panic!("it must fail: {other:?}"),
    };
    let request = constructing("self.wait(1)\nraise ValueError('no')");
    let failure = fails(render(&mut sandbox, request).await.0.map(|_| ()));
    assert_eq!(
        (failure.class, failure.line),
        (FailureClass::SceneError, Some(6))
    );
    sandbox.reset().await.expect("ready");
    let mut request = constructing("while True: pass");
    request.limits.wall = Duration::from_secs(2);
    let failure = fails(render(&mut sandbox, request).await.0.map(|_| ()));
    assert_eq!(failure.class, FailureClass::Timeout);
    sandbox.reset().await.expect("ready");
    let mut request = constructing("while True: print('x' * 1000)");
    request.limits.log_bytes = 300_000;
    let failure = fails(render(&mut sandbox, request).await.0.map(|_| ()));
    assert_eq!(failure.class, FailureClass::OutputLimit);
    sandbox.reset().await.expect("ready");
    render(&mut sandbox, constructing(SHORT))
        .await
        .0
        .expect("a film");
    assert_eq!(
        site.machine.processes.started("manimq-keep"),
        1,
        "one renderer for all"
    );
    sandbox.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scene_in_the_sandbox_reaches_neither_its_api_nor_other_jobs() {
    let site = Site::new().await;
    let mut sandbox = site.connect().await;
    let folder = crate::cloud::Cloud::inside(&site.machine);
    let lines = format!(
        "import os\n\
         found = []\n\
         for name, attempt in [('socket', lambda: __import__('socket').socket()),\n\
         \x20       ('jobs', lambda: os.listdir('{0}/jobs')), ('slots', lambda: os.listdir('{0}/slots')),\n\
         \x20       ('renderer', lambda: open('{0}/users/0').read()), ('fork', os.fork)]:\n\
         \x20   try:\n\
         \x20       attempt(); found.append(name)\n\
         \x20   except OSError: pass\n\
         print('reached:', found, os.getuid() != 0)\n{SHORT}",
        folder.display()
    );
    let (rendered, events) = render(&mut sandbox, constructing(&lines)).await;
    rendered.expect("a film");
    assert!(
        log_of(&events).contains("reached: [] True"),
        "{}",
        log_of(&events)
    );
    sandbox.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_render_is_dead_when_it_returns_and_the_renderer_stays_warm() {
    let site = Site::new().await;
    let mut sandbox = site.connect().await;
    let keeper = sandbox.keeper().expect("one").to_owned();
    let request = constructing("while True: self.play(Create(Square()))");
    let stop = request.stop.clone();
    let cancelling = async {
        eventually("it runs", || {
            !site
                .machine
                .processes
                .running()
                .iter()
                .all(|p| p.contains("keep"))
        })
        .await;
        stop.cancel();
    };
    let ((result, _), ()) = tokio::join!(render(&mut sandbox, request), cancelling);
    assert!(
        matches!(result, Err(RenderError::Interrupted)),
        "{result:?}"
    );
    sandbox.reset().await.expect("ready");
    assert_eq!(sandbox.keeper(), Some(keeper.as_str()));
    assert_eq!(site.machine.processes.running(), [keeper]);
    render(&mut sandbox, constructing(SHORT))
        .await
        .0
        .expect("a film");
    sandbox.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_renders_over_one_sandbox_connect_and_verify_once() {
    let renders: usize = std::env::var("MANIMQ_BLAXEL_RENDERS")
        .map_or(12, |text| text.parse().expect("a number of renders"));
    let site = Site::new().await;
    let slot = |mut sandbox: BlaxelSandbox| async move {
        let mut overheads = Vec::new();
        for _ in 0..renders / 2 {
            sandbox.reset().await.expect("ready");
            let begun = Instant::now();
            let rendered = render(&mut sandbox, constructing(SHORT))
                .await
                .0
                .expect("a film");
            let fetching = rendered.artifacts.iter().map(|artifact| async move {
                if let Content::There(file) = &artifact.file {
                    file.fetch().await.expect("fetched");
                }
            });
            futures_util::future::join_all(fetching).await;
            let timings = rendered.timings;
            let own = timings.prepare_s + timings.render_s + timings.encode_s;
            overheads.push(begun.elapsed().as_secs_f64() - own);
        }
        (sandbox, overheads)
    };
    let (one, two) = (site.connect().await, site.connect().await);
    let ((one, mut all), (two, more)) = tokio::join!(slot(one), slot(two));
    all.extend(more);
    all.sort_by(f64::total_cmp);
    println!(
        "overhead of {} renders apart from Manim: p50 {:.0} ms, worst {:.0} ms",
        all.len(),
        all[all.len() / 2] * 1000.0,
        all[all.len() - 1] * 1000.0
    );
    assert_eq!(site.place.openings(), 1);
    assert_eq!(site.cloud.count("control GET"), 1);
    assert_eq!(site.machine.processes.started("manimq-keep"), 2);
    assert_eq!(one.renders() + two.renders(), 2 + 2 * (renders / 2) as u64);
    one.close().await;
    two.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_connected_says_so_in_the_words_that_people_look_for() {
    let site = Site::new().await;
    let error = |result: Result<BlaxelSandbox, ConnectError>| match result {
        Ok(_) => panic!("it cannot be connected"),
        Err(error) => error.to_string(),
    };
    let connect = || BlaxelSandbox::connect(site.place.clone());
    site.cloud.revoke_key();
    let said = error(connect().await);
    assert!(
        said.starts_with("Authentication required") && said.contains("BLAXEL_API_KEY"),
        "{said}"
    );
    site.cloud.restore_key();
    *lock(&site.machine.status) = "FAILED".into();
    let said = error(connect().await);
    assert!(
        said.starts_with("Custom sandbox verification failed") && said.contains("deploy_sandbox"),
        "{said}"
    );
    *lock(&site.machine.status) = "TERMINATED".into();
    assert!(error(connect().await).starts_with("Sandbox 'manim-sb' not found"));
    site.cloud.delete(NAME);
    let said = error(connect().await);
    assert!(
        said.starts_with("Sandbox 'manim-sb' not found") && said.contains("bl get sandboxes"),
        "{said}"
    );
    let site = Site::with(|config| config.python = Some("/usr/bin/false".into())).await;
    let said = error(BlaxelSandbox::connect(site.place.clone()).await);
    assert!(
        said.starts_with("Custom sandbox verification failed")
            && said.contains("MANIM_SANDBOX_PYTHON"),
        "{said}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fault_at_any_call_of_a_render_is_survived_or_ours_and_the_next_render_works() {
    let site = Site::new().await;
    let mut sandbox = site.connect().await;
    // What is waited out: the render succeeds as if nothing had been.
    for (call, what) in [
        ("write tree", What::Reset),
        ("write tree", What::DoneThenHtml(504)),
        ("start", What::DoneThenHtml(504)),
        ("start", What::TooMany(1)),
        ("stream", What::Reset),
        ("stream", What::Html(502)),
        ("stream", What::Truncated),
        ("read", What::Truncated),
        ("remove", What::Html(503)),
    ] {
        site.cloud.fail(Fault::once(call, what.clone()));
        let rendered = render(&mut sandbox, constructing(SHORT)).await.0;
        let rendered = rendered.unwrap_or_else(|error| panic!("{call} {what:?}: {error}"));
        if let Content::There(file) = &rendered.artifacts[0].file {
            file.fetch().await.expect("fetched");
        }
        sandbox.reset().await.expect("ready");
        assert_eq!(site.cloud.faults_left(), 0, "{call} {what:?}");
    }
    // What is lost: ours, and the next render has a sandbox again.
    for what in [What::NoProcesses, What::Revoked, What::Gone] {
        site.cloud.fail(Fault::once("stream", what.clone()));
        let request = constructing("self.play(Create(Square()), run_time=3)");
        let lost = render(&mut sandbox, request).await.0;
        assert!(
            matches!(lost, Err(RenderError::SandboxLost { .. })),
            "{what:?}: {lost:?}"
        );
        if what == What::Revoked {
            let error = sandbox.reset().await.expect_err("no key");
            assert!(
                error.to_string().starts_with("Authentication required"),
                "{error}"
            );
            site.cloud.restore_key();
        }
        if what == What::Gone {
            let error = sandbox.reset().await.expect_err("no sandbox");
            assert!(
                matches!(error, ConnectError::SandboxNotFound { .. }),
                "{error}"
            );
            site.cloud.deploy(NAME);
        }
        sandbox.reset().await.expect("ready");
        render(&mut sandbox, constructing(SHORT))
            .await
            .0
            .expect("a film");
    }
    sandbox.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_renderer_is_replaced_and_a_sandbox_made_anew_is_set_up_again() {
    let site = Site::new().await;
    let mut sandbox = site.connect().await;
    let keeper = sandbox.keeper().expect("one").to_owned();
    let pid = site.machine.processes.pid(&keeper).expect("a number");
    // SAFETY: a process of the counterpart's, which we started.
    unsafe { libc::kill(i32::try_from(pid).expect("a number"), libc::SIGKILL) };
    eventually("it is dead", || site.machine.processes.running().is_empty()).await;
    sandbox.reset().await.expect("ready");
    assert_ne!(sandbox.keeper(), Some(keeper.as_str()));
    assert_eq!(
        site.place.openings(),
        1,
        "the sandbox itself was never lost"
    );
    render(&mut sandbox, constructing(SHORT))
        .await
        .0
        .expect("a film");

    site.cloud.delete(NAME);
    let lost = render(&mut sandbox, constructing(SHORT)).await.0;
    assert!(
        matches!(lost, Err(RenderError::SandboxLost { .. })),
        "{lost:?}"
    );
    let error = sandbox.reset().await.expect_err("there is none");
    assert!(
        error
            .to_string()
            .starts_with("Sandbox 'manim-sb' not found"),
        "{error}"
    );
    let anew = site.cloud.deploy(NAME);
    sandbox.reset().await.expect("ready");
    render(&mut sandbox, constructing(SHORT))
        .await
        .0
        .expect("a film");
    assert_eq!(anew.processes.started("manimq-keep"), 1);
    sandbox.close().await;
}
