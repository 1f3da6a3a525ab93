//! `manimq admin workers` and `manimq admin drain`.

use clap::Args;
use manimq_shared::ids::WorkerId;
use manimq_shared::queue::{Queue, QueueError, WorkerInfo};
use serde_json::json;

use super::show::plural;
use super::table::{Cell, Table, Tone, cell};
use super::view::{DrainedView, WorkerView};
use super::{Answer, Refusal};
use crate::exit::Failure;
use crate::term::Paint;

/// The live workers.
pub(crate) async fn all(queue: &Queue) -> Result<Vec<WorkerView>, QueueError> {
    Ok(queue
        .stats()
        .await?
        .workers
        .iter()
        .map(WorkerView::from)
        .collect())
}

/// Lists the live workers.
pub async fn list(queue: &Queue, paint: Paint) -> Result<Answer, Failure> {
    let workers = all(queue).await?;
    let mut table = Table::new(&[
        "WORKER", "HOST", "VERSION", "SLOTS>", "READY>", "BUSY>", "STATE", "TROUBLE",
    ]);
    for worker in &workers {
        let state: Cell = match worker.state {
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
A drained worker keeps the jobs that it runs to their end and takes no others until --undo, or \
until it ends; a worker that is started again is a new one. Nothing is lost or counted. Stop the \
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

/// Which workers are meant.
pub(crate) enum Which {
    /// Their ids, or how these begin.
    Named(Vec<String>),
    /// All that are live now.
    All,
}

/// Tells workers to claim no more, or with `undo` to claim again.
pub(crate) async fn drain(
    queue: &Queue,
    which: &Which,
    undo: bool,
) -> Result<Vec<DrainedView>, Refusal> {
    let live = queue.stats().await?.workers;
    // First all names, so that a wrong one changes nothing.
    let meant: Vec<&WorkerInfo> = match which {
        Which::All => live.iter().collect(),
        Which::Named(names) => {
            let mut meant: Vec<&WorkerInfo> = Vec::new();
            for name in names {
                let worker = pick(&live, name)?;
                if meant.iter().all(|other| other.id != worker.id) {
                    meant.push(worker);
                }
            }
            meant
        }
    };
    let mut told = Vec::new();
    for worker in meant {
        told.push(DrainedView {
            id: worker.id,
            host: worker.host.clone(),
            draining: !undo,
            changed: queue.drain(worker.id, !undo).await?,
            slots_busy: worker.slots_busy,
        });
    }
    Ok(told)
}

impl DrainArgs {
    /// Runs the command.
    pub async fn run(self, queue: &Queue) -> Result<Answer, Failure> {
        let which = if self.all {
            Which::All
        } else {
            Which::Named(self.workers)
        };
        let told = drain(queue, &which, self.undo).await?;
        let say = |one: &DrainedView| say(one.id, self.undo, one.changed, one.slots_busy);
        let mut text: String = told.iter().map(say).collect();
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
fn pick<'a>(live: &'a [WorkerInfo], name: &str) -> Result<&'a WorkerInfo, Refusal> {
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
    Err(Refusal::wrong(
        message,
        "`manimq admin workers` lists them; give the whole id, or --all",
    ))
}
