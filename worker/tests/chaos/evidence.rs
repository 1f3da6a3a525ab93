//! All that is known of a run when it is over.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use manimq_shared::ids::{Epoch, JobId, TenantId, WorkerId};
use manimq_shared::job::{AttemptOutcome, FailureClass, JobRecord, Status};
use manimq_shared::queue::{EventKind, JobEvent, Stats};
use serde_json::Value;

use crate::history::Record;

/// What happened to a job, as the queue wrote it down in the transition itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    Running { epoch: Epoch, worker: WorkerId },
    CancelRequested,
    Queued,
    Done(Status),
}

/// An attempt, as the queue tells it.
#[derive(Debug, Clone)]
pub struct Try {
    pub epoch: Epoch,
    pub worker: WorkerId,
    pub outcome: Option<AttemptOutcome>,
    /// When it was claimed, and when it ended.
    pub from_ms: u64,
    pub to_ms: u64,
}

/// A job at the end of the run, as the queue tells it.
#[derive(Debug, Clone)]
pub struct Final {
    pub tenant: TenantId,
    pub status: Status,
    pub created_ms: u64,
    pub tries: Vec<Try>,
    /// When (by the server's clock), what.
    pub steps: Vec<(u64, Step)>,
    /// Name, key and SHA-256 of its files.
    pub files: Vec<(String, String, String)>,
    pub class: Option<FailureClass>,
    /// The job whose render is this one's, too. Then the steps are that job's, but for the end.
    pub rendered_by: Option<JobId>,
}

impl Final {
    pub fn new(record: &JobRecord, events: &[JobEvent]) -> Self {
        let ms = |at: jiff::Timestamp| u64::try_from(at.as_millisecond()).unwrap_or(0);
        let result = record.result.clone().unwrap_or_default();
        let file = |file: &manimq_shared::job::StoredArtifact| {
            (file.name.clone(), file.key.clone(), file.sha256.clone())
        };
        Self {
            tenant: record.tenant.clone(),
            status: record.status,
            created_ms: ms(record.created_at),
            tries: record
                .attempts
                .iter()
                .map(|attempt| Try {
                    epoch: attempt.epoch,
                    worker: attempt.worker,
                    outcome: attempt.outcome,
                    from_ms: ms(attempt.started_at),
                    to_ms: attempt.ended_at.map_or(u64::MAX, ms),
                })
                .collect(),
            steps: events.iter().filter_map(step).collect(),
            files: result.artifacts.iter().map(file).collect(),
            class: result.error.map(|error| error.class),
            rendered_by: record.rendered_by,
        }
    }

    /// Whether all that `old` says is still so, and only more has happened.
    fn continues(&self, old: &Self) -> bool {
        let same_attempts = old.tries.iter().enumerate().all(|(i, old)| {
            self.tries.get(i).is_some_and(|new| {
                let same =
                    (new.epoch, new.worker, new.from_ms) == (old.epoch, old.worker, old.from_ms);
                let ended = old.outcome.is_some();
                same && (!ended || (new.outcome, new.to_ms) == (old.outcome, old.to_ms))
            })
        });
        let cancels = |job: &Self| {
            let asked = job
                .steps
                .iter()
                .filter(|(_, s)| *s == Step::CancelRequested);
            asked.count()
        };
        let ended = old.status.is_terminal();
        let same_end = (self.status, self.steps.last()) == (old.status, old.steps.last());
        same_attempts
            && cancels(self) >= cancels(old)
            && self.created_ms == old.created_ms
            && (!ended || same_end)
            && (old.rendered_by.is_none() || self.rendered_by == old.rendered_by)
    }

    /// The attempts as their claims were written down: when, epoch, worker.
    pub fn runs(&self) -> impl Iterator<Item = (u64, Epoch, WorkerId)> {
        self.steps.iter().filter_map(|(ms, step)| match step {
            Step::Running { epoch, worker } => Some((*ms, *epoch, *worker)),
            _ => None,
        })
    }

    /// When the attempt that began at step `i` was over.
    pub fn over(&self, i: usize) -> Option<u64> {
        let after = self.steps[i + 1..].iter();
        let mut ends = after.filter(|(_, step)| matches!(step, Step::Queued | Step::Done(_)));
        ends.next().map(|(ms, _)| *ms)
    }
}

/// What an event says of the job's status; `None` for progress and the like.
fn step(event: &JobEvent) -> Option<(u64, Step)> {
    let ms = event.id.split('-').next()?.parse().ok()?;
    let data: Value = serde_json::from_str(&event.data).ok()?;
    let status: Option<Status> = data["status"].as_str().and_then(|text| text.parse().ok());
    let step = match event.kind {
        EventKind::Done => Step::Done(status?),
        EventKind::Status if data["cancel_requested"] == Value::Bool(true) => Step::CancelRequested,
        EventKind::Status => match status? {
            Status::Running => Step::Running {
                epoch: Epoch(data["epoch"].as_u64()?),
                worker: data["worker"].as_str()?.parse().ok()?,
            },
            Status::Queued => Step::Queued,
            _ => return None,
        },
        EventKind::Progress | EventKind::Log | EventKind::Warning => return None,
    };
    Some((ms, step))
}

/// Limits of a tenant that the run set.
#[derive(Debug, Clone, Copy, Default)]
pub struct Caps {
    pub queued: Option<usize>,
    pub running: Option<usize>,
}

/// All that is known of a run.
#[derive(Default)]
pub struct Evidence {
    /// Of all processes, by time.
    pub records: Vec<Record>,
    /// Every job that anybody tried to submit, if the queue knows it.
    pub jobs: BTreeMap<JobId, Final>,
    pub stats: Stats,
    /// SHA-256 of what was stored, by key.
    pub stored: BTreeMap<String, String>,
    pub caps: HashMap<TenantId, Caps>,
    /// When Redis was away or no worker could be heard of, microseconds.
    pub outages: Vec<(u64, u64)>,
    /// When a process was cut off from Redis.
    pub cut_off: Vec<(String, u64, u64)>,
    /// When the operator had paused something.
    pub pauses: Vec<(u64, u64)>,
    /// The server's clock was moved: its times cannot be compared with ours.
    pub clock_moved: bool,
    /// Longest time for which the machine did not let the driver run.
    pub stall: Duration,
    /// Jobs counted as accepted only when Redis had confirmed that they are kept.
    pub durable: bool,
    /// Accepted jobs that Redis itself lost in a failover, as its old primary shows.
    pub lost_by_redis: BTreeSet<JobId>,
    /// Jobs of which it lost something that it had acknowledged: what their workers and producers were
    /// told is not compared.
    pub rewound: BTreeSet<JobId>,
}

/// What Redis itself lost when a replica took a master's place.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Loss {
    /// Jobs that are gone.
    pub lost: BTreeSet<JobId>,
    /// Jobs whose last steps are gone.
    pub rewound: BTreeSet<JobId>,
}

/// Compares what replaced masters had with what there is in the end.
pub fn loss(had: &[BTreeMap<JobId, Final>], have: &BTreeMap<JobId, Final>) -> Loss {
    let mut loss = Loss::default();
    for (id, old) in had.iter().flatten() {
        match have.get(id) {
            None => {
                loss.lost.insert(*id);
            }
            Some(new) if !new.continues(old) => {
                loss.rewound.insert(*id);
            }
            Some(_) => {}
        }
    }
    loss
}
