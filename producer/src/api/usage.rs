//! `GET /v1/usage`, and the same numbers as headers of every submit (draft-ietf-httpapi-ratelimit-headers).

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::header::CACHE_CONTROL;
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::response::{IntoResponse as _, Response};
use manimq_shared::api::{AllowedView, LimitView, UsageView};
use manimq_shared::ids::TenantId;
use manimq_shared::queue::{QuotaPolicy, QuotaUsage, Used};

use super::App;
use super::extract::Tenant;
use super::openapi::Problems;
use super::problem::{ApiError, Kind};

const RATELIMIT: HeaderName = HeaderName::from_static("ratelimit");
const RATELIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");

/// Your quotas, and what is used of them.
#[utoipa::path(
    get, path = "/v1/usage", tag = "jobs", operation_id = "getUsage",
    responses(
        (status = 200, description = "Quotas and use", body = UsageView,
            headers(("RateLimit-Policy" = String, description = "The quotas"), ("RateLimit" = String, description = "What is left"))),
        Problems
    )
)]
pub(super) async fn read(
    State(app): State<App>,
    Tenant(tenant): Tenant,
) -> Result<Response, ApiError> {
    let usage = app.redis("usage", app.queue().usage(&tenant)).await?;
    let quotas = &usage.quotas;
    let view = UsageView {
        tenant,
        active: usage.active,
        running: usage.running,
        rendered_today_s: usage.rendered_today.as_secs_f64(),
        paused: usage.paused,
        limits: usage.used().iter().map(limit).collect(),
        allowed: AllowedView {
            running_max: quotas.running_max,
            quality_max: quotas.quality_max,
            timeout_s_max: quotas.timeout_s_max,
            source_bytes_max: quotas.source_bytes_max,
            code: quotas.code.unwrap_or(true),
        },
    };
    let cache = [(CACHE_CONTROL, "private, no-store")];
    Ok((cache, headers(&usage), Json(view)).into_response())
}

/// Seconds, rounded up: what is promised for a time must be there by then.
fn seconds(time: Duration) -> u64 {
    time.as_secs() + u64::from(time.subsec_nanos() > 0)
}

fn positive(time: Duration) -> Option<u64> {
    (!time.is_zero()).then(|| seconds(time))
}

fn limit(used: &Used) -> LimitView {
    LimitView {
        policy: used.policy.as_str().to_owned(),
        limit: used.limit,
        used: used.used,
        left: used.left(),
        window_s: positive(used.window),
        more_in_s: positive(used.more_in),
    }
}

/// `RateLimit-Policy` and `RateLimit`: lists of quota names with what they allow (`q` in `w` seconds, of the unit
/// `qu`) and what is left (`r`; more in `t` seconds).
pub(super) fn headers(usage: &QuotaUsage) -> HeaderMap {
    let (mut policies, mut left) = (Vec::new(), Vec::new());
    for used in usage.used() {
        let name = used.policy.as_str();
        let unit = match used.policy {
            QuotaPolicy::QueuedJobs => ";qu=\"concurrent-requests\"",
            QuotaPolicy::RenderSecondsPerDay => ";qu=\"render-seconds\"",
            QuotaPolicy::SubmitsPerMinute | QuotaPolicy::SubmitsPerDay => "",
        };
        let window = positive(used.window).map_or_else(String::new, |s| format!(";w={s}"));
        policies.push(format!("\"{name}\";q={}{unit}{window}", used.limit));
        let more = positive(used.more_in).map_or_else(String::new, |s| format!(";t={s}"));
        left.push(format!("\"{name}\";r={}{more}", used.left()));
    }
    let mut headers = HeaderMap::new();
    for (name, texts) in [(RATELIMIT_POLICY, policies), (RATELIMIT, left)] {
        if let Ok(value) = HeaderValue::from_str(&texts.join(", ")) {
            headers.insert(name, value);
        }
    }
    headers
}

/// A refusal with the headers, if a quota is what refused.
pub(super) async fn explain(app: &App, tenant: &TenantId, error: ApiError) -> ApiError {
    if !matches!(error.kind(), Kind::QuotaExceeded | Kind::NotAllowed) {
        return error;
    }
    match app.redis("usage", app.queue().usage(tenant)).await {
        Ok(usage) => error.with_headers(headers(&usage)),
        // The refusal stands without them.
        Err(_) => error,
    }
}
