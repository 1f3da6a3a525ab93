//! The program `manimq`: see [`manimq::cli`].

use clap::Parser as _;
use std::process::ExitCode;

fn main() -> ExitCode {
    manimq::cli::Cli::parse().run().into()
}
