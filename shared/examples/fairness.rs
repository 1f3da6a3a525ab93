//! How fair the queue is, beside plain schedulers with the same arrivals.
//!
//! `cargo run --release -p manimq-shared --example fairness -- [--json] [--seeds N] [--hours H]`
//! starts a private redis-server and drives the real functions in simulated time: a flood of
//! `--hours` takes seconds. Every figure is the median over the seeds. `deploy/bench/fairness`
//! makes the table and the plot of it.

#[path = "fairness/mod.rs"]
mod fairness;

use std::process::ExitCode;

use fairness::scenarios::{Behind, Contest, Flood, Policy, median, quantile};
use fairness::sim::Length;
use manimq_shared::testing::RedisServer;
use serde::Serialize;

const HELP: &str = "usage: fairness [--json] [--seeds N] [--hours H]

  --json      everything as JSON, with the points of the plot
  --seeds N   loads to try, 1 to 100 (default 5); figures are medians
  --hours H   simulated length of a flood, 0.1 to 24 (default 3)";

struct Options {
    json: bool,
    seeds: u64,
    hours: f64,
}

impl Options {
    fn parse(mut args: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut options = Self {
            json: false,
            seeds: 5,
            hours: 3.0,
        };
        while let Some(arg) = args.next() {
            let mut value = |what: &str| {
                args.next()
                    .ok_or_else(|| format!("{arg} needs {what}\n\n{HELP}"))
            };
            match arg.as_str() {
                "--json" => options.json = true,
                "--seeds" => {
                    let text = value("a number")?;
                    options.seeds = text
                        .parse()
                        .ok()
                        .filter(|seeds| (1..=100).contains(seeds))
                        .ok_or_else(|| format!("--seeds {text}: give a number from 1 to 100"))?;
                }
                "--hours" => {
                    let text = value("a number")?;
                    options.hours = text
                        .parse()
                        .ok()
                        .filter(|hours| (0.1..=24.0).contains(hours))
                        .ok_or_else(|| format!("--hours {text}: give a number from 0.1 to 24"))?;
                }
                _ => return Err(format!("unknown argument {arg}\n\n{HELP}")),
            }
        }
        Ok(options)
    }
}

/// One policy in one flood.
#[derive(Serialize)]
struct FloodRow {
    policy: &'static str,
    slots: usize,
    light_wait_p50_s: f64,
    light_wait_p99_s: f64,
    light_wait_max_s: f64,
    heavy_jobs_per_hour: f64,
    utilisation: f64,
    /// Hours since the first dump and wait in seconds of every light job, first seed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    points: Vec<(f64, f64)>,
}

/// One policy with tenants that always have work.
#[derive(Serialize)]
struct ContestRow {
    policy: &'static str,
    entitled: Vec<f64>,
    got: Vec<f64>,
    jain: f64,
}

/// Ten jobs behind ten thousand.
#[derive(Serialize)]
struct BehindRow {
    policy: &'static str,
    slots: usize,
    job_s: f64,
    known: bool,
    alone_s: f64,
    behind_s: f64,
    factor: f64,
}

#[derive(Serialize)]
struct Report {
    seeds: u64,
    hours: f64,
    flood: Vec<FloodRow>,
    two_floods: Vec<FloodRow>,
    from_silence: Vec<FloodRow>,
    small: Vec<FloodRow>,
    weights: Vec<ContestRow>,
    uneven: Vec<ContestRow>,
    behind: Vec<BehindRow>,
}

struct Experiment {
    server: RedisServer,
    seeds: u64,
}

impl Experiment {
    async fn flood(&self, flood: Flood, policies: &[Policy], points: bool) -> Vec<FloodRow> {
        let mut rows = Vec::new();
        for &policy in policies {
            let mut runs = Vec::new();
            for seed in 1..=self.seeds {
                let jobs = policy.run(&self.server, &flood.load(seed)).await;
                runs.push(flood.measure(&jobs));
            }
            let of = |part: f64| {
                let all = runs.iter().map(|run| quantile(&run.light_waits_s, part));
                median(&all.collect::<Vec<_>>())
            };
            let rates: Vec<f64> = runs.iter().map(|run| run.heavy_jobs_per_hour).collect();
            let busy: Vec<f64> = runs.iter().map(|run| run.utilisation).collect();
            rows.push(FloodRow {
                policy: policy.name(),
                slots: flood.slots,
                light_wait_p50_s: of(0.5),
                light_wait_p99_s: of(0.99),
                light_wait_max_s: of(1.0),
                heavy_jobs_per_hour: median(&rates),
                utilisation: median(&busy),
                points: if points {
                    runs.swap_remove(0).light_waits_by_time
                } else {
                    Vec::new()
                },
            });
        }
        rows
    }

    async fn contest(&self, contest: &Contest) -> Vec<ContestRow> {
        let mut rows = Vec::new();
        for policy in Policy::ALL {
            let mut runs = Vec::new();
            for seed in 1..=self.seeds {
                let jobs = policy.run(&self.server, &contest.load(seed)).await;
                runs.push(contest.measure(&jobs));
            }
            let tenants = 0..contest.tenants.len();
            let share = |i: usize| median(&runs.iter().map(|run| run.got[i]).collect::<Vec<_>>());
            rows.push(ContestRow {
                policy: policy.name(),
                entitled: runs[0].entitled.clone(),
                got: tenants.map(share).collect(),
                jain: median(&runs.iter().map(|run| run.jain).collect::<Vec<_>>()),
            });
        }
        rows
    }

    async fn behind(&self, slots: usize, job_ms: u64, known: bool) -> Vec<BehindRow> {
        let mut rows = Vec::new();
        for policy in Policy::ALL {
            let (mut alone, mut behind, mut factors) = (Vec::new(), Vec::new(), Vec::new());
            for seed in 1..=self.seeds {
                let both = Behind {
                    slots,
                    length: Length::Even(job_ms * 4 / 5, job_ms * 6 / 5),
                    ahead: 10_000,
                    known,
                };
                let without = Behind { ahead: 0, ..both };
                let took = both.measure(&policy.run(&self.server, &both.load(seed)).await);
                let floor = without.measure(&policy.run(&self.server, &without.load(seed)).await);
                alone.push(floor);
                behind.push(took);
                factors.push(took / floor);
            }
            rows.push(BehindRow {
                policy: policy.name(),
                slots,
                job_s: job_ms as f64 / 1e3,
                known,
                alone_s: median(&alone),
                behind_s: median(&behind),
                factor: median(&factors),
            });
        }
        rows
    }

    async fn report(&self, hours: f64) -> Report {
        let ours = [Policy::Unbounded, Policy::Manimq];
        let two = Flood {
            heavy: 2,
            ..Flood::classic(hours)
        };
        let mut small = Vec::new();
        for slots in [2, 4, 8, 16] {
            small.extend(self.flood(Flood::of_size(slots, hours), &ours, false).await);
        }
        let mut behind = Vec::new();
        for (slots, job_ms) in [(8, 400), (8, 5_000), (50, 400), (50, 5_000)] {
            for known in [true, false] {
                behind.extend(self.behind(slots, job_ms, known).await);
            }
        }
        Report {
            seeds: self.seeds,
            hours,
            flood: self.flood(Flood::classic(hours), &Policy::ALL, true).await,
            two_floods: self.flood(two, &Policy::ALL, false).await,
            from_silence: self.flood(Flood::from_silence(0.15), &ours, false).await,
            small,
            weights: self.contest(&Contest::weights()).await,
            uneven: self.contest(&Contest::uneven()).await,
            behind,
        }
    }
}

fn print_floods(title: &str, rows: &[FloodRow]) {
    println!("{title}");
    for row in rows {
        println!(
            "  {:>2} slots  {:<32} light p50 {:>8.1} s  p99 {:>8.1} s  max {:>8.1} s  heavy {:>6.1} jobs/h  busy {:.3}",
            row.slots,
            row.policy,
            row.light_wait_p50_s,
            row.light_wait_p99_s,
            row.light_wait_max_s,
            row.heavy_jobs_per_hour,
            row.utilisation
        );
    }
}

fn print_contests(title: &str, rows: &[ContestRow]) {
    println!("{title}");
    for row in rows {
        println!(
            "  {:<32} Jain {:.4}  got {:.3?}  entitled to {:.3?}",
            row.policy, row.jain, row.got, row.entitled
        );
    }
}

fn print(report: &Report) {
    print_floods("one tenant floods", &report.flood);
    print_floods("two tenants flood", &report.two_floods);
    print_floods("a flood after silence", &report.from_silence);
    print_floods("small pools", &report.small);
    print_contests("weights 1:2:4, all backlogged", &report.weights);
    print_contests("even and uneven jobs, same weight", &report.uneven);
    println!("ten jobs behind 10,000 of another");
    for row in &report.behind {
        println!(
            "  {:>2} slots, jobs of {:.1} s, {:<7}  {:<32} alone {:>6.2} s  behind {:>8.2} s  factor {:>6.2}",
            row.slots,
            row.job_s,
            if row.known { "known" } else { "unknown" },
            row.policy,
            row.alone_s,
            row.behind_s,
            row.factor
        );
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    let options = match Options::parse(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(error) => {
            eprintln!("error: {error}");
            return ExitCode::from(2);
        }
    };
    let experiment = Experiment {
        server: RedisServer::start(),
        seeds: options.seeds,
    };
    let report = experiment.report(options.hours).await;
    if options.json {
        println!(
            "{}",
            serde_json::to_string(&report).expect("numbers and words")
        );
    } else {
        print(&report);
    }
    ExitCode::SUCCESS
}
