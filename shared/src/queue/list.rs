//! A tenant's jobs, newest first.
//!
//! `enqueue.lua` appends each job that it accepts to a list of its tenant and day. The lists are never changed but
//! at their ends, so a place in them is a cursor: what is accepted later lies before it, and what is erased or
//! forgotten is just not found any more. So nothing comes twice, and nothing that is there all the time is missed.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use redis::FromRedisValue as _;

use super::read::{parse_payload, parse_progress, parse_result, shown};
use super::record::Record;
use super::{Queue, QueueError, Retention};
use crate::ids::{JobId, TenantId};
use crate::job::{JobRecord, Status};

/// Most jobs that one page looks at, whatever the filter leaves of them.
pub const LOOKED_MAX: usize = 512;
/// Jobs that are read in one exchange.
const CHUNK: u64 = 256;
/// Lists that are looked for: those of so many days. They live 9 days longer than jobs are kept (23 days with the
/// usual retention).
const DAYS: u32 = 40;
const DAY_S: i64 = 86_400;
const _: () = assert!(Retention::MAX.as_secs() / DAY_S as u64 + 9 < DAYS as u64);
/// What is read of each record: mostly all but the source.
const FRONT_LAST: usize = 1023;
/// How far the clocks of Redis' servers may differ after a failover.
const CLOCK_SLACK_S: i64 = 600;

/// Where a page begins: the place in a day's list before which all is older. Its text form is opaque.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ListCursor {
    day: u32,
    before: u32,
}

/// A text that is no cursor.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a cursor that a list of jobs has given; leave it out to begin with the newest job")]
pub struct NotACursor;

impl ListCursor {
    /// The first byte of the text form.
    const FORM: u8 = 1;
}

impl fmt::Display for ListCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = [Self::FORM; 9];
        bytes[1..5].copy_from_slice(&self.day.to_be_bytes());
        bytes[5..].copy_from_slice(&self.before.to_be_bytes());
        f.write_str(&URL_SAFE_NO_PAD.encode(bytes))
    }
}

impl FromStr for ListCursor {
    type Err = NotACursor;
    fn from_str(text: &str) -> Result<Self, NotACursor> {
        let bytes: [u8; 9] = URL_SAFE_NO_PAD
            .decode(text)
            .ok()
            .and_then(|bytes| bytes.try_into().ok())
            .filter(|bytes: &[u8; 9]| bytes[0] == Self::FORM)
            .ok_or(NotACursor)?;
        let number = |at: usize| u32::from_be_bytes(bytes[at..at + 4].try_into().expect("four"));
        Ok(Self {
            day: number(1),
            before: number(5),
        })
    }
}

/// A job of a list. Of its record what takes a call of its own is missing: earlier attempts, when it expires, its
/// place in the queue and its source.
#[derive(Debug, Clone)]
pub struct ListedJob {
    /// The job.
    pub record: JobRecord,
    /// Size of its source.
    pub source_bytes: u64,
}

/// A page of a list.
#[derive(Debug, Clone)]
pub struct ListPage {
    /// The jobs, newest first; perhaps fewer than asked for.
    pub jobs: Vec<ListedJob>,
    /// Where the next page begins; `None` at the end.
    pub next: Option<ListCursor>,
}

/// What is asked of a list.
#[derive(Debug, Clone, Copy)]
pub struct ListQuery {
    /// Where to begin; `None`: with the newest.
    pub from: Option<ListCursor>,
    /// Most jobs of the page.
    pub limit: usize,
    /// Nothing that was accepted earlier.
    pub not_before: Option<Timestamp>,
    /// Nothing that was accepted later.
    pub not_after: Option<Timestamp>,
}

fn day_of(time: Timestamp) -> u32 {
    u32::try_from(time.as_second().div_euclid(DAY_S)).unwrap_or(0)
}

impl Queue {
    /// A page of a tenant's jobs that `fits` lets pass, newest first. It looks at [`LOOKED_MAX`] jobs at most, so
    /// a page with few or no jobs need not be the last. `fits` sees neither results nor what a [`ListedJob`] lacks.
    ///
    /// # Errors
    /// [`QueueError::Unavailable`].
    pub async fn list(
        &self,
        tenant: &TenantId,
        query: ListQuery,
        fits: impl Fn(&JobRecord) -> bool,
    ) -> Result<ListPage, QueueError> {
        // A day ahead: the server's clock counts, not this one.
        let newest = day_of(query.not_after.unwrap_or_else(Timestamp::now)) + 1;
        let newest = query.from.map_or(newest, |from| from.day.min(newest));
        let oldest = newest.saturating_sub(DAYS);
        let oldest = oldest.max(
            query
                .not_before
                .map_or(0, |time| day_of(time).saturating_sub(1)),
        );
        if newest < oldest {
            return Ok(ListPage {
                jobs: Vec::new(),
                next: None,
            });
        }
        let mut days = self.lengths(tenant, newest, oldest).await?;
        if let Some(from) = query.from {
            for (day, length) in &mut days {
                if *day == from.day {
                    *length = from.before.min(*length);
                }
            }
        }
        let (mut jobs, mut looked, mut next) = (Vec::new(), 0, None);
        // Grows while the filter lets little pass.
        let mut chunk_max = query.limit as u64 + query.limit as u64 / 4 + 8;
        'days: for (day, length) in days {
            let mut before = u64::from(length);
            while before > 0 {
                let at = |before: u64| ListCursor {
                    day,
                    before: u32::try_from(before).unwrap_or(u32::MAX),
                };
                if jobs.len() >= query.limit || looked >= LOOKED_MAX {
                    next = Some(at(before));
                    break 'days;
                }
                let left = (LOOKED_MAX - looked) as u64;
                let chunk = chunk_max.min(CHUNK).min(before).min(left);
                chunk_max = chunk_max.saturating_mul(2);
                let ids = self.ids(tenant, day, before - chunk, before - 1).await?;
                let read = self.read_many(tenant, &ids).await?;
                // The list may have expired meanwhile.
                if read.is_empty() {
                    break;
                }
                looked += read.len();
                for job in read.into_iter().rev() {
                    if jobs.len() >= query.limit {
                        break;
                    }
                    before -= 1;
                    let Some(job) = job else { continue };
                    let created = job.record.created_at;
                    if query.not_before.is_some_and(|time| created < time) {
                        let time = query.not_before.unwrap_or(created);
                        if time.as_second() - created.as_second() > CLOCK_SLACK_S {
                            next = None;
                            break 'days;
                        }
                        continue;
                    }
                    if query.not_after.is_none_or(|time| created <= time) && fits(&job.record) {
                        jobs.push(job);
                    }
                }
            }
        }
        self.add_results(jobs.iter_mut()).await?;
        Ok(ListPage { jobs, next })
    }

    /// Some jobs of a tenant as its list shows them, with results; `None` for those that are gone.
    ///
    /// # Errors
    /// [`QueueError::Unavailable`].
    pub async fn glance(
        &self,
        tenant: &TenantId,
        ids: &[JobId],
    ) -> Result<Vec<Option<ListedJob>>, QueueError> {
        let mut jobs = self.read_many(tenant, ids).await?;
        self.add_results(jobs.iter_mut().flatten()).await?;
        Ok(jobs)
    }

    /// Takes away all lists of a tenant, for when the tenant itself goes. Its jobs stay.
    ///
    /// # Errors
    /// [`QueueError::Unavailable`]; safe to repeat.
    pub async fn forget_lists(&self, tenant: &TenantId) -> Result<(), QueueError> {
        let keys = self.keys_of_tenant(tenant);
        let newest = day_of(Timestamp::now()) + 1;
        let mut calls = redis::pipe();
        for day in newest.saturating_sub(DAYS)..=newest {
            calls.cmd("DEL").arg(keys.jobs_of_day(tenant, day));
        }
        self.shared.pipeline(&calls).await?;
        Ok(())
    }

    /// The days of which there is a list, newest first, with its length.
    async fn lengths(
        &self,
        tenant: &TenantId,
        newest: u32,
        oldest: u32,
    ) -> Result<Vec<(u32, u32)>, QueueError> {
        let keys = self.keys_of_tenant(tenant);
        let mut calls = redis::pipe();
        for day in (oldest..=newest).rev() {
            calls.cmd("LLEN").arg(keys.jobs_of_day(tenant, day));
        }
        let replies = self.shared.pipeline(&calls).await?;
        let mut days = Vec::new();
        for (day, reply) in (oldest..=newest).rev().zip(replies) {
            let length = u32::from_redis_value(reply)?;
            if length > 0 {
                days.push((day, length));
            }
        }
        Ok(days)
    }

    async fn ids(
        &self,
        tenant: &TenantId,
        day: u32,
        first: u64,
        last: u64,
    ) -> Result<Vec<JobId>, QueueError> {
        let key = self.keys_of_tenant(tenant).jobs_of_day(tenant, day);
        let mut command = redis::cmd("LRANGE");
        command.arg(key).arg(first).arg(last);
        let texts: Vec<String> = self.query(&command).await?;
        let ids = texts.iter().map(|text| JobId::from_short(text));
        Ok(ids.collect::<Result<_, _>>()?)
    }

    /// The jobs of these ids, without results; `None` for those that are gone.
    async fn read_many(
        &self,
        tenant: &TenantId,
        ids: &[JobId],
    ) -> Result<Vec<Option<ListedJob>>, QueueError> {
        let mut found: Vec<Option<Record>> = Vec::with_capacity(ids.len());
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let mut calls = redis::pipe();
        for &id in ids {
            self.add_read(&mut calls, id, FRONT_LAST);
        }
        for text in self.shared.pipeline(&calls).await? {
            found.push(parse(&Vec::from_redis_value(text)?)?.filter(|job| job.tenant == *tenant));
        }
        // What else is needed of some: the rest of a long front, the job that renders for it, its progress.
        let mut calls = redis::pipe();
        let mut asked = Vec::new();
        for (i, record) in found.iter().enumerate() {
            let Some(record) = record else { continue };
            if record.payload_front().is_none() {
                calls.cmd("GET").arg(self.keys_of(ids[i]).job(ids[i]));
                asked.push((i, Ask::Whole));
            }
            let waits_for = record
                .rendered_by()
                .filter(|_| record.status == Status::Queued);
            if let Some(leader) = waits_for {
                self.add_read(&mut calls, leader, super::record::HEAD_BYTES + 159);
                asked.push((i, Ask::Leader));
            }
            let runs = waits_for.unwrap_or(ids[i]);
            if record.status == Status::Running || waits_for.is_some() {
                calls.cmd("GET").arg(self.keys_of(runs).progress(runs));
                asked.push((i, Ask::Progress));
            }
        }
        let replies = if asked.is_empty() {
            Vec::new()
        } else {
            self.shared.pipeline(&calls).await?
        };
        let mut leaders: Vec<Option<Record>> = vec![None; ids.len()];
        let mut progress: Vec<Option<Vec<u8>>> = vec![None; ids.len()];
        for ((i, ask), reply) in asked.into_iter().zip(replies) {
            let text = Option::<Vec<u8>>::from_redis_value(reply)?;
            match ask {
                Ask::Whole => found[i] = parse(text.as_deref().unwrap_or_default())?,
                Ask::Leader => leaders[i] = parse(text.as_deref().unwrap_or_default())?,
                Ask::Progress => progress[i] = text,
            }
        }
        let mut jobs = Vec::with_capacity(ids.len());
        for (i, &id) in ids.iter().enumerate() {
            let Some(record) = &found[i] else {
                jobs.push(None);
                continue;
            };
            let payload = match record.payload_front() {
                Some(payload) => payload,
                None => parse_payload(id, &record.clone().into_payload())?,
            };
            let mut shown = shown(id, record, leaders[i].as_ref(), payload)?;
            shown.progress = parse_progress(progress[i].as_deref());
            jobs.push(Some(ListedJob {
                record: shown,
                source_bytes: record.source_bytes.into(),
            }));
        }
        Ok(jobs)
    }

    fn add_read(&self, calls: &mut redis::Pipeline, id: JobId, last: usize) {
        let key = self.keys_of(id).job(id);
        calls.cmd("GETRANGE").arg(key).arg(0).arg(last);
    }

    async fn add_results<'a>(
        &self,
        jobs: impl Iterator<Item = &'a mut ListedJob>,
    ) -> Result<(), QueueError> {
        let mut ended: Vec<_> = jobs.filter(|job| job.record.status.is_terminal()).collect();
        if ended.is_empty() {
            return Ok(());
        }
        let mut calls = redis::pipe();
        for job in &ended {
            let id = job.record.id;
            calls.cmd("GET").arg(self.keys_of(id).result(id));
        }
        let replies = self.shared.pipeline(&calls).await?;
        for (job, reply) in ended.iter_mut().zip(replies) {
            let text = Option::<Vec<u8>>::from_redis_value(reply)?;
            job.record.result = parse_result(job.record.id, text.as_deref())?;
        }
        Ok(())
    }
}

/// What is read of a job in a second exchange.
enum Ask {
    Whole,
    Leader,
    Progress,
}

/// A record; `None` if there is none, or it is not accepted yet.
fn parse(text: &[u8]) -> Result<Option<Record>, QueueError> {
    if text.is_empty() || Record::is_sent_ahead(text) {
        return Ok(None);
    }
    Record::parse(text).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_parsed_strictly() {
        let cursor = ListCursor {
            day: 20_000,
            before: 77,
        };
        assert_eq!(cursor.to_string().parse(), Ok(cursor));
        for wrong in [
            "",
            "AA",
            "AQAATiAAAABNAA",
            "!",
            "AgAATiAAAABN",
            "AQAATiAAAABN=",
            "AQAATiAAAABN ",
        ] {
            assert_eq!(wrong.parse::<ListCursor>(), Err(NotACursor), "{wrong:?}");
        }
    }
}
