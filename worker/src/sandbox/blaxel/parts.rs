//! Uploads of files that are too large for one request.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _};
use reqwest::Method;
use reqwest::multipart::{Form, Part};
use serde::{Deserialize, Serialize};

use super::data::Data;
use super::error::ApiError;
use super::files::{PIECE_BYTES, segments, transfer_timeout, unreadable};
use super::http::Call;

/// Parts of one upload that are sent at a time.
const PARTS_AT_ONCE: usize = 2;
/// Where the server keeps the parts of uploads that are not whole yet.
pub(super) const UPLOADS: &str = "/tmp/multipart-uploads";

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Upload {
    upload_id: String,
}

#[derive(Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
struct SentPart {
    part_number: u32,
    etag: String,
}

#[derive(Serialize)]
struct Parts {
    parts: Vec<SentPart>,
}

/// An upload that was begun. Dropped half-way, it is given up.
struct Begun {
    data: Data,
    id: String,
    over: bool,
}

impl Drop for Begun {
    fn drop(&mut self) {
        if !self.over
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            let (data, id) = (self.data.clone(), std::mem::take(&mut self.id));
            runtime.spawn(async move { data.give_up(&id).await });
        }
    }
}

impl Data {
    /// Writes a file of `size` bytes, of which `piece` gives so many from so far on. Nothing of it is
    /// left in the sandbox's memory if it is not taken, or if this is dropped.
    pub(super) async fn write_in_parts(
        &self,
        path: &str,
        size: u64,
        piece: impl Fn(u64, u64) -> io::Result<Bytes>,
    ) -> Result<(), ApiError> {
        let url = self.0.url(segments("filesystem-multipart/initiate", path));
        let upload: Upload = self
            .0
            .json(
                &Call::new("beginning an upload", Method::POST, url)
                    .json(&serde_json::json!({ "permissions": "0600" }))?,
            )
            .await?;
        let mut begun = Begun {
            data: self.clone(),
            id: upload.upload_id,
            over: false,
        };
        let id = begun.id.as_str();
        let count = size.div_ceil(PIECE_BYTES);
        let sent: Result<Vec<SentPart>, ApiError> = futures_util::stream::iter(0..count)
            .map(|index| {
                let at = index * PIECE_BYTES;
                let content = piece(at, PIECE_BYTES.min(size - at));
                async move {
                    let content = content.map_err(|error| unreadable(&error))?;
                    let number = u32::try_from(index + 1).unwrap_or(u32::MAX);
                    self.write_part(id, number, content).await
                }
            })
            .buffered(PARTS_AT_ONCE)
            .try_collect()
            .await;
        let finished = match sent {
            Ok(parts) => self.complete(path, id, parts, size).await,
            Err(error) => Err(error),
        };
        if finished.is_err() {
            self.give_up(id).await;
        }
        begun.over = true;
        finished
    }

    /// Parts lie in the sandbox's memory until somebody takes them away.
    async fn give_up(&self, id: &str) {
        let url = self.0.url(["filesystem-multipart", id, "abort"]);
        let mut call = Call::new("giving an upload up", Method::DELETE, url);
        call.retry_for = Duration::from_secs(5);
        if let Err(error) = self.0.done(&call).await {
            tracing::debug!(error = %error, "an upload stays in the sandbox");
        }
    }

    async fn write_part(
        &self,
        id: &str,
        number: u32,
        content: Bytes,
    ) -> Result<SentPart, ApiError> {
        let mut url = self.0.url(["filesystem-multipart", id, "part"]);
        url.query_pairs_mut()
            .append_pair("partNumber", &number.to_string());
        let mut call = Call::new("sending a part of a file", Method::PUT, url);
        call.timeout = transfer_timeout(content.len() as u64);
        let sent: SentPart = self
            .0
            .json(&call.form(move || {
                Form::new().part("file", Part::stream(content.clone()).file_name("part"))
            }))
            .await?;
        Ok(sent)
    }

    /// Has the parts put together. Done once, the upload is unknown the second time, which says
    /// nothing where an answer was lost: then what lies there tells.
    async fn complete(
        &self,
        path: &str,
        id: &str,
        parts: Vec<SentPart>,
        size: u64,
    ) -> Result<(), ApiError> {
        let url = self.0.url(["filesystem-multipart", id, "complete"]);
        let call = Call::new("ending an upload", Method::POST, url).json(&Parts { parts })?;
        let error = match self.0.done(&call).await {
            Ok(()) => return Ok(()),
            Err(error) => error,
        };
        match self.size(path).await {
            Ok(Some(found)) if found == size => Ok(()),
            Ok(_) | Err(_) => Err(error),
        }
    }
}
