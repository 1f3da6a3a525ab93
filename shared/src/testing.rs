//! For tests: a real `redis-server` of one's own, on a Unix socket in a temporary folder.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::queue::RedisConfig;

/// A running `redis-server`; killed, and its folder removed, when dropped or when the test
/// process ends in whatever way.
pub struct RedisServer {
    child: Child,
    folder: PathBuf,
    append_only: bool,
}

/// Runs the server for as long as the test process holds the other end of standard input: a
/// server in a `static` is never dropped, and a test may be killed.
const KEEPER: &str = r#"folder=$1; shift
redis-server "$@" & server=$!
read -r word
kill -9 $server; wait $server 2>/dev/null
[ "$word" = keep ] || rm -rf "$folder""#;

/// Longest wait for the server to answer.
const START_LIMIT: Duration = Duration::from_secs(30);

impl RedisServer {
    /// Starts a server that keeps nothing on disk.
    #[must_use]
    pub fn start() -> Self {
        Self::start_with(false)
    }

    /// Starts a server with an append-only file, synced on every write, that survives [`Self::restart`].
    #[must_use]
    pub fn start_durable() -> Self {
        Self::start_with(true)
    }

    fn start_with(append_only: bool) -> Self {
        let folder = tempfile::Builder::new()
            .prefix("mq-redis-")
            .tempdir_in("/tmp")
            .expect("a temporary folder")
            .keep();
        let child = Self::spawn(&folder, append_only);
        let mut server = Self {
            child,
            folder,
            append_only,
        };
        server.wait_until_ready();
        server
    }

    fn spawn(folder: &Path, append_only: bool) -> Child {
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(folder.join("redis.log"))
            .expect("a log file");
        Command::new("sh")
            .args(["-c", KEEPER, "redis-keeper"])
            .arg(folder)
            .args(["--port", "0", "--save", "", "--unixsocketperm", "700"])
            .args(["--maxmemory-policy", "noeviction"])
            .args(["--appendonly", if append_only { "yes" } else { "no" }])
            .args(["--appendfsync", "always"])
            .arg("--dir")
            .arg(folder)
            .arg("--unixsocket")
            .arg(folder.join("s"))
            .stdin(Stdio::piped())
            .stderr(log.try_clone().expect("a log file"))
            .stdout(log)
            .spawn()
            .expect("redis-server runs; `deploy/setup` installs it")
    }

    fn wait_until_ready(&mut self) {
        let client = redis::Client::open(self.url()).expect("a socket path");
        let start = Instant::now();
        loop {
            let answer = client
                .get_connection()
                .and_then(|mut c| redis::cmd("PING").query::<String>(&mut c));
            match answer {
                Ok(_) => return,
                Err(error) => {
                    assert!(start.elapsed() < START_LIMIT, "{error}: {}", self.log());
                    std::thread::sleep(Duration::from_millis(5));
                }
            }
        }
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.folder.join("redis.log")).unwrap_or_default()
    }

    /// Path of its socket.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.folder.join("s")
    }

    /// Its URL.
    #[must_use]
    pub fn url(&self) -> String {
        format!("redis+unix://{}", self.socket().display())
    }

    /// Settings for a queue of its own (`prefix`) on this server.
    #[must_use]
    pub fn config(&self, prefix: &str) -> RedisConfig {
        RedisConfig {
            prefix: prefix.to_owned(),
            ..RedisConfig::new(self.url())
        }
    }

    /// `kill -9`, without a restart; what it wrote to disk stays.
    pub fn kill(&mut self) {
        self.end("keep\n");
    }

    fn end(&mut self, word: &str) {
        if let Some(mut stdin) = self.child.stdin.take() {
            let _ = stdin.write_all(word.as_bytes());
        }
        let _ = self.child.wait();
    }

    /// Starts it again on the same socket and data after [`Self::kill`].
    pub fn restart(&mut self) {
        let _ = std::fs::remove_file(self.socket());
        self.child = Self::spawn(&self.folder, self.append_only);
        self.wait_until_ready();
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        self.end("\n");
    }
}
