//! Renewals: leases, the news of running jobs, and a worker's sign of life. See `lua/renew.lua`.

use std::sync::atomic::Ordering;
use std::time::Duration;

use redis::FromRedisValue as _;

use super::call::Args;
use super::error::unexpected;
use super::{BATCH_MAX, EventKind, Queue, QueueError, WorkerInfo};
use crate::ids::{Epoch, JobId};

/// Most events of one renewal call.
const EVENTS_PER_CALL: usize = 500;
/// A shard has not said yet how many of its tenants are active.
pub(super) const UNKNOWN: u64 = u64::MAX;

/// News of one running job, sent with a renewal.
#[derive(Debug, Clone)]
pub struct Renewal {
    /// The job.
    pub job: JobId,
    /// The lease.
    pub epoch: Epoch,
    /// Events in order: kind and JSON.
    pub events: Vec<(EventKind, String)>,
}

/// Answer to [`Queue::renew_all`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Renewed {
    /// For each job, in the order of the call.
    pub leases: Vec<Lease>,
    /// Whether an operator drains this worker: it claims nothing, finishes what runs and stays.
    pub drained: bool,
}

/// What a worker is told of one of its leases.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lease {
    /// Go on.
    Held,
    /// Stop, then finish as canceled.
    Cancel,
    /// Stop and tell nobody: another attempt owns the job, or it has ended.
    Lost,
}

impl Queue {
    /// Renews the leases of a worker's jobs, at most [`BATCH_MAX`], and carries their news up.
    /// Also the worker's sign of life, so it is called without jobs too.
    ///
    /// # Panics
    /// As [`Self::renew_all`].
    ///
    /// # Errors
    /// [`QueueError::Unavailable`]: repeat before the lease ends; events may then appear twice.
    pub async fn renew(
        &self,
        worker: &WorkerInfo,
        lease: Duration,
        jobs: &[Renewal],
    ) -> Result<Vec<Lease>, QueueError> {
        Ok(self.renew_all(worker, lease, jobs).await?.leases)
    }

    /// [`Self::renew`] for the one who looks after the whole worker: also told whether it is drained.
    ///
    /// # Panics
    /// If there are more than [`BATCH_MAX`] jobs.
    ///
    /// # Errors
    /// As [`Self::renew`].
    pub async fn renew_all(
        &self,
        worker: &WorkerInfo,
        lease: Duration,
        jobs: &[Renewal],
    ) -> Result<Renewed, QueueError> {
        assert!(
            jobs.len() <= BATCH_MAX,
            "renew takes at most {BATCH_MAX} jobs"
        );
        let mut leases = vec![Lease::Lost; jobs.len()];
        let mut drained = false;
        for shard in self.shards() {
            let ours: Vec<usize> = (0..jobs.len())
                .filter(|&i| self.shard_of_job(jobs[i].job) == shard)
                .collect();
            let mut rest = &ours[..];
            // Also with no jobs: it is the worker's sign of life.
            loop {
                // The news of one call are bounded too, or one call could stop Redis for long.
                let mut events = 0;
                let fits = rest
                    .iter()
                    .take_while(|&&i| {
                        events += jobs[i].events.len();
                        events <= EVENTS_PER_CALL
                    })
                    .count();
                let (now, later) = rest.split_at(fits.max(1).min(rest.len()));
                let some: Vec<&Renewal> = now.iter().map(|&i| &jobs[i]).collect();
                let away = jobs.len() - ours.len();
                let renewed = self.renew_of(shard, worker, lease, &some, away).await?;
                drained |= renewed.drained;
                for (&i, lease) in now.iter().zip(renewed.leases) {
                    leases[i] = lease;
                }
                rest = later;
                if rest.is_empty() {
                    break;
                }
            }
        }
        Ok(Renewed { leases, drained })
    }

    /// Tenants active lately in the other shards, once all of these have said so.
    fn active_elsewhere(&self, shard: usize) -> Option<u64> {
        let others = self.shards().filter(|other| *other != shard);
        others
            .map(|other| Some(self.active[other].load(Ordering::Relaxed)).filter(|n| *n != UNKNOWN))
            .sum()
    }

    async fn renew_of(
        &self,
        shard: usize,
        worker: &WorkerInfo,
        lease: Duration,
        jobs: &[&Renewal],
        away: usize,
    ) -> Result<Renewed, QueueError> {
        let (away, others) = match self.keys.len() {
            1 => (String::new(), None),
            _ => (away.to_string(), self.active_elsewhere(shard)),
        };
        let mut args = Args::new()
            .show(worker.id)
            .bytes(worker.id.as_bytes())
            .show(lease.as_millis())
            .bytes(&self.told_to(shard, worker)?)
            .show(worker.slots_offered())
            .bytes(&worker.renderer_digest())
            .text(&away)
            .text(&others.map_or(String::new(), |others| others.to_string()))
            .show(jobs.len());
        for job in jobs {
            // Of more than one call takes, the oldest are left out.
            let events = &job.events[job.events.len().saturating_sub(EVENTS_PER_CALL)..];
            args = args
                .text(&job.job.short())
                .show(job.epoch)
                .show(events.len());
            for (kind, data) in events {
                args = args.text(kind.as_str()).text(data);
            }
        }
        let mut replies: Vec<String> =
            Vec::from_redis_value(self.call(shard, "renew", &args.0).await?)?;
        let active = replies.pop().and_then(|text| text.parse().ok());
        self.active[shard].store(active.unwrap_or(UNKNOWN), Ordering::Relaxed);
        let drained = replies.pop().as_deref() == Some("1");
        let leases = replies
            .iter()
            .map(|reply| match reply.as_str() {
                "ok" => Ok(Lease::Held),
                "cancel" => Ok(Lease::Cancel),
                "lost" => Ok(Lease::Lost),
                other => Err(unexpected("renew", other)),
            })
            .collect::<Result<_, _>>()?;
        Ok(Renewed { leases, drained })
    }
}
