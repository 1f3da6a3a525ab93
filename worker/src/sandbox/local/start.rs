//! Starts a slot: at the level that is asked for, or at the highest that there is, and says what is missing.

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::net::unix::pipe;

use super::launch::{LaunchSpec, Means};
use super::slot::Slot;
use super::{Level, LocalConfig};
use crate::sandbox::wire::{Seqpacket, ZygoteMessage};
use crate::sandbox::{ConnectError, Versions};

/// From starting bubblewrap to a warm zygote. 1 to 2 s on a quiet machine.
const READY_TIMEOUT: Duration = Duration::from_secs(60);

/// A slot at the level that is asked for, or at the highest that there is.
pub(super) async fn open(
    config: &LocalConfig,
) -> Result<(LaunchSpec, Slot, Versions), ConnectError> {
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
pub(super) struct StartFailed {
    pub(super) error: ConnectError,
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

pub(super) async fn start(launch: &LaunchSpec) -> Result<(Slot, Versions), StartFailed> {
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
pub(super) fn not_started(launch: &LaunchSpec, error: &io::Error) -> StartFailed {
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
