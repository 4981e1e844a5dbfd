//! Where a leased message is, as the entry of its token.

use busgate_core::{Error, Result};
use bytes::Bytes;

use crate::place::Place;

/// Where a leased message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    /// Which life of the event.
    pub(crate) life: u64,
    /// The partition.
    pub(crate) partition: i32,
    /// The offset in it.
    pub(crate) offset: u64,
}

impl Entry {
    /// How long it is.
    pub(crate) const BYTES: usize = 20;

    /// As bytes, all numbers with their lowest byte first.
    pub(crate) fn to_bytes(self) -> Bytes {
        let mut bytes = [0; Self::BYTES];
        let (life, rest) = bytes.split_at_mut(8);
        let (partition, offset) = rest.split_at_mut(4);
        life.copy_from_slice(&self.life.to_le_bytes());
        partition.copy_from_slice(&self.partition.to_le_bytes());
        offset.copy_from_slice(&self.offset.to_le_bytes());
        Bytes::copy_from_slice(&bytes)
    }

    /// Reads it.
    ///
    /// # Errors
    /// `invalid` when it is none.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self> {
        let refused = || Error::invalid("the lease is not one of this transport");
        let (life, rest) = bytes.split_first_chunk().ok_or_else(refused)?;
        let (partition, rest) = rest.split_first_chunk().ok_or_else(refused)?;
        let partition = i32::from_le_bytes(*partition);
        let offset = u64::from_le_bytes(rest.try_into().map_err(|_| refused())?);
        if partition < 0 || i64::try_from(offset).is_err() {
            return Err(refused());
        }
        Ok(Self { life: u64::from_le_bytes(*life), partition, offset })
    }

    /// The place of the message.
    pub(crate) fn place(self) -> Place {
        Place { partition: self.partition, offset: self.offset.cast_signed() }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_entry_reads_back_and_nothing_else_does(
            (life, partition) in (any::<u64>(), 0..=i32::MAX),
            offset in 0..=i64::MAX as u64,
            bytes in prop::collection::vec(any::<u8>(), 0..40),
        ) {
            let entry = Entry { life, partition, offset };
            prop_assert_eq!(Entry::parse(&entry.to_bytes()).unwrap(), entry);
            if let Ok(read) = Entry::parse(&bytes) {
                prop_assert_eq!(&read.to_bytes()[..], &bytes[..], "only what is written is read");
            }
        }
    }

    #[test]
    fn an_entry_reads_back() {
        for entry in [
            Entry { life: 0, partition: 0, offset: 0 },
            Entry { life: u64::MAX, partition: i32::MAX, offset: i64::MAX as u64 },
        ] {
            assert_eq!(Entry::parse(&entry.to_bytes()).unwrap(), entry);
        }
    }

    #[test]
    fn what_is_no_entry_is_invalid() {
        for bytes in [&[][..], &[0; 19], &[0; 21], &[0xff; 20]] {
            assert!(Entry::parse(bytes).is_err());
        }
    }
}
