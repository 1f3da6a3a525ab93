//! What only Python can see: raw frames.

use std::process::Command;

use crate::support::*;

/// Checksums of all frames before encoding, one a line, and how many the film has.
fn raw_frames(arguments: &[&str]) -> (String, usize) {
    let said = output_of(
        Command::new(python_env().join("bin/python3"))
            .arg("-B")
            .arg(renderer_dir().join("tests/raw_frames.py"))
            .args(arguments),
    );
    // Manim's warnings go to the same place, with the time of day.
    let is_sum = |line: &&str| line.len() == 32 && line.chars().all(|c| c.is_ascii_hexdigit());
    let sums = said.lines().filter(is_sum).collect::<Vec<_>>().join("\n");
    let frames = said.lines().last().and_then(|line| line.parse().ok());
    (sums, frames.expect("the last line is a number"))
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
        let path = scene_path(file);
        let path = path.to_str().expect("a path");
        let (bare, _) = raw_frames(&[path, "bare", fps, kind]);
        let (fast, _) = raw_frames(&[path, "fast", fps, kind]);
        assert!(bare.lines().count() > 20);
        assert_eq!(bare, fast, "{file} as {kind}");
    }
}

#[test]
fn a_film_in_pieces_has_the_raw_frames_of_the_command() {
    let path = scene_path("awkward.py");
    let source = std::fs::read_to_string(&path).expect("scenes");
    let path = path.to_str().expect("a path");
    let scenes = source.lines().filter_map(|line| {
        let name = line.strip_prefix("class ")?;
        name.split_once('(').map(|(name, _)| name)
    });
    let mut count = 0;
    for scene in scenes {
        let (bare, in_all) = raw_frames(&[path, "bare", "15", "mp4", scene]);
        let (split, joined) = raw_frames(&[path, "split", "15", "mp4", scene]);
        assert!(!bare.is_empty());
        assert_eq!(bare, split, "{scene}");
        assert_eq!(in_all, joined, "{scene}");
        count += 1;
    }
    assert!(count >= 14, "{count} scenes");
}
