//! What came of a job.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::text::text_enum;
use super::{JobError, Stage};

text_enum! {
    /// What an artifact is for.
    ArtifactRole {
        /// The film.
        Video = "video",
        /// The film of one section, in their order.
        Section = "section",
        /// The picture of a `png` job.
        Image = "image",
        /// A still that stands for the film.
        Poster = "poster",
        /// What is said in the film (SubRip).
        Subtitles = "subtitles",
        /// The scene's output.
        Log = "log",
    }
}

/// One file of a result, as Redis keeps it: never with a URL, which is minted on each read.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StoredArtifact {
    /// File name, unique in the job; chosen by manimq, never by the scene.
    pub name: String,
    /// What it is for.
    pub role: ArtifactRole,
    /// MIME type.
    pub mime: String,
    /// Where it lies in object storage.
    pub key: String,
    /// Size.
    pub bytes: u64,
    /// SHA-256 of the content, in hex.
    pub sha256: String,
    /// Pixels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub width: Option<u32>,
    /// Pixels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub height: Option<u32>,
    /// Frames a second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fps: Option<f64>,
    /// Length.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration_s: Option<f64>,
    /// Number of frames.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub frames: Option<u64>,
}

/// Where a job's time went, in seconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Timings {
    /// From submit to the claim that succeeded.
    #[serde(default)]
    pub queued_s: f64,
    /// Sandbox set-up and loading of the scene.
    #[serde(default)]
    pub prepare_s: f64,
    /// Drawing (and encoding, which runs beside it).
    #[serde(default)]
    pub render_s: f64,
    /// What encoding took after the last frame was drawn.
    #[serde(default)]
    pub encode_s: f64,
    /// Storing the artifacts.
    #[serde(default)]
    pub upload_s: f64,
}

/// What a job used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Usage {
    /// Processor seconds.
    #[serde(default)]
    pub cpu_s: f64,
    /// Largest resident memory.
    #[serde(default)]
    pub peak_memory_bytes: u64,
    /// Frames drawn.
    #[serde(default)]
    pub frames: u64,
    /// Animations played.
    #[serde(default)]
    pub animations: u32,
}

/// What an accepted `finish` or `fail` stores.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct JobResult {
    /// What was published.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub artifacts: Vec<StoredArtifact>,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<JobError>,
    /// What was done last, of a job that failed; `None` if nobody could say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stage: Option<Stage>,
    /// Where the time went.
    #[serde(default)]
    pub timings: Timings,
    /// What it used.
    #[serde(default)]
    pub usage: Usage,
    /// Things that are odd but no failure.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}
