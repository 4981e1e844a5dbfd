//! Messages as the entries of lease tokens.
//!
//! An entry names the incarnation of its event, drawn at registration, so that a token of an earlier process or
//! registration is told from one of now. Message offsets count from 1.

use busgate_core::{Error, Result};
use bytes::Bytes;

const ENTRY_BYTES: usize = 16;

/// The place of one message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) incarnation: u64,
    pub(crate) offset: u64,
}

impl Place {
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
    fn places_read_back_from_tokens() {
        for place in [
            Place { incarnation: 0, offset: 0 },
            Place { incarnation: 0xbeef, offset: 42 },
            Place { incarnation: u64::MAX, offset: u64::MAX },
        ] {
            assert_eq!(Place::from_entry(&place.to_entry()).unwrap(), place);
        }
    }

    #[test]
    fn foreign_tokens_are_invalid() {
        for entry in [&[][..], &[0; 15], &[0; 17]] {
            assert!(Place::from_entry(entry).is_err());
        }
    }
}
