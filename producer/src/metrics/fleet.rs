//! What every API process tells alike of the queue and the fleet, from one look at Redis.

use std::time::Duration;

use manimq_shared::ids::TenantId;
use manimq_shared::job::{FailureClass, Lane, Paused, Status};
use manimq_shared::metrics as defined;
use manimq_shared::metrics::tenants::Shown;
use manimq_shared::queue::{CanaryNote, LANES, LaneFigures, QuotaUsage, Stats, Survey};
use prometheus::{GaugeVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Registry};
use serde::Serialize;

use super::tenants::Tenants;

const NONE: &[&str] = &[];
/// What the queue ends of itself: status and failure class.
const SWEPT: [(Status, &str); 3] = [
    (Status::Failed, FailureClass::LostWorker.as_str()),
    (Status::Canceled, ""),
    (Status::Expired, ""),
];

/// The queue and the fleet at one time.
#[derive(Debug, Clone, Default)]
pub(crate) struct Picture {
    pub(crate) stats: Stats,
    pub(crate) survey: Survey,
    pub(crate) canary: CanaryNote,
    /// What the tenants that are shown use.
    pub(crate) quotas: Vec<(TenantId, QuotaUsage)>,
}

/// For autoscalers that have no Prometheus.
#[derive(Debug, Serialize)]
pub(crate) struct Scale {
    /// Waiting and running: what `slots` should be.
    jobs: u64,
    waiting: u64,
    delayed: u64,
    running: u64,
    /// Of workers that take jobs.
    slots: u64,
    slots_busy: u64,
    workers: usize,
    /// Whether an operator has paused everything: then more slots run nothing.
    paused: bool,
}

impl Scale {
    pub(crate) fn of(stats: &Stats) -> Self {
        let active = || stats.workers.iter().filter(|worker| !worker.draining);
        Self {
            jobs: stats.ready + stats.running,
            waiting: stats.ready,
            delayed: stats.delayed,
            running: stats.running,
            slots: active().map(|worker| u64::from(worker.slots)).sum(),
            slots_busy: active().map(|worker| u64::from(worker.slots_busy)).sum(),
            workers: active().count(),
            paused: stats.paused.contains(&Paused::All),
        }
    }
}

/// The metrics of the queue and the fleet. What is told of them has no series before Redis answered: gauges have none
/// either while it does not, so that what one process last heard is not taken for what is.
#[derive(Clone)]
pub(crate) struct Fleet {
    queue_jobs: IntGaugeVec,
    queue_oldest_age: GaugeVec,
    queue_paused: IntGaugeVec,
    queue_tenants: IntGaugeVec,
    queue_up: IntGauge,
    fleet_workers: IntGaugeVec,
    fleet_slots: IntGaugeVec,
    jobs_swept: IntCounterVec,
    jobs_deduplicated: IntCounterVec,
    jobs_redelivered: IntCounterVec,
    dead_letters: IntCounterVec,
    dead_letter_jobs: IntGaugeVec,
    queue_repairs: IntCounterVec,
    webhook_pending: IntGaugeVec,
    webhook_oldest_age: GaugeVec,
    webhook_dropped: IntCounterVec,
    canary_last_success: GaugeVec,
    canary_duration: GaugeVec,
    tenants: Tenants,
}

impl Fleet {
    pub(crate) fn new(r: &Registry, shown: Shown) -> Self {
        Self {
            queue_jobs: defined::QUEUE_JOBS.gauge(r),
            queue_oldest_age: defined::QUEUE_OLDEST_AGE.gauge_f64(r),
            queue_paused: defined::QUEUE_PAUSED.gauge(r),
            queue_tenants: defined::QUEUE_TENANTS.gauge(r),
            queue_up: defined::QUEUE_UP.gauge(r).with_label_values(NONE),
            fleet_workers: defined::FLEET_WORKERS.gauge(r),
            fleet_slots: defined::FLEET_SLOTS.gauge(r),
            jobs_swept: defined::JOBS_SWEPT.counter(r),
            jobs_deduplicated: defined::JOBS_DEDUPLICATED.counter(r),
            jobs_redelivered: defined::JOBS_REDELIVERED.counter(r),
            dead_letters: defined::DEAD_LETTERS.counter(r),
            dead_letter_jobs: defined::DEAD_LETTER_JOBS.gauge(r),
            queue_repairs: defined::QUEUE_REPAIRS.counter(r),
            webhook_pending: defined::WEBHOOK_PENDING.gauge(r),
            webhook_oldest_age: defined::WEBHOOK_OLDEST_AGE.gauge_f64(r),
            webhook_dropped: defined::WEBHOOK_DROPPED.counter(r),
            canary_last_success: defined::CANARY_LAST_SUCCESS.gauge_f64(r),
            canary_duration: defined::CANARY_DURATION.gauge_f64(r),
            tenants: Tenants::new(r, shown),
        }
    }

    /// Which tenants are shown.
    pub(crate) fn shown(&self) -> &Shown {
        &self.tenants.shown
    }

    /// Redis does not answer: nothing is known, so nothing is told. Counters stay what they were.
    pub(crate) fn is_down(&self) {
        self.queue_up.set(0);
        for gauge in [
            &self.queue_jobs,
            &self.queue_paused,
            &self.queue_tenants,
            &self.fleet_workers,
            &self.fleet_slots,
            &self.dead_letter_jobs,
            &self.webhook_pending,
        ] {
            gauge.reset();
        }
        for gauge in [
            &self.queue_oldest_age,
            &self.webhook_oldest_age,
            &self.canary_last_success,
            &self.canary_duration,
        ] {
            gauge.reset();
        }
        self.tenants.forget();
    }

    /// All of it.
    pub(crate) fn set(&self, picture: &Picture) {
        let Picture {
            stats,
            survey,
            canary,
            quotas,
        } = picture;
        self.set_stats(stats);
        self.set_jobs(stats, survey);
        if let Some(at) = canary.succeeded_at {
            let last = self.canary_last_success.with_label_values(NONE);
            last.set(at.as_secs_f64());
            let duration = self.canary_duration.with_label_values(NONE);
            duration.set(canary.took.as_secs_f64());
        }
        self.tenants.set(&survey.tenants, quotas);
    }

    /// What needs no look at tenants; the rest stays as it was.
    pub(crate) fn set_stats(&self, stats: &Stats) {
        self.queue_up.set(1);
        self.set_workers(stats);
        self.set_counts(stats);
        set(
            &self.queue_paused,
            &["all"],
            u64::from(stats.paused.contains(&Paused::All)),
        );
        for lane in Lane::ALL.iter().copied() {
            let paused = stats.paused.contains(&Paused::from(lane));
            set(&self.queue_paused, &[lane.as_str()], u64::from(paused));
        }
        let states = ["eligible", "over", "held", "gate"];
        for (state, count) in states.into_iter().zip(stats.tenants) {
            set(&self.queue_tenants, &[state], count);
        }
        set(&self.dead_letter_jobs, NONE, stats.dead);
        set(&self.webhook_pending, NONE, stats.webhooks_pending);
        let oldest = self.webhook_oldest_age.with_label_values(NONE);
        oldest.set(stats.webhooks_overdue.as_secs_f64());
    }

    fn set_jobs(&self, stats: &Stats, survey: &Survey) {
        let (mut waiting, mut running) = (0, 0);
        for (lane, of) in LANES.into_iter().zip(survey.lanes) {
            let name = LaneFigures::name(lane);
            set(&self.queue_jobs, &[name, "waiting"], of.waiting);
            set(&self.queue_jobs, &[name, "running"], of.running);
            let age = self.queue_oldest_age.with_label_values(&[name]);
            age.set(of.oldest_free.as_secs_f64());
            waiting += of.waiting;
            running += of.running;
        }
        // A look at very many tenants ends early. The totals are exact, so what is left is told, too.
        let rest = |all: u64, seen: u64| {
            if survey.partial {
                all.saturating_sub(seen)
            } else {
                0
            }
        };
        set(
            &self.queue_jobs,
            &["unknown", "waiting"],
            rest(stats.ready, waiting),
        );
        set(
            &self.queue_jobs,
            &["unknown", "running"],
            rest(stats.running, running),
        );
        set(&self.queue_jobs, &["returned", "delayed"], stats.delayed);
        set(&self.queue_jobs, &["unknown", "following"], stats.following);
    }

    fn set_workers(&self, stats: &Stats) {
        let (mut workers, mut slots) = ([0u64; 2], [0u64; 4]);
        for worker in &stats.workers {
            workers[usize::from(worker.draining)] += 1;
            let (all, ready) = (u64::from(worker.slots), u64::from(worker.slots_ready));
            let busy = u64::from(worker.slots_busy).min(ready);
            if worker.draining {
                slots[2] += ready;
            } else {
                slots[0] += ready - busy;
                slots[1] += busy;
            }
            slots[3] += all.saturating_sub(ready);
        }
        for (label, value) in ["active", "draining"].into_iter().zip(workers) {
            set(&self.fleet_workers, &[label], value);
        }
        let states = ["idle", "busy", "draining", "quarantined"];
        for (label, value) in states.into_iter().zip(slots) {
            set(&self.fleet_slots, &[label], value);
        }
    }

    fn set_counts(&self, stats: &Stats) {
        let counted = |name: &str| stats.counters.get(name).copied().unwrap_or(0);
        let count = |counter: &IntCounterVec, label: &str, name: &str| {
            raise(&counter.with_label_values(&[label]), counted(name));
        };
        count(&self.jobs_deduplicated, "cache", "cached");
        count(&self.jobs_deduplicated, "coalesced", "coalesced");
        count(&self.jobs_redelivered, "lost_worker", "again_lost");
        count(&self.jobs_redelivered, "failed", "again_failed");
        count(&self.jobs_redelivered, "released", "again_released");
        for class in FailureClass::ALL.iter().filter(|class| class.is_ours()) {
            count(&self.dead_letters, class.as_str(), &format!("dead_{class}"));
        }
        let lanes = Lane::ALL
            .iter()
            .map(|lane| (lane.as_str(), lane.digit().to_string()));
        for (label, lane) in lanes.chain([("canary", "canary".to_owned())]) {
            for (status, class) in SWEPT {
                let counter = self
                    .jobs_swept
                    .with_label_values(&[label, status.as_str(), class]);
                raise(
                    &counter,
                    counted(&format!("swept_{lane}_{}", status.as_str())),
                );
            }
        }
        let repairs = self.queue_repairs.with_label_values(NONE);
        raise(&repairs, counted("repairs"));
        let dropped = self.webhook_dropped.with_label_values(NONE);
        raise(&dropped, counted("hooks_dropped"));
    }
}

fn whole(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

fn set(gauge: &IntGaugeVec, labels: &[&str], value: u64) {
    gauge.with_label_values(labels).set(whole(value));
}

/// Sets a counter to what Redis has counted. Less than before is another Redis: it begins anew.
fn raise(counter: &IntCounter, value: i64) {
    let value = u64::try_from(value).unwrap_or(0);
    if value < counter.get() {
        counter.reset();
    }
    counter.inc_by(value.saturating_sub(counter.get()));
}

/// How old a picture may be that took so long to make: so looking costs Redis a fiftieth of its time at most.
pub(crate) fn age_max(took: Duration) -> Duration {
    (took * 50).max(Duration::from_secs(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(registry: &Registry) -> String {
        String::from_utf8(defined::encode(registry)).unwrap()
    }

    #[test]
    fn what_the_queue_ended_and_repaired_of_itself_is_told() {
        let registry = Registry::new();
        let fleet = Fleet::new(&registry, Shown::default());
        let mut stats = Stats::default();
        for (name, count) in [
            ("swept_2_failed", 3),
            ("swept_0_canceled", 2),
            ("swept_canary_expired", 1),
            ("repairs", 4),
        ] {
            stats.counters.insert(name.to_owned(), count);
        }
        assert!(!told(&registry).contains("manimq_jobs_swept_total"));
        fleet.set_stats(&stats);
        let text = told(&registry);
        for line in [
            r#"manimq_jobs_swept_total{class="lost_worker",lane="batch",status="failed"} 3"#,
            r#"manimq_jobs_swept_total{class="lost_worker",lane="canary",status="failed"} 0"#,
            r#"manimq_jobs_swept_total{class="",lane="interactive",status="canceled"} 2"#,
            r#"manimq_jobs_swept_total{class="",lane="canary",status="expired"} 1"#,
            "manimq_queue_repairs_total 4",
        ] {
            assert!(text.contains(line), "{line}\n{text}");
        }
    }

    #[test]
    fn while_redis_is_away_no_gauge_of_queue_or_fleet_is_told_and_counters_stay() {
        let registry = Registry::new();
        let fleet = Fleet::new(&registry, Shown::default());
        let mut picture = Picture::default();
        picture.canary.succeeded_at = Some(Duration::from_secs(1));
        fleet.set(&picture);
        let gauges = |text: &str| -> Vec<String> {
            let names = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
            let gauges = names.filter_map(|line| line.strip_suffix(" gauge"));
            gauges.map(str::to_owned).collect()
        };
        let before = told(&registry);
        assert!(gauges(&before).len() > 10, "{before}");
        fleet.is_down();
        let after = told(&registry);
        assert_eq!(gauges(&after), ["manimq_queue_up"]);
        assert!(after.contains("manimq_queue_up 0"), "{after}");
        assert!(after.contains("manimq_jobs_swept_total{"), "{after}");
        fleet.set(&picture);
        assert_eq!(told(&registry), before);
    }
}
