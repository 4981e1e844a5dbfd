//! What is refused before anything happens.

use std::sync::Arc;

use busgate_core::{
    AckMode, DenyAll, ErrorKind, Gateway, GatewayConfig, GroupName, Operation, Rule, Rules, SettleAction,
    SettleRequest, Start, SubscribeRequest, SystemClock, Timestamp,
};

use crate::stage::{
    broadcast, config, draft, event, gateway, gateway_over, gateway_with, me, memory, next, pattern, pool,
    publish, register, subscribe,
};

#[tokio::test]
async fn everything_is_denied_unless_allowed() {
    let gateway = Gateway::new(memory(), Arc::new(DenyAll), SystemClock::shared(), config());
    let denied = ErrorKind::Denied;
    let name = event("e");
    assert_eq!(gateway.register(&me(), &name, &Default::default()).await.unwrap_err().kind(), denied);
    assert_eq!(gateway.unregister(&me(), &name).await.unwrap_err().kind(), denied);
    assert_eq!(gateway.publish_one(&me(), &name, draft("x")).await.unwrap_err().kind(), denied);
    assert_eq!(gateway.subscribe(&me(), broadcast()).await.unwrap_err().kind(), denied);
    assert_eq!(gateway.describe(&me(), &name).await.unwrap_err().kind(), denied);
    assert!(gateway.events(&me()).await.unwrap().is_empty());
}

#[tokio::test]
async fn acks_are_authorized_like_every_other_verb() {
    let mut rules = Rules::new();
    let all = |operations| Rule { operations, events: pattern("e") };
    rules.allow("reader", all(vec![Operation::Subscribe]));
    rules.allow("owner", all(Operation::ALL.to_vec()));
    let gateway = Gateway::new(memory(), Arc::new(rules), SystemClock::shared(), config());
    let owner = busgate_core::Caller::principal("owner");
    let reader = busgate_core::Caller::principal("reader");
    gateway.register(&owner, &event("e"), &Default::default()).await.unwrap();
    gateway.publish_one(&owner, &event("e"), draft("x")).await.unwrap();
    let mut session = gateway.subscribe(&reader, pool()).await.unwrap();
    let ack_id = next(&mut session).await.ack_id.unwrap();
    let entry = SettleRequest { ack_id, action: SettleAction::Ack };
    assert_eq!(gateway.settle(&reader, vec![entry]).await.unwrap_err().kind(), ErrorKind::Denied);
}

#[tokio::test]
async fn the_gateways_own_names_cannot_be_published_or_registered() {
    let gateway = gateway().await;
    let own = event("_dlq.e");
    assert_eq!(gateway.publish_one(&me(), &own, draft("x")).await.unwrap_err().kind(), ErrorKind::Invalid);
    assert_eq!(
        gateway.register(&me(), &own, &Default::default()).await.unwrap_err().kind(),
        ErrorKind::Invalid
    );
    assert_eq!(gateway.unregister(&me(), &own).await.unwrap_err().kind(), ErrorKind::Invalid);
}

#[tokio::test]
async fn an_unregistered_event_is_not_found() {
    let gateway = gateway().await;
    let other = event("other");
    assert_eq!(gateway.publish_one(&me(), &other, draft("x")).await.unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(gateway.describe(&me(), &other).await.unwrap_err().kind(), ErrorKind::NotFound);
    let request = SubscribeRequest::broadcast(pattern("other"));
    assert_eq!(gateway.subscribe(&me(), request).await.unwrap_err().kind(), ErrorKind::NotFound);
    let request = SubscribeRequest::pool(pattern("other"), GroupName::default());
    assert_eq!(gateway.subscribe(&me(), request).await.unwrap_err().kind(), ErrorKind::NotFound);
}

#[tokio::test]
async fn auto_register_makes_what_is_asked_for() {
    let gateway = gateway_over(memory(), GatewayConfig { auto_register: true, ..config() });
    publish(&gateway, "fresh", "x").await;
    subscribe(&gateway, SubscribeRequest::broadcast(pattern("fresher"))).await;
    let names: Vec<_> = gateway.events(&me()).await.unwrap().into_iter().map(|info| info.name).collect();
    assert_eq!(names, [event("fresh"), event("fresher")]);
}

#[tokio::test]
async fn one_bad_entry_of_a_batch_leaves_the_others_alone() {
    let gateway = gateway().await;
    let mut long = draft("x");
    long.key = Some("k".repeat(5000));
    let answers = gateway.publish(&me(), &event("e"), vec![draft("a"), long, draft("b")]).await.unwrap();
    assert!(answers[0].is_ok());
    assert_eq!(answers[1].as_ref().unwrap_err().kind(), ErrorKind::TooLarge);
    assert!(answers[2].is_ok());
    assert_eq!(gateway.stats().published, 2);
}

#[tokio::test]
async fn options_that_contradict_each_other_are_refused() {
    let gateway = gateway().await;
    let refused = |request| {
        let gateway = gateway.clone();
        async move { gateway.subscribe(&me(), request).await.unwrap_err().kind() }
    };
    assert_eq!(refused(SubscribeRequest { latest_only: true, ..pool() }).await, ErrorKind::Unsupported);
    assert_eq!(refused(SubscribeRequest { max_in_flight: Some(0), ..broadcast() }).await, ErrorKind::Invalid);
    assert_eq!(refused(SubscribeRequest { buffer: Some(0), ..broadcast() }).await, ErrorKind::Invalid);
    assert_eq!(refused(SubscribeRequest { max_deliver: Some(0), ..pool() }).await, ErrorKind::Invalid);
    let foreign = busgate_core::Cursor::new("not.ours").unwrap();
    assert_eq!(
        refused(SubscribeRequest { start: Start::After(foreign), ..broadcast() }).await,
        ErrorKind::Invalid
    );
}

#[tokio::test]
async fn sessions_are_bounded() {
    let gateway = gateway_with(GatewayConfig { max_sessions: 1, ..config() }).await;
    let first = subscribe(&gateway, broadcast()).await;
    let error = gateway.subscribe(&me(), broadcast()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Exhausted);
    assert!(error.retry_after().is_some());
    drop(first);
    subscribe(&gateway, broadcast()).await;
}

#[tokio::test]
async fn a_message_without_an_owner_is_remote_and_has_an_id() {
    let gateway = gateway().await;
    let mut session = subscribe(&gateway, SubscribeRequest { ack: AckMode::Auto, ..broadcast() }).await;
    let receipt = publish(&gateway, "e", "x").await;
    let message = next(&mut session).await.envelope.message.clone();
    assert_eq!(message.source, "remote");
    assert_eq!(message.id, receipt.id);
    assert!(message.timestamp > Timestamp::default());
}

#[tokio::test]
async fn events_are_listed_by_name() {
    let gateway = gateway().await;
    register(&gateway, "a").await;
    let names: Vec<_> = gateway.events(&me()).await.unwrap().into_iter().map(|info| info.name).collect();
    assert_eq!(names, [event("a"), event("e")]);
}
