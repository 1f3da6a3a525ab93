//! An attempt in its job's trace: see `manimq_shared::traces`.

use std::time::{Duration, SystemTime};

use manimq_shared::queue::{Claim, Settled};
use manimq_shared::traces::{Below, JobTrace, Span, SpanId, Traces};

use crate::sandbox::{RenderError, Rendered, Timings};

/// Tells of one attempt.
pub struct Spans {
    traces: Traces,
    trace: JobTrace,
    attempt: SpanId,
}

/// The trace of a claimed job.
#[must_use]
pub fn trace_of(claim: &Claim) -> JobTrace {
    let payload = claim.payload.as_ref().ok();
    JobTrace::of(
        claim.job,
        payload.and_then(|payload| payload.traceparent.as_deref()),
    )
}

impl Spans {
    /// Tells how its job came to this slot.
    #[must_use]
    pub fn begin(traces: &Traces, claim: &Claim) -> Self {
        let spans = Self {
            traces: traces.clone(),
            trace: trace_of(claim),
            attempt: traces.new_id(),
        };
        let claimed = SystemTime::from(claim.claimed_at);
        if claim.attempt == 1 {
            traces.tell(&spans.trace, Below::Submit, || {
                Span::between("queued", claim.created_at.into(), claimed)
                    .with("job.id", claim.job.to_string())
            });
        }
        spans.tell(|| Span::since("claim", claimed));
        spans
    }

    /// Tells of a part of the attempt.
    pub fn tell(&self, span: impl FnOnce() -> Span) -> SpanId {
        self.traces
            .tell(&self.trace, Below::Span(self.attempt), span)
    }

    /// Tells of a render and its stages.
    pub fn rendered(&self, began: SystemTime, result: &Result<Rendered, RenderError>) {
        let error = result.as_ref().err();
        let id = self.tell(|| {
            // A scene's own words stay in its job.
            let error = error.map(|error| match error {
                RenderError::Failed(failure) => failure.class.to_string(),
                RenderError::Interrupted => "interrupted".to_owned(),
                RenderError::SandboxLost { .. } => "sandbox lost".to_owned(),
            });
            Span::since("sandbox", began).failed(error)
        });
        let Ok(rendered) = result else { return };
        let Timings {
            walls_s,
            prepare_s,
            render_s,
            encode_s,
        } = rendered.timings;
        let mut at = began;
        // One after the other, as they are: the sandbox tells how long each took.
        for (name, seconds) in [
            ("walls", walls_s),
            ("preparing", prepare_s),
            ("rendering", render_s),
            ("encoding", encode_s),
        ] {
            let took = Duration::try_from_secs_f64(seconds).unwrap_or_default();
            let end = at + took;
            self.traces.tell(&self.trace, Below::Span(id), || {
                Span::between(name, at, end)
            });
            at = end;
        }
    }

    /// Tells of the whole attempt.
    pub fn end(self, claim: &Claim, worker: &str, outcome: &str, settled: Settled) {
        let ok = settled == Settled::Accepted && matches!(outcome, "succeeded" | "canceled");
        self.traces
            .tell_as(self.attempt, &self.trace, Below::Submit, || {
                Span::since("attempt", claim.claimed_at.into())
                    .with("job.id", claim.job.to_string())
                    .with("attempt.n", i64::from(claim.attempt))
                    .with("tenant.id", claim.tenant.to_string())
                    .with("worker.id", worker.to_owned())
                    .with("outcome", outcome.to_owned())
                    .failed((!ok).then(|| outcome.to_owned()))
            });
    }
}
