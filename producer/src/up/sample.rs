//! The sample of the first start: rendered through our own API exactly as a user would, and, for
//! `--once`, looked into.

use std::path::{Path, PathBuf};
use std::time::Duration;

use manimq_shared::api::JobView;
use manimq_shared::job::{CacheMode, Format, Lane, OutputSpec, Quality, TIMEOUT_S_DEFAULT};
use tokio_util::sync::CancellationToken;

use super::console::Console;
use super::supervise::Alive;
use super::video;
use crate::client::Client;
use crate::exit::{Exit, Failure};
use crate::render::follow::Logs;
use crate::render::place::Place;
use crate::render::progress::{Mode, Screen, short};
use crate::render::source::Source;
use crate::render::{More, Plan, Which, render};

/// The scene file.
const SOURCE: &str = include_str!("../../samples/hello.py");
/// Its only scene.
const SCENE: &str = "HelloManimq";
/// How long the film is; `manim` itself makes it so long.
const DURATION_S: f64 = 5.8;
/// What a container may round.
const DURATION_TOLERANCE_S: f64 = 0.15;
/// Longest wait for the sample, queue and all.
const WAIT_MAX: Duration = Duration::from_secs(900);
/// Longest time for `ffprobe` to decode it.
const PROBE_MAX: Duration = Duration::from_secs(60);

/// Where the sample of a data folder lies.
#[must_use]
pub fn path(data_dir: &Path) -> PathBuf {
    data_dir.join("sample").join("hello.mp4")
}

/// Renders the sample to [`path`].
///
/// # Errors
/// As `manimq render` would tell it.
pub async fn make(
    data_dir: &Path,
    client: &Client,
    console: &Console,
    stop: &CancellationToken,
) -> Result<JobView, Failure> {
    let output = OutputSpec {
        quality: Quality::Medium,
        ..OutputSpec::default()
    };
    let plan = Plan {
        input: None,
        more: More::default(),
        with: crate::render::with::With::default(),
        source: Source {
            text: SOURCE.to_owned(),
            shown: "hello.py".to_owned(),
            file_name: Some("hello.py".to_owned()),
            stem: "hello".into(),
            lines_added: 0,
        },
        which: Which::Named(vec![SCENE.to_owned()]),
        output,
        place: Place {
            media_dir: data_dir.join("sample"),
            stem: "hello".into(),
            output_file: Some(path(data_dir)),
            film: None,
        },
        timeout_s: TIMEOUT_S_DEFAULT,
        lane: Lane::Interactive,
        cache: CacheMode::Refresh,
        strict: false,
        wait_max: WAIT_MAX,
        logs: Logs::OnFailure,
        can_ask: false,
        json: false,
    };
    let words = console.clone();
    let screen = Screen::to(
        Mode::Lines,
        console.paint(),
        Box::new(move |text| words.say(text)),
    );
    let outcomes = render(&plan, client, &screen, stop, |_| {}).await?;
    let outcome = outcomes
        .into_iter()
        .next()
        .ok_or_else(|| Failure::new(Exit::Failed, "sample", "the sample came to nothing"))?;
    match (outcome.result, outcome.job) {
        (Ok(_), Some(job)) => Ok(job),
        (Err(failure), _) => Err(failure),
        (Ok(_), None) => Err(Failure::new(
            Exit::Failed,
            "sample",
            "the sample has no job",
        )),
    }
}

/// One line about a rendered sample.
#[must_use]
pub fn describe(job: &JobView) -> String {
    let (width, height, fps) = job.output.size();
    let seconds = |from: jiff::Timestamp, to: jiff::Timestamp| {
        (to.as_millisecond() - from.as_millisecond()) as f64 / 1e3
    };
    let took = job.finished_at.map_or(String::new(), |end| {
        format!(
            " {} after it was asked for",
            short(seconds(job.created_at, end))
        )
    });
    format!("{SCENE} rendered{took}: {width}x{height}, {fps} fps, {DURATION_S} s of video")
}

/// Makes sure that the film is there and plays: H.264, the right size and length, and every frame
/// decodes if `ffprobe` is at hand.
///
/// # Errors
/// What is wrong with it.
pub async fn check(path: &Path, output: &OutputSpec, alive: &Alive) -> Result<String, Failure> {
    let wrong = |what: String| {
        Failure::new(
            Exit::Failed,
            "sample-broken",
            format!("the sample {} does not play: {what}", path.display()),
        )
    };
    debug_assert_eq!(output.format, Format::Mp4);
    let (width, height, fps) = output.size();
    let film = video::look(path).map_err(wrong)?;
    if film.codec != "avc1" || (film.width, film.height) != (width, height) {
        return Err(wrong(format!(
            "it is {} {}x{}, not avc1 {width}x{height}",
            film.codec, film.width, film.height
        )));
    }
    if (film.duration_s - DURATION_S).abs() > DURATION_TOLERANCE_S {
        return Err(wrong(format!(
            "it lasts {:.2} s, not {DURATION_S} s",
            film.duration_s
        )));
    }
    let mut probe = tokio::process::Command::new("ffprobe");
    probe
        .args(["-v", "error", "-count_frames", "-select_streams", "v:0"])
        .args([
            "-show_entries",
            "stream=codec_name,width,height,nb_read_frames",
        ])
        .args(["-of", "csv=p=0"])
        .arg(path)
        .stdin(std::process::Stdio::null())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .kill_on_drop(true);
    let child = match probe.spawn() {
        Ok(child) => child,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Ok(format!(
                "h264, {width}x{height}, {:.2} s (ffprobe is not installed; the file's index was read)",
                film.duration_s
            ));
        }
        Err(error) => return Err(wrong(format!("ffprobe cannot be started: {error}"))),
    };
    let pid = child
        .id()
        .and_then(|id| rustix::process::Pid::from_raw(i32::try_from(id).ok()?));
    let alive = || {
        alive
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    };
    alive().extend(pid);
    let answer = tokio::time::timeout(PROBE_MAX, child.wait_with_output()).await;
    alive().retain(|p| Some(*p) != pid);
    let answer = answer
        .map_err(|_| wrong("ffprobe did not end".to_owned()))?
        .map_err(|error| wrong(error.to_string()))?;
    let errors = String::from_utf8_lossy(&answer.stderr).into_owned();
    if !answer.status.success() || !errors.trim().is_empty() {
        return Err(wrong(format!(
            "ffprobe: {}: {}",
            answer.status,
            errors.trim()
        )));
    }
    let text = String::from_utf8_lossy(&answer.stdout);
    let fields: Vec<&str> = text.trim().split(',').collect();
    let frames = match fields.as_slice() {
        ["h264", w, h, frames] if *w == width.to_string() && *h == height.to_string() => {
            frames.parse::<f64>().unwrap_or(0.0)
        }
        _ => return Err(wrong(format!("ffprobe reads {}", text.trim()))),
    };
    if (frames / f64::from(fps) - DURATION_S).abs() > DURATION_TOLERANCE_S {
        return Err(wrong(format!(
            "it has {frames} frames of {fps} per second, which is not {DURATION_S} s"
        )));
    }
    Ok(format!(
        "h264, {width}x{height}, {frames} frames, {:.2} s",
        film.duration_s
    ))
}
