//! From a sentence to a template with parameters, without a language model.
//!
//! What a prompt says of the film (`wish`), what has a form of its own in it (`find`, `formula`) and its words
//! (`score`, against `table.json`) together decide; `fill` makes the parameters. A plan is taken only if its score
//! reaches a threshold, and lies before the next one's by a margin; else the best three are offered. The same
//! prompt always gives the same plan.

mod fill;
mod find;
pub mod formula;
mod maths;
mod proposal;
mod score;
mod sequence;
mod shape;
mod text;
mod unread;
mod wish;

use std::ops::Range;

use manimq_shared::job::{Fallback, PROMPT_CHARS_MAX};
use serde::Serialize;
use serde_json::{Map, Value, json};
use utoipa::ToSchema;

use crate::templates::{self, Template};
pub use proposal::{proposed, wishes};
use score::{entry, said, table};
use text::{Text, as_title};
pub use wish::Wishes;

/// Candidates that are offered where none is taken.
const CANDIDATES: usize = 3;
/// Templates whose parameters are looked for: those of which the words say most.
const JUDGED_MAX: usize = 6;
/// Most pieces of evidence.
const EVIDENCE_MAX: usize = 50;
/// What a prompt that names a template loses for each parameter that it leaves open.
const OPEN: f64 = 0.5;

/// A piece of a prompt that decided something.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Evidence {
    /// What it decided: a parameter's name, `template`, `output`, …; `unused` if it was understood and decides nothing.
    pub kind: String,
    /// First character, counted from 0.
    pub start: usize,
    /// The character after the last.
    pub end: usize,
    /// The piece.
    pub text: String,
}

impl Evidence {
    fn new(kind: &str, at: Range<usize>, text: &Text) -> Self {
        let count = |to: usize| {
            text.raw
                .get(..to)
                .map_or(0, |before| before.chars().count())
        };
        Self {
            kind: kind.to_owned(),
            start: count(at.start),
            end: count(at.end),
            text: text.written(&at).to_owned(),
        }
    }
}

/// A template that a prompt could mean.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Candidate {
    /// The template's id.
    pub template: String,
    /// What people call it.
    pub title: String,
    /// How sure this is, 0 to 1.
    pub confidence: f64,
    /// The parameters that were found; with those that are missing it can be submitted.
    #[schema(value_type = Object)]
    pub params: Map<String, Value>,
    /// Parameters that it needs and that the prompt does not say.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub missing: Vec<String>,
}

/// Who chose a template for a prompt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum PlannedBy {
    /// The planner: the same prompt gives the same plan.
    Planner,
    /// A language model, where the planner was not sure.
    Model,
}

/// What was understood of a prompt.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Plan {
    /// Who chose.
    pub by: PlannedBy,
    /// The template's id.
    pub template: String,
    /// Its version.
    pub version: String,
    /// Its parameters, as a user would write them.
    #[schema(value_type = Object)]
    pub params: Map<String, Value>,
    /// What was said of the output.
    pub output: Wishes,
    /// How sure this is, 0 to 1; 0.5 if a language model chose.
    pub confidence: f64,
    /// Parameters that the prompt does not say: they are those of the template's example. Of a film of several parts
    /// `parts/0/params/f`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub assumed: Vec<String>,
    /// What to know of it, for people: what was assumed, and what of the prompt is not used.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// What in the prompt decided what.
    pub evidence: Vec<Evidence>,
    /// What else it could mean.
    pub alternatives: Vec<Candidate>,
}

impl Plan {
    /// A plan of ours, without alternatives.
    fn of(
        template: &Template,
        params: Map<String, Value>,
        output: Wishes,
        confidence: f64,
        evidence: Vec<Evidence>,
    ) -> Self {
        Self {
            by: PlannedBy::Planner,
            template: template.id.clone(),
            version: template.version.clone(),
            params,
            output,
            confidence,
            assumed: Vec::new(),
            notes: wish::notes(&evidence),
            evidence,
            alternatives: Vec::new(),
        }
    }

    /// With a note of what the prompt did not say.
    fn assuming(mut self, assumed: Vec<String>) -> Self {
        if !assumed.is_empty() {
            let names: Vec<String> = assumed.iter().map(|name| format!("`{name}`")).collect();
            self.notes.push(format!(
                "the prompt does not say {}: taken from the template's example",
                names.join(" and ")
            ));
        }
        self.assumed = assumed;
        self
    }
}

/// No template fits well enough, or several do.
#[derive(Debug, Clone)]
pub struct Ambiguous {
    /// Why, for a person.
    pub detail: String,
    /// The best of those that there are.
    pub candidates: Vec<Candidate>,
}

/// One template, judged.
struct Judged {
    template: &'static Template,
    score: f64,
    filled: fill::Filled,
    at: Vec<Range<usize>>,
}

/// Reads catalogue and table and compiles the patterns, so that the first prompt need not wait for that.
pub fn warm_up() {
    let _ = plan("plot x^2 from 0 to 1, then bubble sort 3 2 1", None);
}

/// Makes a plan of a prompt.
///
/// # Errors
/// It fits none or several; with candidates.
pub fn plan(prompt: &str, fallback: Option<Fallback>) -> Result<Plan, Ambiguous> {
    let short: String = prompt.chars().take(PROMPT_CHARS_MAX).collect();
    let planned = sequence::plan(&short, fallback).unwrap_or_else(|| single(&short));
    let refused = match planned {
        // Last of all: a part's evidence has notes behind it, wherever they stand.
        Ok(mut plan) => {
            plan.evidence.truncate(EVIDENCE_MAX);
            return Ok(plan);
        }
        Err(refused) => refused,
    };
    match fallback {
        Some(Fallback::Explainer) => explainer(&short).ok_or(refused),
        None => Err(refused),
    }
}

fn single(prompt: &str) -> Result<Plan, Ambiguous> {
    let mut text = Text::new(prompt);
    let mut common = Map::new();
    let mut evidence = Vec::new();
    let output = wish::find(&mut text, &mut common, &mut evidence);
    let mut judged = judge(&text, &common);
    let table = table();
    let score = |n: usize| judged.get(n).map_or(0.0, |j: &Judged| j.score);
    let (best, second) = (score(0), score(1));
    let asks = judged
        .first()
        .filter(|first| entry(&first.template.id).own && !first.filled.missing.is_empty());
    if judged.is_empty() || best < table.threshold || best - second < table.margin || asks.is_some()
    {
        let detail = match judged.as_slice() {
            _ if let Some(first) = asks && best >= table.threshold => {
                let names: Vec<String> = first.filled.missing.iter().map(|name| format!("`{name}`")).collect();
                format!("this is {:?}, but it does not say {}; add it", first.template.title, names.join(" and "))
            }
            [] => "no template fits this prompt; name what to show, such as \"derivative of x^2 at 1\"".to_owned(),
            [only] if best < table.threshold => format!("this may be {:?}, but that is not sure; choose it, or say more", only.template.title),
            [first, second, ..] if best >= table.threshold => format!(
                "this may be {:?} or {:?}; choose one of the candidates, or say more",
                first.template.title, second.template.title
            ),
            _ => "no template fits this prompt well enough; choose one of the candidates, or say more".to_owned(),
        };
        return Err(Ambiguous {
            detail,
            candidates: candidates(&judged),
        });
    }
    if let Some(detail) = judged
        .first()
        .and_then(|first| unread::told(&text, first.template, &first.filled, &first.at))
    {
        return Err(Ambiguous {
            detail,
            candidates: candidates(&judged),
        });
    }
    let alternatives = candidates(&judged[1..])
        .into_iter()
        // Not what could be made of anything.
        .filter(|candidate| candidate.confidence > 0.0)
        .take(2)
        .collect();
    let first = judged.swap_remove(0);
    let confidence = confidence(best, second);
    evidence.extend(
        first
            .at
            .iter()
            .map(|at| Evidence::new("template", at.clone(), &text)),
    );
    let found = first.filled.found.iter();
    evidence.extend(found.map(|found| Evidence::new(&found.name, found.at.clone(), &text)));
    evidence.sort_by_key(|evidence| (evidence.start, evidence.end));
    evidence.dedup();
    let template = first.template;
    let said = first.filled.params;
    let params = fill::completed(template, entry(&template.id), said.clone());
    let assumed = params.keys().filter(|name| !said.contains_key(*name));
    let assumed = assumed.cloned().collect();
    Ok(Plan {
        alternatives,
        ..Plan::of(template, params, output, confidence, evidence).assuming(assumed)
    })
}

/// The templates that something speaks for, the best first.
fn judge(text: &Text, common: &Map<String, Value>) -> Vec<Judged> {
    let mut said: Vec<_> = said(text)
        .into_iter()
        .filter(|(_, said)| said.score > 0.0)
        .collect();
    said.sort_by(|a, b| b.1.score.total_cmp(&a.1.score).then_with(|| a.0.cmp(b.0)));
    let mut judged: Vec<Judged> = said
        .into_iter()
        .take(JUDGED_MAX)
        .filter_map(|(id, said)| Some((templates::get(id)?, said)))
        .map(|(template, said)| {
            let entry = entry(&template.id);
            let filled = fill::fill(text, template, entry, common);
            let open = OPEN * filled.missing.len() as f64;
            let score = said.score + filled.bonus * entry.forms.unwrap_or(1.0) - open;
            Judged {
                template,
                score,
                filled,
                at: said.at,
            }
        })
        .collect();
    let nothing_said = judged.is_empty();
    // Bare formulas speak for a plot; a fenced block speaks for itself.
    for (id, least, weight) in [
        ("function-plot", 1.5, 1.0),
        ("code-walkthrough", 4.0, 1.0),
        ("fraction-bars", 1.6, 1.0),
        ("equation-steps", 1.5, 1.0),
        // Two equations at least, which may also be two lines of a plot.
        ("linear-system", 1.5, if nothing_said { 2.0 } else { 1.0 }),
        ("unit-circle", shape::OF_AN_ANGLE, 1.0),
    ] {
        if judged.iter().all(|j| j.template.id != id)
            && let Some(template) = templates::get(id)
        {
            let filled = fill::fill(text, template, entry(id), common);
            if filled.missing.is_empty() && filled.bonus >= least {
                judged.push(Judged {
                    template,
                    score: weight * filled.bonus,
                    filled,
                    at: Vec::new(),
                });
            }
        }
    }
    judged.sort_by(|a, b| {
        b.score
            .total_cmp(&a.score)
            .then_with(|| a.template.id.cmp(&b.template.id))
    });
    judged
}

fn confidence(score: f64, second: f64) -> f64 {
    let strong = 1.0 - (-score / 3.0).exp();
    let alone = 1.0 - 0.5 * (second.max(0.0) / score.max(0.1)).min(1.0);
    (strong * alone * 100.0).round() / 100.0
}

/// The best few, as forms to choose from.
fn candidates(judged: &[Judged]) -> Vec<Candidate> {
    let offered = judged.iter().take(CANDIDATES).enumerate().map(|(n, j)| {
        let next = judged
            .iter()
            .enumerate()
            .filter(|(other, _)| *other != n)
            .map(|(_, j)| j.score);
        Candidate {
            template: j.template.id.clone(),
            title: j.template.title.clone(),
            confidence: confidence(j.score, next.fold(0.0, f64::max)),
            params: j.filled.params.clone(),
            missing: j.filled.missing.clone(),
        }
    });
    filled_up(offered.collect())
}

/// At least [`CANDIDATES`] of them.
fn filled_up(mut candidates: Vec<Candidate>) -> Vec<Candidate> {
    // Something can always be said in words, or plotted.
    for id in ["bullet-explainer", "title-card", "function-plot"] {
        if candidates.len() >= CANDIDATES {
            break;
        }
        if candidates.iter().all(|candidate| candidate.template != id)
            && let Some(template) = templates::get(id)
        {
            candidates.push(Candidate {
                template: template.id.clone(),
                title: template.title.clone(),
                confidence: 0.0,
                params: Map::new(),
                missing: template.required().map(str::to_owned).collect(),
            });
        }
    }
    candidates
}

/// A card with the prompt's own words: a list if it has one.
fn explainer(prompt: &str) -> Option<Plan> {
    let mut text = Text::new(prompt);
    let mut common = Map::new();
    let mut evidence = Vec::new();
    let output = wish::find(&mut text, &mut common, &mut evidence);
    let list = templates::get("bullet-explainer").and_then(|template| {
        let filled = fill::fill(&text, template, entry(&template.id), &common);
        filled
            .missing
            .is_empty()
            .then_some((template, filled.params))
    });
    let (template, params) = list.or_else(|| {
        let template = templates::get("title-card")?;
        let mut params = common.clone();
        params
            .entry("title")
            .or_insert_with(|| json!(as_title(&text.body)));
        templates::resolve(template, &params, "").ok()?;
        Some((template, params))
    })?;
    Some(Plan::of(template, params, output, 0.1, evidence))
}

#[cfg(test)]
mod tests;
