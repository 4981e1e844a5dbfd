//! Subscriptions over several events.

use std::{collections::BTreeSet, time::Duration};

use busgate_core::{AckMode, AckStatus, ErrorKind, GroupName, Start, SubscribeRequest};

use crate::stage::{
    ack, config, event, gateway, gateway_over, me, memory, next, pattern, publish, quiet, register,
    subscribe, text,
};

fn live(text: &str) -> SubscribeRequest {
    SubscribeRequest { ack: AckMode::Auto, ..SubscribeRequest::broadcast(pattern(text)) }
}

#[tokio::test(start_paused = true)]
async fn a_pattern_gets_every_event_it_stands_for() {
    let gateway = gateway().await;
    for name in ["orders.eu", "orders.us", "users"] {
        register(&gateway, name).await;
    }
    let mut session = subscribe(&gateway, live("orders.*")).await;
    for name in ["users", "orders.eu", "orders.us"] {
        publish(&gateway, name, name).await;
    }
    let mut got = BTreeSet::new();
    for _ in 0..2 {
        let outbound = next(&mut session).await;
        assert_eq!(outbound.envelope.event.as_str(), text(&outbound));
        got.insert(text(&outbound));
    }
    assert_eq!(got, BTreeSet::from(["orders.eu".to_owned(), "orders.us".to_owned()]));
    quiet(&mut session, Duration::from_secs(60)).await;
}

#[tokio::test(start_paused = true)]
async fn an_event_registered_later_joins_from_its_beginning() {
    let gateway = gateway().await;
    let mut session = subscribe(&gateway, live("orders.>")).await;
    let started = tokio::time::Instant::now();
    register(&gateway, "orders.late").await;
    publish(&gateway, "orders.late", "x").await;
    assert_eq!(text(&next(&mut session).await), "x");
    assert!(started.elapsed() < Duration::from_secs(1), "what is registered here is known at once");
}

#[tokio::test(start_paused = true)]
async fn an_event_registered_on_another_node_joins_too() {
    let transport = memory();
    let (here, there) = (gateway_over(transport.clone(), config()), gateway_over(transport, config()));
    let mut session = subscribe(&here, live(">")).await;
    quiet(&mut session, Duration::from_secs(1)).await;
    register(&there, "late").await;
    publish(&there, "late", "x").await;
    assert_eq!(text(&next(&mut session).await), "x");
}

#[tokio::test(start_paused = true)]
async fn an_unregistered_event_leaves_and_the_session_goes_on() {
    let gateway = gateway().await;
    register(&gateway, "a.one").await;
    register(&gateway, "a.two").await;
    let mut session = subscribe(&gateway, live("a.*")).await;
    gateway.unregister(&me(), &event("a.one")).await.unwrap();
    quiet(&mut session, Duration::from_secs(1)).await;
    publish(&gateway, "a.two", "x").await;
    assert_eq!(text(&next(&mut session).await), "x");
    register(&gateway, "a.one").await;
    publish(&gateway, "a.one", "y").await;
    assert_eq!(text(&next(&mut session).await), "y");
}

#[tokio::test(start_paused = true)]
async fn a_pool_over_a_pattern_leases_from_each_event() {
    let gateway = gateway().await;
    register(&gateway, "a.one").await;
    register(&gateway, "a.two").await;
    let mut session = subscribe(&gateway, SubscribeRequest::pool(pattern("a.*"), GroupName::default())).await;
    publish(&gateway, "a.one", "1").await;
    publish(&gateway, "a.two", "2").await;
    for _ in 0..2 {
        let outbound = next(&mut session).await;
        assert_eq!(ack(&gateway, &outbound).await, AckStatus::Acked);
    }
}

#[tokio::test]
async fn a_pattern_cannot_start_after_a_cursor() {
    let gateway = gateway().await;
    let cursor = publish(&gateway, "e", "x").await.cursor.unwrap();
    let request = SubscribeRequest { start: Start::After(cursor), ..live(">") };
    assert_eq!(gateway.subscribe(&me(), request).await.unwrap_err().kind(), ErrorKind::Unsupported);
}

#[tokio::test(start_paused = true)]
async fn dead_letters_are_not_part_of_everything() {
    let gateway = gateway().await;
    let mut worker = subscribe(&gateway, crate::stage::pool()).await;
    let mut all = subscribe(&gateway, live(">")).await;
    publish(&gateway, "e", "x").await;
    let outbound = next(&mut worker).await;
    let reject = busgate_core::SettleAction::Reject { reason: "no".into() };
    crate::stage::settle(&gateway, &outbound, reject).await;
    assert_eq!(text(&next(&mut all).await), "x");
    quiet(&mut all, Duration::from_secs(60)).await;
}
