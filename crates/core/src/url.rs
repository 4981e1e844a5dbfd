//! The options of a transport's URL: how they are written, and what is said of a value that can't be read.
//!
//! A value may be a secret, so no error repeats one: it names the option and what it must be.

use std::{
    fmt, io,
    ops::{Bound, RangeBounds},
    str::FromStr,
    time::Duration,
};

use crate::{Error, Result};

/// The units of a duration, in milliseconds.
const UNITS: [(&str, u64); 5] = [("ms", 1), ("s", 1000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];

/// One option, `name=value`. It is shown without its value.
#[derive(Clone, PartialEq, Eq)]
pub struct UrlOption {
    name: String,
    value: String,
}

impl UrlOption {
    /// The options of a query, `name=value&name=value`, in their order; empty ones are passed over.
    ///
    /// # Errors
    /// `invalid` for each that has no `=` or is not percent-encoded.
    pub fn all(query: &str) -> impl Iterator<Item = Result<Self>> {
        query.split('&').filter(|option| !option.is_empty()).map(Self::read)
    }

    fn read(option: &str) -> Result<Self> {
        let Some((name, value)) = option.split_once('=') else {
            return Err(Error::invalid("every transport option must be key=value, and one is not"));
        };
        let name = percent_decoded("the name of a transport option", name)?;
        let value = percent_decoded(&format!("transport option `{name}`"), value)?;
        Ok(Self { name, value })
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its value as it is.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.value
    }

    /// Its value, taken out.
    #[must_use]
    pub fn into_text(self) -> String {
        self.value
    }

    /// A number within `bounds`.
    ///
    /// # Errors
    /// `invalid` for anything else.
    pub fn number<N: FromStr + PartialOrd + fmt::Display>(&self, bounds: impl RangeBounds<N>) -> Result<N> {
        let number = self.value.parse().ok().filter(|number| bounds.contains(number));
        number.ok_or_else(|| {
            self.refused(&match (bounds.start_bound(), bounds.end_bound()) {
                (Bound::Included(least), Bound::Included(most)) => format!("a number from {least} to {most}"),
                (Bound::Included(least), _) => format!("a number from {least}"),
                _ => "a number".into(),
            })
        })
    }

    /// A time with its unit, or `0`.
    ///
    /// # Errors
    /// `invalid` for anything else.
    pub fn duration(&self) -> Result<Duration> {
        let duration = if self.value == "0" { Some(Duration::ZERO) } else { parse_duration(&self.value) };
        duration.ok_or_else(|| self.refused("like 500ms, 30s, 10m, 2h or 7d"))
    }

    /// A time with its unit, of some length.
    ///
    /// # Errors
    /// `invalid` for anything else.
    pub fn positive_duration(&self) -> Result<Duration> {
        let duration = self.duration()?;
        if duration.is_zero() { Err(self.refused("more than zero")) } else { Ok(duration) }
    }

    /// One of some words, each of which stands for something.
    ///
    /// # Errors
    /// `invalid` for anything else.
    pub fn choice<T: Copy>(&self, choices: &[(&str, T)]) -> Result<T> {
        let found = choices.iter().find(|(word, _)| *word == self.value);
        found.map(|(_, meaning)| *meaning).ok_or_else(|| {
            let words: Vec<_> = choices.iter().map(|(word, _)| *word).collect();
            self.refused(&format!("one of {}", words.join(", ")))
        })
    }

    /// Yes or no.
    ///
    /// # Errors
    /// `invalid` for anything else.
    pub fn flag(&self) -> Result<bool> {
        match &*self.value {
            "true" | "1" | "yes" => Ok(true),
            "false" | "0" | "no" => Ok(false),
            _ => Err(self.refused("true or false")),
        }
    }

    /// The secret in the file that it names, which the caller has read: its first line.
    ///
    /// # Errors
    /// `invalid` when it could not be read.
    pub fn secret(&self, file: io::Result<String>) -> Result<String> {
        let text = file.map_err(|cause| {
            let error = format!("transport option `{}`: the file can't be read: {}", self.name, cause.kind());
            Error::invalid(error).with_source(cause)
        })?;
        Ok(text.lines().next().unwrap_or_default().to_owned())
    }

    /// What is said when its value is not what it must be.
    #[must_use]
    pub fn refused(&self, must_be: &str) -> Error {
        Error::invalid(format!("transport option `{}` must be {must_be}", self.name))
    }

    /// What is said when there is no such option.
    #[must_use]
    pub fn unknown(&self, known: &str) -> Error {
        Error::invalid(format!("transport option `{}` is none of {known}", self.name))
    }
}

impl fmt::Debug for UrlOption {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UrlOption").field("name", &self.name).finish_non_exhaustive()
    }
}

/// A whole number with a unit, `250ms`, `30s`, `5m`, `1h` or `7d`; `None` when it is something else.
#[must_use]
pub fn parse_duration(text: &str) -> Option<Duration> {
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at_checked(digits)?;
    let (_, millis) = UNITS.into_iter().find(|(name, _)| *name == unit)?;
    Some(Duration::from_millis(number.parse::<u64>().ok()?.checked_mul(millis)?))
}

/// Writes a duration in the largest unit that keeps it whole, rounded down to a millisecond.
#[must_use]
pub fn display_duration(duration: Duration) -> String {
    let millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let fits = |(_, unit): &&(&str, u64)| millis % unit == 0 && millis >= *unit;
    match UNITS.iter().rev().find(fits) {
        Some((name, unit)) => format!("{}{name}", millis / unit),
        None => "0s".into(),
    }
}

/// Text in which `%41` stands for `A`.
///
/// # Errors
/// `invalid` when it is not written so; `what` names it, and the text itself is not repeated.
pub fn percent_decoded(what: &str, text: &str) -> Result<String> {
    unpercent(text).ok_or_else(|| Error::invalid(format!("{what} must be percent-encoded UTF-8")))
}

/// Text in which `%41` stands for `A`; `None` when it is not written so.
#[must_use]
pub fn unpercent(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let mut digit = || char::from(rest.next()?).to_digit(16);
        let (high, low) = (digit()?, digit()?);
        bytes.push(u8::try_from(high * 16 + low).ok()?);
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn option(value: &str) -> UrlOption {
        UrlOption { name: "name".into(), value: value.into() }
    }

    #[test]
    fn options_are_read_in_their_order() {
        let options: Result<Vec<_>> = UrlOption::all("a=1&&b=x%26y%3D&c=").collect();
        let options = options.unwrap();
        let read: Vec<_> = options.iter().map(|option| (option.name(), option.text())).collect();
        assert_eq!(read, [("a", "1"), ("b", "x&y="), ("c", "")]);
    }

    #[test]
    fn durations_read_back_as_written() {
        for text in ["1ms", "250ms", "30s", "90s", "5m", "1h", "7d", "0s"] {
            assert_eq!(display_duration(option(text).duration().unwrap()), text);
        }
        assert_eq!(option("0").duration().unwrap(), Duration::ZERO);
    }

    #[test]
    fn a_duration_needs_a_number_and_a_known_unit() {
        for text in
            ["", "s", "5", "5 s", "-5s", "1.5s", "5y", "99999999999999999999s", "18446744073709551615d"]
        {
            assert!(option(text).duration().is_err(), "{text}");
        }
        assert!(option("0s").positive_duration().is_err());
    }

    #[test]
    fn numbers_have_bounds_and_words_are_known() {
        assert_eq!(option("7").number(1..=7).unwrap(), 7);
        assert_eq!(option("0").number::<u8>(..).unwrap(), 0);
        for text in ["0", "8", "-1", "x", "", "1.0"] {
            assert!(option(text).number(1..=7).is_err(), "{text}");
        }
        assert_eq!(option("b").choice(&[("a", 1), ("b", 2)]).unwrap(), 2);
        assert!(option("c").choice(&[("a", 1), ("b", 2)]).unwrap_err().message().contains("one of a, b"));
        assert!(
            option("yes").flag().unwrap() && !option("0").flag().unwrap() && option("on").flag().is_err()
        );
    }

    #[test]
    fn no_error_repeats_a_value() {
        let secret = option("hunter2");
        let errors = [
            secret.number(1..=2).unwrap_err(),
            secret.number(1..).unwrap_err(),
            secret.duration().unwrap_err(),
            secret.choice(&[("a", 1)]).unwrap_err(),
            secret.flag().unwrap_err(),
            secret.refused("something"),
            secret.unknown("a, b"),
            UrlOption::read("password=hunter2%").unwrap_err(),
            UrlOption::read("hunter2").unwrap_err(),
        ];
        for error in errors {
            assert!(!format!("{error} {error:?} {secret:?}").contains("hunter2"), "{error:?}");
        }
    }

    #[test]
    fn a_secret_is_the_first_line_of_its_file() {
        let file = option("/hunter2");
        assert_eq!(file.secret(Ok("s3cret\r\nmore\n".into())).unwrap(), "s3cret");
        let error = file.secret(Err(io::ErrorKind::NotFound.into())).unwrap_err();
        assert!(error.message().contains("`name`") && !error.message().contains("hunter2"), "{error}");
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "\\PC*") {
            let _ = unpercent(&text);
            let _ = parse_duration(&text);
            let _ = UrlOption::all(&text).count();
        }

        #[test]
        fn what_is_encoded_reads_back(text in any::<String>()) {
            let encoded: String = text.bytes().map(|byte| format!("%{byte:02X}")).collect();
            prop_assert_eq!(unpercent(&encoded), Some(text));
        }
    }
}
