//! How messages and state are written: little-endian numbers, length-prefixed text, the payload as it is.

use busgate_core::{EventConfig, Message, MessageId, Metadata, Result, Timestamp};
use bytes::Bytes;

use crate::error::damaged;

/// The layout of message bodies and event configurations; another one is refused, never guessed at.
const LAYOUT: u8 = 1;

/// Writes one record.
#[derive(Debug, Default)]
pub(crate) struct Encoder(Vec<u8>);

impl Encoder {
    /// Goes on after `start`, which is kept.
    pub(crate) fn after(start: Vec<u8>) -> Self {
        Self(start)
    }

    pub(crate) fn byte(&mut self, value: u8) -> &mut Self {
        self.0.push(value);
        self
    }

    pub(crate) fn u32(&mut self, value: u32) -> &mut Self {
        self.0.extend_from_slice(&value.to_le_bytes());
        self
    }

    pub(crate) fn u64(&mut self, value: u64) -> &mut Self {
        self.0.extend_from_slice(&value.to_le_bytes());
        self
    }

    pub(crate) fn time(&mut self, value: Timestamp) -> &mut Self {
        self.u64(value.as_nanos().cast_unsigned())
    }

    /// Invariant: nothing written here reaches 4 GiB: the limits of a message are far below.
    pub(crate) fn text(&mut self, value: &str) -> &mut Self {
        self.u32(u32::try_from(value.len()).unwrap_or(u32::MAX));
        self.0.extend_from_slice(value.as_bytes());
        self
    }

    pub(crate) fn option<T>(&mut self, value: Option<T>, write: impl FnOnce(&mut Self, T)) -> &mut Self {
        self.byte(u8::from(value.is_some()));
        if let Some(value) = value {
            write(self, value);
        }
        self
    }

    pub(crate) fn rest(&mut self, value: &[u8]) -> &mut Self {
        self.0.extend_from_slice(value);
        self
    }

    pub(crate) fn finish(self) -> Vec<u8> {
        self.0
    }
}

/// Reads one record; whatever does not fit is damage.
#[derive(Debug)]
pub(crate) struct Decoder(Bytes);

impl Decoder {
    pub(crate) fn new(bytes: Bytes) -> Self {
        Self(bytes)
    }

    fn take(&mut self, length: usize) -> Result<Bytes> {
        if length > self.0.len() {
            return Err(damaged("a record is shorter than it says"));
        }
        Ok(self.0.split_to(length))
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let bytes = self.take(N)?;
        <[u8; N]>::try_from(&*bytes).map_err(|_| damaged("a record is shorter than it says"))
    }

    pub(crate) fn byte(&mut self) -> Result<u8> {
        self.array::<1>().map(|[byte]| byte)
    }

    pub(crate) fn u32(&mut self) -> Result<u32> {
        self.array().map(u32::from_le_bytes)
    }

    pub(crate) fn u64(&mut self) -> Result<u64> {
        self.array().map(u64::from_le_bytes)
    }

    pub(crate) fn time(&mut self) -> Result<Timestamp> {
        Ok(Timestamp::from_nanos(self.u64()?.cast_signed()))
    }

    pub(crate) fn text(&mut self) -> Result<String> {
        let length = usize::try_from(self.u32()?).unwrap_or(usize::MAX);
        let bytes = self.take(length)?;
        std::str::from_utf8(&bytes).map(str::to_owned).map_err(|_| damaged("a text is not utf-8"))
    }

    pub(crate) fn option<T>(&mut self, read: impl FnOnce(&mut Self) -> Result<T>) -> Result<Option<T>> {
        match self.byte()? {
            0 => Ok(None),
            1 => read(self).map(Some),
            _ => Err(damaged("an option is neither there nor not")),
        }
    }

    pub(crate) fn rest(self) -> Bytes {
        self.0
    }
}

/// Appends the body of a message to `start`.
pub(crate) fn encode_message(start: Vec<u8>, message: &Message) -> Vec<u8> {
    let mut out = Encoder::after(start);
    out.byte(LAYOUT).time(message.timestamp).text(message.id.as_str()).text(&message.source);
    out.option(message.key.as_deref(), |out, key| {
        out.text(key);
    });
    out.option(message.content_type.as_deref(), |out, kind| {
        out.text(kind);
    });
    out.u32(u32::try_from(message.metadata.len()).unwrap_or(u32::MAX));
    for (key, value) in &message.metadata {
        out.text(key).text(value);
    }
    out.rest(&message.payload);
    out.finish()
}

/// Reads the body of a message; its payload shares the record's memory.
pub(crate) fn decode_message(body: Bytes) -> Result<Message> {
    let mut body = Decoder::new(body);
    check_layout(&mut body)?;
    let timestamp = body.time()?;
    let id = MessageId::new(body.text()?)?;
    let source = body.text()?;
    let key = body.option(Decoder::text)?;
    let content_type = body.option(Decoder::text)?;
    let mut metadata = Metadata::new();
    for _ in 0..body.u32()? {
        metadata.insert(body.text()?, body.text()?);
    }
    Ok(Message { id, source, payload: body.rest(), metadata, timestamp, key, content_type })
}

/// Appends an event's configuration.
pub(crate) fn encode_config(out: &mut Encoder, config: &EventConfig) {
    let nanos = |duration: std::time::Duration| u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
    out.byte(LAYOUT);
    for figure in [
        config.dedup_window.map(nanos),
        config.retention_age.map(nanos),
        config.retention_bytes,
        config.retention_messages,
    ] {
        out.option(figure, |out, figure| {
            out.u64(figure);
        });
    }
}

/// Reads an event's configuration.
pub(crate) fn decode_config(body: &mut Decoder) -> Result<EventConfig> {
    check_layout(body)?;
    Ok(EventConfig {
        dedup_window: body.option(Decoder::u64)?.map(std::time::Duration::from_nanos),
        retention_age: body.option(Decoder::u64)?.map(std::time::Duration::from_nanos),
        retention_bytes: body.option(Decoder::u64)?,
        retention_messages: body.option(Decoder::u64)?,
    })
}

fn check_layout(body: &mut Decoder) -> Result<()> {
    match body.byte()? {
        LAYOUT => Ok(()),
        other => Err(damaged(format!("layout {other} is not known to this version"))),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    prop_compose! {
        fn any_message()(
            id in "[a-zA-Z0-9-]{1,40}", source in ".{0,20}", payload in proptest::collection::vec(any::<u8>(), 0..300),
            metadata in proptest::collection::btree_map(".{1,8}", ".{0,12}", 0..5), nanos in any::<i64>(),
            key in proptest::option::of(".{0,9}"), content_type in proptest::option::of("[a-z]{1,5}/[a-z]{1,5}"),
        ) -> Message {
            Message {
                source, metadata, key, content_type, timestamp: Timestamp::from_nanos(nanos),
                ..Message::new(MessageId::new(id).unwrap(), payload)
            }
        }
    }

    proptest! {
        #[test]
        fn a_message_reads_back_as_written(message in any_message()) {
            let body = Bytes::from(encode_message(Vec::new(), &message));
            prop_assert_eq!(decode_message(body).unwrap(), message);
        }

        #[test]
        fn no_bytes_make_the_decoder_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode_message(Bytes::from(bytes));
        }
    }
}
