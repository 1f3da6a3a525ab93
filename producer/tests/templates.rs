//! Every template is rendered with its fixtures, as the API resolves them: `python -m manimq_templates.check`.
//!
//! Usually each template once, with sets of parameters and shapes that take turns; with `MANIMQ_SOAK_TEMPLATES=1` all
//! of them in all shapes and each choice that no fixture makes in two ([`variants`]), and with its value `sorting,venn`
//! those of these templates. What comes of each film, and contact sheets for a person to look at, are in
//! `target/tmp/templates/`.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use manimq::templates::{self, Template};
use serde_json::{Map, Value, json};

const FIXTURES: [&str; 4] = ["default", "maximal", "hostile", "minimal"];
const ASPECTS: [&str; 3] = ["16:9", "9:16", "1:1"];

/// Templates whose hostile fixture is refused with words, so that nothing of it is rendered.
const REFUSED: &[&str] = &["sequence", "surface-3d"];

/// What all templates share and one may choose of.
const LOOK: [&str; 2] = ["palette", "pace"];

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// What may be chosen: the values of an enumeration, yes and no, the names of a library.
fn choices(schema: &Value) -> Vec<Value> {
    let listed = schema["enum"].as_array().or(schema["x-library"].as_array());
    match listed {
        Some(values) => values.clone(),
        None if schema["type"] == "boolean" => vec![json!(false), json!(true)],
        None => Vec::new(),
    }
}

/// The choices that a set of parameters makes, as `path value`; what it leaves out is the schema's default.
fn chosen(schema: &Value, value: Option<&Value>, path: &str, found: &mut BTreeSet<String>) {
    let Some(value) = value.or(schema.get("default")) else {
        return;
    };
    if !choices(schema).is_empty() {
        found.insert(format!("{path} {value}"));
    }
    for (name, inner) in schema["properties"].as_object().into_iter().flatten() {
        chosen(inner, value.get(name), &format!("{path}/{name}"), found);
    }
    for item in value.as_array().into_iter().flatten() {
        chosen(&schema["items"], Some(item), &format!("{path}/*"), found);
    }
}

/// Every choice that there is.
fn choosable(schema: &Value, path: &str, found: &mut BTreeSet<String>) {
    found.extend(
        choices(schema)
            .iter()
            .map(|value| format!("{path} {value}")),
    );
    for (name, inner) in schema["properties"].as_object().into_iter().flatten() {
        choosable(inner, &format!("{path}/{name}"), found);
    }
    if schema["items"].is_object() {
        choosable(&schema["items"], &format!("{path}/*"), found);
    }
}

/// The fixtures that can be rendered.
fn fixtures(template: &Template) -> impl Iterator<Item = (&'static str, &Map<String, Value>)> {
    let refused = REFUSED.contains(&template.id.as_str());
    FIXTURES
        .into_iter()
        .filter(move |name| *name != "hostile" || !refused)
        .map(|name| {
            (
                name,
                template.fixtures[name].as_object().expect("an object"),
            )
        })
}

/// The choices that they make.
fn chosen_in_fixtures(template: &Template) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for (_, fixture) in fixtures(template) {
        chosen(
            &template.schema,
            Some(&Value::Object(fixture.clone())),
            "",
            &mut found,
        );
    }
    found
}

/// The default fixture with each choice of a parameter of the template's own that no fixture makes, and once with the
/// light palette and whatever else no fixture has of what all templates share.
fn variants(template: &Template) -> Vec<(String, Map<String, Value>)> {
    let known = chosen_in_fixtures(template);
    let default = template.fixtures["default"].as_object().expect("an object");
    let mut found = Vec::new();
    let mut look = default.clone();
    look.insert("palette".into(), json!("light"));
    for (name, schema) in template.properties() {
        let missing = choices(schema)
            .into_iter()
            .filter(|value| !known.contains(&format!("/{name} {value}")));
        for value in missing {
            if LOOK.contains(&name.as_str()) {
                look.insert(name.clone(), value);
                continue;
            }
            let mut set = default.clone();
            let shown = value
                .as_str()
                .map_or_else(|| value.to_string(), str::to_owned);
            set.insert(name.clone(), value);
            found.push((format!("{name}-{shown}"), set));
        }
    }
    found.push(("look".to_owned(), look));
    found
}

/// A set of parameters of a template as the API resolves it, or why it does not.
fn resolved(template: &Template, written: &Map<String, Value>) -> Result<Value, String> {
    match templates::resolve(template, written, "") {
        Ok(resolved) => Ok(resolved.params),
        Err(errors) => Err(format!("{errors:?}")),
    }
}

/// A film to be made.
fn job(template: &Template, set: &str, params: &Value, aspect: &str, sheets: &Path) -> Value {
    let id = &template.id;
    json!({
        "name": format!("{id} {set} {aspect}"),
        "template": id, "params": params, "aspect": aspect,
        "out": sheets.join(format!("{id}-{set}-{}", aspect.replace(':', "x"))),
    })
}

/// `only`: all films of these templates; `1` is all templates.
fn jobs(only: Option<&str>, sheets: &Path) -> Vec<Value> {
    let mut jobs = Vec::new();
    let (all, named) = (only.is_some(), only.filter(|only| *only != "1"));
    for (n, template) in templates::all().iter().enumerate() {
        if named.is_some_and(|named| !named.split(',').any(|id| id == template.id)) {
            continue;
        }
        let mut add = |set: &str, written: &Map<String, Value>, aspects: &[&str]| {
            let params = resolved(template, written);
            let params = params.unwrap_or_else(|why| panic!("{} {set}: {why}", template.id));
            jobs.extend(
                aspects
                    .iter()
                    .map(|aspect| job(template, set, &params, aspect, sheets)),
            );
        };
        if !all {
            let sets: Vec<_> = fixtures(template).collect();
            let (set, written) = sets[n % sets.len()];
            add(set, written, &ASPECTS[n % ASPECTS.len()..][..1]);
            continue;
        }
        for (set, written) in fixtures(template) {
            add(set, written, &ASPECTS);
        }
        for (set, written) in variants(template) {
            add(&set, &written, &ASPECTS[..2]);
        }
    }
    jobs
}

#[test]
fn only_the_hostile_sets_of_the_list_are_refused() {
    let refused: Vec<&str> = templates::all()
        .iter()
        .filter(|template| {
            let hostile = template.fixtures["hostile"].as_object().expect("an object");
            resolved(template, hostile).is_err()
        })
        .map(|template| template.id.as_str())
        .collect();
    assert_eq!(refused, REFUSED);
}

#[test]
fn every_choice_that_a_template_offers_is_in_a_set_that_the_soak_renders() {
    for template in templates::all() {
        let (mut rendered, mut offered) = (chosen_in_fixtures(template), BTreeSet::new());
        for (_, set) in variants(template) {
            chosen(
                &template.schema,
                Some(&Value::Object(set)),
                "",
                &mut rendered,
            );
        }
        choosable(&template.schema, "", &mut offered);
        let missing: Vec<_> = offered.difference(&rendered).collect();
        assert!(
            missing.is_empty(),
            "{}: no set has {missing:?}",
            template.id
        );
        assert!(rendered.contains("/palette \"light\""), "{}", template.id);
    }
}

#[test]
fn templates_render_with_their_fixtures_without_a_warning() {
    let only = std::env::var("MANIMQ_SOAK_TEMPLATES").ok();
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("templates");
    std::fs::create_dir_all(&folder).expect("target/ is ours");
    let jobs = jobs(only.as_deref(), &folder);
    let python = manimq_shared::testing::python_env().join("bin/python");
    let mut input = tempfile::tempfile().expect("a file");
    for job in &jobs {
        writeln!(input, "{job}").expect("it is written");
    }
    std::io::Seek::rewind(&mut input).expect("it is a file");
    let told = folder.join("films.jsonl");
    let output = Command::new(python)
        .args(["-B", "-m", "manimq_templates.check", "--jobs", "2"])
        .current_dir(workspace().join("worker/renderer"))
        .stdin(Stdio::from(input))
        .stdout(std::fs::File::create(&told).expect("target/ is ours"))
        .stderr(Stdio::piped())
        .spawn()
        .and_then(std::process::Child::wait_with_output)
        .expect("deploy/setup has made the Python environment");
    let said = std::fs::read_to_string(&told).expect("it was written");
    let lines: Vec<Value> = said
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect();
    let odd: Vec<String> = lines
        .iter()
        .filter(|line| {
            line["ok"] != true || line["warnings"].as_array().is_none_or(|w| !w.is_empty())
        })
        .map(Value::to_string)
        .collect();
    println!(
        "{} of {} films without a fault",
        lines.len() - odd.len(),
        jobs.len()
    );
    assert!(odd.is_empty(), "{}", odd.join("\n"));
    assert_eq!(
        lines.len(),
        jobs.len(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(output.status.success());
}

/// What people break programs with, as a whole or in pieces.
const HOSTILE: &[&str] = &[
    "{",
    "}",
    "{{}}",
    "{0.__class__.__mro__}",
    "%s%n%(x)s",
    "${7*7}",
    "__import__('os').system('id')",
    "eval(compile('1','','exec'))",
    "'\"\"\"\\",
    "\\input{/etc/passwd}",
    "\\write18{ls}",
    "\\end{align*}\\def\\x{}",
    "^^5cinput",
    "$x$",
    "%",
    "#",
    "<b>&amp;</b>",
    "\n",
    "\r\n\t",
    "\u{0}",
    "\u{1b}[2J",
    "\u{202e}\u{2066}",
    "\u{feff}\u{200b}",
    "e\u{301}\u{302}\u{303}\u{488}",
    "👩‍👩‍👧‍👦",
    "𝒳²½∞√π",
    "İßﬁ",
    "((((((((((((((((((((((((((((((((((((((((",
    "x^x^x^x^x^x^x^x",
    "1e999",
    "-----------------",
    "NOT NOT (A AND",
    "../../etc",
    "null",
    "\u{10ffff}",
];

/// Where texts and numbers stand in parameters.
fn leaves(value: &Value, at: &str, found: &mut Vec<String>) {
    match value {
        Value::Object(fields) => fields
            .iter()
            .for_each(|(name, value)| leaves(value, &format!("{at}/{name}"), found)),
        Value::Array(items) => items
            .iter()
            .enumerate()
            .for_each(|(n, value)| leaves(value, &format!("{at}/{n}"), found)),
        Value::String(_) | Value::Number(_) => found.push(at.to_owned()),
        Value::Bool(_) | Value::Null => {}
    }
}

/// The variables that a schema's formulas may have, all fields together; `i` where one may be complex.
fn variables(schema: &Value, found: &mut Vec<String>) {
    match schema {
        Value::Object(fields) => {
            if matches!(
                fields.get("format").and_then(Value::as_str),
                Some("formula" | "equation")
            ) {
                let own = fields
                    .get("x-variables")
                    .cloned()
                    .unwrap_or_else(|| json!(["x"]));
                let own = own
                    .as_array()
                    .into_iter()
                    .flatten()
                    .filter_map(Value::as_str);
                found.extend(own.map(str::to_owned));
            }
            if fields.get("x-complex") == Some(&json!(true)) {
                found.push("i".to_owned());
            }
            fields.values().for_each(|value| variables(value, found));
        }
        Value::Array(items) => items.iter().for_each(|item| variables(item, found)),
        _ => {}
    }
}

/// A formula's tree has nothing in it but numbers and names from the lists.
fn is_tree(tree: &Value, variables: &[String]) -> bool {
    use manimq::planner::formula::Op;
    match tree {
        Value::Number(_) => true,
        Value::String(name) => {
            ["pi", "e", "tau"].contains(&name.as_str()) || variables.contains(name)
        }
        Value::Array(items) => {
            let (Some(op), args) = (items.first().and_then(Value::as_str), &items[1..]) else {
                return false;
            };
            Op::ALL
                .iter()
                .any(|known| known.name() == op && args.len() >= known.arity().0)
                && args.iter().all(|arg| is_tree(arg, variables))
        }
        _ => false,
    }
}

/// The same for a logical expression.
fn is_logic(tree: &Value) -> bool {
    const OPS: &[&str] = &["not", "and", "or", "xor", "nand", "nor", "if", "iff"];
    match tree {
        Value::String(name) => name.len() == 1 && name.as_bytes()[0].is_ascii_uppercase(),
        Value::Array(items) => {
            items[0].as_str().is_some_and(|op| OPS.contains(&op)) && items[1..].iter().all(is_logic)
        }
        _ => false,
    }
}

/// What a scene would get and should not: a tree of something else, a text with characters that steer.
fn unfit(value: &Value, at: &str, names: &[String]) -> Vec<String> {
    let mut found = Vec::new();
    match value {
        // A part of a sequence has its own template's variables.
        Value::Object(fields)
            if fields.contains_key("template") && fields.contains_key("params") =>
        {
            let part = fields["template"]
                .as_str()
                .and_then(templates::get)
                .expect("there is one");
            let mut own = Vec::new();
            variables(&part.schema, &mut own);
            found.extend(unfit(&fields["params"], &format!("{at}/params"), &own));
        }
        Value::Object(fields) => {
            for (name, value) in fields {
                let wrong = match name.as_str() {
                    "ast" => !is_tree(value, names),
                    "left" | "right" if value.is_array() || value.is_number() => {
                        !is_tree(value, names)
                    }
                    "tree" => !is_logic(value),
                    _ => {
                        found.extend(unfit(value, &format!("{at}/{name}"), names));
                        false
                    }
                };
                if wrong {
                    found.push(format!("{at}/{name}: {value}"));
                }
            }
        }
        Value::Array(items) => {
            for (n, value) in items.iter().enumerate() {
                found.extend(unfit(value, &format!("{at}/{n}"), names));
            }
        }
        Value::String(text) => {
            let steers = |c: char| {
                c.is_control() && c != '\n'
                    || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
            };
            if text.chars().any(steers) {
                found.push(format!("{at}: {text:?}"));
            }
        }
        _ => {}
    }
    found
}

mod any_text {
    use super::*;
    use proptest::prelude::*;

    /// How many texts each test tries: `MANIMQ_FUZZ_TEXTS`.
    fn texts() -> ProptestConfig {
        let cases = std::env::var("MANIMQ_FUZZ_TEXTS").ok();
        let cases = cases.and_then(|cases| cases.parse().ok()).unwrap_or(6000);
        ProptestConfig {
            cases,
            failure_persistence: None,
            ..ProptestConfig::default()
        }
    }

    fn text() -> impl Strategy<Value = String> {
        let piece = prop_oneof![
            3 => proptest::sample::select(HOSTILE).prop_map(str::to_owned),
            2 => any::<String>(),
            1 => proptest::collection::vec(any::<u8>(), 0..60)
                .prop_map(|bytes| String::from_utf8_lossy(&bytes).into_owned()),
            2 => "[a-zA-Z0-9 +*/^()=|√π.,-]{0,30}",
        ];
        prop_oneof![
            8 => proptest::collection::vec(piece, 0..5).prop_map(|pieces| pieces.concat()),
            1 => (proptest::sample::select(HOSTILE), 1..3000usize).prop_map(|(piece, n)| piece.repeat(n)),
        ]
    }

    proptest! {
        #![proptest_config(texts())]

        /// Nothing is rendered here: what a scene would get is looked at.
        #[test]
        fn any_text_in_any_field_of_any_template_is_data_or_is_refused_with_words(
            which in any::<proptest::sample::Index>(),
            field in any::<proptest::sample::Index>(),
            fixture in proptest::sample::select(vec!["default", "maximal"]),
            text in text(),
            beside in proptest::option::of(any::<proptest::sample::Index>()),
        ) {
            let template = which.get(templates::all());
            let mut written = template.fixtures[fixture].clone();
            let mut places = Vec::new();
            leaves(&written, "", &mut places);
            places.extend(["/title".to_owned(), "/subtitle".to_owned(), "/background".to_owned()]);
            let place = field.get(&places);
            match written.pointer_mut(place) {
                // Into what is there, or in its place.
                Some(Value::String(there)) if let Some(at) = beside => {
                    let ends: Vec<usize> = there.char_indices().map(|(at, _)| at).chain([there.len()]).collect();
                    there.insert_str(*at.get(&ends), &text);
                }
                Some(there) => *there = json!(text),
                None => written[&place[1..]] = json!(text),
            }
            let params = written.as_object().expect("an object");
            match templates::resolve(template, params, "/input/params") {
                Ok(resolved) => {
                    prop_assert_eq!((&resolved.template.id, &resolved.template.version), (&template.id, &template.version));
                    let mut names = Vec::new();
                    variables(&template.schema, &mut names);
                    let wrong = unfit(&resolved.params, "", &names);
                    prop_assert!(wrong.is_empty(), "{} {}: {:?}", template.id, place, wrong);
                    let names = resolved.params.as_object().expect("an object").keys();
                    for name in names {
                        prop_assert!(template.property(name).is_some(), "{} got {name}", template.id);
                    }
                }
                Err(errors) => {
                    prop_assert!(!errors.is_empty());
                    for error in errors {
                        prop_assert!(error.pointer.starts_with("/input/params"), "{error:?}");
                        prop_assert!((10..2000).contains(&error.detail.chars().count()), "{error:?}");
                    }
                }
            }
        }

        /// A prompt is text, too: whatever it says, what is planned can be rendered.
        #[test]
        fn any_prompt_is_planned_or_refused_with_candidates(
            words in proptest::collection::vec(proptest::sample::select(vec![
                "plot", "derivative of", "truth table", "bubble sort", "dijkstra", "timeline", "taylor series", "then", ";", "title card:",
            ]), 0..3),
            text in text(),
        ) {
            let prompt = format!("{} {text}", words.join(" "));
            if let Ok(plan) = manimq::planner::plan(&prompt, None) {
                let template = templates::get(&plan.template).expect("only what there is");
                let resolved = templates::resolve(template, &plan.params, "");
                prop_assert!(resolved.is_ok(), "{prompt:?}: {resolved:?}");
            }
        }
    }
}
