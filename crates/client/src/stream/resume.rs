//! Where a subscription goes on after its stream broke, and whether it does. Pure.

use std::time::Duration;

use busgate_core::{Cursor, Error, Gap, Retry, Start};

use crate::backoff::Backoff;

/// Where to go on. A group or named consumer has its place on the gateway's transport, and starts as it did at first.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    start: Start,
    /// Whether it moves with what came.
    follows: bool,
    /// Whether what was missed can be had.
    replay: bool,
    opened: bool,
}

impl Place {
    /// A subscription that starts at `start`; `unnamed` when nobody but the client knows how far it came.
    pub(crate) const fn new(start: Start, unnamed: bool, replay: bool) -> Self {
        Self { start, follows: unnamed && replay, replay: replay || !unnamed, opened: false }
    }

    /// Where the next stream starts.
    pub(crate) fn start(&self) -> Start {
        self.start.clone()
    }

    /// Everything up to `cursor` came.
    pub(crate) fn passed(&mut self, cursor: &Cursor) {
        if self.follows {
            self.start = Start::After(cursor.clone());
        }
    }

    /// A stream stands. Answers the gap that its start leaves: what was published since the one before is lost where
    /// nothing can be replayed.
    pub(crate) fn opened(&mut self) -> Option<Gap> {
        let again = std::mem::replace(&mut self.opened, true);
        if !self.replay {
            // What was before need not be repeated.
            self.start = Start::Latest;
        }
        (again && !self.replay).then_some(Gap { missed: None, cursor: None })
    }
}

/// How often a stream may fail, and how long to wait.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    /// Whether to come back at all.
    pub(crate) reconnect: bool,
    /// How many failures in a row are too many; `None` for no bound.
    pub(crate) max_errors: Option<u32>,
    /// The waits in between.
    pub(crate) backoff: Backoff,
}

/// The failures in a row. A message ends the row; a stream that merely stands does not, or a gateway that takes every
/// stream and drops it would be asked without a pause.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    patience: Patience,
    errors: u32,
    renewed: bool,
}

impl Row {
    pub(crate) const fn new(patience: Patience) -> Self {
        Self { patience, errors: 0, renewed: false }
    }

    /// A message came.
    pub(crate) const fn delivered(&mut self) {
        (self.errors, self.renewed) = (0, false);
    }

    /// The credentials were refused: they may have run out. Answers whether to try fresh ones, once in a row.
    pub(crate) const fn renews(&mut self) -> bool {
        self.patience.reconnect && !std::mem::replace(&mut self.renewed, true)
    }

    /// A stream failed, or could not be opened. Answers after how long to try again, if at all; `jitter` lies between 0
    /// and 1.
    pub(crate) fn failed(&mut self, error: &Error, jitter: f64) -> Option<Duration> {
        self.errors = self.errors.saturating_add(1);
        let spent = self.patience.max_errors.is_some_and(|most| self.errors >= most);
        if !self.patience.reconnect || spent || error.retry() == Retry::Never {
            return None;
        }
        let own = self.patience.backoff.after(self.errors, jitter);
        Some(error.retry_after().map_or(own, |hint| own.max(hint)))
    }
}

#[cfg(test)]
mod tests {
    use busgate_core::ErrorKind;

    use super::*;

    const BACKOFF: Backoff = Backoff { base: Duration::from_millis(100), cap: Duration::from_secs(5) };

    fn cursor(text: &str) -> Cursor {
        Cursor::new(text).unwrap()
    }

    fn row(max_errors: Option<u32>) -> Row {
        Row::new(Patience { reconnect: true, max_errors, backoff: BACKOFF })
    }

    fn gone() -> Error {
        Error::unavailable("gone")
    }

    #[test]
    fn unnamed_goes_on_after_what_came_last() {
        let mut place = Place::new(Start::Beginning, true, true);
        assert_eq!(place.opened(), None);
        assert_eq!(place.start(), Start::Beginning);
        place.passed(&cursor("c1"));
        place.passed(&cursor("c2"));
        assert_eq!(place.opened(), None);
        assert_eq!(place.start(), Start::After(cursor("c2")));
    }

    #[test]
    fn a_holder_has_its_place_on_the_gateway() {
        let mut place = Place::new(Start::Latest, false, false);
        place.opened();
        place.passed(&cursor("c1"));
        assert_eq!((place.opened(), place.start()), (None, Start::Latest));
    }

    #[test]
    fn without_replay_each_new_stream_tells_a_gap() {
        let mut place = Place::new(Start::Latest, true, false);
        assert_eq!(place.opened(), None);
        place.passed(&cursor("c1"));
        assert_eq!(place.opened(), Some(Gap { missed: None, cursor: None }));
        assert_eq!(place.start(), Start::Latest);
    }

    #[test]
    fn only_a_message_ends_a_row_of_failures() {
        let mut row = row(None);
        let waits: Vec<_> = (0..3).map(|_| row.failed(&gone(), 1.0).unwrap().as_millis()).collect();
        assert_eq!(waits, [100, 200, 400]);
        row.delivered();
        assert_eq!(row.failed(&gone(), 1.0).unwrap().as_millis(), 100);
    }

    #[test]
    fn a_row_that_is_too_long_ends_it() {
        let mut row = row(Some(3));
        assert!(row.failed(&gone(), 0.0).is_some());
        assert!(row.failed(&gone(), 0.0).is_some());
        assert!(row.failed(&gone(), 0.0).is_none());
    }

    #[test]
    fn a_permanent_error_ends_it_at_once() {
        for kind in ErrorKind::ALL {
            let again = row(None).failed(&Error::new(kind, "no"), 0.5).is_some();
            assert_eq!(again, kind.is_transient(), "{kind}");
        }
        let mut once = Row::new(Patience { reconnect: false, max_errors: None, backoff: BACKOFF });
        assert!(once.failed(&gone(), 0.5).is_none());
    }

    #[test]
    fn credentials_are_renewed_once_in_a_row() {
        let mut row = row(None);
        assert!(row.renews());
        assert!(!row.renews());
        row.delivered();
        assert!(row.renews());
    }

    #[test]
    fn a_hint_is_waited_for() {
        let hint = Duration::from_secs(30);
        assert_eq!(row(None).failed(&gone().with_retry_after(hint), 0.0), Some(hint));
    }
}
