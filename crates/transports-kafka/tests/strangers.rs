//! What no client library writes, but whoever speaks to the broker may.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::{
    io::{Read, Write},
    net::TcpStream,
};

use busgate_brokers::{Kind, shared};
use busgate_core::{Clock, MessageId, ReadRequest, Start, SystemClock, Transport};

mod support;

use support::{event, message, name, node};

/// The check of a batch of records.
fn crc32c(bytes: &[u8]) -> u32 {
    let step = |crc: u32| if crc & 1 == 1 { (crc >> 1) ^ 0x82f6_3b78 } else { crc >> 1 };
    !bytes.iter().fold(!0, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), |crc, _| step(crc)))
}

/// A number of the wire's variable length that is small enough for one byte.
fn short(number: usize) -> u8 {
    assert!(number < 64);
    u8::try_from(number * 2).unwrap()
}

fn sized(bytes: &[u8]) -> Vec<u8> {
    [&[short(bytes.len())], bytes].concat()
}

/// A batch of one record without a key.
fn batch(payload: &[u8], headers: &[(&[u8], &[u8])]) -> Vec<u8> {
    let headers: Vec<u8> =
        headers.iter().flat_map(|(key, value)| [sized(key), sized(value)].concat()).collect();
    let count = [short(usize::from(!headers.is_empty()) * 2)];
    // Attributes, time and offset as in the batch, and no key.
    let record = [&[0, 0, 0, 1][..], &sized(payload), &count, &headers].concat();
    let now = SystemClock::new().now().as_millis();
    let mut body = Vec::new();
    body.extend([0_u8; 2 + 4]);
    body.extend([now, now, -1].map(i64::to_be_bytes).concat());
    body.extend([0xff; 2 + 4]);
    body.extend(1_i32.to_be_bytes());
    body.extend(sized(&record));
    let rest = [&[0xff; 4][..], &[2], &crc32c(&body).to_be_bytes(), &body].concat();
    let length = i32::try_from(rest.len()).unwrap();
    [&0_i64.to_be_bytes()[..], &length.to_be_bytes(), &rest].concat()
}

/// Writes a record by the protocol itself (Produce, version 3).
fn produce(topic: &str, batch: &[u8]) {
    let length = |bytes: &[u8]| i32::try_from(bytes.len()).unwrap().to_be_bytes();
    let text = |text: &str| [&i16::try_from(text.len()).unwrap().to_be_bytes()[..], text.as_bytes()].concat();
    let mut request = [&[0, 0, 0, 3, 0, 0, 0, 7][..], &text("stranger"), &[0xff, 0xff, 0xff, 0xff]].concat();
    request.extend(10_000_i32.to_be_bytes());
    request
        .extend([&[0, 0, 0, 1][..], &text(topic), &[0, 0, 0, 1, 0, 0, 0, 0], &length(batch), batch].concat());
    let broker = shared(Kind::Kafka);
    let mut socket = TcpStream::connect(broker.trim_start_matches("kafka://")).unwrap();
    socket.write_all(&[&length(&request)[..], &request].concat()).unwrap();
    let mut size = [0; 4];
    socket.read_exact(&mut size).unwrap();
    let mut answer = vec![0; usize::try_from(i32::from_be_bytes(size)).unwrap()];
    socket.read_exact(&mut answer).unwrap();
    let code = 4 + 4 + 2 + topic.len() + 4 + 4;
    assert_eq!(answer[code..code + 2], [0, 0], "the broker refused it: {answer:?}");
}

/// The driver reads a header's name as UTF-8, and panics where it is none.
#[tokio::test]
async fn a_header_whose_name_is_no_text_is_left_out_and_the_rest_is_delivered() {
    let id = MessageId::generate();
    let prefix = format!("s{}.", id.as_str().rsplit('-').next().unwrap());
    let node =
        node(&shared(Kind::Kafka), &format!("prefix={prefix}&partitions=1&connect_timeout=60s&timeout=60s"))
            .await;
    let orders = event(&node, "orders").await;
    let topic = format!("{prefix}orders");
    let headers: [(&[u8], &[u8]); 2] = [(b"\xff\xfe", b"1"), (b"trace", b"2")];
    let written = batch(b"hi", &headers);
    tokio::task::spawn_blocking(move || produce(&topic, &written)).await.unwrap();
    node.publish(&orders, vec![message("after")]).await.pop().unwrap().unwrap();
    let request = ReadRequest { start: Start::Beginning, limit: 10, max_bytes: 1 << 20 };
    let found = node.read(&name("orders"), request).await.unwrap().messages;
    let payloads: Vec<_> = found.iter().map(|(_, message)| &message.payload[..]).collect();
    assert_eq!(payloads, [&b"hi"[..], b"after"]);
    assert_eq!(found[0].1.metadata, [("trace".to_owned(), "2".to_owned())].into());
    node.unregister(&orders).await.unwrap();
    node.close().await.unwrap();
}
