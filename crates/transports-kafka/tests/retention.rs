//! Groups that retention passes by, as whoever runs the broker has it: they are told what is gone, and go on.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use std::sync::Arc;

use busgate_brokers::{Kind, shared};
use busgate_core::{
    EventName, GroupName, Item, LeaseToken, MessageId, Settled, Settlement, Start, SubscribeOptions,
    Subscription, Transport, Verb,
};
use busgate_transports_kafka::KafkaTransport;
use futures_util::StreamExt;
use rdkafka::{
    ClientConfig, TopicPartitionList,
    admin::{AdminClient, AdminOptions},
    client::DefaultClientContext,
    topic_partition_list::Offset,
};
use tokio::time::timeout;

mod support;

use support::{PATIENCE, event, message, node, subscribe};

/// Little is read ahead, so that retention can pass a member by.
const OPTIONS: &str = "partitions=1&connect_timeout=30s&dedup_window=0s&client.queued.min.messages=100";

fn prefix() -> String {
    let id = MessageId::generate();
    format!("r{}.", id.as_str().rsplit('-').next().unwrap())
}

fn workers(window: usize) -> SubscribeOptions {
    let options = SubscribeOptions::pool(GroupName::new("workers").unwrap(), Start::Beginning);
    SubscribeOptions { max_in_flight: window, ..options }
}

async fn publish(node: &Arc<KafkaTransport>, event: &EventName, ids: std::ops::Range<u64>) {
    for receipt in node.publish(event, ids.map(|id| message(&format!("m{id}"))).collect()).await {
        receipt.unwrap();
    }
}

/// Deletes what is before `offset`, as retention does.
async fn delete_before(topic: &str, offset: i64) {
    let servers = shared(Kind::Kafka).trim_start_matches("kafka://").to_owned();
    let admin: AdminClient<DefaultClientContext> =
        ClientConfig::new().set("bootstrap.servers", servers).create().unwrap();
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(topic, 0, Offset::Offset(offset)).unwrap();
    admin.delete_records(&list, &AdminOptions::new()).await.unwrap();
}

/// What a member gets up to message `last`: how many messages, each in its turn, and how many are told missing.
async fn take_up_to(
    node: &Arc<KafkaTransport>,
    member: &mut Subscription,
    mut next: u64,
    last: u64,
) -> (u64, u64) {
    let (mut count, mut missing) = (0, 0);
    let mut done: Vec<LeaseToken> = Vec::new();
    while next <= last {
        match timeout(PATIENCE, member.next()).await.expect("the group goes on") {
            Some(Ok(Item::Delivery(delivery))) => {
                assert_eq!(delivery.message.id.as_str(), format!("m{next}"));
                done.push(delivery.token().unwrap().clone());
                (next, count) = (next + 1, count + 1);
            }
            Some(Ok(Item::Gap(gap))) => {
                let missed = gap.missed.expect("how many are missing is known");
                (next, missing) = (next + missed, missing + missed);
            }
            other => panic!("{other:?}"),
        }
        if done.len() == 50 || next > last {
            let acks = done.drain(..).map(|token| Settlement { token, verb: Verb::Ack }).collect();
            for settled in node.settle(acks).await {
                assert_eq!(settled.unwrap(), Settled::Acked);
            }
        }
    }
    (count, missing)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_that_was_away_is_told_what_is_gone_and_goes_on() {
    let prefix = prefix();
    let first = node(&shared(Kind::Kafka), &format!("prefix={prefix}&{OPTIONS}")).await;
    let event = event(&first, "orders").await;
    let mut member = subscribe(&first, &event, workers(64)).await;
    publish(&first, &event, 0..10).await;
    assert_eq!(take_up_to(&first, &mut member, 0, 9).await, (10, 0));
    drop(member);
    first.close().await.unwrap();
    let second = node(&shared(Kind::Kafka), &format!("prefix={prefix}&{OPTIONS}")).await;
    publish(&second, &event, 10..100).await;
    delete_before(&format!("{prefix}orders"), 60).await;
    let mut member = subscribe(&second, &event, workers(64)).await;
    assert_eq!(take_up_to(&second, &mut member, 10, 99).await, (40, 50));
    publish(&second, &event, 100..110).await;
    assert_eq!(take_up_to(&second, &mut member, 100, 109).await, (10, 0));
    second.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_that_is_passed_by_while_it_works_is_told_what_is_gone_and_goes_on() {
    const COUNT: u64 = 12_000;
    let prefix = prefix();
    let node = node(&shared(Kind::Kafka), &format!("prefix={prefix}&{OPTIONS}")).await;
    let event = event(&node, "orders").await;
    let mut member = subscribe(&node, &event, workers(64)).await;
    for at in (0..COUNT).step_by(1000) {
        publish(&node, &event, at..at + 1000).await;
    }
    assert_eq!(take_up_to(&node, &mut member, 0, 99).await, (100, 0));
    delete_before(&format!("{prefix}orders"), 11_000).await;
    let (count, missing) = take_up_to(&node, &mut member, 100, COUNT - 1).await;
    assert_eq!(count + missing, COUNT - 100);
    assert!(missing > 0, "all was read ahead: this test tells nothing");
    assert!(count >= 1000, "what is still there is delivered");
    publish(&node, &event, COUNT..COUNT + 10).await;
    assert_eq!(take_up_to(&node, &mut member, COUNT, COUNT + 9).await, (10, 0));
    node.close().await.unwrap();
}
