//! What the command line writes to a terminal: text from elsewhere made harmless, and colours.

use std::borrow::Cow;
use std::fmt::{self, Display};
use std::io::IsTerminal as _;

use clap::builder::styling::{AnsiColor, Style};
use manimq_shared::characters::is_harmful;
use unicode_width::UnicodeWidthChar as _;

/// How many columns a tab becomes.
const TAB: &str = "    ";

fn push_visible(out: &mut String, c: char) {
    if c == '\t' {
        out.push_str(TAB);
    } else if is_harmful(c) {
        out.extend(c.escape_default());
    } else {
        out.push(c);
    }
}

/// One line of text that a scene or a server wrote, safe to print: control characters, and those
/// that change the direction of text, appear as escapes; a tab becomes four spaces.
#[must_use]
pub fn visible(text: &str) -> Cow<'_, str> {
    if !text.chars().any(is_harmful) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    text.chars().for_each(|c| push_visible(&mut out, c));
    Cow::Owned(out)
}

/// The lines of a text, each as [`visible`] makes it.
pub fn visible_lines(text: &str) -> impl Iterator<Item = Cow<'_, str>> {
    text.lines().map(visible)
}

/// Columns that the first `chars` characters of `line` take once printed by [`visible`].
#[must_use]
pub fn columns(line: &str, chars: usize) -> usize {
    let mut shown = String::new();
    let mut width = 0;
    for c in line.chars().take(chars) {
        shown.clear();
        push_visible(&mut shown, c);
        width += shown.chars().map(|c| c.width().unwrap_or(0)).sum::<usize>();
    }
    width
}

/// At most `max` characters of a text, with `…` where it was cut.
#[must_use]
pub fn shorten(text: &str, max: usize) -> String {
    if text.chars().count() <= max {
        text.to_owned()
    } else {
        text.chars()
            .take(max.saturating_sub(1))
            .chain(['…'])
            .collect()
    }
}

/// Colours for one output stream, or none.
#[derive(Debug, Clone, Copy)]
pub struct Paint {
    on: bool,
}

impl Paint {
    /// Never any colour.
    pub const PLAIN: Self = Self { on: false };

    /// For standard error: colours on a terminal, unless `NO_COLOR` is set or `TERM` is `dumb`.
    #[must_use]
    pub fn stderr() -> Self {
        Self {
            on: Self::is_wanted() && std::io::stderr().is_terminal(),
        }
    }

    /// For standard output: the same.
    #[must_use]
    pub fn stdout() -> Self {
        Self {
            on: Self::is_wanted() && std::io::stdout().is_terminal(),
        }
    }

    /// Whether there is any colour, and so a terminal.
    #[must_use]
    pub const fn is_on(self) -> bool {
        self.on
    }

    fn is_wanted() -> bool {
        std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
            && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
    }

    fn with<T: Display>(self, style: Style, text: T) -> Painted<T> {
        Painted {
            style: if self.on { style } else { Style::new() },
            text,
        }
    }

    /// For `error:`.
    pub fn error<T: Display>(self, text: T) -> Painted<T> {
        self.with(AnsiColor::Red.on_default().bold(), text)
    }

    /// For `warning:` and `note:`.
    pub fn warning<T: Display>(self, text: T) -> Painted<T> {
        self.with(AnsiColor::Yellow.on_default().bold(), text)
    }

    /// For `hint:` and things that went well.
    pub fn good<T: Display>(self, text: T) -> Painted<T> {
        self.with(AnsiColor::Green.on_default().bold(), text)
    }

    /// For line numbers, arrows and frames.
    pub fn frame<T: Display>(self, text: T) -> Painted<T> {
        self.with(AnsiColor::Blue.on_default().bold(), text)
    }

    /// For what matters in a line.
    pub fn strong<T: Display>(self, text: T) -> Painted<T> {
        self.with(Style::new().bold(), text)
    }

    /// For what matters less.
    pub fn dim<T: Display>(self, text: T) -> Painted<T> {
        self.with(Style::new().dimmed(), text)
    }
}

/// A text with its colour.
#[derive(Debug)]
pub struct Painted<T> {
    style: Style,
    text: T,
}

impl<T: Display> Display for Painted<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}{}{}",
            self.style.render(),
            self.text,
            self.style.render_reset()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scene_cannot_drive_the_terminal() {
        assert_eq!(
            visible("\x1b[2Jred\u{202e}txt\x07"),
            "\\u{1b}[2Jred\\u{202e}txt\\u{7}"
        );
        assert_eq!(visible("a\tb"), "a    b");
        assert_eq!(visible("plain é 你好"), "plain é 你好");
        let lines: Vec<_> = visible_lines("one\r\ntwo\rthree\n").collect();
        assert_eq!(lines, ["one", "two\\rthree"]);
    }

    #[test]
    fn columns_count_what_is_seen() {
        assert_eq!(columns("ab", 2), 2);
        assert_eq!(columns("你好x", 2), 4);
        assert_eq!(columns("\tx", 1), 4);
        assert_eq!(columns("\u{1b}x", 1), "\\u{1b}".len());
        assert_eq!(columns("short", 100), 5);
    }

    #[test]
    fn long_text_is_cut_with_a_sign() {
        assert_eq!(shorten("abcdef", 4), "abc…");
        assert_eq!(shorten("abc", 4), "abc");
    }
}
