//! A language model's endpoint that says what a test tells it, one answer after the other.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::Response;
use futures_util::stream;
use serde_json::{Value, json};

/// What it says to one question.
#[derive(Debug, Clone)]
pub enum Say {
    /// A completion with this text.
    Text(String),
    /// The same, at the price of so many tokens.
    Costly(String, u64),
    /// A text that comes after a while.
    Late(Duration, String),
    /// A status with a body, and a header.
    Status(u16, &'static str, Option<(&'static str, String)>),
    /// A body without an end.
    Endless,
    /// Nothing, for a long time.
    Nothing,
}

pub fn text(text: &str) -> Say {
    Say::Text(text.to_owned())
}

/// JSON as models like to give it.
pub fn fenced(value: &Value) -> Say {
    Say::Text(format!("Of course!\n```json\n{value}\n```"))
}

pub fn code(source: &str) -> Say {
    Say::Text(format!("```python\n{source}```"))
}

pub fn status(status: u16) -> Say {
    Say::Status(status, "{\"error\": \"no\"}", None)
}

/// A question as it came.
#[derive(Debug, Clone)]
pub struct Asked {
    pub authorization: Option<String>,
    pub body: Value,
}

impl Asked {
    /// Everything that was said so far.
    pub fn said(&self) -> String {
        let turns = self.body["messages"].as_array().unwrap().iter();
        let turns = turns.map(|turn| turn["content"].as_str().unwrap().to_owned());
        turns.collect::<Vec<_>>().join("\n")
    }
}

#[derive(Default)]
struct Shared {
    script: Mutex<VecDeque<Say>>,
    asked: Mutex<Vec<Asked>>,
}

/// A running one; gone when dropped.
pub struct Endpoint {
    /// What `MANIMQ_LLM_URL` is set to.
    pub url: String,
    shared: Arc<Shared>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Endpoint {
    pub async fn start(script: impl IntoIterator<Item = Say>) -> Self {
        let shared = Arc::new(Shared::default());
        let app = axum::Router::new()
            .route("/v1/chat/completions", axum::routing::post(answer))
            .with_state(Arc::clone(&shared));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/v1", listener.local_addr().unwrap());
        let task = tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        let endpoint = Self { url, shared, task };
        endpoint.then(script);
        endpoint
    }

    /// What it says next.
    pub fn then(&self, script: impl IntoIterator<Item = Say>) {
        self.shared.script.lock().unwrap().extend(script);
    }

    /// The questions so far.
    pub fn asked(&self) -> Vec<Asked> {
        self.shared.asked.lock().unwrap().clone()
    }
}

async fn answer(State(shared): State<Arc<Shared>>, request: Request) -> Response<Body> {
    let (parts, body) = request.into_parts();
    let body = axum::body::to_bytes(body, 1 << 20).await.unwrap();
    let authorization = parts.headers.get("authorization");
    shared.asked.lock().unwrap().push(Asked {
        authorization: authorization.map(|value| value.to_str().unwrap().to_owned()),
        body: serde_json::from_slice(&body).unwrap(),
    });
    let next = shared.script.lock().unwrap().pop_front();
    let completion = |text: String, tokens: u64| {
        json!({
            "choices": [{"message": {"role": "assistant", "content": text}, "finish_reason": "stop"}],
            "usage": {"total_tokens": tokens},
        })
    };
    let body = match next {
        Some(Say::Text(text)) => Body::from(completion(text, 100).to_string()),
        Some(Say::Costly(text, tokens)) => Body::from(completion(text, tokens).to_string()),
        Some(Say::Late(wait, text)) => {
            tokio::time::sleep(wait).await;
            Body::from(completion(text, 100).to_string())
        }
        Some(Say::Status(status, body, header)) => {
            let mut response = Response::builder().status(status);
            if let Some((name, value)) = header {
                response = response.header(name, value);
            }
            return response.body(Body::from(body)).unwrap();
        }
        Some(Say::Endless) => Body::from_stream(stream::repeat_with(|| {
            Ok::<_, std::io::Error>(Bytes::from_static(&[b' '; 4096]))
        })),
        Some(Say::Nothing) => {
            tokio::time::sleep(Duration::from_secs(300)).await;
            Body::empty()
        }
        None => {
            let missing = Response::builder().status(418).body(Body::empty());
            return missing.unwrap();
        }
    };
    Response::new(body)
}
