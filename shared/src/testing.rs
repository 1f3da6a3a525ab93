//! For tests: real Redis servers of one's own, in every topology. Each lives in a temporary folder, is
//! killed when dropped or when the test process ends in whatever way, and leaves nothing behind.
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
