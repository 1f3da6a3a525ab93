//! Traces: one per job, from its submit to its film, over all processes that touch it.
//!
//! Spans are named by the transitions of a job. Most of them are known only when they are over, and by clocks of
//! others (a claim knows when its job was submitted), so they are told as finished spans, at once:
//!
//! ```text
//! submit                          the API; its parent is the caller's span, if the caller sent a `traceparent`
//! ├─ queued                       from submit to the first claim
//! ├─ attempt                      a worker, from claim to settlement; one for each
//! │  ├─ claim                     until its slot began with it
//! │  ├─ sandbox                   the render: with `preparing`, `rendering`, `encoding` in it
//! │  ├─ upload                    the film's way to the store
//! │  └─ finish                    or `fail`, `release`, `cancel`: the transition that settled it
//! └─ webhook                      a call to a tenant's server
//! ```
//!
//! Nothing is stored for that: without a `traceparent` a job's id, which is as long as a trace's, is the trace's, and the
//! submit's span has the id's second half. So every process knows the trace of a job by its id alone.
//!
//! Off unless an endpoint is set. Spans wait in a bounded buffer; when that is full they are dropped, never waited for.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

pub use opentelemetry::trace::SpanId;
use opentelemetry::trace::{SpanContext, SpanKind, Status, TraceFlags, TraceId, TraceState};
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_otlp::WithExportConfig as _;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{
    BatchConfigBuilder, BatchSpanProcessor, SpanData, SpanEvents, SpanExporter, SpanLinks,
    SpanProcessor,
};

use crate::ids::JobId;

/// Most spans that wait to be sent.
const WAITING_MAX: usize = 8192;
/// Most spans of one request, and how long the first of them waits for others.
const BATCH_MAX: usize = 512;
const DELAY: Duration = Duration::from_secs(2);
/// Longest time of a request, and for what still waits at the end of the process.
const TIMEOUT: Duration = Duration::from_secs(5);

/// The trace of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JobTrace {
    trace: TraceId,
    root: SpanId,
    caller: SpanId,
    sampled: bool,
}

impl JobTrace {
    /// The trace of a job whose submit came with this W3C `traceparent`, or with none.
    #[must_use]
    pub fn of(job: JobId, traceparent: Option<&str>) -> Self {
        let bytes = job.as_bytes();
        let mut root = [0; 8];
        root.copy_from_slice(&bytes[8..]);
        let (trace, caller, sampled) = traceparent.and_then(parse).unwrap_or((
            TraceId::from_bytes(*bytes),
            SpanId::INVALID,
            true,
        ));
        Self {
            trace,
            root: SpanId::from_bytes(root),
            caller,
            sampled,
        }
    }

    /// The trace's id as logs and backends show it: 32 hex digits.
    #[must_use]
    pub fn id(&self) -> String {
        self.trace.to_string()
    }
}

/// Trace, caller's span, and whether it is recorded. As W3C Trace Context has it, what is not valid counts as absent.
fn parse(text: &str) -> Option<(TraceId, SpanId, bool)> {
    let mut parts = text.split('-');
    let (version, trace, span, flags) =
        (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    if version.len() != 2
        || version.eq_ignore_ascii_case("ff")
        || trace.len() != 32
        || span.len() != 16
    {
        return None;
    }
    let trace = TraceId::from_hex(&trace.to_ascii_lowercase()).ok()?;
    let span = SpanId::from_hex(&span.to_ascii_lowercase()).ok()?;
    let flags = u8::from_str_radix(flags.get(..2)?, 16).ok()?;
    (trace != TraceId::INVALID && span != SpanId::INVALID).then_some((trace, span, flags & 1 == 1))
}

/// A span that is over.
#[derive(Debug, Clone)]
pub struct Span {
    /// What happened: a transition or a part of one.
    pub name: &'static str,
    /// When it began.
    pub began: SystemTime,
    /// When it was over.
    pub ended: SystemTime,
    /// What is known of it. Never a source, a token or a signed URL.
    attributes: Vec<KeyValue>,
    error: Option<String>,
}

impl Span {
    /// A span from `began` until now.
    #[must_use]
    pub fn since(name: &'static str, began: SystemTime) -> Self {
        Self::between(name, began, SystemTime::now())
    }

    /// A span of these times. Clocks differ: it never ends before it began.
    #[must_use]
    pub fn between(name: &'static str, began: SystemTime, ended: SystemTime) -> Self {
        Self {
            name,
            began,
            ended: ended.max(began),
            attributes: Vec::new(),
            error: None,
        }
    }

    /// With one thing more.
    #[must_use]
    pub fn with(mut self, key: &'static str, value: impl Into<opentelemetry::Value>) -> Self {
        self.attributes.push(KeyValue::new(key, value));
        self
    }

    /// As one that went wrong, if it did.
    #[must_use]
    pub fn failed(mut self, error: Option<String>) -> Self {
        self.error = error;
        self
    }
}

/// Where a span belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Below {
    /// It is the submit itself.
    Caller,
    /// Right below the submit.
    Submit,
    /// Below another span.
    Span(SpanId),
}

/// Where spans go. Clones share it; the default sends nothing.
#[derive(Clone, Default)]
pub struct Traces(Option<Arc<Sender>>);

struct Sender {
    processor: BatchSpanProcessor,
    scope: InstrumentationScope,
}

impl fmt::Debug for Traces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_on() {
            "Traces(on)"
        } else {
            "Traces(off)"
        })
    }
}

/// Why traces cannot be sent. `Display` names what to change.
#[derive(Debug, thiserror::Error)]
pub enum TracesError {
    /// The endpoint is no URL of a server.
    #[error(
        "OTEL_EXPORTER_OTLP_ENDPOINT: it is not http://HOST:PORT or https://HOST: name the OTLP/HTTP port of a collector, such as http://127.0.0.1:4318"
    )]
    Endpoint,
    /// The sender cannot be made.
    #[error("OTEL_EXPORTER_OTLP_ENDPOINT: traces cannot be sent")]
    Sender(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl Traces {
    /// Sends to `endpoint`, the base URL of an OTLP receiver for HTTP with protobuf (`/v1/traces` is added), as `service`. Headers
    /// come from `OTEL_EXPORTER_OTLP_HEADERS`. Without an endpoint nothing is sent.
    ///
    /// # Errors
    /// [`TracesError`]
    pub fn to(
        endpoint: Option<&str>,
        service: &'static str,
        version: &'static str,
    ) -> Result<Self, TracesError> {
        let Some(endpoint) = endpoint.map(str::trim).filter(|text| !text.is_empty()) else {
            return Ok(Self::default());
        };
        if !["http://", "https://"].iter().any(|scheme| {
            endpoint
                .strip_prefix(scheme)
                .is_some_and(|rest| !rest.is_empty())
        }) {
            return Err(TracesError::Endpoint);
        }
        crate::tls::choose_cryptography();
        let exporter = opentelemetry_otlp::SpanExporter::builder()
            .with_http()
            .with_endpoint(format!("{}/v1/traces", endpoint.trim_end_matches('/')))
            .with_timeout(TIMEOUT)
            .build()
            .map_err(|error| TracesError::Sender(Box::new(error)))?;
        let config = BatchConfigBuilder::default()
            .with_max_queue_size(WAITING_MAX)
            .with_max_export_batch_size(BATCH_MAX)
            .with_scheduled_delay(DELAY)
            .build();
        let telling = Telling {
            exporter,
            failing: AtomicBool::new(false),
        };
        let mut processor = BatchSpanProcessor::new(telling, config);
        let resource = Resource::builder()
            .with_service_name(service)
            .with_attribute(KeyValue::new("service.version", version))
            .build();
        processor.set_resource(&resource);
        Ok(Self(Some(Arc::new(Sender {
            processor,
            scope: InstrumentationScope::builder("manimq")
                .with_version(version)
                .build(),
        }))))
    }

    /// Whether spans are sent.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// Tells of a span that is over; `span` is made only if somebody wants it. Gives its id, for those below it.
    pub fn tell(&self, of: &JobTrace, below: Below, span: impl FnOnce() -> Span) -> SpanId {
        let id = match below {
            Below::Caller => of.root,
            Below::Submit | Below::Span(_) => self.new_id(),
        };
        self.tell_as(id, of, below, span);
        id
    }

    /// An id for a span that is told later than those below it.
    #[must_use]
    pub fn new_id(&self) -> SpanId {
        let mut bytes = [0; 8];
        if self.is_on() && getrandom::fill(&mut bytes).is_err() {
            return SpanId::INVALID;
        }
        SpanId::from_bytes(bytes)
    }

    /// [`Traces::tell`] with an id of [`Traces::new_id`].
    pub fn tell_as(&self, id: SpanId, of: &JobTrace, below: Below, span: impl FnOnce() -> Span) {
        let Some(sender) = self
            .0
            .as_ref()
            .filter(|_| of.sampled && id != SpanId::INVALID)
        else {
            return;
        };
        let span = span();
        let (parent, remote) = match below {
            Below::Caller => (of.caller, of.caller != SpanId::INVALID),
            Below::Submit => (of.root, true),
            Below::Span(parent) => (parent, false),
        };
        let context = SpanContext::new(of.trace, id, TraceFlags::SAMPLED, false, TraceState::NONE);
        sender.processor.on_end(SpanData {
            span_context: context,
            parent_span_id: parent,
            parent_span_is_remote: remote,
            span_kind: match span.name {
                "submit" => SpanKind::Producer,
                "attempt" => SpanKind::Consumer,
                "webhook" | "upload" => SpanKind::Client,
                _ => SpanKind::Internal,
            },
            name: span.name.into(),
            start_time: span.began,
            end_time: span.ended,
            attributes: span.attributes,
            dropped_attributes_count: 0,
            events: SpanEvents::default(),
            links: SpanLinks::default(),
            status: span.error.map_or(Status::Unset, Status::error),
            instrumentation_scope: sender.scope.clone(),
        });
    }

    /// Sends what waits, for a few seconds at most. May be called anywhere in a tokio runtime.
    pub async fn end(&self) {
        let Some(sender) = self.0.clone() else { return };
        // It waits for its thread.
        let _ =
            tokio::task::spawn_blocking(move || sender.processor.shutdown_with_timeout(TIMEOUT))
                .await;
    }
}

/// An exporter that says in the log when it cannot send, once, and when it can again.
#[derive(Debug)]
struct Telling {
    exporter: opentelemetry_otlp::SpanExporter,
    failing: AtomicBool,
}

impl SpanExporter for Telling {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let count = batch.len();
        let result = self.exporter.export(batch).await;
        let was = self.failing.swap(result.is_err(), Ordering::Relaxed);
        match &result {
            // Without the error's text, which may name the endpoint with what is secret in it.
            Err(_) if !was => tracing::warn!(
                spans = count,
                "traces cannot be sent to OTEL_EXPORTER_OTLP_ENDPOINT; they are dropped until they can"
            ),
            Ok(()) if was => tracing::info!("traces are sent again"),
            Ok(()) | Err(_) => {}
        }
        result
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::TenantId;

    fn job() -> JobId {
        JobId::generate(&TenantId::default())
    }

    #[test]
    fn a_job_without_a_caller_has_the_trace_of_its_own_id_in_every_process() {
        let job = job();
        let trace = JobTrace::of(job, None);
        assert_eq!(format!("job_{}", trace.id()), job.to_string());
        assert_eq!(trace, JobTrace::of(job, None));
        assert!(trace.sampled && trace.root != SpanId::INVALID);
    }

    #[test]
    fn a_callers_trace_goes_on_and_what_it_does_not_record_is_not_told() {
        let job = job();
        let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let trace = JobTrace::of(job, Some(parent));
        assert_eq!(trace.id(), "4bf92f3577b34da6a3ce929d0e0e4736");
        assert_eq!(trace.caller.to_string(), "00f067aa0ba902b7");
        assert!(trace.sampled);
        assert!(!JobTrace::of(job, Some(&parent.replace("-01", "-00"))).sampled);
    }

    #[test]
    fn a_traceparent_that_is_not_valid_counts_as_absent() {
        let job = job();
        for wrong in [
            "",
            "00",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4bf92f3577b34da6a3ce929d0e0e473-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e47zz-00f067aa0ba902b7-01",
        ] {
            assert_eq!(
                JobTrace::of(job, Some(wrong)),
                JobTrace::of(job, None),
                "{wrong}"
            );
        }
    }

    #[test]
    fn an_endpoint_that_is_no_url_is_refused_with_the_remedy() {
        for wrong in ["127.0.0.1:4318", "grpc://collector:4317", "http://"] {
            let error = Traces::to(Some(wrong), "test", "0").unwrap_err();
            assert!(
                error.to_string().contains("http://127.0.0.1:4318"),
                "{error}"
            );
        }
        assert!(!Traces::to(None, "test", "0").unwrap().is_on());
        assert!(!Traces::to(Some(" "), "test", "0").unwrap().is_on());
    }
}
