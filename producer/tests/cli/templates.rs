//! `manimq templates|template show|plan`.

use std::path::Path;

use serde_json::{Value, json};

use crate::fake::{Fake, json as answer, problem};
use crate::support::{Said, manimq, run};

fn sorting() -> Value {
    json!({
        "id": "sorting", "version": "1.0.0", "group": "computing", "summary": "Sorts a list step by step.",
        "parameters": {
            "properties": {
                "algorithm": {"type": "string", "description": "How to sort.", "enum": ["bubble", "merge"], "default": "bubble"},
                "array": {"type": "array", "description": "What to sort."}
            },
            "required": ["array"]
        },
        "examples": [{"prompt": "bubble sort 5 2 9 1", "params": {"array": [5, 2, 9, 1]}}]
    })
}

async fn api() -> Fake {
    Fake::start(|call| match call.what.as_str() {
        "GET /v1/templates" => {
            let venn = json!({"id": "venn", "group": "general", "summary": "Sets that overlap."});
            answer(200, &json!({"templates": [venn, sorting()]}))
        }
        "GET /v1/templates/sorting" => answer(200, &sorting()),
        "POST /v1/plan" if call.body["prompt"] == "photosynthesis" => {
            let candidate = json!({"template": "title-card", "title": "Title card", "params": {"title": "It's"}, "missing": ["author"]});
            problem(422, "prompt-ambiguous", "no template fits", json!({"candidates": [candidate]}))
        }
        "POST /v1/plan" => answer(
            200,
            &json!({
                "template": "sorting", "version": "1.0.0", "params": {"array": [3, 1]}, "output": {"aspect": "9:16"},
                "confidence": 0.9, "evidence": [{"kind": "list", "text": "3 1"}], "alternatives": [{"template": "array-search"}]
            }),
        ),
        _ => problem(404, "not-found", "there is no template \"sortin\"; did you mean \"sorting\"?", json!({})),
    })
    .await
}

async fn ask(folder: &Path, fake: &Fake, args: &[&str]) -> Said {
    run(manimq(folder).args(args).env("MANIMQ_SERVER", &fake.url)).await
}

fn has_all(said: &Said, pieces: &[&str]) {
    for piece in pieces {
        assert!(said.out.contains(piece), "{piece}: {said:?}");
    }
}

#[tokio::test]
async fn the_catalogue_is_listed_by_groups_and_a_template_shows_what_it_takes() {
    let (folder, fake) = (tempfile::tempdir().unwrap(), api().await);
    let list = ask(folder.path(), &fake, &["templates"]).await;
    assert_eq!(list.code, Some(0), "{list:?}");
    let order = ["computing\n", "sorting ", "general\n", "venn "].map(|piece| list.out.find(piece));
    assert!(order.is_sorted() && order[0].is_some(), "{list:?}");
    let shown = ask(folder.path(), &fake, &["template", "show", "sorting"]).await;
    assert_eq!(shown.code, Some(0), "{shown:?}");
    has_all(
        &shown,
        &[
            "sorting 1.0.0",
            "One of bubble, merge. Default \"bubble\".",
            "What to sort. Must be given.",
            "bubble sort 5 2 9 1",
        ],
    );
    let json = ask(
        folder.path(),
        &fake,
        &["template", "show", "sorting", "--json"],
    )
    .await;
    assert_eq!(serde_json::from_str::<Value>(&json.out).unwrap(), sorting());
}

#[tokio::test]
async fn an_id_that_is_none_is_told_with_the_nearest_or_how_to_find_one() {
    let (folder, fake) = (tempfile::tempdir().unwrap(), api().await);
    let unknown = ask(folder.path(), &fake, &["template", "show", "sortin"]).await;
    assert_ne!(unknown.code, Some(0), "{unknown:?}");
    assert!(
        unknown.err.contains("did you mean \"sorting\"?"),
        "{unknown:?}"
    );
    let odd = ask(folder.path(), &fake, &["template", "show", "../keys"]).await;
    assert_ne!(odd.code, Some(0), "{odd:?}");
    assert!(odd.err.contains("`manimq templates` lists them"), "{odd:?}");
}

#[tokio::test]
async fn a_plan_says_what_was_understood_and_what_is_unclear_is_answered_with_commands() {
    let (folder, fake) = (tempfile::tempdir().unwrap(), api().await);
    let plan = ask(folder.path(), &fake, &["plan", "sort 3 1, vertical"]).await;
    assert_eq!(plan.code, Some(0), "{plan:?}");
    has_all(
        &plan,
        &[
            "sorting 1.0.0 (sure to 90 %)",
            "array = [3,1]",
            "aspect: \"9:16\"",
            "list: \"3 1\"",
            "or array-search",
        ],
    );
    let unclear = ask(folder.path(), &fake, &["plan", "photosynthesis"]).await;
    assert_eq!(unclear.code, Some(1), "{unclear:?}");
    has_all(
        &unclear,
        &["manimq prompt --template title-card --param title='It'\\''s' --param author=…"],
    );
}
