//! Notes of what went wrong, kept by the transport itself in an event beside each event that has any.
//!
//! A node writes one when a message is nacked with an error, and reads them when it buries a message whose earlier
//! attempts it does not know: those were another node's, or its own before a crash. Reading goes on where it left off, so
//! that the burials of many messages read the notes once.

mod index;

use std::{collections::BTreeMap, future::Future, sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::time::Instant;

use self::index::{Bookmark, Index};
use super::{
    note::{Note, Subject},
    past::Past,
};
use crate::{
    Clock, Cursor, Effect, ErrorKind, EventConfig, EventName, LeaseToken, MAX_NACK_DELAY, ReadRequest,
    Result, Start, Timestamp, Transport, gateway::in_time, own_event,
};

/// How long notes are held: longer than the longest delay between two attempts.
const HELD: Duration = MAX_NACK_DELAY.saturating_add(Duration::from_secs(24 * 3600));

/// How many notes are held of one event, where nothing makes it fewer.
const MAX_NOTES: u64 = 65_536;

/// How much of them is read at a time.
const PAGE: (usize, usize) = (1000, 1 << 20);

/// How long a nack waits for its note to be written, and a burial for the notes to be read.
const PATIENCE: Duration = Duration::from_secs(3);

/// How long neither is tried again after it failed: who may not do it at all is not held up each time.
const REST: Duration = Duration::from_secs(5);

/// The notes of all events of a transport.
#[derive(Debug)]
pub(super) struct Notes {
    inner: Arc<dyn Transport>,
    clock: Arc<dyn Clock>,
    index: Index,
    rests_until: Mutex<Option<Instant>>,
}

impl Notes {
    pub(super) fn over(inner: Arc<dyn Transport>, clock: Arc<dyn Clock>) -> Self {
        Self { inner, clock, index: Index::default(), rests_until: Mutex::default() }
    }

    /// Whether notes are kept of this event: by a transport where they outlive the node, and not of the gateway's own
    /// events, whose messages have no dead letters.
    pub(super) fn are_kept(&self, event: &EventName) -> bool {
        let can = self.inner.capabilities();
        can.durable && can.replay && !event.is_own()
    }

    /// Writes notes, those of one event at once.
    pub(super) async fn write(&self, notes: Vec<(EventName, Note)>) {
        let mut by_event = BTreeMap::<_, Vec<_>>::new();
        for (event, note) in notes {
            by_event.entry(event).or_default().push(note);
        }
        for (event, notes) in by_event {
            self.attempt(&event, "write", self.write_down(&event, &notes)).await;
        }
    }

    async fn write_down(&self, event: &EventName, notes: &[Note]) -> Result<()> {
        let (event, now) = (event.stories()?, self.clock.now());
        let messages = notes.iter().map(|note| note.to_message(now)).collect();
        let config = EventConfig {
            dedup_window: Some(Duration::ZERO),
            retention_age: Some(HELD),
            retention_messages: Some(MAX_NOTES),
            ..EventConfig::default()
        };
        own_event::publish(&*self.inner, &event, &config, messages).await
    }

    /// What the notes say of a message that was `published` at this time, those of this moment included.
    pub(super) async fn of(
        &self,
        event: &EventName,
        subject: &Subject,
        published: Timestamp,
    ) -> Option<Past> {
        let past = self.index.past(event, subject);
        if past.as_ref().is_some_and(Past::has_its_beginning) || !self.are_kept(event) {
            return past;
        }
        self.attempt(event, "read", self.catch_up(event, published)).await;
        self.index.past(event, subject)
    }

    /// Reads what was written since the last time. Dropped half-way it has come as far as it has.
    async fn catch_up(&self, event: &EventName, published: Timestamp) -> Result<()> {
        let bookmark = self.index.bookmark(event);
        let mut bookmark = bookmark.lock().await;
        let stories = event.stories()?;
        bookmark.open(published, self.inner.capabilities().replay_from_time);
        loop {
            let request = ReadRequest { start: bookmark.start(), limit: PAGE.0, max_bytes: PAGE.1 };
            let is_anew = !matches!(request.start, Start::After(_));
            let page = match self.inner.read(&stories, request).await {
                Ok(page) => page,
                // Nothing ever went wrong.
                Err(error) if error.kind() == ErrorKind::NotFound => {
                    *bookmark = Bookmark::default();
                    return Ok(());
                }
                // It was unregistered meanwhile, and is there again.
                Err(error) if error.kind() == ErrorKind::Invalid && !is_anew => {
                    bookmark.begin();
                    continue;
                }
                Err(error) => return Err(error),
            };
            let notes = page.messages.iter().filter_map(|(_, message)| Note::read(message));
            notes.for_each(|note| self.index.add(event, note));
            bookmark.advance(page.next);
            if page.end {
                return Ok(());
            }
        }
    }

    /// The story of a message ends.
    pub(super) fn end(&self, token: &LeaseToken, place: &Cursor) {
        self.index.remove(&token.event, || Subject::of(token, place));
    }

    /// The event is gone, and its notes with it.
    pub(super) async fn forget(&self, event: &EventName) {
        self.index.forget(event);
        if !self.are_kept(event) {
            return;
        }
        let gone = async { self.inner.unregister(&event.stories()?).await };
        self.attempt(event, "remove", gone).await;
    }

    /// Does what it can with an event's notes, within bounds of time and not soon after it failed: nothing depends on it.
    async fn attempt(&self, event: &EventName, what: &str, call: impl Future<Output = Result<()>> + Send) {
        if self.rests_until.lock().is_some_and(|until| Instant::now() < until) {
            tracing::debug!(%event, what, "notes of what went wrong are left alone for a moment");
            return;
        }
        let error = in_time(PATIENCE, Effect::Unknown, call).await.err();
        let error = error.filter(|error| error.kind() != ErrorKind::NotFound);
        *self.rests_until.lock() = error.as_ref().map(|_| Instant::now() + REST);
        if let Some(error) = error {
            tracing::warn!(%event, what, %error, "notes of what went wrong fail: dead letters tell what is known");
        }
    }
}
