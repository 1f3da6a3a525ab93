//! Who follows a tenant's jobs, and webhooks, as far as the queue keeps them.

use std::sync::LazyLock;
use std::time::Duration;

use jiff::Timestamp;
use manimq_shared::ids::{JobId, TenantId, WebhookId, WorkerId};
use manimq_shared::job::{JobRequest, JobResult, Status};
use manimq_shared::queue::{
    Attempted, CancelOutcome, Claim, DueDelivery, Enqueued, LEASE, NewJob, Queue, Renewal, Sent,
    Settled, Told, WebhookChange,
};
use manimq_shared::testing::{Redis, worker};
use manimq_shared::webhook::{
    DatedSecret, DeliveryAttempt, DeliveryState, WebhookEvent, WebhookSecret, WebhookSettings,
};

static SERVER: LazyLock<Redis> = LazyLock::new(Redis::start);
const START: u64 = 1_767_571_200_000;
const CALL_LEASE: Duration = Duration::from_secs(60);

struct Bench {
    queue: Queue,
    now: u64,
    owner: TenantId,
}

impl Bench {
    async fn new() -> Self {
        let prefix = format!("n{}", WorkerId::generate());
        let config = SERVER.config(&prefix);
        let queue = Queue::connect_with_test_clock(&config).await.unwrap();
        queue.set_test_clock(START).await.unwrap();
        let owner = "acme".parse().unwrap();
        Self {
            queue,
            now: START,
            owner,
        }
    }

    async fn pass(&mut self, time: Duration) {
        self.now += u64::try_from(time.as_millis()).unwrap();
        self.queue.set_test_clock(self.now).await.unwrap();
    }

    async fn submit(&self) -> JobId {
        self.submit_of(&self.owner).await
    }

    async fn submit_of(&self, owner: &TenantId) -> JobId {
        let request: JobRequest = serde_json::from_value(serde_json::json!({
            "input": {"kind": "code", "source": "x", "scene": "A"}
        }))
        .unwrap();
        let job = NewJob::new(owner, request);
        let id = job.id;
        let replies = self.queue.enqueue(owner, &[job]).await.unwrap();
        assert_eq!(replies, [Enqueued::Accepted]);
        id
    }

    async fn claim(&self) -> Claim {
        let mut claimed = self.queue.claim(&worker(4), 1, LEASE).await.unwrap();
        claimed.claims.remove(0)
    }

    async fn finish(&self, claim: &Claim) {
        let result = JobResult::default();
        let settled = self.queue.finish(claim.job, claim.epoch, &result).await;
        assert_eq!(settled.unwrap(), Settled::Accepted);
    }

    /// A job from submit to success.
    async fn whole_job(&self) -> JobId {
        let id = self.submit().await;
        let claim = self.claim().await;
        assert_eq!(claim.job, id);
        self.finish(&claim).await;
        id
    }

    /// What is behind a place in the feed.
    async fn told(&self, after: &str) -> Vec<(JobId, Told)> {
        let feed = self.queue.feed(&self.owner, after, 100).await.unwrap();
        let news = feed.expect("nothing is missing").news.into_iter();
        news.map(|news| (news.job, news.told)).collect()
    }

    async fn webhook(&self, events: &[WebhookEvent]) -> WebhookId {
        let id = WebhookId::generate();
        let made = self
            .queue
            .make_webhook(&self.owner, id, &settings(events))
            .await;
        assert_eq!(made.unwrap(), WebhookChange::Done);
        id
    }

    /// What is due, of all shards.
    async fn take(&self) -> Vec<DueDelivery> {
        let mut all = Vec::new();
        for shard in 0..self.queue.all_keys().len() {
            let taken = self.queue.take_deliveries(shard, 100, CALL_LEASE).await;
            all.extend(taken.unwrap().0);
        }
        all
    }

    async fn settle(&self, delivery: &DueDelivery, attempted: Attempted) -> bool {
        let mut log = delivery.log.clone();
        log.push(DeliveryAttempt {
            at: Timestamp::from_millisecond(i64::try_from(self.now).unwrap()).unwrap(),
            took_ms: 3,
            status: Some(500),
            error: Some("HTTP 500".into()),
            answer: None,
        });
        self.queue
            .settle_delivery(delivery, attempted, &log, None)
            .await
            .unwrap()
    }

    async fn audited(&self) {
        assert_eq!(self.queue.audit(false).await.unwrap().violations, [""; 0]);
    }
}

fn settings(events: &[WebhookEvent]) -> WebhookSettings {
    WebhookSettings {
        url: "https://example.com/hook".into(),
        events: events.to_vec(),
        description: "mine".into(),
        created_at: Timestamp::now(),
        secrets: vec![DatedSecret {
            secret: WebhookSecret::generate(),
            until: None,
        }],
        revision: 0,
    }
}

const WHILE: Duration = Duration::from_secs(300);

#[tokio::test]
async fn who_listens_is_told_of_each_status_of_each_job_in_order() {
    let bench = Bench::new().await;
    let unheard = bench.submit().await;
    let place = bench.queue.listen(&bench.owner, WHILE).await.unwrap();
    assert_eq!(bench.told(&place).await, []);
    let first = bench.claim().await;
    assert_eq!(first.job, unheard);
    let second = bench.submit().await;
    let progress = Renewal {
        job: first.job,
        epoch: first.epoch,
        events: vec![(
            manimq_shared::queue::EventKind::Progress,
            r#"{"fraction":0.5}"#.to_owned(),
        )],
    };
    bench
        .queue
        .renew(&worker(4), LEASE, &[progress])
        .await
        .unwrap();
    let told = bench.told(&place).await;
    assert!(
        !told.contains(&(first.job, Told::Progress)),
        "a renewal by another worker is not heard"
    );
    bench.finish(&first).await;
    let canceled = bench.queue.cancel(&bench.owner, second).await.unwrap();
    assert_eq!(canceled, CancelOutcome::Canceled);
    // Of somebody else.
    bench.submit_of(&"other".parse().unwrap()).await;
    assert_eq!(
        bench.told(&place).await,
        [
            (unheard, Told::Status(Status::Running)),
            (second, Told::Status(Status::Queued)),
            (unheard, Told::Status(Status::Succeeded)),
            (second, Told::Status(Status::Canceled)),
        ]
    );
    bench.audited().await;
}

#[tokio::test]
async fn progress_and_the_wish_to_cancel_are_told_too() {
    let bench = Bench::new().await;
    let place = bench.queue.listen(&bench.owner, WHILE).await.unwrap();
    let id = bench.submit().await;
    let me = worker(4);
    let claim = bench
        .queue
        .claim(&me, 1, LEASE)
        .await
        .unwrap()
        .claims
        .remove(0);
    let news = vec![(
        manimq_shared::queue::EventKind::Progress,
        r#"{"fraction":0.5}"#.to_owned(),
    )];
    let renewal = Renewal {
        job: id,
        epoch: claim.epoch,
        events: news,
    };
    bench.queue.renew(&me, LEASE, &[renewal]).await.unwrap();
    bench.queue.cancel(&bench.owner, id).await.unwrap();
    bench.queue.cancel(&bench.owner, id).await.unwrap();
    let told: Vec<_> = bench.told(&place).await.into_iter().map(|t| t.1).collect();
    assert_eq!(
        told,
        [
            Told::Status(Status::Queued),
            Told::Status(Status::Running),
            Told::Progress,
            Told::CancelRequested
        ]
    );
}

#[tokio::test]
async fn a_feed_is_read_page_by_page_and_says_when_something_may_be_missing() {
    let mut bench = Bench::new().await;
    let place = bench.queue.listen(&bench.owner, WHILE).await.unwrap();
    let ids = [
        bench.submit().await,
        bench.submit().await,
        bench.submit().await,
    ];
    let page = bench
        .queue
        .feed(&bench.owner, &place, 2)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(
        page.news.iter().map(|n| n.job).collect::<Vec<_>>(),
        ids[..2]
    );
    let page = bench
        .queue
        .feed(&bench.owner, &page.last, 2)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(
        page.news.iter().map(|n| n.job).collect::<Vec<_>>(),
        ids[2..]
    );
    // Listening on keeps the place.
    let last = bench.queue.listen(&bench.owner, WHILE).await.unwrap();
    assert_eq!(last, page.last);
    assert_eq!(bench.told(&last).await, []);
    // Nobody listens any more: what happens is not kept, and who comes back hears of that.
    bench.pass(WHILE + Duration::from_secs(1)).await;
    bench.submit().await;
    let again = bench.queue.listen(&bench.owner, WHILE).await.unwrap();
    assert_ne!(again, last);
    assert_eq!(
        bench.queue.feed(&bench.owner, &last, 2).await.unwrap(),
        None
    );
    assert_eq!(bench.told(&again).await, []);
    let nowhere = bench.queue.feed(&bench.owner, "7-0", 2).await.unwrap();
    assert_eq!(nowhere, None);
}

#[tokio::test]
async fn a_feed_keeps_a_bounded_number_of_news() {
    let bench = Bench::new().await;
    let place = bench.queue.listen(&bench.owner, WHILE).await.unwrap();
    for _ in 0..60 {
        let mut jobs = Vec::new();
        for _ in 0..100 {
            let request: JobRequest = serde_json::from_value(serde_json::json!({
                "input": {"kind": "code", "source": "x", "scene": "A"}
            }))
            .unwrap();
            jobs.push(NewJob::new(&bench.owner, request));
        }
        for id in jobs
            .iter()
            .map(|job| job.id)
            .zip(bench.queue.enqueue(&bench.owner, &jobs).await.unwrap())
        {
            assert_eq!(id.1, Enqueued::Accepted);
            bench.queue.cancel(&bench.owner, id.0).await.unwrap();
        }
    }
    assert_eq!(
        bench.queue.feed(&bench.owner, &place, 2).await.unwrap(),
        None
    );
    let mut length = redis::cmd("XLEN");
    length.arg(bench.queue.keys_of_tenant(&bench.owner).feed(&bench.owner));
    let length: u64 = bench.queue.query(&length).await.unwrap();
    assert!((5000..5200).contains(&length), "{length}");
}

#[tokio::test]
async fn a_webhook_is_told_of_what_it_asked_for_once() {
    let bench = Bench::new().await;
    let ends = bench.webhook(&WebhookEvent::DEFAULT).await;
    let starts = bench.webhook(&[WebhookEvent::Started]).await;
    let id = bench.whole_job().await;
    let mut due = bench.take().await;
    due.sort_by_key(|delivery| delivery.event != WebhookEvent::Started);
    let seen: Vec<_> = due
        .iter()
        .map(|d| (d.webhook, d.job, d.event, d.attempts))
        .collect();
    assert_eq!(
        seen,
        [
            (starts, Some(id), WebhookEvent::Started, 0),
            (ends, Some(id), WebhookEvent::Succeeded, 0)
        ]
    );
    assert_eq!(due[0].at.as_millisecond(), i64::try_from(START).unwrap());
    assert!(bench.take().await.is_empty(), "taken once");
    for delivery in &due {
        assert!(!bench.settle(delivery, Attempted::Delivered).await);
        assert!(
            !bench.settle(delivery, Attempted::Failed).await,
            "what is settled stays so"
        );
    }
    let list = bench
        .queue
        .deliveries(&bench.owner, ends, 10)
        .await
        .unwrap();
    assert_eq!(list.len(), 1);
    assert_eq!(
        (list[0].state, list[0].attempts, list[0].log.len()),
        (DeliveryState::Delivered, 1, 1)
    );
    bench.audited().await;
}

#[tokio::test]
async fn a_delivery_whose_caller_died_is_due_again_and_the_dead_ones_word_is_stale() {
    let mut bench = Bench::new().await;
    bench.webhook(&WebhookEvent::DEFAULT).await;
    bench.whole_job().await;
    let first = bench.take().await.remove(0);
    bench.pass(CALL_LEASE - Duration::from_millis(1)).await;
    assert!(bench.take().await.is_empty());
    bench.pass(Duration::from_millis(1)).await;
    let second = bench.take().await.remove(0);
    assert_eq!(second.id, first.id, "the same message");
    bench
        .settle(&second, Attempted::Retry(Duration::from_secs(5)))
        .await;
    bench.settle(&first, Attempted::Failed).await;
    bench.pass(Duration::from_secs(5)).await;
    let third = bench.take().await.remove(0);
    assert_eq!((third.attempts, third.log.len()), (1, 1));
    // Not tried, because there was no room: that is no attempt.
    bench
        .settle(&third, Attempted::Later(Duration::from_secs(2)))
        .await;
    bench.pass(Duration::from_secs(2)).await;
    assert_eq!(bench.take().await.remove(0).attempts, 1);
}

#[tokio::test]
async fn a_webhook_that_fails_for_a_day_is_switched_off_with_the_reason_and_works_again_when_it_is_switched_on()
 {
    let mut bench = Bench::new().await;
    let id = bench.webhook(&WebhookEvent::DEFAULT).await;
    bench.whole_job().await;
    let delivery = bench.take().await.remove(0);
    assert!(
        !bench
            .settle(&delivery, Attempted::Retry(Duration::from_hours(25)))
            .await
    );
    let webhook = bench
        .queue
        .webhook(&bench.owner, id)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(
        webhook.failing_since.unwrap().as_millisecond(),
        i64::try_from(START).unwrap()
    );
    assert_eq!(webhook.off, None);
    bench.pass(Duration::from_hours(25)).await;
    let delivery = bench.take().await.remove(0);
    assert!(
        bench.settle(&delivery, Attempted::Failed).await,
        "switched off"
    );
    let webhook = bench
        .queue
        .webhook(&bench.owner, id)
        .await
        .unwrap()
        .unwrap();
    assert!(webhook.off.unwrap().contains("for a day"));
    bench.whole_job().await;
    assert!(bench.take().await.is_empty(), "nothing for one that is off");
    let resent = bench
        .queue
        .send_webhook(&bench.owner, id, Some(&delivery.id))
        .await;
    assert_eq!(resent.unwrap(), Sent::Off);
    let on = async |settings: &WebhookSettings| {
        let change = bench
            .queue
            .change_webhook(&bench.owner, id, settings.clone(), Some(true));
        change.await.unwrap()
    };
    assert_eq!(on(&webhook.settings).await, WebhookChange::Done);
    assert_eq!(
        on(&webhook.settings).await,
        WebhookChange::Stale,
        "it is not what was read"
    );
    let resent = bench
        .queue
        .send_webhook(&bench.owner, id, Some(&delivery.id))
        .await;
    assert_eq!(resent.unwrap(), Sent::Soon(delivery.id.clone()));
    let again = bench.take().await.remove(0);
    assert_eq!(
        (again.id.as_str(), again.attempts),
        (delivery.id.as_str(), 2)
    );
    bench.settle(&again, Attempted::Delivered).await;
    let webhook = bench
        .queue
        .webhook(&bench.owner, id)
        .await
        .unwrap()
        .unwrap();
    assert_eq!((webhook.failing_since, webhook.off), (None, None));
}

#[tokio::test]
async fn a_test_call_goes_to_one_webhook_whatever_it_asked_for() {
    let bench = Bench::new().await;
    let id = bench.webhook(&[WebhookEvent::Failed]).await;
    bench.webhook(&WebhookEvent::DEFAULT).await;
    let Sent::Soon(delivery) = bench
        .queue
        .send_webhook(&bench.owner, id, None)
        .await
        .unwrap()
    else {
        panic!("not sent");
    };
    let due = bench.take().await;
    assert_eq!(due.len(), 1);
    assert_eq!(
        (&due[0].id, due[0].webhook, due[0].job, due[0].event),
        (&delivery, id, None, WebhookEvent::Test)
    );
    let strange = WebhookId::generate();
    let none = bench
        .queue
        .send_webhook(&bench.owner, strange, None)
        .await
        .unwrap();
    assert_eq!(none, Sent::NotFound);
    let others: TenantId = "other".parse().unwrap();
    let none = bench
        .queue
        .send_webhook(&others, id, Some(&delivery))
        .await
        .unwrap();
    assert_eq!(none, Sent::NotFound, "of another tenant");
}

#[tokio::test]
async fn a_tenant_has_a_bounded_number_of_webhooks_and_deliveries_and_deleting_leaves_nothing() {
    let bench = Bench::new().await;
    let ids: Vec<_> = {
        let mut ids = Vec::new();
        for _ in 0..10 {
            ids.push(bench.webhook(&WebhookEvent::DEFAULT).await);
        }
        ids
    };
    let eleventh = bench
        .queue
        .make_webhook(&bench.owner, WebhookId::generate(), &settings(&[]))
        .await;
    assert_eq!(eleventh.unwrap(), WebhookChange::Full);
    let all = bench.queue.webhooks(&bench.owner).await.unwrap();
    assert_eq!(all.iter().map(|w| w.id).collect::<Vec<_>>(), ids);
    for id in &ids[1..] {
        let gone = bench.queue.delete_webhook(&bench.owner, *id).await.unwrap();
        assert!(gone);
        let gone = bench.queue.delete_webhook(&bench.owner, *id).await.unwrap();
        assert!(!gone);
    }
    for _ in 0..1010 {
        bench
            .queue
            .send_webhook(&bench.owner, ids[0], None)
            .await
            .unwrap();
        bench.take().await;
    }
    let list = bench
        .queue
        .deliveries(&bench.owner, ids[0], 2000)
        .await
        .unwrap();
    assert_eq!(list.len(), 1000);
    assert_eq!(
        bench.queue.stats().await.unwrap().counters["hooks_dropped"],
        10
    );
    bench
        .queue
        .delete_webhook(&bench.owner, ids[0])
        .await
        .unwrap();
    let keys = bench.queue.keys_of_tenant(&bench.owner);
    for key in [
        keys.webhooks(&bench.owner),
        keys.webhook_states(&bench.owner),
        keys.deliveries(&bench.owner, &ids[0]),
        keys.delivery(&list[0].id),
        format!("{}:wdue", keys.base()),
    ] {
        let mut exists = redis::cmd("EXISTS");
        let there: bool = bench.queue.query(exists.arg(&key)).await.unwrap();
        assert!(!there, "{key}");
    }
    // Without a webhook, nothing is noted for one.
    bench.whole_job().await;
    let mut length = redis::cmd("XLEN");
    length.arg(keys.webhook_topic().channel);
    let length: u64 = bench.queue.query(&length).await.unwrap();
    assert_eq!(length, 0);
    bench.audited().await;
}

#[tokio::test]
async fn a_quiet_tenant_keeps_its_webhooks() {
    let mut bench = Bench::new().await;
    let id = bench.webhook(&WebhookEvent::DEFAULT).await;
    bench.whole_job().await;
    for delivery in bench.take().await {
        bench.settle(&delivery, Attempted::Delivered).await;
    }
    for _ in 0..30 {
        bench.pass(Duration::from_secs(120)).await;
        bench.queue.renew(&worker(1), LEASE, &[]).await.unwrap();
    }
    bench.whole_job().await;
    let due = bench.take().await;
    assert_eq!(due.len(), 1);
    assert_eq!(due[0].webhook, id);
}
