//! The Redis of a run, and how it fails.
//!
//! | topology | killed | frozen | may lose what it acknowledged |
//! | --- | --- | --- | --- |
//! | standalone | starts again on its file | goes on | no: synced on every write |
//! | sentinel | its replica takes its place | the same | yes: what the replica did not have yet |
//! | cluster | the node starts again on its file | goes on | no |

use std::path::PathBuf;
use std::time::{Duration, Instant};

use manimq_shared::queue::RedisConfig;
use manimq_shared::testing::{ClusterSet, RedisServer, SentinelSet};

/// A master that was frozen is let go on only after so long: nobody waits for an answer of it any more.
const FROZEN_MIN: Duration = Duration::from_secs(8);
/// Between two batches of keys of a slot that moves.
const MOVE_EVERY: Duration = Duration::from_millis(20);

/// The Redis of a run.
pub enum Topology {
    Standalone(RedisServer),
    /// With the servers that show what a master had when it was replaced.
    Sentinel(SentinelSet, Vec<RedisServer>),
    Cluster(ClusterSet),
}

/// A server that does not answer.
#[derive(Debug, Clone, Copy)]
pub struct Down {
    /// Its place or its port.
    server: u16,
    frozen: bool,
    since: Instant,
}

impl Topology {
    pub fn standalone() -> Self {
        Self::Standalone(RedisServer::start_durable())
    }

    pub fn sentinel() -> Self {
        Self::Sentinel(SentinelSet::start(true), Vec::new())
    }

    pub fn cluster() -> Self {
        Self::Cluster(ClusterSet::start(true))
    }

    /// How it is reached, past all proxies.
    pub fn config(&self, prefix: &str) -> RedisConfig {
        match self {
            Self::Standalone(server) => server.config(prefix),
            Self::Sentinel(set, _) => set.config(prefix),
            // As many shards as there are by default.
            Self::Cluster(set) => RedisConfig {
                shards: None,
                ..set.config(prefix)
            },
        }
    }

    /// The socket before which each process gets a proxy of its own. There is none where clients are
    /// told by Redis whom to talk to.
    pub fn socket(&self) -> Option<PathBuf> {
        match self {
            Self::Standalone(server) => Some(server.socket()),
            Self::Sentinel(..) | Self::Cluster(_) => None,
        }
    }

    /// `kill -9` to the server, the master, or one of the nodes.
    pub fn kill(&mut self, pick: u64) -> Down {
        let server = match self {
            Self::Standalone(server) => {
                server.kill();
                0
            }
            Self::Sentinel(set, _) => {
                let port = strand(set, pick);
                set.kill_at(port);
                set.thaw_other(port);
                port
            }
            Self::Cluster(set) => {
                let node = node(pick);
                set.kill_node(node.into());
                node
            }
        };
        Down::now(server, false)
    }

    /// The same with SIGSTOP.
    pub fn freeze(&mut self, pick: u64) -> Down {
        let server = match self {
            Self::Standalone(server) => {
                server.freeze();
                0
            }
            Self::Sentinel(set, _) => {
                let port = strand(set, pick);
                set.freeze_at(port);
                set.thaw_other(port);
                port
            }
            Self::Cluster(set) => {
                let node = node(pick);
                set.freeze_node(node.into());
                node
            }
        };
        Down::now(server, true)
    }

    /// Brings a server back; returns when all is as it should be. Behind sentinels another server is
    /// the master then.
    pub fn bring_back(&mut self, down: Down) {
        match self {
            Self::Standalone(server) if down.frozen => server.thaw(),
            Self::Standalone(server) => server.restart(),
            Self::Sentinel(set, copies) => {
                set.wait_for_another_master(down.server);
                if down.frozen {
                    std::thread::sleep(FROZEN_MIN.saturating_sub(down.since.elapsed()));
                }
                // Before it becomes a replica, and forgets.
                copies.push(set.copy_of(down.server));
                if down.frozen {
                    set.thaw();
                } else {
                    set.revive(down.server);
                }
                set.wait_for_replica();
            }
            Self::Cluster(set) if down.frozen => set.thaw_node(down.server.into()),
            Self::Cluster(set) => set.restart_node(down.server.into()),
        }
    }

    /// Moves the slot of a key to another node, a few keys at a time.
    pub fn move_slot(&self, key: &str) {
        let Self::Cluster(set) = self else {
            return;
        };
        let to = (set.owner(key) + 1) % 3;
        set.begin_move(key, to);
        while set.move_keys(key, to) {
            std::thread::sleep(MOVE_EVERY);
        }
        set.end_move(key, to);
    }

    /// Servers with what masters had when they were replaced.
    pub fn copies(&self, prefix: &str) -> Vec<RedisConfig> {
        match self {
            Self::Sentinel(_, copies) => copies.iter().map(|copy| copy.config(prefix)).collect(),
            Self::Standalone(_) | Self::Cluster(_) => Vec::new(),
        }
    }
}

impl Down {
    fn now(server: u16, frozen: bool) -> Self {
        Self {
            server,
            frozen,
            since: Instant::now(),
        }
    }
}

/// Has the master take writes for a moment that nobody else has. Returns its port.
fn strand(set: &SentinelSet, pick: u64) -> u16 {
    let port = set.strand_replica();
    std::thread::sleep(Duration::from_millis(pick % 500));
    port
}

/// One of the three nodes.
fn node(pick: u64) -> u16 {
    (pick % 3) as u16
}
