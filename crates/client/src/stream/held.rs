//! What a program holds: yielded, and not settled. Pure.

use std::{collections::HashMap, num::NonZeroU64, time::Duration};

use busgate_core::LeaseToken;
use tokio::time::Instant;

/// The least number of entries at which it looks for those that ran out.
const MIN_SWEEP: usize = 64;

/// Which delivery of which stream it is, as the gateway counts them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Numbered {
    pub(crate) stream: u64,
    pub(crate) number: NonZeroU64,
}

#[derive(Debug)]
struct Lease {
    token: LeaseToken,
    until: Instant,
    numbered: Option<Numbered>,
}

/// The deliveries a program holds, each until its lease runs out: one that is dropped unsettled is forgotten then.
#[derive(Debug, Default)]
pub(crate) struct Held {
    leases: HashMap<u64, Lease>,
    /// At how many entries to sweep.
    sweep_at: usize,
}

impl Held {
    /// Takes in the delivery `seq`.
    pub(crate) fn keep(
        &mut self,
        seq: u64,
        token: LeaseToken,
        numbered: Option<Numbered>,
        now: Instant,
        lease: Duration,
    ) {
        if self.leases.len() >= self.sweep_at.max(MIN_SWEEP) {
            self.sweep(now);
            self.sweep_at = self.leases.len() * 2;
        }
        self.leases.insert(seq, Lease { token, until: now + lease, numbered });
    }

    /// The program makes the lease of `seq` run for `lease` from now.
    pub(crate) fn extend(&mut self, seq: u64, now: Instant, lease: Duration) {
        if let Some(held) = self.leases.get_mut(&seq) {
            held.until = now + lease;
        }
    }

    /// The number of `seq` on `stream`, if it came by that.
    pub(crate) fn number(&self, seq: u64, stream: u64) -> Option<NonZeroU64> {
        let numbered = self.leases.get(&seq)?.numbered.filter(|numbered| numbered.stream == stream)?;
        Some(numbered.number)
    }

    /// The program has said what becomes of it.
    pub(crate) fn settle(&mut self, seq: u64) {
        self.leases.remove(&seq);
    }

    /// How many there are.
    pub(crate) fn count(&mut self, now: Instant) -> usize {
        self.sweep(now);
        self.leases.len()
    }

    /// Takes out all that are left.
    pub(crate) fn take(&mut self, now: Instant) -> Vec<LeaseToken> {
        self.sweep(now);
        self.leases.drain().map(|(_, lease)| lease.token).collect()
    }

    fn sweep(&mut self, now: Instant) {
        self.leases.retain(|_, lease| lease.until > now);
    }
}

#[cfg(test)]
mod tests {
    use busgate_core::{EventName, GroupName, Holder};

    use super::*;

    const LEASE: Duration = Duration::from_secs(10);

    fn token() -> LeaseToken {
        let (event, holder) = (EventName::new("e").unwrap(), Holder::Group(GroupName::default()));
        LeaseToken { event, holder, entry: "x".into(), epoch: 1 }
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_settled_or_ran_out_is_not_held() {
        let (mut held, now) = (Held::default(), Instant::now());
        for seq in 1..=3 {
            held.keep(seq, token(), None, now, LEASE);
        }
        held.settle(1);
        held.extend(2, now, LEASE * 2);
        assert_eq!(held.count(now), 2);
        assert_eq!(held.count(now + LEASE), 1, "only the one that was extended");
        assert_eq!(held.take(now + LEASE).len(), 1);
        assert_eq!(held.count(now), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_dropped_unsettled_does_not_pile_up() {
        let (mut held, now) = (Held::default(), Instant::now());
        for seq in 0..10_000_u64 {
            held.keep(seq, token(), None, now + LEASE * u32::try_from(seq).unwrap(), LEASE);
            assert!(held.leases.len() <= MIN_SWEEP + 1);
        }
    }
}
