//! Messages as entries of a stream, and entries of other clients as messages.

mod json;
pub(crate) mod packed;
pub(crate) mod remembered;

use busgate_core::{Message, MessageId, Metadata, Timestamp};
use bytes::Bytes;
use redis::{Cmd, Value};

use crate::id::EntryId;

const KEY: &str = "key";
const SOURCE: &str = "source";
const CONTENT_TYPE: &str = "content_type";
const TIME: &str = "ts";
const META: &str = "meta.";

/// Adds messages to `command`, those that follow each other and are alike together: how many, what each weighs beside its id
/// and its payload, how many arguments of `XADD` they share, those, and the id and the payload of each.
pub(crate) fn write(messages: &[&Message], command: &mut Cmd) {
    for run in messages.chunk_by(|one, next| is_alike(one, next)) {
        let Some(first) = run.first() else { continue };
        command.arg(run.len()).arg(first.weight() - first.payload.len() - first.id.as_str().len());
        write_shared(first, command);
        for message in run {
            command.arg(message.id.as_str()).arg(&message.payload[..]);
        }
    }
}

/// Whether they have the same fields but for id and payload.
fn is_alike(one: &Message, other: &Message) -> bool {
    one.timestamp == other.timestamp
        && one.source == other.source
        && one.key == other.key
        && one.content_type == other.content_type
        && one.metadata == other.metadata
}

fn write_shared(message: &Message, command: &mut Cmd) {
    let optional = [
        (SOURCE, Some(message.source.as_str()).filter(|source| !source.is_empty())),
        (KEY, message.key.as_deref()),
        (CONTENT_TYPE, message.content_type.as_deref()),
    ];
    let optional = optional.into_iter().filter_map(|(name, value)| Some((name, value?)));
    let fields = 1 + optional.clone().count() + message.metadata.len();
    command.arg(fields * 2).arg(TIME).arg(message.timestamp.as_millis());
    for (name, value) in optional {
        command.arg(name).arg(value);
    }
    let mut name = String::from(META);
    for (key, value) in &message.metadata {
        name.truncate(META.len());
        name.push_str(key);
        command.arg(&name).arg(value);
    }
}

/// The largest payload that is copied so that it does not hold the whole frame that it came in.
const COPIED: usize = 1 << 16;

/// A message as it is read back: its time is in milliseconds, and a payload stands alone unless it is large.
pub(crate) fn as_read(mut message: Message) -> Message {
    message.timestamp = Timestamp::from_millis(message.timestamp.as_millis());
    if message.payload.len() <= COPIED {
        message.payload = Bytes::copy_from_slice(&message.payload);
    }
    message
}

/// Reads the entry `id`. What another client wrote is read as well as it can be.
pub(crate) fn read(id: EntryId, fields: Vec<Value>) -> Message {
    let mut read = Fields::default();
    let mut fields = fields.into_iter();
    while let (Some(name), Some(value)) = (fields.next(), fields.next()) {
        if let (Some(name), Some(value)) = (bytes(name), bytes(value)) {
            read.take(&name, value);
        }
    }
    read.message(id)
}

fn bytes(value: Value) -> Option<Vec<u8>> {
    match value {
        Value::BulkString(bytes) => Some(bytes),
        Value::SimpleString(text) => Some(text.into_bytes()),
        Value::Int(number) => Some(number.to_string().into_bytes()),
        _ => None,
    }
}

/// What was found so far.
#[derive(Debug, Default)]
struct Fields {
    payload: Option<Bytes>,
    data: Option<Bytes>,
    id: Option<MessageId>,
    time: Option<i64>,
    source: Option<String>,
    key: Option<String>,
    content_type: Option<String>,
    metadata: Metadata,
    /// Fields that mean nothing to us.
    others: Vec<(Vec<u8>, Vec<u8>)>,
}

/// A value that is kept as it is, or copied.
trait FieldValue: AsRef<[u8]> {
    fn into_payload(self) -> Bytes;
}

impl FieldValue for Vec<u8> {
    fn into_payload(self) -> Bytes {
        self.into()
    }
}

impl FieldValue for &[u8] {
    fn into_payload(self) -> Bytes {
        Bytes::copy_from_slice(self)
    }
}

impl Fields {
    fn take(&mut self, name: &[u8], value: impl FieldValue) {
        match name {
            b"payload" if self.payload.is_none() => self.payload = Some(value.into_payload()),
            b"data" if self.data.is_none() => self.data = Some(value.into_payload()),
            _ => self.take_text(name, value.as_ref()),
        }
    }

    fn take_text(&mut self, name: &[u8], value: &[u8]) {
        let told = std::str::from_utf8(value).ok();
        if let Some(key) = name.strip_prefix(META.as_bytes()).filter(|key| !key.is_empty())
            && let Ok(key) = std::str::from_utf8(key)
        {
            if let Some(told) = told {
                self.metadata.insert(key.to_owned(), told.to_owned());
            }
            return;
        }
        let taken = match (name, told) {
            (b"id", Some(told)) => MessageId::new(told).map(|id| self.id = Some(id)).is_ok(),
            (b"ts", Some(told)) => told.parse().map(|time| self.time = Some(time)).is_ok(),
            (b"source", Some(told)) => set(&mut self.source, told),
            (b"key", Some(told)) => set(&mut self.key, told),
            (b"content_type", Some(told)) => set(&mut self.content_type, told),
            _ => false,
        };
        if !taken {
            self.others.push((name.to_vec(), value.to_vec()));
        }
    }

    fn message(mut self, id: EntryId) -> Message {
        let payload = match (self.payload, self.data) {
            (Some(payload), data) => {
                self.others.extend(data.map(|data| (b"data".to_vec(), data.to_vec())));
                payload
            }
            (None, Some(data)) => data,
            (None, None) => json::object(&std::mem::take(&mut self.others)).into(),
        };
        for (name, value) in self.others {
            if let (Ok(name), Ok(value)) = (String::from_utf8(name), String::from_utf8(value)) {
                self.metadata.entry(name).or_insert(value);
            }
        }
        let own_id = || MessageId::new(id.to_string());
        // An entry's id is a message's id as well: digits and a dash.
        let message_id = self.id.map_or_else(own_id, Ok).unwrap_or_else(|_| MessageId::generate());
        let time = self.time.unwrap_or_else(|| i64::try_from(id.ms).unwrap_or(i64::MAX));
        let mut message = Message::new(message_id, payload);
        message.timestamp = Timestamp::from_millis(time);
        message.source = self.source.unwrap_or_default();
        message.metadata = self.metadata;
        message.key = self.key;
        message.content_type = self.content_type;
        message
    }
}

fn set(field: &mut Option<String>, value: &str) -> bool {
    let free = field.is_none();
    if free {
        *field = Some(value.to_owned());
    }
    free
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ENTRY: EntryId = EntryId { ms: 1_700_000_000_123, seq: 4 };

    fn entry(fields: &[(&str, &[u8])]) -> Message {
        let values = fields.iter().flat_map(|(name, value)| [name.as_bytes().to_vec(), value.to_vec()]);
        read(ENTRY, values.map(Value::BulkString).collect())
    }

    fn arguments(messages: &[&Message]) -> Vec<Vec<u8>> {
        let mut command = Cmd::new();
        write(messages, &mut command);
        let arguments = command.args_iter().map(|argument| match argument {
            redis::Arg::Simple(bytes) => bytes.to_vec(),
            _ => panic!("an argument that is none"),
        });
        arguments.collect()
    }

    /// The fields of its entry, as the script makes them.
    fn written(message: &Message) -> Vec<Value> {
        let mut arguments = arguments(&[message]);
        let (payload, id) = (arguments.pop().unwrap(), arguments.pop().unwrap());
        let besides: usize = String::from_utf8(arguments[1].clone()).unwrap().parse().unwrap();
        assert_eq!(besides + id.len() + payload.len(), message.weight());
        assert_eq!(arguments[0], b"1");
        assert_eq!(arguments[2], (arguments.len() - 3).to_string().as_bytes());
        let [first, last] =
            [("id", id), ("payload", payload)].map(|(name, value)| [name.as_bytes().to_vec(), value]);
        let shared = arguments.into_iter().skip(3);
        first.into_iter().chain(shared).chain(last).map(Value::BulkString).collect()
    }

    fn messages() -> impl Strategy<Value = Message> {
        let text = || "\\PC{0,12}";
        let metadata = prop::collection::btree_map("\\PC{1,12}", text(), 0..6);
        let payload = prop::collection::vec(any::<u8>(), 0..64);
        let optional = || prop::option::of(text());
        ("\\PC{1,12}", text(), payload, metadata, any::<u32>(), optional(), optional()).prop_map(
            |(id, source, payload, metadata, time, key, content_type)| Message {
                id: MessageId::new(id).unwrap(),
                source,
                payload: payload.into(),
                metadata,
                timestamp: Timestamp::from_millis(time.into()),
                key,
                content_type,
            },
        )
    }

    proptest! {
        #[test]
        fn a_message_reads_back(message in messages()) {
            prop_assert_eq!(read(ENTRY, written(&message)), message);
        }

        #[test]
        fn any_entry_is_some_message(fields in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..8), 0..9)) {
            read(ENTRY, fields.into_iter().map(Value::BulkString).collect());
        }
    }

    #[test]
    fn the_fields_are_those_of_the_wire_contract() {
        let mut message = Message::new(MessageId::new("m").unwrap(), "body");
        message.metadata = [("Trace".into(), "t".into())].into();
        message.key = Some("k".into());
        let fields: Vec<_> =
            written(&message).chunks(2).map(|pair| bytes(pair[0].clone()).unwrap()).collect();
        assert_eq!(fields, ["id", "ts", "key", "meta.Trace", "payload"].map(|name| name.as_bytes().to_vec()));
    }

    #[test]
    fn messages_that_are_alike_go_together() {
        let message = |id: &str, source: &str| {
            let mut message = Message::new(MessageId::new(id).unwrap(), "p");
            message.timestamp = Timestamp::from_millis(7);
            message.source = source.into();
            message
        };
        let messages = [message("a", ""), message("b", ""), message("c", "s"), message("d", "")];
        let written = arguments(&messages.iter().collect::<Vec<_>>());
        let alone = |id: &str| ["1", "64", "2", "ts", "7", id, "p"].map(String::from).to_vec();
        let expected = [
            ["2", "64", "2", "ts", "7", "a", "p", "b", "p"].map(String::from).to_vec(),
            ["1", "65", "4", "ts", "7", "source", "s", "c", "p"].map(String::from).to_vec(),
            alone("d"),
        ];
        assert_eq!(written, expected.concat().into_iter().map(String::into_bytes).collect::<Vec<_>>());
    }

    #[test]
    fn a_native_entry_has_the_streams_id_and_time() {
        let message = entry(&[("data", b"body"), ("colour", b"red"), ("raw", &[0xff])]);
        assert_eq!(message.id.as_str(), "1700000000123-4");
        assert_eq!(message.timestamp.as_millis(), 1_700_000_000_123);
        assert_eq!(&message.payload[..], b"body");
        assert_eq!(message.metadata, [("colour".to_owned(), "red".to_owned())].into());
    }

    #[test]
    fn a_native_entry_without_a_body_is_an_object_of_its_fields() {
        let message = entry(&[("b", b"2"), ("a", b"say \"hi\"\n")]);
        assert_eq!(&message.payload[..], br#"{"b":"2","a":"say \"hi\"\n"}"#);
        assert!(message.metadata.is_empty());
        assert_eq!(&entry(&[]).payload[..], b"{}");
    }

    #[test]
    fn a_field_that_is_not_what_its_name_says_is_metadata() {
        let message = entry(&[("payload", b"p"), ("data", b"d"), ("ts", b"soon"), ("id", b"")]);
        let metadata =
            [("data", "d"), ("id", ""), ("ts", "soon")].map(|(key, value)| (key.into(), value.into()));
        assert_eq!(message.metadata, metadata.into());
        assert_eq!(message.id.as_str(), "1700000000123-4");
    }
}
