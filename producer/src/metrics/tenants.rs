//! What is told of tenants: their jobs and quotas now, and what they were refused.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex};

use manimq_shared::ids::TenantId;
use manimq_shared::metrics as defined;
use manimq_shared::metrics::tenants::{Labels, Shown};
use manimq_shared::queue::{QuotaUsage, TenantFigures};
use prometheus::{IntCounterVec, IntGaugeVec, Registry};

/// The name of the quota on jobs that run, which no submit is refused for.
const RUNNING_JOBS: &str = "running_jobs";

/// A gauge with labels that come and go.
#[derive(Clone)]
struct Changing {
    gauge: IntGaugeVec,
    before: Arc<Mutex<BTreeSet<Vec<String>>>>,
}

impl Changing {
    fn new(gauge: IntGaugeVec) -> Self {
        Self {
            gauge,
            before: Arc::default(),
        }
    }

    /// Sets it, and takes away what was there before and is not now.
    fn set(&self, now: impl IntoIterator<Item = (Vec<String>, u64)>) {
        let mut before = self.before.lock().expect("no panic while locked");
        let mut gone = std::mem::take(&mut *before);
        for (labels, value) in now {
            let value = i64::try_from(value).unwrap_or(i64::MAX);
            self.gauge.with_label_values(&labels).set(value);
            gone.remove(&labels);
            before.insert(labels);
        }
        for labels in gone {
            let _ = self.gauge.remove_label_values(&labels);
        }
    }
}

/// Jobs and quotas of the tenants that are shown.
#[derive(Clone)]
pub(super) struct Tenants {
    running: Changing,
    waiting: Changing,
    used: Changing,
    limit: Changing,
    pub(super) shown: Shown,
}

impl Tenants {
    pub(super) fn new(r: &Registry, shown: Shown) -> Self {
        Self {
            running: Changing::new(defined::TENANT_JOBS_RUNNING.gauge(r)),
            waiting: Changing::new(defined::TENANT_JOBS_WAITING.gauge(r)),
            used: Changing::new(defined::TENANT_QUOTA_USED.gauge(r)),
            limit: Changing::new(defined::TENANT_QUOTA_LIMIT.gauge(r)),
            shown,
        }
    }

    /// Tells nothing any more.
    pub(super) fn forget(&self) {
        for gauge in [&self.running, &self.waiting, &self.used, &self.limit] {
            gauge.set([]);
        }
    }

    /// Tells the jobs of a survey, and what tenants use.
    pub(super) fn set(&self, surveyed: &[TenantFigures], quotas: &[(TenantId, QuotaUsage)]) {
        let jobs: HashMap<String, (u64, u64)> = self.shown.jobs(surveyed);
        let of = |(name, _): &(&String, &(u64, u64))| vec![(*name).clone()];
        self.running
            .set(jobs.iter().map(|pair| (of(&pair), pair.1.0)));
        self.waiting
            .set(jobs.iter().map(|pair| (of(&pair), pair.1.1)));
        let (mut used, mut limit) = (Vec::new(), Vec::new());
        for (tenant, usage) in quotas {
            let axes = usage.used().into_iter();
            let mut axes: Vec<_> = axes
                .map(|axis| (axis.policy.as_str(), axis.used, axis.limit))
                .collect();
            if let Some(most) = usage.quotas.running_max {
                axes.push((RUNNING_JOBS, usage.running, most.into()));
            }
            for (policy, is, most) in axes {
                let labels = vec![tenant.to_string(), policy.to_owned()];
                used.push((labels.clone(), is));
                limit.push((labels, most));
            }
        }
        self.used.set(used);
        self.limit.set(limit);
    }
}

/// Counts refusals by tenant.
#[derive(Debug, Clone)]
pub(crate) struct Rejections {
    counter: IntCounterVec,
    labels: Labels,
}

impl Rejections {
    pub(crate) fn new(counter: IntCounterVec, shown: Shown) -> Self {
        let labels = Labels::new(shown);
        for label in labels.first() {
            counter.with_label_values(&[label]);
        }
        Self { counter, labels }
    }

    /// Counts one.
    pub(crate) fn inc(&self, tenant: &TenantId) {
        let (label, _) = self.labels.of(tenant, |gone| {
            let _ = self.counter.remove_label_values(&[gone]);
        });
        self.counter.with_label_values(&[label]).inc();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn series(registry: &Registry) -> usize {
        let families = registry.gather();
        families.iter().map(|f| f.get_metric().len()).sum()
    }

    #[test]
    fn ten_thousand_tenants_make_eleven_series_of_each_metric_of_their_jobs() {
        let registry = Registry::new();
        let tenants = Tenants::new(&registry, Shown::default());
        let rejections = Rejections::new(
            defined::TENANT_REJECTIONS.counter(&registry),
            Shown::default(),
        );
        for round in 0..5 {
            let figures: Vec<_> = (0..10_000)
                .map(|n| TenantFigures {
                    tenant: format!("t{n}").parse().unwrap(),
                    running: 1,
                    waiting: (n * 7919 + round * 4001) % 10_000,
                    following: 0,
                    oldest: Duration::ZERO,
                })
                .collect();
            tenants.set(&figures, &[]);
            figures.iter().for_each(|of| rejections.inc(&of.tenant));
            assert_eq!(series(&registry), 33, "round {round}");
        }
        let other = rejections.counter.with_label_values(&["other"]).get();
        assert_eq!(other, 5 * 9990);
    }

    #[test]
    fn a_gauge_of_a_tenant_or_quota_that_is_gone_is_gone_too() {
        let registry = Registry::new();
        let gauge = Changing::new(defined::TENANT_QUOTA_USED.gauge(&registry));
        let labels = |tenant: &str, policy: &str| vec![tenant.to_owned(), policy.to_owned()];
        gauge.set([
            (labels("ann", "queued_jobs"), 3),
            (labels("ann", "submits_per_day"), 9),
            (labels("ben", "queued_jobs"), 1),
        ]);
        assert_eq!(series(&registry), 3);
        gauge.set([(labels("ann", "queued_jobs"), 4)]);
        assert_eq!(series(&registry), 1);
        let left = gauge.gauge.with_label_values(&["ann", "queued_jobs"]);
        assert_eq!(left.get(), 4);
    }
}
