//! Protocol Buffers, for values that prost knows.

use busgate_core::bus::{BoxError, Codec, Decode, Encode};
use bytes::Bytes;
use prost::Message;

/// Protocol Buffers, for messages that [prost](https://docs.rs/prost) 0.14 made or derived.
///
/// ```
/// use busgate_client::{Bus, Result, codec::Protobuf};
///
/// #[derive(Clone, PartialEq, prost::Message)]
/// struct Order {
///     #[prost(uint64, tag = "1")]
///     id: u64,
/// }
///
/// # async fn of(bus: &Bus) -> Result<()> {
/// let orders = bus.event::<Order>("order.created")?.with_codec(Protobuf);
/// orders.publish(&Order { id: 7 }).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Protobuf;

impl Codec for Protobuf {
    fn content_type(&self) -> &str {
        "application/protobuf"
    }

    fn accepts(&self, media_type: &str) -> bool {
        // Older names that are in use.
        ["application/protobuf", "application/x-protobuf", "application/vnd.google.protobuf"]
            .iter()
            .any(|name| media_type.eq_ignore_ascii_case(name))
    }
}

impl<T: Message> Encode<T> for Protobuf {
    fn encode(&self, value: &T) -> Result<Bytes, BoxError> {
        Ok(value.encode_to_vec().into())
    }
}

impl<T: Message + Default> Decode<T> for Protobuf {
    fn decode(&self, payload: &Bytes) -> Result<T, BoxError> {
        // A clone of `Bytes` is cheap, and lets fields of bytes share the payload.
        Ok(T::decode(payload.clone())?)
    }
}
