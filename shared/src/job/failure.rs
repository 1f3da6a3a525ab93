//! Why a job failed.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::text::text_enum;

text_enum! {
    /// Why a job failed; the only error label in metrics.
    FailureClass {
        /// The scene raised an exception.
        SceneError = "scene_error",
        /// LaTeX refused a formula.
        LatexError = "latex_error",
        /// The source or the request cannot be rendered as asked.
        Validation = "validation",
        /// The wall-clock limit was reached.
        Timeout = "timeout",
        /// No frame was made for too long.
        Stalled = "stalled",
        /// The memory limit was reached.
        OutOfMemory = "out_of_memory",
        /// The output or log limit was reached.
        OutputLimit = "output_limit",
        /// The scene tried what the sandbox forbids.
        SandboxDenied = "sandbox_denied",
        /// The worker died or lost its lease.
        LostWorker = "lost_worker",
        /// The sandbox failed, not the scene.
        SandboxUnavailable = "sandbox_unavailable",
        /// The artifact could not be stored.
        Storage = "storage",
        /// A fault of manimq.
        Internal = "internal",
    }
}

impl FailureClass {
    /// Whether the fault is ours: then the job is tried again, and the tenant is not charged.
    #[must_use]
    pub const fn is_ours(self) -> bool {
        match self {
            Self::SceneError
            | Self::LatexError
            | Self::Validation
            | Self::Timeout
            | Self::Stalled
            | Self::OutOfMemory
            | Self::OutputLimit
            | Self::SandboxDenied => false,
            Self::LostWorker | Self::SandboxUnavailable | Self::Storage | Self::Internal => true,
        }
    }

    /// What to do about it, where nothing better is known of the one failure.
    #[must_use]
    pub const fn hint(self) -> &'static str {
        match self {
            Self::SceneError => {
                "the scene's own code raised this: correct the line that is named, and submit it again"
            }
            Self::LatexError => {
                "correct the formula; packages beyond Manim's own need a TexTemplate that loads them"
            }
            Self::Validation => "change what the message names, and submit it again",
            Self::Timeout => {
                "make the scene shorter or render at a lower quality; a scene that is really long needs more time: --timeout (API: timeout_s)"
            }
            Self::Stalled => {
                "look for a loop or a wait in the scene that makes no frame and does not end"
            }
            Self::OutOfMemory => "use fewer or simpler objects, or a lower quality",
            Self::OutputLimit => {
                "make fewer or smaller frames and files; an operator can raise the limit"
            }
            Self::SandboxDenied => {
                "a scene has no network, cannot start programs and writes only to its own folder"
            }
            Self::LostWorker | Self::SandboxUnavailable | Self::Storage | Self::Internal => {
                "this is no fault of the scene: submit it again; if it comes back, tell the operator the job's id"
            }
        }
    }
}

/// Where in the user's own file something happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SourceLocation {
    /// The file's name as the user gave it.
    pub file: String,
    /// Line, from 1.
    pub line: u32,
    /// Column in characters, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub column: Option<u32>,
    /// Where the marked part ends on the same line, exclusive, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end_column: Option<u32>,
    /// The function, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub function: Option<String>,
    /// The line's text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
}

/// Why a job failed, in words and places of its author.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct JobError {
    /// What kind of failure.
    pub class: FailureClass,
    /// One or more lines for a person: what happened and why.
    pub message: String,
    /// The exception's type, such as `ZeroDivisionError`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exception: Option<String>,
    /// The author's own line that led to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub location: Option<SourceLocation>,
    /// The author's frames, outermost first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stack: Vec<SourceLocation>,
    /// LaTeX's own words, where LaTeX refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latex: Option<String>,
    /// What to do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

impl JobError {
    /// An error of a class with a message, the hint of its class and nothing else.
    #[must_use]
    pub fn new(class: FailureClass, message: impl Into<String>) -> Self {
        Self {
            class,
            message: message.into(),
            exception: None,
            location: None,
            stack: Vec::new(),
            latex: None,
            hint: Some(class.hint().to_owned()),
        }
    }

    /// The same error with a hint.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}
