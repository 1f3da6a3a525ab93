//! Where artifacts lie: a directory, through `object_store`, so that a bucket can take its place.
//!
//! A stored file never changes. It is written beside its place, checked for length and SHA-256,
//! flushed, and only then linked to its key, which must be free: nobody ever sees half of it, and
//! a repeated upload of the same bytes is a success without effect.

use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use axum::body::Body;
use bytes::{Bytes, BytesMut};
use futures_util::{Stream, StreamExt as _, TryStreamExt as _, stream};
use manimq_shared::storage::{ArtifactKey, GetTerms, PREFIX, PutTerms, Signer, StorageSecret};
use object_store::local::LocalFileSystem;
use object_store::path::Path as ObjectPath;
use object_store::{
    GetOptions, GetRange, GetResultPayload, ObjectMeta, ObjectStore, ObjectStoreExt as _, PutMode,
    PutOptions, PutPayload,
};
use sha2::{Digest as _, Sha256};
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_util::io::ReaderStream;
use uuid::Uuid;

/// A file up to this size is written in one go; a larger one in parts of this size.
const PART_BYTES: usize = 4 * 1024 * 1024;
/// Uploads at a time: each holds up to one part in memory.
const UPLOADS_MAX: usize = 32;
/// Longest pause of an upload's sender.
const UPLOAD_STALL: Duration = Duration::from_secs(30);
/// Read size of downloads.
const READ_BYTES: usize = 256 * 1024;
/// Folder of files that are not complete.
const INCOMING: &str = "incoming";
/// What an interrupted upload left is removed at the next start, if it is this old.
const LEFTOVER_AGE: Duration = Duration::from_secs(3600);
/// How long leave to upload lasts.
const PUT_TTL: Duration = Duration::from_secs(15 * 60);

/// Why a file was not stored or cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Nothing lies there.
    #[error("no such file")]
    NotFound,
    /// Something else lies there.
    #[error("another file lies there")]
    Exists,
    /// Not the length that was signed.
    #[error("{received} bytes arrived, {expected} were announced")]
    Length {
        /// What was signed.
        expected: u64,
        /// What came (at least).
        received: u64,
    },
    /// Not the content that was signed.
    #[error("the content has the SHA-256 {0}, another one was announced")]
    Digest(String),
    /// The sender paused for too long.
    #[error("no byte arrived for {} s", UPLOAD_STALL.as_secs())]
    Stalled,
    /// The sender went away.
    #[error("the sender went away")]
    Sender(#[source] axum::Error),
    /// The range is outside of the file.
    #[error("the file has {0} bytes")]
    Range(u64),
    /// The disk or the bucket failed.
    #[error("the storage failed")]
    Backend(#[source] object_store::Error),
}

impl From<object_store::Error> for StoreError {
    fn from(error: object_store::Error) -> Self {
        match error {
            object_store::Error::NotFound { .. } => Self::NotFound,
            object_store::Error::AlreadyExists { .. } => Self::Exists,
            other => Self::Backend(other),
        }
    }
}

impl From<io::Error> for StoreError {
    fn from(error: io::Error) -> Self {
        Self::Backend(object_store::Error::Generic {
            store: "local",
            source: Box::new(error),
        })
    }
}

/// What an upload did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stored {
    /// The file is new.
    Created,
    /// The same file was there.
    Same,
}

/// A part of a file; both ends from the start, the last exclusive.
pub type Range = std::ops::Range<u64>;

/// The store; clones share it.
#[derive(Clone)]
pub struct Store {
    inner: Arc<LocalFileSystem>,
    root: PathBuf,
    signer: Signer,
    identity: String,
    uploads: Arc<Semaphore>,
    url_ttl: Duration,
}

/// Seconds since the epoch.
pub(crate) fn now_s() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

impl Store {
    /// Opens the store below `data_dir`, making what is missing. URLs for readers last at least
    /// `url_ttl`.
    ///
    /// # Errors
    /// If the directory cannot be made or written, or the secret cannot be read; the text says
    /// which path and what to do.
    pub fn open(data_dir: &Path, secret: Option<&str>, url_ttl: Duration) -> anyhow::Result<Self> {
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
        let (secret, identity) = match secret {
            Some(text) => known_secret(text).with_context(|| {
                format!(
                    "MANIMQ_STORAGE_SECRET is too short: use at least {} bytes, such as from `openssl rand -hex 32`",
                    StorageSecret::BYTES_MIN
                )
            })?,
            None => secret_file(&data_dir.join("storage.key"))?,
        };
        // A job that was answered as succeeded must have its file after a power cut as well.
        let inner = LocalFileSystem::new_with_prefix(&root)
            .with_context(|| format!("cannot use the folder {}", root.display()))?
            .with_fsync(true);
        Ok(Self {
            inner: Arc::new(inner),
            root,
            signer: Signer::new(&secret),
            identity,
            uploads: Arc::new(Semaphore::new(UPLOADS_MAX)),
            url_ttl,
        })
    }

    /// The signer of this store's URLs.
    #[must_use]
    pub fn signer(&self) -> &Signer {
        &self.signer
    }

    /// A hash of the secret: the same for all processes that honour each other's URLs.
    #[must_use]
    pub fn identity(&self) -> &str {
        &self.identity
    }

    /// When a URL for a reader that is made now expires. Rounded up to a half of the time to
    /// live, so that URLs (and with them answers and caches) stay the same for a while.
    #[must_use]
    pub fn get_expiry_s(&self) -> u64 {
        let half = (self.url_ttl.as_secs() / 2).max(1);
        (now_s() / half + 3) * half
    }

    /// Path and query of a URL to read `key`.
    #[must_use]
    pub fn get_path(&self, key: ArtifactKey, file_name: String, expires_s: u64) -> String {
        self.signer.get_path(&GetTerms {
            key,
            expires_s,
            file_name,
            download: false,
        })
    }

    /// Path and query of a URL to write `key` once.
    #[must_use]
    pub fn put_path(&self, key: ArtifactKey, bytes: u64, sha256: String) -> String {
        self.signer.put_path(&PutTerms {
            key,
            expires_s: now_s() + PUT_TTL.as_secs(),
            bytes,
            sha256,
        })
    }

    /// Takes in a file on the terms that were signed.
    ///
    /// # Errors
    /// [`StoreError`]; nothing is visible then.
    pub async fn put(&self, terms: &PutTerms, body: Body) -> Result<Stored, StoreError> {
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

    /// Size, time and ETag of a file.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] and [`StoreError::Backend`].
    pub async fn head(&self, key: &ArtifactKey) -> Result<ObjectMeta, StoreError> {
        Ok(self.inner.head(&object_path(key)).await?)
    }

    /// The content of a file, or of a part of it that lies within the file.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] and [`StoreError::Backend`].
    pub async fn get(
        &self,
        key: &ArtifactKey,
        range: Range,
    ) -> Result<impl Stream<Item = io::Result<Bytes>> + Send + use<>, StoreError> {
        let options = GetOptions {
            // An empty file has no range to ask for.
            range: (!range.is_empty()).then(|| GetRange::Bounded(range.clone())),
            ..GetOptions::default()
        };
        let found = self.inner.get_opts(&object_path(key), options).await?;
        content(found.payload, range).await
    }

    /// Removes a file; one that is not there is no error.
    ///
    /// # Errors
    /// [`StoreError::Backend`].
    pub async fn remove(&self, key: &ArtifactKey) -> Result<(), StoreError> {
        match self.inner.delete(&object_path(key)).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Writes and removes a small file.
    ///
    /// # Errors
    /// [`StoreError::Backend`], with the system's words as its source.
    pub async fn probe(&self) -> Result<(), StoreError> {
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
    pub fn sweep(&self) {
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

/// A secret that is long enough, and the hash by which its owner is known.
fn known_secret(text: &str) -> Option<(StorageSecret, String)> {
    let secret = StorageSecret::new(text)?;
    let digest = Sha256::new_with_prefix("manimq store identity\n").chain_update(text);
    Some((secret, hex::encode(digest.finalize())))
}

/// The secret in `path`; made on the first start, readable by its owner alone.
fn secret_file(path: &Path) -> anyhow::Result<(StorageSecret, String)> {
    let read = || -> anyhow::Result<Option<(StorageSecret, String)>> {
        match std::fs::read_to_string(path) {
            Ok(text) => known_secret(text.trim())
                .map(Some)
                .with_context(|| {
                    format!(
                        "{} holds no secret; remove it to have a new one made (URLs given out before then stop working)",
                        path.display()
                    )
                }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => {
                Err(error).with_context(|| format!("cannot read {}", path.display()))
            }
        }
    };
    if let Some(secret) = read()? {
        return Ok(secret);
    }
    // Written beside and linked: two processes that start together agree on the first one's.
    let fresh = path.with_extension(format!("key.{}", Uuid::now_v7().simple()));
    let write = || -> io::Result<()> {
        use std::io::Write as _;
        let mut file = std::fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&fresh)?;
        file.write_all(StorageSecret::generate().as_bytes())?;
        file.sync_all()?;
        match std::fs::hard_link(&fresh, path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            other => other,
        }
    };
    let written = write();
    let _ = std::fs::remove_file(&fresh);
    written.with_context(|| format!("cannot write {}", path.display()))?;
    read()?.with_context(|| format!("{} vanished", path.display()))
}
