//! One event: its messages, the ids it remembers, and everyone who reads it, under one lock.

use std::{collections::HashMap, sync::Arc, task::Waker, time::Duration};

use busgate_core::{
    Cursor, DEFAULT_DEDUP_WINDOW, DEFAULT_MAX_IDS, DedupWindow, Error, EventConfig, EventInfo, EventName,
    Gap, Holder, Message, Moment, Position, Receipt, Result, Start, Timestamp,
};
use parking_lot::{Mutex, MutexGuard};
use tokio::{sync::Notify, time::Instant};

use crate::{
    codec::Place,
    config::MemoryConfig,
    crew::{Crew, Wakes},
    error,
    history::{Bounds, History},
};

/// When a message still waits this long after someone was woken for it, another idle member is woken as well: the
/// first may be busy with something else.
const PATIENCE: Duration = Duration::from_millis(5);

/// Why an event's subscriptions end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Unregistered,
    Closed,
}

/// One registered event.
#[derive(Debug)]
pub(crate) struct Topic {
    pub(crate) name: EventName,
    pub(crate) config: EventConfig,
    pub(crate) incarnation: u64,
    origin: Position,
    /// Tells the timer that there is an earlier deadline than the one it sleeps for, or that the event ended.
    pub(crate) alarm: Notify,
    state: Mutex<State>,
}

#[derive(Debug)]
pub(crate) struct State {
    pub(crate) history: History,
    pub(crate) end: Option<End>,
    pub(crate) crews: Vec<Crew>,
    /// Unnamed subscriptions that wait for the next message.
    pub(crate) waiting: HashMap<u64, Waker>,
    /// Whether a timer runs for the event.
    pub(crate) timed: bool,
    /// What the timer sleeps for, at the latest.
    pub(crate) armed: Option<Instant>,
    /// When to see whether messages still wait.
    pub(crate) recheck: Option<Instant>,
    by_holder: HashMap<Holder, usize>,
    ids: DedupWindow,
}

impl Topic {
    pub(crate) fn new(
        name: EventName,
        config: EventConfig,
        incarnation: u64,
        bounds: &MemoryConfig,
    ) -> Arc<Self> {
        let window = config.dedup_window.unwrap_or(DEFAULT_DEDUP_WINDOW);
        let state = State {
            history: History::new(Bounds::new(&config, bounds)),
            end: None,
            crews: Vec::new(),
            waiting: HashMap::new(),
            timed: false,
            armed: None,
            recheck: None,
            by_holder: HashMap::new(),
            ids: DedupWindow::new(window, DEFAULT_MAX_IDS),
        };
        let origin = Position::before(incarnation, &name, 0);
        Arc::new(Self { name, config, incarnation, origin, alarm: Notify::new(), state: Mutex::new(state) })
    }

    /// The state, with what is too old gone.
    pub(crate) fn lock(&self, now: Timestamp) -> MutexGuard<'_, State> {
        let mut state = self.state.lock();
        state.history.age(now);
        state
    }

    pub(crate) fn place(&self, offset: u64) -> Place {
        Place { incarnation: self.incarnation, offset }
    }

    /// The cursor of the message at `offset`; of offset 0 the place before the first.
    ///
    /// # Errors
    /// As [`Position::to_cursor`].
    pub(crate) fn cursor(&self, offset: u64) -> Result<Cursor> {
        self.origin.at(offset).to_cursor()
    }

    /// Why nothing can be done with it any more.
    pub(crate) fn ended(&self, end: End) -> Error {
        match end {
            End::Unregistered => error::not_registered(&self.name),
            End::Closed => error::closed(),
        }
    }

    /// Adds a batch, in order.
    pub(crate) fn publish(&self, now: Moment, batch: Vec<Message>) -> Vec<Result<Receipt>> {
        let mut wakes = Wakes::default();
        let mut state = self.lock(now.wall);
        if let Some(end) = state.end {
            return batch.iter().map(|_| Err(self.ended(end))).collect();
        }
        let before = state.history.end();
        let receipts = batch.into_iter().map(|message| self.append(&mut state, now.wall, message)).collect();
        let added = usize::try_from(state.history.end() - before).unwrap_or(usize::MAX);
        let alarm = state.announce(now.at, added, &mut wakes);
        drop(state);
        wakes.wake();
        if alarm {
            self.alarm.notify_one();
        }
        receipts
    }

    fn append(&self, state: &mut State, now: Timestamp, message: Message) -> Result<Receipt> {
        if let Some(first) = state.ids.find(now, &message.id) {
            let cursor = Some(self.cursor(first)?);
            return Ok(Receipt { id: message.id, cursor, duplicate: true });
        }
        let offset = state.history.end();
        let cursor = self.cursor(offset)?;
        let id = message.id.clone();
        state.ids.remember(now, &id, offset);
        state.history.push(now, cursor.clone(), message);
        Ok(Receipt { id, cursor: Some(cursor), duplicate: false })
    }

    /// Where a reader with this start begins, and what it cannot have any more.
    pub(crate) fn locate(&self, history: &History, start: &Start) -> Result<(u64, Option<Gap>)> {
        match start {
            Start::Beginning => Ok((history.first(), None)),
            Start::Latest => Ok((history.end(), None)),
            Start::At(time) => Ok((history.since(*time), None)),
            Start::After(cursor) => {
                let position = Position::parse(cursor)?;
                if !position.is_of(&self.name) {
                    return Err(Position::foreign());
                }
                if position.life != self.incarnation {
                    return Ok((history.first(), Some(self.gap(history, None)?)));
                }
                if position.next >= history.end() {
                    return Err(Error::invalid("the cursor is beyond the end of the event"));
                }
                let next = position.next + 1;
                let missed = history.first().saturating_sub(next);
                let gap = if missed > 0 { Some(self.gap(history, Some(missed))?) } else { None };
                Ok((next.max(history.first()), gap))
            }
        }
    }

    pub(crate) fn gap(&self, history: &History, missed: Option<u64>) -> Result<Gap> {
        let held = history.oldest().map(|_| self.cursor(history.first() - 1));
        Ok(Gap { missed, cursor: held.transpose()? })
    }

    pub(crate) fn info(&self, now: Timestamp) -> EventInfo {
        let state = self.lock(now);
        let cursor = |held: Option<&crate::history::Held>| -> Option<Cursor> { Some(held?.cursor.clone()) };
        EventInfo {
            name: self.name.clone(),
            config: self.config.clone(),
            messages: Some(state.history.len() as u64),
            bytes: Some(state.history.bytes()),
            oldest: cursor(state.history.oldest()),
            newest: cursor(state.history.newest()),
        }
    }

    /// An unnamed subscription does not wait any more.
    pub(crate) fn forget_reader(&self, serial: u64) {
        self.state.lock().waiting.remove(&serial);
    }

    /// Ends every subscription and lets go of the messages.
    pub(crate) fn finish(&self, end: End) {
        let mut wakes = Wakes::default();
        let mut state = self.state.lock();
        state.end.get_or_insert(end);
        state.history.clear();
        state.crews.iter_mut().for_each(|crew| crew.dismiss(&mut wakes));
        state.waiting.drain().for_each(|(_, waker)| wakes.add(Some(waker)));
        drop(state);
        wakes.wake();
        self.alarm.notify_one();
    }
}

impl State {
    /// The holder's crew, which starts at `start` when it is new; its index stays.
    pub(crate) fn crew_of(&mut self, holder: &Holder, start: u64, most: usize) -> Result<usize> {
        if let Some(index) = self.by_holder.get(holder) {
            return Ok(*index);
        }
        if self.crews.len() >= most {
            return Err(error::exhausted("groups and consumers of one event", most));
        }
        self.crews.push(Crew::new(holder.clone(), start));
        self.by_holder.insert(holder.clone(), self.crews.len() - 1);
        Ok(self.crews.len() - 1)
    }

    pub(crate) fn find_crew(&self, holder: &Holder) -> Option<usize> {
        self.by_holder.get(holder).copied()
    }

    /// Has the timer look again at `at`, and in time for a recheck; whether it must be told.
    pub(crate) fn arm(&mut self, at: Option<Instant>) -> bool {
        let at = at.into_iter().chain(self.recheck).min();
        let Some(at) = at.filter(|at| self.armed.is_none_or(|armed| *at < armed)) else { return false };
        self.armed = Some(at);
        true
    }

    /// Wakes who waits for `added` messages; whether the timer must be told.
    fn announce(&mut self, now: Instant, added: usize, wakes: &mut Wakes) -> bool {
        if added == 0 {
            return false;
        }
        self.waiting.drain().for_each(|(_, waker)| wakes.add(Some(waker)));
        let mut others_wait = false;
        for crew in &mut self.crews {
            crew.wake_idle(added, wakes);
            others_wait |= crew.has_idle();
        }
        if others_wait {
            self.recheck_after(now);
        }
        self.arm(None)
    }

    /// Has whoever arms the timer next look again a little later whether those who were woken came.
    pub(crate) fn recheck_after(&mut self, now: Instant) {
        self.recheck.get_or_insert(now + PATIENCE);
    }

    /// Wakes idle members of a crew for what came back; when the timer is armed next, it sees to it that they came.
    pub(crate) fn wake_for_work(&mut self, index: usize, now: Instant, wakes: &mut Wakes) {
        let end = self.history.end();
        let Some(crew) = self.crews.get_mut(index) else { return };
        if crew.wake_for_work(end, wakes) {
            self.recheck_after(now);
        }
    }
}
