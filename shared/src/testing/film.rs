//! Films and pictures that tests look at.

use std::path::{Path, PathBuf};
use std::process::Command;

/// What a program prints that must succeed.
///
/// # Panics
/// If it does not.
pub fn output_of(command: &mut Command) -> String {
    let output = command.output().expect("the program starts");
    assert!(
        output.status.success(),
        "{command:?}: {}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The decoded frames, in order: of each when it is shown, for how long, its size and a checksum.
///
/// # Panics
/// If ffmpeg cannot read it.
#[must_use]
pub fn timed_frames(path: &Path) -> Vec<String> {
    let text = output_of(
        Command::new("ffmpeg")
            .args(["-v", "error", "-i"])
            .arg(path)
            .args(["-map", "0:v:0", "-f", "framemd5", "-"]),
    );
    let frames = text.lines().filter(|line| !line.starts_with('#'));
    let frames: Vec<String> = frames.map(str::to_owned).collect();
    assert!(!frames.is_empty(), "{} has no frames", path.display());
    frames
}

/// Checksums of the decoded frames, in order.
///
/// # Panics
/// As [`timed_frames`].
#[must_use]
pub fn frame_sums(path: &Path) -> Vec<String> {
    let frames = timed_frames(path).into_iter();
    let sum = |line: String| {
        line.rsplit(',')
            .next()
            .unwrap_or_default()
            .trim()
            .to_owned()
    };
    frames.map(sum).collect()
}

/// How alike two films look, over all frames: 1 is equal.
///
/// # Panics
/// If ffmpeg cannot compare them.
#[must_use]
pub fn ssim(one: &Path, other: &Path) -> f64 {
    let output = Command::new("ffmpeg")
        .args(["-hide_banner", "-nostats", "-i"])
        .arg(one)
        .arg("-i")
        .arg(other)
        .args(["-lavfi", "ssim", "-f", "null", "-"])
        .output()
        .expect("ffmpeg starts");
    let said = String::from_utf8_lossy(&output.stderr);
    said.rsplit_once("All:")
        .and_then(|(_, rest)| rest.split_whitespace().next()?.parse().ok())
        .unwrap_or_else(|| panic!("ffmpeg has compared nothing: {said}"))
}

/// The one film or picture that `manim` left below a folder; the pieces of a film do not count.
#[must_use]
pub fn find_film(folder: &Path) -> Option<PathBuf> {
    let mut below = Vec::new();
    for entry in std::fs::read_dir(folder).ok()?.flatten() {
        let path = entry.path();
        let is_film = path
            .extension()
            .is_some_and(|e| ["mp4", "webm", "mov", "gif", "png"].iter().any(|x| e == *x));
        if path.is_dir() && !path.ends_with("partial_movie_files") {
            below.push(path);
        } else if is_film {
            return Some(path);
        }
    }
    below.iter().find_map(|path| find_film(path))
}
