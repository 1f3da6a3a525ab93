//! A log file that stays small: when it is full it becomes `NAME.log.1`, whose predecessor goes.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};

/// Above this size a new file is begun.
const BYTES_MAX: u64 = 8 * 1024 * 1024;

/// One child's log.
pub struct LogFile {
    path: PathBuf,
    bytes_max: u64,
    bytes: u64,
    file: Option<File>,
}

impl LogFile {
    /// Opens `path` to append to it; a file from an earlier run is kept as it is until it is full.
    ///
    /// # Errors
    /// The file cannot be opened.
    pub fn open(path: PathBuf) -> std::io::Result<Self> {
        Self::open_with(path, BYTES_MAX)
    }

    fn open_with(path: PathBuf, bytes_max: u64) -> std::io::Result<Self> {
        let file = File::options().create(true).append(true).open(&path)?;
        let bytes = file.metadata()?.len();
        let mut log = Self {
            path,
            bytes_max,
            bytes,
            file: Some(file),
        };
        if bytes >= bytes_max {
            log.rotate();
        }
        Ok(log)
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Appends a line. A full disk costs log lines and nothing else.
    pub fn line(&mut self, line: &[u8]) {
        if self.bytes + line.len() as u64 >= self.bytes_max {
            self.rotate();
        }
        let Some(file) = &mut self.file else { return };
        if file
            .write_all(line)
            .and_then(|()| file.write_all(b"\n"))
            .is_ok()
        {
            self.bytes += line.len() as u64 + 1;
        }
    }

    fn rotate(&mut self) {
        let mut old = self.path.clone().into_os_string();
        old.push(".1");
        let _ = std::fs::rename(&self.path, old);
        self.file = File::options()
            .create(true)
            .append(true)
            .open(&self.path)
            .ok();
        self.bytes = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_log_becomes_the_old_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.log");
        let mut log = LogFile::open_with(path.clone(), 64).unwrap();
        for n in 0..100 {
            log.line(format!("line {n}").as_bytes());
        }
        let size = |p: &Path| std::fs::metadata(p).unwrap().len();
        assert!(size(&path) <= 64 && size(&folder.path().join("a.log.1")) <= 64);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2);
        assert!(
            std::fs::read_to_string(&path)
                .unwrap()
                .ends_with("line 99\n")
        );
        let log = LogFile::open_with(path.clone(), 8).unwrap();
        assert_eq!(
            log.bytes, 0,
            "a file that is full at the start is put aside"
        );
    }
}
