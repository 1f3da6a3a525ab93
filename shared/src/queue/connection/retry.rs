//! How long a call tries again, and after which pauses.

use std::time::Duration;

use redis::{ErrorKind, RedisError};
use tokio::time::{Instant, sleep};

use super::LANES_MAX;

/// How long to try again what Redis refused, or what found no server, before the caller is told.
const PATIENCE: Duration = Duration::from_millis(1500);
/// The first pause, and the longest.
const PAUSE: (Duration, Duration) = (Duration::from_millis(20), Duration::from_millis(250));
/// Redirections that are followed without a pause: to the new owner, or to the next.
const REDIRECTIONS_AT_ONCE: u32 = 2;

/// The pauses of one call.
pub struct Retry {
    began: Instant,
    deadline: Instant,
    pause: Duration,
    redirections: u32,
    /// How often it may still be sent again without knowing what became of it.
    repeats: usize,
}

impl Retry {
    /// For a call that ends at `deadline`, and does no more if it takes effect twice if `repeat`.
    pub fn until(deadline: Instant, repeat: bool) -> Self {
        Self {
            began: Instant::now(),
            deadline,
            pause: PAUSE.0,
            redirections: 0,
            // A server that was restarted has cut all connections, and each try may find one more.
            repeats: if repeat { LANES_MAX } else { 0 },
        }
    }

    /// Goes on at once with a call that may have taken effect, if it may be sent again.
    ///
    /// # Errors
    /// `error`, if it may not, or if it was silence: more of that would be too long.
    pub fn sent_again(&mut self, error: RedisError) -> Result<(), RedisError> {
        if self.repeats == 0 || error.is_timeout() {
            return Err(error);
        }
        self.repeats -= 1;
        Ok(())
    }

    /// Pauses after what should pass quickly.
    ///
    /// # Errors
    /// `error`, when patience is at its end.
    pub async fn soon(&mut self, error: RedisError) -> Result<(), RedisError> {
        if self.began.elapsed() >= PATIENCE {
            return Err(error);
        }
        self.later(error).await
    }

    /// Pauses after what may take as long as the call.
    ///
    /// # Errors
    /// `error`, when the call's time is up.
    pub async fn later(&mut self, error: RedisError) -> Result<(), RedisError> {
        if Instant::now() + self.pause >= self.deadline {
            return Err(error);
        }
        sleep(self.pause).await;
        self.pause = (self.pause * 2).min(PAUSE.1);
        Ok(())
    }

    /// Goes on at once after the first redirections; servers that disagree are given time.
    ///
    /// # Errors
    /// `error`, when the call's time is up.
    pub async fn redirected(&mut self, error: RedisError) -> Result<(), RedisError> {
        self.redirections += 1;
        if self.redirections <= REDIRECTIONS_AT_ONCE {
            return Ok(());
        }
        self.later(error).await
    }
}

/// Whether an operator must act before another try can do better.
pub fn is_final(error: &RedisError) -> bool {
    matches!(
        error.kind(),
        ErrorKind::InvalidClientConfig | ErrorKind::AuthenticationFailed
    ) || matches!(error.code(), Some("NOAUTH" | "WRONGPASS" | "NOPERM"))
}
