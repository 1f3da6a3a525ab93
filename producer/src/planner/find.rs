//! What a prompt holds that has a form of its own, but formulas (`maths`): numbers, intervals, points, matrices, lists, edges.

use std::borrow::Cow;
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
    /// As JSON: whole and plain numbers as such, `2π` as a text if that is allowed, and what is no number that can
    /// be shown, which the template refuses.
    pub fn json(&self, texts: bool) -> Value {
        if !self.value.is_finite() || texts && self.text.parse::<f64>().is_err() {
            json!(self.text)
        } else {
            formula::number(self.value)
        }
    }
}

const NUM: &str = r"[-−+]?(?:(?:\d+(?:\.\d*)?|\.\d+)e[-+]?\d+\b|(?:\d|\.\d|π|√|pi\b|sqrt|tau\b|\be\b)(?:\d|\.\d|π|√|pi\b|°|/|\*|\^|\(|\)|²)*)";
/// A number where no list can stand: what goes on after a comma is a part of it, `2,000`.
const ONE: &str = r"NUM(?:[,_'’]\d+|[×·⋅]NUM)*";

fn regex(pattern: &str) -> Option<Regex> {
    Regex::new(&pattern.replace("ONE", ONE).replace("NUM", NUM)).ok()
}

macro_rules! patterns {
    ($($name:ident = $pattern:expr;)+) => {
        $(static $name: LazyLock<Option<Regex>> = LazyLock::new(|| regex($pattern));)+
    };
}

patterns! {
    FROM_TO = r"\b(?:from|between)\s+(?:[a-z]\s*=\s*)?(ONE)\s+(?:to|and|until|up to)\s+(?:[a-z]\s*=\s*)?(ONE)";
    BRACKETS = r"\[\s*(NUM)\s*[,;]\s*(NUM)\s*\]";
    SPACED = r"\[\s*(ONE)\s*[,;]\s+(ONE)\s*\]";
    TO = r"(?:^|\s)(ONE)\s+(?:to|until|up to)\s+(ONE)(?:$|[\s,;.])";
    DOTS = r"(ONE)\s*(?:\.\.+|…)\s*(ONE)";
    BOUNDS = r"(ONE)\s*(≤|<=|<)\s*[a-zθ]\s*(≤|<=|<)\s*(ONE)";
    STRETCH = r"([\[(])\s*(NUM)\s*[,;]\s*(NUM)\s*([\])])";
    AT = r"\b(?:at|around|near|about|centred at|centered at|through|point)\s+(?:the\s+point\s+)?(?:[a-z]\s*=\s*)?(ONE)";
    APPROACHES = r"\b(?:[a-z]\s*(?:→|->)|[a-z]\s+(?:tends|goes|approaches)(?:\s+to)?|approaches|tends to)\s*(ONE|∞|infinity)";
    ANGLE_OF = r"\b(?:sine?|cos(?:ine)?|tan(?:gent)?)\s+of\s+(?:(?:the|an)\s+angle\s+(?:of\s+)?)?(NUM)\s*(?:degrees?\b|deg\b|radians?\b|rad\b)?(?:\s+(?:and|on|in|with|at|for|using)\b|\s*(?:$|[,;.?!]))";
    ASSIGNED = r"\b([a-zθ][a-z0-9_]{0,11})\s*(?:=|:)\s*((?:NUM)(?:\s*(?:,|and)\s*NUM)*)";
    NUMBER = r"NUM";
    SINGLE = r"[-−+]?\d{1,3}(?:,\d{3})+\b|NUM";
    LIST = r"(?:^|[^\w.])((?:NUM)(?:\s*(?:,\s*and|,|;|\s|\band\b)\s*(?:NUM))+)";
    POINT = r"[(⟨<]\s*(NUM)\s*[,|]\s*(NUM)(?:\s*[,|]\s*(NUM))?\s*[)⟩>]";
    MATRIX = r"\[\s*\[[^\[\]]*\](?:\s*,\s*\[[^\[\]]*\])*\s*\]";
    ROWS = r"[\[(]\s*((?:NUM)(?:[\s,]+NUM)*(?:\s*;\s*(?:NUM)(?:[\s,]+NUM)*)+)\s*[\])]";
    EDGE = r"(?:^|[\s,;(>→–-])([a-z0-9]{1,12})\s*(?:--|-|–|—|->|→)\s*([a-z0-9]{1,12})(?:\s*(?::|=|\()\s*(\d+(?:\.\d+)?)\)?)?";
    PAIR = r#"([a-z][a-z0-9 ]{0,40}?)\s*(?:=|:|\s)\s*(-?\d+(?:\.\d+)?)\s*(?:%)?(?:$|[\s,;.])"#;
    QUOTED = r#"["“”„]([^"“”\n]{1,300})["“”]"#;
    DEGREES = r"(-?\d+(?:\.\d+)?)\s*(?:°|degrees?\b|deg\b)";
    FENCE = r"(?s)```([a-z0-9+#]*)[ \t]*\n(.*?)```";
    LAYERS = r"\b(\d{1,4}(?:\s*(?:-|–|→|x|×|->)\s*\d{1,4})+)\b";
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
    let text = ungrouped(text);
    let value = formula::parse(&text, &[]).ok()?.eval(&[]);
    value.is_finite().then(|| Num {
        text: text.replace('−', "-"),
        value,
    })
}

/// `2000` for `2,000` and `2_000`.
fn ungrouped(text: &str) -> Cow<'_, str> {
    const SEPARATORS: [char; 4] = [',', '_', '\'', '’'];
    let digits = |part: &str| part.bytes().all(|c| c.is_ascii_digit());
    let (whole, _) = text.split_once('.').unwrap_or((text, ""));
    let mut groups = whole.trim_start_matches(['-', '−']).split(SEPARATORS);
    let first = groups.next().unwrap_or_default();
    let grouped = matches!(first.len(), 1..=3) && digits(first);
    if grouped && groups.all(|group| group.len() == 3 && digits(group)) {
        return text.replace(SEPARATORS, "").into();
    }
    text.into()
}

fn group(found: &Captures<'_>, n: usize) -> Option<Num> {
    number(found.get(n)?.as_str())
}

/// What stands where one number is wanted: if it is none (`1,5`, `1e400`), what is written, for the template to refuse.
fn one(found: &Captures<'_>, n: usize) -> Option<Num> {
    let text = found.get(n)?.as_str();
    Some(number(text).unwrap_or_else(|| Num {
        text: text.to_owned(),
        value: f64::NAN,
    }))
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
    first_of(&[&FROM_TO, &BOUNDS, &BRACKETS, &SPACED, &DOTS, &TO], text)
}

/// `from 0 to 10`, `-1..1`, `0 to 10`: an interval that is not written as a set.
pub(super) fn reach(text: &str) -> Option<Found<[Num; 2]>> {
    first_of(&[&FROM_TO, &DOTS, &TO], text)
}

fn first_of(patterns: &[&'static LazyLock<Option<Regex>>], text: &str) -> Option<Found<[Num; 2]>> {
    patterns.iter().find_map(|regex| {
        all(regex, text).find_map(|found| {
            let last = found.len() - 1;
            let value = [one(&found, 1)?, one(&found, last)?];
            Some(Found {
                at: whole(&found),
                value,
            })
        })
    })
}

/// A stretch of the number line.
pub(super) struct Stretch {
    pub ends: [Num; 2],
    /// Whether each end is left out.
    pub open: [bool; 2],
}

/// `[1, 4)`, `1 < x ≤ 4`. `named`: whether the prompt calls them intervals; `(1, 4)` may else be a point, and
/// `[1, 4]` what is to be seen.
pub(super) fn stretches(text: &str, named: bool) -> Vec<Found<Stretch>> {
    let brackets = all(&STRETCH, text).filter_map(|found| {
        let open = [&found[1] == "(", &found[4] == ")"];
        let ends = [group(&found, 2)?, group(&found, 3)?];
        (named || open[0] != open[1]).then(|| Found {
            at: whole(&found),
            value: Stretch { ends, open },
        })
    });
    let bounds = all(&BOUNDS, text).filter_map(|found| {
        let open = [&found[2] == "<", &found[3] == "<"];
        Some(Found {
            at: whole(&found),
            value: Stretch {
                ends: [one(&found, 1)?, one(&found, 4)?],
                open,
            },
        })
    });
    brackets.chain(bounds).collect()
}

/// `the sine of 3π/4`: where the angle is that a function is said to be of.
pub(super) fn angle_of(text: &str) -> Option<Found<Num>> {
    all(&ANGLE_OF, text).find_map(|found| {
        let angle = found.get(1)?;
        Some(Found {
            at: angle.range(),
            value: number(angle.as_str().trim_end_matches('°'))?,
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
                _ => one(&found, 1)?,
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
    numbers_by(&NUMBER, text)
}

/// All numbers, where they are no list: `1,024` is one.
pub(super) fn singles(text: &str) -> Vec<Found<Num>> {
    numbers_by(&SINGLE, text)
}

fn numbers_by(regex: &'static LazyLock<Option<Regex>>, text: &str) -> Vec<Found<Num>> {
    all(regex, text)
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
