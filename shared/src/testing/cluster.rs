//! A Cluster of three primaries.

use redis::{Cmd, FromRedisValue, RedisResult, Value};

use super::certificates::Certificates;
use super::process::until;
use super::server::PortServer;
use crate::queue::RedisConfig;

/// Slots of a Cluster.
const SLOTS: u32 = 16384;
/// After this long without an answer a node holds another for dead.
const NODE_TIMEOUT_MS: &str = "5000";
/// Keys that are moved at a time.
const KEYS_AT_ONCE: usize = 100;

/// Three primaries with a third of the slots each, and further nodes if asked for.
pub struct ClusterSet {
    nodes: Vec<PortServer>,
    tls: bool,
}

impl ClusterSet {
    /// Starts them, and waits until all agree that the Cluster works.
    #[must_use]
    pub fn start(append_only: bool) -> Self {
        Self::start_with(append_only, 0, None)
    }

    /// Like [`Self::start`], with `replicas` (at most three) of the first primaries, and with TLS
    /// between all of them, and for clients.
    ///
    /// # Panics
    /// If it does not start.
    #[must_use]
    pub fn start_with(append_only: bool, replicas: usize, tls: Option<&Certificates>) -> Self {
        let mut settings = vec![
            "--cluster-enabled",
            "yes",
            "--cluster-node-timeout",
            NODE_TIMEOUT_MS,
            "--cluster-replica-validity-factor",
            "0",
            "--repl-diskless-sync-delay",
            "0",
        ];
        if tls.is_some() {
            settings.extend(["--tls-cluster", "yes", "--tls-replication", "yes"]);
        }
        let nodes = (0..3 + replicas)
            .map(|_| PortServer::start(append_only, &settings, tls))
            .collect();
        let set = Self {
            nodes,
            tls: tls.is_some(),
        };
        set.join(replicas);
        set
    }

    fn join(&self, replicas: usize) {
        for (n, node) in (0..).zip(&self.nodes) {
            // Two nodes of the same epoch would first have to settle who comes first.
            set(node, &["CLUSTER", "SET-CONFIG-EPOCH", &(n + 1).to_string()]);
            if n < 3 {
                let (first, last) = (SLOTS * n / 3, SLOTS * (n + 1) / 3 - 1);
                set(
                    node,
                    &[
                        "CLUSTER",
                        "ADDSLOTSRANGE",
                        &first.to_string(),
                        &last.to_string(),
                    ],
                );
            }
            set(
                &self.nodes[0],
                &[
                    "CLUSTER",
                    "MEET",
                    "127.0.0.1",
                    &node.told_port().to_string(),
                ],
            );
        }
        let known = format!("cluster_known_nodes:{}", self.nodes.len());
        let all_say = |what: &str| {
            self.nodes.iter().all(|node| {
                let info: RedisResult<String> = node.ask(redis::cmd("CLUSTER").arg("INFO"));
                info.is_ok_and(|text| text.contains(what))
            })
        };
        until("all nodes know of each other", || all_say(&known));
        for n in 0..replicas {
            let master: String = self.nodes[n]
                .ask(redis::cmd("CLUSTER").arg("MYID"))
                .expect("it answers");
            set(&self.nodes[3 + n], &["CLUSTER", "REPLICATE", &master]);
        }
        until("the Cluster works", || all_say("cluster_state:ok"));
        until("the replicas are in step", || {
            (0..replicas).all(|n| {
                let info: RedisResult<String> =
                    self.nodes[n].ask(redis::cmd("INFO").arg("replication"));
                info.is_ok_and(|text| text.contains("state=online"))
            })
        });
    }

    /// Its URL; two of the nodes are named.
    #[must_use]
    pub fn url(&self) -> String {
        let (one, two) = (self.nodes[0].told_port(), self.nodes[1].told_port());
        let scheme = if self.tls { "rediss" } else { "redis" };
        format!("{scheme}+cluster://127.0.0.1:{one},127.0.0.1:{two}")
    }

    /// Settings for a queue of its own (`prefix`).
    #[must_use]
    pub fn config(&self, prefix: &str) -> RedisConfig {
        RedisConfig {
            prefix: prefix.to_owned(),
            // What is fair is exact within a shard only.
            shards: Some(1),
            ..RedisConfig::new(self.url())
        }
    }

    /// The place of the node that has a key's slot.
    ///
    /// # Panics
    /// If nobody has it.
    #[must_use]
    pub fn owner(&self, key: &str) -> usize {
        let slot = self.slot(key);
        let mut owner = None;
        until("the slot has an owner", || {
            owner = self.nodes.iter().position(|node| owns(node, slot));
            owner.is_some()
        });
        owner.expect("just found")
    }

    fn slot(&self, key: &str) -> u16 {
        let mut command = redis::cmd("CLUSTER");
        command.arg("KEYSLOT").arg(key);
        let mut answers = self.nodes.iter().map(|node| node.ask(&command));
        answers.find_map(Result::ok).expect("a node answers")
    }

    /// One command to the node at a place.
    ///
    /// # Errors
    /// As Redis has it.
    pub fn ask_node<T: FromRedisValue>(&self, node: usize, command: &Cmd) -> RedisResult<T> {
        self.nodes[node].ask(command)
    }

    /// Begins to move the slot of `key` to node `to`: from now on it is asked for what is not here.
    pub fn begin_move(&self, key: &str, to: usize) {
        let (slot, from) = (self.slot(key).to_string(), self.owner(key));
        set(
            &self.nodes[to],
            &["CLUSTER", "SETSLOT", &slot, "IMPORTING", &self.id(from)],
        );
        set(
            &self.nodes[from],
            &["CLUSTER", "SETSLOT", &slot, "MIGRATING", &self.id(to)],
        );
    }

    /// Moves some keys of the slot that [`Self::begin_move`] named. False when there were none left.
    ///
    /// # Panics
    /// If Redis refuses.
    #[must_use]
    pub fn move_keys(&self, key: &str, to: usize) -> bool {
        let (slot, from) = (self.slot(key), self.owner(key));
        let mut command = redis::cmd("CLUSTER");
        command.arg("GETKEYSINSLOT").arg(slot).arg(KEYS_AT_ONCE);
        let keys: Vec<String> = self.nodes[from].ask(&command).expect("it answers");
        if keys.is_empty() {
            return false;
        }
        let mut command = redis::cmd("MIGRATE");
        command
            .arg("127.0.0.1")
            .arg(self.nodes[to].told_port())
            .arg("");
        command.arg(0).arg(5000).arg("KEYS").arg(&keys);
        let _: Value = self.nodes[from].ask(&command).expect("it moves them");
        true
    }

    /// Ends the move: node `to` has the slot now.
    pub fn end_move(&self, key: &str, to: usize) {
        let (slot, id) = (self.slot(key).to_string(), self.id(to));
        let from = self.owner(key);
        for node in [to, from] {
            set(
                &self.nodes[node],
                &["CLUSTER", "SETSLOT", &slot, "NODE", &id],
            );
        }
    }

    fn id(&self, node: usize) -> String {
        let mut command = redis::cmd("CLUSTER");
        self.nodes[node]
            .ask(command.arg("MYID"))
            .expect("it answers")
    }

    /// `kill -9` to a node.
    pub fn kill_node(&mut self, node: usize) {
        self.nodes[node].process.kill();
    }

    /// Starts a node again after [`Self::kill_node`], and waits until the Cluster works.
    ///
    /// # Panics
    /// If it does not start.
    pub fn restart_node(&mut self, node: usize) {
        self.nodes[node].restart();
        self.wait_until_it_works();
    }

    /// Stops a node where it is.
    pub fn freeze_node(&self, node: usize) {
        self.nodes[node].process.freeze();
    }

    /// Lets a node go on.
    pub fn thaw_node(&self, node: usize) {
        self.nodes[node].process.thaw();
    }

    /// `kill -9` to all.
    pub fn kill(&mut self) {
        for node in &mut self.nodes {
            node.process.kill();
        }
    }

    /// Starts all again after [`Self::kill`].
    pub fn restart(&mut self) {
        for node in &mut self.nodes {
            node.restart();
        }
        self.wait_until_it_works();
    }

    fn wait_until_it_works(&self) {
        until("the Cluster works", || {
            self.nodes.iter().all(|node| {
                let info: RedisResult<String> = node.ask(redis::cmd("CLUSTER").arg("INFO"));
                info.is_ok_and(|text| text.contains("cluster_state:ok"))
            })
        });
    }
}

/// Whether a node says of itself that it has a slot.
fn owns(node: &PortServer, slot: u16) -> bool {
    let text: RedisResult<String> = node.ask(redis::cmd("CLUSTER").arg("NODES"));
    let text = text.unwrap_or_default();
    let me = text.lines().find(|line| line.contains("myself"));
    let ranges = me.unwrap_or_default().split(' ').skip(8);
    ranges.filter(|range| !range.starts_with('[')).any(|range| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let number = |text: &str| text.parse::<u16>().unwrap_or(u16::MAX);
        (number(first)..=number(last)).contains(&slot)
    })
}

fn set(node: &PortServer, words: &[&str]) {
    let mut command = redis::cmd(words[0]);
    let () = node
        .ask(command.arg(&words[1..]))
        .unwrap_or_else(|error| panic!("{words:?}: {error}"));
}
