//! `manimq admin audit`: does the queue contradict itself?

use clap::Args;
use manimq_shared::queue::Queue;
use serde_json::json;

use super::Answer;
use super::show::plural;
use crate::exit::{Exit, Failure};
use crate::term::{Paint, visible};

/// Flags of `manimq admin audit`.
#[derive(Debug, Args)]
#[command(after_help = "\
Compares all that is kept twice, in short calls beside the running queue (about 0.1 ms of Redis per \
100 items). Exit status 0 if nothing is wrong (with --repair: any more), 1 otherwise.

Example:
  manimq admin audit --repair")]
pub struct AuditArgs {
    /// Put right what can be, then check again
    #[arg(long)]
    repair: bool,
}

impl AuditArgs {
    /// Runs the command.
    pub async fn run(self, queue: &Queue, paint: Paint) -> Result<Answer, Failure> {
        let first = queue.audit(self.repair).await?;
        // What remains is what counts: a repair may be beyond us.
        let (repaired, now) = if self.repair && !first.violations.is_empty() {
            (first.violations, queue.audit(false).await?)
        } else {
            (Vec::new(), first)
        };
        let mut text = String::new();
        for violation in &repaired {
            text.push_str(&format!(
                "{} {}\n",
                paint.good("repaired:"),
                visible(violation)
            ));
        }
        for violation in &now.violations {
            text.push_str(&format!(
                "{} {}\n",
                paint.error("wrong:"),
                visible(violation)
            ));
        }
        let looked = plural(now.looked, "item");
        text.push_str(&match (now.violations.len(), self.repair) {
            (0, _) => format!("{looked} checked: nothing is wrong\n"),
            (n, false) => format!("{looked} checked: {n} wrong; `manimq admin audit --repair` puts right what can be\n"),
            (n, true) => format!("{looked} checked: {n} still wrong; this is a bug or somebody writes to these keys\n"),
        });
        let exit = if now.violations.is_empty() {
            Exit::Ok
        } else {
            Exit::Failed
        };
        let json = json!({
            "clean": now.violations.is_empty(), "looked": now.looked,
            "violations": now.violations, "repaired": repaired,
        });
        Ok(Answer { text, json, exit })
    }
}
