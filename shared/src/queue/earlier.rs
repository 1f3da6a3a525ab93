//! Whether something was submitted before, asked before it is submitted again.

use super::submit::idempotency_key;
use super::{Enqueued, Queue, QueueError};
use crate::ids::{JobId, TenantId};

impl Queue {
    /// What a submit with this idempotency key would be answered, if there was one before and its job is still there:
    /// [`Enqueued::Exists`] or [`Enqueued::KeyReused`]. For whom it is dear to find out what to submit; the submit
    /// itself judges again.
    ///
    /// # Errors
    /// [`QueueError::Unavailable`], or [`QueueError::Corrupt`] if what is there cannot be read.
    pub async fn submitted_before(
        &self,
        tenant: &TenantId,
        key: &str,
        fingerprint: &str,
    ) -> Result<Option<Enqueued>, QueueError> {
        let keys = self.keys_of_tenant(tenant);
        let mut command = redis::cmd("GET");
        command.arg(keys.idempotency(tenant, &idempotency_key(key)));
        let Some(noted) = self.query::<Option<String>>(&command).await? else {
            return Ok(None);
        };
        let parts = noted.split_once(' ');
        let (id, earlier) =
            parts.ok_or_else(|| QueueError::Corrupt("an idempotency key".to_owned()))?;
        let id = JobId::from_short(id)?;
        if !self
            .query::<bool>(redis::cmd("EXISTS").arg(keys.job(id)))
            .await?
        {
            return Ok(None);
        }
        Ok(Some(if earlier == fingerprint {
            Enqueued::Exists(id)
        } else {
            Enqueued::KeyReused(id)
        }))
    }
}
