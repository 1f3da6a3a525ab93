//! Runs producers and workers, lets the plan go wrong, waits until all is quiet, collects what
//! everybody saw.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use manimq_shared::ids::{JobId, TenantId};
use manimq_shared::job::Lane;
use manimq_shared::keys::Keys;
use manimq_shared::queue::{Enqueued, PauseScope, Queue, QueueError, Quotas, RedisConfig, Stats};
use rustix::process::Signal;
use tokio_util::task::AbortOnDropHandle;

use crate::checker::{self, Caps, Evidence, FROZEN, Figures, Final, KILLED, Loss, Violation};
use crate::dice::Dice;
use crate::history::{Answer, Fate, History, Order, Recipe, What, now_us, read};
use crate::library;
use crate::part::{Part, Role, Task};
use crate::plan::{Caller, FROZEN_FOR, Fault, Mix, Planned, Then};
use crate::proxy::{Mode, Proxy};
use crate::store::{Store, Trap};
use crate::topology::{Down, Topology};
use crate::{producer, worker};

/// How often the driver looks around.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// How often it has the queue compare what it knows twice.
const AUDIT_EVERY: Duration = Duration::from_millis(400);
/// How long a process gets to end after SIGTERM.
const END_MAX: Duration = Duration::from_secs(120);
/// How long the upload is waited for in which a worker is frozen.
const BAIT_MAX: Duration = Duration::from_secs(6);
/// What a job's second attempt takes whose first one is frozen: it still runs when the zombie
/// comes back.
const BAIT_AGAIN: Duration = Duration::from_secs(17);

/// Only of so many workers that are up is one frozen, lest nobody is left for half a minute.
const NOT_FROZEN_MIN: usize = 3;

/// What a run is made of.
pub struct Scenario {
    pub seed: u64,
    pub redis: fn() -> Topology,
    /// How long things go wrong.
    pub length: Duration,
    /// How long the queue gets to become quiet after that.
    pub quiet_max: Duration,
    pub workers: usize,
    pub slots: u16,
    pub producers: usize,
    pub pause_ms: u64,
    pub mix: Mix,
    /// Another function library under the name of ours.
    pub library: Option<String>,
    /// Producers take a job for accepted only when Redis confirmed that it is kept.
    pub durable: bool,
}

/// How a run ended.
pub struct Outcome {
    pub evidence: Evidence,
    pub violations: Vec<Violation>,
    pub figures: Figures,
    /// What was done, by name.
    pub faults: BTreeMap<String, usize>,
    /// Where the histories and logs are.
    pub folder: PathBuf,
}

impl Outcome {
    /// One line of figures.
    pub fn summary(&self) -> String {
        let Figures {
            accepted,
            by_status,
            shared,
            attempts,
            leases_lost,
            zombies,
            requeued,
            again,
        } = &self.figures;
        let faults: Vec<String> = self
            .faults
            .iter()
            .map(|(f, n)| format!("{n} {f}"))
            .collect();
        format!(
            "{accepted} jobs accepted, {by_status:?}; {shared} without a render of their own, {attempts} attempts, {leases_lost} leases lost, {zombies} zombies refused; Redis lost {} jobs and forgot something of {}; of the jobs of the dead {} were queued again within {} ms, {} ran again within {} ms; faults: {}; the driver stalled for at most {:?}",
            self.evidence.lost_by_redis.len(),
            self.evidence.rewound.len(),
            requeued.count,
            requeued.longest_ms,
            again.count,
            again.longest_ms,
            faults.join(", "),
            self.evidence.stall
        )
    }

    /// Removes the run's files if nothing is wrong; else says all that is.
    pub fn verdict(self) -> Result<(), String> {
        if self.violations.is_empty() {
            let _ = std::fs::remove_dir_all(&self.folder);
            return Ok(());
        }
        let mut text = format!("{} promises are broken:\n", self.violations.len());
        for violation in self.violations.iter().take(40) {
            text += &format!("  {violation}\n");
        }
        let jobs: BTreeSet<JobId> = self.violations.iter().filter_map(|v| v.job).collect();
        for job in jobs.into_iter().take(8) {
            text += &format!("{job}\n{}", checker::timeline(&self.evidence, job));
        }
        Err(format!(
            "{text}histories and logs: {}",
            self.folder.display()
        ))
    }
}

/// What a process is doing, as far as the driver made it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Up,
    Frozen,
    /// Nobody is in this place.
    Down,
}

/// A place for one process after the other, with its way to Redis.
struct Place {
    part: Part,
    state: State,
    /// Only before a standalone Redis.
    proxy: Option<Proxy>,
    /// Since when the way is held or closed.
    held_since: Option<u64>,
}

impl Place {
    fn proxy(&self) -> &Proxy {
        self.proxy
            .as_ref()
            .expect("a plan that cuts has a standalone Redis")
    }
}

/// What the driver will do by itself: mostly to end what it began.
#[derive(Debug, Clone, Copy)]
enum Due {
    /// What could not be done at its time, for want of Redis.
    Begin(Planned),
    StartWorker(usize),
    StartProducer(usize),
    Thaw(usize),
    /// The place's way is free again.
    Free(usize, Then),
    BringBack(Down),
    Resume(usize),
}

/// A worker that is to be frozen in the middle of an upload.
struct Bait {
    trap: Trap,
    pick: u64,
    until: Instant,
}

struct Driver {
    scenario: Scenario,
    folder: PathBuf,
    began: Instant,
    dice: Dice,
    history: History,
    redis: Arc<Mutex<Topology>>,
    config: RedisConfig,
    /// Something that the server has to get over.
    recovering: Option<tokio::task::JoinHandle<()>>,
    queue: Queue,
    store: Store,
    tenants: Vec<TenantId>,
    caps: HashMap<TenantId, Caps>,
    /// Workers first, then producers.
    places: Vec<Place>,
    /// Histories of the processes that are gone.
    histories: Vec<PathBuf>,
    started: usize,
    due: Vec<(Instant, Due)>,
    baits: Vec<Bait>,
    redis_away_since: Option<u64>,
    /// Since when no worker can be heard of: nobody is there to take leases back.
    silent_since: Option<u64>,
    outages: Vec<(u64, u64)>,
    cut_off: Vec<(String, u64, u64)>,
    pauses: Vec<(u64, u64)>,
    paused: Vec<(PauseScope, u64)>,
    faults: BTreeMap<String, usize>,
    violations: Vec<Violation>,
    audited: Instant,
}

const PREFIX: &str = "chaos";

/// Runs a scenario. Call it on a thread that lives as long as it, see [`Part::start`].
pub async fn run(scenario: Scenario) -> Outcome {
    let watch = StallWatch::start();
    let mut driver = Driver::start(scenario).await;
    driver.make_trouble().await;
    driver.come_to_rest().await;
    driver.judge(&watch).await
}

fn fault_of(text: &str) -> Violation {
    Violation {
        job: None,
        text: text.to_owned(),
    }
}

impl Driver {
    async fn start(scenario: Scenario) -> Self {
        let folder = tempfile::Builder::new()
            .prefix("mq-chaos-")
            .tempdir()
            .expect("a folder")
            .keep();
        let redis = tokio::task::block_in_place(scenario.redis);
        let config = redis.config(PREFIX);
        let queue = Queue::connect(&config).await.expect("Redis is there");
        if let Some(code) = &scenario.library {
            library::load(&queue, code).await.expect("a library");
        }
        let store = Store::start(queue.clone()).await;
        let mut dice = Dice::new(scenario.seed);
        dice.roll();
        let mut driver = Self {
            history: History::open(&folder.join("driver.jsonl"), "driver"),
            began: Instant::now(),
            dice,
            queue,
            store,
            tenants: Vec::new(),
            caps: HashMap::new(),
            places: Vec::new(),
            histories: vec![folder.join("driver.jsonl")],
            started: 0,
            due: Vec::new(),
            baits: Vec::new(),
            redis_away_since: None,
            silent_since: None,
            outages: Vec::new(),
            cut_off: Vec::new(),
            pauses: Vec::new(),
            paused: Vec::new(),
            faults: BTreeMap::new(),
            violations: Vec::new(),
            audited: Instant::now(),
            redis: Arc::new(Mutex::new(redis)),
            config,
            recovering: None,
            folder,
            scenario,
        };
        driver.set_quotas().await;
        let socket = driver.topology().socket();
        let withholds = driver.scenario.library.is_some();
        for index in 0..driver.scenario.workers + driver.scenario.producers {
            let proxy = match &socket {
                Some(socket) => Some(Proxy::start(socket, withholds).await),
                None => None,
            };
            let url = proxy.as_ref().map(Proxy::url);
            let url = url.unwrap_or_else(|| driver.config.url.clone());
            let part = driver.part(index, &url, None);
            driver.places.push(Place {
                part,
                state: State::Up,
                proxy,
                held_since: None,
            });
        }
        driver
    }

    async fn set_quotas(&mut self) {
        let quotas = [
            ("plain", Some(60), None, None, None),
            ("other", Some(40), None, None, None),
            ("narrow", Some(12), Some(2), None, None),
            ("rated", None, None, Some(240), None),
            ("heavy", Some(60), None, None, Some(4.0)),
        ];
        for (name, queued_max, running_max, submits_per_minute, weight) in quotas {
            let tenant: TenantId = name.parse().expect("a name");
            let quotas = Quotas {
                queued_max,
                running_max,
                submits_per_minute,
                weight,
                ..Quotas::default()
            };
            self.queue
                .set_quotas(&tenant, &quotas)
                .await
                .expect("Redis is there");
            let size = |n: Option<u32>| n.and_then(|n| usize::try_from(n).ok());
            let caps = Caps {
                queued: size(queued_max),
                running: size(running_max),
            };
            self.caps.insert(tenant.clone(), caps);
            // Who may run little is asked for much.
            let share = if running_max.is_some() { 3 } else { 1 };
            self.tenants.extend(std::iter::repeat_n(tenant, share));
        }
    }

    fn topology(&self) -> MutexGuard<'_, Topology> {
        self.redis.lock().expect("no panic while locked")
    }

    /// Starts a process for a place.
    fn part(&mut self, index: usize, url: &str, heir_of: Option<PathBuf>) -> Part {
        let number = self.started;
        self.started += 1;
        let (who, role) = if index < self.scenario.workers {
            let who = format!("worker-{number}");
            let role = Role::Worker(worker::Role {
                slots: self.scenario.slots,
                api_url: self.store.url(&who),
            });
            (who, role)
        } else {
            let role = Role::Producer(producer::Role {
                seed: self.dice.roll(),
                tenants: self.tenants.clone(),
                pause_ms: self.scenario.pause_ms,
                heir_of,
            });
            (format!("producer-{number}"), role)
        };
        let task = Task {
            who,
            parent: rustix::process::getpid().as_raw_nonzero().get(),
            redis_url: url.to_owned(),
            redis_prefix: PREFIX.to_owned(),
            durable: self.scenario.durable,
            role,
        };
        let part = Part::start(&self.folder, &task);
        self.histories.push(part.history());
        part
    }

    /// Notes a fault.
    fn note(&mut self, fault: &str, target: &str) {
        *self.faults.entry(fault.to_owned()).or_default() += 1;
        self.history.note(What::Fault {
            fault: fault.to_owned(),
            target: target.to_owned(),
        });
    }

    /// Lets everything in the plan happen, and ends it again.
    async fn make_trouble(&mut self) {
        let plan = self.scenario.mix.plan(&mut self.dice, self.scenario.length);
        let mut plan = VecDeque::from(plan);
        let end = self.began + self.scenario.length;
        loop {
            let now = Instant::now();
            while plan.front().is_some_and(|p| self.began + p.at <= now) {
                let planned = plan.pop_front().expect("there is one");
                self.begin(planned).await;
            }
            self.look_around().await;
            let calm = plan.is_empty()
                && self.due.is_empty()
                && self.baits.is_empty()
                && self.recovering.is_none();
            if calm && now >= end {
                return;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Ends what is to be ended by now, springs traps, looks after the processes and the queue.
    async fn look_around(&mut self) {
        let now = Instant::now();
        while let Some(i) = self.due.iter().position(|(when, _)| *when <= now) {
            let (_, due) = self.due.swap_remove(i);
            self.end(due).await;
        }
        if self
            .recovering
            .as_ref()
            .is_some_and(|task| task.is_finished())
            && let Some(task) = self.recovering.take()
        {
            task.await.expect("the server comes back");
            self.redis_is_back();
        }
        self.spring_traps(now);
        self.note_silence();
        for place in &mut self.places {
            if place.state == State::Up
                && let Some(status) = place.part.ended()
            {
                place.state = State::Down;
                let (who, words) = (&place.part.who, place.part.last_words());
                let text = format!("{who} ended by itself ({status}): {words}");
                self.violations.push(fault_of(&text));
            }
        }
        if self.redis_away_since.is_none() && self.audited.elapsed() > AUDIT_EVERY {
            self.audit().await;
        }
    }

    /// Workers that are up; of those only the reachable ones are heard of.
    fn workers_up(&self, reachable: bool) -> usize {
        let workers = self.places[..self.scenario.workers].iter();
        let up =
            |place: &&Place| place.state == State::Up && !(reachable && place.held_since.is_some());
        workers.filter(up).count()
    }

    fn note_silence(&mut self) {
        if self.workers_up(true) == 0 {
            self.silent_since.get_or_insert_with(now_us);
        } else if let Some(since) = self.silent_since.take() {
            self.outages.push((since, now_us()));
        }
    }

    async fn audit(&mut self) {
        self.audited = Instant::now();
        match self.queue.audit(false).await {
            Ok(audit) => {
                for text in audit.violations {
                    let text = format!("audit after {:?}: {text}", self.began.elapsed());
                    self.violations.push(fault_of(&text));
                }
            }
            Err(QueueError::Unavailable(_)) => {}
            Err(error) => self.violations.push(fault_of(&format!("audit: {error}"))),
        }
    }

    fn is_worker(&self, index: usize) -> bool {
        index < self.scenario.workers
    }

    /// One of the places whose process is up, workers or producers.
    fn target(&self, pick: u64, workers: bool) -> Option<usize> {
        let up = (0..self.places.len())
            .filter(|i| self.places[*i].state == State::Up && self.is_worker(*i) == workers);
        Dice::new(pick).pick(&up.collect::<Vec<_>>()).copied()
    }

    /// One of the places with a process and a free way; workers rather than producers.
    fn reachable(&self, pick: u64) -> Option<usize> {
        let mut dice = Dice::new(pick);
        let workers = dice.percent(75);
        let free = (0..self.places.len()).filter(|i| {
            let place = &self.places[*i];
            place.state == State::Up && place.held_since.is_none() && self.is_worker(*i) == workers
        });
        dice.pick(&free.collect::<Vec<_>>()).copied()
    }

    fn later(&mut self, after: Duration, due: Due) {
        self.due.push((Instant::now() + after, due));
    }

    async fn begin(&mut self, planned: Planned) {
        let pick = planned.pick;
        let needs_redis = matches!(
            planned.fault,
            Fault::FreezeWorker
                | Fault::Pause(_)
                | Fault::Clock(_)
                | Fault::KillRedis(_)
                | Fault::HangRedis(_)
                | Fault::MoveSlot
        );
        // A Redis that hangs would hold the driver up, and with it everything else.
        if needs_redis && self.redis_away_since.is_some() {
            self.later(LOOK_EVERY, Due::Begin(planned));
            return;
        }
        match planned.fault {
            Fault::KillWorker => {
                if let Some(index) = self.target(pick, true) {
                    self.kill(index, Due::StartWorker(index));
                }
            }
            Fault::KillProducer => {
                if let Some(index) = self.target(pick, false) {
                    self.kill(index, Due::StartProducer(index));
                }
            }
            Fault::DrainWorker => {
                if let Some(index) = self.target(pick, true) {
                    let who = self.places[index].part.who.clone();
                    self.note("drained", &who);
                    self.places[index].state = State::Down;
                    self.places[index].part.signal(Signal::TERM);
                    self.later(Duration::from_secs(1), Due::StartWorker(index));
                }
            }
            Fault::FreezeWorker => self.set_bait(pick).await,
            Fault::LoseAnswer(function, caller) => {
                if let Some(index) = self.target(pick, caller == Caller::Worker) {
                    let who = self.places[index].part.who.clone();
                    self.note("lost answer", &format!("{who}: {function}"));
                    self.places[index].proxy().lose_answer(function);
                }
            }
            Fault::Cut => {
                if let Some(index) = self.reachable(pick) {
                    let who = self.places[index].part.who.clone();
                    self.note("cut", &who);
                    self.places[index].proxy().cut();
                }
            }
            Fault::CutAll => {
                self.note("cut from all", "redis");
                for place in &self.places {
                    place.proxy().cut();
                }
            }
            Fault::Refuse(long) => self.hold(pick, Mode::Refuse, long, Then::Passes).await,
            Fault::HoldReplies(long, then) => {
                self.hold(pick, Mode::HoldReplies, long, then).await;
            }
            Fault::HoldAll(long, then) => self.hold(pick, Mode::HoldAll, long, then).await,
            Fault::KillRedis(long) => {
                self.redis_goes_away("killed Redis");
                let down = tokio::task::block_in_place(|| self.topology().kill(pick));
                self.later(long, Due::BringBack(down));
            }
            Fault::HangRedis(long) => {
                self.redis_goes_away("hung Redis");
                let down = tokio::task::block_in_place(|| self.topology().freeze(pick));
                self.later(long, Due::BringBack(down));
            }
            Fault::MoveSlot => {
                let shards = self.config.shards();
                let shard = u16::try_from(pick % u64::from(shards)).expect("a shard");
                let base = Keys::new(PREFIX, shard).base().to_owned();
                self.redis_goes_away("moved slot");
                self.recover(move |redis| redis.move_slot(&base));
            }
            Fault::Pause(long) => self.pause(pick, long).await,
            Fault::Clock(skew_ms) => {
                self.note("moved clock", &format!("{skew_ms} ms"));
                for shard in 0..self.config.shards() {
                    let key = library::skew_key(Keys::new(PREFIX, shard).base());
                    let mut set = redis::cmd("SET");
                    set.arg(key).arg(skew_ms);
                    let () = self.queue.query(&set).await.expect("Redis is there");
                }
            }
        }
    }

    fn kill(&mut self, index: usize, due: Due) {
        let who = self.places[index].part.who.clone();
        // Before it: the record must not be later than the death.
        self.note(KILLED, &who);
        self.places[index].state = State::Down;
        self.places[index].part.kill();
        let after = self.dice.ms(200, 1_500);
        self.later(after, due);
    }

    async fn hold(&mut self, pick: u64, mode: Mode, long: Duration, then: Then) {
        let Some(index) = self.reachable(pick) else {
            return;
        };
        let who = self.places[index].part.who.clone();
        self.note(&format!("{mode:?}"), &who);
        let place = &mut self.places[index];
        place.held_since = Some(now_us());
        place.proxy().set(mode);
        if mode == Mode::Refuse {
            place.proxy().cut();
        }
        self.later(long, Due::Free(index, then));
        if self.is_worker(index) && self.redis_away_since.is_none() {
            let running = self.running_at(index);
            if let Some(job) = self.dice.pick(&running).copied() {
                self.cancel(job).await;
            }
        }
    }

    /// What a worker runs, by its own word.
    fn running_at(&self, index: usize) -> Vec<JobId> {
        let mut running = Vec::new();
        for record in read(&self.places[index].part.history()) {
            match record.what {
                What::Claimed { job, .. } => running.push(job),
                What::Ended { job, .. } => running.retain(|other| *other != job),
                _ => {}
            }
        }
        running
    }

    /// Cancels a job of whoever it is. Its worker may be told only after it has ended it.
    async fn cancel(&mut self, job: JobId) {
        let Ok(Some(record)) = self.queue.read(job).await else {
            return;
        };
        self.history.note(What::Canceling { job });
        if let Ok(outcome) = self.queue.cancel(&record.tenant, job).await {
            let answer = outcome.into();
            self.history.note(What::CancelAnswered { job, answer });
        }
    }

    async fn pause(&mut self, pick: u64, long: Duration) {
        let mut dice = Dice::new(pick);
        let scope = match dice.between(0, 2) {
            0 => PauseScope::All,
            1 => PauseScope::Lane(*dice.pick(Lane::ALL).expect("lanes")),
            _ => PauseScope::Tenant(dice.pick(&self.tenants).expect("tenants").clone()),
        };
        // Whether it took effect may be unknown; the resume undoes it either way.
        let _ = self.queue.pause(&scope).await;
        self.note("paused", &format!("{scope:?}"));
        self.paused.push((scope, now_us()));
        self.later(long, Due::Resume(self.paused.len() - 1));
    }

    /// Submits the job in whose upload a worker will be frozen.
    async fn set_bait(&mut self, pick: u64) {
        // A tenant of its own each, which owes nothing for an earlier one's long attempt.
        let number = self.faults.get(FROZEN).copied().unwrap_or(0) + self.baits.len();
        let tenant: TenantId = format!("bait-{number}").parse().expect("a name");
        let order = Order {
            tenant: tenant.clone(),
            recipe: Recipe {
                takes_ms: 20,
                again_ms: u64::try_from(BAIT_AGAIN.as_millis()).unwrap_or(u64::MAX),
                fate: Fate::Good,
            },
            work: None,
            deadline_s: None,
            key: None,
        };
        let job = producer::new_id(&tenant);
        let trap = self.store.trap(job);
        self.history.note(What::Submitting {
            job,
            order: order.clone(),
        });
        let new = producer::new_job(job, &order, Lane::Interactive, Duration::ZERO);
        let reply = self
            .queue
            .enqueue(&tenant, std::slice::from_ref(&new))
            .await;
        if let Ok(replies) = reply {
            let accepted = matches!(replies[..], [Enqueued::Accepted | Enqueued::Exists(_)]);
            assert!(accepted, "a bait was answered {replies:?}");
            self.history.note(What::Submitted {
                job,
                answer: Answer::Accepted,
            });
        }
        self.baits.push(Bait {
            trap,
            pick,
            until: Instant::now() + BAIT_MAX,
        });
    }

    /// Freezes the workers whose uploads are held.
    fn spring_traps(&mut self, now: Instant) {
        let mut waiting = Vec::new();
        for mut bait in std::mem::take(&mut self.baits) {
            let caught = bait.trap.caught.try_recv().ok();
            if caught.is_none() && now < bait.until {
                waiting.push(bait);
                continue;
            }
            let of = |who: String| self.places.iter().position(|place| place.part.who == who);
            let index = caught.and_then(of).or_else(|| self.target(bait.pick, true));
            if let Some(index) = index
                && self.workers_up(false) >= NOT_FROZEN_MIN
                && self.places[index].state == State::Up
            {
                let who = self.places[index].part.who.clone();
                self.note(FROZEN, &who);
                self.places[index].part.signal(Signal::STOP);
                self.places[index].state = State::Frozen;
                self.later(FROZEN_FOR, Due::Thaw(index));
            }
            // Now the answer goes out, and waits for the worker to come back.
            drop(bait.trap.release);
        }
        self.baits = waiting;
    }

    async fn end(&mut self, due: Due) {
        match due {
            Due::Begin(planned) => Box::pin(self.begin(planned)).await,
            Due::StartWorker(index) => {
                if !self.gone(index).await {
                    // It drains; its place is taken when it is gone.
                    self.later(LOOK_EVERY, due);
                    return;
                }
                self.start_again(index, None);
            }
            Due::StartProducer(index) => {
                let heir_of = self.places[index].part.history();
                self.start_again(index, Some(heir_of));
            }
            Due::Thaw(index) => {
                let who = self.places[index].part.who.clone();
                self.note("thawed", &who);
                self.places[index].part.signal(Signal::CONT);
                self.places[index].state = State::Up;
            }
            Due::Free(index, then) => {
                let place = &mut self.places[index];
                if then == Then::IsCut {
                    place.proxy().cut();
                }
                place.proxy().set(Mode::Pass);
                if let Some(since) = place.held_since.take() {
                    let who = place.part.who.clone();
                    self.cut_off.push((who, since, now_us()));
                }
            }
            Due::BringBack(down) => self.recover(move |redis| redis.bring_back(down)),
            Due::Resume(index) => {
                let (scope, since) = self.paused[index].clone();
                if self.redis_away_since.is_some() || self.queue.resume(&scope).await.is_err() {
                    self.later(LOOK_EVERY, due);
                } else {
                    self.pauses.push((since, now_us()));
                }
            }
        }
    }

    fn redis_goes_away(&mut self, fault: &str) {
        self.redis_away_since = Some(now_us());
        self.note(fault, "redis");
    }

    /// Has the server do something that takes its time.
    fn recover(&mut self, what: impl FnOnce(&mut Topology) + Send + 'static) {
        let redis = Arc::clone(&self.redis);
        let task = move || what(&mut redis.lock().expect("no panic while locked"));
        self.recovering = Some(tokio::task::spawn_blocking(task));
    }

    fn redis_is_back(&mut self) {
        if let Some(since) = self.redis_away_since.take() {
            self.outages.push((since, now_us()));
        }
    }

    /// Whether a place's process has ended; one that drains must end well.
    async fn gone(&mut self, index: usize) -> bool {
        let part = &mut self.places[index].part;
        let Some(status) = part.ended() else {
            return false;
        };
        let killed = std::os::unix::process::ExitStatusExt::signal(&status) == Some(9);
        if !status.success() && !killed {
            let text = format!("{} ended with {status}: {}", part.who, part.last_words());
            self.violations.push(fault_of(&text));
        }
        true
    }

    fn start_again(&mut self, index: usize, heir_of: Option<PathBuf>) {
        let url = self.places[index].proxy.as_ref().map(Proxy::url);
        let url = url.unwrap_or_else(|| self.config.url.clone());
        let part = self.part(index, &url, heir_of);
        let place = &mut self.places[index];
        // A way that is held is held for the next one from now on.
        if let Some(since) = place.held_since.as_mut() {
            self.cut_off
                .push((place.part.who.clone(), *since, now_us()));
            *since = now_us();
        }
        place.part = part;
        place.state = State::Up;
    }

    /// Ends the producers, waits until no job is left, ends the workers.
    async fn come_to_rest(&mut self) {
        let workers = self.scenario.workers;
        self.end_places(workers, self.places.len()).await;
        let began = Instant::now();
        loop {
            let left = self
                .queue
                .stats()
                .await
                .map(|s| s.ready + s.delayed + s.running + s.following);
            if matches!(left, Ok(0)) {
                break;
            }
            if began.elapsed() > self.scenario.quiet_max {
                let text = format!(
                    "not quiet {:?} after the last fault: {left:?} jobs are left",
                    self.scenario.quiet_max
                );
                self.violations.push(fault_of(&text));
                break;
            }
            self.look_around().await;
            tokio::time::sleep(LOOK_EVERY).await;
        }
        self.end_places(0, workers).await;
        self.audit().await;
    }

    async fn end_places(&mut self, from: usize, to: usize) {
        for place in &mut self.places[from..to] {
            place.state = State::Down;
            place.part.signal(Signal::TERM);
        }
        for index in from..to {
            let part = &mut self.places[index].part;
            let ended = part.end(END_MAX).await;
            if !ended.is_some_and(|status| status.success()) {
                let text = format!(
                    "{} ended with {ended:?} within {END_MAX:?} of SIGTERM: {}",
                    part.who,
                    part.last_words()
                );
                self.violations.push(fault_of(&text));
            }
        }
    }

    async fn judge(mut self, watch: &StallWatch) -> Outcome {
        let mut records: Vec<_> = self.histories.iter().flat_map(|path| read(path)).collect();
        records.sort_by_key(|record| record.at_us);
        let asked: BTreeSet<JobId> = records.iter().filter_map(|r| r.what.job()).collect();
        let mut jobs = BTreeMap::new();
        for job in &asked {
            match look_up(&self.queue, *job).await {
                Ok(Some(found)) => {
                    jobs.insert(*job, found);
                }
                Ok(None) => {}
                Err(error) => self.violations.push(Violation {
                    job: Some(*job),
                    text: format!("cannot be read: {error}"),
                }),
            }
        }
        let stats = self.queue.stats().await.unwrap_or_else(|error| {
            self.violations.push(fault_of(&format!("stats: {error}")));
            Stats::default()
        });
        if let Some(code) = &self.scenario.library
            && !library::is_there(&self.queue, code).await
        {
            let text = "the functions were replaced by others: the run proves nothing";
            self.violations.push(fault_of(text));
        }
        let mut replaced = Vec::new();
        for config in self.topology().copies(PREFIX) {
            replaced.push(Queue::new(&config).expect("a URL"));
        }
        let mut had = Vec::new();
        for queue in replaced {
            let mut found = BTreeMap::new();
            for job in &asked {
                match look_up(&queue, *job).await {
                    Ok(Some(there)) => {
                        found.insert(*job, there);
                    }
                    Ok(None) => {}
                    Err(error) => {
                        let text = format!("{job} in a replaced master: {error}");
                        self.violations.push(fault_of(&text));
                    }
                }
            }
            had.push(found);
        }
        let Loss { lost, rewound } = checker::loss(&had, &jobs);
        for (job, key) in self.store.refused() {
            // An epoch is given again when Redis forgot the first time.
            if !rewound.contains(&job) {
                let text = format!("two contents came for {key}");
                self.violations.push(fault_of(&text));
            }
        }
        let evidence = Evidence {
            records,
            jobs,
            stats,
            stored: self.store.stored(),
            caps: std::mem::take(&mut self.caps),
            outages: std::mem::take(&mut self.outages),
            cut_off: std::mem::take(&mut self.cut_off),
            pauses: std::mem::take(&mut self.pauses),
            clock_moved: !self.scenario.mix.clock.is_empty(),
            stall: watch.longest(),
            durable: self.scenario.durable,
            lost_by_redis: lost,
            rewound,
        };
        let (found, figures) = checker::check(&evidence);
        self.violations.extend(found);
        Outcome {
            evidence,
            violations: self.violations,
            figures,
            faults: self.faults,
            folder: self.folder,
        }
    }
}

/// A job as the queue tells it.
async fn look_up(queue: &Queue, job: JobId) -> Result<Option<Final>, QueueError> {
    let Some(record) = queue.read(job).await? else {
        return Ok(None);
    };
    let events = queue.events(job, None, 10_000).await?;
    Ok(Some(Final::new(&record, &events)))
}

/// Measures for how long this process was not let run.
struct StallWatch {
    longest_us: Arc<AtomicU64>,
    _task: AbortOnDropHandle<()>,
}

impl StallWatch {
    fn start() -> Self {
        let longest_us = Arc::new(AtomicU64::new(0));
        let longest = Arc::clone(&longest_us);
        let task = tokio::spawn(async move {
            let nap = Duration::from_millis(20);
            loop {
                let began = Instant::now();
                tokio::time::sleep(nap).await;
                let late = began.elapsed().saturating_sub(nap).as_micros();
                longest.fetch_max(u64::try_from(late).unwrap_or(u64::MAX), Ordering::Relaxed);
            }
        });
        Self {
            longest_us,
            _task: AbortOnDropHandle::new(task),
        }
    }

    fn longest(&self) -> Duration {
        Duration::from_micros(self.longest_us.load(Ordering::Relaxed))
    }
}
