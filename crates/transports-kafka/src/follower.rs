//! Unnamed broadcast: history page by page, then the tail, and back to history when it was too slow.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use busgate_core::{Delivery, Error, Gap, Item, Message, Result, Subscription};
use futures_util::stream;
use tokio::{sync::watch, time::sleep};

use crate::{
    error,
    event::Event,
    place::Place,
    reader::Limit,
    shared::Shared,
    start::Begun,
    tail::{Entry, Found, Interest},
};

/// How many messages are taken at a time.
const CHUNK: usize = 256;

/// How many bytes of messages a page of history has at most.
const CHUNK_BYTES: usize = 4 * 1024 * 1024;

/// How long to wait before history is asked for again after the broker could not answer; doubled each time up to the
/// last.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(3));

/// One unnamed subscription.
#[derive(Debug)]
pub(crate) struct Follower {
    shared: Arc<Shared>,
    event: Arc<Event>,
    /// The next offset of each partition.
    next: Vec<i64>,
    items: VecDeque<Item>,
    stage: Stage,
    chunk: usize,
    backoff: Duration,
}

#[derive(Debug)]
enum Stage {
    /// With an interest, the tail keeps what comes meanwhile.
    History {
        waiting: Option<Interest>,
    },
    Live {
        interest: Interest,
        head: watch::Receiver<u64>,
        from: u64,
    },
}

/// How it ends.
enum End {
    Unregistered,
    Failed(Error),
}

impl Follower {
    /// A subscriber that stands where `begun` says.
    pub(crate) fn new(shared: Arc<Shared>, event: Arc<Event>, begun: Begun, window: usize) -> Result<Self> {
        let (chunk, backoff) = (window.min(CHUNK), BACKOFF.0);
        let items = begun.gap.map(Item::Gap).into_iter().collect();
        let mut follower = Self {
            shared,
            event,
            next: begun.next,
            items,
            stage: Stage::History { waiting: None },
            chunk,
            backoff,
        };
        follower.join()?;
        Ok(follower)
    }

    pub(crate) fn into_subscription(self) -> Subscription {
        Subscription::new(stream::unfold(Some(self), |follower| async move {
            let mut follower = follower?;
            match follower.item().await {
                Ok(item) => Some((Ok(item), Some(follower))),
                Err(End::Unregistered) => None,
                Err(End::Failed(error)) => Some((Err(error), None)),
            }
        }))
    }

    async fn item(&mut self) -> Result<Item, End> {
        loop {
            if let Some(item) = self.items.pop_front() {
                return Ok(item);
            }
            let (ended, closing) = (self.event.ended.clone(), self.shared.closing.clone());
            tokio::select! {
                biased;
                () = closing.cancelled() => return Err(End::Failed(error::closed())),
                () = ended.cancelled() => return Err(End::Unregistered),
                fetched = self.fetch() => fetched.map_err(End::Failed)?,
            }
        }
    }

    /// Takes the next messages, or waits for them.
    async fn fetch(&mut self) -> Result<()> {
        let found = match &mut self.stage {
            Stage::History { .. } => return self.page().await,
            Stage::Live { interest, head, from } => {
                head.borrow_and_update();
                match interest.find(*from, self.chunk) {
                    Found::Entries(entries, next) if entries.is_empty() => {
                        *from = next;
                        // The sender lives as long as the tail.
                        let _ = head.changed().await;
                        return Ok(());
                    }
                    Found::Entries(entries, next) => {
                        *from = next;
                        Some(entries)
                    }
                    Found::Behind => None,
                }
            }
        };
        match found {
            None => {
                self.stage = Stage::History { waiting: None };
                Ok(())
            }
            Some(entries) => self.deliver_all(entries).await,
        }
    }

    async fn deliver_all(&mut self, entries: Vec<Entry>) -> Result<()> {
        for Entry { place, message } in entries {
            let index = usize::try_from(place.partition).unwrap_or(usize::MAX);
            if index >= self.next.len() {
                self.next.resize(index + 1, 0);
            }
            let next = self.next.get(index).copied().unwrap_or(0);
            if place.offset > next {
                self.look_at_hole(place, next, index).await;
            }
            if place.offset >= next {
                self.deliver(place, message)?;
            }
        }
        Ok(())
    }

    /// Tells of messages that retention took before the tail had them. Compaction and transactions leave holes as well.
    async fn look_at_hole(&mut self, place: Place, next: i64, index: usize) {
        let partitions = u16::try_from(self.next.len()).unwrap_or(u16::MAX);
        let begins = self.shared.asker.begins(&self.event.topic, partitions).await;
        let begin = begins.ok().and_then(|begins| begins.get(index).copied()).unwrap_or(0).min(place.offset);
        let missed = u64::try_from(begin - next).unwrap_or(0);
        if missed > 0 {
            if let Some(slot) = self.next.get_mut(index) {
                *slot = begin;
            }
            let gap = self.event.gap(Some(missed), &self.next);
            self.items.push_back(Item::Gap(gap.unwrap_or(Gap { missed: Some(missed), cursor: None })));
        }
    }

    fn deliver(&mut self, place: Place, message: Arc<Message>) -> Result<()> {
        let own = u16::try_from(place.partition).unwrap_or(0);
        if let Some(slot) = self.next.get_mut(usize::from(own)) {
            *slot = place.offset + 1;
        }
        let cursor = self.event.places(&self.next).of_message_in(own).to_cursor()?;
        self.items.push_back(Item::Delivery(Delivery::unleased(self.event.name.clone(), message, cursor)));
        Ok(())
    }

    /// Reads a page of history; at its end it goes over to the tail.
    async fn page(&mut self) -> Result<()> {
        let limit = Limit { messages: self.chunk, bytes: CHUNK_BYTES };
        let read = self.shared.reader.page(&self.shared, &self.event, self.next.clone(), limit).await;
        let chunk = match read {
            Ok(chunk) => chunk,
            Err(error) => {
                tracing::debug!(%error, event = %self.event.name, "history is waited for");
                sleep(self.backoff).await;
                self.backoff = (self.backoff * 2).min(BACKOFF.1);
                return Ok(());
            }
        };
        self.backoff = BACKOFF.0;
        self.next = chunk.from;
        if chunk.missed.is_some() {
            self.items.push_back(Item::Gap(self.event.gap(chunk.missed, &self.next)?));
        }
        for (place, message) in chunk.messages {
            self.deliver(place, message)?;
        }
        self.next = chunk.next;
        if chunk.end { self.join() } else { Ok(()) }
    }

    /// Goes over to the tail, if it still has all that comes next; else it does once history was read to the end again.
    fn join(&mut self) -> Result<()> {
        let waiting = match &mut self.stage {
            Stage::History { waiting } => waiting.take(),
            Stage::Live { .. } => return Ok(()),
        };
        let interest = match waiting {
            Some(interest) => interest,
            None => self.shared.tails.tail(&self.shared, &self.event, &self.next)?.interest(),
        };
        let head = interest.head();
        self.stage = match interest.join(&self.next) {
            Some(from) => Stage::Live { interest, head, from },
            None => Stage::History { waiting: Some(interest) },
        };
        Ok(())
    }
}
