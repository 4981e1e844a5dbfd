//! Topics that get more partitions while they are in use, as whoever runs the broker has it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use std::{collections::BTreeSet, sync::Arc};

use busgate_brokers::{Kind, shared};
use busgate_core::{
    Cursor, Delivery, EventName, GroupName, Item, MessageId, ReadRequest, Settled, Settlement, Start,
    SubscribeOptions, Subscription, Transport, Verb,
};
use busgate_transports_kafka::KafkaTransport;
use futures_util::StreamExt;
use rdkafka::{
    ClientConfig,
    admin::{AdminClient, AdminOptions, NewPartitions},
    client::DefaultClientContext,
    producer::{FutureProducer, FutureRecord},
};
use tokio::time::timeout;

mod support;

use support::{PATIENCE, event, message, node, subscribe};

const BEFORE: usize = 2;
const AFTER: usize = 5;

/// A topic of its own, and two nodes that know it as it was.
struct Stage {
    options: String,
    topic: String,
    event: EventName,
    one: Arc<KafkaTransport>,
    two: Arc<KafkaTransport>,
    published: usize,
}

fn settings() -> ClientConfig {
    let mut settings = ClientConfig::new();
    settings.set("bootstrap.servers", shared(Kind::Kafka).trim_start_matches("kafka://"));
    settings
}

impl Stage {
    async fn new() -> Self {
        let id = MessageId::generate();
        let prefix = format!("p{}.", id.as_str().rsplit('-').next().unwrap());
        let options = format!("prefix={prefix}&partitions={BEFORE}&connect_timeout=30s");
        let url = shared(Kind::Kafka);
        let (one, two) = (node(&url, &options).await, node(&url, &options).await);
        let event = event(&one, "orders").await;
        // The other one knows it as well.
        support::held(&two, &event).await;
        Self { options, topic: format!("{prefix}orders"), event, one, two, published: 0 }
    }

    /// Publishes a message under each of many keys, by one of the nodes.
    async fn publish(&mut self, count: usize) {
        let batch = (self.published..self.published + count).map(|number| {
            let mut message = message(&format!("m{number}"));
            message.key = Some(format!("k{number}"));
            message
        });
        for receipt in self.one.publish(&self.event, batch.collect()).await {
            receipt.unwrap();
        }
        self.published += count;
    }

    async fn grow(&self) {
        let admin: AdminClient<DefaultClientContext> = settings().create().unwrap();
        let plan = NewPartitions::new(&self.topic, AFTER);
        admin.create_partitions([&plan], &AdminOptions::new()).await.unwrap().pop().unwrap().unwrap();
    }

    /// A native client writes to each partition that is new; their ids.
    async fn write_to_the_new(&self) -> BTreeSet<String> {
        let producer: FutureProducer = settings().create().unwrap();
        let mut ids = BTreeSet::new();
        for partition in i32::try_from(BEFORE).unwrap()..i32::try_from(AFTER).unwrap() {
            for offset in 0..3 {
                let record = FutureRecord::<str, str>::to(&self.topic).partition(partition).payload("x");
                let sent = producer.send(record, PATIENCE).await.unwrap();
                assert_eq!((sent.partition, sent.offset), (partition, offset));
                ids.insert(format!("{partition}-{offset}"));
            }
        }
        ids
    }

    fn published(&self) -> BTreeSet<String> {
        (0..self.published).map(|number| format!("m{number}")).collect()
    }

    async fn close(self) {
        self.one.close().await.unwrap();
        self.two.close().await.unwrap();
    }
}

async fn next(items: &mut Subscription) -> Delivery {
    match timeout(PATIENCE, items.next()).await.expect("a delivery in time") {
        Some(Ok(Item::Delivery(delivery))) => delivery,
        other => panic!("{other:?}"),
    }
}

/// Takes and acks this many; each id comes once.
async fn take(items: &mut Subscription, count: usize, ids: &mut BTreeSet<String>) {
    for _ in 0..count {
        let delivery = next(items).await;
        assert!(ids.insert(delivery.message.id.to_string()), "{} came twice", delivery.message.id);
        assert_eq!(delivery.ack().await.unwrap(), Settled::Acked);
    }
}

async fn read_after(node: &KafkaTransport, event: &EventName, cursor: &Cursor) -> Vec<String> {
    let (mut ids, mut start) = (Vec::new(), Start::After(cursor.clone()));
    loop {
        let page = node.read(event, ReadRequest { start, limit: 7, max_bytes: 1 << 20 }).await.unwrap();
        assert!(page.gap.is_none(), "{:?}", page.gap);
        ids.extend(page.messages.iter().map(|(_, message)| message.id.to_string()));
        if page.end {
            return ids;
        }
        start = Start::After(page.next);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_reads_partitions_that_come_later_and_any_node_settles_there() {
    let mut stage = Stage::new().await;
    let pool = SubscribeOptions::pool(GroupName::new("workers").unwrap(), Start::Beginning);
    let mut worker = subscribe(&stage.one, &stage.event, pool).await;
    let mut seen = BTreeSet::new();
    stage.publish(20).await;
    take(&mut worker, 10, &mut seen).await;
    stage.grow().await;
    let native = stage.write_to_the_new().await;
    stage.publish(20).await;
    take(&mut worker, 30 + native.len() - 1, &mut seen).await;
    let last = next(&mut worker).await;
    let token = last.token().unwrap().clone();
    let settled = stage.two.settle(vec![Settlement { token, verb: Verb::Ack }]).await.pop().unwrap();
    assert_eq!(settled.unwrap(), Settled::Acked, "through a node that knew fewer partitions");
    assert!(seen.insert(last.message.id.to_string()));
    drop(last);
    // By now the node spreads its keys over all partitions.
    stage.publish(20).await;
    take(&mut worker, 20, &mut seen).await;
    assert_eq!(seen, &native | &stage.published());
    let lag = stage.two.lag(&stage.event).await.unwrap();
    assert_eq!(lag.first().and_then(|lag| lag.waiting), Some(0), "{lag:?}");
    stage.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_group_begins_at_the_end_of_partitions_that_came_later() {
    let mut stage = Stage::new().await;
    stage.publish(5).await;
    stage.grow().await;
    stage.write_to_the_new().await;
    let pool = SubscribeOptions::pool(GroupName::new("late").unwrap(), Start::Latest);
    // The registration says how many there were, and this node has not looked yet.
    let late = node(&shared(Kind::Kafka), &stage.options).await;
    let mut worker = subscribe(&late, &stage.event, pool).await;
    stage.publish(5).await;
    let mut seen = BTreeSet::new();
    take(&mut worker, 5, &mut seen).await;
    assert_eq!(seen, (5..10).map(|number| format!("m{number}")).collect());
    drop(worker);
    late.close().await.unwrap();
    stage.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cursors_of_before_stay_good_and_begin_with_what_is_new() {
    let mut stage = Stage::new().await;
    let mut live = subscribe(&stage.one, &stage.event, SubscribeOptions::broadcast(Start::Latest)).await;
    stage.publish(10).await;
    let mut before = BTreeSet::new();
    let mut old = None;
    for _ in 0..10 {
        let delivery = next(&mut live).await;
        before.insert(delivery.message.id.to_string());
        old = Some(delivery.cursor.clone());
    }
    let old = old.unwrap();
    assert_eq!(read_after(&stage.two, &stage.event, &old).await, Vec::<String>::new());
    stage.grow().await;
    let native = stage.write_to_the_new().await;
    stage.publish(10).await;
    let rest: BTreeSet<_> = &native | &(&stage.published() - &before);
    // The live one follows them by itself, and its newest cursor has all behind it.
    let (mut seen, mut found) = (BTreeSet::new(), Vec::new());
    while seen.len() < rest.len() {
        let delivery = next(&mut live).await;
        assert!(seen.insert(delivery.message.id.to_string()), "{} came twice", delivery.message.id);
        found.push((delivery.cursor.clone(), delivery.message.id.to_string()));
    }
    assert_eq!(seen, rest);
    for node in [&stage.one, &stage.two] {
        let after: Vec<_> = read_after(node, &stage.event, &old).await;
        assert_eq!(after.len(), rest.len(), "each once: {after:?}");
        assert_eq!(after.into_iter().collect::<BTreeSet<_>>(), rest);
        for (at, (cursor, id)) in found.iter().enumerate() {
            let message = node.find(&stage.event, cursor).await.unwrap();
            assert_eq!(message.map(|message| message.id.to_string()).as_ref(), Some(id));
            let after: BTreeSet<_> = read_after(node, &stage.event, cursor).await.into_iter().collect();
            let wanted: BTreeSet<_> = found[at + 1..].iter().map(|(_, id)| id.clone()).collect();
            assert_eq!(after, wanted, "after number {at}");
        }
    }
    stage.close().await;
}
