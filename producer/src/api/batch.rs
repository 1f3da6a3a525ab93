//! `POST /v1/jobs/batch`: up to a hundred jobs in one request.

use axum::Json;
use axum::extract::State;
use axum::http::header::CACHE_CONTROL;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use futures_util::{StreamExt as _, stream};
use manimq_shared::api::{BatchAnswer, BatchRequest, BatchResult};
use manimq_shared::ids::TenantId;
use manimq_shared::job::{FieldError, JobPayload, JobRequest};
use manimq_shared::queue::{BATCH_MAX, NewJob};

use super::admit::{self, Admitted};
use super::extract::{Member, StrictJson};
use super::openapi::Problems;
use super::problem::{ApiError, Kind};
use super::{App, assets, check, jobs, usage, view};

/// Sources of one batch that are checked at the same time.
const CHECKS: usize = 2;
/// Files that the jobs of a batch may name: each is looked for.
const BATCH_FILES_MAX: usize = 1024;

/// Submit up to 100 jobs.
///
/// Each is answered for itself, as `POST /v1/jobs` would; the whole is 200 even if some were refused. With
/// `all_or_nothing` either all are accepted, in one step and with the quotas of one moment, or none, and then
/// the answer is the error of the first that was refused, with all refusals in `errors`. An `Idempotency-Key` holds for
/// each job at its place in the list. The body may have 2 MiB in all. No language
/// model is asked about prompts of a batch.
#[utoipa::path(
    post, path = "/v1/jobs/batch", tag = "jobs", operation_id = "submitBatch",
    request_body(content = BatchRequest, content_type = "application/json"),
    params(("Idempotency-Key" = Option<String>, Header, max_length = 66, pattern = r#"^("[!#-\[\]-~]{1,64}"|[!#-\[\]-~]{1,64})$"#, description = "Makes repeating safe: 1 to 64 visible characters, bare or as a quoted string")),
    responses(
        (status = 200, description = "What became of each", body = BatchAnswer),
        (status = 403, description = "`all_or_nothing`: the tenant's quotas do not allow one of the jobs", body = manimq_shared::api::Problem, content_type = "application/problem+json"),
        (status = 409, description = "`all_or_nothing`: one asks for another version of a template (`template-version-gone`)", body = manimq_shared::api::Problem, content_type = "application/problem+json"),
        (status = 412, description = "`all_or_nothing`: one asks for an earlier result that is not there", body = manimq_shared::api::Problem, content_type = "application/problem+json"),
        (status = 413, description = "The body is too large", body = manimq_shared::api::Problem, content_type = "application/problem+json"),
        (status = 415, description = "Not `application/json`", body = manimq_shared::api::Problem, content_type = "application/problem+json"),
        (status = 422, description = "No jobs or too many; or `all_or_nothing` and one is not valid", body = manimq_shared::api::Problem, content_type = "application/problem+json"),
        Problems
    )
)]
pub(super) async fn submit(
    State(app): State<App>,
    Member(caller): Member,
    headers: HeaderMap,
    StrictJson(body): StrictJson<BatchRequest>,
) -> Result<Response, ApiError> {
    let tenant = caller.tenant.clone();
    let count = body.jobs.len();
    if !(1..=BATCH_MAX).contains(&count) {
        return Err(ApiError::invalid_field(
            "/jobs",
            format!("{count} jobs; a batch has 1 to {BATCH_MAX}"),
        ));
    }
    let files = body.jobs.iter().map(|job| job.input.files().len());
    let files: usize = files.sum();
    if files > BATCH_FILES_MAX {
        return Err(ApiError::invalid_field(
            "/jobs",
            format!("{files} files in all; the jobs of a batch may name {BATCH_FILES_MAX}"),
        ));
    }
    let key = jobs::idempotency_key(&headers)?;
    let traceparent = jobs::traceparent(&headers);
    let prepare = |(n, mut request): (usize, JobRequest)| {
        // A key that a client can send has no space: each place of a batch has a key of its own kind.
        let idempotency = key
            .as_ref()
            .map(|key| (format!("batch {n} {key}"), jobs::fingerprint(&request)));
        let (app, caller, tenant, traceparent) = (&app, &caller, &tenant, traceparent.clone());
        async move {
            // A hundred talks with a language model would take too long for one answer.
            let resolved = check::request(app, caller, &mut request, false).await?;
            assets::secure(app, tenant, &request, Vec::new()).await?;
            let payload = JobPayload {
                traceparent,
                ..check::payload(request, resolved)
            };
            Ok(admit::new_job(tenant, payload, idempotency))
        }
    };
    let checked: Vec<Result<NewJob, ApiError>> = stream::iter(body.jobs.into_iter().enumerate())
        .map(prepare)
        .buffered(CHECKS)
        .collect()
        .await;
    let outcomes = enqueue(&app, &tenant, checked, body.all_or_nothing).await?;
    answer(&app, &tenant, outcomes).await
}

type Outcome = Result<(Admitted, JobPayload), ApiError>;

/// What becomes of each.
async fn enqueue(
    app: &App,
    tenant: &TenantId,
    checked: Vec<Result<NewJob, ApiError>>,
    together: bool,
) -> Result<Vec<Outcome>, ApiError> {
    if together && checked.iter().any(Result::is_err) {
        let refusals = checked.into_iter().map(Result::err);
        return Err(none(refusals.collect()));
    }
    let valid: Vec<NewJob> = checked.iter().flatten().cloned().collect();
    let replies = if valid.is_empty() {
        Vec::new()
    } else if together {
        let call = app.queue().enqueue_all_or_none(tenant, &valid);
        app.redis("enqueue", call).await?
    } else {
        app.redis("enqueue", app.queue().enqueue(tenant, &valid))
            .await?
    };
    let mut replies = replies.into_iter();
    let outcomes: Vec<Outcome> = checked
        .into_iter()
        .map(|job| {
            let job = job?;
            let reply = replies.next().ok_or_else(|| {
                ApiError::new(Kind::Internal, "the queue did not answer for this job")
            })?;
            let admitted = admit::outcome(app, tenant, &job, reply)?;
            Ok((admitted, job.payload))
        })
        .collect();
    if together && outcomes.iter().any(Result::is_err) {
        let refusals = none(outcomes.into_iter().map(Result::err).collect());
        return Err(usage::explain(app, tenant, refusals).await);
    }
    Ok(outcomes)
}

/// The one error for all, made of the refusals: the first of them, and where each is.
fn none(refusals: Vec<Option<ApiError>>) -> ApiError {
    let mut errors = Vec::new();
    let mut first = None;
    for (n, error) in refusals.into_iter().enumerate() {
        let Some(error) = error.filter(|error| error.kind() != Kind::Withheld) else {
            continue;
        };
        let problem = error.problem();
        if problem.errors.is_empty() {
            errors.push(FieldError {
                pointer: format!("/jobs/{n}"),
                detail: problem.detail.clone(),
            });
        }
        errors.extend(problem.errors.iter().map(|wrong| FieldError {
            pointer: format!("/jobs/{n}{}", wrong.pointer),
            detail: wrong.detail.clone(),
        }));
        if first.is_none() {
            let detail = format!(
                "nothing was accepted: job {n} was refused: {}",
                problem.detail
            );
            first = Some(error.with_detail(detail));
        }
    }
    first
        .unwrap_or_else(|| ApiError::new(Kind::Internal, "the batch was refused for no reason"))
        .with_errors(errors)
}

async fn answer(
    app: &App,
    tenant: &TenantId,
    outcomes: Vec<Outcome>,
) -> Result<Response, ApiError> {
    let ids: Vec<_> = outcomes
        .iter()
        .filter_map(|outcome| outcome.as_ref().ok())
        .map(|(admitted, _)| admitted.id)
        .collect();
    // They are in the queue: whatever happens now, the client must hear of it.
    let glanced = app.redis("list", app.queue().glance(tenant, &ids)).await;
    let mut glanced = glanced.unwrap_or_default().into_iter();
    let mut results = Vec::with_capacity(outcomes.len());
    for outcome in outcomes {
        results.push(match outcome {
            Ok((admitted, payload)) => {
                let job = match glanced.next().flatten() {
                    Some(job) => view::listed(app, &job),
                    None => {
                        let record = admit::as_accepted(admitted.id, tenant.clone(), payload);
                        view::job(app, &record)
                    }
                };
                BatchResult {
                    status: StatusCode::ACCEPTED.as_u16(),
                    job: Some(job),
                    replayed: admitted.replayed,
                    problem: None,
                }
            }
            Err(error) => BatchResult {
                status: error.kind().status().as_u16(),
                job: None,
                replayed: false,
                problem: Some(error.into_problem()),
            },
        });
    }
    let accepted = results.iter().filter(|result| result.job.is_some()).count();
    let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    let body = BatchAnswer {
        accepted: count(accepted),
        refused: count(results.len() - accepted),
        results,
    };
    let usage = app.redis("usage", app.queue().usage(tenant)).await;
    let limits = usage.map_or_else(|_| HeaderMap::new(), |usage| usage::headers(&usage));
    let cache = [(CACHE_CONTROL, "private, no-store")];
    Ok((cache, limits, Json(body)).into_response())
}
