//! The API's own metrics, made from the definitions in [`manimq_shared::metrics`].

use std::time::Duration;

use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use axum::routing::get;
use manimq_shared::metrics::{self as defined, build_info, encode};
use manimq_shared::queue::Stats;
use prometheus::{HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Registry};

use crate::api::App;

/// Every metric of the API process.
#[derive(Clone)]
pub struct Metrics {
    registry: Registry,
    pub(crate) http_requests: IntCounterVec,
    pub(crate) http_request_duration: HistogramVec,
    pub(crate) http_connections: IntGauge,
    pub(crate) http_rate_limited: IntCounter,
    pub(crate) jobs_submitted: IntCounterVec,
    pub(crate) jobs_replayed: IntCounter,
    pub(crate) quota_rejections: IntCounterVec,
    queue_jobs: IntGaugeVec,
    queue_up: IntGauge,
    fleet_workers: IntGaugeVec,
    fleet_slots: IntGaugeVec,
    pub(crate) webhook_deliveries: IntCounterVec,
    pub(crate) storage_operations: IntCounterVec,
    pub(crate) storage_operation_duration: HistogramVec,
    pub(crate) storage_bytes: IntCounterVec,
    pub(crate) sse_connections: IntGauge,
    pub(crate) long_polls: IntGauge,
    pub(crate) redis_command_duration: HistogramVec,
    pub(crate) redis_errors: IntCounterVec,
}

impl Default for Metrics {
    fn default() -> Self {
        let registry = Registry::new();
        let r = &registry;
        build_info(r, "manimq", env!("CARGO_PKG_VERSION"));
        let none: &[&str] = &[];
        Self {
            http_requests: defined::HTTP_REQUESTS.counter(r),
            http_request_duration: defined::HTTP_REQUEST_DURATION.histogram(r),
            http_connections: defined::HTTP_CONNECTIONS.gauge(r).with_label_values(none),
            http_rate_limited: defined::HTTP_RATE_LIMITED
                .counter(r)
                .with_label_values(none),
            jobs_submitted: defined::JOBS_SUBMITTED.counter(r),
            jobs_replayed: defined::JOBS_REPLAYED.counter(r).with_label_values(none),
            quota_rejections: defined::QUOTA_REJECTIONS.counter(r),
            queue_jobs: defined::QUEUE_JOBS.gauge(r),
            queue_up: defined::QUEUE_UP.gauge(r).with_label_values(none),
            fleet_workers: defined::FLEET_WORKERS.gauge(r),
            fleet_slots: defined::FLEET_SLOTS.gauge(r),
            webhook_deliveries: defined::WEBHOOK_DELIVERIES.counter(r),
            storage_operations: defined::STORAGE_OPERATIONS.counter(r),
            storage_operation_duration: defined::STORAGE_OPERATION_DURATION.histogram(r),
            storage_bytes: defined::STORAGE_BYTES.counter(r),
            sse_connections: defined::SSE_CONNECTIONS.gauge(r).with_label_values(none),
            long_polls: defined::LONG_POLLS.gauge(r).with_label_values(none),
            redis_command_duration: defined::REDIS_COMMAND_DURATION.histogram(r),
            redis_errors: defined::REDIS_ERRORS.counter(r),
            registry,
        }
    }
}

impl Metrics {
    fn set_queue(&self, stats: &Stats) {
        let set = |gauge: &IntGaugeVec, label: &str, value: u64| {
            gauge
                .with_label_values(&[label])
                .set(i64::try_from(value).unwrap_or(i64::MAX));
        };
        set(&self.queue_jobs, "waiting", stats.ready);
        set(&self.queue_jobs, "delayed", stats.delayed);
        set(&self.queue_jobs, "running", stats.running);
        let (mut workers, mut slots) = ([0u64; 2], [0u64; 4]);
        for worker in &stats.workers {
            workers[usize::from(worker.draining)] += 1;
            let (all, ready) = (u64::from(worker.slots), u64::from(worker.slots_ready));
            let busy = u64::from(worker.slots_busy).min(ready);
            if worker.draining {
                slots[2] += ready;
            } else {
                slots[0] += ready - busy;
                slots[1] += busy;
            }
            slots[3] += all.saturating_sub(ready);
        }
        for (label, value) in ["active", "draining"].into_iter().zip(workers) {
            set(&self.fleet_workers, label, value);
        }
        let states = ["idle", "busy", "draining", "quarantined"];
        for (label, value) in states.into_iter().zip(slots) {
            set(&self.fleet_slots, label, value);
        }
    }
}

/// Oldest figures of the queue that a scrape may show.
const STATS_AGE_MAX: Duration = Duration::from_secs(2);

/// The routes of the metrics port.
pub(crate) fn router(app: App) -> axum::Router {
    axum::Router::new()
        .route("/metrics", get(scrape))
        .route(
            "/",
            get(|| async { "manimq API: the metrics are at /metrics\n" }),
        )
        .with_state(app)
}

async fn scrape(State(app): State<App>) -> impl IntoResponse {
    let metrics = app.metrics();
    match app.stats(STATS_AGE_MAX).await {
        Ok(stats) => {
            metrics.queue_up.set(1);
            metrics.set_queue(&stats);
        }
        Err(_) => metrics.queue_up.set(0),
    }
    (
        [(CONTENT_TYPE, defined::CONTENT_TYPE)],
        encode(&metrics.registry),
    )
}
