//! How many event streams there may be: of the process, and of one tenant, so that nobody takes
//! the places of all others.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use manimq_shared::ids::TenantId;
use manimq_shared::metrics::InProgress;
use prometheus::IntGauge;

use super::problem::{ApiError, Kind};

/// When a client that found no free place may come again.
const FULL_RETRY_S: u64 = 5;

/// The places of a process; clones share them.
#[derive(Clone)]
pub(super) struct Streams(Arc<Places>);

struct Places {
    max: usize,
    per_tenant_max: usize,
    open: Mutex<Open>,
    gauge: IntGauge,
}

#[derive(Default)]
struct Open {
    all: usize,
    by_tenant: HashMap<TenantId, usize>,
}

/// A place; given back when it is dropped.
pub(super) struct Place {
    places: Arc<Places>,
    tenant: TenantId,
    _counted: InProgress,
}

impl Streams {
    pub fn new(max: usize, gauge: IntGauge) -> Self {
        Self(Arc::new(Places {
            max,
            // The last tenth is for the others.
            per_tenant_max: (max - max / 10).max(1),
            open: Mutex::default(),
            gauge,
        }))
    }

    /// A place for a stream of a tenant.
    ///
    /// # Errors
    /// [`Kind::ReducedCapacity`] if all are taken.
    pub fn take(&self, tenant: &TenantId) -> Result<Place, ApiError> {
        let places = &self.0;
        let mut open = places.open.lock().expect("no panic while locked");
        let own = open.by_tenant.get(tenant).copied().unwrap_or(0);
        if open.all >= places.max || own >= places.per_tenant_max {
            let (whose, most) = if open.all >= places.max {
                ("it can hold", places.max)
            } else {
                ("one tenant may have", places.per_tenant_max)
            };
            return Err(ApiError::new(
                Kind::ReducedCapacity,
                format!("this server has as many event streams as {whose} ({most}); poll the job with ?wait= instead, or come again"),
            )
            .retry_after(FULL_RETRY_S));
        }
        open.all += 1;
        open.by_tenant.insert(tenant.clone(), own + 1);
        Ok(Place {
            places: Arc::clone(places),
            tenant: tenant.clone(),
            _counted: InProgress::start(&places.gauge),
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self.places.open.lock().expect("no panic while locked");
        open.all -= 1;
        if let Some(own) = open.by_tenant.get_mut(&self.tenant) {
            *own -= 1;
            if *own == 0 {
                open.by_tenant.remove(&self.tenant);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_tenant_never_takes_all_places_and_they_come_back() {
        let streams = Streams::new(20, IntGauge::new("g", "g").unwrap());
        let tenant = |name: &str| name.parse::<TenantId>().unwrap();
        let mut held: Vec<_> = std::iter::from_fn(|| streams.take(&tenant("a")).ok()).collect();
        assert_eq!(held.len(), 18);
        held.push(streams.take(&tenant("b")).ok().unwrap());
        held.push(streams.take(&tenant("b")).ok().unwrap());
        assert!(streams.take(&tenant("c")).is_err());
        held.truncate(1);
        assert!(streams.take(&tenant("c")).is_ok());
        held.clear();
        let open = streams.0.open.lock().unwrap();
        assert_eq!((open.all, open.by_tenant.len()), (0, 0));
        assert_eq!(streams.0.gauge.get(), 0);
    }
}
