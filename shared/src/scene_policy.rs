//! The scene policy: what a scene may contain, checked before it is queued and again before it
//! is rendered.
//!
//! ```text
//! bytes ──decode──▶ SceneSource ──tokens──▶ tree ──walk──▶ findings   ──▶ CheckedScene
//!        (once)     (what is     (bounds    (own   └scenes▶ classes        or CheckError
//!                    compiled)    nesting)   thread)
//! ```
//!
//! It gives early, complete and friendly errors: all findings at once, each with its place, its
//! reason and a remedy. It is a courtesy and a first sieve, **not** the security boundary: Python
//! resolves names at run time, and whoever wants to get around these rules can. The sandbox is
//! the boundary, and its tests run with [`PolicyMode::Off`]. So where a rule would refuse honest
//! scenes to stop a dishonest one, it lets both pass.
//!
//! - Bytes are decoded once ([`SceneSource`]); the text that was checked is the text to compile.
//! - Hostile sources cost time and memory that are bounded: nesting is bounded before the parser
//!   sees it, the tree is built, walked and dropped in a thread with a stack of its own, and at
//!   most [`CHECKS_MAX`] such threads exist.
//! - A name that a function binds itself is the author's own: `input` as a parameter is fine,
//!   `input()` is not (see `names.rs`).

mod finding;
mod imports;
mod names;
mod rules;
mod scenes;
mod source;
mod syntax;
mod walk;

use std::fmt;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::str::FromStr;
use std::sync::Arc;
use std::task::{Context, Poll, Wake};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use clap::Args;
use ruff_python_ast::PythonVersion;
use ruff_python_parser::{Mode, ParseOptions, parse_unchecked};
use serde::{Deserialize, Serialize};
use tokio::sync::{Semaphore, SemaphorePermit, oneshot};
use utoipa::ToSchema;

pub use self::finding::{FINDINGS_MAX, Finding, FindingCode, Severity};
pub use self::imports::SceneImports;
pub use self::scenes::{
    SCENE_NAME_CHARS_MAX, SceneClass, SceneName, SceneSelectError, SelectedScene,
};
pub use self::source::{SOURCE_BYTES_MAX, SceneSource};

use self::finding::{Findings, Listed};

/// How many expressions, blocks and patterns may lie inside each other. CPython gives up at some
/// thousand, and at 200 brackets.
pub const NESTING_MAX: u32 = 500;

/// How many checks run at the same time in one process; others wait up to [`CHECK_TIME_MAX`].
pub const CHECKS_MAX: usize = 4;

/// How long one check may wait for its turn, and then how long it may take. A usual scene takes
/// about a millisecond; of 6,000 random hostile sources of 256 KiB none took longer than 1.3 s
/// (debug build).
pub const CHECK_TIME_MAX: Duration = Duration::from_secs(10);

/// The stack of a check: committed as it is used, so its size costs nothing. The walk stops at
/// [`NESTING_MAX`] levels, but a tree is dropped to its last one: up to 290 bytes for each of
/// 128 Ki levels (`a.a.a…`, 256 KiB; release build), more in a debug build.
const STACK_BYTES: usize = 512 * 1024 * 1024;

/// The oldest Python that a renderer may have (Debian 12). Newer syntax is a warning.
const OLDEST_PYTHON: PythonVersion = PythonVersion::PY311;

static CHECKS: Semaphore = Semaphore::const_new(CHECKS_MAX);

/// How strictly scenes are judged: `enforce`, `warn` or `off`.
///
/// Decoding, size, syntax and nesting are checked in every mode: without them there is no program.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum PolicyMode {
    /// A finding refuses the scene.
    #[default]
    Enforce,
    /// Findings are reported as warnings; the scene is accepted.
    Warn,
    /// The scene is not judged.
    Off,
}

impl PolicyMode {
    /// The text form, as in configuration.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Enforce => "enforce",
            Self::Warn => "warn",
            Self::Off => "off",
        }
    }
}

impl fmt::Display for PolicyMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A text that names no [`PolicyMode`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{given}` is not a scene policy: use `enforce`, `warn` or `off`")]
pub struct UnknownPolicyMode {
    given: String,
}

impl FromStr for PolicyMode {
    type Err = UnknownPolicyMode;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "enforce" => Ok(Self::Enforce),
            "warn" => Ok(Self::Warn),
            "off" => Ok(Self::Off),
            _ => Err(UnknownPolicyMode { given: short(text) }),
        }
    }
}

/// How scenes are judged here: settings of both programs, which judge alike only if these are the same.
#[derive(Debug, Clone, Default, PartialEq, Eq, Args)]
pub struct ScenePolicy {
    /// How strictly scene code is checked, before it is queued and again before it runs: enforce, warn or off.
    /// Not the security boundary, which is the sandbox. The API and all workers need the same setting
    #[arg(
        long = "scene-policy",
        env = "MANIMQ_SCENE_POLICY",
        value_name = "MODE",
        default_value_t
    )]
    pub mode: PolicyMode,

    /// Modules that scenes may import beside what every scene may, such as plugins of Manim that are installed
    /// where it is: manim_slides,shapely.geometry. The API and all workers need the same setting
    #[arg(
        long = "scene-imports",
        env = "MANIMQ_SCENE_IMPORTS",
        value_name = "MODULES",
        default_value_t,
        hide_default_value = true
    )]
    pub imports: SceneImports,
}

impl From<PolicyMode> for ScenePolicy {
    fn from(mode: PolicyMode) -> Self {
        Self {
            mode,
            imports: SceneImports::default(),
        }
    }
}

/// A scene file that may be rendered, as far as this policy can tell.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct CheckedScene {
    /// The text to compile, and no other.
    pub source: SceneSource,
    /// The scenes that the file defines, in its order.
    pub scenes: Vec<SceneClass>,
    /// Whether `scenes` are certainly all: `false` if a class has a base that only running the
    /// file can tell, or a function makes classes.
    pub scenes_certain: bool,
    /// What the author should know, in the file's order; at most [`FINDINGS_MAX`].
    pub warnings: Vec<Finding>,
    /// How many warnings were left out of `warnings`.
    pub warnings_omitted: u32,
}

impl CheckedScene {
    /// Selects the scene to render: the one `requested`, or the only one that draws something.
    ///
    /// # Errors
    ///
    /// No scene, several, none of that name, or no name at all. Never for a scene that might be
    /// there at run time: see [`SelectedScene::Unconfirmed`].
    pub fn select_scene(&self, requested: Option<&str>) -> Result<SelectedScene, SceneSelectError> {
        scenes::select(&self.scenes, self.scenes_certain, requested)
    }
}

/// Why a scene file may not be rendered: all findings that refuse it, in the file's order.
///
/// `Display` is for a person, one finding after the other, in a file called `scene.py`;
/// [`Rejected::in_file`] takes the file's real name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Rejected {
    /// At most [`FINDINGS_MAX`], each with [`Severity::Deny`]; never empty.
    pub findings: Vec<Finding>,
    /// How many more there are.
    pub omitted: u32,
}

impl Rejected {
    /// Shows the findings as those of the file `name`.
    pub fn in_file<'a>(&'a self, name: &'a str) -> impl fmt::Display + 'a {
        fmt::from_fn(move |f| {
            for (index, finding) in self.findings.iter().enumerate() {
                let newline = if index > 0 { "\n" } else { "" };
                write!(f, "{newline}{name}:{finding}")?;
            }
            match self.omitted {
                0 => Ok(()),
                1 => write!(f, "\nand 1 more finding"),
                more => write!(f, "\nand {more} more findings"),
            }
        })
    }
}

impl fmt::Display for Rejected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.in_file("scene.py").fmt(f)
    }
}

impl std::error::Error for Rejected {}

/// Why a check did not accept a scene.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    /// The scene's fault. Show it to its author; trying again changes nothing.
    #[error(transparent)]
    Rejected(#[from] Rejected),
    /// Too many checks were under way. Try again later.
    #[error("the scene was not checked: the service is busy with other scenes")]
    Busy,
    /// The check took longer than [`CHECK_TIME_MAX`]. Try again on a quieter machine.
    #[error("the scene was not checked: the check took longer than {} s", CHECK_TIME_MAX.as_secs())]
    TimedOut,
    /// The system gave no thread, or no 512 MiB of address space. Try again later; if it stays,
    /// look at `ulimit -v` and `vm.overcommit_memory`.
    #[error("the scene was not checked: no thread for the check")]
    NoThread(#[source] io::Error),
    /// A defect of the checker that this scene brings out. Trying again changes nothing; the
    /// panic's message went to standard error.
    #[error("the scene was not checked: the checker failed on it")]
    Defect,
}

impl CheckError {
    /// Whether the same scene may be accepted when it is checked again.
    pub const fn is_retryable(&self) -> bool {
        match self {
            Self::Busy | Self::TimedOut | Self::NoThread(_) => true,
            Self::Rejected(_) | Self::Defect => false,
        }
    }
}

/// Checks a scene file. Blocks for about a millisecond, at most for two [`CHECK_TIME_MAX`];
/// in async code call [`check_async`].
///
/// # Errors
///
/// [`CheckError::Rejected`] is for the author of the scene, all others are for the operator.
pub fn check(bytes: &[u8], policy: impl Into<ScenePolicy>) -> Result<CheckedScene, CheckError> {
    let source = decode(bytes)?;
    let permit = block_on(CHECKS.acquire(), CHECK_TIME_MAX).ok_or(CheckError::Busy)?;
    // The semaphore is never closed.
    let permit = permit.map_err(|_| CheckError::Busy)?;
    let answer = start_check(source, policy.into(), permit)?;
    match block_on(answer, CHECK_TIME_MAX) {
        Some(answer) => answer.unwrap_or(Err(CheckError::Defect)),
        None => Err(CheckError::TimedOut),
    }
}

/// Checks a scene file without blocking the runtime's threads. Dropping the future does not stop
/// a check that has begun, which keeps its place among the [`CHECKS_MAX`] until it ends.
///
/// # Errors
///
/// As [`check`].
pub async fn check_async(
    bytes: &[u8],
    policy: impl Into<ScenePolicy>,
) -> Result<CheckedScene, CheckError> {
    let policy = policy.into();
    let source = decode(bytes)?;
    let permit = tokio::time::timeout(CHECK_TIME_MAX, CHECKS.acquire())
        .await
        .map_err(|_| CheckError::Busy)?
        .map_err(|_| CheckError::Busy)?;
    let answer = start_check(source, policy, permit)?;
    match tokio::time::timeout(CHECK_TIME_MAX, answer).await {
        Ok(answer) => answer.unwrap_or(Err(CheckError::Defect)),
        Err(_) => Err(CheckError::TimedOut),
    }
}

fn decode(bytes: &[u8]) -> Result<SceneSource, Rejected> {
    SceneSource::decode(bytes).map_err(|finding| Rejected {
        findings: vec![*finding],
        omitted: 0,
    })
}

type Answer = Result<CheckedScene, CheckError>;

/// Checks `source` in a thread with a large stack, which holds `permit` until it is done.
fn start_check(
    source: SceneSource,
    policy: ScenePolicy,
    permit: SemaphorePermit<'static>,
) -> Result<oneshot::Receiver<Answer>, CheckError> {
    let (send, receive) = oneshot::channel();
    thread::Builder::new()
        .name("scene-check".to_owned())
        .stack_size(STACK_BYTES)
        .spawn(move || {
            let answer = catch_unwind(AssertUnwindSafe(|| check_here(source, &policy)))
                .unwrap_or(Err(CheckError::Defect));
            drop(permit);
            // Nobody waits any more: the caller gave up.
            let _ = send.send(answer);
        })
        .map_err(CheckError::NoThread)?;
    Ok(receive)
}

/// The check itself. The tree is made, read and dropped here, on the large stack.
fn check_here(source: SceneSource, policy: &ScenePolicy) -> Answer {
    let text = source.as_str();
    let mut findings = Findings::new(text, policy.mode);
    let mut found = scenes::Scenes::default();
    if let Some(range) = syntax::too_deep_to_parse(text) {
        syntax::report_depth(&mut findings, range);
    } else {
        let options = ParseOptions::from(Mode::Module).with_target_version(OLDEST_PYTHON);
        let parsed = parse_unchecked(text, options);
        // `Mode::Module` always gives a module.
        let parsed = parsed.try_into_module().ok_or(CheckError::Defect)?;
        let is_python = !syntax::report_errors(&mut findings, text, &parsed);
        if let Some(range) = syntax::too_deep(parsed.syntax()) {
            syntax::report_depth(&mut findings, range);
        } else {
            walk::walk(&mut findings, &policy.imports, text, parsed.syntax());
            found = scenes::find(&mut findings, parsed.syntax());
        }
        if is_python {
            for newer in parsed.unsupported_syntax_errors() {
                syntax::report_newer(&mut findings, newer);
            }
        }
    }
    let (denied, warned) = findings.finish();
    if !denied.findings.is_empty() {
        let Listed { findings, omitted } = denied;
        return Err(Rejected { findings, omitted }.into());
    }
    Ok(CheckedScene {
        source,
        scenes: found.classes,
        scenes_certain: found.certain,
        warnings: warned.findings,
        warnings_omitted: warned.omitted,
    })
}

/// Waits for a future on this thread, without a runtime, but not for longer than `limit`.
fn block_on<F: Future>(future: F, limit: Duration) -> Option<F::Output> {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let deadline = Instant::now() + limit;
    let waker = Arc::new(Unpark(thread::current())).into();
    let mut context = Context::from_waker(&waker);
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
            return Some(output);
        }
        let left = deadline.checked_duration_since(Instant::now())?;
        thread::park_timeout(left);
    }
}

/// `text` cut to a length that can be shown, without characters that could disturb a terminal.
fn short(text: &str) -> String {
    const CHARS_MAX: usize = 60;
    let mut shown: String = text
        .chars()
        .take(CHARS_MAX)
        .map(|c| match c {
            '\u{200e}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {
                '\u{fffd}'
            }
            c if c.is_control() => '\u{fffd}',
            c => c,
        })
        .collect();
    if text.chars().nth(CHARS_MAX).is_some() {
        shown.push('…');
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waiting_without_a_runtime_ends_with_the_limit() {
        assert_eq!(
            block_on(std::future::pending::<()>(), Duration::from_millis(5)),
            None
        );
        assert_eq!(block_on(std::future::ready(1), Duration::ZERO), Some(1));
        let (send, receive) = oneshot::channel();
        let sender = thread::spawn(move || send.send(2));
        assert_eq!(block_on(receive, Duration::from_secs(60)), Some(Ok(2)));
        sender.join().unwrap().unwrap();
    }

    #[test]
    fn codes_have_the_same_text_form_in_json_and_in_messages() {
        let codes = [
            FindingCode::SourceNotUtf8,
            FindingCode::RealTimeSleep,
            FindingCode::SyntaxError,
        ];
        for code in codes {
            assert_eq!(serde_json::to_value(code).unwrap(), code.as_str());
        }
        assert_eq!(
            serde_json::to_value(PolicyMode::Off).unwrap(),
            PolicyMode::Off.as_str()
        );
    }
}
