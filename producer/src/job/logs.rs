//! `manimq logs`.

use std::io::Write as _;

use clap::Args;
use manimq_shared::ids::JobId;
use serde_json::json;

use super::Call;
use crate::admin::{Answer, conclude};
use crate::client::{Backoff, Client, ClientError, News};
use crate::exit::{Exit, Failure};
use crate::term::visible_lines;

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
            let json = json!({ "id": self.id, "lines": log.lines().collect::<Vec<_>>() });
            Ok(Answer::ok(text, json))
        };
        self.call.answer(act).await
    }

    async fn follow(&self) -> Result<(), Failure> {
        let client = self.call.server.client()?;
        let interrupt = crate::cli::interrupts();
        let mut backoff = Backoff::new();
        let (mut after, mut tries) = (Some("0".to_owned()), 0);
        loop {
            let broken = tokio::select! {
                end = self.stream(&client, &mut after, &mut tries) => match end {
                    Ok(true) => return Ok(()),
                    Ok(false) => None,
                    Err(error) if error.is_passing() => Some(error),
                    Err(error) => return Err(error.into()),
                },
                () = interrupt.cancelled() => return Ok(()),
            };
            tries += 1;
            if tries > TRIES_MAX
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
    async fn stream(
        &self,
        client: &Client,
        after: &mut Option<String>,
        tries: &mut u32,
    ) -> Result<bool, ClientError> {
        let mut events = client.events(self.id, after.as_deref()).await?;
        while let Some(event) = events.next().await? {
            *tries = 0;
            if event.id.is_some() {
                *after = event.id;
            }
            match event.news {
                News::Log(text) => {
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
