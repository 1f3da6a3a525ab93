//! The queue's transitions against a real Redis.

use std::collections::BTreeMap;
use std::sync::LazyLock;
use std::time::Duration;

use manimq_shared::ids::{JobId, TenantId, WorkerId};
use manimq_shared::job::{
    AttemptOutcome, FailureClass, JobError, JobInput, JobRequest, JobResult, Lane, Status,
};
use manimq_shared::queue::{
    CancelOutcome, Claim, Enqueued, EventKind, LEASE, LIBRARY, Lease, NewJob, Queue, QueueError,
    Quotas, RedisConfig, Renewal, Settled, WorkerInfo, failed,
};
use manimq_shared::testing::{Redis, RedisServer, worker};

static SERVER: LazyLock<Redis> = LazyLock::new(Redis::start);

/// A queue of its own on the shared server.
async fn queue() -> Queue {
    let prefix = format!("t{}", WorkerId::generate());
    Queue::connect(&SERVER.config(&prefix)).await.unwrap()
}

fn job(tenant: &TenantId) -> NewJob {
    let request: JobRequest = serde_json::from_value(serde_json::json!({
        "input": {"kind": "code", "source": "x", "scene": "A"}
    }))
    .unwrap();
    NewJob::new(tenant, request)
}

async fn submit(queue: &Queue, tenant: &TenantId) -> JobId {
    let job = job(tenant);
    assert_eq!(
        queue
            .enqueue(tenant, std::slice::from_ref(&job))
            .await
            .unwrap(),
        [Enqueued::Accepted]
    );
    job.id
}

async fn claim_one(queue: &Queue, worker: &WorkerInfo, lease: Duration) -> Option<Claim> {
    queue.claim(worker, 1, lease).await.unwrap().claims.pop()
}

async fn status(queue: &Queue, id: JobId) -> Status {
    queue.read(id).await.unwrap().unwrap().status
}

/// Waits for a state, at most half a minute.
async fn eventually<F: Future<Output = bool>>(what: &str, mut holds: impl FnMut() -> F) {
    for _ in 0..3000 {
        if holds().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{what} did not come true in 30 s");
}

#[tokio::test]
async fn a_job_goes_from_queued_to_succeeded_and_tells_each_step() {
    let (queue, tenant, worker) = (queue().await, TenantId::default(), worker(4));
    let id = submit(&queue, &tenant).await;
    let record = queue.read(id).await.unwrap().unwrap();
    assert_eq!((record.status, record.position), (Status::Queued, Some(1)));
    assert!(record.attempts.is_empty() && record.expires_at.is_none());

    let claim = claim_one(&queue, &worker, LEASE).await.unwrap();
    assert_eq!((claim.job, claim.attempt, claim.epoch.0), (id, 1, 1));
    assert_eq!(*claim.payload.as_ref().unwrap(), record.payload);
    let record = queue.read(id).await.unwrap().unwrap();
    assert_eq!(record.status, Status::Running);
    assert_eq!(record.attempts[0].worker, worker.id);
    assert!(queue.lease_is(id, claim.epoch, &claim.token).await.unwrap());

    let news = Renewal {
        job: id,
        epoch: claim.epoch,
        events: vec![(EventKind::Progress, r#"{"frames_done":7}"#.to_owned())],
    };
    assert_eq!(
        queue.renew(&worker, LEASE, &[news]).await.unwrap(),
        [Lease::Held]
    );
    assert_eq!(
        queue.read(id).await.unwrap().unwrap().progress.frames_done,
        7
    );

    let result = JobResult {
        warnings: vec!["odd".to_owned()],
        ..JobResult::default()
    };
    assert_eq!(
        queue.finish(id, claim.epoch, &result).await.unwrap(),
        Settled::Accepted
    );
    let record = queue.read(id).await.unwrap().unwrap();
    assert_eq!(record.status, Status::Succeeded);
    assert_eq!(record.result, Some(result));
    assert!(record.expires_at.is_some() && record.finished_at.is_some());
    assert_eq!(record.attempts.len(), 1);
    assert_eq!(record.attempts[0].outcome, Some(AttemptOutcome::Succeeded));
    assert!(!queue.lease_is(id, claim.epoch, &claim.token).await.unwrap());

    let kinds: Vec<_> = queue
        .events(id, None, 100)
        .await
        .unwrap()
        .into_iter()
        .map(|event| event.kind)
        .collect();
    assert_eq!(
        kinds,
        [EventKind::Status, EventKind::Progress, EventKind::Done]
    );
    let stats = queue.stats().await.unwrap();
    assert_eq!((stats.ready, stats.running, stats.delayed), (0, 0, 0));
    assert_eq!(stats.workers.len(), 1);
}

#[tokio::test]
async fn a_finish_may_be_repeated_and_a_stale_one_changes_nothing() {
    let (queue, tenant, worker) = (queue().await, TenantId::default(), worker(4));
    let id = submit(&queue, &tenant).await;
    let old = claim_one(&queue, &worker, Duration::from_millis(1))
        .await
        .unwrap();
    eventually("the lease is reaped", || async {
        queue.reap(10).await.unwrap();
        status(&queue, id).await == Status::Queued
    })
    .await;
    let new = claim_one(&queue, &worker, LEASE).await.unwrap();
    assert_eq!((new.job, new.attempt, new.epoch.0), (id, 2, 2));

    let before = queue.read(id).await.unwrap().unwrap();
    let nothing = JobResult::default();
    let stale = failed(JobError::new(FailureClass::SceneError, "stale"));
    assert_eq!(
        queue.finish(id, old.epoch, &nothing).await.unwrap(),
        Settled::Lost
    );
    assert_eq!(
        queue.fail(id, old.epoch, &stale, 0.5).await.unwrap(),
        Settled::Lost
    );
    assert_eq!(
        queue.release(id, old.epoch, "x").await.unwrap(),
        Settled::Lost
    );
    let news = Renewal {
        job: id,
        epoch: old.epoch,
        events: vec![],
    };
    assert_eq!(
        queue.renew(&worker, LEASE, &[news]).await.unwrap(),
        [Lease::Lost]
    );
    assert!(!queue.lease_is(id, old.epoch, &old.token).await.unwrap());
    assert_eq!(
        queue.read(id).await.unwrap().unwrap().revision,
        before.revision
    );

    assert_eq!(
        queue.finish(id, new.epoch, &nothing).await.unwrap(),
        Settled::Accepted
    );
    let once = queue.read(id).await.unwrap().unwrap();
    assert_eq!(
        queue.finish(id, new.epoch, &nothing).await.unwrap(),
        Settled::Accepted
    );
    assert_eq!(
        queue.finish(id, old.epoch, &nothing).await.unwrap(),
        Settled::Lost
    );
    assert_eq!(
        queue.read(id).await.unwrap().unwrap().revision,
        once.revision
    );
    let outcomes: Vec<_> = once.attempts.iter().map(|a| a.outcome.unwrap()).collect();
    assert_eq!(
        outcomes,
        [AttemptOutcome::LostLease, AttemptOutcome::Succeeded]
    );
}

#[tokio::test]
async fn a_job_that_kills_three_workers_becomes_a_dead_letter() {
    let (queue, tenant, worker) = (queue().await, TenantId::default(), worker(4));
    let id = submit(&queue, &tenant).await;
    let brief = Duration::from_millis(1);
    for attempt in 1..=3 {
        let mut claims = vec![];
        while claims.is_empty() {
            claims = queue.claim(&worker, 1, brief).await.unwrap().claims;
        }
        // It was there, and ran the job.
        let sign = Renewal {
            job: id,
            epoch: claims[0].epoch,
            events: vec![],
        };
        let kept = queue.renew(&worker, brief, &[sign]).await.unwrap();
        assert_eq!(kept, [Lease::Held]);
        eventually("the lease is reaped", || async {
            queue.reap(10).await.unwrap();
            status(&queue, id).await != Status::Running
        })
        .await;
        let expected = if attempt < 3 {
            Status::Queued
        } else {
            Status::Failed
        };
        assert_eq!(status(&queue, id).await, expected);
    }
    let record = queue.read(id).await.unwrap().unwrap();
    assert_eq!(record.attempts.len(), 3);
    assert_eq!(
        record.result.unwrap().error.unwrap().class,
        FailureClass::LostWorker
    );
    assert!(claim_one(&queue, &worker, LEASE).await.is_none());
}

#[tokio::test]
async fn claims_of_which_no_worker_heard_end_a_job_only_after_eight() {
    let (queue, tenant, worker) = (queue().await, TenantId::default(), worker(4));
    let id = submit(&queue, &tenant).await;
    for attempt in 1..=8 {
        assert_eq!(status(&queue, id).await, Status::Queued, "{attempt}");
        // Its answer is not looked at, as one that was lost on its way.
        eventually("the job is claimed", || async {
            let claimed = queue.claim(&worker, 1, Duration::from_millis(1)).await;
            !claimed.unwrap().claims.is_empty()
        })
        .await;
        eventually("the lease is reaped", || async {
            queue.reap(10).await.unwrap();
            status(&queue, id).await != Status::Running
        })
        .await;
    }
    let error = queue.read(id).await.unwrap().unwrap().result.unwrap();
    let error = error.error.unwrap();
    assert_eq!(error.class, FailureClass::LostWorker);
    assert!(error.message.contains("8 times"), "{error:?}");
    let hint = error.hint.unwrap();
    assert!(hint.contains("connection to Redis"), "{hint}");
}

#[tokio::test]
async fn our_own_failures_are_retried_later_and_the_users_are_not() {
    let (queue, tenant, worker) = (queue().await, TenantId::default(), worker(4));
    let user = submit(&queue, &tenant).await;
    let claim = claim_one(&queue, &worker, LEASE).await.unwrap();
    let error = failed(JobError::new(FailureClass::SceneError, "division by zero"));
    assert_eq!(
        queue.fail(user, claim.epoch, &error, 0.5).await.unwrap(),
        Settled::Accepted
    );
    assert_eq!(
        queue.fail(user, claim.epoch, &error, 0.5).await.unwrap(),
        Settled::Accepted
    );
    assert_eq!(status(&queue, user).await, Status::Failed);

    let ours = submit(&queue, &tenant).await;
    let error = failed(JobError::new(FailureClass::Internal, "a bug"));
    for attempt in 1..=3 {
        let mut held = Vec::new();
        for _ in 0..3000 {
            let claimed = queue.claim(&worker, 1, LEASE).await.unwrap();
            held = claimed.claims;
            if !held.is_empty() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let claim = held.pop().expect("the retry comes");
        assert_eq!((claim.job, claim.attempt), (ours, attempt));
        let settled = queue.fail(ours, claim.epoch, &error, 0.01).await.unwrap();
        let expected = if attempt < 3 {
            Settled::WillRetry
        } else {
            Settled::Accepted
        };
        assert_eq!(settled, expected);
    }
    let record = queue.read(ours).await.unwrap().unwrap();
    assert_eq!(record.status, Status::Failed);
    assert!(
        record
            .attempts
            .iter()
            .all(|a| a.class == Some(FailureClass::Internal))
    );
}

#[tokio::test]
async fn a_released_job_is_taken_first_and_its_attempt_is_not_counted() {
    let (queue, tenant, worker) = (queue().await, TenantId::default(), worker(4));
    let first = submit(&queue, &tenant).await;
    let claim = claim_one(&queue, &worker, LEASE).await.unwrap();
    let second = submit(&queue, &tenant).await;
    assert_eq!(
        queue.release(first, claim.epoch, "drain").await.unwrap(),
        Settled::Accepted
    );
    let again = claim_one(&queue, &worker, LEASE).await.unwrap();
    assert_eq!((again.job, again.attempt, again.epoch.0), (first, 1, 2));
    assert_eq!(claim_one(&queue, &worker, LEASE).await.unwrap().job, second);
}

#[tokio::test]
async fn cancel_ends_a_waiting_job_at_once_and_asks_a_running_one_to_stop() {
    let (queue, tenant, worker) = (queue().await, TenantId::default(), worker(4));
    let stranger: TenantId = "stranger".parse().unwrap();
    let waiting = submit(&queue, &tenant).await;
    assert_eq!(
        queue.cancel(&stranger, waiting).await.unwrap(),
        CancelOutcome::NotFound
    );
    assert_eq!(
        queue.cancel(&tenant, waiting).await.unwrap(),
        CancelOutcome::Canceled
    );
    assert_eq!(
        queue.cancel(&tenant, waiting).await.unwrap(),
        CancelOutcome::AlreadyTerminal
    );
    assert!(claim_one(&queue, &worker, LEASE).await.is_none());

    let running = submit(&queue, &tenant).await;
    let claim = claim_one(&queue, &worker, LEASE).await.unwrap();
    assert_eq!(
        queue.cancel(&tenant, running).await.unwrap(),
        CancelOutcome::Requested
    );
    let news = Renewal {
        job: running,
        epoch: claim.epoch,
        events: vec![],
    };
    assert_eq!(
        queue.renew(&worker, LEASE, &[news]).await.unwrap(),
        [Lease::Cancel]
    );
    // A result that was ready a moment too late is not published.
    let settled = queue
        .finish(running, claim.epoch, &JobResult::default())
        .await
        .unwrap();
    assert_eq!(settled, Settled::Canceled);
    let record = queue.read(running).await.unwrap().unwrap();
    assert_eq!(record.status, Status::Canceled);
    assert!(record.result.is_none());

    // Cancelled, and its worker dies before it hears of it: no new attempt.
    let orphan = submit(&queue, &tenant).await;
    let _gone = claim_one(&queue, &worker, Duration::from_millis(1))
        .await
        .unwrap();
    queue.cancel(&tenant, orphan).await.unwrap();
    eventually("the orphan is canceled", || async {
        queue.reap(10).await.unwrap();
        status(&queue, orphan).await == Status::Canceled
    })
    .await;
}

#[tokio::test]
async fn the_same_idempotency_key_gives_the_same_job() {
    let (queue, tenant) = (queue().await, TenantId::default());
    let with = |tenant: &TenantId, fingerprint: &str| {
        let mut job = job(tenant);
        job.idempotency = Some(("key 1".to_owned(), fingerprint.to_owned()));
        job
    };
    let (first, again, other) = (with(&tenant, "a"), with(&tenant, "a"), with(&tenant, "b"));
    let replies = queue
        .enqueue(&tenant, &[first.clone(), again, other])
        .await
        .unwrap();
    assert_eq!(
        replies,
        [
            Enqueued::Accepted,
            Enqueued::Exists(first.id),
            Enqueued::KeyReused(first.id)
        ]
    );
    let stranger: TenantId = "stranger".parse().unwrap();
    assert_eq!(
        queue
            .enqueue(&stranger, &[with(&stranger, "a")])
            .await
            .unwrap(),
        [Enqueued::Accepted]
    );
    assert_eq!(queue.stats().await.unwrap().ready, 2);
}

#[tokio::test]
async fn a_tenant_cannot_queue_more_than_its_quota() {
    let (queue, tenant) = (queue().await, TenantId::default());
    let quotas = Quotas {
        queued_max: Some(2),
        ..Quotas::default()
    };
    queue.set_quotas(&tenant, &quotas).await.unwrap();
    assert_eq!(queue.quotas(&tenant).await.unwrap(), quotas);
    let jobs: Vec<_> = (0..4).map(|_| job(&tenant)).collect();
    let replies = queue.enqueue(&tenant, &jobs).await.unwrap();
    let full = Enqueued::Full {
        active: 2,
        limit: 2,
    };
    assert_eq!(
        replies,
        [Enqueued::Accepted, Enqueued::Accepted, full.clone(), full]
    );
    queue.cancel(&tenant, jobs[0].id).await.unwrap();
    assert_eq!(
        queue.enqueue(&tenant, &[job(&tenant)]).await.unwrap(),
        [Enqueued::Accepted]
    );
}

#[tokio::test]
async fn a_delayed_job_starts_when_due_and_a_late_one_expires() {
    let (queue, tenant, worker) = (queue().await, TenantId::default(), worker(4));
    let mut delayed = job(&tenant);
    delayed.delay = Duration::from_millis(200);
    let mut late = job(&tenant);
    late.payload.request.deadline_s = Some(1);
    late.delay = Duration::from_secs(3600);
    queue
        .enqueue(&tenant, &[delayed.clone(), late.clone()])
        .await
        .unwrap();
    assert_eq!(queue.stats().await.unwrap().delayed, 2);
    let first = queue.claim(&worker, 1, LEASE).await.unwrap();
    assert!(first.claims.is_empty());
    assert!(first.wait <= Duration::from_millis(201), "{:?}", first.wait);
    eventually("the delayed job is claimed", || async {
        !queue
            .claim(&worker, 1, LEASE)
            .await
            .unwrap()
            .claims
            .is_empty()
    })
    .await;
    eventually("the late job expires", || async {
        queue.promote(10).await.unwrap();
        status(&queue, late.id).await == Status::Expired
    })
    .await;
    assert_eq!(
        queue.cancel(&tenant, late.id).await.unwrap(),
        CancelOutcome::AlreadyTerminal
    );
}

#[tokio::test]
async fn jobs_of_one_lane_come_in_order_and_tenants_take_turns() {
    // Whose turn it is, is exact within a shard only.
    let config = RedisConfig {
        shards: Some(1),
        ..SERVER.config(&format!("t{}", WorkerId::generate()))
    };
    let queue = Queue::connect(&config).await.unwrap();
    let worker = worker(4);
    let heavy: TenantId = "heavy".parse().unwrap();
    let light: TenantId = "light".parse().unwrap();
    let jobs: Vec<_> = (0..50).map(|_| job(&heavy)).collect();
    queue.enqueue(&heavy, &jobs).await.unwrap();
    let light_job = submit(&queue, &light).await;
    let claims = queue.claim(&worker, 4, LEASE).await.unwrap().claims;
    let order: Vec<_> = claims.iter().map(|claim| claim.job).collect();
    assert!(
        order.contains(&light_job),
        "the light tenant waits for at most one job"
    );
    let of_heavy: Vec<_> = order.into_iter().filter(|id| *id != light_job).collect();
    assert_eq!(of_heavy, jobs[..3].iter().map(|j| j.id).collect::<Vec<_>>());
    assert_eq!(
        queue.read(jobs[3].id).await.unwrap().unwrap().position,
        Some(1)
    );
    assert_eq!(
        queue.read(jobs[9].id).await.unwrap().unwrap().position,
        Some(7)
    );
}

#[tokio::test]
async fn interactive_goes_first_and_batch_does_not_starve() {
    let (queue, tenant, worker) = (queue().await, TenantId::default(), worker(4));
    let in_lane = |lane| {
        let mut job = job(&tenant);
        job.payload.request.lane = lane;
        job
    };
    let batch = in_lane(Lane::Batch);
    queue
        .enqueue(&tenant, std::slice::from_ref(&batch))
        .await
        .unwrap();
    let interactive: Vec<_> = (0..20).map(|_| in_lane(Lane::Interactive)).collect();
    queue.enqueue(&tenant, &interactive).await.unwrap();
    let claims = queue.claim(&worker, 10, LEASE).await.unwrap().claims;
    assert_eq!(claims[0].job, interactive[0].id);
    assert!(claims.iter().any(|claim| claim.job == batch.id));
}

#[tokio::test]
async fn a_parked_worker_is_woken_by_a_new_job() {
    let (queue, tenant, worker) = (queue().await, TenantId::default(), worker(4));
    let mut bell = queue.bell().await.unwrap();
    let nothing = queue.claim(&worker, 1, LEASE).await.unwrap();
    assert!(nothing.claims.is_empty() && nothing.wait > Duration::ZERO);
    let started = std::time::Instant::now();
    let waiter = tokio::spawn(async move { bell.wait(Duration::from_secs(5)).await.unwrap() });
    submit(&queue, &tenant).await;
    assert!(
        waiter.await.unwrap(),
        "woken by the bell, not by the time-out"
    );
    assert!(started.elapsed() < Duration::from_secs(4));
}

#[tokio::test]
async fn functions_of_old_versions_go_when_a_newer_one_is_loaded() {
    let server = Redis::start();
    let queue = Queue::connect(&server.config("mq")).await.unwrap();
    let ask = async |words: &[&str]| {
        let mut command = redis::cmd(words[0]);
        let all = server.every_primary(command.arg(&words[1..])).await;
        format!("{:?}", all.unwrap())
    };
    let libs = queue.keys().libraries();
    for old in ["1", "2", "3"] {
        let name = format!("manimq_old_{old}");
        let code = format!(
            "#!lua name={name}\nredis.register_function('{name}_x', function() return 1 end)"
        );
        ask(&["FUNCTION", "LOAD", &code]).await;
        let mut note = redis::cmd("ZADD");
        let () = queue
            .query(note.arg(&libs).arg(old).arg(&name))
            .await
            .unwrap();
    }
    // As a new version that comes up.
    ask(&["FUNCTION", "DELETE", &LIBRARY.name]).await;
    Queue::connect(&server.config("mq")).await.unwrap();
    let there = ask(&["FUNCTION", "LIST"]).await;
    assert!(there.contains(&LIBRARY.name), "{there}");
    assert!(!there.contains("manimq_old_1"), "{there}");
    assert!(there.contains("manimq_old_2") && there.contains("manimq_old_3"));
    submit(&queue, &TenantId::default()).await;
}

#[tokio::test]
async fn a_watch_is_hinted_at_news_of_its_job_only() {
    let (queue, tenant, worker) = (queue().await, TenantId::default(), worker(4));
    let hub = queue.hub();
    let id = submit(&queue, &tenant).await;
    let mut watch = hub.watch(queue.keys_of(id).job_topic(id));
    // The first hint is that of the subscription itself.
    tokio::time::timeout(Duration::from_secs(10), watch.hinted())
        .await
        .unwrap();
    let claim = claim_one(&queue, &worker, LEASE).await.unwrap();
    tokio::time::timeout(Duration::from_secs(10), watch.hinted())
        .await
        .unwrap();
    queue
        .finish(id, claim.epoch, &JobResult::default())
        .await
        .unwrap();
    tokio::time::timeout(Duration::from_secs(10), watch.hinted())
        .await
        .unwrap();
}

#[tokio::test]
async fn functions_lost_by_a_flush_are_loaded_again() {
    let server = Redis::start();
    let queue = Queue::connect(&server.config("mq")).await.unwrap();
    let flush = redis::cmd("FUNCTION").arg("FLUSH").clone();
    server.every_primary(&flush).await.unwrap();
    assert_eq!(queue.stats().await.unwrap().ready, 0);
}

#[tokio::test]
async fn a_redis_that_may_evict_jobs_is_refused() {
    let server = Redis::start();
    Queue::connect(&server.config("mq")).await.unwrap();
    let mut policy = redis::cmd("CONFIG");
    policy.arg("SET").arg("maxmemory-policy").arg("allkeys-lru");
    server.every_primary(&policy).await.unwrap();
    let error = Queue::connect(&server.config("mq")).await.err().unwrap();
    assert!(
        matches!(&error, QueueError::Configuration(text) if text.contains("noeviction")),
        "{error}"
    );
}

#[tokio::test]
async fn a_full_redis_refuses_new_jobs_and_lets_running_ones_end() {
    let server = Redis::start();
    let queue = Queue::connect(&server.config("mq")).await.unwrap();
    let (tenant, worker) = (TenantId::default(), worker(4));
    let id = submit(&queue, &tenant).await;
    let claim = claim_one(&queue, &worker, LEASE).await.unwrap();
    let mut limit = redis::cmd("CONFIG");
    limit.arg("SET").arg("maxmemory").arg("1mb");
    server.every_primary(&limit).await.unwrap();
    let refused = queue.enqueue(&tenant, &[job(&tenant)]).await;
    assert!(
        refused.as_ref().is_err_and(QueueError::is_full),
        "{refused:?}"
    );
    // Who comes up now finds the functions there, and loads nothing: an operator, or a worker after a crash.
    let queue = Queue::connect(&server.config("mq")).await.unwrap();
    let settled = queue
        .finish(id, claim.epoch, &JobResult::default())
        .await
        .unwrap();
    assert_eq!(settled, Settled::Accepted);
}

#[tokio::test]
async fn nothing_accepted_is_lost_when_redis_restarts() {
    let mut server = Redis::start_durable();
    let queue = Queue::connect(&server.config("mq")).await.unwrap();
    let (tenant, worker) = (TenantId::default(), worker(4));
    let mut states = BTreeMap::new();
    for _ in 0..5 {
        states.insert(submit(&queue, &tenant).await, Status::Queued);
    }
    let claim = claim_one(&queue, &worker, LEASE).await.unwrap();
    states.insert(claim.job, Status::Running);
    server.kill();
    assert!(matches!(
        queue.stats().await,
        Err(QueueError::Unavailable(_))
    ));
    server.restart();
    for (id, expected) in states {
        assert_eq!(status(&queue, id).await, expected);
    }
    let settled = queue
        .finish(claim.job, claim.epoch, &JobResult::default())
        .await
        .unwrap();
    assert_eq!(settled, Settled::Accepted);
    assert_eq!(
        queue.claim(&worker, 10, LEASE).await.unwrap().claims.len(),
        4
    );
}

#[tokio::test]
async fn sorted_sets_that_are_filled_at_once_are_skip_lists_and_hold_nothing_but_their_members() {
    let server = RedisServer::start();
    let queue = Queue::connect(&server.config("mq")).await.unwrap();
    let tenants: Vec<TenantId> = (0..20).map(|i| format!("t{i}").parse().unwrap()).collect();
    for tenant in tenants.iter().chain(&tenants) {
        submit(&queue, tenant).await;
    }
    let claimed = queue.claim(&worker(100), 20, LEASE).await.unwrap().claims;
    assert_eq!(claimed.len(), 20);
    // Each tenant still has a job that waits, and one that runs.
    for set in ["vt", "lease"] {
        let key = format!("{}:{set}", queue.keys().base());
        let mut encoding = redis::cmd("OBJECT");
        encoding.arg("ENCODING").arg(&key);
        let encoding: String = queue.query(&encoding).await.unwrap();
        assert_eq!(encoding, "skiplist", "{set}");
        let members: usize = queue.query(redis::cmd("ZCARD").arg(&key)).await.unwrap();
        assert_eq!(members, 20, "{set}");
    }
    let audit = queue.audit(false).await.unwrap();
    assert_eq!(audit.violations, [""; 0]);
}

#[tokio::test]
async fn a_payload_written_by_another_version_is_an_error_not_a_crash() {
    let (queue, tenant, worker) = (queue().await, TenantId::default(), worker(4));
    let id = submit(&queue, &tenant).await;
    let key = queue.keys_of(id).job(id);
    let mut record: Vec<u8> = queue.query(redis::cmd("GET").arg(&key)).await.unwrap();
    let payload = record.iter().position(|byte| *byte == b'{').unwrap();
    record[payload..].fill(b'7');
    let () = queue
        .query(redis::cmd("SET").arg(&key).arg(record))
        .await
        .unwrap();
    let claim = claim_one(&queue, &worker, LEASE).await.unwrap();
    assert!(matches!(claim.payload, Err(QueueError::Corrupt(_))));
    assert!(matches!(queue.read(id).await, Err(QueueError::Corrupt(_))));
    let input = JobInput::Code {
        source: "x".into(),
        scene: None,
        file_name: None,
        files: Vec::new(),
    };
    assert_eq!(input.kind(), "code");
}

#[tokio::test]
async fn a_connection_cut_while_idle_is_replaced_without_an_error() {
    let server = Redis::start();
    let queue = Queue::connect(&server.config("mq")).await.unwrap();
    let mut kill = redis::cmd("CLIENT");
    kill.arg(&["KILL", "TYPE", "normal", "SKIPME", "yes"]);
    for _ in 0..3 {
        server.every_primary(&kill).await.unwrap();
        for _ in 0..4 {
            assert_eq!(queue.stats().await.unwrap().ready, 0);
        }
    }
}

#[tokio::test]
async fn many_jobs_are_finished_in_one_call_each_for_itself() {
    let (queue, tenant, worker) = (queue().await, TenantId::default(), worker(4));
    let jobs: Vec<_> = (0..3).map(|_| job(&tenant)).collect();
    queue.enqueue(&tenant, &jobs).await.unwrap();
    let claims = queue.claim(&worker, 3, LEASE).await.unwrap().claims;
    let ids: Vec<_> = claims.iter().map(|claim| claim.job).collect();
    assert!(
        claims
            .iter()
            .all(|claim| *claim.payload.as_ref().unwrap() == jobs[0].payload)
    );
    queue.cancel(&tenant, ids[1]).await.unwrap();
    let mut ended: Vec<_> = claims
        .iter()
        .map(|claim| (claim.job, claim.epoch, JobResult::default()))
        .collect();
    ended[2].1.0 += 1;
    ended.push(ended[0].clone());
    assert_eq!(
        queue.finish_many(&ended).await.unwrap(),
        [
            Settled::Accepted,
            Settled::Canceled,
            Settled::Lost,
            Settled::Accepted
        ]
    );
}

#[tokio::test]
async fn a_hundred_calls_to_a_redis_that_hangs_fail_together_and_not_one_after_the_other() {
    let server = RedisServer::start();
    let client = redis::Client::open(server.url()).unwrap();
    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    let queue = Queue::new(&server.config("mq")).unwrap();
    let spin = "local t = redis.call('TIME')[1] while redis.call('TIME')[1] - t < 12 do end";
    tokio::spawn(async move {
        let mut command = redis::cmd("EVAL");
        let _: Result<(), _> = command.arg(spin).arg(0).query_async(&mut connection).await;
    });
    // The server is busy once it no longer answers a new connection at once.
    let answers = || {
        let fast = redis::AsyncConnectionConfig::new()
            .set_connection_timeout(Some(Duration::from_millis(100)));
        let client = client.clone();
        async move {
            client
                .get_multiplexed_async_connection_with_config(&fast)
                .await
                .is_err()
        }
    };
    eventually("Redis hangs", answers).await;
    let started = std::time::Instant::now();
    let calls = (0..100).map(|_| {
        let queue = queue.clone();
        tokio::spawn(async move { queue.stats().await })
    });
    for call in calls.collect::<Vec<_>>() {
        let answer = call.await.unwrap();
        assert!(
            matches!(answer, Err(QueueError::Unavailable(_))),
            "{answer:?}"
        );
    }
    // One after the other it would be 50 times the three seconds of a connection.
    assert!(
        started.elapsed() < Duration::from_secs(40),
        "{:?}",
        started.elapsed()
    );
}

#[tokio::test]
async fn a_redis_that_wants_a_password_says_where_to_put_it() {
    let server = RedisServer::start();
    let client = redis::Client::open(server.url()).unwrap();
    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    let mut command = redis::cmd("CONFIG");
    command.arg("SET").arg("requirepass").arg("secret-1");
    let () = command.query_async(&mut connection).await.unwrap();
    let error = Queue::connect(&server.config("mq")).await.err().unwrap();
    assert!(
        matches!(&error, QueueError::Configuration(text) if text.contains("REDIS_URL")),
        "{error}"
    );
}

#[tokio::test]
async fn stray_entries_in_a_stream_starve_no_job() {
    let (queue, tenant, worker) = (queue().await, TenantId::default(), worker(4));
    let stream = format!("{}:q1", queue.keys_of_tenant(&tenant).tenant(&tenant));
    for fields in [["j", "job_nosuchjob"], ["x", "y"]] {
        let mut command = redis::cmd("XADD");
        command.arg(&stream).arg("*").arg(&fields);
        let _: String = queue.query(&command).await.unwrap();
    }
    let id = submit(&queue, &tenant).await;
    eventually("the job is claimed", || async {
        let claims = queue.claim(&worker, 1, LEASE).await.unwrap().claims;
        claims.iter().any(|claim| claim.job == id)
    })
    .await;
}
