//! What is wrong with a scene, where, and what to do about it.

use std::fmt;

use ruff_source_file::LineIndex;
use ruff_text_size::{TextRange, TextSize};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::PolicyMode;

/// How many refusals, and how many warnings, one answer lists. The rest is counted.
pub const FINDINGS_MAX: usize = 50;

/// What kind of thing was found. The text form is part of the API and never changes meaning.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, ToSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum FindingCode {
    /// More bytes than [`SOURCE_BYTES_MAX`](super::SOURCE_BYTES_MAX).
    SourceTooLarge,
    /// Not UTF-8.
    SourceNotUtf8,
    /// A NUL byte, which no Python program contains.
    SourceHasNul,
    /// A declared encoding other than UTF-8, or two byte order marks.
    SourceEncoding,
    /// Not a Python program.
    SyntaxError,
    /// Brackets, operators or blocks inside each other beyond [`NESTING_MAX`](super::NESTING_MAX).
    NestingTooDeep,
    /// Syntax that needs a newer Python than the oldest one we render with.
    NewerPython,
    /// Import of a module that is not on the list.
    ImportNotAllowed,
    /// `from . import …`: a scene is one file.
    RelativeImport,
    /// One of Manim's scene classes is used and nothing imports it.
    MissingImport,
    /// A part of an allowed module that is refused, imported or used.
    MemberNotAllowed,
    /// An underscore name of an imported module.
    PrivateMember,
    /// A builtin that no scene needs, such as `eval` or `open`.
    ForbiddenName,
    /// A `__dunder__` attribute that leads out of the scene.
    DunderAttribute,
    /// An attribute of frames, code objects or raw memory.
    ForbiddenAttribute,
    /// `getattr` or `setattr` with an attribute name that cannot be known in advance.
    ComputedAttribute,
    /// A format string that walks dunder attributes.
    FormatField,
    /// A text that contains a dunder name.
    DunderString,
    /// `time.sleep`, which delays the render and not the film.
    RealTimeSleep,
}

impl FindingCode {
    /// The text form, as in JSON: `import-not-allowed`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::SourceTooLarge => "source-too-large",
            Self::SourceNotUtf8 => "source-not-utf8",
            Self::SourceHasNul => "source-has-nul",
            Self::SourceEncoding => "source-encoding",
            Self::SyntaxError => "syntax-error",
            Self::NestingTooDeep => "nesting-too-deep",
            Self::NewerPython => "newer-python",
            Self::ImportNotAllowed => "import-not-allowed",
            Self::RelativeImport => "relative-import",
            Self::MissingImport => "missing-import",
            Self::MemberNotAllowed => "member-not-allowed",
            Self::PrivateMember => "private-member",
            Self::ForbiddenName => "forbidden-name",
            Self::DunderAttribute => "dunder-attribute",
            Self::ForbiddenAttribute => "forbidden-attribute",
            Self::ComputedAttribute => "computed-attribute",
            Self::FormatField => "format-field",
            Self::DunderString => "dunder-string",
            Self::RealTimeSleep => "real-time-sleep",
        }
    }

    /// Whether this is about what the scene may do, which a mode can relax, and not about
    /// whether it can be read at all, which none can.
    pub const fn is_policy(self) -> bool {
        match self {
            Self::SourceTooLarge
            | Self::SourceNotUtf8
            | Self::SourceHasNul
            | Self::SourceEncoding
            | Self::SyntaxError
            | Self::NestingTooDeep => false,
            Self::NewerPython
            | Self::ImportNotAllowed
            | Self::RelativeImport
            | Self::MissingImport
            | Self::MemberNotAllowed
            | Self::PrivateMember
            | Self::ForbiddenName
            | Self::DunderAttribute
            | Self::ForbiddenAttribute
            | Self::ComputedAttribute
            | Self::FormatField
            | Self::DunderString
            | Self::RealTimeSleep => true,
        }
    }
}

impl fmt::Display for FindingCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Whether a finding keeps the scene from being rendered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// The scene is refused.
    Deny,
    /// The scene is accepted; its author should know.
    Warn,
}

/// One thing found in a scene, for its author.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Finding {
    /// The kind, for programs.
    pub code: FindingCode,
    /// Whether it refuses the scene.
    pub severity: Severity,
    /// Line of the first character, from 1, as Python counts.
    pub line: u32,
    /// Column of the first character, from 1, in characters, as Python counts in a syntax error.
    pub column: u32,
    /// Line of the character after the last one.
    pub end_line: u32,
    /// Column of the character after the last one.
    pub end_column: u32,
    /// What was found, for a person: lowercase, no final dot.
    pub message: String,
    /// What to do instead, where there is something better than deleting it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

impl fmt::Display for Finding {
    /// `line:column: message [code]`, and the hint on a line of its own.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            line,
            column,
            message,
            code,
            ..
        } = self;
        write!(f, "{line}:{column}: {message} [{code}]")?;
        if let Some(hint) = &self.hint {
            write!(f, "\n  hint: {hint}")?;
        }
        Ok(())
    }
}

/// Findings with the number of those that were left out.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Listed {
    pub(super) findings: Vec<Finding>,
    pub(super) omitted: u32,
}

/// Collects findings by byte range; keeps a bounded number and counts the rest.
pub(super) struct Findings<'s> {
    text: &'s str,
    lines: LineIndex,
    mode: PolicyMode,
    policy: bool,
    denied: Listed,
    warned: Listed,
}

impl<'s> Findings<'s> {
    pub(super) fn new(text: &'s str, mode: PolicyMode) -> Self {
        Self {
            text,
            mode,
            policy: true,
            lines: LineIndex::from_source_text(text),
            denied: Listed::default(),
            warned: Listed::default(),
        }
    }

    /// Turns findings of the policy on or off, for code that does not run. Returns what was set.
    pub(super) fn set_policy(&mut self, on: bool) -> bool {
        std::mem::replace(&mut self.policy, on)
    }

    pub(super) fn deny(
        &mut self,
        code: FindingCode,
        range: TextRange,
        message: impl Into<String>,
        hint: Option<String>,
    ) {
        self.add(code, Severity::Deny, range, message.into(), hint);
    }

    pub(super) fn warn(
        &mut self,
        code: FindingCode,
        range: TextRange,
        message: impl Into<String>,
        hint: Option<String>,
    ) {
        self.add(code, Severity::Warn, range, message.into(), hint);
    }

    fn add(
        &mut self,
        code: FindingCode,
        severity: Severity,
        range: TextRange,
        message: String,
        hint: Option<String>,
    ) {
        let severity = match self.mode {
            _ if !code.is_policy() => severity,
            _ if !self.policy => return,
            PolicyMode::Enforce => severity,
            PolicyMode::Warn => Severity::Warn,
            PolicyMode::Off => return,
        };
        // Findings arrive almost in source order. Four times what is shown makes "almost" enough
        // and bounds the work on a source made of nothing but findings.
        let list = match severity {
            Severity::Deny => &self.denied,
            Severity::Warn => &self.warned,
        };
        let full = list.findings.len() >= 4 * FINDINGS_MAX;
        let finding = (!full).then(|| {
            let (line, column) = self.position(range.start());
            let (end_line, end_column) = self.position(range.end());
            Finding {
                code,
                severity,
                line,
                column,
                end_line,
                end_column,
                message,
                hint,
            }
        });
        let list = match severity {
            Severity::Deny => &mut self.denied,
            Severity::Warn => &mut self.warned,
        };
        match finding {
            None => list.omitted += 1,
            Some(finding) if list.findings.contains(&finding) => {}
            Some(finding) => list.findings.push(finding),
        }
    }

    /// The line of a byte offset, from 1. Cheap, unlike [`Findings::position`], which counts the
    /// characters of the line.
    pub(super) fn line(&self, offset: TextSize) -> usize {
        self.lines.line_index(offset).get()
    }

    /// Line and column of a byte offset. An offset inside a character, which the parser should
    /// never name, counts as that character's first byte.
    pub(super) fn position(&self, offset: TextSize) -> (u32, u32) {
        let offset = self.text.floor_char_boundary(offset.to_usize());
        let offset = TextSize::try_from(offset).unwrap_or_default();
        let at = self.lines.line_column(offset, self.text);
        let small = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        (small(at.line.get()), small(at.column.get()))
    }

    /// Refusals and warnings, each in source order and cut to [`FINDINGS_MAX`].
    pub(super) fn finish(self) -> (Listed, Listed) {
        (self.denied.cut(), self.warned.cut())
    }
}

impl Listed {
    /// In source order, at most [`FINDINGS_MAX`].
    pub(super) fn cut(mut self) -> Self {
        self.findings.sort_by_key(|f| (f.line, f.column, f.code));
        let beyond = self.findings.len().saturating_sub(FINDINGS_MAX);
        self.findings.truncate(FINDINGS_MAX);
        self.omitted += u32::try_from(beyond).unwrap_or(u32::MAX);
        self
    }
}
