//! `POST /api/manim/generate`: the call of an earlier prototype, for front ends that use it.
//!
//! A prompt and a quality become a job like any other; what fits no template becomes a card with the prompt's words,
//! since these front ends know no candidates.

use axum::Json;
use axum::extract::State;
use axum::http::header::{CACHE_CONTROL, LOCATION};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse as _, Response};
use manimq_shared::api::JobView;
use manimq_shared::ids::JobId;
use manimq_shared::job::{
    CacheMode, Fallback, JobInput, JobPayload, JobRecord, JobRequest, Lane, OutputSpec, Quality,
    TIMEOUT_S_DEFAULT,
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::extract::{JobPath, Member, StrictJson, Tenant};
use super::openapi::Problems;
use super::problem::ApiError;
use super::{App, admit, check, jobs, view};

/// What to make. Other fields are not looked at.
#[derive(Debug, Deserialize, ToSchema)]
pub(super) struct GenerateRequest {
    /// The sentence, at most 2,000 characters.
    #[schema(
        max_length = 2000,
        example = "Explain the Pythagorean theorem with a triangle"
    )]
    prompt: String,
    /// `low`, `medium` (if nothing is said), `high`, `production` or `4k`; Manim's own names (`low_quality`) too.
    #[serde(default)]
    quality: Option<String>,
}

/// The job object of that call: the usual one, with `jobId`.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct GenerateView {
    /// The job's id.
    #[serde(rename = "jobId")]
    #[schema(value_type = String)]
    job_id: JobId,
    /// The job.
    #[serde(flatten)]
    job: JobView,
}

/// Make a film of a prompt.
///
/// The call of an earlier prototype. Poll `GET /api/manim/jobs/{id}` until `status` is `succeeded` (then `resultUrl` is
/// the film), `failed`, `canceled` or `expired`. New clients use `POST /v1/jobs`.
#[utoipa::path(
    post, path = "/api/manim/generate", tag = "jobs", operation_id = "generate",
    request_body(content = GenerateRequest, content_type = "application/json"),
    params(("Idempotency-Key" = Option<String>, Header, max_length = 66, pattern = r#"^("[!#-\[\]-~]{1,64}"|[!#-\[\]-~]{1,64})$"#, description = "Makes repeating safe: 1 to 64 visible characters, bare or as a quoted string")),
    responses(
        (status = 202, description = "Accepted", body = GenerateView,
            headers(("Location" = String, description = "The job"))),
        (status = 413, description = "The body is too large", body = manimq_shared::api::Problem, content_type = "application/problem+json"),
        (status = 415, description = "Not `application/json`", body = manimq_shared::api::Problem, content_type = "application/problem+json"),
        (status = 422, description = "A value is wrong, or the key was used before", body = manimq_shared::api::Problem, content_type = "application/problem+json"),
        Problems
    )
)]
pub(super) async fn generate(
    State(app): State<App>,
    Member(caller): Member,
    headers: HeaderMap,
    StrictJson(body): StrictJson<GenerateRequest>,
) -> Result<Response, ApiError> {
    let mut request = JobRequest {
        output: OutputSpec {
            quality: quality(body.quality.as_deref())?,
            ..OutputSpec::default()
        },
        lane: Lane::Interactive,
        timeout_s: TIMEOUT_S_DEFAULT,
        deadline_s: None,
        cache: CacheMode::Use,
        strict: false,
        tags: Vec::new(),
        metadata: std::collections::BTreeMap::new(),
        input: JobInput::Prompt {
            fallback: Some(Fallback::Explainer),
            code: None,
            prompt: body.prompt,
        },
    };
    let key = jobs::idempotency_key(&headers)?;
    // A key that a client can send has no space: this route has keys of its own kind.
    let idempotency = key.map(|key| (format!("generate {key}"), jobs::fingerprint(&request)));
    let tenant = &caller.tenant;
    let before = admit::earlier(&app, tenant, idempotency.as_ref()).await?;
    let (record, limits, _) = match before {
        Some(before) => before,
        None => {
            let resolved = check::request(&app, &caller, &mut request, true)
                .await
                .map_err(of_this_body)?;
            let payload = JobPayload {
                traceparent: jobs::traceparent(&headers),
                ..check::payload(request, resolved)
            };
            let job = admit::new_job(tenant, payload, idempotency);
            admit::submit(&app, tenant, job).await?
        }
    };
    let mut response = answer(&app, &record, StatusCode::ACCEPTED);
    response.headers_mut().extend(limits);
    if let Ok(location) = HeaderValue::from_str(&format!("/api/manim/jobs/{}", record.id)) {
        response.headers_mut().insert(LOCATION, location);
    }
    Ok(response)
}

/// Read such a job.
#[utoipa::path(
    get, path = "/api/manim/jobs/{id}", tag = "jobs", operation_id = "getGenerated",
    params(("id" = String, Path, description = "The job's id")),
    responses((status = 200, description = "The job", body = GenerateView), Problems)
)]
pub(super) async fn read(
    State(app): State<App>,
    Tenant(tenant): Tenant,
    JobPath(id): JobPath,
) -> Result<Response, ApiError> {
    let record = jobs::load(&app, &tenant, id).await?;
    Ok(answer(&app, &record, StatusCode::OK))
}

fn answer(app: &App, record: &JobRecord, status: StatusCode) -> Response {
    let body = GenerateView {
        job_id: record.id,
        job: view::job(app, record),
    };
    (status, [(CACHE_CONTROL, "private, no-store")], Json(body)).into_response()
}

fn quality(name: Option<&str>) -> Result<Quality, ApiError> {
    let Some(name) = name else {
        return Ok(Quality::Medium);
    };
    let plain = name.trim_end_matches("_quality");
    let plain = if plain == "fourk" { "4k" } else { plain };
    plain.parse().map_err(|_| {
        let shown: String = name.chars().take(40).collect();
        let all: Vec<&str> = Quality::ALL
            .iter()
            .map(|quality| quality.as_str())
            .collect();
        ApiError::invalid_field(
            "/quality",
            format!("{shown:?} is no quality; there are {}", all.join(", ")),
        )
    })
}

/// The same error with pointers into this call's body.
fn of_this_body(error: ApiError) -> ApiError {
    let errors = error.problem().errors.clone();
    if errors.is_empty() {
        return error;
    }
    ApiError::invalid(
        errors
            .into_iter()
            .map(|mut wrong| {
                wrong.pointer = wrong.pointer.replacen("/input", "", 1);
                wrong
            })
            .collect(),
    )
}
