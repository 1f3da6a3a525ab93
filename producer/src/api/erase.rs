//! `DELETE /v1/jobs/{id}`: a job that has ended goes, with its events and files.
//!
//! The record goes first, in one step that says whether another job shows the same files: a submit that is
//! answered by the old result meanwhile is either counted by it or does not find the result. A file that cannot be
//! removed then belongs to no job, and is swept with the other orphans.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::header::CACHE_CONTROL;
use axum::response::{IntoResponse as _, Response};
use manimq_shared::api::{DeletedArtifact, Deletion};
use manimq_shared::ids::{JobId, TenantId};
use manimq_shared::job::{Status, StoredArtifact};
use manimq_shared::queue::{CancelOutcome, Erased, Leaves};
use manimq_shared::storage::ArtifactKey;
use serde::Deserialize;
use tokio::time::Instant;
use utoipa::IntoParams;

use super::extract::{JobPath, Query, Tenant};
use super::openapi::Problems;
use super::problem::{ApiError, Kind};
use super::{App, jobs};

/// Longest wait for a job that is canceled first to end.
const CANCEL_MAX: Duration = Duration::from_secs(25);

/// How to delete.
#[derive(Debug, Clone, Copy, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct DeleteQuery {
    /// Only say what would go.
    #[serde(default)]
    dry_run: bool,
    /// Cancel the job first if it has not ended, and wait until it has.
    #[serde(default)]
    cancel: bool,
}

/// Delete a job.
///
/// Its record, events, log and files go, and its idempotency key is free again. Files that other jobs show, because
/// they asked for the same work, go with the last of these. A job that has not ended is not deleted (409), unless
/// `cancel` is `true`. What was deleted cannot be brought back.
#[utoipa::path(
    delete, path = "/v1/jobs/{id}", tag = "jobs", operation_id = "deleteJob",
    params(("id" = String, Path, description = "The job's id"), DeleteQuery),
    responses(
        (status = 200, description = "What went, or would go", body = Deletion),
        (status = 409, description = "The job has not ended (`not-finished`)", body = manimq_shared::api::Problem, content_type = "application/problem+json"),
        Problems
    )
)]
pub(super) async fn delete(
    State(app): State<App>,
    Tenant(tenant): Tenant,
    JobPath(id): JobPath,
    Query(query): Query<DeleteQuery>,
) -> Result<Response, ApiError> {
    if query.cancel && !query.dry_run {
        cancel_first(&app, &tenant, id).await?;
    }
    let call = app.queue().erase(&tenant, id, query.dry_run);
    let leaves = match app.redis("erase", call).await? {
        Erased::NotFound => return Err(jobs::unknown_job(id)),
        Erased::NotEnded(status) => return Err(not_ended(id, status)),
        Erased::RendersForOthers(others) => {
            return Err(ApiError::new(
                Kind::NotFinished,
                format!(
                    "{id} was canceled, but its render goes on for {others} other of your jobs that asked for the same; delete it when they have ended, or cancel them, too"
                ),
            )
            .retry_after(10));
        }
        Erased::Gone(leaves) => leaves,
    };
    let artifacts = remove_files(&app, &leaves, query.dry_run).await;
    if !query.dry_run {
        tracing::info!(job.id = %id, tenant.id = %tenant, "deleted {id}");
    }
    let body = Deletion {
        id,
        dry_run: query.dry_run,
        artifacts,
        shown_by_others: leaves.shown_by_others,
        events: leaves.events,
    };
    Ok(([(CACHE_CONTROL, "no-store")], Json(body)).into_response())
}

fn not_ended(id: JobId, status: Status) -> ApiError {
    ApiError::new(
        Kind::NotFinished,
        format!(
            "{id} is {status}; only jobs that have ended are deleted. Cancel it first, or delete it with ?cancel=true"
        ),
    )
}

async fn cancel_first(app: &App, tenant: &TenantId, id: JobId) -> Result<(), ApiError> {
    let outcome = app.redis("cancel", app.queue().cancel(tenant, id)).await?;
    let record = jobs::load(app, tenant, id).await?;
    if outcome == CancelOutcome::Canceled {
        jobs::count_canceled(app, &record);
    }
    let end = Instant::now() + CANCEL_MAX;
    let record = jobs::wait_until(app, tenant, record, end, |record| {
        record.status.is_terminal()
    })
    .await?;
    if record.status.is_terminal() {
        return Ok(());
    }
    Err(ApiError::new(
        Kind::NotFinished,
        format!("{id} was canceled but its worker has not stopped it yet; delete it again in some seconds"),
    )
    .retry_after(5))
}

pub(super) async fn remove_files(
    app: &App,
    leaves: &Leaves,
    dry_run: bool,
) -> Vec<DeletedArtifact> {
    let mut deleted = Vec::new();
    let artifacts = leaves.result.iter().flat_map(|result| &result.artifacts);
    for artifact in artifacts {
        let goes = leaves.shown_by_others == 0;
        deleted.push(DeletedArtifact {
            name: artifact.name.clone(),
            bytes: artifact.bytes,
            deleted: goes && (dry_run || remove(app, leaves.rendered_by, artifact).await),
        });
    }
    deleted
}

async fn remove(app: &App, rendered_by: JobId, artifact: &StoredArtifact) -> bool {
    // A worker can make nobody delete another job's files.
    let key = artifact.key.parse::<ArtifactKey>();
    let Some(key) = key.ok().filter(|key| key.job() == rendered_by) else {
        return false;
    };
    match app.store().remove(&key).await {
        Ok(()) => true,
        Err(error) => {
            tracing::warn!(job.id = %rendered_by, %error, "a file of the deleted job {rendered_by} could not be removed");
            false
        }
    }
}
