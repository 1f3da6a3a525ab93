//! `manimq admin pause` and `manimq admin resume`.

use clap::Args;
use manimq_shared::ids::TenantId;
use manimq_shared::job::Lane;
use manimq_shared::queue::{PauseScope, Queue, QueueError};
use serde_json::json;

use super::Answer;
use super::view::PauseView;
use crate::exit::Failure;

/// What is meant: exactly one.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub struct PauseArgs {
    /// One tenant's jobs
    #[arg(long, value_name = "TENANT")]
    tenant: Option<TenantId>,
    /// One lane of all tenants: interactive, normal or batch
    #[arg(long, value_name = "LANE")]
    lane: Option<Lane>,
    /// Everything
    #[arg(long)]
    all: bool,
}

/// Sets or takes away a pause.
pub(crate) async fn set(
    queue: &Queue,
    scope: &PauseScope,
    on: bool,
) -> Result<PauseView, QueueError> {
    let changed = if on {
        queue.pause(scope).await?
    } else {
        queue.resume(scope).await?
    };
    let (scope, name) = match scope {
        PauseScope::Tenant(tenant) => ("tenant", Some(tenant.to_string())),
        PauseScope::Lane(lane) => ("lane", Some(lane.to_string())),
        PauseScope::All => ("all", None),
    };
    Ok(PauseView {
        scope,
        name,
        paused: on,
        changed,
    })
}

impl PauseArgs {
    /// Runs the command.
    pub async fn run(self, queue: &Queue, on: bool) -> Result<Answer, Failure> {
        let scope = match (self.tenant, self.lane) {
            (Some(tenant), _) => PauseScope::Tenant(tenant),
            (None, Some(lane)) => PauseScope::Lane(lane),
            (None, None) => PauseScope::All,
        };
        let view = set(queue, &scope, on).await?;
        let words = match &view.name {
            Some(name) => format!("{} {name}", view.scope),
            None => "everything".to_owned(),
        };
        let text = match (on, view.changed) {
            (true, true) => format!("{words}: paused; what runs goes on\n"),
            (true, false) => format!("{words}: was paused already\n"),
            (false, true) => format!("{words}: resumed\n"),
            (false, false) => format!("{words}: was not paused\n"),
        };
        Ok(Answer::ok(text, json!(view)))
    }
}
