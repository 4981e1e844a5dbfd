//! Deliveries as the entries of lease tokens.
//!
//! An entry names the node that handed the message out, the event's life and the message's sequence; which delivery it
//! was is the token's epoch: the consumer's own sequence, which grows with every delivery. So the entry of a message is
//! the same for every delivery by one node, and any node finds from it whom to ask.

use busgate_core::{Error, Result};
use bytes::{BufMut, Bytes, BytesMut};

use crate::error;

const VERSION: u8 = 1;
const BYTES: usize = 1 + 3 * 8;

/// Which message of which life of an event, and who handed it out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) owner: u64,
    pub(crate) life: u64,
    pub(crate) sequence: u64,
}

impl Place {
    pub(crate) fn to_entry(self) -> Bytes {
        let mut entry = BytesMut::with_capacity(BYTES);
        entry.put_u8(VERSION);
        entry.put_u64(self.owner);
        entry.put_u64(self.life);
        entry.put_u64(self.sequence);
        entry.freeze()
    }

    pub(crate) fn from_entry(entry: &[u8]) -> Result<Self> {
        let (version, numbers) = entry.split_first().ok_or_else(error::foreign_token)?;
        let (numbers, rest) = numbers.as_chunks::<8>();
        match numbers {
            [owner, life, sequence] if *version == VERSION && rest.is_empty() => {
                let [owner, life, sequence] = [owner, life, sequence].map(|bytes| u64::from_be_bytes(*bytes));
                Ok(Self { owner, life, sequence })
            }
            _ => Err::<_, Error>(error::foreign_token()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_read_back() {
        for place in [
            Place { owner: 0, life: 0, sequence: 0 },
            Place { owner: 7, life: 0xbeef, sequence: 42 },
            Place { owner: u64::MAX, life: u64::MAX, sequence: u64::MAX },
        ] {
            assert_eq!(Place::from_entry(&place.to_entry()).unwrap(), place);
        }
    }

    #[test]
    fn what_is_no_entry_is_refused() {
        let good = Place { owner: 1, life: 2, sequence: 3 }.to_entry();
        for cut in 0..good.len() {
            assert!(Place::from_entry(&good[..cut]).is_err());
        }
        for entry in [vec![0; 25], vec![255; 25], [&good[..], b"x"].concat(), vec![1; 33]] {
            assert!(Place::from_entry(&entry).is_err());
        }
    }
}
