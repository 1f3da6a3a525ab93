//! `manimq admin tenants`: who uses the queue, and what each may.

use std::str::FromStr;

use clap::{Args, Subcommand};
use manimq_shared::ids::TenantId;
use manimq_shared::job::Quality;
use manimq_shared::queue::{Queue, Quotas, RenderLimits, TenantPlace, TenantState};
use serde_json::{Value, json};

use super::show::{ago, or_dash, span};
use super::table::{Cell, Table, Tone, cell, facts};
use super::{Answer, each_tenant};
use crate::exit::{Exit, Failure};
use crate::term::Paint;

/// Every quota, in the order of [`Quotas`].
const NAMES: [&str; 10] = [
    "queued_max",
    "running_max",
    "submits_per_minute",
    "submits_per_day",
    "render_s_per_day",
    "weight",
    "quality_max",
    "timeout_s_max",
    "source_bytes_max",
    "code",
];

/// Flags of `manimq admin tenants`.
#[derive(Debug, Args)]
pub struct TenantsArgs {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Tenants that have work, were active lately or have settings, last active first
    #[command(after_help = "Example:\n  manimq admin tenants list --limit 20")]
    List {
        /// Most tenants
        #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
        limit: u32,
    },
    /// One tenant, with its quotas
    #[command(after_help = "Example:\n  manimq admin tenants show acme")]
    Show {
        /// Its name
        tenant: TenantId,
    },
    /// Change quotas of a tenant; what is not named stays
    #[command(
        override_usage = "manimq admin tenants set <TENANT> <--QUOTA VALUE>...",
        after_help = "\
Each takes a value or `default`. Holds at once, also for jobs that wait.

Example:
  manimq admin tenants set acme --running-max 4 --submits-per-minute 60 --weight default"
    )]
    Set {
        /// Its name; need not have submitted anything yet
        tenant: TenantId,
        #[command(flatten)]
        change: Box<Change>,
    },
    /// Show or change what one render of a tenant may use; what is not named stays
    #[command(after_help = LIMITS_HELP)]
    Limits {
        /// Its name; need not have submitted anything yet
        tenant: TenantId,
        /// NAME=VALUE, several with commas between; without it, what there is
        #[arg(default_value = "", hide_default_value = true)]
        change: String,
    },
}

/// What one render may use beside its time: each with what a worker gives by itself.
const LIMITS_HELP: &str = "\
Each limit takes a whole number or `default`, which is what the worker gives (MANIMQ_LIMITS, or by
itself): cpu_s 4 × the time limit, memory_mib 2048, output_mib 256, disk_mib 768, disk_files 8192,
open_files 256, threads 512, frames 216000, pixels 33177600, log_kib 16384.
Renders that begin after a few seconds have them.

Example:
  manimq admin tenants limits acme memory_mib=1024,frames=18000";

/// A new value, or the queue's default.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Setting<T>(Option<T>);

impl<T: FromStr> FromStr for Setting<T>
where
    T::Err: std::fmt::Display,
{
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "default" {
            return Ok(Self(None));
        }
        let value = text.parse().map(|value| Self(Some(value)));
        value.map_err(|error: T::Err| format!("{error}; or write `default`"))
    }
}

/// What to change.
#[derive(Debug, Args)]
#[group(required = true, multiple = true)]
struct Change {
    /// Jobs that have not ended [default: 1000]
    #[arg(long, value_name = "N")]
    queued_max: Option<Setting<u32>>,
    /// Jobs that run at the same time [default: no limit]
    #[arg(long, value_name = "N")]
    running_max: Option<Setting<u32>>,
    /// Jobs accepted per minute, at least 1 [default: no limit]
    #[arg(long, value_name = "N")]
    submits_per_minute: Option<Setting<u32>>,
    /// Jobs accepted per 24 hours, at least 1 [default: no limit]
    #[arg(long, value_name = "N")]
    submits_per_day: Option<Setting<u32>>,
    /// Seconds of rendering per day, UTC [default: no limit]
    #[arg(long, value_name = "S")]
    render_s_per_day: Option<Setting<u32>>,
    /// Share of the slots against other tenants', 0.001 to 1000 [default: 1]
    #[arg(long, value_name = "W")]
    weight: Option<Setting<f64>>,
    /// Largest quality: low, medium, high, production or 4k [default: any]
    #[arg(long, value_name = "QUALITY")]
    quality_max: Option<Setting<Quality>>,
    /// Largest time limit of a render, seconds [default: any]
    #[arg(long, value_name = "S")]
    timeout_s_max: Option<Setting<u32>>,
    /// Largest source, bytes [default: any]
    #[arg(long, value_name = "BYTES")]
    source_bytes_max: Option<Setting<u32>>,
    /// Whether jobs may bring code of their own: true or false [default: true]
    #[arg(long, value_name = "BOOL")]
    code: Option<Setting<bool>>,
}

impl Change {
    fn apply(&self, old: &Quotas) -> Quotas {
        fn pick<T: Copy>(new: Option<Setting<T>>, old: Option<T>) -> Option<T> {
            new.map_or(old, |Setting(value)| value)
        }
        Quotas {
            queued_max: pick(self.queued_max, old.queued_max),
            running_max: pick(self.running_max, old.running_max),
            submits_per_minute: pick(self.submits_per_minute, old.submits_per_minute),
            submits_per_day: pick(self.submits_per_day, old.submits_per_day),
            render_s_per_day: pick(self.render_s_per_day, old.render_s_per_day),
            weight: pick(self.weight, old.weight),
            quality_max: pick(self.quality_max, old.quality_max),
            timeout_s_max: pick(self.timeout_s_max, old.timeout_s_max),
            source_bytes_max: pick(self.source_bytes_max, old.source_bytes_max),
            code: pick(self.code, old.code),
        }
    }
}

/// All quotas by name; `null` is the default.
fn quotas_json(quotas: &Quotas) -> Value {
    let mut all = json!(quotas);
    for name in NAMES {
        if all.get(name).is_none() {
            all[name] = Value::Null;
        }
    }
    all
}

fn quota_text(value: &Value) -> String {
    match value {
        Value::Null => "default".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

impl TenantsArgs {
    /// Runs the command.
    pub async fn run(self, queue: &Queue, paint: Paint) -> Result<Answer, Failure> {
        match self.action {
            Action::List { limit } => list(queue, limit as usize, paint).await,
            Action::Show { tenant } => show(queue, &tenant, paint).await,
            Action::Set { tenant, change } => set(queue, &tenant, &change, paint).await,
            Action::Limits { tenant, change } => limits(queue, &tenant, &change, paint).await,
        }
    }
}

/// Why its jobs start or not, in words.
fn state(tenant: &TenantState) -> Cell {
    if tenant.paused {
        return cell("paused", Tone::Warning);
    }
    match tenant.place {
        TenantPlace::Idle => "".into(),
        TenantPlace::Eligible => "next may start".into(),
        TenantPlace::AtElasticBound => cell("has its share of the slots", Tone::Plain),
        TenantPlace::LanePaused => cell("its lanes are paused", Tone::Warning),
        TenantPlace::OutOfRenderTime => cell("render time of the day is used up", Tone::Warning),
    }
}

fn view(tenant: &TenantState) -> Value {
    json!({
        "tenant": tenant.tenant, "last_active_at": tenant.last_active, "active": tenant.active,
        "ready": tenant.ready, "running": tenant.running, "following": tenant.following,
        "dead": tenant.dead, "paused": tenant.paused, "place": tenant.place.as_str(),
        "usual_job_s": tenant.usual_job.as_secs_f64(),
        "rendered_today_s": tenant.rendered_today.as_secs_f64(),
    })
}

async fn list(queue: &Queue, limit: usize, paint: Paint) -> Result<Answer, Failure> {
    let mut tenants = Vec::new();
    let mut more = false;
    each_tenant(queue, |tenant| {
        more = tenants.len() == limit;
        if !more {
            tenants.push(tenant);
        }
        !more
    })
    .await?;
    let mut table = Table::new(&[
        "TENANT",
        "READY>",
        "RUNNING>",
        "OPEN>",
        "DEAD>",
        "USUAL JOB>",
        "TODAY>",
        "LAST ACTIVE",
        "STATE",
    ]);
    for tenant in &tenants {
        let dead = if tenant.dead > 0 {
            Tone::Bad
        } else {
            Tone::Dim
        };
        table.row([
            (&tenant.tenant).into(),
            tenant.ready.into(),
            tenant.running.into(),
            tenant.active.into(),
            cell(tenant.dead, dead),
            span(tenant.usual_job).into(),
            span(tenant.rendered_today).into(),
            or_dash(tenant.last_active.map(ago)).into(),
            state(tenant),
        ]);
    }
    let mut text = table.show(
        paint,
        "no tenant has submitted anything lately or has settings",
    );
    if more {
        text.push_str(&format!("and more: --limit {}\n", limit.saturating_mul(10)));
    }
    let tenants: Vec<_> = tenants.iter().map(view).collect();
    Ok(Answer::ok(
        text,
        json!({ "tenants": tenants, "more": more }),
    ))
}

async fn show(queue: &Queue, name: &TenantId, paint: Paint) -> Result<Answer, Failure> {
    let mut found = None;
    each_tenant(queue, |tenant| {
        if tenant.tenant == *name {
            found = Some(tenant);
        }
        found.is_none()
    })
    .await?;
    let Some(tenant) = found else {
        return Err(Failure::new(
            Exit::Failed,
            "no-such-tenant",
            format!("the queue knows no tenant {name}: it has no settings and nothing of it was submitted lately"),
        )
        .hint("`manimq admin tenants list` shows those that there are"));
    };
    let quotas = quotas_json(&queue.quotas(name).await?);
    let mut lines = vec![
        ("tenant", name.to_string()),
        (
            "jobs",
            format!(
                "{} ready, {} running, {} following, {} in all not ended",
                tenant.ready, tenant.running, tenant.following, tenant.active
            ),
        ),
        ("dead letters", tenant.dead.to_string()),
        ("usual job", span(tenant.usual_job)),
        ("rendered today", span(tenant.rendered_today)),
        ("last active", or_dash(tenant.last_active.map(ago))),
        (
            "paused",
            if tenant.paused { "yes" } else { "no" }.to_owned(),
        ),
        ("scheduler", tenant.place.as_str().replace('_', " ")),
    ];
    lines.extend(NAMES.map(|name| (name, quota_text(&quotas[name]))));
    let mut json = view(&tenant);
    json["quotas"] = quotas;
    Ok(Answer::ok(facts(paint, &lines), json))
}

async fn limits(
    queue: &Queue,
    tenant: &TenantId,
    change: &str,
    paint: Paint,
) -> Result<Answer, Failure> {
    let old = queue.render_limits(tenant).await?;
    let new = old.changed(change).map_err(|problem| {
        Failure::usage(format!("limits of {tenant}: {problem}"))
            .hint("nothing was changed; see `manimq admin tenants limits --help`")
    })?;
    if new != old {
        queue.set_render_limits(tenant, &new).await?;
    }
    let text = |value: Option<u32>| value.map_or("default".to_owned(), |value| value.to_string());
    let lines: Vec<_> = old
        .each()
        .zip(new.each())
        .map(|((name, old), (_, new))| {
            let arrow = if old == new {
                text(new)
            } else {
                format!("{} → {}", text(old), text(new))
            };
            (name, arrow)
        })
        .collect();
    let all = |limits: RenderLimits| limits.each().collect::<std::collections::BTreeMap<_, _>>();
    Ok(Answer::ok(
        facts(paint, &lines),
        json!({ "tenant": tenant, "old": all(old), "new": all(new) }),
    ))
}

async fn set(
    queue: &Queue,
    tenant: &TenantId,
    change: &Change,
    paint: Paint,
) -> Result<Answer, Failure> {
    let old = queue.quotas(tenant).await?;
    let new = change.apply(&old);
    new.check().map_err(|problem| {
        Failure::usage(format!("quotas of {tenant}: {problem}"))
            .hint("nothing was changed; give another value, or `default`")
    })?;
    queue.set_quotas(tenant, &new).await?;
    let (old, new) = (quotas_json(&old), quotas_json(&new));
    let changed: Vec<_> = NAMES
        .into_iter()
        .filter(|name| old[name] != new[name])
        .collect();
    let lines: Vec<_> = changed
        .iter()
        .map(|name| {
            (
                *name,
                format!("{} → {}", quota_text(&old[name]), quota_text(&new[name])),
            )
        })
        .collect();
    let text = if lines.is_empty() {
        format!("{tenant}: nothing changed, it was so before\n")
    } else {
        facts(paint, &lines)
    };
    let json = json!({ "tenant": tenant, "old": old, "new": new, "changed": changed });
    Ok(Answer::ok(text, json))
}
