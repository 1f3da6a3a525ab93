//! `manimq admin pause` and `manimq admin resume`.

use clap::Args;
use manimq_shared::ids::TenantId;
use manimq_shared::job::Lane;
use manimq_shared::queue::{PauseScope, Queue};
use serde_json::json;

use super::Answer;
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

impl PauseArgs {
    /// Runs the command.
    pub async fn run(self, queue: &Queue, on: bool) -> Result<Answer, Failure> {
        let (scope, kind, name, words) = match (self.tenant, self.lane) {
            (Some(tenant), _) => {
                let (name, words) = (tenant.to_string(), format!("tenant {tenant}"));
                (PauseScope::Tenant(tenant), "tenant", Some(name), words)
            }
            (None, Some(lane)) => {
                let (name, words) = (lane.to_string(), format!("lane {lane}"));
                (PauseScope::Lane(lane), "lane", Some(name), words)
            }
            (None, None) => (PauseScope::All, "all", None, "everything".to_owned()),
        };
        let changed = if on {
            queue.pause(&scope).await?
        } else {
            queue.resume(&scope).await?
        };
        let text = match (on, changed) {
            (true, true) => format!("{words}: paused; what runs goes on\n"),
            (true, false) => format!("{words}: was paused already\n"),
            (false, true) => format!("{words}: resumed\n"),
            (false, false) => format!("{words}: was not paused\n"),
        };
        Ok(Answer::ok(
            text,
            json!({ "scope": kind, "name": name, "paused": on, "changed": changed }),
        ))
    }
}
