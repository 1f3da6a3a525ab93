//! Tenants as labels: never more than a few, whatever is submitted by whom.

use std::collections::{BTreeSet, HashMap};
use std::str::FromStr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use manimq_shared::ids::TenantId;
use manimq_shared::queue::TenantFigures;
use prometheus::{IntCounterVec, IntGaugeVec};

/// The label of all tenants that have none of their own.
pub(crate) const OTHER: &str = "other";
/// Most tenants with labels of their own.
const MOST: usize = 50;
/// A tenant that was refused nothing for so long makes room for another one.
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
    /// The tenants of a survey that are shown, by label: jobs that run and that wait. The others are one.
    pub(crate) fn of(&self, tenants: &[TenantFigures]) -> HashMap<String, (u64, u64)> {
        let mut ranked: Vec<&TenantFigures> =
            tenants.iter().filter(|of| !of.tenant.is_canary()).collect();
        // By name among equals, so that they do not take turns.
        ranked.sort_by_key(|of| {
            (
                std::cmp::Reverse(of.running + of.waiting),
                of.tenant.as_str(),
            )
        });
        let mut labels = HashMap::from([(OTHER.to_owned(), (0, 0))]);
        if let Self::Listed(names) = self {
            labels.extend(names.iter().map(|name| (name.clone(), (0, 0))));
        }
        for (rank, of) in ranked.into_iter().enumerate() {
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
}

/// Sets gauges of tenants, and takes away those of tenants that are not among the shown any more.
pub(crate) fn set_gauges(
    running: &IntGaugeVec,
    waiting: &IntGaugeVec,
    before: &mut BTreeSet<String>,
    now: HashMap<String, (u64, u64)>,
) {
    for gone in before.iter().filter(|label| !now.contains_key(*label)) {
        let _ = running.remove_label_values(&[gone]);
        let _ = waiting.remove_label_values(&[gone]);
    }
    for (label, (runs, waits)) in &now {
        let set = |gauge: &IntGaugeVec, value: u64| {
            gauge
                .with_label_values(&[label])
                .set(i64::try_from(value).unwrap_or(i64::MAX));
        };
        set(running, *runs);
        set(waiting, *waits);
    }
    *before = now.into_keys().collect();
}

/// Counts refusals by tenant. A label is given away only after [`QUIET`], and then begins anew at zero, which is
/// what a reset looks like to whoever takes rates of it: no refusal is counted twice.
#[derive(Debug, Clone)]
pub(crate) struct Rejections {
    counter: IntCounterVec,
    shown: Shown,
    labels: Arc<Mutex<HashMap<String, Instant>>>,
}

impl Rejections {
    pub(crate) fn new(counter: IntCounterVec, shown: Shown) -> Self {
        counter.with_label_values(&[OTHER]);
        if let Shown::Listed(names) = &shown {
            names.iter().for_each(|name| {
                counter.with_label_values(&[name]);
            });
        }
        Self {
            counter,
            shown,
            labels: Arc::default(),
        }
    }

    /// Counts one.
    pub(crate) fn inc(&self, tenant: &TenantId) {
        self.inc_at(tenant, Instant::now());
    }

    fn inc_at(&self, tenant: &TenantId, now: Instant) {
        let name = tenant.as_str();
        let own = match &self.shown {
            Shown::Listed(names) => names.contains(name),
            Shown::Top(most) => self.has_label(name, *most, now),
        };
        let label = if own { name } else { OTHER };
        self.counter.with_label_values(&[label]).inc();
    }

    fn has_label(&self, name: &str, most: usize, now: Instant) -> bool {
        let mut labels = self.labels.lock().expect("no panic while locked");
        if let Some(last) = labels.get_mut(name) {
            *last = now;
            return true;
        }
        if labels.len() >= most {
            let quiet = labels
                .iter()
                .min_by_key(|(_, last)| **last)
                .filter(|(_, last)| now.saturating_duration_since(**last) >= QUIET)
                .map(|(label, _)| label.clone());
            let Some(quiet) = quiet else { return false };
            labels.remove(&quiet);
            let _ = self.counter.remove_label_values(&[&quiet]);
        }
        labels.insert(name.to_owned(), now);
        true
    }
}

#[cfg(test)]
mod tests {
    use manimq_shared::metrics::{TENANT_JOBS_RUNNING, TENANT_JOBS_WAITING, TENANT_REJECTIONS};
    use prometheus::Registry;

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

    fn series(registry: &Registry) -> usize {
        let families = registry.gather();
        families.iter().map(|f| f.get_metric().len()).sum()
    }

    #[test]
    fn ten_thousand_tenants_make_eleven_series_of_each_metric_and_lose_no_job() {
        let registry = Registry::new();
        let running = TENANT_JOBS_RUNNING.gauge(&registry);
        let waiting = TENANT_JOBS_WAITING.gauge(&registry);
        let rejections = Rejections::new(TENANT_REJECTIONS.counter(&registry), Shown::default());
        let mut before = BTreeSet::new();
        for round in 0..5 {
            let tenants: Vec<_> = (0..10_000)
                .map(|n| figures(&format!("t{n}"), (n * 7919 + round * 4001) % 10_000))
                .collect();
            let labels = Shown::default().of(&tenants);
            let (mut runs, mut waits) = (0, 0);
            labels.values().for_each(|of| {
                runs += of.0;
                waits += of.1;
            });
            assert_eq!((runs, waits), (10_000, 9999 * 5000));
            set_gauges(&running, &waiting, &mut before, labels);
            tenants.iter().for_each(|of| rejections.inc(&of.tenant));
            assert_eq!(series(&registry), 33, "round {round}");
        }
        let other = rejections.counter.with_label_values(&[OTHER]).get();
        assert_eq!(other, 5 * 9990);
    }

    #[test]
    fn a_label_is_given_away_only_after_a_quiet_time_and_then_begins_at_zero() {
        let registry = Registry::new();
        let counter = TENANT_REJECTIONS.counter(&registry);
        let rejections = Rejections::new(counter.clone(), Shown::Top(1));
        let (first, second): (TenantId, TenantId) =
            ("first".parse().unwrap(), "second".parse().unwrap());
        let start = Instant::now();
        rejections.inc_at(&first, start);
        rejections.inc_at(&second, start + QUIET / 2);
        assert_eq!(counter.with_label_values(&[OTHER]).get(), 1);
        rejections.inc_at(&second, start + QUIET);
        assert_eq!(counter.with_label_values(&["second"]).get(), 1);
        assert_eq!(series(&registry), 2);
        rejections.inc_at(&first, start + QUIET * 3);
        assert_eq!(counter.with_label_values(&["first"]).get(), 1);
        assert_eq!(series(&registry), 2);
    }

    #[test]
    fn listed_tenants_are_shown_even_when_they_have_no_jobs() {
        let shown: Shown = "acme, beta".parse().unwrap();
        let labels = shown.of(&[figures("beta", 2), figures("gamma", 9)]);
        assert_eq!(labels["acme"], (0, 0));
        assert_eq!(labels["beta"], (1, 2));
        assert_eq!(labels[OTHER], (1, 9));
        assert_eq!(labels.len(), 3);
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
