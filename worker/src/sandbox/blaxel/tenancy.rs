//! One tenant at a time in a sandbox (`--tenant-affinity`).
//!
//! All that runs in a sandbox of Blaxel's shares one machine: it is one trust domain. With this a
//! job waits until those of other tenants have ended and nothing of theirs is left.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;

/// Who is in a sandbox. Shared by its slots.
#[derive(Debug, Default)]
pub(super) struct Tenancy {
    /// Held by who enters, until the place is clean: whoever comes later waits behind.
    gate: Arc<tokio::sync::Mutex<()>>,
    now: Mutex<Now>,
    left: Notify,
}

#[derive(Debug, Default)]
struct Now {
    /// Whose it is. `None`: nobody knows what lies there.
    tenant: Option<String>,
    active: u32,
    /// Counts the tenants that have left.
    era: u64,
}

/// A tenant's job is in. Dropping it leaves.
#[derive(Debug)]
pub(super) struct Guest {
    tenancy: Arc<Tenancy>,
    /// What was started in another era must be started anew.
    pub era: u64,
}

impl Tenancy {
    /// Enters when everybody who is in is of the same tenant, first come, first served; where it
    /// was not this tenant's before, `clean` has succeeded by then. What it has begun it ends,
    /// also for one who does not wait for it.
    ///
    /// # Errors
    /// Those of `clean`. The next one cleans again, whoever it is.
    pub(super) async fn enter<E>(
        self: &Arc<Self>,
        tenant: &str,
        clean: impl Future<Output = Result<(), E>> + Send + 'static,
    ) -> Result<Guest, E>
    where
        E: Send + 'static,
    {
        let gate = self.gate.clone().lock_owned().await;
        loop {
            let left = self.left.notified();
            {
                let mut now = self.lock();
                if now.tenant.as_deref() == Some(tenant) {
                    return Ok(self.guest(&mut now));
                }
                if now.active == 0 {
                    now.era += u64::from(now.tenant.take().is_some());
                    break;
                }
            }
            left.await;
        }
        let (tenancy, tenant) = (self.clone(), tenant.to_owned());
        let cleaning = tokio::spawn(async move {
            let _gate = gate;
            let cleaned = clean.await;
            cleaned.map(|()| {
                let mut now = tenancy.lock();
                now.tenant = Some(tenant);
                tenancy.guest(&mut now)
            })
        });
        match cleaning.await {
            Ok(entered) => entered,
            Err(stopped) => std::panic::resume_unwind(stopped.into_panic()),
        }
    }

    fn guest(self: &Arc<Self>, now: &mut Now) -> Guest {
        now.active += 1;
        Guest {
            tenancy: self.clone(),
            era: now.era,
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
    use std::convert::Infallible;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::time::Duration;
    use tokio::sync::oneshot;
    use tokio::time::timeout;

    /// Counts how often it was cleaned.
    #[derive(Clone, Default)]
    struct Broom(Arc<AtomicU32>);

    impl Broom {
        fn times(&self) -> u32 {
            self.0.load(Ordering::Relaxed)
        }

        async fn enter(&self, place: &Arc<Tenancy>, tenant: &str) -> Guest {
            let times = self.0.clone();
            let clean = async move {
                times.fetch_add(1, Ordering::Relaxed);
                Ok::<_, Infallible>(())
            };
            let Ok(guest) = place.enter(tenant, clean).await;
            guest
        }
    }

    #[tokio::test]
    async fn tenants_take_turns_and_who_waits_is_not_overtaken() {
        let (place, broom) = (Arc::new(Tenancy::default()), Broom::default());
        let short = Duration::from_millis(10);
        let first = broom.enter(&place, "a").await;
        assert_eq!(broom.times(), 1, "nobody knows who was here before us");
        assert_eq!(first.era, 0, "what was started for nobody may stay");
        let second = broom.enter(&place, "a").await;
        let other = tokio::spawn({
            let (place, broom) = (place.clone(), broom.clone());
            async move { broom.enter(&place, "b").await }
        });
        tokio::task::yield_now().await;
        let late = timeout(short, broom.enter(&place, "a")).await;
        assert!(late.is_err(), "b was here before");
        drop(first);
        tokio::task::yield_now().await;
        assert!(!other.is_finished(), "a's other job still runs");
        drop(second);
        let other = other.await.expect("entered");
        assert_eq!((other.era, broom.times()), (1, 2));
        drop(other);
        let again = broom.enter(&place, "b").await;
        assert_eq!((again.era, broom.times()), (1, 2), "its own place");
    }

    #[tokio::test]
    async fn nobody_enters_a_place_that_could_not_be_cleaned() {
        let (place, broom) = (Arc::new(Tenancy::default()), Broom::default());
        drop(broom.enter(&place, "a").await);
        for _ in 0..2 {
            let dirty = place.enter("b", async { Err::<(), _>("it stays") }).await;
            assert_eq!(dirty.expect_err("it is dirty"), "it stays");
        }
        // Not even who was here before: half of what was his may be gone.
        let again = broom.enter(&place, "a").await;
        assert_eq!((again.era, broom.times()), (1, 2));
    }

    #[tokio::test]
    async fn a_second_job_of_the_tenant_waits_until_it_is_clean_also_for_one_who_gave_up() {
        let (place, broom) = (Arc::new(Tenancy::default()), Broom::default());
        let (cleaned, cleaning) = oneshot::channel();
        let (begun, beginning) = oneshot::channel();
        let slow = async move {
            let _ = begun.send(());
            cleaning.await
        };
        let short = Duration::from_millis(10);
        let first = tokio::spawn({
            let place = place.clone();
            async move { place.enter("b", slow).await.is_ok() }
        });
        beginning.await.expect("it cleans");
        first.abort();
        let early = timeout(short, broom.enter(&place, "b")).await;
        assert!(early.is_err(), "it is not clean yet");
        cleaned.send(()).expect("somebody cleans");
        let guest = broom.enter(&place, "b").await;
        assert_eq!(broom.times(), 0, "it was cleaned for the one who gave up");
        assert_eq!(place.lock().active, 1);
        drop(guest);
    }
}
