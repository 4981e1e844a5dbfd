//! What a subscription did so far.

use std::sync::atomic::{AtomicU64, Ordering};

/// What a subscription did so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SubscriberStats {
    /// Messages whose handler answered `Ok`.
    pub handled: u64,
    /// Messages whose handler failed, those that panicked included; they come back.
    pub failed: u64,
    /// Messages that were rejected, those that did not decode included.
    pub rejected: u64,
    /// Handlers that panicked.
    pub panicked: u64,
    /// Settlements that came too late: the message had been given to somebody else, or the lease was settled already.
    pub stale: u64,
    /// Settlements that the transport refused or could not do; those messages come back.
    pub unsettled: u64,
    /// Gaps: places where messages could not be had any more.
    pub gaps: u64,
}

#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) handled: AtomicU64,
    pub(super) failed: AtomicU64,
    pub(super) rejected: AtomicU64,
    pub(super) panicked: AtomicU64,
    pub(super) stale: AtomicU64,
    pub(super) unsettled: AtomicU64,
    pub(super) gaps: AtomicU64,
}

/// One more.
pub(super) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

impl Counters {
    pub(super) fn read(&self) -> SubscriberStats {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        SubscriberStats {
            handled: read(&self.handled),
            failed: read(&self.failed),
            rejected: read(&self.rejected),
            panicked: read(&self.panicked),
            stale: read(&self.stale),
            unsettled: read(&self.unsettled),
            gaps: read(&self.gaps),
        }
    }
}
