//! `manimq-worker`: claims render jobs and runs them in warm sandboxes.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use manimq_shared::env_file;
use manimq_shared::logging::{self, LogFormat};
use manimq_worker::config::{RunArgs, SandboxArgs};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Claims render jobs from the queue and renders them in warm sandboxes.
#[derive(Parser)]
#[command(name = "manimq-worker", version, about, max_term_width = 100)]
struct Cli {
    /// Shape of the log lines on standard error: text or json
    #[arg(long, env = "MANIMQ_LOG_FORMAT", default_value_t, global = true)]
    log_format: LogFormat,

    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Work until SIGTERM or Ctrl-C; a second one stops at once
    Run(Box<RunArgs>),
    /// Look at everything that a render needs, line by line, with the fix for what is not right
    Verify {
        /// Print versions, level and checks as JSON
        #[arg(long)]
        json: bool,

        #[command(flatten)]
        sandbox: Box<SandboxArgs>,
    },
    /// Write the renderer to a folder as a sandbox of Blaxel's wants it, for an image
    /// (deploy/deploy_sandbox.sh)
    Bundle {
        /// The folder; made if it is not there
        folder: std::path::PathBuf,

        #[command(flatten)]
        sandbox: Box<SandboxArgs>,
    },
}

fn main() -> ExitCode {
    // Before anything else: what it says is read as if it were in the environment. It may be the API's too.
    let wanted = |name: &str| !env_file::is_kept_from_workers(name);
    if let Err(error) = env_file::load(wanted) {
        eprintln!("error: {error}");
        return ExitCode::from(2);
    }
    let cli = Cli::parse();
    if let Err(error) = logging::init(cli.log_format) {
        eprintln!("error: {error}");
        return ExitCode::from(2);
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("error: cannot start: {error}");
            return ExitCode::FAILURE;
        }
    };
    let done = runtime.block_on(async {
        match cli.command {
            Command::Run(args) => {
                let (stop, hurry) = signals()?;
                manimq_worker::run::run(*args, stop, hurry).await
            }
            Command::Bundle { folder, sandbox } => {
                let renderer = sandbox.shared(None).renderer_dir;
                let made = manimq_worker::sandbox::blaxel::write_bundle(&renderer, &folder)?;
                println!("{}", made.display());
                Ok(())
            }
            Command::Verify { json, sandbox } => {
                manimq_worker::verify::verify(&sandbox, json).await
            }
        }
    });
    // A thread that still waits for something (a join, a file) must not hold the exit.
    runtime.shutdown_background();
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Tokens that the first and the second SIGTERM or SIGINT cancel.
fn signals() -> anyhow::Result<(CancellationToken, CancellationToken)> {
    let (stop, hurry) = (CancellationToken::new(), CancellationToken::new());
    let (mut term, mut int) = (
        signal(SignalKind::terminate())?,
        signal(SignalKind::interrupt())?,
    );
    let tokens = (stop.clone(), hurry.clone());
    tokio::spawn(async move {
        for token in [stop, hurry] {
            tokio::select! {
                _ = term.recv() => {}
                _ = int.recv() => {}
            }
            token.cancel();
        }
    });
    Ok(tokens)
}
