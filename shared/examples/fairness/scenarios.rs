//! The loads, and what is measured in each.

use manimq_shared::testing::RedisServer;

use super::baselines::{Fifo, RoundRobin};
use super::queue::Manimq;
use super::sim::{self, Job, Length, Load, Ms, Random, Source, Tenant};

pub const MINUTE: Ms = 60_000;
pub const HOUR: Ms = 60 * MINUTE;
/// Simulated time before anything is measured: the light tenants are at work already.
pub const WARM: Ms = 10 * MINUTE;
/// Slots of one worker process.
const SLOTS_EACH: usize = 10;

/// Who decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Policy {
    Fifo,
    RoundRobin,
    /// Our queue with the elastic bound out of reach.
    Unbounded,
    Manimq,
}

impl Policy {
    pub const ALL: [Self; 4] = [Self::Fifo, Self::RoundRobin, Self::Unbounded, Self::Manimq];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Fifo => "first in, first out",
            Self::RoundRobin => "round robin by job",
            Self::Unbounded => "manimq without its elastic bound",
            Self::Manimq => "manimq",
        }
    }

    /// All jobs of a load, run under this policy.
    pub async fn run(self, server: &RedisServer, load: &Load) -> Vec<Job> {
        self.run_in_shards(1, server, load).await
    }

    /// The same, with the tenants spread over so many shards of the queue.
    pub async fn run_in_shards(self, shards: u16, server: &RedisServer, load: &Load) -> Vec<Job> {
        match self {
            Self::Fifo => sim::run(load, &mut Fifo::new(load.slots)).await,
            Self::RoundRobin => {
                let mut turns = RoundRobin::new(load.slots, load.tenants.len());
                sim::run(load, &mut turns).await
            }
            Self::Unbounded | Self::Manimq => {
                let bound = self == Self::Manimq;
                let mut queue = Manimq::new(server, load, SLOTS_EACH, bound, shards).await;
                let jobs = sim::run(load, &mut queue).await;
                queue.close().await;
                jobs
            }
        }
    }
}

/// A few heavy tenants that dump many long jobs at once, and light ones with short jobs.
#[derive(Debug, Clone, Copy)]
pub struct Flood {
    pub slots: usize,
    pub hours: f64,
    pub heavy: usize,
    /// Jobs of one dump, of all heavy tenants together.
    pub dump: usize,
    pub light: usize,
    /// The light tenants send nothing before: 0 for being at work long before the first dump.
    pub light_from: Ms,
}

/// How long a heavy job runs, and how often they come.
pub const HEAVY_JOB: Ms = 600_000;
const DUMP_EVERY: Ms = 30 * MINUTE;
/// A light tenant's jobs run 3 to 7 s and come every 40 s on average.
const LIGHT_JOB: Length = Length::Even(3_000, 7_000);
const LIGHT_GAP: f64 = 40_000.0;

/// What a flood did to its tenants.
#[derive(Debug, Clone)]
pub struct Flooded {
    /// Waits of the light tenants' jobs in seconds, from the shortest.
    pub light_waits_s: Vec<f64>,
    /// The same by when they were submitted: hours since the first dump, seconds.
    pub light_waits_by_time: Vec<(f64, f64)>,
    /// Heavy jobs that ran, per hour (parts of jobs count as such).
    pub heavy_jobs_per_hour: f64,
    /// Busy part of the slots.
    pub utilisation: f64,
}

impl Flood {
    /// `queue.md` §F: 50 slots, 400 jobs of 600 s every 30 min, 20 light tenants.
    pub const fn classic(hours: f64) -> Self {
        Self {
            slots: 50,
            hours,
            heavy: 1,
            dump: 400,
            light: 20,
            light_from: 0,
        }
    }

    /// The same for another number of slots.
    pub fn of_size(slots: usize, hours: f64) -> Self {
        Self {
            slots,
            dump: 8 * slots,
            light: (slots * 2 / 5).max(1),
            ..Self::classic(hours)
        }
    }

    /// The light tenants come a minute after the first dump and have not been seen before;
    /// until then nobody but the heavy tenant is active.
    pub fn from_silence(hours: f64) -> Self {
        Self {
            light_from: WARM + MINUTE,
            ..Self::classic(hours)
        }
    }

    fn window(&self) -> (Ms, Ms) {
        (WARM, WARM + (self.hours * HOUR as f64) as Ms)
    }

    pub fn load(&self, seed: u64) -> Load {
        let (from, to) = self.window();
        let mut tenants = Vec::new();
        for light in 0..self.light {
            let mut random = Random::new(seed, light as u64);
            let mut at = self.light_from as f64 + random.gap(LIGHT_GAP);
            let mut jobs = Vec::new();
            while at < to as f64 {
                jobs.push((at as Ms, LIGHT_JOB.draw(&mut random)));
                at += random.gap(LIGHT_GAP);
            }
            let source = Source::Timed(jobs);
            let name = format!("light-{light}");
            tenants.push(Tenant {
                name,
                weight: 1.0,
                source,
                awaited: true,
            });
        }
        for heavy in 0..self.heavy {
            let share = self.dump / self.heavy;
            let dumps = (from..to).step_by(DUMP_EVERY as usize);
            let jobs = dumps
                .flat_map(|at| std::iter::repeat_n((at, HEAVY_JOB), share))
                .collect();
            let source = Source::Timed(jobs);
            let name = format!("heavy-{heavy}");
            tenants.push(Tenant {
                name,
                weight: 1.0,
                source,
                awaited: false,
            });
        }
        Load {
            tenants,
            slots: self.slots,
            until: to,
        }
    }

    pub fn measure(&self, jobs: &[Job]) -> Flooded {
        let (from, to) = self.window();
        let light = |job: &&Job| job.tenant < self.light;
        let mut light_waits_by_time: Vec<(f64, f64)> = jobs
            .iter()
            .filter(light)
            .filter(|job| job.submitted >= from)
            .map(|job| {
                let wait = job.wait().expect("light jobs are awaited");
                (
                    (job.submitted - from) as f64 / HOUR as f64,
                    wait as f64 / 1e3,
                )
            })
            .collect();
        light_waits_by_time.sort_by(|a, b| a.0.total_cmp(&b.0));
        let mut light_waits_s: Vec<f64> = light_waits_by_time.iter().map(|wait| wait.1).collect();
        light_waits_s.sort_by(f64::total_cmp);
        let busy = |heavy_only: bool| -> Ms {
            jobs.iter()
                .filter(|job| !heavy_only || job.tenant >= self.light)
                .map(|job| job.ran_within(from, to))
                .sum()
        };
        Flooded {
            light_waits_s,
            light_waits_by_time,
            heavy_jobs_per_hour: busy(true) as f64 / HEAVY_JOB as f64 / self.hours,
            utilisation: busy(false) as f64 / (self.slots as u64 * (to - from)) as f64,
        }
    }
}

/// Tenants that always have work: who gets how much of the slots?
#[derive(Debug, Clone)]
pub struct Contest {
    pub slots: usize,
    pub minutes: u64,
    /// Weight and lengths of jobs of each.
    pub tenants: Vec<(f64, Length)>,
}

/// Who got what.
#[derive(Debug, Clone)]
pub struct Shares {
    /// Part of the slot time that each tenant got.
    pub got: Vec<f64>,
    /// Part that its weight entitles it to.
    pub entitled: Vec<f64>,
    /// Jain's index of slot time per weight: 1 is fair, 1/n is one tenant for all.
    pub jain: f64,
}

impl Contest {
    /// Weights 1, 2 and 4; who weighs less has the longer jobs, so that taking turns is wrong.
    pub fn weights() -> Self {
        let about = |s: u64| Length::Even(s * 500, s * 1500);
        Self {
            slots: 50,
            minutes: 60,
            tenants: vec![(1.0, about(60)), (2.0, about(30)), (4.0, about(15))],
        }
    }

    /// Equal weights and equal mean lengths, but the last tenant's jobs are many short ones and a
    /// few long ones: their usual length says little about the next one.
    pub fn uneven() -> Self {
        let (same, either) = (
            Length::Even(60_000, 60_000),
            Length::Either(5_000, 555_000, 0.9),
        );
        Self {
            slots: 50,
            minutes: 60,
            tenants: vec![(1.0, same), (1.0, either)],
        }
    }

    pub fn load(&self, seed: u64) -> Load {
        let tenants = (0..)
            .zip(&self.tenants)
            .map(|(i, &(weight, length))| Tenant {
                name: format!("t{i}"),
                weight,
                source: Source::Backlogged(length, Random::new(seed, i)),
                awaited: false,
            })
            .collect();
        Load {
            tenants,
            slots: self.slots,
            until: WARM + self.minutes * MINUTE,
        }
    }

    pub fn measure(&self, jobs: &[Job]) -> Shares {
        let mut ran = vec![0.0; self.tenants.len()];
        for job in jobs {
            ran[job.tenant] += job.ran_within(WARM, WARM + self.minutes * MINUTE) as f64;
        }
        let all: f64 = ran.iter().sum();
        let weights: f64 = self.tenants.iter().map(|tenant| tenant.0).sum();
        let per_weight: Vec<f64> = ran
            .iter()
            .zip(&self.tenants)
            .map(|(ran, tenant)| ran / tenant.0)
            .collect();
        Shares {
            got: ran.iter().map(|ran| ran / all).collect(),
            entitled: self
                .tenants
                .iter()
                .map(|tenant| tenant.0 / weights)
                .collect(),
            jain: jain(&per_weight),
        }
    }
}

/// (Σx)² / (n Σx²).
pub fn jain(values: &[f64]) -> f64 {
    let sum: f64 = values.iter().sum();
    let squares: f64 = values.iter().map(|value| value * value).sum();
    sum * sum / (values.len() as f64 * squares)
}

/// Ten jobs of a tenant behind ten thousand of another's, all of the same kind.
#[derive(Debug, Clone, Copy)]
pub struct Behind {
    pub slots: usize,
    pub length: Length,
    /// Jobs that are ahead; 0 for being alone.
    pub ahead: usize,
    /// Whether the tenant has sent jobs before, so that the queue knows their usual length.
    pub known: bool,
}

impl Behind {
    pub fn load(&self, seed: u64) -> Load {
        let mut random = Random::new(seed, 1);
        let mut ten: Vec<(Ms, Ms)> = (0..10)
            .map(|_| (WARM, self.length.draw(&mut random)))
            .collect();
        if self.known {
            let mut before = Random::new(seed, 3);
            let earlier = (0..20).map(|i| (i * 10_000, self.length.draw(&mut before)));
            ten = earlier.chain(ten).collect();
        }
        let mut random = Random::new(seed, 2);
        // They come shortly before, so that all slots are busy at moments that have spread.
        let head_start = 50 * self.length.draw(&mut random);
        let at = WARM.saturating_sub(head_start.min(WARM / 2));
        let others = (0..self.ahead)
            .map(|_| (at, self.length.draw(&mut random)))
            .collect();
        let tenant = |name: &str, jobs, awaited| Tenant {
            name: name.to_owned(),
            weight: 1.0,
            source: Source::Timed(jobs),
            awaited,
        };
        let tenants = vec![tenant("light", ten, true), tenant("heavy", others, false)];
        Load {
            tenants,
            slots: self.slots,
            until: WARM,
        }
    }

    /// Seconds from the submit of the ten to the end of the last of them.
    pub fn measure(&self, jobs: &[Job]) -> f64 {
        let ends = jobs
            .iter()
            .filter(|job| job.tenant == 0 && job.submitted == WARM);
        let last = ends.filter_map(Job::end).max().expect("ten jobs");
        (last - WARM) as f64 / 1e3
    }
}

/// The value below which this part of sorted values lies.
pub fn quantile(sorted: &[f64], part: f64) -> f64 {
    let last = sorted.len().saturating_sub(1);
    sorted
        .get((last as f64 * part).round() as usize)
        .copied()
        .unwrap_or(f64::NAN)
}

pub fn median(values: &[f64]) -> f64 {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    quantile(&values, 0.5)
}
