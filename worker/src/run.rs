//! `manimq-worker run`: wires the pool together and takes it down again.

use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use manimq_shared::ids::WorkerId;
use manimq_shared::queue::{Queue, QueueError};
use manimq_shared::traces::Traces;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::attempt::Context;
use crate::board::{Board, SlotState};
use crate::ceilings::Ceilings;
use crate::config::{self, RunArgs, SandboxKind};
use crate::cores::Cores;
use crate::leases::{self, Leases};
use crate::metrics::WorkerMetrics;
use crate::sandbox::blaxel::BlaxelSandbox;
use crate::sandbox::formulas::FormulaStore;
use crate::sandbox::local::LocalSandbox;
use crate::sandbox::{ConnectError, Sandbox};
use crate::upload::Uploader;
use crate::{pool, server, slot};

/// How long a Redis that is away is waited for at start.
const REDIS_WAIT: Duration = Duration::from_secs(30);
/// How long the metrics server and the lease keeper get at the very end.
const END_TIMEOUT: Duration = Duration::from_secs(2);
/// How long interrupted renders get to give their jobs back.
const KILL_TIMEOUT: Duration = Duration::from_secs(8);

/// Runs the worker until `stop`, then drains: no more claims, `--drain-timeout` for what runs,
/// then the rest goes back to the queue.
///
/// # Errors
/// If it cannot start: Redis away or unusable, the port taken, a wrong URL.
pub async fn run(
    args: RunArgs,
    stop: CancellationToken,
    hurry: CancellationToken,
) -> anyhow::Result<()> {
    let sandbox = args.sandbox.clone();
    match sandbox.sandbox {
        SandboxKind::Local => {
            let connect = move |index| LocalSandbox::connect(sandbox.local(index));
            run_with(args, connect, stop, hurry).await
        }
        SandboxKind::Blaxel => {
            let places = sandbox
                .remote
                .places(&sandbox.shared(args.ca_file.as_deref()))?;
            let (slots, most) = (args.slots(), sandbox.remote.slots_max());
            anyhow::ensure!(
                slots <= most,
                "{slots} slots do not fit into {} sandboxes of {} each; lower --slots, raise --slots-per-sandbox or name more in MANIM_SANDBOX_NAME",
                places.len(),
                sandbox.remote.slots_per_sandbox
            );
            let connect =
                move |index: usize| BlaxelSandbox::connect(places[index % places.len()].clone());
            run_with(args, connect, stop, hurry).await
        }
    }
}

/// [`run`] with any kind of sandbox.
///
/// # Errors
/// As [`run`].
pub async fn run_with<S, Connect, Connecting>(
    args: RunArgs,
    connect_sandbox: Connect,
    stop: CancellationToken,
    hurry: CancellationToken,
) -> anyhow::Result<()>
where
    S: Sandbox + 'static,
    Connect: Fn(usize) -> Connecting + Clone + Send + 'static,
    Connecting: Future<Output = Result<S, ConnectError>> + Send + 'static,
{
    let worker = WorkerId::generate();
    let slots = usize::from(args.slots());
    let queue = tokio::select! {
        queue = connect(&args) => queue?,
        () = stop.cancelled() => return Ok(()),
    };
    let listener = TcpListener::bind(args.metrics_listen).await.with_context(|| {
        format!(
            "cannot listen on {} for metrics; choose another with --metrics-listen (port 0 takes a free one)",
            args.metrics_listen
        )
    })?;
    let metrics_url = format!("http://{}", listener.local_addr()?);
    let board = Board::new(worker, slots);
    let endpoint = args.watch.otlp_endpoint.as_deref();
    let traces = Traces::to(endpoint, "manimq-worker", env!("CARGO_PKG_VERSION"))?;
    let kill = CancellationToken::new();
    let metrics = WorkerMetrics::new(args.watch.metrics_tenants.clone());
    let uploader = Uploader::trusting(&args.api_url, args.ca_file.as_deref())?;
    let context = Context {
        formulas: FormulaStore::default(),
        cores: Cores::new(config::machine_cores(), args.cores_per_job()),
        queue: queue.clone(),
        leases: Leases::default(),
        board: board.clone(),
        uploader: uploader.measured(metrics.clone()),
        policy: args.policy.clone(),
        ceilings: Ceilings::new(args.limits),
        metrics,
        traces: traces.clone(),
        kill: kill.clone(),
    };
    tracing::info!(
        worker.id = %worker,
        slots,
        metrics = metrics_url,
        "worker {worker} starts"
    );

    let (tasks, end) = (TaskTracker::new(), CancellationToken::new());
    let died = CancellationToken::new();
    let keeper = leases::keep(
        &args.redis()?,
        context.leases.clone(),
        board.clone(),
        context.metrics.clone(),
        end.clone(),
        died.clone().drop_guard(),
    )?;
    tasks.spawn({
        let serving = server::serve(
            listener,
            board.clone(),
            context.metrics.clone(),
            end.clone(),
        );
        async move {
            if let Err(error) = serving.await {
                tracing::error!(error = %error, "the metrics server ended");
            }
        }
    });
    let (ready, waiting) = mpsc::channel(slots);
    let pool = TaskTracker::new();
    let claiming = pool::claim_for_slots(
        queue.clone(),
        board.clone(),
        context.metrics.clone(),
        waiting,
        stop.clone(),
    );
    let alive = died.clone().drop_guard();
    pool.spawn(async move {
        let _alive = alive;
        claiming.await;
    });
    for index in 0..slots {
        let (connect, context) = (connect_sandbox.clone(), context.clone());
        pool.spawn(slot::live(
            index,
            context,
            connect,
            ready.clone(),
            stop.clone(),
        ));
    }
    drop(ready);
    pool.close();
    tasks.spawn(announce(
        args.announce.clone(),
        board.clone(),
        worker,
        metrics_url,
        stop.clone(),
    ));
    tasks.close();

    // The keeper and the claimer live as long as the worker: if one of them ends by itself, a
    // bug ended it, and a worker without them would look alive and do nothing.
    let crashed = tokio::select! {
        // First: the claimer ends because of it too, and that is no crash.
        biased;
        () = stop.cancelled() => None,
        () = died.cancelled() => Some("the lease keeper or the claimer ended by itself"),
    };
    if crashed.is_some() {
        stop.cancel();
    }
    let running = board.count(SlotState::Busy);
    if running > 0 {
        tracing::info!(
            "stopping; {running} {} {} to end",
            if running == 1 {
                "render has"
            } else {
                "renders have"
            },
            humantime::format_duration(args.drain_timeout)
        );
    }
    tokio::select! {
        () = pool.wait() => {}
        () = tokio::time::sleep(args.drain_timeout) => {}
        () = hurry.cancelled() => {}
    }
    if !pool.is_empty() {
        tracing::warn!("giving running jobs back to the queue");
        kill.cancel();
        if tokio::time::timeout(KILL_TIMEOUT, pool.wait())
            .await
            .is_err()
        {
            tracing::error!("slots did not stop in time; their leases will run out");
        }
    }
    if let Err(error) = queue.leave(worker).await {
        tracing::debug!(error = %error, "could not say goodbye");
    }
    end.cancel();
    traces.end().await;
    // Nothing that is left may keep the process: an idle scrape connection, a hung Redis.
    let rest = async {
        tasks.wait().await;
        let _ = tokio::task::spawn_blocking(move || keeper.join()).await;
    };
    if tokio::time::timeout(END_TIMEOUT, rest).await.is_err() {
        tracing::debug!("did not wait longer for the server and the keeper");
    }
    tracing::info!("worker {worker} stopped");
    match crashed {
        None => Ok(()),
        Some(what) => anyhow::bail!("{what}; the log above says why"),
    }
}

/// Connects to Redis, waiting a bounded time for one that is away.
async fn connect(args: &RunArgs) -> anyhow::Result<Queue> {
    let config = args.redis()?;
    let started = tokio::time::Instant::now();
    let mut told = false;
    loop {
        match Queue::connect(&config).await {
            Ok(queue) => return Ok(queue),
            Err(error @ QueueError::Unavailable(_)) if started.elapsed() < REDIS_WAIT => {
                if !std::mem::replace(&mut told, true) {
                    tracing::warn!(
                        error = &error as &dyn std::error::Error,
                        "Redis at {} does not answer yet",
                        manimq_shared::queue::redact(&config.url)
                    );
                }
                tokio::time::sleep(Duration::from_millis(300)).await;
            }
            Err(error) => {
                let url = manimq_shared::queue::redact(&config.url);
                return Err(anyhow::Error::new(error).context(format!(
                    "cannot use Redis at {url}; start it, or name another with --redis-url or REDIS_URL"
                )));
            }
        }
    }
}

/// Tells where this worker listens once every slot is ready (or one is known not to become so).
async fn announce(
    file: Option<std::path::PathBuf>,
    board: Board,
    worker: WorkerId,
    metrics: String,
    stop: CancellationToken,
) {
    let settled = async {
        while board.count(SlotState::Starting) > 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::select! {
        () = settled => {}
        () = stop.cancelled() => return,
    }
    let info = board.info();
    tracing::info!("{} of {} slots are ready", info.slots_ready, info.slots);
    let Some(file) = file else { return };
    let text = serde_json::json!({ "worker": worker, "metrics": metrics }).to_string();
    if let Err(error) = write_whole(&file, &text) {
        tracing::error!(error = %error, "cannot write {}", file.display());
    }
}

/// Writes a file so that a reader sees all of it or nothing.
fn write_whole(file: &Path, text: &str) -> std::io::Result<()> {
    let folder = file
        .parent()
        .filter(|p| !p.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    let temporary = tempfile::NamedTempFile::new_in(folder)?;
    std::fs::write(temporary.path(), text)?;
    temporary.persist(file)?;
    Ok(())
}
