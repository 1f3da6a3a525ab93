//! The worker's metrics, made from the definitions in `manimq_shared::metrics`.

use manimq_shared::metrics::{
    self, FRAMES_RENDERED, JOB_DURATION, JOBS_FINISHED, LAYOUT_WARNINGS, LEASES_LOST, OUTPUT_BYTES,
    PICKUP_DURATION, STAGE_DURATION, WORKER_SLOTS,
};
use prometheus::{HistogramVec, IntCounterVec, IntGaugeVec, Registry};

use crate::board::{Board, SlotState};

/// All of them, in a registry of their own.
#[derive(Clone)]
pub struct WorkerMetrics {
    registry: Registry,
    slots: IntGaugeVec,
    /// Jobs that this worker settled: lane, status, class.
    pub jobs_finished: IntCounterVec,
    /// Submit to claim: lane.
    pub pickup: HistogramVec,
    /// Time by stage.
    pub stage: HistogramVec,
    /// Claim to settlement: lane, quality.
    pub job: HistogramVec,
    /// Frames drawn: quality.
    pub frames: IntCounterVec,
    /// Warnings about what films show: kind.
    pub layout_warnings: IntCounterVec,
    /// Bytes stored: format.
    pub output_bytes: IntCounterVec,
    /// Leases lost: reason.
    pub leases_lost: IntCounterVec,
}

impl Default for WorkerMetrics {
    fn default() -> Self {
        let registry = Registry::new();
        metrics::build_info(&registry, "manimq-worker", env!("CARGO_PKG_VERSION"));
        Self {
            slots: WORKER_SLOTS.gauge(&registry),
            jobs_finished: JOBS_FINISHED.counter(&registry),
            pickup: PICKUP_DURATION.histogram(&registry),
            stage: STAGE_DURATION.histogram(&registry),
            job: JOB_DURATION.histogram(&registry),
            frames: FRAMES_RENDERED.counter(&registry),
            layout_warnings: LAYOUT_WARNINGS.counter(&registry),
            output_bytes: OUTPUT_BYTES.counter(&registry),
            leases_lost: LEASES_LOST.counter(&registry),
            registry,
        }
    }
}

impl WorkerMetrics {
    /// The text of `/metrics`, with the slots as they are now.
    #[must_use]
    pub fn render(&self, board: &Board) -> Vec<u8> {
        for (state, name) in SlotState::ALL {
            let count = i64::try_from(board.count(state)).unwrap_or(i64::MAX);
            self.slots.with_label_values(&[name]).set(count);
        }
        metrics::encode(&self.registry)
    }
}
