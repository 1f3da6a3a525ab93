//! How a command ends: the exit statuses, and a failure with its words.

use std::fmt::Display;

use serde::Serialize;

use crate::client::ClientError;
use crate::term::{Paint, visible_lines};

/// Exit status of `manimq`; scripts branch on these, so they never change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Exit {
    /// All went well.
    Ok = 0,
    /// A job failed, its file could not be had, or the command could not do its work.
    Failed = 1,
    /// The command or the request is wrong.
    Usage = 2,
    /// A quota is used up.
    Quota = 3,
    /// `--wait-timeout` passed; the job goes on.
    WaitTimedOut = 4,
    /// The job was cancelled.
    Canceled = 5,
    /// The server cannot be reached or does not work.
    Unreachable = 6,
}

impl Exit {
    /// The number.
    #[must_use]
    pub const fn code(self) -> u8 {
        self as u8
    }
}

impl From<Exit> for std::process::ExitCode {
    fn from(exit: Exit) -> Self {
        exit.code().into()
    }
}

/// Why a command stopped, in words for a person and a slug for a program.
#[derive(Debug, Clone, Serialize)]
pub struct Failure {
    /// The exit status.
    #[serde(skip)]
    pub exit: Exit,
    /// A slug such as `server-unreachable`; the server's own for its problems.
    #[serde(rename = "type")]
    pub kind: String,
    /// What is wrong.
    pub message: String,
    /// What to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// The server's problem object, if it sent one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<Box<manimq_shared::api::Problem>>,
    /// Whether [`Failure::report`] has nothing to add: it was printed where it happened.
    #[serde(skip)]
    pub told: bool,
}

impl Failure {
    /// A failure without a hint.
    #[must_use]
    pub fn new(exit: Exit, kind: impl Into<String>, message: impl Display) -> Self {
        Self {
            exit,
            kind: kind.into(),
            message: message.to_string(),
            hint: None,
            problem: None,
            told: false,
        }
    }

    /// The command line is wrong.
    #[must_use]
    pub fn usage(message: impl Display) -> Self {
        Self::new(Exit::Usage, "usage", message)
    }

    /// The same with advice.
    #[must_use]
    pub fn hint(mut self, hint: impl Display) -> Self {
        self.hint = Some(hint.to_string());
        self
    }

    /// `error: …` and `hint: …`, safe to print.
    #[must_use]
    pub fn report(&self, paint: Paint) -> String {
        let mut text = String::new();
        for (i, line) in visible_lines(&self.message).enumerate() {
            if i == 0 {
                text.push_str(&format!("{} {line}\n", paint.error("error:")));
            } else {
                text.push_str(&format!("  {line}\n"));
            }
        }
        if let Some(problem) = &self.problem
            && problem.errors.len() > 1
        {
            for error in &problem.errors {
                let pointer = crate::term::visible(&error.pointer);
                let detail = crate::term::visible(&error.detail);
                text.push_str(&format!("  {}: {detail}\n", paint.strong(pointer)));
            }
        }
        if let Some(hint) = &self.hint {
            for (i, line) in visible_lines(hint).enumerate() {
                if i == 0 {
                    text.push_str(&format!("  {} {line}\n", paint.good("hint:")));
                } else {
                    text.push_str(&format!("        {line}\n"));
                }
            }
        }
        text
    }

    /// `{"error": {…}, "exit_code": n}`, for `--json`.
    #[must_use]
    pub fn to_json(&self) -> serde_json::Value {
        serde_json::json!({ "error": self, "exit_code": self.exit.code() })
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        let message = error.to_string();
        match error {
            ClientError::ServerUrl { .. } => {
                Self::usage(message).hint("give --server http://HOST:PORT, or set MANIMQ_SERVER")
            }
            ClientError::Unreachable { .. } => {
                Self::new(Exit::Unreachable, "server-unreachable", message).hint(
                    "start one with `manimq up` (or `deploy/up` in a checkout),\n\
                     or set MANIMQ_SERVER or --server to one that runs",
                )
            }
            ClientError::Cut { .. } => Self::new(Exit::Unreachable, "connection-cut", message),
            ClientError::NotManimq { .. } => Self::new(Exit::Unreachable, "not-manimq", message)
                .hint("check --server or MANIMQ_SERVER: something else may listen there"),
            ClientError::Download { .. } => Self::new(Exit::Failed, "download-failed", message),
            ClientError::Read { .. } => Self::new(Exit::Usage, "cannot-read", message),
            ClientError::Write { .. } => Self::new(Exit::Failed, "cannot-write", message),
            ClientError::Problem {
                problem,
                retry_after,
            } => {
                let hint = match problem.kind.as_str() {
                    "unauthenticated" => Some("set MANIMQ_API_KEY to a key of this server"),
                    "host-not-allowed" => Some(
                        "reach it as http://127.0.0.1:PORT or by its MANIMQ_PUBLIC_URL, or give it an API key",
                    ),
                    "url-expired" | "signature-invalid" => {
                        Some("get a fresh URL from the job: `manimq get ID`")
                    }
                    _ => None,
                };
                let hint = hint.map(str::to_owned);
                let (exit, hint) = match problem.status {
                    401 | 403 => (Exit::Usage, hint),
                    429 => (
                        Exit::Quota,
                        retry_after.map(|wait| format!("try again in {} s", wait.as_secs().max(1))),
                    ),
                    500.. => (Exit::Unreachable, None),
                    _ => (Exit::Usage, None),
                };
                Self {
                    exit,
                    kind: problem.kind.clone(),
                    message,
                    hint,
                    problem: Some(problem),
                    told: false,
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_gets_the_hint_that_fits_it() {
        for (kind, status, words) in [
            ("unauthenticated", 401, Some("MANIMQ_API_KEY")),
            ("host-not-allowed", 403, Some("127.0.0.1")),
            ("url-expired", 403, Some("manimq get")),
            ("signature-invalid", 403, Some("manimq get")),
            ("something-new", 403, None),
        ] {
            let problem = serde_json::from_value(serde_json::json!({
                "type": kind, "title": kind, "status": status, "detail": "no",
            }));
            let failure = Failure::from(ClientError::Problem {
                problem: problem.unwrap(),
                retry_after: None,
            });
            assert_eq!(failure.exit, Exit::Usage);
            match (words, failure.hint) {
                (Some(words), Some(hint)) => assert!(hint.contains(words), "{kind}: {hint}"),
                (None, None) => {}
                (_, hint) => panic!("{kind}: {hint:?}"),
            }
        }
    }

    #[test]
    fn a_failure_reads_like_one_and_cannot_drive_the_terminal() {
        let failure = Failure::usage("no \x1b[1msuch file\nsecond line").hint("look again");
        assert_eq!(
            failure.report(Paint::PLAIN),
            "error: no \\u{1b}[1msuch file\n  second line\n  hint: look again\n"
        );
        assert_eq!(failure.to_json()["exit_code"], 2);
        assert_eq!(failure.to_json()["error"]["type"], "usage");
    }
}
