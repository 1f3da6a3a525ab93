//! `manimq admin queue`: the queue at a glance.

use std::time::Duration;

use clap::Args;
use manimq_shared::queue::{PauseScope, Queue, Stats, redact};
use serde_json::json;

use super::show::plural;
use super::table::facts;
use super::view::{COUNTERS, QueueSummary, SlotCounts};
use super::{Answer, Place, print};
use crate::exit::{Exit, Failure};
use crate::term::Paint;

/// How often `--watch` looks.
const EVERY: Duration = Duration::from_secs(2);
/// Flags of `manimq admin queue`.
#[derive(Debug, Args)]
#[command(after_help = "\
Jobs are ready (a claim could take them), delayed (they wait for a time), running, or following \
(they wait for another job's render of the same).

Example:
  manimq admin queue --watch")]
pub struct QueueArgs {
    /// Look again every 2 s until Ctrl-C
    #[arg(long)]
    watch: bool,
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

/// A scope in words.
fn scope(scope: &PauseScope) -> String {
    match scope {
        PauseScope::Tenant(tenant) => format!("tenant {tenant}"),
        PauseScope::Lane(lane) => format!("lane {lane}"),
        PauseScope::All => "everything".to_owned(),
    }
}

fn answer(stats: &Stats, place: &Place, paint: Paint) -> Answer {
    let view = QueueSummary::new(&place.redis_prefix, stats);
    let (SlotCounts { total, ready, busy }, draining) = (view.slots.clone(), view.workers.draining);
    let paused: Vec<String> = stats.paused.iter().map(scope).collect();
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
    if stats.ready > 0 && stats.slots_ready() == 0 && !stats.paused.contains(&PauseScope::All) {
        let jobs = plural(stats.ready, "job");
        text.push_str(&format!(
            "{} {jobs} ready and no slot to run in: `manimq admin workers` says why\n",
            paint.warning("warning:")
        ));
    }
    Answer::ok(text, json!(view))
}
