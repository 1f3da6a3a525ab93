//! The user's file: read once, sent as it is, and kept to show their own lines in errors.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use manimq_shared::job::check_source_file_name;

use crate::exit::{Exit, Failure};

/// Largest source that the API takes.
pub const SOURCE_BYTES_MAX: usize = 256 * 1024;

/// What manim puts before code from standard input that does not import it.
const IMPORT: &str = "from manim import *\n";

/// A scene file.
#[derive(Debug, Clone)]
pub struct Source {
    /// What is sent.
    pub text: String,
    /// How messages name it: the path as the user gave it, or `<stdin>`.
    pub shown: String,
    /// The file name that is sent, if it has one that says something.
    pub file_name: Option<String>,
    /// The path without `.py`: manim's name for the folder of its videos.
    pub stem: PathBuf,
    /// Lines that were put before the user's own.
    pub lines_added: u32,
}

impl Source {
    /// Reads a file, or standard input for `-`, as `manim render` does.
    ///
    /// # Errors
    /// What is wrong with the file, with the line where it has one.
    pub fn read(path: &Path) -> Result<Self, Failure> {
        if path.as_os_str() == "-" {
            let bytes = bounded(std::io::stdin().lock(), "standard input")?;
            return Self::from_stdin(bytes);
        }
        let shown = path.display().to_string();
        let cannot = |error: std::io::Error| {
            let failure = Failure::usage(format!("cannot read {shown}: {}", plain(&error)));
            match error.kind() {
                std::io::ErrorKind::NotFound if path.extension().is_none() => failure
                    .hint("give the file first, then the scenes: manimq render FILE.py SCENE"),
                _ => failure,
            }
        };
        let kind = std::fs::metadata(path).map_err(cannot)?;
        if kind.is_dir() {
            return Err(Failure::usage(format!("{shown} is a folder"))
                .hint("give a Python file: manimq render FILE.py"));
        }
        if path.extension().is_some_and(|e| e == "cfg") {
            return Err(Failure::usage(format!(
                "{shown}: configuration files are not yet supported"
            ))
            .hint("give the Python file and the flags themselves"));
        }
        if path.extension().is_none_or(|e| e != "py") {
            return Err(Failure::usage(format!(
                "{shown} is not a Python file (.py)"
            )));
        }
        let bytes = bounded(std::fs::File::open(path).map_err(cannot)?, &shown)?;
        let file_name = path
            .file_name()
            .and_then(|name| name.to_str())
            // It is for messages only, so one that the API refuses is not sent.
            .filter(|name| check_source_file_name(name).is_ok())
            .map(str::to_owned);
        let stem = path.file_stem().map(PathBuf::from).unwrap_or_default();
        Ok(Self {
            text: decode(bytes, &shown)?,
            shown,
            file_name,
            stem,
            lines_added: 0,
        })
    }

    fn from_stdin(bytes: Vec<u8>) -> Result<Self, Failure> {
        let mut text = decode(bytes, "<stdin>")?;
        let mut lines_added = 0;
        if !text.starts_with("from manim import") {
            text.insert_str(0, IMPORT);
            lines_added = 1;
        }
        Ok(Self {
            text,
            shown: "<stdin>".to_owned(),
            file_name: None,
            stem: PathBuf::from("-"),
            lines_added,
        })
    }

    /// The line as the user counts it, for one as the server counts it.
    #[must_use]
    pub fn own_line(&self, sent: u32) -> u32 {
        sent.saturating_sub(self.lines_added).max(1)
    }

    /// A line of what was sent, from 1.
    #[must_use]
    pub fn line(&self, sent: u32) -> Option<&str> {
        self.text.lines().nth((sent as usize).checked_sub(1)?)
    }
}

fn bounded(reader: impl std::io::Read, shown: &str) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    reader
        .take(SOURCE_BYTES_MAX as u64 + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| Failure::usage(format!("cannot read {shown}: {}", plain(&error))))?;
    if bytes.len() > SOURCE_BYTES_MAX {
        return Err(Failure::usage(format!(
            "{shown} is larger than {} KiB, the most that a scene file may have",
            SOURCE_BYTES_MAX / 1024
        ))
        .hint("large data does not belong into the source; compute it in the scene"));
    }
    Ok(bytes)
}

fn decode(bytes: Vec<u8>, shown: &str) -> Result<String, Failure> {
    let text = String::from_utf8(bytes).map_err(|error| {
        let good = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = good.iter().filter(|&&b| b == b'\n').count() + 1;
        let column = String::from_utf8_lossy(good)
            .lines()
            .last()
            .map_or(0, |l| l.chars().count())
            * usize::from(!good.ends_with(b"\n"))
            + 1;
        Failure::new(
            Exit::Usage,
            "not-utf8",
            format!("{shown}:{line}:{column}: not UTF-8"),
        )
        .hint("save the file as UTF-8")
    })?;
    Ok(match text.strip_prefix('\u{feff}') {
        Some(rest) => rest.to_owned(),
        None => text,
    })
}

fn plain(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::NotFound => "there is no such file".to_owned(),
        std::io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
        _ => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_utf8_is_told_with_line_and_column() {
        let error = decode(b"ab\nc\xff".to_vec(), "s.py").unwrap_err();
        assert_eq!(error.message, "s.py:2:2: not UTF-8");
        let error = decode(b"\xff".to_vec(), "s.py").unwrap_err();
        assert_eq!(error.message, "s.py:1:1: not UTF-8");
    }

    #[test]
    fn typed_code_gets_the_import_and_keeps_its_line_numbers() {
        let source = Source::from_stdin(b"class A(Scene): pass\n".to_vec()).unwrap();
        assert_eq!(source.line(2), Some("class A(Scene): pass"));
        assert_eq!(source.own_line(2), 1);
        let source = Source::from_stdin(b"from manim import *\n".to_vec()).unwrap();
        assert_eq!(source.own_line(2), 2);
    }

    #[test]
    fn files_that_cannot_be_scenes_are_refused_in_plain_words() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        std::fs::write(path("big.py"), vec![b' '; SOURCE_BYTES_MAX + 1]).unwrap();
        std::fs::write(path("a.txt"), "").unwrap();
        std::fs::write(path("m.cfg"), "").unwrap();
        for (name, word) in [
            ("big.py", "larger than 256 KiB"),
            ("a.txt", "not a Python file"),
            ("m.cfg", "not yet supported"),
            ("none.py", "no such file"),
            (".", "folder"),
        ] {
            let error = Source::read(&path(name)).unwrap_err();
            assert_eq!(error.exit, Exit::Usage);
            assert!(error.message.contains(word), "{name}: {}", error.message);
        }
    }
}
