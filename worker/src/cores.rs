//! Which cores of this machine a job may take: those that no other slot is using when it starts.

use std::sync::{Arc, Mutex, PoisonError};

/// The machine's cores, shared by all slots of a worker.
#[derive(Debug, Clone)]
pub struct Cores {
    total: u32,
    per_job_max: u32,
    taken: Arc<Mutex<u32>>,
}

/// What one job has taken; dropping it gives the cores back.
#[derive(Debug)]
#[must_use = "the cores are given back when this is dropped"]
pub struct Taken {
    cores: u32,
    from: Cores,
}

impl Cores {
    /// `total` cores, of which one job takes at most `per_job_max`.
    #[must_use]
    pub fn new(total: u32, per_job_max: u32) -> Self {
        Self {
            total: total.max(1),
            per_job_max: per_job_max.max(1),
            taken: Arc::default(),
        }
    }

    /// Takes what is idle, but always one: a slot renders, however busy the others are.
    pub fn take(&self) -> Taken {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let idle = self.total.saturating_sub(*taken);
        let cores = idle.clamp(1, self.per_job_max);
        *taken += cores;
        Taken {
            cores,
            from: self.clone(),
        }
    }
}

impl Taken {
    /// How many.
    #[must_use]
    pub fn count(&self) -> u32 {
        self.cores
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        let mut taken = self
            .from
            .taken
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *taken -= self.cores;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_takes_what_is_idle_and_gives_it_back() {
        let cores = Cores::new(8, 6);
        let first = cores.take();
        let second = cores.take();
        let third = cores.take();
        assert_eq!([&first, &second, &third].map(Taken::count), [6, 2, 1]);
        drop(first);
        assert_eq!(cores.take().count(), 5);
        drop((second, third));
        assert_eq!(cores.take().count(), 6);
    }

    #[test]
    fn one_core_per_job_is_one_core_whatever_is_idle() {
        let cores = Cores::new(64, 1);
        let (first, second) = (cores.take(), cores.take());
        assert_eq!((first.count(), second.count()), (1, 1));
    }
}
