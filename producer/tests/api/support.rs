//! A server of one's own on a Redis of one's own, a client, and a stand-in for the worker.

use std::time::Duration;

use clap::Parser as _;
use manimq::api::Limits;
use manimq::http::HttpLimits;
use manimq::serve::{ServeArgs, Server, start};
use manimq_shared::api::{JobView, Problem, UploadFile, UploadGrants, UploadRequest};
use manimq_shared::ids::JobId;
use manimq_shared::job::{ArtifactRole, JobResult, StoredArtifact};
use manimq_shared::queue::{Claim, EventKind, LEASE, Lease, Queue, Renewal, Settled, WorkerInfo};
use manimq_shared::testing::{self, RedisServer};
use reqwest::{Method, RequestBuilder, Response, StatusCode};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tokio_util::sync::CancellationToken;

/// Longest wait for something that must happen.
pub const SOON: Duration = Duration::from_secs(20);

/// A scene file with one scene.
pub const SCENE: &str =
    "from manim import *\n\nclass Hello(Scene):\n    def construct(self):\n        self.wait()\n";

#[derive(clap::Parser)]
struct Wrap {
    #[command(flatten)]
    args: ServeArgs,
}

/// A running API.
pub struct Api {
    pub redis: RedisServer,
    pub data: tempfile::TempDir,
    pub base: String,
    pub metrics: String,
    pub client: reqwest::Client,
    pub queue: Queue,
    stop: CancellationToken,
    server: Option<Server>,
}

/// What a test changes of the usual settings.
pub struct Setup {
    pub flags: Vec<String>,
    pub limits: Limits,
    pub http: HttpLimits,
    pub durable: bool,
    /// Redis is reached through a proxy that does this to the first submit.
    pub proxy: Option<Then>,
    /// The Redis of an earlier server, instead of a new one.
    pub redis_url: Option<String>,
    /// The data folder of an earlier server, instead of a new one.
    pub data_dir: Option<std::path::PathBuf>,
}

impl Setup {
    pub fn new() -> Self {
        Self {
            flags: Vec::new(),
            limits: Limits::default(),
            http: HttpLimits::default(),
            durable: false,
            proxy: None,
            redis_url: None,
            data_dir: None,
        }
    }

    pub fn flags(mut self, flags: &[&str]) -> Self {
        self.flags.extend(flags.iter().map(|&flag| flag.to_owned()));
        self
    }

    pub async fn start(self) -> Api {
        let redis = if self.durable {
            RedisServer::start_durable()
        } else {
            RedisServer::start()
        };
        let data = tempfile::tempdir().unwrap();
        let stop = CancellationToken::new();
        let redis_url = match self.proxy {
            None => self.redis_url.unwrap_or_else(|| redis.url()),
            Some(then) => {
                let front = data.path().join("proxy");
                let listener = tokio::net::UnixListener::bind(&front).unwrap();
                tokio::spawn(proxy(listener, redis.socket(), then));
                format!("unix://{}", front.display())
            }
        };
        let mut flags = vec![
            "serve".to_owned(),
            "--listen=127.0.0.1:0".into(),
            "--metrics-listen=127.0.0.1:0".into(),
            format!("--redis-url={redis_url}"),
            format!(
                "--data-dir={}",
                self.data_dir.as_deref().unwrap_or(data.path()).display()
            ),
        ];
        flags.extend(self.flags);
        let args = Wrap::try_parse_from(flags).unwrap().args;
        let server = start(args, self.limits, self.http, stop.clone())
            .await
            .unwrap();
        let queue = Queue::connect(&redis.config("mq")).await.unwrap();
        Api {
            base: server.addresses.api.clone(),
            metrics: server.addresses.metrics.clone(),
            client: reqwest::Client::builder()
                .redirect(reqwest::redirect::Policy::none())
                .timeout(Duration::from_secs(100))
                .build()
                .unwrap(),
            redis,
            data,
            queue,
            stop,
            server: Some(server),
        }
    }
}

impl Api {
    pub async fn start() -> Self {
        Setup::new().start().await
    }

    /// Stops it and waits until it has ended.
    pub async fn stop(&mut self) {
        self.stop.cancel();
        if let Some(server) = self.server.take() {
            tokio::time::timeout(SOON, server.ended())
                .await
                .expect("the server ends soon after the stop");
        }
    }

    pub fn url(&self, path: &str) -> String {
        if path.starts_with("http") {
            path.to_owned()
        } else {
            format!("{}{path}", self.base)
        }
    }

    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, self.url(path))
    }

    pub async fn get(&self, path: &str) -> Response {
        self.request(Method::GET, path).send().await.unwrap()
    }

    pub async fn post(&self, path: &str, body: &Value) -> Response {
        self.request(Method::POST, path)
            .json(body)
            .send()
            .await
            .unwrap()
    }

    /// Posts raw bytes as JSON to `/v1/jobs`.
    pub async fn post_raw(&self, body: impl Into<reqwest::Body>) -> Response {
        self.request(Method::POST, "/v1/jobs")
            .header("content-type", "application/json")
            .body(body)
            .send()
            .await
            .unwrap()
    }

    /// Submits [`SCENE`].
    pub async fn submit(&self) -> JobView {
        self.submit_body(&scene_body(SCENE)).await
    }

    pub async fn submit_body(&self, body: &Value) -> JobView {
        let response = self.post("/v1/jobs", body).await;
        assert_eq!(response.status(), StatusCode::ACCEPTED);
        response.json().await.unwrap()
    }

    pub async fn job(&self, id: JobId) -> JobView {
        let response = self.get(&format!("/v1/jobs/{id}")).await;
        assert_eq!(response.status(), StatusCode::OK);
        response.json().await.unwrap()
    }

    /// A worker with one slot that is ready.
    pub fn worker(&self) -> Worker {
        Worker {
            info: testing::worker(1),
            queue: self.queue.clone(),
            client: self.client.clone(),
            base: self.base.clone(),
        }
    }

    /// Submits a job and takes it through a whole life; gives its object and its film.
    pub async fn finished_job(&self, film: &[u8]) -> JobView {
        let job = self.submit().await;
        let worker = self.worker();
        let claim = worker.claim().await;
        assert_eq!(claim.job, job.id);
        worker.succeed(&claim, &[("video.mp4", film)]).await;
        self.job(job.id).await
    }

    /// What a metric without labels shows now.
    pub async fn gauge(&self, name: &str) -> f64 {
        let scrape = self.client.get(format!("{}/metrics", self.metrics));
        let text = scrape.send().await.unwrap().text().await.unwrap();
        text.lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok())
            .unwrap_or(0.0)
    }

    /// Waits until a metric without labels shows this.
    pub async fn until_gauge(&self, name: &str, value: f64) {
        eventually(|| async { (self.gauge(name).await == value).then_some(()) }).await;
    }

    pub fn data_path(&self, path: &str) -> std::path::PathBuf {
        self.data.path().join(path)
    }

    /// Names of all files below the artifacts' folder.
    pub fn stored_files(&self) -> Vec<String> {
        let mut names = Vec::new();
        for folder in ["manim_videos", "incoming"] {
            let folder = self.data_path("artifacts").join(folder);
            for entry in std::fs::read_dir(folder).unwrap() {
                names.push(entry.unwrap().file_name().into_string().unwrap());
            }
        }
        names.sort();
        names
    }
}

/// What a proxy does when the first submit has been answered by Redis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Then {
    /// The answer is lost and its connection broken; later ones work.
    LoseTheAnswer,
    /// The answer arrives, and nothing after it.
    Cut,
}

async fn proxy(listener: tokio::net::UnixListener, redis: std::path::PathBuf, then: Then) {
    let (met, cut) = (CancellationToken::new(), CancellationToken::new());
    while let Ok((front, _)) = listener.accept().await {
        if !cut.is_cancelled() {
            let back = tokio::net::UnixStream::connect(&redis).await.unwrap();
            tokio::spawn(carry(front, back, then, met.clone(), cut.clone()));
        }
    }
}

async fn carry(
    front: tokio::net::UnixStream,
    back: tokio::net::UnixStream,
    then: Then,
    met: CancellationToken,
    cut: CancellationToken,
) -> std::io::Result<()> {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let (mut from_client, mut to_client) = front.into_split();
    let (mut from_redis, mut to_redis) = back.into_split();
    let (mut asked, mut answer) = (vec![0; 1 << 20], vec![0; 1 << 20]);
    let mut first_submit = false;
    loop {
        tokio::select! {
            biased;
            () = cut.cancelled() => return Ok(()),
            n = from_client.read(&mut asked) => {
                let n = n?;
                if n == 0 {
                    return Ok(());
                }
                let is_submit = asked[..n].windows(7).any(|word| word == b"enqueue")
                    && asked.starts_with(b"*")
                    && !asked[..n].windows(8).any(|word| word == b"FUNCTION");
                if is_submit && !met.is_cancelled() {
                    met.cancel();
                    first_submit = true;
                }
                to_redis.write_all(&asked[..n]).await?;
            }
            n = from_redis.read(&mut answer) => {
                let n = n?;
                if n == 0 {
                    return Ok(());
                }
                match then {
                    Then::LoseTheAnswer if first_submit => return Ok(()),
                    Then::Cut if first_submit => cut.cancel(),
                    Then::LoseTheAnswer | Then::Cut => {}
                }
                to_client.write_all(&answer[..n]).await?;
            }
        }
    }
}

pub fn scene_body(source: &str) -> Value {
    // Each one is rendered for itself.
    json!({"input": {"kind": "code", "source": source}, "cache": "refresh"})
}

/// The problem of a response, after the checks that hold for every problem.
pub async fn problem(response: Response, status: u16, kind: &str) -> Problem {
    let url = response.url().path().to_owned();
    let headers = response.headers().clone();
    assert_eq!(response.status().as_u16(), status, "{url}");
    assert_eq!(headers["content-type"], "application/problem+json", "{url}");
    let problem: Problem = response.json().await.unwrap();
    assert_eq!(problem.kind, kind, "{problem:?}");
    assert_eq!(problem.status, status);
    assert_eq!(
        problem.request_id.as_deref(),
        headers["x-request-id"].to_str().ok()
    );
    assert!(!problem.detail.is_empty() && !problem.title.is_empty());
    if status == 429 || status == 503 {
        let wait: u64 = headers["retry-after"].to_str().unwrap().parse().unwrap();
        assert!(wait >= 1);
    }
    problem
}

pub fn sha256(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

/// Speaks to queue and API as the worker does.
pub struct Worker {
    pub info: WorkerInfo,
    queue: Queue,
    client: reqwest::Client,
    base: String,
}

impl Worker {
    /// Says that it lives, without taking a job.
    pub async fn show_up(&self) {
        self.queue.renew(&self.info, LEASE, &[]).await.unwrap();
    }

    /// The next job; there must be one.
    pub async fn claim(&self) -> Claim {
        self.claim_for(LEASE).await
    }

    pub async fn claim_for(&self, lease: Duration) -> Claim {
        let mut claimed = self.queue.claim(&self.info, 1, lease).await.unwrap();
        claimed.claims.pop().expect("a job waits")
    }

    /// Carries events up.
    pub async fn tell(&self, claim: &Claim, events: &[(EventKind, Value)]) -> Lease {
        let renewal = Renewal {
            job: claim.job,
            epoch: claim.epoch,
            events: events
                .iter()
                .map(|(kind, data)| (*kind, data.to_string()))
                .collect(),
        };
        self.queue
            .renew(&self.info, LEASE, &[renewal])
            .await
            .unwrap()[0]
    }

    pub fn upload_request(claim: &Claim, files: &[(&str, &[u8])]) -> UploadRequest {
        let mime = |name: &str| match name.rsplit('.').next().unwrap() {
            "mp4" => "video/mp4",
            "png" => "image/png",
            "jpg" => "image/jpeg",
            "txt" => "text/plain",
            other => panic!("no type for {other}"),
        };
        UploadRequest {
            job: claim.job,
            epoch: claim.epoch,
            lease_token: claim.token.clone(),
            files: files
                .iter()
                .map(|(name, content)| UploadFile {
                    name: (*name).to_owned(),
                    mime: mime(name).to_owned(),
                    bytes: content.len() as u64,
                    sha256: sha256(content),
                })
                .collect(),
            discard: Vec::new(),
        }
    }

    pub async fn ask_leave(&self, request: &UploadRequest) -> Response {
        self.client
            .post(format!("{}/internal/v1/uploads", self.base))
            .json(request)
            .send()
            .await
            .unwrap()
    }

    pub async fn grants(&self, claim: &Claim, files: &[(&str, &[u8])]) -> UploadGrants {
        let response = self.ask_leave(&Self::upload_request(claim, files)).await;
        assert_eq!(response.status(), StatusCode::OK);
        response.json().await.unwrap()
    }

    /// The URL of a grant, which may be a path.
    pub fn joined(&self, url: &str) -> String {
        if url.starts_with('/') {
            format!("{}{url}", self.base)
        } else {
            url.to_owned()
        }
    }

    pub async fn put(&self, url: &str, mime: &str, content: impl Into<reqwest::Body>) -> Response {
        self.client
            .put(self.joined(url))
            .header("content-type", mime)
            .body(content)
            .send()
            .await
            .unwrap()
    }

    /// Stores files and gives what a result says of them.
    pub async fn store(&self, claim: &Claim, files: &[(&str, &[u8])]) -> Vec<StoredArtifact> {
        let request = Self::upload_request(claim, files);
        let grants = self.grants(claim, files).await.grants;
        let mut artifacts = Vec::new();
        for ((file, grant), (_, content)) in request.files.into_iter().zip(grants).zip(files) {
            let mut put = self.client.put(self.joined(&grant.url));
            for (name, value) in &grant.headers {
                put = put.header(name, value);
            }
            let response = put.body(content.to_vec()).send().await.unwrap();
            assert_eq!(response.status(), StatusCode::CREATED);
            artifacts.push(StoredArtifact {
                role: match file.mime.as_str() {
                    "video/mp4" => ArtifactRole::Video,
                    "text/plain" => ArtifactRole::Log,
                    _ => ArtifactRole::Poster,
                },
                name: file.name,
                mime: file.mime,
                key: grant.key,
                bytes: file.bytes,
                sha256: file.sha256,
                width: Some(854),
                height: Some(480),
                fps: Some(15.0),
                duration_s: Some(1.0),
                frames: Some(15),
            });
        }
        artifacts
    }

    /// Stores files and finishes the job with them.
    pub async fn succeed(&self, claim: &Claim, files: &[(&str, &[u8])]) {
        let result = JobResult {
            artifacts: self.store(claim, files).await,
            ..JobResult::default()
        };
        let settled = self
            .queue
            .finish(claim.job, claim.epoch, &result)
            .await
            .unwrap();
        assert_eq!(settled, Settled::Accepted);
    }

    pub async fn fail(&self, claim: &Claim, result: &JobResult) -> Settled {
        self.queue
            .fail(claim.job, claim.epoch, result, 0.0)
            .await
            .unwrap()
    }

    pub async fn finish_canceled(&self, claim: &Claim) {
        self.queue
            .finish_canceled(claim.job, claim.epoch)
            .await
            .unwrap();
    }
}

/// Waits until `check` gives something.
pub async fn eventually<T, F: Future<Output = Option<T>>>(mut check: impl FnMut() -> F) -> T {
    let end = tokio::time::Instant::now() + SOON;
    loop {
        if let Some(value) = check().await {
            return value;
        }
        assert!(
            tokio::time::Instant::now() < end,
            "it did not happen in time"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Sends bytes as they are and reads until the other end closes; for what no client would send.
pub async fn raw(api: &Api, request: &[u8]) -> String {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let address = api.base.trim_start_matches("http://");
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    stream.write_all(request).await.unwrap();
    let mut answer = Vec::new();
    tokio::time::timeout(SOON, stream.read_to_end(&mut answer))
        .await
        .expect("the server closes the connection")
        .unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}
