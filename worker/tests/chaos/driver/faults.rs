//! What the driver does to processes and servers, and how it ends it.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use manimq_shared::ids::{JobId, TenantId};
use manimq_shared::job::Lane;
use manimq_shared::keys::Keys;
use manimq_shared::queue::{Enqueued, PauseScope};
use rustix::process::Signal;

use super::{
    BAIT_AGAIN, BAIT_MAX, Bait, Driver, Due, LOOK_EVERY, NOT_FROZEN_MIN, PREFIX, State, fault_of,
};
use crate::checker::{FROZEN, KILLED};
use crate::dice::Dice;
use crate::history::{Answer, Fate, Order, Recipe, What, now_us, read};
use crate::plan::{self, Caller, FROZEN_FOR, Fault, Planned, Then};
use crate::proxy::{Mode, Proxy};
use crate::topology::Topology;
use crate::{library, producer};

impl Driver {
    pub(super) async fn begin(&mut self, planned: Planned) {
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
                    if !self.places[index].part.listens() {
                        self.later(LOOK_EVERY, Due::Begin(planned));
                        return;
                    }
                    let who = self.places[index].part.who.clone();
                    self.note(plan::DRAINED, &who);
                    self.places[index].state = State::Down;
                    self.places[index].part.signal(Signal::TERM);
                    self.later(Duration::from_secs(1), Due::StartWorker(index));
                }
            }
            Fault::FreezeWorker => self.set_bait(pick).await,
            Fault::LoseAnswer(function, caller) => {
                if let Some(index) = self.target(pick, caller == Caller::Worker) {
                    let who = self.places[index].part.who.clone();
                    self.note(plan::LOST_ANSWER, &format!("{who}: {function}"));
                    self.places[index].proxy().lose_answer(function);
                }
            }
            Fault::Cut => {
                if let Some(index) = self.reachable(pick) {
                    let who = self.places[index].part.who.clone();
                    self.note(plan::CUT, &who);
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
                self.redis_goes_away(plan::KILLED_REDIS);
                let down = tokio::task::block_in_place(|| self.topology().kill(pick));
                self.later(long, Due::BringBack(down));
            }
            Fault::HangRedis(long) => {
                self.redis_goes_away(plan::HUNG_REDIS);
                let down = tokio::task::block_in_place(|| self.topology().freeze(pick));
                self.later(long, Due::BringBack(down));
            }
            Fault::MoveSlot => {
                let shards = self.config.shards();
                let shard = u16::try_from(pick % u64::from(shards)).expect("a shard");
                let base = Keys::new(PREFIX, shard).base().to_owned();
                self.redis_goes_away(plan::MOVED_SLOT);
                self.recover(move |redis| redis.move_slot(&base));
            }
            Fault::Pause(long) => self.pause(pick, long).await,
            Fault::Clock(skew_ms) => {
                self.note(plan::MOVED_CLOCK, &format!("{skew_ms} ms"));
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
        self.note(plan::PAUSED, &format!("{scope:?}"));
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
    pub(super) fn spring_traps(&mut self, now: Instant) {
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

    pub(super) async fn end(&mut self, due: Due) {
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

    pub(super) fn redis_is_back(&mut self) {
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
}
