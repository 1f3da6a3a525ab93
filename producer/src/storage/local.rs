//! The back end that is a folder: files arrive through the API itself.
//!
//! A file is written beside its place, checked for length and SHA-256, flushed, and only then
//! linked to its key, which must be free.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use axum::body::Body;
use bytes::{Bytes, BytesMut};
use futures_util::{Stream, StreamExt as _, TryStreamExt as _, stream};
use manimq_shared::storage::{ArtifactKey, PREFIX, PutTerms};
use object_store::local::LocalFileSystem;
use object_store::path::Path as ObjectPath;
use object_store::{
    GetOptions, GetRange, GetResultPayload, ObjectStore, ObjectStoreExt as _, PutMode, PutOptions,
    PutPayload,
};
use sha2::{Digest as _, Sha256};
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_util::io::ReaderStream;
use uuid::Uuid;

use super::{INCOMING, Range, StoreError, Stored};

/// A file up to this size is written in one go; a larger one in parts of this size.
const PART_BYTES: usize = 4 * 1024 * 1024;
/// Uploads at a time: each holds up to one part in memory.
const UPLOADS_MAX: usize = 32;
/// Longest pause of an upload's sender.
pub(super) const UPLOAD_STALL: Duration = Duration::from_secs(30);
/// Read size of downloads.
const READ_BYTES: usize = 256 * 1024;
/// What an interrupted upload left is removed at the next start, if it is this old.
const LEFTOVER_AGE: Duration = Duration::from_secs(3600);

/// A folder.
#[derive(Debug, Clone)]
pub(super) struct Local {
    pub(super) inner: Arc<LocalFileSystem>,
    root: PathBuf,
    uploads: Arc<Semaphore>,
}

impl Local {
    /// Opens the folder, making what is missing.
    pub(super) fn open(data_dir: &Path) -> anyhow::Result<Self> {
        let root = data_dir.join("artifacts");
        for folder in [INCOMING, PREFIX] {
            let folder = root.join(folder);
            std::fs::create_dir_all(&folder).with_context(|| {
                format!(
                    "cannot make the folder {}; choose another one with --data-dir",
                    folder.display()
                )
            })?;
        }
        // A job that was answered as succeeded must have its file after a power cut as well.
        let inner = LocalFileSystem::new_with_prefix(&root)
            .with_context(|| format!("cannot use the folder {}", root.display()))?
            .with_fsync(true);
        Ok(Self {
            inner: Arc::new(inner),
            root,
            uploads: Arc::new(Semaphore::new(UPLOADS_MAX)),
        })
    }

    /// Takes in a file on the terms that were signed.
    pub(super) async fn put(&self, terms: &PutTerms, body: Body) -> Result<Stored, StoreError> {
        let path = object_path(&terms.key);
        let _permit = self.uploads.acquire().await.expect("never closed");
        if let Some(stored) = self.compare(&path, terms).await? {
            return Ok(stored);
        }
        let mut incoming = Incoming::new(terms, body);
        let first = incoming.part().await?;
        let published = if first.len() as u64 == terms.bytes {
            incoming.finish().await?;
            let options = PutOptions::from(PutMode::Create);
            let payload = PutPayload::from_bytes(first);
            self.inner
                .put_opts(&path, payload, options)
                .await
                .map(|_| ())
        } else {
            self.put_parts(&path, first, incoming).await?
        };
        match published {
            Ok(()) => Ok(Stored::Created),
            // Somebody else was faster; with the same bytes both are right.
            Err(object_store::Error::AlreadyExists { .. }) => self
                .compare(&path, terms)
                .await?
                .ok_or(StoreError::NotFound),
            Err(error) => Err(error.into()),
        }
    }

    async fn put_parts(
        &self,
        path: &ObjectPath,
        first: Bytes,
        mut incoming: Incoming,
    ) -> Result<Result<(), object_store::Error>, StoreError> {
        let place = ObjectPath::from(format!("{INCOMING}/{}", Uuid::now_v7().simple()));
        let mut upload = self.inner.put_multipart(&place).await?;
        let mut part = first;
        let received = loop {
            if part.is_empty() {
                break incoming.finish().await;
            }
            upload.put_part(PutPayload::from_bytes(part)).await?;
            part = match incoming.part().await {
                Ok(part) => part,
                Err(error) => break Err(error),
            };
        };
        if let Err(error) = received {
            let _ = upload.abort().await;
            return Err(error);
        }
        upload.complete().await?;
        let published = self.inner.rename_if_not_exists(&place, path).await;
        if published.is_err() {
            let _ = self.inner.delete(&place).await;
        }
        Ok(published)
    }

    /// `Some(Same)` if exactly these bytes lie there, `None` if nothing does.
    async fn compare(
        &self,
        path: &ObjectPath,
        terms: &PutTerms,
    ) -> Result<Option<Stored>, StoreError> {
        let found = match self.inner.get(path).await {
            Ok(found) => found,
            Err(object_store::Error::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        if found.meta.size != terms.bytes {
            return Err(StoreError::Exists);
        }
        let mut digest = Sha256::new();
        let mut content = content(found.payload, 0..terms.bytes).await?;
        while let Some(chunk) = content.try_next().await? {
            digest.update(&chunk);
        }
        if hex::encode(digest.finalize()) == terms.sha256 {
            Ok(Some(Stored::Same))
        } else {
            Err(StoreError::Exists)
        }
    }

    /// The content of a file, or of a part of it that lies within the file.
    pub(super) async fn get(
        &self,
        path: &ObjectPath,
        range: Range,
    ) -> Result<impl Stream<Item = io::Result<Bytes>> + Send + use<>, StoreError> {
        let options = GetOptions {
            // An empty file has no range to ask for.
            range: (!range.is_empty()).then(|| GetRange::Bounded(range.clone())),
            ..GetOptions::default()
        };
        let found = self.inner.get_opts(path, options).await?;
        content(found.payload, range).await
    }

    /// Puts a complete file, which lies on the same disk, to its key. Says whether it did: not if the key is taken.
    pub(super) async fn adopt(&self, file: PathBuf, path: &ObjectPath) -> Result<bool, StoreError> {
        let target = self.root.join(path.as_ref());
        let link = move || {
            if let Some(folder) = target.parent() {
                std::fs::create_dir_all(folder)?;
            }
            std::fs::File::open(&file)?.sync_all()?;
            let linked = match std::fs::hard_link(&file, &target) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => false,
                other => other.map(|()| true)?,
            };
            // The name must outlive a power cut as the content does.
            if let Some(folder) = target.parent() {
                std::fs::File::open(folder)?.sync_all()?;
            }
            Ok::<_, io::Error>(linked)
        };
        Ok(tokio::task::spawn_blocking(link)
            .await
            .map_err(io::Error::other)??)
    }

    /// Where files that are not complete may lie.
    pub(super) fn incoming(&self) -> PathBuf {
        self.root.join(INCOMING)
    }

    /// Writes and removes a small file.
    pub(super) async fn probe(&self) -> Result<(), StoreError> {
        let root = self.root.clone();
        let probe = tokio::task::spawn_blocking(move || {
            let path = root
                .join(INCOMING)
                .join(format!("probe-{}", Uuid::now_v7().simple()));
            std::fs::write(&path, b"ready?")?;
            std::fs::remove_file(&path)?;
            std::fs::metadata(root.join(PREFIX)).map(|_| ())
        });
        Ok(probe.await.map_err(io::Error::other)??)
    }

    /// Removes what interrupted uploads left behind long ago.
    pub(super) fn sweep(&self) {
        for folder in [INCOMING, PREFIX] {
            let Ok(entries) = std::fs::read_dir(self.root.join(folder)) else {
                continue;
            };
            for entry in entries.flatten() {
                let name = entry.file_name();
                // `object_store` writes beside the place, as `<name>#<number>`.
                let staged = folder == INCOMING || name.to_string_lossy().contains('#');
                let old = entry
                    .metadata()
                    .and_then(|meta| meta.modified())
                    .is_ok_and(|at| at.elapsed().is_ok_and(|age| age > LEFTOVER_AGE));
                if staged && old && std::fs::remove_file(entry.path()).is_ok() {
                    tracing::info!("removed what an interrupted upload left behind");
                }
            }
        }
    }
}

fn object_path(key: &ArtifactKey) -> ObjectPath {
    ObjectPath::from(key.to_string())
}

/// The bytes of `range`, whatever form the store gave them.
async fn content(
    payload: GetResultPayload,
    range: Range,
) -> Result<stream::BoxStream<'static, io::Result<Bytes>>, StoreError> {
    Ok(match payload {
        GetResultPayload::File(file, _) => {
            let mut file = tokio::fs::File::from_std(file);
            file.seek(io::SeekFrom::Start(range.start)).await?;
            let part = file.take(range.end - range.start);
            ReaderStream::with_capacity(part, READ_BYTES).boxed()
        }
        GetResultPayload::Stream(stream) => stream.map_err(io::Error::other).boxed(),
    })
}

/// The bytes of an upload, counted and digested as they come.
struct Incoming {
    body: axum::body::BodyDataStream,
    rest: Bytes,
    digest: Sha256,
    received: u64,
    expected: u64,
    sha256: String,
}

impl Incoming {
    fn new(terms: &PutTerms, body: Body) -> Self {
        Self {
            body: body.into_data_stream(),
            rest: Bytes::new(),
            digest: Sha256::new(),
            received: 0,
            expected: terms.bytes,
            sha256: terms.sha256.clone(),
        }
    }

    async fn chunk(&mut self) -> Result<Option<Bytes>, StoreError> {
        if !self.rest.is_empty() {
            return Ok(Some(std::mem::take(&mut self.rest)));
        }
        let next = timeout(UPLOAD_STALL, self.body.next())
            .await
            .map_err(|_| StoreError::Stalled)?;
        let Some(chunk) = next.transpose().map_err(StoreError::Sender)? else {
            return Ok(None);
        };
        self.received += chunk.len() as u64;
        if self.received > self.expected {
            return Err(StoreError::Length {
                expected: self.expected,
                received: self.received,
            });
        }
        self.digest.update(&chunk);
        Ok(Some(chunk))
    }

    /// The next [`PART_BYTES`], or what is left; empty at the end.
    async fn part(&mut self) -> Result<Bytes, StoreError> {
        let left = usize::try_from(self.expected).unwrap_or(usize::MAX);
        let mut part = BytesMut::with_capacity(left.min(PART_BYTES));
        while part.len() < PART_BYTES {
            let Some(mut chunk) = self.chunk().await? else {
                break;
            };
            let room = PART_BYTES - part.len();
            if chunk.len() > room {
                self.rest = chunk.split_off(room);
            }
            part.extend_from_slice(&chunk);
        }
        Ok(part.freeze())
    }

    /// At the end: is it what was announced?
    async fn finish(&mut self) -> Result<(), StoreError> {
        while self.chunk().await?.is_some() {}
        if self.received != self.expected {
            return Err(StoreError::Length {
                expected: self.expected,
                received: self.received,
            });
        }
        let digest = hex::encode(std::mem::take(&mut self.digest).finalize());
        if digest != self.sha256 {
            return Err(StoreError::Digest(digest));
        }
        Ok(())
    }
}
