//! The parts of `up`: which program each is, and with what it is started.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use manimq_shared::env_file;
use manimq_shared::queue::ApiKey;
use rustix::process::Signal;
use tokio::process::Command;

use super::datadir::DataDir;
use super::logfile::LogFile;
use super::supervise::Part;
use super::{ApiAddresses, UpArgs};
use crate::exit::{Exit, Failure};

/// How long the worker, the API and Redis may take to end: 15 s in all, with the odd moments.
const WORKER_GRACE: Duration = Duration::from_secs(7);
const API_GRACE: Duration = Duration::from_secs(4);
const REDIS_GRACE: Duration = Duration::from_secs(3);

pub(super) fn log(data: &DataDir, name: &str) -> Result<LogFile, Failure> {
    let path = data.path().join("logs").join(format!("{name}.log"));
    LogFile::open(path.clone()).map_err(|error| {
        Failure::new(
            Exit::Failed,
            "log-file",
            format!("cannot write {}: {error}", path.display()),
        )
    })
}

pub(super) fn redis(data: &DataDir, socket: PathBuf) -> Result<Part, Failure> {
    let program = find_program("redis-server").ok_or_else(|| {
        Failure::new(Exit::Failed, "no-redis", "redis-server is not installed")
            .hint("apt-get install redis-server (`deploy/setup` does it), or set REDIS_URL to a Redis that runs")
    })?;
    let lock = data.redis_lock().try_clone().map_err(|error| {
        Failure::new(
            Exit::Failed,
            "data-dir",
            format!("cannot keep the lock of Redis: {error}"),
        )
    })?;
    let folder = data.path().join("redis");
    let command = move || {
        // Left by one that was killed; ours is not running, since we hold its lock.
        let _ = std::fs::remove_file(&socket);
        let mut command = Command::new(&program);
        command
            .env_clear()
            .args([
                "--port",
                "0",
                "--unixsocketperm",
                "700",
                "--daemonize",
                "no",
            ])
            .arg("--unixsocket")
            .arg(&socket)
            .arg("--dir")
            .arg(&folder)
            .args([
                "--appendonly",
                "yes",
                "--appendfsync",
                "everysec",
                "--save",
                "",
            ])
            // A bound for the machine's sake: a full Redis refuses jobs, a full machine dies.
            .args(["--maxmemory", "2gb", "--maxmemory-policy", "noeviction"])
            .args(["--logfile", ""])
            .current_dir(&folder);
        command
    };
    Ok(Part {
        name: "redis",
        command: Box::new(command),
        death_signal: Signal::TERM, // it writes its last second to disk and ends
        lock: Some(lock),
        echo: false,
        grace: REDIS_GRACE,
    })
}

pub(super) fn api(
    args: &UpArgs,
    data: &DataDir,
    redis_url: &str,
    announcement: &Path,
    known: Arc<Mutex<Option<ApiAddresses>>>,
) -> Result<Part, Failure> {
    let program = std::env::current_exe().map_err(|error| {
        Failure::new(
            Exit::Failed,
            "no-self",
            format!("cannot find the own program: {error}"),
        )
    })?;
    let (listen, metrics) = (args.listen.to_string(), args.metrics_listen.to_string());
    let (redis_url, announcement) = (redis_url.to_owned(), announcement.to_owned());
    let (data_dir, log_format) = (data.path().to_owned(), args.log_format.to_string());
    let command = move || {
        // A restarted API listens where the first one did, also if that was a free port.
        let known = known
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        let address = |url: Option<&str>, asked: &str| {
            url.and_then(|url| url.strip_prefix("http://"))
                .unwrap_or(asked)
                .to_owned()
        };
        let mut command = Command::new(&program);
        command
            .arg("serve")
            .args([
                "--listen",
                &address(known.as_ref().map(|k| k.api.as_str()), &listen),
            ])
            .args([
                "--metrics-listen",
                &address(known.as_ref().map(|k| k.metrics.as_str()), &metrics),
            ])
            .args(["--drain", &format!("{}s", API_GRACE.as_secs() - 1)])
            .args(["--log-format", &log_format])
            .arg("--data-dir")
            .arg(&data_dir)
            .arg("--announce")
            .arg(&announcement)
            .env("REDIS_URL", &redis_url) // not as a flag: it may hold a password
            // What `.env` says is in our environment, which it gets without what is taken out below.
            .env(env_file::FILE_VARIABLE, env_file::NO_FILE);
        // A tenant's key is for clients: a server would refuse it as its own static one.
        let key = std::env::var("MANIMQ_API_KEY").unwrap_or_default();
        if ApiKey::looks_like_one(key.trim()) {
            command.env_remove("MANIMQ_API_KEY");
        }
        command
    };
    Ok(Part {
        name: "api",
        command: Box::new(command),
        death_signal: Signal::KILL,
        lock: None,
        echo: !args.quiet,
        grace: API_GRACE,
    })
}

pub(super) fn worker(
    args: &UpArgs,
    redis_url: &str,
    server: &str,
    slots: u32,
    announcement: &Path,
) -> Result<Part, Failure> {
    let program = worker_program(args.worker_bin.as_deref())?;
    let (redis_url, server) = (redis_url.to_owned(), server.to_owned());
    let announcement = announcement.to_owned();
    let (metrics, log_format) = (
        args.worker_metrics_listen.to_string(),
        args.log_format.to_string(),
    );
    let command = move || {
        let mut command = Command::new(&program);
        command
            .arg("run")
            .args(["--api-url", &server])
            .args(["--slots", &slots.to_string()])
            .args(["--metrics-listen", &metrics])
            .args(["--log-format", &log_format])
            .arg("--announce")
            .arg(&announcement)
            .env("REDIS_URL", &redis_url)
            // Within our grace: renders that still run then go back to the queue, uncounted.
            .env(
                "MANIMQ_DRAIN_TIMEOUT",
                format!("{}s", WORKER_GRACE.as_secs() - 3),
            );
        without_keys(&mut command);
        command
    };
    Ok(Part {
        name: "worker",
        command: Box::new(command),
        death_signal: Signal::KILL,
        lock: None,
        echo: !args.quiet,
        grace: WORKER_GRACE,
    })
}

/// Takes from a worker's environment what it has no use for, and keeps it from reading that again in `.env`.
pub(crate) fn without_keys(command: &mut Command) {
    command.env(env_file::FILE_VARIABLE, env_file::NO_FILE);
    for (name, _) in std::env::vars_os() {
        if env_file::is_kept_from_workers(&name.to_string_lossy()) {
            command.env_remove(name);
        }
    }
}

/// The worker: the one that is given, or beside this program, or in `PATH`.
///
/// # Errors
/// There is none.
pub(crate) fn worker_program(given: Option<&Path>) -> Result<PathBuf, Failure> {
    if let Some(given) = given {
        return is_executable(given)
            .then(|| given.to_owned())
            .ok_or_else(|| {
                Failure::usage(format!(
                    "MANIMQ_WORKER_BIN: {} is no program that can be run",
                    given.display()
                ))
            });
    }
    let beside = std::env::current_exe()
        .ok()
        .and_then(|exe| Some(exe.parent()?.join("manimq-worker")));
    beside
        .clone()
        .filter(|path| is_executable(path))
        .or_else(|| find_program("manimq-worker"))
        .ok_or_else(|| {
            let beside = beside.map_or(String::new(), |path| {
                format!("neither at {} nor ", path.display())
            });
            Failure::new(
                Exit::Failed,
                "no-worker",
                format!("manimq-worker is {beside}in PATH"),
            )
            .hint("build it (`cargo build --release`), or start without one: --no-worker")
        })
}

pub(crate) fn find_program(name: &str) -> Option<PathBuf> {
    std::env::split_paths(&std::env::var_os("PATH")?)
        .map(|folder| folder.join(name))
        .find(|path| is_executable(path))
}

fn is_executable(path: &Path) -> bool {
    rustix::fs::access(path, rustix::fs::Access::EXEC_OK).is_ok() && path.is_file()
}
