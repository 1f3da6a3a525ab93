//! How manimq talks to Redis: one place builds clients and pools, with explicit time-outs.

use std::time::Duration;

use deadpool_redis::{Manager, Pool, Runtime};
use redis::aio::{ConnectionLike as _, MultiplexedConnection};
use redis::{AsyncConnectionConfig, Client, IntoConnectionInfo as _};

use super::QueueError;

/// Longest wait for a connection to be made.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// Longest wait for the answer to a command that does not block.
pub const RESPONSE_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest wait for a free connection of the pool.
const POOL_WAIT: Duration = Duration::from_secs(5);

/// How to reach Redis.
#[derive(Clone)]
pub struct RedisConfig {
    /// `redis://host:port/db`, `redis+unix:///path` or `unix:///path`.
    pub url: String,
    /// Prefix of all keys; two systems on one Redis differ in it.
    pub prefix: String,
    /// Most connections of the pool.
    pub pool_size: usize,
}

impl RedisConfig {
    /// The usual settings for a URL.
    #[must_use]
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            prefix: "mq".to_owned(),
            pool_size: 8,
        }
    }
}

impl std::fmt::Debug for RedisConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RedisConfig")
            .field("url", &redact(&self.url))
            .field("prefix", &self.prefix)
            .field("pool_size", &self.pool_size)
            .finish()
    }
}

/// The URL without its user name and password, for messages.
#[must_use]
pub fn redact(url: &str) -> String {
    match (url.find("://"), url.rfind('@')) {
        (Some(scheme), Some(at)) if scheme + 3 <= at => {
            format!("{}://…@{}", &url[..scheme], &url[at + 1..])
        }
        _ => url.to_owned(),
    }
}

fn settings(response: Option<Duration>) -> AsyncConnectionConfig {
    AsyncConnectionConfig::new()
        .set_connection_timeout(Some(CONNECT_TIMEOUT))
        .set_response_timeout(response)
}

/// A client for `url`.
///
/// # Errors
/// [`QueueError::Configuration`] if the URL cannot be read.
pub fn client(url: &str) -> Result<Client, QueueError> {
    let normal = url
        .strip_prefix("unix:")
        .map(|path| format!("redis+unix://{}", path.trim_start_matches("//")));
    let normal = normal.as_deref().unwrap_or(url);
    let invalid = |error: redis::RedisError| {
        QueueError::Configuration(format!(
            "the Redis URL {:?} cannot be used ({error}); write redis://HOST:PORT/DB or unix:///PATH in REDIS_URL",
            redact(url)
        ))
    };
    let info = normal.into_connection_info().map_err(invalid)?;
    Client::open(info).map_err(invalid)
}

/// The shared pool for commands that do not block.
///
/// # Errors
/// [`QueueError::Configuration`] if the URL cannot be read.
pub fn pool(config: &RedisConfig) -> Result<Pool, QueueError> {
    let info = client(&config.url)?.get_connection_info().clone();
    let manager = Manager::new_with_config(info, settings(Some(RESPONSE_TIMEOUT)))
        .map_err(|error| QueueError::Configuration(format!("the Redis URL is wrong: {error}")))?;
    Pool::builder(manager)
        .max_size(config.pool_size)
        .wait_timeout(Some(POOL_WAIT))
        .create_timeout(Some(CONNECT_TIMEOUT))
        .recycle_timeout(Some(RESPONSE_TIMEOUT))
        .runtime(Runtime::Tokio1)
        .build()
        .map_err(|error| QueueError::Configuration(format!("the Redis pool: {error}")))
}

/// A connection of its own for commands that block for at most `block`.
///
/// It must never be shared, and its command never dropped: an abandoned blocking command still
/// takes effect on the server.
///
/// # Errors
/// [`QueueError::Unavailable`] if Redis cannot be reached.
pub async fn blocking(
    client: &Client,
    block: Duration,
) -> Result<MultiplexedConnection, QueueError> {
    let connection = client
        .get_multiplexed_async_connection_with_config(&settings(Some(block + RESPONSE_TIMEOUT)))
        .await?;
    debug_assert!(connection.get_db() >= 0);
    Ok(connection)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_in_the_url_is_never_shown() {
        for url in ["redis://user:secret@host:6379/0", "redis://:secret@h"] {
            assert!(!redact(url).contains("secret"), "{}", redact(url));
            assert!(!format!("{:?}", RedisConfig::new(url)).contains("secret"));
        }
        assert_eq!(redact("redis://h:1"), "redis://h:1");
        let error = client("http://user:secret@host").unwrap_err().to_string();
        assert!(
            !error.contains("secret") && error.contains("REDIS_URL"),
            "{error}"
        );
    }
}
