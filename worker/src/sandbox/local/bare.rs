//! Starts a slot at level `container`: the zygote as it is, with nothing around it.
//!
//! What bubblewrap does at level `full` and what needs no right is done here
//! between fork and exec: another user (if we are root), a session of its own,
//! no new privileges, the outer filter, only our descriptors, an empty
//! environment. There is no pid namespace to end the slot with; instead every
//! process of it dies with its parent, none can leave the zygote's session, and
//! [`end_session`] waits until that is empty.

use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd, RawFd};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::Level;
use super::filters::Filters;
use super::launch::{LaunchSpec, SYSTEM_PATHS, keep_only, launcher};

/// From the zygote's death to that of the last process below it: they are killed, not asked.
const END_TIMEOUT: Duration = Duration::from_secs(10);

/// Starts the zygote with `area` as its folder.
pub(super) fn start(
    spec: &LaunchSpec,
    area: &Path,
    control: OwnedFd,
    output: OwnedFd,
    doors: Vec<OwnedFd>,
) -> io::Result<Child> {
    let filters = Filters::get(Level::Container);
    let [job_filter, tex_filter] = filters.open_inner()?;
    let doors_said = super::launch::numbers(&doors);
    let mut inherited = vec![control, job_filter, tex_filter];
    let mut command = Command::new(spec.python_env.join("bin/python3"));
    command
        .args(["-I", "-B"])
        .arg(spec.renderer_dir.join("main.py"))
        .args(inherited.iter().map(|fd| fd.as_raw_fd().to_string()))
        .arg(doors_said)
        .arg("container")
        .arg(area)
        .args([&spec.python_env, &spec.renderer_dir])
        .args(SYSTEM_PATHS)
        .env_clear()
        .envs(super::launch::ENVIRONMENT.iter().copied())
        .env("TMPDIR", area)
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(output.try_clone()?)
        .stderr(output);
    inherited.extend(doors);
    let (uid, worker) = (spec.uid, std::process::id());
    let outer = filters.outer();
    // SAFETY: between fork and exec the closure makes system calls and nothing
    // else: no allocation, no lock.
    unsafe {
        command.pre_exec(move || enter(uid, worker, outer, &inherited));
    }
    launcher().spawn(command)
}

/// Runs between fork and exec: system calls only.
fn enter(uid: Option<u32>, worker: u32, outer: &[u8], inherited: &[OwnedFd]) -> io::Result<()> {
    let check = |result: libc::c_long| {
        if result < 0 {
            Err(io::Error::last_os_error())
        } else {
            Ok(())
        }
    };
    // SAFETY: system calls on numbers, and on memory that outlives them.
    unsafe {
        check(libc::setsid().into())?;
        if let Some(uid) = uid {
            // Raw calls: glibc's wrappers would ask threads that do not exist here.
            check(libc::syscall(
                libc::SYS_setgroups,
                0,
                std::ptr::null::<libc::gid_t>(),
            ))?;
            check(libc::syscall(libc::SYS_setresgid, uid, uid, uid))?;
            check(libc::syscall(libc::SYS_setresuid, uid, uid, uid))?;
        }
        libc::umask(0o077);
        // After the change of user, which takes it back.
        let signal = libc::c_ulong::from(libc::SIGKILL.unsigned_abs());
        check(libc::prctl(libc::PR_SET_PDEATHSIG, signal, 0, 0, 0).into())?;
        if libc::getppid().unsigned_abs() != worker {
            return Err(io::Error::from_raw_os_error(libc::ESRCH));
        }
        keep_only(inherited)?;
        check(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0).into())?;
        let program = libc::sock_fprog {
            len: u16::try_from(outer.len() / 8).unwrap_or(0),
            filter: outer.as_ptr().cast::<libc::sock_filter>().cast_mut(),
        };
        check(
            libc::prctl(
                libc::PR_SET_SECCOMP,
                libc::c_ulong::from(libc::SECCOMP_MODE_FILTER),
                &raw const program,
                0,
                0,
            )
            .into(),
        )
    }
}

/// Kills what is left of the zygote's session, and returns when nothing is.
///
/// The zygote is dead, so nothing new is started: guards die with it, jobs and
/// formulas with their guards.
pub(super) fn end_session(session: RawFd) -> io::Result<()> {
    let deadline = Instant::now() + END_TIMEOUT;
    loop {
        let left = members(session)?;
        if left.is_empty() {
            return Ok(());
        }
        for pid in left {
            if let Some(pid) = rustix::process::Pid::from_raw(pid) {
                let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
            }
        }
        if Instant::now() > deadline {
            return Err(io::Error::new(
                io::ErrorKind::TimedOut,
                format!("processes of session {session} do not die"),
            ));
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Processes of a session that are not dead.
fn members(session: i32) -> io::Result<Vec<i32>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc")?.flatten() {
        let Some(pid) = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok())
        else {
            continue;
        };
        // One that has just ended has no file any more.
        let Ok(stat) = std::fs::read_to_string(format!("/proc/{pid}/stat")) else {
            continue;
        };
        let Some((_, fields)) = stat.rsplit_once(')') else {
            continue;
        };
        let mut fields = fields.split_whitespace();
        let state = fields.next();
        // state, parent, group, session
        if fields.nth(2).and_then(|field| field.parse().ok()) == Some(session)
            && !matches!(state, Some("Z" | "X"))
        {
            found.push(pid);
        }
    }
    Ok(found)
}
