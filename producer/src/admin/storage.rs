//! `manimq admin storage`: what lies in the store and nobody can reach any more.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};
use manimq_shared::queue::Queue;
use secrecy::{ExposeSecret as _, SecretString};

use super::Answer;
use super::show::plural;
use crate::exit::{Exit, Failure};
use crate::storage::{Place, Store, StoreConfig, SweepError, Sweeper};
use crate::term::visible;

/// Files that are named in the answer for people.
const SHOWN_MAX: usize = 50;

/// Flags of `manimq admin storage`.
#[derive(Debug, Args)]
pub(super) struct StorageArgs {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Remove files that nobody can reach: of lost attempts, of jobs that are gone, and those that
    /// came with jobs long ago. `manimq serve` does it every hour by itself
    #[command(after_help = "\
Give --data-dir, --storage and the secret as `manimq serve` has them: nothing is removed unless \
Redis names this very store. Files that are older than what Redis knows are counted, and kept. \
A sweep looks at a million files at most, and the next goes on where it stopped.

Examples:
  manimq admin storage sweep --dry-run
  manimq admin storage sweep --json | jq .removed_bytes")]
    Sweep(SweepArgs),
}

#[derive(Debug, Args)]
struct SweepArgs {
    /// Only say what would be removed
    #[arg(long)]
    dry_run: bool,
    /// The data folder of `manimq serve`
    #[arg(
        long,
        env = "MANIMQ_DATA_DIR",
        default_value = ".manimq/data",
        value_name = "DIR"
    )]
    data_dir: PathBuf,
    /// Where results lie, as for `manimq serve`
    #[arg(long, env = "MANIMQ_STORAGE", value_name = "PLACE")]
    storage: Option<Place>,
    /// Secret behind signed URLs, if `manimq serve` has one
    #[arg(
        long,
        env = "MANIMQ_STORAGE_SECRET",
        hide_env_values = true,
        value_name = "SECRET"
    )]
    storage_secret: Option<SecretString>,
    /// Certificates (PEM) to trust beside the system's
    #[arg(long, env = "MANIMQ_CA_FILE", value_name = "FILE")]
    ca_file: Option<PathBuf>,
    /// How old results of jobs that are gone must be
    #[arg(long, env = "MANIMQ_SWEEP_AGE", default_value = "25h", value_parser = humantime::parse_duration, value_name = "TIME")]
    sweep_age: Duration,
    /// How long a file that came with a job is kept after its last use
    #[arg(long, env = "MANIMQ_ASSET_AGE", default_value = "30days", value_parser = humantime::parse_duration, value_name = "TIME")]
    asset_age: Duration,
}

impl StorageArgs {
    pub(super) async fn run(self, queue: &Queue) -> Result<Answer, Failure> {
        let Action::Sweep(args) = self.action;
        args.run(queue).await
    }
}

fn unusable(error: anyhow::Error) -> Failure {
    Failure::new(Exit::Usage, "storage-unusable", format!("{error:#}"))
}

impl SweepArgs {
    async fn run(self, queue: &Queue) -> Result<Answer, Failure> {
        let place =
            Place::choose(self.storage, |name| std::env::var(name).ok()).map_err(Failure::usage)?;
        if place == Place::Local && !self.data_dir.join("artifacts").is_dir() {
            return Err(Failure::new(
                Exit::Usage,
                "no-store",
                format!("no results lie in {}", self.data_dir.display()),
            )
            .hint("give --data-dir and --storage as `manimq serve` has them"));
        }
        let store = Store::open(&StoreConfig {
            data_dir: self.data_dir,
            secret: self
                .storage_secret
                .map(|secret| secret.expose_secret().to_owned()),
            url_ttl: Duration::from_secs(3600),
            place,
            public: None,
            ca_file: self.ca_file,
        })
        .map_err(unusable)?;
        let sweeper = Sweeper::new(store, queue.clone(), self.sweep_age, self.asset_age);
        let report = sweeper
            .run(self.dry_run)
            .await
            .map_err(|error| match error {
                SweepError::Queue(error) => Failure::from(error),
                other @ (SweepError::OtherStore | SweepError::Store(_)) => Failure::new(
                    Exit::Usage,
                    "storage-unusable",
                    format!("{:#}", anyhow::Error::new(other)),
                ),
            })?;
        let done = if report.dry_run {
            "would remove"
        } else {
            "removed"
        };
        let mut text = format!(
            "looked at {}, {done} {} with {}\n",
            plural(report.looked_at, "file"),
            report.removed,
            plural(report.removed_bytes, "byte")
        );
        for file in report.files.iter().take(SHOWN_MAX) {
            text.push_str(&format!(
                "  {}  {}: {}\n",
                visible(&file.key),
                plural(file.bytes, "byte"),
                file.reason
            ));
        }
        if report.files.len() > SHOWN_MAX {
            text.push_str(&format!(
                "  and {} more\n",
                report.removed - SHOWN_MAX as u64
            ));
        }
        if report.unknown > 0 {
            text.push_str(&format!(
                "kept {} without a job, older than what Redis knows of this store\n",
                plural(report.unknown, "file")
            ));
        }
        if report.more {
            text.push_str(if report.dry_run {
                "there are more files; a sweep goes on where the one before it stopped\n"
            } else {
                "there are more files; run it again, it goes on here\n"
            });
        }
        let json = serde_json::to_value(&report).unwrap_or_default();
        Ok(Answer::ok(text, json))
    }
}
