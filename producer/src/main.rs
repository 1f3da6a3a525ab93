//! The program `manimq`: see [`manimq::cli`].

use clap::Parser as _;
use manimq::exit::Exit;
use std::process::ExitCode;

fn main() -> ExitCode {
    // Before anything else: what it says is read as if it were in the environment.
    if let Err(error) = manimq_shared::env_file::load(|_| true) {
        eprintln!("error: {error}");
        return Exit::Usage.into();
    }
    manimq::cli::Cli::parse().run().into()
}
