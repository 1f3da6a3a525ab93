//! Probes: does the process answer, and would a job run?

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use manimq_shared::api::{Health, Problem, Ready};

use super::App;
use super::problem::{ApiError, Kind};

/// Oldest look at the queue that readiness may rest on.
const QUEUE_AGE_MAX: Duration = Duration::from_millis(500);
/// Oldest try of the storage.
const STORAGE_AGE_MAX: Duration = Duration::from_secs(5);
/// How a refusal says that it is the storage; `manimq doctor` looks for it.
pub(crate) const NO_STORAGE: &str = "no file can be stored";
/// When a probe may ask again.
const RETRY_S: u64 = 2;

/// Whether the process answers.
#[utoipa::path(
    get, path = "/healthz", tag = "probes", operation_id = "health",
    responses((status = 200, description = "It does", body = Health)),
    security(())
)]
pub(super) async fn alive() -> Json<Health> {
    Json(Health {
        status: "ok".to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
    })
}

/// Whether a job would run.
///
/// 200 only if the queue's functions answer, a file can be stored, and at least one live worker
/// that takes jobs has a slot with a verified sandbox. What an operator has `paused` waits all the same: jobs are
/// accepted meanwhile, so that does not make it 503.
#[utoipa::path(
    get, path = "/readyz", tag = "probes", operation_id = "ready",
    responses(
        (status = 200, description = "A job would run", body = Ready),
        (status = 503, description = "`not-ready`: the detail says why", body = Problem, content_type = "application/problem+json")
    ),
    security(())
)]
pub(super) async fn ready(State(app): State<App>) -> Result<Json<Ready>, ApiError> {
    let (queue, storage) =
        tokio::join!(app.stats(QUEUE_AGE_MAX), app.storage_works(STORAGE_AGE_MAX));
    let mut reasons = Vec::new();
    if let Err(reason) = storage {
        reasons.push(format!("{NO_STORAGE} ({reason})"));
    }
    let mut ready = None;
    match queue {
        Err(_) => reasons.push("Redis does not answer".to_owned()),
        Ok(stats) => {
            let active = || stats.workers.iter().filter(|worker| !worker.draining);
            if stats.workers.is_empty() {
                reasons.push("there is no worker; start `manimq-worker`".to_owned());
            } else if active().count() == 0 {
                reasons.push("every worker is draining".to_owned());
            } else if stats.slots_ready() == 0 {
                let troubles: Vec<&str> = active()
                    .filter_map(|worker| worker.trouble.as_deref())
                    .take(3)
                    .collect();
                let why = if troubles.is_empty() {
                    "their sandboxes are starting".to_owned()
                } else {
                    troubles.join("; ")
                };
                reasons.push(format!("no worker has a slot that is ready ({why})"));
            }
            ready = Some(Ready {
                status: "ready".to_owned(),
                workers: u32::try_from(active().count()).unwrap_or(u32::MAX),
                slots_ready: stats.slots_ready(),
                slots_busy: active().map(|worker| worker.slots_busy).sum(),
                jobs_waiting: stats.ready,
                paused: stats.paused.clone(),
            });
        }
    }
    match ready {
        Some(ready) if reasons.is_empty() => Ok(Json(ready)),
        _ => Err(ApiError::new(
            Kind::NotReady,
            format!("a job would not run now: {}", reasons.join("; ")),
        )
        .retry_after(RETRY_S)),
    }
}
