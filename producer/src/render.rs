//! `manimq render`: what `manim render` does, on a server.
//!
//! Read the file → submit one job per scene → follow them → download → print the paths.
//! Data goes to standard output, everything else to standard error.

mod args;
pub mod choose;
pub mod flags;
pub mod follow;
pub mod place;
pub mod progress;
pub mod report;
mod session;
pub mod source;
pub mod with;

use std::path::PathBuf;
use std::time::Duration;

use futures_util::StreamExt as _;
use manimq_shared::api::JobView;
use manimq_shared::job::{CacheMode, Lane, OutputSpec};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

pub use self::args::RenderArgs;
use self::follow::Logs;
use self::place::Place;
use self::progress::{Mode, Screen};
use self::session::{Refused, Session, canceled_early};
use self::source::Source;
use self::with::With;
use crate::client::Client;
use crate::exit::{Exit, Failure};
use crate::term::Paint;

/// Jobs that are followed at once; more wait their turn.
const FOLLOWED_MAX: usize = 8;

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
    /// What is sent with it.
    pub with: With,
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
        let plan = args.plan()?;
        for left_out in plan.with.left_out.iter().filter(|_| !json) {
            let note = crate::term::visible(left_out);
            screen.say(&format!("{} not sent: {note}", paint.warning("note:")));
        }
        Ok((plan, args.server.client()?))
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
