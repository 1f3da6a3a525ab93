//! `manimq render`: what `manim render` does, on a server.
//!
//! Read the file → submit one job per scene → follow them → download → print the paths.
//! Data goes to standard output, everything else to standard error.

pub mod choose;
pub mod flags;
pub mod follow;
pub mod place;
pub mod progress;
pub mod report;
pub mod source;

use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser as _};
use clap::{ArgAction, Args};
use futures_util::StreamExt as _;
use manimq_shared::api::JobView;
use manimq_shared::job::{
    Aspect, CacheMode, Encoder, Format, JobInput, JobRequest, Lane, OutputSpec, Quality, Status,
    TIMEOUT_S_MAX,
};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use self::flags::ManimFlags;
use self::follow::{Ended, Follower, Logs};
use self::place::Place;
use self::progress::{Mode, Screen};
use self::source::Source;
use crate::cli::ServerArgs;
use crate::client::{Backoff, Client, ClientError};
use crate::exit::{Exit, Failure};
use crate::term::{Paint, visible};

/// How long a submit is repeated when the server is there but not well.
const SUBMIT_PATIENCE: Duration = Duration::from_secs(60);
/// Jobs that are followed at once; more wait their turn.
const FOLLOWED_MAX: usize = 8;

const EXAMPLES: &str = "\
Examples:
  manimq render scene.py MyScene                 1080p60, to media/videos/scene/1080p60/MyScene.mp4
  manimq render -ql scene.py MyScene             quick preview: 480p15
  manimq render -qm --format gif scene.py A B    two scenes, 720p30, as GIFs
  manimq render -s scene.py MyScene              the last frame as a picture
  manimq render -t -o logo scene.py Logo         transparent, to …/logo.mov
  manimq render -a scene.py                      every scene of the file
  cat scene.py | manimq render -ql - MyScene     from standard input
  manimq render --json scene.py A | jq -r .path  for scripts

Environment:
  MANIMQ_SERVER    the server, as --server
  MANIMQ_API_KEY   your key, if the server wants one; sent to it and never printed
  NO_COLOR         no colours

Exit status:
  0 rendered · 1 the job failed · 2 wrong use · 3 quota reached · 4 --wait-timeout passed
  5 canceled (Ctrl-C) · 6 the server cannot be reached";

/// Flags of `manimq render`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES, override_usage = "manimq render [OPTIONS] FILE.py [SCENE]...")]
pub struct RenderArgs {
    /// The Python file, or - for standard input
    #[arg(value_name = "FILE")]
    pub file: PathBuf,

    /// The scene classes; may be left out if the file has one
    #[arg(value_name = "SCENE")]
    pub scenes: Vec<String>,

    /// l 854x480@15, m 1280x720@30, h 1920x1080@60, p 2560x1440@60, k 3840x2160@60
    #[arg(short, long, value_name = "l|m|h|p|k", default_value = "h", hide_possible_values = true,
          value_parser = quality_parser(), help_heading = "Output")]
    pub quality: Quality,

    /// Frames per second, 1 to 120, instead of the quality's own
    #[arg(long, visible_alias = "frame_rate", alias = "frame-rate", value_name = "N",
          value_parser = parse_fps, help_heading = "Output")]
    pub fps: Option<u32>,

    /// File type: mp4 (default), gif, webm, mov (default with -t) or png (last frame, as -s)
    #[arg(long, value_name = "FORMAT", hide_possible_values = true, ignore_case = true,
          value_parser = ["auto", "mp4", "gif", "webm", "mov", "png", "none", "png-sequence"],
          help_heading = "Output")]
    pub format: Option<String>,

    /// Leave the background out
    #[arg(short, long, help_heading = "Output")]
    pub transparent: bool,

    /// Only the last frame, as a PNG
    #[arg(
        short,
        long = "save_last_frame",
        alias = "save-last-frame",
        help_heading = "Output"
    )]
    pub save_last_frame: bool,

    /// Every scene of the file
    #[arg(
        short = 'a',
        long = "write_all",
        alias = "write-all",
        conflicts_with = "scenes",
        help_heading = "Output"
    )]
    pub write_all: bool,

    /// Name of the file, without its extension; an absolute path goes there
    #[arg(
        short,
        long = "output_file",
        alias = "output-file",
        value_name = "NAME",
        help_heading = "Output"
    )]
    pub output_file: Option<PathBuf>,

    /// Folder under which the files are put, as manim does
    #[arg(
        long = "media_dir",
        alias = "media-dir",
        value_name = "DIR",
        default_value = "./media",
        help_heading = "Output"
    )]
    pub media_dir: PathBuf,

    /// Shape of the picture: 16:9, 9:16 or 1:1
    #[arg(long, value_name = "SHAPE", default_value = "16:9", hide_possible_values = true,
          value_parser = words::<Aspect>(Aspect::ALL.iter().map(|v| v.as_str())),
          help_heading = "Output")]
    pub aspect: Aspect,

    /// fast: one stream, quick; manim: manim's own settings, frame-identical to its file
    #[arg(long, value_name = "fast|manim", default_value = "fast", hide_possible_values = true,
          value_parser = words::<Encoder>(Encoder::ALL.iter().map(|v| v.as_str())),
          help_heading = "Output")]
    pub encoder: Encoder,

    /// Stop the render after this long, at most 1h
    #[arg(long, value_name = "TIME", default_value = "10m", value_parser = parse_timeout,
          help_heading = "Job")]
    pub timeout: Duration,

    /// Priority among your own jobs: interactive, normal or batch
    #[arg(long, value_name = "LANE", default_value = "interactive", hide_possible_values = true,
          value_parser = words::<Lane>(Lane::ALL.iter().map(|v| v.as_str())),
          help_heading = "Job")]
    pub lane: Lane,

    /// Render even if the same scene was rendered before
    #[arg(
        long = "disable_caching",
        alias = "disable-caching",
        help_heading = "Job"
    )]
    pub disable_caching: bool,

    /// Stop waiting after this long (exit status 4); the job goes on
    #[arg(long, value_name = "TIME", default_value = "24h", value_parser = parse_duration,
          help_heading = "Job")]
    pub wait_timeout: Duration,

    /// Show all that the scene prints, however much it is
    #[arg(long, conflicts_with = "no_logs", help_heading = "Display")]
    pub logs: bool,

    /// Show what the scene prints only if the job fails
    #[arg(long, help_heading = "Display")]
    pub no_logs: bool,

    /// none: show no progress
    #[arg(long = "progress_bar", alias = "progress-bar", value_name = "display|none",
          hide_possible_values = true, value_parser = ["display", "leave", "none"],
          default_value = "display", hide_default_value = true, help_heading = "Display")]
    pub progress_bar: String,

    /// Print one JSON object per job (the job and its `path`), errors too
    #[arg(long, action = ArgAction::SetTrue, help_heading = "Display")]
    pub json: bool,

    /// Where the server is
    #[command(flatten)]
    pub server: ServerArgs,

    /// What manim has and we do not
    #[command(flatten)]
    pub manim: ManimFlags,
}

/// A parser for a closed set of words.
fn words<T>(
    all: impl IntoIterator<Item = &'static str>,
) -> impl clap::builder::TypedValueParser<Value = T>
where
    T: std::str::FromStr + Clone + Send + Sync + 'static,
    T::Err: std::error::Error + Send + Sync + 'static,
{
    PossibleValuesParser::new(all).try_map(|word| word.parse::<T>())
}

fn quality_parser() -> impl clap::builder::TypedValueParser<Value = Quality> {
    let value = |flag: &'static str, name: &'static str| PossibleValue::new(flag).aliases([name]);
    PossibleValuesParser::new([
        value("l", "low"),
        value("m", "medium"),
        value("h", "high"),
        value("p", "production"),
        value("k", "4k"),
    ])
    .map(|word| match word.as_str() {
        "l" | "low" => Quality::Low,
        "m" | "medium" => Quality::Medium,
        "p" | "production" => Quality::Production,
        "k" | "4k" => Quality::FourK,
        _ => Quality::High,
    })
}

fn parse_fps(text: &str) -> Result<u32, String> {
    let fps: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    if fps.fract() != 0.0 || !(1.0..=120.0).contains(&fps) {
        return Err("manimq renders whole frames per second, 1 to 120".to_owned());
    }
    Ok(fps as u32)
}

/// `10m`, `1h 30m`, or a bare number of seconds.
fn parse_duration(text: &str) -> Result<Duration, String> {
    match text.parse::<u64>() {
        Ok(seconds) => Ok(Duration::from_secs(seconds.min(31_536_000))),
        Err(_) => {
            humantime::parse_duration(text).map_err(|_| "write it like 90s, 10m or 1h".to_owned())
        }
    }
}

fn parse_timeout(text: &str) -> Result<Duration, String> {
    let timeout = parse_duration(text)?;
    let allowed = 1..=u64::from(TIMEOUT_S_MAX);
    if allowed.contains(&timeout.as_secs())
        && timeout <= Duration::from_secs(u64::from(TIMEOUT_S_MAX))
    {
        Ok(timeout)
    } else {
        Err("it must be between 1s and 1h".to_owned())
    }
}

impl RenderArgs {
    /// What is asked of the server.
    fn output(&self) -> Result<OutputSpec, Failure> {
        let asked = self.format.as_deref().map(str::to_ascii_lowercase);
        let format = match asked.as_deref() {
            Some(not_yet @ ("none" | "png-sequence")) => {
                return Err(Failure::usage(format!(
                    "--format {not_yet} of `manim render` is not yet supported by manimq"
                ))
                .hint("use mp4, gif, webm, mov, or png for the last frame"));
            }
            None | Some("auto") if self.save_last_frame => Format::Png,
            None | Some("auto") if self.transparent => Format::Mov,
            None | Some("auto") => Format::Mp4,
            Some(word) => word.parse().map_err(Failure::usage)?,
        };
        if self.save_last_frame && format != Format::Png {
            return Err(Failure::usage(format!(
                "-s makes a picture (png), --format asks for {format}"
            ))
            .hint("give one of the two"));
        }
        if self.transparent && !format.can_be_transparent() {
            return Err(Failure::usage(format!("{format} cannot be transparent"))
                .hint("leave --format out (mov), or use --format webm, gif or png"));
        }
        Ok(OutputSpec {
            format,
            quality: self.quality,
            fps: self.fps,
            aspect: self.aspect,
            transparent: self.transparent,
            encoder: self.encoder,
        })
    }

    fn plan(&self) -> Result<Plan, Failure> {
        let output = self.output()?;
        if let Some(name) = &self.output_file {
            if !place::is_file_name(name) {
                return Err(Failure::usage(format!(
                    "-o {} names no file",
                    name.display()
                )));
            }
            if self.write_all || self.scenes.len() > 1 {
                return Err(Failure::usage("-o can only be used with exactly one scene")
                    .hint("leave -o out, or name one scene"));
            }
        }
        let mut scenes = self.scenes.clone();
        let mut once = std::collections::HashSet::new();
        scenes.retain(|scene| once.insert(scene.clone()));
        let source = Source::read(&self.file)?;
        Ok(Plan {
            which: match (self.write_all, scenes.is_empty()) {
                (true, _) => Which::All,
                (false, true) => Which::Unsaid,
                (false, false) => Which::Named(scenes),
            },
            place: Place {
                media_dir: self.media_dir.clone(),
                stem: source.stem.clone(),
                output_file: self.output_file.clone(),
            },
            source,
            output,
            timeout_s: u32::try_from(self.timeout.as_secs()).unwrap_or(TIMEOUT_S_MAX),
            lane: self.lane,
            cache: if self.disable_caching {
                CacheMode::Refresh
            } else {
                CacheMode::Use
            },
            wait_max: self.wait_timeout,
            logs: match (self.logs, self.no_logs || self.json) {
                (true, _) => Logs::All,
                (false, true) => Logs::OnFailure,
                (false, false) => Logs::Some,
            },
            can_ask: !self.json
                && self.file.as_os_str() != "-"
                && std::io::stdin().is_terminal()
                && std::io::stderr().is_terminal(),
            json: self.json,
        })
    }
}

/// Which scenes of the file.
#[derive(Debug, Clone)]
pub enum Which {
    /// These.
    Named(Vec<String>),
    /// Each.
    All,
    /// The only one; if there are several, the user is asked.
    Unsaid,
}

/// One command's worth of work.
#[derive(Debug)]
pub struct Plan {
    /// The file.
    pub source: Source,
    /// Its scenes.
    pub which: Which,
    /// What the results should be.
    pub output: OutputSpec,
    /// Where they go.
    pub place: Place,
    /// Limit of one attempt.
    pub timeout_s: u32,
    /// Priority.
    pub lane: Lane,
    /// Whether an earlier result may answer.
    pub cache: CacheMode,
    /// Longest wait for all of it.
    pub wait_max: Duration,
    /// What to show of the scene's output.
    pub logs: Logs,
    /// Whether a person is there to answer.
    pub can_ask: bool,
    /// Whether failures are told as JSON, and so not in prose.
    pub json: bool,
}

/// What became of one scene.
#[derive(Debug)]
pub struct Outcome {
    /// The scene, as far as it is known.
    pub scene: String,
    /// The job, once it was accepted.
    pub job: Option<JobView>,
    /// Where its file is, or why there is none.
    pub result: Result<PathBuf, Failure>,
}

impl Outcome {
    /// The job object with `path`, or the error.
    #[must_use]
    pub fn to_json(&self) -> serde_json::Value {
        let mut value = match (&self.job, &self.result) {
            (Some(job), _) => serde_json::to_value(job).unwrap_or_default(),
            (None, Err(failure)) => return failure.to_json(),
            (None, Ok(_)) => serde_json::Value::Null,
        };
        if let Some(object) = value.as_object_mut() {
            let path = self.result.as_ref().ok().map(|p| p.display().to_string());
            object.insert("path".to_owned(), path.into());
            if let Err(failure) = &self.result {
                object.insert("exit_code".to_owned(), failure.exit.code().into());
                if object.get("error").is_none_or(serde_json::Value::is_null) {
                    object.insert(
                        "error".to_owned(),
                        serde_json::to_value(failure).unwrap_or_default(),
                    );
                }
            }
        }
        value
    }
}

/// Runs the command.
pub async fn run(args: RenderArgs) -> Exit {
    let paint = Paint::stderr();
    let mode = match Mode::of_stderr() {
        _ if args.progress_bar == "none" => Mode::Quiet,
        Mode::Lines if args.json => Mode::Quiet,
        mode => mode,
    };
    let screen = Screen::new(mode, paint);
    let json = args.json;
    let tell = |failure: &Failure| {
        if json {
            screen.data(&failure.to_json().to_string());
        } else {
            screen.say(&failure.report(paint));
        }
        failure.exit
    };
    let prepare = || -> Result<(Plan, Client), Failure> {
        for note in args.manim.check()? {
            if !json {
                screen.say(&format!("{} {note}", paint.warning("note:")));
            }
        }
        Ok((args.plan()?, args.server.client()?))
    };
    let (plan, client) = match prepare() {
        Ok(ready) => ready,
        Err(failure) => return tell(&failure),
    };
    // Not before: reading standard input blocks, and Ctrl-C must end that at once.
    let interrupt = crate::cli::interrupts();
    let mut exit = Exit::Ok;
    let on_end = |outcome: &Outcome| match &outcome.result {
        _ if json => screen.data(&outcome.to_json().to_string()),
        Ok(path) => {
            if let Some(cost) = outcome.job.as_ref().and_then(report::cost) {
                screen.say(&paint.dim(cost).to_string());
            }
            screen.data(&path.display().to_string());
        }
        Err(failure) if failure.told => {}
        Err(failure) => screen.say(&failure.report(paint)),
    };
    match render(&plan, &client, &screen, &interrupt, on_end).await {
        Ok(outcomes) => {
            for failure in outcomes.iter().filter_map(|o| o.result.as_ref().err()) {
                // Ctrl-C explains all that it touched; else the first failure counts.
                if exit == Exit::Ok || failure.exit == Exit::Canceled {
                    exit = failure.exit;
                }
            }
        }
        Err(failure) => {
            exit = if failure.told && !json {
                failure.exit
            } else {
                tell(&failure)
            }
        }
    }
    exit
}

/// Renders every scene of the plan; `on_end` hears of each as it ends. The outcomes are in the
/// order of the scenes.
///
/// # Errors
/// Nothing was rendered: the source or the request was refused, or nobody was there to ask.
pub async fn render(
    plan: &Plan,
    client: &Client,
    screen: &Screen,
    interrupt: &CancellationToken,
    on_end: impl Fn(&Outcome),
) -> Result<Vec<Outcome>, Failure> {
    let give_up_at = Instant::now() + plan.wait_max;
    let session = Session {
        plan,
        client,
        screen,
        interrupt,
        give_up_at,
    };
    let mut work: Vec<Work> = Vec::new();
    let names = match &plan.which {
        Which::Named(names) => names.clone(),
        Which::All | Which::Unsaid => match session.submit(None).await {
            Ok(job) => {
                let scene = job
                    .input
                    .scene
                    .clone()
                    .unwrap_or_else(|| plan.source.shown.clone());
                work.push((scene, Ok(job)));
                Vec::new()
            }
            Err(Refused::Scene { scenes, .. }) if scenes.len() > 1 => match plan.which {
                Which::All => scenes,
                _ if plan.can_ask => tokio::select! {
                    chosen = choose::ask(&plan.source.shown, &scenes) => chosen?,
                    () = interrupt.cancelled() => return Err(canceled_early()),
                },
                _ => return Err(choose::list(&plan.source.shown, &scenes)),
            },
            Err(refused) => return Err(refused.into()),
        },
    };
    if names.len() > 1 && plan.place.output_file.is_some() {
        return Err(Failure::usage("-o can only be used with exactly one scene"));
    }
    for name in names {
        let submitted = match session.submit(Some(&name)).await {
            // Nothing runs yet and the others would meet the same: stop here.
            Err(refused) if work.is_empty() => return Err(refused.into()),
            other => other.map_err(Failure::from),
        };
        let stop = submitted.as_ref().is_err_and(|f| f.exit == Exit::Canceled);
        work.push((name, submitted));
        if stop {
            break;
        }
    }
    let several = work.len() > 1;
    let mut ends =
        futures_util::stream::iter(work.into_iter().enumerate().map(|(n, (scene, job))| {
            let session = &session;
            async move { (n, session.finish(scene, job, several).await) }
        }))
        .buffer_unordered(FOLLOWED_MAX);
    let mut outcomes = Vec::new();
    while let Some((n, outcome)) = ends.next().await {
        on_end(&outcome);
        outcomes.push((n, outcome));
    }
    outcomes.sort_by_key(|(n, _)| *n);
    Ok(outcomes.into_iter().map(|(_, outcome)| outcome).collect())
}

type Work = (String, Result<JobView, Failure>);

/// Why a submit came to nothing.
enum Refused {
    /// The scene's name: missing, ambiguous or unknown.
    Scene {
        scenes: Vec<String>,
        failure: Failure,
    },
    /// Anything else.
    Other(Failure),
}

impl From<Refused> for Failure {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Scene { failure, .. } | Refused::Other(failure) => failure,
        }
    }
}

fn canceled_early() -> Failure {
    Failure::new(
        Exit::Canceled,
        "canceled",
        "canceled before anything was rendered",
    )
}

struct Session<'a> {
    plan: &'a Plan,
    client: &'a Client,
    screen: &'a Screen,
    interrupt: &'a CancellationToken,
    give_up_at: Instant,
}

impl Session<'_> {
    fn request(&self, scene: Option<&str>) -> JobRequest {
        let plan = self.plan;
        JobRequest {
            input: JobInput::Code {
                source: plan.source.text.clone(),
                scene: scene.map(str::to_owned),
                file_name: plan.source.file_name.clone(),
            },
            output: plan.output.clone(),
            lane: plan.lane,
            timeout_s: plan.timeout_s,
            deadline_s: None,
            cache: plan.cache,
            tags: Vec::new(),
            metadata: std::collections::BTreeMap::new(),
        }
    }

    /// Submits once, however often the call must be repeated: the key makes repetitions find the
    /// first one's job. A server that is not there at all is not waited for.
    async fn submit(&self, scene: Option<&str>) -> Result<JobView, Refused> {
        let request = self.request(scene);
        let key = Uuid::now_v7().simple().to_string();
        let started = Instant::now();
        let mut backoff = Backoff::new();
        let mut was_there = false;
        let mut told = false;
        let display = self.screen.job(scene.unwrap_or(&self.plan.source.shown));
        loop {
            if self.interrupt.is_cancelled() {
                return Err(Refused::Other(canceled_early()));
            }
            // Not raced against Ctrl-C: a job that was accepted must be known to be cancelled.
            let error = match self.client.submit(&request, &key).await {
                Ok(job) => return Ok(job),
                Err(error) => error,
            };
            was_there |= !matches!(error, ClientError::Unreachable { .. });
            if !(was_there && error.is_passing()) || started.elapsed() > SUBMIT_PATIENCE {
                return Err(self.refused(error, scene));
            }
            if !std::mem::replace(&mut told, true) {
                display.status(&format!("{}; trying again", visible(&error.to_string())));
            }
            let wait = error
                .retry_after()
                .unwrap_or_else(|| backoff.wait())
                .min(SUBMIT_PATIENCE);
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = self.interrupt.cancelled() => {}
            }
        }
    }

    fn refused(&self, error: ClientError, scene: Option<&str>) -> Refused {
        let source = &self.plan.source;
        if let ClientError::Problem { problem, .. } = &error {
            // What is wrong with the source is not a matter of JSON pointers.
            let detail = match problem.errors.as_slice() {
                [only] if only.pointer.starts_with("/input") => &only.detail,
                _ => &problem.detail,
            };
            let message = format!("{}: {detail}", source.shown);
            if !problem.scenes.is_empty() {
                let names: Vec<_> = problem.scenes.iter().map(|s| format!("  {s}")).collect();
                // In our own words: the server's name the scenes as well, in one long line.
                let message = match scene {
                    Some(scene) => format!("{} has no scene {scene}", source.shown),
                    None => message,
                };
                let message = format!("{message}; its scenes:\n{}", names.join("\n"));
                let mut failure = Failure::new(Exit::Usage, problem.kind.clone(), message);
                if let Some(nearest) = scene.and_then(|s| choose::nearest(s, &problem.scenes)) {
                    failure = failure.hint(format!("did you mean {nearest}?"));
                }
                failure.problem = Some(problem.clone());
                return Refused::Scene {
                    scenes: problem.scenes.clone(),
                    failure,
                };
            }
            let findings = report::findings(&problem.findings, source, self.screen.paint());
            let of_source = problem
                .errors
                .iter()
                .all(|e| e.pointer.starts_with("/input"));
            if !findings.is_empty() || (of_source && !problem.errors.is_empty()) {
                let exit = if findings.is_empty() {
                    Exit::Usage
                } else {
                    Exit::Failed
                };
                let mut failure = Failure::new(exit, problem.kind.clone(), message);
                failure.problem = Some(problem.clone());
                if !findings.is_empty() && !self.plan.json {
                    // The problem's detail repeats the first finding.
                    let paint = self.screen.paint();
                    let verdict = format!("{} was refused", visible(&source.shown));
                    self.screen.say(&findings);
                    self.screen
                        .say(&format!("{} {verdict}", paint.error("error:")));
                    failure.told = true;
                }
                return Refused::Other(failure);
            }
        }
        Refused::Other(error.into())
    }

    /// From the accepted job to the file on disk.
    async fn finish(
        &self,
        scene: String,
        submitted: Result<JobView, Failure>,
        several: bool,
    ) -> Outcome {
        let job = match submitted {
            Ok(job) => job,
            Err(failure) => {
                return Outcome {
                    scene,
                    job: None,
                    result: Err(failure),
                };
            }
        };
        let display = self.screen.job(&scene);
        let follower = Follower {
            client: self.client,
            display: &display,
            interrupt: self.interrupt,
            give_up_at: self.give_up_at,
            logs: self.plan.logs,
        };
        let ended = match follower.follow(&job).await {
            Ok(ended) => ended,
            Err(failure) => {
                return Outcome {
                    scene,
                    job: Some(job),
                    result: Err(failure),
                };
            }
        };
        let result = match ended.job.status {
            Status::Succeeded if self.interrupt.is_cancelled() => Err(Failure::new(
                Exit::Canceled,
                "canceled",
                format!(
                    "{} had ended before it could be canceled; its file was not downloaded",
                    ended.job.id
                ),
            )),
            Status::Succeeded => {
                display.status("downloading");
                let fetched = self.fetch(&scene, &ended.job).await;
                if ended.job.cached && !self.plan.json {
                    self.screen.say(&format!(
                        "{} {} is the film of an earlier render of the same; --disable_caching renders it anew",
                        self.screen.paint().warning("note:"),
                        visible(&scene)
                    ));
                }
                fetched
            }
            Status::Canceled => Err(Failure::new(
                Exit::Canceled,
                "canceled",
                format!("{} was canceled", ended.job.id),
            )),
            Status::Failed => Err(self.failed(&scene, &ended, several).await),
            Status::Expired | Status::Queued | Status::Running => Err(Failure::new(
                Exit::Failed,
                "expired",
                format!("no worker took {} before its deadline", ended.job.id),
            )),
        };
        drop(display);
        Outcome {
            scene,
            job: Some(ended.job),
            result,
        }
    }

    async fn failed(&self, scene: &str, ended: &Ended, several: bool) -> Failure {
        let job = &ended.job;
        let message = job
            .error
            .as_ref()
            .map_or("the job failed".to_owned(), |e| e.message.clone());
        let mut failure = Failure::new(Exit::Failed, "job-failed", message);
        failure.told = true;
        let paint = self.screen.paint();
        let mut text = String::new();
        let mut tail = ended.tail.clone();
        if tail.is_empty() && self.plan.logs == Logs::OnFailure {
            // The events may have been cut off; the log is kept.
            let lines = u32::try_from(follow::TAIL_LINES).unwrap_or(u32::MAX);
            if let Ok(log) = self.client.logs(job.id, Some(lines)).await {
                tail = log.lines().map(str::to_owned).collect();
                tail.drain(..tail.len().saturating_sub(follow::TAIL_LINES));
            }
        }
        for line in &tail {
            text.push_str(&format!(
                "{}\n",
                paint.dim(format!("{} | {}", visible(scene), visible(line)))
            ));
        }
        if several {
            text.push_str(&format!(
                "{}\n",
                paint.strong(format!("{}:", visible(scene)))
            ));
        }
        match &job.error {
            Some(error) => {
                text.push_str(&report::job_error(error, scene, &self.plan.source, paint))
            }
            None => text.push_str(&failure.report(paint)),
        }
        text.push_str(&format!(
            "{}",
            paint.dim(format!("  log: manimq job logs {}", job.id))
        ));
        if !self.plan.json {
            self.screen.say(&text);
        }
        failure
    }

    async fn fetch(&self, scene: &str, job: &JobView) -> Result<PathBuf, Failure> {
        use manimq_shared::job::ArtifactRole;
        let main = job
            .artifacts
            .iter()
            .find(|a| a.role == ArtifactRole::Video)
            .or_else(|| job.artifacts.iter().find(|a| a.role == ArtifactRole::Image));
        let Some(artifact) = main else {
            return Err(Failure::new(
                Exit::Failed,
                "no-artifact",
                format!("{} succeeded without a file", job.id),
            ));
        };
        // The name comes from the server and becomes part of a path here.
        let name = job.input.scene.as_deref().unwrap_or(scene);
        if !is_identifier(name) {
            return Err(Failure::new(
                Exit::Failed,
                "odd-scene",
                format!("the server names the scene {name:?}, which cannot be one"),
            ));
        }
        let format = Format::ALL
            .iter()
            .copied()
            .find(|f| f.mime() == artifact.mime)
            .unwrap_or(job.output.format);
        let path = self.plan.place.path(name, &job.output, format);
        if format != job.output.format {
            self.screen.say(&format!(
                "{} {} has no animation, so the result is a picture",
                self.screen.paint().warning("note:"),
                visible(name)
            ));
        }
        for warning in &job.warnings {
            self.screen.say(&format!(
                "{} {}",
                self.screen.paint().warning("warning:"),
                visible(warning)
            ));
        }
        tokio::select! {
            done = self.client.download(job.id, artifact, &path) => done?,
            () = self.interrupt.cancelled() => {
                return Err(Failure::new(Exit::Canceled, "canceled", "the download was interrupted"));
            }
        }
        Ok(path)
    }
}

fn is_identifier(name: &str) -> bool {
    let mut chars = name.chars();
    chars.next().is_some_and(|c| c == '_' || c.is_alphabetic())
        && chars.all(|c| c == '_' || c.is_alphanumeric())
        && name.len() <= 200
}
