//! What claims and renewals do for nobody in particular: see `lua/reap.lua` and `lua/promote.lua`.

use redis::FromRedisValue as _;

use super::call::Args;
use super::{Queue, QueueError};

impl Queue {
    /// Takes away expired leases, at most `limit`. Part of claim and renew; for probes and tests.
    ///
    /// # Errors
    /// [`QueueError::Unavailable`].
    pub async fn reap(&self, limit: usize) -> Result<u64, QueueError> {
        self.call_all("reap", limit).await
    }

    /// Makes due jobs ready and expires the late, at most `limit` each. Part of claim and renew.
    ///
    /// # Errors
    /// [`QueueError::Unavailable`].
    pub async fn promote(&self, limit: usize) -> Result<u64, QueueError> {
        self.call_all("promote", limit).await
    }

    async fn call_all(&self, transition: &str, limit: usize) -> Result<u64, QueueError> {
        let mut sum = 0;
        for shard in self.shards() {
            let reply = self
                .call(shard, transition, &Args::new().show(limit).0)
                .await?;
            sum += u64::from_redis_value(reply)?;
        }
        Ok(sum)
    }
}
