//! What a submit must satisfy beyond its types: sizes, names, the scene policy, and exactly one
//! scene. The scene that was chosen is written into the request, so that every attempt of the
//! job renders the same one.

use std::str::FromStr;

use manimq_shared::job::{CacheMode, FieldError, JobInput, JobRequest};

use super::App;
use super::extract::size;
use super::problem::{ApiError, Kind};

/// Longest name of a source file, in characters.
const FILE_NAME_CHARS_MAX: usize = 128;

/// How strictly scenes are judged.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum PolicyMode {
    /// A finding refuses the scene.
    #[default]
    Enforce,
    /// Findings are reported as warnings.
    Warn,
    /// The scene is not judged.
    Off,
}

impl FromStr for PolicyMode {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "enforce" => Ok(Self::Enforce),
            "warn" => Ok(Self::Warn),
            "off" => Ok(Self::Off),
            other => Err(format!("{other:?} is not one of enforce, warn, off")),
        }
    }
}

/// Checks a request and chooses its scene.
pub(super) async fn request(app: &App, request: &mut JobRequest) -> Result<(), ApiError> {
    let source_bytes_max = app.limits().source_bytes_max;
    let mut errors = request.validate().err().unwrap_or_default();
    let JobInput::Code {
        source,
        scene,
        file_name,
    } = &mut request.input;
    if source.len() > source_bytes_max {
        let detail = format!(
            "the source has {} bytes, at most {} are taken",
            source.len(),
            size(source_bytes_max)
        );
        return Err(
            ApiError::new(Kind::TooLarge, detail.clone()).with_errors(vec![FieldError {
                pointer: "/input/source".into(),
                detail,
            }]),
        );
    }
    if let Some(problem) = file_name.as_deref().and_then(file_name_problem) {
        errors.push(FieldError {
            pointer: "/input/file_name".into(),
            detail: problem,
        });
    }
    if request.cache == CacheMode::Only {
        errors.push(FieldError {
            pointer: "/cache".into(),
            detail: "there is no store of earlier results yet; use `use` or `refresh`".into(),
        });
    }
    if !errors.is_empty() {
        return Err(ApiError::invalid(errors));
    }
    // Stand-in until the scene policy is here.
    let found: Vec<String> = source
        .lines()
        .filter_map(|line| {
            let (name, bases) = line.strip_prefix("class ")?.split_once('(')?;
            bases.contains("Scene").then(|| name.trim().to_owned())
        })
        .collect();
    let refuse = |detail: &str| {
        Err(ApiError::invalid_field("/input/scene", detail).with_scenes(found.clone()))
    };
    match (&scene, found.as_slice()) {
        (Some(name), _) if found.contains(name) => Ok(()),
        (Some(_), _) => refuse("the file defines no such scene"),
        (None, [only]) => {
            *scene = Some(only.clone());
            Ok(())
        }
        (None, []) => refuse("the file defines no scene"),
        (None, _) => refuse("the file defines several scenes and none was named"),
    }
}

/// What is wrong with the name of a source file. It is for messages only, never a path.
fn file_name_problem(name: &str) -> Option<String> {
    let chars = name.chars().count();
    if chars == 0 || chars > FILE_NAME_CHARS_MAX {
        Some(format!(
            "a file name has 1 to {FILE_NAME_CHARS_MAX} characters"
        ))
    } else if name.contains(['/', '\\']) || name == "." || name == ".." {
        Some("send the name alone, without its folder".into())
    } else if name.chars().any(char::is_control) {
        Some("a file name has no control characters".into())
    } else {
        None
    }
}
