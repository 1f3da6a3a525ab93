//! The data plane: the API of one sandbox, for processes and health. Files are in `files.rs`.

use std::collections::BTreeMap;
use std::time::Duration;

use reqwest::{Method, Response, Url};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::error::{ApiError, Kind, Side};
use super::http::{Account, CALL_TIMEOUT, Call, Plane, Repeat};

/// How long a sandbox may take to wake up.
const WAKE_TIMEOUT: Duration = Duration::from_secs(60);
/// One try of it: the edge cuts silent requests at about a minute.
const WAKE_TRY: Duration = Duration::from_secs(20);
/// Where the server keeps what processes have written, unless its image says otherwise.
pub(super) const LOGS: &str = "/var/log/sandbox-api";
/// After a start whose answer was lost: how long it may still be under way.
const DOUBT: [Duration; 3] = [
    Duration::from_millis(300),
    Duration::from_secs(1),
    Duration::from_secs(3),
];

/// One sandbox's own API.
#[derive(Debug, Clone)]
pub struct Data(pub(super) Plane);

/// `GET /health`.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Health {
    /// `ok`.
    pub status: String,
    /// Of the sandbox's server.
    #[serde(default)]
    pub version: String,
    /// As Go names it: `amd64`, `arm64`.
    #[serde(default)]
    pub arch: String,
    /// When the server started; another value later means that it started anew.
    #[serde(default)]
    pub started_at: String,
}

/// What to run.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ProcessSpec {
    /// For the sandbox's shell.
    pub command: String,
    /// Never used before: by it a start is found again whose answer was lost.
    pub name: String,
    /// Added to the server's environment.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
    /// Holds the sandbox awake, and makes `timeout` end the process.
    pub keep_alive: bool,
    /// Seconds.
    pub timeout: u64,
    /// Never true: an answer that takes long is lost on the way.
    wait_for_completion: bool,
}

impl ProcessSpec {
    /// A process that holds the sandbox awake and is killed after `timeout`.
    #[must_use]
    pub fn new(name: String, command: String, timeout: Duration) -> Self {
        Self {
            command,
            name,
            env: BTreeMap::new(),
            keep_alive: true,
            timeout: timeout.as_secs().max(1),
            wait_for_completion: false,
        }
    }
}

/// A process as the sandbox tells of it.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Process {
    /// Its number, in digits.
    #[serde(default)]
    pub pid: String,
    /// `running`, `completed`, `failed`, `killed`, `stopped`.
    pub status: String,
    /// When it ended; empty or none while it runs, whatever `status` says.
    #[serde(default)]
    pub completed_at: Option<String>,
    /// −1 when a signal ended it.
    #[serde(default)]
    pub exit_code: Option<i32>,
    /// The end of its output.
    #[serde(default)]
    pub stdout: Option<String>,
    /// The end of its errors.
    #[serde(default)]
    pub stderr: Option<String>,
}

impl Process {
    /// Nothing of it runs any more. `stopped` is said before it is gone.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.status != "running" && self.completed_at.as_ref().is_some_and(|at| !at.is_empty())
    }
}

/// `GET /process/{id}/logs`.
#[derive(Debug, Clone, Deserialize)]
pub struct Logs {
    /// The last 4 MiB of it.
    #[serde(default)]
    pub stdout: Option<String>,
    /// The same.
    #[serde(default)]
    pub stderr: Option<String>,
}

impl Data {
    /// The sandbox that answers at `base`.
    #[must_use]
    pub fn new(account: &Account, base: Url) -> Self {
        Self(account.plane(Side::Sandbox, base))
    }

    fn call(&self, name: &'static str, method: Method, segments: &[&str]) -> Call<'static> {
        Call::new(name, method, self.0.url(segments.iter().copied()))
    }

    /// Wakes the sandbox and asks how it is.
    ///
    /// # Errors
    /// After a minute without an answer, or at once if there is no such sandbox or the key is refused.
    pub async fn wake(&self) -> Result<Health, ApiError> {
        let mut call = self.call("waking the sandbox", Method::GET, &["health"]);
        call.timeout = WAKE_TRY;
        call.retry_for = WAKE_TIMEOUT;
        self.0.json(&call).await
    }

    /// Asks how it is, once.
    ///
    /// # Errors
    /// If it does not say so at once.
    pub async fn health(&self) -> Result<Health, ApiError> {
        let mut call = self.call("asking the sandbox how it is", Method::GET, &["health"]);
        call.retry_for = Duration::from_secs(5);
        self.0.json(&call).await
    }

    /// Starts a process exactly once: what got no answer is looked for by its name before it is
    /// sent again.
    ///
    /// # Errors
    /// If it did not start. After [`Kind::NoAnswer`] it may still do so.
    pub async fn start(&self, spec: &ProcessSpec) -> Result<Process, ApiError> {
        let mut call = self
            .call("starting a process", Method::POST, &["process"])
            .json(spec)?;
        call.repeat = Repeat::IfNotBegun;
        let mut last = None;
        for _ in 0..2 {
            let error = match self.0.json(&call).await {
                Ok(process) => return Ok(process),
                Err(error) => error,
            };
            let in_use = error.kind == Kind::Refused && error.what.contains("already exists");
            if !error.is_passing() && !in_use {
                return Err(error);
            }
            last = Some(error);
            for pause in DOUBT {
                match self.process(&spec.name).await {
                    Ok(process) => return Ok(process),
                    Err(error) if error.kind == Kind::Missing => tokio::time::sleep(pause).await,
                    Err(error) => return Err(error),
                }
            }
        }
        Err(last.unwrap_or_else(|| ApiError::new(call.name, Kind::NoAnswer, "it did not start")))
    }

    /// A process by its name.
    ///
    /// # Errors
    /// [`Kind::Missing`]: it never was, or the server has started anew since.
    pub async fn process(&self, name: &str) -> Result<Process, ApiError> {
        let call = self.call("looking for a process", Method::GET, &["process", name]);
        self.0.json(&call).await
    }

    /// What a process has written: the truth, where the stream is not whole.
    ///
    /// # Errors
    /// As [`Data::process`].
    pub async fn logs(&self, name: &str) -> Result<Logs, ApiError> {
        let mut call = self.call(
            "reading a process's output",
            Method::GET,
            &["process", name, "logs"],
        );
        call.timeout = Duration::from_secs(50);
        self.0.json(&call).await
    }

    /// What a process has written so far, and then what it writes, until it ends.
    ///
    /// # Errors
    /// If the stream does not begin.
    pub(super) async fn follow(&self, name: &str) -> Result<Response, ApiError> {
        let mut call = self.call(
            "following a process",
            Method::GET,
            &["process", name, "logs", "stream"],
        );
        call.accept = "text/plain";
        // A stream begins with what there is; of a process without a word it may begin late.
        call.timeout = Duration::from_secs(40);
        call.retry_for = Duration::from_secs(10);
        self.0.send(&call).await
    }

    /// Asks a process to end (SIGTERM to its group). True if it ran.
    ///
    /// # Errors
    /// If nobody heard it.
    pub async fn stop(&self, name: &str) -> Result<bool, ApiError> {
        let call = self.call("stopping a process", Method::DELETE, &["process", name]);
        self.ended_or_missing(call).await
    }

    /// Kills a process and its group. True if it ran.
    ///
    /// # Errors
    /// If nobody heard it.
    pub async fn kill(&self, name: &str) -> Result<bool, ApiError> {
        let call = self.call(
            "killing a process",
            Method::DELETE,
            &["process", name, "kill"],
        );
        self.ended_or_missing(call).await
    }

    async fn ended_or_missing(&self, call: Call<'_>) -> Result<bool, ApiError> {
        match self.0.done(&call).await {
            Ok(()) => Ok(true),
            Err(error) if error.kind == Kind::Missing => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Returns when a process has ended, or after `limit`: then `None`.
    ///
    /// # Errors
    /// As [`Data::process`].
    pub async fn ended(&self, name: &str, limit: Duration) -> Result<Option<Process>, ApiError> {
        let until = Instant::now() + limit;
        let mut pause = Duration::from_millis(20);
        loop {
            let process = self.process(name).await?;
            if process.has_ended() {
                return Ok(Some(process));
            }
            if Instant::now() + pause > until {
                return Ok(None);
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(Duration::from_secs(1));
        }
    }

    /// Runs a short command to its end, and removes its logs.
    ///
    /// # Errors
    /// If it did not start, or did not end within `limit`.
    pub async fn run(
        &self,
        name: String,
        command: String,
        limit: Duration,
    ) -> Result<Process, ApiError> {
        let what = "running a command";
        self.start(&ProcessSpec::new(
            name.clone(),
            command,
            limit + CALL_TIMEOUT,
        ))
        .await?;
        let ended = self.ended(&name, limit).await?;
        if ended.is_none() {
            let _ = self.kill(&name).await;
        }
        self.remove_logs(&name).await;
        ended.ok_or_else(|| {
            let what_came = format!("it did not end within {} s", limit.as_secs());
            ApiError::new(what, Kind::NoAnswer, what_came)
        })
    }

    /// Takes away the three files that the server keeps of each process's output for ever.
    pub async fn remove_logs(&self, name: &str) {
        let files = ["stdout.log", "stderr.log", "log"].map(|kind| format!("{LOGS}/{name}.{kind}"));
        let removals = files.iter().map(|file| self.remove(file));
        for error in futures_util::future::join_all(removals)
            .await
            .into_iter()
            .filter_map(Result::err)
        {
            tracing::debug!(error = %error, "a log file stays in the sandbox");
        }
    }
}
