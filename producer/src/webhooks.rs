//! Tells tenants' own servers what became of their jobs.
//!
//! Every API process does this: what happened lies in Redis (`shared/src/queue/lua/hooks.lua`), a
//! process takes what is due under a lease, makes the calls, and notes what came of them. One that
//! dies in between leaves calls that are due again; so an endpoint may hear the same message twice,
//! under the same id.

mod address;
mod call;

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use manimq_shared::ids::{TenantId, WebhookId};
use manimq_shared::queue::{Attempted, DueDelivery};
use manimq_shared::traces::{Below, JobTrace, Span};
use manimq_shared::webhook::DeliveryAttempt;
use tokio::sync::Semaphore;
use tokio::time::sleep;
use tokio_util::task::TaskTracker;

pub use self::address::{Refusal, Targets};
use self::call::Answer;
use crate::api::{App, webhook_body};

/// Pauses between the tries of a delivery (Standard Webhooks, "deliverability"); the first is made
/// at once, the last fails for good.
const PAUSES: [Duration; 7] = [
    Duration::from_secs(5),
    Duration::from_mins(5),
    Duration::from_mins(30),
    Duration::from_hours(2),
    Duration::from_hours(5),
    Duration::from_hours(10),
    Duration::from_hours(10),
];
/// Each pause is longer or shorter by up to this share, so that what failed together does not come
/// back together.
const JITTER: f64 = 0.1;
/// Longest pause that an endpoint may ask for.
const RETRY_AFTER_MAX: Duration = Duration::from_hours(10);
/// Calls at a time, of this process and to one endpoint.
const CALLS_MAX: usize = 64;
const CALLS_PER_WEBHOOK_MAX: usize = 4;
/// When a call to an endpoint that has as many as it may have is tried again: after as long as it lets wait, within
/// these. So one that answers at once is told of hundreds of jobs in seconds, and a thousand messages for one that
/// hangs cost Redis next to nothing.
const BUSY_PAUSE: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(10));
/// Deliveries that are taken in one call, and how long it waits for a place to call from.
const TAKEN_MAX: usize = 32;
const FULL_PAUSE: Duration = Duration::from_secs(1);
/// Longer than a call and noting what came of it can take.
const LEASE: Duration = Duration::from_secs(60);
/// A process looks by itself this often, in case a hint was lost.
const LOOK_EVERY: Duration = Duration::from_secs(30);
/// Pause after Redis was away.
const AWAY_PAUSE: Duration = Duration::from_secs(2);
/// How long calls may still take after the stop.
const DRAIN: Duration = Duration::from_secs(5);
/// Attempts that a delivery remembers.
const LOG_MAX: usize = 10;

/// Makes calls until the API stops, and finishes what has begun if it takes no longer than [`DRAIN`].
pub(crate) async fn run(app: App) {
    let caller = Caller {
        app: app.clone(),
        slots: Arc::new(Semaphore::new(CALLS_MAX)),
        busy: Arc::default(),
        calls: TaskTracker::new(),
    };
    let shards = app.queue().all_keys().len();
    let looks = (0..shards).map(|shard| look_after(&caller, shard));
    futures_util::future::join_all(looks).await;
    caller.calls.close();
    // What is cut off is due again when its lease ends.
    let _ = tokio::time::timeout(DRAIN, caller.calls.wait()).await;
}

/// Takes what is due in one shard, again and again.
async fn look_after(caller: &Caller, shard: usize) {
    let app = &caller.app;
    let topic = app.queue().all_keys()[shard].webhook_topic();
    let mut watch = app.hub().watch(topic);
    loop {
        let pause = match caller.take(shard).await {
            Ok(pause) => pause.min(LOOK_EVERY),
            // Told by the metrics of Redis' errors.
            Err(()) => AWAY_PAUSE,
        };
        tokio::select! {
            () = sleep(pause) => {}
            () = watch.hinted() => {}
            () = app.stop().cancelled() => return,
        }
    }
}

#[derive(Clone)]
struct Caller {
    app: App,
    slots: Arc<Semaphore>,
    /// What is being called.
    busy: Arc<Mutex<BusyNow>>,
    calls: TaskTracker,
}

/// What is being called.
#[derive(Default)]
struct BusyNow {
    webhooks: HashMap<WebhookId, Busy>,
    /// Calls under way by tenant.
    tenants: HashMap<TenantId, usize>,
}

/// An endpoint that is being called.
struct Busy {
    /// Calls under way.
    calls: usize,
    /// When it last answered, or was called first.
    since: Instant,
    /// How long its last answer took.
    took: Duration,
}

/// One of an endpoint's calls.
struct Turn {
    busy: Arc<Mutex<BusyNow>>,
    webhook: WebhookId,
    tenant: TenantId,
    began: Instant,
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut busy = self.busy.lock().expect("no panic while locked");
        if let Some(endpoint) = busy.webhooks.get_mut(&self.webhook) {
            endpoint.calls -= 1;
            endpoint.since = Instant::now();
            endpoint.took = self.began.elapsed();
            if endpoint.calls == 0 {
                busy.webhooks.remove(&self.webhook);
            }
        }
        if let Some(calls) = busy.tenants.get_mut(&self.tenant) {
            *calls -= 1;
            if *calls == 0 {
                busy.tenants.remove(&self.tenant);
            }
        }
    }
}

impl Caller {
    /// Begins what is due; returns how long nothing else may be.
    async fn take(&self, shard: usize) -> Result<Duration, ()> {
        // Places first: what is taken must be called within its lease. Without one, news still become
        // deliveries.
        let mut slots = Vec::new();
        let first = self.slots.clone().acquire_owned();
        tokio::select! {
            first = tokio::time::timeout(FULL_PAUSE, first) => slots.extend(first.ok().and_then(Result::ok)),
            () = self.app.stop().cancelled() => return Ok(Duration::ZERO),
        }
        while (1..TAKEN_MAX).contains(&slots.len())
            && let Ok(slot) = self.slots.clone().try_acquire_owned()
        {
            slots.push(slot);
        }
        let queue = self.app.queue();
        let taken = queue.take_deliveries(shard, slots.len(), LEASE);
        let (due, pause) = self.app.redis("hook_take", taken).await.map_err(drop)?;
        for (delivery, slot) in due.into_iter().zip(slots) {
            let caller = self.clone();
            self.calls.spawn(async move {
                caller.deliver(delivery).await;
                drop(slot);
            });
        }
        Ok(pause)
    }

    /// A turn to call an endpoint, or when to ask again. A tenant has at most as many calls as are free
    /// for the others, so that no few of them take all.
    fn turn(&self, delivery: &DueDelivery) -> Result<Turn, Duration> {
        let free = self.slots.available_permits();
        let mut busy = self.busy.lock().expect("no panic while locked");
        let own = busy.tenants.get(&delivery.tenant).copied().unwrap_or(0);
        if own >= free.max(2) {
            return Err(BUSY_PAUSE.0);
        }
        let endpoint = busy
            .webhooks
            .entry(delivery.webhook)
            .or_insert_with(|| Busy {
                calls: 0,
                since: Instant::now(),
                took: Duration::ZERO,
            });
        if endpoint.calls >= CALLS_PER_WEBHOOK_MAX {
            let slow = endpoint.since.elapsed().max(endpoint.took);
            return Err(slow.clamp(BUSY_PAUSE.0, BUSY_PAUSE.1));
        }
        endpoint.calls += 1;
        busy.tenants.insert(delivery.tenant.clone(), own + 1);
        Ok(Turn {
            busy: Arc::clone(&self.busy),
            webhook: delivery.webhook,
            tenant: delivery.tenant.clone(),
            began: Instant::now(),
        })
    }

    async fn deliver(&self, delivery: DueDelivery) {
        let _turn = match self.turn(&delivery) {
            Ok(turn) => turn,
            Err(pause) => {
                let later = Attempted::Later(pause);
                self.settle(&delivery, later, None, None).await;
                return;
            }
        };
        let at = Timestamp::now();
        let body = match webhook_body(&self.app, &delivery).await {
            Ok(body) => body,
            // Redis went away since: the lease ends by itself.
            Err(error) if error.is_passing() => return,
            Err(error) => {
                tracing::warn!(webhook.id = %delivery.webhook, cause = error.cause_text(), "{} cannot be told: its message cannot be made", delivery.webhook);
                let attempt = DeliveryAttempt {
                    at,
                    took_ms: 0,
                    status: None,
                    error: Some("the message cannot be made: the job cannot be read".to_owned()),
                    answer: None,
                };
                let failed = Attempted::Failed;
                self.settle(&delivery, failed, Some(attempt), None).await;
                return;
            }
        };
        let began = Instant::now();
        let targets = &self.app.parts().webhook_targets;
        let answer = call::make(targets, &delivery, at, body).await;
        let attempt = DeliveryAttempt {
            at,
            took_ms: u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
            status: answer.status,
            error: answer.error(),
            answer: answer.text.clone(),
        };
        self.trace(&delivery, at, &attempt).await;
        let (attempted, off) = judge(&delivery, &answer, jitter());
        self.settle(&delivery, attempted, Some(attempt), off).await;
    }

    /// Tells of a call in its job's trace.
    async fn trace(&self, delivery: &DueDelivery, began: Timestamp, attempt: &DeliveryAttempt) {
        let traces = &self.app.parts().traces;
        let Some(job) = delivery.job.filter(|_| traces.is_on()) else {
            return;
        };
        let read = self.app.queue().read(job);
        let Ok(Some(record)) = self.app.redis("read", read).await else {
            return;
        };
        let trace = JobTrace::of(job, record.payload.traceparent.as_deref());
        traces.tell(&trace, Below::Submit, || {
            Span::since("webhook", began.into())
                .with("job.id", job.to_string())
                .with("webhook.id", delivery.webhook.to_string())
                .with("attempt.n", i64::from(delivery.attempts) + 1)
                .with(
                    "http.response.status_code",
                    i64::from(attempt.status.unwrap_or(0)),
                )
                .failed(attempt.error.clone())
        });
    }

    async fn settle(
        &self,
        delivery: &DueDelivery,
        attempted: Attempted,
        attempt: Option<DeliveryAttempt>,
        off: Option<&str>,
    ) {
        let mut log = delivery.log.clone();
        if attempt.is_some() {
            // Of the answers' texts only the newest is kept.
            log.iter_mut().for_each(|old| old.answer = None);
        }
        log.extend(attempt);
        log.drain(..log.len().saturating_sub(LOG_MAX));
        let queue = self.app.queue();
        let settled = queue.settle_delivery(delivery, attempted, &log, off);
        let switched_off = self.app.redis("hook_settle", settled).await;
        let result = match attempted {
            Attempted::Delivered => "delivered",
            Attempted::Retry(_) => "retry",
            Attempted::Failed => "failed",
            Attempted::Later(_) => return,
        };
        let deliveries = &self.app.metrics().webhook_deliveries;
        deliveries.with_label_values(&[result]).inc();
        if switched_off.unwrap_or(false) {
            tracing::warn!(tenant.id = %delivery.tenant, webhook.id = %delivery.webhook, "{} of {} is switched off: {}", delivery.webhook, delivery.tenant, off.unwrap_or("every call failed for a day"));
        }
    }
}

/// What follows from an answer, and why the endpoint is switched off by it.
fn judge(
    delivery: &DueDelivery,
    answer: &Answer,
    jitter: f64,
) -> (Attempted, Option<&'static str>) {
    if answer.is_taken() {
        return (Attempted::Delivered, None);
    }
    if answer.status == Some(410) {
        let why = "its answer was 410 Gone: it wants no more calls";
        return (Attempted::Failed, Some(why));
    }
    let tried = usize::try_from(delivery.attempts).unwrap_or(usize::MAX);
    let Some(pause) = PAUSES.get(tried) else {
        return (Attempted::Failed, None);
    };
    let pause = pause.mul_f64(1.0 + JITTER * jitter);
    let asked = answer.retry_after.unwrap_or_default().min(RETRY_AFTER_MAX);
    (Attempted::Retry(pause.max(asked)), None)
}

/// From -1 to 1.
fn jitter() -> f64 {
    let mut bytes = [0; 4];
    // Without a random source nothing is spread; that is no reason not to call.
    let _ = getrandom::fill(&mut bytes);
    f64::from(u32::from_le_bytes(bytes)) / f64::from(u32::MAX) * 2.0 - 1.0
}

/// How long a replaced secret signs beside the new one, unless something else is asked for.
pub(crate) const OVERLAP_DEFAULT: SignedDuration = SignedDuration::from_hours(24);

#[cfg(test)]
mod tests {
    use manimq_shared::webhook::{WebhookEvent, WebhookSettings};

    use super::*;

    /// A test's delivery to `url`.
    pub(super) fn delivery_to(url: &str, attempts: u32) -> DueDelivery {
        DueDelivery {
            id: "1_0_wh".into(),
            tenant: "acme".parse().unwrap(),
            webhook: WebhookId::generate(),
            settings: WebhookSettings {
                url: url.into(),
                events: Vec::new(),
                description: String::new(),
                created_at: Timestamp::now(),
                secrets: Vec::new(),
                revision: 0,
            },
            job: None,
            event: WebhookEvent::Test,
            at: Timestamp::now(),
            attempts,
            log: Vec::new(),
        }
    }

    fn delivery(attempts: u32) -> DueDelivery {
        delivery_to("https://example.com", attempts)
    }

    fn answer(status: u16) -> Answer {
        Answer {
            status: Some(status),
            ..Answer::default()
        }
    }

    #[test]
    fn a_call_that_fails_is_repeated_seven_times_in_28_hours_and_then_given_up() {
        let mut total = Duration::ZERO;
        for attempts in 0..7 {
            let (Attempted::Retry(pause), None) = judge(&delivery(attempts), &answer(500), 0.0)
            else {
                panic!("attempt {attempts}");
            };
            total += pause;
        }
        assert_eq!(
            total,
            Duration::from_secs(5 + 60 * (5 + 30 + 120 + 300 + 600 + 600))
        );
        assert_eq!(judge(&delivery(7), &answer(500), 0.0).0, Attempted::Failed);
    }

    #[test]
    fn a_redirect_is_a_failure_and_gone_is_the_end() {
        assert_eq!(
            judge(&delivery(0), &answer(204), 0.0).0,
            Attempted::Delivered
        );
        let (attempted, off) = judge(&delivery(0), &answer(301), 0.0);
        assert!(matches!(attempted, Attempted::Retry(_)) && off.is_none());
        let (attempted, off) = judge(&delivery(0), &answer(410), 0.0);
        assert!(attempted == Attempted::Failed && off.is_some());
    }

    #[test]
    fn an_endpoint_may_ask_for_a_longer_pause_but_not_for_any() {
        for (asked_s, pause_s) in [(1, 5), (60, 60), (1_000_000, 36_000)] {
            let answer = Answer {
                retry_after: Some(Duration::from_secs(asked_s)),
                ..answer(429)
            };
            let (attempted, _) = judge(&delivery(0), &answer, 0.0);
            assert_eq!(attempted, Attempted::Retry(Duration::from_secs(pause_s)));
        }
    }

    #[test]
    fn pauses_are_spread_by_a_tenth() {
        for _ in 0..1000 {
            assert!((-1.0..=1.0).contains(&jitter()));
        }
        let (attempted, _) = judge(&delivery(1), &answer(500), 1.0);
        assert_eq!(attempted, Attempted::Retry(Duration::from_secs(330)));
    }
}
