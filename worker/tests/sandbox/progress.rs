//! What a render says about how far it is, and the scout that runs ahead of it.
//!
//! The scout is tenant code in a second place: each of its promises is tried
//! by a scene that behaves differently when it is the scout.

use std::time::{Duration, Instant};

use manimq_worker::sandbox::{
    Encoder, FailureClass, OutputFormat, Progress, RenderError, RenderEvent, RenderRequest,
    Rendered, Sandbox, Stage,
};

use crate::support::*;

/// Squares that take long to draw and little to update. A job's stdout is a
/// pipe, a scout's is /dev/null.
const SLOW: &str = "import os, sys, time, json, random\n\
                    pause_s = 10\n\
                    scout = os.fstat(1).st_rdev != 0\n\
                    squares = VGroup(*[Square(0.2 + n / 30) for n in range(60)])\n\
                    self.add(squares)\n";

fn slow(lines: &str) -> RenderRequest {
    let mut request = constructing(&format!("{SLOW}{lines}"));
    request.output.encoder = Encoder::Fast;
    request
}

/// A few frames, a pause of the job in which the scout may finish on a
/// busy machine, and a few more frames.
const PLAYS: &str = "for _ in range(4): self.play(Rotate(squares), run_time=1 / 3)\n\
                     if not scout: time.sleep(pause_s)\n\
                     for _ in range(3): self.play(Rotate(squares), run_time=1 / 3)\n";

fn progress_of(events: &[RenderEvent]) -> Vec<Progress> {
    events
        .iter()
        .filter_map(|event| match event {
            RenderEvent::Progress(progress) => Some(progress.clone()),
            RenderEvent::Started | RenderEvent::Still(_) | RenderEvent::Log { .. } => None,
        })
        .collect()
}

/// Renders, and checks what holds for every progress there is. Returns the
/// messages that had totals while frames were still drawn.
fn rendered_with_progress(request: RenderRequest) -> (Rendered, Vec<Progress>, Vec<RenderEvent>) {
    let (result, events) = render_with_events(request);
    let rendered = result.expect("a film");
    let all = progress_of(&events);
    for progress in &all {
        assert!(
            progress.frames_total.is_none_or(|n| n >= progress.frames),
            "{progress:?}"
        );
        assert!(
            progress
                .animations_total
                .is_none_or(|n| n >= progress.animation),
            "{progress:?}"
        );
        assert!(
            progress.eta_s.is_none_or(|s| s.is_finite() && s >= 0.0),
            "{progress:?}"
        );
    }
    let last = all.last().expect("progress");
    assert_eq!(last.stage, Stage::Encoding);
    assert_eq!(last.frames, rendered.artifacts[0].frames);
    assert_eq!(last.frames_total, Some(last.frames));
    assert_eq!(last.animations_total, Some(rendered.usage.animations));
    let early = all
        .into_iter()
        .filter(|progress| progress.stage == Stage::Rendering && progress.frames_total.is_some())
        .collect();
    (rendered, early, events)
}

#[track_caller]
fn totals_were_right(request: RenderRequest) {
    let (rendered, early, events) = rendered_with_progress(request);
    let Some(first) = early.first() else {
        panic!("no totals before the end: {:#?}", progress_of(&events));
    };
    tell(&format!(
        "totals at frame {} of {}",
        first.frames, rendered.artifacts[0].frames
    ));
    for progress in &early {
        assert_eq!(progress.frames_total, Some(rendered.artifacts[0].frames));
        assert_eq!(progress.animations_total, Some(rendered.usage.animations));
    }
    // The first may come before there is a rate.
    let last = early.last().expect("there was a first");
    assert!(last.eta_s.is_some(), "{last:?}");
}

const UPDATERS: &str = "
t = ValueTracker(0)
self.add(always_redraw(lambda: Dot().shift(RIGHT * t.get_value())))
spinning = Square().add_updater(lambda m, dt: m.rotate(dt))
self.add(spinning)
self.play(t.animate.set_value(2), run_time=0.7)
self.wait(0.5)
spinning.clear_updaters()
self.wait(0.5)
while t.get_value() < 3: self.play(t.animate.increment_value(0.5), run_time=0.2)
";

#[test]
fn totals_arrive_during_the_render_and_are_right() {
    totals_were_right(slow(&format!("{UPDATERS}{PLAYS}")));
}

#[test]
fn totals_are_there_with_the_first_frame_of_a_scene_that_takes_long_to_prepare() {
    let lines = format!("if not scout: time.sleep(10)\n{PLAYS}");
    let (rendered, early, _) = rendered_with_progress(slow(&lines));
    let first = early.first().expect("totals before the end");
    assert_eq!(first.frames_total, Some(rendered.artifacts[0].frames));
    assert!(first.frames <= 1, "{first:?}");
}

#[test]
fn the_manim_engine_has_totals_too_and_counts_pieces_that_it_shows_again() {
    let mut request = slow(&format!(
        "{PLAYS}for _ in range(3): self.wait(0.4)\n{UPDATERS}"
    ));
    request.output.encoder = Encoder::Manim;
    totals_were_right(request);
}

#[test]
fn a_wait_until_is_counted_by_running_it() {
    totals_were_right(slow(&format!(
        "dot = Dot().add_updater(lambda m, dt: m.shift(RIGHT * dt * 1.7))\nself.add(dot)\n\
         self.wait_until(lambda: dot.get_x() > 2.3)\ndot.clear_updaters()\n{PLAYS}"
    )));
}

#[test]
fn a_scene_without_a_seed_is_as_long_in_the_scout() {
    totals_were_right(slow(&format!(
        "for _ in range(random.randint(1, 6)): self.wait(np.random.uniform(0.2, 2))\n{PLAYS}"
    )));
}

#[test]
fn a_skipped_section_is_not_in_the_totals() {
    totals_were_right(slow(&format!(
        "self.next_section(skip_animations=True)\nself.play(Create(Square()))\n\
         self.next_section()\n{PLAYS}"
    )));
}

#[test]
fn a_short_render_ends_with_its_totals() {
    for format in [OutputFormat::Mp4, OutputFormat::Gif, OutputFormat::Png] {
        let mut request = request_for(GOOD);
        request.output.format = format;
        rendered_with_progress(request);
    }
}

#[test]
fn totals_that_the_job_passes_are_dropped() {
    let (_, early, _) = rendered_with_progress(slow(&format!(
        "{PLAYS}for _ in range(0 if scout else 5): self.play(Rotate(squares), run_time=1 / 3)"
    )));
    assert!(!early.is_empty(), "no totals at all");
    for progress in early {
        assert_eq!(progress.frames_total, Some(35));
        assert!(progress.frames <= 35, "{progress:?}");
    }
}

#[test]
fn a_formula_is_set_once_for_job_and_scout() {
    let (_, early, events) = rendered_with_progress(slow(&format!(
        "def formula(n):\n\
         \x20   began = time.monotonic()\n\
         \x20   MathTex(f'x + {{n}}')\n\
         \x20   print(f'formula {{time.monotonic() - began:.3f}}')\n\
         formula(0)\n{PLAYS}formula(1)\nformula(2)\nformula(3)\nself.wait(0.2)",
    )));
    let times: Vec<f64> = log_of(&events)
        .lines()
        .filter_map(|line| line.strip_prefix("formula ")?.parse().ok())
        .collect();
    tell(&format!("formulas of the job: {times:?} s"));
    assert_eq!(times.len(), 4);
    assert!(!early.is_empty());
    // The last three were set for the scout, while the job did something else.
    assert!(times[1..].iter().all(|t| *t < times[0] / 2.0), "{times:?}");
}

#[test]
fn frames_beside_a_scout_are_those_of_the_bare_command() {
    // Without loss, so that it is the drawing that is compared and no encoder's threads.
    let mut request = slow(&format!("{UPDATERS}{PLAYS}"));
    request.output.encoder = Encoder::Manim;
    request.output.format = OutputFormat::Mov;
    request.output.transparent = true;
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("scene.py");
    std::fs::write(&file, request.source.as_bytes()).expect("a scene");
    let (_folder, bare) = bare_manim(&file, &["-ql", "-t", "--format", "mov"]);
    let (rendered, early, _) = rendered_with_progress(request);
    assert!(!early.is_empty(), "the scout ran");
    let ours = frame_sums(&save(&rendered, folder.path()));
    assert_eq!(ours.len() as u64, rendered.artifacts[0].frames);
    assert_same_frames(&ours, &frame_sums(&bare));
}

/// A scene that does `lines` when it is the scout, and 7 plays when it is the job.
fn when_scout(lines: &str, pause_s: u32) -> RenderRequest {
    let lines: String = lines
        .trim_matches('\n')
        .lines()
        .map(|line| format!("    {line}\n"))
        .collect();
    slow(&format!("pause_s = {pause_s}\nif scout:\n{lines}{PLAYS}"))
}

/// The job must render as if it were alone.
#[track_caller]
fn job_is_alone(lines: &str, pause_s: u32) -> Vec<Progress> {
    let (rendered, early, events) = rendered_with_progress(when_scout(lines, pause_s));
    assert_eq!(rendered.artifacts[0].frames, 35);
    assert_eq!(log_of(&events), "", "nothing of a scout is shown");
    early
}

#[test]
fn a_scout_that_hangs_fails_or_floods_changes_nothing() {
    for lines in [
        "time.sleep(3600)",
        "while True: pass",
        "while True: self.wait(0.2)",
        "raise ValueError",
        "print('x' * 100_000)\nsys.stderr.write('y')\nos._exit(0)",
        "hoard = []\nwhile True: hoard.append(bytearray(2 ** 20))",
        "while True: os.write(3, b'{\"e\": \"frames\", \"frames\": 1}\\n' * 1000)",
        "while True: os.write(3, b'x' * 4096)",
        "import threading\nwhile True: threading.Thread(target=time.sleep, args=(99,)).start()",
    ] {
        let early = job_is_alone(lines, 2);
        assert!(early.is_empty(), "{lines}: {early:#?}");
    }
}

#[test]
fn hostile_totals_are_bounded() {
    for totals in [
        r#""animations": -1, "frames": 5"#,
        r#""animations": 1e300, "frames": 1e300"#,
        r#""animations": 99999999999999999999, "frames": 99999999999999999999"#,
        r#""animations": "7", "frames": [35]"#,
        r#""animations": true, "frames": true"#,
        r#""animations": 0, "frames": 0"#,
        r#""animations": 1, "frames": 1"#,
    ] {
        let lines = format!("os.write(3, b'{{\"e\": \"totals\", {totals}}}\\n')\ntime.sleep(3600)");
        let early = job_is_alone(&lines, 2);
        assert!(early.is_empty(), "{totals}: {early:#?}");
    }
    // A lie within the bounds is shown: it is the author's own film.
    let lie = "os.write(3, b'{\"e\": \"totals\", \"animations\": 999, \"frames\": 9999}\\n' * 2)";
    for progress in job_is_alone(&format!("{lie}\ntime.sleep(3600)"), 2) {
        assert_eq!(progress.frames_total, Some(9999));
    }
}

#[test]
fn a_scout_cannot_speak_for_the_job() {
    for event in [
        r#"{"e": "done", "prepare_s": 0, "render_s": 0, "encode_s": 0, "frames": 9, "animations": 1}"#,
        r#"{"e": "failed", "class": "scene_error", "message": "forged"}"#,
        r#"{"e": "stopped_at", "line": 1}"#,
        r#"{"type": "done"}"#,
        "rubbish",
    ] {
        let early = job_is_alone(
            &format!(
                "for fd in range(0, 256):\n    try: os.write(fd, {event:?}.encode() + b'\\n')\n    except OSError: pass\n\
             time.sleep(3600)"
            ),
            2,
        );
        assert!(early.is_empty(), "{event}: {early:#?}");
    }
}

#[test]
fn a_scout_has_the_walls_of_a_job_and_a_folder_of_its_own() {
    // It says with its totals what did not hold: 700 + the number of breaches.
    let early = job_is_alone(
        r#"
import socket, subprocess, ctypes
breaches = 0
def attempt(function, *arguments):
    nonlocal breaches
    try: function(*arguments)
    except OSError: return
    breaches += 1
def write(path):
    with open(path, "wb") as file: file.write(b"x")
for function, *arguments in (
    (os.fork,), (os.execv, "/usr/bin/true", ["true"]), (subprocess.run, ["/usr/bin/true"]),
    (socket.socket,), (socket.socket, socket.AF_UNIX), (socket.socketpair,),
    (open, "/etc/shadow"), (open, "/proc/1/environ"), (os.listdir, "/proc"), (os.listdir, "/"),
    (os.listdir, "/texjob"), (write, "/opt/planted"), (write, "/texjob/planted"),
    (os.kill, -1, 9), (os.kill, 2, 9), (os.setuid, 0), (os.nice, -15),
):
    attempt(function, *arguments)
libc = ctypes.CDLL(None, use_errno=True)
for number, *arguments in ((165, 0, 0, 0, 0, 0), (166, 0, 0), (272, 0x20000), (308, 3, 0), (101, 16, 1, 0, 0)):
    breaches += libc.syscall(*(ctypes.c_long(n) for n in (number, *arguments))) >= 0
breaches += os.getpid() != 1
# Of the job's folder, its own source and what Manim makes at the start is all there is.
breaches += any(name.endswith(".mp4") for _, _, names in os.walk("/job") for name in names)
os.makedirs("/job/.manimq-out", exist_ok=True)
write("/job/.manimq-out/result.mp4")
write("/tmp/planted")
os.write(3, json.dumps({"e": "totals", "animations": 700 + breaches, "frames": 5000}).encode() + b"\n")
time.sleep(3600)
"#,
        10,
    );
    let Some(first) = early.first() else {
        panic!("the scout did not come to its end");
    };
    assert_eq!(first.animations_total, Some(700), "breaches");
}

#[test]
fn a_scouts_formulas_never_hold_the_job_up() {
    let began = Instant::now();
    job_is_alone("self.add(Tex(r'\\loop\\iftrue\\repeat'))", 2);
    let mut request = slow(
        "if scout: Tex(r'\\loop\\iftrue\\repeat')\n\
         for _ in range(4): self.play(Rotate(squares), run_time=1 / 3)\n\
         if not scout: time.sleep(3)\n\
         began = time.monotonic()\n\
         MathTex('x + 1')\n\
         print(f'formula {time.monotonic() - began:.3f}')\n",
    );
    request.output.encoder = Encoder::Manim;
    let (result, events) = render_with_events(request);
    result.expect("a film");
    let took: f64 = log_of(&events)
        .trim()
        .strip_prefix("formula ")
        .and_then(|text| text.parse().ok())
        .expect("a time");
    tell(&format!("formula beside a scout's endless one: {took} s"));
    assert!(took < 8.0, "{took}");
    assert!(began.elapsed() < Duration::from_secs(60));
}

#[test]
fn a_scout_that_counts_nothing_is_ended_and_the_job_goes_on() {
    block_on(async {
        let mut sandbox = own_sandbox().await;
        let zygote = sandbox.zygote_pid().expect("connected");
        let mut request = slow("while True: time.sleep(0.1)");
        request.limits.wall = Duration::from_secs(60);
        let stop = request.stop.clone();
        let watch = tokio::task::spawn_blocking(move || {
            let with_scout = |there: bool| {
                let start = Instant::now();
                while (descendants(zygote).len() > WAITING) != there {
                    assert!(start.elapsed() < Duration::from_secs(50), "{there}");
                    std::thread::sleep(Duration::from_millis(20));
                }
            };
            with_scout(true);
            with_scout(false);
            stop.cancel();
        });
        let (result, _) = render_in(&mut sandbox, request).await;
        watch.await.expect("the scout came and went");
        assert!(
            matches!(result, Err(RenderError::Interrupted)),
            "the job was still there: {result:?}"
        );
        sandbox.close().await;
    });
}

#[test]
fn no_scout_outlives_its_job() {
    block_on(async {
        let mut sandbox = own_sandbox().await;
        let zygote = sandbox.zygote_pid().expect("connected");
        // It ends by itself, it fails, it is stopped at its limit, it is interrupted.
        let endless = "while True: self.wait(0.1)";
        for (tail, wall_s) in [("", 60), ("raise ValueError", 60), (endless, 4)] {
            let mut request = when_scout("time.sleep(3600)", 2);
            request.source = format!("{}\n        {tail}\n", request.source).into();
            request.limits.wall = Duration::from_secs(wall_s);
            let (result, _) = render_in(&mut sandbox, request).await;
            match result {
                Ok(_) => assert_eq!(tail, ""),
                Err(RenderError::Failed(failure)) => assert_class(
                    &failure,
                    if tail == endless {
                        FailureClass::Timeout
                    } else {
                        FailureClass::SceneError
                    },
                ),
                Err(error) => panic!("{error}"),
            }
            eventually("all are gone", || descendants(zygote).is_empty());
        }
        let mut request = when_scout("while True: pass", 1);
        request.source = format!("{}\n        {endless}\n", request.source).into();
        let stop = request.stop.clone();
        let watch = tokio::task::spawn_blocking(move || {
            eventually("guard, job and scout are there", || {
                descendants(zygote).len() >= 3
            });
            stop.cancel();
            Instant::now()
        });
        let (result, _) = render_in(&mut sandbox, request).await;
        let took = watch.await.expect("watched").elapsed();
        assert!(
            matches!(result, Err(RenderError::Interrupted)),
            "{result:?}"
        );
        tell(&format!("interrupt with a scout to return: {took:?}"));
        assert!(took < Duration::from_millis(1500), "{took:?}");
        eventually("all are gone", || descendants(zygote).is_empty());
        sandbox.close().await;
    });
}
