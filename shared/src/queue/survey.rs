//! What waits and runs, by lane and tenant: see `lua/survey.lua`.

use std::time::Duration;

use redis::{FromRedisValue, Value};

use super::call::Args;
use super::{BATCH_MAX, Queue, QueueError};
use crate::ids::{JobId, TenantId};
use crate::job::Lane;

/// Where a job waits or runs: jobs that were returned by an attempt go before all lanes.
pub const LANES: [Option<Lane>; 4] = [
    None,
    Some(Lane::Interactive),
    Some(Lane::Normal),
    Some(Lane::Batch),
];

/// Most tenants of a shard that metrics and `manimq top` look at, those that were last active.
pub const SURVEYED_MAX: usize = 20_000;

/// What waits and runs, by lane and tenant.
#[derive(Debug, Clone, Default)]
pub struct Survey {
    /// In the order of [`LANES`].
    pub lanes: [LaneFigures; 4],
    /// Tenants that have jobs.
    pub tenants: Vec<TenantFigures>,
    /// Whether there were more tenants than were looked at: then those that were last active are in it.
    pub partial: bool,
}

/// One lane, of all tenants that were looked at.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LaneFigures {
    /// Jobs that a claim could take, pauses and limits aside.
    pub waiting: u64,
    /// Jobs under a lease.
    pub running: u64,
    /// Age of the job that has waited longest, for whatever reason, since its submit.
    pub oldest: Duration,
    /// The same of jobs that wait for a slot and for nothing else: no pause, no limit of their tenant.
    pub oldest_free: Duration,
}

/// One tenant's jobs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TenantFigures {
    /// Which.
    pub tenant: TenantId,
    /// Jobs under a lease.
    pub running: u64,
    /// Jobs that a claim could take, pauses and limits aside.
    pub waiting: u64,
    /// Jobs that wait for another job's render.
    pub following: u64,
    /// Age of the job that has waited longest, for whatever reason, since its submit.
    pub oldest: Duration,
}

impl LaneFigures {
    /// The name of one of [`LANES`].
    #[must_use]
    pub const fn name(lane: Option<Lane>) -> &'static str {
        match lane {
            None => "returned",
            Some(lane) => lane.as_str(),
        }
    }
}

impl Queue {
    /// Looks at the tenants that were last active, at most `tenants_max` in each shard, a hundred a call. Costs Redis
    /// about 0.3 ms for a hundred with jobs; each call is a picture of its own.
    ///
    /// # Errors
    /// [`QueueError::Unavailable`].
    pub async fn survey(&self, tenants_max: usize) -> Result<Survey, QueueError> {
        let mut survey = Survey::default();
        for shard in self.shards() {
            let mut at = 0;
            loop {
                let args = Args::new().show(at).show(BATCH_MAX);
                let reply = self.call(shard, "survey", &args.0).await?;
                at = survey.add(reply)?;
                if at == 0 {
                    break;
                }
                if at >= tenants_max {
                    survey.partial = true;
                    break;
                }
            }
        }
        Ok(survey)
    }
}

impl Survey {
    /// Adds a page; returns where the next one begins.
    fn add(&mut self, reply: Value) -> Result<usize, QueueError> {
        let mut parts = Vec::<Value>::from_redis_value(reply)?.into_iter();
        let mut next = || parts.next().unwrap_or(Value::Int(0));
        let at = usize::from_redis_value(next())?;
        let now_ms = u64::from_redis_value(next())?;
        for part in parts {
            let mut fields = Vec::<Value>::from_redis_value(part)?.into_iter();
            let mut next = || fields.next().unwrap_or(Value::Int(0));
            let mut tenant = TenantFigures {
                tenant: TenantId::stored(&String::from_redis_value(next())?)?,
                running: u64::from_redis_value(next())?,
                following: u64::from_redis_value(next())?,
                waiting: 0,
                oldest: Duration::ZERO,
            };
            for lane in &mut self.lanes {
                let waiting = u64::from_redis_value(next())?;
                lane.waiting += waiting;
                tenant.waiting += waiting;
                lane.running += u64::from_redis_value(next())?;
                let first = String::from_redis_value(next())?;
                let free = u8::from_redis_value(next())? == 1;
                if !first.is_empty() {
                    let since = JobId::from_short(&first)?.made_at_ms();
                    let age = Duration::from_millis(now_ms.saturating_sub(since));
                    lane.oldest = lane.oldest.max(age);
                    if free {
                        lane.oldest_free = lane.oldest_free.max(age);
                    }
                    tenant.oldest = tenant.oldest.max(age);
                }
            }
            self.tenants.push(tenant);
        }
        Ok(at)
    }
}
