//! What happens before the first call: the server is checked, the functions are loaded, and all
//! processes agree on the layout.

use jiff::Timestamp;
use redis::FromRedisValue as _;

use super::call::Args;
use super::error::unexpected;
#[cfg(feature = "testing")]
use super::library;
use super::{LAYOUT, LIBRARY, Library, Queue, QueueError, RedisConfig};

/// Versions that may run side by side in a roll-out, and one more.
const LIBRARIES_KEPT: isize = 3;

impl Queue {
    /// Builds the handle, checks that this Redis can be trusted with jobs, and loads the functions where they
    /// are not there yet: loading takes Redis 10 ms, and a full one refuses it.
    ///
    /// # Errors
    /// [`QueueError::Configuration`] names the setting to change; [`QueueError::Unavailable`] if
    /// Redis cannot be reached.
    pub async fn connect(config: &RedisConfig) -> Result<Self, QueueError> {
        Self::connect_with(config, &LIBRARY).await
    }

    async fn connect_with(
        config: &RedisConfig,
        library: &'static Library,
    ) -> Result<Self, QueueError> {
        let mut queue = Self::new(config)?;
        queue.library = library;
        queue.check_server().await?;
        queue.begin().await?;
        Ok(queue)
    }

    /// Like [`Self::connect`], for tests: the queue's clock stands still at the milliseconds since
    /// the epoch that [`Self::set_test_clock`] wrote. Uses a library of its own.
    ///
    /// # Errors
    /// As [`Self::connect`].
    #[cfg(feature = "testing")]
    pub async fn connect_with_test_clock(config: &RedisConfig) -> Result<Self, QueueError> {
        Self::connect_with(config, &library::TEST_LIBRARY).await
    }

    /// Like [`Self::connect`], for tests of a roll-out: with the functions of a version to come.
    ///
    /// # Errors
    /// As [`Self::connect`].
    #[cfg(feature = "testing")]
    pub async fn connect_as_next_version(config: &RedisConfig) -> Result<Self, QueueError> {
        Self::connect_with(config, &library::NEXT_LIBRARY).await
    }

    /// Sets the clock of [`Self::connect_with_test_clock`].
    ///
    /// # Errors
    /// [`QueueError::Unavailable`].
    #[cfg(feature = "testing")]
    pub async fn set_test_clock(&self, now_ms: u64) -> Result<(), QueueError> {
        let bases = self.keys.iter().map(|keys| keys.base().to_owned());
        for base in bases.chain([self.keys().accounts()]) {
            let mut command = redis::cmd("SET");
            command.arg(format!("{base}:clock")).arg(now_ms);
            self.shared.query(&command, true).await?;
        }
        Ok(())
    }

    /// A handle for tenants and keys alone, where there may be no queue yet: keys are made before the first
    /// start of an API that others reach. Jobs cannot be asked for through it.
    ///
    /// # Errors
    /// As [`Self::connect`].
    pub async fn for_accounts(config: &RedisConfig) -> Result<Self, QueueError> {
        let queue = Self::new(config)?;
        queue.check_server().await?;
        Ok(queue)
    }

    async fn check_server(&self) -> Result<(), QueueError> {
        for info in self.shared.every_primary(&redis::cmd("INFO")).await? {
            check_info(&String::from_redis_value(info)?)?;
        }
        Ok(())
    }

    pub(super) async fn load_library(&self) -> Result<(), QueueError> {
        let mut command = redis::cmd("FUNCTION");
        // The name is the content's hash, so what is replaced is the same. Of several servers some may
        // have it already, and their refusal would hide another's.
        command.arg("LOAD").arg("REPLACE").arg(&self.library.code);
        self.shared.every_primary(&command).await?;
        tracing::info!(library = self.library.name, "loaded the Redis functions");
        if let Err(error) = self.delete_old_libraries().await {
            tracing::debug!(%error, "older libraries of functions stay");
        }
        Ok(())
    }

    /// Each version leaves its functions behind, some 300 kB: of those that were loaded for this queue, the last
    /// [`LIBRARIES_KEPT`] stay. A process that still calls one of the others loads it again.
    async fn delete_old_libraries(&self) -> Result<(), QueueError> {
        let key = self.keys().libraries();
        let mut note = redis::cmd("ZADD");
        note.arg(&key).arg(Timestamp::now().as_millisecond());
        self.shared
            .query(note.arg(&self.library.name), true)
            .await?;
        let mut list = redis::cmd("ZRANGE");
        list.arg(&key).arg(0).arg(-1 - LIBRARIES_KEPT);
        let old: Vec<String> = Vec::from_redis_value(self.shared.query(&list, true).await?)?;
        for name in old {
            let mut command = redis::cmd("FUNCTION");
            command.arg("DELETE").arg(&name);
            // Another queue on the same server may have deleted it.
            if let Err(error) = self.shared.every_primary(&command).await
                && !error.to_string().contains("not found")
            {
                return Err(error.into());
            }
            let mut forget = redis::cmd("ZREM");
            forget.arg(&key).arg(&name);
            self.shared.query(&forget, true).await?;
            tracing::info!(
                library = name,
                "deleted the Redis functions of an old version"
            );
        }
        Ok(())
    }

    /// Makes sure that all processes agree on how the data lie.
    async fn begin(&self) -> Result<(), QueueError> {
        let count = self.keys.len().to_string();
        for shard in self.shards() {
            let args = Args::new().show(LAYOUT).text(&count);
            let reply: Vec<String> =
                Vec::from_redis_value(self.call(shard, "begin", &args.0).await?)?;
            let there = reply.get(1).map_or("?", String::as_str);
            match reply.first().map_or("nothing", String::as_str) {
                "ok" => {}
                "layout" => {
                    return Err(QueueError::Configuration(format!(
                        "this Redis holds jobs in data layout {there} and this version writes {LAYOUT}: give this version another key prefix (MANIMQ_REDIS_PREFIX) or another Redis, and let the old one finish what it has"
                    )));
                }
                "shards" => {
                    return Err(QueueError::Configuration(format!(
                        "this Redis was set up with {there} shards and this process has {count}: give all processes the same MANIMQ_REDIS_SHARDS, or use another key prefix (MANIMQ_REDIS_PREFIX)"
                    )));
                }
                other => return Err(unexpected("begin", other)),
            }
        }
        Ok(())
    }
}

/// Whether a server can be trusted with jobs, by its `INFO`.
fn check_info(info: &str) -> Result<(), QueueError> {
    let field = |name: &str| {
        info.lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
            .unwrap_or("")
            .trim()
    };
    let server = field("tcp_port");
    let version = field("redis_version");
    let major: u32 = version
        .split('.')
        .next()
        .and_then(|v| v.parse().ok())
        .unwrap_or(0);
    if major < 7 {
        return Err(QueueError::Configuration(format!(
            "Redis {version} (port {server}) is too old: manimq needs 7.0 or newer (Redis functions), or Valkey"
        )));
    }
    if field("aof_enabled") == "0" {
        tracing::warn!(
            "Redis (port {server}) keeps no append-only file: a restart of it loses jobs. Turn it on with `redis-cli config set appendonly yes` and in redis.conf"
        );
    }
    let policy = field("maxmemory_policy");
    if !policy.is_empty() && policy != "noeviction" {
        return Err(QueueError::Configuration(format!(
            "Redis (port {server}) has maxmemory-policy {policy}, which may throw jobs away: set it with `redis-cli config set maxmemory-policy noeviction` and in redis.conf"
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(info: &str) -> String {
        check_info(info).expect_err("refused").to_string()
    }

    #[test]
    fn a_server_without_functions_or_one_that_throws_jobs_away_is_refused_with_the_remedy() {
        let old = refused("redis_version:6.2.14\r\ntcp_port:6379\r\naof_enabled:1\r\n");
        assert!(
            old.contains("Redis 6.2.14 (port 6379) is too old") && old.contains("needs 7.0"),
            "{old}"
        );
        let none = refused("tcp_port:6379\r\n");
        assert!(none.contains("too old"), "{none}");
        let evicts = refused("redis_version:7.0.15\r\nmaxmemory_policy:allkeys-lru\r\n");
        assert!(
            evicts.contains("allkeys-lru") && evicts.contains("noeviction"),
            "{evicts}"
        );
    }

    #[test]
    fn redis_7_and_valkey_are_taken() {
        // Valkey 8 calls itself Redis 7.2.4 here, for clients that ask.
        for version in [
            "7.0.15",
            "8.2.1",
            "7.2.4\r\nserver_name:valkey\r\nvalkey_version:8.0.1",
        ] {
            let info = format!("redis_version:{version}\r\nmaxmemory_policy:noeviction\r\n");
            check_info(&info).expect(version);
        }
    }
}
