//! The local sandbox: a warm renderer on this host, behind kernel walls.
//!
//! At level `full`:
//!
//! ```text
//! worker ── bubblewrap ── zygote ── guard ── job        (own uid, namespaces, no network)
//!    │                      │         ├───── latex, dvisvgm
//!    │                      │         └───── probe of the finished file
//!    └── control socket ────┘         │
//!    └── channel of one job ──────────┘
//! ```
//!
//! The worker talks to the zygote only to start a job, and to the job's guard
//! for everything else. The scene's own output comes through a pipe of its own
//! and is never read as protocol. At level `container` there is no bubblewrap and
//! there are no namespaces; the rest is the same. Both sides keep the time: if the guard does
//! not answer, the worker's longer timer ends the whole slot.

mod area;
mod bare;
mod cgroup;
mod filters;
mod folders;
mod job;
mod launch;
mod slot;
mod start;

use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use self::job::{Job, lost};
use self::launch::LaunchSpec;
pub(super) use self::launch::{ENVIRONMENT, SYSTEM_PATHS};
use self::slot::{Slot, ready};
use self::start::{not_started, open, start};
use super::request::{check, verification};
use super::{
    ConnectError, EventSender, Limits, OutputSpec, RecycleCause, Recycled, RenderError,
    RenderRequest, Rendered, Sandbox, Versions,
};

/// Whole of [`Sandbox::verify`].
const VERIFY_TIMEOUT: Duration = Duration::from_secs(30);

/// Where and as whom a local sandbox runs.
#[derive(Debug, Clone)]
pub struct LocalConfig {
    /// The Python environment with Manim (`MANIMQ_PYTHON_ENV`).
    pub python_env: PathBuf,
    /// Our Python code, `worker/renderer` (`MANIMQ_RENDERER_DIR`).
    pub renderer_dir: PathBuf,
    /// Walls that must stand: anything less is refused, never fallen back to.
    /// `None`: the highest that can be had here, with a warning where that is not `full`.
    pub level: Option<Level>,
    /// At level `container`: where jobs keep their files, a folder for each slot.
    pub folder: PathBuf,
    /// Number of the slot, from 0: each has a user of its own.
    pub slot_index: u32,
    /// First user id for slots, if the worker is root. A range that nothing else
    /// on the host uses.
    pub uid_base: u32,
    /// Jobs after which a fresh zygote is started.
    pub recycle_after: u32,
}

/// How many walls there are around a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// Bubblewrap, a set of namespaces and tmpfs for each job, Landlock, seccomp,
    /// resource limits.
    Full,
    /// For a container without the right to make namespaces: Landlock, seccomp and
    /// resource limits, and a guard that watches what those cannot bound.
    Container,
}

impl Level {
    /// Its name in settings and logs.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Container => "container",
        }
    }
}

impl LocalConfig {
    /// Above everything that systemd hands out, below the sign bit.
    pub const UID_BASE: u32 = 1_900_000_000;

    /// Slot `slot_index` with defaults for the rest.
    #[must_use]
    pub fn new(
        python_env: impl Into<PathBuf>,
        renderer_dir: impl Into<PathBuf>,
        slot_index: u32,
    ) -> Self {
        Self {
            python_env: python_env.into(),
            renderer_dir: renderer_dir.into(),
            level: Some(Level::Full),
            folder: std::env::temp_dir(),
            slot_index,
            uid_base: Self::UID_BASE,
            recycle_after: 500,
        }
    }
}

/// A warm renderer on this host.
#[derive(Debug)]
pub struct LocalSandbox {
    config: LocalConfig,
    launch: LaunchSpec,
    versions: Versions,
    /// `None` between an abnormal end and the next reset.
    slot: Option<Slot>,
    recycled: Option<Recycled>,
}

impl LocalSandbox {
    /// Starts a slot and verifies it with a real render that also tries the walls.
    ///
    /// # Errors
    /// Says what is missing or did not hold, and what to do about it. There is no
    /// silent fall-back to fewer walls.
    pub async fn connect(config: LocalConfig) -> Result<Self, ConnectError> {
        let (launch, slot, versions) = open(&config).await?;
        let mut sandbox = Self {
            config,
            launch,
            versions,
            slot: Some(slot),
            recycled: None,
        };
        sandbox.verify().await?;
        Ok(sandbox)
    }

    /// Process id of the zygote as the host sees it; `None` between an abnormal
    /// end and the next [`Sandbox::reset`]. All processes of the slot are below it.
    #[must_use]
    pub fn zygote_pid(&self) -> Option<u32> {
        self.slot
            .as_ref()
            .and_then(|slot| slot.process.zygote_pid())
    }

    /// Whether control groups count what a job holds; else why not.
    ///
    /// # Errors
    /// Why there are none, for a person.
    pub fn control_groups() -> Result<(), String> {
        cgroup::delegated()
            .as_ref()
            .map(|_| ())
            .map_err(Clone::clone)
    }

    /// The walls that stand.
    #[must_use]
    pub fn level(&self) -> Level {
        self.launch.means.level()
    }

    async fn run(
        &mut self,
        request: &RenderRequest,
        events: &EventSender,
    ) -> Result<Rendered, RenderError> {
        check(request)?;
        self.launch
            .means
            .has_room()
            .map_err(|error| lost(error.to_string()))?;
        if self.slot.as_ref().is_none_or(|slot| slot.busy) {
            self.slot = None;
            self.reset()
                .await
                .map_err(|error| RenderError::SandboxLost {
                    reason: error.to_string(),
                })?;
        }
        let slot = self.slot.as_mut().ok_or_else(|| lost("no slot"))?;
        slot.busy = true;
        let limits = &request.limits;
        slot.process.allow(
            limits.memory_bytes.saturating_add(limits.disk_bytes),
            limits.threads,
        );
        let result = match Job::start(slot, request).await {
            Ok(mut job) => {
                let result = job.run(&slot.process, request, events).await;
                slot.last = Some(job.channel);
                result
            }
            Err(error) => Err(lost(format!("the zygote does not take jobs: {error}"))),
        };
        if let Err(RenderError::SandboxLost { reason }) = &result {
            tracing::warn!(
                job.id = request.job_id,
                attempt.n = request.attempt,
                reason,
                "slot lost"
            );
            // Ends what is left of it, before anybody is told that it is gone.
            self.slot = None;
            if request.stop.is_cancelled() {
                return Err(RenderError::Interrupted);
            }
        } else if let Some(slot) = &mut self.slot {
            slot.busy = false;
            slot.jobs += 1;
        }
        result
    }
}

impl Sandbox for LocalSandbox {
    fn versions(&self) -> &Versions {
        &self.versions
    }

    async fn render(
        &mut self,
        request: RenderRequest,
        events: EventSender,
    ) -> Result<Rendered, RenderError> {
        self.run(&request, &events).await
    }

    async fn verify(&mut self) -> Result<(), ConnectError> {
        let (events, _unread) = EventSender::channel(1);
        let request = verification(VERIFY_TIMEOUT / 2);
        let failed = |reason: String| ConnectError::VerificationFailed {
            reason,
            remedy: "see what `manimq-worker verify` says, and run deploy/setup again".into(),
        };
        let rendered = tokio::time::timeout(VERIFY_TIMEOUT, self.run(&request, &events))
            .await
            .map_err(|_| failed(format!("the test render took more than {VERIFY_TIMEOUT:?}")))?
            .map_err(|error| failed(format!("the test render failed: {error}")))?;
        match rendered.artifacts.as_slice() {
            [film, ..] if film.frames == 3 && film.width == 854 && film.height == 480 => Ok(()),
            other => Err(failed(format!("the test render gave {other:?}"))),
        }
    }

    async fn reset(&mut self) -> Result<(), ConnectError> {
        self.launch.means.has_room()?;
        let mut cause = match &self.slot {
            Some(slot) if slot.busy => RecycleCause::Lost,
            Some(_) => RecycleCause::Jobs,
            None => RecycleCause::Lost,
        };
        let usable = self
            .slot
            .take_if(|slot| !slot.busy && slot.jobs < self.config.recycle_after);
        if let Some(mut slot) = usable {
            match ready(&mut slot).await {
                Ok(()) => {
                    self.slot = Some(slot);
                    return Ok(());
                }
                Err(error) => {
                    tracing::warn!(error = %error, "the last job has left something; the slot is replaced");
                    cause = RecycleCause::Reset;
                }
            }
        }
        self.slot = None;
        let began = Instant::now();
        let (mut slot, versions) = start(&self.launch).await.map_err(|failed| failed.error)?;
        ready(&mut slot)
            .await
            .map_err(|error| not_started(&self.launch, &error).error)?;
        self.slot = Some(slot);
        self.versions = versions;
        self.recycled = Some(Recycled {
            cause,
            took: began.elapsed(),
        });
        Ok(())
    }

    async fn gone(&mut self) {
        match &mut self.slot {
            Some(slot) => slot.gone().await,
            None => return,
        }
        self.slot = None;
    }

    fn take_recycled(&mut self) -> Option<Recycled> {
        self.recycled.take()
    }

    async fn close(mut self) {
        self.slot = None;
    }
}

/// Renders one file in a sandbox of its own and copies the result to `out_path`.
///
/// For trying things out: the example `render_file`.
///
/// # Errors
/// No sandbox, a failed render, or a file that cannot be read or written.
pub async fn render_file(
    config: LocalConfig,
    path: &Path,
    scene: Option<String>,
    output: OutputSpec,
    out_path: &Path,
    events: EventSender,
) -> Result<Rendered, RenderFileError> {
    let source = tokio::fs::read_to_string(path).await?;
    let mut sandbox = LocalSandbox::connect(config).await?;
    let request = RenderRequest {
        job_id: "render-file".into(),
        attempt: 1,
        file_name: path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned(),
        source: source.into(),
        template: false,
        scene,
        output,
        limits: Limits::default(),
        files: None,
        formulas: None,
        cores: crate::config::machine_cores(),
        stop: tokio_util::sync::CancellationToken::new(),
    };
    let result = sandbox.render(request, events).await;
    sandbox.close().await;
    let rendered = result?;
    if let Some(first) = rendered.artifacts.first() {
        let from = first
            .file
            .here()
            .ok_or_else(|| io::Error::other("it is elsewhere"))?;
        let mut from = tokio::fs::File::from_std(from.try_clone()?);
        let mut to = tokio::fs::File::create(out_path).await?;
        tokio::io::copy(&mut from, &mut to).await?;
    }
    Ok(rendered)
}

/// Why [`render_file`] gave no file.
#[derive(Debug, thiserror::Error)]
pub enum RenderFileError {
    /// No sandbox.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The render failed.
    #[error(transparent)]
    Render(#[from] RenderError),
    /// Reading the scene or writing the result.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// The filters of level `container` for this machine's architecture, by name: `job`, `tex`, `outer`.
pub(super) fn container_filters() -> [(&'static str, &'static [u8]); 3] {
    filters::Filters::get(Level::Container).programs()
}
