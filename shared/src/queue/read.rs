//! Reading one job: see `lua/read.lua`.

use std::time::Duration;

use jiff::Timestamp;
use redis::{FromRedisValue, Value};

use super::call::Args;
use super::record::{self, Record, timestamp};
use super::{Queue, QueueError};
use crate::ids::{Epoch, JobId, LeaseToken};
use crate::job::{JobPayload, JobRecord, Progress, Status};

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
);

impl Queue {
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
}

pub(super) fn parse_payload(id: JobId, text: &[u8]) -> Result<JobPayload, QueueError> {
    serde_json::from_slice(text)
        .map_err(|error| QueueError::Corrupt(format!("payload of {id}: {error}")))
}

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
