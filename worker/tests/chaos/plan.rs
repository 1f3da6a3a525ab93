//! What goes wrong in a run, and when: drawn from a seed, so that it can be repeated.

use std::time::Duration;

use manimq_shared::queue::LEASE;

use crate::checker::{FROZEN, KILLED};
use crate::dice::Dice;

/// Faults as they stand in the history, beside [`KILLED`] and [`FROZEN`].
pub const DRAINED: &str = "drained";
pub const LOST_ANSWER: &str = "lost answer";
pub const CUT: &str = "cut";
pub const KILLED_REDIS: &str = "killed Redis";
pub const HUNG_REDIS: &str = "hung Redis";
pub const MOVED_SLOT: &str = "moved slot";
pub const PAUSED: &str = "paused";
pub const MOVED_CLOCK: &str = "moved clock";

/// A worker is frozen for two leases.
pub const FROZEN_FOR: Duration = LEASE.saturating_mul(2);

/// One thing that goes wrong. Which process it hits is decided by `pick` when its time comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// `kill -9`, and another takes its place a little later.
    KillWorker,
    /// SIGTERM: the worker gives back what it runs.
    DrainWorker,
    /// SIGSTOP for two leases, in the middle of an upload; then it comes back as a zombie.
    FreezeWorker,
    KillProducer,
    /// The answer to the next call of this function is lost, to a worker or to a producer.
    LoseAnswer(&'static str, Caller),
    /// Connections of one process are cut.
    Cut,
    /// The same for all processes.
    CutAll,
    /// One process cannot connect for so long.
    Refuse(Duration),
    /// Answers to one process are held for so long; then they arrive, or are cut.
    HoldReplies(Duration, Then),
    /// Everything to and from one process.
    HoldAll(Duration, Then),
    /// `kill -9` of Redis, which is started again after so long.
    KillRedis(Duration),
    /// Redis stops answering for so long.
    HangRedis(Duration),
    /// The slot of a shard moves to another node of the Cluster.
    MoveSlot,
    /// An operator pauses something for so long.
    Pause(Duration),
    /// The server's clock is off by so many milliseconds from now on.
    Clock(i64),
}

/// Who calls a function.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Caller {
    Worker,
    Producer,
}

/// Functions whose answers are lost, as they are named in a call.
const ANSWERS: [(&str, Caller); 8] = [
    ("_finish", Caller::Worker),
    ("_finish", Caller::Worker),
    ("_finish", Caller::Worker),
    ("_fail", Caller::Worker),
    ("_claim", Caller::Worker),
    ("_renew", Caller::Worker),
    ("_enqueue", Caller::Producer),
    ("_cancel", Caller::Producer),
];

/// How a connection that was held goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Then {
    Passes,
    IsCut,
}

/// How often each thing happens in a run.
#[derive(Debug, Clone, Default)]
pub struct Mix {
    pub kills: u64,
    pub drains: u64,
    pub freezes: u64,
    pub producer_kills: u64,
    pub lost_answers: u64,
    pub cuts: u64,
    pub cuts_of_all: u64,
    pub refusals: u64,
    pub holds: u64,
    pub redis_kills: u64,
    pub redis_hangs: u64,
    pub slot_moves: u64,
    pub pauses: u64,
    /// Where the server's clock goes, in milliseconds from the true time.
    pub clock: Vec<i64>,
}

/// A fault and its time.
#[derive(Debug, Clone, Copy)]
pub struct Planned {
    pub at: Duration,
    pub fault: Fault,
    /// Decides on the target.
    pub pick: u64,
}

impl Mix {
    /// By its name in the history, what a run must have seen: what was asked for, of the faults that always find a
    /// target sooner or later.
    pub fn expected(&self) -> Vec<&'static str> {
        let clock_moves = u64::try_from(self.clock.len()).unwrap_or(0);
        [
            (self.kills + self.producer_kills, KILLED),
            (self.freezes, FROZEN),
            (self.drains, DRAINED),
            (self.lost_answers, LOST_ANSWER),
            (self.cuts, CUT),
            (self.redis_kills, KILLED_REDIS),
            (self.redis_hangs, HUNG_REDIS),
            (self.slot_moves, MOVED_SLOT),
            (self.pauses, PAUSED),
            (clock_moves, MOVED_CLOCK),
        ]
        .into_iter()
        .filter_map(|(asked, name)| (asked > 0).then_some(name))
        .collect()
    }

    /// Spreads the faults over `length`; those that need time to be over come early.
    pub fn plan(&self, dice: &mut Dice, length: Duration) -> Vec<Planned> {
        let mut plan = Vec::new();
        let share = |percent: u32| length * percent / 100;
        // They last long: the last one comes back as things calm down.
        let early = length.saturating_sub(FROZEN_FOR).max(share(10));
        let mut spread =
            |count: u64, window: Duration, fault: &mut dyn FnMut(&mut Dice) -> Fault| {
                let window = u64::try_from(window.as_millis()).unwrap_or(u64::MAX);
                for n in 0..count {
                    let (from, to) = (window * n / count, window * (n + 1) / count);
                    plan.push(Planned {
                        at: dice.ms(from, to),
                        fault: fault(dice),
                        pick: dice.roll(),
                    });
                }
            };
        spread(self.freezes, early, &mut |_| Fault::FreezeWorker);
        spread(self.kills, share(75), &mut |_| Fault::KillWorker);
        spread(self.drains, share(90), &mut |_| Fault::DrainWorker);
        spread(self.producer_kills, share(100), &mut |_| {
            Fault::KillProducer
        });
        spread(self.lost_answers, share(100), &mut |dice| {
            let (function, caller) = *dice.pick(&ANSWERS).expect("some");
            Fault::LoseAnswer(function, caller)
        });
        spread(self.cuts, share(100), &mut |_| Fault::Cut);
        spread(self.cuts_of_all, share(100), &mut |_| Fault::CutAll);
        spread(self.refusals, share(90), &mut |dice| {
            Fault::Refuse(dice.ms(200, 4_000))
        });
        spread(self.holds, share(80), &mut |dice| {
            let long = if dice.percent(25) {
                dice.ms(2_000, 7_000)
            } else {
                dice.ms(100, 1_500)
            };
            // Answers that never arrive are what makes a caller repeat itself.
            if dice.percent(60) {
                let cut = dice.percent(75);
                Fault::HoldReplies(long, if cut { Then::IsCut } else { Then::Passes })
            } else {
                let cut = dice.percent(50);
                Fault::HoldAll(long, if cut { Then::IsCut } else { Then::Passes })
            }
        });
        spread(self.redis_kills, share(90), &mut |dice| {
            Fault::KillRedis(dice.ms(0, 1_500))
        });
        spread(self.redis_hangs, share(70), &mut |dice| {
            Fault::HangRedis(dice.ms(500, 6_000))
        });
        spread(self.slot_moves, share(90), &mut |_| Fault::MoveSlot);
        spread(self.pauses, share(90), &mut |dice| {
            Fault::Pause(dice.ms(200, 1_500))
        });
        let mut clock = self.clock.iter();
        let moves = u64::try_from(clock.len()).unwrap_or(0);
        spread(moves, share(100), &mut |_| {
            Fault::Clock(*clock.next().expect("one a move"))
        });
        plan.sort_by_key(|planned| planned.at);
        plan
    }
}
