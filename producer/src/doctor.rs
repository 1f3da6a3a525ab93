//! `manimq doctor`: whether this machine and the server can work, and what to do about what cannot.
//!
//! Every check has an end: the longest is the sandbox's own, which renders a tiny scene.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, SystemTime};

use clap::Args;
use manimq_shared::api::{Problem, Ready, UsageView};
use manimq_shared::ids::TenantId;
use manimq_shared::job::Paused;
use manimq_shared::queue::{Queue, RedisConfig, redact};
use serde::Serialize;
use serde_json::{Value, json};
use tokio::process::Command;
use tokio::time::timeout;

use crate::admin::show::{pause, plural};
use crate::admin::table::{Table, Tone, cell};
use crate::admin::{Answer, conclude};
use crate::api::health::NO_STORAGE;
use crate::cli::{self, ServerArgs};
use crate::client::ClientError;
use crate::exit::{Exit, Failure};
use crate::llm::{Llm, LlmArgs};
use crate::metrics::LlmMetrics;
use crate::term::{Paint, visible, visible_lines};
use crate::up::parts::{find_program, without_keys, worker_program};

/// The check of the API key.
const KEY: &str = "api key";
/// The check whether a job would run.
const JOBS: &str = "jobs";
/// Where Redis is looked for if nothing is set.
const REDIS_DEFAULT: &str = "redis://127.0.0.1:6379/0";
/// Longest that the sandbox's own check may take.
const VERIFY_MAX: Duration = Duration::from_secs(180);
/// Longest that a small program may take.
const PROGRAM_MAX: Duration = Duration::from_secs(20);
/// Clocks may differ by this much: signed addresses and leases allow for more.
const SKEW_MAX: Duration = Duration::from_secs(5);
/// Redis should not be fuller than this.
const FULL_FROM: f64 = 0.9;

/// Flags of `manimq doctor`.
#[derive(Debug, Args)]
#[command(after_help = "\
Exit status 1 if something is wrong that keeps jobs from being rendered; warnings do not count.

Examples:
  manimq doctor
  MANIMQ_LLM_URL=http://127.0.0.1:11434/v1 MANIMQ_LLM_MODEL=NAME manimq doctor
  manimq doctor --json | jq '.checks[] | select(.status != \"ok\")'")]
pub struct DoctorArgs {
    /// Address of Redis, as the server has it; its password is never shown
    #[arg(long, env = "REDIS_URL", hide_env_values = true, value_name = "URL")]
    redis_url: Option<String>,
    /// The program manimq-worker [default: beside this program, or in PATH]
    #[arg(long, env = "MANIMQ_WORKER_BIN", value_name = "PROGRAM")]
    worker_bin: Option<PathBuf>,
    /// Answer with one JSON document
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    llm: LlmArgs,
    #[command(flatten)]
    server: ServerArgs,
}

/// How a check ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum State {
    Ok,
    Warning,
    Failed,
    Skipped,
}

#[derive(Debug, Serialize)]
struct Check {
    name: &'static str,
    status: State,
    found: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    fix: Option<String>,
}

fn ok(name: &'static str, found: impl Into<String>) -> Check {
    Check {
        name,
        status: State::Ok,
        found: found.into(),
        fix: None,
    }
}

fn bad(
    name: &'static str,
    status: State,
    found: impl Into<String>,
    fix: impl Into<String>,
) -> Check {
    Check {
        name,
        status,
        found: found.into(),
        fix: Some(fix.into()),
    }
}

impl DoctorArgs {
    /// Runs the command.
    pub async fn run(self) -> Exit {
        conclude(self.look().await, self.json)
    }

    async fn look(&self) -> Result<Answer, Failure> {
        let mut checks = Vec::new();
        let up = self.look_at_server(&mut checks).await?;
        self.look_at_redis(up, &mut checks).await;
        self.look_at_sandbox(&mut checks).await;
        checks.push(fonts().await);
        checks.extend(self.look_at_model().await);
        let failed = checks.iter().any(|check| check.status == State::Failed);
        Ok(Answer {
            text: show(&checks, Paint::stdout()),
            json: json!({ "checks": checks }),
            exit: if failed { Exit::Failed } else { Exit::Ok },
        })
    }

    /// Whether the server answers.
    async fn look_at_server(&self, checks: &mut Vec<Check>) -> Result<bool, Failure> {
        let client = self.server.client()?;
        let at = client.server().to_owned();
        match client.healthy().await {
            Ok((true, _)) => checks.push(ok("server", at)),
            Ok((false, _)) => {
                let fix = "check --server or MANIMQ_SERVER: something else may listen there";
                checks.push(bad(
                    "server",
                    State::Failed,
                    format!("{at} answers, but not like manimq"),
                    fix,
                ));
                return Ok(false);
            }
            Err(error) => {
                let fix =
                    "start one with `manimq up`, or name another with --server or MANIMQ_SERVER";
                checks.push(bad("server", State::Failed, error.to_string(), fix));
                return Ok(false);
            }
        }
        let storage = |stored: bool| {
            if stored {
                return ok("storage", "the server stores and reads a file");
            }
            let fix = "make room on its disk, or check MANIMQ_STORAGE and the bucket's variables (AWS_…, GOOGLE_…, AZURE_…) of `manimq serve`: started anew, it says what it lacks";
            let found = "the server cannot store a file";
            bad("storage", State::Failed, found, fix)
        };
        let usage = client.usage().await;
        checks.push(match &usage {
            Ok(usage) => key_is_good(&usage.tenant),
            Err(error) => key_is_refused(error),
        });
        let tenant = usage.ok();
        let jobs = match client.ready().await {
            Ok((true, body)) => {
                checks.push(storage(true));
                would_run(serde_json::from_str(&body).ok(), tenant.as_ref())
            }
            Ok((false, body)) => {
                let problem = serde_json::from_str::<Problem>(&body);
                if let Ok(problem) = &problem {
                    checks.push(storage(!problem.detail.contains(NO_STORAGE)));
                }
                let found =
                    problem.map_or_else(|_| "would not run".to_owned(), |problem| problem.detail);
                let fix = "mend what it names; a worker is started by `manimq up`, or by `manimq-worker run`";
                bad(JOBS, State::Failed, found, fix)
            }
            Err(error) => bad(
                JOBS,
                State::Failed,
                error.to_string(),
                "look at the server's log",
            ),
        };
        checks.push(jobs);
        Ok(true)
    }

    /// Whether the language model answers, if one is set.
    async fn look_at_model(&self) -> Option<Check> {
        const NAME: &str = "language model";
        // Prompts that fit a template need none, so nothing here keeps jobs from being rendered.
        let warn = |found: String, fix: &str| Some(bad(NAME, State::Warning, found, fix));
        let config = match self.llm.config(Duration::ZERO) {
            Ok(config) => config?,
            Err(error) => {
                let fix = "correct the setting that it names, for `manimq serve` too";
                return warn(format!("{error:#}"), fix);
            }
        };
        manimq_shared::tls::choose_cryptography();
        let ca_file = std::env::var_os("MANIMQ_CA_FILE").filter(|path| !path.is_empty());
        let ca_file = ca_file.as_deref().map(std::path::Path::new);
        match Llm::new(config, ca_file, LlmMetrics::default()) {
            Ok(llm) => match llm.probe().await {
                Ok(took) => {
                    let model = visible(llm.model()).into_owned();
                    let found = format!("{model} answers, after {:.1} s", took.as_secs_f64());
                    Some(ok(NAME, found))
                }
                Err(reason) => warn(
                    reason,
                    "check MANIMQ_LLM_URL (up to what stands before /chat/completions), MANIMQ_LLM_MODEL and MANIMQ_LLM_KEY; without it prompts are planned by templates alone",
                ),
            },
            Err(error) => warn(format!("{error:#}"), "correct the setting that it names"),
        }
    }

    async fn look_at_redis(&self, server_is_up: bool, checks: &mut Vec<Check>) {
        if self.redis_url.is_none() && server_is_up {
            checks.push(bad(
                "redis",
                State::Skipped,
                "REDIS_URL is not set; the server has its own",
                "to check it as well, give --redis-url or REDIS_URL as `manimq serve` has it (`manimq up` prints it with its log)",
            ));
            return;
        }
        let url = self.redis_url.as_deref().unwrap_or(REDIS_DEFAULT);
        let shown = redact(url);
        let looked = async {
            let queue = Queue::new(&RedisConfig::from_env(url.to_owned())?)?;
            let info: String = queue.query(redis::cmd("INFO").arg("everything")).await?;
            let time: Vec<u64> = queue.query(&redis::cmd("TIME")).await?;
            Ok::<_, manimq_shared::queue::QueueError>((info, time))
        };
        match looked.await {
            Ok((info, time)) => judge_redis(&shown, &info, &time, checks),
            Err(error) => {
                let failure = Failure::from(error);
                checks.push(bad(
                    "redis",
                    State::Failed,
                    format!("{shown}: {}", failure.message),
                    "start Redis 7 or newer, or name the one that runs with --redis-url or REDIS_URL; `manimq up` brings its own",
                ));
            }
        }
    }

    async fn look_at_sandbox(&self, checks: &mut Vec<Check>) {
        let program = match worker_program(self.worker_bin.as_deref()) {
            Ok(program) => program,
            Err(failure) => {
                checks.push(bad(
                    "sandbox",
                    State::Skipped,
                    failure.message,
                    "needed only where jobs are rendered; there, build it with `cargo build --release` or name it with --worker-bin",
                ));
                return;
            }
        };
        let mut command = Command::new(&program);
        command.args(["verify", "--json"]);
        without_keys(&mut command);
        match output(command, VERIFY_MAX).await {
            Ok((true, out, _)) => judge_sandbox(&out, checks),
            Ok((false, _, err)) => checks.push(bad(
                "sandbox",
                State::Failed,
                last_words(&err),
                "do what it says; `deploy/setup` installs what is missing, and `manimq-worker verify` tries again",
            )),
            Err(reason) => checks.push(bad(
                "sandbox",
                State::Failed,
                format!("{}: {reason}", program.display()),
                "run `manimq-worker verify` to see more",
            )),
        }
    }
}

fn key_is_good(tenant: &TenantId) -> Check {
    let which = if cli::api_key().is_some() {
        "taken"
    } else {
        "none set, and none wanted"
    };
    ok(KEY, format!("{which}: tenant {tenant}"))
}

/// Why a call that needs a key was not answered, and what to do.
fn key_is_refused(error: &ClientError) -> Check {
    let fix = match error {
        ClientError::Problem { problem, .. } if problem.kind == "unauthenticated" => {
            if cli::api_key().is_some() {
                "MANIMQ_API_KEY is no key of this server, or one that has ended: set another; an operator makes one with `manimq admin keys create`"
            } else {
                "set MANIMQ_API_KEY to a key of this server; an operator makes one with `manimq admin keys create`"
            }
        }
        ClientError::Problem { problem, .. } if problem.status == 403 => {
            "use a key that may do this (`manimq admin keys create`)"
        }
        _ => "look at the server's log",
    };
    bad(KEY, State::Failed, error.to_string(), fix)
}

/// What a job would meet: slots that are ready, and perhaps a pause.
fn would_run(ready: Option<Ready>, usage: Option<&UsageView>) -> Check {
    let Some(ready) = ready else {
        return ok(JOBS, "would run");
    };
    let of_tenant = usage.filter(|usage| usage.paused == Some(Paused::Tenant));
    let of_all = ready.paused.iter().map(|&paused| pause(paused, None));
    let (what, commands): (Vec<_>, Vec<_>) = of_all
        .chain(of_tenant.map(|usage| pause(Paused::Tenant, Some(&usage.tenant))))
        .unzip();
    if what.is_empty() {
        let workers = plural(ready.workers, "worker");
        let slots = plural(ready.slots_ready, "slot");
        return ok(JOBS, format!("would run: {workers}, {slots} ready"));
    }
    bad(
        JOBS,
        State::Warning,
        format!("would wait: an operator has paused {}", what.join(" and ")),
        format!("{}, when the reason is gone", commands.join(", ")),
    )
}

/// Runs a program: whether it went well, and what it said.
async fn output(mut command: Command, most: Duration) -> Result<(bool, String, String), String> {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    match timeout(most, command.output()).await {
        Ok(Ok(said)) => Ok((said.status.success(), text(said.stdout), text(said.stderr))),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!("no end after {} s", most.as_secs())),
    }
}

/// What a program said last, without the log lines before it.
fn last_words(text: &str) -> String {
    let error = text.rfind("error: ").map_or(text, |at| &text[at + 7..]);
    let lines: Vec<_> = error
        .lines()
        .filter(|line| !line.trim().is_empty())
        .collect();
    let from = lines.len().saturating_sub(4);
    if lines.is_empty() {
        "it failed without a word".to_owned()
    } else {
        lines[from..].join("\n")
    }
}

fn judge_redis(url: &str, info: &str, time: &[u64], checks: &mut Vec<Check>) {
    let field = |name: &str| {
        info.lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
            .unwrap_or("")
            .trim()
    };
    let (name, version) = match field("valkey_version") {
        "" => ("Redis", field("redis_version")),
        version => ("Valkey", version),
    };
    let major = version.split('.').next().and_then(|text| text.parse().ok());
    checks.push(if major.is_some_and(|major: u32| major >= 7) {
        ok("redis", format!("{name} {version} at {url}"))
    } else {
        let fix = "install Redis 7.0 or newer, or Valkey: the queue is made of Redis functions";
        bad(
            "redis",
            State::Failed,
            format!("{name} {version} at {url}"),
            fix,
        )
    });
    let policy = field("maxmemory_policy");
    checks.push(match policy {
        "noeviction" | "" => ok("redis eviction", "noeviction"),
        other => bad(
            "redis eviction",
            State::Failed,
            format!("maxmemory-policy is {other}: Redis may throw jobs away"),
            "redis-cli config set maxmemory-policy noeviction, and the same in redis.conf",
        ),
    });
    checks.push(if field("aof_enabled") == "0" {
        bad(
            "redis file",
            State::Warning,
            "no append-only file: a restart of Redis loses jobs",
            "redis-cli config set appendonly yes, and the same in redis.conf",
        )
    } else {
        ok("redis file", "append-only file is on")
    });
    let number = |name: &str| field(name).parse::<f64>().unwrap_or(0.0);
    let (used, most) = (number("used_memory"), number("maxmemory"));
    if most > 0.0 && used / most > FULL_FROM {
        checks.push(bad(
            "redis memory",
            State::Warning,
            format!(
                "{:.0} % of maxmemory is used; at 100 % no job is accepted",
                used / most * 100.0
            ),
            "raise maxmemory, or let fewer jobs wait (`manimq admin tenants set … --queued-max`)",
        ));
    }
    let here = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    let there = match time {
        [seconds, micros] => Duration::from_secs(*seconds) + Duration::from_micros(*micros),
        _ => here,
    };
    let skew = here.abs_diff(there);
    checks.push(if skew > SKEW_MAX {
        bad(
            "clock",
            State::Warning,
            format!(
                "this machine's clock and that of Redis differ by {} s",
                skew.as_secs()
            ),
            "turn on time synchronisation on both: timedatectl set-ntp true",
        )
    } else {
        ok("clock", format!("within {} ms of Redis'", skew.as_millis()))
    });
}

fn judge_sandbox(report: &str, checks: &mut Vec<Check>) {
    let report: Value = serde_json::from_str(report.trim()).unwrap_or_default();
    let text = |name: &str| report[name].as_str().map(str::to_owned);
    checks.push(match text("level").as_deref() {
        Some("full") => ok("sandbox", "level full"),
        Some(level) if text("sandbox").as_deref() == Some("blaxel") => ok(
            "sandbox",
            format!("level {level}, in a persistent sandbox of Blaxel's"),
        ),
        Some("none") => bad(
            "sandbox",
            State::Warning,
            "level none: scenes run without walls",
            "set MANIMQ_SANDBOX_LEVEL=auto, except where you trust every scene",
        ),
        Some(level) => bad(
            "sandbox",
            State::Warning,
            format!("level {level}: fewer walls than full"),
            "install bubblewrap and allow namespaces (deploy/README.md, Sandbox levels), if this machine lets you",
        ),
        None => bad(
            "sandbox",
            State::Failed,
            "manimq-worker verify said something that is no report",
            "use a manimq-worker of the same version as this program",
        ),
    });
    checks.push(match text("manim") {
        Some(version) => ok("manim", version),
        None => bad(
            "manim",
            State::Failed,
            "not found",
            "run deploy/setup, which makes the Python environment",
        ),
    });
    checks.push(match (text("latex"), text("dvisvgm")) {
        (Some(latex), Some(_)) => ok("latex", latex),
        (latex, _) => bad(
            "latex",
            State::Warning,
            if latex.is_none() {
                "LaTeX is not installed: MathTex and Tex fail"
            } else {
                "dvisvgm is not installed: MathTex and Tex fail"
            },
            "apt-get install texlive-latex-extra texlive-xetex dvisvgm, or run deploy/setup",
        ),
    });
}

async fn fonts() -> Check {
    const FIX: &str = "apt-get install fontconfig fonts-dejavu fonts-inter, or run deploy/setup";
    let Some(program) = find_program("fc-list") else {
        return bad(
            "fonts",
            State::Warning,
            "fc-list is not installed, so fonts cannot be counted",
            FIX,
        );
    };
    let mut command = Command::new(program);
    command.args([":", "family"]);
    match output(command, PROGRAM_MAX).await {
        Ok((true, out, _)) => {
            let families: std::collections::BTreeSet<_> = out.lines().collect();
            match families.len() {
                0 => bad("fonts", State::Warning, "no fonts: Text draws nothing", FIX),
                n => ok("fonts", format!("{n} families")),
            }
        }
        Ok((false, _, err)) => bad("fonts", State::Warning, last_words(&err), FIX),
        Err(reason) => bad("fonts", State::Warning, reason, FIX),
    }
}

fn show(checks: &[Check], paint: Paint) -> String {
    let mut table = Table::new(&["CHECK", "", "FOUND"]);
    for check in checks {
        let (word, tone) = match check.status {
            State::Ok => ("ok", Tone::Plain),
            State::Warning => ("warning", Tone::Warning),
            State::Failed => ("failed", Tone::Bad),
            State::Skipped => ("skipped", Tone::Dim),
        };
        let first = check.found.lines().next().unwrap_or_default();
        table.row([check.name.into(), cell(word, tone), first.into()]);
    }
    let mut text = table.show(paint, "");
    for check in checks {
        let Some(fix) = &check.fix else { continue };
        text.push_str(&format!("\n{}\n", paint.strong(check.name)));
        for line in visible_lines(&check.found) {
            text.push_str(&format!("  {line}\n"));
        }
        text.push_str(&format!("  {} {}\n", paint.good("fix:"), visible(fix)));
    }
    text
}
