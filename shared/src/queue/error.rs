//! Why a call failed, and how Redis' refusals are sorted.

use super::ACL_RULES;
use crate::ids::IdError;

/// Why a call to the queue failed. None of these means that the caller's job is wrong.
#[derive(Debug, thiserror::Error)]
pub enum QueueError {
    /// Redis cannot be reached, does not answer or lost the connection. The call may or may not
    /// have taken effect; every transition is safe to repeat.
    #[error("the queue (Redis) is not available")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// This Redis cannot be used at all: too old, or it would throw jobs away.
    #[error("{0}")]
    Configuration(String),
    /// Redis refused a call, or what lies there is not what this version writes. A fault of
    /// ours or of the data: trying again changes nothing.
    #[error("unexpected answer of Redis: {0}")]
    Corrupt(String),
}

impl QueueError {
    /// Whether Redis has no memory left for what it was asked. Jobs that are in it go on.
    #[must_use]
    pub fn is_full(&self) -> bool {
        matches!(self, Self::Unavailable(cause) if cause.to_string().contains("OOM"))
    }
}

impl From<redis::RedisError> for QueueError {
    /// Sorts Redis' refusals: what passes by itself is `Unavailable`, so that callers wait and
    /// repeat; what an operator must set right names the setting; the rest is a fault.
    fn from(error: redis::RedisError) -> Self {
        match error.code() {
            None if error.kind() == redis::ErrorKind::AuthenticationFailed => denied(&error),
            None if error.kind() == redis::ErrorKind::InvalidClientConfig => {
                Self::Configuration(error.detail().unwrap_or("Redis cannot be used").to_owned())
            }
            Some("NOAUTH" | "WRONGPASS" | "NOPERM" | "NOPERMS") => denied(&error),
            Some("ERR") if is_denied_in_function(&error) => denied(&error),
            None
            | Some(
                "LOADING" | "BUSY" | "OOM" | "MISCONF" | "NOREPLICAS" | "READONLY" | "MASTERDOWN"
                | "CLUSTERDOWN" | "TRYAGAIN" | "UNBLOCKED" | "MOVED" | "ASK",
            ) => Self::Unavailable(Box::new(error)),
            Some(_) => Self::Corrupt(error.to_string()),
        }
    }
}

/// A function may do what its caller may. What Redis 7.0, and newer ones, say there lacks the word NOPERM.
fn is_denied_in_function(error: &redis::RedisError) -> bool {
    let text = error.to_string();
    text.contains("user executing the script can't") || text.contains("ACL failure in script")
}

/// Whether Redis does not know the function: a restart or a failover lost the library.
pub(super) fn is_no_function(error: &QueueError) -> bool {
    matches!(error, QueueError::Corrupt(text) if text.contains("Function not found"))
}

fn denied(error: &redis::RedisError) -> QueueError {
    QueueError::Configuration(format!(
        "Redis does not let us in ({error}): put a user and password that may do what manimq needs into REDIS_URL, \
         redis://USER:PASSWORD@HOST:PORT/DB; with the prefix mq, such a user is made by: \
         ACL SETUSER manimq on >PASSWORD {ACL_RULES}"
    ))
}

impl From<redis::ParsingError> for QueueError {
    fn from(error: redis::ParsingError) -> Self {
        Self::Corrupt(error.to_string())
    }
}

impl From<serde_json::Error> for QueueError {
    fn from(error: serde_json::Error) -> Self {
        Self::Corrupt(error.to_string())
    }
}

impl From<IdError> for QueueError {
    fn from(error: IdError) -> Self {
        Self::Corrupt(error.to_string())
    }
}

pub(super) fn unexpected(transition: &str, reply: &str) -> QueueError {
    QueueError::Corrupt(format!("{transition} answered {reply:?}"))
}
