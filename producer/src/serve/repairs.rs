//! The queue's own repair, a page at a time.

use std::collections::HashSet;
use std::time::Duration;

use manimq_shared::queue::{Cursor, Queue, QueueError};
use tokio_util::sync::CancellationToken;

/// How often each process reminds parked workers of what waits, and audits a page of the queue: one shard's if that is
/// small, else a hundred items of it.
const AUDIT_EVERY: Duration = Duration::from_secs(10);

/// What was told of the queue. What no repair removes is found again in every round, and told once.
#[derive(Default)]
struct Told {
    last_round: HashSet<String>,
    this_round: HashSet<String>,
    /// Why the audit does not go on.
    trouble: Option<String>,
}

impl Told {
    /// Whether this was not found in the last round, nor in this one before.
    fn is_new(&mut self, found: &str) -> bool {
        self.this_round.insert(found.to_owned()) && !self.last_round.contains(found)
    }

    fn round_ended(&mut self) {
        self.last_round = std::mem::take(&mut self.this_round);
    }

    /// Whether this is another trouble than that of the last page.
    fn is_new_trouble(&mut self, trouble: String) -> bool {
        self.trouble.replace(trouble.clone()) != Some(trouble)
    }
}

/// Audits the queue, a page of about a hundred items (0.1 ms of Redis) each time, and repairs what it finds, so that a
/// job which nobody looks at any more does not stay so. Each repair is counted in `manimq_queue_repairs_total`.
pub(super) async fn now_and_then(queue: Queue, stop: CancellationToken) {
    let mut ticks = tokio::time::interval(AUDIT_EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let (mut page, mut told) = (Cursor::default(), Told::default());
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = stop.cancelled() => return,
        }
        // Not given up half-way: a repair is one call.
        let round = async {
            queue.remind().await?;
            queue.audit_page(&page, true).await
        };
        match round.await {
            Ok((audit, next)) => {
                told.trouble = None;
                for violation in audit.violations {
                    if told.is_new(&violation) {
                        tracing::error!("the queue contradicted itself: {violation}");
                    }
                }
                if next.is_none() {
                    told.round_ended();
                }
                page = next.unwrap_or_default();
            }
            // Tried again in a moment.
            Err(QueueError::Unavailable(_)) => {}
            Err(error) => {
                if told.is_new_trouble(error.to_string()) {
                    let error = &error as &dyn std::error::Error;
                    tracing::warn!(error, "the audit of the queue cannot go on");
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_found_in_every_round_is_told_once_and_what_comes_back_again() {
        let mut told = Told::default();
        for (round, found, new) in [
            (1, &["a", "b", "a"][..], &["a", "b"][..]),
            (2, &["a", "c"], &["c"]),
            (3, &["a", "b"], &["b"]),
            (4, &["a"], &[]),
        ] {
            let found = found.iter().copied();
            let said: Vec<_> = found.filter(|found| told.is_new(found)).collect();
            assert_eq!(said, new, "round {round}");
            told.round_ended();
        }
    }

    #[test]
    fn a_trouble_is_told_again_when_it_is_another_one() {
        let mut told = Told::default();
        let new = ["a", "a", "b", "b", "a"].map(|trouble| told.is_new_trouble(trouble.to_owned()));
        assert_eq!(new, [true, false, true, false, true]);
    }
}
