//! One registered event in memory: its bounds, its hot tail, who reads it.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use busgate_core::{Cursor, EventConfig, EventInfo, EventName, Gap, Holder, Message, Position, Result};
use parking_lot::{Mutex, RwLock};
use tokio::sync::watch;

use crate::{lease::Seat, store::EventId};

/// The event that health is tried on, which nobody else sees.
pub(crate) const PROBE_EVENT: &str = "_probe";

/// Whether an event can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// It can.
    Open,
    /// It was unregistered.
    Unregistered,
    /// The transport was closed.
    Closed,
}

/// What is at an offset, as far as memory tells.
#[derive(Debug)]
pub(crate) enum Look {
    Here(Arc<Message>),
    /// It is on disk.
    Cold,
    /// Retention has passed by; the oldest message held is at `first`, or will be.
    Gone {
        first: u64,
    },
    /// It was not published yet.
    NotYet,
}

/// How much of an event is held.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Bounds {
    /// The offset of the oldest message held, or of the next one.
    pub(crate) first: u64,
    /// The offset of the next message.
    pub(crate) head: u64,
    /// The bytes of all records held.
    pub(crate) bytes: u64,
}

/// How much of the newest is kept in memory.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TailLimits {
    pub(crate) messages: usize,
    pub(crate) bytes: usize,
}

/// The event.
#[derive(Debug)]
pub(crate) struct Event {
    pub(crate) id: EventId,
    pub(crate) name: EventName,
    /// What it was registered with.
    pub(crate) asked: EventConfig,
    limits: TailLimits,
    tail: Mutex<Tail>,
    /// Changes with the head, the first offset and the phase.
    phase: watch::Sender<Phase>,
    seats: RwLock<BTreeMap<Holder, Arc<Seat>>>,
}

#[derive(Debug)]
struct Tail {
    bounds: Bounds,
    /// The messages before the head, the newest last.
    messages: VecDeque<Arc<Message>>,
    bytes: usize,
}

impl Event {
    pub(crate) fn new(
        id: EventId,
        name: EventName,
        asked: EventConfig,
        limits: TailLimits,
        bounds: Bounds,
    ) -> Self {
        let tail = Tail { bounds, messages: VecDeque::new(), bytes: 0 };
        let (phase, _) = watch::channel(Phase::Open);
        Self { id, name, asked, limits, tail: Mutex::new(tail), phase, seats: RwLock::default() }
    }

    pub(crate) fn bounds(&self) -> Bounds {
        self.tail.lock().bounds
    }

    pub(crate) fn phase(&self) -> Phase {
        *self.phase.borrow()
    }

    /// Tells of every change.
    pub(crate) fn watch(&self) -> watch::Receiver<Phase> {
        self.phase.subscribe()
    }

    /// What is at `offset`.
    pub(crate) fn look(&self, offset: u64) -> Look {
        self.tail.lock().look(offset)
    }

    /// Appends to `into` what is in memory from `from` on, at most `limit` messages and (but for the first) `bytes`;
    /// when nothing was, says why.
    pub(crate) fn copy(
        &self,
        from: u64,
        limit: usize,
        bytes: usize,
        into: &mut VecDeque<Arc<Message>>,
    ) -> Option<Look> {
        let tail = self.tail.lock();
        match tail.look(from) {
            Look::Here(_) => {}
            other => return Some(other),
        }
        let skip = usize::try_from(from - tail.start()).unwrap_or(usize::MAX);
        let mut copied = 0;
        for (index, message) in tail.messages.iter().skip(skip).take(limit).enumerate() {
            copied += message.weight();
            if index > 0 && copied > bytes {
                break;
            }
            into.push_back(Arc::clone(message));
        }
        None
    }

    /// Shows messages that are on disk now, and the new bounds; tells everyone who waits.
    pub(crate) fn show(&self, messages: Vec<Arc<Message>>, bounds: Bounds) {
        {
            let mut tail = self.tail.lock();
            tail.bounds = Bounds { first: tail.bounds.first.max(bounds.first), ..bounds };
            for message in messages {
                tail.bytes += message.weight();
                tail.messages.push_back(message);
            }
            tail.shrink(self.limits);
        }
        self.tell();
    }

    /// Hides what is before `first` and about to be deleted, so that nobody takes the hole for damage.
    pub(crate) fn hide(&self, first: u64) {
        let mut tail = self.tail.lock();
        tail.bounds.first = tail.bounds.first.max(first.min(tail.bounds.head));
        tail.shrink(self.limits);
    }

    /// Ends every subscription.
    pub(crate) fn end(&self, phase: Phase) {
        self.phase.send_replace(phase);
        for seat in std::mem::take(&mut *self.seats.write()).into_values() {
            seat.end();
        }
    }

    pub(crate) fn seat(&self, holder: &Holder) -> Option<Arc<Seat>> {
        self.seats.read().get(holder).map(Arc::clone)
    }

    pub(crate) fn seats(&self) -> Vec<Arc<Seat>> {
        self.seats.read().values().map(Arc::clone).collect()
    }

    /// Seats `seat` unless its holder has one; answers the one that counts, and whether it is the new one. `None` when
    /// there are `most` already.
    pub(crate) fn seat_or(&self, seat: Arc<Seat>, most: usize) -> Option<(Arc<Seat>, bool)> {
        let mut seats = self.seats.write();
        if let Some(found) = seats.get(&seat.holder) {
            return Some((Arc::clone(found), false));
        }
        if seats.len() >= most {
            return None;
        }
        seats.insert(seat.holder.clone(), Arc::clone(&seat));
        Some((seat, true))
    }

    /// The cursor of the message at `offset`.
    ///
    /// # Errors
    /// As [`Position::to_cursor`].
    pub(crate) fn cursor(&self, offset: u64) -> Result<Cursor> {
        self.cursor_before(offset.saturating_add(1))
    }

    /// The cursor of the place before the message at `next`.
    ///
    /// # Errors
    /// As [`Position::to_cursor`].
    pub(crate) fn cursor_before(&self, next: u64) -> Result<Cursor> {
        Position::before(self.id.0.into(), &self.name, next).to_cursor()
    }

    /// The gap before the message at `next`.
    pub(crate) fn gap(&self, missed: Option<u64>, next: u64) -> Gap {
        Gap { missed, cursor: self.cursor_before(next).ok() }
    }

    pub(crate) fn info(&self) -> Result<EventInfo> {
        let Bounds { first, head, bytes } = self.bounds();
        let holds = first < head;
        Ok(EventInfo {
            name: self.name.clone(),
            config: self.asked.clone(),
            messages: Some(head.saturating_sub(first)),
            bytes: Some(bytes),
            oldest: holds.then(|| self.cursor(first)).transpose()?,
            newest: holds.then(|| self.cursor_before(head)).transpose()?,
        })
    }

    fn tell(&self) {
        self.phase.send_modify(|_| {});
        for seat in self.seats.read().values() {
            seat.wake();
        }
    }
}

impl Tail {
    /// The offset of the oldest message in memory.
    fn start(&self) -> u64 {
        self.bounds.head.saturating_sub(self.messages.len() as u64)
    }

    fn look(&self, offset: u64) -> Look {
        let Bounds { first, head, .. } = self.bounds;
        if offset < first {
            return Look::Gone { first };
        }
        if offset >= head {
            return Look::NotYet;
        }
        let found = offset.checked_sub(self.start()).and_then(|index| usize::try_from(index).ok());
        match found.and_then(|index| self.messages.get(index)) {
            Some(message) => Look::Here(Arc::clone(message)),
            None => Look::Cold,
        }
    }

    fn shrink(&mut self, limits: TailLimits) {
        while self.messages.len() > limits.messages
            || self.bytes > limits.bytes
            || (!self.messages.is_empty() && self.start() < self.bounds.first)
        {
            let Some(message) = self.messages.pop_front() else { return };
            self.bytes -= message.weight();
        }
    }
}
