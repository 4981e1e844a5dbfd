//! Payloads in JSON: base64 in any of its dialects, JSON as written, or text.

use std::borrow::Cow;

use base64::{
    Engine, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig, general_purpose},
};
use busgate_core::{Error, Result};
use bytes::Bytes;
use serde_json::value::RawValue;

use super::Text;

const LENIENT: GeneralPurposeConfig =
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);

const STANDARD: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, LENIENT);

const URL_SAFE: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, LENIENT);

/// The three ways to write a payload, of which a message has at most one.
pub(super) struct Written<'a> {
    pub(super) base64: Option<Text<'a>>,
    pub(super) json: Option<&'a RawValue>,
    pub(super) text: Option<Text<'a>>,
}

impl Written<'_> {
    /// The payload, shared with `body` where it stands there as it is, and the media type that the way implies.
    pub(super) fn read(self, body: &Bytes) -> Result<(Bytes, Option<&'static str>)> {
        match (self.base64, self.json, self.text) {
            (None, None, None) => Ok((Bytes::new(), None)),
            (Some(base64), None, None) => Ok((decode_base64(base64.as_str())?, None)),
            (None, Some(json), None) => Ok((part(body, json.get()), Some("application/json"))),
            (None, None, Some(Text(Cow::Borrowed(text)))) => Ok((part(body, text), Some(PLAIN))),
            (None, None, Some(Text(Cow::Owned(text)))) => Ok((text.into(), Some(PLAIN))),
            _ => Err(Error::invalid("a message has one of payload, json and text")),
        }
    }
}

const PLAIN: &str = "text/plain; charset=utf-8";

/// The bytes of `text`, without a copy when it lies within `body`.
fn part(body: &Bytes, text: &str) -> Bytes {
    let within = body.as_ptr_range();
    let range = text.as_bytes().as_ptr_range();
    if within.start <= range.start && range.end <= within.end {
        return body.slice_ref(text.as_bytes());
    }
    Bytes::copy_from_slice(text.as_bytes())
}

/// Decodes base64 in the standard or the URL alphabet, with or without padding.
///
/// # Errors
/// `invalid` for anything else.
fn decode_base64(text: &str) -> Result<Bytes> {
    let engine = if text.contains(['-', '_']) { URL_SAFE } else { STANDARD };
    let bytes =
        engine.decode(text).map_err(|error| Error::invalid(format!("payload is not base64: {error}")))?;
    Ok(bytes.into())
}

/// Appends `bytes` in padded standard base64.
pub(super) fn put_base64(out: &mut Vec<u8>, bytes: &[u8]) {
    let start = out.len();
    let length = base64::encoded_len(bytes.len(), true).unwrap_or_default();
    out.resize(start + length, 0);
    let room = out.get_mut(start..).unwrap_or_default();
    let written = general_purpose::STANDARD.encode_slice(bytes, room);
    debug_assert_eq!(written, Ok(length), "the room is exactly what the encoding takes");
}

/// The bytes in padded standard base64.
pub(super) fn base64_text(bytes: &[u8]) -> String {
    general_purpose::STANDARD.encode(bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_dialect_of_base64_is_read() {
        for text in ["+/+/AA==", "+/+/AA", "-_-_AA==", "-_-_AA"] {
            assert_eq!(decode_base64(text).unwrap(), &[0xfb, 0xff, 0xbf, 0][..], "{text}");
        }
    }

    #[test]
    fn what_is_no_base64_is_refused() {
        for bad in ["A", "+_AA", "AA=A", "A A=", "é", "AB"] {
            assert!(decode_base64(bad).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn every_payload_survives_base64(bytes: Vec<u8>) {
            let mut out = b"x".to_vec();
            put_base64(&mut out, &bytes);
            prop_assert_eq!(decode_base64(std::str::from_utf8(&out[1..]).unwrap()).unwrap(), bytes);
        }
    }
}
