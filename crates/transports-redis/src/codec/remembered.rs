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
