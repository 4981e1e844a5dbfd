//! One message that a group has seen and not done with.

use std::sync::Arc;

use tokio::time::Instant;

use super::{Keyed, MAX_ERROR_BYTES, Reason, Story};
use crate::{RetryPolicy, Timestamp};

/// Where a message stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Behind an earlier message of its key.
    Parked,
    /// For the next taker.
    Ready,
    /// Not before this time.
    Waiting(Instant),
    /// In someone's hands.
    Leased { member: u64, deadline: Instant },
    /// To be put among the dead letters; reported (again) at this time.
    Dying { reason: Reason, report: Option<Instant> },
}

impl State {
    pub(super) const fn deadline(self) -> Option<Instant> {
        match self {
            Self::Waiting(at) | Self::Leased { deadline: at, .. } => Some(at),
            Self::Dying { report, .. } => report,
            Self::Parked | Self::Ready => None,
        }
    }
}

/// What went wrong, first and last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Failures {
    pub(super) first: String,
    pub(super) last: String,
}

#[derive(Debug)]
pub(super) struct Entry {
    pub(super) state: State,
    /// Deliveries that count, the running one among them.
    pub(super) attempts: u32,
    /// Of the last delivery; 0 when there was none.
    pub(super) epoch: u64,
    /// Whether the token of that delivery still settles.
    pub(super) open: bool,
    /// Who got the last delivery.
    pub(super) member: u64,
    /// What is known of its key.
    pub(super) key: Keyed,
    /// The lane it stands in.
    pub(super) lane: Option<u64>,
    /// Of the last delivery.
    pub(super) policy: Arc<RetryPolicy>,
    pub(super) first_delivered_at: Timestamp,
    pub(super) failures: Option<Box<Failures>>,
}

impl Entry {
    pub(super) fn fresh(key: Keyed, lane: Option<u64>, policy: Arc<RetryPolicy>) -> Self {
        Self {
            state: State::Parked,
            attempts: 0,
            epoch: 0,
            open: false,
            member: 0,
            key,
            lane,
            policy,
            first_delivered_at: Timestamp::default(),
            failures: None,
        }
    }

    pub(super) fn failed(&mut self, error: &str) {
        let error = bounded(error);
        match &mut self.failures {
            Some(failures) => error.clone_into(&mut failures.last),
            None => self.failures = Some(Box::new(Failures { first: error.into(), last: error.into() })),
        }
    }

    pub(super) fn story(&self, offset: u64, reason: Reason) -> Story {
        Story {
            offset,
            reason,
            attempts: self.attempts,
            first_error: self.failures.as_ref().map(|failures| failures.first.clone()),
            last_error: self.failures.as_ref().map(|failures| failures.last.clone()),
            first_delivered_at: self.first_delivered_at,
        }
    }
}

fn bounded(text: &str) -> &str {
    let end = (0..=text.len().min(MAX_ERROR_BYTES)).rev().find(|end| text.is_char_boundary(*end));
    end.and_then(|end| text.get(..end)).unwrap_or_default()
}
