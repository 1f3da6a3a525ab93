//! The program `manimq`: see [`manimq::cli`].

use manimq::cli::Cli;
use std::process::ExitCode;

fn main() -> ExitCode {
    // Before anything else: what it says is read as if it were in the environment.
    let settings = manimq_shared::env_file::load(|_| true);
    let cli = Cli::read(settings.map_err(|error| error.to_string()));
    cli.map_or_else(|exit| exit, Cli::run).into()
}
