//! `POST /internal/v1/uploads`: a worker that holds a lease gets leave to store that attempt's
//! files. The lease token is the credential; an API key is neither needed nor enough.

use std::collections::HashSet;
use std::time::Instant;

use axum::Json;
use axum::extract::State;
use manimq_shared::api::{UploadGrant, UploadGrants, UploadRequest};
use manimq_shared::ids::{Epoch, JobId, LeaseToken};
use manimq_shared::job::FieldError;
use manimq_shared::storage::{ArtifactKey, ArtifactName, FILES_MAX, is_sha256};

use super::App;
use super::extract::StrictJson;
use super::problem::{ApiError, Kind};

/// Grants uploads.
pub(super) async fn grant(
    State(app): State<App>,
    StrictJson(request): StrictJson<UploadRequest>,
) -> Result<Json<UploadGrants>, ApiError> {
    let start = Instant::now();
    let result = grants(&app, &request).await;
    super::files::measure(&app, "grant", start, &result);
    result.map(Json)
}

async fn grants(app: &App, request: &UploadRequest) -> Result<UploadGrants, ApiError> {
    let (names, discarded) = check(app, request)?;
    require_lease(app, request.job, request.epoch, &request.lease_token).await?;
    for name in discarded {
        let key = ArtifactKey::new(request.job, request.epoch, name);
        app.store().remove(&key).await?;
    }
    let mut grants = Vec::with_capacity(names.len());
    for (file, name) in request.files.iter().zip(names) {
        let key = ArtifactKey::new(request.job, request.epoch, name);
        let grant = app
            .store()
            .grant(key.clone(), file.bytes, file.sha256.clone())
            .await?;
        grants.push(UploadGrant {
            name: file.name.clone(),
            key: key.to_string(),
            url: for_worker(app, grant.url),
            headers: grant.headers,
            md5: grant.md5,
            check: grant.check,
        });
    }
    Ok(UploadGrants { grants })
}

/// A URL as a worker gets it: what lies at this API is named without a host, unless workers reach
/// it at an address of its own.
pub(super) fn for_worker(app: &App, url: String) -> String {
    match &app.parts().internal_url {
        Some(base) if url.starts_with('/') => format!("{base}{url}"),
        Some(_) | None => url,
    }
}

/// That `job` runs as the attempt with `epoch`, and that the asker holds its lease.
pub(super) async fn require_lease(
    app: &App,
    job: JobId,
    epoch: Epoch,
    token: &LeaseToken,
) -> Result<(), ApiError> {
    let held = app
        .redis("lease_is", app.queue().lease_is(job, epoch, token))
        .await?;
    if held {
        return Ok(());
    }
    Err(ApiError::new(
        Kind::LeaseLost,
        format!(
            "the lease on {job} with epoch {epoch} is not held with this token: another attempt owns the job, or it has ended"
        ),
    ))
}

/// The names of the files to store and of those to remove, if everything about the request is right.
fn check(
    app: &App,
    request: &UploadRequest,
) -> Result<(Vec<ArtifactName>, Vec<ArtifactName>), ApiError> {
    let limits = app.limits();
    let mut errors = Vec::new();
    let mut wrong = |pointer: String, detail: String| errors.push(FieldError { pointer, detail });
    let nothing = request.files.is_empty() && request.discard.is_empty();
    if nothing || request.files.len() > FILES_MAX {
        wrong(
            "/files".into(),
            format!(
                "{} files, 1 to {FILES_MAX} may be stored",
                request.files.len()
            ),
        );
    }
    let mut names = Vec::new();
    let mut seen = HashSet::new();
    let mut total = 0u64;
    let mut mains = 0;
    for (i, file) in request.files.iter().enumerate().take(FILES_MAX) {
        match file.name.parse::<ArtifactName>() {
            Ok(name) => {
                if file.mime != name.mime() {
                    wrong(
                        format!("/files/{i}/mime"),
                        format!("{name} has the type {}", name.mime()),
                    );
                }
                if !seen.insert(file.name.as_str()) {
                    wrong(format!("/files/{i}/name"), format!("{name} is there twice"));
                }
                mains += u32::from(name.is_main());
                names.push(name);
            }
            Err(error) => wrong(format!("/files/{i}/name"), error.to_string()),
        }
        if file.bytes > limits.file_bytes_max {
            wrong(
                format!("/files/{i}/bytes"),
                format!(
                    "{} bytes, a file has at most {}",
                    file.bytes, limits.file_bytes_max
                ),
            );
        }
        if !is_sha256(&file.sha256) {
            wrong(
                format!("/files/{i}/sha256"),
                "not 64 lower-case hex digits".into(),
            );
        }
        total = total.saturating_add(file.bytes);
    }
    if total > limits.job_bytes_max {
        wrong(
            "/files".into(),
            format!(
                "{total} bytes in all, at most {} may be stored",
                limits.job_bytes_max
            ),
        );
    }
    let mut discarded = Vec::new();
    if request.discard.len() > FILES_MAX {
        wrong(
            "/discard".into(),
            format!(
                "{} names, at most {FILES_MAX} may be discarded",
                request.discard.len()
            ),
        );
    }
    for (i, name) in request.discard.iter().enumerate().take(FILES_MAX) {
        match name.parse::<ArtifactName>() {
            Ok(name) => discarded.push(name),
            Err(error) => wrong(format!("/discard/{i}"), format!("{error}")),
        }
    }
    if mains > 1 {
        wrong(
            "/files".into(),
            "more than one main file (video.*, image.*)".into(),
        );
    }
    if errors.is_empty() {
        Ok((names, discarded))
    } else {
        Err(ApiError::invalid(errors))
    }
}
