//! The job model: what a producer asks for, what becomes of it, and how both are told.
//!
//! Everything here is wire format: API bodies, the payload in Redis and the job's result use
//! these types. Additions must be optional on reading, since Redis may hold what an older
//! version wrote.
//!
//! Here is where a job is in its life; what was asked for is in `request`, what came of it in
//! `result` and `failure`.

mod failure;
mod files;
pub(crate) mod objects;
mod rate;
mod request;
mod result;
mod text;

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

pub use failure::{FailureClass, JobError, SourceLocation};
pub use files::{
    JOB_FILE_NAME_BYTES_MAX, JOB_FILES_MAX, JobFile, check_file_name, check_files, is_module,
};
pub use rate::FrameRate;
pub use request::{
    Aspect, ByModel, CacheMode, CodeUse, DEADLINE_S_MAX, Encoder, Fallback, FieldError, Format,
    JobInput, JobPayload, JobRequest, METADATA_BYTES_MAX, METADATA_KEYS_MAX, ModelPart, OutputSpec,
    PROMPT_CHARS_MAX, Quality, SIDE_MAX, SOURCE_FILE_NAME_BYTES_MAX, SOURCE_FILE_NAME_DEFAULT,
    TAG_BYTES_MAX, TAGS_MAX, TIMEOUT_S_DEFAULT, TIMEOUT_S_MAX, TemplateRef, check_source_file_name,
};
pub use result::{ArtifactRole, JobResult, StoredArtifact, Timings, Usage};
pub use text::UnknownText;

use crate::ids::{Epoch, JobId, TenantId, WorkerId};
use text::text_enum;

text_enum! {
    /// Where a job is in its life. Programs branch on this. The last four are terminal and never change.
    Status {
        /// Waiting to be claimed (also between two attempts).
        Queued = "queued",
        /// A worker holds the lease.
        Running = "running",
        /// Terminal: the artifacts are published.
        Succeeded = "succeeded",
        /// Terminal: see `error`.
        Failed = "failed",
        /// Terminal: somebody cancelled it.
        Canceled = "canceled",
        /// Terminal: its deadline passed before a worker took it.
        Expired = "expired",
    }
}

impl Status {
    /// Whether nothing can happen to the job any more.
    #[must_use]
    pub const fn is_terminal(self) -> bool {
        match self {
            Self::Queued | Self::Running => false,
            Self::Succeeded | Self::Failed | Self::Canceled | Self::Expired => true,
        }
    }
}

text_enum! {
    /// What is being done right now. People read this.
    Stage {
        /// Stored and waiting.
        Accepted = "accepted",
        /// The scene policy reads the source.
        Validating = "validating",
        /// A slot has it: the sandbox is being set up, the scene is being loaded.
        Preparing = "preparing",
        /// Frames are being drawn.
        Rendering = "rendering",
        /// The file is being finished.
        Encoding = "encoding",
        /// The artifacts are on their way to storage.
        Uploading = "uploading",
    }
}

text_enum! {
    /// Priority class within a tenant.
    Lane {
        /// Somebody watches: taken first.
        Interactive = "interactive",
        /// The default.
        Normal = "normal",
        /// Whenever there is room.
        Batch = "batch",
    }
}

text_enum! {
    /// What an operator has paused, so that a job does not start.
    Paused {
        /// Everything.
        All = "all",
        /// The job's tenant.
        Tenant = "tenant",
        /// The lane `interactive` of all tenants.
        Interactive = "interactive",
        /// The lane `normal` of all tenants.
        Normal = "normal",
        /// The lane `batch` of all tenants.
        Batch = "batch",
    }
}

impl From<Lane> for Paused {
    fn from(lane: Lane) -> Self {
        match lane {
            Lane::Interactive => Self::Interactive,
            Lane::Normal => Self::Normal,
            Lane::Batch => Self::Batch,
        }
    }
}

impl Lane {
    /// The digit that names the lane in Redis keys and fields.
    #[must_use]
    pub const fn digit(self) -> u8 {
        match self {
            Self::Interactive => 0,
            Self::Normal => 1,
            Self::Batch => 2,
        }
    }

    /// The lane of a digit that [`Lane::digit`] gave.
    #[must_use]
    pub const fn from_digit(digit: u8) -> Option<Self> {
        match digit {
            0 => Some(Self::Interactive),
            1 => Some(Self::Normal),
            2 => Some(Self::Batch),
            _ => None,
        }
    }
}

/// How far a running job is.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Progress {
    /// What is being done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stage: Option<Stage>,
    /// Share of the frames that are done, 0 to 1, once the total is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fraction: Option<f64>,
    /// Frames drawn.
    #[serde(default)]
    pub frames_done: u64,
    /// Frames in all, once known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub frames_total: Option<u64>,
    /// The animation that is being drawn, from 1; 0 before the first.
    #[serde(default)]
    pub animation: u32,
    /// Animations in all, once known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub animations_total: Option<u32>,
    /// Frames drawn of the present animation.
    #[serde(default)]
    pub animation_frames: u64,
    /// Frames of the present animation, once known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub animation_frames_total: Option<u64>,
    /// Expected seconds until the end of the render, once known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub eta_s: Option<f64>,
    /// A picture of the film, while it is still being drawn.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub poster: Option<EarlyPoster>,
}

/// Name of the file that an [`EarlyPoster`] tells of, of its attempt.
pub const EARLY_POSTER: &str = "preview.jpg";

/// A picture of a film that is still being drawn: one a second or more into drawing, small, and only until the job
/// ends. The result has a better one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct EarlyPoster {
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// The attempt that made it.
    #[schema(value_type = u64)]
    pub epoch: Epoch,
    /// A signed URL of the JPEG, added by the API.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
}

text_enum! {
    /// How one attempt ended.
    AttemptOutcome {
        /// Its result was published.
        Succeeded = "succeeded",
        /// It failed; see the attempt's error.
        Failed = "failed",
        /// It was interrupted by a cancel.
        Canceled = "canceled",
        /// Its lease ran out: the worker died, hung or was cut off.
        LostLease = "lost_lease",
        /// The worker gave it back unfinished (drain); not counted.
        Released = "released",
    }
}

/// One attempt that has ended, or the one that runs (`ended_at` and `outcome` empty).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Attempt {
    /// Number of the attempt, from 1.
    pub n: u32,
    /// The fencing number of its lease.
    #[schema(value_type = u64)]
    pub epoch: Epoch,
    /// Who ran it.
    #[schema(value_type = String)]
    pub worker: WorkerId,
    /// When it was claimed.
    #[schema(value_type = String, format = DateTime)]
    pub started_at: Timestamp,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub ended_at: Option<Timestamp>,
    /// How it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<AttemptOutcome>,
    /// Failure class, if it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class: Option<FailureClass>,
}

/// Everything that is known of a job, as the queue gives it.
#[derive(Debug, Clone)]
pub struct JobRecord {
    /// The job.
    pub id: JobId,
    /// Whose it is.
    pub tenant: TenantId,
    /// Where it is in its life.
    pub status: Status,
    /// Its lane.
    pub lane: Lane,
    /// Grows with each change.
    pub revision: u64,
    /// When it was accepted.
    pub created_at: Timestamp,
    /// When the current or last attempt was claimed.
    pub started_at: Option<Timestamp>,
    /// When it became terminal.
    pub finished_at: Option<Timestamp>,
    /// When the record will be forgotten.
    pub expires_at: Option<Timestamp>,
    /// When somebody asked to cancel it.
    pub cancel_requested_at: Option<Timestamp>,
    /// When the next attempt may start (delayed start or back-off).
    pub not_before: Option<Timestamp>,
    /// Place in its tenant's lane, from 1, while queued.
    pub position: Option<u64>,
    /// What an operator has paused, so that it does not start; while queued.
    pub paused: Option<Paused>,
    /// A rough guess of when it starts, from now, while queued; `None` if nothing can be said.
    pub expected_wait: Option<Duration>,
    /// How far it is, while running.
    pub progress: Progress,
    /// All attempts, the current one last.
    pub attempts: Vec<Attempt>,
    /// The job that renders, or has rendered, for this one: they asked for the same work.
    pub rendered_by: Option<JobId>,
    /// Whether an earlier job's result answered it at once.
    pub cached: bool,
    /// What was asked for.
    pub payload: JobPayload,
    /// What came of it, once terminal.
    pub result: Option<JobResult>,
}
