//! Messages that wait: they hold up no partition, however many they are, and no crash loses them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use busgate_brokers::{Kind, shared};
use busgate_core::{
    Delivery, EventConfig, EventName, GroupName, Item, Message, MessageId, Nack, Settled, Settlement, Start,
    SubscribeOptions, Subscription, Transport, Verb,
};
use busgate_transports_kafka::KafkaTransport;
use futures_util::StreamExt;
use rdkafka::{
    ClientConfig, TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
    topic_partition_list::Offset,
};
use tokio::time::{Instant, sleep, timeout};

const PATIENCE: Duration = Duration::from_secs(60);

fn prefix() -> String {
    let id = MessageId::generate();
    format!("a.{}.", id.as_str().rsplit('-').next().unwrap())
}

async fn node(prefix: &str, more: &str) -> Arc<KafkaTransport> {
    let url = format!("{}?prefix={prefix}&partitions=1{more}", shared(Kind::Kafka));
    let node = KafkaTransport::connect(url.parse().unwrap()).await.unwrap();
    node.register(&orders(), &EventConfig::default()).await.unwrap();
    node
}

fn orders() -> EventName {
    EventName::new("orders").unwrap()
}

async fn workers(node: &Arc<KafkaTransport>, window: usize) -> Subscription {
    let options = SubscribeOptions::pool(GroupName::new("workers").unwrap(), Start::Beginning);
    let node: Arc<dyn Transport> = Arc::clone(node) as _;
    node.subscribe(&orders(), SubscribeOptions { max_in_flight: window, ..options }).await.unwrap()
}

fn message(number: usize, key: Option<String>) -> Message {
    let mut message = Message::new(MessageId::new(format!("m{number}")).unwrap(), format!("{number}"));
    message.key = key;
    message
}

async fn publish(node: &KafkaTransport, messages: Vec<Message>) {
    for receipt in node.publish(&orders(), messages).await {
        receipt.unwrap();
    }
}

/// Up to `most` deliveries: those that come without a pause of `pause`.
async fn some(items: &mut Subscription, most: usize, pause: Duration) -> Vec<Delivery> {
    let mut found = Vec::new();
    while found.len() < most {
        match timeout(pause, items.next()).await {
            Ok(Some(Ok(Item::Delivery(delivery)))) => found.push(delivery),
            Ok(other) => panic!("wanted a delivery, found {other:?}"),
            Err(_) => break,
        }
    }
    found
}

fn number(delivery: &Delivery) -> usize {
    assert_eq!(delivery.message.id.as_str()[1..], delivery.message.payload[..].escape_ascii().to_string());
    delivery.message.id.as_str()[1..].parse().unwrap()
}

async fn settle(node: &KafkaTransport, deliveries: &[Delivery], verb: impl Fn(usize) -> Verb) {
    let settlement = |delivery: &Delivery| {
        let verb = verb(number(delivery));
        Settlement { token: delivery.token().unwrap().clone(), verb }
    };
    let batch: Vec<_> = deliveries.iter().map(settlement).collect();
    let wanted: Vec<_> = batch
        .iter()
        .map(|settlement| if settlement.verb == Verb::Ack { Settled::Acked } else { Settled::Nacked })
        .collect();
    let answers: Vec<_> = node.settle(batch).await.into_iter().map(Result::unwrap).collect();
    assert_eq!(answers, wanted);
}

fn until(due: Instant) -> Verb {
    let delay = due.saturating_duration_since(Instant::now());
    Verb::Nack(Nack { delay: Some(delay), error: None })
}

/// Up to where the group has committed, as native tools see it.
async fn committed(prefix: &str) -> i64 {
    let (group, topic) = (format!("{prefix}orders/group/workers"), format!("{prefix}orders"));
    let found = tokio::task::spawn_blocking(move || {
        let servers = shared(Kind::Kafka);
        let consumer: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", servers.trim_start_matches("kafka://"))
            .set("group.id", group)
            .create()
            .unwrap();
        let mut list = TopicPartitionList::new();
        list.add_partition(&topic, 0);
        consumer.committed_offsets(list, PATIENCE).unwrap().elements().first().unwrap().offset()
    });
    match found.await.unwrap() {
        Offset::Offset(offset) => offset,
        other => panic!("{other:?} is committed"),
    }
}

/// The topics of ours with what is set aside.
async fn held_topics(prefix: &str) -> Vec<String> {
    let start = format!("{prefix}_busgate.held.");
    let found = tokio::task::spawn_blocking(move || {
        let servers = shared(Kind::Kafka);
        let consumer: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", servers.trim_start_matches("kafka://"))
            .create()
            .unwrap();
        let metadata = consumer.fetch_metadata(None, PATIENCE).unwrap();
        let names = metadata.topics().iter().map(|topic| topic.name().to_owned());
        names.filter(|name| name.starts_with(&start)).collect()
    });
    found.await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_poison_message_is_passed_by_any_number_of_others() {
    const COUNT: usize = 60_000;
    let prefix = prefix();
    let node = node(&prefix, "").await;
    let mut member = workers(&node, 1000).await;
    publish(&node, vec![message(0, None)]).await;
    let poison = some(&mut member, 1, PATIENCE).await;
    let (mut done, mut published) = (1, 1);
    while done <= COUNT {
        if published <= COUNT {
            publish(&node, (published..published + 5000).map(|number| message(number, None)).collect()).await;
            published += 5000;
        }
        while done < published {
            let found = some(&mut member, 500.min(published - done), PATIENCE).await;
            assert!(!found.is_empty(), "{done} are done, and no more come");
            settle(&node, &found, |_| Verb::Ack).await;
            done += found.len();
        }
    }
    assert_eq!(poison[0].attempt, 1);
    settle(&node, &poison, |_| Verb::Ack).await;
    assert_eq!(committed(&prefix).await, i64::try_from(done).unwrap());
    node.close().await.unwrap();
}

/// Of these, the even ones wait.
const MIXED: usize = 4000;

/// These have the keys of some that wait.
const FOLLOWERS: usize = 200;

fn mixed(number: usize) -> Message {
    let key = match number {
        _ if number >= MIXED => Some(format!("k{}", (number - MIXED) * 2)),
        _ if number.is_multiple_of(2) => Some(format!("k{number}")),
        _ => None,
    };
    message(number, key)
}

/// Has two thousand wait until `due`, which their group goes past.
async fn set_aside(node: &KafkaTransport, member: &mut Subscription, due: Instant) {
    publish(node, (0..MIXED + FOLLOWERS).map(mixed).collect()).await;
    let mut seen = 0;
    while seen < MIXED {
        let found = some(member, 250.min(MIXED - seen), PATIENCE).await;
        assert!(!found.is_empty(), "{seen} of {MIXED} came");
        assert!(found.iter().all(|delivery| delivery.attempt == 1 && number(delivery) < MIXED));
        settle(node, &found, |number| if number.is_multiple_of(2) { until(due) } else { Verb::Ack }).await;
        seen += found.len();
    }
    // Fresh ones go on, however many wait.
    publish(node, (10_000..13_000).map(|number| message(number, None)).collect()).await;
    let mut fresh = 0;
    while fresh < 3000 {
        let found = some(member, 250.min(3000 - fresh), PATIENCE).await;
        assert!(!found.is_empty(), "{fresh} fresh ones came");
        assert!(found.iter().all(|delivery| number(delivery) >= 10_000));
        settle(node, &found, |_| Verb::Ack).await;
        fresh += found.len();
    }
}

async fn many_that_wait_survive_a_crash(protocol: &str) {
    let (prefix, more) = (prefix(), format!("&group_protocol={protocol}"));
    let first = node(&prefix, &more).await;
    let mut member = workers(&first, 500).await;
    let due = Instant::now() + Duration::from_secs(25);
    set_aside(&first, &mut member, due).await;
    assert!(Instant::now() < due, "the machine is too slow for this test");
    assert_eq!(held_topics(&prefix).await.len(), 1);
    // Nobody says goodbye.
    drop((member, first));
    let second = node(&prefix, &more).await;
    let mut member = workers(&second, 500).await;
    publish(&second, vec![message(20_000, None)]).await;
    let (mut back, mut order) = (BTreeSet::new(), BTreeMap::<String, Vec<usize>>::new());
    let deadline = Instant::now() + PATIENCE;
    while back.len() < MIXED / 2 + FOLLOWERS + 1 {
        assert!(Instant::now() < deadline, "{} came back", back.len());
        let found = some(&mut member, 250, Duration::from_millis(200)).await;
        for delivery in &found {
            let number = number(delivery);
            assert!(back.insert(number), "m{number} came again");
            assert!(number.is_multiple_of(2) || (MIXED..10_000).contains(&number), "m{number} was acked");
            if let Some(key) = &delivery.message.key {
                let attempt = if number < MIXED { 2 } else { 1 };
                assert_eq!(delivery.attempt, attempt, "m{number}");
                assert!(Instant::now() + Duration::from_millis(100) >= due, "m{number} is early");
                order.entry(key.clone()).or_default().push(number);
            }
        }
        settle(&second, &found, |_| Verb::Ack).await;
    }
    assert!(order.values().all(|order| order.is_sorted()), "{order:?}");
    assert!(some(&mut member, 1, Duration::from_millis(300)).await.is_empty());
    assert_eq!(committed(&prefix).await, i64::try_from(MIXED + FOLLOWERS + 3001).unwrap());
    second.unregister(&orders()).await.unwrap();
    let gone = Instant::now() + PATIENCE;
    while !held_topics(&prefix).await.is_empty() {
        assert!(Instant::now() < gone, "it goes with its event");
        sleep(Duration::from_millis(50)).await;
    }
    second.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_that_wait_survive_a_crash_in_groups_of_the_broker() {
    many_that_wait_survive_a_crash("consumer").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_that_wait_survive_a_crash_in_groups_of_their_own() {
    many_that_wait_survive_a_crash("classic").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_waits_is_not_held_in_memory() {
    const COUNT: usize = 48;
    let prefix = prefix();
    let node = node(&prefix, "").await;
    let mut member = workers(&node, COUNT).await;
    let large = |number: usize| {
        let mut message = message(number, None);
        message.metadata.insert("weight".into(), "x".repeat(900 * 1024));
        message
    };
    for number in 0..COUNT {
        publish(&node, vec![large(number)]).await;
    }
    let due = Instant::now() + Duration::from_secs(8);
    let found = some(&mut member, COUNT, PATIENCE).await;
    assert_eq!(found.len(), COUNT);
    settle(&node, &found, |_| until(due)).await;
    drop(found);
    publish(&node, (COUNT..COUNT + 5).map(|number| message(number, None)).collect()).await;
    let fresh = some(&mut member, 5, PATIENCE).await;
    assert!(fresh.len() == 5 && Instant::now() < due, "forty megabytes that wait hold up others");
    settle(&node, &fresh, |_| Verb::Ack).await;
    let mut back = BTreeSet::new();
    while back.len() < COUNT {
        let found = some(&mut member, 8, PATIENCE).await;
        assert!(!found.is_empty(), "{} came back", back.len());
        for delivery in &found {
            assert_eq!((delivery.attempt, delivery.message.metadata["weight"].len()), (2, 900 * 1024));
            assert!(back.insert(number(delivery)));
        }
        settle(&node, &found, |_| Verb::Ack).await;
    }
    node.close().await.unwrap();
}
