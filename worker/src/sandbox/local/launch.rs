//! Starts a slot. At level `full`: bubblewrap as an unprivileged user, with an empty
//! environment (level `container` is in `bare.rs`).
//!
//! Three things that bubblewrap does not do for us, each a hole when forgotten:
//!
//! * started by root it maps uid 0 to the real uid 0, and files of root are
//!   readable inside whatever number is shown; so we change the uid first;
//! * it stays visible as pid 1 with the environment that it was started with,
//!   `--clearenv` or not; so it gets none, and the zygote becomes pid 1;
//! * as that unprivileged user it cannot walk to a checkout below a folder of
//!   mode 0700; so root, who can, binds the two folders to a place that it can
//!   reach, in a mount namespace that nobody else sees.

use std::ffi::{CString, OsString};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::mpsc as std_mpsc;
use std::time::{Duration, Instant};

use rustix::process::{Pid, PidfdFlags, Signal};
use serde::Deserialize;
use tokio::io::unix::AsyncFd;

use super::area::Area;
use super::cgroup::{self, Group};
use super::filters::Filters;
use super::{Level, bare};
use crate::sandbox::{ConnectError, machine};

/// Where the two folders are bound for an unprivileged bubblewrap, and where
/// they are inside.
const STAGE: &str = "/tmp";
const PYTHON_INSIDE: &str = "/opt/rt";
const RENDERER_INSIDE: &str = "/opt/sbx";

/// Single files and folders of the system that a scene or LaTeX reads. Never
/// `/etc` as a whole, and those that are not installed are left out.
pub(in crate::sandbox) const SYSTEM_PATHS: &[&str] = &[
    "/etc/fonts",
    "/etc/ld.so.cache",
    "/etc/texmf",
    "/etc/alternatives",
    "/var/lib/texmf",
    "/var/cache/fontconfig",
];

/// Not `--dev`: its terminals make bubblewrap add a second user namespace below
/// the one that owns the pid namespace, and then a guard cannot go back to that
/// after a fork. `--disable-userns` does the same; the outer filter stands in for it.
const DEVICES: &[&str] = &[
    "/dev/null",
    "/dev/zero",
    "/dev/full",
    "/dev/random",
    "/dev/urandom",
];

/// All of a zygote's environment.
pub(in crate::sandbox) const ENVIRONMENT: &[(&str, &str)] = &[
    ("PATH", "/usr/local/bin:/usr/bin:/bin"),
    ("HOME", "/nonexistent"),
    ("LANG", "C.UTF-8"),
    // One thread: fork and unshare depend on it.
    ("OPENBLAS_NUM_THREADS", "1"),
    ("OMP_NUM_THREADS", "1"),
    // Each arena reserves address space, which the memory limit counts.
    ("MALLOC_ARENA_MAX", "2"),
    // Manim's log lines are laid out for a terminal of this width.
    ("COLUMNS", "100"),
];

/// What to start, and how.
#[derive(Debug, Clone)]
pub(super) struct LaunchSpec {
    pub means: Means,
    pub python_env: PathBuf,
    pub renderer_dir: PathBuf,
    /// User to become; `None` to stay who we are (not root).
    pub uid: Option<u32>,
}

/// What there is to build walls with.
#[derive(Debug, Clone)]
pub(super) enum Means {
    /// Level `full`: this bubblewrap.
    Bubblewrap(PathBuf),
    /// Level `container`: what any process may do, and a folder for the slots' areas.
    Bare(PathBuf),
}

impl Means {
    pub(super) fn level(&self) -> Level {
        match self {
            Self::Bubblewrap(_) => Level::Full,
            Self::Bare(_) => Level::Container,
        }
    }

    /// Whether the disk that jobs write on has room for another one. At level `full` that is memory of their own.
    pub(super) fn has_room(&self) -> Result<(), ConnectError> {
        let Self::Bare(folder) = self else {
            return Ok(());
        };
        let unavailable = |reason: String| ConnectError::Unavailable {
            reason,
            remedy: format!("free room on the disk of {}", folder.display()),
            retry_after: Duration::from_secs(5),
        };
        let disk = rustix::fs::statvfs(folder)
            .map_err(|error| unavailable(format!("{}: {error}", folder.display())))?;
        let free_bytes = disk.f_bavail.saturating_mul(disk.f_frsize);
        machine::has_room(&folder.display().to_string(), free_bytes).map_err(unavailable)
    }
}

/// A running slot. Dropping it ends it; nothing is left when the drop returns.
#[derive(Debug)]
pub(super) struct SlotProcess {
    /// Our child: bubblewrap's outer process, or the zygote itself.
    child: Child,
    /// The zygote. At level `full` pid 1 of the slot: when it is gone, all is.
    zygote: Option<Zygote>,
    /// At level `container`: where the slot keeps files. Removed when all is dead.
    area: Option<Area>,
    /// Its control groups, where there are any. Removed when all is dead.
    group: Option<Group>,
}

/// Descriptors as an argument.
pub(super) fn numbers(fds: &[OwnedFd]) -> String {
    let numbers: Vec<String> = fds.iter().map(|fd| fd.as_raw_fd().to_string()).collect();
    numbers.join(",")
}

#[derive(Debug)]
struct Zygote {
    pid: Pid,
    pidfd: AsyncFd<OwnedFd>,
}

impl LaunchSpec {
    /// Starts the slot; `control` becomes the zygote's control socket and
    /// `output` its stdout and stderr.
    pub(super) fn start(&self, control: OwnedFd, output: OwnedFd) -> io::Result<SlotProcess> {
        let group = cgroup::delegated()
            .as_ref()
            .ok()
            .map(Group::new)
            .transpose()?;
        let doors = group.as_ref().map(Group::doors).transpose()?;
        let mut slot = self.start_in(control, output, doors.unwrap_or_default())?;
        slot.group = group;
        Ok(slot)
    }

    fn start_in(
        &self,
        control: OwnedFd,
        output: OwnedFd,
        doors: Vec<OwnedFd>,
    ) -> io::Result<SlotProcess> {
        match &self.means {
            Means::Bubblewrap(bwrap) => self.start_bubblewrap(bwrap, control, output, doors),
            Means::Bare(folder) => {
                let area = Area::new(folder, self.uid).map_err(|error| {
                    io::Error::new(
                        error.kind(),
                        format!("no folder for jobs in {}: {error}", folder.display()),
                    )
                })?;
                let child = bare::start(self, area.path(), control, output, doors)?;
                let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
                let mut slot = SlotProcess {
                    child,
                    zygote: None,
                    area: Some(area),
                    group: None,
                };
                slot.zygote = pid.map(Zygote::open).transpose()?.flatten();
                Ok(slot)
            }
        }
    }

    fn start_bubblewrap(
        &self,
        bwrap: &Path,
        control: OwnedFd,
        output: OwnedFd,
        doors: Vec<OwnedFd>,
    ) -> io::Result<SlotProcess> {
        let filters = Filters::get(Level::Full);
        let [job_filter, tex_filter] = filters.open_inner()?;
        let outer_filter = filters.open_outer()?;
        let (info_read, info_write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
        let mut inherited = vec![control, job_filter, tex_filter, outer_filter, info_write];
        let fds: Vec<RawFd> = inherited.iter().map(AsRawFd::as_raw_fd).collect();
        let doors_said = numbers(&doors);
        inherited.extend(doors);

        let stage = match self.uid {
            Some(uid) => Some(Stage::new(self, uid)?),
            None => None,
        };
        let (python_env, renderer_dir) = match &stage {
            Some(_) => (format!("{STAGE}/rt").into(), format!("{STAGE}/sbx").into()),
            None => (self.python_env.clone(), self.renderer_dir.clone()),
        };
        let mut command = Command::new(bwrap);
        command
            .args(arguments(&python_env, &renderer_dir, &fds, &doors_said))
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output);
        // SAFETY: between fork and exec the closure makes system calls and
        // nothing else: no allocation, no lock.
        unsafe {
            command.pre_exec(move || {
                if let Some(stage) = &stage {
                    stage.enter()?;
                }
                keep_only(&inherited)
            });
        }
        let child = launcher().spawn(command)?;
        let mut slot = SlotProcess {
            child,
            zygote: None,
            area: None,
            group: None,
        };
        slot.zygote = find_zygote(info_read)?;
        Ok(slot)
    }
}

impl Zygote {
    /// `None` if it has ended already.
    fn open(pid: Pid) -> io::Result<Option<Self>> {
        match rustix::process::pidfd_open(pid, PidfdFlags::NONBLOCK) {
            Ok(pidfd) => Ok(Some(Self {
                pid,
                pidfd: crate::sandbox::wire::register(pidfd)?,
            })),
            Err(rustix::io::Errno::SRCH) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

impl SlotProcess {
    /// Process id of the zygote, as the host sees it.
    pub(super) fn zygote_pid(&self) -> Option<u32> {
        let zygote = self.zygote.as_ref()?;
        u32::try_from(zygote.pid.as_raw_nonzero().get()).ok()
    }

    /// Returns when the slot has ended, by itself or killed.
    pub(super) async fn ended(&self) {
        if let Some(zygote) = &self.zygote {
            let _ = zygote.pidfd.readable().await;
        }
    }

    /// Sets what the next job may hold, where control groups count it.
    pub(super) fn allow(&self, memory_bytes: u64, threads: u64) {
        if let Some(Err(error)) = self
            .group
            .as_ref()
            .map(|group| group.allow(memory_bytes, threads))
        {
            // The last job's, then, and the resource limits.
            tracing::warn!(error = %error, "cannot set the limits of a control group");
        }
    }

    /// Makes sure that nothing of a job that is over is on disk.
    pub(super) fn clear(&self) -> io::Result<()> {
        self.area.as_ref().map_or(Ok(()), Area::clear)
    }

    /// Kills the slot; when this returns, nothing of it is left.
    pub(super) fn kill(&mut self) {
        let session = i32::try_from(self.child.id()).unwrap_or(0);
        if let Some(zygote) = self.zygote.take() {
            // All that lives in a pid namespace dies with its pid 1, and
            // bubblewrap, which waits for pid 1, ends after it.
            let _ = rustix::process::pidfd_send_signal(zygote.pidfd.get_ref(), Signal::KILL);
        } else {
            let _ = self.child.kill();
        }
        let _ = self.child.wait();
        if let Some(area) = self.area.take() {
            if let Err(error) = bare::end_session(session) {
                tracing::error!(error = %error, "a slot did not end");
            }
            drop(area);
        }
    }
}

impl Drop for SlotProcess {
    fn drop(&mut self) {
        self.kill();
    }
}

fn arguments(python_env: &Path, renderer_dir: &Path, fds: &[RawFd], doors: &str) -> Vec<OsString> {
    let [control, job_filter, tex_filter, outer_filter, info] = fds else {
        unreachable!("five descriptors are handed over");
    };
    let mut arguments: Vec<OsString> = Vec::new();
    let mut add = |words: &[&str]| arguments.extend(words.iter().map(OsString::from));
    // Each namespace by name: --unshare-all only tries the user namespace.
    add(&[
        "--unshare-user",
        "--unshare-pid",
        "--unshare-net",
        "--unshare-ipc",
    ]);
    add(&["--unshare-uts", "--unshare-cgroup"]);
    add(&[
        "--die-with-parent",
        "--new-session",
        "--as-pid-1",
        "--clearenv",
    ]);
    add(&["--hostname", "sandbox", "--uid", "1000", "--gid", "1000"]);
    // Over the slot's own user namespace, for the guards; every job drops them.
    add(&[
        "--cap-drop",
        "ALL",
        "--cap-add",
        "CAP_SYS_ADMIN",
        "--cap-add",
        "CAP_SETPCAP",
    ]);
    add(&["--ro-bind", "/usr", "/usr", "--symlink", "usr/lib", "/lib"]);
    // What an operator keeps there (settings with keys, sources) is no business of a scene's.
    for private in ["/usr/local/etc", "/usr/local/src", "/usr/src"] {
        if Path::new(private).is_dir() {
            add(&[
                "--size",
                "4096",
                "--tmpfs",
                private,
                "--remount-ro",
                private,
            ]);
        }
    }
    add(&[
        "--symlink",
        "usr/lib64",
        "/lib64",
        "--symlink",
        "usr/bin",
        "/bin",
    ]);
    for device in DEVICES {
        add(&["--dev-bind", device, device]);
    }
    for path in SYSTEM_PATHS {
        add(&["--ro-bind-try", path, path]);
    }
    add(&["--proc", "/proc", "--dir", "/job", "--dir", "/texjob"]);
    add(&["--size", "16777216", "--tmpfs", "/tmp"]);
    for (name, value) in ENVIRONMENT {
        add(&["--setenv", name, value]);
    }
    for (outside, inside) in [(python_env, PYTHON_INSIDE), (renderer_dir, RENDERER_INSIDE)] {
        arguments.extend(["--ro-bind".into(), outside.into(), inside.into()]);
    }
    let mut add = |words: &[&str]| arguments.extend(words.iter().map(OsString::from));
    add(&["--remount-ro", "/", "--chdir", "/"]);
    add(&[
        "--seccomp",
        &outer_filter.to_string(),
        "--info-fd",
        &info.to_string(),
    ]);
    add(&["--", "/opt/rt/bin/python3", "-I", "-B", "/opt/sbx/main.py"]);
    add(&[
        &control.to_string(),
        &job_filter.to_string(),
        &tex_filter.to_string(),
        doors,
        "full",
    ]);
    arguments
}

/// After fork: only these descriptors, stdio, and Rust's own survive the exec.
pub(super) fn keep_only(fds: &[OwnedFd]) -> io::Result<()> {
    // SAFETY: plain system calls on numbers.
    unsafe {
        if libc::syscall(
            libc::SYS_close_range,
            3,
            libc::c_uint::MAX,
            libc::CLOSE_RANGE_CLOEXEC,
        ) < 0
        {
            return Err(io::Error::last_os_error());
        }
        for fd in fds {
            if libc::fcntl(fd.as_raw_fd(), libc::F_SETFD, 0) < 0 {
                return Err(io::Error::last_os_error());
            }
        }
    }
    Ok(())
}

/// Root's part: a private mount namespace with the two folders where an
/// unprivileged user can reach them, and the change to that user.
#[derive(Debug)]
struct Stage {
    uid: u32,
    /// Source and target of each bind mount.
    binds: [(CString, CString); 2],
    stage: CString,
}

impl Stage {
    fn new(spec: &LaunchSpec, uid: u32) -> io::Result<Self> {
        let path =
            |path: &Path| CString::new(path.as_os_str().as_bytes()).map_err(io::Error::other);
        let inside = |name: &str| CString::new(format!("{STAGE}/{name}")).map_err(io::Error::other);
        Ok(Self {
            uid,
            binds: [
                (path(&spec.python_env)?, inside("rt")?),
                (path(&spec.renderer_dir)?, inside("sbx")?),
            ],
            stage: CString::new(STAGE).map_err(io::Error::other)?,
        })
    }

    /// Runs between fork and exec: system calls only.
    fn enter(&self) -> io::Result<()> {
        let check = |result: libc::c_int| {
            if result < 0 {
                Err(io::Error::last_os_error())
            } else {
                Ok(result)
            }
        };
        // SAFETY: all pointers are to C strings that live as long as `self`.
        unsafe {
            check(libc::unshare(libc::CLONE_NEWNS))?;
            check(libc::mount(
                std::ptr::null(),
                c"/".as_ptr(),
                std::ptr::null(),
                libc::MS_REC | libc::MS_PRIVATE,
                std::ptr::null(),
            ))?;
            // Opened before the stage is mounted, which may cover them.
            let mut sources = [0; 2];
            for (source, (from, _)) in sources.iter_mut().zip(&self.binds) {
                *source = check(libc::open(from.as_ptr(), libc::O_PATH | libc::O_CLOEXEC))?;
            }
            check(libc::mount(
                c"tmpfs".as_ptr(),
                self.stage.as_ptr(),
                c"tmpfs".as_ptr(),
                libc::MS_NOSUID | libc::MS_NODEV,
                c"mode=755,size=64k".as_ptr().cast(),
            ))?;
            for (&source, (_, target)) in sources.iter().zip(&self.binds) {
                check(libc::mkdir(target.as_ptr(), 0o755))?;
                let mut name = [0u8; 32];
                let name = proc_fd_path(source, &mut name);
                check(libc::mount(
                    name,
                    target.as_ptr(),
                    std::ptr::null(),
                    libc::MS_BIND | libc::MS_REC,
                    std::ptr::null(),
                ))?;
            }
            // Raw calls: glibc's wrappers would ask threads that do not exist here.
            let raw = |number: libc::c_long| {
                libc::syscall(number, self.uid, self.uid, self.uid) as libc::c_int
            };
            check(
                libc::syscall(libc::SYS_setgroups, 0, std::ptr::null::<libc::gid_t>())
                    as libc::c_int,
            )?;
            check(raw(libc::SYS_setresgid))?;
            check(raw(libc::SYS_setresuid))?;
        }
        Ok(())
    }
}

/// `/proc/self/fd/<fd>` without allocating.
fn proc_fd_path(fd: RawFd, buffer: &mut [u8; 32]) -> *const libc::c_char {
    let prefix = b"/proc/self/fd/";
    buffer[..prefix.len()].copy_from_slice(prefix);
    let mut digits = [0u8; 10];
    let mut count = 0;
    let mut rest = fd.unsigned_abs();
    loop {
        digits[count] = b'0' + u8::try_from(rest % 10).unwrap_or(0);
        rest /= 10;
        count += 1;
        if rest == 0 {
            break;
        }
    }
    for (at, digit) in digits[..count].iter().rev().enumerate() {
        buffer[prefix.len() + at] = *digit;
    }
    buffer.as_ptr().cast()
}

/// Reads from bubblewrap which process is the slot's pid 1. `None` if it ended
/// before it could say so; why is in its output.
fn find_zygote(info: OwnedFd) -> io::Result<Option<Zygote>> {
    #[derive(Deserialize)]
    struct Info {
        #[serde(rename = "child-pid")]
        child_pid: i32,
    }
    // It writes within milliseconds or dies, which closes the pipe; a bound all the same.
    let deadline = Instant::now() + Duration::from_secs(10);
    rustix::io::ioctl_fionbio(&info, true)?;
    let mut file = File::from(info);
    let mut text = Vec::new();
    while serde_json::from_slice::<Info>(&text).is_err() {
        let mut chunk = [0; 512];
        match file.read(&mut chunk) {
            Ok(0) => return Ok(None),
            Ok(count) => text.extend_from_slice(&chunk[..count]),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                if Instant::now() > deadline {
                    return Err(io::Error::new(
                        io::ErrorKind::TimedOut,
                        "bubblewrap did not start",
                    ));
                }
                std::thread::sleep(Duration::from_millis(1));
            }
            Err(error) => return Err(error),
        }
    }
    let Ok(Info { child_pid }) = serde_json::from_slice(&text) else {
        return Ok(None);
    };
    let Some(pid) = Pid::from_raw(child_pid) else {
        return Ok(None);
    };
    Zygote::open(pid)
}

/// The thread that starts every slot of this process.
///
/// To die with the parent means with the parent *thread*: started from a pool thread
/// that tokio retires, a slot would die with that thread. This one lives as
/// long as the process.
pub(super) struct Launcher(std_mpsc::Sender<(Command, std_mpsc::Sender<io::Result<Child>>)>);

pub(super) fn launcher() -> &'static Launcher {
    static LAUNCHER: OnceLock<Launcher> = OnceLock::new();
    LAUNCHER.get_or_init(|| {
        let (sender, receiver) =
            std_mpsc::channel::<(Command, std_mpsc::Sender<io::Result<Child>>)>();
        std::thread::Builder::new()
            .name("sandbox-launcher".into())
            .spawn(move || {
                for (mut command, reply) in receiver {
                    let _ = reply.send(command.spawn());
                }
            })
            .expect("a process that cannot start one thread cannot render");
        Launcher(sender)
    })
}

impl Launcher {
    pub(super) fn spawn(&self, command: Command) -> io::Result<Child> {
        let (reply, answer) = std_mpsc::channel();
        let gone = || io::Error::other("the launcher thread is gone");
        self.0.send((command, reply)).map_err(|_| gone())?;
        answer.recv().map_err(|_| gone())?
    }
}
