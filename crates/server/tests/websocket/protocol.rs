//! RFC 6455 on the wire: what a client may send, and what ends the socket.

use bytes::Bytes;
use serde_json::{Value, json};
use tokio::{io::AsyncWriteExt, time::timeout};
use tokio_tungstenite::tungstenite::{
    Message,
    protocol::{CloseFrame, frame::coding::CloseCode},
};

use super::{
    client::{PATIENCE, Raw, Socket, framed},
    gate::Gate,
};

const PING: &[u8] = br#"{"type":"ping","ref":"p"}"#;

async fn next_json(raw: &mut Raw) -> Value {
    let (opcode, payload) = raw.next().await.unwrap();
    assert_eq!(opcode, 1);
    serde_json::from_slice(&payload).unwrap()
}

#[tokio::test]
async fn fragments_with_a_ping_in_between_are_one_frame() {
    let gate = Gate::open().await;
    let mut raw = Raw::open(&gate, "/v1/ws").await;
    let (head, tail) = PING.split_at(7);
    raw.send(&framed(0x01, head)).await;
    raw.send(&framed(0x89, b"still there?")).await;
    assert_eq!(raw.next().await, Some((10, Bytes::from_static(b"still there?"))));
    raw.send(&framed(0x80, tail)).await;
    assert_eq!(next_json(&mut raw).await, json!({"type": "ok", "ref": "p"}));
}

#[tokio::test]
async fn frames_may_come_byte_by_byte_and_many_at_once() {
    let gate = Gate::open().await;
    let mut raw = Raw::open(&gate, "/v1/ws").await;
    for byte in framed(0x81, PING) {
        raw.send(&[byte]).await;
        tokio::task::yield_now().await;
    }
    assert_eq!(next_json(&mut raw).await["type"], "ok");
    raw.send(&framed(0x81, PING).repeat(100)).await;
    for _ in 0..100 {
        assert_eq!(next_json(&mut raw).await["type"], "ok");
    }
}

#[tokio::test]
async fn what_came_with_the_handshake_is_not_lost() {
    let gate = Gate::open().await;
    let mut raw = Raw::open_with(&gate, "/v1/ws", &framed(0x81, PING)).await;
    assert_eq!(next_json(&mut raw).await["type"], "ok");
}

#[tokio::test]
async fn a_violation_closes_with_the_code_of_the_rfc() {
    let gate = Gate::open().await;
    for (name, bytes, code) in [
        ("unmasked", vec![0x81, 0x02, b'{', b'}'], 1002),
        ("reserved bits", framed(0xf1, PING), 1002),
        ("reserved opcode", framed(0x83, PING), 1002),
        ("continuation of nothing", framed(0x80, PING), 1002),
        ("fragmented ping", framed(0x09, b""), 1002),
        ("long ping", framed(0x89, &[0; 126]), 1002),
        ("text that is none", framed(0x81, b"{\"type\":\"\xff\"}"), 1007),
        ("close code 1005", framed(0x88, &1005_u16.to_be_bytes()), 1002),
    ] {
        let mut raw = Raw::open(&gate, "/v1/ws").await;
        raw.send(&bytes).await;
        assert_eq!(raw.close_code().await, code, "{name}");
    }
}

#[tokio::test]
async fn a_frame_over_the_limit_closes_as_too_large() {
    let gate = Gate::open().await;
    let mut raw = Raw::open(&gate, "/v1/ws").await;
    // The header alone says it.
    raw.send(&[0x81, 0xff, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0]).await;
    assert_eq!(raw.close_code().await, 1009);
    // A client that is still sending gets to read it as well.
    let raw = Raw::open(&gate, "/v1/ws").await;
    let (mut reader, mut writer) = raw.into_halves();
    let sending = async move {
        // It breaks off, or not: the close is what counts.
        _ = timeout(PATIENCE, writer.write_all(&framed(0x81, &vec![b' '; 32 << 20]))).await;
        writer
    };
    let (code, _writer) = tokio::join!(reader.close_code(), sending);
    assert_eq!(code, 1009);
}

#[tokio::test]
async fn the_largest_payload_fits_a_frame() {
    let gate = Gate::open().await;
    gate.register("e").await;
    let mut socket = Socket::open(&gate, "/v1/ws").await;
    let text = "x".repeat(1 << 20);
    let answer = socket.ask(&json!({"type": "publish", "ref": "1", "event": "e", "text": text})).await;
    assert_eq!(answer["type"], "ok", "{answer}");
    let over = json!({"type": "publish", "ref": "2", "event": "e", "text": format!("{text}x")});
    assert_eq!(socket.ask(&over).await["code"], "too_large");
    let mut reader = Socket::open(&gate, "/v1/events/e/subscribe?start_from=beginning&encoding=text").await;
    assert_eq!(reader.payloads(1).await, [text]);
}

#[tokio::test]
async fn a_close_is_answered_with_its_code() {
    let gate = Gate::open().await;
    for code in [1000, 4321] {
        let mut socket = Socket::open(&gate, "/v1/ws").await;
        let close = CloseFrame { code: CloseCode::from(code), reason: "bye".into() };
        socket.stream.close(Some(close)).await.unwrap();
        assert_eq!(socket.close_code().await, code);
    }
    let mut raw = Raw::open(&gate, "/v1/ws").await;
    raw.send(&framed(0x88, b"")).await;
    assert_eq!(raw.close_code().await, 1000);
}

#[tokio::test]
async fn binary_messages_on_a_json_socket_are_answered_as_malformed() {
    let gate = Gate::open().await;
    let mut socket = Socket::open(&gate, "/v1/ws").await;
    socket.send_message(Message::binary(vec![1, 2, 3])).await;
    assert_eq!(socket.expect("error").await["code"], "invalid");
}

/// RFC 7692: what is taken is said, long messages come compressed, short ones as they are.
#[tokio::test]
async fn messages_are_deflated_for_a_client_that_offers_it() {
    let gate = Gate::open().await;
    gate.register("e").await;
    let path = "/v1/events/e/subscribe?encoding=text&ack=auto";
    let (mut raw, head) = Raw::open_offering(&gate, path, "permessage-deflate; client_max_window_bits").await;
    let taken = "sec-websocket-extensions: permessage-deflate; server_no_context_takeover; client_no_context_takeover";
    assert!(head.contains(taken), "{head}");
    gate.publish("e", "short").await;
    let (first, _) = raw.next_whole().await.unwrap();
    assert_eq!(first, 0x81);
    gate.publish("e", "a long text that repeats itself, ".repeat(100)).await;
    let (first, payload) = raw.next_whole().await.unwrap();
    assert_eq!(first, 0xc1);
    assert!(payload.len() < 600, "{} bytes", payload.len());
}

#[tokio::test]
async fn a_message_may_come_deflated_once_that_is_agreed() {
    let gate = Gate::open().await;
    // `{"type":"ping","ref":"p"}` in one stored block (RFC 1951, section 3.2.4), and the flush less its end.
    let length = u16::try_from(PING.len()).unwrap();
    let stored = [&[0][..], &length.to_le_bytes(), &(!length).to_le_bytes(), PING, &[0]].concat();
    let (mut raw, _) = Raw::open_offering(&gate, "/v1/ws", "permessage-deflate").await;
    raw.send(&framed(0xc1, &stored)).await;
    assert_eq!(next_json(&mut raw).await, json!({"type": "ok", "ref": "p"}));
    let (mut raw, head) = Raw::open_offering(&gate, "/v1/ws", "x-something-else").await;
    assert!(!head.contains("extensions"), "{head}");
    raw.send(&framed(0xc1, &stored)).await;
    assert_eq!(raw.close_code().await, 1002);
}

#[tokio::test]
async fn a_bomb_closes_as_too_large() {
    let gate = Gate::open().await;
    let (mut raw, _) = Raw::open_offering(&gate, "/v1/ws", "permessage-deflate").await;
    let mut bomb = Vec::with_capacity(64 * 1024);
    let zeros = vec![0; 16 * 1024 * 1024];
    flate2::Compress::new(flate2::Compression::best(), false)
        .compress_vec(&zeros, &mut bomb, flate2::FlushCompress::Finish)
        .unwrap();
    assert!(bomb.len() < 20_000);
    raw.send(&framed(0xc1, &bomb)).await;
    assert_eq!(raw.close_code().await, 1009);
}
