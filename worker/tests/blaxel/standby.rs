//! Standby: all that runs in a sandbox is frozen, until a request comes.

use std::collections::BTreeSet;
use std::io;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::cloud::lock;

#[derive(Default)]
pub struct Standby {
    stopped: Mutex<Vec<i32>>,
    on: AtomicBool,
    breaks_streams: AtomicBool,
}

impl Standby {
    /// Stops these processes and all that they have started. Streams end as connections to a
    /// sandbox in standby do, or hang.
    pub fn begin(&self, pids: impl Iterator<Item = u32>, breaks_streams: bool) {
        self.breaks_streams.store(breaks_streams, Ordering::Relaxed);
        self.on.store(true, Ordering::Relaxed);
        let pids = pids.map(|pid| i32::try_from(pid).expect("a process number"));
        let mut all: BTreeSet<i32> = pids.collect();
        let mut stopped = BTreeSet::new();
        // Who was started while the others were stopped is found the next time round.
        while stopped != all {
            for &pid in all.difference(&stopped) {
                send(pid, libc::SIGSTOP);
            }
            stopped.clone_from(&all);
            for (pid, parent) in parents() {
                if stopped.contains(&parent) {
                    all.insert(pid);
                }
            }
        }
        *lock(&self.stopped) = stopped.into_iter().collect();
    }

    pub fn end(&self) {
        for pid in lock(&self.stopped).drain(..) {
            send(pid, libc::SIGCONT);
        }
        self.on.store(false, Ordering::Relaxed);
    }

    pub fn is_on(&self) -> bool {
        self.on.load(Ordering::Relaxed)
    }

    pub fn breaks_streams(&self) -> bool {
        self.is_on() && self.breaks_streams.load(Ordering::Relaxed)
    }

    pub fn broken(&self) -> io::Error {
        io::Error::other("the sandbox sleeps")
    }
}

fn send(pid: i32, signal: i32) {
    // SAFETY: a system call on numbers; they are of processes that the counterpart started.
    unsafe { libc::kill(pid, signal) };
}

/// Every process with its parent.
fn parents() -> Vec<(i32, i32)> {
    let all = std::fs::read_dir("/proc").expect("/proc").flatten();
    all.filter_map(|entry| {
        let pid = entry.file_name().to_str()?.parse().ok()?;
        let stat = std::fs::read_to_string(entry.path().join("stat")).ok()?;
        let (_, rest) = stat.rsplit_once(')')?;
        Some((pid, rest.split_whitespace().nth(1)?.parse().ok()?))
    })
    .collect()
}
