//! What a gateway has done so far, in numbers.

use std::sync::atomic::{AtomicU64, Ordering};

/// A counter that only grows.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self, count: usize) {
        self.0.fetch_add(count as u64, Ordering::Relaxed);
    }

    fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// The counters of a gateway.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) published: Counter,
    pub(crate) duplicates: Counter,
    pub(crate) publish_failed: Counter,
    pub(crate) delivered: Counter,
    pub(crate) redelivered: Counter,
    pub(crate) acked: Counter,
    pub(crate) nacked: Counter,
    pub(crate) rejected: Counter,
    pub(crate) extended: Counter,
    pub(crate) released: Counter,
    pub(crate) refused_acks: Counter,
    pub(crate) gaps: Counter,
    pub(crate) slow_consumers: Counter,
    pub(crate) too_old: Counter,
}

/// A snapshot of what a gateway has done since it started, and of what it holds now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Messages accepted (duplicates included).
    pub published: u64,
    /// Of them, duplicates.
    pub duplicates: u64,
    /// Messages refused or failed.
    pub publish_failed: u64,
    /// Messages yielded to clients.
    pub delivered: u64,
    /// Of them, attempts after the first.
    pub redelivered: u64,
    /// Deliveries acked, automatic acks included.
    pub acked: u64,
    /// Deliveries nacked.
    pub nacked: u64,
    /// Deliveries rejected.
    pub rejected: u64,
    /// Leases extended.
    pub extended: u64,
    /// Deliveries released by their clients.
    pub released: u64,
    /// Settlements that changed nothing: stale, unknown, not owned, invalid.
    pub refused_acks: u64,
    /// Gaps told to clients.
    pub gaps: u64,
    /// Sessions ended because the client did not keep up.
    pub slow_consumers: u64,
    /// Messages settled silently because they were over `max_age`.
    pub too_old: u64,
    /// Sessions open now.
    pub sessions: u64,
    /// Deliveries unsettled now.
    pub in_flight: u64,
    /// Events read for live subscribers now.
    pub channels: u64,
}

impl Counters {
    pub(crate) fn snapshot(&self) -> Stats {
        Stats {
            published: self.published.get(),
            duplicates: self.duplicates.get(),
            publish_failed: self.publish_failed.get(),
            delivered: self.delivered.get(),
            redelivered: self.redelivered.get(),
            acked: self.acked.get(),
            nacked: self.nacked.get(),
            rejected: self.rejected.get(),
            extended: self.extended.get(),
            released: self.released.get(),
            refused_acks: self.refused_acks.get(),
            gaps: self.gaps.get(),
            slow_consumers: self.slow_consumers.get(),
            too_old: self.too_old.get(),
            ..Stats::default()
        }
    }
}
