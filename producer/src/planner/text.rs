//! A prompt as words with their places.

use std::ops::Range;
use std::sync::LazyLock;

use regex::Regex;

use super::formula::plain;
use super::maths::Tries;

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
    /// As it was written, character for character: controls are spaces, letters of formulas (`𝑥`) plain ones.
    pub raw: String,
    /// In lower case (ASCII alone, so that places are the same); what is spoken for is blank.
    pub lower: String,
    /// As it was written, with the same places, without the wishes that begin or end it: what may be shown.
    pub body: String,
    /// How many formulas were tried.
    pub tries: Tries,
}

/// What stands between a prompt's words and a wish that ends it.
static JOINT: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(r"(?i)\s*(?:[,;.!]\s*)?(?:\b(?:and|with|on|in|as|for|make it)(?:\s+an?)?\s+)?$").ok()
});
/// Wishes that need nothing before them.
static JOINED: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(
        r"(?i)^(?:and|in|as|with|without|on|for|slowly|quickly|title\w*|called|headed|named)\b",
    )
    .ok()
});
/// What may stand before a wish that begins a prompt.
static LEAD: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(r"(?i)^(?:\s|[,;:.]|\b(?:please|make|create|generate|produce|render|draw|show|give me|i want)\b)*").ok()
});
/// Marks that a title does not begin or end with.
const MARKS: [char; 6] = [' ', '\n', ',', ';', '.', '!'];

impl Text {
    pub fn new(prompt: &str) -> Self {
        // One character for one: places in characters hold for the prompt itself.
        let raw: String = prompt
            .chars()
            .map(|c| match c {
                c if c.is_control() && c != '\n' => ' ',
                c => plain(c),
            })
            .collect();
        Self {
            lower: raw.to_ascii_lowercase(),
            body: raw.clone(),
            tries: Tries::default(),
            raw,
        }
    }

    /// Takes these wishes out of what may be shown, where they begin or end the prompt: `…: Calculus, vertical`.
    pub fn hide(&mut self, wishes: &[Range<usize>]) {
        while let Some(start) = self.last_wish(wishes) {
            self.body.truncate(start);
        }
        while let Some(end) = self.first_wish(wishes) {
            self.body.replace_range(..end, &" ".repeat(end));
        }
    }

    /// Where a wish that ends what is shown begins, with what joins it. A word that is no more joined than others
    /// is one of them: `title card: Going vertical`.
    fn last_wish(&self, wishes: &[Range<usize>]) -> Option<usize> {
        let shown = self.body.trim_end_matches(MARKS);
        let shown = shown.strip_suffix("please").unwrap_or(shown);
        let shown = shown.trim_end_matches(MARKS);
        let wish = wishes.iter().find(|wish| wish.end == shown.len())?;
        let before = shown.get(..wish.start)?;
        let from = JOINT.as_ref()?.find(before)?.start();
        let joined =
            !before[from..].trim().is_empty() || JOINED.as_ref()?.is_match(&shown[wish.start..]);
        let rest = before[..from].trim();
        (joined && !rest.is_empty() && !rest.ends_with(':')).then_some(from)
    }

    /// Where a wish that begins what is shown ends.
    fn first_wish(&self, wishes: &[Range<usize>]) -> Option<usize> {
        let lead = LEAD.as_ref()?.find(&self.body)?.end();
        let wish = wishes.iter().find(|wish| wish.start == lead)?;
        let rest = self.body.get(wish.end..)?;
        let skipped = rest.len()
            - rest
                .trim_start_matches([' ', ',', ':', ';', '.', '\n'])
                .len();
        (rest.len() > skipped).then_some(wish.end + skipped)
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

/// Whether a word is one of those.
pub(super) fn is_filler(word: &str) -> bool {
    FILLERS.contains(&word)
}

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
        Some(first)
            if first == 'a' && chars.as_str().starts_with(' ')
                || chars.clone().next().is_some_and(char::is_alphabetic) =>
        {
            first.to_uppercase().chain(chars).collect()
        }
        _ => text.to_owned(),
    }
}
