//! `manimq open`.

use std::process::Stdio;

use clap::Args;
use manimq_shared::ids::JobId;
use manimq_shared::job::Status;
use serde_json::json;

use super::Call;
use crate::admin::Answer;
use crate::client::Client;
use crate::exit::{Exit, Failure};

/// Flags of `manimq open`.
#[derive(Debug, Args)]
#[command(after_help = "\
Opens the film with the desktop's own program (xdg-open, open on macOS), or the one in BROWSER. Where there is \
none, the address is printed; whoever has it may see the film for about an hour.

Examples:
  manimq open job_019a8b…
  manimq open --print job_019a8b…")]
pub struct OpenArgs {
    /// The job's id
    #[arg(value_name = "JOB")]
    id: JobId,
    /// Only print the address
    #[arg(long)]
    print: bool,
    #[command(flatten)]
    call: Call,
}

impl OpenArgs {
    /// Runs the command.
    pub async fn run(self) -> Exit {
        let act = async |client: &Client, _| {
            let job = client.read(self.id).await?;
            let Some(url) = job.result_url else {
                let failure = match job.status {
                    Status::Queued | Status::Running => Failure::new(
                        Exit::Failed,
                        "not-finished",
                        format!("{} is {}; there is nothing to see yet", job.id, job.status),
                    )
                    .hint(format!("`manimq watch {}` waits for it", job.id)),
                    _ => Failure::new(
                        Exit::Failed,
                        "no-artifact",
                        format!("{} has no film: it is {}", job.id, job.status),
                    )
                    .hint(format!("`manimq get {}` says why", job.id)),
                };
                return Err(failure);
            };
            let opened = !self.print && !self.call.json && open(&url).await;
            let text = if opened {
                String::new()
            } else {
                format!("{url}\n")
            };
            Ok(Answer::ok(
                text,
                json!({ "id": job.id, "url": url, "opened": opened }),
            ))
        };
        self.call.answer(act).await
    }
}

/// Whether some program took it.
async fn open(url: &str) -> bool {
    let browser = std::env::var("BROWSER")
        .ok()
        .filter(|name| !name.is_empty());
    let desktop = ["DISPLAY", "WAYLAND_DISPLAY"];
    let usual = if cfg!(target_os = "macos") {
        Some("open")
    } else if desktop.iter().any(|name| std::env::var_os(name).is_some()) {
        Some("xdg-open")
    } else {
        None
    };
    for program in browser.iter().map(String::as_str).chain(usual) {
        let mut command = tokio::process::Command::new(program);
        command
            .arg(url)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        if command.status().await.is_ok_and(|status| status.success()) {
            return true;
        }
    }
    false
}
