//! Durations as people write them: `250ms`, `30s`, `5m`, `1h`, `7d`.

use std::time::Duration;

const UNITS: [(&str, u64); 5] = [("ms", 1), ("s", 1000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];

/// Reads a whole number with a unit; `None` when it is something else.
pub(crate) fn parse(text: &str) -> Option<Duration> {
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at_checked(digits)?;
    let (_, millis) = UNITS.into_iter().find(|(name, _)| *name == unit)?;
    Some(Duration::from_millis(number.parse::<u64>().ok()?.checked_mul(millis)?))
}

/// Writes a duration in the largest unit that keeps it whole, rounded down to a millisecond.
pub(crate) fn display(duration: Duration) -> String {
    let millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let fits = |(_, unit): &&(&str, u64)| millis % unit == 0 && millis >= *unit;
    match UNITS.iter().rev().find(fits) {
        Some((name, unit)) => format!("{}{name}", millis / unit),
        None => "0s".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_back_as_written() {
        for text in ["1ms", "250ms", "30s", "90s", "5m", "1h", "7d", "0s"] {
            assert_eq!(display(parse(text).unwrap()), text);
        }
    }

    #[test]
    fn a_duration_needs_a_number_and_a_known_unit() {
        for text in
            ["", "s", "5", "5 s", "-5s", "1.5s", "5y", "99999999999999999999s", "18446744073709551615d"]
        {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
