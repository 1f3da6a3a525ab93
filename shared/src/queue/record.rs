//! A job's record: one string, whose head is overwritten in place by the functions in `lua/`.
//!
//! | bytes | Lua | what |
//! | --- | --- | --- |
//! | 1 | | length of the head; a newer version may append to it, an older one leaves that as it is |
//! | 1 | `ST` | status: 0 queued, 1 running, 2 succeeded, 3 failed, 4 canceled, 5 expired; 255 sent ahead of its `enqueue` |
//! | 1 | `LN` | lane asked for, 0 to 2 |
//! | 1 | `SL` | lane whose stream holds it: 1 returned, 2 to 4 the lanes |
//! | 2 | `FL` | flags, see `prelude.lua` |
//! | 6 | `SQ` | number of its stream entry; 0: in no stream |
//! | 6, 6, 6 | `CA` `NB` `DL` | when created; not before; deadline |
//! | 4 | `EP` | epoch of the last claim |
//! | 2 | `AT` | attempts that count |
//! | 4 | `RV` | revision |
//! | 6 | `SA` | when claimed |
//! | 4 | `CH` | slot-milliseconds charged |
//! | 1, 1 | `AO` `AC` | how the last attempt ended, and its failure class; 0: not |
//! | 16 | `WK` | worker; of a job that waits for another's render, that job |
//! | 16 | `LT` | lease token |
//! | 8 | `RD` | renderer that the worker announced |
//! | 1, 1 | `FA` `CR` | failures of our own; lost leases |
//! | 6, 6 | `FI` `CX` | when ended; when a cancel was asked for |
//! | 4, 1 | `FO` `FR` | epoch that was settled last, and what its caller was told |
//! | 4 | `ED` | events dropped from the front |
//! | 4 | `GH` | events that were there when its owner cancelled a job that others wait for |
//! | 1, 4, 4, 1 | `QU` `TO` `SO` `KI` | what quotas may forbid: quality, time limit s, source bytes, 1 if code |
//! | 4 | `PL` | bytes of payload |
//! | 1, 1, 1 | `TL` `IL` `KL` | lengths of tenant, idempotency key, render key |
//!
//! Behind the head: tenant, idempotency key, render key, payload. Little-endian, times in
//! milliseconds since the epoch by the server's clock, 0 for none.

use jiff::Timestamp;

use super::QueueError;
use super::quota::quality_rank;
use crate::ids::{Epoch, JobId, LeaseToken, TenantId, WorkerId};
use crate::job::{Attempt, AttemptOutcome, FailureClass, JobInput, JobPayload, Lane, Status};

const FOLLOWS: u16 = 32;
const CACHED: u16 = 128;
const GHOST: u16 = 256;

/// Bytes of head that this version knows.
pub(super) const HEAD_BYTES: usize = 136;
/// Bytes of head that a claim writes.
const CLAIM_BYTES: usize = 92;
/// Status of a record whose `enqueue` has not come yet.
const SENT_AHEAD: u8 = 255;

/// What a record says.
#[derive(Debug, Clone)]
pub(super) struct Record {
    pub status: Status,
    pub lane: Lane,
    flags: u16,
    pub epoch: Epoch,
    pub attempts: u32,
    pub created: i64,
    pub claimed: i64,
    pub ended: i64,
    pub not_before: i64,
    pub cancel: i64,
    outcome: u8,
    class: u8,
    pub revision: u64,
    pub tenant: TenantId,
    worker: [u8; 16],
    token: [u8; 16],
    pub source_bytes: u32,
    /// Length of the whole payload.
    payload_bytes: usize,
    /// What was read of it.
    payload: Vec<u8>,
}

/// Takes fields from the front of a text.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn bytes<const N: usize>(&mut self) -> [u8; N] {
        let (field, rest) = self.0.split_first_chunk().expect("the length was checked");
        self.0 = rest;
        *field
    }
    fn u8(&mut self) -> u8 {
        u8::from_le_bytes(self.bytes())
    }
    fn u16(&mut self) -> u16 {
        u16::from_le_bytes(self.bytes())
    }
    fn u32(&mut self) -> u32 {
        u32::from_le_bytes(self.bytes())
    }
    /// Six bytes: a time, or a number of an entry.
    fn i48(&mut self) -> i64 {
        let six: [u8; 6] = self.bytes();
        let mut eight = [0; 8];
        eight[..6].copy_from_slice(&six);
        i64::from_le_bytes(eight)
    }
}

impl Record {
    /// The text of a new record, as a producer sends it ahead: the functions fill in the rest.
    ///
    /// # Errors
    /// [`QueueError::Corrupt`] if the payload cannot be written or has 4 GiB.
    pub fn write(
        tenant: &TenantId,
        idempotency_key: &str,
        render_key: &str,
        payload: &JobPayload,
    ) -> Result<Vec<u8>, QueueError> {
        let json =
            serde_json::to_vec(payload).map_err(|error| QueueError::Corrupt(error.to_string()))?;
        let request = &payload.request;
        let (code, source_bytes) = match &request.input {
            JobInput::Code { source, .. } => (1, source.len()),
            // Our code, their data: a tenant that may not send code may send this.
            JobInput::Template { .. } | JobInput::Prompt { .. } => (0, 0),
        };
        let too_long = |_| QueueError::Corrupt("a job of more than 4 GiB".to_owned());
        let length = |text: &str| u8::try_from(text.len()).expect("checked before");
        let mut text = Vec::with_capacity(HEAD_BYTES + 150 + json.len());
        text.resize(HEAD_BYTES, 0);
        text[0] = HEAD_BYTES as u8;
        text[1] = SENT_AHEAD;
        text[2] = request.lane.digit();
        // The first revision.
        text[36..40].copy_from_slice(&1u32.to_le_bytes());
        let mut end = Vec::with_capacity(17);
        end.push(quality_rank(request.output.counted_quality()) as u8);
        end.extend(request.timeout_s.to_le_bytes());
        end.extend(u32::try_from(source_bytes).map_err(too_long)?.to_le_bytes());
        end.push(code);
        end.extend(u32::try_from(json.len()).map_err(too_long)?.to_le_bytes());
        end.extend([
            length(tenant.as_str()),
            length(idempotency_key),
            length(render_key),
        ]);
        let at = HEAD_BYTES - end.len();
        text[at..].copy_from_slice(&end);
        text.extend(tenant.as_str().as_bytes());
        text.extend(idempotency_key.as_bytes());
        text.extend(render_key.as_bytes());
        text.extend(json);
        Ok(text)
    }

    /// Reads a record as a claim left it: its front as `claim` gave it, the rest as it is now.
    ///
    /// # Errors
    /// [`QueueError::Corrupt`] if it is none.
    pub fn parse_claimed(front: &[u8], record: &[u8]) -> Result<Self, QueueError> {
        if front.len() != CLAIM_BYTES || record.len() < CLAIM_BYTES {
            return Err(QueueError::Corrupt("job record: too short".to_owned()));
        }
        Self::parse(&[front, &record[CLAIM_BYTES..]].concat())
    }

    /// Reads a record, or the front of it with the strings behind its head.
    ///
    /// # Errors
    /// [`QueueError::Corrupt`] if it is none.
    pub fn parse(record: &[u8]) -> Result<Self, QueueError> {
        let corrupt = |what: &str| QueueError::Corrupt(format!("job record: {what}"));
        let length = usize::from(*record.first().ok_or_else(|| corrupt("empty"))?);
        if length < HEAD_BYTES || record.len() < length {
            return Err(corrupt("too short"));
        }
        let mut fields = Fields(record);
        let _length = fields.u8();
        let status = fields.u8();
        let lane = fields.u8();
        let _stream_lane = fields.u8();
        let flags = fields.u16();
        let _number = fields.i48();
        let created = fields.i48();
        let not_before = fields.i48();
        let _deadline = fields.i48();
        let epoch = Epoch(u64::from(fields.u32()));
        let attempts = u32::from(fields.u16());
        let revision = fields.u32();
        let claimed = fields.i48();
        let _charged = fields.u32();
        let (outcome, class) = (fields.u8(), fields.u8());
        let (worker, token, _renderer): ([u8; 16], [u8; 16], [u8; 8]) =
            (fields.bytes(), fields.bytes(), fields.bytes());
        let (_failures, _lost) = (fields.u8(), fields.u8());
        let (ended, cancel) = (fields.i48(), fields.i48());
        let (_settled, _told) = (fields.u32(), fields.u8());
        let (_dropped, _ghost_events) = (fields.u32(), fields.u32());
        let (_quality, _timeout, source_bytes, _kind) =
            (fields.u8(), fields.u32(), fields.u32(), fields.u8());
        let payload_bytes = fields.u32() as usize;
        let lengths = [fields.u8(), fields.u8(), fields.u8()].map(usize::from);
        let behind = &record[length..];
        let tenant = behind
            .get(..lengths[0])
            .and_then(|text| std::str::from_utf8(text).ok())
            .ok_or_else(|| corrupt("no tenant"))?;
        let tenant = TenantId::stored(tenant)?;
        let start: usize = lengths.iter().sum();
        let end = (start + payload_bytes).min(behind.len());
        let payload = behind.get(start..end).unwrap_or_default();
        Ok(Self {
            status: *Status::ALL
                .get(usize::from(status))
                .ok_or_else(|| corrupt("unknown status"))?,
            lane: Lane::from_digit(lane).ok_or_else(|| corrupt("unknown lane"))?,
            flags,
            epoch,
            attempts,
            created,
            claimed,
            ended,
            not_before,
            cancel,
            outcome,
            class,
            revision: u64::from(revision),
            tenant,
            worker,
            token,
            source_bytes,
            payload_bytes,
            payload: payload.to_vec(),
        })
    }

    fn has(&self, flag: u16) -> bool {
        self.flags & flag != 0
    }

    /// Whether this is the text of a record whose `enqueue` has not come.
    pub fn is_sent_ahead(text: &[u8]) -> bool {
        text.get(1) == Some(&SENT_AHEAD)
    }

    /// The payload, perhaps without its source; `None` if too little of it was read to tell.
    pub fn payload_front(&self) -> Option<JobPayload> {
        if self.payload.len() == self.payload_bytes {
            return serde_json::from_slice(&self.payload).ok();
        }
        JobPayload::parse_front(&self.payload)
    }

    /// The payload behind the head.
    pub fn into_payload(self) -> Vec<u8> {
        self.payload
    }

    /// The job whose render this one waits for, has waited for, or was answered with.
    pub fn rendered_by(&self) -> Option<JobId> {
        self.has(FOLLOWS).then(|| JobId::from_bytes(self.worker))
    }

    /// Whether an earlier result answered it.
    pub fn is_cached(&self) -> bool {
        self.has(CACHED)
    }

    /// Its status for its owner: a ghost is canceled.
    pub fn shown_status(&self) -> Status {
        if self.has(GHOST) {
            Status::Canceled
        } else {
            self.status
        }
    }

    /// When it ended for its owner.
    pub fn shown_end(&self) -> i64 {
        if self.has(GHOST) {
            self.cancel
        } else {
            self.ended
        }
    }

    /// The worker of the last attempt.
    pub fn worker(&self) -> WorkerId {
        WorkerId::from_bytes(self.worker)
    }

    /// The token of the attempt that runs.
    pub fn token(&self) -> LeaseToken {
        LeaseToken::from_bytes(self.token)
    }

    /// The attempt that runs, or the one whose end was the job's.
    ///
    /// # Errors
    /// [`QueueError::Corrupt`] if a code is unknown.
    pub fn last_attempt(&self) -> Result<Option<Attempt>, QueueError> {
        let outcome = outcome(self.outcome)?;
        if self.has(FOLLOWS) || (self.status != Status::Running && outcome.is_none()) {
            return Ok(None);
        }
        Ok(Some(Attempt {
            n: self.attempts,
            epoch: self.epoch,
            worker: self.worker(),
            started_at: timestamp(self.claimed)?,
            ended_at: time(self.ended)?,
            outcome,
            class: class(self.class)?,
        }))
    }
}

/// A time, from milliseconds since the epoch.
///
/// # Errors
/// [`QueueError::Corrupt`] if it is none.
pub(super) fn timestamp(ms: i64) -> Result<Timestamp, QueueError> {
    Timestamp::from_millisecond(ms).map_err(|error| QueueError::Corrupt(error.to_string()))
}

/// A time, if there is one.
///
/// # Errors
/// [`QueueError::Corrupt`] if it is none.
pub(super) fn time(ms: i64) -> Result<Option<Timestamp>, QueueError> {
    (ms != 0).then(|| timestamp(ms)).transpose()
}

fn outcome(code: u8) -> Result<Option<AttemptOutcome>, QueueError> {
    decoded(AttemptOutcome::ALL, code, "outcome")
}

fn class(code: u8) -> Result<Option<FailureClass>, QueueError> {
    decoded(FailureClass::ALL, code, "failure class")
}

fn decoded<T: Copy>(all: &[T], code: u8, what: &str) -> Result<Option<T>, QueueError> {
    match usize::from(code).checked_sub(1) {
        None => Ok(None),
        Some(index) => all.get(index).copied().map(Some).ok_or_else(|| {
            QueueError::Corrupt(format!("a newer version wrote an unknown {what}, {code}"))
        }),
    }
}

/// The code of a failure class.
pub(super) fn class_code(class: FailureClass) -> usize {
    let at = FailureClass::ALL.iter().position(|other| *other == class);
    at.map_or(0, |index| index + 1)
}

/// An earlier attempt as `requeue` in `prelude.lua` writes it:
/// `<n> <epoch> <worker> <claimed ms> <ended ms> <outcome> <class>`.
///
/// # Errors
/// [`QueueError::Corrupt`] if it is none.
pub(super) fn parse_attempt(text: &str) -> Result<Attempt, QueueError> {
    let corrupt = || QueueError::Corrupt(format!("not an attempt: {text:?}"));
    let parts: Vec<&str> = text.split(' ').collect();
    let [n, epoch, worker, claimed, ended, how, why] = parts[..] else {
        return Err(corrupt());
    };
    let code = |text: &str| text.parse().map_err(|_| corrupt());
    let ms = |text: &str| text.parse().map_err(|_| corrupt()).and_then(timestamp);
    Ok(Attempt {
        n: n.parse().map_err(|_| corrupt())?,
        epoch: Epoch(epoch.parse().map_err(|_| corrupt())?),
        worker: worker.parse()?,
        started_at: ms(claimed)?,
        ended_at: Some(ms(ended)?),
        outcome: outcome(code(how)?)?,
        class: class(code(why)?)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_codes_that_lie_in_redis_never_change() {
        let status: Vec<_> = Status::ALL.iter().map(|s| s.as_str()).collect();
        assert_eq!(
            status,
            [
                "queued",
                "running",
                "succeeded",
                "failed",
                "canceled",
                "expired"
            ]
        );
        let outcomes: Vec<_> = AttemptOutcome::ALL.iter().map(|o| o.as_str()).collect();
        assert_eq!(
            outcomes,
            ["succeeded", "failed", "canceled", "lost_lease", "released"]
        );
        assert_eq!(class_code(FailureClass::SceneError), 1);
        assert_eq!(class_code(FailureClass::LostWorker), 9);
        assert_eq!(class_code(FailureClass::Internal), 12);
    }

    #[test]
    fn a_record_that_is_sent_ahead_says_what_was_asked_for() {
        let payload: JobPayload = serde_json::from_value(serde_json::json!({
            "input": {"kind": "code", "source": "abc"}, "timeout_s": 7, "lane": "batch",
        }))
        .unwrap();
        let tenant = TenantId::default();
        let mut text = Record::write(&tenant, "key", "render", &payload).unwrap();
        assert!(Record::parse(&text).is_err(), "not before its enqueue");
        text[1] = 0;
        let record = Record::parse(&text).unwrap();
        assert_eq!((record.tenant.clone(), record.lane), (tenant, Lane::Batch));
        assert_eq!((record.revision, record.status), (1, Status::Queued));
        assert_eq!(
            serde_json::from_slice::<JobPayload>(&record.into_payload()).unwrap(),
            payload
        );
    }

    #[test]
    fn what_is_no_record_is_an_error_and_no_panic() {
        for text in [&b""[..], b"\x88", &[136; 135], &[255; 200], &[136; 136]] {
            assert!(Record::parse(text).is_err(), "{text:?}");
        }
    }
}
