//! `POST /v1/jobs/{id}/rerun`: the same scene once more, perhaps with another output.

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use manimq_shared::api::{JobView, RerunRequest};
use manimq_shared::job::JobPayload;

use super::extract::{JobPath, Member, PerhapsJson};
use super::openapi::Problems;
use super::problem::ApiError;
use super::{App, admit, assets, check, jobs};

/// Run a job again.
///
/// A new job with the same input, whose `parent` it is; the body says what shall be different, and may be empty. Any
/// job may be run again, whether it has ended or not. An unchanged rerun of a job that has succeeded is answered by its
/// result, unless `cache` is `refresh`. The new job counts against the quotas.
#[utoipa::path(
    post, path = "/v1/jobs/{id}/rerun", tag = "jobs", operation_id = "rerunJob",
    request_body(content = Option<RerunRequest>, content_type = "application/json"),
    params(("id" = String, Path, description = "The job's id"),
        ("Idempotency-Key" = Option<String>, Header, max_length = 66, pattern = r#"^("[!#-\[\]-~]{1,64}"|[!#-\[\]-~]{1,64})$"#, description = "Makes repeating safe: 1 to 64 visible characters, bare or as a quoted string"),
        ("Prefer" = Option<String>, Header, description = "`wait=N`: answer when the job has ended, after N (at most 60) seconds at the latest")),
    responses(
        (status = 200, description = "It has ended within the time of `Prefer: wait`", body = JobView),
        (status = 202, description = "The new job", body = JobView,
            headers(("Location" = String, description = "The new job"), ("ETag" = String, description = "Its revision"))),
        (status = 403, description = "The tenant's quotas do not allow such a job (`not-allowed`), or the key's scopes do not (`capability-missing`)", body = manimq_shared::api::Problem, content_type = "application/problem+json"),
        (status = 412, description = "`cache` is `only` and there is no earlier result (`not-cached`)", body = manimq_shared::api::Problem, content_type = "application/problem+json"),
        (status = 413, description = "The body is too large", body = manimq_shared::api::Problem, content_type = "application/problem+json"),
        (status = 415, description = "Not `application/json`", body = manimq_shared::api::Problem, content_type = "application/problem+json"),
        (status = 422, description = "A value is wrong, or the key was used before", body = manimq_shared::api::Problem, content_type = "application/problem+json"),
        Problems
    )
)]
pub(super) async fn rerun(
    State(app): State<App>,
    Member(caller): Member,
    JobPath(id): JobPath,
    headers: HeaderMap,
    PerhapsJson(change): PerhapsJson<RerunRequest>,
) -> Result<Response, ApiError> {
    let tenant = caller.tenant.clone();
    let earlier = jobs::load(&app, &tenant, id).await?;
    let mut request = earlier.payload.request;
    if let Some(output) = &change.output {
        output.apply(&mut request.output);
    }
    request.lane = change.lane.unwrap_or(request.lane);
    request.timeout_s = change.timeout_s.unwrap_or(request.timeout_s);
    request.deadline_s = change.deadline_s.or(request.deadline_s);
    request.cache = change.cache.unwrap_or(request.cache);
    request.tags = change.tags.unwrap_or(request.tags);
    request.metadata = change.metadata.unwrap_or(request.metadata);
    // Keys that clients send have no space, so the same key may serve for another route.
    let key = jobs::idempotency_key(&headers)?;
    let idempotency = key.map(|key| (format!("rerun {id} {key}"), jobs::fingerprint(&request)));
    let resolved = match (earlier.payload.template, earlier.payload.planned) {
        // What was understood then, not what would be now.
        (Some(template), Some(params)) => {
            check::values(&request)?;
            Some(check::planned(&template.id, params)?)
        }
        _ => check::request(&app, &caller, &mut request).await?,
    };
    assets::secure(&app, &tenant, &request, Vec::new()).await?;
    let payload = JobPayload {
        parent: Some(id),
        traceparent: jobs::traceparent(&headers),
        ..check::payload(request, resolved)
    };
    let job = admit::new_job(&tenant, payload, idempotency);
    jobs::submitted(&app, &tenant, job, &headers).await
}
