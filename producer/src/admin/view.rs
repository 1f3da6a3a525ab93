//! What operators are told, in one form for `manimq admin --json` and the HTTP API.

use jiff::Timestamp;
use manimq_shared::ids::{JobId, TenantId, WorkerId};
use manimq_shared::job::{FailureClass, Paused};
use manimq_shared::queue::{
    Account, DeadLetter, KeyId, KeyRecord, KeyState, Scope, Stats, TenantState, WorkerInfo,
};
use serde::Serialize;
use serde_json::{Map, Value, json};
use utoipa::ToSchema;

/// What is counted since the queue began, in the order of a job's life.
pub const COUNTERS: [&str; 9] = [
    "submitted",
    "succeeded",
    "failed",
    "canceled",
    "expired",
    "cached",
    "coalesced",
    "leases_lost",
    "repairs",
];

/// The queue at a glance.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct QueueSummary {
    /// Start of all its Redis keys.
    pub prefix: String,
    /// Its jobs that have not ended.
    pub jobs: JobCounts,
    /// Its live workers.
    pub workers: WorkerCounts,
    /// Their slots.
    pub slots: SlotCounts,
    /// What an operator has paused.
    pub paused: Pauses,
    /// What happened since the queue began, by name.
    #[schema(value_type = std::collections::BTreeMap<String, u64>)]
    pub counters: Map<String, Value>,
}

/// Jobs that have not ended, by what they wait for.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct JobCounts {
    /// A claim could take them.
    pub ready: u64,
    /// They wait for a time.
    pub delayed: u64,
    /// They run.
    pub running: u64,
    /// They wait for another job's render of the same.
    pub following: u64,
}

/// Live workers.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct WorkerCounts {
    /// All of them.
    pub live: usize,
    /// Those that claim no more.
    pub draining: usize,
}

/// Slots of live workers.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct SlotCounts {
    /// All of them.
    pub total: u32,
    /// Their sandboxes are up.
    pub ready: u32,
    /// They render.
    pub busy: u32,
}

/// What is paused beside single tenants.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Pauses {
    /// Everything.
    pub all: bool,
    /// Lanes.
    pub lanes: Vec<&'static str>,
}

impl QueueSummary {
    /// Of a queue of this prefix.
    pub fn new(prefix: &str, stats: &Stats) -> Self {
        let sum = |part: fn(&WorkerInfo) -> u32| stats.workers.iter().map(part).sum();
        let count = |name: &str| stats.counters.get(name).copied().unwrap_or(0);
        Self {
            prefix: prefix.to_owned(),
            jobs: JobCounts {
                ready: stats.ready,
                delayed: stats.delayed,
                running: stats.running,
                following: stats.following,
            },
            workers: WorkerCounts {
                live: stats.workers.len(),
                draining: stats.workers.iter().filter(|w| w.draining).count(),
            },
            slots: SlotCounts {
                total: sum(|w| w.slots),
                ready: sum(|w| w.slots_ready),
                busy: sum(|w| w.slots_busy),
            },
            paused: Pauses {
                all: stats.paused.contains(&Paused::All),
                lanes: stats
                    .paused
                    .iter()
                    .filter(|paused| **paused != Paused::All)
                    .map(|paused| paused.as_str())
                    .collect(),
            },
            counters: COUNTERS
                .iter()
                .map(|name| ((*name).to_owned(), json!(count(name))))
                .collect(),
        }
    }

    /// One of [`COUNTERS`].
    pub fn count(&self, name: &str) -> u64 {
        self.counters.get(name).and_then(Value::as_u64).unwrap_or(0)
    }
}

/// A live worker.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct WorkerView {
    /// Its id.
    #[schema(value_type = String)]
    pub id: WorkerId,
    /// The machine.
    pub host: String,
    /// Its version.
    pub version: String,
    /// `working`, `not_ready`, `draining` or `drained`.
    pub state: &'static str,
    /// Slots in all.
    pub slots: u32,
    /// Slots whose sandbox is up.
    pub slots_ready: u32,
    /// Slots that render.
    pub slots_busy: u32,
    /// Whether it claims no more.
    pub draining: bool,
    /// What keeps it from working.
    pub trouble: Option<String>,
}

impl From<&WorkerInfo> for WorkerView {
    fn from(worker: &WorkerInfo) -> Self {
        Self {
            id: worker.id,
            host: worker.host.clone(),
            version: worker.version.clone(),
            state: match (worker.draining, worker.slots_busy, worker.slots_ready) {
                (true, 0, _) => "drained",
                (true, ..) => "draining",
                (false, _, 0) => "not_ready",
                (false, ..) => "working",
            },
            slots: worker.slots,
            slots_ready: worker.slots_ready,
            slots_busy: worker.slots_busy,
            draining: worker.draining,
            trouble: worker.trouble.clone(),
        }
    }
}

/// What an operator said to one worker.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct DrainedView {
    /// The worker.
    #[schema(value_type = String)]
    pub id: WorkerId,
    /// Its machine.
    pub host: String,
    /// Whether it claims no more now.
    pub draining: bool,
    /// Whether that is new.
    pub changed: bool,
    /// Renders that go on.
    pub slots_busy: u32,
}

/// A pause that was set or taken away.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct PauseView {
    /// `tenant`, `lane` or `all`.
    pub scope: &'static str,
    /// Which tenant or lane.
    pub name: Option<String>,
    /// Whether it is paused now.
    pub paused: bool,
    /// Whether that is new.
    pub changed: bool,
}

/// A tenant: its record, if an operator made one, and how the queue sees it.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct TenantView {
    /// Its id.
    #[schema(value_type = String)]
    pub tenant: TenantId,
    /// Its name for people; none without a record.
    pub name: Option<String>,
    /// When its record was made.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub created_at: Option<Timestamp>,
    /// Since when it is disabled.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub disabled_at: Option<Timestamp>,
    /// Keys that work.
    pub keys_live: u32,
    /// When it was last active.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub last_active_at: Option<Timestamp>,
    /// Jobs that have not ended.
    pub active: u64,
    /// Jobs that a claim could take.
    pub ready: u64,
    /// Jobs that run.
    pub running: u64,
    /// Jobs that wait for another job's render.
    pub following: u64,
    /// Dead letters.
    pub dead: u64,
    /// Whether it is paused.
    pub paused: bool,
    /// Why its jobs start or not: `idle`, `eligible`, `at_elastic_bound`, `lane_paused`,
    /// `out_of_render_time`.
    pub place: &'static str,
    /// Length of its usual job, seconds.
    pub usual_job_s: f64,
    /// Render time of today (UTC), seconds.
    pub rendered_today_s: f64,
    /// Its quotas by name, `null` for the default; only where one tenant is asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub quotas: Option<Value>,
}

impl TenantView {
    /// From what is known; at least one of both.
    pub fn new(tenant: TenantId, account: Option<&Account>, state: Option<&TenantState>) -> Self {
        Self {
            tenant,
            name: account.map(|a| a.name.clone()),
            created_at: account.map(|a| a.created_at),
            disabled_at: account.and_then(|a| a.disabled_at),
            keys_live: account.map_or(0, |a| a.keys_live),
            last_active_at: state.and_then(|s| s.last_active),
            active: state.map_or(0, |s| s.active),
            ready: state.map_or(0, |s| s.ready),
            running: state.map_or(0, |s| s.running),
            following: state.map_or(0, |s| s.following),
            dead: state.map_or(0, |s| s.dead),
            paused: state.is_some_and(|s| s.paused),
            place: state.map_or("idle", |s| s.place.as_str()),
            usual_job_s: state.map_or(0.0, |s| s.usual_job.as_secs_f64()),
            rendered_today_s: state.map_or(0.0, |s| s.rendered_today.as_secs_f64()),
            quotas: None,
        }
    }
}

/// A key, without its secret.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct KeyView {
    /// Its id: the key begins with `mqk_` and this.
    #[schema(value_type = String)]
    pub id: KeyId,
    /// Whose it is.
    #[schema(value_type = String)]
    pub tenant: TenantId,
    /// What its maker called it.
    pub name: String,
    /// What it may be used for: `render`, `code`, `admin`.
    #[schema(value_type = Vec<String>)]
    pub scopes: Vec<Scope>,
    /// `live`, `expired` or `revoked`.
    #[schema(value_type = String)]
    pub state: KeyState,
    /// When it was made.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    /// When it stops working.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub expires_at: Option<Timestamp>,
    /// When it was revoked.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub revoked_at: Option<Timestamp>,
    /// When it was last used, to a minute or two.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub last_used_at: Option<Timestamp>,
}

impl From<KeyRecord> for KeyView {
    fn from(key: KeyRecord) -> Self {
        Self {
            id: key.id,
            tenant: key.tenant,
            name: key.name,
            scopes: key.scopes.each().collect(),
            state: key.state,
            created_at: key.created_at,
            expires_at: key.expires_at,
            revoked_at: key.revoked_at,
            last_used_at: key.last_used_at,
        }
    }
}

/// A key that was made just now.
#[derive(Serialize, ToSchema)]
pub struct MadeKeyView {
    /// The whole key. Nobody can show it again.
    pub key: String,
    /// What it is.
    pub record: KeyView,
}

/// What went with a tenant, or would go.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct DeletionReport {
    /// Whose.
    #[schema(value_type = String)]
    pub tenant: TenantId,
    /// Whether nothing was done.
    pub dry_run: bool,
    /// Whether all is gone. Else some renders have not stopped yet; the tenant is disabled, and the same
    /// again goes on.
    pub complete: bool,
    /// Jobs erased, or to be erased.
    pub jobs: u64,
    /// Of them, in a dry run, those that would be cancelled first; else those that are left.
    pub not_ended: u64,
    /// Their files.
    pub files: u64,
    /// Bytes of these.
    pub file_bytes: u64,
    /// Files that were removed at once, those that came with jobs among them; the others belong to no job
    /// any more, and are swept.
    pub files_removed: u64,
    /// Webhooks.
    pub webhooks: u64,
    /// Keys, dead ones among them.
    pub keys: u64,
}

/// A dead letter: a job that failed for good by no fault of its author.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct DeadView {
    /// The job.
    #[schema(value_type = String)]
    pub job: JobId,
    /// Whose it is.
    #[schema(value_type = String)]
    pub tenant: TenantId,
    /// When it was given up.
    #[schema(value_type = String, format = DateTime)]
    pub died_at: Timestamp,
    /// Why.
    pub class: FailureClass,
    /// Attempts in all.
    pub attempts: u32,
    /// Who ran it last.
    #[schema(value_type = Option<String>)]
    pub last_worker: Option<WorkerId>,
    /// The last words, for a person.
    pub message: String,
}

impl DeadView {
    /// Of this tenant's letter.
    pub fn new(tenant: TenantId, letter: DeadLetter) -> Self {
        Self {
            job: letter.job,
            tenant,
            died_at: letter.at,
            class: letter.class,
            attempts: letter.attempts,
            last_worker: letter.last_worker,
            message: letter.message,
        }
    }
}

/// A page of dead letters.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct DeadPage {
    /// Oldest first within each tenant.
    pub dead: Vec<DeadView>,
    /// Whether there are more than were asked for.
    pub more: bool,
}

/// What became of one dead letter.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct RedrivenView {
    /// The dead job.
    #[schema(value_type = String)]
    pub dead: JobId,
    /// Whose it is.
    #[schema(value_type = String)]
    pub tenant: TenantId,
    /// The job that runs it again.
    #[schema(value_type = Option<String>)]
    pub job: Option<JobId>,
    /// `accepted` and the like, `dry_run`, or the quota that refused.
    pub outcome: String,
    /// Why it was refused, in words; for the command line.
    #[serde(skip)]
    pub refused: Option<String>,
}

/// What became of a redrive.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct RedriveReport {
    /// Whether nothing was done.
    pub dry_run: bool,
    /// One by one.
    pub redriven: Vec<RedrivenView>,
    /// How many run again.
    pub accepted: usize,
    /// How many a quota refused; they stay dead letters.
    pub refused: usize,
}

/// What became of a discard.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct DiscardReport {
    /// Whose.
    #[schema(value_type = String)]
    pub tenant: TenantId,
    /// How many are off the list.
    pub discarded: u64,
    /// How many were not on it.
    pub missing: u64,
}
