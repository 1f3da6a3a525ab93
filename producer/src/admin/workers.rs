//! `manimq admin workers` and `manimq admin drain`.

use clap::Args;
use manimq_shared::ids::WorkerId;
use manimq_shared::queue::{Queue, WorkerInfo};
use serde_json::{Value, json};

use super::Answer;
use super::show::plural;
use super::table::{Cell, Table, Tone, cell};
use crate::exit::Failure;
use crate::term::Paint;

/// What a worker is at, in a word for programs.
fn state(worker: &WorkerInfo) -> &'static str {
    match (worker.draining, worker.slots_busy, worker.slots_ready) {
        (true, 0, _) => "drained",
        (true, ..) => "draining",
        (false, _, 0) => "not_ready",
        (false, ..) => "working",
    }
}

fn view(worker: &WorkerInfo) -> Value {
    json!({
        "id": worker.id, "host": worker.host, "version": worker.version, "state": state(worker),
        "slots": worker.slots, "slots_ready": worker.slots_ready, "slots_busy": worker.slots_busy,
        "draining": worker.draining, "trouble": worker.trouble,
    })
}

/// Lists the live workers.
pub async fn list(queue: &Queue, paint: Paint) -> Result<Answer, Failure> {
    let workers = queue.stats().await?.workers;
    let mut table = Table::new(&[
        "WORKER", "HOST", "VERSION", "SLOTS>", "READY>", "BUSY>", "STATE", "TROUBLE",
    ]);
    for worker in &workers {
        let state: Cell = match state(worker) {
            "not_ready" => cell("not ready", Tone::Bad),
            "working" => "working".into(),
            other => cell(other, Tone::Warning),
        };
        table.row([
            worker.id.into(),
            (&worker.host).into(),
            (&worker.version).into(),
            worker.slots.into(),
            worker.slots_ready.into(),
            worker.slots_busy.into(),
            state,
            worker.trouble.clone().unwrap_or_default().into(),
        ]);
    }
    let workers: Vec<_> = workers.iter().map(view).collect();
    Ok(Answer::ok(
        table.show(
            paint,
            "no worker is live: start one with `manimq-worker run`",
        ),
        json!({ "workers": workers }),
    ))
}

/// Flags of `manimq admin drain`.
#[derive(Debug, Args)]
#[command(after_help = "\
A drained worker keeps the jobs that it runs to their end and takes no others until --undo, or
until it ends; a worker that is started again is a new one. Nothing is lost or counted. Stop the
process when `manimq admin workers` says `drained`. Running it again changes nothing.

Example:
  manimq admin drain wk_019a8b && watch manimq admin workers")]
pub struct DrainArgs {
    /// Workers: their ids, or how these begin
    #[arg(
        value_name = "WORKER",
        required_unless_present = "all",
        conflicts_with = "all"
    )]
    workers: Vec<String>,
    /// All that are live now
    #[arg(long)]
    all: bool,
    /// Let them claim again
    #[arg(long)]
    undo: bool,
}

impl DrainArgs {
    /// Runs the command.
    pub async fn run(self, queue: &Queue) -> Result<Answer, Failure> {
        let live = queue.stats().await?.workers;
        // First all names, so that a wrong one changes nothing.
        let mut meant: Vec<&WorkerInfo> = Vec::new();
        for name in &self.workers {
            let worker = pick(&live, name)?;
            if meant.iter().all(|other| other.id != worker.id) {
                meant.push(worker);
            }
        }
        if self.all {
            meant = live.iter().collect();
        }
        let mut text = String::new();
        let mut told = Vec::new();
        for worker in meant {
            let changed = queue.drain(worker.id, !self.undo).await?;
            text.push_str(&say(worker.id, self.undo, changed, worker.slots_busy));
            told.push(json!({
                "id": worker.id, "host": worker.host, "draining": !self.undo,
                "changed": changed, "slots_busy": worker.slots_busy,
            }));
        }
        if told.is_empty() {
            text.push_str("no worker is live: nothing changed\n");
        }
        Ok(Answer::ok(text, json!({ "workers": told })))
    }
}

fn say(id: WorkerId, undo: bool, changed: bool, busy: u32) -> String {
    match (undo, changed) {
        (true, true) => format!("{id} claims again\n"),
        (true, false) => format!("{id} was not draining\n"),
        (false, true) if busy == 0 => format!("{id} claims no more; nothing runs on it\n"),
        (false, true) => {
            let goes = if busy == 1 { "goes" } else { "go" };
            let renders = plural(busy, "render");
            format!("{id} claims no more; {renders} {goes} on\n")
        }
        (false, false) => format!("{id} was draining already\n"),
    }
}

/// The one live worker whose id begins with `name`.
fn pick<'a>(live: &'a [WorkerInfo], name: &str) -> Result<&'a WorkerInfo, Failure> {
    let fits = |worker: &&WorkerInfo| worker.id.to_string().starts_with(name);
    let found: Vec<_> = live.iter().filter(fits).collect();
    let message = match found[..] {
        [worker] => return Ok(worker),
        [] => format!("no live worker has an id that begins with {name:?}"),
        _ => format!(
            "{} live workers have ids that begin with {name:?}",
            found.len()
        ),
    };
    Err(Failure::usage(message)
        .hint("`manimq admin workers` lists them; give the whole id, or --all"))
}
