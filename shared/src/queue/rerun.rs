//! Running a job again, whatever became of it.

use super::{Enqueued, NewJob, Queue, QueueError};
use crate::ids::JobId;
use crate::job::{JobPayload, Status};

/// What became of a [`Queue::rerun`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rerun {
    /// The queue was asked to run it again as this job, and said so.
    Asked(JobId, Enqueued),
    /// It has not ended yet, so nothing was done.
    NotEnded(Status),
    /// There is no such job, or no more.
    NotFound,
}

impl Queue {
    /// Runs a job that has ended again: a new job of its tenant with the same payload, whose `parent` it
    /// is. The new one counts against the tenant's quotas and is rendered anew. Each call makes another.
    ///
    /// A payload never changes, nor does a terminal status: nothing can come between reading and enqueuing.
    ///
    /// # Errors
    /// [`QueueError::Unavailable`]: it may have been accepted.
    pub async fn rerun(&self, id: JobId) -> Result<Rerun, QueueError> {
        let Some(record) = self.read(id).await? else {
            return Ok(Rerun::NotFound);
        };
        if !record.status.is_terminal() {
            return Ok(Rerun::NotEnded(record.status));
        }
        let payload = JobPayload {
            parent: Some(id),
            traceparent: None,
            ..record.payload
        };
        let job = NewJob::new(&record.tenant, payload);
        let replies = self
            .enqueue(&record.tenant, std::slice::from_ref(&job))
            .await?;
        let reply = replies.into_iter().next();
        Ok(reply.map_or(Rerun::NotFound, |reply| Rerun::Asked(job.id, reply)))
    }
}
