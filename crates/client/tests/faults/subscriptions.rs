//! When a subscription comes back, when it ends, and what becomes of what a program holds.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use busgate_client::{Builder, ClosePolicy};
use busgate_core::{
    ConsumerName, Delivery, ErrorKind, EventConfig, GroupName, Item, Message, MessageId, Settled, Start,
    SubscribeOptions, Subscription, Transport,
};
use futures_util::StreamExt;
use tokio::time::Instant;

use crate::{
    frame::Kind,
    proxy::{Action, Fault, Part, Place, Proxy, Side},
    stage::{CALL_TIMEOUT, Gateway, connected, event, patient, soon, until},
};

/// A gateway, a proxy before it, and a client that has made the event `orders` known.
struct Scene {
    gateway: Gateway,
    proxy: Proxy,
    bus: Arc<dyn Transport>,
}

impl Scene {
    async fn set(build: impl FnOnce(Builder) -> Builder) -> Self {
        let gateway = Gateway::memory().await;
        let proxy = Proxy::start(gateway.address()).await;
        let bus = connected(build(patient(proxy.url()))).await;
        soon(bus.register(&event("orders"), &EventConfig::default())).await.unwrap();
        Self { gateway, proxy, bus }
    }

    async fn subscribe(&self, options: SubscribeOptions) -> Subscription {
        soon(Arc::clone(&self.bus).subscribe(&event("orders"), options)).await.unwrap()
    }

    /// Behind the client's back, so that its connection has nothing to do with it.
    async fn publish(&self, id: &str) {
        let message = Message::new(MessageId::new(id).unwrap(), "payload");
        self.gateway.inner().publish(&event("orders"), vec![message]).await.pop().unwrap().unwrap();
    }

    /// A worker that comes to the group after everyone else: what it gets, and on which attempt.
    async fn another_worker(&self, count: usize) -> Vec<(String, u32)> {
        let inner = Arc::clone(self.gateway.inner());
        let mut other = inner.subscribe(&event("orders"), worker()).await.unwrap();
        let mut found = Vec::new();
        for _ in 0..count {
            let delivery = next(&mut other).await;
            found.push((delivery.message.id.to_string(), delivery.attempt));
            delivery.ack().await.unwrap();
        }
        found
    }

    async fn in_flight(&self) -> u64 {
        let lag = self.gateway.inner().lag(&event("orders")).await.unwrap();
        lag.iter().map(|lag| lag.in_flight).sum()
    }
}

fn worker() -> SubscribeOptions {
    SubscribeOptions::pool(GroupName::default(), Start::Beginning)
}

async fn next(subscription: &mut Subscription) -> Delivery {
    match soon(subscription.next()).await {
        Some(Ok(Item::Delivery(delivery))) => delivery,
        other => panic!("{other:?}"),
    }
}

/// The kind of the error that is the last thing of a subscription.
async fn end(subscription: &mut Subscription) -> ErrorKind {
    let kind = match soon(subscription.next()).await {
        Some(Err(error)) => error.kind(),
        other => panic!("{other:?}"),
    };
    assert!(soon(subscription.next()).await.is_none(), "an error is the last");
    kind
}

#[tokio::test]
async fn a_permanent_error_ends_with_the_error() {
    let scene = Scene::set(|builder| builder).await;
    let mut work = scene.subscribe(worker()).await;
    scene.publish("a").await;
    next(&mut work).await.ack().await.unwrap();
    scene.proxy.refuse(true);
    scene.proxy.strike(Action::Reset);
    scene.gateway.inner().unregister(&event("orders")).await.unwrap();
    scene.proxy.refuse(false);
    let since = Instant::now();
    assert_eq!(end(&mut work).await, ErrorKind::NotFound);
    assert!(since.elapsed() < Duration::from_secs(5), "it took {:?}", since.elapsed());
    // Only this subscription has ended.
    soon(scene.bus.events()).await.unwrap();
}

#[tokio::test]
async fn a_consumer_that_is_taken_over_ends_with_exists_and_stays_away() {
    let scene = Scene::set(|builder| builder).await;
    let consumer = || SubscribeOptions::consumer(ConsumerName::new("audit").unwrap(), Start::Beginning);
    let mut first = scene.subscribe(consumer()).await;
    let mut second = scene.subscribe(consumer()).await;
    assert_eq!(end(&mut first).await, ErrorKind::Exists);
    scene.proxy.strike(Action::Reset);
    scene.publish("a").await;
    assert_eq!(next(&mut second).await.message.id.as_str(), "a");
}

#[tokio::test]
async fn so_many_failures_in_a_row_end_with_the_last_one() {
    let told = Arc::new(AtomicUsize::default());
    let count = Arc::clone(&told);
    let scene = Scene::set(|builder| {
        builder.subscribe_max_errors(4).on_stream_error(move |error| {
            assert!(error.kind().is_transient(), "{error:?}");
            count.fetch_add(1, Ordering::SeqCst);
        })
    })
    .await;
    let mut work = scene.subscribe(worker()).await;
    scene.proxy.refuse(true);
    scene.proxy.strike(Action::Reset);
    assert_eq!(end(&mut work).await, ErrorKind::Unavailable);
    assert_eq!(told.load(Ordering::SeqCst), 4);
}

#[tokio::test]
async fn without_reconnect_the_first_failure_ends() {
    let scene = Scene::set(|builder| builder.subscribe_reconnect(false, Duration::ZERO)).await;
    let mut work = scene.subscribe(worker()).await;
    scene.proxy.strike(Action::Reset);
    assert_eq!(end(&mut work).await, ErrorKind::Unavailable);
    // The connection comes back all the same.
    soon(scene.bus.events()).await.unwrap();
}

#[tokio::test]
async fn a_message_starts_the_count_again() {
    let scene = Scene::set(|builder| builder.subscribe_max_errors(2)).await;
    let mut work = scene.subscribe(worker()).await;
    for n in 0..6 {
        scene.proxy.strike(Action::Reset);
        scene.publish(&n.to_string()).await;
        let delivery = next(&mut work).await;
        assert_eq!(delivery.message.id.as_str(), n.to_string());
        assert_eq!(soon(delivery.ack()).await.unwrap(), Settled::Acked);
    }
}

#[tokio::test]
async fn a_mere_connection_does_not_start_the_count_again() {
    let gateway = Gateway::memory().await;
    // Each connection after the first brings the answer that the subscription stands, and breaks.
    let headers = Place { side: Side::Server, kind: Some(Kind::Headers), nth: 0, part: Part::After };
    let proxy = Proxy::planned(gateway.address(), move |connection| match connection {
        0 => Vec::new(),
        _ => vec![Fault { place: headers, action: Action::Reset }],
    })
    .await;
    let bus = connected(patient(proxy.url()).subscribe_max_errors(5)).await;
    soon(bus.register(&event("orders"), &EventConfig::default())).await.unwrap();
    let mut work = soon(Arc::clone(&bus).subscribe(&event("orders"), worker())).await.unwrap();
    proxy.strike(Action::Reset);
    assert_eq!(end(&mut work).await, ErrorKind::Unavailable);
    assert!((4..=5).contains(&proxy.struck()), "{} streams stood and broke", proxy.struck());
}

#[tokio::test]
async fn closing_with_nack_gives_back_uncounted_at_once() {
    let scene = Scene::set(|builder| builder.close_policy(ClosePolicy::Nack)).await;
    let mut work = scene.subscribe(worker()).await;
    for id in ["a", "b", "c"] {
        scene.publish(id).await;
    }
    let held = next(&mut work).await;
    soon(scene.bus.close()).await.unwrap();
    assert_eq!(end(&mut work).await, ErrorKind::Unavailable);
    let found = scene.another_worker(3).await;
    assert!(found.iter().all(|(_, attempt)| *attempt == 1), "{found:?}");
    drop(held);
}

#[tokio::test]
async fn closing_waits_for_what_is_in_hand() {
    let scene = Scene::set(|builder| builder.close_policy(ClosePolicy::Wait(Duration::from_secs(20)))).await;
    let mut work = scene.subscribe(worker()).await;
    for id in ["a", "b", "c"] {
        scene.publish(id).await;
    }
    let held = next(&mut work).await;
    let settling = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        // The connection is lost meanwhile, and the delivery is not.
        scene.proxy.strike(Action::Reset);
        tokio::time::sleep(Duration::from_millis(100)).await;
        held.ack().await
    };
    let since = Instant::now();
    let (closed, settled) = soon(async { tokio::join!(scene.bus.close(), settling) }).await;
    closed.unwrap();
    assert_eq!(settled.unwrap(), Settled::Acked);
    assert!(since.elapsed() < Duration::from_secs(10), "it waited for nothing: {:?}", since.elapsed());
    let found = scene.another_worker(2).await;
    assert_eq!(found.iter().map(|(id, _)| id.as_str()).collect::<Vec<_>>(), ["b", "c"]);
}

#[tokio::test]
async fn closing_over_a_dead_link_ends_in_time() {
    for policy in [ClosePolicy::Nack, ClosePolicy::Wait(Duration::from_secs(1))] {
        let scene = Scene::set(|builder| builder.close_policy(policy).deadline(Duration::from_secs(3))).await;
        let mut work = scene.subscribe(worker()).await;
        scene.publish("a").await;
        let held = next(&mut work).await;
        scene.proxy.refuse(true);
        scene.proxy.strike(Action::Freeze);
        let since = Instant::now();
        _ = soon(scene.bus.close()).await;
        assert!(since.elapsed() < Duration::from_secs(10), "{policy:?} took {:?}", since.elapsed());
        drop(held);
        assert_eq!(end(&mut work).await, ErrorKind::Unavailable);
    }
}

#[tokio::test]
async fn a_dropped_subscription_gives_back_what_it_had_not_yielded() {
    let scene = Scene::set(|builder| builder).await;
    let mut work = scene.subscribe(worker()).await;
    for id in ["a", "b", "c"] {
        scene.publish(id).await;
    }
    let held = next(&mut work).await;
    drop(work);
    let found = scene.another_worker(2).await;
    assert_eq!(found, [("b".to_owned(), 1), ("c".to_owned(), 1)]);
    assert_eq!(soon(held.ack()).await.unwrap(), Settled::Acked);
    let left = async {
        while scene.in_flight().await > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    soon(left).await;
    until("its session has ended", || scene.gateway.stats().sessions == 0).await;
}

#[tokio::test]
async fn an_ack_that_its_stream_swallows_goes_by_a_call() {
    let scene = Scene::set(|builder| builder).await;
    let mut work = scene.subscribe(worker()).await;
    scene.publish("a").await;
    let delivery = next(&mut work).await;
    scene.proxy.mute();
    let since = Instant::now();
    assert_eq!(soon(delivery.ack()).await.unwrap(), Settled::Acked);
    assert!(since.elapsed() >= CALL_TIMEOUT, "the stream was not asked first");
    assert_eq!(scene.proxy.connections(), 1);
}
