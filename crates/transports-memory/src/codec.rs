//! Places in an event as cursors, and leases as tokens.
//!
//! A place names the incarnation of its event, drawn at registration, so that a cursor or token of an earlier process
//! or registration is told from one of now. Message offsets count from 1; offset 0 is the place before the first.

use std::io::Write;

use busgate_core::{Cursor, Error, Result};
use bytes::Bytes;

const PREFIX: &str = "m.";
const LONGEST_CURSOR: usize = 2 + 16 + 1 + 20;
const ENTRY_BYTES: usize = 16;

/// The place of one message, or the place before the first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) incarnation: u64,
    pub(crate) offset: u64,
}

impl Place {
    /// As a cursor: `m.<incarnation, hex>.<offset>`.
    pub(crate) fn to_cursor(self) -> Result<Cursor> {
        let mut buffer = [0_u8; LONGEST_CURSOR];
        let mut rest = &mut buffer[..];
        write!(rest, "{PREFIX}{:x}.{}", self.incarnation, self.offset)
            .map_err(|_| Error::internal("a cursor is longer than it can be"))?;
        let left = rest.len();
        let text = buffer.get(..LONGEST_CURSOR - left).unwrap_or_default();
        Cursor::new(std::str::from_utf8(text).unwrap_or_default())
    }

    pub(crate) fn from_cursor(cursor: &Cursor) -> Result<Self> {
        let refused = || Error::invalid("the cursor is not one of this transport");
        let rest = cursor.as_str().strip_prefix(PREFIX).ok_or_else(refused)?;
        let (incarnation, offset) = rest.split_once('.').ok_or_else(refused)?;
        let incarnation = u64::from_str_radix(incarnation, 16).map_err(|_| refused())?;
        let place = Self { incarnation, offset: offset.parse().map_err(|_| refused())? };
        if place.to_cursor()? != *cursor {
            return Err(refused());
        }
        Ok(place)
    }

    pub(crate) fn to_entry(self) -> Bytes {
        let mut entry = [0; ENTRY_BYTES];
        let (incarnation, offset) = entry.split_at_mut(ENTRY_BYTES / 2);
        incarnation.copy_from_slice(&self.incarnation.to_le_bytes());
        offset.copy_from_slice(&self.offset.to_le_bytes());
        Bytes::copy_from_slice(&entry)
    }

    pub(crate) fn from_entry(entry: &[u8]) -> Result<Self> {
        let refused = || Error::invalid("the lease is not one of this transport");
        let (incarnation, offset) = entry.split_first_chunk().ok_or_else(refused)?;
        let offset = offset.try_into().map_err(|_| refused())?;
        Ok(Self { incarnation: u64::from_le_bytes(*incarnation), offset: u64::from_le_bytes(offset) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_read_back_from_cursors_and_tokens() {
        for place in [
            Place { incarnation: 0, offset: 0 },
            Place { incarnation: 0xbeef, offset: 42 },
            Place { incarnation: u64::MAX, offset: u64::MAX },
        ] {
            assert_eq!(Place::from_cursor(&place.to_cursor().unwrap()).unwrap(), place);
            assert_eq!(Place::from_entry(&place.to_entry()).unwrap(), place);
        }
    }

    #[test]
    fn foreign_cursors_and_tokens_are_invalid() {
        for text in ["1", "m.", "m.1", "m.x.1", "m.1.x", "m.1.1.1", "m.01.1", "m.1.01", "m.1.-1"] {
            assert!(Place::from_cursor(&Cursor::new(text).unwrap()).is_err(), "{text}");
        }
        for entry in [&[][..], &[0; 15], &[0; 17]] {
            assert!(Place::from_entry(entry).is_err());
        }
    }
}
