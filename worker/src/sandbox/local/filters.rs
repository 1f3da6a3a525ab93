//! The seccomp filters of a slot, all in one place.
//!
//! | filter | kind | who runs under it |
//! | --- | --- | --- |
//! | `outer` | deny list | the whole slot, from before its first program on |
//! | `job` | allow list | the job: no fork, no exec, no socket |
//! | `tex` | allow list | latex and dvisvgm: exec, but no fork and no socket |
//!
//! At level `container` there are no namespaces and no view of one's own, so the
//! filters take over: no socket for the whole slot, and nothing that changes a
//! file other than by an open descriptor, which Landlock has judged.
//!
//! Lists were derived from Manim 0.22 on x86-64. A call that only exists on one
//! architecture is in that architecture's list. Filters reach the sandbox as
//! sealed memory files, so that no program on disk can change them.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::sync::OnceLock;

use super::Level;
use libc::c_long;
use rustix::fs::{MemfdFlags, SealFlags};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch, sock_filter,
};

/// Namespace flags of `clone`, `CLONE_NEWTIME` included.
const CLONE_NEW_ANY: u64 = 0x7e02_0000 | 0x80;
const CLONE_THREAD: u64 = 0x0001_0000;
/// What a thread has in common with all others of its process: the table of descriptors and the working folder. With
/// a table of its own it would have a limit of its own, and files that `watch.py` does not see.
const CLONE_FS_AND_FILES: u64 = 0x0000_0600;
const CLONE_NEWUSER: u64 = 0x1000_0000;
const CLONE_NEWPID: u64 = 0x2000_0000;

/// Allowed to a job and to TeX, with any arguments. No `epoll`: watches are counted per user, so one job could leave
/// none to all others, and to a worker of that user.
const COMMON: &[c_long] = &[
    libc::SYS_brk,
    libc::SYS_capget,
    libc::SYS_chdir,
    libc::SYS_close,
    libc::SYS_copy_file_range,
    libc::SYS_dup,
    libc::SYS_dup3,
    libc::SYS_eventfd2,
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_faccessat,
    libc::SYS_faccessat2,
    libc::SYS_fallocate,
    libc::SYS_fchdir,
    libc::SYS_fchmod,
    libc::SYS_fchmodat,
    libc::SYS_fgetxattr,
    libc::SYS_flistxattr,
    libc::SYS_fstat,
    libc::SYS_fstatfs,
    libc::SYS_ftruncate,
    libc::SYS_futex,
    libc::SYS_getcpu,
    libc::SYS_getcwd,
    libc::SYS_getdents64,
    libc::SYS_getegid,
    libc::SYS_geteuid,
    libc::SYS_getgid,
    libc::SYS_getgroups,
    libc::SYS_getitimer,
    libc::SYS_getpgid,
    libc::SYS_getpid,
    libc::SYS_getppid,
    libc::SYS_getrandom,
    libc::SYS_getresgid,
    libc::SYS_getresuid,
    libc::SYS_getrusage,
    libc::SYS_getsid,
    libc::SYS_gettid,
    libc::SYS_gettimeofday,
    libc::SYS_getuid,
    libc::SYS_getxattr,
    libc::SYS_get_robust_list,
    libc::SYS_lgetxattr,
    libc::SYS_linkat,
    libc::SYS_listxattr,
    libc::SYS_llistxattr,
    libc::SYS_lseek,
    libc::SYS_madvise,
    libc::SYS_mbind,
    libc::SYS_membarrier,
    libc::SYS_mkdirat,
    libc::SYS_mmap,
    libc::SYS_mprotect,
    libc::SYS_mremap,
    libc::SYS_munmap,
    libc::SYS_nanosleep,
    libc::SYS_newfstatat,
    libc::SYS_pipe2,
    libc::SYS_ppoll,
    libc::SYS_pread64,
    libc::SYS_preadv,
    libc::SYS_pselect6,
    libc::SYS_pwrite64,
    libc::SYS_pwritev,
    libc::SYS_read,
    libc::SYS_readahead,
    libc::SYS_readlinkat,
    libc::SYS_readv,
    libc::SYS_renameat,
    libc::SYS_renameat2,
    libc::SYS_restart_syscall,
    libc::SYS_rseq,
    libc::SYS_rt_sigpending,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_rt_sigsuspend,
    libc::SYS_rt_sigtimedwait,
    libc::SYS_sched_getaffinity,
    libc::SYS_sched_getparam,
    libc::SYS_sched_getscheduler,
    libc::SYS_sched_get_priority_max,
    libc::SYS_sched_get_priority_min,
    libc::SYS_sched_yield,
    libc::SYS_sendfile,
    libc::SYS_setitimer,
    libc::SYS_set_robust_list,
    libc::SYS_set_tid_address,
    libc::SYS_sigaltstack,
    libc::SYS_splice,
    libc::SYS_statfs,
    libc::SYS_statx,
    libc::SYS_sysinfo,
    libc::SYS_timerfd_create,
    libc::SYS_timerfd_gettime,
    libc::SYS_timerfd_settime,
    libc::SYS_timer_delete,
    libc::SYS_timer_gettime,
    libc::SYS_timer_settime,
    libc::SYS_times,
    libc::SYS_truncate,
    libc::SYS_umask,
    libc::SYS_uname,
    libc::SYS_unlinkat,
    libc::SYS_utimensat,
    libc::SYS_wait4,
    libc::SYS_waitid,
    libc::SYS_write,
    libc::SYS_writev,
];

/// Old forms that x86-64 still has; the newer form of each is in [`COMMON`].
#[cfg(target_arch = "x86_64")]
const COMMON_OF_ARCH: &[c_long] = &[
    libc::SYS_access,
    libc::SYS_alarm,
    libc::SYS_arch_prctl,
    libc::SYS_chmod,
    libc::SYS_creat,
    libc::SYS_dup2,
    libc::SYS_getpgrp,
    libc::SYS_getrlimit,
    libc::SYS_link,
    libc::SYS_lstat,
    libc::SYS_mkdir,
    libc::SYS_pause,
    libc::SYS_pipe,
    libc::SYS_poll,
    libc::SYS_readlink,
    libc::SYS_rename,
    libc::SYS_rmdir,
    libc::SYS_select,
    libc::SYS_stat,
    libc::SYS_time,
    libc::SYS_unlink,
    libc::SYS_utime,
    libc::SYS_utimes,
];
#[cfg(not(target_arch = "x86_64"))]
const COMMON_OF_ARCH: &[c_long] = &[];

/// These look as if they succeeded. Who waits for a disk makes others wait for it, who takes a file out of the
/// cache takes it from all, and who locks one that all may read holds whoever else locks it: a result needs none of that.
const PRETENDED_ALWAYS: &[c_long] = &[
    libc::SYS_fadvise64,
    libc::SYS_fdatasync,
    libc::SYS_flock,
    libc::SYS_fsync,
    libc::SYS_msync,
    libc::SYS_sync_file_range,
];

/// Opening a file, and which argument has the flags.
const OPENING: &[(c_long, u8)] = &[
    (libc::SYS_openat, 2),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_open, 1),
];
/// With any of these flags each write waits for the disk.
const WAITS_FOR_DISK: u64 = (libc::O_SYNC | libc::O_DSYNC | libc::O_DIRECT) as u64;

/// Their first argument is a clock. Beyond those that have a name are the clocks of other processes, of any user's.
const OF_CLOCKS: &[c_long] = &[
    libc::SYS_clock_getres,
    libc::SYS_clock_gettime,
    libc::SYS_clock_nanosleep,
    libc::SYS_timer_create,
];
const CLOCKS: u64 = 16;
const SIGCHLD: u64 = libc::SIGCHLD as u64;

/// Not at level `container`: Landlock knows nothing of a file's mode and times, nor (before its
/// third version) of `truncate`, and a slot may own files beside a job's. To succeed and do
/// nothing keeps `shutil.copy` working.
const PRETENDED: &[c_long] = &[libc::SYS_fchmod, libc::SYS_fchmodat, libc::SYS_utimensat];
#[cfg(target_arch = "x86_64")]
const PRETENDED_OF_ARCH: &[c_long] = &[libc::SYS_chmod, libc::SYS_utime, libc::SYS_utimes];
#[cfg(not(target_arch = "x86_64"))]
const PRETENDED_OF_ARCH: &[c_long] = &[];
/// Not at level `container` either: the last two make data that no counter of writes sees.
const REFUSED_IN_CONTAINER: &[c_long] =
    &[libc::SYS_truncate, libc::SYS_fallocate, libc::SYS_splice];

/// Stands for the process's own id in the filters of a job and of TeX: `walls.py` puts it in.
const OWN_PID: u64 = 0x7e57_91d0;

/// Denied to the whole slot, the trusted zygote and guards included: none of
/// them needs it, and each has a history.
const OUTER_DENIED: &[c_long] = &[
    libc::SYS_acct,
    libc::SYS_add_key,
    libc::SYS_bpf,
    libc::SYS_delete_module,
    libc::SYS_finit_module,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fsopen,
    libc::SYS_fspick,
    libc::SYS_init_module,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_io_uring_setup,
    libc::SYS_kexec_load,
    libc::SYS_keyctl,
    libc::SYS_migrate_pages,
    libc::SYS_move_mount,
    libc::SYS_move_pages,
    libc::SYS_name_to_handle_at,
    libc::SYS_open_by_handle_at,
    libc::SYS_open_tree,
    libc::SYS_perf_event_open,
    libc::SYS_personality,
    libc::SYS_pidfd_getfd,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_ptrace,
    libc::SYS_quotactl,
    libc::SYS_reboot,
    libc::SYS_request_key,
    libc::SYS_swapoff,
    libc::SYS_swapon,
    libc::SYS_syslog,
    libc::SYS_userfaultfd,
    libc::SYS_vmsplice,
];
#[cfg(target_arch = "x86_64")]
const OUTER_DENIED_OF_ARCH: &[c_long] = &[
    libc::SYS_ioperm,
    libc::SYS_iopl,
    libc::SYS_kexec_file_load,
    libc::SYS_modify_ldt,
    libc::SYS_uselib,
];
#[cfg(not(target_arch = "x86_64"))]
const OUTER_DENIED_OF_ARCH: &[c_long] = &[];

/// Denied to the whole slot at level `container`, where nobody has a use for them.
const OUTER_DENIED_IN_CONTAINER: &[c_long] = &[
    libc::SYS_chroot,
    libc::SYS_mount,
    libc::SYS_mount_setattr,
    libc::SYS_pivot_root,
    libc::SYS_setns,
    libc::SYS_socket,
    libc::SYS_socketpair,
    libc::SYS_umount2,
    libc::SYS_unshare,
];

/// `fcntl` without owners, signals and leases: they reach other processes.
const FCNTL_ALLOWED: &[u64] = &[
    0, 1, 2, 3,    // DUPFD, GETFD, SETFD, GETFL
    1030, // DUPFD_CLOEXEC
    1032, // GETPIPE_SZ; what pipes may hold in all is counted per user
];
const F_SETFL: u64 = libc::F_SETFL as u64;
/// `close_range`: at once or on exec, never in a table of the thread's own.
const CLOSE_RANGE_ALLOWED: &[u64] = &[0, 4];
/// `ioctl`: TCGETS, TIOCGPGRP, TIOCGWINSZ, FIONREAD, FIONBIO, FIONCLEX, FIOCLEX.
const IOCTL_ALLOWED: &[u64] = &[0x5401, 0x540f, 0x5413, 0x541b, 0x5421, 0x5450, 0x5451];
/// `prctl`: GET_DUMPABLE, SET_NAME, GET_NAME, GET_SECCOMP, SET/GET_NO_NEW_PRIVS, SET_VMA.
const PRCTL_ALLOWED: &[u64] = &[3, 15, 16, 21, 38, 39, 0x5356_4d41];

/// The three programs of a level, compiled once.
#[derive(Debug)]
pub(super) struct Filters {
    job: Vec<u8>,
    tex: Vec<u8>,
    outer: Vec<u8>,
}

impl Filters {
    /// The filters of this build.
    pub(super) fn get(level: Level) -> &'static Self {
        static FULL: OnceLock<Filters> = OnceLock::new();
        static CONTAINER: OnceLock<Filters> = OnceLock::new();
        let filters = match level {
            Level::Full => &FULL,
            Level::Container => &CONTAINER,
        };
        filters.get_or_init(|| Self {
            job: raw(&job(level)),
            tex: raw(&tex(level)),
            outer: raw(&outer(level)),
        })
    }

    /// Fresh sealed files: job, tex.
    pub(super) fn open_inner(&self) -> io::Result<[OwnedFd; 2]> {
        Ok([
            sealed_file("filter-job", &self.job)?,
            sealed_file("filter-tex", &self.tex)?,
        ])
    }

    /// A fresh sealed file with the filter of the whole slot.
    pub(super) fn open_outer(&self) -> io::Result<OwnedFd> {
        sealed_file("filter-outer", &self.outer)
    }

    /// All three, by name.
    pub(super) fn programs(&self) -> [(&'static str, &[u8]); 3] {
        [
            ("job", &self.job),
            ("tex", &self.tex),
            ("outer", &self.outer),
        ]
    }

    /// The filter of the whole slot, for `prctl`: eight bytes an instruction.
    pub(super) fn outer(&self) -> &[u8] {
        &self.outer
    }
}

/// A file in memory with this content, which nobody can change any more.
fn sealed_file(name: &str, content: &[u8]) -> io::Result<OwnedFd> {
    let mut file = open_file(name)?;
    fill(&mut file, content)?;
    rustix::fs::seek(&file, rustix::fs::SeekFrom::Start(0))?;
    Ok(file.into())
}

/// An empty file in memory, for [`fill`].
pub(super) fn open_file(name: &str) -> io::Result<File> {
    let fd = rustix::fs::memfd_create(name, MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
    Ok(File::from(fd))
}

/// Gives it its content, which nobody can change any more.
pub(super) fn fill(file: &mut File, content: &[u8]) -> io::Result<()> {
    file.write_all(content)?;
    rustix::fs::fcntl_add_seals(
        file,
        SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE,
    )?;
    Ok(())
}

type Rules = BTreeMap<i64, Vec<SeccompRule>>;

fn equals(argument: u8, value: u64) -> SeccompRule {
    rule(argument, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, value)
}

fn masked(argument: u8, mask: u64, value: u64) -> SeccompRule {
    rule(
        argument,
        SeccompCmpArgLen::Qword,
        SeccompCmpOp::MaskedEq(mask),
        value,
    )
}

fn rule(argument: u8, length: SeccompCmpArgLen, op: SeccompCmpOp, value: u64) -> SeccompRule {
    all_of(vec![condition(argument, length, op, value)])
}

fn condition(
    argument: u8,
    length: SeccompCmpArgLen,
    op: SeccompCmpOp,
    value: u64,
) -> SeccompCondition {
    SeccompCondition::new(argument, length, op, value).expect("argument numbers are below 6")
}

fn all_of(conditions: Vec<SeccompCondition>) -> SeccompRule {
    SeccompRule::new(conditions).expect("a rule with a condition is valid")
}

fn one_of(argument: u8, values: &[u64]) -> Vec<SeccompRule> {
    values
        .iter()
        .map(|&value| equals(argument, value))
        .collect()
}

fn common(level: Level) -> Rules {
    let mut rules: Rules = COMMON
        .iter()
        .chain(COMMON_OF_ARCH)
        .map(|&call| (call, Vec::new()))
        .collect();
    for &(call, flags) in OPENING {
        rules.insert(call, vec![masked(flags, WAITS_FOR_DISK, 0)]);
    }
    let mut fcntl = one_of(1, FCNTL_ALLOWED);
    let (word, none_of) = (
        SeccompCmpArgLen::Dword,
        SeccompCmpOp::MaskedEq(WAITS_FOR_DISK),
    );
    fcntl.push(all_of(vec![
        condition(1, word.clone(), SeccompCmpOp::Eq, F_SETFL),
        condition(2, word, none_of, 0),
    ]));
    rules.insert(libc::SYS_fcntl, fcntl);
    rules.insert(libc::SYS_ioctl, one_of(1, IOCTL_ALLOWED));
    rules.insert(libc::SYS_prctl, one_of(0, PRCTL_ALLOWED));
    rules.insert(libc::SYS_prlimit64, vec![equals(0, 0)]);
    // Threads, never processes.
    let thread = CLONE_THREAD | CLONE_FS_AND_FILES;
    rules.insert(
        libc::SYS_clone,
        vec![masked(0, thread | CLONE_NEW_ANY, thread)],
    );
    rules.insert(libc::SYS_close_range, one_of(2, CLOSE_RANGE_ALLOWED));
    for call in OF_CLOCKS {
        let own = rule(0, SeccompCmpArgLen::Dword, SeccompCmpOp::Lt, CLOCKS);
        rules.insert(*call, vec![own]);
    }
    // A process that ignores its children gets nothing of the time that they took, and that is what is counted.
    let of_others = rule(0, SeccompCmpArgLen::Dword, SeccompCmpOp::Ne, SIGCHLD);
    rules.insert(libc::SYS_rt_sigaction, vec![of_others]);
    // It may abort itself.
    rules.insert(libc::SYS_kill, vec![equals(0, OWN_PID)]);
    rules.insert(libc::SYS_tgkill, vec![equals(0, OWN_PID)]);
    match level {
        Level::Full => {}
        Level::Container => {
            for call in REFUSED_IN_CONTAINER {
                rules.remove(call);
            }
        }
    }
    rules
}

fn job(level: Level) -> BpfProgram {
    compile(common(level), Kind::Allow, &pretended(level))
}

fn tex(level: Level) -> BpfProgram {
    let mut rules = common(level);
    rules.insert(libc::SYS_execve, Vec::new());
    compile(rules, Kind::Allow, &pretended(level))
}

fn pretended(level: Level) -> Vec<c_long> {
    match level {
        Level::Full => PRETENDED_ALWAYS.to_vec(),
        Level::Container => [PRETENDED_ALWAYS, PRETENDED, PRETENDED_OF_ARCH].concat(),
    }
}

fn outer(level: Level) -> BpfProgram {
    let mut rules: Rules = OUTER_DENIED
        .iter()
        .chain(OUTER_DENIED_OF_ARCH)
        .map(|&call| (call, Vec::new()))
        .collect();
    match level {
        Level::Full => {
            // In place of bubblewrap's --disable-userns; `launch.rs` says why.
            for call in [libc::SYS_unshare, libc::SYS_clone] {
                rules.insert(call, vec![masked(0, CLONE_NEWUSER, CLONE_NEWUSER)]);
            }
            // Back to the own pid namespace is the only entering that a guard does.
            rules.insert(
                libc::SYS_setns,
                vec![rule(
                    1,
                    SeccompCmpArgLen::Dword,
                    SeccompCmpOp::Ne,
                    CLONE_NEWPID,
                )],
            );
        }
        Level::Container => {
            for &call in OUTER_DENIED_IN_CONTAINER {
                rules.insert(call, Vec::new());
            }
            // Any of them, one rule a bit.
            let bits = (0..64).map(|bit| 1 << bit);
            rules.insert(
                libc::SYS_clone,
                bits.filter(|bit| CLONE_NEW_ANY & bit & !0x80 != 0)
                    .map(|bit| masked(0, bit, bit))
                    .collect(),
            );
        }
    }
    compile(rules, Kind::Deny, &[])
}

#[derive(Clone, Copy)]
enum Kind {
    Allow,
    Deny,
}

fn compile(rules: Rules, kind: Kind, pretended: &[c_long]) -> BpfProgram {
    let denied = SeccompAction::Errno(libc::EPERM.unsigned_abs());
    let (otherwise, on_match) = match kind {
        Kind::Allow => (denied, SeccompAction::Allow),
        Kind::Deny => (SeccompAction::Allow, denied),
    };
    let arch =
        TargetArch::try_from(std::env::consts::ARCH).expect("filters exist for x86-64 and aarch64");
    // Checks the architecture first: a foreign one is killed.
    let list: BpfProgram = SeccompFilter::new(rules, otherwise, on_match, arch)
        .and_then(TryInto::try_into)
        .expect("the lists in this file are valid");
    let mut program = prologue(pretended);
    program.extend(list);
    program
}

/// What seccompiler's one action per filter cannot say.
fn prologue(pretended: &[c_long]) -> BpfProgram {
    const LOAD_NUMBER: u16 = 0x20;
    const JUMP_IF_EQUAL: u16 = 0x15;
    const JUMP_IF_AT_LEAST: u16 = 0x35;
    const RETURN: u16 = 0x06;
    const KILL_PROCESS: u32 = 0x8000_0000;
    const ERRNO: u32 = 0x0005_0000;
    const X32_BIT: u32 = 0x4000_0000;
    let step = |code, jt, jf, k| sock_filter { code, jt, jf, k };
    let number = |call| u32::try_from(call).expect("call numbers are small");
    let mut program = vec![
        step(LOAD_NUMBER, 0, 0, 0),
        // x32 calls have numbers of their own, which no list here names.
        step(JUMP_IF_AT_LEAST, 0, 1, X32_BIT),
        step(RETURN, 0, 0, KILL_PROCESS),
        // Its flags are behind a pointer, unseen; with ENOSYS glibc uses clone.
        step(JUMP_IF_EQUAL, 0, 1, number(libc::SYS_clone3)),
        step(RETURN, 0, 0, ERRNO | libc::ENOSYS.unsigned_abs()),
    ];
    for &call in pretended {
        program.push(step(JUMP_IF_EQUAL, 0, 1, number(call)));
        program.push(step(RETURN, 0, 0, ERRNO));
    }
    program
}

fn raw(program: &[sock_filter]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(program.len() * 8);
    for step in program {
        bytes.extend(step.code.to_ne_bytes());
        bytes.extend([step.jt, step.jf]);
        bytes.extend(step.k.to_ne_bytes());
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_fit_into_the_kernels_limit() {
        for level in [Level::Full, Level::Container] {
            for program in [job(level), tex(level), outer(level)] {
                assert!(program.len() < 4096, "{} instructions", program.len());
            }
        }
    }

    #[test]
    fn the_own_process_is_named_where_it_can_be_put_in() {
        // `walls.py` changes the operand of comparisons with it, and nothing else.
        for level in [Level::Full, Level::Container] {
            for program in [job(level), tex(level)] {
                let placed = program.iter().filter(|step| u64::from(step.k) == OWN_PID);
                assert_eq!(placed.clone().count(), 2, "kill and tgkill");
                assert!(placed.clone().all(|step| step.code == 0x15));
            }
        }
    }

    #[test]
    fn nothing_that_starts_or_reaches_a_process_is_in_the_common_list() {
        let never = [
            libc::SYS_execve,
            libc::SYS_execveat,
            libc::SYS_clone3,
            libc::SYS_socket,
            libc::SYS_socketpair,
            libc::SYS_connect,
            libc::SYS_ptrace,
            libc::SYS_tkill,
            libc::SYS_rt_sigqueueinfo,
            libc::SYS_pidfd_open,
            libc::SYS_pidfd_send_signal,
            libc::SYS_mount,
            libc::SYS_unshare,
            libc::SYS_setns,
            libc::SYS_mknodat,
            libc::SYS_symlinkat,
            libc::SYS_sendmsg,
            libc::SYS_epoll_create1,
            libc::SYS_epoll_ctl,
        ];
        for call in never {
            assert!(!common(Level::Full).contains_key(&call), "call {call}");
        }
    }
}
