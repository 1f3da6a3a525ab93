//! `manimq serve`: settings, checks before anything listens, and the start and stop of all parts.
//!
//! ```text
//! run ── start ──┬─ API listener ──── one task per connection
//!                ├─ metrics listener ─ one task per connection
//!                └─ hub (one Redis connection for hints)
//! stop ──▶ no new connections; streams and waits end; answers in progress get a few seconds
//! ```

mod repairs;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::Args;
use manimq_shared::job::JOB_FILES_MAX;
use manimq_shared::logging::LogFormat;
use manimq_shared::queue::{ApiKey, Queue, QueueError, RedisConfig, redact};
use manimq_shared::scene_policy::ScenePolicy;
use manimq_shared::traces::Traces;
use manimq_shared::watch::WatchArgs;
use prometheus::{IntCounter, IntGauge};
use secrecy::{ExposeSecret, SecretString};
use serde::Serialize;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::api::address::{Network, Proxies, ProxyHeader};
use crate::api::cors::Origin;
use crate::api::{self, App, Limits, Parts};
use crate::http::{self, Counted, HttpLimits};
use crate::llm::{Llm, LlmArgs};
use crate::metrics::{self, Metrics};
use crate::storage::{AssetLimits, Place, Store, StoreConfig, Sweeper};
use crate::webhooks::{self, Targets};

/// Shortest API key that is accepted.
const API_KEY_BYTES_MIN: usize = 16;
/// How long a bucket that does not answer is waited for at the start.
const STORE_PATIENCE: Duration = Duration::from_secs(20);
/// Most bytes that may come with a job, whatever is set: a worker has them on its disk.
const JOB_ASSET_BYTES_MAX: u64 = 256 << 20;
/// Ended jobs are kept for up to two weeks and may be run again.
const ASSET_AGE_MIN: Duration = Duration::from_secs(15 * 86_400);
/// Shortest pause between two canaries.
const CANARY_EVERY_MIN: Duration = Duration::from_secs(10);
/// Pause between two tries to reach Redis at the start.
const REDIS_TRY_EVERY: Duration = Duration::from_millis(250);

/// Settings of the API. Each flag has a variable; `--help` is the reference.
#[derive(Debug, Clone, Args)]
pub struct ServeArgs {
    /// Address of the API. Port 0 takes a free one. Other than loopback only with an API key:
    /// MANIMQ_API_KEY, or one made with `manimq admin keys create`.
    #[arg(long, env = "MANIMQ_LISTEN", default_value = "127.0.0.1:8080")]
    pub listen: SocketAddr,

    /// Address of `/metrics`, which has no key: keep it where only Prometheus reaches it.
    #[arg(long, env = "MANIMQ_METRICS_LISTEN", default_value = "127.0.0.1:9464")]
    pub metrics_listen: SocketAddr,

    /// Redis 7 or newer, or Valkey: redis://HOST:PORT/DB or unix:///PATH; also rediss://,
    /// redis+sentinel://HOST,HOST/SERVICE and redis+cluster://HOST,HOST. Files for TLS in
    /// MANIMQ_REDIS_CA_FILE, _CERT_FILE and _KEY_FILE; MANIMQ_REDIS_SENTINEL_PASSWORD;
    /// MANIMQ_REDIS_DURABLE=1 accepts a job only once Redis confirmed that it is kept.
    #[arg(
        long,
        env = "REDIS_URL",
        default_value = "redis://127.0.0.1:6379/0",
        hide_env_values = true
    )]
    pub redis_url: String,

    /// Start of all Redis keys. Two systems on one Redis differ in it.
    #[arg(long, env = "MANIMQ_REDIS_PREFIX", default_value = "mq", value_parser = redis_prefix)]
    pub redis_prefix: String,

    /// How long to wait for Redis at the start before giving up. Later it may come and go.
    #[arg(long, env = "MANIMQ_REDIS_WAIT", default_value = "10s", value_parser = humantime::parse_duration)]
    pub redis_wait: Duration,

    /// Folder for results (`artifacts/`) and the secret that signs their URLs (`storage.key`).
    #[arg(long, env = "MANIMQ_DATA_DIR", default_value = ".manimq/data")]
    pub data_dir: PathBuf,

    /// Where results lie: local (in the data folder), s3://BUCKET/PREFIX (AWS_ACCESS_KEY_ID,
    /// AWS_SECRET_ACCESS_KEY, AWS_REGION, AWS_ENDPOINT_URL), gs://BUCKET/PREFIX (GOOGLE_SERVICE_ACCOUNT)
    /// or az://CONTAINER/PREFIX (AZURE_STORAGE_ACCOUNT_NAME, AZURE_STORAGE_ACCOUNT_KEY). Without it:
    /// the bucket in AWS_S3_BUCKET or AWS_BUCKET if one is set, else local.
    #[arg(long, env = "MANIMQ_STORAGE", value_name = "PLACE")]
    pub storage: Option<Place>,

    /// Where everybody can read the bucket, such as https://BUCKET.s3.amazonaws.com: results' URLs
    /// are then below it, without signature and end.
    #[arg(long, env = "MANIMQ_PUBLIC_BUCKET", value_parser = base_url, value_name = "URL")]
    pub public_bucket: Option<String>,

    /// Certificates (PEM) to trust beside the system's, for a bucket's server and for webhooks.
    #[arg(long, env = "MANIMQ_CA_FILE", value_name = "FILE")]
    pub ca_file: Option<PathBuf>,

    /// How users reach this API, such as https://render.example.com; start of all URLs that are
    /// given to them. Without it: http:// and the address that is listened on.
    #[arg(long, env = "MANIMQ_PUBLIC_URL", value_parser = base_url)]
    pub public_url: Option<String>,

    /// Where workers upload results, if not at the address that is their --api-url.
    #[arg(long, env = "MANIMQ_INTERNAL_URL", value_parser = base_url)]
    pub internal_url: Option<String>,

    /// How scenes are judged.
    #[command(flatten)]
    pub policy: ScenePolicy,

    /// One static key (at least 16 characters), sent as `Authorization: Bearer KEY`: its holder is the
    /// tenant `default`, and an operator. Other tenants have keys of `manimq admin keys create`.
    #[arg(long, env = "MANIMQ_API_KEY", hide_env_values = true)]
    pub api_key: Option<SecretString>,

    /// Secret behind signed URLs (at least 32 characters), if several API processes without a
    /// common data folder must honour each other's.
    #[arg(long, env = "MANIMQ_STORAGE_SECRET", hide_env_values = true)]
    pub storage_secret: Option<SecretString>,

    /// How long a URL of a result works, at least.
    #[arg(long, env = "MANIMQ_URL_TTL", default_value = "1h", value_parser = humantime::parse_duration)]
    pub url_ttl: Duration,

    /// Longest source of a scene, in bytes. At most 256 KiB.
    #[arg(long, env = "MANIMQ_SOURCE_BYTES_MAX", default_value_t = 262_144)]
    pub source_bytes_max: usize,

    /// Longest JSON body, in bytes.
    #[arg(long, env = "MANIMQ_BODY_BYTES_MAX", default_value_t = 2_097_152)]
    pub body_bytes_max: usize,

    /// Largest file of a result, in bytes.
    #[arg(long, env = "MANIMQ_FILE_BYTES_MAX", default_value_t = 2 << 30)]
    pub file_bytes_max: u64,

    /// Most bytes of all files of one job.
    #[arg(long, env = "MANIMQ_JOB_BYTES_MAX", default_value_t = 4 << 30)]
    pub job_bytes_max: u64,

    /// Most files that may come with one job; at most 128.
    #[arg(long, env = "MANIMQ_ASSETS_MAX", default_value_t = 128)]
    pub assets_max: usize,

    /// Largest file that may come with a job, in bytes.
    #[arg(long, env = "MANIMQ_ASSET_BYTES_MAX", default_value_t = 32 << 20)]
    pub asset_bytes_max: u64,

    /// Most bytes of all files that come with one job; at most 256 MiB.
    #[arg(long, env = "MANIMQ_JOB_ASSET_BYTES_MAX", default_value_t = 64 << 20)]
    pub job_asset_bytes_max: u64,

    /// Most bytes of all files that came with one tenant's jobs and are still kept.
    #[arg(long, env = "MANIMQ_TENANT_ASSET_BYTES_MAX", default_value_t = 4 << 30)]
    pub tenant_asset_bytes_max: u64,

    /// How long a file that came with a job is kept after a job last used it; at least 15days.
    #[arg(long, env = "MANIMQ_ASSET_AGE", default_value = "30days", value_parser = humantime::parse_duration)]
    pub asset_age: Duration,

    /// How often files that nobody can reach any more are removed, by one of all API processes;
    /// 0s for never.
    #[arg(long, env = "MANIMQ_SWEEP_EVERY", default_value = "1h", value_parser = humantime::parse_duration)]
    pub sweep_every: Duration,

    /// How old results of jobs that are gone must be to be removed; at least as long as jobs that
    /// succeed are kept.
    #[arg(long, env = "MANIMQ_SWEEP_AGE", default_value = "25h", value_parser = humantime::parse_duration)]
    pub sweep_age: Duration,

    /// Most connections at a time; one address may have nine tenths of them.
    #[arg(long, env = "MANIMQ_CONNECTIONS_MAX", default_value_t = 8192)]
    pub connections_max: usize,

    /// Most event streams at a time; one tenant may have nine tenths of them.
    #[arg(long, env = "MANIMQ_SSE_MAX", default_value_t = 6000)]
    pub sse_max: usize,

    /// Requests per second from one address (bursts of five times as many); 0 for no limit.
    /// Without it: 200, and loopback addresses are not limited.
    #[arg(long, env = "MANIMQ_RATE_PER_ADDRESS")]
    pub rate_per_address: Option<u32>,

    /// Requests per second with one key (bursts of five times as many), in each API process; 0 for
    /// no limit.
    #[arg(long, env = "MANIMQ_RATE_PER_KEY", default_value_t = 200)]
    pub rate_per_key: u32,

    /// Proxies that are believed about the addresses of clients, such as 10.0.0.0/8,192.0.2.7. Without
    /// it a client is who opens the connection.
    #[arg(
        long,
        env = "MANIMQ_TRUSTED_PROXIES",
        default_value = "",
        hide_default_value = true,
        value_name = "NETWORKS"
    )]
    pub trusted_proxies: List<Network>,

    /// The header in which these proxies say it. The other one is never read: they pass it on as the
    /// client sent it.
    #[arg(long, env = "MANIMQ_TRUSTED_PROXY_HEADER", value_enum, default_value_t)]
    pub trusted_proxy_header: ProxyHeader,

    /// Origins whose web pages may use the API from a browser, such as https://app.example.com,
    /// several with commas between. Nobody by default.
    #[arg(
        long,
        env = "MANIMQ_CORS_ORIGINS",
        default_value = "",
        hide_default_value = true,
        value_name = "ORIGINS"
    )]
    pub cors_origins: List<Origin>,
    /// Networks (such as 10.0.0.0/8, separated by commas) that webhooks may point to though they are
    /// not public; there also by http. Without it: public addresses and https only.
    #[arg(long, env = "MANIMQ_WEBHOOK_ALLOW", value_delimiter = ',')]
    pub webhook_allow: Vec<ipnet::IpNet>,

    /// What is told to whoever watches.
    #[command(flatten)]
    pub watch: WatchArgs,

    /// How often a tiny job shows that films come out, one of all API processes sends it; 0s for never.
    #[arg(long, env = "MANIMQ_CANARY", default_value = "0s", value_parser = humantime::parse_duration)]
    pub canary: Duration,

    /// The language model.
    #[command(flatten)]
    pub llm: LlmArgs,

    /// How long answers may still take after the stop.
    #[arg(long, env = "MANIMQ_DRAIN", default_value = "10s", value_parser = humantime::parse_duration)]
    pub drain: Duration,

    /// Write the addresses as JSON to this file once they are listened on.
    #[arg(long, env = "MANIMQ_ANNOUNCE")]
    pub announce: Option<PathBuf>,

    /// Form of log lines: text or json. What is logged: MANIMQ_LOG or RUST_LOG (default info).
    #[arg(long, env = "MANIMQ_LOG_FORMAT", default_value = "text")]
    pub log_format: LogFormat,
}

/// Values with commas between; an empty text is an empty list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct List<T>(pub Vec<T>);

impl<T: FromStr> FromStr for List<T> {
    type Err = T::Err;

    fn from_str(text: &str) -> Result<Self, T::Err> {
        let parts = text.split(',').map(str::trim);
        let parts = parts.filter(|part| !part.is_empty());
        parts.map(str::parse).collect::<Result<_, _>>().map(Self)
    }
}

/// A prefix of Redis keys.
pub(crate) fn redis_prefix(text: &str) -> Result<String, String> {
    let ok = (1..=32).contains(&text.len())
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
    ok.then(|| text.to_owned())
        .ok_or_else(|| "use 1 to 32 letters, digits, `-` and `_`".to_owned())
}

fn base_url(text: &str) -> Result<String, String> {
    let uri: axum::http::Uri = text.parse().map_err(|_| "not a URL".to_owned())?;
    let http = matches!(uri.scheme_str(), Some("http" | "https"));
    if http && uri.host().is_some() && uri.query().is_none() {
        Ok(text.trim_end_matches('/').to_owned())
    } else {
        Err("write http://HOST or https://HOST, perhaps with a port or path".to_owned())
    }
}

/// What is listened on; the content of the `--announce` file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Addresses {
    /// The API.
    pub api: String,
    /// The metrics.
    pub metrics: String,
}

/// A running API.
#[derive(Debug)]
pub struct Server {
    /// What it listens on.
    pub addresses: Addresses,
    tasks: Vec<JoinHandle<()>>,
    traces: Traces,
}

impl Server {
    /// Waits until everything has ended, after the stop.
    pub async fn ended(self) {
        for task in self.tasks {
            if let Err(error) = task.await {
                tracing::error!(error = %error, "a listener ended badly");
            }
        }
        self.traces.end().await;
    }
}

/// Serves until `stop`. Sets up logging as the settings say, unless that was done before.
///
/// # Errors
/// If it cannot start; the text says what to change.
pub async fn run(args: ServeArgs, stop: CancellationToken) -> anyhow::Result<()> {
    manimq_shared::logging::init(args.log_format).map_err(anyhow::Error::msg)?;
    let announce = args.announce.clone();
    let server = tokio::select! {
        server = start(args, Limits::default(), HttpLimits::default(), stop.clone()) => server?,
        () = stop.cancelled() => return Ok(()),
    };
    let Addresses { api, metrics } = &server.addresses;
    tracing::info!(
        api,
        metrics,
        "the API listens on {api}, its metrics are at {metrics}/metrics"
    );
    if let Some(path) = announce {
        write_announcement(&path, &server.addresses)?;
    }
    server.ended().await;
    tracing::info!("the API has stopped");
    Ok(())
}

/// Starts everything and returns once it listens. What has a flag is taken from `args`, the
/// other limits as they are given.
///
/// # Errors
/// As [`run`].
pub async fn start(
    args: ServeArgs,
    limits: Limits,
    http_limits: HttpLimits,
    stop: CancellationToken,
) -> anyhow::Result<Server> {
    check(&args)?;
    manimq_shared::tls::choose_cryptography();
    raise_descriptors();
    let store = Store::open(&store_config(&args)?)?;
    store.check(STORE_PATIENCE).await?;
    let tidier = store.clone();
    let tidy = tokio::task::spawn_blocking(move || tidier.tidy());
    let queue = connect(&args).await?;
    somebody_has_a_key(&queue, &args).await?;
    store_is_the_queues(&queue, &store, &args).await?;
    let sweeper = Sweeper::new(store.clone(), queue.clone(), args.sweep_age, args.asset_age);
    let audit = tokio::spawn(repairs::now_and_then(queue.clone(), stop.clone()));
    let sweep = tokio::spawn(sweep_now_and_then(sweeper, args.sweep_every, stop.clone()));

    let (api_listener, api_address) = listen(args.listen, "--listen").await?;
    let (metrics_listener, metrics_address) =
        listen(args.metrics_listen, "--metrics-listen").await?;
    let addresses = Addresses {
        api: format!("http://{api_address}"),
        metrics: format!("http://{metrics_address}"),
    };
    let webhook_targets = Targets {
        allowed: args.webhook_allow,
        tls: manimq_shared::tls::client_config(args.ca_file.as_deref())?,
    };
    let public_url = args.public_url.unwrap_or_else(|| addresses.api.clone());
    let metrics = Metrics::new(args.watch.metrics_tenants);
    let endpoint = args.watch.otlp_endpoint.as_deref();
    let traces = Traces::to(endpoint, "manimq", env!("CARGO_PKG_VERSION"))?;
    let llm = match args.llm.config(limits.llm_rest_min)? {
        Some(config) => {
            let llm = Llm::new(config, args.ca_file.as_deref(), metrics.llm.clone())?;
            tracing::info!(
                "prompts that fit no template are told to the language model {}",
                llm.model()
            );
            Some(llm)
        }
        None => None,
    };
    let app = App::new(Parts {
        queue,
        store,
        metrics: metrics.clone(),
        traces: traces.clone(),
        limits: Limits {
            source_bytes_max: args.source_bytes_max,
            body_bytes_max: args.body_bytes_max,
            file_bytes_max: args.file_bytes_max,
            job_bytes_max: args.job_bytes_max,
            sse_max: args.sse_max,
            assets: AssetLimits {
                files: args.assets_max,
                file_bytes: args.asset_bytes_max,
                job_bytes: args.job_asset_bytes_max,
            },
            asset_tenant_bytes: args.tenant_asset_bytes_max,
            asset_age: args.asset_age,
            rate_per_address: args.rate_per_address,
            rate_per_key: Some(args.rate_per_key),
            ..limits
        },
        policy: args.policy,
        may_be_open: args.api_key.is_none() && args.listen.ip().is_loopback(),
        api_key: args.api_key,
        proxies: Proxies {
            trusted: args.trusted_proxies.0,
            header: args.trusted_proxy_header,
        },
        cors_origins: args.cors_origins.0,
        internal_url: args.internal_url,
        llm,
        public_url,
        webhook_targets,
        stop: stop.clone(),
    });
    let http_limits = HttpLimits {
        connections_max: args.connections_max,
        drain: args.drain,
        ..http_limits
    };
    let metrics_limits = HttpLimits {
        connections_max: 64,
        ..http_limits
    };
    let uncounted = Counted {
        connections: IntGauge::new("unused", "unused")?,
        stalled: IntCounter::new("unused", "unused")?,
    };
    let counted = Counted {
        connections: metrics.http_connections.clone(),
        stalled: metrics.http_stalled.clone(),
    };
    let tasks = vec![
        tokio::spawn(api::canary::run(app.clone(), args.canary)),
        tokio::spawn(webhooks::run(app.clone())),
        tokio::spawn(http::serve(
            api_listener,
            api::router(app.clone()),
            http_limits,
            counted,
            stop.clone(),
        )),
        tokio::spawn(http::serve(
            metrics_listener,
            metrics::router(app),
            metrics_limits,
            uncounted,
            stop,
        )),
        tidy,
        sweep,
        audit,
    ];
    Ok(Server {
        addresses,
        tasks,
        traces,
    })
}

fn check(args: &ServeArgs) -> anyhow::Result<()> {
    if args.listen.ip().is_unspecified() && args.public_url.is_none() {
        bail!(
            "--listen {} names no address that users could be sent to: set MANIMQ_PUBLIC_URL, such as http://HOST:{}",
            args.listen,
            args.listen.port()
        );
    }
    if let Some(key) = &args.api_key
        && (key.expose_secret().len() < API_KEY_BYTES_MIN
            || !key.expose_secret().bytes().all(|b| b.is_ascii_graphic()))
    {
        bail!(
            "MANIMQ_API_KEY must have at least {API_KEY_BYTES_MIN} visible ASCII characters, such as from `openssl rand -hex 24`"
        );
    }
    if args
        .api_key
        .as_ref()
        .is_some_and(|key| ApiKey::looks_like_one(key.expose_secret()))
    {
        bail!(
            "MANIMQ_API_KEY holds a key of a tenant (mqk_…): here it would make its holder an operator. Keys of tenants need no setting of the server; unset it, or take another such as from `openssl rand -hex 24`"
        );
    }
    let most = Limits::default().source_bytes_max;
    if args.source_bytes_max > most {
        bail!("MANIMQ_SOURCE_BYTES_MAX may be at most {most}");
    }
    if args.connections_max == 0 {
        bail!("MANIMQ_CONNECTIONS_MAX must be at least 1");
    }
    if args.assets_max > JOB_FILES_MAX {
        bail!("MANIMQ_ASSETS_MAX may be at most {JOB_FILES_MAX}");
    }
    if args.job_asset_bytes_max > JOB_ASSET_BYTES_MAX {
        bail!("MANIMQ_JOB_ASSET_BYTES_MAX may be at most {JOB_ASSET_BYTES_MAX}");
    }
    if args.asset_age < ASSET_AGE_MIN {
        bail!(
            "MANIMQ_ASSET_AGE must be at least 15days: jobs may be run again for two weeks after their end"
        );
    }
    if !args.canary.is_zero() && args.canary < CANARY_EVERY_MIN {
        bail!("MANIMQ_CANARY must be at least 10s, or 0s for none: each canary is a render");
    }
    // Before anything is started; the rest does not matter here.
    args.llm.config(Duration::ZERO)?;
    if args.url_ttl < Duration::from_secs(60) {
        bail!("MANIMQ_URL_TTL must be at least 60s: URLs would expire before they are used");
    }
    Ok(())
}

/// How the store is to be opened.
fn store_config(args: &ServeArgs) -> anyhow::Result<StoreConfig> {
    Ok(StoreConfig {
        data_dir: args.data_dir.clone(),
        secret: args
            .storage_secret
            .as_ref()
            .map(|secret| secret.expose_secret().to_owned()),
        url_ttl: args.url_ttl,
        place: Place::choose(args.storage.clone(), |name| std::env::var(name).ok())
            .map_err(anyhow::Error::msg)?,
        public: args.public_bucket.clone(),
        ca_file: args.ca_file.clone(),
    })
}

/// Removes what nobody can reach, in the process whose turn it is.
async fn sweep_now_and_then(sweeper: Sweeper, every: Duration, stop: CancellationToken) {
    if every.is_zero() {
        return;
    }
    let mut ticks = tokio::time::interval(every);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    ticks.tick().await;
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = stop.cancelled() => return,
        }
        // A little less than the period, or the same process would miss its next turn.
        let swept = async {
            if !sweeper.is_my_turn(every.mul_f32(0.9)).await? {
                return Ok(None);
            }
            sweeper.run(false).await.map(Some)
        };
        let swept = tokio::select! {
            swept = swept => swept,
            () = stop.cancelled() => return,
        };
        match swept {
            Ok(Some(report)) => tracing::info!(
                looked_at = report.looked_at,
                removed = report.removed,
                bytes = report.removed_bytes,
                unknown = report.unknown,
                "swept the store: {} of {} files removed",
                report.removed,
                report.looked_at
            ),
            Ok(None) => {}
            Err(error) => tracing::warn!(
                error = &error as &dyn std::error::Error,
                "the sweep of the store ended early; the next one goes on"
            ),
        }
    }
}

/// Each connection and each stream needs a descriptor; the usual soft limit of 1024 is for
/// programs that use `select`, and the hard limit is ours to take.
fn raise_descriptors() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        limit.current = limit.maximum;
        let _ = setrlimit(Resource::Nofile, limit);
    }
}

async fn connect(args: &ServeArgs) -> anyhow::Result<Queue> {
    let config = RedisConfig {
        prefix: args.redis_prefix.clone(),
        ..RedisConfig::from_env(args.redis_url.clone())?
    };
    let url = redact(&args.redis_url);
    let end = tokio::time::Instant::now() + args.redis_wait;
    let mut told = false;
    loop {
        match Queue::connect(&config).await {
            Ok(queue) => return Ok(queue),
            Err(QueueError::Unavailable(_)) if tokio::time::Instant::now() < end => {
                if !told {
                    tracing::warn!(
                        "Redis at {url} does not answer; waiting up to {}",
                        humantime::format_duration(args.redis_wait)
                    );
                    told = true;
                }
                tokio::time::sleep(REDIS_TRY_EVERY).await;
            }
            Err(error @ QueueError::Unavailable(_)) => {
                return Err(anyhow::Error::new(error).context(format!(
                    "Redis at {url} does not answer: start it (`redis-server`), point REDIS_URL at it, or use `manimq up`, which brings its own"
                )));
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// Makes sure that who can be reached from elsewhere is open to nobody.
async fn somebody_has_a_key(queue: &Queue, args: &ServeArgs) -> anyhow::Result<()> {
    if args.api_key.is_some() || args.listen.ip().is_loopback() {
        return Ok(());
    }
    let doors = queue.doors().await;
    let doors = doors.context("cannot see in Redis whether anybody has a key")?;
    if doors.live == 0 {
        bail!(
            "--listen {listen} is reachable from other machines, and nobody has a key yet: make one with \
             `manimq admin tenants create NAME` and `manimq admin keys create NAME` (same REDIS_URL and \
             MANIMQ_REDIS_PREFIX), or set MANIMQ_API_KEY (such as from `openssl rand -hex 24`), or listen on 127.0.0.1",
            listen = args.listen
        );
    }
    Ok(())
}

/// Makes sure that the results of this queue's jobs lie in this store. An API with another one
/// would take jobs whose files the first one cannot find, and the other way round.
async fn store_is_the_queues(queue: &Queue, store: &Store, args: &ServeArgs) -> anyhow::Result<()> {
    let key = queue.keys().store();
    let url = redact(&args.redis_url);
    let noted = Sweeper::note_store(queue, store.identity())
        .await
        .with_context(|| format!("cannot note in Redis at {url} where the results lie"))?;
    if noted.is_some_and(|noted| noted != store.identity()) {
        bail!(
            "the queue in Redis at {url} (prefix {prefix}) has its results in another place than {place}, or signs their URLs with another secret, \
             and neither API would find the other's files: give both the same data folder (--data-dir), or the same \
             MANIMQ_STORAGE and MANIMQ_STORAGE_SECRET if they share it in another way, or give this one a queue of its own with \
             --redis-prefix (MANIMQ_REDIS_PREFIX, for its workers too). If the other folder is gone for good: \
             redis-cli DEL '{key}'",
            prefix = args.redis_prefix,
            place = match store.place() {
                Place::Local => args.data_dir.display().to_string(),
                place => place.to_string(),
            },
        );
    }
    Ok(())
}

async fn listen(address: SocketAddr, flag: &str) -> anyhow::Result<(TcpListener, SocketAddr)> {
    let listener = TcpListener::bind(address).await.with_context(|| {
        format!("cannot listen on {address}; choose another address with {flag} (port 0 takes a free one)")
    })?;
    let address = listener.local_addr()?;
    Ok((listener, address))
}

/// Written beside and renamed: who waits for the file never reads half of it.
fn write_announcement(path: &Path, addresses: &Addresses) -> anyhow::Result<()> {
    let write = || -> anyhow::Result<()> {
        let folder = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        let mut file = tempfile::NamedTempFile::new_in(folder)?;
        serde_json::to_writer(&mut file, addresses)?;
        file.persist(path)?;
        Ok(())
    };
    write().with_context(|| format!("cannot write the addresses to {}", path.display()))
}
