//! Fetches the files that came with a job: asks the API for leave, reads each from its signed URL,
//! and believes nothing but its hash.
//!
//! All of them lie one after the other in one file without a name, on disk; the job unpacks it
//! behind its walls.

use std::collections::HashMap;
use std::fs::File;
use std::sync::Arc;
use std::time::Duration;

use backon::{BackoffBuilder as _, ExponentialBuilder};
use futures_util::StreamExt as _;
use manimq_shared::api::{AssetGrant, AssetGrants, AssetRequest};
use manimq_shared::ids::{Epoch, JobId, LeaseToken};
use manimq_shared::job::{JobFile, check_file_name};
use sha2::{Digest as _, Sha256};
use tokio::io::AsyncWriteExt as _;

use crate::sandbox::{FileEntry, Files};
use crate::upload::{UploadError, Uploader, accepted, failed, hex_text};

/// Longest wait for the answer to a request without a body, and longest silence in one with.
const SILENCE_MAX: Duration = Duration::from_secs(15);
/// Longest time of everything, several tries included.
const FETCH_TIMEOUT: Duration = Duration::from_secs(300);
/// How long an API or store that is away is waited for, counting the pauses only.
const RETRY_FOR: Duration = Duration::from_secs(45);
/// Most bytes of all files, whatever the API allows.
const BYTES_MAX: u64 = 256 << 20;

/// Why the files are not there.
#[derive(Debug, thiserror::Error)]
pub enum AssetError {
    /// The job names what it may not: ours or an older API's mistake.
    #[error("{0}")]
    Invalid(String),
    /// The API or the store is away, refuses, or has other content.
    #[error(transparent)]
    Store(#[from] UploadError),
}

/// Where all files of one job lie, one after the other.
struct Bundle {
    file: tokio::fs::File,
    bytes: u64,
}

/// Fetches `files`, in their order.
///
/// # Errors
/// [`AssetError`], within five minutes.
pub async fn fetch(
    uploader: &Uploader,
    job: JobId,
    epoch: Epoch,
    lease_token: &LeaseToken,
    files: &[JobFile],
) -> Result<Files, AssetError> {
    for file in files {
        check_file_name(&file.name)
            .map_err(|problem| AssetError::Invalid(format!("{:?}: {problem}", file.name)))?;
    }
    let total = files
        .iter()
        .map(|file| file.bytes)
        .fold(0, u64::saturating_add);
    if total > BYTES_MAX {
        return Err(AssetError::Invalid(format!(
            "the files have {total} bytes, at most {BYTES_MAX} are taken"
        )));
    }
    let request = AssetRequest {
        job,
        epoch,
        lease_token: lease_token.clone(),
    };
    tokio::time::timeout(FETCH_TIMEOUT, fetch_all(uploader, &request, files))
        .await
        .unwrap_or_else(|_| {
            Err(later(format!(
                "fetching the job's files within {} s",
                FETCH_TIMEOUT.as_secs()
            ))
            .into())
        })
}

async fn fetch_all(
    uploader: &Uploader,
    request: &AssetRequest,
    files: &[JobFile],
) -> Result<Files, AssetError> {
    let mut bundle = Bundle {
        file: tokio::fs::File::from_std(tempfile::tempfile().map_err(UploadError::File)?),
        bytes: 0,
    };
    let mut urls: HashMap<String, String> = HashMap::new();
    for file in files {
        let mut pauses = ExponentialBuilder::default()
            .with_jitter()
            .with_min_delay(Duration::from_millis(100))
            .with_max_delay(Duration::from_secs(5))
            .without_max_times()
            .with_total_delay(Some(RETRY_FOR))
            .build();
        loop {
            let fetched = async {
                if !urls.contains_key(&file.sha256) {
                    urls = grants(uploader, request)
                        .await?
                        .into_iter()
                        .map(|grant| (grant.sha256, grant.url))
                        .collect();
                }
                let url = urls.get(&file.sha256).ok_or_else(|| {
                    UploadError::Refused("the API does not know a file of the job".to_owned())
                })?;
                read_one(uploader, url, file, &mut bundle).await
            }
            .await;
            let error = match fetched {
                Ok(()) => break,
                Err(error) => error,
            };
            let again = matches!(error, UploadError::Later { .. } | UploadError::Stale(_));
            let Some(pause) = pauses.next().filter(|_| again) else {
                return Err(error.into());
            };
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                ?pause,
                "will fetch the file again"
            );
            // The leave may have run out.
            urls.clear();
            tokio::time::sleep(pause).await;
        }
    }
    bundle.file.flush().await.map_err(UploadError::File)?;
    let content: File = bundle.file.into_std().await;
    Ok(Files {
        entries: files
            .iter()
            .map(|file| FileEntry {
                name: file.name.clone(),
                bytes: file.bytes,
            })
            .collect(),
        content: Arc::new(content),
    })
}

async fn grants(
    uploader: &Uploader,
    request: &AssetRequest,
) -> Result<Vec<AssetGrant>, UploadError> {
    let what = "asking the API for the job's files";
    let response = uploader
        .http()
        .post(uploader.absolute("/internal/v1/assets"))
        .timeout(SILENCE_MAX)
        .json(request)
        .send()
        .await
        .map_err(|error| failed(what, error))?;
    let response = accepted(what, response, false).await?;
    let grants: AssetGrants = response.json().await.map_err(|error| failed(what, error))?;
    Ok(grants.grants)
}

/// Appends one file to the bundle, all of it or nothing.
async fn read_one(
    uploader: &Uploader,
    url: &str,
    file: &JobFile,
    bundle: &mut Bundle,
) -> Result<(), UploadError> {
    use std::io::SeekFrom;
    use tokio::io::AsyncSeekExt as _;
    let what = "fetching a file of the job";
    let of_bucket = !url.starts_with('/');
    bundle.file.set_len(bundle.bytes).await?;
    bundle.file.seek(SeekFrom::Start(bundle.bytes)).await?;
    let sent = uploader.http().get(uploader.absolute(url)).send();
    let response = tokio::time::timeout(SILENCE_MAX, sent)
        .await
        .map_err(|_| later(what.to_owned()))?
        .map_err(|error| failed(what, error))?;
    let response = accepted(what, response, of_bucket).await?;
    let mut digest = Sha256::new();
    let mut bytes = 0;
    let mut body = response.bytes_stream();
    while let Some(chunk) = tokio::time::timeout(SILENCE_MAX, body.next())
        .await
        .map_err(|_| later(what.to_owned()))?
    {
        let chunk = chunk.map_err(|error| failed(what, error))?;
        bytes += chunk.len() as u64;
        if bytes > file.bytes {
            break;
        }
        digest.update(&chunk);
        bundle.file.write_all(&chunk).await?;
    }
    if bytes != file.bytes || hex_text(&digest.finalize()) != file.sha256 {
        return Err(later(format!(
            "{what}: the store gave other content than was sent"
        )));
    }
    bundle.bytes += bytes;
    Ok(())
}

fn later(what: String) -> UploadError {
    UploadError::Later { what, source: None }
}
