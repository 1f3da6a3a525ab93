//! One server.

use std::path::{Path, PathBuf};

use redis::{Client, Cmd, FromRedisValue};

use super::certificates::Certificates;
use super::process::{Process, ask, local, on_port, usual, with};
use crate::queue::RedisConfig;

/// A running `redis-server` on a Unix socket (and, if asked for, on a TLS port).
pub struct RedisServer {
    process: Process,
    /// Where it speaks TLS.
    tls_port: Option<u16>,
}

impl RedisServer {
    /// Starts a server that keeps nothing on disk.
    #[must_use]
    pub fn start() -> Self {
        Self::start_with(false, &[])
    }

    /// Starts a server with an append-only file, synced on every write, that survives [`Self::restart`].
    #[must_use]
    pub fn start_durable() -> Self {
        Self::start_with(true, &[])
    }

    /// Starts a server with more settings, such as `["--requirepass", "x"]`.
    ///
    /// # Panics
    /// If it does not start.
    #[must_use]
    pub fn start_with(append_only: bool, settings: &[&str]) -> Self {
        // For the HTTP clients of the test.
        crate::tls::choose_cryptography();
        Self::answering(Process::start(|folder| {
            with(on_socket(folder, append_only), settings)
        }))
    }

    /// A server on a socket, once it answers.
    fn answering(process: Process) -> Self {
        let server = Self {
            process,
            tls_port: None,
        };
        server.must_answer();
        server
    }

    /// Starts a server of its own on a copy of what another has on disk, such as one that is dead or
    /// stopped.
    ///
    /// # Panics
    /// If it does not start, or the other keeps nothing on disk.
    #[must_use]
    pub(super) fn start_on_copy(of: &Path) -> Self {
        Self::answering(Process::start(|folder| {
            let name = "appendonlydir";
            std::fs::create_dir(folder.join(name)).expect("a folder");
            for file in std::fs::read_dir(of.join(name)).expect("an append-only file") {
                let file = file.expect("a file");
                let copy = folder.join(name).join(file.file_name());
                std::fs::copy(file.path(), copy).expect("a copy");
            }
            on_socket(folder, true)
        }))
    }

    /// Starts a server that speaks TLS on a port of 127.0.0.1; `clients` is `yes` if it asks clients for
    /// a certificate, `no` otherwise.
    #[must_use]
    pub fn start_tls(certificates: &Certificates, clients: &str) -> Self {
        let (process, port) = on_port(local, |port, folder| {
            let socket = folder.join("s").display().to_string();
            // The second address is in no certificate.
            let place = ["--bind", "127.0.0.1", "127.0.0.2", "--unixsocket", &socket];
            let mut settings = with(usual(folder, false), &place);
            settings.extend(["--port".to_owned(), port.to_string()]);
            settings.extend(certificates.settings(port, clients));
            settings
        });
        Self {
            process,
            tls_port: Some(port + 1),
        }
    }

    fn client(&self) -> Client {
        Client::open(self.url()).expect("a socket path")
    }

    fn must_answer(&self) {
        assert!(
            self.process.answers(&self.client()),
            "{}",
            self.process.log()
        );
    }

    /// Path of its socket.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.process.folder().join("s")
    }

    /// Its URL.
    #[must_use]
    pub fn url(&self) -> String {
        format!("redis+unix://{}", self.socket().display())
    }

    /// Its URL over TLS, for a host of its certificate.
    ///
    /// # Panics
    /// If it does not speak TLS.
    #[must_use]
    pub fn tls_url(&self, host: &str) -> String {
        let port = self.tls_port.expect("it was started with TLS");
        format!("rediss://{host}:{port}/0")
    }

    /// Settings for a queue of its own (`prefix`) on this server.
    #[must_use]
    pub fn config(&self, prefix: &str) -> RedisConfig {
        RedisConfig {
            prefix: prefix.to_owned(),
            ..RedisConfig::new(self.url())
        }
    }

    /// One command, sent without any of our own code.
    ///
    /// # Panics
    /// If it fails.
    #[must_use]
    pub fn ask<T: FromRedisValue>(&self, command: &Cmd) -> T {
        ask(&self.client(), command).expect("Redis answers")
    }

    /// `kill -9`, without a restart; what it wrote to disk stays.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Starts it again on the same socket and data after [`Self::kill`].
    pub fn restart(&mut self) {
        let _ = std::fs::remove_file(self.socket());
        self.process.restart();
        self.must_answer();
    }

    /// Stops it where it is: it takes connections, and answers nothing.
    pub fn freeze(&self) {
        self.process.freeze();
    }

    /// Lets it go on after [`Self::freeze`].
    pub fn thaw(&self) {
        self.process.thaw();
    }
}

/// Settings of a server on a Unix socket in its folder.
fn on_socket(folder: &Path, append_only: bool) -> Vec<String> {
    let socket = folder.join("s").display().to_string();
    let place = ["--port", "0", "--unixsocketperm", "700", "--unixsocket"];
    with(with(usual(folder, append_only), &place), &[&socket])
}

/// A server on a port of 127.0.0.1, as sets are made of; the next port is for TLS, if that is wanted.
pub(super) struct PortServer {
    pub process: Process,
    pub port: u16,
    tls: bool,
}

impl PortServer {
    pub fn start(append_only: bool, settings: &[&str], tls: Option<&Certificates>) -> Self {
        let (process, port) = on_port(local, |port, folder| {
            let place = ["--bind", "127.0.0.1", "--port", &port.to_string()];
            let mut all = with(with(usual(folder, append_only), &place), settings);
            if let Some(certificates) = tls {
                all.extend(certificates.settings(port, "no"));
            }
            all
        });
        Self {
            process,
            port,
            tls: tls.is_some(),
        }
    }

    /// The port that others are told.
    pub fn told_port(&self) -> u16 {
        self.port + u16::from(self.tls)
    }

    pub fn client(&self) -> Client {
        local(self.port)
    }

    pub fn ask<T: FromRedisValue>(&self, command: &Cmd) -> redis::RedisResult<T> {
        ask(&self.client(), command)
    }

    pub fn restart(&mut self) {
        self.process.restart();
        assert!(
            self.process.answers(&self.client()),
            "{}",
            self.process.log()
        );
    }
}
