//! Leaves alone who fails: after a few failures in a row nothing is sent for a time that doubles,
//! then one call tries again. Who says when it wants to be asked again is believed.
//!
//! Answers that come too late count for the tenant alone that asked: a prompt can be made to have a long one.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Duration;

use manimq_shared::ids::TenantId;
use tokio::time::Instant;

/// Failures in a row that open it.
const FAILURES_MAX: u32 = 3;
/// The longest rest.
const REST_MAX: Duration = Duration::from_secs(600);

pub(super) struct Breaker {
    rest_min: Duration,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    failures: u32,
    failed_at: Option<Instant>,
    until: Option<Instant>,
}

impl Breaker {
    /// `rest_min`: the first rest.
    pub fn new(rest_min: Duration) -> Self {
        Self {
            rest_min,
            state: Mutex::default(),
        }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().expect("no panic while locked")
    }

    /// Whether it rests, or waits for the one call that tries again.
    pub fn is_open(&self) -> bool {
        self.state().until.is_some()
    }

    /// How long nothing may be sent. After that time one call is let through, and the rest begins
    /// anew for all others until it has ended.
    pub fn rests(&self, now: Instant) -> Option<Duration> {
        let mut state = self.state();
        let until = state.until?;
        if now < until {
            return Some(until - now);
        }
        state.until = Some(now + self.rest_min);
        None
    }

    /// A call worked that began at `asked`. One from before the last failure says nothing about it.
    pub fn works(&self, asked: Instant) {
        let mut state = self.state();
        if state.failed_at.is_none_or(|at| asked >= at) {
            *state = State::default();
        }
    }

    /// Notes a failure. The rest that follows from it, if one does.
    pub fn failed(&self, now: Instant, retry_after: Option<Duration>) -> Option<Duration> {
        let mut state = self.state();
        state.failures = state.failures.saturating_add(1);
        state.failed_at = Some(now);
        let doublings = state.failures.checked_sub(FAILURES_MAX);
        let rest = match (retry_after, doublings) {
            (Some(told), _) => Some(told.min(REST_MAX)),
            (None, Some(n)) => Some((self.rest_min * 2u32.pow(n.min(6))).min(REST_MAX)),
            (None, None) => None,
        };
        state.until = rest.map(|rest| now + rest);
        rest
    }
}

/// Tenants of which something is remembered.
const TENANTS_MAX: usize = 1000;

/// A breaker for each tenant.
pub(super) struct Breakers {
    rest_min: Duration,
    of: Mutex<HashMap<TenantId, Breaker>>,
}

impl Breakers {
    /// As [`Breaker::new`].
    pub fn new(rest_min: Duration) -> Self {
        Self {
            rest_min,
            of: Mutex::default(),
        }
    }

    fn of(&self) -> std::sync::MutexGuard<'_, HashMap<TenantId, Breaker>> {
        self.of.lock().expect("no panic while locked")
    }

    /// As [`Breaker::rests`].
    pub fn rests(&self, tenant: &TenantId, now: Instant) -> Option<Duration> {
        self.of().get(tenant)?.rests(now)
    }

    /// As [`Breaker::works`].
    pub fn works(&self, tenant: &TenantId, asked: Instant) {
        if let Some(breaker) = self.of().get(tenant) {
            breaker.works(asked);
        }
    }

    /// As [`Breaker::failed`].
    pub fn failed(&self, tenant: &TenantId, now: Instant) -> Option<Duration> {
        let mut of = self.of();
        if of.len() >= TENANTS_MAX && !of.contains_key(tenant) {
            // They learn it again.
            of.clear();
        }
        let breaker = of.entry(tenant.clone());
        let breaker = breaker.or_insert_with(|| Breaker::new(self.rest_min));
        breaker.failed(now, None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_one_tenant_meets_is_no_others_and_no_number_of_tenants_takes_much_memory() {
        let breakers = Breakers::new(Duration::from_secs(10));
        let now = Instant::now();
        let [a, b]: [TenantId; 2] = ["a", "b"].map(|name| name.parse().unwrap());
        for _ in 0..3 {
            breakers.failed(&a, now);
        }
        assert!(breakers.rests(&a, now).is_some());
        assert_eq!(breakers.rests(&b, now), None);
        breakers.works(&a, now);
        assert_eq!(breakers.rests(&a, now), None);
        for n in 0..3 * TENANTS_MAX {
            breakers.failed(&format!("t{n}").parse().unwrap(), now);
        }
        assert!(breakers.of().len() <= TENANTS_MAX);
    }

    #[test]
    fn three_failures_open_it_for_longer_each_time_and_one_success_closes_it() {
        let breaker = Breaker::new(Duration::from_secs(10));
        let mut now = Instant::now();
        breaker.failed(now, None);
        breaker.failed(now, None);
        assert_eq!(breaker.rests(now), None);
        for rest in [10, 20, 40, 80, 160, 320, 600, 600] {
            let rest = Duration::from_secs(rest);
            assert_eq!(breaker.failed(now, None), Some(rest));
            assert_eq!(breaker.rests(now), Some(rest));
            now += rest;
            assert_eq!(breaker.rests(now), None, "one may try");
            assert!(breaker.rests(now).is_some(), "the others wait for it");
            assert!(breaker.is_open());
        }
        breaker.works(now);
        assert!(!breaker.is_open());
        breaker.failed(now, None);
        assert_eq!(breaker.rests(now), None);
        breaker.failed(now, Some(Duration::from_secs(7)));
        assert_eq!(breaker.rests(now), Some(Duration::from_secs(7)));
        // An answer that was on its way by then ends no rest.
        breaker.works(now - Duration::from_secs(1));
        assert_eq!(breaker.rests(now), Some(Duration::from_secs(7)));
        breaker.failed(now, Some(Duration::MAX));
        assert_eq!(breaker.rests(now), Some(REST_MAX));
    }
}
