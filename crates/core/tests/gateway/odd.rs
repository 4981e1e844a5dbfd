//! Back ends that keep one waiting, or tell of gaps late.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use busgate_conformance::{Overlay, overlaid};
use busgate_core::{
    AckMode, Delivery, End, Error, ErrorKind, EventName, Gap, GatewayConfig, Item, Message, MessageId,
    Outgoing, Result, Start, SubscribeOptions, SubscribeRequest, Subscription, Transport,
};
use futures_util::future::{self, BoxFuture};
use tokio::{sync::mpsc, time::Instant};

use crate::stage::{
    broadcast, config, event, gateway_over, me, memory, next_text, pool, publish, quiet, register, subscribe,
    within,
};

/// Answers the subscription number so much, or nothing to leave it to the transport behind.
type Subscribes = dyn Fn(usize) -> BoxFuture<'static, Option<Result<Subscription>>> + Send + Sync;

/// Memory, but for subscribing.
struct Odd {
    inner: Arc<dyn Transport>,
    count: AtomicUsize,
    subscribes: Box<Subscribes>,
}

impl Odd {
    fn transport<F>(subscribes: impl Fn(usize) -> F + Send + Sync + 'static) -> Arc<dyn Transport>
    where
        F: Future<Output = Option<Result<Subscription>>> + Send + 'static,
    {
        let subscribes = Box::new(move |count| -> BoxFuture<'static, _> { Box::pin(subscribes(count)) });
        overlaid(Arc::new(Self { inner: memory(), count: AtomicUsize::new(0), subscribes }))
    }
}

impl fmt::Debug for Odd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Odd").finish_non_exhaustive()
    }
}

#[async_trait]
impl Overlay for Odd {
    fn beneath(&self) -> &Arc<dyn Transport> {
        &self.inner
    }

    async fn subscribe(&self, event: &EventName, options: SubscribeOptions) -> Result<Subscription> {
        match (self.subscribes)(self.count.fetch_add(1, Ordering::Relaxed)).await {
            Some(answer) => answer,
            None => Arc::clone(&self.inner).subscribe(event, options).await,
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_subscription_that_does_not_come_is_a_timeout() {
    let gateway = gateway_over(Odd::transport(|_| future::pending()), config());
    register(&gateway, "e").await;
    for request in [broadcast(), pool()] {
        let started = Instant::now();
        let answer = within(gateway.subscribe(&me(), request)).await;
        assert_eq!(answer.expect_err("no session").kind(), ErrorKind::Timeout);
        assert!(started.elapsed() <= config().call_timeout + Duration::from_secs(1));
    }
}

#[tokio::test(start_paused = true)]
async fn a_tail_that_cannot_be_attached_again_ends_its_sessions() {
    let lost = || futures_util::stream::iter([Err(Error::unavailable("gone"))]);
    let gateway = gateway_over(
        Odd::transport(move |count| async move {
            if count > 0 {
                return future::pending().await;
            }
            Some(Ok(Subscription::new(lost())))
        }),
        config(),
    );
    register(&gateway, "e").await;
    let mut session = subscribe(&gateway, broadcast()).await;
    let end = tokio::time::timeout(Duration::from_secs(60), session.next()).await.expect("an end");
    assert!(matches!(end, Outgoing::End(End::Failed(_))), "{end:?}");
}

#[tokio::test(start_paused = true)]
async fn sessions_are_bounded_when_many_come_at_once() {
    let slowly = |_| async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        None
    };
    let gateway = gateway_over(Odd::transport(slowly), GatewayConfig { max_sessions: 3, ..config() });
    register(&gateway, "e").await;
    let me = me();
    let sessions = future::join_all((0..10).map(|_| gateway.subscribe(&me, pool()))).await;
    assert_eq!(sessions.iter().filter(|session| session.is_ok()).count(), 3);
    drop(sessions);
    subscribe(&gateway, pool()).await;
}

/// The tail is behind a reader of history: what it could not have, the reader had.
#[tokio::test(start_paused = true)]
async fn a_gap_before_a_followers_place_is_no_gap_to_it() {
    let (tail, items) = mpsc::unbounded_channel::<Item>();
    let items = parking_lot::Mutex::new(Some(items));
    let odd = Odd::transport(move |_| {
        let items = items.lock().take().expect("one tail");
        let items = futures_util::stream::unfold(items, |mut items| async {
            let item = items.recv().await?;
            Some((Ok(item), items))
        });
        future::ready(Some(Ok(Subscription::new(items))))
    });
    // A ring of one: who falls behind reads history from its place.
    let gateway = gateway_over(odd, GatewayConfig { ring_messages: 1, ..config() });
    register(&gateway, "e").await;
    let mut cursors = Vec::new();
    for n in 0..5 {
        cursors.push(publish(&gateway, "e", &n.to_string()).await.cursor.unwrap());
    }
    let all = SubscribeRequest { ack: AckMode::Auto, start: Start::Beginning, ..broadcast() };
    let mut session = subscribe(&gateway, all).await;
    for n in 0..5 {
        assert_eq!(next_text(&mut session).await, n.to_string());
    }
    quiet(&mut session, Duration::from_secs(1)).await;
    let _ = tail.send(Item::Gap(Gap { missed: Some(2), cursor: Some(cursors[1].clone()) }));
    quiet(&mut session, Duration::from_secs(1)).await;
    for cursor in &cursors[2..] {
        let message = Arc::new(Message::new(MessageId::generate(), "again"));
        let _ = tail.send(Item::Delivery(Delivery::unleased(event("e"), message, cursor.clone())));
    }
    quiet(&mut session, Duration::from_secs(1)).await;
}
