//! What a submit must satisfy beyond its types: sizes, names, the scene policy, and exactly one
//! scene. The scene that was chosen is written into the request, so that every attempt of the
//! job renders the same one.

use manimq_shared::ids::TenantId;
use manimq_shared::job::{
    ByModel, CodeUse, FieldError, JobInput, JobPayload, JobRequest, OutputSpec,
};
use manimq_shared::queue::{RenderLimit, Scope};
use manimq_shared::scene_policy::{CheckError, Rejected, SceneName, SceneSelectError, check_async};

use serde_json::{Map, Value};

use super::App;
use super::auth::Caller;
use super::extract::size;
use super::problem::{ApiError, Kind};
use super::understand::{Asked, Understood, understand};
use crate::llm::Written;
use crate::templates;

/// When a submit that met too many others may be worth to repeat.
const BUSY_RETRY_S: u64 = 2;

/// What a template or prompt became.
#[derive(Default)]
pub(super) struct Resolved {
    /// The template, and what its scene gets; none if it became code.
    pub template: Option<templates::Resolved>,
    /// Of a prompt: the parameters that were chosen.
    pub planned: Option<Map<String, Value>>,
    /// What to know of that.
    pub notes: Vec<String>,
    /// What a language model did for it.
    pub by_model: Option<ByModel>,
}

/// The payload of a checked request.
pub(super) fn payload(request: JobRequest, resolved: Option<Resolved>) -> JobPayload {
    let Resolved {
        template,
        planned,
        notes,
        by_model,
    } = resolved.unwrap_or_default();
    let (template, params) = match template {
        Some(resolved) => (Some(resolved.template), Some(resolved.params)),
        None => (None, None),
    };
    JobPayload {
        template,
        params,
        planned,
        notes,
        by_model,
        ..JobPayload::from(request)
    }
}

/// Refuses values that are wrong whatever is rendered.
pub(super) fn values(request: &JobRequest) -> Result<(), ApiError> {
    request.validate().map_err(ApiError::invalid)
}

/// Refuses pictures of more pixels than the operator lets this tenant have. Where no operator has said anything
/// the worker's own limit holds, which only it knows.
///
/// Redis is asked about exact sizes, and about qualities above the usual one. So a tenant that may not even have the
/// usual picture hears it of the worker, when that or a smaller quality is rendered.
pub(super) async fn picture(
    app: &App,
    tenant: &TenantId,
    output: &OutputSpec,
) -> Result<(), ApiError> {
    let pixels = |output: &OutputSpec| {
        let (width, height, _) = output.size();
        u64::from(width) * u64::from(height)
    };
    let pointer = match output.exact_size() {
        Some(_) => "/output/width",
        None if pixels(output) <= pixels(&OutputSpec::default()) => return Ok(()),
        None => "/output/quality",
    };
    let limits = app.redis("render_limits", app.queue().render_limits(tenant));
    let limit = limits.await?.get(RenderLimit::Pixels);
    let ((width, height, _), pixels) = (output.size(), pixels(output));
    match limit {
        Some(most) if pixels > u64::from(most) => Err(ApiError::invalid_field(
            pointer,
            format!(
                "pictures of {width}x{height} have {pixels} pixels; this tenant may ask for {most}"
            ),
        )),
        _ => Ok(()),
    }
}

/// A prompt as it was understood before.
pub(super) fn planned(
    id: &str,
    params: Map<String, Value>,
    notes: Vec<String>,
) -> Result<Resolved, ApiError> {
    let template = resolve(id, None, &params, "/input")?;
    Ok(Resolved {
        template: Some(template),
        planned: Some(params),
        notes,
        by_model: None,
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

/// Checks a request and chooses its scene, or resolves its template. `with_model`: a language model may be asked
/// about a prompt.
pub(super) async fn request(
    app: &App,
    caller: &Caller,
    request: &mut JobRequest,
    with_model: bool,
) -> Result<Option<Resolved>, ApiError> {
    let errors = request.validate().err().unwrap_or_default();
    if errors.is_empty() {
        picture(app, &caller.tenant, &request.output).await?;
    }
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
                    template: Some(resolve(id, version.as_deref(), params, "/input")?),
                    ..Resolved::default()
                })),
                JobInput::Prompt {
                    prompt,
                    fallback,
                    code,
                } => {
                    let asked = Asked {
                        prompt,
                        fallback: *fallback,
                        code: code.unwrap_or(CodeUse::IfNeeded),
                        with_model,
                    };
                    let understood = understand(app, caller, asked).await?;
                    let resolved = become_that(app, request, understood)?;
                    // The prompt may have asked for another one than the body.
                    picture(app, &caller.tenant, &request.output).await?;
                    Ok(Some(resolved))
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
    let checked = check_async(source.as_bytes(), app.parts().policy.clone())
        .await
        .map_err(|error| refusal(error, file_name.as_deref().unwrap_or("the source")))?;
    let selected = checked
        .select_scene(scene.as_deref())
        .map_err(|error| no_scene(&error))?;
    // None if only running the file can tell; then the renderer takes the one scene it finds.
    *scene = selected.name().map(ToString::to_string);
    Ok(None)
}

/// Makes of a prompt's request what it was understood as.
fn become_that(
    app: &App,
    request: &mut JobRequest,
    understood: Understood,
) -> Result<Resolved, ApiError> {
    match understood {
        Understood::Film(mut plan, by_model) => {
            plan.notes.extend(plan.output.apply(&mut request.output));
            // What the prompt says of the output and what the body says may not go together.
            values(request)?;
            Ok(Resolved {
                by_model,
                ..planned(&plan.template, plan.params, plan.notes)?
            })
        }
        Understood::Scene(written, wishes, by_model) => {
            // Only what a template became is shown with notes.
            let _ = wishes.apply(&mut request.output);
            code(app, request, written)?;
            Ok(Resolved {
                by_model: Some(by_model),
                ..Resolved::default()
            })
        }
    }
}

/// Makes a request one of a scene that was written, and checked, for it.
pub(super) fn code(app: &App, request: &mut JobRequest, written: Written) -> Result<(), ApiError> {
    source_size(app, &written.source, "/input/prompt")?;
    request.input = JobInput::Code {
        source: written.source,
        scene: written.scene,
        file_name: None,
        files: Vec::new(),
    };
    values(request)
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
