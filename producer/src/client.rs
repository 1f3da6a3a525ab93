//! A typed client of manimq's HTTP API: submit, read, watch, cancel and download.
//!
//! Every call has a time limit and every answer a size limit. What comes back is our own types
//! or a [`ClientError`]; whether to try again is the caller's decision, helped by
//! [`ClientError::is_passing`] and [`Backoff`].

pub mod download;
pub mod sse;

use std::fmt;
use std::path::Path;
use std::time::Duration;

use futures_util::StreamExt as _;
use manimq_shared::api::{
    Deletion, JobList, JobView, Problem, RerunRequest, UsageView, ValidateRequest, Validation,
};
use manimq_shared::ids::JobId;
use manimq_shared::job::{JobInput, JobRequest, Progress, Status};
use reqwest::header::{ACCEPT, AUTHORIZATION, HeaderMap, HeaderValue, RETRY_AFTER};
use reqwest::multipart::{Form, Part};
use reqwest::{Response, StatusCode, Url};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use self::sse::{Parser, RawEvent};
use crate::llm::TIMEOUT_S_MAX;
use crate::render::with::LocalFile;

/// Where `manimq up` listens unless told otherwise.
pub const SERVER_DEFAULT: &str = "http://127.0.0.1:8080";
/// Longest wait for a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest time of a call that answers at once.
const CALL_TIMEOUT: Duration = Duration::from_secs(30);
/// Longest wait where the server may ask a language model first.
const THINKING_TIMEOUT: Duration = Duration::from_secs(CALL_TIMEOUT.as_secs() + TIMEOUT_S_MAX);
/// Slowest sending of files that is waited for, bytes a second.
const UPLOAD_RATE_MIN: u64 = 100_000;
/// Longest silence of an event stream: three of the server's heartbeats.
const SILENCE_MAX: Duration = Duration::from_secs(45);
/// Largest JSON or text answer that is read.
const ANSWER_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Why a call failed. `Display` is shown to the user as it stands.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The server's address cannot be used.
    #[error("{url:?} is not a server address: {reason}")]
    ServerUrl {
        /// What was given.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
    /// No connection was made, so nothing was sent.
    #[error("the manimq server at {server} cannot be reached: {reason}")]
    Unreachable {
        /// Its address.
        server: String,
        /// The operating system's words.
        reason: String,
    },
    /// The connection broke or fell silent; the request may have taken effect.
    #[error("the connection to {server} was cut: {reason}")]
    Cut {
        /// Its address.
        server: String,
        /// What happened.
        reason: String,
    },
    /// The server refused, and says why.
    #[error("{}", .problem.detail)]
    Problem {
        /// Its words.
        problem: Box<Problem>,
        /// When to try again.
        retry_after: Option<Duration>,
    },
    /// An answer that manimq's API does not give.
    #[error("{server} answers, but not like manimq: {reason}")]
    NotManimq {
        /// Its address.
        server: String,
        /// What was odd.
        reason: String,
    },
    /// The file that came is not the file that was promised.
    #[error("the download of {name} failed: {reason}")]
    Download {
        /// The artifact.
        name: String,
        /// What is wrong.
        reason: String,
    },
    /// A file that is to be sent cannot be read.
    #[error("cannot read {path}: {source}")]
    Read {
        /// Which.
        path: String,
        /// The operating system's words.
        source: std::io::Error,
    },
    /// The file cannot be written here.
    #[error("cannot write {path}: {source}")]
    Write {
        /// Where to.
        path: String,
        /// The operating system's words.
        source: std::io::Error,
    },
}

impl ClientError {
    /// Whether the same call may well succeed later.
    #[must_use]
    pub fn is_passing(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::Cut { .. } => true,
            Self::Problem { problem, .. } => {
                matches!(problem.status, 408 | 502..=504)
                    || (problem.status == 409 && problem.kind.ends_with("idempotency-in-flight"))
            }
            Self::ServerUrl { .. }
            | Self::NotManimq { .. }
            | Self::Download { .. }
            | Self::Read { .. }
            | Self::Write { .. } => false,
        }
    }

    /// How long the server asks us to wait.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Problem { retry_after, .. } => *retry_after,
            _ => None,
        }
    }

    /// Whether the server does not know the job.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Problem { problem, .. } if problem.status == 404)
    }
}

/// Growing waits with jitter: 0.2 s, 0.4 s … 5 s.
#[derive(Debug)]
pub struct Backoff {
    next: Duration,
}

impl Backoff {
    const FIRST: Duration = Duration::from_millis(200);
    const LAST: Duration = Duration::from_secs(5);

    /// Starts small.
    #[must_use]
    pub const fn new() -> Self {
        Self { next: Self::FIRST }
    }

    /// The next wait: 75 to 125 % of the present step, so that clients that fell together do not
    /// come back together.
    pub fn wait(&mut self) -> Duration {
        let step = self.next;
        self.next = (step * 2).min(Self::LAST);
        // The clock's nanoseconds are random enough to spread clients apart.
        let nanos = jiff::Timestamp::now().subsec_nanosecond().unsigned_abs();
        step * (75 + nanos / 1_000 % 51) / 100
    }

    /// Starts small again.
    pub const fn reset(&mut self) {
        self.next = Self::FIRST;
    }
}

impl Default for Backoff {
    fn default() -> Self {
        Self::new()
    }
}

/// A client of one server.
#[derive(Clone)]
pub struct Client {
    http: reqwest::Client,
    base: Url,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("base", &self.server())
            .finish_non_exhaustive()
    }
}

/// Whether an address is of this machine: a company's `HTTP_PROXY` cannot see that.
pub(crate) fn is_this_machine(url: &Url) -> bool {
    url.host_str()
        .is_some_and(|host| host == "localhost" || host.starts_with("127.") || host == "[::1]")
}

impl Client {
    /// A client for the server at `server`, with an API key if it wants one.
    ///
    /// # Errors
    /// [`ClientError::ServerUrl`]: the address or the key cannot be used.
    pub fn new(server: &str, key: Option<&SecretString>) -> Result<Self, ClientError> {
        let wrong = |reason: &str| ClientError::ServerUrl {
            url: manimq_shared::queue::redact(server),
            reason: reason.to_owned(),
        };
        let mut base = Url::parse(server).map_err(|error| wrong(&error.to_string()))?;
        match base.scheme() {
            "http" | "https" => {}
            _ => return Err(wrong("it must start with http:// or https://")),
        }
        if !base.username().is_empty() || base.password().is_some() {
            return Err(wrong(
                "put the key into MANIMQ_API_KEY, not into the address",
            ));
        }
        base.set_query(None);
        base.set_fragment(None);
        if !base.path().ends_with('/') {
            base.set_path(&format!("{}/", base.path()));
        }
        let mut headers = HeaderMap::new();
        if let Some(key) = key {
            let mut value = HeaderValue::try_from(format!("Bearer {}", key.expose_secret()))
                .map_err(|_| ClientError::ServerUrl {
                    url: server.to_owned(),
                    reason: "MANIMQ_API_KEY holds characters that a header cannot carry".to_owned(),
                })?;
            value.set_sensitive(true);
            headers.insert(AUTHORIZATION, value);
        }
        let ca_file = std::env::var_os("MANIMQ_CA_FILE").filter(|path| !path.is_empty());
        let tls = manimq_shared::tls::client_config(ca_file.as_deref().map(Path::new));
        let mut builder = reqwest::Client::builder()
            .tls_backend_preconfigured(tls.map_err(|error| wrong(&error.to_string()))?)
            .connect_timeout(CONNECT_TIMEOUT)
            .default_headers(headers)
            .redirect(reqwest::redirect::Policy::limited(5))
            .user_agent(concat!("manimq/", env!("CARGO_PKG_VERSION")));
        if is_this_machine(&base) {
            builder = builder.no_proxy();
        }
        let http = builder.build().map_err(|error| wrong(&cause(&error)))?;
        Ok(Self { http, base })
    }

    /// The server's address, without a final slash.
    #[must_use]
    pub fn server(&self) -> &str {
        self.base.as_str().trim_end_matches('/')
    }

    fn url(&self, path: &str) -> Url {
        self.base.join(path).expect("our paths are valid")
    }

    /// `POST /v1/jobs`. With the same `key`, a repetition finds the first call's job.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn submit(&self, request: &JobRequest, key: &str) -> Result<JobView, ClientError> {
        let call = self
            .http
            .post(self.url("v1/jobs"))
            .header("Idempotency-Key", format!("\"{key}\""))
            .json(request);
        let time = match request.input {
            JobInput::Prompt { .. } => THINKING_TIMEOUT,
            JobInput::Code { .. } | JobInput::Template { .. } => CALL_TIMEOUT,
        };
        self.json_within(time, call).await
    }

    /// The same, with files for the scene. They are read anew on each call.
    ///
    /// # Errors
    /// See [`ClientError`]; [`ClientError::Read`] if a file cannot be read.
    pub async fn submit_with(
        &self,
        request: &JobRequest,
        files: &[LocalFile],
        key: &str,
    ) -> Result<JobView, ClientError> {
        if files.is_empty() {
            return self.submit(request, key).await;
        }
        let text = serde_json::to_string(request).map_err(|error| self.odd(&error.to_string()))?;
        let job = Part::text(text)
            .mime_str("application/json")
            .map_err(|error| self.network(&error))?;
        // Names in UTF-8 as they are: few servers read the other form (RFC 7578 §4.2 forbids it).
        let mut form = Form::new().percent_encode_noop().part("job", job);
        let mut total = 0;
        for file in files {
            let cannot = |source| ClientError::Read {
                path: file.path.display().to_string(),
                source,
            };
            let content = tokio::fs::File::open(&file.path).await.map_err(cannot)?;
            let bytes = content.metadata().await.map_err(cannot)?.len();
            total += bytes;
            let part = Part::stream_with_length(content, bytes).file_name(file.name.clone());
            form = form.part("files", part);
        }
        let call = self
            .http
            .post(self.url("v1/jobs"))
            .header("Idempotency-Key", format!("\"{key}\""))
            .multipart(form)
            .timeout(CALL_TIMEOUT + Duration::from_secs(total / UPLOAD_RATE_MIN));
        let body = self.body(self.call(call).await?).await?;
        serde_json::from_slice(&body).map_err(|error| self.odd(&error.to_string()))
    }

    /// `GET /v1/jobs/{id}`.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn read(&self, id: JobId) -> Result<JobView, ClientError> {
        self.json(self.http.get(self.url(&format!("v1/jobs/{id}"))))
            .await
    }

    /// `GET /v1/jobs` with these filters.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn list(&self, filters: &[(&str, String)]) -> Result<JobList, ClientError> {
        let mut url = self.url("v1/jobs");
        for (name, value) in filters {
            url.query_pairs_mut().append_pair(name, value);
        }
        self.json(self.http.get(url)).await
    }

    /// `POST /v1/jobs/{id}/rerun`. With the same `key`, a repetition finds the first call's job.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn rerun(
        &self,
        id: JobId,
        change: &RerunRequest,
        key: &str,
    ) -> Result<JobView, ClientError> {
        let call = self
            .http
            .post(self.url(&format!("v1/jobs/{id}/rerun")))
            .header("Idempotency-Key", format!("\"{key}\""))
            .json(change);
        let time = if change.repair {
            THINKING_TIMEOUT
        } else {
            CALL_TIMEOUT
        };
        self.json_within(time, call).await
    }

    /// `DELETE /v1/jobs/{id}`.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn delete(
        &self,
        id: JobId,
        dry_run: bool,
        cancel: bool,
    ) -> Result<Deletion, ClientError> {
        let mut url = self.url(&format!("v1/jobs/{id}"));
        url.query_pairs_mut()
            .append_pair("dry_run", &dry_run.to_string())
            .append_pair("cancel", &cancel.to_string());
        self.json(self.http.delete(url)).await
    }

    /// `GET /v1/usage`.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn usage(&self) -> Result<UsageView, ClientError> {
        self.json(self.http.get(self.url("v1/usage"))).await
    }

    /// `POST /v1/validate`.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn validate(&self, request: &ValidateRequest) -> Result<Validation, ClientError> {
        self.json(self.http.post(self.url("v1/validate")).json(request))
            .await
    }

    /// `GET` of a path, as JSON.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn fetch(&self, path: &str) -> Result<serde_json::Value, ClientError> {
        self.json(self.http.get(self.url(path))).await
    }

    /// `POST` to a path, of and as JSON.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn post(
        &self,
        path: &str,
        body: &serde_json::Value,
    ) -> Result<serde_json::Value, ClientError> {
        self.json(self.http.post(self.url(path)).json(body)).await
    }

    /// The same where the server may ask a language model.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn post_thinking(
        &self,
        path: &str,
        body: &serde_json::Value,
    ) -> Result<serde_json::Value, ClientError> {
        let call = self.http.post(self.url(path)).json(body);
        self.json_within(THINKING_TIMEOUT, call).await
    }

    /// `POST /v1/jobs/{id}/cancel`: harmless on a job that has ended.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn cancel(&self, id: JobId) -> Result<JobView, ClientError> {
        self.json(self.http.post(self.url(&format!("v1/jobs/{id}/cancel"))))
            .await
    }

    /// `GET /v1/jobs/{id}/logs`: what the scene printed, the last `tail` lines or all of it.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn logs(&self, id: JobId, tail: Option<u32>) -> Result<String, ClientError> {
        let mut url = self.url(&format!("v1/jobs/{id}/logs"));
        if let Some(tail) = tail {
            url.query_pairs_mut().append_pair("tail", &tail.to_string());
        }
        let response = self.call(self.http.get(url).timeout(CALL_TIMEOUT)).await?;
        Ok(String::from_utf8_lossy(&self.body(response).await?).into_owned())
    }

    /// `GET /readyz`: whether a job would run now, and what the server says of it.
    ///
    /// # Errors
    /// [`ClientError::Unreachable`] or [`ClientError::Cut`]: nothing answers there.
    pub async fn ready(&self) -> Result<(bool, String), ClientError> {
        self.probe("readyz").await
    }

    /// `GET /healthz`: whether the server itself runs.
    ///
    /// # Errors
    /// As [`Client::ready`].
    pub async fn healthy(&self) -> Result<(bool, String), ClientError> {
        self.probe("healthz").await
    }

    async fn probe(&self, path: &str) -> Result<(bool, String), ClientError> {
        let call = self.http.get(self.url(path)).timeout(CALL_TIMEOUT);
        let response = call.send().await.map_err(|error| self.network(&error))?;
        let ok = response.status().is_success();
        let body = self.body(response).await?;
        Ok((ok, String::from_utf8_lossy(&body).into_owned()))
    }

    /// `GET /v1/jobs/{id}/events`, from after the event `after` or from the first.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn events(&self, id: JobId, after: Option<&str>) -> Result<Events, ClientError> {
        let mut call = self
            .http
            .get(self.url(&format!("v1/jobs/{id}/events")))
            .header(ACCEPT, "text/event-stream");
        if let Some(after) = after.and_then(|id| HeaderValue::from_str(id).ok()) {
            call = call.header("Last-Event-ID", after);
        }
        let response = match tokio::time::timeout(CALL_TIMEOUT, self.call(call)).await {
            Ok(response) => response?,
            Err(_) => return Err(self.cut("no answer in time")),
        };
        let is_stream = response
            .headers()
            .get(reqwest::header::CONTENT_TYPE)
            .and_then(|value| value.to_str().ok())
            .is_some_and(|value| value.starts_with("text/event-stream"));
        if !is_stream {
            return Err(self.odd("the events are no event stream"));
        }
        Ok(Events {
            body: response.bytes_stream().boxed(),
            parser: Parser::default(),
            ready: Vec::new().into_iter(),
            server: self.server().to_owned(),
        })
    }

    async fn json<T: DeserializeOwned>(
        &self,
        call: reqwest::RequestBuilder,
    ) -> Result<T, ClientError> {
        self.json_within(CALL_TIMEOUT, call).await
    }

    async fn json_within<T: DeserializeOwned>(
        &self,
        time: Duration,
        call: reqwest::RequestBuilder,
    ) -> Result<T, ClientError> {
        let response = self.call(call.timeout(time)).await?;
        let body = self.body(response).await?;
        serde_json::from_slice(&body).map_err(|error| self.odd(&error.to_string()))
    }

    /// Sends a request; anything but success becomes an error.
    async fn call(&self, call: reqwest::RequestBuilder) -> Result<Response, ClientError> {
        let response = call.send().await.map_err(|error| self.network(&error))?;
        if response.status().is_success() {
            return Ok(response);
        }
        Err(self.refusal(response).await)
    }

    async fn refusal(&self, response: Response) -> ClientError {
        let status = response.status();
        let retry_after = response
            .headers()
            .get(RETRY_AFTER)
            .and_then(|value| value.to_str().ok())
            .and_then(|value| value.trim().parse().ok())
            .map(|seconds: u64| Duration::from_secs(seconds.min(86_400)));
        let body = match self.body(response).await {
            Ok(body) => body,
            Err(error) => return error,
        };
        match serde_json::from_slice::<Problem>(&body) {
            Ok(problem) => ClientError::Problem {
                problem: Box::new(problem),
                retry_after,
            },
            // A proxy in front of the server answers in its own words while the server restarts.
            Err(_) if is_gateway(status) => ClientError::Problem {
                problem: Box::new(Problem {
                    kind: "gateway".to_owned(),
                    title: "no server behind the proxy".to_owned(),
                    status: status.as_u16(),
                    detail: format!("the proxy in front of {} answers {status}", self.server()),
                    request_id: None,
                    errors: Vec::new(),
                    findings: Vec::new(),
                    scenes: Vec::new(),
                    candidates: Vec::new(),
                    violated_policies: Vec::new(),
                    retry_after_s: None,
                }),
                retry_after,
            },
            Err(_) => self.odd(&format!("status {status} without a problem object")),
        }
    }

    async fn body(&self, response: Response) -> Result<Vec<u8>, ClientError> {
        let mut body = Vec::new();
        let mut stream = response.bytes_stream();
        while let Some(chunk) = stream.next().await {
            let chunk = chunk.map_err(|error| self.network(&error))?;
            if body.len() + chunk.len() > ANSWER_BYTES_MAX {
                return Err(self.odd(&format!("more than {ANSWER_BYTES_MAX} bytes")));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }

    fn network(&self, error: &reqwest::Error) -> ClientError {
        let server = self.server().to_owned();
        let reason = cause(error);
        if error.is_connect() {
            ClientError::Unreachable { server, reason }
        } else if error.is_redirect() || error.is_builder() {
            ClientError::NotManimq { server, reason }
        } else {
            ClientError::Cut { server, reason }
        }
    }

    fn cut(&self, reason: &str) -> ClientError {
        ClientError::Cut {
            server: self.server().to_owned(),
            reason: reason.to_owned(),
        }
    }

    fn odd(&self, reason: &str) -> ClientError {
        ClientError::NotManimq {
            server: self.server().to_owned(),
            reason: reason.to_owned(),
        }
    }
}

fn is_gateway(status: StatusCode) -> bool {
    matches!(status.as_u16(), 502..=504)
}

/// The innermost cause: reqwest's own text repeats the URL and says little.
fn cause(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        return "no answer in time".to_owned();
    }
    let mut inner: &dyn std::error::Error = error;
    while let Some(source) = inner.source() {
        inner = source;
    }
    inner.to_string()
}

/// One event of a job.
#[derive(Debug, Clone)]
pub struct Event {
    /// Resume after it with this.
    pub id: Option<String>,
    /// What it says.
    pub news: News,
}

/// What an event says.
#[derive(Debug, Clone)]
pub enum News {
    /// The status changed.
    Status {
        /// The new one.
        status: Option<Status>,
        /// Number of the attempt that began.
        attempt: Option<u32>,
        /// Why it waits again.
        reason: Option<String>,
    },
    /// How far it is.
    Progress(Progress),
    /// The scene printed something.
    Log(String),
    /// Something odd.
    Warning(String),
    /// It ended.
    Done,
    /// A kind that this version does not know.
    Other,
}

#[derive(Deserialize)]
struct StatusData {
    status: Option<Status>,
    attempt: Option<u32>,
    reason: Option<String>,
}

#[derive(Deserialize)]
struct TextData {
    #[serde(alias = "detail", alias = "message")]
    text: String,
}

impl From<RawEvent> for Event {
    fn from(raw: RawEvent) -> Self {
        fn read<T: DeserializeOwned>(data: &str) -> Option<T> {
            serde_json::from_str(data).ok()
        }
        let data = raw.data.as_str();
        let text = || {
            read::<TextData>(data)
                .map(|t| t.text)
                .or_else(|| read::<String>(data))
        };
        let news = match raw.kind.as_str() {
            "status" => read(data).map(
                |StatusData {
                     status,
                     attempt,
                     reason,
                 }| News::Status {
                    status,
                    attempt,
                    reason,
                },
            ),
            "progress" => read(data).map(News::Progress),
            "log" => text().map(News::Log),
            "warning" => text().map(News::Warning),
            "done" => Some(News::Done),
            _ => None,
        };
        Self {
            id: raw.id,
            news: news.unwrap_or(News::Other),
        }
    }
}

/// The events of a job as they come.
pub struct Events {
    body: futures_util::stream::BoxStream<'static, reqwest::Result<bytes::Bytes>>,
    parser: Parser,
    ready: std::vec::IntoIter<RawEvent>,
    server: String,
}

impl Events {
    /// The next event; `None` when the server closed the stream. May be dropped at any time
    /// without losing an event.
    ///
    /// # Errors
    /// [`ClientError::Cut`]: connect again with the last event's id.
    pub async fn next(&mut self) -> Result<Option<Event>, ClientError> {
        loop {
            if let Some(raw) = self.ready.next() {
                return Ok(Some(raw.into()));
            }
            let cut = |reason: String| ClientError::Cut {
                server: self.server.clone(),
                reason,
            };
            let chunk = match tokio::time::timeout(SILENCE_MAX, self.body.next()).await {
                Ok(Some(Ok(chunk))) => chunk,
                Ok(Some(Err(error))) => return Err(cut(cause(&error))),
                Ok(None) => return Ok(None),
                Err(_) => return Err(cut("no sign of life".to_owned())),
            };
            let mut events = Vec::new();
            self.parser
                .push(&chunk, &mut events)
                .map_err(|error| cut(error.to_string()))?;
            self.ready = events.into_iter();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_address_is_checked_and_a_password_in_it_never_shown() {
        for (url, word) in [
            ("ftp://h", "http://"),
            ("127.0.0.1:8080", "not a server address"),
            ("", "not a server address"),
        ] {
            let error = Client::new(url, None).unwrap_err().to_string();
            assert!(error.contains(word), "{error}");
        }
        let error = Client::new("http://me:secret@h", None)
            .unwrap_err()
            .to_string();
        assert!(
            !error.contains("secret") && error.contains("MANIMQ_API_KEY"),
            "{error}"
        );
    }

    #[test]
    fn a_path_in_the_server_address_is_kept() {
        let client = Client::new("http://h:1/manimq", None).unwrap();
        assert_eq!(client.url("v1/jobs").as_str(), "http://h:1/manimq/v1/jobs");
        assert_eq!(client.server(), "http://h:1/manimq");
    }

    #[test]
    fn the_key_shows_nowhere() {
        let client = Client::new("http://h", Some(&"s3cret".into())).unwrap();
        assert!(!format!("{client:?}").contains("s3cret"));
    }

    #[test]
    fn waits_grow_to_a_cap() {
        let mut backoff = Backoff::new();
        let waits: Vec<_> = (0..8).map(|_| backoff.wait()).collect();
        assert!(waits[0] < Duration::from_millis(260) && waits[0] > Duration::from_millis(140));
        assert!(waits[7] <= Duration::from_millis(6_250) && waits[7] > waits[0]);
    }

    #[test]
    fn unknown_or_broken_events_are_no_error() {
        let event = |kind: &str, data: &str| {
            Event::from(RawEvent {
                id: None,
                kind: kind.to_owned(),
                data: data.to_owned(),
            })
            .news
        };
        assert!(matches!(event("artifact", "{}"), News::Other));
        assert!(matches!(event("progress", "nonsense"), News::Other));
        assert!(matches!(event("log", r#"{"text":"hi"}"#), News::Log(text) if text == "hi"));
        assert!(matches!(
            event(
                "status",
                r#"{"status":"queued","reason":"lost_worker","retry_in_ms":5}"#
            ),
            News::Status {
                status: Some(Status::Queued),
                attempt: None,
                reason: Some(_)
            }
        ));
    }
}
