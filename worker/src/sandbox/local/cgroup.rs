//! Control groups, where this worker may make them: memory, processes and processor shares of
//! a slot as a whole. Resource limits stand without them; these see threads, mappings and files
//! in memory together, and share the cores evenly between slots, however many threads each has.
//!
//! Version 2 as systemd delegates it (`Delegate=yes`) or a container engine with its own group,
//! version 1 where root may write it. Whether it works is found out by doing it, once a process.
//!
//! A zygote joins its slot's group by writing `0` into `cgroup.procs`, which the worker has opened:
//! the kernel judges by who opened it, so a slot needs no right of its own and sees no such file
//! system. All that it forks is in the group by birth. To join takes the kernel 3 ms and more, so
//! a job must not do it; instead it is the first to be killed (`oom_score_adj`), before what is trusted.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

const PREFIX: &str = "manimq-slot-";
/// Beyond what a job may hold: zygote and guard (200 MiB), a scout (512 MiB), formulas being set.
const SLACK_BYTES: u64 = 1280 * 1024 * 1024;
/// Beyond a job's threads: those of its scout, and of formulas and the probe.
const SLACK_PROCESSES: u64 = 128;

/// Where groups can be made.
#[derive(Debug, Clone)]
pub(super) enum Hierarchy {
    /// One tree, this folder in it is ours.
    Two(PathBuf),
    /// A tree for each controller: memory and pids, and cpu if it is there.
    One {
        memory: PathBuf,
        pids: PathBuf,
        cpu: Option<PathBuf>,
    },
}

/// What this worker may use; or why not, for the log.
pub(super) fn delegated() -> &'static Result<Hierarchy, String> {
    static FOUND: OnceLock<Result<Hierarchy, String>> = OnceLock::new();
    FOUND.get_or_init(|| {
        let found = find();
        if let Ok(hierarchy) = &found {
            hierarchy.sweep();
        }
        match &found {
            Ok(Hierarchy::Two(path)) => {
                tracing::info!("control groups: version 2, in {}", path.display());
            }
            Ok(Hierarchy::One { memory, .. }) => {
                tracing::info!("control groups: version 1, memory in {}", memory.display());
            }
            Err(why) => tracing::info!(
                "control groups: not used ({why}); memory is limited per process instead"
            ),
        }
        found
    })
}

fn find() -> Result<Hierarchy, String> {
    let own = fs::read_to_string("/proc/self/cgroup").map_err(|error| error.to_string())?;
    let mounts = fs::read_to_string("/proc/self/mountinfo").map_err(|error| error.to_string())?;
    let place = |controller: &str| place(&own, &mounts, controller);
    let mut reasons = Vec::new();
    if let Some(folder) = place("") {
        match second(&folder) {
            Ok(()) => return Ok(Hierarchy::Two(folder)),
            Err(why) => reasons.push(format!("version 2: {why}")),
        }
    }
    if let (Some(memory), Some(pids)) = (place("memory"), place("pids")) {
        let hierarchy = Hierarchy::One {
            memory,
            pids,
            cpu: place("cpu"),
        };
        match Group::new(&hierarchy) {
            Ok(_) => return Ok(hierarchy),
            Err(error) => reasons.push(format!("version 1: {error}")),
        }
    }
    if reasons.is_empty() {
        reasons.push("none is mounted".into());
    }
    Err(reasons.join("; "))
}

/// Our own folder in the tree of a controller (`""`: version 2).
fn place(own: &str, mounts: &str, controller: &str) -> Option<PathBuf> {
    let inside = own.lines().find_map(|line| {
        let mut fields = line.splitn(3, ':');
        let (_, controllers, path) = (fields.next()?, fields.next()?, fields.next()?);
        controllers
            .split(',')
            .any(|each| each == controller)
            .then_some(path)
    })?;
    mounts.lines().find_map(|line| {
        let (before, after) = line.split_once(" - ")?;
        let mut before = before.split(' ').skip(3);
        let (root, target) = (before.next()?, before.next()?);
        let mut after = after.split(' ');
        let (kind, _, options) = (after.next()?, after.next()?, after.next()?);
        let right = if controller.is_empty() {
            kind == "cgroup2"
        } else {
            kind == "cgroup" && options.split(',').any(|each| each == controller)
        };
        let below = Path::new(inside).strip_prefix(root).ok();
        right.then(|| Path::new(target).join(below.unwrap_or(Path::new(""))))
    })
}

/// Makes our own folder of version 2 one that has groups below it.
fn second(folder: &Path) -> Result<(), String> {
    let read = |name: &str| fs::read_to_string(folder.join(name)).unwrap_or_default();
    let there = read("cgroup.controllers");
    for wanted in ["memory", "pids"] {
        if !there.split_whitespace().any(|each| each == wanted) {
            return Err(format!("no {wanted} controller in {}", folder.display()));
        }
    }
    let said = |error: io::Error| format!("{}: {error}", folder.display());
    // A group with groups below it has no process of its own.
    let worker = folder.join("manimq-worker");
    match fs::create_dir(&worker) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(said(error)),
        _ => {}
    }
    fs::write(worker.join("cgroup.procs"), "0").map_err(said)?;
    let cpu = if there.split_whitespace().any(|each| each == "cpu") {
        " +cpu"
    } else {
        ""
    };
    let control = folder.join("cgroup.subtree_control");
    if let Err(error) = fs::write(&control, format!("+memory +pids{cpu}")) {
        let _ = fs::write(folder.join("cgroup.procs"), "0");
        let _ = fs::remove_dir(&worker);
        return Err(format!(
            "{error}: other processes than the worker are in {}",
            folder.display()
        ));
    }
    Ok(())
}

/// The group of one slot. Dropping it removes it; its processes are dead by then.
#[derive(Debug)]
pub(super) struct Group {
    memory: PathBuf,
    pids: PathBuf,
    /// All folders of it, each once.
    folders: Vec<PathBuf>,
    version: u8,
}

impl Group {
    /// An empty group.
    pub(super) fn new(hierarchy: &Hierarchy) -> io::Result<Self> {
        use std::hash::{BuildHasher as _, Hasher as _};
        let random = std::hash::RandomState::new().build_hasher().finish();
        let name = format!("{PREFIX}{}-{random:016x}", std::process::id());
        let (memory, pids, others, version) = match hierarchy {
            Hierarchy::Two(top) => (top.join(&name), top.join(&name), None, 2),
            Hierarchy::One { memory, pids, cpu } => (
                memory.join(&name),
                pids.join(&name),
                cpu.as_ref().map(|cpu| cpu.join(&name)),
                1,
            ),
        };
        let mut group = Self {
            memory: memory.clone(),
            pids: pids.clone(),
            folders: Vec::new(),
            version,
        };
        for folder in [Some(memory), Some(pids), others].into_iter().flatten() {
            if !group.folders.contains(&folder) {
                fs::create_dir(&folder)?;
                group.folders.push(folder);
            }
        }
        if version == 1 {
            // Else what is swapped out does not count. Not every kernel has it.
            let _ = fs::write(group.memory.join("memory.swappiness"), "0");
        } else {
            let _ = fs::write(group.memory.join("memory.swap.max"), "0");
        }
        group.allow(1 << 30, 64)?;
        Ok(group)
    }

    /// What the next job may hold: bytes of memory, files in memory included, and threads.
    pub(super) fn allow(&self, memory_bytes: u64, processes: u64) -> io::Result<()> {
        let file = match self.version {
            1 => "memory.limit_in_bytes",
            _ => "memory.max",
        };
        let bytes = memory_bytes.saturating_add(SLACK_BYTES);
        write(&self.memory.join(file), &bytes.to_string())?;
        let processes = processes.saturating_add(SLACK_PROCESSES);
        write(&self.pids.join("pids.max"), &processes.to_string())
    }

    /// The files by which a process joins.
    pub(super) fn doors(&self) -> io::Result<Vec<OwnedFd>> {
        self.folders
            .iter()
            .map(|folder| {
                let file = OpenOptions::new()
                    .write(true)
                    .open(folder.join("cgroup.procs"))?;
                Ok(file.into())
            })
            .collect()
    }
}

impl Hierarchy {
    fn folders(&self) -> Vec<&Path> {
        match self {
            Self::Two(folder) => vec![folder],
            Self::One { memory, pids, cpu } => {
                let cpu = cpu.as_deref();
                [Some(memory.as_path()), Some(pids.as_path()), cpu]
                    .into_iter()
                    .flatten()
                    .collect()
            }
        }
    }

    /// Removes groups whose worker is gone. One that has processes cannot be removed.
    fn sweep(&self) {
        for entry in self
            .folders()
            .into_iter()
            .flat_map(|folder| fs::read_dir(folder).into_iter().flatten().flatten())
        {
            let name = entry.file_name().to_string_lossy().into_owned();
            let Some((worker, _)) = name
                .strip_prefix(PREFIX)
                .and_then(|rest| rest.split_once('-'))
            else {
                continue;
            };
            if !Path::new("/proc").join(worker).exists() {
                let _ = fs::remove_dir(entry.path());
            }
        }
    }
}

fn write(path: &Path, text: &str) -> io::Result<()> {
    let mut file: File = OpenOptions::new().write(true).open(path)?;
    file.write_all(text.as_bytes())
        .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))
}

impl Drop for Group {
    fn drop(&mut self) {
        for folder in &self.folders {
            if let Err(error) = fs::remove_dir(folder) {
                tracing::debug!(error = %error, "cannot remove {}", folder.display());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_group_is_found_in_both_versions_and_in_a_container() {
        let own = "8:pids:/\n4:memory,hugetlb:/a/b\n0::/user.slice/x.scope\n";
        let mounts = "\
            35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory,hugetlb\n\
            40 31 0:37 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids\n\
            41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";
        let at = |controller| place(own, mounts, controller);
        assert_eq!(at("memory"), Some("/sys/fs/cgroup/memory/a/b".into()));
        assert_eq!(at("pids"), Some("/sys/fs/cgroup/pids/".into()));
        assert_eq!(
            at(""),
            Some("/sys/fs/cgroup/unified/user.slice/x.scope".into())
        );
        assert_eq!(at("cpu"), None);
        // A container sees its own group as the root of the mount.
        let inside = "31 23 0:28 /docker/abc /sys/fs/cgroup ro - cgroup2 cgroup rw\n";
        assert_eq!(
            place("0::/docker/abc\n", inside, ""),
            Some("/sys/fs/cgroup/".into())
        );
    }

    #[test]
    fn a_folder_without_the_controllers_is_not_taken() {
        let folder = tempfile::tempdir().expect("a folder");
        let error = second(folder.path()).expect_err("no controllers");
        assert!(error.contains("no memory controller"), "{error}");
        fs::write(folder.path().join("cgroup.controllers"), "cpu memory pids").expect("a file");
        second(folder.path()).expect("taken");
        let read = |name: &str| fs::read_to_string(folder.path().join(name)).expect(name);
        assert_eq!(read("manimq-worker/cgroup.procs"), "0");
        assert_eq!(read("cgroup.subtree_control"), "+memory +pids +cpu");
    }
}
