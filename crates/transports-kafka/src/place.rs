//! Where a record is in its event.

use rdkafka::{Message as _, message::BorrowedMessage};

/// How a place is a number: the partition above, the offset below.
const OFFSET_BITS: u32 = 48;

/// A partition, and an offset in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Place {
    /// The partition.
    pub(crate) partition: i32,
    /// The offset in it.
    pub(crate) offset: i64,
}

impl Place {
    /// The place of a record.
    pub(crate) fn of(record: &BorrowedMessage<'_>) -> Self {
        Self { partition: record.partition(), offset: record.offset() }
    }

    /// As one number, for whoever keeps many of them.
    pub(crate) fn to_number(self) -> u64 {
        let partition = u64::try_from(self.partition).unwrap_or(0);
        partition << OFFSET_BITS | u64::try_from(self.offset).unwrap_or(0)
    }

    /// The place that was made a number.
    pub(crate) fn from_number(number: u64) -> Self {
        let offset = number & ((1 << OFFSET_BITS) - 1);
        Self {
            partition: i32::try_from(number >> OFFSET_BITS).unwrap_or(0),
            offset: i64::try_from(offset).unwrap_or(0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_known_by_its_number() {
        for (partition, offset) in [(0, 0), (3, 70_000_000_000), (0x7fff, (1 << OFFSET_BITS) - 1)] {
            let place = Place { partition, offset };
            assert_eq!(Place::from_number(place.to_number()), place);
        }
    }
}
