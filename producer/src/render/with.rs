//! The files of `--with`: what is sent along, and under which names the scene finds it.
//!
//! A name is the path as it was given, so a scene that works with `manim` in this folder works
//! here. What lies elsewhere gets the last part of its path. A folder brings all that is in it,
//! but for hidden files and Python code, and nothing that a link in it leads to outside.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use manimq_shared::job::{JOB_FILES_MAX, check_file_name, is_module};
use unicode_normalization::UnicodeNormalization as _;

use crate::exit::Failure;

/// Deepest folder that is gone into, and most entries that are looked at.
const DEPTH_MAX: usize = 8;
const ENTRIES_MAX: usize = 20_000;

/// One file to send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalFile {
    /// Its name for the scene.
    pub name: String,
    /// Where it is.
    pub path: PathBuf,
}

/// What `--with` named.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct With {
    /// What is sent, by name.
    pub files: Vec<LocalFile>,
    /// What a folder had and is not sent, with the reason.
    pub left_out: Vec<String>,
}

impl With {
    /// Finds what `paths` name.
    ///
    /// # Errors
    /// What is not there or cannot be sent, and what to do.
    pub fn find(paths: &[PathBuf]) -> Result<Self, Failure> {
        let mut search = Search::default();
        for path in paths {
            search.add(path)?;
        }
        Ok(Self {
            files: search
                .files
                .into_iter()
                .map(|(name, path)| LocalFile { name, path })
                .collect(),
            left_out: search.left_out,
        })
    }
}

#[derive(Default)]
struct Search {
    files: BTreeMap<String, PathBuf>,
    left_out: Vec<String>,
    entries: usize,
}

fn cannot(path: &Path, error: &std::io::Error) -> Failure {
    let failure = Failure::usage(format!("--with {}: {}", path.display(), why(error)));
    match error.kind() {
        std::io::ErrorKind::NotFound => {
            failure.hint("give the path from this folder, as for other commands")
        }
        _ => failure,
    }
}

fn why(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::NotFound => "there is no such file".to_owned(),
        std::io::ErrorKind::PermissionDenied => "it may not be read".to_owned(),
        _ => error.to_string(),
    }
}

impl Search {
    fn add(&mut self, path: &Path) -> Result<(), Failure> {
        let kind = std::fs::metadata(path).map_err(|error| cannot(path, &error))?;
        let name = name_of(path);
        if kind.is_dir() {
            let root = path.canonicalize().map_err(|error| cannot(path, &error))?;
            let before = self.files.len();
            self.folder(path, &root, &name, 0)?;
            if self.files.len() == before {
                let why = self.left_out.first().map(|first| format!(" ({first})"));
                return Err(Failure::usage(format!(
                    "--with {}: nothing in this folder can be sent{}",
                    path.display(),
                    why.unwrap_or_default()
                ))
                .hint("hidden files and Python code are left out"));
            }
            return Ok(());
        }
        if !kind.is_file() {
            return Err(Failure::usage(format!(
                "--with {}: it is neither a file nor a folder",
                path.display()
            )));
        }
        if is_module(&name) {
            return Err(Failure::usage(format!(
                "--with {}: Python code cannot be sent along",
                path.display()
            ))
            .hint("put it into the scene's own file"));
        }
        self.take(name, path)
    }

    fn take(&mut self, name: String, path: &Path) -> Result<(), Failure> {
        if let Err(problem) = check_file_name(&name) {
            return Err(Failure::usage(format!(
                "--with {}: {problem}",
                path.display()
            )));
        }
        // Opened now, so that what may not be read is told before anything is sent.
        std::fs::File::open(path).map_err(|error| cannot(path, &error))?;
        self.files.insert(name, path.to_owned());
        if self.files.len() > JOB_FILES_MAX {
            return Err(Failure::usage(format!(
                "--with: more than {JOB_FILES_MAX} files, the most that may come with a job"
            ))
            .hint("name the files that the scene uses, one --with for each"));
        }
        Ok(())
    }

    fn folder(
        &mut self,
        folder: &Path,
        root: &Path,
        name: &str,
        depth: usize,
    ) -> Result<(), Failure> {
        if depth > DEPTH_MAX {
            self.left_out
                .push(format!("{}: too deep", folder.display()));
            return Ok(());
        }
        let entries = std::fs::read_dir(folder).map_err(|error| cannot(folder, &error))?;
        let mut paths: Vec<PathBuf> = Vec::new();
        for entry in entries {
            self.entries += 1;
            if self.entries > ENTRIES_MAX {
                return Err(Failure::usage(format!(
                    "--with {}: more than {ENTRIES_MAX} files lie there",
                    root.display()
                ))
                .hint("name the files that the scene uses, one --with for each"));
            }
            paths.push(entry.map_err(|error| cannot(folder, &error))?.path());
        }
        paths.sort();
        for path in paths {
            let own = path.file_name().unwrap_or_default().to_string_lossy();
            let own: String = own.nfc().collect();
            if own.starts_with('.') || is_module(&own) || own == "__pycache__" {
                continue;
            }
            let name = if name.is_empty() {
                own
            } else {
                format!("{name}/{own}")
            };
            // A link may lead anywhere; what it leads to must lie in the folder that was named.
            let inside = path
                .canonicalize()
                .is_ok_and(|target| target.starts_with(root));
            if !inside {
                self.left_out
                    .push(format!("{}: a link that leads outside", path.display()));
                continue;
            }
            let kind = std::fs::metadata(&path).map_err(|error| cannot(&path, &error))?;
            if kind.is_dir() {
                self.folder(&path, root, &name, depth + 1)?;
            } else if !kind.is_file() {
                self.left_out
                    .push(format!("{}: neither a file nor a folder", path.display()));
            } else if let Err(problem) = check_file_name(&name) {
                self.left_out.push(format!("{}: {problem}", path.display()));
            } else {
                self.take(name, &path)?;
            }
        }
        Ok(())
    }
}

/// The path as the scene has it: as given if it lies below this folder, else its last part.
/// Empty for this folder itself.
fn name_of(path: &Path) -> String {
    let mut parts = Vec::new();
    let mut below = true;
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::Normal(name) => parts.push(name.to_string_lossy().nfc().collect::<String>()),
            Component::ParentDir | Component::RootDir | Component::Prefix(_) => below = false,
        }
    }
    if below {
        parts.join("/")
    } else {
        // `..` has no name of its own: what lies in it is at the top.
        match path.components().next_back() {
            Some(Component::Normal(_)) => parts.pop().unwrap_or_default(),
            _ => String::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    fn names(paths: &[&Path]) -> Vec<String> {
        let paths: Vec<_> = paths.iter().map(|path| path.to_path_buf()).collect();
        let with = With::find(&paths).unwrap();
        with.files.into_iter().map(|file| file.name).collect()
    }

    #[test]
    fn a_file_has_the_name_by_which_the_scene_knows_it() {
        for (path, name) in [
            ("logo.png", "logo.png"),
            ("./logo.png", "logo.png"),
            ("assets/logo.png", "assets/logo.png"),
            ("../logo.png", "logo.png"),
            ("/tmp/x/logo.png", "logo.png"),
            (".", ""),
            ("..", ""),
            ("e\u{301}.png", "é.png"),
        ] {
            assert_eq!(name_of(Path::new(path)), name, "{path}");
        }
    }

    #[test]
    fn a_folder_brings_what_is_in_it_and_nothing_from_outside() {
        let top = tempfile::tempdir().unwrap();
        let folder = top.path().join("assets");
        fs::create_dir_all(folder.join("sub")).unwrap();
        for name in ["logo.png", "sub/a.csv", ".hidden", "code.py"] {
            fs::write(folder.join(name), name).unwrap();
        }
        fs::write(top.path().join("secret"), "x").unwrap();
        symlink("../secret", folder.join("out")).unwrap();
        symlink("/etc", folder.join("etc")).unwrap();
        symlink("..", folder.join("up")).unwrap();
        symlink("logo.png", folder.join("same.png")).unwrap();
        assert_eq!(
            names(&[&folder]),
            ["assets/logo.png", "assets/same.png", "assets/sub/a.csv"]
        );
        let left = With::find(std::slice::from_ref(&folder)).unwrap().left_out;
        assert_eq!(left.len(), 3, "{left:?}");
        assert!(left.iter().all(|text| text.contains("leads outside")));
    }

    #[test]
    fn a_link_in_a_circle_ends() {
        let top = tempfile::tempdir().unwrap();
        let folder = top.path().join("assets");
        fs::create_dir(&folder).unwrap();
        symlink(".", folder.join("again")).unwrap();
        fs::write(folder.join("a.png"), "x").unwrap();
        let with = With::find(&[folder]).unwrap();
        assert!(with.files.len() <= DEPTH_MAX + 2, "{with:?}");
    }

    #[test]
    fn what_cannot_be_sent_is_told_with_its_name() {
        let top = tempfile::tempdir().unwrap();
        let folder = top.path().join("assets");
        fs::create_dir(&folder).unwrap();
        let path = |name: &str| folder.join(name);
        fs::write(path("code.py"), "x").unwrap();
        let failure = With::find(std::slice::from_ref(&folder)).unwrap_err();
        assert!(
            failure.message.contains("nothing in this folder"),
            "{}",
            failure.message
        );
        for (name, word) in [("nowhere.png", "no such file"), ("code.py", "Python")] {
            let failure = With::find(&[path(name)]).unwrap_err();
            let text = failure.message;
            assert!(text.contains(name) && text.contains(word), "{text}");
        }
        for i in 0..=JOB_FILES_MAX {
            fs::write(path(&format!("{i}.png")), "x").unwrap();
        }
        let failure = With::find(&[folder]).unwrap_err();
        assert!(failure.message.contains("128 files"), "{}", failure.message);
    }
}
