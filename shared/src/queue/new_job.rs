//! What is submitted, and what becomes of it.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256};

use super::{Allowance, QuotaPolicy};
use crate::ids::{JobId, TenantId};
use crate::job::JobPayload;

/// One job to enqueue.
#[derive(Debug, Clone)]
pub struct NewJob {
    /// Its id, made by the caller.
    pub id: JobId,
    /// What to do.
    pub payload: JobPayload,
    /// Start no sooner than this from now.
    pub delay: Duration,
    /// A key under which a repeated submit finds the first one's job, with the body's fingerprint.
    pub idempotency: Option<(String, String)>,
    /// What this job renders, if it may share or reuse a render; see [`RenderKey`].
    pub render: Option<RenderKey>,
}

impl NewJob {
    /// A job of `tenant` with a fresh id, that starts as soon as it can and shares no render.
    #[must_use]
    pub fn new(tenant: &TenantId, payload: impl Into<JobPayload>) -> Self {
        Self {
            id: JobId::generate(tenant),
            payload: payload.into(),
            delay: Duration::ZERO,
            idempotency: None,
            render: None,
        }
    }
}

/// Says which jobs of a tenant ask for the same work. Jobs with equal keys and `cache: use` are
/// rendered once: the later wait for the first one on its way, or get the result of one that
/// succeeded, if a renderer like those that are there now made it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RenderKey(pub(super) String);

impl RenderKey {
    /// The key of a request: all of it that says what the result looks like or whether it fails.
    /// `None` if the request's result cannot be another's.
    #[must_use]
    pub fn of(payload: &JobPayload) -> Option<Self> {
        let request = &payload.request;
        // Of a template what the scene gets: how the user wrote it does not matter.
        let what = match (&payload.template, &payload.params) {
            (Some(template), Some(params)) => serde_json::to_value((template, params)),
            _ => serde_json::to_value(&request.input),
        };
        let asked = (what.ok()?, &request.output, request.timeout_s);
        let text = if request.strict {
            serde_json::to_vec(&(asked, "strict"))
        } else {
            serde_json::to_vec(&asked)
        }
        .ok()?;
        Some(Self(URL_SAFE_NO_PAD.encode(&Sha256::digest(text)[..16])))
    }

    /// The text form: 22 letters, digits, `-` and `_`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What became of one [`NewJob`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Enqueued {
    /// Accepted.
    Accepted,
    /// Accepted, and an earlier result answered it: it has succeeded.
    Cached,
    /// A job with the same idempotency key and fingerprint was there before.
    Exists(JobId),
    /// A job with the same idempotency key and another body was there before.
    KeyReused(JobId),
    /// The tenant has as many jobs waiting and running as it may.
    Full {
        /// Jobs that have not ended.
        active: u64,
        /// The quota.
        limit: u64,
    },
    /// A quota over time is used up.
    Limited {
        /// Which.
        policy: QuotaPolicy,
        /// The quota, in the policy's unit.
        limit: u64,
        /// What of it is used now.
        used: u64,
        /// When the same submit would be accepted, if nothing else is submitted meanwhile.
        retry_after: Duration,
    },
    /// The tenant may not ask for this at all.
    Forbidden {
        /// Which allowance.
        allowance: Allowance,
        /// The limit, in the allowance's unit.
        limit: u64,
        /// What was asked for.
        asked: u64,
    },
    /// It asked for an earlier result only, and there is none.
    NotCached,
    /// Nothing speaks against it, but it shall be accepted only together with others, and one of them was refused.
    Withheld,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::JobRequest;

    #[test]
    fn another_size_rate_or_seed_is_other_work_and_the_same_written_otherwise_is_not() {
        let key = |output: serde_json::Value| {
            let request: JobRequest = serde_json::from_value(serde_json::json!({
                "input": {"kind": "code", "source": "x"}, "output": output,
            }))
            .unwrap();
            RenderKey::of(&request.into()).unwrap()
        };
        let films = [
            serde_json::json!({}),
            serde_json::json!({"width": 640, "height": 480}),
            serde_json::json!({"width": 480, "height": 640}),
            serde_json::json!({"fps": 29}),
            serde_json::json!({"fps": 29.97}),
            serde_json::json!({"seed": 0}),
            serde_json::json!({"seed": 1}),
        ];
        for (n, one) in films.iter().enumerate() {
            for other in &films[n + 1..] {
                assert_ne!(key(one.clone()), key(other.clone()), "{one} {other}");
            }
        }
        let whole = serde_json::json!({"fps": 24});
        assert_eq!(key(whole), key(serde_json::json!({"fps": 24.0})));
    }
}
