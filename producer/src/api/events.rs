//! `GET /v1/jobs/{id}/events`: a job's events as they happen (server-sent events).
//!
//! Event ids are the ids of the job's Redis stream, so any API process can resume what another
//! began. A hint from the hub makes the stream look at once; it also looks by itself every few
//! seconds, so a lost hint or a Redis that was away only costs time. A stream holds no buffer but
//! the page it read last: a slow reader slows itself down, and one that takes nothing is cut by
//! [`crate::http`].

use std::collections::VecDeque;
use std::convert::Infallible;
use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, StatusCode};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse as _, Response};
use futures_util::{Stream, stream};
use manimq_shared::ids::{JobId, TenantId};
use manimq_shared::job::Progress;
use manimq_shared::queue::{EventKind, JobEvent, Watch};
use serde::Deserialize;
use tokio::time::{Instant, timeout_at};
use utoipa::IntoParams;

use super::extract::{JobPath, Query, Tenant, header_text};
use super::openapi::Problems;
use super::pace::Pace;
use super::problem::{ApiError, Kind};
use super::{App, jobs, view};
use crate::metrics::CutOff;
use crate::places::Place;

pub(super) const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
/// Events that are read in one call.
const PAGE: usize = 200;
/// A stream looks by itself this often, and at the whole job at each so many-th of these looks:
/// a job whose record was deleted has no `done`.
pub(super) const LOOK_EVERY: Duration = Duration::from_secs(4);
const LOOKS_PER_JOB_LOOK: u32 = 15;
/// A stream that gets many hints looks once in so long.
const LOOK_PAUSE: Duration = Duration::from_millis(20);
/// Pause of the client before it connects again.
pub(super) const RETRY: Duration = Duration::from_secs(3);

/// Where a stream begins.
#[derive(Debug, Clone, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct EventsQuery {
    /// Only events after this event id; `0` for all of them. `Last-Event-ID` goes before it.
    #[param(pattern = "^[0-9]{1,15}(-[0-9]{1,15})?$")]
    pub(super) after: Option<String>,
}

/// Follow a job's events.
///
/// Events: `status` (the status changed), `progress`, `log` (`{"text"}`), `warning`, and `done`
/// (the last). Without `after` or `Last-Event-ID` the stream begins with a `status` event that
/// holds the whole job object, then what the scene printed so far, then what happens. With
/// either, it goes on after that event. 204 if nothing can come after it.
#[utoipa::path(
    get, path = "/v1/jobs/{id}/events", tag = "jobs", operation_id = "followJob",
    params(("id" = String, Path, description = "The job's id"), EventsQuery,
        ("Last-Event-ID" = Option<String>, Header, description = "The last event that was seen; browsers send it by themselves")),
    responses(
        (status = 200, description = "The events", body = String, content_type = "text/event-stream"),
        (status = 204, description = "The job has ended and everything was seen"),
        Problems
    )
)]
pub(super) async fn follow(
    State(app): State<App>,
    Tenant(tenant): Tenant,
    JobPath(id): JobPath,
    Query(query): Query<EventsQuery>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let after = match header_text(&headers, &LAST_EVENT_ID)? {
        // A browser that saw no id sends an empty header, if any.
        Some("") | None => query.after.as_deref(),
        Some(id) => Some(id),
    };
    let after = after.map(event_id).transpose()?;
    let record = jobs::load(&app, &tenant, id).await?;
    if after == Some(EVENT_ID_MAX) {
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    let after = after.map(|(ms, n)| format!("{ms}-{n}"));
    let place = app.stream_place(&tenant)?;

    let mut pending = VecDeque::new();
    if after.is_some() {
        if record.status.is_terminal() {
            let rest = page(&app, id, after.as_deref()).await?;
            if rest.is_empty() {
                return Ok(StatusCode::NO_CONTENT.into_response());
            }
        }
    } else {
        pending.push_back(snapshot(&app, &record));
    }
    let follower = Follower {
        watch: app.hub().watch(app.queue().keys_of(id).job_topic(id)),
        end: Instant::now() + app.limits().sse_life,
        catching_up: after.is_none().then_some(record.revision),
        skipped: false,
        idle_looks: 0,
        pace: Pace::new(LOOK_PAUSE),
        after,
        tenant,
        id,
        renders: record.rendered_by.unwrap_or(id),
        pending,
        done: false,
        _place: place,
        app: app.clone(),
    };
    let heartbeat = KeepAlive::new()
        .interval(app.limits().sse_heartbeat)
        .text("still here");
    let sse = Sse::new(follower.into_stream()).keep_alive(heartbeat);
    let headers = [
        // nginx would otherwise collect events before it passes them on.
        (HeaderName::from_static("x-accel-buffering"), "no"),
        (axum::http::header::CACHE_CONTROL, "no-store"),
    ];
    Ok((headers, sse).into_response())
}

/// The greatest id of a Redis stream. Nothing comes after it, and Redis refuses to be asked.
const EVENT_ID_MAX: (u64, u64) = (u64::MAX, u64::MAX);

/// An id of a Redis stream: `<ms>` or `<ms>-<n>`.
pub(super) fn event_id(text: &str) -> Result<(u64, u64), ApiError> {
    let number = |part: &str| {
        let digits = part.bytes().all(|b| b.is_ascii_digit());
        digits.then(|| part.parse::<u64>().ok()).flatten()
    };
    let (ms, n) = text.split_once('-').unwrap_or((text, "0"));
    number(ms).zip(number(n)).ok_or_else(|| {
        ApiError::new(
            Kind::Malformed,
            "`after` and `Last-Event-ID` take the id of an event as it came, such as 1700000000000-0",
        )
    })
}

async fn page(app: &App, id: JobId, after: Option<&str>) -> Result<Vec<JobEvent>, ApiError> {
    app.redis("events", app.queue().events(id, after, PAGE))
        .await
}

/// The job object as a `status` event, without an id: a client that is cut right after it begins anew.
fn snapshot(app: &App, record: &manimq_shared::job::JobRecord) -> Event {
    let data = serde_json::to_string(&view::job(app, record)).unwrap_or_default();
    Event::default()
        .event(EventKind::Status.as_str())
        .retry(RETRY)
        .data(data)
}

/// One stream.
struct Follower {
    app: App,
    tenant: TenantId,
    id: JobId,
    /// Whose render it shows: its own, or that of the job it waits for.
    renders: JobId,
    pub(super) after: Option<String>,
    watch: Watch,
    pending: VecDeque<Event>,
    /// While the past is replayed behind a snapshot: the snapshot's revision. What the snapshot
    /// says already (status, progress) is then left out.
    catching_up: Option<u64>,
    skipped: bool,
    idle_looks: u32,
    pace: Pace,
    end: Instant,
    done: bool,
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
            if self.done {
                return None;
            }
            if Instant::now() >= self.end {
                return self.cut_off(CutOff::Life);
            }
            let read = match page(&self.app, self.id, self.after.as_deref()).await {
                Ok(events) => Some(events),
                // A Redis that is away is waited for: the heartbeats go on meanwhile.
                Err(error) if error.is_passing() => None,
                Err(error) => {
                    tracing::warn!(job.id = %self.id, cause = error.cause_text(), "the event stream of {} ends: its events cannot be read", self.id);
                    return self.cut_off(CutOff::Error);
                }
            };
            let full = read.as_ref().is_some_and(|events| events.len() == PAGE);
            let reachable = read.is_some();
            self.take(read.unwrap_or_default());
            if reachable && !full && !self.done {
                self.caught_up().await;
            }
            if self.pending.is_empty() && !self.done && !full {
                let look = (Instant::now() + LOOK_EVERY).min(self.end);
                tokio::select! {
                    hinted = timeout_at(look, self.watch.hinted()) => {
                        self.idle_looks = if hinted.is_ok() { 0 } else { self.idle_looks + 1 };
                    }
                    () = self.app.stop().cancelled() => return self.cut_off(CutOff::Stop),
                }
                self.pace.keep().await;
            }
        }
    }

    fn cut_off(&self, why: CutOff) -> Option<Event> {
        self.app.metrics().cut_off(why);
        None
    }

    fn take(&mut self, events: Vec<JobEvent>) {
        let mut events = events.into_iter().peekable();
        while let Some(event) = events.next() {
            self.after = Some(event.id.clone());
            let last_of_its_kind = match event.kind {
                EventKind::Done => {
                    self.done = true;
                    true
                }
                EventKind::Log | EventKind::Warning => true,
                EventKind::Status => {
                    self.skipped |= self.catching_up.is_some();
                    self.catching_up.is_none()
                }
                // Of progress that lies one behind the other only the newest matters.
                EventKind::Progress => {
                    self.skipped |= self.catching_up.is_some();
                    self.catching_up.is_none()
                        && events
                            .peek()
                            .is_none_or(|next| next.kind != EventKind::Progress)
                }
            };
            if last_of_its_kind {
                let data = if event.kind == EventKind::Progress {
                    self.with_poster(event.data)
                } else {
                    event.data
                };
                self.pending.push_back(
                    Event::default()
                        .id(&event.id)
                        .event(event.kind.as_str())
                        .data(data),
                );
            }
        }
    }

    /// Progress as the worker told it, with the URL of an early still.
    fn with_poster(&self, data: String) -> String {
        let Ok(mut progress) = serde_json::from_str::<Progress>(&data) else {
            return "{}".to_owned();
        };
        let poster = progress.poster.take();
        progress.poster = poster.and_then(|told| view::early_poster(&self.app, self.renders, told));
        serde_json::to_string(&progress).unwrap_or(data)
    }

    /// At the end of what there is: the past is over, and a job that is gone has no future.
    async fn caught_up(&mut self) {
        let snapshot_revision = self.catching_up.take();
        let missed = snapshot_revision.is_some() && self.skipped;
        let look_at_job = self.idle_looks % LOOKS_PER_JOB_LOOK == LOOKS_PER_JOB_LOOK - 1;
        if !missed && !look_at_job {
            return;
        }
        match jobs::load(&self.app, &self.tenant, self.id).await {
            // What was left out may be newer than the snapshot.
            Ok(record) if missed && snapshot_revision != Some(record.revision) => {
                self.pending.push_back(snapshot(&self.app, &record));
            }
            Ok(_) => {}
            Err(error) if error.kind() == Kind::NotFound => self.done = true,
            // Tried again at the next look.
            Err(error) if error.is_passing() => self.catching_up = snapshot_revision,
            Err(error) => {
                tracing::warn!(job.id = %self.id, cause = error.cause_text(), "the event stream of {} ends: the job cannot be read", self.id);
                self.done = true;
                self.app.metrics().cut_off(CutOff::Error);
            }
        }
    }
}
