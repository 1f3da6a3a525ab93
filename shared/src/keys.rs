//! Every Redis key of manimq. Nothing else writes key names, save the functions in
//! `queue/lua`, which build them from the same base.
//!
//! All keys of a shard start with its base, `{mq:0}`: the braces make it the hash tag, so a
//! transition stays within one cluster slot. A tenant belongs to one shard.
//!
//! | key after the base | type | holds | lives |
//! | --- | --- | --- | --- |
//! | `:j<job>` | string | a job's record and its [`JobPayload`](crate::job::JobPayload), see `queue/record.rs` | until its retention ends; 120 s if its submit never came |
//! | `:r<job>` | string | its [`JobResult`](crate::job::JobResult), JSON | with the job |
//! | `:e<job>` | list | what happened, `<ms> <kind> <JSON>`; its number is in the SSE id; 2,000 kept; start and end are told from the record | with the job |
//! | `:a<job>` | list | attempts after which the job was queued again; 100 kept | with the job |
//! | `:g<job>` | string | [`Progress`](crate::job::Progress) of the attempt that runs, JSON | until the attempt ends |
//! | `:f<job>` | list | jobs that wait for its render; at most 8 | until it ends |
//! | `:u<job>` | list | other jobs that show the files of its render | as long as those |
//! | `:k:<tenant>:<render key>` | string | the job that answers for a piece of work | until that job's retention ends |
//! | `:t:<tenant>` | string | a tenant's state and quotas, see `prelude.lua` | while it is active or has settings |
//! | `:t:<tenant>:q<lane>` | stream | ready jobs, entry `<number>-0`; `f` returned, `0` `1` `2` the lanes; pending = running; up to 16 that are done with | until the tenant was quiet for 10 minutes |
//! | `:t:<tenant>:j<day>` | list | the jobs accepted on a day since the epoch, in that order; 24 bytes each; what is forgotten stays in it | the longest retention and 9 days (23 days) |
//! | `:t:<tenant>:limits` | string | ceilings of its renders, `name=value,…`; no function reads it | while it has some |
//! | `:t:<tenant>:dead` | zset | dead letters by time | with the last of them |
//! | `:dead` | zset | dead letters of all tenants by time, to be counted | with the last of them |
//! | `:t:<tenant>:feed` | stream, and channel for hints | news of all its jobs, `j` job, `s` what; about 5,000 kept | while somebody listens, and 5 minutes on |
//! | `:t:<tenant>:hooks` | hash | its webhooks: settings and secrets by id, JSON | while it has some |
//! | `:t:<tenant>:hookst` | hash | those that fail or are off, see `hooks.lua` | until they work again |
//! | `:t:<tenant>:hook:<id>` | list | deliveries to a webhook, newest first; 1,000 kept | 14 days after the last |
//! | `:hooks` | stream, and channel for hints | news of tenants with webhooks, until an API process looks them up | |
//! | `:hooksn` | hash | how many of those each tenant has; at most 10,000 | |
//! | `:wd<id>` | hash | a delivery, see `hooks.lua` | 14 days |
//! | `:wdue` | zset | deliveries by when they are tried next, ms | |
//! | `:tns` | zset | tenants by when they were last active | with the tenant's state |
//! | `:rest` | zset | the same tenants by when to look whether they left for good, ms | with the tenant's state |
//! | `:vt` | zset | tenants from which a claim could take, by virtual tag | |
//! | `:over` | zset | tenants at the elastic bound of slots | |
//! | `:held` | zset | tenants with work in paused lanes only, by the generation of the pauses | |
//! | `:gate` | zset | tenants that wait for a time (render seconds of the day), ms | |
//! | `:s` | string | the shard's state: virtual time, live slots, pauses, retention and so on, see `prelude.lua` | always |
//! | `:sh` | hash | data `layout` and number of `shards`, on which all processes must agree | always |
//! | `:lease` | zset | running jobs by lease end, ms | |
//! | `:due` | zset | jobs that wait for a time, ms | |
//! | `:dl` | zset | jobs with a deadline that have never run, ms | |
//! | `:bell` | list | one token per piece of work for a parked worker | |
//! | `:idle` | zset | parked workers, by when they look again by themselves | |
//! | `:wks` | zset | live workers by the time until which they may be silent, ms | |
//! | `:wkn` | hash | slots that each live worker offers, and its last sign of life, ms | |
//! | `:wka` | hash | jobs that each live worker runs for other shards; only if there are several | |
//! | `:drain` | zset | workers that an operator drains, by last sign of life | until they leave or were silent for a day |
//! | `:wk:<worker>` | string | what a worker says of itself, JSON | 15 s after it was to be heard of |
//! | `:uq:<tenant>:<key>` | string | idempotency: job id and body fingerprint | with the job, at most 24 h beyond its end |
//! | `:ct` | hash | counters | always |
//! | `:store` | string | which store holds the results: a hash of the secret that signs its URLs | always |
//! | `:store:since` | string | since when it is known here, ms; what was stored before is never swept | always |
//! | `:af:<tenant>` | zset | files that came with jobs (SHA-256) by when one last used them, ms | twice as long as the files |
//! | `:af:<tenant>:<hash>` | string | such a file is being removed | at most 5 min |
//! | `:afb` | hash | bytes of each tenant's such files; the sweep counts anew | always |
//! | `:sweep` | string | a process has swept the store in this period | a period |
//! | `:sweep:at` | string | behind which file the last sweep stopped | until a sweep comes to the end |
//! | `:canary` | string | when a canary last succeeded and how long it took, ms | always |
//! | `:canary:turn` | string | a canary of this period was sent | a period |
//! | `:ev` | channel | hint: these jobs have news | |
//!
//! and one channel without a shard, `{mq:ctl}:<worker>`: hint, renew now.
//!
//! Tenants as operators keep them, and API keys, have a base of their own, `{mq:acc}`: a key is found before
//! it is known whose it is. `queue/lua/accounts.lua` alone reads and writes them; but for `:libs`.
//!
//! | key after that base | type | holds | lives |
//! | --- | --- | --- | --- |
//! | `:t:<tenant>` | hash | name for people, when it was made and disabled, whether that paused its jobs | until it is deleted |
//! | `:names` | zset | all such tenants, by id | always |
//! | `:k:<key id>` | hash | whose the key is, its SHA-256, name, scopes, times | with the tenant; 30 days beyond its end |
//! | `:tk:<tenant>` | set | ids of its keys | with the tenant |
//! | `:live` | zset | keys that are not revoked, by when they expire | always |
//! | `:libs` | zset | libraries of functions that were loaded for this queue, by when, ms | the last three |
//! | `:made` | string | how many keys were ever made: with the first one the API is open to nobody | always |
//!
//! `<job>` is the id's [short form](JobId::short): with it the name of a record takes 32 bytes.

use crate::ids::{JobId, TenantId, WebhookId, WorkerId};
use crate::storage::AssetKey;

/// What one can wait for hints on: a channel, and what in it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Topic {
    /// The channel.
    pub channel: String,
    /// A job in its short form; empty: every message of the channel.
    pub item: String,
}

/// Builds the keys of one shard.
#[derive(Debug, Clone)]
pub struct Keys {
    prefix: String,
    base: String,
}

impl Keys {
    /// Keys under `prefix` (default `mq`), shard `shard`.
    #[must_use]
    pub fn new(prefix: &str, shard: u16) -> Self {
        Self {
            prefix: prefix.to_owned(),
            base: format!("{{{prefix}:{shard}}}"),
        }
    }

    /// The start of all keys, of whatever shard.
    #[must_use]
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// The base: what every function builds its keys from.
    #[must_use]
    pub fn base(&self) -> &str {
        &self.base
    }

    /// A job's record.
    #[must_use]
    pub fn job(&self, id: JobId) -> String {
        format!("{}:j{}", self.base, id.short())
    }

    /// A job's result.
    #[must_use]
    pub fn result(&self, id: JobId) -> String {
        format!("{}:r{}", self.base, id.short())
    }

    /// A job's events.
    #[must_use]
    pub fn events(&self, id: JobId) -> String {
        format!("{}:e{}", self.base, id.short())
    }

    /// Where hints at news of a job come.
    #[must_use]
    pub fn job_topic(&self, id: JobId) -> Topic {
        Topic {
            channel: format!("{}:ev", self.base),
            item: id.short(),
        }
    }

    /// Where hints to a worker come: renew now.
    #[must_use]
    pub fn control_topic(&self, worker: WorkerId) -> Topic {
        Topic {
            channel: format!("{{{}:ctl}}:{worker}", self.prefix),
            item: String::new(),
        }
    }

    /// The base of tenants and API keys, which are in no shard.
    #[must_use]
    pub fn accounts(&self) -> String {
        format!("{{{}:acc}}", self.prefix)
    }

    /// The libraries of functions that were loaded for this queue.
    #[must_use]
    pub fn libraries(&self) -> String {
        format!("{}:libs", self.accounts())
    }

    /// What all processes must agree on.
    #[must_use]
    pub fn shard(&self) -> String {
        format!("{}:sh", self.base)
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

    /// Since when the store is known.
    #[must_use]
    pub fn store_since(&self) -> String {
        format!("{}:store:since", self.base)
    }

    /// The note that the store has been swept.
    #[must_use]
    pub fn sweep(&self) -> String {
        format!("{}:sweep", self.base)
    }

    /// Where the last sweep stopped.
    #[must_use]
    pub fn sweep_at(&self) -> String {
        format!("{}:sweep:at", self.base)
    }

    /// What came of the last canary that succeeded.
    #[must_use]
    pub fn canary(&self) -> String {
        format!("{}:canary", self.base)
    }

    /// The note that a canary of this period was sent.
    #[must_use]
    pub fn canary_turn(&self) -> String {
        format!("{}:canary:turn", self.base)
    }

    /// When a tenant's jobs last used the files that came with them. All tenants' are in the
    /// first shard, beside the note of the store.
    #[must_use]
    pub fn assets(&self, tenant: &TenantId) -> String {
        format!("{}:af:{tenant}", self.base)
    }

    /// How many bytes each tenant's such files take.
    #[must_use]
    pub fn asset_bytes(&self) -> String {
        format!("{}:afb", self.base)
    }

    /// The lock of a file that is being removed.
    #[must_use]
    pub fn asset_lock(&self, asset: &AssetKey) -> String {
        format!("{}:af:{}:{}", self.base, asset.tenant(), asset.sha256())
    }

    /// A tenant's state.
    #[must_use]
    pub fn tenant(&self, tenant: &TenantId) -> String {
        format!("{}:t:{tenant}", self.base)
    }

    /// The tenant's jobs of a day, counted from the epoch.
    #[must_use]
    pub fn jobs_of_day(&self, tenant: &TenantId, day: u32) -> String {
        format!("{}:t:{tenant}:j{day}", self.base)
    }

    /// The job that a tenant's idempotency key stands for, and the body's fingerprint.
    #[must_use]
    pub fn idempotency(&self, tenant: &TenantId, key: &str) -> String {
        format!("{}:uq:{tenant}:{key}", self.base)
    }

    /// The progress of the attempt of a job that runs.
    #[must_use]
    pub fn progress(&self, id: JobId) -> String {
        format!("{}:g{}", self.base, id.short())
    }

    /// Ceilings of a tenant's renders.
    #[must_use]
    pub fn limits(&self, tenant: &TenantId) -> String {
        format!("{}:t:{tenant}:limits", self.base)
    }

    /// News of a tenant's jobs.
    #[must_use]
    pub fn feed(&self, tenant: &TenantId) -> String {
        format!("{}:t:{tenant}:feed", self.base)
    }

    /// Where hints at news of a tenant's jobs come.
    #[must_use]
    pub fn feed_topic(&self, tenant: &TenantId) -> Topic {
        Topic {
            channel: self.feed(tenant),
            item: String::new(),
        }
    }

    /// A tenant's webhooks.
    #[must_use]
    pub fn webhooks(&self, tenant: &TenantId) -> String {
        format!("{}:t:{tenant}:hooks", self.base)
    }

    /// How those of its webhooks do that do not just work.
    #[must_use]
    pub fn webhook_states(&self, tenant: &TenantId) -> String {
        format!("{}:t:{tenant}:hookst", self.base)
    }

    /// Deliveries to a webhook.
    #[must_use]
    pub fn deliveries(&self, tenant: &TenantId, webhook: &WebhookId) -> String {
        format!("{}:t:{tenant}:hook:{webhook}", self.base)
    }

    /// A delivery.
    #[must_use]
    pub fn delivery(&self, id: &str) -> String {
        format!("{}:wd{id}", self.base)
    }

    /// Where hints come that a webhook has something to be told.
    #[must_use]
    pub fn webhook_topic(&self) -> Topic {
        Topic {
            channel: format!("{}:hooks", self.base),
            item: String::new(),
        }
    }

    /// All tenants' dead letters.
    #[must_use]
    pub fn all_dead(&self) -> String {
        format!("{}:dead", self.base)
    }

    /// A tenant's dead letters.
    #[must_use]
    pub fn dead(&self, tenant: &TenantId) -> String {
        format!("{}:t:{tenant}:dead", self.base)
    }
}
