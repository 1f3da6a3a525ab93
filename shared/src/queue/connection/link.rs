//! Makes connections, each within a bounded time, and turns what only an operator can set right into
//! an error that says so.

use std::error::Error;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use redis::aio::{MultiplexedConnection, PubSub};
use redis::{AsyncConnectionConfig, Client, ErrorKind, FromRedisValue as _, RedisError};
use tokio::time::timeout;

use super::CONNECT_TIMEOUT;

/// Connects and logs in.
///
/// # Errors
/// As Redis or the network has it; of kind `InvalidClientConfig` if TLS settings are wrong.
pub async fn connect(client: &Client) -> Result<MultiplexedConnection, RedisError> {
    // The library's own default would end every call after half a second. Calls have a deadline of
    // their own here, which covers connecting and redirections too.
    let settings = AsyncConnectionConfig::new()
        .set_connection_timeout(None)
        .set_response_timeout(None);
    let connecting = client.get_multiplexed_async_connection_with_config(&settings);
    within(CONNECT_TIMEOUT, "connecting to Redis", connecting)
        .await
        .map_err(|error| explain(client, error))
}

/// Connects for subscriptions.
///
/// # Errors
/// As [`connect`].
pub async fn subscribe(client: &Client) -> Result<PubSub, RedisError> {
    let connecting = client.get_async_pubsub();
    within(CONNECT_TIMEOUT, "connecting to Redis", connecting)
        .await
        .map_err(|error| explain(client, error))
}

/// Whether a server takes writes, by its own word.
///
/// # Errors
/// As Redis or the network has it.
pub async fn is_primary(connection: &mut MultiplexedConnection) -> Result<bool, RedisError> {
    let mut command = redis::cmd("INFO");
    command.arg("replication");
    let asking = connection.send_packed_command(&command);
    let reply = within(CONNECT_TIMEOUT, "asking Redis for its role", asking).await?;
    let text = String::from_redis_value(reply.extract_error()?)?;
    Ok(text.lines().any(|line| line.trim() == "role:master"))
}

/// Bounds a wait for Redis.
///
/// # Errors
/// The call's own, or a time-out that names what was waited for.
pub async fn within<T>(
    limit: Duration,
    what: &str,
    call: impl Future<Output = Result<T, RedisError>>,
) -> Result<T, RedisError> {
    match timeout(limit, call).await {
        Ok(outcome) => outcome,
        Err(_) => Err(late(what, limit)),
    }
}

/// The error of a wait that was too long.
pub fn late(what: &str, limit: Duration) -> RedisError {
    let text = format!("{what} took longer than {limit:?}");
    io::Error::new(io::ErrorKind::TimedOut, text).into()
}

/// An error that the network could have made: it passes by itself.
pub fn passing(text: String) -> RedisError {
    io::Error::other(text).into()
}

/// An error that an operator must set right.
pub fn misconfigured(text: String) -> RedisError {
    (ErrorKind::InvalidClientConfig, "cannot use Redis", text).into()
}

/// Says what to do about a failed TLS handshake, which otherwise looks like any broken connection.
fn explain(client: &Client, error: RedisError) -> RedisError {
    let Some(cause) = tls_error(&error) else {
        return error;
    };
    let address = client.get_connection_info().addr();
    let remedy = match cause {
        rustls::Error::InvalidCertificate(rustls::CertificateError::UnknownIssuer) => {
            "its certificate is of an authority that is not trusted here: put that authority's PEM file into MANIMQ_REDIS_CA_FILE, or ?ca=FILE in REDIS_URL"
        }
        rustls::Error::InvalidCertificate(
            rustls::CertificateError::NotValidForName
            | rustls::CertificateError::NotValidForNameContext { .. },
        ) => {
            "its certificate is for another name: write in REDIS_URL the host name that the certificate has"
        }
        rustls::Error::InvalidCertificate(_) => "renew its certificate, or correct the clocks",
        rustls::Error::AlertReceived(_) => {
            "it refuses our side of the handshake: it may want a client certificate, in MANIMQ_REDIS_CERT_FILE and MANIMQ_REDIS_KEY_FILE, of an authority that it trusts"
        }
        rustls::Error::InvalidMessage(_) => {
            "it does not speak TLS there: use its TLS port, or redis:// instead of rediss://"
        }
        _ => "check its TLS settings",
    };
    misconfigured(format!(
        "TLS with Redis at {address} failed ({cause}): {remedy}"
    ))
}

fn tls_error(error: &RedisError) -> Option<&rustls::Error> {
    // The library keeps its causes behind a shared pointer, which is an error of its own type.
    let mut cause = error.source()?;
    if let Some(shared) = cause.downcast_ref::<Arc<dyn Error + Send + Sync>>() {
        cause = &**shared;
    }
    if let Some(error) = cause.downcast_ref::<rustls::Error>() {
        return Some(error);
    }
    let inner = cause.downcast_ref::<io::Error>()?.get_ref()?;
    inner.downcast_ref::<rustls::Error>()
}
