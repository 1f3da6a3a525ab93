//! Formulas and equations in a prompt: stretches of words that read as one.

use std::cell::Cell;
use std::ops::Range;

use super::find::Found;
use super::formula::{self, Expr};

/// Most stretches of a prompt that are tried as formulas, for all templates together. Beyond that nothing is found:
/// a sentence takes a few dozen.
const TRIES_MAX: u32 = 500;

/// How many were tried.
#[derive(Debug, Clone, Default)]
pub(super) struct Tries(Cell<u32>);

impl Tries {
    /// Counts one more; `None` if there are no more.
    fn one(&self) -> Option<()> {
        let tried = self.0.get();
        (tried < TRIES_MAX).then(|| self.0.set(tried + 1))
    }
}

/// Which formulas are looked for.
#[derive(Clone, Copy)]
pub(super) struct Wanted<'a> {
    /// One of these is in each.
    pub variables: &'a [&'a str],
    /// Whether `i` may be in them.
    pub complex: bool,
    /// Shared by all templates that look at a prompt.
    pub tries: &'a Tries,
}

impl Wanted<'_> {
    fn fits(&self, text: &str, has: impl Fn(&str) -> bool) -> bool {
        let complex = || formula::imaginary_at(text, self.variables).is_some();
        self.variables.iter().any(|name| has(name)) && (self.complex || !complex())
    }
}

/// A stretch without spaces that could be part of a formula.
struct Chunk {
    at: Range<usize>,
    mathy: bool,
    /// A variable is in it.
    varies: bool,
}

fn mathy(chunks: &[Chunk], most: usize) -> &[Chunk] {
    let count = chunks.iter().take(most).take_while(|chunk| chunk.mathy);
    &chunks[..count.count()]
}

/// Most formulas or equations that are looked for: no template takes more.
const FOUND_MAX: usize = 8;

/// Words that read as formulas by accident.
const NO_FORMULA: &[&str] = &["i", "e", "pie", "sine", "cosine", "exp", "tau", "a"];

fn chunks(text: &str, variables: &[&str]) -> Vec<Chunk> {
    let mut chunks = Vec::new();
    let mut start = None;
    let mut depth = 0i32;
    for (at, c) in text.char_indices().chain([(text.len(), ' ')]) {
        match c {
            '(' | '{' | '[' => depth += 1,
            ')' | '}' | ']' => depth -= 1,
            _ => {}
        }
        let splits = c.is_whitespace()
            || ((c == ',' || c == ';' || c == '=' || c == '"' || c == ':' || c == '?')
                && depth <= 0);
        match (splits, start) {
            (true, Some(from)) => {
                let mut end = at;
                while end > from
                    && text[from..end].ends_with(['.', '!'])
                    && !text[from..end].ends_with("x!")
                {
                    end -= 1;
                }
                let word = &text[from..end];
                let lexed = (!word.is_empty()).then(|| formula::lexes(word, variables));
                let lexed = lexed.flatten();
                chunks.push(Chunk {
                    at: from..end,
                    mathy: lexed.is_some(),
                    varies: lexed == Some(true),
                });
                start = None;
            }
            (false, None) => start = Some(at),
            _ => {}
        }
        if splits && !c.is_whitespace() && at < text.len() {
            // What splits stands between two formulas.
            chunks.push(Chunk {
                at: at..at + c.len_utf8(),
                mathy: false,
                varies: false,
            });
        }
    }
    chunks
}

/// A formula as it was written, and what it is.
pub(super) type Formula = (String, Expr);

/// The formulas that are wanted, from left to right.
pub(super) fn formulas(text: &str, wanted: Wanted<'_>) -> Vec<Found<Formula>> {
    const LONGEST: usize = 24;
    let variables = wanted.variables;
    let chunks = chunks(text, variables);
    let mut found: Vec<Found<Formula>> = Vec::new();
    let mut first = 0;
    while first < chunks.len() && found.len() < FOUND_MAX {
        let run = mathy(&chunks[first..], LONGEST);
        // With fewer no variable is left.
        let least = run.iter().position(|chunk| chunk.varies);
        let longest = least.and_then(|least| {
            (least + 1..=run.len()).rev().find_map(|count| {
                let at = run[0].at.start..run[count - 1].at.end;
                let written = &text[at.clone()];
                if NO_FORMULA.contains(&written) {
                    return None;
                }
                wanted.tries.one()?;
                let expr = formula::parse(written, variables).ok()?;
                let value = (written.to_owned(), expr);
                wanted
                    .fits(written, |name| value.1.has(name))
                    .then_some((count, Found { at, value }))
            })
        });
        match longest {
            Some((count, formula)) => {
                found.push(formula);
                first += count;
            }
            None => first += 1,
        }
    }
    if found.is_empty() {
        found.extend(named_functions(text, variables));
    }
    found
}

/// `sin`, `the cosine`: functions without their argument.
fn named_functions(text: &str, variables: &[&str]) -> Vec<Found<Formula>> {
    const NAMES: &[(&str, &str)] = &[
        ("sine", "sin"),
        ("sin", "sin"),
        ("cosine", "cos"),
        ("cos", "cos"),
        ("tan", "tan"),
        ("exp", "exp"),
        ("ln", "ln"),
        ("arctan", "atan"),
        ("arcsin", "asin"),
        ("sinh", "sinh"),
        ("cosh", "cosh"),
        ("tanh", "tanh"),
        ("logarithm", "ln"),
        ("exponential", "exp"),
    ];
    let Some(variable) = variables.first() else {
        return Vec::new();
    };
    let words = text.split(|c: char| !c.is_alphanumeric());
    let found = words.filter_map(|word| {
        let (_, name) = NAMES.iter().find(|(known, _)| *known == word)?;
        let start = word.as_ptr() as usize - text.as_ptr() as usize;
        let written = format!("{name}({variable})");
        let expr = formula::parse(&written, variables).ok()?;
        Some(Found {
            at: start..start + word.len(),
            value: (written, expr),
        })
    });
    found.take(8).collect()
}

/// Most words of an equation's side: every pair of a beginning and an end is tried.
const SIDE_MAX: usize = 16;

/// `2x + 3 = 7`: as it was written.
pub(super) fn equations(text: &str, wanted: Wanted<'_>) -> Vec<Found<String>> {
    let variables = wanted.variables;
    let chunks = chunks(text, variables);
    let mut found = Vec::new();
    for (middle, chunk) in chunks.iter().enumerate() {
        if found.len() >= FOUND_MAX {
            break;
        }
        if &text[chunk.at.clone()] != "=" {
            continue;
        }
        let before = chunks[..middle]
            .iter()
            .rev()
            .take(SIDE_MAX)
            .take_while(|chunk| chunk.mathy)
            .count();
        let before = &chunks[middle - before..middle];
        let after = mathy(&chunks[middle + 1..], SIDE_MAX);
        if !before.iter().chain(after).any(|chunk| chunk.varies) {
            continue;
        }
        let sides = before.iter().find_map(|from| {
            after.iter().rev().find_map(|to| {
                let at = from.at.start..to.at.end;
                let written = &text[at.clone()];
                wanted.tries.one()?;
                let (left, right) = formula::parse_equation(written, variables).ok()?;
                let value = written.to_owned();
                wanted
                    .fits(written, |name| left.has(name) || right.has(name))
                    .then_some(Found { at, value })
            })
        });
        found.extend(sides);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_holds_no_variable_is_not_tried_and_never_more_than_the_bound() {
        let tried = |text: &str| {
            let tries = Tries::default();
            let wanted = Wanted {
                variables: &["x", "y"],
                complex: false,
                tries: &tries,
            };
            (
                equations(text, wanted).len(),
                formulas(text, wanted).len(),
                tries.0.get(),
            )
        };
        // Fifteen thousand equations, each of which was parsed for each template.
        let numbers = format!("{}= ", "1 ".repeat(16)).repeat(60);
        assert_eq!(tried(&numbers), (0, 0, 0));
        let mut worst = format!("{}= ", "x+ ".repeat(16)).repeat(40);
        worst.truncate(2000);
        assert_eq!(tried(&worst).2, TRIES_MAX);
        let (equations, formulas, tries) = tried("solve 2x + 3 = 7 and plot x^2 from 0 to 1");
        assert_eq!((equations, formulas), (1, 2));
        assert!(tries < 20, "{tries}");
    }
}
