//! Cancels: see `lua/cancel.lua`.

use redis::FromRedisValue as _;

use super::call::Args;
use super::error::unexpected;
use super::{Queue, QueueError};
use crate::ids::{JobId, TenantId};

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

impl Queue {
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
}
