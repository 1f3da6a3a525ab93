//! The pool: claims jobs and hands them to slots.
//!
//! ```text
//! worker
//! ├─ thread "leases"      renews every lease, brings cancels down (leases.rs)
//! ├─ task  claimer        free slots + bell → claim → slot        (this file)
//! │   └─ task  bell       one blocking read at a time, never abandoned half-way
//! ├─ task  slot 0 … n-1   sandbox; attempt after attempt          (slot.rs, attempt.rs)
//! └─ task  server         /metrics, /healthz                      (server.rs)
//! ```
//!
//! An operator's drain is told by `claim` and `renew` (see `Queue::drain`): the claimer waits until it
//! is over, holding the free slots.
//!
//! To stop: `stop` ends the claims; running renders get `drain` to end; then `kill` interrupts
//! them and their jobs go back to the queue, uncounted.

use std::time::Duration;

use manimq_shared::queue::{Bell, LEASE, Looks, Queue, QueueError};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::board::Board;
use crate::metrics::WorkerMetrics;
use crate::slot::Ready;
use crate::spans::trace_of;

/// Pause after a failed claim: doubles from the first to the second.
const RETRY: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// Claims for ready slots until `stop`. Slots that wait then are let go.
pub async fn claim_for_slots(
    queue: Queue,
    board: Board,
    metrics: WorkerMetrics,
    mut ready: mpsc::Receiver<Ready>,
    stop: CancellationToken,
) {
    let (waits, requests) = mpsc::channel(1);
    tokio::spawn(ring_bells(queue.clone(), requests));
    let mut slots: Vec<Ready> = Vec::new();
    let mut pause = RETRY.0;
    // What the last claim promised, if nothing rang since then.
    let mut looks: Option<Looks> = None;
    loop {
        if slots.is_empty() {
            looks = None;
            tokio::select! {
                slot = ready.recv() => match slot {
                    Some(slot) => slots.push(slot),
                    None => break,
                },
                () = stop.cancelled() => break,
            }
        }
        while let Ok(slot) = ready.try_recv() {
            slots.push(slot);
        }
        if stop.is_cancelled() {
            break;
        }
        // Those whose sandbox died meanwhile come again when they have another. If none is left, the token or the look
        // that ended the wait is lost: others look, or are reminded.
        slots.retain(|slot| !slot.is_closed());
        if slots.is_empty() {
            continue;
        }
        let info = board.info();
        let hints = board.hints();
        let call = async {
            match looks.take() {
                Some(looks) => queue.look(&info, slots.len(), LEASE, looks).await,
                None => queue.claim(&info, slots.len(), LEASE).await,
            }
        };
        match metrics.redis("claim", call).await {
            Ok(claimed) => {
                metrics.heard(info.id);
                board.answered();
                pause = RETRY.0;
                let nothing = claimed.claims.is_empty();
                for claim in claimed.claims {
                    tracing::info!(
                        job.id = %claim.job,
                        attempt.n = claim.attempt,
                        lease.epoch = %claim.epoch,
                        tenant.id = %claim.tenant,
                        trace_id = trace_of(&claim).id(),
                        "claimed {}",
                        claim.job
                    );
                    let slot = slots.pop().expect("no more claims than slots");
                    if let Err(claim) = slot.send(claim) {
                        // The slot went away between; its lease must not run out for nothing.
                        let (job, epoch) = (claim.job, claim.epoch);
                        if let Err(error) = queue.release(job, epoch, "its slot is gone").await {
                            tracing::warn!(error = %error, "cannot release {job}");
                        }
                    }
                }
                if claimed.drained {
                    board.set_drained(true);
                    // Off the bell, where it would take tokens from those who may claim. The lease
                    // keeper hears of the end.
                    tokio::select! {
                        () = board.undrained() => {}
                        () = stop.cancelled() => break,
                    }
                } else if nothing {
                    let (reply, rung) = oneshot::channel();
                    if waits.send((claimed.wait, reply)).await.is_err() {
                        break;
                    }
                    tokio::select! {
                        rung = rung => {
                            // A drain that ended meanwhile has taken back what was promised.
                            let quiet = rung == Ok(false) && board.hints() == hints;
                            looks = Some(claimed.looks).filter(|_| quiet);
                        }
                        () = stop.cancelled() => break,
                    }
                }
            }
            Err(error) => {
                if pause == RETRY.0 {
                    let shown = &error as &dyn std::error::Error;
                    tracing::warn!(error = shown, "cannot claim jobs; will try again");
                }
                tokio::select! {
                    () = tokio::time::sleep(pause) => {}
                    () = stop.cancelled() => break,
                }
                pause = (pause * 2).min(RETRY.1);
            }
        }
    }
    board.drain();
}

/// Waits on the bell for the claimer. A read of its own task, so that nobody drops it half-way:
/// an abandoned wait would take a token that then wakes nobody.
async fn ring_bells(queue: Queue, mut requests: mpsc::Receiver<(Duration, oneshot::Sender<bool>)>) {
    let mut bell = None;
    loop {
        let (limit, reply) = tokio::select! {
            request = requests.recv() => match request {
                Some(request) => request,
                None => return,
            },
            // Of several shards' bells, those that did not ring are still waited for.
            error = pass_on(bell.as_mut()) => {
                tracing::debug!(error = %error, "the bell is away");
                bell = None;
                continue;
            }
        };
        let waited = match &mut bell {
            Some(bell) => wait(bell, limit).await,
            None => match queue.bell().await {
                Ok(fresh) => wait(bell.insert(fresh), limit).await,
                Err(error) => Err(error),
            },
        };
        let rung = match waited {
            Ok(rung) => rung,
            Err(error) => {
                tracing::debug!(error = %error, "the bell is away");
                bell = None;
                tokio::time::sleep(RETRY.0).await;
                // Perhaps: whatever waits now has to be looked for.
                true
            }
        };
        let _ = reply.send(rung);
    }
}

async fn pass_on(bell: Option<&mut Bell>) -> QueueError {
    match bell {
        Some(bell) => bell.pass_on().await,
        None => std::future::pending().await,
    }
}

async fn wait(bell: &mut Bell, limit: Duration) -> Result<bool, QueueError> {
    bell.wait(limit).await
}
