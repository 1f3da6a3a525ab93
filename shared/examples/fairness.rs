//! exploratory main
#[path = "fairness/mod.rs"]
mod fairness;
use fairness::scenarios::*;
use fairness::sim::Length;
use manimq_shared::testing::RedisServer;
use std::time::Instant;

#[tokio::main]
async fn main() {
    let server = RedisServer::start();
    let what: Vec<String> = std::env::args().skip(1).collect();
    let seeds: Vec<u64> = vec![1, 2];
    let has = |w: &str| what.iter().any(|x| x == w);
    let flood = async |f: Flood, label: &str| {
        for policy in Policy::ALL {
            for &seed in &seeds {
                let t = Instant::now();
                let jobs = policy.run(&server, &f.load(seed)).await;
                let m = f.measure(&jobs);
                println!(
                    "{label} seed {seed} {:<34} p50 {:>8.1} p99 {:>8.1} max {:>8.1} heavy/h {:>6.1} util {:.3}  jobs {} real {:.1}s",
                    policy.name(),
                    quantile(&m.light_waits_s, 0.5),
                    quantile(&m.light_waits_s, 0.99),
                    quantile(&m.light_waits_s, 1.0),
                    m.heavy_jobs_per_hour,
                    m.utilisation,
                    jobs.len(),
                    t.elapsed().as_secs_f64()
                );
            }
        }
    };
    if has("flood") {
        flood(Flood::classic(3.0), "flood").await;
    }
    if has("calm") {
        flood(
            Flood {
                dump: 100,
                ..Flood::classic(3.0)
            },
            "calm",
        )
        .await;
    }
    if has("two") {
        flood(
            Flood {
                heavy: 2,
                ..Flood::classic(3.0)
            },
            "two heavy",
        )
        .await;
    }
    if has("small") {
        for slots in [2usize, 4, 8, 16] {
            flood(
                Flood {
                    slots,
                    dump: 8 * slots,
                    light: (slots * 20 / 50).max(1),
                    ..Flood::classic(3.0)
                },
                &format!("{slots} slots"),
            )
            .await;
        }
    }
    let contest = async |c: Contest, label: &str| {
        for policy in Policy::ALL {
            for &seed in &seeds {
                let t = Instant::now();
                let m = c.measure(&policy.run(&server, &c.load(seed)).await);
                println!(
                    "{label} seed {seed} {:<34} jain {:.4} got {:.3?} of {:.3?} real {:.1}s",
                    policy.name(),
                    m.jain,
                    m.got,
                    m.entitled,
                    t.elapsed().as_secs_f64()
                );
            }
        }
    };
    if has("weights") {
        contest(Contest::weights(), "weights").await;
    }
    if has("mixed") {
        for slots in [4, 50] {
            contest(
                Contest {
                    slots,
                    minutes: 60,
                    tenants: vec![
                        (1.0, Length::Even(60_000, 60_000)),
                        (1.0, Length::Either(5_000, 555_000, 0.9)),
                    ],
                },
                &format!("mixed {slots}"),
            )
            .await;
            contest(
                Contest {
                    slots,
                    minutes: 60,
                    tenants: vec![
                        (1.0, Length::Even(60_000, 60_000)),
                        (1.0, Length::Either(5_000, 115_000, 0.5)),
                    ],
                },
                &format!("mixed50 {slots}"),
            )
            .await;
            contest(
                Contest {
                    slots,
                    minutes: 60,
                    tenants: vec![
                        (1.0, Length::Even(60_000, 60_000)),
                        (1.0, Length::Even(60_000, 60_000)),
                        (1.0, Length::Even(60_000, 60_000)),
                        (1.0, Length::Either(5_000, 555_000, 0.9)),
                    ],
                },
                &format!("mixed4 {slots}"),
            )
            .await;
        }
    }
    if has("behind") {
        for slots in [8usize, 50] {
            for ms in [5u64, 400, 5_000, 60_000] {
                for known in [false, true] {
                    for policy in Policy::ALL {
                        let mut r = vec![];
                        for &seed in &seeds {
                            let b = Behind {
                                slots,
                                length: Length::Even(ms * 8 / 10, ms * 12 / 10),
                                ahead: 10_000,
                                known,
                            };
                            let alone = Behind { ahead: 0, ..b };
                            let x = b.measure(&policy.run(&server, &b.load(seed)).await);
                            let y = alone.measure(&policy.run(&server, &alone.load(seed)).await);
                            r.push((x, y, (x / y * 100.0).round() / 100.0));
                        }
                        println!(
                            "behind {slots} slots, {ms} ms known {known} {:<34} {:?}",
                            policy.name(),
                            r
                        );
                    }
                }
            }
        }
    }
}
