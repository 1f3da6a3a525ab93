//! Erasing a job that has ended: see `lua/erase.lua`.

use redis::{FromRedisValue as _, Value};

use super::call::Args;
use super::error::unexpected;
use super::read::parse_result;
use super::{Queue, QueueError};
use crate::ids::{JobId, TenantId};
use crate::job::{JobResult, Status};

/// What became of a [`Queue::erase`].
#[derive(Debug, Clone, PartialEq)]
#[allow(clippy::large_enum_variant, reason = "one is made for each call")]
pub enum Erased {
    /// The tenant has no such job.
    NotFound,
    /// It has not ended, so nothing was done.
    NotEnded(Status),
    /// It was canceled, but its render goes on for so many other jobs, so nothing was done.
    RendersForOthers(u64),
    /// It is gone, or would be.
    Gone(Box<Leaves>),
}

/// What an erased job leaves to be done.
#[derive(Debug, Clone, PartialEq)]
pub struct Leaves {
    /// What came of it.
    pub result: Option<JobResult>,
    /// The job that rendered the files of the result.
    pub rendered_by: JobId,
    /// Other jobs that show the same files. If there are none, the files may go.
    pub shown_by_others: u64,
    /// Events that it had.
    pub events: u64,
}

impl Queue {
    /// Erases a job that has ended: its record, result, events, idempotency key and dead letter. The files stay
    /// for the caller to remove: [`Leaves`] says whether they may go. With `dry_run` nothing is erased.
    ///
    /// # Errors
    /// [`QueueError::Unavailable`]; safe to repeat, but a second call finds nothing any more.
    pub async fn erase(
        &self,
        tenant: &TenantId,
        id: JobId,
        dry_run: bool,
    ) -> Result<Erased, QueueError> {
        let args = Args::new()
            .text(&id.short())
            .text(tenant.as_str())
            .text(if dry_run { "0" } else { "1" });
        let reply = self.call(self.shard_of_job(id), "erase", &args.0).await?;
        let mut parts = Vec::<Value>::from_redis_value(reply)?.into_iter();
        let mut next = || parts.next().unwrap_or(Value::Nil);
        let word = String::from_redis_value(next())?;
        Ok(match word.as_str() {
            "none" => Erased::NotFound,
            "active" => {
                let status = String::from_redis_value(next())?;
                Erased::NotEnded(status.parse().map_err(|_| unexpected("erase", &status))?)
            }
            "ghost" => Erased::RendersForOthers(u64::from_redis_value(next())?),
            "erased" => {
                let result = Vec::<u8>::from_redis_value(next())?;
                let result = Some(result.as_slice()).filter(|text| !text.is_empty());
                Erased::Gone(Box::new(Leaves {
                    result: parse_result(id, result)?,
                    rendered_by: JobId::from_short(&String::from_redis_value(next())?)?,
                    shown_by_others: u64::from_redis_value(next())?,
                    events: u64::from_redis_value(next())?,
                }))
            }
            other => return Err(unexpected("erase", other)),
        })
    }

    /// Whether files that a job rendered still belong to a job: to itself, or to one that shares its render.
    /// Those of which this is false are orphans.
    ///
    /// # Errors
    /// [`QueueError::Unavailable`].
    pub async fn shows_files_of(&self, id: JobId) -> Result<bool, QueueError> {
        let args = Args::new().text(&id.short());
        let reply = self.call(self.shard_of_job(id), "shown", &args.0).await?;
        Ok(u64::from_redis_value(reply)? == 1)
    }
}
