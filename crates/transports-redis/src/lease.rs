//! What a lease token says: which entry, in which life of its event, and who handed it out.

use std::time::Duration;

use busgate_core::{Error, Result};
use bytes::Bytes;

use crate::id::EntryId;

/// The entry of a lease token: five numbers, big-endian.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Token {
    pub(crate) life: u64,
    /// The node that handed it out.
    pub(crate) node: u64,
    pub(crate) entry: EntryId,
    /// After how long it comes back when it is nacked without a delay, in milliseconds.
    pub(crate) backoff: u32,
}

const LENGTH: usize = 4 * 8 + 4;

impl Token {
    pub(crate) fn to_bytes(self) -> Bytes {
        let mut bytes = Vec::with_capacity(LENGTH);
        for number in [self.life, self.node, self.entry.ms, self.entry.seq] {
            bytes.extend(number.to_be_bytes());
        }
        bytes.extend(self.backoff.to_be_bytes());
        bytes.into()
    }

    /// # Errors
    /// `invalid` when it is no entry of ours.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self> {
        let foreign = || Error::invalid("the lease token is not one of this transport");
        if bytes.len() != LENGTH {
            return Err(foreign());
        }
        let mut rest = bytes;
        let mut number = || {
            let (number, more) = rest.split_first_chunk::<8>()?;
            rest = more;
            Some(u64::from_be_bytes(*number))
        };
        let numbers = (number(), number(), number(), number());
        let (Some(life), Some(node), Some(ms), Some(seq)) = numbers else { return Err(foreign()) };
        let backoff = rest.first_chunk().map(|number| u32::from_be_bytes(*number)).ok_or_else(foreign)?;
        Ok(Self { life, node, entry: EntryId { ms, seq }, backoff })
    }

    /// After how long it comes back, spread so that not all come at once.
    pub(crate) fn backoff(&self) -> Duration {
        Duration::from_millis(self.backoff.into()).mul_f64(0.9 + fastrand::f64() / 5.0)
    }
}

/// Which delivery it is, as one number: the turn of the group that handed it out, and what tells that turn from one that
/// a failover has forgotten.
pub(crate) const fn epoch(turn: u64, nonce: u16) -> u64 {
    turn << 16 | nonce as u64
}

/// The same as the scripts write it.
pub(crate) fn epoch_text(epoch: u64) -> String {
    format!("{}-{}", epoch >> 16, epoch & 0xffff)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_token_reads_back(life: u64, node: u64, ms: u64, seq: u64, backoff: u32) {
            let token = Token { life, node, entry: EntryId { ms, seq }, backoff };
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
