//! Stores an attempt's files: asks the API for leave, then sends each to its signed URL.
//!
//! A worker has no key of the store and no shared disk; the lease is what it shows. A bucket is
//! asked afterwards what it has: the answer to an upload says that it ended, not what arrived.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::os::fd::AsRawFd as _;
use std::path::Path;
use std::time::{Duration, Instant};

use backon::{ExponentialBuilder, Retryable as _};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use manimq_shared::api::{
    Problem, UploadCheck, UploadFile, UploadGrant, UploadGrants, UploadRequest,
};
use manimq_shared::ids::{Epoch, JobId, LeaseToken};
use manimq_shared::storage::{Held, HeldHash};
use sha2::{Digest as _, Sha256};
use tokio_util::io::ReaderStream;

use crate::metrics::WorkerMetrics;
use crate::sandbox::Content;
use crate::sandbox::blaxel::error::ApiError;
use crate::sandbox::blaxel::output::{Pushed, RemoteFile};

/// Longest wait for the answer to a request without a body.
const GRANT_TIMEOUT: Duration = Duration::from_secs(15);
/// Longest wait for files to be removed: the end of a job waits with it.
const DISCARD_TIMEOUT: Duration = Duration::from_secs(2);
/// Slowest upload that is waited for, bytes a second.
const RATE_MIN: u64 = 1_000_000;
/// Longest wait for a bucket's word on what it has.
const CHECK_TIMEOUT: Duration = Duration::from_secs(20);
/// How often leave that has run out is asked for again.
const RENEWALS_MAX: u32 = 3;
/// Most of a refusal that is read.
const REFUSAL_BYTES_MAX: usize = 16 * 1024;
/// How long an API or store that is away is waited for, counting the pauses only.
const RETRY_FOR: Duration = Duration::from_secs(60);

/// Longest time of one upload: a connection that went silent must not hold a slot.
fn put_timeout(bytes: u64) -> Duration {
    Duration::from_secs(30 + bytes / RATE_MIN)
}

/// Longest time of everything, several tries included.
fn store_timeout(bytes: u64) -> Duration {
    RETRY_FOR + 3 * put_timeout(bytes)
}

/// One file to store.
pub struct Upload {
    /// Its name in the job.
    pub name: String,
    /// MIME type.
    pub mime: String,
    /// Size.
    pub bytes: u64,
    /// Its bytes, here or in a sandbox elsewhere.
    pub content: Content,
}

/// One stored file.
#[derive(Debug, Clone)]
pub struct Stored {
    /// Its key in the store.
    pub key: String,
    /// SHA-256 in hex.
    pub sha256: String,
}

/// Why files were not stored.
#[derive(Debug, thiserror::Error)]
pub enum UploadError {
    /// The API or the store is away or refuses for now.
    #[error("{what}")]
    Later {
        /// What was tried.
        what: String,
        /// Why it failed.
        #[source]
        source: Option<reqwest::Error>,
    },
    /// The leave has run out; with a new one it may work.
    #[error("{0}")]
    Stale(String),
    /// The API or the store refuses for good.
    #[error("{0}")]
    Refused(String),
    /// The sandbox in which it lies does not give it away.
    #[error("the rendered file cannot be had from its sandbox")]
    Sandbox(#[from] ApiError),
    /// The file cannot be read.
    #[error("the rendered file cannot be read")]
    File(#[from] std::io::Error),
}

/// Sends files. Clones share the connections.
#[derive(Clone)]
pub struct Uploader {
    http: reqwest::Client,
    api_url: String,
    metrics: Option<WorkerMetrics>,
}

impl Uploader {
    /// An uploader that asks the API at `api_url`.
    ///
    /// # Errors
    /// If the HTTP client cannot be built.
    pub fn new(api_url: &str) -> anyhow::Result<Self> {
        Self::trusting(api_url, None)
    }

    /// The same, trusting the certificates in `ca_file` beside the system's.
    ///
    /// # Errors
    /// If the file holds no certificates, or the HTTP client cannot be built.
    pub fn trusting(api_url: &str, ca_file: Option<&Path>) -> anyhow::Result<Self> {
        let http = reqwest::Client::builder()
            .tls_backend_preconfigured(manimq_shared::tls::client_config(ca_file)?)
            .connect_timeout(Duration::from_secs(5))
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(concat!("manimq-worker/", env!("CARGO_PKG_VERSION")))
            .build()?;
        Ok(Self {
            http,
            api_url: api_url.trim_end_matches('/').to_owned(),
            metrics: None,
        })
    }

    /// The same, counting what it does with a bucket. What goes to the API is counted there.
    #[must_use]
    pub fn measured(self, metrics: WorkerMetrics) -> Self {
        let metrics = Some(metrics);
        Self { metrics, ..self }
    }

    pub(crate) fn http(&self) -> &reqwest::Client {
        &self.http
    }

    /// Stores all files of an attempt; the order is kept.
    ///
    /// # Errors
    /// After a minute of trying, or at once if the API says that the lease is not ours.
    pub async fn store(
        &self,
        job: JobId,
        epoch: Epoch,
        lease_token: &LeaseToken,
        uploads: Vec<Upload>,
    ) -> Result<Vec<Stored>, UploadError> {
        let limit = store_timeout(uploads.iter().map(|upload| upload.bytes).sum());
        let storing = self.store_all(job, epoch, lease_token, uploads);
        tokio::time::timeout(limit, storing)
            .await
            .unwrap_or_else(|_| {
                let what = format!("storing the result within {} s", limit.as_secs());
                Err(UploadError::Later { what, source: None })
            })
    }

    /// Has files removed that this attempt has stored and no longer wants. They belong to no result, so should it not
    /// work, the sweep of files without a job takes them.
    pub async fn discard(&self, job: JobId, epoch: Epoch, lease_token: &LeaseToken, name: &str) {
        let request = UploadRequest {
            job,
            epoch,
            lease_token: lease_token.clone(),
            files: Vec::new(),
            discard: vec![name.to_owned()],
        };
        let asked = tokio::time::timeout(DISCARD_TIMEOUT, self.grants(&request)).await;
        if let Ok(Err(error)) = asked {
            tracing::debug!(
                error = &error as &dyn std::error::Error,
                "{name} of {job} is left to the sweep"
            );
        }
    }

    async fn store_all(
        &self,
        job: JobId,
        epoch: Epoch,
        lease_token: &LeaseToken,
        uploads: Vec<Upload>,
    ) -> Result<Vec<Stored>, UploadError> {
        let mut files = Vec::with_capacity(uploads.len());
        let mut contents = Vec::with_capacity(uploads.len());
        for upload in uploads {
            let (sha256, content) = match upload.content {
                Content::Here(file) => {
                    let (sha256, file) = tokio::task::spawn_blocking(move || digest(file))
                        .await
                        .map_err(std::io::Error::other)??;
                    (sha256, Content::Here(file))
                }
                // What is said there; the store compares it with what it gets.
                Content::There(file) => (file.sha256.clone(), Content::There(file)),
            };
            files.push(UploadFile {
                name: upload.name,
                mime: upload.mime,
                bytes: upload.bytes,
                sha256,
            });
            contents.push(content);
        }
        let request = UploadRequest {
            job,
            epoch,
            lease_token: lease_token.clone(),
            files,
            discard: Vec::new(),
        };
        let grants = (|| self.grants(&request))
            .retry(backoff())
            .when(later)
            .notify(tell)
            .await?;
        if grants.len() != contents.len() {
            return Err(UploadError::Refused(format!(
                "the API granted {} uploads, not {}",
                grants.len(),
                contents.len()
            )));
        }
        // Side by side: a still beside the film costs no time of its own. They are few.
        let puts = grants.iter().zip(&contents).zip(&request.files).map(
            |((grant, content), file)| async {
                self.put_surely(&request, grant, content, file).await?;
                Ok(Stored {
                    key: grant.key.clone(),
                    sha256: file.sha256.clone(),
                })
            },
        );
        futures_util::future::try_join_all(puts).await
    }

    /// Sends one file until the store has it, with a new leave when the old one has run out.
    async fn put_surely(
        &self,
        request: &UploadRequest,
        grant: &UploadGrant,
        content: &Content,
        file: &UploadFile,
    ) -> Result<(), UploadError> {
        let mut grant = grant.clone();
        let mut renewals = 0;
        loop {
            let put = (|| self.put_and_check(&grant, content, file))
                .retry(backoff())
                .when(later)
                .notify(tell)
                .await;
            match put {
                Err(UploadError::Stale(_)) if renewals < RENEWALS_MAX => {
                    renewals += 1;
                    let request = UploadRequest {
                        files: vec![file.clone()],
                        ..request.clone()
                    };
                    let fresh = (|| self.grants(&request))
                        .retry(backoff())
                        .when(later)
                        .notify(tell)
                        .await?;
                    grant = fresh.into_iter().next().ok_or_else(|| {
                        UploadError::Refused("the API granted no upload".to_owned())
                    })?;
                }
                other => return other,
            }
        }
    }

    async fn put_and_check(
        &self,
        grant: &UploadGrant,
        content: &Content,
        file: &UploadFile,
    ) -> Result<(), UploadError> {
        let Some(check) = &grant.check else {
            return self.put(grant, content, file).await;
        };
        let began = Instant::now();
        let stored = async {
            self.put(grant, content, file).await?;
            self.check(check, content, file).await
        };
        let stored = stored.await;
        let works = match &stored {
            Ok(()) => Some(true),
            // A URL that has run out, too: a bucket says the same of keys that it does not know.
            Err(UploadError::Later { .. } | UploadError::Stale(_) | UploadError::Refused(_)) => {
                Some(false)
            }
            Err(UploadError::Sandbox(_) | UploadError::File(_)) => None,
        };
        if let (Some(metrics), Some(works)) = (&self.metrics, works) {
            metrics.uploaded(works, began.elapsed());
        }
        stored
    }

    /// Asks a bucket what lies there now. Whatever hash it tells must be the file's.
    async fn check(
        &self,
        check: &UploadCheck,
        content: &Content,
        file: &UploadFile,
    ) -> Result<(), UploadError> {
        let what = "looking whether the result was stored";
        let mut request = self.http.head(&check.url).timeout(CHECK_TIMEOUT);
        for (name, value) in &check.headers {
            request = request.header(name, value);
        }
        let response = request.send().await.map_err(|error| failed(what, error))?;
        let response = accepted(what, response, true).await?;
        let held = Held::read(|name| {
            let values = response.headers().get_all(name).iter();
            let values: Vec<_> = values.filter_map(|value| value.to_str().ok()).collect();
            (!values.is_empty()).then(|| values.join(","))
        });
        let wrong = |found: &str| {
            Err(UploadError::Refused(format!(
                "{what}: the store has other content under this key ({found})"
            )))
        };
        if held.bytes != Some(file.bytes) {
            return wrong("of another length");
        }
        match held.hash {
            None => Ok(()),
            Some(HeldHash::Sha256(found)) if found == hex_bytes(&file.sha256) => Ok(()),
            Some(HeldHash::Sha256(_)) => wrong("another SHA-256"),
            Some(HeldHash::Md5(found)) => {
                let md5 = match content {
                    Content::Here(file) => md5_digest(file).await?,
                    Content::There(remote) => remote.md5,
                };
                if found == md5 {
                    Ok(())
                } else {
                    wrong("another MD5")
                }
            }
        }
    }

    /// The API grants a place on itself without naming a host: it is the one that was asked.
    pub(crate) fn absolute(&self, url: &str) -> String {
        if url.starts_with('/') {
            format!("{}{url}", self.api_url)
        } else {
            url.to_owned()
        }
    }

    async fn grants(&self, request: &UploadRequest) -> Result<Vec<UploadGrant>, UploadError> {
        let what = "asking the API where to store the result";
        let response = self
            .http
            .post(format!("{}/internal/v1/uploads", self.api_url))
            .timeout(GRANT_TIMEOUT)
            .json(request)
            .send()
            .await
            .map_err(|error| failed(what, error))?;
        let response = accepted(what, response, false).await?;
        let grants: UploadGrants = response.json().await.map_err(|error| failed(what, error))?;
        Ok(grants.grants)
    }

    async fn put(
        &self,
        grant: &UploadGrant,
        content: &Content,
        file: &UploadFile,
    ) -> Result<(), UploadError> {
        let what = "storing the result";
        let fetched;
        let content = match content {
            Content::Here(file) => file,
            Content::There(remote) => {
                if let Some(stored) = push(grant, remote, file, what).await? {
                    return Ok(stored);
                }
                fetched = remote.fetch().await?;
                fetched.as_ref()
            }
        };
        let body = tokio::fs::File::from_std(reopened(content)?);
        let body = ReaderStream::with_capacity(body, 256 * 1024);
        let mut request = self
            .http
            .put(self.absolute(&grant.url))
            .timeout(put_timeout(file.bytes))
            .header(reqwest::header::CONTENT_LENGTH, file.bytes);
        for (name, value) in &grant.headers {
            request = request.header(name, value);
        }
        if grant.md5 {
            let md5 = md5_digest(content).await?;
            request = request.header("content-md5", STANDARD.encode(md5));
        }
        let response = request
            .body(reqwest::Body::wrap_stream(body))
            .send()
            .await
            .map_err(|error| failed(what, error))?;
        // It is there already, from an earlier try whose answer was lost; it will be looked at.
        if response.status().as_u16() == 412 && grant.check.is_some() {
            return Ok(());
        }
        accepted(what, response, grant.check.is_some()).await?;
        Ok(())
    }
}

/// Has a sandbox send its file itself. `None` if that does not work there.
async fn push(
    grant: &UploadGrant,
    remote: &RemoteFile,
    file: &UploadFile,
    what: &str,
) -> Result<Option<()>, UploadError> {
    if !remote.can_be_pushed(&grant.url) {
        return Ok(None);
    }
    let mut headers: std::collections::BTreeMap<String, String> = grant
        .headers
        .iter()
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    if grant.md5 {
        headers.insert("content-md5".into(), STANDARD.encode(remote.md5));
    }
    let limit = put_timeout(file.bytes);
    let (status, said) = match remote.push(&grant.url, &headers, limit).await {
        Ok(Pushed::Answered(status, said)) => (status, said),
        Ok(Pushed::Impossible) => return Ok(None),
        // Whether the sandbox gives it away at all, fetching it will tell. Should it have been
        // sent after all, the store takes the same bytes under the same key once.
        Err(error) => {
            tracing::warn!(error = %error, "a result could not be sent from inside the sandbox");
            return Ok(None);
        }
    };
    if status == 412 && grant.check.is_some() {
        return Ok(Some(()));
    }
    let mut response = axum::http::Response::new(said);
    *response.status_mut() =
        axum::http::StatusCode::from_u16(status).unwrap_or(axum::http::StatusCode::BAD_GATEWAY);
    accepted(what, response.into(), grant.check.is_some()).await?;
    Ok(Some(()))
}

fn backoff() -> ExponentialBuilder {
    ExponentialBuilder::default()
        .with_jitter()
        .with_min_delay(Duration::from_millis(100))
        .with_max_delay(Duration::from_secs(5))
        .without_max_times()
        .with_total_delay(Some(RETRY_FOR))
}

fn later(error: &UploadError) -> bool {
    matches!(error, UploadError::Later { .. })
}

fn tell(error: &UploadError, pause: Duration) {
    let shown = error as &dyn std::error::Error;
    tracing::warn!(error = shown, ?pause, "will try again");
}

/// The file anew, at its start: an abandoned try may still be reading, and file descriptors that
/// are duplicates share their place in the file.
fn reopened(file: &File) -> std::io::Result<File> {
    File::open(format!("/proc/self/fd/{}", file.as_raw_fd()))
}

/// A transport error; the URL (a credential) is left out of it.
pub(crate) fn failed(what: &str, error: reqwest::Error) -> UploadError {
    UploadError::Later {
        what: what.to_owned(),
        source: Some(error.without_url()),
    }
}

/// Passes a 2xx on. Only what says that this very request is refused is final; the rest may be
/// tried again, a 400 too: it is what a body that a proxy cut short is answered with.
///
/// A bucket's refusals have other reasons than the API's: 403 is mostly a URL that has run out,
/// 409 two writers at one time.
pub(crate) async fn accepted(
    what: &str,
    response: reqwest::Response,
    of_bucket: bool,
) -> Result<reqwest::Response, UploadError> {
    let status = response.status();
    if status.is_success() {
        return Ok(response);
    }
    let (slug, detail) = reason(response).await;
    let text = format!("{what}: {status}: {detail}");
    if slug == "url-expired" || of_bucket && matches!(status.as_u16(), 401 | 403) {
        return Err(UploadError::Stale(text));
    }
    let refused = if of_bucket {
        matches!(status.as_u16(), 404 | 405 | 411 | 413)
    } else {
        matches!(
            status.as_u16(),
            401 | 403 | 404 | 405 | 409 | 410 | 413 | 415 | 422
        )
    };
    if refused {
        Err(UploadError::Refused(text))
    } else {
        Err(UploadError::Later {
            what: text,
            source: None,
        })
    }
}

/// Slug and words of a refusal: the API's problem, or what a bucket says in XML.
async fn reason(response: reqwest::Response) -> (String, String) {
    use futures_util::StreamExt as _;
    let mut body = Vec::new();
    let mut stream = response.bytes_stream();
    while let Ok(Some(Ok(chunk))) = tokio::time::timeout(GRANT_TIMEOUT, stream.next()).await {
        body.extend_from_slice(&chunk);
        if body.len() > REFUSAL_BYTES_MAX {
            break;
        }
    }
    if let Ok(problem) = serde_json::from_slice::<Problem>(&body) {
        return (problem.kind, problem.detail);
    }
    // Two of its elements only: others repeat the request and its signature.
    let text = String::from_utf8_lossy(&body);
    let element = |name: &str| {
        let (_, rest) = text.split_once(&format!("<{name}>"))?;
        let (value, _) = rest.split_once(&format!("</{name}>"))?;
        Some(
            value
                .chars()
                .filter(|c| !c.is_control())
                .take(300)
                .collect::<String>(),
        )
    };
    match (element("Code"), element("Message")) {
        (Some(code), Some(message)) => (code.clone(), format!("{code}: {message}")),
        (Some(code), None) => (code.clone(), code),
        _ => (String::new(), "no reason given".to_owned()),
    }
}

fn hex_bytes(text: &str) -> Vec<u8> {
    let digits = text.as_bytes().chunks(2);
    digits
        .filter_map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok())
        .collect()
}

pub(crate) fn hex_text(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut hex, byte| {
        use std::fmt::Write as _;
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

/// The MD5 of a file, for stores that know no stronger hash.
async fn md5_digest(file: &File) -> std::io::Result<[u8; 16]> {
    use md5::Md5;
    let mut file = reopened(file)?;
    let sum = move || {
        let mut digest = Md5::new();
        let mut buffer = vec![0; 256 * 1024];
        loop {
            let n = file.read(&mut buffer)?;
            if n == 0 {
                return Ok(digest.finalize().into());
            }
            digest.update(&buffer[..n]);
        }
    };
    tokio::task::spawn_blocking(sum)
        .await
        .map_err(std::io::Error::other)?
}

fn digest(mut file: File) -> std::io::Result<(String, File)> {
    file.seek(SeekFrom::Start(0))?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 256 * 1024];
    loop {
        let n = file.read(&mut buffer)?;
        if n == 0 {
            return Ok((hex_text(&hasher.finalize()), file));
        }
        hasher.update(&buffer[..n]);
    }
}

#[cfg(test)]
mod tests;
