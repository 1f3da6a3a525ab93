//! The API's own metrics, made from the definitions in [`manimq_shared::metrics`].

mod fleet;
mod tenants;

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use manimq_shared::metrics::tenants::Shown;
use manimq_shared::metrics::{self as defined, build_info, encode};
use prometheus::{Histogram, HistogramVec, IntCounter, IntCounterVec, IntGauge, Registry};
use serde_json::json;

use self::fleet::{Fleet, Scale};
pub(crate) use self::fleet::{Picture, age_max};
use self::tenants::Rejections;
use crate::api::App;
use crate::llm::LlmError;
use crate::templates;

/// Every metric of the API process.
#[derive(Clone)]
pub struct Metrics {
    registry: Registry,
    fleet: Fleet,
    pub(crate) http_requests: IntCounterVec,
    pub(crate) http_request_duration: HistogramVec,
    pub(crate) http_connections: IntGauge,
    pub(crate) http_stalled: IntCounter,
    pub(crate) http_rate_limited: IntCounter,
    pub(crate) jobs_submitted: IntCounterVec,
    pub(crate) prompts_routed: IntCounterVec,
    pub(crate) jobs_replayed: IntCounter,
    pub(crate) jobs_finished: IntCounterVec,
    pub(crate) quota_rejections: IntCounterVec,
    pub(crate) tenant_rejections: Rejections,
    pub(crate) canary_runs: IntCounterVec,
    pub(crate) webhook_deliveries: IntCounterVec,
    pub(crate) storage_operations: IntCounterVec,
    pub(crate) storage_operation_duration: HistogramVec,
    pub(crate) storage_bytes: IntCounterVec,
    pub(crate) sse_connections: IntGauge,
    sse_cut_off: IntCounterVec,
    pub(crate) long_polls: IntGauge,
    pub(crate) redis_command_duration: HistogramVec,
    pub(crate) redis_errors: IntCounterVec,
    pub(crate) llm: LlmMetrics,
}

/// What is measured of the language model.
#[derive(Clone)]
pub struct LlmMetrics {
    pub(crate) calls: IntCounterVec,
    pub(crate) duration: Histogram,
    pub(crate) tokens: IntCounterVec,
    pub(crate) proposals: IntCounterVec,
    pub(crate) breaker_open: IntGauge,
}

impl LlmMetrics {
    fn new(registry: &Registry) -> Self {
        let none: &[&str] = &[];
        let duration = defined::LLM_CALL_DURATION.histogram(registry);
        let open = defined::LLM_BREAKER_OPEN.gauge(registry);
        let metrics = Self {
            calls: defined::LLM_CALLS.counter(registry),
            duration: duration.with_label_values(none),
            tokens: defined::LLM_TOKENS.counter(registry),
            proposals: defined::LLM_PROPOSALS.counter(registry),
            breaker_open: open.with_label_values(none),
        };
        for outcome in LlmError::OUTCOMES {
            metrics.calls.with_label_values(&[outcome]);
        }
        for purpose in ["choose", "write", "mend"] {
            metrics.tokens.with_label_values(&[purpose]);
            for result in ["taken", "none_fits", "unusable", "no_answer"] {
                // Whether a template fits is asked by one of them only.
                if result != "none_fits" || purpose == "choose" {
                    metrics.proposals.with_label_values(&[purpose, result]);
                }
            }
        }
        metrics
    }
}

impl Default for LlmMetrics {
    /// Some that nobody reads.
    fn default() -> Self {
        Self::new(&Registry::new())
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new(Shown::default())
    }
}

impl Metrics {
    /// Every metric, with labels for these tenants.
    ///
    /// # Panics
    /// If the list of metrics contradicts itself.
    #[must_use]
    pub fn new(shown: Shown) -> Self {
        let registry = Registry::new();
        let r = &registry;
        build_info(r, "manimq", env!("CARGO_PKG_VERSION"));
        let none: &[&str] = &[];
        let metrics = Self {
            fleet: Fleet::new(r, shown.clone()),
            http_requests: defined::HTTP_REQUESTS.counter(r),
            http_request_duration: defined::HTTP_REQUEST_DURATION.histogram(r),
            http_connections: defined::HTTP_CONNECTIONS.gauge(r).with_label_values(none),
            http_stalled: defined::HTTP_STALLED.counter(r).with_label_values(none),
            http_rate_limited: defined::HTTP_RATE_LIMITED
                .counter(r)
                .with_label_values(none),
            jobs_submitted: defined::JOBS_SUBMITTED.counter(r),
            prompts_routed: defined::PROMPT_ROUTED.counter(r),
            jobs_replayed: defined::JOBS_REPLAYED.counter(r).with_label_values(none),
            jobs_finished: defined::JOBS_FINISHED.counter(r),
            quota_rejections: defined::QUOTA_REJECTIONS.counter(r),
            tenant_rejections: Rejections::new(defined::TENANT_REJECTIONS.counter(r), shown),
            canary_runs: defined::CANARY_RUNS.counter(r),
            webhook_deliveries: defined::WEBHOOK_DELIVERIES.counter(r),
            storage_operations: defined::STORAGE_OPERATIONS.counter(r),
            storage_operation_duration: defined::STORAGE_OPERATION_DURATION.histogram(r),
            storage_bytes: defined::STORAGE_BYTES.counter(r),
            sse_connections: defined::SSE_CONNECTIONS.gauge(r).with_label_values(none),
            sse_cut_off: defined::SSE_CUT_OFF.counter(r),
            long_polls: defined::LONG_POLLS.gauge(r).with_label_values(none),
            redis_command_duration: defined::REDIS_COMMAND_DURATION.histogram(r),
            redis_errors: defined::REDIS_ERRORS.counter(r),
            llm: LlmMetrics::new(r),
            registry,
        };
        metrics.begin_at_zero();
        metrics
    }

    /// An event stream was cut off.
    pub(crate) fn cut_off(&self, why: CutOff) {
        self.sse_cut_off.with_label_values(&[why.as_str()]).inc();
    }

    /// Which tenants have series of their own.
    pub(crate) fn shown(&self) -> &Shown {
        self.fleet.shown()
    }

    /// A counter that appears with its first event shows no increase by it; these alerts are made of.
    fn begin_at_zero(&self) {
        for template in templates::all() {
            self.prompts_routed
                .with_label_values(&[template.id.as_str(), "exact"]);
        }
        self.prompts_routed.with_label_values(&["", "ambiguous"]);
        for policy in POLICIES {
            self.quota_rejections.with_label_values(&[policy]);
        }
        for result in ["delivered", "retry", "failed"] {
            self.webhook_deliveries.with_label_values(&[result]);
        }
        for result in ["ok", "failed", "late"] {
            self.canary_runs.with_label_values(&[result]);
        }
        for cut in CutOff::ALL {
            self.sse_cut_off.with_label_values(&[cut.as_str()]);
        }
        for op in ["grant", "put", "get", "head"] {
            for result in ["ok", "refused", "error"] {
                self.storage_operations.with_label_values(&[op, result]);
            }
        }
        for direction in ["in", "out"] {
            self.storage_bytes.with_label_values(&[direction]);
        }
        for command in ["enqueue", "read", "stats"] {
            self.redis_errors.with_label_values(&[command]);
        }
    }
}

/// Why an event stream ended before its reader wanted it to, or did not begin.
#[derive(Debug, Clone, Copy)]
pub(crate) enum CutOff {
    /// This process stops.
    Stop,
    /// It was open for the longest time that a stream may be.
    Life,
    /// The key that it was opened with has ended.
    Key,
    /// Its events cannot be read.
    Error,
    /// There is no place for one more.
    Full,
    /// It goes on, but its reader was told that events are missing.
    Missed,
}

impl CutOff {
    const ALL: [Self; 6] = [
        Self::Stop,
        Self::Life,
        Self::Key,
        Self::Error,
        Self::Full,
        Self::Missed,
    ];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Stop => "stop",
            Self::Life => "life",
            Self::Key => "key",
            Self::Error => "error",
            Self::Full => "full",
            Self::Missed => "missed",
        }
    }
}

/// What a submit may be refused for.
const POLICIES: [&str; 8] = [
    "queued_jobs",
    "submits_per_minute",
    "submits_per_day",
    "render_seconds_per_day",
    "quality_max",
    "timeout_s_max",
    "source_bytes_max",
    "code",
];

/// Oldest figures of the queue that a scrape may show.
const STATS_AGE_MAX: Duration = Duration::from_secs(1);

/// The routes of the metrics port.
pub(crate) fn router(app: App) -> axum::Router {
    axum::Router::new()
        .route("/metrics", get(scrape))
        .route("/internal/scale", get(scale))
        .route(
            "/",
            get(|| async {
                "manimq API: the metrics are at /metrics, what autoscalers ask at /internal/scale\n"
            }),
        )
        .with_state(app)
}

async fn scrape(State(app): State<App>) -> Response {
    let metrics = app.metrics();
    if let Some(llm) = &app.parts().llm {
        llm.tell();
    }
    match app.picture().await {
        Ok(picture) => metrics.fleet.set(&picture),
        // To look at very many tenants takes longer than a scrape waits: that is not Redis away.
        Err(_) => match app.stats(STATS_AGE_MAX).await {
            Ok(stats) => metrics.fleet.set_stats(&stats),
            Err(_) => metrics.fleet.is_down(),
        },
    }
    (
        [(CONTENT_TYPE, defined::CONTENT_TYPE)],
        encode(&metrics.registry),
    )
        .into_response()
}

/// Of the whole fleet, so any API process may be asked. While Redis is away there is no answer, rather than none
/// to do: an autoscaler then keeps what it has.
async fn scale(State(app): State<App>) -> Response {
    match app.stats(STATS_AGE_MAX).await {
        Ok(stats) => Json(Scale::of(&stats)).into_response(),
        Err(_) => (
            StatusCode::SERVICE_UNAVAILABLE,
            Json(json!({"error": "Redis does not answer; ask again"})),
        )
            .into_response(),
    }
}
