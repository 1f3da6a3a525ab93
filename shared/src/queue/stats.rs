//! The queue at a glance: see `lua/stats.lua`.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use redis::FromRedisValue;

use super::{Queue, QueueError, WorkerInfo};
use crate::ids::WorkerId;
use crate::job::{Lane, Paused, Status};

/// The queue at a glance.
#[derive(Debug, Clone, Default)]
pub struct Stats {
    /// Jobs that a claim could take now.
    pub ready: u64,
    /// Jobs that wait for a time.
    pub delayed: u64,
    /// Jobs under a lease.
    pub running: u64,
    /// Jobs that wait for another job's render of the same.
    pub following: u64,
    /// What is paused: everything, or some lanes.
    pub paused: Vec<Paused>,
    /// Jobs by terminal status since the beginning, and other counts by name.
    pub counters: HashMap<String, i64>,
    /// Live workers.
    pub workers: Vec<WorkerInfo>,
    /// Tenants with work that could be served: eligible, at the elastic bound, in paused lanes, out of render time.
    pub tenants: [u64; 4],
    /// Webhook calls that are to be made, now or later.
    pub webhooks_pending: u64,
    /// For how long the most overdue of them has been due.
    pub webhooks_overdue: Duration,
    /// Dead letters that are kept.
    pub dead: u64,
}

impl Stats {
    /// Slots that could run a job now or after their present one.
    #[must_use]
    pub fn slots_ready(&self) -> u32 {
        self.workers
            .iter()
            .filter(|w| !w.draining)
            .map(|w| w.slots_ready)
            .sum()
    }
}

/// See `stats.lua`.
type StatsReply = (
    HashMap<String, i64>,
    u64,
    u64,
    Vec<String>,
    String,
    u64,
    u64,
    u64,
    u64,
    Vec<String>,
    (u64, u64, u64, u64),
);

impl Queue {
    /// The queue at a glance. Also proves that functions can be called, which a PING does not.
    ///
    /// # Errors
    /// [`QueueError::Unavailable`].
    pub async fn stats(&self) -> Result<Stats, QueueError> {
        let mut stats = Stats::default();
        let mut workers: HashMap<WorkerId, WorkerInfo> = HashMap::new();
        let mut all_drained = HashSet::new();
        for shard in self.shards() {
            let reply = self.call(shard, "stats", &[]).await?;
            let reply: StatsReply = FromRedisValue::from_redis_value(reply)?;
            let (counters, delayed, running, infos, paused, vt, over, held, gate, drained, rest) =
                reply;
            let (webhooks_pending, overdue_ms, dead, _) = rest;
            for (sum, part) in stats.tenants.iter_mut().zip([vt, over, held, gate]) {
                *sum += part;
            }
            stats.webhooks_pending += webhooks_pending;
            let overdue = Duration::from_millis(overdue_ms);
            stats.webhooks_overdue = stats.webhooks_overdue.max(overdue);
            stats.dead += dead;
            for (name, value) in counters {
                *stats.counters.entry(name).or_default() += value;
            }
            stats.delayed += delayed;
            stats.running += running;
            // What an older version wrote and cannot be read is left out, not an error.
            let infos = infos
                .iter()
                .filter_map(|text| serde_json::from_str(text).ok());
            for info in infos {
                let info: WorkerInfo = info;
                workers.insert(info.id, info);
            }
            all_drained.extend(drained);
            if shard == 0 {
                stats.paused = paused.bytes().filter_map(paused_scope).collect();
            }
        }
        stats.workers = workers.into_values().collect();
        // From the moment it is asked, not only once it has heard of it.
        for worker in &mut stats.workers {
            worker.draining |= all_drained.contains(&worker.id.to_string());
        }
        stats.workers.sort_by_key(|worker| worker.id);
        let counted = |name: &str| stats.counters.get(name).copied().unwrap_or(0);
        let ended: i64 = Status::ALL
            .iter()
            .filter(|status| status.is_terminal())
            .map(|status| counted(status.as_str()))
            .sum();
        let signed = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
        let following = counted("following");
        let ready = counted("submitted")
            - ended
            - signed(stats.running)
            - signed(stats.delayed)
            - following;
        stats.following = u64::try_from(following).unwrap_or(0);
        stats.ready = u64::try_from(ready).unwrap_or(0);
        stats.counters.insert("ready".to_owned(), ready);
        stats
            .counters
            .insert("running".to_owned(), signed(stats.running));
        Ok(stats)
    }
}

fn paused_scope(letter: u8) -> Option<Paused> {
    match letter {
        b'a' => Some(Paused::All),
        digit => Lane::from_digit(digit.checked_sub(b'0')?).map(Paused::from),
    }
}
