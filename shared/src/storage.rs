//! Object storage: how artifacts are named, and the signatures that let one be written or read.
//!
//! A worker never holds a storage key. It asks the API with the token of its lease and gets, for
//! each file, a URL that allows one `PUT` of exactly those bytes under exactly that key. Readers
//! get URLs that allow one key to be read until they expire. Both are HMAC-SHA256 over all that
//! matters, compared in constant time.
//!
//! Keys, all below [`PREFIX`]:
//!
//! | | first attempt | attempt with epoch 3 |
//! | --- | --- | --- |
//! | main file (`video.mp4`, `image.png`) | `<job>.mp4` | `<job>.3.mp4` |
//! | other files (`poster.png`, `log.txt`) | `<job>.poster.png` | `<job>.3.poster.png` |
//!
//! Each attempt has keys of its own, so a late writer can never touch what another published.

mod held;

use std::fmt;
use std::str::FromStr;

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use subtle::ConstantTimeEq as _;

pub use self::held::{Held, HeldHash};
use crate::ids::{Epoch, JobId, TenantId};

/// Folder of all artifacts in the bucket or directory.
pub const PREFIX: &str = "manim_videos";
/// Folder of the files that come with jobs.
pub const ASSET_PREFIX: &str = "manim_assets";
/// Most files of one attempt.
pub const FILES_MAX: usize = 16;
/// Longest stem of a file name, in bytes.
const STEM_BYTES_MAX: usize = 48;
/// What the signatures of this scheme start with; another scheme gets another word.
const SCHEME: &str = "manimq-storage-1";

/// File endings that may be stored, and the MIME type under which each is served. None of them
/// is a type that a browser runs.
const TYPES: &[(&str, &str)] = &[
    ("mp4", "video/mp4"),
    ("webm", "video/webm"),
    ("mov", "video/quicktime"),
    ("gif", "image/gif"),
    ("png", "image/png"),
    ("jpg", "image/jpeg"),
    ("txt", "text/plain"),
    ("vtt", "text/vtt"),
    ("srt", "application/x-subrip"),
    ("json", "application/json"),
];

/// Endings of a main file called `video`, and of one called `image`.
const VIDEO: &[&str] = &["mp4", "webm", "mov", "gif"];
const IMAGE: &[&str] = &["png", "jpg"];

/// Why a name or key is refused. `Display` is shown as it stands.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Not a name that manimq gives to artifacts.
    #[error(
        "{0:?} is not an artifact name: use a-z, 0-9, `-` and `_`, starting with a letter, at most 48, and one of the endings mp4, webm, mov, gif, png, jpg, txt, vtt, srt, json"
    )]
    Name(String),
    /// Not a key that manimq gives to artifacts.
    #[error("not the key of an artifact")]
    Key,
}

/// Name of an artifact within its job, such as `video.mp4` or `poster.png`.
///
/// `video.*` and `image.*` are the main files; the others accompany them.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ArtifactName(String);

impl ArtifactName {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn parts(&self) -> (&str, &str) {
        self.0.split_once('.').expect("checked when it was parsed")
    }

    /// Its ending, without the dot.
    #[must_use]
    pub fn extension(&self) -> &str {
        self.parts().1
    }

    /// The one MIME type that files of this name have.
    #[must_use]
    pub fn mime(&self) -> &'static str {
        mime_of(self.extension()).expect("checked when it was parsed")
    }

    /// Whether it is the job's main file.
    #[must_use]
    pub fn is_main(&self) -> bool {
        matches!(self.parts().0, "video" | "image")
    }

    fn main(extension: &str) -> Option<Self> {
        let stem = if VIDEO.contains(&extension) {
            "video"
        } else if IMAGE.contains(&extension) {
            "image"
        } else {
            return None;
        };
        Some(Self(format!("{stem}.{extension}")))
    }
}

fn mime_of(extension: &str) -> Option<&'static str> {
    TYPES
        .iter()
        .find(|(ending, _)| *ending == extension)
        .map(|(_, mime)| *mime)
}

impl FromStr for ArtifactName {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Self, NameError> {
        let stem_ok = |stem: &str| {
            stem.len() <= STEM_BYTES_MAX
                && stem.starts_with(|c: char| c.is_ascii_lowercase())
                && stem
                    .bytes()
                    .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_')
        };
        text.split_once('.')
            .filter(|(stem, extension)| {
                stem_ok(stem)
                    && mime_of(extension).is_some()
                    && match *stem {
                        "video" => VIDEO.contains(extension),
                        "image" => IMAGE.contains(extension),
                        _ => true,
                    }
            })
            .map(|_| Self(text.to_owned()))
            .ok_or_else(|| NameError::Name(text.chars().take(80).collect()))
    }
}

impl fmt::Display for ArtifactName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for ArtifactName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Where one file of one attempt lies. Built from ids only, so no text of a user is ever in it.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct ArtifactKey {
    job: JobId,
    epoch: Epoch,
    name: ArtifactName,
}

impl ArtifactKey {
    /// The key of `name` as made by the attempt with `epoch`.
    #[must_use]
    pub fn new(job: JobId, epoch: Epoch, name: ArtifactName) -> Self {
        Self { job, epoch, name }
    }

    /// The job it belongs to.
    #[must_use]
    pub fn job(&self) -> JobId {
        self.job
    }

    /// The attempt it belongs to.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// The file's name within the job.
    #[must_use]
    pub fn name(&self) -> &ArtifactName {
        &self.name
    }
}

impl fmt::Display for ArtifactKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}/{}", self.job)?;
        if self.epoch.0 > 1 {
            write!(f, ".{}", self.epoch)?;
        }
        if self.name.is_main() {
            write!(f, ".{}", self.name.extension())
        } else {
            write!(f, ".{}", self.name)
        }
    }
}

impl fmt::Debug for ArtifactKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for ArtifactKey {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Self, NameError> {
        let parse = || {
            let mut parts = text.strip_prefix(PREFIX)?.strip_prefix('/')?.split('.');
            let job = parts.next()?.parse().ok()?;
            let rest: Vec<&str> = parts.collect();
            let numbered = rest.first()?.bytes().all(|b| b.is_ascii_digit());
            let (epoch, file) = if numbered {
                (rest.first()?.parse().ok()?, &rest[1..])
            } else {
                (1, &rest[..])
            };
            let name = match file {
                [extension] => ArtifactName::main(extension)?,
                [stem, extension] => format!("{stem}.{extension}").parse().ok()?,
                _ => return None,
            };
            let key = Self::new(job, Epoch(epoch), name);
            // One text for one key: `.1.`, `.007.` and `.video.mp4` are not keys.
            (key.to_string() == text).then_some(key)
        };
        parse().ok_or(NameError::Key)
    }
}

/// Where a file that came with a job lies: under its content's hash, once for each tenant. The
/// tenant is in the key, so nobody reaches another's file by knowing its hash.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AssetKey {
    tenant: TenantId,
    sha256: String,
}

impl AssetKey {
    /// The key of a content; `None` if `sha256` is none.
    #[must_use]
    pub fn new(tenant: TenantId, sha256: &str) -> Option<Self> {
        is_sha256(sha256).then(|| Self {
            tenant,
            sha256: sha256.to_owned(),
        })
    }

    /// Whose it is.
    #[must_use]
    pub fn tenant(&self) -> &TenantId {
        &self.tenant
    }

    /// The content's hash.
    #[must_use]
    pub fn sha256(&self) -> &str {
        &self.sha256
    }
}

impl fmt::Display for AssetKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{ASSET_PREFIX}/{}/{}", self.tenant, self.sha256)
    }
}

impl FromStr for AssetKey {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Self, NameError> {
        let parse = || {
            let (tenant, sha256) = text
                .strip_prefix(ASSET_PREFIX)?
                .strip_prefix('/')?
                .split_once('/')?;
            Self::new(tenant.parse().ok()?, sha256)
        };
        parse().ok_or(NameError::Key)
    }
}

/// The secret behind all signatures of one deployment; every API process shares it.
#[derive(Clone)]
pub struct StorageSecret(Vec<u8>);

impl StorageSecret {
    /// Shortest secret that is accepted, in bytes.
    pub const BYTES_MIN: usize = 32;

    /// A secret from configuration; `None` if it is too short to be one.
    #[must_use]
    pub fn new(bytes: impl Into<Vec<u8>>) -> Option<Self> {
        let bytes = bytes.into();
        (bytes.len() >= Self::BYTES_MIN).then_some(Self(bytes))
    }

    /// A new secret as text, from the operating system's random source.
    ///
    /// # Panics
    /// If the operating system has no random source; nothing secure can be done then.
    #[must_use]
    pub fn generate() -> String {
        let mut bytes = [0u8; 32];
        getrandom::fill(&mut bytes).expect("the operating system has a random source");
        hex::encode(bytes)
    }
}

impl fmt::Debug for StorageSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StorageSecret(…)")
    }
}

/// What a `PUT` URL allows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PutTerms {
    /// Where.
    pub key: ArtifactKey,
    /// Until when, seconds since the epoch.
    pub expires_s: u64,
    /// Exact size.
    pub bytes: u64,
    /// SHA-256 of the content, 64 lower-case hex digits.
    pub sha256: String,
}

/// What a `GET` URL allows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GetTerms {
    /// What.
    pub key: ArtifactKey,
    /// Until when, seconds since the epoch.
    pub expires_s: u64,
    /// The name under which a browser saves it.
    pub file_name: String,
    /// Whether a browser saves it instead of showing it.
    pub download: bool,
}

/// Why a signed URL is not obeyed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// Another URL than the one that was signed.
    #[error("the signature does not belong to this URL: use the URL exactly as it was given")]
    Mismatch,
    /// Signed, but too late.
    #[error("this URL has expired: ask the API for a fresh one")]
    Expired,
}

/// Signs and checks URLs.
#[derive(Clone)]
pub struct Signer {
    mac: Hmac<Sha256>,
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Signer(…)")
    }
}

impl Signer {
    /// A signer with this secret.
    ///
    /// # Panics
    /// Never: HMAC takes keys of any length.
    #[must_use]
    pub fn new(secret: &StorageSecret) -> Self {
        Self {
            mac: Hmac::new_from_slice(&secret.0).expect("HMAC takes keys of any length"),
        }
    }

    fn sign(&self, fields: &[&str]) -> String {
        let mut mac = self.mac.clone();
        mac.update(SCHEME.as_bytes());
        for field in fields {
            // The length makes the joined text unambiguous whatever the fields hold.
            mac.update(format!("\n{}:", field.len()).as_bytes());
            mac.update(field.as_bytes());
        }
        hex::encode(mac.finalize().into_bytes())
    }

    fn put_signature(&self, terms: &PutTerms) -> String {
        self.sign(&[
            "PUT",
            &terms.key.to_string(),
            &terms.expires_s.to_string(),
            &terms.bytes.to_string(),
            &terms.sha256,
            terms.key.name().mime(),
        ])
    }

    fn get_signature(&self, terms: &GetTerms) -> String {
        self.sign(&[
            "GET",
            &terms.key.to_string(),
            &terms.expires_s.to_string(),
            &terms.file_name,
            if terms.download {
                "attachment"
            } else {
                "inline"
            },
        ])
    }

    /// Path and query of a URL that allows what `terms` say.
    #[must_use]
    pub fn put_path(&self, terms: &PutTerms) -> String {
        format!(
            "/storage/{}?expires={}&bytes={}&sha256={}&signature={}",
            terms.key,
            terms.expires_s,
            terms.bytes,
            terms.sha256,
            self.put_signature(terms)
        )
    }

    fn asset_signature(&self, key: &AssetKey, expires_s: u64) -> String {
        self.sign(&["ASSET", &key.to_string(), &expires_s.to_string()])
    }

    /// Path and query of a URL by which a worker reads a file that came with a job.
    #[must_use]
    pub fn asset_path(&self, key: &AssetKey, expires_s: u64) -> String {
        format!(
            "/storage/{key}?expires={expires_s}&signature={}",
            self.asset_signature(key, expires_s)
        )
    }

    /// Whether `signature` allows to read `key` at `now_s`.
    ///
    /// # Errors
    /// As [`Signer::check_put`].
    pub fn check_asset(
        &self,
        key: &AssetKey,
        expires_s: u64,
        signature: &str,
        now_s: u64,
    ) -> Result<(), SignatureError> {
        check(
            &self.asset_signature(key, expires_s),
            signature,
            expires_s,
            now_s,
        )
    }

    /// Path and query of a URL that allows what `terms` say.
    #[must_use]
    pub fn get_path(&self, terms: &GetTerms) -> String {
        format!(
            "/storage/{}?expires={}&name={}{}&signature={}",
            terms.key,
            terms.expires_s,
            percent_encode(&terms.file_name),
            if terms.download { "&download=true" } else { "" },
            self.get_signature(terms)
        )
    }

    /// Whether `signature` allows a `PUT` on these terms at `now_s`.
    ///
    /// # Errors
    /// [`SignatureError`]; a wrong signature is never told apart from a right but expired one
    /// by whoever cannot sign.
    pub fn check_put(
        &self,
        terms: &PutTerms,
        signature: &str,
        now_s: u64,
    ) -> Result<(), SignatureError> {
        check(
            &self.put_signature(terms),
            signature,
            terms.expires_s,
            now_s,
        )
    }

    /// Whether `signature` allows a `GET` or `HEAD` on these terms at `now_s`.
    ///
    /// # Errors
    /// As [`Signer::check_put`].
    pub fn check_get(
        &self,
        terms: &GetTerms,
        signature: &str,
        now_s: u64,
    ) -> Result<(), SignatureError> {
        check(
            &self.get_signature(terms),
            signature,
            terms.expires_s,
            now_s,
        )
    }
}

fn check(expected: &str, given: &str, expires_s: u64, now_s: u64) -> Result<(), SignatureError> {
    if !bool::from(expected.as_bytes().ct_eq(given.as_bytes())) {
        Err(SignatureError::Mismatch)
    } else if now_s >= expires_s {
        Err(SignatureError::Expired)
    } else {
        Ok(())
    }
}

/// Percent-encodes everything but the characters that are safe anywhere in a URL (RFC 3986 §2.3).
#[must_use]
pub fn percent_encode(text: &str) -> String {
    use fmt::Write as _;
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

/// Whether `text` is a SHA-256 as this module writes it: 64 lower-case hex digits.
#[must_use]
pub fn is_sha256(text: &str) -> bool {
    text.len() == 64
        && text
            .bytes()
            .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(epoch: u64, name: &str) -> ArtifactKey {
        ArtifactKey::new(
            "job_0198f2b4c5d67e8f9a0b1c2d3e4f5061".parse().unwrap(),
            Epoch(epoch),
            name.parse().unwrap(),
        )
    }

    fn signer() -> Signer {
        Signer::new(&StorageSecret::new(StorageSecret::generate()).unwrap())
    }

    #[test]
    fn keys_follow_the_documented_scheme_and_read_back() {
        let job = "manim_videos/job_0198f2b4c5d67e8f9a0b1c2d3e4f5061";
        for (epoch, name, text) in [
            (1, "video.mp4", ".mp4"),
            (2, "video.mp4", ".2.mp4"),
            (1, "image.png", ".png"),
            (1, "poster.png", ".poster.png"),
            (31, "log.txt", ".31.log.txt"),
        ] {
            let key = key(epoch, name);
            assert_eq!(key.to_string(), format!("{job}{text}"));
            assert_eq!(key.to_string().parse::<ArtifactKey>().unwrap(), key);
        }
    }

    #[test]
    fn a_key_has_one_text_and_no_way_out_of_its_folder() {
        let job = "job_0198f2b4c5d67e8f9a0b1c2d3e4f5061";
        for bad in [
            String::new(),
            "manim_videos/".into(),
            format!("manim_videos/{job}"),
            format!("manim_videos/{job}."),
            format!("manim_videos/{job}.1.mp4"),
            format!("manim_videos/{job}.02.mp4"),
            format!("manim_videos/{job}.video.mp4"),
            format!("manim_videos/{job}.2"),
            format!("manim_videos/{job}.2.video.mp4"),
            format!("manim_videos/{job}.poster.exe"),
            format!("manim_videos/{job}.html"),
            format!("manim_videos/{job}.a.b.mp4"),
            format!("manim_videos/{job}.mp4/../x.mp4"),
            format!("manim_videos/../{job}.mp4"),
            format!("manim_videos//{job}.mp4"),
            format!("/manim_videos/{job}.mp4"),
            format!("manim_videos/{job}.mp4\0"),
            format!("manim_videos/{job}.mp4#1"),
            format!("manim_videos/{}.mp4", job.to_uppercase()),
            "manim_videos/..%2f..%2fetc.mp4".into(),
            "../storage.key".into(),
        ] {
            assert!(bad.parse::<ArtifactKey>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn names_that_could_mislead_are_refused() {
        for bad in [
            "",
            ".mp4",
            "video",
            "video.",
            "video.txt",
            "image.mp4",
            "Video.mp4",
            "2.mp4",
            "a b.mp4",
            "a/b.mp4",
            "../a.mp4",
            "a.html",
            "a.svg",
            "a.mp4.mp4",
            "-a.mp4",
            "a.MP4",
            &format!("{}.mp4", "a".repeat(49)),
        ] {
            assert!(bad.parse::<ArtifactName>().is_err(), "{bad:?}");
        }
        assert_eq!(
            "video.webm".parse::<ArtifactName>().unwrap().mime(),
            "video/webm"
        );
    }

    #[test]
    fn a_put_signature_covers_every_term() {
        let signer = signer();
        let terms = PutTerms {
            key: key(1, "video.mp4"),
            expires_s: 1_000,
            bytes: 7,
            sha256: "a".repeat(64),
        };
        let good = signer.put_signature(&terms);
        assert_eq!(signer.check_put(&terms, &good, 999), Ok(()));
        assert_eq!(
            signer.check_put(&terms, &good, 1_000),
            Err(SignatureError::Expired)
        );
        for other in [
            PutTerms {
                key: key(2, "video.mp4"),
                ..terms.clone()
            },
            PutTerms {
                key: key(1, "poster.png"),
                ..terms.clone()
            },
            PutTerms {
                expires_s: 2_000,
                ..terms.clone()
            },
            PutTerms {
                bytes: 8,
                ..terms.clone()
            },
            PutTerms {
                sha256: "b".repeat(64),
                ..terms.clone()
            },
        ] {
            assert_eq!(
                signer.check_put(&other, &good, 0),
                Err(SignatureError::Mismatch),
                "{other:?}"
            );
        }
        let stranger = self::signer();
        assert_eq!(
            stranger.check_put(&terms, &good, 0),
            Err(SignatureError::Mismatch)
        );
    }

    #[test]
    fn an_asset_is_reached_by_its_tenant_and_signature_only() {
        let signer = signer();
        let key = |tenant: &str| AssetKey::new(tenant.parse().unwrap(), &"a".repeat(64)).unwrap();
        assert_eq!(key("acme").to_string().parse::<AssetKey>(), Ok(key("acme")));
        let good = signer.asset_signature(&key("acme"), 1_000);
        assert_eq!(signer.check_asset(&key("acme"), 1_000, &good, 0), Ok(()));
        for (tenant, expires_s) in [("other", 1_000), ("acme", 2_000)] {
            assert_eq!(
                signer.check_asset(&key(tenant), expires_s, &good, 0),
                Err(SignatureError::Mismatch)
            );
        }
        assert_eq!(
            signer.check_asset(&key("acme"), 1_000, &good, 1_000),
            Err(SignatureError::Expired)
        );
        for bad in [
            "manim_assets/acme/x",
            "manim_assets/../x/aaaa",
            "manim_assets/Acme/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
            "manim_videos/acme/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
        ] {
            assert!(bad.parse::<AssetKey>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_get_signature_covers_every_term_and_does_not_allow_a_put() {
        let signer = signer();
        let terms = GetTerms {
            key: key(1, "video.mp4"),
            expires_s: 1_000,
            file_name: "Scène \"1\".mp4".into(),
            download: false,
        };
        let good = signer.get_signature(&terms);
        assert_eq!(signer.check_get(&terms, &good, 0), Ok(()));
        for other in [
            GetTerms {
                key: key(2, "video.mp4"),
                ..terms.clone()
            },
            GetTerms {
                expires_s: 2_000,
                ..terms.clone()
            },
            GetTerms {
                file_name: "x.html".into(),
                ..terms.clone()
            },
            GetTerms {
                download: true,
                ..terms.clone()
            },
        ] {
            assert_eq!(
                signer.check_get(&other, &good, 0),
                Err(SignatureError::Mismatch)
            );
        }
        let put = PutTerms {
            key: terms.key.clone(),
            expires_s: 1_000,
            bytes: 0,
            sha256: String::new(),
        };
        assert_eq!(
            signer.check_put(&put, &good, 0),
            Err(SignatureError::Mismatch)
        );
        assert!(
            signer
                .get_path(&terms)
                .contains("name=Sc%C3%A8ne%20%221%22.mp4")
        );
    }
}
