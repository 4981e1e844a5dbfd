//! What the tests of Kafka share.
#![allow(dead_code, reason = "not every test needs all of it")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use std::{sync::Arc, time::Duration};

use busgate_core::{
    Delivery, EventConfig, EventName, Item, Message, MessageId, Result, Settled, Start, SubscribeOptions,
    Subscription, Transport,
};
use busgate_transports_kafka::{KafkaConfig, KafkaTransport};
use futures_util::StreamExt;
use rdkafka::{
    ClientConfig,
    admin::{AdminClient, AdminOptions},
    client::DefaultClientContext,
};
use tokio::time::{sleep, timeout};

/// How long something that must come may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A node over the broker at `url`, with these options.
pub(crate) async fn node(url: &str, options: &str) -> Arc<KafkaTransport> {
    let config: KafkaConfig = format!("{url}?{options}").parse().unwrap();
    KafkaTransport::connect(config).await.unwrap()
}

pub(crate) fn name(name: &str) -> EventName {
    EventName::new(name).unwrap()
}

/// A registered event; a broker that has just started takes it in a moment.
pub(crate) async fn event(node: &KafkaTransport, of: &str) -> EventName {
    let event = name(of);
    let registered = async {
        while let Err(error) = node.register(&event, &EventConfig::default()).await {
            assert!(error.kind().is_transient(), "{error:?}");
            sleep(Duration::from_millis(100)).await;
        }
    };
    timeout(PATIENCE, registered).await.expect("the broker takes events");
    event
}

pub(crate) fn message(id: &str) -> Message {
    let mut message = Message::new(MessageId::new(id).unwrap(), id.as_bytes().to_vec());
    message.source = "test".into();
    message
}

pub(crate) async fn publish(node: &KafkaTransport, event: &EventName, id: &str) -> Result<()> {
    node.publish(event, vec![message(id)]).await.pop().unwrap().map(drop)
}

/// Publishes until it is taken, under the same id: as a client does.
pub(crate) async fn publish_until_taken(node: &KafkaTransport, event: &EventName, id: &str) {
    let taken = async {
        while let Err(error) = publish(node, event, id).await {
            assert!(error.kind().is_transient(), "{error:?}");
            sleep(Duration::from_millis(100)).await;
        }
    };
    timeout(PATIENCE, taken).await.expect("the broker is back");
}

pub(crate) async fn subscribe(
    node: &Arc<KafkaTransport>,
    event: &EventName,
    options: SubscribeOptions,
) -> Subscription {
    Arc::clone(node).subscribe(event, options).await.unwrap()
}

/// The next delivery.
pub(crate) async fn delivery(items: &mut Subscription) -> Delivery {
    match timeout(PATIENCE, items.next()).await.expect("a delivery in time") {
        Some(Ok(Item::Delivery(delivery))) => delivery,
        other => panic!("{other:?}"),
    }
}

/// The id of the next delivery, which is acked.
pub(crate) async fn next(items: &mut Subscription) -> String {
    let delivery = delivery(items).await;
    let id = delivery.message.id.to_string();
    assert_eq!(delivery.ack().await.unwrap(), Settled::Acked);
    id
}

/// All ids that are held.
pub(crate) async fn held(node: &KafkaTransport, event: &EventName) -> Vec<String> {
    let (mut ids, mut start) = (Vec::new(), Start::Beginning);
    loop {
        let request = busgate_core::ReadRequest { start, limit: 1000, max_bytes: 1 << 24 };
        let page = node.read(event, request).await.unwrap();
        ids.extend(page.messages.iter().map(|(_, message)| message.id.to_string()));
        if page.end {
            return ids;
        }
        start = Start::After(page.next);
    }
}

/// Deletes the topics whose names have `part` in them.
pub(crate) fn sweep(url: &str, part: &str) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let servers = url.trim_start_matches("kafka://");
    let admin: AdminClient<DefaultClientContext> =
        ClientConfig::new().set("bootstrap.servers", servers).create().unwrap();
    let metadata = admin.inner().fetch_metadata(None, PATIENCE).unwrap();
    let topics: Vec<_> =
        metadata.topics().iter().map(|topic| topic.name()).filter(|name| name.contains(part)).collect();
    if !topics.is_empty() {
        runtime.block_on(admin.delete_topics(&topics, &AdminOptions::new())).unwrap();
    }
}
