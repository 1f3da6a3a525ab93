//! `manimq render`: what `manim render` does, on a server.
//!
//! Read the file → submit one job per scene → follow them → download → print the paths.
//! Data goes to standard output, everything else to standard error.

pub mod args;
pub mod choose;
pub mod flags;
pub mod follow;
pub mod place;
pub mod progress;
pub mod report;
mod session;
pub mod source;
pub mod with;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use futures_util::StreamExt as _;
use manimq_shared::api::JobView;
use manimq_shared::job::{CacheMode, JobInput, Lane, OutputSpec};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

pub use self::args::RenderArgs;
use self::follow::Logs;
use self::place::Place;
use self::progress::{Mode, Screen};
use self::session::Session;
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

impl Which {
    /// Whether it may be more than one.
    const fn is_several(&self) -> bool {
        match self {
            Self::Named(names) => names.len() > 1,
            Self::All => true,
            Self::Unsaid => false,
        }
    }
}

/// What a job may carry that `manim render` has no flag for.
#[derive(Debug, Clone, Default)]
pub struct More {
    /// Words to find it by.
    pub tags: Vec<String>,
    /// The submitter's own data.
    pub metadata: BTreeMap<String, String>,
    /// Give up if no worker took it within so many seconds.
    pub deadline_s: Option<u32>,
    /// The idempotency key, in place of a fresh one.
    pub key: Option<String>,
}

/// One command's worth of work.
#[derive(Debug)]
pub struct Plan {
    /// What is rendered instead of the file: a template or a prompt.
    pub input: Option<JobInput>,
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
    /// Whether warnings make it fail.
    pub strict: bool,
    /// What else a job carries.
    pub more: More,
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
                screen.note(&note);
            }
        }
        let plan = args.plan()?;
        if let Some(note) = flags::config_file().filter(|_| !json) {
            screen.note(note);
        }
        for left_out in plan.with.left_out.iter().filter(|_| !json) {
            let note = crate::term::visible(left_out);
            screen.note(&format!("not sent: {note}"));
        }
        Ok((plan, args.server.client()?))
    };
    match prepare() {
        Ok((plan, client)) => carry_out(&plan, &client, &screen).await,
        Err(failure) => tell(&failure),
    }
}

/// Renders, and tells what becomes of it.
pub(crate) async fn carry_out(plan: &Plan, client: &Client, screen: &Screen) -> Exit {
    let paint = screen.paint();
    let json = plan.json;
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
    match render(plan, client, screen, &interrupt, on_end).await {
        Ok(outcomes) => {
            for failure in outcomes.iter().filter_map(|o| o.result.as_ref().err()) {
                // Ctrl-C explains all that it touched; else the first failure counts.
                if exit == Exit::Ok || failure.exit == Exit::Canceled {
                    exit = failure.exit;
                }
            }
        }
        Err(failure) => {
            exit = failure.exit;
            if json {
                screen.data(&failure.to_json().to_string());
            } else if !failure.told {
                screen.say(&failure.report(paint));
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
    let work = session.submit_all().await?;
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

/// Submits a job for each scene of the plan, and waits for none.
///
/// # Errors
/// Nothing was accepted.
pub async fn submit(
    plan: &Plan,
    client: &Client,
    screen: &Screen,
    interrupt: &CancellationToken,
) -> Result<Vec<Result<JobView, Failure>>, Failure> {
    let session = Session {
        plan,
        client,
        screen,
        interrupt,
        give_up_at: Instant::now() + plan.wait_max,
    };
    let work = session.submit_all().await?;
    Ok(work.into_iter().map(|(_, job)| job).collect())
}

/// A scene, and its job if that was accepted.
type Work = (String, Result<JobView, Failure>);
