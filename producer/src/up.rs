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
pub(crate) mod parts;
pub mod sample;
pub mod supervise;
pub mod video;
mod wait;

use std::io::Write as _;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use clap::Args;
use manimq_shared::logging::LogFormat;
use manimq_shared::queue::redact;
use serde::{Deserialize, Serialize};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use self::console::Console;
use self::datadir::DataDir;
use self::supervise::{Common, Kept};
use crate::admin::show::plural;
use crate::cli::{ServerArgs, on_signals};
use crate::exit::{Exit, Failure};
use crate::term::Paint;

/// Most slots of one worker.
const SLOTS_MAX: i64 = 64;
/// Shortest time between two looks for ended orphans.
const REAP_EVERY: Duration = Duration::from_secs(1);
/// How long orphans are hunted at the end.
const SWEEP_MAX: Duration = Duration::from_secs(1);

const EXAMPLES: &str = "\
Examples:
  manimq up                                     on 127.0.0.1:8080
  manimq up --listen 127.0.0.1:9000 --slots 1   another port, one render at once
  manimq up --once                              render the sample and stop
  manimq up --data-dir /tmp/two --listen 127.0.0.1:0 \\
      --metrics-listen 127.0.0.1:0 --worker-metrics-listen 127.0.0.1:0

The last one is a second one beside the first, on free ports. Ctrl-C stops everything.

In the data folder: redis/ (the queue), artifacts/ (results), logs/, sample/hello.mp4. \
Settings of the API and the worker are passed on: see `manimq serve --help` and \
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
    let telling = console.clone();
    on_signals(
        [
            SignalKind::interrupt(),
            SignalKind::terminate(),
            SignalKind::hangup(),
        ],
        move || {
            telling.say("stopping; once more to stop at once");
            stop.cancel();
        },
        move || {
            console.say("stopping at once");
            kill.cancel();
        },
    )
}

/// Reaps orphans that became ours, at most once a second, when a child has ended.
async fn reap_orphans(alive: supervise::Alive) {
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
    wait::ports_are_free(args).await?;
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
            wait::foreign_redis(&url).await?;
            let shown = redact(&url);
            (url, shown)
        }
        None => {
            say("starting Redis".to_owned());
            let socket = data.socket()?;
            let url = format!("unix://{}", socket.display());
            parts.redis = Some(Kept::start(
                parts::redis(data, socket)?,
                parts::log(data, "redis")?,
                common.clone(),
            ));
            wait::private_redis(&url, console).await?;
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
    let part = parts::api(args, data, &redis_url, &announcement, Arc::clone(&known))?;
    let api = parts
        .api
        .insert(Kept::start(part, parts::log(data, "api")?, common.clone()));
    let addresses: ApiAddresses = wait::announced(&announcement, end, "the API").await?;
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
        let part = parts::worker(args, &redis_url, &server, slots, &announcement)?;
        let worker = parts.worker.insert(Kept::start(
            part,
            parts::log(data, "worker")?,
            common.clone(),
        ));
        let addresses: WorkerAddresses = wait::announced(&announcement, end, "the worker").await?;
        worker.is_ready();
        worker_metrics = Some(addresses.metrics);
    }
    wait::wait_ready(&client, end, !args.no_worker).await?;

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
            format!("{worker}/metrics (worker, {})", plural(here.slots, "slot")),
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
