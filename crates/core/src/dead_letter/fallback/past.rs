//! What went wrong with a message so far, put together from what several nodes know.

use crate::{MAX_ERROR_BYTES, Timestamp};

/// What went wrong with a message so far, as one group sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Past {
    pub(super) first_delivered_at: Timestamp,
    first: Option<Failure>,
    last: Option<Failure>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Failure {
    attempt: u32,
    error: String,
}

impl Past {
    /// Of a message that was delivered, with nothing told against it.
    pub(super) const fn since(first_delivered_at: Timestamp) -> Self {
        Self { first_delivered_at, first: None, last: None }
    }

    /// Takes in what went wrong in an attempt.
    pub(super) fn fail(&mut self, attempt: u32, error: &str) {
        let failure = Failure { attempt, error: shortened(error).to_owned() };
        if self.first.as_ref().is_none_or(|first| attempt < first.attempt) {
            self.first = Some(failure.clone());
        }
        if self.last.as_ref().is_none_or(|last| attempt >= last.attempt) {
            self.last = Some(failure);
        }
    }

    /// Takes in what somebody else knows of the same message.
    pub(super) fn join(&mut self, other: &Self) {
        self.first_delivered_at = self.first_delivered_at.min(other.first_delivered_at);
        for failure in [&other.first, &other.last].into_iter().flatten() {
            self.fail(failure.attempt, &failure.error);
        }
    }

    /// Whether nobody can know of anything earlier: what went wrong in the first attempt.
    pub(super) fn has_its_beginning(&self) -> bool {
        self.first.as_ref().is_some_and(|first| first.attempt <= 1)
    }

    /// What went wrong first, if anything was told.
    pub(super) fn first_error(&self) -> Option<&str> {
        self.first.as_ref().map(|failure| &*failure.error)
    }

    /// What went wrong last, if anything was told.
    pub(super) fn last_error(&self) -> Option<&str> {
        self.last.as_ref().map(|failure| &*failure.error)
    }
}

/// The beginning of an error, as a dead letter tells it.
pub(super) fn shortened(error: &str) -> &str {
    error.get(..error.floor_char_boundary(MAX_ERROR_BYTES)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn past(at: i64, failures: &[(u32, &str)]) -> Past {
        let mut past = Past::since(Timestamp::from_millis(at));
        failures.iter().for_each(|(attempt, error)| past.fail(*attempt, error));
        past
    }

    #[test]
    fn the_earliest_and_the_latest_attempt_are_told_in_whatever_order_they_are_heard_of() {
        let mut known = past(7, &[(3, "three")]);
        assert!(!known.has_its_beginning());
        known.join(&past(5, &[(2, "two"), (1, "one")]));
        assert_eq!((known.first_error(), known.last_error()), (Some("one"), Some("three")));
        assert_eq!(known.first_delivered_at, Timestamp::from_millis(5));
        assert!(known.has_its_beginning());
        let same = known.clone();
        known.join(&past(9, &[(2, "two")]));
        assert_eq!(known, same, "what is heard of twice changes nothing");
    }

    #[test]
    fn an_error_is_kept_within_bounds() {
        let known = past(0, &[(1, &"é".repeat(MAX_ERROR_BYTES))]);
        assert_eq!(known.last_error().map(str::len), Some(MAX_ERROR_BYTES));
    }
}
