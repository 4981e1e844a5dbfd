//! The newest messages of one event, shared by everyone who follows it live.

use std::{collections::VecDeque, sync::Arc};

use crate::{
    Cursor, End, Envelope, Gap,
    sync::{Notified, Notify, RwLock},
};

/// What a ring holds.
#[derive(Clone, Debug)]
pub(crate) enum Slot {
    Message(Arc<Envelope>),
    /// The tail itself missed something.
    Gap(Gap),
}

/// What a reader finds at its place.
#[derive(Debug)]
pub(crate) enum Found {
    Slot(Slot),
    /// Nothing yet.
    Nothing,
    /// The place has been overwritten.
    Evicted,
    /// There will be nothing more.
    End(End),
}

/// How much a ring holds at most.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    pub(crate) messages: usize,
    pub(crate) bytes: usize,
}

#[derive(Debug, Default)]
struct State {
    /// The number of the oldest slot.
    first: u64,
    slots: VecDeque<Slot>,
    bytes: usize,
    /// Whether the tail is attached: from then on nothing published is missed.
    open: bool,
    end: Option<End>,
}

impl State {
    fn head(&self) -> u64 {
        self.first + self.slots.len() as u64
    }

    fn get(&self, place: u64) -> Option<&Slot> {
        let index = usize::try_from(place.checked_sub(self.first)?).ok()?;
        self.slots.get(index)
    }
}

/// The newest messages of one event. Places are numbered from 0 without holes.
#[derive(Debug)]
pub(crate) struct Ring {
    bounds: Bounds,
    state: RwLock<State>,
    wake: Notify,
}

impl Ring {
    pub(crate) fn new(bounds: Bounds) -> Self {
        Self { bounds, state: RwLock::default(), wake: Notify::new() }
    }

    /// Resolves when the ring has changed. Take and enable it before looking.
    pub(crate) fn changed(&self) -> Notified<'_> {
        self.wake.notified()
    }

    /// The tail is attached.
    pub(crate) fn open(&self) {
        self.state.write().open = true;
        self.wake.notify_waiters();
    }

    /// Whether the tail is attached, or has ended.
    pub(crate) fn is_ready(&self) -> bool {
        let state = self.state.read();
        state.open || state.end.is_some()
    }

    /// Adds at the head; the oldest make room, but one message always fits.
    pub(crate) fn push(&self, slot: Slot) {
        let mut state = self.state.write();
        state.bytes += weight(&slot);
        state.slots.push_back(slot);
        while state.slots.len() > self.bounds.messages.max(1)
            || (state.bytes > self.bounds.bytes && state.slots.len() > 1)
        {
            let Some(oldest) = state.slots.pop_front() else { break };
            state.bytes -= weight(&oldest);
            state.first += 1;
        }
        drop(state);
        self.wake.notify_waiters();
    }

    /// Nothing more will come.
    pub(crate) fn finish(&self, end: End) {
        self.state.write().end.get_or_insert(end);
        self.wake.notify_waiters();
    }

    /// Why nothing more will come, if so.
    pub(crate) fn end(&self) -> Option<End> {
        self.state.read().end.clone()
    }

    /// The place of the next message.
    pub(crate) fn head(&self) -> u64 {
        self.state.read().head()
    }

    /// Whether everything from `place` on is still here.
    pub(crate) fn holds(&self, place: u64) -> bool {
        place >= self.state.read().first
    }

    /// What is at `place`, and how many are behind it up to the head.
    pub(crate) fn find(&self, place: u64) -> (Found, u64) {
        let state = self.state.read();
        let behind = state.head().saturating_sub(place);
        let found = match (state.get(place), &state.end) {
            (Some(slot), _) => Found::Slot(slot.clone()),
            (None, _) if place < state.first => Found::Evicted,
            (None, Some(end)) => Found::End(end.clone()),
            (None, None) => Found::Nothing,
        };
        (found, behind)
    }

    /// The cursor before which `place` comes next, if the ring still has the message there.
    pub(crate) fn cursor_before(&self, place: u64) -> Option<Cursor> {
        let state = self.state.read();
        match state.get(place.checked_sub(1)?)? {
            Slot::Message(envelope) => Some(envelope.cursor.clone()),
            Slot::Gap(gap) => gap.cursor.clone(),
        }
    }
}

fn weight(slot: &Slot) -> usize {
    match slot {
        Slot::Message(envelope) => envelope.message.weight(),
        Slot::Gap(_) => 64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{EventName, Message, MessageId};

    fn message(payload: &str) -> Slot {
        let message = Arc::new(Message::new(MessageId::generate(), payload.to_owned()));
        Slot::Message(Arc::new(Envelope::new(
            EventName::new("e").unwrap(),
            message,
            Cursor::new("1").unwrap(),
        )))
    }

    fn ring(messages: usize, bytes: usize) -> Ring {
        Ring::new(Bounds { messages, bytes })
    }

    #[test]
    fn the_oldest_make_room() {
        let ring = ring(2, 1 << 20);
        for payload in ["a", "b", "c"] {
            ring.push(message(payload));
        }
        assert!(matches!(ring.find(0).0, Found::Evicted));
        assert!(matches!(ring.find(1).0, Found::Slot(_)));
        assert!(matches!(ring.find(3).0, Found::Nothing));
        assert_eq!(ring.head(), 3);
    }

    #[test]
    fn bytes_are_bounded_but_one_message_always_fits() {
        let ring = ring(100, 1000);
        ring.push(message(&"x".repeat(5000)));
        assert!(ring.holds(0));
        ring.push(message("y"));
        assert!(!ring.holds(0));
        assert!(ring.holds(1));
    }

    #[test]
    fn what_was_pushed_before_the_end_is_still_found() {
        let ring = ring(8, 1 << 20);
        ring.push(message("a"));
        ring.finish(End::Closed);
        assert!(matches!(ring.find(0).0, Found::Slot(_)));
        assert!(matches!(ring.find(1).0, Found::End(End::Closed)));
    }
}
