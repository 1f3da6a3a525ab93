//! Claims: see `lua/claim.lua`.

use std::time::{Duration, Instant};

use jiff::Timestamp;
use redis::{FromRedisValue, Value};

use super::call::Args;
use super::read::parse_payload;
use super::record::{Record, timestamp};
use super::{BATCH_MAX, ELSEWHERE_MAX, PARK, Queue, QueueError, WorkerInfo};
use crate::ids::{Epoch, JobId, LeaseToken, TenantId};
use crate::job::JobPayload;

/// Proof that this worker holds the lease on one attempt. Not `Clone`: settling consumes it.
#[must_use = "settle the claim: finish, fail or release"]
#[derive(Debug)]
pub struct Claim {
    /// The job.
    pub job: JobId,
    /// Whose it is.
    pub tenant: TenantId,
    /// The fencing number.
    pub epoch: Epoch,
    /// Number of the attempt, from 1.
    pub attempt: u32,
    /// The secret against which upload URLs are granted.
    pub token: LeaseToken,
    /// When the job was accepted.
    pub created_at: Timestamp,
    /// When it was claimed, by the same clock (the server's).
    pub claimed_at: Timestamp,
    /// What to do, or why that cannot be read.
    pub payload: Result<JobPayload, QueueError>,
}

/// Answer to [`Queue::claim`].
#[derive(Debug)]
pub struct Claimed {
    /// The jobs, at most as many as asked for.
    pub claims: Vec<Claim>,
    /// If nothing was claimed: how long to wait on the bell at most.
    pub wait: Duration,
    /// An operator drains this worker: it gets nothing until [`Queue::renew_all`] says otherwise.
    pub drained: bool,
    /// For [`Queue::look`], if the bell has not rung by then.
    pub looks: Looks,
}

/// Until when a parked worker has promised each shard to look at it again.
#[derive(Debug)]
pub struct Looks(Vec<Instant>);

#[cfg(feature = "testing")]
impl Looks {
    /// As if so much time had passed.
    pub fn pass(&mut self, time: Duration) {
        for look in &mut self.0 {
            *look -= time;
        }
    }
}

/// What one shard answers to a claim.
struct ClaimedOf {
    claims: Vec<Claim>,
    wait: Duration,
    drained: bool,
}

impl Queue {
    /// Claims up to `n` jobs for a worker.
    ///
    /// # Errors
    /// [`QueueError::Unavailable`]: jobs may have been claimed; their leases will run out.
    pub async fn claim(
        &self,
        worker: &WorkerInfo,
        n: usize,
        lease: Duration,
    ) -> Result<Claimed, QueueError> {
        let now = Instant::now();
        let looks = Looks(self.shards().map(|_| now).collect());
        self.look(worker, n, lease, looks).await
    }

    /// [`Self::claim`] for a worker whose bell has not rung: asks only the shards at which it is to look by now. What
    /// comes into the others rings, so an idle worker costs each of them little.
    ///
    /// # Errors
    /// As [`Self::claim`].
    pub async fn look(
        &self,
        worker: &WorkerInfo,
        n: usize,
        lease: Duration,
        looks: Looks,
    ) -> Result<Claimed, QueueError> {
        let mut claimed = Claimed {
            claims: Vec::new(),
            wait: PARK,
            drained: false,
            looks,
        };
        let now = Instant::now();
        // Fair within a shard; each shard with work is the first one equally often.
        let shards = self.turns.next(self.keys.len());
        let (shards, later): (Vec<_>, Vec<_>) = shards
            .into_iter()
            .partition(|shard| claimed.looks.0[*shard] <= now);
        for shard in later {
            claimed.wait = claimed.wait.min(claimed.looks.0[shard] - now);
        }
        for (i, shard) in shards.into_iter().enumerate() {
            let wanted = n.min(BATCH_MAX) - claimed.claims.len();
            if i > 0 && wanted == 0 {
                break;
            }
            let ClaimedOf {
                claims,
                wait,
                drained,
            } = match self.claim_of(shard, worker, wanted, lease).await {
                // What the shards before gave must not be lost.
                Err(error) if !claimed.claims.is_empty() => {
                    tracing::warn!(shard, error = %error, "one shard of the queue did not answer a claim");
                    break;
                }
                answer => answer?,
            };
            claimed.claims.extend(claims);
            claimed.looks.0[shard] = Instant::now() + wait;
            claimed.wait = claimed.wait.min(wait);
            claimed.drained |= drained;
        }
        if !claimed.claims.is_empty() {
            claimed.wait = Duration::ZERO;
        }
        Ok(claimed)
    }

    /// How long a worker waits at most before it looks at a shard for itself. Of several, each is the home of some, so
    /// the others need not come as often for what nobody expects: a token that was lost, a worker that died.
    pub(super) fn longest_wait(&self, is_home: bool) -> Duration {
        if is_home {
            return PARK;
        }
        let shards = u32::try_from(self.keys.len()).unwrap_or(u32::MAX);
        PARK.saturating_mul(shards).min(ELSEWHERE_MAX)
    }

    async fn claim_of(
        &self,
        shard: usize,
        worker: &WorkerInfo,
        n: usize,
        lease: Duration,
    ) -> Result<ClaimedOf, QueueError> {
        let mut args = Args::new()
            .show(worker.id)
            .bytes(worker.id.as_bytes())
            .show(n)
            .show(lease.as_millis())
            .show(self.longest_wait(shard == self.home(worker.id)).as_millis())
            .show(worker.slots_offered())
            .bytes(&worker.renderer_digest())
            .bytes(&self.told_to(shard, worker)?);
        for _ in 0..n {
            args = args.bytes(&LeaseToken::generate().expose_bytes());
        }
        let mut reply =
            Vec::<Value>::from_redis_value(self.call(shard, "claim", &args.0).await?)?.into_iter();
        let wait_ms = i64::from_redis_value(reply.next().unwrap_or(Value::Int(0)))?;
        let mut claims = Vec::with_capacity(n);
        let mut found = Vec::with_capacity(n);
        while let (Some(id), Some(front), Some(record)) = (reply.next(), reply.next(), reply.next())
        {
            let job = JobId::from_short(&String::from_redis_value(id)?)?;
            let front = Vec::<u8>::from_redis_value(front)?;
            found.push((job, front, Vec::<u8>::from_redis_value(record)?));
        }
        if found.iter().any(|(_, _, record)| record.is_empty()) {
            let mut command = redis::cmd("MGET");
            for (job, _, _) in &found {
                command.arg(self.keys[shard].job(*job));
            }
            let records: Vec<Option<Vec<u8>>> =
                FromRedisValue::from_redis_value(self.shared.query(&command, true).await?)?;
            for ((_, _, record), now) in found.iter_mut().zip(records) {
                *record = now.unwrap_or_default();
            }
        }
        for (job, front, record) in found {
            // A record that cannot be read is left to its lease's end, which gives it up in time.
            let record = match Record::parse_claimed(&front, &record) {
                Ok(record) => record,
                Err(error) => {
                    tracing::error!(job_id = %job, error = %error, "cannot read a job that was claimed");
                    continue;
                }
            };
            claims.push(Claim {
                job,
                tenant: record.tenant.clone(),
                epoch: record.epoch,
                attempt: record.attempts,
                token: record.token(),
                created_at: timestamp(record.created)?,
                claimed_at: timestamp(record.claimed)?,
                payload: parse_payload(job, &record.into_payload()),
            });
        }
        Ok(ClaimedOf {
            claims,
            wait: u64::try_from(wait_ms).map_or(PARK, Duration::from_millis),
            drained: wait_ms < 0,
        })
    }
}
