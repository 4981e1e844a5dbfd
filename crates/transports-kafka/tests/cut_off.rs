//! Two nodes of which one is cut off from the broker, or hears from it late. Each test has a broker of its own, which the
//! node `near` reaches directly and the node `far` over a link.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use std::{sync::Arc, time::Duration};

use busgate_brokers::{Broker, Kafka, Link, Listener, Toxiproxy, free_port};
use busgate_core::{Effect, ErrorKind, EventName, GroupName, Start, SubscribeOptions, Transport};
use busgate_transports_kafka::KafkaTransport;
use tokio::time::{Instant, sleep, timeout};

mod support;

use support::{event, held, message, next, node, publish, publish_until_taken, subscribe};

const OPTIONS: &str = "partitions=2&timeout=6s&connect_timeout=30s";

/// Two nodes that publish to one event.
struct Pair<'a> {
    _broker: Broker,
    link: Link<'a>,
    near: Arc<KafkaTransport>,
    far: Arc<KafkaTransport>,
    event: EventName,
}

impl<'a> Pair<'a> {
    async fn start(toxiproxy: &'a Toxiproxy) -> Self {
        let port = free_port().unwrap();
        let link = toxiproxy.link("kafka", ([127, 0, 0, 1], port).into()).unwrap();
        let listener = Listener { protocol: "PLAINTEXT", port, advertised: link.address() };
        let session = ("group.consumer.session.timeout.ms", "2000");
        let broker = Kafka::new().listener(listener).property(session.0, session.1).start().unwrap();
        let near = node(&broker.url(), OPTIONS).await;
        let event = event(&near, "orders").await;
        let far = node(&broker.url_at(link.address()), OPTIONS).await;
        // Both have looked at the event's ids, and follow them.
        for (node, id) in [(&near, "near"), (&far, "far")] {
            publish_until_taken(node, &event, id).await;
        }
        Self { _broker: broker, link, near, far, event }
    }

    /// Whether the far node says that it was there before.
    async fn repeats(&self, id: &str) -> bool {
        self.far.publish(&self.event, vec![message(id)]).await.pop().unwrap().unwrap().duplicate
    }

    async fn end(self, count: usize) {
        assert_eq!(held(&self.near, &self.event).await.len(), count, "each id is there once");
        self.far.close().await.unwrap();
        self.near.close().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_another_node_wrote_is_known_however_slowly_it_is_read() {
    let toxiproxy = Toxiproxy::start().unwrap();
    let pair = Pair::start(&toxiproxy).await;
    pair.link.spoil("latency", "downstream", r#""latency":400"#).unwrap();
    for number in 0..5 {
        let id = format!("a{number}");
        publish(&pair.near, &pair.event, &id).await.unwrap();
        // As long as a client waits that does not know whether its message is there.
        sleep(Duration::from_millis(60)).await;
        assert!(pair.repeats(&id).await, "{id} was taken for new");
    }
    pair.end(7).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_another_node_wrote_is_known_after_an_interruption() {
    let toxiproxy = Toxiproxy::start().unwrap();
    let pair = Pair::start(&toxiproxy).await;
    for number in 0..8 {
        let (id, own) = (format!("a{number}"), format!("b{number}"));
        pair.link.enable(false).unwrap();
        publish(&pair.near, &pair.event, &id).await.unwrap();
        sleep(Duration::from_millis(100 + 100 * number)).await;
        pair.link.enable(true).unwrap();
        publish_until_taken(&pair.far, &pair.event, &id).await;
        publish_until_taken(&pair.far, &pair.event, &own).await;
    }
    pair.end(18).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_nothing_can_be_known_nothing_is_written() {
    let toxiproxy = Toxiproxy::start().unwrap();
    let pair = Pair::start(&toxiproxy).await;
    pair.link.spoil("timeout", "downstream", r#""timeout":0"#).unwrap();
    sleep(Duration::from_millis(100)).await;
    let asked = Instant::now();
    let error = publish(&pair.far, &pair.event, "a").await.unwrap_err();
    assert!(asked.elapsed() < Duration::from_secs(4), "told after {:?}", asked.elapsed());
    assert_eq!((error.kind(), error.effect()), (ErrorKind::Unavailable, Effect::None), "{error:?}");
    assert!(error.retry_after().is_some());
    pair.link.heal("timeout", "downstream").unwrap();
    publish_until_taken(&pair.far, &pair.event, "a").await;
    pair.end(3).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_owner_that_was_cut_off_hands_out_nothing_that_the_next_one_settled() {
    let toxiproxy = Toxiproxy::start().unwrap();
    let pair = Pair::start(&toxiproxy).await;
    let workers = || SubscribeOptions::pool(GroupName::new("workers").unwrap(), Start::Latest);
    let mut owner = subscribe(&pair.far, &pair.event, workers()).await;
    publish(&pair.near, &pair.event, "first").await.unwrap();
    assert_eq!(next(&mut owner).await, "first");
    for round in 0..4 {
        pair.link.enable(false).unwrap();
        // The broker misses it, and gives its partitions to the next.
        let mut heir = subscribe(&pair.near, &pair.event, workers()).await;
        for number in 0..20 {
            let id = format!("m{round}-{number}");
            publish(&pair.near, &pair.event, &id).await.unwrap();
            assert_eq!(next(&mut heir).await, id);
        }
        pair.link.enable(true).unwrap();
        let back = timeout(Duration::from_secs(4), next(&mut owner)).await;
        assert!(back.is_err(), "{back:?} was settled before");
        drop(heir);
        // The partitions go back to who was cut off.
        let last = format!("last{round}");
        publish(&pair.near, &pair.event, &last).await.unwrap();
        assert_eq!(next(&mut owner).await, last, "nothing comes back");
    }
    pair.end(2 + 1 + 4 * 21).await;
}
