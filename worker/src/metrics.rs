//! The worker's metrics, made from the definitions in `manimq_shared::metrics`.

mod tenants;

use std::future::Future;
use std::time::{Duration, Instant, SystemTime};

use manimq_shared::ids::WorkerId;
use manimq_shared::job::{FailureClass, Lane};
use manimq_shared::metrics::tenants::Shown;
use manimq_shared::metrics::{
    self, CANCEL_DURATION, FRAMES_RENDERED, JOB_DURATION, JOBS_FINISHED, LATEX_CACHE_REQUESTS,
    LATEX_COMPILE_DURATION, LAYOUT_WARNINGS, LEASES_LOST, OUTPUT_BYTES, PICKUP_DURATION,
    REALTIME_RATIO, REDIS_COMMAND_DURATION, REDIS_ERRORS, SANDBOX_CPU, SANDBOX_DENIALS,
    SANDBOX_PEAK_MEMORY, SANDBOX_RECYCLES, SANDBOX_START_DURATION, STAGE_DURATION,
    STORAGE_OPERATION_DURATION, STORAGE_OPERATIONS, SUBMIT_TO_DONE, WORKER_DRAINING,
    WORKER_HEARTBEAT, WORKER_SLOTS,
};
use prometheus::{
    CounterVec, Gauge, GaugeVec, Histogram, HistogramVec, IntCounterVec, IntGaugeVec, Registry,
};

use self::tenants::Tenants;
use crate::board::{Board, SlotState};
use crate::layout::LayoutKind;
use crate::sandbox::{Denial, RecycleCause, RenderFailure, Rendered, TexUse};

/// All of them, in a registry of their own.
#[derive(Clone)]
pub struct WorkerMetrics {
    registry: Registry,
    slots: IntGaugeVec,
    heartbeat: GaugeVec,
    draining: Gauge,
    /// What jobs of a few tenants came to.
    pub tenants: Tenants,
    /// Jobs that this worker settled: lane, status, class.
    pub jobs_finished: IntCounterVec,
    /// Submit to claim: lane.
    pub pickup: HistogramVec,
    /// Time by stage.
    pub stage: HistogramVec,
    /// Claim to settlement: lane, quality.
    pub job: HistogramVec,
    /// Submit to settlement: lane, quality.
    pub submit_to_done: HistogramVec,
    /// From the request to the end of a job that ran.
    pub cancel: Histogram,
    /// Seconds of an attempt per second of its film: quality.
    pub realtime_ratio: HistogramVec,
    /// Frames drawn: quality.
    pub frames: IntCounterVec,
    /// Warnings about what films show: kind.
    pub layout_warnings: IntCounterVec,
    /// Bytes stored: format.
    pub output_bytes: IntCounterVec,
    /// Leases lost: reason.
    pub leases_lost: IntCounterVec,
    sandbox_start: Histogram,
    sandbox_recycles: IntCounterVec,
    sandbox_denials: IntCounterVec,
    peak_memory: HistogramVec,
    cpu: CounterVec,
    latex_compile: Histogram,
    latex_cache: IntCounterVec,
    redis_command_duration: HistogramVec,
    redis_errors: IntCounterVec,
    storage_operations: IntCounterVec,
    storage_operation_duration: HistogramVec,
}

/// The operation that a worker does with a bucket.
const UPLOAD: &str = "upload";

impl Default for WorkerMetrics {
    fn default() -> Self {
        Self::new(Shown::default())
    }
}

impl WorkerMetrics {
    /// Every metric, with labels for these tenants.
    ///
    /// # Panics
    /// If the list of metrics contradicts itself.
    #[must_use]
    pub fn new(shown: Shown) -> Self {
        let registry = Registry::new();
        let r = &registry;
        metrics::build_info(r, "manimq-worker", env!("CARGO_PKG_VERSION"));
        let none: &[&str] = &[];
        let metrics = Self {
            slots: WORKER_SLOTS.gauge(r),
            heartbeat: WORKER_HEARTBEAT.gauge_f64(r),
            draining: WORKER_DRAINING.gauge_f64(r).with_label_values(none),
            tenants: Tenants::new(r, shown),
            jobs_finished: JOBS_FINISHED.counter(r),
            pickup: PICKUP_DURATION.histogram(r),
            stage: STAGE_DURATION.histogram(r),
            job: JOB_DURATION.histogram(r),
            submit_to_done: SUBMIT_TO_DONE.histogram(r),
            cancel: CANCEL_DURATION.histogram(r).with_label_values(none),
            realtime_ratio: REALTIME_RATIO.histogram(r),
            frames: FRAMES_RENDERED.counter(r),
            output_bytes: OUTPUT_BYTES.counter(r),
            leases_lost: LEASES_LOST.counter(r),
            layout_warnings: LAYOUT_WARNINGS.counter(r),
            sandbox_start: SANDBOX_START_DURATION.histogram(r).with_label_values(none),
            sandbox_recycles: SANDBOX_RECYCLES.counter(r),
            sandbox_denials: SANDBOX_DENIALS.counter(r),
            peak_memory: SANDBOX_PEAK_MEMORY.histogram(r),
            cpu: SANDBOX_CPU.counter_f64(r),
            latex_compile: LATEX_COMPILE_DURATION.histogram(r).with_label_values(none),
            latex_cache: LATEX_CACHE_REQUESTS.counter(r),
            redis_command_duration: REDIS_COMMAND_DURATION.histogram(r),
            redis_errors: REDIS_ERRORS.counter(r),
            storage_operations: STORAGE_OPERATIONS.counter(r),
            storage_operation_duration: STORAGE_OPERATION_DURATION.histogram(r),
            registry,
        };
        metrics.begin_at_zero();
        metrics
    }

    /// A counter that appears with its first event shows no increase by it; these alerts are made of.
    fn begin_at_zero(&self) {
        for lane in Lane::ALL {
            let ended = |status, class| {
                let labels = [lane.as_str(), status, class];
                self.jobs_finished.with_label_values(&labels);
            };
            ended("succeeded", "");
            ended("canceled", "");
            for class in FailureClass::ALL {
                ended("failed", class.as_str());
            }
        }
        for kind in LayoutKind::ALL {
            self.layout_warnings.with_label_values(&[kind.as_str()]);
        }
        for reason in ["superseded", "renewal"] {
            self.leases_lost.with_label_values(&[reason]);
        }
        for cause in RecycleCause::ALL {
            self.sandbox_recycles.with_label_values(&[cause.as_str()]);
        }
        for kind in Denial::ALL {
            self.sandbox_denials.with_label_values(&[kind.as_str()]);
        }
        for result in ["hit", "miss"] {
            self.latex_cache.with_label_values(&[result]);
        }
        for result in ["ok", "error"] {
            let labels = [UPLOAD, result];
            self.storage_operations.with_label_values(&labels);
        }
        self.storage_operation_duration.with_label_values(&[UPLOAD]);
        for command in ["claim", "renew", "settle"] {
            self.redis_errors.with_label_values(&[command]);
        }
    }

    /// The text of `/metrics`, with the slots as they are now.
    #[must_use]
    pub fn render(&self, board: &Board) -> Vec<u8> {
        for (state, name) in SlotState::ALL {
            let count = i64::try_from(board.count(state)).unwrap_or(i64::MAX);
            self.slots.with_label_values(&[name]).set(count);
        }
        let since = board.resting_since().map_or(0.0, seconds);
        self.draining.set(since);
        metrics::encode(&self.registry)
    }

    /// A call to the queue: timed, and counted if it fails.
    ///
    /// # Errors
    /// As the call.
    pub async fn redis<T, E>(
        &self,
        command: &str,
        call: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        let began = Instant::now();
        let result = call.await;
        self.redis_command_duration
            .with_label_values(&[command])
            .observe(began.elapsed().as_secs_f64());
        if result.is_err() {
            self.redis_errors.with_label_values(&[command]).inc();
        }
        result
    }

    /// A try to store a file in a bucket.
    pub fn uploaded(&self, works: bool, took: Duration) {
        let result = if works { "ok" } else { "error" };
        self.storage_operations
            .with_label_values(&[UPLOAD, result])
            .inc();
        self.storage_operation_duration
            .with_label_values(&[UPLOAD])
            .observe(took.as_secs_f64());
    }

    /// Redis heard of this worker just now.
    pub fn heard(&self, worker: WorkerId) {
        self.pulse(worker).set(seconds(SystemTime::now()));
    }

    fn pulse(&self, worker: WorkerId) -> Gauge {
        self.heartbeat.with_label_values(&[&worker.to_string()])
    }

    /// A sandbox is ready after this long.
    pub fn sandbox_started(&self, took: Duration) {
        self.sandbox_start.observe(took.as_secs_f64());
    }

    /// A sandbox was replaced, or could not be.
    pub fn recycled(&self, cause: RecycleCause) {
        self.sandbox_recycles
            .with_label_values(&[cause.as_str()])
            .inc();
    }

    /// What a render took that gave files.
    pub fn rendered(&self, quality: &str, rendered: &Rendered) {
        let usage = &rendered.usage;
        self.used(quality, usage.cpu_s, usage.peak_memory_bytes, &rendered.tex);
    }

    /// What a render took that failed.
    pub fn render_failed(&self, quality: &str, failure: &RenderFailure) {
        self.used(
            quality,
            failure.cpu_s,
            failure.peak_memory_bytes,
            &failure.tex,
        );
        if failure.class == FailureClass::SandboxDenied {
            let kind = failure.denied.unwrap_or(Denial::Other);
            self.sandbox_denials
                .with_label_values(&[kind.as_str()])
                .inc();
        }
    }

    fn used(&self, quality: &str, cpu_s: f64, peak_memory_bytes: u64, tex: &TexUse) {
        // A counter does not take less than nothing, and this was measured elsewhere.
        self.cpu
            .with_label_values(&[quality])
            .inc_by(if cpu_s.is_finite() {
                cpu_s.max(0.0)
            } else {
                0.0
            });
        if peak_memory_bytes > 0 {
            #[allow(clippy::cast_precision_loss)]
            self.peak_memory
                .with_label_values(&[quality])
                .observe(peak_memory_bytes as f64);
        }
        self.latex_cache
            .with_label_values(&["hit"])
            .inc_by(u64::from(tex.hits));
        self.latex_cache
            .with_label_values(&["miss"])
            .inc_by(tex.runs_s.len() as u64);
        for seconds in &tex.runs_s {
            self.latex_compile.observe(*seconds);
        }
    }
}

/// Since 1970.
fn seconds(time: SystemTime) -> f64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH);
    since.unwrap_or_default().as_secs_f64()
}
