//! Read, long poll, cancel, logs, artifacts.

use std::time::{Duration, Instant};

use manimq_shared::api::{JobView, Ready, UsageView};
use manimq_shared::ids::{JobId, TenantId};
use manimq_shared::job::{
    FailureClass, JobError, JobRequest, JobResult, Lane, Paused, Stage, Status, Timings, Usage,
};
use manimq_shared::queue::{EventKind, NewJob, PauseScope, failed};
use reqwest::{Method, StatusCode};
use serde_json::json;

use crate::support::{Api, SCENE, SOON, eventually, problem, scene_body};

#[tokio::test]
async fn a_job_is_seen_through_its_whole_life() {
    let api = Api::start().await;
    let job = api.submit().await;
    let worker = api.worker();
    let claim = worker.claim().await;
    let running = api.job(job.id).await;
    assert_eq!(
        (running.status, running.stage),
        (Status::Running, Stage::Preparing)
    );
    assert!(running.revision > job.revision && running.queue.is_none());
    assert_eq!(running.attempts.len(), 1);

    let progress = json!({"stage": "rendering", "fraction": 0.5, "frames_done": 7, "frames_total": 14, "animation": 1});
    worker
        .tell(&claim, &[(EventKind::Progress, progress)])
        .await;
    let running = api.job(job.id).await;
    assert_eq!(running.stage, Stage::Rendering);
    assert_eq!(running.progress.frames_done, 7);
    assert!(running.artifacts.is_empty() && running.result_url.is_none());

    worker
        .succeed(&claim, &[("video.mp4", b"film"), ("poster.png", b"still")])
        .await;
    let done = api.job(job.id).await;
    assert_eq!(
        (done.status, done.stage),
        (Status::Succeeded, Stage::Uploading)
    );
    assert_eq!(done.artifacts.len(), 2);
    assert_eq!(
        done.result_url.as_deref(),
        Some(done.artifacts[0].url.as_str())
    );
    let left = done.artifacts[0].url_expires_at.as_second() - jiff::Timestamp::now().as_second();
    assert!((3590..=5400).contains(&left), "{left}");
    let film = api.get(&done.artifacts[0].url).await;
    assert_eq!(
        film.headers()["content-disposition"]
            .to_str()
            .unwrap()
            .split(';')
            .nth(1),
        Some(" filename=\"Hello.mp4\"")
    );
    assert_eq!(film.bytes().await.unwrap(), &b"film"[..]);
    assert!(done.finished_at.is_some() && done.expires_at.is_some());
}

#[tokio::test]
async fn a_failed_job_tells_how_far_it_came() {
    let api = Api::start().await;
    let job = api.submit().await;
    let worker = api.worker();
    let claim = worker.claim().await;
    let result = JobResult {
        stage: Some(Stage::Encoding),
        timings: Timings {
            render_s: 2.5,
            ..Timings::default()
        },
        usage: Usage {
            frames: 30,
            animations: 2,
            ..Usage::default()
        },
        ..failed(JobError::new(FailureClass::Timeout, "too slow"))
    };
    worker.fail(&claim, &result).await;
    let seen = api.job(job.id).await;
    assert_eq!(seen.stage, Stage::Encoding);
    assert_eq!(
        (seen.progress.frames_done, seen.progress.animation),
        (30, 2)
    );
    assert_eq!(seen.usage, Some(result.usage));
    assert_eq!(seen.timings, Some(result.timings));
}

#[tokio::test]
async fn a_job_that_waits_for_what_an_operator_has_paused_says_so() {
    let api = Api::start().await;
    api.worker().show_up().await;
    let job = api.submit().await;
    let tenant = TenantId::default();
    for (scope, paused, ready, whole) in [
        (
            PauseScope::All,
            Paused::All,
            &[Paused::All][..],
            Some(Paused::All),
        ),
        (
            PauseScope::Tenant(tenant),
            Paused::Tenant,
            &[],
            Some(Paused::Tenant),
        ),
        (
            PauseScope::Lane(Lane::Normal),
            Paused::Normal,
            &[Paused::Normal],
            None,
        ),
    ] {
        let look = || async {
            let job = api.get(&format!("/v1/jobs/{}", job.id)).await;
            let etag = job.headers()["etag"].clone();
            let job: JobView = job.json().await.unwrap();
            let queue = job.queue.unwrap();
            (queue.paused, queue.expected_wait_s.is_some(), etag)
        };
        let (none, expected, before) = look().await;
        assert_eq!((none, expected), (None, true));
        api.queue.pause(&scope).await.unwrap();
        let (held, expected, after) = look().await;
        assert_eq!((held, expected), (Some(paused), false));
        assert_ne!(before, after);
        let usage: UsageView = api.get("/v1/usage").await.json().await.unwrap();
        assert_eq!(usage.paused, whole);
        // What was seen before may still be shown for a moment.
        eventually(|| async {
            let seen: Ready = api.get("/readyz").await.json().await.ok()?;
            (seen.paused == ready).then_some(())
        })
        .await;
        api.queue.resume(&scope).await.unwrap();
    }
}

#[tokio::test]
async fn a_failed_job_says_why_and_has_no_files() {
    let api = Api::start().await;
    let job = api.submit().await;
    let worker = api.worker();
    let claim = worker.claim().await;
    let error =
        JobError::new(FailureClass::SceneError, "division by zero").with_hint("divide by one");
    worker.fail(&claim, &failed(error.clone())).await;
    let seen = api.job(job.id).await;
    assert_eq!(seen.status, Status::Failed);
    assert_eq!(seen.error, Some(error));
    // Nobody said how far it came, so nothing is said.
    assert_eq!((seen.timings, seen.usage), (None, None));
    let none = api
        .get(&format!("/v1/jobs/{}/artifacts/video.mp4", job.id))
        .await;
    let refused = problem(none, 404, "not-found").await;
    assert!(refused.detail.contains("it is failed"), "{refused:?}");
}

#[tokio::test]
async fn an_unchanged_job_is_not_sent_again() {
    let api = Api::start().await;
    let job = api.submit().await;
    let path = format!("/v1/jobs/{}", job.id);
    let etag = api.get(&path).await.headers()["etag"]
        .to_str()
        .unwrap()
        .to_owned();
    let ask = |tag: String| {
        let request = api.request(Method::GET, &path).header("if-none-match", tag);
        async { request.send().await.unwrap().status() }
    };
    assert_eq!(ask(etag.clone()).await, StatusCode::NOT_MODIFIED);
    assert_eq!(
        ask(format!("\"x\", W/{etag}")).await,
        StatusCode::NOT_MODIFIED
    );
    let _claim = api.worker().claim().await;
    assert_eq!(ask(etag).await, StatusCode::OK);
}

#[tokio::test]
async fn what_is_no_job_of_mine_is_not_found() {
    let api = Api::start().await;
    let request: JobRequest = serde_json::from_value(scene_body(SCENE)).unwrap();
    let owner: TenantId = "other".parse().unwrap();
    let stranger = NewJob::new(&owner, request);
    let other = stranger.id;
    api.queue.enqueue(&owner, &[stranger]).await.unwrap();
    let unknown = JobId::generate(&TenantId::default());
    for id in [other.to_string(), unknown.to_string()] {
        for (method, path) in [
            (Method::GET, format!("/v1/jobs/{id}")),
            (Method::GET, format!("/v1/jobs/{id}/events")),
            (Method::GET, format!("/v1/jobs/{id}/logs")),
            (Method::GET, format!("/v1/jobs/{id}/artifacts/video.mp4")),
            (Method::POST, format!("/v1/jobs/{id}/cancel")),
        ] {
            let response = api.request(method, &path).send().await.unwrap();
            let refused = problem(response, 404, "not-found").await;
            assert!(refused.detail.contains("there is no job"), "{refused:?}");
        }
    }
    assert_eq!(
        api.queue.read(other).await.unwrap().unwrap().status,
        Status::Queued
    );
}

#[tokio::test]
async fn what_is_no_job_id_is_not_found_and_shown_the_form_of_one() {
    let api = Api::start().await;
    for id in [
        "1",
        "job_12",
        "..%2f..%2fetc",
        "%ff%fe",
        "JOB_0198f2b4c5d67e8f9a0b1c2d3e4f5061",
        &"x".repeat(2000),
    ] {
        let refused = problem(api.get(&format!("/v1/jobs/{id}")).await, 404, "not-found").await;
        assert!(
            refused.detail.contains("`job_` and 32 hex digits"),
            "{refused:?}"
        );
        assert!(refused.detail.len() < 400);
    }
}

#[tokio::test]
async fn a_waiting_read_answers_as_soon_as_something_changes() {
    let api = Api::start().await;
    let mut took = Vec::new();
    // A hint brings the answer, not the look every 3 s: one of a few tries must show it, however
    // busy the machine is.
    for _ in 0..5 {
        let job = api.submit().await;
        let path = format!("/v1/jobs/{}?wait=30&since={}", job.id, job.revision);
        let (seen, changed) = tokio::join!(
            async { api.get(&path).await.json::<JobView>().await.unwrap() },
            async {
                api.until_gauge("manimq_long_polls", 1.0).await;
                let changed = Instant::now();
                let _claim = api.worker().claim().await;
                changed
            }
        );
        took.push(changed.elapsed());
        assert_eq!(seen.status, Status::Running);
        // What changed before is answered at once.
        let start = Instant::now();
        api.get(&path).await.json::<JobView>().await.unwrap();
        assert!(start.elapsed() < SOON);
        if changed.elapsed() < Duration::from_secs(1) {
            return;
        }
    }
    panic!("{took:?}");
}

#[tokio::test]
async fn a_waiting_read_ends_when_its_time_is_over_or_the_job_has_ended() {
    let api = Api::start().await;
    let job = api.submit().await;
    let path = format!("/v1/jobs/{}", job.id);
    let start = Instant::now();
    let same: JobView = api
        .get(&format!("{path}?wait=1"))
        .await
        .json()
        .await
        .unwrap();
    assert_eq!(same.revision, job.revision);
    assert!((0.9..SOON.as_secs_f64()).contains(&start.elapsed().as_secs_f64()));
    api.request(Method::POST, &format!("{path}/cancel"))
        .send()
        .await
        .unwrap();
    let start = Instant::now();
    let ended: JobView = api
        .get(&format!("{path}?wait=30&since=999"))
        .await
        .json()
        .await
        .unwrap();
    assert_eq!(ended.status, Status::Canceled);
    assert!(start.elapsed() < SOON);
    problem(
        api.get(&format!("{path}?wait=61")).await,
        422,
        "invalid-params",
    )
    .await;
    problem(api.get(&format!("{path}?wait=x")).await, 400, "malformed").await;
    problem(api.get(&format!("{path}?hurry=1")).await, 400, "malformed").await;
}

#[tokio::test]
async fn a_waiting_read_ends_with_the_server() {
    let mut api = Api::start().await;
    let job = api.submit().await;
    let request = api.request(Method::GET, &format!("/v1/jobs/{}?wait=60", job.id));
    let waiting = tokio::spawn(async { request.send().await.unwrap().status() });
    api.until_gauge("manimq_long_polls", 1.0).await;
    let start = Instant::now();
    api.stop().await;
    assert_eq!(waiting.await.unwrap(), StatusCode::OK);
    assert!(start.elapsed() < SOON, "{:?}", start.elapsed());
}

#[tokio::test]
async fn a_cancel_ends_a_waiting_job_and_asks_a_running_one() {
    let api = Api::start().await;
    let cancel = |id: JobId| {
        let request = api.request(Method::POST, &format!("/v1/jobs/{id}/cancel"));
        async {
            let response = request.send().await.unwrap();
            assert_eq!(response.status(), StatusCode::ACCEPTED);
            response.json::<JobView>().await.unwrap()
        }
    };
    let waiting = api.submit().await;
    for _ in 0..2 {
        assert_eq!(cancel(waiting.id).await.status, Status::Canceled);
    }
    let running = api.submit().await;
    let worker = api.worker();
    let claim = worker.claim().await;
    for _ in 0..2 {
        let seen = cancel(running.id).await;
        assert_eq!(seen.status, Status::Running);
        assert!(seen.cancel_requested_at.is_some());
    }
    worker.finish_canceled(&claim).await;
    assert_eq!(cancel(running.id).await.status, Status::Canceled);
    let done = api.finished_job(b"film").await;
    assert_eq!(cancel(done.id).await.status, Status::Succeeded);
}

#[tokio::test]
async fn the_log_is_what_the_scene_printed() {
    let api = Api::start().await;
    let job = api.submit().await;
    let path = format!("/v1/jobs/{}/logs", job.id);
    assert_eq!(api.get(&path).await.text().await.unwrap(), "");
    let worker = api.worker();
    let claim = worker.claim().await;
    for i in 0..3 {
        let events: Vec<_> = (0..400)
            .map(|j| (EventKind::Log, json!({"text": format!("line {i} {j}\n")})))
            .collect();
        worker.tell(&claim, &events).await;
    }
    worker
        .tell(
            &claim,
            &[(EventKind::Log, json!({"text": "é <b>no newline"}))],
        )
        .await;
    let response = api.get(&path).await;
    assert_eq!(
        response.headers()["content-type"],
        "text/plain; charset=utf-8"
    );
    assert_eq!(response.headers()["x-content-type-options"], "nosniff");
    let text = response.text().await.unwrap();
    assert_eq!(text.lines().count(), 1201);
    assert!(text.starts_with("line 0 0\n") && text.ends_with("é <b>no newline\n"));
    let tail = api
        .get(&format!("{path}?tail=2"))
        .await
        .text()
        .await
        .unwrap();
    assert_eq!(tail, "line 2 399\né <b>no newline\n");
    let all = api
        .get(&format!("{path}?tail=5000"))
        .await
        .text()
        .await
        .unwrap();
    assert_eq!(all, text);
}

#[tokio::test]
async fn an_artifact_has_an_address_that_leads_to_a_fresh_url() {
    let api = Api::start().await;
    let job = api.submit().await;
    let path = format!("/v1/jobs/{}/artifacts/video.mp4", job.id);
    problem(api.get(&path).await, 409, "not-finished").await;
    let worker = api.worker();
    let claim = worker.claim().await;
    problem(api.get(&path).await, 409, "not-finished").await;
    worker.succeed(&claim, &[("video.mp4", b"film")]).await;
    let found = api.get(&path).await;
    assert_eq!(found.status(), StatusCode::FOUND);
    assert_eq!(found.headers()["cache-control"], "no-store");
    let url = found.headers()["location"].to_str().unwrap().to_owned();
    assert_eq!(api.get(&url).await.bytes().await.unwrap(), &b"film"[..]);
    let other = api
        .get(&format!("/v1/jobs/{}/artifacts/..%2fstorage.key", job.id))
        .await;
    let refused = problem(other, 404, "not-found").await;
    assert!(refused.detail.contains("it has video.mp4"), "{refused:?}");
}
