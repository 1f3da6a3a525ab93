//! `GET /v1/events`: what happens to all jobs of a tenant (server-sent events).
//!
//! The tenant's feed in Redis is written only while somebody listens, so it costs nothing
//! otherwise. As with the events of one job, hints wake a stream, it looks by itself too, and it
//! holds nothing but the page that it read last.

use std::collections::{HashMap, VecDeque};
use std::convert::Infallible;
use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderMap, HeaderName};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse as _, Response};
use futures_util::{Stream, stream};
use manimq_shared::ids::TenantId;
use manimq_shared::queue::{Feed, News, Told, Watch};
use serde_json::json;
use tokio::time::{Instant, sleep, timeout_at};

use super::events::{EventsQuery, LAST_EVENT_ID, LOOK_EVERY, RETRY, event_id};
use super::extract::{Query, Tenant, header_text};
use super::openapi::Problems;
use super::problem::{ApiError, Kind};
use super::{App, jobs, view};
use crate::metrics::CutOff;
use crate::places::Place;

/// Entries that are read in one call.
const PAGE: usize = 200;
/// A stream looks no more often than this, so that progress is told a few times a second at most.
const LOOK_PAUSE: Duration = Duration::from_millis(250);
/// For so long news are kept for who was cut off; while somebody listens that is said again so often.
const LISTEN_FOR: Duration = Duration::from_mins(5);
const LISTEN_EVERY: Duration = Duration::from_mins(2);

/// Follow all jobs.
///
/// Events: `ready` (the stream has begun; what happens later is told), `status` (a job's status
/// changed; the whole job object), `progress` (`{"id", "progress"}`, only the newest of each job),
/// and `reset`: something was missed, because nobody listened for more than five minutes or too
/// much happened; list the jobs again. Resume with `Last-Event-ID` or `after`.
#[utoipa::path(
    get, path = "/v1/events", tag = "jobs", operation_id = "followJobs",
    params(EventsQuery,
        ("Last-Event-ID" = Option<String>, Header, description = "The last event that was seen; browsers send it by themselves")),
    responses(
        (status = 200, description = "The events", body = String, content_type = "text/event-stream"),
        Problems
    )
)]
pub(super) async fn follow(
    State(app): State<App>,
    Tenant(tenant): Tenant,
    Query(query): Query<EventsQuery>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let after = match header_text(&headers, &LAST_EVENT_ID)? {
        Some("") | None => query.after.as_deref(),
        Some(id) => Some(id),
    };
    let after = after.map(event_id).transpose()?;
    let place = app.stream_place(&tenant)?;
    let listen = app.queue().listen(&tenant, LISTEN_FOR);
    let newest = app.redis("listen", listen).await?;
    let mut pending = VecDeque::new();
    let after = if let Some((ms, n)) = after {
        format!("{ms}-{n}")
    } else {
        let ready = Event::default().event("ready").retry(RETRY);
        pending.push_back(ready.id(&newest).data("{}"));
        newest
    };
    let follower = Follower {
        watch: app
            .hub()
            .watch(app.queue().keys_of_tenant(&tenant).feed_topic(&tenant)),
        end: Instant::now() + app.limits().sse_life,
        listened: Instant::now(),
        after,
        tenant,
        pending,
        _place: place,
        app: app.clone(),
    };
    let heartbeat = KeepAlive::new()
        .interval(app.limits().sse_heartbeat)
        .text("still here");
    let sse = Sse::new(follower.into_stream()).keep_alive(heartbeat);
    let headers = [
        (HeaderName::from_static("x-accel-buffering"), "no"),
        (axum::http::header::CACHE_CONTROL, "no-store"),
    ];
    Ok((headers, sse).into_response())
}

/// One stream.
struct Follower {
    app: App,
    tenant: TenantId,
    after: String,
    watch: Watch,
    pending: VecDeque<Event>,
    listened: Instant,
    end: Instant,
    _place: Place<TenantId>,
}

impl Follower {
    fn into_stream(self) -> impl Stream<Item = Result<Event, Infallible>> {
        stream::unfold(self, |mut follower| async move {
            let event = follower.next().await?;
            Some((Ok(event), follower))
        })
    }

    async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some(event) = self.pending.pop_front() {
                return Some(event);
            }
            if Instant::now() >= self.end {
                return self.cut_off(CutOff::Life);
            }
            match self.look().await {
                Ok(()) => {}
                // A Redis that is away is waited for: the heartbeats go on meanwhile.
                Err(error) if error.is_passing() => {}
                Err(error) => {
                    tracing::warn!(tenant.id = %self.tenant, cause = error.cause_text(), "the event stream of {} ends: its feed cannot be read", self.tenant);
                    return self.cut_off(CutOff::Error);
                }
            }
            if self.pending.is_empty() {
                let look = (Instant::now() + LOOK_EVERY).min(self.end);
                tokio::select! {
                    _ = timeout_at(look, self.watch.hinted()) => {}
                    () = self.app.stop().cancelled() => return self.cut_off(CutOff::Stop),
                }
                sleep(LOOK_PAUSE).await;
            }
        }
    }

    fn cut_off(&self, why: CutOff) -> Option<Event> {
        self.app.metrics().cut_off(why);
        None
    }

    /// Reads a page of news, and says from time to time that somebody listens.
    async fn look(&mut self) -> Result<(), ApiError> {
        let queue = self.app.queue();
        if self.listened.elapsed() >= LISTEN_EVERY {
            let listen = queue.listen(&self.tenant, LISTEN_FOR);
            self.app.redis("listen", listen).await?;
            self.listened = Instant::now();
        }
        let feed = queue.feed(&self.tenant, &self.after, PAGE);
        match self.app.redis("feed", feed).await? {
            Some(Feed { news, last }) => {
                self.tell(&news).await?;
                self.after = last;
            }
            None => {
                let listen = queue.listen(&self.tenant, LISTEN_FOR);
                self.after = self.app.redis("listen", listen).await?;
                self.listened = Instant::now();
                self.app.metrics().cut_off(CutOff::Missed);
                let reset = Event::default().event("reset").id(&self.after);
                let detail = json!({ "detail": "events were missed: list the jobs again" });
                self.pending.push_back(reset.data(detail.to_string()));
            }
        }
        Ok(())
    }

    /// One event per job and page: what was said of it last. Nothing is told twice, and nothing
    /// that has been overtaken.
    async fn tell(&mut self, news: &[News]) -> Result<(), ApiError> {
        let mut whole = HashMap::new();
        for item in news {
            *whole.entry(item.job).or_insert(false) |= item.told != Told::Progress;
        }
        let mut events = Vec::new();
        for item in news.iter().rev() {
            let Some(whole) = whole.remove(&item.job) else {
                continue;
            };
            let record = match jobs::load(&self.app, &self.tenant, item.job).await {
                Ok(record) => record,
                Err(error) if error.kind() == Kind::NotFound => continue,
                Err(error) => return Err(error),
            };
            let view = view::job(&self.app, &record);
            let (event, data) = if whole {
                ("status", json!(view))
            } else {
                (
                    "progress",
                    json!({ "id": view.id, "progress": view.progress }),
                )
            };
            let event = Event::default().event(event).id(&item.id);
            events.push(event.data(data.to_string()));
        }
        self.pending.extend(events.into_iter().rev());
        Ok(())
    }
}
