//! Files that come with jobs: taken in by way of this machine's disk, kept once per tenant and
//! content, given out to workers by signed URLs.
//!
//! An upload is written to a file without a name that anybody knows, hashed as it comes, and put
//! to its key when all of it is there. Nothing of it is ever in memory as a whole.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use manimq_shared::ids::TenantId;
use manimq_shared::storage::{ASSET_PREFIX, AssetKey};
use object_store::ObjectStoreExt as _;
use object_store::signer::Method;
use sha2::{Digest as _, Sha256};
use tokio::io::AsyncWriteExt as _;

use super::cloud::OwnFile;
use super::{Backend, Store, StoreError, now_s};

/// How long the URL works by which a worker of the folder's store reads a file.
const ASSET_TTL: Duration = Duration::from_secs(15 * 60);
/// Size of a block of a disk.
const BLOCK: u64 = 4096;
/// Start of the names of uploads on their way, and the age from which they are left-overs.
const SPOOL_PREFIX: &str = "asset-";
const SPOOL_AGE_MAX: Duration = Duration::from_secs(3600);

/// What a file takes of its tenant's room: whole blocks, as on a disk, or a million files of six bytes would
/// count for nothing.
pub(crate) fn room_of(bytes: u64) -> u64 {
    bytes.div_ceil(BLOCK).max(1) * BLOCK
}

/// What may come with one job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AssetLimits {
    /// Most files.
    pub files: usize,
    /// Most bytes of one file.
    pub file_bytes: u64,
    /// Most bytes in all.
    pub job_bytes: u64,
}

impl Default for AssetLimits {
    fn default() -> Self {
        Self {
            files: manimq_shared::job::JOB_FILES_MAX,
            file_bytes: 32 << 20,
            job_bytes: 64 << 20,
        }
    }
}

/// A file on its way in; gone from the disk when it is dropped.
pub struct Spool {
    path: tempfile::TempPath,
    file: tokio::fs::File,
    digest: Sha256,
    bytes: u64,
}

impl Spool {
    /// Takes a piece in.
    ///
    /// # Errors
    /// [`StoreError::Backend`] if the disk refuses.
    pub async fn write(&mut self, chunk: &[u8]) -> Result<(), StoreError> {
        self.file.write_all(chunk).await?;
        self.digest.update(chunk);
        self.bytes += chunk.len() as u64;
        Ok(())
    }

    /// Bytes so far.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// All of it is there.
    ///
    /// # Errors
    /// [`StoreError::Backend`] if the disk refuses.
    pub async fn finish(mut self) -> Result<Spooled, StoreError> {
        self.file.flush().await?;
        Ok(Spooled {
            path: self.path,
            bytes: self.bytes,
            sha256: hex::encode(self.digest.finalize()),
        })
    }
}

/// A complete file that waits to be stored.
pub struct Spooled {
    path: tempfile::TempPath,
    /// Its size.
    pub bytes: u64,
    /// Its SHA-256 in hex.
    pub sha256: String,
}

impl Store {
    /// Room for a file that is about to arrive.
    ///
    /// # Errors
    /// [`StoreError::Backend`] if the disk refuses.
    pub fn spool(&self) -> Result<Spool, StoreError> {
        let file = tempfile::Builder::new()
            .prefix(SPOOL_PREFIX)
            .tempfile_in(&self.spool)?;
        let (file, path) = file.into_parts();
        Ok(Spool {
            path,
            file: tokio::fs::File::from_std(file),
            digest: Sha256::new(),
            bytes: 0,
        })
    }

    /// Whether a content lies there, with its size.
    ///
    /// # Errors
    /// [`StoreError::Backend`]
    pub async fn asset_bytes(&self, key: &AssetKey) -> Result<Option<u64>, StoreError> {
        match self.objects.head(&self.path(key)).await {
            Ok(meta) => Ok(Some(meta.size)),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Keeps a file for a tenant. Says whether it is new; of several calls at once for the same content one is told so.
    ///
    /// # Errors
    /// [`StoreError::Backend`]
    pub async fn keep_asset(
        &self,
        tenant: &TenantId,
        spooled: Spooled,
    ) -> Result<bool, StoreError> {
        let key = AssetKey::new(tenant.clone(), &spooled.sha256).ok_or(StoreError::NotFound)?;
        let there = self.asset_bytes(&key).await? == Some(spooled.bytes);
        let path = self.path(&key);
        match &self.backend {
            Backend::Local(_) if there => Ok(false),
            Backend::Local(local) => local.adopt(spooled.path.to_path_buf(), &path).await,
            Backend::Cloud(cloud) => {
                let file = OwnFile {
                    path: &spooled.path,
                    bytes: spooled.bytes,
                    sha256: &spooled.sha256,
                };
                // Of a bucket that keeps what it refused, or of an API that died, other bytes may lie there.
                if there && matches!(cloud.agrees(&path, &file).await, Ok(true)) {
                    return Ok(false);
                }
                cloud.put_file(self.objects.as_ref(), &path, &file).await
            }
        }
    }

    /// Where a worker reads a file: a signed URL of the bucket, or a path on this API.
    ///
    /// # Errors
    /// [`StoreError::Backend`] if nothing can be signed.
    pub async fn asset_url(&self, key: &AssetKey) -> Result<String, StoreError> {
        match &self.backend {
            Backend::Local(_) => Ok(self.signer.asset_path(key, now_s() + ASSET_TTL.as_secs())),
            Backend::Cloud(cloud) => cloud.sign_get(Method::GET, &self.path(key), None).await,
        }
    }

    /// A file of the folder's store, with its size.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] and [`StoreError::Backend`].
    pub async fn asset(
        &self,
        key: &AssetKey,
    ) -> Result<(u64, stream::BoxStream<'static, io::Result<Bytes>>), StoreError> {
        let path = self.path(key);
        let bytes = self.objects.head(&path).await?.size;
        Ok((bytes, self.content(&path, 0..bytes).await?))
    }

    /// Removes all files that came with a tenant's jobs, and says how many. For a tenant that is
    /// deleted: its jobs that still wait would fail.
    ///
    /// # Errors
    /// [`StoreError::Backend`]; some may be gone then, and it may be called again.
    pub async fn delete_assets(&self, tenant: &TenantId) -> Result<u64, StoreError> {
        let folder = self.path(&format!("{ASSET_PREFIX}/{tenant}"));
        let found = self.objects.list(Some(&folder)).collect::<Vec<_>>().await;
        let mut count = 0;
        for meta in found {
            count += u64::from(self.delete(&meta?.location).await?);
        }
        Ok(count)
    }
}

/// Removes uploads that a killed process left on its disk.
pub(super) fn tidy(folder: &Path) {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return;
    };
    for entry in entries.flatten() {
        let path: PathBuf = entry.path();
        let ours = entry
            .file_name()
            .to_string_lossy()
            .starts_with(SPOOL_PREFIX);
        let old = entry
            .metadata()
            .and_then(|meta| meta.modified())
            .is_ok_and(|at| at.elapsed().is_ok_and(|age| age > SPOOL_AGE_MAX));
        if ours && old {
            let _ = std::fs::remove_file(path);
        }
    }
}
