//! `manimq job get|cancel|logs`: look after a job that runs without its command.

use std::io::Write as _;

use clap::{Args, Subcommand};
use manimq_shared::api::JobView;
use manimq_shared::ids::JobId;

use crate::cli::ServerArgs;
use crate::client::{Client, ClientError};
use crate::exit::{Exit, Failure};
use crate::term::{Paint, visible};

/// Flags of `manimq job`.
#[derive(Debug, Args)]
pub struct JobArgs {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Print a job as JSON
    Get(OneJob),
    /// Cancel a job; harmless if it has ended
    Cancel(OneJob),
    /// Print what the scene printed
    Logs {
        #[command(flatten)]
        job: OneJob,
        /// Only the last N lines
        #[arg(long, value_name = "N")]
        tail: Option<u32>,
    },
}

#[derive(Debug, Args)]
struct OneJob {
    /// The job's id: job_ and 32 hex digits
    #[arg(value_name = "JOB")]
    id: JobId,
    #[command(flatten)]
    server: ServerArgs,
}

/// Runs the command.
pub async fn run(args: JobArgs) -> Exit {
    let result = match args.action {
        Action::Get(job) => {
            act(&job, async |client| {
                client.read(job.id).await.map(print_job)
            })
            .await
        }
        Action::Cancel(job) => {
            act(&job, async |client| {
                client.cancel(job.id).await.map(print_job)
            })
            .await
        }
        Action::Logs { job, tail } => {
            act(&job, async |client| {
                client.logs(job.id, tail).await.map(|log| print_log(&log))
            })
            .await
        }
    };
    match result {
        Ok(()) => Exit::Ok,
        Err(failure) => {
            eprint!("{}", failure.report(Paint::stderr()));
            failure.exit
        }
    }
}

async fn act(
    job: &OneJob,
    call: impl AsyncFnOnce(Client) -> Result<(), ClientError>,
) -> Result<(), Failure> {
    Ok(call(job.server.client()?).await?)
}

// A reader who has gone away (`| head`) is no failure.

fn print_job(job: JobView) {
    let text = serde_json::to_string_pretty(&job).unwrap_or_default();
    let _ = writeln!(std::io::stdout().lock(), "{text}");
}

fn print_log(log: &str) {
    let mut out = std::io::stdout().lock();
    for line in log.lines() {
        if writeln!(out, "{}", visible(line)).is_err() {
            return;
        }
    }
}
