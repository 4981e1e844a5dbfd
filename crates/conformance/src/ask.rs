//! What laws ask of a subscription, in few words.

use std::time::Duration;

use busgate_core::{ConsumerName, EventConfig, GroupName, Start, SubscribeOptions};

use crate::Verdict;

/// Unnamed broadcast of what comes.
pub(crate) fn live() -> SubscribeOptions {
    SubscribeOptions::broadcast(Start::Latest)
}

/// Unnamed broadcast from `start`.
pub(crate) fn from(start: Start) -> SubscribeOptions {
    SubscribeOptions::broadcast(start)
}

/// A member of the group `workers`; a new group gets what comes.
pub(crate) fn pool() -> Verdict<SubscribeOptions> {
    group("workers")
}

/// A member of the group `name`; a new group gets what comes.
pub(crate) fn group(name: &str) -> Verdict<SubscribeOptions> {
    Ok(SubscribeOptions::pool(GroupName::new(name)?, Start::Latest))
}

/// The consumer `name`; a new one gets what comes.
pub(crate) fn consumer(name: &str) -> Verdict<SubscribeOptions> {
    Ok(SubscribeOptions::consumer(ConsumerName::new(name)?, Start::Latest))
}

/// An event that remembers ids for `window`.
pub(crate) fn deduplicated(window: Duration) -> EventConfig {
    EventConfig { dedup_window: Some(window), ..EventConfig::default() }
}

/// Changes to what is asked for.
pub(crate) trait Asking: Sized {
    fn start(self, start: Start) -> Self;
    fn lease(self, lease: Duration) -> Self;
    fn window(self, window: usize) -> Self;
    fn tries(self, tries: u32) -> Self;
    fn backoff(self, delay: Duration) -> Self;
}

impl Asking for SubscribeOptions {
    fn start(mut self, start: Start) -> Self {
        self.start = start;
        self
    }

    fn lease(mut self, lease: Duration) -> Self {
        self.retry.ack_wait = lease;
        self
    }

    fn window(mut self, window: usize) -> Self {
        self.max_in_flight = window;
        self
    }

    fn tries(mut self, tries: u32) -> Self {
        self.retry.max_deliver = tries;
        self
    }

    fn backoff(mut self, delay: Duration) -> Self {
        self.retry.backoff = vec![delay];
        self
    }
}
