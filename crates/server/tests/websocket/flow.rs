//! Back-pressure, slow clients, heartbeats and going away.

use std::time::Duration;

use busgate_core::AckStatus;
use futures_util::StreamExt;
use serde_json::json;
use tokio::time::{Instant, sleep, timeout};
use tokio_tungstenite::tungstenite::Message;

use super::{
    client::{PATIENCE, Raw, Socket, framed},
    gate::Gate,
};

/// More than the buffers of both ends of a connection hold.
const MUCH: usize = 24;

fn big() -> String {
    "x".repeat(1 << 20)
}

#[tokio::test]
async fn a_slow_client_is_sent_away_and_told_why() {
    let gate = Gate::open().await;
    gate.register("e").await;
    let path = "/v1/events/e/subscribe?ack=auto&encoding=text&slow_policy=disconnect&buffer_size=2";
    let mut socket = Socket::open(&gate, path).await;
    for _ in 0..MUCH {
        gate.publish("e", big()).await;
        sleep(Duration::from_millis(2)).await;
    }
    let mut read = 0;
    let close = loop {
        match socket.next_message().await {
            Message::Close(close) => break close.unwrap(),
            Message::Text(text) if text.contains(r#""type":"message""#) => read += 1,
            other => assert!(other.to_string().contains("slow consumer"), "{other}"),
        }
    };
    assert_eq!(u16::from(close.code), 1008);
    assert!(read < MUCH, "the client was not slow");
}

#[tokio::test]
async fn a_slow_client_slows_no_other() {
    let gate = Gate::open().await;
    gate.register("e").await;
    let path = "/v1/events/e/subscribe?ack=auto&encoding=text&slow_policy=disconnect&buffer_size=4";
    let _stalled = Socket::open(&gate, path).await;
    let mut reader = Socket::open(&gate, path).await;
    for _ in 0..MUCH {
        gate.publish("e", big()).await;
        assert_eq!(reader.expect("message").await["payload"].as_str().unwrap().len(), 1 << 20);
    }
}

#[tokio::test]
async fn acks_are_read_while_the_client_does_not_read() {
    let gate = Gate::open().await;
    gate.register("e").await;
    for _ in 0..MUCH {
        gate.publish("e", big()).await;
    }
    let path = "/v1/events/e/subscribe?delivery_mode=worker_pool&start_from=beginning&encoding=text";
    let mut socket = Socket::open(&gate, path).await;
    let ack_id = socket.expect("message").await["ack_id"].as_str().unwrap().to_owned();
    // Time to fill everything that lies between.
    sleep(Duration::from_millis(200)).await;
    assert!(gate.gateway().stats().delivered < MUCH as u64, "the client was not slow");
    socket.send(&json!({"type": "ack", "ack_id": ack_id})).await;
    gate.until("acked", |gateway| gateway.stats().acked == 1).await;
    assert_eq!(gate.ack(&ack_id).await, AckStatus::Stale);
    for _ in 1..MUCH {
        let ack_id = socket.expect("message").await["ack_id"].clone();
        socket.send(&json!({"type": "ack", "ack_id": ack_id})).await;
    }
    gate.until("all acked", |gateway| gateway.stats().acked == MUCH as u64).await;
    assert_eq!(gate.gateway().stats().redelivered, 0);
}

#[tokio::test]
async fn a_window_holds_back_what_is_over_it() {
    let gate = Gate::open().await;
    gate.register("e").await;
    gate.publish_all("e", &["a", "b", "c"]).await;
    let path =
        "/v1/events/e/subscribe?delivery_mode=worker_pool&start_from=beginning&encoding=text&max_in_flight=2";
    let mut socket = Socket::open(&gate, path).await;
    let first = socket.expect("message").await;
    assert_eq!(socket.payloads(1).await, ["b"]);
    socket.silent().await;
    socket.send(&json!({"type": "ack", "ack_id": first["ack_id"]})).await;
    assert_eq!(socket.payloads(1).await, ["c"]);
}

#[tokio::test]
async fn a_client_that_floods_without_reading_is_not_read_from() {
    let gate = Gate::open().await;
    let mut raw = Raw::open(&gate, "/v1/ws").await;
    let pings = framed(0x89, &[7; 125]).repeat(1000);
    let mut sent = 0;
    // It comes to a stop: nothing takes the flood any more.
    while timeout(Duration::from_millis(300), raw.send(&pings)).await.is_ok() {
        sent += pings.len();
        assert!(sent < 256 << 20, "the flood is swallowed");
    }
}

#[tokio::test]
async fn an_idle_socket_shows_signs_of_life() {
    let gate = Gate::with(&[("BUSGATE_HEARTBEAT", "1s")], |builder| builder).await;
    let mut socket = Socket::open(&gate, "/v1/ws").await;
    let began = Instant::now();
    socket.expect("heartbeat").await;
    assert!(began.elapsed() >= Duration::from_secs(1));
    // It answers pings, so it stays.
    for _ in 0..3 {
        socket.expect("heartbeat").await;
    }
}

#[tokio::test]
async fn a_client_that_shows_no_sign_of_life_is_let_go() {
    let gate = Gate::with(&[("BUSGATE_HEARTBEAT", "1s")], |builder| builder).await;
    gate.register("e").await;
    let mut raw = Raw::open(&gate, "/v1/events/e/subscribe").await;
    assert_eq!(gate.gateway().stats().sessions, 1);
    let began = Instant::now();
    while raw.next().await.is_some() {}
    assert!(began.elapsed() < Duration::from_secs(5));
    gate.until("its session ends", |gateway| gateway.stats().sessions == 0).await;
}

#[tokio::test]
async fn a_drain_waits_for_acks_and_closes_as_going_away() {
    let gate = Gate::open().await;
    gate.register("e").await;
    gate.publish_all("e", &["a"]).await;
    let path = "/v1/events/e/subscribe?delivery_mode=worker_pool&start_from=beginning";
    let mut socket = Socket::open(&gate, path).await;
    let ack_id = socket.expect("message").await["ack_id"].clone();
    let drain = gate.gateway().drain(PATIENCE);
    let client = async {
        let draining = socket.expect("draining").await;
        assert!(draining["retry_after_ms"].as_u64().unwrap() >= 1000);
        let ack = json!({"type": "ack", "ref": "a", "ack_id": ack_id});
        assert_eq!(socket.ask(&ack).await["results"][0]["status"], "acked");
        assert_eq!(socket.close_code().await, 1001);
        // This side is done as well.
        drop(socket);
    };
    tokio::join!(drain, client);
    assert_eq!(Socket::refused(&gate, path, &[]).await, (503, "unavailable".into()));
    assert_eq!(Socket::refused(&gate, "/v1/ws", &[]).await, (503, "unavailable".into()));
}

#[tokio::test]
async fn every_socket_is_closed_in_good_order_by_a_shutdown() {
    let gate = Gate::open().await;
    gate.register("e").await;
    let mut one = Socket::open(&gate, "/v1/events/e/subscribe").await;
    let mut publisher = Socket::open(&gate, "/v1/ws").await;
    let mut many = Socket::open(&gate, "/v1/ws").await;
    many.ask(&json!({"type": "subscribe", "ref": "s", "event": "e"})).await;
    let clients = async {
        for socket in [&mut one, &mut publisher, &mut many] {
            socket.expect("draining").await;
            assert_eq!(socket.close_code().await, 1001);
            assert!(socket.stream.next().await.is_none_or(|end| end.is_err()));
        }
    };
    let (closed, ()) = tokio::join!(gate.server.shutdown(), clients);
    closed.unwrap();
}

#[tokio::test]
async fn a_shutdown_answers_a_socket_that_only_publishes() {
    let gate = Gate::open().await;
    gate.register("e").await;
    let mut socket = Socket::open(&gate, "/v1/ws").await;
    for n in 0..100 {
        socket
            .feed(&json!({"type": "publish", "ref": n.to_string(), "event": "e", "text": "x"}).to_string())
            .await;
    }
    socket.flush().await;
    gate.until("published", |gateway| gateway.stats().published > 0).await;
    let client = async {
        let mut answers = 0;
        let close = loop {
            match socket.next_message().await {
                Message::Close(close) => break close.unwrap(),
                Message::Text(text) if text.contains("draining\",\"retry") => {}
                Message::Text(_) => answers += 1,
                other => panic!("{other}"),
            }
        };
        assert_eq!((answers, u16::from(close.code)), (100, 1001));
    };
    let (closed, ()) = tokio::join!(gate.server.shutdown(), client);
    closed.unwrap();
}

#[tokio::test]
async fn a_socket_holds_its_place_in_the_limit_of_connections() {
    let gate = Gate::with(&[("BUSGATE_LIMITS_MAX_CONNECTIONS", "1")], |builder| builder).await;
    let first = Socket::open(&gate, "/v1/ws").await;
    assert_eq!(Socket::refused(&gate, "/v1/ws", &[]).await, (429, "exhausted".into()));
    drop(first);
    let deadline = Instant::now() + PATIENCE;
    while Socket::with(&gate, "/v1/ws", &[]).await.is_err() {
        assert!(Instant::now() < deadline, "the place is never free");
        sleep(Duration::from_millis(10)).await;
    }
}
