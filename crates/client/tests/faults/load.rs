//! Load on one event, for as long as the network and the server are being harmed: publishers, a worker group, a named
//! consumer and a live subscription. When it ends, every answer that was given must have held.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering},
    },
    time::Duration,
};

use busgate_core::{
    ConsumerName, Cursor, Delivery, EventName, GroupName, Item, Message, MessageId, ReadRequest, Result,
    RetryPolicy, Settled, Start, SubscribeOptions, Transport,
};
use futures_util::{StreamExt, stream::FuturesUnordered};
use parking_lot::Mutex;
use tokio::time::timeout;

use crate::ledger::{Ledger, Verdict};

/// Who publishes and works, at the same time.
const PUBLISHERS: usize = 4;
const WORKERS: usize = 3;

/// Between two messages of a publisher.
const PACE: Duration = Duration::from_millis(2);

/// How often it looks whether all is done.
const POLL: Duration = Duration::from_millis(20);

/// How long it may take until all is done once the harm has ended.
const PATIENCE: Duration = Duration::from_secs(40);

/// A load that is running.
#[derive(Debug)]
pub(crate) struct Load {
    /// Who is asked in turn.
    buses: Vec<Arc<dyn Transport>>,
    turn: AtomicUsize,
    event: EventName,
    /// How long any call may take, with its retries.
    deadline: Duration,
    /// How long a delivery may stay with somebody who is gone.
    ack_wait: Duration,
    run: String,
    stop: AtomicBool,
    done: AtomicBool,
    publishing: AtomicUsize,
    subscribed: AtomicUsize,
    failed: AtomicUsize,
    attempts: AtomicU32,
    group: Ledger,
    consumer: Ledger,
    live: Mutex<Vec<String>>,
}

/// What a load came to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sum {
    /// Messages that are there.
    pub(crate) messages: usize,
    /// Calls that the client gave up on, and that were repeated.
    pub(crate) failed: usize,
    /// The most attempts that a delivery took.
    pub(crate) attempts: u32,
}

impl Load {
    /// Load on `event` through `bus`; the ids of its messages start with `run`.
    pub(crate) fn new(bus: Arc<dyn Transport>, event: EventName, run: &str, deadline: Duration) -> Self {
        Self::over(vec![bus], event, run, deadline)
    }

    /// Load through several that lead to the same event, one at least.
    pub(crate) fn over(
        buses: Vec<Arc<dyn Transport>>,
        event: EventName,
        run: &str,
        deadline: Duration,
    ) -> Self {
        Self {
            buses,
            turn: AtomicUsize::default(),
            event,
            deadline,
            ack_wait: Duration::from_secs(1),
            run: run.to_owned(),
            stop: AtomicBool::default(),
            done: AtomicBool::default(),
            publishing: AtomicUsize::default(),
            subscribed: AtomicUsize::default(),
            failed: AtomicUsize::default(),
            attempts: AtomicU32::default(),
            group: Ledger::default(),
            consumer: Ledger::default(),
            live: Mutex::default(),
        }
    }

    fn bus(&self) -> &Arc<dyn Transport> {
        &self.buses[self.turn.fetch_add(1, Ordering::Relaxed) % self.buses.len()]
    }

    /// Lets a delivery stay longer with somebody who may be gone.
    pub(crate) fn with_ack_wait(self, ack_wait: Duration) -> Self {
        Self { ack_wait, ..self }
    }

    /// Waits until so many more publishes are answered.
    pub(crate) async fn advance(&self, messages: usize) {
        let wanted = self.published() + messages;
        while self.published() < wanted {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// How many publishes have been answered so far.
    pub(crate) fn published(&self) -> usize {
        self.group.published_count()
    }

    /// Runs while `harm` does, then until everything is delivered and settled; then looks whether all answers hold.
    ///
    /// # Errors
    /// The law that was broken.
    pub(crate) async fn under(&self, harm: impl Future<Output = ()>) -> Verdict<Sum> {
        let end = async {
            // The workers, the consumer and the live subscription.
            while self.subscribed.load(Ordering::SeqCst) < WORKERS + 2 {
                tokio::time::sleep(POLL).await;
            }
            harm.await;
            self.stop.store(true, Ordering::SeqCst);
            let settled = async {
                while !self.is_through().await {
                    tokio::time::sleep(POLL).await;
                }
            };
            let through = timeout(PATIENCE, settled).await;
            self.done.store(true, Ordering::SeqCst);
            match through {
                Ok(()) => Ok(()),
                Err(_) => Err(self.left().await),
            }
        };
        let publishers = futures_util::future::try_join_all((0..PUBLISHERS).map(|n| self.publish(n)));
        let workers = futures_util::future::try_join_all((0..WORKERS).map(|_| self.work()));
        tokio::try_join!(end, publishers, workers, self.consume(), self.follow())?;
        self.verify().await
    }

    async fn left(&self) -> String {
        let lag = self.bus().lag(&self.event).await;
        format!(
            "not through in {PATIENCE:?}: {} published, {} settled by the group, {} by the consumer, {} seen live, {lag:?}",
            self.published(),
            self.group.settled_count(),
            self.consumer.settled_count(),
            self.live.lock().len()
        )
    }

    /// All is published, nothing is left to the group or the consumer, and the live subscription has seen it.
    async fn is_through(&self) -> bool {
        let published = self.published();
        self.publishing.load(Ordering::SeqCst) == 0
            && self.live.lock().len() >= published
            && self.bus().lag(&self.event).await.is_ok_and(|all| {
                let left = |lag: &busgate_core::ConsumerLag| {
                    lag.waiting.unwrap_or_default() + lag.in_flight + lag.delayed
                };
                all.len() == 2 && all.iter().map(left).sum::<u64>() == 0
            })
    }

    async fn verify(&self) -> Verdict<Sum> {
        let held = self.held().await?;
        self.group.verify(&held)?;
        let held: Vec<_> = held.iter().map(|message| message.id.to_string()).collect();
        let live = self.live.lock();
        if *live != held {
            let at = live.iter().zip(&held).position(|(live, held)| live != held);
            return Err(format!(
                "the live subscription saw {} messages of {}, and another order from {at:?}",
                live.len(),
                held.len()
            ));
        }
        let (failed, attempts) = (self.failed.load(Ordering::SeqCst), self.attempts.load(Ordering::SeqCst));
        Ok(Sum { messages: held.len(), failed, attempts })
    }

    async fn held(&self) -> Verdict<Vec<Arc<Message>>> {
        let (mut start, mut all) = (Start::Beginning, Vec::new());
        loop {
            let request = ReadRequest { start, limit: 1000, max_bytes: 1 << 20 };
            let page = self.bus().read(&self.event, request).await;
            let page = page.map_err(|error| format!("reading the event was answered {error}"))?;
            all.extend(page.messages.into_iter().map(|(_, message)| message));
            if page.end {
                return Ok(all);
            }
            start = Start::After(page.next);
        }
    }

    /// A call that may fail, but not hang, and not for good.
    async fn call<T>(&self, what: &str, call: impl Future<Output = Result<T>>) -> Verdict<Option<T>> {
        match timeout(self.deadline, call).await {
            Ok(Ok(answer)) => Ok(Some(answer)),
            Ok(Err(error)) if error.kind().is_transient() => {
                self.failed.fetch_add(1, Ordering::SeqCst);
                Ok(None)
            }
            Ok(Err(error)) => Err(format!("{what} was answered {}: {error}", error.kind())),
            Err(_) => Err(format!("{what} hung for {:?}", self.deadline)),
        }
    }

    async fn publish(&self, publisher: usize) -> Verdict {
        self.publishing.fetch_add(1, Ordering::SeqCst);
        for n in 0.. {
            if self.stop.load(Ordering::SeqCst) {
                break;
            }
            let id = format!("{}-{publisher}-{n}", self.run);
            let message = Message::new(MessageId::new(&id).unwrap(), vec![b'x'; 1 + n * 37 % 2000]);
            self.group.offer(&id);
            self.consumer.offer(&id);
            // Whoever wants it there says it again, under the same id.
            loop {
                let publish = async {
                    let mut answers = self.bus().publish(&self.event, vec![message.clone()]).await;
                    answers.pop().unwrap()
                };
                if self.call("publish", publish).await?.is_some() {
                    break;
                }
            }
            self.group.published(&id);
            tokio::time::sleep(PACE).await;
        }
        self.publishing.fetch_sub(1, Ordering::SeqCst);
        Ok(())
    }

    async fn work(&self) -> Verdict {
        self.settle_all(SubscribeOptions::pool(GroupName::default(), Start::Beginning), &self.group).await
    }

    async fn consume(&self) -> Verdict {
        let name = ConsumerName::new("audit").unwrap();
        self.settle_all(SubscribeOptions::consumer(name, Start::Beginning), &self.consumer).await
    }

    /// Acks everything that comes, until all is done.
    async fn settle_all(&self, options: SubscribeOptions, ledger: &Ledger) -> Verdict {
        let retry = RetryPolicy {
            ack_wait: self.ack_wait,
            max_deliver: 1000,
            backoff: vec![Duration::from_millis(20)],
        };
        let options = SubscribeOptions { retry, max_in_flight: 16, ..options };
        let subscribe = Arc::clone(self.bus()).subscribe(&self.event, options);
        let Some(mut subscription) = self.call("subscribe", subscribe).await? else {
            return Err("a subscription could not start before any harm was done".to_owned());
        };
        self.subscribed.fetch_add(1, Ordering::SeqCst);
        let mut at_work = FuturesUnordered::new();
        while !self.done.load(Ordering::SeqCst) {
            tokio::select! {
                item = subscription.next() => match item {
                    Some(Ok(Item::Delivery(delivery))) => at_work.push(self.settle(delivery, ledger)),
                    other => return Err(format!("the subscription came to {other:?}")),
                },
                Some(done) = at_work.next() => done?,
                () = tokio::time::sleep(POLL) => {}
            }
        }
        Ok(())
    }

    async fn settle(&self, delivery: Delivery, ledger: &Ledger) -> Verdict {
        let id = delivery.message.id.to_string();
        ledger.delivered(&id)?;
        self.attempts.fetch_max(delivery.attempt, Ordering::SeqCst);
        match self.call("ack", delivery.ack()).await? {
            Some(Settled::Acked) => ledger.settled(&id),
            // It comes again, or the answer to the first ack was lost.
            Some(Settled::Stale | Settled::Unknown) | None => {}
            Some(other) => return Err(format!("an ack was settled as {other:?}")),
        }
        Ok(())
    }

    /// Writes down what comes; the same place never comes twice.
    async fn follow(&self) -> Verdict {
        let options = SubscribeOptions::broadcast(Start::Beginning);
        let subscribe = Arc::clone(self.bus()).subscribe(&self.event, options);
        let Some(mut live) = self.call("subscribe", subscribe).await? else {
            return Err("a subscription could not start before any harm was done".to_owned());
        };
        self.subscribed.fetch_add(1, Ordering::SeqCst);
        let mut last: Option<Cursor> = None;
        while !self.done.load(Ordering::SeqCst) {
            match timeout(POLL, live.next()).await {
                Ok(Some(Ok(Item::Delivery(delivery)))) => {
                    if last.as_ref() == Some(&delivery.cursor) {
                        return Err(format!("{} came twice in a row", delivery.cursor));
                    }
                    self.live.lock().push(delivery.message.id.to_string());
                    last = Some(delivery.cursor);
                }
                Ok(other) => return Err(format!("the live subscription came to {other:?}")),
                Err(_) => {}
            }
        }
        Ok(())
    }
}

#[tokio::test]
async fn without_harm_it_comes_to_what_was_published() {
    let bus = busgate_transports_memory::MemoryTransport::new(Default::default());
    let event = EventName::new("orders").unwrap();
    bus.register(&event, &Default::default()).await.unwrap();
    let load = Load::new(bus, event, "run", Duration::from_secs(10));
    let sum = load.under(load.advance(100)).await.unwrap();
    assert!(sum.messages >= 100 && (sum.failed, sum.attempts) == (0, 1), "{sum:?}");
}
