//! What a tenant uses of its quotas: the numbers of `GET /v1/usage` and of the RateLimit headers.

use std::time::Duration;

use redis::FromRedisValue as _;

use super::call::Args;
use super::error::unexpected;
use super::{Queue, QueueError, QuotaPolicy, Quotas};
use crate::ids::TenantId;
use crate::job::Paused;

/// Jobs that may wait and run when nothing else is set; the same as in `prelude.lua`.
const QUEUED_MAX_DEFAULT: u64 = 1000;
const MINUTE_MS: f64 = 60_000.0;
const DAY_MS: f64 = 86_400_000.0;

/// A quota and what is used of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Used {
    /// Which.
    pub policy: QuotaPolicy,
    /// The quota, in the policy's unit.
    pub limit: u64,
    /// What of it is used now; at most the limit, unless that was lowered.
    pub used: u64,
    /// The time over which it counts; zero if it counts what is there now.
    pub window: Duration,
    /// When more of it is left than now, if nothing is added. Zero where that cannot be said, or nothing is used.
    pub more_in: Duration,
}

impl Used {
    /// What is left.
    #[must_use]
    pub const fn left(&self) -> u64 {
        self.limit.saturating_sub(self.used)
    }
}

/// What a tenant uses.
#[derive(Debug, Clone, PartialEq)]
pub struct QuotaUsage {
    /// Jobs that have not ended.
    pub active: u64,
    /// Of these, how many run.
    pub running: u64,
    /// Time of rendering that counts for today (UTC).
    pub rendered_today: Duration,
    /// What of it an operator has paused; never a lane.
    pub paused: Option<Paused>,
    /// The quotas as they are set.
    pub quotas: Quotas,
    now_ms: f64,
    /// Theoretical arrival times, ms.
    minute: f64,
    day: f64,
}

impl QuotaUsage {
    /// See `usage_of` in `read.lua`.
    pub(super) fn parse(texts: &[String]) -> Result<Self, QueueError> {
        let number = |i: usize| -> Result<f64, QueueError> {
            let text = texts.get(i).map_or("", String::as_str);
            text.parse().map_err(|_| unexpected("usage", text))
        };
        Ok(Self {
            now_ms: number(0)?,
            active: number(1)? as u64,
            running: number(2)? as u64,
            minute: number(3)?,
            day: number(4)?,
            rendered_today: Duration::from_millis(number(5)? as u64),
            paused: texts.get(6).and_then(|text| text.parse().ok()),
            quotas: Quotas::from_texts(texts.get(7..).unwrap_or_default()),
        })
    }

    /// Jobs that may wait and run at the same time.
    #[must_use]
    pub fn queued_max(&self) -> u64 {
        self.quotas.queued_max.map_or(QUEUED_MAX_DEFAULT, u64::from)
    }

    /// Every quota over submits that is set, and the one over jobs that have not ended, which always is.
    #[must_use]
    pub fn used(&self) -> Vec<Used> {
        let mut all = vec![Used {
            policy: QuotaPolicy::QueuedJobs,
            limit: self.queued_max(),
            used: self.active,
            window: Duration::ZERO,
            more_in: Duration::ZERO,
        }];
        let quotas = &self.quotas;
        let rates = [
            (
                QuotaPolicy::SubmitsPerMinute,
                quotas.submits_per_minute,
                self.minute,
                MINUTE_MS,
            ),
            (
                QuotaPolicy::SubmitsPerDay,
                quotas.submits_per_day,
                self.day,
                DAY_MS,
            ),
        ];
        for (policy, limit, arrival, period) in rates {
            let Some(limit) = limit else { continue };
            // As `arrival` in `enqueue.lua`: further ahead than can be was noted by another clock.
            let ahead = arrival - self.now_ms;
            let ahead = if ahead > 2.0 * period {
                0.0
            } else {
                ahead.max(0.0)
            };
            let step = period / f64::from(limit.max(1));
            let used = (ahead / step).ceil().min(limit.into());
            all.push(Used {
                policy,
                limit: limit.into(),
                used: used as u64,
                window: Duration::from_millis(period as u64),
                more_in: Duration::from_millis((ahead - (used - 1.0).max(0.0) * step).ceil() as u64),
            });
        }
        if let Some(limit) = quotas.render_s_per_day {
            all.push(Used {
                policy: QuotaPolicy::RenderSecondsPerDay,
                limit: limit.into(),
                used: self.rendered_today.as_secs(),
                window: Duration::from_millis(DAY_MS as u64),
                // At midnight.
                more_in: Duration::from_millis((DAY_MS - self.now_ms % DAY_MS) as u64),
            });
        }
        all
    }
}

impl Queue {
    /// What a tenant uses of its quotas now.
    ///
    /// # Errors
    /// [`QueueError::Unavailable`].
    pub async fn usage(&self, tenant: &TenantId) -> Result<QuotaUsage, QueueError> {
        let args = Args::new().text(tenant.as_str());
        let reply = self.call(self.shard_of(tenant), "usage", &args.0).await?;
        QuotaUsage::parse(&Vec::from_redis_value(reply)?)
    }
}
