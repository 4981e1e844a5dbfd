//! Models of a follower and its tail on two threads: interleavings of the steps of the real ring and the real follower,
//! bounded as far as they replay, every one for the wake-ups (what a step is, `sync::modelled` says). The tail is its essence: a message is in the history before it is
//! in the ring. What is not modelled: how a tail is attached again, and the tasks that carry both (`tests/gateway/races.rs`).
//!
//! Each of these was broken on purpose and found here: the place in the ring taken after the history was read (a hole),
//! `skip` not set when going live (a duplicate), waiters woken before the push, no second look once one is a waiter, an end
//! that wakes nobody (a follower that hangs), a gap told of what was had already (the follower's place went back).

use async_trait::async_trait;
use loom::{future::block_on, thread};

use super::*;
use crate::{
    Capabilities, ConsumerLag, EventConfig, EventInfo, Gap, Health, Message, MessageId, Passed, Receipt,
    Settled, Settlement, SlowPolicy, Turn,
    sync::{bounded_model, model},
};

/// How many messages are there from the start, and how many in the end.
const HELD: usize = 1;
const ALL: usize = 3;

/// A history that grows. The cursor of a message is its number, from 1.
#[derive(Debug, Default)]
struct History(Mutex<Vec<Arc<Message>>>);

impl History {
    /// Adds a message; its envelope for the ring.
    fn add(&self, number: usize) -> Slot {
        let message = Arc::new(Message::new(MessageId::new(number.to_string()).unwrap(), ""));
        self.0.lock().push(Arc::clone(&message));
        Slot::Message(Arc::new(Envelope::new(event(), message, cursor(number))))
    }
}

fn event() -> EventName {
    EventName::new("e").unwrap()
}

fn cursor(number: usize) -> Cursor {
    Cursor::new(number.to_string()).unwrap()
}

fn number(cursor: &Cursor) -> usize {
    cursor.as_str().parse().unwrap()
}

#[async_trait]
impl Transport for History {
    fn capabilities(&self) -> Capabilities {
        Capabilities { replay: true, ..Capabilities::default() }
    }

    /// Pages of one message, so that a catch-up takes several reads.
    async fn read(&self, _: &EventName, request: ReadRequest) -> Result<Page> {
        let held = self.0.lock().clone();
        let from = match &request.start {
            Start::Beginning | Start::At(_) => 0,
            Start::Latest => held.len(),
            Start::After(place) => number(place),
        };
        let next = held.len().min(from + 1);
        let messages = (from..next).map(|at| (cursor(at + 1), Arc::clone(&held[at]))).collect();
        Ok(Page { gap: None, messages, next: cursor(next), end: next == held.len() })
    }

    fn passed(&self, reader: &Cursor, message: &Cursor) -> Result<Passed> {
        Ok(if number(message) <= number(reader) { Passed::Had } else { Passed::NewFromHere })
    }

    async fn register(&self, _: &EventName, _: &EventConfig) -> Result<()> {
        unreachable!()
    }

    async fn unregister(&self, _: &EventName) -> Result<()> {
        unreachable!()
    }

    async fn events(&self) -> Result<Vec<EventInfo>> {
        unreachable!()
    }

    async fn publish_in_turn(&self, _: &EventName, _: Vec<Message>, _: Turn) -> Vec<Result<Receipt>> {
        unreachable!()
    }

    async fn subscribe(self: Arc<Self>, _: &EventName, _: SubscribeOptions) -> Result<Subscription> {
        unreachable!()
    }

    async fn settle(&self, _: Vec<Settlement>) -> Vec<Result<Settled>> {
        unreachable!()
    }

    async fn health(&self) -> Health {
        unreachable!()
    }

    async fn lag(&self, _: &EventName) -> Result<Vec<ConsumerLag>> {
        unreachable!()
    }

    async fn close(&self) -> Result<()> {
        unreachable!()
    }
}

/// An event that holds a message, with its tail attached.
fn attached(messages: usize) -> (Arc<History>, Arc<Channel>) {
    let history = Arc::new(History::default());
    (1..=HELD).for_each(|number| drop(history.add(number)));
    let ring = Arc::new(Ring::new(Bounds { messages, bytes: usize::MAX }));
    ring.open();
    let transport = Arc::clone(&history) as Arc<dyn Transport>;
    let (call_timeout, _tasks) = (Duration::from_secs(1), Tasks::new());
    (history, Arc::new(Channel { event: event(), transport, call_timeout, ring, _tasks }))
}

/// Follows an event from `start` while its tail grows on another thread, and ends if it `ends`; everything the follower
/// yielded up to that end, or up to the last message.
fn follow(start: Start, slow: SlowPolicy, messages: usize, ends: bool) -> Vec<Step> {
    let (history, channel) = attached(messages);
    let ring = Arc::clone(&channel.ring);
    let tail = thread::spawn(move || {
        (HELD + 1..=ALL).for_each(|number| ring.push(history.add(number)));
        if ends {
            ring.finish(End::Closed);
        }
    });
    let steps = block_on(async {
        let mut follower = Follower::attach(channel, Follow { start, slow, buffer: 1 }).await.unwrap();
        let mut steps = Vec::new();
        while ends || numbers(&steps).last() != Some(&ALL) {
            match follower.next().await {
                Step::End(end) => {
                    assert!(matches!(end, End::Closed), "{end:?}");
                    return steps;
                }
                step => steps.push(step),
            }
        }
        steps
    });
    tail.join().unwrap();
    steps
}

fn numbers(steps: &[Step]) -> Vec<usize> {
    let number = |step: &Step| match step {
        Step::Message(envelope) => Some(number(&envelope.cursor)),
        Step::Gap(_) | Step::End(_) => None,
    };
    steps.iter().filter_map(number).collect()
}

fn all_after(start: &Start, slow: SlowPolicy, ring: usize, first: usize) {
    for ends in [true, false] {
        let start = start.clone();
        bounded_model(move || {
            let steps = follow(start.clone(), slow, ring, ends);
            assert_eq!(numbers(&steps), (first..=ALL).collect::<Vec<_>>());
        });
    }
}

#[test]
fn replay_meets_live_without_hole_or_duplicate_on_two_threads() {
    all_after(&Start::Beginning, SlowPolicy::Pause, 8, 1);
    all_after(&Start::After(cursor(HELD)), SlowPolicy::Pause, 8, HELD + 1);
}

#[test]
fn a_ring_that_moves_on_is_caught_up_with_on_two_threads() {
    all_after(&Start::Beginning, SlowPolicy::Pause, 1, 1);
}

#[test]
fn a_live_start_misses_nothing_on_two_threads() {
    for ring in [1, 8] {
        bounded_model(move || {
            let seen = numbers(&follow(Start::Latest, SlowPolicy::Pause, ring, true));
            assert!((HELD + 1..=ALL).collect::<Vec<_>>().ends_with(&seen), "{seen:?}");
        });
    }
}

#[test]
fn what_is_dropped_is_told_on_two_threads() {
    bounded_model(|| {
        let steps = follow(Start::After(cursor(HELD)), SlowPolicy::DropOldest, 8, true);
        let mut place = HELD;
        for step in steps {
            match step {
                Step::Message(envelope) => {
                    place += 1;
                    assert_eq!(number(&envelope.cursor), place, "a hole that nobody told of, or a duplicate");
                }
                Step::Gap(Gap { missed, cursor }) => {
                    let at = cursor.as_ref().map(number).unwrap();
                    assert!(at > place && missed >= Some((at - place) as u64), "{place} {at} {missed:?}");
                    place = at;
                }
                Step::End(_) => unreachable!(),
            }
        }
        assert_eq!(place, ALL);
    });
}

#[test]
fn only_the_newest_is_wanted_and_it_comes_on_two_threads() {
    bounded_model(|| {
        let seen = numbers(&follow(Start::Beginning, SlowPolicy::Conflate, 8, true));
        assert!(seen.is_sorted_by(|a, b| a < b) && seen.last() == Some(&ALL), "{seen:?}");
    });
}

#[test]
fn who_waits_hears_of_a_message_and_of_the_end_in_every_interleaving() {
    for ends in [false, true] {
        model(move || {
            let (history, channel) = attached(8);
            let follow = Follow { start: Start::Latest, slow: SlowPolicy::Pause, buffer: 8 };
            let mut follower = block_on(Follower::attach(Arc::clone(&channel), follow)).unwrap();
            let tail = thread::spawn(move || match ends {
                false => channel.ring.push(history.add(HELD + 1)),
                true => channel.ring.finish(End::Closed),
            });
            match block_on(follower.next()) {
                Step::Message(envelope) => assert!(!ends && number(&envelope.cursor) == HELD + 1),
                step => assert!(ends && matches!(step, Step::End(End::Closed)), "{step:?}"),
            }
            tail.join().unwrap();
        });
    }
}
