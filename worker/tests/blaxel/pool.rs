//! The whole way: a job in a real queue, rendered in the counterpart, stored, settled.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::{post, put};
use clap::Parser;
use manimq_shared::api::{UploadGrant, UploadGrants, UploadRequest};
use manimq_shared::ids::{JobId, TenantId, WorkerId};
use manimq_shared::job::{FailureClass, JobPayload, JobRecord, JobRequest, Status};
use manimq_shared::queue::{NewJob, Queue};
use manimq_shared::testing::Redis;
use manimq_worker::config::RunArgs;
use manimq_worker::run::run_with;
use manimq_worker::sandbox::blaxel::BlaxelSandbox;
use manimq_worker::sandbox::blaxel::output::SendFrom;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::cloud::lock;
use crate::faults::{Fault, What};
use crate::support::*;

static REDIS: LazyLock<Redis> = LazyLock::new(Redis::start);

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    args: RunArgs,
}

/// Times that each key was written, and its length.
type Stored = Arc<Mutex<BTreeMap<String, (u32, usize)>>>;
type Shared = (Queue, String, Stored);

/// A worker whose one slot renders in the counterpart.
struct Bench {
    queue: Queue,
    stored: Stored,
    stop: CancellationToken,
    worker: JoinHandle<anyhow::Result<()>>,
}

async fn grant(
    State((queue, url, _)): State<Shared>,
    axum::Json(request): axum::Json<UploadRequest>,
) -> Result<axum::Json<UploadGrants>, StatusCode> {
    let held = queue.lease_is(request.job, request.epoch, &request.lease_token);
    if !held.await.map_err(|_| StatusCode::SERVICE_UNAVAILABLE)? {
        return Err(StatusCode::CONFLICT);
    }
    let grants = request.files.into_iter().map(|file| {
        let key = format!("{}.{}.{}", request.job, request.epoch, file.name);
        UploadGrant {
            md5: false,
            check: None,
            url: format!("{url}/put/{key}?signature=secret"),
            name: file.name,
            key,
            headers: [].into(),
        }
    });
    let grants = grants.collect();
    Ok(axum::Json(UploadGrants { grants }))
}

async fn store(State((_, _, stored)): State<Shared>, Path(key): Path<String>, body: Bytes) {
    let mut stored = lock(&stored);
    let entry = stored.entry(key).or_default();
    *entry = (entry.0 + 1, body.len());
}

impl Bench {
    async fn start(site: &Site) -> Self {
        let prefix = format!("t{}", WorkerId::generate());
        let queue = Queue::connect(&REDIS.config(&prefix)).await.expect("Redis");
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
            .await
            .expect("a port");
        let api = format!("http://{}", listener.local_addr().expect("an address"));
        let stored = Stored::default();
        let routes = Router::new()
            .route("/internal/v1/uploads", post(grant))
            .route("/put/{key}", put(store))
            .with_state((queue.clone(), api.clone(), stored.clone()));
        tokio::spawn(async move { axum::serve(listener, routes).await });
        let redis = REDIS.url();
        let flags = [
            "worker",
            "--redis-url",
            &redis,
            "--redis-prefix",
            &prefix,
            "--api-url",
            &api,
            "--slots",
            "1",
            "--metrics-listen",
            "127.0.0.1:0",
            "--drain-timeout",
            "100ms",
        ];
        let args = Cli::parse_from(flags).args;
        let (stop, hurry) = (CancellationToken::new(), CancellationToken::new());
        let place = site.place.clone();
        let connect = move |_| BlaxelSandbox::connect(place.clone());
        let worker = tokio::spawn(run_with(args, connect, stop.clone(), hurry));
        Self {
            queue,
            stored,
            stop,
            worker,
        }
    }

    async fn stop(self) {
        self.stop.cancel();
        let ended = tokio::time::timeout(Duration::from_secs(60), self.worker).await;
        ended
            .expect("in time")
            .expect("no panic")
            .expect("no error");
    }

    async fn submit(&self) -> JobId {
        let source = "from manim import *\nclass A(Scene):\n    def construct(self):\n        \
                      self.play(Create(Square()), run_time=1)\n";
        let request: JobRequest = serde_json::from_value(serde_json::json!({
            "input": {"kind": "code", "scene": "A", "source": source},
            "output": {"quality": "low"}
        }))
        .expect("a request");
        let job = NewJob {
            id: JobId::generate(&TenantId::default()),
            payload: JobPayload::from(request),
            delay: Duration::ZERO,
            idempotency: None,
            render: None,
        };
        let tenant = TenantId::default();
        let enqueued = self.queue.enqueue(&tenant, std::slice::from_ref(&job));
        enqueued.await.expect("accepted");
        job.id
    }

    async fn ended(&self, id: JobId) -> JobRecord {
        for _ in 0..12_000 {
            let record = self.queue.read(id).await.expect("Redis").expect("the job");
            if record.status.is_terminal() {
                return record;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("{id} does not end");
    }

    async fn charged(&self) -> Duration {
        let usage = self.queue.usage(&TenantId::default()).await;
        usage.expect("its usage").rendered_today
    }

    /// What lies in storage of a job is what its result names, each written once.
    fn stored_once(&self, record: &JobRecord, id: JobId) {
        let result = record.result.as_ref().expect("a result");
        let mut named: Vec<String> = result.artifacts.iter().map(|a| a.key.clone()).collect();
        named.sort();
        let stored = lock(&self.stored);
        let of_job = stored
            .iter()
            .filter(|(key, _)| key.starts_with(&id.to_string()));
        let (keys, times): (Vec<String>, Vec<u32>) = of_job
            .map(|(key, (times, _))| (key.clone(), *times))
            .unzip();
        assert_eq!(keys, named);
        assert!(times.iter().all(|&times| times == 1), "{times:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_whose_sandbox_breaks_runs_again_and_its_result_is_stored_once() {
    let site = Site::new().await;
    let bench = Bench::start(&site).await;
    for (call, what, attempts) in [
        ("stream", What::NoProcesses, 2),
        ("start", What::DoneThenHtml(504), 1),
        ("write tree", What::Gone, 2),
        ("read", What::NoProcesses, 1),
    ] {
        bench.ended(bench.submit().await).await;
        site.cloud.fail(Fault::once(call, what.clone()));
        let id = bench.submit().await;
        if what == What::Gone {
            eventually("it is gone", || site.cloud.faults_left() == 0).await;
            site.cloud.deploy(NAME);
        }
        let record = bench.ended(id).await;
        assert_eq!(record.status, Status::Succeeded, "{call} {what:?}");
        let classes: Vec<_> = record.attempts.iter().map(|a| a.class).collect();
        let mut expected = vec![Some(FailureClass::SandboxUnavailable); attempts - 1];
        expected.push(None);
        assert_eq!(classes, expected, "{call} {what:?}");
        bench.stored_once(&record, id);
        assert_eq!(site.cloud.faults_left(), 0, "{call} {what:?}");
    }
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn for_a_sandbox_that_breaks_again_and_again_nobody_is_charged_and_nothing_is_stored() {
    let site = Site::new().await;
    let bench = Bench::start(&site).await;
    bench.ended(bench.submit().await).await;
    let before = bench.charged().await;
    assert!(before > Duration::ZERO, "what was rendered counts");
    // All processes are gone as soon as one of its attempts runs; a connection is left alone.
    let id = bench.submit().await;
    let jobs = crate::cloud::Cloud::inside(&site.machine).join("jobs");
    let attempts = || {
        let folders = std::fs::read_dir(&jobs).into_iter().flatten().flatten();
        folders
            .filter(|folder| {
                folder
                    .file_name()
                    .to_string_lossy()
                    .starts_with(&id.to_string())
            })
            .filter(|folder| folder.path().join("claim").exists())
            .count()
    };
    let breaking = async {
        let mut broken = 0;
        loop {
            tokio::time::sleep(Duration::from_millis(5)).await;
            if attempts() > broken {
                broken = attempts();
                site.machine.processes.forget_all();
            }
        }
    };
    let record = tokio::select! {
        record = bench.ended(id) => record,
        () = breaking => unreachable!("it never ends"),
    };
    assert_eq!(record.status, Status::Failed);
    let error = record.result.expect("a result").error.expect("an error");
    assert_eq!(error.class, FailureClass::SandboxUnavailable);
    assert_eq!(bench.charged().await, before);
    let stored = lock(&bench.stored)
        .keys()
        .filter(|key| key.starts_with(&id.to_string()))
        .count();
    assert_eq!(stored, 0);
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_result_goes_from_inside_the_sandbox_to_its_signed_url() {
    let site = Site::with(|config| config.send_from = SendFrom::Sandbox).await;
    let bench = Bench::start(&site).await;
    eventually("the slot is ready", || {
        site.machine.processes.started("manimq-keep") == 1
    })
    .await;
    let id = bench.submit().await;
    let record = bench.ended(id).await;
    assert_eq!(record.status, Status::Succeeded);
    bench.stored_once(&record, id);
    let artifacts = &record.result.as_ref().expect("a result").artifacts;
    for artifact in artifacts {
        let (_, length) = lock(&bench.stored)[&artifact.key];
        assert_eq!(length as u64, artifact.bytes);
    }
    assert_eq!(
        site.machine.processes.started("manimq-push"),
        artifacts.len()
    );
    // One look for the renderer's folder, none for a result.
    assert_eq!(site.cloud.count("read"), 1);
    bench.stop().await;
}
