//! What the metrics are told of the queue: by lane and tenant, without a leader.

use std::sync::LazyLock;
use std::time::Duration;

use manimq_shared::ids::{JobId, TenantId, WorkerId};
use manimq_shared::job::{FailureClass, JobError, JobRequest, JobResult, Lane};
use manimq_shared::queue::{
    Claim, LANES, LEASE, LaneFigures, NewJob, PauseScope, Queue, Quotas, RedisConfig, Settled,
    failed,
};
use manimq_shared::testing::{Redis, worker};

static SERVER: LazyLock<Redis> = LazyLock::new(Redis::start);

async fn queue() -> Queue {
    let prefix = format!("s{}", WorkerId::generate());
    Queue::connect(&SERVER.config(&prefix)).await.unwrap()
}

fn tenant(name: &str) -> TenantId {
    name.parse().unwrap()
}

async fn submit(queue: &Queue, owner: &TenantId, lane: &str) -> JobId {
    let request: JobRequest = serde_json::from_value(serde_json::json!({
        "input": {"kind": "code", "source": "x", "scene": "A"}, "lane": lane
    }))
    .unwrap();
    let job = NewJob::new(owner, request);
    let id = job.id;
    queue.enqueue(owner, &[job]).await.unwrap();
    id
}

async fn claim(queue: &Queue) -> Claim {
    let claimed = queue.claim(&worker(4), 1, LEASE).await.unwrap();
    claimed.claims.into_iter().next().expect("a job waits")
}

fn lanes(lanes: [LaneFigures; 4]) -> Vec<(&'static str, u64, u64)> {
    let named = LANES.into_iter().zip(lanes);
    named
        .map(|(lane, of)| (LaneFigures::name(lane), of.waiting, of.running))
        .collect()
}

#[tokio::test]
async fn a_survey_counts_what_waits_and_runs_in_each_lane_and_of_each_tenant() {
    let queue = queue().await;
    let (acme, beta) = (tenant("acme"), tenant("beta"));
    for lane in ["interactive", "normal", "normal", "batch"] {
        submit(&queue, &acme, lane).await;
    }
    submit(&queue, &beta, "batch").await;
    let survey = queue.survey(1000).await.unwrap();
    assert_eq!(
        lanes(survey.lanes),
        [
            ("returned", 0, 0),
            ("interactive", 1, 0),
            ("normal", 2, 0),
            ("batch", 2, 0)
        ]
    );
    let first = claim(&queue).await;
    let second = claim(&queue).await;
    // One is given back and waits in front of all.
    let given = queue.release(first.job, first.epoch, "test").await.unwrap();
    assert_eq!(given, Settled::Accepted);
    let survey = queue.survey(1000).await.unwrap();
    let waiting: u64 = survey.lanes.iter().map(|lane| lane.waiting).sum();
    let running: u64 = survey.lanes.iter().map(|lane| lane.running).sum();
    assert_eq!((waiting, running), (4, 1));
    assert_eq!(survey.lanes[0].waiting, 1);
    let mut tenants: Vec<_> = survey
        .tenants
        .iter()
        .map(|of| (of.tenant.as_str(), of.waiting + of.running))
        .collect();
    tenants.sort_unstable();
    assert_eq!(tenants, [("acme", 4), ("beta", 1)]);
    assert!(!survey.partial);
    let result = JobResult::default();
    queue
        .finish(second.job, second.epoch, &result)
        .await
        .unwrap();
    let stats = queue.stats().await.unwrap();
    let survey = queue.survey(1000).await.unwrap();
    let waiting: u64 = survey.lanes.iter().map(|lane| lane.waiting).sum();
    assert_eq!((waiting, stats.running), (stats.ready, 0));
}

#[tokio::test]
async fn the_oldest_age_is_that_of_the_first_job_that_nobody_took() {
    let queue = queue().await;
    let acme = tenant("acme");
    let first = submit(&queue, &acme, "normal").await;
    let pause = Duration::from_millis(300);
    tokio::time::sleep(pause).await;
    let since = std::time::Instant::now();
    submit(&queue, &acme, "normal").await;
    let old = queue.survey(1000).await.unwrap();
    assert!(old.lanes[2].oldest >= pause, "{:?}", old.lanes);
    assert_eq!(old.tenants[0].oldest, old.lanes[2].oldest);
    assert_eq!(claim(&queue).await.job, first);
    let young = queue.survey(1000).await.unwrap();
    assert!(
        young.lanes[2].oldest <= since.elapsed() + Duration::from_millis(20),
        "{:?}",
        young.lanes
    );
    assert_eq!(young.lanes[1].oldest, Duration::ZERO);
}

#[tokio::test]
async fn a_survey_ends_where_it_is_told_and_says_so() {
    // It is told how many of a shard to look at.
    let config = RedisConfig {
        shards: Some(1),
        ..SERVER.config(&format!("s{}", WorkerId::generate()))
    };
    let queue = Queue::connect(&config).await.unwrap();
    for n in 0..250 {
        submit(&queue, &tenant(&format!("t{n}")), "normal").await;
    }
    let whole = queue.survey(1000).await.unwrap();
    assert_eq!((whole.tenants.len(), whole.partial), (250, false));
    assert_eq!(whole.lanes[2].waiting, 250);
    let part = queue.survey(100).await.unwrap();
    assert_eq!((part.tenants.len(), part.partial), (100, true));
}

#[tokio::test]
async fn what_runs_again_and_what_dies_is_counted_by_its_cause() {
    let queue = queue().await;
    let acme = tenant("acme");
    submit(&queue, &acme, "normal").await;
    let error = || failed(JobError::new(FailureClass::Internal, "broken"));
    for _ in 0..3 {
        let claim = loop {
            // Retries wait for up to a few seconds.
            let claimed = queue.claim(&worker(4), 1, LEASE).await.unwrap();
            if let Some(claim) = claimed.claims.into_iter().next() {
                break claim;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        };
        queue
            .fail(claim.job, claim.epoch, &error(), 0.0)
            .await
            .unwrap();
    }
    let stats = queue.stats().await.unwrap();
    let count = |name: &str| stats.counters.get(name).copied().unwrap_or(0);
    assert_eq!(count("again_failed"), 2);
    assert_eq!(count("dead_internal"), 1);
    assert_eq!(stats.dead, 1);
    let letters = queue.dead_letters(&acme, &Default::default(), 10).await;
    let jobs: Vec<_> = letters.unwrap().iter().map(|letter| letter.job).collect();
    assert_eq!(queue.discard(&acme, &jobs).await.unwrap(), 1);
    assert_eq!(queue.stats().await.unwrap().dead, 0);
    submit(&queue, &acme, "normal").await;
    let released = claim(&queue).await;
    queue
        .release(released.job, released.epoch, "test")
        .await
        .unwrap();
    let again = claim(&queue).await;
    assert_eq!(again.job, released.job);
    let stats = queue.stats().await.unwrap();
    assert_eq!(stats.counters.get("again_released"), Some(&1));
}

#[tokio::test]
async fn what_waits_for_more_than_a_slot_ages_in_no_lane() {
    let queue = queue().await;
    let (limited, paused, free) = (tenant("limited"), tenant("paused"), tenant("free"));
    let oldest = async || {
        let survey = queue.survey(1000).await.unwrap();
        survey.lanes.map(|lane| lane.oldest_free > Duration::ZERO)
    };
    let quotas = Quotas {
        running_max: Some(1),
        ..Quotas::default()
    };
    queue.set_quotas(&limited, &quotas).await.unwrap();
    for _ in 0..2 {
        submit(&queue, &limited, "interactive").await;
    }
    let _held = claim(&queue).await;
    submit(&queue, &paused, "interactive").await;
    let scope = PauseScope::Tenant(paused.clone());
    queue.pause(&scope).await.unwrap();
    tokio::time::sleep(Duration::from_millis(2)).await;
    assert_eq!(oldest().await, [false; 4]);
    // Whoever looks sees how long they wait.
    let survey = queue.survey(1000).await.unwrap();
    assert!(survey.lanes[1].oldest > Duration::ZERO);
    assert_eq!(survey.tenants.len(), 2);
    assert!(survey.tenants.iter().all(|of| of.oldest > Duration::ZERO));

    submit(&queue, &free, "normal").await;
    submit(&queue, &free, "batch").await;
    tokio::time::sleep(Duration::from_millis(2)).await;
    assert_eq!(oldest().await, [false, false, true, true]);
    queue.pause(&PauseScope::Lane(Lane::Batch)).await.unwrap();
    assert_eq!(oldest().await, [false, false, true, false]);
    queue.pause(&PauseScope::All).await.unwrap();
    assert_eq!(oldest().await, [false; 4]);
    queue.resume(&PauseScope::All).await.unwrap();
    queue.resume(&scope).await.unwrap();
    assert_eq!(oldest().await, [false, true, true, false]);
}
