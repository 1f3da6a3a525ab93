//! Errors of the API: RFC 9457 `application/problem+json`, one closed list of kinds.
//!
//! A handler returns an [`ApiError`]; [`super::observe`] adds the request id and writes the body,
//! so that no answer can forget it. `detail` says what is wrong with this request and what to do.

use std::error::Error;
use std::sync::Arc;

use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use manimq_shared::api::Problem;
use manimq_shared::job::FieldError;
use manimq_shared::queue::QueueError;

/// Content type of every error.
pub const PROBLEM_JSON: &str = "application/problem+json";

macro_rules! kinds {
    ($($(#[$meta:meta])* $variant:ident = $status:ident, $slug:literal, $title:literal;)+) => {
        /// What kind of error.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Kind { $($(#[$meta])* $variant),+ }

        impl Kind {
            /// Every kind.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The slug in `type`; programs branch on it.
            #[must_use]
            pub const fn slug(self) -> &'static str { match self { $(Self::$variant => $slug),+ } }

            /// The same in a few words.
            #[must_use]
            pub const fn title(self) -> &'static str { match self { $(Self::$variant => $title),+ } }

            /// The HTTP status.
            #[must_use]
            pub const fn status(self) -> StatusCode { match self { $(Self::$variant => StatusCode::$status),+ } }
        }
    };
}

kinds! {
    /// Not a request of this API: not JSON, an unknown field, a header that cannot be read.
    Malformed = BAD_REQUEST, "malformed", "The request cannot be read";
    /// No key, or a wrong one.
    Unauthenticated = UNAUTHORIZED, "unauthenticated", "An API key is needed";
    /// The `Host` header names another site (DNS rebinding).
    HostNotAllowed = FORBIDDEN, "host-not-allowed", "This host name is not served here";
    /// A signed URL that was changed.
    SignatureInvalid = FORBIDDEN, "signature-invalid", "The signature is not valid";
    /// A signed URL that is too old.
    UrlExpired = FORBIDDEN, "url-expired", "The URL has expired";
    /// The tenant's quotas forbid what was asked for; waiting does not help.
    NotAllowed = FORBIDDEN, "not-allowed", "This tenant may not ask for that";
    /// Only an earlier result was wanted, and there is none.
    NotCached = PRECONDITION_FAILED, "not-cached", "No earlier result";
    /// The key lacks the scope that this needs.
    CapabilityMissing = FORBIDDEN, "capability-missing", "This key may not do that";
    /// An operator has disabled the tenant.
    TenantDisabled = FORBIDDEN, "tenant-disabled", "This tenant is disabled";
    /// No such thing, or not yours.
    NotFound = NOT_FOUND, "not-found", "Not found";
    /// Another method.
    MethodNotAllowed = METHOD_NOT_ALLOWED, "method-not-allowed", "Method not allowed";
    /// The body did not arrive in time.
    RequestTimeout = REQUEST_TIMEOUT, "request-timeout", "The request took too long to arrive";
    /// The job has no result yet.
    NotFinished = CONFLICT, "not-finished", "The job has not finished";
    /// One of a batch that was refused as a whole because of another.
    Withheld = CONFLICT, "withheld", "Another job of the batch was refused";
    /// The worker's lease is not the job's present one.
    LeaseLost = CONFLICT, "lease-lost", "The lease is not held";
    /// There is one of this name already.
    Exists = CONFLICT, "exists", "It exists already";
    /// What is there does not allow that now.
    Conflict = CONFLICT, "conflict", "Not possible as things are";
    /// Something else is stored under this key.
    ArtifactExists = CONFLICT, "artifact-exists", "Another file is stored there";
    /// As many as there may be.
    TooMany = CONFLICT, "too-many", "There are as many as there may be";
    /// A webhook that is switched off is not called.
    WebhookDisabled = CONFLICT, "webhook-disabled", "The webhook is switched off";
    /// Above a size limit.
    TooLarge = PAYLOAD_TOO_LARGE, "too-large", "Too large";
    /// Another version of a template than the one that is there.
    TemplateVersionGone = CONFLICT, "template-version-gone", "The template has another version";
    /// Another content type.
    MediaType = UNSUPPORTED_MEDIA_TYPE, "media-type", "Unsupported media type";
    /// A range outside the file.
    RangeNotSatisfiable = RANGE_NOT_SATISFIABLE, "range-not-satisfiable", "Range not satisfiable";
    /// Readable, but a value is wrong.
    InvalidParams = UNPROCESSABLE_ENTITY, "invalid-params", "A value is not valid";
    /// The scene policy or Python itself refuses the source.
    CodeRejected = UNPROCESSABLE_ENTITY, "code-rejected", "The source was refused";
    /// The idempotency key was used with another body.
    IdempotencyKeyReused = UNPROCESSABLE_ENTITY, "idempotency-key-reused", "The idempotency key was used for another request";
    /// A prompt that fits no template well enough, or several as well.
    PromptAmbiguous = UNPROCESSABLE_ENTITY, "prompt-ambiguous", "The prompt can be understood in several ways, or in none";
    /// What arrived is not what was announced.
    ContentMismatch = UNPROCESSABLE_ENTITY, "content-mismatch", "The content is not what was announced";
    /// The tenant's quota is used up.
    QuotaExceeded = TOO_MANY_REQUESTS, "quota-exceeded", "A quota is used up";
    /// Too many requests from one address.
    RateLimited = TOO_MANY_REQUESTS, "rate-limited", "Too many requests";
    /// A fault of manimq.
    Internal = INTERNAL_SERVER_ERROR, "internal", "A fault of manimq";
    /// Redis is away.
    QueueUnavailable = SERVICE_UNAVAILABLE, "queue-unavailable", "The queue is not available";
    /// Redis or this process is full.
    ReducedCapacity = SERVICE_UNAVAILABLE, "temporary-reduced-capacity", "No room at the moment";
    /// Files cannot be stored or read.
    StorageUnavailable = SERVICE_UNAVAILABLE, "storage-unavailable", "The storage is not available";
    /// A job would not run now.
    NotReady = SERVICE_UNAVAILABLE, "not-ready", "Not ready";
}

/// An error on its way to the client. Boxed: results stay small.
#[derive(Debug)]
pub struct ApiError(Box<Inner>);

#[derive(Debug)]
struct Inner {
    kind: Kind,
    problem: Problem,
    headers: HeaderMap,
    cause: Option<Cause>,
}

/// What the operator is told of an error; never sent.
pub(crate) type Cause = Arc<dyn Error + Send + Sync>;

impl ApiError {
    /// An error of a kind, with what is wrong with this request and what to do.
    pub fn new(kind: Kind, detail: impl Into<String>) -> Self {
        Self(Box::new(Inner {
            kind,
            problem: Problem {
                kind: kind.slug().to_owned(),
                title: kind.title().to_owned(),
                status: kind.status().as_u16(),
                detail: detail.into(),
                request_id: None,
                errors: Vec::new(),
                findings: Vec::new(),
                scenes: Vec::new(),
                candidates: Vec::new(),
                violated_policies: Vec::new(),
                retry_after_s: None,
            },
            headers: HeaderMap::new(),
            cause: None,
        }))
    }

    /// Nothing under that path.
    pub fn no_route(path: &str) -> Self {
        let path: String = path.chars().take(200).collect();
        Self::new(
            Kind::NotFound,
            format!("there is nothing at {path}; GET / lists what there is"),
        )
    }

    /// Wrong values, each with its pointer.
    pub fn invalid(errors: Vec<FieldError>) -> Self {
        let detail = match errors.as_slice() {
            [only] => format!("{}: {}", only.pointer, only.detail),
            many => format!("{} values are not valid; see `errors`", many.len()),
        };
        Self::new(Kind::InvalidParams, detail).with_errors(errors)
    }

    /// One wrong value.
    pub fn invalid_field(pointer: &str, detail: impl Into<String>) -> Self {
        Self::invalid(vec![FieldError {
            pointer: pointer.to_owned(),
            detail: detail.into(),
        }])
    }

    /// The kind.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.0.kind
    }

    /// Whether the same may go well soon, without anybody doing something about it.
    #[must_use]
    pub fn is_passing(&self) -> bool {
        self.0.kind.status() == StatusCode::SERVICE_UNAVAILABLE
    }

    /// What the operator should know, in one line.
    #[must_use]
    pub fn cause_text(&self) -> Option<String> {
        self.0.cause.as_ref().map(chain)
    }

    /// With wrong fields.
    #[must_use]
    pub fn with_errors(mut self, errors: Vec<FieldError>) -> Self {
        self.0.problem.errors = errors;
        self
    }

    /// With findings of the scene policy.
    #[must_use]
    pub fn with_findings(mut self, findings: Vec<serde_json::Value>) -> Self {
        self.0.problem.findings = findings;
        self
    }

    /// With the scene classes there are.
    #[must_use]
    pub fn with_scenes(mut self, scenes: Vec<String>) -> Self {
        self.0.problem.scenes = scenes;
        self
    }

    /// With what a prompt could mean.
    #[must_use]
    pub fn with_candidates(mut self, candidates: Vec<serde_json::Value>) -> Self {
        self.0.problem.candidates = candidates;
        self
    }

    /// With the quota that refused.
    #[must_use]
    pub fn with_policy(mut self, policy: &str) -> Self {
        self.0.problem.violated_policies.push(policy.to_owned());
        self
    }

    /// The body by itself, for an answer that holds several; without a request id.
    #[must_use]
    pub fn into_problem(self) -> Problem {
        self.0.problem
    }

    /// The body so far.
    #[must_use]
    pub fn problem(&self) -> &Problem {
        &self.0.problem
    }

    /// The same with other words.
    #[must_use]
    pub fn with_detail(mut self, detail: impl Into<String>) -> Self {
        self.0.problem.detail = detail.into();
        self
    }

    /// With more headers.
    #[must_use]
    pub fn with_headers(mut self, headers: HeaderMap) -> Self {
        self.0.headers.extend(headers);
        self
    }

    /// With a header.
    #[must_use]
    pub fn with_header(mut self, name: axum::http::HeaderName, value: &str) -> Self {
        if let Ok(value) = HeaderValue::from_str(value) {
            self.0.headers.insert(name, value);
        }
        self
    }

    /// With a time after which it may be worth to try again.
    #[must_use]
    pub fn retry_after(mut self, seconds: u64) -> Self {
        let seconds = seconds.max(1);
        self.0.problem.retry_after_s = Some(seconds);
        self.with_header(RETRY_AFTER, &seconds.to_string())
    }

    /// With what the operator should know; logged once, never sent.
    #[must_use]
    pub fn because(mut self, cause: impl Error + Send + Sync + 'static) -> Self {
        self.0.cause = Some(Arc::new(cause));
        self
    }
}

impl From<QueueError> for ApiError {
    fn from(error: QueueError) -> Self {
        match &error {
            _ if error.is_full() => Self::new(
                Kind::ReducedCapacity,
                "the queue has no memory left and takes no new jobs; jobs that are in it go on. Try again later",
            )
            .retry_after(30),
            QueueError::Unavailable(cause) if is_refusal(cause.as_ref()) => Self::new(
                Kind::Internal,
                "Redis refused what it was asked; the log has it under this request id",
            ),
            QueueError::Unavailable(_) => Self::new(
                Kind::QueueUnavailable,
                "Redis does not answer. Jobs that were accepted are not lost; try again. A submit is safe to repeat with the same Idempotency-Key",
            )
            .retry_after(2),
            QueueError::Configuration(_) | QueueError::Corrupt(_) => Self::new(
                Kind::Internal,
                "the queue answered something unexpected; the log has it under this request id",
            ),
        }
        .because(error)
    }
}

/// Whether Redis answered that the command itself is wrong: asking again does not help.
fn is_refusal(cause: &(dyn Error + Send + Sync + 'static)) -> bool {
    cause
        .downcast_ref::<redis::RedisError>()
        .is_some_and(|error| {
            // Too many connections are told with the same word.
            matches!(error.code(), Some("ERR" | "WRONGTYPE" | "NOPERM"))
                && !error.to_string().contains("max number of clients")
        })
}

/// An error and all its causes in one line; what a text already says is not said again.
fn chain(cause: &Cause) -> String {
    let mut text = cause.to_string();
    let mut next = cause.source();
    while let Some(error) = next {
        let cause = error.to_string();
        if !text.contains(&cause) {
            text.push_str(": ");
            text.push_str(&cause);
        }
        next = error.source();
    }
    text
}

/// What [`super::observe`] needs to finish an error; travels in the response's extensions.
#[derive(Clone)]
pub(crate) struct Unfinished {
    problem: Problem,
    pub(crate) cause: Option<Cause>,
}

impl Unfinished {
    /// The body, with the request's id.
    pub(crate) fn finish(mut self, request_id: &str, response: &mut Response) {
        self.problem.request_id = Some(request_id.to_owned());
        let body = serde_json::to_vec(&self.problem).unwrap_or_default();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(PROBLEM_JSON));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.remove(axum::http::header::CONTENT_LENGTH);
        *response.body_mut() = body.into();
    }

    /// The whole chain of causes in one line, for the log.
    pub(crate) fn chain(&self) -> Option<String> {
        self.cause.as_ref().map(chain)
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let inner = *self.0;
        let mut response = inner.kind.status().into_response();
        *response.headers_mut() = inner.headers;
        response.extensions_mut().insert(Unfinished {
            problem: inner.problem,
            cause: inner.cause,
        });
        response
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn slugs_are_unique_and_statuses_are_errors() {
        let slugs: HashSet<_> = Kind::ALL.iter().map(|kind| kind.slug()).collect();
        assert_eq!(slugs.len(), Kind::ALL.len());
        for kind in Kind::ALL {
            assert!(kind.status().as_u16() >= 400, "{kind:?}");
        }
    }
}
