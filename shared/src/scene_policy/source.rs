//! Bytes to text, once. What this module returns is what is parsed here and compiled there.

use std::fmt;
use std::sync::Arc;

use super::finding::{Finding, FindingCode, Severity};

/// The largest scene that is accepted, in bytes as sent. The largest of 389 scene files in four
/// public collections has 46,043.
pub const SOURCE_BYTES_MAX: usize = 256 * 1024;

const BYTE_ORDER_MARK: char = '\u{feff}';

/// The decoded text of a scene: UTF-8 without byte order mark and NUL, at most
/// [`SOURCE_BYTES_MAX`] bytes, every line ended by `\n`.
///
/// Only [`SceneSource::decode`] makes one. Give this text, and nothing read again from the
/// bytes, to Python's `compile()`: then the checker and the interpreter see the same program.
///
/// `\r\n` and `\r` are turned into `\n`, as Python does before it reads a program, so line
/// numbers are Python's and no tool that splits lines its own way can disagree. Nothing else is
/// changed; in particular a form feed does not end a line, here as in Python.
///
/// `Debug` prints the size, never the text: sources do not belong into logs.
#[derive(Clone, PartialEq, Eq)]
pub struct SceneSource(Arc<str>);

impl SceneSource {
    /// Decodes a scene.
    ///
    /// # Errors
    ///
    /// The one reason why the bytes are not the text of a scene; the caller shows it as it is.
    pub fn decode(bytes: &[u8]) -> Result<Self, Box<Finding>> {
        let size_bytes = bytes.len();
        if size_bytes > SOURCE_BYTES_MAX {
            return Err(refusal(
                FindingCode::SourceTooLarge,
                "",
                0,
                format!(
                    "the scene has {size_bytes} bytes; at most {SOURCE_BYTES_MAX} are accepted"
                ),
                "leave out what is not drawn, or split the scene into several jobs",
            ));
        }
        let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
        let text = std::str::from_utf8(bytes).map_err(|error| {
            let good = error.valid_up_to();
            let readable = std::str::from_utf8(&bytes[..good]).unwrap_or_default();
            let hint = if matches!(bytes, [0xff, 0xfe, ..] | [0xfe, 0xff, ..]) {
                "this looks like UTF-16: save the file as UTF-8"
            } else {
                "save the file as UTF-8 in your editor"
            };
            refusal(
                FindingCode::SourceNotUtf8,
                readable,
                good,
                format!("byte 0x{:02x} is not UTF-8 text", bytes[good]),
                hint,
            )
        })?;
        if let Some(at) = text.find('\0') {
            return Err(refusal(
                FindingCode::SourceHasNul,
                text,
                at,
                "the scene contains a NUL byte".to_owned(),
                "delete the invisible character; UTF-16 files have many: save as UTF-8",
            ));
        }
        // One mark is no part of the text. A second one is refused by Python and skipped by the
        // parser, so it must not get through.
        if text.starts_with(BYTE_ORDER_MARK) {
            return Err(refusal(
                FindingCode::SourceEncoding,
                text,
                0,
                "the scene starts with two byte order marks".to_owned(),
                "save the file as UTF-8 without a byte order mark",
            ));
        }
        let text = if text.contains('\r') {
            text.replace("\r\n", "\n").replace('\r', "\n")
        } else {
            text.to_owned()
        };
        if let Some((at, name)) = foreign_encoding(&text) {
            let message = format!("the scene declares the encoding `{}`", super::short(name));
            return Err(refusal(
                FindingCode::SourceEncoding,
                &text,
                at,
                message,
                "delete the `coding:` comment and save the file as UTF-8",
            ));
        }
        Ok(Self(text.into()))
    }

    /// The text to parse and to compile.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl AsRef<str> for SceneSource {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for SceneSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SceneSource({} bytes)", self.0.len())
    }
}

/// A finding at byte `at` of `text`, before any newline is normalised.
fn refusal(code: FindingCode, text: &str, at: usize, message: String, hint: &str) -> Box<Finding> {
    let before = text[..at].replace("\r\n", "\n").replace('\r', "\n");
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or("").chars().count() + 1;
    let (line, column) = (line as u32, column as u32);
    Box::new(Finding {
        code,
        severity: Severity::Deny,
        line,
        column,
        end_line: line,
        end_column: column + 1,
        message,
        hint: Some(hint.to_owned()),
    })
}

/// The encoding that a comment in the first two lines declares (PEP 263), with its place, unless
/// it is UTF-8. Python ignores the comment when it compiles text, but not when it reads a file.
fn foreign_encoding(text: &str) -> Option<(usize, &str)> {
    let mut line_start = 0;
    for line in text.split('\n').take(2) {
        let indent = line.len() - line.trim_start_matches([' ', '\t', '\u{c}']).len();
        let rest = &line[indent..];
        if !rest.is_empty() && !rest.starts_with('#') {
            return None;
        }
        let declared = rest.match_indices("coding").find_map(|(at, word)| {
            let after = rest[at + word.len()..].strip_prefix([':', '='])?;
            let after = after.trim_start_matches([' ', '\t']);
            let end = after
                .find(|c: char| !(c.is_ascii_alphanumeric() || "-_.".contains(c)))
                .unwrap_or(after.len());
            (end > 0).then(|| (line_start + indent + at, &after[..end]))
        });
        if let Some((at, name)) = declared {
            let plain = name.to_ascii_lowercase().replace('_', "-");
            let utf8 = matches!(plain.as_str(), "utf-8" | "utf8") || plain.starts_with("utf-8-");
            return (!utf8).then_some((at, name));
        }
        line_start += line.len() + 1;
    }
    None
}
