//! Every Redis key of manimq. Nothing else writes key names, save the functions in
//! `queue/lua`, which build them from the same base.
//!
//! All keys of a shard start with its base, `{mq:0}`: the braces make it the hash tag, so a
//! transition stays within one cluster slot. A tenant belongs to one shard.
//!
//! | key after the base | type | holds | lives |
//! | --- | --- | --- | --- |
//! | `:j:<job>` | hash | state of a job, fields ≤ 64 B (list below) | until its retention ends |
//! | `:jp:<job>` | string | [`JobPayload`](crate::job::JobPayload), JSON, written once | with the job |
//! | `:je:<job>` | stream | what happened (`e` kind, `d` JSON); ids are SSE ids; about 2,000 kept | with the job |
//! | `:ja:<job>` | list | attempts that ended, JSON | with the job |
//! | `:jr:<job>` | string | [`JobResult`](crate::job::JobResult), JSON | with the job |
//! | `:t:<tenant>` | hash | quotas, counts and virtual tag of a tenant | always |
//! | `:t:<tenant>:q<lane>` | stream | ready jobs; `f` returned, `0` `1` `2` the lanes; pending = running | always |
//! | `:t:<tenant>:run` | set | running jobs: the tenant's slots in use | while it has any |
//! | `:t:<tenant>:dead` | zset | dead letters by time | always |
//! | `:vt` | zset | tenants from which a claim could take, by virtual tag | |
//! | `:V` | string | virtual time | |
//! | `:lease` | zset | running jobs by lease end, ms | |
//! | `:due` | zset | jobs that wait for a time, ms | |
//! | `:dl` | zset | jobs with a deadline that have never run, ms | |
//! | `:bell` | list | one token per piece of work for a parked worker | |
//! | `:idle` | zset | parked workers, by when they look again by themselves | |
//! | `:wks` | zset | live workers by last sign of life | |
//! | `:wk:<worker>` | string | what a worker says of itself, JSON | 15 s after its last call |
//! | `:uq:<tenant>:<key>` | string | idempotency: job id and body fingerprint | 24 h |
//! | `:ct` | hash | counters | always |
//! | `:ev:<job>` | channel | hint: the job has news | |
//! | `:ctl:<worker>` | channel | hint: renew now | |
//!
//! Fields of a job's hash: `st` status, `tn` tenant, `ln` lane asked for, `sl` lane whose stream
//! holds it, `si` its entry there, `sq` its number there, `ep` epoch, `at` attempts, `fa` failures
//! of our own, `cr` lost leases, `wk` worker, `lt` lease token, `ca` `sa` `fi` when created,
//! claimed, ended, `nb` not before, `dl` deadline, `cx` when a cancel was asked for, `ch`
//! slot-milliseconds charged, `fo` epoch whose `finish` or `fail` was accepted, `pg` progress,
//! `rv` revision. Times are milliseconds since the epoch, by the server's clock.

use crate::ids::{JobId, TenantId, WorkerId};

/// Builds the keys of one shard.
#[derive(Debug, Clone)]
pub struct Keys {
    base: String,
}

impl Keys {
    /// Keys under `prefix` (default `mq`), shard `shard`.
    #[must_use]
    pub fn new(prefix: &str, shard: u16) -> Self {
        Self {
            base: format!("{{{prefix}:{shard}}}"),
        }
    }

    /// The base: the one key that every function takes.
    #[must_use]
    pub fn base(&self) -> &str {
        &self.base
    }

    /// A job's payload.
    #[must_use]
    pub fn payload(&self, id: JobId) -> String {
        format!("{}:jp:{id}", self.base)
    }

    /// A job's hash.
    #[must_use]
    pub fn job(&self, id: JobId) -> String {
        format!("{}:j:{id}", self.base)
    }

    /// A job's event stream.
    #[must_use]
    pub fn events(&self, id: JobId) -> String {
        format!("{}:je:{id}", self.base)
    }

    /// The channel that hints at news of a job.
    #[must_use]
    pub fn event_channel(&self, id: JobId) -> String {
        format!("{}:ev:{id}", self.base)
    }

    /// The channel that hints a worker to renew now.
    #[must_use]
    pub fn control_channel(&self, worker: WorkerId) -> String {
        format!("{}:ctl:{worker}", self.base)
    }

    /// The list that wakes parked workers.
    #[must_use]
    pub fn bell(&self) -> String {
        format!("{}:bell", self.base)
    }

    /// A tenant's hash.
    #[must_use]
    pub fn tenant(&self, tenant: &TenantId) -> String {
        format!("{}:t:{tenant}", self.base)
    }
}
