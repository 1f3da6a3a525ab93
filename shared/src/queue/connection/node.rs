//! One server, and the connections that all non-blocking calls to it share.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use redis::aio::MultiplexedConnection;
use redis::{Client, Cmd, Pipeline, RedisError, ServerError, Value};
use tokio::time::{Instant, timeout_at};

use super::durable::{Committer, Kept};
use super::link::{self, late, passing};
use super::sentinel::Sentinels;
use super::{RESPONSE_TIMEOUT, Unrest};

/// Where a connection goes.
#[derive(Clone)]
pub enum Source {
    /// To one address. A name is looked up anew for each connection.
    Fixed(Box<Client>),
    /// To whom the sentinels call the master at that moment.
    Sentinels(Arc<Sentinels>),
}

impl Source {
    /// Makes a connection, to a server that takes writes as far as that is known.
    pub async fn connect(&self) -> Result<(Client, MultiplexedConnection), RedisError> {
        match self {
            Self::Fixed(client) => Ok((Client::clone(client), link::connect(client).await?)),
            Self::Sentinels(sentinels) => sentinels.connect().await,
        }
    }

    /// Grows when the server may be another; always 0 if that cannot be.
    pub fn switches(&self) -> u64 {
        match self {
            Self::Fixed(_) => 0,
            Self::Sentinels(sentinels) => sentinels.switches(),
        }
    }

    /// Whether somebody else decides which server it is, and may decide anew.
    pub const fn moves(&self) -> bool {
        matches!(self, Self::Sentinels(_))
    }
}

/// What goes to a server in one piece.
#[derive(Clone, Copy)]
pub enum Wire<'a> {
    One(&'a Cmd),
    /// Its reply is a list of replies, errors among them.
    Many(&'a Pipeline),
    /// One command, answered once it is known whether what it wrote is kept.
    Durable(&'a Cmd),
}

/// The first error of the server in a reply.
pub fn refusal(reply: &Value) -> Option<&ServerError> {
    match reply {
        Value::ServerError(error) => Some(error),
        Value::Array(replies) => replies.iter().find_map(|reply| match reply {
            Value::ServerError(error) => Some(error),
            _ => None,
        }),
        _ => None,
    }
}

/// What came back: the reply, in which may be errors of the server, and whether it is kept.
pub type Reply = (Value, Option<Kept>);

/// Why there is no reply.
pub enum Failure {
    /// There was no connection: Redis knows nothing of the call.
    NotSent(RedisError),
    /// The connection broke or was silent: nobody knows whether the call took effect.
    Broke(RedisError),
}

impl Failure {
    /// The cause.
    pub fn into_error(self) -> RedisError {
        match self {
            Self::NotSent(error) | Self::Broke(error) => error,
        }
    }
}

/// A server.
///
/// Calls of many tasks travel in one stream for each lane, so they need no pool: a busy process sends
/// many with one system call. A connection's driver is a task of the runtime that first needed it.
pub struct Node {
    source: Source,
    lanes: Vec<Lane>,
    next: AtomicUsize,
    /// For durable calls, with the switches at its time.
    committer: tokio::sync::Mutex<Option<(u64, Arc<Committer>)>>,
    unrest: Unrest,
}

/// A connection with its number.
type Numbered = (u64, MultiplexedConnection);

#[derive(Default)]
struct Lane {
    /// The present connection and its number, with the switches at its time.
    current: Mutex<Option<(u64, Numbered)>>,
    /// Held by the one task that connects; the others wait for it and share its failure.
    connecting: tokio::sync::Mutex<Connecting>,
}

#[derive(Default)]
struct Connecting {
    /// How many connections were made.
    made: u64,
    /// When the last try failed, and how.
    failed: Option<(Instant, RedisError)>,
}

impl Node {
    /// Connects on the first call, at most `lanes` times.
    pub fn new(source: Source, lanes: usize, unrest: Unrest) -> Self {
        Self {
            source,
            lanes: std::iter::repeat_with(Lane::default).take(lanes).collect(),
            next: AtomicUsize::new(0),
            committer: tokio::sync::Mutex::default(),
            unrest,
        }
    }

    /// How connections to it are made.
    pub const fn source(&self) -> &Source {
        &self.source
    }

    /// Sends and waits for the reply, at most until `deadline`. With `asking`, a node takes it that is
    /// about to become the owner of the slot.
    pub async fn exchange(
        &self,
        wire: Wire<'_>,
        asking: bool,
        deadline: Instant,
    ) -> Result<Reply, Failure> {
        if let Wire::Durable(command) = wire {
            return self.commit(command, asking, deadline).await;
        }
        let lane = self.lane();
        let (number, mut connection) = match lane.current(self.source.switches()) {
            Some(current) => current,
            None => timeout_at(deadline, self.connect(lane))
                .await
                .unwrap_or_else(|_| Err(late("connecting to Redis", RESPONSE_TIMEOUT)))
                .map_err(Failure::NotSent)?,
        };
        let sending = timeout_at(deadline, send(&mut connection, wire, asking));
        let outcome = sending
            .await
            .unwrap_or_else(|_| Err(late("the answer of Redis", RESPONSE_TIMEOUT)));
        match outcome {
            Ok(value) => Ok((value, None)),
            Err(error) => {
                self.broke(lane, number, &error);
                Err(Failure::Broke(error))
            }
        }
    }

    /// Forgets all connections: the server is no longer the one to talk to.
    pub async fn forget(&self) {
        for lane in &self.lanes {
            lane.forget(None);
        }
        *self.committer.lock().await = None;
        self.unrest.stir();
    }

    async fn commit(
        &self,
        command: &Cmd,
        asking: bool,
        deadline: Instant,
    ) -> Result<Reply, Failure> {
        let making = timeout_at(deadline, self.committer());
        let committer = making
            .await
            .unwrap_or_else(|_| Err(late("connecting to Redis", RESPONSE_TIMEOUT)))
            .map_err(Failure::NotSent)?;
        let outcome = committer.commit(command, asking, deadline).await;
        if outcome.is_err() {
            // Its address may no longer be the right one.
            let mut current = self.committer.lock().await;
            if current
                .as_ref()
                .is_some_and(|(_, now)| Arc::ptr_eq(now, &committer))
            {
                *current = None;
            }
            self.unrest.stir();
        }
        outcome.map(|(value, kept)| (value, Some(kept)))
    }

    async fn committer(&self) -> Result<Arc<Committer>, RedisError> {
        let mut current = self.committer.lock().await;
        let switches = self.source.switches();
        if let Some((then, committer)) = &*current
            && *then == switches
        {
            return Ok(Arc::clone(committer));
        }
        let (client, _) = self.source.connect().await?;
        let committer = Arc::new(Committer::start(&client, self.source.moves())?);
        *current = Some((switches, Arc::clone(&committer)));
        Ok(committer)
    }

    fn lane(&self) -> &Lane {
        let n = self.next.fetch_add(1, Ordering::Relaxed);
        &self.lanes[n % self.lanes.len()]
    }

    async fn connect(&self, lane: &Lane) -> Result<Numbered, RedisError> {
        let arrived = Instant::now();
        let mut connecting = lane.connecting.lock().await;
        let switches = self.source.switches();
        if let Some(current) = lane.current(switches) {
            return Ok(current);
        }
        // A try that failed while this call waited is its answer too: with a Redis that hangs, a
        // hundred calls must not try one after the other, each for the whole time-out.
        if let Some((when, how)) = &connecting.failed
            && *when >= arrived
        {
            return Err(how.clone());
        }
        match self.source.connect().await {
            Ok((_, connection)) => {
                connecting.made += 1;
                connecting.failed = None;
                let current = (connecting.made, connection);
                let mut place = lane.current.lock().expect("no panic while locked");
                *place = Some((switches, current.clone()));
                Ok(current)
            }
            Err(error) => {
                connecting.failed = Some((Instant::now(), error.clone()));
                Err(error)
            }
        }
    }

    /// Forgets connection `number` if the error means that it is of no more use.
    fn broke(&self, lane: &Lane, number: u64, error: &RedisError) {
        if error.is_io_error() || error.is_connection_dropped() || error.is_unrecoverable_error() {
            lane.forget(Some(number));
            self.unrest.stir();
        }
    }
}

impl Lane {
    /// The present connection, if it was made after as many switches as there were.
    fn current(&self, switches: u64) -> Option<Numbered> {
        let current = self.current.lock().expect("no panic while locked");
        let (then, connection) = current.as_ref()?;
        (*then == switches).then(|| connection.clone())
    }

    /// Nobody gets connection `number` (or whichever is there) again.
    fn forget(&self, number: Option<u64>) {
        let mut current = self.current.lock().expect("no panic while locked");
        if number.is_none() || current.as_ref().map(|(_, (n, _))| *n) == number {
            *current = None;
        }
    }
}

async fn send(
    connection: &mut MultiplexedConnection,
    wire: Wire<'_>,
    asking: bool,
) -> Result<Value, RedisError> {
    let single;
    let commands = match wire {
        Wire::One(command) | Wire::Durable(command) if !asking => {
            return connection.send_packed_command(command).await;
        }
        Wire::One(command) | Wire::Durable(command) => {
            let mut pipeline = Pipeline::with_capacity(1);
            pipeline.add_command(command.clone());
            single = pipeline;
            &single
        }
        Wire::Many(commands) => commands,
    };
    let mut replies = if asking {
        let mut asked = Pipeline::with_capacity(commands.len() * 2);
        for command in commands.cmd_iter() {
            asked.cmd("ASKING").add_command(command.clone());
        }
        let replies = connection
            .send_packed_commands(&asked, 0, asked.len())
            .await?;
        replies.into_iter().skip(1).step_by(2).collect()
    } else {
        connection
            .send_packed_commands(commands, 0, commands.len())
            .await?
    };
    match wire {
        Wire::Many(_) => Ok(Value::Array(replies)),
        Wire::One(_) | Wire::Durable(_) => replies
            .pop()
            .ok_or_else(|| passing("Redis answered nothing".to_owned())),
    }
}
