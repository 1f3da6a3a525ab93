//! `deploy/bench/plan`: how long a prompt takes to become a plan, over all prompts that the planner is judged on, and
//! the longest that there may be: those that make it try most.
//!
//! Each prompt is planned several times, as a worker of the API would: in one process, catalogue and patterns ready.
//! The first plan of all, which reads and compiles them, is told apart.

use std::time::{Duration, Instant};

use clap::Parser;
use manimq::planner;
use manimq_shared::job::PROMPT_CHARS_MAX;
use serde_json::json;

/// What to measure.
#[derive(Debug, Parser)]
struct Args {
    /// Print JSON.
    #[arg(long)]
    json: bool,
    /// How many times each prompt is planned.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    rounds: u32,
    /// Exit status 1 if one of the judged prompts takes longer than this in the middle of its rounds.
    #[arg(long, default_value_t = 5.0)]
    limit_ms: f64,
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// The value below which that share of them lies; of sorted ones.
fn quantile(sorted: &[f64], share: f64) -> f64 {
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "an index"
    )]
    let at = ((sorted.len() as f64 - 1.0) * share).round() as usize;
    sorted.get(at).copied().unwrap_or(f64::NAN)
}

/// How long each of some rounds takes, sorted.
fn times(prompt: &str, rounds: u32) -> Vec<f64> {
    let mut times: Vec<f64> = (0..rounds)
        .map(|_| {
            let begun = Instant::now();
            let _ = std::hint::black_box(planner::plan(std::hint::black_box(prompt), None));
            ms(begun.elapsed())
        })
        .collect();
    times.sort_by(f64::total_cmp);
    times
}

/// Prompts as long as they may be, of what is looked at most.
fn longest() -> [(&'static str, String); 5] {
    let of = |piece: &str| -> String { piece.chars().cycle().take(PROMPT_CHARS_MAX).collect() };
    let sentence = of(
        "explain how the slope of a curve becomes the derivative of a function and why it matters, ",
    );
    let parts = "derivative of x^3 - 2x + 1 at 2 and area under x^2 from 0 to 1; ";
    let mixed = "plot x^2 from 0 to 1 and 5 2 9 1 A-B:4 [[1,2],[3,4]] similarity derivative ";
    [
        ("a sentence", sentence),
        ("eight parts and more", of(parts)),
        ("some of everything", of(mixed)),
        ("numbers", of("1 2 3 4 5 6 7 8 9 ")),
        (
            "signs",
            format!("solve the system {}", of("x + x - x + x * x = "))
                .chars()
                .take(PROMPT_CHARS_MAX)
                .collect(),
        ),
    ]
}

fn main() {
    let args = Args::parse();
    let lines = include_str!("../src/planner/prompts.tsv").lines();
    let prompts: Vec<String> = lines
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| Some(line.split('\t').nth(1)?.replace("\\n", "\n")))
        .collect();
    let begun = Instant::now();
    planner::warm_up();
    let first = ms(begun.elapsed());
    let mut all = Vec::new();
    let mut worst: (f64, &str) = (0.0, "");
    for prompt in &prompts {
        let times = times(prompt, args.rounds);
        let middle = quantile(&times, 0.5);
        if middle > worst.0 {
            worst = (middle, prompt);
        }
        all.extend(times);
    }
    all.sort_by(f64::total_cmp);
    let (median, p99, max) = (
        quantile(&all, 0.5),
        quantile(&all, 0.99),
        quantile(&all, 1.0),
    );
    let longest = longest().map(|(name, prompt)| {
        let times = times(&prompt, args.rounds);
        (name, quantile(&times, 0.5), quantile(&times, 1.0))
    });
    if args.json {
        let longest = longest
            .map(|(name, median, max)| json!({"prompt": name, "median_ms": median, "max_ms": max}));
        let told = json!({
            "prompts": prompts.len(), "rounds": args.rounds, "first_ms": first, "median_ms": median, "p99_ms": p99,
            "max_ms": max, "worst_prompt_ms": worst.0, "worst_prompt": worst.1,
            "longest": longest,
        });
        println!("{told}");
    } else {
        println!(
            "{} prompts, {} rounds: a plan takes {median:.2} ms in the middle, {p99:.2} ms at the 99th percentile, {max:.2} ms once at most",
            prompts.len(),
            args.rounds
        );
        println!(
            "the slowest prompt takes {:.2} ms in the middle: {:?}",
            worst.0, worst.1
        );
        for (name, median, max) in longest {
            println!(
                "{PROMPT_CHARS_MAX} characters, {name}: {median:.2} ms in the middle, {max:.2} ms at most"
            );
        }
        println!("the first plan of a process, which reads catalogue and table: {first:.0} ms");
    }
    if worst.0 > args.limit_ms {
        eprintln!(
            "the slowest prompt takes more than {} ms (--limit-ms)",
            args.limit_ms
        );
        std::process::exit(1);
    }
}
