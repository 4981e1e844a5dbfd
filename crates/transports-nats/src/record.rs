//! What is to be known of a message that came back: how many attempts count, and which tokens are closed.

use std::fmt::Write;

/// How often a message may come back from a node that died before that counts as an attempt.
const FORGIVEN: u32 = 16;

/// What is known of one message for one consumer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Record {
    /// Tokens of earlier epochs are closed.
    pub(crate) fence: u64,
    /// How many deliveries count as attempts.
    pub(crate) attempts: u32,
    /// The last delivery that was counted.
    pub(crate) counted: u64,
    /// How many deliveries there were when it was written; 0 when that was not known.
    pub(crate) delivered: u64,
    /// How many deliveries nobody told the end of.
    pub(crate) lost: u32,
    /// Whether the token of the last of those deliveries is closed.
    pub(crate) is_closed: bool,
    /// Whether it is done for good, whatever the server thinks.
    pub(crate) is_done: bool,
}

impl Record {
    /// How many attempts were made, as far as they count.
    pub(crate) const fn attempts(&self) -> u32 {
        self.attempts.saturating_add(self.lost.saturating_sub(FORGIVEN))
    }

    /// Counts the delivery `epoch`, once.
    pub(crate) const fn count(mut self, epoch: u64) -> Self {
        if self.counted < epoch {
            self.attempts = self.attempts.saturating_add(1);
            self.counted = epoch;
        }
        self
    }

    /// Closes the token of `epoch` and all before it.
    pub(crate) const fn close(mut self, epoch: u64) -> Self {
        if self.fence <= epoch {
            self.fence = epoch.saturating_add(1);
        }
        self.is_closed = true;
        self
    }

    /// Whether a token of this epoch still settles.
    pub(crate) const fn is_open(&self, epoch: u64) -> bool {
        !self.is_done && self.fence <= epoch
    }

    /// Whether the token of this very epoch is the one that it is done by.
    pub(crate) const fn is_done_by(&self, epoch: u64) -> bool {
        self.is_done && self.fence == epoch.saturating_add(1)
    }

    /// As it stands on the server.
    pub(crate) fn write(&self) -> String {
        let Self { fence, attempts, counted, delivered, lost, is_closed, is_done } = self;
        let mut text = String::with_capacity(48);
        // Writing to a string does not fail.
        let _ = write!(
            text,
            "1 {fence} {attempts} {counted} {delivered} {lost} {} {}",
            u8::from(*is_closed),
            u8::from(*is_done)
        );
        text
    }

    /// What [`Self::write`] wrote.
    pub(crate) fn read(text: &str) -> Option<Self> {
        let mut numbers = text.split(' ').map(|digits| digits.parse::<u64>().ok());
        let mut next = || numbers.next().flatten();
        if next()? != 1 {
            return None;
        }
        let (fence, attempts, counted, delivered) = (next()?, next()?, next()?, next()?);
        let (lost, is_closed, is_done) = (next()?, next()? == 1, next()? == 1);
        let (attempts, lost) = (u32::try_from(attempts).ok()?, u32::try_from(lost).ok()?);
        Some(Self { fence, attempts, counted, delivered, lost, is_closed, is_done })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_delivery_is_counted_once() {
        let record = Record::default().count(7).count(7).count(9);
        assert_eq!((record.attempts(), record.counted), (2, 9));
    }

    #[test]
    fn a_closed_token_stays_closed() {
        let record = Record::default().close(7);
        assert!(!record.is_open(6) && !record.is_open(7) && record.is_open(8));
        assert_eq!(record.close(3), record.close(7));
        assert!(!Record { is_done: true, ..Record::default() }.is_open(8));
    }

    #[test]
    fn nodes_that_die_over_and_over_use_up_attempts() {
        assert_eq!(Record { attempts: 1, lost: FORGIVEN, ..Record::default() }.attempts(), 1);
        assert_eq!(Record { attempts: 1, lost: FORGIVEN + 3, ..Record::default() }.attempts(), 4);
    }

    proptest! {
        #[test]
        fn records_read_back(fence: u64, attempts: u32, counted: u64, delivered: u64, lost: u32, is_closed: bool, is_done: bool) {
            let record = Record { fence, attempts, counted, delivered, lost, is_closed, is_done };
            prop_assert_eq!(Record::read(&record.write()), Some(record));
        }

        #[test]
        fn anything_else_is_refused_or_read(text: String) {
            let _ = Record::read(&text);
        }
    }
}
