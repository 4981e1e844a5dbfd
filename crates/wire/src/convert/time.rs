//! Times and durations.

use std::time::Duration;

use busgate_core::{Error, Result, Timestamp};

const NANOS: i64 = 1_000_000_000;

/// Reads a time.
///
/// # Errors
/// `invalid`, naming `field`.
pub(super) fn read_time(field: &str, time: prost_types::Timestamp) -> Result<Timestamp> {
    let valid = (0..NANOS).contains(&i64::from(time.nanos));
    let nanos = time.seconds.checked_mul(NANOS).and_then(|nanos| nanos.checked_add(time.nanos.into()));
    let nanos = nanos.filter(|_| valid);
    nanos.map(Timestamp::from_nanos).ok_or_else(|| Error::invalid(format!("{field} is no time")))
}

/// Writes a time.
pub(super) fn write_time(time: Timestamp) -> prost_types::Timestamp {
    let nanos = time.as_nanos();
    let rest = i32::try_from(nanos.rem_euclid(NANOS)).unwrap_or_default();
    prost_types::Timestamp { seconds: nanos.div_euclid(NANOS), nanos: rest }
}

/// Reads a duration, if there is one.
///
/// # Errors
/// `invalid`, naming `field`.
pub(super) fn read_duration(
    field: &str,
    duration: Option<prost_types::Duration>,
) -> Result<Option<Duration>> {
    let Some(duration) = duration else { return Ok(None) };
    let seconds = u64::try_from(duration.seconds).ok();
    let nanos = u32::try_from(duration.nanos).ok().filter(|nanos| i64::from(*nanos) < NANOS);
    match seconds.zip(nanos) {
        Some((seconds, nanos)) => Ok(Some(Duration::new(seconds, nanos))),
        None => Err(Error::invalid(format!("{field} must be a duration of zero or more"))),
    }
}

/// Writes a duration; one that does not fit becomes the longest that does.
pub(super) fn write_duration(duration: Duration) -> prost_types::Duration {
    let seconds = i64::try_from(duration.as_secs()).unwrap_or(i64::MAX);
    prost_types::Duration { seconds, nanos: i32::try_from(duration.subsec_nanos()).unwrap_or_default() }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_no_duration_is_refused() {
        for (seconds, nanos) in [(-1, 0), (0, -1), (0, 1_000_000_000), (i64::MIN, i32::MIN)] {
            let duration = Some(prost_types::Duration { seconds, nanos });
            assert!(read_duration("ttl", duration).is_err(), "{seconds} {nanos}");
        }
    }

    proptest! {
        #[test]
        fn every_time_reads_back(nanos: i64) {
            // The first second of the range starts before the range does.
            prop_assume!(nanos > i64::MIN + NANOS);
            let time = Timestamp::from_nanos(nanos);
            prop_assert_eq!(read_time("t", write_time(time)).unwrap(), time);
        }

        #[test]
        fn every_duration_reads_back(seconds in 0..u64::MAX / 2, nanos in 0..1_000_000_000u32) {
            let duration = Duration::new(seconds, nanos);
            prop_assert_eq!(read_duration("d", Some(write_duration(duration))).unwrap(), Some(duration));
        }

        #[test]
        fn no_numbers_make_them_panic(seconds: i64, nanos: i32) {
            let _ = read_time("t", prost_types::Timestamp { seconds, nanos });
            let _ = read_duration("d", Some(prost_types::Duration { seconds, nanos }));
        }
    }
}
