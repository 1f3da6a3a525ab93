//! Tenants as labels: never more than a few, whatever is submitted by whom.

use std::collections::{BTreeSet, HashMap};
use std::str::FromStr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::ids::TenantId;
use crate::queue::TenantFigures;

/// The label of all tenants that have none of their own.
pub const OTHER: &str = "other";
/// Most tenants with labels of their own.
const MOST: usize = 50;
/// A tenant of whom nothing was counted for so long makes room for another one.
const QUIET: Duration = Duration::from_secs(600);

/// Which tenants have series of their own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Shown {
    /// Those with most jobs at present, so many.
    Top(usize),
    /// These.
    Listed(BTreeSet<String>),
}

impl Default for Shown {
    fn default() -> Self {
        Self::Top(10)
    }
}

impl FromStr for Shown {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let shown = match text.trim().parse() {
            Ok(count) => Self::Top(count),
            Err(_) => {
                let names = text.split(',').map(|name| {
                    let name = name.trim();
                    let known = name.parse::<TenantId>();
                    known.map(|id| id.to_string()).map_err(|_| {
                        format!(
                            "{name:?} is no tenant: write a number, or tenants with commas between"
                        )
                    })
                });
                Self::Listed(names.collect::<Result<_, _>>()?)
            }
        };
        let count = match &shown {
            Self::Top(count) => *count,
            Self::Listed(names) => names.len(),
        };
        if count > MOST {
            return Err(format!(
                "{count} tenants are too many for labels of metrics; at most {MOST}"
            ));
        }
        Ok(shown)
    }
}

impl Shown {
    /// The tenants of a survey, those with most jobs first; by name among equals, so that they do not take turns.
    fn ranked(tenants: &[TenantFigures]) -> Vec<&TenantFigures> {
        let mut ranked: Vec<&TenantFigures> =
            tenants.iter().filter(|of| !of.tenant.is_canary()).collect();
        ranked.sort_by_key(|of| {
            (
                std::cmp::Reverse(of.running + of.waiting),
                of.tenant.as_str(),
            )
        });
        ranked
    }

    /// Jobs of a survey that run and that wait, by label. The tenants that are not shown are one.
    #[must_use]
    pub fn jobs(&self, tenants: &[TenantFigures]) -> HashMap<String, (u64, u64)> {
        let mut labels = HashMap::from([(OTHER.to_owned(), (0, 0))]);
        if let Self::Listed(names) = self {
            labels.extend(names.iter().map(|name| (name.clone(), (0, 0))));
        }
        for (rank, of) in Self::ranked(tenants).into_iter().enumerate() {
            let own = match self {
                Self::Top(count) => rank < *count,
                Self::Listed(names) => names.contains(of.tenant.as_str()),
            };
            let label = if own { of.tenant.as_str() } else { OTHER };
            let figures = labels.entry(label.to_owned()).or_default();
            figures.0 += of.running;
            figures.1 += of.waiting;
        }
        labels
    }

    /// The tenants that are shown, of a survey's or those that were listed.
    #[must_use]
    pub fn tenants(&self, tenants: &[TenantFigures]) -> Vec<TenantId> {
        match self {
            Self::Top(count) => {
                let ranked = Self::ranked(tenants).into_iter().take(*count);
                ranked.map(|of| of.tenant.clone()).collect()
            }
            Self::Listed(names) => names.iter().filter_map(|name| name.parse().ok()).collect(),
        }
    }
}

/// Which label a tenant's counters of this process have. A label is given away only after a quiet time ([`QUIET`]),
/// and its counters then begin anew at zero, which is what a reset looks like to whoever takes rates of it: nothing is
/// counted twice. Clones share it.
#[derive(Debug, Clone)]
pub struct Labels {
    shown: Shown,
    own: Arc<Mutex<HashMap<String, Instant>>>,
}

impl Labels {
    /// For these tenants.
    #[must_use]
    pub fn new(shown: Shown) -> Self {
        Self {
            shown,
            own: Arc::default(),
        }
    }

    /// Labels that are there from the beginning.
    pub fn first(&self) -> impl Iterator<Item = &str> {
        let listed = match &self.shown {
            Shown::Listed(names) => Some(names),
            Shown::Top(_) => None,
        };
        let listed = listed.into_iter().flatten().map(String::as_str);
        std::iter::once(OTHER).chain(listed)
    }

    /// The label of a tenant of whom something is counted now, and whether it has just got it. `forget` removes the
    /// series of a label that is given away.
    pub fn of<'a>(&self, tenant: &'a TenantId, forget: impl FnOnce(&str)) -> (&'a str, bool) {
        self.of_at(tenant, Instant::now(), forget)
    }

    fn of_at<'a>(
        &self,
        tenant: &'a TenantId,
        now: Instant,
        forget: impl FnOnce(&str),
    ) -> (&'a str, bool) {
        let name = tenant.as_str();
        let own = match &self.shown {
            Shown::Listed(names) => names.contains(name).then_some(false),
            Shown::Top(most) => self.has_label(name, *most, now, forget),
        };
        own.map_or((OTHER, false), |new| (name, new))
    }

    /// Whether a label is new; `None` if it is not to be had.
    fn has_label(
        &self,
        name: &str,
        most: usize,
        now: Instant,
        forget: impl FnOnce(&str),
    ) -> Option<bool> {
        if name == OTHER {
            return None; // a tenant of that name is among them
        }
        let mut own = self.own.lock().expect("no panic while locked");
        if let Some(last) = own.get_mut(name) {
            *last = now;
            return Some(false);
        }
        if own.len() >= most {
            let quiet = own
                .iter()
                .min_by_key(|(_, last)| **last)
                .filter(|(_, last)| now.saturating_duration_since(**last) >= QUIET)
                .map(|(label, _)| label.clone())?;
            own.remove(&quiet);
            forget(&quiet);
        }
        own.insert(name.to_owned(), now);
        Some(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures(name: &str, waiting: u64) -> TenantFigures {
        TenantFigures {
            tenant: name.parse().unwrap(),
            running: 1,
            waiting,
            following: 0,
            oldest: Duration::ZERO,
        }
    }

    #[test]
    fn of_ten_thousand_tenants_ten_have_labels_and_no_job_is_lost() {
        let labels = Labels::new(Shown::default());
        for round in 0..5 {
            let tenants: Vec<_> = (0..10_000)
                .map(|n| figures(&format!("t{n}"), (n * 7919 + round * 4001) % 10_000))
                .collect();
            let jobs = Shown::default().jobs(&tenants);
            assert_eq!(jobs.len(), 11);
            let sum = |of: fn(&(u64, u64)) -> u64| jobs.values().map(of).sum::<u64>();
            assert_eq!((sum(|of| of.0), sum(|of| of.1)), (10_000, 9999 * 5000));
            let shown = Shown::default().tenants(&tenants);
            assert_eq!(shown.len(), 10);
            assert!(shown.iter().all(|id| jobs.contains_key(id.as_str())));
            let counted: BTreeSet<&str> = tenants
                .iter()
                .map(|of| labels.of(&of.tenant, |_| panic!("nobody was quiet")).0)
                .collect();
            assert_eq!(counted.len(), 11, "round {round}");
        }
    }

    #[test]
    fn a_label_is_given_away_only_after_a_quiet_time() {
        fn never(label: &str) {
            panic!("{label} was not quiet for long");
        }
        let labels = Labels::new(Shown::Top(1));
        let (first, second): (TenantId, TenantId) =
            ("first".parse().unwrap(), "second".parse().unwrap());
        let start = Instant::now();
        assert_eq!(labels.of_at(&first, start, never), ("first", true));
        assert_eq!(labels.of_at(&first, start, never), ("first", false));
        let label = labels.of_at(&second, start + QUIET / 2, never);
        assert_eq!(label, (OTHER, false));
        let mut gone = String::new();
        let label = labels.of_at(&second, start + QUIET, |label| label.clone_into(&mut gone));
        assert_eq!((label, gone.as_str()), (("second", true), "first"));
        let label = labels.of_at(&first, start + QUIET * 3, |label| {
            label.clone_into(&mut gone);
        });
        assert_eq!((label, gone.as_str()), (("first", true), "second"));
    }

    #[test]
    fn listed_tenants_are_shown_even_when_they_have_no_jobs() {
        let shown: Shown = "acme, beta".parse().unwrap();
        let tenants = [figures("beta", 2), figures("gamma", 9)];
        let jobs = shown.jobs(&tenants);
        assert_eq!(jobs["acme"], (0, 0));
        assert_eq!(jobs["beta"], (1, 2));
        assert_eq!(jobs[OTHER], (1, 9));
        assert_eq!(jobs.len(), 3);
        let names: Vec<_> = shown.tenants(&tenants);
        assert_eq!(names, ["acme".parse().unwrap(), "beta".parse().unwrap()]);
        let labels = Labels::new(shown);
        let gamma: TenantId = "gamma".parse().unwrap();
        let label = labels.of(&gamma, |_| panic!("none is given away"));
        assert_eq!(label, (OTHER, false));
        assert_eq!(labels.first().collect::<Vec<_>>(), [OTHER, "acme", "beta"]);
    }

    #[test]
    fn what_names_no_tenants_or_too_many_is_refused_with_the_reason() {
        assert_eq!("0".parse(), Ok(Shown::Top(0)));
        let error = "51".parse::<Shown>().unwrap_err();
        assert!(error.contains("at most 50"), "{error}");
        let error = "acme,Not A Tenant".parse::<Shown>().unwrap_err();
        assert!(error.contains("\"Not A Tenant\" is no tenant"), "{error}");
    }
}
