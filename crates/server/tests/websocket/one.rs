//! One event or pattern a socket.

use std::time::Duration;

use busgate_core::{AckStatus, EventConfig};
use serde_json::json;

use super::{client::Socket, gate::Gate};

const POOL: &str = "delivery_mode=worker_pool&worker_group=w&start_from=beginning&encoding=text";

fn worker(event: &str) -> String {
    format!("/v1/events/{event}/subscribe?{POOL}")
}

#[tokio::test]
async fn a_message_has_the_frame_of_the_contract() {
    let gate = Gate::open().await;
    gate.register("orders.created").await;
    let mut socket = Socket::open(&gate, "/v1/events/orders.created/subscribe").await;
    assert_eq!(socket.subprotocol, None);
    let receipt = gate.publish("orders.created", "hello").await;
    let mut frame = socket.expect("message").await;
    let frame = frame.as_object_mut().unwrap();
    assert!(frame.remove("timestamp").unwrap().as_str().unwrap().ends_with('Z'));
    assert!(!frame.remove("ack_id").unwrap().as_str().unwrap().is_empty());
    let expected = json!({
        "type": "message", "id": receipt.id.as_str(), "source": "remote", "payload": "aGVsbG8=",
        "event": "orders.created", "cursor": receipt.cursor.unwrap().as_str(), "retry_count": 0,
    });
    assert_eq!(serde_json::Value::Object(frame.clone()), expected);
}

#[tokio::test]
async fn each_encoding_carries_the_payload() {
    let gate = Gate::open().await;
    gate.register("e").await;
    gate.publish("e", r#"{"n": 1.50}"#).await;
    for (encoding, field, value) in [
        ("base64", "payload", json!("eyJuIjogMS41MH0=")),
        ("text", "payload", json!(r#"{"n": 1.50}"#)),
        ("json", "data", json!({"n": 1.50})),
    ] {
        let path = format!("/v1/events/e/subscribe?ack=auto&start_from=beginning&encoding={encoding}");
        let frame = Socket::open(&gate, &path).await.expect("message").await;
        assert_eq!(frame[field], value, "{encoding}");
        assert_eq!(frame.get("ack_id"), None);
    }
}

#[tokio::test]
async fn a_pattern_brings_the_events_it_stands_for() {
    let gate = Gate::open().await;
    for event in ["orders.eu.created", "orders.us.created", "stock.eu.created"] {
        gate.register(event).await;
    }
    let mut socket =
        Socket::open(&gate, "/v1/events/orders.*.created/subscribe?ack=auto&encoding=text").await;
    gate.publish("stock.eu.created", "no").await;
    gate.publish("orders.eu.created", "a").await;
    assert_eq!(socket.expect("message").await["event"], "orders.eu.created");
    gate.publish("orders.us.created", "b").await;
    assert_eq!(socket.expect("message").await["event"], "orders.us.created");
}

#[tokio::test]
async fn an_ack_settles_and_is_answered_only_when_asked() {
    let gate = Gate::open().await;
    gate.register("e").await;
    gate.publish_all("e", &["a", "b"]).await;
    let mut socket = Socket::open(&gate, &worker("e")).await;
    let (first, second) = (socket.expect("message").await, socket.expect("message").await);
    socket.send(&json!({"type": "ack", "ack_id": first["ack_id"]})).await;
    let answer = socket.ask(&json!({"type": "ack", "ref": "2", "ack_id": second["ack_id"]})).await;
    let results = json!([{"ack_id": second["ack_id"], "status": "acked"}]);
    assert_eq!(answer, json!({"type": "ok", "ref": "2", "results": results}));
    assert_eq!(gate.ack(first["ack_id"].as_str().unwrap()).await, AckStatus::Stale);
    socket.silent().await;
}

#[tokio::test]
async fn a_nack_comes_back_after_its_delay() {
    let gate = Gate::open().await;
    gate.register("e").await;
    gate.publish("e", "x").await;
    let mut socket = Socket::open(&gate, &worker("e")).await;
    let first = socket.expect("message").await;
    let nack = json!({"type": "ack", "ack_id": first["ack_id"], "error": "not yet", "retry_after_ms": 30});
    socket.send(&nack).await;
    let second = socket.expect("message").await;
    assert_eq!((&second["id"], &second["retry_count"]), (&first["id"], &json!(1)));
    assert_eq!(gate.ack(first["ack_id"].as_str().unwrap()).await, AckStatus::Stale);
    assert_eq!(gate.ack(second["ack_id"].as_str().unwrap()).await, AckStatus::Acked);
}

#[tokio::test]
async fn many_acks_fit_one_frame() {
    let gate = Gate::open().await;
    gate.register("e").await;
    gate.publish_all("e", &["a", "b", "c"]).await;
    let mut socket = Socket::open(&gate, &worker("e")).await;
    let mut ack_ids = Vec::new();
    for _ in 0..3 {
        ack_ids.push(socket.expect("message").await["ack_id"].clone());
    }
    let answer = socket.ask(&json!({"type": "ack", "ref": "all", "ack_ids": ack_ids})).await;
    let statuses: Vec<_> =
        answer["results"].as_array().unwrap().iter().map(|r| r["status"].clone()).collect();
    assert_eq!(statuses, ["acked", "acked", "acked"]);
}

#[tokio::test]
async fn an_extended_lease_runs_on() {
    let gate = Gate::open().await;
    gate.register("e").await;
    gate.publish("e", "x").await;
    let path = format!("{}&ack_wait=300ms", worker("e"));
    let mut socket = Socket::open(&gate, &path).await;
    let ack_id = socket.expect("message").await["ack_id"].clone();
    let extend = json!({"type": "extend", "ref": "x", "ack_id": ack_id, "extend_ms": 60_000});
    assert_eq!(socket.ask(&extend).await["results"][0]["status"], "extended");
    tokio::time::sleep(Duration::from_millis(400)).await;
    socket.silent().await;
    assert_eq!(gate.ack(ack_id.as_str().unwrap()).await, AckStatus::Acked);
}

#[tokio::test]
async fn an_extension_and_the_ack_right_after_it_keep_their_order() {
    let gate = Gate::open().await;
    gate.register("e").await;
    gate.publish("e", "x").await;
    let mut socket = Socket::open(&gate, &worker("e")).await;
    let ack_id = socket.expect("message").await["ack_id"].clone();
    socket.send(&json!({"type": "extend", "ref": "1", "ack_id": ack_id, "extend_ms": 5000})).await;
    socket.send(&json!({"type": "ack", "ref": "2", "ack_id": ack_id})).await;
    assert_eq!(socket.next().await["results"][0]["status"], "extended");
    assert_eq!(socket.next().await["results"][0]["status"], "acked");
}

#[tokio::test]
async fn a_rejected_message_goes_to_the_dead_letters() {
    let gate = Gate::open().await;
    gate.register("e").await;
    gate.publish("e", "poison").await;
    let mut socket = Socket::open(&gate, &worker("e")).await;
    let ack_id = socket.expect("message").await["ack_id"].clone();
    let reject = json!({"type": "ack", "ref": "r", "ack_id": ack_id, "error": "poison", "terminate": true});
    assert_eq!(socket.ask(&reject).await["results"][0]["status"], "rejected");
    let path = "/v1/events/_dlq.e/subscribe?ack=auto&start_from=beginning&encoding=text";
    assert_eq!(Socket::open(&gate, path).await.payloads(1).await, ["poison"]);
}

#[tokio::test]
async fn acks_sent_right_before_the_close_are_carried_out() {
    let gate = Gate::open().await;
    gate.register("e").await;
    gate.publish("e", "x").await;
    let mut socket = Socket::open(&gate, &worker("e")).await;
    let ack_id = socket.expect("message").await["ack_id"].clone();
    socket.send(&json!({"type": "ack", "ack_id": ack_id})).await;
    socket.stream.close(None).await.unwrap();
    assert_eq!(socket.close_code().await, 1000);
    assert_eq!(gate.ack(ack_id.as_str().unwrap()).await, AckStatus::Stale);
    let mut heir = Socket::open(&gate, &worker("e")).await;
    heir.silent().await;
}

#[tokio::test]
async fn leases_of_a_holder_that_is_gone_return_at_once() {
    let gate = Gate::open().await;
    gate.register("e").await;
    gate.publish("e", "x").await;
    let mut holder = Socket::open(&gate, &worker("e")).await;
    let first = holder.expect("message").await;
    let mut heir = Socket::open(&gate, &worker("e")).await;
    drop(holder);
    let second = heir.expect("message").await;
    assert_eq!((&second["id"], &second["retry_count"]), (&first["id"], &json!(1)));
}

#[tokio::test]
async fn resuming_starts_strictly_after_the_cursor() {
    let gate = Gate::open().await;
    gate.register("e").await;
    let cursors = gate.publish_all("e", &["0", "1", "2"]).await;
    let path = format!("/v1/events/e/subscribe?ack=auto&encoding=text&start_after={}", cursors[0]);
    let mut socket = Socket::open(&gate, &path).await;
    assert_eq!(socket.payloads(2).await, ["1", "2"]);
    gate.publish("e", "3").await;
    assert_eq!(socket.payloads(1).await, ["3"]);
}

#[tokio::test]
async fn what_retention_has_passed_by_is_a_gap() {
    let gate = Gate::open().await;
    gate.register_with("e", EventConfig { retention_messages: Some(2), ..EventConfig::default() }).await;
    let cursors = gate.publish_all("e", &["0", "1", "2", "3", "4"]).await;
    let path = format!("/v1/events/e/subscribe?ack=auto&encoding=text&start_after={}", cursors[0]);
    let mut socket = Socket::open(&gate, &path).await;
    let gap = socket.expect("gap").await;
    assert_eq!(gap["missed"], 2, "{gap}");
    assert_eq!(socket.payloads(2).await, ["3", "4"]);
}

#[tokio::test]
async fn unregistering_ends_the_socket_as_closed() {
    let gate = Gate::open().await;
    gate.register("e").await;
    let mut socket = Socket::open(&gate, "/v1/events/e/subscribe").await;
    let event = busgate_core::EventName::new("e").unwrap();
    gate.gateway().unregister(&gate.caller, &event).await.unwrap();
    assert_eq!(socket.expect("error").await["code"], "closed");
    let close = socket.closed().await;
    assert_eq!(u16::from(close.code), 4410);
    assert!(close.reason.starts_with("closed:"), "{}", close.reason);
}

#[tokio::test]
async fn broadcast_reaches_every_socket_and_a_pool_only_one() {
    let gate = Gate::open().await;
    gate.register("e").await;
    let path = "/v1/events/e/subscribe?ack=auto&encoding=text";
    let (mut a, mut b) = (Socket::open(&gate, path).await, Socket::open(&gate, path).await);
    let (mut c, mut d) = (Socket::open(&gate, &worker("e")).await, Socket::open(&gate, &worker("e")).await);
    gate.publish("e", "x").await;
    assert_eq!(a.payloads(1).await, b.payloads(1).await);
    tokio::select! {
        _ = c.expect("message") => d.silent().await,
        _ = d.expect("message") => c.silent().await,
    }
}
