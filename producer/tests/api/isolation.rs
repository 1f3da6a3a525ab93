//! A second person's key sees nothing of the first's: every documented route is tried.
//!
//! The list of routes is the OpenAPI document's. Who adds a route says here, in [`PROBES`], how another
//! tenant's key is tried on it; a route without an entry fails the test.

use std::collections::BTreeSet;

use manimq_shared::api::JobView;
use manimq_shared::ids::WebhookId;
use manimq_shared::queue::{EventKind, Scopes};
use reqwest::{Method, Response, StatusCode};
use serde_json::{Value, json};

use crate::events::Events;
use crate::keys::{get, key, post, with};
use crate::support::{Api, SCENE, problem, scene_body};

/// How another's key is tried on a route.
#[derive(Clone, Copy)]
enum Probe {
    /// The path names the first person's thing: the answer is what it would be if there were none.
    Named(Option<&'static str>),
    /// Answers about whoever asks: it must not say anything of the first person's.
    Own(Option<&'static str>),
    /// The same of a webhook.
    Webhook(Option<&'static str>),
    /// The events of all jobs of whoever asks: none of the first person's comes.
    Feed,
    /// Operators only.
    Operator,
    /// Answers everybody, and nothing of anybody.
    Public,
    /// Tried in tests of its own: submits, which may meet the first person's results and keys.
    Submit,
}

const PROBES: &[(&str, Probe)] = &[
    ("get /healthz", Probe::Public),
    ("get /readyz", Probe::Public),
    ("get /openapi.json", Probe::Public),
    ("post /v1/jobs", Probe::Submit),
    ("get /v1/jobs/{id}", Probe::Named(None)),
    ("post /v1/jobs/{id}/cancel", Probe::Named(None)),
    ("get /v1/jobs/{id}/events", Probe::Named(None)),
    ("get /v1/jobs/{id}/logs", Probe::Named(None)),
    ("get /v1/jobs/{id}/artifacts/{name}", Probe::Named(None)),
    ("get /v1/jobs", Probe::Own(None)),
    ("post /v1/jobs/batch", Probe::Submit),
    ("delete /v1/jobs/{id}", Probe::Named(None)),
    ("post /v1/jobs/{id}/rerun", Probe::Named(Some("{}"))),
    ("get /v1/jobs/{id}/artifacts", Probe::Named(None)),
    (
        "post /v1/validate",
        Probe::Own(Some(r#"{"source": "from manim import *"}"#)),
    ),
    ("get /v1/usage", Probe::Own(None)),
    ("get /v1/events", Probe::Feed),
    (
        "post /v1/webhooks",
        Probe::Own(Some(r#"{"url": "https://192.0.2.1/"}"#)),
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
    let waiting = response.json().await.unwrap();
    let hook = json!({"url": format!("https://{MARK}.example/"), "description": MARK});
    let hook = post(api, "/v1/webhooks", key, &hook).await;
    assert_eq!(hook.status(), StatusCode::CREATED);
    let hook: Value = hook.json().await.unwrap();
    let webhook = hook["id"].as_str().unwrap().to_owned();
    // Asked for, so that there is one, whether or not it arrives.
    let tested = post(
        api,
        &format!("/v1/webhooks/{webhook}/test"),
        key,
        &json!({}),
    )
    .await;
    assert!(tested.status().is_success());
    let tested: Value = tested.json().await.unwrap();
    First {
        job,
        waiting,
        webhook,
        delivery: tested["delivery"].as_str().unwrap().to_owned(),
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
            .replace("{tenant}", "first")
            .replace("{delivery}", &first.delivery);
        match *probe {
            Probe::Named(body) | Probe::Webhook(body) => {
                let (there, nobodys) = match *probe {
                    Probe::Webhook(_) => (
                        vec![first.webhook.clone()],
                        WebhookId::generate().to_string(),
                    ),
                    _ => {
                        let jobs = [first.job.id, first.waiting.id].map(|id| id.to_string());
                        (jobs.to_vec(), nobodys.to_string())
                    }
                };
                for id in there {
                    let not_there = path.replace("{id}", &nobodys);
                    let there = path.replace("{id}", &id);
                    let things = [id, nobodys.clone()];
                    let seen = send(method, &there, Some(&other), body).await;
                    assert_eq!(seen.status(), StatusCode::NOT_FOUND, "{operation}");
                    let none = send(method, &not_there, Some(&other), body).await;
                    let (seen, none) = (plain(seen, &things).await, plain(none, &things).await);
                    assert_eq!(seen, none, "{operation}: it tells that there is something");
                    let refused = send(method, &there, None, body).await;
                    problem(refused, 401, "unauthenticated").await;
                }
            }
            Probe::Feed => {
                let stream = send(method, &format!("{path}?after=0"), Some(&other), None).await;
                let mut events = Events::of(stream);
                let theirs = post(&api, "/v1/jobs", &mine, &waiting_body()).await;
                let theirs: JobView = theirs.json().await.unwrap();
                let own = post(&api, "/v1/jobs", &other, &scene_body(SCENE)).await;
                let own: JobView = own.json().await.unwrap();
                // What came before it would have come before it.
                loop {
                    let event = events.next().await.expect("the stream goes on");
                    let text = event.data.to_string();
                    for id in [theirs.id, first.job.id, first.waiting.id] {
                        assert!(!text.contains(&id.to_string()), "{operation}: {text}");
                    }
                    if text.contains(&own.id.to_string()) {
                        break;
                    }
                }
                let refused = send(method, &path, None, None).await;
                problem(refused, 401, "unauthenticated").await;
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
            Probe::Submit => {}
        }
    }
    // And nothing was done to it.
    let hook = get(&api, &format!("/v1/webhooks/{}", first.webhook), &mine).await;
    let hook: Value = hook.json().await.unwrap();
    assert_eq!(hook["enabled"], true, "{hook}");
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
    // A batch has keys of its own kind, and they are each one's own, too.
    let batch = async |key: &str| -> Value {
        let request = with(api.request(Method::POST, "/v1/jobs/batch"), key);
        let request = request.header("idempotency-key", "k3");
        let sent = request.json(&json!({"jobs": [waiting_body()]}));
        let response = sent.send().await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        response.json().await.unwrap()
    };
    let (mine, other) = (batch(&mine).await, batch(&other).await);
    let id = |answer: &Value| {
        answer["results"][0]["job"]["id"]
            .as_str()
            .map(str::to_owned)
    };
    assert!(
        id(&mine).is_some() && id(&other).is_some(),
        "{mine} {other}"
    );
    assert_ne!(id(&mine), id(&other));
}
