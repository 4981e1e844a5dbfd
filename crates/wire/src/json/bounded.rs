//! A list that stops growing: a body of tiny entries takes far more memory than it has bytes.

use std::fmt;

use busgate_core::{Error, ErrorKind, Result};
use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, SeqAccess, Visitor},
};

/// The most entries that one body may have, whatever the gateway allows.
pub(super) const MAX_ENTRIES: usize = 100_000;

/// A list that keeps as many entries as a body may have, and remembers when there were more.
#[derive(Clone, Debug)]
pub struct Bounded<T> {
    entries: Vec<T>,
    over: bool,
}

impl<T> Bounded<T> {
    /// All the entries.
    ///
    /// # Errors
    /// `too_large` when there were too many.
    pub(super) fn into_entries(self) -> Result<Vec<T>> {
        if self.over { Err(too_many()) } else { Ok(self.entries) }
    }
}

/// The error for a body with too many entries.
pub(super) fn too_many() -> Error {
    Error::new(ErrorKind::TooLarge, format!("at most {MAX_ENTRIES} entries fit in one body"))
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Bounded<T> {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        struct Collect<T>(Bounded<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for Collect<T> {
            type Value = Bounded<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Bounded<T>, A::Error> {
                let Self(mut bounded) = self;
                while bounded.entries.len() < MAX_ENTRIES {
                    let Some(entry) = list.next_element()? else { return Ok(bounded) };
                    bounded.entries.push(entry);
                }
                while list.next_element::<IgnoredAny>()?.is_some() {
                    bounded.over = true;
                }
                Ok(bounded)
            }
        }

        input.deserialize_seq(Collect(Self { entries: Vec::new(), over: false }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(count: usize) -> Result<Vec<u8>> {
        let text = format!("[{}]", vec!["1"; count].join(","));
        serde_json::from_str::<Bounded<u8>>(&text).unwrap().into_entries()
    }

    #[test]
    fn the_limit_passes_and_one_more_does_not() {
        assert_eq!(read(MAX_ENTRIES).unwrap().len(), MAX_ENTRIES);
        assert_eq!(read(MAX_ENTRIES + 1).unwrap_err().kind(), ErrorKind::TooLarge);
    }
}
