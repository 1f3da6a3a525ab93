//! Tokens an hour, and how tenants share them. What a call may cost at most is set aside before it, and
//! what it cost is counted after it; a call that nobody waited for counts as if it had cost all of that.
//!
//! One tenant alone may use four fifths of an hour. Once several have asked in it, each may use its equal
//! part: who has had more gets nothing more until the next hour, and the last fifth is for the others.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Duration;

use manimq_shared::ids::TenantId;
use tokio::time::Instant;

const HOUR: Duration = Duration::from_secs(3600);
/// What one film may take: each tenant's part is at least that, as long as the hour has some left.
const FILM_TOKENS: u64 = 10_000;

pub(super) struct Budget {
    tokens: u64,
    hour: Mutex<Hour>,
}

#[derive(Default)]
struct Hour {
    began: Option<Instant>,
    used: u64,
    by: HashMap<TenantId, u64>,
}

/// Tokens that are set aside; they count as used when it is dropped as it is.
#[must_use = "dropped, it counts as used"]
pub(super) struct Reserved<'a> {
    of: &'a Budget,
    by: TenantId,
    began: Instant,
    tokens: u64,
}

impl Budget {
    pub fn new(tokens_per_hour: u32) -> Self {
        Self {
            tokens: tokens_per_hour.into(),
            hour: Mutex::default(),
        }
    }

    /// Sets tokens aside; `None` if this hour has not so many left, or not for this tenant.
    pub fn reserve(&self, by: &TenantId, tokens: u64, now: Instant) -> Option<Reserved<'_>> {
        let mut hour = self.hour.lock().expect("no panic while locked");
        let began = match hour.began {
            Some(began) if now.duration_since(began) < HOUR => began,
            _ => {
                *hour = Hour {
                    began: Some(now),
                    ..Hour::default()
                };
                now
            }
        };
        let own = hour.by.get(by).copied();
        let asked = hour.by.len() + usize::from(own.is_none());
        let part = match asked {
            1 => self.tokens / 5 * 4,
            several => (self.tokens / several as u64).max(FILM_TOKENS.min(self.tokens / 5 * 4)),
        };
        let own = own.unwrap_or(0).saturating_add(tokens);
        if own > part || hour.used.saturating_add(tokens) > self.tokens {
            return None;
        }
        hour.used += tokens;
        hour.by.insert(by.clone(), own);
        Some(Reserved {
            of: self,
            by: by.clone(),
            began,
            tokens,
        })
    }
}

impl Reserved<'_> {
    /// What it cost in truth: perhaps more than was set aside, but no answer can empty the whole hour.
    pub fn used(self, tokens: u64) {
        let tokens = tokens.min(self.tokens.saturating_mul(4));
        let mut hour = self.of.hour.lock().expect("no panic while locked");
        if hour.began != Some(self.began) {
            return;
        }
        let settle = |counted: u64| counted.saturating_sub(self.tokens).saturating_add(tokens);
        hour.used = settle(hour.used);
        if let Some(own) = hour.by.get_mut(&self.by) {
            *own = settle(*own);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tenant(name: &str) -> TenantId {
        name.parse().unwrap()
    }

    #[test]
    fn an_hour_has_so_many_tokens_and_only_what_was_not_used_is_given_back() {
        let budget = Budget::new(100);
        let (now, a) = (Instant::now(), tenant("a"));
        let first = budget.reserve(&a, 80, now).unwrap();
        assert!(budget.reserve(&a, 1, now).is_none());
        first.used(10);
        drop(budget.reserve(&a, 60, now).unwrap());
        assert!(budget.reserve(&a, 11, now).is_none(), "70 are used");
        budget.reserve(&a, 10, now).unwrap().used(u64::MAX);
        assert!(budget.reserve(&tenant("b"), 1, now).is_none());
        assert!(budget.reserve(&a, 80, now + HOUR).is_some());
    }

    #[test]
    fn a_tenant_that_asked_for_much_leaves_something_for_the_others() {
        let budget = Budget::new(100);
        let now = Instant::now();
        let greedy = tenant("greedy");
        while let Some(reserved) = budget.reserve(&greedy, 10, now) {
            reserved.used(10);
        }
        for name in ["b", "c"] {
            let reserved = budget.reserve(&tenant(name), 10, now);
            reserved.expect("the last fifth is for others").used(10);
        }
        assert!(budget.reserve(&greedy, 1, now).is_none());
        // However many they are, each has enough for a film while there is some.
        let budget = Budget::new(500_000);
        for n in 0..200 {
            let reserved = budget.reserve(&tenant(&format!("t{n}")), 5000, now);
            reserved.expect("most of the hour is left").used(2000);
        }
        let budget = Budget::new(100);
        // What is counted later of an hour that is over changes nothing.
        let late = now + HOUR;
        let old = budget.reserve(&greedy, 10, late).unwrap();
        let fresh = budget.reserve(&greedy, 80, late + HOUR).unwrap();
        old.used(40);
        fresh.used(80);
        assert!(budget.reserve(&greedy, 1, late + HOUR).is_none());
    }
}
