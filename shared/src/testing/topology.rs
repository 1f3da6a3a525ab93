//! Whatever topology a suite is run on.

use redis::{Cmd, FromRedisValue, Value};

use super::{ClusterSet, RedisServer, SentinelSet};
use crate::queue::{QueueError, RedisConfig, Shared};

/// A Redis of the topology that `MANIMQ_TEST_TOPOLOGY` names.
pub struct Redis(Set);

enum Set {
    Standalone(RedisServer),
    Sentinel(SentinelSet),
    Cluster(ClusterSet),
}

impl Redis {
    /// Starts one that keeps nothing on disk.
    ///
    /// # Panics
    /// If `MANIMQ_TEST_TOPOLOGY` is none of the three words.
    #[must_use]
    pub fn start() -> Self {
        Self::start_with(false)
    }

    /// Starts one with an append-only file, synced on every write, that survives [`Self::restart`].
    ///
    /// # Panics
    /// As [`Self::start`].
    #[must_use]
    pub fn start_durable() -> Self {
        Self::start_with(true)
    }

    fn start_with(append_only: bool) -> Self {
        let word = std::env::var("MANIMQ_TEST_TOPOLOGY").unwrap_or_default();
        Self(match word.as_str() {
            "" | "standalone" if append_only => Set::Standalone(RedisServer::start_durable()),
            "" | "standalone" => Set::Standalone(RedisServer::start()),
            "sentinel" => Set::Sentinel(SentinelSet::start(append_only)),
            "cluster" => Set::Cluster(ClusterSet::start(append_only)),
            other => {
                panic!("MANIMQ_TEST_TOPOLOGY is standalone, sentinel or cluster, not {other:?}")
            }
        })
    }

    /// Its URL.
    #[must_use]
    pub fn url(&self) -> String {
        match &self.0 {
            Set::Standalone(server) => server.url(),
            Set::Sentinel(set) => set.url(),
            Set::Cluster(set) => set.url(),
        }
    }

    /// Settings for a queue of its own (`prefix`), with as many shards as the topology usually has: only within one are
    /// the order of claims and the shares of tenants exact.
    #[must_use]
    pub fn config(&self, prefix: &str) -> RedisConfig {
        RedisConfig {
            prefix: prefix.to_owned(),
            ..RedisConfig::new(self.url())
        }
    }

    /// One command, to the server that has its first key, on connections of its own.
    ///
    /// # Errors
    /// As Redis has it.
    pub async fn query<T: FromRedisValue>(&self, command: &Cmd) -> Result<T, QueueError> {
        let shared = Shared::new(&self.config("mq"))?;
        Ok(T::from_redis_value(shared.query(command, true).await?)?)
    }

    /// One command to every server that takes writes.
    ///
    /// # Errors
    /// As Redis has it.
    pub async fn every_primary(&self, command: &Cmd) -> Result<Vec<Value>, QueueError> {
        let shared = Shared::new(&self.config("mq"))?;
        Ok(shared.every_primary(command).await?)
    }

    /// `kill -9` to every server, without a restart; what they wrote to disk stays.
    pub fn kill(&mut self) {
        match &mut self.0 {
            Set::Standalone(server) => server.kill(),
            Set::Sentinel(set) => set.kill(),
            Set::Cluster(set) => set.kill(),
        }
    }

    /// Starts them again after [`Self::kill`].
    pub fn restart(&mut self) {
        match &mut self.0 {
            Set::Standalone(server) => server.restart(),
            Set::Sentinel(set) => set.restart(),
            Set::Cluster(set) => set.restart(),
        }
    }
}
