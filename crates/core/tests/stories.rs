//! What nodes write down for each other of what went wrong: when, for whom to see, and at what cost.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::{
    future::pending,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use busgate_conformance::{Claim, Limited, Overlay, overlaid};
use busgate_core::{
    Capabilities, DeadLetters, Delivery, Error, EventConfig, EventName, GroupName, Item, Message, MessageId,
    Nack, Page, ReadRequest, Receipt, Result, RetryPolicy, Settled, Settlement, Start, SubscribeOptions,
    Subscription, SystemClock, Transport, Verb,
};
use busgate_transports_memory::{MemoryConfig, MemoryTransport};
use futures_util::StreamExt;

/// Memory that says it lasts, and counts what is asked of events that keep stories.
#[derive(Debug)]
struct Counted {
    memory: Arc<dyn Transport>,
    fault: Option<Fault>,
    writes: AtomicUsize,
    reads: AtomicUsize,
}

/// What becomes of calls that are about stories.
#[derive(Clone, Copy, Debug)]
enum Fault {
    Refused,
    Unanswered,
}

impl Counted {
    fn new(fault: Option<Fault>) -> Arc<Self> {
        let memory = Limited::over(MemoryTransport::new(MemoryConfig::default()), [Claim::DeadLetters]);
        Arc::new(Self { memory, fault, writes: AtomicUsize::new(0), reads: AtomicUsize::new(0) })
    }

    fn node(self: &Arc<Self>) -> Arc<dyn Transport> {
        DeadLetters::over(overlaid(Arc::clone(self)), SystemClock::shared())
    }

    async fn fail(&self) -> Result<()> {
        match self.fault {
            None => Ok(()),
            Some(Fault::Refused) => Err(Error::unavailable("no stories today")),
            Some(Fault::Unanswered) => pending().await,
        }
    }

    fn counted(&self) -> (usize, usize) {
        (self.writes.load(Ordering::Relaxed), self.reads.load(Ordering::Relaxed))
    }
}

fn keeps_stories(event: &EventName) -> bool {
    event.as_str().starts_with("_stories.")
}

#[async_trait]
impl Overlay for Counted {
    fn beneath(&self) -> &Arc<dyn Transport> {
        &self.memory
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { durable: true, ..self.memory.capabilities() }
    }

    async fn publish(&self, event: &EventName, batch: Vec<Message>) -> Vec<Result<Receipt>> {
        if keeps_stories(event) {
            self.writes.fetch_add(1, Ordering::Relaxed);
            if let Err(error) = self.fail().await {
                return vec![Err(error); batch.len()];
            }
        }
        self.memory.publish(event, batch).await
    }

    async fn read(&self, event: &EventName, request: ReadRequest) -> Result<Page> {
        if keeps_stories(event) {
            self.reads.fetch_add(1, Ordering::Relaxed);
            self.fail().await?;
        }
        self.memory.read(event, request).await
    }
}

fn orders() -> EventName {
    EventName::new("orders").unwrap()
}

/// Registers the event with `count` messages.
async fn fill(node: &Arc<dyn Transport>, count: usize) {
    node.register(&orders(), &EventConfig::default()).await.unwrap();
    let messages = (0..count).map(|_| Message::new(MessageId::generate(), "x")).collect();
    node.publish(&orders(), messages).await.into_iter().for_each(|receipt| drop(receipt.unwrap()));
}

async fn work(node: &Arc<dyn Transport>) -> Subscription {
    let retry = RetryPolicy { max_deliver: 2, ..RetryPolicy::default() };
    let options =
        SubscribeOptions { retry, ..SubscribeOptions::pool(GroupName::default(), Start::Beginning) };
    Arc::clone(node).subscribe(&orders(), options).await.unwrap()
}

async fn take(work: &mut Subscription, count: usize) -> Vec<Delivery> {
    let mut taken = Vec::new();
    while taken.len() < count {
        let Some(Ok(Item::Delivery(delivery))) = work.next().await else { panic!("no delivery") };
        taken.push(delivery);
    }
    taken
}

fn nack(delivery: &Delivery, error: Option<&str>) -> Settlement {
    let nack = Nack { delay: Some(Duration::ZERO), error: error.map(Into::into) };
    Settlement { token: delivery.token().unwrap().clone(), verb: Verb::Nack(nack) }
}

async fn settle(node: &Arc<dyn Transport>, batch: Vec<Settlement>) {
    for settled in node.settle(batch).await {
        assert_eq!(settled.unwrap(), Settled::Nacked);
    }
}

async fn letters(node: &Arc<dyn Transport>) -> Vec<(String, String)> {
    let request = ReadRequest { start: Start::Beginning, limit: 1000, max_bytes: usize::MAX };
    let page = node.read(&orders().dead_letter().unwrap(), request).await.unwrap();
    let told = |message: &Message, what: &str| message.metadata[&format!("busgate-dlq-{what}")].clone();
    page.messages
        .iter()
        .map(|(_, letter)| (told(letter, "first-error"), told(letter, "last-error")))
        .collect()
}

async fn names(transport: &Arc<dyn Transport>) -> Vec<String> {
    transport.events().await.unwrap().into_iter().map(|info| info.name.to_string()).collect()
}

#[tokio::test(start_paused = true)]
async fn many_burials_read_the_notes_once() {
    let counted = Counted::new(None);
    let (before, after) = (counted.node(), counted.node());
    fill(&before, 50).await;
    let mut worker = work(&before).await;
    for delivery in take(&mut worker, 50).await {
        settle(&before, vec![nack(&delivery, Some("before"))]).await;
    }
    drop(worker);
    let mut worker = work(&after).await;
    for delivery in take(&mut worker, 50).await {
        settle(&after, vec![nack(&delivery, Some("after"))]).await;
    }
    assert_eq!(letters(&after).await, vec![("before".to_owned(), "after".to_owned()); 50]);
    assert_eq!(counted.counted().1, 1, "how often the notes were read");
}

#[tokio::test(start_paused = true)]
async fn what_a_node_saw_from_the_beginning_it_need_not_read() {
    let counted = Counted::new(None);
    let node = counted.node();
    fill(&node, 1).await;
    let mut worker = work(&node).await;
    for error in ["one", "two"] {
        let delivery = take(&mut worker, 1).await;
        settle(&node, vec![nack(&delivery[0], Some(error))]).await;
    }
    assert_eq!(letters(&node).await, [("one".to_owned(), "two".to_owned())]);
    assert_eq!(counted.counted().1, 0, "how often the notes were read");
}

#[tokio::test(start_paused = true)]
async fn a_batch_of_nacks_is_written_down_in_one_go() {
    let counted = Counted::new(None);
    let node = counted.node();
    fill(&node, 20).await;
    let mut worker = work(&node).await;
    let held = take(&mut worker, 20).await;
    let (first, second) = held.split_at(10);
    settle(&node, first.iter().map(|held| nack(held, Some("no"))).collect()).await;
    assert_eq!(counted.counted().0, 2, "there was no event for them at first");
    settle(&node, second.iter().map(|held| nack(held, Some("no"))).collect()).await;
    assert_eq!(counted.counted().0, 3);
}

#[tokio::test(start_paused = true)]
async fn a_nack_without_a_word_writes_nothing() {
    let counted = Counted::new(None);
    let node = counted.node();
    fill(&node, 1).await;
    let held = take(&mut work(&node).await, 1).await;
    settle(&node, vec![nack(&held[0], None)]).await;
    assert_eq!(counted.counted(), (0, 0));
    assert_eq!(names(&counted.memory).await, ["orders"]);
}

#[tokio::test(start_paused = true)]
async fn a_stale_nack_writes_nothing() {
    let counted = Counted::new(None);
    let node = counted.node();
    fill(&node, 1).await;
    let mut worker = work(&node).await;
    let stale = take(&mut worker, 1).await;
    settle(&node, vec![nack(&stale[0], None)]).await;
    take(&mut worker, 1).await;
    let answers = node.settle(vec![nack(&stale[0], Some("late"))]).await;
    assert_eq!(answers.into_iter().map(Result::unwrap).collect::<Vec<_>>(), [Settled::Stale]);
    assert_eq!(counted.counted().0, 0);
}

#[tokio::test(start_paused = true)]
async fn stories_are_listed_for_nobody_and_go_with_their_event() {
    let counted = Counted::new(None);
    let node = counted.node();
    fill(&node, 1).await;
    let held = take(&mut work(&node).await, 1).await;
    settle(&node, vec![nack(&held[0], Some("no"))]).await;
    assert_eq!(names(&counted.memory).await, ["_stories.orders", "orders"]);
    assert_eq!(names(&node).await, ["orders"]);
    node.unregister(&orders()).await.unwrap();
    assert!(names(&counted.memory).await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn stories_that_cannot_be_kept_hold_up_no_nack_and_no_burial() {
    for fault in [Fault::Refused, Fault::Unanswered] {
        let counted = Counted::new(Some(fault));
        let (before, after) = (counted.node(), counted.node());
        fill(&before, 1).await;
        let held = take(&mut work(&before).await, 1).await;
        settle(&before, vec![nack(&held[0], Some("before"))]).await;
        let held = take(&mut work(&after).await, 1).await;
        settle(&after, vec![nack(&held[0], Some("after"))]).await;
        assert_eq!(letters(&after).await, [("after".to_owned(), "after".to_owned())], "{fault:?}");
        assert_eq!(counted.counted(), (1, 1), "{fault:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_failed_is_not_tried_again_at_once() {
    let counted = Counted::new(Some(Fault::Unanswered));
    let node = counted.node();
    fill(&node, 3).await;
    let held = take(&mut work(&node).await, 3).await;
    let mut writes = Vec::new();
    for (delivery, pause) in held.iter().zip([0, 1, 10]) {
        tokio::time::sleep(Duration::from_secs(pause)).await;
        settle(&node, vec![nack(delivery, Some("no"))]).await;
        writes.push(counted.counted().0);
    }
    assert_eq!(writes, [1, 1, 2]);
}
