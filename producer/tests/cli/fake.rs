//! An API that does what a test tells it: answers, breaks off, hangs.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, Response, StatusCode};
use futures_util::{StreamExt as _, stream};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

/// The id of the only job unless a test makes more.
pub const JOB: &str = "job_0198f7c1d2e37b6a9c1f2e3d4c5b6a79";

/// One request as it came.
#[derive(Debug, Clone)]
pub struct Call {
    /// Such as `POST /v1/jobs`.
    pub what: String,
    /// How often exactly this was asked before, from 0.
    pub n: usize,
    pub headers: HeaderMap,
    pub body: Value,
}

impl Call {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    pub fn scene(&self) -> Option<&str> {
        self.body["input"]["scene"].as_str()
    }
}

type Script = dyn Fn(&Call) -> Response<Body> + Send + Sync;

struct Shared {
    script: Box<Script>,
    calls: Mutex<Vec<Call>>,
}

pub struct Fake {
    pub url: String,
    shared: Arc<Shared>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Fake {
    pub async fn start(script: impl Fn(&Call) -> Response<Body> + Send + Sync + 'static) -> Self {
        let shared = Arc::new(Shared {
            script: Box::new(script),
            calls: Mutex::default(),
        });
        let app = axum::Router::new()
            .fallback(answer)
            .with_state(Arc::clone(&shared));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let task = tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self { url, shared, task }
    }

    /// The requests so far whose `METHOD /path` begins with `what`.
    pub fn calls(&self, what: &str) -> Vec<Call> {
        let calls = self.shared.calls.lock().unwrap();
        calls
            .iter()
            .filter(|call| call.what.starts_with(what))
            .cloned()
            .collect()
    }
}

async fn answer(State(shared): State<Arc<Shared>>, request: Request) -> Response<Body> {
    let (parts, body) = request.into_parts();
    let body = axum::body::to_bytes(body, 1 << 20).await.unwrap();
    let what = format!("{} {}", parts.method, parts.uri.path());
    let call = {
        let mut calls = shared.calls.lock().unwrap();
        let call = Call {
            n: calls.iter().filter(|call| call.what == what).count(),
            what,
            headers: parts.headers,
            body: serde_json::from_slice(&body).unwrap_or(Value::Null),
        };
        calls.push(call.clone());
        call
    };
    (shared.script)(&call)
}

pub fn json(status: u16, body: &Value) -> Response<Body> {
    Response::builder()
        .status(status)
        .header("content-type", "application/json")
        .body(Body::from(body.to_string()))
        .unwrap()
}

pub fn problem(status: u16, kind: &str, detail: &str, more: Value) -> Response<Body> {
    let mut body = json!({"type": kind, "title": kind, "status": status, "detail": detail});
    for (key, value) in more.as_object().into_iter().flatten() {
        body[key] = value.clone();
    }
    let mut response = json(status, &body);
    if status == 429 {
        response
            .headers_mut()
            .insert("retry-after", "7".parse().unwrap());
    }
    response
}

/// What the API says of a scene's name that does not do.
pub fn wrong_scene(detail: &str, scenes: &[&str]) -> Response<Body> {
    let more = json!({"scenes": scenes, "errors": [{"pointer": "/input/scene", "detail": detail}]});
    problem(
        422,
        "invalid-params",
        &format!("/input/scene: {detail}"),
        more,
    )
}

/// A response that breaks off after some bytes.
pub fn cut(status: u16, headers: &[(&str, String)], bytes: &[u8]) -> Response<Body> {
    let parts: Vec<Result<Bytes, std::io::Error>> = vec![
        Ok(Bytes::copy_from_slice(bytes)),
        Err(std::io::Error::other("cut")),
    ];
    // The first part must be on its way before the connection is broken.
    let body = Body::from_stream(stream::iter(parts).then(|part| async move {
        if part.is_err() {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
        part
    }));
    let mut builder = Response::builder().status(status);
    for (name, value) in headers {
        builder = builder.header(*name, value);
    }
    builder.body(body).unwrap()
}

/// How an event stream ends.
pub enum Then {
    Close,
    Cut,
    Hang,
}

pub fn events(events: &[(&str, &str, Value)], then: Then) -> Response<Body> {
    let mut text = String::from(": hello\n\n");
    for (id, kind, data) in events {
        text.push_str(&format!("id: {id}\nevent: {kind}\ndata: {data}\n\n"));
    }
    let sse = ("content-type", "text/event-stream".to_owned());
    match then {
        Then::Cut => cut(200, &[sse], text.as_bytes()),
        Then::Close => Response::builder()
            .header(sse.0, sse.1)
            .body(Body::from(text))
            .unwrap(),
        Then::Hang => {
            let first = stream::once(async { Ok::<_, Infallible>(Bytes::from(text)) });
            let body = Body::from_stream(first.chain(stream::pending()));
            Response::builder().header(sse.0, sse.1).body(body).unwrap()
        }
    }
}

/// A job object.
pub fn job(id: &str, scene: &str, status: &str, more: Value) -> Value {
    let mut job = json!({
        "id": id, "revision": 1, "status": status, "stage": "accepted", "tenant": "default",
        "created_at": "2026-11-21T20:00:00Z",
        "input": {"kind": "code", "scene": scene, "file_name": "scene.py", "source_bytes": 10},
        "output": {"format": "mp4", "quality": "low"},
        "timeout_s": 600, "cache": "use", "progress": {}, "attempts": [], "artifacts": [],
        "links": {"self": "", "events": "", "logs": "", "cancel": ""}
    });
    for (key, value) in more.as_object().into_iter().flatten() {
        job[key] = value.clone();
    }
    job
}

pub fn artifact(content: &[u8]) -> Value {
    json!([{
        "name": "video.mp4", "role": "video", "mime": "video/mp4", "bytes": content.len(),
        "sha256": hex::encode(Sha256::digest(content)),
        "url": "http://never-used.invalid/x", "url_expires_at": "2026-11-22T20:00:00Z"
    }])
}

/// The usual API: every submit is accepted and succeeds at once, the film's bytes are `content`.
pub fn works(call: &Call, content: &'static [u8]) -> Response<Body> {
    let done = || {
        job(
            JOB,
            "MyScene",
            "succeeded",
            json!({"artifacts": artifact(content)}),
        )
    };
    match call.what.as_str() {
        "POST /v1/jobs" => {
            let scene = call.scene().unwrap_or("MyScene");
            let output = call.body["output"].clone();
            json(202, &job(JOB, scene, "queued", json!({"output": output})))
        }
        what if what.ends_with("/events") => {
            let progress = json!({"stage": "rendering", "frames_done": 30, "frames_total": 60,
                                  "animation": 1, "animations_total": 2});
            let running = json!({"status": "running", "attempt": 1});
            let end = json!({"status": "succeeded"});
            events(
                &[
                    ("1-0", "status", running),
                    ("2-0", "progress", progress),
                    ("3-0", "done", end),
                ],
                Then::Close,
            )
        }
        what if what.contains("/artifacts/") => Response::new(Body::from(content)),
        what if what.starts_with("GET /v1/jobs/") => json(200, &done()),
        _ => status(StatusCode::NOT_FOUND),
    }
}

pub fn status(status: StatusCode) -> Response<Body> {
    Response::builder()
        .status(status)
        .body(Body::empty())
        .unwrap()
}

/// As [`works`], for as many scenes as are asked for: each has its own job.
pub fn works_for_many(
    call: &Call,
    content: &'static [u8],
    jobs: &Mutex<HashMap<String, Value>>,
) -> Response<Body> {
    let mut jobs = jobs.lock().unwrap();
    let of = |what: &str| what.split('/').nth(3).unwrap_or_default().to_owned();
    match call.what.as_str() {
        "POST /v1/jobs" => {
            let scene = call.scene().unwrap_or("MyScene");
            let id = format!("{}{:02}", &JOB[..JOB.len() - 2], jobs.len());
            let more = json!({"output": call.body["output"], "artifacts": artifact(content)});
            jobs.insert(id.clone(), job(&id, scene, "succeeded", more));
            json(202, &job(&id, scene, "queued", json!({})))
        }
        what if what.ends_with("/events") => events(&[("1-0", "done", json!({}))], Then::Close),
        what if what.contains("/artifacts/") => Response::new(Body::from(content)),
        what => json(200, &jobs[&of(what)]),
    }
}
