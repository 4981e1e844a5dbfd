//! Brokers that die, stall, come back and refuse, and clients that break. Each test has a broker of its own.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use std::{collections::BTreeSet, time::Duration};

use busgate_brokers::{Kafka, Listener, free_port};
use busgate_core::{
    Effect, Error, ErrorKind, EventName, GroupName, HealthStatus, Nack, Settled, Start, SubscribeOptions,
    Subscription, Transport,
};
use busgate_transports_kafka::{KafkaConfig, KafkaTransport};
use rdkafka::{
    mocking::MockCluster,
    types::{RDKafkaApiKey, RDKafkaRespErr},
};
use tokio::time::Instant;

mod support;

use support::{delivery, event, held, name, next, node, publish, publish_until_taken, subscribe};

/// Calls are given up soon, so that the tests see that they are.
const OPTIONS: &str = "partitions=2&timeout=4s&connect_timeout=20s";

fn workers() -> SubscribeOptions {
    SubscribeOptions::pool(GroupName::new("workers").unwrap(), Start::Beginning)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_is_killed_costs_nothing_that_was_taken() {
    let broker = Kafka::new().start().unwrap();
    let node = node(&broker.url(), OPTIONS).await;
    let event = event(&node, "orders").await;
    let mut live = subscribe(&node, &event, SubscribeOptions::broadcast(Start::Latest)).await;
    let mut worker = subscribe(&node, &event, workers()).await;
    for number in 0..20 {
        publish(&node, &event, &format!("a{number}")).await.unwrap();
    }
    for number in 0..20 {
        assert_eq!(next(&mut live).await, format!("a{number}"));
        assert_eq!(next(&mut worker).await, format!("a{number}"));
    }
    broker.kill().unwrap();
    let asked = Instant::now();
    let error = publish(&node, &event, "b").await.unwrap_err();
    assert!(error.kind().is_transient() && error.retry_after().is_some(), "{error:?}");
    assert!(asked.elapsed() < Duration::from_secs(10), "given up after {:?}", asked.elapsed());
    assert_eq!(node.health().await.status, HealthStatus::Unhealthy);
    broker.start().unwrap();
    publish_until_taken(&node, &event, "b").await;
    publish_until_taken(&node, &event, "c").await;
    for id in ["b", "c"] {
        assert_eq!(next(&mut live).await, id, "the live subscription goes on by itself");
        assert_eq!(next(&mut worker).await, id, "nothing acked comes back, and nothing is lost");
    }
    assert_eq!(held(&node, &event).await.len(), 22, "the id was taken once");
    node.close().await.unwrap();
}

/// Publishes until it fails: a process that is told to stop takes a moment to.
async fn until_refused(node: &KafkaTransport, event: &EventName) -> (Instant, Error) {
    for number in 0..10_000 {
        let asked = Instant::now();
        if let Err(error) = publish(node, event, &format!("b{number}")).await {
            return (asked, error);
        }
    }
    panic!("the broker goes on");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_stalls_is_waited_out() {
    let broker = Kafka::new().start().unwrap();
    // No ids are looked at first, which would find out before anything is sent.
    let node = node(&broker.url(), &format!("{OPTIONS}&dedup_window=0s")).await;
    let event = event(&node, "orders").await;
    let mut live = subscribe(&node, &event, SubscribeOptions::broadcast(Start::Latest)).await;
    publish(&node, &event, "a").await.unwrap();
    assert_eq!(next(&mut live).await, "a");
    broker.pause().unwrap();
    let (asked, error) = until_refused(&node, &event).await;
    assert_eq!((error.kind(), error.effect()), (ErrorKind::Timeout, Effect::Unknown));
    assert!(asked.elapsed() < Duration::from_secs(10), "given up after {:?}", asked.elapsed());
    broker.resume().unwrap();
    publish_until_taken(&node, &event, "last").await;
    while next(&mut live).await != "last" {}
    node.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn acks_that_a_stalled_broker_holds_up_are_answered_in_time_and_bring_nothing_back() {
    let broker = Kafka::new().start().unwrap();
    let node = node(&broker.url(), OPTIONS).await;
    let event = event(&node, "orders").await;
    let mut worker = subscribe(&node, &event, workers()).await;
    let mut unknown = BTreeSet::new();
    // The broker stalls once for less than its members' sessions last, and once for longer.
    for (round, late) in [vec!["late"], vec!["late", "later"]].into_iter().enumerate() {
        take_up_to(&node, &event, &mut worker, &mut unknown, &format!("acked{round}")).await;
        let mut held = Vec::new();
        for name in late.iter().chain(&["left"]) {
            publish_until_taken(&node, &event, &format!("{name}{round}")).await;
            held.push(delivery(&mut worker).await);
        }
        let left = held.pop().unwrap();
        broker.pause().unwrap();
        for delivery in held {
            let (id, asked) = (delivery.message.id.to_string(), Instant::now());
            let error = delivery.ack().await.unwrap_err();
            assert_eq!((error.kind(), error.effect()), (ErrorKind::Unavailable, Effect::Unknown));
            assert!(asked.elapsed() < Duration::from_secs(6), "answered after {:?}", asked.elapsed());
            unknown.insert(id);
        }
        broker.resume().unwrap();
        let at_once = Nack { delay: Some(Duration::ZERO), error: None };
        assert_eq!(left.nack(at_once).await.unwrap(), Settled::Nacked);
        unknown.insert(format!("left{round}"));
    }
    drop(worker);
    node.close().await.unwrap();
    let heir = support::node(&broker.url(), OPTIONS).await;
    let mut worker = subscribe(&heir, &event, workers()).await;
    take_up_to(&heir, &event, &mut worker, &mut unknown, "last").await;
    assert!(!unknown.iter().any(|id| id.starts_with("left")), "of what was given back {unknown:?} is lost");
    heir.close().await.unwrap();
}

/// Publishes a message and acks what comes up to it: apart from that, only what may be settled or not, and each once.
async fn take_up_to(
    node: &KafkaTransport,
    event: &EventName,
    worker: &mut Subscription,
    unknown: &mut BTreeSet<String>,
    last: &str,
) {
    publish_until_taken(node, event, last).await;
    loop {
        let id = next(worker).await;
        if id == last {
            return;
        }
        assert!(unknown.remove(&id), "{id} was acked, and came again");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_is_restarted_is_found_again_by_everyone() {
    let broker = Kafka::new().start().unwrap();
    let url = broker.url();
    let (one, two) = tokio::join!(node(&url, OPTIONS), node(&url, OPTIONS));
    let event = event(&one, "orders").await;
    let mut live = subscribe(&two, &event, SubscribeOptions::broadcast(Start::Latest)).await;
    publish(&one, &event, "a").await.unwrap();
    assert_eq!(next(&mut live).await, "a");
    broker.stop().unwrap();
    broker.start().unwrap();
    publish_until_taken(&one, &event, "b").await;
    assert_eq!(next(&mut live).await, "b");
    // What one node registers, the other knows.
    let other = support::event(&one, "others").await;
    publish_until_taken(&two, &other, "c").await;
    assert_eq!(held(&one, &other).await, ["c"]);
    one.close().await.unwrap();
    two.close().await.unwrap();
}

#[test]
fn a_broker_that_is_not_there_is_told_in_time() {
    let url = format!("kafka://127.0.0.1:{}?connect_timeout=1s", free_port().unwrap());
    let error = refused_within(Duration::from_secs(4), &url);
    assert!(error.message().contains("127.0.0.1"), "{error}");
    assert!(error.message().contains("refused"), "{error}");
}

#[test]
fn a_host_that_takes_connections_and_says_nothing_is_told_in_time() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap();
    let error = refused_within(Duration::from_secs(4), &format!("kafka://{address}?connect_timeout=1s"));
    assert!(error.message().contains(&address.to_string()), "{error}");
}

/// How connecting fails; the runtime, and all that still runs there, ends within the time as well.
fn refused_within(time: Duration, url: &str) -> Error {
    let asked = Instant::now();
    let config: KafkaConfig = url.parse().unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let error = runtime.block_on(KafkaTransport::connect(config)).unwrap_err();
    drop(runtime);
    assert!(asked.elapsed() < time, "told after {:?}", asked.elapsed());
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    error
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_password_is_proven_and_a_wrong_one_is_told() {
    let port = free_port().unwrap();
    let advertised = ([127, 0, 0, 1], port).into();
    let _broker = Kafka::new()
        .listener(Listener { protocol: "SASL_PLAINTEXT", port, advertised })
        .property("sasl.enabled.mechanisms", "SCRAM-SHA-512")
        .property(
            "listener.name.sasl_plaintext.scram-sha-512.sasl.jaas.config",
            "org.apache.kafka.common.security.scram.ScramLoginModule required;",
        )
        .scram("SCRAM-SHA-512", "gate", "right")
        .start()
        .unwrap();
    let connect = |password: &str| {
        let url = format!("kafka://gate:{password}@127.0.0.1:{port}?sasl=scram-sha-512&connect_timeout=20s");
        KafkaTransport::connect(url.parse().unwrap())
    };
    let node = connect("right").await.unwrap();
    assert_eq!(node.health().await.status, HealthStatus::Healthy);
    node.close().await.unwrap();
    let error = connect("wrong-one").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unauthenticated, "{error:?}");
    assert!(!format!("{error:?}").contains("wrong-one"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_producer_with_a_fatal_error_is_made_anew() {
    let mock = MockCluster::new(1).unwrap();
    for topic in ["_busgate.events", "orders"] {
        mock.create_topic(topic, 1, 1).unwrap();
    }
    let url = format!("kafka://{}", mock.bootstrap_servers());
    let node = node(&url, "timeout=5s&dedup_window=0s").await;
    let event = name("orders");
    publish(&node, &event, "a").await.unwrap();
    // Several answers of a kind that an idempotent producer can't go on after.
    let fatal = RDKafkaRespErr::RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER;
    mock.request_errors(RDKafkaApiKey::Produce, &[fatal, fatal, fatal]);
    let mut failed = 0;
    for number in 0..10 {
        failed += usize::from(publish(&node, &event, &format!("b{number}")).await.is_err());
    }
    assert!((1..=3).contains(&failed), "{failed} of 10 failed");
    publish(&node, &event, "c").await.unwrap();
    node.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_broker_can_wait_out_is_not_told() {
    let mock = MockCluster::new(1).unwrap();
    for topic in ["_busgate.events", "orders"] {
        mock.create_topic(topic, 1, 1).unwrap();
    }
    let node = node(&format!("kafka://{}", mock.bootstrap_servers()), "timeout=10s&dedup_window=0s").await;
    let event = name("orders");
    let moved = RDKafkaRespErr::RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION;
    mock.request_errors(RDKafkaApiKey::Produce, &[moved, moved]);
    publish(&node, &event, "a").await.unwrap();
    let large = RDKafkaRespErr::RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE;
    mock.request_errors(RDKafkaApiKey::Produce, &[large]);
    let error = publish(&node, &event, "b").await.unwrap_err();
    assert_eq!((error.kind(), error.effect()), (ErrorKind::TooLarge, Effect::None));
    node.close().await.unwrap();
}
