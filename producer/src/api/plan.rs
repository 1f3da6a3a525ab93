//! `POST /v1/plan`: what a prompt would become, without a job.

use axum::Json;
use axum::http::header::CACHE_CONTROL;
use axum::response::{IntoResponse as _, Response};
use manimq_shared::job::{CodeUse, Fallback, PROMPT_CHARS_MAX};
use serde::Deserialize;
use utoipa::ToSchema;

use super::App;
use super::extract::{Member, StrictJson};
use super::openapi::Problems;
use super::problem::{ApiError, Kind};
use super::understand::{Asked, Understood, understand};
use crate::planner::Plan;

/// A sentence.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct PlanRequest {
    /// What to show, at most 2,000 characters.
    #[schema(max_length = 2000, example = "derivative of x^2 at 1")]
    prompt: String,
    /// What to make of it if it fits no template.
    #[serde(default)]
    fallback: Option<Fallback>,
}

/// Plan a prompt.
///
/// Says which template with which parameters a prompt becomes, and which of its words decided that. No job, no quota.
/// The same prompt gives the same plan, but where none is sure and the server has a language model: then that may
/// propose one (`by`: `model`), and the answer takes seconds. The answer's `template` and `params` can be submitted as
/// they are (`input.kind`: `template`).
#[utoipa::path(
    post, path = "/v1/plan", tag = "templates", operation_id = "planPrompt",
    request_body(content = PlanRequest, content_type = "application/json"),
    responses(
        (status = 200, description = "What was understood", body = Plan),
        (status = 413, description = "The body is too large", body = manimq_shared::api::Problem, content_type = "application/problem+json"),
        (status = 415, description = "Not `application/json`", body = manimq_shared::api::Problem, content_type = "application/problem+json"),
        (status = 422, description = "It fits no template, or several, or a part of it cannot be read (`prompt-ambiguous`, with `candidates`); or it is empty or too long", body = manimq_shared::api::Problem, content_type = "application/problem+json"),
        Problems
    )
)]
pub(super) async fn plan(
    axum::extract::State(app): axum::extract::State<App>,
    Member(caller): Member,
    StrictJson(body): StrictJson<PlanRequest>,
) -> Result<Response, ApiError> {
    let count = body.prompt.chars().count();
    if body.prompt.trim().is_empty() || count > PROMPT_CHARS_MAX {
        return Err(ApiError::invalid_field(
            "/prompt",
            format!(
                "{count} characters; a prompt has 1 to {PROMPT_CHARS_MAX}, such as \"plot sin x from 0 to 2π\""
            ),
        ));
    }
    let asked = Asked {
        prompt: &body.prompt,
        fallback: body.fallback,
        code: CodeUse::Never,
        with_model: true,
    };
    let plan = match understand(&app, &caller, asked).await? {
        Understood::Film(plan, _) => plan,
        Understood::Scene(..) => {
            return Err(ApiError::new(
                Kind::Internal,
                "code was written that nobody asked for",
            ));
        }
    };
    Ok(([(CACHE_CONTROL, "private, no-store")], Json(plan)).into_response())
}
