//! The queue under chaos: real producers and workers as processes, with renders that draw nothing,
//! are killed, frozen, cut off and drained while Redis dies and hangs; then a checker goes through
//! what all of them saw. See `checker.rs` for what is promised, `plan.rs` for what goes wrong.
//!
//! `MANIMQ_SOAK_CHAOS=<seconds>` runs round after round, each with a seed of its own, for that long.
//! `MANIMQ_CHAOS_SEED=<seed>` repeats the plan of one run. The order in which processes get to
//! run is not repeated by it. `MANIMQ_CHAOS_EDIT='<text>=><other>'` puts a fault into the functions,
//! to see whether it is caught.

mod checker;
mod checker_tests;
mod dice;
mod driver;
mod evidence;
mod history;
mod library;
mod part;
mod plan;
mod producer;
mod proxy;
mod stall;
mod store;
mod topology;
mod worker;

use std::collections::HashMap;
use std::sync::{LazyLock, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use dice::Dice;
use driver::{Outcome, Scenario};
use plan::Mix;
use topology::Topology;

/// A program for the other tests, which start it with its task in the environment; else it does
/// nothing.
#[test]
fn a_process_of_a_run_does_its_task() {
    part::run();
}

fn variable(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok().filter(|text| !text.is_empty())?;
    let number = text.parse();
    Some(number.unwrap_or_else(|_| panic!("{name}={text}: write a whole number")))
}

fn seed() -> u64 {
    variable("MANIMQ_CHAOS_SEED").unwrap_or_else(history::now_us)
}

/// Runs one scenario and says how it went.
fn outcome(name: &str, scenario: Scenario) -> Outcome {
    println!("{name}: seed {}, {:?}", scenario.seed, scenario.length);
    let began = Instant::now();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    let outcome = runtime.block_on(driver::run(scenario));
    println!("{name}: {:?}: {}", began.elapsed(), outcome.summary());
    outcome
}

/// The same; panics with all that is wrong.
fn run(name: &str, scenario: Scenario) {
    let seed = scenario.seed;
    let expected = scenario.mix.expected();
    let outcome = outcome(name, scenario);
    let accepted = outcome.figures.accepted;
    let missing: Vec<&str> = expected
        .into_iter()
        .filter(|fault| !outcome.faults.contains_key(*fault))
        .collect();
    if let Err(text) = outcome.verdict() {
        panic!("{name}: seed {seed}: {text}");
    }
    assert!(
        accepted > 50,
        "{accepted} jobs were accepted: that proves nothing"
    );
    assert!(
        missing.is_empty(),
        "{name}: seed {seed}: never happened, so nothing is proven of it: {}",
        missing.join(", ")
    );
}

/// Everything goes wrong, for `length`.
fn everything(seed: u64, length: Duration) -> Scenario {
    // So many in half a minute, and more in proportion.
    let times = |n: u64| (n * length.as_secs()).div_ceil(30);
    Scenario {
        seed,
        redis: Topology::standalone,
        length,
        quiet_max: Duration::from_secs(120),
        workers: 5,
        slots: 2,
        producers: 3,
        pause_ms: 150,
        mix: Mix {
            kills: times(5),
            drains: times(2),
            freezes: times(2),
            producer_kills: times(2),
            lost_answers: times(16),
            cuts: times(12),
            cuts_of_all: times(2),
            refusals: times(2),
            holds: times(8),
            redis_kills: times(2),
            redis_hangs: times(1),
            pauses: times(2),
            ..Mix::default()
        },
        library: library::by_hand(),
        durable: false,
    }
}

/// The server's clock jumps to each of these differences from the true time, while workers die.
fn jumps(seed: u64, length: Duration, clock: Vec<i64>) -> Scenario {
    let times = |n: u64| (n * length.as_secs()).div_ceil(30);
    Scenario {
        seed,
        redis: Topology::standalone,
        length,
        quiet_max: Duration::from_secs(240),
        workers: 3,
        slots: 2,
        producers: 2,
        pause_ms: 150,
        mix: Mix {
            kills: times(3),
            lost_answers: times(6),
            cuts: times(6),
            clock,
            ..Mix::default()
        },
        library: Some(library::with_skew()),
        durable: false,
    }
}

/// Only freezes in the middle of uploads: zombies come back while their jobs run elsewhere.
fn zombies(seed: u64, library: Option<String>) -> Scenario {
    Scenario {
        seed,
        redis: Topology::standalone,
        length: Duration::from_secs(5),
        quiet_max: Duration::from_secs(120),
        workers: 4,
        slots: 2,
        producers: 2,
        pause_ms: 150,
        mix: Mix {
            freezes: 2,
            ..Mix::default()
        },
        library,
        durable: false,
    }
}

/// A master behind sentinels dies or hangs, and its replica takes its place; each time that takes
/// half a minute.
fn failovers(seed: u64, length: Duration) -> Scenario {
    let times = |n: u64| (n * length.as_secs()).div_ceil(30);
    Scenario {
        seed,
        redis: Topology::sentinel,
        length,
        quiet_max: Duration::from_secs(120),
        workers: 4,
        slots: 2,
        producers: 3,
        pause_ms: 200,
        mix: Mix {
            kills: times(3),
            drains: times(1),
            producer_kills: times(2),
            redis_kills: length.as_secs().div_ceil(60),
            redis_hangs: length.as_secs() / 60,
            ..Mix::default()
        },
        library: None,
        durable: false,
    }
}

/// Slots of a Cluster move while its nodes die and hang.
fn moves(seed: u64, length: Duration) -> Scenario {
    let times = |n: u64| (n * length.as_secs()).div_ceil(30);
    Scenario {
        seed,
        redis: Topology::cluster,
        length,
        quiet_max: Duration::from_secs(120),
        workers: 4,
        slots: 2,
        producers: 3,
        pause_ms: 100,
        mix: Mix {
            kills: times(3),
            drains: times(1),
            producer_kills: times(2),
            redis_kills: times(2),
            redis_hangs: times(1),
            slot_moves: times(10),
            ..Mix::default()
        },
        library: None,
        durable: false,
    }
}

type Run = (&'static str, fn() -> Scenario);

/// The runs of the short form.
const SHORT: [Run; 4] = [
    ("chaos", || everything(seed(), Duration::from_secs(26))),
    ("clock", || {
        let clock = vec![15_000, -7_000, 8_000, 0];
        jumps(seed(), Duration::from_secs(20), clock)
    }),
    ("failover", || failovers(seed(), Duration::from_secs(10))),
    ("moves", || moves(seed(), Duration::from_secs(15))),
];

/// They mostly wait: if all are asked for, all run at once, however few threads the tests have.
static STARTED: LazyLock<Mutex<HashMap<&str, JoinHandle<()>>>> = LazyLock::new(|| {
    let some = std::env::args().skip(1).any(|arg| !arg.starts_with('-'));
    let all = SHORT.iter().filter(|_| !some);
    let start = |&(name, scenario): &Run| (name, std::thread::spawn(move || run(name, scenario())));
    Mutex::new(all.map(start).collect())
});

/// Waits for the run of that name, or runs it.
fn short(name: &str) {
    let started = STARTED.lock().expect("no panic while locked").remove(name);
    if let Some(run) = started {
        run.join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        return;
    }
    let (name, scenario) = SHORT.iter().find(|(n, _)| *n == name).expect("its name");
    run(name, scenario());
}

#[test]
fn whatever_dies_freezes_or_is_cut_off_each_accepted_job_ends_once_and_is_published_at_most_once() {
    short("chaos");
}

#[test]
fn a_server_clock_that_jumps_loses_no_job_and_publishes_none_twice() {
    short("clock");
}

#[test]
fn a_failover_loses_exactly_what_redis_lost() {
    short("failover");
}

#[test]
fn slots_that_move_and_nodes_that_die_lose_no_job() {
    short("moves");
}

/// Round after round for `MANIMQ_SOAK_CHAOS` seconds, and each at least once.
#[test]
fn rounds_of_chaos_for_as_long_as_asked_break_no_promise() {
    let Some(seconds) = variable("MANIMQ_SOAK_CHAOS") else {
        return;
    };
    let end = Instant::now() + Duration::from_secs(seconds);
    let mut seed = seed();
    loop {
        // The first round of a soak with this seed is this round again.
        println!("MANIMQ_SOAK_CHAOS=1 MANIMQ_CHAOS_SEED={seed} repeats the next five:");
        let mut dice = Dice::new(seed);
        let length = dice.ms(30_000, 120_000);
        run("soak", everything(seed, length));
        let mut clock: Vec<i64> = (0..dice.between(4, 12))
            .map(|_| i64::try_from(dice.between(0, 120_000)).unwrap_or(0) - 60_000)
            .collect();
        clock.push(0);
        run("soak clock", jumps(seed, length, clock));
        run("soak failover", failovers(seed, length));
        let mut durable = failovers(seed, length);
        durable.durable = true;
        // In a short round a master only dies; here it hangs, and comes back without knowing.
        std::mem::swap(&mut durable.mix.redis_kills, &mut durable.mix.redis_hangs);
        run("soak durable failover", durable);
        run("soak moves", moves(seed, length));
        if Instant::now() >= end {
            return;
        }
        seed = dice.roll();
    }
}

/// The whole chain can fail: a queue that forgot its fencing is caught. Part of the long form.
#[test]
fn a_queue_without_the_epoch_check_is_caught() {
    if variable("MANIMQ_SOAK_CHAOS").is_none() {
        return;
    }
    let outcome = outcome("mutant", zombies(seed(), Some(library::without_fencing())));
    let folder = outcome.folder.clone();
    let text = outcome
        .verdict()
        .expect_err("a zombie that publishes is caught");
    assert!(
        text.contains("was told that epoch 1 is published"),
        "{text}"
    );
    let _ = std::fs::remove_dir_all(folder);
}
