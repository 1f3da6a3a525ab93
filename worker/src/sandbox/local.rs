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
mod launch;
pub(super) mod logs;
pub(super) mod wire;

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::net::unix::pipe;

pub(super) use self::launch::{ENVIRONMENT, SYSTEM_PATHS};
use self::launch::{LaunchSpec, Means, SlotProcess};
use self::logs::LogText;
use self::wire::ZygoteMessage;
use self::wire::{DoneMessage, GuardMessage, JobMessage, LimitsMessage, Seqpacket, WorkerMessage};
use super::formulas::FormulaKey;
use super::{
    ConnectError, Content, Encoder, EventSender, FailureClass, Limits, OutputFormat, OutputSpec,
    RecycleCause, Recycled, RenderError, RenderEvent, RenderFailure, RenderRequest, Rendered,
    RenderedFile, Sandbox, Still, Usage, Versions,
};

/// From starting bubblewrap to a warm zygote. 1 to 2 s on a quiet machine.
const READY_TIMEOUT: Duration = Duration::from_secs(60);
/// How much longer than the guard's timers the worker waits before it ends the slot:
/// the guard's grace, a TeX run being killed, the probe of a large file.
const GUARD_MARGIN: Duration = Duration::from_secs(40);
/// No job runs longer, whatever its limits say.
const WALL_MAX: Duration = Duration::from_secs(24 * 3600);
/// From `cancel` to the end of the guard.
const INTERRUPT_TIMEOUT: Duration = Duration::from_secs(5);
/// From the end of a job to its folder removed: as many files as its limits allow, on a slow disk.
const CLEANING_TIMEOUT: Duration = Duration::from_secs(30);
/// Whole of [`Sandbox::verify`].
const VERIFY_TIMEOUT: Duration = Duration::from_secs(30);
/// Largest scene that is passed on. The API refuses far smaller ones.
const SOURCE_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Answers about formulas that wait for a guard: it announces at most 64 at once.
const ANSWERS_MAX: usize = 128;

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

/// One zygote and the way to it.
#[derive(Debug)]
struct Slot {
    process: SlotProcess,
    control: Seqpacket,
    jobs: u32,
    /// What waits for the next job.
    spare: Option<Spare>,
    /// The last job's guard, while it may still be ending.
    last: Option<Seqpacket>,
    /// Set while a job runs: a render that was dropped half-way leaves it set,
    /// and such a slot is not used again.
    busy: bool,
}

/// A guard, its job's process and its probe, forked before there is a job, so that nobody waits for
/// that. Used once; never forked while another job of the slot is there.
#[derive(Debug)]
struct Spare {
    channel: Seqpacket,
    log: pipe::Receiver,
    /// The scene's file, empty: who waits can read it only.
    source: File,
}

impl Slot {
    fn new(process: SlotProcess, control: Seqpacket) -> Self {
        Self {
            process,
            control,
            jobs: 0,
            spare: None,
            last: None,
            busy: false,
        }
    }

    /// Returns when nothing of the last job is left, its guard included.
    async fn settle(&mut self) -> io::Result<()> {
        if let Some(channel) = self.last.take() {
            let gone = async {
                while channel.receive().await?.is_some() {}
                io::Result::Ok(())
            };
            tokio::time::timeout(CLEANING_TIMEOUT, gone)
                .await
                .unwrap_or_else(|late| Err(late.into()))?;
            // Almost always nothing: the guard has taken its folder away.
            self.process.clear()?;
        }
        Ok(())
    }

    /// What the next job starts with.
    async fn take_spare(&mut self) -> io::Result<Spare> {
        match self.spare.take() {
            Some(spare) => Ok(spare),
            None => self.fork_spare().await,
        }
    }

    async fn fork_spare(&mut self) -> io::Result<Spare> {
        let source = filters::open_file("scene")?;
        let readable = File::open(format!("/proc/self/fd/{}", source.as_raw_fd()))?;
        let (channel, log) = self.fork_guard(readable.as_fd()).await?;
        Ok(Spare {
            channel,
            log,
            source,
        })
    }

    /// A guard for the scene that is, or will be, in `source`: its channel, and the scene's text output.
    async fn fork_guard(
        &mut self,
        source: BorrowedFd<'_>,
    ) -> io::Result<(Seqpacket, pipe::Receiver)> {
        self.settle().await?;
        let (log_read, log_write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
        let (channel, theirs) = Seqpacket::pair()?;
        self.control
            .send(b"g", &[source, log_write.as_fd(), theirs.as_fd()])
            .await?;
        Ok((channel, pipe::Receiver::from_owned_fd(log_read)?))
    }

    /// Sends the waiting guard away; the next fork waits until it is gone.
    async fn dismiss_spare(&mut self) -> io::Result<()> {
        self.settle().await?;
        if let Some(spare) = self.spare.take() {
            spare.channel.hang_up()?;
            self.last = Some(spare.channel);
        }
        Ok(())
    }
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

    fn take_recycled(&mut self) -> Option<Recycled> {
        self.recycled.take()
    }

    async fn close(mut self) {
        self.slot = None;
    }
}

/// Sees that nothing of the last job is left, and has a guard wait for the next one.
async fn ready(slot: &mut Slot) -> io::Result<()> {
    slot.settle().await?;
    if slot.spare.is_none() {
        slot.spare = Some(slot.fork_spare().await?);
    }
    Ok(())
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

// ---------------------------------------------------------------- starting a slot

/// A slot at the level that is asked for, or at the highest that there is.
async fn open(config: &LocalConfig) -> Result<(LaunchSpec, Slot, Versions), ConnectError> {
    let level = config.level.unwrap_or(Level::Full);
    let denied = match prepare(config, level) {
        Ok(launch) => match start_at(level, &launch).await {
            Ok((slot, versions)) => {
                tracing::info!("sandbox level: {}", level.as_str());
                return Ok((launch, slot, versions));
            }
            Err(failed) if failed.no_namespaces => failed.error,
            Err(failed) => return Err(failed.error),
        },
        Err(error) => error,
    };
    let lower_is_allowed = config.level.is_none()
        && matches!(
            denied,
            ConnectError::VerificationFailed { .. } | ConnectError::NotFound { .. }
        );
    if !lower_is_allowed {
        return Err(denied);
    }
    // Whatever else is wrong is told by this one.
    let launch = prepare(config, Level::Container)?;
    let (slot, versions) = start_at(Level::Container, &launch)
        .await
        .map_err(|failed| failed.error)?;
    tracing::warn!(
        "sandbox level: container. Level full cannot be had here: {denied}. \
         To refuse anything less: MANIMQ_SANDBOX_LEVEL=full; to say that this is meant: container"
    );
    Ok((launch, slot, versions))
}

async fn start_at(level: Level, launch: &LaunchSpec) -> Result<(Slot, Versions), StartFailed> {
    if level == Level::Container && launch.uid.is_none() {
        // Slots are of our own user then: nobody of it may look into a worker's memory,
        // where the keys are, whatever else he gets past.
        rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable)
            .map_err(|error| not_started(launch, &error.into()))?;
    }
    start(launch).await
}

/// Why a slot did not start.
struct StartFailed {
    error: ConnectError,
    /// This machine lets nobody make the namespaces that level `full` consists of.
    no_namespaces: bool,
}

impl From<ConnectError> for StartFailed {
    fn from(error: ConnectError) -> Self {
        Self {
            error,
            no_namespaces: false,
        }
    }
}

/// AppArmor profiles name the distribution's own path: it is preferred.
fn find_bwrap() -> Option<PathBuf> {
    std::iter::once(PathBuf::from("/usr/bin/bwrap"))
        .chain(
            std::env::var_os("PATH")
                .iter()
                .flat_map(std::env::split_paths)
                .map(|dir| dir.join("bwrap")),
        )
        .find(|path| path.is_file())
}

/// Looks for what must be there, so that each missing thing is named.
fn prepare(config: &LocalConfig, level: Level) -> Result<LaunchSpec, ConnectError> {
    const SETUP: &str = "run deploy/setup";
    let missing = |what: String, remedy: &str| ConnectError::NotFound {
        what,
        remedy: remedy.into(),
    };
    let means = match level {
        Level::Full => {
            Means::Bubblewrap(find_bwrap().ok_or_else(|| {
                missing("bwrap (bubblewrap)".into(), "apt-get install bubblewrap")
            })?)
        }
        Level::Container => Means::Bare(std::fs::canonicalize(&config.folder).map_err(|_| {
            missing(
                format!("the folder for jobs {}", config.folder.display()),
                "make it, or name another with MANIMQ_SANDBOX_DIR",
            )
        })?),
    };
    let absolute = |path: &Path, what: &str, probe: &str| {
        let found = std::fs::canonicalize(path)
            .map_err(|_| missing(format!("{what} {}", path.display()), SETUP))?;
        if found.join(probe).exists() {
            Ok(found)
        } else {
            Err(missing(
                format!("{probe} in {what} {}", path.display()),
                SETUP,
            ))
        }
    };
    let python_env = absolute(&config.python_env, "the Python environment", "bin/python3")?;
    let renderer_dir = absolute(&config.renderer_dir, "the renderer", "main.py")?;
    let python = std::fs::canonicalize(python_env.join("bin/python3")).map_err(|_| {
        missing(
            format!("the interpreter of {}", python_env.display()),
            SETUP,
        )
    })?;
    if !python.starts_with("/usr") && !python.starts_with(&python_env) {
        return Err(ConnectError::VerificationFailed {
            reason: format!(
                "the Python environment uses {}, which a sandbox cannot see",
                python.display()
            ),
            remedy: "make it with /usr/bin/python3: run deploy/setup".into(),
        });
    }
    let is_root = rustix::process::geteuid().is_root();
    Ok(LaunchSpec {
        means,
        python_env,
        renderer_dir,
        uid: is_root.then(|| config.uid_base.saturating_add(config.slot_index)),
    })
}

async fn start(launch: &LaunchSpec) -> Result<(Slot, Versions), StartFailed> {
    let unavailable = |error: io::Error| not_started(launch, &error);
    let began = Instant::now();
    let (control, theirs) = Seqpacket::pair().map_err(unavailable)?;
    let (output_read, output_write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)
        .map_err(|e| unavailable(e.into()))?;
    let spec = launch.clone();
    let process = tokio::task::spawn_blocking(move || spec.start(theirs, output_write))
        .await
        .map_err(|error| unavailable(io::Error::other(error)))?
        .map_err(unavailable)?;
    // Ends with the slot: every process of it holds the other end.
    let output = tokio::spawn(read_output(output_read));
    let first = tokio::time::timeout(READY_TIMEOUT, control.receive()).await;
    let reason = match first {
        Ok(Ok(Some((message, _)))) => match serde_json::from_slice::<ZygoteMessage>(&message) {
            Ok(ZygoteMessage::Ready {
                versions,
                landlock_abi,
                rss_bytes,
                warm_up_s,
            }) => {
                if landlock_abi == 0 {
                    return Err(StartFailed::from(ConnectError::VerificationFailed {
                        reason: "this kernel has no Landlock, or it is denied here".into(),
                        remedy: "use Linux 5.13 or newer with landlock in the lsm= list, and a container engine whose seccomp profile allows it".into(),
                    }));
                }
                tracing::info!(
                    start_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
                    warm_up_s,
                    landlock_abi,
                    rss_bytes,
                    manim = %versions.manim,
                    "sandbox is warm"
                );
                return Ok((Slot::new(process, control), versions));
            }
            Ok(ZygoteMessage::Unusable { message }) => message,
            Err(error) => format!("the zygote said something else than ready: {error}"),
        },
        Ok(Ok(None)) => "it ended before it was ready".into(),
        Ok(Err(error)) => error.to_string(),
        Err(_) => format!("it was not ready after {READY_TIMEOUT:?}"),
    };
    drop(process);
    let said = output.await.unwrap_or_default();
    Err(StartFailed {
        no_namespaces: launch.means.level() == Level::Full && says_no_namespaces(&said),
        error: explain(&reason, &said),
    })
}

/// Whether bubblewrap said that it may not make what it consists of.
fn says_no_namespaces(said: &str) -> bool {
    said.lines()
        .filter(|line| line.starts_with("bwrap:"))
        .any(|line| {
            !line.contains("/opt/")
                && [
                    "namespace",
                    "uid map",
                    "Operation not permitted",
                    "No space left",
                ]
                .iter()
                .any(|words| line.contains(words))
        })
}

/// The program of a slot did not start at all.
fn not_started(launch: &LaunchSpec, error: &io::Error) -> StartFailed {
    let refused = |reason: String, remedy: &str, no_namespaces| StartFailed {
        error: ConnectError::VerificationFailed {
            reason,
            remedy: remedy.into(),
        },
        no_namespaces,
    };
    match (&launch.means, error.raw_os_error()) {
        (Means::Bubblewrap(_), Some(libc::EPERM)) => refused(
            format!("root may not make a mount namespace or change its user here ({error})"),
            "give the worker CAP_SYS_ADMIN, CAP_SETUID and CAP_SETGID, or run it as an ordinary user",
            true,
        ),
        (Means::Bare(_), Some(libc::EPERM)) => refused(
            format!("root may not change its user here, and no scene runs as root ({error})"),
            "run the worker as another user (docker run --user, runAsNonRoot), or give it CAP_SETUID and CAP_SETGID",
            false,
        ),
        (Means::Bare(_), Some(libc::EACCES)) => refused(
            format!(
                "{} cannot be reached by {} ({error})",
                launch.python_env.display(),
                launch
                    .uid
                    .map_or_else(|| "us".to_owned(), |uid| format!("user {uid}"))
            ),
            "open the folders on the way to it with chmod o+x, or put it below /opt",
            false,
        ),
        (Means::Bubblewrap(_) | Means::Bare(_), _) => {
            StartFailed::from(ConnectError::Unavailable {
                reason: format!("cannot start a slot: {error}"),
                remedy: "it is tried again; if it stays so, look for what this machine is short of: memory, processes, open files".into(),
                retry_after: Duration::from_secs(5),
            })
        }
    }
}

/// Why a slot did not start, in terms of what to do.
fn explain(reason: &str, said: &str) -> ConnectError {
    let remedy = if said.contains("No permissions to create new namespace")
        || said.contains("Creating new namespace failed")
        || said.contains("setting up uid map")
    {
        "allow unprivileged user namespaces: sysctl kernel.unprivileged_userns_clone=1, \
         user.max_user_namespaces above 0; on Ubuntu 23.10 and newer AppArmor must permit \
         bubblewrap (kernel.apparmor_restrict_unprivileged_userns=0, or a profile for /usr/bin/bwrap); \
         in a container they are usually denied"
    } else if said.contains("Permission denied") && said.contains("/opt/") {
        "the Python environment must be readable by everybody: chmod -R a+rX on it"
    } else if said.contains("ModuleNotFoundError") || reason.contains("ModuleNotFoundError") {
        "the Python environment is incomplete: run deploy/setup"
    } else {
        "run deploy/setup; the sandbox's own words are in the reason"
    };
    let last: Vec<&str> = said.lines().rev().take(5).collect();
    let last: Vec<&str> = last.into_iter().rev().collect();
    ConnectError::VerificationFailed {
        reason: if last.is_empty() {
            reason.to_owned()
        } else {
            format!("{reason}: {}", last.join(" / "))
        },
        remedy: remedy.into(),
    }
}

/// Reads what bubblewrap, the zygote and the guards print: for the operator's
/// log. Returns the first 16 KiB.
async fn read_output(fd: OwnedFd) -> String {
    const KEPT: usize = 16 * 1024;
    let mut said = String::new();
    let Ok(pipe) = pipe::Receiver::from_owned_fd(fd) else {
        return said;
    };
    let mut lines = BufReader::new(pipe.take(u64::MAX)).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        let line = line.escape_debug().to_string();
        tracing::warn!(target: "manimq_worker::sandbox::slot", "{line}");
        if said.len() < KEPT {
            said.push_str(&line);
            said.push('\n');
        }
    }
    said
}

// ---------------------------------------------------------------- running a job

/// Refuses what must never reach a sandbox. The API has checked before.
pub(super) fn check(request: &RenderRequest) -> Result<(), RenderError> {
    let invalid = |message: &str| Err(RenderFailure::new(FailureClass::Validation, message).into());
    let name = &request.file_name;
    let plain = name.ends_with(".py")
        && name.len() <= 128
        && !name.starts_with('.')
        && !name.contains(['/', '\0'])
        && !name.chars().any(char::is_control);
    let OutputSpec {
        format,
        width,
        height,
        fps,
        transparent,
        sections,
        ..
    } = request.output;
    if !plain {
        return invalid("the file name must be a plain name that ends in .py");
    }
    if request.source.len() > SOURCE_BYTES_MAX {
        return invalid("the source is larger than 4 MiB");
    }
    if request.source.contains('\0') {
        return invalid("the source contains a NUL character");
    }
    if !(1..=16384).contains(&width) || !(1..=16384).contains(&height) {
        return invalid("width and height must be between 1 and 16384 pixels");
    }
    if u64::from(width) * u64::from(height) > request.limits.pixels {
        return invalid(&format!(
            "pictures of {width}×{height} pixels are too large: {} pixels are the limit",
            request.limits.pixels
        ));
    }
    if !fps.is_finite() || !(0.01..=1000.0).contains(&fps) {
        return invalid("the frame rate must be between 0.01 and 1000");
    }
    if transparent && format == OutputFormat::Mp4 {
        return invalid("mp4 has no alpha channel: ask for mov or webm");
    }
    if sections && !format.can_have_sections() {
        return invalid("sections are films of their own: ask for mp4, webm or mov");
    }
    Ok(())
}

fn lost(reason: impl Into<String>) -> RenderError {
    RenderError::SandboxLost {
        reason: reason.into(),
    }
}

/// One running job, seen from the worker.
struct Job {
    channel: Seqpacket,
    log: pipe::Receiver,
    /// Of the job's second run, if it has one.
    next_log: Option<pipe::Receiver>,
    text: LogText,
    progress: Option<RenderEvent>,
    /// Answers about formulas that the guard has not taken yet.
    answers: VecDeque<Vec<u8>>,
    artifacts: Vec<RenderedFile>,
    /// What the guard said last: the outcome.
    outcome: Option<Result<DoneMessage, RenderFailure>>,
    /// Why the worker ends it.
    ending: Option<Ending>,
    log_open: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Ending {
    Interrupted,
    LogLimit,
}

impl Job {
    async fn start(slot: &mut Slot, request: &RenderRequest) -> io::Result<Self> {
        let message = serde_json::to_vec(&job_message(request))?;
        let (channel, log) = if let Some(files) = &request.files {
            // What comes with a scene lies on disk and would fill the waiting guard's file in memory.
            slot.dismiss_spare().await?;
            let content = files.with_source(&request.source)?;
            let (channel, log) = slot.fork_guard(content.as_fd()).await?;
            channel.send(&message, &[]).await?;
            (channel, log)
        } else {
            let mut spare = slot.take_spare().await?;
            filters::fill(&mut spare.source, request.source.as_bytes())?;
            if let Err(error) = spare.channel.send(&message, &[]).await {
                // A machine that ran out of memory ends first who only waits.
                tracing::warn!(error = %error, "the waiting guard is gone; another one is forked");
                spare = slot.fork_spare().await?;
                filters::fill(&mut spare.source, request.source.as_bytes())?;
                spare.channel.send(&message, &[]).await?;
            }
            (spare.channel, spare.log)
        };
        Ok(Self {
            channel,
            log,
            next_log: None,
            text: LogText::default(),
            progress: None,
            answers: VecDeque::new(),
            artifacts: Vec::new(),
            outcome: None,
            ending: None,
            log_open: true,
        })
    }

    /// Drives the job until the guard has said what came of it, and is gone if it had to end it.
    async fn run(
        &mut self,
        process: &SlotProcess,
        request: &RenderRequest,
        events: &EventSender,
    ) -> Result<Rendered, RenderError> {
        let wall = request.limits.wall.min(WALL_MAX);
        let mut deadline = tokio::time::Instant::now() + wall + GUARD_MARGIN;
        let mut chunk = vec![0; 64 * 1024];
        let mut tick = tokio::time::interval(Duration::from_millis(100));
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        // The job is dead when its guard tells the outcome; what that has to tidy up is waited
        // for before the next one.
        while self.outcome.is_none() || self.ending.is_some() {
            tokio::select! {
                // A guard's last messages come before its end of file.
                received = self.channel.receive() => match received {
                    Ok(Some((message, fds))) => self.take(&message, fds, request, events)?,
                    Ok(None) => break,
                    Err(error) => return Err(lost(format!("the guard's channel: {error}"))),
                },
                read = self.log.read(&mut chunk), if self.log_open => match read {
                    Ok(count) if count > 0 => {
                        self.text.push(&chunk[..count]);
                        if self.text.read_bytes() > request.limits.log_bytes {
                            self.end(Ending::LogLimit, &mut deadline).await?;
                        }
                    }
                    Ok(_) | Err(_) => self.log_ended(),
                },
                // In a turn of its own, so that neither side waits for the other to read.
                sent = self.channel.send(self.answers.front().map_or(&[], Vec::as_slice), &[]),
                    if !self.answers.is_empty() =>
                {
                    self.answers.pop_front();
                    // A guard that has just ended needs no answer.
                    if sent.is_err() {
                        self.answers.clear();
                    }
                }
                _ = tick.tick() => self.text.offer(&mut self.progress, events),
                () = request.stop.cancelled(), if self.ending.is_none() => {
                    self.end(Ending::Interrupted, &mut deadline).await?;
                }
                () = process.ended() => return Err(lost("the zygote ended during the job")),
                () = tokio::time::sleep_until(deadline) => {
                    return Err(lost("the guard did not answer in time; the slot was ended"));
                }
            }
        }
        self.publish_last(events, &mut chunk).await;
        self.verdict(request)
    }

    /// All of a run's text is read; another run may follow it.
    fn log_ended(&mut self) {
        match self.next_log.take() {
            Some(next) => {
                self.log = next;
                self.log_open = true;
                self.text.begin_again();
            }
            None => self.log_open = false,
        }
    }

    /// Asks the guard to kill the job, once.
    async fn end(
        &mut self,
        why: Ending,
        deadline: &mut tokio::time::Instant,
    ) -> Result<(), RenderError> {
        if self.ending.is_none() {
            self.ending = Some(why);
            *deadline = tokio::time::Instant::now() + INTERRUPT_TIMEOUT;
            self.answers.clear();
            let cancel = serde_json::to_vec(&WorkerMessage::Cancel)
                .map_err(|error| lost(error.to_string()))?;
            match self.channel.send(&cancel, &[]).await {
                Ok(()) => {}
                // It has just ended by itself.
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
                Err(error) => return Err(lost(format!("the guard's channel: {error}"))),
            }
        }
        Ok(())
    }

    fn take(
        &mut self,
        message: &[u8],
        fds: Vec<OwnedFd>,
        request: &RenderRequest,
        events: &EventSender,
    ) -> Result<(), RenderError> {
        let message = serde_json::from_slice(message)
            .map_err(|error| lost(format!("the guard said something unknown: {error}")))?;
        match message {
            GuardMessage::Started => {
                let _ = events.offer(RenderEvent::Started);
            }
            GuardMessage::Again => {
                let fd = fds
                    .into_iter()
                    .next()
                    .ok_or_else(|| lost("another run without its log"))?;
                self.next_log = pipe::Receiver::from_owned_fd(fd)
                    .map(Some)
                    .map_err(|error| lost(format!("the log of another run: {error}")))?;
                if !self.log_open {
                    self.log_ended();
                }
            }
            GuardMessage::Progress(progress) => {
                self.progress = Some(RenderEvent::Progress(progress));
                self.text.offer(&mut self.progress, events);
            }
            GuardMessage::Still {
                jpeg,
                width,
                height,
            } => {
                if let Some(still) = Still::told(&jpeg, width, height) {
                    let _ = events.offer(RenderEvent::Still(still));
                }
            }
            GuardMessage::Artifact(artifact) => {
                let fd = fds
                    .into_iter()
                    .next()
                    .ok_or_else(|| lost("an artifact without a file"))?;
                self.artifacts
                    .push(artifact.rendered(Content::Here(fd.into())));
            }
            GuardMessage::Failed(failure) => self.outcome = Some(Err(failure)),
            GuardMessage::Done(done) => self.outcome = Some(Ok(done)),
            GuardMessage::Interrupted => {}
            GuardMessage::FormulaWanted { key } => self.answer(request, &key)?,
            GuardMessage::FormulaMade { key, svg } => {
                if let (Some(shelf), Some(key)) = (&request.formulas, FormulaKey::parse(&key)) {
                    shelf.put(key, &svg);
                }
            }
        }
        Ok(())
    }

    /// Says whether a formula was set for this tenant before, with its picture.
    fn answer(&mut self, request: &RenderRequest, key: &str) -> Result<(), RenderError> {
        if self.answers.len() >= ANSWERS_MAX {
            return Ok(()); // the guard waits a moment, then sets it
        }
        let kept = request.formulas.as_ref().zip(FormulaKey::parse(key));
        let picture = kept.and_then(|(shelf, key)| shelf.get(key));
        let svg = picture.as_deref();
        let message = serde_json::to_vec(&WorkerMessage::Formula { key, svg })
            .map_err(|error| lost(error.to_string()))?;
        // Pictures come in messages of the same limit, so they fit.
        debug_assert!(message.len() < wire::MESSAGE_BYTES_MAX);
        self.answers.push_back(message);
        Ok(())
    }

    /// Passes on what is left: the job is dead, so the pipe ends.
    async fn publish_last(&mut self, events: &EventSender, chunk: &mut [u8]) {
        while self.log_open {
            match tokio::time::timeout(Duration::from_secs(1), self.log.read(chunk)).await {
                Ok(Ok(count)) if count > 0 => self.text.push(&chunk[..count]),
                Ok(_) | Err(_) => self.log_ended(),
            }
        }
        self.text.offer_last(&mut self.progress, events).await;
    }

    fn verdict(&mut self, request: &RenderRequest) -> Result<Rendered, RenderError> {
        match (self.ending, self.outcome.take()) {
            (Some(Ending::Interrupted), _) => Err(RenderError::Interrupted),
            (Some(Ending::LogLimit), _) => Err(wrote_too_much(request).into()),
            (None, Some(Ok(done))) if !self.artifacts.is_empty() => {
                let artifacts = std::mem::take(&mut self.artifacts);
                Ok(finished(done, artifacts, request))
            }
            (None, Some(Err(failure))) => Err(failure.into()),
            (None, Some(Ok(_)) | None) => Err(lost("the guard ended without a result")),
        }
    }
}

/// What a scene that printed without end is told.
pub(super) fn wrote_too_much(request: &RenderRequest) -> RenderFailure {
    RenderFailure {
        hint: Some("print less: look for a print in a loop or in an updater".into()),
        ..RenderFailure::new(
            FailureClass::OutputLimit,
            format!(
                "the scene wrote more than {} bytes of text",
                request.limits.log_bytes
            ),
        )
    }
}

/// A render that came to its end, with its results.
pub(super) fn finished(
    done: DoneMessage,
    artifacts: Vec<RenderedFile>,
    request: &RenderRequest,
) -> Rendered {
    let streamed = done.engine == "stream";
    let wanted_stream = request.output.encoder == Encoder::Fast;
    let mut warnings = done.warnings;
    if wanted_stream && !streamed && request.output.format != OutputFormat::Png {
        warnings.push("rendered with Manim's own writer: the fast one does not cover the codec that the scene has chosen".into());
    }
    Rendered {
        artifacts,
        timings: done.timings,
        usage: Usage {
            cpu_s: done.cpu_s,
            peak_memory_bytes: done.peak_memory_bytes,
            frames: done.frames,
            animations: done.animations,
            formulas_set: done.formulas_set,
        },
        tex: done.tex,
        warnings,
        layout: done.layout,
    }
}

/// Id of the job of [`Sandbox::verify`]; no tenant's is called so.
pub(super) const VERIFY: &str = "verify";

/// The job of [`Sandbox::verify`]: three frames, and every wall tried.
pub(super) fn verification(wall: Duration) -> RenderRequest {
    RenderRequest {
        job_id: VERIFY.into(),
        attempt: 1,
        file_name: "verify.py".into(),
        source: include_str!("local/verify.py").into(),
        template: false,
        scene: None,
        output: OutputSpec {
            encoder: Encoder::Fast,
            ..OutputSpec::default()
        },
        limits: Limits {
            wall,
            ..Limits::default()
        },
        files: None,
        formulas: None,
        cores: 1,
        stop: tokio_util::sync::CancellationToken::new(),
    }
}

/// The filters of level `container` for this machine's architecture, by name: `job`, `tex`, `outer`.
pub(super) fn container_filters() -> [(&'static str, &'static [u8]); 3] {
    filters::Filters::get(Level::Container).programs()
}

pub(super) fn job_message(request: &RenderRequest) -> JobMessage<'_> {
    let OutputSpec {
        format,
        width,
        height,
        fps,
        transparent,
        sections,
        encoder,
        seed,
    } = request.output;
    let limits = &request.limits;
    JobMessage {
        job_id: &request.job_id,
        attempt: request.attempt,
        file_name: &request.file_name,
        template: request.template,
        scene: request.scene.as_deref(),
        format,
        width,
        height,
        fps,
        transparent,
        sections,
        encoder,
        seed,
        formulas: request.formulas.is_some(),
        cores: request.cores.max(1),
        files: request.files.as_ref().map_or_else(Vec::new, |files| {
            let entries = files.entries.iter();
            entries
                .map(|file| (file.name.as_str(), file.bytes))
                .collect()
        }),
        limits: LimitsMessage {
            wall_s: limits.wall.min(WALL_MAX).as_secs_f64(),
            cpu_s: limits.cpu.as_secs().max(1),
            memory_bytes: limits.memory_bytes,
            output_bytes: limits.output_bytes,
            disk_bytes: limits.disk_bytes,
            disk_files: limits.disk_files,
            open_files: limits.open_files,
            threads: limits.threads,
            frames: limits.frames,
            pixels: limits.pixels,
            stall_s: limits.stall.map(|stall| stall.as_secs_f64()),
        },
    }
}
