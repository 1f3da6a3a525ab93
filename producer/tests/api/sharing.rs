//! Jobs that share a render, results that answer later jobs, and what a tenant may not ask for.

use manimq_shared::api::JobView;
use manimq_shared::job::{EARLY_POSTER, Status};
use manimq_shared::queue::{EventKind, Quotas};
use reqwest::StatusCode;
use serde_json::{Value, json};

use super::events::Events;
use super::support::{Api, SCENE, problem};

fn body(cache: &str) -> Value {
    json!({"input": {"kind": "code", "source": SCENE}, "cache": cache})
}

async fn submitted(api: &Api, cache: &str) -> JobView {
    let response = api.post("/v1/jobs", &body(cache)).await;
    assert_eq!(response.status(), StatusCode::ACCEPTED);
    response.json().await.unwrap()
}

#[tokio::test]
async fn the_same_scene_is_rendered_once_and_its_film_answers_all_who_ask() {
    let api = Api::start().await;
    let mut worker = api.worker();
    worker.info.renderer = "manim 1".to_owned();
    let refused = problem(api.post("/v1/jobs", &body("only")).await, 412, "not-cached").await;
    assert!(refused.detail.contains("\"use\""), "{}", refused.detail);

    let first = submitted(&api, "use").await;
    let second = submitted(&api, "use").await;
    assert_eq!(
        (second.status, second.rendered_by),
        (Status::Queued, Some(first.id))
    );
    let claim = worker.claim().await;
    assert_eq!(api.job(second.id).await.status, Status::Running);
    worker.succeed(&claim, &[("video.mp4", b"film")]).await;
    let third = submitted(&api, "only").await;
    assert!(third.cached && third.status == Status::Succeeded);
    for id in [first.id, second.id, third.id] {
        let job = api.job(id).await;
        assert_eq!(job.status, Status::Succeeded);
        let film = api.get(&job.result_url.expect("a film")).await;
        assert_eq!(film.bytes().await.unwrap(), "film");
        let path = format!("/v1/jobs/{id}/artifacts/video.mp4");
        assert_eq!(api.get(&path).await.status(), StatusCode::FOUND);
    }
    let fresh = submitted(&api, "refresh").await;
    assert_eq!((fresh.status, fresh.rendered_by), (Status::Queued, None));
}

#[tokio::test]
async fn who_waits_for_anothers_render_is_shown_its_early_still() {
    let api = Api::start().await;
    let leader = submitted(&api, "use").await;
    let follower = submitted(&api, "use").await;
    assert_eq!(follower.rendered_by, Some(leader.id));
    let worker = api.worker();
    let claim = worker.claim().await;
    assert_eq!(claim.job, leader.id);
    worker.store(&claim, &[(EARLY_POSTER, b"still")]).await;
    let events = api.get(&format!("/v1/jobs/{}/events", follower.id)).await;
    let mut events = Events::of(events);
    let poster = json!({"width": 427, "height": 240, "epoch": 1});
    let told = json!({"stage": "rendering", "frames_done": 9, "poster": poster});
    worker.tell(&claim, &[(EventKind::Progress, told)]).await;

    let shown = api.job(follower.id).await.progress.poster.expect("a still");
    assert_eq!((shown.width, shown.height), (427, 240));
    let of_the_stream = loop {
        let event = events.next().await.expect("the stream goes on");
        if event.kind == "progress" {
            break event.data["poster"]["url"]
                .as_str()
                .expect("a URL")
                .to_owned();
        }
    };
    for url in [shown.url.expect("a URL"), of_the_stream] {
        let still = api.get(&url).await;
        assert_eq!(still.status(), StatusCode::OK, "{url}");
        assert_eq!(still.bytes().await.unwrap(), "still");
    }

    // Whoever first asked may go; the render goes on for who is left.
    let path = format!("/v1/jobs/{}/cancel", leader.id);
    api.post(&path, &json!({})).await;
    assert_eq!(api.job(leader.id).await.progress.poster, None);
    assert!(api.job(follower.id).await.progress.poster.is_some());
    // The still is of that attempt alone.
    let released = api.queue.release(claim.job, claim.epoch, "a test").await;
    released.unwrap();
    assert_eq!(api.job(follower.id).await.progress.poster, None);
    let second = worker.claim().await;
    assert_eq!((second.job, second.epoch.0), (leader.id, 2));
    assert_eq!(api.job(follower.id).await.progress.poster, None);
    worker.succeed(&second, &[("video.mp4", b"film")]).await;
    let ended = api.job(follower.id).await;
    assert_eq!(
        (ended.status, ended.progress.poster),
        (Status::Succeeded, None)
    );
}

#[tokio::test]
async fn what_the_tenants_quotas_forbid_is_refused_with_the_limit() {
    let api = Api::start().await;
    let quotas = Quotas {
        timeout_s_max: Some(60),
        ..Quotas::default()
    };
    let tenant = "default".parse().unwrap();
    api.queue.set_quotas(&tenant, &quotas).await.unwrap();
    let refused = problem(api.post("/v1/jobs", &body("use")).await, 403, "not-allowed").await;
    assert!(
        refused.detail.contains("600") && refused.detail.contains("60 is the most"),
        "{}",
        refused.detail
    );
    assert_eq!(refused.violated_policies, ["timeout_s_max"]);
    let quotas = Quotas {
        code: Some(false),
        ..Quotas::default()
    };
    api.queue.set_quotas(&tenant, &quotas).await.unwrap();
    let refused = problem(api.post("/v1/jobs", &body("use")).await, 403, "not-allowed").await;
    assert!(
        refused.detail.contains("code of its own"),
        "{}",
        refused.detail
    );
}
