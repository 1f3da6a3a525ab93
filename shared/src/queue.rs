//! The queue: jobs in Redis streams, every transition one Redis function.
//!
//! This is the Rust face of `queue/lua/*.lua`; the header of each file there is the contract.
//! A job runs at least once; its result is accepted exactly once, because each attempt has a
//! new [`Epoch`] and a stale one changes nothing.

mod admin;
mod connection;
mod dead;
mod hub;
mod library;
mod limits;
mod quota;
mod record;
mod rerun;
mod submit;
mod turns;

use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use jiff::Timestamp;
use redis::{FromRedisValue, Value};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

pub use admin::{Audit, Cursor, PauseScope, TenantPlace, TenantState};
pub(crate) use connection::Shared;
pub use connection::{
    ACL_RULES, CONNECT_TIMEOUT, Kept, RESPONSE_TIMEOUT, RedisConfig, TlsFiles, URL_FORMS, redact,
};
pub use dead::{DeadFilter, DeadLetter, Redriven};
pub use hub::{Hub, Watch};
pub use library::{LAYOUT, LIBRARY, Library};
pub use limits::{RenderLimit, RenderLimits};
pub use quota::{Allowance, QuotaPolicy, Quotas};
pub use rerun::Rerun;

use crate::ids::{Epoch, IdError, JobId, LeaseToken, TenantId, WorkerId};
use crate::job::{
    FailureClass, JobError, JobPayload, JobRecord, JobResult, Lane, Progress, Status,
};
use crate::keys::Keys;
use record::Record;
use submit::Submits;
use turns::Turns;

/// How long a claim stays valid without a renewal.
pub const LEASE: Duration = Duration::from_secs(12);
/// How often a worker renews its leases: four chances per lease.
pub const RENEW_EVERY: Duration = Duration::from_secs(3);
/// Longest time a parked worker waits before it looks for itself.
pub const PARK: Duration = Duration::from_secs(5);
/// Most items of one call.
pub const BATCH_MAX: usize = 100;
/// Most events of one renewal call.
const EVENTS_PER_CALL: usize = 500;
/// Last byte of a record that can belong to its head or to what follows it before the payload.
const STRINGS_LAST: usize = record::HEAD_BYTES + 159;

/// Why a call to the queue failed. None of these means that the caller's job is wrong.
#[derive(Debug, thiserror::Error)]
pub enum QueueError {
    /// Redis cannot be reached, does not answer or lost the connection. The call may or may not
    /// have taken effect; every transition is safe to repeat.
    #[error("the queue (Redis) is not available")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// This Redis cannot be used at all: too old, or it would throw jobs away.
    #[error("{0}")]
    Configuration(String),
    /// Redis refused a call, or what lies there is not what this version writes. A fault of
    /// ours or of the data: trying again changes nothing.
    #[error("unexpected answer of Redis: {0}")]
    Corrupt(String),
}

impl From<redis::RedisError> for QueueError {
    /// Sorts Redis' refusals: what passes by itself is `Unavailable`, so that callers wait and
    /// repeat; what an operator must set right names the setting; the rest is a fault.
    fn from(error: redis::RedisError) -> Self {
        match error.code() {
            None if error.kind() == redis::ErrorKind::AuthenticationFailed => denied(&error),
            None if error.kind() == redis::ErrorKind::InvalidClientConfig => {
                Self::Configuration(error.detail().unwrap_or("Redis cannot be used").to_owned())
            }
            Some("NOAUTH" | "WRONGPASS" | "NOPERM" | "NOPERMS") => denied(&error),
            Some("ERR") if is_denied_in_function(&error) => denied(&error),
            None
            | Some(
                "LOADING" | "BUSY" | "OOM" | "MISCONF" | "NOREPLICAS" | "READONLY" | "MASTERDOWN"
                | "CLUSTERDOWN" | "TRYAGAIN" | "UNBLOCKED" | "MOVED" | "ASK",
            ) => Self::Unavailable(Box::new(error)),
            Some(_) => Self::Corrupt(error.to_string()),
        }
    }
}

/// A function may do what its caller may. What Redis 7.0, and newer ones, say there lacks the word NOPERM.
fn is_denied_in_function(error: &redis::RedisError) -> bool {
    let text = error.to_string();
    text.contains("user executing the script can't") || text.contains("ACL failure in script")
}

/// Whether Redis does not know the function: a restart or a failover lost the library.
fn is_no_function(error: &QueueError) -> bool {
    matches!(error, QueueError::Corrupt(text) if text.contains("Function not found"))
}

fn denied(error: &redis::RedisError) -> QueueError {
    QueueError::Configuration(format!(
        "Redis does not let us in ({error}): put a user and password that may do what manimq needs into REDIS_URL, \
         redis://USER:PASSWORD@HOST:PORT/DB; with the prefix mq, such a user is made by: \
         ACL SETUSER manimq on >PASSWORD {ACL_RULES}"
    ))
}

impl From<redis::ParsingError> for QueueError {
    fn from(error: redis::ParsingError) -> Self {
        Self::Corrupt(error.to_string())
    }
}

impl From<IdError> for QueueError {
    fn from(error: IdError) -> Self {
        Self::Corrupt(error.to_string())
    }
}

/// One job to enqueue.
#[derive(Debug, Clone)]
pub struct NewJob {
    /// Its id, made by the caller.
    pub id: JobId,
    /// What to do.
    pub payload: JobPayload,
    /// Start no sooner than this from now.
    pub delay: Duration,
    /// A key under which a repeated submit finds the first one's job, with the body's fingerprint.
    pub idempotency: Option<(String, String)>,
    /// What this job renders, if it may share or reuse a render; see [`RenderKey`].
    pub render: Option<RenderKey>,
}

/// Says which jobs of a tenant ask for the same work. Jobs with equal keys and `cache: use` are
/// rendered once: the later wait for the first one on its way, or get the result of one that
/// succeeded, if a renderer like those that are there now made it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RenderKey(String);

impl RenderKey {
    /// The key of a request: all of it that says what the result looks like or whether it fails.
    /// `None` if the request's result cannot be another's.
    #[must_use]
    pub fn of(payload: &JobPayload) -> Option<Self> {
        let request = &payload.request;
        let text =
            serde_json::to_vec(&(&request.input, &request.output, request.timeout_s)).ok()?;
        Some(Self(URL_SAFE_NO_PAD.encode(&Sha256::digest(text)[..16])))
    }
}

/// What became of one [`NewJob`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Enqueued {
    /// Accepted.
    Accepted,
    /// Accepted, and an earlier result answered it: it has succeeded.
    Cached,
    /// A job with the same idempotency key and fingerprint was there before.
    Exists(JobId),
    /// A job with the same idempotency key and another body was there before.
    KeyReused(JobId),
    /// The tenant has as many jobs waiting and running as it may.
    Full {
        /// Jobs that have not ended.
        active: u64,
        /// The quota.
        limit: u64,
    },
    /// A quota over time is used up.
    Limited {
        /// Which.
        policy: QuotaPolicy,
        /// The quota, in the policy's unit.
        limit: u64,
        /// What of it is used now.
        used: u64,
        /// When the same submit would be accepted, if nothing else is submitted meanwhile.
        retry_after: Duration,
    },
    /// The tenant may not ask for this at all.
    Forbidden {
        /// Which allowance.
        allowance: Allowance,
        /// The limit, in the allowance's unit.
        limit: u64,
        /// What was asked for.
        asked: u64,
    },
    /// It asked for an earlier result only, and there is none.
    NotCached,
}

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

/// Answer to a settling call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settled {
    /// As asked.
    Accepted,
    /// It will be tried again (only after [`Queue::fail`]).
    WillRetry,
    /// The job was cancelled meanwhile; nothing is published.
    Canceled,
    /// Another attempt owns the job, or it has ended: nothing was written.
    Lost,
}

/// What a cancel did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CancelOutcome {
    /// It waited, and is canceled now.
    Canceled,
    /// It runs; its worker is told.
    Requested,
    /// It had ended before.
    AlreadyTerminal,
    /// This tenant has no such job.
    NotFound,
}

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

/// Kind of a job's event, and of an SSE event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EventKind {
    /// The status changed.
    Status,
    /// A [`Progress`].
    Progress,
    /// Output of the scene: `{"text": …}`.
    Log,
    /// Something odd.
    Warning,
    /// The job ended; the last event.
    Done,
}

impl EventKind {
    /// The text form.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Status => "status",
            Self::Progress => "progress",
            Self::Log => "log",
            Self::Warning => "warning",
            Self::Done => "done",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        [
            Self::Status,
            Self::Progress,
            Self::Log,
            Self::Warning,
            Self::Done,
        ]
        .into_iter()
        .find(|kind| kind.as_str() == text)
    }
}

/// One event of a job.
#[derive(Debug, Clone)]
pub struct JobEvent {
    /// `<ms>-<n>`: when, and its number among the job's events, from 1; also the SSE id.
    pub id: String,
    /// What kind.
    pub kind: EventKind,
    /// JSON text.
    pub data: String,
}

/// What a worker says of itself with each call.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WorkerInfo {
    /// Its id.
    pub id: WorkerId,
    /// Host it runs on.
    pub host: String,
    /// Its version.
    pub version: String,
    /// Slots in all.
    pub slots: u32,
    /// Slots whose sandbox is verified, idle or busy.
    pub slots_ready: u32,
    /// Slots that run a job.
    pub slots_busy: u32,
    /// Whether it takes no new jobs.
    pub draining: bool,
    /// Why slots are not ready, if some are not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
    /// What renders there: versions and settings that decide the pictures. Results are reused only
    /// while it stays the same; empty: never.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub renderer: String,
}

/// The queue at a glance.
#[derive(Debug, Clone, Default)]
pub struct Stats {
    /// Jobs that a claim could take now.
    pub ready: u64,
    /// Jobs that wait for a time.
    pub delayed: u64,
    /// Jobs under a lease.
    pub running: u64,
    /// Jobs that wait for another job's render of the same.
    pub following: u64,
    /// What is paused: everything, or some lanes.
    pub paused: Vec<PauseScope>,
    /// Jobs by terminal status since the beginning, and other counts by name.
    pub counters: HashMap<String, i64>,
    /// Live workers.
    pub workers: Vec<WorkerInfo>,
}

impl WorkerInfo {
    /// Slots that count for the elastic bound.
    const fn slots_offered(&self) -> u32 {
        if self.draining { 0 } else { self.slots_ready }
    }

    /// The renderer in eight bytes; zeros for none.
    fn renderer_digest(&self) -> [u8; 8] {
        if self.renderer.is_empty() {
            return [0; 8];
        }
        let digest = Sha256::digest(&self.renderer);
        digest.first_chunk().copied().unwrap_or_default()
    }
}

impl Stats {
    /// Slots that could run a job now or after their present one.
    #[must_use]
    pub fn slots_ready(&self) -> u32 {
        self.workers
            .iter()
            .filter(|w| !w.draining)
            .map(|w| w.slots_ready)
            .sum()
    }
}

/// A shard has not said yet how many of its tenants are active.
const UNKNOWN: u64 = u64::MAX;

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

    /// Builds the handle, checks that this Redis can be trusted with jobs, and loads the functions.
    ///
    /// # Errors
    /// [`QueueError::Configuration`] names the setting to change; [`QueueError::Unavailable`] if
    /// Redis cannot be reached.
    pub async fn connect(config: &RedisConfig) -> Result<Self, QueueError> {
        let queue = Self::new(config)?;
        queue.check_server().await?;
        queue.load_library().await?;
        queue.begin().await?;
        Ok(queue)
    }

    /// Like [`Self::connect`], for tests: the queue's clock stands still at the milliseconds since
    /// the epoch that [`Self::set_test_clock`] wrote. Uses a library of its own.
    ///
    /// # Errors
    /// As [`Self::connect`].
    #[cfg(feature = "testing")]
    pub async fn connect_with_test_clock(config: &RedisConfig) -> Result<Self, QueueError> {
        let mut queue = Self::new(config)?;
        queue.library = &library::TEST_LIBRARY;
        queue.check_server().await?;
        queue.load_library().await?;
        queue.begin().await?;
        Ok(queue)
    }

    /// Like [`Self::connect`], for tests of a roll-out: with the functions of a version to come.
    ///
    /// # Errors
    /// As [`Self::connect`].
    #[cfg(feature = "testing")]
    pub async fn connect_as_next_version(config: &RedisConfig) -> Result<Self, QueueError> {
        let mut queue = Self::new(config)?;
        queue.library = &library::NEXT_LIBRARY;
        queue.load_library().await?;
        queue.begin().await?;
        Ok(queue)
    }

    /// Sets the clock of [`Self::connect_with_test_clock`].
    ///
    /// # Errors
    /// [`QueueError::Unavailable`].
    #[cfg(feature = "testing")]
    pub async fn set_test_clock(&self, now_ms: u64) -> Result<(), QueueError> {
        for keys in self.keys.iter() {
            let mut command = redis::cmd("SET");
            command.arg(format!("{}:clock", keys.base())).arg(now_ms);
            self.shared.query(&command, true).await?;
        }
        Ok(())
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

    async fn check_server(&self) -> Result<(), QueueError> {
        for info in self.shared.every_primary(&redis::cmd("INFO")).await? {
            check_info(&String::from_redis_value(info)?)?;
        }
        Ok(())
    }

    async fn load_library(&self) -> Result<(), QueueError> {
        let mut command = redis::cmd("FUNCTION");
        // The name is the content's hash, so what is replaced is the same. Of several servers some may
        // have it already, and their refusal would hide another's.
        command.arg("LOAD").arg("REPLACE").arg(&self.library.code);
        self.shared.every_primary(&command).await?;
        tracing::info!(library = self.library.name, "loaded the Redis functions");
        Ok(())
    }

    /// Makes sure that all processes agree on how the data lie.
    async fn begin(&self) -> Result<(), QueueError> {
        let count = self.keys.len().to_string();
        for shard in self.shards() {
            let args = Args::new().show(LAYOUT).text(&count);
            let reply: Vec<String> =
                Vec::from_redis_value(self.call(shard, "begin", &args.0).await?)?;
            let there = reply.get(1).map_or("?", String::as_str);
            match reply.first().map_or("nothing", String::as_str) {
                "ok" => {}
                "layout" => {
                    return Err(QueueError::Configuration(format!(
                        "this Redis holds jobs in data layout {there} and this version writes {LAYOUT}: give this version another key prefix (MANIMQ_REDIS_PREFIX) or another Redis, and let the old one finish what it has"
                    )));
                }
                "shards" => {
                    return Err(QueueError::Configuration(format!(
                        "this Redis was set up with {there} shards and this process has {count}: give all processes the same MANIMQ_REDIS_SHARDS, or use another key prefix (MANIMQ_REDIS_PREFIX)"
                    )));
                }
                other => return Err(unexpected("begin", other)),
            }
        }
        Ok(())
    }

    fn command(&self, shard: usize, transition: &str, args: &[Vec<u8>]) -> redis::Cmd {
        let mut command = redis::cmd("FCALL");
        // Functions build their keys themselves, and Redis cannot see which. While the slot is on its
        // way to another server some of them are here and some there, and Redis must refuse the call. It
        // does so for calls of two keys that do not exist, and neither of these ever does.
        command
            .arg(self.library.function(transition))
            .arg(2)
            .arg(self.keys[shard].base())
            .arg(format!("{}:", self.keys[shard].base()));
        for arg in args {
            command.arg(arg);
        }
        command
    }

    /// Calls a transition; loads the library once more if a restart or failover lost it.
    async fn call(
        &self,
        shard: usize,
        transition: &str,
        args: &[Vec<u8>],
    ) -> Result<Value, QueueError> {
        let command = self.command(shard, transition, args);
        // A claim whose answer was lost holds jobs until their leases end: it is not sent again
        // behind the caller's back. Nor is a renewal, which would tell its news twice.
        let repeat = transition != "claim" && transition != "renew";
        match self.send_call(&command, repeat, false).await {
            Err(error) if is_no_function(&error) => {
                self.load_library().await?;
                self.send_call(&command, repeat, false).await
            }
            other => other,
        }
    }

    async fn send_call(
        &self,
        command: &redis::Cmd,
        repeat: bool,
        durable: bool,
    ) -> Result<Value, QueueError> {
        if !durable {
            return Ok(self.shared.query(command, repeat).await?);
        }
        let (value, kept) = self.shared.query_durable(command, repeat).await?;
        match kept {
            Kept::Confirmed { .. } => Ok(value),
            Kept::Unconfirmed(why) => Err(QueueError::Unavailable(
                format!("Redis took the call but did not confirm that it is kept: {why}").into(),
            )),
        }
    }

    /// Everything about a job, or `None` if there is none.
    ///
    /// # Errors
    /// [`QueueError::Unavailable`], or [`QueueError::Corrupt`] if an older or newer version wrote what cannot be read.
    pub async fn read(&self, id: JobId) -> Result<Option<JobRecord>, QueueError> {
        let args = Args::new().text(&id.short()).text("1");
        let reply = match self.call(self.shard_of_job(id), "read", &args.0).await? {
            Value::Nil => return Ok(None),
            value => ReadReply::from_redis_value(value)?,
        };
        let record = Record::parse(&reply.0)?;
        let payload = parse_payload(id, &record.clone().into_payload());
        parse_record(id, &record, reply, payload?).map(Some)
    }

    /// Whether `token` is the lease token of the attempt that runs now.
    ///
    /// # Errors
    /// [`QueueError::Unavailable`].
    pub async fn lease_is(
        &self,
        id: JobId,
        epoch: Epoch,
        token: &LeaseToken,
    ) -> Result<bool, QueueError> {
        let mut command = redis::cmd("GETRANGE");
        command
            .arg(self.keys_of(id).job(id))
            .arg(0)
            .arg(STRINGS_LAST);
        let head = Vec::<u8>::from_redis_value(self.shared.query(&command, true).await?)?;
        if head.is_empty() {
            return Ok(false);
        }
        let record = Record::parse(&head)?;
        Ok(record.status == Status::Running
            && record.epoch == epoch
            && token.matches(record.token().expose()))
    }

    /// Cancels a job of `tenant`.
    ///
    /// # Errors
    /// [`QueueError::Unavailable`]; safe to repeat.
    pub async fn cancel(&self, tenant: &TenantId, id: JobId) -> Result<CancelOutcome, QueueError> {
        let args = Args::new().text(&id.short()).text(tenant.as_str());
        let reply = self.call(self.shard_of_job(id), "cancel", &args.0).await?;
        match String::from_redis_value(reply)?.as_str() {
            "canceled" => Ok(CancelOutcome::Canceled),
            "requested" => Ok(CancelOutcome::Requested),
            "terminal" => Ok(CancelOutcome::AlreadyTerminal),
            "none" => Ok(CancelOutcome::NotFound),
            other => Err(unexpected("cancel", other)),
        }
    }

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
        let mut claimed = Claimed {
            claims: Vec::new(),
            wait: PARK,
            drained: false,
        };
        // Fair within a shard; each shard with work is the first one equally often.
        for (i, shard) in self.turns.next(self.keys.len()).into_iter().enumerate() {
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
            claimed.wait = claimed.wait.min(wait);
            claimed.drained |= drained;
        }
        if !claimed.claims.is_empty() {
            claimed.wait = Duration::ZERO;
        }
        Ok(claimed)
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
            .show(PARK.as_millis())
            .show(worker.slots_offered())
            .bytes(&worker.renderer_digest())
            .json(worker)?;
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

    /// Renews the leases of a worker's jobs, at most [`BATCH_MAX`], and carries their news up.
    /// Also the worker's sign of life, so it is called without jobs too.
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
            .json(worker)?
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

    /// Ends an attempt well: its result becomes the job's.
    ///
    /// # Errors
    /// [`QueueError::Unavailable`]; safe to repeat.
    pub async fn finish(
        &self,
        job: JobId,
        epoch: Epoch,
        result: &JobResult,
    ) -> Result<Settled, QueueError> {
        let ended = [(job, epoch, Some(result))];
        self.settle(&ended).await.map(|settled| settled[0])
    }

    /// Ends up to [`BATCH_MAX`] attempts well, in one call per shard; each is answered for itself.
    ///
    /// # Panics
    /// If there are none or more than [`BATCH_MAX`].
    ///
    /// # Errors
    /// [`QueueError::Unavailable`]; safe to repeat.
    pub async fn finish_many(
        &self,
        ended: &[(JobId, Epoch, JobResult)],
    ) -> Result<Vec<Settled>, QueueError> {
        assert!(
            (1..=BATCH_MAX).contains(&ended.len()),
            "finish_many takes 1 to {BATCH_MAX} jobs"
        );
        let ended: Vec<_> = ended
            .iter()
            .map(|(job, epoch, result)| (*job, *epoch, Some(result)))
            .collect();
        self.settle(&ended).await
    }

    /// Ends an attempt that was interrupted because of a cancel.
    ///
    /// # Errors
    /// [`QueueError::Unavailable`]; safe to repeat.
    pub async fn finish_canceled(&self, job: JobId, epoch: Epoch) -> Result<Settled, QueueError> {
        let ended = [(job, epoch, None)];
        self.settle(&ended).await.map(|settled| settled[0])
    }

    /// With a result: succeeded; without: canceled.
    async fn settle(
        &self,
        ended: &[(JobId, Epoch, Option<&JobResult>)],
    ) -> Result<Vec<Settled>, QueueError> {
        let mut settled = vec![Settled::Lost; ended.len()];
        for shard in self.shards() {
            let ours: Vec<usize> = (0..ended.len())
                .filter(|&i| self.shard_of_job(ended[i].0) == shard)
                .collect();
            if ours.is_empty() {
                continue;
            }
            let mut args = Args::new();
            for &i in &ours {
                let (job, epoch, result) = &ended[i];
                args = args.text(&job.short()).show(epoch);
                args = match result {
                    Some(result) => args.text(Status::Succeeded.as_str()).json(result)?,
                    None => args.text(Status::Canceled.as_str()).text(""),
                };
            }
            let replies: Vec<String> =
                Vec::from_redis_value(self.call(shard, "finish", &args.0).await?)?;
            if replies.len() != ours.len() {
                return Err(unexpected("finish", &format!("{} times", replies.len())));
            }
            for (i, reply) in ours.into_iter().zip(replies) {
                settled[i] = finished(&reply)?;
            }
        }
        Ok(settled)
    }

    /// Ends an attempt that failed. If the fault is ours it is tried again, with back-off.
    ///
    /// `jitter` is a random number from 0 to 1.
    ///
    /// # Errors
    /// [`QueueError::Unavailable`]; safe to repeat.
    pub async fn fail(
        &self,
        job: JobId,
        epoch: Epoch,
        result: &JobResult,
        jitter: f64,
    ) -> Result<Settled, QueueError> {
        let class = result
            .error
            .as_ref()
            .map_or(FailureClass::Internal, |error| error.class);
        let args = Args::new()
            .text(&job.short())
            .show(epoch)
            .text(class.as_str())
            .show(record::class_code(class))
            .text(if class.is_ours() { "1" } else { "0" })
            .show(jitter.clamp(0.0, 1.0))
            .json(result)?;
        match String::from_redis_value(self.call(self.shard_of_job(job), "fail", &args.0).await?)?
            .as_str()
        {
            "failed" => Ok(Settled::Accepted),
            "retry" => Ok(Settled::WillRetry),
            "canceled" => Ok(Settled::Canceled),
            "lost" => Ok(Settled::Lost),
            other => Err(unexpected("fail", other)),
        }
    }

    /// Gives a job back unfinished, in front of its tenant's others; the attempt is not counted.
    ///
    /// # Errors
    /// [`QueueError::Unavailable`]; safe to repeat.
    pub async fn release(
        &self,
        job: JobId,
        epoch: Epoch,
        reason: &str,
    ) -> Result<Settled, QueueError> {
        let args = Args::new().text(&job.short()).show(epoch).text(reason);
        match String::from_redis_value(
            self.call(self.shard_of_job(job), "release", &args.0)
                .await?,
        )?
        .as_str()
        {
            "ok" => Ok(Settled::Accepted),
            "canceled" => Ok(Settled::Canceled),
            "lost" => Ok(Settled::Lost),
            other => Err(unexpected("release", other)),
        }
    }

    /// Takes away expired leases, at most `limit`. Part of claim and renew; for probes and tests.
    ///
    /// # Errors
    /// [`QueueError::Unavailable`].
    pub async fn reap(&self, limit: usize) -> Result<u64, QueueError> {
        self.call_all("reap", limit).await
    }

    /// Makes due jobs ready and expires the late, at most `limit` each. Part of claim and renew.
    ///
    /// # Errors
    /// [`QueueError::Unavailable`].
    pub async fn promote(&self, limit: usize) -> Result<u64, QueueError> {
        self.call_all("promote", limit).await
    }

    async fn call_all(&self, transition: &str, limit: usize) -> Result<u64, QueueError> {
        let mut sum = 0;
        for shard in self.shards() {
            let reply = self
                .call(shard, transition, &Args::new().show(limit).0)
                .await?;
            sum += u64::from_redis_value(reply)?;
        }
        Ok(sum)
    }

    /// Tells that a worker stopped.
    ///
    /// # Errors
    /// [`QueueError::Unavailable`]; it is forgotten after its time to live anyway.
    pub async fn leave(&self, worker: WorkerId) -> Result<(), QueueError> {
        for shard in self.shards() {
            self.call(shard, "leave", &Args::new().show(worker).0)
                .await?;
        }
        Ok(())
    }

    /// The queue at a glance. Also proves that functions can be called, which a PING does not.
    ///
    /// # Errors
    /// [`QueueError::Unavailable`].
    pub async fn stats(&self) -> Result<Stats, QueueError> {
        let mut stats = Stats::default();
        let mut workers: HashMap<WorkerId, WorkerInfo> = HashMap::new();
        let mut all_drained = HashSet::new();
        for shard in self.shards() {
            let reply = self.call(shard, "stats", &[]).await?;
            let (counters, delayed, running, infos, paused, _, _, _, _, drained): StatsReply =
                FromRedisValue::from_redis_value(reply)?;
            for (name, value) in counters {
                *stats.counters.entry(name).or_default() += value;
            }
            stats.delayed += delayed;
            stats.running += running;
            // What an older version wrote and cannot be read is left out, not an error.
            let infos = infos
                .iter()
                .filter_map(|text| serde_json::from_str(text).ok());
            for info in infos {
                let info: WorkerInfo = info;
                workers.insert(info.id, info);
            }
            all_drained.extend(drained);
            if shard == 0 {
                stats.paused = paused.bytes().filter_map(paused_scope).collect();
            }
        }
        stats.workers = workers.into_values().collect();
        // From the moment it is asked, not only once it has heard of it.
        for worker in &mut stats.workers {
            worker.draining |= all_drained.contains(&worker.id.to_string());
        }
        stats.workers.sort_by_key(|worker| worker.id);
        let counted = |name: &str| stats.counters.get(name).copied().unwrap_or(0);
        let ended: i64 = Status::ALL
            .iter()
            .filter(|status| status.is_terminal())
            .map(|status| counted(status.as_str()))
            .sum();
        let signed = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
        let following = counted("following");
        let ready = counted("submitted")
            - ended
            - signed(stats.running)
            - signed(stats.delayed)
            - following;
        stats.following = u64::try_from(following).unwrap_or(0);
        stats.ready = u64::try_from(ready).unwrap_or(0);
        stats.counters.insert("ready".to_owned(), ready);
        stats
            .counters
            .insert("running".to_owned(), signed(stats.running));
        Ok(stats)
    }

    /// Events of a job after the one with the id `after` (`None` = from the first), at most `limit`.
    ///
    /// # Errors
    /// [`QueueError::Unavailable`].
    pub async fn events(
        &self,
        id: JobId,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<JobEvent>, QueueError> {
        // An id is `<ms>-<number>`, and the number alone is the place; what is no id of ours means
        // "from the first". No job has as many events as fit in 32 bits.
        let seen: u64 = after
            .and_then(|id| id.rsplit_once('-')?.1.parse().ok())
            .unwrap_or(0)
            .min(u64::from(u32::MAX));
        let args = Args::new().text(&id.short()).show(seen).show(limit);
        let reply = self.call(self.shard_of_job(id), "events", &args.0).await?;
        let mut reply = Vec::<Value>::from_redis_value(reply)?.into_iter();
        let first = u64::from_redis_value(reply.next().unwrap_or(Value::Nil))?;
        let mut events = Vec::with_capacity(reply.len());
        for (number, entry) in (first..).zip(reply) {
            let entry = String::from_redis_value(entry)?;
            let mut parts = entry.splitn(3, ' ');
            // A kind that a newer version wrote is left out, not an error.
            if let (Some(ms), Some(kind), Some(data)) = (parts.next(), parts.next(), parts.next())
                && let Some(kind) = EventKind::parse(kind)
            {
                events.push(JobEvent {
                    id: format!("{ms}-{number}"),
                    kind,
                    data: data.to_owned(),
                });
            }
        }
        Ok(events)
    }

    /// A waiter on the bell, with a connection of its own.
    ///
    /// # Errors
    /// [`QueueError::Unavailable`].
    pub async fn bell(&self) -> Result<Bell, QueueError> {
        let mut lines = Vec::with_capacity(self.keys.len());
        for keys in self.keys.iter() {
            lines.push(self.shared.blocking(&keys.bell(), PARK).await?);
        }
        Ok(Bell {
            lines,
            waits: FuturesUnordered::new(),
        })
    }
}

/// Whether a server can be trusted with jobs, by its `INFO`.
fn check_info(info: &str) -> Result<(), QueueError> {
    let field = |name: &str| {
        info.lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
            .unwrap_or("")
            .trim()
    };
    let server = field("tcp_port");
    let version = field("redis_version");
    let major: u32 = version
        .split('.')
        .next()
        .and_then(|v| v.parse().ok())
        .unwrap_or(0);
    if major < 7 {
        return Err(QueueError::Configuration(format!(
            "Redis {version} (port {server}) is too old: manimq needs 7.0 or newer (Redis functions), or Valkey"
        )));
    }
    if field("aof_enabled") == "0" {
        tracing::warn!(
            "Redis (port {server}) keeps no append-only file: a restart of it loses jobs. Turn it on with `redis-cli config set appendonly yes` and in redis.conf"
        );
    }
    let policy = field("maxmemory_policy");
    if !policy.is_empty() && policy != "noeviction" {
        return Err(QueueError::Configuration(format!(
            "Redis (port {server}) has maxmemory-policy {policy}, which may throw jobs away: set it with `redis-cli config set maxmemory-policy noeviction` and in redis.conf"
        )));
    }
    Ok(())
}

/// Waits for work without polling. One per worker process.
pub struct Bell {
    /// The shards' lines on which nobody waits now.
    lines: Vec<connection::Blocking>,
    /// The waits that go on; each ends by itself within [`PARK`] and gives its line back.
    waits: FuturesUnordered<Wait>,
}

type Wait = Pin<Box<dyn Future<Output = (connection::Blocking, Result<bool, QueueError>)> + Send>>;

/// Waits on the bell of one shard, at most as long as `limit`.
async fn wait_on(line: &mut connection::Blocking, limit: Duration) -> Result<bool, QueueError> {
    Ok(line.pop(limit).await?.is_some())
}

impl Bell {
    /// Waits until the bell rings or `limit` (at most [`PARK`]) passed. Never drop this future:
    /// the token that an abandoned wait takes is lost until the next look.
    ///
    /// # Errors
    /// [`QueueError::Unavailable`]: make a new bell.
    pub async fn wait(&mut self, limit: Duration) -> Result<bool, QueueError> {
        if let ([line], true) = (&mut self.lines[..], self.waits.is_empty()) {
            return wait_on(line, limit).await;
        }
        // Several shards: a wait that this call does not see through goes on in the next one, so
        // that no token is taken in vain.
        for mut line in self.lines.drain(..) {
            self.waits.push(Box::pin(async move {
                let answer = wait_on(&mut line, PARK).await;
                (line, answer)
            }));
        }
        match tokio::time::timeout(limit, self.waits.next()).await {
            Ok(Some((line, answer))) => {
                self.lines.push(line);
                answer
            }
            Ok(None) | Err(_) => Ok(false),
        }
    }

    /// What to do while nobody waits: a token that is still taken is given back, for whoever is parked. Ends
    /// only with an error, which calls for a new bell; may be dropped at any time.
    pub async fn pass_on(&mut self) -> QueueError {
        while let Some((mut line, answer)) = self.waits.next().await {
            match answer {
                Ok(false) => self.lines.push(line),
                Ok(true) => self.waits.push(Box::pin(async move {
                    let answer = line.give_back().await.map(|()| false);
                    (line, answer)
                })),
                Err(error) => return error,
            }
        }
        std::future::pending().await
    }
}

/// What one shard answers to a claim.
struct ClaimedOf {
    claims: Vec<Claim>,
    wait: Duration,
    drained: bool,
}

/// Builds the argument list of a function call.
struct Args(Vec<Vec<u8>>);

impl Args {
    fn new() -> Self {
        Self(Vec::new())
    }
    fn text(mut self, text: &str) -> Self {
        self.0.push(text.as_bytes().to_vec());
        self
    }
    fn bytes(mut self, bytes: &[u8]) -> Self {
        self.0.push(bytes.to_vec());
        self
    }
    fn show(self, value: impl std::fmt::Display) -> Self {
        self.text(&value.to_string())
    }
    fn json(mut self, value: &impl Serialize) -> Result<Self, QueueError> {
        self.0.push(
            serde_json::to_vec(value).map_err(|error| QueueError::Corrupt(error.to_string()))?,
        );
        Ok(self)
    }
}

fn finished(reply: &str) -> Result<Settled, QueueError> {
    match reply {
        "ok" => Ok(Settled::Accepted),
        "canceled" => Ok(Settled::Canceled),
        "lost" => Ok(Settled::Lost),
        other => Err(unexpected("finish", other)),
    }
}

fn unexpected(transition: &str, reply: &str) -> QueueError {
    QueueError::Corrupt(format!("{transition} answered {reply:?}"))
}

fn timestamp(ms: i64) -> Result<Timestamp, QueueError> {
    Timestamp::from_millisecond(ms).map_err(|error| QueueError::Corrupt(error.to_string()))
}

/// See `stats.lua`.
type StatsReply = (
    HashMap<String, i64>,
    u64,
    u64,
    Vec<String>,
    String,
    u64,
    u64,
    u64,
    u64,
    Vec<String>,
);

fn paused_scope(letter: u8) -> Option<PauseScope> {
    match letter {
        b'a' => Some(PauseScope::All),
        digit => Lane::from_digit(digit.checked_sub(b'0')?).map(PauseScope::Lane),
    }
}

fn parse_payload(id: JobId, text: &[u8]) -> Result<JobPayload, QueueError> {
    serde_json::from_slice(text)
        .map_err(|error| QueueError::Corrupt(format!("payload of {id}: {error}")))
}

/// See `read.lua`.
type ReadReply = (
    Vec<u8>,
    Vec<String>,
    Option<Vec<u8>>,
    u64,
    i64,
    i64,
    Option<Vec<u8>>,
    Vec<u8>,
);

fn parse_record(
    id: JobId,
    record: &Record,
    reply: ReadReply,
    payload: JobPayload,
) -> Result<JobRecord, QueueError> {
    let (_, attempts, result, position, wait_ms, ttl_ms, progress, leader) = reply;
    // Who waits for another's render is where that is.
    let leader = (!leader.is_empty())
        .then(|| Record::parse(&leader))
        .transpose()?;
    let shown = leader
        .as_ref()
        .map_or(record.shown_status(), |of| of.status);
    let mut attempts = attempts
        .iter()
        .map(|text| record::parse_attempt(text))
        .collect::<Result<Vec<_>, QueueError>>()?;
    attempts.extend(record.last_attempt()?);
    let result = match result {
        None => None,
        Some(text) => Some(
            serde_json::from_slice(&text)
                .map_err(|error| QueueError::Corrupt(format!("result of {id}: {error}")))?,
        ),
    };
    let expires_at = (ttl_ms > 0)
        .then(|| {
            let end = Timestamp::now().checked_add(jiff::SignedDuration::from_millis(ttl_ms));
            // To the second: it is worked out on each read.
            end.and_then(|end| end.round(jiff::Unit::Second)).ok()
        })
        .flatten();
    let of = leader.as_ref().unwrap_or(record);
    let waits = shown == Status::Queued;
    Ok(JobRecord {
        id,
        tenant: record.tenant.clone(),
        status: shown,
        lane: record.lane,
        revision: record.revision + leader.as_ref().map_or(0, |of| of.revision),
        created_at: timestamp(record.created)?,
        started_at: record::time(of.claimed)?,
        finished_at: record::time(record.shown_end())?,
        expires_at,
        cancel_requested_at: record::time(record.cancel)?,
        not_before: record::time(of.not_before)?,
        position: (waits && position > 0).then_some(position),
        expected_wait: u64::try_from(wait_ms)
            .ok()
            .filter(|_| waits)
            .map(Duration::from_millis),
        progress: progress
            .and_then(|text| serde_json::from_slice::<Progress>(&text).ok())
            .unwrap_or_default(),
        attempts,
        rendered_by: record.rendered_by(),
        cached: record.is_cached(),
        payload,
        result,
    })
}

/// A result that says only why a job failed.
#[must_use]
pub fn failed(error: JobError) -> JobResult {
    JobResult {
        error: Some(error),
        ..JobResult::default()
    }
}
