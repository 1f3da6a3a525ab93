//! What several of these test programs need.

use clap::Parser;
use manimq_worker::config::RunArgs;

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    args: RunArgs,
}

/// Settings of a worker with one slot, on a queue and an API of the test's own.
pub fn one_slot(redis_url: &str, prefix: &str, api_url: &str, more: &[&str]) -> RunArgs {
    let flags = [
        "worker",
        "--redis-url",
        redis_url,
        "--redis-prefix",
        prefix,
        "--api-url",
        api_url,
        "--slots",
        "1",
        "--metrics-listen",
        "127.0.0.1:0",
        "--drain-timeout",
        "100ms",
    ];
    Cli::parse_from(flags.iter().chain(more)).args
}
