//! Whether a failed call is tried again, and when.

use std::time::Duration;

use busgate_core::{Effect, Error, Retry};
use tokio::time::Instant;

use crate::{
    backoff::{Backoff, spread},
    breaker::is_refusal,
};

/// The least step before a try that follows one of unknown effect: what that may have written is on its way to the broker,
/// and other nodes get to know it a moment after it is there.
const UNKNOWN: Duration = Duration::from_millis(200);

/// The tries of one call.
///
/// A repeated call is either harmless or carries the same message ids, so that an unknown effect of an earlier try is
/// deduplicated; what the caller gets in the end says `unknown` if any try's effect was.
#[derive(Debug)]
pub(crate) struct Tries {
    most: u32,
    backoff: Backoff,
    deadline: Instant,
    made: u32,
    effect: Effect,
}

/// What comes after a failed try.
#[derive(Debug)]
pub(crate) enum Next {
    /// Another one, after this long.
    Again(Duration),
    /// Nothing: the call failed.
    Stop(Error),
}

impl Tries {
    /// At most `most` tries, until `deadline`.
    pub(crate) const fn new(most: u32, backoff: Backoff, deadline: Instant) -> Self {
        Self { most, backoff, deadline, made: 0, effect: Effect::None }
    }

    /// How much of the call's time is left.
    pub(crate) fn left(&self, now: Instant) -> Duration {
        self.deadline.saturating_duration_since(now)
    }

    /// A try failed with `error`. `jitter` lies between 0 and 1.
    pub(crate) fn failed(&mut self, error: Error, now: Instant, jitter: f64) -> Next {
        self.made += 1;
        self.remember(error.effect());
        if self.made >= self.most || error.retry() == Retry::Never || is_refusal(&error) {
            return Next::Stop(self.stop(error));
        }
        let wait = self.wait(&error, jitter);
        if wait >= self.left(now) {
            return Next::Stop(self.stop(error));
        }
        Next::Again(wait)
    }

    /// `error`, as the end of the call.
    pub(crate) fn stop(&self, error: Error) -> Error {
        match self.effect {
            Effect::Unknown => error.with_effect(Effect::Unknown),
            Effect::None => error,
        }
    }

    fn remember(&mut self, effect: Effect) {
        if effect == Effect::Unknown {
            self.effect = Effect::Unknown;
        }
    }

    /// By the backoff, but not before the gateway's hint; clients with the same hint spread behind it.
    fn wait(&self, error: &Error, jitter: f64) -> Duration {
        let mut own = self.backoff.after(self.made, jitter);
        if error.effect() == Effect::Unknown {
            own = own.max(spread(UNKNOWN, jitter));
        }
        match error.retry_after() {
            Some(hint) => own.max(hint.saturating_add(spread(hint, jitter) / 4)),
            None => own,
        }
    }
}

#[cfg(test)]
mod tests {
    use busgate_core::ErrorKind;
    use proptest::prelude::*;

    use super::*;

    fn tries_within(most: u32, left: Duration) -> (Tries, Instant) {
        let backoff = Backoff { base: Duration::from_millis(100), cap: Duration::from_secs(5) };
        let now = Instant::now();
        (Tries::new(most, backoff, now + left), now)
    }

    fn tries(most: u32) -> (Tries, Instant) {
        tries_within(most, Duration::from_secs(3600))
    }

    fn stopped(next: Next) -> Error {
        match next {
            Next::Stop(error) => error,
            Next::Again(wait) => panic!("again after {wait:?}"),
        }
    }

    #[test]
    fn a_permanent_error_ends_at_once() {
        for kind in ErrorKind::ALL.into_iter().filter(|kind| !kind.is_transient()) {
            let (mut tries, now) = tries(9);
            assert_eq!(stopped(tries.failed(Error::new(kind, "no"), now, 0.5)).kind(), kind);
        }
    }

    #[test]
    fn a_transient_error_ends_with_the_tries() {
        let (mut tries, now) = tries(3);
        for _ in 0..2 {
            assert!(matches!(tries.failed(Error::unavailable("gone"), now, 0.5), Next::Again(_)));
        }
        stopped(tries.failed(Error::unavailable("gone"), now, 0.5));
    }

    #[test]
    fn an_unknown_effect_stays_unknown() {
        let (mut tries, now) = tries(3);
        let timeout = Error::new(ErrorKind::Timeout, "late").with_effect(Effect::Unknown);
        assert!(matches!(tries.failed(timeout, now, 0.0), Next::Again(_)));
        let denied = Error::new(ErrorKind::Denied, "no");
        assert_eq!(stopped(tries.failed(denied, now, 0.0)).effect(), Effect::Unknown);
    }

    #[test]
    fn what_may_be_there_is_not_repeated_before_all_nodes_can_know() {
        let backoff = Backoff { base: Duration::from_millis(1), cap: Duration::from_millis(2) };
        let now = Instant::now();
        let waited = |effect| {
            let mut tries = Tries::new(2, backoff, now + Duration::from_secs(1));
            match tries.failed(Error::unavailable("gone").with_effect(effect), now, 0.0) {
                Next::Again(wait) => wait.as_micros(),
                Next::Stop(error) => panic!("{error}"),
            }
        };
        assert_eq!([Effect::None, Effect::Unknown].map(waited), [500, 100_000]);
    }

    #[test]
    fn a_wait_that_the_deadline_does_not_allow_is_not_begun() {
        let hinted = Error::unavailable("draining").with_retry_after(Duration::from_secs(2));
        let (mut tries, now) = tries_within(3, Duration::from_secs(1));
        stopped(tries.failed(hinted, now, 0.0));
    }

    proptest! {
        #[test]
        fn no_try_comes_before_the_hint(hint in 0u64..100_000, jitter in 0.0..=1.0) {
            let hint = Duration::from_millis(hint);
            let (mut tries, now) = tries(2);
            match tries.failed(Error::unavailable("later").with_retry_after(hint), now, jitter) {
                Next::Again(wait) => prop_assert!(wait >= hint && wait <= hint * 2 + Duration::from_millis(100)),
                Next::Stop(error) => prop_assert!(false, "{error}"),
            }
        }
    }
}
