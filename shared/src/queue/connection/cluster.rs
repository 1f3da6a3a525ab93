//! A Cluster: finds the server that has a slot, and follows the slots when they move.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::future::join_all;
use futures_util::stream::FuturesUnordered;
use redis::{Client, Cmd, Pipeline, RedisError, Value};
use tokio::time::{Instant, timeout_at};

use super::link::{late, passing};
use super::node::{Failure, Node, Reply, Source, Wire, refusal};
use super::retry::{Retry, is_final};
use super::slots::{self, Range, SLOTS};
use super::tls::Maker;
use super::url::Host;
use super::{RESPONSE_TIMEOUT, Unrest};

/// Longest wait for servers to say who has which slots.
const MAP_TIMEOUT: Duration = Duration::from_secs(2);
/// Most servers that are asked for it at once.
const ASKED_MAX: usize = 8;

/// A Cluster.
pub struct Cluster {
    seeds: Vec<Host>,
    maker: Maker,
    /// Connections for calls to each server.
    lanes: usize,
    /// Every server that was talked to since the map was made, with its connections.
    nodes: Mutex<HashMap<Host, Arc<Node>>>,
    map: Mutex<Arc<Map>>,
    /// Set when the map was seen to be wrong.
    stale: AtomicBool,
    /// Held by the one task that asks for a new map; the others wait for it and share its failure.
    refreshing: tokio::sync::Mutex<Option<(Instant, RedisError)>>,
    /// For calls that any server can answer.
    next: AtomicUsize,
    unrest: Unrest,
}

/// Who has which slots, at one time.
#[derive(Default)]
struct Map {
    /// Number of the map, from 1; 0 is the empty one at the start.
    number: u64,
    /// For each slot the place of its server in `primaries`, or [`NOBODY`].
    owners: Vec<u16>,
    primaries: Vec<Host>,
}

const NOBODY: u16 = u16::MAX;

impl Map {
    fn new(number: u64, ranges: Vec<Range>) -> Self {
        let mut map = Self {
            number,
            owners: vec![NOBODY; SLOTS],
            primaries: Vec::new(),
        };
        for (first, last, host) in ranges {
            let known = map.primaries.iter().position(|known| *known == host);
            let at = known.unwrap_or_else(|| {
                map.primaries.push(host);
                map.primaries.len() - 1
            });
            let at = u16::try_from(at).unwrap_or(NOBODY);
            for slot in first..=last {
                map.owners[usize::from(slot)] = at;
            }
        }
        map
    }

    fn owner(&self, slot: u16) -> Option<&Host> {
        let at = *self.owners.get(usize::from(slot))?;
        self.primaries.get(usize::from(at))
    }
}

/// What to do after one try.
enum Step {
    Done(Reply),
    Failed(RedisError),
    /// Nobody knows whether it took effect.
    Broke(RedisError),
    /// Look up the owner again.
    Again(RedisError, Patience),
    /// To this server instead; with `true`, it is asked to answer for a slot that it is about to get.
    Redirected(Host, bool, RedisError),
}

/// How long to try again.
enum Patience {
    /// For what should pass at once.
    Short,
    /// As long as the call may take: a slot is on its way.
    Whole,
}

impl Cluster {
    /// Nothing is asked yet.
    pub fn new(seeds: Vec<Host>, maker: Maker, lanes: usize, unrest: Unrest) -> Self {
        Self {
            seeds,
            maker,
            lanes,
            nodes: Mutex::default(),
            map: Mutex::default(),
            stale: AtomicBool::new(true),
            refreshing: tokio::sync::Mutex::default(),
            next: AtomicUsize::new(0),
            unrest,
        }
    }

    /// Sends to the server that has the slot (to any, without one), following redirections. `repeat`
    /// says that it may be sent again if the connection broke.
    pub async fn exchange(
        &self,
        wire: Wire<'_>,
        slot: Option<u16>,
        repeat: bool,
        deadline: Instant,
    ) -> Result<Reply, RedisError> {
        let mut retry = Retry::until(deadline, repeat);
        let mut redirected = None;
        loop {
            let step = match redirected.take() {
                Some((host, asking)) => self.step(wire, &host, asking, deadline).await,
                None => match timeout_at(deadline, self.host(slot)).await {
                    Err(_) => Step::Failed(late("finding the server of a slot", RESPONSE_TIMEOUT)),
                    Ok(Err(error)) if is_final(&error) => Step::Failed(error),
                    Ok(Err(error)) => Step::Again(error, Patience::Short),
                    Ok(Ok(host)) => self.step(wire, &host, false, deadline).await,
                },
            };
            match step {
                Step::Done(reply) => return Ok(reply),
                Step::Failed(error) => return Err(error),
                Step::Broke(error) => retry.sent_again(error)?,
                Step::Again(error, Patience::Short) => retry.soon(error).await?,
                Step::Again(error, Patience::Whole) => retry.later(error).await?,
                Step::Redirected(host, asking, error) => {
                    retry.redirected(error).await?;
                    redirected = Some((host, asking));
                }
            }
        }
    }

    async fn step(&self, wire: Wire<'_>, host: &Host, asking: bool, deadline: Instant) -> Step {
        let node = match self.node(host) {
            Ok(node) => node,
            Err(error) => return Step::Failed(error),
        };
        match node.exchange(wire, asking, deadline).await {
            Ok(reply) => self.judge(wire, host, reply, deadline).await,
            Err(Failure::NotSent(error)) if is_final(&error) => Step::Failed(error),
            Err(Failure::NotSent(error)) => {
                self.distrust();
                Step::Again(error, Patience::Short)
            }
            Err(Failure::Broke(error)) => {
                self.distrust();
                Step::Broke(error)
            }
        }
    }

    /// What to do about a reply of `host`.
    async fn judge(&self, wire: Wire<'_>, host: &Host, reply: Reply, deadline: Instant) -> Step {
        let Some(error) = refusal(&reply.0) else {
            return Step::Done(reply);
        };
        let code = error.code().to_owned();
        let detail = error.details();
        let target = detail.and_then(|detail| slots::redirection(detail, host));
        let error = RedisError::from(error.clone());
        match (code.as_str(), target, wire) {
            ("MOVED", Some(target), _) => {
                // The one that was named knows best who has what now.
                let _ = timeout_at(deadline, self.refresh(Some(&target))).await;
                Step::Redirected(target, false, error)
            }
            ("ASK", Some(target), Wire::Many(commands)) => {
                self.ask_for_some(commands, reply, &target, deadline).await
            }
            ("ASK", Some(target), _) => Step::Redirected(target, true, error),
            // Some of its keys are here and some there.
            ("TRYAGAIN", ..) => Step::Again(error, Patience::Whole),
            ("CLUSTERDOWN" | "READONLY" | "MASTERDOWN" | "LOADING", ..) => {
                self.distrust();
                Step::Again(error, Patience::Short)
            }
            _ => Step::Failed(error),
        }
    }

    /// Sends to `target` those of several commands whose keys are not here any more, or nowhere yet. The
    /// others found theirs here; sent there as well, they would make them a second time.
    async fn ask_for_some(
        &self,
        commands: &Pipeline,
        (reply, kept): Reply,
        target: &Host,
        deadline: Instant,
    ) -> Step {
        let Value::Array(mut replies) = reply else {
            return Step::Done((reply, kept));
        };
        let mut places = Vec::new();
        let mut some = Pipeline::new();
        for (n, command) in commands.cmd_iter().enumerate() {
            if refusal(&replies[n]).is_some_and(|error| error.code() == "ASK") {
                places.push(n);
                some.add_command(command.clone());
            }
        }
        let node = match self.node(target) {
            Ok(node) => node,
            Err(error) => return Step::Failed(error),
        };
        let there = match node.exchange(Wire::Many(&some), true, deadline).await {
            Ok((Value::Array(there), _)) => there,
            Ok((reply, _)) => vec![reply],
            Err(Failure::NotSent(error)) => return Step::Again(error, Patience::Whole),
            Err(Failure::Broke(error)) => return Step::Broke(error),
        };
        for (n, reply) in places.into_iter().zip(there) {
            replies[n] = reply;
        }
        let reply = Value::Array(replies);
        match refusal(&reply) {
            None => Step::Done((reply, kept)),
            Some(error) if matches!(error.code(), "TRYAGAIN" | "ASK" | "MOVED") => {
                Step::Again(error.clone().into(), Patience::Whole)
            }
            Some(error) => Step::Failed(error.clone().into()),
        }
    }

    /// Sends to each primary, and answers with their replies or the first error; all were asked even so.
    pub async fn every_primary(
        &self,
        command: &Cmd,
        deadline: Instant,
    ) -> Result<Vec<Value>, RedisError> {
        self.distrust();
        let map = timeout_at(deadline, self.fresh_map())
            .await
            .unwrap_or_else(|_| {
                Err(late("finding the servers of the Cluster", RESPONSE_TIMEOUT))
            })?;
        let calls = map.primaries.iter().map(|host| async {
            let node = self.node(host)?;
            let sent = node.exchange(Wire::One(command), false, deadline).await;
            let (value, _) = sent.map_err(Failure::into_error)?;
            value.extract_error()
        });
        join_all(calls).await.into_iter().collect()
    }

    /// A client for the server that has the slot, or for any.
    pub async fn client(&self, slot: Option<u16>) -> Result<Client, RedisError> {
        let host = self.host(slot).await?;
        self.maker.host(&host)
    }

    /// Notes that the map may be wrong: the next call asks for a new one.
    pub fn distrust(&self) {
        self.stale.store(true, Ordering::Relaxed);
    }

    async fn host(&self, slot: Option<u16>) -> Result<Host, RedisError> {
        let map = self.fresh_map().await?;
        let Some(slot) = slot else {
            let n = self.next.fetch_add(1, Ordering::Relaxed);
            return Ok(map.primaries[n % map.primaries.len()].clone());
        };
        map.owner(slot).cloned().ok_or_else(|| {
            self.distrust();
            passing(format!("no server of the Cluster has slot {slot}"))
        })
    }

    fn map(&self) -> Arc<Map> {
        Arc::clone(&self.map.lock().expect("no panic while locked"))
    }

    /// The map; a new one if the present one is doubted and somebody answers. Never an empty one.
    async fn fresh_map(&self) -> Result<Arc<Map>, RedisError> {
        if !self.stale.load(Ordering::Relaxed) {
            return Ok(self.map());
        }
        let refreshed = self.refresh(None).await;
        let map = self.map();
        if map.primaries.is_empty() {
            refreshed?;
        }
        Ok(map)
    }

    fn node(&self, host: &Host) -> Result<Arc<Node>, RedisError> {
        let mut nodes = self.nodes.lock().expect("no panic while locked");
        if let Some(node) = nodes.get(host) {
            return Ok(Arc::clone(node));
        }
        let source = Source::Fixed(Box::new(self.maker.host(host)?));
        let node = Arc::new(Node::new(source, self.lanes, self.unrest.clone()));
        nodes.insert(host.clone(), Arc::clone(&node));
        Ok(node)
    }

    /// Asks for a new map: `first`, if there is one, then whoever answers first.
    async fn refresh(&self, first: Option<&Host>) -> Result<(), RedisError> {
        let seen = self.map().number;
        let arrived = Instant::now();
        let mut failed = self.refreshing.lock().await;
        if self.map().number > seen {
            return Ok(());
        }
        if let Some((when, how)) = &*failed
            && *when >= arrived
        {
            return Err(how.clone());
        }
        // Before asking: a doubt that comes up meanwhile must not be forgotten.
        self.stale.store(false, Ordering::Relaxed);
        let mut found = match first {
            Some(host) => self.ask(std::slice::from_ref(host)).await,
            None => Err(passing("nobody was asked".to_owned())),
        };
        if found.is_err() {
            found = self.ask(&self.candidates(seen)).await;
        }
        match found {
            Ok(ranges) => {
                let map = Map::new(seen + 1, ranges);
                tracing::debug!(primaries = map.primaries.len(), "read who has which slots");
                let mut nodes = self.nodes.lock().expect("no panic while locked");
                nodes.retain(|host, _| map.primaries.contains(host));
                *self.map.lock().expect("no panic while locked") = Arc::new(map);
                *failed = None;
                Ok(())
            }
            Err(error) => {
                self.distrust();
                *failed = Some((Instant::now(), error.clone()));
                Err(error)
            }
        }
    }

    /// Whom to ask; not always the same ones first, as those may be gone.
    fn candidates(&self, number: u64) -> Vec<Host> {
        let mut hosts = self.map().primaries.clone();
        for seed in &self.seeds {
            if !hosts.contains(seed) {
                hosts.push(seed.clone());
            }
        }
        let turn = usize::try_from(number).unwrap_or(0) % hosts.len().max(1);
        hosts.rotate_left(turn);
        hosts.truncate(ASKED_MAX);
        hosts
    }

    /// The first good answer of these servers.
    async fn ask(&self, hosts: &[Host]) -> Result<Vec<Range>, RedisError> {
        let deadline = Instant::now() + MAP_TIMEOUT;
        let mut command = redis::cmd("CLUSTER");
        command.arg("SLOTS");
        let command = &command;
        let mut asked: FuturesUnordered<_> = hosts
            .iter()
            .map(|host| async move {
                let node = self.node(host)?;
                let sent = node.exchange(Wire::One(command), false, deadline).await;
                let (reply, _) = sent.map_err(Failure::into_error)?;
                let ranges = slots::ranges(&reply.extract_error()?, host);
                ranges.filter(|ranges| !ranges.is_empty()).ok_or_else(|| {
                    passing(format!("{}:{} knows no owner of any slot", host.0, host.1))
                })
            })
            .collect();
        let mut failure = None;
        while let Some(answer) = asked.next().await {
            match answer {
                Ok(ranges) => return Ok(ranges),
                // What an operator must set right says more than a server that is away.
                Err(error) if failure.as_ref().is_none_or(|f| !is_final(f)) => {
                    failure = Some(error)
                }
                Err(_) => {}
            }
        }
        Err(failure.unwrap_or_else(|| passing("REDIS_URL names no server".to_owned())))
    }
}
