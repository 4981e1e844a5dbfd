//! Publishers and workers that go on through anything, and what they saw.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use busgate_core::{
    Delivery, EventConfig, EventName, GroupName, Item, Message, MessageId, Settled, Settlement, Start,
    SubscribeOptions, Subscription, Tasks, Transport, Verb,
};
use busgate_transports_nats::NatsTransport;
use futures_util::StreamExt;
use parking_lot::Mutex;
use tokio::time::{Instant, sleep, timeout};

pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) async fn connect(url: &str) -> Arc<NatsTransport> {
    NatsTransport::connect(url.parse().unwrap()).await.unwrap()
}

pub(crate) async fn registered(transport: &Arc<NatsTransport>, name: &str) -> EventName {
    let event = EventName::new(name).unwrap();
    transport.register(&event, &EventConfig::default()).await.unwrap();
    event
}

pub(crate) fn message(id: &str) -> Message {
    Message::new(MessageId::new(id).unwrap(), id.as_bytes().to_vec())
}

/// Publishes until it is accepted, under the same id.
pub(crate) async fn publish(transport: &Arc<NatsTransport>, event: &EventName, id: &str) {
    let publishing = async {
        loop {
            match transport.publish(event, vec![message(id)]).await.pop().unwrap() {
                Ok(_) => return,
                Err(error) if error.kind().is_transient() => sleep(Duration::from_millis(50)).await,
                Err(error) => panic!("{id}: {error:?}"),
            }
        }
    };
    timeout(PATIENCE, publishing).await.unwrap();
}

pub(crate) fn workers(lease: Duration) -> SubscribeOptions {
    let mut options = SubscribeOptions::pool(GroupName::default(), Start::Beginning);
    options.retry.ack_wait = lease;
    options.max_in_flight = 64;
    options
}

pub(crate) async fn work_on(transport: &Arc<NatsTransport>, event: &EventName) -> Subscription {
    Arc::clone(transport).subscribe(event, workers(Duration::from_secs(30))).await.unwrap()
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

/// Waits until the groups of an event have so many messages that nobody holds.
pub(crate) async fn until_waiting(transport: &Arc<NatsTransport>, event: &EventName, wanted: u64) {
    let waiting = async {
        loop {
            let lag = transport.lag(event).await.unwrap();
            if lag.iter().filter_map(|group| group.waiting).sum::<u64>() == wanted {
                return;
            }
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(PATIENCE, waiting).await.unwrap();
}

pub(crate) async fn settle(transport: &Arc<NatsTransport>, delivery: &Delivery, verb: Verb) -> Settled {
    let token = delivery.token().unwrap().clone();
    transport.settle(vec![Settlement { token, verb }]).await.pop().unwrap().unwrap()
}

/// What a worker saw.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub(crate) came: BTreeMap<String, usize>,
    /// Those of which `acked` was answered, when, and what was answered before.
    pub(crate) acked: BTreeMap<String, (Instant, Vec<String>)>,
    /// Those that came after that, how much later, and how it had come about.
    pub(crate) back: Vec<Back>,
}

/// What was acked, and came back.
#[derive(Debug)]
#[allow(dead_code, reason = "shown by a test that fails")]
pub(crate) struct Back {
    id: String,
    attempt: u32,
    after: Duration,
    answers: Vec<String>,
}

/// A worker in a task of its own, which acks whatever comes.
#[derive(Debug)]
pub(crate) struct Worker {
    pub(crate) seen: Arc<Mutex<Seen>>,
    _tasks: Tasks,
}

impl Worker {
    pub(crate) fn start(transport: &Arc<NatsTransport>, mut subscription: Subscription) -> Self {
        let (seen, tasks) = (Arc::new(Mutex::new(Seen::default())), Tasks::new());
        let (shared, transport) = (Arc::clone(&seen), Arc::clone(transport));
        tasks.spawn(async move {
            while let Some(Ok(item)) = subscription.next().await {
                let Item::Delivery(delivery) = item else { continue };
                let id = delivery.message.id.to_string();
                {
                    let mut seen = shared.lock();
                    *seen.came.entry(id.clone()).or_default() += 1;
                    if let Some((at, answers)) = seen.acked.get(&id).cloned() {
                        let (id, attempt, after) = (id.clone(), delivery.attempt, at.elapsed());
                        seen.back.push(Back { id, attempt, after, answers });
                    }
                }
                // What was not answered is asked again: it says what became of it.
                let token = delivery.token().unwrap().clone();
                let (mut settled, mut answers) = (delivery.ack().await, Vec::new());
                while let Err(error) = &settled {
                    answers.push(format!("{error} ({:?})", error.effect()));
                    sleep(Duration::from_millis(100)).await;
                    let again = Settlement { token: token.clone(), verb: Verb::Ack };
                    settled = transport.settle(vec![again]).await.pop().unwrap();
                }
                if settled.is_ok_and(|settled| settled == Settled::Acked) {
                    shared.lock().acked.insert(id, (Instant::now(), answers));
                }
            }
        });
        Self { seen, _tasks: tasks }
    }

    /// Waits until all of these were acked.
    pub(crate) async fn done(&self, ids: &[String]) {
        let waiting = async {
            while !ids.iter().all(|id| self.seen.lock().acked.contains_key(id)) {
                sleep(Duration::from_millis(20)).await;
            }
        };
        if timeout(PATIENCE, waiting).await.is_err() {
            let seen = self.seen.lock();
            let missing: BTreeSet<_> = ids.iter().filter(|id| !seen.acked.contains_key(*id)).collect();
            panic!("never done: {missing:?}");
        }
    }
}

/// `count` ids.
pub(crate) fn ids(prefix: &str, count: usize) -> Vec<String> {
    (0..count).map(|number| format!("{prefix}{number}")).collect()
}
