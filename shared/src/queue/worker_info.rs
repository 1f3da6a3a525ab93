//! What a worker says of itself, and its farewell.

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::call::Args;
use super::{Queue, QueueError};
use crate::ids::WorkerId;

/// What a worker says of itself with each call.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WorkerInfo {
    /// Its id.
    pub id: WorkerId,
    /// Host it runs on.
    pub host: String,
    /// Its version.
    pub version: String,
    /// Slots in all.
    pub slots: u32,
    /// Slots whose sandbox is verified, idle or busy.
    pub slots_ready: u32,
    /// Slots that run a job.
    pub slots_busy: u32,
    /// Whether it takes no new jobs.
    pub draining: bool,
    /// Why slots are not ready, if some are not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
    /// What renders there: versions and settings that decide the pictures. Results are reused only
    /// while it stays the same; empty: never.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub renderer: String,
}

impl WorkerInfo {
    /// Slots that count for the elastic bound.
    pub(super) const fn slots_offered(&self) -> u32 {
        if self.draining { 0 } else { self.slots_ready }
    }

    /// The renderer in eight bytes; zeros for none.
    pub(super) fn renderer_digest(&self) -> [u8; 8] {
        if self.renderer.is_empty() {
            return [0; 8];
        }
        let digest = Sha256::digest(&self.renderer);
        digest.first_chunk().copied().unwrap_or_default()
    }
}

impl Queue {
    /// The shard to which a worker says what it is, and shows as often as any that it lives.
    pub(super) fn home(&self, worker: WorkerId) -> usize {
        let [.., a, b] = worker.as_bytes();
        usize::from(u16::from_be_bytes([*a, *b])) % self.keys.len()
    }

    /// What a worker says of itself to a shard, JSON: nothing, but to its home.
    pub(super) fn told_to(&self, shard: usize, worker: &WorkerInfo) -> Result<Vec<u8>, QueueError> {
        if shard != self.home(worker.id) {
            return Ok(Vec::new());
        }
        Ok(serde_json::to_vec(worker)?)
    }

    /// Tells that a worker stopped.
    ///
    /// # Errors
    /// [`QueueError::Unavailable`]; it is forgotten after its time to live anyway.
    pub async fn leave(&self, worker: WorkerId) -> Result<(), QueueError> {
        for shard in self.shards() {
            self.call(shard, "leave", &Args::new().show(worker).0)
                .await?;
        }
        Ok(())
    }
}
