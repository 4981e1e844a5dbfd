//! What a subscriber and an event can ask for, with the defaults.

use std::time::Duration;

use crate::{ConsumerName, Cursor, Error, GroupName, Holder, Result, Timestamp};

/// How long a lease runs unless the subscription says otherwise.
pub const DEFAULT_ACK_WAIT: Duration = Duration::from_secs(30);

/// The bounds of `ack_wait` and of an extension.
pub const ACK_WAIT_RANGE: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(12 * 3600));

/// The longest delay a nack may ask for.
pub const MAX_NACK_DELAY: Duration = Duration::from_secs(7 * 24 * 3600);

/// How often a message is delivered before it goes to the dead letters.
pub const DEFAULT_MAX_DELIVER: u32 = 5;

/// The default backoff between redeliveries; the last step repeats.
pub const DEFAULT_BACKOFF: [Duration; 4] =
    [Duration::from_secs(1), Duration::from_secs(5), Duration::from_secs(30), Duration::from_secs(120)];

/// How many unsettled messages a subscription may hold unless it says otherwise.
pub const DEFAULT_MAX_IN_FLIGHT: usize = 256;

/// How many deliveries of a subscription may be on their way to being settled: their client is done with them, so they take
/// no room in its window. Of each no more is left than its token.
pub const MAX_SETTLING: usize = 1024;

/// How many bytes of unsettled messages a subscription may hold unless it says otherwise (a single larger one passes).
pub const DEFAULT_MAX_IN_FLIGHT_BYTES: usize = 16 * 1024 * 1024;

/// How long an event remembers message ids unless its configuration says otherwise.
pub const DEFAULT_DEDUP_WINDOW: Duration = Duration::from_secs(120);

/// Who gets a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Every subscriber gets every message. With a name there is a checkpoint on the transport, and leases.
    Broadcast {
        /// The name under which the checkpoint is kept.
        consumer: Option<ConsumerName>,
    },
    /// Each message goes to one member of the group.
    WorkerPool {
        /// The group.
        group: GroupName,
    },
}

impl Mode {
    /// Whose leases the deliveries carry; `None` for unnamed broadcast, which has none.
    #[must_use]
    pub fn holder(&self) -> Option<Holder> {
        match self {
            Self::Broadcast { consumer } => consumer.clone().map(Holder::Consumer),
            Self::WorkerPool { group } => Some(Holder::Group(group.clone())),
        }
    }
}

/// Where a subscription starts. A group or consumer that has a position already goes on from there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Start {
    /// With the oldest message held.
    Beginning,
    /// With the next message published.
    Latest,
    /// With the first message at or after this time.
    At(Timestamp),
    /// With the first message after this one.
    After(Cursor),
}

/// How messages come back and when that ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RetryPolicy {
    /// How long a lease runs.
    pub ack_wait: Duration,
    /// How often a message is delivered before it goes to the dead letters.
    pub max_deliver: u32,
    /// The delay before the second, third, … delivery; the last repeats.
    pub backoff: Vec<Duration>,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            ack_wait: DEFAULT_ACK_WAIT,
            max_deliver: DEFAULT_MAX_DELIVER,
            backoff: DEFAULT_BACKOFF.to_vec(),
        }
    }
}

impl RetryPolicy {
    /// The delay after `attempt` (from 1) has failed, before jitter.
    #[must_use]
    pub fn delay_after(&self, attempt: u32) -> Duration {
        let step = usize::try_from(attempt.saturating_sub(1)).unwrap_or(usize::MAX);
        self.backoff.get(step).or_else(|| self.backoff.last()).copied().unwrap_or_default()
    }

    /// Checks every figure against its bounds.
    ///
    /// # Errors
    /// `invalid`, naming the figure and what is allowed.
    pub fn validate(&self) -> Result<()> {
        let (least, most) = ACK_WAIT_RANGE;
        if self.ack_wait < least || self.ack_wait > most {
            return Err(Error::invalid(format!(
                "ack_wait must be {least:?} to {most:?}, is {:?}",
                self.ack_wait
            )));
        }
        if self.max_deliver == 0 {
            return Err(Error::invalid("max_deliver must be 1 or more"));
        }
        if self.backoff.len() > 32 || self.backoff.iter().any(|delay| *delay > MAX_NACK_DELAY) {
            return Err(Error::invalid(format!(
                "backoff must have at most 32 steps of at most {MAX_NACK_DELAY:?}"
            )));
        }
        Ok(())
    }
}

/// What a transport needs to know of a subscription.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubscribeOptions {
    /// Who gets what.
    pub mode: Mode,
    /// Where it starts.
    pub start: Start,
    /// How messages come back; of no effect on unnamed broadcast.
    pub retry: RetryPolicy,
    /// How many deliveries the subscription may hold unsettled; how far a transport may read ahead.
    pub max_in_flight: usize,
}

impl SubscribeOptions {
    /// Unnamed broadcast from `start`.
    #[must_use]
    pub fn broadcast(start: Start) -> Self {
        Self::new(Mode::Broadcast { consumer: None }, start)
    }

    /// A named broadcast consumer that starts at `start` when it is new.
    #[must_use]
    pub fn consumer(name: ConsumerName, start: Start) -> Self {
        Self::new(Mode::Broadcast { consumer: Some(name) }, start)
    }

    /// A member of a worker group that starts at `start` when it is new.
    #[must_use]
    pub fn pool(group: GroupName, start: Start) -> Self {
        Self::new(Mode::WorkerPool { group }, start)
    }

    fn new(mode: Mode, start: Start) -> Self {
        Self { mode, start, retry: RetryPolicy::default(), max_in_flight: DEFAULT_MAX_IN_FLIGHT }
    }

    /// Checks every figure against its bounds.
    ///
    /// # Errors
    /// `invalid`, naming the figure and what is allowed.
    pub fn validate(&self) -> Result<()> {
        if self.max_in_flight == 0 || self.max_in_flight > 100_000 {
            return Err(Error::invalid("max_in_flight must be 1 to 100000"));
        }
        self.retry.validate()
    }
}

/// What an event is registered with. `None` leaves it to the transport's default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EventConfig {
    /// How long message ids are remembered; zero turns deduplication off.
    pub dedup_window: Option<Duration>,
    /// How long messages are held.
    pub retention_age: Option<Duration>,
    /// How many bytes of messages are held.
    pub retention_bytes: Option<u64>,
    /// How many messages are held.
    pub retention_messages: Option<u64>,
}

impl EventConfig {
    /// Whether nothing is asked for.
    #[must_use]
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// Checks every figure against its bounds.
    ///
    /// # Errors
    /// `invalid`, naming the figure and what is allowed.
    pub fn validate(&self) -> Result<()> {
        if self.retention_age == Some(Duration::ZERO)
            || self.retention_bytes == Some(0)
            || self.retention_messages == Some(0)
        {
            return Err(Error::invalid("retention must be more than zero"));
        }
        if self.dedup_window.is_some_and(|window| window > Duration::from_secs(24 * 3600)) {
            return Err(Error::invalid("dedup_window must be at most 24h"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_backoff_step_repeats() {
        let policy = RetryPolicy::default();
        assert_eq!(policy.delay_after(1), Duration::from_secs(1));
        assert_eq!(policy.delay_after(4), Duration::from_secs(120));
        assert_eq!(policy.delay_after(u32::MAX), Duration::from_secs(120));
    }

    #[test]
    fn figures_out_of_bounds_are_named() {
        let policy = RetryPolicy { ack_wait: Duration::ZERO, ..RetryPolicy::default() };
        assert!(policy.validate().unwrap_err().message().contains("ack_wait"));
        let policy = RetryPolicy { max_deliver: 0, ..RetryPolicy::default() };
        assert!(policy.validate().unwrap_err().message().contains("max_deliver"));
    }
}
