//! Server-sent events: order, resuming, ending, limits.

use std::time::{Duration, Instant};

use futures_util::{Stream, StreamExt as _};
use manimq_shared::ids::JobId;
use manimq_shared::queue::EventKind;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::support::{Api, SOON, Setup, eventually, problem};

/// One event as it came; comments are events of the kind `:`.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    pub id: Option<String>,
    pub kind: String,
    pub data: Value,
}

pub struct Events {
    bytes: std::pin::Pin<Box<dyn Stream<Item = reqwest::Result<bytes::Bytes>> + Send>>,
    text: String,
}

impl Events {
    pub fn of(response: reqwest::Response) -> Self {
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        assert_eq!(response.headers()["x-accel-buffering"], "no");
        Self {
            bytes: Box::pin(response.bytes_stream()),
            text: String::new(),
        }
    }

    /// The next block; `None` when the server has closed.
    async fn block(&mut self) -> Option<String> {
        loop {
            if let Some(end) = self.text.find("\n\n") {
                let block = self.text[..end].to_owned();
                self.text.drain(..end + 2);
                return Some(block);
            }
            let bytes = tokio::time::timeout(SOON, self.bytes.next())
                .await
                .expect("an event comes in time")?;
            self.text
                .push_str(std::str::from_utf8(&bytes.ok()?).unwrap());
        }
    }

    /// The next event that is no comment.
    pub async fn next(&mut self) -> Option<Event> {
        loop {
            let block = self.block().await?;
            if block.starts_with(':') {
                continue;
            }
            let field = |name: &str| {
                block.lines().find_map(|line| {
                    line.strip_prefix(name)?
                        .strip_prefix(": ")
                        .map(str::to_owned)
                })
            };
            return Some(Event {
                id: field("id"),
                kind: field("event").unwrap(),
                data: serde_json::from_str(&field("data").unwrap()).unwrap(),
            });
        }
    }

    async fn rest(&mut self) -> Vec<Event> {
        let mut events = Vec::new();
        while let Some(event) = self.next().await {
            events.push(event);
        }
        events
    }
}

async fn follow_with(api: &Api, id: JobId, query: &str, last: Option<&str>) -> reqwest::Response {
    let mut request = api.request(Method::GET, &format!("/v1/jobs/{id}/events{query}"));
    if let Some(last) = last {
        request = request.header("last-event-id", last);
    }
    request.send().await.unwrap()
}

async fn follow(api: &Api, id: JobId, query: &str, last: Option<&str>) -> Events {
    Events::of(follow_with(api, id, query, last).await)
}

fn kinds(events: &[Event]) -> Vec<&str> {
    events.iter().map(|event| event.kind.as_str()).collect()
}

#[tokio::test]
async fn a_stream_begins_with_the_job_and_ends_with_done() {
    let api = Api::start().await;
    let job = api.submit().await;
    let mut events = follow(&api, job.id, "", None).await;
    let first = events.block().await.unwrap();
    assert!(
        first.contains("retry: 3000") && first.contains("event: status"),
        "{first}"
    );
    assert!(
        first.contains(&job.id.to_string()) && !first.contains("id: 1"),
        "{first}"
    );

    let worker = api.worker();
    let claim = worker.claim().await;
    let running = events.next().await.unwrap();
    assert_eq!(
        (running.kind.as_str(), &running.data["status"]),
        ("status", &json!("running"))
    );
    assert!(running.id.is_some());
    let start = Instant::now();
    worker
        .tell(
            &claim,
            &[
                (EventKind::Log, json!({"text": "hi\n"})),
                (EventKind::Progress, json!({"frames_done": 3})),
            ],
        )
        .await;
    assert_eq!(events.next().await.unwrap().data, json!({"text": "hi\n"}));
    assert_eq!(events.next().await.unwrap().data["frames_done"], 3);
    assert!(
        start.elapsed() < Duration::from_secs(1),
        "{:?}",
        start.elapsed()
    );
    worker.succeed(&claim, &[("video.mp4", b"film")]).await;
    let rest = events.rest().await;
    assert_eq!(kinds(&rest), ["done"]);
    assert_eq!(rest[0].data["status"], "succeeded");
}

#[tokio::test]
async fn who_comes_late_gets_the_present_state_and_the_whole_log() {
    let api = Api::start().await;
    let job = api.submit().await;
    let worker = api.worker();
    let claim = worker.claim().await;
    for i in 0..3 {
        worker
            .tell(
                &claim,
                &[
                    (EventKind::Progress, json!({"frames_done": i})),
                    (EventKind::Log, json!({"text": i.to_string()})),
                ],
            )
            .await;
    }
    let mut events = follow(&api, job.id, "", None).await;
    let first = events.next().await.unwrap();
    assert_eq!(
        (
            first.data["status"].clone(),
            first.data["progress"]["frames_done"].clone()
        ),
        (json!("running"), json!(2))
    );
    for i in 0..3 {
        assert_eq!(events.next().await.unwrap().data["text"], i.to_string());
    }
    worker.succeed(&claim, &[("video.mp4", b"film")]).await;
    assert_eq!(kinds(&events.rest().await), ["done"]);

    let mut after = follow(&api, job.id, "", None).await;
    let all = after.rest().await;
    assert_eq!(kinds(&all), ["status", "log", "log", "log", "done"]);
    assert_eq!(all[0].data["status"], "succeeded");
}

#[tokio::test]
async fn a_stream_is_resumed_where_it_was_cut_without_loss_or_repeat() {
    let api = Api::start().await;
    let job = api.submit().await;
    let worker = api.worker();
    let claim = worker.claim().await;
    for i in 0..5 {
        worker
            .tell(&claim, &[(EventKind::Log, json!({"text": i.to_string()}))])
            .await;
    }
    worker.succeed(&claim, &[("video.mp4", b"film")]).await;
    let all = follow(&api, job.id, "?after=0", None).await.rest().await;
    assert_eq!(
        kinds(&all),
        ["status", "log", "log", "log", "log", "log", "done"]
    );
    for (i, event) in all.iter().enumerate() {
        let id = event.id.as_deref().unwrap();
        let by_header = follow_with(&api, job.id, "?after=0", Some(id)).await;
        let by_query = follow_with(&api, job.id, &format!("?after={id}"), None).await;
        for response in [by_header, by_query] {
            if i + 1 == all.len() {
                assert_eq!(response.status(), StatusCode::NO_CONTENT);
            } else {
                let mut events = Events {
                    bytes: Box::pin(response.bytes_stream()),
                    text: String::new(),
                };
                assert_eq!(events.rest().await, all[i + 1..]);
            }
        }
    }
}

#[tokio::test]
async fn many_events_come_in_order_and_progress_is_thinned() {
    let api = Api::start().await;
    let job = api.submit().await;
    let worker = api.worker();
    let claim = worker.claim().await;
    for i in 0..10 {
        let mut batch: Vec<_> = (0..60)
            .map(|j| (EventKind::Progress, json!({"frames_done": i * 60 + j})))
            .collect();
        batch.push((EventKind::Log, json!({"text": i.to_string()})));
        worker.tell(&claim, &batch).await;
    }
    worker.succeed(&claim, &[("video.mp4", b"film")]).await;
    let all = follow(&api, job.id, "?after=0", None).await.rest().await;
    let logs: Vec<_> = all
        .iter()
        .filter(|e| e.kind == "log")
        .map(|e| e.data["text"].clone())
        .collect();
    assert_eq!(
        logs,
        (0..10).map(|i| json!(i.to_string())).collect::<Vec<_>>()
    );
    let progress = all.iter().filter(|e| e.kind == "progress").count();
    assert!((10..=20).contains(&progress), "{progress}");
    assert!(
        all.iter()
            .filter_map(|e| e.data["frames_done"].as_u64())
            .is_sorted()
    );
}

#[tokio::test]
async fn an_event_id_that_is_none_is_refused() {
    let api = Api::start().await;
    let job = api.submit().await;
    for id in [
        "x",
        "1-2-3",
        "-1",
        "1-",
        "99999999999999999999999",
        "(1-1",
        "+",
        "+1-0",
        "1-18446744073709551616",
    ] {
        let response = follow_with(&api, job.id, "", Some(id)).await;
        problem(response, 400, "malformed").await;
    }
    // A browser's empty header is no id.
    let mut events = follow(&api, job.id, "", Some("")).await;
    assert_eq!(events.next().await.unwrap().kind, "status");
}

#[tokio::test]
async fn nothing_comes_after_the_greatest_event_id() {
    let api = Api::start().await;
    let max = u64::MAX;
    let ended = api.finished_job(b"film").await;
    let running = api.submit().await;
    for id in [ended.id, running.id] {
        let by_query = follow_with(&api, id, &format!("?after={max}-{max}"), None).await;
        assert_eq!(by_query.status(), StatusCode::NO_CONTENT);
        let by_header = follow_with(&api, id, "", Some(&format!("{max}-{max}"))).await;
        assert_eq!(by_header.status(), StatusCode::NO_CONTENT);
    }
    // One before it is an id like another.
    let last = follow_with(&api, ended.id, &format!("?after={max}-{}", max - 1), None).await;
    assert_eq!(last.status(), StatusCode::NO_CONTENT);
    let last = follow_with(&api, running.id, &format!("?after={max}"), None).await;
    assert_eq!(last.status(), StatusCode::OK);
}

#[tokio::test]
async fn a_stream_that_redis_refuses_to_read_ends() {
    let api = Api::start().await;
    let job = api.submit().await;
    let mut events = follow(&api, job.id, "", None).await;
    events.next().await.unwrap();
    // Another type under the stream's key: Redis answers, but no later answer will be better.
    let () = api
        .queue
        .query(redis::cmd("DEL").arg(api.queue.keys_of(job.id).job(job.id)))
        .await
        .unwrap();
    let () = api
        .queue
        .query(
            redis::cmd("SET")
                .arg(api.queue.keys_of(job.id).job(job.id))
                .arg("no stream"),
        )
        .await
        .unwrap();
    assert_eq!(events.rest().await, []);
    assert_eq!(api.gauge(&cut_off("error")).await, 1.0);
}

/// The counter of streams that were cut off for this.
fn cut_off(reason: &str) -> String {
    format!("manimq_sse_cut_off_total{{reason={reason:?}}}")
}

#[tokio::test]
async fn a_silent_stream_says_that_it_lives_and_ends_after_its_time() {
    let mut setup = Setup::new();
    setup.limits.sse_heartbeat = Duration::from_millis(200);
    setup.limits.sse_life = Duration::from_millis(1200);
    let api = setup.start().await;
    let job = api.submit().await;
    let mut events = follow(&api, job.id, "", None).await;
    events.next().await.unwrap();
    assert_eq!(events.block().await.unwrap(), ": still here");
    let start = Instant::now();
    assert!(events.rest().await.is_empty());
    assert!(start.elapsed() < SOON, "{:?}", start.elapsed());
    assert_eq!(api.gauge(&cut_off("life")).await, 1.0);
}

#[tokio::test]
async fn streams_end_with_the_server() {
    let mut api = Api::start().await;
    let job = api.submit().await;
    let mut events = follow(&api, job.id, "", None).await;
    events.next().await.unwrap();
    let start = Instant::now();
    let (rest, ()) = tokio::join!(events.rest(), api.stop());
    assert!(rest.is_empty());
    assert!(start.elapsed() < SOON, "{:?}", start.elapsed());
}

#[tokio::test]
async fn the_number_of_streams_is_bounded_and_a_closed_one_makes_room() {
    let api = Setup::new().flags(&["--sse-max=2"]).start().await;
    let job = api.submit().await;
    let first = follow(&api, job.id, "", None).await;
    let _second = follow(&api, job.id, "", None).await;
    let full = follow_with(&api, job.id, "", None).await;
    let refused = problem(full, 503, "temporary-reduced-capacity").await;
    assert!(refused.detail.contains("?wait="), "{refused:?}");
    assert_eq!(api.gauge(&cut_off("full")).await, 1.0);
    drop(first);
    eventually(|| async {
        let response = follow_with(&api, job.id, "", None).await;
        (response.status() == StatusCode::OK).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_stream_outlives_a_restart_of_redis() {
    let mut setup = Setup::new();
    setup.durable = true;
    let mut api = setup.start().await;
    let job = api.submit().await;
    let mut events = follow(&api, job.id, "", None).await;
    events.next().await.unwrap();
    api.redis.kill();
    eventually(|| async {
        let detail = problem(api.get("/readyz").await, 503, "not-ready").await;
        detail.detail.contains("Redis").then_some(())
    })
    .await;
    api.redis.restart();
    let worker = api.worker();
    let claim = eventually(|| async {
        let claimed = api
            .queue
            .claim(&worker.info, 1, manimq_shared::queue::LEASE)
            .await
            .ok()?;
        claimed.claims.into_iter().next()
    })
    .await;
    assert_eq!(events.next().await.unwrap().data["status"], "running");
    worker.succeed(&claim, &[("video.mp4", b"film")]).await;
    assert_eq!(kinds(&events.rest().await), ["done"]);
}

#[tokio::test]
async fn a_reader_that_takes_nothing_is_cut() {
    use tokio::io::AsyncWriteExt as _;
    let mut setup = Setup::new();
    setup.http.stall_timeout = Duration::from_millis(300);
    let api = setup.start().await;
    let job = api.submit().await;
    let worker = api.worker();
    let claim = worker.claim().await;
    let long = "x".repeat(100_000);
    for _ in 0..60 {
        worker
            .tell(&claim, &[(EventKind::Log, json!({"text": long}))])
            .await;
    }
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let address = api.base.trim_start_matches("http://").parse().unwrap();
    let mut stream = socket.connect(address).await.unwrap();
    let request = format!(
        "GET /v1/jobs/{}/events HTTP/1.1\r\nhost: localhost\r\n\r\n",
        job.id
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    // The head comes once the stream is counted; nothing is read after it.
    let mut head = [0; 12];
    tokio::io::AsyncReadExt::read_exact(&mut stream, &mut head)
        .await
        .unwrap();
    assert_eq!(&head, b"HTTP/1.1 200");
    api.until_gauge("manimq_sse_connections", 0.0).await;
    assert_eq!(api.gauge("manimq_http_stalled_total").await, 1.0);
}
