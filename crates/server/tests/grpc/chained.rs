//! A gateway whose transport is another gateway, whose transport is another gateway.

use busgate_client::RemoteTransport;
use busgate_core::MAX_NAME_BYTES;
use busgate_wire::proto::event::v1::{AckEntry, AckStatus, Release, SubscribeRequest};

use crate::gateway::{
    Gateway, ack_of, all_of, next, payloads, publish, register, settle, subscribe, text, worker,
};

async fn over(gateway: &Gateway) -> Gateway {
    let remote = RemoteTransport::connect(format!("http://{}", gateway.address())).await;
    Gateway::over(remote.expect("a connection")).await
}

#[tokio::test]
async fn leases_are_settled_through_gateways_one_behind_the_other() {
    let first = Gateway::start().await;
    let second = over(&first).await;
    let third = over(&second).await;
    // The longest names make the longest ack ids.
    let event = "e".repeat(MAX_NAME_BYTES);
    let mut client = third.client().await;
    register(&mut client, &event).await;
    publish(&mut client, &event, "x").await;
    let group = SubscribeRequest { worker_group: "g".repeat(MAX_NAME_BYTES), ..worker(&event) };
    let mut stream = subscribe(&mut client, group).await;
    let message = next(&mut stream).await;
    assert!(message.ack_id.len() > 2048, "{} characters", message.ack_id.len());
    let release = AckEntry { release: Release::Counted.into(), ..ack_of(&message) };
    assert_eq!(settle(&mut client, vec![release]).await, [AckStatus::Released]);
    let again = next(&mut stream).await;
    assert_eq!((again.id.as_str(), again.retry_count), (message.id.as_str(), 1));
    assert_eq!(settle(&mut client, vec![ack_of(&again)]).await, [AckStatus::Acked]);
    assert_eq!(first.gateway().stats().acked, 1, "the first one knows");
}

#[tokio::test]
async fn replay_meets_live_through_a_chain() {
    let first = Gateway::start().await;
    let second = over(&first).await;
    let mut near = first.with_event("orders").await;
    let mut far = second.client().await;
    publish(&mut near, "orders", "0").await;
    publish(&mut far, "orders", "1").await;
    let mut stream = subscribe(&mut far, all_of("orders")).await;
    assert_eq!(payloads(&mut stream, 2).await, ["0", "1"]);
    publish(&mut near, "orders", "2").await;
    let message = next(&mut stream).await;
    assert_eq!(text(&message), "2");
    let after = SubscribeRequest { start_after: message.cursor, ..all_of("orders") };
    publish(&mut near, "orders", "3").await;
    assert_eq!(payloads(&mut subscribe(&mut near, after).await, 1).await, ["3"], "a cursor means the same");
}
