//! What is put into a sandbox: the renderer's Python code and the filters for its processes.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest as _, Sha256};

use crate::sandbox::local::{ENVIRONMENT, SYSTEM_PATHS, container_filters};

/// The file that says that a folder holds all of it.
pub(super) const COMPLETE: &str = "complete";
/// Largest file of the renderer's.
const FILE_BYTES_MAX: u64 = 1024 * 1024;
/// Folders that only development needs.
const LEFT_OUT: [&str; 3] = ["tests", "media", "__pycache__"];
/// Deepest folder below the renderer's.
const DEPTH_MAX: usize = 4;

/// The renderer, as text files.
#[derive(Debug, Clone)]
pub(super) struct Bundle {
    /// By path.
    pub files: BTreeMap<String, String>,
    /// Of all of it: two workers with the same code share a folder, others do not.
    pub hash: String,
}

impl Bundle {
    /// Reads the renderer's code from `folder`.
    pub(super) fn read(folder: &Path) -> io::Result<Self> {
        let mut files = BTreeMap::new();
        collect(folder, "", 0, &mut files)?;
        for (name, program) in container_filters() {
            files.insert(format!("filters/{name}.b64"), STANDARD.encode(program));
        }
        let environment: BTreeMap<_, _> = ENVIRONMENT.iter().copied().collect();
        let system = serde_json::json!({"paths": SYSTEM_PATHS, "environment": environment});
        files.insert("system.json".to_owned(), system.to_string());
        let mut hasher = Sha256::new();
        for (path, text) in &files {
            hasher.update((path.len() as u64).to_le_bytes());
            hasher.update(path);
            hasher.update((text.len() as u64).to_le_bytes());
            hasher.update(text);
        }
        let mut hash = crate::upload::hex_text(&hasher.finalize());
        hash.truncate(20);
        files.insert(COMPLETE.to_owned(), hash.clone());
        Ok(Self { files, hash })
    }
}

/// The Python code, and the data beside it, in `folder`, which is `below` the renderer's own.
fn collect(
    folder: &Path,
    below: &str,
    depth: usize,
    files: &mut BTreeMap<String, String>,
) -> io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let path = format!("{below}{name}");
        let kind = entry.file_type()?;
        if kind.is_dir() && depth < DEPTH_MAX && !LEFT_OUT.contains(&name.as_str()) {
            collect(&entry.path(), &format!("{path}/"), depth + 1, files)?;
        } else if kind.is_file() && (name.ends_with(".py") || name.ends_with(".json")) {
            if entry.metadata()?.len() > FILE_BYTES_MAX {
                return Err(io::Error::other(format!("{path} is too large")));
            }
            files.insert(path, std::fs::read_to_string(entry.path())?);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_holds_the_code_and_the_filters_and_its_hash_follows_both() {
        let renderer = Path::new(env!("CARGO_MANIFEST_DIR")).join("renderer");
        let bundle = Bundle::read(&renderer).expect("the renderer");
        for path in [
            "main.py",
            "manimq_renderer/zygote.py",
            "inside/keeper.py",
            "inside/job.py",
            "filters/outer.b64",
            COMPLETE,
        ] {
            assert!(bundle.files.contains_key(path), "{path}");
        }
        assert!(bundle.files.keys().all(|path| !path.contains("tests")));
        let copy = tempfile::tempdir().expect("a folder");
        for (path, text) in &bundle.files {
            let path = copy.path().join(path);
            std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
            std::fs::write(path, text).expect("written");
        }
        let same = Bundle::read(copy.path()).expect("the copy");
        assert_eq!(same.hash, bundle.hash);
        std::fs::write(copy.path().join("main.py"), "other").expect("written");
        let other = Bundle::read(copy.path()).expect("the copy");
        assert_ne!(other.hash, bundle.hash);
    }
}
