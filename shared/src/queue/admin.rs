//! What an operator sees and changes while the queue runs.

use std::time::Duration;

use jiff::Timestamp;
use redis::{FromRedisValue, Value};

use super::call::Args;
use super::record::timestamp;
use super::{BATCH_MAX, Queue, QueueError, Quotas, RedisConfig};
use crate::ids::{JobId, TenantId, WorkerId};
use crate::job::Lane;

/// What [`Queue::pause`] and [`Queue::resume`] are about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PauseScope {
    /// One tenant's jobs.
    Tenant(TenantId),
    /// One lane of all tenants.
    Lane(Lane),
    /// Everything.
    All,
}

/// What [`Queue::audit`] found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Audit {
    /// Items that were looked at.
    pub looked: u64,
    /// What is wrong, in words; nothing, unless the queue has a bug or somebody wrote to its keys.
    pub violations: Vec<String>,
}

/// How long jobs are kept that have ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// Those that succeeded.
    pub succeeded: Duration,
    /// Those that failed, were cancelled or expired; dead letters too.
    pub others: Duration,
}

impl Retention {
    /// The longest: lists of jobs are looked for so many days back.
    pub const MAX: Duration = Duration::from_hours(30 * 24);
}

/// A tenant as the queue sees it.
#[derive(Debug, Clone, PartialEq)]
pub struct TenantState {
    /// Which.
    pub tenant: TenantId,
    /// When it was last active; none if it only has settings.
    pub last_active: Option<Timestamp>,
    /// Jobs that have not ended.
    pub active: u64,
    /// Jobs under a lease.
    pub running: u64,
    /// Jobs that a claim could take, pauses and limits aside.
    pub ready: u64,
    /// Jobs that wait for another job's render of the same.
    pub following: u64,
    /// Length of its usual job.
    pub usual_job: Duration,
    /// Render time metered today (UTC).
    pub rendered_today: Duration,
    /// Whether it is paused.
    pub paused: bool,
    /// Why its jobs start or not.
    pub place: TenantPlace,
    /// Its dead letters.
    pub dead: u64,
}

/// Where the scheduler has a tenant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TenantPlace {
    /// Nothing of it may start: no work, paused, or at its own limit of concurrent renders.
    Idle,
    /// Its next job may start.
    Eligible,
    /// It holds all the slots that one tenant may hold while others are active.
    AtElasticBound,
    /// All of its work is in paused lanes.
    LanePaused,
    /// Its render seconds of the day are used up.
    OutOfRenderTime,
}

impl TenantPlace {
    /// The name for programs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Eligible => "eligible",
            Self::AtElasticBound => "at_elastic_bound",
            Self::LanePaused => "lane_paused",
            Self::OutOfRenderTime => "out_of_render_time",
        }
    }

    fn parse(text: &str) -> Self {
        match text {
            "vt" => Self::Eligible,
            "over" => Self::AtElasticBound,
            "held" => Self::LanePaused,
            "gate" => Self::OutOfRenderTime,
            _ => Self::Idle,
        }
    }
}

/// Where the next page of a list begins; the default is the first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cursor {
    shard: usize,
    at: String,
}

impl Queue {
    /// Connects to a queue that is there already, with as many shards as it has; `None` if this Redis
    /// holds none under this prefix. For those who look after a queue and must not begin one by mistake.
    ///
    /// # Errors
    /// As [`Queue::connect`].
    pub async fn find(config: &RedisConfig) -> Result<Option<Self>, QueueError> {
        let mut command = redis::cmd("HMGET");
        let queue = Self::new(config)?;
        command
            .arg(queue.keys().shard())
            .arg("layout")
            .arg("shards");
        let (layout, shards): (Option<String>, Option<String>) = queue.query(&command).await?;
        if layout.is_none() {
            return Ok(None);
        }
        let config = RedisConfig {
            shards: shards.and_then(|text| text.parse().ok()).or(config.shards),
            ..config.clone()
        };
        Self::connect(&config).await.map(Some)
    }

    /// Checks all that the queue knows twice, changing nothing; with `repair`, puts right what differs
    /// and counts it in the counter `repairs`. Costs Redis about 0.1 ms per 100 items, in short calls.
    ///
    /// # Errors
    /// [`QueueError::Unavailable`].
    pub async fn audit(&self, repair: bool) -> Result<Audit, QueueError> {
        let mut audit = Audit::default();
        let mut page = Some(Cursor::default());
        while let Some(cursor) = page {
            let (more, next) = self.audit_page(&cursor, repair).await?;
            audit.looked += more.looked;
            audit.violations.extend(more.violations);
            page = next;
        }
        Ok(audit)
    }

    /// Wakes a parked worker in each shard where work waits for which nobody came, as when whoever was woken for it is
    /// frozen or cut off: see `lua/remind.lua`. Some ten commands a shard.
    ///
    /// # Errors
    /// [`QueueError::Unavailable`].
    pub async fn remind(&self) -> Result<(), QueueError> {
        for shard in self.shards() {
            self.call(shard, "remind", &[]).await?;
        }
        Ok(())
    }

    /// One call of [`Self::audit`], about a hundred items. With it the next page, if there is one.
    ///
    /// # Errors
    /// [`QueueError::Unavailable`].
    pub async fn audit_page(
        &self,
        from: &Cursor,
        repair: bool,
    ) -> Result<(Audit, Option<Cursor>), QueueError> {
        let function = if repair { "repair" } else { "audit" };
        let args = Args::new().text(&from.at);
        let reply = self.call(from.shard, function, &args.0).await?;
        let mut parts = Vec::<Value>::from_redis_value(reply)?.into_iter();
        let at = String::from_redis_value(parts.next().unwrap_or(Value::Nil))?;
        let looked = u64::from_redis_value(parts.next().unwrap_or(Value::Int(0)))?;
        let violations = parts
            .map(String::from_redis_value)
            .collect::<Result<_, _>>()?;
        let audit = Audit { looked, violations };
        Ok((audit, self.next(from, at)))
    }

    /// Sets a tenant's quotas; they hold from the reply on, also for jobs that wait.
    ///
    /// # Panics
    /// If [`Quotas::check`] does not allow them.
    ///
    /// # Errors
    /// [`QueueError::Unavailable`]; safe to repeat.
    pub async fn set_quotas(&self, tenant: &TenantId, quotas: &Quotas) -> Result<(), QueueError> {
        if let Err(problem) = quotas.check() {
            panic!("{problem}");
        }
        let mut args = Args::new().text(tenant.as_str());
        for text in quotas.to_texts() {
            args = args.text(&text);
        }
        self.call(self.shard_of(tenant), "quotas", &args.0).await?;
        Ok(())
    }

    /// A tenant's quotas.
    ///
    /// # Errors
    /// [`QueueError::Unavailable`].
    pub async fn quotas(&self, tenant: &TenantId) -> Result<Quotas, QueueError> {
        let args = Args::new().text(tenant.as_str());
        let reply = self.call(self.shard_of(tenant), "quotas", &args.0).await?;
        Ok(Quotas::from_texts(&Vec::from_redis_value(reply)?))
    }

    /// Stops new attempts; what runs goes on and submits are accepted. False if it was paused before.
    ///
    /// # Errors
    /// [`QueueError::Unavailable`]; safe to repeat.
    pub async fn pause(&self, scope: &PauseScope) -> Result<bool, QueueError> {
        self.set_paused(scope, true).await
    }

    /// Undoes a [`Self::pause`] of the same scope. False if it was not paused.
    ///
    /// # Errors
    /// [`QueueError::Unavailable`]; safe to repeat.
    pub async fn resume(&self, scope: &PauseScope) -> Result<bool, QueueError> {
        self.set_paused(scope, false).await
    }

    async fn set_paused(&self, scope: &PauseScope, on: bool) -> Result<bool, QueueError> {
        let (kind, name, shards) = match scope {
            PauseScope::Tenant(tenant) => {
                let shard = self.shard_of(tenant);
                ("tenant", tenant.to_string(), shard..shard + 1)
            }
            PauseScope::Lane(lane) => ("lane", lane.digit().to_string(), self.shards()),
            PauseScope::All => ("all", String::new(), self.shards()),
        };
        let args = Args::new().text(kind).text(&name).show(u8::from(on));
        let mut changed = false;
        for shard in shards {
            let reply = self.call(shard, "pause", &args.0).await?;
            changed |= i64::from_redis_value(reply)? == 1;
        }
        Ok(changed)
    }

    /// Drains a worker: it claims no more, finishes what it runs and stays idle. With `on` false it
    /// claims again. Holds from the reply on, until the worker ends; it keeps the claims that it has.
    /// False if that was so before. [`Queue::stats`] tells how far it is. A worker that nobody knows is
    /// drained should it appear within a day.
    ///
    /// # Errors
    /// [`QueueError::Unavailable`]; safe to repeat.
    pub async fn drain(&self, worker: WorkerId, on: bool) -> Result<bool, QueueError> {
        let args = Args::new().show(worker).show(u8::from(on));
        let mut changed = false;
        for shard in self.shards() {
            let reply = self.call(shard, "drain", &args.0).await?;
            changed |= i64::from_redis_value(reply)? == 1;
        }
        Ok(changed)
    }

    /// How long jobs are kept that end now (defaults: succeeded 24 h, others 14 d).
    ///
    /// # Errors
    /// [`QueueError::Unavailable`].
    pub async fn retention(&self) -> Result<Retention, QueueError> {
        let reply = self.call(0, "retention", &Args::new().0).await?;
        let (succeeded, others) = <(u64, u64)>::from_redis_value(reply)?;
        Ok(Retention {
            succeeded: Duration::from_secs(succeeded),
            others: Duration::from_secs(others),
        })
    }

    /// Sets how long jobs are kept that end from now on. Whole seconds, at least one, at most
    /// [`Retention::MAX`].
    ///
    /// # Errors
    /// [`QueueError::Unavailable`]; safe to repeat.
    pub async fn set_retention(&self, keep: Retention) -> Result<(), QueueError> {
        let args = Args::new()
            .show(keep.succeeded.as_secs())
            .show(keep.others.as_secs());
        for shard in self.shards() {
            self.call(shard, "retention", &args.0).await?;
        }
        Ok(())
    }

    /// A page of the tenants that have work, were active lately or have settings of their own, at
    /// most [`BATCH_MAX`], last active first (within each shard). With it the next page, if there is one.
    ///
    /// # Errors
    /// [`QueueError::Unavailable`].
    pub async fn tenants(
        &self,
        from: &Cursor,
    ) -> Result<(Vec<TenantState>, Option<Cursor>), QueueError> {
        let at = if from.at.is_empty() { "0" } else { &from.at };
        let args = Args::new().text(at).show(BATCH_MAX);
        let reply = self.call(from.shard, "tenants", &args.0).await?;
        let mut parts = Vec::<Value>::from_redis_value(reply)?.into_iter();
        let next = String::from_redis_value(parts.next().unwrap_or(Value::Nil))?;
        let tenants = parts.filter_map(|part| parse_tenant(part).transpose());
        let tenants = tenants.collect::<Result<_, QueueError>>()?;
        Ok((tenants, self.next(from, next)))
    }

    /// A page of a tenant's jobs that are ready or run, in the order of claims, at most [`BATCH_MAX`].
    ///
    /// # Errors
    /// [`QueueError::Unavailable`].
    pub async fn active_jobs(
        &self,
        tenant: &TenantId,
        from: &Cursor,
    ) -> Result<(Vec<JobId>, Option<Cursor>), QueueError> {
        let args = Args::new()
            .text(tenant.as_str())
            .text(&from.at)
            .show(BATCH_MAX);
        let reply = self.call(self.shard_of(tenant), "jobs", &args.0).await?;
        let mut texts = Vec::<String>::from_redis_value(reply)?.into_iter();
        let at = texts.next().unwrap_or_default();
        let jobs = texts
            .map(|text| JobId::from_short(&text))
            .collect::<Result<_, _>>()?;
        let next = Cursor {
            shard: from.shard,
            at,
        };
        Ok((jobs, (!next.at.is_empty()).then_some(next)))
    }

    /// A page of the jobs that run, with the ends of their leases, next first, at most [`BATCH_MAX`].
    ///
    /// # Errors
    /// [`QueueError::Unavailable`].
    pub async fn running_jobs(
        &self,
        from: &Cursor,
    ) -> Result<(Vec<(JobId, Timestamp)>, Option<Cursor>), QueueError> {
        self.waiting("lease", from).await
    }

    /// A page of the jobs that wait for a time, next first, at most [`BATCH_MAX`].
    ///
    /// # Errors
    /// [`QueueError::Unavailable`].
    pub async fn delayed_jobs(
        &self,
        from: &Cursor,
    ) -> Result<(Vec<(JobId, Timestamp)>, Option<Cursor>), QueueError> {
        self.waiting("due", from).await
    }

    async fn waiting(
        &self,
        which: &str,
        from: &Cursor,
    ) -> Result<(Vec<(JobId, Timestamp)>, Option<Cursor>), QueueError> {
        let at = if from.at.is_empty() { "0" } else { &from.at };
        let args = Args::new().text(which).text(at).show(BATCH_MAX);
        let reply = self.call(from.shard, "waiting", &args.0).await?;
        let mut parts = Vec::<Value>::from_redis_value(reply)?.into_iter();
        let next = String::from_redis_value(parts.next().unwrap_or(Value::Nil))?;
        let mut jobs = Vec::new();
        while let (Some(id), Some(at)) = (parts.next(), parts.next()) {
            let id = JobId::from_short(&String::from_redis_value(id)?)?;
            jobs.push((id, timestamp(i64::from_redis_value(at)?)?));
        }
        Ok((jobs, self.next(from, next)))
    }

    /// The page after one of `from`'s shard, where `at` is empty or 0 at the end of that.
    fn next(&self, from: &Cursor, at: String) -> Option<Cursor> {
        if !at.is_empty() && at != "0" {
            return Some(Cursor {
                shard: from.shard,
                at,
            });
        }
        let shard = from.shard + 1;
        self.shards().contains(&shard).then(|| Cursor {
            shard,
            at: String::new(),
        })
    }
}

/// `None`: the canary's, which is shown to nobody.
fn parse_tenant(value: Value) -> Result<Option<TenantState>, QueueError> {
    type Reply = (String, f64, u64, u64, u64, u64, u64, u64, u8, String, u64);
    let (name, active_at, active, running, ready, following, usual, metered, paused, place, dead) =
        Reply::from_redis_value(value)?;
    let tenant = TenantId::stored(&name)?;
    if tenant.is_canary() {
        return Ok(None);
    }
    Ok(Some(TenantState {
        tenant,
        last_active: super::record::time(active_at as i64)?,
        active,
        running,
        ready,
        following,
        usual_job: Duration::from_millis(usual),
        rendered_today: Duration::from_millis(metered),
        paused: paused == 1,
        place: TenantPlace::parse(&place),
        dead,
    }))
}
