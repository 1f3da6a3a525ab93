//! Files that this process itself puts into a bucket: those that come with jobs.
//!
//! Their keys are made of their content and stay, so wrong bytes under one would spoil every later job that has the file.

use std::path::Path;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use manimq_shared::storage::{Held, HeldHash};
use object_store::path::Path as ObjectPath;
use object_store::signer::Method;
use object_store::{ObjectStore, ObjectStoreExt as _};

use super::{Cloud, Content, PUT_TTL, RETRIES_MAX, SignedPut, error_chain};
use crate::storage::StoreError;
use crate::storage::place::CloudKind;

/// A file of this machine that is to be stored.
pub(in crate::storage) struct OwnFile<'a> {
    pub(in crate::storage) path: &'a Path,
    pub(in crate::storage) bytes: u64,
    pub(in crate::storage) sha256: &'a str,
}

/// How an attempt to store one ended.
enum Put {
    Stored,
    /// Something lies there already.
    Taken,
}

impl Cloud {
    /// Stores a file of ours, streamed from disk, by a URL as a worker would get it. Says whether it is new: of several
    /// at once one is, where the server knows `If-None-Match`.
    pub(in crate::storage) async fn put_file(
        &self,
        objects: &dyn ObjectStore,
        path: &ObjectPath,
        file: &OwnFile<'_>,
    ) -> Result<bool, StoreError> {
        // Of what lies there in the way only what is wrong is replaced.
        let mut create = true;
        let mut pause = Duration::from_millis(200);
        for tries in 1.. {
            let content = Content {
                mime: "application/octet-stream",
                sha256: file.sha256,
                create,
            };
            let signed = self.sign_put(path, &content).await?;
            let error = match self.put_once(&signed, file).await {
                Ok(Put::Stored) => return Ok(true),
                Ok(Put::Taken) => match self.agrees(path, file).await {
                    // After a try whose answer was lost it may be ours: better counted twice than never.
                    Ok(true) => return Ok(tries > 1),
                    Ok(false) => {
                        create = false;
                        "another file lies there".to_owned()
                    }
                    Err(error) => error,
                },
                Err(error) => error,
            };
            if tries >= RETRIES_MAX {
                // A server that keeps what it refused for its hash would have the wrong bytes taken for the right ones.
                if let Ok(false) = self.agrees(path, file).await {
                    let _ = objects.delete(path).await;
                }
                return Err(failed(error));
            }
            tokio::time::sleep(pause).await;
            pause *= 2;
        }
        unreachable!("it returns after {RETRIES_MAX} tries")
    }

    async fn put_once(&self, signed: &SignedPut, file: &OwnFile<'_>) -> Result<Put, String> {
        use tokio_util::io::ReaderStream;
        let open = || tokio::fs::File::open(file.path);
        let mut request = self
            .http
            .put(&signed.url)
            .header("content-length", file.bytes);
        for (name, value) in &signed.headers {
            request = request.header(name, value);
        }
        if signed.md5 {
            let sum = md5_of(file.path.to_owned()).await;
            let sum = sum.map_err(|error| error.to_string())?;
            request = request.header("content-md5", STANDARD.encode(sum));
        }
        let content = open().await.map_err(|error| error.to_string())?;
        let body = reqwest::Body::wrap_stream(ReaderStream::with_capacity(content, 256 * 1024));
        let response = request.body(body).send().await;
        // Without the URL, which is a credential.
        let response = response.map_err(|error| error.without_url().to_string())?;
        match response.status().as_u16() {
            200..300 => Ok(Put::Stored),
            // Azure's and S3's words, and S3's for two at once.
            409 | 412 => Ok(Put::Taken),
            _ => Err(format!(
                "the bucket's server answered {}",
                response.status()
            )),
        }
    }

    /// Whether what lies at `path` is this file, as far as the bucket tells; `false` if nothing does.
    pub(in crate::storage) async fn agrees(
        &self,
        path: &ObjectPath,
        file: &OwnFile<'_>,
    ) -> Result<bool, String> {
        let mut looks = Vec::new();
        if self.kind == CloudKind::S3 {
            looks.push(("x-amz-checksum-mode", "ENABLED".to_owned()));
        }
        let url = self.sign(Method::HEAD, path, PUT_TTL, &looks, &[]).await;
        let mut request = self.http.head(url.map_err(|error| error_chain(&error))?);
        for (name, value) in looks {
            request = request.header(name, value);
        }
        let response = request.send().await;
        let response = response.map_err(|error| error.without_url().to_string())?;
        match response.status().as_u16() {
            200..300 => {}
            404 => return Ok(false),
            _ => {
                return Err(format!(
                    "the bucket's server answered {} to a look",
                    response.status()
                ));
            }
        }
        let held = Held::read(|name| {
            let values = response.headers().get_all(name).iter();
            let values: Vec<_> = values.filter_map(|value| value.to_str().ok()).collect();
            (!values.is_empty()).then(|| values.join(","))
        });
        if held.bytes != Some(file.bytes) {
            return Ok(false);
        }
        Ok(match held.hash {
            None => true,
            Some(HeldHash::Sha256(found)) => Ok(found) == hex::decode(file.sha256),
            Some(HeldHash::Md5(found)) => {
                let sum = md5_of(file.path.to_owned()).await;
                found == sum.map_err(|error| error.to_string())?
            }
        })
    }
}

fn failed(error: String) -> StoreError {
    StoreError::Backend(object_store::Error::Generic {
        store: "bucket",
        source: error.into(),
    })
}

async fn md5_of(file: std::path::PathBuf) -> std::io::Result<Vec<u8>> {
    use md5::{Digest as _, Md5};
    let sum = move || {
        let mut file = std::fs::File::open(file)?;
        let mut digest = Md5::new();
        let mut buffer = vec![0; 256 * 1024];
        loop {
            let n = std::io::Read::read(&mut file, &mut buffer)?;
            if n == 0 {
                return Ok(digest.finalize().to_vec());
            }
            digest.update(&buffer[..n]);
        }
    };
    tokio::task::spawn_blocking(sum)
        .await
        .map_err(std::io::Error::other)?
}
