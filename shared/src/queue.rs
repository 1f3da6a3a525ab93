//! The queue: jobs in Redis streams, every transition one Redis function.
//!
//! This is the Rust face of `queue/lua/*.lua`; the header of each file there is the contract.
//! A job runs at least once; its result is accepted exactly once, because each attempt has a
//! new [`Epoch`](crate::ids::Epoch) and a stale one changes nothing.
//!
//! Here is the handle; what it does is in the modules, in the order of a job's life: `start`
//! (before the first job), `new_job`, `submit`, `bell`, `claim`, `renew`, `settle`, `cancel`,
//! `read`, `events`. Calls are made in `call` on the connections of `connection`.

mod accounts;
mod admin;
mod bell;
mod call;
mod canary;
mod cancel;
mod claim;
mod connection;
mod dead;
mod earlier;
mod erase;
mod error;
mod events;
mod feed;
mod hub;
mod library;
mod limits;
mod list;
mod new_job;
mod quota;
mod read;
mod record;
mod renew;
mod rerun;
mod settle;
mod start;
mod stats;
mod submit;
mod survey;
mod sweep;
mod turns;
mod usage;
mod webhooks;
mod worker_info;

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use redis::FromRedisValue;

pub use accounts::{
    Account, ApiKey, Doors, KeyId, KeyMade, KeyRecord, KeyRotated, KeyState, NewKey, Scope, Scopes,
    ShownKey, check_name,
};
pub use admin::{Audit, Cursor, PauseScope, Retention, TenantPlace, TenantState};
pub use bell::Bell;
pub use canary::CanaryNote;
pub use cancel::CancelOutcome;
pub use claim::{Claim, Claimed, Looks};
pub(crate) use connection::Shared;
pub use connection::{
    ACL_RULES, CONNECT_TIMEOUT, Kept, RESPONSE_TIMEOUT, RedisConfig, TlsFiles, URL_FORMS, redact,
};
pub use dead::{DeadFilter, DeadLetter, Redriven};
pub use erase::{Erased, Leaves};
pub use error::QueueError;
pub use events::{EventKind, JobEvent};
pub use feed::{Feed, News, Told};
pub use hub::{Hub, Watch};
pub use library::{LAYOUT, LIBRARY, Library};
pub use limits::{RenderLimit, RenderLimits};
pub use list::{LOOKED_MAX, ListCursor, ListPage, ListQuery, ListedJob, NotACursor};
pub use new_job::{Enqueued, NewJob, RenderKey};
pub use quota::{Allowance, QuotaPolicy, Quotas};
pub use renew::{Lease, Renewal, Renewed};
pub use rerun::Rerun;
pub use settle::{Settled, failed};
pub use stats::Stats;
pub use survey::{LANES, LaneFigures, SURVEYED_MAX, Survey, TenantFigures};
pub use usage::{QuotaUsage, Used};
pub use webhooks::{Attempted, Delivery, DueDelivery, Sent, WebhookChange};
pub use worker_info::WorkerInfo;

use crate::ids::{JobId, TenantId};
use crate::keys::Keys;
use renew::UNKNOWN;
use submit::Submits;
use turns::Turns;

/// How long a claim stays valid without a renewal.
pub const LEASE: Duration = Duration::from_secs(12);
/// How often a worker renews its leases: four chances per lease.
pub const RENEW_EVERY: Duration = Duration::from_secs(3);
/// Longest time a parked worker waits before it looks for itself. Two of them look more often ([`SOON`])
/// while there is something to look after. What an idle worker costs Redis is a look per `PARK`.
pub const PARK: Duration = Duration::from_secs(45);
/// Of several shards one is a worker's home, at which it looks as often as that. At the others it looks once in
/// as many `PARK` as there are shards, and at least this often.
const ELSEWHERE_MAX: Duration = Duration::from_mins(10);
/// How often at least one parked worker looks while a job runs, if there is any: so much later than its lease's end, at most,
/// is a job seen to whose worker died. Less than half a [`LEASE`], so that these calls show the reaper that Redis was not
/// away.
pub const SOON: Duration = Duration::from_secs(5);
/// Most items of one call.
pub const BATCH_MAX: usize = 100;

/// A handle on the queue; clones share its connections, whose driver runs on the runtime that
/// called first.
#[derive(Clone)]
pub struct Queue {
    shared: Arc<Shared>,
    /// One per shard.
    keys: Arc<[Keys]>,
    turns: Arc<Turns>,
    /// For each shard how many of its tenants were active lately, as its last renewal said.
    active: Arc<[AtomicU64]>,
    library: &'static Library,
    submits: Arc<Submits>,
}

impl Queue {
    /// Builds the handle without talking to Redis.
    ///
    /// # Errors
    /// [`QueueError::Configuration`] if the URL cannot be read.
    ///
    /// # Panics
    /// If the operating system has no random source.
    pub fn new(config: &RedisConfig) -> Result<Self, QueueError> {
        let mut seed = [0; 8];
        getrandom::fill(&mut seed).expect("the operating system has a random source");
        Ok(Self {
            shared: Arc::new(Shared::new(config)?),
            keys: (0..config.shards())
                .map(|n| Keys::new(&config.prefix, n))
                .collect(),
            turns: Arc::new(Turns::new(u64::from_le_bytes(seed))),
            active: (0..config.shards())
                .map(|_| AtomicU64::new(UNKNOWN))
                .collect(),
            library: &LIBRARY,
            submits: Arc::new(Submits::new(config.shards().into())),
        })
    }

    /// The key names of the shard that holds a job.
    #[must_use]
    pub fn keys_of(&self, job: JobId) -> &Keys {
        &self.keys[self.shard_of_job(job)]
    }

    /// The key names of the shard that holds a tenant.
    #[must_use]
    pub fn keys_of_tenant(&self, tenant: &TenantId) -> &Keys {
        &self.keys[self.shard_of(tenant)]
    }

    /// The key names of the first shard, which also holds what there is once.
    #[must_use]
    pub fn keys(&self) -> &Keys {
        &self.keys[0]
    }

    /// The key names of all shards.
    #[must_use]
    pub fn all_keys(&self) -> &[Keys] {
        &self.keys
    }

    fn shards(&self) -> Range<usize> {
        0..self.keys.len()
    }

    fn shard_of(&self, tenant: &TenantId) -> usize {
        usize::from(tenant.bucket()) % self.keys.len()
    }

    fn shard_of_job(&self, job: JobId) -> usize {
        usize::from(job.bucket()) % self.keys.len()
    }

    /// A hub for hints on this queue's Redis.
    #[must_use]
    pub fn hub(&self) -> Hub {
        Hub::start(Arc::clone(&self.shared))
    }

    /// Sends a command of one's own to the server that has its first key. It may be sent twice.
    ///
    /// # Errors
    /// [`QueueError::Unavailable`], or as Redis has it.
    pub async fn query<T: FromRedisValue>(&self, command: &redis::Cmd) -> Result<T, QueueError> {
        Ok(T::from_redis_value(
            self.shared.query(command, true).await?,
        )?)
    }
}
