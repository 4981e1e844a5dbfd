//! MessagePack, for values that serde knows.

use busgate_core::bus::{BoxError, Codec, Decode, Encode};
use bytes::Bytes;
use serde::{Serialize, de::DeserializeOwned};

/// MessagePack, with fields by name, so that other languages and later versions can read it.
///
/// ```
/// use busgate_client::{Bus, Result, codec::MessagePack};
///
/// #[derive(serde::Serialize, serde::Deserialize)]
/// struct Order {
///     id: u64,
/// }
///
/// # async fn of(bus: &Bus) -> Result<()> {
/// let orders = bus.event::<Order>("order.created")?.with_codec(MessagePack);
/// orders.publish(&Order { id: 7 }).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct MessagePack;

impl Codec for MessagePack {
    fn content_type(&self) -> &str {
        "application/vnd.msgpack"
    }

    fn accepts(&self, media_type: &str) -> bool {
        // Older names that are in use.
        ["application/vnd.msgpack", "application/msgpack", "application/x-msgpack"]
            .iter()
            .any(|name| media_type.eq_ignore_ascii_case(name))
    }
}

impl<T: Serialize + ?Sized> Encode<T> for MessagePack {
    fn encode(&self, value: &T) -> Result<Bytes, BoxError> {
        Ok(rmp_serde::to_vec_named(value)?.into())
    }
}

impl<T: DeserializeOwned> Decode<T> for MessagePack {
    fn decode(&self, payload: &Bytes) -> Result<T, BoxError> {
        Ok(rmp_serde::from_slice(payload)?)
    }
}
