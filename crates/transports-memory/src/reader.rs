//! Unnamed broadcast: straight from the history, without leases.

use std::{
    collections::VecDeque,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use busgate_core::{Cursor, Delivery, Item, Message, Result};
use futures_core::Stream;

use crate::{
    error,
    registry::Registry,
    topic::{End, Topic},
};

/// How many messages are taken from the history at a time.
const CHUNK: usize = 64;

/// One unnamed subscription.
#[derive(Debug)]
pub(crate) struct Reader {
    registry: Arc<Registry>,
    topic: Arc<Topic>,
    serial: u64,
    next: u64,
    items: VecDeque<Item>,
    chunk: VecDeque<(Cursor, Arc<Message>)>,
    ended: bool,
}

impl Reader {
    pub(crate) fn new(registry: Arc<Registry>, topic: Arc<Topic>, next: u64, first: Option<Item>) -> Self {
        let serial = registry.serial();
        let items = first.into_iter().collect();
        Self { registry, topic, serial, next, items, chunk: VecDeque::new(), ended: false }
    }

    fn deliver(&mut self) -> Option<Item> {
        if let Some(item) = self.items.pop_front() {
            return Some(item);
        }
        let (cursor, message) = self.chunk.pop_front()?;
        Some(Item::Delivery(Delivery::unleased(self.topic.name.clone(), message, cursor)))
    }

    /// Takes the next messages from the history, or waits for them.
    fn fetch(&mut self, cx: &Context<'_>) -> Poll<Result<Option<End>>> {
        let topic = Arc::clone(&self.topic);
        let mut state = topic.lock(self.registry.now().wall);
        if let Some(end) = state.end {
            return Poll::Ready(Ok(Some(end)));
        }
        if self.next < state.history.first() {
            let missed = state.history.first() - self.next;
            self.items.push_back(Item::Gap(topic.gap(&state.history, Some(missed))?));
            self.next = state.history.first();
            return Poll::Ready(Ok(None));
        }
        let held = state.history.from(self.next).take(CHUNK);
        self.chunk.extend(held.map(|held| (held.cursor.clone(), Arc::clone(&held.message))));
        self.next += self.chunk.len() as u64;
        if self.chunk.is_empty() {
            state.waiting.insert(self.serial, cx.waker().clone());
            return Poll::Pending;
        }
        Poll::Ready(Ok(None))
    }
}

impl Stream for Reader {
    type Item = Result<Item>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            if let Some(item) = self.deliver() {
                return Poll::Ready(Some(Ok(item)));
            }
            if self.ended {
                return Poll::Ready(None);
            }
            let end = match self.fetch(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(None)) => continue,
                Poll::Ready(Ok(Some(End::Unregistered))) => None,
                Poll::Ready(Ok(Some(End::Closed))) => Some(Err(error::closed())),
                Poll::Ready(Err(error)) => Some(Err(error)),
            };
            self.ended = true;
            return Poll::Ready(end);
        }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.topic.forget_reader(self.serial);
    }
}
