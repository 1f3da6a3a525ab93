//! A prompt as words with their places.

use std::ops::Range;

/// A word of a prompt.
#[derive(Debug, Clone)]
pub(super) struct Word {
    /// Where it is, in bytes.
    pub at: Range<usize>,
    /// Without its ending.
    pub stem: String,
}

/// A prompt, and how much of it is spoken for.
#[derive(Debug, Clone)]
pub(super) struct Text {
    /// As it was written, without what surrounds it; dashes and quotes of one kind. Lower case has the same places.
    pub raw: String,
    /// In lower case (ASCII alone, so that places are the same); what is spoken for is blank.
    pub lower: String,
}

impl Text {
    pub fn new(prompt: &str) -> Self {
        // What is replaced has no other length, so that places hold for the prompt itself.
        let raw: String = prompt
            .chars()
            .map(|c| match c {
                c if c.is_control() && c != '\n' => ' ',
                c => c,
            })
            .collect();
        let lower = raw.to_ascii_lowercase();
        Self { raw, lower }
    }

    /// Takes a place out of what is looked at later.
    pub fn blank(&mut self, at: Range<usize>) {
        let length = at.len();
        if self.lower.is_char_boundary(at.start) && self.lower.is_char_boundary(at.end) {
            self.lower.replace_range(at, &" ".repeat(length));
        }
    }

    /// The words that are not spoken for.
    pub fn words(&self) -> Vec<Word> {
        let mut words = Vec::new();
        let mut start = None;
        for (at, c) in self.lower.char_indices().chain([(self.lower.len(), ' ')]) {
            let within = c.is_alphanumeric() || (c == '\'' && start.is_some());
            match (within, start) {
                (true, None) => start = Some(at),
                (false, Some(from)) => {
                    words.push(Word {
                        at: from..at,
                        stem: stem(&self.lower[from..at]),
                    });
                    start = None;
                }
                _ => {}
            }
        }
        words
    }

    /// A place, as it was written.
    pub fn written(&self, at: &Range<usize>) -> &str {
        self.raw.get(at.clone()).unwrap_or_default()
    }
}

/// A word without its usual endings. Not linguistics: prompt and table lose the same letters.
pub(super) fn stem(word: &str) -> String {
    let word = word.strip_suffix("'s").unwrap_or(word);
    let cut = |ending: &str, least: usize| {
        word.strip_suffix(ending)
            .filter(|rest| rest.len() >= least && rest.is_ascii())
    };
    if let Some(rest) = cut("ies", 3) {
        return format!("{rest}y");
    }
    let rest = if word.ends_with("ss") || word.ends_with("us") || word.ends_with("is") {
        word
    } else {
        cut("sses", 2).map_or_else(
            || cut("s", 3).unwrap_or(word),
            |rest| &word[..rest.len() + 2],
        )
    };
    let shorter = |ending: &str| {
        rest.strip_suffix(ending)
            .filter(|rest| rest.len() >= 4 && rest.is_ascii())
    };
    let base = ["ing", "ed", "e"]
        .into_iter()
        .find_map(shorter)
        .unwrap_or(rest);
    base.to_owned()
}

/// The stems of a phrase.
pub(super) fn stems(phrase: &str) -> Vec<String> {
    phrase
        .to_lowercase()
        .split(|c: char| !(c.is_alphanumeric() || c == '\''))
        .filter(|word| !word.is_empty())
        .map(stem)
        .collect()
}

/// Words with which people begin, and that say nothing.
const FILLERS: &[&str] = &[
    "please",
    "can you",
    "could you",
    "would you",
    "i want",
    "i need",
    "i would like",
    "i'd like",
    "make",
    "create",
    "generate",
    "produce",
    "render",
    "build",
    "draw",
    "give me",
    "show me",
    "show",
    "let me see",
    "animate",
    "visualize",
    "visualise",
    "illustrate",
    "explain",
    "explaining",
    "demonstrate",
    "display",
    "present",
    "teach me",
    "teach",
    "tell me about",
    "to see",
    "to",
    "a",
    "an",
    "the",
    "me",
    "us",
    "video",
    "animation",
    "film",
    "clip",
    "movie",
    "short",
    "nice",
    "simple",
    "of",
    "about",
    "that",
    "which",
    "shows",
    "showing",
    "how",
    "what is",
    "for",
    "on",
    "my",
    "students",
    "class",
    "in",
    "we",
];

/// A prompt without the words with which people begin, as a title: with a capital, without a stop at the end.
pub(super) fn as_title(text: &str) -> String {
    let mut rest = text.trim();
    'cut: loop {
        let lower = rest.to_ascii_lowercase();
        for filler in FILLERS {
            if let Some(after) = lower.strip_prefix(filler)
                && (after.is_empty()
                    || after.starts_with(|c: char| !c.is_alphanumeric() && c != '\''))
            {
                let cut =
                    rest[rest.len() - after.len()..].trim_start_matches([' ', ',', ':', '\n']);
                if cut.is_empty() {
                    break 'cut;
                }
                rest = cut;
                continue 'cut;
            }
        }
        break;
    }
    let rest = rest.trim_end_matches(['.', '!', '?', ' ', ',', ';', ':']);
    let mut short: String = rest.chars().take(100).collect();
    if rest.chars().count() > 100 {
        let end = short.rfind(' ').unwrap_or(short.len());
        short.truncate(end);
        short.push('…');
    }
    capital(&short)
}

/// With a capital at its start.
pub(super) fn capital(text: &str) -> String {
    let mut chars = text.chars();
    match chars.next() {
        // A formula stays as it is.
        Some(first) if chars.clone().next().is_some_and(char::is_alphabetic) => {
            first.to_uppercase().chain(chars).collect()
        }
        _ => text.to_owned(),
    }
}
