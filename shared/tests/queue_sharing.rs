//! Renders that several jobs share, results that answer later jobs, what quotas forbid, two versions
//! side by side, and that nothing is left behind.

use std::sync::LazyLock;
use std::time::Duration;

use manimq_shared::ids::{JobId, TenantId, WorkerId};
use manimq_shared::job::{
    CacheMode, FailureClass, JobError, JobInput, JobRequest, JobResult, Quality, Status,
};
use manimq_shared::queue::{
    Allowance, CancelOutcome, Claim, Enqueued, EventKind, LEASE, Lease, NewJob, Queue, Quotas,
    RedisConfig, RenderKey, Renewal, Retention, Settled, WorkerInfo, failed,
};
use manimq_shared::testing::{self, Redis, RedisServer};

static SERVER: LazyLock<Redis> = LazyLock::new(Redis::start);

async fn queue() -> Queue {
    let prefix = format!("s{}", WorkerId::generate());
    Queue::connect(&SERVER.config(&prefix)).await.unwrap()
}

fn worker(renderer: &str) -> WorkerInfo {
    WorkerInfo {
        renderer: renderer.to_owned(),
        ..testing::worker(4)
    }
}

/// A job of the default tenant that may share the render of this source.
fn job(source: &str, cache: CacheMode) -> NewJob {
    let request: JobRequest = serde_json::from_value(serde_json::json!({
        "input": {"kind": "code", "source": source, "scene": "A"}, "cache": cache,
    }))
    .unwrap();
    let job = NewJob::new(&TenantId::default(), request);
    NewJob {
        render: RenderKey::of(&job.payload),
        ..job
    }
}

async fn submit(queue: &Queue, job: &NewJob) -> Enqueued {
    let jobs = std::slice::from_ref(job);
    let mut answers = queue.enqueue(&TenantId::default(), jobs).await.unwrap();
    answers.remove(0)
}

/// A job that was accepted, as one that shares this source.
async fn accepted(queue: &Queue, source: &str) -> JobId {
    let job = job(source, CacheMode::Use);
    assert_eq!(submit(queue, &job).await, Enqueued::Accepted);
    job.id
}

async fn claims(queue: &Queue, worker: &WorkerInfo) -> Vec<Claim> {
    queue.claim(worker, 4, LEASE).await.unwrap().claims
}

async fn status(queue: &Queue, id: JobId) -> Status {
    queue.read(id).await.unwrap().unwrap().status
}

async fn cancel(queue: &Queue, id: JobId) -> CancelOutcome {
    queue.cancel(&TenantId::default(), id).await.unwrap()
}

async fn leased(queue: &Queue, worker: &WorkerInfo, claim: &Claim) -> Lease {
    let news = Renewal {
        job: claim.job,
        epoch: claim.epoch,
        events: vec![],
    };
    queue.renew(worker, LEASE, &[news]).await.unwrap()[0]
}

fn result(words: &str) -> JobResult {
    JobResult {
        warnings: vec![words.to_owned()],
        ..JobResult::default()
    }
}

async fn audited(queue: &Queue) {
    let audit = queue.audit(false).await.unwrap();
    assert_eq!(audit.violations, [""; 0]);
}

#[tokio::test]
async fn identical_work_is_rendered_once_and_all_who_asked_get_the_result() {
    let (queue, worker) = (queue().await, worker("r1"));
    let first = accepted(&queue, "x").await;
    let second = accepted(&queue, "x").await;
    let other = accepted(&queue, "y").await;
    let stats = queue.stats().await.unwrap();
    assert_eq!((stats.ready, stats.following), (2, 1));

    let claimed = claims(&queue, &worker).await;
    let ids: Vec<_> = claimed.iter().map(|claim| claim.job).collect();
    assert_eq!(ids, [first, other], "the second waits for the first");
    let record = queue.read(second).await.unwrap().unwrap();
    assert_eq!(record.status, Status::Running);
    assert_eq!(record.rendered_by, Some(first));
    let news = Renewal {
        job: first,
        epoch: claimed[0].epoch,
        events: vec![(EventKind::Progress, r#"{"frames_done":7}"#.to_owned())],
    };
    queue.renew(&worker, LEASE, &[news]).await.unwrap();
    let record = queue.read(second).await.unwrap().unwrap();
    assert_eq!(record.progress.frames_done, 7);
    // A third one comes while it runs: for who asked it began no sooner than that.
    let third = accepted(&queue, "x").await;
    let begun = queue.read(third).await.unwrap().unwrap();
    assert_eq!(begun.started_at, Some(begun.created_at));
    audited(&queue).await;

    let settled = queue.finish(first, claimed[0].epoch, &result("made")).await;
    assert_eq!(settled.unwrap(), Settled::Accepted);
    for id in [first, second, third] {
        let record = queue.read(id).await.unwrap().unwrap();
        assert_eq!(record.status, Status::Succeeded);
        assert_eq!(record.result, Some(result("made")));
        assert!(record.started_at >= Some(record.created_at), "{record:?}");
        let events = queue.events(id, None, 100).await.unwrap();
        let kinds: Vec<_> = events.iter().map(|event| event.kind).collect();
        let all = [EventKind::Status, EventKind::Progress, EventKind::Done];
        assert_eq!(kinds, all, "each can follow the render");
    }
    let stats = queue.stats().await.unwrap();
    assert_eq!((stats.following, stats.counters["coalesced"]), (0, 2));
    audited(&queue).await;
}

#[tokio::test]
async fn a_render_that_fails_fails_for_all_who_wait_for_it() {
    let (queue, worker) = (queue().await, worker("r1"));
    let first = accepted(&queue, "x").await;
    let second = accepted(&queue, "x").await;
    let claim = claims(&queue, &worker).await.remove(0);
    let theirs = failed(JobError::new(FailureClass::SceneError, "no"));
    queue.fail(first, claim.epoch, &theirs, 0.0).await.unwrap();
    let record = queue.read(second).await.unwrap().unwrap();
    assert_eq!(
        (record.status, record.result),
        (Status::Failed, Some(theirs))
    );
    // A failure answers nobody: the next one is tried.
    accepted(&queue, "x").await;
    assert_eq!(claims(&queue, &worker).await.len(), 1);
    audited(&queue).await;
}

#[tokio::test]
async fn cancelling_one_of_two_that_share_a_render_detaches_only_that_one() {
    // Whichever is cancelled, and whether the render has begun or not.
    for (cancelled, begun) in [(0, false), (0, true), (1, false), (1, true)] {
        let (queue, worker) = (queue().await, worker("r1"));
        let both = [accepted(&queue, "x").await, accepted(&queue, "x").await];
        let mut claim = None;
        if begun {
            claim = claims(&queue, &worker).await.pop();
        }
        assert_eq!(
            cancel(&queue, both[cancelled]).await,
            CancelOutcome::Canceled
        );
        let record = queue.read(both[cancelled]).await.unwrap().unwrap();
        assert_eq!(record.status, Status::Canceled);
        assert!(record.finished_at.is_some());
        let revision = record.revision;
        let again = cancel(&queue, both[cancelled]).await;
        assert_eq!(again, CancelOutcome::AlreadyTerminal);
        audited(&queue).await;
        let claim = match claim {
            Some(claim) => claim,
            None => claims(&queue, &worker).await.pop().expect("it still waits"),
        };
        assert_eq!(leased(&queue, &worker, &claim).await, Lease::Held);
        let settled = queue.finish(claim.job, claim.epoch, &result("made")).await;
        assert_eq!(settled.unwrap(), Settled::Accepted);
        let record = queue.read(both[1 - cancelled]).await.unwrap().unwrap();
        assert_eq!(record.status, Status::Succeeded);
        assert_eq!(record.result, Some(result("made")));
        let record = queue.read(both[cancelled]).await.unwrap().unwrap();
        assert_eq!((record.status, record.result), (Status::Canceled, None));
        assert!(record.revision >= revision);
        let events = queue.events(both[cancelled], None, 100).await.unwrap();
        let ends = events.iter().filter(|e| e.kind == EventKind::Done).count();
        assert_eq!((ends, events.last().unwrap().kind), (1, EventKind::Done));
        audited(&queue).await;
    }
}

#[tokio::test]
async fn a_render_that_nobody_wants_any_more_is_stopped() {
    for begun in [false, true] {
        let (queue, worker) = (queue().await, worker("r1"));
        let both = [accepted(&queue, "x").await, accepted(&queue, "x").await];
        let claim = if begun {
            claims(&queue, &worker).await.pop()
        } else {
            None
        };
        for id in both {
            assert_eq!(cancel(&queue, id).await, CancelOutcome::Canceled);
        }
        if let Some(claim) = claim {
            assert_eq!(leased(&queue, &worker, &claim).await, Lease::Cancel);
            let settled = queue.finish_canceled(claim.job, claim.epoch).await;
            assert_eq!(settled.unwrap(), Settled::Canceled);
        }
        for id in both {
            assert_eq!(status(&queue, id).await, Status::Canceled);
        }
        assert!(claims(&queue, &worker).await.is_empty());
        audited(&queue).await;
    }
}

#[tokio::test]
async fn an_earlier_result_answers_at_once_while_the_renderer_is_the_same() {
    let (queue, old) = (queue().await, worker("manim 1"));
    let only = job("x", CacheMode::Only);
    assert_eq!(submit(&queue, &only).await, Enqueued::NotCached);
    let first = accepted(&queue, "x").await;
    let claim = claims(&queue, &old).await.remove(0);
    queue
        .finish(first, claim.epoch, &result("made"))
        .await
        .unwrap();

    let again = job("x", CacheMode::Use);
    for job in [&again, &job("x", CacheMode::Only)] {
        assert_eq!(submit(&queue, job).await, Enqueued::Cached);
        let record = queue.read(job.id).await.unwrap().unwrap();
        assert_eq!(record.status, Status::Succeeded);
        assert_eq!(record.result, Some(result("made")));
        assert!(record.cached && record.expires_at.is_some());
        assert_eq!(record.rendered_by, Some(first));
        let events = queue.events(job.id, None, 100).await.unwrap();
        assert_eq!(events.len(), 1, "its end: {events:?}");
    }
    assert_eq!(submit(&queue, &again).await, Enqueued::Exists(again.id));
    // Another tenant has no part in it.
    let stranger: TenantId = "stranger".parse().unwrap();
    let theirs = NewJob {
        id: JobId::generate(&stranger),
        ..job("x", CacheMode::Use)
    };
    assert_eq!(
        queue.enqueue(&stranger, &[theirs]).await.unwrap(),
        [Enqueued::Accepted]
    );
    assert_eq!(claims(&queue, &old).await.len(), 1);
    // Nor has who asks for a new one, or whose pictures another version would draw.
    let fresh = job("x", CacheMode::Refresh);
    assert_eq!(submit(&queue, &fresh).await, Enqueued::Accepted);
    let claim = claims(&queue, &old).await.remove(0);
    queue
        .finish(fresh.id, claim.epoch, &result("new"))
        .await
        .unwrap();
    let newest = job("x", CacheMode::Use);
    assert_eq!(submit(&queue, &newest).await, Enqueued::Cached);
    let record = queue.read(newest.id).await.unwrap().unwrap();
    assert_eq!(record.result, Some(result("new")));
    let new = worker("manim 2");
    assert!(claims(&queue, &new).await.is_empty());
    assert_eq!(
        submit(&queue, &job("x", CacheMode::Only)).await,
        Enqueued::NotCached
    );
    accepted(&queue, "x").await;
    audited(&queue).await;
}

#[tokio::test]
async fn no_more_than_a_thousand_are_answered_by_one_render_then_the_next_renders_anew() {
    let (queue, worker) = (queue().await, worker("r1"));
    let first = accepted(&queue, "x").await;
    let claimed = claims(&queue, &worker).await;
    queue
        .finish(first, claimed[0].epoch, &result("first"))
        .await
        .unwrap();
    for _ in 0..10 {
        let jobs: Vec<_> = (0..100).map(|_| job("x", CacheMode::Use)).collect();
        let answers = queue.enqueue(&TenantId::default(), &jobs).await.unwrap();
        assert_eq!(answers, vec![Enqueued::Cached; 100]);
    }
    let anew = accepted(&queue, "x").await;
    let follower = accepted(&queue, "x").await;
    let claimed = claims(&queue, &worker).await;
    assert_eq!(claimed.len(), 1, "the next one waits for it");
    queue
        .finish(anew, claimed[0].epoch, &result("anew"))
        .await
        .unwrap();
    let later = job("x", CacheMode::Use);
    assert_eq!(submit(&queue, &later).await, Enqueued::Cached);
    for id in [follower, later.id] {
        let record = queue.read(id).await.unwrap().unwrap();
        assert_eq!(record.rendered_by, Some(anew));
        assert_eq!(record.result, Some(result("anew")));
    }
    audited(&queue).await;
}

#[tokio::test]
async fn no_more_than_eight_wait_for_one_render() {
    let (queue, worker) = (queue().await, worker("r1"));
    let mut jobs = Vec::new();
    for _ in 0..20 {
        jobs.push(accepted(&queue, "x").await);
    }
    let claimed = claims(&queue, &worker).await;
    assert_eq!(claimed.len(), 3, "9 + 9 + 2");
    for claim in claimed {
        queue
            .finish(claim.job, claim.epoch, &result("made"))
            .await
            .unwrap();
    }
    for id in jobs {
        assert_eq!(status(&queue, id).await, Status::Succeeded);
    }
    audited(&queue).await;
}

#[tokio::test]
async fn what_a_tenant_may_not_ask_for_is_refused_with_the_numbers() {
    let (queue, tenant) = (queue().await, TenantId::default());
    let quotas = Quotas {
        quality_max: Some(Quality::Medium),
        timeout_s_max: Some(600),
        source_bytes_max: Some(10),
        ..Quotas::default()
    };
    queue.set_quotas(&tenant, &quotas).await.unwrap();
    assert_eq!(queue.quotas(&tenant).await.unwrap(), quotas);
    assert_eq!(
        submit(&queue, &job("0123456789", CacheMode::Use)).await,
        Enqueued::Accepted
    );
    let asked = |change: fn(&mut JobRequest)| {
        let mut job = job("x", CacheMode::Use);
        change(&mut job.payload.request);
        job
    };
    let forbidden = |allowance, limit, asked| Enqueued::Forbidden {
        allowance,
        limit,
        asked,
    };
    let cases = [
        (
            asked(|request| request.output.quality = Quality::High),
            forbidden(Allowance::Quality, 1, 2),
        ),
        (
            asked(|request| request.timeout_s = 601),
            forbidden(Allowance::TimeoutSeconds, 600, 601),
        ),
        (
            asked(|request| {
                let JobInput::Code { source, .. } = &mut request.input else {
                    unreachable!("a job with code")
                };
                *source = "x".repeat(11);
            }),
            forbidden(Allowance::SourceBytes, 10, 11),
        ),
    ];
    for (job, refusal) in cases {
        assert_eq!(submit(&queue, &job).await, refusal);
        assert!(
            queue.read(job.id).await.unwrap().is_none(),
            "nothing is left of it"
        );
    }
    let no_code = Quotas {
        code: Some(false),
        ..Quotas::default()
    };
    queue.set_quotas(&tenant, &no_code).await.unwrap();
    assert_eq!(
        submit(&queue, &job("x", CacheMode::Use)).await,
        forbidden(Allowance::Code, 0, 1)
    );
    audited(&queue).await;
}

#[tokio::test]
async fn two_versions_of_the_functions_work_on_one_queue_during_a_roll_out() {
    let prefix = format!("v{}", WorkerId::generate());
    // What both write is looked at in the first.
    let config = RedisConfig {
        shards: Some(1),
        ..SERVER.config(&prefix)
    };
    let old = Queue::connect(&config).await.unwrap();
    let new = Queue::connect_as_next_version(&config).await.unwrap();
    let worker = worker("r1");
    // Each transition of a job by turns in one version and the other.
    for (first, second) in [(&old, &new), (&new, &old)] {
        let id = accepted(first, "x").await;
        let claim = claims(second, &worker).await.remove(0);
        assert_eq!(leased(first, &worker, &claim).await, Lease::Held);
        let released = second.release(id, claim.epoch, "roll-out").await.unwrap();
        assert_eq!(released, Settled::Accepted);
        let claim = claims(first, &worker).await.remove(0);
        let ours = failed(JobError::new(FailureClass::Internal, "no"));
        let retried = second.fail(id, claim.epoch, &ours, 0.0).await.unwrap();
        assert_eq!(retried, Settled::WillRetry);
        let claim = loop {
            if let Some(claim) = claims(second, &worker).await.pop() {
                break claim;
            }
        };
        assert_eq!((claim.job, claim.attempt), (id, 2));
        let stale = first
            .finish(id, manimq_shared::ids::Epoch(1), &result("old"))
            .await;
        assert_eq!(stale.unwrap(), Settled::Lost);
        let ended = first.finish(id, claim.epoch, &result("made")).await;
        assert_eq!(ended.unwrap(), Settled::Accepted);
        for version in [first, second] {
            let record = version.read(id).await.unwrap().unwrap();
            assert_eq!(record.status, Status::Succeeded);
            assert_eq!(record.attempts.len(), 3);
            let JobInput::Code { source, .. } = &record.payload.request.input else {
                unreachable!("a job with code")
            };
            assert_eq!(source, "x");
            audited(version).await;
        }
        let fresh = job("x", CacheMode::Refresh);
        submit(first, &fresh).await;
        assert_eq!(cancel(second, fresh.id).await, CancelOutcome::Canceled);
        // What the new version has written at the end of a state, the old one carries along.
        for state in ["s".to_owned(), format!("t:{}", TenantId::default())] {
            let key = format!("{}:{state}", old.keys().base());
            let value: Vec<u8> = old.query(redis::cmd("GET").arg(&key)).await.unwrap();
            assert!(value.ends_with(b"next"), "{key}: {value:?}");
        }
    }
}

/// What a tenant leaves when all of its jobs have ended and been forgotten is nothing.
#[tokio::test]
async fn redis_is_as_at_the_start_when_all_jobs_have_ended_and_expired() {
    // What a busy machine makes slow would be kept in memory, with its arguments.
    let server = RedisServer::start_with(false, &["--slowlog-log-slower-than", "-1"]);
    let queue = Queue::connect_with_test_clock(&server.config("mq"))
        .await
        .unwrap();
    let mut now = 1_767_574_800_000;
    queue.set_test_clock(now).await.unwrap();
    queue
        .set_retention(Retention {
            succeeded: Duration::from_secs(1),
            others: Duration::from_secs(1),
        })
        .await
        .unwrap();
    let keys = async || -> Vec<String> {
        let mut keys: Vec<String> = queue.query(redis::cmd("KEYS").arg("*")).await.unwrap();
        keys.sort();
        keys
    };
    let memory = async || -> f64 {
        let info: String = queue.query(redis::cmd("INFO").arg("memory")).await.unwrap();
        let dataset = info
            .lines()
            .find_map(|line| line.strip_prefix("used_memory_dataset:"));
        dataset.unwrap().trim().parse().unwrap()
    };
    let worker = WorkerInfo {
        renderer: "r1".to_owned(),
        ..testing::worker(100)
    };
    queue.renew(&worker, LEASE, &[]).await.unwrap();
    let keys_before = keys().await.len();
    let tenants: Vec<TenantId> = (0..20).map(|n| format!("t{n}").parse().unwrap()).collect();
    // The first time its own tables and the functions' memory find their size.
    let mut after = Vec::new();
    for cycle in 0..3usize {
        for round in 0..10 {
            for (n, tenant) in tenants.iter().enumerate() {
                let jobs: Vec<NewJob> = (0..20)
                    .map(|i| {
                        let mut job =
                            job(&format!("{cycle} {n} {round} {}", i / 2), CacheMode::Use);
                        job.id = JobId::generate(tenant);
                        job.idempotency =
                            (i == 7).then(|| (format!("{cycle} {round}"), String::new()));
                        job.delay = Duration::from_millis(if i == 9 { 1 } else { 0 });
                        job.payload.request.deadline_s = (i == 11).then_some(1);
                        job
                    })
                    .collect();
                queue.enqueue(tenant, &jobs).await.unwrap();
                cancel_of(&queue, tenant, &jobs).await;
            }
            // What waits does not expire, however long this takes.
            assert!(keys().await.len() > keys_before + 200);
            now += 2;
            queue.set_test_clock(now).await.unwrap();
            loop {
                let claimed = queue.claim(&worker, 100, LEASE).await.unwrap().claims;
                if claimed.is_empty() {
                    break;
                }
                for claim in claimed {
                    let news = Renewal {
                        job: claim.job,
                        epoch: claim.epoch,
                        events: vec![(EventKind::Log, "{}".to_owned())],
                    };
                    queue.renew(&worker, LEASE, &[news]).await.unwrap();
                    match claim.epoch.0 {
                        1 if round % 3 == 0 => {
                            queue.release(claim.job, claim.epoch, "test").await.unwrap();
                        }
                        _ if round % 4 == 1 => {
                            let theirs = failed(JobError::new(FailureClass::SceneError, "no"));
                            queue
                                .fail(claim.job, claim.epoch, &theirs, 0.0)
                                .await
                                .unwrap();
                        }
                        _ => {
                            queue
                                .finish(claim.job, claim.epoch, &result("made"))
                                .await
                                .unwrap();
                        }
                    }
                }
            }
        }
        assert_eq!(
            queue.stats().await.unwrap().counters["submitted"],
            4000 * (cycle as i64 + 1)
        );
        // A day and more of quiet, with a worker that lives.
        for _ in 0..200 {
            now += 600_000;
            queue.set_test_clock(now).await.unwrap();
            queue.renew(&worker, LEASE, &[]).await.unwrap();
        }
        // The records expire by the server's own clock.
        let mut left = keys().await;
        for _ in 0..600 {
            // What the worker says of itself, and the counters of what was done.
            let lasting = [
                "bell", "clock", "ct", "idle", "libs", "s", "sh", "wkn", "wks",
            ];
            let is_list = |key: &str| {
                let day = key.rsplit_once(":j").map_or("", |(_, day)| day);
                key.contains("}:t:") && !day.is_empty() && day.bytes().all(|b| b.is_ascii_digit())
            };
            // The lists of a day's jobs outlive them by days, and then go by themselves.
            for key in left.iter().filter(|key| is_list(key)) {
                let ttl: i64 = queue.query(redis::cmd("TTL").arg(key)).await.unwrap();
                assert!((1..=777_601).contains(&ttl), "{key}: {ttl}");
                let _: i64 = queue.query(redis::cmd("DEL").arg(key)).await.unwrap();
            }
            left.retain(|key| {
                !key.contains(":wk:")
                    && !is_list(key)
                    && !lasting
                        .iter()
                        .any(|name| key.ends_with(&format!(":{name}")))
            });
            if left.is_empty() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
            left = keys().await;
        }
        assert_eq!(left, [""; 0]);
        // Redis gives the space of its own tables back bit by bit.
        let most = after
            .first()
            .map_or(f64::INFINITY, |first| first + 30_000.0);
        for _ in 0..600 {
            if memory().await < most {
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        after.push(memory().await);
        assert!(after[cycle] < most, "it grows each time: {after:?}");
    }
}

async fn cancel_of(queue: &Queue, tenant: &TenantId, jobs: &[NewJob]) {
    queue.cancel(tenant, jobs[3].id).await.unwrap();
}
