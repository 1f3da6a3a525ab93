//! Files that come with a job: pictures, sounds, tables. The scene finds them by their names in
//! its working directory.

use std::collections::{HashMap, HashSet};

use serde::{Deserialize, Serialize};
use unicode_normalization::is_nfc;
use utoipa::ToSchema;

use super::FieldError;
use crate::characters::is_harmful;
use crate::storage::is_sha256;

/// Most files of one job.
pub const JOB_FILES_MAX: usize = 128;
/// Longest name, folders included, in bytes.
pub const JOB_FILE_NAME_BYTES_MAX: usize = 200;
/// Deepest folder.
const FOLDERS_MAX: usize = 8;
/// Endings that Python would take for modules: a file must not pass for one that a scene imports.
const MODULES: &[&str] = &["py", "pyc", "pyi", "pyd", "pyw", "so", "pth", "egg", "whl"];

/// One file that comes with a job, by its content.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct JobFile {
    /// Its path in the scene's working directory, such as `logo.png` or `data/points.csv`.
    pub name: String,
    /// Size in bytes.
    pub bytes: u64,
    /// SHA-256 of the content, 64 lower-case hex digits. The content must have been sent before.
    pub sha256: String,
}

/// What is wrong with a file's name.
///
/// # Errors
/// What to change, for the user.
pub fn check_file_name(name: &str) -> Result<(), String> {
    let parts: Vec<&str> = name.split('/').collect();
    let folders = parts.len() - 1;
    let problem = if name.is_empty() {
        "a file needs a name".to_owned()
    } else if name.len() > JOB_FILE_NAME_BYTES_MAX {
        format!(
            "the name has {} bytes, at most {JOB_FILE_NAME_BYTES_MAX} are taken",
            name.len()
        )
    } else if name.chars().any(is_harmful) {
        "a file name has no control or invisible characters".to_owned()
    } else if name.contains('\\') {
        "separate folders by `/`, not by `\\`".to_owned()
    } else if name.starts_with('/') {
        "give the path as the scene has it, from its working directory, without a slash at its start"
            .to_owned()
    } else if parts.contains(&"") {
        "a path has no empty part".to_owned()
    } else if parts.iter().any(|part| matches!(*part, "." | "..")) {
        "a path has no `.` and no `..`: files lie in or below the scene's working directory"
            .to_owned()
    } else if parts.iter().any(|part| part.starts_with('.')) {
        "files and folders whose names begin with a dot are not taken".to_owned()
    } else if parts
        .iter()
        .any(|part| part.trim() != *part || part.ends_with('.'))
    {
        "names do not begin or end with a space, nor end with a dot".to_owned()
    } else if folders > FOLDERS_MAX {
        format!("{folders} folders deep, at most {FOLDERS_MAX} are taken")
    } else if is_module(name) {
        "Python code cannot come as a file: put it into the scene's own source".to_owned()
    } else if !is_nfc(name) {
        "write the name in Unicode's composed form (NFC)".to_owned()
    } else {
        return Ok(());
    };
    Err(problem)
}

/// Whether Python would take a file of this name for a module.
#[must_use]
pub fn is_module(name: &str) -> bool {
    name.rsplit_once('.')
        .is_some_and(|(_, end)| MODULES.contains(&end.to_lowercase().as_str()))
}

/// Checks the files of a job together: each name, and that they can lie beside each other and
/// beside the scene's source, `source_name`, on any file system.
///
/// # Errors
/// Everything that is wrong, with a pointer below `pointer`.
pub fn check_files(files: &[JobFile], source_name: &str, pointer: &str) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let mut wrong = |pointer: String, detail: String| errors.push(FieldError { pointer, detail });
    if files.len() > JOB_FILES_MAX {
        wrong(
            pointer.to_owned(),
            format!(
                "{} files, at most {JOB_FILES_MAX} are taken; send only those that the scene uses",
                files.len()
            ),
        );
        return errors;
    }
    let folded = |name: &str| name.to_lowercase();
    let mut names: HashMap<String, &str> = HashMap::new();
    let mut folders: HashSet<String> = HashSet::new();
    for (i, file) in files.iter().enumerate() {
        if let Err(problem) = check_file_name(&file.name) {
            wrong(format!("{pointer}/{i}/name"), problem);
            continue;
        }
        if !is_sha256(&file.sha256) {
            wrong(
                format!("{pointer}/{i}/sha256"),
                "not 64 lower-case hex digits".into(),
            );
        }
        let key = folded(&file.name);
        if key == folded(source_name) {
            wrong(
                format!("{pointer}/{i}/name"),
                "that is the name of the scene's own source".into(),
            );
        }
        if let Some(other) = names.insert(key.clone(), &file.name) {
            wrong(
                format!("{pointer}/{i}/name"),
                format!(
                    "{other:?} is there already; names must differ in more than upper and lower case"
                ),
            );
        }
        for (at, _) in key.match_indices('/') {
            folders.insert(key[..at].to_owned());
        }
    }
    for (i, file) in files.iter().enumerate() {
        if folders.contains(&folded(&file.name)) {
            wrong(
                format!("{pointer}/{i}/name"),
                "another file lies in a folder of this name".into(),
            );
        }
    }
    errors
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(name: &str) -> JobFile {
        JobFile {
            name: name.to_owned(),
            bytes: 1,
            sha256: "a".repeat(64),
        }
    }

    #[test]
    fn names_that_lead_out_or_mislead_are_refused_with_a_reason() {
        for good in [
            "logo.png",
            "data/points.csv",
            "a b.svg",
            "Übung.wav",
            "a..b.png",
            "README",
        ] {
            assert_eq!(check_file_name(good), Ok(()), "{good}");
        }
        let long = "x".repeat(JOB_FILE_NAME_BYTES_MAX + 1);
        let deep = "a/".repeat(FOLDERS_MAX + 1) + "b";
        for (bad, word) in [
            ("", "needs a name"),
            ("../logo.png", ".."),
            ("a/../b.png", ".."),
            ("./logo.png", "`.`"),
            ("/etc/passwd", "slash"),
            ("a//b", "empty part"),
            ("a/", "empty part"),
            ("a\\b.png", "`\\`"),
            ("a\0.png", "control"),
            ("a\n.png", "control"),
            ("a\u{202e}gnp.exe", "invisible"),
            ("a\u{61c}.png", "invisible"),
            (".env", "dot"),
            ("a/.git/x", "dot"),
            ("a.", "dot"),
            (" a", "space"),
            ("numpy.py", "Python"),
            ("numpy.SO", "Python"),
            ("e\u{301}.png", "NFC"),
            (long.as_str(), "201 bytes"),
            (deep.as_str(), "deep"),
        ] {
            let problem = check_file_name(bad).unwrap_err();
            assert!(problem.contains(word), "{bad:?}: {problem}");
        }
    }

    #[test]
    fn files_that_cannot_lie_beside_each_other_are_refused() {
        let check = |names: &[&str]| {
            let files: Vec<_> = names.iter().map(|name| file(name)).collect();
            check_files(&files, "scene.py", "/input/files")
        };
        assert_eq!(check(&["a.png", "b/a.png", "b/c.png"]), []);
        for (names, pointer) in [
            (&["a.png", "A.PNG"][..], "/input/files/1/name"),
            (&["b", "B/a.png"], "/input/files/0/name"),
            (&["../x"], "/input/files/0/name"),
        ] {
            assert_eq!(check(names)[0].pointer, pointer, "{names:?}");
        }
        let many = vec!["a"; JOB_FILES_MAX + 1];
        assert!(check(&many)[0].detail.contains("129 files"));
        let mut odd = file("a");
        odd.sha256 = "../../x".to_owned();
        assert_eq!(check_files(&[odd], "scene.py", "")[0].pointer, "/0/sha256");
    }
}
