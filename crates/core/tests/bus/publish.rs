//! What travels with a value, and what is refused.

use std::collections::BTreeMap;

use busgate_core::{Bus, ErrorKind, EventConfig, HARD_MAX_PAYLOAD_BYTES};

use crate::stage::{Order, Stage};

#[tokio::test(start_paused = true)]
async fn what_the_publisher_says_travels() {
    let stage = Stage::new().await;
    let publish = stage.orders.publish(&Order::new(7)).id("order-7").key("customer-3").meta("tenant", "eu");
    let publish = publish.traceparent("00-1").source("shop").content_type("application/vnd.shop+json");
    let receipt = publish.await.unwrap();
    assert_eq!((receipt.id.as_str(), receipt.duplicate), ("order-7", false));
    let (cursor, message) = stage.held("orders").await.remove(0);
    assert_eq!(receipt.cursor, Some(cursor));
    assert_eq!(message.id.as_str(), "order-7");
    assert_eq!(message.key.as_deref(), Some("customer-3"));
    assert_eq!(message.source, "shop");
    assert_eq!(message.content_type.as_deref(), Some("application/vnd.shop+json"));
    assert_eq!(
        message.metadata,
        BTreeMap::from([("tenant", "eu"), ("traceparent", "00-1")].map(|(k, v)| (k.into(), v.into())))
    );
    assert_eq!(message.payload, br#"{"id":7,"customer":"nobody"}"#[..]);
    assert!(message.timestamp.as_nanos() > 0);
}

#[tokio::test(start_paused = true)]
async fn an_id_published_again_is_a_duplicate() {
    let stage = Stage::new().await;
    let orders = stage.orders.clone().identified_by(|order| format!("order-{}", order.id));
    assert!(!orders.publish(&Order::new(1)).await.unwrap().duplicate);
    let again = orders.publish_many(&[Order::new(1), Order::new(2)]).await;
    let duplicates: Vec<_> = again.into_iter().map(|receipt| receipt.unwrap().duplicate).collect();
    assert_eq!(duplicates, [true, false]);
    assert_eq!(stage.held("orders").await.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn each_value_of_a_batch_has_its_own_answer() {
    let stage = Stage::new().await;
    // JSON has no map whose keys are pairs.
    let maps = stage.bus.event::<BTreeMap<(u8, u8), String>>("orders").unwrap();
    let bad = BTreeMap::from([((1, 2), String::new())]);
    let answers = maps.publish_many(&[BTreeMap::new(), bad.clone(), BTreeMap::new()]).await;
    assert!(answers[0].is_ok() && answers[2].is_ok());
    let error = answers[1].as_ref().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(error.message().contains("does not encode"), "{error}");
    assert_eq!(stage.held("orders").await.len(), 2);
    let none = maps.publish_many(&[bad]).await;
    assert_eq!((none.len(), none[0].is_err()), (1, true));
    assert!(maps.publish_many(&[]).await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn what_a_gateway_would_refuse_is_refused() {
    let stage = Stage::new().await;
    let large = Order::of(&"x".repeat(HARD_MAX_PAYLOAD_BYTES), 1);
    assert_eq!(stage.orders.publish(&large).await.unwrap_err().kind(), ErrorKind::TooLarge);
    let order = Order::new(1);
    for publish in [
        stage.orders.publish(&order).id(""),
        stage.orders.publish(&order).id("").key("the first mistake stays"),
        stage.orders.publish(&order).meta("", "x"),
        stage.orders.publish(&order).content_type("a\nb"),
    ] {
        assert_eq!(publish.await.unwrap_err().kind(), ErrorKind::Invalid);
    }
    let letters = stage.bus.event::<Order>("_dlq.orders").unwrap();
    assert_eq!(letters.publish(&order).await.unwrap_err().kind(), ErrorKind::Invalid);
    assert_eq!(letters.register().await.unwrap_err().kind(), ErrorKind::Invalid);
    assert!(stage.bus.event::<Order>("a b").is_err());
    let unknown = stage.bus.event::<Order>("unknown").unwrap();
    assert_eq!(unknown.publish(&order).await.unwrap_err().kind(), ErrorKind::NotFound);
    assert!(stage.held("orders").await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn the_bus_names_the_source() {
    let stage = Stage::new().await;
    let bus = Bus::builder(std::sync::Arc::clone(&stage.transport)).source("shop").build();
    bus.event::<Order>("orders").unwrap().publish(&Order::new(1)).await.unwrap();
    assert_eq!(stage.held("orders").await[0].1.source, "shop");
}

#[tokio::test(start_paused = true)]
async fn an_event_knows_what_the_transport_knows_of_it() {
    let stage = Stage::new().await;
    let events = stage.bus.event::<Order>("shipped").unwrap();
    assert!(events.info().await.unwrap().is_none());
    let config = EventConfig { retention_messages: Some(5), ..EventConfig::default() };
    events.register_with(&config).await.unwrap();
    assert_eq!(events.info().await.unwrap().unwrap().config.retention_messages, Some(5));
}
