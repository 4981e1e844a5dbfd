//! A place between two messages of one registration of an event, and how it reads as a cursor.

use busgate_core::{Cursor, Error, EventName, Result};
use xxhash_rust::xxh3::xxh3_64;

use crate::store::EventId;

/// The place before the message at `next`. A message's own cursor is the place right after it.
///
/// As text it is `<registration>-<next>-<check>` in hexadecimal digits, where the check is a hash of the event's name:
/// a cursor of another event, or of none, is recognised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Position {
    pub(crate) event: EventId,
    pub(crate) next: u64,
    check: u32,
}

impl Position {
    /// The place before `next`.
    pub(crate) fn before(event: EventId, name: &EventName, next: u64) -> Self {
        Self { event, next, check: check(name) }
    }

    /// Reads a cursor.
    ///
    /// # Errors
    /// `invalid` when it was not written by this transport.
    pub(crate) fn parse(cursor: &Cursor) -> Result<Self> {
        let mut parts = cursor.as_str().split('-');
        let mut part = || parts.next().and_then(|digits| u64::from_str_radix(digits, 16).ok());
        match (part(), part(), part(), parts.next()) {
            (Some(event), Some(next), Some(check), None) => {
                match (u32::try_from(event), u32::try_from(check)) {
                    (Ok(event), Ok(check)) => Ok(Self { event: EventId(event), next, check }),
                    _ => Err(foreign()),
                }
            }
            _ => Err(foreign()),
        }
    }

    /// Whether it belongs to an event of this name.
    pub(crate) fn is_of(&self, name: &EventName) -> bool {
        self.check == check(name)
    }

    /// As a cursor.
    ///
    /// # Errors
    /// Never in practice: hexadecimal digits and dashes make a cursor.
    pub(crate) fn to_cursor(self) -> Result<Cursor> {
        Cursor::new(format!("{:x}-{:x}-{:08x}", self.event.0, self.next, self.check))
    }
}

fn check(name: &EventName) -> u32 {
    (xxh3_64(name.as_str().as_bytes()) >> 32) as u32
}

/// The error for a cursor that is not one of ours.
pub(crate) fn foreign() -> Error {
    Error::invalid("the cursor is not one of this event")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_reads_back() {
        let name = EventName::new("orders").unwrap();
        let position = Position::before(EventId(7), &name, u64::MAX);
        assert_eq!(Position::parse(&position.to_cursor().unwrap()).unwrap(), position);
        assert!(position.is_of(&name));
        assert!(!position.is_of(&EventName::new("others").unwrap()));
    }

    #[test]
    fn what_is_not_ours_is_refused() {
        for text in ["1", "1-2", "1-2-x", "1-2-3-4", "g-2-3", "1-2-fffffffff", "1ffffffff-2-3", "0-1~"] {
            assert!(Position::parse(&Cursor::new(text).unwrap()).is_err(), "{text}");
        }
    }
}
