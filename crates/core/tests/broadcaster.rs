//! Live streams over the memory transport.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests may panic"
)]

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use busgate_core::{
    Broadcaster, ErrorKind, EventConfig, EventName, Item, Message, MessageId, Start, SubscribeOptions,
    Transport,
    broadcaster::{CLIENT_QUEUE, StreamClient, StreamEvent, Streamed},
};
use busgate_transports_memory::{MemoryConfig, MemoryTransport};
use futures_util::StreamExt;
use serde_json::{Value, json};
use tokio::{runtime::Handle, time::sleep};

fn stage() -> (Arc<dyn Transport>, Broadcaster) {
    let transport: Arc<dyn Transport> = MemoryTransport::new(MemoryConfig::default());
    let broadcaster = Broadcaster::new(Arc::clone(&transport));
    (transport, broadcaster)
}

async fn event(client: &mut StreamClient) -> Arc<StreamEvent> {
    match client.next().await {
        Some(Streamed::Event(event)) => event,
        other => panic!("an event, not {other:?}"),
    }
}

/// Lets everything come to rest.
async fn rest() {
    sleep(Duration::from_millis(10)).await;
}

#[tokio::test(start_paused = true)]
async fn a_broadcast_reaches_the_clients_of_its_stream() {
    let (_, broadcaster) = stage();
    let mut here =
        [broadcaster.subscribe("orders").await.unwrap(), broadcaster.subscribe("orders").await.unwrap()];
    let mut elsewhere = broadcaster.subscribe("system").await.unwrap();
    let receipt =
        broadcaster.broadcast("orders", "order_created", "New order", json!({"id": 7})).await.unwrap();
    for client in &mut here {
        let event = event(client).await;
        assert_eq!(event.id, receipt.id.as_str());
        assert_eq!((event.kind.as_str(), event.message.as_str()), ("order_created", "New order"));
        assert_eq!((event.stream_id.as_str(), &event.data), ("orders", &json!({"id": 7})));
    }
    broadcaster.broadcast("system", "metric_update", "", ()).await.unwrap();
    assert_eq!(event(&mut elsewhere).await.kind, "metric_update");
}

#[tokio::test(start_paused = true)]
async fn a_broadcast_is_an_ordinary_message_of_its_event() {
    let (transport, broadcaster) = stage();
    let event = EventName::new("live.orders").unwrap();
    assert_eq!(broadcaster.event("orders").unwrap(), event);
    transport.register(&event, &EventConfig::default()).await.unwrap();
    let options = SubscribeOptions::broadcast(Start::Latest);
    let mut other_door = Arc::clone(&transport).subscribe(&event, options).await.unwrap();
    broadcaster.broadcast("orders", "order_created", "New order", ()).await.unwrap();
    let Some(Ok(Item::Delivery(delivery))) = other_door.next().await else { panic!("a delivery") };
    let message = &delivery.message;
    let json: BTreeMap<String, Value> = serde_json::from_slice(&message.payload).unwrap();
    assert_eq!(json.keys().collect::<Vec<_>>(), ["id", "message", "stream_id", "timestamp", "type"]);
    assert_eq!(json["id"], message.id.as_str());
    assert_eq!(json["timestamp"], message.timestamp.as_millis() / 1000);
    assert_eq!(message.content_type.as_deref(), Some("application/json"));
}

#[tokio::test(start_paused = true)]
async fn what_others_publish_to_the_event_reaches_the_clients() {
    let (transport, broadcaster) = stage();
    let mut client = broadcaster.subscribe("orders").await.unwrap();
    let event_name = broadcaster.event("orders").unwrap();
    for payload in [&b"{\"order\": 1}"[..], b"plain \xff"] {
        let message = Message::new(MessageId::generate(), payload);
        transport.publish(&event_name, vec![message]).await.pop().unwrap().unwrap();
    }
    let (json, text) = (event(&mut client).await, event(&mut client).await);
    assert_eq!((json.kind.as_str(), &json.data), ("message", &json!({"order": 1})));
    assert_eq!((text.data.as_str(), text.stream_id.as_str()), (Some("plain \u{fffd}"), "orders"));
}

#[tokio::test(start_paused = true)]
async fn broadcast_to_all_reaches_every_stream_on_every_node() {
    let (transport, broadcaster) = stage();
    let other_node = Broadcaster::new(Arc::clone(&transport));
    let mut here = broadcaster.subscribe("orders").await.unwrap();
    let mut there = other_node.subscribe("system").await.unwrap();
    let outside = EventName::new("lively").unwrap();
    transport.register(&outside, &EventConfig::default()).await.unwrap();
    let answers = broadcaster.broadcast_to_all("system_alert", "High CPU", [("percent", 95)]).await.unwrap();
    assert_eq!(answers.keys().collect::<Vec<_>>(), ["orders", "system"]);
    assert!(answers.values().all(Result::is_ok));
    let (one, other) = (event(&mut here).await, event(&mut there).await);
    assert_eq!(one.id, other.id);
    assert_eq!((one.stream_id.as_str(), other.stream_id.as_str()), ("orders", "system"));
}

#[tokio::test(start_paused = true)]
async fn a_slow_client_misses_the_oldest_and_is_told() {
    let (_, broadcaster) = stage();
    let mut slow = broadcaster.subscribe("orders").await.unwrap();
    let mut fast = broadcaster.subscribe("orders").await.unwrap();
    let sent = 3 * CLIENT_QUEUE;
    for number in 0..sent {
        broadcaster.broadcast("orders", "tick", "", number).await.unwrap();
        assert_eq!(event(&mut fast).await.data, json!(number));
    }
    let Some(Streamed::Missed(Some(missed))) = slow.next().await else { panic!("a notice") };
    let missed = usize::try_from(missed).unwrap();
    assert!(missed > 0 && missed <= sent - CLIENT_QUEUE, "{missed}");
    for number in missed..sent {
        assert_eq!(event(&mut slow).await.data, json!(number));
    }
}

#[tokio::test(start_paused = true)]
async fn who_listens_is_counted_and_listed() {
    let (_, broadcaster) = stage();
    assert!(!broadcaster.is_stream_active("orders"));
    let first = broadcaster.subscribe("orders").await.unwrap();
    let second = broadcaster.subscribe("orders").await.unwrap();
    let third = broadcaster.subscribe("system").await.unwrap();
    let streams = BTreeMap::from([(String::from("orders"), 2), (String::from("system"), 1)]);
    assert_eq!(broadcaster.active_streams(), streams);
    assert_eq!((broadcaster.total_clients(), broadcaster.stream_count()), (3, 2));
    let ids: Vec<_> = broadcaster.stream_clients("orders").into_iter().map(|client| client.id).collect();
    assert_eq!(ids, [first.id(), second.id()]);
    drop((first, third));
    assert_eq!((broadcaster.total_clients(), broadcaster.stream_count()), (1, 1));
    assert!(broadcaster.is_stream_active("orders") && !broadcaster.is_stream_active("system"));
    assert!(broadcaster.stream_clients("system").is_empty());
}

#[tokio::test(start_paused = true)]
async fn unsubscribe_ends_a_client_alone() {
    let (_, broadcaster) = stage();
    let mut first = broadcaster.subscribe("orders").await.unwrap();
    let mut second = broadcaster.subscribe("orders").await.unwrap();
    assert!(broadcaster.unsubscribe(first.id()));
    assert!(!broadcaster.unsubscribe(first.id()));
    assert_eq!(first.next().await, None);
    broadcaster.broadcast("orders", "tick", "", ()).await.unwrap();
    assert_eq!(event(&mut second).await.kind, "tick");
}

#[tokio::test(start_paused = true)]
async fn a_stream_without_clients_is_not_read() {
    let (_, broadcaster) = stage();
    rest().await;
    let before = Handle::current().metrics().num_alive_tasks();
    let clients =
        [broadcaster.subscribe("orders").await.unwrap(), broadcaster.subscribe("orders").await.unwrap()];
    assert_eq!(Handle::current().metrics().num_alive_tasks(), before + 1);
    drop(clients);
    rest().await;
    assert_eq!(Handle::current().metrics().num_alive_tasks(), before);
    // And it is read again for the next client.
    let mut client = broadcaster.subscribe("orders").await.unwrap();
    broadcaster.broadcast("orders", "tick", "", ()).await.unwrap();
    assert_eq!(event(&mut client).await.kind, "tick");
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_ends_ends_its_clients() {
    let (transport, broadcaster) = stage();
    let mut client = broadcaster.subscribe("orders").await.unwrap();
    broadcaster.broadcast("orders", "tick", "", ()).await.unwrap();
    rest().await;
    transport.unregister(&broadcaster.event("orders").unwrap()).await.unwrap();
    rest().await;
    assert_eq!(broadcaster.total_clients(), 0);
    assert_eq!(event(&mut client).await.kind, "tick");
    assert_eq!(client.next().await, None);
    let mut client = broadcaster.subscribe("orders").await.unwrap();
    broadcaster.broadcast("orders", "again", "", ()).await.unwrap();
    assert_eq!(event(&mut client).await.kind, "again");
}

#[tokio::test(start_paused = true)]
async fn close_ends_all_clients() {
    let (transport, broadcaster) = stage();
    let mut client = broadcaster.subscribe("orders").await.unwrap();
    broadcaster.close().await;
    assert_eq!(client.next().await, None);
    assert_eq!(broadcaster.total_clients(), 0);
    assert_eq!(broadcaster.subscribe("orders").await.unwrap_err().kind(), ErrorKind::Unavailable);
    assert_eq!(transport.events().await.unwrap().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_can_not_be_broadcast_is_refused() {
    let (_, broadcaster) = stage();
    let unspeakable = BTreeMap::from([((1, 2), 3)]);
    for error in [
        broadcaster.subscribe("a b").await.unwrap_err(),
        broadcaster.broadcast("", "tick", "", ()).await.unwrap_err(),
        broadcaster.broadcast("orders", "", "", ()).await.unwrap_err(),
        broadcaster.broadcast("orders", "tick", "", unspeakable).await.unwrap_err(),
        broadcaster.broadcast_to_all("", "", ()).await.unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
    }
}
