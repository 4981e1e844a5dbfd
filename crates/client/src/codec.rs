//! Codecs of the typed bus beside JSON, each behind a feature: `protobuf` and `message-pack`.

#[cfg(feature = "message-pack")]
mod message_pack;
#[cfg(feature = "protobuf")]
mod protobuf;

#[cfg(feature = "message-pack")]
pub use self::message_pack::MessagePack;
#[cfg(feature = "protobuf")]
pub use self::protobuf::Protobuf;
