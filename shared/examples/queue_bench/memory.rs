//! What many waiting jobs cost in memory, and that nothing of them is left.

use std::time::{Duration, Instant};

use jiff::Timestamp;
use manimq_shared::ids::TenantId;
use manimq_shared::job::JobResult;
use manimq_shared::queue::{BATCH_MAX, Enqueued, LEASE, Queue, Quotas, RedisConfig, Retention};

use super::{Bench, new_job, worker};

/// Ended jobs are kept this long.
const KEPT: Duration = Duration::from_secs(5);
/// Redis forgets expired keys, and gives back the tables that named them, in its own time.
const FORGETS_WITHIN: Duration = Duration::from_secs(600);
/// Nothing of a tenant is kept after this: it was quiet, and its quotas of the day are a new day's.
const A_DAY_AND_MORE_MS: u64 = 26 * 3_600_000;
/// What used memory may differ by in the end, as a part of what the jobs took at most.
const LEFT_MAX: f64 = 0.01;
/// What a shard keeps whatever was done: state, counters, tokens for workers that wait.
const LASTING: [&str; 3] = ["sh", "ct", "bell"];

/// Memory of the server once it has given back what it can.
async fn used(bench: &Bench) -> f64 {
    let _: String = bench.ask(redis::cmd("MEMORY").arg("PURGE")).await;
    bench.info("memory", "used_memory").await
}

async fn run_all(queue: &Queue, n: usize) {
    let worker = worker();
    let mut done = 0;
    while done < n {
        let claimed = queue.claim(&worker, BATCH_MAX, LEASE).await.expect("claim");
        let ended: Vec<_> = claimed
            .claims
            .iter()
            .map(|claim| (claim.job, claim.epoch, JobResult::default()))
            .collect();
        assert!(!ended.is_empty(), "{done} of {n} jobs came");
        queue.finish_many(&ended).await.expect("finish");
        done += ended.len();
    }
    queue.leave(worker.id).await.expect("leave");
}

async fn submit_all(queue: &Queue, names: &[TenantId], n: usize) {
    let mut left = n;
    for name in names.iter().cycle() {
        if left == 0 {
            break;
        }
        let jobs: Vec<_> = (0..left.min(BATCH_MAX)).map(|_| new_job(name)).collect();
        let replies = queue.enqueue(name, &jobs).await.expect("enqueue");
        assert!(replies.iter().all(|reply| *reply == Enqueued::Accepted));
        left -= jobs.len();
    }
}

/// Names of the keys that are not the shard's own.
async fn strays(bench: &Bench) -> Vec<String> {
    let mut keys: Vec<String> = bench.ask(redis::cmd("KEYS").arg("*")).await;
    keys.retain(|key| {
        !LASTING
            .iter()
            .any(|name| key.ends_with(&format!("}}:{name}")))
    });
    keys
}

/// Waits until `holds`, at most [`FORGETS_WITHIN`].
async fn eventually(mut holds: impl AsyncFnMut() -> bool) -> bool {
    let start = Instant::now();
    while start.elapsed() < FORGETS_WITHIN {
        if holds().await {
            return true;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    false
}

/// Queues `n` jobs of so many tenants, runs them, lets them be forgotten; true if nothing is left.
pub async fn measure(n: usize, tenants: usize) -> bool {
    let bench = Bench::new().await;
    let config = bench.server.config("mq");
    let queue = Queue::connect(&config).await.expect("a queue");
    let names: Vec<TenantId> = (0..tenants)
        .map(|t| format!("t{t}").parse().expect("a name"))
        .collect();
    let keep = Retention {
        succeeded: KEPT,
        others: KEPT,
    };
    queue.set_retention(keep).await.expect("retention");
    // Once round, so that all that is made at the first use is there.
    submit_all(&queue, &names[..1], BATCH_MAX).await;
    run_all(&queue, BATCH_MAX).await;
    age(&bench, &config, BATCH_MAX).await;
    let before = used(&bench).await;

    let plenty = Quotas {
        queued_max: Some(u32::try_from(n).unwrap_or(u32::MAX)),
        ..Quotas::default()
    };
    for name in &names {
        queue.set_quotas(name, &plenty).await.expect("quotas");
    }
    let start = Instant::now();
    submit_all(&queue, &names, n).await;
    let waiting = used(&bench).await;
    println!(
        "{n} jobs of {tenants} tenants wait: {:.0} B each, {:.0} MB in all ({:.0} MB resident); submitted in {:.0} s",
        (waiting - before) / n as f64,
        waiting / 1e6,
        bench.info("memory", "used_memory_rss").await / 1e6,
        start.elapsed().as_secs_f64()
    );
    let start = Instant::now();
    run_all(&queue, n).await;
    println!(
        "all were claimed and finished in {:.0} s",
        start.elapsed().as_secs_f64()
    );
    for name in &names {
        queue
            .set_quotas(name, &Quotas::default())
            .await
            .expect("quotas");
    }
    let start = Instant::now();
    let forgotten = age(&bench, &config, tenants).await;
    let most = bench.info("memory", "used_memory_peak").await - before;
    // The tables of keys and expiries shrink bit by bit.
    let back = eventually(async || (used(&bench).await - before).abs() < LEFT_MAX * most).await;
    let over = used(&bench).await - before;
    println!(
        "used_memory: {before:.0} B before, {most:.0} B more at most, {over:+.0} B {:.0} s after the end ({:+.3} % of the most)",
        start.elapsed().as_secs_f64(),
        over / most * 100.0,
    );
    let strays = strays(&bench).await;
    println!("keys left that are not the shard's own: {}", strays.len());
    for key in strays.iter().take(10) {
        println!("  {key}");
    }
    forgotten && back && strays.is_empty()
}

/// Takes away the lists of the day's jobs, which would go by themselves some days later.
async fn drop_lists(bench: &Bench) -> usize {
    let mut lists: Vec<String> = bench.ask(redis::cmd("KEYS").arg("*:t:*:j*")).await;
    let found = lists.len();
    while let Some(list) = lists.pop() {
        let ttl: i64 = bench.ask(redis::cmd("TTL").arg(&list)).await;
        assert!(ttl > 0, "{list} stays for ever");
        let _: i64 = bench.ask(redis::cmd("DEL").arg(list)).await;
    }
    found
}

/// Lets a day and more pass for the functions, and the records expire by the server's own clock.
async fn age(bench: &Bench, config: &RedisConfig, tenants: usize) -> bool {
    let later = Queue::connect_with_test_clock(config)
        .await
        .expect("a queue with a clock of its own");
    let now = u64::try_from(Timestamp::now().as_millisecond()).expect("after 1970");
    later
        .set_test_clock(now + A_DAY_AND_MORE_MS)
        .await
        .expect("a clock");
    let worker = worker();
    // A renewal clears two tenants away.
    for _ in 0..tenants {
        later.renew(&worker, LEASE, &[]).await.expect("renew");
    }
    later.leave(worker.id).await.expect("leave");
    let _: i64 = bench
        .ask(redis::cmd("DEL").arg(format!("{}:clock", later.keys().base())))
        .await;
    println!("lists of jobs, kept for days: {}", drop_lists(bench).await);
    eventually(async || {
        let left: usize = bench.ask(&redis::cmd("DBSIZE")).await;
        left <= LASTING.len()
    })
    .await
}
