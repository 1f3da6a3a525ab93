//! The job model: what a producer asks for, what becomes of it, and how both are told.
//!
//! Everything here is wire format: API bodies, the payload in Redis and the job's result use
//! these types. Additions must be optional on reading, since Redis may hold what an older
//! version wrote.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::ids::{Epoch, JobId, TenantId, WorkerId};

/// Wall-clock limit of one render when the job names none, in seconds.
pub const TIMEOUT_S_DEFAULT: u32 = 600;
/// Largest wall-clock limit of one render, in seconds.
pub const TIMEOUT_S_MAX: u32 = 3_600;
/// Largest time a job may wait before it expires, in seconds (a week).
pub const DEADLINE_S_MAX: u32 = 604_800;
/// Most tags of a job, and the longest tag in bytes.
pub const TAGS_MAX: usize = 16;
/// Longest tag, in bytes.
pub const TAG_BYTES_MAX: usize = 64;
/// Most keys in a job's metadata.
pub const METADATA_KEYS_MAX: usize = 16;
/// Longest metadata key plus value, in bytes.
pub const METADATA_BYTES_MAX: usize = 512;

/// An enum whose text form is used in JSON, in Redis, in metrics and in messages.
macro_rules! text_enum {
    ($(#[$meta:meta])* $name:ident { $($(#[$vmeta:meta])* $variant:ident = $text:literal),+ $(,)? }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
        pub enum $name { $($(#[$vmeta])* #[serde(rename = $text)] $variant),+ }

        impl $name {
            /// Every value, in the order of declaration.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The text form.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text),+ }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl FromStr for $name {
            type Err = UnknownText;
            fn from_str(text: &str) -> Result<Self, UnknownText> {
                match text {
                    $($text => Ok(Self::$variant),)+
                    _ => Err(UnknownText {
                        what: stringify!($name),
                        text: text.chars().take(40).collect(),
                        allowed: &[$($text),+],
                    }),
                }
            }
        }
    };
}

/// A text that names no value of a closed set.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not one of {}", allowed.join(", "))]
pub struct UnknownText {
    /// The set's name.
    pub what: &'static str,
    /// What was given, shortened.
    pub text: String,
    /// What would have been right.
    pub allowed: &'static [&'static str],
}

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

text_enum! {
    /// Picture size and rate, with Manim's own names.
    Quality {
        /// `-ql`: 854×480 at 15 frames a second.
        Low = "low",
        /// `-qm`: 1280×720 at 30.
        Medium = "medium",
        /// `-qh`: 1920×1080 at 60.
        High = "high",
        /// `-qp`: 2560×1440 at 60.
        Production = "production",
        /// `-qk`: 3840×2160 at 60.
        FourK = "4k",
    }
}

impl Quality {
    /// Width, height and frames per second of a 16:9 picture
    /// (Manim 0.22, `manim/constants.py`, `QUALITIES`).
    #[must_use]
    pub const fn size(self) -> (u32, u32, u32) {
        match self {
            Self::Low => (854, 480, 15),
            Self::Medium => (1280, 720, 30),
            Self::High => (1920, 1080, 60),
            Self::Production => (2560, 1440, 60),
            Self::FourK => (3840, 2160, 60),
        }
    }
}

text_enum! {
    /// File type of the main artifact.
    Format {
        /// H.264 in MP4.
        Mp4 = "mp4",
        /// VP9 in WebM; can be transparent.
        Webm = "webm",
        /// QuickTime; can be transparent.
        Mov = "mov",
        /// Animated GIF.
        Gif = "gif",
        /// The last frame as a picture (`-s`).
        Png = "png",
    }
}

impl Format {
    /// The MIME type under which such a file is served.
    #[must_use]
    pub const fn mime(self) -> &'static str {
        match self {
            Self::Mp4 => "video/mp4",
            Self::Webm => "video/webm",
            Self::Mov => "video/quicktime",
            Self::Gif => "image/gif",
            Self::Png => "image/png",
        }
    }

    /// Whether the format can hold a transparent background.
    #[must_use]
    pub const fn can_be_transparent(self) -> bool {
        match self {
            Self::Webm | Self::Mov | Self::Gif | Self::Png => true,
            Self::Mp4 => false,
        }
    }
}

text_enum! {
    /// How frames become a file.
    Encoder {
        /// One continuous stream, x264 `veryfast`, crf 23. The frames before encoding are the bare command's.
        Fast = "fast",
        /// The bare command's own settings and pieces: the decoded file is frame-identical to its file.
        Manim = "manim",
    }
}

text_enum! {
    /// Shape of the picture.
    Aspect {
        /// Landscape, the default.
        Wide = "16:9",
        /// Portrait.
        Tall = "9:16",
        /// Square.
        Square = "1:1",
    }
}

text_enum! {
    /// Whether an earlier result may answer a job.
    CacheMode {
        /// Use one if there is one.
        Use = "use",
        /// Render anew.
        Refresh = "refresh",
        /// Never render; fail if there is none.
        Only = "only",
    }
}

text_enum! {
    /// Why a job failed; the only error label in metrics.
    FailureClass {
        /// The scene raised an exception.
        SceneError = "scene_error",
        /// LaTeX refused a formula.
        LatexError = "latex_error",
        /// The source or the request cannot be rendered as asked.
        Validation = "validation",
        /// The wall-clock limit was reached.
        Timeout = "timeout",
        /// No frame was made for too long.
        Stalled = "stalled",
        /// The memory limit was reached.
        OutOfMemory = "out_of_memory",
        /// The output or log limit was reached.
        OutputLimit = "output_limit",
        /// The scene tried what the sandbox forbids.
        SandboxDenied = "sandbox_denied",
        /// The worker died or lost its lease.
        LostWorker = "lost_worker",
        /// The sandbox failed, not the scene.
        SandboxUnavailable = "sandbox_unavailable",
        /// The artifact could not be stored.
        Storage = "storage",
        /// A fault of manimq.
        Internal = "internal",
    }
}

impl FailureClass {
    /// Whether the fault is ours: then the job is tried again, and the tenant is not charged.
    #[must_use]
    pub const fn is_ours(self) -> bool {
        match self {
            Self::SceneError
            | Self::LatexError
            | Self::Validation
            | Self::Timeout
            | Self::Stalled
            | Self::OutOfMemory
            | Self::OutputLimit
            | Self::SandboxDenied => false,
            Self::LostWorker | Self::SandboxUnavailable | Self::Storage | Self::Internal => true,
        }
    }
}

text_enum! {
    /// What an artifact is for.
    ArtifactRole {
        /// The film.
        Video = "video",
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

/// What to render.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum JobInput {
    /// Manim source. Runs only in a sandbox.
    Code {
        /// One Python file, at most 256 KiB of UTF-8.
        source: String,
        /// Which scene class; may be left out when the file has exactly one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        scene: Option<String>,
        /// The name under which errors speak of the file: a plain name that ends in `.py`, at
        /// most 128 bytes.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        file_name: Option<String>,
    },
}

impl JobInput {
    /// The input's kind as text.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Code { .. } => "code",
        }
    }
}

/// What the result should be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct OutputSpec {
    /// File type.
    #[serde(default = "default_format")]
    pub format: Format,
    /// Size and rate.
    #[serde(default = "default_quality")]
    pub quality: Quality,
    /// Frames per second, 1 to 120; overrides the quality's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 120)]
    pub fps: Option<u32>,
    /// Shape of the picture.
    #[serde(default = "default_aspect")]
    pub aspect: Aspect,
    /// Leave the background out (formats that can).
    #[serde(default)]
    pub transparent: bool,
    /// How frames become a file.
    #[serde(default = "default_encoder")]
    pub encoder: Encoder,
}

const fn default_format() -> Format {
    Format::Mp4
}
const fn default_quality() -> Quality {
    Quality::Medium
}
const fn default_aspect() -> Aspect {
    Aspect::Wide
}
const fn default_encoder() -> Encoder {
    Encoder::Fast
}
const fn default_lane() -> Lane {
    Lane::Normal
}
const fn default_timeout() -> u32 {
    TIMEOUT_S_DEFAULT
}
const fn default_cache() -> CacheMode {
    CacheMode::Use
}

impl Default for OutputSpec {
    fn default() -> Self {
        Self {
            format: default_format(),
            quality: default_quality(),
            fps: None,
            aspect: default_aspect(),
            transparent: false,
            encoder: default_encoder(),
        }
    }
}

impl OutputSpec {
    /// Width, height in pixels and frames per second of what will be drawn.
    #[must_use]
    pub fn size(&self) -> (u32, u32, u32) {
        let (width, height, fps) = self.quality.size();
        let (width, height) = match self.aspect {
            Aspect::Wide => (width, height),
            Aspect::Tall => (height, width),
            Aspect::Square => (height, height),
        };
        (width, height, self.fps.unwrap_or(fps))
    }
}

/// The body of `POST /v1/jobs`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct JobRequest {
    /// What to render.
    pub input: JobInput,
    /// What the result should be.
    #[serde(default)]
    pub output: OutputSpec,
    /// Priority class within the tenant.
    #[serde(default = "default_lane")]
    pub lane: Lane,
    /// Wall-clock limit of one attempt in seconds, 1 to 3600.
    #[serde(default = "default_timeout")]
    #[schema(minimum = 1, maximum = 3600)]
    pub timeout_s: u32,
    /// Give up if no worker took the job within this many seconds, 1 to 604800.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 604_800)]
    pub deadline_s: Option<u32>,
    /// Whether an earlier result may answer.
    #[serde(default = "default_cache")]
    pub cache: CacheMode,
    /// Words to find the job by: at most 16 of at most 64 bytes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// Your own data, echoed everywhere: at most 16 keys, each with its value at most 512 bytes.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<String, String>,
}

/// One thing wrong with a request, with a JSON pointer to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FieldError {
    /// JSON pointer, such as `/output/fps`.
    pub pointer: String,
    /// What is wrong and what would be right.
    pub detail: String,
}

/// Longest name of a source file, in bytes.
pub const SOURCE_FILE_NAME_BYTES_MAX: usize = 128;

/// What is wrong with the name of a source file: it must be a plain name that ends in `.py`,
/// since the sandbox makes a file of it.
///
/// # Errors
/// What to change, for the user.
pub fn check_source_file_name(name: &str) -> Result<(), String> {
    let problem = if name.contains(['/', '\\']) {
        "send the name alone, without its folder".to_owned()
    } else if name.chars().any(char::is_control) {
        "a file name has no control characters".to_owned()
    } else if name.starts_with('.') {
        "the name of a source file does not begin with a dot".to_owned()
    } else if !name.ends_with(".py") {
        "the name of a source file ends in .py".to_owned()
    } else if name.len() > SOURCE_FILE_NAME_BYTES_MAX {
        format!(
            "{} bytes, a file name has at most {SOURCE_FILE_NAME_BYTES_MAX}",
            name.len()
        )
    } else {
        return Ok(());
    };
    Err(problem)
}

impl JobRequest {
    /// Checks what the types alone cannot: ranges, lengths and combinations.
    ///
    /// # Errors
    /// Everything that is wrong, at once.
    pub fn validate(&self) -> Result<(), Vec<FieldError>> {
        let mut errors = Vec::new();
        let mut wrong = |pointer: &str, detail: String| {
            errors.push(FieldError {
                pointer: pointer.to_owned(),
                detail,
            });
        };
        let JobInput::Code { file_name, .. } = &self.input;
        if let Some(Err(problem)) = file_name.as_deref().map(check_source_file_name) {
            wrong("/input/file_name", problem);
        }
        if let Some(fps) = self.output.fps
            && !(1..=120).contains(&fps)
        {
            wrong("/output/fps", format!("{fps} is not in 1 to 120"));
        }
        if self.output.transparent && !self.output.format.can_be_transparent() {
            wrong(
                "/output/transparent",
                format!(
                    "{} cannot be transparent; use mov, webm, gif or png",
                    self.output.format
                ),
            );
        }
        if !(1..=TIMEOUT_S_MAX).contains(&self.timeout_s) {
            wrong(
                "/timeout_s",
                format!("{} is not in 1 to {TIMEOUT_S_MAX}", self.timeout_s),
            );
        }
        if let Some(deadline) = self.deadline_s
            && !(1..=DEADLINE_S_MAX).contains(&deadline)
        {
            wrong(
                "/deadline_s",
                format!("{deadline} is not in 1 to {DEADLINE_S_MAX}"),
            );
        }
        if self.tags.len() > TAGS_MAX {
            wrong(
                "/tags",
                format!("{} tags, at most {TAGS_MAX}", self.tags.len()),
            );
        }
        for (i, tag) in self.tags.iter().enumerate().take(TAGS_MAX) {
            if tag.is_empty() || tag.len() > TAG_BYTES_MAX || tag.chars().any(char::is_control) {
                wrong(
                    &format!("/tags/{i}"),
                    format!("a tag has 1 to {TAG_BYTES_MAX} bytes and no control characters"),
                );
            }
        }
        if self.metadata.len() > METADATA_KEYS_MAX {
            wrong(
                "/metadata",
                format!("{} keys, at most {METADATA_KEYS_MAX}", self.metadata.len()),
            );
        }
        if self
            .metadata
            .iter()
            .any(|(key, value)| key.len() + value.len() > METADATA_BYTES_MAX)
        {
            wrong(
                "/metadata",
                format!("a key with its value has at most {METADATA_BYTES_MAX} bytes"),
            );
        }
        if errors.is_empty() {
            Ok(())
        } else {
            Err(errors)
        }
    }
}

/// A job as the worker gets it: the immutable part, stored once in Redis (`jp:<id>`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobPayload {
    /// The request after validation, with the scene chosen.
    #[serde(flatten)]
    pub request: JobRequest,
    /// The job that this one runs again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<JobId>,
    /// W3C trace context of the submit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traceparent: Option<String>,
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
}

/// Where in the user's own file something happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SourceLocation {
    /// The file's name as the user gave it.
    pub file: String,
    /// Line, from 1.
    pub line: u32,
    /// Column in characters, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub column: Option<u32>,
    /// Where the marked part ends on the same line, exclusive, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end_column: Option<u32>,
    /// The function, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub function: Option<String>,
    /// The line's text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
}

/// Why a job failed, in words and places of its author.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct JobError {
    /// What kind of failure.
    pub class: FailureClass,
    /// One or more lines for a person: what happened and why.
    pub message: String,
    /// The exception's type, such as `ZeroDivisionError`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exception: Option<String>,
    /// The author's own line that led to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub location: Option<SourceLocation>,
    /// The author's frames, outermost first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stack: Vec<SourceLocation>,
    /// LaTeX's own words, where LaTeX refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latex: Option<String>,
    /// What to do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

impl JobError {
    /// An error of a class with a message and nothing else.
    #[must_use]
    pub fn new(class: FailureClass, message: impl Into<String>) -> Self {
        Self {
            class,
            message: message.into(),
            exception: None,
            location: None,
            stack: Vec::new(),
            latex: None,
            hint: None,
        }
    }

    /// The same error with a hint.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_minimal_request_gets_the_documented_defaults() {
        let request: JobRequest =
            serde_json::from_str(r#"{"input":{"kind":"code","source":"x"}}"#).unwrap();
        assert_eq!(request.output, OutputSpec::default());
        assert_eq!(request.lane, Lane::Normal);
        assert_eq!(request.timeout_s, 600);
        assert_eq!(request.cache, CacheMode::Use);
        assert!(request.validate().is_ok());
    }

    #[test]
    fn unknown_fields_and_words_are_refused_by_name() {
        for (body, word) in [
            (
                r#"{"input":{"kind":"code","source":"x"},"colour":1}"#,
                "colour",
            ),
            (
                r#"{"input":{"kind":"code","source":"x","sauce":1}}"#,
                "sauce",
            ),
            (
                r#"{"input":{"kind":"code","source":"x"},"output":{"quality":"ultra"}}"#,
                "ultra",
            ),
        ] {
            let error = serde_json::from_str::<JobRequest>(body).unwrap_err();
            assert!(error.to_string().contains(word), "{error}");
        }
    }

    #[test]
    fn a_source_file_has_a_plain_name_that_ends_in_py() {
        let long = |n: usize| format!("{}.py", "x".repeat(n - 3));
        for good in ["a.py", "lesson 7.py", "Übung.py", &long(128)] {
            assert_eq!(check_source_file_name(good), Ok(()), "{good}");
        }
        for (bad, words) in [
            ("", ".py"),
            ("scene.txt", ".py"),
            ("scene.PY", ".py"),
            (".py", "dot"),
            (".hidden.py", "dot"),
            ("../a.py", "folder"),
            ("a\\b.py", "folder"),
            ("a\0.py", "control"),
            ("a\n.py", "control"),
            (&long(129), "129 bytes"),
            (&format!("{}.py", "é".repeat(63)), "129 bytes"),
        ] {
            let problem = check_source_file_name(bad).unwrap_err();
            assert!(problem.contains(words), "{bad:?}: {problem}");
        }
    }

    #[test]
    fn every_wrong_field_is_reported_at_once() {
        let mut request: JobRequest =
            serde_json::from_str(r#"{"input":{"kind":"code","source":"x"}}"#).unwrap();
        request.output.fps = Some(0);
        request.output.transparent = true;
        request.timeout_s = 0;
        request.deadline_s = Some(0);
        request.tags = vec![String::new()];
        let pointers: Vec<_> = request
            .validate()
            .unwrap_err()
            .into_iter()
            .map(|e| e.pointer)
            .collect();
        assert_eq!(
            pointers,
            [
                "/output/fps",
                "/output/transparent",
                "/timeout_s",
                "/deadline_s",
                "/tags/0"
            ]
        );
    }

    #[test]
    fn text_forms_round_trip() {
        for quality in Quality::ALL {
            assert_eq!(quality.as_str().parse::<Quality>().unwrap(), *quality);
            assert_eq!(
                serde_json::to_value(quality).unwrap(),
                serde_json::Value::from(quality.as_str())
            );
        }
        for lane in Lane::ALL {
            assert_eq!(Lane::from_digit(lane.digit()), Some(*lane));
        }
        let error = "ultra".parse::<Quality>().unwrap_err();
        assert_eq!(
            error.to_string(),
            "\"ultra\" is not one of low, medium, high, production, 4k"
        );
    }
}
