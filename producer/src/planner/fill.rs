//! From what was found in a prompt to the parameters of one template.
//!
//! What a parameter takes follows from its schema; the table (`table.json`) says it where that is not enough. Values
//! that the template would refuse are left out: a plan can always be rendered.

use std::collections::HashSet;
use std::ops::Range;

use serde_json::{Map, Value, json};

use super::find::{self, Found, Num};
use super::score::Entry;
use super::text::{Text, as_title, capital, stem, stems};
use super::{maths, shape};
use crate::templates::{self, Template};

/// Where a parameter was found.
#[derive(Debug, Clone)]
pub(super) struct Place {
    pub name: String,
    pub at: Range<usize>,
}

/// A parameter that the template refuses.
#[derive(Debug, Clone)]
pub(super) struct Refused {
    pub name: String,
    pub at: Range<usize>,
    /// Why.
    pub detail: String,
}

/// Parameters, and where they come from.
#[derive(Debug, Clone, Default)]
pub(super) struct Filled {
    pub params: Map<String, Value>,
    pub found: Vec<Place>,
    /// What was found and left out.
    pub refused: Vec<Refused>,
    /// Required parameters that nothing in the prompt says.
    pub missing: Vec<String>,
    /// How much of what was found has a form that speaks for the template.
    pub bonus: f64,
}

/// What fillers look at.
pub(super) struct Source<'a> {
    pub text: &'a Text,
    pub entry: &'a Entry,
}

/// A value, where it was found, and how much it speaks for the template.
pub(super) struct Slot {
    value: Value,
    at: Vec<Range<usize>>,
    bonus: f64,
}

impl Slot {
    fn new<T>(value: Value, found: &Found<T>, bonus: f64) -> Self {
        Self {
            value,
            at: vec![found.at.clone()],
            bonus,
        }
    }
}

/// Fills what can be filled.
pub(super) fn fill(
    text: &Text,
    template: &Template,
    entry: &Entry,
    common: &Map<String, Value>,
) -> Filled {
    let source = Source { text, entry };
    let mut filled = Filled {
        params: common.clone(),
        ..Filled::default()
    };
    for (name, schema) in template.properties() {
        if filled.params.contains_key(name)
            || templates::is_common(name) && !entry.slots.contains_key(name)
        {
            continue;
        }
        let Some(slot) = source.slot(name, schema) else {
            continue;
        };
        filled.params.insert(name.clone(), slot.value);
        filled.bonus += slot.bonus;
        let name = || name.clone();
        let places = slot.at.into_iter().map(|at| Place { name: name(), at });
        filled.found.extend(places);
    }
    drop_refused(template, entry, &mut filled);
    // What another parameter has taken was no more than a guess here.
    let Filled { found, refused, .. } = &mut filled;
    refused.retain(|refused| {
        let taken =
            |found: &Place| found.at.start < refused.at.end && refused.at.start < found.at.end;
        entry.slots.contains_key(&refused.name) || !found.iter().any(taken)
    });
    filled.missing = missing(template, &filled.params);
    filled
}

fn missing(template: &Template, params: &Map<String, Value>) -> Vec<String> {
    let required = template.required();
    let open = required.filter(|name| !params.contains_key(*name));
    open.map(str::to_owned).collect()
}

/// Parameters with what is missing taken from the usual ones.
pub(super) fn completed(
    template: &Template,
    entry: &Entry,
    mut params: Map<String, Value>,
) -> Map<String, Value> {
    if missing(template, &params).is_empty() {
        return params;
    }
    let example = template.examples.first().map(|example| &example.params);
    for (name, value) in entry.usual.as_ref().or(example).into_iter().flatten() {
        params.entry(name).or_insert_with(|| value.clone());
    }
    params
}

/// Leaves out what the template would refuse once nothing is missing: before that it does not look at all.
fn drop_refused(template: &Template, entry: &Entry, filled: &mut Filled) {
    // Each round takes at least one away.
    while let Err(errors) = templates::resolve(
        template,
        &completed(template, entry, filled.params.clone()),
        "",
    ) {
        let wrong: HashSet<String> = errors
            .iter()
            .filter_map(|error| error.pointer.split('/').nth(1).map(str::to_owned))
            .collect();
        for Place { name, at } in &filled.found {
            let of = |pointer: &str| pointer.split('/').nth(1) == Some(name);
            let error = errors.iter().find(|error| of(&error.pointer));
            filled.refused.extend(error.map(|error| Refused {
                name: name.clone(),
                at: at.clone(),
                detail: error.detail.clone(),
            }));
        }
        let before = filled.params.len();
        filled.params.retain(|name, _| !wrong.contains(name));
        if filled.params.len() == before {
            // Not with what is usual, either: that alone is known to be taken.
            if filled.refused.is_empty() {
                let refused = filled.found.first().zip(errors.first());
                filled.refused.extend(refused.map(|(place, error)| Refused {
                    name: place.name.clone(),
                    at: place.at.clone(),
                    detail: error.detail.clone(),
                }));
            }
            filled.params.clear();
            filled.found.clear();
            return;
        }
        filled.found.retain(|found| !wrong.contains(&found.name));
    }
}

impl Source<'_> {
    fn lower(&self) -> &str {
        &self.text.lower
    }

    fn slot(&self, name: &str, schema: &Value) -> Option<Slot> {
        if let Some(ways) = self.entry.slots.get(name) {
            return ways.split('|').find_map(|way| {
                let (way, arg) = way.split_once(':').unwrap_or((way, ""));
                self.by(way, arg, name, schema)
            });
        }
        let item = &schema["items"];
        let format = |schema: &Value| schema["format"].as_str().unwrap_or_default().to_owned();
        let way = match (format(schema).as_str(), format(item).as_str()) {
            ("formula", _) => "formula",
            (_, "formula") => "formulas",
            ("equation", _) => "equation",
            (_, "equation") => "equations",
            ("color", _) => "colour",
            (_, "color") => "colours",
            _ if schema["enum"].is_array() => "choice",
            _ if item["enum"].is_array() => "choices",
            _ if schema["type"] == "boolean" => "flag",
            _ if is_number(schema) => "number",
            _ if schema["type"] == "array" && is_number(item) => "numbers",
            _ => return None,
        };
        self.by(way, "", name, schema)
    }

    #[allow(clippy::too_many_lines, reason = "one line for each way")]
    fn by(&self, way: &str, arg: &str, name: &str, schema: &Value) -> Option<Slot> {
        let lower = self.lower();
        let texts = schema["type"].as_array().is_some();
        match way {
            "formula" => {
                let n: usize = arg.parse().unwrap_or(0);
                let found = self.formulas(schema).into_iter().nth(n)?;
                Some(Slot::new(json!(found.value.0), &found, 1.5))
            }
            "formulas" => {
                let most = schema["maxItems"].as_u64().map_or(4, |n| n as usize);
                let found: Vec<_> = self
                    .formulas(&schema["items"])
                    .into_iter()
                    .take(most)
                    .collect();
                let value: Vec<&str> = found.iter().map(|f| f.value.0.as_str()).collect();
                let at = found.iter().map(|f| f.at.clone()).collect();
                (!value.is_empty()).then(|| Slot {
                    value: json!(value),
                    at,
                    bonus: 1.5,
                })
            }
            "equation" | "equations" => {
                let of = if way == "equation" {
                    schema
                } else {
                    &schema["items"]
                };
                let found = maths::equations(lower, self.wanted(of, &templates::variables(of)));
                let first = found.first()?;
                let at = found.iter().map(|f| f.at.clone()).collect();
                let value = if way == "equation" {
                    json!(first.value)
                } else {
                    json!(found.iter().map(|f| &f.value).collect::<Vec<_>>())
                };
                Some(Slot {
                    value,
                    at,
                    bonus: 1.5,
                })
            }
            "interval" => {
                let found = find::interval(lower)?;
                let [from, to] = &found.value;
                Some(Slot::new(
                    json!([from.json(true), to.json(true)]),
                    &found,
                    0.3,
                ))
            }
            "from" | "to" => {
                let found = find::interval(lower)?;
                let n = &found.value[usize::from(way == "to")];
                Some(Slot::new(n.json(texts), &found, 0.3))
            }
            "at" => {
                let found = find::place(lower)?;
                Some(Slot::new(found.value.json(texts), &found, 0.3))
            }
            "number" => {
                let found = self
                    .assigned(name)
                    .or_else(|| self.near(arg, name, schema))?;
                let first = found.value.first()?;
                Some(Slot::new(first.json(texts), &found, 0.3))
            }
            "numbers" => {
                let found = self
                    .assigned(name)
                    .or_else(|| find::list(lower).filter(|_| arg != "assigned"))?;
                let texts = schema["items"]["type"].as_array().is_some();
                let value: Vec<Value> = found.value.iter().map(|n| n.json(texts)).collect();
                Some(Slot::new(json!(value), &found, 0.5))
            }
            // A list of one: `with 10 rectangles`, `to order 7`.
            "count" => {
                let found = self.near(arg, name, &schema["items"])?;
                let texts = schema["items"]["type"].as_array().is_some();
                let value = found.value.first()?.json(texts);
                Some(Slot::new(json!([value]), &found, 0.3))
            }
            // A number that stands alone: the n-th.
            "nth" => {
                let n: usize = arg.parse().unwrap_or(0);
                let found = find::singles(lower).into_iter().nth(n)?;
                Some(Slot::new(found.value.json(texts), &found, 0.3))
            }
            "degrees" => {
                let found = find::degrees(lower).into_iter().next()?;
                Some(Slot::new(found.value.json(texts), &found, 0.5))
            }
            "choice" => self.choices(schema, arg).into_iter().next(),
            "choice2" => self.choices(schema, arg).into_iter().nth(1),
            "choices" => {
                let slots = self.choices(&schema["items"], arg);
                let value: Vec<&Value> = slots.iter().map(|slot| &slot.value).collect();
                (!value.is_empty()).then(|| Slot {
                    value: json!(value),
                    at: slots.iter().flat_map(|slot| slot.at.clone()).collect(),
                    bonus: 0.5,
                })
            }
            "flag" => {
                let words = if arg.is_empty() {
                    name.replace('_', " ")
                } else {
                    arg.to_owned()
                };
                let at = words.split(',').find_map(|words| self.phrase(words))?;
                Some(Slot {
                    value: json!(true),
                    at: vec![at],
                    bonus: 0.3,
                })
            }
            "colour" | "colours" => {
                let found = self.colours();
                let most = schema["maxItems"].as_u64().map_or(4, |n| n as usize);
                let value: Vec<&String> = found.iter().map(|f| &f.value).take(most).collect();
                let first = *value.first()?;
                let value = if way == "colour" {
                    json!(first)
                } else {
                    json!(value)
                };
                let at = found.iter().map(|f| f.at.clone()).collect();
                Some(Slot {
                    value,
                    at,
                    bonus: 0.2,
                })
            }
            _ => shape::by(self, way, arg, schema),
        }
    }

    /// A value that was found by what has a form of its own.
    pub(super) fn slot_of(value: Value, at: Vec<Range<usize>>, bonus: f64) -> Option<Slot> {
        Some(Slot { value, at, bonus })
    }

    fn formulas(&self, schema: &Value) -> Vec<Found<maths::Formula>> {
        maths::formulas(
            self.lower(),
            self.wanted(schema, &templates::variables(schema)),
        )
    }

    fn wanted<'a>(&'a self, schema: &Value, variables: &'a [&'a str]) -> maths::Wanted<'a> {
        maths::Wanted {
            variables,
            complex: templates::is_complex(schema),
            tries: &self.text.tries,
        }
    }

    fn assigned(&self, name: &str) -> Option<Found<Vec<Num>>> {
        let names: Vec<&str> = std::iter::once(name)
            .chain(self.entry.names_of(name))
            .collect();
        let assigned = find::assigned(self.lower());
        assigned
            .into_iter()
            .find(|(key, _)| names.contains(&key.as_str()))
            .map(|(_, found)| found)
    }

    /// A number beside a word: `order 7`, `12 rectangles`.
    fn near(&self, words: &str, name: &str, schema: &Value) -> Option<Found<Vec<Num>>> {
        let title = schema["title"].as_str().unwrap_or_default();
        let own = format!("{words},{},{title}", name.replace('_', " "));
        let wanted: HashSet<String> = own
            .split([',', ' '])
            .filter(|word| word.len() > 2 && !matches!(*word, "the" | "for" | "and"))
            .map(|word| stem(&word.to_lowercase()))
            .collect();
        let places: Vec<_> = self
            .text
            .words()
            .into_iter()
            .filter(|word| wanted.contains(&word.stem))
            .map(|word| word.at)
            .collect();
        let whole = schema["type"] == "integer";
        let numbers = find::singles(self.lower());
        let numbers = numbers
            .into_iter()
            .filter(|n| !whole || n.value.value.fract() == 0.0);
        numbers
            .filter_map(|number| {
                let gap = |at: &Range<usize>| {
                    let between = if number.at.end <= at.start {
                        number.at.end..at.start
                    } else if at.end <= number.at.start {
                        at.end..number.at.start
                    } else {
                        return None;
                    };
                    let after = usize::from(at.start > number.at.start);
                    let between = self.lower().get(between)?.trim();
                    // `of`, `is`, `=`, `with` may stand between them.
                    let near = between.len() <= 8 && !between.contains([',', ';', '.']);
                    near.then(|| 2 * between.len() + after)
                };
                let least = places.iter().filter_map(gap).min()?;
                Some((least, number))
            })
            .min_by_key(|(gap, _)| *gap)
            .map(|(_, number)| Found {
                at: number.at,
                value: vec![number.value],
            })
    }

    /// Where a phrase stands.
    pub(super) fn phrase(&self, phrase: &str) -> Option<Range<usize>> {
        let wanted = stems(phrase);
        let words = self.text.words();
        let fits = words.windows(wanted.len().max(1)).find(|window| {
            !wanted.is_empty()
                && window
                    .iter()
                    .zip(&wanted)
                    .all(|(word, stem)| word.stem == *stem)
        })?;
        Some(fits.first()?.at.start..fits.last()?.at.end)
    }

    /// Values of an enumeration whose words are there, in the order in which they come.
    fn choices(&self, schema: &Value, arg: &str) -> Vec<Slot> {
        let values = schema["enum"].as_array().into_iter().flatten();
        let mut found: Vec<(usize, Slot)> = values
            .filter_map(Value::as_str)
            .filter_map(|value| {
                let own = value.replace(['_', '-'], " ");
                let synonyms = self.entry.synonyms(value);
                let at = std::iter::once(own.as_str())
                    .chain(synonyms)
                    .find_map(|phrase| {
                        self.phrase(phrase).or_else(|| self.compound(phrase, arg))
                    })?;
                Some((
                    at.start,
                    Slot {
                        value: json!(value),
                        at: vec![at],
                        bonus: 0.5,
                    },
                ))
            })
            .collect();
        found.sort_by_key(|(at, _)| *at);
        found.into_iter().map(|(_, slot)| slot).collect()
    }

    /// `quick` in `quicksort`.
    fn compound(&self, word: &str, tail: &str) -> Option<Range<usize>> {
        if tail.is_empty() {
            return None;
        }
        let compound = stem(&format!("{word}{tail}"));
        let words = self.text.words();
        words
            .into_iter()
            .find(|word| word.stem == compound)
            .map(|word| word.at)
    }

    fn colours(&self) -> Vec<Found<String>> {
        let words = self.text.words();
        let named = words.into_iter().filter_map(|word| {
            let name = &self.lower()[word.at.clone()];
            templates::is_colour(name).then(|| Found {
                at: word.at.clone(),
                value: name.to_owned(),
            })
        });
        named.take(8).collect()
    }

    /// A prompt's own words after a colon, or what it is about, as a title.
    pub(super) fn subject(&self) -> String {
        let body = self.text.body.as_str();
        let after = body.split_once(':').map_or("", |(_, after)| after).trim();
        if after.is_empty() {
            as_title(body)
        } else {
            capital(after.lines().next().unwrap_or(after))
        }
    }
}

fn is_number(schema: &Value) -> bool {
    schema["format"] == "number" || schema["type"] == "number" || schema["type"] == "integer"
}
