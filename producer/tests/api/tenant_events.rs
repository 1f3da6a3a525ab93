//! The events of all jobs of a tenant: order, resuming, what was missed.

use manimq_shared::queue::EventKind;
use reqwest::Method;
use serde_json::json;

use crate::events::{Event, Events};
use crate::support::{Api, Setup, problem};

async fn follow(api: &Api, last: Option<&str>) -> Events {
    let mut request = api.request(Method::GET, "/v1/events");
    if let Some(last) = last {
        request = request.header("last-event-id", last);
    }
    Events::of(request.send().await.unwrap())
}

/// What a test compares of an event.
fn brief(event: &Event) -> (&str, &str, &str) {
    let text = |name: &str| event.data[name].as_str().unwrap_or_default();
    (event.kind.as_str(), text("id"), text("status"))
}

#[tokio::test]
async fn every_job_of_the_tenant_is_told_with_the_whole_object_until_its_end() {
    let api = Api::start().await;
    let mut events = follow(&api, None).await;
    let ready = events.next().await.unwrap();
    assert_eq!(ready.kind, "ready");
    assert!(ready.id.is_some());
    let job = api.submit().await;
    let id = job.id.to_string();
    assert_eq!(
        brief(&events.next().await.unwrap()),
        ("status", &*id, "queued")
    );
    let worker = api.worker();
    let claim = worker.claim().await;
    assert_eq!(
        brief(&events.next().await.unwrap()),
        ("status", &*id, "running")
    );
    worker
        .tell(&claim, &[(EventKind::Progress, json!({"frames_done": 3}))])
        .await;
    let progress = events.next().await.unwrap();
    assert_eq!(brief(&progress), ("progress", &*id, ""));
    assert_eq!(progress.data["progress"]["frames_done"], 3);
    worker.succeed(&claim, &[("video.mp4", b"film")]).await;
    let end = events.next().await.unwrap();
    assert_eq!(brief(&end), ("status", &*id, "succeeded"));
    assert!(end.data["resultUrl"].is_string());
}

#[tokio::test]
async fn who_was_cut_off_goes_on_where_it_was_and_hears_only_the_newest_of_each_job() {
    let api = Api::start().await;
    let mut events = follow(&api, None).await;
    let ready = events.next().await.unwrap();
    drop(events);
    let first = api.finished_job(b"film").await;
    let second = api.submit().await;
    let mut events = follow(&api, ready.id.as_deref()).await;
    let told = [events.next().await.unwrap(), events.next().await.unwrap()];
    assert_eq!(
        brief(&told[0]),
        ("status", &*first.id.to_string(), "succeeded")
    );
    assert_eq!(
        brief(&told[1]),
        ("status", &*second.id.to_string(), "queued")
    );
    // From there, nothing comes twice.
    let mut events = follow(&api, told[0].id.as_deref()).await;
    assert_eq!(brief(&events.next().await.unwrap()), brief(&told[1]));
}

#[tokio::test]
async fn who_may_have_missed_something_is_told_so_and_goes_on_from_there() {
    let api = Api::start().await;
    let mut events = follow(&api, Some("1700000000000-0")).await;
    let reset = events.next().await.unwrap();
    assert_eq!(reset.kind, "reset");
    assert!(reset.data["detail"].as_str().unwrap().contains("list"));
    let missed = r#"manimq_sse_cut_off_total{reason="missed"}"#;
    assert_eq!(api.gauge(missed).await, 1.0);
    let job = api.submit().await;
    let next = events.next().await.unwrap();
    assert_eq!(brief(&next), ("status", &*job.id.to_string(), "queued"));
}

#[tokio::test]
async fn a_wrong_event_id_is_refused_and_streams_are_counted() {
    let mut setup = Setup::new();
    setup.limits.sse_max = 1;
    let api = setup.flags(&["--sse-max=1"]).start().await;
    let refused = api.get("/v1/events?after=x").await;
    problem(refused, 400, "malformed").await;
    let events = follow(&api, None).await;
    problem(
        api.get("/v1/events").await,
        503,
        "temporary-reduced-capacity",
    )
    .await;
    drop(events);
    api.until_gauge("manimq_sse_connections", 0.0).await;
    follow(&api, None).await.next().await.unwrap();
}
