//! Every metric of manimq: name, unit, labels and who exports it. Programs make theirs from
//! these definitions and from nowhere else, so dashboards and alerts can rely on this list.
//!
//! Base units (seconds, bytes); counters end in `_total`; tenants and ids are never labels.

use prometheus::{
    Encoder as _, GaugeVec, HistogramOpts, HistogramVec, IntCounterVec, IntGaugeVec, Opts,
    Registry, TextEncoder,
};

/// Content type of what [`encode`] returns.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Kind of a metric.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Kind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Distribution over these upper bounds.
    Histogram(&'static [f64]),
}

/// Which program exports a metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    /// The API.
    Api,
    /// The worker.
    Worker,
    /// Both.
    All,
}

/// One metric.
#[derive(Debug, Clone, Copy)]
pub struct Definition {
    /// Its name, with unit and prefix.
    pub name: &'static str,
    /// What it says.
    pub help: &'static str,
    /// What kind.
    pub kind: Kind,
    /// Label names.
    pub labels: &'static [&'static str],
    /// Who exports it.
    pub by: By,
}

/// Upper bounds for answers of a server, in seconds.
const REQUEST_S: &[f64] = &[
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0,
];
/// Upper bounds for renders and their stages, in seconds.
const RENDER_S: &[f64] = &[
    0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 40.0, 80.0, 160.0, 320.0, 640.0, 1280.0,
    3600.0,
];
/// Upper bounds for waiting, in seconds.
const WAIT_S: &[f64] = &[
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 1800.0, 7200.0,
];

macro_rules! definitions {
    ($($const:ident: $kind:expr, $by:ident, $name:literal, $labels:expr, $help:literal;)+) => {
        $(
            #[doc = $help]
            pub const $const: Definition = Definition {
                name: $name, help: $help, kind: $kind, labels: &$labels, by: By::$by,
            };
        )+
        /// The whole list.
        pub const ALL: &[Definition] = &[$($const),+];
    };
}

definitions! {
    BUILD_INFO: Kind::Gauge, All, "manimq_build_info", ["program", "version"],
        "1; which program and version this is.";
    HTTP_REQUESTS: Kind::Counter, Api, "manimq_http_requests_total", ["route", "method", "code"],
        "Requests answered, by route template, method and class of the status (2xx ...).";
    HTTP_REQUEST_DURATION: Kind::Histogram(REQUEST_S), Api, "manimq_http_request_duration_seconds", ["route", "method", "code"],
        "Time from a request's head to its answer's head.";
    HTTP_CONNECTIONS: Kind::Gauge, Api, "manimq_http_connections", [],
        "Open connections.";
    HTTP_RATE_LIMITED: Kind::Counter, Api, "manimq_http_rate_limited_total", [],
        "Requests refused because one address sent too many.";
    JOBS_SUBMITTED: Kind::Counter, Api, "manimq_jobs_submitted_total", ["lane", "kind"],
        "Jobs accepted.";
    JOBS_REPLAYED: Kind::Counter, Api, "manimq_jobs_replayed_total", [],
        "Submits answered with an earlier job because of their idempotency key.";
    JOBS_FINISHED: Kind::Counter, Worker, "manimq_jobs_finished_total", ["lane", "status", "class"],
        "Jobs that ended, counted by whoever settled them; class is the failure class or empty.";
    QUOTA_REJECTIONS: Kind::Counter, Api, "manimq_quota_rejections_total", ["policy"],
        "Submits refused by a quota.";
    QUEUE_JOBS: Kind::Gauge, Api, "manimq_queue_jobs", ["state"],
        "Jobs in the queue: waiting, delayed, running. Every API process tells the same: use max, not sum.";
    QUEUE_UP: Kind::Gauge, Api, "manimq_queue_up", [],
        "1 while Redis answers the queue's functions; the other queue and fleet gauges are old while this is 0.";
    FLEET_WORKERS: Kind::Gauge, Api, "manimq_fleet_workers", ["state"],
        "Live workers: active, draining. Every API process tells the same: use max, not sum.";
    FLEET_SLOTS: Kind::Gauge, Api, "manimq_fleet_slots", ["state"],
        "Slots of all live workers: idle, busy, draining, quarantined. Every API process tells the same: use max, not sum.";
    WEBHOOK_DELIVERIES: Kind::Counter, Api, "manimq_webhook_deliveries_total", ["result"],
        "Calls to webhooks: delivered, retry (failed, tried again later) or failed (given up).";
    STORAGE_OPERATIONS: Kind::Counter, Api, "manimq_storage_operations_total", ["op", "result"],
        "Operations on stored files: grant, put, get, head; result is ok, refused or error.";
    STORAGE_OPERATION_DURATION: Kind::Histogram(REQUEST_S), Api, "manimq_storage_operation_duration_seconds", ["op"],
        "Time of those operations; of a get, until the first byte.";
    STORAGE_BYTES: Kind::Counter, Api, "manimq_storage_bytes_total", ["direction"],
        "Bytes of files taken in and given out: in, out.";
    SSE_CONNECTIONS: Kind::Gauge, Api, "manimq_sse_connections", [],
        "Open event streams.";
    LONG_POLLS: Kind::Gauge, Api, "manimq_long_polls", [],
        "Reads that wait for a change.";
    REDIS_COMMAND_DURATION: Kind::Histogram(REQUEST_S), All, "manimq_redis_command_duration_seconds", ["command"],
        "Time of calls to the queue, waiting for a connection included.";
    REDIS_ERRORS: Kind::Counter, All, "manimq_redis_errors_total", ["command"],
        "Calls to the queue that failed.";
    WORKER_SLOTS: Kind::Gauge, Worker, "manimq_worker_slots", ["state"],
        "Slots of this worker: idle, busy, draining, quarantined.";
    PICKUP_DURATION: Kind::Histogram(WAIT_S), Worker, "manimq_pickup_duration_seconds", ["lane"],
        "From submit to claim, first attempts only.";
    STAGE_DURATION: Kind::Histogram(RENDER_S), Worker, "manimq_stage_duration_seconds", ["stage"],
        "Time that attempts spent in a stage.";
    JOB_DURATION: Kind::Histogram(RENDER_S), Worker, "manimq_job_duration_seconds", ["lane", "quality"],
        "From claim to settlement of attempts that succeeded.";
    FRAMES_RENDERED: Kind::Counter, Worker, "manimq_frames_rendered_total", ["quality"],
        "Frames drawn.";
    LAYOUT_WARNINGS: Kind::Counter, Worker, "manimq_layout_warnings_total", ["kind"],
        "Warnings about what films show: outside_frame, text_overlap, too_small, blank_end, frozen.";
    OUTPUT_BYTES: Kind::Counter, Worker, "manimq_output_bytes_total", ["format"],
        "Bytes of artifacts stored.";
    LEASES_LOST: Kind::Counter, Worker, "manimq_leases_lost_total", ["reason"],
        "Leases that this worker lost.";
}

impl Definition {
    fn opts(&self) -> Opts {
        Opts::new(self.name, self.help)
    }

    /// Makes the counter and registers it.
    ///
    /// # Panics
    /// If it is no counter or registered twice: both are faults of the program.
    #[must_use]
    pub fn counter(&self, registry: &Registry) -> IntCounterVec {
        assert_eq!(self.kind, Kind::Counter, "{}", self.name);
        let metric = IntCounterVec::new(self.opts(), self.labels).expect("a valid definition");
        registry
            .register(Box::new(metric.clone()))
            .expect("registered once");
        metric
    }

    /// Makes the gauge of whole numbers and registers it.
    ///
    /// # Panics
    /// As [`Definition::counter`].
    #[must_use]
    pub fn gauge(&self, registry: &Registry) -> IntGaugeVec {
        assert_eq!(self.kind, Kind::Gauge, "{}", self.name);
        let metric = IntGaugeVec::new(self.opts(), self.labels).expect("a valid definition");
        registry
            .register(Box::new(metric.clone()))
            .expect("registered once");
        metric
    }

    /// Makes the gauge of any number and registers it.
    ///
    /// # Panics
    /// As [`Definition::counter`].
    #[must_use]
    pub fn gauge_f64(&self, registry: &Registry) -> GaugeVec {
        assert_eq!(self.kind, Kind::Gauge, "{}", self.name);
        let metric = GaugeVec::new(self.opts(), self.labels).expect("a valid definition");
        registry
            .register(Box::new(metric.clone()))
            .expect("registered once");
        metric
    }

    /// Makes the histogram and registers it.
    ///
    /// # Panics
    /// As [`Definition::counter`].
    #[must_use]
    pub fn histogram(&self, registry: &Registry) -> HistogramVec {
        let Kind::Histogram(buckets) = self.kind else {
            panic!("{} is no histogram", self.name);
        };
        let opts = HistogramOpts::new(self.name, self.help).buckets(buckets.to_vec());
        let metric = HistogramVec::new(opts, self.labels).expect("a valid definition");
        registry
            .register(Box::new(metric.clone()))
            .expect("registered once");
        metric
    }
}

/// Registers `manimq_build_info` for a program.
pub fn build_info(registry: &Registry, program: &str, version: &str) {
    BUILD_INFO
        .gauge(registry)
        .with_label_values(&[program, version])
        .set(1);
}

/// The registry's content as `/metrics` serves it.
#[must_use]
pub fn encode(registry: &Registry) -> Vec<u8> {
    let mut text = Vec::new();
    // Writing to memory cannot fail, and what was registered is valid.
    let _ = TextEncoder::new().encode(&registry.gather(), &mut text);
    text
}

/// Adds one to a gauge for as long as it lives.
#[must_use]
pub struct InProgress(prometheus::IntGauge);

impl InProgress {
    /// Counts one in `gauge` until dropped.
    pub fn start(gauge: &prometheus::IntGauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for InProgress {
    fn drop(&mut self) {
        self.0.dec();
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn names_follow_the_conventions_and_are_unique() {
        let mut seen = HashSet::new();
        for metric in ALL {
            assert!(seen.insert(metric.name), "{} twice", metric.name);
            assert!(metric.name.starts_with("manimq_"), "{}", metric.name);
            assert!(metric.help.ends_with('.'), "{}", metric.name);
            assert_eq!(
                metric.kind == Kind::Counter,
                metric.name.ends_with("_total"),
                "{}",
                metric.name
            );
            for label in metric.labels {
                assert!(
                    !["tenant", "job", "id", "key"].contains(label),
                    "{}",
                    metric.name
                );
            }
        }
    }

    #[test]
    fn every_definition_can_be_registered_in_one_registry() {
        let registry = Registry::new();
        for metric in ALL {
            match metric.kind {
                Kind::Counter => drop(metric.counter(&registry)),
                Kind::Gauge => drop(metric.gauge(&registry)),
                Kind::Histogram(_) => drop(metric.histogram(&registry)),
            }
        }
    }
}
