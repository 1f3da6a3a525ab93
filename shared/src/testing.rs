//! For tests: real Redis servers of one's own, in every topology, and a worker that claims from them. Each
//! server lives in a temporary folder, is killed when dropped or when the test process ends in whatever
//! way, and leaves nothing behind.
//!
//! [`Redis`] is for suites that must hold on all of them; `MANIMQ_TEST_TOPOLOGY` says which it is:
//! `standalone` (the default), `sentinel` or `cluster`. `MANIMQ_TEST_REDIS_SERVER` names another program
//! than `redis-server`, such as a `valkey-server`.

mod certificates;
mod cluster;
mod process;
mod sentinel;
mod server;
mod topology;

pub use certificates::Certificates;
pub use cluster::ClusterSet;
pub use sentinel::SentinelSet;
pub use server::RedisServer;
pub use topology::Redis;

use crate::ids::WorkerId;
use crate::queue::WorkerInfo;

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
