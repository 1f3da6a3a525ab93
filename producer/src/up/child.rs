//! One child process: started so that it cannot outlive us, heard on both outputs, and stopped in
//! bounded time.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustix::process::{Pid, Signal, WaitOptions, kill_process, kill_process_group, waitpid};
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::process::{Child, Command};
use tokio::task::JoinHandle;

use super::console::Console;
use super::logfile::LogFile;
use crate::term::{shorten, visible};

/// Last lines that are kept to explain a death.
const TAIL_LINES: usize = 12;
/// Longest line; longer ones are cut into several.
const LINE_BYTES_MAX: usize = 8 * 1024;
/// Columns of the name before a line.
const NAME_COLUMNS: usize = 9;
/// How long the outputs of a dead child are still read: a grandchild may hold them open.
const OUTPUT_WAIT: Duration = Duration::from_millis(500);

/// How to start a child.
pub struct Start<'a> {
    /// The program with its arguments and variables.
    pub command: Command,
    /// What it gets if we die. `SIGTERM` for Redis, which then writes its last second to disk.
    pub death_signal: Signal,
    /// A lock that the child holds as long as it lives.
    pub lock: Option<&'a File>,
    /// Name before its lines.
    pub name: &'static str,
    /// Whether its lines go to the terminal as well.
    pub echo: bool,
}

/// A running child.
pub struct Running {
    child: Child,
    pid: Pid,
    tail: Arc<Mutex<VecDeque<String>>>,
    outputs: Vec<JoinHandle<()>>,
}

impl Running {
    /// Starts it. Must be called from the main thread: `PR_SET_PDEATHSIG` fires when the *thread*
    /// that started the child ends.
    ///
    /// # Errors
    /// The program cannot be started.
    pub fn start(
        start: Start<'_>,
        console: &Console,
        log: &Arc<Mutex<LogFile>>,
    ) -> io::Result<Self> {
        let parent = rustix::process::getpid();
        if rustix::thread::gettid() != parent {
            return Err(io::Error::other(
                "children must be started from the main thread",
            ));
        }
        let Start {
            mut command,
            death_signal,
            lock,
            name,
            echo,
        } = start;
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0) // a terminal's Ctrl-C is for us alone
            .kill_on_drop(true);
        // Our copy stays open as long as we live, and with it the number.
        let lock = lock.map(std::os::fd::AsRawFd::as_raw_fd);
        // SAFETY: only async-signal-safe system calls on plain numbers, no allocation.
        unsafe {
            command.pre_exec(move || {
                rustix::process::set_parent_process_death_signal(Some(death_signal))?;
                // We may have died before the line above took effect.
                if rustix::process::getppid() != Some(parent) {
                    return Err(io::Error::from(rustix::io::Errno::SRCH));
                }
                if let Some(lock) = lock {
                    // SAFETY: the parent holds this descriptor open across the fork.
                    let lock = std::os::fd::BorrowedFd::borrow_raw(lock);
                    rustix::io::fcntl_setfd(lock, rustix::io::FdFlags::empty())?;
                }
                Ok(())
            });
        }
        let mut child = command.spawn()?;
        let pid = child
            .id()
            .and_then(|id| Pid::from_raw(i32::try_from(id).ok()?))
            .ok_or_else(|| io::Error::other("a child without a process id"))?;
        let tail = Arc::new(Mutex::new(VecDeque::new()));
        let hear = |output| {
            let ear = Ear {
                name,
                echo,
                console: console.clone(),
                log: Arc::clone(log),
                tail: Arc::clone(&tail),
            };
            tokio::spawn(ear.hear(output))
        };
        let outputs: Vec<Box<dyn AsyncRead + Send + Unpin>> = child
            .stdout
            .take()
            .map(|out| Box::new(out) as _)
            .into_iter()
            .chain(child.stderr.take().map(|err| Box::new(err) as _))
            .collect();
        let outputs = outputs.into_iter().map(hear).collect();
        Ok(Self {
            child,
            pid,
            tail,
            outputs,
        })
    }

    /// Its process id.
    #[must_use]
    pub const fn pid(&self) -> Pid {
        self.pid
    }

    /// Waits for its end. May be dropped and called again.
    ///
    /// # Errors
    /// The operating system does not tell.
    pub async fn ended(&mut self) -> io::Result<ExitStatus> {
        self.child.wait().await
    }

    /// Asks it to end, then makes it end after `grace`, with its whole process group.
    pub async fn stop(&mut self, grace: Duration, kill: &tokio_util::sync::CancellationToken) {
        let _ = kill_process(self.pid, Signal::TERM);
        tokio::select! {
            _ = self.child.wait() => {}
            () = tokio::time::sleep(grace) => {}
            () = kill.cancelled() => {}
        }
        self.kill().await;
    }

    /// Ends it and its process group at once.
    pub async fn kill(&mut self) {
        // The group may live on when its leader has ended.
        let _ = kill_process_group(self.pid, Signal::KILL);
        let _ = self.child.wait().await;
        self.hear_out().await;
    }

    /// Reads what the ended child has left in its pipes.
    pub async fn hear_out(&mut self) {
        for mut output in self.outputs.drain(..) {
            if tokio::time::timeout(OUTPUT_WAIT, &mut output)
                .await
                .is_err()
            {
                output.abort();
            }
        }
    }

    /// Its last lines.
    #[must_use]
    pub fn tail(&self) -> Vec<String> {
        let tail = self
            .tail
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        tail.iter().cloned().collect()
    }
}

/// Hears one output of a child.
struct Ear {
    name: &'static str,
    echo: bool,
    console: Console,
    log: Arc<Mutex<LogFile>>,
    tail: Arc<Mutex<VecDeque<String>>>,
}

impl Ear {
    async fn hear(self, mut output: impl AsyncRead + Unpin) {
        let mut buffer = vec![0; LINE_BYTES_MAX];
        let mut line = Vec::new();
        loop {
            let n = match output.read(&mut buffer).await {
                Ok(0) | Err(_) => break,
                Ok(n) => n,
            };
            for &byte in &buffer[..n] {
                if byte == b'\n' {
                    self.line(&line);
                    line.clear();
                } else {
                    line.push(byte);
                    if line.len() == LINE_BYTES_MAX {
                        self.line(&line);
                        line.clear();
                    }
                }
            }
        }
        if !line.is_empty() {
            self.line(&line);
        }
    }

    fn line(&self, line: &[u8]) {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        self.log
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .line(line);
        let text = String::from_utf8_lossy(line);
        let text = visible(&text);
        if self.echo && !text.is_empty() {
            let name = self.console.paint().dim(format!("{:<6} |", self.name));
            let shown = match self.console.columns() {
                Some(columns) => for_terminal(&text, columns.saturating_sub(NAME_COLUMNS)),
                None => text.to_string(),
            };
            self.console.say(format!("{name} {shown}"));
        }
        let mut tail = self
            .tail
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        if tail.len() == TAIL_LINES {
            tail.pop_front();
        }
        tail.push_back(text.into_owned());
    }
}

/// A log line as a terminal shows it: of its time the hours to seconds, and no more than fits into `columns`. The log
/// file has all of it.
fn for_terminal(text: &str, columns: usize) -> String {
    let text = match text.split_once(' ') {
        Some((time, rest)) if time.parse::<jiff::Timestamp>().is_ok() => {
            let clock = time.split_once('T').map_or("", |(_, clock)| clock);
            let clock = clock.get(..8).unwrap_or(clock);
            Cow::Owned(format!("{clock} {}", rest.trim_start()))
        }
        _ => Cow::Borrowed(text),
    };
    shorten(&text, columns)
}

/// Ends what a dead child has left behind: as a subreaper we become the parent of such processes.
/// `ours` are the children that are to live.
pub fn sweep(ours: &[Pid]) {
    for (pid, _) in children()
        .into_iter()
        .filter(|(pid, _)| !ours.contains(pid))
    {
        let _ = kill_process(pid, Signal::KILL);
        let _ = waitpid(Some(pid), WaitOptions::NOHANG);
    }
}

/// Takes note of the end of processes that became ours, without touching those that live: the
/// worker may have its reasons for them. Else they would stay as zombies.
pub fn reap(ours: &[Pid]) {
    for (pid, ended) in children() {
        if ended && !ours.contains(&pid) {
            let _ = waitpid(Some(pid), WaitOptions::NOHANG);
        }
    }
}

/// All child processes of this process, and whether they have ended.
#[must_use]
pub fn children() -> Vec<(Pid, bool)> {
    let own = rustix::process::getpid().as_raw_nonzero().get();
    let Ok(entries) = std::fs::read_dir("/proc") else {
        return Vec::new();
    };
    entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<i32>().ok())
        .filter_map(|pid| {
            // `pid (name) state ppid …`; the name may hold anything, also brackets.
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
            let (_, rest) = stat.rsplit_once(") ")?;
            let mut fields = rest.split(' ');
            let (state, ppid) = (fields.next()?, fields.next()?.parse::<i32>().ok()?);
            (ppid == own).then_some((Pid::from_raw(pid)?, state == "Z"))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_line_fits_into_the_terminal_and_what_happened_comes_first() {
        let line = "2026-11-23T01:44:48.123Z  INFO accepted job_1 tenant.id=default lane=normal";
        assert_eq!(
            for_terminal(line, 80),
            "01:44:48 INFO accepted job_1 tenant.id=default lane=normal"
        );
        assert_eq!(for_terminal(line, 30), "01:44:48 INFO accepted job_1 …");
        assert_eq!(
            for_terminal("7:M 23 Nov 2026 ready", 80),
            "7:M 23 Nov 2026 ready"
        );
    }
}
