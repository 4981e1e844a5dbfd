//! Text as it may stand in a header, and back.
//!
//! Nearly all text stands there as it is. What a header would lose (line ends, spaces around it) is written with its
//! bytes in hexadecimal, after a mark.

use std::{borrow::Cow, fmt::Write};

use busgate_core::url::unpercent;

/// In front of a value that is not written as it is.
const MARK: &str = "%busgate:";

/// A value as it can stand in a header.
pub(crate) fn value(text: &str) -> Cow<'_, str> {
    let is_plain = text.trim_ascii().len() == text.len()
        && !text.bytes().any(|byte| matches!(byte, b'\r' | b'\n' | 0))
        && !text.starts_with(MARK);
    if is_plain { text.into() } else { format!("{MARK}{}", percent(text)).into() }
}

/// What a header's value stands for.
pub(crate) fn read(value: &str) -> Cow<'_, str> {
    let coded = value.strip_prefix(MARK).and_then(unpercent);
    coded.map_or(Cow::Borrowed(value), Cow::Owned)
}

/// `text` with all but letters, digits and `-_.` as `%` and two digits.
pub(crate) fn percent(text: &str) -> String {
    let mut coded = String::with_capacity(text.len() + 8);
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.".contains(&byte) {
            coded.push(char::from(byte));
        } else {
            // Writing to a string does not fail.
            let _ = write!(coded, "%{byte:02X}");
        }
    }
    coded
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn plain_text_stands_as_it_is() {
        for text in ["", "a b", "ünï ✓", "100%", "a=b; c"] {
            assert_eq!(value(text), text);
        }
    }

    proptest! {
        #[test]
        fn any_text_reads_back(text in any::<String>()) {
            let written = value(&text);
            prop_assert!(!written.contains(['\r', '\n']) && written.trim() == &*written || written == text);
            prop_assert_eq!(read(&written), text.clone());
            prop_assert_eq!(unpercent(&percent(&text)), Some(text));
        }
    }
}
