//! The record of a message that is set aside.
//!
//! Its key is text: the group's name on the broker, the partition, the number of the shelf in hexadecimal, and the offset,
//! with a line for each. Its value is a version byte and numbers: attempts, the epoch, what it waits for together with
//! what is known of its key and whether its token settles, the hash of the key, and a time in milliseconds of the wall
//! clock. Without a value the message is finished.

use busgate_core::{Keyed, Moment, Standing, Unfinished};

use crate::{
    offsets::{at, on_the_wall},
    varint::{put, take, unzigzag, zigzag},
};

const VERSION: u8 = 1;

/// The key of a record.
pub(super) fn key(group: &str, partition: i32, shelf: u64, offset: u64) -> String {
    format!("{group}\n{partition}\n{shelf:x}\n{offset}")
}

/// The shelf and the offset of a key, if it is one of this group and partition.
pub(super) fn parse_key(key: &str, group: &str, partition: i32) -> Option<(u64, u64)> {
    let rest = key.strip_prefix(group)?.strip_prefix('\n')?;
    let (of, rest) = rest.split_once('\n')?;
    let (shelf, offset) = rest.split_once('\n')?;
    (of.parse() == Ok(partition)).then_some(())?;
    Some((u64::from_str_radix(shelf, 16).ok()?, offset.parse().ok()?))
}

/// What is told of a message.
pub(super) fn to_bytes(known: &Unfinished, now: Moment) -> Vec<u8> {
    let mut out = vec![VERSION];
    put(&mut out, known.attempts.into());
    put(&mut out, known.epoch);
    let (kind, time) = match known.standing {
        Standing::Fresh => (0, None),
        Standing::Back => (1, None),
        Standing::Waiting(due) => (2, Some(due)),
        Standing::Leased(deadline) => (3, Some(deadline)),
    };
    let (keyed, hash) = match known.key {
        Keyed::Unknown => (0, 0),
        Keyed::No => (1, 0),
        Keyed::By(hash) => (2, hash),
    };
    put(&mut out, u64::from(known.open) << 4 | keyed << 2 | kind);
    put(&mut out, hash);
    let time = time.map_or(0, |time| on_the_wall(time, now) + 1);
    put(&mut out, zigzag(time));
    out
}

/// Reads it; `None` when it is of another version, or none at all.
pub(crate) fn parse(bytes: &[u8], offset: u64, now: Moment) -> Option<Unfinished> {
    let (version, mut rest) = bytes.split_first()?;
    if *version != VERSION {
        return None;
    }
    let attempts = u32::try_from(take(&mut rest)?).ok()?;
    let (epoch, flags) = (take(&mut rest)?, take(&mut rest)?);
    let (hash, time) = (take(&mut rest)?, unzigzag(take(&mut rest)?));
    let standing = match flags & 3 {
        0 => Standing::Fresh,
        1 => Standing::Back,
        2 => Standing::Waiting(at(time, now)),
        _ => Standing::Leased(at(time, now)),
    };
    let key = match flags >> 2 & 3 {
        0 => Keyed::Unknown,
        1 => Keyed::No,
        2 => Keyed::By(hash),
        _ => return None,
    };
    (flags < 32 && rest.is_empty()).then_some(())?;
    Some(Unfinished { offset, attempts, epoch, open: flags & 16 != 0, key, standing })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use busgate_core::Timestamp;
    use proptest::prelude::*;
    use tokio::time::Instant;

    use super::*;

    fn moment() -> Moment {
        Moment { at: Instant::now(), wall: Timestamp::from_millis(1_700_000_000_123) }
    }

    proptest! {
        #[test]
        fn a_record_reads_back(
            (offset, attempts, epoch, open) in any::<(u64, u32, u64, bool)>(),
            hash in any::<Option<u64>>(),
            (kind, wait) in (0..4_u8, 0..86_400_000_u64),
        ) {
            let now = moment();
            let time = now.at + Duration::from_millis(wait);
            let standing = match kind {
                0 => Standing::Fresh,
                1 => Standing::Back,
                2 => Standing::Waiting(time),
                _ => Standing::Leased(time),
            };
            let key = hash.map_or(Keyed::No, Keyed::By);
            let known = Unfinished { offset, attempts, epoch, open, key, standing };
            let read = parse(&to_bytes(&known, now), offset, now).unwrap();
            let late = |read: Instant| read >= time && read <= time + Duration::from_millis(2);
            match read.standing {
                Standing::Waiting(read) if kind == 2 => prop_assert!(late(read)),
                Standing::Leased(read) if kind == 3 => prop_assert!(late(read)),
                read => prop_assert_eq!(read, standing),
            }
            prop_assert_eq!(Unfinished { standing, ..read }, known);
        }

        #[test]
        fn a_key_reads_back(
            (shelf, offset) in any::<(u64, u64)>(),
            (partition, other) in (0..500_i32, 0..500_i32),
            group in "[a-z./]{1,20}",
        ) {
            let text = key(&group, partition, shelf, offset);
            prop_assert_eq!(parse_key(&text, &group, partition), Some((shelf, offset)));
            let is_same = other == partition;
            prop_assert_eq!(parse_key(&text, &group, other).is_some(), is_same);
            prop_assert_eq!(parse_key(&text, &format!("{group}x"), partition), None);
        }

        #[test]
        fn garbage_takes_nobody_down(bytes in prop::collection::vec(any::<u8>(), 0..60), text in ".{0,40}") {
            let now = moment();
            if let Some(read) = parse(&bytes, 7, now) {
                prop_assert_eq!(read.offset, 7);
            }
            for text in [text.clone(), format!("g\n1\n{text}")] {
                if let Some((shelf, offset)) = parse_key(&text, "g", 1) {
                    prop_assert_eq!(parse_key(&key("g", 1, shelf, offset), "g", 1), Some((shelf, offset)));
                }
            }
        }
    }
}
