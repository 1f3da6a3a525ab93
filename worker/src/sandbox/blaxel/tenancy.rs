//! One tenant at a time in a sandbox (`--tenant-affinity`).
//!
//! All that runs in a sandbox of Blaxel's shares one machine: it is one trust domain. With this a
//! job waits until those of other tenants have ended, and is told whether the place was another
//! tenant's before and must be cleaned.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;

/// Who is in a sandbox. Shared by its slots.
#[derive(Debug, Default)]
pub(super) struct Tenancy {
    /// Held by who enters: whoever comes later waits behind.
    gate: tokio::sync::Mutex<()>,
    now: Mutex<Now>,
    left: Notify,
}

#[derive(Debug, Default)]
struct Now {
    tenant: Option<String>,
    active: u32,
    /// Counts changes of tenant.
    era: u64,
}

/// A tenant's job is in. Dropping it leaves.
#[derive(Debug)]
pub(super) struct Guest {
    tenancy: Arc<Tenancy>,
    /// What was started in another era must be started anew.
    pub era: u64,
    /// It is another tenant's turn: nothing of the one before may be left.
    pub changed: bool,
}

impl Tenancy {
    /// Enters when everybody who is in is of the same tenant. First come, first served.
    pub(super) async fn enter(self: &Arc<Self>, tenant: &str) -> Guest {
        let _gate = self.gate.lock().await;
        loop {
            let left = self.left.notified();
            {
                let mut now = self.lock();
                let same = now.tenant.as_deref() == Some(tenant);
                if same || now.active == 0 {
                    let changed = !same && now.tenant.is_some();
                    if !same {
                        now.tenant = Some(tenant.to_owned());
                        now.era += u64::from(changed);
                    }
                    now.active += 1;
                    return Guest {
                        tenancy: self.clone(),
                        era: now.era,
                        changed,
                    };
                }
            }
            left.await;
        }
    }

    /// What is started now belongs to it.
    pub(super) fn era(&self) -> u64 {
        self.lock().era
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Now> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.tenancy.lock().active -= 1;
        self.tenancy.left.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;
    use tokio::time::timeout;

    #[tokio::test]
    async fn tenants_take_turns_and_who_waits_is_not_overtaken() {
        let place = Arc::new(Tenancy::default());
        let short = Duration::from_millis(10);
        let first = place.enter("a").await;
        assert!(!first.changed);
        let second = place.enter("a").await;
        let other = tokio::spawn({
            let place = place.clone();
            async move { place.enter("b").await }
        });
        tokio::task::yield_now().await;
        let late = timeout(short, place.enter("a")).await;
        assert!(late.is_err(), "b was here before");
        drop(first);
        tokio::task::yield_now().await;
        assert!(!other.is_finished(), "a's other job still runs");
        drop(second);
        let other = other.await.expect("entered");
        assert!(other.changed && other.era == 1);
        drop(other);
        let again = place.enter("b").await;
        assert!(!again.changed && again.era == 1);
    }
}
