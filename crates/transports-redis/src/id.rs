//! The id of an entry of a stream, and its place as a cursor tells it.

use std::{fmt, str::FromStr};

use busgate_core::Timestamp;
use redis::{RedisWrite, ToRedisArgs, ToSingleRedisArg};

/// `<milliseconds>-<sequence>`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct EntryId {
    pub(crate) ms: u64,
    pub(crate) seq: u64,
}

impl EntryId {
    /// Before every entry.
    pub(crate) const ZERO: Self = Self { ms: 0, seq: 0 };

    /// The first that an entry of this time can have.
    pub(crate) fn at(time: Timestamp) -> Self {
        Self { ms: u64::try_from(time.as_millis()).unwrap_or(0), seq: 0 }
    }

    /// The place right after it.
    pub(crate) fn place_after(self) -> u128 {
        self.number().saturating_add(1)
    }

    /// The first id at this place or after it.
    pub(crate) fn from_place(place: u128) -> Self {
        Self { ms: (place >> 64) as u64, seq: (place & u128::from(u64::MAX)) as u64 }
    }

    /// The id right before it; zero has none but itself.
    pub(crate) fn previous(self) -> Self {
        Self::from_place(self.number().saturating_sub(1))
    }

    fn number(self) -> u128 {
        u128::from(self.ms) << 64 | u128::from(self.seq)
    }
}

impl fmt::Display for EntryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.ms, self.seq)
    }
}

impl ToRedisArgs for EntryId {
    fn write_redis_args<W: ?Sized + RedisWrite>(&self, out: &mut W) {
        out.write_arg_fmt(self);
    }
}

impl ToSingleRedisArg for EntryId {}

/// Not an entry's id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NotAnId;

impl FromStr for EntryId {
    type Err = NotAnId;

    fn from_str(text: &str) -> Result<Self, NotAnId> {
        let (ms, seq) = text.split_once('-').ok_or(NotAnId)?;
        let number = |digits: &str| digits.parse().map_err(|_| NotAnId);
        Ok(Self { ms: number(ms)?, seq: number(seq)? })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn an_id_reads_back(ms: u64, seq: u64) {
            let id = EntryId { ms, seq };
            prop_assert_eq!(id.to_string().parse(), Ok(id));
        }

        #[test]
        fn places_have_the_order_of_ids(a: (u64, u64), b: (u64, u64)) {
            let [a, b] = [a, b].map(|(ms, seq)| EntryId { ms: ms >> 1, seq });
            prop_assert_eq!(a.cmp(&b), a.place_after().cmp(&b.place_after()));
            prop_assert_eq!(EntryId::from_place(a.place_after()).previous(), a);
        }
    }

    #[test]
    fn what_is_no_id_is_refused() {
        for text in ["", "1", "1-", "-1", "1-x", "1-2-3", "18446744073709551616-0"] {
            assert_eq!(text.parse::<EntryId>(), Err(NotAnId), "{text}");
        }
    }

    #[test]
    fn nothing_is_before_zero() {
        assert_eq!(EntryId::ZERO.previous(), EntryId::ZERO);
        assert_eq!(EntryId { ms: 5, seq: 0 }.previous(), EntryId { ms: 4, seq: u64::MAX });
    }
}
