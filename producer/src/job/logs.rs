//! `manimq logs`.

use std::io::Write as _;

use clap::Args;
use manimq_shared::api::JobView;
use manimq_shared::ids::JobId;
use manimq_shared::job::Status;
use serde_json::json;

use super::Call;
use crate::admin::{Answer, conclude};
use crate::client::{Backoff, Client, ClientError, News};
use crate::exit::{Exit, Failure};
use crate::term::{Paint, visible_lines};

/// How often a broken stream is opened again without news in between.
const TRIES_MAX: u32 = 8;

/// Flags of `manimq logs`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  manimq logs job_019a8b…
  manimq logs -f job_019a8b…        until the job has ended
  manimq logs --tail 20 job_019a8b…")]
pub struct LogsArgs {
    /// The job's id
    #[arg(value_name = "JOB")]
    id: JobId,
    /// Go on until the job has ended
    #[arg(short, long, conflicts_with = "tail")]
    follow: bool,
    /// Only the last N lines
    #[arg(long, value_name = "N")]
    tail: Option<u32>,
    #[command(flatten)]
    call: Call,
}

/// What was heard of a log so far.
struct Heard {
    /// Id of the last event.
    after: Option<String>,
    /// Streams since then that brought nothing.
    tries: u32,
    /// Whether there was anything to print.
    lines: bool,
}

/// Why a job has no log.
fn why_none(job: &JobView) -> String {
    match (job.status, job.rendered_by) {
        (Status::Succeeded, Some(earlier)) if job.cached => {
            format!(
                "no log: the film is that of the earlier job {earlier}; `manimq logs {earlier}` shows what it printed"
            )
        }
        (Status::Queued, _) => "no log yet: the job waits".to_owned(),
        (Status::Running, _) => "no log yet: the scene has printed nothing so far".to_owned(),
        (_, _) if job.started_at.is_none() => "no log: the job ended before it ran".to_owned(),
        (_, _) => "no log: the scene printed nothing".to_owned(),
    }
}

impl LogsArgs {
    /// Runs the command. With `--follow --json` each line is a document of its own.
    pub async fn run(self) -> Exit {
        if self.follow {
            return match self.follow().await {
                Ok(()) => Exit::Ok,
                Err(failure) => conclude(Err(failure), self.call.json),
            };
        }
        let act = async |client: &Client, _| {
            let log = client.logs(self.id, self.tail).await?;
            let lines: Vec<_> = visible_lines(&log).collect();
            let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
            let mut json = json!({ "id": self.id, "lines": log.lines().collect::<Vec<_>>() });
            // No line was asked for: that says nothing of what there is.
            if log.is_empty() && self.tail != Some(0) {
                let why = why_none(&client.read(self.id).await?);
                self.note(&why);
                json["note"] = why.into();
            }
            Ok(Answer::ok(text, json))
        };
        self.call.answer(act).await
    }

    fn note(&self, text: &str) {
        if !self.call.json {
            eprintln!("{} {text}", Paint::stderr().warning("note:"));
        }
    }

    async fn follow(&self) -> Result<(), Failure> {
        let client = self.call.server.client()?;
        let interrupt = crate::cli::interrupts();
        let mut backoff = Backoff::new();
        let mut heard = Heard {
            after: Some("0".to_owned()),
            tries: 0,
            lines: false,
        };
        loop {
            let broken = tokio::select! {
                end = self.stream(&client, &mut heard) => match end {
                    Ok(true) if heard.lines => return Ok(()),
                    Ok(true) => {
                        self.note(&why_none(&client.read(self.id).await?));
                        return Ok(());
                    }
                    Ok(false) => None,
                    Err(error) if error.is_passing() => Some(error),
                    Err(error) => return Err(error.into()),
                },
                () = interrupt.cancelled() => return Ok(()),
            };
            heard.tries += 1;
            if heard.tries > TRIES_MAX
                && let Some(error) = broken
            {
                return Err(error.into());
            }
            if client
                .read(self.id)
                .await
                .is_ok_and(|job| job.status.is_terminal())
                && broken.is_none()
            {
                return Ok(());
            }
            tokio::time::sleep(backoff.wait()).await;
        }
    }

    /// Prints what comes; true at the job's end.
    async fn stream(&self, client: &Client, heard: &mut Heard) -> Result<bool, ClientError> {
        let mut events = client.events(self.id, heard.after.as_deref()).await?;
        while let Some(event) = events.next().await? {
            heard.tries = 0;
            if event.id.is_some() {
                heard.after = event.id;
            }
            match event.news {
                News::Log(text) => {
                    heard.lines = true;
                    let mut out = std::io::stdout().lock();
                    for line in visible_lines(&text) {
                        let written = if self.call.json {
                            writeln!(out, "{}", json!({ "text": line }))
                        } else {
                            writeln!(out, "{line}")
                        };
                        // A reader who has gone away (`| head`) wants no more.
                        if written.and_then(|()| out.flush()).is_err() {
                            return Ok(true);
                        }
                    }
                }
                News::Done => return Ok(true),
                News::Status { .. } | News::Progress(_) | News::Warning(_) | News::Other => {}
            }
        }
        Ok(false)
    }
}
