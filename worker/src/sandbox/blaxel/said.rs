//! What a job's program in the sandbox says (`inside/job.py`).

use serde::Deserialize;

use crate::sandbox::wire::{ArtifactMessage, DoneMessage, StillMessage};
use crate::sandbox::{Progress, RenderFailure};

/// What a job's program says.
#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum Said {
    Started,
    Again,
    Progress(Progress),
    Still(StillMessage),
    Text {
        bytes: String,
    },
    Artifact(Artifact),
    Failed(RenderFailure),
    Interrupted,
    Done(DoneMessage),
    End {
        ending: Option<String>,
        disk_free_bytes: u64,
        /// While it ran.
        disk_least_bytes: u64,
        /// Processes that the machine's kernel killed for want of memory, while it ran.
        #[serde(default)]
        oom_kills: u64,
    },
    /// Ours: the keeper, the disk, the code.
    Trouble {
        message: String,
    },
}

/// A result that it has taken out of the job.
#[derive(Deserialize)]
pub(super) struct Artifact {
    #[serde(flatten)]
    pub what: ArtifactMessage,
    #[serde(default)]
    pub path: String,
    #[serde(default)]
    pub copied: u64,
    #[serde(default)]
    pub sha256: String,
    #[serde(default)]
    pub md5: String,
    pub trouble: Option<String>,
}
