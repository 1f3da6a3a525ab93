//! `manimq admin jobs`: any tenant's jobs.

use clap::{Args, Subcommand, ValueEnum};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use jiff::Timestamp;
use manimq_shared::ids::{JobId, TenantId};
use manimq_shared::job::{JobInput, JobRecord, Status};
use manimq_shared::queue::{CancelOutcome, Cursor, Enqueued, Queue, QueueError, Rerun};
use serde_json::{Value, json};

use super::show::{ago, ahead, or_dash, paused_words, plural, span, starts_in};
use super::table::{Cell, Table, Tone, cell, facts};
use super::{Answer, tenants_where};
use crate::exit::{Exit, Failure};
use crate::term::Paint;

/// How many jobs are read at the same time.
const READS: usize = 16;

/// Flags of `manimq admin jobs`.
#[derive(Debug, Args)]
pub struct JobsArgs {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Jobs that run, are ready or wait for a time
    #[command(after_help = "\
Jobs that have ended, and jobs that wait for another's render of the same, are in no list; \
`jobs show` finds them by their id.

Example:
  manimq admin jobs list --tenant acme --status ready")]
    List(ListArgs),
    /// All that is known of a job
    #[command(after_help = "Example:\n  manimq admin jobs show job_019a8b… --source")]
    Show {
        /// The job's id
        #[arg(value_name = "JOB")]
        id: JobId,
        /// With the source of its scene
        #[arg(long)]
        source: bool,
    },
    /// Cancel jobs; harmless for those that have ended
    #[command(after_help = "Example:\n  manimq admin jobs cancel job_019a8b… job_019a8c…")]
    Cancel {
        /// Their ids
        #[arg(value_name = "JOB", required = true)]
        ids: Vec<JobId>,
    },
    /// Run jobs that have ended again, each as a new job whose parent it is
    #[command(after_help = "\
The new jobs count against their tenant's quotas. Each run of this makes new ones.

Example:
  manimq admin jobs rerun job_019a8b…")]
    Rerun {
        /// Their ids
        #[arg(value_name = "JOB", required = true)]
        ids: Vec<JobId>,
    },
}

#[derive(Debug, Args)]
struct ListArgs {
    /// Only this tenant's
    #[arg(long, value_name = "TENANT")]
    tenant: Option<TenantId>,
    /// Only these
    #[arg(long)]
    status: Option<Wanted>,
    /// Most jobs
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,
}

/// Where a job that has not ended is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Wanted {
    /// Under a lease
    Running,
    /// A claim could take it
    Ready,
    /// It waits for a time
    Delayed,
}

impl Wanted {
    const ALL: [Self; 3] = [Self::Running, Self::Ready, Self::Delayed];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Ready => "ready",
            Self::Delayed => "delayed",
        }
    }
}

impl JobsArgs {
    /// Runs the command.
    pub async fn run(self, queue: &Queue, paint: Paint) -> Result<Answer, Failure> {
        match self.action {
            Action::List(args) => args.run(queue, paint).await,
            Action::Show { id, source } => show(queue, id, source, paint).await,
            Action::Cancel { ids } => cancel(queue, &ids).await,
            Action::Rerun { ids } => rerun(queue, &ids).await,
        }
    }
}

/// A job in a list, and when its lease or its wait ends.
struct Listed {
    at: Wanted,
    until: Option<Timestamp>,
    record: JobRecord,
}

impl ListArgs {
    async fn run(self, queue: &Queue, paint: Paint) -> Result<Answer, Failure> {
        let limit = self.limit as usize;
        let mut jobs = Vec::new();
        for at in Wanted::ALL {
            if self.status.is_none_or(|only| only == at) {
                self.collect(queue, at, limit + 1, &mut jobs).await?;
            }
        }
        let more = jobs.len() > limit;
        jobs.truncate(limit);
        let mut table = Table::new(&[
            "JOB",
            "TENANT",
            "STATUS",
            "LANE",
            "QUALITY",
            "ATTEMPT>",
            "SUBMITTED",
            "NOTE",
        ]);
        for job in &jobs {
            let record = &job.record;
            table.row([
                record.id.into(),
                (&record.tenant).into(),
                job.at.as_str().into(),
                record.lane.into(),
                record.payload.request.output.picture().into(),
                record.attempts.len().into(),
                ago(record.created_at).into(),
                job.note(),
            ]);
        }
        let mut text = table.show(paint, "no such jobs");
        if more {
            text.push_str(&format!("and more: --limit {}\n", limit.saturating_mul(10)));
        }
        let jobs: Vec<_> = jobs.iter().map(Listed::view).collect();
        Ok(Answer::ok(text, json!({ "jobs": jobs, "more": more })))
    }

    /// Adds jobs until there are `most`. What has moved on meanwhile is left out.
    async fn collect(
        &self,
        queue: &Queue,
        at: Wanted,
        most: usize,
        jobs: &mut Vec<Listed>,
    ) -> Result<(), QueueError> {
        let tenants = match (&self.tenant, at) {
            (Some(tenant), _) => vec![tenant.clone()],
            (None, Wanted::Ready) => tenants_where(queue, |tenant| tenant.ready > 0).await?,
            // One list for all.
            (None, Wanted::Running | Wanted::Delayed) => vec![TenantId::default()],
        };
        for tenant in tenants {
            let mut page = Some(Cursor::default());
            while let Some(from) = page {
                let (found, next) = match at {
                    Wanted::Running => timed(queue.running_jobs(&from).await?),
                    Wanted::Delayed => timed(queue.delayed_jobs(&from).await?),
                    Wanted::Ready => {
                        let (ids, next) = queue.active_jobs(&tenant, &from).await?;
                        (ids.into_iter().map(|id| (id, None)).collect(), next)
                    }
                };
                // A job's id tells its tenant's bucket, which saves most reads.
                let only = self.tenant.as_ref();
                let found = found
                    .into_iter()
                    .filter(|(id, _)| only.is_none_or(|tenant| tenant.bucket() == id.bucket()));
                let mut records = stream::iter(found)
                    .map(async |(id, until)| queue.read(id).await.map(|record| (record, until)))
                    .buffered(READS);
                while let Some((record, until)) = records.try_next().await? {
                    let Some(record) = record else { continue };
                    let fits = match at {
                        Wanted::Running => record.status == Status::Running,
                        Wanted::Ready | Wanted::Delayed => record.status == Status::Queued,
                    };
                    if fits && only.is_none_or(|tenant| *tenant == record.tenant) {
                        jobs.push(Listed { at, until, record });
                    }
                    if jobs.len() >= most {
                        return Ok(());
                    }
                }
                page = next;
            }
        }
        Ok(())
    }
}

type Page = (Vec<(JobId, Option<Timestamp>)>, Option<Cursor>);

fn timed((jobs, next): (Vec<(JobId, Timestamp)>, Option<Cursor>)) -> Page {
    let jobs = jobs.into_iter().map(|(id, at)| (id, Some(at)));
    (jobs.collect(), next)
}

impl Listed {
    fn note(&self) -> Cell {
        let record = &self.record;
        if record.cancel_requested_at.is_some() {
            return cell("cancel requested", Tone::Warning);
        }
        match (self.at, self.until) {
            (Wanted::Running, Some(until)) => {
                let worker = record
                    .attempts
                    .last()
                    .map(|attempt| attempt.worker.to_string());
                let late = until < Timestamp::now();
                let tone = if late { Tone::Warning } else { Tone::Plain };
                cell(
                    format!(
                        "on {}, lease ends {}",
                        or_dash(worker),
                        if late { ago(until) } else { ahead(until) }
                    ),
                    tone,
                )
            }
            (Wanted::Delayed, Some(until)) => format!("ready {}", ahead(until)).into(),
            _ => record
                .position
                .map_or_else(String::new, |place| format!("place {place} in its lane"))
                .into(),
        }
    }

    fn view(&self) -> Value {
        let record = &self.record;
        let output = &record.payload.request.output;
        let (lease_until, ready_at) = match self.at {
            Wanted::Running => (self.until, None),
            Wanted::Delayed => (None, self.until),
            Wanted::Ready => (None, None),
        };
        json!({
            "id": record.id, "tenant": record.tenant, "status": self.at.as_str(), "lane": record.lane,
            "quality": output.counted_quality(), "picture": output.picture(),
            "attempts": record.attempts.len(),
            "created_at": record.created_at, "position": record.position,
            "worker": record.attempts.last().map(|attempt| attempt.worker),
            "lease_until": lease_until, "ready_at": ready_at,
            "cancel_requested_at": record.cancel_requested_at,
        })
    }
}

fn not_found(id: JobId) -> String {
    format!("there is no job {id}: the id is wrong, or its retention has ended")
}

async fn show(queue: &Queue, id: JobId, source: bool, paint: Paint) -> Result<Answer, Failure> {
    let Some(record) = queue.read(id).await? else {
        return Err(Failure::new(Exit::Failed, "no-such-job", not_found(id))
            .hint("`manimq admin jobs list` shows those that have not ended; or try another --redis-prefix"));
    };
    let json = record_json(&record, source);
    let text = facts(paint, &record_facts(&record, source));
    Ok(Answer::ok(text, json))
}

fn record_json(record: &JobRecord, source: bool) -> Value {
    let code = record.payload.request.input.source();
    let mut request = json!(record.payload.request);
    if !source
        && let Some(code) = code
        && let Some(input) = request["input"].as_object_mut()
    {
        input.remove("source");
        input.insert("source_bytes".to_owned(), code.len().into());
    }
    json!({
        "id": record.id, "tenant": record.tenant, "status": record.status, "lane": record.lane,
        "revision": record.revision, "parent": record.payload.parent,
        "created_at": record.created_at, "started_at": record.started_at,
        "finished_at": record.finished_at, "expires_at": record.expires_at,
        "cancel_requested_at": record.cancel_requested_at, "not_before": record.not_before,
        "position": record.position, "paused": record.paused,
        "expected_wait_s": record.expected_wait.map(|wait| wait.as_secs_f64()),
        "progress": record.progress, "attempts": record.attempts,
        "rendered_by": record.rendered_by, "cached": record.cached,
        "request": request, "result": record.result,
    })
}

fn record_facts(record: &JobRecord, source: bool) -> Vec<(&'static str, String)> {
    let request = &record.payload.request;
    let what = match (&request.input, &record.payload.template) {
        (JobInput::Code { source, scene, .. }, _) => {
            let (scene, bytes) = (or_dash(scene.clone()), source.len());
            (scene, format!("source of {bytes} bytes"))
        }
        (input, template) => {
            let id = template.as_ref().map(|template| template.id.clone());
            (or_dash(id), format!("from a {}", input.kind()))
        }
    };
    let time = |at: Timestamp| format!("{at:.0} ({})", ago(at));
    let mut lines = vec![
        ("job", record.id.to_string()),
        ("tenant", record.tenant.to_string()),
        ("status", record.status.to_string()),
        ("lane", record.lane.to_string()),
        (
            "renders",
            format!(
                "{}, {} {}, {}",
                what.0,
                request.output.picture(),
                request.output.format,
                what.1
            ),
        ),
        ("time limit", format!("{} s", request.timeout_s)),
        ("submitted", time(record.created_at)),
    ];
    let mut also = |name, value: Option<String>| lines.extend(value.map(|value| (name, value)));
    also("started", record.started_at.map(time));
    also("finished", record.finished_at.map(time));
    also("cancel asked", record.cancel_requested_at.map(time));
    let waits = record.status == Status::Queued;
    also("place", record.position.map(|place| place.to_string()));
    also(
        "paused",
        record
            .paused
            .map(|paused| paused_words(paused, &record.tenant)),
    );
    also("starts", record.expected_wait.map(starts_in));
    also(
        "not before",
        record
            .not_before
            .filter(|_| waits)
            .map(|at| format!("{at:.0} ({})", ahead(at))),
    );
    let progress = &record.progress;
    let percent = progress
        .fraction
        .map_or_else(String::new, |part| format!(", {:.0} %", part * 100.0));
    also(
        "progress",
        progress
            .stage
            .filter(|_| record.status == Status::Running)
            .map(|stage| {
                let frames = plural(progress.frames_done, "frame");
                format!("{stage}, {frames}{percent}")
            }),
    );
    also("parent", record.payload.parent.map(|id| id.to_string()));
    also("rendered by", record.rendered_by.map(|id| id.to_string()));
    also("cached", record.cached.then(|| "yes".to_owned()));
    let attempts: Vec<_> = record
        .attempts
        .iter()
        .map(|attempt| {
            let outcome = match (attempt.outcome, attempt.class) {
                (None, _) => "runs".to_owned(),
                (Some(outcome), None) => outcome.to_string(),
                (Some(outcome), Some(class)) => format!("{outcome} ({class})"),
            };
            format!(
                "{}: {outcome}, {} on {}",
                attempt.n,
                ago(attempt.started_at),
                attempt.worker
            )
        })
        .collect();
    also(
        "attempts",
        (!attempts.is_empty()).then(|| attempts.join("\n")),
    );
    if let Some(result) = &record.result {
        let files: Vec<_> = result
            .artifacts
            .iter()
            .map(|file| format!("{} {}, {}", file.name, plural(file.bytes, "byte"), file.key))
            .collect();
        also("files", (!files.is_empty()).then(|| files.join("\n")));
        let error = result.error.as_ref();
        also(
            "error",
            error.map(|error| format!("{}: {}", error.class, error.message)),
        );
    }
    also(
        "expires",
        record
            .expires_at
            .map(|at| format!("{at:.0} ({})", ahead(at))),
    );
    let code = request.input.source();
    also("source", code.filter(|_| source).map(str::to_owned));
    lines
}

async fn cancel(queue: &Queue, ids: &[JobId]) -> Result<Answer, Failure> {
    let (mut text, mut told, mut exit) = (String::new(), Vec::new(), Exit::Ok);
    for &id in ids {
        let outcome = match queue.read(id).await? {
            Some(record) => queue.cancel(&record.tenant, id).await?,
            None => CancelOutcome::NotFound,
        };
        let (word, line) = match outcome {
            CancelOutcome::Canceled => ("canceled", format!("{id}: canceled")),
            CancelOutcome::Requested => (
                "requested",
                format!("{id}: it runs; its worker is told to stop"),
            ),
            CancelOutcome::AlreadyTerminal => ("already_ended", format!("{id}: had ended before")),
            CancelOutcome::NotFound => {
                exit = Exit::Failed;
                ("not_found", not_found(id))
            }
        };
        text.push_str(&line);
        text.push('\n');
        told.push(json!({ "id": id, "outcome": word }));
    }
    Ok(Answer {
        text,
        json: json!({ "jobs": told }),
        exit,
    })
}

async fn rerun(queue: &Queue, ids: &[JobId]) -> Result<Answer, Failure> {
    let (mut text, mut told, mut exit) = (String::new(), Vec::new(), Exit::Ok);
    for &id in ids {
        let (word, job, line) = match queue.rerun(id).await? {
            Rerun::Asked(job, reply) => match said(&reply) {
                Ok(word) => (word, Some(job), format!("{id}: runs again as {job}")),
                Err((word, why)) => {
                    exit = exit.max(Exit::Quota);
                    (word, None, format!("{id}: refused: {why}"))
                }
            },
            Rerun::NotEnded(status) => {
                exit = exit.max(Exit::Failed);
                let line =
                    format!("{id}: has not ended ({status}); wait for it, or cancel it first");
                ("not_ended", None, line)
            }
            Rerun::NotFound => {
                exit = exit.max(Exit::Failed);
                ("not_found", None, not_found(id))
            }
        };
        text.push_str(&line);
        text.push('\n');
        told.push(json!({ "id": id, "outcome": word, "job": job }));
    }
    Ok(Answer {
        text,
        json: json!({ "jobs": told }),
        exit,
    })
}

/// What the queue said to a job that runs again: a word for programs; if it refused, why and what helps.
pub fn said(reply: &Enqueued) -> Result<&'static str, (&'static str, String)> {
    match reply {
        Enqueued::Accepted => Ok("accepted"),
        Enqueued::Cached => Ok("cached"),
        Enqueued::Exists(_) | Enqueued::KeyReused(_) => Ok("exists"),
        Enqueued::Full { active, limit } => Err((
            "full",
            format!(
                "the tenant has as many jobs that have not ended as it may: {active} of {limit} (`tenants set --queued-max`)"
            ),
        )),
        Enqueued::Limited {
            policy,
            limit,
            used,
            retry_after,
        } => Err((
            "limited",
            format!(
                "{used} of {limit} {} are used; try again in {}",
                policy.as_str().replace('_', " "),
                span(*retry_after)
            ),
        )),
        Enqueued::Forbidden {
            allowance,
            limit,
            asked,
        } => Err((
            "forbidden",
            format!(
                "its tenant may not: {} is {limit} and it asks for {asked} (`tenants set`)",
                allowance.as_str()
            ),
        )),
        Enqueued::NotCached => Err((
            "not_cached",
            "it asks for an earlier result only, and there is none".to_owned(),
        )),
        Enqueued::Withheld => Err((
            "withheld",
            "it was asked for with others, one of which was refused".to_owned(),
        )),
    }
}
