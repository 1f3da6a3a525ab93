//! Submit, read, cancel, logs.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, IF_NONE_MATCH, LOCATION};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse as _, Response};
use manimq_shared::api::JobView;
use manimq_shared::ids::{JobId, TenantId};
use manimq_shared::job::{JobPayload, JobRecord, JobRequest};
use manimq_shared::metrics::InProgress;
use manimq_shared::queue::{CancelOutcome, EventKind, NewJob};
use serde::Deserialize;
use sha2::{Digest as _, Sha256};
use tokio::time::{Instant, timeout_at};
use utoipa::IntoParams;

use super::extract::{JobPath, Member, Query, Tenant, header_text};
use super::openapi::Problems;
use super::pace::Pace;
use super::problem::{ApiError, Kind};
use super::submission::{Submission, SubmitForm};
use super::{App, admit, assets, check, view};

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
const IDEMPOTENCY_REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");
const PREFER: HeaderName = HeaderName::from_static("prefer");
const PREFERENCE_APPLIED: HeaderName = HeaderName::from_static("preference-applied");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
/// Longest idempotency key.
const IDEMPOTENCY_KEY_CHARS_MAX: usize = 64;
/// Longest wait of a read.
const WAIT_S_MAX: u64 = 60;
/// A waiting read looks by itself this often, in case a hint was lost.
const LOOK_EVERY: Duration = Duration::from_secs(3);
/// A waiting read that gets many hints looks once in so long.
const LOOK_PAUSE: Duration = Duration::from_millis(50);
/// Log events that are read in one call, and the most text of an answer.
const LOG_PAGE: usize = 500;
const LOG_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Submit a job.
///
/// Answers at once with the job object; the job runs when a worker takes it. Send an
/// `Idempotency-Key` (1 to 64 visible characters): a repeated submit with the same key and body
/// within 24 hours gives the first one's job. With `Prefer: wait=N` it answers when the job has ended, after N
/// seconds at the latest.
///
/// Files for the scene (pictures, sounds, tables) come in a form, `multipart/form-data`: the job's
/// JSON as its part `job`, each file as a part `files` whose file name is the path that the scene
/// uses. What was sent before may be named by its SHA-256 in `input.files` instead.
#[utoipa::path(
    post, path = "/v1/jobs", tag = "jobs", operation_id = "submitJob",
    request_body(content((JobRequest = "application/json"), (SubmitForm = "multipart/form-data"))),
    params(("Idempotency-Key" = Option<String>, Header, max_length = 66, pattern = r#"^("[!#-\[\]-~]{1,64}"|[!#-\[\]-~]{1,64})$"#, description = "Makes repeating safe: 1 to 64 visible characters, bare or as a quoted string"),
        ("Prefer" = Option<String>, Header, description = "`wait=N`: answer when the job has ended, after N (at most 60) seconds at the latest")),
    responses(
        (status = 200, description = "It has ended within the time of `Prefer: wait`", body = JobView),
        (status = 202, description = "Accepted", body = JobView,
            headers(("Location" = String, description = "The job"),
                    ("ETag" = String, description = "The job's revision"),
                    ("RateLimit-Policy" = String, description = "Your quotas"),
                    ("RateLimit" = String, description = "What is left of them"),
                    ("Idempotency-Replayed" = String, description = "`true` if this is an earlier submit's job"))),
        (status = 403, description = "The tenant's quotas do not allow such a job (`not-allowed`), or the key's scopes do not (`capability-missing`)", body = manimq_shared::api::Problem, content_type = "application/problem+json"),
        (status = 409, description = "Another version of the template is wanted than there is (`template-version-gone`)", body = manimq_shared::api::Problem, content_type = "application/problem+json"),
        (status = 412, description = "`cache` is `only` and there is no earlier result (`not-cached`)", body = manimq_shared::api::Problem, content_type = "application/problem+json"),
        (status = 413, description = "The source or the body is too large", body = manimq_shared::api::Problem, content_type = "application/problem+json"),
        (status = 415, description = "Neither `application/json` nor `multipart/form-data`", body = manimq_shared::api::Problem, content_type = "application/problem+json"),
        (status = 422, description = "A value is wrong (`invalid-params`), the source was refused (`code-rejected`), or the key was used before (`idempotency-key-reused`)", body = manimq_shared::api::Problem, content_type = "application/problem+json"),
        Problems
    )
)]
pub(super) async fn submit(
    State(app): State<App>,
    Member(caller): Member,
    headers: HeaderMap,
    Submission {
        mut request,
        contents,
    }: Submission,
) -> Result<Response, ApiError> {
    let tenant = caller.tenant.clone();
    let idempotency = idempotency_key(&headers)?;
    // Of the body as it was understood: spaces, the order of fields and defaults do not matter.
    let idempotency = idempotency.map(|key| (key, fingerprint(&request)));
    if request.input.is_prompt()
        && let Some(before) = admit::earlier(&app, &tenant, idempotency.as_ref()).await?
    {
        return answered(&app, &tenant, before, &headers).await;
    }
    let resolved = check::request(&app, &caller, &mut request, true).await?;
    assets::secure(&app, &tenant, &request, contents).await?;
    let payload = JobPayload {
        traceparent: traceparent(&headers),
        ..check::payload(request, resolved)
    };
    let job = admit::new_job(&tenant, payload, idempotency);
    submitted(&app, &tenant, job, &headers).await
}

/// Submits a job and answers with it; waits for its end first, if the client prefers that.
pub(super) async fn submitted(
    app: &App,
    tenant: &TenantId,
    job: NewJob,
    headers: &HeaderMap,
) -> Result<Response, ApiError> {
    let submitted = admit::submit(app, tenant, job).await?;
    answered(app, tenant, submitted, headers).await
}

/// Answers with a job: its object, the headers of its quotas, and whether an earlier submit brought it.
pub(super) async fn answered(
    app: &App,
    tenant: &TenantId,
    (mut record, limits, replayed): (JobRecord, HeaderMap, bool),
    headers: &HeaderMap,
) -> Result<Response, ApiError> {
    let wait = preferred_wait(headers);
    if let Some(seconds) = wait {
        let end = Instant::now() + Duration::from_secs(seconds);
        let waited = wait_until(app, tenant, record.clone(), end, |record| {
            record.status.is_terminal()
        });
        // The job is in the queue, and the client must hear of that whatever happens later.
        record = waited.await.unwrap_or(record);
    }
    let status = match wait {
        Some(_) if record.status.is_terminal() => StatusCode::OK,
        _ => StatusCode::ACCEPTED,
    };
    let mut response = answer(app, &record, status);
    let headers = response.headers_mut();
    headers.extend(limits);
    if let Ok(location) = HeaderValue::from_str(&view::job_path(&record)) {
        headers.insert(LOCATION, location);
    }
    if let Some(seconds) = wait
        && let Ok(applied) = HeaderValue::from_str(&format!("wait={seconds}"))
    {
        headers.insert(PREFERENCE_APPLIED, applied);
    }
    if replayed {
        headers.insert(IDEMPOTENCY_REPLAYED, HeaderValue::from_static("true"));
    }
    Ok(response)
}

/// The `wait` of `Prefer` headers (RFC 7240), at most [`WAIT_S_MAX`]. What cannot be read is no preference.
fn preferred_wait(headers: &HeaderMap) -> Option<u64> {
    let lines = headers.get_all(&PREFER).iter();
    let preferences = lines
        .filter_map(|line| line.to_str().ok())
        .flat_map(|line| line.split(','));
    // Of several the first counts.
    let wait = preferences
        .filter_map(|preference| {
            let (name, value) = preference.split(';').next()?.split_once('=')?;
            name.trim()
                .eq_ignore_ascii_case("wait")
                .then(|| value.trim().trim_matches('"').to_owned())
        })
        .next()?;
    wait.parse()
        .ok()
        .map(|seconds: u64| seconds.min(WAIT_S_MAX))
}

/// How a read may wait.
#[derive(Debug, Clone, Copy, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ReadQuery {
    /// Wait at most this many seconds (up to 60) for a change.
    #[serde(default)]
    #[param(minimum = 0, maximum = 60)]
    wait: u64,
    /// The revision that is known; what is newer is answered at once. Without it: the present one.
    #[param(value_type = Option<i64>, minimum = 0, maximum = 4_294_967_295i64)]
    since: Option<u32>,
}

/// Read a job.
///
/// With `wait` it answers as soon as the job's revision is newer than `since` (a long poll), or
/// with the job as it is when the time is over or the job has ended.
#[utoipa::path(
    get, path = "/v1/jobs/{id}", tag = "jobs", operation_id = "getJob",
    params(("id" = String, Path, description = "The job's id"), ReadQuery,
        ("If-None-Match" = Option<String>, Header, description = "An ETag: 304 if nothing changed")),
    responses(
        (status = 200, description = "The job", body = JobView,
            headers(("ETag" = String, description = "The job's revision"))),
        (status = 304, description = "As the client knows it"),
        (status = 422, description = "`wait` is more than 60", body = manimq_shared::api::Problem, content_type = "application/problem+json"),
        Problems
    )
)]
pub(super) async fn read(
    State(app): State<App>,
    Tenant(tenant): Tenant,
    JobPath(id): JobPath,
    Query(query): Query<ReadQuery>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    if query.wait > WAIT_S_MAX {
        return Err(ApiError::invalid_field(
            "/wait",
            format!(
                "{} is more than {WAIT_S_MAX} seconds; ask again instead",
                query.wait
            ),
        ));
    }
    let mut record = load(&app, &tenant, id).await?;
    if query.wait > 0 && !record.status.is_terminal() {
        let since = query.since.map_or(record.revision, u64::from);
        let end = Instant::now() + Duration::from_secs(query.wait);
        let done = |record: &JobRecord| record.revision > since || record.status.is_terminal();
        record = wait_until(&app, &tenant, record, end, done).await?;
    }
    let known = header_text(&headers, &IF_NONE_MATCH)?;
    let etag = view::etag(&app, &record);
    if known.is_some_and(|known| matches_etag(known, &etag)) {
        return Ok((StatusCode::NOT_MODIFIED, [(ETAG, etag)]).into_response());
    }
    Ok(answer(&app, &record, StatusCode::OK))
}

/// Whether an `If-None-Match` names this tag; weakly compared (RFC 9110 §13.1.2).
pub(super) fn matches_etag(header: &str, etag: &str) -> bool {
    header
        .split(',')
        .map(|tag| tag.trim().trim_start_matches("W/"))
        .any(|tag| tag == "*" || tag == etag)
}

/// Waits until `done` holds for a job, or `end`; gives the job as it is then.
pub(super) async fn wait_until(
    app: &App,
    tenant: &TenantId,
    mut record: JobRecord,
    end: Instant,
    done: impl Fn(&JobRecord) -> bool,
) -> Result<JobRecord, ApiError> {
    if done(&record) {
        return Ok(record);
    }
    // When too many wait already, the answer comes at once: a poll instead of a long poll.
    let Ok(_permit) = app.0.long_polls.try_acquire() else {
        return Ok(record);
    };
    let _counted = InProgress::start(&app.metrics().long_polls);
    let mut watch = app
        .hub()
        .watch(app.queue().keys_of(record.id).job_topic(record.id));
    let mut pace = Pace::new(LOOK_PAUSE);
    loop {
        // At once, too: what happened before the watch began gave no hint.
        record = load(app, tenant, record.id).await?;
        if done(&record) || Instant::now() >= end || app.stop().is_cancelled() {
            return Ok(record);
        }
        let look = (Instant::now() + LOOK_EVERY).min(end);
        tokio::select! {
            _ = timeout_at(look, watch.hinted()) => pace.keep().await,
            () = app.stop().cancelled() => {}
        }
    }
}

/// Cancel a job.
///
/// A waiting job is canceled at once; a running one is stopped by its worker (watch `status`).
/// Canceling what has ended changes nothing. May be repeated.
#[utoipa::path(
    post, path = "/v1/jobs/{id}/cancel", tag = "jobs", operation_id = "cancelJob",
    params(("id" = String, Path, description = "The job's id")),
    responses(
        (status = 202, description = "The job, as it is now", body = JobView,
            headers(("ETag" = String, description = "The job's revision"))),
        Problems
    )
)]
pub(super) async fn cancel(
    State(app): State<App>,
    Tenant(tenant): Tenant,
    JobPath(id): JobPath,
) -> Result<Response, ApiError> {
    let outcome = app.redis("cancel", app.queue().cancel(&tenant, id)).await?;
    match outcome {
        CancelOutcome::NotFound => return Err(unknown_job(id)),
        CancelOutcome::Canceled | CancelOutcome::Requested => {
            tracing::info!(job.id = %id, tenant.id = %tenant, "cancel of {id} was asked for");
        }
        CancelOutcome::AlreadyTerminal => {}
    }
    let record = load(&app, &tenant, id).await?;
    if outcome == CancelOutcome::Canceled {
        count_canceled(&app, &record);
    }
    Ok(answer(&app, &record, StatusCode::ACCEPTED))
}

/// Counts a job that ended by its cancel alone; one that ran is counted by its worker.
pub(super) fn count_canceled(app: &App, record: &JobRecord) {
    app.metrics()
        .jobs_finished
        .with_label_values(&[record.lane.as_str(), "canceled", ""])
        .inc();
}

/// How much of a log.
#[derive(Debug, Clone, Copy, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct LogQuery {
    /// Only this many lines, the last ones.
    #[param(value_type = Option<i64>, minimum = 0, maximum = 4_294_967_295i64)]
    tail: Option<u32>,
}

/// What the scene printed.
///
/// From the job's events, of all its attempts, while the job's record lives; the newest about
/// 2,000 events.
#[utoipa::path(
    get, path = "/v1/jobs/{id}/logs", tag = "jobs", operation_id = "getJobLogs",
    params(("id" = String, Path, description = "The job's id"), LogQuery),
    responses(
        (status = 200, description = "The text, perhaps empty", body = String, content_type = "text/plain"),
        Problems
    )
)]
pub(super) async fn logs(
    State(app): State<App>,
    Tenant(tenant): Tenant,
    JobPath(id): JobPath,
    Query(query): Query<LogQuery>,
) -> Result<Response, ApiError> {
    #[derive(Deserialize)]
    struct Log {
        text: String,
    }
    load(&app, &tenant, id).await?;
    let mut text = String::new();
    let mut after: Option<String> = None;
    loop {
        let events = app
            .redis("events", app.queue().events(id, after.as_deref(), LOG_PAGE))
            .await?;
        for event in &events {
            if event.kind == EventKind::Log
                && let Ok(log) = serde_json::from_str::<Log>(&event.data)
            {
                text.push_str(&log.text);
                if !log.text.ends_with('\n') {
                    text.push('\n');
                }
            }
        }
        if events.len() < LOG_PAGE {
            break;
        }
        if text.len() > LOG_BYTES_MAX {
            text.push_str("[manimq: the log is longer than what is shown]\n");
            break;
        }
        after = events.into_iter().next_back().map(|event| event.id);
    }
    if let Some(tail) = query.tail {
        let start = text
            .match_indices('\n')
            .rev()
            .nth(tail as usize)
            .map_or(0, |(at, _)| at + 1);
        text.drain(..start);
    }
    Ok((
        [
            (CONTENT_TYPE, "text/plain; charset=utf-8"),
            (CACHE_CONTROL, "no-store"),
            (axum::http::header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        ],
        text,
    )
        .into_response())
}

/// A job of this tenant. Another tenant's job does not exist.
pub(super) async fn load(app: &App, tenant: &TenantId, id: JobId) -> Result<JobRecord, ApiError> {
    app.redis("read", app.queue().read(id))
        .await?
        .filter(|record| record.tenant == *tenant)
        .ok_or_else(|| unknown_job(id))
}

pub(super) fn unknown_job(id: JobId) -> ApiError {
    ApiError::new(
        Kind::NotFound,
        format!("there is no job {id} (succeeded jobs are kept for a day, others for two weeks)"),
    )
}

fn answer(app: &App, record: &JobRecord, status: StatusCode) -> Response {
    let etag = view::etag(app, record);
    let headers = [
        (ETAG, etag.as_str()),
        // A cache may keep it but must ask each time.
        (CACHE_CONTROL, "private, no-cache"),
    ];
    (status, headers, Json(view::job(app, record))).into_response()
}

/// The client's key: a structured-field string, or the bare text that most clients send.
pub(super) fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, ApiError> {
    let refusal = || {
        ApiError::new(
            Kind::Malformed,
            format!(
                "the Idempotency-Key has 1 to {IDEMPOTENCY_KEY_CHARS_MAX} visible ASCII characters, such as a UUID"
            ),
        )
    };
    if headers.get_all(&IDEMPOTENCY_KEY).iter().count() > 1 {
        return Err(refusal());
    }
    let Some(text) = header_text(headers, &IDEMPOTENCY_KEY)? else {
        return Ok(None);
    };
    let key = text
        .strip_prefix('"')
        .and_then(|rest| rest.strip_suffix('"'))
        .unwrap_or(text);
    let ok = (1..=IDEMPOTENCY_KEY_CHARS_MAX).contains(&key.len())
        && key
            .bytes()
            .all(|b| b.is_ascii_graphic() && b != b'"' && b != b'\\');
    ok.then(|| Some(key.to_owned())).ok_or_else(refusal)
}

pub(super) fn fingerprint(request: &JobRequest) -> String {
    let canonical = serde_json::to_vec(request).unwrap_or_default();
    hex::encode(Sha256::digest(canonical))
}

/// The W3C trace context of the caller, if it is one.
pub(super) fn traceparent(headers: &HeaderMap) -> Option<String> {
    let text = headers.get(&TRACEPARENT)?.to_str().ok()?;
    let lengths = text.split('-').map(str::len);
    let hex = text.bytes().all(|b| b == b'-' || b.is_ascii_hexdigit());
    (hex && lengths.eq([2, 32, 16, 2])).then(|| text.to_owned())
}
