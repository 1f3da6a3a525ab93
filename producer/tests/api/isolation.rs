//! A second person's key sees nothing of the first's: every documented route is tried.
//!
//! The list of routes is the OpenAPI document's. Who adds a route says here, in [`PROBES`], how another
//! tenant's key is tried on it; a route without an entry fails the test.

use std::collections::BTreeSet;

use manimq_shared::api::{JobView, WebhookView};
use manimq_shared::queue::{EventKind, Scopes, Sent};
use reqwest::{Method, Response, StatusCode};
use serde_json::{Value, json};

use crate::events::Events;
use crate::keys::{key, post, with};
use crate::support::{Api, SCENE, eventually, problem};

/// How another's key is tried on a route.
#[derive(Clone, Copy)]
enum Probe {
    /// The path names the first person's thing: the answer is what it would be if there were none.
    Named(Option<&'static str>),
    /// Answers about whoever asks: it must not say anything of the first person's.
    Own(Option<&'static str>),
    /// Operators only.
    Operator,
    /// Answers everybody, and nothing of anybody.
    Public,
    /// The path names the first person's webhook.
    Webhook(Option<&'static str>),
    /// Tried in a test of its own.
    Alone,
}

const PROBES: &[(&str, Probe)] = &[
    ("get /healthz", Probe::Public),
    ("get /readyz", Probe::Public),
    ("get /openapi.json", Probe::Public),
    ("post /v1/jobs", Probe::Alone),
    ("post /v1/jobs/batch", Probe::Alone),
    ("get /v1/jobs", Probe::Own(None)),
    ("get /v1/usage", Probe::Own(None)),
    (
        "post /v1/validate",
        Probe::Own(Some(r#"{"source": "import os"}"#)),
    ),
    (
        "post /v1/plan",
        Probe::Own(Some(r#"{"prompt": "bubble sort 3 2 1"}"#)),
    ),
    ("get /v1/templates", Probe::Own(None)),
    ("get /v1/templates/{id}", Probe::Named(None)),
    ("get /v1/templates/{id}/preview", Probe::Named(None)),
    (
        "post /api/manim/generate",
        Probe::Own(Some(r#"{"prompt": "bubble sort 3 2 1"}"#)),
    ),
    ("get /api/manim/jobs/{id}", Probe::Named(None)),
    ("post /v1/jobs/{id}/rerun", Probe::Named(Some("{}"))),
    ("delete /v1/jobs/{id}", Probe::Named(None)),
    ("get /v1/events", Probe::Alone),
    (
        "post /v1/webhooks",
        Probe::Own(Some(r#"{"url": "https://example.com"}"#)),
    ),
    ("get /v1/webhooks", Probe::Own(None)),
    ("get /v1/webhooks/{id}", Probe::Webhook(None)),
    (
        "patch /v1/webhooks/{id}",
        Probe::Webhook(Some(r#"{"enabled": false}"#)),
    ),
    ("delete /v1/webhooks/{id}", Probe::Webhook(None)),
    (
        "post /v1/webhooks/{id}/rotate-secret",
        Probe::Webhook(Some("{}")),
    ),
    ("post /v1/webhooks/{id}/test", Probe::Webhook(None)),
    ("get /v1/webhooks/{id}/deliveries", Probe::Webhook(None)),
    (
        "post /v1/webhooks/{id}/deliveries/{delivery}/redeliver",
        Probe::Webhook(None),
    ),
    ("get /v1/jobs/{id}", Probe::Named(None)),
    ("post /v1/jobs/{id}/cancel", Probe::Named(None)),
    ("get /v1/jobs/{id}/events", Probe::Named(None)),
    ("get /v1/jobs/{id}/logs", Probe::Named(None)),
    ("get /v1/jobs/{id}/artifacts", Probe::Named(None)),
    ("get /v1/jobs/{id}/artifacts/{name}", Probe::Named(None)),
    ("get /v1/admin/queue", Probe::Operator),
    ("get /v1/admin/workers", Probe::Operator),
    ("post /v1/admin/workers/drain", Probe::Operator),
    ("post /v1/admin/pause", Probe::Operator),
    ("post /v1/admin/resume", Probe::Operator),
    ("get /v1/admin/tenants", Probe::Operator),
    ("post /v1/admin/tenants", Probe::Operator),
    ("get /v1/admin/tenants/{tenant}", Probe::Operator),
    ("patch /v1/admin/tenants/{tenant}", Probe::Operator),
    ("delete /v1/admin/tenants/{tenant}", Probe::Operator),
    ("post /v1/admin/tenants/{tenant}/disable", Probe::Operator),
    ("post /v1/admin/tenants/{tenant}/enable", Probe::Operator),
    ("get /v1/admin/keys", Probe::Operator),
    ("post /v1/admin/keys", Probe::Operator),
    ("post /v1/admin/keys/{id}/rotate", Probe::Operator),
    ("post /v1/admin/keys/{id}/revoke", Probe::Operator),
    ("get /v1/admin/dead", Probe::Operator),
    ("post /v1/admin/dead/redrive", Probe::Operator),
    ("post /v1/admin/dead/discard", Probe::Operator),
];

/// Words that only the first person's jobs have.
const MARK: &str = "first-persons-own";

fn body() -> Value {
    json!({
        "input": {"kind": "code", "source": SCENE},
        "tags": [MARK],
        "metadata": {"mark": MARK},
    })
}

/// Other work, which nobody has begun.
fn waiting_body() -> Value {
    let mut body = body();
    body["output"] = json!({"quality": "low"});
    body
}

/// The operations of the document: `get /v1/jobs/{id}`.
fn documented() -> BTreeSet<String> {
    let document = serde_json::to_value(manimq::api::document()).unwrap();
    let paths = document["paths"].as_object().unwrap();
    let operations = paths.iter().flat_map(|(path, item)| {
        let methods = ["get", "post", "put", "patch", "delete", "head", "options"];
        let there = methods
            .into_iter()
            .filter(|method| item.get(method).is_some());
        there.map(move |method| format!("{method} {path}"))
    });
    operations.collect()
}

struct First {
    job: JobView,
    waiting: JobView,
    webhook: String,
    delivery: String,
}

/// The first person's things: a job with a film, log and events, and one that waits.
async fn first_person(api: &Api, key: &str) -> First {
    let submitted = async || -> JobView {
        let response = post(api, "/v1/jobs", key, &body()).await;
        assert_eq!(response.status(), StatusCode::ACCEPTED);
        response.json().await.unwrap()
    };
    let job = submitted().await;
    let mut worker = api.worker();
    worker.info.renderer = "manim 1".to_owned();
    let claim = worker.claim().await;
    let log = json!({"text": format!("{MARK} in the log")});
    worker.tell(&claim, &[(EventKind::Log, log)]).await;
    worker
        .succeed(&claim, &[("video.mp4", MARK.as_bytes())])
        .await;
    let response = post(api, "/v1/jobs", key, &waiting_body()).await;
    let waiting: JobView = response.json().await.unwrap();
    // Nobody has that name, so nothing is called.
    let settings = json!({"url": format!("https://{MARK}.invalid/"), "description": MARK});
    let made = post(api, "/v1/webhooks", key, &settings).await;
    let webhook: WebhookView = made.json().await.unwrap();
    let owner = &waiting.tenant;
    let test = api.queue.send_webhook(owner, webhook.id, None).await;
    let Sent::Soon(delivery) = test.unwrap() else {
        panic!("no test call");
    };
    eventually(|| async {
        let list = api.queue.deliveries(owner, webhook.id, 10).await.unwrap();
        list.iter().any(|d| d.id == delivery).then_some(())
    })
    .await;
    First {
        job,
        waiting,
        webhook: webhook.id.to_string(),
        delivery,
    }
}

/// What is the same in two answers to the same question: without ids that name the request or the thing.
async fn plain(response: Response, things: &[String]) -> (u16, Vec<String>, String) {
    let status = response.status().as_u16();
    let kept =
        |name: &str| !["x-request-id", "date", "ratelimit", "content-length"].contains(&name);
    let mut headers: Vec<_> = response
        .headers()
        .iter()
        .filter(|(name, _)| kept(name.as_str()))
        .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()))
        .collect();
    headers.sort();
    let mut text = response.text().await.unwrap();
    if let Ok(Value::Object(mut problem)) = serde_json::from_str(&text) {
        problem.remove("request_id");
        text = Value::Object(problem).to_string();
    }
    for thing in things {
        text = text.replace(thing, "THING");
    }
    (status, headers, text)
}

#[tokio::test]
async fn a_second_persons_key_sees_nothing_of_the_firsts_on_any_documented_route() {
    let api = Api::start().await;
    let (mine, other) = (
        key(&api, "first", Scopes::USUAL).await,
        key(&api, "second", Scopes::USUAL).await,
    );
    let first = first_person(&api, &mine).await;
    let before = api.queue.read(first.waiting.id).await.unwrap().unwrap();
    // Of the same shard and form, and of nobody.
    let nobodys = manimq_shared::ids::JobId::generate(&"first".parse().unwrap());
    let send = async |method: &str, path: &str, key: Option<&str>, body: Option<&str>| {
        let method = Method::from_bytes(method.to_uppercase().as_bytes()).unwrap();
        let mut request = api.request(method, path);
        if let Some(key) = key {
            request = with(request, key);
        }
        if let Some(body) = body {
            request = request
                .header("content-type", "application/json")
                .body(body.to_owned());
        }
        request.send().await.unwrap()
    };
    for operation in documented() {
        let probe = PROBES.iter().find(|(known, _)| *known == operation);
        let Some((_, probe)) = probe else {
            panic!("{operation}: add to PROBES how another tenant's key is tried on this route");
        };
        let (method, path) = operation.split_once(' ').unwrap();
        let path = path
            .replace("{name}", "video.mp4")
            .replace("{tenant}", "first");
        match *probe {
            Probe::Named(body) => {
                for job in [first.job.id, first.waiting.id] {
                    let there = path.replace("{id}", &job.to_string());
                    let not_there = path.replace("{id}", &nobodys.to_string());
                    let things = [job.to_string(), nobodys.to_string()];
                    let seen = send(method, &there, Some(&other), body).await;
                    assert_eq!(seen.status(), StatusCode::NOT_FOUND, "{operation}");
                    let none = send(method, &not_there, Some(&other), body).await;
                    let (seen, none) = (plain(seen, &things).await, plain(none, &things).await);
                    assert_eq!(seen, none, "{operation}: it tells that there is something");
                    let refused = send(method, &there, None, body).await;
                    problem(refused, 401, "unauthenticated").await;
                }
            }
            Probe::Own(body) => {
                let seen = send(method, &path, Some(&other), body).await;
                let text = seen.text().await.unwrap();
                for secret in [
                    MARK,
                    &first.job.id.to_string(),
                    &first.waiting.id.to_string(),
                ] {
                    assert!(!text.contains(secret), "{operation}: {text}");
                }
                let refused = send(method, &path, None, body).await;
                problem(refused, 401, "unauthenticated").await;
            }
            Probe::Operator => {
                let path = path.replace("{id}", &mine[4..20]);
                for body in [None, Some("{}"), Some("no JSON")] {
                    let refused = send(method, &path, Some(&other), body).await;
                    let refused = problem(refused, 403, "capability-missing").await;
                    assert!(
                        !refused.detail.contains("first"),
                        "{operation}: {refused:?}"
                    );
                    let refused = send(method, &path, None, body).await;
                    problem(refused, 401, "unauthenticated").await;
                }
            }
            Probe::Public => {
                let text = send(method, &path, None, None).await.text().await.unwrap();
                for secret in [MARK, &first.job.id.to_string(), "\"first\""] {
                    assert!(!text.contains(secret), "{operation}: {text}");
                }
            }
            Probe::Webhook(body) => {
                let nobodys = manimq_shared::ids::WebhookId::generate().to_string();
                let path = path.replace("{delivery}", &first.delivery);
                let there = path.replace("{id}", &first.webhook);
                let not_there = path.replace("{id}", &nobodys);
                let things = [first.webhook.clone(), nobodys];
                let seen = send(method, &there, Some(&other), body).await;
                assert_eq!(seen.status(), StatusCode::NOT_FOUND, "{operation}");
                let none = send(method, &not_there, Some(&other), body).await;
                let (seen, none) = (plain(seen, &things).await, plain(none, &things).await);
                assert_eq!(seen, none, "{operation}: it tells that there is something");
                let refused = send(method, &there, None, body).await;
                problem(refused, 401, "unauthenticated").await;
            }
            Probe::Alone => {}
        }
    }
    // And nothing was done to it.
    let after = api.queue.read(first.waiting.id).await.unwrap().unwrap();
    assert_eq!(
        (after.status, after.revision),
        (before.status, before.revision)
    );
    assert_eq!(after.cancel_requested_at, None);
}

#[tokio::test]
async fn a_second_persons_submit_meets_neither_the_firsts_results_nor_keys() {
    let api = Api::start().await;
    let (mine, other) = (
        key(&api, "first", Scopes::USUAL).await,
        key(&api, "second", Scopes::USUAL).await,
    );
    let first = first_person(&api, &mine).await;
    let submit = async |key: &str, cache: &str, idempotency: &str| {
        let mut body = body();
        body["cache"] = json!(cache);
        let request = with(api.request(Method::POST, "/v1/jobs"), key);
        let request = request.header("idempotency-key", idempotency).json(&body);
        request.send().await.unwrap()
    };
    let view = async |response: Response| -> JobView {
        assert_eq!(response.status(), StatusCode::ACCEPTED);
        assert!(!response.headers().contains_key("idempotency-replayed"));
        response.json().await.unwrap()
    };
    // The first person has a result of this work; the second has none.
    let own = view(submit(&mine, "only", "k1").await).await;
    assert!(own.cached);
    problem(submit(&other, "only", "k1").await, 412, "not-cached").await;
    let theirs = view(submit(&other, "use", "k1").await).await;
    assert!(!theirs.cached && theirs.rendered_by.is_none());
    assert!(theirs.id != own.id && theirs.id != first.job.id);
    assert_eq!(theirs.tenant.as_str(), "second");
    // Nor does it follow a render of the first's that is on its way.
    let follower = view(post(&api, "/v1/jobs", &mine, &waiting_body()).await).await;
    assert_eq!(follower.rendered_by, Some(first.waiting.id));
    let theirs_too = view(post(&api, "/v1/jobs", &other, &waiting_body()).await).await;
    assert_eq!(theirs_too.rendered_by, None);
    // The same idempotency key means each one's own job, also with another body.
    let again = submit(&other, "use", "k1").await;
    assert_eq!(again.headers()["idempotency-replayed"], "true");
    assert_eq!(again.json::<JobView>().await.unwrap().id, theirs.id);
    view(submit(&other, "refresh", "k2").await).await;
    view(submit(&mine, "use", "k2").await).await;
}

#[tokio::test]
async fn a_second_persons_events_and_batches_are_their_own() {
    let api = Api::start().await;
    let (mine, other) = (
        key(&api, "first", Scopes::USUAL).await,
        key(&api, "second", Scopes::USUAL).await,
    );
    let first = first_person(&api, &mine).await;
    let follow = async |last: Option<&str>| {
        let mut request = with(api.request(Method::GET, "/v1/events"), &other);
        if let Some(last) = last {
            request = request.header("last-event-id", last);
        }
        Events::of(request.send().await.unwrap())
    };
    let mut events = follow(None).await;
    assert_eq!(events.next().await.unwrap().kind, "ready");
    // The first person's jobs go on; a batch of the second's asks for the same work.
    let worker = api.worker();
    let claim = worker.claim().await;
    assert_eq!(claim.job, first.waiting.id);
    let batch = json!({"jobs": [body(), waiting_body()]});
    let response = post(&api, "/v1/jobs/batch", &other, &batch).await;
    assert!(response.status().is_success());
    let text = response.text().await.unwrap();
    assert!(!text.contains(&first.job.id.to_string()), "{text}");
    for _ in 0..2 {
        let event = events.next().await.unwrap();
        assert_eq!(event.data["tenant"], "second", "{event:?}");
    }
    // Nor does an event id of the first person's feed lead there.
    let queue = &api.queue;
    let owner = first.job.tenant.clone();
    let theirs = queue.listen(&owner, std::time::Duration::from_secs(60));
    let reset = follow(Some(&theirs.await.unwrap())).await.next().await;
    assert_eq!(reset.unwrap().kind, "reset");
}
