//! Formulas as people write them: `x^2`, `2x`, `sin x`, `e^-x`, `√x`, `|x|`, `\frac{1}{x}`.
//!
//! What a user types becomes a tree of ours and nothing else: scenes get numbers, names and operators from a fixed
//! list, never text to parse. The tree can be written as JSON (for scenes), LaTeX and text (for people), and
//! evaluated. [`parse`](mod@parse) is a Pratt parser over the tokens of [`lex`].

mod ast;
mod eval;
mod lex;
mod parse;
mod print;

use unicode_normalization::UnicodeNormalization as _;

pub use ast::{Constant, Expr, Op, number};
pub use parse::{parse, parse_equation};

/// Most nodes of a formula.
pub const NODES_MAX: usize = 256;
/// Deepest nesting of a formula's tree.
pub const DEPTH_MAX: usize = 32;
/// Longest text of a formula, in bytes.
pub const BYTES_MAX: usize = 1_000;

/// Why a text is no formula.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("character {}: {message}", at + 1)]
pub struct FormulaError {
    /// Where, in characters from the start of the text.
    pub at: usize,
    /// What is wrong, and what would be right.
    pub message: String,
}

/// Whether a text consists of what formulas consist of, in whatever order; if so, whether a variable is in it.
#[must_use]
pub fn lexes(text: &str, variables: &[&str]) -> Option<bool> {
    let tokens = lex::tokens(text, variables).ok()?;
    let variable = |kind: &lex::Kind| match kind {
        lex::Kind::Variable(_) => true,
        lex::Kind::Superscript(text) => text.contains(['n', 'x']),
        _ => false,
    };
    Some(tokens.iter().any(|token| variable(&token.kind)))
}

/// At which character the imaginary unit stands, if it does.
#[must_use]
pub fn imaginary_at(text: &str, variables: &[&str]) -> Option<usize> {
    let tokens = lex::tokens(text, variables).ok()?;
    let unit = lex::Kind::Constant(Constant::I);
    let token = tokens.into_iter().find(|token| token.kind == unit)?;
    Some(token.at)
}

/// The plain character behind what word processors and PDFs have for it: `x` for `𝑥` and `ｘ`. One for one (NFKC),
/// so that places stay; superscripts keep their meaning.
#[must_use]
pub fn plain(c: char) -> char {
    if !matches!(c, '\u{1d400}'..='\u{1d7ff}' | '\u{210e}' | '\u{ff01}'..='\u{ff5e}') {
        return c;
    }
    let mut plain = std::iter::once(c).nfkc();
    match (plain.next(), plain.next()) {
        (Some(plain), None) => plain,
        _ => c,
    }
}

impl FormulaError {
    fn new(at: usize, message: impl Into<String>) -> Self {
        Self {
            at,
            message: message.into(),
        }
    }

    /// The error with the text around its place, a mark before the character.
    #[must_use]
    pub fn shown_in(&self, text: &str) -> String {
        const AROUND: usize = 20;
        let chars: Vec<char> = text.chars().collect();
        let at = self.at.min(chars.len());
        let from = at.saturating_sub(AROUND);
        let to = (at + AROUND).min(chars.len());
        let before: String = chars[from..at].iter().collect();
        let after: String = chars[at..to].iter().collect();
        let dots = |there: bool| if there { "…" } else { "" };
        let start = dots(from > 0);
        let end = dots(to < chars.len());
        format!("{self} (at the mark: `{start}{before}▸{after}{end}`)")
    }
}

#[cfg(test)]
mod tests;
