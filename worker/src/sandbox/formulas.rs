//! Formulas that were set for a tenant's earlier jobs, kept in the worker's memory.
//!
//! Setting a formula takes LaTeX a quarter of a second, and people render the same
//! scene many times. A picture is what TeX made of the tenant's own text behind its
//! own walls; it is never parsed here, and only ever given back to a job of the same
//! tenant that asks for exactly the same. No job can write to it: the guard, which
//! ran LaTeX, does.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

/// Largest picture that is kept. A formula has some 10 KiB.
const PICTURE_BYTES_MAX: usize = 64 * 1024;
/// Most that is kept for one tenant.
const TENANT_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Most that is kept for all.
const BYTES_MAX: usize = 64 * 1024 * 1024;
/// What one picture takes beside its bytes, about.
const OVERHEAD_BYTES: usize = 256;

/// The formulas of all tenants that this worker has rendered for. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct FormulaStore(Arc<Mutex<Store>>);

#[derive(Debug, Default)]
struct Store {
    tenants: HashMap<String, Kept>,
    /// Tenants, the one that was served last at the end.
    recent: VecDeque<String>,
    bytes: usize,
}

#[derive(Debug, Default)]
struct Kept {
    pictures: HashMap<FormulaKey, Arc<str>>,
    /// Keys in the order in which they came.
    order: VecDeque<FormulaKey>,
    bytes: usize,
}

/// SHA-256 of everything that decides what a formula looks like, as the guard computes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct FormulaKey([u8; 32]);

impl FormulaKey {
    /// Reads 64 hexadecimal digits; `None` if it is anything else.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut key = [0; 32];
        if text.len() != 64 || !text.is_ascii() {
            return None;
        }
        for (index, byte) in key.iter_mut().enumerate() {
            *byte = u8::from_str_radix(text.get(2 * index..2 * index + 2)?, 16).ok()?;
        }
        Some(Self(key))
    }
}

impl FormulaStore {
    /// The part of it that one tenant's jobs may use.
    #[must_use]
    pub fn shelf(&self, tenant: impl Into<String>) -> FormulaShelf {
        FormulaShelf {
            store: self.clone(),
            tenant: tenant.into(),
        }
    }
}

/// One tenant's formulas.
#[derive(Debug, Clone)]
pub struct FormulaShelf {
    store: FormulaStore,
    tenant: String,
}

impl FormulaShelf {
    /// Whose it is.
    #[must_use]
    pub fn tenant(&self) -> &str {
        &self.tenant
    }

    /// The picture of a formula that was set for this tenant before.
    #[must_use]
    pub fn get(&self, key: FormulaKey) -> Option<Arc<str>> {
        let mut store = self.lock();
        let found = store.tenants.get(&self.tenant)?.pictures.get(&key).cloned();
        store.touch(&self.tenant);
        found
    }

    /// Keeps a picture, and drops older ones where it would be too much. The
    /// tenant that was served longest ago loses its pictures first.
    pub fn put(&self, key: FormulaKey, picture: &str) {
        if picture.len() > PICTURE_BYTES_MAX {
            return;
        }
        let mut store = self.lock();
        store.touch(&self.tenant);
        let kept = store.tenants.entry(self.tenant.clone()).or_default();
        let before = kept.bytes;
        kept.put(key, picture);
        let after = kept.bytes;
        store.bytes = store.bytes + after - before;
        while store.bytes > BYTES_MAX {
            let Some(oldest) = store.recent.pop_front() else {
                break;
            };
            if let Some(gone) = store.tenants.remove(&oldest) {
                store.bytes -= gone.bytes;
            }
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Store> {
        // Whoever panicked left whole entries: each change is one insert or remove.
        self.store.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Store {
    fn touch(&mut self, tenant: &str) {
        self.recent.retain(|each| each != tenant);
        self.recent.push_back(tenant.to_owned());
    }
}

impl Kept {
    fn put(&mut self, key: FormulaKey, picture: &str) {
        if self.pictures.contains_key(&key) {
            return; // the same text gives the same picture
        }
        self.pictures.insert(key, picture.into());
        self.order.push_back(key);
        self.bytes += picture.len() + OVERHEAD_BYTES;
        while self.bytes > TENANT_BYTES_MAX {
            let Some(oldest) = self.order.pop_front() else {
                break;
            };
            if let Some(gone) = self.pictures.remove(&oldest) {
                self.bytes -= gone.len() + OVERHEAD_BYTES;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: usize) -> FormulaKey {
        FormulaKey::parse(&format!("{number:064x}")).expect("a key")
    }

    #[test]
    fn a_tenant_gets_back_what_was_set_for_it_and_nothing_of_another() {
        let store = FormulaStore::default();
        let (ours, theirs) = (store.shelf("a"), store.shelf("b"));
        ours.put(key(1), "<svg/>");
        assert_eq!(ours.get(key(1)).as_deref(), Some("<svg/>"));
        assert_eq!(store.shelf("a").get(key(1)).as_deref(), Some("<svg/>"));
        assert_eq!(ours.get(key(2)), None);
        assert_eq!(theirs.get(key(1)), None);
    }

    #[test]
    fn what_is_kept_is_bounded_for_each_tenant_and_for_all() {
        let store = FormulaStore::default();
        let picture = "x".repeat(PICTURE_BYTES_MAX);
        for tenant in 0..40 {
            let shelf = store.shelf(format!("tenant {tenant}"));
            for number in 0..100 {
                shelf.put(key(number), &picture);
            }
            assert!(shelf.get(key(99)).is_some(), "the newest stays");
            assert!(shelf.get(key(0)).is_none(), "the oldest goes");
        }
        let held = store.0.lock().expect("no panic");
        assert!(
            held.tenants
                .values()
                .all(|kept| kept.bytes <= TENANT_BYTES_MAX)
        );
        assert!(held.bytes <= BYTES_MAX);
        let sum: usize = held.tenants.values().map(|kept| kept.bytes).sum();
        assert_eq!(sum, held.bytes);
        assert_eq!(held.recent.len(), held.tenants.len());
        assert!(!held.tenants.contains_key("tenant 0"), "served longest ago");
        assert!(held.tenants.contains_key("tenant 39"));
    }

    #[test]
    fn pictures_that_are_too_large_and_keys_that_are_none_are_refused() {
        let shelf = FormulaStore::default().shelf("a");
        shelf.put(key(1), &"x".repeat(PICTURE_BYTES_MAX + 1));
        assert_eq!(shelf.get(key(1)), None);
        for text in [
            "",
            "0",
            &"0".repeat(63),
            &"0".repeat(65),
            &"g".repeat(64),
            &"é".repeat(32),
        ] {
            assert_eq!(FormulaKey::parse(text), None, "{text}");
        }
    }
}
