//! `manimq submit|get|list|watch|cancel|rerun|logs|open|usage|validate|delete`: jobs on a server, by their ids.
//!
//! Data goes to standard output, everything else to standard error; with `--json` each command answers with
//! one JSON document, errors too.

mod list;
mod logs;
mod open;
mod run;
mod text;
mod usage;
mod validate;

use std::fmt::Write as _;

use clap::Args;
use manimq_shared::ids::JobId;
use serde_json::json;

pub use self::list::ListArgs;
pub use self::logs::LogsArgs;
pub use self::open::OpenArgs;
pub use self::run::{RerunArgs, SubmitArgs, WatchArgs};
pub use self::usage::UsageArgs;
pub use self::validate::ValidateArgs;
use crate::admin::{Answer, conclude};
use crate::cli::ServerArgs;
use crate::client::Client;
use crate::exit::{Exit, Failure};
use crate::term::Paint;

/// Where to ask, and how to answer.
#[derive(Debug, Args)]
pub struct Call {
    /// Answer with one JSON document, errors too
    #[arg(long)]
    pub json: bool,
    /// Where the server is
    #[command(flatten)]
    pub server: ServerArgs,
}

impl Call {
    /// Runs a command that asks the server and answers.
    async fn answer(
        &self,
        act: impl AsyncFnOnce(&Client, Paint) -> Result<Answer, Failure>,
    ) -> Exit {
        let result = async { act(&self.server.client()?, Paint::stdout()).await };
        conclude(result.await, self.json)
    }
}

/// Flags of `manimq get`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  manimq get job_019a8b…
  manimq get --json job_019a8b… | jq -r .resultUrl")]
pub struct GetArgs {
    /// The job's id
    #[arg(value_name = "JOB")]
    id: JobId,
    #[command(flatten)]
    call: Call,
}

impl GetArgs {
    /// Runs the command.
    pub async fn run(self) -> Exit {
        let act = async |client: &Client, paint| {
            let job = client.read(self.id).await?;
            Ok(Answer::ok(text::job(&job, paint), json!(job)))
        };
        self.call.answer(act).await
    }
}

/// Flags of `manimq cancel`.
#[derive(Debug, Args)]
#[command(after_help = "\
A waiting job is canceled at once, a running one is stopped by its worker. Harmless if it has ended.

Examples:
  manimq cancel job_019a8b…
  manimq list --status queued --json | jq -r '.jobs[].id' | xargs manimq cancel")]
pub struct CancelArgs {
    /// The jobs' ids
    #[arg(value_name = "JOB", required = true)]
    ids: Vec<JobId>,
    #[command(flatten)]
    call: Call,
}

impl CancelArgs {
    /// Runs the command.
    pub async fn run(self) -> Exit {
        let act = async |client: &Client, paint| {
            let (mut lines, mut jobs) = (String::new(), Vec::new());
            for &id in &self.ids {
                let job = client.cancel(id).await?;
                let _ = writeln!(lines, "{id}  {}", text::status(&job, paint));
                jobs.push(job);
            }
            Ok(Answer::ok(lines, json!({ "jobs": jobs })))
        };
        self.call.answer(act).await
    }
}

/// Flags of `manimq delete`.
#[derive(Debug, Args)]
#[command(after_help = "\
What is deleted cannot be brought back. Files that another of your jobs shows, because it asked for the same \
work, go with the last of these.

Examples:
  manimq delete --dry-run job_019a8b…
  manimq delete --cancel job_019a8b…")]
pub struct DeleteArgs {
    /// The jobs' ids
    #[arg(value_name = "JOB", required = true)]
    ids: Vec<JobId>,
    /// Only say what would go
    #[arg(long)]
    dry_run: bool,
    /// Cancel a job that has not ended, and delete it then
    #[arg(long)]
    cancel: bool,
    #[command(flatten)]
    call: Call,
}

impl DeleteArgs {
    /// Runs the command.
    pub async fn run(self) -> Exit {
        let act = async |client: &Client, _| {
            let (mut lines, mut deletions) = (String::new(), Vec::new());
            for &id in &self.ids {
                let gone = client.delete(id, self.dry_run, self.cancel).await?;
                let _ = write!(lines, "{}", text::deletion(&gone));
                deletions.push(gone);
            }
            Ok(Answer::ok(lines, json!({ "jobs": deletions })))
        };
        self.call.answer(act).await
    }
}
