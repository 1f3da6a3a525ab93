//! Faults at every request that a job makes, one at a time: `deploy/test` takes a sample of them,
//! `MANIMQ_SOAK_BLAXEL=1` all.
//!
//! A first job is recorded. Then, for each position in that list and each fault, another runs with
//! that fault once at that position.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use manimq_shared::ids::TenantId;
use manimq_shared::job::{JobRecord, Status};
use manimq_worker::sandbox::blaxel::output::SendFrom;
use serde_json::json;

use crate::bench::{ASSET, Bench};
use crate::faults::{Fault, What};
use crate::support::*;

const FAULTS: [What; 7] = [
    What::Reset,
    What::Html(502),
    What::DoneThenHtml(504),
    What::DoneThenReset,
    What::TooMany(1),
    What::Slow,
    What::Truncated,
];
/// Longest time of a job with one fault: the longest bounds are 40 s for the begin of a stream and
/// 45 s for a call with all its tries. What is usual is a few seconds.
const WITHIN: Duration = Duration::from_secs(300);
const SMALL: &str = "self.add(Square())\nself.wait(0.2)\nopen('data.bin', 'rb').read(1)";

fn is_whole() -> bool {
    std::env::var_os("MANIMQ_SOAK_BLAXEL").is_some()
}

/// A call, and how many of its name go before it.
type Position = (String, u32);

/// Positions in a list of calls.
fn positions(calls: Vec<String>) -> Vec<Position> {
    let mut seen: BTreeMap<String, u32> = BTreeMap::new();
    calls
        .into_iter()
        .map(|call| {
            let count = seen.entry(call.clone()).or_default();
            *count += 1;
            (call, *count - 1)
        })
        .collect()
}

/// Only those whose label has this in it (`start 1 Reset`): to see one again.
fn only() -> Option<String> {
    std::env::var("MANIMQ_TEST_FAULT").ok()
}

/// Each position with each fault; or each with one of them, and at most `sample` positions.
fn plan(positions: &[Position], sample: usize) -> Vec<(Position, What)> {
    let step = positions.len().div_ceil(sample).max(1);
    let all = positions.iter();
    if is_whole() || only().is_some() {
        let wanted = only().unwrap_or_default();
        return all
            .flat_map(|at| FAULTS.iter().map(|what| (at.clone(), what.clone())))
            .filter(|(at, what)| label(at, what).contains(&wanted))
            .collect();
    }
    all.step_by(step)
        .enumerate()
        .map(|(n, at)| (at.clone(), FAULTS[n % FAULTS.len()].clone()))
        .collect()
}

fn label((call, after): &Position, what: &What) -> String {
    format!("{call} {after} {what:?}")
}

/// What is told in the end.
#[derive(Default)]
struct Figures {
    runs: usize,
    /// Positions that a run did not come to: how often it asks depends on the time it takes.
    not_reached: usize,
    lost_attempts: usize,
    took: Vec<Duration>,
}

impl Figures {
    fn count(&mut self, reached: bool, lost: usize, took: Duration) {
        self.runs += 1;
        self.not_reached += usize::from(!reached);
        self.lost_attempts += lost;
        self.took.push(took);
    }

    fn add(&mut self, other: Self) {
        self.runs += other.runs;
        self.not_reached += other.not_reached;
        self.lost_attempts += other.lost_attempts;
        self.took.extend(other.took);
    }

    fn tell(mut self, what: &str, positions: usize) {
        self.took.sort();
        println!(
            "{what}: {positions} positions, {} runs with a fault, {} not reached, {} attempts lost and \
             run again; p50 {:.1} s, longest {:.1} s",
            self.runs,
            self.not_reached,
            self.lost_attempts,
            self.took[self.took.len() / 2].as_secs_f64(),
            self.took[self.took.len() - 1].as_secs_f64(),
        );
        let missed = self.not_reached * 2;
        assert!(missed <= self.runs, "{what}: most faults were not reached");
    }
}

async fn small_job(bench: &Bench) -> manimq_shared::ids::JobId {
    let file = json!([{"name": "data.bin", "bytes": ASSET.content.len(), "sha256": ASSET.sha256}]);
    bench.submit_lines(SMALL, file).await
}

/// One job from its submission until the slot is ready again.
async fn one_job(bench: &Bench) -> JobRecord {
    let (times, before) = (bench.times_ready(), bench.charged().await);
    let id = small_job(bench).await;
    let record = bench.ended(id).await;
    bench.ready_after(times).await;
    let error = record.result.as_ref().and_then(|r| r.error.as_ref());
    assert_eq!(record.status, Status::Succeeded, "{error:?}");
    bench.stored_once(&record, id);
    Bench::lost_attempts(&record);
    // Attempts that were lost cost nothing: what is charged is no longer than the last one took.
    let last = record.attempts.last().expect("an attempt");
    let ended = last.ended_at.expect("it ended");
    let took =
        u64::try_from(ended.as_millisecond() - last.started_at.as_millisecond()).expect("a time");
    let charged = bench.charged().await - before;
    assert!(
        charged <= Duration::from_millis(took + 50),
        "{charged:?} of {took} ms"
    );
    record
}

/// How many go side by side: most of the time is waiting.
fn width() -> usize {
    if is_whole() { 4 } else { 2 }
}

/// Faults at each call of a job in a sandbox that is connected.
async fn in_a_warm_sandbox(send_from: SendFrom, what: &str, sample: usize) {
    let (site, bench) = warm(send_from).await;
    one_job(&bench).await;
    site.cloud.take_calls();
    one_job(&bench).await;
    let positions = positions(site.cloud.take_calls());
    close(site, bench).await;
    let plan = plan(&positions, sample);
    let parts = plan.chunks(plan.len().div_ceil(width()));
    let mut figures = Figures::default();
    for part in futures_util::future::join_all(parts.map(|part| one_by_one(send_from, part))).await
    {
        figures.add(part);
    }
    figures.tell(what, positions.len());
}

async fn warm(send_from: SendFrom) -> (Site, Bench) {
    let site = Site::with(|config| config.send_from = send_from).await;
    let bench = Bench::start(&site).await;
    bench.ready_after(0).await;
    (site, bench)
}

async fn close(site: Site, bench: Bench) {
    bench.stop().await;
    eventually("nothing runs", || {
        site.machine.processes.running().is_empty()
    })
    .await;
}

/// Each fault with a job of its own, in one sandbox.
async fn one_by_one(send_from: SendFrom, plan: &[(Position, What)]) -> Figures {
    let (site, bench) = warm(send_from).await;
    let mut figures = Figures::default();
    for (at, fault) in plan {
        let label = label(at, fault);
        site.cloud.fail(Fault::at(&at.0, at.1, fault.clone()));
        let begun = Instant::now();
        let job = tokio::time::timeout(WITHIN, one_job(&bench)).await;
        let record = job.unwrap_or_else(|_| panic!("{label}: not within {WITHIN:?}"));
        let reached = site.cloud.faults_left() == 0;
        site.cloud.forget_faults();
        let lost = Bench::lost_attempts(&record);
        if lost > 0 || begun.elapsed() > Duration::from_secs(15) {
            println!(
                "{label}: {lost} lost, {:.1} s",
                begun.elapsed().as_secs_f64()
            );
        }
        figures.count(reached, lost, begun.elapsed());
    }
    close(site, bench).await;
    figures
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_survives_any_fault_at_any_of_its_requests() {
    in_a_warm_sandbox(SendFrom::Auto, "a job that the worker stores", 10).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_is_stored_from_inside_survives_any_fault_at_any_of_its_requests() {
    in_a_warm_sandbox(SendFrom::Sandbox, "a job that is stored from inside", 7).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_survives_any_fault_from_the_first_request_to_the_last() {
    // The whole life of a connection to a sandbox where nothing is yet.
    let live = async |fault: Option<(Position, What)>| {
        let site = Site::new().await;
        if let Some(((call, after), what)) = fault {
            site.cloud.fail(Fault::at(&call, after, what));
        }
        let begun = Instant::now();
        let bench = Bench::start(&site).await;
        bench.ready_after(0).await;
        let took = begun.elapsed();
        let connecting = site.cloud.take_calls();
        one_job(&bench).await;
        let job = site.cloud.take_calls();
        bench.stop().await;
        eventually("nothing runs", || {
            site.machine.processes.running().is_empty()
        })
        .await;
        let inside = crate::cloud::Cloud::inside(&site.machine);
        for folder in ["jobs", "slots", "areas"] {
            let left = std::fs::read_dir(inside.join(folder))
                .expect(folder)
                .count();
            assert_eq!(left, 0, "{folder}");
        }
        let all = [connecting, job, site.cloud.take_calls()];
        (all, took, site.cloud.faults_left() == 0)
    };
    let ([connecting, job, closing], _, _) = live(None).await;
    let first = connecting.len() + job.len();
    let all = positions([connecting.clone(), job, closing].concat());
    // Those of the job have a test of their own.
    let all: Vec<Position> = [&all[..connecting.len()], &all[first..]].concat();
    let lives = plan(&all, 4).into_iter().map(async |(at, what)| {
        let label = label(&at, &what);
        let lived = tokio::time::timeout(2 * WITHIN, live(Some((at, what)))).await;
        let (_, took, reached) = lived.unwrap_or_else(|_| panic!("{label}: too long"));
        assert!(took < WITHIN, "{label}: {took:?}");
        if took > Duration::from_secs(30) {
            println!("{label}: {:.1} s", took.as_secs_f64());
        }
        (reached, took)
    });
    let mut figures = Figures::default();
    let mut lives = futures_util::stream::iter(lives).buffer_unordered(width());
    while let Some((reached, took)) = lives.next().await {
        figures.count(reached, 0, took);
    }
    figures.tell("a connection, until it is ready", all.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancel_is_heard_whatever_happens_to_the_request_that_tells_of_it() {
    let site = Site::new().await;
    let bench = Bench::start(&site).await;
    bench.ready_after(0).await;
    let faults = if is_whole() {
        &FAULTS[..]
    } else {
        &FAULTS[2..4]
    };
    for what in faults {
        let times = bench.times_ready();
        let id = bench
            .submit_lines("while True: self.play(Create(Square()))", json!(null))
            .await;
        eventually("it runs", || {
            let running = site.machine.processes.running();
            running.iter().any(|name| name.contains("render"))
        })
        .await;
        site.cloud.fail(Fault::once("stop", what.clone()));
        let asked = bench.queue.cancel(&TenantId::default(), id).await;
        asked.expect("Redis");
        let record = bench.ended(id).await;
        assert_eq!(record.status, Status::Canceled, "{what:?}");
        bench.ready_after(times).await;
        assert_eq!(site.cloud.faults_left(), 0, "{what:?}");
        assert_eq!(site.machine.processes.started("manimq-keep"), 1, "{what:?}");
    }
    bench.stop().await;
}
