//! Identifiers. Each is its own type: a job id can never be passed where a tenant is meant.
//!
//! All are parsed at the edge (`FromStr`, serde) and trusted inside. Their text forms use
//! only `[a-z0-9_-]`, so they are safe in Redis keys, object keys, URLs and file names.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::alphabet::Alphabet;
use base64::engine::general_purpose::{GeneralPurpose, NO_PAD};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

/// Why a text is not an identifier. `Display` is shown to the user as it stands.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// Not `job_` and 32 lower-case hex digits.
    #[error(
        "{0:?} is not a job id: a job id is `job_` and 32 hex digits, as `POST /v1/jobs` returns it"
    )]
    Job(String),
    /// Not 1 to 64 of `[a-z0-9_-]`, starting with a letter or digit.
    #[error(
        "{0:?} is not a tenant name: use 1 to 64 of a-z, 0-9, `-` and `_`, starting with a letter or digit"
    )]
    Tenant(String),
    /// Not `wk_` and 32 lower-case hex digits.
    #[error("{0:?} is not a worker id")]
    Worker(String),
    /// Not `wh_` and 32 lower-case hex digits.
    #[error("{0:?} is not the id of a webhook")]
    Webhook(String),
    /// Not 32 lower-case hex digits.
    #[error("not a lease token")]
    LeaseToken,
}

/// At most this many characters of a refused id are repeated in the error.
const ECHO_CHARS_MAX: usize = 80;

fn echo(text: &str) -> String {
    text.chars().take(ECHO_CHARS_MAX).collect()
}

fn parse_prefixed(text: &str, prefix: &str) -> Option<Uuid> {
    let hex = text.strip_prefix(prefix)?;
    let lower_hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
    (hex.len() == 32 && hex.bytes().all(lower_hex)).then(|| Uuid::try_parse(hex).ok())?
}

macro_rules! text_serde {
    ($name:ident) => {
        impl Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                s.collect_str(self)
            }
        }
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                String::deserialize(d)?
                    .parse()
                    .map_err(serde::de::Error::custom)
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }
    };
}

/// The characters of base64url in the order of their bytes, so that texts sort as what they stand for.
/// `prelude.lua` has them, too.
const SORTED: &str = "-0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz";

fn short_form() -> GeneralPurpose {
    const ALPHABET: Alphabet = match Alphabet::new(SORTED) {
        Ok(alphabet) => alphabet,
        Err(_) => panic!("64 different characters"),
    };
    GeneralPurpose::new(&ALPHABET, NO_PAD)
}

/// One job for its whole life. Text form: `job_` and a UUIDv7 in hex, so ids sort by submit time.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct JobId(Uuid);

impl JobId {
    /// A new id for a job of `tenant`, unique without coordination. Its last byte is the
    /// tenant's [bucket](TenantId::bucket), so that the id alone says where the job lies.
    #[must_use]
    pub fn generate(tenant: &TenantId) -> Self {
        let mut bytes = Uuid::now_v7().into_bytes();
        bytes[15] = tenant.bucket();
        Self(Uuid::from_bytes(bytes))
    }

    /// The bucket of the tenant for whom it was made.
    #[must_use]
    pub const fn bucket(self) -> u8 {
        self.0.as_bytes()[15]
    }

    /// When it was made, by its maker's clock, in milliseconds since 1970.
    #[must_use]
    pub fn made_at_ms(self) -> u64 {
        let bytes = self.0.as_bytes();
        bytes[..6]
            .iter()
            .fold(0, |ms, byte| ms << 8 | u64::from(*byte))
    }

    /// Its 16 raw bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 16] {
        self.0.as_bytes()
    }

    /// The form in Redis keys: 22 characters of base64url in an order of their own, so that short
    /// forms sort by time as well. Ten characters fewer than hex in each index that holds it.
    #[must_use]
    pub fn short(self) -> String {
        short_form().encode(self.0.as_bytes())
    }

    /// The id of a short form.
    ///
    /// # Errors
    /// [`IdError::Job`] if it is none.
    pub fn from_short(text: &str) -> Result<Self, IdError> {
        let bytes = short_form().decode(text).ok();
        bytes
            .and_then(|bytes| bytes.try_into().ok())
            .map(Self::from_bytes)
            .ok_or_else(|| IdError::Job(echo(text)))
    }

    /// The id of 16 raw bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(Uuid::from_bytes(bytes))
    }
}

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "job_{}", self.0.simple())
    }
}

impl FromStr for JobId {
    type Err = IdError;
    fn from_str(text: &str) -> Result<Self, IdError> {
        parse_prefixed(text, "job_")
            .map(Self)
            .ok_or_else(|| IdError::Job(echo(text)))
    }
}
text_serde!(JobId);

/// One worker process for its whole life. Text form: `wk_` and a UUIDv7 in hex.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WorkerId(Uuid);

impl WorkerId {
    /// A new id; a restarted worker is a new worker.
    #[must_use]
    pub fn generate() -> Self {
        Self(Uuid::now_v7())
    }

    /// The raw bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 16] {
        self.0.as_bytes()
    }

    /// The id of 16 raw bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(Uuid::from_bytes(bytes))
    }
}

impl fmt::Display for WorkerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "wk_{}", self.0.simple())
    }
}

impl FromStr for WorkerId {
    type Err = IdError;
    fn from_str(text: &str) -> Result<Self, IdError> {
        parse_prefixed(text, "wk_")
            .map(Self)
            .ok_or_else(|| IdError::Worker(echo(text)))
    }
}
text_serde!(WorkerId);

/// An endpoint that a tenant wants to be called. Text form: `wh_` and a UUIDv7 in hex.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WebhookId(Uuid);

impl WebhookId {
    /// A new id.
    #[must_use]
    pub fn generate() -> Self {
        Self(Uuid::now_v7())
    }
}

impl fmt::Display for WebhookId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "wh_{}", self.0.simple())
    }
}

impl FromStr for WebhookId {
    type Err = IdError;
    fn from_str(text: &str) -> Result<Self, IdError> {
        parse_prefixed(text, "wh_")
            .map(Self)
            .ok_or_else(|| IdError::Webhook(echo(text)))
    }
}
text_serde!(WebhookId);

/// Who pays: the "user" of per-user quotas. 1 to 64 of `[a-z0-9_-]`, starting with a letter or digit.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TenantId(String);

impl TenantId {
    /// The tenant of an API that has no keys and listens on a loopback address only.
    pub const DEFAULT: &'static str = "default";

    /// The tenant of the canary's jobs. No name that anybody could choose, and in no list.
    const CANARY: &'static str = "_canary";

    /// The tenant of the canary's jobs.
    #[must_use]
    pub fn canary() -> Self {
        Self(Self::CANARY.to_owned())
    }

    /// Whether it is the canary's.
    #[must_use]
    pub fn is_canary(&self) -> bool {
        self.0 == Self::CANARY
    }

    /// A name that the queue holds: one that somebody chose, or the canary's.
    pub(crate) fn stored(text: &str) -> Result<Self, IdError> {
        if text == Self::CANARY {
            return Ok(Self::canary());
        }
        text.parse()
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// One of 256 buckets, by hash. A shard of the queue holds the tenants of some buckets; the
    /// number is part of every job id, so the hash must never change.
    #[must_use]
    pub fn bucket(&self) -> u8 {
        Sha256::digest(&self.0)[0]
    }
}

impl Default for TenantId {
    fn default() -> Self {
        Self(Self::DEFAULT.to_owned())
    }
}

impl fmt::Display for TenantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for TenantId {
    type Err = IdError;
    fn from_str(text: &str) -> Result<Self, IdError> {
        let first_ok = text
            .bytes()
            .next()
            .is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
        let rest_ok = text
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_');
        if first_ok && rest_ok && text.len() <= 64 {
            Ok(Self(text.to_owned()))
        } else {
            Err(IdError::Tenant(echo(text)))
        }
    }
}
text_serde!(TenantId);

/// The fencing number of a lease: grows by one with every claim of a job, never repeats.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Epoch(pub u64);

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Proof that its holder claimed the job: 128 random bits, known to the claiming worker and
/// to Redis. The API grants upload URLs against it, so a worker needs no key of its own.
#[derive(Clone, PartialEq, Eq)]
pub struct LeaseToken(String);

impl LeaseToken {
    /// The token of 16 raw bytes.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(hex::encode(bytes))
    }

    /// Its raw bytes. Never log them.
    ///
    /// # Panics
    /// Never: the text is 32 hex digits.
    #[must_use]
    pub fn expose_bytes(&self) -> [u8; 16] {
        let mut bytes = [0; 16];
        hex::decode_to_slice(&self.0, &mut bytes).expect("32 hex digits");
        bytes
    }
}

impl LeaseToken {
    /// A new token from the operating system's random source.
    ///
    /// # Panics
    /// If the operating system has no random source; nothing secure can be done then.
    #[must_use]
    pub fn generate() -> Self {
        let mut bytes = [0u8; 16];
        getrandom::fill(&mut bytes).expect("the operating system has a random source");
        Self(hex::encode(bytes))
    }

    /// The secret text. Never log it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Whether `other` is this token, in constant time.
    #[must_use]
    pub fn matches(&self, other: &str) -> bool {
        use subtle::ConstantTimeEq;
        self.0.as_bytes().ct_eq(other.as_bytes()).into()
    }
}

impl fmt::Debug for LeaseToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LeaseToken(…)")
    }
}

impl FromStr for LeaseToken {
    type Err = IdError;
    fn from_str(text: &str) -> Result<Self, IdError> {
        let ok = text.len() == 32 && text.bytes().all(|b| b.is_ascii_hexdigit());
        ok.then(|| Self(text.to_owned())).ok_or(IdError::LeaseToken)
    }
}

impl Serialize for LeaseToken {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for LeaseToken {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        String::deserialize(d)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn job_ids_round_trip_and_sort_by_time() {
        let tenant = TenantId::default();
        let a = JobId::generate(&tenant);
        // The order within a millisecond is by a counter before the last byte.
        let b = JobId::generate(&tenant);
        assert!(a < b);
        assert!(a.to_string() < b.to_string());
        assert_eq!(a.to_string().parse::<JobId>().unwrap(), a);
        assert_eq!(JobId::from_short(&a.short()).unwrap(), a);
        assert!(a.short() < b.short() && a.short().len() == 22);
        assert_eq!(a.bucket(), tenant.bucket());
        for bad in ["", "short", &"A".repeat(23), "job_0"] {
            assert!(JobId::from_short(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_buckets_of_tenants_never_change() {
        let bucket = |name: &str| name.parse::<TenantId>().unwrap().bucket();
        assert_eq!([bucket("default"), bucket("acme")], [0x37, 0x82]);
    }

    #[test]
    fn what_is_not_a_job_id_is_refused_and_echoed_shortly() {
        let long = "x".repeat(10_000);
        for bad in ["", "job_", "job_12", "../etc", "JOB_0123", long.as_str()] {
            let error = bad.parse::<JobId>().unwrap_err().to_string();
            assert!(error.len() < 400, "{error}");
        }
        let upper = JobId::generate(&TenantId::default())
            .to_string()
            .to_uppercase();
        assert!(upper.parse::<JobId>().is_err());
    }

    #[test]
    fn tenants_are_safe_in_keys() {
        for good in ["default", "a", "7up", "acme-inc_2"] {
            assert!(good.parse::<TenantId>().is_ok(), "{good}");
        }
        for bad in ["", "-a", "A", "a b", "a:b", "a{b}", "é", &"a".repeat(65)] {
            assert!(bad.parse::<TenantId>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_lease_token_never_shows_itself() {
        let token = LeaseToken::generate();
        assert!(!format!("{token:?}").contains(token.expose()));
        assert!(token.matches(token.expose()));
        assert!(!token.matches("00000000000000000000000000000000"));
    }
}
