//! `POST /v1/jobs/{id}/rerun`: the same scene once more, perhaps with another output.

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use manimq_shared::api::{JobView, RerunRequest};
use manimq_shared::job::{ByModel, JobError, JobInput, JobPayload, JobRequest, ModelPart};

use super::auth::Caller;
use super::extract::{JobPath, Member, PerhapsJson};
use super::openapi::Problems;
use super::problem::{ApiError, Kind};
use super::understand::{may_send_code, note};
use super::{App, admit, assets, check, jobs};
use crate::llm::{Asker, NoUse, REPAIRS_MAX, mend};

/// When a repair that met a model in trouble may be worth to repeat.
const REPAIR_RETRY_S: u64 = 10;

/// Run a job again.
///
/// A new job with the same input, whose `parent` it is; the body says what shall be different, and may be empty. Any
/// job may be run again, whether it has ended or not. An unchanged rerun of a job that has succeeded is answered by its
/// result, unless `cache` is `refresh`. The new job counts against the quotas.
///
/// With `repair`, of a job whose code a language model wrote and that failed by it, the model mends the code first; a
/// job has one repair, which calls of the next day get, too.
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
        (status = 409, description = "`repair`: it is not to be mended, was mended three times, or the model found no repair", body = manimq_shared::api::Problem, content_type = "application/problem+json"),
        (status = 409, description = "Another version of the template is wanted than there is (`template-version-gone`)", body = manimq_shared::api::Problem, content_type = "application/problem+json"),
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
    let JobPayload {
        mut request,
        template,
        planned,
        notes,
        mut by_model,
        ..
    } = earlier.payload;
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
    let mut idempotency = key.map(|key| (format!("rerun {id} {key}"), jobs::fingerprint(&request)));
    let resolved = match (template, planned) {
        // What was understood then, not what would be now.
        (Some(template), Some(params)) if !change.repair => {
            check::values(&request)?;
            check::picture(&app, &tenant, &request.output).await?;
            Some(check::planned(&template.id, params, notes)?)
        }
        _ if change.repair => {
            // A job has one repair a day, whoever asks for it and however often: the key is kept that long.
            idempotency = Some((format!("repair {id}"), String::new()));
            if let Some(before) = admit::earlier(&app, &tenant, idempotency.as_ref()).await? {
                return jobs::answered(&app, &tenant, before, &headers).await;
            }
            // Before the model is asked for what would be refused.
            check::values(&request)?;
            check::picture(&app, &tenant, &request.output).await?;
            let error = earlier.result.and_then(|result| result.error);
            let mended = repair(&app, &caller, &mut request, by_model, error).await?;
            by_model = Some(mended);
            None
        }
        _ => check::request(&app, &caller, &mut request, true).await?,
    };
    assets::secure(&app, &tenant, &request, Vec::new()).await?;
    let payload = JobPayload {
        parent: Some(id),
        traceparent: jobs::traceparent(&headers),
        by_model,
        ..check::payload(request, resolved)
    };
    let job = admit::new_job(&tenant, payload, idempotency);
    jobs::submitted(&app, &tenant, job, &headers).await
}

/// Has the language model mend what it wrote, and puts that into the request. How often that happened to a scene is
/// in its jobs' records, so no restart and no other API process forgets it.
async fn repair(
    app: &App,
    caller: &Caller,
    request: &mut JobRequest,
    by_model: Option<ByModel>,
    error: Option<JobError>,
) -> Result<ByModel, ApiError> {
    let refused = |detail: &str| ApiError::new(Kind::Conflict, detail);
    let (Some(by_model), JobInput::Code { source, .. }) = (by_model, &request.input) else {
        return Err(refused(
            "only code that a language model wrote for a prompt is mended by it; leave `repair` out to run this job as it is",
        ));
    };
    let Some(error) = error.filter(|error| !error.class.is_ours()) else {
        return Err(refused(
            "only a job that failed by its own code is mended; leave `repair` out to run this one as it is",
        ));
    };
    if by_model.repairs >= REPAIRS_MAX {
        return Err(refused(
            "this scene was mended three times, the most; say in other words what is to be shown",
        ));
    }
    let Some(llm) = &app.parts().llm else {
        return Err(refused(
            "this server has no language model now (MANIMQ_LLM_URL)",
        ));
    };
    may_send_code(app, caller).await?;
    let asker = Asker::new(llm, caller.tenant.clone());
    let prompt = by_model.prompt.unwrap_or_default();
    let written = mend(&asker, &prompt, source, &error, by_model.repairs).await;
    let written = written.map_err(|error| match error {
        NoUse::Llm(_) => {
            let detail = format!("{error}; nothing was submitted, try again");
            ApiError::new(Kind::ReducedCapacity, detail).retry_after(REPAIR_RETRY_S)
        }
        NoUse::Unusable | NoUse::NoneFits => refused(
            "the language model found no repair that could be used; say in other words what is to be shown",
        ),
    })?;
    let note = note(
        asker.model(),
        ModelPart::Code,
        written.repairs,
        Some(&prompt),
    );
    check::code(app, request, written)?;
    Ok(note)
}
