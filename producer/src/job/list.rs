//! `manimq list`.

use std::time::Duration;

use clap::Args;
use jiff::{SignedDuration, Timestamp};
use manimq_shared::api::JobView;
use manimq_shared::ids::JobId;
use manimq_shared::job::{Lane, Stage, Status};
use serde_json::json;

use super::{Call, text};
use crate::admin::Answer;
use crate::admin::show::ago;
use crate::admin::table::{Cell, Table, Tone, cell};
use crate::client::Client;
use crate::exit::{Exit, Failure};
use crate::render::args::{parse_duration, words};
use crate::term::{Paint, shorten};

/// Jobs of one page of the server.
const PAGE: usize = 200;
/// Longest text of a job's last column.
const NOTE_CHARS: usize = 48;

/// Flags of `manimq list`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  manimq list                              the newest 20
  manimq list --status failed --since 1d   what failed since yesterday
  manimq list --tag algebra -n 100
  manimq list -q lesson_7                  in names, tags, metadata and id
  manimq list --status queued --json | jq -r '.jobs[].id' | xargs manimq cancel")]
pub struct ListArgs {
    /// Only these: queued, running, succeeded, failed, canceled, expired
    #[arg(long, value_name = "STATUS", value_delimiter = ',', hide_possible_values = true,
          value_parser = words::<Status>(Status::ALL.iter().map(|v| v.as_str())))]
    status: Vec<Status>,
    /// Only at these stages, such as rendering
    #[arg(long, value_name = "STAGE", value_delimiter = ',', hide_possible_values = true,
          value_parser = words::<Stage>(Stage::ALL.iter().map(|v| v.as_str())))]
    stage: Vec<Stage>,
    /// Only of these lanes: interactive, normal, batch
    #[arg(long, value_name = "LANE", value_delimiter = ',', hide_possible_values = true,
          value_parser = words::<Lane>(Lane::ALL.iter().map(|v| v.as_str())))]
    lane: Vec<Lane>,
    /// Only with this tag
    #[arg(long, value_name = "TAG")]
    tag: Option<String>,
    /// Only of this scene
    #[arg(long, value_name = "SCENE")]
    scene: Option<String>,
    /// Only with this text in scene, file name, tags, metadata or id
    #[arg(short = 'q', long, value_name = "TEXT")]
    search: Option<String>,
    /// Only submitted since: 30m, 2d, or a time such as 2026-11-22T08:00:00Z
    #[arg(long, value_name = "TIME", value_parser = parse_since)]
    since: Option<Timestamp>,
    /// Only submitted until
    #[arg(long, value_name = "TIME", value_parser = parse_since)]
    until: Option<Timestamp>,
    /// Only those that run this job again
    #[arg(long, value_name = "JOB")]
    parent: Option<JobId>,
    /// Most jobs
    #[arg(short = 'n', long, value_name = "N", default_value_t = 20,
          value_parser = clap::value_parser!(u32).range(1..=10_000))]
    limit: u32,
    #[command(flatten)]
    call: Call,
}

/// A time, or how long ago.
fn parse_since(text: &str) -> Result<Timestamp, String> {
    if let Ok(time) = text.parse() {
        return Ok(time);
    }
    let ago: Duration = parse_duration(text)
        .map_err(|_| "write it like 30m, 2d, or 2026-11-22T08:00:00Z".to_owned())?;
    SignedDuration::try_from(ago)
        .ok()
        .and_then(|ago| Timestamp::now().checked_sub(ago).ok())
        .ok_or_else(|| "that is too long ago".to_owned())
}

fn joined<T: ToString>(words: &[T]) -> String {
    words
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(",")
}

impl ListArgs {
    fn filters(&self) -> Vec<(&'static str, String)> {
        let filters = [
            ("status", joined(&self.status)),
            ("stage", joined(&self.stage)),
            ("lane", joined(&self.lane)),
            ("tag", self.tag.clone().unwrap_or_default()),
            ("scene", self.scene.clone().unwrap_or_default()),
            ("q", self.search.clone().unwrap_or_default()),
            (
                "created_after",
                self.since.map(|time| time.to_string()).unwrap_or_default(),
            ),
            (
                "created_before",
                self.until.map(|time| time.to_string()).unwrap_or_default(),
            ),
            (
                "parent",
                self.parent.map(|id| id.to_string()).unwrap_or_default(),
            ),
        ];
        filters
            .into_iter()
            .filter(|(_, value)| !value.is_empty())
            .collect()
    }

    /// Runs the command.
    pub async fn run(self) -> Exit {
        let act = async |client: &Client, paint| {
            let (jobs, more) = self.collect(client).await?;
            let text = self.show(&jobs, more, paint);
            Ok(Answer::ok(text, json!({ "jobs": jobs, "more": more })))
        };
        self.call.answer(act).await
    }

    /// As many as are wanted, and whether there are more.
    async fn collect(&self, client: &Client) -> Result<(Vec<JobView>, bool), Failure> {
        let most = self.limit as usize;
        let mut jobs: Vec<JobView> = Vec::new();
        let mut cursor: Option<String> = None;
        loop {
            let mut filters = self.filters();
            filters.push(("limit", (most - jobs.len()).min(PAGE).to_string()));
            filters.extend(cursor.take().map(|cursor| ("cursor", cursor)));
            let page = client.list(&filters).await?;
            jobs.extend(page.jobs);
            cursor = page.next;
            if cursor.is_none() || jobs.len() >= most {
                return Ok((jobs, cursor.is_some()));
            }
        }
    }

    fn show(&self, jobs: &[JobView], more: bool, paint: Paint) -> String {
        let mut table = Table::new(&["JOB", "STATUS", "SCENE", "OUTPUT", "SUBMITTED", "NOTE"]);
        for job in jobs {
            let fps = job
                .output
                .fps
                .map_or_else(String::new, |fps| format!("@{fps}"));
            table.row([
                job.id.into(),
                cell(job.status, text::tone(job.status)),
                job.shown_name().unwrap_or("-").into(),
                format!("{} {}{fps}", job.output.format, job.output.picture()).into(),
                ago(job.created_at).into(),
                note(job),
            ]);
        }
        let empty = if self.filters().is_empty() {
            "no jobs yet: `manimq render scene.py MyScene` makes one"
        } else {
            "no such jobs: `manimq list` without filters shows the newest"
        };
        let mut text = table.show(paint, empty);
        if more {
            let more = self.limit.saturating_mul(10);
            text.push_str(&format!("{}\n", paint.dim(format!("and more: -n {more}"))));
        }
        text
    }
}

/// What matters of a job, in a few words.
fn note(job: &JobView) -> Cell {
    match job.status {
        Status::Running if job.cancel_requested_at.is_some() => cell("canceling", Tone::Warning),
        Status::Running => text::progress(job).into(),
        Status::Failed => {
            let message = job
                .error
                .as_ref()
                .map_or("", |error| error.message.lines().next().unwrap_or(""));
            shorten(message, NOTE_CHARS).into()
        }
        Status::Succeeded if job.cached => cell("cached", Tone::Dim),
        Status::Succeeded => {
            let took = job
                .timings
                .as_ref()
                .map(|t| t.prepare_s + t.render_s + t.encode_s);
            took.map_or_else(String::new, |s| format!("rendered in {}", text::seconds(s)))
                .into()
        }
        Status::Queued | Status::Canceled | Status::Expired => {
            shorten(&job.tags.join(", "), NOTE_CHARS).into()
        }
    }
}
