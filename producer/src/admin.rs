//! `manimq admin`: look after a queue, by speaking to its Redis. No API is needed.
//!
//! One file per command; each answers with a text for people and a JSON document for programs. What they
//! do, the HTTP API's routes for operators do too (`api/admin.rs`), by the same functions and with the same
//! documents ([`view`]).

mod audit;
pub(crate) mod dead;
mod jobs;
pub(crate) mod keys;
pub(crate) mod pause;
mod queue;
pub(crate) mod show;
mod storage;
pub(crate) mod table;
pub(crate) mod tenants;
pub(crate) mod view;
pub(crate) mod workers;

use std::io::Write as _;

use clap::{Args, Subcommand};
use manimq_shared::ids::TenantId;
use manimq_shared::queue::{Account, Cursor, Queue, QueueError, RedisConfig, TenantState, redact};
use serde_json::Value;

use crate::exit::{Exit, Failure};
use crate::serve::redis_prefix;
use crate::term::Paint;

/// Flags of `manimq admin`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  manimq admin queue --watch
  manimq admin tenants set acme --running-max 4 --queued-max default
  manimq admin --redis-url redis://10.0.0.5 dead list --json

Each command has an example: `manimq admin help COMMAND`.

Exit status: 0 done, 1 not all could be done (audit: something is wrong), 2 wrong command, \
3 refused by a quota, 6 Redis cannot be reached.")]
pub struct AdminArgs {
    #[command(subcommand)]
    action: Action,
    #[command(flatten)]
    place: Place,
}

/// Which queue, and how to answer.
#[derive(Debug, Args)]
pub(crate) struct Place {
    /// Redis of the queue: redis://HOST:PORT/DB, unix:///PATH, rediss://, redis+sentinel://,
    /// redis+cluster://
    #[arg(
        long,
        env = "REDIS_URL",
        default_value = "redis://127.0.0.1:6379/0",
        hide_env_values = true,
        global = true,
        value_name = "URL",
        help_heading = "Queue"
    )]
    redis_url: String,
    /// Start of all Redis keys of the queue
    #[arg(long, env = "MANIMQ_REDIS_PREFIX", default_value = "mq", value_parser = redis_prefix,
          global = true, value_name = "PREFIX", help_heading = "Queue")]
    redis_prefix: String,
    /// Answer with one JSON document, errors too
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// The queue at a glance: jobs, slots, pauses, counters
    Queue(queue::QueueArgs),
    /// Tenants: create, list, show, set quotas, disable, enable, delete
    Tenants(tenants::TenantsArgs),
    /// API keys: create, list, rotate, revoke
    Keys(keys::KeysArgs),
    /// Jobs: list, show, cancel, rerun
    Jobs(jobs::JobsArgs),
    /// Dead letters, jobs that failed by no fault of their author: list, redrive, discard
    Dead(dead::DeadArgs),
    /// The live workers
    #[command(
        after_help = "Example:\n  manimq admin workers --json | jq '.workers[] | select(.slots_ready == 0)'"
    )]
    Workers,
    /// The store of the queue's results: sweep
    Storage(storage::StorageArgs),
    /// Check that the queue contradicts itself nowhere
    Audit(audit::AuditArgs),
    /// Start no more jobs of a tenant, of a lane or at all; what runs goes on
    #[command(
        after_help = "Running it again changes nothing. A job that already waits for the same work in a lane waits with it while that lane is paused.\n\nExample:\n  manimq admin pause --lane batch"
    )]
    Pause(pause::PauseArgs),
    /// Undo a pause of the same scope
    #[command(
        after_help = "Running it again changes nothing.\n\nExample:\n  manimq admin resume --lane batch"
    )]
    Resume(pause::PauseArgs),
    /// Ask workers to claim no more, finish what runs and stay idle
    Drain(workers::DrainArgs),
}

/// What a command has to say.
pub(crate) struct Answer {
    pub(crate) text: String,
    pub(crate) json: Value,
    pub(crate) exit: Exit,
}

impl Answer {
    /// All went well.
    pub(crate) fn ok(text: impl Into<String>, json: Value) -> Self {
        Self {
            text: text.into(),
            json,
            exit: Exit::Ok,
        }
    }
}

/// Runs the command.
pub async fn run(args: AdminArgs) -> Exit {
    let AdminArgs { action, place } = args;
    conclude(act(action, &place).await, place.json)
}

/// Says what a command has to say, or why it failed: in prose, or as one JSON document.
pub(crate) fn conclude(result: Result<Answer, Failure>, json: bool) -> Exit {
    match result {
        Ok(answer) => {
            if json {
                print(&format!("{:#}\n", answer.json));
            } else {
                print(&answer.text);
            }
            answer.exit
        }
        Err(failure) => {
            if json {
                print(&format!("{:#}\n", failure.to_json()));
            } else {
                eprint!("{}", failure.report(Paint::stderr()));
            }
            failure.exit
        }
    }
}

async fn act(action: Action, place: &Place) -> Result<Answer, Failure> {
    let paint = Paint::stdout();
    if let Action::Queue(args) = &action {
        args.check(place)?;
    }
    if let Some(answer) = before_the_first_start(&action, place, paint).await? {
        return Ok(answer);
    }
    let queue = &place.open().await?;
    match action {
        Action::Queue(args) => args.run(queue, place, paint).await,
        Action::Tenants(args) => args.run(queue, paint).await,
        Action::Keys(args) => args.run(queue, paint).await,
        Action::Jobs(args) => args.run(queue, paint).await,
        Action::Dead(args) => args.run(queue, paint).await,
        Action::Workers => workers::list(queue, paint).await,
        Action::Storage(args) => args.run(queue).await,
        Action::Audit(args) => args.run(queue, paint).await,
        Action::Pause(args) => args.run(queue, true).await,
        Action::Resume(args) => args.run(queue, false).await,
        Action::Drain(args) => args.run(queue).await,
    }
}

/// Tenants and keys may be made before there is a queue: an API that others reach does not start without
/// a key. Anything else needs one, and a wrong address shall not make it.
async fn before_the_first_start(
    action: &Action,
    place: &Place,
    paint: Paint,
) -> Result<Option<Answer>, Failure> {
    let make = match action {
        Action::Tenants(args) => args.makes(),
        Action::Keys(_) => true,
        _ => false,
    };
    if !make || place.find().await?.is_some() {
        return Ok(None);
    }
    let queue = Queue::for_accounts(&place.config()?).await?;
    let mut answer = match action {
        Action::Tenants(args) => args.make(&queue, paint).await?,
        Action::Keys(args) => args.run_with(&queue, paint).await?,
        _ => return Ok(None),
    };
    let url = redact(&place.redis_url);
    answer.text.push_str(&format!(
        "there is no queue in Redis at {url} yet: start `manimq serve` with this REDIS_URL and the prefix {}\n",
        place.redis_prefix
    ));
    Ok(Some(answer))
}

/// Why an operator's wish was not done.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// Redis.
    Queue(QueueError),
    /// What was asked for is wrong.
    Wrong {
        /// What is wrong.
        message: String,
        /// What to do.
        hint: String,
    },
    /// What was named is not there.
    Missing {
        /// A slug such as `no-such-tenant`.
        kind: &'static str,
        /// What is not there.
        message: String,
        /// What to do.
        hint: String,
    },
    /// What is there does not allow it.
    Conflict {
        /// A slug such as `tenant-exists`.
        kind: &'static str,
        /// What is in the way.
        message: String,
        /// What to do.
        hint: String,
    },
}

impl Refusal {
    fn wrong(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::Wrong {
            message: message.into(),
            hint: hint.into(),
        }
    }

    fn no_tenant(tenant: &TenantId) -> Self {
        Self::Missing {
            kind: "no-such-tenant",
            message: format!("there is no tenant {tenant}"),
            hint: format!(
                "make it with `manimq admin tenants create {tenant}`; `manimq admin tenants list` shows those that there are"
            ),
        }
    }
}

impl From<QueueError> for Refusal {
    fn from(error: QueueError) -> Self {
        Self::Queue(error)
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Queue(error) => error.into(),
            Refusal::Wrong { message, hint } => Self::usage(message).hint(hint),
            Refusal::Missing {
                kind,
                message,
                hint,
            }
            | Refusal::Conflict {
                kind,
                message,
                hint,
            } => Self::new(Exit::Failed, kind, message).hint(hint),
        }
    }
}

/// Writes to standard output. A reader who has gone away (`| head`) is no failure.
pub(crate) fn print(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

impl Place {
    /// Whether the answer shall be JSON.
    pub(crate) const fn json(&self) -> bool {
        self.json
    }

    /// Start of all keys of the queue.
    pub(crate) fn prefix(&self) -> &str {
        &self.redis_prefix
    }

    fn config(&self) -> Result<RedisConfig, Failure> {
        Ok(RedisConfig {
            prefix: self.redis_prefix.clone(),
            pool_size: 2,
            ..RedisConfig::from_env(self.redis_url.clone())?
        })
    }

    async fn find(&self) -> Result<Option<Queue>, Failure> {
        Queue::find(&self.config()?)
            .await
            .map_err(|error| match error {
                error @ QueueError::Unavailable(_) => {
                    Failure::from(error).with_place(&self.redis_url)
                }
                other => other.into(),
            })
    }

    /// The queue, which must be there: a wrong address must not make a new one.
    pub(crate) async fn open(&self) -> Result<Queue, Failure> {
        self.find().await?.ok_or_else(|| {
            Failure::new(
                Exit::Usage,
                "no-queue",
                format!(
                    "there is no queue with the prefix {} in Redis at {}",
                    self.redis_prefix,
                    redact(&self.redis_url)
                ),
            )
            .hint(
                "give --redis-url and --redis-prefix (or REDIS_URL and MANIMQ_REDIS_PREFIX) as `manimq serve` has them;\n\
                 a queue begins with the first start of `manimq serve` or `manimq up`",
            )
        })
    }
}

impl Failure {
    fn with_place(mut self, url: &str) -> Self {
        self.message = format!("Redis at {}: {}", redact(url), self.message);
        self
    }
}

impl From<QueueError> for Failure {
    fn from(error: QueueError) -> Self {
        match &error {
            QueueError::Unavailable(cause) if error.is_full() => Self::new(
                Exit::Unreachable,
                "redis-full",
                format!("{error}: {cause}"),
            )
            .hint("Redis has reached its maxmemory: raise it with `redis-cli config set maxmemory` and in redis.conf, or wait until ended jobs have expired"),
            QueueError::Unavailable(cause) => Self::new(
                Exit::Unreachable,
                "redis-unreachable",
                format!("{error}: {cause}"),
            )
            .hint("start Redis, or name the one that runs with --redis-url or REDIS_URL; then repeat the command"),
            QueueError::Configuration(_) => Self::new(Exit::Usage, "redis-unusable", error),
            QueueError::Corrupt(_) => Self::new(Exit::Failed, "queue-corrupt", error)
                .hint("look at what is wrong with `manimq admin audit`"),
        }
    }
}

/// Goes through all tenants until `visit` wants no more.
async fn each_tenant(
    queue: &Queue,
    mut visit: impl FnMut(TenantState) -> bool,
) -> Result<(), QueueError> {
    let mut page = Some(Cursor::default());
    while let Some(cursor) = page {
        let (tenants, next) = queue.tenants(&cursor).await?;
        for tenant in tenants {
            if !visit(tenant) {
                return Ok(());
            }
        }
        page = next;
    }
    Ok(())
}

/// Goes through all tenants that operators made, by id, until `visit` wants no more.
async fn every_account(
    queue: &Queue,
    mut visit: impl FnMut(Account) -> bool,
) -> Result<(), QueueError> {
    let mut after = None;
    loop {
        let page = queue.accounts(after.as_ref()).await?;
        let Some(last) = page.last() else {
            return Ok(());
        };
        after = Some(last.tenant.clone());
        for account in page {
            if !visit(account) {
                return Ok(());
            }
        }
    }
}

/// The tenants that `wanted` picks.
async fn tenants_where(
    queue: &Queue,
    wanted: impl Fn(&TenantState) -> bool,
) -> Result<Vec<TenantId>, QueueError> {
    let mut found = Vec::new();
    each_tenant(queue, |state| {
        if wanted(&state) {
            found.push(state.tenant);
        }
        true
    })
    .await?;
    Ok(found)
}
