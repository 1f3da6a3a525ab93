//! A switch at every call of the counterpart.

use std::sync::Mutex;

use crate::cloud::lock;

/// What goes wrong.
#[derive(Debug, Clone, PartialEq)]
pub enum What {
    /// The connection ends without an answer; nothing was done.
    Reset,
    /// The edge answers in its own way; nothing was done.
    Html(u16),
    /// It was done, and the edge has given up meanwhile.
    DoneThenHtml(u16),
    /// It was done, and the connection broke.
    DoneThenReset,
    /// 429 with `Retry-After`.
    TooMany(u32),
    /// Half of the body.
    Truncated,
    /// The second half of the body comes a second later.
    Slow,
    /// The sandbox is deleted just then.
    Gone,
    /// The key is revoked just then.
    Revoked,
    /// The sandbox's server starts anew: all processes are gone, and nobody knows of them.
    NoProcesses,
}

/// One fault: which call, after how many that go well, how often.
#[derive(Debug, Clone)]
pub struct Fault {
    pub call: &'static str,
    pub after: u32,
    pub times: u32,
    pub what: What,
}

impl Fault {
    pub fn once(call: &'static str, what: What) -> Self {
        Self {
            call,
            after: 0,
            times: 1,
            what,
        }
    }

    pub fn always(call: &'static str, what: What) -> Self {
        Self {
            times: u32::MAX,
            ..Self::once(call, what)
        }
    }
}

#[derive(Default)]
pub struct Faults(Mutex<Vec<Fault>>);

impl Faults {
    pub fn add(&self, fault: Fault) {
        lock(&self.0).push(fault);
    }

    pub fn clear(&self) {
        lock(&self.0).clear();
    }

    pub fn left(&self) -> usize {
        lock(&self.0).len()
    }

    pub fn take(&self, call: &str) -> Option<Fault> {
        let mut faults = lock(&self.0);
        let index = faults.iter().position(|fault| fault.call == call)?;
        let fault = &mut faults[index];
        if fault.after > 0 {
            fault.after -= 1;
            return None;
        }
        fault.times -= 1;
        let taken = fault.clone();
        if taken.times == 0 {
            faults.remove(index);
        }
        Some(taken)
    }
}
