//! `manimq up`: everything on this machine, under one process.
//!
//! ```text
//! up ─┬─ redis-server    private, on a Unix socket (none if REDIS_URL is set)
//!     ├─ manimq serve    API and page
//!     └─ manimq-worker   slots with the local sandbox
//! ```
//!
//! Started in this order, each when the one before is ready; stopped in the other. Each is in a
//! process group of its own, restarted when it dies, and bound to our life: if we are killed, the
//! kernel ends them (`PR_SET_PDEATHSIG`), and what they leave behind while we live becomes our
//! child (`PR_SET_CHILD_SUBREAPER`) and is ended by us.

pub mod child;
pub mod console;
pub mod datadir;
pub mod logfile;
pub mod sample;
pub mod supervise;
pub mod video;

use std::io::Write as _;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use clap::Args;
use manimq_shared::logging::LogFormat;
use manimq_shared::queue::{Queue, QueueError, RedisConfig, redact};
use rustix::process::Signal;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::process::Command;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use self::console::Console;
use self::datadir::DataDir;
use self::logfile::LogFile;
use self::supervise::{Common, Kept, Part};
use crate::cli::{SAME_PRESS, ServerArgs};
use crate::client::Client;
use crate::exit::{Exit, Failure};
use crate::term::{Paint, visible_lines};

/// How long a Redis that others run may take to answer.
const FOREIGN_REDIS_WAIT: Duration = Duration::from_secs(5);
/// How long our own Redis may take to read its data.
const REDIS_WAIT: Duration = Duration::from_secs(300);
/// How long a port may still be held by a predecessor that was killed.
const PORT_WAIT: Duration = Duration::from_millis(1_500);
/// Pause between two looks at something that is awaited.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// How long the worker, the API and Redis may take to end: 15 s in all, with the odd moments.
const WORKER_GRACE: Duration = Duration::from_secs(7);
const API_GRACE: Duration = Duration::from_secs(4);
const REDIS_GRACE: Duration = Duration::from_secs(3);
/// Most slots of one worker.
const SLOTS_MAX: i64 = 64;
/// Shortest time between two looks for ended orphans.
const REAP_EVERY: Duration = Duration::from_secs(1);
/// How long orphans are hunted at the end.
const SWEEP_MAX: Duration = Duration::from_secs(1);

const EXAMPLES: &str = "\
Examples:
  manimq up                                     on 127.0.0.1:8080; Ctrl-C stops everything
  manimq up --listen 127.0.0.1:9000 --slots 1   another port, one render at a time
  manimq up --once                              render the sample, check it, stop
  manimq up --data-dir /tmp/two --listen 127.0.0.1:0 --metrics-listen 127.0.0.1:0 \\
      --worker-metrics-listen 127.0.0.1:0       a second one beside the first, on free ports

In the data folder: redis/ (the queue), artifacts/ (results), logs/, sample/hello.mp4.
Settings of the API and the worker are passed on: see `manimq serve --help` and
`manimq-worker run --help` for their variables.";

/// Flags of `manimq up`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct UpArgs {
    /// Address of the API and the page; port 0 takes a free one
    #[arg(
        long,
        env = "MANIMQ_LISTEN",
        value_name = "ADDRESS",
        default_value = "127.0.0.1:8080",
        hide_env_values = true,
        help_heading = "Addresses"
    )]
    listen: SocketAddr,

    /// Address of the API's metrics
    #[arg(
        long,
        env = "MANIMQ_METRICS_LISTEN",
        value_name = "ADDRESS",
        default_value = "127.0.0.1:9464",
        hide_env_values = true,
        help_heading = "Addresses"
    )]
    metrics_listen: SocketAddr,

    /// Address of the worker's metrics
    #[arg(
        long,
        env = "MANIMQ_WORKER_METRICS_LISTEN",
        value_name = "ADDRESS",
        default_value = "127.0.0.1:9465",
        hide_env_values = true,
        help_heading = "Addresses"
    )]
    worker_metrics_listen: SocketAddr,

    /// Redis to use instead of a private one, in any form that `manimq serve --help` lists
    #[arg(
        long,
        env = "REDIS_URL",
        value_name = "URL",
        hide_env_values = true,
        help_heading = "Addresses"
    )]
    redis_url: Option<String>,

    /// Folder of everything that is kept
    #[arg(
        long,
        env = "MANIMQ_DATA_DIR",
        value_name = "DIR",
        default_value = ".manimq/data",
        hide_env_values = true
    )]
    data_dir: PathBuf,

    /// Renders at a time [default: one per processor core]
    #[arg(long, env = "MANIMQ_SLOTS", value_name = "N", hide_env_values = true,
          value_parser = clap::value_parser!(u32).range(1..=SLOTS_MAX))]
    slots: Option<u32>,

    /// Do not render the sample on the first start
    #[arg(long, conflicts_with = "once")]
    no_sample: bool,

    /// Stop after rendering the sample; exit status 0 only if the video is there and plays
    #[arg(long)]
    once: bool,

    /// No worker here; jobs wait for workers elsewhere (with REDIS_URL)
    #[arg(long, conflicts_with = "once")]
    no_worker: bool,

    /// How long to wait for everything to be ready
    #[arg(long, env = "MANIMQ_START_TIMEOUT", value_name = "TIME", default_value = "2m",
          hide_env_values = true, value_parser = humantime::parse_duration)]
    start_timeout: Duration,

    /// Form of the API's and the worker's log lines: text or json
    #[arg(
        long,
        env = "MANIMQ_LOG_FORMAT",
        value_name = "FORM",
        default_value = "text",
        hide_env_values = true
    )]
    log_format: LogFormat,

    /// Show only warnings of `up` itself; the logs of the parts go to their files alone
    #[arg(long)]
    quiet: bool,

    /// Write what is listened on as JSON to this file, once all is ready
    #[arg(
        long,
        env = "MANIMQ_ANNOUNCE",
        value_name = "FILE",
        hide_env_values = true
    )]
    announce: Option<PathBuf>,

    /// The worker's program
    #[arg(long, env = "MANIMQ_WORKER_BIN", value_name = "FILE", hide = true)]
    worker_bin: Option<PathBuf>,
}

/// What is listened on; the content of the `--announce` file.
#[derive(Debug, Clone, Serialize)]
struct Announcement {
    pid: u32,
    api: String,
    metrics: String,
    worker_metrics: Option<String>,
    redis: String,
    data_dir: PathBuf,
    slots: u32,
}

/// What `manimq serve` announces.
#[derive(Debug, Clone, Deserialize)]
struct ApiAddresses {
    api: String,
    metrics: String,
}

/// What `manimq-worker run` announces.
#[derive(Debug, Clone, Deserialize)]
struct WorkerAddresses {
    metrics: String,
}

/// Runs the command. Must be called on the main thread of a current-thread runtime.
pub async fn run(args: UpArgs) -> Exit {
    let console = Console::start(Paint::stderr());
    let stop = CancellationToken::new();
    let kill = CancellationToken::new();
    // Before the first word: who reads that it starts may stop it at once.
    let signals = tokio::spawn(signals(stop.clone(), kill.clone(), console.clone()));
    let exit = match up(&args, &console, &stop, &kill).await {
        Ok(()) => Exit::Ok,
        Err(failure) => {
            if !failure.told {
                console.say(failure.report(console.paint()));
            }
            failure.exit
        }
    };
    signals.abort();
    console.flush(Duration::from_secs(2));
    exit
}

/// Takes the signals over at once; the future acts upon them.
fn signals(
    stop: CancellationToken,
    kill: CancellationToken,
    console: Console,
) -> impl Future<Output = ()> {
    use tokio::signal::unix::{SignalKind, signal};
    let streams = (
        signal(SignalKind::interrupt()),
        signal(SignalKind::terminate()),
        signal(SignalKind::hangup()),
    );
    async move {
        let (Ok(mut int), Ok(mut term), Ok(mut hup)) = streams else {
            return;
        };
        let mut asked: Option<Instant> = None;
        loop {
            tokio::select! {
                _ = int.recv() => {}
                _ = term.recv() => {}
                _ = hup.recv() => {}
            }
            match asked {
                None => {
                    asked = Some(Instant::now());
                    console.say("stopping; once more to stop at once");
                    stop.cancel();
                }
                Some(at) if at.elapsed() < SAME_PRESS => {}
                Some(_) => {
                    console.say("stopping at once");
                    kill.cancel();
                }
            }
        }
    }
}

/// Reaps orphans that became ours, at most once a second, when a child has ended.
async fn reap_orphans(alive: supervise::Alive) {
    use tokio::signal::unix::{SignalKind, signal};
    let Ok(mut child_ended) = signal(SignalKind::child()) else {
        return;
    };
    while child_ended.recv().await.is_some() {
        tokio::time::sleep(REAP_EVERY).await;
        child::reap(
            &alive
                .lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner),
        );
    }
}

/// The parts that run, in the order of their start.
struct Parts {
    redis: Option<Kept>,
    api: Option<Kept>,
    worker: Option<Kept>,
}

async fn up(
    args: &UpArgs,
    console: &Console,
    stop: &CancellationToken,
    kill: &CancellationToken,
) -> Result<(), Failure> {
    let data = DataDir::open(&args.data_dir)?;
    ports_are_free(args).await?;
    let _ = rustix::process::set_child_subreaper(Some(rustix::process::getpid()));
    let (gave_up, mut failures) = mpsc::channel(4);
    let common = Common {
        console: console.clone(),
        alive: Arc::default(),
        kill: kill.clone(),
        gave_up,
    };
    let reaper = tokio::spawn(reap_orphans(Arc::clone(&common.alive)));
    let mut parts = Parts {
        redis: None,
        api: None,
        worker: None,
    };
    let result = tokio::select! {
        result = go(args, &data, &common, &mut parts, stop) => result,
        Some(failure) = failures.recv() => Err(failure),
        // `--once` promises a film that plays; it was stopped before there was one.
        () = stop.cancelled() => if args.once { Err(interrupted()) } else { Ok(()) },
    };
    if let Err(failure) = &result
        && !failure.told
    {
        // Said before the parts stop, so that the reason stands above what they say of it.
        console.say(failure.report(console.paint()));
    }
    let Parts { redis, api, worker } = parts;
    for part in [worker, api, redis].into_iter().flatten() {
        part.stop(console).await;
    }
    reaper.abort();
    let end = Instant::now() + SWEEP_MAX;
    while !child::children().is_empty() && Instant::now() < end {
        child::sweep(&[]);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    if result.is_ok() {
        console.say("everything has stopped");
    }
    result.map_err(|failure| Failure {
        told: true,
        ..failure
    })
}

/// Starts everything and stays until something ends it. May be dropped at any await: what runs is
/// in `parts`.
async fn go(
    args: &UpArgs,
    data: &DataDir,
    common: &Common,
    parts: &mut Parts,
    stop: &CancellationToken,
) -> Result<(), Failure> {
    let console = &common.console;
    let paint = console.paint();
    let end = Instant::now() + args.start_timeout;
    let say = |text: String| {
        if !args.quiet {
            console.say(text);
        }
    };

    // Redis
    let foreign = args.redis_url.clone().filter(|url| !url.trim().is_empty());
    let (redis_url, redis_shown) = match foreign {
        Some(url) => {
            foreign_redis(&url).await?;
            let shown = redact(&url);
            (url, shown)
        }
        None => {
            say("starting Redis".to_owned());
            let socket = data.socket()?;
            let url = format!("unix://{}", socket.display());
            parts.redis = Some(Kept::start(
                redis(data, socket)?,
                log(data, "redis")?,
                common.clone(),
            ));
            private_redis(&url, console).await?;
            (url.clone(), format!("{url} (private)"))
        }
    };
    if let Some(redis) = &parts.redis {
        redis.is_ready();
    }

    // API
    say("starting the API".to_owned());
    let announcement = data.announcement("api");
    let known: Arc<Mutex<Option<ApiAddresses>>> = Arc::default();
    let part = api(args, data, &redis_url, &announcement, Arc::clone(&known))?;
    let api = parts
        .api
        .insert(Kept::start(part, log(data, "api")?, common.clone()));
    let addresses: ApiAddresses = announced(&announcement, end, "the API").await?;
    api.is_ready();
    *known
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner) = Some(addresses.clone());
    let server = reachable(&addresses.api);
    let client = ServerArgs {
        server: server.clone(),
    }
    .client()?;

    // Worker
    let slots = args.slots.unwrap_or_else(|| {
        std::thread::available_parallelism().map_or(1, |n| {
            u32::try_from(n.get()).unwrap_or(1).min(SLOTS_MAX as u32)
        })
    });
    let mut worker_metrics = None;
    if !args.no_worker {
        say(format!(
            "starting the worker, {slots} {}",
            if slots == 1 { "slot" } else { "slots" }
        ));
        let announcement = data.announcement("worker");
        let part = worker(args, &redis_url, &server, slots, &announcement)?;
        let worker = parts
            .worker
            .insert(Kept::start(part, log(data, "worker")?, common.clone()));
        let addresses: WorkerAddresses = announced(&announcement, end, "the worker").await?;
        worker.is_ready();
        worker_metrics = Some(addresses.metrics);
    }
    wait_ready(&client, end, !args.no_worker).await?;

    let here = Announcement {
        pid: std::process::id(),
        api: server.clone(),
        metrics: addresses.metrics,
        worker_metrics,
        redis: redact(&redis_url),
        data_dir: data.path().to_owned(),
        slots: if args.no_worker { 0 } else { slots },
    };
    if let Some(file) = &args.announce {
        announce(file, &here)?;
    }
    console.say(banner(&here, &redis_shown, paint));

    let sample_path = sample::path(data.path());
    let first = !sample_path.exists() && !args.no_worker && !args.no_sample;
    if args.once || first {
        say("rendering the sample, as `manimq render` would".to_owned());
        match sample::make(data.path(), &client, console, stop).await {
            Ok(job) => {
                console.say(format!(
                    "{} {}",
                    paint.good("sample:"),
                    sample::describe(&job)
                ));
                // Not the signed URL: this one neither expires nor carries a secret.
                if let Some(video) = job.artifacts.first() {
                    let name = &video.name;
                    console.say(format!(
                        "  watch it: {server}/v1/jobs/{}/artifacts/{name}",
                        job.id
                    ));
                }
                if args.once {
                    let what = sample::check(&sample_path, &job.output, &common.alive).await?;
                    console.say(format!("  checked:  {what}"));
                }
                console.flush(Duration::from_secs(1));
                // A reader who has gone away is no failure.
                let _ = writeln!(std::io::stdout().lock(), "{}", sample_path.display());
            }
            Err(failure) if args.once => return Err(failure),
            Err(failure) if stop.is_cancelled() => return Err(failure),
            Err(failure) => {
                if !failure.told {
                    console.say(failure.report(paint));
                }
                console.say("the sample failed; everything else goes on");
            }
        }
    }
    if args.once {
        return Ok(());
    }
    stop.cancelled().await;
    Ok(())
}

fn interrupted() -> Failure {
    Failure::new(
        Exit::Canceled,
        "interrupted",
        "stopped before the sample was rendered and checked",
    )
}

fn banner(here: &Announcement, redis: &str, paint: Paint) -> String {
    let mut text = format!("{}\n", paint.good("manimq is up"));
    let mut row = |name: &str, value: String| {
        text.push_str(&format!(
            "  {} {value}\n",
            paint.strong(format!("{name:<8}"))
        ));
    };
    row("page", format!("{}/", here.api));
    row("API", format!("{}/v1/jobs", here.api));
    row("metrics", format!("{}/metrics", here.metrics));
    if let Some(worker) = &here.worker_metrics {
        row(
            "",
            format!("{worker}/metrics (worker, {} slots)", here.slots),
        );
    }
    row("Redis", redis.to_owned());
    row("data", here.data_dir.display().to_string());
    let server = if here.api == crate::client::SERVER_DEFAULT {
        String::new()
    } else {
        format!(" --server {}", here.api)
    };
    row(
        "render",
        format!("manimq render -ql scene.py MyScene{server}"),
    );
    row("stop", "Ctrl-C".to_owned());
    text
}

// ---- what can be said before anything is started

async fn ports_are_free(args: &UpArgs) -> Result<(), Failure> {
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

async fn foreign_redis(url: &str) -> Result<(), Failure> {
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

fn find_program(name: &str) -> Option<PathBuf> {
    std::env::split_paths(&std::env::var_os("PATH")?)
        .map(|folder| folder.join(name))
        .find(|path| is_executable(path))
}

fn is_executable(path: &Path) -> bool {
    rustix::fs::access(path, rustix::fs::Access::EXEC_OK).is_ok() && path.is_file()
}

// ---- the parts

fn log(data: &DataDir, name: &str) -> Result<LogFile, Failure> {
    let path = data.path().join("logs").join(format!("{name}.log"));
    LogFile::open(path.clone()).map_err(|error| {
        Failure::new(
            Exit::Failed,
            "log-file",
            format!("cannot write {}: {error}", path.display()),
        )
    })
}

fn redis(data: &DataDir, socket: PathBuf) -> Result<Part, Failure> {
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

fn api(
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
            .env("REDIS_URL", &redis_url); // not as a flag: it may hold a password
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

fn worker(
    args: &UpArgs,
    redis_url: &str,
    server: &str,
    slots: u32,
    announcement: &Path,
) -> Result<Part, Failure> {
    let beside = std::env::current_exe()
        .ok()
        .and_then(|exe| Some(exe.parent()?.join("manimq-worker")));
    let program = match &args.worker_bin {
        Some(given) if is_executable(given) => given.clone(),
        Some(given) => {
            return Err(Failure::usage(format!(
                "MANIMQ_WORKER_BIN: {} is no program that can be run",
                given.display()
            )));
        }
        None => beside
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
            })?,
    };
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
        // What it has no use for it shall not have.
        for name in [
            "MANIMQ_API_KEY",
            "MANIMQ_STORAGE_SECRET",
            "AWS_ACCESS_KEY_ID",
            "AWS_SECRET_ACCESS_KEY",
            "AWS_SESSION_TOKEN",
        ] {
            command.env_remove(name);
        }
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

// ---- waiting. If a part dies meanwhile, `up` hears it from the supervisor and drops the wait.

async fn private_redis(url: &str, console: &Console) -> Result<(), Failure> {
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

async fn announced<T: DeserializeOwned>(
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

async fn wait_ready(client: &Client, end: Instant, with_worker: bool) -> Result<(), Failure> {
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

/// The URL under which this machine reaches an address that may mean "all addresses".
fn reachable(url: &str) -> String {
    let Some(address) = url
        .strip_prefix("http://")
        .and_then(|a| a.parse::<SocketAddr>().ok())
    else {
        return url.to_owned();
    };
    let ip = match address {
        SocketAddr::V4(a) if a.ip().is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        SocketAddr::V6(a) if a.ip().is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        other => other.ip(),
    };
    format!("http://{}", SocketAddr::new(ip, address.port()))
}

fn announce(path: &Path, here: &Announcement) -> Result<(), Failure> {
    let write = || -> std::io::Result<()> {
        let folder = path
            .parent()
            .filter(|p| !p.as_os_str().is_empty())
            .unwrap_or(Path::new("."));
        let mut file = tempfile::NamedTempFile::new_in(folder)?;
        serde_json::to_writer(&mut file, here)?;
        file.persist(path)?;
        Ok(())
    };
    write().map_err(|error| {
        Failure::new(
            Exit::Failed,
            "announcement",
            format!("cannot write {}: {error}", path.display()),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_that_means_all_is_reached_through_loopback() {
        assert_eq!(reachable("http://0.0.0.0:8080"), "http://127.0.0.1:8080");
        assert_eq!(reachable("http://[::]:8080"), "http://[::1]:8080");
        assert_eq!(reachable("http://127.0.0.1:1"), "http://127.0.0.1:1");
    }
}
