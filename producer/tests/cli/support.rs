//! Runs the program under test.

use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tokio::io::AsyncReadExt as _;
use tokio::process::{Child, Command};

/// Longest wait for anything.
pub const LIMIT: Duration = Duration::from_secs(60);

/// The program, without anything of the caller's environment that could sway it.
pub fn manimq(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_manimq"));
    command
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        let sways = [
            "MANIMQ_",
            "RUST_LOG",
            "REDIS_URL",
            "NO_COLOR",
            "HTTP_PROXY",
            "http_proxy",
        ];
        if sways.iter().any(|prefix| text.starts_with(prefix)) {
            command.env_remove(&name);
        }
    }
    command
}

/// What a program that has ended said.
#[derive(Debug)]
pub struct Said {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

impl From<Output> for Said {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code(),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

/// Runs a command to its end.
pub async fn run(command: &mut Command) -> Said {
    tokio::time::timeout(LIMIT, command.output())
        .await
        .expect("it ends in time")
        .unwrap()
        .into()
}

/// A program that runs, and what it has said so far.
pub struct Live {
    child: Child,
    said: Arc<Mutex<(String, String)>>,
    readers: Vec<tokio::task::JoinHandle<()>>,
}

impl Live {
    pub fn start(command: &mut Command) -> Self {
        let mut child = command.spawn().unwrap();
        let said = Arc::new(Mutex::new((String::new(), String::new())));
        let (out, err) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
        let readers = vec![
            read(out, Arc::clone(&said), true),
            read(err, Arc::clone(&said), false),
        ];
        Self {
            child,
            said,
            readers,
        }
    }

    pub fn pid(&self) -> i32 {
        i32::try_from(self.child.id().expect("it runs")).unwrap()
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_raw(self.pid()).unwrap(), signal).unwrap();
    }

    pub fn out(&self) -> String {
        self.said.lock().unwrap().0.clone()
    }

    pub fn err(&self) -> String {
        self.said.lock().unwrap().1.clone()
    }

    /// Waits until standard error holds `text`.
    pub async fn says(&mut self, text: &str) {
        let end = Instant::now() + LIMIT;
        while !self.err().contains(text) {
            assert!(
                self.child.try_wait().unwrap().is_none(),
                "it ended: {}",
                self.err()
            );
            assert!(
                Instant::now() < end,
                "it never said {text:?}: {}",
                self.err()
            );
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    pub async fn ended(mut self) -> Said {
        let status: ExitStatus = tokio::time::timeout(LIMIT, self.child.wait())
            .await
            .unwrap_or_else(|_| panic!("it does not end: {}", self.err()))
            .unwrap();
        for reader in self.readers {
            // Something that outlived it may hold its outputs; that is for the caller to notice.
            let _ = tokio::time::timeout(Duration::from_secs(5), reader).await;
        }
        let said = self.said.lock().unwrap();
        Said {
            code: status.code(),
            out: said.0.clone(),
            err: said.1.clone(),
        }
    }
}

fn read(
    mut from: impl tokio::io::AsyncRead + Unpin + Send + 'static,
    said: Arc<Mutex<(String, String)>>,
    is_out: bool,
) -> tokio::task::JoinHandle<()> {
    tokio::spawn(async move {
        let mut buffer = [0; 4096];
        while let Ok(n @ 1..) = from.read(&mut buffer).await {
            let text = String::from_utf8_lossy(&buffer[..n]);
            let mut said = said.lock().unwrap();
            if is_out {
                said.0.push_str(&text)
            } else {
                said.1.push_str(&text)
            }
        }
    })
}

/// Waits until `look` finds something.
pub async fn eventually<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let end = Instant::now() + LIMIT;
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(Instant::now() < end, "never: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// All living processes whose command line or environment holds `mark`, with their command lines.
pub fn processes(mark: &Path) -> Vec<(i32, String)> {
    let mark = mark.to_str().unwrap().as_bytes();
    let holds = |bytes: &[u8]| bytes.windows(mark.len()).any(|window| window == mark);
    let own = std::process::id().cast_signed();
    std::fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<i32>().ok())
        .filter(|pid| *pid != own)
        .filter_map(|pid| {
            let read =
                |name: &str| std::fs::read(format!("/proc/{pid}/{name}")).unwrap_or_default();
            let cmdline = read("cmdline"); // empty for a zombie
            let ours = !cmdline.is_empty() && (holds(&cmdline) || holds(&read("environ")));
            ours.then(|| (pid, String::from_utf8_lossy(&cmdline).replace('\0', " ")))
        })
        .collect()
}

/// Files below a folder, relative to it, sorted.
pub fn files(folder: &Path) -> Vec<PathBuf> {
    fn walk(folder: &Path, base: &Path, found: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, base, found);
            } else {
                found.push(path.strip_prefix(base).unwrap().to_owned());
            }
        }
    }
    let mut found = Vec::new();
    walk(folder, folder, &mut found);
    found.sort();
    found
}
