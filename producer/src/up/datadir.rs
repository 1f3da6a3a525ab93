//! The folder of one `up`: who owns it, and where its Redis listens.

use std::fs::{DirBuilder, File};
use std::io::{Read as _, Seek as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};
use sha2::{Digest as _, Sha256};

use crate::exit::{Exit, Failure};

/// Longest path of a Unix socket: `sun_path` has 108 bytes with the final zero.
const SOCKET_BYTES_MAX: usize = 107;
/// How long a predecessor that was killed may take to let go of its data.
const PREDECESSOR_WAIT: Duration = Duration::from_secs(10);

/// A data folder that this process alone uses. The lock goes with the process, however it ends.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    _lock: File,
    redis_lock: File,
}

impl DataDir {
    /// Makes the folder and takes it.
    ///
    /// # Errors
    /// It cannot be made, or another `manimq up` has it.
    pub fn open(path: &Path) -> Result<Self, Failure> {
        let cannot = |what: &Path, error: std::io::Error| {
            Failure::new(
                Exit::Failed,
                "data-dir",
                format!(
                    "cannot use the data folder {}: {}: {error}",
                    path.display(),
                    what.display()
                ),
            )
            .hint("choose another with --data-dir or MANIMQ_DATA_DIR")
        };
        for folder in [
            path.to_owned(),
            path.join("redis"),
            path.join("logs"),
            path.join("run"),
        ] {
            DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(&folder)
                .map_err(|error| cannot(&folder, error))?;
        }
        let path = path.canonicalize().map_err(|error| cannot(path, error))?;
        let open = |name: &str| {
            let file = path.join(name);
            File::options()
                .create(true)
                .truncate(false)
                .read(true)
                .write(true)
                .open(&file)
                .map_err(|error| cannot(&file, error))
        };
        let mut lock = open("up.lock")?;
        if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err() {
            let mut pid = String::new();
            let _ = lock.read_to_string(&mut pid);
            let pid = pid.trim();
            let who = if pid.is_empty() {
                String::new()
            } else {
                format!(" (process {pid})")
            };
            return Err(Failure::new(
                Exit::Failed,
                "already-running",
                format!("manimq up is already running in {}{who}", path.display()),
            )
            .hint("use the one that runs, stop it, or give this one a folder of its own: --data-dir DIR --listen 127.0.0.1:0"));
        }
        let write = lock
            .set_len(0)
            .and_then(|()| lock.rewind())
            .and_then(|()| writeln!(lock, "{}", std::process::id()));
        write.map_err(|error| cannot(&path.join("up.lock"), error))?;

        // Redis inherits this lock, so it is held for as long as any Redis writes here: also by
        // one whose `up` was killed a moment ago.
        let redis_lock = open("redis/lock")?;
        let end = Instant::now() + PREDECESSOR_WAIT;
        while flock(&redis_lock, FlockOperation::NonBlockingLockExclusive).is_err() {
            if Instant::now() >= end {
                return Err(Failure::new(
                    Exit::Failed,
                    "already-running",
                    format!("a redis-server still writes to {}", path.join("redis").display()),
                )
                .hint("it belongs to an earlier `manimq up` that was killed; end it, then start again"));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(Self {
            path,
            _lock: lock,
            redis_lock,
        })
    }

    /// The folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The lock that the private Redis must hold while it lives.
    #[must_use]
    pub const fn redis_lock(&self) -> &File {
        &self.redis_lock
    }

    /// A file in `run/`, which says what the children listen on. Removed first.
    #[must_use]
    pub fn announcement(&self, name: &str) -> PathBuf {
        let path = self.path.join("run").join(format!("{name}.json"));
        let _ = std::fs::remove_file(&path);
        path
    }

    /// Where the private Redis listens: in the data folder, or, if that path is too long for a
    /// socket, in a short folder of our own.
    ///
    /// # Errors
    /// No private folder can be made.
    pub fn socket(&self) -> Result<PathBuf, Failure> {
        let socket = self.path.join("redis").join("redis.sock");
        if socket.as_os_str().len() <= SOCKET_BYTES_MAX {
            return Ok(socket);
        }
        let digest = Sha256::digest(self.path.as_os_str().as_encoded_bytes());
        let name = format!(
            "manimq-{}-{}",
            rustix::process::geteuid().as_raw(),
            hex::encode(&digest[..6])
        );
        let bases = std::env::var_os("XDG_RUNTIME_DIR")
            .map(PathBuf::from)
            .into_iter();
        let mut reasons = Vec::new();
        for base in bases.chain([PathBuf::from("/tmp")]) {
            let folder = base.join(&name);
            let socket = folder.join("redis.sock");
            if socket.as_os_str().len() > SOCKET_BYTES_MAX {
                continue;
            }
            match private_folder(&folder) {
                Ok(()) => return Ok(socket),
                Err(error) => reasons.push(format!("{}: {error}", folder.display())),
            }
        }
        Err(Failure::new(
            Exit::Failed,
            "socket-path",
            format!(
                "the data folder's path is too long for a Unix socket, and there is no short private folder: {}",
                reasons.join("; ")
            ),
        )
        .hint("choose a shorter --data-dir"))
    }
}

/// Makes a folder that only we can enter, or makes sure that the one that is there is such.
fn private_folder(path: &Path) -> std::io::Result<()> {
    match DirBuilder::new().mode(0o700).create(path) {
        Ok(()) => return Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(error),
    }
    // Somebody else may have put a link or an open folder there.
    let meta = std::fs::symlink_metadata(path)?;
    let ours = meta.is_dir()
        && meta.uid() == rustix::process::geteuid().as_raw()
        && meta.mode() & 0o077 == 0;
    ours.then_some(())
        .ok_or_else(|| std::io::Error::other("it is not a private folder of this user"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn a_folder_has_one_owner_and_the_second_learns_who() {
        let folder = tempfile::tempdir().unwrap();
        let first = DataDir::open(folder.path()).unwrap();
        let error = DataDir::open(folder.path()).unwrap_err();
        assert!(
            error.message.contains("already running"),
            "{}",
            error.message
        );
        assert!(
            error.message.contains(&std::process::id().to_string()),
            "{}",
            error.message
        );
        drop(first);
        DataDir::open(folder.path()).unwrap();
    }

    #[test]
    fn a_long_path_gets_a_short_private_socket() {
        let folder = tempfile::tempdir().unwrap();
        let long = folder.path().join("x".repeat(120));
        let data = DataDir::open(&long).unwrap();
        let socket = data.socket().unwrap();
        assert!(socket.as_os_str().len() <= SOCKET_BYTES_MAX);
        let parent = socket.parent().unwrap();
        assert_eq!(std::fs::metadata(parent).unwrap().mode() & 0o777, 0o700);
        assert_eq!(data.socket().unwrap(), socket, "the same folder each time");
        std::fs::set_permissions(parent, std::fs::Permissions::from_mode(0o777)).unwrap();
        assert!(
            private_folder(parent).is_err(),
            "an open folder is not trusted"
        );
        std::fs::remove_dir(parent).unwrap();
        let short = DataDir::open(&folder.path().join("s")).unwrap();
        assert!(short.socket().unwrap().starts_with(short.path()));
    }
}
