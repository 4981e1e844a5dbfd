//! Deadlines in order: what is due is found without looking at the rest.

use std::{collections::BTreeSet, hash::Hash};

use hashbrown::HashMap;
use tokio::time::Instant;

/// A set of keys, each with the time it is due. Every operation takes logarithmic time.
#[derive(Clone, Debug)]
pub struct Deadlines<K> {
    by_time: BTreeSet<(Instant, K)>,
    by_key: HashMap<K, Instant>,
}

impl<K> Default for Deadlines<K> {
    fn default() -> Self {
        Self { by_time: BTreeSet::new(), by_key: HashMap::new() }
    }
}

impl<K: Copy + Ord + Hash> Deadlines<K> {
    /// Sets when `key` is due, in place of what was set before.
    pub fn set(&mut self, key: K, at: Instant) {
        if let Some(before) = self.by_key.insert(key, at) {
            self.by_time.remove(&(before, key));
        }
        self.by_time.insert((at, key));
    }

    /// Forgets `key`.
    pub fn remove(&mut self, key: K) {
        if let Some(at) = self.by_key.remove(&key) {
            self.by_time.remove(&(at, key));
        }
    }

    /// When the next key is due.
    #[must_use]
    pub fn next(&self) -> Option<Instant> {
        self.by_time.first().map(|(at, _)| *at)
    }

    /// Takes out one key that is due at `now`, earliest first.
    pub fn pop_due(&mut self, now: Instant) -> Option<K> {
        let (at, key) = *self.by_time.first()?;
        if at > now {
            return None;
        }
        self.remove(key);
        Some(key)
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::HashMap, time::Duration};

    use proptest::prelude::*;

    use super::*;

    fn at(base: Instant, millis: u64) -> Instant {
        base + Duration::from_millis(millis)
    }

    #[test]
    fn a_key_is_due_at_its_deadline_and_not_before() {
        let base = Instant::now();
        let mut deadlines = Deadlines::default();
        deadlines.set(1, at(base, 10));
        assert_eq!(deadlines.pop_due(at(base, 9)), None);
        assert_eq!(deadlines.pop_due(at(base, 10)), Some(1));
        assert_eq!(deadlines.pop_due(at(base, 99)), None);
    }

    proptest! {
        #[test]
        fn what_comes_out_is_what_is_due_in_order(sets in proptest::collection::vec((0u8..20, 0u64..100), 0..60), now in 0u64..100) {
            let base = Instant::now();
            let mut deadlines = Deadlines::default();
            let mut model = HashMap::new();
            for (key, millis) in sets {
                deadlines.set(key, at(base, millis));
                model.insert(key, millis);
            }
            let mut due: Vec<_> = model.into_iter().filter(|(_, millis)| *millis <= now).map(|(key, millis)| (millis, key)).collect();
            due.sort_unstable();
            let popped: Vec<_> = std::iter::from_fn(|| deadlines.pop_due(at(base, now))).collect();
            prop_assert_eq!(popped, due.into_iter().map(|(_, key)| key).collect::<Vec<_>>());
        }
    }
}
