//! The back ends that are buckets: S3 and what speaks like it, Google Cloud Storage, Azure.
//!
//! Files go to and come from the bucket itself, by URLs that are signed here for one request on
//! one key. A bucket shows an object only when all of it has arrived, so nothing has to be
//! published. What is under the signature differs:
//!
//! | | content | key must be free | read back |
//! | --- | --- | --- | --- |
//! | S3 | SHA-256, signed; the server refuses other bytes | signed | HEAD shows the SHA-256 |
//! | GCS | MD5, sent along | signed | HEAD shows the MD5 |
//! | Azure | MD5, sent along | asked for | HEAD shows the MD5 |

mod own;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use manimq_shared::api::UploadCheck;
use object_store::aws::{AmazonS3Builder, Checksum};
use object_store::azure::MicrosoftAzureBuilder;
use object_store::client::{HttpClient, HttpConnector};
use object_store::gcp::GoogleCloudStorageBuilder;
use object_store::path::Path as ObjectPath;
use object_store::signer::{HeaderMap, HeaderName, HeaderValue, Method, SignedUrlOptions, Signer};
use object_store::{
    ClientOptions, ObjectStore, ObjectStoreExt as _, PutMode, PutOptions, PutPayload, RetryConfig,
};
use uuid::Uuid;

pub(super) use self::own::OwnFile;
use super::place::CloudKind;
use super::{INCOMING, StoreError};

/// Longest silence of the bucket's server in an answer.
const SILENCE_MAX: Duration = Duration::from_secs(20);
/// Longest time for one request, with a body of some size.
const REQUEST_MAX: Duration = Duration::from_secs(180);
/// Tries of a request that is ours, and their time in all.
const RETRIES_MAX: usize = 5;
const RETRY_FOR: Duration = Duration::from_secs(20);
/// How long leave to upload lasts. A worker whose leave ran out asks again.
const PUT_TTL: Duration = Duration::from_secs(15 * 60);
/// How long the URL works to which a reader is sent; the reader's own URL leads to a fresh one.
const GET_TTL: Duration = Duration::from_secs(15 * 60);
/// How long a reader may remember where it was sent.
pub(super) const REDIRECT_AGE: Duration = Duration::from_secs(5 * 60);

/// A bucket.
#[derive(Debug, Clone)]
pub(super) struct Cloud {
    kind: CloudKind,
    signer: Arc<dyn Signer>,
    http: reqwest::Client,
    /// Whether the server knows `If-None-Match` on writes; most do.
    conditional: Arc<AtomicBool>,
}

/// A signed request to store one file.
pub(super) struct SignedPut {
    pub(super) url: String,
    pub(super) headers: BTreeMap<String, String>,
    /// Whether `Content-MD5` is to be sent along, since no stronger hash is known to the server.
    pub(super) md5: bool,
    pub(super) check: UploadCheck,
}

/// What is to be stored.
pub(super) struct Content<'a> {
    pub(super) mime: &'a str,
    pub(super) sha256: &'a str,
    /// The key must be free.
    pub(super) create: bool,
}

/// Hands our own HTTP client to the library: with the certificates that we trust.
#[derive(Debug)]
struct Connector(reqwest::Client);

impl HttpConnector for Connector {
    fn connect(&self, _: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(self.0.clone()))
    }
}

impl Cloud {
    /// Opens a bucket; nothing is sent yet.
    pub(super) fn open(
        kind: CloudKind,
        bucket: &str,
        ca_file: Option<&Path>,
        environment: impl Iterator<Item = (String, String)>,
    ) -> anyhow::Result<(Self, Arc<dyn ObjectStore>)> {
        // An empty variable is one that is not set.
        let environment = environment
            .filter(|(_, value)| !value.is_empty())
            .map(|(name, value)| (name.to_ascii_lowercase(), value));
        let http = reqwest::Client::builder()
            .tls_backend_preconfigured(manimq_shared::tls::client_config(ca_file)?)
            .connect_timeout(Duration::from_secs(5))
            .read_timeout(SILENCE_MAX)
            .timeout(REQUEST_MAX)
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(concat!("manimq/", env!("CARGO_PKG_VERSION")))
            .build()
            .context("cannot make an HTTP client")?;
        let retry = RetryConfig {
            max_retries: RETRIES_MAX,
            retry_timeout: RETRY_FOR,
            ..RetryConfig::default()
        };
        let connector = Connector(http.clone());
        let (signer, objects): (Arc<dyn Signer>, Arc<dyn ObjectStore>) = match kind {
            CloudKind::S3 => {
                let store = environment
                    .filter(|(name, _)| name.starts_with("aws_"))
                    .filter_map(|(name, value)| Some((name.parse().ok()?, value)))
                    .fold(AmazonS3Builder::new(), |builder, (name, value)| {
                        builder.with_config(name, value)
                    })
                    .with_bucket_name(bucket)
                    .with_checksum_algorithm(Checksum::SHA256)
                    .with_allow_http(true)
                    .with_retry(retry)
                    .with_http_connector(connector)
                    .build()
                    .context("cannot use S3 as the AWS_* variables say")?;
                let store = Arc::new(store);
                (store.clone(), store)
            }
            CloudKind::Gcs => {
                let store = environment
                    .filter(|(name, _)| name.starts_with("google_") || name == "service_account")
                    .filter_map(|(name, value)| Some((name.parse().ok()?, value)))
                    .fold(
                        GoogleCloudStorageBuilder::new(),
                        |builder, (name, value)| builder.with_config(name, value),
                    )
                    .with_bucket_name(bucket)
                    .with_retry(retry)
                    .with_http_connector(connector)
                    .build()
                    .context("cannot use Google Cloud Storage as the GOOGLE_* variables say")?;
                let store = Arc::new(store);
                (store.clone(), store)
            }
            CloudKind::Azure => {
                let store = environment
                    .filter(|(name, _)| name.starts_with("azure_"))
                    .filter_map(|(name, value)| Some((name.parse().ok()?, value)))
                    .fold(MicrosoftAzureBuilder::new(), |builder, (name, value)| {
                        builder.with_config(name, value)
                    })
                    .with_container_name(bucket)
                    .with_allow_http(true)
                    .with_retry(retry)
                    .with_http_connector(connector)
                    .build()
                    .context("cannot use Azure Blob Storage as the AZURE_* variables say")?;
                let store = Arc::new(store);
                (store.clone(), store)
            }
        };
        let cloud = Self {
            kind,
            signer,
            http,
            conditional: Arc::new(AtomicBool::new(true)),
        };
        Ok((cloud, objects))
    }

    /// A URL that stores `content` at `path`, once signed, and how to look whether it did.
    pub(super) async fn sign_put(
        &self,
        path: &ObjectPath,
        content: &Content<'_>,
    ) -> Result<SignedPut, StoreError> {
        let create = content.create && self.conditional.load(Ordering::Relaxed);
        let mut headers = vec![("content-type", content.mime.to_owned())];
        let mut looks = Vec::new();
        match self.kind {
            CloudKind::S3 => {
                headers.push(("x-amz-checksum-sha256", checksum(content.sha256)));
                looks.push(("x-amz-checksum-mode", "ENABLED".to_owned()));
                if create {
                    headers.push(("if-none-match", "*".to_owned()));
                }
            }
            CloudKind::Gcs => {
                if create {
                    headers.push(("x-goog-if-generation-match", "0".to_owned()));
                }
            }
            CloudKind::Azure => {
                headers.push(("x-ms-blob-type", "BlockBlob".to_owned()));
                headers.push(("x-ms-blob-content-type", content.mime.to_owned()));
                if create {
                    headers.push(("if-none-match", "*".to_owned()));
                }
            }
        }
        let url = self.sign(Method::PUT, path, PUT_TTL, &headers, &[]).await?;
        let look = self.sign(Method::HEAD, path, PUT_TTL, &looks, &[]).await?;
        let owned = |pairs: Vec<(&str, String)>| {
            pairs
                .into_iter()
                .map(|(name, value)| (name.to_owned(), value))
                .collect()
        };
        Ok(SignedPut {
            url,
            headers: owned(headers),
            md5: self.kind != CloudKind::S3,
            check: UploadCheck {
                url: look,
                headers: owned(looks),
            },
        })
    }

    /// A URL that reads `path`. A disposition names the file for a browser, where the back end
    /// can sign that (not Azure).
    pub(super) async fn sign_get(
        &self,
        method: Method,
        path: &ObjectPath,
        disposition: Option<String>,
    ) -> Result<String, StoreError> {
        let query: Vec<(&str, String)> = match self.kind {
            CloudKind::S3 | CloudKind::Gcs => disposition
                .map(|text| ("response-content-disposition", text))
                .into_iter()
                .collect(),
            CloudKind::Azure => Vec::new(),
        };
        self.sign(method, path, GET_TTL, &[], &query).await
    }

    async fn sign(
        &self,
        method: Method,
        path: &ObjectPath,
        ttl: Duration,
        headers: &[(&str, String)],
        query: &[(&str, String)],
    ) -> Result<String, StoreError> {
        let url = match self.kind {
            // A signature there covers the right to read or to write, and neither headers nor method.
            CloudKind::Azure => {
                let method = if method == Method::HEAD {
                    Method::GET
                } else {
                    method
                };
                self.signer.signed_url(method, path, ttl).await?
            }
            CloudKind::S3 | CloudKind::Gcs => {
                let mut signed = HeaderMap::new();
                for (name, value) in headers {
                    let name = HeaderName::from_bytes(name.as_bytes());
                    let value = HeaderValue::from_str(value);
                    if let (Ok(name), Ok(value)) = (name, value) {
                        signed.append(name, value);
                    }
                }
                let mut options = SignedUrlOptions::new()
                    .with_query(query.iter().map(|(name, value)| (*name, value.as_str())));
                options.signed_headers = signed;
                self.signer
                    .signed_url_opts(method, path, ttl, &options)
                    .await?
            }
        };
        Ok(url.into())
    }

    /// Writes, reads and removes a small object, and learns whether `If-None-Match` is understood.
    pub(super) async fn check(
        &self,
        objects: &dyn ObjectStore,
        base: &str,
    ) -> Result<(), StoreError> {
        let path = ObjectPath::from(format!(
            "{base}{INCOMING}/probe-{}",
            Uuid::now_v7().simple()
        ));
        let create = PutOptions::from(PutMode::Create);
        let payload = || PutPayload::from_static(b"ready?");
        if let Err(error) = objects.put_opts(&path, payload(), create).await {
            let text = error_chain(&error);
            if !matches!(error, object_store::Error::NotImplemented { .. })
                && !text.contains("NotImplemented")
            {
                return Err(error.into());
            }
            tracing::warn!(
                "the bucket's server does not know conditional writes; a repeated upload may replace an object with the same bytes"
            );
            self.conditional.store(false, Ordering::Relaxed);
            objects.put(&path, payload()).await?;
        }
        let read = objects.get(&path).await?.bytes().await;
        let removed = objects.delete(&path).await;
        if read?.as_ref() != b"ready?" {
            return Err(StoreError::Digest("of other content".to_owned()));
        }
        Ok(removed?)
    }
}

/// An error with all its causes.
pub(super) fn error_chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        text.push_str(": ");
        text.push_str(&next.to_string());
        cause = next.source();
    }
    text
}

/// A SHA-256 in the form that S3 wants.
fn checksum(sha256_hex: &str) -> String {
    STANDARD.encode(hex::decode(sha256_hex).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHA256: &str = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";

    async fn signed(kind: CloudKind, environment: &[(&str, &str)]) -> (SignedPut, String) {
        let owned = environment
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let (cloud, _) = Cloud::open(kind, "films", None, owned).unwrap();
        let path = ObjectPath::from("p/manim_videos/job_x.mp4");
        let content = Content {
            mime: "video/mp4",
            sha256: SHA256,
            create: true,
        };
        let put = cloud.sign_put(&path, &content).await.unwrap();
        let get = cloud
            .sign_get(
                Method::GET,
                &path,
                Some("inline; filename=\"A.mp4\"".into()),
            )
            .await
            .unwrap();
        for url in [&put.url, &put.check.url, &get] {
            assert!(url.contains("/films/p/manim_videos/job_x.mp4?"), "{url}");
            assert!(!url.contains("secret"), "{url}");
        }
        (put, get)
    }

    #[tokio::test]
    async fn s3_signs_the_hash_the_type_and_that_the_key_must_be_free() {
        let (put, get) = signed(
            CloudKind::S3,
            &[
                ("AWS_ACCESS_KEY_ID", "AKIA"),
                ("AWS_SECRET_ACCESS_KEY", "secret"),
                ("AWS_REGION", "eu-central-1"),
                ("AWS_ENDPOINT_URL", ""),
                ("AWS_CA_BUNDLE", "/x"),
            ],
        )
        .await;
        assert!(
            put.url
                .starts_with("https://s3.eu-central-1.amazonaws.com/"),
            "{}",
            put.url
        );
        assert!(
            put.url.contains(
                "X-Amz-SignedHeaders=content-type%3Bhost%3Bif-none-match%3Bx-amz-checksum-sha256"
            ),
            "{}",
            put.url
        );
        assert!(put.url.contains("X-Amz-Expires=900"));
        let hash = "LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ=";
        assert_eq!(put.headers["x-amz-checksum-sha256"], hash);
        assert_eq!(put.headers["if-none-match"], "*");
        assert!(!put.md5);
        assert_eq!(put.check.headers["x-amz-checksum-mode"], "ENABLED");
        assert!(get.contains("response-content-disposition=inline"), "{get}");
    }

    #[tokio::test]
    async fn azure_signs_one_blob_and_one_right() {
        // The key of Microsoft's emulator, as its documents have it.
        let key = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";
        let (put, get) = signed(
            CloudKind::Azure,
            &[
                ("AZURE_STORAGE_ACCOUNT_NAME", "acme"),
                ("AZURE_STORAGE_ACCOUNT_KEY", key),
            ],
        )
        .await;
        assert!(
            put.url
                .starts_with("https://acme.blob.core.windows.net/films/"),
            "{}",
            put.url
        );
        for (url, right) in [(&put.url, "sp=w"), (&put.check.url, "sp=r"), (&get, "sp=r")] {
            assert!(
                url.contains(right) && url.contains("sr=b") && url.contains("sig="),
                "{url}"
            );
        }
        assert_eq!(put.headers["x-ms-blob-type"], "BlockBlob");
        assert_eq!(put.headers["if-none-match"], "*");
        assert!(put.md5);
    }

    #[tokio::test]
    async fn google_signs_the_type_and_that_the_key_must_be_free() {
        let key = std::process::Command::new("openssl")
            .args([
                "genpkey",
                "-algorithm",
                "RSA",
                "-pkeyopt",
                "rsa_keygen_bits:2048",
            ])
            .output()
            .expect("openssl, to make a key");
        let account = serde_json::json!({
            "type": "service_account",
            "private_key": String::from_utf8(key.stdout).unwrap(),
            "private_key_id": "id",
            "client_email": "renders@acme.iam.gserviceaccount.com",
        });
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("account.json");
        std::fs::write(&path, account.to_string()).unwrap();
        let (put, get) = signed(
            CloudKind::Gcs,
            &[("GOOGLE_SERVICE_ACCOUNT", path.to_str().unwrap())],
        )
        .await;
        assert!(
            put.url.starts_with("https://storage.googleapis.com/films/"),
            "{}",
            put.url
        );
        assert!(
            put.url
                .contains("X-Goog-SignedHeaders=content-type%3Bhost%3Bx-goog-if-generation-match"),
            "{}",
            put.url
        );
        assert_eq!(put.headers["x-goog-if-generation-match"], "0");
        assert!(put.md5 && get.contains("response-content-disposition=inline"));
    }
}
