//! How fast the queue is, beside what bare Redis streams do in the same run on the same machine.
//!
//! `cargo run --release -p manimq-shared --example queue_bench -- [--json] [--rounds N] [--jobs N] [--profile] [--aof]`
//! starts a private redis-server on a Unix socket (no persistence; with `--aof` an append-only file, synced each second). Every figure is the median of
//! the rounds; floor and queue take turns in each round, so that a busy neighbour hits both.
//!
//! With `--memory [--jobs N] [--tenants N]` it does something else: that many jobs wait at once, all
//! run, and are forgotten. Exit status 1 if anything of them is left.

#[path = "queue_bench/memory.rs"]
mod memory;

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use manimq_shared::ids::TenantId;
use manimq_shared::job::{JobInput, JobRequest, JobResult};
use manimq_shared::queue::{BATCH_MAX, LEASE, NewJob, Queue, Quotas, WorkerInfo};
use manimq_shared::testing::{self, RedisServer};
use redis::aio::MultiplexedConnection;

/// Callers that enqueue one job per call at the same time.
const CALLERS: usize = 64;
/// Size of a job's payload, bytes of JSON.
const PAYLOAD_BYTES: usize = 1024;
const TENANTS: [usize; 3] = [1, 100, 10_000];
const LATENCY_ROUNDS: usize = 200;

type Figures = BTreeMap<String, Vec<f64>>;

fn note(figures: &mut Figures, name: impl Into<String>, value: f64) {
    figures.entry(name.into()).or_default().push(value);
}

fn new_job(tenant: &TenantId) -> NewJob {
    let request: JobRequest = serde_json::from_str(r#"{"input":{"kind":"code","source":""}}"#)
        .expect("a minimal request");
    let mut job = NewJob::new(tenant, request);
    let bare = serde_json::to_vec(&job.payload).expect("it is JSON").len();
    let JobInput::Code { source, .. } = &mut job.payload.request.input else {
        unreachable!("a job with code")
    };
    *source = "x".repeat(PAYLOAD_BYTES - bare);
    job
}

fn worker() -> WorkerInfo {
    testing::worker(100_000)
}

/// One server with its own connection for measuring.
struct Bench {
    server: RedisServer,
    connection: MultiplexedConnection,
}

impl Bench {
    async fn new() -> Self {
        let server = RedisServer::start();
        let connection = redis::Client::open(server.url())
            .expect("a URL")
            .get_multiplexed_async_connection()
            .await
            .expect("a connection");
        let bench = Self { server, connection };
        if flag("--aof") {
            for (name, value) in [("appendfsync", "everysec"), ("appendonly", "yes")] {
                let mut command = redis::cmd("CONFIG");
                let () = bench.ask(command.arg("SET").arg(name).arg(value)).await;
            }
            // The first file is written by a child.
            while bench.info("persistence", "aof_rewrite_in_progress").await > 0.0 {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
        bench
    }

    async fn info(&self, section: &str, field: &str) -> f64 {
        let info: String = redis::cmd("INFO")
            .arg(section)
            .query_async(&mut self.connection.clone())
            .await
            .expect("INFO");
        info.lines()
            .find_map(|line| line.strip_prefix(field)?.strip_prefix(':'))
            .and_then(|value| value.trim().parse().ok())
            .unwrap_or(f64::NAN)
    }

    /// Processor seconds of the server so far.
    async fn cpu(&self) -> f64 {
        self.info("cpu", "used_cpu_user").await + self.info("cpu", "used_cpu_sys").await
    }

    /// What each command cost so far, also those inside the functions: calls and µs per call.
    async fn print_profile(&self, title: &str) {
        let info: String = redis::cmd("INFO")
            .arg("commandstats")
            .query_async(&mut self.connection.clone())
            .await
            .expect("INFO");
        eprintln!("{title}");
        for line in info.lines().filter(|line| line.starts_with("cmdstat_")) {
            eprintln!("  {line}");
        }
        let () = redis::cmd("CONFIG")
            .arg("RESETSTAT")
            .query_async(&mut self.connection.clone())
            .await
            .expect("CONFIG RESETSTAT");
    }

    async fn ask<T: redis::FromRedisValue>(&self, command: &redis::Cmd) -> T {
        command
            .query_async(&mut self.connection.clone())
            .await
            .expect("Redis answers")
    }

    async fn flush(&self) {
        let () = self.ask(&redis::cmd("FLUSHALL")).await;
    }
}

/// Runs `each` for every number below `n`, `CALLERS` at a time.
async fn in_flight<F, W>(n: usize, each: F)
where
    F: Fn(usize) -> W + Clone + Send + 'static,
    W: Future<Output = ()> + Send,
{
    let tasks: Vec<_> = (0..CALLERS)
        .map(|caller| {
            let each = each.clone();
            tokio::spawn(async move {
                for i in (caller..n).step_by(CALLERS) {
                    each(i).await;
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.expect("no panic");
    }
}

/// Bare streams with the payload in the entry: no tenants, no leases, no states.
async fn floor(bench: &Bench, n: usize, figures: &mut Figures) {
    bench.flush().await;
    let payload = "x".repeat(PAYLOAD_BYTES);
    let mut connection = bench.connection.clone();
    let before = bench.info("memory", "used_memory").await;

    let cpu = bench.cpu().await;
    let start = Instant::now();
    let (shared, text) = (connection.clone(), payload.clone());
    in_flight(n, move |_| {
        let (mut connection, text) = (shared.clone(), text.clone());
        async move {
            let mut command = redis::cmd("XADD");
            command.arg("s").arg("*").arg("p").arg(text);
            let _: String = command.query_async(&mut connection).await.expect("XADD");
        }
    })
    .await;
    note(
        figures,
        "floor: enqueue one per call, jobs/s",
        n as f64 / start.elapsed().as_secs_f64(),
    );
    note(
        figures,
        "floor: enqueue one per call, Redis us/job",
        (bench.cpu().await - cpu) * 1e6 / n as f64,
    );
    let after = bench.info("memory", "used_memory").await;
    note(
        figures,
        "floor: bytes per queued job",
        (after - before) / n as f64,
    );

    let cpu = bench.cpu().await;
    let start = Instant::now();
    let () = redis::cmd("XGROUP")
        .arg("CREATE")
        .arg("s")
        .arg("g")
        .arg("0")
        .query_async(&mut connection)
        .await
        .expect("XGROUP");
    for _ in 0..n / BATCH_MAX {
        let reply: redis::streams::StreamReadReply = redis::cmd("XREADGROUP")
            .arg("GROUP")
            .arg("g")
            .arg("c")
            .arg("COUNT")
            .arg(BATCH_MAX)
            .arg("STREAMS")
            .arg("s")
            .arg(">")
            .query_async(&mut connection)
            .await
            .expect("XREADGROUP");
        let ids: Vec<_> = reply.keys[0]
            .ids
            .iter()
            .map(|entry| entry.id.clone())
            .collect();
        let mut pipe = redis::pipe();
        pipe.cmd("XACK").arg("s").arg("g").arg(&ids).ignore();
        pipe.cmd("XDEL").arg("s").arg(&ids).ignore();
        let () = pipe
            .query_async(&mut connection)
            .await
            .expect("XACK and XDEL");
    }
    note(
        figures,
        "floor: claim + finish by 100, jobs/s",
        n as f64 / start.elapsed().as_secs_f64(),
    );
    note(
        figures,
        "floor: claim + finish by 100, Redis us/job",
        (bench.cpu().await - cpu) * 1e6 / n as f64,
    );

    bench.flush().await;
    let start = Instant::now();
    for _ in 0..n / BATCH_MAX {
        let mut pipe = redis::pipe();
        for _ in 0..BATCH_MAX {
            pipe.cmd("XADD")
                .arg("s")
                .arg("*")
                .arg("p")
                .arg(&payload)
                .ignore();
        }
        let () = pipe.query_async(&mut connection).await.expect("XADD");
    }
    note(
        figures,
        "floor: enqueue by 100, jobs/s",
        n as f64 / start.elapsed().as_secs_f64(),
    );

    // A blocked reader gets an entry.
    let mut reader = redis::Client::open(bench.server.url())
        .expect("a URL")
        .get_multiplexed_async_connection()
        .await
        .expect("a connection");
    let mut waits = Vec::new();
    for _ in 0..LATENCY_ROUNDS {
        let (sender, receiver) = tokio::sync::oneshot::channel();
        let mut connection2 = reader.clone();
        let reading = tokio::spawn(async move {
            let mut command = redis::cmd("XREAD");
            command
                .arg("BLOCK")
                .arg(400)
                .arg("STREAMS")
                .arg("l")
                .arg("$");
            let mut read = Box::pin(command.query_async::<redis::Value>(&mut connection2));
            let _ = tokio::time::timeout(Duration::from_millis(2), &mut read).await;
            let _ = sender.send(());
            read.await.expect("XREAD");
            Instant::now()
        });
        receiver.await.expect("it reads");
        let start = Instant::now();
        let _: String = redis::cmd("XADD")
            .arg("l")
            .arg("*")
            .arg("p")
            .arg(&payload)
            .query_async(&mut connection)
            .await
            .expect("XADD");
        waits.push((reading.await.expect("no panic") - start).as_secs_f64() * 1e6);
    }
    let _: String = redis::cmd("PING")
        .query_async(&mut reader)
        .await
        .expect("PING");
    waits.sort_by(f64::total_cmp);
    note(
        figures,
        "floor: enqueue -> blocked reader, p50 us",
        waits[waits.len() / 2],
    );
    note(
        figures,
        "floor: enqueue -> blocked reader, p99 us",
        waits[waits.len() * 99 / 100],
    );
}

async fn ours(bench: &Bench, n: usize, tenants: usize, figures: &mut Figures) {
    bench.flush().await;
    let queue = Queue::connect(&bench.server.config("mq"))
        .await
        .expect("a queue");
    let names: Vec<TenantId> = (0..tenants)
        .map(|t| format!("t{t}").parse().expect("a name"))
        .collect();
    let plenty = Quotas {
        queued_max: Some(10_000_000),
        ..Quotas::default()
    };
    if tenants < 10_000 {
        for name in &names {
            queue.set_quotas(name, &plenty).await.expect("quotas");
        }
    }
    let note = |figures: &mut Figures, name: &str, value| {
        note(figures, format!("queue, {tenants} tenants: {name}"), value);
    };
    let jobs: Vec<NewJob> = (0..n).map(|i| new_job(&names[i % names.len()])).collect();
    let before = bench.info("memory", "used_memory").await;

    let (cpu, start) = (bench.cpu().await, Instant::now());
    let shared = std::sync::Arc::new((queue.clone(), names.clone(), jobs));
    in_flight(n, move |i| {
        let shared = std::sync::Arc::clone(&shared);
        async move {
            let (queue, names, jobs) = &*shared;
            queue
                .enqueue(&names[i % names.len()], &jobs[i..=i])
                .await
                .expect("enqueue");
        }
    })
    .await;
    note(
        figures,
        "enqueue one per call, jobs/s",
        n as f64 / start.elapsed().as_secs_f64(),
    );
    let enqueue_cpu = (bench.cpu().await - cpu) * 1e6 / n as f64;
    note(figures, "enqueue one per call, Redis us/job", enqueue_cpu);
    let after = bench.info("memory", "used_memory").await;
    note(figures, "bytes per queued job", (after - before) / n as f64);

    let worker = worker();
    let (cpu, start) = (bench.cpu().await, Instant::now());
    let (mut done, mut claim_s) = (0, 0.0);
    while done < n {
        let call = Instant::now();
        let claims = queue
            .claim(&worker, BATCH_MAX, LEASE)
            .await
            .expect("claim")
            .claims;
        claim_s += call.elapsed().as_secs_f64();
        if claims.is_empty() {
            break;
        }
        assert!(claims.iter().all(|claim| claim.payload.is_ok()));
        let ended: Vec<_> = claims
            .iter()
            .map(|c| (c.job, c.epoch, JobResult::default()))
            .collect();
        done += ended.len();
        queue.finish_many(&ended).await.expect("finish");
    }
    assert_eq!(done, n, "every job is claimed and finished");
    note(
        figures,
        "claim + finish by 100, jobs/s",
        n as f64 / start.elapsed().as_secs_f64(),
    );
    note(
        figures,
        "claim by 100, us/job as seen by the worker",
        claim_s * 1e6 / n as f64,
    );
    let run_cpu = (bench.cpu().await - cpu) * 1e6 / n as f64;
    note(figures, "claim + finish by 100, Redis us/job", run_cpu);
    note(figures, "whole life, Redis us/job", enqueue_cpu + run_cpu);
    let ended = bench.info("memory", "used_memory").await;
    note(
        figures,
        "bytes per ended job (kept 24 h)",
        (ended - before) / n as f64,
    );

    if tenants == 1 {
        bench.flush().await;
        let queue = Queue::connect(&bench.server.config("mq"))
            .await
            .expect("a queue");
        queue.set_quotas(&names[0], &plenty).await.expect("quotas");
        let batches: Vec<Vec<NewJob>> = (0..n / BATCH_MAX)
            .map(|_| (0..BATCH_MAX).map(|_| new_job(&names[0])).collect())
            .collect();
        let (cpu, start) = (bench.cpu().await, Instant::now());
        for batch in &batches {
            queue.enqueue(&names[0], batch).await.expect("enqueue");
        }
        note(
            figures,
            "enqueue by 100, jobs/s",
            n as f64 / start.elapsed().as_secs_f64(),
        );
        note(
            figures,
            "enqueue by 100, Redis us/job",
            (bench.cpu().await - cpu) * 1e6 / n as f64,
        );
        latency(bench, figures, note).await;
    }
}

/// From the submit to the claim by a worker that waits on the bell.
async fn latency(bench: &Bench, figures: &mut Figures, note: impl Fn(&mut Figures, &str, f64)) {
    bench.flush().await;
    let queue = Queue::connect(&bench.server.config("mq"))
        .await
        .expect("a queue");
    let (tenant, worker) = (TenantId::default(), worker());
    let mut bell = queue.bell().await.expect("a bell");
    let mut waits = Vec::new();
    for _ in 0..LATENCY_ROUNDS {
        let claimed = queue.claim(&worker, 1, LEASE).await.expect("claim");
        assert!(claimed.claims.is_empty());
        let (queue2, worker2) = (queue.clone(), worker.clone());
        let waiting = tokio::spawn(async move {
            loop {
                bell.wait(claimed.wait).await.expect("bell");
                let claims = queue2
                    .claim(&worker2, 1, LEASE)
                    .await
                    .expect("claim")
                    .claims;
                let now = Instant::now();
                if let Some(claim) = claims.into_iter().next() {
                    return (bell, now, claim);
                }
            }
        });
        // It is blocked when the bell's connection says so.
        while bench.info("clients", "blocked_clients").await < 1.0 {}
        let start = Instant::now();
        queue
            .enqueue(&tenant, &[new_job(&tenant)])
            .await
            .expect("enqueue");
        let (back, at, claim) = waiting.await.expect("no panic");
        bell = back;
        waits.push((at - start).as_secs_f64() * 1e6);
        queue
            .finish(claim.job, claim.epoch, &JobResult::default())
            .await
            .expect("finish");
    }
    waits.sort_by(f64::total_cmp);
    note(
        figures,
        "enqueue -> claimed by an idle worker, p50 us",
        waits[waits.len() / 2],
    );
    note(
        figures,
        "enqueue -> claimed by an idle worker, p99 us",
        waits[waits.len() * 99 / 100],
    );
}

/// A number from 1 to ten million.
fn argument(name: &str, default: usize) -> usize {
    let Some(at) = std::env::args().position(|arg| arg == name) else {
        return default;
    };
    let text = std::env::args().nth(at + 1).unwrap_or_default();
    let number = text.parse().ok().filter(|n| (1..=10_000_000).contains(n));
    number.unwrap_or_else(|| {
        eprintln!("error: {name} {text}: give a number from 1 to 10,000,000");
        std::process::exit(2)
    })
}

fn flag(name: &str) -> bool {
    std::env::args().any(|arg| arg == name)
}

fn median(values: &[f64]) -> f64 {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

#[tokio::main]
async fn main() -> ExitCode {
    if flag("--memory") {
        let (n, tenants) = (argument("--jobs", 1_000_000), argument("--tenants", 100));
        let clean = memory::measure(n, tenants).await;
        return if clean {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        };
    }
    let (rounds, n) = (argument("--rounds", 5), argument("--jobs", 20_000));
    let n = n.div_ceil(BATCH_MAX).max(1) * BATCH_MAX;
    let mut figures = Figures::new();
    for _ in 0..rounds {
        let bench = Bench::new().await;
        floor(&bench, n, &mut figures).await;
        for tenants in TENANTS {
            ours(&bench, n, tenants, &mut figures).await;
            if flag("--profile") {
                bench
                    .print_profile(&format!("{tenants} tenants, {n} jobs"))
                    .await;
            }
        }
    }
    let medians: BTreeMap<&str, f64> = figures
        .iter()
        .map(|(name, values)| (name.as_str(), median(values)))
        .collect();
    if flag("--json") {
        let report = serde_json::json!({ "rounds": rounds, "jobs": n, "medians": medians, "samples": figures });
        println!("{report:#}");
        return ExitCode::SUCCESS;
    }
    for (name, value) in &medians {
        // What the floor did for the same, if it has the like.
        let like = name
            .split_once(": ")
            .and_then(|(_, what)| medians.get(format!("floor: {what}").as_str()));
        match like {
            Some(floor) if !name.starts_with("floor") => {
                println!("{value:>12.1}  {:>6.2} x floor  {name}", value / floor)
            }
            _ => println!("{value:>12.1}                 {name}"),
        }
    }
    ExitCode::SUCCESS
}
