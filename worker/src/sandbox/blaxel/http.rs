//! Requests to one of the two planes: address, key, pace, time and repetition in one place.

use std::fmt;
use std::num::NonZeroU32;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use reqwest::header::{ACCEPT, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Body, Method, Response, Url};
use serde::de::DeserializeOwned;
use tokio::time::Instant;

use super::error::{ApiError, Kind, Side};

/// The interface that the client was written for.
const VERSION: &str = "2026-04-28";
const KEY_HEADER: HeaderName = HeaderName::from_static("x-blaxel-authorization");
const WORKSPACE_HEADER: HeaderName = HeaderName::from_static("x-blaxel-workspace");
const VERSION_HEADER: HeaderName = HeaderName::from_static("blaxel-version");
/// Largest JSON answer: the last 4 MiB of two streams, twice, and their escapes.
const JSON_BYTES_MAX: usize = 32 * 1024 * 1024;
/// Most of an error's body that is read.
const ERROR_BYTES_MAX: usize = 16 * 1024;
/// How long a broken body of an error is waited for.
const ERROR_BODY_TIMEOUT: Duration = Duration::from_secs(5);
/// Pause before a repetition: doubles from the first to the second.
const PAUSE: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(8));
/// Time for one try of a call that answers at once.
pub(super) const CALL_TIMEOUT: Duration = Duration::from_secs(15);
/// Time for a call with all its repetitions.
pub(super) const RETRY_FOR: Duration = Duration::from_secs(45);

/// A key. Shown with its first characters only.
#[derive(Clone)]
pub struct ApiKey(String);

impl ApiKey {
    /// `None` if there is nothing in it.
    #[must_use]
    pub fn new(text: &str) -> Option<Self> {
        let text = text.trim();
        (!text.is_empty()).then(|| Self(text.to_owned()))
    }

    /// At most eight characters, and never more than a third.
    #[must_use]
    pub fn shown(&self) -> String {
        let count = 8.min(self.0.chars().count() / 3);
        self.0.chars().take(count).chain(['…']).collect()
    }

    fn header(&self) -> Option<HeaderValue> {
        let mut value = HeaderValue::from_str(&format!("Bearer {}", self.0)).ok()?;
        value.set_sensitive(true);
        Some(value)
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ApiKey({})", self.shown())
    }
}

/// Who we are to Blaxel, and how fast we may ask. Clones share connections and pace.
#[derive(Debug, Clone)]
pub struct Account {
    client: reqwest::Client,
    headers: HeaderMap,
    pace: Arc<DefaultDirectRateLimiter>,
}

impl Account {
    /// An account; `calls_per_second` bounds what all its clients send together.
    ///
    /// # Errors
    /// If key or workspace cannot stand in a header, or TLS cannot be set up.
    pub fn new(
        key: &ApiKey,
        workspace: Option<&str>,
        calls_per_second: NonZeroU32,
        ca_file: Option<&Path>,
    ) -> Result<Self, String> {
        let tls = manimq_shared::tls::client_config(ca_file).map_err(|error| error.to_string())?;
        let client = reqwest::Client::builder()
            .tls_backend_preconfigured(tls)
            .connect_timeout(Duration::from_secs(10))
            .redirect(reqwest::redirect::Policy::none())
            .http1_only()
            .pool_max_idle_per_host(32)
            .user_agent(concat!("manimq-worker/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| error.to_string())?;
        let mut headers = HeaderMap::new();
        headers.insert(
            KEY_HEADER,
            key.header()
                .ok_or("the API key has characters that no key has")?,
        );
        if let Some(workspace) = workspace {
            let value = HeaderValue::from_str(workspace)
                .map_err(|_| "BL_WORKSPACE has characters that no name has")?;
            headers.insert(WORKSPACE_HEADER, value);
        }
        headers.insert(VERSION_HEADER, HeaderValue::from_static(VERSION));
        let quota = Quota::per_second(calls_per_second);
        Ok(Self {
            client,
            headers,
            pace: Arc::new(RateLimiter::direct(quota)),
        })
    }

    /// The plane at this address; nothing is sent to any other host.
    pub(super) fn plane(&self, side: Side, base: Url) -> Plane {
        Plane {
            account: self.clone(),
            side,
            base,
        }
    }
}

/// One of the two planes.
#[derive(Debug, Clone)]
pub(super) struct Plane {
    account: Account,
    side: Side,
    base: Url,
}

/// Whether a call may be sent again when nobody knows what came of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Repeat {
    /// As often as time allows: the same again changes nothing.
    Freely,
    /// Only if it was surely not begun.
    IfNotBegun,
}

/// A call, before it is sent.
pub(super) struct Call<'a> {
    /// Its name in errors.
    pub name: &'static str,
    pub method: Method,
    pub url: Url,
    pub accept: &'static str,
    pub timeout: Duration,
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// Made anew for each try.
    pub body: Box<dyn Fn() -> Option<Payload> + Send + Sync + 'a>,
    pub repeat: Repeat,
    /// For this long.
    pub retry_for: Duration,
}

/// What a call carries.
pub(super) enum Payload {
    Json(bytes::Bytes),
    Form(reqwest::multipart::Form),
}

impl<'a> Call<'a> {
    pub(super) fn new(name: &'static str, method: Method, url: Url) -> Self {
        Self {
            name,
            method,
            url,
            accept: "application/json",
            timeout: CALL_TIMEOUT,
            headers: Vec::new(),
            body: Box::new(|| None),
            repeat: Repeat::Freely,
            retry_for: RETRY_FOR,
        }
    }

    pub(super) fn json(mut self, value: &impl serde::Serialize) -> Result<Self, ApiError> {
        let text = serde_json::to_vec(value)
            .map_err(|error| ApiError::new(self.name, Kind::Refused, error.to_string()))?;
        let text = bytes::Bytes::from(text);
        self.body = Box::new(move || Some(Payload::Json(text.clone())));
        Ok(self)
    }

    pub(super) fn form(
        mut self,
        form: impl Fn() -> reqwest::multipart::Form + Send + Sync + 'a,
    ) -> Self {
        self.body = Box::new(move || Some(Payload::Form(form())));
        self
    }
}

impl Plane {
    /// An address below the base: segments are encoded, none can climb or leave the host.
    pub(super) fn url<'a>(&self, segments: impl IntoIterator<Item = &'a str>) -> Url {
        let mut url = self.base.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(segments);
        }
        url
    }

    /// Sends a call until it is answered with a success, as often as it may be.
    pub(super) async fn send(&self, call: &Call<'_>) -> Result<Response, ApiError> {
        self.send_until(call, Instant::now() + call.retry_for).await
    }

    async fn send_until(&self, call: &Call<'_>, until: Instant) -> Result<Response, ApiError> {
        let mut pause = PAUSE.0;
        loop {
            let error = match self.send_once(call).await {
                Ok(response) => return Ok(response),
                Err(error) => error,
            };
            let may = error.is_passing() && (call.repeat == Repeat::Freely || error.not_begun);
            let wait = error.retry_after.unwrap_or(pause) + jitter(pause / 4);
            if !may || Instant::now() + wait >= until {
                return Err(error);
            }
            tracing::debug!(error = %error, ?wait, "will try again");
            tokio::time::sleep(wait).await;
            pause = (pause * 2).min(PAUSE.1);
        }
    }

    async fn send_once(&self, call: &Call<'_>) -> Result<Response, ApiError> {
        // A key must not follow an address that somebody else made.
        if call.url.origin() != self.base.origin() {
            let what = "its address leads to another host; nothing was sent";
            return Err(ApiError::new(call.name, Kind::Refused, what));
        }
        self.account.pace.until_ready().await;
        let mut request = self
            .account
            .client
            .request(call.method.clone(), call.url.clone())
            .headers(self.account.headers.clone())
            .header(ACCEPT, call.accept);
        for (name, value) in &call.headers {
            request = request.header(name, value);
        }
        request = match (call.body)() {
            None => request,
            Some(Payload::Json(text)) => request
                .header(reqwest::header::CONTENT_TYPE, "application/json")
                .body(Body::from(text)),
            Some(Payload::Form(form)) => request.multipart(form),
        };
        let response = match tokio::time::timeout(call.timeout, request.send()).await {
            Ok(Ok(response)) => response,
            Ok(Err(error)) => return Err(ApiError::broken(call.name, error)),
            Err(_) => {
                let what = format!("no answer within {} s", call.timeout.as_secs());
                return Err(ApiError::new(call.name, Kind::NoAnswer, what));
            }
        };
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let headers = response.headers().clone();
        let body = tokio::time::timeout(
            ERROR_BODY_TIMEOUT,
            read_bounded(call.name, response, ERROR_BYTES_MAX, true),
        );
        let body = match body.await {
            Ok(Ok(body)) => body,
            // What a 404 means is in its body.
            Ok(Err(error)) if status.is_client_error() => return Err(error),
            Ok(Err(_)) | Err(_) => Vec::new(),
        };
        let body = String::from_utf8_lossy(&body);
        Err(ApiError::answered(
            self.side, call.name, status, &headers, &body,
        ))
    }

    /// The same, and reads the answer as JSON. A broken answer counts as none.
    pub(super) async fn json<T: DeserializeOwned>(&self, call: &Call<'_>) -> Result<T, ApiError> {
        let until = Instant::now() + call.retry_for;
        loop {
            let response = self.send_until(call, until).await?;
            let reading = read_bounded(call.name, response, JSON_BYTES_MAX, false);
            let read = tokio::time::timeout(call.timeout, reading).await;
            let error = match read {
                Ok(Ok(body)) => {
                    return serde_json::from_slice(&body).map_err(|error| {
                        ApiError::new(call.name, Kind::Garbled, format!("its answer: {error}"))
                    });
                }
                Ok(Err(error)) => error,
                Err(_) => ApiError::new(call.name, Kind::NoAnswer, "its answer did not end"),
            };
            let late = Instant::now() + PAUSE.0 >= until;
            if call.repeat != Repeat::Freely || !error.is_passing() || late {
                return Err(error);
            }
            tokio::time::sleep(PAUSE.0).await;
        }
    }

    /// The same for an answer that says nothing more.
    pub(super) async fn done(&self, call: &Call<'_>) -> Result<(), ApiError> {
        self.json::<serde_json::Value>(call).await.map(|_| ())
    }
}

/// All of a body, if it is not longer than `limit`; else its beginning (`cut`) or an error.
async fn read_bounded(
    call: &'static str,
    mut response: Response,
    limit: usize,
    cut: bool,
) -> Result<Vec<u8>, ApiError> {
    let mut body = Vec::new();
    while let Some(chunk) = response
        .chunk()
        .await
        .map_err(|error| ApiError::broken(call, error))?
    {
        if body.len() + chunk.len() > limit {
            if cut {
                body.extend_from_slice(&chunk[..limit - body.len()]);
                return Ok(body);
            }
            let what = format!("its answer is longer than {limit} bytes");
            return Err(ApiError::new(call, Kind::Garbled, what));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// Up to `most`, good enough to spread repetitions.
fn jitter(most: Duration) -> Duration {
    use std::hash::{BuildHasher as _, Hasher as _};
    let bits = std::hash::RandomState::new().build_hasher().finish();
    most.mul_f64(f64::from(u32::try_from(bits >> 32).unwrap_or(0)) / f64::from(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account() -> Account {
        let key = ApiKey::new("no-key-but-a-word-for-tests").expect("a key");
        Account::new(&key, Some("acme"), NonZeroU32::MIN, None).expect("an account")
    }

    #[test]
    fn a_key_is_never_shown_whole() {
        let key = ApiKey::new(" another-word-for-tests ").expect("a key");
        assert_eq!(key.shown(), "another…");
        assert_eq!(ApiKey::new("abcdef").expect("a key").shown(), "ab…");
        assert!(ApiKey::new("  ").is_none());
        let shown = format!("{:?} {:?}", key, account());
        assert!(!shown.contains("word"), "{shown}");
    }

    #[test]
    fn a_path_cannot_leave_its_host_or_climb() {
        let plane = account().plane(
            Side::Sandbox,
            Url::parse("https://sbx.example/").expect("a URL"),
        );
        let url = plane.url(["filesystem", "", "a b?#%", "..", "c"]);
        assert_eq!(
            url.as_str(),
            "https://sbx.example/filesystem//a%20b%3F%23%25/c"
        );
        let plane = account().plane(
            Side::Sandbox,
            Url::parse("http://127.0.0.1:9/v0").expect("a URL"),
        );
        assert_eq!(
            plane.url(["sandboxes", "//evil.example/x"]).as_str(),
            "http://127.0.0.1:9/v0/sandboxes/%2F%2Fevil.example%2Fx"
        );
    }

    #[tokio::test]
    async fn nothing_is_sent_to_another_host() {
        let plane = account().plane(
            Side::Sandbox,
            Url::parse("https://sbx.example/").expect("a URL"),
        );
        let elsewhere = Url::parse("http://127.0.0.1:1/").expect("a URL");
        let error = plane
            .send(&Call::new("test", Method::GET, elsewhere))
            .await
            .expect_err("refused");
        assert!(error.what.contains("another host"), "{error}");
    }
}
