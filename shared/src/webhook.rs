//! Webhooks: what a tenant wants to be told, where, and what it was told.
//!
//! Calls follow the Standard Webhooks scheme (version 1, <https://www.standardwebhooks.com>).

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use utoipa::ToSchema;

use crate::ids::WebhookId;

/// Webhooks that a tenant may have.
pub const WEBHOOKS_MAX: usize = 10;
/// Longest URL of a webhook, bytes.
pub const URL_BYTES_MAX: usize = 2048;
/// Longest description, characters.
pub const DESCRIPTION_CHARS_MAX: usize = 256;
/// Random bytes of a secret; the scheme wants 24 to 64.
const SECRET_BYTES: usize = 32;
const SECRET_PREFIX: &str = "whsec_";

/// What a webhook can be told of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
pub enum WebhookEvent {
    /// An attempt began; may come more than once per job.
    #[serde(rename = "job.started")]
    Started,
    /// The job ended with a result.
    #[serde(rename = "job.succeeded")]
    Succeeded,
    /// The job ended with an error.
    #[serde(rename = "job.failed")]
    Failed,
    /// The job was canceled.
    #[serde(rename = "job.canceled")]
    Canceled,
    /// The job's deadline passed before it began.
    #[serde(rename = "job.expired")]
    Expired,
    /// Its owner asked for a call; every webhook gets these.
    #[serde(rename = "webhook.test")]
    Test,
}

impl WebhookEvent {
    /// What a webhook is told of if nothing is said: that a job has ended.
    pub const DEFAULT: [Self; 4] = [Self::Succeeded, Self::Failed, Self::Canceled, Self::Expired];

    /// The name in requests and calls.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Started => "job.started",
            Self::Succeeded => "job.succeeded",
            Self::Failed => "job.failed",
            Self::Canceled => "job.canceled",
            Self::Expired => "job.expired",
            Self::Test => "webhook.test",
        }
    }

    /// The event of a name.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Started, Self::Test]
            .into_iter()
            .chain(Self::DEFAULT)
            .find(|event| event.as_str() == text)
    }
}

/// With what a webhook's calls are signed: `whsec_` and base64. `Debug` hides it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct WebhookSecret(String);

impl fmt::Debug for WebhookSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WebhookSecret(…)")
    }
}

impl WebhookSecret {
    /// A new one from the operating system's random source.
    ///
    /// # Panics
    /// If the operating system has no random source; nothing secure can be done then.
    #[must_use]
    pub fn generate() -> Self {
        let mut bytes = [0u8; SECRET_BYTES];
        getrandom::fill(&mut bytes).expect("the operating system has a random source");
        Self(format!("{SECRET_PREFIX}{}", STANDARD.encode(bytes)))
    }

    /// The secret text. Never log it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Signature of a message: `v1,` and base64 of HMAC-SHA256 over `id.timestamp.body`.
    ///
    /// # Panics
    /// Never: the hash takes keys of any length.
    #[must_use]
    pub fn sign(&self, id: &str, timestamp_s: i64, body: &[u8]) -> String {
        let text = self.0.strip_prefix(SECRET_PREFIX).unwrap_or(&self.0);
        let key = STANDARD.decode(text).unwrap_or_default();
        let mut mac = Hmac::<Sha256>::new_from_slice(&key).expect("any length is a key");
        mac.update(format!("{id}.{timestamp_s}.").as_bytes());
        mac.update(body);
        format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
    }
}

/// A secret, and until when it signs beside a newer one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DatedSecret {
    /// The secret.
    pub secret: WebhookSecret,
    /// When it no longer signs; the present one has no end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
}

/// A webhook's settings, as they are stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WebhookSettings {
    /// Where calls go.
    pub url: String,
    /// What it is told of.
    pub events: Vec<WebhookEvent>,
    /// Its owner's own words.
    #[serde(default)]
    pub description: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// What signs, the present one first.
    pub secrets: Vec<DatedSecret>,
    /// How often they were changed: who changes them says which he read, so that no change is lost.
    #[serde(default)]
    pub revision: u32,
}

impl WebhookSettings {
    /// The secrets that sign at a time.
    pub fn secrets_at(&self, now: Timestamp) -> impl Iterator<Item = &WebhookSecret> {
        self.secrets
            .iter()
            .filter(move |dated| dated.until.is_none_or(|until| until > now))
            .map(|dated| &dated.secret)
    }

    /// A new secret; the present one signs beside it until `until`, and none but these two.
    pub fn rotate(&mut self, secret: WebhookSecret, until: Timestamp) {
        self.secrets.retain(|dated| dated.until.is_none());
        for old in &mut self.secrets {
            old.until = Some(until);
        }
        self.secrets.insert(
            0,
            DatedSecret {
                secret,
                until: None,
            },
        );
    }
}

/// A webhook and how it does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Webhook {
    /// Its id.
    pub id: WebhookId,
    /// Its settings.
    pub settings: WebhookSettings,
    /// Since when every call fails.
    pub failing_since: Option<Timestamp>,
    /// Why it is switched off, if it is.
    pub off: Option<String>,
}

/// One call, or one try of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DeliveryAttempt {
    /// When.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    /// How long it took, milliseconds.
    pub took_ms: u64,
    /// HTTP status of the answer, if there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// What was wrong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// The answer's beginning; 1,024 bytes at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer: Option<String>,
}

/// What has become of a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum DeliveryState {
    /// It is tried, or will be.
    Pending,
    /// The endpoint took it.
    Delivered,
    /// It was given up.
    Failed,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_signature_is_that_of_the_schemes_own_example() {
        // From the libraries of the scheme, which all test this one.
        let secret = WebhookSecret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".into());
        let signature = secret.sign(
            "msg_p5jXN8AQM9LWM0D4loKWxJek",
            1_614_265_330,
            br#"{"test": 2432232314}"#,
        );
        assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn secrets_are_new_each_time_and_not_in_debug_texts() {
        let (a, b) = (WebhookSecret::generate(), WebhookSecret::generate());
        assert_ne!(a, b);
        assert!(!format!("{a:?}").contains(&a.expose()[8..]));
        assert!(STANDARD.decode(&a.expose()[6..]).unwrap().len() >= 24);
    }

    #[test]
    fn after_a_rotation_two_secrets_sign_until_the_overlap_is_over() {
        let secrets: Vec<_> = (0..3).map(|_| WebhookSecret::generate()).collect();
        let at = |s: i64| Timestamp::from_second(1_000_000 + s).unwrap();
        let mut settings = WebhookSettings {
            url: "https://example.com".into(),
            events: WebhookEvent::DEFAULT.to_vec(),
            description: String::new(),
            created_at: at(0),
            secrets: vec![DatedSecret {
                secret: secrets[0].clone(),
                until: None,
            }],
            revision: 0,
        };
        settings.rotate(secrets[1].clone(), at(100));
        let signing = |settings: &WebhookSettings, s: i64| -> Vec<_> {
            settings.secrets_at(at(s)).cloned().collect()
        };
        assert_eq!(
            signing(&settings, 50),
            [secrets[1].clone(), secrets[0].clone()]
        );
        assert_eq!(signing(&settings, 100), [secrets[1].clone()]);
        settings.rotate(secrets[2].clone(), at(300));
        assert_eq!(
            signing(&settings, 50),
            [secrets[2].clone(), secrets[1].clone()]
        );
    }
}
