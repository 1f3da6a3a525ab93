//! Limits end a job within their bound, with a class of their own.

use std::time::{Duration, Instant};

use manimq_worker::sandbox::{FailureClass, RenderRequest};

use crate::support::*;

const MIB: u64 = 1 << 20;

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
    assert_eq!(failure.line, line, "{failure:#?}");
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
    assert!(failure.line.is_some());
}

#[test]
fn a_folder_that_fills_up_is_output_limit() {
    let mut request = constructing(
        "n = 0\nwhile True:\n    n += 1\n    with open(f'{n}', 'wb') as file:\n        file.write(bytes(2 ** 20))",
    );
    request.limits.disk_bytes = 16 * MIB;
    assert_class(
        &failure(render_then_check(request)),
        FailureClass::OutputLimit,
    );
}

#[test]
fn too_many_files_is_output_limit() {
    let request = constructing("n = 0\nwhile True:\n    n += 1\n    open(f'{n}', 'w').close()");
    assert_class(
        &failure(render_then_check(request)),
        FailureClass::OutputLimit,
    );
}

#[test]
fn a_film_above_the_limit_is_output_limit() {
    let mut request = constructing(
        "for _ in range(2):\n    self.play(Rotate(VGroup(*[Dot(np.random.rand(3) * 4) for _ in range(300)])))",
    );
    request.limits.output_bytes = 20_000;
    assert_class(
        &failure(render_then_check(request)),
        FailureClass::OutputLimit,
    );
}

#[test]
fn a_flood_of_text_is_output_limit_and_little_of_it_is_kept() {
    let mut request = constructing("while True: print('x' * 1000)");
    request.limits.log_bytes = 4 * MIB;
    let (result, events) = render_with_events(request);
    assert_class(&failure(result), FailureClass::OutputLimit);
    let kept: usize = events.iter().map(|event| format!("{event:?}").len()).sum();
    assert!(kept < 2 << 20, "{kept} bytes");
}

#[test]
fn threads_are_limited() {
    let request = constructing(
        "import threading\nstop = threading.Event()\n\
         for n in range(100_000): threading.Thread(target=stop.wait, daemon=True).start()",
    );
    // Refused by the kernel; Python says it cannot start a thread.
    let failure = failure(render_then_check(request));
    assert!(
        [FailureClass::SceneError, FailureClass::OutOfMemory].contains(&failure.class),
        "{failure:#?}"
    );
}
