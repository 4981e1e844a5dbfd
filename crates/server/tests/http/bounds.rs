//! What nobody may exceed.

use std::time::Duration;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::{client::PATIENCE, gate::Gate};

const MESSAGES: &str = "/v1/events/a/messages";

#[tokio::test]
async fn the_limit_passes_and_one_byte_more_does_not() {
    let gate = Gate::with("[limits]\nmax_payload_bytes = 1000").await;
    gate.register("a").await;
    let raw =
        |size: usize| gate.call("POST", MESSAGES).header("content-type", "text/plain").body(vec![b'x'; size]);
    raw(1000).send().await.expect(200);
    raw(1001).send().await.expect_problem(413, "too_large");
    gate.post(MESSAGES, &format!("{{\"text\":\"{}\"}}", "x".repeat(1000))).await.expect(200);
    gate.post(MESSAGES, &format!("{{\"text\":\"{}\"}}", "x".repeat(1001)))
        .await
        .expect_problem(413, "too_large");
    // Escapes make the body six times as large as the text.
    gate.post(MESSAGES, &format!("{{\"text\":\"{}\"}}", "\\u0001".repeat(1000))).await.expect(200);
    let huge = format!("{{\"text\":\"{}\"}}", "x".repeat(2_000_000));
    gate.post(MESSAGES, &huge).await.expect_problem(413, "too_large");
}

#[tokio::test]
async fn bodies_metadata_and_batches_are_bounded() {
    let gate = Gate::with("[limits]\nmax_batch = 2\nmax_body_bytes = 1024").await;
    gate.register("a").await;
    let batch = r#"{"messages":[{},{},{}]}"#;
    gate.post("/v1/events/a/messages:batch", batch).await.expect_problem(413, "too_large");
    let long = format!("{{\"messages\":[{{\"text\":\"{}\"}}]}}", "x".repeat(2000));
    gate.post("/v1/events/a/messages:batch", &long).await.expect_problem(413, "too_large");
    let acks = r#"{"entries":[{"ack_id":"a"},{"ack_id":"b"},{"ack_id":"c"}]}"#;
    gate.post("/v1/ack", acks).await.expect_problem(413, "too_large");
    let mut many = gate.call("POST", MESSAGES).header("content-type", "text/plain");
    for number in 0..65 {
        many = many.header(&format!("x-meta-{number}"), "v");
    }
    many.send().await.expect_problem(413, "too_large");
}

#[tokio::test]
async fn connections_beyond_the_bound_are_told_to_come_back() {
    let gate = Gate::with("[limits]\nmax_connections = 2").await;
    let first = TcpStream::connect(gate.address()).await.unwrap();
    let _second = TcpStream::connect(gate.address()).await.unwrap();
    // The acceptor takes them one after the other, so the third is the one too many.
    let refused = gate.get("/healthz").await;
    refused.expect_problem(429, "exhausted");
    assert_eq!(refused.header("retry-after"), "1");
    drop(first);
    let freed = async {
        while gate.get("/healthz").await.status != 200 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, freed).await.expect("a place is free again");
}

#[tokio::test]
async fn one_address_has_a_bound_of_its_own() {
    let gate = Gate::with("[limits]\nmax_connections_per_ip = 1").await;
    let _first = TcpStream::connect(gate.address()).await.unwrap();
    gate.get("/healthz").await.expect_problem(429, "exhausted");
}

#[tokio::test]
async fn a_head_that_does_not_come_ends_its_connection() {
    let gate = Gate::with("[limits]\nheader_timeout = \"100ms\"").await;
    for begun in [&b""[..], b"P", b"GET /v1/ev", b"GET / HTTP/1.1\r\nhost: x\r\nx-slow"] {
        let mut socket = TcpStream::connect(gate.address()).await.unwrap();
        socket.write_all(begun).await.unwrap();
        let mut answer = Vec::new();
        let read = tokio::time::timeout(PATIENCE, socket.read_to_end(&mut answer)).await;
        assert!(read.is_ok(), "{:?} is still open", String::from_utf8_lossy(begun));
    }
}

/// A live subscriber that never reads is slow, whatever its socket still takes: it must not keep its place for ever.
#[tokio::test]
async fn a_client_that_reads_nothing_loses_its_connection() {
    let gate = Gate::with("[limits]\nwrite_timeout = \"100ms\"").await;
    gate.register("a").await;
    let mut socket = TcpStream::connect(gate.address()).await.unwrap();
    socket.write_all(b"GET /v1/events/a/stream HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    let sessions = || gate.server.gateway().stats().sessions;
    let ended = async {
        while sessions() == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let payload = "x".repeat(700_000);
        while sessions() > 0 {
            gate.post(MESSAGES, &format!(r#"{{"text":"{payload}"}}"#)).await.expect(200);
        }
    };
    tokio::time::timeout(PATIENCE, ended).await.expect("its session ends");
}

#[tokio::test]
async fn a_body_that_does_not_come_is_a_timeout() {
    let gate = Gate::with("[limits]\nbody_timeout = \"100ms\"").await;
    gate.register("a").await;
    let mut socket = TcpStream::connect(gate.address()).await.unwrap();
    socket
        .write_all(b"POST /v1/events/a/messages HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\nabc")
        .await
        .unwrap();
    let mut answer = vec![0; 12];
    tokio::time::timeout(PATIENCE, socket.read_exact(&mut answer)).await.expect("an answer").unwrap();
    assert_eq!(answer, b"HTTP/1.1 504");
}

#[tokio::test]
async fn publishing_too_fast_is_answered_with_when_to_come_back() {
    let gate = Gate::with("[limits]\npublish_rate = 1\npublish_burst = 2").await;
    gate.register("a").await;
    gate.post(MESSAGES, "{}").await.expect(200);
    gate.post(MESSAGES, "{}").await.expect(200);
    let refused = gate.post(MESSAGES, "{}").await;
    refused.expect_problem(429, "exhausted");
    assert_eq!(refused.header("retry-after"), "1");
    gate.post("/v1/events/a/messages:batch", r#"{"messages":[{},{}]}"#)
        .await
        .expect_problem(429, "exhausted");
    gate.post("/v1/events/a/messages:batch", r#"{"messages":[{},{},{}]}"#)
        .await
        .expect_problem(413, "too_large");
}

#[tokio::test]
async fn subscriptions_are_bounded() {
    let gate = Gate::with("[limits]\nmax_subscriptions = 1").await;
    gate.register("a").await;
    let _first = gate.call("GET", "/v1/events/a/stream").stream().await;
    gate.get("/v1/events/a/stream").await.expect_problem(429, "exhausted");
}
