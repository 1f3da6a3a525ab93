//! The catalogue itself, and what becomes of parameters.

use serde_json::{Map, Value, json};

use super::*;

fn map(value: Value) -> Map<String, Value> {
    value.as_object().expect("an object").clone()
}

#[test]
fn every_template_of_the_renderer_is_in_the_catalogue() {
    let common: Value = serde_json::from_str(COMMON).expect("common.json is JSON");
    for files in FILES {
        let template = Template::read(files, &common);
        assert!(template.is_ok(), "{}: {:?}", files.template, template.err());
    }
    assert_eq!(all().len(), FILES.len());
    // What issue 7 promises: the 24 of its catalogue and twelve more.
    assert!(all().len() >= 36);
    for template in all() {
        let picture = template.preview.unwrap_or_default();
        let jpeg = picture.starts_with(&[0xff, 0xd8]);
        assert!(jpeg, "{} has no preview", template.id);
    }
}

#[test]
fn every_fixture_and_every_example_is_accepted() {
    for template in all() {
        for name in ["minimal", "default", "maximal", "hostile"] {
            let fixture = template.fixtures.get(name).and_then(Value::as_object);
            let fixture =
                fixture.unwrap_or_else(|| panic!("{} has no fixture {name}", template.id));
            if let Err(errors) = resolve(template, fixture, "/params")
                // What is hostile may be refused, with words.
                && (name != "hostile" || errors.iter().any(|error| error.detail.len() < 10))
            {
                panic!("{} {name}: {errors:#?}", template.id);
            }
        }
        assert!(
            !template.examples.is_empty(),
            "{} has no example",
            template.id
        );
        for example in &template.examples {
            if let Err(errors) = resolve(template, &example.params, "/params") {
                panic!("{} {:?}: {errors:#?}", template.id, example.prompt);
            }
        }
    }
}

/// Whatever a user may write has a bound in its schema.
#[test]
fn every_text_every_list_and_every_number_has_a_limit() {
    fn look(schema: &Value, path: &str) {
        let is = |kind: &str| {
            let types = &schema["type"];
            types == kind
                || types
                    .as_array()
                    .is_some_and(|types| types.iter().any(|t| t == kind))
        };
        if is("string") && schema.get("enum").is_none() && schema.get("const").is_none() {
            assert!(schema["maxLength"].is_u64(), "{path} has no maxLength");
        }
        if is("array") && schema.get("prefixItems").is_none() {
            assert!(schema["maxItems"].is_u64(), "{path} has no maxItems");
        }
        if (is("number") || is("integer")) && schema.get("enum").is_none() {
            for (limit, other) in [
                ("minimum", "exclusiveMinimum"),
                ("maximum", "exclusiveMaximum"),
            ] {
                let has = schema[limit].is_number() || schema[other].is_number();
                assert!(has, "{path} has no {limit}");
            }
        }
        for (name, inner) in schema["properties"].as_object().into_iter().flatten() {
            look(inner, &format!("{path}/{name}"));
        }
        for name in ["items", "additionalProperties"] {
            if schema[name].is_object() {
                look(&schema[name], &format!("{path}/{name}"));
            }
        }
    }
    for template in all() {
        look(&template.schema, &template.id);
    }
}

#[test]
fn a_scene_gets_trees_numbers_and_colours_and_the_defaults() {
    let template = get("function-plot").expect("it is there");
    let written = map(
        json!({"f": ["y = x^2", "sin x"], "x_range": [0, "2π"], "background": "Blue", "captions": ["a\u{0}b\u{202e}c"]}),
    );
    let resolved = resolve(template, &written, "").expect("it is right").params;
    assert_eq!(
        resolved["f"][0],
        json!({"text": "x^2", "latex": "x^{2}", "ast": ["^", "x", 2]})
    );
    assert_eq!(resolved["f"][1]["ast"], json!(["sin", "x"]));
    assert_eq!(
        resolved["x_range"][0],
        json!({"value": 0, "text": "0", "latex": "0"})
    );
    assert_eq!(
        resolved["x_range"][1]["value"],
        json!(std::f64::consts::TAU)
    );
    assert_eq!(resolved["x_range"][1]["latex"], json!(r"2 \pi"));
    assert_eq!(resolved["background"], json!("#3b82f6"));
    assert_eq!(resolved["captions"], json!(["abc"]));
    assert_eq!(
        (&resolved["palette"], &resolved["inverse"]),
        (&json!("dark"), &json!(false))
    );
}

#[test]
fn what_is_wrong_is_told_with_its_place_and_the_remedy() {
    let template = get("function-plot").expect("it is there");
    for (written, pointer, words) in [
        (
            json!({"f": ["x^2", "sni(x)"]}),
            "/p/f/1",
            "did you mean `sin`",
        ),
        (json!({"f": ["x +"]}), "/p/f/0", "character 4"),
        (json!({}), "/p/f", "it is missing; wanted: Functions"),
        (
            json!({"f": ["x"], "xrange": [0, 1]}),
            "/p/xrange",
            "did you mean `x_range`",
        ),
        (
            json!({"f": ["x"], "x_range": [1, 0]}),
            "/p/x_range",
            "from the smaller to the larger",
        ),
        (
            json!({"f": ["x"], "x_range": [0, "ln(-1)"]}),
            "/p/x_range/1",
            "no real value",
        ),
        (
            json!({"f": ["x^2 i"]}),
            "/p/f/0",
            "character 5: `i` is the imaginary unit",
        ),
        (
            json!({"f": ["f(x) = 2ˣ + xⁿ"]}),
            "/p/f/0",
            "character 14: `n` is no function",
        ),
        (
            json!({"f": ["x"], "no_such_thing": 1}),
            "/p/no_such_thing",
            "no parameter `no_such_thing`. It takes",
        ),
        (
            json!({"f": ["x"], "palette": "blue"}),
            "/p/palette",
            "\"dark\"",
        ),
        (
            json!({"f": ["x"], "background": "blu"}),
            "/p/background",
            "#3b82f6",
        ),
        (json!({"f": 7}), "/p/f", "array"),
    ] {
        let errors = resolve(template, &map(written.clone()), "/p").expect_err("it is wrong");
        assert_eq!(errors[0].pointer, pointer, "{written}: {errors:?}");
        assert!(errors[0].detail.contains(words), "{written}: {errors:?}");
    }
}

#[test]
fn latex_that_reads_writes_or_defines_is_refused_at_its_character() {
    for fine in [
        r"\frac{a}{b} = \sqrt{c}",
        r"\begin{pmatrix} 1 & 2 \\ 3 & 4 \end{pmatrix}",
        r"\sum_{i=1}^n i",
        "E = mc^2",
        r"50\%",
    ] {
        assert_eq!(latex::check(fine), Ok(()), "{fine}");
    }
    for (bad, words) in [
        (r"a \input{/etc/passwd}", r"character 3: `\input`"),
        (r"\write18{ls}", r"`\write`"),
        (r"\def\x{1}", r"`\def`"),
        (r"\catcode`\%=12", r"`\catcode`"),
        (r"^^5cinput", "`^^`"),
        (r"a $ b", "math mode"),
        (r"\begin{document}", "needs one of"),
        (r"{a", "never closed"),
        (r"a}", "closes nothing"),
        (r"100%", "comment"),
        ("x\u{202e}y", r"character 2: '\u{202e}' cannot stand"),
        ("\u{200b}x", "character 1"),
        ("x\u{feff}", "character 2"),
        ("", "missing"),
    ] {
        let error = latex::check(bad).expect_err(bad);
        assert!(error.contains(words), "{bad}: {error}");
    }
}

#[test]
fn an_unknown_template_is_told_with_the_nearest() {
    let error = find("function-plots").err().expect("there is none");
    assert!(
        error.contains("did you mean \"function-plot\"? GET"),
        "{error}"
    );
    let error = find("zzzzzzzz").err().expect("there is none");
    assert!(error.contains("\"zzzzzzzz\". GET"), "{error}");
}

#[test]
fn a_million_wrong_values_are_one_error() {
    let template = find("title-card").expect("it is there");
    let captions = vec![json!(0); 1_000_000];
    let params = map(json!({"title": "T", "captions": captions}));
    let errors = resolve(template, &params, "/p").expect_err("it is too much");
    assert_eq!(errors.len(), 1);
    assert!(errors[0].detail.contains("4000 values"), "{errors:?}");
}
