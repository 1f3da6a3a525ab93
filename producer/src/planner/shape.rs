//! Parameters of a form of their own: points, matrices, edges, tables, lists of words.
#![allow(
    clippy::single_range_in_vec_init,
    reason = "where something stands is a list of ranges, also of one"
)]

use std::ops::Range;

use serde_json::{Map, Value, json};

use super::fill::{Slot, Source};
use super::find::{self, Found, Num};
use super::text::{as_title, capital};

/// How much `the sine of 60°` speaks for the circle: more than the functions' names do for their graphs.
pub(super) const OF_AN_ANGLE: f64 = 6.0;
/// How much two fractions that are compared speak for bars: more than `compare` does for a table.
const COMPARED: f64 = 5.5;

/// Fills by one of the ways that the table names.
pub(super) fn by(source: &Source<'_>, way: &str, arg: &str, schema: &Value) -> Option<Slot> {
    let lower = source.text.lower.as_str();
    let raw = source.text.raw.as_str();
    let body = source.text.body.as_str();
    let places = |found: Vec<Range<usize>>| found;
    match way {
        "matrix" => {
            let n: usize = arg.parse().unwrap_or(0);
            let found = find::matrices(lower).into_iter().nth(n)?;
            let texts = schema["items"]["items"]["type"].as_array().is_some();
            let rows: Vec<Vec<Value>> = found
                .value
                .iter()
                .map(|row| row.iter().map(|n| n.json(texts)).collect())
                .collect();
            Source::slot_of(json!(rows), vec![found.at], 1.5)
        }
        "points" => {
            let found = find::points(lower);
            let values: Vec<Value> = found
                .iter()
                .map(|point| point_of(&point.value, &schema["items"]))
                .collect();
            let at = places(found.iter().map(|f| f.at.clone()).collect());
            (!values.is_empty()).then(|| Source::slot_of(json!(values), at, 0.8))?
        }
        "edges" => edges(lower, schema),
        "nodes" => {
            let mut names: Vec<String> = Vec::new();
            let found = find::edges(lower);
            for edge in &found {
                for name in [&edge.value.0, &edge.value.1] {
                    if !names.contains(name) {
                        names.push(name.clone());
                    }
                }
            }
            let at = found.into_iter().map(|f| f.at).collect();
            (names.len() >= 2).then(|| Source::slot_of(json!(names), at, 0.0))?
        }
        // A node: `from A`, `start at B`.
        "node" => {
            let edges = find::edges(lower);
            let known: Vec<&str> = edges
                .iter()
                .flat_map(|e| [e.value.0.as_str(), e.value.1.as_str()])
                .collect();
            let words = source.text.words();
            let found = words.windows(2).find_map(|pair| {
                let before = &lower[pair[0].at.clone()];
                let name = lower[pair[1].at.clone()].to_uppercase();
                (arg.split(',').any(|word| word == before) && known.contains(&name.as_str()))
                    .then(|| (name, pair[1].at.clone()))
            })?;
            Source::slot_of(json!(found.0), vec![found.1], 0.3)
        }
        "pairs" => {
            let found = find::pairs(lower, raw);
            let item = &schema["items"];
            let values: Vec<Value> = found
                .iter()
                .map(|f| labelled(&f.value.0, f.value.1, item))
                .collect();
            let at = found.iter().map(|f| f.at.clone()).collect();
            (values.len() >= 2).then(|| Source::slot_of(json!(values), at, 1.5))?
        }
        "layers" => {
            let found = find::layers(lower)?;
            let values: Vec<Value> = found.value.iter().map(|n| n.json(false)).collect();
            Source::slot_of(json!(values), vec![found.at], 1.5)
        }
        "items" => {
            let (at, items) = items(body)?;
            let items: Vec<String> = items.into_iter().take(12).collect();
            (items.len() >= 2).then(|| Source::slot_of(json!(items), vec![at], 0.8))?
        }
        "heading" => {
            let (before, _) = body.split_once(':')?;
            let about = ["about ", "on ", "of ", "for "]
                .iter()
                .find_map(|word| before.rsplit_once(word).map(|(_, a)| a));
            let heading = about.map_or_else(|| as_title(before), |about| capital(about.trim()));
            (!heading.is_empty())
                .then(|| Source::slot_of(json!(heading), vec![0..before.len()], 0.0))?
        }
        "versus" => versus(source, arg),
        "subject" => Source::slot_of(json!(source.subject()), vec![], 0.0),
        "quoted" => {
            let n: usize = arg.parse().unwrap_or(0);
            let found = find::quoted(lower, raw).into_iter().nth(n)?;
            Source::slot_of(json!(found.value), vec![found.at], 0.5)
        }
        // What follows a word, to the end of its clause: `by Ada Byron`.
        "after" => {
            let (start, word) = arg
                .split(',')
                .filter_map(|word| Some((lower.rfind(&format!(" {word} "))?, word)))
                .max()?;
            let from = start + word.len() + 2;
            let rest = body.get(from..)?;
            let end = rest.find([',', ';', '\n', '"', '.']).unwrap_or(rest.len());
            let text = rest[..end].trim();
            (!text.is_empty()).then(|| Source::slot_of(json!(text), vec![from..from + end], 0.2))?
        }
        // All after a colon or in quotes; else after the last of some words.
        "rest" => {
            let quoted = find::quoted(lower, raw).into_iter().next();
            if let Some(found) = quoted {
                return Source::slot_of(json!(found.value), vec![found.at], 0.5);
            }
            let after_colon = body.find(':').map(|at| at + 1);
            let after_word = || {
                let ends = arg.split(',').filter(|word| !word.is_empty());
                ends.filter_map(|word| lower.rfind(word).map(|at| at + word.len()))
                    .max()
            };
            let from = after_colon.or_else(after_word)?;
            let text = body.get(from..)?.trim().trim_end_matches(['.', '?']);
            (!text.is_empty()).then(|| Source::slot_of(json!(text), vec![from..body.len()], 0.3))?
        }
        "fractions" => {
            let found = fractions(lower);
            let values: Vec<Value> = found
                .iter()
                .map(|f| json!({"numerator": f.value.0, "denominator": f.value.1}))
                .collect();
            let at = found.iter().map(|f| f.at.clone()).collect();
            (!values.is_empty()).then(|| Source::slot_of(json!(values), at, 0.8))?
        }
        "sign" => {
            let found = fractions(lower);
            let [first, second, ..] = found.as_slice() else {
                return None;
            };
            let at = first.at.end..second.at.start;
            let between = lower.get(at.clone())?.trim();
            let (sign, value) = arg.split(',').find_map(|pair| {
                let (sign, value) = pair.split_once('=')?;
                between.contains(sign).then_some((sign, value))
            })?;
            // Nothing else between them: a sum of two fractions.
            let bonus = if between == sign { 2.5 } else { 0.8 };
            Source::slot_of(json!(value), vec![at], bonus)
        }
        // `compare 3/4 and 2/3`
        "compared" => {
            let found = fractions(lower);
            let [first, second, ..] = found.as_slice() else {
                return None;
            };
            let between = lower.get(first.at.end..second.at.start)?.trim();
            let joined = matches!(between, "and" | "or" | "with" | "to" | "vs" | "vs." | ",");
            let said = arg.split(',').find_map(|word| source.phrase(word))?;
            joined.then(|| Source::slot_of(json!("compare"), vec![said], COMPARED))?
        }
        // `7 in 1 3 4`, `for 5`: the number that is looked for.
        "target" => {
            let words = ["for ", "search ", "find "];
            let numbers = find::numbers(lower);
            let found = numbers.iter().find(|n| {
                words.iter().any(|word| lower[..n.at.start].ends_with(word))
                    || lower[n.at.end..].trim_start().starts_with("in ")
            })?;
            Source::slot_of(found.value.json(false), vec![found.at.clone()], 0.3)
        }
        // Numbers after `in`, `on`, `of`, `array`: without the one that is looked for.
        "array" => {
            let found = find::list(lower)?;
            let values: Vec<Value> = found.value.iter().map(|n| n.json(false)).collect();
            Source::slot_of(json!(values), vec![found.at], 0.5)
        }
        // Numbers in the order of the words `legs`, `sides`: `5 and 12`, `5, 6, 7`.
        "sides" => {
            let n: usize = arg.parse().unwrap_or(0);
            let found = find::list(lower)?;
            let value = found
                .value
                .get(n)?
                .json(schema["type"].as_array().is_some());
            Source::slot_of(value, vec![found.at], 0.3)
        }
        "code" => {
            let found = find::fence(lower, raw)?;
            let value = if arg == "language" {
                &found.value.0
            } else {
                &found.value.1
            };
            (!value.is_empty())
                .then(|| Source::slot_of(json!(value), vec![found.at.clone()], 4.0))?
        }
        "latex" => {
            let (from, to) = delimited(raw)?;
            Source::slot_of(json!(raw[from..to].trim()), vec![from..to], 1.0)
        }
        "whole" => Source::slot_of(json!(as_title(body)), vec![], 0.0),
        "present" => {
            let at = arg.split(',').find_map(|pair| {
                let (words, value) = pair.split_once('=')?;
                Some((source.phrase(words)?, value))
            })?;
            Source::slot_of(json!(at.1), vec![at.0], 0.5)
        }
        "complex" => complex(lower),
        _ => lists(source, way, arg),
    }
}

/// Lists of objects, each in a form that one template has.
fn lists(source: &Source<'_>, way: &str, arg: &str) -> Option<Slot> {
    let lower = source.text.lower.as_str();
    let body = source.text.body.as_str();
    match way {
        // `client → API → DB`
        "chain" => {
            let from = body.find(':').map_or(0, |at| at + 1);
            let rest = body.get(from..)?;
            let rest = rest.replace("->", "→").replace("=>", "→");
            if !rest.contains('→') {
                return None;
            }
            let mut names: Vec<String> = Vec::new();
            for (n, part) in rest.split(['→', ',', ';', '\n']).enumerate() {
                let mut name = part.trim().trim_end_matches('.');
                if n == 0 && from == 0 {
                    name = after_last(
                        name,
                        &[" flow ", " diagram ", " of ", " from ", " pipeline "],
                    );
                }
                if !name.is_empty() && !names.iter().any(|known| known == name) {
                    names.push(name.to_owned());
                }
            }
            (names.len() >= 2)
                .then(|| Source::slot_of(json!(names), vec![from..body.len()], 1.5))?
        }
        "chain_edges" => {
            let from = body.find(':').map(|at| at + 1)?;
            let rest = body.get(from..)?.replace("->", "→").replace("=>", "→");
            let mut edges = Vec::new();
            for path in rest.split([',', ';', '\n']) {
                let names: Vec<&str> = path
                    .split('→')
                    .map(|name| name.trim().trim_end_matches('.'))
                    .collect();
                for pair in names.windows(2) {
                    edges.push(json!({"from": pair[0], "to": pair[1]}));
                }
            }
            (!edges.is_empty())
                .then(|| Source::slot_of(json!(edges), vec![from..body.len()], 0.0))?
        }
        // `628 Brahmagupta; 1202 Fibonacci`
        "events" => {
            let from = body.find(':').map_or(0, |at| at + 1);
            let rest = body.get(from..)?;
            let events: Vec<Value> = rest
                .split([';', ',', '\n'])
                .filter_map(|event| {
                    let (when, what) = event.trim().split_once([' ', ':'])?;
                    let is_date = when.chars().next()?.is_ascii_digit();
                    is_date.then(|| json!({"when": when.trim_end_matches(':'), "what": what.trim().trim_end_matches('.')}))
                })
                .collect();
            (events.len() >= 2)
                .then(|| Source::slot_of(json!(events), vec![from..body.len()], 1.5))?
        }
        // `3 red 2 blue`
        "urn" => {
            let words = source.text.words();
            let mut urn = Vec::new();
            let mut at = Vec::new();
            for pair in words.windows(2) {
                let name = &lower[pair[1].at.clone()];
                if let Ok(count @ 1..=100) = lower[pair[0].at.clone()].parse::<u32>()
                    && name.len() > 2
                    && name.chars().all(char::is_alphabetic)
                    && !matches!(
                        name,
                        "draws" | "draw" | "times" | "stages" | "coins" | "dice" | "and"
                    )
                {
                    urn.push(json!({"outcome": name, "count": count}));
                    at.push(pair[0].at.start..pair[1].at.end);
                }
            }
            (urn.len() >= 2).then(|| Source::slot_of(json!(urn), at, 1.0))?
        }
        "inserts" => {
            let (values, at): (Vec<Value>, _) = match find::list(lower) {
                Some(found) => {
                    let values = found.value.iter().map(|n| n.json(false));
                    (values.collect(), found.at)
                }
                None => {
                    let from = ["words ", "word ", " of ", " for ", ": "]
                        .iter()
                        .find_map(|mark| lower.find(mark).map(|at| at + mark.len()))?;
                    let rest = body.get(from..)?;
                    let rest = after_last(rest, &["the word ", "words "]);
                    let names = rest
                        .split([',', ' '])
                        .map(|word| word.trim_matches(['.', '"', '\'']));
                    let names: Vec<&str> = names
                        .filter(|word| !word.is_empty() && *word != "and")
                        .collect();
                    if names.len() > 12 {
                        return None;
                    }
                    (
                        names.iter().map(|word| json!(word)).collect(),
                        from..body.len(),
                    )
                }
            };
            let op = |value: &Value| json!({"op": "insert", "value": value});
            let list: Vec<Value> = values.iter().take(12).map(op).collect();
            (!list.is_empty()).then(|| Source::slot_of(json!(list), vec![at], 0.5))?
        }
        "angles" => {
            // No other template shows a function of one angle.
            if let Some(found) = find::angle_of(lower) {
                let value = json!([found.value.json(true)]);
                return Source::slot_of(value, vec![found.at], OF_AN_ANGLE);
            }
            let degrees = find::degrees(lower);
            let found: Vec<Found<Num>> = if degrees.is_empty() {
                find::numbers(lower)
            } else {
                degrees
            };
            let values: Vec<Value> = found.iter().map(|n| n.value.json(true)).take(3).collect();
            let at = found.iter().map(|f| f.at.clone()).collect();
            (!values.is_empty()).then(|| Source::slot_of(json!(values), at, 0.5))?
        }
        "radians" => lower
            .contains(['π'])
            .then(|| Source::slot_of(json!("radians"), vec![], 0.0))?,
        // `-3 + 5`: where it starts, and the jumps.
        "sum" => {
            if !stretches(source).is_empty() {
                return None;
            }
            let numbers = find::numbers(lower);
            let first = numbers.first()?;
            let second = numbers.get(1)?;
            let between = lower.get(first.at.end..second.at.start)?.trim();
            // A sign may have been taken for the second number's own.
            let joined = second.at.start > first.at.end
                && (between == "+" || between == "-" || between == "−")
                || lower[second.at.clone()].starts_with(['+', '-', '−']);
            if !joined {
                return None;
            }
            if arg == "start" {
                return Source::slot_of(first.value.json(true), vec![first.at.clone()], 0.3);
            }
            let jumps: Vec<Value> = numbers[1..]
                .iter()
                .map(|n| {
                    let before = lower[..n.at.start].trim_end();
                    let minus = before.ends_with(['-', '−']);
                    if minus {
                        json!(super::formula::number(-n.value.value))
                    } else {
                        n.value.json(true)
                    }
                })
                .collect();
            Source::slot_of(
                json!(jumps),
                numbers[1..].iter().map(|n| n.at.clone()).collect(),
                0.3,
            )
        }
        "marks" => {
            let numbers = find::list(lower)?;
            let stretches = !stretches(source).is_empty();
            if stretches || find::interval(lower).is_some() || lower.contains('[') {
                return None;
            }
            let points: Vec<Value> = numbers
                .value
                .iter()
                .map(|n| json!({"at": n.json(true)}))
                .collect();
            Source::slot_of(json!(points), vec![numbers.at], 0.3)
        }
        "stretches" => {
            let found = stretches(source);
            let values: Vec<Value> = found.iter().map(|f| stretch_of(&f.value)).collect();
            let at = found.into_iter().map(|f| f.at).collect();
            (!values.is_empty()).then(|| Source::slot_of(json!(values), at, 0.5))?
        }
        // What is to be seen of the number line.
        "range" => {
            let found = if stretches(source).is_empty() {
                find::interval(lower)?
            } else {
                find::reach(lower)?
            };
            let [from, to] = &found.value;
            Source::slot_of(json!([from.json(true), to.json(true)]), vec![found.at], 0.3)
        }
        "logic" => logic(source),
        "ordinal" => {
            const NAMES: &[(&str, u32)] = &[
                ("square", 2),
                ("cube", 3),
                ("third", 3),
                ("fourth", 4),
                ("fifth", 5),
                ("sixth", 6),
                ("seventh", 7),
                ("eighth", 8),
                ("5th", 5),
                ("3rd", 3),
                ("4th", 4),
                ("6th", 6),
                ("7th", 7),
                ("8th", 8),
                ("12th", 12),
            ];
            let (name, n) = NAMES
                .iter()
                .find(|(name, _)| source.phrase(name).is_some())?;
            Source::slot_of(json!(n), vec![source.phrase(name)?], 0.3)
        }
        "one" => source
            .phrase("unity")
            .or_else(|| source.phrase("roots of 1"))
            .and_then(|at| Source::slot_of(json!(["1"]), vec![at], 0.3)),
        _ => None,
    }
}

fn stretches(source: &Source<'_>) -> Vec<Found<find::Stretch>> {
    let named = source.phrase("interval").is_some();
    find::stretches(&source.text.lower, named)
}

/// A stretch of the number line as its template wants it.
fn stretch_of(stretch: &find::Stretch) -> Value {
    let [from, to] = &stretch.ends;
    let mut value = json!({"from": from.json(true), "to": to.json(true)});
    for (name, open) in ["from_open", "to_open"].into_iter().zip(stretch.open) {
        if open {
            value[name] = json!(true);
        }
    }
    value
}

/// A point in the form that a template wants: a list, or an object with `x` and `y`.
fn point_of(point: &[Num], schema: &Value) -> Value {
    let names = schema["properties"].as_object();
    let texts = |schema: &Value| schema["type"].as_array().is_some();
    match names {
        Some(names) => {
            let fields = ["x", "y", "z"]
                .iter()
                .zip(point)
                .filter(|(name, _)| names.contains_key(**name));
            Value::Object(
                fields
                    .map(|(name, n)| ((*name).to_owned(), n.json(texts(&names[*name]))))
                    .collect(),
            )
        }
        None => json!(
            point
                .iter()
                .map(|n| n.json(texts(&schema["items"])))
                .collect::<Vec<_>>()
        ),
    }
}

fn edges(lower: &str, schema: &Value) -> Option<Slot> {
    let found = find::edges(lower);
    let item = &schema["items"];
    let values: Vec<Value> = found.iter().map(|f| edge_of(&f.value, item)).collect();
    let at = found.iter().map(|f| f.at.clone()).collect();
    if values.is_empty() {
        return None;
    }
    Source::slot_of(json!(values), at, 1.5)
}

/// An edge in the form that a template wants.
fn edge_of((from, to, weight): &find::Edge, schema: &Value) -> Value {
    let whole = |n: f64| super::formula::number(n);
    let Some(fields) = schema["properties"].as_object() else {
        let mut edge = vec![json!(from), json!(to)];
        edge.extend(weight.map(whole));
        return json!(edge);
    };
    let mut edge = Map::new();
    for (names, value) in [
        (["from", "a", "source"], Some(json!(from))),
        (["to", "b", "target"], Some(json!(to))),
        (["weight", "w", "cost"], weight.map(whole)),
    ] {
        let name = names.into_iter().find(|name| fields.contains_key(*name));
        if let (Some(name), Some(value)) = (name, value) {
            edge.insert(name.to_owned(), value);
        }
    }
    Value::Object(edge)
}

/// A name with a number in the form that a template wants.
fn labelled(label: &str, value: f64, schema: &Value) -> Value {
    let number = super::formula::number(value);
    let Some(fields) = schema["properties"].as_object() else {
        return json!([label, number]);
    };
    let name = |names: &[&'static str]| {
        names
            .iter()
            .find(|name| fields.contains_key(**name))
            .copied()
    };
    let mut row = Map::new();
    if let Some(name) = name(&["label", "name", "what", "outcome", "category"]) {
        row.insert(name.into(), json!(label));
    }
    if let Some(name) = name(&["value", "share", "p", "amount", "count"]) {
        row.insert(name.into(), number);
    }
    Value::Object(row)
}

/// What follows a colon, piece by piece; lines with a mark before each.
fn items(body: &str) -> Option<(Range<usize>, Vec<String>)> {
    let clean = |part: &str| {
        let part = part.trim().trim_start_matches(['-', '*', '•', '–']).trim();
        let part = part
            .trim_start_matches(|c: char| c.is_ascii_digit())
            .trim_start_matches(['.', ')'])
            .trim();
        let part = part.strip_prefix("and ").unwrap_or(part);
        capital(part.trim_end_matches(['.', ';', ',']))
    };
    let from = body.find([':', '\n']).map(|at| at + 1)?;
    let rest = body.get(from..)?;
    let separator = [";", "\n", ",", ". "]
        .into_iter()
        .find(|mark| rest.trim().contains(mark))?;
    let items: Vec<String> = rest
        .split(separator)
        .map(clean)
        .filter(|item| !item.is_empty())
        .collect();
    Some((from..body.len(), items))
}

/// `A vs B`: what stands on a side.
fn versus(source: &Source<'_>, side: &str) -> Option<Slot> {
    const MARKS: &[&str] = &[
        " versus ",
        " vs. ",
        " vs ",
        " compared to ",
        " compared with ",
        " against ",
        " or ",
    ];
    let lower = source.text.lower.as_str();
    let body = source.text.body.as_str();
    let between = || {
        let from = lower.find("between ")? + "between ".len();
        let and = from + lower[from..].find(" and ")?;
        Some((from, and, and + " and ".len()))
    };
    let (start, end, next) = MARKS
        .iter()
        .find_map(|mark| lower.find(mark).map(|at| (0, at, at + mark.len())))
        .or_else(between)
        .or_else(|| {
            let from = lower.find("compare ")? + "compare ".len();
            let mark = [" and ", " with ", " to "]
                .into_iter()
                .find(|mark| lower[from..].contains(mark))?;
            let at = from + lower[from..].find(mark)?;
            Some((from, at, at + mark.len()))
        })?;
    let (at, text) = if side == "left" {
        (start..end, body.get(start..end)?)
    } else {
        (next..body.len(), body.get(next..)?)
    };
    let (title, list) = match text.split_once([':', '(']) {
        Some((title, list)) => (title, list.trim_end_matches(')')),
        None => (text.split(['.', '\n']).next().unwrap_or(text), ""),
    };
    let mut title = as_title(title);
    for word in [
        "Compare ",
        "Comparing ",
        "Comparison of ",
        "The difference between ",
        "Difference between ",
    ] {
        title = title.strip_prefix(word).map_or(title.clone(), capital);
    }
    // `TCP vs UDP: reliable / fast`: the sides' items are after the second name.
    let all = body.split_once(':').map_or("", |(_, after)| after);
    let list = match all.split_once('/') {
        Some((left, right)) => {
            if side == "left" {
                left
            } else {
                right
            }
        }
        None => list,
    };
    let items: Vec<String> = list
        .split([',', ';'])
        .map(|item| item.trim().trim_end_matches('.').to_owned())
        .filter(|i| !i.is_empty())
        .take(6)
        .collect();
    let mut value = json!({"title": title});
    if !items.is_empty() {
        value["items"] = json!(items);
    }
    Source::slot_of(value, vec![at], 0.8)
}

/// `1/2`, `3/4`.
fn fractions(lower: &str) -> Vec<Found<(u64, u64)>> {
    let is_part = |c: char| c.is_ascii_digit() || c == '/';
    let mut found = Vec::new();
    for word in lower.split(|c| !is_part(c)) {
        let at = word.as_ptr() as usize - lower.as_ptr() as usize;
        if let Some((top, bottom)) = word.split_once('/')
            && let (Ok(top), Ok(bottom)) = (top.parse(), bottom.parse())
        {
            found.push(Found {
                at: at..at + word.len(),
                value: (top, bottom),
            });
        }
    }
    found.truncate(8);
    found
}

/// `$…$`, `\(…\)`, `\[…\]`.
fn delimited(raw: &str) -> Option<(usize, usize)> {
    [("$$", "$$"), ("$", "$"), (r"\(", r"\)"), (r"\[", r"\]")]
        .into_iter()
        .find_map(|(open, close)| {
            let from = raw.find(open)? + open.len();
            let to = from + raw.get(from..)?.find(close)?;
            (to > from).then_some((from, to))
        })
}

/// `1+i`, `2-3i`, `i`: numbers with an imaginary part, in the form of texts.
fn complex(lower: &str) -> Option<Slot> {
    let is_part =
        |c: char| c.is_ascii_digit() || matches!(c, '+' | '-' | '−' | 'i' | '.' | '(' | ')');
    let mut values = Vec::new();
    let mut at = Vec::new();
    for word in lower.split(|c: char| !(is_part(c) || c.is_alphanumeric())) {
        let text = word.trim_matches(['(', ')', '.']);
        let shape = !text.is_empty() && text.chars().all(is_part);
        let parsed = shape
            .then(|| super::formula::parse(text, &[]).ok())
            .flatten();
        if parsed.is_some() && text.ends_with('i') {
            let start = word.as_ptr() as usize - lower.as_ptr() as usize;
            values.push(text.replace('−', "-"));
            at.push(start..start + word.len());
        }
    }
    (!values.is_empty()).then(|| Source::slot_of(json!(values), at, 1.0))?
}

fn after_last<'a>(text: &'a str, marks: &[&str]) -> &'a str {
    let lower = text.to_ascii_lowercase();
    let cut = marks
        .iter()
        .filter_map(|mark| lower.rfind(mark).map(|at| at + mark.len()))
        .max();
    text[cut.unwrap_or(0)..].trim()
}

/// `NOT (A AND B)`, `p implies q`.
fn logic(source: &Source<'_>) -> Option<Slot> {
    const WORDS: &[&str] = &["and", "or", "not", "xor", "nand", "nor", "implies", "iff"];
    let body = source.text.body.as_str();
    let is_name = |word: &str| word.len() == 1 && word.chars().all(|c| c.is_ascii_alphabetic());
    let known = |word: &str| is_name(word) || WORDS.contains(&word.to_ascii_lowercase().as_str());
    let mut best: Option<Range<usize>> = None;
    let mut open: Option<Range<usize>> = None;
    let close = |open: &mut Option<Range<usize>>, best: &mut Option<Range<usize>>| {
        if let Some(at) = open.take()
            && best.as_ref().is_none_or(|best| at.len() > best.len())
        {
            *best = Some(at);
        }
    };
    for word in body.split_whitespace() {
        let start = word.as_ptr() as usize - body.as_ptr() as usize;
        let mut letters = word
            .split(|c: char| !c.is_ascii_alphabetic())
            .filter(|part| !part.is_empty());
        let operator = word.chars().any(|c| "∧∨¬→⇒↔⇔&|!~⊕".contains(c));
        let fits = letters.clone().all(known) && (letters.next().is_some() || operator);
        // `a` may be an article.
        if fits && !(open.is_none() && word == "a") {
            let from = open.as_ref().map_or(start, |at| at.start);
            open = Some(from..start + word.len());
        } else {
            close(&mut open, &mut best);
        }
    }
    close(&mut open, &mut best);
    let at = best?;
    let text = body[at.clone()].trim_end_matches(['.', '?', ',']);
    let mut words = Vec::new();
    for part in text.split_inclusive(|c: char| !c.is_ascii_alphabetic()) {
        let (word, rest) = match part.find(|c: char| !c.is_ascii_alphabetic()) {
            Some(cut) => part.split_at(cut),
            None => (part, ""),
        };
        words.push(if word.len() > 1 {
            word.to_ascii_uppercase()
        } else {
            word.to_owned()
        });
        words.push(rest.to_owned());
    }
    let has = |c: &str| {
        WORDS.iter().any(|word| {
            c.to_ascii_lowercase()
                .split(|c: char| !c.is_alphabetic())
                .any(|w| w == *word)
        })
    };
    let text = words.concat();
    (has(&text) || text.chars().any(|c| "∧∨¬→⇒↔⇔&|!~⊕".contains(c)))
        .then(|| Source::slot_of(json!(text), vec![at], 1.0))?
}
