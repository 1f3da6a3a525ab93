//! A tenant goes with all that is its.
//!
//! First it is disabled, so that nothing comes after; then what waits and runs is cancelled, and each job is
//! erased when it has ended. Only when there is none left do its webhooks, settings, keys and record go: who
//! is interrupted finds the tenant disabled and begins again.

use std::time::Duration;

use futures_util::future::BoxFuture;
use manimq_shared::ids::{JobId, TenantId};
use manimq_shared::queue::{
    CancelOutcome, Cursor, Erased, Leaves, ListQuery, PauseScope, Queue, Quotas, RenderLimits,
};
use tokio::time::{Instant, sleep};

use super::one;
use crate::admin::Refusal;
use crate::admin::view::DeletionReport;
use crate::api::auth::KEY_AGE_MAX;

/// Jobs of a page.
const PAGE: usize = 200;
/// Longest wait for what runs to stop. A worker that does not obey loses its job 30 s after the cancel.
const STOP_MAX: Duration = Duration::from_secs(50);
/// Pause between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Who was let in just before the tenant was disabled has submitted by then: API processes believe a key
/// for [`KEY_AGE_MAX`], and then the body of a submit may still be on its way.
const SETTLED_AFTER: Duration = Duration::from_secs(KEY_AGE_MAX.as_secs() + 3);

/// Removes files.
pub(crate) type Remove = dyn Fn(Leaves) -> BoxFuture<'static, u64> + Send + Sync;

/// Deletes a tenant, or with `dry_run` counts what would go. `remove` removes the files that an erased job
/// leaves, and says how many.
pub(crate) async fn delete(
    queue: &Queue,
    tenant: &TenantId,
    dry_run: bool,
    remove: &Remove,
) -> Result<DeletionReport, Refusal> {
    one(queue, tenant).await?;
    let mut report = DeletionReport {
        tenant: tenant.clone(),
        dry_run,
        complete: !dry_run,
        jobs: 0,
        not_ended: 0,
        files: 0,
        file_bytes: 0,
        files_removed: 0,
        webhooks: queue.webhooks(tenant).await?.len() as u64,
        keys: queue.keys_of_account(tenant).await?.len() as u64,
    };
    if dry_run {
        count(queue, &mut report).await?;
        return Ok(report);
    }
    if queue.disable_account(tenant).await?.is_none() {
        // It has jobs or settings but was never made.
        queue.pause(&PauseScope::Tenant(tenant.clone())).await?;
    }
    let begun = Instant::now();
    loop {
        let before = report.jobs;
        report.not_ended = pass(queue, &mut report, remove).await?;
        let quiet = report.not_ended == 0 && report.jobs == before;
        if quiet && begun.elapsed() >= SETTLED_AFTER {
            break;
        }
        if begun.elapsed() >= STOP_MAX {
            report.complete = false;
            return Ok(report);
        }
        sleep(LOOK_EVERY).await;
    }
    // One that nothing leads to would run once the pause is over.
    report.not_ended = queue.usage(tenant).await?.active;
    if report.not_ended > 0 {
        report.complete = false;
        return Ok(report);
    }
    queue.forget_lists(tenant).await?;
    // Which files came with its jobs; by their own age they are swept all the same.
    let mut command = redis::cmd("DEL");
    command.arg(queue.keys().assets(tenant));
    let _: i64 = queue.query(&command).await?;
    for webhook in queue.webhooks(tenant).await? {
        queue.delete_webhook(tenant, webhook.id).await?;
    }
    queue.set_quotas(tenant, &Quotas::default()).await?;
    queue
        .set_render_limits(tenant, &RenderLimits::default())
        .await?;
    queue.forget_account(tenant).await?;
    queue.resume(&PauseScope::Tenant(tenant.clone())).await?;
    Ok(report)
}

/// Cancels and erases what there is; how many jobs have not ended yet.
async fn pass(queue: &Queue, report: &mut DeletionReport, remove: &Remove) -> Result<u64, Refusal> {
    let tenant = report.tenant.clone();
    let (mut from, mut left) = (None, 0);
    loop {
        let page = queue.list(&tenant, query(from), |_| true).await?;
        for job in page.jobs {
            if !job.record.status.is_terminal() {
                queue.cancel(&tenant, job.record.id).await?;
            }
            left += u64::from(!take(queue, report, job.record.id, remove).await?);
        }
        from = page.next;
        if from.is_none() {
            break;
        }
    }
    // Who has waited for weeks is in no list any more.
    let mut page = Some(Cursor::default());
    while let Some(at) = page {
        let (ids, next) = queue.active_jobs(&tenant, &at).await?;
        for id in ids {
            match queue.cancel(&tenant, id).await? {
                CancelOutcome::Canceled => {
                    take(queue, report, id, remove).await?;
                }
                // Most likely counted already, by the list.
                CancelOutcome::Requested => left = left.max(1),
                CancelOutcome::AlreadyTerminal | CancelOutcome::NotFound => {}
            }
        }
        page = next;
    }
    Ok(left)
}

/// Erases a job; false if it has not ended yet.
async fn take(
    queue: &Queue,
    report: &mut DeletionReport,
    id: JobId,
    remove: &Remove,
) -> Result<bool, Refusal> {
    match queue.erase(&report.tenant.clone(), id, false).await? {
        Erased::Gone(leaves) => {
            report.jobs += 1;
            tally(report, &leaves);
            report.files_removed += remove(*leaves).await;
            Ok(true)
        }
        // Another pass erased it, or its record ended by itself.
        Erased::NotFound => Ok(true),
        Erased::NotEnded(_) | Erased::RendersForOthers(_) => Ok(false),
    }
}

/// Files go with the last job that shows them.
fn tally(report: &mut DeletionReport, leaves: &Leaves) {
    if leaves.shown_by_others == 0 {
        let artifacts = leaves.result.iter().flat_map(|result| &result.artifacts);
        for artifact in artifacts {
            report.files += 1;
            report.file_bytes += artifact.bytes;
        }
    }
}

async fn count(queue: &Queue, report: &mut DeletionReport) -> Result<(), Refusal> {
    let mut from = None;
    loop {
        let page = queue.list(&report.tenant, query(from), |_| true).await?;
        for job in page.jobs {
            report.jobs += 1;
            report.not_ended += u64::from(!job.record.status.is_terminal());
            let own = job.record.rendered_by.is_none_or(|by| by == job.record.id);
            let artifacts = job.record.result.iter().flat_map(|r| &r.artifacts);
            for artifact in artifacts.filter(|_| own) {
                report.files += 1;
                report.file_bytes += artifact.bytes;
            }
        }
        from = page.next;
        if from.is_none() {
            return Ok(());
        }
    }
}

fn query(from: Option<manimq_shared::queue::ListCursor>) -> ListQuery {
    ListQuery {
        from,
        limit: PAGE,
        not_before: None,
        not_after: None,
    }
}
