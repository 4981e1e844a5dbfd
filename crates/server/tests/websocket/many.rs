//! Many subscriptions, and publishing, on one socket.

use busgate_core::AckStatus;
use serde_json::{Value, json};

use super::{client::Socket, gate::Gate};

async fn subscribed(socket: &mut Socket, sub: &str, event: &str) {
    let frame = json!({"type": "subscribe", "ref": sub, "event": event, "encoding": "text", "ack": "auto"});
    assert_eq!(socket.ask(&frame).await, json!({"type": "ok", "ref": sub}));
}

fn sub_and_payload(frame: &Value) -> (&str, &str) {
    (frame["sub"].as_str().unwrap(), frame["payload"].as_str().unwrap())
}

#[tokio::test]
async fn messages_carry_their_subscription() {
    let gate = Gate::open().await;
    gate.register("a").await;
    gate.register("b").await;
    let subprotocol = [("sec-websocket-protocol", "busgate.v1.json")];
    let mut socket = Socket::with(&gate, "/v1/ws", &subprotocol).await.unwrap();
    assert_eq!(socket.subprotocol.as_deref(), Some("busgate.v1.json"));
    subscribed(&mut socket, "one", "a").await;
    subscribed(&mut socket, "two", "b").await;
    subscribed(&mut socket, "all", ">").await;
    gate.publish("a", "1").await;
    let (first, second) = (socket.expect("message").await, socket.expect("message").await);
    let mut got = [sub_and_payload(&first), sub_and_payload(&second)];
    got.sort_unstable();
    assert_eq!(got, [("all", "1"), ("one", "1")]);
    gate.publish("b", "2").await;
    let (first, second) = (socket.expect("message").await, socket.expect("message").await);
    let mut got = [sub_and_payload(&first), sub_and_payload(&second)];
    got.sort_unstable();
    assert_eq!(got, [("all", "2"), ("two", "2")]);
}

#[tokio::test]
async fn each_subscription_keeps_its_order() {
    let gate = Gate::open().await;
    gate.register("a").await;
    gate.register("b").await;
    let mut socket = Socket::open(&gate, "/v1/ws").await;
    subscribed(&mut socket, "a", "a").await;
    subscribed(&mut socket, "b", "b").await;
    for n in 0..200 {
        gate.publish(["a", "b"][n % 2], n.to_string()).await;
    }
    let mut last = [None, None];
    for _ in 0..200 {
        let frame = socket.expect("message").await;
        let (sub, payload) = sub_and_payload(&frame);
        let number: usize = payload.parse().unwrap();
        let before = last[usize::from(sub == "b")].replace(number);
        assert!(before.is_none_or(|before| before + 2 == number), "{sub}: {number} after {before:?}");
    }
}

#[tokio::test]
async fn an_ended_subscription_leaves_the_others() {
    let gate = Gate::open().await;
    gate.register("a").await;
    gate.register("b").await;
    let mut socket = Socket::open(&gate, "/v1/ws").await;
    subscribed(&mut socket, "a", "a").await;
    subscribed(&mut socket, "b", "b").await;
    let answer = socket.ask(&json!({"type": "unsubscribe", "ref": "u", "sub": "a"})).await;
    assert_eq!(answer, json!({"type": "ok", "ref": "u"}));
    gate.publish("a", "to nobody").await;
    gate.publish("b", "to b").await;
    assert_eq!(sub_and_payload(&socket.expect("message").await), ("b", "to b"));
    let answer = socket.ask(&json!({"type": "unsubscribe", "ref": "u", "sub": "a"})).await;
    assert_eq!(answer["code"], "not_found");
    subscribed(&mut socket, "a", "a").await;
    gate.publish("a", "again").await;
    assert_eq!(sub_and_payload(&socket.expect("message").await), ("a", "again"));
}

#[tokio::test]
async fn unsubscribing_hands_leases_back() {
    let gate = Gate::open().await;
    gate.register("a").await;
    gate.publish("a", "x").await;
    let mut socket = Socket::open(&gate, "/v1/ws").await;
    let subscribe =
        |sub| json!({"type": "subscribe", "ref": sub, "event": "a", "delivery_mode": "worker_pool"});
    socket.ask(&subscribe("s")).await;
    assert_eq!(socket.expect("message").await["sub"], "s");
    assert_eq!(socket.ask(&json!({"type": "unsubscribe", "ref": "u", "sub": "s"})).await["type"], "ok");
    socket.ask(&subscribe("t")).await;
    let message = socket.expect("message").await;
    assert_eq!((&message["sub"], &message["retry_count"]), (&json!("t"), &json!(1)));
}

#[tokio::test]
async fn an_unregistered_event_ends_its_subscription_alone() {
    let gate = Gate::open().await;
    gate.register("a").await;
    gate.register("b").await;
    let mut socket = Socket::open(&gate, "/v1/ws").await;
    subscribed(&mut socket, "a", "a").await;
    subscribed(&mut socket, "b", "b").await;
    let event = busgate_core::EventName::new("a").unwrap();
    gate.gateway().unregister(&gate.caller, &event).await.unwrap();
    let error = socket.expect("error").await;
    assert_eq!((&error["sub"], &error["code"]), (&json!("a"), &json!("closed")));
    gate.publish("b", "still here").await;
    assert_eq!(sub_and_payload(&socket.expect("message").await), ("b", "still here"));
}

#[tokio::test]
async fn publishing_answers_with_the_receipt() {
    let gate = Gate::open().await;
    gate.register("a").await;
    let mut socket = Socket::open(&gate, "/v1/ws").await;
    let publish =
        json!({"type": "publish", "ref": "1", "event": "a", "id": "m-1", "json": {"n": 1}, "key": "k"});
    let first = socket.ask(&publish).await;
    assert_eq!(
        (&first["ref"], &first["id"], &first["duplicate"]),
        (&json!("1"), &json!("m-1"), &json!(false))
    );
    assert!(first["cursor"].is_string());
    assert_eq!(socket.ask(&publish).await["duplicate"], true);
    let frame =
        json!({"type": "subscribe", "ref": "s", "event": "a", "start_from": "beginning", "encoding": "json"});
    socket.ask(&frame).await;
    let message = socket.expect("message").await;
    assert_eq!((&message["data"], &message["key"]), (&json!({"n": 1}), &json!("k")));
    assert_eq!(message["content_type"], "application/json");
}

#[tokio::test]
async fn pipelined_publishes_keep_their_order_and_each_has_its_answer() {
    let gate = Gate::open().await;
    gate.register("a").await;
    let mut socket = Socket::open(&gate, "/v1/ws").await;
    subscribed(&mut socket, "s", "a").await;
    for n in 0..300 {
        let event = if n % 100 == 50 { "nobody.knows" } else { "a" };
        socket
            .send(&json!({"type": "publish", "ref": n.to_string(), "event": event, "text": n.to_string()}))
            .await;
    }
    let (mut payloads, mut answered) = (Vec::new(), Vec::new());
    while payloads.len() < 297 || answered.len() < 300 {
        let frame = socket.next().await;
        match frame["type"].as_str().unwrap() {
            "message" => payloads.push(frame["payload"].as_str().unwrap().to_owned()),
            kind => answered.push((kind.to_owned(), frame["ref"].as_str().unwrap().to_owned())),
        }
    }
    let sent = (0..300).filter(|n| n % 100 != 50).map(|n| n.to_string());
    assert_eq!(payloads, sent.collect::<Vec<_>>());
    let failed: Vec<_> =
        answered.iter().filter(|(kind, _)| kind == "error").map(|(_, name)| name.clone()).collect();
    assert_eq!(failed, ["50", "150", "250"]);
}

#[tokio::test]
async fn a_publish_without_a_ref_is_answered_only_when_it_fails() {
    let gate = Gate::open().await;
    gate.register("a").await;
    let mut socket = Socket::open(&gate, "/v1/ws").await;
    socket.send(&json!({"type": "publish", "event": "a", "text": "x"})).await;
    socket.silent().await;
    let error = socket.ask(&json!({"type": "publish", "event": "nobody.knows", "text": "x"})).await;
    assert_eq!((error.get("ref"), &error["code"]), (None, &json!("not_found")));
}

#[tokio::test]
async fn one_wrong_entry_keeps_no_other_frame_from_being_settled() {
    let gate = Gate::open().await;
    gate.register("a").await;
    for n in 0..3 {
        gate.publish("a", n.to_string()).await;
    }
    let mut socket = Socket::open(&gate, "/v1/ws").await;
    socket.ask(&json!({"type": "subscribe", "ref": "s", "event": "a", "delivery_mode": "worker_pool"})).await;
    let mut ack_ids = Vec::new();
    for _ in 0..3 {
        ack_ids.push(socket.expect("message").await["ack_id"].clone());
    }
    // A week and a day: out of bounds for the whole call it is in.
    let wrong =
        json!({"type": "ack", "ref": "w", "ack_id": ack_ids[1], "error": "x", "retry_after_ms": 691_200_000});
    let frames = [
        json!({"type": "ack", "ack_id": ack_ids[0]}).to_string(),
        wrong.to_string(),
        json!({"type": "ack", "ref": "f", "ack_id": "forged"}).to_string(),
        json!({"type": "ack", "ack_id": ack_ids[2]}).to_string(),
    ];
    for frame in frames {
        socket.feed(&frame).await;
    }
    socket.flush().await;
    let mut refused =
        [socket.expect("error").await["ref"].clone(), socket.expect("error").await["ref"].clone()];
    refused.sort_by_key(Value::to_string);
    assert_eq!(refused, ["f", "w"]);
    assert_eq!(socket.ask(&json!({"type": "ping", "ref": "p"})).await["ref"], "p");
    for (ack_id, status) in ack_ids.iter().zip([AckStatus::Stale, AckStatus::Acked, AckStatus::Stale]) {
        gate.until("settled", |gateway| gateway.stats().acked >= 2).await;
        assert_eq!(gate.ack(ack_id.as_str().unwrap()).await, status);
    }
}

#[tokio::test]
async fn a_forged_ack_is_refused_whatever_comes_with_it() {
    let gate = Gate::open().await;
    gate.register("a").await;
    gate.publish("a", "x").await;
    let mut socket = Socket::open(&gate, "/v1/ws").await;
    socket.ask(&json!({"type": "subscribe", "ref": "s", "event": "a", "delivery_mode": "worker_pool"})).await;
    let ack_id = socket.expect("message").await["ack_id"].clone();
    socket.feed(&json!({"type": "ack", "ref": "1", "ack_id": ack_id}).to_string()).await;
    socket.feed(&json!({"type": "ack", "ref": "2", "ack_id": "forged"}).to_string()).await;
    socket.flush().await;
    assert_eq!(socket.expect("ok").await["results"][0]["status"], "acked");
    let error = socket.expect("error").await;
    assert_eq!(
        (&error["ref"], &error["code"], &error["ack_id"]),
        (&json!("2"), &json!("invalid"), &json!("forged"))
    );
}

#[tokio::test]
async fn over_the_publish_rate_is_exhausted_and_says_when_to_come_back() {
    let settings = [("BUSGATE_LIMITS_PUBLISH_RATE", "1"), ("BUSGATE_LIMITS_PUBLISH_BURST", "2")];
    let gate = Gate::with(&settings, |builder| builder).await;
    gate.register("a").await;
    let mut socket = Socket::open(&gate, "/v1/ws").await;
    let publish = json!({"type": "publish", "ref": "p", "event": "a", "text": "x"});
    for _ in 0..2 {
        assert_eq!(socket.ask(&publish).await["type"], "ok");
    }
    let error = socket.ask(&publish).await;
    assert_eq!(error["code"], "exhausted");
    assert!(error["retry_after_ms"].as_u64().unwrap() <= 1000);
}
