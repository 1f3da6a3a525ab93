//! `deploy/bench/api`: how many submits and reads a second one API process answers, how fast, and
//! what event streams cost; beside the same work done on the queue without HTTP, and beside bare `SET` and `GET` of as
//! many bytes, in one run.
//!
//! API, Redis and this client share the machine's cores, so figures are what is left for each.

use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use clap::Parser;
use futures_util::StreamExt as _;
use futures_util::future::join_all;
use manimq_shared::ids::{JobId, TenantId};
use manimq_shared::job::JobRequest;
use manimq_shared::queue::{BATCH_MAX, LEASE, NewJob, Queue, Quotas};
use manimq_shared::testing::{RedisServer, worker};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use uuid::Uuid;

/// What to measure.
#[derive(Debug, Parser)]
struct Args {
    /// Print JSON.
    #[arg(long)]
    json: bool,
    /// How long each load lasts.
    #[arg(long, default_value_t = 8)]
    seconds: u64,
    /// Connections that submit and read, each one request after the other.
    #[arg(long, default_value_t = 64)]
    connections: usize,
    /// Event streams that are open at the same time.
    #[arg(long, default_value_t = 5000)]
    streams: usize,
}

const SOURCE: &str =
    "from manim import *\n\nclass Hello(Scene):\n    def construct(self):\n        self.wait()\n";
/// Longest wait for the API to begin, and for all events to arrive.
const SOON: Duration = Duration::from_secs(60);

/// The API as a process of its own.
struct Api {
    child: Child,
    address: String,
    _folder: tempfile::TempDir,
}

impl Drop for Api {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Api {
    async fn start(redis: &RedisServer) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let announce = folder.path().join("announce.json");
        let program = std::env::current_exe()?;
        let program = program
            .ancestors()
            .nth(2)
            .context("no target folder")?
            .join("manimq");
        let child = Command::new(&program)
            .args([
                "serve",
                "--listen=127.0.0.1:0",
                "--metrics-listen=127.0.0.1:0",
            ])
            .arg(format!("--redis-url={}", redis.url()))
            .arg(format!("--data-dir={}", folder.path().display()))
            .arg(format!("--announce={}", announce.display()))
            .env("MANIMQ_LOG", "warn")
            .stdin(Stdio::null())
            .spawn()
            .with_context(|| format!("cannot start {}", program.display()))?;
        let mut api = Self {
            child,
            address: String::new(),
            _folder: folder,
        };
        let began = Instant::now();
        while api.address.is_empty() {
            if let Ok(text) = std::fs::read_to_string(&announce) {
                let addresses: Value = serde_json::from_str(&text)?;
                let url = addresses["api"].as_str().unwrap_or_default();
                url.trim_start_matches("http://")
                    .clone_into(&mut api.address);
            } else if began.elapsed() > SOON || api.child.try_wait()?.is_some() {
                bail!("the API did not begin");
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(api)
    }

    /// Resident memory in MiB.
    fn memory_mib(&self) -> f64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()));
        let text = status.unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib: f64 = line
            .and_then(|rest| rest.split_whitespace().next()?.parse().ok())
            .unwrap_or(0.0);
        kib / 1024.0
    }
}

/// One connection that sends requests and reads answers.
struct Client {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Client {
    async fn connect(address: &str) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self {
            stream,
            buffer: Vec::with_capacity(16 * 1024),
        })
    }

    /// Sends a request; gives status and body.
    async fn ask(&mut self, request: &[u8]) -> anyhow::Result<(u16, Vec<u8>)> {
        self.stream.write_all(request).await?;
        self.buffer.clear();
        let mut chunk = [0; 16 * 1024];
        loop {
            let n = self.stream.read(&mut chunk).await?;
            if n == 0 {
                bail!("the API closed the connection");
            }
            self.buffer.extend_from_slice(&chunk[..n]);
            let Some(head) = find(&self.buffer, b"\r\n\r\n") else {
                continue;
            };
            let text = std::str::from_utf8(&self.buffer[..head])?.to_ascii_lowercase();
            let status = text.get(9..12).context("no status")?.parse()?;
            let length = text
                .lines()
                .find_map(|line| line.strip_prefix("content-length: "));
            let length: usize = length.context("no content-length")?.trim().parse()?;
            if self.buffer.len() >= head + 4 + length {
                return Ok((status, self.buffer[head + 4..].to_vec()));
            }
        }
    }
}

fn find(text: &[u8], what: &[u8]) -> Option<usize> {
    text.windows(what.len()).position(|window| window == what)
}

fn submit_request() -> Vec<u8> {
    let body =
        json!({"input": {"kind": "code", "source": SOURCE, "scene": "Hello"}, "cache": "refresh"});
    let body = body.to_string();
    format!(
        "POST /v1/jobs HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

fn read_request(id: &str) -> Vec<u8> {
    format!("GET /v1/jobs/{id} HTTP/1.1\r\nhost: localhost\r\n\r\n").into_bytes()
}

/// What a load gave.
struct Load {
    per_s: f64,
    p50_ms: f64,
    p99_ms: f64,
}

impl Load {
    fn of(mut times: Vec<f64>, took: Duration) -> Self {
        Self {
            per_s: times.len() as f64 / took.as_secs_f64(),
            p50_ms: quantile(&mut times, 0.5) * 1e3,
            p99_ms: quantile(&mut times, 0.99) * 1e3,
        }
    }

    fn json(&self) -> Value {
        json!({"per_s": self.per_s.round(), "p50_ms": self.p50_ms, "p99_ms": self.p99_ms})
    }
}

fn quantile(values: &mut [f64], at: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let last = values.len().saturating_sub(1);
    values
        .get((last as f64 * at).round() as usize)
        .copied()
        .unwrap_or(f64::NAN)
}

/// Runs `work` on each of `n` tasks until the time is over; it is timed each time.
async fn load<F, W>(n: usize, lasting: Duration, start: F) -> anyhow::Result<Load>
where
    F: AsyncFn() -> anyhow::Result<W>,
    W: Work + 'static,
{
    let mut workers = Vec::new();
    for _ in 0..n {
        workers.push(start().await?);
    }
    let (began, end) = (Instant::now(), Instant::now() + lasting);
    let tasks = workers.into_iter().map(|mut worker| {
        tokio::spawn(async move {
            let mut times = Vec::new();
            while Instant::now() < end {
                let begin = Instant::now();
                worker.once().await?;
                times.push(begin.elapsed().as_secs_f64());
            }
            anyhow::Ok(times)
        })
    });
    let mut times = Vec::new();
    for task in join_all(tasks).await {
        times.extend(task??);
    }
    Ok(Load::of(times, began.elapsed()))
}

trait Work: Send {
    fn once(&mut self) -> impl Future<Output = anyhow::Result<()>> + Send;
}

/// Requests of one connection, the same or in turn.
struct Http {
    client: Client,
    requests: Arc<Vec<Vec<u8>>>,
    next: usize,
    status: u16,
}

impl Work for Http {
    async fn once(&mut self) -> anyhow::Result<()> {
        let request = &self.requests[self.next % self.requests.len()];
        self.next += 1;
        let (status, body) = self.client.ask(request).await?;
        if status != self.status {
            bail!("HTTP {status}: {}", String::from_utf8_lossy(&body));
        }
        Ok(())
    }
}

/// The same on the queue.
struct Direct {
    queue: Queue,
    tenant: TenantId,
    /// What to read, in turn; nothing: submit.
    ids: Arc<Vec<JobId>>,
    next: usize,
}

impl Work for Direct {
    async fn once(&mut self) -> anyhow::Result<()> {
        if let Some(id) = self.ids.get(self.next % self.ids.len().max(1)) {
            self.next += 1;
            self.queue.read(*id).await?.context("a job")?;
        } else {
            let job = new_job(&self.tenant)?;
            self.queue.enqueue(&self.tenant, &[job]).await?;
        }
        Ok(())
    }
}

/// What Redis itself does with as many bytes: one `SET` for a submit, one `GET` for a read.
struct Bare {
    queue: Queue,
    payload: Arc<Vec<u8>>,
    /// Keys in turn; each connection has its own.
    keys: Vec<String>,
    next: usize,
    read: bool,
}

impl Bare {
    async fn new(queue: &Queue, payload: Arc<Vec<u8>>, read: bool) -> anyhow::Result<Self> {
        let mine = Uuid::now_v7();
        let keys = (0..BATCH_MAX).map(|n| format!("bare:{mine}:{n}")).collect();
        let mut bare = Self {
            queue: queue.clone(),
            payload,
            keys,
            next: 0,
            read: false,
        };
        for _ in 0..BATCH_MAX {
            bare.once().await?;
        }
        bare.read = read;
        Ok(bare)
    }
}

impl Work for Bare {
    async fn once(&mut self) -> anyhow::Result<()> {
        let key = &self.keys[self.next % self.keys.len()];
        self.next += 1;
        if self.read {
            let mut command = redis::cmd("GET");
            let found: Vec<u8> = self.queue.query(command.arg(key)).await?;
            if found.len() != self.payload.len() {
                bail!("{} of {} bytes", found.len(), self.payload.len());
            }
        } else {
            let mut command = redis::cmd("SET");
            command.arg(key).arg(self.payload.as_slice());
            let () = self.queue.query(&command).await?;
        }
        Ok(())
    }
}

fn new_job(tenant: &TenantId) -> anyhow::Result<NewJob> {
    let request: JobRequest = serde_json::from_value(
        json!({"input": {"kind": "code", "source": SOURCE, "scene": "Hello"}, "cache": "refresh"}),
    )?;
    Ok(NewJob::new(tenant, request))
}

/// What streams gave.
struct Streams {
    before_mib: f64,
    open_mib: f64,
    p50_ms: f64,
    p99_ms: f64,
    max_ms: f64,
}

/// Opens streams of as many jobs, starts the jobs, and measures until each has heard of it.
async fn streams(api: &Api, queue: &Queue, n: usize) -> anyhow::Result<Streams> {
    let tenant: TenantId = TenantId::default();
    let before_mib = api.memory_mib();
    let mut ids = Vec::new();
    while ids.len() < n {
        let jobs: Vec<_> = (0..BATCH_MAX.min(n - ids.len()))
            .map(|_| new_job(&tenant))
            .collect::<Result<_, _>>()?;
        queue.enqueue(&tenant, &jobs).await?;
        ids.extend(jobs.iter().map(|job| job.id));
    }
    let http = reqwest::Client::builder().no_proxy().build()?;
    let (heard, mut hear) = mpsc::unbounded_channel();
    let begun = Arc::new(AtomicUsize::new(0));
    for (opened, id) in ids.iter().enumerate() {
        let (id, http, heard, ready) = (*id, http.clone(), heard.clone(), Arc::clone(&begun));
        let url = format!("http://{}/v1/jobs/{id}/events", api.address);
        tokio::spawn(async move {
            let response = http.get(url).send().await?.error_for_status()?;
            let mut bytes = response.bytes_stream();
            let (mut text, mut is_ready) = (String::new(), false);
            while let Some(chunk) = bytes.next().await {
                text.push_str(&String::from_utf8_lossy(&chunk?));
                if !is_ready && text.contains("\n\n") {
                    is_ready = true;
                    ready.fetch_add(1, Ordering::Relaxed);
                }
                if text.contains("\"attempt\":1") {
                    let _ = heard.send((id, Instant::now()));
                    text.clear();
                }
            }
            Ok::<_, reqwest::Error>(())
        });
        // Not more at a time than the listener's backlog takes.
        while opened > begun.load(Ordering::Relaxed) + 200 {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
    let began = Instant::now();
    while begun.load(Ordering::Relaxed) < n {
        if began.elapsed() > SOON {
            bail!("{} of {n} streams began", begun.load(Ordering::Relaxed));
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let open_mib = api.memory_mib();
    // A second for the hints' connection to settle; then a hundred jobs begin at a time.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let me = worker(1000);
    let (mut delays, mut left) = (Vec::new(), n);
    while left > 0 {
        let claims = queue.claim(&me, BATCH_MAX, LEASE).await?.claims;
        let at = Instant::now();
        if claims.is_empty() {
            bail!("no job to start");
        }
        // Jobs of the loads before wait in front of them.
        let mut expected: Vec<_> = claims.iter().filter(|c| ids.contains(&c.job)).collect();
        left -= expected.len();
        while !expected.is_empty() {
            let heard = tokio::time::timeout(SOON, hear.recv()).await;
            let (id, when) = heard
                .context("an event did not arrive")?
                .context("no stream")?;
            expected.retain(|claim| claim.job != id);
            delays.push(when.saturating_duration_since(at).as_secs_f64());
        }
    }
    Ok(Streams {
        before_mib,
        open_mib,
        p50_ms: quantile(&mut delays, 0.5) * 1e3,
        p99_ms: quantile(&mut delays, 0.99) * 1e3,
        max_ms: quantile(&mut delays, 1.0) * 1e3,
    })
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    raise_descriptors();
    let lasting = Duration::from_secs(args.seconds);
    let redis = RedisServer::start();
    let tenant = TenantId::default();
    let quotas = Quotas {
        queued_max: Some(100_000_000),
        ..Quotas::default()
    };
    let queue = Queue::connect(&redis.config("mq")).await?;
    queue.set_quotas(&tenant, &quotas).await?;
    let api = Api::start(&redis).await?;

    let http = async |requests: Vec<Vec<u8>>, status: u16| {
        let requests = Arc::new(requests);
        load(args.connections, lasting, async || {
            Ok(Http {
                client: Client::connect(&api.address).await?,
                requests: Arc::clone(&requests),
                next: 0,
                status,
            })
        })
        .await
    };
    let direct = async |ids: Vec<JobId>| {
        let ids = Arc::new(ids);
        load(args.connections, lasting, async || {
            Ok(Direct {
                queue: queue.clone(),
                tenant: tenant.clone(),
                ids: Arc::clone(&ids),
                next: 0,
            })
        })
        .await
    };
    let jobs: Vec<_> = (0..BATCH_MAX)
        .map(|_| new_job(&tenant))
        .collect::<Result<_, _>>()?;
    queue.enqueue(&tenant, &jobs).await?;
    let ids: Vec<_> = jobs.iter().map(|job| job.id).collect();
    let reads = ids.iter().map(|id| read_request(&id.to_string())).collect();

    // As many bytes as a job's request has, which is what both keep and give back at the least.
    let payload = Arc::new(serde_json::to_vec(&jobs[0].payload.request)?);
    let bare = async |reads: bool| {
        load(args.connections, lasting, async || {
            Bare::new(&queue, Arc::clone(&payload), reads).await
        })
        .await
    };

    let read = http(reads, 200).await?;
    let read_direct = direct(ids).await?;
    let read_bare = bare(true).await?;
    let submit = http(vec![submit_request()], 202).await?;
    let submit_direct = direct(Vec::new()).await?;
    let submit_bare = bare(false).await?;
    let loaded_mib = api.memory_mib();
    drop(api);
    let redis = RedisServer::start();
    let queue = Queue::connect(&redis.config("mq")).await?;
    queue.set_quotas(&tenant, &quotas).await?;
    let api = Api::start(&redis).await?;
    let streams = streams(&api, &queue, args.streams).await?;

    if args.json {
        let report = json!({
            "connections": args.connections,
            "submit": submit.json(), "submit_queue": submit_direct.json(), "set": submit_bare.json(),
            "read": read.json(), "read_queue": read_direct.json(), "get": read_bare.json(), "payload_bytes": payload.len(),
            "memory_mib": loaded_mib,
            "streams": {"open": args.streams, "memory_before_mib": streams.before_mib, "memory_open_mib": streams.open_mib,
                "p50_ms": streams.p50_ms, "p99_ms": streams.p99_ms, "max_ms": streams.max_ms},
        });
        println!("{report:#}");
        return Ok(());
    }
    println!(
        "{} connections, one request after the other\n",
        args.connections
    );
    println!("| | per second | p50 | p99 | of the queue's own | of bare Redis |");
    println!("| --- | ---: | ---: | ---: | ---: | ---: |");
    for (name, load, own, bare_name, bare) in [
        ("submit", &submit, &submit_direct, "SET", &submit_bare),
        ("read", &read, &read_direct, "GET", &read_bare),
    ] {
        println!(
            "| {name} | {:.0} | {:.1} ms | {:.1} ms | {:.2} | {:.2} |",
            load.per_s,
            load.p50_ms,
            load.p99_ms,
            load.per_s / own.per_s,
            load.per_s / bare.per_s
        );
        println!(
            "| {name}, queue alone | {:.0} | {:.1} ms | {:.1} ms | | {:.2} |",
            own.per_s,
            own.p50_ms,
            own.p99_ms,
            own.per_s / bare.per_s
        );
        println!(
            "| bare {bare_name} of {} bytes | {:.0} | {:.1} ms | {:.1} ms | | |",
            payload.len(),
            bare.per_s,
            bare.p50_ms,
            bare.p99_ms
        );
    }
    println!("\nmemory of the API after the loads: {loaded_mib:.0} MiB");
    println!(
        "{} event streams: {:.0} MiB, from {:.0} ({:.1} KiB each); an event arrives after {:.0} ms (p50), {:.0} ms (p99), {:.0} ms (longest)",
        args.streams,
        streams.open_mib,
        streams.before_mib,
        (streams.open_mib - streams.before_mib) * 1024.0 / args.streams as f64,
        streams.p50_ms,
        streams.p99_ms,
        streams.max_ms
    );
    Ok(())
}

/// Both ends of the streams need descriptors.
fn raise_descriptors() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    let _ = setrlimit(Resource::Nofile, limit);
}
