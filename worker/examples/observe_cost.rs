//! What being watched costs: jobs a second of one worker, and the time of a small render, with nobody looking, with
//! metrics read each second, with traces sent, and with both. `observe_cost [--jobs N] [--renders N] [--rounds N]`.
//!
//! A Redis of its own, a store that takes everything, a receiver of traces that drops them. Jobs that are counted do
//! nothing (a scripted sandbox), so what is left is the worker's own work for each; counting in the process itself
//! cannot be turned off, and is in every row.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use axum::Json;
use axum::routing::{post, put};
use clap::Parser;
use manimq_shared::api::{UploadGrant, UploadGrants, UploadRequest};
use manimq_shared::ids::{TenantId, WorkerId};
use manimq_shared::job::JobRequest;
use manimq_shared::queue::{NewJob, Queue};
use manimq_shared::testing::Redis;
use manimq_worker::config::RunArgs;
use manimq_worker::run::{run, run_with};
use manimq_worker::sandbox::fake::FakeSandbox;
use tokio_util::sync::CancellationToken;

/// Longest time of one measurement.
const LIMIT: Duration = Duration::from_secs(600);
/// Jobs of one tenant, fewer than it may have waiting.
const JOBS_PER_TENANT: usize = 500;
const SOURCE: &str = "from manim import *\n\nclass A(Scene):\n    def construct(self):\n        self.play(Create(Square()), run_time=0.4)\n";

#[derive(Parser)]
struct Options {
    /// Jobs that do nothing, in each measurement
    #[arg(long, default_value_t = 4000)]
    jobs: usize,
    /// Real renders in each measurement; 0 for none
    #[arg(long, default_value_t = 40)]
    renders: usize,
    /// Times that each is measured; the middle one counts
    #[arg(long, default_value_t = 3)]
    rounds: usize,
}

#[derive(Parser)]
struct Worker {
    #[command(flatten)]
    args: RunArgs,
}

#[derive(Clone, Copy)]
struct Watched {
    name: &'static str,
    scraped: bool,
    traced: bool,
}

const WAYS: [Watched; 4] = [
    Watched {
        name: "nobody looks",
        scraped: false,
        traced: false,
    },
    Watched {
        name: "metrics, each second",
        scraped: true,
        traced: false,
    },
    Watched {
        name: "traces",
        scraped: false,
        traced: true,
    },
    Watched {
        name: "both",
        scraped: true,
        traced: true,
    },
];

/// Takes uploads and traces.
async fn stand_in() -> anyhow::Result<String> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}", listener.local_addr()?);
    let to = url.clone();
    let grant = async move |Json(request): Json<UploadRequest>| {
        let grants = request.files.into_iter().map(|file| UploadGrant {
            md5: false,
            check: None,
            url: format!("{to}/put"),
            key: format!("manim_videos/{}.{}.mp4", request.job, request.epoch),
            name: file.name,
            headers: [].into(),
        });
        Json(UploadGrants {
            grants: grants.collect(),
        })
    };
    let routes = axum::Router::new()
        .route("/internal/v1/uploads", post(grant))
        .route("/put", put(async |_: axum::body::Bytes| {}))
        .route("/v1/traces", post(async |_: axum::body::Bytes| {}));
    tokio::spawn(async move { axum::serve(listener, routes).await });
    Ok(url)
}

/// Reads what Prometheus would, of the worker and (as an API does) of the queue.
async fn scrape(queue: Queue, announced: std::path::PathBuf) {
    let client = reqwest::Client::new();
    let mut ticks = tokio::time::interval(Duration::from_secs(1));
    loop {
        ticks.tick().await;
        let url = std::fs::read_to_string(&announced)
            .ok()
            .and_then(|text| serde_json::from_str::<serde_json::Value>(&text).ok())
            .and_then(|told| told["metrics"].as_str().map(|url| format!("{url}/metrics")));
        if let Some(url) = url
            && let Ok(answer) = client.get(url).send().await
        {
            let _ = answer.bytes().await;
        }
        let _ = tokio::join!(queue.stats(), queue.survey(20_000), queue.canary());
    }
}

/// Jobs a second.
async fn measure(
    redis: &Redis,
    api: &str,
    way: Watched,
    jobs: usize,
    real: bool,
) -> anyhow::Result<f64> {
    let prefix = format!("b{}", WorkerId::generate());
    let queue = Queue::connect(&redis.config(&prefix)).await?;
    let request: JobRequest = serde_json::from_value(serde_json::json!({
        "input": {"kind": "code", "source": SOURCE, "scene": "A"}, "output": {"quality": "low"}
    }))?;
    for (number, start) in (0..jobs).step_by(JOBS_PER_TENANT).enumerate() {
        let tenant: TenantId = format!("t{number}").parse()?;
        let jobs: Vec<_> = (start..jobs.min(start + JOBS_PER_TENANT))
            .map(|_| NewJob::new(&tenant, request.clone()))
            .collect();
        for some in jobs.chunks(100) {
            queue.enqueue(&tenant, some).await?;
        }
    }
    let folder = tempfile::tempdir()?;
    let announced = folder.path().join("worker.json");
    let file = announced.display().to_string();
    let (url, slots) = (redis.url(), if real { "1" } else { "8" });
    let mut flags = vec![
        "worker",
        "--redis-url",
        &url,
        "--redis-prefix",
        &prefix,
        "--api-url",
        api,
        "--slots",
        slots,
        "--metrics-listen",
        "127.0.0.1:0",
        "--announce",
        &file,
    ];
    if way.traced {
        flags.extend(["--otlp-endpoint", api]);
    }
    let args = Worker::try_parse_from(flags)?.args;
    let (stop, hurry) = (CancellationToken::new(), CancellationToken::new());
    let scraping = way
        .scraped
        .then(|| tokio::spawn(scrape(queue.clone(), announced)));
    let worker = if real {
        tokio::spawn(run(args, stop.clone(), hurry))
    } else {
        let connect = |_| std::future::ready(Ok(FakeSandbox::new([])));
        tokio::spawn(run_with(args, connect, stop.clone(), hurry))
    };
    let ended = async |least: usize| -> anyhow::Result<Instant> {
        loop {
            let stats = queue.stats().await?;
            let failed = stats.counters.get("failed").copied().unwrap_or(0);
            anyhow::ensure!(failed == 0, "{failed} jobs failed");
            let done = stats.counters.get("succeeded").copied().unwrap_or(0);
            if usize::try_from(done)? >= least {
                return Ok(Instant::now());
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let measured = async {
        // From the first result on: starting the worker is not what is measured.
        let began = ended(1).await?;
        let end = ended(jobs).await?;
        Ok::<_, anyhow::Error>((jobs - 1) as f64 / (end - began).as_secs_f64())
    };
    let rate = tokio::time::timeout(LIMIT, measured)
        .await
        .context("it takes too long")??;
    stop.cancel();
    if let Some(scraping) = scraping {
        scraping.abort();
    }
    worker.await??;
    Ok(rate)
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    manimq_shared::tls::choose_cryptography();
    let redis = Redis::start();
    let api = stand_in().await?;
    for (what, jobs, real) in [
        ("jobs that do nothing", options.jobs, false),
        ("small renders", options.renders, true),
    ] {
        if jobs < 2 {
            continue;
        }
        let mut rates = [const { Vec::new() }; WAYS.len()];
        for _ in 0..options.rounds.max(1) {
            // Side by side in each round: the machine's mood is everybody's.
            for (way, rates) in WAYS.into_iter().zip(&mut rates) {
                rates.push(measure(&redis, &api, way, jobs, real).await?);
            }
        }
        println!("{what}: {jobs} in each of {} rounds", options.rounds.max(1));
        let mut first = None;
        for (way, rates) in WAYS.into_iter().zip(&mut rates) {
            rates.sort_by(f64::total_cmp);
            let middle = rates[rates.len() / 2];
            let first = *first.get_or_insert(middle);
            println!(
                "  {:<22} {middle:>9.1} jobs/s  {:>8.3} ms each  {:>+6.1} %",
                way.name,
                1000.0 / middle,
                (middle / first - 1.0) * 100.0
            );
        }
    }
    Ok(())
}
