//! A worker with a real queue and a store, whose one slot renders in the counterpart.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::{get, post, put};
use bytes::Bytes;
use futures_util::StreamExt as _;
use manimq_shared::api::{
    AssetGrant, AssetGrants, AssetRequest, UploadGrant, UploadGrants, UploadRequest,
};
use manimq_shared::ids::{JobId, TenantId, WorkerId};
use manimq_shared::job::{EARLY_POSTER, FailureClass, JobPayload, JobRecord, JobRequest};
use manimq_shared::queue::{NewJob, Queue};
use manimq_shared::testing::Redis;
use manimq_worker::run::run_with;
use manimq_worker::sandbox::blaxel::BlaxelSandbox;
use manimq_worker::sandbox::{
    ConnectError, EventSender, Recycled, RenderError, RenderRequest, Rendered, Sandbox, Versions,
};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::cloud::lock;
use crate::support::*;

static REDIS: LazyLock<Redis> = LazyLock::new(Redis::start);

/// What the store has got under each key: how often, how long, and its hash.
pub type Stored = Arc<Mutex<BTreeMap<String, Object>>>;

#[derive(Default)]
pub struct Object {
    pub times: u32,
    pub bytes: u64,
    pub sha256: String,
}

#[derive(Clone)]
struct Shared {
    queue: Queue,
    url: String,
    stored: Stored,
}

/// A file that comes with jobs, large enough to be sent in parts.
pub struct Asset {
    pub content: Bytes,
    pub sha256: String,
}

pub static ASSET: LazyLock<Asset> = LazyLock::new(|| {
    let content: Vec<u8> = (0..5_000_000u32).map(|n| (n % 241) as u8).collect();
    Asset {
        sha256: hex(&Sha256::digest(&content)),
        content: content.into(),
    }
});

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A sandbox that says when it is ready for the next job.
struct Watched {
    sandbox: BlaxelSandbox,
    ready: Arc<AtomicU32>,
}

impl Sandbox for Watched {
    fn versions(&self) -> &Versions {
        self.sandbox.versions()
    }

    async fn render(
        &mut self,
        request: RenderRequest,
        events: EventSender,
    ) -> Result<Rendered, RenderError> {
        self.sandbox.render(request, events).await
    }

    async fn verify(&mut self) -> Result<(), ConnectError> {
        self.sandbox.verify().await
    }

    async fn reset(&mut self) -> Result<(), ConnectError> {
        self.sandbox.reset().await?;
        self.ready.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    fn take_recycled(&mut self) -> Option<Recycled> {
        self.sandbox.take_recycled()
    }

    async fn close(self) {
        self.sandbox.close().await;
    }
}

pub struct Bench {
    pub queue: Queue,
    pub stored: Stored,
    ready: Arc<AtomicU32>,
    stop: CancellationToken,
    worker: JoinHandle<anyhow::Result<()>>,
}

async fn grant(
    State(shared): State<Shared>,
    axum::Json(request): axum::Json<UploadRequest>,
) -> Result<axum::Json<UploadGrants>, StatusCode> {
    let held = shared
        .queue
        .lease_is(request.job, request.epoch, &request.lease_token);
    if !held.await.map_err(|_| StatusCode::SERVICE_UNAVAILABLE)? {
        return Err(StatusCode::CONFLICT);
    }
    for name in &request.discard {
        let key = format!("{}.{}.{name}", request.job, request.epoch);
        lock(&shared.stored).remove(&key);
    }
    let grants = request.files.into_iter().map(|file| {
        let key = format!("{}.{}.{}", request.job, request.epoch, file.name);
        UploadGrant {
            md5: false,
            check: None,
            url: format!("{}/put/{key}?signature=secret", shared.url),
            name: file.name,
            key,
            headers: [].into(),
        }
    });
    let grants = grants.collect();
    Ok(axum::Json(UploadGrants { grants }))
}

/// Counts and forgets: what arrives may be larger than anybody wants in memory.
async fn store(
    State(shared): State<Shared>,
    Path(key): Path<String>,
    body: Body,
) -> Result<(), StatusCode> {
    let (mut bytes, mut sum) = (0, Sha256::new());
    let mut pieces = body.into_data_stream();
    while let Some(piece) = pieces.next().await {
        let piece = piece.map_err(|_| StatusCode::BAD_REQUEST)?;
        bytes += piece.len() as u64;
        sum.update(&piece);
    }
    let mut stored = lock(&shared.stored);
    let object = stored.entry(key).or_default();
    object.times += 1;
    object.bytes = bytes;
    object.sha256 = hex(&sum.finalize());
    Ok(())
}

async fn assets(axum::Json(_): axum::Json<AssetRequest>) -> axum::Json<AssetGrants> {
    let grant = AssetGrant {
        sha256: ASSET.sha256.clone(),
        url: "/asset".into(),
    };
    axum::Json(AssetGrants {
        grants: vec![grant],
    })
}

/// A queue of its own, and the API's part for workers. Returns its address.
pub async fn service(prefix: &str) -> (Queue, Stored, String) {
    let queue = Queue::connect(&REDIS.config(prefix)).await.expect("Redis");
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let stored = Stored::default();
    let shared = Shared {
        queue: queue.clone(),
        url: url.clone(),
        stored: stored.clone(),
    };
    let routes = Router::new()
        .route("/internal/v1/uploads", post(grant))
        .route("/internal/v1/assets", post(assets))
        .route("/asset", get(|| async { ASSET.content.clone() }))
        .route("/put/{key}", put(store))
        .with_state(shared);
    tokio::spawn(async move { axum::serve(listener, routes).await });
    (queue, stored, url)
}

pub fn redis_url() -> String {
    REDIS.url()
}

pub fn prefix() -> String {
    format!("t{}", WorkerId::generate())
}

impl Bench {
    pub async fn start(site: &Site) -> Self {
        Self::of_slots(site, 1).await
    }

    pub async fn of_slots(site: &Site, slots: u16) -> Self {
        let prefix = prefix();
        let (queue, stored, api) = service(&prefix).await;
        let mut args = crate::common::one_slot(&redis_url(), &prefix, &api, &[]);
        args.slots = Some(slots);
        let (stop, hurry) = (CancellationToken::new(), CancellationToken::new());
        let place = site.place.clone();
        let ready = Arc::new(AtomicU32::new(0));
        let times = ready.clone();
        let connect = move |_| {
            let connecting = BlaxelSandbox::connect(place.clone());
            let ready = times.clone();
            async move {
                let sandbox = connecting.await?;
                Ok(Watched { sandbox, ready })
            }
        };
        let worker = tokio::spawn(run_with(args, connect, stop.clone(), hurry));
        Self {
            queue,
            stored,
            ready,
            stop,
            worker,
        }
    }

    pub async fn stop(self) {
        self.stop.cancel();
        let ended = tokio::time::timeout(Duration::from_secs(90), self.worker).await;
        ended
            .expect("in time")
            .expect("no panic")
            .expect("no error");
    }

    /// How often a slot of it was ready for another job.
    pub fn times_ready(&self) -> u32 {
        self.ready.load(Ordering::Relaxed)
    }

    /// Waits until its slot has been ready more often than that.
    pub async fn ready_after(&self, times: u32) {
        for _ in 0..12_000 {
            if self.times_ready() > times {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("its slot does not become ready");
    }

    pub async fn submit(&self) -> JobId {
        self.submit_lines("self.play(Create(Square()), run_time=1)", Value::Null)
            .await
    }

    pub async fn submit_lines(&self, lines: &str, files: Value) -> JobId {
        let source = constructing(lines).source.to_string();
        let mut asked = json!({
            "input": {"kind": "code", "scene": "A", "source": source},
            "output": {"quality": "low"}
        });
        if files.is_array() {
            asked["input"]["files"] = files;
        }
        submit(&self.queue, asked).await
    }

    pub async fn ended(&self, id: JobId) -> JobRecord {
        ended(&self.queue, id).await
    }

    pub async fn charged(&self) -> Duration {
        let usage = self.queue.usage(&TenantId::default()).await;
        usage.expect("its usage").rendered_today
    }

    /// What lies in storage of a job is what its result names, each written once.
    pub fn stored_once(&self, record: &JobRecord, id: JobId) {
        let result = record.result.as_ref().expect("a result");
        let mut named: Vec<String> = result.artifacts.iter().map(|a| a.key.clone()).collect();
        named.sort();
        let stored = lock(&self.stored);
        // A still that was on its way when the film ended is the sweep's.
        let of_job = stored
            .iter()
            .filter(|(key, _)| key.starts_with(&id.to_string()) && !key.ends_with(EARLY_POSTER));
        let (keys, times): (Vec<String>, Vec<u32>) = of_job
            .map(|(key, object)| (key.clone(), object.times))
            .unzip();
        assert_eq!(keys, named);
        assert!(times.iter().all(|&times| times == 1), "{times:?}");
        for artifact in &result.artifacts {
            let object = &stored[&artifact.key];
            assert_eq!(object.bytes, artifact.bytes);
            assert_eq!(object.sha256, artifact.sha256);
        }
    }

    /// Classes of the attempts that failed; each must be of the sandbox's.
    pub fn lost_attempts(record: &JobRecord) -> usize {
        let classes: Vec<_> = record.attempts.iter().filter_map(|a| a.class).collect();
        let ours = |class: &FailureClass| *class == FailureClass::SandboxUnavailable;
        assert!(classes.iter().all(ours), "{classes:?}");
        classes.len()
    }
}

pub async fn submit(queue: &Queue, asked: Value) -> JobId {
    let request: JobRequest = serde_json::from_value(asked).expect("a request");
    let job = NewJob {
        id: JobId::generate(&TenantId::default()),
        payload: JobPayload::from(request),
        delay: Duration::ZERO,
        idempotency: None,
        render: None,
    };
    let tenant = TenantId::default();
    let enqueued = queue.enqueue(&tenant, std::slice::from_ref(&job));
    enqueued.await.expect("accepted");
    job.id
}

pub async fn ended(queue: &Queue, id: JobId) -> JobRecord {
    for _ in 0..18_000 {
        let record = queue.read(id).await.expect("Redis").expect("the job");
        if record.status.is_terminal() {
            return record;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{id} does not end");
}
