//! Webhooks in Redis: see `lua/hooks.lua`.

use std::collections::HashMap;
use std::time::Duration;

use jiff::Timestamp;
use redis::{FromRedisValue as _, Value};

use super::call::Args;
use super::error::unexpected;
use super::{Queue, QueueError};
use crate::ids::{JobId, TenantId, WebhookId};
use crate::webhook::{
    DeliveryAttempt, DeliveryState, WEBHOOKS_MAX, Webhook, WebhookEvent, WebhookSettings,
};

/// What became of making or changing a webhook.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WebhookChange {
    /// Done.
    Done,
    /// The tenant has [`WEBHOOKS_MAX`].
    Full,
    /// The tenant has no such webhook.
    NotFound,
    /// It is not what was read: somebody else changed it.
    Stale,
}

/// What became of asking for a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sent {
    /// It will be made; the delivery's id.
    Soon(String),
    /// The webhook is switched off.
    Off,
    /// Too many news of the tenant wait for their webhooks.
    Full,
    /// There is no such webhook or delivery.
    NotFound,
}

/// A delivery that is to be tried now.
#[derive(Debug, Clone)]
pub struct DueDelivery {
    /// Its id; the same for every try.
    pub id: String,
    /// Whose.
    pub tenant: TenantId,
    /// Where to.
    pub webhook: WebhookId,
    /// The webhook's settings.
    pub settings: WebhookSettings,
    /// Of which job; none for a test.
    pub job: Option<JobId>,
    /// What is told.
    pub event: WebhookEvent,
    /// When it happened.
    pub at: Timestamp,
    /// Tries so far.
    pub attempts: u32,
    /// The last of them, oldest first.
    pub log: Vec<DeliveryAttempt>,
}

/// What came of a try.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attempted {
    /// The endpoint took it.
    Delivered,
    /// It did not; once more after this time.
    Retry(Duration),
    /// It did not, and will not be tried again.
    Failed,
    /// It was not tried; again after this time.
    Later(Duration),
}

/// A delivery, as its owner sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// Its id.
    pub id: String,
    /// Of which job; none for a test.
    pub job: Option<JobId>,
    /// What was told.
    pub event: WebhookEvent,
    /// When it happened.
    pub at: Timestamp,
    /// What has become of it.
    pub state: DeliveryState,
    /// Tries so far.
    pub attempts: u32,
    /// The last of them, oldest first.
    pub log: Vec<DeliveryAttempt>,
}

impl Queue {
    /// Makes a webhook.
    ///
    /// # Errors
    /// [`QueueError::Unavailable`]; a repeated one may say [`WebhookChange::Stale`]: it was made.
    pub async fn make_webhook(
        &self,
        tenant: &TenantId,
        id: WebhookId,
        settings: &WebhookSettings,
    ) -> Result<WebhookChange, QueueError> {
        let args = Args::new()
            .text(tenant.as_str())
            .show(id)
            .json(settings)?
            .show(WEBHOOKS_MAX)
            .text("")
            .text("");
        self.set_webhook(tenant, &args).await
    }

    /// Changes a webhook from what was read; nothing is done if somebody else changed it meanwhile.
    /// `on` switches it on (and forgets that it failed) or off.
    ///
    /// # Errors
    /// [`QueueError::Unavailable`].
    pub async fn change_webhook(
        &self,
        tenant: &TenantId,
        id: WebhookId,
        mut settings: WebhookSettings,
        on: Option<bool>,
    ) -> Result<WebhookChange, QueueError> {
        let read = settings.revision;
        settings.revision = read.wrapping_add(1);
        let args = Args::new()
            .text(tenant.as_str())
            .show(id)
            .json(&settings)?
            .show(WEBHOOKS_MAX)
            .show(read)
            .text(on.map_or("", |on| if on { "1" } else { "0" }));
        self.set_webhook(tenant, &args).await
    }

    /// Deletes a webhook with its deliveries; what was taken may still be told. `false` if the
    /// tenant has no such webhook.
    ///
    /// # Errors
    /// [`QueueError::Unavailable`]; safe to repeat.
    pub async fn delete_webhook(
        &self,
        tenant: &TenantId,
        id: WebhookId,
    ) -> Result<bool, QueueError> {
        let args = Args::new()
            .text(tenant.as_str())
            .show(id)
            .text("")
            .show(0)
            .text("")
            .text("");
        let change = self.set_webhook(tenant, &args).await?;
        Ok(change == WebhookChange::Done)
    }

    async fn set_webhook(
        &self,
        tenant: &TenantId,
        args: &Args,
    ) -> Result<WebhookChange, QueueError> {
        let shard = self.shard_of(tenant);
        let reply = self.call(shard, "hook_set", &args.0).await?;
        match String::from_redis_value(reply)?.as_str() {
            "ok" => Ok(WebhookChange::Done),
            "full" => Ok(WebhookChange::Full),
            "none" => Ok(WebhookChange::NotFound),
            "stale" => Ok(WebhookChange::Stale),
            other => Err(unexpected("hook_set", other)),
        }
    }

    /// A tenant's webhooks, oldest first.
    ///
    /// # Errors
    /// [`QueueError::Unavailable`].
    pub async fn webhooks(&self, tenant: &TenantId) -> Result<Vec<Webhook>, QueueError> {
        let keys = self.keys_of_tenant(tenant);
        let mut all = redis::cmd("HGETALL");
        all.arg(keys.webhooks(tenant));
        let mut states = redis::cmd("HGETALL");
        states.arg(keys.webhook_states(tenant));
        let settings: HashMap<String, String> = self.query(&all).await?;
        if settings.is_empty() {
            return Ok(Vec::new());
        }
        let states: HashMap<String, String> = self.query(&states).await?;
        let mut webhooks: Vec<_> = settings
            .iter()
            .filter_map(|(id, text)| webhook(id, text, states.get(id).map(String::as_str)))
            .collect();
        webhooks.sort_by_key(|webhook| webhook.id);
        Ok(webhooks)
    }

    /// One of a tenant's webhooks.
    ///
    /// # Errors
    /// [`QueueError::Unavailable`].
    pub async fn webhook(
        &self,
        tenant: &TenantId,
        id: WebhookId,
    ) -> Result<Option<Webhook>, QueueError> {
        let all = self.webhooks(tenant).await?;
        Ok(all.into_iter().find(|webhook| webhook.id == id))
    }

    /// Asks for a call that nothing but its owner caused: a test, or `delivery` once more.
    ///
    /// # Errors
    /// [`QueueError::Unavailable`]; a repeated test is a second one.
    pub async fn send_webhook(
        &self,
        tenant: &TenantId,
        id: WebhookId,
        delivery: Option<&str>,
    ) -> Result<Sent, QueueError> {
        let args = Args::new()
            .text(tenant.as_str())
            .show(id)
            .text(delivery.unwrap_or_default());
        let shard = self.shard_of(tenant);
        let reply = self.call(shard, "hook_send", &args.0).await?;
        Ok(match String::from_redis_value(reply)?.as_str() {
            "" => Sent::NotFound,
            "off" => Sent::Off,
            "full" => Sent::Full,
            id => Sent::Soon(id.to_owned()),
        })
    }

    /// A webhook's deliveries, newest first, at most `limit`.
    ///
    /// # Errors
    /// [`QueueError::Unavailable`].
    pub async fn deliveries(
        &self,
        tenant: &TenantId,
        id: WebhookId,
        limit: usize,
    ) -> Result<Vec<Delivery>, QueueError> {
        let keys = self.keys_of_tenant(tenant);
        let mut list = redis::cmd("LRANGE");
        list.arg(keys.deliveries(tenant, &id))
            .arg(0)
            .arg(limit.saturating_sub(1));
        let ids: Vec<String> = self.query(&list).await?;
        let mut deliveries = Vec::with_capacity(ids.len());
        for id in ids {
            let mut read = redis::cmd("HGETALL");
            read.arg(keys.delivery(&id));
            let fields: HashMap<String, String> = self.query(&read).await?;
            deliveries.extend(delivery(id, &fields));
        }
        Ok(deliveries)
    }

    /// Takes what a shard's webhooks are to be told now, at most `most`. What is not
    /// [settled](Self::settle_delivery) within `lease` is due again. Also returns how long nothing
    /// else may be due.
    ///
    /// # Errors
    /// [`QueueError::Unavailable`].
    pub async fn take_deliveries(
        &self,
        shard: usize,
        most: usize,
        lease: Duration,
    ) -> Result<(Vec<DueDelivery>, Duration), QueueError> {
        let args = Args::new().show(most).show(lease.as_millis());
        let reply = self.call(shard, "hook_take", &args.0).await?;
        let mut parts = Vec::<Value>::from_redis_value(reply)?.into_iter();
        let wait_ms = u64::from_redis_value(parts.next().unwrap_or(Value::Nil))?;
        let mut due = Vec::new();
        for part in parts {
            let fields = Vec::<String>::from_redis_value(part)?;
            match due_delivery(&fields) {
                Some(delivery) => due.push(delivery),
                None => {
                    tracing::warn!(
                        delivery = fields.first(),
                        "a delivery cannot be read; left alone"
                    );
                }
            }
        }
        Ok((due, Duration::from_millis(wait_ms)))
    }

    /// Notes what came of a try. `off` says why the webhook is switched off by it. Returns whether
    /// that, or a day of nothing but failures, switched it off.
    ///
    /// # Errors
    /// [`QueueError::Unavailable`]; safe to repeat.
    pub async fn settle_delivery(
        &self,
        delivery: &DueDelivery,
        attempted: Attempted,
        log: &[DeliveryAttempt],
        off: Option<&str>,
    ) -> Result<bool, QueueError> {
        let (outcome, pause) = match attempted {
            Attempted::Delivered => ("delivered", Duration::ZERO),
            Attempted::Retry(pause) => ("retry", pause),
            Attempted::Failed => ("failed", Duration::ZERO),
            Attempted::Later(pause) => ("later", pause),
        };
        let args = Args::new()
            .text(&delivery.id)
            .show(delivery.attempts)
            .text(outcome)
            .show(pause.as_millis())
            .json(&log)?
            .text(off.unwrap_or_default());
        let shard = self.shard_of(&delivery.tenant);
        let reply = self.call(shard, "hook_settle", &args.0).await?;
        match String::from_redis_value(reply)?.as_str() {
            "ok" | "stale" => Ok(false),
            "off" => Ok(true),
            other => Err(unexpected("hook_settle", other)),
        }
    }
}

fn millis(text: &str) -> Option<Timestamp> {
    Timestamp::from_millisecond(text.parse().ok()?).ok()
}

/// What an older or newer version wrote and cannot be read is left out, not an error.
fn webhook(id: &str, settings: &str, state: Option<&str>) -> Option<Webhook> {
    let mut parts = state.unwrap_or("0 0 ").splitn(3, ' ');
    let since = parts.next()?;
    let off = parts.next()? == "1";
    let why = parts.next().unwrap_or_default();
    Some(Webhook {
        id: id.parse().ok()?,
        settings: serde_json::from_str(settings).ok()?,
        failing_since: (since != "0").then(|| millis(since)).flatten(),
        off: off.then(|| why.to_owned()),
    })
}

fn delivery(id: String, fields: &HashMap<String, String>) -> Option<Delivery> {
    let field = |name: &str| fields.get(name).map(String::as_str);
    Some(Delivery {
        id,
        job: JobId::from_short(field("j")?).ok(),
        event: WebhookEvent::parse(field("s")?)?,
        at: millis(field("at")?)?,
        state: match field("st")? {
            "pending" => DeliveryState::Pending,
            "delivered" => DeliveryState::Delivered,
            _ => DeliveryState::Failed,
        },
        attempts: field("n")?.parse().ok()?,
        log: serde_json::from_str(field("log")?).ok()?,
    })
}

fn due_delivery(fields: &[String]) -> Option<DueDelivery> {
    let [id, tenant, webhook, settings, job, event, at, attempts, log] = fields else {
        return None;
    };
    Some(DueDelivery {
        id: id.clone(),
        tenant: tenant.parse().ok()?,
        webhook: webhook.parse().ok()?,
        settings: serde_json::from_str(settings).ok()?,
        job: JobId::from_short(job).ok(),
        event: WebhookEvent::parse(event)?,
        at: millis(at)?,
        attempts: attempts.parse().ok()?,
        log: serde_json::from_str(log).ok()?,
    })
}
