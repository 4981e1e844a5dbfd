//! The circuit breaker: a gateway that does not answer is left alone for a while.

mod state;

use std::{error, fmt, time::Duration};

use busgate_core::{Error, ErrorKind, Result};
use parking_lot::Mutex;
use tokio::time::Instant;

use self::state::{Machine, Ticket};
use crate::options::CircuitBreaker;

/// Whether `error` says that the gateway was not there, or could not do its work.
///
/// A rejection (`invalid`, `denied`, `not_found`, `exhausted`, …) is an answer of a gateway that works, and no outcome.
pub(crate) const fn is_failure(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Timeout)
}

/// The breaker of one connection; without settings it is always closed.
#[derive(Debug)]
pub(crate) struct Breaker(Option<Mutex<Machine>>);

/// The right to one call. Dropped without an outcome it frees its place.
#[derive(Debug)]
pub(crate) struct Permit<'a> {
    breaker: &'a Breaker,
    ticket: Option<Ticket>,
}

impl Breaker {
    pub(crate) fn new(settings: Option<CircuitBreaker>) -> Self {
        Self(
            settings.map(|settings| {
                Mutex::new(Machine::new(settings.failure_threshold, settings.recovery_timeout))
            }),
        )
    }

    /// The right to one call.
    ///
    /// # Errors
    /// `unavailable` while it is open, or while another call tries whether it may close.
    pub(crate) fn admit(&self) -> Result<Permit<'_>> {
        let Some(machine) = &self.0 else { return Ok(Permit { breaker: self, ticket: None }) };
        let admitted = machine.lock().admit(Instant::now());
        match admitted {
            Ok(ticket) => Ok(Permit { breaker: self, ticket: Some(ticket) }),
            Err(left) => Err(open(left)),
        }
    }

    /// A stream that holds no permit any more works.
    pub(crate) fn succeeded(&self) {
        self.with(|machine| machine.stream_succeeded());
    }

    /// A stream that holds no permit any more has failed.
    pub(crate) fn failed(&self, error: &Error) {
        if is_failure(error) {
            self.with(|machine| machine.stream_failed(Instant::now()));
        }
    }

    /// There is a connection again: one call may try it now.
    pub(crate) fn reconnected(&self) {
        self.with(Machine::recover);
    }

    fn with(&self, change: impl FnOnce(&mut Machine)) {
        if let Some(machine) = &self.0 {
            change(&mut machine.lock());
        }
    }
}

impl Permit<'_> {
    /// Tells how the call went.
    pub(crate) fn record<T>(mut self, outcome: &Result<T>) {
        let Some(ticket) = self.ticket else { return };
        let now = Instant::now();
        match outcome {
            Ok(_) => self.breaker.with(|machine| machine.succeeded(ticket)),
            Err(error) if is_failure(error) => self.breaker.with(|machine| machine.failed(ticket, now)),
            // Dropping it frees the place.
            Err(_) => return,
        }
        self.ticket = None;
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket.take() {
            self.breaker.with(|machine| machine.abandoned(ticket));
        }
    }
}

/// Whether the breaker refused the call: it was not made, and trying again now is pointless.
pub(crate) fn is_refusal(error: &Error) -> bool {
    error::Error::source(error).is_some_and(|source| source.is::<Open>())
}

/// Marks an error of the breaker itself.
#[derive(Clone, Copy, Debug)]
struct Open;

impl fmt::Display for Open {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the gateway failed too often")
    }
}

impl error::Error for Open {}

fn open(left: Duration) -> Error {
    Error::unavailable("the circuit breaker is open").with_retry_after(left).with_source(Open)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn breaker(failure_threshold: u32) -> Breaker {
        let recovery_timeout = Duration::from_secs(30);
        Breaker::new(Some(CircuitBreaker { failure_threshold, recovery_timeout }))
    }

    fn fail(breaker: &Breaker) {
        breaker.admit().unwrap().record::<()>(&Err(Error::unavailable("gone")));
    }

    #[tokio::test(start_paused = true)]
    async fn it_opens_at_the_threshold_and_says_when_to_come_back() {
        let breaker = breaker(2);
        fail(&breaker);
        assert!(breaker.admit().is_ok());
        fail(&breaker);
        tokio::time::advance(Duration::from_secs(10)).await;
        let error = breaker.admit().unwrap_err();
        assert_eq!(error.retry_after(), Some(Duration::from_secs(20)));
        assert!(is_refusal(&error) && !is_refusal(&Error::unavailable("gone")));
    }

    #[tokio::test(start_paused = true)]
    async fn half_open_lets_one_probe_through_and_its_success_closes() {
        let breaker = breaker(1);
        fail(&breaker);
        tokio::time::advance(Duration::from_secs(30)).await;
        let probe = breaker.admit().unwrap();
        assert!(breaker.admit().is_err());
        probe.record(&Ok(()));
        assert!(breaker.admit().is_ok() && breaker.admit().is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_failed_probe_opens_it_again() {
        let breaker = breaker(1);
        fail(&breaker);
        tokio::time::advance(Duration::from_secs(30)).await;
        fail(&breaker);
        tokio::time::advance(Duration::from_secs(29)).await;
        assert!(breaker.admit().is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn a_dropped_probe_frees_its_place() {
        let breaker = breaker(1);
        fail(&breaker);
        tokio::time::advance(Duration::from_secs(30)).await;
        drop(breaker.admit().unwrap());
        assert!(breaker.admit().is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn rejections_are_no_outcomes() {
        let breaker = breaker(1);
        for kind in ErrorKind::ALL.into_iter().filter(|kind| !is_failure(&Error::new(*kind, ""))) {
            breaker.admit().unwrap().record::<()>(&Err(Error::new(kind, "no")));
        }
        assert!(breaker.admit().is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_new_connection_is_tried_at_once() {
        let breaker = breaker(1);
        fail(&breaker);
        assert!(breaker.admit().is_err());
        breaker.reconnected();
        breaker.admit().unwrap().record(&Ok(()));
        assert!(breaker.admit().is_ok());
    }
}
