//! How long the machine did not let this process run.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio_util::task::AbortOnDropHandle;

/// Measures for how long this process was not let run.
pub struct StallWatch {
    longest_us: Arc<AtomicU64>,
    _task: AbortOnDropHandle<()>,
}

impl StallWatch {
    pub fn start() -> Self {
        let longest_us = Arc::new(AtomicU64::new(0));
        let longest = Arc::clone(&longest_us);
        let task = tokio::spawn(async move {
            let nap = Duration::from_millis(20);
            loop {
                let began = Instant::now();
                tokio::time::sleep(nap).await;
                let late = began.elapsed().saturating_sub(nap).as_micros();
                longest.fetch_max(u64::try_from(late).unwrap_or(u64::MAX), Ordering::Relaxed);
            }
        });
        Self {
            longest_us,
            _task: AbortOnDropHandle::new(task),
        }
    }

    pub fn longest(&self) -> Duration {
        Duration::from_micros(self.longest_us.load(Ordering::Relaxed))
    }
}
