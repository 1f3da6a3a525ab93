//! Settings of the worker: flag, environment name, default and reason in one spot each.

pub mod remote;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, ValueEnum};
use manimq_shared::queue::{QueueError, RedisConfig, RenderLimits};
use manimq_shared::scene_policy::ScenePolicy;
use manimq_shared::watch::WatchArgs;

use self::remote::{RemoteArgs, Shared};
use crate::sandbox::local::{Level, LocalConfig};

/// How to reach the rest of the system, and how much to do at a time.
#[derive(Debug, Clone, Args)]
pub struct RunArgs {
    /// Where the queue is: redis://HOST:PORT/DB or unix:///PATH; also rediss://,
    /// redis+sentinel://HOST,HOST/SERVICE and redis+cluster://HOST,HOST. Files for TLS in
    /// MANIMQ_REDIS_CA_FILE, _CERT_FILE and _KEY_FILE; MANIMQ_REDIS_SENTINEL_PASSWORD
    #[arg(
        long,
        env = "REDIS_URL",
        default_value = "redis://127.0.0.1:6379",
        hide_env_values = true
    )]
    pub redis_url: String,

    /// Prefix of all Redis keys; two systems on one Redis differ in it
    #[arg(long, env = "MANIMQ_REDIS_PREFIX", default_value = "mq")]
    pub redis_prefix: String,

    /// Where the API is; it hands out leave to store each result
    #[arg(long, env = "MANIMQ_API_URL", default_value = "http://127.0.0.1:8080")]
    pub api_url: String,

    /// Certificates (PEM) to trust beside the system's, for an API or a bucket that speaks https
    #[arg(long, env = "MANIMQ_CA_FILE", value_name = "FILE")]
    pub ca_file: Option<PathBuf>,

    /// Renders at a time. Each wants a core and up to 400 MB at 1080p [default: number of cores;
    /// with --sandbox blaxel as many as the sandboxes take]
    #[arg(long, env = "MANIMQ_SLOTS", value_parser = clap::value_parser!(u16).range(1..=64))]
    pub slots: Option<u16>,

    /// Cores that one render may take while no other slot uses them; 1 turns this off. Only films
    /// that are faster for it are drawn on several: scenes that take long to draw, or six and more
    /// cores [default: number of cores, at most 16]
    #[arg(long, env = "MANIMQ_CORES_PER_JOB", value_parser = clap::value_parser!(u32).range(1..=64))]
    pub cores_per_job: Option<u32>,

    /// Where /metrics and /healthz answer; port 0 takes a free one
    #[arg(
        long,
        env = "MANIMQ_WORKER_METRICS_LISTEN",
        default_value = "127.0.0.1:9465"
    )]
    pub metrics_listen: SocketAddr,

    /// What is told to whoever watches.
    #[command(flatten)]
    pub watch: WatchArgs,

    /// Write what this worker listens on to this file (JSON), once its slots are ready
    #[arg(long, value_name = "FILE")]
    pub announce: Option<PathBuf>,

    /// How long running renders may go on after SIGTERM; then they go back to the queue, uncounted
    #[arg(long, env = "MANIMQ_DRAIN_TIMEOUT", default_value = "30s", value_parser = humantime::parse_duration)]
    pub drain_timeout: Duration,

    /// How scenes are judged.
    #[command(flatten)]
    pub policy: ScenePolicy,

    /// What one render may use, as NAME=VALUE,…: cpu_s, memory_mib, output_mib, disk_mib, disk_files,
    /// open_files, threads, frames, pixels, log_kib. A tenant's own (`manimq admin tenants limits`)
    /// come before these, and before those by default:
    /// memory_mib=2048,output_mib=256,disk_mib=768,disk_files=8192,open_files=256,threads=512,frames=216000,pixels=33177600,log_kib=16384
    #[arg(
        long,
        env = "MANIMQ_LIMITS",
        value_name = "LIMITS",
        default_value_t,
        hide_default_value = true
    )]
    pub limits: RenderLimits,

    /// The sandbox's settings.
    #[command(flatten)]
    pub sandbox: SandboxArgs,
}

impl RunArgs {
    /// How to reach Redis.
    ///
    /// # Errors
    /// If a variable about Redis cannot be read.
    pub fn redis(&self) -> Result<RedisConfig, QueueError> {
        Ok(RedisConfig {
            prefix: self.redis_prefix.clone(),
            pool_size: usize::from(self.slots()) + 2,
            ..RedisConfig::from_env(self.redis_url.clone())?
        })
    }

    /// Number of slots, after the default.
    #[must_use]
    pub fn slots(&self) -> u16 {
        let usual = match self.sandbox.sandbox {
            SandboxKind::Local => None,
            SandboxKind::Blaxel => Some(self.sandbox.remote.slots_max()),
        };
        self.slots
            .or(usual)
            .unwrap_or_else(|| u16::try_from(machine_cores()).unwrap_or(64).min(64))
    }

    /// Most cores of one render, after the default.
    #[must_use]
    pub fn cores_per_job(&self) -> u32 {
        self.cores_per_job
            .unwrap_or_else(|| machine_cores().min(16))
    }
}

/// Cores that this process may use.
#[must_use]
pub fn machine_cores() -> u32 {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    u32::try_from(cores).unwrap_or(u32::MAX)
}

/// Where scenes run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum SandboxKind {
    /// On this host, behind namespaces (level full), Landlock, seccomp and resource limits
    Local,
    /// In persistent sandboxes in Blaxel's cloud (MANIM_SANDBOX_NAME, key in BLAXEL_API_KEY or BL_API_KEY)
    Blaxel,
}

/// Walls around a scene.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LevelChoice {
    /// The highest that can be had here; a warning says so where that is not full
    Auto,
    /// bubblewrap: namespaces and memory file systems for each job, and all that container has
    Full,
    /// For an unprivileged container: Landlock, seccomp, resource limits, a user per slot if root
    Container,
}

/// What every command that opens a sandbox takes.
#[derive(Debug, Clone, Args)]
pub struct SandboxArgs {
    /// Where scenes run
    #[arg(long, env = "MANIMQ_SANDBOX", value_enum, default_value = "local")]
    pub sandbox: SandboxKind,

    /// Walls that must stand around a scene; the worker does not start with fewer than asked for
    #[arg(long, env = "MANIMQ_SANDBOX_LEVEL", value_enum, default_value = "auto")]
    pub sandbox_level: LevelChoice,

    /// Where jobs keep their files at level container; best a file system in memory with a limit
    /// of its own [default: $TMPDIR or /tmp; inside a sandbox of Blaxel's /manimq]
    #[arg(long, env = "MANIMQ_SANDBOX_DIR", value_name = "FOLDER")]
    pub sandbox_dir: Option<PathBuf>,

    /// Python environment with Manim, as `deploy/setup` makes it [default: .manimq/python of the
    /// checkout that this program was built in, or of the current folder]
    #[arg(long, env = "MANIMQ_PYTHON_ENV")]
    pub python_env: Option<PathBuf>,

    /// The renderer's Python code [default: worker/renderer, found as above]
    #[arg(long, env = "MANIMQ_RENDERER_DIR")]
    pub renderer_dir: Option<PathBuf>,

    /// If the worker runs as root, slot n runs as this user id plus n; no account needs to exist
    #[arg(long, env = "MANIMQ_SANDBOX_UID_BASE", default_value_t = LocalConfig::UID_BASE)]
    pub sandbox_uid_base: u32,

    /// Settings of persistent sandboxes elsewhere.
    #[command(flatten)]
    pub remote: RemoteArgs,
}

impl SandboxArgs {
    /// What is said of sandboxes of any kind.
    #[must_use]
    pub fn shared(&self, ca_file: Option<&Path>) -> Shared {
        let folder = self.sandbox_dir.as_deref();
        Shared {
            ca_file: ca_file.map(Path::to_owned),
            folder: folder.map(|folder| folder.to_string_lossy().into_owned()),
            renderer_dir: in_checkout(self.renderer_dir.as_deref(), "worker/renderer"),
            uid_base: self.sandbox_uid_base,
        }
    }

    /// Settings of the local sandbox of slot `index`.
    #[must_use]
    pub fn local(&self, index: usize) -> LocalConfig {
        let index = u32::try_from(index).unwrap_or(u32::MAX);
        LocalConfig {
            uid_base: self.sandbox_uid_base,
            level: match self.sandbox_level {
                LevelChoice::Auto => None,
                LevelChoice::Full => Some(Level::Full),
                LevelChoice::Container => Some(Level::Container),
            },
            folder: self.sandbox_dir.clone().unwrap_or_else(std::env::temp_dir),
            ..LocalConfig::new(
                in_checkout(self.python_env.as_deref(), ".manimq/python"),
                in_checkout(self.renderer_dir.as_deref(), "worker/renderer"),
                index,
            )
        }
    }
}

/// `given`, or `path` in the checkout around this program or the current folder, whichever has it.
fn in_checkout(given: Option<&Path>, path: &str) -> PathBuf {
    if let Some(given) = given {
        return given.to_owned();
    }
    let program = std::env::current_exe().unwrap_or_default();
    let here = std::env::current_dir().unwrap_or_default();
    program
        .ancestors()
        .map(|folder| folder.join(path))
        .find(|candidate| candidate.exists())
        .unwrap_or_else(|| here.join(path))
}
