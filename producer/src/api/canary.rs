//! The canary: a tiny template now and then that goes the whole way, from the catalogue to a film in the store, so
//! that somebody hears when films stop coming out even while nobody submits any.
//!
//! One for all API processes: whose turn it is they agree on in Redis. Its jobs belong to a tenant of its own, which
//! has no quotas, is in no list and never counts as active, so nobody waits for it; they leave nothing behind.

use std::time::Duration;

use manimq_shared::ids::{JobId, TenantId};
use manimq_shared::job::{JobPayload, JobRecord, JobRequest, Status};
use manimq_shared::queue::{Enqueued, Erased, NewJob};
use manimq_shared::storage::ArtifactKey;
use serde_json::json;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};

use super::{App, erase, jobs};
use crate::templates;

/// A card with one word and a line under it, without LaTeX: three seconds of film, a few tenths of a slot's.
const TEMPLATE: &str = "title-card";
/// Longest time that one is waited for.
const WAIT_MAX: Duration = Duration::from_secs(300);
/// Shortest pause between two looks at it.
const LOOK_PAUSE: Duration = Duration::from_millis(50);
/// Time limit of its render, seconds.
const TIMEOUT_S: u32 = 60;

/// Why there is no film.
enum Trouble {
    /// It did not come in time.
    Late,
    /// It was refused, failed, or its file is not there.
    Failed(String),
}

/// Sends canaries until the API stops.
pub(crate) async fn run(app: App, every: Duration) {
    if every.is_zero() {
        return;
    }
    let mut ticks = interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // One that came too late is still there when the next is sent.
    let mut left: Option<JobId> = None;
    loop {
        let round = async {
            ticks.tick().await;
            // A little less than the period, or the same process would miss its next turn.
            let mine = app.queue().canary_is_mine(every.mul_f32(0.9));
            if !app.redis("canary", mine).await.unwrap_or(false) {
                return;
            }
            if let Some(id) = left.take() {
                tidy(&app, id).await;
            }
            let result = match send(&app, every.mul_f32(0.8).min(WAIT_MAX), &mut left).await {
                Ok(()) => "ok",
                Err(Trouble::Late) => {
                    tracing::warn!("the canary is late: no film came in time");
                    "late"
                }
                Err(Trouble::Failed(why)) => {
                    tracing::warn!("the canary failed: {why}");
                    "failed"
                }
            };
            app.metrics().canary_runs.with_label_values(&[result]).inc();
        };
        tokio::select! {
            () = round => {}
            () = app.stop().cancelled() => return,
        }
    }
}

/// Submits one and waits for its film. What it leaves is in `left` until it is tidied up.
async fn send(app: &App, patience: Duration, left: &mut Option<JobId>) -> Result<(), Trouble> {
    let tenant = TenantId::canary();
    let job = new_job(&tenant)
        .ok_or_else(|| Trouble::Failed(format!("{TEMPLATE} takes other parameters now")))?;
    let id = job.id;
    let unavailable = |_| Trouble::Failed("Redis does not answer".to_owned());
    let replies = app
        .redis("enqueue", app.queue().enqueue(&tenant, &[job]))
        .await
        .map_err(unavailable)?;
    if replies != [Enqueued::Accepted] {
        return Err(Trouble::Failed(format!("it was refused: {replies:?}")));
    }
    *left = Some(id);
    let end = Instant::now() + patience;
    let mut record = jobs::load(app, &tenant, id).await.map_err(unavailable)?;
    while !record.status.is_terminal() && Instant::now() < end {
        let ended = |record: &JobRecord| record.status.is_terminal();
        record = jobs::wait_until(app, &tenant, record, end, ended)
            .await
            .map_err(unavailable)?;
        // It answers at once while too many clients wait.
        sleep(LOOK_PAUSE).await;
    }
    if !record.status.is_terminal() {
        let _ = app.redis("cancel", app.queue().cancel(&tenant, id)).await;
        return Err(Trouble::Late);
    }
    let outcome = judge(app, &record).await;
    tidy(app, id).await;
    *left = None;
    outcome
}

/// Goes the way of a user's template: checked, resolved, rendered by the scene of the same version. `None` if the
/// template would refuse its parameters, which a test rules out.
fn new_job(tenant: &TenantId) -> Option<NewJob> {
    let params = json!({"title": "canary", "pace": "fast"});
    let template = templates::get(TEMPLATE)?;
    let resolved = templates::resolve(template, params.as_object()?, "").ok()?;
    // What is not said is as it usually is, whatever a job may come to say.
    let request: JobRequest = serde_json::from_value(json!({
        "input": {"kind": "template", "id": TEMPLATE, "params": params},
        "output": {"quality": "low"},
        "timeout_s": TIMEOUT_S,
        "cache": "refresh",
    }))
    .ok()?;
    let mut payload = JobPayload::from(request);
    payload.template = Some(resolved.template);
    payload.params = Some(resolved.params);
    Some(NewJob::new(tenant, payload))
}

/// Whether the film is there; then it is noted for all API processes.
async fn judge(app: &App, record: &JobRecord) -> Result<(), Trouble> {
    let result = record.result.as_ref();
    if record.status != Status::Succeeded {
        let error = result.and_then(|result| result.error.as_ref());
        let why = error.map_or_else(String::new, |error| {
            format!(": {}: {}", error.class, error.message)
        });
        return Err(Trouble::Failed(format!("it {}{why}", record.status)));
    }
    let artifact = result.and_then(|result| result.artifacts.first());
    let key = artifact.and_then(|artifact| artifact.key.parse::<ArtifactKey>().ok());
    let Some(key) = key else {
        return Err(Trouble::Failed("it has no film".to_owned()));
    };
    match app.store().head(&key).await {
        Ok(meta) if meta.size > 0 => {}
        Ok(_) => return Err(Trouble::Failed("its film is empty".to_owned())),
        Err(error) => {
            return Err(Trouble::Failed(format!(
                "its film is not in the store: {error}"
            )));
        }
    }
    if let Some(at) = record.finished_at {
        let took = at.duration_since(record.created_at).unsigned_abs();
        let note = app.queue().note_canary(at, took);
        let noted = app.redis("canary", note).await;
        noted.map_err(|_| Trouble::Failed("Redis does not answer".to_owned()))?;
    }
    Ok(())
}

/// Removes a canary's job and film. What cannot be removed now ends with its retention.
async fn tidy(app: &App, id: JobId) {
    let tenant = TenantId::canary();
    let erased = app.queue().erase(&tenant, id, false);
    if let Ok(Erased::Gone(leaves)) = app.redis("erase", erased).await {
        erase::remove_files(app, &leaves, false).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_canary_is_a_template_job_that_the_api_would_take_and_shares_no_render() {
        let job = new_job(&TenantId::canary()).expect("the template takes its parameters");
        let request = &job.payload.request;
        assert_eq!(request.validate(), Ok(()));
        assert_eq!(request.input.kind(), "template");
        assert_eq!(request.timeout_s, TIMEOUT_S);
        let template = templates::get(TEMPLATE).expect("it is in the catalogue");
        assert!(!template.needs_tex, "it must come out where LaTeX is not");
        let used = job.payload.template.as_ref().expect("it is resolved");
        assert_eq!((&used.id, &used.version), (&template.id, &template.version));
        assert_eq!(job.payload.params.as_ref().unwrap()["title"], "canary");
        assert!(job.render.is_none());
    }
}
