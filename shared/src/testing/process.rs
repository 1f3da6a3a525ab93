//! A server process that does not outlive the test, and the waiting for it.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use redis::{Client, Cmd, FromRedisValue, RedisResult};
use rustix::process::{Pid, Signal, kill_process};

/// Runs the server for as long as the test process holds the other end of standard input: a
/// server in a `static` is never dropped, and a test may be killed.
const KEEPER: &str = r#"trap '' INT HUP TERM
folder=$1; shift
"$@" & server=$!
echo $server >"$folder/pid.new" && mv "$folder/pid.new" "$folder/pid"
read -r word
kill -9 $server; wait $server 2>/dev/null
[ "$word" = keep ] || rm -rf "$folder""#;

/// Longest wait for a server, or for several, to come into a state, on a machine that stands still
/// for seconds.
const STATE_LIMIT: Duration = Duration::from_secs(180);
/// Longest wait for one answer of a server.
const ANSWER_LIMIT: Duration = Duration::from_secs(5);
/// Ports that servers take: below those that the system hands out by itself.
const PORTS: std::ops::Range<u16> = 15_000..32_000;
/// Ports that are tried before the test gives up.
const PORTS_TRIED: usize = 50;

/// One running server.
pub struct Process {
    keeper: Child,
    folder: PathBuf,
    arguments: Vec<String>,
}

impl Process {
    /// Starts the Redis program with `arguments`, after `prepare` has filled its folder.
    pub fn start(prepare: impl FnOnce(&Path) -> Vec<String>) -> Self {
        let folder = tempfile::Builder::new()
            .prefix("mq-redis-")
            .tempdir_in("/tmp")
            .expect("a temporary folder")
            .keep();
        let arguments = prepare(&folder);
        let keeper = spawn(&folder, &arguments);
        Self {
            keeper,
            folder,
            arguments,
        }
    }

    /// Its folder, where it keeps its data.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// What it wrote.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.join("redis.log")).unwrap_or_default()
    }

    /// `kill -9`, without a restart; what it wrote to disk stays.
    pub fn kill(&mut self) {
        self.end("keep\n");
    }

    /// Starts it again with the same folder and arguments after [`Self::kill`].
    pub fn restart(&mut self) {
        let _ = std::fs::remove_file(self.folder.join("pid"));
        self.keeper = spawn(&self.folder, &self.arguments);
    }

    /// Stops it where it is; the system goes on to take connections and data for it.
    pub fn freeze(&self) {
        self.signal(Signal::STOP);
    }

    /// Lets it go on after [`Self::freeze`].
    pub fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.pid()).expect("a process id");
        kill_process(pid, signal).expect("the server runs");
    }

    fn pid(&self) -> i32 {
        let mut pid = None;
        until("the server's process id", || {
            let text = std::fs::read_to_string(self.folder.join("pid")).unwrap_or_default();
            pid = text.trim().parse().ok();
            pid.is_some()
        });
        pid.expect("just read")
    }

    /// Waits until it answers. False if it ended instead, such as for a port that is taken.
    pub fn answers(&self, client: &Client) -> bool {
        let (pid, mut mine) = (self.pid(), false);
        until("the server answers", || {
            if has_ended(pid) {
                return true;
            }
            // Another server may have the port; and Valkey answers while it still reads its data.
            let info: String = ask(client, &redis::cmd("INFO")).unwrap_or_default();
            let is = |line: &str| info.lines().any(|l| l == line);
            mine = is(&format!("process_id:{pid}")) && !is("loading:1");
            mine
        });
        mine
    }

    fn end(&mut self, word: &str) {
        if let Some(mut stdin) = self.keeper.stdin.take() {
            let _ = stdin.write_all(word.as_bytes());
        }
        let _ = self.keeper.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.keeper.stdin.is_some() {
            self.end("\n");
        } else {
            // It was killed; what it left on disk goes too.
            let _ = std::fs::remove_dir_all(&self.folder);
        }
    }
}

fn spawn(folder: &Path, arguments: &[String]) -> Child {
    let log = std::fs::File::options()
        .create(true)
        .append(true)
        .open(folder.join("redis.log"))
        .expect("a log file");
    let program =
        std::env::var_os("MANIMQ_TEST_REDIS_SERVER").unwrap_or_else(|| "redis-server".into());
    Command::new("sh")
        .args(["-c", KEEPER, "redis-keeper"])
        .arg(folder)
        .arg(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stderr(log.try_clone().expect("a log file"))
        .stdout(log)
        .spawn()
        .expect("redis-server runs; `deploy/setup` installs it")
}

/// Whether a process has ended. Its keeper looks after it at the very end only, so it may linger as
/// a zombie.
fn has_ended(pid: i32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat.rsplit(')').next().unwrap_or_default().trim_start();
    state.is_empty() || state.starts_with('Z')
}

/// Waits for a state.
pub fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(
            start.elapsed() < STATE_LIMIT,
            "{what}: not within {STATE_LIMIT:?}"
        );
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// One command on a connection of its own.
pub fn ask<T: FromRedisValue>(client: &Client, command: &Cmd) -> RedisResult<T> {
    let mut connection = client.get_connection_with_timeout(ANSWER_LIMIT)?;
    connection.set_read_timeout(Some(ANSWER_LIMIT))?;
    connection.set_write_timeout(Some(ANSWER_LIMIT))?;
    command.query(&mut connection)
}

/// A client for a local port.
pub fn local(port: u16) -> Client {
    Client::open(("127.0.0.1", port)).expect("an address")
}

/// A port that nobody has at this time. Somebody may take it before it is used: see [`on_port`].
fn free_port() -> u16 {
    for _ in 0..PORTS_TRIED {
        let mut random = [0; 2];
        getrandom::fill(&mut random).expect("random bytes");
        let port = PORTS.start + u16::from_ne_bytes(random) % (PORTS.end - PORTS.start);
        if std::net::TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
    panic!("no free port after {PORTS_TRIED} tries");
}

/// Starts a server on a free port, trying others if somebody is quicker. `client` reaches it there.
pub fn on_port(
    client: impl Fn(u16) -> Client,
    prepare: impl Fn(u16, &Path) -> Vec<String>,
) -> (Process, u16) {
    let mut log = String::new();
    for _ in 0..PORTS_TRIED {
        let port = free_port();
        let process = Process::start(|folder| prepare(port, folder));
        if process.answers(&client(port)) {
            return (process, port);
        }
        log = process.log();
        assert!(log.contains("Address already in use"), "{log}");
    }
    panic!("no server started after {PORTS_TRIED} tries: {log}");
}

/// Settings of every server: nothing on disk but, if wanted, an append-only file.
pub fn usual(folder: &Path, append_only: bool) -> Vec<String> {
    let folder = folder.display().to_string();
    let on = if append_only { "yes" } else { "no" };
    let settings = [
        ["--save", ""],
        ["--maxmemory-policy", "noeviction"],
        ["--appendonly", on],
        ["--appendfsync", "always"],
        ["--dir", &folder],
    ];
    settings
        .as_flattened()
        .iter()
        .map(ToString::to_string)
        .collect()
}

/// More settings, one after the other.
pub fn with(mut settings: Vec<String>, more: &[&str]) -> Vec<String> {
    settings.extend(more.iter().map(ToString::to_string));
    settings
}
