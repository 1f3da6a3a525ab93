//! What workers with nothing to do cost Redis: `idle_cost [--workers N] [--slots N] [--seconds N] [--json]`.
//!
//! A Redis of its own and real workers (claims, bell, lease keeper, hints), each with its own connections; only their
//! sandboxes are none. Counted is what Redis counts: heartbeats, and what functions call too. With
//! `MANIMQ_TEST_TOPOLOGY=cluster` Redis is a Cluster of three, and the queue has eight shards (or `MANIMQ_REDIS_SHARDS`).

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Context as _;
use clap::Parser;
use manimq_shared::queue::{PARK, Queue, RedisConfig};
use manimq_shared::testing::Redis;
use manimq_worker::config::RunArgs;
use manimq_worker::run::run_with;
use manimq_worker::sandbox::fake::FakeSandbox;
use tokio_util::sync::CancellationToken;

/// Longest time until all are there.
const LIMIT: Duration = Duration::from_secs(60);
/// After that, until what belongs to the start is over.
const SETTLE: Duration = Duration::from_secs(5);

#[derive(Parser)]
struct Options {
    /// Workers
    #[arg(long, default_value_t = 10)]
    workers: usize,
    /// Slots of each
    #[arg(long, default_value_t = 10)]
    slots: usize,
    /// How long they are watched; by default for two looks of each at each shard
    #[arg(long)]
    seconds: Option<u64>,
    /// One JSON object instead of lines
    #[arg(long)]
    json: bool,
}

#[derive(Parser)]
struct Worker {
    #[command(flatten)]
    args: RunArgs,
}

/// How often each command was called so far, but for `INFO` itself.
async fn calls(redis: &Redis) -> anyhow::Result<BTreeMap<String, u64>> {
    let texts = redis
        .every_primary(redis::cmd("INFO").arg("commandstats"))
        .await
        .context("cannot read Redis' counts")?;
    let count = |line: &str| -> Option<(String, u64)> {
        let (name, rest) = line.strip_prefix("cmdstat_")?.split_once(":calls=")?;
        Some((name.to_owned(), rest.split(',').next()?.parse().ok()?))
    };
    let mut calls = BTreeMap::new();
    for text in texts {
        let text: String = redis::from_redis_value(text)?;
        for (name, times) in text.lines().filter_map(count) {
            *calls.entry(name).or_default() += times;
        }
    }
    calls.remove("info");
    Ok(calls)
}

fn start(
    redis: &Redis,
    prefix: &str,
    options: &Options,
    stop: &CancellationToken,
) -> anyhow::Result<tokio::task::JoinHandle<anyhow::Result<()>>> {
    let url = redis.url();
    let slots = options.slots.to_string();
    let args = Worker::try_parse_from([
        "worker",
        "--redis-url",
        &url,
        "--redis-prefix",
        prefix,
        // There are no jobs: nothing is uploaded.
        "--api-url",
        "http://127.0.0.1:1",
        "--slots",
        &slots,
        "--metrics-listen",
        "127.0.0.1:0",
    ])?
    .args;
    let connect = |_| std::future::ready(Ok(FakeSandbox::new([])));
    Ok(tokio::spawn(run_with(
        args,
        connect,
        stop.clone(),
        CancellationToken::new(),
    )))
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    manimq_shared::tls::choose_cryptography();
    let redis = Redis::start();
    let prefix = "idle";
    let config = RedisConfig {
        prefix: prefix.to_owned(),
        ..RedisConfig::from_env(redis.url())?
    };
    let queue = Queue::connect(&config).await?;
    let stop = CancellationToken::new();
    let workers = (0..options.workers)
        .map(|_| start(&redis, prefix, &options, &stop))
        .collect::<anyhow::Result<Vec<_>>>()?;
    let all_there = async {
        while queue.stats().await?.workers.len() < options.workers {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        anyhow::Ok(())
    };
    tokio::time::timeout(LIMIT, all_there)
        .await
        .context("the workers take too long to start")??;
    tokio::time::sleep(SETTLE).await;
    let usual = 2 * PARK.as_secs() * u64::from(config.shards());
    let seconds = options.seconds.unwrap_or(usual);
    let before = calls(&redis).await?;
    tokio::time::sleep(Duration::from_secs(seconds)).await;
    let after = calls(&redis).await?;
    let spent: BTreeMap<String, u64> = after
        .into_iter()
        .map(|(name, count)| (name.clone(), count - before.get(&name).unwrap_or(&0)))
        .filter(|(_, count)| *count > 0)
        .collect();
    let rate = spent.values().sum::<u64>() as f64 / seconds as f64;
    if options.json {
        println!(
            "{:#}",
            serde_json::json!({
                "workers": options.workers, "slots": options.slots, "shards": config.shards(), "seconds": seconds,
                "commands_per_second": rate, "commands": spent,
            })
        );
    } else {
        println!(
            "{} workers of {} slots, {} shards, idle for {seconds} s: {rate:.2} commands a second, {:.2} for each worker",
            options.workers,
            options.slots,
            config.shards(),
            rate / options.workers as f64
        );
        for (name, count) in spent {
            println!("{count:8}  {name}");
        }
    }
    stop.cancel();
    for worker in workers {
        worker.await??;
    }
    Ok(())
}
