//! A plan that somebody else proposes: a language model. What can be read from the prompt without one still is.

use serde_json::{Map, Value};

use super::text::Text;
use super::{Ambiguous, EVIDENCE_MAX, Evidence, Plan, PlannedBy, Wishes, wish};
use crate::templates::{self, Template};

/// How sure a language model is: it does not say.
const CONFIDENCE: f64 = 0.5;

/// What a prompt says of the film itself.
#[must_use]
pub fn wishes(prompt: &str) -> Wishes {
    wish::find(&mut Text::new(prompt), &mut Map::new(), &mut Vec::new())
}

/// The plan of a proposed template with parameters that were checked. `refused`: what the planner made of it.
#[must_use]
pub fn proposed(
    prompt: &str,
    template: &Template,
    mut params: Map<String, Value>,
    refused: &Ambiguous,
) -> Plan {
    let mut text = Text::new(prompt);
    let (mut common, mut evidence) = (Map::new(), Vec::new());
    let output = wish::find(&mut text, &mut common, &mut evidence);
    for (name, value) in &params {
        find(&text, name, value, &mut evidence);
    }
    evidence.sort_by_key(|evidence| (evidence.start, evidence.end));
    evidence.dedup();
    // What the template does not take (a title that is too long for it) is left out, as the planner does.
    for (name, value) in common {
        if params.contains_key(&name) {
            continue;
        }
        params.insert(name.clone(), value);
        if templates::resolve(template, &params, "").is_err() {
            params.remove(&name);
            evidence.retain(|evidence| evidence.kind != name);
        }
    }
    let others = refused.candidates.iter();
    let others = others.filter(|other| other.template != template.id && other.confidence > 0.0);
    Plan {
        by: PlannedBy::Model,
        template: template.id.clone(),
        version: template.version.clone(),
        params,
        output,
        confidence: CONFIDENCE,
        assumed: Vec::new(),
        notes: wish::notes(&evidence),
        evidence,
        alternatives: others.take(2).cloned().collect(),
    }
}

/// Where a parameter's texts and numbers stand in the prompt, if they do.
fn find(text: &Text, name: &str, value: &Value, evidence: &mut Vec<Evidence>) {
    if evidence.len() >= EVIDENCE_MAX {
        return;
    }
    let piece = match value {
        Value::String(piece) => piece.to_ascii_lowercase(),
        Value::Number(number) => number.to_string(),
        Value::Array(items) => {
            return items
                .iter()
                .for_each(|item| find(text, name, item, evidence));
        }
        Value::Object(fields) => {
            let fields = fields.iter();
            return fields.for_each(|(name, value)| find(text, name, value, evidence));
        }
        Value::Null | Value::Bool(_) => return,
    };
    if piece.is_empty() {
        return;
    }
    let is_word = |c: Option<char>| c.is_some_and(char::is_alphanumeric);
    let alone = |at: &usize| {
        let (before, after) = (&text.lower[..*at], &text.lower[at + piece.len()..]);
        !is_word(before.chars().next_back()) && !is_word(after.chars().next())
    };
    let mut places = text.lower.match_indices(&piece).map(|(at, _)| at);
    if let Some(at) = places.find(alone) {
        evidence.push(Evidence::new(name, at..at + piece.len(), text));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::templates;

    #[test]
    fn a_proposal_shows_where_its_values_stand_and_keeps_what_the_prompt_says_of_the_film() {
        let template = templates::get("title-card").unwrap();
        let Value::Object(params) = json!({"title": "Zero", "subtitle": "ero"}) else {
            unreachable!()
        };
        let refused = Ambiguous {
            detail: String::new(),
            candidates: Vec::new(),
        };
        let plan = proposed(
            "the zero, vertical, light theme",
            template,
            params,
            &refused,
        );
        assert_eq!(plan.by, PlannedBy::Model);
        assert_eq!(plan.params["palette"], "light");
        assert!(plan.output.aspect.is_some());
        let at = |kind: &str| plan.evidence.iter().find(|found| found.kind == kind);
        assert_eq!(
            at("title").map(|found| (found.start, found.end)),
            Some((4, 8))
        );
        assert_eq!(at("subtitle"), None, "it is within a word");
    }
}
