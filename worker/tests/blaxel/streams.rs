//! `/process/{id}/logs/stream`: what was said so far, and then what is said, with the server's marks.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::header;
use axum::response::Response;
use serde_json::json;

use crate::cloud::lock;
use crate::processes::Process;
use crate::standby::Standby;

/// As the real one, which says it every 30 s.
const KEEPALIVE: Duration = Duration::from_secs(2);

pub fn stream(process: Option<Arc<Process>>, id: &str, standby: Arc<Standby>) -> Response {
    let text = |body| {
        Response::builder()
            .header(header::CONTENT_TYPE, "text/plain; charset=utf-8")
            .body(body)
            .expect("an answer")
    };
    let Some(process) = process else {
        let line = json!({"error": format!("process with Identifier {id} not found")});
        return text(Body::from(format!("{line}\n")));
    };
    let start = (process, 0, tokio::time::Instant::now(), standby);
    let stream =
        futures_util::stream::unfold(start, |(process, at, mut spoke, standby)| async move {
            loop {
                if standby.breaks_streams() {
                    return Some((Err(standby.broken()), (process, at, spoke, standby)));
                }
                while standby.is_on() {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
                let (piece, over) = {
                    let now = lock(&process.now);
                    (now.marked[at..].to_vec(), now.completed)
                };
                if !piece.is_empty() {
                    let at = at + piece.len();
                    let next = (process, at, spoke, standby);
                    return Some((Ok::<_, std::io::Error>(bytes::Bytes::from(piece)), next));
                }
                if over {
                    return None;
                }
                if spoke.elapsed() > KEEPALIVE {
                    spoke = tokio::time::Instant::now();
                    let piece = bytes::Bytes::from_static(b"[keepalive]\n");
                    return Some((Ok(piece), (process, at, spoke, standby)));
                }
                // The server looks every 50 ms.
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        });
    text(Body::from_stream(stream))
}
