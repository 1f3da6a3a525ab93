//! How manimq talks to Redis: one place builds all connections, for one server, for a master that
//! sentinels watch, and for a Cluster, with explicit time-outs everywhere.
//!
//! ```text
//! Shared ─┬─ Node ──────────── lanes (multiplexed)      every call; one server, or the sentinels' master
//!         │    └─ Committer ── small pool               calls that are answered once they are kept
//!         └─ Cluster ─ Node …                           one for each server, found by slot
//! Blocking ─────────────────── one connection           BLPOP
//! Hub ──────────────────────── one connection           hints
//! ```

mod cluster;
mod config;
mod durable;
mod link;
mod node;
mod retry;
mod sentinel;
mod slots;
mod tls;
mod url;

use std::sync::Arc;
use std::time::Duration;

use redis::aio::{MultiplexedConnection, PubSub};
use redis::{Client, Cmd, Pipeline, RedisError, Value};
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

pub use config::{RedisConfig, TlsFiles};
pub use durable::Kept;
pub use url::{URL_FORMS, redact};

use super::QueueError;
use cluster::Cluster;
use link::late;
use node::{Failure, Node, Reply, Source, Wire, refusal};
use retry::{Retry, is_final};
use sentinel::Sentinels;
use tls::Maker;
use url::Place;

/// Longest wait for a connection to be made.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// Longest wait for a call that does not block, with all that it takes: connecting, redirections,
/// further tries.
pub const RESPONSE_TIMEOUT: Duration = Duration::from_secs(5);

/// What a user of Redis must be allowed, for the prefix `mq`, as `ACL SETUSER` takes it. In a Cluster it
/// is made on each node. On Redis 7.2 or newer with `MANIMQ_REDIS_DURABLE`, `+waitaof` comes in addition.
pub const ACL_RULES: &str = "~{mq:* &{mq:* +@hash +@set +@sortedset +@string +@stream +@list -@dangerous \
     +del +exists +expire +pexpire +persist +pttl +rename +time +publish +subscribe +unsubscribe +ping +fcall +function|load +function|delete +info \
     +wait +config|get +cluster|slots +asking";

/// Most connections for calls to one server: the second keeps a large payload from delaying everything.
const LANES_MAX: usize = 2;
/// Longest pause of a blocked wait for a slot that is on its way to another server.
const MOVE_PAUSE: Duration = Duration::from_millis(250);

/// Tells when a connection was lost: others may have lost theirs without knowing it.
#[derive(Clone)]
struct Unrest(watch::Sender<()>);

impl Unrest {
    fn stir(&self) {
        self.0.send_replace(());
    }
}

/// The connections of a process for all calls that do not block.
///
/// A connection's driver is a task of the runtime that first needed it. Who must not be starved
/// by that runtime (the renewal of leases) makes a queue of its own.
pub struct Shared {
    topology: Arc<Topology>,
    durable: bool,
    unrest: Unrest,
}

enum Topology {
    /// One server, or the sentinels' master.
    Single(Node),
    Cluster(Box<Cluster>),
}

impl Topology {
    fn switches(&self) -> u64 {
        match self {
            Self::Single(node) => node.source().switches(),
            Self::Cluster(_) => 0,
        }
    }
}

impl Shared {
    /// Connects on the first call.
    ///
    /// # Errors
    /// [`QueueError::Configuration`] if the URL or a TLS file cannot be used.
    pub fn new(config: &RedisConfig) -> Result<Self, QueueError> {
        let target = url::read(config)?;
        let tls = target.tls.as_ref();
        let servers = Maker::new(&target.login, target.db, tls)?;
        let lanes = config.pool_size.clamp(1, LANES_MAX);
        let unrest = Unrest(watch::Sender::new(()));
        let single = |source| Topology::Single(Node::new(source, lanes, unrest.clone()));
        let topology = match target.place {
            Place::Unix(path) => single(Source::Fixed(Box::new(servers.socket(&path)?))),
            Place::Server(host) => single(Source::Fixed(Box::new(servers.host(&host)?))),
            Place::Sentinel {
                sentinels,
                service,
                login,
            } => {
                let askers = Maker::new(&login, 0, tls)?;
                let sentinels =
                    Sentinels::new(&sentinels, service, &askers, servers, unrest.clone())?;
                single(Source::Sentinels(Arc::new(sentinels)))
            }
            Place::Cluster(seeds) => {
                let cluster = Cluster::new(seeds, servers, lanes, unrest.clone());
                Topology::Cluster(Box::new(cluster))
            }
        };
        Ok(Self {
            topology: Arc::new(topology),
            durable: config.durable,
            unrest,
        })
    }

    /// Whether jobs are to be accepted with [`Self::query_durable`].
    #[must_use]
    pub const fn durable(&self) -> bool {
        self.durable
    }

    /// Sends a command to the server that has its first key, and follows redirections, failovers and
    /// moving slots. `repeat` says that it may be sent again if the connection broke; what Redis
    /// refused without doing anything is sent again in any case.
    ///
    /// # Errors
    /// As Redis or the network has it, within [`RESPONSE_TIMEOUT`].
    pub async fn query(&self, command: &Cmd, repeat: bool) -> Result<Value, RedisError> {
        let wire = Wire::One(command);
        let (value, _) = self
            .exchange(wire, || slots::slot_of(command), repeat)
            .await?;
        Ok(value)
    }

    /// Like [`Self::query`], and waits until what the command wrote is kept: until a majority of the
    /// copies (server and replicas) has it, and the disk of the server where that can be waited for.
    ///
    /// # Errors
    /// As [`Self::query`]. That it took effect without a confirmation is no error but
    /// [`Kept::Unconfirmed`].
    pub async fn query_durable(
        &self,
        command: &Cmd,
        repeat: bool,
    ) -> Result<(Value, Kept), RedisError> {
        let wire = Wire::Durable(command);
        let (value, kept) = self
            .exchange(wire, || slots::slot_of(command), repeat)
            .await?;
        let kept = kept.unwrap_or_else(|| Kept::Unconfirmed("nobody was asked".to_owned()));
        Ok((value, kept))
    }

    /// Sends commands in order over one connection; they may be sent again. In a Cluster, all their keys
    /// are of one slot.
    ///
    /// # Errors
    /// The first command's that was refused, or as [`Self::query`].
    pub async fn pipeline(&self, commands: &Pipeline) -> Result<Vec<Value>, RedisError> {
        let slot = || commands.cmd_iter().find_map(slots::slot_of);
        match self.exchange(Wire::Many(commands), slot, true).await?.0 {
            Value::Array(replies) => Ok(replies),
            other => Ok(vec![other]),
        }
    }

    /// Sends a command that may be sent again to every server that takes writes: to the only one, or
    /// to all primaries of a Cluster.
    ///
    /// # Errors
    /// The first server's that refused or is away. All others were asked even so.
    pub async fn every_primary(&self, command: &Cmd) -> Result<Vec<Value>, RedisError> {
        match &*self.topology {
            Topology::Single(_) => Ok(vec![self.query(command, true).await?]),
            Topology::Cluster(cluster) => cluster.every_primary(command, deadline()).await,
        }
    }

    /// A connection of its own to wait on the list `key`, for at most `block` at a time.
    ///
    /// # Errors
    /// [`QueueError::Unavailable`] if Redis cannot be reached; as [`Self::query`] otherwise.
    pub async fn blocking(&self, key: &str, block: Duration) -> Result<Blocking, QueueError> {
        let slot = slots::slot_of_key(key.as_bytes());
        let switches = self.switches();
        let connecting = timeout_at(deadline(), self.connect(Some(slot)));
        let connection = connecting
            .await
            .unwrap_or_else(|_| Err(late("connecting to Redis", RESPONSE_TIMEOUT)))?
            .1;
        Ok(Blocking {
            connection,
            key: key.to_owned(),
            block,
            switches,
            topology: Arc::clone(&self.topology),
            unrest: self.unrest(),
        })
    }

    /// A connection for subscriptions. In a Cluster, to any server: what is published on one reaches all.
    pub(super) async fn subscriber(&self) -> Result<PubSub, RedisError> {
        let connecting = timeout_at(deadline(), async {
            // The role can be asked for on another connection only.
            let (client, _) = self.connect(None).await?;
            link::subscribe(&client).await
        });
        connecting
            .await
            .unwrap_or_else(|_| Err(late("connecting to Redis", RESPONSE_TIMEOUT)))
    }

    /// Grows when the server may be another: a connection made before is of no more use.
    pub(super) fn switches(&self) -> u64 {
        self.topology.switches()
    }

    /// Tells when any connection was lost.
    pub(super) fn unrest(&self) -> watch::Receiver<()> {
        self.unrest.0.subscribe()
    }

    async fn connect(
        &self,
        slot: Option<u16>,
    ) -> Result<(Client, MultiplexedConnection), RedisError> {
        match &*self.topology {
            Topology::Single(node) => node.source().connect().await,
            Topology::Cluster(cluster) => {
                let client = cluster.client(slot).await?;
                match link::connect(&client).await {
                    Ok(connection) => Ok((client, connection)),
                    Err(error) => {
                        cluster.distrust();
                        Err(error)
                    }
                }
            }
        }
    }

    async fn exchange(
        &self,
        wire: Wire<'_>,
        slot: impl FnOnce() -> Option<u16>,
        repeat: bool,
    ) -> Result<Reply, RedisError> {
        match &*self.topology {
            Topology::Single(node) => single(node, wire, repeat, deadline()).await,
            Topology::Cluster(cluster) => cluster.exchange(wire, slot(), repeat, deadline()).await,
        }
    }
}

fn deadline() -> Instant {
    Instant::now() + RESPONSE_TIMEOUT
}

/// One call to the only server.
async fn single(
    node: &Node,
    wire: Wire<'_>,
    repeat: bool,
    deadline: Instant,
) -> Result<Reply, RedisError> {
    let mut retry = Retry::until(deadline, repeat);
    loop {
        match node.exchange(wire, false, deadline).await {
            Ok(reply) => match refusal(&reply.0) {
                None => return Ok(reply),
                Some(error) => {
                    let demoted = error.code() == "READONLY";
                    let error = error.clone().into();
                    if !demoted {
                        return Err(error);
                    }
                    // Nothing was done. Who is the master now?
                    node.forget().await;
                    retry.soon(error).await?;
                }
            },
            Err(Failure::NotSent(error)) if node.source().moves() && !is_final(&error) => {
                retry.soon(error).await?;
            }
            Err(Failure::NotSent(error)) => return Err(error),
            Err(Failure::Broke(error)) => retry.sent_again(error)?,
        }
    }
}

/// Ends when the server may be another than after `switches` switches.
async fn replaced(switches: u64, topology: &Topology, unrest: &mut watch::Receiver<()>) {
    while topology.switches() == switches {
        if unrest.changed().await.is_err() {
            return std::future::pending().await;
        }
    }
}

/// A connection that waits on one list. It must never be shared, and its wait never dropped: an
/// abandoned one still takes effect on the server.
pub struct Blocking {
    connection: MultiplexedConnection,
    key: String,
    block: Duration,
    /// What there were when it was made.
    switches: u64,
    topology: Arc<Topology>,
    unrest: watch::Receiver<()>,
}

impl Blocking {
    /// Puts an element into the list for somebody else.
    ///
    /// # Errors
    /// [`QueueError::Unavailable`]: make a new one.
    pub async fn give_back(&mut self) -> Result<(), QueueError> {
        let mut command = redis::cmd("RPUSH");
        command.arg(&self.key).arg("1");
        let sending = self.connection.send_packed_command(&command);
        let reply = link::within(RESPONSE_TIMEOUT, "giving back a token", sending).await?;
        reply.extract_error()?;
        Ok(())
    }

    /// Takes the first element of the list, waiting for one for at most `limit` and never longer than
    /// was agreed on. `None` if there was none; sooner, while the list is on its way to another server. An error as soon
    /// as the server is replaced: who waits there waits in vain.
    ///
    /// # Errors
    /// [`QueueError::Unavailable`]: make a new one.
    pub async fn pop(&mut self, limit: Duration) -> Result<Option<Vec<u8>>, QueueError> {
        let limit = limit.min(self.block);
        // 0 would mean "for ever" to Redis.
        let seconds = limit.as_secs_f64().max(0.001);
        let mut command = redis::cmd("BLPOP");
        command.arg(&self.key).arg(seconds);
        let sending = self.connection.send_packed_command(&command);
        let end = limit + RESPONSE_TIMEOUT;
        let reply = tokio::select! {
            biased;
            // A master that is replaced may never answer.
            () = replaced(self.switches, &self.topology, &mut self.unrest) =>
                Err(link::passing("Redis has another master now".to_owned())),
            reply = link::within(end, "a blocked wait", sending) => reply,
        };
        match reply.and_then(Value::extract_error) {
            Ok(reply) => {
                let found = redis::FromRedisValue::from_redis_value(reply)?;
                Ok(Option::<(Vec<u8>, Vec<u8>)>::map(found, |(_, element)| {
                    element
                }))
            }
            Err(error) => {
                if let Topology::Cluster(cluster) = &*self.topology {
                    if matches!(error.code(), Some("ASK" | "TRYAGAIN")) {
                        tokio::time::sleep(limit.min(MOVE_PAUSE)).await;
                        return Ok(None);
                    }
                    cluster.distrust();
                }
                Err(error.into())
            }
        }
    }
}
