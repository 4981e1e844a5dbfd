//! A session with a bit of everything, as a program without a thought for the network would write it: whatever fault
//! hits its connection, the client must hide it.

use std::{sync::Arc, time::Duration};

use busgate_core::{
    Delivery, EventConfig, EventName, GroupName, Item, Message, MessageId, Nack, Result, Settled, Start,
    SubscribeOptions, Subscription, Transport,
};
use busgate_transports_memory::{MemoryConfig, MemoryTransport};
use futures_util::{StreamExt, stream::FuturesUnordered};
use parking_lot::Mutex;
use tokio::time::timeout;

use crate::ledger::{Ledger, Verdict, held, unsettled};

/// How many messages it publishes: half of them one by one, the others at once.
const MESSAGES: usize = 6;

/// How soon what was nacked comes back.
const NACK: Duration = Duration::from_millis(10);

/// How often it looks whether the group is done.
const POLL: Duration = Duration::from_millis(5);

/// One run of the session.
pub(crate) struct Session {
    bus: Arc<dyn Transport>,
    inner: Arc<dyn Transport>,
    event: EventName,
    /// How long any call may take, its retries included.
    deadline: Duration,
    /// How long the whole may take.
    patience: Duration,
    ledger: Ledger,
    nacked: Mutex<bool>,
}

impl Session {
    /// Over `bus`, which leads to `inner`.
    pub(crate) fn new(
        bus: Arc<dyn Transport>,
        inner: Arc<dyn Transport>,
        event: EventName,
        deadline: Duration,
        patience: Duration,
    ) -> Self {
        Self { bus, inner, event, deadline, patience, ledger: Ledger::default(), nacked: Mutex::default() }
    }

    /// Runs it, and then looks at the back end.
    ///
    /// # Errors
    /// The law that was broken.
    pub(crate) async fn run(&self) -> Verdict {
        match timeout(self.patience, self.through()).await {
            Ok(verdict) => verdict?,
            Err(_) => {
                let left = unsettled(&self.inner, &self.event).await;
                return Err(format!(
                    "not through in {:?}: {} published, {} settled, {left} left",
                    self.patience,
                    self.ledger.published_count(),
                    self.ledger.settled_count()
                ));
            }
        }
        let held = held(&self.inner, &self.event).await;
        self.ledger.verify(&held)?;
        let ids: Vec<_> = held.iter().map(|message| message.id.as_str()).collect();
        if ids == (0..MESSAGES).map(id).collect::<Vec<_>>() {
            return Ok(());
        }
        Err(format!("the messages are not in the order of their publisher: {ids:?}"))
    }

    async fn through(&self) -> Verdict {
        let (bus, event) = (&self.bus, &self.event);
        self.call("register", bus.register(event, &EventConfig::default())).await?;
        for n in 0..MESSAGES / 2 {
            self.publish(n..=n).await?;
        }
        let worker = SubscribeOptions {
            max_in_flight: 4,
            retry: busgate_core::RetryPolicy {
                ack_wait: Duration::from_secs(2),
                max_deliver: 100,
                backoff: vec![NACK],
            },
            ..SubscribeOptions::pool(GroupName::default(), Start::Beginning)
        };
        let mut work = self.call("subscribe", Arc::clone(bus).subscribe(event, worker)).await?;
        let live = SubscribeOptions::broadcast(Start::Beginning);
        let mut live = self.call("subscribe live", Arc::clone(bus).subscribe(event, live)).await?;
        let rest = self.publish(MESSAGES / 2..=MESSAGES - 1);
        tokio::try_join!(rest, self.work(&mut work), self.follow(&mut live))?;
        drop((work, live));
        self.call("lag", bus.lag(event)).await.map(drop)
    }

    /// Closes the bus.
    ///
    /// # Errors
    /// When that hangs or fails.
    pub(crate) async fn close(&self) -> Verdict {
        self.call("close", self.bus.close()).await
    }

    /// A call that must be answered, and well: one fault is the client's to hide.
    async fn call<T>(&self, what: &str, call: impl Future<Output = Result<T>>) -> Verdict<T> {
        match timeout(self.deadline, call).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => Err(format!("{what} was answered {}: {error}", error.kind())),
            Err(_) => Err(format!("{what} hung for {:?}", self.deadline)),
        }
    }

    async fn publish(&self, numbers: std::ops::RangeInclusive<usize>) -> Verdict {
        let batch: Vec<_> = numbers.map(|n| message(&id(n))).collect();
        let ids: Vec<_> = batch.iter().map(|message| message.id.clone()).collect();
        for id in &ids {
            self.ledger.offer(id.as_str());
        }
        let published = async { Ok(self.bus.publish(&self.event, batch).await) };
        let answers = self.call("publish", published).await?;
        if answers.len() != ids.len() {
            return Err(format!("{} answers to {} messages", answers.len(), ids.len()));
        }
        for (id, answer) in ids.iter().zip(answers) {
            let receipt = answer.map_err(|error| format!("{id} was answered {}: {error}", error.kind()))?;
            if receipt.id != *id {
                return Err(format!("{id} was answered as {}", receipt.id));
            }
            self.ledger.published(id.as_str());
        }
        Ok(())
    }

    /// Works until the back end has nothing left for the group.
    async fn work(&self, work: &mut Subscription) -> Verdict {
        let mut at_work = FuturesUnordered::new();
        loop {
            tokio::select! {
                item = work.next() => at_work.push(self.settle(delivery(item)?)),
                Some(done) = at_work.next() => done?,
                () = tokio::time::sleep(POLL), if at_work.is_empty() => {
                    let all_there = self.ledger.published_count() == MESSAGES;
                    if all_there && unsettled(&self.inner, &self.event).await == 0 {
                        return Ok(());
                    }
                }
            }
        }
    }

    /// The second message is nacked first, the third extended, the fourth rejected; the others are just done.
    async fn settle(&self, mut delivery: Delivery) -> Verdict {
        let id = delivery.message.id.to_string();
        self.ledger.delivered(&id)?;
        let nack = id.ends_with('1') && !std::mem::replace(&mut *self.nacked.lock(), true);
        if id.ends_with('2') {
            self.call("extend", delivery.extend(Duration::from_secs(5))).await?;
        }
        let settled = if nack {
            self.call("nack", delivery.nack(Nack { delay: Some(NACK), error: None })).await?
        } else if id.ends_with('3') {
            self.call("reject", delivery.reject("not this one")).await?
        } else {
            self.call("ack", delivery.ack()).await?
        };
        match settled {
            Settled::Acked | Settled::Rejected => self.ledger.settled(&id),
            Settled::Nacked | Settled::Stale | Settled::Unknown => {}
            other => return Err(format!("{id} was settled as {other:?}")),
        }
        Ok(())
    }

    /// Every message, once, in order.
    async fn follow(&self, live: &mut Subscription) -> Verdict {
        for n in 0..MESSAGES {
            let found = delivery(live.next().await)?;
            if found.message.id.as_str() != id(n) {
                return Err(format!("the live subscription found {} for {}", found.message.id, id(n)));
            }
        }
        Ok(())
    }
}

fn delivery(item: Option<Result<Item>>) -> Verdict<Delivery> {
    match item {
        Some(Ok(Item::Delivery(delivery))) => Ok(delivery),
        Some(Ok(Item::Gap(gap))) => Err(format!("a gap where nothing was lost: {gap:?}")),
        Some(Err(error)) => Err(format!("a subscription ended with {}: {error}", error.kind())),
        None => Err("a subscription ended".to_owned()),
    }
}

fn id(n: usize) -> String {
    format!("message-{n}")
}

fn message(id: &str) -> Message {
    Message::new(MessageId::new(id).unwrap(), format!("payload of {id}"))
}

#[tokio::test]
async fn without_faults_it_is_through_at_once() {
    let bus: Arc<dyn Transport> = MemoryTransport::new(MemoryConfig::default());
    let event = EventName::new("orders").unwrap();
    let patience = Duration::from_secs(20);
    Session::new(Arc::clone(&bus), bus, event, patience, patience).run().await.unwrap();
}
