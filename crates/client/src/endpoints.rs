//! Which of several gateways to dial next. Pure: time is passed in.

use std::time::Duration;

use tokio::time::Instant;

use crate::backoff::Backoff;

/// How long an endpoint that failed is dialled last: the first time, and at most.
const REST: Backoff = Backoff { base: Duration::from_secs(1), cap: Duration::from_secs(30) };

/// The endpoints in the order they were given in, each with what is remembered of its failures.
#[derive(Debug)]
pub(crate) struct Endpoints(Vec<Memory>);

#[derive(Clone, Copy, Debug, Default)]
struct Memory {
    failures: u32,
    rests_until: Option<Instant>,
}

impl Endpoints {
    pub(crate) fn new(count: usize) -> Self {
        Self(vec![Memory::default(); count])
    }

    /// Every endpoint in the order to dial: first those that are not resting, as they were given; then the resting
    /// ones, the longest rested first.
    pub(crate) fn round(&self, now: Instant) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.0.len()).collect();
        order.sort_by_key(|index| self.rest(*index).filter(|until| *until > now));
        order
    }

    /// The endpoints before `current` that are worth a dial again.
    pub(crate) fn better(&self, current: usize, now: Instant) -> Vec<usize> {
        (0..current).filter(|index| self.rest(*index).is_none_or(|until| until <= now)).collect()
    }

    /// The endpoint could not be dialled, or did not do its work.
    pub(crate) fn failed(&mut self, index: usize, now: Instant, jitter: f64) {
        if let Some(memory) = self.0.get_mut(index) {
            memory.failures = memory.failures.saturating_add(1);
            memory.rests_until = Some(now + REST.after(memory.failures, jitter));
        }
    }

    /// The endpoint answered.
    pub(crate) fn worked(&mut self, index: usize) {
        if let Some(memory) = self.0.get_mut(index) {
            *memory = Memory::default();
        }
    }

    fn rest(&self, index: usize) -> Option<Instant> {
        self.0.get(index).and_then(|memory| memory.rests_until)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_order_given_is_the_order_dialled() {
        assert_eq!(Endpoints::new(3).round(Instant::now()), [0, 1, 2]);
    }

    #[test]
    fn a_failed_endpoint_goes_last_until_it_has_rested() {
        let now = Instant::now();
        let mut endpoints = Endpoints::new(3);
        endpoints.failed(0, now, 1.0);
        assert_eq!(endpoints.round(now), [1, 2, 0]);
        endpoints.failed(1, now + Duration::from_millis(1), 1.0);
        assert_eq!(endpoints.round(now + Duration::from_millis(1)), [2, 0, 1]);
        assert_eq!(endpoints.round(now + Duration::from_secs(2)), [0, 1, 2]);
    }

    #[test]
    fn a_better_one_is_tried_after_its_rest_only() {
        let now = Instant::now();
        let mut endpoints = Endpoints::new(2);
        endpoints.failed(0, now, 1.0);
        assert!(endpoints.better(1, now).is_empty());
        assert_eq!(endpoints.better(1, now + Duration::from_secs(1)), [0]);
        assert!(endpoints.better(0, now + Duration::from_secs(1)).is_empty());
    }

    #[test]
    fn what_works_is_forgiven() {
        let now = Instant::now();
        let mut endpoints = Endpoints::new(2);
        endpoints.failed(0, now, 1.0);
        endpoints.worked(0);
        assert_eq!(endpoints.round(now), [0, 1]);
    }

    proptest! {
        #[test]
        fn every_round_dials_each_once(count in 1usize..8, steps: Vec<(usize, bool, u16)>) {
            let mut endpoints = Endpoints::new(count);
            let mut now = Instant::now();
            for (index, worked, millis) in steps {
                now += Duration::from_millis(millis.into());
                match worked {
                    true => endpoints.worked(index % count),
                    false => endpoints.failed(index % count, now, 0.5),
                }
                let mut round = endpoints.round(now);
                round.sort_unstable();
                prop_assert_eq!(round, (0..count).collect::<Vec<_>>());
            }
        }

        #[test]
        fn a_rest_ends(failures in 1u32..100) {
            let mut endpoints = Endpoints::new(2);
            let now = Instant::now();
            (0..failures).for_each(|_| endpoints.failed(0, now, 1.0));
            prop_assert_eq!(endpoints.better(1, now + REST.cap), [0]);
        }
    }
}
