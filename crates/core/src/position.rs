//! The one text form of cursors of the transports that number an event's messages.

use std::io::Write;

use xxhash_rust::xxh3::xxh3_64;

use crate::{Cursor, Error, EventName, Passed, Result};

mod places;

pub use places::Places;

/// Two numbers of 16 digits, a check of 8, and the dashes between them.
const LONGEST: usize = 16 + 1 + 16 + 1 + 8;

/// The place before the message at `next`, in one life of an event. A message's own cursor is the place right after it.
///
/// A life is from one registration to the next: a transport draws a new number for each. As text it is
/// `<life>-<next>-<check>` in hexadecimal digits, where the check is a hash of the event's name: a cursor of another
/// event, or of none, is recognised.
///
/// Invariant: the text form does not change: cursors outlive the program, in its clients and on disk. The test
/// `the_text_form_stays` holds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// Which life of the event.
    pub life: u64,
    /// The message it is before.
    pub next: u64,
    check: u32,
}

impl Position {
    /// The place before `next`.
    #[must_use]
    pub fn before(life: u64, event: &EventName, next: u64) -> Self {
        Self { life, next, check: check(event) }
    }

    /// The place before another message of the same life.
    #[must_use]
    pub const fn at(self, next: u64) -> Self {
        Self { next, ..self }
    }

    /// Reads a cursor.
    ///
    /// # Errors
    /// `invalid` when it is no position.
    pub fn parse(cursor: &Cursor) -> Result<Self> {
        let mut parts = cursor.as_str().split('-');
        let mut part = || parts.next().and_then(|digits| u64::from_str_radix(digits, 16).ok());
        match (part(), part(), part(), parts.next()) {
            (Some(life), Some(next), Some(check), None) => {
                let check = u32::try_from(check).map_err(|_| Self::foreign())?;
                Ok(Self { life, next, check })
            }
            _ => Err(Self::foreign()),
        }
    }

    /// Whether it belongs to an event of this name.
    #[must_use]
    pub fn is_of(&self, event: &EventName) -> bool {
        self.check == check(event)
    }

    /// As a cursor.
    ///
    /// # Errors
    /// Never in practice: hexadecimal digits and dashes make a cursor.
    pub fn to_cursor(self) -> Result<Cursor> {
        let mut buffer = [0_u8; LONGEST];
        let mut rest = &mut buffer[..];
        write!(rest, "{:x}-{:x}-{:08x}", self.life, self.next, self.check)
            .map_err(|_| Error::internal("a cursor is longer than it can be"))?;
        let left = rest.len();
        let text = buffer.get(..LONGEST - left).unwrap_or_default();
        Cursor::new(std::str::from_utf8(text).unwrap_or_default())
    }

    /// The same as [`Places::passed`].
    ///
    /// # Errors
    /// As there.
    pub fn passed(reader: &Cursor, message: &Cursor) -> Result<Passed> {
        Places::passed(reader, message)
    }

    /// The error for a cursor that is not one of the event it is used for.
    #[must_use]
    pub fn foreign() -> Error {
        Error::invalid("the cursor is not one of this event")
    }
}

fn check(event: &EventName) -> u32 {
    (xxh3_64(event.as_str().as_bytes()) >> 32) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn orders() -> EventName {
        EventName::new("orders").unwrap()
    }

    fn cursor(life: u64, next: u64) -> Cursor {
        Position::before(life, &orders(), next).to_cursor().unwrap()
    }

    #[test]
    fn a_position_reads_back() {
        for (life, next) in [(0, 0), (7, 300), (u64::MAX, u64::MAX)] {
            let position = Position::before(life, &orders(), next);
            assert_eq!(Position::parse(&position.to_cursor().unwrap()).unwrap(), position);
            assert!(position.is_of(&orders()));
            assert!(!position.is_of(&EventName::new("others").unwrap()));
        }
    }

    #[test]
    fn the_text_form_stays() {
        assert_eq!(cursor(7, 300).as_str(), "7-12c-a88ccdc9");
    }

    #[test]
    fn what_is_no_position_is_refused() {
        for text in
            ["1", "1-2", "1-2-x", "1-2-3-4", "g-2-3", "1-2-fffffffff", "1ffffffffffffffff-2-3", "0-1~"]
        {
            assert!(Position::parse(&Cursor::new(text).unwrap()).is_err(), "{text}");
        }
    }

    #[test]
    fn a_reader_has_had_what_is_before_its_place_in_the_same_life() {
        let passed = |reader: (u64, u64), message: (u64, u64)| {
            Position::passed(&cursor(reader.0, reader.1), &cursor(message.0, message.1)).unwrap()
        };
        assert_eq!(passed((1, 16), (1, 16)), Passed::Had);
        assert_eq!(passed((1, 16), (1, 9)), Passed::Had);
        assert_eq!(passed((1, 9), (1, 16)), Passed::NewFromHere);
        assert_eq!(passed((1, 16), (2, 1)), Passed::NewFromHere);
        assert_eq!(passed((2, 1), (1, 1)), Passed::NewFromHere);
    }

    #[test]
    fn places_of_two_events_are_not_compared() {
        let other = Position::before(1, &EventName::new("others").unwrap(), 1).to_cursor().unwrap();
        assert!(Position::passed(&cursor(1, 1), &other).is_err());
    }
}
