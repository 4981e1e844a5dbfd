//! What is this transport's own: its bounds, its incarnations, and who is woken.

use std::{sync::Arc, time::Duration};

use busgate_core::{
    ConsumerName, Cursor, Delivery, ErrorKind, EventConfig, EventName, GroupName, HealthStatus, Item,
    Message, MessageId, Nack, ReadRequest, Start, SubscribeOptions, Subscription, Transport,
};
use futures_util::{FutureExt, StreamExt};

use crate::{MemoryConfig, MemoryTransport};

fn event(name: &str) -> EventName {
    EventName::new(name).unwrap()
}

fn message(id: &str) -> Message {
    Message::new(MessageId::new(id).unwrap(), id.to_owned())
}

async fn open(config: MemoryConfig) -> Arc<MemoryTransport> {
    let transport = MemoryTransport::new(config);
    transport.register(&event("e"), &EventConfig::default()).await.unwrap();
    transport
}

async fn publish(transport: &MemoryTransport, ids: &[&str]) -> Vec<Cursor> {
    let batch = ids.iter().map(|id| message(id)).collect();
    let receipts = transport.publish(&event("e"), batch).await;
    receipts.into_iter().map(|receipt| receipt.unwrap().cursor.unwrap()).collect()
}

async fn pool(transport: &Arc<MemoryTransport>, start: Start) -> Subscription {
    let options = SubscribeOptions::pool(GroupName::default(), start);
    Arc::clone(transport).subscribe(&event("e"), options).await.unwrap()
}

async fn delivery(subscription: &mut Subscription) -> Delivery {
    match subscription.next().await {
        Some(Ok(Item::Delivery(delivery))) => delivery,
        other => panic!("no delivery but {other:?}"),
    }
}

fn is_pending(subscription: &mut Subscription) -> bool {
    subscription.next().now_or_never().is_none()
}

#[tokio::test(start_paused = true)]
async fn a_cursor_of_an_earlier_registration_is_a_gap() {
    let transport = open(MemoryConfig::default()).await;
    let old = publish(&transport, &["a", "b"]).await.pop().unwrap();
    transport.unregister(&event("e")).await.unwrap();
    transport.register(&event("e"), &EventConfig::default()).await.unwrap();
    publish(&transport, &["c", "d", "e"]).await;
    let options = SubscribeOptions::broadcast(Start::After(old));
    let mut subscription = Arc::clone(&transport).subscribe(&event("e"), options).await.unwrap();
    let Some(Ok(Item::Gap(gap))) = subscription.next().await else { panic!("no gap") };
    assert_eq!(gap.missed, None);
    assert_eq!(delivery(&mut subscription).await.message.id.as_str(), "c");
    let after = ReadRequest { start: Start::After(gap.cursor.unwrap()), limit: 1, max_bytes: 1 };
    let page = transport.read(&event("e"), after).await.unwrap();
    assert_eq!(page.messages[0].1.id.as_str(), "c");
    assert!(page.gap.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_token_of_an_earlier_registration_is_unknown() {
    let transport = open(MemoryConfig::default()).await;
    publish(&transport, &["a"]).await;
    let mut members = pool(&transport, Start::Beginning).await;
    let old = delivery(&mut members).await;
    transport.unregister(&event("e")).await.unwrap();
    transport.register(&event("e"), &EventConfig::default()).await.unwrap();
    publish(&transport, &["b"]).await;
    let mut members = pool(&transport, Start::Beginning).await;
    let new = delivery(&mut members).await;
    assert_eq!(old.ack().await.unwrap(), busgate_core::Settled::Unknown);
    assert_eq!(new.ack().await.unwrap(), busgate_core::Settled::Acked);
}

#[tokio::test(start_paused = true)]
async fn messages_a_group_never_got_are_a_gap() {
    let transport = open(MemoryConfig { max_messages: 2, ..MemoryConfig::default() }).await;
    let mut members = pool(&transport, Start::Beginning).await;
    publish(&transport, &["a", "b", "c", "d", "e"]).await;
    let Some(Ok(Item::Gap(gap))) = members.next().await else { panic!("no gap") };
    assert_eq!(gap.missed, Some(3));
    assert_eq!(delivery(&mut members).await.message.id.as_str(), "d");
}

#[tokio::test(start_paused = true)]
async fn events_and_groups_are_bounded() {
    let config = MemoryConfig { max_events: 1, max_groups: 1, ..MemoryConfig::default() };
    let transport = open(config).await;
    let error = transport.register(&event("f"), &EventConfig::default()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Exhausted);
    let _members = pool(&transport, Start::Latest).await;
    let options = SubscribeOptions::consumer(ConsumerName::new("c").unwrap(), Start::Latest);
    let error = Arc::clone(&transport).subscribe(&event("e"), options).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Exhausted);
}

#[tokio::test(start_paused = true)]
async fn a_dead_letter_that_finds_no_room_waits_for_it() {
    let transport = open(MemoryConfig { max_events: 1, ..MemoryConfig::default() }).await;
    transport.register(&event("_dlq.other"), &EventConfig::default()).await.unwrap();
    publish(&transport, &["a"]).await;
    let mut members = pool(&transport, Start::Beginning).await;
    delivery(&mut members).await.reject("bad").await.unwrap();
    transport.unregister(&event("_dlq.other")).await.unwrap();
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    let all = ReadRequest { start: Start::Beginning, limit: 9, max_bytes: 9 };
    assert_eq!(transport.read(&event("_dlq.e"), all).await.unwrap().messages.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_dead_letter_needs_no_room_among_the_events() {
    let transport = open(MemoryConfig { max_events: 1, ..MemoryConfig::default() }).await;
    publish(&transport, &["a"]).await;
    let mut members = pool(&transport, Start::Beginning).await;
    delivery(&mut members).await.reject("bad").await.unwrap();
    let all = ReadRequest { start: Start::Beginning, limit: 9, max_bytes: 9 };
    assert_eq!(transport.read(&event("_dlq.e"), all).await.unwrap().messages.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_dead_letter_that_dies_again_stays_where_it_is() {
    let transport = open(MemoryConfig::default()).await;
    publish(&transport, &["a"]).await;
    delivery(&mut pool(&transport, Start::Beginning).await).await.reject("bad").await.unwrap();
    let options = SubscribeOptions::pool(GroupName::default(), Start::Beginning);
    let mut letters = Arc::clone(&transport).subscribe(&event("_dlq.e"), options).await.unwrap();
    delivery(&mut letters).await.reject("bad again").await.unwrap();
    assert!(is_pending(&mut letters));
    assert_eq!(transport.events().await.unwrap().len(), 2);
    assert_eq!(transport.lag(&event("_dlq.e")).await.unwrap()[0].waiting, Some(0));
}

#[tokio::test(start_paused = true)]
async fn a_lease_returns_at_its_deadline_to_whoever_waits() {
    let transport = open(MemoryConfig::default()).await;
    let mut other = pool(&transport, Start::Beginning).await;
    let mut holder = pool(&transport, Start::Beginning).await;
    publish(&transport, &["a"]).await;
    let _held = delivery(&mut holder).await;
    let before = tokio::time::Instant::now();
    let again = delivery(&mut other).await;
    assert_eq!(again.attempt, 2);
    let waited = before.elapsed();
    assert!(waited >= Duration::from_secs(30) && waited < Duration::from_millis(30_010), "{waited:?}");
}

#[tokio::test(start_paused = true)]
async fn a_nack_returns_when_it_is_due() {
    let transport = open(MemoryConfig::default()).await;
    publish(&transport, &["a"]).await;
    let mut members = pool(&transport, Start::Beginning).await;
    let nack = Nack { delay: Some(Duration::from_millis(700)), error: None };
    delivery(&mut members).await.nack(nack).await.unwrap();
    let before = tokio::time::Instant::now();
    delivery(&mut members).await;
    let waited = before.elapsed();
    assert!(waited >= Duration::from_millis(700) && waited < Duration::from_millis(710), "{waited:?}");
}

#[tokio::test(start_paused = true)]
async fn one_message_wakes_one_member() {
    let transport = open(MemoryConfig::default()).await;
    let mut members = Vec::new();
    for _ in 0..8 {
        let member = pool(&transport, Start::Beginning).await;
        members.push(watched(member));
    }
    members.iter_mut().for_each(|member| assert!(member.poll_is_pending()));
    publish(&transport, &["a"]).await;
    assert_eq!(members.iter().filter(|member| member.woken()).count(), 1);
    publish(&transport, &["b", "c"]).await;
    assert_eq!(members.iter().filter(|member| member.woken()).count(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_member_that_does_not_come_is_passed_by() {
    let transport = open(MemoryConfig::default()).await;
    let mut stuck = pool(&transport, Start::Beginning).await;
    let mut other = pool(&transport, Start::Beginning).await;
    assert!(is_pending(&mut stuck));
    let waits = tokio::time::timeout(Duration::from_millis(50), delivery(&mut other));
    let (waited, _) = futures_util::future::join(waits, publish(&transport, &["a"])).await;
    assert_eq!(waited.unwrap().message.id.as_str(), "a");
}

#[tokio::test(start_paused = true)]
async fn a_member_that_does_not_come_for_what_came_back_is_passed_by() {
    let transport = open(MemoryConfig::default()).await;
    let mut worker = pool(&transport, Start::Beginning).await;
    let mut stuck = pool(&transport, Start::Beginning).await;
    let mut other = watched(pool(&transport, Start::Beginning).await);
    publish(&transport, &["a"]).await;
    let taken = delivery(&mut worker).await;
    assert!(is_pending(&mut stuck) && other.poll_is_pending());
    taken.nack(Nack { delay: Some(Duration::from_secs(1)), error: None }).await.unwrap();
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    assert!(other.woken());
}

#[tokio::test(start_paused = true)]
async fn a_consumer_that_takes_over_goes_on_after_the_last_ack() {
    let transport = open(MemoryConfig::default()).await;
    publish(&transport, &["a", "b", "c"]).await;
    let options = SubscribeOptions::consumer(ConsumerName::new("reader").unwrap(), Start::Beginning);
    let mut earlier = Arc::clone(&transport).subscribe(&event("e"), options.clone()).await.unwrap();
    delivery(&mut earlier).await.ack().await.unwrap();
    let unsettled = delivery(&mut earlier).await;
    let mut later = Arc::clone(&transport).subscribe(&event("e"), options).await.unwrap();
    let again = delivery(&mut later).await;
    assert_eq!((again.message.id.as_str(), again.attempt), ("b", 2));
    assert_eq!(unsettled.ack().await.unwrap(), busgate_core::Settled::Stale);
    assert_eq!(delivery(&mut later).await.message.id.as_str(), "c");
}

#[tokio::test(start_paused = true)]
async fn a_woken_member_that_leaves_passes_the_message_on() {
    let transport = open(MemoryConfig::default()).await;
    let mut first = watched(pool(&transport, Start::Beginning).await);
    let mut second = watched(pool(&transport, Start::Beginning).await);
    assert!(first.poll_is_pending() && second.poll_is_pending());
    publish(&transport, &["a"]).await;
    assert!(first.woken() && !second.woken());
    drop(first);
    assert!(second.woken());
}

#[tokio::test(start_paused = true)]
async fn a_full_window_waits_for_its_own_acks() {
    let transport = open(MemoryConfig::default()).await;
    publish(&transport, &["a", "b"]).await;
    let mut options = SubscribeOptions::pool(GroupName::default(), Start::Beginning);
    options.max_in_flight = 1;
    let member = Arc::clone(&transport).subscribe(&event("e"), options).await.unwrap();
    let mut member = watched(member);
    let first = member.delivery().await;
    assert!(member.poll_is_pending());
    first.ack().await.unwrap();
    assert!(member.woken());
    assert_eq!(member.delivery().await.message.id.as_str(), "b");
}

#[tokio::test(start_paused = true)]
async fn health_sends_a_message_all_the_way() {
    let transport = open(MemoryConfig::default()).await;
    assert_eq!(transport.health().await.status, HealthStatus::Healthy);
    assert_eq!(transport.events().await.unwrap().len(), 1, "and leaves nothing behind");
    transport.close().await.unwrap();
    assert_eq!(transport.health().await.status, HealthStatus::Unhealthy);
}

/// A subscription polled by hand, that knows whether it was woken.
struct Watched {
    subscription: Subscription,
    woken: Arc<Flag>,
}

#[derive(Default)]
struct Flag(std::sync::atomic::AtomicBool);

impl std::task::Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, std::sync::atomic::Ordering::SeqCst);
    }
}

fn watched(subscription: Subscription) -> Watched {
    Watched { subscription, woken: Arc::default() }
}

impl Watched {
    fn poll_is_pending(&mut self) -> bool {
        let waker = Arc::clone(&self.woken).into();
        let mut cx = std::task::Context::from_waker(&waker);
        self.subscription.poll_next_unpin(&mut cx).is_pending()
    }

    async fn delivery(&mut self) -> Delivery {
        delivery(&mut self.subscription).await
    }

    fn woken(&self) -> bool {
        self.woken.0.load(std::sync::atomic::Ordering::SeqCst)
    }
}
