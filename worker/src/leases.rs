//! Keeps the worker's leases: one call renews all of them, carries the jobs' news up and brings
//! cancels and drains down.
//!
//! It runs on a thread of its own with its own Redis connections, so nothing that a render or an
//! upload does can starve it (a busy process that misses its renewals is the classic way to run a
//! job twice). While Redis is away renders go on: whether a lease was lost is Redis' to say, and a
//! stale attempt cannot publish anything.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use manimq_shared::ids::{Epoch, JobId};
use manimq_shared::queue::{
    BATCH_MAX, EventKind, LEASE, Lease, Queue, QueueError, RENEW_EVERY, RedisConfig, Renewal,
};
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::board::{Board, SlotState};
use crate::metrics::WorkerMetrics;

/// Shortest time between two calls because of news.
const NEWS_EVERY: Duration = Duration::from_millis(400);
/// Most events of a job that wait for the next call. Progress replaces progress; of anything
/// else the oldest go first, and are counted.
const EVENTS_MAX: usize = 200;

/// Why a job has to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Somebody cancelled it.
    Canceled,
    /// The lease is another's.
    Lost,
}

struct Entry {
    epoch: Epoch,
    events: VecDeque<(EventKind, String)>,
    dropped: u64,
    verdict: Option<Verdict>,
    stop: CancellationToken,
}

/// The leases that this worker holds. Clones share them.
#[derive(Clone, Default)]
pub struct Leases {
    entries: Arc<Mutex<HashMap<JobId, Entry>>>,
    news: Arc<Notify>,
}

/// One held lease. Dropping it ends the renewals: settle the claim before.
pub struct Held {
    leases: Leases,
    job: JobId,
    stop: CancellationToken,
}

impl Leases {
    fn with<T>(&self, f: impl FnOnce(&mut HashMap<JobId, Entry>) -> T) -> T {
        f(&mut self.entries.lock().expect("no panic while locked"))
    }

    /// Starts to renew a lease.
    #[must_use]
    pub fn hold(&self, job: JobId, epoch: Epoch) -> Held {
        let stop = CancellationToken::new();
        let entry = Entry {
            epoch,
            events: VecDeque::new(),
            dropped: 0,
            verdict: None,
            stop: stop.clone(),
        };
        self.with(|entries| entries.insert(job, entry));
        Held {
            leases: self.clone(),
            job,
            stop,
        }
    }

    fn collect(&self) -> Vec<Renewal> {
        self.with(|entries| {
            entries
                .iter_mut()
                // A cancelled job keeps its lease until its render has stopped and it is settled.
                .filter(|(_, entry)| entry.verdict != Some(Verdict::Lost))
                .take(BATCH_MAX)
                .map(|(job, entry)| Renewal {
                    job: *job,
                    epoch: entry.epoch,
                    events: take_events(entry),
                })
                .collect()
        })
    }

    /// Stops a job that has to stop; says so if that is news.
    fn judge(&self, renewal: &Renewal, lease: Lease) -> Option<Verdict> {
        let verdict = match lease {
            Lease::Held => return None,
            Lease::Cancel => Verdict::Canceled,
            Lease::Lost => Verdict::Lost,
        };
        self.with(|entries| {
            if let Some(entry) = entries.get_mut(&renewal.job)
                && entry.epoch == renewal.epoch
                && entry.verdict.is_none_or(|earlier| earlier != verdict)
            {
                tracing::info!(job.id = %renewal.job, verdict = ?verdict, "stopping job {}", renewal.job);
                entry.verdict = Some(verdict);
                entry.stop.cancel();
                return Some(verdict);
            }
            None
        })
    }

    /// Puts events back that could not be sent.
    fn put_back(&self, renewals: Vec<Renewal>) {
        self.with(|entries| {
            for renewal in renewals {
                if let Some(entry) = entries.get_mut(&renewal.job)
                    && entry.epoch == renewal.epoch
                {
                    for event in renewal.events.into_iter().rev() {
                        if entry.events.len() < EVENTS_MAX {
                            entry.events.push_front(event);
                        } else {
                            entry.dropped += 1;
                        }
                    }
                }
            }
        });
    }
}

fn take_events(entry: &mut Entry) -> Vec<(EventKind, String)> {
    let mut events: Vec<_> = entry.events.drain(..).collect();
    if entry.dropped > 0 {
        let text = format!("({} events were dropped here)", entry.dropped);
        events.insert(
            0,
            (
                EventKind::Log,
                serde_json::json!({ "text": text }).to_string(),
            ),
        );
        entry.dropped = 0;
    }
    events
}

impl Held {
    /// Cancelled when the job has to stop; [`Held::verdict`] says why.
    #[must_use]
    pub fn stop(&self) -> &CancellationToken {
        &self.stop
    }

    /// Why the job has to stop, if it has to.
    #[must_use]
    pub fn verdict(&self) -> Option<Verdict> {
        self.leases.with(|entries| entries.get(&self.job)?.verdict)
    }

    /// Adds an event; it goes up with the next call.
    pub fn event(&self, kind: EventKind, data: String) {
        self.leases.with(|entries| {
            let Some(entry) = entries.get_mut(&self.job) else {
                return;
            };
            if kind == EventKind::Progress
                && let Some(last) = entry.events.back_mut()
                && last.0 == EventKind::Progress
            {
                last.1 = data;
                return;
            }
            if entry.events.len() >= EVENTS_MAX {
                entry.events.pop_front();
                entry.dropped += 1;
            }
            entry.events.push_back((kind, data));
        });
        self.leases.news.notify_one();
    }

    /// Takes the events that have not gone up yet, to send them right before the job is settled.
    #[must_use]
    pub fn take_events(&self) -> Vec<(EventKind, String)> {
        self.leases
            .with(|entries| entries.get_mut(&self.job).map(take_events))
            .unwrap_or_default()
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.leases.with(|entries| entries.remove(&self.job));
    }
}

/// Starts the keeper's thread. It ends when `stop` is cancelled, and drops `alive` then or when it panics.
///
/// # Errors
/// If the system gives no thread, or the URL cannot be read.
pub fn keep(
    config: &RedisConfig,
    leases: Leases,
    board: Board,
    metrics: WorkerMetrics,
    stop: CancellationToken,
    alive: tokio_util::sync::DropGuard,
) -> anyhow::Result<std::thread::JoinHandle<()>> {
    let config = RedisConfig {
        pool_size: 2,
        ..config.clone()
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let thread = std::thread::Builder::new()
        .name("leases".to_owned())
        .spawn(move || {
            let _alive = alive;
            runtime.block_on(async {
                match Queue::new(&config) {
                    Ok(queue) => run(&queue, &leases, &board, &metrics, &stop).await,
                    Err(error) => tracing::error!(error = %error, "the lease keeper cannot start"),
                }
            });
        })?;
    Ok(thread)
}

async fn run(
    queue: &Queue,
    leases: &Leases,
    board: &Board,
    metrics: &WorkerMetrics,
    stop: &CancellationToken,
) {
    let worker = board.info().id;
    let hub = queue.hub();
    let mut hint = hub.watch(queue.keys().control_topic(worker));
    let mut last = Instant::now() - RENEW_EVERY;
    let mut failing = false;
    // Whether the last call told of jobs: then one more tells that they are gone, or the other shards
    // would count them against their tenants for as long as this worker is idle.
    let mut told = false;
    loop {
        let mut hinted = false;
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep_until(last + RENEW_EVERY) => {}
            () = hint.hinted() => {
                board.hinted();
                hinted = true;
            }
            () = leases.news.notified() => tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep_until(last + NEWS_EVERY) => {}
            },
        }
        last = Instant::now();
        let renewals = leases.collect();
        // The claims of an idle slot are a sign of life too; then this one is saved.
        let claims = board.count(SlotState::Idle) > 0 && !board.is_drained();
        if renewals.is_empty() && claims && !hinted && !told {
            continue;
        }
        let info = board.info();
        let call = queue.renew_all(&info, LEASE, &renewals);
        match metrics.redis("renew", call).await {
            Ok(renewed) => {
                metrics.heard(worker);
                failing = false;
                told = !renewals.is_empty();
                board.set_drained(renewed.drained);
                for (renewal, lease) in renewals.iter().zip(renewed.leases) {
                    if leases.judge(renewal, lease) == Some(Verdict::Lost) {
                        metrics.leases_lost.with_label_values(&["renewal"]).inc();
                    }
                }
            }
            Err(error) => {
                if !std::mem::replace(&mut failing, true) {
                    tracing::warn!(
                        error = &error as &dyn std::error::Error,
                        "cannot renew leases; renders go on and this is tried again"
                    );
                }
                leases.put_back(renewals);
                if !matches!(error, QueueError::Unavailable(_)) {
                    tracing::error!(error = %error, "renew failed");
                }
                // Sooner than usual, so that a short outage costs no lease.
                last = Instant::now() - RENEW_EVERY + Duration::from_millis(500);
            }
        }
    }
}
