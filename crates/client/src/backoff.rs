//! How long to wait before the next try: exponential, capped, jittered.

use std::time::Duration;

/// The steps of a backoff. The wait before try `n + 1` lies between half of step `n` and all of it, so that clients
/// that failed together do not come back together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Backoff {
    /// The first step.
    pub(crate) base: Duration,
    /// The longest step.
    pub(crate) cap: Duration,
}

impl Backoff {
    /// The wait after `failures` failures in a row (from 1); `jitter` lies between 0 and 1.
    pub(crate) fn after(self, failures: u32, jitter: f64) -> Duration {
        let doublings = failures.saturating_sub(1).min(31);
        let step = self.base.saturating_mul(1 << doublings).min(self.cap);
        spread(step, jitter)
    }
}

/// Between half of `step` and all of it.
pub(crate) fn spread(step: Duration, jitter: f64) -> Duration {
    let half = step / 2;
    // Rounding must not take it beyond.
    half.saturating_add(half.mul_f64(jitter.clamp(0.0, 1.0))).min(step)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const BACKOFF: Backoff = Backoff { base: Duration::from_millis(100), cap: Duration::from_secs(5) };

    #[test]
    fn steps_double_up_to_the_cap() {
        let steps = [1, 2, 3, 6, 7, u32::MAX].map(|failures| BACKOFF.after(failures, 1.0).as_millis());
        assert_eq!(steps, [100, 200, 400, 3200, 5000, 5000]);
    }

    proptest! {
        #[test]
        fn a_wait_is_half_a_step_to_a_step(failures: u32, jitter in 0.0..=1.0) {
            let (least, most) = (BACKOFF.after(failures, 0.0), BACKOFF.after(failures, 1.0));
            let wait = BACKOFF.after(failures, jitter);
            prop_assert!(least <= wait && wait <= most && most <= BACKOFF.cap && least == most / 2);
        }

        #[test]
        fn no_figures_overflow(base: u64, cap: u64, failures: u32) {
            let backoff = Backoff { base: Duration::from_secs(base), cap: Duration::from_secs(cap) };
            prop_assert!(backoff.after(failures, 1.0) <= backoff.cap);
        }
    }
}
