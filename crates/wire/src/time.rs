//! Times and durations as text.

use std::time::Duration;

use busgate_core::{Result, Timestamp};

use crate::query::bad_value;

/// The longest duration taken from a client: a hundred years.
const MAX_DURATION: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

/// Reads a duration: a decimal number with `ms`, `s`, `m`, `h` or `d`, or of plain seconds. proto3 JSON's `1.5s` is one.
///
/// # Errors
/// `invalid`, naming `key`.
pub(crate) fn parse_duration(key: &str, text: &str) -> Result<Duration> {
    duration(text).filter(|duration| *duration <= MAX_DURATION).ok_or_else(|| {
        bad_value(key, text, "a duration such as 500ms, 30s, 2m, 1h, 7d, or a number of seconds")
    })
}

fn duration(text: &str) -> Option<Duration> {
    let digits = text.find(|char: char| !(char.is_ascii_digit() || char == '.')).unwrap_or(text.len());
    let (number, unit) = text.split_at_checked(digits)?;
    let nanos_each: u128 = match unit {
        "ms" => 1_000_000,
        "" | "s" => 1_000_000_000,
        "m" => 60_000_000_000,
        "h" => 3_600_000_000_000,
        "d" => 86_400_000_000_000,
        _ => return None,
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    if whole.is_empty() || fraction.is_empty() || fraction.len() > 9 {
        return None;
    }
    let whole: u64 = whole.parse().ok()?;
    let scale = 10u128.pow(u32::try_from(fraction.len()).ok()?);
    let fraction: u64 = fraction.parse().ok()?;
    let nanos = u128::from(whole) * nanos_each + u128::from(fraction) * nanos_each / scale;
    u64::try_from(nanos).ok().map(Duration::from_nanos)
}

/// Reads a time: RFC 3339, or milliseconds since the Unix epoch.
///
/// # Errors
/// `invalid`, naming `key`.
pub(crate) fn parse_time(key: &str, text: &str) -> Result<Timestamp> {
    let time = match text.parse::<i64>() {
        Ok(millis) => millis.checked_mul(1_000_000),
        Err(_) => {
            text.parse::<jiff::Timestamp>().ok().and_then(|time| i64::try_from(time.as_nanosecond()).ok())
        }
    };
    time.map(Timestamp::from_nanos).ok_or_else(|| {
        bad_value(key, text, "a time such as 2026-01-02T15:04:05Z, or milliseconds since the Unix epoch")
    })
}

/// Writes a time as proto3 JSON does: RFC 3339 in UTC with 0, 3, 6 or 9 digits of a second.
#[must_use]
pub fn rfc3339(time: Timestamp) -> String {
    let nanos = time.as_nanos();
    let precision = match nanos {
        _ if nanos % 1_000_000_000 == 0 => 0,
        _ if nanos % 1_000_000 == 0 => 3,
        _ if nanos % 1_000 == 0 => 6,
        _ => 9,
    };
    let time = jiff::Timestamp::from_nanosecond(nanos.into()).unwrap_or_default();
    format!("{time:.precision$}")
}

/// Writes a duration as proto3 JSON does: `1.500s`.
#[must_use]
pub(crate) fn seconds(duration: Duration) -> String {
    let (whole, nanos) = (duration.as_secs(), duration.subsec_nanos());
    match nanos {
        0 => format!("{whole}s"),
        _ if nanos % 1_000_000 == 0 => format!("{whole}.{:03}s", nanos / 1_000_000),
        _ if nanos % 1_000 == 0 => format!("{whole}.{:06}s", nanos / 1_000),
        _ => format!("{whole}.{nanos:09}s"),
    }
}

/// Whole milliseconds, rounded up.
#[must_use]
pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn durations_have_units_or_are_seconds() {
        for (text, millis) in [
            ("500ms", 500),
            ("30s", 30_000),
            ("1.5s", 1_500),
            ("0.25", 250),
            ("2m", 120_000),
            ("1h", 3_600_000),
            ("1d", 86_400_000),
            ("0", 0),
        ] {
            assert_eq!(parse_duration("k", text).unwrap(), Duration::from_millis(millis), "{text}");
        }
    }

    #[test]
    fn what_is_no_duration_is_refused() {
        for bad in [
            "",
            "s",
            "-1s",
            "1 s",
            "1.s",
            ".5s",
            "1.5.5s",
            "1e3",
            "1w",
            "5µs",
            "99999999999999999999s",
            "1000000h",
        ] {
            assert!(parse_duration("k", bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn times_are_rfc_3339_or_milliseconds() {
        let expected = Timestamp::from_millis(1_767_348_245_000);
        for text in
            ["1767348245000", "2026-01-02T10:04:05Z", "2026-01-02T12:04:05+02:00", "2026-01-02T10:04:05.000Z"]
        {
            assert_eq!(parse_time("k", text).unwrap(), expected, "{text}");
        }
        for bad in
            ["", "now", "2026-01-02", "2026-13-02T10:04:05Z", "99999999999999999999", "9999-01-01T00:00:00Z"]
        {
            assert!(parse_time("k", bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn times_are_written_as_proto_json_does() {
        let written = |nanos| rfc3339(Timestamp::from_nanos(nanos));
        assert_eq!(written(0), "1970-01-01T00:00:00Z");
        assert_eq!(written(1_500_000_000), "1970-01-01T00:00:01.500Z");
        assert_eq!(written(1), "1970-01-01T00:00:00.000000001Z");
        assert_eq!(written(-1_000), "1969-12-31T23:59:59.999999Z");
    }

    proptest! {
        #[test]
        fn every_time_reads_back(nanos: i64) {
            let time = Timestamp::from_nanos(nanos);
            prop_assert_eq!(parse_time("k", &rfc3339(time)).unwrap(), time);
        }

        #[test]
        fn every_duration_reads_back(nanos in 0..MAX_DURATION.as_nanos() as u64) {
            let duration = Duration::from_nanos(nanos);
            prop_assert_eq!(parse_duration("k", &seconds(duration)).unwrap(), duration);
        }

        #[test]
        fn no_text_makes_them_panic(text: String) {
            let _ = (parse_duration("k", &text), parse_time("k", &text));
        }
    }
}
