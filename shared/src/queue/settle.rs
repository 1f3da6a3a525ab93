//! The end of an attempt: see `lua/finish.lua`, `lua/fail.lua` and `lua/release.lua`.

use redis::FromRedisValue as _;

use super::call::Args;
use super::error::unexpected;
use super::{BATCH_MAX, Queue, QueueError, record};
use crate::ids::{Epoch, JobId};
use crate::job::{FailureClass, JobError, JobResult, Status};

/// Answer to a call that ends an attempt.
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

impl Queue {
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
}

fn finished(reply: &str) -> Result<Settled, QueueError> {
    match reply {
        "ok" => Ok(Settled::Accepted),
        "canceled" => Ok(Settled::Canceled),
        "lost" => Ok(Settled::Lost),
        other => Err(unexpected("finish", other)),
    }
}

/// A result that says only why a job failed.
#[must_use]
pub fn failed(error: JobError) -> JobResult {
    JobResult {
        error: Some(error),
        ..JobResult::default()
    }
}
