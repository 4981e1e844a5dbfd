//! What the stand-in adds to a lease: all another node needs to know of a delivery that it did not make.

use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::{Cursor, Delivery, Error, LeaseToken, Result, RetryPolicy, Timestamp};

/// The form of an entry. Leases are short: another form may come with another version of the program.
const FORM: u8 = 1;

/// A delivery, as its own token tells of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Told {
    pub(super) attempt: u32,
    pub(super) first_delivered_at: Timestamp,
    pub(super) max_deliver: u32,
    pub(super) backoff: Vec<Duration>,
    pub(super) cursor: Cursor,
}

impl Told {
    /// Of a delivery under `policy`.
    pub(super) fn of(delivery: &Delivery, policy: &RetryPolicy, first_delivered_at: Timestamp) -> Self {
        Self {
            attempt: delivery.attempt,
            first_delivered_at,
            max_deliver: policy.max_deliver,
            backoff: policy.backoff.clone(),
            cursor: delivery.cursor.clone(),
        }
    }

    /// How long after this attempt the next one comes.
    pub(super) fn delay(&self) -> Duration {
        let policy = RetryPolicy { backoff: self.backoff.clone(), ..RetryPolicy::default() };
        policy.delay_after(self.attempt)
    }

    /// The transport's token with this around its entry.
    pub(super) fn around(&self, token: LeaseToken) -> LeaseToken {
        let cursor = self.cursor.as_str().as_bytes();
        let size = 32 + 4 * self.backoff.len() + cursor.len() + token.entry.len();
        let mut entry = BytesMut::with_capacity(size);
        entry.put_u8(FORM);
        entry.put_u32(self.attempt);
        entry.put_i64(self.first_delivered_at.as_nanos());
        entry.put_u32(self.max_deliver);
        // Both are within a byte or two: a policy has at most 32 steps, of at most 7 days, and a cursor 2 KiB.
        entry.put_u8(u8::try_from(self.backoff.len()).unwrap_or(u8::MAX));
        for delay in self.backoff.iter().take(usize::from(u8::MAX)) {
            entry.put_u32(u32::try_from(delay.as_millis()).unwrap_or(u32::MAX));
        }
        entry.put_u16(u16::try_from(cursor.len()).unwrap_or(u16::MAX));
        entry.put_slice(cursor);
        entry.put_slice(&token.entry);
        LeaseToken { entry: entry.freeze(), ..token }
    }

    /// Takes a token apart: what is told, and the transport's own token.
    ///
    /// # Errors
    /// `invalid` for a token that is none of the stand-in's.
    pub(super) fn read(token: &LeaseToken) -> Result<(Self, LeaseToken)> {
        Self::parse(token.entry.clone())
            .map(|(told, entry)| (told, LeaseToken { entry, ..token.clone() }))
            .ok_or_else(|| Error::invalid("the lease is not one of this transport"))
    }

    /// The transport's own token alone.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub(super) fn within(token: &LeaseToken) -> Result<LeaseToken> {
        Self::skip(token.entry.clone())
            .map(|entry| LeaseToken { entry, ..token.clone() })
            .ok_or_else(|| Error::invalid("the lease is not one of this transport"))
    }

    fn skip(mut entry: Bytes) -> Option<Bytes> {
        let over = |entry: &mut Bytes, count: usize| (count <= entry.len()).then(|| entry.advance(count));
        if entry.try_get_u8().ok()? != FORM {
            return None;
        }
        over(&mut entry, size_of::<u32>() + size_of::<i64>() + size_of::<u32>())?;
        let steps = usize::from(entry.try_get_u8().ok()?);
        over(&mut entry, steps * size_of::<u32>())?;
        let length = usize::from(entry.try_get_u16().ok()?);
        over(&mut entry, length)?;
        Some(entry)
    }

    fn parse(mut entry: Bytes) -> Option<(Self, Bytes)> {
        if entry.try_get_u8().ok()? != FORM {
            return None;
        }
        let attempt = entry.try_get_u32().ok()?;
        let first_delivered_at = Timestamp::from_nanos(entry.try_get_i64().ok()?);
        let max_deliver = entry.try_get_u32().ok()?;
        let steps = entry.try_get_u8().ok()?;
        let step = |_| entry.try_get_u32().ok().map(|millis| Duration::from_millis(millis.into()));
        let backoff = (0..steps).map(step).collect::<Option<Vec<_>>>()?;
        let length = usize::from(entry.try_get_u16().ok()?);
        let cursor = (length <= entry.len()).then(|| entry.split_to(length))?;
        let cursor = Cursor::new(std::str::from_utf8(&cursor).ok()?).ok()?;
        Some((Self { attempt, first_delivered_at, max_deliver, backoff, cursor }, entry))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{EventName, GroupName, Holder};

    fn token(entry: &[u8]) -> LeaseToken {
        LeaseToken {
            event: EventName::new("orders").unwrap(),
            holder: Holder::Group(GroupName::new("g").unwrap()),
            entry: Bytes::copy_from_slice(entry),
            epoch: 3,
        }
    }

    fn told(attempt: u32, steps: &[u32]) -> Told {
        Told {
            attempt,
            first_delivered_at: Timestamp::from_millis(7),
            max_deliver: 5,
            backoff: steps.iter().map(|millis| Duration::from_millis((*millis).into())).collect(),
            cursor: Cursor::new("1-2-3").unwrap(),
        }
    }

    proptest! {
        #[test]
        fn what_is_told_reads_back(attempt: u32, steps in prop::collection::vec(any::<u32>(), 0..33), inner: Vec<u8>) {
            let (told, token) = (told(attempt, &steps), token(&inner));
            let around = told.around(token.clone());
            let within = Told::within(&around).unwrap();
            prop_assert_eq!(Told::read(&around).unwrap(), (told, within));
            prop_assert_eq!(Told::within(&around).unwrap(), token);
        }

        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>) {
            let _ = (Told::read(&token(&bytes)), Told::within(&token(&bytes)));
        }
    }

    #[test]
    fn a_token_that_was_cut_is_refused() {
        let whole = told(1, &[1000]).around(token(b"")).entry;
        for length in 0..whole.len() {
            assert!(Told::read(&token(&whole[..length])).is_err(), "{length}");
            assert!(Told::within(&token(&whole[..length])).is_err(), "{length}");
        }
    }
}
