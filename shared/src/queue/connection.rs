//! How manimq talks to Redis: one place builds clients and pools, with explicit time-outs.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use deadpool_redis::{Manager, Pool, PoolError, Runtime};
use redis::aio::MultiplexedConnection;
use redis::{
    AsyncConnectionConfig, Client, Cmd, IntoConnectionInfo as _, Pipeline, RedisError, Value,
};

use super::QueueError;

/// Longest wait for a connection to be made.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// Longest wait for the answer to a command that does not block.
pub const RESPONSE_TIMEOUT: Duration = Duration::from_secs(5);

/// How to reach Redis.
#[derive(Clone)]
pub struct RedisConfig {
    /// `redis://host:port/db`, `redis+unix:///path` or `unix:///path`.
    pub url: String,
    /// Prefix of all keys; two systems on one Redis differ in it.
    pub prefix: String,
    /// Most connections for calls, besides those that block. More than two are never made.
    pub pool_size: usize,
    /// Logical shards, 1 to 256; fixed once a queue was begun. `None`: 1.
    pub shards: Option<u16>,
}

impl RedisConfig {
    /// The usual settings for a URL.
    #[must_use]
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            prefix: "mq".to_owned(),
            pool_size: 8,
            shards: None,
        }
    }

    /// Number of logical shards, 1 to 256.
    #[must_use]
    pub fn shards(&self) -> u16 {
        self.shards.unwrap_or(1).clamp(1, 256)
    }
}

impl std::fmt::Debug for RedisConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RedisConfig")
            .field("url", &redact(&self.url))
            .field("prefix", &self.prefix)
            .field("pool_size", &self.pool_size)
            .field("shards", &self.shards)
            .finish()
    }
}

/// The URL without its user name and password, for messages; of one that is malformed, nothing
/// before its last `@` is shown.
#[must_use]
pub fn redact(url: &str) -> String {
    let Some(at) = url.rfind('@') else {
        return url.to_owned();
    };
    let is_scheme = |text: &str| text.bytes().all(|b| b.is_ascii_lowercase() || b == b'+');
    let scheme = url.find("://").filter(|&colon| is_scheme(&url[..colon]));
    let scheme = scheme.map_or("", |colon| &url[..colon + 3]);
    format!("{scheme}…@{}", &url[at + 1..])
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

/// The connections that all non-blocking calls of a process share. Calls of many tasks travel in
/// one stream each, so they need no pool: a busy process sends many with one system call.
///
/// A connection's driver is a task of the runtime that first needed it. Who must not be starved
/// by that runtime (the renewal of leases) makes a queue of its own.
pub struct Shared {
    client: Client,
    /// Makes the connections, with its time-outs. They are taken out of it for good: a pool
    /// pings on every checkout, which would double the commands that Redis sees.
    pool: Pool,
    slots: Vec<Slot>,
    next: AtomicUsize,
}

/// Most connections of [`Shared`]: the second keeps a large payload from delaying everything.
const SHARED_MAX: usize = 2;

#[derive(Default)]
struct Slot {
    /// The present connection and its number.
    current: Mutex<Option<(u64, MultiplexedConnection)>>,
    /// Held by the one task that connects; the others wait for it and share its failure.
    connecting: tokio::sync::Mutex<Connecting>,
}

#[derive(Default)]
struct Connecting {
    /// How many connections were made.
    made: u64,
    /// When the last try failed, and how.
    failed: Option<(Instant, String)>,
}

impl Shared {
    /// Connects on the first call.
    ///
    /// # Errors
    /// [`QueueError::Configuration`] if the URL cannot be read.
    pub fn new(config: &RedisConfig) -> Result<Self, QueueError> {
        let slots = config.pool_size.clamp(1, SHARED_MAX);
        let client = client(&config.url)?;
        let unusable = |error: &dyn std::fmt::Display| {
            QueueError::Configuration(format!("the Redis URL cannot be used: {error}"))
        };
        let info = client.get_connection_info().clone();
        let manager = Manager::new_with_config(info, settings(Some(RESPONSE_TIMEOUT)))
            .map_err(|error| unusable(&error))?;
        let pool = Pool::builder(manager)
            .max_size(slots)
            .create_timeout(Some(CONNECT_TIMEOUT))
            .runtime(Runtime::Tokio1)
            .build()
            .map_err(|error| unusable(&error))?;
        Ok(Self {
            client,
            pool,
            slots: std::iter::repeat_with(Slot::default).take(slots).collect(),
            next: AtomicUsize::new(0),
        })
    }

    /// The client, for a connection of one's own.
    pub const fn client(&self) -> &Client {
        &self.client
    }

    /// Sends a command. `repeat` says that it may be sent again if the connection broke.
    pub async fn query(&self, command: &Cmd, repeat: bool) -> Result<Value, RedisError> {
        let slot = self.slot();
        let (number, mut connection) = self.connection(slot).await?;
        match connection.send_packed_command(command).await {
            Err(error) if slot.broke(number, &error) && repeat && !error.is_timeout() => {
                let (number, mut connection) = self.connection(slot).await?;
                let outcome = connection.send_packed_command(command).await;
                if let Err(error) = &outcome {
                    slot.broke(number, error);
                }
                outcome?.extract_error()
            }
            outcome => outcome?.extract_error(),
        }
    }

    /// Sends commands in order over one connection; they may be sent again if it broke.
    pub async fn pipeline(&self, commands: &Pipeline) -> Result<Vec<Value>, RedisError> {
        let slot = self.slot();
        let (number, mut connection) = self.connection(slot).await?;
        match commands.query_async(&mut connection).await {
            Err(error) if slot.broke(number, &error) && !error.is_timeout() => {
                let (_, mut connection) = self.connection(slot).await?;
                commands.query_async(&mut connection).await
            }
            outcome => outcome,
        }
    }

    fn slot(&self) -> &Slot {
        let n = self.next.fetch_add(1, Ordering::Relaxed);
        &self.slots[n % self.slots.len()]
    }

    async fn connection(&self, slot: &Slot) -> Result<(u64, MultiplexedConnection), RedisError> {
        if let Some(current) = slot.current() {
            return Ok(current);
        }
        let arrived = Instant::now();
        let mut connecting = slot.connecting.lock().await;
        if let Some(current) = slot.current() {
            return Ok(current);
        }
        // A try that failed while this call waited is its answer too: with a Redis that hangs, a
        // hundred calls must not try one after the other, each for the whole time-out.
        if let Some((when, how)) = &connecting.failed
            && *when >= arrived
        {
            return Err(std::io::Error::other(how.clone()).into());
        }
        match self.pool.get().await {
            Ok(connection) => {
                let connection = deadpool_redis::Connection::take(connection);
                connecting.made += 1;
                connecting.failed = None;
                let current = (connecting.made, connection);
                *slot.current.lock().expect("no panic while locked") = Some(current.clone());
                Ok(current)
            }
            Err(error) => {
                let error = match error {
                    PoolError::Backend(error) => error,
                    other => std::io::Error::other(other.to_string()).into(),
                };
                connecting.failed = Some((Instant::now(), error.to_string()));
                Err(error)
            }
        }
    }
}

impl Slot {
    fn current(&self) -> Option<(u64, MultiplexedConnection)> {
        self.current.lock().expect("no panic while locked").clone()
    }

    /// Whether the error means that connection `number` is of no more use; then nobody gets it again.
    fn broke(&self, number: u64, error: &RedisError) -> bool {
        let broke = error.is_io_error()
            || error.is_timeout()
            || error.is_connection_dropped()
            || error.is_unrecoverable_error();
        if broke {
            let mut current = self.current.lock().expect("no panic while locked");
            if current.as_ref().is_some_and(|(n, _)| *n == number) {
                *current = None;
            }
        }
        broke
    }
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
    let settings = settings(Some(block + RESPONSE_TIMEOUT));
    Ok(client
        .get_multiplexed_async_connection_with_config(&settings)
        .await?)
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
        for url in ["redis//user:secret@h", "user:secret@h:1", "secret@://h@"] {
            assert!(!redact(url).contains("secret"), "{}", redact(url));
        }
        assert_eq!(redact("redis://h:1"), "redis://h:1");
        let error = client("http://user:secret@host").unwrap_err().to_string();
        assert!(
            !error.contains("secret") && error.contains("REDIS_URL"),
            "{error}"
        );
    }
}
