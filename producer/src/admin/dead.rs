//! `manimq admin dead`: jobs that failed for good by no fault of their author.

use clap::{Args, Subcommand};
use jiff::Timestamp;
use manimq_shared::ids::{JobId, TenantId};
use manimq_shared::job::FailureClass;
use manimq_shared::queue::{BATCH_MAX, DeadFilter, Queue, QueueError};
use serde_json::json;

use super::jobs::said;
use super::show::{ago, or_dash, plural};
use super::table::Table;
use super::view::{DeadPage, DeadView, DiscardReport, RedriveReport, RedrivenView};
use super::{Answer, tenants_where};
use crate::exit::{Exit, Failure};
use crate::term::{Paint, shorten};

/// Columns of a message in the list; `jobs show` has all of it.
const MESSAGE_CHARS: usize = 60;

/// Flags of `manimq admin dead`.
#[derive(Debug, Args)]
pub struct DeadArgs {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Dead letters, oldest first within each tenant
    #[command(after_help = "Example:\n  manimq admin dead list --class storage --since 2h")]
    List(Which),
    /// Run dead letters again, each as a new job, and take them off the list
    #[command(after_help = "\
The new jobs count against their tenant's quotas; what is refused stays. A dead letter is run again \
once, however often this runs within a day.

Example:
  manimq admin dead redrive --tenant acme --class storage --dry-run")]
    Redrive {
        #[command(flatten)]
        which: Which,
        /// Only say what would be run again
        #[arg(long)]
        dry_run: bool,
    },
    /// Take dead letters off the list; the jobs' records stay until their retention ends
    #[command(after_help = "Example:\n  manimq admin dead discard --tenant acme job_019a8b…")]
    Discard {
        /// Whose
        #[arg(long, value_name = "TENANT")]
        tenant: TenantId,
        /// Their ids
        #[arg(
            value_name = "JOB",
            required_unless_present = "all",
            conflicts_with = "all"
        )]
        ids: Vec<JobId>,
        /// All of this tenant's, at most 10,000 a call
        #[arg(long)]
        all: bool,
    },
}

#[derive(Debug, Args)]
struct Which {
    /// Only this tenant's; without it, of all tenants that have any
    #[arg(long, value_name = "TENANT")]
    tenant: Option<TenantId>,
    /// Only of this class: lost_worker, sandbox_unavailable, storage, internal
    #[arg(long, value_name = "CLASS")]
    class: Option<FailureClass>,
    /// Only that died since then: a time such as 2026-01-31T12:00:00Z, or how long ago, such as 2h
    #[arg(long, value_name = "TIME", value_parser = since)]
    since: Option<Timestamp>,
    /// Most of them
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    limit: u32,
}

pub(crate) fn since(text: &str) -> Result<Timestamp, String> {
    if let Ok(time) = text.parse() {
        return Ok(time);
    }
    let ago = humantime::parse_duration(text).ok();
    ago.and_then(|ago| Timestamp::now().checked_sub(ago).ok())
        .ok_or_else(|| {
            "write a time such as 2026-01-31T12:00:00Z, or how long ago, such as 30m, 2h or 1d"
                .to_owned()
        })
}

impl Which {
    fn wanted(&self) -> Wanted {
        Wanted {
            tenant: self.tenant.clone(),
            filter: DeadFilter {
                class: self.class,
                since: self.since,
                until: None,
            },
            limit: self.limit as usize,
        }
    }
}

/// Which dead letters are meant.
pub(crate) struct Wanted {
    /// Only this tenant's.
    pub tenant: Option<TenantId>,
    /// Only these.
    pub filter: DeadFilter,
    /// Most of them.
    pub limit: usize,
}

impl Wanted {
    async fn tenants(&self, queue: &Queue) -> Result<Vec<TenantId>, QueueError> {
        match &self.tenant {
            Some(tenant) => Ok(vec![tenant.clone()]),
            None => tenants_where(queue, |tenant| tenant.dead > 0).await,
        }
    }
}

impl DeadArgs {
    /// Runs the command.
    pub async fn run(self, queue: &Queue, paint: Paint) -> Result<Answer, Failure> {
        match self.action {
            Action::List(which) => list(queue, &which, paint).await,
            Action::Redrive { which, dry_run } => redrive(queue, &which, dry_run, paint).await,
            Action::Discard { tenant, ids, all } => discard(queue, &tenant, ids, all).await,
        }
    }
}

/// At most `limit` dead letters of all tenants that are meant.
async fn letters(
    queue: &Queue,
    wanted: &Wanted,
    limit: usize,
) -> Result<Vec<DeadView>, QueueError> {
    let mut found = Vec::new();
    for tenant in wanted.tenants(queue).await? {
        let left = limit - found.len();
        if left == 0 {
            break;
        }
        let letters = queue.dead_letters(&tenant, &wanted.filter, left).await?;
        let view = |letter| DeadView::new(tenant.clone(), letter);
        found.extend(letters.into_iter().map(view));
    }
    Ok(found)
}

/// A page of dead letters.
pub(crate) async fn page(queue: &Queue, wanted: &Wanted) -> Result<DeadPage, QueueError> {
    let mut dead = letters(queue, wanted, wanted.limit + 1).await?;
    let more = dead.len() > wanted.limit;
    dead.truncate(wanted.limit);
    Ok(DeadPage { dead, more })
}

async fn list(queue: &Queue, which: &Which, paint: Paint) -> Result<Answer, Failure> {
    let wanted = which.wanted();
    let found = page(queue, &wanted).await?;
    let mut table = Table::new(&[
        "JOB",
        "TENANT",
        "DIED",
        "CLASS",
        "ATTEMPTS>",
        "LAST WORKER",
        "MESSAGE",
    ]);
    for letter in &found.dead {
        let message = letter.message.lines().next().unwrap_or_default();
        table.row([
            letter.job.into(),
            (&letter.tenant).into(),
            ago(letter.died_at).into(),
            letter.class.into(),
            letter.attempts.into(),
            or_dash(letter.last_worker.map(|worker| worker.to_string())).into(),
            shorten(message, MESSAGE_CHARS).into(),
        ]);
    }
    let mut text = table.show(paint, "no dead letters");
    if found.more {
        let limit = wanted.limit.saturating_mul(10).min(10_000);
        text.push_str(&format!("and more: --limit {limit}\n"));
    }
    Ok(Answer::ok(text, json!(found)))
}

/// Runs dead letters again, or with `dry_run` only tells which.
pub(crate) async fn rerun(
    queue: &Queue,
    wanted: &Wanted,
    dry_run: bool,
) -> Result<RedriveReport, QueueError> {
    let mut report = RedriveReport {
        dry_run,
        redriven: Vec::new(),
        accepted: 0,
        refused: 0,
    };
    if dry_run {
        let would = |letter: DeadView| RedrivenView {
            dead: letter.job,
            tenant: letter.tenant,
            job: None,
            outcome: "dry_run".to_owned(),
            refused: None,
        };
        let letters = letters(queue, wanted, wanted.limit).await?;
        report.redriven = letters.into_iter().map(would).collect();
        return Ok(report);
    }
    for tenant in wanted.tenants(queue).await? {
        loop {
            let left = wanted.limit - report.redriven.len();
            if left == 0 {
                break;
            }
            let some = queue
                .redrive(&tenant, &wanted.filter, left.min(BATCH_MAX), false)
                .await?;
            let mut is_refused = false;
            for one in &some {
                let (outcome, refused) = match one.reply.as_ref().map_or(Ok("gone"), said) {
                    Ok(word) => (word, None),
                    Err((word, why)) => (word, Some(why)),
                };
                is_refused |= refused.is_some();
                report.refused += usize::from(refused.is_some());
                report.accepted += usize::from(one.job.is_some());
                report.redriven.push(RedrivenView {
                    dead: one.dead,
                    tenant: tenant.clone(),
                    job: one.job,
                    outcome: outcome.to_owned(),
                    refused,
                });
            }
            // What is refused stays on the list and would only be refused again.
            if some.is_empty() || is_refused {
                break;
            }
        }
    }
    Ok(report)
}

async fn redrive(
    queue: &Queue,
    which: &Which,
    dry_run: bool,
    paint: Paint,
) -> Result<Answer, Failure> {
    let report = rerun(queue, &which.wanted(), dry_run).await?;
    let mut table = Table::new(&["DEAD", "TENANT", "RUNS AGAIN AS"]);
    for one in &report.redriven {
        let shown = match (one.job, &one.refused) {
            (Some(job), _) => job.to_string(),
            (None, Some(why)) => format!("refused: {why}"),
            (None, None) if dry_run => "(dry run)".to_owned(),
            (None, None) => String::new(),
        };
        table.row([one.dead.into(), (&one.tenant).into(), shown.into()]);
    }
    let mut text = table.show(paint, "no dead letters");
    if !dry_run && report.accepted + report.refused > 0 {
        let letters = plural(report.accepted, "dead letter");
        text.push_str(&format!(
            "{letters} run again, {} refused\n",
            report.refused
        ));
    }
    let exit = if report.refused > 0 {
        Exit::Quota
    } else {
        Exit::Ok
    };
    let json = json!(report);
    Ok(Answer { text, json, exit })
}

/// Takes dead letters off a tenant's list; without `ids`, all of them, at most 10,000.
pub(crate) async fn strike(
    queue: &Queue,
    tenant: &TenantId,
    ids: Option<Vec<JobId>>,
) -> Result<DiscardReport, QueueError> {
    let ids = match ids {
        Some(ids) => ids,
        None => queue
            .dead_letters(tenant, &DeadFilter::default(), 10_000)
            .await?
            .into_iter()
            .map(|letter| letter.job)
            .collect(),
    };
    let mut discarded = 0;
    if !ids.is_empty() {
        discarded = queue.discard(tenant, &ids).await?;
    }
    Ok(DiscardReport {
        tenant: tenant.clone(),
        discarded,
        missing: (ids.len() as u64).saturating_sub(discarded),
    })
}

async fn discard(
    queue: &Queue,
    tenant: &TenantId,
    ids: Vec<JobId>,
    all: bool,
) -> Result<Answer, Failure> {
    let report = strike(queue, tenant, (!all).then_some(ids)).await?;
    let (taken, missing) = (report.discarded, report.missing);
    let mut text = format!("{} of {tenant} discarded\n", plural(taken, "dead letter"));
    if missing > 0 {
        text.push_str(&format!(
            "{missing} were not on its list: `manimq admin dead list --tenant {tenant}` shows it\n"
        ));
    }
    let exit = if missing > 0 { Exit::Failed } else { Exit::Ok };
    let json = json!(report);
    Ok(Answer { text, json, exit })
}
