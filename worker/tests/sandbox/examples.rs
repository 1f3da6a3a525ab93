//! Manim's own documented examples, all that ship in the docstrings of the
//! installed package, come out as from the `manim` command.
//!
//! Stills and films of `encoder: manim` decode to equal frames; films of
//! `encoder: fast` are equal before they are encoded (`tests/examples.py`, outside of the
//! sandbox), look alike after, and come out of the sandbox as they were made outside.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use manimq_shared::scene_policy::{PolicyMode, check};
use manimq_worker::sandbox::{Encoder, OutputFormat, RenderError, RenderRequest};

use crate::support::*;

/// One in so many belongs to the sample.
const SAMPLE: usize = 10;
/// What the command itself says of examples that it cannot render either, and why.
const FAIL_ANYWAY: &[(&str, &str)] = &[
    (
        "name 'OpenGLV",
        "uses classes of the other renderer that it does not import",
    ),
    (
        "requires the 'typst' Python package",
        "Typst is no part of a plain installation",
    ),
    (
        "name 'Any' is not defined",
        "uses a name that it does not import",
    ),
    ("could not find click.wav", "plays a file of its author"),
    (
        "No module named 'requests'",
        "fetches its map: a render has no network",
    ),
    (
        "SyntaxError: invalid syntax",
        "is written with the prompts of a Python shell",
    ),
];
/// Films of both encoders look alike: what is lost in either cannot be seen.
const SSIM_MIN: f64 = 0.99;
/// Those that look less alike, and why.
const LESS_ALIKE: &[(&str, &str)] = &[
    (
        "ContinuousMotion",
        "many moving lines a pixel wide: even a lossless film has 0.986 beside the command's own",
    ),
    (
        "LinearTransformationSceneExample",
        "many coloured lines a pixel wide: even a lossless film has 0.986 beside the command's own",
    ),
];
/// Examples that differ, and why.
const EXCEPTIONS: &[(&str, &str)] = &[
    (
        "ImportNetworkxGraph",
        "draws random numbers at module level, before Manim seeds them",
    ),
    (
        "ConvexHullExample",
        "the command itself draws its sets in another order from run to run",
    ),
    (
        "ConvexHull3DExample",
        "the command itself draws its sets in another order from run to run",
    ),
    (
        "MyScene",
        "an empty scene: the command leaves a picture where we say that there is no film",
    ),
];

/// Examples that the scene policy refuses, and why.
const REFUSED: &[(&str, &str)] = &[
    (
        "LabeledCountryExample",
        "fetches its map: a render has no network",
    ),
    (
        "CustomTipExample",
        "is written with the prompts of a Python shell",
    ),
    (
        "DirectiveDoctestExample",
        "is written with the prompts of a Python shell",
    ),
];

#[derive(serde::Deserialize)]
struct Example {
    number: usize,
    name: String,
    file: String,
    still: bool,
    source: String,
}

/// What the command and the stream, outside of the sandbox, made of an example.
#[derive(serde::Deserialize)]
struct Made {
    number: usize,
    /// What went wrong with the command; empty if it made a file.
    bare: String,
    /// The same of the stream.
    fast: String,
    frames: usize,
    /// Whether the frames of both were equal before they were encoded.
    equal: bool,
}

fn script() -> Command {
    let mut command = Command::new(python_env().join("bin/python3"));
    command
        .arg("-B")
        .arg(renderer_dir().join("tests/examples.py"));
    command
}

fn examples() -> Vec<Example> {
    output_of(script().arg("list"))
        .lines()
        .map(|line| serde_json::from_str(line).expect("an example"))
        .collect()
}

/// What is looked at besides equality.
#[derive(Default)]
struct Counts {
    films: usize,
    stills: usize,
    both_fail: usize,
    /// How alike the fast films look.
    alike: Vec<f64>,
}

fn request(example: &Example, encoder: Encoder) -> RenderRequest {
    let mut request = request_for(&example.source);
    request.scene = Some(example.name.clone());
    request.output.seed = Some(0);
    request.output.encoder = encoder;
    request.limits.wall = Duration::from_secs(240);
    if example.still {
        request.output.format = OutputFormat::Png;
    }
    request
}

/// Why an example's result is not that of the command.
fn difference(
    example: &Example,
    made: &Made,
    folder: &Path,
    counts: &mut Counts,
) -> Option<String> {
    let result = render(request(example, Encoder::Manim));
    if !made.bare.is_empty() {
        // What the command cannot render either, we must not pretend to.
        if !FAIL_ANYWAY.iter().any(|(said, _)| made.bare.contains(said)) {
            return Some(format!("the command fails: {}", made.bare));
        }
        counts.both_fail += 1;
        return match result {
            Err(RenderError::Failed(_)) => None,
            other => Some(format!("the command fails, and we give {other:?}")),
        };
    }
    if !example.still && !made.equal {
        return Some(format!(
            "the stream's frames are not the command's {}: {}",
            made.frames, made.fast
        ));
    }
    let rendered = match result {
        Ok(rendered) => rendered,
        Err(error) => return Some(format!("only the command renders it: {error}")),
    };
    let suffix = if example.still { "png" } else { "mp4" };
    let bare = folder.join(format!("{}/bare.{suffix}", made.number));
    let place = tempfile::tempdir().expect("a folder");
    let (ours, theirs) = (
        frame_sums(&save(&rendered, place.path())),
        frame_sums(&bare),
    );
    if ours != theirs {
        return Some(format!(
            "{} decoded frames, and {}",
            ours.len(),
            theirs.len()
        ));
    }
    if example.still {
        counts.stills += 1;
        return None;
    }
    counts.films += 1;
    fast_difference(example, made, folder, &bare, counts)
}

/// The same for the film of `encoder: fast`, whose frames before encoding were found equal.
fn fast_difference(
    example: &Example,
    made: &Made,
    folder: &Path,
    bare: &Path,
    counts: &mut Counts,
) -> Option<String> {
    let rendered = match render(request(example, Encoder::Fast)) {
        Ok(rendered) => rendered,
        Err(error) => return Some(format!("the fast render fails: {error}")),
    };
    let place = tempfile::tempdir().expect("a folder");
    let fast = save(&rendered, place.path());
    let outside = find_film(&folder.join(format!("{}/fast", made.number))).expect("a film");
    let (ours, theirs) = (frame_sums(&fast), frame_sums(&outside));
    if ours.len() != made.frames || ours != theirs {
        return Some(format!(
            "the fast film has {} decoded frames, outside of the sandbox {}, and they differ",
            ours.len(),
            theirs.len()
        ));
    }
    let likeness = ssim(&fast, bare);
    counts.alike.push(likeness);
    let alike = likeness >= SSIM_MIN || LESS_ALIKE.iter().any(|(name, _)| *name == example.name);
    (!alike).then(|| format!("the fast film's SSIM is {likeness}"))
}

fn are_as_from_the_command(wanted: impl Fn(&Example) -> bool) {
    let all = examples();
    assert!(all.len() > 350, "only {} examples were found", all.len());
    let folder = tempfile::tempdir().expect("a folder");
    let chosen: Vec<&Example> = all.iter().filter(|each| wanted(each)).collect();
    let mut child = script()
        .arg("render")
        .arg(folder.path())
        .args(chosen.iter().map(|each| each.number.to_string()))
        .stdout(Stdio::piped())
        .spawn()
        .expect("python starts");
    let lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
    let (mut count, mut excepted, mut counts) = (0, 0, Counts::default());
    let mut wrong = Vec::new();
    for line in lines {
        let made: Made = serde_json::from_str(&line.expect("a line")).expect("a result");
        let example = &all[made.number];
        count += 1;
        if EXCEPTIONS.iter().any(|(name, _)| *name == example.name) {
            excepted += 1;
            continue;
        }
        if let Some(what) = difference(example, &made, folder.path(), &mut counts) {
            let what = format!("{} ({}): {what}", example.name, example.file);
            // At once: all of them take most of an hour.
            tell(&what);
            wrong.push(what);
        }
        // Hundreds of films would fill the disk.
        let _ = std::fs::remove_dir_all(folder.path().join(made.number.to_string()));
    }
    assert!(child.wait().expect("ended").success());
    assert_eq!(count, chosen.len());
    let mut alike = counts.alike;
    alike.sort_by(f64::total_cmp);
    tell(&format!(
        "{count} examples: {} films and {} stills equal, {} that the command cannot render here \
         either, {excepted} excepted, {} wrong; SSIM of {} fast films: least {:?}, median {:?}",
        counts.films,
        counts.stills,
        counts.both_fail,
        wrong.len(),
        alike.len(),
        alike.first(),
        alike.get(alike.len() / 2),
    ));
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn the_policy_refuses_none_of_the_documented_examples_but_the_named_ones() {
    let all = examples();
    assert!(all.len() > 350, "only {} examples were found", all.len());
    let refused: Vec<_> = all
        .iter()
        .filter_map(|example| {
            let why = check(example.source.as_bytes(), PolicyMode::Enforce).err()?;
            Some((example.name.as_str(), why.to_string()))
        })
        .collect();
    let names: Vec<_> = refused.iter().map(|(name, _)| *name).collect();
    for (name, why) in REFUSED {
        assert!(names.contains(name), "{name} is accepted by now ({why})");
    }
    let others: Vec<_> = refused
        .iter()
        .filter(|(name, _)| !REFUSED.iter().any(|(known, _)| known == name))
        .collect();
    assert!(others.is_empty(), "{others:#?}");
}

#[test]
fn a_sample_of_the_documented_examples_is_as_from_the_command() {
    are_as_from_the_command(|example| example.number % SAMPLE == 3);
}

#[test]
fn all_documented_examples_are_as_from_the_command() {
    let Ok(wanted) = std::env::var("MANIMQ_SOAK_EXAMPLES") else {
        tell(
            "only with MANIMQ_SOAK_EXAMPLES=1: all documented examples (or some: their names, with commas)",
        );
        return;
    };
    let names: Vec<&str> = wanted.split(',').collect();
    are_as_from_the_command(|example| wanted == "1" || names.contains(&example.name.as_str()));
}
