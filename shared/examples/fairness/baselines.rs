//! What most queues do: first come, first served, or one job of each tenant in turn.

use std::collections::VecDeque;

use super::sim::{Ms, Scheduler};

/// First come, first served.
pub struct Fifo {
    free: usize,
    waiting: VecDeque<usize>,
}

impl Fifo {
    pub fn new(slots: usize) -> Self {
        Self {
            free: slots,
            waiting: VecDeque::new(),
        }
    }
}

impl Scheduler for Fifo {
    async fn advance(&mut self, _now: Ms) {}

    async fn submit(&mut self, _tenant: usize, jobs: &[usize]) {
        self.waiting.extend(jobs);
    }

    async fn end(&mut self, _job: usize) {
        self.free += 1;
    }

    async fn start(&mut self) -> Vec<usize> {
        let n = self.free.min(self.waiting.len());
        self.free -= n;
        self.waiting.drain(..n).collect()
    }

    fn wakes_at(&self) -> Option<Ms> {
        None
    }
}

/// One job of each tenant that has work, in turn.
pub struct RoundRobin {
    free: usize,
    waiting: Vec<VecDeque<usize>>,
    /// Tenants with work, the next one first.
    ring: VecDeque<usize>,
}

impl RoundRobin {
    pub fn new(slots: usize, tenants: usize) -> Self {
        Self {
            free: slots,
            waiting: vec![VecDeque::new(); tenants],
            ring: VecDeque::new(),
        }
    }
}

impl Scheduler for RoundRobin {
    async fn advance(&mut self, _now: Ms) {}

    async fn submit(&mut self, tenant: usize, jobs: &[usize]) {
        if self.waiting[tenant].is_empty() {
            self.ring.push_back(tenant);
        }
        self.waiting[tenant].extend(jobs);
    }

    async fn end(&mut self, _job: usize) {
        self.free += 1;
    }

    async fn start(&mut self) -> Vec<usize> {
        let mut started = Vec::new();
        while self.free > 0
            && let Some(tenant) = self.ring.pop_front()
        {
            started.extend(self.waiting[tenant].pop_front());
            if !self.waiting[tenant].is_empty() {
                self.ring.push_back(tenant);
            }
            self.free -= 1;
        }
        started
    }

    fn wakes_at(&self) -> Option<Ms> {
        None
    }
}
