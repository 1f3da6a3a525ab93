//! How requests become jobs: one, a batch, or an earlier job again. What the queue says of each becomes
//! the id of a job or an error.

use std::time::{Duration, SystemTime};

use axum::http::HeaderMap;
use jiff::Timestamp;
use manimq_shared::ids::{JobId, TenantId};
use manimq_shared::job::{JobPayload, JobRecord, Progress, Quality, Status};
use manimq_shared::queue::{Allowance, Enqueued, NewJob, QuotaUsage, RenderKey};
use manimq_shared::traces::{Below, JobTrace, Span};

use super::problem::{ApiError, Kind};
use super::{App, jobs, usage};

/// When a submit that met a full queue may be worth to repeat: about one render.
const FULL_RETRY_S: u64 = 10;

/// A job that is in the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Admitted {
    /// Its id.
    pub id: JobId,
    /// Whether an earlier submit brought it.
    pub replayed: bool,
}

/// What is submitted, for the queue. `idempotency`: key and fingerprint.
pub(super) fn new_job(
    tenant: &TenantId,
    payload: JobPayload,
    idempotency: Option<(String, String)>,
) -> NewJob {
    NewJob {
        id: JobId::generate(tenant),
        render: RenderKey::of(&payload),
        payload,
        delay: Duration::ZERO,
        idempotency,
    }
}

/// What an earlier submit with the same key and body was answered, where a language model is asked about the body:
/// it costs something, and may say something else each time.
pub(super) async fn earlier(
    app: &App,
    tenant: &TenantId,
    idempotency: Option<&(String, String)>,
) -> Result<Option<(JobRecord, HeaderMap, bool)>, ApiError> {
    let Some((key, fingerprint)) = idempotency.filter(|_| app.parts().llm.is_some()) else {
        return Ok(None);
    };
    let asked = app.queue().submitted_before(tenant, key, fingerprint);
    match app.redis("submitted_before", asked).await? {
        Some(Enqueued::Exists(id)) => {
            app.metrics().jobs_replayed.inc();
            let (record, usage) = load(app, tenant, id).await?;
            Ok(Some((record, usage::headers(&usage), true)))
        }
        Some(Enqueued::KeyReused(id)) => Err(key_reused(id)),
        _ => Ok(None),
    }
}

fn key_reused(earlier: JobId) -> ApiError {
    ApiError::new(
        Kind::IdempotencyKeyReused,
        format!(
            "this Idempotency-Key was used for {earlier} with another body; use a new key for a new request"
        ),
    )
}

/// Submits one job; gives its object, what its tenant uses, and whether an earlier submit brought it. Refusals by
/// a quota carry the RateLimit headers.
pub(super) async fn submit(
    app: &App,
    tenant: &TenantId,
    job: NewJob,
) -> Result<(JobRecord, HeaderMap, bool), ApiError> {
    let jobs = std::slice::from_ref(&job);
    let replies = app
        .redis("enqueue", app.queue().enqueue(tenant, jobs))
        .await?;
    let reply = replies
        .into_iter()
        .next()
        .ok_or_else(|| ApiError::new(Kind::Internal, "the queue did not answer for this job"))?;
    let admitted = match outcome(app, tenant, &job, reply) {
        Ok(admitted) => admitted,
        Err(error) => return Err(usage::explain(app, tenant, error).await),
    };
    match load(app, tenant, admitted.id).await {
        Ok((record, usage)) => Ok((record, usage::headers(&usage), admitted.replayed)),
        Err(error) if admitted.replayed => Err(error),
        // The job is in the queue: a client that was told otherwise would submit it twice.
        Err(error) => {
            let id = admitted.id;
            tracing::warn!(job.id = %id, cause = error.cause_text(), "{id} was accepted but cannot be read; answered with what was accepted");
            Ok((
                as_accepted(id, tenant.clone(), job.payload),
                HeaderMap::new(),
                false,
            ))
        }
    }
}

async fn load(
    app: &App,
    tenant: &TenantId,
    id: JobId,
) -> Result<(JobRecord, QuotaUsage), ApiError> {
    app.redis("read", app.queue().read_with_usage(id))
        .await?
        .filter(|(record, _)| record.tenant == *tenant)
        .ok_or_else(|| jobs::unknown_job(id))
}

/// What the queue said of a job, as the API tells it.
pub(super) fn outcome(
    app: &App,
    tenant: &TenantId,
    job: &NewJob,
    reply: Enqueued,
) -> Result<Admitted, ApiError> {
    let metrics = app.metrics();
    let refused = |policy: &str| {
        metrics.quota_rejections.with_label_values(&[policy]).inc();
        metrics.tenant_rejections.inc(tenant);
    };
    let id = job.id;
    match reply {
        Enqueued::Accepted | Enqueued::Cached => {
            accepted(app, tenant, job);
            Ok(Admitted {
                id,
                replayed: false,
            })
        }
        // A call that was sent again after the connection broke finds its own job.
        Enqueued::Exists(earlier) if earlier == id => {
            accepted(app, tenant, job);
            Ok(Admitted {
                id,
                replayed: false,
            })
        }
        Enqueued::Exists(earlier) => {
            metrics.jobs_replayed.inc();
            Ok(Admitted {
                id: earlier,
                replayed: true,
            })
        }
        Enqueued::KeyReused(earlier) => Err(key_reused(earlier)),
        Enqueued::Full { active, limit } => {
            refused("queued_jobs");
            Err(ApiError::new(
                Kind::QuotaExceeded,
                format!("as many jobs wait or run as this tenant may have: {active} of {limit}; submit again when one has ended"),
            )
            .with_policy("queued_jobs")
            .retry_after(FULL_RETRY_S))
        }
        Enqueued::Limited {
            policy,
            limit,
            used,
            retry_after,
        } => {
            let policy = policy.as_str();
            refused(policy);
            let wait_s = retry_after.as_secs() + u64::from(retry_after.subsec_nanos() > 0);
            Err(ApiError::new(
                Kind::QuotaExceeded,
                format!("{used} of {limit} ({policy}) are used up; submit again in {wait_s} s"),
            )
            .with_policy(policy)
            .retry_after(wait_s))
        }
        Enqueued::Forbidden {
            allowance,
            limit,
            asked,
        } => {
            let policy = allowance.as_str();
            refused(policy);
            Err(
                ApiError::new(Kind::NotAllowed, not_allowed(allowance, limit, asked))
                    .with_policy(policy),
            )
        }
        Enqueued::NotCached => Err(ApiError::new(
            Kind::NotCached,
            "no earlier result of the same work is there; submit with \"cache\": \"use\" to render it",
        )),
        Enqueued::Withheld => Err(ApiError::new(
            Kind::Withheld,
            "nothing is wrong with this job, but another of the batch was refused",
        )),
    }
}

/// Why a tenant may not ask for this at all.
fn not_allowed(allowance: Allowance, limit: u64, asked: u64) -> String {
    let quality = |rank: u64| {
        let at = usize::try_from(rank)
            .ok()
            .and_then(|rank| Quality::ALL.get(rank));
        at.map_or("?", |quality| quality.as_str())
    };
    match allowance {
        Allowance::Quality => format!(
            "quality {} is more than this tenant may ask for; {} is the most",
            quality(asked),
            quality(limit)
        ),
        Allowance::TimeoutSeconds => {
            format!("timeout_s {asked} is more than this tenant may ask for; {limit} is the most")
        }
        Allowance::SourceBytes => {
            format!("the source has {asked} bytes; this tenant may send {limit}")
        }
        Allowance::Code => "this tenant may not send code of its own".to_owned(),
    }
}

fn accepted(app: &App, tenant: &TenantId, job: &NewJob) {
    let request = &job.payload.request;
    let (id, lane) = (job.id, request.lane.as_str());
    app.metrics()
        .jobs_submitted
        .with_label_values(&[lane, request.input.kind()])
        .inc();
    let trace = JobTrace::of(id, job.payload.traceparent.as_deref());
    app.parts().traces.tell(&trace, Below::Caller, || {
        // An id is made right before its job is sent to the queue.
        let began = SystemTime::UNIX_EPOCH + Duration::from_millis(id.made_at_ms());
        Span::since("submit", began)
            .with("job.id", id.to_string())
            .with("tenant.id", tenant.to_string())
            .with("job.lane", lane)
            .with("job.kind", request.input.kind())
    });
    tracing::info!(job.id = %id, tenant.id = %tenant, trace_id = trace.id(), lane, "accepted {id}");
}

/// A job as it is right after it was accepted.
pub(super) fn as_accepted(id: JobId, tenant: TenantId, payload: JobPayload) -> JobRecord {
    JobRecord {
        id,
        tenant,
        status: Status::Queued,
        lane: payload.request.lane,
        revision: 1,
        created_at: Timestamp::now(),
        started_at: None,
        finished_at: None,
        expires_at: None,
        cancel_requested_at: None,
        not_before: None,
        position: None,
        paused: None,
        expected_wait: None,
        rendered_by: None,
        cached: false,
        progress: Progress::default(),
        attempts: Vec::new(),
        payload,
        result: None,
    }
}
