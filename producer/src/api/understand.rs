//! What a prompt becomes: the planner's film, or where that is not sure, what a language model proposes.
//!
//! The model's word counts no more than a user's own: parameters are resolved like any, code goes through the
//! policy, and only those get any who may send code of their own. Whatever goes wrong with it, the answer is what it
//! would be without it.

use manimq_shared::job::{ByModel, CodeUse, Fallback, ModelPart};
use manimq_shared::queue::Scope;

use super::App;
use super::auth::Caller;
use super::problem::{ApiError, Kind};
use crate::llm::{Asker, Chosen, NoUse, Written, choose, write};
use crate::planner::{self, Ambiguous, Plan, Wishes};

/// What is asked.
pub(super) struct Asked<'a> {
    /// The sentence.
    pub prompt: &'a str,
    /// What to make of one that fits no template.
    pub fallback: Option<Fallback>,
    /// Whether code may be written.
    pub code: CodeUse,
    /// Whether a language model may be asked at all.
    pub with_model: bool,
}

/// What it becomes.
pub(super) enum Understood {
    /// A template with parameters.
    Film(Plan, Option<ByModel>),
    /// A scene that a model wrote.
    Scene(Written, Wishes, ByModel),
}

/// Whether somebody may have code run.
///
/// # Errors
/// Not with this key, or not as this tenant; or Redis is away.
pub(super) async fn may_send_code(app: &App, caller: &Caller) -> Result<(), ApiError> {
    caller.require(Scope::Code)?;
    let quotas = app
        .redis("quotas", app.queue().quotas(&caller.tenant))
        .await?;
    if quotas.code == Some(false) {
        return Err(ApiError::new(
            Kind::NotAllowed,
            "this tenant may not send code of its own, so none is written for it",
        )
        .with_policy("code"));
    }
    Ok(())
}

/// What a model's work is remembered as.
pub(super) fn note(model: &str, made: ModelPart, repairs: u32, prompt: Option<&str>) -> ByModel {
    ByModel {
        model: model.to_owned(),
        made,
        repairs,
        prompt: prompt.map(str::to_owned),
    }
}

/// What a prompt becomes.
///
/// # Errors
/// It fits no template or several, with candidates; or code was asked for by somebody who may not have any.
pub(super) async fn understand(
    app: &App,
    caller: &Caller,
    asked: Asked<'_>,
) -> Result<Understood, ApiError> {
    let prompt = asked.prompt;
    let llm = app.parts().llm.as_ref().filter(|_| asked.with_model);
    let asker = llm.map(|llm| Asker::new(llm, caller.tenant.clone()));
    let mut code = asked.code;
    let mut trouble = None;
    if code == CodeUse::Prefer {
        let Some(asker) = &asker else {
            let detail = if app.parts().llm.is_some() {
                "no language model is asked for the jobs of a batch; submit this one alone"
            } else {
                "this server has no language model that could write code (MANIMQ_LLM_URL); leave `code` out"
            };
            return Err(ApiError::invalid_field("/input/code", detail));
        };
        may_send_code(app, caller).await?;
        match write(asker, prompt).await {
            Ok(written) => return Ok(scene(app, asker, prompt, written)),
            Err(error) => trouble = Some(error),
        }
        // Once is enough.
        code = CodeUse::Never;
    }
    let refused = match plan(prompt, None).await? {
        Ok(plan) => return Ok(film(app, plan, "exact", None)),
        Err(refused) => refused,
    };
    if let Some(asker) = &asker {
        match choose(asker, prompt).await {
            Ok(chosen) => return proposed(app, asker, prompt, chosen, refused).await,
            Err(NoUse::NoneFits)
                if code != CodeUse::Never && may_have_code(app, caller).await? =>
            {
                match write(asker, prompt).await {
                    Ok(written) => return Ok(scene(app, asker, prompt, written)),
                    Err(error) => trouble = Some(error),
                }
            }
            Err(error) => trouble = Some(error),
        }
    }
    if asked.fallback.is_some()
        && let Ok(plan) = plan(prompt, asked.fallback).await?
    {
        return Ok(film(app, plan, "fallback", None));
    }
    Err(ambiguous(app, refused, trouble))
}

/// Whether somebody may have code run; what Redis cannot say is an error.
async fn may_have_code(app: &App, caller: &Caller) -> Result<bool, ApiError> {
    match may_send_code(app, caller).await {
        Ok(()) => Ok(true),
        Err(error) if error.is_passing() => Err(error),
        Err(_) => Ok(false),
    }
}

/// The planner's word. It takes milliseconds of the longest prompts: too long for the threads that answer everybody.
async fn plan(
    prompt: &str,
    fallback: Option<Fallback>,
) -> Result<Result<Plan, Ambiguous>, ApiError> {
    let text = prompt.to_owned();
    off_thread(move || planner::plan(&text, fallback)).await
}

async fn off_thread<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, ApiError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| {
        ApiError::new(Kind::Internal, "the prompt could not be planned").because(error)
    })
}

fn routed(app: &App, template: &str, decision: &str) {
    let counter = &app.metrics().prompts_routed;
    counter.with_label_values(&[template, decision]).inc();
}

fn film(app: &App, plan: Plan, decision: &str, by_model: Option<ByModel>) -> Understood {
    routed(app, &plan.template, decision);
    Understood::Film(plan, by_model)
}

/// A template that the model chose.
async fn proposed(
    app: &App,
    asker: &Asker,
    prompt: &str,
    chosen: Chosen,
    refused: Ambiguous,
) -> Result<Understood, ApiError> {
    let text = prompt.to_owned();
    let by_model = note(asker.model(), ModelPart::Parameters, chosen.repairs, None);
    let plan = move || planner::proposed(&text, chosen.template, chosen.params, &refused);
    let plan = off_thread(plan).await?;
    Ok(film(app, plan, "model", Some(by_model)))
}

/// A scene that the model wrote.
fn scene(app: &App, asker: &Asker, prompt: &str, written: Written) -> Understood {
    routed(app, "", "code");
    let by_model = note(
        asker.model(),
        ModelPart::Code,
        written.repairs,
        Some(prompt),
    );
    Understood::Scene(written, planner::wishes(prompt), by_model)
}

fn ambiguous(app: &App, refused: Ambiguous, trouble: Option<NoUse>) -> ApiError {
    routed(app, "", "ambiguous");
    let mut detail = refused.detail;
    if let Some(trouble) = trouble {
        detail.push_str(&format!(" ({trouble})"));
    }
    let candidates = refused.candidates.iter();
    let candidates = candidates
        .filter_map(|candidate| serde_json::to_value(candidate).ok())
        .collect();
    ApiError::new(Kind::PromptAmbiguous, detail).with_candidates(candidates)
}
