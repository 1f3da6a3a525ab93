//! Keeps one child alive: restarts it with growing pauses, and gives up when that does not help.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};
use tokio::process::Command;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::child::{Running, Start};
use super::console::Console;
use super::logfile::LogFile;
use crate::exit::{Exit, Failure};

/// A child that lived less than this failed quickly.
const QUICK: Duration = Duration::from_secs(10);
/// So many quick failures in a row are enough.
const QUICK_MAX: u32 = 5;
/// Pause before the first restart; doubles up to [`PAUSE_MAX`].
const PAUSE: Duration = Duration::from_millis(250);
/// Longest pause.
const PAUSE_MAX: Duration = Duration::from_secs(10);

/// What to keep alive.
pub struct Part {
    /// Its name in messages and of its log.
    pub name: &'static str,
    /// Builds the command anew for each start.
    pub command: Box<dyn Fn() -> Command + Send>,
    /// See [`Start::death_signal`].
    pub death_signal: Signal,
    /// See [`Start::lock`].
    pub lock: Option<std::fs::File>,
    /// Whether its log goes to the terminal as well.
    pub echo: bool,
    /// How long it may take to end by itself.
    pub grace: Duration,
}

/// The children that run now; shared, so that orphans can be told from them.
pub type Alive = Arc<Mutex<Vec<Pid>>>;

/// A part that is kept alive.
pub struct Kept {
    name: &'static str,
    stop: CancellationToken,
    ready: CancellationToken,
    task: JoinHandle<()>,
}

/// What all parts share.
#[derive(Clone)]
pub struct Common {
    /// The terminal.
    pub console: Console,
    /// The children that run now.
    pub alive: Alive,
    /// Cancelled by the second signal: no more grace.
    pub kill: CancellationToken,
    /// Where a part says that it gives up. One message ends everything.
    pub gave_up: mpsc::Sender<Failure>,
}

impl Kept {
    /// Starts a part and keeps it alive until [`Kept::stop`].
    #[must_use]
    pub fn start(part: Part, log: LogFile, common: Common) -> Self {
        let name = part.name;
        let stop = CancellationToken::new();
        let ready = CancellationToken::new();
        let task = tokio::spawn(keep(part, log, common, stop.clone(), ready.clone()));
        Self {
            name,
            stop,
            ready,
            task,
        }
    }

    /// From now on the part's death is an accident. Before, it is a failed start, which is not tried again.
    pub fn is_ready(&self) {
        self.ready.cancel();
    }

    /// Stops it and waits until it has ended.
    pub async fn stop(self, console: &Console) {
        self.stop.cancel();
        if let Err(error) = self.task.await {
            console.say(format!(
                "{} {}: {error}",
                console.paint().error("error:"),
                self.name
            ));
        }
    }
}

async fn keep(
    part: Part,
    log: LogFile,
    common: Common,
    stop: CancellationToken,
    ready: CancellationToken,
) {
    let Common {
        console,
        alive,
        kill,
        gave_up,
    } = common;
    let paint = console.paint();
    let log_path = log.path().display().to_string();
    let log = Arc::new(Mutex::new(log));
    let alive = || {
        alive
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    };
    let name = part.name;
    let mut quick_failures = 0;
    let mut pause = PAUSE;
    loop {
        let command = (part.command)();
        let program = command
            .as_std()
            .get_program()
            .to_string_lossy()
            .into_owned();
        let start = Start {
            command,
            death_signal: part.death_signal,
            lock: part.lock.as_ref(),
            name,
            echo: part.echo,
        };
        let began = Instant::now();
        let (why, tail) = match Running::start(start, &console, &log) {
            Ok(mut running) => {
                let pid = running.pid();
                alive().push(pid);
                let ended = tokio::select! {
                    ended = running.ended() => Some(ended),
                    () = stop.cancelled() => None,
                };
                match ended {
                    None => running.stop(part.grace, &kill).await,
                    Some(_) => running.kill().await, // what it left in its group
                }
                alive().retain(|p| *p != pid);
                super::child::sweep(&alive());
                let Some(ended) = ended else { return };
                let status = ended.map_or_else(|e| e.to_string(), |status| status.to_string());
                (format!("{name} ended by itself ({status})"), running.tail())
            }
            Err(error) => (format!("{program} cannot be started: {error}"), Vec::new()),
        };
        let lines = |tail: &[String]| {
            tail.iter()
                .map(|line| format!("\n    {line}"))
                .collect::<String>()
        };
        if began.elapsed() < QUICK {
            quick_failures += 1;
        } else {
            quick_failures = 1;
            pause = PAUSE;
        }
        let give_up = |message: String| {
            Failure::new(Exit::Failed, "child-failed", message).hint(format!("its log: {log_path}"))
        };
        if !ready.is_cancelled() {
            let _ = gave_up
                .send(give_up(format!(
                    "{why} before it was ready{}",
                    lines(&tail)
                )))
                .await;
            return;
        }
        if quick_failures >= QUICK_MAX {
            let message = format!(
                "{why}, the {quick_failures}th time in a row{}",
                lines(&tail)
            );
            let _ = gave_up.send(give_up(message)).await;
            return;
        }
        console.say(format!(
            "{} {why}; starting it again in {} ms{}",
            paint.warning("warning:"),
            pause.as_millis(),
            lines(&tail)
        ));
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = stop.cancelled() => return,
        }
        pause = (pause * 2).min(PAUSE_MAX);
    }
}
