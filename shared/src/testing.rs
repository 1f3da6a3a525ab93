//! For tests: real Redis servers of one's own, in every topology, a worker that claims from them, and a look at films. Each
//! server lives in a temporary folder, is killed when dropped or when the test process ends in whatever
//! way, and leaves nothing behind.
//!
//! [`Redis`] is for suites that must hold on all of them; `MANIMQ_TEST_TOPOLOGY` says which it is:
//! `standalone` (the default), `sentinel` or `cluster`. `MANIMQ_TEST_REDIS_SERVER` names another program
//! than `redis-server`, such as a `valkey-server`.

mod certificates;
mod cluster;
pub mod film;
mod process;
mod sentinel;
mod server;
mod topology;

pub use certificates::Certificates;
pub use cluster::ClusterSet;
pub use sentinel::SentinelSet;
pub use server::RedisServer;
pub use topology::Redis;

use std::path::{Path, PathBuf};

use crate::ids::{JobId, WorkerId};
use crate::queue::{Queue, WorkerInfo};

/// The Python environment with Manim: `MANIMQ_PYTHON_ENV`, or what `deploy/setup` made in this checkout.
///
/// # Panics
/// If it is not there.
#[must_use]
pub fn python_env() -> PathBuf {
    let path = std::env::var_os("MANIMQ_PYTHON_ENV").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../.manimq/python"),
        PathBuf::from,
    );
    assert!(
        path.join("bin/manim").exists(),
        "there is no Python environment with Manim at {}: run deploy/setup, or set MANIMQ_PYTHON_ENV",
        path.display()
    );
    path
}

/// What a job waits for, as a retry does, is now.
///
/// # Panics
/// If it waits for no time, or Redis is away.
pub async fn is_due(queue: &Queue, job: JobId) {
    let mut command = redis::cmd("ZADD");
    let due = format!("{}:due", queue.keys_of(job).base());
    command.arg(due).arg("XX").arg("CH").arg(0).arg(job.short());
    let changed: i64 = queue.query(&command).await.expect("Redis answers");
    assert_eq!(changed, 1, "{job} waits for no time");
}

/// What a worker of a test says of itself: all its slots are ready, and no result of it is reused.
#[must_use]
pub fn worker(slots: u32) -> WorkerInfo {
    WorkerInfo {
        id: WorkerId::generate(),
        host: "test".to_owned(),
        version: "0".to_owned(),
        slots,
        slots_ready: slots,
        slots_busy: 0,
        draining: false,
        trouble: None,
        renderer: String::new(),
    }
}
