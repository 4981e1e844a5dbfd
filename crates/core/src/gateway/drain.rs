//! Going away without losing anything: stop intake, tell clients, wait for acks, hand leases back uncounted.

use std::{sync::atomic::Ordering, time::Duration};

use tokio::time::Instant;

use super::{Gateway, Inner};
use crate::{Dormant, Error, Result};

/// How long after a drain a client should come back: a least time, and a spread so that not all come at once.
const RETRY_AFTER: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(4));

/// How often a drain looks whether the last session has ended.
const POLL: Duration = Duration::from_millis(10);

/// A drain under way.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Drain {
    /// Until when sessions may wait for acks.
    pub(crate) deadline: Instant,
}

impl Gateway {
    /// Whether the gateway is going away.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.inner.draining().is_some()
    }

    /// Resolves when the gateway starts to go away; at once if it has. For calls that wait for their client.
    pub async fn draining(&self) {
        let mut drain = self.inner.drain.subscribe();
        // The sender lives as long as the gateway.
        _ = drain.wait_for(Option::is_some).await;
    }

    /// Stops intake and lets sessions finish: each client is told, may settle what it holds until `deadline` is over,
    /// and then its session ends. Leases that are left go back without counting an attempt.
    pub async fn drain(&self, deadline: Duration) {
        let until = Instant::now() + deadline;
        self.inner.may_drain.store(true, Ordering::Release);
        self.inner.drain.send_modify(|drain| {
            let until = drain.map_or(until, |earlier| earlier.deadline.min(until));
            *drain = Some(Drain { deadline: until });
        });
        while self.inner.tracker.streams() > 0 && Instant::now() < until {
            tokio::time::sleep(POLL).await;
        }
    }
}

impl Inner {
    /// The drain under way, if there is one. Until there is, nothing is locked: everyone asks this all the time.
    pub(super) fn draining(&self) -> Option<Drain> {
        if self.may_drain.load(Ordering::Acquire) { *self.drain.borrow() } else { None }
    }

    /// Resolves when a drain has begun, or come closer, since now.
    pub(super) fn drain_changed(&self) -> Dormant {
        let mut drain = self.drain.subscribe();
        Dormant::new(async move {
            // The sender lives as long as the gateway.
            _ = drain.changed().await;
        })
    }

    /// Refuses new work while the gateway goes away.
    pub(crate) fn refuse_if_draining(&self) -> Result<()> {
        if self.draining().is_none() {
            return Ok(());
        }
        Err(Error::unavailable("the gateway is draining").with_retry_after(self.retry_after()))
    }

    /// When a client should come back, spread over some seconds.
    pub(crate) fn retry_after(&self) -> Duration {
        RETRY_AFTER.0 + RETRY_AFTER.1.mul_f64(self.fraction())
    }

    /// A number in `0.0..1.0`, different each time: enough to spread clients out.
    fn fraction(&self) -> f64 {
        let (_, random) = uuid::Uuid::new_v4().as_u64_pair();
        f64::from(u32::try_from(random & 0xffff).unwrap_or_default()) / 65536.0
    }

    /// Waits until every settlement under way is done.
    pub(crate) async fn settle_rest(&self) {
        while !self.tasks.is_empty() {
            tokio::time::sleep(POLL).await;
        }
    }
}
