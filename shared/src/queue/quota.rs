//! What a tenant may use.

use serde::{Deserialize, Serialize};

use crate::job::Quality;

/// A quota of which some is used and comes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum QuotaPolicy {
    /// Accepted jobs in a minute.
    SubmitsPerMinute,
    /// Accepted jobs in 24 hours.
    SubmitsPerDay,
    /// Seconds of rendering in a day (UTC), metered when an attempt ends; faults of ours are free.
    RenderSecondsPerDay,
    /// Jobs that have not ended.
    QueuedJobs,
}

impl QuotaPolicy {
    /// The name in messages, headers and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::SubmitsPerMinute => "submits_per_minute",
            Self::SubmitsPerDay => "submits_per_day",
            Self::RenderSecondsPerDay => "render_seconds_per_day",
            Self::QueuedJobs => "queued_jobs",
        }
    }

    pub(super) fn parse(text: &str) -> Option<Self> {
        [
            Self::SubmitsPerMinute,
            Self::SubmitsPerDay,
            Self::RenderSecondsPerDay,
        ]
        .into_iter()
        .find(|policy| policy.as_str() == text)
    }
}

/// A quota on what one job may ask for. No waiting helps against it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Allowance {
    /// The largest quality.
    Quality,
    /// The largest time limit of a render, seconds.
    TimeoutSeconds,
    /// The largest source, bytes.
    SourceBytes,
    /// Whether the tenant may send code of its own.
    Code,
}

impl Allowance {
    /// The name of the [`Quotas`] field that says it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Quality => "quality_max",
            Self::TimeoutSeconds => "timeout_s_max",
            Self::SourceBytes => "source_bytes_max",
            Self::Code => "code",
        }
    }

    /// By the name that `enqueue.lua` uses.
    pub(super) fn parse(text: &str) -> Option<Self> {
        match text {
            "quality" => Some(Self::Quality),
            "timeout" => Some(Self::TimeoutSeconds),
            "source" => Some(Self::SourceBytes),
            "code" => Some(Self::Code),
            _ => None,
        }
    }
}

/// What a tenant may use, enforced by the queue for all producers and workers together.
/// `None` is the default of the queue.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Quotas {
    /// Jobs that have not ended (default 1,000).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queued_max: Option<u32>,
    /// Jobs that run at the same time (default: no limit but the slots).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub running_max: Option<u32>,
    /// Jobs accepted per minute, all at once or evenly (default: no limit). At least 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub submits_per_minute: Option<u32>,
    /// Jobs accepted per 24 hours (default: no limit). At least 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub submits_per_day: Option<u32>,
    /// Seconds of rendering per day, UTC (default: no limit). When it is used up, submits are
    /// refused and waiting jobs stay until the next day; what runs may still end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub render_s_per_day: Option<u32>,
    /// Share of the slots against other tenants' when all are busy (default 1). From 0.001 to 1000.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weight: Option<f64>,
    /// Largest quality of a job, or of an exact size as many pixels as it has (default: any).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quality_max: Option<Quality>,
    /// Largest time limit of a render, seconds (default: any).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout_s_max: Option<u32>,
    /// Largest source, bytes (default: any).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source_bytes_max: Option<u32>,
    /// Whether jobs may bring code of their own (default: yes).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<bool>,
}

/// The number of a quality, for comparisons in the functions: larger is larger.
pub(super) fn quality_rank(quality: Quality) -> usize {
    let at = Quality::ALL.iter().position(|other| *other == quality);
    at.unwrap_or(Quality::ALL.len())
}

impl Quotas {
    /// What is wrong with them.
    ///
    /// # Errors
    /// The field and what would be right, for a person.
    pub fn check(&self) -> Result<(), String> {
        if self.submits_per_minute == Some(0) || self.submits_per_day == Some(0) {
            return Err("a rate is at least 1; pause the tenant to stop it".to_owned());
        }
        match self.weight {
            Some(weight) if !(0.001..=1000.0).contains(&weight) => {
                Err(format!("weight {weight} is not in 0.001 to 1000"))
            }
            _ => Ok(()),
        }
    }

    /// In the order of `quotas` in `control.lua`.
    pub(super) fn to_texts(&self) -> [String; 10] {
        let number = |n: Option<u32>| n.map_or_else(String::new, |n| n.to_string());
        [
            number(self.queued_max),
            number(self.running_max),
            number(self.submits_per_minute),
            number(self.submits_per_day),
            number(self.render_s_per_day),
            self.weight.map_or_else(String::new, |w| w.to_string()),
            self.quality_max
                .map_or_else(String::new, |q| quality_rank(q).to_string()),
            number(self.timeout_s_max),
            number(self.source_bytes_max),
            // Code is what exceeds a limit of 0.
            match self.code {
                Some(false) => "0".to_owned(),
                Some(true) => "1".to_owned(),
                None => String::new(),
            },
        ]
    }

    pub(super) fn from_texts(texts: &[String]) -> Self {
        let number = |i: usize| texts.get(i).and_then(|text| text.parse().ok());
        Self {
            queued_max: number(0),
            running_max: number(1),
            submits_per_minute: number(2),
            submits_per_day: number(3),
            render_s_per_day: number(4),
            weight: texts.get(5).and_then(|text| text.parse().ok()),
            quality_max: number(6).and_then(|n| Quality::ALL.get(n as usize).copied()),
            timeout_s_max: number(7),
            source_bytes_max: number(8),
            code: number(9).map(|n| n != 0),
        }
    }
}
