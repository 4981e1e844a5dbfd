//! Splitting a raw query string into decoded keys and values.

use busgate_core::{Error, Result};

/// The keys and values of a raw query string, percent-decoded. A `+` stands for itself.
///
/// # Errors
/// `invalid` for a bad escape, or for what is no UTF-8.
pub fn pairs(query: &str) -> Result<Vec<(String, String)>> {
    query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            Ok((decoded(key)?, decoded(value)?))
        })
        .collect()
}

fn decoded(text: &str) -> Result<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        rest = tail;
        if first != b'%' {
            bytes.push(first);
            continue;
        }
        let (digits, after) = rest.split_at_checked(2).ok_or_else(bad_escape)?;
        bytes.push(byte(digits).ok_or_else(bad_escape)?);
        rest = after;
    }
    String::from_utf8(bytes).map_err(|_| Error::invalid("the query is not UTF-8"))
}

fn byte(digits: &[u8]) -> Option<u8> {
    let digit = |at: usize| char::from(*digits.get(at)?).to_digit(16);
    u8::try_from(digit(0)? * 16 + digit(1)?).ok()
}

fn bad_escape() -> Error {
    Error::invalid("the query has a `%` without two hexadecimal digits")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn escapes_are_decoded_and_a_plus_is_a_plus() {
        let read = pairs("a=%41+b&&c&d=").unwrap();
        let expected = [("a", "A+b"), ("c", ""), ("d", "")];
        assert_eq!(read, expected.map(|(key, value)| (key.to_owned(), value.to_owned())));
    }

    #[test]
    fn bad_escapes_and_bad_text_are_refused() {
        for bad in ["a=%", "a=%4", "a=%4g", "%zz=1", "a=%ff", "a=%c3"] {
            assert!(pairs(bad).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn every_text_survives_escaping(text: String) {
            let escaped: String = text.bytes().map(|byte| format!("%{byte:02X}")).collect();
            prop_assert_eq!(decoded(&escaped).unwrap(), text);
        }

        #[test]
        fn no_query_makes_it_panic(query: String) {
            let _ = pairs(&query);
        }
    }
}
