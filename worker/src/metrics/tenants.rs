//! What jobs of a few tenants came to, as this worker saw it. Counters only, and few: see [`Labels`].

use std::time::Duration;

use manimq_shared::ids::TenantId;
use manimq_shared::job::FailureClass;
use manimq_shared::metrics::tenants::{Labels, Shown};
use manimq_shared::metrics::{TENANT_JOBS_FINISHED, TENANT_SLOT_SECONDS, TENANT_SUBMIT_TO_END};
use prometheus::{CounterVec, IntCounterVec, Registry};

/// Counters with a tenant as their label.
#[derive(Clone)]
pub struct Tenants {
    finished: IntCounterVec,
    slot_seconds: CounterVec,
    submit_to_end: CounterVec,
    labels: Labels,
}

impl Tenants {
    pub(super) fn new(r: &Registry, shown: Shown) -> Self {
        let tenants = Self {
            finished: TENANT_JOBS_FINISHED.counter(r),
            slot_seconds: TENANT_SLOT_SECONDS.counter_f64(r),
            submit_to_end: TENANT_SUBMIT_TO_END.counter_f64(r),
            labels: Labels::new(shown),
        };
        for label in tenants.labels.first() {
            tenants.begin_at_zero(label);
        }
        tenants
    }

    /// An attempt begins. What it comes to is then counted from the zero that a scrape has seen meanwhile.
    pub fn began(&self, tenant: &TenantId) {
        self.label(tenant);
    }

    /// An attempt took a slot for so long, whatever came of it.
    pub fn attempted(&self, tenant: &TenantId, took: Duration) {
        if let Some(label) = self.label(tenant) {
            let counter = self.slot_seconds.with_label_values(&[label]);
            counter.inc_by(took.as_secs_f64());
        }
    }

    /// A job ended, so long after its submit. `class`: of a failed one.
    pub fn ended(&self, tenant: &TenantId, status: &str, class: &str, since_submit_s: f64) {
        if let Some(label) = self.label(tenant) {
            let labels = [label, status, class];
            self.finished.with_label_values(&labels).inc();
            let counter = self.submit_to_end.with_label_values(&[label]);
            // A counter does not take less than nothing, and clocks differ.
            counter.inc_by(since_submit_s.max(0.0));
        }
    }

    /// The label of a tenant; the canary has none.
    fn label<'a>(&self, tenant: &'a TenantId) -> Option<&'a str> {
        if tenant.is_canary() {
            return None;
        }
        let (label, new) = self.labels.of(tenant, |gone| self.forget(gone));
        if new {
            self.begin_at_zero(label);
        }
        Some(label)
    }

    /// What a first job shows an increase from, a failed one, too.
    fn begin_at_zero(&self, label: &str) {
        for (status, class) in endings() {
            self.finished.with_label_values(&[label, status, class]);
        }
        self.slot_seconds.with_label_values(&[label]);
        self.submit_to_end.with_label_values(&[label]);
    }

    fn forget(&self, label: &str) {
        for (status, class) in endings() {
            let _ = self.finished.remove_label_values(&[label, status, class]);
        }
        let _ = self.slot_seconds.remove_label_values(&[label]);
        let _ = self.submit_to_end.remove_label_values(&[label]);
    }
}

/// How a job can end at a worker: status and class.
fn endings() -> impl Iterator<Item = (&'static str, &'static str)> {
    let failed = FailureClass::ALL.iter();
    let failed = failed.map(|class| ("failed", class.as_str()));
    [("succeeded", ""), ("canceled", "")]
        .into_iter()
        .chain(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_thousand_tenants_make_eleven_series_of_each_counter_and_lose_no_job() {
        let registry = Registry::new();
        let tenants = Tenants::new(&registry, Shown::default());
        for n in 0..10_000 {
            let tenant = format!("t{n}").parse().unwrap();
            tenants.attempted(&tenant, Duration::from_secs(2));
            tenants.ended(&tenant, "succeeded", "", 3.0);
        }
        tenants.ended(&TenantId::canary(), "succeeded", "", 3.0);
        let families = registry.gather();
        for family in &families {
            let of_each = match family.name() {
                "manimq_tenant_jobs_finished_total" => endings().count(),
                _ => 1,
            };
            let series = family.get_metric().len();
            assert_eq!(series, 11 * of_each, "{}", family.name());
        }
        let sum = |family: &prometheus::proto::MetricFamily| {
            let values = family
                .get_metric()
                .iter()
                .map(|m| m.get_counter().get_value());
            values.sum::<f64>()
        };
        let sums: Vec<f64> = families.iter().map(sum).collect();
        assert_eq!(sums, [10_000.0, 20_000.0, 30_000.0]);
    }

    #[test]
    fn a_tenants_first_failure_is_an_increase() {
        let registry = Registry::new();
        let tenants = Tenants::new(&registry, Shown::default());
        let ann = "ann".parse().unwrap();
        tenants.began(&ann);
        let timeout = |n: u32| {
            let line = r#"manimq_tenant_jobs_finished_total{class="timeout",status="failed",tenant="ann"}"#;
            let text = String::from_utf8(manimq_shared::metrics::encode(&registry)).unwrap();
            assert!(text.contains(&format!("{line} {n}\n")), "{text}");
        };
        timeout(0);
        tenants.ended(&ann, "failed", "timeout", 1.0);
        timeout(1);
    }

    #[test]
    fn everything_of_a_label_that_is_given_away_is_forgotten() {
        let registry = Registry::new();
        let tenants = Tenants::new(&registry, Shown::Top(1));
        let ann = "ann".parse().unwrap();
        tenants.attempted(&ann, Duration::from_secs(1));
        tenants.ended(&ann, "succeeded", "", 1.0);
        tenants.ended(&ann, "canceled", "", 1.0);
        for class in FailureClass::ALL {
            tenants.ended(&ann, "failed", class.as_str(), 1.0);
        }
        tenants.forget("ann");
        let left = String::from_utf8(manimq_shared::metrics::encode(&registry)).unwrap();
        assert!(!left.contains("ann"), "{left}");
    }
}
