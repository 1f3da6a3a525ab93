//! Nothing is left behind: not after a job, not after a sandbox, not after a worker.

use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use manimq_worker::sandbox::local::{Level, LocalConfig, LocalSandbox};
use manimq_worker::sandbox::{
    ConnectError, EventSender, RenderError, RenderEvent, RenderRequest, Sandbox,
};

use crate::support::*;

/// A scene that says it runs and then never ends.
fn endless() -> RenderRequest {
    constructing("print('running', flush=True)\nwhile True: self.wait(1)")
}

/// The processes of a sandbox of one's own, in a test binary where others come and go.
struct Own {
    sandbox: LocalSandbox,
    zygote: u32,
}

async fn own() -> Own {
    let config = own_config();
    let sandbox = LocalSandbox::connect(config).await.expect("a sandbox");
    let zygote = sandbox.zygote_pid().expect("connected");
    Own { sandbox, zygote }
}

#[test]
fn an_interrupted_render_leaves_no_process_and_a_usable_sandbox() {
    block_on(async {
        let mut own = own().await;
        let request = endless();
        let stop = request.stop.clone();
        let (events, mut incoming) = EventSender::channel(64);
        let (zygote, began) = (own.zygote, Instant::now());
        let stopper = tokio::spawn(async move {
            while let Some(event) = incoming.recv().await {
                if matches!(event, RenderEvent::Log { .. }) {
                    break;
                }
            }
            assert!(!descendants(zygote).is_empty(), "guard and job are there");
            stop.cancel();
            Instant::now()
        });
        let result = own.sandbox.render(request, events).await;
        let took = stopper.await.expect("stopped").elapsed();
        assert!(
            matches!(result, Err(RenderError::Interrupted)),
            "{result:?} after {:?}",
            began.elapsed()
        );
        assert!(took < Duration::from_millis(1500), "{took:?}");
        tell(&format!("interrupt to return: {took:?}"));
        eventually("guard and job are gone", || descendants(zygote).is_empty());
        render_in(&mut own.sandbox, request_for(GOOD))
            .await
            .0
            .expect("the same sandbox goes on");
        assert_eq!(own.sandbox.zygote_pid(), Some(zygote));
    });
}

#[test]
fn a_render_interrupted_before_it_began_returns_at_once() {
    let request = request_for(GOOD);
    request.stop.cancel();
    assert!(matches!(render(request), Err(RenderError::Interrupted)));
}

#[test]
fn a_dropped_render_costs_the_slot_and_nothing_else() {
    block_on(async {
        let mut own = own().await;
        let (events, _incoming) = EventSender::channel(64);
        let render = own.sandbox.render(endless(), events);
        assert!(
            tokio::time::timeout(Duration::from_millis(700), render)
                .await
                .is_err()
        );
        let left = descendants(own.zygote);
        own.sandbox.reset().await.expect("a fresh slot");
        assert_ne!(own.sandbox.zygote_pid(), Some(own.zygote));
        assert!(left.iter().all(|&process| !is_alive(process)));
        render_in(&mut own.sandbox, request_for(GOOD))
            .await
            .0
            .expect("a film");
    });
}

#[test]
fn a_closed_sandbox_leaves_no_process() {
    block_on(async {
        let own = own().await;
        let mut all = descendants(own.zygote);
        all.extend(process(own.zygote));
        own.sandbox.close().await;
        assert!(all.iter().all(|&process| !is_alive(process)));
    });
}

#[test]
fn a_sandbox_dropped_during_a_render_leaves_no_process() {
    block_on(async {
        let mut own = own().await;
        let (events, mut incoming) = EventSender::channel(64);
        {
            let render = own.sandbox.render(endless(), events);
            tokio::pin!(render);
            tokio::select! {
                _ = &mut render => panic!("it is endless"),
                () = async { while !matches!(incoming.recv().await, Some(RenderEvent::Log { .. })) {} } => {}
            }
        }
        let mut all = descendants(own.zygote);
        all.extend(process(own.zygote));
        assert!(all.len() >= 2, "zygote and guard at least");
        drop(own);
        assert!(
            all.iter().all(|&process| !is_alive(process)),
            "all are gone when drop returns"
        );
    });
}

fn process(pid: u32) -> Option<Process> {
    descendants(std::process::id())
        .into_iter()
        .find(|process| process.0 == pid)
}

/// Processor time that processes have had, in seconds, and the memory that is theirs, in MiB, shared pages by parts.
fn cost(processes: &[Process]) -> (f64, f64) {
    let (mut ticks, mut kib) = (0, 0);
    for (pid, _) in processes {
        let read = |name| std::fs::read_to_string(format!("/proc/{pid}/{name}")).expect("it lives");
        let stat = read("stat");
        let fields = stat.rsplit_once(')').expect("a name").1;
        let times = fields.split_whitespace().skip(11).take(2);
        ticks += times.map(|n| n.parse::<u64>().expect("ticks")).sum::<u64>();
        let rollup = read("smaps_rollup");
        let pss = rollup.lines().find_map(|line| line.strip_prefix("Pss:"));
        let number = pss.and_then(|rest| rest.split_whitespace().next());
        kib += number
            .expect("a size")
            .parse::<u64>()
            .expect("a number of KiB");
    }
    (
        // Of a hundredth of a second on every Linux that we know (USER_HZ).
        ticks as f64 / 100.0,
        kib as f64 / 1024.0,
    )
}

#[test]
fn a_warm_sandbox_that_waits_for_a_job_costs_some_memory_and_hardly_any_processor_time() {
    const WATCHED: Duration = Duration::from_secs(10);
    block_on(async {
        let mut own = own().await;
        own.sandbox.reset().await.expect("it waits for a job");
        eventually("guard, job and probe wait", || {
            descendants(own.zygote).len() == WAITING
        });
        let mut all: Vec<Process> = descendants(own.zygote).into_iter().collect();
        all.extend(process(own.zygote));
        // What belongs to the reset itself is over when they do nothing for a moment.
        let mut before = cost(&all).0;
        eventually("they wait", || {
            std::thread::sleep(Duration::from_millis(200));
            let now = cost(&all).0;
            std::mem::replace(&mut before, now) == now
        });
        tokio::time::sleep(WATCHED).await;
        let (after, mib) = cost(&all);
        let share = (after - before) / WATCHED.as_secs_f64();
        tell(&format!(
            "a warm sandbox that waits: {:.1} ms of processor time a second, {mib:.0} MiB",
            share * 1e3
        ));
        assert!(share < 0.05, "{share} of a core");
        assert!(mib < 600.0, "{mib} MiB");
    });
}

#[test]
fn a_zygote_that_dies_loses_the_job_and_a_reset_brings_a_new_one() {
    block_on(async {
        let mut own = own().await;
        let (events, mut incoming) = EventSender::channel(64);
        let zygote = own.zygote;
        let killer = tokio::spawn(async move {
            while !matches!(incoming.recv().await, Some(RenderEvent::Log { .. })) {}
            kill(zygote);
        });
        let result = own.sandbox.render(endless(), events).await;
        killer.await.expect("killed");
        assert!(
            matches!(result, Err(RenderError::SandboxLost { .. })),
            "{result:?}"
        );
        own.sandbox.reset().await.expect("a new slot");
        render_in(&mut own.sandbox, request_for(GOOD))
            .await
            .0
            .expect("a film");
    });
}

#[test]
fn whatever_of_a_waiting_sandbox_dies_costs_no_job() {
    block_on(async {
        let mut own = own().await;
        for which in 0.. {
            own.sandbox.reset().await.expect("it waits for a job");
            let zygote = own.sandbox.zygote_pid().expect("a slot");
            let waiting = || {
                let below = descendants(zygote).into_iter().map(|(pid, _)| pid);
                std::iter::once(zygote).chain(below).collect::<Vec<_>>()
            };
            eventually("zygote, guard, job and probe wait", || waiting().len() == 4);
            let gone = tokio::time::timeout(Duration::from_millis(200), own.sandbox.gone());
            assert!(gone.await.is_err(), "all of it lives");
            let Some(&victim) = waiting().get(which) else {
                break;
            };
            kill(victim);
            eventually("it is dead", || {
                !waiting()[1..].contains(&victim) || which == 0
            });
            // The guard itself replaces the other two.
            if which < 2 {
                tokio::time::timeout(Duration::from_secs(20), own.sandbox.gone())
                    .await
                    .expect("it is noticed");
                own.sandbox.reset().await.expect("a new slot");
                assert_ne!(own.sandbox.zygote_pid(), Some(zygote));
            }
            let (result, _) = render_in(&mut own.sandbox, request_for(GOOD)).await;
            result.unwrap_or_else(|error| panic!("after the death of process {which}: {error}"));
        }
    });
}

fn kill(pid: u32) {
    let pid = rustix::process::Pid::from_raw(i32::try_from(pid).expect("a pid")).expect("not 0");
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).expect("it was there");
}

#[test]
fn a_guard_that_hangs_costs_the_slot_within_a_bound() {
    block_on(async {
        let mut own = own().await;
        let request = endless();
        let stop = request.stop.clone();
        let (events, mut incoming) = EventSender::channel(64);
        let zygote = own.zygote;
        let stopper = tokio::spawn(async move {
            while !matches!(incoming.recv().await, Some(RenderEvent::Log { .. })) {}
            for (pid, _) in descendants(zygote) {
                let pid = rustix::process::Pid::from_raw(i32::try_from(pid).expect("a pid"));
                let _ = rustix::process::kill_process(
                    pid.expect("not 0"),
                    rustix::process::Signal::STOP,
                );
            }
            stop.cancel();
        });
        let began = Instant::now();
        let result = own.sandbox.render(request, events).await;
        stopper.await.expect("stopped");
        assert!(
            matches!(result, Err(RenderError::Interrupted)),
            "{result:?}"
        );
        assert!(began.elapsed() < Duration::from_secs(15));
        assert!(process(zygote).is_none(), "the whole slot is gone");
        own.sandbox.reset().await.expect("a new slot");
    });
}

#[test]
fn a_killed_worker_leaves_no_process_at_any_level() {
    // What a killed worker leaves on disk is swept by the next one there.
    let folder = tempfile::tempdir().expect("a folder");
    let reachable = std::os::unix::fs::PermissionsExt::from_mode(0o711);
    std::fs::set_permissions(folder.path(), reachable).expect("0711");
    for level in [Level::Full, Level::Container] {
        // A worker of its own: this test program again, running only the helper below.
        let mut worker = Command::new(std::env::current_exe().expect("our path"))
            .args([
                "lifecycle::helper_worker_that_renders_for_ever",
                "--exact",
                "--nocapture",
            ])
            .env(HELPER, level.as_str())
            .env("TMPDIR", folder.path())
            .env("MANIMQ_PYTHON_ENV", python_env())
            .stdout(Stdio::piped())
            .process_group(0)
            .spawn()
            .expect("a worker");
        let lines = BufReader::new(worker.stdout.take().expect("a pipe")).lines();
        let said = lines
            .map_while(Result::ok)
            .any(|line| line.contains("rendering now"));
        assert!(said, "the worker renders");
        let all = descendants(worker.id());
        assert!(all.len() >= 3, "zygote, guard, job at least: {all:?}");
        worker.kill().expect("kill -9");
        worker.wait().expect("gone");
        let began = Instant::now();
        eventually("everything of the worker is gone", || {
            all.iter().all(|&p| !is_alive(p))
        });
        tell(&format!(
            "level {}: kill -9 of the worker to the last process gone: {:?}",
            level.as_str(),
            began.elapsed()
        ));
    }
}

/// Set to a level for the helper, which is no test: it only runs when the test above starts it.
const HELPER: &str = "MANIMQ_TEST_RENDER_FOR_EVER";

#[test]
fn helper_worker_that_renders_for_ever() {
    let Ok(level) = std::env::var(HELPER) else {
        return;
    };
    let level = [Level::Full, Level::Container]
        .into_iter()
        .find(|each| each.as_str() == level);
    block_on(async {
        let config = LocalConfig {
            level,
            ..own_config()
        };
        let mut sandbox = LocalSandbox::connect(config).await.expect("a sandbox");
        let (events, mut incoming) = EventSender::channel(64);
        tokio::spawn(async move {
            while let Some(event) = incoming.recv().await {
                if matches!(event, RenderEvent::Log { .. }) {
                    println!("rendering now");
                }
            }
        });
        let _ = sandbox.render(endless(), events).await;
    });
}

#[test]
fn fifty_renders_on_one_slot_keep_everything_constant() {
    block_on(async {
        let mut own = own().await;
        let mut after_ten = None;
        let (mut overhead, mut wall, mut walls) = (Vec::new(), Vec::new(), Vec::new());
        for n in 1..=50 {
            let began = Instant::now();
            let (result, _) = render_in(&mut own.sandbox, request_for(GOOD)).await;
            let took = began.elapsed().as_secs_f64();
            let rendered = result.expect("a film");
            let timings = rendered.timings;
            wall.push(took);
            walls.push(timings.walls_s);
            overhead.push(took - timings.prepare_s - timings.render_s - timings.encode_s);
            drop(rendered);
            if n == 10 {
                after_ten = Some(counts(own.zygote));
            }
        }
        eventually("the last guard is gone", || {
            descendants(own.zygote).is_empty()
        });
        let (before, after) = (after_ten.expect("ten"), counts(own.zygote));
        assert_eq!(before.zygote_fds, after.zygote_fds);
        assert_eq!(before.mounts, after.mounts);
        assert!(
            after.rss_kib < before.rss_kib + 4096,
            "{before:?} {after:?}"
        );
        wall.sort_by(f64::total_cmp);
        overhead.sort_by(f64::total_cmp);
        walls.sort_by(f64::total_cmp);
        assert!(walls[0] > 0.0, "the guard tells");
        tell(&format!(
            "trivial render: {:.1} ms median, {:.1} ms best; beyond the scene itself {:.1} ms median, {:.1} ms best, of it walls {:.1} and {:.1} ms; zygote {} KiB",
            wall[25] * 1e3,
            wall[0] * 1e3,
            overhead[25] * 1e3,
            overhead[0] * 1e3,
            walls[25] * 1e3,
            walls[0] * 1e3,
            after.rss_kib
        ));
    });
}

#[derive(Debug)]
struct Counts {
    zygote_fds: usize,
    mounts: usize,
    rss_kib: u64,
}

fn counts(zygote: u32) -> Counts {
    let proc = |name: &str| format!("/proc/{zygote}/{name}");
    let status = std::fs::read_to_string(proc("status")).expect("status");
    let rss = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .expect("VmRSS");
    Counts {
        zygote_fds: std::fs::read_dir(proc("fd")).expect("fds").count(),
        mounts: std::fs::read_to_string(proc("mounts"))
            .expect("mounts")
            .lines()
            .count(),
        rss_kib: rss
            .trim()
            .trim_end_matches(" kB")
            .parse()
            .expect("a number"),
    }
}

#[test]
fn the_zygote_is_replaced_after_a_number_of_jobs() {
    block_on(async {
        let config = LocalConfig {
            recycle_after: 3,
            ..own_config()
        };
        let mut sandbox = LocalSandbox::connect(config).await.expect("a sandbox"); // verified: one job
        let first = sandbox.zygote_pid();
        for _ in 0..2 {
            sandbox.reset().await.expect("ready");
            assert_eq!(sandbox.zygote_pid(), first);
            render_in(&mut sandbox, request_for(GOOD))
                .await
                .0
                .expect("a film");
        }
        let began = Instant::now();
        sandbox.reset().await.expect("ready");
        tell(&format!("a fresh zygote: {:?}", began.elapsed()));
        assert_ne!(sandbox.zygote_pid(), first);
    });
}

#[test]
fn a_checkout_below_a_private_folder_works() {
    use std::os::unix::fs::PermissionsExt as _;
    block_on(async {
        let private = tempfile::tempdir().expect("a folder");
        std::fs::set_permissions(private.path(), std::fs::Permissions::from_mode(0o700))
            .expect("0700");
        let renderer = private.path().join("renderer");
        copy_folder(&renderer_dir(), &renderer);
        let config = LocalConfig {
            renderer_dir: renderer,
            ..own_config()
        };
        let mut sandbox = LocalSandbox::connect(config).await.expect("a sandbox");
        render_in(&mut sandbox, request_for(GOOD))
            .await
            .0
            .expect("a film");
    });
}

fn copy_folder(from: &std::path::Path, to: &std::path::Path) {
    std::fs::create_dir(to).expect("a folder");
    for entry in std::fs::read_dir(from).expect("a folder").flatten() {
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy_folder(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).expect("a copy");
        }
    }
}

#[test]
fn what_is_missing_is_named_with_the_remedy() {
    block_on(async {
        let config = LocalConfig {
            python_env: "/nowhere".into(),
            ..own_config()
        };
        let error = LocalSandbox::connect(config)
            .await
            .expect_err("there is none");
        assert!(matches!(error, ConnectError::NotFound { .. }));
        assert!(
            error.to_string().contains("/nowhere") && error.to_string().contains("deploy/setup"),
            "{error}"
        );

        // An environment without Manim.
        let empty = tempfile::tempdir().expect("a folder");
        output_of(
            Command::new("/usr/bin/python3")
                .args(["-m", "venv", "--without-pip"])
                .arg(empty.path().join("env")),
        );
        let config = LocalConfig {
            python_env: empty.path().join("env"),
            ..own_config()
        };
        let error = LocalSandbox::connect(config).await.expect_err("no Manim");
        assert!(
            error.to_string().contains("manim") && error.to_string().contains("deploy/setup"),
            "{error}"
        );
    });
}

#[test]
fn versions_are_those_of_the_environment() {
    block_on(async {
        let sandbox = own_sandbox().await;
        let versions = sandbox.versions();
        assert!(versions.manim.starts_with("0.22."), "{versions:?}");
        assert!(versions.python.starts_with("3."), "{versions:?}");
        assert!(
            versions.latex.as_deref().is_some_and(|v| v.contains("TeX")),
            "{versions:?}"
        );
        assert!(versions.dvisvgm.is_some(), "{versions:?}");
    });
}
