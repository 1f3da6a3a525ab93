//! Jobs arrive, start when the scheduler says so, and end when their length is over.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Simulated milliseconds since the beginning of a run.
pub type Ms = u64;

/// Jobs that a backlogged tenant keeps waiting, at least.
const BACKLOG: usize = 100;
/// No run may take longer than this (simulated): a scheduler that starves someone is a bug to show,
/// not to wait for.
const RUN_MAX: Ms = 7 * 24 * 3_600_000;

/// A small generator of random numbers (SplitMix64): the same seed gives the same load everywhere.
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// One stream of numbers per seed and use.
    pub fn new(seed: u64, stream: u64) -> Self {
        let mut random = Self(seed.wrapping_mul(0x9e37_79b9).wrapping_add(stream) << 20);
        random.unit();
        random
    }

    /// From 0 to less than 1.
    pub fn unit(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Evenly from `low` to `high`, rounded.
    pub fn between(&mut self, low: f64, high: f64) -> Ms {
        (low + (high - low) * self.unit()).round() as Ms
    }

    /// Time to the next event of a Poisson process.
    pub fn gap(&mut self, mean: f64) -> f64 {
        -mean * (1.0 - self.unit()).ln()
    }
}

/// How long a tenant's jobs run.
#[derive(Debug, Clone, Copy)]
pub enum Length {
    /// Evenly between the two.
    Even(Ms, Ms),
    /// One of the two; the first in this share of the cases.
    Either(Ms, Ms, f64),
}

impl Length {
    pub fn draw(self, random: &mut Random) -> Ms {
        match self {
            Self::Even(low, high) => random.between(low as f64, high as f64),
            Self::Either(first, second, share) => {
                if random.unit() < share {
                    first
                } else {
                    second
                }
            }
        }
    }
}

/// Where a tenant's jobs come from.
#[derive(Debug, Clone)]
pub enum Source {
    /// When each job arrives and how long it runs, in order.
    Timed(Vec<(Ms, Ms)>),
    /// There is always work waiting, from the first instant on.
    Backlogged(Length, Random),
}

/// One tenant of a load.
#[derive(Debug, Clone)]
pub struct Tenant {
    pub name: String,
    pub weight: f64,
    pub source: Source,
    /// The run goes on until all its jobs have ended.
    pub awaited: bool,
}

/// What happens in a run.
#[derive(Debug, Clone)]
pub struct Load {
    pub tenants: Vec<Tenant>,
    pub slots: usize,
    /// The run goes on at least until then.
    pub until: Ms,
}

/// One job of a run. Jobs are named by their place in the list of all.
#[derive(Debug, Clone, Copy)]
pub struct Job {
    pub tenant: usize,
    pub submitted: Ms,
    pub length: Ms,
    pub started: Option<Ms>,
}

impl Job {
    /// From submit to start.
    pub fn wait(&self) -> Option<Ms> {
        Some(self.started? - self.submitted)
    }

    /// When it ended, or will.
    pub fn end(&self) -> Option<Ms> {
        Some(self.started? + self.length)
    }

    /// How long it ran between two instants.
    pub fn ran_within(&self, from: Ms, to: Ms) -> Ms {
        match (self.started, self.end()) {
            (Some(start), Some(end)) => end.min(to).saturating_sub(start.max(from)),
            _ => 0,
        }
    }
}

/// Decides which job starts when.
pub trait Scheduler {
    /// Time has come to `now`.
    async fn advance(&mut self, now: Ms);
    /// Jobs of one tenant arrive.
    async fn submit(&mut self, tenant: usize, jobs: &[usize]);
    /// A running job ended.
    async fn end(&mut self, job: usize);
    /// Which jobs start now; they run from now on. Asked until it names none.
    async fn start(&mut self) -> Vec<usize>;
    /// When it wants to be asked even if nothing happens until then.
    fn wakes_at(&self) -> Option<Ms>;
}

/// Runs a load to its end; returns all jobs that were ever submitted.
pub async fn run(load: &Load, scheduler: &mut impl Scheduler) -> Vec<Job> {
    let mut jobs: Vec<Job> = Vec::new();
    let mut ends: BinaryHeap<Reverse<(Ms, usize)>> = BinaryHeap::new();
    let mut arrivals: Vec<(Ms, usize, Ms)> = Vec::new();
    let mut sources: Vec<Source> = load.tenants.iter().map(|t| t.source.clone()).collect();
    let mut waiting = vec![0usize; load.tenants.len()];
    for (tenant, source) in sources.iter().enumerate() {
        if let Source::Timed(timed) = source {
            arrivals.extend(timed.iter().map(|&(at, length)| (at, tenant, length)));
        }
    }
    // What one tenant sends at one instant stays in order.
    arrivals.sort_by_key(|&(at, tenant, _)| (at, tenant));
    let mut arrivals = arrivals.into_iter().peekable();
    let mut awaited: usize = load
        .tenants
        .iter()
        .map(|tenant| match &tenant.source {
            Source::Timed(timed) if tenant.awaited => timed.len(),
            _ => 0,
        })
        .sum();
    let mut now = 0;
    loop {
        scheduler.advance(now).await;
        while let Some(&Reverse((at, job))) = ends.peek()
            && at <= now
        {
            ends.pop();
            awaited -= usize::from(load.tenants[jobs[job].tenant].awaited);
            scheduler.end(job).await;
        }
        let mut arrived: Vec<(usize, Vec<usize>)> = Vec::new();
        while let Some((at, tenant, length)) = arrivals.next_if(|&(at, ..)| at <= now) {
            if arrived.last().is_none_or(|(last, _)| *last != tenant) {
                arrived.push((tenant, Vec::new()));
            }
            arrived.last_mut().expect("just made").1.push(jobs.len());
            jobs.push(Job {
                tenant,
                submitted: at,
                length,
                started: None,
            });
        }
        for (tenant, ids) in &arrived {
            waiting[*tenant] += ids.len();
            scheduler.submit(*tenant, ids).await;
        }
        loop {
            for (tenant, source) in sources.iter_mut().enumerate() {
                if let Source::Backlogged(length, random) = source
                    && waiting[tenant] < BACKLOG
                {
                    let first = jobs.len();
                    jobs.extend((0..BACKLOG).map(|_| Job {
                        tenant,
                        submitted: now,
                        length: length.draw(random),
                        started: None,
                    }));
                    waiting[tenant] += BACKLOG;
                    let ids: Vec<usize> = (first..jobs.len()).collect();
                    scheduler.submit(tenant, &ids).await;
                }
            }
            let started = scheduler.start().await;
            if started.is_empty() {
                break;
            }
            for id in started {
                let job = &mut jobs[id];
                assert!(job.started.is_none(), "a job starts once");
                job.started = Some(now);
                waiting[job.tenant] -= 1;
                ends.push(Reverse((now + job.length, id)));
            }
            assert!(ends.len() <= load.slots, "a slot runs one job at a time");
        }
        if now >= load.until && awaited == 0 {
            return jobs;
        }
        let next = [
            ends.peek().map(|end| end.0.0),
            arrivals.peek().map(|arrival| arrival.0),
            scheduler.wakes_at(),
            (now < load.until).then_some(load.until),
        ];
        let next = next
            .into_iter()
            .flatten()
            .min()
            .expect("awaited jobs run or wait");
        now = next.max(now + 1);
        assert!(now < RUN_MAX, "{awaited} jobs were starved");
    }
}
