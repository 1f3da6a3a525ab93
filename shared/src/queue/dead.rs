//! Dead letters: jobs that failed for good by no fault of their author. An operator looks at them,
//! runs them again or discards them. The records themselves end with their retention.

use std::time::Duration;

use jiff::Timestamp;
use redis::FromRedisValue as _;

use super::record::timestamp;
use super::{BATCH_MAX, Enqueued, NewJob, Queue, QueueError};
use crate::ids::{JobId, TenantId, WorkerId};
use crate::job::{FailureClass, JobPayload};

/// Most dead letters that one call looks at.
const LOOKED_MAX: usize = 10_000;

/// Which dead letters are meant. The default means all.
#[derive(Debug, Clone, Default)]
pub struct DeadFilter {
    /// Only of this class.
    pub class: Option<FailureClass>,
    /// Only that died at this time or later.
    pub since: Option<Timestamp>,
    /// Only that died at this time or earlier.
    pub until: Option<Timestamp>,
}

/// One dead letter; [`Queue::read`] tells the rest.
#[derive(Debug, Clone, PartialEq)]
pub struct DeadLetter {
    /// The job.
    pub job: JobId,
    /// When it was given up.
    pub at: Timestamp,
    /// Why.
    pub class: FailureClass,
    /// The last words, for a person.
    pub message: String,
    /// Attempts in all.
    pub attempts: u32,
    /// Who ran it last.
    pub last_worker: Option<WorkerId>,
}

/// What became of one dead letter in a [`Queue::redrive`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Redriven {
    /// The dead job.
    pub dead: JobId,
    /// The job that runs it again, if it was accepted (in a dry run: `None`).
    pub job: Option<JobId>,
    /// What the queue said (in a dry run: `None`). Refused ones stay dead letters.
    pub reply: Option<Enqueued>,
}

impl Queue {
    /// A tenant's dead letters, oldest first, at most `limit` (and at most 10,000 are looked at).
    ///
    /// # Errors
    /// [`QueueError::Unavailable`], or [`QueueError::Corrupt`] if a record cannot be read.
    pub async fn dead_letters(
        &self,
        tenant: &TenantId,
        filter: &DeadFilter,
        limit: usize,
    ) -> Result<Vec<DeadLetter>, QueueError> {
        Ok(self
            .dead(tenant, filter, limit)
            .await?
            .into_iter()
            .map(|(letter, _)| letter)
            .collect())
    }

    async fn dead(
        &self,
        tenant: &TenantId,
        filter: &DeadFilter,
        limit: usize,
    ) -> Result<Vec<(DeadLetter, JobPayload)>, QueueError> {
        let bound = |at: Option<Timestamp>, open: &str| {
            at.map_or_else(|| open.to_owned(), |at| at.as_millisecond().to_string())
        };
        let mut letters = Vec::new();
        let mut gone = Vec::new();
        // Nothing is taken off the list meanwhile by us, so pages by rank miss none.
        for page in (0..LOOKED_MAX).step_by(BATCH_MAX) {
            let mut command = redis::cmd("ZRANGEBYSCORE");
            command
                .arg(self.keys_of_tenant(tenant).dead(tenant))
                .arg(bound(filter.since, "-inf"))
                .arg(bound(filter.until, "+inf"))
                .arg("WITHSCORES")
                .arg("LIMIT")
                .arg(page)
                .arg(BATCH_MAX);
            let found: Vec<(String, i64)> =
                Vec::from_redis_value(self.shared.query(&command, true).await?)?;
            let is_last = found.len() < BATCH_MAX;
            for (id, at) in found {
                if letters.len() == limit {
                    break;
                }
                let job = JobId::from_short(&id)?;
                let Some(record) = self.read(job).await? else {
                    gone.push(job);
                    continue;
                };
                let error = record.result.and_then(|result| result.error);
                let class = error.as_ref().map_or(FailureClass::Internal, |e| e.class);
                if filter.class.is_some_and(|only| only != class) {
                    continue;
                }
                let letter = DeadLetter {
                    job,
                    at: timestamp(at)?,
                    class,
                    message: error.map_or_else(String::new, |e| e.message),
                    attempts: u32::try_from(record.attempts.len()).unwrap_or(u32::MAX),
                    last_worker: record.attempts.last().map(|attempt| attempt.worker),
                };
                letters.push((letter, record.payload));
            }
            if is_last || letters.len() == limit {
                break;
            }
        }
        // Their records have ended before them.
        self.discard(tenant, &gone).await?;
        Ok(letters)
    }

    /// Runs dead letters again, each as a new job whose `parent` is the dead one, and takes them off
    /// the list. Oldest first, at most `limit` and [`BATCH_MAX`] a call. A dry run only tells which.
    ///
    /// The new jobs count against the tenant's quotas; what is refused stays a dead letter. A dead
    /// letter is run again once, however often and by how many this is called within a day: for so long the new job
    /// is found by its idempotency key.
    ///
    /// # Errors
    /// [`QueueError::Unavailable`]; safe to repeat.
    pub async fn redrive(
        &self,
        tenant: &TenantId,
        filter: &DeadFilter,
        limit: usize,
        dry_run: bool,
    ) -> Result<Vec<Redriven>, QueueError> {
        let dead = self.dead(tenant, filter, limit.min(BATCH_MAX)).await?;
        if dry_run || dead.is_empty() {
            let told = |(letter, _): (DeadLetter, _)| Redriven {
                dead: letter.job,
                job: None,
                reply: None,
            };
            return Ok(dead.into_iter().map(told).collect());
        }
        let jobs: Vec<NewJob> = dead
            .into_iter()
            .map(|(letter, payload)| NewJob {
                id: JobId::generate(tenant),
                payload: JobPayload {
                    parent: Some(letter.job),
                    traceparent: None,
                    ..payload
                },
                delay: Duration::ZERO,
                // No API key has a space, so this meets no key of a user.
                idempotency: Some((format!("redrive {}", letter.job), String::new())),
                // What failed by our fault is rendered anew.
                render: None,
            })
            .collect();
        let replies = self.enqueue(tenant, &jobs).await?;
        let mut redriven = Vec::new();
        let mut done = Vec::new();
        for (job, reply) in jobs.iter().zip(replies) {
            let Some(dead) = job.payload.parent else {
                continue;
            };
            let runs = match &reply {
                Enqueued::Accepted | Enqueued::Cached => Some(job.id),
                Enqueued::Exists(earlier) | Enqueued::KeyReused(earlier) => Some(*earlier),
                Enqueued::Full { .. }
                | Enqueued::Limited { .. }
                | Enqueued::Forbidden { .. }
                | Enqueued::NotCached
                | Enqueued::Withheld => None,
            };
            if runs.is_some() {
                done.push(dead);
            }
            redriven.push(Redriven {
                dead,
                job: runs,
                reply: Some(reply),
            });
        }
        self.discard(tenant, &done).await?;
        Ok(redriven)
    }

    /// Takes jobs off a tenant's list of dead letters; their records stay until their retention
    /// ends. Returns how many were on it.
    ///
    /// # Errors
    /// [`QueueError::Unavailable`]; safe to repeat.
    pub async fn discard(&self, tenant: &TenantId, jobs: &[JobId]) -> Result<u64, QueueError> {
        let mut taken = 0;
        for some in jobs.chunks(BATCH_MAX) {
            let keys = self.keys_of_tenant(tenant);
            // First from where they are only counted: what is repeated finds them on the tenant's list.
            for (key, counts) in [(keys.all_dead(), false), (keys.dead(tenant), true)] {
                let mut command = redis::cmd("ZREM");
                command.arg(key);
                for job in some {
                    command.arg(job.short());
                }
                let gone = u64::from_redis_value(self.shared.query(&command, true).await?)?;
                taken += if counts { gone } else { 0 };
            }
        }
        Ok(taken)
    }
}
