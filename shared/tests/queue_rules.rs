//! Rules of the queue that need a clock of their own, each against a real Redis.

use std::collections::HashSet;
use std::sync::LazyLock;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use manimq_shared::ids::{JobId, TenantId, WorkerId};
use manimq_shared::job::{
    AttemptOutcome, FailureClass, JobError, JobInput, JobRequest, JobResult, Lane, Paused, Status,
};
use manimq_shared::queue::{
    Audit, CancelOutcome, Claim, Cursor, DeadFilter, Enqueued, EventKind, LEASE, Lease, NewJob,
    PARK, PauseScope, Queue, QuotaPolicy, Quotas, RedisConfig, RenderKey, Renewal, Rerun,
    Retention, SOON, Settled, WorkerInfo, failed,
};
use manimq_shared::testing::{Redis, worker};

static SERVER: LazyLock<Redis> = LazyLock::new(Redis::start);

/// A Monday, midnight UTC.
const MIDNIGHT: u64 = 1_767_571_200_000;
const START: u64 = MIDNIGHT + 3_600_000;

/// A queue of its own, with its clock at [`START`].
struct Bench {
    queue: Queue,
    config: RedisConfig,
    now: u64,
}

impl Bench {
    async fn new() -> Self {
        Self::on(&SERVER).await
    }

    async fn on(server: &Redis) -> Self {
        Self::with_shards(server, None).await
    }

    /// For what is exact only within a shard, or is looked at where the first one has it.
    async fn of_one_shard() -> Self {
        Self::of_shards(&SERVER, 1).await
    }

    async fn of_shards(server: &Redis, shards: u16) -> Self {
        Self::with_shards(server, Some(shards)).await
    }

    /// Usually as many as the topology has it.
    async fn with_shards(server: &Redis, shards: Option<u16>) -> Self {
        let prefix = format!("t{}", WorkerId::generate());
        let mut config = server.config(&prefix);
        config.shards = shards.or(config.shards);
        let queue = Queue::connect_with_test_clock(&config).await.unwrap();
        queue.set_test_clock(START).await.unwrap();
        let now = START;
        Self { queue, config, now }
    }

    /// As another process has it: nothing is shared but Redis.
    async fn another(&self) -> Queue {
        Queue::connect_with_test_clock(&self.config).await.unwrap()
    }

    async fn pass(&mut self, time: Duration) {
        self.now += u64::try_from(time.as_millis()).unwrap();
        self.queue.set_test_clock(self.now).await.unwrap();
    }

    /// The clock as it was: it had been set ahead.
    async fn set_back(&mut self, time: Duration) {
        self.now -= u64::try_from(time.as_millis()).unwrap();
        self.queue.set_test_clock(self.now).await.unwrap();
    }

    /// The numbers and kinds of a job's events, behind the one with the number `seen`.
    async fn events(&self, id: JobId, seen: u64) -> Vec<(u64, EventKind)> {
        let after = format!("0-{seen}");
        let events = self.queue.events(id, Some(&after), 1000).await.unwrap();
        let number = |id: &str| id.rsplit_once('-').unwrap().1.parse().unwrap();
        events.iter().map(|e| (number(&e.id), e.kind)).collect()
    }

    async fn submit(&self, tenant: &TenantId, jobs: &[NewJob]) -> Vec<Enqueued> {
        self.queue.enqueue(tenant, jobs).await.unwrap()
    }

    async fn claim(&self, worker: &WorkerInfo, n: usize) -> Vec<Claim> {
        self.queue.claim(worker, n, LEASE).await.unwrap().claims
    }

    /// How long a worker shall wait that finds nothing.
    async fn wait(&self, worker: &WorkerInfo) -> Duration {
        let claimed = self.queue.claim(worker, 1, LEASE).await.unwrap();
        assert!(claimed.claims.is_empty());
        claimed.wait
    }

    async fn renew(&self, worker: &WorkerInfo, claims: &[&Claim]) -> Vec<Lease> {
        let news: Vec<_> = claims
            .iter()
            .map(|claim| Renewal {
                job: claim.job,
                epoch: claim.epoch,
                events: vec![],
            })
            .collect();
        self.queue.renew(worker, LEASE, &news).await.unwrap()
    }

    async fn status(&self, id: JobId) -> Status {
        self.queue.read(id).await.unwrap().unwrap().status
    }

    async fn redis<T: redis::FromRedisValue>(&self, command: &redis::Cmd) -> T {
        self.queue.query(command).await.unwrap()
    }

    /// Ends a test: nothing may contradict itself.
    async fn audited(&self) -> Audit {
        let audit = self.queue.audit(false).await.unwrap();
        assert_eq!(audit.violations, [""; 0]);
        audit
    }
}

/// The number that stands after `field` in a section of `INFO`, summed over all servers.
async fn info(server: &Redis, section: &str, field: &str) -> u64 {
    let mut command = redis::cmd("INFO");
    command.arg(section);
    let texts = server.every_primary(&command).await.unwrap();
    let number = |text: redis::Value| -> Option<u64> {
        let text: String = redis::from_redis_value(text).ok()?;
        let (_, rest) = text.split_once(field)?;
        rest.split(|c: char| !c.is_ascii_digit())
            .next()?
            .parse()
            .ok()
    };
    texts.into_iter().filter_map(number).sum()
}

fn tenant(name: &str) -> TenantId {
    name.parse().unwrap()
}

fn job(owner: &TenantId) -> NewJob {
    let request: JobRequest = serde_json::from_value(serde_json::json!({
        "input": {"kind": "code", "source": "x", "scene": "A"}
    }))
    .unwrap();
    NewJob::new(owner, request)
}

fn jobs(owner: &TenantId, n: usize) -> Vec<NewJob> {
    (0..n).map(|_| job(owner)).collect()
}

fn in_lane(owner: &TenantId, lane: Lane) -> NewJob {
    let mut job = job(owner);
    job.payload.request.lane = lane;
    job
}

/// Several of these render once.
fn shared(owner: &TenantId, lane: Lane) -> NewJob {
    let job = in_lane(owner, lane);
    NewJob {
        render: RenderKey::of(&job.payload),
        ..job
    }
}

fn accepted(replies: &[Enqueued]) -> usize {
    replies.iter().filter(|r| **r == Enqueued::Accepted).count()
}

#[tokio::test]
async fn many_jobs_of_a_lane_that_expire_before_anybody_claimed_there_all_end() {
    let mut bench = Bench::new().await;
    let owner = tenant("a");
    let late: Vec<NewJob> = (0..5)
        .map(|_| {
            let mut job = job(&owner);
            job.payload.request.deadline_s = Some(10);
            job
        })
        .collect();
    bench.submit(&owner, &late).await;
    bench.pass(Duration::from_secs(20)).await;
    bench.queue.promote(10).await.unwrap();
    for job in &late {
        assert_eq!(bench.status(job.id).await, Status::Expired);
    }
    bench.audited().await;
}

#[tokio::test]
async fn a_repeated_enqueue_neither_restarts_the_job_nor_lets_its_payload_expire() {
    let bench = Bench::new().await;
    let (owner, worker) = (tenant("a"), worker(4));
    let small = job(&owner);
    let mut large = job(&owner);
    let JobInput::Code { source, .. } = &mut large.payload.request.input else {
        unreachable!("a job with code")
    };
    *source = "x".repeat(100_000);
    let both = [small.clone(), large.clone()];
    assert_eq!(accepted(&bench.submit(&owner, &both).await), 2);
    let claims = bench.claim(&worker, 2).await;
    assert_eq!(claims.len(), 2);
    assert_eq!(
        bench.submit(&owner, &both).await,
        [Enqueued::Exists(small.id), Enqueued::Exists(large.id)]
    );
    for job in &both {
        assert_eq!(bench.status(job.id).await, Status::Running);
        let ttl: i64 = bench
            .redis(redis::cmd("TTL").arg(bench.queue.keys_of(job.id).job(job.id)))
            .await;
        assert_eq!(ttl, -1);
        assert_eq!(
            bench.queue.read(job.id).await.unwrap().unwrap().payload,
            job.payload
        );
    }
    bench
        .queue
        .finish(large.id, claims[1].epoch, &JobResult::default())
        .await
        .unwrap();
    assert_eq!(
        bench.submit(&owner, &both[1..]).await,
        [Enqueued::Exists(large.id)]
    );
    assert!(bench.claim(&worker, 2).await.is_empty());
    bench.audited().await;
}

#[tokio::test]
async fn an_idempotency_key_holds_while_its_job_lives_and_not_without_it() {
    let mut bench = Bench::of_one_shard().await;
    let (owner, worker) = (tenant("a"), worker(4));
    let with_key = || {
        let mut job = job(&owner);
        job.idempotency = Some(("k".repeat(200), "body".to_owned()));
        job
    };
    let mut first = with_key();
    first.delay = Duration::from_secs(3 * 86_400);
    assert_eq!(
        bench.submit(&owner, std::slice::from_ref(&first)).await,
        [Enqueued::Accepted]
    );
    bench.pass(Duration::from_secs(3 * 86_400)).await;
    assert_eq!(
        bench.submit(&owner, &[with_key()]).await,
        [Enqueued::Exists(first.id)]
    );
    let base = bench.queue.keys().base().to_owned();
    let keys: Vec<String> = bench
        .redis(redis::cmd("KEYS").arg(format!("{base}:uq:*")))
        .await;
    let ttl: i64 = bench.redis(redis::cmd("TTL").arg(&keys[0])).await;
    assert_eq!(ttl, -1, "no expiry while the job lives");
    let claim = bench.claim(&worker, 1).await.pop().unwrap();
    bench
        .queue
        .finish(claim.job, claim.epoch, &JobResult::default())
        .await
        .unwrap();
    let ttl: i64 = bench.redis(redis::cmd("TTL").arg(&keys[0])).await;
    assert!((1..=86_400).contains(&ttl), "{ttl}");
    // The record is gone before the key: the key means nothing any more.
    let () = bench
        .redis(redis::cmd("DEL").arg(bench.queue.keys().job(first.id)))
        .await;
    assert_eq!(
        bench.submit(&owner, &[with_key()]).await,
        [Enqueued::Accepted]
    );
    bench.audited().await;
}

#[tokio::test]
async fn only_the_call_that_settled_an_attempt_is_told_so_again() {
    let bench = Bench::new().await;
    let (owner, worker) = (tenant("a"), worker(4));
    bench.submit(&owner, &jobs(&owner, 2)).await;
    let claims = bench.claim(&worker, 2).await;
    let (one, two) = (&claims[0], &claims[1]);
    let ours = failed(JobError::new(FailureClass::Storage, "full"));
    for _ in 0..2 {
        assert_eq!(
            bench
                .queue
                .fail(one.job, one.epoch, &ours, 0.5)
                .await
                .unwrap(),
            Settled::WillRetry
        );
        assert_eq!(
            bench
                .queue
                .release(two.job, two.epoch, "drain")
                .await
                .unwrap(),
            Settled::Accepted
        );
    }
    for claim in [one, two] {
        let late = bench
            .queue
            .finish(claim.job, claim.epoch, &JobResult::default())
            .await;
        assert_eq!(late.unwrap(), Settled::Lost);
        assert_eq!(bench.status(claim.job).await, Status::Queued);
    }
    bench.queue.cancel(&owner, one.job).await.unwrap();
    let again = bench.queue.fail(one.job, one.epoch, &ours, 0.5).await;
    assert_eq!(again.unwrap(), Settled::WillRetry, "the same answer still");
    bench.audited().await;
}

#[tokio::test]
async fn jobs_of_a_dead_worker_run_again_within_fifteen_seconds_while_others_live() {
    let mut bench = Bench::new().await;
    let (owner, dead, alive) = (tenant("a"), worker(4), worker(4));
    bench.submit(&owner, &jobs(&owner, 1)).await;
    let claim = bench.claim(&dead, 1).await.pop().unwrap();
    for _ in 0..5 {
        bench.pass(Duration::from_secs(3)).await;
        if let Some(again) = bench.claim(&alive, 1).await.pop() {
            assert_eq!((again.job, again.epoch.0), (claim.job, 2));
            assert!(bench.now - START <= 15_000);
            bench.audited().await;
            return;
        }
    }
    panic!("the job did not run again within 15 s");
}

#[tokio::test]
async fn a_lone_workers_jobs_run_again_at_most_half_a_lease_after_the_next_worker_comes() {
    for away in [1, 5, 8, 9, 60] {
        let mut bench = Bench::new().await;
        let (owner, dead, next) = (tenant("a"), worker(4), worker(4));
        bench.submit(&owner, &jobs(&owner, 1)).await;
        let claim = bench.claim(&dead, 1).await.pop().unwrap();
        bench.pass(Duration::from_secs(away)).await;
        let limit = 15_000.max(away * 1000 + 6_001);
        loop {
            let claimed = bench.queue.claim(&next, 1, LEASE).await.unwrap();
            if let Some(again) = claimed.claims.first() {
                assert_eq!(again.job, claim.job);
                break;
            }
            assert!(bench.now - START < limit, "away {away} s");
            bench.pass(claimed.wait).await;
        }
        assert!(bench.now - START <= limit, "away {away} s");
        bench.audited().await;
    }
}

#[tokio::test]
async fn after_an_outage_longer_than_a_lease_live_workers_keep_their_jobs() {
    let mut bench = Bench::new().await;
    let owner = tenant("a");
    let workers = [worker(4), worker(4), worker(4)];
    bench.submit(&owner, &jobs(&owner, 3)).await;
    let mut claims = Vec::new();
    for worker in &workers {
        claims.push(bench.claim(worker, 1).await.pop().unwrap());
    }
    bench.pass(Duration::from_secs(40)).await;
    // The first two come back at once, one by a claim; the third never.
    assert!(bench.claim(&workers[0], 1).await.is_empty());
    bench.pass(Duration::from_secs(2)).await;
    for i in 0..2 {
        assert_eq!(bench.renew(&workers[i], &[&claims[i]]).await, [Lease::Held]);
    }
    bench.pass(Duration::from_secs(4)).await;
    let again = bench.claim(&workers[0], 3).await;
    assert_eq!(again.len(), 1);
    assert_eq!(again[0].job, claims[2].job);
    assert_eq!(
        bench.renew(&workers[2], &[&claims[2]]).await,
        [Lease::Lost],
        "the zombie is fenced"
    );
    bench.audited().await;
}

#[tokio::test]
async fn a_slot_that_a_capped_tenant_frees_wakes_a_parked_worker() {
    let bench = Bench::new().await;
    let (owner, busy, parked) = (tenant("a"), worker(1), worker(1));
    let quotas = Quotas {
        running_max: Some(1),
        ..Quotas::default()
    };
    bench.queue.set_quotas(&owner, &quotas).await.unwrap();
    bench.submit(&owner, &jobs(&owner, 2)).await;
    let claim = bench.claim(&busy, 2).await.pop().unwrap();
    assert!(bench.claim(&parked, 1).await.is_empty());
    let mut bell = bench.queue.bell().await.unwrap();
    bench
        .queue
        .finish(claim.job, claim.epoch, &JobResult::default())
        .await
        .unwrap();
    assert!(bell.wait(Duration::from_secs(1)).await.unwrap());
    assert_eq!(bench.claim(&parked, 1).await.len(), 1);
    bench.audited().await;
}

#[tokio::test]
async fn progress_is_beside_the_record_and_ends_with_the_attempt() {
    let bench = Bench::new().await;
    let (owner, worker) = (tenant("a"), worker(4));
    bench.submit(&owner, &jobs(&owner, 1)).await;
    let claim = bench.claim(&worker, 1).await.pop().unwrap();
    let long = format!(
        r#"{{"stage":"rendering","frames_done":9,"eta_s":{}}}"#,
        "1".repeat(60)
    );
    let news = Renewal {
        job: claim.job,
        epoch: claim.epoch,
        events: vec![(EventKind::Progress, long)],
    };
    bench.queue.renew(&worker, LEASE, &[news]).await.unwrap();
    let record = bench.queue.read(claim.job).await.unwrap().unwrap();
    assert_eq!(record.progress.frames_done, 9);
    bench
        .queue
        .finish(claim.job, claim.epoch, &JobResult::default())
        .await
        .unwrap();
    let record = bench.queue.read(claim.job).await.unwrap().unwrap();
    assert_eq!(record.progress.frames_done, 0);
    assert_eq!(record.attempts.len(), 1);
    assert_eq!(record.attempts[0].outcome, Some(AttemptOutcome::Succeeded));
}

#[tokio::test]
async fn a_job_that_waits_for_its_retry_can_be_canceled_and_counts_stay_right() {
    let mut bench = Bench::new().await;
    let (owner, worker) = (tenant("a"), worker(4));
    bench.submit(&owner, &jobs(&owner, 3)).await;
    let ours = failed(JobError::new(FailureClass::Internal, "a bug"));
    let claims = bench.claim(&worker, 3).await;
    for claim in &claims {
        bench
            .queue
            .fail(claim.job, claim.epoch, &ours, 1.0)
            .await
            .unwrap();
    }
    assert_eq!(
        bench.queue.cancel(&owner, claims[0].job).await.unwrap(),
        CancelOutcome::Canceled
    );
    bench.audited().await;
    bench.pass(Duration::from_secs(2)).await;
    assert_eq!(bench.queue.promote(10).await.unwrap(), 2);
    // Now it lies among the returned ones.
    assert_eq!(
        bench.queue.cancel(&owner, claims[1].job).await.unwrap(),
        CancelOutcome::Canceled
    );
    bench.audited().await;
    let last = bench.claim(&worker, 3).await;
    assert_eq!(last.len(), 1);
    assert_eq!(last[0].job, claims[2].job);
    let stats = bench.queue.stats().await.unwrap();
    assert_eq!((stats.ready, stats.running, stats.delayed), (0, 1, 0));
    bench.audited().await;
}

#[tokio::test]
async fn submits_per_minute_are_exact_for_many_racing_producers() {
    let mut bench = Bench::new().await;
    let owner = tenant("a");
    let quotas = Quotas {
        submits_per_minute: Some(7),
        queued_max: Some(9),
        ..Quotas::default()
    };
    bench.queue.set_quotas(&owner, &quotas).await.unwrap();
    let mut producers = Vec::new();
    for _ in 0..8 {
        producers.push(bench.another().await);
    }
    let tasks: Vec<_> = (0..40)
        .map(|i| {
            let (queue, owner) = (producers[i % 8].clone(), owner.clone());
            tokio::spawn(async move {
                queue
                    .enqueue(&owner, &[job(&owner)])
                    .await
                    .unwrap()
                    .remove(0)
            })
        })
        .collect();
    let mut replies = Vec::new();
    for task in tasks {
        replies.push(task.await.unwrap());
    }
    assert_eq!(accepted(&replies), 7);
    let refused = Enqueued::Limited {
        policy: QuotaPolicy::SubmitsPerMinute,
        limit: 7,
        used: 7,
        retry_after: Duration::from_millis(8572),
    };
    assert_eq!(replies.iter().filter(|r| **r == refused).count(), 33);
    bench.pass(Duration::from_millis(8571)).await;
    assert_eq!(accepted(&bench.submit(&owner, &jobs(&owner, 1)).await), 0);
    bench.pass(Duration::from_millis(1)).await;
    assert_eq!(accepted(&bench.submit(&owner, &jobs(&owner, 2)).await), 1);
    bench.pass(Duration::from_secs(60)).await;
    assert_eq!(
        bench.submit(&owner, &jobs(&owner, 2)).await,
        [
            Enqueued::Accepted,
            Enqueued::Full {
                active: 9,
                limit: 9
            }
        ]
    );
    assert_eq!(bench.queue.stats().await.unwrap().counters["submitted"], 9);
    bench.audited().await;
}

#[tokio::test]
async fn submits_that_come_together_share_calls_and_each_gets_its_own_answers() {
    // Of its own: it counts calls.
    let server = Redis::start();
    let bench = Bench::on(&server).await;
    let owners: Vec<_> = (0..8).map(|i| tenant(&format!("t{i}"))).collect();
    let quotas = Quotas {
        queued_max: Some(2),
        ..Quotas::default()
    };
    bench.queue.set_quotas(&owners[3], &quotas).await.unwrap();
    let calls = async || info(&server, "commandstats", "cmdstat_fcall:calls=").await;
    let before = calls().await;
    // All are called before the first of them goes on its way.
    let submits = (0..96).map(|i| {
        let owner = &owners[i % 8];
        let some = jobs(owner, 1 + i % 3);
        let queue = &bench.queue;
        async move { (i, queue.enqueue(owner, &some).await.unwrap(), some) }
    });
    let answers = futures_util::future::join_all(submits).await;
    let made = calls().await - before;
    assert!(made <= 8, "{made} calls for 96 submits of 192 jobs");
    let mut full = 0;
    for (i, replies, some) in answers {
        assert_eq!(replies.len(), 1 + i % 3);
        for (reply, job) in replies.iter().zip(&some) {
            let record = bench.queue.read(job.id).await.unwrap();
            match reply {
                Enqueued::Accepted => assert_eq!(record.unwrap().tenant, owners[i % 8]),
                Enqueued::Full { limit: 2, .. } if i % 8 == 3 => {
                    assert!(record.is_none());
                    full += 1;
                }
                other => panic!("submit {i}: {other:?}"),
            }
        }
    }
    assert_eq!(full, 24 - 2);
    bench.audited().await;
}

#[tokio::test]
async fn a_caller_that_leaves_takes_nobody_elses_submit_with_it() {
    let bench = Bench::new().await;
    let owner = tenant("a");
    let some = jobs(&owner, 40);
    let mut tasks: Vec<_> = some
        .iter()
        .map(|job| {
            let (queue, owner, job) = (bench.queue.clone(), owner.clone(), job.clone());
            tokio::spawn(async move { queue.enqueue(&owner, &[job]).await.unwrap() })
        })
        .collect();
    // Each has made its submit, and none has an answer.
    tokio::task::yield_now().await;
    let stay = tasks.split_off(20);
    for task in &tasks {
        task.abort();
    }
    for task in stay {
        assert_eq!(task.await.unwrap(), [Enqueued::Accepted]);
    }
    let waiting = bench.queue.stats().await.unwrap().ready;
    assert!((20..=40).contains(&waiting), "{waiting}");
    // Whoever comes next is served, too.
    assert_eq!(
        bench.submit(&owner, &some).await.len(),
        40,
        "those that are there already among them"
    );
    assert_eq!(bench.queue.stats().await.unwrap().ready, 40);
    bench.audited().await;
}

#[tokio::test]
async fn a_submit_whose_caller_has_left_before_its_call_is_not_made() {
    let server = Redis::start();
    let bench = Bench::on(&server).await;
    let owner = tenant("a");
    // On every node, so that no answer comes before the third has left; longer than any test machine takes.
    let mut pause = redis::cmd("CLIENT");
    pause.arg("PAUSE").arg(60_000).arg("WRITE");
    server.every_primary(&pause).await.unwrap();
    let spawn = |job: &NewJob| {
        let (queue, owner, job) = (bench.queue.clone(), owner.clone(), job.clone());
        tokio::spawn(async move { queue.enqueue(&owner, &[job]).await.unwrap() })
    };
    // On one thread: each of the first two is on its way in a call of its own, and the others wait.
    let some = jobs(&owner, 4);
    let mut tasks = Vec::new();
    for job in &some {
        tasks.push(spawn(job));
        for _ in 0..20 {
            tokio::task::yield_now().await;
        }
    }
    tasks.remove(2).abort();
    let mut go_on = redis::cmd("CLIENT");
    go_on.arg("UNPAUSE");
    server.every_primary(&go_on).await.unwrap();
    for task in tasks {
        assert_eq!(task.await.unwrap(), [Enqueued::Accepted]);
    }
    assert!(bench.queue.read(some[2].id).await.unwrap().is_none());
    assert_eq!(bench.queue.stats().await.unwrap().ready, 3);
    bench.audited().await;
}

#[tokio::test]
async fn a_job_refused_by_one_rate_uses_up_nothing_of_the_other() {
    let mut bench = Bench::new().await;
    let owner = tenant("a");
    let quotas = Quotas {
        submits_per_minute: Some(1),
        submits_per_day: Some(3),
        ..Quotas::default()
    };
    bench.queue.set_quotas(&owner, &quotas).await.unwrap();
    for _ in 0..3 {
        assert_eq!(accepted(&bench.submit(&owner, &jobs(&owner, 5)).await), 1);
        bench.pass(Duration::from_secs(60)).await;
    }
    let reply = bench.submit(&owner, &jobs(&owner, 1)).await.remove(0);
    let Enqueued::Limited {
        policy,
        limit,
        used,
        retry_after,
    } = reply
    else {
        panic!("{reply:?}");
    };
    assert_eq!((policy, limit, used), (QuotaPolicy::SubmitsPerDay, 3, 3));
    bench.pass(retry_after).await;
    assert_eq!(accepted(&bench.submit(&owner, &jobs(&owner, 1)).await), 1);
}

#[tokio::test]
async fn concurrent_renders_never_exceed_the_cap_and_a_new_cap_holds_at_once() {
    let bench = Bench::new().await;
    let owner = tenant("a");
    let cap = |n| Quotas {
        running_max: Some(n),
        ..Quotas::default()
    };
    bench.queue.set_quotas(&owner, &cap(3)).await.unwrap();
    bench.submit(&owner, &jobs(&owner, 20)).await;
    let tasks: Vec<_> = (0..16)
        .map(|_| {
            let queue = bench.queue.clone();
            tokio::spawn(async move { queue.claim(&worker(1), 1, LEASE).await.unwrap().claims })
        })
        .collect();
    let mut claims = Vec::new();
    for task in tasks {
        claims.extend(task.await.unwrap());
    }
    assert_eq!(claims.len(), 3);
    let worker = worker(10);
    bench.queue.set_quotas(&owner, &cap(5)).await.unwrap();
    assert_eq!(bench.claim(&worker, 10).await.len(), 2);
    bench.queue.set_quotas(&owner, &cap(1)).await.unwrap();
    for claim in &claims {
        bench
            .queue
            .finish(claim.job, claim.epoch, &JobResult::default())
            .await
            .unwrap();
        assert!(bench.claim(&worker, 10).await.is_empty());
    }
    bench
        .queue
        .set_quotas(&owner, &Quotas::default())
        .await
        .unwrap();
    assert_eq!(bench.claim(&worker, 100).await.len(), 15);
    bench.audited().await;
}

#[tokio::test]
async fn render_seconds_are_metered_and_what_waits_goes_on_the_next_day() {
    let mut bench = Bench::new().await;
    let (owner, worker) = (tenant("a"), worker(4));
    let quotas = Quotas {
        render_s_per_day: Some(10),
        ..Quotas::default()
    };
    bench.queue.set_quotas(&owner, &quotas).await.unwrap();
    bench.submit(&owner, &jobs(&owner, 4)).await;
    for seconds in [6, 5] {
        let claim = bench.claim(&worker, 1).await.pop().unwrap();
        bench.pass(Duration::from_secs(seconds)).await;
        bench
            .queue
            .finish(claim.job, claim.epoch, &JobResult::default())
            .await
            .unwrap();
    }
    assert!(bench.claim(&worker, 1).await.is_empty());
    let reply = bench.submit(&owner, &jobs(&owner, 1)).await.remove(0);
    let wait = Duration::from_millis(MIDNIGHT + 86_400_000 - bench.now);
    let expected = Enqueued::Limited {
        policy: QuotaPolicy::RenderSecondsPerDay,
        limit: 10,
        used: 11,
        retry_after: wait,
    };
    assert_eq!(reply, expected);
    bench.audited().await;
    bench.pass(wait).await;
    assert_eq!(bench.claim(&worker, 1).await.len(), 1);
    assert_eq!(accepted(&bench.submit(&owner, &jobs(&owner, 1)).await), 1);
    bench.audited().await;
}

#[tokio::test]
async fn weights_share_the_slots() {
    let bench = Bench::of_one_shard().await;
    let (one, three, worker) = (tenant("one"), tenant("three"), worker(1000));
    let quotas = Quotas {
        weight: Some(3.0),
        ..Quotas::default()
    };
    bench.queue.set_quotas(&three, &quotas).await.unwrap();
    for owner in [&one, &three] {
        bench.submit(owner, &jobs(owner, 100)).await;
    }
    let claims = bench.claim(&worker, 80).await;
    let of_three = claims.iter().filter(|c| c.tenant == three).count();
    assert!((59..=61).contains(&of_three), "{of_three}");
    bench.audited().await;
}

impl Bench {
    /// The next job in the fair order runs for five seconds. Whose was it?
    async fn serve_one(&mut self, pool: &WorkerInfo) -> TenantId {
        let next = self.claim(pool, 1).await.remove(0);
        self.pass(Duration::from_secs(5)).await;
        let nothing = JobResult::default();
        let settled = self.queue.finish(next.job, next.epoch, &nothing).await;
        assert_eq!(settled.unwrap(), Settled::Accepted);
        next.tenant
    }

    /// Tenants whose usual job takes five seconds.
    async fn with_history<const N: usize>(&mut self, pool: &WorkerInfo) -> [TenantId; N] {
        let tenants = std::array::from_fn(|i| tenant(&format!("t{i}")));
        for owner in &tenants {
            self.submit(owner, &jobs(owner, 1)).await;
            self.serve_one(pool).await;
        }
        tenants
    }
}

#[tokio::test]
async fn what_a_tenant_was_charged_in_vain_is_served_to_it_before_others_go_on() {
    let mut bench = Bench::of_one_shard().await;
    let pool = worker(10_000);
    let [a, b] = bench.with_history(&pool).await;
    bench.submit(&a, &jobs(&a, 20)).await;
    bench.submit(&b, &jobs(&b, 20)).await;
    let mut of_b = vec![];
    for _ in 0..8 {
        of_b.extend(bench.claim(&pool, 1).await.pop().filter(|c| c.tenant == b));
    }
    assert_eq!(of_b.len(), 4, "they take turns");
    // Three of its four jobs come back without having run: it is three jobs behind.
    for claim in &of_b[..3] {
        let given_back = bench.queue.release(claim.job, claim.epoch, "drain").await;
        assert_eq!(given_back.unwrap(), Settled::Accepted);
    }
    for _ in 0..3 {
        assert_eq!(bench.claim(&pool, 1).await[0].tenant, b);
    }
    let mut next = bench.claim(&pool, 1).await;
    next.extend(bench.claim(&pool, 1).await);
    assert_ne!(next[0].tenant, next[1].tenant, "and then they take turns");
    bench.audited().await;
}

#[tokio::test]
async fn refunds_do_not_make_a_tenant_run_ahead_by_more_than_its_charge() {
    let mut bench = Bench::of_one_shard().await;
    let pool = worker(10_000);
    let [a, b] = bench.with_history(&pool).await;
    bench.submit(&a, &jobs(&a, 40)).await;
    // Again and again it is charged for twenty jobs, while nobody else is there, and gets it all back.
    for round in 0..10 {
        let claims = bench.claim(&pool, 20).await;
        assert_eq!(claims.len(), 20);
        if round == 9 {
            bench.submit(&b, &jobs(&b, 20)).await;
        }
        for claim in &claims {
            let given_back = bench.queue.release(claim.job, claim.epoch, "drain").await;
            assert_eq!(given_back.unwrap(), Settled::Accepted);
        }
    }
    // It has two hundred jobs' charges back, and is no more than one job ahead of the other.
    let mut lead = 0i32;
    for _ in 0..30 {
        let next = bench.claim(&pool, 1).await.remove(0);
        lead += if next.tenant == a { 1 } else { -1 };
        assert!((-1..=1).contains(&lead), "{lead} jobs ahead");
    }
    bench.audited().await;
}

#[tokio::test]
async fn tenants_that_come_and_go_do_not_starve_one_that_always_has_work() {
    let mut bench = Bench::of_one_shard().await;
    let pool = worker(10_000);
    let tenants: [TenantId; 10] = bench.with_history(&pool).await;
    let (stays, others) = tenants.split_last().unwrap();
    bench.submit(stays, &jobs(stays, 50)).await;
    for owner in others {
        bench.submit(owner, &jobs(owner, 1)).await;
    }
    let mut served = 0;
    for _ in 0..100 {
        let next = bench.serve_one(&pool).await;
        if next == *stays {
            served += 1;
        } else {
            // It has nothing more and comes again: whatever that gives it, it is one job at most.
            bench.submit(&next, &jobs(&next, 1)).await;
        }
    }
    assert!(
        (9..=11).contains(&served),
        "{served} of 100, a tenth is due"
    );
    bench.audited().await;
}

#[tokio::test]
async fn no_tenant_takes_the_last_tenth_of_the_slots_while_others_are_active() {
    let bench = Bench::of_one_shard().await;
    let (heavy, light, worker) = (tenant("heavy"), tenant("light"), worker(20));
    bench.submit(&heavy, &jobs(&heavy, 60)).await;
    assert_eq!(bench.claim(&worker, 20).await.len(), 20, "alone: all");
    let light_job = job(&light);
    bench.submit(&light, std::slice::from_ref(&light_job)).await;
    let claims = bench.claim(&worker, 20).await;
    assert_eq!(claims.len(), 1);
    assert_eq!(claims[0].job, light_job.id);
    bench.audited().await;

    // Its own ends do not help it above the bound; more slots or the others' silence do.
    let mut bench = Bench::of_one_shard().await;
    bench.submit(&heavy, &jobs(&heavy, 60)).await;
    bench.submit(&light, std::slice::from_ref(&light_job)).await;
    let claims = bench.claim(&worker, 30).await;
    assert_eq!(claims.len(), 18);
    let of_heavy: Vec<_> = claims.iter().filter(|c| c.tenant == heavy).collect();
    assert_eq!(of_heavy.len(), 17);
    bench.audited().await;
    bench
        .queue
        .finish(of_heavy[0].job, of_heavy[0].epoch, &JobResult::default())
        .await
        .unwrap();
    let mut more = bench.claim(&worker, 30).await;
    assert_eq!(more.len(), 1, "a freed slot");
    let mut held: Vec<_> = claims
        .iter()
        .filter(|claim| claim.job != of_heavy[0].job)
        .collect();
    let freed = more.pop().unwrap();
    held.push(&freed);
    let second = self::worker(10);
    assert_eq!(bench.claim(&second, 30).await.len(), 9, "27 of 30");
    bench.audited().await;
    // The second worker is silent: its jobs are taken away and its slots do not count.
    for _ in 0..6 {
        bench.pass(Duration::from_secs(3)).await;
        bench.renew(&worker, &held).await;
    }
    bench.audited().await;
    assert!(bench.claim(&worker, 30).await.is_empty(), "18 of 20 again");
    bench.audited().await;
    bench.pass(Duration::from_secs(601)).await;
    bench.submit(&heavy, &jobs(&heavy, 1)).await;
    bench.audited().await;
    assert!(!bench.claim(&worker, 30).await.is_empty(), "alone again");
    bench.audited().await;
}

#[tokio::test]
async fn what_is_paused_waits_and_goes_on_after_the_resume() {
    let bench = Bench::new().await;
    let (a, b, worker) = (tenant("a"), tenant("b"), worker(100));
    let scope = PauseScope::Tenant(a.clone());
    assert!(bench.queue.pause(&scope).await.unwrap());
    assert!(!bench.queue.pause(&scope).await.unwrap());
    bench.submit(&a, &jobs(&a, 2)).await;
    bench.submit(&b, &jobs(&b, 1)).await;
    let claims = bench.claim(&worker, 5).await;
    assert_eq!(claims.len(), 1);
    assert_eq!(claims[0].tenant, b);
    bench.audited().await;
    assert!(bench.claim(&worker, 5).await.is_empty());
    let mut bell = bench.queue.bell().await.unwrap();
    assert!(bench.queue.resume(&scope).await.unwrap());
    assert!(bell.wait(Duration::from_secs(1)).await.unwrap());
    assert_eq!(bench.claim(&worker, 1).await.len(), 1);

    assert!(bench.queue.pause(&PauseScope::All).await.unwrap());
    let waiting = bench.queue.claim(&worker, 5, LEASE).await.unwrap();
    assert!(waiting.claims.is_empty() && waiting.wait > Duration::from_secs(1));
    bench.audited().await;
    assert!(bench.queue.resume(&PauseScope::All).await.unwrap());
    assert!(bell.wait(Duration::from_secs(1)).await.unwrap());
    assert_eq!(bench.claim(&worker, 5).await.len(), 1);

    let lane = PauseScope::Lane(Lane::Batch);
    assert!(bench.queue.pause(&lane).await.unwrap());
    let (batch, normal) = (in_lane(&a, Lane::Batch), in_lane(&a, Lane::Normal));
    bench.submit(&a, &[batch.clone(), normal.clone()]).await;
    bench.submit(&b, &[in_lane(&b, Lane::Batch)]).await;
    let claims = bench.claim(&worker, 5).await;
    assert_eq!(claims.len(), 1);
    assert_eq!(claims[0].job, normal.id);
    assert!(bench.claim(&worker, 5).await.is_empty());
    bench.audited().await;
    assert!(bench.queue.resume(&lane).await.unwrap());
    assert!(bell.wait(Duration::from_secs(1)).await.unwrap());
    let ids: HashSet<_> = bench
        .claim(&worker, 5)
        .await
        .iter()
        .map(|c| c.job)
        .collect();
    assert!(ids.len() == 2 && ids.contains(&batch.id));
    bench.audited().await;
}

#[tokio::test]
async fn audit_names_what_was_tampered_with_and_repair_puts_it_right() {
    let bench = Bench::of_one_shard().await;
    let (owner, worker) = (tenant("a"), worker(4));
    for n in [100, 100, 50] {
        bench.submit(&owner, &jobs(&owner, n)).await;
    }
    let claims = bench.claim(&worker, 2).await;
    let looked = bench.audited().await.looked;
    assert!(looked > 250, "{looked}");
    let base = bench.queue.keys().base().to_owned();
    let (lost, ghost) = (claims[0].job.short(), JobId::generate(&owner).short());
    for (command, key, member) in [
        ("ZREM", "lease", lost.as_str()),
        ("ZREM", "vt", owner.as_str()),
    ] {
        let mut command = redis::cmd(command);
        let () = bench
            .redis(command.arg(format!("{base}:{key}")).arg(member))
            .await;
    }
    // A stream entry that nobody counted.
    let mut command = redis::cmd("XADD");
    command.arg(format!("{base}:t:{owner}:q2"));
    let () = bench.redis(command.arg("7-0").arg("j").arg(ghost)).await;
    let found = bench.queue.audit(false).await.unwrap().violations;
    for word in ["lease", "stream", "counted ready", "vt", "totals"] {
        assert!(found.iter().any(|v| v.contains(word)), "{word}: {found:?}");
    }
    bench.queue.audit(true).await.unwrap();
    bench.queue.audit(true).await.unwrap();
    bench.audited().await;
    assert!(bench.queue.stats().await.unwrap().counters["repairs"] >= 3);
    assert_eq!(
        bench.status(claims[0].job).await,
        Status::Running,
        "its lease is back"
    );
}

#[tokio::test]
async fn a_repair_finds_all_stray_leases_in_one_pass() {
    let bench = Bench::new().await;
    let owner = tenant("a");
    let mut command = redis::cmd("ZADD");
    command.arg(format!("{}:lease", bench.queue.keys().base()));
    for _ in 0..250 {
        command.arg(0).arg(JobId::generate(&owner).short());
    }
    let () = bench.redis(&command).await;
    let found = bench.queue.audit(true).await.unwrap().violations;
    let strays = found.iter().filter(|v| v.contains("has no record"));
    assert_eq!(strays.count(), 250);
    bench.audited().await;
}

#[tokio::test]
async fn jobs_whose_place_to_wait_is_gone_are_named_and_wait_again_after_a_repair() {
    let bench = Bench::of_one_shard().await;
    let (owner, pool) = (tenant("a"), worker(10));
    let mut ids = HashSet::new();
    for lane in [Lane::Interactive, Lane::Normal, Lane::Batch] {
        let job = in_lane(&owner, lane);
        ids.insert(job.id);
        bench.submit(&owner, &[job]).await;
    }
    let mut later = job(&owner);
    later.delay = Duration::from_secs(60);
    bench.submit(&owner, &[later.clone()]).await;
    bench.audited().await;
    let base = bench.queue.keys().base().to_owned();
    let mut command = redis::cmd("DEL");
    for key in ["due", "t:a:q0", "t:a:q1", "t:a:q2"] {
        command.arg(format!("{base}:{key}"));
    }
    let gone: i64 = bench.redis(&command).await;
    assert_eq!(gone, 4);
    let named = bench.queue.audit(false).await.unwrap().violations;
    for id in ids.iter().chain([&later.id]) {
        assert!(named.iter().any(|v| v.contains(&id.short())), "{named:?}");
    }
    bench.queue.audit(true).await.unwrap();
    bench.audited().await;
    let again = bench.claim(&pool, 10).await;
    assert_eq!(again.iter().map(|c| c.job).collect::<HashSet<_>>(), ids);
    let mut bench = bench;
    bench.pass(Duration::from_secs(61)).await;
    assert_eq!(bench.claim(&pool, 10).await[0].job, later.id);
    bench.audited().await;
}

#[tokio::test]
async fn an_audit_by_pages_goes_through_all_shards_and_brings_back_a_job_without_a_lease() {
    let bench = Bench::new().await;
    let (owner, worker) = (tenant("a"), worker(4));
    bench.submit(&owner, &jobs(&owner, 1)).await;
    let lost = bench.claim(&worker, 1).await.remove(0);
    let mut command = redis::cmd("ZREM");
    command.arg(format!("{}:lease", bench.queue.keys_of(lost.job).base()));
    let () = bench.redis(command.arg(lost.job.short())).await;
    let mut page = Some(Cursor::default());
    while let Some(from) = page {
        page = bench.queue.audit_page(&from, true).await.unwrap().1;
    }
    let again = bench.claim(&worker, 1).await;
    assert_eq!((again[0].job, again[0].epoch.0), (lost.job, 2));
    assert_eq!(bench.queue.stats().await.unwrap().counters["repairs"], 1);
    bench.audited().await;
}

#[tokio::test]
async fn of_three_lanes_with_work_none_starves_and_the_first_gets_most() {
    let bench = Bench::new().await;
    let (owner, pool) = (tenant("a"), worker(100));
    let lanes = [Lane::Interactive, Lane::Normal, Lane::Batch];
    for lane in lanes {
        let many: Vec<_> = (0..100).map(|_| in_lane(&owner, lane)).collect();
        bench.submit(&owner, &many).await;
    }
    let claims = bench.claim(&pool, 96).await;
    let taken = lanes.map(|lane| {
        let of = |claim: &&Claim| claim.payload.as_ref().unwrap().request.lane == lane;
        claims.iter().filter(of).count()
    });
    assert_eq!(taken, [84, 6, 6]);
    bench.audited().await;
}

#[tokio::test]
async fn jobs_that_come_back_to_a_paused_lane_wait_for_its_resume_behind_the_others() {
    let mut bench = Bench::new().await;
    let (owner, worker) = (tenant("a"), worker(10));
    let batch: Vec<_> = (0..3).map(|_| in_lane(&owner, Lane::Batch)).collect();
    let normal = in_lane(&owner, Lane::Normal);
    bench.submit(&owner, &batch[..2]).await;
    bench.submit(&owner, std::slice::from_ref(&normal)).await;
    let claims = bench.claim(&worker, 3).await;
    assert_eq!(claims.len(), 3);
    bench.submit(&owner, &batch[2..]).await;
    let lane = PauseScope::Lane(Lane::Batch);
    assert!(bench.queue.pause(&lane).await.unwrap());
    // One is tried again, the others are given back.
    let ours = failed(JobError::new(FailureClass::Internal, "a bug"));
    for claim in &claims {
        if claim.job == batch[0].id {
            let failed = bench.queue.fail(claim.job, claim.epoch, &ours, 0.0).await;
            assert_eq!(failed.unwrap(), Settled::WillRetry);
        } else {
            let given_back = bench.queue.release(claim.job, claim.epoch, "drain").await;
            assert_eq!(given_back.unwrap(), Settled::Accepted);
        }
    }
    for job in &batch {
        let record = bench.queue.read(job.id).await.unwrap().unwrap();
        assert_eq!(record.paused, Some(Paused::Batch), "{record:?}");
    }
    bench.pass(Duration::from_secs(1)).await;
    let claims = bench.claim(&worker, 10).await;
    let ids = |claims: &[Claim]| claims.iter().map(|c| c.job).collect::<Vec<_>>();
    assert_eq!(ids(&claims), [normal.id]);
    assert!(bench.claim(&worker, 10).await.is_empty());
    bench.audited().await;
    assert!(bench.queue.resume(&lane).await.unwrap());
    let claims = bench.claim(&worker, 10).await;
    assert_eq!(ids(&claims), [batch[2].id, batch[1].id, batch[0].id]);
    bench.audited().await;
}

/// Tokens that wait in the bell of the first shard.
async fn tokens(bench: &Bench) -> u64 {
    let bell = format!("{}:bell", bench.queue.keys().base());
    bench.redis(redis::cmd("LLEN").arg(bell)).await
}

#[tokio::test]
async fn one_parked_worker_looks_at_what_is_due_and_if_it_dies_another_does_soon() {
    let mut bench = Bench::new().await;
    let owner = tenant("a");
    let mut later = job(&owner);
    later.delay = Duration::from_secs(1);
    bench.submit(&owner, std::slice::from_ref(&later)).await;
    let workers: Vec<_> = (0..20).map(|_| worker(1)).collect();
    let mut waits = Vec::new();
    for worker in &workers {
        let claimed = bench.queue.claim(worker, 1, LEASE).await.unwrap();
        assert!(claimed.claims.is_empty());
        waits.push(claimed.wait);
    }
    assert_eq!(waits[0], Duration::from_millis(1_001));
    assert!((SOON * 3 / 4..=SOON).contains(&waits[1]), "{waits:?}");
    let others = &waits[2..];
    assert!(
        others.iter().all(|w| (PARK * 15 / 16..=PARK).contains(w)),
        "{waits:?}"
    );
    assert!(others.windows(2).any(|two| two[0] != two[1]), "{waits:?}");
    // The first has died: the second takes it.
    bench.pass(waits[1]).await;
    assert_eq!(bench.claim(&workers[1], 1).await[0].job, later.id);
    bench.audited().await;
}

/// Parks workers of one slot each, with nothing to do, until they look by themselves.
async fn park(bench: &Bench, n: usize) -> Vec<WorkerInfo> {
    let workers: Vec<_> = (0..n).map(|_| worker(1)).collect();
    for worker in &workers {
        let wait = bench.wait(worker).await;
        assert!((PARK * 15 / 16..=PARK).contains(&wait), "{wait:?}");
    }
    workers
}

/// Takes a token out of the bell and does nothing about it, as a worker does that is frozen.
async fn swallow_token(bench: &Bench) {
    let mut bell = bench.queue.bell().await.unwrap();
    assert!(bell.wait(Duration::from_secs(1)).await.unwrap());
}

#[tokio::test]
async fn a_job_that_becomes_due_before_anybody_looks_wakes_one_who_waits_for_it() {
    let mut bench = Bench::of_one_shard().await;
    let owner = tenant("a");
    let parked = park(&bench, 3).await;
    let mut later = job(&owner);
    later.delay = Duration::from_secs(2);
    bench.submit(&owner, &[later.clone()]).await;
    assert_eq!(tokens(&bench).await, 1);
    swallow_token(&bench).await;
    let exact = later.delay + Duration::from_millis(1);
    assert_eq!(bench.wait(&parked[0]).await, exact);
    // Another that is due later needs nobody else, one that is due sooner does.
    later = job(&owner);
    later.delay = Duration::from_secs(3);
    bench.submit(&owner, std::slice::from_ref(&later)).await;
    assert_eq!(tokens(&bench).await, 0);
    later = job(&owner);
    later.delay = Duration::from_secs(1);
    bench.submit(&owner, std::slice::from_ref(&later)).await;
    assert_eq!(tokens(&bench).await, 1);
    bench.pass(exact).await;
    assert_eq!(bench.claim(&parked[0], 3).await.len(), 2);
    bench.audited().await;
}

#[tokio::test]
async fn a_job_whose_worker_dies_at_once_is_seen_to_by_one_who_was_parked_for_long() {
    let mut bench = Bench::new().await;
    let owner = tenant("a");
    let parked = park(&bench, 3).await;
    bench.pass(Duration::from_secs(1)).await;
    bench.submit(&owner, &jobs(&owner, 1)).await;
    swallow_token(&bench).await;
    let doomed = bench.claim(&parked[0], 1).await;
    assert_eq!(doomed.len(), 1);
    let died = bench.now;
    // It wakes one; that one looks often, so that its calls show that Redis is there.
    swallow_token(&bench).await;
    let mut again = vec![];
    while again.is_empty() {
        let claimed = bench.queue.claim(&parked[1], 1, LEASE).await.unwrap();
        again = claimed.claims;
        if again.is_empty() {
            assert!(claimed.wait <= SOON, "{:?}", claimed.wait);
            bench.pass(claimed.wait).await;
        }
    }
    assert_eq!(again[0].job, doomed[0].job);
    assert!(bench.now - died <= 15_000, "{} ms", bench.now - died);
}

#[tokio::test]
async fn a_renewal_finds_another_to_look_after_the_job_if_the_one_that_did_is_gone() {
    let mut bench = Bench::of_one_shard().await;
    let owner = tenant("a");
    let parked = park(&bench, 3).await;
    bench.submit(&owner, &jobs(&owner, 1)).await;
    swallow_token(&bench).await;
    let held = bench.claim(&parked[0], 1).await;
    swallow_token(&bench).await;
    let wait = bench.wait(&parked[1]).await;
    bench.renew(&parked[0], &[&held[0]]).await;
    assert_eq!(tokens(&bench).await, 0, "one looks in {wait:?}");
    // It has died, as its silence shows.
    bench.pass(wait + Duration::from_secs(1)).await;
    bench.renew(&parked[0], &[&held[0]]).await;
    // One for it, as it may only be late, and one for another.
    assert_eq!(tokens(&bench).await, 2);
    bench.renew(&parked[0], &[&held[0]]).await;
    assert_eq!(tokens(&bench).await, 2);
    swallow_token(&bench).await;
    let wait = bench.wait(&parked[2]).await;
    assert!(wait <= SOON, "{wait:?}");
    bench.audited().await;
}

#[tokio::test]
async fn of_those_who_are_parked_while_a_job_runs_two_look_often_and_the_others_wait_for_the_bell()
{
    let bench = Bench::new().await;
    let owner = tenant("a");
    let busy = worker(1);
    bench.submit(&owner, &jobs(&owner, 1)).await;
    let held = bench.claim(&busy, 1).await;
    assert_eq!(held.len(), 1);
    let mut often = 0;
    for _ in 0..10 {
        let wait = bench.wait(&worker(1)).await;
        often += usize::from(wait <= SOON);
    }
    assert_eq!(often, 2);
}

#[tokio::test]
async fn a_token_that_a_frozen_worker_took_is_given_again_when_an_api_process_reminds() {
    let bench = Bench::of_one_shard().await;
    let owner = tenant("a");
    park(&bench, 2).await;
    bench.queue.remind().await.unwrap();
    assert_eq!(tokens(&bench).await, 0, "nothing to do");
    bench.submit(&owner, &jobs(&owner, 1)).await;
    swallow_token(&bench).await;
    bench.queue.remind().await.unwrap();
    assert_eq!(tokens(&bench).await, 1);
    bench.queue.remind().await.unwrap();
    bench.queue.remind().await.unwrap();
    assert_eq!(tokens(&bench).await, 2, "no more than are parked");
}

#[tokio::test]
async fn a_clock_that_is_set_ahead_puts_no_parked_worker_to_sleep_for_longer() {
    let mut bench = Bench::of_one_shard().await;
    let owner = tenant("a");
    let parked = park(&bench, 3).await;
    bench.pass(Duration::from_secs(3_600)).await;
    bench.submit(&owner, &jobs(&owner, 1)).await;
    assert_eq!(tokens(&bench).await, 3);
    assert_eq!(bench.claim(&parked[0], 1).await.len(), 1);
    bench.audited().await;
}

#[tokio::test]
async fn a_parked_worker_counts_as_live_for_as_long_as_it_may_be_silent_and_a_busy_one_for_less() {
    let mut bench = Bench::of_one_shard().await;
    let owner = tenant("a");
    let (busy, idle) = (worker(1), worker(1));
    bench.submit(&owner, &jobs(&owner, 1)).await;
    let held = bench.claim(&busy, 1).await;
    bench.renew(&busy, &[&held[0]]).await;
    bench.renew(&idle, &[]).await;
    assert!(bench.wait(&idle).await <= SOON);
    let live = async |bench: &Bench| -> Vec<WorkerId> {
        let workers = bench.queue.stats().await.unwrap().workers;
        workers.iter().map(|worker| worker.id).collect()
    };
    // Who looks after a job renewed a moment ago, and is believed like those who are busy.
    bench.pass(Duration::from_secs(16)).await;
    assert_eq!(live(&bench).await, []);
    let bench = &mut Bench::of_one_shard().await;
    bench.renew(&idle, &[]).await;
    park(bench, 1).await;
    assert!(bench.wait(&idle).await > SOON);
    // A renewal that comes late takes nothing back of that.
    bench.renew(&idle, &[]).await;
    bench.pass(PARK * 15 / 16 + Duration::from_secs(14)).await;
    assert_eq!(live(bench).await.len(), 2);
    bench.pass(Duration::from_secs(5)).await;
    assert_eq!(live(bench).await, []);
}

/// Commands that all servers have done, with those that functions call.
async fn calls(server: &Redis) -> u64 {
    let mut command = redis::cmd("INFO");
    command.arg("commandstats");
    let texts = server.every_primary(&command).await.unwrap();
    let texts = texts.into_iter().map(redis::from_redis_value::<String>);
    let text: String = texts.map(Result::unwrap).collect();
    let count = |line: &str| {
        line.split_once("calls=")?
            .1
            .split(',')
            .next()?
            .parse::<u64>()
            .ok()
    };
    let each = text
        .lines()
        .filter(|line| !line.starts_with("cmdstat_info"));
    each.filter_map(count).sum()
}

/// What a worker that finds nothing costs a second in the course of half an hour, with all that functions call; its longest wait
/// of all.
async fn idle_cost(shards: u16) -> (f64, Duration) {
    let server = Redis::start();
    let mut bench = Bench::of_shards(&server, shards).await;
    let mut bell = bench.queue.bell().await.unwrap();
    let worker = worker(1);
    let (mut time, mut longest) = (Duration::ZERO, Duration::ZERO);
    // Commands that set the clock.
    let mut clock = 0;
    let mut claimed = bench.queue.claim(&worker, 1, LEASE).await.unwrap();
    let before = calls(&server).await;
    while time < Duration::from_mins(30) {
        assert!(claimed.claims.is_empty());
        bench.pass(claimed.wait).await;
        clock += u64::from(shards) + 1;
        time += claimed.wait;
        longest = longest.max(claimed.wait);
        claimed.looks.pass(claimed.wait);
        let looks = claimed.looks;
        claimed = bench.queue.look(&worker, 1, LEASE, looks).await.unwrap();
        if shards == 1 {
            assert!(!bell.wait(Duration::from_millis(1)).await.unwrap());
        }
    }
    let spent = calls(&server).await - before - clock;
    (spent as f64 / time.as_secs_f64(), longest)
}

#[tokio::test]
async fn an_idle_worker_costs_redis_less_than_a_command_a_second_with_all_that_functions_call() {
    let (cost, longest) = idle_cost(1).await;
    assert!(cost < 0.6, "{cost} commands a second");
    assert!(longest >= PARK * 15 / 16, "no more often than it must");
}

#[tokio::test]
async fn a_worker_whose_bell_did_not_ring_asks_its_home_soon_and_all_shards_in_the_end() {
    let server = Redis::start();
    let bench = Bench::of_shards(&server, 8).await;
    // Of one worker: each shard once, its home among them.
    let worker = worker(1);
    for (i, keys) in bench.queue.all_keys().iter().enumerate() {
        let mut looks = bench.queue.claim(&worker, 1, LEASE).await.unwrap().looks;
        let mut names = (0..).map(|n| tenant(&format!("t{n}")));
        let owner = names
            .find(|name| bench.queue.keys_of_tenant(name).base() == keys.base())
            .unwrap();
        bench.submit(&owner, &jobs(&owner, 1)).await;
        let mut time = Duration::ZERO;
        // Somebody else took the token, and is frozen.
        let found = loop {
            let mut claimed = bench.queue.look(&worker, 1, LEASE, looks).await.unwrap();
            if let Some(claim) = claimed.claims.pop() {
                break claim;
            }
            assert!(!claimed.wait.is_zero() && claimed.wait <= PARK);
            time += claimed.wait;
            claimed.looks.pass(claimed.wait);
            looks = claimed.looks;
        };
        assert_eq!(found.tenant, owner, "shard {i}");
        let [.., a, b] = worker.id.as_bytes();
        let is_home = usize::from(u16::from_be_bytes([*a, *b])) % 8 == i;
        let longest = if is_home { PARK } else { PARK * 8 };
        let range = longest * 15 / 16..=longest;
        assert!(range.contains(&time), "shard {i}, home {is_home}: {time:?}");
        let result = JobResult::default();
        bench
            .queue
            .finish(found.job, found.epoch, &result)
            .await
            .unwrap();
    }
}

#[tokio::test]
async fn an_idle_worker_of_eight_shards_costs_redis_less_than_a_command_a_second() {
    let (cost, _) = idle_cost(8).await;
    assert!(cost < 1.0, "{cost} commands a second");
}

#[tokio::test]
async fn a_worker_that_takes_other_work_hands_on_the_look_at_what_becomes_due() {
    let bench = Bench::of_one_shard().await;
    let (owner, first, second) = (tenant("a"), worker(1), worker(1));
    let mut later = job(&owner);
    later.delay = Duration::from_secs(1);
    bench.submit(&owner, &[later]).await;
    let exact = Duration::from_millis(1_001);
    assert_eq!(bench.wait(&first).await, exact);
    assert!(bench.wait(&second).await > exact);
    let mut bell = bench.queue.bell().await.unwrap();
    bench.submit(&owner, &jobs(&owner, 1)).await;
    assert!(bell.wait(Duration::from_secs(1)).await.unwrap());
    assert_eq!(tokens(&bench).await, 0);
    assert_eq!(bench.claim(&first, 1).await.len(), 1);
    assert_eq!(tokens(&bench).await, 1);
    assert_eq!(bench.wait(&second).await, exact);
    // The one that leaves does so, too.
    let third = worker(1);
    assert!(bench.wait(&third).await > exact);
    assert!(bell.wait(Duration::from_secs(1)).await.unwrap());
    bench.queue.leave(second.id).await.unwrap();
    assert_eq!(tokens(&bench).await, 1);
    assert_eq!(bench.wait(&third).await, exact);
}

#[tokio::test]
async fn a_worker_that_is_drained_hands_on_the_look_at_what_becomes_due() {
    let bench = Bench::of_one_shard().await;
    let (owner, first, second) = (tenant("a"), worker(1), worker(1));
    let mut later = job(&owner);
    later.delay = Duration::from_secs(1);
    bench.submit(&owner, &[later]).await;
    let exact = Duration::from_millis(1_001);
    assert_eq!(bench.wait(&first).await, exact);
    assert!(bench.wait(&second).await > exact);
    bench.queue.drain(first.id, true).await.unwrap();
    assert_eq!(tokens(&bench).await, 1);
    // Whoever takes the token and is drained before it acts on it hands that on, too.
    let mut bell = bench.queue.bell().await.unwrap();
    assert!(bell.wait(Duration::from_secs(1)).await.unwrap());
    let third = worker(1);
    assert!(bench.wait(&third).await > Duration::ZERO);
    bench.queue.drain(second.id, true).await.unwrap();
    assert!(bell.wait(Duration::from_secs(1)).await.unwrap());
    assert_eq!(tokens(&bench).await, 0);
    assert!(bench.queue.claim(&second, 1, LEASE).await.unwrap().drained);
    assert_eq!(tokens(&bench).await, 1);
}

#[tokio::test]
async fn one_job_wakes_one_of_many_parked_workers_to_take_it_and_one_to_look_after_it() {
    let bench = Bench::new().await;
    let owner = tenant("a");
    let workers: Vec<_> = (0..8).map(|_| worker(1)).collect();
    let mut waits = FuturesUnordered::new();
    for worker in &workers {
        let mut bell = bench.queue.bell().await.unwrap();
        assert!(bench.claim(worker, 1).await.is_empty());
        waits.push(async move { bell.wait(Duration::from_secs(3)).await.unwrap() });
    }
    bench.submit(&owner, &jobs(&owner, 1)).await;
    assert_eq!(waits.next().await, Some(true));
    assert_eq!(bench.claim(&workers[0], 1).await.len(), 1);
    assert_eq!(waits.next().await, Some(true));
    assert!(bench.claim(&workers[1], 1).await.is_empty());
    assert_eq!(tokens(&bench).await, 0);
    while let Some(rung) = waits.next().await {
        assert!(!rung, "one job, and a third worker was woken");
    }
    bench.audited().await;
}

#[tokio::test]
async fn a_renewal_sees_to_what_it_leaves_of_a_hundred_jobs_half_of_them_late_and_half_due() {
    let mut bench = Bench::of_one_shard().await;
    let (owner, other, pool) = (tenant("a"), tenant("b"), worker(100));
    bench.submit(&other, &jobs(&other, 60)).await;
    let held = bench.claim(&pool, 60).await;
    assert_eq!(held.len(), 60);
    let second = Duration::from_secs(1);
    let (mut late, mut due) = (jobs(&owner, 100), jobs(&owner, 100));
    for (late, due) in late.iter_mut().zip(&mut due) {
        late.payload.request.deadline_s = Some(1);
        due.delay = second;
    }
    bench.submit(&owner, &late).await;
    bench.submit(&owner, &due).await;
    bench.pass(2 * second).await;
    let held: Vec<&Claim> = held.iter().collect();
    let seen_to = async || {
        let stats = bench.queue.stats().await.unwrap();
        let expired = stats.counters.get("expired").copied().unwrap_or(0);
        (expired, 100 - stats.delayed)
    };
    assert_eq!(bench.renew(&pool, &held).await.len(), 60);
    assert_eq!(seen_to().await, (20, 20));
    bench.renew(&pool, &[]).await;
    assert_eq!(seen_to().await, (70, 70));
    bench.renew(&pool, &held[..50]).await;
    assert_eq!(seen_to().await, (95, 95));
    bench.renew(&pool, &[]).await;
    assert_eq!(seen_to().await, (100, 100));
    bench.audited().await;
}

#[tokio::test]
async fn while_storage_is_away_for_a_minute_no_job_is_given_up_and_a_bug_is_within_seconds() {
    let mut bench = Bench::new().await;
    let (owner, worker) = (tenant("a"), worker(1));
    // How long it takes until a job that always fails so at once is given up, at least and at most.
    for (class, least, most) in [
        (FailureClass::Storage, 62, 124),
        (FailureClass::SandboxUnavailable, 8, 17),
        (FailureClass::Internal, 1, 3),
    ] {
        let error = failed(JobError::new(class, "no"));
        for (jitter, expected) in [(0.0, least), (1.0, most)] {
            bench.submit(&owner, &jobs(&owner, 1)).await;
            let began = bench.now;
            loop {
                let Some(claim) = bench.claim(&worker, 1).await.pop() else {
                    bench.pass(Duration::from_millis(500)).await;
                    assert!(bench.now - began < 200_000, "{class}");
                    continue;
                };
                let settled = bench
                    .queue
                    .fail(claim.job, claim.epoch, &error, jitter)
                    .await;
                if settled.unwrap() == Settled::Accepted {
                    break;
                }
            }
            assert_eq!((bench.now - began) / 1000, expected, "{class}");
        }
    }
    bench.audited().await;
}

#[tokio::test]
async fn ended_jobs_are_kept_as_long_as_was_set() {
    let bench = Bench::new().await;
    let (owner, worker) = (tenant("a"), worker(4));
    let usual = bench.queue.retention().await.unwrap();
    assert_eq!(usual.succeeded, Duration::from_hours(24));
    assert_eq!(usual.others, Duration::from_hours(14 * 24));
    let set = Retention {
        succeeded: Duration::from_secs(100),
        others: Duration::from_secs(200),
    };
    bench.queue.set_retention(set).await.unwrap();
    assert_eq!(bench.queue.retention().await.unwrap(), set);
    bench.submit(&owner, &jobs(&owner, 2)).await;
    let claims = bench.claim(&worker, 2).await;
    bench
        .queue
        .finish(claims[0].job, claims[0].epoch, &JobResult::default())
        .await
        .unwrap();
    let theirs = failed(JobError::new(FailureClass::SceneError, "no"));
    bench
        .queue
        .fail(claims[1].job, claims[1].epoch, &theirs, 0.0)
        .await
        .unwrap();
    for (claim, keep) in [(&claims[0], 100), (&claims[1], 200)] {
        let keys: Vec<String> = bench
            .redis(redis::cmd("KEYS").arg(format!(
                "{}:*{}",
                bench.queue.keys_of(claim.job).base(),
                claim.job.short()
            )))
            .await;
        assert_eq!(keys.len(), 2, "record and result: {keys:?}");
        for key in keys {
            let ttl: i64 = bench.redis(redis::cmd("TTL").arg(&key)).await;
            assert!((keep - 5..=keep).contains(&ttl), "{key}: {ttl}");
        }
    }
}

#[tokio::test]
async fn events_are_read_on_from_where_one_was_and_the_oldest_of_many_are_gone() {
    let bench = Bench::new().await;
    let (owner, worker) = (tenant("a"), worker(4));
    bench.submit(&owner, &jobs(&owner, 1)).await;
    let claim = bench.claim(&worker, 1).await.pop().unwrap();
    for round in 0..5 {
        let news = Renewal {
            job: claim.job,
            epoch: claim.epoch,
            events: (0..500)
                .map(|i| (EventKind::Log, format!(r#"{{"text":"{round} {i} x"}}"#)))
                .collect(),
        };
        bench.queue.renew(&worker, LEASE, &[news]).await.unwrap();
    }
    let first = bench.queue.events(claim.job, None, 3).await.unwrap();
    let numbers: Vec<_> = first.iter().map(|e| e.id.clone()).collect();
    assert_eq!(numbers, [502, 503, 504].map(|n| format!("{START}-{n}")));
    assert_eq!(first[0].data, r#"{"text":"1 0 x"}"#);
    let seen = format!("{START}-2499");
    let rest = bench
        .queue
        .events(claim.job, Some(&seen), 100)
        .await
        .unwrap();
    assert_eq!(rest.len(), 2);
    assert_eq!(rest[1].data, r#"{"text":"4 499 x"}"#);
    assert_eq!(
        bench
            .queue
            .events(claim.job, Some(&rest[1].id), 100)
            .await
            .unwrap()
            .len(),
        0
    );
}

#[tokio::test]
async fn dead_letters_are_listed_and_run_again_once_or_discarded() {
    let mut bench = Bench::of_one_shard().await;
    let (owner, worker) = (tenant("a"), worker(10));
    let many = jobs(&owner, 3);
    bench.submit(&owner, &many).await;
    let ours = failed(JobError::new(FailureClass::Internal, "a bug"));
    // The first two fail three times by our fault, the third loses three leases.
    for _ in 0..3 {
        let claims = bench.claim(&worker, 3).await;
        assert_eq!(claims.len(), 3);
        bench
            .renew(&worker, &claims.iter().collect::<Vec<_>>())
            .await;
        for claim in claims.iter().filter(|claim| claim.job != many[2].id) {
            bench
                .queue
                .fail(claim.job, claim.epoch, &ours, 0.0)
                .await
                .unwrap();
        }
        bench.pass(Duration::from_secs(13)).await;
        bench.queue.reap(10).await.unwrap();
    }
    let all = DeadFilter::default();
    let letters = bench.queue.dead_letters(&owner, &all, 10).await.unwrap();
    assert_eq!(letters.len(), 3);
    assert_eq!(letters[2].job, many[2].id);
    assert_eq!(letters[2].class, FailureClass::LostWorker);
    assert_eq!(
        (letters[2].attempts, letters[2].last_worker),
        (3, Some(worker.id))
    );
    let stored = DeadFilter {
        class: Some(FailureClass::Internal),
        ..DeadFilter::default()
    };
    let dry = bench
        .queue
        .redrive(&owner, &stored, 10, true)
        .await
        .unwrap();
    assert_eq!(dry.len(), 2);
    assert!(dry.iter().all(|one| one.job.is_none()));
    assert_eq!(bench.queue.stats().await.unwrap().ready, 0);

    let quotas = Quotas {
        queued_max: Some(1),
        ..Quotas::default()
    };
    bench.queue.set_quotas(&owner, &quotas).await.unwrap();
    // Two operators at the same time.
    let (one, two) = tokio::join!(
        bench.queue.redrive(&owner, &stored, 10, false),
        bench.queue.redrive(&owner, &stored, 10, false)
    );
    let (one, two) = (one.unwrap(), two.unwrap());
    assert_eq!(
        bench.queue.stats().await.unwrap().ready,
        1,
        "{one:?} {two:?}"
    );
    let claim = bench.claim(&worker, 3).await.pop().unwrap();
    let again = bench.queue.read(claim.job).await.unwrap().unwrap().payload;
    assert_eq!(again.parent, Some(many[0].id));
    let left = bench.queue.dead_letters(&owner, &all, 10).await.unwrap();
    let ids: Vec<_> = left.iter().map(|letter| letter.job).collect();
    assert_eq!(ids, [many[1].id, many[2].id]);

    assert_eq!(bench.queue.discard(&owner, &ids[..1]).await.unwrap(), 1);
    // A letter whose record has ended is no letter any more.
    let () = bench
        .redis(redis::cmd("DEL").arg(bench.queue.keys().job(ids[1])))
        .await;
    assert!(
        bench
            .queue
            .dead_letters(&owner, &all, 10)
            .await
            .unwrap()
            .is_empty()
    );
    bench.audited().await;
}

#[tokio::test]
async fn a_drained_worker_keeps_its_claims_and_gets_no_more_until_that_is_undone() {
    let mut bench = Bench::new().await;
    let (owner, drained, other) = (tenant("a"), worker(4), worker(1));
    bench.submit(&owner, &jobs(&owner, 2)).await;
    let claim = bench.claim(&drained, 1).await.pop().unwrap();
    assert!(bench.queue.drain(drained.id, true).await.unwrap());
    assert!(!bench.queue.drain(drained.id, true).await.unwrap());
    let answer = bench.queue.claim(&drained, 3, LEASE).await.unwrap();
    assert!(answer.claims.is_empty() && answer.drained);
    let told = bench.queue.stats().await.unwrap();
    assert!(told.workers[0].draining, "{told:?}");
    assert_eq!(told.slots_ready(), 0);

    // It keeps what it has, is told with each renewal, and stays drained through a silence.
    let news = [Renewal {
        job: claim.job,
        epoch: claim.epoch,
        events: vec![],
    }];
    for silence in [3, 3, 3] {
        bench.pass(Duration::from_secs(silence)).await;
        let renewed = bench.queue.renew_all(&drained, LEASE, &news).await.unwrap();
        assert_eq!((renewed.leases, renewed.drained), (vec![Lease::Held], true));
    }
    let settled = bench
        .queue
        .finish(claim.job, claim.epoch, &JobResult::default())
        .await;
    assert_eq!(settled.unwrap(), Settled::Accepted);
    bench.pass(Duration::from_secs(3600)).await;
    assert!(bench.queue.stats().await.unwrap().workers.is_empty());
    let renewed = bench.queue.renew_all(&drained, LEASE, &[]).await.unwrap();
    assert!(renewed.drained);
    bench.audited().await;

    // Work is there for others, and for itself once it may again.
    let taken = bench.claim(&other, 1).await.pop().unwrap();
    let settled = bench.queue.release(taken.job, taken.epoch, "test").await;
    assert_eq!(settled.unwrap(), Settled::Accepted);
    assert!(bench.queue.drain(drained.id, false).await.unwrap());
    assert!(!bench.queue.drain(drained.id, false).await.unwrap());
    let renewed = bench.queue.renew_all(&drained, LEASE, &[]).await.unwrap();
    assert!(!renewed.drained);
    assert_eq!(bench.claim(&drained, 1).await.len(), 1);
    bench.audited().await;
}

#[tokio::test]
async fn a_drained_worker_that_took_a_token_passes_it_on() {
    let bench = Bench::new().await;
    let (owner, drained, other) = (tenant("a"), worker(1), worker(1));
    // Both are parked. The bell's only token goes to the one that is drained meanwhile.
    assert!(bench.claim(&drained, 1).await.is_empty());
    assert!(bench.claim(&other, 1).await.is_empty());
    bench.submit(&owner, &jobs(&owner, 1)).await;
    let mut bell = bench.queue.bell().await.unwrap();
    assert!(bell.wait(Duration::from_secs(1)).await.unwrap());
    bench.queue.drain(drained.id, true).await.unwrap();
    assert!(bench.claim(&drained, 1).await.is_empty());
    assert!(bell.wait(Duration::from_secs(1)).await.unwrap());
    assert_eq!(bench.claim(&other, 1).await.len(), 1);
    bench.audited().await;
}

#[tokio::test]
async fn a_drain_ends_with_its_worker() {
    let mut bench = Bench::new().await;
    let (left, silent, next) = (worker(1), worker(1), worker(1));
    for one in [&left, &silent] {
        bench.queue.renew_all(one, LEASE, &[]).await.unwrap();
        bench.queue.drain(one.id, true).await.unwrap();
    }
    bench.queue.leave(left.id).await.unwrap();
    let marks = redis::cmd("ZCARD")
        .arg(format!("{}:drain", bench.queue.keys().base()))
        .to_owned();
    assert_eq!(bench.redis::<u64>(&marks).await, 1);
    bench.pass(Duration::from_secs(86_400 + 1)).await;
    bench.queue.renew_all(&next, LEASE, &[]).await.unwrap();
    assert_eq!(
        bench.redis::<u64>(&marks).await,
        0,
        "of `silent` nothing is left"
    );
    let renewed = bench.queue.renew_all(&silent, LEASE, &[]).await.unwrap();
    assert!(!renewed.drained);
    bench.audited().await;
}

#[tokio::test]
async fn a_job_that_has_ended_is_run_again_as_a_new_job_and_no_other_is() {
    let bench = Bench::new().await;
    let (owner, worker) = (tenant("a"), worker(1));
    let first = job(&owner);
    bench.submit(&owner, std::slice::from_ref(&first)).await;
    let rerun = bench.queue.rerun(first.id).await.unwrap();
    assert_eq!(rerun, Rerun::NotEnded(Status::Queued));
    let unknown = JobId::generate(&owner);
    assert_eq!(bench.queue.rerun(unknown).await.unwrap(), Rerun::NotFound);
    let claim = bench.claim(&worker, 1).await.pop().unwrap();
    let result = JobResult::default();
    bench
        .queue
        .finish(claim.job, claim.epoch, &result)
        .await
        .unwrap();
    let Rerun::Asked(second, Enqueued::Accepted) = bench.queue.rerun(first.id).await.unwrap()
    else {
        panic!("it was not accepted");
    };
    let again = bench.claim(&worker, 1).await.pop().unwrap();
    assert_eq!(again.job, second);
    let payload = again.payload.unwrap();
    assert_eq!(payload.parent, Some(first.id));
    assert_eq!(payload.request, first.payload.request);
    assert_eq!(bench.status(first.id).await, Status::Succeeded);
    bench.audited().await;
}

#[tokio::test]
async fn thousands_of_jobs_that_expired_in_a_stream_end_a_hundred_a_call() {
    let mut bench = Bench::new().await;
    let owner = tenant("a");
    let quotas = Quotas {
        queued_max: Some(20_000),
        ..Quotas::default()
    };
    bench.queue.set_quotas(&owner, &quotas).await.unwrap();
    for _ in 0..90 {
        let mut late = jobs(&owner, 100);
        for job in &mut late {
            job.payload.request.deadline_s = Some(10);
        }
        assert_eq!(accepted(&bench.submit(&owner, &late).await), 100);
    }
    let last = job(&owner);
    bench.submit(&owner, std::slice::from_ref(&last)).await;
    bench.pass(Duration::from_secs(20)).await;
    let pool = worker(100);
    let mut calls = 0;
    let claims = loop {
        calls += 1;
        let claims = bench.claim(&pool, 100).await;
        let expired = bench.queue.stats().await.unwrap().counters["expired"];
        assert!(expired <= 220 * calls, "{expired} after {calls} calls");
        if !claims.is_empty() {
            break claims;
        }
    };
    assert_eq!(claims[0].job, last.id);
    bench.audited().await;
}

#[tokio::test]
async fn a_tenant_that_was_only_refused_leaves_nothing_in_redis() {
    let bench = Bench::new().await;
    let mut only = job(&tenant("stranger"));
    only.payload.request.cache = manimq_shared::job::CacheMode::Only;
    only.render = manimq_shared::queue::RenderKey::of(&only.payload);
    let (friend, stranger) = (tenant("friend"), tenant("stranger"));
    // Two calls are on their way; the rest share the third.
    let (own, others) = (jobs(&friend, 1), jobs(&friend, 40));
    let (_, reply, ..) = tokio::join!(
        futures_util::future::join_all(
            (0..8).map(|i| bench.queue.enqueue(&friend, &others[i..=i]))
        ),
        bench.queue.enqueue(&stranger, std::slice::from_ref(&only)),
        bench.queue.enqueue(&friend, &own),
    );
    assert_eq!(reply.unwrap(), [Enqueued::NotCached]);
    let mut exists = redis::cmd("EXISTS");
    exists.arg(bench.queue.keys().tenant(&stranger));
    assert_eq!(bench.redis::<u32>(&exists).await, 0);
    bench.audited().await;
}

#[tokio::test]
async fn a_clock_that_is_set_back_shuts_no_tenant_out() {
    let mut bench = Bench::new().await;
    let owner = tenant("a");
    let quotas = Quotas {
        submits_per_minute: Some(60),
        ..Quotas::default()
    };
    bench.queue.set_quotas(&owner, &quotas).await.unwrap();
    assert_eq!(accepted(&bench.submit(&owner, &jobs(&owner, 1)).await), 1);
    bench.now -= 3_600_000;
    bench.pass(Duration::ZERO).await;
    assert_eq!(accepted(&bench.submit(&owner, &jobs(&owner, 1)).await), 1);
}

#[tokio::test]
async fn a_dead_workers_jobs_run_again_although_the_clock_was_set_back() {
    let mut bench = Bench::new().await;
    let (owner, pool, other) = (tenant("a"), worker(1), worker(1));
    bench.submit(&owner, &jobs(&owner, 2)).await;
    bench.claim(&other, 0).await;
    // The clock runs ahead for a while: nobody was heard of for so long, and leases end far away.
    bench.pass(Duration::from_secs(3600)).await;
    assert_eq!(bench.claim(&pool, 1).await.len(), 1);
    bench.now -= 3_600_000;
    let mut found = 1;
    for _ in 0..40 {
        bench.pass(Duration::from_secs(3)).await;
        bench.renew(&other, &[]).await;
        found += bench.claim(&other, 1).await.len();
    }
    assert!(found >= 3, "{found}: the second job, and the first again");
    bench.audited().await;
}

#[tokio::test]
async fn a_clock_that_jumps_ahead_while_a_job_runs_does_not_set_its_tenant_back_for_ever() {
    let mut bench = Bench::of_one_shard().await;
    let (owner, pool) = (tenant("a"), worker(2));
    bench.submit(&owner, &jobs(&owner, 5)).await;
    let first = bench.claim(&pool, 1).await.remove(0);
    bench.pass(Duration::from_secs(50 * 365 * 86_400)).await;
    for _ in 0..3 {
        bench.renew(&pool, &[&first]).await;
        bench.pass(Duration::from_secs(3)).await;
    }
    bench
        .queue
        .finish(first.job, first.epoch, &JobResult::default())
        .await
        .unwrap();
    let mut score = redis::cmd("ZSCORE");
    score
        .arg(format!("{}:vt", bench.queue.keys().base()))
        .arg(owner.as_str());
    let tag: f64 = bench.redis(&score).await;
    assert!(
        tag <= 2.0 * 3600.0 * 1e6,
        "{tag}: no job of an hour at most takes longer than two"
    );
    bench.audited().await;
}

#[tokio::test]
async fn behind_one_long_job_thousands_of_short_ones_leave_few_entries() {
    let bench = Bench::new().await;
    let (owner, pool) = (tenant("a"), worker(2));
    bench.submit(&owner, &jobs(&owner, 1)).await;
    let long = bench.claim(&pool, 1).await.remove(0);
    let mut length = redis::cmd("XLEN");
    length.arg(format!("{}:t:a:q1", bench.queue.keys().base()));
    for round in 0..40 {
        bench.submit(&owner, &jobs(&owner, 100)).await;
        let claims = bench.claim(&pool, 1 + round % 100).await;
        let mut rest = bench.claim(&pool, 100).await;
        rest.extend(claims);
        for part in rest.chunks(1 + round) {
            let ended: Vec<_> = part
                .iter()
                .map(|claim| (claim.job, claim.epoch, JobResult::default()))
                .collect();
            bench.queue.finish_many(&ended).await.unwrap();
        }
        let entries: usize = bench.redis(&length).await;
        assert!(entries <= 1 + 16, "{entries}");
    }
    bench.audited().await;
    bench
        .queue
        .finish(long.job, long.epoch, &JobResult::default())
        .await
        .unwrap();
    assert_eq!(bench.redis::<usize>(&length).await, 0);
    bench.audited().await;
}

#[tokio::test]
async fn who_waits_behind_thousands_of_tenants_at_a_paused_lane_is_found() {
    let bench = Bench::new().await;
    let pool = worker(2);
    for i in 0..2000 {
        let name = tenant(&format!("h{i}"));
        bench.submit(&name, &[in_lane(&name, Lane::Batch)]).await;
    }
    let last = tenant("z");
    let wanted = job(&last);
    bench.submit(&last, std::slice::from_ref(&wanted)).await;
    let scope = PauseScope::Lane(Lane::Batch);
    bench.queue.pause(&scope).await.unwrap();
    for calls in 1.. {
        let claimed = bench.queue.claim(&pool, 1, LEASE).await.unwrap();
        if let Some(claim) = claimed.claims.first() {
            assert_eq!(claim.job, wanted.id);
            break;
        }
        assert_eq!(claimed.wait, Duration::ZERO, "call {calls}");
        assert!(calls < 25);
    }
    bench.audited().await;
    bench.queue.resume(&scope).await.unwrap();
    let mut found = 0;
    for _ in 0..60 {
        found += bench.claim(&pool, 100).await.len();
    }
    assert_eq!(found, 2000);
}

#[tokio::test]
async fn a_worker_with_full_slots_leaves_the_tokens_of_other_shards_to_idle_ones() {
    let server = Redis::start();
    let mut config = server.config("two");
    config.shards = Some(2);
    let queue = Queue::connect(&config).await.unwrap();
    let blocked = async |n: u64| {
        let mut tries = 0;
        while info(&server, "clients", "blocked_clients:").await != n {
            tries += 1;
            assert!(tries < 1000, "{n} connections that wait");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let of_shard = |shard: usize| {
        let mut names = (0..).map(|i| tenant(&format!("t{i}")));
        let base = queue.all_keys()[shard].base();
        names
            .find(|name| queue.keys_of_tenant(name).base() == base)
            .unwrap()
    };
    // Two workers of one slot wait on both bells, the first in front.
    let pools = [worker(1), worker(1)];
    let mut waits = Vec::new();
    for (pool, lines) in pools.iter().zip([2, 4]) {
        let mut bell = queue.bell().await.unwrap();
        let claimed = queue.claim(pool, 1, LEASE).await.unwrap();
        assert!(claimed.claims.is_empty());
        waits.push(tokio::spawn(async move {
            let rung = bell.wait(claimed.wait).await.unwrap();
            (rung, bell)
        }));
        blocked(lines).await;
    }
    let second = waits.remove(1);
    let owner = of_shard(0);
    queue.enqueue(&owner, &[job(&owner)]).await.unwrap();
    let (rung, mut bell) = waits.remove(0).await.unwrap();
    assert!(rung);
    let claimed = queue.claim(&pools[0], 1, LEASE).await.unwrap();
    assert_eq!(claimed.claims.len(), 1);
    let idle = tokio::spawn(async move { bell.pass_on().await });
    let owner = of_shard(1);
    queue.enqueue(&owner, &[job(&owner)]).await.unwrap();
    assert!(second.await.unwrap().0, "rung, not come by itself");
    let claimed = queue.claim(&pools[1], 1, LEASE).await.unwrap();
    assert_eq!(claimed.claims.len(), 1);
    idle.abort();
}

#[tokio::test]
async fn a_new_weight_holds_for_what_was_charged_by_the_old_one() {
    let mut bench = Bench::new().await;
    let (light, other, pool) = (tenant("light"), tenant("other"), worker(1));
    let mut quotas = Quotas {
        weight: Some(0.001),
        ..Quotas::default()
    };
    bench.queue.set_quotas(&light, &quotas).await.unwrap();
    bench.submit(&light, &jobs(&light, 20)).await;
    bench.submit(&other, &jobs(&other, 20)).await;
    let mut served = Vec::new();
    for round in 0..12 {
        if round == 2 {
            quotas.weight = None;
            bench.queue.set_quotas(&light, &quotas).await.unwrap();
        }
        let claim = bench.claim(&pool, 1).await.remove(0);
        bench.pass(Duration::from_secs(5)).await;
        let (job, epoch) = (claim.job, claim.epoch);
        let result = JobResult::default();
        bench.queue.finish(job, epoch, &result).await.unwrap();
        served.push(claim.tenant);
    }
    let of_light = served.iter().filter(|name| **name == light).count();
    assert!((5..=7).contains(&of_light), "{served:?}");
    bench.audited().await;
}

#[tokio::test]
async fn another_data_layout_is_refused_with_what_helps() {
    let bench = Bench::new().await;
    let mut old = redis::cmd("HSET");
    old.arg(bench.queue.keys().shard()).arg("layout").arg(3);
    bench.redis::<u32>(&old).await;
    let refused = Queue::connect(&bench.config).await;
    let error = refused.err().unwrap().to_string();
    for words in ["layout 3", "another key prefix (MANIMQ_REDIS_PREFIX)"] {
        assert!(error.contains(words), "{error}");
    }
}

#[tokio::test]
async fn what_the_queue_ends_of_itself_is_counted_by_lane_and_status() {
    let mut bench = Bench::new().await;
    let (owner, pool) = (tenant("a"), worker(1));
    // One whose worker does not obey a cancel: it lives, and renews.
    let stubborn = job(&owner);
    bench.submit(&owner, std::slice::from_ref(&stubborn)).await;
    let held = bench.claim(&pool, 1).await.pop().unwrap();
    let asked = bench.queue.cancel(&owner, stubborn.id).await.unwrap();
    assert_eq!(asked, CancelOutcome::Requested);
    for _ in 0..4 {
        bench.pass(Duration::from_secs(9)).await;
        bench.renew(&pool, &[&held]).await;
    }
    assert_eq!(bench.status(stubborn.id).await, Status::Canceled);
    // One that loses its worker after its cancel.
    let orphan = job(&owner);
    bench.submit(&owner, std::slice::from_ref(&orphan)).await;
    assert_eq!(bench.claim(&pool, 1).await.len(), 1);
    let asked = bench.queue.cancel(&owner, orphan.id).await.unwrap();
    assert_eq!(asked, CancelOutcome::Requested);
    // Its worker lives and has forgotten it: one that nobody hears holds the reaper back.
    for _ in 0..3 {
        bench.pass(LEASE / 3).await;
        bench.renew(&pool, &[]).await;
    }
    assert_eq!(bench.status(orphan.id).await, Status::Canceled);
    // Of a canary and of a job in the lane batch three workers die.
    let canary = TenantId::canary();
    for doomed in [in_lane(&owner, Lane::Batch), job(&canary)] {
        let of = if doomed.payload.request.lane == Lane::Batch {
            &owner
        } else {
            &canary
        };
        bench.submit(of, std::slice::from_ref(&doomed)).await;
        while !bench.status(doomed.id).await.is_terminal() {
            bench.claim(&pool, 1).await;
            for _ in 0..3 {
                bench.pass(LEASE / 3).await;
                bench.renew(&pool, &[]).await;
            }
        }
        assert_eq!(bench.status(doomed.id).await, Status::Failed);
    }
    // Twelve end in their stream or in the list of deadlines, as a claim comes upon them.
    let mut late = jobs(&owner, 12);
    for job in &mut late {
        job.payload.request.deadline_s = Some(10);
    }
    bench.submit(&owner, &late).await;
    bench.pass(Duration::from_secs(20)).await;
    assert!(bench.claim(&pool, 12).await.is_empty());
    let stats = bench.queue.stats().await.unwrap();
    let mut swept: Vec<_> = stats
        .counters
        .iter()
        .filter(|(name, _)| name.starts_with("swept_"))
        .map(|(name, count)| (name.as_str(), *count))
        .collect();
    swept.sort_unstable();
    assert_eq!(
        swept,
        [
            ("swept_1_canceled", 2),
            ("swept_1_expired", 12),
            ("swept_2_failed", 1),
            ("swept_canary_failed", 1)
        ]
    );
    // All that ended here ended of itself, so what programs count and this are the whole.
    assert_eq!(stats.counters["failed"], 2);
    bench.audited().await;
}

#[tokio::test]
async fn who_waits_for_a_render_that_fails_by_our_fault_is_a_dead_letter_and_whoever_left_it_is_none()
 {
    for canceled in [false, true] {
        let mut bench = Bench::new().await;
        let (owner, worker) = (tenant("a"), worker(10));
        let [leader, follower] = [Lane::Normal; 2].map(|lane| shared(&owner, lane));
        bench
            .submit(&owner, &[leader.clone(), follower.clone()])
            .await;
        assert_eq!(bench.queue.stats().await.unwrap().following, 1);
        if canceled {
            let left = bench.queue.cancel(&owner, leader.id).await.unwrap();
            assert_eq!(left, CancelOutcome::Canceled);
        }
        let ours = failed(JobError::new(FailureClass::Internal, "a bug"));
        for _ in 0..3 {
            let claim = bench.claim(&worker, 1).await.remove(0);
            let fail = bench.queue.fail(claim.job, claim.epoch, &ours, 0.0);
            fail.await.unwrap();
            bench.pass(Duration::from_secs(3)).await;
        }
        assert_eq!(bench.status(follower.id).await, Status::Failed);
        let all = DeadFilter::default();
        let letters = bench.queue.dead_letters(&owner, &all, 10).await.unwrap();
        let dead: HashSet<JobId> = letters.iter().map(|letter| letter.job).collect();
        let expected = if canceled {
            HashSet::from([follower.id])
        } else {
            HashSet::from([leader.id, follower.id])
        };
        assert_eq!(dead, expected);
        assert!(letters.iter().all(|letter| letter.message == "a bug"));
        bench.audited().await;
    }
}

#[tokio::test]
async fn a_job_of_an_open_lane_does_not_wait_for_the_same_work_in_a_paused_one() {
    let bench = Bench::new().await;
    let (owner, worker) = (tenant("a"), worker(10));
    let pause = PauseScope::Lane(Lane::Interactive);
    bench.queue.pause(&pause).await.unwrap();
    let [held, same] = [Lane::Interactive; 2].map(|lane| shared(&owner, lane));
    let open = shared(&owner, Lane::Normal);
    bench.submit(&owner, &[held, same, open.clone()]).await;
    assert_eq!(bench.queue.stats().await.unwrap().following, 1);
    let claims = bench.claim(&worker, 10).await;
    assert_eq!(claims.iter().map(|c| c.job).collect::<Vec<_>>(), [open.id]);
    bench.audited().await;
}

#[tokio::test]
async fn a_clock_that_was_ahead_keeps_no_tenant_out_no_worker_alive_and_no_slot_free() {
    const AHEAD: Duration = Duration::from_hours(24 * 30);
    let mut bench = Bench::of_one_shard().await;
    let (limited, rival, pool) = (tenant("a"), tenant("b"), worker(10));
    let quotas = Quotas {
        render_s_per_day: Some(10),
        ..Quotas::default()
    };
    bench.queue.set_quotas(&limited, &quotas).await.unwrap();
    bench.pass(AHEAD).await;
    bench.submit(&limited, &jobs(&limited, 12)).await;
    bench.submit(&rival, &jobs(&rival, 1)).await;
    // One that dies now, with twice as many slots as there are.
    let gone = worker(20);
    let claims = bench.queue.claim(&gone, 2, LEASE).await.unwrap().claims;
    bench.pass(Duration::from_secs(11)).await;
    let result = JobResult::default();
    for claim in claims {
        let done = bench.queue.finish(claim.job, claim.epoch, &result);
        assert_eq!(done.await.unwrap(), Settled::Accepted);
    }
    assert_eq!(bench.claim(&pool, 1).await.len(), 0, "its time is used up");
    bench.set_back(AHEAD).await;
    // Nobody is silent for longer than ten minutes.
    for _ in 0..12 {
        bench.pass(Duration::from_secs(60)).await;
        bench.renew(&pool, &[]).await;
    }
    let claims = bench.claim(&pool, 10).await;
    assert_eq!(
        claims.len(),
        10,
        "all slots are its own, today it has used none"
    );
    let live = bench.queue.stats().await.unwrap().workers;
    assert_eq!(live.iter().map(|w| w.id).collect::<Vec<_>>(), [pool.id]);
    bench.audited().await;
}

#[tokio::test]
async fn who_waits_for_a_render_that_nobody_knows_of_renders_for_itself_after_a_repair() {
    // The list of those who wait is gone, or the record of the job that they wait for.
    for what in ["f", "j"] {
        let bench = Bench::of_one_shard().await;
        let (owner, worker) = (tenant("a"), worker(10));
        let [leader, follower] = [Lane::Normal; 2].map(|lane| shared(&owner, lane));
        bench
            .submit(&owner, &[leader.clone(), follower.clone()])
            .await;
        let base = bench.queue.keys().base().to_owned();
        let mut command = redis::cmd("DEL");
        command.arg(format!("{base}:{what}{}", leader.id.short()));
        let gone: i64 = bench.redis(&command).await;
        assert_eq!(gone, 1);
        let named = bench.queue.audit(false).await.unwrap().violations;
        let (waits, knows) = (follower.id.short(), leader.id.short());
        let words = format!("{waits} waits for {knows}, which does not know it");
        assert!(named.iter().any(|v| v.contains(&words)), "{named:?}");
        bench.queue.audit(true).await.unwrap();
        let claims = bench.claim(&worker, 10).await;
        let claimed: HashSet<JobId> = claims.iter().map(|claim| claim.job).collect();
        let there = [leader.id, follower.id];
        let expected = if what == "f" { &there } else { &there[1..] };
        assert_eq!(claimed, expected.iter().copied().collect(), "{what}");
        bench.audited().await;
        assert_eq!(
            bench.queue.usage(&owner).await.unwrap().active,
            expected.len() as u64
        );
    }
}

#[tokio::test]
async fn a_waiting_job_whose_record_is_gone_counts_no_more_once_it_is_its_turn_or_after_a_repair() {
    for by_claim in [true, false] {
        let bench = Bench::of_one_shard().await;
        let (owner, worker) = (tenant("a"), worker(10));
        let mut two = jobs(&owner, 2);
        two[1].delay = Duration::from_secs(60);
        // A claim finds what is in line; what waits for a time is found by an audit alone.
        let lost = &two[usize::from(!by_claim)];
        bench.submit(&owner, &two).await;
        let base = bench.queue.keys().base();
        let mut command = redis::cmd("DEL");
        command.arg(format!("{base}:j{}", lost.id.short()));
        let gone: i64 = bench.redis(&command).await;
        assert_eq!(gone, 1);
        if by_claim {
            assert!(bench.claim(&worker, 10).await.is_empty());
        } else {
            assert_eq!(bench.claim(&worker, 10).await.len(), 1);
            bench.queue.audit(true).await.unwrap();
        }
        assert_eq!(bench.queue.usage(&owner).await.unwrap().active, 1);
        bench.audited().await;
    }
}

#[tokio::test]
async fn what_a_follower_saw_ends_with_its_own_end_and_its_numbers_stay() {
    let bench = Bench::new().await;
    let (owner, worker) = (tenant("a"), worker(10));
    let [leader, left, waits] = [Lane::Normal; 3].map(|lane| shared(&owner, lane));
    bench
        .submit(&owner, &[leader.clone(), left.clone(), waits.clone()])
        .await;
    let claim = bench.claim(&worker, 1).await.remove(0);
    let log = |text: &str| Renewal {
        job: claim.job,
        epoch: claim.epoch,
        events: vec![(EventKind::Log, format!(r#"{{"text":"{text}"}}"#))],
    };
    let say = async |text| {
        let kept = bench.queue.renew(&worker, LEASE, &[log(text)]).await;
        assert_eq!(kept.unwrap(), [Lease::Held]);
    };
    say("one").await;
    bench.queue.cancel(&owner, left.id).await.unwrap();
    let seen = bench.events(left.id, 0).await;
    assert_eq!(seen.last(), Some(&(3, EventKind::Done)), "start, log, end");
    say("two").await;
    assert_eq!(
        bench.events(left.id, 0).await,
        seen,
        "nothing comes behind its end"
    );
    let result = JobResult::default();
    let done = bench.queue.finish(claim.job, claim.epoch, &result).await;
    assert_eq!(done.unwrap(), Settled::Accepted);
    let seen = bench.events(waits.id, 0).await;
    assert_eq!(seen.last(), Some(&(4, EventKind::Done)), "{seen:?}");
    // The one that rendered is erased, with its events: who has seen all but the end finds it where it was.
    bench.queue.erase(&owner, leader.id, false).await.unwrap();
    for behind in [0, 2, 3] {
        let rest = bench.events(waits.id, behind).await;
        assert_eq!(rest, [(4, EventKind::Done)], "behind {behind}");
    }
    assert_eq!(bench.events(waits.id, 4).await, []);
}
