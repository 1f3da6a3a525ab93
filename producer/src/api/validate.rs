//! `POST /v1/validate`: what a submit would say of a source, without a job.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use manimq_shared::api::{SceneView, ValidateRequest, Validation};
use manimq_shared::scene_policy::{CheckError, Rejected, check_async};

use super::extract::{StrictJson, Tenant};
use super::openapi::Problems;
use super::problem::ApiError;
use super::{App, check};

/// Check a source.
///
/// Says what is wrong with it, where, and what to do, and which scenes it has. Nothing is run and no quota is used.
#[utoipa::path(
    post, path = "/v1/validate", tag = "jobs", operation_id = "validateSource",
    request_body(content = ValidateRequest, content_type = "application/json"),
    responses(
        (status = 200, description = "What was found", body = Validation),
        (status = 413, description = "The source or the body is too large", body = manimq_shared::api::Problem, content_type = "application/problem+json"),
        (status = 415, description = "Not `application/json`", body = manimq_shared::api::Problem, content_type = "application/problem+json"),
        Problems
    )
)]
pub(super) async fn validate(
    State(app): State<App>,
    Tenant(_tenant): Tenant,
    StrictJson(body): StrictJson<ValidateRequest>,
) -> Result<Response, ApiError> {
    check::source_size(&app, &body.source, "/source")?;
    let checked = check_async(body.source.as_bytes(), app.parts().policy.clone()).await;
    let checked = match checked {
        Ok(checked) => checked,
        Err(CheckError::Rejected(Rejected { findings, omitted })) => {
            return Ok(Json(Validation {
                ok: false,
                scenes: Vec::new(),
                scenes_certain: false,
                scene: None,
                scene_problem: None,
                findings,
                omitted,
            })
            .into_response());
        }
        Err(error) => return Err(check::refusal(error, "the source")),
    };
    let selected = checked.select_scene(body.scene.as_deref());
    let problem = selected.as_ref().err();
    Ok(Json(Validation {
        ok: problem.is_none(),
        scenes: checked
            .scenes
            .iter()
            .map(|scene| SceneView {
                name: scene.name.to_string(),
                line: scene.line,
                has_construct: scene.has_construct,
            })
            .collect(),
        scenes_certain: checked.scenes_certain,
        scene_problem: problem.map(|error| format!("{error}; {}", error.hint())),
        scene: selected
            .ok()
            .and_then(|scene| scene.name().map(ToString::to_string)),
        findings: checked.warnings,
        omitted: checked.warnings_omitted,
    })
    .into_response())
}
