//! `manimq usage`.

use std::time::Duration;

use clap::Args;
use manimq_shared::api::{LimitView, UsageView};
use serde_json::json;

use super::Call;
use crate::admin::Answer;
use crate::admin::show::{paused_words, span};
use crate::admin::table::{Table, Tone, cell, facts};
use crate::client::Client;
use crate::exit::Exit;
use crate::term::Paint;

/// Flags of `manimq usage`.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  manimq usage --json | jq '.limits[] | select(.left == 0)'")]
pub struct UsageArgs {
    #[command(flatten)]
    call: Call,
}

impl UsageArgs {
    /// Runs the command.
    pub async fn run(self) -> Exit {
        let act = async |client: &Client, paint| {
            let usage = client.usage().await?;
            Ok(Answer::ok(show(&usage, paint), json!(usage)))
        };
        self.call.answer(act).await
    }
}

fn show(usage: &UsageView, paint: Paint) -> String {
    let mut lines = vec![
        ("tenant", usage.tenant.to_string()),
        (
            "jobs",
            format!(
                "{} not ended, {} of them running",
                usage.active, usage.running
            ),
        ),
    ];
    if let Some(paused) = usage.paused {
        lines.push(("paused", paused_words(paused, &usage.tenant)));
    }
    let allowed = &usage.allowed;
    let mut at_most = Vec::new();
    at_most.extend(allowed.running_max.map(|n| format!("{n} running at once")));
    at_most.extend(
        allowed
            .quality_max
            .map(|quality| format!("quality {quality}")),
    );
    at_most.extend(allowed.timeout_s_max.map(|s| format!("{s} s a render")));
    at_most.extend(
        allowed
            .source_bytes_max
            .map(|n| format!("{n} bytes of source")),
    );
    if !at_most.is_empty() {
        lines.push(("at most", at_most.join(", ")));
    }
    if !allowed.code {
        lines.push(("code", "jobs may not bring code of their own".to_owned()));
    }
    let mut table = Table::new(&["QUOTA", "USED>", "OF>", "LEFT>", "MORE IN>"]);
    for limit in &usage.limits {
        let tone = match limit.left {
            0 => Tone::Bad,
            left if left * 10 <= limit.limit => Tone::Warning,
            _ => Tone::Plain,
        };
        table.row([
            name(limit).into(),
            limit.used.into(),
            limit.limit.into(),
            cell(limit.left, tone),
            limit
                .more_in_s
                .map_or_else(String::new, |s| span(Duration::from_secs(s)))
                .into(),
        ]);
    }
    format!(
        "{}\n{}",
        facts(paint, &lines),
        table.show(paint, "no quotas")
    )
}

fn name(limit: &LimitView) -> String {
    limit.policy.replace('_', " ")
}
