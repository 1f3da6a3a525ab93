//! News of all jobs of a tenant, for who follows them: see `lua/feed.lua`.

use std::time::Duration;

use redis::FromRedisValue as _;
use redis::streams::StreamRangeReply;

use super::call::Args;
use super::{Queue, QueueError};
use crate::ids::{JobId, TenantId};
use crate::job::Status;

/// What happened to a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told {
    /// Its status is another now.
    Status(Status),
    /// It came further.
    Progress,
    /// Somebody asked to cancel it while it runs.
    CancelRequested,
}

/// One entry of a feed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct News {
    /// Its place in the feed, `<ms>-<n>`; also the SSE id.
    pub id: String,
    /// Which job.
    pub job: JobId,
    /// What.
    pub told: Told,
}

/// A page of a feed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Feed {
    /// The entries, oldest first.
    pub news: Vec<News>,
    /// Where the next page begins.
    pub last: String,
}

impl Queue {
    /// Keeps the news of a tenant's jobs from now on, for `lasting` (again and again while somebody
    /// listens). Returns the place in the feed behind which what comes next will be.
    ///
    /// # Errors
    /// [`QueueError::Unavailable`]; safe to repeat.
    pub async fn listen(&self, tenant: &TenantId, lasting: Duration) -> Result<String, QueueError> {
        let args = Args::new().text(tenant.as_str()).show(lasting.as_millis());
        let reply = self.call(self.shard_of(tenant), "listen", &args.0).await?;
        Ok(String::from_redis_value(reply)?)
    }

    /// What is in the feed behind `after`, at most `limit` entries. `None` if something may be
    /// missing in between: `after` is no entry of the feed any more.
    ///
    /// # Errors
    /// [`QueueError::Unavailable`].
    pub async fn feed(
        &self,
        tenant: &TenantId,
        after: &str,
        limit: usize,
    ) -> Result<Option<Feed>, QueueError> {
        let mut command = redis::cmd("XRANGE");
        command
            .arg(self.keys_of_tenant(tenant).feed(tenant))
            .arg(after)
            .arg("+")
            .arg("COUNT")
            .arg(limit + 1);
        let reply: StreamRangeReply = self.query(&command).await?;
        let mut entries = reply.ids.into_iter();
        if entries.next().is_none_or(|first| first.id != after) {
            return Ok(None);
        }
        let mut last = after.to_owned();
        let mut news = Vec::new();
        for entry in entries {
            last.clone_from(&entry.id);
            let (job, what) = (entry.get::<String>("j"), entry.get::<String>("s"));
            // The mark of the beginning, and what a newer version tells, are passed over.
            let job = job.and_then(|short| JobId::from_short(&short).ok());
            if let (Some(job), Some(told)) = (job, what.as_deref().and_then(told)) {
                news.push(News {
                    id: entry.id,
                    job,
                    told,
                });
            }
        }
        Ok(Some(Feed { news, last }))
    }
}

fn told(text: &str) -> Option<Told> {
    match text {
        "progress" => Some(Told::Progress),
        "cancel_requested" => Some(Told::CancelRequested),
        status => Status::ALL
            .iter()
            .find(|known| known.as_str() == status)
            .copied()
            .map(Told::Status),
    }
}
