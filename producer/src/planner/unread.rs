//! What looks like a formula or a number in a prompt, and nothing has read.
//!
//! Where a template's own example stands in for what a prompt does not say ("what is a derivative?"), it must not
//! stand in for what could not be read ("derivative of sni(x)"), nor a part of a formula for the whole.

use std::ops::Range;

use serde_json::Value;

use super::fill::Filled;
use super::formula::{self, FormulaError};
use super::text::{Text, is_filler};
use crate::templates::{self, Template};

/// A stretch without spaces.
struct Piece<'a> {
    at: Range<usize>,
    word: &'a str,
    /// What it was read for: parameters, or the template's name.
    read: Vec<&'a str>,
}

/// What a parameter takes.
enum Takes<'a> {
    Formula(Vec<&'a str>),
    Equation(Vec<&'a str>),
    /// One word of a list.
    Choice(Vec<&'a str>),
    /// Names of nodes, with what joins them.
    Edges,
    Numbers,
}

impl<'a> Takes<'a> {
    fn of(name: &str, schema: &'a Value) -> Self {
        let item = &schema["items"];
        for schema in [schema, item] {
            match schema["format"].as_str() {
                Some("formula") => return Self::Formula(templates::variables(schema)),
                Some("equation") => return Self::Equation(templates::variables(schema)),
                _ => {}
            }
        }
        match schema["enum"].as_array() {
            Some(words) => Self::Choice(words.iter().filter_map(Value::as_str).collect()),
            None if name == "edges" => Self::Edges,
            None => Self::Numbers,
        }
    }
}

/// Why a plan of this template would show something else than the prompt asks for; `None` if nothing says so.
/// `phrases`: where the words stand that speak for the template.
pub(super) fn told(
    text: &Text,
    template: &Template,
    filled: &Filled,
    phrases: &[Range<usize>],
) -> Option<String> {
    // Its default would stand in for what was said, whether the template needs it or not.
    if let Some(refused) = filled.refused.first() {
        let error = error_at(text, refused.at.start, &refused.detail).shown_in(&text.raw);
        return Some(format!(
            "this is {:?}, but a part of it cannot be shown: {error}",
            template.title
        ));
    }
    let pieces = pieces(text, filled, phrases);
    let missing = filled.missing.iter();
    let wrong = missing
        .filter_map(|name| Some((name, Takes::of(name, template.property(name)?))))
        .find_map(|(name, takes)| unread(text, &pieces, name, &takes, template))
        .or_else(|| cut_short(text, &pieces, template, filled));
    let error = wrong?.shown_in(&text.raw);
    Some(format!(
        "this is {:?}, but a part of it cannot be read: {error}",
        template.title
    ))
}

fn error_at(text: &Text, at: usize, message: &str) -> FormulaError {
    let before = text.raw.get(..at).unwrap_or_default();
    FormulaError {
        at: before.chars().count(),
        message: message.to_owned(),
    }
}

fn pieces<'a>(text: &'a Text, filled: &'a Filled, phrases: &[Range<usize>]) -> Vec<Piece<'a>> {
    let lower = text.lower.as_str();
    let splits = |c: char| c.is_whitespace() || matches!(c, ',' | ';' | ':' | '"' | '?');
    let start_of = |word: &str| word.as_ptr() as usize - lower.as_ptr() as usize;
    lower
        .split(splits)
        .map(|word| word.trim_end_matches(['.', '!', '\'']))
        .filter(|word| !word.is_empty())
        .map(|word| {
            let at = start_of(word)..start_of(word) + word.len();
            let meets = |other: &Range<usize>| other.start < at.end && at.start < other.end;
            let named = filled.found.iter().filter(|found| meets(&found.at));
            let mut read: Vec<&str> = named.map(|found| found.name.as_str()).collect();
            if phrases.iter().any(meets) {
                read.push("");
            }
            Piece { at, word, read }
        })
        .collect()
}

/// Words beside which a number counts something that no template shows: `grade 8`, `3 examples`.
const COUNTED: &[&str] = &[
    "ab", "age", "ages", "algebra", "bc", "calc", "calculus", "chapter", "class", "course", "cs",
    "example", "examples", "exercise", "facts", "form", "geometry", "grade", "ideas", "ks",
    "lecture", "lesson", "level", "mark", "marks", "math", "maths", "minutes", "paper", "part",
    "physics", "question", "seconds", "section", "steps", "students", "things", "times", "top",
    "unit", "ways", "week", "weeks", "year", "years",
];

/// Whether a piece counts something, is the 2nd, in 3d or 2x2, or a name that has digits in it.
fn counts(pieces: &[Piece<'_>], n: usize, variables: &[&str]) -> bool {
    // `(math 101)`
    let bare = |piece: &Piece<'_>| -> String {
        let word = piece.word.trim_matches(['(', ')', '[', ']']);
        word.to_owned()
    };
    let word = bare(&pieces[n]);
    let ending = word.trim_start_matches(|c: char| c.is_ascii_digit());
    let beside = |n: Option<usize>| {
        n.and_then(|n| pieces.get(n))
            .is_some_and(|piece| COUNTED.contains(&bare(piece).as_str()))
    };
    // `lesson 3b`
    let part = matches!(ending, "" | "a" | "b" | "c");
    ending.len() < word.len()
        && (matches!(ending, "st" | "nd" | "rd" | "th" | "d" | "s" | "x2" | "x3")
            || part && (beside(n.checked_sub(1)) || beside(Some(n + 1))))
        || is_name(pieces[n].word, variables)
}

/// `3blue1brown`, `15-year-old`, `5-mark`: digits in a name or before a word, but not `2sinx` or `3xsquared`.
fn is_name(word: &str, variables: &[&str]) -> bool {
    let is_word = |letters: &str| {
        letters.chars().count() >= 3
            && !letters.ends_with("squared")
            && !letters.ends_with("cubed")
            && !variables.iter().any(|name| letters.ends_with(name))
            && formula::lexes(letters, variables).is_none()
    };
    has_digit(word)
        && word.chars().all(|c| c.is_alphanumeric() || c == '-')
        && word.split(|c: char| !c.is_alphabetic()).any(is_word)
}

/// `f(x)`, `g'(x)`, `∫f(x)dx`, `y=f(x)`, and `f(x` of `f(x, y)`: a name for any function, without what it is.
fn is_general(word: &str) -> bool {
    let names = |part: &str| {
        let letters = part.chars().filter(|c| !matches!(c, '\'' | '∫'));
        let letters: Vec<char> = letters.collect();
        matches!(letters[..], [f, '(', x, ref rest @ ..] if f.is_alphabetic() && x.is_alphabetic()
            && matches!(rest, [] | [')'] | [')', 'd', ..]))
    };
    let (before, last) = word.rsplit_once('=').unwrap_or(("", word));
    let letter = |part: &str| part.chars().count() == 1 && part.starts_with(char::is_alphabetic);
    let mut heads = before.split('=').filter(|part| !part.is_empty());
    (names(last) || last.is_empty() && heads.clone().any(names))
        && heads.all(|part| names(part) || letter(part))
}

/// `sni(x)`: a word, and a variable in parentheses after it.
fn is_call(word: &str, variables: &[&str]) -> bool {
    let Some((name, inner)) = word.split_once('(') else {
        return false;
    };
    name.ends_with(char::is_alphabetic)
        && inner
            .split(|c: char| !c.is_alphabetic())
            .any(|word| variables.contains(&word))
}

fn has_digit(word: &str) -> bool {
    word.contains(|c: char| c.is_numeric())
}

fn is_sign(word: &str) -> bool {
    matches!(word, "+" | "*" | "/" | "^" | "×" | "·" | "÷")
}

/// Whether a piece belongs to no sentence but to a formula.
fn is_formula_like(word: &str, variables: &[&str]) -> bool {
    const MARKS: &[char] = &['^', '√', '∛', 'π', '\\', '=', '+', '*', '×', '·'];
    let joined = word.chars().count() > 1 && word.contains(MARKS);
    !is_general(word)
        && (has_digit(word) || joined || word.contains('ˣ') || is_call(word, variables))
}

/// The first piece that could be the parameter that is missing, and what is wrong with it.
fn unread(
    text: &Text,
    pieces: &[Piece<'_>],
    name: &str,
    takes: &Takes<'_>,
    template: &Template,
) -> Option<FormulaError> {
    let example = template.examples.first();
    let example = example.map_or("", |example| example.prompt.as_str());
    let variables = match takes {
        Takes::Formula(variables) | Takes::Equation(variables) => variables.as_slice(),
        _ => &[],
    };
    let left = |n: &usize| pieces[*n].read.is_empty() && !counts(pieces, *n, variables);
    let mut open = (0..pieces.len()).filter(left);
    match takes {
        Takes::Formula(_) | Takes::Equation(_) => {
            let n = open.find(|n| is_formula_like(pieces[*n].word, variables))?;
            let equation = matches!(takes, Takes::Equation(_));
            Some(misread(text, pieces, n, variables, equation))
        }
        Takes::Numbers => {
            let n = open.find(|n| has_digit(pieces[*n].word))?;
            let message = format!("this is not read as `{name}`; write it as in {example:?}");
            Some(error_at(text, pieces[n].at.start, &message))
        }
        Takes::Edges => {
            let n = open.find(|n| is_node(text, pieces, *n))?;
            let message = format!(
                "this names a part of a graph, but there are no edges; write them as in {example:?}"
            );
            Some(error_at(text, pieces[n].at.start, &message))
        }
        Takes::Choice(words) => {
            let n = open.find(|n| is_subject(pieces[*n].word))?;
            let message = format!(
                "this is not read as `{name}`; it is one of {}",
                words.join(", ")
            );
            Some(error_at(text, pieces[n].at.start, &message))
        }
    }
}

/// Words after `from` and `to` that name no node.
const NO_NODES: &[&str] = &[
    "a", "all", "an", "another", "any", "each", "end", "every", "finish", "goal", "one", "other",
    "others", "scratch", "source", "start", "target", "the",
];

/// A number, a letter alone, or what `from` and `to` speak of.
fn is_node(text: &Text, pieces: &[Piece<'_>], n: usize) -> bool {
    let Piece { at, word, .. } = &pieces[n];
    let letter = word.len() == 1
        && text
            .written(at)
            .starts_with(|c: char| c.is_ascii_uppercase());
    let after = n.checked_sub(1).map(|before| pieces[before].word);
    let leads = matches!(after, Some("from" | "to" | "between" | "node" | "at"));
    has_digit(word)
        || letter && (leads || !matches!(*word, "a" | "i"))
        || leads && word.starts_with(char::is_alphabetic) && !NO_NODES.contains(word)
}

/// Words around shapes that name none.
const NO_SUBJECTS: &[&str] = &[
    "and",
    "another",
    "animated",
    "any",
    "become",
    "becomes",
    "becoming",
    "between",
    "change",
    "changes",
    "changing",
    "demo",
    "different",
    "does",
    "each",
    "example",
    "figure",
    "figures",
    "form",
    "from",
    "geometric",
    "geometry",
    "into",
    "it",
    "morphing",
    "one",
    "other",
    "smooth",
    "smoothly",
    "some",
    "something",
    "then",
    "transform",
    "transformation",
    "transforms",
    "turn",
    "turning",
    "turns",
    "two",
    "using",
    "what",
    "with",
    "work",
    "works",
];

fn is_subject(word: &str) -> bool {
    word.len() > 2
        && word.chars().all(char::is_alphabetic)
        && !is_filler(word)
        && !NO_SUBJECTS.contains(&word)
}

/// Whether words go on with the formula before them: `x squared`, `x^2 plus 3`, but not `x^2 plus its tangent`.
fn goes_on(word: &str, next: Option<&Piece<'_>>, variables: &[&str]) -> bool {
    const NUMBERS: &[&str] = &["two", "three", "four", "five", "six", "ten"];
    let next = next.map_or("", |next| next.word);
    match word {
        "squared" | "cubed" => true,
        "plus" | "minus" | "times" => {
            has_digit(next) || variables.contains(&next) || NUMBERS.contains(&next)
        }
        "divided" => next == "by",
        _ => is_sign(word),
    }
}

/// A formula of which only a part was read: `x^3 + blub(x)`.
fn cut_short(
    text: &Text,
    pieces: &[Piece<'_>],
    template: &Template,
    filled: &Filled,
) -> Option<FormulaError> {
    let (name, variables) = template.properties().find_map(|(name, schema)| {
        let found = filled.found.iter().any(|found| found.name == *name);
        match Takes::of(name, schema) {
            Takes::Formula(variables) if found => Some((name, variables)),
            _ => None,
        }
    })?;
    let n = (0..pieces.len()).find(|&n| {
        let Piece { at, word, read } = &pieces[n];
        let before = n.checked_sub(1).map(|before| &pieces[before]);
        let follows = before.is_some_and(|before| {
            let between = &text.lower[before.at.end..at.start];
            before.read.contains(&name.as_str()) && between.trim().is_empty()
        });
        let goes_on = follows && goes_on(word, pieces.get(n + 1), &variables);
        let call = is_call(word, &variables) && !is_general(word);
        read.is_empty() && (goes_on || call)
    })?;
    if pieces[n].word.len() > 3 && pieces[n].word.chars().all(char::is_alphabetic) {
        let message = format!(
            "{:?} belongs to a formula; write it with signs, such as `x^2 + 1`",
            pieces[n].word
        );
        return Some(error_at(text, pieces[n].at.start, &message));
    }
    Some(misread(text, pieces, n, &variables, false))
}

/// What is wrong with the formula around a piece.
fn misread(
    text: &Text,
    pieces: &[Piece<'_>],
    n: usize,
    variables: &[&str],
    equation: bool,
) -> FormulaError {
    let belongs = |piece: &Piece<'_>| {
        let word = piece.word;
        let sign = is_sign(word) || matches!(word, "-" | "−") || equation && word == "=";
        sign || is_formula_like(word, variables) || formula::lexes(word, variables) == Some(true)
    };
    let joined = |a: &Piece<'_>, b: &Piece<'_>| text.lower[a.at.end..b.at.start].trim().is_empty();
    let (mut from, mut to) = (n, n);
    while from > 0 && joined(&pieces[from - 1], &pieces[from]) && belongs(&pieces[from - 1]) {
        from -= 1;
    }
    while to + 1 < pieces.len() && joined(&pieces[to], &pieces[to + 1]) && belongs(&pieces[to + 1])
    {
        to += 1;
    }
    let whole = pieces[from].at.start..pieces[to].at.end;
    // `f(x)=sni(x)`: what stands before the sign is a name.
    let head = match text.written(&whole).rfind('=') {
        Some(sign) if !equation => sign + 1,
        _ => 0,
    };
    let start = whole.start + head;
    let written = text.written(&(start..whole.end));
    let here = |message: &str| error_at(text, start, message);
    let error = if equation {
        formula::parse_equation(written, variables).err()
    } else {
        formula::parse(written, variables).err()
    };
    match error {
        Some(error) => FormulaError {
            at: here("").at + error.at,
            ..error
        },
        None => {
            let names: Vec<String> = variables.iter().map(|name| format!("`{name}`")).collect();
            let what = if equation { "equation" } else { "formula" };
            here(&format!(
                "this is no {what} in {} that can be shown",
                names.join(", ")
            ))
        }
    }
}
