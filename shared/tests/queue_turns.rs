//! A claim of many plans its turns before it reads a job. It must take what claims of one would take, in the same
//! order, against a real Redis.

use std::collections::HashMap;
use std::sync::LazyLock;

use manimq_shared::ids::{JobId, TenantId, WorkerId};
use manimq_shared::job::{JobRequest, Lane};
use manimq_shared::queue::{LEASE, NewJob, Queue, Quotas, RedisConfig, WorkerInfo};
use manimq_shared::testing::{Redis, worker};

static SERVER: LazyLock<Redis> = LazyLock::new(Redis::start);

const START: u64 = 1_767_574_800_000;
const TENANTS: usize = 5;
/// Jobs of each tenant.
const EACH: usize = 40;

/// A queue of its own with the same work as every other one, and which job is which.
struct Work {
    queue: Queue,
    /// Tenant and number among its jobs.
    known: HashMap<JobId, (usize, usize)>,
    worker: WorkerInfo,
}

fn job(owner: &TenantId, number: usize, with_deadlines: bool) -> NewJob {
    let request: JobRequest = serde_json::from_value(serde_json::json!({
        "input": {"kind": "code", "source": "x", "scene": "A"}
    }))
    .unwrap();
    let mut job = NewJob::new(owner, request);
    // The tenants differ in which lanes they use, and how.
    job.payload.request.lane = match (number + owner.as_str().len()) % 7 {
        0 | 3 => Lane::Batch,
        1 => Lane::Interactive,
        _ => Lane::Normal,
    };
    if with_deadlines && number % 3 == 1 {
        job.payload.request.deadline_s = Some(10);
    }
    job
}

impl Work {
    async fn new(with_deadlines: bool, slots: u32) -> Self {
        let prefix = format!("t{}", WorkerId::generate());
        // The order of claims is exact within a shard only.
        let config = RedisConfig {
            shards: Some(1),
            ..SERVER.config(&prefix)
        };
        let queue = Queue::connect_with_test_clock(&config).await.unwrap();
        queue.set_test_clock(START).await.unwrap();
        let mut known = HashMap::new();
        for i in 0..TENANTS {
            // As long as names differ, so do the lanes.
            let owner: TenantId = format!("t{}", "x".repeat(i)).parse().unwrap();
            let quotas = Quotas {
                weight: Some([1.0, 2.5, 1.0, 4.0, 1.0][i]),
                running_max: (i == 2).then_some(3),
                ..Quotas::default()
            };
            queue.set_quotas(&owner, &quotas).await.unwrap();
            let jobs: Vec<NewJob> = (0..EACH).map(|n| job(&owner, n, with_deadlines)).collect();
            for (n, job) in jobs.iter().enumerate() {
                known.insert(job.id, (i, n));
            }
            queue.enqueue(&owner, &jobs).await.unwrap();
        }
        // Deadlines pass, and more than a sweep takes away at once.
        queue.set_test_clock(START + 20_000).await.unwrap();
        Self {
            queue,
            known,
            worker: worker(slots),
        }
    }

    /// What claims of `n` give, until there were `most` jobs or nothing more comes.
    async fn claimed(&self, most: usize, n: usize) -> Vec<(usize, usize)> {
        let mut all = Vec::new();
        while all.len() < most {
            let claimed = self.queue.claim(&self.worker, n, LEASE).await.unwrap();
            if claimed.claims.is_empty() {
                break;
            }
            all.extend(claimed.claims.iter().map(|claim| self.known[&claim.job]));
        }
        assert_eq!(self.queue.audit(false).await.unwrap().violations, [""; 0]);
        all.truncate(most);
        all
    }
}

#[tokio::test]
async fn a_claim_of_many_takes_what_claims_of_one_would_take_in_the_same_order() {
    for (with_deadlines, slots) in [(false, 1000), (true, 1000), (false, 30), (true, 30)] {
        let one_by_one = Work::new(with_deadlines, slots).await.claimed(60, 1).await;
        let together = Work::new(with_deadlines, slots).await.claimed(60, 60).await;
        assert_eq!(
            one_by_one, together,
            "deadlines: {with_deadlines}, slots: {slots}"
        );
        assert!(one_by_one.len() >= 27, "{}", one_by_one.len());
        let mut of: Vec<usize> = one_by_one.iter().map(|(tenant, _)| *tenant).collect();
        of.sort_unstable();
        of.dedup();
        assert_eq!(of.len(), TENANTS, "each tenant had its turn");
    }
}

#[tokio::test]
async fn a_claim_of_many_passes_over_entries_without_a_job_and_counts_what_runs() {
    let work = Work::new(false, 1000).await;
    for (job, (_, number)) in &work.known {
        if number % 4 == 0 {
            let mut command = redis::cmd("DEL");
            command.arg(work.queue.keys_of(*job).job(*job));
            let removed: i64 = work.queue.query(&command).await.unwrap();
            assert_eq!(removed, 1);
        }
    }
    let mut all = Vec::new();
    loop {
        let claimed = work.queue.claim(&work.worker, 100, LEASE).await.unwrap();
        if claimed.claims.is_empty() {
            break;
        }
        all.extend(claimed.claims.iter().map(|claim| work.known[&claim.job]));
    }
    let there = EACH - EACH / 4;
    assert_eq!(all.len(), (TENANTS - 1) * there + 3);
    assert!(all.iter().all(|(_, number)| number % 4 != 0));
    let of_the_capped = all.iter().filter(|(tenant, _)| *tenant == 2).count();
    assert_eq!(
        of_the_capped, 3,
        "what did not start takes no slot of its tenant"
    );
    let counters = work.queue.stats().await.unwrap().counters;
    assert!(counters["repairs"] >= 40, "{counters:?}");
}
