//! Downloads an artifact: resumed where the connection broke, checked, and put in place at once
//! or not at all.

use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use futures_util::StreamExt as _;
use manimq_shared::api::ArtifactView;
use manimq_shared::ids::JobId;
use reqwest::StatusCode;
use reqwest::header::{CONTENT_RANGE, RANGE};
use sha2::{Digest as _, Sha256};

use super::{Backoff, Client, ClientError};

/// Longest silence in the middle of a download.
const SILENCE_MAX: Duration = Duration::from_secs(30);
/// How often a download that makes no progress at all is tried.
const TRIES_MAX: u32 = 6;

/// The file so far. Its hash covers exactly the bytes that were written.
struct Part {
    file: tempfile::NamedTempFile,
    bytes: u64,
    hash: Sha256,
}

impl Part {
    fn restart(&mut self) -> std::io::Result<()> {
        use std::io::Seek as _;
        self.file.as_file_mut().set_len(0)?;
        self.file.as_file_mut().rewind()?;
        self.bytes = 0;
        self.hash = Sha256::new();
        Ok(())
    }

    fn write(&mut self, chunk: &[u8]) -> std::io::Result<()> {
        self.file.write_all(chunk)?;
        self.hash.update(chunk);
        self.bytes += chunk.len() as u64;
        Ok(())
    }
}

impl Client {
    /// Downloads an artifact of a job to `target`, making folders as needed. An earlier file
    /// there is replaced only when the new one is whole and its size and SHA-256 are right.
    ///
    /// # Errors
    /// [`ClientError::Download`]: the content is wrong. [`ClientError::Write`]: it cannot be put
    /// there. Others as for any call, after several tries.
    pub async fn download(
        &self,
        id: JobId,
        artifact: &ArtifactView,
        target: &Path,
    ) -> Result<(), ClientError> {
        let write_error = |source| ClientError::Write {
            path: target.display().to_string(),
            source,
        };
        let folder = match target.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        std::fs::create_dir_all(folder).map_err(write_error)?;
        let file = tempfile::Builder::new()
            .prefix(".manimq-")
            .suffix(".part")
            .permissions(std::fs::Permissions::from_mode(0o666)) // as the umask allows
            .tempfile_in(folder)
            .map_err(write_error)?;
        let mut part = Part {
            file,
            bytes: 0,
            hash: Sha256::new(),
        };
        let mut backoff = Backoff::new();
        let mut failures = 0;
        let mut mismatch = false;
        loop {
            let before = part.bytes;
            let error = match self
                .continue_download(id, artifact, &mut part, target)
                .await
            {
                Ok(()) => match verify(artifact, &part) {
                    Ok(()) => break,
                    Err(error) if mismatch => return Err(error),
                    Err(_) => {
                        // Once more from the start: a proxy may have cut or mixed something.
                        mismatch = true;
                        part.restart().map_err(write_error)?;
                        continue;
                    }
                },
                Err(error) => error,
            };
            // A signed URL may have expired on the way; each try gets a fresh one.
            let expired =
                matches!(&error, ClientError::Problem { problem, .. } if problem.status == 403);
            if !(error.is_passing() || expired) {
                return Err(error);
            }
            failures = if part.bytes > before { 1 } else { failures + 1 };
            if failures >= TRIES_MAX {
                return Err(error);
            }
            if part.bytes > before {
                backoff.reset();
            }
            tokio::time::sleep(error.retry_after().unwrap_or_else(|| backoff.wait())).await;
        }
        part.file.as_file_mut().sync_all().map_err(write_error)?;
        part.file
            .persist(target)
            .map_err(|error| write_error(error.error))?;
        Ok(())
    }

    async fn continue_download(
        &self,
        id: JobId,
        artifact: &ArtifactView,
        part: &mut Part,
        target: &Path,
    ) -> Result<(), ClientError> {
        let write_error = |source| ClientError::Write {
            path: target.display().to_string(),
            source,
        };
        let mut url = self.url(&format!("v1/jobs/{id}/artifacts/"));
        url.path_segments_mut()
            .expect("an http URL")
            .pop_if_empty()
            .push(&artifact.name);
        let mut call = self.http.get(url);
        if part.bytes > 0 {
            if part.bytes == artifact.bytes {
                return Ok(());
            }
            call = call.header(RANGE, format!("bytes={}-", part.bytes));
        }
        let response = match tokio::time::timeout(SILENCE_MAX, self.call(call)).await {
            Ok(response) => response?,
            Err(_) => return Err(self.cut("no answer in time")),
        };
        let continues = response.status() == StatusCode::PARTIAL_CONTENT
            && response
                .headers()
                .get(CONTENT_RANGE)
                .and_then(|value| value.to_str().ok())
                .is_some_and(|range| range.starts_with(&format!("bytes {}-", part.bytes)));
        if !continues {
            part.restart().map_err(write_error)?;
        }
        let mut body = response.bytes_stream();
        loop {
            let chunk = match tokio::time::timeout(SILENCE_MAX, body.next()).await {
                Ok(Some(Ok(chunk))) => chunk,
                Ok(Some(Err(error))) => return Err(self.cut(&super::cause(&error))),
                Ok(None) => break,
                Err(_) => return Err(self.cut("the download stands still")),
            };
            if part.bytes + chunk.len() as u64 > artifact.bytes {
                return Err(ClientError::Download {
                    name: artifact.name.clone(),
                    reason: format!("more than the {} bytes that were announced", artifact.bytes),
                });
            }
            part.write(&chunk).map_err(write_error)?;
        }
        Ok(())
    }
}

fn verify(artifact: &ArtifactView, part: &Part) -> Result<(), ClientError> {
    let wrong = |reason| {
        Err(ClientError::Download {
            name: artifact.name.clone(),
            reason,
        })
    };
    if part.bytes != artifact.bytes {
        return wrong(format!(
            "{} bytes came, {} were announced",
            part.bytes, artifact.bytes
        ));
    }
    let hash = hex::encode(part.hash.clone().finalize());
    if !hash.eq_ignore_ascii_case(&artifact.sha256) {
        return wrong("its SHA-256 is not the announced one".to_owned());
    }
    Ok(())
}
