//! The table: which words speak for which template.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::LazyLock;

use serde::Deserialize;
use serde_json::{Map, Value};

use super::text::{Text, stems};

/// `table.json`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Table {
    /// The least score of a plan.
    pub threshold: f64,
    /// How far the best must be before the second.
    pub margin: f64,
    /// Phrases that speak for nothing, though parts of them would.
    nothing: Vec<String>,
    /// Other words for values of parameters, for all templates.
    synonyms: HashMap<String, Vec<String>>,
    /// Each template's.
    templates: HashMap<String, Entry>,
}

/// What speaks for a template.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Entry {
    /// Phrases and their weights.
    words: HashMap<String, f64>,
    /// Phrases that speak against it.
    not: HashMap<String, f64>,
    /// How parameters are found where their schema does not say it: ways, with `|` between them.
    pub slots: HashMap<String, String>,
    /// Other names of parameters, as in `k=3`.
    names: HashMap<String, Vec<String>>,
    /// Other words for values of its parameters.
    synonyms: HashMap<String, Vec<String>>,
    /// How much of what has a form of its own counts; 1 if nothing is said.
    pub forms: Option<f64>,
    /// Parameters for a prompt that names the template only; those of its first example if nothing is said.
    pub usual: Option<Map<String, Value>>,
}

impl Entry {
    /// Other words for a value.
    pub fn synonyms(&self, value: &str) -> impl Iterator<Item = &str> {
        let own = self.synonyms.get(value).into_iter().flatten();
        let all = TABLE.table.synonyms.get(value).into_iter().flatten();
        own.chain(all).map(String::as_str)
    }

    /// Other names of a parameter.
    pub fn names_of(&self, parameter: &str) -> impl Iterator<Item = &str> {
        self.names
            .get(parameter)
            .into_iter()
            .flatten()
            .map(String::as_str)
    }
}

/// A phrase of the table, ready to be looked for.
struct Phrase {
    stems: Vec<String>,
    /// Templates and weights; none for a phrase that speaks for nothing.
    weights: Vec<(String, f64)>,
}

struct Ready {
    table: Table,
    /// By their first word.
    phrases: HashMap<String, Vec<Phrase>>,
    /// First and other words that are long enough to be misspelt.
    long_words: Vec<String>,
}

static NO_ENTRY: LazyLock<Entry> = LazyLock::new(Entry::default);

static TABLE: LazyLock<Ready> = LazyLock::new(|| {
    // A test reads it before it is in a program.
    let table: Table = serde_json::from_str(include_str!("table.json")).unwrap_or_else(|error| {
        tracing::error!(%error, "the planner's table cannot be read");
        Table {
            threshold: f64::INFINITY,
            margin: 0.0,
            nothing: Vec::new(),
            synonyms: HashMap::new(),
            templates: HashMap::new(),
        }
    });
    let mut all: HashMap<Vec<String>, Vec<(String, f64)>> = HashMap::new();
    for phrase in &table.nothing {
        all.entry(stems(phrase)).or_default();
    }
    for (id, entry) in &table.templates {
        let against = entry.not.iter().map(|(phrase, weight)| (phrase, -weight));
        for (phrase, weight) in entry.words.iter().map(|(p, w)| (p, *w)).chain(against) {
            all.entry(stems(phrase))
                .or_default()
                .push((id.clone(), weight));
        }
    }
    let mut long_words: Vec<String> = all
        .keys()
        .flatten()
        .filter(|word| word.len() >= 6)
        .cloned()
        .collect();
    long_words.sort();
    long_words.dedup();
    let mut phrases: HashMap<String, Vec<Phrase>> = HashMap::new();
    for (stems, weights) in all {
        if let Some(first) = stems.first() {
            phrases
                .entry(first.clone())
                .or_default()
                .push(Phrase { stems, weights });
        }
    }
    for list in phrases.values_mut() {
        list.sort_by_key(|phrase| std::cmp::Reverse(phrase.stems.len()));
    }
    Ready {
        table,
        phrases,
        long_words,
    }
});

/// The table.
pub(super) fn table() -> &'static Table {
    &TABLE.table
}

/// What is said of a template.
pub(super) fn entry(id: &str) -> &'static Entry {
    TABLE.table.templates.get(id).unwrap_or(&NO_ENTRY)
}

/// What words say of a template.
#[derive(Debug, Default, Clone)]
pub(super) struct Said {
    pub score: f64,
    pub at: Vec<Range<usize>>,
}

/// Most words that are looked at.
const WORDS_MAX: usize = 400;
/// Most words that may be misspelt: comparing costs.
const GUESSES_MAX: usize = 40;

/// What the words of a prompt say of each template. A phrase within a longer one says nothing.
pub(super) fn said(text: &Text) -> HashMap<&'static str, Said> {
    let words = text.words();
    let mut guesses = 0;
    let words: Vec<(Range<usize>, String)> = words
        .into_iter()
        .take(WORDS_MAX)
        .map(|word| {
            let known = TABLE.long_words.binary_search(&word.stem).is_ok();
            if known || word.stem.len() < 6 || guesses >= GUESSES_MAX {
                return (word.at, word.stem);
            }
            guesses += 1;
            let near = TABLE.long_words.iter().find(|known| {
                known.len().abs_diff(word.stem.len()) <= 1
                    && known.as_bytes()[0] == word.stem.as_bytes()[0]
                    && strsim::damerau_levenshtein(known, &word.stem) == 1
            });
            (word.at, near.cloned().unwrap_or(word.stem))
        })
        .collect();
    let mut matches: Vec<(usize, usize, &'static Phrase)> = Vec::new();
    for at in 0..words.len() {
        for phrase in TABLE.phrases.get(&words[at].1).into_iter().flatten() {
            let fits = words.len() - at >= phrase.stems.len()
                && phrase
                    .stems
                    .iter()
                    .zip(&words[at..])
                    .all(|(stem, word)| *stem == word.1);
            if fits {
                matches.push((at, at + phrase.stems.len(), phrase));
            }
        }
    }
    let mut said: HashMap<&'static str, Said> = HashMap::new();
    let mut counted: Vec<(&str, &Vec<String>)> = Vec::new();
    for (from, to, phrase) in &matches {
        let within = |other: &(usize, usize, &Phrase)| {
            other.0 <= *from && *to <= other.1 && other.1 - other.0 > to - from
        };
        if matches.iter().any(within) {
            continue;
        }
        for (id, weight) in &phrase.weights {
            // Said twice is not meant twice.
            if counted.contains(&(id.as_str(), &phrase.stems)) {
                continue;
            }
            counted.push((id, &phrase.stems));
            let said = said.entry(id.as_str()).or_default();
            said.score += weight;
            if *weight > 0.0 {
                said.at.push(words[*from].0.start..words[to - 1].0.end);
            }
        }
    }
    said
}
