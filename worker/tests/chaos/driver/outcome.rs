//! How a run ended.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use manimq_shared::ids::JobId;
use manimq_shared::queue::{Queue, QueueError, Stats};

use super::{Driver, PREFIX, fault_of};
use crate::checker::{self, Figures, Violation};
use crate::evidence::{self, Evidence, Final, Loss};
use crate::history::read;
use crate::library;
use crate::stall::StallWatch;

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

impl Driver {
    /// Collects what everybody saw, and has it checked.
    pub(super) async fn judge(mut self, watch: &StallWatch) -> Outcome {
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
        let Loss { lost, rewound } = evidence::loss(&had, &jobs);
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
