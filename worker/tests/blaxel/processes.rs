//! `/process`: real shells in groups of their own, with the server's rules and quirks.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderMap, Method, header};
use axum::response::Response;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::io::AsyncReadExt as _;

use crate::cloud::{Machine, Nature, answer, lock, no_route, refused};
use crate::standby::Standby;

const TAIL: usize = 64 * 1024;
const LOGS: usize = 4 * 1024 * 1024;

pub struct Processes {
    all: Mutex<Vec<Arc<Process>>>,
    logs: PathBuf,
    work: PathBuf,
    nature: Nature,
    standby: Arc<Standby>,
}

pub struct Process {
    name: String,
    command: String,
    work: String,
    pid: u32,
    keep_alive: bool,
    pub now: Mutex<Now>,
}

#[derive(Default)]
pub struct Now {
    status: &'static str,
    exit: i32,
    pub completed: bool,
    gone: bool,
    stdout: Vec<u8>,
    stderr: Vec<u8>,
    pub marked: Vec<u8>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Asked {
    command: String,
    name: Option<String>,
    working_dir: String,
    env: BTreeMap<String, String>,
    wait_for_completion: bool,
    timeout: Option<i64>,
    keep_alive: bool,
}

impl Processes {
    pub fn new(logs: PathBuf, work: PathBuf, nature: Nature) -> Self {
        Self {
            all: Mutex::default(),
            logs,
            work,
            nature,
            standby: Arc::default(),
        }
    }

    /// The sandbox goes to standby: see [`Standby::begin`].
    pub fn freeze(&self, streams_break: bool) {
        let all = lock(&self.all);
        let running = all.iter().filter(|process| !lock(&process.now).gone);
        self.standby
            .begin(running.map(|process| process.pid), streams_break);
    }

    /// A request has come.
    pub fn wake(&self) {
        self.standby.end();
    }

    fn find(&self, id: &str) -> Option<Arc<Process>> {
        let all = lock(&self.all);
        let digits = id.chars().all(|c| c.is_ascii_digit());
        all.iter()
            .rev()
            .find(|process| {
                if digits {
                    process.pid.to_string() == id
                } else {
                    process.name == id
                }
            })
            .cloned()
    }

    /// Names of those that run.
    pub fn running(&self) -> Vec<String> {
        let all = lock(&self.all);
        all.iter()
            .filter(|process| !lock(&process.now).gone)
            .map(|process| process.name.clone())
            .collect()
    }

    /// How often a process of a name like this was started.
    pub fn started(&self, prefix: &str) -> usize {
        let all = lock(&self.all);
        all.iter().filter(|p| p.name.starts_with(prefix)).count()
    }

    /// Bytes of its output so far.
    pub fn said(&self, name: &str) -> usize {
        self.find(name)
            .map_or(0, |process| lock(&process.now).stdout.len())
    }

    pub fn pid(&self, name: &str) -> Option<u32> {
        self.find(name).map(|process| process.pid)
    }

    pub fn kill_all(&self) {
        for process in lock(&self.all).iter() {
            if !lock(&process.now).gone {
                process.signal(libc::SIGKILL);
            }
        }
    }

    /// The server starts anew: it knows nobody.
    pub fn forget_all(&self) {
        self.kill_all();
        lock(&self.all).clear();
    }

    fn start(&self, asked: &Asked) -> Result<Arc<Process>, (u16, String)> {
        if asked.command.is_empty() {
            return Err((400, "command is required".into()));
        }
        let name = asked
            .name
            .clone()
            .unwrap_or_else(|| format!("proc-{:08x}", lock(&self.all).len()));
        if let Some(process) = self.find(&name)
            && lock(&process.now).status == "running"
        {
            let text = format!("process with name '{name}' already exists and is running");
            return Err((400, text));
        }
        let folder = if asked.working_dir.is_empty() {
            self.work.clone()
        } else {
            PathBuf::from(&asked.working_dir)
        };
        let mut command =
            tokio::process::Command::new(if self.nature.cut_off { "unshare" } else { "sh" });
        if self.nature.cut_off {
            command.args(["--net", "sh"]);
        }
        if let Some(user) = self.nature.user {
            command.uid(user).gid(user);
        }
        let child = command
            .arg("-c")
            .arg(&asked.command)
            .envs(&asked.env)
            .current_dir(folder)
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        let mut child =
            child.map_err(|error| (422, format!("failed to start process: {error}")))?;
        let process = Arc::new(Process {
            name: name.clone(),
            command: asked.command.clone(),
            work: asked.working_dir.clone(),
            pid: child.id().expect("it was just started"),
            keep_alive: asked.keep_alive,
            now: Mutex::new(Now {
                status: "running",
                ..Now::default()
            }),
        });
        lock(&self.all).push(process.clone());
        for kind in ["stdout.log", "stderr.log", "log"] {
            let _ = std::fs::write(self.logs.join(format!("{name}.{kind}")), "");
        }
        let out = tokio::spawn(read(process.clone(), child.stdout.take(), "stdout:"));
        let err = tokio::spawn(read(process.clone(), child.stderr.take(), "stderr:"));
        let ended = process.clone();
        tokio::spawn(async move {
            use std::os::unix::process::ExitStatusExt as _;
            let status = child.wait().await.expect("our child");
            // Children in the background do not delay it.
            let _ =
                tokio::time::timeout(Duration::from_millis(100), async { (out.await, err.await) })
                    .await;
            let mut now = lock(&ended.now);
            now.exit = if status.signal().is_some() {
                -1
            } else {
                status.code().unwrap_or(-1)
            };
            match now.status {
                "running" if status.success() => now.status = "completed",
                "running" => now.status = "failed",
                "stopped" if status.success() => now.status = "completed",
                _ => {}
            }
            now.completed = true;
            now.gone = true;
        });
        if asked.keep_alive && asked.timeout != Some(0) {
            let seconds = asked.timeout.filter(|&t| t > 0).unwrap_or(600);
            let process = process.clone();
            tokio::spawn(async move {
                tokio::time::sleep(Duration::from_secs(seconds.unsigned_abs())).await;
                process.end("killed", libc::SIGKILL);
            });
        }
        Ok(process)
    }
}

/// As the server reads: up to 4096 bytes every now and then, a mark before each piece.
async fn read(process: Arc<Process>, pipe: Option<impl tokio::io::AsyncRead + Unpin>, mark: &str) {
    let Some(mut pipe) = pipe else { return };
    let mut piece = vec![0; 4096];
    while let Ok(count @ 1..) = pipe.read(&mut piece).await {
        let mut now = lock(&process.now);
        now.marked.extend_from_slice(mark.as_bytes());
        now.marked.extend_from_slice(&piece[..count]);
        if mark == "stdout:" {
            now.stdout.extend_from_slice(&piece[..count]);
        } else {
            now.stderr.extend_from_slice(&piece[..count]);
        }
    }
}

impl Process {
    fn signal(&self, signal: i32) {
        let group = -i32::try_from(self.pid).expect("a process number");
        // SAFETY: a system call on numbers; the group is one that we started.
        unsafe { libc::kill(group, signal) };
    }

    /// False if it does not run.
    fn end(&self, status: &'static str, signal: i32) -> bool {
        let mut now = lock(&self.now);
        if now.gone || now.status != "running" && signal != libc::SIGKILL {
            return false;
        }
        now.status = status;
        drop(now);
        self.signal(signal);
        true
    }

    fn record(&self, in_list: bool) -> Value {
        let now = lock(&self.now);
        let stdout = tail(&now.stdout, TAIL);
        let stderr = tail(&now.stderr, TAIL);
        let completed = match (now.completed, in_list) {
            (true, _) => json!("Sat, 21 Nov 2026 19:36:40 GMT"),
            (false, true) => Value::Null,
            (false, false) => json!(""),
        };
        json!({
            "pid": self.pid.to_string(), "name": self.name, "command": self.command,
            "status": now.status, "startedAt": "Sat, 21 Nov 2026 19:36:39 GMT",
            "completedAt": completed, "exitCode": now.exit, "workingDir": self.work,
            "logs": format!("{stdout}{stderr}"), "stdout": stdout, "stderr": stderr,
            "restartOnFailure": false, "maxRestarts": 0, "restartCount": 0,
            "keepAlive": self.keep_alive && !now.completed,
        })
    }
}

fn tail(bytes: &[u8], limit: usize) -> String {
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    if bytes.len() <= limit {
        return text(bytes);
    }
    let cut = "[... truncated, see the process log file for the full output ...]\n";
    cut.to_owned() + &text(&bytes[bytes.len() - limit..])
}

pub async fn route(
    machine: &Arc<Machine>,
    method: &Method,
    rest: &str,
    headers: &HeaderMap,
    body: Body,
) -> Response {
    let processes = &machine.processes;
    let parts: Vec<&str> = rest.split('/').collect();
    let unknown = || refused(404, "process not found");
    match (method.as_str(), parts.as_slice()) {
        ("POST", ["process"]) => start(machine, headers, body).await,
        ("GET", ["process"]) => {
            let all = lock_all(processes);
            answer(
                200,
                &Value::Array(all.iter().map(|p| p.record(true)).collect()),
            )
        }
        ("GET", ["process", id]) => match processes.find(id) {
            Some(process) => answer(200, &process.record(false)),
            None => unknown(),
        },
        ("GET", ["process", id, "logs"]) => match processes.find(id) {
            Some(process) => {
                let now = lock(&process.now);
                let (out, err) = (tail(&now.stdout, LOGS), tail(&now.stderr, LOGS));
                answer(
                    200,
                    &json!({"logs": format!("{out}{err}"), "stdout": out, "stderr": err}),
                )
            }
            None => unknown(),
        },
        ("GET", ["process", id, "logs", "stream"]) => {
            crate::streams::stream(processes.find(id), id, processes.standby.clone())
        }
        ("DELETE", ["process", id]) => match processes.find(id) {
            Some(process) if process.end("stopped", libc::SIGTERM) => {
                lock(&process.now)
                    .marked
                    .extend_from_slice(b"[Process is being gracefully terminated]\n");
                answer(200, &json!({"message": "Process stopped successfully"}))
            }
            _ => unknown(),
        },
        ("DELETE", ["process", id, "kill"]) => match processes.find(id) {
            Some(process) if process.end("killed", libc::SIGKILL) => {
                answer(200, &json!({"message": "Process killed successfully"}))
            }
            _ => unknown(),
        },
        _ => no_route(),
    }
}

fn lock_all(processes: &Processes) -> Vec<Arc<Process>> {
    lock(&processes.all).clone()
}

async fn start(machine: &Arc<Machine>, headers: &HeaderMap, body: Body) -> Response {
    let body = axum::body::to_bytes(body, 6_000_000).await.expect("a body");
    let asked: Asked = match serde_json::from_slice(&body) {
        Ok(asked) => asked,
        Err(error) => return refused(400, &error.to_string()),
    };
    let process = match machine.processes.start(&asked) {
        Ok(process) => process,
        Err((status, why)) => return refused(status, &why),
    };
    let streaming = headers
        .get(header::ACCEPT)
        .is_some_and(|accept| accept == "text/event-stream");
    let timeout = asked.timeout.filter(|&t| t > 0).map(i64::unsigned_abs);
    let limit = Duration::from_secs(timeout.unwrap_or(60));
    let ended = async {
        while !lock(&process.now).completed {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    if streaming {
        // Always to the end, whatever was asked for; small outputs in one piece suffice here.
        ended.await;
        let mut lines = String::new();
        let now = process.record(false);
        for kind in ["stdout", "stderr"] {
            if now[kind] != json!("") {
                lines += &format!("{}\n", json!({"type": kind, "data": now[kind]}));
            }
        }
        lines += &format!("{}\n", json!({"type": "result", "data": now.to_string()}));
        return Response::builder()
            .header(header::CONTENT_TYPE, "application/x-ndjson")
            .body(Body::from(lines))
            .expect("an answer");
    }
    if asked.wait_for_completion && tokio::time::timeout(limit, ended).await.is_err() {
        let seconds = limit.as_secs();
        return refused(422, &format!("process timed out after {seconds} seconds"));
    }
    answer(200, &process.record(false))
}
