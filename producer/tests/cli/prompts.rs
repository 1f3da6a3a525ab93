//! `manimq plan|templates|template|prompt` against the real API, without a worker.

use std::path::Path;

use manimq_shared::testing::RedisServer;
use serde_json::Value;

use crate::support::{Live, Said, eventually, manimq, run};

struct Served {
    folder: tempfile::TempDir,
    url: String,
    _api: Live,
    _redis: RedisServer,
}

impl Served {
    async fn start() -> Self {
        let redis = RedisServer::start();
        let folder = tempfile::tempdir().unwrap();
        let told = folder.path().join("api.json");
        let mut command = manimq(folder.path());
        command
            .args(["serve", "--listen", "127.0.0.1:0"])
            .args(["--metrics-listen", "127.0.0.1:0"])
            .args(["--redis-url", &redis.url(), "--data-dir"])
            .arg(folder.path().join("data"))
            .arg("--announce")
            .arg(&told);
        let api = Live::start(&mut command);
        let url = eventually("the API is ready", async || address(&told)).await;
        Self {
            folder,
            url,
            _api: api,
            _redis: redis,
        }
    }

    async fn ask(&self, args: &[&str]) -> Said {
        let mut command = manimq(self.folder.path());
        run(command.args(args).env("MANIMQ_SERVER", &self.url)).await
    }

    async fn json(&self, args: &[&str]) -> (Option<i32>, Value) {
        let said = self.ask(args).await;
        let document = serde_json::from_str(&said.out).unwrap_or_else(|_| panic!("{said:?}"));
        (said.code, document)
    }
}

fn address(file: &Path) -> Option<String> {
    let told: Value = serde_json::from_slice(&std::fs::read(file).ok()?).ok()?;
    Some(told["api"].as_str()?.trim_end_matches('/').to_owned())
}

#[tokio::test]
async fn a_plan_shows_template_parameters_and_what_decided_them_or_what_to_type_instead() {
    let served = Served::start().await;
    let said = served
        .ask(&["plan", "derivative of x^2 at 1, vertical"])
        .await;
    assert_eq!((said.code, said.err.as_str()), (Some(0), ""), "{said:?}");
    for words in [
        "derivative-tangent",
        "f = \"x^2\"",
        "a = 1",
        "aspect: \"9:16\"",
        "understood from these words:\n    template: \"derivative",
    ] {
        assert!(said.out.contains(words), "{words}: {}", said.out);
    }
    let (code, plan) = served
        .json(&["plan", "--json", "plot x^2; bubble sort 3 2 1"])
        .await;
    assert_eq!(
        (code, &plan["template"]),
        (Some(0), &Value::from("sequence"))
    );

    let said = served
        .ask(&["plan", "plot sin x then photosynthesis"])
        .await;
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.out.contains("part 2"), "{}", said.out);
    let command = "manimq prompt --template function-plot --param f='[\"sin x\"]'";
    assert!(said.out.contains(command), "{}", said.out);
    let (code, card) = served
        .json(&["plan", "--json", "--explainer", "photosynthesis"])
        .await;
    assert_eq!(
        (code, &card["params"]["title"]),
        (Some(0), &Value::from("Photosynthesis"))
    );
    let (code, problem) = served.json(&["plan", "--json", "photosynthesis"]).await;
    assert_eq!(
        (code, problem["candidates"].as_array().map(Vec::len)),
        (Some(1), Some(3))
    );
}

#[tokio::test]
async fn a_plan_says_what_it_assumes_and_does_not_use_and_where_a_formula_is_wrong() {
    let served = Served::start().await;
    let said = served
        .ask(&["plan", "What is a derivative? 30 seconds long"])
        .await;
    assert_eq!((said.code, said.err.as_str()), (Some(0), ""), "{said:?}");
    for words in [
        "note: the prompt does not say `a` and `f`",
        "note: \"30 seconds long\" is not used",
    ] {
        assert!(said.out.contains(words), "{words}: {}", said.out);
    }
    let said = served.ask(&["plan", "derivative of sni(x) at 2"]).await;
    assert_eq!(said.code, Some(1), "{said:?}");
    for words in [
        "did you mean `sin`?",
        "▸sni(x)",
        "--template derivative-tangent --param a='2' --param f=…",
    ] {
        assert!(said.out.contains(words), "{words}: {}", said.out);
    }
}

#[tokio::test]
async fn the_catalogue_is_listed_by_group_and_a_template_shown_with_its_parameters() {
    let served = Served::start().await;
    let said = served.ask(&["templates"]).await;
    assert_eq!((said.code, said.err.as_str()), (Some(0), ""), "{said:?}");
    let groups: Vec<&str> = said
        .out
        .lines()
        .filter(|line| !line.starts_with("  "))
        .collect();
    assert_eq!(groups[..3], ["maths", "computing", "general"]);
    let (_, list) = served.json(&["templates", "--json"]).await;
    for template in list["templates"].as_array().unwrap() {
        let id = template["id"].as_str().unwrap();
        assert!(
            said.out.contains(&format!("\n  {id} ")),
            "{id}: {}",
            said.out
        );
    }

    let said = served.ask(&["template", "show", "pythagoras"]).await;
    assert_eq!(said.code, Some(0), "{said:?}");
    for words in [
        "pythagoras ",
        "\n  proof ",
        "Default ",
        "\n  palette ",
        "Prompts:",
    ] {
        assert!(said.out.contains(words), "{words}: {}", said.out);
    }
    let (code, shown) = served
        .json(&["template", "show", "--json", "pythagoras"])
        .await;
    assert_eq!((code, &shown["id"]), (Some(0), &Value::from("pythagoras")));
    let said = served.ask(&["template", "show", "pythagorus"]).await;
    assert_ne!(said.code, Some(0));
    assert!(
        said.err.contains("did you mean \"pythagoras\"?"),
        "{}",
        said.err
    );
    let said = served.ask(&["template", "show", "../jobs"]).await;
    assert_eq!(said.code, Some(2), "{said:?}");
}

#[tokio::test]
async fn a_prompt_that_fits_nothing_is_refused_or_becomes_a_card_if_that_is_asked_for() {
    let served = Served::start().await;
    let said = served.ask(&["prompt", "photosynthesis"]).await;
    assert_eq!(said.code, Some(2), "{said:?}");
    assert!(said.err.contains("no template fits"), "{}", said.err);
    // What to type instead, as `plan` has it.
    let instead = "manimq prompt --template ";
    assert_eq!(said.err.matches(instead).count(), 3, "{}", said.err);
    // There is no worker: it waits for one no longer than it was told.
    let card = [
        "prompt",
        "--explainer",
        "--wait-timeout",
        "1s",
        "photosynthesis",
    ];
    let said = served.ask(&card).await;
    assert_eq!(said.code, Some(4), "{said:?}");
    let (_, list) = served.json(&["list", "--json"]).await;
    let jobs = list["jobs"].as_array().unwrap_or_else(|| panic!("{list}"));
    assert_eq!(jobs.len(), 1, "{list}");
    let (_, job) = served
        .json(&["get", "--json", jobs[0]["id"].as_str().unwrap()])
        .await;
    assert_eq!(job["resolved"]["id"], "title-card", "{job}");
}
