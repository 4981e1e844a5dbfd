//! The handle of a running subscription.

use std::{fmt, sync::Arc, time::Duration};

use tokio::time::Instant;

use super::{SubscriberStats, inner::Inner, live::Live};
use crate::{Error, EventName, Result};

/// A running subscription.
///
/// Dropping it stops it: what is in hand is finished in the background, all else goes back. Nothing is lost either way.
#[must_use = "dropping it stops the subscription; `detach` lets it run until the bus is closed"]
pub struct Subscriber {
    live: Arc<Live>,
    /// Whose subscriptions run in the background.
    _bus: Arc<Inner>,
    stop_on_drop: bool,
}

/// Where a subscription is in its life.
#[derive(Clone, Debug)]
pub enum SubscriberState {
    /// It takes messages.
    Running,
    /// It takes no more and finishes what is in hand; with an error when that ended it.
    Stopping(Option<Error>),
    /// All is settled; with an error when that ended it.
    Ended(Option<Error>),
}

impl Subscriber {
    pub(super) const fn new(bus: Arc<Inner>, live: Arc<Live>) -> Self {
        Self { live, _bus: bus, stop_on_drop: true }
    }

    /// The event it listens to.
    #[must_use]
    pub fn event(&self) -> &EventName {
        &self.live.shared.event
    }

    /// Where it is in its life.
    #[must_use]
    pub fn state(&self) -> SubscriberState {
        self.live.shared.state.borrow().clone()
    }

    /// What it did so far.
    #[must_use]
    pub fn stats(&self) -> SubscriberStats {
        self.live.shared.counters.read()
    }

    /// Waits until it is over: stopped, its event unregistered, or ended by an error.
    ///
    /// # Errors
    /// What ended it: `exists` when another consumer of its name took over, `unavailable` when the transport was closed,
    /// and what else the transport says.
    pub async fn ended(&self) -> Result<()> {
        self.live.shared.over().await;
        match self.state() {
            super::SubscriberState::Ended(Some(error)) => Err(error),
            _ => Ok(()),
        }
    }

    /// Takes no more messages, gives back what was read ahead (no attempt is counted), and waits until what is in hand
    /// is handled and settled.
    pub async fn stop(self) {
        self.live.finish(None).await;
    }

    /// As [`Subscriber::stop`], but what is still being handled after `grace` is given up: its handler is dropped, and
    /// the message goes back, uncounted.
    pub async fn stop_within(self, grace: Duration) {
        self.live.finish(Some(Instant::now() + grace)).await;
    }

    /// Lets it run without a handle, until the bus is closed.
    pub fn detach(mut self) {
        self.stop_on_drop = false;
    }
}

impl Drop for Subscriber {
    fn drop(&mut self) {
        if self.stop_on_drop {
            self.live.stop();
        }
    }
}

impl fmt::Debug for Subscriber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscriber")
            .field("event", self.event())
            .field("state", &self.state())
            .field("stats", &self.stats())
            .finish_non_exhaustive()
    }
}
