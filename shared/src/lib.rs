//! What the parts of manimq agree on: the job model, the queue, storage signing, the scene
//! policy, metrics and configuration. The API (`manimq`) and the worker (`manimq-worker`) both
//! depend on this crate and never on each other; they meet in Redis and in object storage.

pub mod api;
pub mod characters;
pub mod env_file;
pub mod ids;
pub mod job;
pub mod keys;
pub mod logging;
pub mod metrics;
pub mod queue;
pub mod scene_policy;
pub mod storage;
#[cfg(feature = "testing")]
pub mod testing;
pub mod tls;
pub mod traces;
pub mod watch;
pub mod webhook;
