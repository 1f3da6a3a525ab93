//! Every metric of manimq: name, unit, labels and who exports it. Programs make theirs from
//! these definitions and from nowhere else, so dashboards and alerts can rely on this list.
//!
//! Base units (seconds, bytes); counters end in `_total`. Ids are never labels but for a worker's own on its
//! heartbeat; tenants are on the `manimq_tenant_*` only, which are no histograms, and there bounded ([`tenants`]).
//!
//! What is said of the queue and the fleet (`manimq_queue_*`, `manimq_fleet_*`, `manimq_tenant_jobs_running`, `manimq_webhook_pending` …)
//! is told alike by every API process, from Redis: add it up with `max`, not `sum`.

pub mod tenants;

use prometheus::{
    CounterVec, Encoder as _, GaugeVec, HistogramOpts, HistogramVec, IntCounterVec, IntGaugeVec,
    Opts, Registry, TextEncoder,
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

/// Upper bounds for the start of a sandbox, in seconds.
const START_S: &[f64] = &[
    0.1, 0.25, 0.5, 1.0, 2.0, 3.0, 5.0, 7.5, 10.0, 15.0, 30.0, 60.0, 120.0,
];
/// Upper bounds for one LaTeX run, in seconds.
const LATEX_S: &[f64] = &[0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 2.0, 5.0, 10.0, 30.0];
/// Upper bounds for memory, in bytes: 64 MiB to 8 GiB.
const MEMORY_BYTES: &[f64] = &[
    67_108_864.0,
    134_217_728.0,
    201_326_592.0,
    268_435_456.0,
    402_653_184.0,
    536_870_912.0,
    805_306_368.0,
    1_073_741_824.0,
    1_610_612_736.0,
    2_147_483_648.0,
    4_294_967_296.0,
    8_589_934_592.0,
];
/// Upper bounds for seconds of rendering per second of film.
const RATIO: &[f64] = &[
    0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0, 20.0, 50.0,
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
    HTTP_STALLED: Kind::Counter, Api, "manimq_http_stalled_total", [],
        "Connections closed because their reader took nothing for too long while something waited for it: downloads and event streams.";
    HTTP_RATE_LIMITED: Kind::Counter, Api, "manimq_http_rate_limited_total", [],
        "Requests refused because one address sent too many.";
    JOBS_SUBMITTED: Kind::Counter, Api, "manimq_jobs_submitted_total", ["lane", "kind"],
        "Jobs accepted.";
    JOBS_REPLAYED: Kind::Counter, Api, "manimq_jobs_replayed_total", [],
        "Submits answered with an earlier job because of their idempotency key.";
    JOBS_FINISHED: Kind::Counter, All, "manimq_jobs_finished_total", ["lane", "status", "class"],
        "Jobs that ended, counted by whoever settled them; class is the failure class or empty. What nobody settled is in manimq_jobs_swept_total.";
    JOBS_SWEPT: Kind::Counter, Api, "manimq_jobs_swept_total", ["lane", "status", "class"],
        "Jobs that the queue ended of itself, so that no process counts them in manimq_jobs_finished_total: failed (lost with their third worker), canceled (their worker did not obey or was lost), expired. Of the whole fleet: use max, not sum.";
    JOBS_DEDUPLICATED: Kind::Counter, Api, "manimq_jobs_deduplicated_total", ["mode"],
        "Submits that needed no render of their own: cache (an earlier result answered), coalesced (they wait for another's render). Of the whole fleet: use max, not sum.";
    JOBS_REDELIVERED: Kind::Counter, Api, "manimq_jobs_redelivered_total", ["reason"],
        "Jobs that went back to the queue after an attempt: lost_worker (its lease ran out), failed (retried with back-off), released (given back uncounted). Of the whole fleet: use max, not sum.";
    DEAD_LETTERS: Kind::Counter, Api, "manimq_dead_letters_total", ["class"],
        "Jobs that failed for good by no fault of their author, by failure class. Of the whole fleet: use max, not sum.";
    DEAD_LETTER_JOBS: Kind::Gauge, Api, "manimq_dead_letter_jobs", [],
        "Dead letters that are kept now. Every API process tells the same: use max, not sum.";
    QUEUE_REPAIRS: Kind::Counter, Api, "manimq_queue_repairs_total", [],
        "Places where the queue contradicted itself and was put right, by an audit or in passing; anything but 0 is a bug, or somebody wrote to its keys. Of the whole fleet: use max, not sum.";
    QUOTA_REJECTIONS: Kind::Counter, Api, "manimq_quota_rejections_total", ["policy"],
        "Submits refused by a quota.";
    QUEUE_JOBS: Kind::Gauge, Api, "manimq_queue_jobs", ["lane", "state"],
        "Jobs in the queue: waiting, delayed (until a time), running, following (they wait for another's render). Lane returned: again after a lost attempt. Every API process tells the same: use max by (lane, state), then sum.";
    QUEUE_OLDEST_AGE: Kind::Gauge, Api, "manimq_queue_oldest_age_seconds", ["lane"],
        "Age of the oldest job of a lane that waits for a slot and for nothing else, since its submit: what is paused, or at its tenant's own limit, does not age here; 0 if none waits. Every API process tells the same: use max, not sum.";
    QUEUE_PAUSED: Kind::Gauge, Api, "manimq_queue_paused", ["scope"],
        "1 while an operator has paused all, or a lane.";
    QUEUE_TENANTS: Kind::Gauge, Api, "manimq_queue_tenants", ["state"],
        "Tenants with waiting jobs: eligible, over (at the elastic bound), held (their lanes are paused), gate (render time of today used up). Every API process tells the same: use max, not sum.";
    QUEUE_UP: Kind::Gauge, Api, "manimq_queue_up", [],
        "1 while Redis answers the queue's functions; the other gauges of queue and fleet are absent while this is 0.";
    FLEET_WORKERS: Kind::Gauge, Api, "manimq_fleet_workers", ["state"],
        "Live workers: active, draining. Every API process tells the same: use max, not sum.";
    FLEET_SLOTS: Kind::Gauge, Api, "manimq_fleet_slots", ["state"],
        "Slots of all live workers: idle, busy, draining, quarantined. Every API process tells the same: use max, not sum.";
    TENANT_JOBS_RUNNING: Kind::Gauge, Api, "manimq_tenant_jobs_running", ["tenant"],
        "Running jobs of the tenants with most jobs, or of those that were listed; all others together are other. Every API process tells the same: use max, not sum.";
    TENANT_JOBS_WAITING: Kind::Gauge, Api, "manimq_tenant_jobs_waiting", ["tenant"],
        "Waiting jobs of the same tenants. Every API process tells the same: use max, not sum.";
    TENANT_REJECTIONS: Kind::Counter, Api, "manimq_tenant_rejections_total", ["tenant"],
        "Submits refused by a quota, of the first tenants that met one, or of those that were listed; all others together are other.";
    TENANT_QUOTA_USED: Kind::Gauge, Api, "manimq_tenant_quota_used", ["tenant", "policy"],
        "What the same tenants use of the quotas that they have, in the unit of the policy. Every API process tells the same: use max, not sum.";
    TENANT_QUOTA_LIMIT: Kind::Gauge, Api, "manimq_tenant_quota_limit", ["tenant", "policy"],
        "These quotas: queued_jobs, running_jobs, submits_per_minute, submits_per_day, render_seconds_per_day. Every API process tells the same: use max, not sum.";
    TENANT_JOBS_FINISHED: Kind::Counter, Worker, "manimq_tenant_jobs_finished_total", ["tenant", "status", "class"],
        "Jobs that this worker ended, of the first tenants that it had jobs of, or of those that were listed; all others together are other.";
    TENANT_SLOT_SECONDS: Kind::Counter, Worker, "manimq_tenant_slot_seconds_total", ["tenant"],
        "Time of slots that attempts took, from claim to settlement, of the same tenants.";
    TENANT_SUBMIT_TO_END: Kind::Counter, Worker, "manimq_tenant_submit_to_end_seconds_total", ["tenant"],
        "Times from submit to end of the jobs of manimq_tenant_jobs_finished_total, added up.";
    CANARY_LAST_SUCCESS: Kind::Gauge, Api, "manimq_canary_last_success_timestamp_seconds", [],
        "When a canary's film was last there, by Redis' clock. Every API process tells the same: use max, not sum.";
    CANARY_DURATION: Kind::Gauge, Api, "manimq_canary_duration_seconds", [],
        "From submit to film of the last canary that succeeded. Every API process tells the same: use max, not sum.";
    CANARY_RUNS: Kind::Counter, Api, "manimq_canary_runs_total", ["result"],
        "Canaries that this process sent: ok, failed, late (no film when the next was due).";
    PROMPT_ROUTED: Kind::Counter, Api, "manimq_prompt_routed_total", ["template", "decision"],
        "Prompts by how they became a film: exact (a template fits), model (a language model filled one in), code (it wrote the scene, no template), fallback (the card that was asked for), ambiguous (refused with candidates, no template).";
    LLM_CALLS: Kind::Counter, Api, "manimq_llm_calls_total", ["outcome"],
        "Questions to the language model: ok, late, away, limited (429), refused, nonsense, cut_off; not sent at all: resting (it failed lately), budget (tokens used up), busy.";
    LLM_CALL_DURATION: Kind::Histogram(REQUEST_S), Api, "manimq_llm_call_duration_seconds", [],
        "Time of questions to the language model that were sent.";
    LLM_TOKENS: Kind::Counter, Api, "manimq_llm_tokens_total", ["purpose"],
        "Tokens of questions and answers, as the language model says or, if it does not, as estimated: choose (a template and its parameters), write (a scene), mend (one that failed).";
    LLM_PROPOSALS: Kind::Counter, Api, "manimq_llm_proposals_total", ["purpose", "result"],
        "What prompts got of the language model: taken, none_fits (no template, it says), unusable (its answers never held), no_answer.";
    LLM_BREAKER_OPEN: Kind::Gauge, Api, "manimq_llm_breaker_open", [],
        "1 while the language model is left alone because it failed, in this process; one that is only too slow is left alone tenant by tenant, and not told here.";
    WEBHOOK_PENDING: Kind::Gauge, Api, "manimq_webhook_pending", [],
        "Webhook calls that are still to be made. Every API process tells the same: use max, not sum.";
    WEBHOOK_OLDEST_AGE: Kind::Gauge, Api, "manimq_webhook_oldest_age_seconds", [],
        "For how long the most overdue webhook call has been due; 0 if none is. Every API process tells the same: use max, not sum.";
    WEBHOOK_DROPPED: Kind::Counter, Api, "manimq_webhook_dropped_total", [],
        "Webhook calls given up because too many waited. Of the whole fleet: use max, not sum.";
    WEBHOOK_DELIVERIES: Kind::Counter, Api, "manimq_webhook_deliveries_total", ["result"],
        "Calls to webhooks: delivered, retry (failed, tried again later) or failed (given up).";
    STORAGE_OPERATIONS: Kind::Counter, All, "manimq_storage_operations_total", ["op", "result"],
        "Operations on stored files: grant, put, get, head; upload: what a worker sent to a bucket, each try. Result is ok, refused or error.";
    STORAGE_OPERATION_DURATION: Kind::Histogram(REQUEST_S), All, "manimq_storage_operation_duration_seconds", ["op"],
        "Time of those operations; of a get, until the first byte.";
    STORAGE_BYTES: Kind::Counter, Api, "manimq_storage_bytes_total", ["direction"],
        "Bytes of files taken in and given out: in, out.";
    SSE_CONNECTIONS: Kind::Gauge, Api, "manimq_sse_connections", [],
        "Open event streams.";
    SSE_CUT_OFF: Kind::Counter, Api, "manimq_sse_cut_off_total", ["reason"],
        "Event streams that this process ended or refused before their reader did: stop (it stops), life (open for the longest time), key (its key ended), error (its events cannot be read), full (no place for one more); missed: it went on, but its reader was told that events are missing.";
    LONG_POLLS: Kind::Gauge, Api, "manimq_long_polls", [],
        "Reads that wait for a change.";
    REDIS_COMMAND_DURATION: Kind::Histogram(REQUEST_S), All, "manimq_redis_command_duration_seconds", ["command"],
        "Time of calls to the queue, waiting for a connection included.";
    REDIS_ERRORS: Kind::Counter, All, "manimq_redis_errors_total", ["command"],
        "Calls to the queue that failed.";
    WORKER_SLOTS: Kind::Gauge, Worker, "manimq_worker_slots", ["state"],
        "Slots of this worker: idle, busy, draining, quarantined.";
    WORKER_DRAINING: Kind::Gauge, Worker, "manimq_worker_draining_timestamp_seconds", [],
        "When this worker ceased to claim, because it is drained or stops; 0 while it claims.";
    PICKUP_DURATION: Kind::Histogram(WAIT_S), Worker, "manimq_pickup_duration_seconds", ["lane"],
        "From submit to claim, first attempts only.";
    STAGE_DURATION: Kind::Histogram(RENDER_S), Worker, "manimq_stage_duration_seconds", ["stage"],
        "Time that attempts spent in a stage.";
    JOB_DURATION: Kind::Histogram(RENDER_S), Worker, "manimq_job_duration_seconds", ["lane", "quality"],
        "From claim to settlement of attempts that succeeded.";
    SUBMIT_TO_DONE: Kind::Histogram(RENDER_S), Worker, "manimq_submit_to_done_duration_seconds", ["lane", "quality"],
        "From submit to settlement of jobs that succeeded, all waiting and all attempts included.";
    CANCEL_DURATION: Kind::Histogram(REQUEST_S), Worker, "manimq_cancel_duration_seconds", [],
        "Of jobs that were canceled while they ran: from the request until the render was dead and the job ended, by Redis' clock.";
    FRAMES_RENDERED: Kind::Counter, Worker, "manimq_frames_rendered_total", ["quality"],
        "Frames drawn.";
    LAYOUT_WARNINGS: Kind::Counter, Worker, "manimq_layout_warnings_total", ["kind"],
        "Warnings about what films show: outside_frame, text_overlap, too_small, blank_end, frozen.";
    OUTPUT_BYTES: Kind::Counter, Worker, "manimq_output_bytes_total", ["format"],
        "Bytes of artifacts stored.";
    LEASES_LOST: Kind::Counter, Worker, "manimq_leases_lost_total", ["reason"],
        "Leases that this worker lost.";
    REALTIME_RATIO: Kind::Histogram(RATIO), Worker, "manimq_realtime_ratio", ["quality"],
        "Seconds of an attempt per second of its film; below 1 is faster than the film plays.";
    WORKER_HEARTBEAT: Kind::Gauge, Worker, "manimq_worker_heartbeat_timestamp_seconds", ["worker"],
        "When Redis last answered this worker's renewal of its leases.";
    SANDBOX_START_DURATION: Kind::Histogram(START_S), Worker, "manimq_sandbox_start_duration_seconds", [],
        "From the start of a sandbox until it has proved that it can render.";
    SANDBOX_RECYCLES: Kind::Counter, Worker, "manimq_sandbox_recycles_total", ["cause"],
        "Sandboxes that were replaced: lost (broke under a job), reset (something of a job was left), jobs (has served as many as it may), start (could not be started).";
    SANDBOX_DENIALS: Kind::Counter, Worker, "manimq_sandbox_denials_total", ["kind"],
        "Renders that ended because the scene tried what the sandbox denies: network, process, files, threads, escape (to deceive the renderer), other.";
    SANDBOX_PEAK_MEMORY: Kind::Histogram(MEMORY_BYTES), Worker, "manimq_sandbox_peak_memory_bytes", ["quality"],
        "Largest resident memory of each attempt.";
    SANDBOX_CPU: Kind::Counter, Worker, "manimq_sandbox_cpu_seconds_total", ["quality"],
        "Processor time of attempts; LaTeX not included.";
    LATEX_COMPILE_DURATION: Kind::Histogram(LATEX_S), Worker, "manimq_latex_compile_duration_seconds", [],
        "Time of LaTeX runs, one for each formula or group of formulas.";
    LATEX_CACHE_REQUESTS: Kind::Counter, Worker, "manimq_latex_cache_requests_total", ["result"],
        "Formulas that scenes asked for: hit (known from earlier), miss (LaTeX was run).";
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

    /// Makes the counter of any amounts and registers it.
    ///
    /// # Panics
    /// As [`Definition::counter`].
    #[must_use]
    pub fn counter_f64(&self, registry: &Registry) -> CounterVec {
        assert_eq!(self.kind, Kind::Counter, "{}", self.name);
        let metric = CounterVec::new(self.opts(), self.labels).expect("a valid definition");
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
                let bounded = *label == "tenant" && metric.name.starts_with("manimq_tenant_");
                let histogram = matches!(metric.kind, Kind::Histogram(_));
                assert!(
                    !["tenant", "job", "id", "key"].contains(label) || (bounded && !histogram),
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
