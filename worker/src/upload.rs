//! Stores an attempt's files: asks the API for leave, then sends each to its signed URL.
//!
//! A worker has no key of the store and no shared disk; the lease is what it shows.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::os::fd::AsRawFd as _;
use std::time::Duration;

use backon::{ExponentialBuilder, Retryable as _};
use manimq_shared::api::{Problem, UploadFile, UploadGrant, UploadGrants, UploadRequest};
use manimq_shared::ids::{Epoch, JobId, LeaseToken};
use sha2::{Digest as _, Sha256};
use tokio_util::io::ReaderStream;

/// Longest wait for the answer to a request without a body.
const GRANT_TIMEOUT: Duration = Duration::from_secs(15);
/// Slowest upload that is waited for, bytes a second.
const RATE_MIN: u64 = 1_000_000;
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
    /// Content, open for reading.
    pub file: File,
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
    /// The API or the store refuses for good.
    #[error("{0}")]
    Refused(String),
    /// The file cannot be read.
    #[error("the rendered file cannot be read")]
    File(#[from] std::io::Error),
}

/// Sends files. Clones share the connections.
#[derive(Clone)]
pub struct Uploader {
    http: reqwest::Client,
    api_url: String,
}

impl Uploader {
    /// An uploader that asks the API at `api_url`.
    ///
    /// # Errors
    /// If the HTTP client cannot be built.
    pub fn new(api_url: &str) -> Result<Self, reqwest::Error> {
        let http = reqwest::Client::builder()
            .connect_timeout(Duration::from_secs(5))
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(concat!("manimq-worker/", env!("CARGO_PKG_VERSION")))
            .build()?;
        Ok(Self {
            http,
            api_url: api_url.trim_end_matches('/').to_owned(),
        })
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
            let (sha256, file) = tokio::task::spawn_blocking(move || digest(upload.file))
                .await
                .map_err(std::io::Error::other)??;
            files.push(UploadFile {
                name: upload.name,
                mime: upload.mime,
                bytes: upload.bytes,
                sha256,
            });
            contents.push(file);
        }
        let request = UploadRequest {
            job,
            epoch,
            lease_token: lease_token.clone(),
            files,
        };
        let backoff = || {
            ExponentialBuilder::default()
                .with_jitter()
                .with_min_delay(Duration::from_millis(100))
                .with_max_delay(Duration::from_secs(5))
                .without_max_times()
                .with_total_delay(Some(RETRY_FOR))
        };
        let later = |error: &UploadError| matches!(error, UploadError::Later { .. });
        let tell = |error: &UploadError, pause: Duration| {
            let shown = error as &dyn std::error::Error;
            tracing::warn!(error = shown, ?pause, "will try again");
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
            |((grant, content), file)| async move {
                (|| self.put(grant, content, file))
                    .retry(backoff())
                    .when(later)
                    .notify(tell)
                    .await?;
                Ok(Stored {
                    key: grant.key.clone(),
                    sha256: file.sha256.clone(),
                })
            },
        );
        futures_util::future::try_join_all(puts).await
    }

    /// The API grants a place on itself without naming a host: it is the one that was asked.
    fn absolute(&self, url: &str) -> String {
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
        let response = accepted(what, response).await?;
        let grants: UploadGrants = response.json().await.map_err(|error| failed(what, error))?;
        Ok(grants.grants)
    }

    async fn put(
        &self,
        grant: &UploadGrant,
        content: &File,
        file: &UploadFile,
    ) -> Result<(), UploadError> {
        let what = "storing the result";
        // Opened anew for each try: an abandoned one may still be reading, and file descriptors
        // that are duplicates share their place in the file.
        let content = File::open(format!("/proc/self/fd/{}", content.as_raw_fd()))?;
        let body = ReaderStream::with_capacity(tokio::fs::File::from_std(content), 256 * 1024);
        let mut request = self
            .http
            .put(self.absolute(&grant.url))
            .timeout(put_timeout(file.bytes))
            .header(reqwest::header::CONTENT_LENGTH, file.bytes);
        for (name, value) in &grant.headers {
            request = request.header(name, value);
        }
        let response = request
            .body(reqwest::Body::wrap_stream(body))
            .send()
            .await
            .map_err(|error| failed(what, error))?;
        accepted(what, response).await?;
        Ok(())
    }
}

/// A transport error; the URL (a credential) is left out of it.
fn failed(what: &str, error: reqwest::Error) -> UploadError {
    UploadError::Later {
        what: what.to_owned(),
        source: Some(error.without_url()),
    }
}

/// Passes a 2xx on. Only what says that this very request is refused is final; the rest may be
/// tried again, a 400 too: it is what a body that a proxy cut short is answered with.
async fn accepted(
    what: &str,
    response: reqwest::Response,
) -> Result<reqwest::Response, UploadError> {
    let status = response.status();
    if status.is_success() {
        return Ok(response);
    }
    let detail = match response.json::<Problem>().await {
        Ok(problem) => problem.detail,
        Err(_) => String::from("no reason given"),
    };
    let text = format!("{what}: {status}: {detail}");
    if matches!(
        status.as_u16(),
        401 | 403 | 404 | 405 | 409 | 410 | 413 | 415 | 422
    ) {
        Err(UploadError::Refused(text))
    } else {
        Err(UploadError::Later {
            what: text,
            source: None,
        })
    }
}

fn digest(mut file: File) -> std::io::Result<(String, File)> {
    file.seek(SeekFrom::Start(0))?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 256 * 1024];
    loop {
        let n = file.read(&mut buffer)?;
        if n == 0 {
            let hex = hasher
                .finalize()
                .iter()
                .fold(String::new(), |mut hex, byte| {
                    use std::fmt::Write as _;
                    let _ = write!(hex, "{byte:02x}");
                    hex
                });
            return Ok((hex, file));
        }
        hasher.update(&buffer[..n]);
    }
}
