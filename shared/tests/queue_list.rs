//! The list of a tenant's jobs against a plain model, erasing, submits that are accepted all or none, and what a
//! tenant is told of its quotas.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::AssertUnwindSafe;
use std::sync::LazyLock;
use std::time::Duration;

use jiff::Timestamp;
use manimq_shared::ids::{JobId, TenantId, WorkerId};
use manimq_shared::job::{
    CacheMode, FailureClass, JobError, JobInput, JobRequest, JobResult, Status,
};
use manimq_shared::queue::{
    Claim, DeadFilter, Enqueued, Erased, LEASE, LOOKED_MAX, ListCursor, ListPage, ListQuery,
    NewJob, Queue, QuotaPolicy, Quotas, RenderKey, Retention, WorkerInfo, failed,
};
use manimq_shared::testing::{self, Redis};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError, TestRunner};

static SERVER: LazyLock<Redis> = LazyLock::new(Redis::start);

const DAY_MS: u64 = 86_400_000;
const ALL: ListQuery = ListQuery {
    from: None,
    limit: 100,
    not_before: None,
    not_after: None,
};

async fn queue() -> Queue {
    let prefix = format!("l{}", WorkerId::generate());
    Queue::connect_with_test_clock(&SERVER.config(&prefix))
        .await
        .unwrap()
}

fn now_ms() -> u64 {
    u64::try_from(Timestamp::now().as_millisecond()).unwrap()
}

fn tenant(name: &str) -> TenantId {
    name.parse().unwrap()
}

fn job_of(tenant: &TenantId, source: &str, tag: &str) -> NewJob {
    let request: JobRequest = serde_json::from_value(serde_json::json!({
        "input": {"kind": "code", "source": source, "scene": "A", "file_name": "a.py"},
        "tags": [tag], "metadata": {"of": tag},
    }))
    .unwrap();
    NewJob::new(tenant, request)
}

fn sharing(source: &str, cache: CacheMode) -> NewJob {
    let mut job = job_of(&TenantId::default(), source, "x");
    job.payload.request.cache = cache;
    NewJob {
        render: RenderKey::of(&job.payload),
        ..job
    }
}

async fn accept(queue: &Queue, job: &NewJob) -> JobId {
    let jobs = std::slice::from_ref(job);
    let replies = queue.enqueue(&TenantId::default(), jobs).await.unwrap();
    assert!(
        matches!(replies[..], [Enqueued::Accepted | Enqueued::Cached]),
        "{replies:?}"
    );
    job.id
}

fn worker() -> WorkerInfo {
    WorkerInfo {
        renderer: "r1".to_owned(),
        ..testing::worker(100)
    }
}

async fn claims(queue: &Queue) -> Vec<Claim> {
    queue.claim(&worker(), 100, LEASE).await.unwrap().claims
}

async fn succeed(queue: &Queue, claim: &Claim) {
    let result = JobResult {
        warnings: vec!["made".to_owned()],
        ..JobResult::default()
    };
    queue.finish(claim.job, claim.epoch, &result).await.unwrap();
}

fn ids(page: &ListPage) -> Vec<JobId> {
    page.jobs.iter().map(|job| job.record.id).collect()
}

/// All pages, each of `limit`.
async fn listed(queue: &Queue, tenant: &TenantId, limit: usize) -> Vec<JobId> {
    let (mut all, mut from) = (Vec::new(), None);
    loop {
        let query = ListQuery { from, limit, ..ALL };
        let page = queue.list(tenant, query, |_| true).await.unwrap();
        all.extend(ids(&page));
        from = page.next;
        if from.is_none() {
            return all;
        }
    }
}

/// One step of the model test. Small numbers choose among what is there.
#[derive(Debug, Clone)]
enum Step {
    Submit(u8, u8, u8),
    /// The same submit once more: the ids are there.
    SubmitAgain(u8),
    /// A submit that is refused.
    Refused(u8),
    Run(u8),
    Cancel(u8),
    Erase(u8),
    /// Its record expires.
    Forget(u8),
    Pass(u8),
    Open(u8, u8, u8),
    Turn(u8),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (any::<u8>(), 1..30u8, any::<u8>()).prop_map(|(t, n, tag)| Step::Submit(t, n, tag)),
        1 => any::<u8>().prop_map(Step::SubmitAgain),
        1 => any::<u8>().prop_map(Step::Refused),
        2 => any::<u8>().prop_map(Step::Run),
        2 => any::<u8>().prop_map(Step::Cancel),
        2 => any::<u8>().prop_map(Step::Erase),
        1 => any::<u8>().prop_map(Step::Forget),
        2 => any::<u8>().prop_map(Step::Pass),
        3 => (any::<u8>(), any::<u8>(), any::<u8>()).prop_map(|(t, n, f)| Step::Open(t, n, f)),
        8 => any::<u8>().prop_map(Step::Turn),
    ]
}

struct Known {
    tenant: usize,
    status: Status,
    tag: u8,
    new: NewJob,
}

/// Somebody who turns the pages of a list.
struct Reader {
    tenant: usize,
    limit: usize,
    filter: u8,
    from: Option<ListCursor>,
    seen: Vec<JobId>,
    /// Ids that fitted all the time since it began.
    always: BTreeSet<JobId>,
    ended: bool,
}

struct Model {
    queue: Queue,
    tenants: [TenantId; 2],
    now: u64,
    /// In the order of acceptance.
    order: Vec<JobId>,
    jobs: BTreeMap<JobId, Known>,
    readers: Vec<Reader>,
}

fn fits(filter: u8, status: Status, tag: u8) -> bool {
    match filter % 4 {
        0 => true,
        1 => tag == 1,
        2 => status == Status::Queued,
        _ => status.is_terminal(),
    }
}

impl Model {
    async fn new() -> Self {
        let queue = queue().await;
        let now = now_ms() - 10 * DAY_MS;
        queue.set_test_clock(now).await.unwrap();
        Self {
            queue,
            tenants: [tenant("ada"), tenant("bo")],
            now,
            order: Vec::new(),
            jobs: BTreeMap::new(),
            readers: Vec::new(),
        }
    }

    fn some(&self, n: u8, is: impl Fn(&Known) -> bool) -> Option<JobId> {
        let some: Vec<JobId> = self
            .jobs
            .iter()
            .filter(|(_, known)| is(known))
            .map(|(id, _)| *id)
            .collect();
        (!some.is_empty()).then(|| some[usize::from(n) % some.len()])
    }

    async fn take(&mut self, step: &Step) -> Result<(), TestCaseError> {
        match *step {
            Step::Submit(t, n, tag) => {
                let t = usize::from(t) % 2;
                let jobs: Vec<NewJob> = (0..n)
                    .map(|i| {
                        let tag = (tag.wrapping_add(i)) % 2;
                        // Some fronts are longer than what is read at first.
                        let source = "x".repeat(if i % 3 == 0 { 5000 } else { 10 });
                        let mut job = job_of(&self.tenants[t], &source, &tag.to_string());
                        if i % 7 == 0 {
                            let long = (0..4).map(|k| (k.to_string(), "é".repeat(250)));
                            job.payload.request.metadata.extend(long);
                        }
                        job
                    })
                    .collect();
                let replies = self.queue.enqueue(&self.tenants[t], &jobs).await.unwrap();
                for (job, reply) in jobs.into_iter().zip(replies) {
                    prop_assert_eq!(reply, Enqueued::Accepted);
                    self.order.push(job.id);
                    let tag = job.payload.request.tags[0].parse().unwrap();
                    let known = Known {
                        tenant: t,
                        status: Status::Queued,
                        tag,
                        new: job,
                    };
                    self.jobs.insert(known.new.id, known);
                }
            }
            Step::SubmitAgain(n) => {
                if let Some(id) = self.some(n, |_| true) {
                    let known = &self.jobs[&id];
                    let again = std::slice::from_ref(&known.new);
                    let of = &self.tenants[known.tenant];
                    let replies = self.queue.enqueue(of, again).await.unwrap();
                    prop_assert_eq!(replies, [Enqueued::Exists(id)]);
                }
            }
            Step::Refused(t) => {
                let of = &self.tenants[usize::from(t) % 2];
                let mut job = job_of(of, "refused", "0");
                job.payload.request.cache = CacheMode::Only;
                job.render = RenderKey::of(&job.payload);
                let replies = self.queue.enqueue(of, &[job]).await.unwrap();
                prop_assert_eq!(replies, [Enqueued::NotCached]);
            }
            Step::Run(n) => {
                let claimed = self
                    .queue
                    .claim(&worker(), usize::from(n) % 8 + 1, LEASE)
                    .await;
                for claim in claimed.unwrap().claims {
                    succeed(&self.queue, &claim).await;
                    if let Some(known) = self.jobs.get_mut(&claim.job) {
                        known.status = Status::Succeeded;
                    }
                }
            }
            Step::Cancel(n) => {
                if let Some(id) = self.some(n, |known| known.status == Status::Queued) {
                    let known = self.jobs.get_mut(&id).unwrap();
                    known.status = Status::Canceled;
                    let of = &self.tenants[known.tenant];
                    self.queue.cancel(of, id).await.unwrap();
                }
            }
            Step::Erase(n) => {
                if let Some(id) = self.some(n, |known| known.status.is_terminal()) {
                    let known = self.jobs.remove(&id).unwrap();
                    let of = &self.tenants[known.tenant];
                    let erased = self.queue.erase(of, id, false).await.unwrap();
                    prop_assert!(matches!(erased, Erased::Gone(_)), "{:?}", erased);
                }
            }
            Step::Forget(n) => {
                if let Some(id) = self.some(n, |known| known.status.is_terminal()) {
                    self.jobs.remove(&id);
                    let key = self.queue.keys_of(id).job(id);
                    let _: i64 = self.queue.query(redis::cmd("DEL").arg(key)).await.unwrap();
                }
            }
            Step::Pass(n) => {
                let most = now_ms();
                self.now = (self.now + u64::from(n) * 300_000).min(most);
                self.queue.set_test_clock(self.now).await.unwrap();
            }
            Step::Open(t, limit, filter) => {
                let t = usize::from(t) % 2;
                self.readers.push(Reader {
                    tenant: t,
                    limit: usize::from(limit) % 20 + 1,
                    filter,
                    from: None,
                    seen: Vec::new(),
                    always: self
                        .jobs
                        .iter()
                        .filter(|(_, known)| {
                            known.tenant == t && fits(filter, known.status, known.tag)
                        })
                        .map(|(id, _)| *id)
                        .collect(),
                    ended: false,
                });
            }
            Step::Turn(n) => {
                let open = self.readers.len();
                if open > 0 {
                    self.turn(usize::from(n) % open).await?;
                }
            }
        }
        for reader in &mut self.readers {
            reader.always.retain(|id| {
                self.jobs
                    .get(id)
                    .is_some_and(|known| fits(reader.filter, known.status, known.tag))
            });
        }
        Ok(())
    }

    /// Reads a page, and judges all pages after the last one.
    async fn turn(&mut self, n: usize) -> Result<(), TestCaseError> {
        let reader = &mut self.readers[n];
        let query = ListQuery {
            from: reader.from,
            limit: reader.limit,
            ..ALL
        };
        let filter = reader.filter;
        let page = self
            .queue
            .list(&self.tenants[reader.tenant], query, |record| {
                let tag = record.payload.request.tags[0].parse().unwrap();
                fits(filter, record.status, tag)
            })
            .await
            .unwrap();
        prop_assert!(page.jobs.len() <= reader.limit);
        for job in &page.jobs {
            let known = self.jobs.get(&job.record.id);
            prop_assert!(known.is_some(), "a job that is gone is listed");
            let known = known.unwrap();
            prop_assert_eq!(job.record.status, known.status);
            let asked = &known.new.payload.request;
            let told = &job.record.payload.request;
            prop_assert_eq!((&asked.tags, &asked.metadata), (&told.tags, &told.metadata));
            let JobInput::Code { source, .. } = &asked.input else {
                unreachable!("a job with code")
            };
            prop_assert_eq!(job.source_bytes, source.len() as u64);
            let made = known.status == Status::Succeeded;
            prop_assert_eq!(job.record.result.is_some(), made);
        }
        reader.seen.extend(ids(&page));
        reader.from = page.next;
        if page.next.is_none() {
            reader.ended = true;
            let unique: BTreeSet<_> = reader.seen.iter().copied().collect();
            prop_assert_eq!(unique.len(), reader.seen.len(), "a job was listed twice");
            let missed: Vec<_> = reader.always.difference(&unique).collect();
            prop_assert!(missed.is_empty(), "missed: {:?}", missed);
            let mut place = self.order.iter().rev();
            let in_order = reader.seen.iter().all(|id| place.any(|other| other == id));
            prop_assert!(in_order, "not newest first");
            self.readers.remove(n);
        }
        Ok(())
    }
}

#[test]
fn pages_show_nothing_twice_and_miss_nothing_that_was_there_all_the_time() {
    let steps: usize = std::env::var("MANIMQ_SOAK_STEPS")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(4_000);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let config = Config {
        cases: u32::try_from(steps.div_ceil(100)).unwrap(),
        failure_persistence: None,
        max_shrink_iters: 200,
        ..Config::default()
    };
    let taken = TestRunner::new(config).run(&prop::collection::vec(step(), 100), |steps| {
        let run = AssertUnwindSafe(async {
            let mut model = Model::new().await;
            for step in &steps {
                model.take(step).await?;
            }
            while !model.readers.is_empty() {
                model.turn(0).await?;
            }
            let audit = model.queue.audit(false).await.unwrap();
            prop_assert_eq!(audit.violations, [""; 0]);
            Ok(())
        });
        runtime.block_on(run.0)
    });
    taken.unwrap();
}

#[tokio::test]
async fn a_page_that_finds_nothing_says_where_to_go_on() {
    let queue = queue().await;
    let of = tenant("many");
    let quotas = Quotas {
        queued_max: Some(10_000),
        ..Quotas::default()
    };
    queue.set_quotas(&of, &quotas).await.unwrap();
    let mut first = None;
    for _ in 0..LOOKED_MAX / 100 + 5 {
        let jobs: Vec<_> = (0..100).map(|_| job_of(&of, "x", "no")).collect();
        first = first.or(Some(jobs[0].id));
        queue.enqueue(&of, &jobs).await.unwrap();
    }
    let (mut pages, mut from) = (Vec::new(), None);
    loop {
        let query = ListQuery { from, ..ALL };
        let page = queue.list(&of, query, |job| Some(job.id) == first).await;
        let page = page.unwrap();
        from = page.next;
        pages.push(page.jobs.len());
        if from.is_none() {
            break;
        }
    }
    assert_eq!(pages, [0, 1]);
}

#[tokio::test]
async fn a_list_can_be_cut_by_time() {
    let queue = queue().await;
    let of = TenantId::default();
    let start = now_ms() - 5 * DAY_MS;
    let mut made = Vec::new();
    for day in 0..5 {
        queue.set_test_clock(start + day * DAY_MS).await.unwrap();
        made.push(accept(&queue, &job_of(&of, "x", "x")).await);
    }
    let at = |day: u64| {
        let ms = i64::try_from(start + day * DAY_MS).unwrap();
        Some(Timestamp::from_millisecond(ms).unwrap())
    };
    for (not_before, not_after, expected) in [
        (at(2), None, &made[2..]),
        (None, at(2), &made[..3]),
        (at(1), at(3), &made[1..4]),
        (at(4), at(0), &[][..]),
    ] {
        let query = ListQuery {
            not_before,
            not_after,
            ..ALL
        };
        let page = queue.list(&of, query, |_| true).await.unwrap();
        let mut found = ids(&page);
        found.reverse();
        assert_eq!(found, expected);
    }
}

#[tokio::test]
async fn another_tenants_jobs_are_in_no_list() {
    let queue = queue().await;
    let (ada, bo) = (tenant("ada"), tenant("bo"));
    let jobs: Vec<_> = (0..5).map(|_| job_of(&ada, "x", "x")).collect();
    queue.enqueue(&ada, &jobs).await.unwrap();
    assert_eq!(listed(&queue, &ada, 2).await.len(), 5);
    assert_eq!(listed(&queue, &bo, 2).await, []);
    let other = [job_of(&bo, "x", "x")];
    queue.enqueue(&bo, &other).await.unwrap();
    queue.forget_lists(&ada).await.unwrap();
    assert_eq!(listed(&queue, &ada, 2).await, []);
    assert_eq!(listed(&queue, &bo, 2).await, [other[0].id]);
}

#[tokio::test]
async fn a_list_lives_as_long_as_a_job_that_waited_for_long() {
    let queue = queue().await;
    let of = TenantId::default();
    let start = now_ms() - 9 * DAY_MS;
    queue.set_test_clock(start).await.unwrap();
    let second = Duration::from_secs(1);
    let mut keep = Retention {
        succeeded: second,
        others: second,
    };
    queue.set_retention(keep).await.unwrap();
    let id = accept(&queue, &job_of(&of, "x", "x")).await;
    let key = queue
        .keys_of_tenant(&of)
        .jobs_of_day(&of, u32::try_from(start / DAY_MS).unwrap());
    let ttl = async || -> i64 { queue.query(redis::cmd("TTL").arg(&key)).await.unwrap() };
    let before = ttl().await;
    assert!((777_000..=777_601).contains(&before), "{before}");
    let month = Duration::from_secs(30 * 86_400);
    keep.others = month;
    queue.set_retention(keep).await.unwrap();
    queue.set_test_clock(start + 8 * DAY_MS).await.unwrap();
    queue.cancel(&of, id).await.unwrap();
    let after = ttl().await;
    assert!((2_591_000..=2_592_000).contains(&after), "{after}");
    assert_eq!(listed(&queue, &of, 10).await, [id]);
}

#[tokio::test]
async fn a_job_that_waits_for_anothers_render_is_listed_as_that_is() {
    let queue = queue().await;
    let first = accept(&queue, &sharing("x", CacheMode::Use)).await;
    let second = accept(&queue, &sharing("x", CacheMode::Use)).await;
    let claim = claims(&queue).await.remove(0);
    let page = queue
        .list(&TenantId::default(), ALL, |_| true)
        .await
        .unwrap();
    assert_eq!(ids(&page), [second, first]);
    assert!(
        page.jobs
            .iter()
            .all(|job| job.record.status == Status::Running)
    );
    assert_eq!(page.jobs[0].record.rendered_by, Some(first));
    succeed(&queue, &claim).await;
    let page = queue
        .list(&TenantId::default(), ALL, |_| true)
        .await
        .unwrap();
    for job in page.jobs {
        assert_eq!(job.record.status, Status::Succeeded);
        assert_eq!(job.record.result.unwrap().warnings, ["made"]);
    }
}

async fn erase(queue: &Queue, id: JobId) -> Erased {
    queue.erase(&TenantId::default(), id, false).await.unwrap()
}

/// Erases a job; gives who rendered its files and how many others show them.
async fn gone(queue: &Queue, id: JobId) -> (JobId, u64) {
    match erase(queue, id).await {
        Erased::Gone(leaves) => {
            assert!(queue.read(id).await.unwrap().is_none());
            (leaves.rendered_by, leaves.shown_by_others)
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn files_may_go_with_the_last_job_that_shows_them_and_not_before() {
    // In every order: the job that rendered, one that waited for it, and two that its result answered.
    for order in [[0, 1, 2, 3], [3, 2, 1, 0], [1, 0, 3, 2], [2, 3, 0, 1]] {
        let queue = queue().await;
        queue.renew(&worker(), LEASE, &[]).await.unwrap();
        let first = accept(&queue, &sharing("x", CacheMode::Use)).await;
        let second = accept(&queue, &sharing("x", CacheMode::Use)).await;
        let claim = claims(&queue).await.remove(0);
        succeed(&queue, &claim).await;
        let third = accept(&queue, &sharing("x", CacheMode::Only)).await;
        let fourth = accept(&queue, &sharing("x", CacheMode::Only)).await;
        let jobs = [first, second, third, fourth];
        for (n, index) in order.into_iter().enumerate() {
            assert!(queue.shows_files_of(first).await.unwrap());
            let left = 3 - n as u64;
            assert_eq!(
                gone(&queue, jobs[index]).await,
                (first, left),
                "{order:?} {n}"
            );
        }
        assert!(!queue.shows_files_of(first).await.unwrap());
        let audit = queue.audit(false).await.unwrap();
        assert_eq!(audit.violations, [""; 0]);
        // The render is not reused: its files are gone.
        let again = sharing("x", CacheMode::Only);
        let reply = queue.enqueue(&TenantId::default(), &[again]).await.unwrap();
        assert_eq!(reply, [Enqueued::NotCached]);
    }
}

#[tokio::test]
async fn files_of_a_canceled_job_whose_render_went_on_belong_to_who_waited_for_it() {
    let queue = queue().await;
    let of = TenantId::default();
    let first = accept(&queue, &sharing("x", CacheMode::Use)).await;
    let second = accept(&queue, &sharing("x", CacheMode::Use)).await;
    let claim = claims(&queue).await.remove(0);
    queue.cancel(&of, first).await.unwrap();
    assert_eq!(erase(&queue, first).await, Erased::RendersForOthers(1));
    succeed(&queue, &claim).await;
    let Erased::Gone(leaves) = erase(&queue, first).await else {
        panic!("it has ended");
    };
    assert_eq!((leaves.result, leaves.shown_by_others), (None, 1));
    assert!(queue.shows_files_of(first).await.unwrap());
    assert_eq!(gone(&queue, second).await, (first, 0));
    assert!(!queue.shows_files_of(first).await.unwrap());
}

#[tokio::test]
async fn only_an_ended_job_of_ones_own_is_erased_and_a_dry_run_erases_nothing() {
    let queue = queue().await;
    let of = TenantId::default();
    let mut job = job_of(&of, "x", "x");
    job.idempotency = Some(("k".to_owned(), "f".to_owned()));
    let id = accept(&queue, &job).await;
    assert_eq!(erase(&queue, id).await, Erased::NotEnded(Status::Queued));
    let claim = claims(&queue).await.remove(0);
    assert_eq!(erase(&queue, id).await, Erased::NotEnded(Status::Running));
    succeed(&queue, &claim).await;
    let other = queue.erase(&tenant("other"), id, false).await.unwrap();
    assert_eq!(other, Erased::NotFound);
    let dry = queue.erase(&of, id, true).await.unwrap();
    assert!(
        matches!(&dry, Erased::Gone(leaves) if leaves.result.is_some()),
        "{dry:?}"
    );
    assert!(queue.read(id).await.unwrap().is_some());
    assert_eq!(erase(&queue, id).await, dry);
    assert_eq!(erase(&queue, id).await, Erased::NotFound);
    assert!(!queue.shows_files_of(id).await.unwrap());
    // Its idempotency key is free again, and a late worker finds nothing.
    succeed(&queue, &claim).await;
    job.id = JobId::generate(&of);
    assert_eq!(accept(&queue, &job).await, job.id);
    assert_eq!(listed(&queue, &of, 10).await, [job.id]);
}

#[tokio::test]
async fn an_erased_dead_letter_is_no_dead_letter() {
    let queue = queue().await;
    let of = TenantId::default();
    let mut now = now_ms();
    let id = accept(&queue, &job_of(&of, "x", "x")).await;
    let ours = failed(JobError::new(FailureClass::Internal, "no"));
    for _ in 0..3 {
        now += 120_000;
        queue.set_test_clock(now).await.unwrap();
        let claim = claims(&queue).await.remove(0);
        queue.fail(id, claim.epoch, &ours, 0.0).await.unwrap();
    }
    let dead = async || {
        queue
            .dead_letters(&of, &DeadFilter::default(), 9)
            .await
            .unwrap()
            .len()
    };
    assert_eq!(dead().await, 1);
    gone(&queue, id).await;
    assert_eq!(dead().await, 0);
}

#[tokio::test]
async fn all_or_none_takes_all_that_fit_and_none_of_one_too_many() {
    let queue = queue().await;
    let of = TenantId::default();
    let quotas = Quotas {
        queued_max: Some(5),
        submits_per_minute: Some(7),
        ..Quotas::default()
    };
    queue.set_quotas(&of, &quotas).await.unwrap();
    let some = |n: usize| -> Vec<NewJob> { (0..n).map(|_| job_of(&of, "x", "x")).collect() };
    let six = some(6);
    let replies = queue.enqueue_all_or_none(&of, &six).await.unwrap();
    let full = Enqueued::Full {
        active: 5,
        limit: 5,
    };
    assert_eq!(replies[..5], vec![Enqueued::Withheld; 5]);
    assert_eq!(replies[5], full);
    for job in &six {
        assert!(queue.read(job.id).await.unwrap().is_none());
    }
    // A refusal uses up nothing, and says the same again.
    assert_eq!(queue.enqueue_all_or_none(&of, &six).await.unwrap(), replies);
    let five = some(5);
    let replies = queue.enqueue_all_or_none(&of, &five).await.unwrap();
    assert_eq!(replies, vec![Enqueued::Accepted; 5]);
    // The whole of it repeated finds its own jobs.
    let replies = queue.enqueue_all_or_none(&of, &five).await.unwrap();
    let own: Vec<_> = five.iter().map(|job| Enqueued::Exists(job.id)).collect();
    assert_eq!(replies, own);
    for claim in claims(&queue).await {
        succeed(&queue, &claim).await;
    }
    let three = some(3);
    let replies = queue.enqueue_all_or_none(&of, &three).await.unwrap();
    assert_eq!(replies[..2], vec![Enqueued::Withheld; 2]);
    assert!(
        matches!(
            replies[2],
            Enqueued::Limited {
                policy: QuotaPolicy::SubmitsPerMinute,
                limit: 7,
                used: 7,
                ..
            }
        ),
        "{replies:?}"
    );
    let replies = queue.enqueue_all_or_none(&of, &some(2)).await.unwrap();
    assert_eq!(replies, vec![Enqueued::Accepted; 2]);
    let mut expected: Vec<JobId> = five.iter().map(|job| job.id).collect();
    expected.reverse();
    assert_eq!(listed(&queue, &of, 3).await[2..], expected);
    let audit = queue.audit(false).await.unwrap();
    assert_eq!(audit.violations, [""; 0]);
}

#[tokio::test]
async fn all_or_none_holds_for_idempotency_keys_too_and_beside_others_submits() {
    let queue = queue().await;
    let of = TenantId::default();
    let keyed = |key: &str, print: &str| NewJob {
        idempotency: Some((key.to_owned(), print.to_owned())),
        ..job_of(&of, "x", "x")
    };
    let first = accept(&queue, &keyed("a", "1")).await;
    // One that is there already is no reason to refuse the others.
    let jobs = [keyed("a", "1"), keyed("b", "1")];
    let replies = queue.enqueue_all_or_none(&of, &jobs).await.unwrap();
    assert_eq!(replies, [Enqueued::Exists(first), Enqueued::Accepted]);
    // A key that was used for something else is.
    let jobs = [keyed("c", "1"), keyed("a", "2")];
    let replies = queue.enqueue_all_or_none(&of, &jobs).await.unwrap();
    assert_eq!(replies, [Enqueued::Withheld, Enqueued::KeyReused(first)]);
    // Many at once, each in groups of ten, against a quota that is no multiple of ten.
    let quotas = Quotas {
        queued_max: Some(57),
        ..Quotas::default()
    };
    queue.set_quotas(&of, &quotas).await.unwrap();
    let mut tasks = Vec::new();
    for _ in 0..20 {
        let (queue, of) = (queue.clone(), of.clone());
        tasks.push(tokio::spawn(async move {
            let jobs: Vec<_> = (0..10).map(|_| job_of(&of, "y", "x")).collect();
            let replies = queue.enqueue_all_or_none(&of, &jobs).await.unwrap();
            let taken = replies.iter().filter(|reply| **reply == Enqueued::Accepted);
            taken.count()
        }));
    }
    let mut taken = Vec::new();
    for task in tasks {
        taken.push(task.await.unwrap());
    }
    assert!(taken.iter().all(|n| [0, 10].contains(n)), "{taken:?}");
    assert_eq!(taken.iter().sum::<usize>(), 50);
}

#[tokio::test]
async fn a_tenant_is_told_of_its_quotas_what_refusals_say() {
    let queue = queue().await;
    let of = TenantId::default();
    let now = 86_400_000 * (now_ms() / 86_400_000) + 3_600_000;
    queue.set_test_clock(now).await.unwrap();
    let quotas = Quotas {
        queued_max: Some(4),
        submits_per_minute: Some(6),
        submits_per_day: Some(100),
        render_s_per_day: Some(50),
        ..Quotas::default()
    };
    queue.set_quotas(&of, &quotas).await.unwrap();
    for _ in 0..3 {
        accept(&queue, &job_of(&of, "x", "x")).await;
    }
    let claim = queue
        .claim(&worker(), 1, LEASE)
        .await
        .unwrap()
        .claims
        .remove(0);
    queue.set_test_clock(now + 5_000).await.unwrap();
    succeed(&queue, &claim).await;
    let usage = queue.usage(&of).await.unwrap();
    assert_eq!((usage.active, usage.running), (2, 0));
    assert_eq!(usage.quotas, quotas);
    let told: Vec<_> = usage
        .used()
        .iter()
        .map(|used| {
            (
                used.policy.as_str(),
                used.limit,
                used.used,
                used.more_in.as_secs(),
            )
        })
        .collect();
    // Three submits at once are 30 s of a rate of six a minute, of which 5 have passed.
    let midnight = 23 * 3600 - 5;
    assert_eq!(
        told,
        [
            ("queued_jobs", 4, 2, 0),
            ("submits_per_minute", 6, 3, 5),
            ("submits_per_day", 100, 3, 864 - 5),
            ("render_seconds_per_day", 50, 5, midnight),
        ]
    );
    // As many more as it says are left, and not one more.
    let left = usage.used()[0].left();
    for n in 0..left + 1 {
        let reply = queue.enqueue(&of, &[job_of(&of, "x", "x")]).await.unwrap();
        assert_eq!(reply == [Enqueued::Accepted], n < left, "{reply:?}");
    }
}
