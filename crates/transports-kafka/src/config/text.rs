//! How the values of a URL are read.

use std::{str::FromStr, time::Duration};

use busgate_core::{Error, Result};

/// A number within bounds.
pub(super) fn number<N>(key: &str, value: &str, least: N, most: N) -> Result<N>
where
    N: Copy + FromStr + PartialOrd + std::fmt::Display,
{
    let refused = || {
        Error::invalid(format!("kafka option `{key}` must be a number from {least} to {most}, is `{value}`"))
    };
    value.parse().ok().filter(|number| *number >= least && *number <= most).ok_or_else(refused)
}

/// A duration with its unit.
pub(super) fn duration(key: &str, value: &str) -> Result<Duration> {
    let refused = || {
        Error::invalid(format!("kafka option `{key}` must be like 500ms, 30s, 10m, 2h or 7d, is `{value}`"))
    };
    let digits = value.find(|c: char| !c.is_ascii_digit()).unwrap_or(value.len());
    let (number, unit) = value.split_at(digits);
    let number: u64 = number.parse().map_err(|_| refused())?;
    let millis: u64 = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return Err(refused()),
    };
    number.checked_mul(millis).map(Duration::from_millis).ok_or_else(refused)
}

/// One of some words, each of which stands for something.
pub(super) fn choice<T: Copy>(key: &str, value: &str, choices: &[(&str, T)]) -> Result<T> {
    let found = choices.iter().find(|(word, _)| *word == value).map(|(_, meaning)| *meaning);
    found.ok_or_else(|| {
        let words: Vec<_> = choices.iter().map(|(word, _)| *word).collect();
        Error::invalid(format!("kafka option `{key}` must be one of {}, is `{value}`", words.join(", ")))
    })
}

/// Text in which `%41` stands for `A`.
pub(super) fn decoded(what: &str, text: &str) -> Result<String> {
    // The text may be a secret: it is not repeated.
    let refused = || Error::invalid(format!("{what} must be percent-encoded UTF-8"));
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let mut digit = || rest.next().and_then(|digit| char::from(digit).to_digit(16)).ok_or_else(refused);
        let (high, low) = (digit()?, digit()?);
        bytes.push(u8::try_from(high * 16 + low).map_err(|_| refused())?);
    }
    String::from_utf8(bytes).map_err(|_| refused())
}
