//! Files of a sandbox: small ones in one request, larger ones in parts, reads in ranges.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::time::Duration;

use bytes::Bytes;
use reqwest::header::{CONTENT_DISPOSITION, CONTENT_RANGE, HeaderValue, LAST_MODIFIED, RANGE};
use reqwest::multipart::{Form, Part};
use reqwest::{Method, StatusCode, Url};
use tokio::time::{Instant, timeout};

use super::data::Data;
use super::error::{ApiError, Kind};
use super::http::Call;

/// Largest body that is sent in one piece; the edge refuses 5 MB.
pub(super) const PIECE_BYTES: u64 = 4 * 1024 * 1024;
/// Bytes that are asked for in one request.
const RANGE_BYTES: u64 = 8 * 1024 * 1024;
/// Slowest transfer that is waited for, bytes a second.
const RATE_MIN: u64 = 256 * 1024;
/// A body that is silent for so long is broken.
const SILENCE_MAX: Duration = Duration::from_secs(20);
/// How often a broken read goes on where it broke.
const RESUMES_MAX: u32 = 8;

pub(super) fn transfer_timeout(bytes: u64) -> Duration {
    Duration::from_secs(15 + bytes / RATE_MIN)
}

/// A path for the URL: encoded piece by piece, with the slash in front that makes it absolute.
pub(super) fn segments<'a>(route: &'a str, path: &'a str) -> Vec<&'a str> {
    let mut all: Vec<&str> = route.split('/').collect();
    all.push("");
    all.extend(path.trim_start_matches('/').split('/'));
    all
}

impl Data {
    fn at(&self, path: &str) -> Url {
        self.0.url(segments("filesystem", path))
    }

    /// Writes several text files below `folder`, which is made.
    ///
    /// # Errors
    /// If it was not taken; some of them may lie there then.
    pub async fn write_texts(
        &self,
        folder: &str,
        files: &BTreeMap<String, String>,
    ) -> Result<(), ApiError> {
        let name = "writing files";
        let total: usize = files.values().map(String::len).sum();
        if total as u64 > PIECE_BYTES / 2 {
            // Escapes may double them.
            for (path, text) in files {
                let text = Bytes::copy_from_slice(text.as_bytes());
                self.write_bytes(&format!("{folder}/{path}"), text).await?;
            }
            return Ok(());
        }
        let url = self.0.url(segments("filesystem/tree", folder));
        let mut call =
            Call::new(name, Method::PUT, url).json(&serde_json::json!({ "files": files }))?;
        call.timeout = transfer_timeout(total as u64);
        self.0.done(&call).await
    }

    /// Writes one small text file.
    ///
    /// # Errors
    /// If it was not taken.
    pub async fn write_text(&self, path: &str, text: &str) -> Result<(), ApiError> {
        let content = serde_json::json!({ "content": text });
        let call = Call::new("writing a file", Method::PUT, self.at(path)).json(&content)?;
        self.0.done(&call).await
    }

    /// Writes a file of any size, in parts if it must be.
    ///
    /// # Errors
    /// If it was not taken; nothing of it is left in the sandbox's memory then, as far as it answers.
    pub async fn write_bytes(&self, path: &str, content: Bytes) -> Result<(), ApiError> {
        let size = content.len() as u64;
        if size <= PIECE_BYTES {
            return self.write_piece(path, content).await;
        }
        let piece = |at: u64, length: u64| {
            let start = usize::try_from(at).unwrap_or(usize::MAX);
            let end = usize::try_from(at + length).unwrap_or(usize::MAX);
            Ok(content.slice(start..end))
        };
        self.write_in_parts(path, size, piece).await
    }

    /// Writes `size` bytes of `file` from `start` on, never more than a few MiB of them in memory.
    ///
    /// # Errors
    /// As [`Data::write_bytes`].
    pub async fn write_file(
        &self,
        path: &str,
        file: &File,
        start: u64,
        size: u64,
    ) -> Result<(), ApiError> {
        let piece = |at: u64, length: u64| -> io::Result<Bytes> {
            let mut bytes = vec![0; usize::try_from(length).unwrap_or(0)];
            file.read_exact_at(&mut bytes, start + at)?;
            Ok(Bytes::from(bytes))
        };
        if size <= PIECE_BYTES {
            let content = piece(0, size).map_err(|error| unreadable(&error))?;
            return self.write_piece(path, content).await;
        }
        self.write_in_parts(path, size, piece).await
    }

    async fn write_piece(&self, path: &str, content: Bytes) -> Result<(), ApiError> {
        let mut call = Call::new("writing a file", Method::PUT, self.at(path));
        call.timeout = transfer_timeout(content.len() as u64);
        // The server writes the file part as it comes: what is said of it must come before.
        let call = call.form(move || {
            let part = Part::stream(content.clone()).file_name("file");
            Form::new().text("permissions", "0600").part("file", part)
        });
        self.0.done(&call).await
    }

    /// Removes a file, or a folder with all that is in it. What is not there is no error.
    ///
    /// # Errors
    /// If it stays.
    pub async fn remove(&self, path: &str) -> Result<(), ApiError> {
        let mut url = self.at(path);
        url.query_pairs_mut().append_pair("recursive", "true");
        let call = Call::new("removing a file", Method::DELETE, url);
        match self.0.done(&call).await {
            Err(error) if error.kind == Kind::Missing => Ok(()),
            other => other,
        }
    }

    /// Whether a file is there.
    ///
    /// # Errors
    /// If nobody says so.
    pub async fn exists(&self, path: &str) -> Result<bool, ApiError> {
        Ok(self.size(path).await?.is_some())
    }

    /// Size of a file that is not empty; `None` if there is none.
    pub(super) async fn size(&self, path: &str) -> Result<Option<u64>, ApiError> {
        // `HEAD` answers 200 always.
        let mut call = Call::new("looking for a file", Method::GET, self.at(path));
        call.accept = "application/octet-stream";
        call.headers
            .push((RANGE, HeaderValue::from_static("bytes=0-0")));
        let response = match self.0.send(&call).await {
            Ok(response) => response,
            Err(error) if error.kind == Kind::Missing => return Ok(None),
            Err(error) => return Err(error),
        };
        let range = response.headers().get(CONTENT_RANGE);
        let total = range.and_then(|range| range.to_str().ok()?.rsplit_once('/')?.1.parse().ok());
        Ok(Some(
            total.or(response.content_length()).unwrap_or_default(),
        ))
    }

    /// Reads a file of exactly `bytes` bytes into `to`, in ranges, each of which goes on where it
    /// broke. The file must not change meanwhile.
    ///
    /// # Errors
    /// If it cannot be read to its end, or is another than the one that was begun.
    pub async fn read_file(&self, path: &str, bytes: u64, to: &File) -> Result<(), ApiError> {
        let name = "fetching a file";
        let until = Instant::now() + transfer_timeout(bytes) * 2;
        let mut at = 0;
        let mut resumes = 0;
        let mut modified: Option<HeaderValue> = None;
        while at < bytes {
            let error = match self.read_range(path, at, bytes, &mut modified, to).await {
                Ok(read) => {
                    at += read;
                    continue;
                }
                Err((read, error)) => {
                    at += read;
                    error
                }
            };
            resumes += 1;
            if !error.is_passing() || resumes > RESUMES_MAX || Instant::now() > until {
                return Err(error);
            }
            tracing::debug!(error = %error, at, "a transfer goes on where it broke");
            let pause = Duration::from_millis(100) * resumes;
            tokio::time::sleep(error.retry_after.unwrap_or(pause)).await;
        }
        if at == bytes {
            Ok(())
        } else {
            let what = format!("it has {at} bytes or more, not {bytes}");
            Err(ApiError::new(name, Kind::Garbled, what))
        }
    }

    /// One range, from `at` on. What arrived counts, also of one that broke.
    async fn read_range(
        &self,
        path: &str,
        at: u64,
        bytes: u64,
        modified: &mut Option<HeaderValue>,
        to: &File,
    ) -> Result<u64, (u64, ApiError)> {
        let name = "fetching a file";
        let end = (at + RANGE_BYTES).min(bytes);
        let mut call = Call::new(name, Method::GET, self.at(path));
        call.accept = "application/octet-stream";
        call.retry_for = Duration::from_secs(20);
        let range = format!("bytes={at}-{}", end - 1);
        call.headers.push((
            RANGE,
            HeaderValue::from_str(&range).unwrap_or(HeaderValue::from_static("bytes=0-")),
        ));
        let mut response = self.0.send(&call).await.map_err(|error| (0, error))?;
        let garbled = |what: &str| (0, ApiError::new(name, Kind::Garbled, what));
        let headers = response.headers();
        if !headers.contains_key(CONTENT_DISPOSITION) {
            return Err(garbled("what came is not the file"));
        }
        let expected = format!("bytes {at}-{}/{bytes}", end - 1);
        let is_range = response.status() == StatusCode::PARTIAL_CONTENT
            && headers
                .get(CONTENT_RANGE)
                .is_some_and(|range| range.as_bytes() == expected.as_bytes());
        let is_whole = response.status() == StatusCode::OK
            && at == 0
            && response.content_length() == Some(bytes);
        if !is_range && !is_whole {
            return Err(garbled("another range came than was asked for"));
        }
        let is = headers.get(LAST_MODIFIED).cloned();
        if modified.get_or_insert_with(|| is.clone().unwrap_or(HeaderValue::from_static("")))
            != &is.unwrap_or(HeaderValue::from_static(""))
        {
            return Err(garbled("the file changed meanwhile"));
        }
        let wanted = if is_whole { bytes } else { end - at };
        let mut read = 0;
        while read < wanted {
            let chunk = match timeout(SILENCE_MAX, response.chunk()).await {
                Ok(Ok(Some(chunk))) => chunk,
                Ok(Ok(None)) => {
                    let what = "the answer ended too early";
                    return Err((read, ApiError::new(name, Kind::NoAnswer, what)));
                }
                Ok(Err(error)) => return Err((read, ApiError::broken(name, error))),
                Err(_) => {
                    let what = format!("nothing came for {} s", SILENCE_MAX.as_secs());
                    return Err((read, ApiError::new(name, Kind::NoAnswer, what)));
                }
            };
            let room = usize::try_from(wanted - read).unwrap_or(usize::MAX);
            let chunk = &chunk[..chunk.len().min(room)];
            to.write_all_at(chunk, at + read)
                .map_err(|error| (0, unreadable(&error)))?;
            read += chunk.len() as u64;
        }
        Ok(read)
    }
}

pub(super) fn unreadable(error: &io::Error) -> ApiError {
    ApiError::new(
        "copying a file",
        Kind::Refused,
        format!("on our side: {error}"),
    )
}
