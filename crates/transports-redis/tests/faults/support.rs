//! Publishers and workers that go on through anything, and what they saw.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use busgate_core::{
    Delivery, Effect, ErrorKind, EventConfig, EventName, GroupName, Item, Message, MessageId, Settled,
    Settlement, Start, SubscribeOptions, Subscription, Tasks, Transport, Verb,
};
use busgate_transports_redis::{RedisConfig, RedisTransport};
use futures_util::StreamExt;
use parking_lot::Mutex;
use redis::{FromRedisValue, aio::MultiplexedConnection};
use tokio::time::{sleep, timeout};

pub(crate) const PATIENCE: Duration = Duration::from_secs(40);

pub(crate) async fn connect(url: &str) -> Arc<RedisTransport> {
    RedisTransport::connect(url.parse::<RedisConfig>().unwrap()).await.unwrap()
}

pub(crate) fn event(name: &str) -> EventName {
    EventName::new(name).unwrap()
}

pub(crate) async fn registered(transport: &Arc<RedisTransport>, name: &str) -> EventName {
    let event = event(name);
    transport.register(&event, &EventConfig::default()).await.unwrap();
    event
}

pub(crate) fn message(id: &str) -> Message {
    Message::new(MessageId::new(id).unwrap(), id.as_bytes().to_vec())
}

/// Publishes until it is accepted, under the same id.
pub(crate) async fn publish(transport: &Arc<RedisTransport>, event: &EventName, id: &str) {
    let publishing = async {
        loop {
            match transport.publish(event, vec![message(id)]).await.pop().unwrap() {
                Ok(_) => return,
                Err(error) if error.kind().is_transient() => {
                    sleep(error.retry_after().unwrap_or(Duration::from_millis(20))).await;
                }
                Err(error) => panic!("{id}: {error:?}"),
            }
        }
    };
    timeout(PATIENCE, publishing).await.unwrap();
}

pub(crate) fn workers(window: usize) -> SubscribeOptions {
    let mut options = SubscribeOptions::pool(GroupName::default(), Start::Beginning);
    options.retry.ack_wait = Duration::from_secs(1);
    options.max_in_flight = window;
    options
}

pub(crate) async fn work_on(transport: &Arc<RedisTransport>, event: &EventName) -> Subscription {
    Arc::clone(transport).subscribe(event, workers(64)).await.unwrap()
}

/// A member with a window, and time for what it holds.
pub(crate) async fn hold_on(node: &Arc<RedisTransport>, event: &EventName, window: usize) -> Subscription {
    let mut options = workers(window);
    options.retry.ack_wait = PATIENCE;
    Arc::clone(node).subscribe(event, options).await.unwrap()
}

/// A client of Redis that knows nothing of busgate.
pub(crate) async fn native(url: &str) -> MultiplexedConnection {
    redis::Client::open(url).unwrap().get_multiplexed_async_connection().await.unwrap()
}

pub(crate) async fn ask<T: FromRedisValue>(client: &mut MultiplexedConnection, words: &[&str]) -> T {
    redis::cmd(words[0]).arg(&words[1..]).query_async(client).await.unwrap()
}

pub(crate) async fn publish_all(node: &Arc<RedisTransport>, event: &EventName, ids: &[String]) {
    let batch = ids.iter().map(|id| message(id)).collect();
    node.publish(event, batch).await.into_iter().for_each(|sent| drop(sent.unwrap()));
}

pub(crate) async fn settle(node: &Arc<RedisTransport>, deliveries: &[&Delivery], verb: Verb) -> Vec<Settled> {
    let settlement =
        |held: &&Delivery| Settlement { token: held.token().unwrap().clone(), verb: verb.clone() };
    let answers = node.settle(deliveries.iter().map(settlement).collect()).await;
    answers.into_iter().map(Result::unwrap).collect()
}

pub(crate) fn numbered(count: usize) -> Vec<String> {
    (0..count).map(|nth| format!("m{nth}")).collect()
}

/// The next message; notices are passed over.
pub(crate) async fn next(subscription: &mut Subscription) -> Delivery {
    loop {
        match timeout(PATIENCE, subscription.next()).await.unwrap() {
            Some(Ok(Item::Delivery(delivery))) => return delivery,
            Some(Ok(Item::Gap(_))) => {}
            other => panic!("wanted a delivery, found {other:?}"),
        }
    }
}

/// What a worker saw.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// How often each message came.
    pub(crate) came: BTreeMap<String, usize>,
    /// Those whose ack was answered.
    pub(crate) acked: BTreeSet<String>,
    /// Those whose ack may have taken effect: they come back, or not.
    pub(crate) open: BTreeSet<String>,
    /// Those that came after their ack was answered.
    pub(crate) back: Vec<String>,
    pub(crate) gaps: usize,
}

impl Seen {
    fn is_done(&self, id: &str) -> bool {
        self.acked.contains(id) || self.open.contains(id)
    }
}

/// A worker in a task of its own, which acks whatever comes.
#[derive(Debug)]
pub(crate) struct Worker {
    pub(crate) seen: Arc<Mutex<Seen>>,
    _tasks: Tasks,
}

impl Worker {
    pub(crate) fn start(mut subscription: Subscription) -> Self {
        let (seen, tasks) = (Arc::new(Mutex::new(Seen::default())), Tasks::new());
        let shared = Arc::clone(&seen);
        tasks.spawn(async move {
            while let Some(item) = subscription.next().await {
                let delivery = match item {
                    // Its node was closed: others go on.
                    Err(_) => return,
                    Ok(Item::Delivery(delivery)) => delivery,
                    Ok(Item::Gap(_)) => {
                        shared.lock().gaps += 1;
                        continue;
                    }
                };
                let id = delivery.message.id.to_string();
                {
                    let mut seen = shared.lock();
                    *seen.came.entry(id.clone()).or_default() += 1;
                    if seen.acked.contains(&id) {
                        seen.back.push(id.clone());
                    }
                }
                match delivery.ack().await {
                    Ok(Settled::Acked) => drop(shared.lock().acked.insert(id)),
                    Ok(_) => {}
                    Err(error) => {
                        assert!(
                            error.kind().is_transient() || error.kind() == ErrorKind::NotFound,
                            "{error:?}"
                        );
                        if error.effect() == Effect::Unknown {
                            shared.lock().open.insert(id);
                        }
                    }
                }
            }
        });
        Self { seen, _tasks: tasks }
    }

    /// Waits until all these came and were acked, as far as anyone knows, and checks that none came back after that.
    pub(crate) async fn finishes(&self, ids: &[String]) {
        let done = async {
            while !ids.iter().all(|id| self.seen.lock().is_done(id)) {
                sleep(Duration::from_millis(20)).await;
            }
        };
        let finished = timeout(PATIENCE, done).await;
        let seen = self.seen.lock();
        let missing: Vec<_> = ids.iter().filter(|id| !seen.is_done(id)).collect();
        assert!(finished.is_ok(), "not acked: {missing:?}");
        assert!(seen.back.is_empty(), "acked, and came again: {:?}", seen.back);
    }
}
