//! What `up` waits for, before and between the starts of its parts. If a part dies meanwhile, `up`
//! hears it from the supervisor and drops the wait.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use manimq_shared::queue::{Queue, QueueError, RedisConfig, redact};
use serde::de::DeserializeOwned;
use tokio::time::Instant;

use super::UpArgs;
use super::console::Console;
use crate::client::Client;
use crate::exit::{Exit, Failure};
use crate::term::visible_lines;

/// How long a Redis that others run may take to answer.
const FOREIGN_REDIS_WAIT: Duration = Duration::from_secs(5);
/// How long our own Redis may take to read its data.
const REDIS_WAIT: Duration = Duration::from_secs(300);
/// How long a port may still be held by a predecessor that was killed.
const PORT_WAIT: Duration = Duration::from_millis(1_500);
/// Pause between two looks at something that is awaited.
const LOOK_EVERY: Duration = Duration::from_millis(50);

pub(super) async fn ports_are_free(args: &UpArgs) -> Result<(), Failure> {
    let worker =
        (!args.no_worker).then_some((args.worker_metrics_listen, "--worker-metrics-listen"));
    let wanted = [
        (args.listen, "--listen"),
        (args.metrics_listen, "--metrics-listen"),
    ];
    let wanted: Vec<_> = wanted
        .into_iter()
        .chain(worker)
        .filter(|(a, _)| a.port() != 0)
        .collect();
    for (n, (address, flag)) in wanted.iter().enumerate() {
        if let Some((_, other)) = wanted[..n].iter().find(|(a, _)| a == address) {
            return Err(Failure::usage(format!(
                "{other} and {flag} are both {address}"
            )));
        }
        let end = Instant::now() + PORT_WAIT;
        while let Err(error) = std::net::TcpListener::bind(address) {
            if error.kind() == std::io::ErrorKind::AddrInUse && Instant::now() < end {
                tokio::time::sleep(LOOK_EVERY).await;
                continue;
            }
            let free = SocketAddr::new(address.ip(), 0);
            return Err(match error.kind() {
                std::io::ErrorKind::AddrInUse => Failure::new(
                    Exit::Failed,
                    "port-in-use",
                    format!("{address} is in use by another program"),
                )
                .hint(format!("stop that, or choose another address with {flag} ({flag} {free} takes a free port)")),
                _ => Failure::new(Exit::Failed, "cannot-listen", format!("cannot listen on {address}: {error}"))
                    .hint(format!("choose another address with {flag}")),
            });
        }
    }
    Ok(())
}

pub(super) async fn foreign_redis(url: &str) -> Result<(), Failure> {
    let connecting = async { Queue::connect(&RedisConfig::from_env(url)?).await };
    match tokio::time::timeout(FOREIGN_REDIS_WAIT, connecting).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error @ (QueueError::Configuration(_) | QueueError::Corrupt(_)))) => {
            Err(Failure::new(Exit::Failed, "redis-unusable", error))
        }
        Ok(Err(QueueError::Unavailable(cause))) => Err(no_redis(url, &cause.to_string())),
        Err(_) => Err(no_redis(url, "no answer in time")),
    }
}

fn no_redis(url: &str, cause: &str) -> Failure {
    Failure::new(
        Exit::Failed,
        "redis-unreachable",
        format!(
            "Redis at {} (REDIS_URL) cannot be reached: {cause}",
            redact(url)
        ),
    )
    .hint("start it, correct REDIS_URL, or unset REDIS_URL to get a private Redis")
}

pub(super) async fn private_redis(url: &str, console: &Console) -> Result<(), Failure> {
    let config = RedisConfig::new(url);
    let started = Instant::now();
    let mut told = false;
    loop {
        match Queue::connect(&config).await {
            Ok(_) => return Ok(()),
            Err(error @ (QueueError::Configuration(_) | QueueError::Corrupt(_))) => {
                return Err(Failure::new(Exit::Failed, "redis-unusable", error));
            }
            Err(QueueError::Unavailable(cause)) => {
                if started.elapsed() > REDIS_WAIT {
                    return Err(Failure::new(
                        Exit::Failed,
                        "redis-slow",
                        format!("the private Redis does not answer: {cause}"),
                    ));
                }
                if started.elapsed() > Duration::from_secs(5) && !std::mem::replace(&mut told, true)
                {
                    console.say("Redis is still reading its data");
                }
            }
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

pub(super) async fn announced<T: DeserializeOwned>(
    path: &Path,
    end: Instant,
    who: &str,
) -> Result<T, Failure> {
    loop {
        match std::fs::read(path) {
            Ok(bytes) => {
                return serde_json::from_slice(&bytes).map_err(|error| {
                    Failure::new(
                        Exit::Failed,
                        "announcement",
                        format!("{who} announces nonsense in {}: {error}", path.display()),
                    )
                });
            }
            Err(_) if Instant::now() < end => tokio::time::sleep(LOOK_EVERY).await,
            Err(_) => {
                return Err(Failure::new(
                    Exit::Failed,
                    "start-timeout",
                    format!("{who} was not ready in time"),
                )
                .hint("more time: --start-timeout 5m; its log is in the data folder under logs/"));
            }
        }
    }
}

pub(super) async fn wait_ready(
    client: &Client,
    end: Instant,
    with_worker: bool,
) -> Result<(), Failure> {
    loop {
        let answer = if with_worker {
            client.ready().await
        } else {
            client.healthy().await
        };
        let why = match answer {
            Ok((true, _)) => return Ok(()),
            Ok((false, body)) => {
                let problem = serde_json::from_str::<manimq_shared::api::Problem>(&body);
                problem.map_or(body, |problem| problem.detail)
            }
            Err(error) => error.to_string(),
        };
        if Instant::now() >= end {
            let why = visible_lines(&why).next().unwrap_or_default().into_owned();
            return Err(Failure::new(
                Exit::Failed,
                "start-timeout",
                format!("not ready in time: {why}"),
            )
            .hint("more time: --start-timeout 5m; the logs are in the data folder under logs/"));
        }
        tokio::time::sleep(LOOK_EVERY * 2).await;
    }
}
