//! Lists, batches, running again, deleting, validating, usage.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use manimq_shared::api::{
    ArtifactList, BatchAnswer, Deletion, JobList, JobView, UsageView, Validation,
};
use manimq_shared::ids::{JobId, TenantId};
use manimq_shared::job::Status;
use manimq_shared::queue::Quotas;
use reqwest::{Method, Response, StatusCode};
use serde_json::{Value, json};

use crate::support::{Api, SCENE, problem, scene_body};

async fn list(api: &Api, query: &str) -> JobList {
    let response = api.get(&format!("/v1/jobs{query}")).await;
    assert_eq!(response.status(), StatusCode::OK, "{query}");
    response.json().await.unwrap()
}

fn ids(list: &JobList) -> Vec<JobId> {
    list.jobs.iter().map(|job| job.id).collect()
}

fn header<'a>(response: &'a Response, name: &str) -> Option<&'a str> {
    response.headers().get(name)?.to_str().ok()
}

async fn set_quotas(api: &Api, quotas: Quotas) {
    let tenant = TenantId::default();
    api.queue.set_quotas(&tenant, &quotas).await.unwrap();
}

#[tokio::test]
async fn a_list_shows_ones_jobs_newest_first_and_finds_them_by_everything_it_promises() {
    let api = Api::start().await;
    assert_eq!(list(&api, "").await.jobs, []);
    let lesson = json!({
        "input": {"kind": "code", "source": SCENE, "scene": "Hello", "file_name": "algebra_7.py"},
        "tags": ["math", "Week 3"], "metadata": {"Teacher": "Ada Ünal"}, "lane": "batch", "cache": "refresh",
    });
    let first = api.finished_job(b"film").await;
    let second = api.submit_body(&lesson).await;
    let path = format!("/v1/jobs/{}/rerun", first.id);
    let rerun = api.post(&path, &json!({"cache": "refresh"})).await;
    let third: JobView = rerun.json().await.unwrap();
    let (one, two, three) = (first.id, second.id, third.id);
    for (query, expected) in [
        ("", vec![three, two, one]),
        ("?status=queued", vec![three, two]),
        ("?status=succeeded,failed", vec![one]),
        ("?status=expired", vec![]),
        ("?stage=accepted", vec![three, two]),
        ("?stage=uploading", vec![one]),
        ("?kind=code", vec![three, two, one]),
        ("?kind=prompt", vec![]),
        ("?scene=Hello", vec![three, two, one]),
        ("?scene=hello", vec![]),
        ("?lane=batch", vec![two]),
        ("?tag=Week%203", vec![two]),
        ("?tag=week", vec![]),
        ("?tag=&status=&limit=&cursor=", vec![three, two, one]),
        ("?q=ALGEBRA", vec![two]),
        ("?q=week", vec![two]),
        ("?q=%C3%BCnal", vec![two]),
        ("?q=teach", vec![two]),
        ("?q=nowhere", vec![]),
        (&*format!("?q={}", &two.to_string()[10..]), vec![two]),
        (&*format!("?parent={one}"), vec![three]),
        ("?created_after=2020-01-01T00:00:00Z", vec![three, two, one]),
        ("?created_before=2020-01-01T00:00:00Z", vec![]),
        ("?created_after=2999-01-01T00:00:00Z", vec![]),
        (&*format!("?created_before={}", first.created_at), vec![one]),
        ("?lane=batch&status=queued&q=math&limit=200", vec![two]),
    ] {
        assert_eq!(ids(&list(&api, query).await), expected, "{query}");
    }
    // A job looks as it does by itself, but for what takes a look at the queue.
    let all = list(&api, "").await;
    let mut whole = api.job(one).await;
    whole.attempts.clear();
    whole.expires_at = None;
    assert_eq!(all.jobs[2], whole);
    assert_eq!(all.jobs[1].tags, ["math", "Week 3"]);
    assert_eq!(all.jobs[1].input, second.input);
    assert_eq!(all.jobs[0].parent, Some(one));
}

#[tokio::test]
async fn pages_follow_the_link_header_to_the_end() {
    let api = Api::start().await;
    let mut expected = Vec::new();
    for _ in 0..7 {
        expected.insert(0, api.submit().await.id);
    }
    let (mut found, mut at) = (Vec::new(), "/v1/jobs?limit=3&status=queued".to_owned());
    for page in [3, 3, 1] {
        let response = api.get(&at).await;
        let link = header(&response, "link").map(str::to_owned);
        let list: JobList = response.json().await.unwrap();
        assert_eq!(list.jobs.len(), page);
        assert_eq!(list.next.is_some(), link.is_some());
        found.extend(ids(&list));
        // What comes meanwhile is on no later page.
        api.submit().await;
        let Some(link) = link else { break };
        let path = link.strip_prefix('<').unwrap();
        let path = path.strip_suffix(">; rel=\"next\"").unwrap();
        assert!(path.contains("limit=3&status=queued&cursor="), "{path}");
        at = path.to_owned();
    }
    assert_eq!(found, expected);
}

#[tokio::test]
async fn a_wrong_parameter_of_a_list_is_refused_by_name() {
    let api = Api::start().await;
    for (query, name, words) in [
        ("status=done", "/status", "queued, running"),
        ("status=failed,", "/status", "succeeded"),
        ("stage=cooking", "/stage", "rendering"),
        ("lane=fast", "/lane", "interactive"),
        ("limit=0", "/limit", "1 to 200"),
        ("limit=201", "/limit", "1 to 200"),
        ("limit=-1", "/limit", "number"),
        ("limit=many", "/limit", "number"),
        ("cursor=abc", "/cursor", "leave it out"),
        ("parent=x", "/parent", "job id"),
        (
            "created_after=yesterday",
            "/created_after",
            "2026-11-22T08:00:00Z",
        ),
        ("created_before=1", "/created_before", "time"),
    ] {
        let response = api.get(&format!("/v1/jobs?{query}")).await;
        let problem = problem(response, 422, "invalid-params").await;
        assert_eq!(problem.errors[0].pointer, name, "{problem:?}");
        assert!(problem.detail.contains(words), "{problem:?}");
    }
    let long = format!("/v1/jobs?q={}", "x".repeat(201));
    problem(api.get(&long).await, 422, "invalid-params").await;
    let unknown = problem(api.get("/v1/jobs?colour=red").await, 400, "malformed").await;
    assert!(unknown.detail.contains("colour"), "{unknown:?}");
}

#[tokio::test]
async fn five_hundred_jobs_are_listed_quickly() {
    let api = Api::start().await;
    for _ in 0..5 {
        let jobs: Vec<Value> = (0..100).map(|_| scene_body(SCENE)).collect();
        let response = api.post("/v1/jobs/batch", &json!({"jobs": jobs})).await;
        let answer: BatchAnswer = response.json().await.unwrap();
        assert_eq!(answer.accepted, 100);
    }
    let start = std::time::Instant::now();
    let (mut found, mut query) = (BTreeSet::new(), "?limit=200".to_owned());
    loop {
        let page = list(&api, &query).await;
        found.extend(ids(&page));
        let Some(next) = page.next else { break };
        query = format!("?limit=200&cursor={next}");
    }
    let took = start.elapsed();
    assert_eq!(found.len(), 500);
    // Some 60 ms in a debug build.
    assert!(took < Duration::from_secs(2), "{took:?}");
}

#[tokio::test]
async fn each_job_of_a_batch_is_answered_for_itself() {
    let api = Api::start().await;
    let mut long = scene_body(SCENE);
    long["timeout_s"] = json!(0);
    let body = json!({"jobs": [
        scene_body(SCENE),
        scene_body("import os\n"),
        long,
        {"input": {"kind": "code", "source": SCENE}, "cache": "only"},
        scene_body(SCENE),
    ]});
    let response = api.post("/v1/jobs/batch", &body).await;
    assert_eq!(response.status(), StatusCode::OK);
    assert!(
        header(&response, "ratelimit")
            .unwrap()
            .contains("\"queued_jobs\";r=998")
    );
    let answer: BatchAnswer = response.json().await.unwrap();
    assert_eq!((answer.accepted, answer.refused), (2, 3));
    let statuses: Vec<u16> = answer.results.iter().map(|result| result.status).collect();
    assert_eq!(statuses, [202, 422, 422, 412, 202]);
    let kinds: Vec<_> = answer
        .results
        .iter()
        .filter_map(|result| Some(result.problem.as_ref()?.kind.as_str()))
        .collect();
    assert_eq!(kinds, ["code-rejected", "invalid-params", "not-cached"]);
    for n in [0, 4] {
        let job = answer.results[n].job.as_ref().unwrap();
        assert_eq!(api.job(job.id).await.status, Status::Queued);
    }
    for (jobs, words) in [
        (vec![], "0 jobs"),
        (vec![scene_body(SCENE); 101], "101 jobs"),
    ] {
        let response = api.post("/v1/jobs/batch", &json!({"jobs": jobs})).await;
        let problem = problem(response, 422, "invalid-params").await;
        assert!(problem.detail.contains(words), "{problem:?}");
    }
    let unknown = json!({"jobs": [scene_body(SCENE), {"input": {"kind": "code", "source": SCENE}, "colour": 1}]});
    let response = api.post("/v1/jobs/batch", &unknown).await;
    let problem = problem(response, 400, "malformed").await;
    assert_eq!(problem.errors[0].pointer, "/jobs/1/colour");
}

#[tokio::test]
async fn a_batch_of_all_or_nothing_is_refused_whole_and_says_which_was_wrong() {
    let api = Api::start().await;
    let batch = |jobs: Vec<Value>| json!({"jobs": jobs, "all_or_nothing": true});
    let mut wrong = scene_body(SCENE);
    wrong["output"] = json!({"fps": 0});
    let body = batch(vec![scene_body(SCENE), wrong, scene_body("import os\n")]);
    let response = api.post("/v1/jobs/batch", &body).await;
    let refused = problem(response, 422, "invalid-params").await;
    let pointers: Vec<_> = refused
        .errors
        .iter()
        .map(|error| error.pointer.as_str())
        .collect();
    assert_eq!(pointers, ["/jobs/1/output/fps", "/jobs/2"]);
    set_quotas(
        &api,
        Quotas {
            queued_max: Some(3),
            ..Quotas::default()
        },
    )
    .await;
    let response = api
        .post("/v1/jobs/batch", &batch(vec![scene_body(SCENE); 4]))
        .await;
    assert!(
        header(&response, "ratelimit")
            .unwrap()
            .contains("\"queued_jobs\";r=3")
    );
    let refused = problem(response, 429, "quota-exceeded").await;
    assert!(
        refused.detail.starts_with("nothing was accepted: job 3"),
        "{refused:?}"
    );
    assert_eq!(refused.violated_policies, ["queued_jobs"]);
    assert_eq!(list(&api, "").await.jobs.len(), 0);
    let response = api
        .post("/v1/jobs/batch", &batch(vec![scene_body(SCENE); 3]))
        .await;
    let answer: BatchAnswer = response.json().await.unwrap();
    assert_eq!((answer.accepted, answer.refused), (3, 0));
    assert_eq!(list(&api, "").await.jobs.len(), 3);
}

#[tokio::test]
async fn a_batch_with_an_idempotency_key_may_be_repeated() {
    let api = Api::start().await;
    let send = async |body: &Value| -> BatchAnswer {
        let call = api.request(Method::POST, "/v1/jobs/batch");
        let call = call.header("idempotency-key", "k1").json(body);
        call.send().await.unwrap().json().await.unwrap()
    };
    for together in [false, true] {
        let mut other = scene_body(SCENE);
        other["tags"] = json!([together.to_string()]);
        let body = json!({"jobs": [scene_body(SCENE), other], "all_or_nothing": together});
        let first = send(&body).await;
        let second = send(&body).await;
        if !together {
            assert!(first.results.iter().all(|result| !result.replayed));
        }
        assert!(second.results.iter().all(|result| result.replayed));
        let ids = |answer: &BatchAnswer| -> Vec<JobId> {
            let jobs = answer
                .results
                .iter()
                .map(|result| result.job.as_ref().unwrap().id);
            jobs.collect()
        };
        assert_eq!(ids(&first), ids(&second));
        // The second time round its second place has another body.
        if !together {
            let body = json!({"jobs": [scene_body(SCENE), scene_body(SCENE)]});
            let third = send(&body).await;
            let problem = third.results[1].problem.as_ref().unwrap();
            assert_eq!(problem.kind, "idempotency-key-reused");
            break;
        }
    }
    // The key of a single submit is another one.
    let single = api.request(Method::POST, "/v1/jobs");
    let single = single
        .header("idempotency-key", "k1")
        .json(&scene_body(SCENE));
    let single = single.send().await.unwrap();
    assert_eq!(single.status(), StatusCode::ACCEPTED);
    assert_eq!(header(&single, "idempotency-replayed"), None);
}

async fn submit_preferring(api: &Api, preference: &str) -> Response {
    let call = api
        .request(Method::POST, "/v1/jobs")
        .json(&scene_body(SCENE));
    call.header("prefer", preference).send().await.unwrap()
}

#[tokio::test]
async fn a_submit_that_prefers_to_wait_is_answered_when_the_job_has_ended() {
    let api = Api::start().await;
    let worker = api.worker();
    worker.show_up().await;
    let run = async {
        loop {
            let claimed = api
                .queue
                .claim(&worker.info, 1, manimq_shared::queue::LEASE)
                .await;
            if let Some(claim) = claimed.unwrap().claims.pop() {
                worker.succeed(&claim, &[("video.mp4", b"film")]).await;
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let (response, ()) = tokio::join!(submit_preferring(&api, "respond-async, wait=50; x=1"), run);
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(header(&response, "preference-applied"), Some("wait=50"));
    let location = header(&response, "location").unwrap().to_owned();
    let job: JobView = response.json().await.unwrap();
    assert_eq!(job.status, Status::Succeeded);
    assert!(job.result_url.is_some() && location.ends_with(&job.id.to_string()));

    let response = submit_preferring(&api, "wait=1").await;
    assert_eq!(response.status(), StatusCode::ACCEPTED);
    let job: JobView = response.json().await.unwrap();
    assert_eq!(job.status, Status::Queued);
    for odd in ["wait=soon", "wait", "wait=-1", "", "return=minimal"] {
        let response = submit_preferring(&api, odd).await;
        assert_eq!(response.status(), StatusCode::ACCEPTED, "{odd:?}");
        assert_eq!(header(&response, "preference-applied"), None, "{odd:?}");
    }
}

#[tokio::test]
async fn a_rerun_changes_what_it_is_told_to_and_nothing_else() {
    let api = Api::start().await;
    let body = json!({
        "input": {"kind": "code", "source": SCENE, "file_name": "a.py"},
        "output": {"quality": "high", "fps": 24, "aspect": "1:1"},
        "lane": "batch", "timeout_s": 77, "tags": ["t"], "metadata": {"k": "v"},
    });
    let first = api.submit_body(&body).await;
    let path = format!("/v1/jobs/{}/rerun", first.id);
    let change = json!({"output": {"quality": "low", "format": "gif"}, "lane": "interactive", "timeout_s": 9});
    let response = api.post(&path, &change).await;
    assert_eq!(response.status(), StatusCode::ACCEPTED);
    assert!(header(&response, "ratelimit-policy").is_some());
    let again: JobView = response.json().await.unwrap();
    assert_ne!(again.id, first.id);
    assert_eq!(again.parent, Some(first.id));
    assert_eq!(
        serde_json::to_value(&again.output).unwrap(),
        json!({
            "quality": "low", "format": "gif", "aspect": "1:1", "transparent": false, "encoder": "fast",
        })
    );
    assert_eq!(
        (again.timeout_s, &again.tags, &again.metadata),
        (9, &first.tags, &first.metadata)
    );
    assert_eq!(again.input, first.input);
    let changed = async |of: JobId, output: serde_json::Value| {
        let path = format!("/v1/jobs/{of}/rerun");
        let response = api.post(&path, &json!({"output": output})).await;
        assert_eq!(response.status(), StatusCode::ACCEPTED);
        response.json::<JobView>().await.unwrap()
    };
    // An exact size takes the place of a shape, and a shape or a quality that of an exact size.
    let sized = changed(first.id, json!({"width": 640, "height": 480, "seed": 3})).await;
    assert_eq!(sized.output.exact_size(), Some((640, 480)));
    let rate = changed(sized.id, json!({"fps": 29.97})).await;
    assert_eq!(
        (rate.output.exact_size(), rate.output.seed),
        (Some((640, 480)), Some(3))
    );
    for change in [json!({"quality": "low"}), json!({"aspect": "9:16"})] {
        assert_eq!(changed(rate.id, change).await.output.exact_size(), None);
    }
    // Without a body nothing changes; the same key gives the same job.
    let same = async || -> (JobView, bool) {
        let call = api
            .request(Method::POST, &path)
            .header("idempotency-key", "k");
        let response = call.send().await.unwrap();
        assert_eq!(response.status(), StatusCode::ACCEPTED);
        let replayed = header(&response, "idempotency-replayed").is_some();
        (response.json().await.unwrap(), replayed)
    };
    let (second, third) = (same().await, same().await);
    assert_eq!((second.0.id, second.1, third.1), (third.0.id, false, true));
    assert_eq!(second.0.output, first.output);
    for (change, status, kind) in [
        (json!({"output": {"quality": "ultra"}}), 400, "malformed"),
        (json!({"input": {}}), 400, "malformed"),
        (json!({"timeout_s": 0}), 422, "invalid-params"),
        (
            json!({"output": {"format": "mp4", "transparent": true}}),
            422,
            "invalid-params",
        ),
    ] {
        problem(api.post(&path, &change).await, status, kind).await;
    }
    let nobody = format!("/v1/jobs/{}/rerun", JobId::generate(&TenantId::default()));
    problem(api.post(&nobody, &json!({})).await, 404, "not-found").await;
}

async fn delete(api: &Api, id: JobId, query: &str) -> Response {
    let path = format!("/v1/jobs/{id}{query}");
    api.request(Method::DELETE, &path).send().await.unwrap()
}

#[tokio::test]
async fn a_deleted_job_leaves_no_record_no_events_and_no_file() {
    let api = Api::start().await;
    let job = api.finished_job(b"the film").await;
    assert_eq!(api.stored_files().len(), 1);
    let response = delete(&api, job.id, "?dry_run=true").await;
    let dry: Deletion = response.json().await.unwrap();
    assert!(dry.dry_run && dry.artifacts[0].deleted);
    assert_eq!(
        (dry.artifacts[0].name.as_str(), dry.artifacts[0].bytes),
        ("video.mp4", 8)
    );
    api.job(job.id).await;
    assert_eq!(api.stored_files().len(), 1);
    let response = delete(&api, job.id, "").await;
    let gone: Deletion = response.json().await.unwrap();
    assert_eq!(
        gone,
        Deletion {
            dry_run: false,
            ..dry
        }
    );
    assert_eq!(api.stored_files(), [""; 0]);
    for path in ["", "/events", "/logs", "/artifacts", "/artifacts/video.mp4"] {
        let response = api.get(&format!("/v1/jobs/{}{path}", job.id)).await;
        problem(response, 404, "not-found").await;
    }
    problem(delete(&api, job.id, "").await, 404, "not-found").await;
    assert_eq!(list(&api, "").await.jobs, []);
    problem(
        api.client
            .get(job.result_url.unwrap())
            .send()
            .await
            .unwrap(),
        404,
        "not-found",
    )
    .await;
}

#[tokio::test]
async fn a_file_that_another_job_shows_stays_until_that_is_deleted_too() {
    let api = Api::start().await;
    let mut worker = api.worker();
    worker.info.renderer = "r1".to_owned();
    worker.show_up().await;
    let body = json!({"input": {"kind": "code", "source": SCENE}});
    let first = api.submit_body(&body).await;
    let waits = api.submit_body(&body).await;
    assert_eq!(waits.rendered_by, Some(first.id));
    let claim = worker.claim().await;
    worker.succeed(&claim, &[("video.mp4", b"film")]).await;
    let cached = api.submit_body(&body).await;
    assert!(cached.cached);
    for (id, others) in [(first.id, 2), (cached.id, 1)] {
        let gone: Deletion = delete(&api, id, "").await.json().await.unwrap();
        assert_eq!(
            (gone.shown_by_others, gone.artifacts[0].deleted),
            (others, false)
        );
        assert_eq!(api.stored_files().len(), 1);
    }
    let film = api.client.get(api.job(waits.id).await.result_url.unwrap());
    assert_eq!(film.send().await.unwrap().bytes().await.unwrap(), "film");
    let gone: Deletion = delete(&api, waits.id, "").await.json().await.unwrap();
    assert!(gone.artifacts[0].deleted);
    assert_eq!(api.stored_files(), [""; 0]);
}

#[tokio::test]
async fn a_job_that_has_not_ended_is_deleted_only_if_it_is_canceled_first() {
    let api = Api::start().await;
    let job = api.submit().await;
    let refused = problem(delete(&api, job.id, "").await, 409, "not-finished").await;
    assert!(refused.detail.contains("cancel=true"), "{refused:?}");
    // A dry run cancels nothing.
    problem(
        delete(&api, job.id, "?dry_run=true&cancel=true").await,
        409,
        "not-finished",
    )
    .await;
    assert_eq!(api.job(job.id).await.status, Status::Queued);
    let response = delete(&api, job.id, "?cancel=true").await;
    assert_eq!(response.status(), StatusCode::OK);
    problem(
        api.get(&format!("/v1/jobs/{}", job.id)).await,
        404,
        "not-found",
    )
    .await;
    // One that runs: its worker stops it first.
    let job = api.submit().await;
    let worker = api.worker();
    let claim = worker.claim().await;
    let stop = async {
        while !matches!(
            worker.tell(&claim, &[]).await,
            manimq_shared::queue::Lease::Cancel
        ) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        worker.finish_canceled(&claim).await;
    };
    let (response, ()) = tokio::join!(delete(&api, job.id, "?cancel=true"), stop);
    assert_eq!(response.status(), StatusCode::OK);
    problem(delete(&api, job.id, "?colour=1").await, 400, "malformed").await;
    problem(
        delete(&api, job.id, "?dry_run=maybe").await,
        400,
        "malformed",
    )
    .await;
}

#[tokio::test]
async fn a_source_is_judged_without_a_job() {
    let api = Api::start().await;
    let judge = async |source: &str, scene: Option<&str>| -> Validation {
        let body = json!({"source": source, "scene": scene});
        let response = api.post("/v1/validate", &body).await;
        assert_eq!(response.status(), StatusCode::OK);
        response.json().await.unwrap()
    };
    let good = judge(SCENE, None).await;
    assert!(good.ok && good.scenes_certain && good.findings.is_empty());
    assert_eq!(
        (good.scene.as_deref(), good.scenes[0].line),
        (Some("Hello"), 3)
    );
    let bad = judge(
        "from manim import *\nimport os\nclass A(Scene):\n    pass\n",
        None,
    )
    .await;
    assert!(!bad.ok);
    let finding = &bad.findings[0];
    assert_eq!((finding.line, finding.column), (2, 8), "{finding:?}");
    assert_eq!(finding.code.as_str(), "import-not-allowed");
    let none = judge(SCENE, Some("Bye")).await;
    assert!(!none.ok && none.scene.is_none());
    assert!(none.scene_problem.unwrap().contains("Hello"));
    assert!(!judge("class A(:\n", None).await.ok);
    let large = json!({"source": "#".repeat(300 * 1024)});
    problem(api.post("/v1/validate", &large).await, 413, "too-large").await;
    problem(
        api.post("/v1/validate", &json!({"sauce": 1})).await,
        400,
        "malformed",
    )
    .await;
    assert_eq!(list(&api, "").await.jobs, []);
}

#[tokio::test]
async fn usage_and_headers_tell_the_same_numbers_and_refusals_keep_to_them() {
    let api = Api::start().await;
    set_quotas(
        &api,
        Quotas {
            queued_max: Some(5),
            submits_per_minute: Some(3),
            running_max: Some(2),
            code: Some(true),
            ..Quotas::default()
        },
    )
    .await;
    for left in [2, 1, 0] {
        let response = api.post("/v1/jobs", &scene_body(SCENE)).await;
        assert_eq!(response.status(), StatusCode::ACCEPTED);
        assert_eq!(
            header(&response, "ratelimit-policy"),
            Some("\"queued_jobs\";q=5;qu=\"concurrent-requests\", \"submits_per_minute\";q=3;w=60")
        );
        let now = header(&response, "ratelimit").unwrap();
        assert!(
            now.starts_with(&format!(
                "\"queued_jobs\";r={}, \"submits_per_minute\";r={left};t=",
                left + 2
            )),
            "{now}"
        );
    }
    let response = api.post("/v1/jobs", &scene_body(SCENE)).await;
    let wait: u64 = header(&response, "retry-after").unwrap().parse().unwrap();
    let now = header(&response, "ratelimit").unwrap().to_owned();
    problem(response, 429, "quota-exceeded").await;
    let told: u64 = now.rsplit("t=").next().unwrap().parse().unwrap();
    assert!((1..=20).contains(&wait) && wait >= told, "{wait} {now}");
    let response = api.get("/v1/usage").await;
    let now = header(&response, "ratelimit").unwrap().to_owned();
    let usage: UsageView = response.json().await.unwrap();
    assert_eq!(
        (usage.active, usage.running, usage.allowed.running_max),
        (3, 0, Some(2))
    );
    assert!(usage.allowed.code && usage.allowed.quality_max.is_none());
    let limits: BTreeMap<_, _> = usage
        .limits
        .iter()
        .map(|l| (l.policy.as_str(), (l.limit, l.used, l.left)))
        .collect();
    assert_eq!(limits["queued_jobs"], (5, 3, 2));
    assert_eq!(limits["submits_per_minute"], (3, 3, 0));
    assert!(
        now.starts_with("\"queued_jobs\";r=2, \"submits_per_minute\";r=0;t="),
        "{now}"
    );
}

#[tokio::test]
async fn the_files_of_a_result_are_listed_with_fresh_addresses() {
    let api = Api::start().await;
    let job = api.submit().await;
    let path = format!("/v1/jobs/{}/artifacts", job.id);
    let none: ArtifactList = api.get(&path).await.json().await.unwrap();
    assert_eq!(none.artifacts, []);
    let worker = api.worker();
    let claim = worker.claim().await;
    worker
        .succeed(&claim, &[("video.mp4", b"film"), ("poster.png", b"still")])
        .await;
    let some: ArtifactList = api.get(&path).await.json().await.unwrap();
    let names: Vec<_> = some
        .artifacts
        .iter()
        .map(|file| file.name.as_str())
        .collect();
    assert_eq!(names, ["video.mp4", "poster.png"]);
    let film = api.client.get(&some.artifacts[0].url).send().await.unwrap();
    assert_eq!(film.bytes().await.unwrap(), "film");
}
