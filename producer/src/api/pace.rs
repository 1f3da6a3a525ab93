//! How often somebody who waits looks, however many hints come.

use std::time::Duration;

use tokio::time::{Instant, sleep};

/// Looks that may follow one another at once: news that matters often comes right behind other news.
const AT_ONCE: u32 = 4;

/// Lets a few looks follow at once, and many only one per pause.
#[derive(Debug)]
pub(super) struct Pace {
    every: Duration,
    /// When all looks so far would be over at one per pause.
    paid: Instant,
}

impl Pace {
    /// At most one look per `every` in the long run.
    pub(super) fn new(every: Duration) -> Self {
        let paid = Instant::now();
        Self { every, paid }
    }

    /// Waits until the next look may be taken.
    pub(super) async fn keep(&mut self) {
        sleep(self.wait(Instant::now())).await;
    }

    /// How long a look that is wanted now has to wait. It is taken for granted that it follows.
    fn wait(&mut self, now: Instant) -> Duration {
        self.paid = self.paid.max(now) + self.every;
        (self.paid - now).saturating_sub(self.every * AT_ONCE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_looks_follow_at_once_and_many_keep_the_pace() {
        let every = Duration::from_millis(50);
        let mut pace = Pace::new(every);
        let mut now = pace.paid;
        let mut look = |idle: Duration| {
            now += idle;
            let wait = pace.wait(now);
            now += wait;
            wait
        };
        for _ in 0..AT_ONCE {
            assert_eq!(look(Duration::ZERO), Duration::ZERO);
        }
        for _ in 0..10 {
            assert_eq!(look(Duration::ZERO), every);
        }
        assert_eq!(look(every / 2), every / 2);
        assert_eq!(look(every), Duration::ZERO);
        assert_eq!(look(Duration::ZERO), every);
    }
}
