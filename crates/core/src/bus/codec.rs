//! Values to payloads and back: JSON unless an event says otherwise.

use std::fmt;

use bytes::Bytes;
use serde::{Serialize, de::DeserializeOwned};

use super::BoxError;

/// How an event's values are written. What it writes is stamped with its content type, and what claims to be something
/// else is not read.
pub trait Codec: fmt::Debug + Send + Sync + 'static {
    /// The media type it writes.
    fn content_type(&self) -> &str;

    /// Whether it reads this media type; parameters (`; charset=utf-8`) are cut off already.
    fn accepts(&self, media_type: &str) -> bool {
        media_type.eq_ignore_ascii_case(self.content_type())
    }
}

/// A codec that writes `T`.
#[diagnostic::on_unimplemented(
    message = "`{T}` can't be published with the codec `{Self}`",
    note = "for JSON, the default, derive `serde::Serialize` on `{T}`; another codec is chosen with `Event::with_codec`"
)]
pub trait Encode<T: ?Sized>: Codec {
    /// Writes a value.
    ///
    /// # Errors
    /// When this value can't be written.
    fn encode(&self, value: &T) -> Result<Bytes, BoxError>;
}

/// A codec that reads `T`.
#[diagnostic::on_unimplemented(
    message = "`{T}` can't be handled with the codec `{Self}`",
    note = "for JSON, the default, derive `serde::Deserialize` on `{T}` (owned, without borrowed fields); another codec is chosen with `Event::with_codec`"
)]
pub trait Decode<T>: Codec {
    /// Reads a value.
    ///
    /// # Errors
    /// When the payload is not one.
    fn decode(&self, payload: &Bytes) -> Result<T, BoxError>;
}

/// JSON, as serde writes it. Reads `application/json`, `text/json` and every `…+json`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Json;

impl Codec for Json {
    fn content_type(&self) -> &str {
        "application/json"
    }

    fn accepts(&self, media_type: &str) -> bool {
        let suffix = media_type.len().checked_sub("+json".len()).and_then(|at| media_type.get(at..));
        media_type.eq_ignore_ascii_case("application/json")
            || media_type.eq_ignore_ascii_case("text/json")
            || suffix.is_some_and(|suffix| suffix.eq_ignore_ascii_case("+json"))
    }
}

impl<T: Serialize + ?Sized> Encode<T> for Json {
    fn encode(&self, value: &T) -> Result<Bytes, BoxError> {
        Ok(serde_json::to_vec(value)?.into())
    }
}

impl<T: DeserializeOwned> Decode<T> for Json {
    fn decode(&self, payload: &Bytes) -> Result<T, BoxError> {
        Ok(serde_json::from_slice(payload)?)
    }
}

/// The payload as it is, whatever it claims to be.
#[derive(Clone, Copy, Debug, Default)]
pub struct Raw;

impl Codec for Raw {
    fn content_type(&self) -> &str {
        "application/octet-stream"
    }

    fn accepts(&self, _: &str) -> bool {
        true
    }
}

impl Encode<Bytes> for Raw {
    fn encode(&self, value: &Bytes) -> Result<Bytes, BoxError> {
        Ok(value.clone())
    }
}

impl Decode<Bytes> for Raw {
    fn decode(&self, payload: &Bytes) -> Result<Bytes, BoxError> {
        Ok(payload.clone())
    }
}

/// Whether `codec` reads a message of this content type. One that names none is tried.
pub(super) fn reads(codec: &impl Codec, content_type: Option<&str>) -> bool {
    let Some(content_type) = content_type else { return true };
    let media_type = content_type.split(';').next().unwrap_or_default().trim();
    media_type.is_empty() || codec.accepts(media_type)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_reads_what_is_json() {
        for good in
            ["application/json", "Application/JSON; charset=utf-8", "application/cloudevents+json", ""]
        {
            assert!(reads(&Json, Some(good)), "{good}");
        }
        assert!(reads(&Json, None));
        for bad in ["text/plain", "application/x-protobuf", "json", "é+jso"] {
            assert!(!reads(&Json, Some(bad)), "{bad}");
        }
    }
}
