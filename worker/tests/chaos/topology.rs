//! The Redis of a run, and how it fails.
//!
//! Another topology is another variant: how it is reached, whether a proxy can stand before it,
//! and which of the server's faults it knows.

use std::path::PathBuf;

use manimq_shared::queue::{Queue, RedisConfig};
use manimq_shared::testing::RedisServer;
use rustix::process::{Pid, Signal, kill_process};

/// The Redis of a run.
pub enum Topology {
    /// One server with an append-only file, synced on every write: what it acknowledged is there
    /// after a `kill -9`.
    Standalone(RedisServer),
}

impl Topology {
    pub fn standalone() -> Self {
        Self::Standalone(RedisServer::start_durable())
    }

    /// How the driver reaches it, past all proxies.
    pub fn config(&self, prefix: &str) -> RedisConfig {
        match self {
            Self::Standalone(server) => server.config(prefix),
        }
    }

    /// The socket before which each process gets a proxy of its own.
    pub fn socket(&self) -> PathBuf {
        match self {
            Self::Standalone(server) => server.socket(),
        }
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        match self {
            Self::Standalone(server) => server.kill(),
        }
    }

    /// Starts it again; returns when it answers.
    pub fn restart(&mut self) {
        match self {
            Self::Standalone(server) => server.restart(),
        }
    }
}

/// A server that was stopped with SIGSTOP.
#[derive(Debug, Clone, Copy)]
pub struct Hung(Pid);

impl Hung {
    /// Stops the server that answers this queue; `None` if it does not.
    pub async fn hang(queue: &Queue) -> Option<Self> {
        let mut info = redis::cmd("INFO");
        info.arg("server");
        let info: String = queue.query(&info).await.ok()?;
        let mut lines = info.lines();
        let pid = lines.find_map(|line| line.strip_prefix("process_id:"))?;
        let pid = Pid::from_raw(pid.trim().parse().ok()?)?;
        kill_process(pid, Signal::STOP).ok()?;
        Some(Self(pid))
    }

    /// Lets it go on.
    pub fn go_on(self) {
        let _ = kill_process(self.0, Signal::CONT);
    }
}
