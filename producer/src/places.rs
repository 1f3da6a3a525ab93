//! Places of which there is a number, and of which no single one may take all: event streams and
//! forms by tenant, connections by address.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard};

use prometheus::IntGauge;

/// The places of a process; clones share them.
pub struct Places<K: Eq + Hash + Clone>(Arc<Inner<K>>);

struct Inner<K> {
    max: usize,
    /// The last tenth is for the others.
    max_of_one: usize,
    taken: Mutex<Taken<K>>,
    gauge: Option<IntGauge>,
}

struct Taken<K> {
    all: usize,
    by: HashMap<K, usize>,
}

/// A place; given back when it is dropped.
pub struct Place<K: Eq + Hash + Clone> {
    of: Arc<Inner<K>>,
    by: K,
}

/// Why there is no place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoPlace {
    /// All are taken; there are so many.
    Full(usize),
    /// Who asks has so many, the most that one may have.
    Enough(usize),
}

impl<K: Eq + Hash + Clone> Clone for Places<K> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<K: Eq + Hash + Clone> Places<K> {
    /// `max` places, of which one may take nine tenths; `gauge` shows how many are taken.
    #[must_use]
    pub fn new(max: usize, gauge: Option<IntGauge>) -> Self {
        Self(Arc::new(Inner {
            max,
            max_of_one: (max - max / 10).max(1),
            taken: Mutex::new(Taken {
                all: 0,
                by: HashMap::new(),
            }),
            gauge,
        }))
    }

    /// A place for `by`.
    ///
    /// # Errors
    /// [`NoPlace`] if there is none.
    pub fn take(&self, by: K) -> Result<Place<K>, NoPlace> {
        let of = &self.0;
        let mut taken = of.lock();
        let own = taken.by.get(&by).copied().unwrap_or(0);
        if taken.all >= of.max {
            return Err(NoPlace::Full(of.max));
        }
        if own >= of.max_of_one {
            return Err(NoPlace::Enough(of.max_of_one));
        }
        taken.all += 1;
        taken.by.insert(by.clone(), own + 1);
        if let Some(gauge) = &of.gauge {
            gauge.inc();
        }
        Ok(Place {
            of: Arc::clone(of),
            by,
        })
    }
}

impl<K> Inner<K> {
    fn lock(&self) -> MutexGuard<'_, Taken<K>> {
        self.taken.lock().expect("no panic while locked")
    }
}

impl<K: Eq + Hash + Clone> Drop for Place<K> {
    fn drop(&mut self) {
        let mut taken = self.of.lock();
        taken.all -= 1;
        if let Some(own) = taken.by.get_mut(&self.by) {
            *own -= 1;
            if *own == 0 {
                taken.by.remove(&self.by);
            }
        }
        if let Some(gauge) = &self.of.gauge {
            gauge.dec();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_takes_all_places_and_they_come_back() {
        let gauge = IntGauge::new("g", "g").unwrap();
        let places = Places::new(20, Some(gauge.clone()));
        let mut held: Vec<_> = std::iter::from_fn(|| places.take("a").ok()).collect();
        assert_eq!(held.len(), 18);
        assert_eq!(places.take("a").err(), Some(NoPlace::Enough(18)));
        held.push(places.take("b").ok().unwrap());
        held.push(places.take("b").ok().unwrap());
        assert_eq!(places.take("c").err(), Some(NoPlace::Full(20)));
        assert_eq!(gauge.get(), 20);
        held.truncate(1);
        assert!(places.take("c").is_ok());
        held.clear();
        let taken = places.0.lock();
        assert_eq!((taken.all, taken.by.len(), gauge.get()), (0, 0, 0));
    }
}
