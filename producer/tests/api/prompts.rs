//! Templates, plans and prompts over HTTP.

use manimq_shared::ids::TenantId;
use manimq_shared::job::JobInput;
use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::support::{Api, problem};

#[tokio::test]
async fn the_catalogue_tells_what_each_template_takes() {
    let api = Api::start().await;
    let list: Value = api.get("/v1/templates").await.json().await.unwrap();
    let list = list["templates"].as_array().unwrap();
    assert!(list.iter().any(|template| template["id"] == "pythagoras"));
    for template in list {
        let id = template["id"].as_str().unwrap();
        let read: Value = api
            .get(&format!("/v1/templates/{id}"))
            .await
            .json()
            .await
            .unwrap();
        assert!(
            read["parameters"]["properties"]["palette"].is_object(),
            "{id}"
        );
        let path = format!("/v1/templates/{id}/preview");
        assert!(template["preview"].as_str().unwrap().ends_with(&path));
        let picture = api.get(&path).await;
        assert_eq!(picture.headers()["content-type"], "image/jpeg");
        let bytes = picture.bytes().await.unwrap();
        assert!(bytes.starts_with(&[0xff, 0xd8]), "{id}: no JPEG");
    }
    let answer = api.get("/v1/templates/pythagorus").await;
    let told = problem(answer, 404, "not-found").await;
    assert!(told.detail.contains("pythagoras"), "{}", told.detail);
}

#[tokio::test]
async fn a_plan_says_what_was_understood_and_a_prompt_becomes_that() {
    let api = Api::start().await;
    let prompt = json!({"prompt": "derivative of x^2 at 1, vertical"});
    let plan: Value = api.post("/v1/plan", &prompt).await.json().await.unwrap();
    assert_eq!(plan["template"], "derivative-tangent");
    assert_eq!(plan["params"], json!({"f": "x^2", "a": 1}));
    assert_eq!(plan["output"], json!({"aspect": "9:16"}));
    assert!(
        plan["evidence"]
            .as_array()
            .unwrap()
            .iter()
            .any(|e| e["text"] == "x^2" && e["start"] == 14)
    );

    let body = json!({"input": {"kind": "prompt", "prompt": "derivative of x^2 at 1, vertical"}, "tags": ["a"]});
    let answer = api.post("/v1/jobs", &body).await;
    assert_eq!(answer.status(), StatusCode::ACCEPTED);
    let job: Value = answer.json().await.unwrap();
    assert_eq!(
        (&job["input"]["kind"], &job["resolved"]["id"]),
        (&json!("prompt"), &json!("derivative-tangent"))
    );
    assert_eq!(
        (&job["resolved"]["params"]["f"], &job["output"]["aspect"]),
        (&json!("x^2"), &json!("9:16"))
    );

    let claim = api.worker().claim().await;
    let payload = claim.payload.expect("it can be read");
    assert_eq!(
        payload.params.expect("resolved")["f"]["ast"],
        json!(["^", "x", 2])
    );
    assert!(matches!(payload.request.input, JobInput::Prompt { .. }));

    let listed: Value = api
        .get("/v1/jobs?template=derivative-tangent&kind=prompt")
        .await
        .json()
        .await
        .unwrap();
    assert_eq!(listed["jobs"][0]["id"], job["id"]);
    assert_eq!(listed["jobs"][0]["resolved"]["id"], "derivative-tangent");
}

#[tokio::test]
async fn what_a_prompt_leaves_open_is_told_with_its_plan_its_job_and_another_run() {
    let api = Api::start().await;
    let prompt = "What is a derivative? at 24 fps, 30 seconds long";
    let plan: Value = api
        .post("/v1/plan", &json!({"prompt": prompt}))
        .await
        .json()
        .await
        .unwrap();
    assert_eq!(plan["assumed"], json!(["a", "f"]), "{plan}");
    assert_eq!(plan["output"], json!({"fps": 24}), "{plan}");
    let notes = plan["notes"].to_string();
    for words in ["30 seconds long", "is not used", "does not say `a` and `f`"] {
        assert!(notes.contains(words), "{words}: {notes}");
    }
    let body = json!({"input": {"kind": "prompt", "prompt": prompt}});
    let job: Value = api.post("/v1/jobs", &body).await.json().await.unwrap();
    assert_eq!(job["resolved"]["notes"], plan["notes"], "{job}");
    assert_eq!(job["output"]["fps"], 24, "{job}");
    let path = format!("/v1/jobs/{}/rerun", job["id"].as_str().unwrap());
    let again: Value = api.post(&path, &json!({})).await.json().await.unwrap();
    assert_eq!(again["resolved"]["notes"], plan["notes"], "{again}");
    let listed: Value = api.get("/v1/jobs").await.json().await.unwrap();
    assert_eq!(listed["jobs"][0]["resolved"].get("notes"), None, "{listed}");

    let typo = json!({"prompt": "derivative of sni(x) at 2"});
    let told = problem(api.post("/v1/plan", &typo).await, 422, "prompt-ambiguous").await;
    assert!(
        told.detail.contains("character 15") && told.detail.contains("▸sni(x)"),
        "{}",
        told.detail
    );
    assert_eq!(told.candidates[0]["params"], json!({"a": 2}));
}

#[tokio::test]
async fn what_is_unclear_or_wrong_is_told_with_the_remedy() {
    let api = Api::start().await;
    let unclear = api
        .post("/v1/plan", &json!({"prompt": "photosynthesis"}))
        .await;
    let told = problem(unclear, 422, "prompt-ambiguous").await;
    assert_eq!(told.candidates.len(), 3);
    let job = json!({"input": {"kind": "prompt", "prompt": "photosynthesis"}});
    problem(api.post("/v1/jobs", &job).await, 422, "prompt-ambiguous").await;
    let card =
        json!({"input": {"kind": "prompt", "prompt": "photosynthesis", "fallback": "explainer"}});
    assert_eq!(
        api.post("/v1/jobs", &card).await.status(),
        StatusCode::ACCEPTED
    );

    let template = |input: Value| json!({"input": input});
    for (input, kind, status, pointer) in [
        (
            json!({"kind": "template", "id": "nope"}),
            "invalid-params",
            422,
            "/input/id",
        ),
        (
            json!({"kind": "template", "id": "function-plot", "params": {"f": ["x +"]}}),
            "invalid-params",
            422,
            "/input/params/f/0",
        ),
        (
            json!({"kind": "template", "id": "function-plot", "version": "0.0.1", "params": {"f": ["x"]}}),
            "template-version-gone",
            409,
            "",
        ),
        (
            json!({"kind": "prompt", "prompt": " "}),
            "invalid-params",
            422,
            "/input/prompt",
        ),
    ] {
        let told = problem(api.post("/v1/jobs", &template(input)).await, status, kind).await;
        assert_eq!(
            told.errors
                .first()
                .map_or("", |error| error.pointer.as_str()),
            pointer
        );
    }
}

#[tokio::test]
async fn the_prototypes_call_gives_a_job_with_its_id_and_later_its_result() {
    let api = Api::start().await;
    let body = json!({"prompt": "Explain the Pythagorean theorem with a triangle", "quality": "low", "theme": "mine"});
    let answer = api.post("/api/manim/generate", &body).await;
    assert_eq!(answer.status(), StatusCode::ACCEPTED);
    let place = answer.headers()["location"].to_str().unwrap().to_owned();
    let job: Value = answer.json().await.unwrap();
    assert_eq!(
        place,
        format!("/api/manim/jobs/{}", job["jobId"].as_str().unwrap())
    );
    assert_eq!(
        (&job["status"], &job["output"]["quality"]),
        (&json!("queued"), &json!("low"))
    );
    let worker = api.worker();
    let claim = worker.claim().await;
    worker.succeed(&claim, &[("video.mp4", b"film")]).await;
    let job: Value = api.get(&place).await.json().await.unwrap();
    assert_eq!(job["status"], "succeeded");
    assert!(
        job["resultUrl"]
            .as_str()
            .is_some_and(|url| url.contains("manim_videos")),
        "{job}"
    );
    for (body, pointer) in [
        (json!({"prompt": "a", "quality": "best"}), "/quality"),
        (json!({"prompt": ""}), "/prompt"),
    ] {
        let answer = api.post("/api/manim/generate", &body).await;
        assert_eq!(
            problem(answer, 422, "invalid-params").await.errors[0].pointer,
            pointer
        );
    }
}

#[tokio::test]
async fn what_a_prompt_says_of_the_output_must_go_with_what_the_body_says() {
    let api = Api::start().await;
    let body = json!({
        "input": {"kind": "prompt", "prompt": "plot x^2 as mp4"},
        "output": {"format": "webm", "transparent": true}
    });
    let refused = problem(api.post("/v1/jobs", &body).await, 422, "invalid-params").await;
    assert!(!refused.errors.is_empty(), "{refused:?}");
}

#[tokio::test]
async fn a_size_or_shape_that_a_prompt_says_counts_more_than_an_exact_size_beside_it() {
    let api = Api::start().await;
    let body = |prompt: &str, width: u32, height: u32| {
        json!({
            "input": {"kind": "prompt", "prompt": prompt},
            "output": {"width": width, "height": height}
        })
    };
    for (prompt, (width, height), shown, said) in [
        ("plot x^2", (640, 480), (640, 480), None),
        ("plot x^2 in 4k", (640, 480), (3840, 2160), Some("says 4k")),
        ("plot x^2, vertical", (640, 480), (720, 1280), Some("says ")),
        // It is vertical.
        ("plot x^2, vertical", (480, 640), (480, 640), None),
        (
            "plot x^2 in 4k, vertical",
            (480, 640),
            (2160, 3840),
            Some("says 4k and "),
        ),
    ] {
        let id = api.submit_body(&body(prompt, width, height)).await.id;
        let job = api.job(id).await;
        let (w, h, _) = job.output.size();
        assert_eq!((w, h), shown, "{prompt}");
        let notes = job.resolved.unwrap().notes.join("; ");
        let size = format!("{width}x{height}, asked for beside the prompt, is not used");
        assert_eq!(notes.contains(&size), said.is_some(), "{prompt}: {notes}");
        assert!(notes.contains(said.unwrap_or_default()), "{notes}");
    }
    // What the prompt asks for is held to what the tenant may have.
    let limits = "pixels=500000".parse().unwrap();
    let tenant = TenantId::default();
    api.queue.set_render_limits(&tenant, &limits).await.unwrap();
    let small = body("plot x^2 in 4k", 640, 480);
    let refused = problem(api.post("/v1/jobs", &small).await, 422, "invalid-params").await;
    assert_eq!(refused.errors[0].pointer, "/output/quality");
    api.submit_body(&body("plot x^2", 640, 480)).await;
}
