//! What one render of a tenant may use: the operator's word in Redis, then this worker's own.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use manimq_shared::ids::TenantId;
use manimq_shared::queue::{Queue, QueueError, RenderLimits};

/// How long an operator's word is believed: short renders must not cost a question each.
const BELIEVED_FOR: Duration = Duration::from_secs(5);
/// Tenants remembered; more, and all are asked for again.
const TENANTS_MAX: usize = 10_000;

/// Ceilings by tenant. Clones share what they know.
#[derive(Debug, Clone, Default)]
pub struct Ceilings {
    own: RenderLimits,
    known: Arc<Mutex<HashMap<TenantId, (RenderLimits, Instant)>>>,
}

impl Ceilings {
    /// With what this worker gives where nobody says anything else.
    #[must_use]
    pub fn new(own: RenderLimits) -> Self {
        Self {
            own,
            known: Arc::default(),
        }
    }

    /// What a render of `tenant` may use.
    ///
    /// # Errors
    /// Redis cannot say: better no render than one without its limits.
    pub async fn of(&self, queue: &Queue, tenant: &TenantId) -> Result<RenderLimits, QueueError> {
        let now = Instant::now();
        let lock = || self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let known = lock().get(tenant).copied();
        let theirs = match known {
            Some((limits, at)) if now.duration_since(at) < BELIEVED_FOR => limits,
            _ => {
                let limits = queue.render_limits(tenant).await?;
                let mut known = lock();
                if known.len() >= TENANTS_MAX {
                    known.clear();
                }
                known.insert(tenant.clone(), (limits, now));
                limits
            }
        };
        Ok(theirs.or(&self.own))
    }
}
