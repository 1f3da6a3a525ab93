//! `manimq submit`, `rerun` and `watch`: jobs that begin, and their ends.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use manimq_shared::api::{JobView, OutputChange, RerunRequest};
use manimq_shared::ids::JobId;
use manimq_shared::job::{
    Aspect, CacheMode, DEADLINE_S_MAX, Encoder, Format, FrameRate, Lane, Quality, Status,
};
use serde_json::{Value, json};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{Call, text};
use crate::client::Client;
use crate::exit::{Exit, Failure};
use crate::render::args::{
    JobFlags, OutputArgs, parse_duration, parse_resolution, quality_parser, which, words,
};
use crate::render::flags::config_file;
use crate::render::follow::{Follower, Logs};
use crate::render::place::Place;
use crate::render::progress::{Mode, Screen};
use crate::render::source::Source;
use crate::render::with::With;
use crate::render::{More, Plan, submit};
use crate::term::Paint;

/// Jobs that are followed at once; more wait their turn.
const FOLLOWED_MAX: usize = 8;

/// How to wait.
#[derive(Debug, Args)]
pub struct WaitArgs {
    /// Wait until the jobs have ended, and show how far they are; Ctrl-C cancels them
    #[arg(long, help_heading = "Waiting")]
    wait: bool,
    /// Stop waiting after this long (exit status 4); the jobs go on
    #[arg(long, value_name = "TIME", default_value = "24h", value_parser = parse_duration,
          help_heading = "Waiting")]
    wait_timeout: Duration,
}

/// Flags of `manimq submit`.
#[derive(Debug, Args)]
#[command(after_help = "\
Prints the ids of the jobs, one a line; `manimq render` waits and fetches the film as well.

Examples:
  manimq submit scene.py MyScene
  manimq submit -ql --lane batch --tag algebra --meta lesson=7 scene.py A B
  cat scene.py | manimq submit --wait - MyScene
  id=$(manimq submit scene.py MyScene) && manimq watch $id && manimq open $id

Exit status:
  0 accepted, with --wait succeeded · 1 the job failed · 2 wrong use
  3 quota reached · 4 --wait-timeout passed · 5 canceled
  6 the server cannot be reached")]
pub struct SubmitArgs {
    /// The Python file, or - for standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The scene classes; may be left out if the file has one
    #[arg(value_name = "SCENE")]
    scenes: Vec<String>,
    #[command(flatten)]
    output: OutputArgs,
    /// Every scene of the file
    #[arg(
        short = 'a',
        long = "write_all",
        alias = "write-all",
        conflicts_with = "scenes",
        help_heading = "Output"
    )]
    write_all: bool,
    #[command(flatten)]
    job: JobFlags,
    /// Give up if no worker took the job within this time
    #[arg(long, value_name = "TIME", value_parser = parse_deadline, help_heading = "Job")]
    deadline: Option<u32>,
    /// A word to find the job by; may be given 16 times
    #[arg(long = "tag", value_name = "TAG", help_heading = "Job")]
    tags: Vec<String>,
    /// Your own data, echoed everywhere; may be given 16 times
    #[arg(long = "meta", value_name = "KEY=VALUE", value_parser = parse_meta, help_heading = "Job")]
    metadata: Vec<(String, String)>,
    /// Repeating the command with the same key and file makes no second job
    #[arg(long, value_name = "KEY", help_heading = "Job")]
    key: Option<String>,
    #[command(flatten)]
    wait: WaitArgs,
    #[command(flatten)]
    call: Call,
}

fn parse_meta(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("write it like lesson=7")?;
    Ok((key.to_owned(), value.to_owned()))
}

fn parse_deadline(text: &str) -> Result<u32, String> {
    let seconds = parse_duration(text)?.as_secs();
    u32::try_from(seconds)
        .ok()
        .filter(|seconds| (1..=DEADLINE_S_MAX).contains(seconds))
        .ok_or_else(|| "it must be between 1s and 7d".to_owned())
}

impl SubmitArgs {
    fn plan(&self) -> Result<Plan, Failure> {
        let source = Source::read(&self.file)?;
        Ok(Plan {
            input: None,
            with: With::find(&self.job.with)?,
            which: which(&self.scenes, self.write_all),
            output: self.output.spec()?,
            place: Place {
                media_dir: PathBuf::new(),
                stem: source.stem.clone(),
                output_file: None,
                film: None,
            },
            source,
            timeout_s: self.job.timeout_s(),
            lane: self.job.lane.unwrap_or(Lane::Normal),
            cache: self.job.cache(),
            strict: self.job.strict,
            more: More {
                tags: self.tags.clone(),
                metadata: self.metadata.iter().cloned().collect::<BTreeMap<_, _>>(),
                deadline_s: self.deadline,
                key: self.key.clone(),
            },
            wait_max: self.wait.wait_timeout,
            logs: Logs::Some,
            can_ask: false,
            json: self.call.json,
        })
    }

    /// Runs the command.
    pub async fn run(self) -> Exit {
        let run = Run::new(self.call.json, self.wait.wait_timeout);
        let ready = || Ok((self.plan()?, self.call.server.client()?));
        let (plan, client) = match ready() {
            Ok(ready) => ready,
            Err(failure) => return run.fail(&failure),
        };
        if let Some(note) = config_file().filter(|_| !self.call.json) {
            run.screen.note(note);
        }
        // Not before: reading standard input blocks, and Ctrl-C must end that at once.
        let interrupt = crate::cli::interrupts();
        match submit(&plan, &client, &run.screen, &interrupt).await {
            Ok(jobs) => run.end(&client, jobs, self.wait.wait, &interrupt).await,
            Err(failure) => run.fail(&failure),
        }
    }
}

/// Flags of `manimq rerun`.
#[derive(Debug, Args)]
#[command(after_help = "\
A new job with the same scene; what is not given stays as it was. Prints the new id.

Examples:
  manimq rerun -qh job_019a8b…               the same in 1080p60
  manimq rerun --format gif --wait job_019a8b…
  manimq rerun --disable_caching job_019a8b…  render it anew")]
pub struct RerunArgs {
    /// The job's id
    #[arg(value_name = "JOB")]
    id: JobId,
    /// l 854x480@15, m 1280x720@30, h 1920x1080@60, p 2560x1440@60, k 3840x2160@60
    #[arg(short, long, value_name = "l|m|h|p|k", hide_possible_values = true, value_parser = quality_parser())]
    quality: Option<Quality>,
    /// Width and height of the picture in pixels
    #[arg(short, long, value_name = "W,H", value_parser = parse_resolution, allow_hyphen_values = true,
          conflicts_with = "aspect")]
    resolution: Option<(u32, u32)>,
    /// Frames per second, 1 to 120 (29.97 too)
    #[arg(long, value_name = "N")]
    fps: Option<FrameRate>,
    /// File type: mp4, gif, webm, mov or png
    #[arg(long, value_name = "FORMAT", hide_possible_values = true,
          value_parser = words::<Format>(Format::ALL.iter().map(|v| v.as_str())))]
    format: Option<Format>,
    /// Leave the background out
    #[arg(short, long)]
    transparent: bool,
    /// Shape of the picture: 16:9, 9:16 or 1:1
    #[arg(long, value_name = "SHAPE", hide_possible_values = true,
          value_parser = words::<Aspect>(Aspect::ALL.iter().map(|v| v.as_str())))]
    aspect: Option<Aspect>,
    /// fast or manim
    #[arg(long, value_name = "fast|manim", hide_possible_values = true,
          value_parser = words::<Encoder>(Encoder::ALL.iter().map(|v| v.as_str())))]
    encoder: Option<Encoder>,
    /// Seed of random numbers
    #[arg(long, value_name = "N")]
    seed: Option<u32>,
    /// Stop the render after this long, at most 1h
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    timeout: Option<Duration>,
    /// Priority among your own jobs: interactive, normal or batch
    #[arg(long, value_name = "LANE", hide_possible_values = true,
          value_parser = words::<Lane>(Lane::ALL.iter().map(|v| v.as_str())))]
    lane: Option<Lane>,
    /// Render even if the same scene was rendered before
    #[arg(long = "disable_caching", alias = "disable-caching")]
    disable_caching: bool,
    /// Have the server's language model mend the code first that it wrote for a prompt, and that failed
    #[arg(long)]
    repair: bool,
    #[command(flatten)]
    wait: WaitArgs,
    #[command(flatten)]
    call: Call,
}

impl RerunArgs {
    fn change(&self) -> RerunRequest {
        RerunRequest {
            output: Some(OutputChange {
                format: self.format,
                quality: self.quality,
                width: self.resolution.map(|(width, _)| width),
                height: self.resolution.map(|(_, height)| height),
                fps: self.fps,
                aspect: self.aspect,
                transparent: self.transparent.then_some(true),
                encoder: self.encoder,
                seed: self.seed,
            }),
            lane: self.lane,
            timeout_s: self
                .timeout
                .map(|time| u32::try_from(time.as_secs()).unwrap_or(u32::MAX)),
            cache: self.disable_caching.then_some(CacheMode::Refresh),
            repair: self.repair,
            ..RerunRequest::default()
        }
    }

    /// Runs the command.
    pub async fn run(self) -> Exit {
        let run = Run::new(self.call.json, self.wait.wait_timeout);
        let client = match self.call.server.client() {
            Ok(client) => client,
            Err(failure) => return run.fail(&failure),
        };
        let interrupt = crate::cli::interrupts();
        let key = Uuid::now_v7().simple().to_string();
        match client.rerun(self.id, &self.change(), &key).await {
            Ok(job) => {
                run.end(&client, vec![Ok(job)], self.wait.wait, &interrupt)
                    .await
            }
            Err(error) => run.fail(&error.into()),
        }
    }
}

/// Flags of `manimq watch`.
#[derive(Debug, Args)]
#[command(after_help = "\
Shows how far the jobs are until they have ended. Ctrl-C stops watching (exit status 4); the jobs go on.

Examples:
  manimq watch job_019a8b…
  manimq list --status running --json | jq -r '.jobs[].id' | xargs manimq watch

Exit status:
  0 succeeded · 1 a job failed · 4 --wait-timeout passed, or Ctrl-C · 5 canceled")]
pub struct WatchArgs {
    /// The jobs' ids
    #[arg(value_name = "JOB", required = true)]
    ids: Vec<JobId>,
    /// Stop watching after this long (exit status 4)
    #[arg(long, value_name = "TIME", default_value = "24h", value_parser = parse_duration)]
    wait_timeout: Duration,
    #[command(flatten)]
    call: Call,
}

impl WatchArgs {
    /// Runs the command.
    pub async fn run(self) -> Exit {
        let run = Run::new(self.call.json, self.wait_timeout);
        let client = match self.call.server.client() {
            Ok(client) => client,
            Err(failure) => return run.fail(&failure),
        };
        let mut jobs = Vec::new();
        for &id in &self.ids {
            match client.read(id).await {
                Ok(job) => jobs.push(Ok(job)),
                Err(error) => return run.fail(&error.into()),
            }
        }
        let interrupt = crate::cli::interrupts();
        // They were not begun here, so Ctrl-C does not end them.
        let never = CancellationToken::new();
        tokio::select! {
            exit = run.end(&client, jobs, true, &never) => exit,
            () = interrupt.cancelled() => Exit::WaitTimedOut,
        }
    }
}

/// What the three commands share: the screen, and how they end.
struct Run {
    screen: Screen,
    json: bool,
    give_up_at: Instant,
}

impl Run {
    fn new(json: bool, wait_max: Duration) -> Self {
        let mode = match Mode::of_stderr() {
            Mode::Lines if json => Mode::Quiet,
            mode => mode,
        };
        Self {
            screen: Screen::new(mode, Paint::stderr()),
            json,
            give_up_at: Instant::now() + wait_max,
        }
    }

    fn fail(&self, failure: &Failure) -> Exit {
        if self.json {
            self.screen.data(&failure.to_json().to_string());
        } else if !failure.told {
            self.screen.say(&failure.report(self.screen.paint()));
        }
        failure.exit
    }

    /// Tells of the jobs: their ids, or, with `wait`, their ends. Each as it comes.
    async fn end(
        &self,
        client: &Client,
        jobs: Vec<Result<JobView, Failure>>,
        wait: bool,
        interrupt: &CancellationToken,
    ) -> Exit {
        use futures_util::StreamExt as _;
        let follow = |job: Result<JobView, Failure>| async move {
            let job = job?;
            if !wait {
                return Ok(job);
            }
            let scene = job
                .shown_name()
                .map_or_else(|| job.id.to_string(), str::to_owned);
            let display = self.screen.job(&scene);
            let follower = Follower {
                client,
                display: &display,
                interrupt,
                give_up_at: self.give_up_at,
                logs: if self.json {
                    Logs::OnFailure
                } else {
                    Logs::Some
                },
            };
            follower.follow(&job).await.map(|ended| ended.job)
        };
        let mut ends =
            futures_util::stream::iter(jobs.into_iter().map(follow)).buffered(FOLLOWED_MAX);
        let mut exit = Exit::Ok;
        while let Some(end) = ends.next().await {
            let own = match end {
                Ok(job) => self.tell(&job, wait),
                Err(failure) => self.fail(&failure),
            };
            if exit == Exit::Ok || own == Exit::Canceled {
                exit = own;
            }
        }
        exit
    }

    /// Tells of a job that was accepted, or has ended.
    fn tell(&self, job: &JobView, waited: bool) -> Exit {
        let exit = match job.status {
            Status::Failed | Status::Expired => Exit::Failed,
            Status::Canceled => Exit::Canceled,
            Status::Queued | Status::Running | Status::Succeeded => Exit::Ok,
        };
        if self.json {
            let mut value = json!(job);
            if exit != Exit::Ok
                && let Value::Object(object) = &mut value
            {
                object.insert("exit_code".to_owned(), exit.code().into());
            }
            self.screen.data(&value.to_string());
            return exit;
        }
        if waited {
            let paint = self.screen.paint();
            self.screen.say(text::job(job, paint).trim_end());
        }
        self.screen.data(&job.id.to_string());
        exit
    }
}
