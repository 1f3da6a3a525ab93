//! A job's events, as they are read: see `lua/read.lua`.

use redis::{FromRedisValue as _, Value};
use serde::{Deserialize, Serialize};

use super::call::Args;
use super::{Queue, QueueError};
use crate::ids::JobId;

/// Kind of a job's event, and of an SSE event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EventKind {
    /// The status changed.
    Status,
    /// A [`Progress`](crate::job::Progress).
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

impl Queue {
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
        let args = Args::new().text(&id.short()).show(seen).show(limit);
        let reply = self.call(self.shard_of_job(id), "events", &args.0).await?;
        let mut reply = Vec::<Value>::from_redis_value(reply)?.into_iter();
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
}
