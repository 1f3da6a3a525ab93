//! The queue: jobs in Redis streams, every transition one Redis function.
//!
//! This is the Rust face of `queue/lua/*.lua`; the header of each file there is the contract.
//! A job runs at least once; its result is accepted exactly once, because each attempt has a
//! new [`Epoch`] and a stale one changes nothing.

mod connection;
mod dead;
mod hub;
mod library;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use redis::{FromRedisValue, Value};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

pub(crate) use connection::Shared;
pub use connection::{
    ACL_RULES, CONNECT_TIMEOUT, Kept, RESPONSE_TIMEOUT, RedisConfig, TlsFiles, URL_FORMS, redact,
};
pub use dead::{DeadFilter, DeadLetter, Redriven};
pub use hub::{Hub, Watch};
pub use library::{LAYOUT, LIBRARY, Library};

use crate::ids::{Epoch, IdError, JobId, LeaseToken, TenantId, WorkerId};
use crate::job::{
    Attempt, AttemptOutcome, FailureClass, JobError, JobPayload, JobRecord, JobResult, Lane,
    Progress, Status,
};
use crate::keys::Keys;

/// How long a claim stays valid without a renewal.
pub const LEASE: Duration = Duration::from_secs(12);
/// How often a worker renews its leases: four chances per lease.
pub const RENEW_EVERY: Duration = Duration::from_secs(3);
/// Longest time a parked worker waits before it looks for itself.
pub const PARK: Duration = Duration::from_secs(5);
/// Most items of one call.
pub const BATCH_MAX: usize = 100;
/// How long a payload may lie in Redis before its `enqueue` arrives.
const PAYLOAD_GRACE_S: u64 = 120;
/// Payloads up to this size travel with the call; larger ones are sent ahead, out of Lua.
const PAYLOAD_INLINE_BYTES_MAX: usize = 16 * 1024;
/// Most events of one renewal call.
const EVENTS_PER_CALL: usize = 500;
/// Longest idempotency key that is stored as it is (the job's hash stays compact up to 64 bytes).
const IDEMPOTENCY_KEY_BYTES_MAX: usize = 60;

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
}

/// What became of one [`NewJob`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Enqueued {
    /// Accepted.
    Accepted,
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
}

/// A quota over time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum QuotaPolicy {
    /// Accepted jobs in a minute.
    SubmitsPerMinute,
    /// Accepted jobs in 24 hours.
    SubmitsPerDay,
    /// Seconds of rendering in a day (UTC), metered when an attempt ends; faults of ours are free.
    RenderSecondsPerDay,
}

impl QuotaPolicy {
    /// The name in messages, headers and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::SubmitsPerMinute => "submits_per_minute",
            Self::SubmitsPerDay => "submits_per_day",
            Self::RenderSecondsPerDay => "render_seconds_per_day",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        [
            Self::SubmitsPerMinute,
            Self::SubmitsPerDay,
            Self::RenderSecondsPerDay,
        ]
        .into_iter()
        .find(|policy| policy.as_str() == text)
    }
}

/// What a tenant may use, enforced by the queue for all producers and workers together.
/// `None` is the default of the queue.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Quotas {
    /// Jobs that have not ended (default 1,000).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queued_max: Option<u32>,
    /// Jobs that run at the same time (default: no limit but the slots).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub running_max: Option<u32>,
    /// Jobs accepted per minute, all at once or evenly (default: no limit). At least 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub submits_per_minute: Option<u32>,
    /// Jobs accepted per 24 hours (default: no limit). At least 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub submits_per_day: Option<u32>,
    /// Seconds of rendering per day, UTC (default: no limit). When it is used up, submits are
    /// refused and waiting jobs stay until the next day; what runs may still end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub render_s_per_day: Option<u32>,
    /// Share of the slots against other tenants' when all are busy (default 1). From 0.001 to 1000.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weight: Option<f64>,
}

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
}

/// Answer to [`Queue::claim`].
#[derive(Debug)]
pub struct Claimed {
    /// The jobs, at most as many as asked for.
    pub claims: Vec<Claim>,
    /// If nothing was claimed: how long to wait on the bell at most.
    pub wait: Duration,
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

/// A handle on the queue; clones share its connections, whose driver runs on the runtime that
/// called first.
#[derive(Clone)]
pub struct Queue {
    shared: Arc<Shared>,
    keys: Arc<Keys>,
    library: &'static Library,
}

impl Queue {
    /// Builds the handle without talking to Redis.
    ///
    /// # Errors
    /// [`QueueError::Configuration`] if the URL cannot be read.
    pub fn new(config: &RedisConfig) -> Result<Self, QueueError> {
        Ok(Self {
            shared: Arc::new(Shared::new(config)?),
            keys: Arc::new(Keys::new(&config.prefix, 0)),
            library: &LIBRARY,
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
        Ok(queue)
    }

    /// Sets the clock of [`Self::connect_with_test_clock`].
    ///
    /// # Errors
    /// [`QueueError::Unavailable`].
    #[cfg(feature = "testing")]
    pub async fn set_test_clock(&self, now_ms: u64) -> Result<(), QueueError> {
        let mut command = redis::cmd("SET");
        command
            .arg(format!("{}:clock", self.keys.base()))
            .arg(now_ms);
        self.shared.query(&command, true).await?;
        Ok(())
    }

    /// The key names of this queue.
    #[must_use]
    pub fn keys(&self) -> &Keys {
        &self.keys
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

    /// Calls a transition; loads the library once more if a restart or failover lost it.
    async fn call(&self, transition: &str, args: &[Vec<u8>]) -> Result<Value, QueueError> {
        let mut command = redis::cmd("FCALL");
        // Functions build their keys themselves, and Redis cannot see which. While the slot is on its
        // way to another server some of them are here and some there, and Redis must refuse the call. It
        // does so for calls of two keys that do not exist, and neither of these ever does.
        command
            .arg(self.library.function(transition))
            .arg(2)
            .arg(self.keys.base())
            .arg(format!("{}:", self.keys.base()));
        for arg in args {
            command.arg(arg);
        }
        // A claim whose answer was lost holds jobs until their leases end: it is not sent again
        // behind the caller's back. Nor is a renewal, which would tell its news twice.
        let repeat = transition != "claim" && transition != "renew";
        let durable = transition == "enqueue" && self.shared.durable();
        match self.send_call(&command, repeat, durable).await {
            Err(error) if error.to_string().contains("Function not found") => {
                self.load_library().await?;
                self.send_call(&command, repeat, durable).await
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

    /// Accepts up to [`BATCH_MAX`] jobs of one tenant; each is answered for itself.
    ///
    /// # Errors
    /// [`QueueError::Unavailable`]: unknown which were accepted; repeat with the same idempotency keys.
    pub async fn enqueue(
        &self,
        tenant: &TenantId,
        jobs: &[NewJob],
    ) -> Result<Vec<Enqueued>, QueueError> {
        assert!(
            (1..=BATCH_MAX).contains(&jobs.len()),
            "enqueue takes 1 to {BATCH_MAX} jobs"
        );
        let mut replies = self.enqueue_once(tenant, jobs).await?;
        // A payload that was sent ahead long ago may have expired in between: once more, those only.
        let again: Vec<usize> = (0..jobs.len()).filter(|&i| replies[i].is_none()).collect();
        if !again.is_empty() {
            let jobs: Vec<NewJob> = again.iter().map(|&i| jobs[i].clone()).collect();
            for (i, reply) in again
                .into_iter()
                .zip(self.enqueue_once(tenant, &jobs).await?)
            {
                replies[i] = reply;
            }
        }
        replies
            .into_iter()
            .map(|reply| reply.ok_or_else(|| unexpected("enqueue", "no_payload")))
            .collect()
    }

    /// `None` for a job whose payload was not there.
    async fn enqueue_once(
        &self,
        tenant: &TenantId,
        jobs: &[NewJob],
    ) -> Result<Vec<Option<Enqueued>>, QueueError> {
        let mut ahead = redis::pipe();
        let mut args = Args::new().text(tenant.as_str());
        for job in jobs {
            let mut payload = serde_json::to_vec(&job.payload)
                .map_err(|error| QueueError::Corrupt(error.to_string()))?;
            if payload.len() > PAYLOAD_INLINE_BYTES_MAX {
                // NX: a repeated call must not put an expiry on the payload of a job that is there.
                ahead
                    .cmd("SET")
                    .arg(self.keys.payload(job.id))
                    .arg(payload)
                    .arg("NX")
                    .arg("EX")
                    .arg(PAYLOAD_GRACE_S)
                    .ignore();
                payload = Vec::new();
            }
            let deadline_ms = u64::from(job.payload.request.deadline_s.unwrap_or(0)) * 1000;
            let (key, fingerprint) = job.idempotency.clone().unwrap_or_default();
            args = args
                .show(job.id)
                .show(job.payload.request.lane.digit())
                .show(job.delay.as_millis())
                .show(deadline_ms)
                .text(&idempotency_key(key))
                .text(&fingerprint);
            args.0.push(payload);
        }
        if !ahead.is_empty() {
            self.shared.send(&ahead).await?;
        }
        let replies: Vec<Vec<Value>> = Vec::from_redis_value(self.call("enqueue", &args.0).await?)?;
        replies.into_iter().map(parse_enqueued).collect()
    }

    /// Everything about a job, or `None` if there is none.
    ///
    /// # Errors
    /// [`QueueError::Unavailable`], or [`QueueError::Corrupt`] if an older or newer version wrote what cannot be read.
    pub async fn read(&self, id: JobId) -> Result<Option<JobRecord>, QueueError> {
        match self.call("read", &Args::new().show(id).0).await? {
            Value::Nil => Ok(None),
            value => parse_record(id, FromRedisValue::from_redis_value(value)?).map(Some),
        }
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
        let mut command = redis::cmd("HMGET");
        command.arg(self.keys.job(id)).arg("st").arg("ep").arg("lt");
        let (status, current, stored): (Option<String>, Option<u64>, Option<String>) =
            FromRedisValue::from_redis_value(self.shared.query(&command, true).await?)?;
        Ok(status.as_deref() == Some(Status::Running.as_str())
            && current == Some(epoch.0)
            && stored.is_some_and(|stored| token.matches(&stored)))
    }

    /// A job's payload.
    ///
    /// # Errors
    /// [`QueueError::Unavailable`], or [`QueueError::Corrupt`] if it is missing or cannot be read.
    pub async fn payload(&self, id: JobId) -> Result<JobPayload, QueueError> {
        match self.payloads(&[id]).await?.pop() {
            Some(payload) => payload,
            None => Err(QueueError::Corrupt(format!("{id} has no payload"))),
        }
    }

    /// The payloads of several jobs, each for itself, in one round trip.
    ///
    /// # Errors
    /// [`QueueError::Unavailable`]; in the list [`QueueError::Corrupt`] where one is missing or
    /// cannot be read.
    pub async fn payloads(
        &self,
        ids: &[JobId],
    ) -> Result<Vec<Result<JobPayload, QueueError>>, QueueError> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let mut command = redis::cmd("MGET");
        for id in ids {
            command.arg(self.keys.payload(*id));
        }
        let texts: Vec<Option<Vec<u8>>> =
            FromRedisValue::from_redis_value(self.shared.query(&command, true).await?)?;
        Ok(ids
            .iter()
            .zip(texts)
            .map(|(id, text)| {
                let text =
                    text.ok_or_else(|| QueueError::Corrupt(format!("{id} has no payload")))?;
                serde_json::from_slice(&text)
                    .map_err(|error| QueueError::Corrupt(format!("payload of {id}: {error}")))
            })
            .collect())
    }

    /// Cancels a job of `tenant`.
    ///
    /// # Errors
    /// [`QueueError::Unavailable`]; safe to repeat.
    pub async fn cancel(&self, tenant: &TenantId, id: JobId) -> Result<CancelOutcome, QueueError> {
        let reply = self
            .call("cancel", &Args::new().show(id).text(tenant.as_str()).0)
            .await?;
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
        let n = n.min(BATCH_MAX);
        let mut args = Args::new()
            .show(worker.id)
            .show(n)
            .show(lease.as_millis())
            .show(PARK.as_millis())
            .json(worker)?
            .show(worker.slots_offered());
        for _ in 0..n {
            args = args.text(LeaseToken::generate().expose());
        }
        let mut reply =
            Vec::<Value>::from_redis_value(self.call("claim", &args.0).await?)?.into_iter();
        let wait_ms = u64::from_redis_value(reply.next().unwrap_or(Value::Int(0)))?;
        let claims = reply
            .map(|value| {
                let (job, tenant, epoch, attempt, token, created, claimed): (
                    String,
                    String,
                    u64,
                    u32,
                    String,
                    i64,
                    i64,
                ) = FromRedisValue::from_redis_value(value)?;
                Ok(Claim {
                    job: job.parse()?,
                    tenant: tenant.parse()?,
                    epoch: Epoch(epoch),
                    attempt,
                    token: token.parse()?,
                    created_at: timestamp(created)?,
                    claimed_at: timestamp(claimed)?,
                })
            })
            .collect::<Result<_, QueueError>>()?;
        Ok(Claimed {
            claims,
            wait: Duration::from_millis(wait_ms),
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
        assert!(
            jobs.len() <= BATCH_MAX,
            "renew takes at most {BATCH_MAX} jobs"
        );
        let mut leases = Vec::with_capacity(jobs.len());
        let mut rest = jobs;
        loop {
            // The news of one call are bounded too, or one call could stop Redis for long.
            let mut events = 0;
            let fits = rest
                .iter()
                .take_while(|job| {
                    events += job.events.len();
                    events <= EVENTS_PER_CALL
                })
                .count();
            let (now, later) = rest.split_at(fits.max(1).min(rest.len()));
            leases.extend(self.renew_once(worker, lease, now).await?);
            rest = later;
            if rest.is_empty() {
                return Ok(leases);
            }
        }
    }

    async fn renew_once(
        &self,
        worker: &WorkerInfo,
        lease: Duration,
        jobs: &[Renewal],
    ) -> Result<Vec<Lease>, QueueError> {
        let mut args = Args::new()
            .show(worker.id)
            .show(lease.as_millis())
            .json(worker)?
            .show(worker.slots_offered())
            .show(jobs.len());
        for job in jobs {
            // Of more than one call takes, the oldest are left out.
            let events = &job.events[job.events.len().saturating_sub(EVENTS_PER_CALL)..];
            args = args.show(job.job).show(job.epoch).show(events.len());
            for (kind, data) in events {
                args = args.text(kind.as_str()).text(data);
            }
        }
        let replies: Vec<String> = Vec::from_redis_value(self.call("renew", &args.0).await?)?;
        replies
            .iter()
            .map(|reply| match reply.as_str() {
                "ok" => Ok(Lease::Held),
                "cancel" => Ok(Lease::Cancel),
                "lost" => Ok(Lease::Lost),
                other => Err(unexpected("renew", other)),
            })
            .collect()
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
        let args = Args::new()
            .show(job)
            .show(epoch)
            .text(Status::Succeeded.as_str())
            .json(result)?;
        self.settle_finish(args).await
    }

    /// Ends up to [`BATCH_MAX`] attempts well in one call; each is answered for itself.
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
        let mut args = Args::new();
        for (job, epoch, result) in ended {
            args = args
                .show(job)
                .show(epoch)
                .text(Status::Succeeded.as_str())
                .json(result)?;
        }
        let replies: Vec<String> = Vec::from_redis_value(self.call("finish", &args.0).await?)?;
        replies.iter().map(|reply| finished(reply)).collect()
    }

    /// Ends an attempt that was interrupted because of a cancel.
    ///
    /// # Errors
    /// [`QueueError::Unavailable`]; safe to repeat.
    pub async fn finish_canceled(&self, job: JobId, epoch: Epoch) -> Result<Settled, QueueError> {
        let args = Args::new()
            .show(job)
            .show(epoch)
            .text(Status::Canceled.as_str())
            .text("");
        self.settle_finish(args).await
    }

    async fn settle_finish(&self, args: Args) -> Result<Settled, QueueError> {
        let replies: Vec<String> = Vec::from_redis_value(self.call("finish", &args.0).await?)?;
        finished(replies.first().map_or("nothing", String::as_str))
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
            .show(job)
            .show(epoch)
            .text(class.as_str())
            .text(if class.is_ours() { "1" } else { "0" })
            .show(jitter.clamp(0.0, 1.0))
            .json(result)?;
        match String::from_redis_value(self.call("fail", &args.0).await?)?.as_str() {
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
        let args = Args::new().show(job).show(epoch).text(reason);
        match String::from_redis_value(self.call("release", &args.0).await?)?.as_str() {
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
        let reply = self.call("reap", &Args::new().show(limit).0).await?;
        Ok(u64::from_redis_value(reply)?)
    }

    /// Makes due jobs ready and expires the late, at most `limit` each. Part of claim and renew.
    ///
    /// # Errors
    /// [`QueueError::Unavailable`].
    pub async fn promote(&self, limit: usize) -> Result<u64, QueueError> {
        let reply = self.call("promote", &Args::new().show(limit).0).await?;
        Ok(u64::from_redis_value(reply)?)
    }

    /// Tells that a worker stopped.
    ///
    /// # Errors
    /// [`QueueError::Unavailable`]; it is forgotten after its time to live anyway.
    pub async fn leave(&self, worker: WorkerId) -> Result<(), QueueError> {
        self.call("leave", &Args::new().show(worker).0).await?;
        Ok(())
    }

    /// The queue at a glance. Also proves that functions can be called, which a PING does not.
    ///
    /// # Errors
    /// [`QueueError::Unavailable`].
    pub async fn stats(&self) -> Result<Stats, QueueError> {
        let reply = self.call("stats", &[]).await?;
        let (mut counters, delayed, running, infos, _tenants): (
            HashMap<String, i64>,
            u64,
            u64,
            Vec<String>,
            u64,
        ) = FromRedisValue::from_redis_value(reply)?;
        let counted = |name: &str| counters.get(name).copied().unwrap_or(0);
        let ended: i64 = Status::ALL
            .iter()
            .filter(|status| status.is_terminal())
            .map(|status| counted(status.as_str()))
            .sum();
        let signed = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
        let ready = counted("submitted") - ended - signed(running) - signed(delayed);
        counters.insert("ready".to_owned(), ready);
        counters.insert("running".to_owned(), signed(running));
        Ok(Stats {
            ready: u64::try_from(ready).unwrap_or(0),
            delayed,
            running,
            counters,
            // What an older version wrote and cannot be read is left out, not an error.
            workers: infos
                .iter()
                .filter_map(|text| serde_json::from_str(text).ok())
                .collect(),
        })
    }

    /// Checks all that the queue knows twice, changing nothing; with `repair`, puts right what differs
    /// and counts it in the counter `repairs`. Costs Redis about 0.1 ms per 100 items, in short calls.
    ///
    /// # Errors
    /// [`QueueError::Unavailable`].
    pub async fn audit(&self, repair: bool) -> Result<Audit, QueueError> {
        let mut audit = Audit::default();
        let mut cursor = String::new();
        loop {
            let function = if repair { "repair" } else { "audit" };
            let reply = self.call(function, &Args::new().text(&cursor).0).await?;
            let mut parts = Vec::<Value>::from_redis_value(reply)?.into_iter();
            cursor = String::from_redis_value(parts.next().unwrap_or(Value::Nil))?;
            audit.looked += u64::from_redis_value(parts.next().unwrap_or(Value::Int(0)))?;
            for violation in parts {
                audit.violations.push(String::from_redis_value(violation)?);
            }
            if cursor.is_empty() {
                return Ok(audit);
            }
        }
    }

    /// Sets a tenant's quotas; they hold from the reply on, also for jobs that wait.
    ///
    /// # Panics
    /// If a rate is 0 or the weight is not in 0.001 to 1000.
    ///
    /// # Errors
    /// [`QueueError::Unavailable`]; safe to repeat.
    pub async fn set_quotas(&self, tenant: &TenantId, quotas: &Quotas) -> Result<(), QueueError> {
        assert!(
            quotas.submits_per_minute != Some(0) && quotas.submits_per_day != Some(0),
            "a rate is at least 1; pause the tenant instead"
        );
        assert!(
            quotas.weight.is_none_or(|w| (0.001..=1000.0).contains(&w)),
            "a weight is from 0.001 to 1000"
        );
        let number = |n: Option<u32>| n.map_or_else(String::new, |n| n.to_string());
        let args = Args::new()
            .text(tenant.as_str())
            .text(&number(quotas.queued_max))
            .text(&number(quotas.running_max))
            .text(&number(quotas.submits_per_minute))
            .text(&number(quotas.submits_per_day))
            .text(&number(quotas.render_s_per_day))
            .text(&quotas.weight.map_or_else(String::new, |w| w.to_string()));
        self.call("quotas", &args.0).await?;
        Ok(())
    }

    /// A tenant's quotas.
    ///
    /// # Errors
    /// [`QueueError::Unavailable`].
    pub async fn quotas(&self, tenant: &TenantId) -> Result<Quotas, QueueError> {
        let reply = self
            .call("quotas", &Args::new().text(tenant.as_str()).0)
            .await?;
        let texts = Vec::<String>::from_redis_value(reply)?;
        let number = |i: usize| texts.get(i).and_then(|text: &String| text.parse().ok());
        Ok(Quotas {
            queued_max: number(0),
            running_max: number(1),
            submits_per_minute: number(2),
            submits_per_day: number(3),
            render_s_per_day: number(4),
            weight: texts.get(5).and_then(|text| text.parse().ok()),
        })
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
        let (kind, name) = match scope {
            PauseScope::Tenant(tenant) => ("tenant", tenant.to_string()),
            PauseScope::Lane(lane) => ("lane", lane.digit().to_string()),
            PauseScope::All => ("all", String::new()),
        };
        let args = Args::new().text(kind).text(&name).show(u8::from(on));
        Ok(i64::from_redis_value(self.call("pause", &args.0).await?)? == 1)
    }

    /// Sets how long jobs are kept that end from now on (defaults: succeeded 24 h, others 14 d).
    /// Whole seconds, at least one.
    ///
    /// # Errors
    /// [`QueueError::Unavailable`]; safe to repeat.
    pub async fn set_retention(
        &self,
        succeeded: Duration,
        others: Duration,
    ) -> Result<(), QueueError> {
        let args = Args::new().show(succeeded.as_secs()).show(others.as_secs());
        self.call("retention", &args.0).await?;
        Ok(())
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
        let args = Args::new().show(id).show(seen).show(limit);
        let mut reply =
            Vec::<Value>::from_redis_value(self.call("events", &args.0).await?)?.into_iter();
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
        Ok(Bell {
            waiter: self.shared.blocking(&self.keys.bell(), PARK).await?,
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
    waiter: connection::Blocking,
}

impl Bell {
    /// Waits until the bell rings or `limit` (at most [`PARK`]) passed. Never drop this future:
    /// the token that an abandoned wait takes is lost until the next look.
    ///
    /// # Errors
    /// [`QueueError::Unavailable`]: make a new bell.
    pub async fn wait(&mut self, limit: Duration) -> Result<bool, QueueError> {
        Ok(self.waiter.pop(limit).await?.is_some())
    }
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

/// The form in which an idempotency key is stored.
fn idempotency_key(key: String) -> String {
    if key.len() <= IDEMPOTENCY_KEY_BYTES_MAX {
        key
    } else {
        format!("sha256-{}", hex::encode(&Sha256::digest(key)[..24]))
    }
}

fn parse_enqueued(reply: Vec<Value>) -> Result<Option<Enqueued>, QueueError> {
    let mut parts = reply.into_iter();
    let mut next = || parts.next().unwrap_or(Value::Nil);
    let word = String::from_redis_value(next())?;
    if word == "no_payload" {
        return Ok(None);
    }
    match word.as_str() {
        "ok" => Ok(Enqueued::Accepted),
        "exists" => Ok(Enqueued::Exists(String::from_redis_value(next())?.parse()?)),
        "mismatch" => Ok(Enqueued::KeyReused(
            String::from_redis_value(next())?.parse()?,
        )),
        "full" => Ok(Enqueued::Full {
            active: u64::from_redis_value(next())?,
            limit: u64::from_redis_value(next())?,
        }),
        "limited" => {
            let policy = String::from_redis_value(next())?;
            Ok(Enqueued::Limited {
                policy: QuotaPolicy::parse(&policy)
                    .ok_or_else(|| unexpected("enqueue", &policy))?,
                limit: u64::from_redis_value(next())?,
                used: u64::from_redis_value(next())?,
                retry_after: Duration::from_millis(u64::from_redis_value(next())?),
            })
        }
        other => Err(unexpected("enqueue", other)),
    }
    .map(Some)
}

type ReadReply = (
    HashMap<String, String>,
    Option<Vec<u8>>,
    Vec<String>,
    Option<Vec<u8>>,
    u64,
    i64,
    Option<Vec<u8>>,
);

/// An attempt as `requeue` in `prelude.lua` writes it.
#[derive(Deserialize)]
struct StoredAttempt {
    n: u32,
    epoch: u64,
    worker: WorkerId,
    started_ms: i64,
    ended_ms: i64,
    outcome: AttemptOutcome,
    #[serde(default)]
    class: Option<FailureClass>,
}

fn parse_record(id: JobId, reply: ReadReply) -> Result<JobRecord, QueueError> {
    let (hash, payload, attempts, result, position, ttl_ms, progress) = reply;
    let corrupt = |what: &str| QueueError::Corrupt(format!("{id}: {what}"));
    let get = |field: &str| hash.get(field).map(String::as_str);
    let number = |field: &str| get(field).and_then(|text| text.parse::<i64>().ok());
    let time = |field: &str| number(field).map(timestamp).transpose();
    let status: Status = get("st")
        .and_then(|text| text.parse().ok())
        .ok_or_else(|| corrupt("no status"))?;
    let lane = number("ln")
        .and_then(|digit| u8::try_from(digit).ok())
        .and_then(Lane::from_digit)
        .ok_or_else(|| corrupt("no lane"))?;
    let mut attempts = attempts
        .iter()
        .map(|text| {
            let stored: StoredAttempt =
                serde_json::from_str(text).map_err(|error| corrupt(&error.to_string()))?;
            Ok(Attempt {
                n: stored.n,
                epoch: Epoch(stored.epoch),
                worker: stored.worker,
                started_at: timestamp(stored.started_ms)?,
                ended_at: Some(timestamp(stored.ended_ms)?),
                outcome: Some(stored.outcome),
                class: stored.class,
            })
        })
        .collect::<Result<Vec<_>, QueueError>>()?;
    // The attempt that runs, or the one whose end was the job's.
    let outcome = get("ao").filter(|text| !text.is_empty());
    if status == Status::Running || outcome.is_some() {
        attempts.push(Attempt {
            n: number("at")
                .and_then(|n| n.try_into().ok())
                .ok_or_else(|| corrupt("no attempt"))?,
            epoch: Epoch(number("ep").map_or(0, i64::cast_unsigned)),
            worker: get("wk").ok_or_else(|| corrupt("no worker"))?.parse()?,
            started_at: time("sa")?.ok_or_else(|| corrupt("no claim time"))?,
            ended_at: time("fi")?,
            outcome: outcome
                .map(|text| text.parse().map_err(|_| corrupt("outcome")))
                .transpose()?,
            class: get("ac").and_then(|text| text.parse().ok()),
        });
    }
    let payload = payload.ok_or_else(|| corrupt("no payload"))?;
    let payload =
        serde_json::from_slice(&payload).map_err(|error| corrupt(&format!("payload: {error}")))?;
    let result = match result {
        None => None,
        Some(text) => Some(
            serde_json::from_slice(&text).map_err(|error| corrupt(&format!("result: {error}")))?,
        ),
    };
    let expires_at = (ttl_ms > 0)
        .then(|| {
            let end = Timestamp::now().checked_add(jiff::SignedDuration::from_millis(ttl_ms));
            // To the second: it is worked out on each read.
            end.and_then(|end| end.round(jiff::Unit::Second)).ok()
        })
        .flatten();
    Ok(JobRecord {
        id,
        tenant: get("tn").ok_or_else(|| corrupt("no tenant"))?.parse()?,
        status,
        lane,
        revision: number("rv").map_or(0, i64::cast_unsigned),
        created_at: time("ca")?.ok_or_else(|| corrupt("no creation time"))?,
        started_at: time("sa")?,
        finished_at: time("fi")?,
        expires_at,
        cancel_requested_at: time("cx")?,
        not_before: time("nb")?,
        position: (position > 0).then_some(position),
        progress: progress
            .and_then(|text| serde_json::from_slice::<Progress>(&text).ok())
            .unwrap_or_default(),
        attempts,
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
