//! `POST /v1/plan`: what a prompt would become, without a job.

use axum::Json;
use axum::http::header::CACHE_CONTROL;
use axum::response::{IntoResponse as _, Response};
use manimq_shared::job::{Fallback, PROMPT_CHARS_MAX};
use serde::Deserialize;
use utoipa::ToSchema;

use super::App;
use super::extract::{StrictJson, Tenant};
use super::openapi::Problems;
use super::problem::{ApiError, Kind};
use crate::planner::{self, Ambiguous, Plan};

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
/// Says which template with which parameters a prompt becomes, and which of its words decided that. No job, no quota,
/// no language model: the same prompt gives the same plan. The answer's `template` and `params` can be submitted as
/// they are (`input.kind`: `template`).
#[utoipa::path(
    post, path = "/v1/plan", tag = "templates", operation_id = "planPrompt",
    request_body(content = PlanRequest, content_type = "application/json"),
    responses(
        (status = 200, description = "What was understood", body = Plan),
        (status = 413, description = "The body is too large", body = manimq_shared::api::Problem, content_type = "application/problem+json"),
        (status = 415, description = "Not `application/json`", body = manimq_shared::api::Problem, content_type = "application/problem+json"),
        (status = 422, description = "It fits no template, or several (`prompt-ambiguous`, with `candidates`); or it is empty or too long", body = manimq_shared::api::Problem, content_type = "application/problem+json"),
        Problems
    )
)]
pub(super) async fn plan(
    axum::extract::State(app): axum::extract::State<App>,
    Tenant(_tenant): Tenant,
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
    let plan = understand(&app, &body.prompt, body.fallback).await?;
    Ok(([(CACHE_CONTROL, "private, no-store")], Json(plan)).into_response())
}

/// The plan of a prompt.
///
/// # Errors
/// It fits no template or several; with candidates.
pub(super) async fn understand(
    app: &App,
    prompt: &str,
    fallback: Option<Fallback>,
) -> Result<Plan, ApiError> {
    let text = prompt.to_owned();
    // The longest prompts take milliseconds: too long for the threads that answer everybody.
    let planned = tokio::task::spawn_blocking(move || match planner::plan(&text, None) {
        Ok(plan) => Ok((plan, "exact")),
        Err(_) if fallback.is_some() => {
            planner::plan(&text, fallback).map(|plan| (plan, "fallback"))
        }
        Err(refused) => Err(refused),
    });
    let planned = planned.await.map_err(|error| {
        ApiError::new(Kind::Internal, "the prompt could not be planned").because(error)
    })?;
    let routed = |template: &str, decision| {
        let counter = &app.metrics().prompts_routed;
        counter.with_label_values(&[template, decision]).inc();
    };
    match planned {
        Ok((plan, decision)) => {
            routed(&plan.template, decision);
            Ok(plan)
        }
        Err(Ambiguous { detail, candidates }) => {
            routed("", "ambiguous");
            let candidates = candidates
                .iter()
                .filter_map(|candidate| serde_json::to_value(candidate).ok())
                .collect();
            Err(ApiError::new(Kind::PromptAmbiguous, detail).with_candidates(candidates))
        }
    }
}
