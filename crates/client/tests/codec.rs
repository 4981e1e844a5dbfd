//! The codecs of the typed bus, each over the memory transport.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests may panic")]

use std::{fmt::Debug, sync::Arc};

use busgate_client::{
    Bus, EventName, Message, MessageId, ReadRequest, Start, Transport,
    bus::{Codec, Decode, Encode},
    codec::{MessagePack, Protobuf},
};
use busgate_transports_memory::{MemoryConfig, MemoryTransport};
use tokio::sync::mpsc::unbounded_channel;

#[derive(Clone, PartialEq, prost::Message, serde::Serialize, serde::Deserialize)]
struct Order {
    #[prost(uint64, tag = "1")]
    id: u64,
    #[prost(string, tag = "2")]
    customer: String,
}

fn order() -> Order {
    Order { id: 300, customer: String::from("ada") }
}

/// Publishes `value`, and something that is none, to a group; what was stored, how it was called, and what arrived.
async fn round<T, C>(codec: C, value: &T, old_name: &str) -> (Vec<u8>, String, Vec<T>, usize)
where
    T: Clone + Debug + Send + Sync + 'static,
    C: Codec + Clone + Encode<T> + Decode<T>,
{
    let transport = MemoryTransport::new(MemoryConfig::default());
    let event = Bus::new(transport.clone()).event::<T>("orders").unwrap().with_codec(codec);
    event.register().await.unwrap();
    event.publish(value).await.unwrap();
    event.publish(value).content_type(old_name).await.unwrap();
    let mut wrong = Message::new(MessageId::generate(), [0xff_u8, 0xff].as_slice());
    wrong.content_type = Some(String::from(old_name));
    let name = EventName::new("orders").unwrap();
    transport.publish(&name, vec![wrong]).await.pop().unwrap().unwrap();

    let (seen, mut values) = unbounded_channel();
    let worker = event.subscribe().group("g").handle(move |value, _| {
        let seen = seen.clone();
        async move {
            seen.send(value)?;
            Ok(())
        }
    });
    let worker = worker.await.unwrap();
    let arrived = vec![values.recv().await.unwrap(), values.recv().await.unwrap()];
    while worker.stats().rejected == 0 {
        tokio::task::yield_now().await;
    }
    worker.stop().await;
    let read = |name| {
        let transport = Arc::clone(&transport);
        async move {
            let request = ReadRequest { start: Start::Beginning, limit: 10, max_bytes: usize::MAX };
            transport.read(&EventName::new(name).unwrap(), request).await.unwrap().messages
        }
    };
    let stored = read("orders").await.remove(0).1;
    let dead = read("_dlq.orders").await.len();
    (stored.payload.to_vec(), stored.content_type.clone().unwrap(), arrived, dead)
}

#[tokio::test]
async fn protobuf_travels_as_protobuf() {
    let (stored, content_type, arrived, dead) = round(Protobuf, &order(), "application/x-protobuf").await;
    // What `protoc --encode` writes for { id: 300, customer: "ada" }.
    assert_eq!(stored, b"\x08\xac\x02\x12\x03ada");
    assert_eq!(content_type, "application/protobuf");
    assert_eq!((arrived, dead), (vec![order(), order()], 1));
}

#[tokio::test]
async fn message_pack_travels_with_its_fields_by_name() {
    let (stored, content_type, arrived, dead) = round(MessagePack, &order(), "application/msgpack").await;
    assert_eq!(stored, b"\x82\xa2id\xcd\x01\x2c\xa8customer\xa3ada");
    assert_eq!(content_type, "application/vnd.msgpack");
    assert_eq!((arrived, dead), (vec![order(), order()], 1));
}
