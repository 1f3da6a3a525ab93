//! Runs producers and workers, lets the plan go wrong, waits until all is quiet, collects what
//! everybody saw.

mod faults;
mod outcome;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use manimq_shared::ids::TenantId;
use manimq_shared::queue::{PauseScope, Queue, QueueError, Quotas, RedisConfig};

pub use self::outcome::Outcome;
use crate::checker::Violation;
use crate::dice::Dice;
use crate::evidence::Caps;
use crate::history::{History, What, now_us};
use crate::part::{Part, Role, Task};
use crate::plan::{Mix, Planned, Then};
use crate::proxy::Proxy;
use crate::stall::StallWatch;
use crate::store::{Store, Trap};
use crate::topology::{Down, Topology};
use crate::{library, producer, worker};

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
            place.part.ask_to_end(END_MAX).await;
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
}
