//! Files that come with jobs: kept when a job is submitted, handed to the worker that holds its
//! lease.

use std::collections::{BTreeMap, BTreeSet};

use axum::Json;
use axum::body::Body;
use axum::extract::{RawPathParams, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use axum::response::{IntoResponse as _, Response};
use manimq_shared::api::{AssetGrant, AssetGrants, AssetRequest};
use manimq_shared::ids::TenantId;
use manimq_shared::job::{FieldError, JobFile, JobRequest};
use manimq_shared::storage::{ASSET_PREFIX, AssetKey};
use serde::Deserialize;

use super::App;
use super::extract::{Query, StrictJson};
use super::files::{measure, refused};
use super::problem::{ApiError, Kind};
use super::uploads::{for_worker, require_lease};
use crate::storage::{Spooled, now_s, room_of, use_assets};

/// Makes sure that all files of a job are there for as long as it may need them: keeps what was
/// sent with it, and looks for what it only names. To be called before it is queued.
pub(super) async fn secure(
    app: &App,
    tenant: &TenantId,
    request: &JobRequest,
    contents: Vec<Spooled>,
) -> Result<(), ApiError> {
    let files = request.input.files();
    if files.is_empty() {
        return Ok(());
    }
    let limits = app.limits().assets;
    let total = files
        .iter()
        .map(|file| file.bytes)
        .fold(0, u64::saturating_add);
    if total > limits.job_bytes {
        return Err(ApiError::new(
            Kind::TooLarge,
            format!(
                "the files have {total} bytes in all; {} may come with one job",
                limits.job_bytes
            ),
        ));
    }
    let keys: Vec<AssetKey> = files.iter().filter_map(|file| key(tenant, file)).collect();
    let secured = keep_and_look(app, tenant, files, &keys, contents).await;
    if secured.is_err() {
        forget_absent(app, tenant, &keys).await;
    }
    secured
}

/// Forgets that files were used which are not there: of a refused job nothing shall stay in Redis.
async fn forget_absent(app: &App, tenant: &TenantId, keys: &[AssetKey]) {
    let mut command = redis::cmd("ZREM");
    command.arg(app.queue().keys().assets(tenant));
    let mut absent = 0;
    for key in keys.iter().collect::<BTreeSet<_>>() {
        if matches!(app.store().asset_bytes(key).await, Ok(None)) {
            command.arg(key.sha256());
            absent += 1;
        }
    }
    if absent > 0 {
        // What stays is forgotten later, with the tenant's notes as a whole.
        let _ = app
            .redis("use_assets", app.queue().query::<()>(&command))
            .await;
    }
}

async fn keep_and_look(
    app: &App,
    tenant: &TenantId,
    files: &[JobFile],
    keys: &[AssetKey],
    contents: Vec<Spooled>,
) -> Result<(), ApiError> {
    let free = app
        .redis(
            "use_assets",
            use_assets(app.queue(), tenant, keys.iter(), app.limits().asset_age),
        )
        .await?;
    if !free {
        return Err(ApiError::new(
            Kind::StorageUnavailable,
            "one of the files is being removed at this moment; submit again",
        )
        .retry_after(5));
    }
    for content in contents {
        keep(app, tenant, content).await?;
    }
    let mut errors = Vec::new();
    let mut seen: BTreeMap<&AssetKey, Option<u64>> = BTreeMap::new();
    for (i, (file, key)) in files.iter().zip(keys).enumerate() {
        let stored = match seen.get(key) {
            Some(stored) => *stored,
            None => {
                let stored = app.store().asset_bytes(key).await?;
                seen.insert(key, stored);
                stored
            }
        };
        let detail = match stored {
            Some(bytes) if bytes == file.bytes => continue,
            Some(bytes) => format!("the file with this SHA-256 has {bytes} bytes"),
            None => "no file with this SHA-256 was sent before: send it with the job, as a part `files` of a form".to_owned(),
        };
        errors.push(FieldError {
            pointer: format!("/input/files/{i}"),
            detail,
        });
    }
    if errors.is_empty() {
        Ok(())
    } else {
        Err(ApiError::invalid(errors))
    }
}

fn key(tenant: &TenantId, file: &JobFile) -> Option<AssetKey> {
    AssetKey::new(tenant.clone(), &file.sha256)
}

/// Keeps one content, if the tenant has room for it.
async fn keep(app: &App, tenant: &TenantId, content: Spooled) -> Result<(), ApiError> {
    let bytes = content.bytes;
    let limit = app.limits().asset_tenant_bytes;
    let mut command = redis::cmd("HINCRBY");
    command
        .arg(app.queue().keys().asset_bytes())
        .arg(tenant.as_str());
    let add = |by: i64| {
        let mut command = command.clone();
        command.arg(by);
        async move {
            let total = app.queue().query::<i64>(&command);
            app.redis("asset_bytes", total).await
        }
    };
    let by = i64::try_from(room_of(bytes)).unwrap_or(i64::MAX);
    let total = add(by).await?;
    let kept = if u64::try_from(total).unwrap_or(0) > limit {
        // What is there already takes no room.
        let key = AssetKey::new(tenant.clone(), &content.sha256);
        let there = match &key {
            Some(key) => app.store().asset_bytes(key).await,
            None => Ok(None),
        };
        let there = matches!(there, Ok(Some(stored)) if stored == bytes);
        if there {
            Ok(false)
        } else {
            Err(ApiError::new(
                Kind::QuotaExceeded,
                format!(
                    "this tenant's files would take {total} bytes; {limit} are allowed, and files that no job uses any more go after a while"
                ),
            )
            .with_policy("file_bytes")
            .retry_after(3600))
        }
    } else {
        app.store()
            .keep_asset(tenant, content)
            .await
            .map_err(ApiError::from)
    };
    if !matches!(kept, Ok(true)) {
        add(-by).await?;
    }
    if matches!(kept, Ok(true)) {
        app.metrics()
            .storage_bytes
            .with_label_values(&["in"])
            .inc_by(bytes);
    }
    kept.map(|_| ())
}

/// `POST /internal/v1/assets`: where the files of a job are, for the worker that holds its lease.
pub(super) async fn grant(
    State(app): State<App>,
    StrictJson(request): StrictJson<AssetRequest>,
) -> Result<Json<AssetGrants>, ApiError> {
    let start = std::time::Instant::now();
    let result = grants(&app, &request).await;
    measure(&app, "grant", start, &result);
    result.map(Json)
}

async fn grants(app: &App, request: &AssetRequest) -> Result<AssetGrants, ApiError> {
    require_lease(app, request.job, request.epoch, &request.lease_token).await?;
    let record = app
        .redis("read", app.queue().read(request.job))
        .await?
        .ok_or_else(|| ApiError::new(Kind::NotFound, "there is no such job"))?;
    let files = record.payload.request.input.files();
    let mut grants = Vec::with_capacity(files.len());
    for file in files {
        let key = key(&record.tenant, file)
            .ok_or_else(|| ApiError::new(Kind::Internal, "a file of this job has no hash"))?;
        grants.push(AssetGrant {
            sha256: file.sha256.clone(),
            url: for_worker(app, app.store().asset_url(&key).await?),
        });
    }
    Ok(AssetGrants { grants })
}

/// The query of a URL by which a worker reads a file.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AssetQuery {
    expires: u64,
    signature: String,
}

/// `GET /storage/manim_assets/{tenant}/{sha256}`: one file, for a worker.
pub(super) async fn get(
    State(app): State<App>,
    params: RawPathParams,
    Query(query): Query<AssetQuery>,
) -> Result<Response, ApiError> {
    let param = |name: &str| {
        let found = params.iter().find(|(key, _)| *key == name);
        found.map_or("", |(_, value)| value)
    };
    let key: AssetKey = format!("{ASSET_PREFIX}/{}/{}", param("tenant"), param("sha256"))
        .parse()
        .map_err(|_| ApiError::new(Kind::NotFound, "there is no file of that name"))?;
    app.store()
        .signer()
        .check_asset(&key, query.expires, &query.signature, now_s())
        .map_err(refused)?;
    let (bytes, content) = app.store().asset(&key).await?;
    // Whatever it is, no browser shall make anything of it.
    let headers = [
        (CONTENT_TYPE, "application/octet-stream".to_owned()),
        (CONTENT_LENGTH, bytes.to_string()),
        (X_CONTENT_TYPE_OPTIONS, "nosniff".to_owned()),
        (CACHE_CONTROL, "no-store".to_owned()),
    ];
    Ok((headers, Body::from_stream(content)).into_response())
}
