//! The folder of a slot at level `container`, where no file system can be mounted for a job.
//!
//! Guards make a folder for each job below it and take it away again. What is
//! left when a guard was killed goes when the job is over ([`Area::clear`]),
//! what is left when a worker was killed goes when the next one starts a slot
//! ([`sweep`]): each area is locked for as long as its worker lives.

use std::fs::{self, File};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rustix::fs::{FlockOperation, Mode, OFlags};

use super::folders::remove;

const PREFIX: &str = "manimq-slot-";
/// An area is made first and locked a moment later: one that young is left alone.
const YOUNG: Duration = Duration::from_secs(60);

/// A folder for one slot. Dropping it removes it with all that is in it.
#[derive(Debug)]
pub(super) struct Area {
    path: PathBuf,
    _lock: OwnedFd,
}

impl Area {
    /// A fresh folder below `parent` for the user `uid` (`None`: our own).
    pub(super) fn new(parent: &Path, uid: Option<u32>) -> io::Result<Self> {
        sweep(parent);
        let path = unused(parent)?;
        let lock = rustix::fs::open(
            &path,
            OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC,
            Mode::empty(),
        )?;
        // Its owner from the first moment on: should the next step fail, it is removed.
        let area = Self { path, _lock: lock };
        rustix::fs::flock(&area._lock, FlockOperation::NonBlockingLockExclusive)?;
        if let Some(uid) = uid {
            // By descriptor, of a folder that only we have seen.
            std::os::unix::fs::fchown(&area._lock, Some(uid), Some(uid))?;
        }
        Ok(area)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Removes what a guard that was killed has left. The jobs are dead by now.
    pub(super) fn clear(&self) -> io::Result<()> {
        for entry in fs::read_dir(&self.path)? {
            let entry = entry?;
            if entry.file_name().to_string_lossy().starts_with("job-") {
                remove(&entry.path())?;
            }
        }
        Ok(())
    }
}

impl Drop for Area {
    fn drop(&mut self) {
        if let Err(error) = remove(&self.path) {
            tracing::warn!(error = %error, "cannot remove {}", self.path.display());
        }
    }
}

/// A new folder, closed to all others.
fn unused(parent: &Path) -> io::Result<PathBuf> {
    use std::hash::{BuildHasher as _, Hasher as _};
    loop {
        let random = std::hash::RandomState::new().build_hasher().finish();
        let path = parent.join(format!("{PREFIX}{random:016x}"));
        match fs::DirBuilder::new().mode(0o700).create(&path) {
            Ok(()) => return Ok(path),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
}

/// Removes areas whose worker is gone.
fn sweep(parent: &Path) {
    let Ok(entries) = fs::read_dir(parent) else {
        return; // making one there says why
    };
    let us = rustix::process::geteuid();
    for entry in entries.flatten() {
        if !entry.file_name().to_string_lossy().starts_with(PREFIX) {
            continue;
        }
        let path = entry.path();
        let Ok(folder) = File::open(&path) else {
            continue;
        };
        let Ok(info) = folder.metadata() else {
            continue;
        };
        let old = info
            .modified()
            .and_then(|at| {
                SystemTime::now()
                    .duration_since(at)
                    .map_err(io::Error::other)
            })
            .is_ok_and(|age| age > YOUNG);
        let ours = us.is_root() || info.uid() == us.as_raw();
        if old
            && ours
            && rustix::fs::flock(&folder, FlockOperation::NonBlockingLockExclusive).is_ok()
        {
            tracing::info!("removing {}, which a dead worker left", path.display());
            if let Err(error) = remove(&path) {
                tracing::warn!(error = %error, "cannot remove {}", path.display());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn age(path: &Path, by: Duration) {
        let folder = File::open(path).expect("a folder");
        let then = SystemTime::now() - by;
        folder.set_modified(then).expect("its time");
    }

    #[test]
    fn an_area_goes_with_its_owner_and_what_a_dead_worker_left_goes_with_the_next() {
        let parent = tempfile::tempdir().expect("a folder");
        let left = parent.path().join(format!("{PREFIX}left"));
        fs::create_dir_all(left.join("job-1/work")).expect("a folder");
        fs::write(left.join("job-1/work/film"), "x").expect("a file");
        age(&left, YOUNG * 2);
        let young = parent.path().join(format!("{PREFIX}young"));
        fs::create_dir(&young).expect("a folder");

        let first = Area::new(parent.path(), None).expect("an area");
        assert!(!left.exists() && young.exists());
        age(first.path(), YOUNG * 2);
        let second = Area::new(parent.path(), None).expect("an area");
        assert!(first.path().exists(), "it is locked");

        fs::create_dir(second.path().join("job-7")).expect("a folder");
        fs::create_dir(second.path().join("warm")).expect("a folder");
        second.clear().expect("cleared");
        assert!(!second.path().join("job-7").exists() && second.path().join("warm").exists());
        let path = second.path().to_owned();
        drop(second);
        assert!(!path.exists());
    }

    #[test]
    fn a_link_in_an_area_is_removed_and_not_followed() {
        let parent = tempfile::tempdir().expect("a folder");
        let kept = parent.path().join("kept");
        fs::create_dir(&kept).expect("a folder");
        fs::write(kept.join("file"), "x").expect("a file");
        let area = Area::new(parent.path(), None).expect("an area");
        fs::create_dir(area.path().join("job-1")).expect("a folder");
        std::os::unix::fs::symlink(&kept, area.path().join("job-1/link")).expect("a link");
        drop(area);
        assert!(kept.join("file").exists());
    }
}
