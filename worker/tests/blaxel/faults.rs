//! A switch at every call of the counterpart.

use std::sync::Mutex;
use std::time::Duration;

use axum::body::{Body, BodyDataStream, HttpBody as _};
use axum::http::header;
use axum::response::Response;
use bytes::Bytes;
use futures_util::StreamExt as _;

use crate::cloud::lock;

/// What goes wrong.
#[derive(Debug, Clone, PartialEq)]
pub enum What {
    /// The connection ends without an answer; nothing was done.
    Reset,
    /// The edge answers in its own way; nothing was done.
    Html(u16),
    /// It was done, and the edge has given up meanwhile.
    DoneThenHtml(u16),
    /// It was done, and the connection broke.
    DoneThenReset,
    /// 429 with `Retry-After`.
    TooMany(u32),
    /// Half of the body, or of a stream's first piece, and then the end of the connection.
    Truncated,
    /// The rest after that half comes a second later.
    Slow,
    /// 500 in the words of the control plane.
    Broke,
    /// It is to be asked for elsewhere.
    Redirect(String),
    /// The server has no room for it.
    Full,
    /// The sandbox is deleted just then.
    Gone,
    /// The key is revoked just then.
    Revoked,
    /// The sandbox's server starts anew: all processes are gone, and nobody knows of them.
    NoProcesses,
}

/// One fault: which call, after how many that go well, how often.
#[derive(Debug, Clone)]
pub struct Fault {
    pub call: String,
    pub after: u32,
    pub times: u32,
    pub what: What,
}

impl Fault {
    pub fn once(call: &str, what: What) -> Self {
        Self::at(call, 0, what)
    }

    /// At the call of this name after so many that go well.
    pub fn at(call: &str, after: u32, what: What) -> Self {
        Self {
            call: call.to_owned(),
            after,
            times: 1,
            what,
        }
    }

    pub fn always(call: &str, what: What) -> Self {
        Self {
            times: u32::MAX,
            ..Self::once(call, what)
        }
    }
}

#[derive(Default)]
pub struct Faults(Mutex<Vec<Fault>>);

impl Faults {
    pub fn add(&self, fault: Fault) {
        lock(&self.0).push(fault);
    }

    pub fn clear(&self) {
        lock(&self.0).clear();
    }

    pub fn left(&self) -> usize {
        lock(&self.0).len()
    }

    pub fn take(&self, call: &str) -> Option<Fault> {
        let mut faults = lock(&self.0);
        let index = faults.iter().position(|fault| fault.call == call)?;
        let fault = &mut faults[index];
        if fault.after > 0 {
            fault.after -= 1;
            return None;
        }
        fault.times -= 1;
        let taken = fault.clone();
        if taken.times == 0 {
            faults.remove(index);
        }
        Some(taken)
    }
}

/// As the network in front of everything answers.
pub fn html(status: u16) -> Response {
    Response::builder()
        .status(status)
        .header(header::CONTENT_TYPE, "text/html")
        .body(Body::from("<html><body><h1>gateway</h1></body></html>"))
        .expect("an answer")
}

/// Ends the connection without an answer.
pub fn hang_up() -> ! {
    std::panic::resume_unwind(Box::new("the connection is reset"))
}

/// Half of what comes first, and then the end of the connection, or the rest a second later.
pub fn spoiled(response: Response, rest_comes: bool) -> Response {
    enum Step {
        First,
        Second(Bytes),
        Others,
    }
    let (mut parts, body) = response.into_parts();
    if let Some(length) = body.size_hint().exact() {
        parts.headers.insert(header::CONTENT_LENGTH, length.into());
    }
    let start: (BodyDataStream, Step) = (body.into_data_stream(), Step::First);
    let stream = futures_util::stream::unfold(start, move |(mut body, step)| async move {
        match step {
            Step::First => {
                let mut half = body.next().await?.ok()?;
                let other = half.split_off(half.len() / 2);
                Some((Ok(half), (body, Step::Second(other))))
            }
            Step::Second(other) if rest_comes => {
                tokio::time::sleep(Duration::from_secs(1)).await;
                Some((Ok(other), (body, Step::Others)))
            }
            // The half is on its way before the connection is ended.
            Step::Second(_) => {
                tokio::time::sleep(Duration::from_millis(20)).await;
                let cut = std::io::Error::other("cut");
                Some((Err(cut), (body, Step::Others)))
            }
            Step::Others => {
                let piece = body.next().await?.map_err(std::io::Error::other);
                Some((piece, (body, Step::Others)))
            }
        }
    });
    Response::from_parts(parts, Body::from_stream(stream))
}
