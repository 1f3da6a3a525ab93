//! The pool against a real Redis, with scripted sandboxes and a stand-in for the upload routes.

mod common;

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::{post, put};
use manimq_shared::api::{UploadGrant, UploadGrants, UploadRequest};
use manimq_shared::ids::{JobId, TenantId, WorkerId};
use manimq_shared::job::{
    AttemptOutcome, FailureClass, JobPayload, JobRecord, JobRequest, JobResult, Stage, Status,
};
use manimq_shared::queue::{Enqueued, LEASE, NewJob, Queue, Settled};
use manimq_shared::testing::Redis;
use manimq_worker::board::{Board, SlotState};
use manimq_worker::layout::{LayoutKind, LayoutWarning};
use manimq_worker::leases::{Leases, keep};
use manimq_worker::metrics::WorkerMetrics;
use manimq_worker::pool::claim_for_slots;
use manimq_worker::run::run_with;
use manimq_worker::sandbox::fake::{FakeSandbox, FakeStep};
use manimq_worker::sandbox::{ConnectError, FailureClass as Class, RenderError, RenderFailure};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

static REDIS: LazyLock<Redis> = LazyLock::new(Redis::start);

/// What the stand-in for the API received, by object key.
type Stored = Arc<Mutex<HashMap<String, Vec<u8>>>>;

/// A queue of its own, the upload routes, and any number of workers.
struct Bench {
    queue: Queue,
    redis: String,
    prefix: String,
    api: String,
    stored: Stored,
    workers: Vec<(CancellationToken, JoinHandle<anyhow::Result<()>>)>,
}

type Shared = (Queue, String, Stored);

async fn grant(
    State((queue, url, _)): State<Shared>,
    axum::Json(request): axum::Json<UploadRequest>,
) -> Result<axum::Json<UploadGrants>, StatusCode> {
    let held = queue
        .lease_is(request.job, request.epoch, &request.lease_token)
        .await;
    if !held.map_err(|_| StatusCode::SERVICE_UNAVAILABLE)? {
        return Err(StatusCode::CONFLICT);
    }
    let grants = request
        .files
        .into_iter()
        .map(|file| {
            let key = format!("{}.{}.{}", request.job, request.epoch, file.name);
            UploadGrant {
                md5: false,
                check: None,
                url: format!("{url}/put/{key}"),
                name: file.name,
                key,
                headers: [].into(),
            }
        })
        .collect();
    Ok(axum::Json(UploadGrants { grants }))
}

async fn store(State((_, _, stored)): State<Shared>, Path(key): Path<String>, body: Bytes) {
    stored.lock().unwrap().insert(key, body.to_vec());
}

impl Bench {
    async fn new() -> Self {
        Self::on(&REDIS).await
    }

    async fn on(server: &Redis) -> Self {
        let prefix = format!("t{}", WorkerId::generate());
        let queue = Queue::connect(&server.config(&prefix)).await.unwrap();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let api = format!("http://{}", listener.local_addr().unwrap());
        let stored = Stored::default();
        let routes = Router::new()
            .route("/internal/v1/uploads", post(grant))
            .route("/put/{key}", put(store))
            .with_state((queue.clone(), api.clone(), Arc::clone(&stored)));
        tokio::spawn(async move { axum::serve(listener, routes).await.unwrap() });
        Self {
            queue,
            redis: server.url(),
            prefix,
            api,
            stored,
            workers: Vec::new(),
        }
    }

    /// Starts a worker of one slot whose first sandbox follows the script; later ones just render.
    fn work(&mut self, script: Vec<FakeStep>) {
        let script = Arc::new(Mutex::new(Some(script)));
        self.work_with(move |_| {
            let script = script.lock().unwrap().take().unwrap_or_default();
            std::future::ready(Ok(FakeSandbox::new(script)))
        });
    }

    fn work_with<C, F>(&mut self, connect: C)
    where
        C: Fn(usize) -> F + Clone + Send + 'static,
        F: Future<Output = Result<FakeSandbox, ConnectError>> + Send + 'static,
    {
        self.work_given(&[], connect);
    }

    /// With more flags.
    fn work_given<C, F>(&mut self, more: &[&str], connect: C)
    where
        C: Fn(usize) -> F + Clone + Send + 'static,
        F: Future<Output = Result<FakeSandbox, ConnectError>> + Send + 'static,
    {
        let args = common::one_slot(&self.redis, &self.prefix, &self.api, more);
        let stop = CancellationToken::new();
        let hurry = CancellationToken::new();
        let task = tokio::spawn(run_with(args, connect, stop.clone(), hurry));
        self.workers.push((stop, task));
    }

    /// Stops the workers and waits for them.
    async fn stop(&mut self) {
        for (stop, _) in &self.workers {
            stop.cancel();
        }
        for (_, task) in self.workers.drain(..) {
            let ended = tokio::time::timeout(Duration::from_secs(60), task).await;
            ended.unwrap().unwrap().unwrap();
        }
    }

    async fn submit(&self) -> JobId {
        self.submit_with(false).await
    }

    async fn submit_with(&self, strict: bool) -> JobId {
        submit_to(&self.queue, strict).await
    }

    async fn read(&self, id: JobId) -> JobRecord {
        self.queue.read(id).await.unwrap().unwrap()
    }

    /// Waits until the job is as `holds` says, at most a minute.
    async fn until(&self, id: JobId, holds: impl Fn(&JobRecord) -> bool) -> JobRecord {
        for _ in 0..6000 {
            let record = self.read(id).await;
            if holds(&record) {
                return record;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("not within a minute: {:?}", self.read(id).await);
    }

    async fn ended(&self, id: JobId) -> JobRecord {
        self.until(id, |record| record.status.is_terminal()).await
    }

    async fn running(&self, id: JobId) -> JobRecord {
        self.until(id, |record| record.status == Status::Running)
            .await
    }
}

async fn submit_to(queue: &Queue, strict: bool) -> JobId {
    submit_for(queue, &TenantId::default(), strict).await
}

async fn submit_for(queue: &Queue, tenant: &TenantId, strict: bool) -> JobId {
    let source =
        "from manim import *\nclass A(Scene):\n    def construct(self):\n        self.wait()\n";
    let request: JobRequest = serde_json::from_value(serde_json::json!({
        "input": {"kind": "code", "scene": "A", "source": source}, "strict": strict
    }))
    .unwrap();
    let job = NewJob {
        id: JobId::generate(tenant),
        payload: JobPayload::from(request),
        delay: Duration::ZERO,
        idempotency: None,
        render: None,
    };
    let replies = queue
        .enqueue(tenant, std::slice::from_ref(&job))
        .await
        .unwrap();
    assert_eq!(replies, [Enqueued::Accepted]);
    job.id
}

fn render(content: &[u8]) -> FakeStep {
    FakeStep::Render {
        takes: Duration::from_millis(20),
        content: content.to_vec(),
    }
}

fn lost() -> FakeStep {
    FakeStep::Fail(RenderError::SandboxLost {
        reason: "told to".to_owned(),
    })
}

fn sha256(bytes: &[u8]) -> String {
    use sha2::Digest as _;
    let hash = sha2::Sha256::digest(bytes);
    hash.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenants_ceilings_come_before_the_workers_and_those_before_the_defaults() {
    let mut bench = Bench::new().await;
    let tenant = TenantId::default();
    let ceilings = "memory_mib=100,frames=77".parse().unwrap();
    bench
        .queue
        .set_render_limits(&tenant, &ceilings)
        .await
        .unwrap();
    bench.work_given(&["--limits", "frames=5,threads=33"], |_| {
        std::future::ready(Ok(FakeSandbox::new([FakeStep::TellLimits])))
    });
    let id = bench.submit().await;
    let told = bench.ended(id).await.result.unwrap().error.unwrap().message;
    for limit in [
        "memory_bytes: 104857600",
        "frames: 77",
        "threads: 33",
        "disk_files: 8192",
    ] {
        assert!(told.contains(limit), "{limit} is not in {told}");
    }
    bench
        .queue
        .set_render_limits(&tenant, &"".parse().unwrap())
        .await
        .unwrap();
    assert!(
        bench
            .queue
            .render_limits(&tenant)
            .await
            .unwrap()
            .is_default()
    );
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_is_rendered_stored_and_published_with_its_hash() {
    let mut bench = Bench::new().await;
    bench.work(vec![render(b"film")]);
    let id = bench.submit().await;
    let record = bench.ended(id).await;
    assert_eq!(record.status, Status::Succeeded);
    let artifact = &record.result.unwrap().artifacts[0];
    assert_eq!(artifact.key, format!("{id}.1.video.mp4"));
    assert_eq!(artifact.sha256, sha256(b"film"));
    assert_eq!(bench.stored.lock().unwrap()[&artifact.key], b"film");
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn warnings_about_the_picture_go_with_the_film_and_make_a_strict_job_fail() {
    let odd = || {
        FakeStep::Warn(vec![LayoutWarning {
            kind: LayoutKind::OutsideFrame,
            at_s: 2.0,
            message: "the text “Title” is cut off at the left edge of the picture".into(),
        }])
    };
    let told =
        "outside_frame at 2.0 s: the text “Title” is cut off at the left edge of the picture";
    let mut bench = Bench::new().await;
    bench.work(vec![odd(), odd(), render(b"good")]);
    let usual = bench.ended(bench.submit().await).await;
    assert_eq!(usual.status, Status::Succeeded);
    assert_eq!(usual.result.unwrap().warnings, [told]);

    let strict = bench.ended(bench.submit_with(true).await).await;
    assert_eq!(strict.status, Status::Failed);
    assert_eq!(strict.attempts.len(), 1);
    let result = strict.result.unwrap();
    let error = result.error.unwrap();
    assert_eq!(error.class, FailureClass::Validation);
    assert!(error.message.contains(told), "{}", error.message);
    assert_eq!(result.stage, Some(Stage::Encoding));
    assert!(result.artifacts.is_empty());
    assert_eq!(bench.stored.lock().unwrap().len(), 1, "nothing is stored");

    let good = bench.ended(bench.submit_with(true).await).await;
    assert_eq!(good.status, Status::Succeeded);
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_users_failure_is_final_and_the_slot_goes_on() {
    let mut bench = Bench::new().await;
    let failure = RenderFailure::new(Class::SceneError, "division by zero");
    bench.work(vec![FakeStep::Fail(failure.into()), render(b"next")]);
    let bad = bench.submit().await;
    let good = bench.submit().await;
    let record = bench.ended(bad).await;
    assert_eq!(record.status, Status::Failed);
    let result = record.result.unwrap();
    assert_eq!(result.error.unwrap().class, FailureClass::SceneError);
    assert_eq!(record.attempts.len(), 1);
    // How far it came is not forgotten with the progress.
    assert_eq!(result.stage, Some(Stage::Rendering));
    assert_eq!((result.usage.frames, result.usage.animations), (30, 2));
    let timings = result.timings;
    assert!(
        timings.queued_s > 0.0 && timings.prepare_s > 0.0 && timings.render_s > 0.0,
        "{timings:?}"
    );
    assert_eq!(bench.ended(good).await.status, Status::Succeeded);
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_sandbox_costs_one_attempt_and_the_job_succeeds_in_the_next() {
    let mut bench = Bench::new().await;
    bench.work(vec![lost(), render(b"second")]);
    let record = bench.ended(bench.submit().await).await;
    assert_eq!(record.status, Status::Succeeded);
    let classes: Vec<_> = record.attempts.iter().map(|a| a.class).collect();
    assert_eq!(classes, [Some(FailureClass::SandboxUnavailable), None]);
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sandbox_that_dies_while_it_waits_costs_no_attempt() {
    let mut bench = Bench::new().await;
    let dead = CancellationToken::new();
    bench.work(vec![FakeStep::Die(dead.clone()), render(b"first")]);
    tokio::time::timeout(Duration::from_secs(60), dead.cancelled())
        .await
        .expect("it dies");
    let record = bench.ended(bench.submit().await).await;
    assert_eq!(record.status, Status::Succeeded);
    assert_eq!(record.attempts.len(), 1, "{:?}", record.attempts);
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_costs_one_attempt_and_the_slot_comes_back() {
    let mut bench = Bench::new().await;
    bench.work(vec![FakeStep::Panic]);
    let record = bench.ended(bench.submit().await).await;
    assert_eq!(record.status, Status::Succeeded);
    let first = record.attempts[0].outcome;
    assert_eq!(first, Some(AttemptOutcome::LostLease));
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancel_interrupts_the_render_and_the_slot_goes_on() {
    let mut bench = Bench::new().await;
    bench.work(vec![FakeStep::Hang]);
    let id = bench.submit().await;
    bench.running(id).await;
    let tenant = TenantId::default();
    bench.queue.cancel(&tenant, id).await.unwrap();
    let record = bench.ended(id).await;
    assert_eq!(record.status, Status::Canceled);
    assert!(bench.stored.lock().unwrap().is_empty());
    let next = bench.ended(bench.submit().await).await;
    assert_eq!(next.status, Status::Succeeded);
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_worker_gives_back_what_it_cannot_end_and_another_takes_it() {
    let mut bench = Bench::new().await;
    bench.work(vec![FakeStep::Hang]);
    let id = bench.submit().await;
    bench.running(id).await;
    bench.stop().await;
    let record = bench.read(id).await;
    assert_eq!(record.status, Status::Queued);
    let first = record.attempts[0].outcome;
    assert_eq!(first, Some(AttemptOutcome::Released));
    let stats = bench.queue.stats().await.unwrap();
    assert!(stats.workers.is_empty(), "it said goodbye");
    bench.work(vec![]);
    let record = bench.ended(id).await;
    assert_eq!(record.status, Status::Succeeded);
    let last = record.attempts.last().unwrap();
    assert_eq!(last.n, 1, "the released attempt is not counted");
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slot_without_a_sandbox_is_not_ready_says_why_and_recovers() {
    let mut bench = Bench::new().await;
    let broken = Arc::new(Mutex::new(true));
    let state = Arc::clone(&broken);
    bench.work_with(move |_| {
        std::future::ready(if *state.lock().unwrap() {
            Err(ConnectError::NotFound {
                what: "bubblewrap".to_owned(),
                remedy: "run deploy/setup".to_owned(),
            })
        } else {
            Ok(FakeSandbox::new([]))
        })
    });
    let id = bench.submit().await;
    let told = async {
        loop {
            let stats = bench.queue.stats().await.unwrap();
            let trouble = |worker: &manimq_shared::queue::WorkerInfo| {
                let text = worker.trouble.clone().unwrap_or_default();
                worker.slots_ready == 0 && text.contains("deploy/setup")
            };
            if stats.workers.iter().any(trouble) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), told)
        .await
        .expect("the worker tells its trouble");
    assert_eq!(bench.read(id).await.status, Status::Queued);
    *broken.lock().unwrap() = false;
    assert_eq!(bench.ended(id).await.status, Status::Succeeded);
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_an_operator_drains_finishes_what_runs_and_claims_again_only_when_told() {
    let mut bench = Bench::new().await;
    let slow = FakeStep::Render {
        takes: Duration::from_millis(500),
        content: b"film".to_vec(),
    };
    bench.work(vec![slow]);
    let first = bench.submit().await;
    bench.running(first).await;
    let worker = bench.queue.stats().await.unwrap().workers[0].id;
    assert!(bench.queue.drain(worker, true).await.unwrap());
    let second = bench.submit().await;
    let record = bench.ended(first).await;
    assert_eq!(record.status, Status::Succeeded);
    assert_eq!(record.attempts.len(), 1);

    // It stays: a slot is free, is heard of, and takes nothing.
    let idle = async {
        loop {
            let stats = bench.queue.stats().await.unwrap();
            let info = &stats.workers[0];
            if info.draining && info.slots_busy == 0 && info.slots_ready == 1 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), idle)
        .await
        .expect("it drains");
    assert_eq!(bench.read(second).await.status, Status::Queued);

    assert!(bench.queue.drain(worker, false).await.unwrap());
    let record = bench.ended(second).await;
    assert_eq!(record.status, Status::Succeeded);
    assert_eq!(record.attempts[0].worker, worker);
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_worker_that_is_drained_leaves_new_jobs_to_others_and_stops_when_asked() {
    let mut bench = Bench::new().await;
    bench.work(vec![]);
    let worker = bench.ended(bench.submit().await).await.attempts[0].worker;
    bench.queue.drain(worker, true).await.unwrap();
    bench.work(vec![]);
    for _ in 0..5 {
        let record = bench.ended(bench.submit().await).await;
        assert_ne!(record.attempts[0].worker, worker);
    }
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_whose_jobs_have_ended_tells_the_other_shards_before_it_is_idle() {
    let mut bench = Bench::new().await;
    let mut config = REDIS.config(&format!("t{}", WorkerId::generate()));
    config.shards = Some(2);
    bench.queue = Queue::connect(&config).await.unwrap();
    let own = bench.queue.keys_of_tenant(&TenantId::default()).base();
    let mut keys = bench.queue.all_keys().iter();
    let other = keys.find(|keys| keys.base() != own).unwrap();
    let board = Board::new(WorkerId::generate(), 2);
    board.set(1, SlotState::Idle);
    let mut told = redis::cmd("HGET");
    told.arg(format!("{}:wka", other.base()))
        .arg(board.info().id.to_string());
    let told = async |wanted: u32| {
        for _ in 0..6000 {
            let jobs: Option<u32> = bench.queue.query(&told).await.unwrap();
            // No note says none.
            if jobs.unwrap_or(0) == wanted {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("not told of {wanted} jobs within a minute");
    };
    bench.submit().await;
    let claimed = bench.queue.claim(&board.info(), 1, LEASE).await.unwrap();
    let claim = &claimed.claims[0];
    let (leases, stop) = (Leases::default(), CancellationToken::new());
    let held = leases.hold(claim.job, claim.epoch);
    let alive = CancellationToken::new().drop_guard();
    let metrics = WorkerMetrics::default();
    let keeper = keep(&config, leases, board, metrics, stop.clone(), alive).unwrap();
    told(1).await;
    drop(held);
    told(0).await;
    stop.cancel();
    keeper.join().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_parked_worker_is_woken_by_whichever_shard_has_work() {
    let mut config = REDIS.config(&format!("t{}", WorkerId::generate()));
    config.shards = Some(8);
    let queue = Queue::connect(&config).await.unwrap();
    let board = Board::new(WorkerId::generate(), 1);
    board.set(0, SlotState::Idle);
    let (ready, slots) = mpsc::channel(1);
    let stop = CancellationToken::new();
    let metrics = WorkerMetrics::default();
    let claimer = claim_for_slots(queue.clone(), board.clone(), metrics, slots, stop.clone());
    let claimer = tokio::spawn(claimer);
    // Parked in all shards, that is waiting on all bells.
    let parked = async || {
        for keys in queue.all_keys() {
            let mut command = redis::cmd("ZCARD");
            command.arg(format!("{}:idle", keys.base()));
            for tries in 0.. {
                let n: u32 = queue.query(&command).await.unwrap();
                if n == 1 {
                    break;
                }
                assert!(tries < 6000, "not parked within a minute");
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
    };
    let names = (0..16).map(|n| format!("t{n}").parse().unwrap());
    let tenants: Vec<TenantId> = names.collect();
    let bases = tenants
        .iter()
        .map(|tenant| queue.keys_of_tenant(tenant).base());
    assert!(bases.collect::<HashSet<_>>().len() > 4, "of many shards");
    for tenant in &tenants {
        let (slot, claim) = oneshot::channel();
        ready.send(slot).await.unwrap();
        parked().await;
        let job = submit_for(&queue, tenant, false).await;
        let claim = tokio::time::timeout(Duration::from_secs(30), claim).await;
        let claim = claim.expect("by the bell, not by a look").unwrap();
        assert_eq!(claim.job, job);
        let result = JobResult::default();
        let settled = queue.finish(job, claim.epoch, &result).await.unwrap();
        assert_eq!(settled, Settled::Accepted);
    }
    stop.cancel();
    claimer.await.unwrap();
}

#[test]
fn leases_are_renewed_while_all_threads_that_render_are_busy() {
    let threads = 2;
    let busy = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(threads)
        .enable_all()
        .build()
        .unwrap();
    let aside = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let config = REDIS.config(&format!("t{}", WorkerId::generate()));
    let queue = aside.block_on(Queue::connect(&config)).unwrap();
    let board = Board::new(WorkerId::generate(), 1);
    let claim = aside.block_on(async {
        submit_to(&queue, false).await;
        let claimed = queue.claim(&board.info(), 1, LEASE).await.unwrap();
        claimed.claims.into_iter().next().expect("it was submitted")
    });
    let leases = Leases::default();
    let stop = CancellationToken::new();
    let keeper = {
        // Whatever the keeper would leave to the runtime that it is started in stands still.
        let _inside = busy.enter();
        let alive = CancellationToken::new().drop_guard();
        let metrics = WorkerMetrics::default();
        keep(&config, leases.clone(), board, metrics, stop.clone(), alive).unwrap()
    };
    let all_blocked = Arc::new(std::sync::Barrier::new(threads + 1));
    let released = stop.clone();
    for _ in 0..threads {
        let (all_blocked, released) = (Arc::clone(&all_blocked), released.clone());
        busy.spawn(async move {
            all_blocked.wait();
            while !released.is_cancelled() {
                std::thread::sleep(Duration::from_millis(10));
            }
        });
    }
    all_blocked.wait();
    let mut ends = redis::cmd("ZRANGE");
    let lease = format!("{}:lease", queue.keys().base());
    ends.arg(lease).arg(0).arg(0).arg("WITHSCORES");
    let ends = || -> f64 {
        let (_, at): (Vec<u8>, f64) = aside.block_on(queue.query(&ends)).unwrap();
        at
    };
    let first = ends();
    let held = leases.hold(claim.job, claim.epoch);
    let deadline = std::time::Instant::now() + Duration::from_secs(60);
    while ends() <= first {
        assert!(
            std::time::Instant::now() < deadline,
            "not renewed within a minute"
        );
        std::thread::sleep(Duration::from_millis(20));
    }
    drop(held);
    stop.cancel();
    keeper.join().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_worker_whose_queue_is_deleted_below_it_goes_on_without_an_error() {
    let server = Redis::start();
    let mut bench = Bench::on(&server).await;
    bench.work(vec![]);
    bench.ended(bench.submit().await).await;
    // Streams, groups and functions are gone, as after a restart without persistence.
    for gone in [redis::cmd("FLUSHALL"), {
        let mut flush = redis::cmd("FUNCTION");
        flush.arg("FLUSH");
        flush
    }] {
        server.every_primary(&gone).await.unwrap();
    }
    let record = bench.ended(bench.submit().await).await;
    assert_eq!(record.status, Status::Succeeded);
    assert_eq!(record.attempts.len(), 1, "{:?}", record.attempts);
    bench.stop().await;
}
