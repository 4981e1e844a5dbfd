//! A message's record: sealed with a hash over its place and its bytes.

use busgate_core::{Result, Timestamp};
use bytes::Bytes;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::{codec::Decoder, error::damaged};

/// What stands before the body: the hash, the log time and the time of arrival.
pub(crate) const HEADER_BYTES: usize = 24;

/// One registration of an event. It is never used again, so a cursor of an earlier registration can't alias.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct EventId(pub(crate) u32);

/// Where a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) event: EventId,
    pub(crate) offset: u64,
}

impl Place {
    /// Different places have different seeds as far as 64 bits can tell: the factor is odd, so offsets never collide
    /// within an event.
    fn seed(self) -> u64 {
        self.offset.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ u64::from(self.event.0).rotate_left(40)
    }
}

/// A record that is what was written.
#[derive(Debug)]
pub(crate) struct Sealed {
    /// The latest timestamp of this message and all before it: never falls, so a time can be searched for.
    pub(crate) log_time: Timestamp,
    /// When the log took it in; never falls either.
    pub(crate) arrived: Timestamp,
    /// The message.
    pub(crate) body: Bytes,
}

/// Fills in the header of `record`, which has [`HEADER_BYTES`] of room before its body.
pub(crate) fn seal(record: &mut [u8], place: Place, log_time: Timestamp, arrived: Timestamp) {
    let Some((hash, rest)) = record.split_at_mut_checked(8) else { return };
    for (slot, time) in rest.chunks_mut(8).zip([log_time, arrived]) {
        slot.copy_from_slice(&time.as_nanos().to_le_bytes());
    }
    hash.copy_from_slice(&xxh3_64_with_seed(rest, place.seed()).to_le_bytes());
}

impl Sealed {
    /// Opens the record found at `place`.
    pub(crate) fn open(record: Vec<u8>, place: Place) -> Result<Self> {
        let mut fields = Decoder::new(Bytes::from(record));
        let hash = fields.u64()?;
        let rest = fields.rest();
        if xxh3_64_with_seed(&rest, place.seed()) != hash {
            return Err(damaged(format!("message {} of event {} has changed", place.offset, place.event.0)));
        }
        let mut fields = Decoder::new(rest);
        Ok(Self { log_time: fields.time()?, arrived: fields.time()?, body: fields.rest() })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HERE: Place = Place { event: EventId(3), offset: 9 };

    fn sealed(body: &[u8]) -> Vec<u8> {
        let mut record = vec![0; HEADER_BYTES];
        record.extend_from_slice(body);
        seal(&mut record, HERE, Timestamp::from_nanos(5), Timestamp::from_nanos(6));
        record
    }

    proptest! {
        #[test]
        fn every_flipped_bit_breaks_the_seal(body in proptest::collection::vec(any::<u8>(), 0..80), at in any::<prop::sample::Index>()) {
            let mut record = sealed(&body);
            let bit = at.index(record.len() * 8);
            record[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(Sealed::open(record, HERE).is_err());
        }
    }

    #[test]
    fn a_record_counts_only_at_its_own_place() {
        let open = Sealed::open(sealed(b"body"), HERE).unwrap();
        assert_eq!((open.log_time.as_nanos(), open.arrived.as_nanos(), &*open.body), (5, 6, &b"body"[..]));
        for place in [Place { offset: 10, ..HERE }, Place { event: EventId(4), ..HERE }] {
            assert!(Sealed::open(sealed(b"body"), place).is_err());
        }
    }
}
