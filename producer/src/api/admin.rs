//! `/v1/admin/…`: what operators see and change, for keys with the scope `admin`. The work is done by the
//! functions of `manimq admin` ([`crate::admin`]), whose `--json` documents are the answers here.

use std::collections::BTreeMap;
use std::str::FromStr;
use std::time::Duration;

use axum::Json;
use axum::extract::{FromRequestParts, RawPathParams, State};
use axum::http::header::{CACHE_CONTROL, LOCATION};
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse as _, Response};
use futures_util::FutureExt as _;
use manimq_shared::ids::{JobId, TenantId};
use manimq_shared::job::{FailureClass, Lane};
use manimq_shared::queue::{DeadFilter, KeyId, Leaves, NewKey, PauseScope, Quotas, Scope, Scopes};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use utoipa::openapi::schema::{Array, ArrayBuilder, ObjectBuilder, Type};
use utoipa::openapi::{RefOr, Response as Answer};
use utoipa::{IntoParams, IntoResponses, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::App;
use super::erase;
use super::extract::{Operator, Query, StrictJson};
use super::openapi::{Problems, problem_answer};
use super::problem::{ApiError, Kind};
use crate::admin::show::plural;
use crate::admin::view::{
    DeadPage, DeletionReport, DiscardReport, DrainedView, KeyView, MadeKeyView, PauseView,
    QueueSummary, RedriveReport, TenantView, WorkerView,
};
use crate::admin::{Refusal, dead, keys, pause, tenants, workers};

/// Most things of a list.
const LIMIT_MAX: u32 = 1000;
/// Most dead letters of one call.
const DEAD_MAX: u32 = 10_000;

/// The routes, with their part of the document.
pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(read_queue))
        .routes(routes!(list_workers))
        .routes(routes!(drain_workers))
        .routes(routes!(pause_jobs))
        .routes(routes!(resume_jobs))
        .routes(routes!(list_tenants, create_tenant))
        .routes(routes!(read_tenant, change_tenant, delete_tenant))
        .routes(routes!(disable_tenant))
        .routes(routes!(enable_tenant))
        .routes(routes!(list_keys, create_key))
        .routes(routes!(rotate_key))
        .routes(routes!(revoke_key))
        .routes(routes!(list_dead))
        .routes(routes!(redrive_dead))
        .routes(routes!(discard_dead))
}

impl From<Refusal> for ApiError {
    fn from(refusal: Refusal) -> Self {
        let with =
            |kind, message: String, hint: String| Self::new(kind, format!("{message}; {hint}"));
        match refusal {
            Refusal::Queue(error) => error.into(),
            Refusal::Wrong { message, hint } => with(Kind::InvalidParams, message, hint),
            Refusal::Missing { message, hint, .. } => with(Kind::NotFound, message, hint),
            Refusal::Conflict {
                kind,
                message,
                hint,
            } => {
                let exists = kind == "tenant-exists";
                with(
                    if exists { Kind::Exists } else { Kind::Conflict },
                    message,
                    hint,
                )
            }
        }
    }
}

/// What an operator did is in the log, with who it was.
fn told(operator: &Operator, what: &str) {
    tracing::info!(operator = %operator.0.name(), "{what}");
}

/// The `{name}` of a path. What cannot be one names nothing: 404, with the form of one.
struct Named<T>(T);

impl<T: FromStr> FromRequestParts<App> for Named<T>
where
    T::Err: std::fmt::Display,
{
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, ApiError> {
        let params = RawPathParams::from_request_parts(parts, app).await.ok();
        let text = params.and_then(|params| Some(params.iter().next()?.1.to_owned()));
        text.unwrap_or_default()
            .parse()
            .map(Self)
            .map_err(|error: T::Err| ApiError::new(Kind::NotFound, error.to_string()))
    }
}

/// The queue at a glance.
///
/// Jobs, slots, pauses and counters.
#[utoipa::path(
    get, path = "/v1/admin/queue", tag = "admin", operation_id = "adminReadQueue",
    responses((status = 200, description = "The queue", body = QueueSummary), Problems)
)]
async fn read_queue(State(app): State<App>, _: Operator) -> Result<Json<QueueSummary>, ApiError> {
    let stats = app.redis("stats", app.queue().stats()).await?;
    Ok(Json(QueueSummary::new(app.queue().keys().prefix(), &stats)))
}

/// The live workers.
#[derive(Serialize, ToSchema)]
struct Workers {
    workers: Vec<WorkerView>,
}

/// The live workers.
///
/// Each with its slots, state and trouble.
#[utoipa::path(
    get, path = "/v1/admin/workers", tag = "admin", operation_id = "adminListWorkers",
    responses((status = 200, description = "They", body = Workers), Problems)
)]
async fn list_workers(State(app): State<App>, _: Operator) -> Result<Json<Workers>, ApiError> {
    let workers = app.redis("stats", workers::all(app.queue())).await?;
    Ok(Json(Workers { workers }))
}

/// Which workers, and what with them.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct DrainBody {
    /// Their ids, or how these begin.
    #[serde(default)]
    workers: Vec<String>,
    /// All that are live now, in place of `workers`.
    #[serde(default)]
    all: bool,
    /// Let them claim again.
    #[serde(default)]
    undo: bool,
}

/// What was said to them.
#[derive(Serialize, ToSchema)]
struct Drained {
    workers: Vec<DrainedView>,
}

/// Drain workers.
///
/// They claim no more, finish what they run and stay idle, until `undo` or their end.
#[utoipa::path(
    post, path = "/v1/admin/workers/drain", tag = "admin", operation_id = "adminDrainWorkers",
    request_body = DrainBody,
    responses((status = 200, description = "Those that were meant", body = Drained), InvalidParams, Problems)
)]
async fn drain_workers(
    State(app): State<App>,
    operator: Operator,
    StrictJson(body): StrictJson<DrainBody>,
) -> Result<Json<Drained>, ApiError> {
    let which = match (body.workers.is_empty(), body.all) {
        (false, false) => workers::Which::Named(body.workers),
        (true, true) => workers::Which::All,
        _ => {
            return Err(ApiError::invalid_field(
                "/workers",
                "name workers, or set \"all\" to true; not both and not neither",
            ));
        }
    };
    let workers = workers::drain(app.queue(), &which, body.undo).await?;
    for worker in &workers {
        let what = if body.undo { "claims again" } else { "drains" };
        told(&operator, &format!("worker {} {what}", worker.id));
    }
    Ok(Json(Drained { workers }))
}

/// What is paused: exactly one.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct ScopeBody {
    /// One tenant's jobs.
    #[schema(value_type = Option<String>, pattern = "^[a-z0-9][a-z0-9_-]{0,63}$")]
    tenant: Option<TenantId>,
    /// One lane of all tenants.
    lane: Option<Lane>,
    /// Everything.
    #[serde(default)]
    all: bool,
}

async fn set_paused(
    app: &App,
    operator: &Operator,
    body: ScopeBody,
    on: bool,
) -> Result<Json<PauseView>, ApiError> {
    let scope = match (body.tenant, body.lane, body.all) {
        (Some(tenant), None, false) => PauseScope::Tenant(tenant),
        (None, Some(lane), false) => PauseScope::Lane(lane),
        (None, None, true) => PauseScope::All,
        _ => {
            return Err(ApiError::invalid_field(
                "/all",
                "give exactly one of \"tenant\", \"lane\" and \"all\": true",
            ));
        }
    };
    let view = app
        .redis("pause", pause::set(app.queue(), &scope, on))
        .await?;
    let name = view.name.clone().unwrap_or_default();
    let done = if on { "paused" } else { "resumed" };
    told(operator, &format!("{done}: {} {name}", view.scope));
    Ok(Json(view))
}

/// Pause jobs.
///
/// No new attempts of a tenant, a lane or at all; what runs goes on, submits are accepted.
#[utoipa::path(
    post, path = "/v1/admin/pause", tag = "admin", operation_id = "adminPause",
    request_body = ScopeBody,
    responses((status = 200, description = "The pause", body = PauseView), InvalidParams, Problems)
)]
async fn pause_jobs(
    State(app): State<App>,
    operator: Operator,
    StrictJson(body): StrictJson<ScopeBody>,
) -> Result<Json<PauseView>, ApiError> {
    set_paused(&app, &operator, body, true).await
}

/// Undo a pause.
///
/// Of the same scope.
#[utoipa::path(
    post, path = "/v1/admin/resume", tag = "admin", operation_id = "adminResume",
    request_body = ScopeBody,
    responses((status = 200, description = "The pause", body = PauseView), InvalidParams, Problems)
)]
async fn resume_jobs(
    State(app): State<App>,
    operator: Operator,
    StrictJson(body): StrictJson<ScopeBody>,
) -> Result<Json<PauseView>, ApiError> {
    set_paused(&app, &operator, body, false).await
}

/// How much of a list.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct ListQuery {
    /// Most of them (up to 1,000; 100 if nothing is said).
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<u32>,
}

fn limit(asked: Option<u32>, most: u32) -> Result<usize, ApiError> {
    match asked.unwrap_or(100) {
        n if (1..=most).contains(&n) => Ok(n as usize),
        n => Err(ApiError::invalid_field(
            "/limit",
            format!("{n} is not from 1 to {most}"),
        )),
    }
}

/// Tenants.
#[derive(Serialize, ToSchema)]
struct Tenants {
    tenants: Vec<TenantView>,
    /// Whether there are more than were asked for.
    more: bool,
}

/// List tenants.
///
/// Those that were made, have work, were active lately or have settings; last active first.
#[utoipa::path(
    get, path = "/v1/admin/tenants", tag = "admin", operation_id = "adminListTenants",
    params(ListQuery),
    responses((status = 200, description = "They", body = Tenants), InvalidParams, Problems)
)]
async fn list_tenants(
    State(app): State<App>,
    _: Operator,
    Query(query): Query<ListQuery>,
) -> Result<Json<Tenants>, ApiError> {
    let limit = limit(query.limit, LIMIT_MAX)?;
    let (tenants, more) = app
        .redis("tenants", tenants::page(app.queue(), limit))
        .await?;
    Ok(Json(Tenants { tenants, more }))
}

/// A tenant to be made.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct TenantBody {
    /// Its id: 1 to 64 of `a-z`, `0-9`, `-` and `_`, beginning with a letter or digit.
    #[schema(value_type = String, pattern = "^[a-z0-9][a-z0-9_-]{0,63}$")]
    tenant: TenantId,
    /// Its name for people, up to 80 characters.
    #[serde(default)]
    name: String,
}

/// Make a tenant.
///
/// It has no keys yet.
#[utoipa::path(
    post, path = "/v1/admin/tenants", tag = "admin", operation_id = "adminCreateTenant",
    request_body = TenantBody,
    responses((status = 201, description = "The tenant", body = TenantView,
            headers(("Location" = String, description = "The tenant"))),
        Exists, InvalidParams, Problems)
)]
async fn create_tenant(
    State(app): State<App>,
    operator: Operator,
    StrictJson(body): StrictJson<TenantBody>,
) -> Result<Response, ApiError> {
    tenants::create(app.queue(), &body.tenant, &body.name).await?;
    told(&operator, &format!("made tenant {}", body.tenant));
    let view = tenants::one(app.queue(), &body.tenant).await?;
    let location = format!("/v1/admin/tenants/{}", body.tenant);
    Ok((StatusCode::CREATED, [(LOCATION, location)], Json(view)).into_response())
}

/// Read a tenant.
///
/// With its quotas.
#[utoipa::path(
    get, path = "/v1/admin/tenants/{tenant}", tag = "admin", operation_id = "adminReadTenant",
    params(("tenant" = String, Path, description = "Its id")),
    responses((status = 200, description = "The tenant", body = TenantView), Problems)
)]
async fn read_tenant(
    State(app): State<App>,
    _: Operator,
    Named(tenant): Named<TenantId>,
) -> Result<Json<TenantView>, ApiError> {
    Ok(Json(tenants::one(app.queue(), &tenant).await?))
}

/// Quotas before and after.
#[derive(Serialize, ToSchema)]
struct QuotasChanged {
    #[schema(value_type = String)]
    tenant: TenantId,
    #[schema(value_type = Object)]
    old: Value,
    #[schema(value_type = Object)]
    new: Value,
    /// Whether the tenant was there: made, with jobs or with settings. If not, it is now, and waits for its first
    /// job or for who makes it; or its name was misspelt.
    known: bool,
}

/// Change a tenant's quotas.
///
/// Only those that are named change, at once; `null` is the default. A tenant that nobody has made may get its
/// quotas beforehand: the answer's `known` is false then. `queued_max`, `running_max`,
/// `submits_per_minute`, `submits_per_day`, `render_s_per_day`, `weight`, `quality_max`,
/// `timeout_s_max`, `source_bytes_max`, `code`.
#[utoipa::path(
    patch, path = "/v1/admin/tenants/{tenant}", tag = "admin", operation_id = "adminChangeTenant",
    params(("tenant" = String, Path, description = "Its id; need not have been made")),
    request_body(content = Object, content_type = "application/json"),
    responses((status = 200, description = "All its quotas", body = QuotasChanged), InvalidParams, Problems)
)]
async fn change_tenant(
    State(app): State<App>,
    operator: Operator,
    Named(tenant): Named<TenantId>,
    StrictJson(change): StrictJson<Map<String, Value>>,
) -> Result<Json<QuotasChanged>, ApiError> {
    let merge = |old: &Quotas| {
        let Value::Object(mut all) = json!(old) else {
            return Err("they cannot be read".to_owned());
        };
        all.extend(change);
        all.retain(|_, value| !value.is_null());
        serde_json::from_value(Value::Object(all)).map_err(|error| error.to_string())
    };
    let changed = tenants::change(app.queue(), &tenant, merge).await?;
    told(&operator, &format!("changed the quotas of {tenant}"));
    Ok(Json(QuotasChanged {
        tenant,
        old: tenants::quotas_json(&changed.old),
        new: tenants::quotas_json(&changed.new),
        known: changed.known,
    }))
}

/// How to delete.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct DeleteQuery {
    /// Only count what would go.
    #[serde(default)]
    dry_run: bool,
}

/// Delete a tenant.
///
/// It is disabled, what waits and runs is cancelled, then its jobs, their files, its webhooks, settings
/// and keys go, for good. That takes some seconds, at most one minute; where renders have not stopped by
/// then, `complete` is false, and the same again goes on.
#[utoipa::path(
    delete, path = "/v1/admin/tenants/{tenant}", tag = "admin", operation_id = "adminDeleteTenant",
    params(("tenant" = String, Path, description = "Its id"), DeleteQuery),
    responses((status = 200, description = "What went, or would go", body = DeletionReport), Problems)
)]
async fn delete_tenant(
    State(app): State<App>,
    operator: Operator,
    Named(tenant): Named<TenantId>,
    Query(query): Query<DeleteQuery>,
) -> Result<Json<DeletionReport>, ApiError> {
    // A client that goes away does not leave it half done.
    let work = tokio::spawn(async move {
        let files_of = app.clone();
        let remove = move |leaves: Leaves| {
            let app = files_of.clone();
            async move {
                let files = erase::remove_files(&app, &leaves, false).await;
                files.iter().filter(|file| file.deleted).count() as u64
            }
            .boxed()
        };
        let mut report =
            tenants::delete::delete(app.queue(), &tenant, query.dry_run, &remove).await?;
        if report.complete {
            match remove_assets(&app, &tenant).await {
                Ok(files) => report.files_removed += files,
                Err(error) => {
                    tracing::warn!(tenant.id = %tenant, error, "files that came with jobs of the deleted tenant {tenant} could not all be removed; they are swept when they are old enough (--asset-age)");
                }
            }
        }
        Ok::<_, Refusal>(report)
    });
    let report = work.await.map_err(|error| {
        ApiError::new(Kind::Internal, "the request met a fault of manimq").because(error)
    })??;
    if !report.dry_run {
        let what = if report.complete {
            "deleted"
        } else {
            "began to delete"
        };
        told(&operator, &format!("{what} tenant {}", report.tenant));
    }
    Ok(Json(report))
}

/// Removes the files that came with a deleted tenant's jobs, and what is noted of them; how many there were.
async fn remove_assets(app: &App, tenant: &TenantId) -> Result<u64, String> {
    let files = app.store().delete_assets(tenant).await;
    let files = files.map_err(|error| error.to_string())?;
    let mut command = redis::cmd("HDEL");
    command
        .arg(app.queue().keys().asset_bytes())
        .arg(tenant.as_str());
    let gone: Result<i64, _> = app.queue().query(&command).await;
    gone.map(|_| files).map_err(|error| error.to_string())
}

/// What became of a tenant.
#[derive(Serialize, ToSchema)]
struct TenantAble {
    #[schema(value_type = String)]
    tenant: TenantId,
    /// Whether it is disabled now.
    disabled: bool,
    /// Whether that is new.
    changed: bool,
}

async fn set_able(
    app: &App,
    operator: &Operator,
    tenant: TenantId,
    able: bool,
) -> Result<Json<TenantAble>, ApiError> {
    let changed = tenants::set_able(app.queue(), &tenant, able).await?;
    let done = if able { "enabled" } else { "disabled" };
    told(operator, &format!("{done} tenant {tenant}"));
    Ok(Json(TenantAble {
        tenant,
        disabled: !able,
        changed,
    }))
}

/// Disable a tenant.
///
/// Its keys get 403 within seconds, waiting jobs stay and do not start, what runs goes on.
#[utoipa::path(
    post, path = "/v1/admin/tenants/{tenant}/disable", tag = "admin", operation_id = "adminDisableTenant",
    params(("tenant" = String, Path, description = "Its id")),
    responses((status = 200, description = "Done", body = TenantAble), Problems)
)]
async fn disable_tenant(
    State(app): State<App>,
    operator: Operator,
    Named(tenant): Named<TenantId>,
) -> Result<Json<TenantAble>, ApiError> {
    set_able(&app, &operator, tenant, false).await
}

/// Enable a tenant.
///
/// Its jobs go on, unless they had been paused before it was disabled.
#[utoipa::path(
    post, path = "/v1/admin/tenants/{tenant}/enable", tag = "admin", operation_id = "adminEnableTenant",
    params(("tenant" = String, Path, description = "Its id")),
    responses((status = 200, description = "Done", body = TenantAble), Problems)
)]
async fn enable_tenant(
    State(app): State<App>,
    operator: Operator,
    Named(tenant): Named<TenantId>,
) -> Result<Json<TenantAble>, ApiError> {
    set_able(&app, &operator, tenant, true).await
}

/// Whose keys.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct KeysQuery {
    /// Whose; without it, everybody's.
    #[param(value_type = Option<String>, pattern = "^[a-z0-9][a-z0-9_-]{0,63}$")]
    tenant: Option<TenantId>,
}

/// Keys.
#[derive(Serialize, ToSchema)]
struct Keys {
    keys: Vec<KeyView>,
}

/// List keys.
///
/// Without their secrets; those that are revoked or expired for 30 days.
#[utoipa::path(
    get, path = "/v1/admin/keys", tag = "admin", operation_id = "adminListKeys",
    params(KeysQuery),
    responses((status = 200, description = "They", body = Keys), Problems)
)]
async fn list_keys(
    State(app): State<App>,
    _: Operator,
    Query(query): Query<KeysQuery>,
) -> Result<Json<Keys>, ApiError> {
    let keys = keys::list(app.queue(), query.tenant.as_ref()).await?;
    Ok(Json(Keys { keys }))
}

/// A key to be made.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct KeyBody {
    /// Whose; it must have been made.
    #[schema(value_type = String, pattern = "^[a-z0-9][a-z0-9_-]{0,63}$")]
    tenant: TenantId,
    /// What to call it, up to 80 characters.
    #[serde(default)]
    name: String,
    /// What it may be used for: `render`, `code`, `admin`. Without it: `render` and `code`.
    scopes: Option<Vec<Scope>>,
    /// After how many seconds it stops working. Without it: never.
    #[schema(minimum = 1)]
    expires_in_s: Option<u64>,
}

fn life(seconds: Option<u64>) -> Result<Option<Duration>, ApiError> {
    let life = seconds.map(Duration::from_secs);
    if life == Some(Duration::ZERO) {
        return Err(ApiError::invalid_field(
            "/expires_in_s",
            "a key that has ended already is none; leave it out for one that never ends",
        ));
    }
    life.map_or(Ok(()), keys::check_life)?;
    Ok(life)
}

/// A whole key is nothing to keep, on its way or in a cache.
fn made(view: MadeKeyView) -> Response {
    let no_store = [(CACHE_CONTROL, HeaderValue::from_static("no-store"))];
    (StatusCode::CREATED, no_store, Json(view)).into_response()
}

/// Make a key.
///
/// The answer is the only place where it is ever shown whole.
#[utoipa::path(
    post, path = "/v1/admin/keys", tag = "admin", operation_id = "adminCreateKey",
    request_body = KeyBody,
    responses((status = 201, description = "The key", body = MadeKeyView), Conflict, InvalidParams, Problems)
)]
async fn create_key(
    State(app): State<App>,
    operator: Operator,
    StrictJson(body): StrictJson<KeyBody>,
) -> Result<Response, ApiError> {
    let scopes = body
        .scopes
        .map_or(Scopes::USUAL, |scopes| Scopes::of(&scopes));
    if scopes == Scopes::of(&[]) {
        return Err(ApiError::invalid_field(
            "/scopes",
            "a key without a scope opens nothing; name some of render, code and admin",
        ));
    }
    let new = NewKey {
        tenant: body.tenant,
        name: body.name,
        scopes,
        life: life(body.expires_in_s)?,
    };
    let view = keys::create(app.queue(), &new).await?;
    told(
        &operator,
        &format!("made key {} of {}", view.record.id, new.tenant),
    );
    Ok(made(view))
}

/// How a key is rotated.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct RotateBody {
    /// For how many seconds both keys work; a day if nothing is said.
    overlap_s: Option<u64>,
    /// After how many seconds the new one stops working. Without it: as long as the old one was made for.
    #[schema(minimum = 1)]
    expires_in_s: Option<u64>,
}

/// Rotate a key.
///
/// Makes a second key of the same tenant, name and scopes; the old one stops after the overlap, or
/// when it would have stopped anyway.
#[utoipa::path(
    post, path = "/v1/admin/keys/{id}/rotate", tag = "admin", operation_id = "adminRotateKey",
    params(("id" = String, Path, description = "The old key's id")),
    request_body = RotateBody,
    responses((status = 201, description = "The new key", body = MadeKeyView), Conflict, InvalidParams, Problems)
)]
async fn rotate_key(
    State(app): State<App>,
    operator: Operator,
    Named(id): Named<KeyId>,
    StrictJson(body): StrictJson<RotateBody>,
) -> Result<Response, ApiError> {
    let overlap = body.overlap_s.map_or(keys::OVERLAP, Duration::from_secs);
    keys::check_life(overlap)?;
    let view = keys::rotate(app.queue(), id, overlap, life(body.expires_in_s)?).await?;
    told(
        &operator,
        &format!("rotated key {id} to {}", view.record.id),
    );
    Ok(made(view))
}

/// What became of a key.
#[derive(Serialize, ToSchema)]
struct KeyRevoked {
    #[schema(value_type = String)]
    id: KeyId,
    /// Whether it was not revoked before.
    changed: bool,
}

/// Revoke a key.
///
/// Every API process refuses it within 3 s, and ends its open streams within 8 s.
#[utoipa::path(
    post, path = "/v1/admin/keys/{id}/revoke", tag = "admin", operation_id = "adminRevokeKey",
    params(("id" = String, Path, description = "Its id")),
    responses((status = 200, description = "Done", body = KeyRevoked), Problems)
)]
async fn revoke_key(
    State(app): State<App>,
    operator: Operator,
    Named(id): Named<KeyId>,
) -> Result<Json<KeyRevoked>, ApiError> {
    let changed = keys::revoke(app.queue(), id).await?;
    told(&operator, &format!("revoked key {id}"));
    Ok(Json(KeyRevoked { id, changed }))
}

/// Which dead letters.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct DeadQuery {
    /// Only this tenant's.
    #[param(value_type = Option<String>, pattern = "^[a-z0-9][a-z0-9_-]{0,63}$")]
    tenant: Option<TenantId>,
    /// Only of this class: `lost_worker`, `sandbox_unavailable`, `storage`, `internal`.
    class: Option<FailureClass>,
    /// Only that died since then: a time, or how long ago, such as `2h`.
    since: Option<String>,
    /// Most of them (up to 10,000; 100 if nothing is said).
    #[param(minimum = 1, maximum = 10_000)]
    limit: Option<u32>,
}

fn wanted(
    tenant: Option<TenantId>,
    class: Option<FailureClass>,
    since: Option<&str>,
    most: Option<u32>,
) -> Result<dead::Wanted, ApiError> {
    let since = since.map(dead::since).transpose();
    Ok(dead::Wanted {
        tenant,
        filter: DeadFilter {
            class,
            since: since.map_err(|problem| ApiError::invalid_field("/since", problem))?,
            until: None,
        },
        limit: limit(most, DEAD_MAX)?,
    })
}

/// List dead letters.
///
/// Jobs that failed for good by no fault of their author, oldest first within each tenant.
#[utoipa::path(
    get, path = "/v1/admin/dead", tag = "admin", operation_id = "adminListDead",
    params(DeadQuery),
    responses((status = 200, description = "They", body = DeadPage), InvalidParams, Problems)
)]
async fn list_dead(
    State(app): State<App>,
    _: Operator,
    Query(query): Query<DeadQuery>,
) -> Result<Json<DeadPage>, ApiError> {
    let wanted = wanted(
        query.tenant,
        query.class,
        query.since.as_deref(),
        query.limit,
    )?;
    Ok(Json(
        app.redis("dead", dead::page(app.queue(), &wanted)).await?,
    ))
}

/// Which dead letters are run again.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct RedriveBody {
    /// Only this tenant's.
    #[schema(value_type = Option<String>, pattern = "^[a-z0-9][a-z0-9_-]{0,63}$")]
    tenant: Option<TenantId>,
    /// Only of this class.
    class: Option<FailureClass>,
    /// Only that died since then: a time, or how long ago, such as `2h`.
    since: Option<String>,
    /// Most of them (up to 10,000; 100 if nothing is said).
    #[schema(minimum = 1, maximum = 10_000)]
    limit: Option<u32>,
    /// Only say which.
    #[serde(default)]
    dry_run: bool,
}

/// Run dead letters again.
///
/// Each as a new job, once; the new ones count against their tenant's quotas, and what is refused
/// stays.
#[utoipa::path(
    post, path = "/v1/admin/dead/redrive", tag = "admin", operation_id = "adminRedriveDead",
    request_body = RedriveBody,
    responses((status = 200, description = "What became of each", body = RedriveReport), InvalidParams, Problems)
)]
async fn redrive_dead(
    State(app): State<App>,
    operator: Operator,
    StrictJson(body): StrictJson<RedriveBody>,
) -> Result<Json<RedriveReport>, ApiError> {
    let wanted = wanted(body.tenant, body.class, body.since.as_deref(), body.limit)?;
    let rerun = dead::rerun(app.queue(), &wanted, body.dry_run);
    let report = app.redis("redrive", rerun).await?;
    if !body.dry_run {
        told(
            &operator,
            &format!("redrove {}", plural(report.accepted, "dead letter")),
        );
    }
    Ok(Json(report))
}

/// Ids of jobs, for the document.
fn job_ids() -> Array {
    let id = ObjectBuilder::new()
        .schema_type(Type::String)
        .pattern(Some("^job_[0-9a-f]{32}$"));
    ArrayBuilder::new()
        .items(id)
        .description(Some("Their ids, up to 10,000."))
        .build()
}

/// Which dead letters go off the list.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct DiscardBody {
    /// Whose.
    #[schema(value_type = String, pattern = "^[a-z0-9][a-z0-9_-]{0,63}$")]
    tenant: TenantId,
    /// Their ids, up to 10,000.
    #[serde(default)]
    #[schema(schema_with = job_ids)]
    jobs: Vec<JobId>,
    /// All of this tenant's, in place of `jobs`; at most 10,000 a call.
    #[serde(default)]
    all: bool,
}

/// Discard dead letters.
///
/// They go off the list; the jobs' records stay until their retention ends.
#[utoipa::path(
    post, path = "/v1/admin/dead/discard", tag = "admin", operation_id = "adminDiscardDead",
    request_body = DiscardBody,
    responses((status = 200, description = "How many", body = DiscardReport), InvalidParams, Problems)
)]
async fn discard_dead(
    State(app): State<App>,
    operator: Operator,
    StrictJson(body): StrictJson<DiscardBody>,
) -> Result<Json<DiscardReport>, ApiError> {
    let ids = match (body.jobs.len(), body.all) {
        (1..=10_000, false) => Some(body.jobs),
        (0, true) => None,
        _ => {
            return Err(ApiError::invalid_field(
                "/jobs",
                "name 1 to 10,000 jobs, or set \"all\" to true; not both and not neither",
            ));
        }
    };
    let strike = dead::strike(app.queue(), &body.tenant, ids);
    let report = app.redis("discard", strike).await?;
    told(
        &operator,
        &format!(
            "discarded {} of {}",
            plural(report.discarded, "dead letter"),
            body.tenant
        ),
    );
    Ok(Json(report))
}

/// An error beside the usual ones, for the document.
macro_rules! refusals {
    ($($name:ident = $status:literal, $text:literal;)+) => {$(
        struct $name;

        impl IntoResponses for $name {
            fn responses() -> BTreeMap<String, RefOr<Answer>> {
                [($status.to_owned(), problem_answer($text))].into()
            }
        }
    )+};
}

refusals! {
    InvalidParams = "422", "A value is wrong (`invalid-params`)";
    Exists = "409", "It exists already (`exists`)";
    Conflict = "409", "Not possible as things are (`conflict`)";
}
