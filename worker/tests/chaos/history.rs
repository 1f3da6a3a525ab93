//! What the processes of a run saw, each in a file of its own.
//!
//! A record is one line of JSON and one `write` to a file opened for appending, so a process that
//! is killed leaves whole records up to its last moment.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::time::SystemTime;

use manimq_shared::ids::{Epoch, JobId, TenantId, WorkerId};
use manimq_shared::queue::CancelOutcome;
use serde::{Deserialize, Serialize};

/// What a job's render does; it travels in the job's source, as a comment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recipe {
    /// How long the first attempt takes.
    pub takes_ms: u64,
    /// How long later ones take.
    pub again_ms: u64,
    /// How it ends.
    pub fate: Fate,
}

/// How a render ends, if nothing comes between.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fate {
    Good,
    /// Good, and deaf to being told to stop.
    Stubborn,
    /// The user's own failure.
    SceneError,
    /// The sandbox breaks under the first attempt.
    BreaksOnce,
    /// The sandbox breaks under every attempt.
    BreaksAlways,
    /// The first attempt panics, as a bug would.
    PanicsOnce,
}

impl Recipe {
    const MARK: &str = "# chaos ";

    /// A scene that says so.
    pub fn source(&self) -> String {
        let recipe = serde_json::to_string(self).unwrap();
        format!(
            "{}{recipe}\nfrom manim import *\nclass A(Scene):\n    pass\n",
            Self::MARK
        )
    }

    /// What the scene says.
    pub fn of(source: &str) -> Self {
        let line = source.lines().next().unwrap_or_default();
        let recipe = line.strip_prefix(Self::MARK).expect("a scene of ours");
        serde_json::from_str(recipe).expect("a scene of ours")
    }
}

/// What a producer asks for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    pub tenant: TenantId,
    pub recipe: Recipe,
    pub deadline_s: Option<u32>,
    /// Idempotency key and fingerprint of the body.
    pub key: Option<(String, String)>,
}

/// What a submit was answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    Accepted,
    /// There is another job under this key.
    Exists(JobId),
    KeyReused(JobId),
    Full,
    Limited,
}

/// What a cancel was answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CancelAnswer {
    Canceled,
    Requested,
    AlreadyTerminal,
    NotFound,
}

impl From<CancelOutcome> for CancelAnswer {
    fn from(outcome: CancelOutcome) -> Self {
        match outcome {
            CancelOutcome::Canceled => Self::Canceled,
            CancelOutcome::Requested => Self::Requested,
            CancelOutcome::AlreadyTerminal => Self::AlreadyTerminal,
            CancelOutcome::NotFound => Self::NotFound,
        }
    }
}

/// One thing that a process did or was told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "snake_case")]
pub enum What {
    /// A producer is about to submit. Until the answer is known the job may or may not be there.
    Submitting {
        job: JobId,
        order: Order,
    },
    Submitted {
        job: JobId,
        answer: Answer,
    },
    Canceling {
        job: JobId,
    },
    CancelAnswered {
        job: JobId,
        answer: CancelAnswer,
    },
    /// A worker process tells its id.
    WorkerIs {
        worker: WorkerId,
    },
    Claimed {
        job: JobId,
        epoch: Epoch,
    },
    Started {
        job: JobId,
        epoch: Epoch,
    },
    /// An attempt was settled; the worker's own word for the queue's answer.
    Ended {
        job: JobId,
        epoch: Epoch,
        outcome: String,
    },
    /// The driver did something to a process or to the server.
    Fault {
        fault: String,
        target: String,
    },
}

impl What {
    /// The job that it is about.
    pub fn job(&self) -> Option<JobId> {
        match self {
            Self::Submitting { job, .. }
            | Self::Submitted { job, .. }
            | Self::Canceling { job }
            | Self::CancelAnswered { job, .. }
            | Self::Claimed { job, .. }
            | Self::Started { job, .. }
            | Self::Ended { job, .. } => Some(*job),
            Self::WorkerIs { .. } | Self::Fault { .. } => None,
        }
    }
}

/// One line of a history.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Microseconds since the epoch, by the clock that Redis on this machine reads too.
    pub at_us: u64,
    /// Which process.
    pub who: String,
    #[serde(flatten)]
    pub what: What,
}

pub fn now_us() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    u64::try_from(since.expect("after 1970").as_micros()).expect("before the year 586,000")
}

/// Where one process writes what it saw.
#[derive(Debug)]
pub struct History {
    file: File,
    who: String,
}

impl History {
    pub fn open(path: &Path, who: &str) -> Self {
        let file = File::options().create(true).append(true).open(path);
        Self {
            file: file.expect("a file for the history"),
            who: who.to_owned(),
        }
    }

    pub fn note(&self, what: What) {
        self.note_all([what]);
    }

    /// Writes several records at once.
    pub fn note_all(&self, all: impl IntoIterator<Item = What>) {
        let mut lines = Vec::new();
        for what in all {
            let record = Record {
                at_us: now_us(),
                who: self.who.clone(),
                what,
            };
            serde_json::to_writer(&mut lines, &record).unwrap();
            lines.push(b'\n');
        }
        (&self.file).write_all(&lines).expect("room on the disk");
    }
}

/// The records of one process, in their order. A last line that a kill cut short is left out.
pub fn read(path: &Path) -> Vec<Record> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    whole
        .lines()
        .map(|line| serde_json::from_str(line).expect("a record"))
        .collect()
}
