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
//! | `:je:<job>` | list | what happened, `<ms> <kind> <JSON>`; its number is in the SSE id; 2,000 kept; the last but one of an ended job may be `result` with its [`JobResult`](crate::job::JobResult) | with the job |
//! | `:ja:<job>` | list | attempts after which the job was queued again, JSON | with the job |
//! | `:jg:<job>` | string | [`Progress`](crate::job::Progress) of the attempt that runs, JSON | until the attempt ends |
//! | `:t:<tenant>` | hash | a tenant: `a` state and `q` quotas (cmsgpack, see `prelude.lua`), `p` paused | always |
//! | `:t:<tenant>:q<lane>` | stream | ready jobs; `f` returned, `0` `1` `2` the lanes; pending = running | always |
//! | `:t:<tenant>:run` | set | running jobs: the tenant's slots in use | while it has any |
//! | `:t:<tenant>:dead` | zset | dead letters by time | with the last of them |
//! | `:tns` | zset | all tenants by when they were last active | always |
//! | `:vt` | zset | tenants from which a claim could take, by virtual tag | |
//! | `:over` | zset | tenants at the elastic bound of slots | |
//! | `:held` | zset | tenants with work in paused lanes only, by the generation of the pauses | |
//! | `:gate` | zset | tenants that wait for a time (render seconds of the day), ms | |
//! | `:sh` | hash | the shard: virtual time `V`, live `slots`, `paused` lanes, `generation` of lane pauses, when a worker was last `seen`, until when the reaper must `hold`, retention `keep_ok` `keep_other` in seconds | always |
//! | `:lease` | zset | running jobs by lease end, ms | |
//! | `:due` | zset | jobs that wait for a time, ms | |
//! | `:dl` | zset | jobs with a deadline that have never run, ms | |
//! | `:bell` | list | one token per piece of work for a parked worker | |
//! | `:idle` | zset | parked workers, by when they look again by themselves | |
//! | `:wks` | zset | live workers by last sign of life | |
//! | `:wkn` | hash | slots that each live worker offers | |
//! | `:wk:<worker>` | string | what a worker says of itself, JSON | 15 s after its last call |
//! | `:uq:<tenant>:<key>` | string | idempotency: job id and body fingerprint | with the job, at most 24 h beyond its end |
//! | `:ct` | hash | counters | always |
//! | `:store` | string | which store holds the results: a hash of the secret that signs its URLs | always |
//! | `:ev:<job>` | channel | hint: the job has news | |
//! | `:ctl:<worker>` | channel | hint: renew now | |
//!
//! Fields of a job's hash: `st` status, `tn` tenant, `ln` lane asked for, `sl` lane whose stream
//! holds it, `si` its entry there, `sq` its number there, `ep` epoch, `at` attempts, `fa` failures
//! of our own, `cr` lost leases, `wk` worker, `lt` lease token, `ca` `sa` `fi` when created,
//! claimed, ended, `nb` not before, `dl` deadline, `cx` when a cancel was asked for, `ch`
//! slot-milliseconds charged, `fo` epoch that was settled last and what its caller was told, `ao`
//! `ac` how the last attempt ended and its failure class, `ik` idempotency key, `na` has a `:ja`,
//! `pg` has a `:jg`,
//! `ed` events dropped from the front of `:je`, `rv` revision. Times are milliseconds since the epoch, by the server's clock.

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

    /// A job's events.
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

    /// The note of which store holds the results.
    #[must_use]
    pub fn store(&self) -> String {
        format!("{}:store", self.base)
    }

    /// A tenant's hash.
    #[must_use]
    pub fn tenant(&self, tenant: &TenantId) -> String {
        format!("{}:t:{tenant}", self.base)
    }

    /// A tenant's dead letters.
    #[must_use]
    pub fn dead(&self, tenant: &TenantId) -> String {
        format!("{}:t:{tenant}:dead", self.base)
    }
}
