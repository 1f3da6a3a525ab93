//! The processes of a run: this test binary, started again with its task in the environment.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};
use serde::{Deserialize, Serialize};
use tokio::signal::unix::{SignalKind, signal};

use crate::history::History;
use crate::{producer, worker};

const TASK: &str = "MANIMQ_CHAOS_TASK";
const HISTORY: &str = "MANIMQ_CHAOS_HISTORY";
const TEST: &str = "a_process_of_a_run_does_its_task";

/// What a process is told.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Task {
    /// Its name in histories.
    pub who: String,
    /// The process that it must not outlive.
    pub parent: i32,
    pub redis_url: String,
    pub redis_prefix: String,
    pub durable: bool,
    pub role: Role,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    Worker(worker::Role),
    Producer(producer::Role),
}

/// Does the task of the environment; nothing if there is none.
pub fn run() {
    let Ok(task) = std::env::var(TASK) else {
        return;
    };
    let task: Task = serde_json::from_str(&task).expect("a task");
    // Even one that is stopped dies with the driver.
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL)).expect("Linux");
    if rustix::process::getppid() != Pid::from_raw(task.parent) {
        return;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    let ended = runtime.block_on(async {
        // Before there is a history, see [`Part::listens`].
        let term = signal(SignalKind::terminate()).expect("a signal handler");
        let history = std::env::var_os(HISTORY).expect("a file for the history");
        let history = History::open(Path::new(&history), &task.who);
        match task.role.clone() {
            Role::Worker(role) => worker::run(&task, &role, history, term).await,
            Role::Producer(role) => {
                producer::run(&task, role, &history, term).await;
                Ok(())
            }
        }
    });
    runtime.shutdown_background();
    if let Err(error) = ended {
        eprintln!("error: {error:#}");
        std::process::exit(1);
    }
}

/// A process of the run, as the driver holds it. Killed when dropped.
pub struct Part {
    pub who: String,
    history: PathBuf,
    log: PathBuf,
    child: Child,
}

impl Part {
    /// Starts a process. Call it on a thread that lives as long as the run: the signal that ends
    /// the process with its parent belongs to the thread that started it.
    pub fn start(folder: &Path, task: &Task) -> Self {
        let who = &task.who;
        let history = folder.join(format!("{who}.jsonl"));
        let log = folder.join(format!("{who}.log"));
        let output = File::create(&log).expect("a file for the log");
        let child = Command::new(std::env::current_exe().expect("this program"))
            .args([TEST, "--exact", "--nocapture"])
            .env(TASK, serde_json::to_string(task).unwrap())
            .env(HISTORY, &history)
            .env("RUST_BACKTRACE", "0")
            .stdin(std::process::Stdio::null())
            .stdout(output.try_clone().expect("a file for the log"))
            .stderr(output)
            .spawn()
            .expect("this program starts again");
        Self {
            who: who.to_owned(),
            history,
            log,
            child,
        }
    }

    pub fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        let _ = rustix::process::kill_process(pid.expect("a process id"), signal);
    }

    /// Whether SIGTERM asks it to end well. A process that was just started would die of it.
    pub fn listens(&self) -> bool {
        self.history.exists()
    }

    /// SIGTERM, as soon as it listens; returns after `limit` even so.
    pub async fn ask_to_end(&mut self, limit: Duration) {
        let began = Instant::now();
        while !self.listens() && self.ended().is_none() && began.elapsed() < limit {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        self.signal(Signal::TERM);
    }

    /// `kill -9`, and waits until it is gone.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Its end, if it has ended.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("our own child")
    }

    /// Waits until it has ended by itself; `None` if it has not within `limit`.
    pub async fn end(&mut self, limit: Duration) -> Option<ExitStatus> {
        let began = Instant::now();
        loop {
            let ended = self.ended();
            if ended.is_some() || began.elapsed() > limit {
                return ended;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    pub fn history(&self) -> PathBuf {
        self.history.clone()
    }

    /// The last lines that it said.
    pub fn last_words(&self) -> String {
        let log = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        self.kill();
    }
}

#[tokio::test]
async fn a_process_that_is_asked_to_end_while_it_starts_ends_well() {
    let redis = manimq_shared::testing::RedisServer::start_durable();
    let folder = tempfile::tempdir().expect("a folder");
    for n in 0..5 {
        let role = Role::Producer(producer::Role {
            seed: n,
            tenants: vec!["a".parse().expect("a name")],
            pause_ms: 1,
            heir_of: None,
        });
        let config = redis.config("start");
        let task = Task {
            who: format!("producer-{n}"),
            parent: rustix::process::getpid().as_raw_nonzero().get(),
            redis_url: config.url,
            redis_prefix: config.prefix,
            durable: false,
            role,
        };
        let mut part = Part::start(folder.path(), &task);
        let limit = Duration::from_secs(60);
        part.ask_to_end(limit).await;
        let ended = part.end(limit).await;
        assert!(
            ended.is_some_and(|status| status.success()),
            "{ended:?}: {}",
            part.last_words()
        );
    }
}
