//! Where files lie: a folder or a bucket, behind one door.
//!
//! A stored file never changes, and nobody ever sees half of one. Workers write and read by
//! signed URLs only; readers get URLs of this API, signed with a secret of our own, that work for
//! every back end alike: the folder's files are served at once, a bucket's by sending the reader
//! on to a URL that the bucket signed a moment ago. So reading a job needs no call to a cloud,
//! URLs stay stable, and one that leaks from a bucket's log is worth minutes.

mod assets;
mod cloud;
mod local;
mod place;
mod secret;
mod sweep;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use axum::body::Body;
use bytes::Bytes;
use futures_util::{Stream, StreamExt as _, stream};
use manimq_shared::api::UploadCheck;
use manimq_shared::ids::JobId;
use manimq_shared::storage::{ArtifactKey, GetTerms, PREFIX, PutTerms, Signer, StorageSecret};
use object_store::path::Path as ObjectPath;
use object_store::signer::Method;
use object_store::{ObjectMeta, ObjectStore, ObjectStoreExt as _};
use sha2::{Digest as _, Sha256};

pub(crate) use self::assets::room_of;
pub use self::assets::{AssetLimits, Spool, Spooled};
use self::cloud::{Cloud, Content};
use self::local::{Local, UPLOAD_STALL};
pub use self::place::{CloudKind, Place};
pub(crate) use self::sweep::use_assets;
pub use self::sweep::{SweepError, SweepReport, Sweeper, SweptFile};

/// Folder of files that are not complete.
const INCOMING: &str = "incoming";
/// How long leave to upload to the folder lasts.
const PUT_TTL: Duration = Duration::from_secs(15 * 60);
/// How often, and how often at most, a bucket is asked at the start.
const CHECK_EVERY: Duration = Duration::from_secs(1);

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
    /// Files of this store are not written through the API.
    #[error("files of this store are sent to their bucket, not here")]
    Elsewhere,
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

/// Leave to store one file.
#[derive(Debug, Clone)]
pub struct Grant {
    /// Where to: a URL, or a path on this API.
    pub url: String,
    /// Headers that must be sent.
    pub headers: std::collections::BTreeMap<String, String>,
    /// Whether `Content-MD5` is to be sent as well.
    pub md5: bool,
    /// How to look at what was stored, where that is needed.
    pub check: Option<UploadCheck>,
}

/// Where a reader finds a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Location {
    /// Here: see [`Store::get`].
    Here,
    /// At this URL.
    There {
        /// A signed URL of the bucket.
        url: String,
        /// How long that may be remembered.
        age: Duration,
    },
}

/// A part of a file; both ends from the start, the last exclusive.
pub type Range = std::ops::Range<u64>;

/// How to open a store.
#[derive(Debug, Clone)]
pub struct StoreConfig {
    /// Folder for what lies on this machine: the secret, files on their way, and with
    /// [`Place::Local`] everything.
    pub data_dir: PathBuf,
    /// The secret behind signed URLs; without it one is made and kept in `data_dir`.
    pub secret: Option<String>,
    /// How long URLs for readers last, at least.
    pub url_ttl: Duration,
    /// Where files lie.
    pub place: Place,
    /// Where everybody can read the bucket, without a signature.
    pub public: Option<String>,
    /// Certificates to trust beside the system's.
    pub ca_file: Option<PathBuf>,
}

impl StoreConfig {
    /// A store below `data_dir`.
    #[must_use]
    pub fn local(data_dir: &Path) -> Self {
        Self {
            data_dir: data_dir.to_owned(),
            secret: None,
            url_ttl: Duration::from_secs(3600),
            place: Place::Local,
            public: None,
            ca_file: None,
        }
    }
}

#[derive(Debug, Clone)]
enum Backend {
    Local(Local),
    Cloud(Cloud),
}

/// The store; clones share it.
#[derive(Clone)]
pub struct Store {
    backend: Backend,
    objects: Arc<dyn ObjectStore>,
    /// Start of all keys: empty, or with a slash at the end.
    base: String,
    place: Place,
    public: Option<String>,
    /// Where uploads that pass through this process wait until they are complete.
    spool: PathBuf,
    signer: Signer,
    identity: String,
    url_ttl: Duration,
}

/// Seconds since the epoch.
pub(crate) fn now_s() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

/// The process's environment, as far as it is text.
fn environment() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
}

impl Store {
    /// Opens a store, making what is missing on this machine. A bucket is not asked yet: see
    /// [`Store::check`].
    ///
    /// # Errors
    /// If a folder cannot be made or written, or the settings of a bucket cannot be used; the text
    /// says which and what to do.
    pub fn open(config: &StoreConfig) -> anyhow::Result<Self> {
        let data_dir = &config.data_dir;
        std::fs::create_dir_all(data_dir).with_context(|| {
            format!(
                "cannot make the folder {}; choose another one with --data-dir",
                data_dir.display()
            )
        })?;
        let (backend, objects, base): (Backend, Arc<dyn ObjectStore>, String) = match &config.place
        {
            Place::Local => {
                let local = Local::open(data_dir)?;
                let objects = local.inner.clone();
                (Backend::Local(local), objects, String::new())
            }
            Place::Bucket {
                kind,
                bucket,
                prefix,
            } => {
                let (cloud, objects) =
                    Cloud::open(*kind, bucket, config.ca_file.as_deref(), environment())?;
                (Backend::Cloud(cloud), objects, prefix.clone())
            }
        };
        let spool = match &backend {
            Backend::Local(local) => local.incoming(),
            Backend::Cloud(_) => data_dir.join(INCOMING),
        };
        std::fs::create_dir_all(&spool)
            .with_context(|| format!("cannot make the folder {}", spool.display()))?;
        let (secret, mut identity) = match &config.secret {
            Some(text) => secret::known_secret(text).with_context(|| {
                format!(
                    "MANIMQ_STORAGE_SECRET is too short: use at least {} bytes, such as from `openssl rand -hex 32`",
                    StorageSecret::BYTES_MIN
                )
            })?,
            None => secret::secret_file(&data_dir.join("storage.key"))?,
        };
        if config.place != Place::Local {
            // Another bucket is another store, whoever signs.
            let digest = Sha256::new_with_prefix(&identity).chain_update(config.place.to_string());
            identity = hex::encode(digest.finalize());
        }
        Ok(Self {
            backend,
            objects,
            base,
            place: config.place.clone(),
            public: config.public.clone(),
            spool,
            signer: Signer::new(&secret),
            identity,
            url_ttl: config.url_ttl,
        })
    }

    /// Makes sure that files can be written and read, asking a bucket again for `patience` if it
    /// does not answer.
    ///
    /// # Errors
    /// What the bucket's server says, and what to look at.
    pub async fn check(&self, patience: Duration) -> anyhow::Result<()> {
        let end = tokio::time::Instant::now() + patience;
        loop {
            let result = match &self.backend {
                Backend::Local(local) => local.probe().await,
                Backend::Cloud(cloud) => cloud.check(self.objects.as_ref(), &self.base).await,
            };
            let error = match result {
                Ok(()) => return Ok(()),
                Err(error) => error,
            };
            let refused = matches!(
                &error,
                StoreError::Backend(
                    object_store::Error::PermissionDenied { .. }
                        | object_store::Error::Unauthenticated { .. }
                ) | StoreError::NotFound
            );
            if refused || tokio::time::Instant::now() >= end {
                return Err(anyhow::Error::new(error).context(self.remedy()));
            }
            tokio::time::sleep(CHECK_EVERY).await;
        }
    }

    fn remedy(&self) -> String {
        let place = &self.place;
        match place {
            Place::Local => "cannot write to the data folder".to_owned(),
            Place::Bucket {
                kind: CloudKind::S3,
                ..
            } => format!(
                "cannot write to {place}: the bucket must exist, AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (or the machine's role) \
                 must allow to get, put, delete and list in it, AWS_REGION must be its region, and AWS_ENDPOINT_URL the server's address if it is not Amazon's"
            ),
            Place::Bucket {
                kind: CloudKind::Gcs,
                ..
            } => format!(
                "cannot write to {place}: the bucket must exist, and GOOGLE_SERVICE_ACCOUNT (or the machine's account) must be one that may use it"
            ),
            Place::Bucket {
                kind: CloudKind::Azure,
                ..
            } => format!(
                "cannot write to {place}: the container must exist, and AZURE_STORAGE_ACCOUNT_NAME with AZURE_STORAGE_ACCOUNT_KEY must be those that own it"
            ),
        }
    }

    /// The signer of this store's URLs.
    #[must_use]
    pub fn signer(&self) -> &Signer {
        &self.signer
    }

    /// A hash of secret and place: the same for all processes that honour each other's URLs and
    /// find each other's files.
    #[must_use]
    pub fn identity(&self) -> &str {
        &self.identity
    }

    /// Where the files lie.
    #[must_use]
    pub fn place(&self) -> &Place {
        &self.place
    }

    fn path(&self, key: &impl std::fmt::Display) -> ObjectPath {
        ObjectPath::from(format!("{}{key}", self.base))
    }

    /// Whether a listing comes in the order of keys: a bucket's does, a folder's does not.
    fn lists_in_order(&self) -> bool {
        matches!(self.place, Place::Bucket { .. })
    }

    /// When a URL for a reader that is made now expires. Rounded up to a half of the time to
    /// live, so that URLs (and with them answers and caches) stay the same for a while.
    #[must_use]
    pub fn get_expiry_s(&self) -> u64 {
        let half = (self.url_ttl.as_secs() / 2).max(1);
        (now_s() / half + 3) * half
    }

    /// The URL at which `key` can be read: of the API that users reach at `api_url`, or of the
    /// bucket if everybody may read it.
    #[must_use]
    pub fn get_url(
        &self,
        api_url: &str,
        key: ArtifactKey,
        file_name: String,
        expires_s: u64,
    ) -> String {
        if let Some(public) = &self.public {
            return format!("{public}/{}{key}", self.base);
        }
        let path = self.signer.get_path(&GetTerms {
            key,
            expires_s,
            file_name,
            download: false,
        });
        format!("{api_url}{path}")
    }

    /// Leave to write `key` once, with exactly this content.
    ///
    /// # Errors
    /// [`StoreError::Backend`] if nothing can be signed.
    pub async fn grant(
        &self,
        key: ArtifactKey,
        bytes: u64,
        sha256: String,
    ) -> Result<Grant, StoreError> {
        let mime = key.name().mime();
        match &self.backend {
            Backend::Local(_) => Ok(Grant {
                url: self.signer.put_path(&PutTerms {
                    key,
                    expires_s: now_s() + PUT_TTL.as_secs(),
                    bytes,
                    sha256,
                }),
                headers: [("content-type".to_owned(), mime.to_owned())].into(),
                md5: false,
                check: None,
            }),
            Backend::Cloud(cloud) => {
                let content = Content {
                    mime,
                    sha256: &sha256,
                    create: true,
                };
                let signed = cloud.sign_put(&self.path(&key), &content).await?;
                Ok(Grant {
                    url: signed.url,
                    headers: signed.headers,
                    md5: signed.md5,
                    check: Some(signed.check),
                })
            }
        }
    }

    /// Takes in a file on the terms that were signed.
    ///
    /// # Errors
    /// [`StoreError`]; nothing is visible then.
    pub async fn put(&self, terms: &PutTerms, body: Body) -> Result<Stored, StoreError> {
        match &self.backend {
            Backend::Local(local) => local.put(terms, body).await,
            Backend::Cloud(_) => Err(StoreError::Elsewhere),
        }
    }

    /// Where a file is read. `disposition` tells a browser its name.
    ///
    /// # Errors
    /// [`StoreError::Backend`] if nothing can be signed.
    pub async fn locate(
        &self,
        key: &ArtifactKey,
        method: &Method,
        disposition: String,
    ) -> Result<Location, StoreError> {
        match &self.backend {
            Backend::Local(_) => Ok(Location::Here),
            Backend::Cloud(cloud) => Ok(Location::There {
                url: cloud
                    .sign_get(method.clone(), &self.path(key), Some(disposition))
                    .await?,
                age: cloud::REDIRECT_AGE,
            }),
        }
    }

    /// Size, time and ETag of a file.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] and [`StoreError::Backend`].
    pub async fn head(&self, key: &ArtifactKey) -> Result<ObjectMeta, StoreError> {
        Ok(self.objects.head(&self.path(key)).await?)
    }

    /// The content of a file in the folder, or of a part of it that lies within the file.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] and [`StoreError::Backend`].
    pub async fn get(
        &self,
        key: &ArtifactKey,
        range: Range,
    ) -> Result<stream::BoxStream<'static, io::Result<Bytes>>, StoreError> {
        self.content(&self.path(key), range).await
    }

    async fn content(
        &self,
        path: &ObjectPath,
        range: Range,
    ) -> Result<stream::BoxStream<'static, io::Result<Bytes>>, StoreError> {
        match &self.backend {
            Backend::Local(local) => Ok(local.get(path, range).await?.boxed()),
            Backend::Cloud(_) => Err(StoreError::Elsewhere),
        }
    }

    /// All files of one job, whatever attempt made them.
    fn files_of(&self, job: JobId) -> impl Stream<Item = object_store::Result<ObjectMeta>> + use<> {
        let start = self.path(&format!("{PREFIX}/{job}"));
        let folder = self.path(&PREFIX);
        let listed = self.objects.list_with_offset(Some(&folder), &start);
        let wanted = format!("{start}.");
        let sorted = matches!(self.backend, Backend::Cloud(_));
        // A bucket lists in order, so what comes behind the job's last file need not be read.
        listed
            .take_while({
                let wanted = wanted.clone();
                move |item| {
                    let go_on = !sorted
                        || item
                            .as_ref()
                            .map_or(true, |meta| meta.location.as_ref().starts_with(&wanted));
                    std::future::ready(go_on)
                }
            })
            .filter(move |item| {
                let ours = item
                    .as_ref()
                    .map_or(true, |meta| meta.location.as_ref().starts_with(&wanted));
                std::future::ready(ours)
            })
    }

    /// Removes all files that attempts at this job have stored, and says how many. Whoever else
    /// shows them (jobs whose `rendered_by` this is) shows nothing then.
    ///
    /// # Errors
    /// [`StoreError::Backend`]; some may be gone then, and it may be called again.
    pub async fn delete_job(&self, job: JobId) -> Result<u64, StoreError> {
        let files = self.files_of(job).collect::<Vec<_>>().await;
        let mut count = 0;
        for meta in files {
            count += u64::from(self.delete(&meta?.location).await?);
        }
        Ok(count)
    }

    /// What [`Store::delete_job`] would remove: keys and sizes.
    ///
    /// # Errors
    /// [`StoreError::Backend`]
    pub async fn list_job(&self, job: JobId) -> Result<Vec<(String, u64)>, StoreError> {
        let files = self.files_of(job).collect::<Vec<_>>().await;
        let key = |meta: ObjectMeta| {
            let text = meta.location.as_ref();
            (
                text.strip_prefix(&self.base).unwrap_or(text).to_owned(),
                meta.size,
            )
        };
        Ok(files
            .into_iter()
            .map(|meta| meta.map(key))
            .collect::<Result<_, _>>()?)
    }

    /// Whether it was there.
    async fn delete(&self, path: &ObjectPath) -> Result<bool, StoreError> {
        match self.objects.delete(path).await {
            Ok(()) => Ok(true),
            Err(object_store::Error::NotFound { .. }) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Removes a file; one that is not there is no error.
    ///
    /// # Errors
    /// [`StoreError::Backend`].
    pub async fn remove(&self, key: &ArtifactKey) -> Result<(), StoreError> {
        self.delete(&self.path(key)).await.map(drop)
    }

    /// Writes and removes a small file.
    ///
    /// # Errors
    /// [`StoreError::Backend`], with the system's words as its source.
    pub async fn probe(&self) -> Result<(), StoreError> {
        match &self.backend {
            Backend::Local(local) => local.probe().await,
            Backend::Cloud(cloud) => cloud.check(self.objects.as_ref(), &self.base).await,
        }
    }

    /// Removes what interrupted uploads to this machine left behind long ago.
    pub fn tidy(&self) {
        if let Backend::Local(local) = &self.backend {
            local.sweep();
        }
        assets::tidy(&self.spool);
    }
}
