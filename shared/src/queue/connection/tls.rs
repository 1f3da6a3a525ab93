//! Builds clients for addresses: log-in, database, TLS and socket settings in one place.

use std::path::Path;
use std::time::Duration;

use redis::io::tcp::{TcpSettings, socket2::TcpKeepalive};
use redis::{
    Client, ClientTlsConfig, ConnectionAddr, IntoConnectionInfo as _, RedisConnectionInfo,
    RedisError, TlsCertificates,
};

use super::TlsFiles;
use super::url::{Host, Login};
use crate::queue::QueueError;

/// A peer that vanished without a word is noticed after this long without an answer to a probe or
/// to data; a blocked or subscribed connection would otherwise wait for the system's two hours.
const SILENCE_MAX: Duration = Duration::from_secs(20);

/// Makes clients that differ in their address only.
#[derive(Clone)]
pub struct Maker {
    login: RedisConnectionInfo,
    /// An address whose TLS settings all others take over. `None`: no TLS.
    secure: Option<ConnectionAddr>,
}

impl Maker {
    /// Reads the files for TLS, if there is TLS.
    ///
    /// # Errors
    /// [`QueueError::Configuration`] names the file that cannot be used and its variable.
    pub fn new(login: &Login, db: i64, tls: Option<&TlsFiles>) -> Result<Self, QueueError> {
        let mut info = RedisConnectionInfo::default()
            .set_db(db)
            .set_lib_name("manimq", env!("CARGO_PKG_VERSION"));
        if let Some(user) = &login.user {
            info = info.set_username(user);
        }
        if let Some(password) = &login.password {
            info = info.set_password(password);
        }
        Ok(Self {
            login: info,
            secure: tls.map(secure).transpose()?,
        })
    }

    /// A client for a host.
    ///
    /// # Errors
    /// None that a host and a port could cause.
    pub fn host(&self, (host, port): &Host) -> Result<Client, RedisError> {
        let address = match self.secure.clone() {
            Some(ConnectionAddr::TcpTls {
                insecure,
                tls_params,
                ..
            }) => ConnectionAddr::TcpTls {
                host: host.clone(),
                port: *port,
                insecure,
                tls_params,
            },
            _ => ConnectionAddr::Tcp(host.clone(), *port),
        };
        self.address(address)
    }

    /// A client for a socket's path.
    ///
    /// # Errors
    /// None that a path could cause.
    pub fn socket(&self, path: &Path) -> Result<Client, RedisError> {
        self.address(ConnectionAddr::Unix(path.to_owned()))
    }

    fn address(&self, address: ConnectionAddr) -> Result<Client, RedisError> {
        let keepalive = TcpKeepalive::new()
            .with_time(SILENCE_MAX / 2)
            .with_interval(SILENCE_MAX / 8)
            .with_retries(4);
        // Without nodelay, a small call would wait for the acknowledgement of the one before it.
        let sockets = TcpSettings::default()
            .set_nodelay(true)
            .set_keepalive(keepalive)
            .set_user_timeout(SILENCE_MAX);
        let info = address
            .into_connection_info()?
            .set_redis_settings(self.login.clone())
            .set_tcp_settings(sockets);
        Client::open(info)
    }
}

fn secure(files: &TlsFiles) -> Result<ConnectionAddr, QueueError> {
    // Two providers in one program would make rustls refuse to choose. What the program chose stays.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client_tls = match (&files.cert, &files.key) {
        (Some(cert), Some(key)) => Some(ClientTlsConfig {
            client_cert: pem(cert, "client certificate", "cert", "MANIMQ_REDIS_CERT_FILE")?,
            client_key: pem(key, "private key", "key", "MANIMQ_REDIS_KEY_FILE")?,
        }),
        (None, None) => None,
        _ => {
            return Err(QueueError::Configuration(
                "a client certificate for Redis needs its private key too, and the other way round: set both \
                 MANIMQ_REDIS_CERT_FILE and MANIMQ_REDIS_KEY_FILE (or ?cert=FILE&key=FILE in REDIS_URL)"
                    .to_owned(),
            ));
        }
    };
    let root_cert = files
        .ca
        .as_ref()
        .map(|path| pem(path, "certificate authority", "ca", "MANIMQ_REDIS_CA_FILE"))
        .transpose()?;
    let address = ConnectionAddr::TcpTls {
        host: "localhost".to_owned(),
        port: 1,
        insecure: false,
        tls_params: None,
    };
    if client_tls.is_none() && root_cert.is_none() {
        return Ok(address);
    }
    let certificates = TlsCertificates {
        client_tls,
        root_cert,
    };
    let client = Client::build_with_tls(address, certificates).map_err(|error| {
        QueueError::Configuration(format!(
            "the TLS files for Redis cannot be used ({error}): {files:?} must be PEM"
        ))
    })?;
    Ok(client.get_connection_info().addr().clone())
}

/// Reads a PEM file.
fn pem(path: &Path, what: &str, parameter: &str, variable: &str) -> Result<Vec<u8>, QueueError> {
    let wrong = |why: &str| {
        QueueError::Configuration(format!(
            "the {what} for Redis in {} cannot be used: {why}. Name a PEM file in {variable} or as ?{parameter}=FILE in REDIS_URL",
            path.display()
        ))
    };
    let text = std::fs::read(path).map_err(|error| wrong(&error.to_string()))?;
    // A file without any block would be read as "trust nobody", which no message would explain.
    if !text.windows(11).any(|part| part == b"-----BEGIN ") {
        return Err(wrong("it holds no PEM block"));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tls_file_that_cannot_be_used_is_named_with_its_variable() {
        let folder = tempfile::tempdir().unwrap();
        let empty = folder.path().join("empty.pem");
        std::fs::write(&empty, "").unwrap();
        let missing = folder.path().join("missing.pem");
        let files = |ca, cert| TlsFiles {
            ca,
            cert,
            key: None,
        };
        for (files, words) in [
            (files(Some(empty), None), "MANIMQ_REDIS_CA_FILE"),
            (files(Some(missing.clone()), None), "missing.pem"),
            (files(None, Some(missing)), "MANIMQ_REDIS_KEY_FILE"),
        ] {
            let error = Maker::new(&Login::default(), 0, Some(&files)).err();
            let text = error.unwrap().to_string();
            assert!(text.contains(words), "{text}");
        }
    }
}
