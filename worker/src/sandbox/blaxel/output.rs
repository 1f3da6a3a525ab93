//! A result that lies in a sandbox of Blaxel's: sent from there to its signed URL, or fetched.

use std::collections::BTreeMap;
use std::fs::File;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use reqwest::Url;
use serde::Deserialize;
use sha2::{Digest as _, Sha256};
use tokio::sync::OnceCell;

use super::data::ProcessSpec;
use super::error::{ApiError, Kind};
use super::follow::Follower;
use super::place::{Opened, quoted, unique};
use super::tenancy::Guest;

/// Who sends results to the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum SendFrom {
    /// The sandbox, to public https addresses that it reaches; the worker otherwise
    Auto,
    /// The sandbox, whatever the address is; the worker if that does not work
    Sandbox,
    /// The worker, which fetches each result first
    Worker,
}

/// How results leave a sandbox. Shared by its slots.
#[derive(Debug)]
pub(super) struct Exit {
    pub who: SendFrom,
    pub ca_file: Option<PathBuf>,
    /// A store was out of reach from inside: not tried again until the next connection.
    pub blocked: AtomicBool,
}

/// A finished file in a sandbox. What is said of it here was said there: the store compares.
#[derive(Debug, Clone)]
pub struct RemoteFile {
    pub(super) opened: Arc<Opened>,
    pub(super) folder: String,
    pub(super) path: String,
    /// Its size.
    pub bytes: u64,
    /// Its SHA-256 in hex.
    pub sha256: String,
    /// Its MD5.
    pub md5: [u8; 16],
    pub(super) fetched: Arc<OnceCell<Arc<File>>>,
    /// Until it is stored its tenant is in the sandbox, and nobody cleans there.
    pub(super) _guest: Option<Arc<Guest>>,
}

/// What came of sending a file from inside.
#[derive(Debug)]
pub enum Pushed {
    /// The store answered with this status and, of a refusal, these words.
    Answered(u16, String),
    /// It does not work from there; nothing was stored as far as is known.
    Impossible,
}

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Said {
    Answered { status: u16, said: String },
    Unreachable { message: String },
    Broken { message: String },
}

impl RemoteFile {
    /// Whether to try [`RemoteFile::push`] with this address.
    #[must_use]
    pub fn can_be_pushed(&self, url: &str) -> bool {
        let exit = &self.opened.exit;
        let Ok(url) = Url::parse(url) else {
            return false; // a path on the API: only we know where that is
        };
        // What was fetched because it did not work from there is not tried there again.
        !exit.blocked.load(Ordering::Relaxed)
            && self.fetched.get().is_none()
            && match exit.who {
                SendFrom::Worker => false,
                SendFrom::Sandbox => true,
                // Inside, a private address is another machine than here; 127.0.0.1 is the
                // sandbox's own interface, which asks nobody for a key.
                SendFrom::Auto => url.scheme() == "https" && is_public(&url),
            }
    }

    /// Has the sandbox send the file to a signed URL.
    ///
    /// # Errors
    /// If the sandbox does not do what it is told.
    pub async fn push(
        &self,
        url: &str,
        headers: &BTreeMap<String, String>,
        limit: Duration,
    ) -> Result<Pushed, ApiError> {
        let opened = &self.opened;
        let name = unique("push");
        let ca = match &opened.exit.ca_file {
            Some(file) => std::fs::read_to_string(file).unwrap_or_default(),
            None => String::new(),
        };
        let request = serde_json::json!({
            "url": url,
            "headers": headers,
            "path": self.path,
            "timeout_s": limit.as_secs(),
            "ca": ca,
        });
        let path = format!("{}/{name}", self.folder);
        opened.data.write_text(&path, &request.to_string()).await?;
        let command = format!(
            "exec {} -I -S -B {}/inside/push.py {}",
            quoted(&opened.python),
            quoted(&opened.renderer),
            quoted(&path)
        );
        let spec = ProcessSpec::new(name.clone(), command, limit + Duration::from_secs(30));
        let data = &opened.data;
        let sending = async {
            data.start(&spec).await?;
            let said = Follower::new(data.clone(), name.clone())
                .begin()
                .next()
                .await?;
            let said = said.ok_or_else(|| {
                ApiError::new("sending a result", Kind::Garbled, "it says nothing")
            })?;
            serde_json::from_value(said).map_err(|error| {
                ApiError::new("sending a result", Kind::Garbled, error.to_string())
            })
        };
        let said = tokio::time::timeout(limit + Duration::from_secs(30), sending).await;
        let pushed = match said {
            Ok(Ok(Said::Answered { status, said })) => Ok(Pushed::Answered(status, said)),
            Ok(Ok(Said::Unreachable { message })) => {
                tracing::info!(
                    reason = message,
                    "the store cannot be reached from inside the sandbox: the worker sends results"
                );
                opened.exit.blocked.store(true, Ordering::Relaxed);
                Ok(Pushed::Impossible)
            }
            Ok(Ok(Said::Broken { message })) => {
                tracing::warn!(
                    reason = message,
                    "sending a result from inside the sandbox broke"
                );
                Ok(Pushed::Impossible)
            }
            Ok(Err(error)) => Err(error),
            Err(_) => {
                let _ = data.kill(&name).await;
                Err(ApiError::new(
                    "sending a result",
                    Kind::NoAnswer,
                    "it takes too long",
                ))
            }
        };
        data.remove_logs(&name).await;
        pushed
    }

    /// The file on our side, fetched once; never held in memory as a whole.
    ///
    /// # Errors
    /// If it cannot be fetched, or is not what was said of it.
    pub async fn fetch(&self) -> Result<Arc<File>, ApiError> {
        let fetching = self.fetched.get_or_try_init(|| async {
            let ours = |error: std::io::Error| {
                ApiError::new("fetching a result", Kind::Refused, error.to_string())
            };
            let file = Arc::new(tempfile::tempfile().map_err(ours)?);
            self.opened
                .data
                .read_file(&self.path, self.bytes, &file)
                .await?;
            let copy = file.clone();
            let sum = tokio::task::spawn_blocking(move || sha256(&copy))
                .await
                .map_err(|error| ours(std::io::Error::other(error)))?
                .map_err(ours)?;
            if sum != self.sha256 {
                let what = "its bytes are not those that were rendered";
                return Err(ApiError::new("fetching a result", Kind::Garbled, what));
            }
            Ok(file)
        });
        fetching.await.cloned()
    }
}

fn sha256(file: &File) -> std::io::Result<String> {
    use std::os::unix::fs::FileExt as _;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 256 * 1024];
    let mut at = 0;
    loop {
        let count = file.read_at(&mut buffer, at)?;
        if count == 0 {
            return Ok(crate::upload::hex_text(&hasher.finalize()));
        }
        hasher.update(&buffer[..count]);
        at += count as u64;
    }
}

/// Whether an address can mean the same inside a sandbox as here.
fn is_public(url: &Url) -> bool {
    let Some(host) = url.host_str() else {
        return false;
    };
    match host.trim_matches(['[', ']']).parse::<IpAddr>() {
        Ok(IpAddr::V4(ip)) => {
            !(ip.is_loopback() || ip.is_private() || ip.is_link_local() || ip.is_unspecified())
        }
        Ok(IpAddr::V6(ip)) => {
            !(ip.is_loopback() || ip.is_unique_local() || ip.is_unicast_link_local())
        }
        Err(_) => host.contains('.') && !host.ends_with(".local") && !host.ends_with(".internal"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn private_addresses_are_not_sent_into_a_sandbox() {
        let public = |url: &str| is_public(&Url::parse(url).expect("a URL"));
        assert!(public("https://films.s3.amazonaws.com/x?sig=1"));
        assert!(public("https://8.8.8.8/x"));
        for url in [
            "https://127.0.0.1:8080/x",
            "https://10.1.2.3/x",
            "https://169.254.169.254/x",
            "https://localhost/x",
            "https://minio/x",
            "https://[::1]/x",
            "https://[fd00::1]/x",
            "https://store.internal/x",
        ] {
            assert!(!public(url), "{url}");
        }
    }
}
