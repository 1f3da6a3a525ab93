//! `manimq admin queue`: the queue at a glance.

use std::time::Duration;

use clap::{Args, Subcommand};
use manimq_shared::job::Paused;
use manimq_shared::queue::{Queue, Retention, Stats, redact};
use serde_json::json;

use super::show::{pause, plural};
use super::table::facts;
use super::view::{COUNTERS, QueueSummary, SlotCounts};
use super::{Answer, Place, print};
use crate::exit::{Exit, Failure};
use crate::term::Paint;

/// How often `--watch` looks.
const EVERY: Duration = Duration::from_secs(2);
/// Jobs are kept at least so long: who waits for one must see its end.
const KEEP_MIN: Duration = Duration::from_secs(60);

/// Flags of `manimq admin queue`.
#[derive(Debug, Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "\
Jobs are ready (a claim could take them), delayed (they wait for a time), running, or following \
(they wait for another job's render of the same).

Example:
  manimq admin queue --watch"
)]
pub struct QueueArgs {
    /// Look again every 2 s until Ctrl-C
    #[arg(long)]
    watch: bool,
    #[command(subcommand)]
    action: Option<Action>,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Show or set how long jobs that have ended are kept
    #[command(after_help = "\
Without flags it shows what holds. A change holds for jobs that end from then on: their records, results, \
events and place in lists, and their films, which the API removes when the record is gone. Each kept job takes \
memory of Redis.

Example:
  manimq admin queue retention --succeeded 48h --failed 7d")]
    Retention {
        /// Jobs that succeeded: 1m to 30d [default: 24h]
        #[arg(long, value_name = "TIME", value_parser = kept)]
        succeeded: Option<Duration>,
        /// Jobs that failed, were cancelled or expired, and dead letters: 1m to 30d [default: 14d]
        #[arg(long, value_name = "TIME", value_parser = kept)]
        failed: Option<Duration>,
    },
}

/// How long to keep something.
fn kept(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text)
        .ok()
        .filter(|time| (KEEP_MIN..=Retention::MAX).contains(time) && time.subsec_nanos() == 0)
        .ok_or_else(|| "write whole seconds from 1m to 30d, such as 90m, 24h or 14d".to_owned())
}

async fn retention(
    queue: &Queue,
    succeeded: Option<Duration>,
    failed: Option<Duration>,
    paint: Paint,
) -> Result<Answer, Failure> {
    let old = queue.retention().await?;
    let new = Retention {
        succeeded: succeeded.unwrap_or(old.succeeded),
        others: failed.unwrap_or(old.others),
    };
    // Also what stays: shards that a broken call left behind get it too.
    if succeeded.or(failed).is_some() {
        queue.set_retention(new).await?;
    }
    let told = |old: Duration, new: Duration| {
        let words = |time| humantime::format_duration(time).to_string();
        if old == new {
            words(new)
        } else {
            format!("{} → {}", words(old), words(new))
        }
    };
    let lines = [
        ("succeeded", told(old.succeeded, new.succeeded)),
        ("failed, cancelled, expired", told(old.others, new.others)),
    ];
    let seconds = |of: Retention| json!({"succeeded_s": of.succeeded.as_secs(), "failed_s": of.others.as_secs()});
    let document = json!({"retention": seconds(new), "before": seconds(old)});
    Ok(Answer::ok(facts(paint, &lines), document))
}

impl QueueArgs {
    /// What the command line itself forbids.
    pub fn check(&self, place: &Place) -> Result<(), Failure> {
        if self.watch && place.json {
            return Err(
                Failure::usage("--watch never ends and --json is one document")
                    .hint("leave out one of them"),
            );
        }
        Ok(())
    }

    /// Runs the command.
    pub async fn run(self, queue: &Queue, place: &Place, paint: Paint) -> Result<Answer, Failure> {
        if let Some(Action::Retention { succeeded, failed }) = self.action {
            return retention(queue, succeeded, failed, paint).await;
        }
        if !self.watch {
            return Ok(answer(&queue.stats().await?, place, paint));
        }
        let stop = crate::cli::interrupts();
        loop {
            let text = answer(&queue.stats().await?, place, paint).text;
            // To the top of the screen, and what was below goes.
            let clear = if paint.is_on() { "\x1b[H\x1b[J" } else { "" };
            print(&format!("{clear}{text}\n"));
            tokio::select! {
                () = stop.cancelled() => {
                    return Ok(Answer { text: String::new(), json: json!(null), exit: Exit::Ok });
                }
                () = tokio::time::sleep(EVERY) => {}
            }
        }
    }
}

fn answer(stats: &Stats, place: &Place, paint: Paint) -> Answer {
    let view = QueueSummary::new(&place.redis_prefix, stats);
    let (SlotCounts { total, ready, busy }, draining) = (view.slots.clone(), view.workers.draining);
    let paused = stats.paused.iter().map(|&paused| pause(paused, None).0);
    let paused: Vec<String> = paused.collect();
    let counted: Vec<String> = COUNTERS
        .iter()
        .map(|name| format!("{} {}", view.count(name), name.replace('_', " ")))
        .collect();
    let counted = [counted[..5].join(", "), counted[5..].join(", ")].join("\n");
    let lines = [
        (
            "queue",
            format!("{} at {}", place.redis_prefix, redact(&place.redis_url)),
        ),
        (
            "jobs",
            format!(
                "{} ready, {} delayed, {} running, {} following",
                stats.ready, stats.delayed, stats.running, stats.following
            ),
        ),
        (
            "workers",
            if draining == 0 {
                stats.workers.len().to_string()
            } else {
                format!("{}, of which {draining} drain", stats.workers.len())
            },
        ),
        (
            "slots",
            format!(
                "{total}: {busy} busy, {} idle, {} not ready",
                ready.saturating_sub(busy),
                total.saturating_sub(ready)
            ),
        ),
        (
            "paused",
            if paused.is_empty() {
                "nothing".to_owned()
            } else {
                paused.join(", ")
            },
        ),
        ("so far", counted),
    ];
    let mut text = facts(paint, &lines);
    if stats.ready > 0 && stats.slots_ready() == 0 && !stats.paused.contains(&Paused::All) {
        let jobs = plural(stats.ready, "job");
        text.push_str(&format!(
            "{} {jobs} ready and no slot to run in: `manimq admin workers` says why\n",
            paint.warning("warning:")
        ));
    }
    Answer::ok(text, json!(view))
}
