//! Limits end a job within their bound, with a class of their own.

use std::time::{Duration, Instant};

use manimq_worker::sandbox::local::{Level, LocalConfig, LocalSandbox};
use manimq_worker::sandbox::{
    Encoder, EventSender, FailureClass, Limits, OutputFormat, RenderEvent, RenderFailure,
    RenderRequest, Sandbox,
};

use crate::support::*;

const MIB: u64 = 1 << 20;

/// What to do about it is said.
#[track_caller]
fn assert_hint(failure: &RenderFailure, words: &str) {
    let hint = failure.hint.as_deref().unwrap_or_default();
    assert!(hint.contains(words), "{failure:#?}");
}

/// Renders with a wall limit of two seconds: the class, the line, and in time.
#[track_caller]
fn times_out(lines: &str, at: &str) {
    let mut request = constructing(lines);
    request.limits.wall = Duration::from_secs(2);
    let line = line_of(&request, at);
    let began = Instant::now();
    let failure = failure(render_then_check(request));
    let took = began.elapsed();
    assert_class(&failure, FailureClass::Timeout);
    assert_eq!(failure.line, line, "{failure:#?}");
    assert_hint(&failure, "shorter");
    assert_hint(&failure, "--timeout");
    assert!(took < Duration::from_secs(12), "took {took:?}");
}

#[test]
fn an_endless_loop_ends_with_its_line() {
    times_out("n = 0\nwhile True: n += 1", "n += 1");
}

#[test]
fn endless_waiting_ends_with_its_line() {
    times_out("while True:\n    self.wait(1)", "self.wait");
}

#[test]
fn a_loop_that_swallows_every_exception_ends_with_its_line() {
    times_out(
        "while True:\n    try:\n        while True: n = 1\n    except BaseException: pass",
        "n = 1",
    );
}

#[test]
fn a_scene_that_ignores_the_signal_ends() {
    let mut request = constructing(
        "import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\nwhile True: n = 1",
    );
    request.limits.wall = Duration::from_secs(1);
    assert_class(&failure(render_then_check(request)), FailureClass::Timeout);
}

#[test]
fn a_long_call_into_c_ends_with_its_line() {
    times_out("n = 1\nsum(range(10 ** 12))", "range");
}

#[test]
fn cpu_time_is_limited_too() {
    let mut request = constructing("n = 0\nwhile True: n += 1");
    request.limits.cpu = Duration::from_secs(1);
    let line = line_of(&request, "n += 1");
    let failure = failure(render_then_check(request));
    assert_class(&failure, FailureClass::Timeout);
    assert_eq!(failure.line, line, "{failure:#?}");
}

#[test]
fn no_frame_for_too_long_is_stalled() {
    let mut request = constructing("self.wait(0.1)\nwhile True: n = 1");
    request.limits.stall = Some(Duration::from_secs(1));
    let line = line_of(&request, "n = 1");
    let failure = failure(render_then_check(request));
    assert_class(&failure, FailureClass::Stalled);
    assert_hint(&failure, "makes no frame");
    let line = line.expect("the line of the loop");
    assert_eq!(failure.line, Some(line), "{failure:#?}");
    assert_hint(&failure, &format!("does the loop at line {line} end?"));
}

fn with_memory(lines: &str) -> RenderRequest {
    let mut request = constructing(lines);
    request.limits.memory_bytes = 256 * MIB;
    request
}

#[test]
fn a_memory_bomb_is_out_of_memory_with_its_line() {
    let request = with_memory("hoard = []\nwhile True:\n    hoard.append(bytearray(2 ** 20))");
    let line = line_of(&request, "hoard.append");
    let failure = failure(render_then_check(request));
    assert_class(&failure, FailureClass::OutOfMemory);
    assert_eq!(failure.line, line, "{failure:#?}");
    assert!(
        failure.message.contains("memory limit of 256 MiB"),
        "{failure:#?}"
    );
    assert!(failure.message.contains("MiB in use"), "{failure:#?}");
    assert_hint(&failure, "fewer objects");
    assert!(failure.peak_memory_bytes > 100 * MIB, "{failure:#?}");
}

#[test]
fn memory_that_numpy_cannot_get_is_out_of_memory() {
    let request = with_memory("np.ones((2 ** 30,))");
    assert_class(
        &failure(render_then_check(request)),
        FailureClass::OutOfMemory,
    );
}

#[test]
fn a_file_that_grows_for_ever_is_output_limit() {
    let mut request = constructing(
        "with open('big', 'wb') as file:\n    while True:\n        file.write(bytes(2 ** 20))",
    );
    request.limits.output_bytes = 8 * MIB;
    let failure = failure(render_then_check(request));
    assert_class(&failure, FailureClass::OutputLimit);
    assert_hint(&failure, "smaller files");
    assert!(failure.line.is_some());
}

/// Each limit ends a job at both levels, with a class and words of its own and the line.
#[track_caller]
fn ends_at_both(lines: &str, set: fn(&mut Limits), class: FailureClass, words: &str, hint: &str) {
    for level in [Level::Full, Level::Container] {
        let mut request = constructing(lines);
        set(&mut request.limits);
        let failure = failure(render_then_check_at(level, request));
        assert_class(&failure, class);
        assert!(failure.message.contains(words), "{level:?}: {failure:#?}");
        assert_hint(&failure, hint);
    }
}

#[test]
fn a_folder_that_fills_up_is_output_limit() {
    ends_at_both(
        "n = 0\nwhile True:\n    n += 1\n    with open(f'{n}', 'wb') as file:\n        file.write(bytes(2 ** 20))",
        |limits| limits.disk_bytes = 16 * MIB,
        FailureClass::OutputLimit,
        "filled its folder up to the limit",
        "write less",
    );
}

#[test]
fn a_full_tmp_is_told_apart_from_a_full_folder() {
    for fill in [
        "open('/tmp/big', 'wb').write(bytes(40 * 2 ** 20))",
        "for n in range(600): open(f'/tmp/{n}', 'w').close()",
    ] {
        let failure = failure(render_then_check_at(Level::Full, constructing(fill)));
        assert_class(&failure, FailureClass::OutputLimit);
        let words = "filled /tmp, which has 32 MiB and 512 files";
        assert!(failure.message.contains(words), "{failure:#?}");
        assert_hint(&failure, "working folder");
        assert!(failure.line.is_some(), "{failure:#?}");
    }
}

#[test]
fn too_many_files_is_output_limit() {
    ends_at_both(
        "n = 0\nwhile True:\n    n += 1\n    open(f'{n}', 'w').close()",
        |limits| limits.disk_files = 500,
        FailureClass::OutputLimit,
        "more files than",
        "make fewer files",
    );
}

#[test]
fn too_many_open_files_are_called_so() {
    ends_at_both(
        "held = []\nwhile True: held.append(open('/dev/null'))",
        |limits| limits.open_files = 64,
        FailureClass::SandboxDenied,
        "more files open than the limit of 64",
        "close files",
    );
}

#[test]
fn too_many_threads_are_called_so() {
    ends_at_both(
        "import threading, time\nstop = threading.Event()\n\
         for n in range(2_000): threading.Thread(target=stop.wait, daemon=True).start()\n\
         time.sleep(20)",
        |limits| limits.threads = 64,
        FailureClass::SandboxDenied,
        "more threads than",
        "no threads of its own",
    );
}

#[test]
fn too_many_frames_are_output_limit_with_the_line() {
    for encoder in [Encoder::Fast, Encoder::Manim] {
        let mut request = constructing("self.wait(0.1)\nself.play(Rotate(Square()), run_time=600)");
        request.output.encoder = encoder;
        request.limits.frames = 100;
        let line = line_of(&request, "Rotate");
        let failure = failure(render_then_check(request));
        assert_class(&failure, FailureClass::OutputLimit);
        assert!(
            failure
                .message
                .contains("more frames than the limit of 100"),
            "{failure:#?}"
        );
        assert_eq!(failure.line, line, "{failure:#?}");
    }
}

#[test]
fn a_play_that_would_have_too_many_frames_is_stopped_before_it_draws_them() {
    let mut request = constructing("self.wait(0.1)\nself.play(Rotate(Square()), run_time=36000)");
    request.output.encoder = Encoder::Fast;
    let most = request.limits.frames;
    let (result, events) = render_with_events(request);
    let failure = failure(result);
    assert_class(&failure, FailureClass::OutputLimit);
    assert!(
        failure.message.contains("more frames than the limit of"),
        "{failure:#?}"
    );
    let drawn = events.iter().filter_map(|event| match event {
        RenderEvent::Progress(progress) => Some(progress.frames),
        _ => None,
    });
    assert!(drawn.max().unwrap_or(0) < most / 10, "{events:#?}");
}

#[test]
fn larger_pictures_than_allowed_are_output_limit_wherever_their_size_is_set() {
    let sized = |lines: &str| {
        let mut request = request_for(&format!("from manim import *\n{lines}"));
        request.limits.pixels = 1000 * 1000;
        request.output.format = OutputFormat::Png;
        let failure = failure(render_then_check(request));
        assert_class(&failure, FailureClass::OutputLimit);
        assert!(
            failure.message.contains("1000000 pixels are the limit"),
            "{failure:#?}"
        );
    };
    sized(
        "config.pixel_width = 4000\nclass A(Scene):\n    def construct(self): self.add(Square())\n",
    );
    sized(
        "class A(Scene):\n    def __init__(self, *a, **k):\n        config.pixel_width = 4000\n        \
         super().__init__(*a, **k)\n    def construct(self): self.add(Square())\n",
    );
    let mut request = request_for(GOOD);
    request.limits.pixels = 1000;
    let failure = failure(render_then_check(request));
    assert_class(&failure, FailureClass::Validation);
    assert!(failure.message.contains("854×480"), "{failure:#?}");
}

#[test]
fn a_film_above_the_limit_is_output_limit() {
    let mut request = constructing(
        "for _ in range(2):\n    self.play(Rotate(VGroup(*[Dot(np.random.rand(3) * 4) for _ in range(300)])))",
    );
    request.limits.output_bytes = 20_000;
    let failure = failure(render_then_check(request));
    assert_class(&failure, FailureClass::OutputLimit);
    assert_hint(&failure, "lower quality");
}

#[test]
fn a_flood_of_text_is_output_limit_and_little_of_it_is_kept() {
    let mut request = constructing("while True: print('x' * 1000)");
    request.limits.log_bytes = 4 * MIB;
    let (result, events) = render_with_events(request);
    let failure = failure(result);
    assert_class(&failure, FailureClass::OutputLimit);
    assert_hint(&failure, "print less");
    let kept: usize = events.iter().map(|event| format!("{event:?}").len()).sum();
    assert!(kept < 2 << 20, "{kept} bytes");
}

/// Whether there are control groups; says so where a test is left out.
fn has_control_groups(what: &str) -> bool {
    match LocalSandbox::control_groups() {
        Ok(()) => true,
        Err(why) => {
            tell(&format!(
                "SKIPPED, no control groups are delegated here: {what} ({why})"
            ));
            false
        }
    }
}

/// A running job's group for memory, as the file system shows it.
fn group_of(pid: u32) -> Option<std::path::PathBuf> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
    text.lines().find_map(|line| {
        let mut fields = line.splitn(3, ':').skip(1);
        let (controllers, path) = (fields.next()?, fields.next()?);
        let mount = match controllers {
            "" => "/sys/fs/cgroup",
            "memory" => "/sys/fs/cgroup/memory",
            _ => return None,
        };
        path.contains("manimq-slot-")
            .then(|| std::path::Path::new(mount).join(path.trim_start_matches('/')))
    })
}

#[test]
fn a_job_that_fills_its_slots_control_group_is_out_of_memory_and_dies_alone() {
    if !has_control_groups("a job that fills its slot's group dies alone") {
        return;
    }
    for level in [Level::Full, Level::Container] {
        let (result, group) = block_on(async {
            let config = LocalConfig {
                level: Some(level),
                ..own_config()
            };
            let mut sandbox = LocalSandbox::connect(config).await.expect("a sandbox");
            let zygote = sandbox.zygote_pid().expect("connected");
            let mut request = constructing(
                "print('running', flush=True)\nhoard = []\n\
                 while True: hoard.append(bytearray(2 ** 16))",
            );
            request.limits.memory_bytes = 1024 * MIB;
            request.limits.disk_bytes = 64 * MIB;
            let (events, mut incoming) = EventSender::channel(64);
            let squeeze = tokio::spawn(async move {
                while !matches!(incoming.recv().await, Some(RenderEvent::Log { .. })) {}
                let group = group_of(zygote).expect("the slot is in a group");
                for process in descendants(zygote) {
                    assert_eq!(group_of(process.0).as_ref(), Some(&group), "all of it");
                }
                let limit = ["memory.limit_in_bytes", "memory.max"].map(|name| group.join(name));
                let limit = limit
                    .into_iter()
                    .find(|file| file.exists())
                    .expect("a limit");
                let text = std::fs::read_to_string(&limit).expect("the limit");
                assert_eq!(text.trim(), ((1024 + 64 + 1280) * MIB).to_string());
                std::fs::write(&limit, (700 * MIB).to_string()).expect("a lower limit");
                while incoming.recv().await.is_some() {}
                group
            });
            let result = sandbox.render(request, events).await;
            let group = squeeze.await.expect("no panic");
            sandbox.reset().await.expect("ready");
            assert_eq!(
                sandbox.zygote_pid(),
                Some(zygote),
                "the job alone was killed"
            );
            render_in(&mut sandbox, request_for(GOOD))
                .await
                .0
                .expect("the next job has a limit of its own");
            sandbox.close().await;
            (result, group)
        });
        let failure = failure(result);
        assert_class(&failure, FailureClass::OutOfMemory);
        assert!(failure.peak_memory_bytes < 900 * MIB, "{failure:#?}");
        assert!(!group.exists(), "{} is left", group.display());
    }
}
