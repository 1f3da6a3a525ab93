//! TLS for outgoing HTTPS, the same for API, worker and command line: the system's certificates
//! and, if a file is named, the ones in it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};

/// Why HTTPS cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The file with certificates cannot be read.
    #[error(
        "MANIMQ_CA_FILE: {} holds no certificates in PEM form that can be read; name the file of your authority", .path.display()
    )]
    CaFile {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: Option<Box<dyn std::error::Error + Send + Sync>>,
    },
    /// The library refuses its own settings.
    #[error("TLS cannot be set up")]
    Setup(#[from] rustls::Error),
}

/// Chooses the cryptography of all clients in this process that are built without asking here.
/// To be called before the first of them; again does nothing.
pub fn choose_cryptography() {
    let _ = rustls::crypto::ring::default_provider().install_default();
}

/// Settings of a client that trusts the system's certificate authorities and those in `ca_file`.
///
/// A machine without any certificates is no error: it may have no use for HTTPS.
///
/// # Errors
/// [`TlsError`]
pub fn client_config(ca_file: Option<&Path>) -> Result<ClientConfig, TlsError> {
    let mut roots = RootCertStore::empty();
    let system = rustls_native_certs::load_native_certs();
    roots.add_parsable_certificates(system.certs);
    if let Some(path) = ca_file {
        let refused = |source: Option<Box<dyn std::error::Error + Send + Sync>>| TlsError::CaFile {
            path: path.to_owned(),
            source,
        };
        let certificates = CertificateDer::pem_file_iter(path)
            .and_then(Iterator::collect::<Result<Vec<_>, _>>)
            .map_err(|error| refused(Some(Box::new(error))))?;
        if certificates.is_empty() {
            return Err(refused(None));
        }
        for certificate in certificates {
            roots
                .add(certificate)
                .map_err(|error| refused(Some(Box::new(error))))?;
        }
    }
    choose_cryptography();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    Ok(ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ca_file_that_is_none_is_named_with_the_setting() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ca.pem");
        for content in ["", "no certificate"] {
            std::fs::write(&path, content).unwrap();
            let error = client_config(Some(&path)).unwrap_err().to_string();
            assert!(error.contains("MANIMQ_CA_FILE"), "{error}");
        }
        assert!(client_config(Some(Path::new("/nowhere"))).is_err());
        assert!(client_config(None).is_ok());
    }
}
