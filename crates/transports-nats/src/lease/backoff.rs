//! How long a message waits for its next attempt.

use std::time::Duration;

use busgate_core::RetryPolicy;

/// By the schedule, spread by 10 % so that many do not come as one.
pub(super) fn backoff(policy: &RetryPolicy, attempt: u32, epoch: u64) -> Duration {
    let mut mixed = epoch.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let jitter = f64::from((mixed >> 32) as u32) / f64::from(u32::MAX);
    policy.delay_after(attempt).mul_f64(0.9 + 0.2 * jitter)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_are_spread_around_the_schedule() {
        let policy = RetryPolicy::default();
        for attempt in 1..6 {
            let by_schedule = policy.delay_after(attempt);
            let waits: Vec<_> = (0..100).map(|epoch| backoff(&policy, attempt, epoch)).collect();
            assert!(
                waits
                    .iter()
                    .all(|wait| by_schedule.mul_f64(0.899) < *wait && *wait < by_schedule.mul_f64(1.101))
            );
            assert!(waits.iter().min() < waits.iter().max(), "all come as one");
        }
    }
}
