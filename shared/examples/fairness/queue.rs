//! The real queue as a scheduler: workers that claim, park on the bell, renew and finish as the
//! worker program does, at simulated instants.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use manimq_shared::ids::{Epoch, JobId, TenantId, WorkerId};
use manimq_shared::job::{JobRequest, JobResult};
use manimq_shared::queue::{
    BATCH_MAX, Enqueued, LEASE, Lease, NewJob, Queue, Quotas, RENEW_EVERY, RedisConfig, Renewal,
    Settled, WorkerInfo,
};
use manimq_shared::testing::{self, RedisServer};

use super::sim::{Load, Ms, Scheduler};

/// Midnight of a Monday, UTC: the simulated beginning.
const START: u64 = 1_767_571_200_000;
/// The elastic bound is a share of the slots that workers offer. Workers that say that they have
/// this many times more push it out of reach, and nothing else changes.
const BOUND_OFF: u32 = 100_000;

struct Worker {
    info: WorkerInfo,
    free: usize,
    running: Vec<(JobId, Epoch)>,
    renews_at: Ms,
    /// Waits on the bell until then.
    parked_until: Option<Ms>,
}

/// Workers on the real queue.
pub struct Manimq {
    queue: Queue,
    tenants: Vec<TenantId>,
    workers: Vec<Worker>,
    /// Parked workers, the longest waiting first: the order in which Redis serves a `BLPOP`.
    parked: VecDeque<usize>,
    ids: HashMap<JobId, usize>,
    /// Which worker runs a job, and under which lease.
    running: HashMap<usize, (usize, JobId, Epoch)>,
    now: Ms,
    /// Of whose jobs it is asked, right after their submit, when they may be expected to start.
    asked: Option<usize>,
    /// What was answered.
    guesses: Vec<(usize, Option<Duration>)>,
}

impl Manimq {
    /// A queue of its own on `server`, with workers of at most `slots_each` slots.
    pub async fn new(
        server: &RedisServer,
        load: &Load,
        slots_each: usize,
        bound: bool,
        shards: u16,
    ) -> Self {
        let config = RedisConfig {
            shards: Some(shards),
            ..server.config(&format!("f{}", WorkerId::generate()))
        };
        let queue = Queue::connect_with_test_clock(&config)
            .await
            .expect("a queue");
        let tenants: Vec<TenantId> = load
            .tenants
            .iter()
            .map(|t| t.name.parse().expect("a tenant's name"))
            .collect();
        queue.set_test_clock(START).await.expect("a clock");
        for (id, tenant) in tenants.iter().zip(&load.tenants) {
            let quotas = Quotas {
                queued_max: Some(1_000_000),
                weight: Some(tenant.weight),
                ..Quotas::default()
            };
            queue.set_quotas(id, &quotas).await.expect("quotas");
        }
        let count = load.slots.div_ceil(slots_each);
        let mut workers = Vec::with_capacity(count);
        for i in 0..count {
            let free = slots_each.min(load.slots - i * slots_each);
            let slots = u32::try_from(free).expect("few slots");
            let info = WorkerInfo {
                slots_ready: if bound { slots } else { slots * BOUND_OFF },
                ..testing::worker(slots)
            };
            // The first sign of life of all comes before the first job, as in a fleet that is up.
            queue.renew(&info, LEASE, &[]).await.expect("renew");
            let renews_at = RENEW_EVERY.as_millis() as Ms * (i as Ms + 1) / count as Ms;
            workers.push(Worker {
                info,
                free,
                running: Vec::new(),
                renews_at,
                parked_until: None,
            });
        }
        Self {
            queue,
            tenants,
            workers,
            parked: VecDeque::new(),
            ids: HashMap::new(),
            running: HashMap::new(),
            now: 0,
            asked: None,
            guesses: Vec::new(),
        }
    }

    /// From now on each job of this tenant is asked for when it may be expected to start.
    #[allow(dead_code, reason = "a test asks, the experiment does not")]
    pub fn ask_of(&mut self, tenant: usize) {
        self.asked = Some(tenant);
    }

    /// Jobs that were asked for, with the wait that was guessed, if any.
    #[allow(dead_code, reason = "a test asks, the experiment does not")]
    pub fn guesses(&self) -> &[(usize, Option<Duration>)] {
        &self.guesses
    }

    /// Ends a run: nothing in the queue may contradict itself.
    pub async fn close(self) {
        let audit = self.queue.audit(false).await.expect("audit");
        assert_eq!(audit.violations, [""; 0]);
    }

    fn unpark(&mut self, worker: usize) {
        self.workers[worker].parked_until = None;
        self.parked.retain(|&parked| parked != worker);
    }

    async fn renew(&mut self, i: usize) {
        let worker = &mut self.workers[i];
        worker.renews_at += RENEW_EVERY.as_millis() as Ms;
        let renewals: Vec<Renewal> = worker
            .running
            .iter()
            .map(|&(job, epoch)| Renewal {
                job,
                epoch,
                events: Vec::new(),
            })
            .collect();
        let leases = self
            .queue
            .renew(&worker.info, LEASE, &renewals)
            .await
            .expect("renew");
        assert!(
            leases.iter().all(|lease| *lease == Lease::Held),
            "no lease is lost"
        );
    }

    /// What a worker does with its free slots: claim until nothing comes, then park.
    async fn claim(&mut self, i: usize) -> Vec<usize> {
        let worker = &mut self.workers[i];
        let claimed = self
            .queue
            .claim(&worker.info, worker.free, LEASE)
            .await
            .expect("claim");
        if claimed.claims.is_empty() {
            worker.parked_until = Some(self.now + claimed.wait.as_millis() as Ms);
            self.parked.push_back(i);
        }
        let mut started = Vec::with_capacity(claimed.claims.len());
        for claim in claimed.claims {
            let job = self.ids[&claim.job];
            worker.free -= 1;
            worker.running.push((claim.job, claim.epoch));
            self.running.insert(job, (i, claim.job, claim.epoch));
            started.push(job);
        }
        started
    }

    /// Whether somebody rang.
    async fn rung(&mut self) -> bool {
        for keys in self.queue.all_keys() {
            let mut command = redis::cmd("LPOP");
            command.arg(keys.bell());
            let token: Option<String> = self
                .queue
                .query(&command)
                .await
                .expect("a look at the bell");
            if token.is_some() {
                return true;
            }
        }
        false
    }
}

impl Scheduler for Manimq {
    async fn advance(&mut self, now: Ms) {
        self.now = now;
        self.queue
            .set_test_clock(START + now)
            .await
            .expect("a clock");
        for i in 0..self.workers.len() {
            if self.workers[i].renews_at <= now {
                self.renew(i).await;
            }
            if self.workers[i]
                .parked_until
                .is_some_and(|until| until <= now)
            {
                self.unpark(i);
            }
        }
    }

    async fn submit(&mut self, tenant: usize, jobs: &[usize]) {
        for batch in jobs.chunks(BATCH_MAX) {
            let new: Vec<NewJob> = batch
                .iter()
                .map(|_| new_job(&self.tenants[tenant]))
                .collect();
            self.ids
                .extend(new.iter().map(|job| job.id).zip(batch.iter().copied()));
            let replies = self
                .queue
                .enqueue(&self.tenants[tenant], &new)
                .await
                .expect("enqueue");
            assert!(
                replies.iter().all(|reply| *reply == Enqueued::Accepted),
                "{replies:?}"
            );
            if self.asked == Some(tenant) {
                for (new, &job) in new.iter().zip(batch) {
                    let record = self.queue.read(new.id).await.expect("read");
                    let guess = record.expect("it was accepted").expected_wait;
                    self.guesses.push((job, guess));
                }
            }
        }
    }

    async fn end(&mut self, job: usize) {
        let (worker, id, epoch) = self.running.remove(&job).expect("it runs");
        let settled = self
            .queue
            .finish(id, epoch, &JobResult::default())
            .await
            .expect("finish");
        assert_eq!(settled, Settled::Accepted);
        self.ids.remove(&id);
        let worker = &mut self.workers[worker];
        worker.running.retain(|(running, _)| *running != id);
        worker.free += 1;
    }

    async fn start(&mut self) -> Vec<usize> {
        loop {
            for i in 0..self.workers.len() {
                // Like the program, a worker that waits on the bell does not look again because
                // one more of its slots became free.
                while self.workers[i].free > 0 && self.workers[i].parked_until.is_none() {
                    let started = self.claim(i).await;
                    if !started.is_empty() {
                        return started;
                    }
                }
            }
            if self.parked.is_empty() || !self.rung().await {
                return Vec::new();
            }
            let woken = self.parked[0];
            self.unpark(woken);
        }
    }

    fn wakes_at(&self) -> Option<Ms> {
        let parked = self.workers.iter().filter_map(|worker| worker.parked_until);
        self.workers
            .iter()
            .map(|worker| worker.renews_at)
            .chain(parked)
            .min()
    }
}

fn new_job(tenant: &TenantId) -> NewJob {
    let request: JobRequest =
        serde_json::from_str(r#"{"input":{"kind":"code","source":"","scene":"A"}}"#)
            .expect("a minimal request");
    NewJob::new(tenant, request)
}
