//! One live subscription of a core subject: what its subscriber does not take in time is dropped, and told.

use std::{collections::VecDeque, sync::Arc};

use async_nats::Subscriber;
use busgate_core::{Clock, Delivery, EventName, Gap, Item, Position, Result, Tasks, Timestamp};
use futures_util::StreamExt;
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};

use crate::{codec, delivery::Stamp, error, event::End};

/// How many messages wait for a subscriber that is slow, beyond its window.
const SLACK: usize = 4096;

/// What waits for the subscriber.
#[derive(Debug, Default)]
struct Queue {
    messages: VecDeque<(u64, async_nats::Message, Timestamp)>,
    dropped: u64,
}

#[derive(Debug, Default)]
struct Waiting {
    queue: Mutex<Queue>,
    more: Notify,
}

/// A subscription.
#[derive(Debug)]
pub(super) struct Tail {
    event: EventName,
    life: u64,
    waiting: Arc<Waiting>,
    ending: watch::Receiver<Option<End>>,
    task: tokio::task::AbortHandle,
    ended: bool,
}

impl Tail {
    pub(super) fn new(
        event: EventName,
        life: u64,
        mut subscriber: Subscriber,
        ending: watch::Receiver<Option<End>>,
        window: usize,
        clock: Arc<dyn Clock>,
        tasks: &Tasks,
    ) -> Self {
        let waiting = Arc::new(Waiting::default());
        let filled = Arc::clone(&waiting);
        let task = tasks.spawn(async move {
            let mut number = 0;
            while let Some(message) = subscriber.next().await {
                number += 1;
                let mut queue = filled.queue.lock();
                queue.messages.push_back((number, message, clock.now()));
                if queue.messages.len() > window + SLACK {
                    queue.messages.pop_front();
                    queue.dropped += 1;
                }
                drop(queue);
                filled.more.notify_one();
            }
        });
        Self { event, life, waiting, ending, task, ended: false }
    }

    /// The next item; the end when the event was unregistered.
    pub(super) async fn next(&mut self) -> Option<Result<Item>> {
        loop {
            if self.ended {
                return None;
            }
            let end = *self.ending.borrow_and_update();
            if let Some(end) = end {
                self.ended = true;
                return (end == End::Closed).then(|| Err(error::closed()));
            }
            if let Some(item) = self.take() {
                return Some(item);
            }
            tokio::select! {
                _ = self.ending.changed() => {}
                () = self.waiting.more.notified() => {}
            }
        }
    }

    fn take(&self) -> Option<Result<Item>> {
        let mut queue = self.waiting.queue.lock();
        let dropped = std::mem::take(&mut queue.dropped);
        if dropped > 0 {
            return Some(Ok(Item::Gap(Gap { missed: Some(dropped), cursor: None })));
        }
        let (number, message, published) = queue.messages.pop_front()?;
        drop(queue);
        Some(self.delivery(number, message, published))
    }

    fn delivery(&self, number: u64, message: async_nats::Message, published: Timestamp) -> Result<Item> {
        let stamp = Stamp { sequence: number, published };
        // Its place means nothing to anyone: nothing can be read again.
        let cursor = Position::before(self.life, &self.event, number + 1).to_cursor()?;
        let message = codec::inbound(message.headers.as_ref(), message.payload, stamp)?;
        Ok(Item::Delivery(Delivery::unleased(self.event.clone(), Arc::new(message), cursor)))
    }
}

impl Drop for Tail {
    fn drop(&mut self) {
        self.task.abort();
    }
}
