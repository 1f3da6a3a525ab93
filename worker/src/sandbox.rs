//! A sandbox: one warm place to render in.
//!
//! A slot of the pool connects once, calls [`Sandbox::reset`] before it claims,
//! and renders many jobs in the same place, one at a time. Nothing of a job is
//! left for the next one, and nothing that a scene does reaches further than
//! its own job.
//!
//! | kind | where it renders |
//! | --- | --- |
//! | [`local`] | this host: bubblewrap → zygote → guard → job |
//! | [`blaxel`] | a persistent sandbox in Blaxel's cloud, by name |
//! | [`fake`] | nowhere: scripted answers, for tests of the pool |

pub mod blaxel;
pub mod fake;
pub mod formulas;
pub mod local;
mod logs;
mod machine;
mod request;
mod wire;

use std::fmt;
use std::fs::File;
use std::future::Future;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

pub use manimq_shared::job::{ArtifactRole, Encoder, FailureClass, Format as OutputFormat};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use self::formulas::FormulaShelf;
use crate::layout::LayoutWarning;

/// One warm place to render in.
pub trait Sandbox: Send {
    /// What is installed there; read once, when the sandbox was connected.
    fn versions(&self) -> &Versions;

    /// Runs one job to its end.
    ///
    /// `request.stop` interrupts it: when this returns, whatever the result, the
    /// whole process tree of the job is gone. Dropping the future early is safe
    /// too, but costs the warm sandbox: the next [`Sandbox::reset`] starts a new one.
    fn render(
        &mut self,
        request: RenderRequest,
        events: EventSender,
    ) -> impl Future<Output = Result<Rendered, RenderError>> + Send;

    /// Renders a tiny scene that also tries the walls. At most 30 s.
    ///
    /// # Errors
    /// [`ConnectError::VerificationFailed`] with what did not hold or did not work.
    fn verify(&mut self) -> impl Future<Output = Result<(), ConnectError>> + Send;

    /// Makes the sandbox ready for the next job, so that [`Sandbox::render`] starts at once.
    ///
    /// Call it before a claim. Usually there is nothing to do; after an abnormal
    /// end, or a set number of jobs, it starts a fresh one (1 to 2 s).
    fn reset(&mut self) -> impl Future<Output = Result<(), ConnectError>> + Send;

    /// Returns if the sandbox dies while it waits for a job; the next [`Sandbox::reset`] starts a fresh one.
    /// May be dropped at any time.
    fn gone(&mut self) -> impl Future<Output = ()> + Send {
        std::future::pending()
    }

    /// Whether the last [`Sandbox::reset`] started a fresh one, and why. Told once.
    fn take_recycled(&mut self) -> Option<Recycled> {
        None
    }

    /// Ends the sandbox. When this returns, none of its processes is left.
    fn close(self) -> impl Future<Output = ()> + Send;
}

/// A sandbox was replaced by a fresh one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Recycled {
    /// Why.
    pub cause: RecycleCause,
    /// How long the fresh one took to start.
    pub took: Duration,
}

/// Why a sandbox was replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RecycleCause {
    /// It broke, under a job or while it waited for one.
    Lost,
    /// Something of the last job was left.
    Reset,
    /// It has served as many jobs as it may.
    Jobs,
    /// It could not be started.
    Start,
}

impl RecycleCause {
    /// Every one.
    pub const ALL: [Self; 4] = [Self::Lost, Self::Reset, Self::Jobs, Self::Start];

    /// Its name in metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Lost => "lost",
            Self::Reset => "reset",
            Self::Jobs => "jobs",
            Self::Start => "start",
        }
    }
}

/// What a scene tried that its sandbox denies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Denial {
    /// To reach somebody.
    Network,
    /// To start a program or a process.
    Process,
    /// To open too many files, or one that is not its own.
    Files,
    /// To start too many threads.
    Threads,
    /// To deceive the renderer: to speak in its name, or to give it something else than a file.
    Escape,
    /// Anything else.
    Other,
}

impl Denial {
    /// Every one.
    pub const ALL: [Self; 6] = [
        Self::Network,
        Self::Process,
        Self::Files,
        Self::Threads,
        Self::Escape,
        Self::Other,
    ];

    /// Its name in metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Network => "network",
            Self::Process => "process",
            Self::Files => "files",
            Self::Threads => "threads",
            Self::Escape => "escape",
            Self::Other => "other",
        }
    }
}

/// What an attempt asked of LaTeX.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct TexUse {
    /// Formulas that were known from earlier jobs.
    pub hits: u32,
    /// How long each run took, seconds; the first 256.
    pub runs_s: Vec<f64>,
}

/// What is installed in a sandbox.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Versions {
    /// Version of our own Python code and of its messages.
    pub renderer: String,
    /// Python, as `3.11.2`.
    pub python: String,
    /// Manim, as `0.22.0`.
    pub manim: String,
    /// The FFmpeg libraries inside PyAV.
    pub ffmpeg: String,
    /// First line of `latex --version`; `None` if LaTeX is not installed.
    pub latex: Option<String>,
    /// First line of `dvisvgm --version`; `None` if it is not installed.
    pub dvisvgm: Option<String>,
}

/// One job for a sandbox.
#[derive(Debug, Clone)]
pub struct RenderRequest {
    /// Appears in logs only.
    pub job_id: String,
    /// Appears in logs only.
    pub attempt: u32,
    /// Name of the scene's file, as errors show it: a plain name ending in `.py`.
    pub file_name: String,
    /// The scene, decoded once: the same text that was checked is compiled. Of a template: its id and
    /// parameters, as JSON.
    pub source: Arc<str>,
    /// Whether `source` is a template with parameters, not code.
    pub template: bool,
    /// Class to render; `None` if the file has only one.
    pub scene: Option<String>,
    /// What to make.
    pub output: OutputSpec,
    /// What it may use.
    pub limits: Limits,
    /// Files that the scene finds in its working directory.
    pub files: Option<Files>,
    /// Where formulas of this tenant's earlier jobs are; `None`: each is set anew.
    pub formulas: Option<FormulaShelf>,
    /// How many cores it may take, at least one. More than one is used at level `full` only, by
    /// films that are faster for it.
    pub cores: u32,
    /// Cancel this to interrupt the render.
    pub stop: CancellationToken,
}

/// Files that come with a scene, one after the other in one file.
#[derive(Debug, Clone)]
pub struct Files {
    /// In the order in which they lie there.
    pub entries: Vec<FileEntry>,
    /// Their contents; open for reading and writing, without a name.
    pub content: Arc<File>,
}

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileEntry {
    /// Its path in the working directory, checked.
    pub name: String,
    /// Its size.
    pub bytes: u64,
}

impl Files {
    /// All of it with `source` at the end, for reading only.
    fn with_source(&self, source: &str) -> std::io::Result<OwnedFd> {
        use std::os::unix::fs::FileExt as _;
        let start = self.entries.iter().map(|file| file.bytes).sum();
        self.content.set_len(start)?;
        self.content.write_all_at(source.as_bytes(), start)?;
        let path = format!("/proc/self/fd/{}", self.content.as_raw_fd());
        Ok(File::open(path)?.into())
    }
}

/// What to make of a scene, in Manim's own terms.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OutputSpec {
    /// Container; `png` is the last frame (`-s`).
    pub format: OutputFormat,
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// Frames a second; not always whole (29.97).
    pub fps: f64,
    /// Keep the alpha channel (`-t`). Not with mp4.
    pub transparent: bool,
    /// Each section as a film of its own, beside the whole (`--save_sections`). Not with gif and png.
    pub sections: bool,
    /// How frames become a file.
    pub encoder: Encoder,
    /// Seed of `random` and NumPy, as `--seed`; `None` is unseeded, as bare Manim is.
    pub seed: Option<u64>,
    /// What the random numbers of an unseeded scene follow from; `None`: they are new in each render.
    pub chance: Option<String>,
}

impl Default for OutputSpec {
    /// `manim -ql`: 854×480 at 15 frames a second, mp4.
    fn default() -> Self {
        Self {
            format: OutputFormat::Mp4,
            width: 854,
            height: 480,
            fps: 15.0,
            transparent: false,
            sections: false,
            encoder: Encoder::Fast,
            seed: None,
            chance: None,
        }
    }
}

/// What one job may use. Exceeding one is the user's failure, each with its own class.
#[derive(Debug, Clone, PartialEq)]
pub struct Limits {
    /// Wall time from start to finished drawing → `timeout`.
    pub wall: Duration,
    /// CPU time over all threads → `timeout`.
    pub cpu: Duration,
    /// Memory beyond the warm interpreter (address space) → `out_of_memory`.
    pub memory_bytes: u64,
    /// Largest single file, the result included → `output_limit`.
    pub output_bytes: u64,
    /// The job's folder: pieces and result together → `output_limit`. At level `full`
    /// it is in memory and the limit exact; at level `container` it is watched.
    pub disk_bytes: u64,
    /// Files and folders in it → `output_limit`.
    pub disk_files: u64,
    /// Files open at a time → `sandbox_denied`.
    pub open_files: u64,
    /// Threads at a time; a job has no other processes → `sandbox_denied`.
    pub threads: u64,
    /// Frames drawn → `output_limit`.
    pub frames: u64,
    /// Pixels of a picture, whatever size the scene sets → `output_limit`.
    pub pixels: u64,
    /// Text on stdout and stderr before the job is ended → `output_limit`.
    /// The first 1 MiB of it is kept.
    pub log_bytes: u64,
    /// Time without a new frame or formula → `stalled`; `None` for no such limit.
    pub stall: Option<Duration>,
}

impl Default for Limits {
    fn default() -> Self {
        const MIB: u64 = 1024 * 1024;
        Self {
            wall: Duration::from_secs(600),
            cpu: Duration::from_secs(1200),
            memory_bytes: 2048 * MIB,
            output_bytes: 256 * MIB,
            disk_bytes: 768 * MIB,
            disk_files: 8192,
            open_files: 256,
            threads: 512,
            // An hour at 60 frames a second.
            frames: 216_000,
            // 8K.
            pixels: 7680 * 4320,
            log_bytes: 16 * MIB,
            stall: None,
        }
    }
}

/// What happens during a render.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum RenderEvent {
    /// The job's process runs.
    Started,
    /// How far it is; at most about five a second, and always the last one.
    Progress(Progress),
    /// A still, while the film is still being drawn; once at most.
    Still(Still),
    /// Lines that the scene wrote, made harmless: control characters are escaped.
    Log {
        /// One or more whole lines, or a piece of a long one.
        text: String,
        /// The limit is reached: no more will come.
        truncated: bool,
    },
}

impl RenderEvent {
    /// What the scene wrote, if it is that.
    #[must_use]
    pub fn text(&self) -> Option<&str> {
        match self {
            Self::Log { text, .. } => Some(text),
            Self::Started | Self::Progress(_) | Self::Still(_) => None,
        }
    }
}

/// A small picture of a film that is still being drawn. A process behind walls has decoded it;
/// nobody else should.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Still {
    /// The file.
    pub jpeg: Vec<u8>,
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
}

/// How far a render is. `*_total` is `None` while it cannot be known.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// What it is doing.
    pub stage: Stage,
    /// Animation being drawn, from 1; 0 before the first.
    pub animation: u32,
    /// Animations of the scene.
    pub animations_total: Option<u32>,
    /// Frames drawn so far.
    pub frames: u64,
    /// Frames of the scene.
    pub frames_total: Option<u64>,
    /// Frames drawn of the current animation.
    pub animation_frames: u64,
    /// Frames of the current animation.
    pub animation_frames_total: Option<u64>,
    /// Seconds left, estimated.
    pub eta_s: Option<f64>,
}

/// What a render is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// Loading the file, building the scene up to its first animation.
    Preparing,
    /// Drawing frames.
    Rendering,
    /// All frames are drawn; finishing the file.
    Encoding,
}

/// Where a render tells what happens. Never blocks a render for long: progress
/// is replaced by newer progress when nobody reads, log text waits for room.
#[derive(Debug, Clone)]
pub struct EventSender(mpsc::Sender<RenderEvent>);

/// The other end of an [`EventSender`].
pub type EventReceiver = mpsc::Receiver<RenderEvent>;

/// Longest wait for a reader of the last events of a render.
const LAST_EVENT_WAIT: Duration = Duration::from_secs(1);

impl EventSender {
    /// A channel with room for `capacity` events.
    #[must_use]
    pub fn channel(capacity: usize) -> (Self, EventReceiver) {
        let (sender, receiver) = mpsc::channel(capacity);
        (Self(sender), receiver)
    }

    /// Sends if there is room; gives the event back if not. A reader that is
    /// gone takes everything.
    pub fn offer(&self, event: RenderEvent) -> Option<RenderEvent> {
        match self.0.try_send(event) {
            Ok(()) | Err(mpsc::error::TrySendError::Closed(_)) => None,
            Err(mpsc::error::TrySendError::Full(event)) => Some(event),
        }
    }

    /// Sends, waiting at most a second for room.
    pub async fn last(&self, event: RenderEvent) {
        let _ = self.0.send_timeout(event, LAST_EVENT_WAIT).await;
    }
}

/// A finished render.
#[derive(Debug)]
pub struct Rendered {
    /// The files, checked; the first is the film or picture that was asked for.
    pub artifacts: Vec<RenderedFile>,
    /// Where the time went.
    pub timings: Timings,
    /// What it took.
    pub usage: Usage,
    /// What it asked of LaTeX.
    pub tex: TexUse,
    /// Remarks for the user, such as another engine than asked.
    pub warnings: Vec<String>,
    /// What is odd about the picture, by the scene's own process.
    pub layout: Vec<LayoutWarning>,
}

/// One file of a finished render, already open: it has no name any more.
#[derive(Debug)]
pub struct RenderedFile {
    /// `video.mp4`, `image.png`, `poster.jpg`, `subtitles.srt`: fixed, never chosen by the scene.
    pub name: String,
    /// What it is of the job.
    pub role: ArtifactRole,
    /// Content type for publishing.
    pub mime: String,
    /// Size.
    pub bytes: u64,
    /// Frames counted in the file; 1 for a picture, 0 for what accompanies a film.
    pub frames: u64,
    /// Width in pixels, read from the file; 0 for text.
    pub width: u32,
    /// Height in pixels, read from the file.
    pub height: u32,
    /// Frames a second, read from the file; 0 for a picture.
    pub fps: f64,
    /// Length; 0 for a picture.
    pub duration_s: f64,
    /// Its bytes.
    pub file: Content,
}

/// Where the bytes of a finished file are.
#[derive(Debug)]
pub enum Content {
    /// Open for reading, at its start. In memory: copy it out and drop it.
    Here(File),
    /// In a sandbox elsewhere, until that is made ready for the next job.
    There(blaxel::output::RemoteFile),
}

impl Content {
    /// The open file, if it is on this machine.
    #[must_use]
    pub fn here(&self) -> Option<&File> {
        match self {
            Self::Here(file) => Some(file),
            Self::There(_) => None,
        }
    }
}

/// Where the time of a render went.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Timings {
    /// Mounting the job's folders and putting up its walls, until its process may read the scene. What can be done
    /// before there is a job (namespaces, the fork itself) is not in it. 0 from a renderer that does not tell.
    #[serde(default)]
    pub walls_s: f64,
    /// Loading the file and constructing the scene object.
    pub prepare_s: f64,
    /// Running the scene, drawing.
    pub render_s: f64,
    /// Finishing the file after the last frame was drawn.
    pub encode_s: f64,
}

/// What a render took.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Usage {
    /// CPU time of the job over all its threads; LaTeX not included.
    pub cpu_s: f64,
    /// Largest resident memory of the job.
    pub peak_memory_bytes: u64,
    /// Frames in the file.
    pub frames: u64,
    /// Animations played.
    pub animations: u32,
    /// Formulas that LaTeX was run for; those of earlier jobs are not in it.
    pub formulas_set: u32,
}

/// Why a render gave no file.
#[derive(Debug, thiserror::Error)]
pub enum RenderError {
    /// The job failed. A result for the user, unless the class is ours.
    #[error("{0}")]
    Failed(Box<RenderFailure>),
    /// `request.stop` was cancelled; the job is gone and uncounted.
    #[error("the render was interrupted")]
    Interrupted,
    /// The sandbox broke under the job. Retry elsewhere, uncharged; reset this one.
    #[error("the sandbox was lost: {reason}")]
    SandboxLost {
        /// For the operator.
        reason: String,
    },
}

/// A failed render, told to the user. At most about 8 KiB.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RenderFailure {
    /// Class; never one of a lease or an upload, which are no sandbox's to tell of.
    #[serde(deserialize_with = "class_of_a_render")]
    pub class: FailureClass,
    /// What went wrong, in a sentence; from Manim or Python where they said it.
    pub message: String,
    /// Name of the user's file, if a place in it is known.
    pub file: Option<String>,
    /// Line in it, from 1.
    pub line: Option<u64>,
    /// Column in characters, from 1.
    pub column: Option<u64>,
    /// Column after the last character meant.
    pub end_column: Option<u64>,
    /// That line of code.
    pub code: Option<String>,
    /// Function it is in.
    pub function: Option<String>,
    /// The user's own frames, outermost first.
    #[serde(default)]
    pub stack: Vec<StackFrame>,
    /// What LaTeX said.
    #[serde(default)]
    pub latex: Option<LatexFailure>,
    /// What to try.
    pub hint: Option<String>,
    /// Scenes in the file, where the choice was the problem.
    #[serde(default)]
    pub scenes: Vec<String>,
    /// CPU time until then.
    #[serde(default)]
    pub cpu_s: f64,
    /// Largest resident memory until then.
    #[serde(default)]
    pub peak_memory_bytes: u64,
    /// What it was denied, if that is why it failed.
    #[serde(default)]
    pub denied: Option<Denial>,
    /// What it asked of LaTeX until then.
    #[serde(default)]
    pub tex: TexUse,
}

fn class_of_a_render<'de, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> Result<FailureClass, D::Error> {
    match FailureClass::deserialize(deserializer)? {
        class @ (FailureClass::LostWorker | FailureClass::Storage) => Err(
            serde::de::Error::custom(format!("a render cannot end with {class}")),
        ),
        class => Ok(class),
    }
}

impl RenderFailure {
    /// A failure without a place in the file.
    #[must_use]
    pub fn new(class: FailureClass, message: impl Into<String>) -> Self {
        Self {
            class,
            message: message.into(),
            file: None,
            line: None,
            column: None,
            end_column: None,
            code: None,
            function: None,
            stack: Vec::new(),
            latex: None,
            hint: None,
            scenes: Vec::new(),
            cpu_s: 0.0,
            peak_memory_bytes: 0,
            denied: None,
            tex: TexUse::default(),
        }
    }
}

impl fmt::Display for RenderFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let (Some(file), Some(line)) = (&self.file, self.line) {
            write!(f, "{file}:{line}: ")?;
        }
        f.write_str(&self.message)
    }
}

impl From<RenderFailure> for RenderError {
    fn from(failure: RenderFailure) -> Self {
        Self::Failed(Box::new(failure))
    }
}

/// One frame of the user's code.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StackFrame {
    /// Line, from 1.
    pub line: u64,
    /// Function.
    pub function: String,
    /// Code of the line.
    pub code: Option<String>,
}

/// What LaTeX said about a formula.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LatexFailure {
    /// The formula, as the scene wrote it.
    pub formula: Option<String>,
    /// TeX's own `!` lines.
    pub errors: Vec<String>,
}

/// Why there is no sandbox. `Display` is for the operator and names the remedy.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// Something it needs is not there.
    #[error("{what} was not found; {remedy}")]
    NotFound {
        /// What is missing.
        what: String,
        /// What to do.
        remedy: String,
    },
    /// It may work later.
    #[error("the sandbox is not available: {reason}; {remedy}")]
    Unavailable {
        /// Why.
        reason: String,
        /// What to do if it does not.
        remedy: String,
        /// When to try again.
        retry_after: Duration,
    },
    /// There is no persistent sandbox of this name.
    #[error("Sandbox '{name}' not found; {remedy}")]
    SandboxNotFound {
        /// Its name.
        name: String,
        /// What to do.
        remedy: String,
    },
    /// The key of a persistent sandbox is missing or refused.
    #[error("Authentication required: {reason}; {remedy}")]
    Unauthorized {
        /// Who said what.
        reason: String,
        /// What to do.
        remedy: String,
    },
    /// A persistent sandbox is there and cannot be rendered in.
    #[error("Custom sandbox verification failed: {reason}; {remedy}")]
    CustomVerification {
        /// What did not hold or did not work.
        reason: String,
        /// What to do.
        remedy: String,
    },
    /// It started, or tried to, and is not what it must be. There is no fall-back.
    #[error("the sandbox cannot be used: {reason}; {remedy}")]
    VerificationFailed {
        /// What did not hold or did not work.
        reason: String,
        /// What to do.
        remedy: String,
    },
}

impl ConnectError {
    /// What to do about it.
    #[must_use]
    pub fn remedy(&self) -> &str {
        match self {
            Self::NotFound { remedy, .. }
            | Self::Unavailable { remedy, .. }
            | Self::SandboxNotFound { remedy, .. }
            | Self::Unauthorized { remedy, .. }
            | Self::CustomVerification { remedy, .. }
            | Self::VerificationFailed { remedy, .. } => remedy,
        }
    }

    /// What it is, without the remedy.
    #[must_use]
    pub fn without_remedy(&self) -> String {
        let all = self.to_string();
        let end = format!("; {}", self.remedy());
        all.strip_suffix(&end).unwrap_or(&all).to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_for_having_no_sandbox_comes_with_a_remedy_apart_from_it() {
        let (reason, remedy) = ("one; two".to_owned(), "do this; or that".to_owned());
        let (r, d) = (|| reason.clone(), || remedy.clone());
        let retry_after = Duration::ZERO;
        for error in [
            ConnectError::NotFound {
                what: r(),
                remedy: d(),
            },
            ConnectError::Unavailable {
                reason: r(),
                remedy: d(),
                retry_after,
            },
            ConnectError::SandboxNotFound {
                name: r(),
                remedy: d(),
            },
            ConnectError::Unauthorized {
                reason: r(),
                remedy: d(),
            },
            ConnectError::CustomVerification {
                reason: r(),
                remedy: d(),
            },
            ConnectError::VerificationFailed {
                reason: r(),
                remedy: d(),
            },
        ] {
            let text = error.without_remedy();
            assert!(text.contains(&reason) && !text.contains(&remedy), "{text}");
            assert_eq!(format!("{text}; {}", error.remedy()), error.to_string());
        }
    }

    #[test]
    fn a_sandbox_tells_of_renders_and_not_of_leases_or_uploads() {
        for class in FailureClass::ALL {
            let text = serde_json::json!({"class": class, "message": "x"});
            let read = serde_json::from_value::<RenderFailure>(text);
            let is_its_own = !matches!(class, FailureClass::LostWorker | FailureClass::Storage);
            assert_eq!(read.is_ok(), is_its_own, "{class}: {read:?}");
        }
    }
}
