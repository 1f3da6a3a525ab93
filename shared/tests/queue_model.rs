//! The queue against a plain model of it: random commands, the same answers, nothing that
//! contradicts itself after any step.
//!
//! The model knows no streams, sets or batches: it picks one job at a time by the rules as written
//! in ARCHITECTURE.md. `MANIMQ_SOAK_STEPS` sets the number of steps (default 10,000).

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::panic::AssertUnwindSafe;
use std::sync::LazyLock;
use std::time::Duration;

use manimq_shared::ids::{Epoch, JobId, TenantId, WorkerId};
use manimq_shared::job::{
    AttemptOutcome, CacheMode, FailureClass, JobError, JobInput, JobRequest, JobResult, Lane,
    Status,
};
use manimq_shared::queue::{
    CancelOutcome, DeadFilter, Enqueued, EventKind, Lease, NewJob, PARK, PauseScope, Queue,
    QuotaPolicy, Quotas, RedisConfig, RenderKey, Renewal, SOON, Settled, WorkerInfo, failed,
};
use manimq_shared::testing::{self, Redis};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError, TestRunner};

static SERVER: LazyLock<Redis> = LazyLock::new(Redis::start);

const START: u64 = 1_767_574_800_000;
/// Most that an attempt is charged: twice the longest time limit.
const USED_MAX_MS: u64 = 7_200_000;
const DAY_MS: u64 = 86_400_000;
const DEAD_KEPT_MS: u64 = 14 * DAY_MS;
const TENANTS: [&str; 4] = ["a", "b", "c", "d"];
const WORKER_SLOTS: [u32; 3] = [1, 3, 12];
const LEASES_MS: [u64; 2] = [12_000, 2_000];
const PASSES_MS: [u64; 10] = [
    1, 400, 1_000, 3_000, 6_001, 12_001, 16_000, 31_000, 601_000, DAY_MS,
];
const STEPS_PER_CASE: usize = 100;

/// One step. Small numbers choose among what is there.
#[derive(Debug, Clone)]
enum Command {
    Enqueue(u8, Vec<Spec>),
    EnqueueAgain(u8),
    Claim(u8, u8, u8),
    /// Worker, lease, how many of its jobs, events each, and whether the epochs are stale.
    Renew(u8, u8, u8, u8, bool),
    Finish(Pick, bool),
    /// Which, of what class, and the jitter.
    Fail(Pick, u8, u8),
    Release(Pick),
    Cancel(Pick, bool),
    Reap(u8),
    /// Time passes until every lease is over, and some are taken away.
    Lose(u8),
    Promote(u8),
    Pass(u8),
    PauseTenant(u8, bool),
    PauseLane(u8, bool),
    PauseAll(bool),
    SetQuotas(u8, [u8; 6]),
    Leave(u8),
    Forget(u8),
}

#[derive(Debug, Clone)]
struct Spec {
    lane: u8,
    delay: u8,
    deadline: u8,
    /// Idempotency key and fingerprint.
    key: Option<(u8, u8)>,
    /// What it renders, and how it may share that.
    render: Option<(u8, u8)>,
}

/// A job; mostly one that runs; sometimes with an epoch that is over.
#[derive(Debug, Clone, Copy)]
struct Pick {
    n: u8,
    any: bool,
    stale: bool,
}

fn command() -> impl Strategy<Value = Command> {
    let spec = (
        0..3u8,
        prop_oneof![4 => Just(0u8), 1 => 1..4u8],
        prop_oneof![4 => Just(0u8), 1 => 1..4u8],
        prop_oneof![4 => Just(None), 1 => (0..3u8, 0..2u8).prop_map(Some)],
        prop_oneof![1 => Just(None), 1 => (0..2u8, prop_oneof![6 => Just(0u8), 1 => 1..3u8]).prop_map(Some)],
    )
        .prop_map(|(lane, delay, deadline, key, render)| Spec {
            lane,
            delay,
            deadline,
            key,
            render,
        });
    let pick = (
        any::<u8>(),
        prop::bool::weighted(0.1),
        prop::bool::weighted(0.1),
    )
        .prop_map(|(n, any, stale)| Pick { n, any, stale });
    let t = 0..4u8;
    let w = 0..3u8;
    prop_oneof![
        16 => (t.clone(), prop::collection::vec(spec, 1..5)).prop_map(|(t, s)| Command::Enqueue(t, s)),
        2 => any::<u8>().prop_map(Command::EnqueueAgain),
        16 => (w.clone(), 1..7u8, 0..2u8).prop_map(|(w, n, l)| Command::Claim(w, n, l)),
        8 => (w.clone(), 0..2u8, 0..5u8, 0..3u8, prop::bool::weighted(0.1))
            .prop_map(|(w, l, n, e, s)| Command::Renew(w, l, n, e, s)),
        12 => (pick.clone(), prop::bool::weighted(0.1)).prop_map(|(p, c)| Command::Finish(p, c)),
        6 => (pick.clone(), 0..6u8, 0..4u8).prop_map(|(p, c, j)| Command::Fail(p, c, j)),
        3 => pick.clone().prop_map(Command::Release),
        5 => (pick, prop::bool::weighted(0.1)).prop_map(|(p, s)| Command::Cancel(Pick { any: true, ..p }, s)),
        2 => (1..5u8).prop_map(Command::Reap),
        5 => (1..5u8).prop_map(Command::Lose),
        2 => (1..5u8).prop_map(Command::Promote),
        12 => (0..10u8).prop_map(Command::Pass),
        2 => (t.clone(), any::<bool>()).prop_map(|(t, on)| Command::PauseTenant(t, on)),
        2 => (0..3u8, prop::bool::weighted(0.4)).prop_map(|(l, on)| Command::PauseLane(l, on)),
        1 => prop::bool::weighted(0.3).prop_map(Command::PauseAll),
        4 => (t, prop::array::uniform6(0..6u8)).prop_map(|(t, q)| Command::SetQuotas(t, q)),
        1 => w.prop_map(Command::Leave),
        1 => any::<u8>().prop_map(Command::Forget),
    ]
}

fn lane(n: u8) -> Lane {
    Lane::from_digit(n).expect("0 to 2")
}

fn delay(n: u8) -> Duration {
    Duration::from_millis([0, 1, 5_000, 7_200_000][usize::from(n)])
}

fn deadline_s(n: u8) -> Option<u32> {
    [None, Some(1), Some(20), Some(4_000)][usize::from(n)]
}

/// How long a worker waits for the bell if nothing is due, and how long if another one looks at what is: up to a
/// sixteenth and a quarter less than the longest, by its id.
fn park(worker: &WorkerInfo) -> (u64, u64) {
    let odd = u64::from(worker.id.as_bytes()[15]);
    let [park, soon] = [PARK, SOON].map(|longest| longest.as_millis() as u64);
    (park - park * odd / 4096, soon - soon * odd / 1024)
}

fn jitter(n: u8) -> f64 {
    f64::from(n) / 3.0
}

fn quotas(q: [u8; 6]) -> Quotas {
    let of = |n: u8, values: [u32; 3]| values.get(usize::from(n)).copied();
    Quotas {
        queued_max: of(q[0], [2, 5, 12]),
        running_max: of(q[1], [0, 1, 4]),
        submits_per_minute: of(q[2], [1, 3, 7]),
        submits_per_day: of(q[3], [3, 11, 40]),
        render_s_per_day: of(q[4], [0, 2, 30]),
        weight: of(q[5], [1, 3, 10]).map(|w| f64::from(w) / 4.0),
        ..Quotas::default()
    }
}

// ---------------------------------------------------------------------------------------------
// The model
// ---------------------------------------------------------------------------------------------

#[derive(Debug, Clone, Copy, PartialEq)]
enum Told {
    Succeeded,
    Canceled,
    Failed,
    Retry,
    Released,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Place {
    /// Lane index (0 = returned) and number in it.
    Ready(usize, u64),
    Due(u64),
    Running,
    /// Waits for another's render.
    Following,
    Ended,
}

#[derive(Debug, Clone)]
struct Job {
    tenant: usize,
    /// Lane index to which it goes when due.
    lane: usize,
    /// The lane asked for.
    asked: usize,
    render: Option<u8>,
    leader: Option<String>,
    followers: Vec<String>,
    /// Canceled for its owner, and goes on for its followers.
    ghost: bool,
    status: Status,
    place: Place,
    epoch: u64,
    attempts: u32,
    failures: u32,
    lost: u32,
    /// Whether its lease was renewed since it was claimed.
    renewed: bool,
    worker: usize,
    claimed: u64,
    charged: u64,
    lease: u64,
    cancel: Option<u64>,
    deadline: Option<u64>,
    told: Option<(u64, Told)>,
    revision: u64,
    outcomes: Vec<AttemptOutcome>,
}

#[derive(Debug, Clone)]
struct Tenant {
    quotas: Quotas,
    paused: bool,
    live: u64,
    picks: u64,
    /// Length of its usual job, if it has a history.
    estimate: Option<u64>,
    tag: f64,
    noted: Option<u64>,
    tat_minute: f64,
    tat_day: f64,
    meter: (u64, u64),
    /// Per lane index: how many entered and left.
    entered: [u64; 4],
    left: [u64; 4],
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Where {
    Nowhere,
    Gate,
    Held,
    Over,
    Vt,
}

/// What is known of a worker.
struct Seen {
    /// Its last sign of life.
    at: u64,
    /// Until when it may be silent.
    until: u64,
    slots: u32,
}

#[derive(Default)]
struct Model {
    now: u64,
    v: f64,
    /// Length of everybody's usual job.
    usual: u64,
    seen: u64,
    swept: u64,
    hold: u64,
    all_paused: bool,
    lane_paused: [bool; 4],
    tenants: Vec<Tenant>,
    workers: BTreeMap<usize, Seen>,
    /// Who found nothing, and until when each waits.
    idle: BTreeMap<usize, u64>,
    jobs: BTreeMap<String, Job>,
    keys: HashMap<(usize, u8), (String, u8)>,
    renders: HashMap<(usize, u8), String>,
    /// When to look whether a tenant left for good.
    rest: BTreeMap<usize, u64>,
    /// The dead letters of each tenant, and when they became that.
    dead: BTreeMap<usize, BTreeMap<String, u64>>,
    counters: BTreeMap<&'static str, i64>,
}

impl Tenant {
    fn new() -> Self {
        Self {
            quotas: Quotas::default(),
            paused: false,
            live: 0,
            picks: 0,
            estimate: None,
            tag: 0.0,
            noted: None,
            tat_minute: 0.0,
            tat_day: 0.0,
            meter: (0, 0),
            entered: [0; 4],
            left: [0; 4],
        }
    }
}

impl Job {
    fn stop_asked(&self) -> bool {
        self.cancel.is_some() && (!self.ghost || self.followers.is_empty())
    }
}

impl Model {
    fn new() -> Self {
        Self {
            now: START,
            usual: 5_000,
            tenants: vec![Tenant::new(); TENANTS.len()],
            ..Self::default()
        }
    }

    fn count(&mut self, name: &'static str) {
        *self.counters.entry(name).or_default() += 1;
    }

    fn note_active(&mut self, t: usize) {
        let tenant = &mut self.tenants[t];
        if tenant.noted.is_none_or(|at| self.now - at >= 600_000) {
            self.rest.insert(t, self.now + 600_000);
        }
        if tenant.noted.is_none_or(|at| self.now - at >= 10_000) {
            tenant.noted = Some(self.now);
        }
    }

    /// Tenants that were quiet for long leave nothing but their settings.
    fn clear_away(&mut self, limit: usize) {
        let mut due: Vec<(u64, usize)> = self.rest.iter().map(|(t, at)| (*at, *t)).collect();
        due.retain(|(at, _)| *at <= self.now);
        due.sort_unstable();
        for (_, t) in due.into_iter().take(limit) {
            let now = self.now;
            let metered = self.metered(t);
            let tenant = &mut self.tenants[t];
            let active = tenant.noted.map(|at| at + 600_000).filter(|at| *at > now);
            if let Some(at) = active {
                self.rest.insert(t, at);
            } else if tenant.live > 0 {
                self.rest.insert(t, now + 600_000);
            } else if metered > 0 || tenant.tat_minute > now as f64 || tenant.tat_day > now as f64 {
                self.rest.insert(t, now + 3_600_000);
            } else {
                self.rest.remove(&t);
                let settings = tenant.quotas != Quotas::default() || tenant.paused;
                let old = std::mem::replace(tenant, Tenant::new());
                if settings {
                    tenant.quotas = old.quotas;
                    tenant.paused = old.paused;
                    tenant.estimate = old.estimate;
                    tenant.noted = old.noted;
                }
            }
        }
    }

    /// The job that may answer for a piece of work, and whether it has succeeded.
    fn same_work(&self, t: usize, key: u8, lane: usize, timed: bool) -> Option<(String, bool)> {
        let id = self.renders.get(&(t, key))?;
        let other = self.jobs.get(id)?;
        if other.status == Status::Succeeded {
            return Some((id.clone(), true));
        }
        let waits = match other.place {
            Place::Running => true,
            Place::Ready(..) => {
                other.asked <= lane && (!self.lane_paused[other.asked] || self.lane_paused[lane])
            }
            Place::Due(_) | Place::Following | Place::Ended => false,
        };
        let full = other.followers.len() >= 8;
        (waits && !timed && other.deadline.is_none() && !other.stop_asked() && !full)
            .then(|| (id.clone(), false))
    }

    fn running(&self, t: usize) -> u64 {
        let runs = |job: &&Job| job.tenant == t && job.place == Place::Running;
        self.jobs.values().filter(runs).count() as u64
    }

    fn ready(&self, t: usize) -> [u64; 4] {
        let tenant = &self.tenants[t];
        std::array::from_fn(|lane| tenant.entered[lane] - tenant.left[lane])
    }

    fn metered(&self, t: usize) -> u64 {
        let (day, ms) = self.tenants[t].meter;
        if day == self.now / DAY_MS { ms } else { 0 }
    }

    fn belongs(&self, t: usize) -> Where {
        let tenant = &self.tenants[t];
        let ready = self.ready(t);
        if ready.iter().sum::<u64>() == 0 || tenant.paused {
            return Where::Nowhere;
        }
        let running = self.running(t);
        if running >= u64::from(tenant.quotas.running_max.unwrap_or(1_000_000)) {
            return Where::Nowhere;
        }
        if let Some(s) = tenant.quotas.render_s_per_day
            && self.metered(t) >= u64::from(s) * 1000
        {
            return Where::Gate;
        }
        if (0..4).all(|lane| self.lane_paused[lane] || ready[lane] == 0) {
            return Where::Held;
        }
        let slots: u32 = self.workers.values().map(|seen| seen.slots).sum();
        let bound = if slots < 5 { slots } else { slots * 9 / 10 };
        let busy = self.jobs.values().filter(|job| job.place == Place::Running);
        let busy = busy.count() as u64;
        let active = |t: &&Tenant| t.noted.is_some_and(|at| at + 600_000 >= self.now);
        let active = self.tenants.iter().filter(active).count();
        // The last slots are for those that hold less than their part.
        let part = f64::from(slots) * tenant.quotas.weight.unwrap_or(1.0) / active as f64;
        if active >= 2 && busy >= u64::from(bound).max(1) && running >= (part.ceil() as u64).max(1)
        {
            return Where::Over;
        }
        Where::Vt
    }

    /// What the tenant with the least of is served next. Behind the virtual time it may be by what its
    /// running jobs and one more are charged.
    fn score(&self, t: usize) -> f64 {
        let tenant = &self.tenants[t];
        let charge = tenant.estimate.unwrap_or(0) as f64;
        let behind = self.virtual_time(t, (self.running(t) + 1) as f64 * charge);
        tenant.tag.max(self.v - behind)
    }

    /// Milliseconds of a slot in units of the tags: microseconds by weight.
    fn virtual_time(&self, t: usize, ms: f64) -> f64 {
        let weight = self.tenants[t].quotas.weight.unwrap_or(1.0);
        (ms * 1000.0 / weight + 0.5).floor()
    }

    fn push(&mut self, id: &str, lane: usize) {
        let job = self.jobs.get_mut(id).expect("there");
        let tenant = &mut self.tenants[job.tenant];
        tenant.entered[lane] += 1;
        job.place = Place::Ready(lane, tenant.entered[lane]);
    }

    fn enqueue(&mut self, t: usize, id: &str, spec: &Spec) -> Enqueued {
        let known = |model: &Self, id: &str| model.jobs.contains_key(id);
        let parse = |id: &str| id.parse::<JobId>().expect("an id");
        if let Some((key, fingerprint)) = spec.key
            && let Some((earlier, as_before)) = self.keys.get(&(t, key))
            && known(self, earlier)
        {
            return if *as_before == fingerprint {
                Enqueued::Exists(parse(earlier))
            } else {
                Enqueued::KeyReused(parse(earlier))
            };
        }
        if known(self, id) {
            return Enqueued::Exists(parse(id));
        }
        let timed = spec.delay > 0 || spec.deadline > 0;
        let asked = usize::from(spec.lane) + 1;
        let same = match spec.render {
            Some((key, 0)) => self.same_work(t, key, asked, timed),
            Some((key, 2)) => self.same_work(t, key, asked, true),
            _ => None,
        };
        let cached = same.as_ref().is_some_and(|(_, succeeded)| *succeeded);
        let now = self.now as f64;
        let tenant = &self.tenants[t];
        let limit = u64::from(tenant.quotas.queued_max.unwrap_or(1000));
        if !cached && tenant.live >= limit {
            return Enqueued::Full {
                active: tenant.live,
                limit,
            };
        }
        let rate = |policy, limit: Option<u32>, tat: f64, period: f64| match limit {
            None => Ok(tat),
            Some(limit) => {
                let gap = period / f64::from(limit);
                let next = tat.max(now) + gap;
                let wait = next - period - now;
                if wait > 0.0 {
                    let used = ((tat - now) / gap).ceil().min(f64::from(limit));
                    Err(Enqueued::Limited {
                        policy,
                        limit: u64::from(limit),
                        used: used as u64,
                        retry_after: Duration::from_millis(wait.ceil() as u64),
                    })
                } else {
                    Ok(next)
                }
            }
        };
        let q = &tenant.quotas;
        let minute = rate(
            QuotaPolicy::SubmitsPerMinute,
            q.submits_per_minute,
            tenant.tat_minute,
            60_000.0,
        );
        let day = rate(
            QuotaPolicy::SubmitsPerDay,
            q.submits_per_day,
            tenant.tat_day,
            DAY_MS as f64,
        );
        let (minute, day) = match (minute, day) {
            (Ok(minute), Ok(day)) => (minute, day),
            (Err(refused), _) | (_, Err(refused)) => return refused,
        };
        if let Some(s) = q.render_s_per_day
            && !cached
            && self.metered(t) >= u64::from(s) * 1000
        {
            return Enqueued::Limited {
                policy: QuotaPolicy::RenderSecondsPerDay,
                limit: u64::from(s),
                used: self.metered(t) / 1000,
                retry_after: Duration::from_millis((self.now / DAY_MS + 1) * DAY_MS - self.now),
            };
        }
        if !cached && spec.render.is_some_and(|(_, mode)| mode == 2) {
            return Enqueued::NotCached;
        }
        let tenant = &mut self.tenants[t];
        (tenant.tat_minute, tenant.tat_day) = (minute, day);
        tenant.live += u64::from(!cached);
        if let Some((key, fingerprint)) = spec.key {
            self.keys.insert((t, key), (id.to_owned(), fingerprint));
        }
        let wait = delay(spec.delay).as_millis() as u64;
        let lane = asked;
        let job = Job {
            tenant: t,
            lane,
            asked,
            render: spec.render.map(|(key, _)| key),
            leader: None,
            followers: vec![],
            ghost: false,
            status: Status::Queued,
            place: Place::Due(self.now + wait),
            epoch: 0,
            attempts: 0,
            failures: 0,
            lost: 0,
            renewed: false,
            worker: 0,
            claimed: 0,
            charged: 0,
            lease: 0,
            cancel: None,
            deadline: deadline_s(spec.deadline).map(|s| self.now + u64::from(s) * 1000),
            told: None,
            revision: 1,
            outcomes: vec![],
        };
        self.jobs.insert(id.to_owned(), job);
        let job = self.jobs.get_mut(id).expect("just inserted");
        match same {
            Some((leader, true)) => {
                job.status = Status::Succeeded;
                job.place = Place::Ended;
                job.deadline = None;
                job.revision += 1;
                // The one that rendered it.
                let first = self.jobs[&leader].leader.clone().unwrap_or(leader);
                self.jobs.get_mut(id).expect("there").leader = Some(first);
                self.count("succeeded");
                self.count("cached");
            }
            Some((leader, false)) => {
                job.place = Place::Following;
                job.revision += 1;
                job.leader = Some(leader.clone());
                let leader = self.jobs.get_mut(&leader).expect("it is known");
                leader.followers.push(id.to_owned());
                leader.revision += 1;
                self.count("coalesced");
            }
            None => {
                if wait == 0 {
                    self.push(id, lane);
                }
                if let Some((key, _)) = spec.render
                    && !timed
                {
                    self.renders.insert((t, key), id.to_owned());
                }
            }
        }
        self.note_active(t);
        self.count("submitted");
        if cached {
            Enqueued::Cached
        } else {
            Enqueued::Accepted
        }
    }

    /// The end of a job and of all that wait for its render.
    fn conclude(&mut self, id: &str, status: Status) {
        let job = self.jobs.get_mut(id).expect("there");
        let shown = if job.ghost { Status::Canceled } else { status };
        let (t, render, revision) = (job.tenant, job.render, job.revision);
        let followers = std::mem::take(&mut job.followers);
        for follower in &followers {
            self.jobs.get_mut(follower).expect("it follows").revision += revision;
            self.settle(follower, status);
        }
        if let Some(key) = render {
            let answers = match (shown, status) {
                (Status::Succeeded, _) => Some(id),
                (_, Status::Succeeded) => followers.first().map(String::as_str),
                _ => None,
            };
            if let Some(answers) = answers {
                self.renders.insert((t, key), answers.to_owned());
            } else if self.renders.get(&(t, key)).is_some_and(|of| of == id) {
                self.renders.remove(&(t, key));
            }
        }
        self.settle(id, shown);
    }

    /// The end of a job by no fault of its author: it is a dead letter, and so is who waits for its render. A ghost's
    /// owner wanted none.
    fn conclude_dead(&mut self, id: &str) {
        let job = &self.jobs[id];
        let own = (!job.ghost).then(|| id.to_owned());
        let now = self.now;
        let dead = self.dead.entry(job.tenant).or_default();
        for id in job.followers.iter().cloned().chain(own) {
            dead.retain(|_, at| *at + DEAD_KEPT_MS >= now);
            dead.insert(id, now);
        }
        self.conclude(id, Status::Failed);
    }

    fn settle(&mut self, id: &str, status: Status) {
        let job = self.jobs.get_mut(id).expect("there");
        if let Place::Ready(lane, _) = job.place {
            self.tenants[job.tenant].left[lane] += 1;
        }
        job.place = Place::Ended;
        job.status = status;
        job.deadline = None;
        job.revision += 1;
        self.tenants[job.tenant].live -= 1;
        self.count(status.as_str());
    }

    fn charge(&mut self, t: usize, ms: f64) {
        self.tenants[t].tag += self.virtual_time(t, ms);
    }

    /// The attempt is over; `charged` if the tenant pays for it.
    fn end_lease(&mut self, id: &str, charged: bool, outcome: AttemptOutcome) -> u64 {
        let job = self.jobs.get_mut(id).expect("there");
        let used = (self.now - job.claimed).min(USED_MAX_MS);
        let (t, before) = (job.tenant, job.charged);
        job.place = Place::Ended;
        job.outcomes.push(outcome);
        self.charge(t, (if charged { used as f64 } else { 0.0 }) - before as f64);
        if charged {
            self.tenants[t].meter = (self.now / DAY_MS, self.metered(t) + used);
        }
        used
    }

    fn requeue(&mut self, id: &str, wait: u64) {
        let due = self.now + wait;
        let job = self.jobs.get_mut(id).expect("there");
        job.status = Status::Queued;
        job.lane = 0;
        job.revision += 1;
        if wait > 0 {
            job.place = Place::Due(due);
        } else {
            self.push(id, 0);
        }
    }

    /// Ids for which `at` gives a time that has come, by time, at most `limit`.
    fn by_time(&self, limit: usize, at: impl Fn(&Job) -> Option<u64>) -> Vec<String> {
        let mut all: Vec<(u64, String)> = self
            .jobs
            .iter()
            .filter_map(|(id, job)| Some((at(job).filter(|at| *at <= self.now)?, id.clone())))
            .collect();
        all.sort();
        all.into_iter().take(limit).map(|(_, id)| id).collect()
    }

    fn dated(job: &Job) -> Option<u64> {
        job.deadline.filter(|_| job.status == Status::Queued)
    }

    fn due(job: &Job) -> Option<u64> {
        match job.place {
            Place::Due(at) => Some(at),
            _ => None,
        }
    }

    fn leased(job: &Job) -> Option<u64> {
        (job.place == Place::Running).then_some(job.lease)
    }

    /// Of both kinds together: half of each, and what one leaves the other may have.
    fn promote(&mut self, limit: usize) -> u64 {
        let mut late = self.by_time(limit, Self::dated);
        let mut due = self.by_time(limit, Self::due);
        late.truncate(limit.div_ceil(2).max(limit - due.len()));
        due.truncate(limit - late.len());
        for id in &late {
            self.conclude(id, Status::Expired);
        }
        // What was late may have been due as well.
        due.retain(|id| self.jobs[id].place != Place::Ended);
        for id in &due {
            let lane = self.jobs[id].lane;
            self.push(id, lane);
        }
        due.len() as u64
    }

    fn reap(&mut self, limit: usize) -> u64 {
        if self.hold > self.now {
            return 0;
        }
        let late = self.by_time(limit, Self::leased);
        for id in &late {
            self.end_lease(id, false, AttemptOutcome::LostLease);
            self.count("leases_lost");
            let job = self.jobs.get_mut(id).expect("there");
            job.lost += u32::from(job.renewed);
            let silent = job.attempts - job.failures - job.lost;
            if job.stop_asked() {
                self.conclude(id, Status::Canceled);
            } else if job.lost >= 3 || silent >= 8 {
                self.conclude_dead(id);
            } else {
                self.requeue(id, 0);
            }
        }
        late.len() as u64
    }

    fn hear(&mut self, lease: u64) {
        if self.seen > 0 && (self.now - self.seen) * 2 > lease {
            self.hold = self.now + lease / 2;
        }
        if self.now - self.seen >= 500 {
            self.seen = self.now;
        }
    }

    fn forget_gone(&mut self) {
        let now = self.now;
        self.workers.retain(|_, seen| seen.until + 15_000 > now);
    }

    /// What claims do for everybody, at most every 20 ms, or if there is less than they want.
    fn sweep(&mut self) {
        self.forget_gone();
        self.promote(10);
        self.reap(10);
        self.swept = self.now;
    }

    fn seen(&mut self, worker: usize, silence: u64) {
        let seen = Seen {
            at: self.now,
            until: self.now + silence,
            slots: WORKER_SLOTS[worker],
        };
        self.workers.insert(worker, seen);
    }

    /// Jobs that are claimed now, with their epochs and attempts, and the wait, given what [`park`] says.
    fn claim(
        &mut self,
        worker: usize,
        n: usize,
        lease: u64,
        (longest, soon): (u64, u64),
    ) -> (Vec<(String, u64, u32)>, u64) {
        let park = PARK.as_millis() as u64;
        self.hear(lease);
        // Also a sign of life, if the last one is old.
        let known = self.workers.get(&worker);
        let signs = known.is_none_or(|seen| self.now - seen.at >= 4_000);
        if signs {
            self.seen(worker, park);
        }
        let swept = self.now - self.swept >= 20;
        if swept {
            self.sweep();
        }
        let mut claims = Vec::new();
        self.take(worker, n, lease, &mut claims);
        if !swept && claims.len() < n.max(1) {
            self.sweep();
            self.take(worker, n, lease, &mut claims);
        }
        self.idle.remove(&worker);
        if !claims.is_empty() {
            if signs {
                self.seen(worker, 0);
            }
            return (claims, 0);
        }
        let wait = self.wait(longest, soon);
        // Longer than others believe that it lives.
        if wait > SOON.as_millis() as u64 && !signs {
            self.seen(worker, park);
        }
        self.idle.insert(worker, self.now + wait);
        (claims, wait)
    }

    /// How long one who found nothing waits: one looks at what is due and one soon after, if anything is; the others wait
    /// for the bell.
    fn wait(&self, longest: u64, soon: u64) -> u64 {
        let aside = |t| matches!(self.belongs(t), Where::Gate | Where::Held | Where::Over);
        let some_aside = !self.all_paused && (0..TENANTS.len()).any(aside);
        if self.due_in(longest) == longest && !some_aside {
            return longest;
        }
        let often = SOON.as_millis() as u64;
        let mut looks: Vec<u64> = self.idle.values().copied().collect();
        looks.retain(|at| *at > self.now);
        looks.sort_unstable();
        let in_time = self.now + self.due_in(often);
        match looks[..] {
            [first, second, ..] if first <= in_time && second <= self.now + often => longest,
            [first, ..] if first <= in_time => soon,
            _ => self.due_in(soon),
        }
    }

    fn take(&mut self, worker: usize, n: usize, lease: u64, claims: &mut Vec<(String, u64, u32)>) {
        while !self.all_paused && claims.len() < n {
            let Some(t) = (0..TENANTS.len())
                .filter(|&t| self.belongs(t) == Where::Vt)
                .min_by(|&a, &b| self.score(a).total_cmp(&self.score(b)))
            else {
                break;
            };
            let tag = self.score(t);
            self.note_active(t);
            if self.belongs(t) != Where::Vt {
                continue;
            }
            let ready = self.ready(t);
            let open: Vec<usize> = (1..4)
                .filter(|&lane| ready[lane] > 0 && !self.lane_paused[lane])
                .collect();
            let picks = self.tenants[t].picks;
            let lane = if ready[0] > 0 {
                0
            } else if picks % 8 == 7 {
                // The lower ones by turns.
                let middle = open.len() == 3 && (picks / 8) % 2 == 1;
                open[open.len() - 1 - usize::from(middle)]
            } else {
                open[0]
            };
            let id = self
                .jobs
                .iter()
                .filter_map(|(id, job)| match job.place {
                    Place::Ready(l, number) if l == lane && job.tenant == t => Some((number, id)),
                    _ => None,
                })
                .min()
                .expect("the count says so")
                .1
                .clone();
            let tenant = &mut self.tenants[t];
            tenant.picks += 1;
            tenant.tag = tag;
            let job = self.jobs.get_mut(&id).expect("there");
            if job.deadline.is_some_and(|at| at <= self.now) {
                self.conclude(&id, Status::Expired);
                continue;
            }
            tenant.left[lane] += 1;
            let asked = job.asked;
            if lane == 0 && self.lane_paused[asked] {
                self.push(&id, asked);
                continue;
            }
            let estimate = tenant.estimate.unwrap_or(self.usual);
            job.place = Place::Running;
            job.status = Status::Running;
            job.epoch += 1;
            job.attempts += 1;
            job.revision += 1;
            job.worker = worker;
            job.claimed = self.now;
            job.charged = estimate;
            job.lease = self.now + lease;
            job.renewed = false;
            job.deadline = None;
            claims.push((id, job.epoch, job.attempts));
            self.v = self.v.max(tag);
            self.charge(t, estimate as f64);
        }
    }

    /// Until something may become due, at most `limit`.
    fn due_in(&self, limit: u64) -> u64 {
        let jobs = self.jobs.values();
        let lease = jobs.clone().filter_map(Self::leased).min();
        let gate = (0..TENANTS.len()).any(|t| self.belongs(t) == Where::Gate);
        [
            lease.map(|at| at.max(self.hold)),
            jobs.clone().filter_map(Self::due).min(),
            jobs.filter_map(Self::dated).min(),
            gate.then_some((self.now / DAY_MS + 1) * DAY_MS),
        ]
        .into_iter()
        .flatten()
        .map(|at| (at + 1).saturating_sub(self.now).max(1))
        .chain([limit])
        .min()
        .expect("not empty")
    }

    fn holds(&self, id: &str, epoch: u64) -> bool {
        let job = &self.jobs[id];
        job.place == Place::Running && job.epoch == epoch
    }

    fn told(&self, id: &str, epoch: u64) -> Option<Told> {
        self.jobs[id].told.filter(|(e, _)| *e == epoch).map(|t| t.1)
    }

    fn tell(&mut self, id: &str, epoch: u64, told: Told) {
        self.jobs.get_mut(id).expect("there").told = Some((epoch, told));
    }

    fn renew(
        &mut self,
        worker: usize,
        lease: u64,
        jobs: &[(String, u64)],
        events: u8,
    ) -> Vec<Lease> {
        self.hear(lease);
        // One that is parked may be silent until it looks.
        let look = self.idle.get(&worker).filter(|_| jobs.is_empty());
        self.seen(worker, look.map_or(0, |at| at.saturating_sub(self.now)));
        self.forget_gone();
        let mut replies = Vec::new();
        for (id, epoch) in jobs {
            if !self.holds(id, *epoch) || self.jobs[id].worker != worker {
                replies.push(Lease::Lost);
                continue;
            }
            let now = self.now;
            let job = self.jobs.get_mut(id).expect("there");
            job.revision += u64::from(events > 0);
            job.renewed = true;
            let (t, used) = (job.tenant, (now - job.claimed).min(USED_MAX_MS));
            let more = used.saturating_sub(job.charged);
            job.charged += more;
            let cancel = job.cancel.filter(|_| job.stop_asked());
            if cancel.is_none_or(|at| now - at <= 30_000) {
                job.lease = now + lease;
            }
            self.charge(t, more as f64);
            replies.push(match cancel {
                None => Lease::Held,
                Some(at) if now - at <= 30_000 => Lease::Cancel,
                Some(_) => {
                    self.end_lease(id, true, AttemptOutcome::Canceled);
                    self.conclude(id, Status::Canceled);
                    Lease::Lost
                }
            });
        }
        self.promote(10.max(100 - jobs.len()));
        self.reap(10);
        self.clear_away(2);
        replies
    }

    fn finish(&mut self, id: &str, epoch: u64, canceled: bool) -> Settled {
        if !self.holds(id, epoch) {
            return match self.told(id, epoch) {
                Some(Told::Succeeded) => Settled::Accepted,
                Some(Told::Canceled) => Settled::Canceled,
                _ => Settled::Lost,
            };
        }
        let canceled = canceled || self.jobs[id].stop_asked();
        if canceled {
            self.end_lease(id, true, AttemptOutcome::Canceled);
            self.tell(id, epoch, Told::Canceled);
            self.conclude(id, Status::Canceled);
            return Settled::Canceled;
        }
        let used = self.end_lease(id, true, AttemptOutcome::Succeeded) as f64;
        let tenant = &mut self.tenants[self.jobs[id].tenant];
        let learnt = |old: u64| {
            let old = old as f64;
            (old + (used - old) / 8.0).floor().clamp(100.0, 600_000.0) as u64
        };
        tenant.estimate = Some(learnt(tenant.estimate.unwrap_or(self.usual)));
        self.usual = learnt(self.usual);
        self.tell(id, epoch, Told::Succeeded);
        self.conclude(id, Status::Succeeded);
        Settled::Accepted
    }

    fn fail(&mut self, id: &str, epoch: u64, class: FailureClass, jitter: f64) -> Settled {
        if !self.holds(id, epoch) {
            return match self.told(id, epoch) {
                Some(Told::Failed) => Settled::Accepted,
                Some(Told::Retry) => Settled::WillRetry,
                Some(Told::Canceled) => Settled::Canceled,
                _ => Settled::Lost,
            };
        }
        let canceled = self.jobs[id].stop_asked();
        let ours = class.is_ours();
        self.end_lease(id, canceled || !ours, AttemptOutcome::Failed);
        if canceled {
            self.tell(id, epoch, Told::Canceled);
            self.conclude(id, Status::Canceled);
            return Settled::Canceled;
        }
        let job = self.jobs.get_mut(id).expect("there");
        job.failures += u32::from(ours);
        let waits: &[f64] = match class {
            FailureClass::Storage => &[4_000.0, 60_000.0, 60_000.0],
            FailureClass::SandboxUnavailable => &[2_000.0, 15_000.0],
            FailureClass::Internal => &[1_000.0, 2_000.0],
            _ => &[],
        };
        if ours && let Some(wait) = waits.get(job.failures as usize - 1) {
            let wait = wait * (1.0 + jitter) / 2.0;
            self.tell(id, epoch, Told::Retry);
            self.requeue(id, wait.floor() as u64);
            return Settled::WillRetry;
        }
        self.tell(id, epoch, Told::Failed);
        if ours {
            self.conclude_dead(id);
        } else {
            self.conclude(id, Status::Failed);
        }
        Settled::Accepted
    }

    fn release(&mut self, id: &str, epoch: u64) -> Settled {
        if !self.holds(id, epoch) {
            return match self.told(id, epoch) {
                Some(Told::Released) => Settled::Accepted,
                Some(Told::Canceled) => Settled::Canceled,
                _ => Settled::Lost,
            };
        }
        self.end_lease(id, false, AttemptOutcome::Released);
        if self.jobs[id].stop_asked() {
            self.tell(id, epoch, Told::Canceled);
            self.conclude(id, Status::Canceled);
            return Settled::Canceled;
        }
        self.tell(id, epoch, Told::Released);
        self.jobs.get_mut(id).expect("there").attempts -= 1;
        self.requeue(id, 0);
        Settled::Accepted
    }

    fn cancel(&mut self, t: usize, id: &str) -> CancelOutcome {
        let now = self.now;
        let job = self.jobs.get_mut(id).expect("there");
        if job.tenant != t {
            return CancelOutcome::NotFound;
        }
        if job.ghost {
            return CancelOutcome::AlreadyTerminal;
        }
        if job.place == Place::Following {
            job.cancel = Some(now);
            let leader = job.leader.clone().expect("it follows");
            let of = self.jobs.get_mut(&leader).expect("it leads");
            of.followers.retain(|follower| follower != id);
            let (left, ghost, waits) = (of.followers.len(), of.ghost, of.status == Status::Queued);
            let revision = of.revision;
            self.jobs.get_mut(id).expect("there").revision += revision;
            self.settle(id, Status::Canceled);
            if left == 0 && ghost {
                if waits {
                    self.conclude(&leader, Status::Canceled);
                } else {
                    self.jobs.get_mut(&leader).expect("it leads").revision += 1;
                }
            }
            return CancelOutcome::Canceled;
        }
        if !job.followers.is_empty() {
            job.cancel = Some(now);
            job.ghost = true;
            job.revision += 1;
            return CancelOutcome::Canceled;
        }
        match job.status {
            Status::Queued => {
                job.cancel = Some(now);
                self.conclude(id, Status::Canceled);
                CancelOutcome::Canceled
            }
            Status::Running => {
                if job.cancel.is_none() {
                    job.cancel = Some(now);
                    job.revision += 1;
                }
                CancelOutcome::Requested
            }
            Status::Succeeded | Status::Failed | Status::Canceled | Status::Expired => {
                CancelOutcome::AlreadyTerminal
            }
        }
    }
}

// ---------------------------------------------------------------------------------------------
// The comparison
// ---------------------------------------------------------------------------------------------

macro_rules! same {
    ($left:expr, $right:expr, $($why:tt)+) => {{
        let (left, right) = ($left, $right);
        if left != right {
            return Err(format!("{}: redis {left:?}, model {right:?}", format!($($why)+)));
        }
    }};
}

/// Digits of an id in a key.
const SHORT_ID: usize = 22;

struct World {
    queue: Queue,
    model: Model,
    tenants: Vec<TenantId>,
    workers: Vec<WorkerInfo>,
    /// Jobs in the order of their acceptance, with what was asked for.
    accepted: Vec<(String, usize, NewJob, Spec)>,
    /// The shard's virtual time after the last step.
    virtual_time: f64,
}

impl World {
    async fn new() -> Self {
        // What earlier worlds left: a look at all keys would go through it, too.
        let flush = redis::cmd("FLUSHALL");
        SERVER.every_primary(&flush).await.unwrap();
        let prefix = format!("m{}", WorkerId::generate());
        let config = RedisConfig {
            // The model is of one shard: the order of claims is exact within one only.
            shards: Some(1),
            ..SERVER.config(&prefix)
        };
        let queue = Queue::connect_with_test_clock(&config).await.unwrap();
        queue.set_test_clock(START).await.unwrap();
        let worker = |slots| WorkerInfo {
            renderer: "r".to_owned(),
            ..testing::worker(slots)
        };
        Self {
            queue,
            model: Model::new(),
            tenants: TENANTS.iter().map(|t| t.parse().unwrap()).collect(),
            workers: WORKER_SLOTS.iter().map(|slots| worker(*slots)).collect(),
            accepted: Vec::new(),
            virtual_time: 0.0,
        }
    }

    fn new_job(owner: &TenantId, spec: &Spec) -> NewJob {
        let mut request: JobRequest =
            serde_json::from_str(r#"{"input":{"kind":"code","source":"x"}}"#).unwrap();
        request.lane = lane(spec.lane);
        request.deadline_s = deadline_s(spec.deadline);
        if let Some((key, mode)) = spec.render {
            let JobInput::Code { source, .. } = &mut request.input else {
                unreachable!("a job with code")
            };
            *source = format!("x = {key}");
            request.cache =
                [CacheMode::Use, CacheMode::Refresh, CacheMode::Only][usize::from(mode)];
        }
        let job = NewJob::new(owner, request);
        NewJob {
            delay: delay(spec.delay),
            idempotency: spec
                .key
                .map(|(key, fingerprint)| (format!("key {key}"), format!("body {fingerprint}"))),
            render: spec
                .render
                .map(|_| RenderKey::of(&job.payload))
                .unwrap_or_default(),
            ..job
        }
    }

    /// A job and an epoch for a settling command.
    fn pick(&self, pick: Pick) -> Option<(String, JobId, u64)> {
        let running: Vec<&String> = self
            .model
            .jobs
            .iter()
            .filter(|(_, job)| pick.any || job.place == Place::Running)
            .map(|(id, _)| id)
            .collect();
        let id = running.get(usize::from(pick.n) % running.len().max(1))?;
        let epoch = self.model.jobs[*id].epoch;
        let epoch = if pick.stale {
            epoch.saturating_sub(1)
        } else {
            epoch
        };
        Some(((*id).clone(), id.parse().unwrap(), epoch))
    }

    async fn enqueue(&mut self, t: usize, jobs: Vec<(NewJob, Spec)>) -> Result<(), String> {
        let new: Vec<NewJob> = jobs.iter().map(|(job, _)| job.clone()).collect();
        let replies = self.queue.enqueue(&self.tenants[t], &new).await.unwrap();
        for ((job, spec), reply) in jobs.into_iter().zip(replies) {
            let expected = self.model.enqueue(t, &job.id.to_string(), &spec);
            same!(reply, expected.clone(), "enqueue");
            if matches!(expected, Enqueued::Accepted | Enqueued::Cached) {
                self.accepted.push((job.id.to_string(), t, job, spec));
            }
        }
        Ok(())
    }

    async fn step(&mut self, command: &Command) -> Result<(), String> {
        let nothing = JobResult::default();
        match command.clone() {
            Command::Enqueue(t, specs) => {
                let jobs = specs
                    .into_iter()
                    .map(|spec| (Self::new_job(&self.tenants[usize::from(t)], &spec), spec))
                    .collect();
                self.enqueue(usize::from(t), jobs).await?;
            }
            Command::EnqueueAgain(n) => {
                let known: Vec<_> = self
                    .accepted
                    .iter()
                    .filter(|(id, ..)| self.model.jobs.contains_key(id))
                    .collect();
                if let Some((_, t, job, spec)) = known.get(usize::from(n) % known.len().max(1)) {
                    let again = vec![(job.clone(), spec.clone())];
                    self.enqueue(*t, again).await?;
                }
            }
            Command::Claim(w, n, l) => {
                let (w, lease) = (usize::from(w), LEASES_MS[usize::from(l)]);
                let claimed = self
                    .queue
                    .claim(
                        &self.workers[w],
                        usize::from(n),
                        Duration::from_millis(lease),
                    )
                    .await
                    .unwrap();
                let park = park(&self.workers[w]);
                let (claims, wait) = self.model.claim(w, usize::from(n), lease, park);
                let got: Vec<_> = claimed
                    .claims
                    .iter()
                    .map(|c| (c.job.to_string(), c.epoch.0, c.attempt))
                    .collect();
                same!(got, claims, "claim");
                same!(claimed.wait.as_millis() as u64, wait, "wait");
            }
            Command::Renew(w, l, n, events, stale) => {
                let (w, lease) = (usize::from(w), LEASES_MS[usize::from(l)]);
                let jobs: Vec<(String, u64)> = self
                    .model
                    .jobs
                    .iter()
                    .filter(|(_, job)| job.place == Place::Running && (stale || job.worker == w))
                    .take(usize::from(n))
                    .map(|(id, job)| (id.clone(), job.epoch - u64::from(stale)))
                    .collect();
                let news: Vec<_> = jobs
                    .iter()
                    .map(|(id, epoch)| Renewal {
                        job: id.parse().unwrap(),
                        epoch: Epoch(*epoch),
                        events: (0..events)
                            .map(|i| (EventKind::Progress, format!(r#"{{"frames_done":{i}}}"#)))
                            .collect(),
                    })
                    .collect();
                let replies = self
                    .queue
                    .renew(&self.workers[w], Duration::from_millis(lease), &news)
                    .await
                    .unwrap();
                same!(replies, self.model.renew(w, lease, &jobs, events), "renew");
            }
            Command::Finish(pick, canceled) => {
                let Some((id, job, epoch)) = self.pick(pick) else {
                    return Ok(());
                };
                let reply = if canceled {
                    self.queue.finish_canceled(job, Epoch(epoch)).await
                } else {
                    self.queue.finish(job, Epoch(epoch), &nothing).await
                };
                same!(
                    reply.unwrap(),
                    self.model.finish(&id, epoch, canceled),
                    "finish {id}"
                );
            }
            Command::Fail(pick, class, j) => {
                let Some((id, job, epoch)) = self.pick(pick) else {
                    return Ok(());
                };
                let class = match class {
                    0 => FailureClass::Storage,
                    1 => FailureClass::SandboxUnavailable,
                    2 => FailureClass::Internal,
                    _ => FailureClass::SceneError,
                };
                let result = failed(JobError::new(class, "no"));
                let reply = self.queue.fail(job, Epoch(epoch), &result, jitter(j)).await;
                same!(
                    reply.unwrap(),
                    self.model.fail(&id, epoch, class, jitter(j)),
                    "fail {id}"
                );
            }
            Command::Release(pick) => {
                let Some((id, job, epoch)) = self.pick(pick) else {
                    return Ok(());
                };
                let reply = self.queue.release(job, Epoch(epoch), "drain").await;
                same!(
                    reply.unwrap(),
                    self.model.release(&id, epoch),
                    "release {id}"
                );
            }
            Command::Cancel(pick, stranger) => {
                let Some((id, job, _)) = self.pick(pick) else {
                    return Ok(());
                };
                let owner = self.model.jobs[&id].tenant;
                let t = if stranger {
                    (owner + 1) % TENANTS.len()
                } else {
                    owner
                };
                let reply = self.queue.cancel(&self.tenants[t], job).await;
                same!(reply.unwrap(), self.model.cancel(t, &id), "cancel {id}");
            }
            Command::Reap(n) => {
                let reply = self.queue.reap(usize::from(n)).await.unwrap();
                same!(reply, self.model.reap(usize::from(n)), "reap");
            }
            Command::Lose(n) => {
                self.model.now += 18_001;
                self.queue.set_test_clock(self.model.now).await.unwrap();
                let reply = self.queue.reap(usize::from(n)).await.unwrap();
                same!(reply, self.model.reap(usize::from(n)), "reap");
            }
            Command::Promote(n) => {
                let reply = self.queue.promote(usize::from(n)).await.unwrap();
                same!(reply, self.model.promote(usize::from(n)), "promote");
            }
            Command::Pass(n) => {
                self.model.now += PASSES_MS[usize::from(n)];
                self.queue.set_test_clock(self.model.now).await.unwrap();
            }
            Command::PauseTenant(t, on) => {
                let scope = PauseScope::Tenant(self.tenants[usize::from(t)].clone());
                let tenant = &mut self.model.tenants[usize::from(t)];
                let changed = tenant.paused != on;
                tenant.paused = on;
                let now = self.model.now;
                self.model.rest.entry(usize::from(t)).or_insert(now);
                self.pause(&scope, on, changed).await?;
            }
            Command::PauseLane(l, on) => {
                let paused = &mut self.model.lane_paused[usize::from(l) + 1];
                let changed = *paused != on;
                *paused = on;
                self.pause(&PauseScope::Lane(lane(l)), on, changed).await?;
            }
            Command::PauseAll(on) => {
                let changed = self.model.all_paused != on;
                self.model.all_paused = on;
                self.pause(&PauseScope::All, on, changed).await?;
            }
            Command::SetQuotas(t, q) => {
                let (owner, quotas) = (&self.tenants[usize::from(t)], quotas(q));
                self.queue.set_quotas(owner, &quotas).await.unwrap();
                same!(
                    self.queue.quotas(owner).await.unwrap(),
                    quotas.clone(),
                    "quotas"
                );
                let v = self.model.v;
                let tenant = &mut self.model.tenants[usize::from(t)];
                if tenant.quotas.submits_per_minute != quotas.submits_per_minute {
                    tenant.tat_minute = 0.0;
                }
                if tenant.quotas.submits_per_day != quotas.submits_per_day {
                    tenant.tat_day = 0.0;
                }
                let weight = |quotas: &Quotas| quotas.weight.unwrap_or(1.0);
                let ahead = tenant.tag - v;
                if ahead > 0.0 {
                    let ahead = (ahead * weight(&tenant.quotas) / weight(&quotas) + 0.5).floor();
                    tenant.tag = v + ahead;
                }
                tenant.quotas = quotas;
                let now = self.model.now;
                self.model.rest.entry(usize::from(t)).or_insert(now);
            }
            Command::Leave(w) => {
                let w = usize::from(w);
                self.queue.leave(self.workers[w].id).await.unwrap();
                self.model.workers.remove(&w);
                self.model.idle.remove(&w);
            }
            Command::Forget(n) => {
                let ended: Vec<String> = self
                    .model
                    .jobs
                    .iter()
                    .filter(|(_, job)| job.status.is_terminal())
                    .map(|(id, _)| id.clone())
                    .collect();
                if let Some(id) = ended.get(usize::from(n) % ended.len().max(1)) {
                    self.model.jobs.remove(id);
                    let mut delete = redis::cmd("DEL");
                    let job: JobId = id.parse().unwrap();
                    for kind in ["j", "r", "e", "a"] {
                        let base = self.queue.keys_of(job).base();
                        delete.arg(format!("{base}:{kind}{}", job.short()));
                    }
                    let _: i64 = self.queue.query(&delete).await.unwrap();
                }
            }
        }
        Ok(())
    }

    async fn pause(&self, scope: &PauseScope, on: bool, changed: bool) -> Result<(), String> {
        let reply = if on {
            self.queue.pause(scope).await
        } else {
            self.queue.resume(scope).await
        };
        same!(reply.unwrap(), changed, "pause");
        Ok(())
    }

    /// After each step: nothing contradicts itself, and all counts are the model's.
    async fn check(&mut self) -> Result<(), String> {
        self.check_virtual_time().await?;
        let audit = self.queue.audit(false).await.unwrap();
        same!(audit.violations, Vec::<String>::new(), "audit");
        let stats = self.queue.stats().await.unwrap();
        let many = |of: fn(&Job) -> bool| self.model.jobs.values().filter(|j| of(j)).count() as u64;
        same!(
            stats.ready,
            many(|j| matches!(j.place, Place::Ready(..))),
            "ready"
        );
        same!(
            stats.delayed,
            many(|j| matches!(j.place, Place::Due(_))),
            "delayed"
        );
        same!(
            stats.running,
            many(|j| j.place == Place::Running),
            "running"
        );
        same!(
            stats.following,
            many(|j| j.place == Place::Following),
            "following"
        );
        self.check_bell().await?;
        let names = [
            "cached",
            "coalesced",
            "submitted",
            "succeeded",
            "failed",
            "canceled",
            "expired",
            "leases_lost",
            "repairs",
        ];
        for name in names {
            let expected = self.model.counters.get(name).copied().unwrap_or(0);
            same!(
                stats.counters.get(name).copied().unwrap_or(0),
                expected,
                "{name}"
            );
        }
        Ok(())
    }

    /// It never falls: who was served cannot be served again before others on account of that.
    async fn check_virtual_time(&mut self) -> Result<(), String> {
        let mut command = redis::cmd("GETRANGE");
        command.arg(format!("{}:s", self.queue.keys().base()));
        let state: Vec<u8> = self.queue.query(command.arg(0).arg(7)).await.unwrap();
        let now = state.try_into().map_or(0.0, f64::from_le_bytes);
        if now < self.virtual_time {
            return Err(format!("virtual time {} → {now}", self.virtual_time));
        }
        self.virtual_time = now;
        Ok(())
    }

    /// Work that could start, and a worker that waits for some: then the bell has rung. (No worker of
    /// this test takes a token, so none can be on its way.)
    async fn check_bell(&self) -> Result<(), String> {
        let base = self.queue.keys().base();
        let ask = async |name: &str, key: &str, more: &[String]| -> u64 {
            let mut command = redis::cmd(name);
            command.arg(format!("{base}:{key}")).arg(more);
            self.queue.query(&command).await.unwrap()
        };
        let later = [format!("({}", self.model.now), "+inf".to_owned()];
        let idle = ask("ZCOUNT", "idle", &later).await;
        let eligible = ask("ZCARD", "vt", &[]).await;
        let tokens = ask("LLEN", "bell", &[]).await;
        if idle > 0 && eligible > 0 && tokens == 0 && !self.model.all_paused {
            return Err(format!(
                "{idle} workers wait, {eligible} tenants could be served, no token"
            ));
        }
        Ok(())
    }

    /// After the last step: each job is what the model says, and no key is without an owner or an end.
    async fn check_all(&self) -> Result<(), String> {
        for (t, tenant) in self.tenants.iter().enumerate() {
            let all = DeadFilter::default();
            let letters = self.queue.dead_letters(tenant, &all, 10_000).await.unwrap();
            let got: BTreeSet<String> = letters.iter().map(|l| l.job.to_string()).collect();
            let dead = self.model.dead.get(&t).cloned().unwrap_or_default();
            same!(got, dead.into_keys().collect(), "dead letters of {tenant}");
        }
        for (id, job) in &self.model.jobs {
            let record = self.queue.read(id.parse().unwrap()).await.unwrap();
            let record = record.ok_or_else(|| format!("{id} is gone"))?;
            // Who waits for another's render is where that is.
            let of = match (&job.leader, job.place) {
                (Some(leader), Place::Following) => Some(&self.model.jobs[leader]),
                _ => None,
            };
            let shown = match of {
                Some(of) => of.status,
                None if job.ghost => Status::Canceled,
                None => job.status,
            };
            same!(record.status, shown, "status of {id}");
            let revision = job.revision + of.map_or(0, |of| of.revision);
            same!(record.revision, revision, "revision of {id}");
            let leader = record.rendered_by.map(|leader| leader.to_string());
            same!(leader, job.leader.clone(), "renderer of {id}");
            let events = self.queue.events(record.id, None, 10_000).await.unwrap();
            let done = events.iter().filter(|e| e.kind == EventKind::Done).count();
            same!(done, usize::from(shown.is_terminal()), "ends of {id}");
            let last = events.last().map(|e| e.kind == EventKind::Done);
            same!(last.unwrap_or(false), shown.is_terminal(), "end of {id}");
            same!(
                record.expires_at.is_some(),
                job.status.is_terminal(),
                "expiry of {id}"
            );
            same!(
                record.cancel_requested_at.is_some(),
                job.cancel.is_some(),
                "cancel of {id}"
            );
            let outcomes: Vec<_> = record.attempts.iter().filter_map(|a| a.outcome).collect();
            same!(outcomes, job.outcomes.clone(), "attempts of {id}");
            let waiting = of.unwrap_or(job);
            let position = match waiting.place {
                Place::Ready(lane, number) if !job.ghost => {
                    let before = self.model.jobs.values().filter(|other| {
                        other.tenant == waiting.tenant
                            && matches!(other.place, Place::Ready(l, n) if l == lane && n <= number)
                    });
                    Some(before.count() as u64)
                }
                _ => None,
            };
            same!(record.position, position, "position of {id}");
            if let Place::Due(at) = waiting.place {
                let not_before = record.not_before.map(|t| t.as_millisecond() as u64);
                same!(not_before, Some(at), "not before of {id}");
            }
        }
        self.check_keys().await
    }

    /// Each key of a job has an end exactly if the job has ended, or an end of its own (see `keys.rs`).
    async fn check_keys(&self) -> Result<(), String> {
        let base = self.queue.keys().base();
        let mut keys = redis::cmd("KEYS");
        keys.arg(format!("{base}:*"));
        let keys: Vec<String> = self.queue.query(&keys).await.unwrap();
        for key in keys {
            let (kind, short) = key[base.len() + 1..].split_at(1);
            if short.len() != SHORT_ID || !"jreagfu".contains(kind) {
                continue;
            }
            let alive = self
                .model
                .jobs
                .get(&JobId::from_short(short).unwrap().to_string())
                .is_some_and(|job| !job.status.is_terminal());
            let ttl: i64 = self
                .queue
                .query(redis::cmd("PTTL").arg(&key))
                .await
                .unwrap();
            if kind == "j" {
                same!(ttl < 0, alive, "{key} lasts");
            } else if ttl < 0 && !alive {
                return Err(format!("{key} lasts, and its job has ended"));
            }
        }
        Ok(())
    }
}

async fn run(commands: &[Command]) -> Result<(), String> {
    let mut world = World::new().await;
    for (i, command) in commands.iter().enumerate() {
        let at = |why| format!("step {i}, {command:?}: {why}");
        world.step(command).await.map_err(at)?;
        world.check().await.map_err(at)?;
    }
    world.check_all().await
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
}

/// How often a case is run in which Redis did not answer in time.
const TRIES: u32 = 3;

/// Runs a case, again if Redis did not answer: a machine that stands still for seconds, which happens in a
/// long run, says nothing of the queue. A step that Redis never answers fails each time.
fn answered(mut case: impl FnMut() -> Result<(), String>) -> Result<(), String> {
    let mut tries = 1;
    loop {
        let panic = match std::panic::catch_unwind(AssertUnwindSafe(&mut case)) {
            Ok(outcome) => return outcome,
            Err(panic) => panic,
        };
        let text = panic.downcast_ref::<String>().map_or("", String::as_str);
        if tries == TRIES || !text.contains("Unavailable(") {
            std::panic::resume_unwind(panic);
        }
        println!("Redis did not answer: once more");
        tries += 1;
    }
}

#[test]
fn a_case_runs_again_if_redis_did_not_answer_but_not_for_ever_and_for_nothing_else() {
    let tries = |panic: &'static str, until: u32| {
        let mut n = 0;
        let ended = std::panic::catch_unwind(AssertUnwindSafe(|| {
            answered(|| {
                n += 1;
                assert!(n >= until, "{panic}");
                Ok(())
            })
        }));
        (n, ended.is_ok())
    };
    let away = "an `Err` value: Unavailable(the answer of Redis took longer than 5s)";
    assert_eq!(tries(away, 1), (1, true));
    assert_eq!(tries(away, 3), (3, true));
    assert_eq!(tries(away, 4), (3, false));
    assert_eq!(tries("left: 1, right: 2", 2), (1, false));
}

#[test]
fn the_queue_answers_as_its_model_and_never_contradicts_itself() {
    let steps: usize = match std::env::var("MANIMQ_SOAK_STEPS") {
        Ok(text) if !text.is_empty() => text.parse().unwrap_or_else(|_| {
            panic!("MANIMQ_SOAK_STEPS={text}: write a whole number of steps, such as 1000000")
        }),
        _ => 10_000,
    };
    let config = Config {
        cases: u32::try_from(steps.div_ceil(STEPS_PER_CASE)).unwrap(),
        max_shrink_iters: 400,
        failure_persistence: None,
        ..Config::default()
    };
    println!("{} cases of {STEPS_PER_CASE} steps", config.cases);
    let runtime = runtime();
    let commands = prop::collection::vec(command(), STEPS_PER_CASE);
    let outcome = TestRunner::new(config).run(&commands, |commands| {
        answered(|| runtime.block_on(run(&commands))).map_err(TestCaseError::fail)
    });
    if let Err(failure) = outcome {
        panic!("{failure}");
    }
}
