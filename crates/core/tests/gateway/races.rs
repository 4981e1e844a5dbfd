//! Whoever subscribes while something ends: a seeded scheduler puts the steps of subscribers, publishers, tails and the
//! one who ends it all in another order with every seed. A step is what happens between two awaits; each call of the
//! transport has some before it and after it. (Steps between threads: the models in `hub` and `ack`.)
//!
//! Each of these was broken on purpose and found here: a hub that hands out a channel that has ended, or one of an event
//! that was unregistered since, or believes a channel that was there before the event was; an end of the tail that is not
//! told, a session that stays in the tracker.

use std::{collections::BTreeMap, future::Future, sync::Arc, time::Duration};

use async_trait::async_trait;
use busgate_conformance::{Overlay, overlaid};
use busgate_core::*;
use futures_util::StreamExt;
use parking_lot::Mutex;

use super::stage::{
    config, draft, event, gateway_over, me, memory, next_text, pattern, pool, publish, register, within,
};

/// How many orders are tried for each way to end.
const SEEDS: u64 = 100;

/// Random numbers that are the same in every run (splitmix64).
#[derive(Debug)]
struct Dice(Mutex<u64>);

impl Dice {
    fn below(&self, bound: u64) -> u64 {
        let mut state = self.0.lock();
        *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = (*state ^ (*state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }

    /// Lets others go first, so many times.
    async fn steps(&self, most: u64) {
        for _ in 0..self.below(most) {
            tokio::task::yield_now().await;
        }
    }
}

/// A transport whose calls take some steps, before they do something and after.
#[derive(Debug)]
struct Stepwise {
    inner: Arc<dyn Transport>,
    dice: Arc<Dice>,
}

impl Stepwise {
    async fn around<T>(&self, call: impl Future<Output = T>) -> T {
        self.dice.steps(4).await;
        let answer = call.await;
        self.dice.steps(4).await;
        answer
    }
}

#[async_trait]
impl Overlay for Stepwise {
    fn beneath(&self) -> &Arc<dyn Transport> {
        &self.inner
    }

    async fn register(&self, event: &EventName, config: &EventConfig) -> Result<()> {
        self.around(self.inner.register(event, config)).await
    }

    async fn unregister(&self, event: &EventName) -> Result<()> {
        self.around(self.inner.unregister(event)).await
    }

    async fn events(&self) -> Result<Vec<EventInfo>> {
        self.around(self.inner.events()).await
    }

    async fn publish(&self, event: &EventName, batch: Vec<Message>) -> Vec<Result<Receipt>> {
        self.around(self.inner.publish(event, batch)).await
    }

    async fn subscribe(&self, event: &EventName, options: SubscribeOptions) -> Result<Subscription> {
        let subscription = self.around(Arc::clone(&self.inner).subscribe(event, options)).await?;
        let dice = Arc::clone(&self.dice);
        Ok(Subscription::new(subscription.then(move |item| {
            let dice = Arc::clone(&dice);
            async move {
                dice.steps(3).await;
                item
            }
        })))
    }

    async fn read(&self, event: &EventName, request: ReadRequest) -> Result<Page> {
        self.around(self.inner.read(event, request)).await
    }

    async fn settle(&self, batch: Vec<Settlement>) -> Vec<Result<Settled>> {
        self.around(self.inner.settle(batch)).await
    }

    async fn close(&self) -> Result<()> {
        self.around(self.inner.close()).await
    }
}

/// How a subscriber fared: what it saw, and how that ended; refused when it saw nothing of it.
type Fate = (Vec<String>, Result<End>);

/// Subscribes after some steps, and follows to the end, acking some of it.
async fn subscriber(gateway: Gateway, dice: Arc<Dice>, request: SubscribeRequest) -> Fate {
    dice.steps(30).await;
    let mut seen = Vec::new();
    let mut session = match gateway.subscribe(&me(), request).await {
        Ok(session) => session,
        Err(error) => return (seen, Err(error)),
    };
    loop {
        dice.steps(3).await;
        match session.next().await {
            Outgoing::Message(message) => {
                seen.push(super::stage::text(&message));
                if let Some(ack_id) = message.ack_id.filter(|_| dice.below(2) == 0) {
                    session.handed_off();
                    let entry = SettleRequest { ack_id, action: SettleAction::Ack };
                    let _ = gateway.settle(&me(), vec![entry]).await;
                }
            }
            Outgoing::End(end) => return (seen, Ok(end)),
            Outgoing::Gap(_) | Outgoing::Draining { .. } => {}
        }
    }
}

/// How many of the requests share their messages with nobody.
const ALONE: usize = 4;

fn requests() -> Vec<SubscribeRequest> {
    let broadcast = || SubscribeRequest::broadcast(pattern("e"));
    vec![
        broadcast(),
        SubscribeRequest { start: Start::Beginning, ..broadcast() },
        SubscribeRequest { start: Start::Beginning, ack: AckMode::Auto, ..broadcast() },
        SubscribeRequest::consumer(pattern("e"), ConsumerName::new("c").unwrap()),
        pool(),
        pool(),
    ]
}

/// Subscribers of every kind, a publisher, and somebody who ends it all by `end`; the gateway, and how each fared.
async fn race<F: Future<Output = ()> + Send + 'static>(
    seed: u64,
    end: impl FnOnce(Gateway) -> F,
) -> (Gateway, Arc<Dice>, Vec<Fate>) {
    let dice = Arc::new(Dice(Mutex::new(seed)));
    let transport = overlaid(Arc::new(Stepwise { inner: memory(), dice: Arc::clone(&dice) }));
    let gateway = gateway_over(transport, config());
    register(&gateway, "e").await;
    for text in ["1", "2"] {
        publish(&gateway, "e", text).await;
    }
    let tasks = Tasks::new();
    let fates = Arc::new(Mutex::new(BTreeMap::new()));
    for (number, request) in requests().into_iter().enumerate() {
        let run = subscriber(gateway.clone(), Arc::clone(&dice), request);
        let fates = Arc::clone(&fates);
        tasks.spawn(async move {
            let fate = run.await;
            fates.lock().insert(number, fate);
        });
    }
    let (publisher, steps) = (gateway.clone(), Arc::clone(&dice));
    tasks.spawn(async move {
        for text in ["3", "4"] {
            steps.steps(20).await;
            let _ = publisher.publish_one(&me(), &event("e"), draft(text)).await;
        }
    });
    let (end, steps) = (end(gateway.clone()), Arc::clone(&dice));
    tasks.spawn(async move {
        steps.steps(40).await;
        end.await;
    });
    within(async {
        while !tasks.is_empty() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    })
    .await;
    let fates = std::mem::take(&mut *fates.lock()).into_values().collect();
    (gateway, dice, fates)
}

/// Tries every seed on a runtime of its own, in which nothing may be left.
fn every_order<F: Future<Output = ()>>(check: impl Fn(u64) -> F) {
    for seed in 0..SEEDS {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        runtime.block_on(async {
            check(seed).await;
            within(async {
                while runtime.metrics().num_alive_tasks() > 0 {
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            })
            .await;
        });
    }
}

/// Nobody saw anything but a part of what was published, in order; and without a hole whoever shares it with nobody.
fn saw_a_part(fates: &[Fate], seed: u64) {
    for (number, (seen, _)) in fates.iter().enumerate() {
        let seen: Vec<u32> = seen.iter().map(|text| text.parse().unwrap()).collect();
        assert!(seen.is_sorted_by(|a, b| a < b), "seed {seed}: {seen:?}");
        assert!(
            number >= ALONE || seen.windows(2).all(|pair| pair[0] + 1 == pair[1]),
            "seed {seed}: {seen:?}"
        );
    }
}

fn is_at_rest(gateway: &Gateway, seed: u64) {
    let stats = gateway.stats();
    assert_eq!((stats.sessions, stats.in_flight, stats.channels), (0, 0, 0), "seed {seed}");
}

#[test]
fn every_subscriber_of_an_unregistered_event_ends_and_the_next_life_is_untouched() {
    every_order(|seed| async move {
        let end = |gateway: Gateway| async move { gateway.unregister(&me(), &event("e")).await.unwrap() };
        let (gateway, dice, fates) = race(seed, end).await;
        saw_a_part(&fates, seed);
        for (seen, fate) in &fates {
            let closed = match fate {
                Ok(end) => matches!(end, End::Closed),
                Err(error) => error.kind() == ErrorKind::NotFound && seen.is_empty(),
            };
            assert!(closed, "seed {seed}: {fate:?}");
        }
        is_at_rest(&gateway, seed);
        register(&gateway, "e").await;
        for request in requests().into_iter().take(2) {
            let mut session = gateway.subscribe(&me(), request).await.unwrap();
            dice.steps(5).await;
            publish(&gateway, "e", "again").await;
            assert_eq!(next_text(&mut session).await, "again", "seed {seed}");
        }
        within(gateway.close()).await.unwrap();
    });
}

#[test]
fn a_channel_that_ends_is_nothing_to_the_next_life() {
    every_order(|seed| async move {
        // The next life begins while subscribers of the first one still hold its channel.
        let end = |gateway: Gateway| async move {
            gateway.unregister(&me(), &event("e")).await.unwrap();
            register(&gateway, "e").await;
            let request = SubscribeRequest::broadcast(pattern("e"));
            let mut session = gateway.subscribe(&me(), request).await.unwrap();
            publish(&gateway, "e", "5").await;
            // What the publisher has to say comes in between.
            while next_text(&mut session).await != "5" {}
            drop(session);
            gateway.unregister(&me(), &event("e")).await.unwrap();
        };
        let (gateway, _, fates) = race(seed, end).await;
        assert_eq!(fates.len(), requests().len());
        is_at_rest(&gateway, seed);
        within(gateway.close()).await.unwrap();
    });
}

#[test]
fn every_subscriber_of_a_gateway_that_drains_is_told_or_refused() {
    every_order(|seed| async move {
        let end = |gateway: Gateway| async move { gateway.drain(Duration::from_secs(5)).await };
        let (gateway, _, fates) = race(seed, end).await;
        saw_a_part(&fates, seed);
        for (_, fate) in &fates {
            let told = match fate {
                Ok(end) => matches!(end, End::Drained { .. }),
                Err(error) => error.kind() == ErrorKind::Unavailable,
            };
            assert!(told, "seed {seed}: {fate:?}");
        }
        is_at_rest(&gateway, seed);
        within(gateway.close()).await.unwrap();
    });
}

#[test]
fn a_gateway_that_closes_leaves_nothing_behind() {
    every_order(|seed| async move {
        let end = |gateway: Gateway| async move { gateway.close().await.unwrap() };
        let (gateway, _, fates) = race(seed, end).await;
        assert_eq!(fates.len(), requests().len(), "seed {seed}: somebody hangs");
        saw_a_part(&fates, seed);
        is_at_rest(&gateway, seed);
    });
}
