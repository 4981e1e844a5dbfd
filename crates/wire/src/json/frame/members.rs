//! The members of a frame, unread, so that its type can decide what they are.

use std::{borrow::Cow, fmt};

use busgate_core::{Error, Result};
use serde::{
    Deserialize, Deserializer,
    de::{self, MapAccess, Visitor, value::MapDeserializer},
};
use serde_json::value::RawValue;

use crate::json::{Text, read_value};

/// The most members a frame has.
const MAX_MEMBERS: usize = 64;

/// The members of a JSON object, each name once, values unread.
pub(super) struct Members<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'a> Members<'a> {
    /// Reads the object that `frame` is.
    pub(super) fn read(frame: &'a [u8]) -> Result<Self> {
        read_value("frame", frame)
    }

    /// Takes out a member whose value is text.
    pub(super) fn take_text(&mut self, name: &str) -> Result<Option<String>> {
        let Some(at) = self.0.iter().position(|(key, _)| key == name) else { return Ok(None) };
        let (_, value) = self.0.swap_remove(at);
        read_value(name, value.get().as_bytes())
    }

    /// Reads what is left as a frame of a known type.
    pub(super) fn into_frame<T: Deserialize<'a>>(self) -> Result<T> {
        let members = MapDeserializer::new(self.0.into_iter());
        T::deserialize(members).map_err(|error: serde_json::Error| Error::invalid(format!("frame: {error}")))
    }

    /// Reads what is left as values without structure, written as in a query.
    pub(super) fn into_scalars(self) -> Result<Vec<(String, String)>> {
        let scalar = |(key, value): (Cow<'_, str>, &RawValue)| {
            let value: Scalar = read_value(&key, value.get().as_bytes())?;
            Ok((key.into_owned(), value.into_text()))
        };
        self.0.into_iter().map(scalar).collect()
    }
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Scalar {
    Text(String),
    Number(serde_json::Number),
    Flag(bool),
    Absent(()),
}

impl Scalar {
    fn into_text(self) -> String {
        match self {
            Self::Text(text) => text,
            Self::Number(number) => number.to_string(),
            Self::Flag(flag) => flag.to_string(),
            Self::Absent(()) => String::new(),
        }
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        struct Collect;

        impl<'de> Visitor<'de> for Collect {
            type Value = Vec<(Cow<'de, str>, &'de RawValue)>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members: Self::Value = Vec::with_capacity(8);
                while let Some(Text(key)) = map.next_key()? {
                    if members.len() == MAX_MEMBERS {
                        return Err(de::Error::custom("too many members"));
                    }
                    if members.iter().any(|(known, _)| *known == key) {
                        return Err(de::Error::custom(format_args!("member `{key}` is there twice")));
                    }
                    members.push((key, map.next_value()?));
                }
                Ok(members)
            }
        }

        input.deserialize_map(Collect).map(Self)
    }
}
