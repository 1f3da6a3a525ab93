//! What `up` and its children write to standard error: through one thread and a bounded queue, so
//! that a terminal that does not take it never stops the supervision.

use std::io::{IsTerminal as _, Write as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use crate::admin::show::plural;
use crate::term::Paint;

/// Lines that may wait for the terminal.
const WAITING_MAX: usize = 4_096;

/// A handle on the terminal; clones write to the same one.
#[derive(Clone)]
pub struct Console {
    lines: SyncSender<Line>,
    lost: Arc<AtomicU64>,
    paint: Paint,
}

enum Line {
    Text(String),
    Flush(SyncSender<()>),
}

impl Console {
    /// Starts the thread that writes. It ends with the last handle.
    #[must_use]
    pub fn start(paint: Paint) -> Self {
        let (lines, waiting) = sync_channel(WAITING_MAX);
        let lost = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&lost);
        // Not joined: a terminal that hangs must not hold the program's end.
        std::thread::spawn(move || write(&waiting, &counter));
        Self { lines, lost, paint }
    }

    /// Its colours.
    #[must_use]
    pub const fn paint(&self) -> Paint {
        self.paint
    }

    /// Columns of the terminal; `None` if there is none.
    #[must_use]
    pub fn columns(&self) -> Option<usize> {
        if !std::io::stderr().is_terminal() {
            return None;
        }
        let (columns, _) = ratatui::crossterm::terminal::size().ok()?;
        Some(usize::from(columns)).filter(|columns| *columns > 0)
    }

    /// Prints lines. If too many wait already they are lost, and that is said later.
    pub fn say(&self, text: impl Into<String>) {
        if self.lines.try_send(Line::Text(text.into())).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Waits until what was said is written, for at most `limit`.
    pub fn flush(&self, limit: Duration) {
        let end = Instant::now() + limit;
        let (done, written) = sync_channel(1);
        let mut line = Line::Flush(done);
        while let Err(error) = self.lines.try_send(line) {
            if Instant::now() >= end {
                return;
            }
            line = match error {
                std::sync::mpsc::TrySendError::Full(line) => line,
                std::sync::mpsc::TrySendError::Disconnected(_) => return,
            };
            std::thread::sleep(Duration::from_millis(10));
        }
        let _ = written.recv_timeout(end.saturating_duration_since(Instant::now()));
    }
}

fn write(waiting: &Receiver<Line>, lost: &AtomicU64) {
    loop {
        match waiting.recv_timeout(Duration::from_secs(1)) {
            Ok(Line::Text(text)) => {
                // A reader who has gone away is no reason to stop.
                let _ = writeln!(std::io::stderr().lock(), "{}", text.trim_end_matches('\n'));
            }
            Ok(Line::Flush(done)) => {
                let _ = done.send(());
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        let lost = lost.swap(0, Ordering::Relaxed);
        if lost > 0 {
            let _ = writeln!(
                std::io::stderr().lock(),
                "… {} came faster than could be shown; the log files have all",
                plural(lost, "line")
            );
        }
    }
}
