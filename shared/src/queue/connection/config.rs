//! What a caller says about Redis: the URL, and what no URL should carry.

use std::path::PathBuf;

use super::url;

/// How to reach Redis.
#[derive(Clone)]
pub struct RedisConfig {
    /// Where Redis is; the forms are listed in every error about it (`URL_FORMS`).
    pub url: String,
    /// Prefix of all keys; two systems on one Redis differ in it.
    pub prefix: String,
    /// Most connections per server for calls, besides those that block. More than two are never made.
    pub pool_size: usize,
    /// Logical shards, 1 to 256: the same in all processes of a queue, and fixed once it was begun.
    /// `None`: 1, in a Cluster 8.
    pub shards: Option<u16>,
    /// Whether an `enqueue` is answered only after Redis confirmed that the job is kept: on disk, or
    /// by replicas. Needs a Redis that can say so.
    pub durable: bool,
    /// Files for TLS, used with the `rediss` forms. What the URL says goes before.
    pub tls: TlsFiles,
    /// User of the sentinels themselves, if they have one. What the URL says goes before.
    pub sentinel_user: Option<String>,
    /// Password of the sentinels themselves, if they want one. What the URL says goes before.
    pub sentinel_password: Option<String>,
}

/// PEM files for TLS. Without `ca`, the system's certificate authorities are trusted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TlsFiles {
    /// Certificate authorities to trust, instead of the system's.
    pub ca: Option<PathBuf>,
    /// Our certificate, with the chain above it, for a Redis that asks clients for one.
    pub cert: Option<PathBuf>,
    /// The private key of `cert`.
    pub key: Option<PathBuf>,
}

impl RedisConfig {
    /// The usual settings for a URL.
    #[must_use]
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            prefix: "mq".to_owned(),
            pool_size: 8,
            shards: None,
            durable: false,
            tls: TlsFiles::default(),
            sentinel_user: None,
            sentinel_password: None,
        }
    }

    /// Like [`Self::new`], with what the environment adds: `MANIMQ_REDIS_CA_FILE`,
    /// `MANIMQ_REDIS_CERT_FILE`, `MANIMQ_REDIS_KEY_FILE`, `MANIMQ_REDIS_SENTINEL_USER`,
    /// `MANIMQ_REDIS_SENTINEL_PASSWORD`, `MANIMQ_REDIS_SHARDS` and `MANIMQ_REDIS_DURABLE` (`1`, `true`, `yes`, `on`).
    #[must_use]
    pub fn from_env(url: impl Into<String>) -> Self {
        let text = |name: &str| std::env::var(name).ok().filter(|text| !text.is_empty());
        let on = |text: String| {
            matches!(
                text.to_ascii_lowercase().as_str(),
                "1" | "true" | "yes" | "on"
            )
        };
        Self {
            shards: text("MANIMQ_REDIS_SHARDS").and_then(|text| text.parse().ok()),
            durable: text("MANIMQ_REDIS_DURABLE").is_some_and(on),
            tls: TlsFiles {
                ca: text("MANIMQ_REDIS_CA_FILE").map(PathBuf::from),
                cert: text("MANIMQ_REDIS_CERT_FILE").map(PathBuf::from),
                key: text("MANIMQ_REDIS_KEY_FILE").map(PathBuf::from),
            },
            sentinel_user: text("MANIMQ_REDIS_SENTINEL_USER"),
            sentinel_password: text("MANIMQ_REDIS_SENTINEL_PASSWORD"),
            ..Self::new(url)
        }
    }

    /// Number of logical shards, 1 to 256.
    #[must_use]
    pub fn shards(&self) -> u16 {
        let usual = if self.is_cluster() { 8 } else { 1 };
        self.shards.unwrap_or(usual).clamp(1, 256)
    }

    /// Whether the URL names a Cluster, over which the keys of several shards are spread.
    #[must_use]
    pub fn is_cluster(&self) -> bool {
        url::is_cluster(&self.url)
    }
}

impl std::fmt::Debug for RedisConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RedisConfig")
            .field("url", &url::redact(&self.url))
            .field("prefix", &self.prefix)
            .field("pool_size", &self.pool_size)
            .field("shards", &self.shards())
            .field("durable", &self.durable)
            .field("tls", &self.tls)
            .finish_non_exhaustive()
    }
}
