//! Reading one job: see `lua/read.lua`.

use std::time::Duration;

use jiff::Timestamp;
use redis::{FromRedisValue, Value};

use super::call::Args;
use super::record::{self, Record, timestamp};
use super::{Queue, QueueError, QuotaUsage};
use crate::ids::{Epoch, JobId, LeaseToken};
use crate::job::{JobPayload, JobRecord, JobResult, Progress, Status};

/// Last byte of a record that can belong to its head or to what follows it before the payload;
/// the same as in `prelude.lua`.
const STRINGS_LAST: usize = record::HEAD_BYTES + 159;

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
    Vec<String>,
    String,
);

impl Queue {
    /// Everything about a job, or `None` if there is none.
    ///
    /// # Errors
    /// [`QueueError::Unavailable`], or [`QueueError::Corrupt`] if an older or newer version wrote what cannot be read.
    pub async fn read(&self, id: JobId) -> Result<Option<JobRecord>, QueueError> {
        let Some(reply) = self.ask(id, false).await? else {
            return Ok(None);
        };
        parse_whole(id, reply).map(Some)
    }

    /// The same, with what its tenant uses of its quotas at that moment.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub async fn read_with_usage(
        &self,
        id: JobId,
    ) -> Result<Option<(JobRecord, QuotaUsage)>, QueueError> {
        let Some(reply) = self.ask(id, true).await? else {
            return Ok(None);
        };
        let usage = QuotaUsage::parse(&reply.8)?;
        Ok(Some((parse_whole(id, reply)?, usage)))
    }

    async fn ask(&self, id: JobId, usage: bool) -> Result<Option<ReadReply>, QueueError> {
        let args = Args::new().text(&id.short()).text("1");
        let args = args.text(if usage { "1" } else { "" });
        Ok(
            match self.call(self.shard_of_job(id), "read", &args.0).await? {
                Value::Nil => None,
                value => Some(ReadReply::from_redis_value(value)?),
            },
        )
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
}

pub(super) fn parse_payload(id: JobId, text: &[u8]) -> Result<JobPayload, QueueError> {
    serde_json::from_slice(text)
        .map_err(|error| QueueError::Corrupt(format!("payload of {id}: {error}")))
}

fn parse_whole(id: JobId, reply: ReadReply) -> Result<JobRecord, QueueError> {
    let record = Record::parse(&reply.0)?;
    let payload = parse_payload(id, &record.clone().into_payload());
    parse_record(id, &record, reply, payload?)
}

fn parse_record(
    id: JobId,
    record: &Record,
    reply: ReadReply,
    payload: JobPayload,
) -> Result<JobRecord, QueueError> {
    let (_, attempts, result, position, wait_ms, ttl_ms, progress, leader, _, paused) = reply;
    // Who waits for another's render is where that is.
    let leader = (!leader.is_empty())
        .then(|| Record::parse(&leader))
        .transpose()?;
    let mut attempts = attempts
        .iter()
        .map(|text| record::parse_attempt(text))
        .collect::<Result<Vec<_>, QueueError>>()?;
    attempts.extend(record.last_attempt()?);
    let expires_at = (ttl_ms > 0)
        .then(|| {
            let end = Timestamp::now().checked_add(jiff::SignedDuration::from_millis(ttl_ms));
            // To the second: it is worked out on each read.
            end.and_then(|end| end.round(jiff::Unit::Second)).ok()
        })
        .flatten();
    let result = parse_result(id, result.as_deref())?;
    let shown = shown(id, record, leader.as_ref(), payload)?;
    let waits = shown.status == Status::Queued;
    Ok(JobRecord {
        expires_at,
        position: (waits && position > 0).then_some(position),
        paused: paused.parse().ok(),
        expected_wait: u64::try_from(wait_ms)
            .ok()
            .filter(|_| waits)
            .map(Duration::from_millis),
        progress: parse_progress(progress.as_deref()),
        attempts,
        result,
        ..shown
    })
}

pub(super) fn parse_result(
    id: JobId,
    text: Option<&[u8]>,
) -> Result<Option<JobResult>, QueueError> {
    text.map(|text| {
        serde_json::from_slice(text)
            .map_err(|error| QueueError::Corrupt(format!("result of {id}: {error}")))
    })
    .transpose()
}

pub(super) fn parse_progress(text: Option<&[u8]>) -> Progress {
    text.and_then(|text| serde_json::from_slice(text).ok())
        .unwrap_or_default()
}

/// What a job's record says of it by itself, as its owner sees it. `leader` is the record of the job for whose
/// render it waits.
pub(super) fn shown(
    id: JobId,
    record: &Record,
    leader: Option<&Record>,
    payload: JobPayload,
) -> Result<JobRecord, QueueError> {
    let of = leader.unwrap_or(record);
    // A render that others began was on its way before this job was: for its owner it began with the job.
    let started = if of.claimed == 0 {
        0
    } else {
        of.claimed.max(record.created)
    };
    Ok(JobRecord {
        id,
        tenant: record.tenant.clone(),
        status: leader.map_or(record.shown_status(), |of| of.status),
        lane: record.lane,
        revision: record.revision + leader.map_or(0, |of| of.revision),
        created_at: timestamp(record.created)?,
        started_at: record::time(started)?,
        finished_at: record::time(record.shown_end())?,
        expires_at: None,
        cancel_requested_at: record::time(record.cancel)?,
        not_before: record::time(of.not_before)?,
        position: None,
        paused: None,
        expected_wait: None,
        progress: Progress::default(),
        attempts: Vec::new(),
        rendered_by: record.rendered_by(),
        cached: record.is_cached(),
        payload,
        result: None,
    })
}
