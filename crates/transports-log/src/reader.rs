//! Reading an event: from memory while it is recent, else from disk; and unnamed broadcast on top of it.

use std::{collections::VecDeque, sync::Arc};

use busgate_core::{Delivery, Error, Gap, Item, Message, Result, Subscription, Timestamp};
use futures_util::stream;
use tokio::sync::watch;

use crate::{
    codec,
    error::closed,
    event::{Event, Look, Phase},
    store::{Readers, Sealed, Want},
};

/// How much of the log is read ahead of a subscriber, in messages (at most) and bytes.
const AHEAD: (usize, usize) = (1024, 1024 * 1024);

/// Reads from disk without blocking the caller's thread.
#[derive(Clone, Debug)]
pub(crate) struct Loader(Arc<Readers>);

/// What was found at an offset.
#[derive(Debug)]
pub(crate) enum Found {
    /// Messages, the first of them at the offset; at least one.
    Messages,
    /// Retention has passed by.
    Gone { first: u64 },
    /// Nothing yet.
    End,
}

impl Loader {
    pub(crate) fn new(readers: Arc<Readers>) -> Self {
        Self(readers)
    }

    /// Reads messages from `from` on, as many as `(messages, bytes)` allows; none when retention was faster.
    ///
    /// # Errors
    /// `internal` when the data is damaged, `unavailable`.
    pub(crate) async fn load(
        &self,
        event: &Arc<Event>,
        from: u64,
        (messages, bytes): (usize, usize),
    ) -> Result<Vec<Arc<Message>>> {
        let want = Want { event: event.id, from, until: event.bounds().head, messages, bytes };
        let loaded = self.blocking(move |readers| decode(readers.page(want)?)).await;
        match loaded {
            // A hole is no damage when retention made it meanwhile.
            Err(_) if event.bounds().first > from => Ok(Vec::new()),
            Err(error) => {
                tracing::error!(event = %event.name, offset = from, %error, "reading the log failed");
                Err(error)
            }
            messages => messages,
        }
    }

    /// Appends to `into` what is at `from` and after it.
    ///
    /// # Errors
    /// As [`Loader::load`].
    pub(crate) async fn find(
        &self,
        event: &Arc<Event>,
        from: u64,
        (messages, bytes): (usize, usize),
        into: &mut VecDeque<Arc<Message>>,
    ) -> Result<Found> {
        loop {
            match event.copy(from, messages, bytes, into) {
                None => return Ok(Found::Messages),
                Some(Look::NotYet) => return Ok(Found::End),
                Some(Look::Gone { first }) => return Ok(Found::Gone { first }),
                Some(Look::Here(_) | Look::Cold) => {
                    let loaded = self.load(event, from, (messages, bytes)).await?;
                    if !loaded.is_empty() {
                        into.extend(loaded);
                        return Ok(Found::Messages);
                    }
                }
            }
        }
    }

    /// The offset of the first message at or after `time`.
    ///
    /// # Errors
    /// As [`Loader::load`].
    pub(crate) async fn search(&self, event: &Arc<Event>, time: Timestamp) -> Result<u64> {
        loop {
            let bounds = event.bounds();
            let id = event.id;
            let range = bounds.first..bounds.head;
            let found = self
                .blocking(move |readers| readers.search(id, range, |record| record.log_time >= time))
                .await;
            match found {
                Err(_) if event.bounds().first > bounds.first => {}
                found => return found,
            }
        }
    }

    async fn blocking<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Readers) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let readers = Arc::clone(&self.0);
        tokio::task::spawn_blocking(move || read(&readers))
            .await
            .map_err(|error| Error::unavailable("reading was given up").with_source(error))?
    }
}

fn decode(records: Vec<Sealed>) -> Result<Vec<Arc<Message>>> {
    records.into_iter().map(|record| codec::decode_message(record.body).map(Arc::new)).collect()
}

/// Unnamed broadcast: reads from where it started, for ever.
#[derive(Debug)]
pub(crate) struct Follower {
    loader: Loader,
    event: Arc<Event>,
    changes: watch::Receiver<Phase>,
    /// The offset of the first message of `ahead`.
    next: u64,
    ahead: VecDeque<Arc<Message>>,
    limit: usize,
    gap: Option<Gap>,
}

impl Follower {
    pub(crate) fn new(loader: Loader, event: Arc<Event>, next: u64, limit: usize, gap: Option<Gap>) -> Self {
        let changes = event.watch();
        let limit = limit.min(AHEAD.0);
        Self { loader, event, changes, next, ahead: VecDeque::new(), limit, gap }
    }

    /// The follower as a stream.
    pub(crate) fn into_subscription(self) -> Subscription {
        Subscription::new(stream::unfold(Some(self), |follower| async move {
            let mut follower = follower?;
            match follower.next().await {
                Some(Ok(item)) => Some((Ok(item), Some(follower))),
                Some(Err(error)) => Some((Err(error), None)),
                None => None,
            }
        }))
    }

    async fn next(&mut self) -> Option<Result<Item>> {
        loop {
            match *self.changes.borrow_and_update() {
                Phase::Open => {}
                Phase::Unregistered => return None,
                Phase::Closed => return Some(Err(closed())),
            }
            if let Some(gap) = self.gap.take() {
                return Some(Ok(Item::Gap(gap)));
            }
            if let Some(message) = self.ahead.pop_front() {
                return Some(self.deliver(message));
            }
            let limits = (self.limit, AHEAD.1);
            match self.loader.find(&self.event, self.next, limits, &mut self.ahead).await {
                Ok(Found::Messages) => {}
                Ok(Found::Gone { first }) => {
                    self.gap = Some(self.event.gap(Some(first - self.next), first));
                    self.next = first;
                }
                Ok(Found::End) => {
                    // The event outlives its followers: the sender can't be gone.
                    let _ = self.changes.changed().await;
                }
                Err(error) => return Some(Err(error)),
            }
        }
    }

    fn deliver(&mut self, message: Arc<Message>) -> Result<Item> {
        let cursor = self.event.cursor(self.next)?;
        self.next += 1;
        Ok(Item::Delivery(Delivery::unleased(self.event.name.clone(), message, cursor)))
    }
}
