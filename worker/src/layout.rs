//! Warnings about what a film shows: text cut off, text on text, nothing to be seen.
//!
//! They come from the scene's own process, which may say what it likes: they are advice, of a few
//! kinds and a bounded number of bytes.

use std::fmt;

use manimq_shared::job::{FailureClass, JobError};
use serde::Deserialize;

/// Most warnings of a result.
pub const WARNINGS_MAX: usize = 16;
/// Longest warning.
pub const WARNING_BYTES_MAX: usize = 300;
/// Longest message of a strict job that failed; each warning counts.
const MESSAGE_BYTES_MAX: usize = 4000;

/// What is odd about the picture (`layout.py`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LayoutKind {
    /// Cut off, or beyond the edge.
    OutsideFrame,
    /// Two texts lie on each other.
    TextOverlap,
    /// Letters that nobody reads at this size.
    TooSmall,
    /// The film ends with nothing on it.
    BlankEnd,
    /// Nothing changes for long.
    Frozen,
}

impl LayoutKind {
    /// Each.
    pub const ALL: [Self; 5] = [
        Self::OutsideFrame,
        Self::TextOverlap,
        Self::TooSmall,
        Self::BlankEnd,
        Self::Frozen,
    ];

    /// As the metric's label has it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::OutsideFrame => "outside_frame",
            Self::TextOverlap => "text_overlap",
            Self::TooSmall => "too_small",
            Self::BlankEnd => "blank_end",
            Self::Frozen => "frozen",
        }
    }
}

/// One warning. `Display` is shown to the user as it stands.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct LayoutWarning {
    /// What kind.
    pub kind: LayoutKind,
    /// When it is first seen, in seconds of the film.
    pub at_s: f64,
    /// What is to be seen, without control characters.
    pub message: String,
}

impl fmt::Display for LayoutWarning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            kind,
            at_s,
            message,
        } = self;
        write!(f, "{} at {at_s:.1} s: {message}", kind.as_str())
    }
}

/// All warnings of a render as its job has them, within their bounds.
#[must_use]
pub fn warnings(mut warnings: Vec<String>, layout: &[LayoutWarning]) -> Vec<String> {
    warnings.extend(layout.iter().map(LayoutWarning::to_string));
    warnings.truncate(WARNINGS_MAX);
    for warning in &mut warnings {
        warning.truncate(warning.floor_char_boundary(WARNING_BYTES_MAX));
    }
    warnings
}

/// What becomes of a strict job with such warnings.
#[must_use]
pub fn strict_failure(layout: &[LayoutWarning]) -> JobError {
    let warnings = warnings(Vec::new(), layout);
    let mut message = format!(
        "the film has {} and the job is strict:",
        match warnings.len() {
            1 => "a warning".to_owned(),
            many => format!("{many} warnings"),
        }
    );
    for warning in warnings {
        message.push_str("\n- ");
        message.push_str(&warning);
    }
    message.truncate(message.floor_char_boundary(MESSAGE_BYTES_MAX));
    JobError::new(FailureClass::Validation, message)
        .with_hint("move, shrink or wrap what is named; or submit it without strict")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn overlap(message: String) -> LayoutWarning {
        LayoutWarning {
            kind: LayoutKind::TextOverlap,
            at_s: 1.26,
            message,
        }
    }

    #[test]
    fn a_warning_names_its_kind_and_its_moment() {
        let told = warnings(vec!["a font".into()], &[overlap("A lies on B".into())]);
        assert_eq!(told, ["a font", "text_overlap at 1.3 s: A lies on B"]);
    }

    #[test]
    fn however_much_a_scene_says_a_job_keeps_sixteen_short_warnings() {
        let many: Vec<_> = (0..100).map(|_| overlap("é".repeat(1000))).collect();
        let told = warnings(Vec::new(), &many);
        assert_eq!(told.len(), WARNINGS_MAX);
        assert!(told.iter().all(|each| each.len() <= WARNING_BYTES_MAX));
        assert!(strict_failure(&many).message.len() <= MESSAGE_BYTES_MAX);
    }

    #[test]
    fn the_kinds_are_those_of_the_renderer() {
        for kind in [
            LayoutKind::OutsideFrame,
            LayoutKind::TextOverlap,
            LayoutKind::TooSmall,
            LayoutKind::BlankEnd,
            LayoutKind::Frozen,
        ] {
            let name = serde_json::Value::from(kind.as_str());
            assert_eq!(serde_json::from_value::<LayoutKind>(name).unwrap(), kind);
        }
    }
}
