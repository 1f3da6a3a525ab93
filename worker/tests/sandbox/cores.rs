//! One film on several cores: the same film, within the same walls and limits.

use std::path::Path;
use std::time::Duration;

use manimq_worker::sandbox::{Encoder, FailureClass, RenderRequest};

use crate::faithful::{heard, tone};
use crate::support::*;

/// Makes drawing slow, so that a film pays for being drawn on several cores.
const SLOW: &str = "
import time
from manim.camera.camera import Camera
_draw = Camera.display_multiple_vectorized_mobjects
def _slow(self, *args, **kwargs):
    end = time.clock_gettime(time.CLOCK_THREAD_CPUTIME_ID) + 0.06
    while time.clock_gettime(time.CLOCK_THREAD_CPUTIME_ID) < end:
        pass
    drawing()
    _draw(self, *args, **kwargs)
Camera.display_multiple_vectorized_mobjects = _slow
def drawing(): pass
";

/// A scene that is slow to draw, with `top` at the top of its file.
pub fn slow_to_draw(top: &str, lines: &str) -> RenderRequest {
    let mut request = constructing(lines);
    let (import, scene) = request.source.split_once('\n').expect("two lines");
    request.source = format!("{import}\n{}\n{top}\n{scene}", SLOW.trim()).into();
    request.output.encoder = Encoder::Fast;
    request.cores = 2;
    request
}

fn key_frames_of(film: &Path) -> usize {
    let flags = output_of(
        std::process::Command::new("ffprobe")
            .args(["-v", "error", "-select_streams", "v", "-show_entries"])
            .args(["packet=flags", "-of", "csv=p=0"])
            .arg(film),
    );
    flags.lines().filter(|line| line.starts_with('K')).count()
}

fn key_frames(request: RenderRequest) -> (usize, Vec<String>, u64, String) {
    let (result, events) = render_with_events(request);
    let rendered = result.expect("a film");
    let folder = tempfile::tempdir().expect("a folder");
    let path = save(&rendered, folder.path());
    let keys = key_frames_of(&path);
    let text = events
        .iter()
        .filter_map(|event| match event {
            manimq_worker::sandbox::RenderEvent::Log { text, .. } => Some(text.as_str()),
            _ => None,
        })
        .collect();
    (keys, frame_sums(&path), rendered.artifacts[0].frames, text)
}

const TWO_PLAYS: &str = "
square = Square()
self.play(Create(square), run_time=3)
print('between')
self.play(Rotate(square), run_time=2)
";

#[test]
fn a_film_that_is_slow_to_draw_is_drawn_in_pieces_and_prints_once() {
    let (keys, sums, frames, text) = key_frames(slow_to_draw("", TWO_PLAYS));
    assert!(keys >= 4, "{keys} pieces");
    assert_eq!((frames, sums.len()), (75, 75));
    assert_eq!(text.matches("between").count(), 1, "{text}");
}

#[test]
fn on_one_core_and_when_drawing_is_cheap_a_film_is_one_piece() {
    let mut one = slow_to_draw("", TWO_PLAYS);
    one.cores = 1;
    let alone = key_frames(one);
    let mut cheap = constructing(TWO_PLAYS);
    cheap.output.encoder = Encoder::Fast;
    cheap.cores = 2;
    // The same encoder, from the first to the last frame: the same film.
    assert_eq!(key_frames(cheap), alone);
}

#[test]
fn a_film_in_pieces_sounds_as_in_one_piece() {
    let folder = tempfile::tempdir().expect("a folder");
    let low = tone(folder.path(), "low.wav", 220);
    let lines = "
square = Square()
self.add_sound('low.wav')
self.play(Create(square), run_time=3)
self.add_sound('low.wav', time_offset=0.5, gain=-6)
self.play(Rotate(square), run_time=2)
";
    let film = |cores| {
        let mut request = with_files(slow_to_draw("", lines), &[("low.wav", low.clone())]);
        request.cores = cores;
        let rendered = render(request).expect("a film");
        let folder = tempfile::tempdir().expect("a folder");
        let film = save(&rendered, folder.path());
        (key_frames_of(&film), heard(&film))
    };
    let ((one, alone), (pieces, together)) = (film(1), film(2));
    assert_eq!(one, 1);
    assert!(pieces >= 4, "{pieces} pieces");
    assert_eq!(together, alone);
}

#[test]
fn formulas_and_texts_of_updates_are_there_for_drawers_too() {
    let lines = "
at = ValueTracker(0)
self.add(always_redraw(lambda: MathTex(f'x_{int(at.get_value())}')))
self.add(always_redraw(lambda: Text(f't{at.get_value():.1f}').to_edge(UP)))
self.play(at.animate.set_value(3), run_time=4, rate_func=linear)
";
    let (keys, _, frames, _) = key_frames(slow_to_draw("", lines));
    assert!(keys >= 3, "{keys} pieces");
    assert_eq!(frames, 60);
}

#[test]
fn a_drawer_that_fails_costs_time_and_not_the_film() {
    let mut one = slow_to_draw("", TWO_PLAYS);
    one.cores = 1;
    let alone = key_frames(one);
    let again = key_frames(slow_to_draw(
        "
import os
print('loaded')
def drawing():
    if os.getpid() != 1:
        raise RuntimeError('not here')
",
        TWO_PLAYS,
    ));
    assert_eq!(
        (again.1, again.2),
        (alone.1, alone.2),
        "rendered again on one core"
    );
    assert_eq!(
        again.3, "loaded\nbetween\n",
        "from the start, and shown once"
    );
}

#[test]
fn an_error_while_several_processes_draw_is_told_as_on_one_core() {
    let request = slow_to_draw(
        "",
        "
square = Square()
self.play(Create(square), run_time=3)
self.play(square.animate.no_such_method())
",
    );
    let line = line_of(&request, "no_such_method");
    let failure = failure(render_then_check(request));
    assert_eq!(failure.class, FailureClass::SceneError);
    assert_eq!(failure.line, line);
}

#[test]
fn a_time_limit_while_several_processes_draw_names_the_line_and_leaves_nothing() {
    let mut request = slow_to_draw(
        "",
        "self.play(Create(Square()), run_time=3)\nself.wait(900)\nself.play(Rotate(Square()), run_time=900)",
    );
    request.limits.wall = Duration::from_secs(12);
    let failure = failure(render_then_check(request));
    assert_eq!(failure.class, FailureClass::Timeout, "{}", failure.message);
    assert!(failure.line.is_some());
}

#[test]
fn processor_time_is_that_of_all_processes_together() {
    let mut request = slow_to_draw("", "self.play(Rotate(Square()), run_time=200)");
    request.limits.cpu = Duration::from_secs(5);
    let failure = failure(render_then_check(request));
    assert_eq!(failure.class, FailureClass::Timeout);
    assert!(failure.message.contains("CPU time"), "{}", failure.message);
    assert!(failure.cpu_s < 30.0, "{}", failure.cpu_s);
}

/// What a scene prints, with `cores` cores.
fn printed(cores: u32, lines: &str) -> String {
    let mut request = constructing(&format!(
        "{lines}\nself.play(FadeIn(Square()), run_time=2/15)"
    ));
    request.cores = cores;
    request.output.encoder = Encoder::Fast;
    let (result, events) = render_with_events(request);
    result.expect("a film");
    events
        .iter()
        .filter_map(|event| match event {
            manimq_worker::sandbox::RenderEvent::Log { text, .. } => Some(text.as_str()),
            _ => None,
        })
        .collect()
}

const FORK_ALL: &str = "
import os, resource, signal
before = resource.getrlimit(resource.RLIMIT_AS)[1]
children = []
read, write = os.pipe()
go_on, word = os.pipe()
try:
    while len(children) < 50:
        pid = os.fork()
        if pid == 0:
            os.close(word)
            try:
                os.fork()
                os.write(write, b'forked\\n')
            except OSError as error:
                os.write(write, f'child: {type(error).__name__}\\n'.encode())
            os.write(write, f'part {resource.getrlimit(resource.RLIMIT_AS)[1] < before / 2}\\n'.encode())
            os.read(go_on, 1)
            os._exit(0)
        children.append(pid)
except OSError as error:
    print('then', type(error).__name__)
os.close(write)
print('children', len(children))
os.close(word)
for child in children:
    os.waitpid(child, 0)
while data := os.read(read, 4096):
    print(data.decode(), end='')
";

#[test]
fn a_job_has_never_more_processes_than_its_cores_and_one_and_none_of_them_forks() {
    // Half of what the job has and the base is more than a third.
    let said = printed(3, FORK_ALL);
    assert!(said.contains("children 3"), "{said}");
    assert!(said.contains("then BlockingIOError"), "{said}");
    assert_eq!(said.matches("child: BlockingIOError").count(), 3, "{said}");
    assert!(!said.contains("forked"), "{said}");
    assert_eq!(said.matches("part True").count(), 3, "{said}");
}

#[test]
fn a_job_on_one_core_may_not_fork_at_all() {
    let said = printed(1, FORK_ALL);
    assert!(said.contains("children 0"), "{said}");
    assert!(said.contains("then PermissionError"), "{said}");
}

#[test]
fn no_other_form_of_a_fork_passes_the_gate() {
    let said = printed(
        3,
        "
import ctypes, os, platform
libc = ctypes.CDLL(None, use_errno=True)
clone = 220 if platform.machine() == 'aarch64' else 56
SIGCHLD, NEWUSER, NEWPID, VM, VFORK, PARENT, PTRACE, UNTRACED = 17, 0x10000000, 0x20000000, 0x100, 0x4000, 0x8000, 0x2000, 0x800000
FORK = 0x01200000 | SIGCHLD
for flags in (0, SIGCHLD, FORK | NEWUSER, FORK | NEWPID, FORK | PARENT, FORK | PTRACE, FORK | UNTRACED, VM | VFORK | SIGCHLD, FORK | 1 << 32, FORK - 1):
    result = libc.syscall(ctypes.c_long(clone), ctypes.c_ulong(flags), None, None, None, None)
    if result == 0:
        os._exit(0)
    print('refused' if result < 0 else f'PASSED {flags:x}')
",
    );
    assert_eq!(said.matches("refused").count(), 10, "{said}");
    assert!(!said.contains("PASSED"), "{said}");
}

#[test]
fn what_a_scene_has_forked_dies_with_the_job() {
    let mut request = constructing(
        "
import os
if os.fork() == 0:
    while True:
        pass
self.play(FadeIn(Square()), run_time=2/15)
",
    );
    request.cores = 2;
    render_then_check(request).expect("a film; its child is gone");
}

#[test]
fn a_job_whose_memory_is_too_small_to_be_divided_is_not_split() {
    let mut request = slow_to_draw("", TWO_PLAYS);
    request.limits.memory_bytes = 512 << 20;
    assert_eq!(key_frames(request).2, 75);
}
