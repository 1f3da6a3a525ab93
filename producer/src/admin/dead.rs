//! `manimq admin dead`: jobs that failed for good by no fault of their author.

use clap::{Args, Subcommand};
use jiff::Timestamp;
use manimq_shared::ids::{JobId, TenantId};
use manimq_shared::job::FailureClass;
use manimq_shared::queue::{BATCH_MAX, DeadFilter, DeadLetter, Queue, QueueError};
use serde_json::json;

use super::jobs::said;
use super::show::{ago, or_dash, plural};
use super::table::Table;
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
The new jobs count against their tenant's quotas; what is refused stays. A dead letter is run again
once, however often this runs.

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

fn since(text: &str) -> Result<Timestamp, String> {
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
    fn filter(&self) -> DeadFilter {
        DeadFilter {
            class: self.class,
            since: self.since,
            until: None,
        }
    }

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
    which: &Which,
    limit: usize,
) -> Result<Vec<(TenantId, DeadLetter)>, QueueError> {
    let mut found = Vec::new();
    for tenant in which.tenants(queue).await? {
        let left = limit - found.len();
        if left == 0 {
            break;
        }
        let letters = queue.dead_letters(&tenant, &which.filter(), left).await?;
        found.extend(letters.into_iter().map(|letter| (tenant.clone(), letter)));
    }
    Ok(found)
}

async fn list(queue: &Queue, which: &Which, paint: Paint) -> Result<Answer, Failure> {
    let limit = which.limit as usize;
    let mut found = letters(queue, which, limit + 1).await?;
    let more = found.len() > limit;
    found.truncate(limit);
    let mut table = Table::new(&[
        "JOB",
        "TENANT",
        "DIED",
        "CLASS",
        "ATTEMPTS>",
        "LAST WORKER",
        "MESSAGE",
    ]);
    for (tenant, letter) in &found {
        let message = letter.message.lines().next().unwrap_or_default();
        table.row([
            letter.job.into(),
            tenant.into(),
            ago(letter.at).into(),
            letter.class.into(),
            letter.attempts.into(),
            or_dash(letter.last_worker.map(|worker| worker.to_string())).into(),
            shorten(message, MESSAGE_CHARS).into(),
        ]);
    }
    let mut text = table.show(paint, "no dead letters");
    if more {
        text.push_str(&format!(
            "and more: --limit {}\n",
            limit.saturating_mul(10).min(10_000)
        ));
    }
    let found: Vec<_> = found
        .iter()
        .map(|(tenant, letter)| {
            json!({
                "job": letter.job, "tenant": tenant, "died_at": letter.at, "class": letter.class,
                "attempts": letter.attempts, "last_worker": letter.last_worker, "message": letter.message,
            })
        })
        .collect();
    Ok(Answer::ok(text, json!({ "dead": found, "more": more })))
}

async fn redrive(
    queue: &Queue,
    which: &Which,
    dry_run: bool,
    paint: Paint,
) -> Result<Answer, Failure> {
    let mut table = Table::new(&["DEAD", "TENANT", "RUNS AGAIN AS"]);
    let (mut told, mut accepted, mut refused) = (Vec::new(), 0, 0);
    if dry_run {
        for (tenant, letter) in letters(queue, which, which.limit as usize).await? {
            table.row([letter.job.into(), (&tenant).into(), "(dry run)".into()]);
            told.push(
                json!({ "dead": letter.job, "tenant": tenant, "job": null, "outcome": "dry_run" }),
            );
        }
    } else {
        for tenant in which.tenants(queue).await? {
            loop {
                let left = which.limit as usize - told.len();
                if left == 0 {
                    break;
                }
                let some = queue
                    .redrive(&tenant, &which.filter(), left.min(BATCH_MAX), false)
                    .await?;
                let mut is_refused = false;
                for one in &some {
                    let outcome = one.reply.as_ref().map_or(Ok("gone"), said);
                    let (word, shown) = match (outcome, one.job) {
                        (Ok(word), Some(job)) => (word, job.to_string()),
                        (Ok(word), None) => (word, String::new()),
                        (Err((word, why)), _) => {
                            is_refused = true;
                            refused += 1;
                            (word, format!("refused: {why}"))
                        }
                    };
                    accepted += usize::from(one.job.is_some());
                    table.row([one.dead.into(), (&tenant).into(), shown.into()]);
                    told.push(json!({ "dead": one.dead, "tenant": tenant, "job": one.job, "outcome": word }));
                }
                // What is refused stays on the list and would only be refused again.
                if some.is_empty() || is_refused {
                    break;
                }
            }
        }
    }
    let mut text = table.show(paint, "no dead letters");
    if !dry_run && accepted + refused > 0 {
        let letters = plural(accepted, "dead letter");
        text.push_str(&format!("{letters} run again, {refused} refused\n"));
    }
    let exit = if refused > 0 { Exit::Quota } else { Exit::Ok };
    let json =
        json!({ "dry_run": dry_run, "redriven": told, "accepted": accepted, "refused": refused });
    Ok(Answer { text, json, exit })
}

async fn discard(
    queue: &Queue,
    tenant: &TenantId,
    ids: Vec<JobId>,
    all: bool,
) -> Result<Answer, Failure> {
    let ids = if all {
        let letters = queue
            .dead_letters(tenant, &DeadFilter::default(), 10_000)
            .await?;
        letters.into_iter().map(|letter| letter.job).collect()
    } else {
        ids
    };
    let mut taken = 0;
    if !ids.is_empty() {
        taken = queue.discard(tenant, &ids).await?;
    }
    let missing = (ids.len() as u64).saturating_sub(taken);
    let mut text = format!("{} of {tenant} discarded\n", plural(taken, "dead letter"));
    if missing > 0 {
        text.push_str(&format!(
            "{missing} were not on its list: `manimq admin dead list --tenant {tenant}` shows it\n"
        ));
    }
    let exit = if missing > 0 { Exit::Failed } else { Exit::Ok };
    let json = json!({ "tenant": tenant, "discarded": taken, "missing": missing });
    Ok(Answer { text, json, exit })
}
