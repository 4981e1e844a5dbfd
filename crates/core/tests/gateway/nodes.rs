//! Two nodes on one transport: what one delivers, the other settles, and the window is free at once.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use busgate_conformance::{Overlay, overlaid};
use busgate_core::{
    AckMode, AckSecret, AckStatus, ErrorKind, EventConfig, EventName, Gateway, GatewayConfig, Message, Nack,
    Outbound, Receipt, Result, Session, SettleAction, SubscribeOptions, SubscribeRequest, Subscription,
    Transport,
};
use tokio::time::Instant;

use crate::stage::{
    ACK_WAIT, ack, config, event, gateway_over, me, memory, next, next_text, pattern, pool, publish, quiet,
    register, settle, subscribe, text,
};

/// The event that nodes talk through.
const NODES: &str = "_nodes";

/// Counts what is done with the event that nodes talk through.
#[derive(Debug)]
struct Counting {
    inner: Arc<dyn Transport>,
    published: AtomicUsize,
    subscribed: AtomicUsize,
    registered: AtomicUsize,
}

#[async_trait]
impl Overlay for Counting {
    fn beneath(&self) -> &Arc<dyn Transport> {
        &self.inner
    }

    async fn register(&self, event: &EventName, config: &EventConfig) -> Result<()> {
        self.registered.fetch_add(usize::from(event.as_str() == NODES), Ordering::Relaxed);
        self.inner.register(event, config).await
    }

    async fn publish(&self, event: &EventName, batch: Vec<Message>) -> Vec<Result<Receipt>> {
        self.published.fetch_add(usize::from(event.as_str() == NODES), Ordering::Relaxed);
        self.inner.publish(event, batch).await
    }

    async fn subscribe(&self, event: &EventName, options: SubscribeOptions) -> Result<Subscription> {
        self.subscribed.fetch_add(usize::from(event.as_str() == NODES), Ordering::Relaxed);
        Arc::clone(&self.inner).subscribe(event, options).await
    }
}

impl Counting {
    fn new() -> Arc<Self> {
        let (published, subscribed, registered) = Default::default();
        Arc::new(Self { inner: memory(), published, subscribed, registered })
    }

    /// What was published to the event, and how often it was subscribed to and registered.
    fn counts(&self) -> [usize; 3] {
        [&self.published, &self.subscribed, &self.registered].map(|count| count.load(Ordering::Relaxed))
    }
}

/// Two nodes with one secret; `shared` says whether they know of each other.
async fn two_over(transport: Arc<dyn Transport>, shared: bool) -> [Gateway; 2] {
    let config = GatewayConfig { shared, ack_secret: AckSecret::generate(), ..config() };
    let node = || gateway_over(Arc::clone(&transport), config.clone());
    let nodes = [node(), node()];
    register(&nodes[0], "e").await;
    nodes
}

async fn two() -> [Gateway; 2] {
    two_over(memory(), true).await
}

/// A worker that may hold one message.
async fn one_at_a_time(node: &Gateway) -> Session {
    subscribe(node, SubscribeRequest { max_in_flight: Some(1), ..pool() }).await
}

/// A worker that holds the first of two messages, and the delivery.
async fn with_a_full_window(node: &Gateway) -> (Session, Outbound) {
    publish(node, "e", "one").await;
    publish(node, "e", "two").await;
    let mut session = one_at_a_time(node).await;
    let first = next(&mut session).await;
    session.handed_off();
    (session, first)
}

/// The next message comes, and long before any lease is over.
async fn at_once(session: &mut Session, expected: &str) {
    let settled = Instant::now();
    assert_eq!(next_text(session).await, expected);
    assert!(settled.elapsed() < Duration::from_millis(100), "{:?}", settled.elapsed());
}

/// What `action` through another node does: the next message comes at once, long before the lease is over.
async fn frees(action: SettleAction, status: AckStatus) {
    let [a, b] = two().await;
    let (mut session, first) = with_a_full_window(&a).await;
    quiet(&mut session, ACK_WAIT / 10).await;
    assert_eq!(settle(&b, &first, action).await, status);
    at_once(&mut session, "two").await;
}

#[tokio::test(start_paused = true)]
async fn an_ack_through_another_node_frees_the_window() {
    frees(SettleAction::Ack, AckStatus::Acked).await;
}

#[tokio::test(start_paused = true)]
async fn a_nack_through_another_node_frees_the_window() {
    let nack = Nack { delay: Some(2 * ACK_WAIT), error: None };
    frees(SettleAction::Nack(nack), AckStatus::Nacked).await;
}

#[tokio::test(start_paused = true)]
async fn a_reject_through_another_node_frees_the_window() {
    frees(SettleAction::Reject { reason: "no".into() }, AckStatus::Rejected).await;
}

#[tokio::test(start_paused = true)]
async fn an_extension_through_another_node_keeps_the_window_taken() {
    let [a, b] = two().await;
    let (mut session, first) = with_a_full_window(&a).await;
    assert_eq!(settle(&b, &first, SettleAction::Extend(4 * ACK_WAIT)).await, AckStatus::Extended);
    quiet(&mut session, 3 * ACK_WAIT).await;
    assert_eq!(session.in_flight(), 1, "the clock of the window runs on with the lease's");
    assert_eq!(ack(&b, &first).await, AckStatus::Acked);
    at_once(&mut session, "two").await;
}

#[tokio::test(start_paused = true)]
async fn a_stream_of_messages_acked_through_another_node_flows() {
    let [a, b] = two().await;
    let mut session = one_at_a_time(&a).await;
    let started = Instant::now();
    for n in 0..100 {
        publish(&b, "e", &n.to_string()).await;
        let outbound = next(&mut session).await;
        assert_eq!(text(&outbound), n.to_string());
        assert_eq!(ack(&b, &outbound).await, AckStatus::Acked);
    }
    assert!(started.elapsed() < ACK_WAIT / 2, "{:?}", started.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_drain_ends_when_another_node_has_settled_the_last() {
    let [a, b] = two().await;
    publish(&a, "e", "one").await;
    let mut session = one_at_a_time(&a).await;
    let first = next(&mut session).await;
    session.handed_off();
    assert_eq!(ack(&b, &first).await, AckStatus::Acked);
    let started = Instant::now();
    let ends = async {
        while !matches!(session.next().await, busgate_core::Outgoing::End(_)) {}
        drop(session);
    };
    tokio::join!(a.drain(ACK_WAIT), ends);
    assert!(started.elapsed() < ACK_WAIT / 10, "{:?}", started.elapsed());
}

/// What is settled where it was delivered, told to nobody; and who hands out no leases listens to nobody.
#[tokio::test(start_paused = true)]
async fn without_settlements_for_others_nothing_is_told() {
    let counting = Counting::new();
    let [a, b] = two_over(overlaid(Arc::clone(&counting)), true).await;
    let mut automatic = subscribe(&b, SubscribeRequest { ack: AckMode::Auto, ..pool() }).await;
    publish(&a, "e", "zero").await;
    next(&mut automatic).await;
    drop(automatic);
    assert_eq!(counting.counts(), [0, 0, 0]);
    let mut sessions = [one_at_a_time(&a).await, one_at_a_time(&a).await];
    for n in 0..20 {
        publish(&a, "e", &n.to_string()).await;
        let [one, other] = &mut sessions;
        let outbound = tokio::select! {
            item = next(one) => item,
            item = next(other) => item,
        };
        assert_eq!(ack(&a, &outbound).await, AckStatus::Acked);
    }
    tokio::time::sleep(ACK_WAIT).await;
    assert_eq!(counting.counts(), [0, 1, 1], "one tail, whatever number of sessions");
}

/// Whoever is alone on its transport tells nothing, not even of the acks of its earlier life.
#[tokio::test(start_paused = true)]
async fn alone_on_a_transport_nothing_is_told() {
    let counting = Counting::new();
    let [before, now] = two_over(overlaid(Arc::clone(&counting)), false).await;
    publish(&now, "e", "one").await;
    let mut session = one_at_a_time(&before).await;
    let first = next(&mut session).await;
    session.handed_off();
    assert_eq!(ack(&now, &first).await, AckStatus::Acked);
    tokio::time::sleep(ACK_WAIT).await;
    assert_eq!(counting.counts(), [0, 0, 0]);
}

#[tokio::test(start_paused = true)]
async fn what_comes_while_a_message_is_under_way_goes_into_the_next() {
    let counting = Counting::new();
    let [a, b] = two_over(overlaid(Arc::clone(&counting)), true).await;
    let mut session = subscribe(&a, pool()).await;
    let mut outbounds = Vec::new();
    for n in 0..100 {
        publish(&a, "e", &n.to_string()).await;
        outbounds.push(next(&mut session).await);
    }
    session.handed_off();
    let acks = outbounds.iter().map(|outbound| ack(&b, outbound));
    futures_util::future::join_all(acks).await;
    tokio::time::sleep(ACK_WAIT / 10).await;
    assert_eq!(session.in_flight(), 0);
    let [published, ..] = counting.counts();
    assert!(published <= 5, "{published} messages for 100 acks at about the same time");
}

/// Nonsense and notes for others change nothing, and the next note is heard.
#[tokio::test(start_paused = true)]
async fn notes_that_make_no_sense_change_nothing() {
    let transport = memory();
    let [a, b] = two_over(Arc::clone(&transport), true).await;
    let (mut session, first) = with_a_full_window(&a).await;
    quiet(&mut session, ACK_WAIT / 10).await;
    let unknown = [&[1][..], &[7; 24], &[0; 4]].concat();
    let overlong = [&[1][..], &vec![0; 28 * 100_000]].concat();
    for payload in [vec![], vec![1, 2, 3], b"hello".to_vec(), unknown, overlong] {
        let message = Message::new(busgate_core::MessageId::generate(), payload);
        assert!(transport.publish(&event(NODES), vec![message]).await[0].is_ok());
    }
    quiet(&mut session, ACK_WAIT / 10).await;
    assert_eq!(ack(&b, &first).await, AckStatus::Acked);
    at_once(&mut session, "two").await;
}

#[tokio::test(start_paused = true)]
async fn clients_see_nothing_of_what_nodes_tell_each_other() {
    let [a, b] = two().await;
    publish(&a, "e", "one").await;
    let mut session = one_at_a_time(&a).await;
    let first = next(&mut session).await;
    assert_eq!(ack(&b, &first).await, AckStatus::Acked);
    tokio::time::sleep(Duration::from_secs(1)).await;
    let listed: Vec<_> = a.events(&me()).await.unwrap().into_iter().map(|info| info.name).collect();
    assert_eq!(listed, [event("e")]);
    assert_eq!(a.stats().channels, 0);
    let refused = a.describe(&me(), &event(NODES)).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::NotFound);
    let request = SubscribeRequest::broadcast(pattern(NODES));
    assert_eq!(a.subscribe(&me(), request).await.unwrap_err().kind(), ErrorKind::NotFound);
}
