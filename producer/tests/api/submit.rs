//! `POST /v1/jobs`: what is accepted, what is refused and how, idempotency, the quota.

use manimq_shared::api::JobView;
use manimq_shared::ids::TenantId;
use manimq_shared::job::{FrameRate, JobInput, Lane, Quality, Stage, Status};
use manimq_shared::queue::Quotas;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::support::{Api, SCENE, Setup, Then, problem, raw, scene_body};

#[tokio::test]
async fn a_submitted_job_is_answered_with_its_object_and_address() {
    let api = Api::start().await;
    let body = json!({
        "input": {"kind": "code", "source": SCENE, "file_name": "lesson 7.py"},
        "output": {"format": "webm", "quality": "low", "transparent": true, "fps": 12},
        "lane": "interactive", "timeout_s": 30, "deadline_s": 60, "cache": "refresh",
        "tags": ["algebra"], "metadata": {"lesson": "7"},
    });
    let response = api.post("/v1/jobs", &body).await;
    assert_eq!(response.status(), StatusCode::ACCEPTED);
    let location = response.headers()["location"].to_str().unwrap().to_owned();
    let etag = response.headers()["etag"].clone();
    let job: JobView = response.json().await.unwrap();
    assert_eq!(location, format!("/v1/jobs/{}", job.id));
    assert_eq!(etag, "\"1.p1\"");
    assert_eq!((job.status, job.stage), (Status::Queued, Stage::Accepted));
    assert_eq!(job.input.scene.as_deref(), Some("Hello"));
    assert_eq!(job.input.file_name.as_deref(), Some("lesson 7.py"));
    assert_eq!(job.input.source_bytes, SCENE.len() as u64);
    assert_eq!(
        (job.output.quality, job.output.fps),
        (Quality::Low, Some(FrameRate::whole(12)))
    );
    assert_eq!(job.tags, ["algebra"]);
    assert_eq!(job.metadata["lesson"], "7");
    let queue = job.queue.clone().unwrap();
    assert_eq!((queue.lane, queue.position), (Lane::Interactive, Some(1)));
    assert_eq!(job.links.this, api.url(&location));

    let read: JobView = api.get(&location).await.json().await.unwrap();
    assert_eq!(read, job);
    let text = api.get(&location).await.text().await.unwrap();
    assert!(
        !text.contains("construct"),
        "the source is not repeated: {text}"
    );
}

#[tokio::test]
async fn the_only_scene_is_written_into_what_the_worker_gets() {
    let api = Api::start().await;
    let job = api.submit().await;
    let payload = api.queue.read(job.id).await.unwrap().unwrap().payload;
    let JobInput::Code { scene, source, .. } = payload.request.input else {
        unreachable!("a job with code")
    };
    assert_eq!(scene.as_deref(), Some("Hello"));
    assert_eq!(source, SCENE);
}

#[tokio::test]
async fn the_callers_trace_goes_with_the_job_if_it_is_one() {
    let api = Api::start().await;
    let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    for (sent, kept) in [(trace, Some(trace)), ("nonsense", None)] {
        let job: JobView = api
            .request(Method::POST, "/v1/jobs")
            .header("traceparent", sent)
            .json(&scene_body(SCENE))
            .send()
            .await
            .unwrap()
            .json()
            .await
            .unwrap();
        let payload = api.queue.read(job.id).await.unwrap().unwrap().payload;
        assert_eq!(payload.traceparent.as_deref(), kept);
    }
}

#[tokio::test]
async fn json_that_is_not_a_request_is_refused_with_a_pointer() {
    let api = Api::start().await;
    for (body, pointer, words) in [
        (
            json!({"input": {"kind": "code", "source": SCENE}, "colour": "red"}),
            "/colour",
            "there is no field \"colour\"",
        ),
        (
            json!({"input": {"kind": "code", "source": SCENE, "sauce": 1}}),
            "/input/sauce",
            "there is no field \"sauce\"",
        ),
        (
            json!({"input": {"kind": "code", "source": SCENE}, "output": {"quality": "ultra"}}),
            "/output/quality",
            "\"ultra\" is not one of low, medium, high, production, 4k",
        ),
        (
            json!({"input": {"kind": "code"}}),
            "/input/source",
            "the field \"source\" is missing",
        ),
        (json!({}), "/input", "the field \"input\" is missing"),
        (
            json!({"input": {"kind": "code", "source": SCENE}, "timeout_s": -1}),
            "/timeout_s",
            "it must be a whole number",
        ),
    ] {
        let refused = problem(api.post("/v1/jobs", &body).await, 400, "malformed").await;
        assert_eq!(refused.errors[0].pointer, pointer, "{refused:?}");
        assert!(refused.detail.contains(words), "{refused:?}");
    }
}

#[tokio::test]
async fn what_is_no_json_is_refused_with_line_and_column() {
    let api = Api::start().await;
    for (body, words) in [
        (&b"{\n  \"input\": x}"[..], "line 2, column 12"),
        (b"", "the body is empty"),
        (b"[]", "JSON"),
        (
            b"{\"input\":\"a\xffb\"}",
            "not UTF-8: byte 0xff at line 1, column 12",
        ),
        (
            b"{\"input\":{\"kind\":\"code\",\"source\":\"a\0b\"}}",
            "control character (such as a NUL byte",
        ),
        (
            b"{\"input\":{\"kind\":\"code\",\"source\":\"\\ud800\"}}",
            "half of a surrogate pair",
        ),
    ] {
        let refused = problem(api.post_raw(body).await, 400, "malformed").await;
        assert!(
            refused.detail.contains(words) || words == "JSON",
            "{refused:?}"
        );
    }
}

#[tokio::test]
async fn another_content_type_is_refused() {
    let api = Api::start().await;
    for kind in [
        Some("text/plain"),
        Some("application/x-www-form-urlencoded"),
        None,
    ] {
        let mut request = api.request(Method::POST, "/v1/jobs").body("{}");
        if let Some(kind) = kind {
            request = request.header("content-type", kind);
        }
        let refused = problem(request.send().await.unwrap(), 415, "media-type").await;
        assert!(refused.detail.contains("application/json"), "{refused:?}");
    }
    let accepted = api
        .request(Method::POST, "/v1/jobs")
        .header("content-type", "Application/JSON; charset=utf-8")
        .body(scene_body(SCENE).to_string())
        .send()
        .await
        .unwrap();
    assert_eq!(accepted.status(), StatusCode::ACCEPTED);
}

#[tokio::test]
async fn values_out_of_range_are_all_told_at_once() {
    let api = Api::start().await;
    let body = json!({
        "input": {"kind": "code", "source": SCENE, "file_name": "../a.py"},
        "output": {"fps": 0, "transparent": true}, "timeout_s": 0,
        "tags": [""],
    });
    let refused = problem(api.post("/v1/jobs", &body).await, 422, "invalid-params").await;
    let pointers: Vec<_> = refused.errors.iter().map(|e| e.pointer.as_str()).collect();
    assert_eq!(
        pointers,
        [
            "/input/file_name",
            "/output/fps",
            "/output/transparent",
            "/timeout_s",
            "/tags/0"
        ]
    );
    // The sandbox would not take these.
    for name in [
        "scene.txt",
        ".py",
        ".a.py",
        &format!("{}.py", "é".repeat(63)),
    ] {
        let body = json!({"input": {"kind": "code", "source": SCENE, "file_name": name}});
        let refused = problem(api.post("/v1/jobs", &body).await, 422, "invalid-params").await;
        assert_eq!(refused.errors[0].pointer, "/input/file_name", "{refused:?}");
    }
}

#[tokio::test]
async fn a_source_that_is_no_scene_is_refused_with_line_column_and_hint() {
    let api = Api::start().await;
    let body = |source: &str| json!({"input": {"kind": "code", "source": source, "file_name": "my scene.py"}});
    let syntax = "from manim import *\nclass A(Scene):\n    def construct(self)\n        pass\n";
    let refused = problem(
        api.post("/v1/jobs", &body(syntax)).await,
        422,
        "code-rejected",
    )
    .await;
    assert_eq!(refused.findings[0]["line"], 3);
    assert_eq!(refused.findings[0]["code"], "syntax-error");
    assert!(refused.findings[0]["column"].as_u64().unwrap() > 1);
    assert!(
        refused.detail.starts_with("my scene.py, line 3, column"),
        "{refused:?}"
    );

    let forbidden = "import os\nimport socket\nfrom manim import *\nclass A(Scene):\n    def construct(self):\n        eval('1')\n";
    let refused = problem(
        api.post("/v1/jobs", &body(forbidden)).await,
        422,
        "code-rejected",
    )
    .await;
    let lines: Vec<_> = refused
        .findings
        .iter()
        .map(|f| f["line"].as_u64().unwrap())
        .collect();
    assert_eq!(lines, [1, 2, 6], "all findings at once: {refused:?}");
    assert!(refused.detail.contains("and 2 more"), "{refused:?}");

    let nul = problem(
        api.post("/v1/jobs", &body("a\0b")).await,
        422,
        "code-rejected",
    )
    .await;
    assert_eq!(nul.findings[0]["code"], "source-has-nul");
    let deep = format!("x = {}1{}", "(".repeat(100_000), ")".repeat(100_000));
    let deep = problem(
        api.post("/v1/jobs", &body(&deep)).await,
        422,
        "code-rejected",
    )
    .await;
    assert_eq!(deep.findings[0]["code"], "nesting-too-deep");
}

#[tokio::test]
async fn without_the_policy_what_is_python_is_accepted() {
    let source = format!("import os\n{SCENE}");
    let api = Setup::new().flags(&["--scene-policy=off"]).start().await;
    api.submit_body(&scene_body(&source)).await;
    let refused = api.post("/v1/jobs", &scene_body("def")).await;
    problem(refused, 422, "code-rejected").await;
    let strict = Api::start().await;
    problem(
        strict.post("/v1/jobs", &scene_body(&source)).await,
        422,
        "code-rejected",
    )
    .await;
}

#[tokio::test]
async fn a_scene_that_cannot_be_chosen_is_told_with_those_there_are() {
    let api = Api::start().await;
    let class = |name: &str| {
        format!("class {name}(Scene):\n    def construct(self):\n        self.wait()\n")
    };
    let two = format!(
        "from manim import *\n{}{}",
        class("SquareToCircle"),
        class("Zoom")
    );
    let with = |source: &str, scene: Option<&str>| {
        let mut body = scene_body(source);
        if let Some(scene) = scene {
            body["input"]["scene"] = json!(scene);
        }
        body
    };
    for (source, scene, pointer, words, scenes) in [
        (
            two.as_str(),
            None,
            "/input/scene",
            "2 scenes and none was named",
            2,
        ),
        (
            &two,
            Some("SquareToCircel"),
            "/input/scene",
            "did you mean `SquareToCircle`?",
            2,
        ),
        (
            &two,
            Some("../../etc/passwd"),
            "/input/scene",
            "looks like a path",
            0,
        ),
        (
            &two,
            Some("scene.py"),
            "/input/scene",
            "looks like a path",
            0,
        ),
        (
            &two,
            Some(""),
            "/input/scene",
            "is not the name of a scene",
            0,
        ),
        (
            "import manim\n",
            None,
            "/input/source",
            "defines no scene",
            0,
        ),
    ] {
        let response = api.post("/v1/jobs", &with(source, scene)).await;
        let refused = problem(response, 422, "invalid-params").await;
        assert_eq!(refused.errors[0].pointer, pointer);
        assert!(refused.detail.contains(words), "{refused:?}");
        assert_eq!(refused.scenes.len(), scenes, "{refused:?}");
    }
    let job = api.submit_body(&with(&two, Some("Zoom"))).await;
    assert_eq!(job.input.scene.as_deref(), Some("Zoom"));
}

#[tokio::test]
async fn an_exact_size_is_held_to_what_the_tenant_may_ask_for() {
    let api = Api::start().await;
    let tenant = TenantId::default();
    let sized = |width: u32, height: u32| {
        let mut body = scene_body(SCENE);
        body["output"] =
            json!({"quality": "low", "width": width, "height": height, "fps": 29.97, "seed": 7});
        body
    };
    let job = api.submit_body(&sized(1080, 1350)).await;
    assert_eq!(job.output.exact_size(), Some((1080, 1350)));
    assert_eq!(
        (job.output.fps, job.output.seed),
        (FrameRate::new(29.97), Some(7))
    );
    let odd = problem(
        api.post("/v1/jobs", &sized(1081, 1350)).await,
        422,
        "invalid-params",
    )
    .await;
    assert_eq!(odd.errors[0].pointer, "/output/width");
    // The pixels that the operator allows; qualities above the usual one are held to them, too.
    let limits = "pixels=500000".parse().unwrap();
    api.queue.set_render_limits(&tenant, &limits).await.unwrap();
    let large = problem(
        api.post("/v1/jobs", &sized(1080, 1350)).await,
        422,
        "invalid-params",
    )
    .await;
    assert!(large.errors[0].detail.contains("500000"), "{large:?}");
    let mut high = scene_body(SCENE);
    high["output"] = json!({"quality": "high"});
    let high = problem(api.post("/v1/jobs", &high).await, 422, "invalid-params").await;
    assert_eq!(high.errors[0].pointer, "/output/quality");
    // What is wrong in itself is all told first.
    let mut wrong = sized(1081, 1350);
    wrong["timeout_s"] = json!(0);
    let wrong = problem(api.post("/v1/jobs", &wrong).await, 422, "invalid-params").await;
    let mut pointers: Vec<_> = wrong.errors.iter().map(|e| e.pointer.as_str()).collect();
    pointers.sort_unstable();
    assert_eq!(pointers, ["/output/width", "/timeout_s"], "{wrong:?}");
    assert!(!wrong.detail.contains("500000"), "{wrong:?}");
    api.submit_body(&sized(640, 480)).await;
    let again = format!("/v1/jobs/{}/rerun", job.id);
    problem(api.post(&again, &json!({})).await, 422, "invalid-params").await;
    // The quality that it counts as, however it is called.
    let quotas = Quotas {
        quality_max: Some(Quality::Low),
        ..Quotas::default()
    };
    api.queue.set_quotas(&tenant, &quotas).await.unwrap();
    api.submit_body(&sized(480, 854)).await;
    let refused = api.post("/v1/jobs", &sized(900, 480)).await;
    assert_eq!(refused.status(), StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn a_quota_over_time_is_told_with_its_name_and_when_to_come_back() {
    let api = Api::start().await;
    let quotas = Quotas {
        submits_per_minute: Some(1),
        ..Quotas::default()
    };
    api.queue
        .set_quotas(&TenantId::default(), &quotas)
        .await
        .unwrap();
    api.submit().await;
    let refused = problem(
        api.post("/v1/jobs", &scene_body(SCENE)).await,
        429,
        "quota-exceeded",
    )
    .await;
    assert_eq!(refused.violated_policies, ["submits_per_minute"]);
    assert!(refused.detail.contains("submits_per_minute"), "{refused:?}");
}

#[tokio::test]
async fn ten_megabytes_of_source_are_refused_with_the_limits() {
    let api = Api::start().await;
    let long = |bytes: usize| scene_body(&format!("{SCENE}#{}", "x".repeat(bytes)));
    let refused = problem(
        api.post("/v1/jobs", &long(10_000_000)).await,
        413,
        "too-large",
    )
    .await;
    assert!(
        refused.detail.contains("2 MiB") && refused.detail.contains("256 KiB"),
        "{refused:?}"
    );
    let refused = problem(api.post("/v1/jobs", &long(300_000)).await, 413, "too-large").await;
    assert_eq!(refused.errors[0].pointer, "/input/source");
    assert!(refused.detail.contains("256 KiB"), "{refused:?}");
}

#[tokio::test]
async fn a_body_of_unknown_length_is_bounded_too() {
    let api = Api::start().await;
    let chunk = bytes::Bytes::from(vec![b' '; 64 * 1024]);
    let endless =
        futures_util::stream::iter((0..60).map(move |_| Ok::<_, std::io::Error>(chunk.clone())));
    let response = api.post_raw(reqwest::Body::wrap_stream(endless)).await;
    problem(response, 413, "too-large").await;
}

#[tokio::test]
async fn a_body_that_does_not_arrive_is_given_up() {
    let mut setup = Setup::new();
    setup.limits.body_timeout = std::time::Duration::from_millis(200);
    let api = setup.start().await;
    let answer = raw(
        &api,
        b"POST /v1/jobs HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: 100\r\nconnection: close\r\n\r\n{",
    )
    .await;
    assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
    assert!(answer.contains("request-timeout"), "{answer}");
}

#[tokio::test]
async fn a_submit_that_was_sent_to_redis_twice_is_no_replay() {
    let mut setup = Setup::new();
    setup.proxy = Some(Then::LoseTheAnswer);
    let api = setup.start().await;
    let send = || {
        api.request(Method::POST, "/v1/jobs")
            .header("idempotency-key", "k-1")
            .json(&scene_body(SCENE))
            .send()
    };
    let first = send().await.unwrap();
    assert_eq!(first.status(), StatusCode::ACCEPTED);
    assert!(!first.headers().contains_key("idempotency-replayed"));
    let second = send().await.unwrap();
    assert_eq!(second.headers()["idempotency-replayed"], "true");
    assert_eq!(api.queue.stats().await.unwrap().ready, 1);
}

#[tokio::test]
async fn an_accepted_job_is_answered_though_it_cannot_be_read_any_more() {
    let mut setup = Setup::new();
    setup.proxy = Some(Then::Cut);
    let api = setup.start().await;
    let response = api.post("/v1/jobs", &scene_body(SCENE)).await;
    assert_eq!(response.status(), StatusCode::ACCEPTED);
    assert_eq!(response.headers()["etag"], "\"1\"");
    let job: JobView = response.json().await.unwrap();
    assert_eq!(job.status, manimq_shared::job::Status::Queued);
    problem(
        api.get(&format!("/v1/jobs/{}", job.id)).await,
        503,
        "queue-unavailable",
    )
    .await;
    let record = api.queue.read(job.id).await.unwrap().unwrap();
    assert_eq!(
        (record.revision, record.lane),
        (job.revision, job.queue.unwrap().lane)
    );
}

#[tokio::test]
async fn a_repeated_submit_with_the_same_key_gives_the_first_job() {
    let api = Api::start().await;
    let send = |key: &'static str, body: String| {
        let request = api
            .request(Method::POST, "/v1/jobs")
            .header("idempotency-key", key)
            .header("content-type", "application/json")
            .body(body);
        async move { request.send().await.unwrap() }
    };
    let body = scene_body(SCENE).to_string();
    let first = send("k-1", body.clone()).await;
    assert_eq!(first.status(), StatusCode::ACCEPTED);
    assert!(!first.headers().contains_key("idempotency-replayed"));
    let first: JobView = first.json().await.unwrap();

    // The same request in other words: spaces, a default spelt out, a quoted key.
    let same =
        json!({"lane": "normal", "cache": "refresh", "input": {"source": SCENE, "kind": "code"}});
    for (key, body) in [
        ("k-1", body.clone()),
        ("\"k-1\"", body.clone()),
        ("k-1", serde_json::to_string_pretty(&same).unwrap()),
    ] {
        let again = send(key, body).await;
        assert_eq!(again.status(), StatusCode::ACCEPTED);
        assert_eq!(again.headers()["idempotency-replayed"], "true");
        let again: JobView = again.json().await.unwrap();
        assert_eq!(again.id, first.id);
    }

    let other = scene_body(&format!("{SCENE}# changed\n")).to_string();
    let refused = problem(
        send("k-1", other.clone()).await,
        422,
        "idempotency-key-reused",
    )
    .await;
    assert!(
        refused.detail.contains(&first.id.to_string()),
        "{refused:?}"
    );
    let fresh: JobView = send("k-2", other).await.json().await.unwrap();
    assert_ne!(fresh.id, first.id);
}

#[tokio::test]
async fn two_hundred_equal_submits_at_once_make_one_job() {
    let api = Api::start().await;
    let submits = (0..200).map(|_| async {
        let response = api
            .request(Method::POST, "/v1/jobs")
            .header("idempotency-key", "once")
            .json(&scene_body(SCENE))
            .send()
            .await
            .unwrap();
        assert_eq!(response.status(), StatusCode::ACCEPTED);
        response.json::<JobView>().await.unwrap().id
    });
    let ids = futures_util::future::join_all(submits).await;
    assert!(ids.iter().all(|id| *id == ids[0]));
    assert_eq!(api.queue.stats().await.unwrap().ready, 1);
}

#[tokio::test]
async fn an_idempotency_key_that_is_none_is_refused() {
    let api = Api::start().await;
    for key in ["", "\"\"", "a b", &"k".repeat(65), "a\"b"] {
        let response = api
            .request(Method::POST, "/v1/jobs")
            .header("idempotency-key", key)
            .json(&scene_body(SCENE))
            .send()
            .await
            .unwrap();
        let refused = problem(response, 400, "malformed").await;
        assert!(refused.detail.contains("Idempotency-Key"), "{refused:?}");
    }
}

#[tokio::test]
async fn a_full_quota_is_told_with_its_numbers_and_ends_when_a_job_does() {
    let api = Api::start().await;
    let quotas = Quotas {
        queued_max: Some(2),
        ..Quotas::default()
    };
    api.queue
        .set_quotas(&TenantId::default(), &quotas)
        .await
        .unwrap();
    let first = api.submit().await;
    api.submit().await;
    let full = api.post("/v1/jobs", &scene_body(SCENE)).await;
    let refused = problem(full, 429, "quota-exceeded").await;
    assert!(refused.detail.contains("2 of 2"), "{refused:?}");
    assert_eq!(refused.violated_policies, ["queued_jobs"]);
    // One of a batch has no header of its own.
    let batch = json!({"jobs": [scene_body(SCENE)]});
    let answer = api.post("/v1/jobs/batch", &batch).await;
    assert_eq!(answer.status(), StatusCode::OK);
    let answer: Value = answer.json().await.unwrap();
    let problem = &answer["results"][0]["problem"];
    assert_eq!(problem["type"], refused.kind);
    assert!(refused.retry_after_s.is_some_and(|wait| wait > 0));
    assert_eq!(problem["retry_after_s"], json!(refused.retry_after_s));
    api.post(&format!("/v1/jobs/{}/cancel", first.id), &json!({}))
        .await;
    api.submit().await;
}
