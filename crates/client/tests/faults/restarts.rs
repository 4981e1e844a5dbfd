//! The gateway goes away and comes back while everybody is at work.

use std::{future::Future, sync::Arc};

use busgate_core::{
    EventConfig, Gap, GroupName, Item, Message, MessageId, Settled, Start, SubscribeOptions, Subscription,
    Transport,
};
use futures_util::StreamExt;

use crate::{
    load::{Load, Sum},
    proxy::{Action, Proxy},
    stage::{Gateway, HUNG, connected, event, orders, patient, soon},
};

/// How many publishes are answered between two restarts.
const PROGRESS: usize = 60;

/// Load through a gateway on the log that `end` ends again and again, and that is started again each time.
async fn restarted<F: Future<Output = ()>>(times: usize, end: impl Fn(Gateway) -> F) -> Sum {
    let folder = tempfile::tempdir().unwrap();
    let gateway = Gateway::log(folder.path()).await;
    let proxy = Proxy::start(gateway.address()).await;
    let bus = connected(patient(proxy.url())).await;
    let orders = orders(&bus).await;
    let load = Load::new(bus, orders, "run", HUNG);
    let harm = async {
        let mut running = gateway;
        for _ in 0..times {
            load.advance(PROGRESS).await;
            end(running).await;
            running = Gateway::log(folder.path()).await;
            proxy.point_at(running.address());
        }
        load.advance(PROGRESS).await;
        running
    };
    let mut last = None;
    let sum = Box::pin(load.under(async { last = Some(harm.await) })).await.unwrap();
    assert!(sum.messages >= (times + 1) * PROGRESS, "{sum:?}");
    sum
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn gone_from_one_moment_to_the_next_loses_and_repeats_nothing() {
    restarted(5, |gateway| async { drop(gateway) }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drain_loses_repeats_and_counts_nothing() {
    let sum = restarted(2, Gateway::drain).await;
    assert_eq!(sum.attempts, 1, "a drain counted an attempt");
}

async fn next(subscription: &mut Subscription) -> Item {
    match soon(subscription.next()).await {
        Some(Ok(item)) => item,
        other => panic!("{other:?}"),
    }
}

async fn ids(subscription: &mut Subscription, count: usize) -> Vec<String> {
    let mut ids = Vec::new();
    while ids.len() < count {
        match next(subscription).await {
            Item::Delivery(delivery) => ids.push(delivery.message.id.to_string()),
            Item::Gap(gap) => panic!("{gap:?} after {ids:?}"),
        }
    }
    ids
}

async fn publish(bus: &Arc<dyn Transport>, ids: [&str; 2]) {
    let batch = ids.map(|id| Message::new(MessageId::new(id).unwrap(), "payload")).into();
    for answer in soon(bus.publish(&event("orders"), batch)).await {
        answer.unwrap();
    }
}

#[tokio::test]
async fn what_a_memory_forgot_is_told_as_a_gap() {
    let first = Gateway::memory().await;
    let proxy = Proxy::start(first.address()).await;
    let bus = connected(patient(proxy.url())).await;
    let orders = orders(&bus).await;
    let live = SubscribeOptions::broadcast(Start::Beginning);
    let mut live = soon(Arc::clone(&bus).subscribe(&orders, live)).await.unwrap();
    publish(&bus, ["a", "b"]).await;
    assert_eq!(ids(&mut live, 2).await, ["a", "b"]);
    let second = Gateway::memory().await;
    second.inner().register(&orders, &EventConfig::default()).await.unwrap();
    proxy.point_at(second.address());
    drop(first);
    publish(&bus, ["c", "d"]).await;
    match next(&mut live).await {
        Item::Gap(Gap { .. }) => {}
        Item::Delivery(delivery) => panic!("{delivery:?} without a gap"),
    }
    assert_eq!(ids(&mut live, 2).await, ["c", "d"]);
}

#[tokio::test]
async fn from_latest_on_a_broken_stream_leaves_no_hole() {
    let gateway = Gateway::memory().await;
    let proxy = Proxy::start(gateway.address()).await;
    let bus = connected(patient(proxy.url())).await;
    let orders = orders(&bus).await;
    publish(&bus, ["before-1", "before-2"]).await;
    let live = SubscribeOptions::broadcast(Start::Latest);
    let mut live = soon(Arc::clone(&bus).subscribe(&orders, live)).await.unwrap();
    // Nothing has come by this stream yet, so that no cursor of a message says where it stood.
    proxy.refuse(true);
    proxy.strike(Action::Reset);
    publish(gateway.inner(), ["a", "b"]).await;
    proxy.refuse(false);
    publish(gateway.inner(), ["c", "d"]).await;
    assert_eq!(ids(&mut live, 4).await, ["a", "b", "c", "d"]);
}

#[tokio::test]
async fn a_worker_that_holds_a_message_through_a_restart_can_ack_it() {
    let folder = tempfile::tempdir().unwrap();
    let gateway = Gateway::log(folder.path()).await;
    let proxy = Proxy::start(gateway.address()).await;
    let bus = connected(patient(proxy.url())).await;
    let orders = orders(&bus).await;
    publish(&bus, ["a", "b"]).await;
    let worker = SubscribeOptions {
        max_in_flight: 1,
        ..SubscribeOptions::pool(GroupName::default(), Start::Beginning)
    };
    let mut work = soon(Arc::clone(&bus).subscribe(&orders, worker)).await.unwrap();
    let Item::Delivery(held) = next(&mut work).await else { panic!("a gap") };
    assert_eq!(held.message.id.as_str(), "a");
    gateway.drain().await;
    let second = Gateway::log(folder.path()).await;
    proxy.point_at(second.address());
    // Whether the same client has taken it again by then decides the answer; lost or done twice it is never.
    let settled = soon(held.ack()).await.unwrap();
    let wanted: &[&str] = match settled {
        Settled::Acked => &["b"],
        Settled::Stale => &["a", "b"],
        other => panic!("{other:?}"),
    };
    for id in wanted {
        let Item::Delivery(delivery) = next(&mut work).await else { panic!("a gap") };
        assert_eq!(delivery.message.id.as_str(), *id);
        assert_eq!(soon(delivery.ack()).await.unwrap(), Settled::Acked);
    }
}
