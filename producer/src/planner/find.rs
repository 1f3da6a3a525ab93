//! What a prompt holds that has a form of its own, but formulas (`maths`): numbers, intervals, points, matrices, lists, edges.

use std::ops::Range;
use std::sync::LazyLock;

use regex::{Captures, Regex};
use serde_json::{Value, json};

use super::formula;

/// Something found, and where.
#[derive(Debug, Clone)]
pub(super) struct Found<T> {
    pub at: Range<usize>,
    pub value: T,
}

/// A number: as it was written, and its worth.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Num {
    pub text: String,
    pub value: f64,
}

impl Num {
    /// As JSON: whole and plain numbers as such, `2π` as a text if that is allowed.
    pub fn json(&self, texts: bool) -> Value {
        if texts && self.text.parse::<f64>().is_err() {
            json!(self.text)
        } else {
            formula::number(self.value)
        }
    }
}

const NUM: &str =
    r"[-−+]?(?:\d|\.\d|π|√|pi\b|sqrt|tau\b|\be\b)(?:\d|\.\d|π|√|pi\b|°|/|\*|\^|\(|\)|²)*";

fn regex(pattern: &str) -> Option<Regex> {
    Regex::new(&pattern.replace("NUM", NUM)).ok()
}

macro_rules! patterns {
    ($($name:ident = $pattern:expr;)+) => {
        $(static $name: LazyLock<Option<Regex>> = LazyLock::new(|| regex($pattern));)+
    };
}

patterns! {
    FROM_TO = r"\b(?:from|between)\s+(?:[a-z]\s*=\s*)?(NUM)\s+(?:to|and|until|up to)\s+(?:[a-z]\s*=\s*)?(NUM)";
    BRACKETS = r"\[\s*(NUM)\s*[,;]\s*(NUM)\s*\]";
    TO = r"(?:^|\s)(NUM)\s+(?:to|until|up to)\s+(NUM)(?:$|[\s,;.])";
    DOTS = r"(NUM)\s*(?:\.\.+|…)\s*(NUM)";
    BOUNDS = r"(NUM)\s*(?:≤|<=|<)\s*[a-zθ]\s*(?:≤|<=|<)\s*(NUM)";
    AT = r"\b(?:at|around|near|about|centred at|centered at|through|point)\s+(?:the\s+point\s+)?(?:[a-z]\s*=\s*)?(NUM)";
    APPROACHES = r"\b(?:[a-z]\s*(?:→|->)|[a-z]\s+(?:tends|goes|approaches)(?:\s+to)?|approaches|tends to)\s*(NUM|∞|infinity)";
    ASSIGNED = r"\b([a-zθ][a-z0-9_]{0,11})\s*(?:=|:)\s*((?:NUM)(?:\s*(?:,|and)\s*NUM)*)";
    NUMBER = r"NUM";
    LIST = r"(?:^|[^\w.])((?:NUM)(?:\s*(?:,\s*and|,|;|\s|\band\b)\s*(?:NUM))+)";
    POINT = r"[(⟨<]\s*(NUM)\s*[,|]\s*(NUM)(?:\s*[,|]\s*(NUM))?\s*[)⟩>]";
    MATRIX = r"\[\s*\[[^\[\]]*\](?:\s*,\s*\[[^\[\]]*\])*\s*\]";
    ROWS = r"[\[(]\s*((?:NUM)(?:[\s,]+NUM)*(?:\s*;\s*(?:NUM)(?:[\s,]+NUM)*)+)\s*[\])]";
    EDGE = r"(?:^|[\s,;(>→–-])([a-z0-9]{1,12})\s*(?:--|-|–|—|->|→)\s*([a-z0-9]{1,12})(?:\s*(?::|=|\()\s*(\d+(?:\.\d+)?)\)?)?";
    PAIR = r#"([a-z][a-z0-9 ]{0,40}?)\s*(?:=|:|\s)\s*(-?\d+(?:\.\d+)?)\s*(?:%)?(?:$|[\s,;.])"#;
    QUOTED = r#"["“”„]([^"“”\n]{1,300})["“”]"#;
    DEGREES = r"(-?\d+(?:\.\d+)?)\s*(?:°|degrees?\b|deg\b)";
    FENCE = r"(?s)```([a-z0-9+#]*)[ \t]*\n(.*?)```";
    LAYERS = r"\b(\d{1,2}(?:\s*(?:-|–|→|x|×|->)\s*\d{1,2})+)\b";
}

/// Reads a number as people write it.
pub(super) fn number(text: &str) -> Option<Num> {
    let text = text
        .trim()
        .trim_end_matches(['.', '*', '/', '^', '('])
        .trim_start_matches('+');
    let text = match (text.matches('(').count(), text.matches(')').count()) {
        (open, close) if close > open => text.trim_end_matches(')'),
        _ => text,
    };
    let value = formula::parse(text, &[]).ok()?.eval(&[]);
    value.is_finite().then(|| Num {
        text: text.replace('−', "-"),
        value,
    })
}

fn group(found: &Captures<'_>, n: usize) -> Option<Num> {
    number(found.get(n)?.as_str())
}

fn whole(found: &Captures<'_>) -> Range<usize> {
    found.get(0).map_or(0..0, |m| m.range())
}

fn all<'t>(
    regex: &'static LazyLock<Option<Regex>>,
    text: &'t str,
) -> impl Iterator<Item = Captures<'t>> {
    // A prompt has at most 2,000 characters; this is for those that are nothing but a list.
    regex
        .iter()
        .flat_map(move |regex| regex.captures_iter(text).take(200))
}

/// `from 0 to 2π`, `[0, 5]`, `-1..1`, `0 ≤ x ≤ 3`, `0 to 2π`.
pub(super) fn interval(text: &str) -> Option<Found<[Num; 2]>> {
    [&FROM_TO, &BOUNDS, &BRACKETS, &DOTS, &TO]
        .into_iter()
        .find_map(|regex| {
            all(regex, text).find_map(|found| {
                let value = [group(&found, 1)?, group(&found, 2)?];
                Some(Found {
                    at: whole(&found),
                    value,
                })
            })
        })
}

/// `at 1`, `at x = 2`, `x → 0`.
pub(super) fn place(text: &str) -> Option<Found<Num>> {
    let of = |regex| {
        all(regex, text).find_map(|found| {
            let value = match &found[1] {
                "∞" | "infinity" => Num {
                    text: "inf".into(),
                    value: f64::INFINITY,
                },
                _ => group(&found, 1)?,
            };
            Some(Found {
                at: whole(&found),
                value,
            })
        })
    };
    of(&APPROACHES).or_else(|| of(&AT))
}

/// `n = 4, 8, 16`, `a=3`.
pub(super) fn assigned(text: &str) -> Vec<(String, Found<Vec<Num>>)> {
    all(&ASSIGNED, text)
        .filter_map(|found| {
            let value = numbers_in(&found[2]);
            let at = whole(&found);
            (!value.is_empty()).then(|| (found[1].to_owned(), Found { at, value }))
        })
        .collect()
}

fn numbers_in(text: &str) -> Vec<Num> {
    all(&NUMBER, text)
        .filter_map(|found| number(&found[0]))
        .collect()
}

/// All numbers.
pub(super) fn numbers(text: &str) -> Vec<Found<Num>> {
    all(&NUMBER, text)
        .filter_map(|found| {
            let at = whole(&found);
            // The 2 of `log2` is none.
            let before = text[..at.start].chars().next_back();
            let glued = before.is_some_and(|c| c.is_alphanumeric() || c == '_');
            let value = number(&found[0])?;
            (!glued).then_some(Found { at, value })
        })
        .collect()
}

/// The longest list of numbers.
pub(super) fn list(text: &str) -> Option<Found<Vec<Num>>> {
    all(&LIST, text)
        .map(|found| {
            let at = found.get(1).map_or(0..0, |m| m.range());
            Found {
                value: numbers_in(&text[at.clone()]),
                at,
            }
        })
        .filter(|found| found.value.len() >= 2)
        .max_by_key(|found| found.value.len())
}

/// `(2, 1)`, `(1, 2, 3)`.
pub(super) fn points(text: &str) -> Vec<Found<Vec<Num>>> {
    all(&POINT, text)
        .filter_map(|found| {
            let mut value = vec![group(&found, 1)?, group(&found, 2)?];
            value.extend(group(&found, 3));
            Some(Found {
                at: whole(&found),
                value,
            })
        })
        .collect()
}

/// `[[1, 2], [3, 4]]`, `[1 2; 3 4]`.
pub(super) fn matrices(text: &str) -> Vec<Found<Vec<Vec<Num>>>> {
    let full = |rows: &Vec<Vec<Num>>| {
        let width = rows.first().map_or(0, Vec::len);
        width > 0 && rows.iter().all(|row| row.len() == width)
    };
    let nested = all(&MATRIX, text).map(|found| {
        let inner = found[0].trim_matches(['[', ']', ' ']);
        let rows = inner
            .split(']')
            .map(numbers_in)
            .filter(|row| !row.is_empty());
        Found {
            at: whole(&found),
            value: rows.collect(),
        }
    });
    let rows = all(&ROWS, text).map(|found| Found {
        at: whole(&found),
        value: found[1].split(';').map(numbers_in).collect(),
    });
    nested
        .chain(rows)
        .filter(|found| full(&found.value))
        .collect()
}

/// An edge: from, to, and a weight if there is one.
pub(super) type Edge = (String, String, Option<f64>);

/// `A-B:4, B-C`.
pub(super) fn edges(text: &str) -> Vec<Found<Edge>> {
    let mut edges = Vec::new();
    let Some(regex) = EDGE.as_ref() else {
        return edges;
    };
    let mut at = 0;
    // `A-B-C` shares its middle: look again from the second name on.
    while let Some(found) = regex.captures_at(text, at) {
        let (Some(a), Some(b)) = (found.get(1), found.get(2)) else {
            break;
        };
        let weight = found.get(3).and_then(|w| w.as_str().parse().ok());
        let is_number = |name: &str| name.parse::<f64>().is_ok();
        let short = |name: &str| name.len() <= 2;
        // `x-y` in running text is a hyphen.
        if (short(a.as_str()) && short(b.as_str()) && !is_number(a.as_str())) || weight.is_some() {
            edges.push(Found {
                at: a.start()..whole(&found).end,
                value: (a.as_str().to_uppercase(), b.as_str().to_uppercase(), weight),
            });
        }
        at = if weight.is_none() {
            b.start().saturating_sub(1).max(at + 1)
        } else {
            whole(&found).end
        };
        while at < text.len() && !text.is_char_boundary(at) {
            at += 1;
        }
        if edges.len() > 100 || at >= text.len() {
            break;
        }
    }
    edges
}

/// `A = 3, B = 7`.
pub(super) fn pairs(text: &str, written: &str) -> Vec<Found<(String, f64)>> {
    all(&PAIR, text)
        .filter_map(|found| {
            let label = found.get(1)?;
            let mut name = written.get(label.range())?.trim();
            // `bar chart of A = 3`: the label is what follows the last of such words.
            for word in [" of ", " with ", " for ", " chart ", " and ", " where "] {
                if let Some((_, after)) = name.rsplit_once(word) {
                    name = after;
                }
            }
            for word in ["and ", "of ", "with ", "for "] {
                name = name.strip_prefix(word).unwrap_or(name);
            }
            let value = found[2].parse().ok()?;
            Some(Found {
                at: whole(&found),
                value: (name.trim().to_owned(), value),
            })
        })
        .filter(|found| !found.value.0.is_empty())
        .collect()
}

/// Quoted texts.
pub(super) fn quoted(text: &str, written: &str) -> Vec<Found<String>> {
    all(&QUOTED, text)
        .filter_map(|found| {
            let inner = written.get(found.get(1)?.range())?;
            Some(Found {
                at: whole(&found),
                value: inner.to_owned(),
            })
        })
        .collect()
}

/// `60°`, `45 degrees`.
pub(super) fn degrees(text: &str) -> Vec<Found<Num>> {
    all(&DEGREES, text)
        .filter_map(|found| {
            Some(Found {
                at: whole(&found),
                value: group(&found, 1)?,
            })
        })
        .collect()
}

/// A fenced block: its language and text.
pub(super) fn fence(text: &str, written: &str) -> Option<Found<(String, String)>> {
    all(&FENCE, text).find_map(|found| {
        let body = written.get(found.get(2)?.range())?;
        Some(Found {
            at: whole(&found),
            value: (found[1].to_owned(), body.trim_end().to_owned()),
        })
    })
}

/// `3-4-2`: sizes of layers.
pub(super) fn layers(text: &str) -> Option<Found<Vec<Num>>> {
    let found = all(&LAYERS, text).next()?;
    let value = found[1]
        .split(|c: char| !c.is_ascii_digit())
        .filter_map(number)
        .collect();
    Some(Found {
        at: whole(&found),
        value,
    })
}
