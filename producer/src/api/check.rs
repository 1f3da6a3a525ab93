//! What a submit must satisfy beyond its types: sizes, names, the scene policy, and exactly one
//! scene. The scene that was chosen is written into the request, so that every attempt of the
//! job renders the same one.

use manimq_shared::job::{FieldError, JobInput, JobPayload, JobRequest};
use manimq_shared::queue::Scope;
use manimq_shared::scene_policy::{CheckError, Rejected, SceneName, SceneSelectError, check_async};

use serde_json::{Map, Value};

use super::App;
use super::auth::Caller;
use super::extract::size;
use super::problem::{ApiError, Kind};
use crate::templates;

/// When a submit that met too many others may be worth to repeat.
const BUSY_RETRY_S: u64 = 2;

/// What a template or prompt became.
pub(super) struct Resolved {
    /// The template, and what its scene gets.
    template: templates::Resolved,
    /// Of a prompt: what the planner chose.
    planned: Option<Map<String, Value>>,
}

/// The payload of a checked request.
pub(super) fn payload(request: JobRequest, resolved: Option<Resolved>) -> JobPayload {
    let (template, planned) = match resolved {
        Some(Resolved { template, planned }) => (Some(template), planned),
        None => (None, None),
    };
    let (template, params) = match template {
        Some(resolved) => (Some(resolved.template), Some(resolved.params)),
        None => (None, None),
    };
    JobPayload {
        template,
        params,
        planned,
        ..JobPayload::from(request)
    }
}

/// Refuses values that are wrong whatever is rendered.
pub(super) fn values(request: &JobRequest) -> Result<(), ApiError> {
    request.validate().map_err(ApiError::invalid)
}

/// A prompt as it was understood before.
pub(super) fn planned(id: &str, params: Map<String, Value>) -> Result<Resolved, ApiError> {
    let template = resolve(id, None, &params, "/input")?;
    Ok(Resolved {
        template,
        planned: Some(params),
    })
}

/// Checks the parameters of a template. `pointer`: where the input is in the body.
pub(super) fn resolve(
    id: &str,
    version: Option<&str>,
    params: &Map<String, Value>,
    pointer: &str,
) -> Result<templates::Resolved, ApiError> {
    let template = templates::find(id)
        .map_err(|detail| ApiError::invalid_field(&format!("{pointer}/id"), detail))?;
    if let Some(wanted) = version
        && wanted != template.version
    {
        return Err(ApiError::new(
            Kind::TemplateVersionGone,
            format!(
                "{id} has version {} here, not {wanted:?}; leave `version` out, or read what changed at /v1/templates/{id}",
                template.version
            ),
        ));
    }
    templates::resolve(template, params, &format!("{pointer}/params")).map_err(ApiError::invalid)
}

/// Checks a request and chooses its scene, or resolves its template.
pub(super) async fn request(
    app: &App,
    caller: &Caller,
    request: &mut JobRequest,
) -> Result<Option<Resolved>, ApiError> {
    let errors = request.validate().err().unwrap_or_default();
    let (source, scene, file_name) = match &mut request.input {
        JobInput::Code {
            source,
            scene,
            file_name,
            ..
        } => (source, scene, file_name),
        input => {
            if !errors.is_empty() {
                return Err(ApiError::invalid(errors));
            }
            return match input {
                JobInput::Template {
                    id,
                    version,
                    params,
                } => Ok(Some(Resolved {
                    template: resolve(id, version.as_deref(), params, "/input")?,
                    planned: None,
                })),
                JobInput::Prompt { prompt, fallback } => {
                    let plan = super::plan::understand(app, prompt, *fallback).await?;
                    plan.output.apply(&mut request.output);
                    // What the prompt says of the output and what the body says may not go together.
                    let errors = request.validate().err().unwrap_or_default();
                    if !errors.is_empty() {
                        return Err(ApiError::invalid(errors));
                    }
                    planned(&plan.template, plan.params).map(Some)
                }
                JobInput::Code { .. } => unreachable!("matched above"),
            };
        }
    };
    caller.require(Scope::Code)?;
    source_size(app, source, "/input/source")?;
    if !errors.is_empty() {
        return Err(ApiError::invalid(errors));
    }
    let checked = check_async(source.as_bytes(), app.parts().policy)
        .await
        .map_err(|error| refusal(error, file_name.as_deref().unwrap_or("the source")))?;
    let selected = checked
        .select_scene(scene.as_deref())
        .map_err(|error| no_scene(&error))?;
    // None if only running the file can tell; then the renderer takes the one scene it finds.
    *scene = selected.name().map(ToString::to_string);
    Ok(None)
}

/// Refuses a source that is too large.
pub(super) fn source_size(app: &App, source: &str, pointer: &str) -> Result<(), ApiError> {
    let most = app.limits().source_bytes_max;
    if source.len() <= most {
        return Ok(());
    }
    let detail = format!(
        "the source has {} bytes, at most {} are taken",
        source.len(),
        size(most)
    );
    let error = ApiError::new(Kind::TooLarge, detail.clone());
    Err(error.with_errors(vec![FieldError {
        pointer: pointer.to_owned(),
        detail,
    }]))
}

/// Why the source was not accepted.
pub(super) fn refusal(error: CheckError, file: &str) -> ApiError {
    match error {
        CheckError::Rejected(Rejected { findings, omitted }) => {
            let first = findings.first();
            let mut detail = first.map_or_else(String::new, |finding| {
                let mut text = format!(
                    "{file}, line {}, column {}: {}",
                    finding.line, finding.column, finding.message
                );
                if let Some(hint) = &finding.hint {
                    text.push_str(&format!(" ({hint})"));
                }
                text
            });
            let more = findings.len().saturating_sub(1) + usize::try_from(omitted).unwrap_or(0);
            if more > 0 {
                detail.push_str(&format!("; and {more} more, see `findings`"));
            }
            let findings = findings
                .iter()
                .filter_map(|finding| serde_json::to_value(finding).ok())
                .collect();
            ApiError::new(Kind::CodeRejected, detail).with_findings(findings)
        }
        error @ (CheckError::Busy | CheckError::TimedOut | CheckError::NoThread(_)) => {
            ApiError::new(Kind::ReducedCapacity, format!("{error}; try again"))
                .retry_after(BUSY_RETRY_S)
                .because(error)
        }
        error @ CheckError::Defect => ApiError::new(
            Kind::Internal,
            "the check of the scene failed, and would again; please report the scene with this request id",
        )
        .because(error),
    }
}

/// Why there is no scene to render.
fn no_scene(error: &SceneSelectError) -> ApiError {
    let names: &[SceneName] = match error {
        SceneSelectError::Several { names } | SceneSelectError::NotFound { names, .. } => names,
        SceneSelectError::NoScene | SceneSelectError::InvalidName { .. } => &[],
    };
    let pointer = match error {
        SceneSelectError::NoScene => "/input/source",
        SceneSelectError::Several { .. }
        | SceneSelectError::NotFound { .. }
        | SceneSelectError::InvalidName { .. } => "/input/scene",
    };
    ApiError::invalid_field(pointer, format!("{error}; {}", error.hint()))
        .with_scenes(names.iter().map(ToString::to_string).collect())
}
