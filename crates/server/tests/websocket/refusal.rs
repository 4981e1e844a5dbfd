//! What is refused before the upgrade, and what is refused on a socket.

use serde_json::json;

use super::{
    client::Socket,
    gate::{Gate, SHOP, STOCK},
};

#[tokio::test]
async fn unknown_values_are_refused_before_the_upgrade() {
    let gate = Gate::open().await;
    gate.register("e").await;
    for query in [
        "delivery_mode=everyone",
        "start_from=middle",
        "start_from=timestamp",
        "encoding=hex",
        "ack=maybe",
        "max_in_flight=-1",
        "max_in_flight=0",
        "max_in_flight=99999999999999999999",
        "colour=red",
        "start_after=%00",
        "start_after=%ff",
        "latest_only=perhaps",
        "max_age=soon",
        "worker_group=w",
        "ack=auto&ack=auto",
    ] {
        let refused = Socket::refused(&gate, &format!("/v1/events/e/subscribe?{query}"), &[]).await;
        assert_eq!(refused, (400, "invalid".into()), "{query}");
    }
    for query in ["filter=x", "format=cloudevents"] {
        let refused = Socket::refused(&gate, &format!("/v1/events/e/subscribe?{query}"), &[]).await;
        assert_eq!(refused, (501, "unsupported".into()), "{query}");
    }
    assert_eq!(Socket::refused(&gate, "/v1/ws?ack=auto", &[]).await, (400, "invalid".into()));
}

#[tokio::test]
async fn unknown_events_and_bad_names_are_refused_before_the_upgrade() {
    let gate = Gate::open().await;
    let refused = Socket::refused(&gate, "/v1/events/nobody.knows/subscribe", &[]).await;
    assert_eq!(refused, (404, "not_found".into()));
    let refused = Socket::refused(&gate, "/v1/events/a..b/subscribe", &[]).await;
    assert_eq!(refused, (400, "invalid".into()));
}

#[tokio::test]
async fn authorization_comes_before_the_upgrade() {
    let gate = Gate::with_keys().await;
    let path = "/v1/events/shop.sold/subscribe";
    assert_eq!(Socket::refused(&gate, path, &[]).await, (401, "unauthenticated".into()));
    let wrong = [("x-api-key", "nobody-has-this-key")];
    assert_eq!(Socket::refused(&gate, path, &wrong).await, (401, "unauthenticated".into()));
    assert_eq!(Socket::refused(&gate, path, &[("x-api-key", STOCK)]).await, (403, "denied".into()));
    assert_eq!(Socket::refused(&gate, "/v1/ws", &[]).await, (401, "unauthenticated".into()));
    // Allowed, and only then looked for.
    assert_eq!(Socket::refused(&gate, path, &[("x-api-key", SHOP)]).await, (404, "not_found".into()));
}

#[tokio::test]
async fn a_key_in_the_address_is_no_credential() {
    let gate = Gate::with_keys().await;
    let path = format!("/v1/ws?api_key={SHOP}");
    assert_eq!(Socket::refused(&gate, &path, &[]).await, (401, "unauthenticated".into()));
}

#[tokio::test]
async fn pages_of_other_origins_are_refused() {
    let gate = Gate::with(&[("BUSGATE_ALLOWED_ORIGINS", "https://*.example.com")], |builder| builder).await;
    let own = format!("http://{}", gate.address());
    for (origin, opened) in
        [("http://evil.example", false), (own.as_str(), true), ("https://shop.example.com", true)]
    {
        let opening = Socket::with(&gate, "/v1/ws", &[("origin", origin)]).await;
        assert_eq!(opening.as_ref().err().map(|refused| refused.0), (!opened).then_some(403), "{origin}");
    }
}

#[tokio::test]
async fn what_is_no_handshake_is_a_bad_request() {
    let gate = Gate::open().await;
    for (name, value) in [
        ("upgrade", "h2c"),
        ("connection", "close"),
        ("sec-websocket-version", "8"),
        ("sec-websocket-key", "x"),
    ] {
        assert_eq!(
            Socket::refused(&gate, "/v1/ws", &[(name, value)]).await,
            (400, "invalid".into()),
            "{name}"
        );
    }
}

#[tokio::test]
async fn an_encoding_of_json_frames_does_not_go_with_protobuf() {
    let gate = Gate::open().await;
    gate.register("e").await;
    let proto = [("sec-websocket-protocol", "busgate.v1.proto")];
    let refused = Socket::refused(&gate, "/v1/events/e/subscribe?encoding=json", &proto).await;
    assert_eq!(refused, (400, "invalid".into()));
}

#[tokio::test]
async fn what_a_key_may_not_do_is_refused_frame_by_frame() {
    let gate = Gate::with_keys().await;
    gate.register("shop.sold").await;
    let mut shop = Socket::with(&gate, "/v1/ws", &[("x-api-key", SHOP)]).await.unwrap();
    for frame in [
        json!({"type": "publish", "ref": "r", "event": "stock.x", "text": "x"}),
        json!({"type": "subscribe", "ref": "r", "event": "stock.x"}),
        json!({"type": "subscribe", "ref": "r", "event": ">"}),
    ] {
        let denied = shop.ask(&frame).await;
        assert_eq!((&denied["ref"], &denied["code"]), (&json!("r"), &json!("denied")));
    }
    let allowed = json!({"type": "publish", "ref": "r", "event": "shop.sold", "text": "x"});
    assert_eq!(shop.ask(&allowed).await["type"], "ok");
}

#[tokio::test]
async fn a_delivery_is_settled_by_its_owner_alone() {
    let gate = Gate::with_keys().await;
    gate.register("shared.work").await;
    gate.publish("shared.work", "x").await;
    let mut shop = Socket::with(&gate, "/v1/ws", &[("x-api-key", SHOP)]).await.unwrap();
    let bearer = format!("Bearer {STOCK}");
    let mut stock = Socket::with(&gate, "/v1/ws", &[("authorization", &bearer)]).await.unwrap();
    let frame =
        json!({"type": "subscribe", "ref": "s", "event": "shared.work", "delivery_mode": "worker_pool"});
    assert_eq!(shop.ask(&frame).await["type"], "ok");
    let ack_id = shop.expect("message").await["ack_id"].clone();
    let ack = json!({"type": "ack", "ref": "a", "ack_id": ack_id});
    assert_eq!(stock.ask(&ack).await["results"][0]["status"], "not_owner");
    let unasked = stock.ask(&json!({"type": "ack", "ack_id": ack_id})).await;
    assert_eq!((&unasked["type"], &unasked["code"]), (&json!("error"), &json!("denied")));
    assert_eq!(shop.ask(&ack).await["results"][0]["status"], "acked");
}

#[tokio::test]
async fn bad_frames_are_answered_with_what_is_wrong() {
    let gate = Gate::open().await;
    gate.register("e").await;
    let deep = "[".repeat(5000);
    for frame in [
        "",
        "{",
        "[]",
        "null",
        "7",
        r#"{"type":7}"#,
        r#"{"type":"dance"}"#,
        r#"{"type":"ack"}"#,
        r#"{"type":"ack","ack_id":7}"#,
        r#"{"type":"ack","ack_id":"forged"}"#,
        r#"{"type":"ack","ack_id":"x","ack_ids":["y"]}"#,
        r#"{"type":"ack","ack_id":"x","colour":"red"}"#,
        r#"{"type":"ack","ack_id":"x","retry_after_ms":1e400}"#,
        r#"{"type":"extend","ack_id":"forged","extend_ms":-1}"#,
        r#"{"type":"publish","event":"e"}"#,
        r#"{"type":"subscribe","ref":"s","event":"e"}"#,
        &deep,
    ] {
        let mut socket = Socket::open(&gate, "/v1/events/e/subscribe").await;
        socket.send_text(frame).await;
        let error = socket.expect("error").await;
        assert_eq!(error["code"], "invalid", "{}: {error}", &frame[..frame.len().min(60)]);
        assert_eq!(socket.ask(&json!({"type": "ping", "ref": "p"})).await["type"], "ok");
    }
}

#[tokio::test]
async fn a_client_of_malformed_frames_only_is_sent_away() {
    let gate = Gate::open().await;
    let mut socket = Socket::open(&gate, "/v1/ws").await;
    for _ in 0..16 {
        socket.send_text("{").await;
    }
    assert_eq!(socket.close_code().await, 4400);
}
