//! Message ids as the server remembers them: most are UUIDs, whose text takes more than twice as much.

use redis::{RedisWrite, ToRedisArgs, ToSingleRedisArg};

/// How long the text of a UUID is.
const LENGTH: usize = 36;

/// Where its dashes are.
const DASHES: [usize; 4] = [8, 13, 18, 23];

/// No text begins with it, so that what is remembered of a UUID is never another id's text.
const MARK: u8 = 0xff;

/// An id as it is remembered.
///
/// Invariant: two are the same only when the ids are (`what_is_remembered_tells_ids_apart`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Remembered<'a> {
    /// A mark, and the bytes of a UUID that is written as they mostly are.
    Uuid([u8; 17]),
    /// Any other.
    Text(&'a str),
}

impl<'a> Remembered<'a> {
    pub(crate) fn new(id: &'a str) -> Self {
        uuid(id.as_bytes()).map_or(Self::Text(id), Self::Uuid)
    }

    fn bytes(&self) -> &[u8] {
        match self {
            Self::Uuid(bytes) => bytes,
            Self::Text(text) => text.as_bytes(),
        }
    }
}

impl Remembered<'_> {
    /// When it was made, if it tells: what comes later is greater. A UUID of version 7 begins with 48 bits of milliseconds, and
    /// has twelve more behind its version that tell what was made in the same one apart (RFC 9562, 5.7 and 6.2).
    fn made(&self) -> Option<u64> {
        let Self::Uuid([_, a, b, c, d, e, f, version, more, ..]) = self else { return None };
        let made = [*a, *b, *c, *d, *e, *f, *version & 0x0f, *more];
        let [high, low] = [u64::from_be_bytes(made) >> 16, u64::from_be_bytes(made) & 0x0fff];
        (version >> 4 == 7).then_some(high << 12 | low)
    }
}

/// When the first and the last of these ids was made. An id that does not tell may have been made at any time, and is not the
/// last.
pub(crate) fn made(ids: &[Remembered<'_>]) -> (u64, u64) {
    let times = || ids.iter().map(|id| id.made().unwrap_or(0));
    (times().min().unwrap_or(0), times().max().unwrap_or(0))
}

impl ToRedisArgs for Remembered<'_> {
    fn write_redis_args<W: ?Sized + RedisWrite>(&self, out: &mut W) {
        out.write_arg(self.bytes());
    }
}

impl ToSingleRedisArg for Remembered<'_> {}

fn uuid(text: &[u8]) -> Option<[u8; 17]> {
    if text.len() != LENGTH || DASHES.iter().any(|dash| text.get(*dash) != Some(&b'-')) {
        return None;
    }
    let mut digits = text.iter().enumerate().filter(|(nth, _)| !DASHES.contains(nth)).map(|(_, digit)| digit);
    let mut bytes = [MARK; 17];
    for byte in bytes.iter_mut().skip(1) {
        *byte = digit(*digits.next()?)? << 4 | digit(*digits.next()?)?;
    }
    Some(bytes)
}

/// Capital letters are other ids.
const fn digit(text: u8) -> Option<u8> {
    match text {
        b'0'..=b'9' => Some(text - b'0'),
        b'a'..=b'f' => Some(text - b'a' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn text(bytes: [u8; 16]) -> String {
        let hex = |range: std::ops::Range<usize>| -> String {
            bytes[range].iter().map(|byte| format!("{byte:02x}")).collect()
        };
        format!("{}-{}-{}-{}-{}", hex(0..4), hex(4..6), hex(6..8), hex(8..10), hex(10..16))
    }

    #[test]
    fn ids_tell_when_they_were_made() {
        let [early, late] = ["01a20172-16f5-748d-81a6-a34c725254e2", "01a20172-16f5-748e-81a6-a34c725254e2"];
        let next = "01a20172-16f6-7000-81a6-a34c725254e2";
        let silent = "01a20172-16f5-448d-81a6-a34c725254e2";
        let times = |ids: &[&str]| made(&ids.iter().map(|id| Remembered::new(id)).collect::<Vec<_>>());
        assert_eq!(times(&[early]), (0x001a_2017_216f_548d, 0x001a_2017_216f_548d));
        assert_eq!(times(&[next, early, late]), (times(&[early]).0, times(&[next]).0));
        assert!(times(&[early]) < times(&[late]) && times(&[late]) < times(&[next]));
        assert_eq!(times(&[early, silent]), (0, times(&[early]).1), "it may have been made at any time");
        assert_eq!(times(&["orders-7"]), (0, 0));
    }

    proptest! {
        #[test]
        fn what_is_remembered_tells_ids_apart(bytes: [u8; 16], place in 0..LENGTH, other in "[0-9A-Fa-f-]") {
            let id = text(bytes);
            let remembered = Remembered::new(&id);
            prop_assert_eq!(remembered.bytes(), [&[MARK][..], &bytes].concat());
            let mut changed = id.clone();
            changed.replace_range(place..=place, &other);
            prop_assert_eq!(changed == id, Remembered::new(&changed) == remembered);
        }

        #[test]
        fn other_ids_are_remembered_as_they_are(id in "\\PC{1,40}") {
            prop_assert_eq!(Remembered::new(&id), Remembered::Text(&id));
            prop_assert!(std::str::from_utf8(&[MARK]).is_err());
        }
    }
}
