//! The Python side's own tests, and what only Python can see: raw frames.

use std::process::Command;

use crate::support::*;

#[test]
fn the_unit_tests_of_the_renderer_pass() {
    let tests = renderer_dir().join("tests");
    let output = Command::new(python_env().join("bin/python3"))
        .args(["-B", "-m", "unittest", "discover", "-s"])
        .arg(&tests)
        .arg("-t")
        .arg(renderer_dir())
        .current_dir("/")
        .output()
        .expect("python starts");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert!(!said.contains("Ran 0 tests"), "{said}");
}

#[test]
fn the_fast_engine_has_the_raw_frames_of_the_command() {
    for (file, fps, kind) in [
        ("shapes.py", "15", "mp4"),
        ("text_axes.py", "30", "mp4"),
        ("shapes.py", "15", "gif"),
        ("shapes.py", "15", "webm"),
        ("shapes.py", "15", "webm+alpha"),
        ("shapes.py", "15", "mov+alpha"),
        ("sections.py", "15", "mov"),
    ] {
        let frames = |engine: &str| {
            output_of(
                Command::new(python_env().join("bin/python3"))
                    .arg("-B")
                    .arg(renderer_dir().join("tests/raw_frames.py"))
                    .args([
                        scene_path(file).to_str().expect("a path"),
                        engine,
                        fps,
                        kind,
                    ]),
            )
        };
        // Manim's warnings go to the same place, with the time of day.
        let is_sum = |line: &&str| line.len() == 32 && line.chars().all(|c| c.is_ascii_hexdigit());
        let sums = |engine| {
            frames(engine)
                .lines()
                .filter(is_sum)
                .collect::<Vec<_>>()
                .join("\n")
        };
        let (bare, fast) = (sums("bare"), sums("fast"));
        assert!(bare.lines().count() > 20);
        assert_eq!(bare, fast, "{file} as {kind}");
    }
}
