//! `manimq admin tenants`: who uses the queue, and what each may.

pub(crate) mod delete;

use std::str::FromStr;
use std::time::Duration;

use clap::{Args, Subcommand};
use futures_util::FutureExt as _;
use futures_util::future::ready;
use manimq_shared::ids::TenantId;
use manimq_shared::job::Quality;
use manimq_shared::metrics::tenants::OTHER;
use manimq_shared::queue::{Queue, QueueError, Quotas, RenderLimits, check_name};
use serde_json::{Value, json};

use super::show::{ago, or_dash, plural, span};
use super::table::{Cell, Table, Tone, cell, facts};
use super::view::TenantView;
use super::{Answer, Refusal, each_tenant, every_account};
use crate::exit::{Exit, Failure};
use crate::parse_fault::parse_fault;
use crate::term::Paint;

/// Every quota, in the order of [`Quotas`], with what holds where none is set.
const QUOTAS: [(&str, &str); 10] = [
    ("queued_max", "1000"),
    ("running_max", "no limit"),
    ("submits_per_minute", "no limit"),
    ("submits_per_day", "no limit"),
    ("render_s_per_day", "no limit"),
    ("weight", "1"),
    ("quality_max", "any"),
    ("timeout_s_max", "any"),
    ("source_bytes_max", "any"),
    ("code", "true"),
];

/// Flags of `manimq admin tenants`.
#[derive(Debug, Args)]
pub struct TenantsArgs {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Make a tenant, to whom keys can then be given
    #[command(after_help = "Example:\n  manimq admin tenants create acme --name 'Acme Inc.'")]
    Create {
        /// Its id: 1 to 64 of a-z, 0-9, `-` and `_`
        tenant: TenantId,
        /// Its name for people
        #[arg(
            long,
            value_name = "NAME",
            default_value = "",
            hide_default_value = true
        )]
        name: String,
    },
    /// Tenants that were made, have work, were active lately or have settings, last active first
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
  manimq admin tenants set acme --running-max 4 --weight default"
    )]
    Set {
        /// Its name; need not have submitted anything yet
        tenant: TenantId,
        #[command(flatten)]
        change: Box<Change>,
    },
    /// Refuse a tenant's keys and start no more of its jobs; nothing is lost
    #[command(after_help = "\
Its keys get 403 (tenant-disabled) within seconds, waiting jobs stay where they are, what runs goes \
on. Running it again changes nothing.

Example:
  manimq admin tenants disable acme")]
    Disable {
        /// Its id
        tenant: TenantId,
    },
    /// Undo that; its jobs go on unless they had been paused before
    #[command(after_help = "Example:\n  manimq admin tenants enable acme")]
    Enable {
        /// Its id
        tenant: TenantId,
    },
    /// Erase a tenant: jobs, webhooks, settings and keys; there is no way back
    #[command(after_help = "\
It is disabled first, what waits and runs is cancelled, then each job is erased. That takes some \
seconds, and as long as renders take to stop. The files of its jobs belong to nobody then: the API \
sweeps them when they are old enough (--sweep-age, --asset-age of `serve`), as `manimq admin storage` \
does; its DELETE /v1/admin/tenants/TENANT removes them at once.

Example:
  manimq admin tenants delete acme --dry-run")]
    Delete {
        /// Its id
        tenant: TenantId,
        /// Only count what would go
        #[arg(long, conflicts_with = "yes")]
        dry_run: bool,
        /// Do it
        #[arg(long)]
        yes: bool,
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
Each limit takes a whole number or `default`, which is what the worker gives (MANIMQ_LIMITS, or by \
itself): cpu_s 4 × the time limit, memory_mib 2048, output_mib 256, disk_mib 768, disk_files 8192, \
open_files 256, threads 512, frames 216000, pixels 33177600, log_kib 16384. \
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
        value.map_err(|error: T::Err| {
            let error = error.to_string();
            let what = parse_fault(&error).unwrap_or(&error);
            format!("{what}; or write `default`")
        })
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
    /// Jobs accepted per minute, at least 1; after a rest as many at once, and up to twice as many within
    /// that minute [default: no limit]
    #[arg(long, value_name = "N")]
    submits_per_minute: Option<Setting<u32>>,
    /// Jobs accepted per 24 hours, at least 1; likewise [default: no limit]
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
pub(crate) fn quotas_json(quotas: &Quotas) -> Value {
    let mut all = json!(quotas);
    for (name, _) in QUOTAS {
        if all.get(name).is_none() {
            all[name] = Value::Null;
        }
    }
    all
}

/// A quota in words; `default` is what holds if it is not set.
fn quota_text(default: &str, value: &Value) -> String {
    match value {
        Value::Null => format!("{default} (default)"),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

impl TenantsArgs {
    /// Whether this can be done before there is a queue.
    pub fn makes(&self) -> bool {
        matches!(self.action, Action::Create { .. })
    }

    /// Does it.
    pub async fn make(&self, queue: &Queue, _: Paint) -> Result<Answer, Failure> {
        match &self.action {
            Action::Create { tenant, name } => made(queue, tenant, name).await,
            _ => Err(Failure::usage("this needs a queue")),
        }
    }

    /// Runs the command.
    pub async fn run(self, queue: &Queue, paint: Paint) -> Result<Answer, Failure> {
        match self.action {
            Action::Create { tenant, name } => made(queue, &tenant, &name).await,
            Action::Disable { tenant } => able(queue, &tenant, false).await,
            Action::Enable { tenant } => able(queue, &tenant, true).await,
            Action::Delete {
                tenant,
                dry_run,
                yes,
            } => erase(queue, &tenant, dry_run, yes, paint).await,
            Action::List { limit } => list(queue, limit as usize, paint).await,
            Action::Show { tenant } => show(queue, &tenant, paint).await,
            Action::Set { tenant, change } => set(queue, &tenant, &change, paint).await,
            Action::Limits { tenant, change } => limits(queue, &tenant, &change, paint).await,
        }
    }
}

/// Why its jobs start or not, in words.
fn state(tenant: &TenantView) -> Cell {
    if tenant.disabled_at.is_some() {
        return cell("disabled", Tone::Bad);
    }
    if tenant.paused {
        return cell("paused", Tone::Warning);
    }
    match tenant.place {
        "eligible" => "next may start".into(),
        "at_elastic_bound" => cell("has its share of the slots", Tone::Plain),
        "lane_paused" => cell("its lanes are paused", Tone::Warning),
        "out_of_render_time" => cell("render time of the day is used up", Tone::Warning),
        _ => "".into(),
    }
}

/// At most `limit` tenants, last active first and then those that never were, and whether there are more.
pub(crate) async fn page(
    queue: &Queue,
    limit: usize,
) -> Result<(Vec<TenantView>, bool), QueueError> {
    let mut states = Vec::new();
    each_tenant(queue, |tenant| {
        states.push(tenant);
        states.len() <= limit
    })
    .await?;
    let mut found = Vec::new();
    for state in &states {
        let account = queue.account(&state.tenant).await?;
        found.push(TenantView::new(
            state.tenant.clone(),
            account.as_ref(),
            Some(state),
        ));
    }
    // All that the queue knows are in the list: the rest have a record alone.
    if found.len() <= limit {
        every_account(queue, |account| {
            if states.iter().all(|state| state.tenant != account.tenant) {
                found.push(TenantView::new(
                    account.tenant.clone(),
                    Some(&account),
                    None,
                ));
            }
            found.len() <= limit
        })
        .await?;
    }
    let more = found.len() > limit;
    found.truncate(limit);
    Ok((found, more))
}

/// One tenant with its quotas; the queue knows it, or an operator made it.
pub(crate) async fn one(queue: &Queue, name: &TenantId) -> Result<TenantView, Refusal> {
    let mut state = None;
    each_tenant(queue, |tenant| {
        if tenant.tenant == *name {
            state = Some(tenant);
        }
        state.is_none()
    })
    .await?;
    let account = queue.account(name).await?;
    if account.is_none() && state.is_none() {
        return Err(Refusal::Missing {
            kind: "no-such-tenant",
            message: format!(
                "there is no tenant {name}: none was made, it has no settings and nothing of it was submitted lately"
            ),
            hint: "`manimq admin tenants list` shows those that there are".to_owned(),
        });
    }
    let mut view = TenantView::new(name.clone(), account.as_ref(), state.as_ref());
    view.quotas = Some(quotas_json(&queue.quotas(name).await?));
    Ok(view)
}

/// Makes a tenant.
pub(crate) async fn create(queue: &Queue, tenant: &TenantId, name: &str) -> Result<(), Refusal> {
    check_name(name)
        .map_err(|problem| Refusal::wrong(problem, "give another name; nothing was made"))?;
    if tenant.as_str() == OTHER {
        return Err(Refusal::wrong(
            format!("\"{OTHER}\" is what metrics call all tenants that they do not name"),
            "give the tenant another id; nothing was made",
        ));
    }
    if queue.create_account(tenant, name).await? {
        return Ok(());
    }
    Err(Refusal::Conflict {
        kind: "tenant-exists",
        message: format!("there is a tenant {tenant} already"),
        hint: format!("`manimq admin tenants show {tenant}` shows it; nothing was changed"),
    })
}

async fn made(queue: &Queue, tenant: &TenantId, name: &str) -> Result<Answer, Failure> {
    create(queue, tenant, name).await?;
    let text =
        format!("tenant {tenant} made; give it a key with `manimq admin keys create {tenant}`\n");
    Ok(Answer::ok(text, json!({ "tenant": tenant, "name": name })))
}

/// Disables or enables a tenant; whether that changed anything.
pub(crate) async fn set_able(
    queue: &Queue,
    tenant: &TenantId,
    able: bool,
) -> Result<bool, Refusal> {
    let changed = if able {
        queue.enable_account(tenant).await?
    } else {
        queue.disable_account(tenant).await?
    };
    changed.ok_or_else(|| Refusal::no_tenant(tenant))
}

async fn able(queue: &Queue, tenant: &TenantId, able: bool) -> Result<Answer, Failure> {
    let changed = set_able(queue, tenant, able).await?;
    let text = match (able, changed) {
        (false, true) => {
            format!("{tenant}: disabled; its jobs stay, and what runs goes on\n")
        }
        (false, false) => format!("{tenant}: was disabled already\n"),
        (true, true) => format!("{tenant}: enabled\n"),
        (true, false) => format!("{tenant}: was not disabled\n"),
    };
    let json = json!({ "tenant": tenant, "disabled": !able, "changed": changed });
    Ok(Answer::ok(text, json))
}

/// What becomes of files that this command cannot reach.
const FILES_LEFT: &str = "\
its files stay in the store until the API sweeps them, when they are old enough (films: --sweep-age, files that
came with jobs: --asset-age of `serve`). Nobody has URLs of them but who had them before; the API's
DELETE /v1/admin/tenants/TENANT removes such files at once\n";

async fn erase(
    queue: &Queue,
    tenant: &TenantId,
    dry_run: bool,
    yes: bool,
    paint: Paint,
) -> Result<Answer, Failure> {
    if !dry_run && !yes {
        return Err(
            Failure::usage(format!("this erases {tenant} and all its jobs for good"))
                .hint("look with --dry-run, then say --yes; nothing was changed"),
        );
    }
    // Where the files lie only the API knows: what is left of them it sweeps.
    let report = delete::delete(queue, tenant, dry_run, &|_| ready(0).boxed()).await?;
    let not_ended = match (dry_run, report.not_ended) {
        (true, n) if n > 0 => format!(" ({n} would be cancelled first)"),
        _ => String::new(),
    };
    let lines = [
        ("jobs", format!("{}{not_ended}", report.jobs)),
        (
            "files",
            format!("{}, {} MiB", report.files, report.file_bytes >> 20),
        ),
        ("webhooks", report.webhooks.to_string()),
        ("keys", report.keys.to_string()),
    ];
    let mut text = facts(paint, &lines);
    let exit = match (dry_run, report.complete) {
        (true, _) => {
            text.push_str(&format!(
                "{tenant}: nothing was changed; --yes erases this\n"
            ));
            Exit::Ok
        }
        (false, true) => {
            text.push_str(&format!("{tenant}: gone\n"));
            // Also without films: whether files came with its jobs only the API knows.
            text.push_str(FILES_LEFT);
            Exit::Ok
        }
        (false, false) => {
            text.push_str(&format!(
                "{tenant}: disabled, but {} {} not stopped yet; run this again (after `manimq admin audit --repair`, if it stays so)\n",
                plural(report.not_ended, "render"),
                if report.not_ended == 1 { "has" } else { "have" }
            ));
            Exit::Failed
        }
    };
    let json = json!(report);
    Ok(Answer { text, json, exit })
}

async fn list(queue: &Queue, limit: usize, paint: Paint) -> Result<Answer, Failure> {
    let (tenants, more) = page(queue, limit).await?;
    let mut table = Table::new(&[
        "TENANT",
        "KEYS>",
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
            tenant.keys_live.into(),
            tenant.ready.into(),
            tenant.running.into(),
            tenant.active.into(),
            cell(tenant.dead, dead),
            span(seconds(tenant.usual_job_s)).into(),
            span(seconds(tenant.rendered_today_s)).into(),
            or_dash(tenant.last_active_at.map(ago)).into(),
            state(tenant),
        ]);
    }
    let mut text = table.show(
        paint,
        "no tenant was made, has submitted anything lately or has settings",
    );
    if more {
        text.push_str(&format!("and more: --limit {}\n", limit.saturating_mul(10)));
    }
    Ok(Answer::ok(
        text,
        json!({ "tenants": tenants, "more": more }),
    ))
}

fn seconds(s: f64) -> Duration {
    Duration::try_from_secs_f64(s).unwrap_or_default()
}

async fn show(queue: &Queue, name: &TenantId, paint: Paint) -> Result<Answer, Failure> {
    let tenant = one(queue, name).await?;
    let quotas = tenant.quotas.clone().unwrap_or_default();
    let mut lines = vec![
        ("tenant", name.to_string()),
        (
            "name",
            or_dash(tenant.name.clone().filter(|name| !name.is_empty())),
        ),
        ("made", or_dash(tenant.created_at.map(ago))),
        ("live keys", tenant.keys_live.to_string()),
        (
            "disabled",
            tenant.disabled_at.map_or_else(|| "no".to_owned(), ago),
        ),
        (
            "jobs",
            format!(
                "{} ready, {} running, {} following, {} in all not ended",
                tenant.ready, tenant.running, tenant.following, tenant.active
            ),
        ),
        ("dead letters", tenant.dead.to_string()),
        ("usual job", span(seconds(tenant.usual_job_s))),
        ("rendered today", span(seconds(tenant.rendered_today_s))),
        ("last active", or_dash(tenant.last_active_at.map(ago))),
        (
            "paused",
            if tenant.paused { "yes" } else { "no" }.to_owned(),
        ),
        ("scheduler", tenant.place.replace('_', " ")),
    ];
    lines.extend(QUOTAS.map(|(name, default)| (name, quota_text(default, &quotas[name]))));
    Ok(Answer::ok(facts(paint, &lines), json!(tenant)))
}

async fn limits(
    queue: &Queue,
    tenant: &TenantId,
    change: &str,
    paint: Paint,
) -> Result<Answer, Failure> {
    let known = is_known(queue, tenant).await?;
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
    let mut text = facts(paint, &lines);
    if !known && !change.is_empty() {
        text.push_str(&unknown_note(tenant));
    }
    let json = json!({ "tenant": tenant, "known": known, "old": all(old), "new": all(new) });
    Ok(Answer::ok(text, json))
}

/// Quotas before and after.
pub(crate) struct Changed {
    pub(crate) old: Quotas,
    pub(crate) new: Quotas,
    /// Whether anything was known of the tenant before.
    pub(crate) known: bool,
}

/// Whether a tenant was made, has work, was active lately or has settings.
async fn is_known(queue: &Queue, tenant: &TenantId) -> Result<bool, Refusal> {
    match one(queue, tenant).await {
        Ok(_) => Ok(true),
        Err(Refusal::Missing { .. }) => Ok(false),
        Err(other) => Err(other),
    }
}

/// What is said of a tenant that got settings before anything else.
fn unknown_note(tenant: &TenantId) -> String {
    format!(
        "note: {tenant} was not known: it was not made, had no jobs and no settings. They are kept for when it comes; \
         if the name is misspelt, set them back to `default`\n"
    )
}

/// Sets the quotas that `change` makes of the present ones.
pub(crate) async fn change(
    queue: &Queue,
    tenant: &TenantId,
    change: impl FnOnce(&Quotas) -> Result<Quotas, String>,
) -> Result<Changed, Refusal> {
    let known = is_known(queue, tenant).await?;
    let old = queue.quotas(tenant).await?;
    let changed = change(&old).and_then(|new| new.check().map(|()| new));
    let new = changed.map_err(|problem| {
        Refusal::wrong(
            format!("quotas of {tenant}: {problem}"),
            "nothing was changed; give another value, or `default`",
        )
    })?;
    queue.set_quotas(tenant, &new).await?;
    Ok(Changed { old, new, known })
}

async fn set(
    queue: &Queue,
    tenant: &TenantId,
    wish: &Change,
    paint: Paint,
) -> Result<Answer, Failure> {
    let Changed { old, new, known } = change(queue, tenant, |old| Ok(wish.apply(old))).await?;
    let (old, new) = (quotas_json(&old), quotas_json(&new));
    let changed = QUOTAS.into_iter();
    let changed = changed.filter(|(name, _)| old[name] != new[name]);
    let lines: Vec<_> = changed
        .map(|(name, default)| {
            let (old, new) = (&old[name], &new[name]);
            let (old, new) = (quota_text(default, old), quota_text(default, new));
            (name, format!("{old} → {new}"))
        })
        .collect();
    let changed: Vec<_> = lines.iter().map(|(name, _)| *name).collect();
    let mut text = if lines.is_empty() {
        format!("{tenant}: nothing changed, it was so before\n")
    } else {
        facts(paint, &lines)
    };
    if !known {
        text.push_str(&unknown_note(tenant));
    }
    let json =
        json!({ "tenant": tenant, "known": known, "old": old, "new": new, "changed": changed });
    Ok(Answer::ok(text, json))
}
