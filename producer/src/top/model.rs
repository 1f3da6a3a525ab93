//! What is shown: one look at the queue.

use manimq_shared::queue::{LANES, LaneFigures, Queue, QueueError, SURVEYED_MAX};
use serde::Serialize;

use crate::admin::view::{QueueSummary, WorkerView};

/// One look at the queue.
#[derive(Debug, Clone, Serialize)]
pub(super) struct View {
    /// Jobs, slots, pauses, counters.
    pub(super) queue: QueueSummary,
    /// What waits and runs in each lane.
    pub(super) lanes: Vec<LaneView>,
    /// The live workers.
    pub(super) workers: Vec<WorkerView>,
    /// Tenants with jobs.
    pub(super) tenants: Vec<TenantRow>,
    /// Whether there are more tenants than were counted: then lanes and tenants are not all.
    pub(super) partial: bool,
    /// Dead letters that are kept.
    pub(super) dead: u64,
    /// Webhook calls that are to be made.
    pub(super) webhooks_pending: u64,
    /// When a canary last succeeded, seconds since 1970.
    pub(super) canary_succeeded_at_s: Option<f64>,
    /// How long that one took.
    pub(super) canary_took_s: f64,
}

/// A lane.
#[derive(Debug, Clone, Serialize)]
pub(super) struct LaneView {
    pub(super) lane: &'static str,
    pub(super) waiting: u64,
    pub(super) running: u64,
    pub(super) oldest_s: f64,
}

/// A tenant with jobs.
#[derive(Debug, Clone, Serialize)]
pub(super) struct TenantRow {
    pub(super) tenant: String,
    pub(super) running: u64,
    pub(super) waiting: u64,
    pub(super) following: u64,
    pub(super) oldest_s: f64,
}

/// What the tenants are sorted by, most first; names by the alphabet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sort {
    Running,
    Waiting,
    Oldest,
    Name,
}

impl Sort {
    /// The next one.
    pub(super) const fn next(self) -> Self {
        match self {
            Self::Running => Self::Waiting,
            Self::Waiting => Self::Oldest,
            Self::Oldest => Self::Name,
            Self::Name => Self::Running,
        }
    }
}

impl View {
    /// Looks.
    pub(super) async fn look(queue: &Queue, prefix: &str) -> Result<Self, QueueError> {
        let (stats, survey, canary) =
            tokio::try_join!(queue.stats(), queue.survey(SURVEYED_MAX), queue.canary())?;
        Ok(Self {
            lanes: LANES
                .into_iter()
                .zip(survey.lanes)
                .map(|(lane, of)| LaneView {
                    lane: LaneFigures::name(lane),
                    waiting: of.waiting,
                    running: of.running,
                    oldest_s: of.oldest.as_secs_f64(),
                })
                .collect(),
            workers: stats.workers.iter().map(WorkerView::from).collect(),
            tenants: survey
                .tenants
                .into_iter()
                .filter(|of| !of.tenant.is_canary())
                .map(|of| TenantRow {
                    tenant: of.tenant.to_string(),
                    running: of.running,
                    waiting: of.waiting,
                    following: of.following,
                    oldest_s: of.oldest.as_secs_f64(),
                })
                .collect(),
            partial: survey.partial,
            dead: stats.dead,
            webhooks_pending: stats.webhooks_pending,
            canary_succeeded_at_s: canary.succeeded_at.map(|at| at.as_secs_f64()),
            canary_took_s: canary.took.as_secs_f64(),
            queue: QueueSummary::new(prefix, &stats),
        })
    }

    /// With its tenants in this order.
    pub(super) fn sorted(&self, sort: Sort) -> Self {
        let mut view = self.clone();
        view.tenants.sort_by(|a, b| {
            let most = match sort {
                Sort::Running => b.running.cmp(&a.running).then(b.waiting.cmp(&a.waiting)),
                Sort::Waiting => b.waiting.cmp(&a.waiting).then(b.running.cmp(&a.running)),
                Sort::Oldest => b.oldest_s.total_cmp(&a.oldest_s),
                Sort::Name => std::cmp::Ordering::Equal,
            };
            most.then_with(|| a.tenant.cmp(&b.tenant))
        });
        view
    }
}
