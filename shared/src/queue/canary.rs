//! The canary: whose turn it is to send one, and what came of the last. One for all API processes.

use std::time::Duration;

use jiff::Timestamp;
use redis::FromRedisValue as _;

use super::{Queue, QueueError};

/// What is known of the canaries.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CanaryNote {
    /// When one last succeeded, by Redis' clock, since 1970.
    pub succeeded_at: Option<Duration>,
    /// How long that one took, from submit to film.
    pub took: Duration,
}

impl Queue {
    /// Whether this process shall send the canary of this period: true for one process.
    ///
    /// # Errors
    /// [`QueueError::Unavailable`].
    pub async fn canary_is_mine(&self, period: Duration) -> Result<bool, QueueError> {
        let mut command = redis::cmd("SET");
        command.arg(self.keys().canary_turn()).arg("").arg("NX");
        command
            .arg("PX")
            .arg(u64::try_from(period.as_millis()).unwrap_or(u64::MAX).max(1));
        // Not sent again: a turn whose answer was lost is missed, which is better than two.
        let reply = self.shared.query(&command, false).await?;
        Ok(Option::<String>::from_redis_value(reply)?.is_some())
    }

    /// Notes that a canary succeeded.
    ///
    /// # Errors
    /// [`QueueError::Unavailable`]; safe to repeat.
    pub async fn note_canary(&self, at: Timestamp, took: Duration) -> Result<(), QueueError> {
        let mut command = redis::cmd("SET");
        let text = format!("{} {}", at.as_millisecond(), took.as_millis());
        command.arg(self.keys().canary()).arg(text);
        self.query(&command).await
    }

    /// What came of the canaries.
    ///
    /// # Errors
    /// [`QueueError::Unavailable`].
    pub async fn canary(&self) -> Result<CanaryNote, QueueError> {
        let mut command = redis::cmd("GET");
        command.arg(self.keys().canary());
        let text: Option<String> = self.query(&command).await?;
        let parts = text.as_deref().and_then(|text| text.split_once(' '));
        let ms = |text: &str| text.parse().ok().map(Duration::from_millis);
        Ok(
            parts.map_or_else(CanaryNote::default, |(at, took)| CanaryNote {
                succeeded_at: ms(at),
                took: ms(took).unwrap_or_default(),
            }),
        )
    }
}
