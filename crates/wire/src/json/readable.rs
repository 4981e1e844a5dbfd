//! JSON that every reader reads.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};

/// How deep lists and objects may stand in each other: readers stop at 127 (`serde_json`) or later, and frames and answers put
/// a few around them.
const MAX_DEPTH: u8 = 120;

/// Whether `text` is JSON, of which no part is beyond what readers commonly take (RFC 8259, 9): numbers have a double nearby,
/// escaped surrogates come in pairs, and nothing is too deep.
///
/// Invariant: a frame around it is read whole by whoever reads frames (`what_some_readers_refuse_is_base64`).
pub(super) fn is_readable(text: &str) -> bool {
    let mut deserializer = serde_json::Deserializer::from_str(text);
    Value { depth: MAX_DEPTH }.deserialize(&mut deserializer).and_then(|()| deserializer.end()).is_ok()
}

/// A value, in which so many levels may follow.
#[derive(Clone, Copy)]
struct Value {
    depth: u8,
}

impl Value {
    fn within<E: Error>(self) -> Result<Self, E> {
        self.depth.checked_sub(1).map(|depth| Self { depth }).ok_or_else(|| E::custom("too deep"))
    }
}

impl<'de> DeserializeSeed<'de> for Value {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Value {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a value")
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E: Error>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        let within = self.within()?;
        while list.next_element_seed(within)?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<(), A::Error> {
        let within = self.within()?;
        while object.next_key_seed(within)?.is_some() {
            object.next_value_seed(within)?;
        }
        Ok(())
    }
}
