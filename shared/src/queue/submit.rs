//! Submits. Jobs whose producers call at the same time go to Redis in one call: what a call costs is
//! mostly not the jobs in it. A call is on its way at once while fewer than [`FLIGHTS_MAX`] are, so a
//! lone producer waits for nobody; else its jobs join the next one.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use redis::{FromRedisValue as _, Value};
use sha2::{Digest as _, Sha256};
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::call::Args;
use super::error::{is_no_function, unexpected};
use super::record::Record;
use super::{
    Allowance, BATCH_MAX, Enqueued, NewJob, Queue, QueueError, QuotaPolicy, RESPONSE_TIMEOUT,
    RenderKey,
};
use crate::ids::{JobId, TenantId};

/// Calls of one shard that may be on their way: while Redis works on one, the next is made up.
const FLIGHTS_MAX: usize = 2;
/// The same where a call is answered once it is kept. That takes as long as a disk or a replica does, and
/// many calls are confirmed together.
const DURABLE_FLIGHTS_MAX: usize = 64;
/// Most bytes of records in one call, if it has more than one submit.
const BYTES_MAX: usize = 1 << 20;
/// Longest wait for an answer: for the call before, and for one's own with a library to be loaded.
const ANSWER_TIMEOUT: Duration = RESPONSE_TIMEOUT.saturating_mul(5);
/// How long a record may lie in Redis before its `enqueue` arrives.
const SENT_AHEAD_S: u64 = 120;
/// Longest idempotency key that is stored as it is.
const IDEMPOTENCY_KEY_BYTES_MAX: usize = 60;

/// One job, as it goes to Redis.
struct Parcel {
    id: JobId,
    record: Vec<u8>,
    /// See `enqueue.lua`.
    text: String,
}

impl Parcel {
    fn new(tenant: &TenantId, job: &NewJob) -> Result<Self, QueueError> {
        let request = &job.payload.request;
        let lane = request.lane.digit();
        let deadline_ms = u64::from(request.deadline_s.unwrap_or(0)) * 1000;
        let (key, fingerprint) = match &job.idempotency {
            Some((key, fingerprint)) => (idempotency_key(key), fingerprint.as_str()),
            None => (String::new(), ""),
        };
        let render = job.render.as_ref().map_or("", |RenderKey(key)| key);
        let plain =
            job.delay == Duration::ZERO && deadline_ms == 0 && render.is_empty() && key.is_empty();
        let text = if plain {
            lane.to_string()
        } else {
            let mode = if render.is_empty() {
                ""
            } else {
                request.cache.as_str()
            };
            let delay_ms = job.delay.as_millis();
            let length = key.len();
            format!("{lane} {delay_ms} {deadline_ms} {mode} {render} {length} {key}{fingerprint}")
        };
        Ok(Self {
            id: job.id,
            record: Record::write(tenant, &key, render, &job.payload)?,
            text,
        })
    }
}

/// What one caller waits for.
struct Submit {
    tenant: TenantId,
    parcels: Vec<Parcel>,
    answer: oneshot::Sender<Result<Vec<Value>, QueueError>>,
}

impl Submit {
    fn bytes(&self) -> usize {
        self.parcels.iter().map(|parcel| parcel.record.len()).sum()
    }
}

/// The submits of a process that wait for their call.
pub(super) struct Submits(Vec<Mutex<Waiting>>);

#[derive(Default)]
struct Waiting {
    submits: VecDeque<Submit>,
    flights: usize,
}

impl Submits {
    pub(super) fn new(shards: usize) -> Self {
        Self((0..shards).map(|_| Mutex::default()).collect())
    }

    fn of(&self, shard: usize) -> MutexGuard<'_, Waiting> {
        self.0[shard].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
    /// The submits of the next call.
    fn next(&mut self) -> Vec<Submit> {
        let (mut jobs, mut bytes, mut together) = (0, 0, Vec::new());
        while let Some(submit) = self.submits.front() {
            // Who was told that it takes too long, or has left, must not find the job accepted later.
            if submit.answer.is_closed() {
                self.submits.pop_front();
                continue;
            }
            jobs += submit.parcels.len();
            bytes += submit.bytes();
            if !together.is_empty() && (jobs > BATCH_MAX || bytes > BYTES_MAX) {
                break;
            }
            together.extend(self.submits.pop_front());
        }
        together
    }
}

/// Makes calls as long as there are submits.
struct Flight {
    queue: Queue,
    shard: usize,
    landed: bool,
}

impl Drop for Flight {
    /// If the runtime goes down under it, the place is free again.
    fn drop(&mut self) {
        if !self.landed {
            self.queue.submits.of(self.shard).flights -= 1;
        }
    }
}

impl Flight {
    async fn run(mut self) {
        loop {
            // Callers that the last answer has woken come now.
            tokio::task::yield_now().await;
            let together = self.next();
            if together.is_empty() {
                return;
            }
            match self.queue.send(self.shard, &together).await {
                Ok(replies) => {
                    let mut replies = replies.into_iter();
                    for submit in together {
                        let own = replies.by_ref().take(submit.parcels.len()).collect();
                        // Who does not wait any more does not need the answer.
                        let _ = submit.answer.send(Ok(own));
                    }
                }
                Err(error) => {
                    for submit in together {
                        let _ = submit.answer.send(Err(copy(&error)));
                    }
                }
            }
        }
    }

    /// The submits of the next call; lands if there are none, so that whoever comes later takes off.
    fn next(&mut self) -> Vec<Submit> {
        let mut waiting = self.queue.submits.of(self.shard);
        let together = waiting.next();
        if together.is_empty() {
            waiting.flights -= 1;
            self.landed = true;
        }
        together
    }
}

impl Queue {
    /// Accepts up to [`BATCH_MAX`] jobs of one tenant; each is answered for itself.
    ///
    /// # Panics
    /// If there are none or more than [`BATCH_MAX`], or one has an id that was made for another shard's tenant.
    ///
    /// # Errors
    /// [`QueueError::Unavailable`]: unknown which were accepted; repeat with the same ids, or the same
    /// idempotency keys.
    pub async fn enqueue(
        &self,
        tenant: &TenantId,
        jobs: &[NewJob],
    ) -> Result<Vec<Enqueued>, QueueError> {
        self.submit_twice(tenant, jobs, false).await
    }

    /// Accepts all of up to [`BATCH_MAX`] jobs of one tenant, or none: if one would be refused, that one is told
    /// why, and the others are [`Enqueued::Withheld`]. Quotas are those of one moment, and count for all together.
    ///
    /// # Panics
    /// As [`Self::enqueue`].
    ///
    /// # Errors
    /// As [`Self::enqueue`].
    pub async fn enqueue_all_or_none(
        &self,
        tenant: &TenantId,
        jobs: &[NewJob],
    ) -> Result<Vec<Enqueued>, QueueError> {
        self.submit_twice(tenant, jobs, true).await
    }

    async fn submit_twice(
        &self,
        tenant: &TenantId,
        jobs: &[NewJob],
        together: bool,
    ) -> Result<Vec<Enqueued>, QueueError> {
        assert!(
            (1..=BATCH_MAX).contains(&jobs.len()),
            "enqueue takes 1 to {BATCH_MAX} jobs"
        );
        assert!(
            jobs.iter()
                .all(|job| self.shard_of_job(job.id) == self.shard_of(tenant)),
            "a job's id is made for its tenant"
        );
        let mut replies = self.submit(tenant, jobs.iter(), together).await?;
        // A record that was sent ahead long ago may have expired in between: once more, those only.
        let mut again: Vec<usize> = (0..jobs.len()).filter(|&i| replies[i].is_none()).collect();
        if together && !again.is_empty() {
            again = (0..jobs.len()).collect();
        }
        if !again.is_empty() {
            let jobs = again.iter().map(|&i| &jobs[i]);
            let second = self.submit(tenant, jobs, together).await?;
            for (i, reply) in again.into_iter().zip(second) {
                replies[i] = reply;
            }
        }
        replies
            .into_iter()
            .map(|reply| reply.ok_or_else(|| unexpected("enqueue", "no_payload")))
            .collect()
    }

    /// `None` for a job whose record was not there.
    async fn submit(
        &self,
        tenant: &TenantId,
        jobs: impl ExactSizeIterator<Item = &NewJob>,
        together: bool,
    ) -> Result<Vec<Option<Enqueued>>, QueueError> {
        let shard = self.shard_of(tenant);
        let count = jobs.len();
        let mut parcels = jobs
            .map(|job| Parcel::new(tenant, job))
            .collect::<Result<Vec<_>, _>>()?;
        if together && let Some(first) = parcels.first_mut() {
            first.text.insert_str(0, &format!("*{count} "));
        }
        let (answer, answered) = oneshot::channel();
        let takes_off = {
            let mut waiting = self.submits.of(shard);
            waiting.submits.push_back(Submit {
                tenant: tenant.clone(),
                parcels,
                answer,
            });
            let most = if self.shared.durable() {
                DURABLE_FLIGHTS_MAX
            } else {
                FLIGHTS_MAX
            };
            let free = waiting.flights < most;
            waiting.flights += usize::from(free);
            free
        };
        if takes_off {
            let queue = self.clone();
            // On its own: others' jobs may be in the call, so it goes on if this caller leaves.
            let landed = false;
            tokio::spawn(
                Flight {
                    queue,
                    shard,
                    landed,
                }
                .run(),
            );
        }
        let replies = match timeout(ANSWER_TIMEOUT, answered).await {
            Ok(Ok(answer)) => answer?,
            Ok(Err(_)) => {
                return Err(unanswered(
                    "the call that carried the submit was broken off",
                ));
            }
            Err(_) => return Err(unanswered("the submit was not answered in time")),
        };
        if replies.len() != count {
            return Err(unexpected("enqueue", "another number of replies"));
        }
        replies.into_iter().map(parse).collect()
    }

    /// Sends records, and the call that accepts them.
    async fn send(&self, shard: usize, submits: &[Submit]) -> Result<Vec<Value>, QueueError> {
        match self.send_once(shard, submits).await {
            Err(error) if is_no_function(&error) => {
                self.load_library().await?;
                self.send_once(shard, submits).await
            }
            other => other,
        }
    }

    async fn send_once(&self, shard: usize, submits: &[Submit]) -> Result<Vec<Value>, QueueError> {
        let mut calls = redis::pipe();
        let mut args = Args::new();
        for submit in submits {
            for parcel in &submit.parcels {
                // NX: a repeated call must not touch a job that is there.
                calls
                    .cmd("SET")
                    .arg(self.keys[shard].job(parcel.id))
                    .arg(&parcel.record)
                    .arg("NX")
                    .arg("EX")
                    .arg(SENT_AHEAD_S);
                args = args
                    .text(submit.tenant.as_str())
                    .text(&parcel.id.short())
                    .text(&parcel.text);
            }
        }
        let enqueue = self.command(shard, "enqueue", &args.0);
        let reply = if self.shared.durable() {
            // On another connection. What the call writes comes after the records, also in what the
            // replicas and the disk get: where it is kept, they are.
            self.shared.pipeline(&calls).await?;
            self.send_call(&enqueue, true, true).await?
        } else {
            calls.add_command(enqueue);
            let replies = self.shared.pipeline(&calls).await?;
            replies.into_iter().next_back().unwrap_or(Value::Nil)
        };
        Ok(Vec::from_redis_value(reply)?)
    }
}

fn unanswered(why: &str) -> QueueError {
    QueueError::Unavailable(why.into())
}

/// The same error for one more caller.
fn copy(error: &QueueError) -> QueueError {
    match error {
        QueueError::Unavailable(cause) => QueueError::Unavailable(cause.to_string().into()),
        QueueError::Configuration(text) => QueueError::Configuration(text.clone()),
        QueueError::Corrupt(text) => QueueError::Corrupt(text.clone()),
    }
}

/// Reads what `enqueue` says of one job; `None` if its record was not there.
fn parse(reply: Value) -> Result<Option<Enqueued>, QueueError> {
    let parts = match reply {
        Value::Array(parts) => parts,
        word => vec![word],
    };
    let mut parts = parts.into_iter();
    let mut next = || parts.next().unwrap_or(Value::Nil);
    let word = String::from_redis_value(next())?;
    if word == "no_payload" {
        return Ok(None);
    }
    match word.as_str() {
        "ok" => Ok(Enqueued::Accepted),
        "cached" => Ok(Enqueued::Cached),
        "not_cached" => Ok(Enqueued::NotCached),
        "withheld" => Ok(Enqueued::Withheld),
        "exists" => Ok(Enqueued::Exists(JobId::from_short(
            &String::from_redis_value(next())?,
        )?)),
        "mismatch" => Ok(Enqueued::KeyReused(JobId::from_short(
            &String::from_redis_value(next())?,
        )?)),
        "forbidden" => {
            let allowance = String::from_redis_value(next())?;
            Ok(Enqueued::Forbidden {
                allowance: Allowance::parse(&allowance)
                    .ok_or_else(|| unexpected("enqueue", &allowance))?,
                limit: u64::from_redis_value(next())?,
                asked: u64::from_redis_value(next())?,
            })
        }
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

/// The form in which an idempotency key is stored.
pub(super) fn idempotency_key(key: &str) -> String {
    if key.len() <= IDEMPOTENCY_KEY_BYTES_MAX {
        key.to_owned()
    } else {
        format!("sha256-{}", hex::encode(&Sha256::digest(key)[..24]))
    }
}
