//! The routes: what they share, and what every request passes.
//!
//! A request goes through `cors` (which pages may read the answer), [`observe`] (request id, log line,
//! metrics, panics, the body of every error), `compress`, then `guard` (host name, rate per address), then
//! its handler, whose first argument is a [`Tenant`](extract::Tenant) or, for operators, an
//! [`Operator`](extract::Operator): both are made by [`auth`], where keys become callers, and `auth` watches
//! over what goes on after that.
//!
//! Nothing here keeps state of a job: it is all in Redis, so that any API process can answer for
//! any job and a killed one loses nothing.

pub mod address;
mod admin;
mod admit;
mod artifacts;
mod assets;
pub mod auth;
mod batch;
pub(crate) mod canary;
mod check;
mod compress;
pub mod cors;
mod docs;
mod erase;
mod events;
pub mod extract;
mod files;
mod generate;
mod guard;
pub(crate) mod health;
mod jobs;
mod list;
mod look;
mod openapi;
mod pace;
mod page;
mod plan;
pub mod problem;
mod query;
mod rerun;
mod submission;
mod templates;
mod tenant_events;
mod understand;
mod uploads;
mod usage;
mod validate;
mod view;
mod webhooks;

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse as _, Response};
use futures_util::FutureExt as _;
use manimq_shared::ids::TenantId;
use manimq_shared::queue::{Hub, Queue, QueueError, SURVEYED_MAX, Stats};
use manimq_shared::scene_policy::ScenePolicy;
use manimq_shared::traces::Traces;
use secrecy::SecretString;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

use self::address::Proxies;
use self::cors::Origin;
use self::look::Look;
pub use self::openapi::document;
use self::problem::{ApiError, Kind, PROBLEM_JSON, Unfinished};
pub(crate) use self::webhooks::body as webhook_body;
use crate::llm::Llm;
use crate::metrics::{CutOff, Metrics, Picture, age_max};
use crate::places::{NoPlace, Place, Places};
use crate::storage::{AssetLimits, Store};
use crate::webhooks::Targets;

/// The header that names a request, in both directions.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Longest request id that is taken over.
const REQUEST_ID_BYTES_MAX: usize = 128;
/// When a client that found no free event stream may come again.
const STREAMS_FULL_RETRY_S: u64 = 5;

/// What a client may send and hold.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Longest source.
    pub source_bytes_max: usize,
    /// Longest JSON body.
    pub body_bytes_max: usize,
    /// Longest time for a JSON body to arrive.
    pub body_timeout: Duration,
    /// Largest file of a job.
    pub file_bytes_max: u64,
    /// Most bytes of all files of an attempt.
    pub job_bytes_max: u64,
    /// Most event streams; one tenant may have nine tenths of them.
    pub sse_max: usize,
    /// Most waiting reads.
    pub long_polls_max: usize,
    /// Longest life of an event stream; the client resumes it.
    pub sse_life: Duration,
    /// How often an event stream says that it lives.
    pub sse_heartbeat: Duration,
    /// What may come with one job.
    pub assets: AssetLimits,
    /// Most bytes of all files that came with a tenant's jobs.
    pub asset_tenant_bytes: u64,
    /// How long such a file is kept after its last use.
    pub asset_age: Duration,
    /// Submits with files that may arrive at a time; one tenant may have nine tenths of them.
    pub forms_max: usize,
    /// Requests per second from one address; `None`: 200, but loopback addresses are not limited.
    pub rate_per_address: Option<u32>,
    /// Requests per second with one key; `None`: 200, 0: no limit.
    pub rate_per_key: Option<u32>,
    /// How long a language model is left alone after its third failure in a row; later longer.
    pub llm_rest_min: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            source_bytes_max: 256 * 1024,
            body_bytes_max: 2 * 1024 * 1024,
            body_timeout: Duration::from_secs(20),
            file_bytes_max: 2 << 30,
            job_bytes_max: 4 << 30,
            sse_max: 6000,
            long_polls_max: 2000,
            sse_life: Duration::from_secs(30 * 60),
            sse_heartbeat: Duration::from_secs(15),
            assets: AssetLimits::default(),
            asset_tenant_bytes: 4 << 30,
            asset_age: Duration::from_secs(30 * 86_400),
            forms_max: 32,
            rate_per_address: None,
            rate_per_key: None,
            llm_rest_min: Duration::from_secs(10),
        }
    }
}

/// What the API is made of.
pub struct Parts {
    /// The queue.
    pub queue: Queue,
    /// The artifacts.
    pub store: Store,
    /// What is measured.
    pub metrics: Metrics,
    /// Where traces of jobs go.
    pub traces: Traces,
    /// What a client may send and hold.
    pub limits: Limits,
    /// How sources are judged.
    pub policy: ScenePolicy,
    /// The one static key, if there is one: the tenant `default`, and an operator.
    pub api_key: Option<SecretString>,
    /// Whether everybody may come in as long as no key was ever made: without a static key, on a
    /// loopback address.
    pub may_be_open: bool,
    /// Who is believed about the addresses of clients.
    pub proxies: Proxies,
    /// Whose pages may read answers in a browser.
    pub cors_origins: Vec<Origin>,
    /// Start of URLs that are given to users.
    pub public_url: String,
    /// Start of URLs that are given to workers. `None`: they get the path alone, and join it with
    /// the address at which they reach the API already.
    pub internal_url: Option<String>,
    /// Who is asked where no template fits a prompt.
    pub llm: Option<Llm>,
    /// Where webhooks may point to.
    pub webhook_targets: Targets,
    /// Ends streams and waits.
    pub stop: CancellationToken,
}

/// The API's state; clones share it.
#[derive(Clone)]
pub struct App(Arc<Shared>);

struct Shared {
    parts: Parts,
    hub: Hub,
    guard: guard::Guard,
    door: auth::Door,
    streams: Places<TenantId>,
    long_polls: Arc<Semaphore>,
    forms: Places<TenantId>,
    stats: Look<Stats>,
    picture: Look<Arc<Picture>>,
    /// How old it may be, ms.
    picture_age: AtomicU64,
    storage_probe: Look<()>,
}

impl App {
    /// Puts the parts together. Needs a tokio runtime, for the hub.
    #[must_use]
    pub fn new(parts: Parts) -> Self {
        // Nobody waits for it: a prompt that comes first does the same itself.
        drop(tokio::task::spawn_blocking(crate::planner::warm_up));
        Self(Arc::new(Shared {
            hub: parts.queue.hub(),
            guard: guard::Guard::new(&parts),
            door: auth::Door::new(&parts),
            streams: Places::new(
                parts.limits.sse_max,
                Some(parts.metrics.sse_connections.clone()),
            ),
            long_polls: Arc::new(Semaphore::new(parts.limits.long_polls_max)),
            forms: Places::new(parts.limits.forms_max, None),
            stats: Look::default(),
            picture: Look::default(),
            picture_age: AtomicU64::new(1000),
            storage_probe: Look::default(),
            parts,
        }))
    }

    pub(crate) fn queue(&self) -> &Queue {
        &self.0.parts.queue
    }

    pub(crate) fn hub(&self) -> &Hub {
        &self.0.hub
    }

    fn store(&self) -> &Store {
        &self.0.parts.store
    }

    fn limits(&self) -> &Limits {
        &self.0.parts.limits
    }

    pub(crate) fn parts(&self) -> &Parts {
        &self.0.parts
    }

    pub(crate) fn stop(&self) -> &CancellationToken {
        &self.0.parts.stop
    }

    /// What is measured.
    #[must_use]
    pub fn metrics(&self) -> &Metrics {
        &self.0.parts.metrics
    }

    /// Every call to the queue goes through here: timed, counted, its failure told to the client.
    pub(crate) async fn redis<T>(
        &self,
        command: &'static str,
        call: impl Future<Output = Result<T, QueueError>>,
    ) -> Result<T, ApiError> {
        let start = Instant::now();
        let result = call.await;
        let metrics = self.metrics();
        metrics
            .redis_command_duration
            .with_label_values(&[command])
            .observe(start.elapsed().as_secs_f64());
        result.map_err(|error| {
            metrics.redis_errors.with_label_values(&[command]).inc();
            error.into()
        })
    }

    /// The queue at a glance, at most `age_max` old; one call at a time however many ask.
    pub(crate) async fn stats(&self, age_max: Duration) -> Result<Stats, String> {
        let app = self.clone();
        let look = || async move {
            let stats = app.redis("stats", app.queue().stats()).await;
            stats.map_err(|error| error.cause_text().unwrap_or_default())
        };
        self.0.stats.at_most(age_max, look).await
    }

    /// A place for an event stream of a tenant.
    fn stream_place(&self, tenant: &TenantId) -> Result<Place<TenantId>, ApiError> {
        self.0.streams.take(tenant.clone()).map_err(|none| {
            self.metrics().cut_off(CutOff::Full);
            let (whose, most) = match none {
                NoPlace::Full(most) => ("it can hold", most),
                NoPlace::Enough(most) => ("one tenant may have", most),
            };
            ApiError::new(
                Kind::ReducedCapacity,
                format!("this server has as many event streams as {whose} ({most}); poll the job with ?wait= instead, or come again"),
            )
            .retry_after(STREAMS_FULL_RETRY_S)
        })
    }

    /// All that metrics tell of queue and fleet; one look at a time, at most a second old, older where looking takes
    /// long.
    pub(crate) async fn picture(&self) -> Result<Arc<Picture>, String> {
        let app = self.clone();
        let look = || async move {
            let began = Instant::now();
            let queue = app.queue();
            let (stats, survey, canary) = tokio::join!(
                app.redis("stats", queue.stats()),
                app.redis("survey", queue.survey(SURVEYED_MAX)),
                app.redis("canary", queue.canary()),
            );
            let picture = async {
                let (stats, survey) = (stats?, survey?);
                let mut quotas = Vec::new();
                // Fifty at most.
                for tenant in app.metrics().shown().tenants(&survey.tenants) {
                    let usage = app.redis("usage", queue.usage(&tenant)).await?;
                    quotas.push((tenant, usage));
                }
                Ok(Picture {
                    stats,
                    survey,
                    canary: canary?,
                    quotas,
                })
            };
            let picture: Result<Picture, ApiError> = picture.await;
            let age_max = age_max(began.elapsed());
            app.0.picture_age.store(
                u64::try_from(age_max.as_millis()).unwrap_or(u64::MAX),
                Ordering::Relaxed,
            );
            picture
                .map(Arc::new)
                .map_err(|error| error.cause_text().unwrap_or_default())
        };
        let age_max = Duration::from_millis(self.0.picture_age.load(Ordering::Relaxed));
        self.0.picture.at_most(age_max, look).await
    }

    /// Whether a file can be stored, at most `age_max` old.
    async fn storage_works(&self, age_max: Duration) -> Result<(), String> {
        let store = self.store().clone();
        let look = || async move { store.probe().await.map_err(|error| error.to_string()) };
        self.0.storage_probe.at_most(age_max, look).await
    }
}

/// Routes that are documented, with their part of the document.
fn documented() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(jobs::submit, list::list))
        .routes(routes!(batch::submit))
        .routes(routes!(jobs::read, erase::delete))
        .routes(routes!(jobs::cancel))
        .routes(routes!(rerun::rerun))
        .routes(routes!(events::follow))
        .routes(routes!(jobs::logs))
        .routes(routes!(artifacts::list))
        .routes(routes!(artifacts::redirect))
        .routes(routes!(tenant_events::follow))
        .routes(routes!(webhooks::create, webhooks::list))
        .routes(routes!(webhooks::read, webhooks::change, webhooks::delete))
        .routes(routes!(webhooks::rotate))
        .routes(routes!(webhooks::test))
        .routes(routes!(webhooks::deliveries))
        .routes(routes!(webhooks::redeliver))
        .routes(routes!(validate::validate))
        .routes(routes!(plan::plan))
        .routes(routes!(templates::list))
        .routes(routes!(templates::read))
        .routes(routes!(templates::preview))
        .routes(routes!(generate::generate))
        .routes(routes!(generate::read))
        .routes(routes!(usage::read))
        .routes(routes!(health::alive))
        .routes(routes!(health::ready))
        .routes(routes!(openapi::serve))
        .merge(admin::routes())
}

/// All routes.
pub fn router(app: App) -> Router {
    let (routes, _) = documented().split_for_parts();
    let routes = routes
        .route("/", axum::routing::get(page::index))
        .route("/docs", axum::routing::get(docs::page))
        .route("/docs/app.js", axum::routing::get(docs::script))
        .route("/docs/style.css", axum::routing::get(docs::style))
        .route("/internal/v1/uploads", axum::routing::post(uploads::grant))
        .route("/internal/v1/assets", axum::routing::post(assets::grant))
        .route(
            "/storage/manim_assets/{tenant}/{sha256}",
            axum::routing::get(assets::get),
        )
        .route(
            "/storage/{*key}",
            axum::routing::get(files::get).put(files::put),
        )
        .fallback(|uri: axum::http::Uri| async move { ApiError::no_route(uri.path()) });
    layered(routes, app)
}

/// Routes within all that every request passes.
fn layered(routes: Router<App>, app: App) -> Router {
    let routes = routes
        .layer(from_fn_with_state(app.clone(), auth::around))
        .layer(from_fn_with_state(app.clone(), guard::check));
    let routes = compress::layered(routes).layer(from_fn_with_state(app.clone(), observe));
    match cors::layer(&app.parts().cors_origins) {
        Some(cors) => routes.layer(cors),
        None => routes,
    }
    .with_state(app)
}

/// The id of a request: the client's if it is safe in logs and headers, else a new one.
fn request_id(headers: &HeaderMap) -> HeaderValue {
    let safe = |id: &&HeaderValue| {
        (1..=REQUEST_ID_BYTES_MAX).contains(&id.len())
            && id
                .as_bytes()
                .iter()
                .all(|b| b.is_ascii_alphanumeric() || b"-_.:/=+".contains(b))
    };
    headers
        .get(&REQUEST_ID)
        .filter(safe)
        .cloned()
        .unwrap_or_else(|| {
            HeaderValue::from_str(&format!("req_{}", Uuid::now_v7().simple()))
                .expect("ASCII letters and digits")
        })
}

/// Around every request: its id, its log line, its metrics, and the body of every error.
async fn observe(State(app): State<App>, mut request: Request, next: Next) -> Response {
    let start = Instant::now();
    let id = request_id(request.headers());
    request.headers_mut().insert(REQUEST_ID, id.clone());
    let id_text = id.to_str().unwrap_or_default().to_owned();
    let method = request.method().clone();
    // Without the query, which may be a signature.
    let path = request.uri().path().to_owned();
    let route = request
        .extensions()
        .get::<MatchedPath>()
        .map_or_else(|| "other".to_owned(), |route| route.as_str().to_owned());

    let mut response = AssertUnwindSafe(next.run(request))
        .catch_unwind()
        .await
        .unwrap_or_else(|_| {
            ApiError::new(
                Kind::Internal,
                "the request met a fault of manimq; the log has it under this request id",
            )
            .into_response()
        });

    let mut cause = None;
    let status = response.status();
    if status.is_client_error() || status.is_server_error() {
        let unfinished = response.extensions_mut().remove::<Unfinished>();
        let known = response
            .headers()
            .get(axum::http::header::CONTENT_TYPE)
            .is_some_and(|kind| kind == PROBLEM_JSON);
        let unfinished =
            unfinished.or_else(|| (!known).then(|| foreign(&method, &path, status)).flatten());
        if let Some(unfinished) = unfinished {
            cause = unfinished.chain();
            unfinished.finish(&id_text, &mut response);
        }
    }
    response.headers_mut().insert(REQUEST_ID, id);

    let code = match status.as_u16() {
        100..=199 => "1xx",
        200..=299 => "2xx",
        300..=399 => "3xx",
        400..=499 => "4xx",
        _ => "5xx",
    };
    let labels = [route.as_str(), method_label(&method), code];
    let metrics = app.metrics();
    metrics.http_requests.with_label_values(&labels).inc();
    metrics
        .http_request_duration
        .with_label_values(&labels)
        .observe(start.elapsed().as_secs_f64());

    let duration_ms = start.elapsed().as_millis();
    if status.is_server_error() && status != StatusCode::SERVICE_UNAVAILABLE || cause.is_some() {
        tracing::warn!(
            request.id = id_text,
            status = status.as_u16(),
            duration_ms,
            "{method} {path} failed: {}",
            cause.as_deref().unwrap_or("see above")
        );
    } else {
        tracing::debug!(
            request.id = id_text,
            status = status.as_u16(),
            duration_ms,
            "{method} {path}"
        );
    }
    response
}

/// The problem for an error that no handler of ours made (axum's own refusals).
fn foreign(method: &Method, path: &str, status: StatusCode) -> Option<Unfinished> {
    let error = match status {
        // The `Allow` header is added outside of this middleware.
        StatusCode::METHOD_NOT_ALLOWED => ApiError::new(
            Kind::MethodNotAllowed,
            format!(
                "{path} does not answer {method}; the Allow header has the methods that it answers"
            ),
        ),
        StatusCode::NOT_FOUND => ApiError::no_route(path),
        status if status.is_server_error() => {
            ApiError::new(Kind::Internal, "the request met a fault of manimq")
        }
        _ => ApiError::new(Kind::Malformed, "the request cannot be read"),
    };
    error
        .into_response()
        .extensions_mut()
        .remove::<Unfinished>()
}

/// The method as a metric's label: a closed set, whatever clients send.
fn method_label(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::DELETE => "DELETE",
        Method::PATCH => "PATCH",
        Method::OPTIONS => "OPTIONS",
        _ => "other",
    }
}

#[cfg(test)]
mod tests {
    use axum::body::{Body, to_bytes};
    use manimq_shared::api::Problem;
    use manimq_shared::queue::RedisConfig;
    use tower::ServiceExt as _;

    use super::*;

    /// An app whose Redis is nowhere.
    fn app(folder: &std::path::Path) -> App {
        App::new(parts(folder))
    }

    fn parts(folder: &std::path::Path) -> Parts {
        Parts {
            queue: Queue::new(&RedisConfig::new("redis://127.0.0.1:1/0")).unwrap(),
            store: Store::open(&crate::storage::StoreConfig::local(folder)).unwrap(),
            metrics: Metrics::default(),
            traces: Traces::default(),
            limits: Limits::default(),
            policy: ScenePolicy::default(),
            api_key: None,
            may_be_open: true,
            proxies: Proxies::default(),
            cors_origins: Vec::new(),
            public_url: "http://localhost".into(),
            internal_url: None,
            llm: None,
            webhook_targets: Targets {
                allowed: Vec::new(),
                tls: manimq_shared::tls::client_config(None).unwrap(),
            },
            stop: CancellationToken::new(),
        }
    }

    #[tokio::test]
    async fn a_panic_costs_one_request_and_is_told_as_a_problem() {
        let folder = tempfile::tempdir().unwrap();
        let app = app(folder.path());
        let router = Router::new()
            .route(
                "/boom",
                axum::routing::get(|| async { panic!("a secret detail") as () }),
            )
            .layer(from_fn_with_state(app, observe));
        for _ in 0..2 {
            let request = Request::get("/boom")
                .header("x-request-id", "mine")
                .body(Body::empty())
                .unwrap();
            let response = router.clone().oneshot(request).await.unwrap();
            assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
            assert_eq!(response.headers()["content-type"], PROBLEM_JSON);
            let body = to_bytes(response.into_body(), 10_000).await.unwrap();
            let problem: Problem = serde_json::from_slice(&body).unwrap();
            assert_eq!(problem.request_id.as_deref(), Some("mine"));
            assert!(!problem.detail.contains("secret"), "{problem:?}");
        }
    }

    #[tokio::test]
    async fn a_panic_is_told_through_all_layers_to_pages_of_other_origins_too() {
        let folder = tempfile::tempdir().unwrap();
        let page = "https://app.example.com";
        let mut parts = parts(folder.path());
        parts.cors_origins = vec![page.parse().unwrap()];
        let routes = Router::new().route(
            // One whose answers are compressed.
            "/openapi.json",
            axum::routing::get(|| async { panic!("a secret detail") as () }),
        );
        let request = Request::get("/openapi.json")
            .header("origin", page)
            .header("accept-encoding", "gzip")
            .body(Body::empty())
            .unwrap();
        let router = layered(routes, App::new(parts));
        let response = router.oneshot(request).await.unwrap();
        assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
        let headers = response.headers();
        assert_eq!(headers["content-type"], PROBLEM_JSON);
        assert_eq!(headers["access-control-allow-origin"], page);
        assert!(!headers.contains_key("content-encoding"));
        let body = to_bytes(response.into_body(), 10_000).await.unwrap();
        let problem: Problem = serde_json::from_slice(&body).unwrap();
        assert_eq!(problem.kind, "internal");
    }

    #[tokio::test]
    async fn a_refusal_that_axum_makes_itself_becomes_a_problem_too() {
        let folder = tempfile::tempdir().unwrap();
        let app = app(folder.path());
        let router = Router::new()
            .route(
                "/number/{n}",
                axum::routing::get(|_: axum::extract::Path<u8>| async {}),
            )
            .layer(from_fn_with_state(app, observe));
        let request = Request::get("/number/x").body(Body::empty()).unwrap();
        let response = router.oneshot(request).await.unwrap();
        assert_eq!(response.headers()["content-type"], PROBLEM_JSON);
    }
}
