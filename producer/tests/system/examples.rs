//! Manim's own documented examples, all that ship in the docstrings of the installed package, come out of
//! the whole system, by API, queue and worker, as from the `manim` command.
//!
//! Stills and films of `encoder: manim` decode to equal frames; films of
//! `encoder: fast` are equal before they are encoded (`worker/renderer/tests/examples.py`, outside of the
//! sandbox), look alike after, and come out of the system as they were made outside.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use manimq_shared::api::JobView;
use manimq_shared::ids::JobId;
use manimq_shared::job::Status;
use manimq_shared::scene_policy::{PolicyMode, check};
use manimq_shared::testing::film::{find_film, frame_sums, output_of, ssim};
use manimq_shared::testing::python_env;
use serde_json::json;

use crate::harness::{System, workspace};

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
        .arg(workspace().join("worker/renderer/tests/examples.py"));
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

/// Asks for an example by the API. `None` if that refuses it.
async fn submit(system: &System, example: &Example, encoder: &str) -> Option<JobId> {
    let mut output = json!({"quality": "low", "seed": 0, "encoder": encoder});
    if example.still {
        output["format"] = json!("png");
    }
    let body = json!({
        "input": {"kind": "code", "source": example.source, "scene": example.name},
        "output": output,
        "timeout_s": 240,
    });
    let response = system.try_submit(body).await;
    let status = response.status();
    let text = response.text().await.expect("an answer");
    if status == 422 {
        return None;
    }
    assert_eq!(status, 202, "{}: {text}", example.name);
    let job: JobView = serde_json::from_str(&text).expect("a job");
    Some(job.id)
}

/// The film or picture of a job, or why there is none.
async fn made_by(system: &System, job: Option<JobId>) -> Result<PathBuf, String> {
    let Some(id) = job else {
        return Err("the API refuses it".to_owned());
    };
    let job = system.ended(id).await;
    if job.status != Status::Succeeded {
        return Err(format!("{}: {:?}", job.status, job.error));
    }
    Ok(system.download(&job).await)
}

/// Why an example's result is not that of the command.
async fn difference(
    system: &System,
    example: &Example,
    made: &Made,
    folder: &Path,
    counts: &mut Counts,
) -> Option<String> {
    let exact = submit(system, example, "manim").await;
    if !made.bare.is_empty() {
        // What the command cannot render either, we must not pretend to.
        if !FAIL_ANYWAY.iter().any(|(said, _)| made.bare.contains(said)) {
            return Some(format!("the command fails: {}", made.bare));
        }
        counts.both_fail += 1;
        let ours = made_by(system, exact).await;
        return ours
            .is_ok()
            .then(|| "the command fails, and we give a file".to_owned());
    }
    if !example.still && !made.equal {
        return Some(format!(
            "the stream's frames are not the command's {}: {}",
            made.frames, made.fast
        ));
    }
    let fast = match example.still {
        true => None,
        false => Some(submit(system, example, "fast").await),
    };
    let ours = match made_by(system, exact).await {
        Ok(ours) => ours,
        Err(why) => return Some(format!("only the command renders it: {why}")),
    };
    let suffix = if example.still { "png" } else { "mp4" };
    let bare = folder.join(format!("{}/bare.{suffix}", made.number));
    let (ours, theirs) = (frame_sums(&ours), frame_sums(&bare));
    if ours != theirs {
        return Some(format!(
            "{} decoded frames, and {}",
            ours.len(),
            theirs.len()
        ));
    }
    let Some(fast) = fast else {
        counts.stills += 1;
        return None;
    };
    counts.films += 1;
    let fast = match made_by(system, fast).await {
        Ok(fast) => fast,
        Err(why) => return Some(format!("the fast render fails: {why}")),
    };
    fast_difference(example, made, folder, &fast, &bare, counts)
}

/// The same for the film of `encoder: fast`, whose frames before encoding were found equal.
fn fast_difference(
    example: &Example,
    made: &Made,
    folder: &Path,
    fast: &Path,
    bare: &Path,
    counts: &mut Counts,
) -> Option<String> {
    let outside = find_film(&folder.join(format!("{}/fast", made.number))).expect("a film");
    let (ours, theirs) = (frame_sums(fast), frame_sums(&outside));
    if ours.len() != made.frames || ours != theirs {
        return Some(format!(
            "the fast film has {} decoded frames, outside of the sandbox {}, and they differ",
            ours.len(),
            theirs.len()
        ));
    }
    let likeness = ssim(fast, bare);
    counts.alike.push(likeness);
    let alike = likeness >= SSIM_MIN || LESS_ALIKE.iter().any(|(name, _)| *name == example.name);
    (!alike).then(|| format!("the fast film's SSIM is {likeness}"))
}

/// A figure for whoever reads the test's output.
fn tell(what: &str) {
    let _ = writeln!(std::io::stderr(), "figure: {what}");
}

async fn are_as_from_the_command(wanted: impl Fn(&Example) -> bool) {
    let all = examples();
    assert!(all.len() > 350, "only {} examples were found", all.len());
    let system = System::start().await;
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
        if let Some(what) = difference(&system, example, &made, folder.path(), &mut counts).await {
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

// On several threads: while one reads what Python says, connections that the server ends must be noticed.
#[tokio::test(flavor = "multi_thread")]
async fn a_sample_of_the_documented_examples_is_as_from_the_command() {
    are_as_from_the_command(|example| example.number % SAMPLE == 3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn all_documented_examples_are_as_from_the_command() {
    let Ok(wanted) = std::env::var("MANIMQ_SOAK_EXAMPLES") else {
        tell(
            "only with MANIMQ_SOAK_EXAMPLES=1: all documented examples (or some: their names, with commas)",
        );
        return;
    };
    let names: Vec<&str> = wanted.split(',').collect();
    are_as_from_the_command(|example| wanted == "1" || names.contains(&example.name.as_str()))
        .await;
}
