//! Errors that a real broker answers when it likes, answered here when the test likes: nothing acked comes back, nothing is
//! lost, and the group goes on. The brokers are librdkafka's mock, which keeps messages and what groups commit.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use busgate_core::{
    Delivery, Effect, EventName, GroupName, Item, RetryPolicy, Settled, Start, SubscribeOptions,
    Subscription, Transport,
};
use busgate_transports_kafka::KafkaTransport;
use futures_util::{StreamExt, future::join_all};
use rdkafka::{
    mocking::{MockCluster, MockCoordinator},
    producer::DefaultProducerContext,
    types::{RDKafkaApiKey as Api, RDKafkaRespErr as Code},
};
use tokio::time::{Instant, sleep, timeout};

mod support;

use support::{PATIENCE, message, name, node, publish_until_taken, subscribe};

/// How the members of a group find their partitions, both ways.
const PROTOCOLS: [&str; 2] = ["consumer", "classic"];

const OPTIONS: &str = "timeout=8s&connect_timeout=20s&dedup_window=0s";

/// A cluster that answers as it is told, a node on it, and what the node's one worker was handed and acked.
struct Stage {
    mock: MockCluster<'static, DefaultProducerContext>,
    url: String,
    node: Arc<KafkaTransport>,
    event: EventName,
    worker: Subscription,
    published: usize,
    acked: BTreeSet<String>,
}

impl Stage {
    async fn new(brokers: i32, protocol: &str) -> Self {
        let mock = MockCluster::new(brokers).unwrap();
        for (topic, partitions) in [("_busgate.events", 1), ("_busgate.settle", 1), ("orders", 2)] {
            mock.create_topic(topic, partitions, brokers.min(3)).unwrap();
        }
        let options = options(protocol);
        let url = format!("kafka://{}", mock.bootstrap_servers());
        let node = node(&url, &options).await;
        let event = name("orders");
        let worker = subscribe(&node, &event, workers()).await;
        Self { mock, url, node, event, worker, published: 0, acked: BTreeSet::new() }
    }

    async fn publish(&mut self, count: usize) {
        for _ in 0..count {
            let mut message = message(&format!("m{}", self.published));
            message.key = Some(format!("k{}", self.published % 20));
            self.node.publish(&self.event, vec![message]).await.pop().unwrap().unwrap();
            self.published += 1;
        }
    }

    async fn next(&mut self) -> Delivery {
        let next = timeout(PATIENCE, self.worker.next()).await;
        match next.unwrap_or_else(|_| panic!("{} of {} came", self.acked.len(), self.published)) {
            Some(Ok(Item::Delivery(delivery))) => {
                let id = delivery.message.id.as_str();
                assert!(!self.acked.contains(id), "{id} was acked, and came again");
                delivery
            }
            other => panic!("{other:?}"),
        }
    }

    /// Acks, until it is answered: a node may need its time to find out that it is a member no more.
    async fn ack(&mut self, delivery: Delivery) {
        let (id, token) = (delivery.message.id.to_string(), delivery.token().unwrap().clone());
        let (deadline, mut is_unknown) = (Instant::now() + PATIENCE, false);
        let settled = loop {
            let settlement = busgate_core::Settlement { token: token.clone(), verb: busgate_core::Verb::Ack };
            match self.node.settle(vec![settlement]).await.pop().unwrap() {
                Ok(settled) => break settled,
                Err(error) => {
                    assert!(error.kind().is_transient() && Instant::now() < deadline, "{error:?}");
                    is_unknown |= error.effect() == Effect::Unknown;
                }
            }
        };
        // What was answered too late may have been done; that it does not come again is seen in any case.
        let is_done = settled == Settled::Acked || (is_unknown && settled == Settled::Stale);
        assert!(is_done, "{id}: {settled:?}");
        self.acked.insert(id);
    }

    /// Takes and acks all that was published.
    async fn drain(&mut self) {
        while self.acked.len() < self.published {
            let delivery = self.next().await;
            self.ack(delivery).await;
        }
    }

    /// Ends the node, and has another one see that nothing is left.
    async fn end(mut self, protocol: &str) {
        self.publish(5).await;
        self.drain().await;
        drop(self.worker);
        self.node.close().await.unwrap();
        let options = options(protocol);
        let next = node(&self.url, &options).await;
        let mut worker = subscribe(&next, &self.event, workers()).await;
        publish_until_taken(&next, &self.event, "last").await;
        assert_eq!(support::next(&mut worker).await, "last", "all before it was acked");
        next.close().await.unwrap();
    }
}

fn options(protocol: &str) -> String {
    // A mock lets nobody join before it misses who was there before.
    let soon = if protocol == "classic" { "&client.session.timeout.ms=6000" } else { "" };
    format!("group_protocol={protocol}&{OPTIONS}{soon}")
}

/// Leases that outlast what a mock takes to have a member join again.
fn workers() -> SubscribeOptions {
    let options = SubscribeOptions::pool(GroupName::new("workers").unwrap(), Start::Beginning);
    let retry = RetryPolicy { ack_wait: Duration::from_secs(300), ..options.retry };
    SubscribeOptions { retry, ..options }
}

/// Has commits answered like this while a worker acks.
async fn commits_are_answered(protocol: &str, answers: &[Code]) {
    let mut stage = Stage::new(1, protocol).await;
    stage.publish(10).await;
    let mut held = Vec::new();
    for _ in 0..10 {
        held.push(stage.next().await);
    }
    for delivery in held.drain(..5) {
        stage.ack(delivery).await;
    }
    stage.mock.request_errors(Api::OffsetCommit, answers);
    for delivery in held {
        stage.ack(delivery).await;
    }
    stage.publish(10).await;
    stage.drain().await;
    stage.end(protocol).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_that_may_pass_later_is_sent_again() {
    use Code::{
        RD_KAFKA_RESP_ERR_COORDINATOR_LOAD_IN_PROGRESS as LOADING,
        RD_KAFKA_RESP_ERR_COORDINATOR_NOT_AVAILABLE as AWAY, RD_KAFKA_RESP_ERR_NOT_COORDINATOR as MOVED,
        RD_KAFKA_RESP_ERR_REBALANCE_IN_PROGRESS as REBALANCING, RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT as LATE,
    };
    let answers = |protocol| [LOADING, AWAY, LATE, REBALANCING, MOVED].map(|answer| (protocol, answer));
    let all = PROTOCOLS.into_iter().flat_map(answers);
    let all = all.map(|(protocol, answer)| async move {
        commits_are_answered(protocol, &[answer, answer]).await;
    });
    join_all(all).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_of_who_is_no_member_any_more_is_made_by_the_next() {
    use Code::{RD_KAFKA_RESP_ERR_ILLEGAL_GENERATION as OLD, RD_KAFKA_RESP_ERR_UNKNOWN_MEMBER_ID as UNKNOWN};
    for answer in [OLD, UNKNOWN] {
        commits_are_answered("classic", &[answer, answer, answer]).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_of_an_old_epoch_is_made_by_the_next() {
    use Code::{
        RD_KAFKA_RESP_ERR_FENCED_MEMBER_EPOCH as FENCED, RD_KAFKA_RESP_ERR_STALE_MEMBER_EPOCH as STALE,
        RD_KAFKA_RESP_ERR_UNKNOWN_MEMBER_ID as UNKNOWN,
    };
    for answer in [STALE, FENCED, UNKNOWN] {
        commits_are_answered("consumer", &[answer, answer, answer]).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fetches_that_fail_are_made_again() {
    use Code::{
        RD_KAFKA_RESP_ERR_FENCED_LEADER_EPOCH as FENCED, RD_KAFKA_RESP_ERR_KAFKA_STORAGE_ERROR as BROKEN,
        RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE as AWAY, RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION as MOVED,
        RD_KAFKA_RESP_ERR_OFFSET_NOT_AVAILABLE as NOT_YET,
        RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART as UNKNOWN,
    };
    for protocol in PROTOCOLS {
        let mut stage = Stage::new(1, protocol).await;
        stage.publish(5).await;
        stage.drain().await;
        stage.mock.request_errors(Api::Fetch, &[MOVED, AWAY, BROKEN, NOT_YET, FENCED, UNKNOWN, MOVED]);
        stage.publish(10).await;
        stage.drain().await;
        stage.end(protocol).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_follows_its_coordinator() {
    for protocol in PROTOCOLS {
        let mut stage = Stage::new(3, protocol).await;
        for broker in [1, 2, 3, 1] {
            stage.publish(5).await;
            let delivery = stage.next().await;
            let group = MockCoordinator::Group("orders/group/workers".into());
            stage.mock.coordinator(group, broker).unwrap();
            stage.ack(delivery).await;
            stage.drain().await;
        }
        stage.end(protocol).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_whose_leader_moves_is_written_and_read_on() {
    for protocol in PROTOCOLS {
        let mut stage = Stage::new(3, protocol).await;
        let mut live = subscribe(&stage.node, &stage.event, SubscribeOptions::broadcast(Start::Latest)).await;
        for broker in [1, 2, 3, 1] {
            for partition in [0, 1] {
                stage.mock.partition_leader("orders", partition, Some(broker)).unwrap();
            }
            stage.publish(5).await;
            stage.drain().await;
        }
        let mut seen = BTreeSet::new();
        while seen.len() < stage.published {
            assert!(seen.insert(support::next(&mut live).await), "a live subscriber has each once");
        }
        stage.end(protocol).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_of_many_may_go_and_come_back() {
    for protocol in PROTOCOLS {
        let mut stage = Stage::new(3, protocol).await;
        for broker in [1, 2, 3] {
            stage.publish(5).await;
            let held = stage.next().await;
            stage.mock.broker_down(broker).unwrap();
            // A mock moves neither leaders nor coordinators by itself: what was led there waits.
            sleep(Duration::from_secs(2)).await;
            stage.mock.broker_up(broker).unwrap();
            stage.ack(held).await;
            stage.drain().await;
        }
        stage.end(protocol).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_that_come_too_late_are_waited_out() {
    for protocol in PROTOCOLS {
        let mut stage = Stage::new(1, protocol).await;
        stage.publish(5).await;
        let held = stage.next().await;
        stage.mock.broker_round_trip_time(1, Duration::from_millis(1500)).unwrap();
        stage.ack(held).await;
        stage.mock.broker_round_trip_time(1, Duration::ZERO).unwrap();
        stage.publish(5).await;
        stage.drain().await;
        stage.end(protocol).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_the_coordinator_forgets_joins_again() {
    use Code::{RD_KAFKA_RESP_ERR_ILLEGAL_GENERATION as OLD, RD_KAFKA_RESP_ERR_UNKNOWN_MEMBER_ID as UNKNOWN};
    // The driver has no name for the heartbeats of groups that the broker leads: theirs can't be answered otherwise.
    for answer in [UNKNOWN, OLD] {
        let mut stage = Stage::new(1, "classic").await;
        stage.publish(10).await;
        let held = stage.next().await;
        stage.mock.request_errors(Api::Heartbeat, &[answer]);
        sleep(Duration::from_secs(2)).await;
        stage.ack(held).await;
        stage.publish(5).await;
        stage.drain().await;
        stage.end("classic").await;
    }
}
