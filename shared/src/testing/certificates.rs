//! Certificates for tests.

use std::path::PathBuf;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};

/// A folder with `ca.pem`, and of that authority `server.pem` and `server.key` (for `localhost` and
/// 127.0.0.1), `client.pem` and `client.key`; and `other-ca.pem` of another authority.
pub struct Certificates {
    folder: tempfile::TempDir,
}

impl Certificates {
    /// Makes them all.
    ///
    /// # Panics
    /// If there is no temporary folder.
    #[must_use]
    pub fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let write = |name: &str, text: String| {
            std::fs::write(folder.path().join(name), text).expect("a file");
        };
        for (name, leaves) in [("ca", ["server", "client"].as_slice()), ("other-ca", &[])] {
            let mut parameters = CertificateParams::default();
            parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            parameters.distinguished_name.push(DnType::CommonName, name);
            let key = KeyPair::generate().expect("a key");
            let certificate = parameters.self_signed(&key).expect("a certificate");
            write(&format!("{name}.pem"), certificate.pem());
            let authority = Issuer::new(parameters, key);
            for leaf in leaves {
                let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
                let mut parameters = CertificateParams::new(names).expect("names");
                parameters
                    .distinguished_name
                    .push(DnType::CommonName, *leaf);
                let key = KeyPair::generate().expect("a key");
                let certificate = parameters
                    .signed_by(&key, &authority)
                    .expect("a certificate");
                write(&format!("{leaf}.pem"), certificate.pem());
                write(&format!("{leaf}.key"), key.serialize_pem());
            }
        }
        Self { folder }
    }

    /// Settings for a server that speaks TLS on the port behind `port`. The tests' own look at it goes
    /// over `port`.
    pub(super) fn settings(&self, port: u16, clients: &str) -> Vec<String> {
        let file = |name: &str| self.file(name).display().to_string();
        let settings = [
            ["--tls-port", &(port + 1).to_string()],
            ["--tls-cert-file", &file("server.pem")],
            ["--tls-key-file", &file("server.key")],
            ["--tls-ca-cert-file", &file("ca.pem")],
            ["--tls-auth-clients", clients],
        ];
        let words = settings.as_flattened().iter();
        words.map(ToString::to_string).collect()
    }

    /// The path of one of the files.
    #[must_use]
    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

impl Default for Certificates {
    fn default() -> Self {
        Self::new()
    }
}
