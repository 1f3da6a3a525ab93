//! What a caller says about Redis: the URL, and what no URL should carry.

use std::path::PathBuf;

use super::url;
use crate::queue::QueueError;

/// Most logical shards.
const SHARDS_MAX: u16 = 256;

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
    /// `MANIMQ_REDIS_SENTINEL_PASSWORD`, `MANIMQ_REDIS_SHARDS` (1 to 256) and `MANIMQ_REDIS_DURABLE`
    /// (`true` or `false`).
    ///
    /// # Errors
    /// [`QueueError::Configuration`] if one of them cannot be read.
    pub fn from_env(url: impl Into<String>) -> Result<Self, QueueError> {
        Self::new(url).with(|name| std::env::var(name).ok())
    }

    fn with(self, variable: impl Fn(&str) -> Option<String>) -> Result<Self, QueueError> {
        let text = |name: &str| variable(name).filter(|text| !text.is_empty());
        let file = |name: &str| text(name).map(PathBuf::from);
        let unreadable = |name: &str, text: &str, form: &str| {
            QueueError::Configuration(format!("{name} is {text:?}: write {form}"))
        };
        let durable = text("MANIMQ_REDIS_DURABLE").unwrap_or_default();
        let durable = match durable.to_ascii_lowercase().as_str() {
            "1" | "true" | "yes" | "on" => true,
            "" | "0" | "false" | "no" | "off" => false,
            other => return Err(unreadable("MANIMQ_REDIS_DURABLE", other, "true or false")),
        };
        let shards = text("MANIMQ_REDIS_SHARDS").map(|text| {
            let number = text.trim().parse().ok();
            number
                .filter(|n| (1..=SHARDS_MAX).contains(n))
                .ok_or_else(|| unreadable("MANIMQ_REDIS_SHARDS", &text, "a number from 1 to 256"))
        });
        Ok(Self {
            shards: shards.transpose()?,
            durable,
            tls: TlsFiles {
                ca: file("MANIMQ_REDIS_CA_FILE"),
                cert: file("MANIMQ_REDIS_CERT_FILE"),
                key: file("MANIMQ_REDIS_KEY_FILE"),
            },
            sentinel_user: text("MANIMQ_REDIS_SENTINEL_USER"),
            sentinel_password: text("MANIMQ_REDIS_SENTINEL_PASSWORD"),
            ..self
        })
    }

    /// Number of logical shards, 1 to 256.
    #[must_use]
    pub fn shards(&self) -> u16 {
        let usual = if self.is_cluster() { 8 } else { 1 };
        self.shards.unwrap_or(usual).clamp(1, SHARDS_MAX)
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

#[cfg(test)]
mod tests {
    use super::*;

    fn with(variables: &[(&str, &str)]) -> Result<RedisConfig, QueueError> {
        RedisConfig::new("rediss://h").with(|name| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn the_environment_adds_what_no_url_should_carry() {
        let config = with(&[
            ("MANIMQ_REDIS_CA_FILE", "/ca.pem"),
            ("MANIMQ_REDIS_CERT_FILE", ""),
            ("MANIMQ_REDIS_SENTINEL_PASSWORD", "secret"),
            ("MANIMQ_REDIS_DURABLE", "True"),
        ])
        .unwrap();
        assert_eq!(config.tls.ca, Some("/ca.pem".into()));
        assert_eq!(config.tls.cert, None);
        assert_eq!(config.sentinel_password.as_deref(), Some("secret"));
        assert!(config.durable && !with(&[]).unwrap().durable);
        let eight = with(&[("MANIMQ_REDIS_SHARDS", "8")]).unwrap();
        assert_eq!(eight.shards(), 8);
        for (name, value) in [
            ("MANIMQ_REDIS_DURABLE", "perhaps"),
            ("MANIMQ_REDIS_SHARDS", "0"),
            ("MANIMQ_REDIS_SHARDS", "many"),
        ] {
            let text = with(&[(name, value)]).unwrap_err().to_string();
            assert!(text.contains(name) && text.contains(value), "{text}");
        }
    }
}
