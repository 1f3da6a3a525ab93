//! Several things in one prompt, one after the other: numbered lines, or what stands between `then` and `;`.
//!
//! Each part must be clear by itself. Nothing is dropped without a word: a part that is not understood is an error,
//! unless the whole prompt is something that its parts are not (a list of key points with `;` between them).

use manimq_shared::job::Fallback;
use serde_json::{Map, Value, json};

use super::score::entry;
use super::{Ambiguous, Candidate, Evidence, Plan, Wishes, explainer, filled_up, single, wish};
use crate::templates::{self, PARTS_MAX, SEQUENCE};

/// Longest piece of a prompt that an error shows, in characters.
const SHOWN_MAX: usize = 60;

/// What a part says.
enum Read {
    /// A film.
    Film(Plan),
    /// Wishes about the whole, and nothing else.
    Wishes(Wishes, Map<String, Value>, Vec<Evidence>),
    Unclear(Ambiguous),
}

fn read(part: &str) -> Read {
    if let Some((wishes, params, evidence)) = wish::alone(part) {
        return Read::Wishes(wishes, params, evidence);
    }
    match single(part) {
        Ok(plan) => Read::Film(plan),
        Err(refused) => Read::Unclear(refused),
    }
}

/// The plan of a prompt of several parts; `None` if it is not one.
pub(super) fn plan(prompt: &str, fallback: Option<Fallback>) -> Option<Result<Plan, Ambiguous>> {
    let Split { parts, by } = split(prompt);
    let marked = by != By::Semicolons;
    if parts.len() < 2 {
        return None;
    }
    // One film more than there may be says enough; wishes are no films.
    let mut others = 0;
    let read: Vec<Read> = parts
        .iter()
        .map(|part| read(part))
        .take_while(|part| {
            let goes_on = others <= PARTS_MAX;
            others += usize::from(!matches!(part, Read::Wishes(..)));
            goes_on
        })
        .collect();
    let mut films = read.iter().filter_map(|part| match part {
        Read::Film(plan) => Some(plan),
        _ => None,
    });
    let clear = films.clone().count();
    if clear == 0 {
        return None;
    }
    let too_many = others > PARTS_MAX;
    let unclear = read.iter().enumerate().find_map(|(n, part)| match part {
        Read::Unclear(refused) => Some((n, refused)),
        _ => None,
    });
    if unclear.is_none() && !too_many {
        // One film and wishes are a single film.
        let film = (clear > 1).then(|| film(prompt, &parts, &read)).flatten();
        return film.map(Ok);
    }
    let whole = single(prompt);
    let nothing_new = match &whole {
        // Numbers of lines run into lists: of those only the template says something.
        Ok(whole) => films.any(|part| match by {
            By::Lines => part.template == whole.template,
            // `then` between two films says that they are two.
            By::Words => clear > 1 || is_same(part, whole),
            // After a colon `;` stands between the pieces of a list.
            By::Semicolons => !parts[0].contains(':') && is_same(part, whole),
        }),
        Err(_) => marked,
    };
    if !nothing_new && (unclear.is_some() || !marked) {
        return Some(whole);
    }
    if by == By::Words && clear == 1 && whole.is_ok() && tells_how(parts[0]) {
        return Some(whole);
    }
    let candidates = offered(whole);
    let detail = match unclear {
        _ if too_many => format!(
            "this has more than {PARTS_MAX} parts, one after the other; a film has at most {PARTS_MAX}"
        ),
        Some((n, refused)) => {
            if fallback == Some(Fallback::Explainer)
                && let Some(film) = film(prompt, &parts, &read)
            {
                return Some(Ok(film));
            }
            let shown: String = parts[n].chars().take(SHOWN_MAX).collect();
            format!(
                "part {} of this, {shown:?}, is not clear: {}",
                n + 1,
                refused.detail
            )
        }
        None => return None,
    };
    Some(Err(Ambiguous { detail, candidates }))
}

/// `how bubble sort compares neighbours and then swaps them` is one thing, told in order.
fn tells_how(part: &str) -> bool {
    let mut words = part.split(|c: char| !c.is_alphanumeric());
    words.any(|word| word.eq_ignore_ascii_case("how") || word.eq_ignore_ascii_case("why"))
}

/// Whether the whole prompt gave no more than one of its parts. Titles and colours that all templates share may
/// come from any part.
fn is_same(part: &Plan, whole: &Plan) -> bool {
    let own = |plan: &Plan| -> Map<String, Value> {
        let slots = &entry(&plan.template).slots;
        let params = plan.params.iter();
        let own =
            params.filter(|(name, _)| !templates::is_common(name) || slots.contains_key(*name));
        own.map(|(name, value)| (name.clone(), value.clone()))
            .collect()
    };
    part.template == whole.template && own(part) == own(whole)
}

/// What is offered in place of a film of all parts.
fn offered(whole: Result<Plan, Ambiguous>) -> Vec<Candidate> {
    match whole {
        Ok(plan) => {
            let title = templates::get(&plan.template).map(|template| template.title.clone());
            let mut candidates = vec![Candidate {
                template: plan.template,
                title: title.unwrap_or_default(),
                confidence: plan.confidence,
                params: plan.params,
                missing: Vec::new(),
            }];
            candidates.extend(plan.alternatives);
            filled_up(candidates)
        }
        Err(refused) => refused.candidates,
    }
}

/// One film of several parts; what is not clear becomes a card.
fn film(prompt: &str, parts: &[&str], read: &[Read]) -> Option<Plan> {
    let template = templates::get(SEQUENCE)?;
    let (mut output, mut params) = (Wishes::default(), Map::new());
    let (mut list, mut evidence, mut assumed) = (Vec::new(), Vec::new(), Vec::new());
    let mut confidence: f64 = 1.0;
    for (part, read) in parts.iter().zip(read) {
        if let Read::Film(plan) = read {
            let names = plan.assumed.iter();
            let n = list.len();
            assumed.extend(names.map(|name| format!("parts/{n}/params/{name}")));
        }
        let (wishes, common, found) = match read {
            Read::Wishes(wishes, common, found) => (*wishes, common.clone(), found.clone()),
            Read::Film(plan) => shown(plan.clone(), &mut list, &mut confidence),
            Read::Unclear(_) => shown(explainer(part)?, &mut list, &mut confidence),
        };
        output.format = output.format.or(wishes.format);
        output.quality = output.quality.or(wishes.quality);
        output.aspect = output.aspect.or(wishes.aspect);
        output.transparent = output.transparent.or(wishes.transparent);
        output.fps = output.fps.or(wishes.fps);
        for (name, value) in common {
            params.entry(name).or_insert(value);
        }
        let before = prompt[..start_of(part, prompt)].chars().count();
        evidence.extend(found.into_iter().map(|found| Evidence {
            start: found.start + before,
            end: found.end + before,
            ..found
        }));
    }
    params.insert("parts".into(), Value::Array(list));
    templates::resolve(template, &params, "").ok()?;
    let plan = Plan::of(template, params, output, confidence, evidence);
    Some(plan.assuming(assumed))
}

/// Takes a plan in as a part. What it says of the whole film, and what decided it.
fn shown(
    plan: Plan,
    list: &mut Vec<Value>,
    confidence: &mut f64,
) -> (Wishes, Map<String, Value>, Vec<Evidence>) {
    *confidence = confidence.min(plan.confidence);
    let common = ["palette", "pace", "background"].into_iter();
    let common = common.filter_map(|name| Some((name.to_owned(), plan.params.get(name)?.clone())));
    let common = common.collect();
    list.push(json!({"template": plan.template, "params": plan.params}));
    (plan.output, common, plan.evidence)
}

/// Where a piece of a text begins in it, in bytes.
fn start_of(piece: &str, text: &str) -> usize {
    piece.as_ptr() as usize - text.as_ptr() as usize
}

/// The pieces of a prompt.
struct Split<'a> {
    parts: Vec<&'a str>,
    by: By,
}

/// What says that one thing comes after the other.
#[derive(Clone, Copy, PartialEq, Eq)]
enum By {
    /// Lines with numbers or dashes.
    Lines,
    /// `then` and the like.
    Words,
    /// `;` alone, which stands within lists too.
    Semicolons,
}

/// What follows a line's number or dash.
fn unnumbered(line: &str) -> Option<&str> {
    let rest = line.trim_start_matches(|c: char| c.is_ascii_digit());
    let rest = if rest.len() < line.len() {
        rest.strip_prefix(['.', ')'])?
    } else {
        line.strip_prefix(['-', '*', '•'])?
    };
    Some(rest.trim())
}

fn split(prompt: &str) -> Split<'_> {
    let (mut lines, mut numbered) = (Vec::new(), 0);
    for line in prompt
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
    {
        if let Some(part) = unnumbered(line) {
            if !part.is_empty() {
                lines.push(part);
                numbered += 1;
            }
        } else if wish::alone(line).is_some() {
            // For the whole film.
            lines.push(line);
        } else if numbered > 0
            && let Some(last) = lines.last_mut()
        {
            // It goes on with the part before.
            *last = &prompt[start_of(last, prompt)..start_of(line, prompt) + line.len()];
        }
    }
    if numbered > 1 {
        return Split {
            parts: lines,
            by: By::Lines,
        };
    }
    let lower = prompt.to_ascii_lowercase();
    let mut cuts = Vec::new();
    for mark in [
        ", and then ",
        " and then ",
        ", then ",
        "; then ",
        ". then ",
        " then ",
        ";",
        " followed by ",
        ". after that ",
        ". next, ",
    ] {
        let all = lower.match_indices(mark);
        cuts.extend(all.map(|(at, _)| (at, at + mark.len(), mark != ";")));
    }
    cuts.sort_by_key(|(from, to, _)| (*from, std::cmp::Reverse(*to)));
    let mut parts = Vec::new();
    let (mut start, mut by) = (0, By::Semicolons);
    for (from, to, says) in cuts {
        if from >= start {
            parts.push(prompt[start..from].trim());
            start = to;
            if says {
                by = By::Words;
            }
        }
    }
    parts.push(prompt[start..].trim());
    parts.retain(|part| !part.is_empty());
    if let Some(first) = parts.first_mut()
        && first.to_ascii_lowercase().starts_with("first ")
    {
        *first = first[6..].trim_start_matches(',').trim();
    }
    Split { parts, by }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::planner::plan;

    #[test]
    fn a_part_that_is_not_understood_is_told_and_not_dropped() {
        for (prompt, part) in [
            (
                "plot sin x then photosynthesis",
                "part 2 of this, \"photosynthesis\"",
            ),
            (
                "1. bubble sort 3 2 1\n2. the weather\n3. merge sort 3 2 1",
                "part 2",
            ),
            ("photosynthesis; bubble sort 3 2 1", "part 1"),
            (
                "plot sin x then photosynthesis then derivative of x^2 at 1",
                "part 2",
            ),
        ] {
            let refused = plan(prompt, None).expect_err(prompt);
            assert!(
                refused.detail.contains(part),
                "{prompt}: {}",
                refused.detail
            );
            assert_eq!(refused.candidates.len(), 3, "{prompt}: {refused:?}");
            // Who asks for a card gets one for that part.
            let film = plan(prompt, Some(Fallback::Explainer)).expect("a card shows anything");
            assert_eq!(film.template, SEQUENCE, "{prompt}");
            let cards = film.params["parts"].as_array().expect("parts").iter();
            let cards = cards.filter(|part| part["template"] == "title-card");
            assert_eq!(cards.count(), 1, "{prompt}: {:?}", film.params);
        }
        // The whole is more than its parts.
        for (prompt, template) in [
            ("plot x^2 and then mark its roots", "function-plot"),
            (
                "history of zero: 628 Brahmagupta; 1202 Fibonacci",
                "timeline",
            ),
        ] {
            assert_eq!(
                plan(prompt, None).expect(prompt).template,
                template,
                "{prompt}"
            );
        }
    }

    #[test]
    fn a_description_of_how_something_goes_is_one_film() {
        let prompt = "explain how bubble sort compares neighbours and then swaps them";
        let plan = crate::planner::plan(prompt, None).expect("one film");
        assert_eq!(plan.template, "sorting");
    }

    #[test]
    fn more_parts_than_a_film_takes_are_refused() {
        let lines = |n: usize| -> String {
            let line = |n: usize| format!("{}. bubble sort 3 2 {n}\n", n + 1);
            (0..n).map(line).collect()
        };
        let parts = |prompt: &str| {
            plan(prompt, None).map(|plan| plan.params["parts"].as_array().map(Vec::len))
        };
        assert_eq!(parts(&lines(8)).expect("eight are taken"), Some(8));
        let then = ["merge sort 2 1"; 9].join(" then ");
        for many in [lines(9), then, ["bubble sort 2 1"; 40].join("; ")] {
            let refused = parts(&many).expect_err("they are too many");
            assert!(refused.detail.contains("at most 8"), "{}", refused.detail);
            assert_eq!(refused.candidates.len(), 3);
        }
    }

    #[test]
    fn lines_without_a_number_go_on_or_are_wishes() {
        let prompt =
            "1. plot x^2\n   from -1 to 4\n2. derivative of x^2 at 1\nvertical, light theme";
        let film = plan(prompt, None).expect("it is two films");
        assert_eq!(film.params["parts"].as_array().map(Vec::len), Some(2));
        assert_eq!(
            film.params["parts"][0]["params"]["x_range"],
            serde_json::json!([-1, 4])
        );
        assert_eq!(film.params["palette"], "light");
        assert!(film.output.aspect.is_some());
    }

    #[test]
    fn wishes_that_stand_alone_hold_for_the_whole_film() {
        let one = plan("bubble sort 5 2 9 1; light theme; vertical", None).expect("it is one film");
        assert_eq!(one.template, "sorting");
        assert_eq!(one.params["palette"], "light");
        let two = plan(
            "bubble sort 5 2 9 1; merge sort 3 1; light theme; as a gif",
            None,
        );
        let two = two.expect("it is two films");
        assert_eq!(two.template, SEQUENCE);
        assert_eq!(two.params["parts"].as_array().map(Vec::len), Some(2));
        assert_eq!(two.params["palette"], "light");
        assert_eq!(two.output.format, Some(manimq_shared::job::Format::Gif));
        let many = format!("{}light theme; vertical", "bubble sort 3 2 1; ".repeat(8));
        let eight = plan(&many, None).expect("wishes are no parts");
        assert_eq!(eight.params["parts"].as_array().map(Vec::len), Some(8));
        assert_eq!(eight.params["palette"], "light");
    }

    #[test]
    fn evidence_of_a_part_stands_where_it_is_in_the_prompt() {
        for prompt in [
            "first plot 𝑥² from 0 to 1, then bubble sort 3 2 1, vertical",
            "Two things:\n 1. plot √x\n 2. derivative of x^2 at 1 titled \"É\"",
        ] {
            let plan = plan(prompt, None).expect("it is clear");
            assert_eq!(plan.template, SEQUENCE);
            let chars: Vec<char> = prompt.chars().map(super::super::formula::plain).collect();
            assert!(plan.evidence.len() >= 4, "{:?}", plan.evidence);
            for found in &plan.evidence {
                let there: String = chars[found.start..found.end].iter().collect();
                assert_eq!(there, found.text, "{found:?}");
            }
        }
    }

    #[test]
    fn a_film_takes_as_many_parts_as_its_schema_says() {
        let schema = &templates::get(SEQUENCE).expect("it is there").schema;
        assert_eq!(schema["properties"]["parts"]["maxItems"], PARTS_MAX);
    }
}
