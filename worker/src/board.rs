//! What each slot is doing: for the worker's sign of life, for metrics and for readiness.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use manimq_shared::ids::WorkerId;
use manimq_shared::queue::{PARK, WorkerInfo};
use tokio::sync::watch;

/// What a slot is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SlotState {
    /// Connecting to its sandbox.
    Starting,
    /// Ready for a job.
    Idle,
    /// Running one.
    Busy,
    /// Its sandbox failed; it will connect again after a pause.
    Quarantined,
    /// It has stopped for good.
    Stopped,
}

impl SlotState {
    /// Every state, with its name in metrics.
    pub const ALL: [(Self, &'static str); 5] = [
        (Self::Starting, "starting"),
        (Self::Idle, "idle"),
        (Self::Busy, "busy"),
        (Self::Quarantined, "quarantined"),
        (Self::Stopped, "stopped"),
    ];
}

/// A worker with an idle slot asks for jobs now and then ([`PARK`] at the latest). If the queue has
/// answered none of its claims for so long, it hears nothing of work.
pub const DEAF_AFTER: Duration = Duration::from_secs(PARK.as_secs() + 30);

/// Shared by slots (who write), the lease keeper and the metrics server (who read).
#[derive(Clone)]
pub struct Board {
    inner: Arc<Mutex<Inner>>,
    /// Whether an operator drains this worker.
    drained: Arc<watch::Sender<bool>>,
    hints: Arc<AtomicU64>,
    worker: WorkerId,
    host: Arc<str>,
}

struct Inner {
    slots: Vec<SlotState>,
    trouble: Option<String>,
    renderer: String,
    draining: bool,
    /// Since when nothing is claimed, because an operator or a stop wants it so.
    resting_since: Option<SystemTime>,
    /// Since when a slot is idle and no claim was answered: from the later of the two on.
    unanswered_since: Instant,
}

impl Board {
    /// A board of `slots` slots that are all starting.
    #[must_use]
    pub fn new(worker: WorkerId, slots: usize) -> Self {
        let host = rustix::system::uname()
            .nodename()
            .to_string_lossy()
            .into_owned();
        Self {
            inner: Arc::new(Mutex::new(Inner {
                slots: vec![SlotState::Starting; slots],
                trouble: None,
                renderer: String::new(),
                draining: false,
                resting_since: None,
                unanswered_since: Instant::now(),
            })),
            drained: Arc::new(watch::Sender::new(false)),
            hints: Arc::default(),
            worker,
            host: host.into(),
        }
    }

    fn with<T>(&self, f: impl FnOnce(&mut Inner) -> T) -> T {
        f(&mut self.inner.lock().expect("no panic while locked"))
    }

    /// Says what slot `index` is doing now.
    pub fn set(&self, index: usize, state: SlotState) {
        self.with(|inner| {
            if state == SlotState::Idle && !inner.slots.contains(&SlotState::Idle) {
                inner.unanswered_since = Instant::now();
            }
            inner.slots[index] = state;
            if state == SlotState::Idle {
                inner.trouble = None;
            }
        });
    }

    /// Says that the queue has answered a claim.
    pub fn answered(&self) {
        self.with(|inner| inner.unanswered_since = Instant::now());
    }

    /// For how long, if that is more than [`DEAF_AFTER`], slots were idle and no claim was answered.
    #[must_use]
    pub fn deaf_for(&self, now: Instant) -> Option<Duration> {
        self.with(|inner| {
            let claims = inner.slots.contains(&SlotState::Idle) && inner.resting_since.is_none();
            let silence = now.saturating_duration_since(inner.unanswered_since);
            (claims && silence > DEAF_AFTER).then_some(silence)
        })
    }

    /// Says what renders here: whatever decides what a scene looks like.
    pub fn renderer(&self, text: impl Into<String>) {
        self.with(|inner| inner.renderer = text.into());
    }

    /// Says why a slot is quarantined.
    pub fn trouble(&self, text: impl Into<String>) {
        self.with(|inner| inner.trouble = Some(text.into()));
    }

    /// Says that no more jobs are claimed.
    pub fn drain(&self) {
        self.with(|inner| {
            inner.draining = true;
            inner.resting_since.get_or_insert_with(SystemTime::now);
        });
    }

    /// Somebody has called this worker by its name: an operator, or who cancels.
    pub fn hinted(&self) {
        self.hints.fetch_add(1, Ordering::Relaxed);
    }

    /// How often that was.
    #[must_use]
    pub fn hints(&self) -> u64 {
        self.hints.load(Ordering::Relaxed)
    }

    /// Says whether an operator drains this worker, as Redis tells it.
    pub fn set_drained(&self, on: bool) {
        if self.drained.send_replace(on) != on {
            self.with(|inner| {
                if on {
                    inner.resting_since.get_or_insert_with(SystemTime::now);
                } else if !inner.draining {
                    inner.resting_since = None;
                    inner.unanswered_since = Instant::now();
                }
            });
            tracing::info!(
                "{}",
                if on {
                    "drained by an operator: no more jobs are claimed"
                } else {
                    "no longer drained: jobs are claimed again"
                }
            );
        }
    }

    /// Whether an operator drains this worker.
    #[must_use]
    pub fn is_drained(&self) -> bool {
        *self.drained.borrow()
    }

    /// Since when this worker claims nothing, because it is drained or stops.
    #[must_use]
    pub fn resting_since(&self) -> Option<SystemTime> {
        self.with(|inner| inner.resting_since)
    }

    /// Waits until no operator drains this worker.
    pub async fn undrained(&self) {
        // The sender lives as long as `self`, so this ends only when it is so.
        let _ = self.drained.subscribe().wait_for(|on| !on).await;
    }

    /// Number of slots in a state.
    #[must_use]
    pub fn count(&self, state: SlotState) -> usize {
        self.with(|inner| inner.slots.iter().filter(|slot| **slot == state).count())
    }

    /// The worker's sign of life.
    #[must_use]
    pub fn info(&self) -> WorkerInfo {
        let drained = self.is_drained();
        self.with(|inner| {
            let count = |wanted: &[SlotState]| {
                let n = inner.slots.iter().filter(|s| wanted.contains(s)).count();
                u32::try_from(n).unwrap_or(u32::MAX)
            };
            WorkerInfo {
                id: self.worker,
                host: self.host.to_string(),
                version: env!("CARGO_PKG_VERSION").to_owned(),
                slots: u32::try_from(inner.slots.len()).unwrap_or(u32::MAX),
                slots_ready: count(&[SlotState::Idle, SlotState::Busy]),
                slots_busy: count(&[SlotState::Busy]),
                draining: inner.draining || drained,
                trouble: inner.trouble.clone(),
                renderer: inner.renderer.clone(),
            }
        })
    }
}
