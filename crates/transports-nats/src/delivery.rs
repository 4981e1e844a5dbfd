//! What the server says of a delivery, in the subject it is acked by, and what it is told there.

use std::time::Duration;

use async_nats::Subject;
use busgate_core::Timestamp;
use bytes::Bytes;

/// Which message of a stream, and since when it is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    pub(crate) sequence: u64,
    pub(crate) published: Timestamp,
}

/// One delivery by a consumer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Delivered {
    pub(crate) stamp: Stamp,
    /// How often the server has delivered it, from 1.
    pub(crate) times: u64,
    /// The consumer's sequence: grows with every delivery.
    pub(crate) epoch: u64,
    /// How many messages wait behind it.
    pub(crate) pending: u64,
}

impl Delivered {
    /// Reads `$JS.ACK.<stream>.<consumer>.<times>.<sequence>.<epoch>.<nanoseconds>.<pending>`, or the longer form with
    /// domain and account in front of the stream, and maybe more behind.
    pub(crate) fn of(reply: Option<&Subject>) -> Option<Self> {
        let rest = reply?.as_str().strip_prefix("$JS.ACK.")?;
        let parts: Vec<&str> = rest.split('.').collect();
        let numbers = match parts.as_slice() {
            [_, _, numbers @ ..] if numbers.len() == 5 => numbers,
            [_, _, _, _, numbers @ ..] if numbers.len() >= 5 => numbers,
            _ => return None,
        };
        let mut numbers = numbers.iter().map(|digits| digits.parse::<u64>().ok());
        let mut next = || numbers.next().flatten();
        let (times, sequence, epoch, nanos, pending) = (next()?, next()?, next()?, next()?, next()?);
        let published = Timestamp::from_nanos(i64::try_from(nanos).ok()?);
        Some(Self { stamp: Stamp { sequence, published }, times, epoch, pending })
    }
}

/// Tells the server that a message is worked on.
pub(crate) const IN_PROGRESS: Bytes = Bytes::from_static(b"+WPI");

/// Tells the server that a message is done.
pub(crate) const DONE: Bytes = Bytes::from_static(b"+ACK");

/// Tells the server to deliver a message again after `delay`. At once is only for what has waited already (its lease), or
/// was asked for: a nack without a word has its backoff, so that nothing comes back in a hot loop.
pub(crate) fn again(delay: Duration) -> Bytes {
    if delay.is_zero() {
        return Bytes::from_static(b"-NAK");
    }
    format!(r#"-NAK {{"delay":{}}}"#, delay.as_nanos()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_are_read() {
        let wanted = Delivered {
            stamp: Stamp { sequence: 9, published: Timestamp::from_nanos(1_000) },
            times: 2,
            epoch: 11,
            pending: 3,
        };
        for text in [
            "$JS.ACK.S.C.2.9.11.1000.3",
            "$JS.ACK.hub.ACCHASH.S.C.2.9.11.1000.3",
            "$JS.ACK.hub.A.S.C.2.9.11.1000.3.x",
        ] {
            assert_eq!(Delivered::of(Some(&text.into())), Some(wanted), "{text}");
        }
    }

    #[test]
    fn anything_else_is_none() {
        for text in ["", "$JS.ACK", "$JS.ACK.S.C.1.2.3", "_INBOX.x", "$JS.ACK.S.C.2.x.11.1000.3"] {
            assert_eq!(Delivered::of(Some(&text.into())), None, "{text}");
        }
        assert_eq!(Delivered::of(None), None);
    }
}
