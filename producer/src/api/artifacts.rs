//! `GET /v1/jobs/{id}/artifacts/{name}`: a lasting address of a result, which leads to a fresh
//! signed one.

use axum::Json;
use axum::extract::{RawPathParams, State};
use axum::http::header::{CACHE_CONTROL, LOCATION};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse as _, Response};
use manimq_shared::api::ArtifactList;
use manimq_shared::job::Status;

use super::extract::{JobPath, Tenant};
use super::openapi::Problems;
use super::problem::{ApiError, Kind};
use super::{App, jobs, view};

/// List the files of a result.
///
/// Each with a fresh signed URL. Empty until the job has succeeded.
#[utoipa::path(
    get, path = "/v1/jobs/{id}/artifacts", tag = "jobs", operation_id = "listArtifacts",
    params(("id" = String, Path, description = "The job's id")),
    responses(
        (status = 200, description = "The files", body = ArtifactList),
        Problems
    )
)]
pub(super) async fn list(
    State(app): State<App>,
    Tenant(tenant): Tenant,
    JobPath(id): JobPath,
) -> Result<Response, ApiError> {
    let record = jobs::load(&app, &tenant, id).await?;
    let artifacts = view::artifacts(&app, &record);
    let headers = [(CACHE_CONTROL, "private, no-store")];
    Ok((headers, Json(ArtifactList { artifacts })).into_response())
}

/// Get a file of a result.
///
/// Leads to a signed URL, valid for about an hour, which takes range requests.
#[utoipa::path(
    get, path = "/v1/jobs/{id}/artifacts/{name}", tag = "jobs", operation_id = "getArtifact",
    params(("id" = String, Path, description = "The job's id"),
        ("name" = String, Path, description = "The artifact's name, such as `video.mp4`")),
    responses(
        (status = 302, description = "The file is at `Location`", headers(("Location" = String, description = "A signed URL"))),
        (status = 409, description = "The job has not finished", body = manimq_shared::api::Problem, content_type = "application/problem+json"),
        Problems
    )
)]
pub(super) async fn redirect(
    State(app): State<App>,
    Tenant(tenant): Tenant,
    JobPath(id): JobPath,
    params: RawPathParams,
) -> Result<Response, ApiError> {
    let name = params
        .iter()
        .find(|(key, _)| *key == "name")
        .map_or("", |(_, value)| value);
    let record = jobs::load(&app, &tenant, id).await?;
    match record.status {
        Status::Succeeded => {}
        Status::Queued | Status::Running => {
            return Err(ApiError::new(
                Kind::NotFinished,
                format!(
                    "{id} is {}; its files are there when it has succeeded",
                    record.status
                ),
            )
            .retry_after(2));
        }
        Status::Failed | Status::Canceled | Status::Expired => {
            return Err(ApiError::new(
                Kind::NotFound,
                format!("{id} has no files: it is {}", record.status),
            ));
        }
    }
    let found = view::published(&record).find(|artifact| artifact.name == name);
    let Some((url, _)) = found.and_then(|artifact| view::url(&app, &record, artifact)) else {
        let names: Vec<&str> = view::published(&record).map(|a| a.name.as_str()).collect();
        let name: String = name.chars().take(80).collect();
        return Err(ApiError::new(
            Kind::NotFound,
            format!("{id} has no file {name:?}; it has {}", names.join(", ")),
        ));
    };
    let location = HeaderValue::from_str(&url).map_err(|error| {
        ApiError::new(Kind::Internal, "the URL of the file is not one").because(error)
    })?;
    Ok((
        StatusCode::FOUND,
        [
            (LOCATION, location),
            (CACHE_CONTROL, HeaderValue::from_static("no-store")),
        ],
    )
        .into_response())
}
