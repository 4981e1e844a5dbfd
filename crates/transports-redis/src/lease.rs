//! What a lease token says: which entry, in which life of its event.

use busgate_core::{Error, Result};
use bytes::Bytes;

use crate::id::EntryId;

/// The entry of a lease token: three numbers, big-endian. It is the same in all deliveries of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Token {
    pub(crate) life: u64,
    pub(crate) entry: EntryId,
}

const LENGTH: usize = 3 * 8;

impl Token {
    pub(crate) fn to_bytes(self) -> Bytes {
        let mut bytes = Vec::with_capacity(LENGTH);
        for number in [self.life, self.entry.ms, self.entry.seq] {
            bytes.extend(number.to_be_bytes());
        }
        bytes.into()
    }

    /// # Errors
    /// `invalid` when it is no entry of ours.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self> {
        let mut rest = bytes;
        let mut number = || {
            let (number, more) = rest.split_first_chunk::<8>()?;
            rest = more;
            Some(u64::from_be_bytes(*number))
        };
        match (number(), number(), number(), rest.is_empty()) {
            (Some(life), Some(ms), Some(seq), true) => Ok(Self { life, entry: EntryId { ms, seq } }),
            _ => Err(Error::invalid("the lease token is not one of this transport")),
        }
    }
}

/// How many bits of an epoch are random; the others count the turns of a group, at a thousand a second for 34 years.
const RANDOM: u32 = 24;

/// What tells a turn from one of the same number that a failover has forgotten.
pub(crate) fn nonce() -> u32 {
    fastrand::u32(..1 << RANDOM)
}

/// Which delivery it is, as one number: the turn of the group that handed it out, and what tells that turn from one that
/// a failover has forgotten.
pub(crate) const fn epoch(turn: u64, nonce: u32) -> u64 {
    turn << RANDOM | nonce as u64
}

/// An epoch as the scripts write it.
pub(crate) fn epoch_text(epoch: u64) -> String {
    format!("{}-{}", epoch >> RANDOM, epoch & ((1 << RANDOM) - 1))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_token_reads_back(life: u64, ms: u64, seq: u64) {
            let token = Token { life, entry: EntryId { ms, seq } };
            prop_assert_eq!(Token::parse(&token.to_bytes()).unwrap(), token);
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            prop_assert_eq!(Token::parse(&bytes).is_ok(), bytes.len() == LENGTH);
        }
    }

    #[test]
    fn an_epoch_is_written_as_the_scripts_write_it() {
        assert_eq!(epoch_text(epoch(12, 345)), "12-345");
    }
}
