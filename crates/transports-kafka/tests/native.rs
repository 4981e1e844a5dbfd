//! What native clients of Kafka see, and what is seen of them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use std::{sync::Arc, time::Duration};

use busgate_brokers::{Kind, shared};
use busgate_core::{Clock, EventConfig, MessageId, ReadRequest, Start, SystemClock, Timestamp, Transport};
use rdkafka::{
    ClientConfig, Message as _, TopicPartitionList,
    admin::{AdminClient, AdminOptions, NewTopic, TopicReplication},
    client::DefaultClientContext,
    consumer::{BaseConsumer, Consumer},
    message::{Header, Headers, OwnedHeaders},
    producer::{BaseProducer, BaseRecord, FutureProducer, FutureRecord, Producer as _},
    topic_partition_list::Offset,
};

mod support;

use support::{message, name, node};

/// A prefix that nobody else has.
fn prefix() -> String {
    let id = MessageId::generate();
    format!("n{}.", id.as_str().rsplit('-').next().unwrap())
}

fn settings() -> ClientConfig {
    let mut settings = ClientConfig::new();
    settings.set("bootstrap.servers", shared(Kind::Kafka).trim_start_matches("kafka://"));
    settings
}

async fn make_topic(topic: &str) {
    let admin: AdminClient<DefaultClientContext> = settings().create().unwrap();
    let plan = NewTopic::new(topic, 2, TopicReplication::Fixed(1));
    let options = AdminOptions::new().operation_timeout(Some(support::PATIENCE));
    admin.create_topics([&plan], &options).await.unwrap().pop().unwrap().unwrap();
}

async fn read(
    node: &Arc<busgate_transports_kafka::KafkaTransport>,
    event: &str,
) -> Vec<Arc<busgate_core::Message>> {
    let request = ReadRequest { start: Start::Beginning, limit: 100, max_bytes: 1 << 20 };
    let page = node.read(&name(event), request).await.unwrap();
    page.messages.into_iter().map(|(_, message)| message).collect()
}

#[tokio::test]
async fn a_native_message_is_delivered_with_all_it_has() {
    let prefix = prefix();
    let topic = format!("{prefix}orders");
    make_topic(&topic).await;
    let producer: FutureProducer = settings().create().unwrap();
    let headers = OwnedHeaders::new()
        .insert(Header { key: "Content-Type", value: Some("text/plain") })
        .insert(Header { key: "traceparent", value: Some("00-1-2-01") })
        .insert(Header { key: "binary", value: Some(&[0xff_u8, 0xfe]) });
    let now = Timestamp::from_millis(SystemClock::new().now().as_millis() - 1000);
    let record = FutureRecord::to(&topic)
        .partition(1)
        .key("k")
        .payload("hi")
        .timestamp(now.as_millis())
        .headers(headers);
    let sent = producer.send(record, Duration::from_secs(10)).await.unwrap();
    let node = node(&shared(Kind::Kafka), &format!("prefix={prefix}&connect_timeout=30s")).await;
    let found = read(&node, "orders").await.pop().unwrap();
    assert_eq!(found.id.as_str(), format!("1-{}", sent.offset));
    assert_eq!((found.key.as_deref(), &found.payload[..]), (Some("k"), &b"hi"[..]));
    assert_eq!(found.content_type.as_deref(), Some("text/plain"));
    assert_eq!(found.timestamp, now);
    assert_eq!(found.metadata, [("traceparent".to_owned(), "00-1-2-01".to_owned())].into());
    let listed = node.events().await.unwrap();
    assert!(listed.iter().any(|info| info.name.as_str() == "orders" && info.messages == Some(1)));
    node.close().await.unwrap();
}

#[tokio::test]
async fn a_native_client_reads_what_a_door_published() {
    let prefix = prefix();
    let node = node(&shared(Kind::Kafka), &format!("prefix={prefix}&partitions=1&connect_timeout=30s")).await;
    let event = name("orders");
    node.register(&event, &EventConfig::default()).await.unwrap();
    let mut sent = message("id-1");
    sent.key = Some("k".into());
    sent.content_type = Some("application/json".into());
    sent.timestamp = SystemClock::new().now();
    sent.metadata.insert("traceparent".into(), "00-1-2-01".into());
    sent.metadata.insert("Content-Type".into(), "mine".into());
    node.publish(&event, vec![sent.clone()]).await.pop().unwrap().unwrap();
    let consumer: BaseConsumer = settings().set("group.id", "native").create().unwrap();
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(&format!("{prefix}orders"), 0, Offset::Beginning).unwrap();
    consumer.assign(&list).unwrap();
    let found = consumer.poll(Duration::from_secs(20)).unwrap().unwrap();
    assert_eq!((found.key(), found.payload()), (Some(&b"k"[..]), Some(&b"id-1"[..])));
    assert_eq!(found.timestamp().to_millis(), Some(sent.timestamp.as_millis()));
    let headers: Vec<_> = found
        .headers()
        .unwrap()
        .iter()
        .map(|header| format!("{}: {}", header.key, String::from_utf8_lossy(header.value.unwrap())))
        .collect();
    let wanted = [
        "busgate-id: id-1",
        "busgate-source: test",
        "content-type: application/json",
        "busgate-meta-Content-Type: mine",
        "traceparent: 00-1-2-01",
    ];
    assert_eq!(headers, wanted);
    drop(found);
    node.close().await.unwrap();
}

#[tokio::test]
async fn a_mapped_topic_is_the_event_and_outlives_its_registration() {
    let prefix = prefix();
    let topic = format!("{prefix}Legacy_Orders");
    make_topic(&topic).await;
    let node =
        node(&shared(Kind::Kafka), &format!("prefix={prefix}gate.&map.orders={topic}&connect_timeout=30s"))
            .await;
    let event = name("orders");
    node.publish(&event, vec![message("a")]).await.pop().unwrap().unwrap();
    node.register(&event, &EventConfig::default()).await.unwrap();
    node.unregister(&event).await.unwrap();
    let ids: Vec<_> = read(&node, "orders").await.iter().map(|message| message.id.to_string()).collect();
    assert_eq!(ids, ["a"], "a topic that was there before is not the gateway's to delete");
    node.close().await.unwrap();
}

/// A transaction ends with a mark, which is an offset that nobody reads a message at.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn behind_a_transaction_ids_are_known_and_messages_taken() {
    let prefix = prefix();
    let options = format!("prefix={prefix}&partitions=1&connect_timeout=30s");
    let node = node(&shared(Kind::Kafka), &options).await;
    let event = name("orders");
    node.register(&event, &EventConfig::default()).await.unwrap();
    let publish = async |id: &str| node.publish(&event, vec![message(id)]).await.pop().unwrap().unwrap();
    assert!(!publish("a").await.duplicate);
    let producer: BaseProducer =
        settings().set("transactional.id", format!("{prefix}writer")).create().unwrap();
    let write = |id: &'static str| {
        producer.begin_transaction().unwrap();
        let headers = OwnedHeaders::new().insert(Header { key: "busgate-id", value: Some(id) });
        let topic = format!("{prefix}orders");
        producer.send(BaseRecord::<str, str>::to(&topic).payload("hi").headers(headers)).unwrap();
        producer.commit_transaction(support::PATIENCE).unwrap();
    };
    tokio::task::block_in_place(|| producer.init_transactions(support::PATIENCE)).unwrap();
    for (theirs, ours) in [("b", "c"), ("d", "e")] {
        tokio::task::block_in_place(|| write(theirs));
        // Real time is the point: a publish may go by what was there 50 ms before it, so that one must be known by now.
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert!(publish(theirs).await.duplicate && !publish(ours).await.duplicate);
    }
    node.unregister(&event).await.unwrap();
    node.close().await.unwrap();
}

#[tokio::test]
async fn what_another_node_wrote_is_a_duplicate_here() {
    let options = format!("prefix={}&dedup=strict&connect_timeout=30s", prefix());
    let url = shared(Kind::Kafka);
    let (one, two) = (node(&url, &options).await, node(&url, &options).await);
    let event = name("orders");
    one.register(&event, &EventConfig::default()).await.unwrap();
    for number in 0..20 {
        let id = format!("m{number}");
        let first = one.publish(&event, vec![message(&id)]).await.pop().unwrap().unwrap();
        let again = two.publish(&event, vec![message(&id)]).await.pop().unwrap().unwrap();
        assert!(!first.duplicate && again.duplicate, "{id}");
        assert_eq!(first.cursor, again.cursor);
    }
    one.close().await.unwrap();
    two.close().await.unwrap();
}
