//! How a payload is written into JSON, and where each encoding of a message is kept.

use busgate_core::{Error, Result};

/// How a payload is written into a JSON frame.
///
/// A payload that can't be written as asked (it is no JSON, or none that every reader takes: a number that no double is near
/// to, half a surrogate pair, more than 120 levels; or no UTF-8) stands in base64 under `payload`, and
/// `"encoding":"base64"` beside it says so; a client that finds no `encoding` has what it asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Encoding {
    /// Base64 (standard alphabet, padded) under `payload`.
    #[default]
    Base64,
    /// The payload's own JSON under `data`, with line breaks between its tokens as spaces.
    Json,
    /// The payload's UTF-8 text under `payload`.
    Text,
}

impl Encoding {
    /// The names, as they are written in a query.
    pub const NAMES: [&str; 3] = ["base64", "json", "text"];

    /// The encoding with this name.
    ///
    /// # Errors
    /// `invalid`, with what is allowed.
    pub fn from_name(name: &str) -> Result<Self> {
        match name {
            "base64" => Ok(Self::Base64),
            "json" => Ok(Self::Json),
            "text" => Ok(Self::Text),
            _ => Err(Error::invalid(format!("encoding must be base64, json or text, is `{name}`"))),
        }
    }
}

/// Where an [`Envelope`](busgate_core::Envelope) keeps an encoding of its message: one slot a door and encoding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum EncodingSlot {
    /// The shared fields of `event.v1.Message`: gRPC, and the WebSocket's protobuf frames.
    Proto,
    /// A WebSocket text frame with a base64 payload.
    SocketBase64,
    /// A WebSocket text frame with a JSON payload.
    SocketJson,
    /// A WebSocket text frame with a text payload.
    SocketText,
    /// A server-sent event with a base64 payload.
    SseBase64,
    /// A server-sent event with a JSON payload.
    SseJson,
    /// A server-sent event with a text payload.
    SseText,
    /// The shared part of a WebSocket text frame with a base64 payload, deflated.
    DeflatedBase64,
    /// The shared part of a WebSocket text frame with a JSON payload, deflated.
    DeflatedJson,
    /// The shared part of a WebSocket text frame with a text payload, deflated.
    DeflatedText,
}

impl EncodingSlot {
    /// The slot of a WebSocket text frame.
    #[must_use]
    pub const fn socket(encoding: Encoding) -> Self {
        match encoding {
            Encoding::Base64 => Self::SocketBase64,
            Encoding::Json => Self::SocketJson,
            Encoding::Text => Self::SocketText,
        }
    }

    /// The slot of the deflated shared part of a WebSocket text frame.
    #[must_use]
    pub const fn deflated_socket(encoding: Encoding) -> Self {
        match encoding {
            Encoding::Base64 => Self::DeflatedBase64,
            Encoding::Json => Self::DeflatedJson,
            Encoding::Text => Self::DeflatedText,
        }
    }

    /// The slot of a server-sent event.
    #[must_use]
    pub const fn sse(encoding: Encoding) -> Self {
        match encoding {
            Encoding::Base64 => Self::SseBase64,
            Encoding::Json => Self::SseJson,
            Encoding::Text => Self::SseText,
        }
    }

    /// Its number in the envelope.
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }
}

#[cfg(test)]
mod tests {
    use busgate_core::ENCODING_SLOTS;

    use super::*;

    #[test]
    fn every_name_is_an_encoding() {
        for name in Encoding::NAMES {
            assert!(Encoding::from_name(name).is_ok(), "{name}");
        }
    }

    #[test]
    fn every_encoding_has_a_slot_of_its_own_in_the_envelope() {
        let encodings = Encoding::NAMES.map(|name| Encoding::from_name(name).unwrap());
        let mut slots: Vec<_> = encodings.into_iter().map(EncodingSlot::socket).collect();
        slots.extend(encodings.into_iter().map(EncodingSlot::sse));
        slots.extend(encodings.into_iter().map(EncodingSlot::deflated_socket));
        slots.push(EncodingSlot::Proto);
        let mut numbers: Vec<_> = slots.into_iter().map(EncodingSlot::index).collect();
        numbers.sort_unstable();
        numbers.dedup();
        assert_eq!(numbers.len(), 10);
        assert!(numbers.iter().all(|number| *number < ENCODING_SLOTS));
    }
}
