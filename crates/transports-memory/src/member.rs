//! A member of a group, or a named consumer: one lease at a time, straight from the group.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use busgate_core::{Delivery, Gap, Item, LeaseToken, Moment, Result, Taken, Transport};
use futures_core::Stream;

use crate::{
    burial::Letter,
    crew::{Crew, Wakes, slot},
    error,
    history::History,
    registry::Registry,
    topic::{End, State, Topic},
};

/// One subscription with leases.
#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) transport: Arc<dyn Transport>,
    pub(crate) registry: Arc<Registry>,
    pub(crate) topic: Arc<Topic>,
    /// Which crew of the event.
    pub(crate) crew: usize,
    pub(crate) serial: u64,
    /// What was missed before the first message.
    pub(crate) gap: Option<Gap>,
    pub(crate) ended: bool,
}

/// What a look at the event found.
enum Found {
    Item(Result<Item>),
    End(Option<busgate_core::Error>),
    Nothing,
}

impl Member {
    fn look(&self, cx: &Context<'_>) -> Found {
        let now = self.registry.now();
        let mut letters = Vec::new();
        let mut wakes = Wakes::default();
        let mut guard = self.topic.lock(now.wall);
        let found = self.next(&mut guard, now, cx, &mut letters, &mut wakes);
        let deadline = guard.crews.get(self.crew).and_then(|crew| crew.group.next_deadline());
        let alarm = guard.arm(deadline);
        drop(guard);
        wakes.wake();
        if alarm {
            self.topic.alarm.notify_one();
        }
        if !letters.is_empty() {
            self.registry.bury(&self.topic, letters);
        }
        found
    }

    fn next(
        &self,
        state: &mut State,
        now: Moment,
        cx: &Context<'_>,
        letters: &mut Vec<Letter>,
        wakes: &mut Wakes,
    ) -> Found {
        match state.end {
            Some(End::Unregistered) => return Found::End(None),
            Some(End::Closed) => return Found::End(Some(error::closed())),
            None => {}
        }
        state.expire(self.crew, now.at, letters, wakes);
        let State { history, crews, .. } = state;
        let Some(crew) = crews.get_mut(self.crew) else { return Found::End(None) };
        if crew.seat(self.serial).is_none() {
            return Found::End(Some(error::taken_over()));
        }
        if crew.group.frontier() < history.first() {
            crew.group.trim(history.first());
        }
        let missed = crew.group.take_missed();
        if missed > 0 {
            let gap = self.topic.gap(history, Some(missed));
            return Found::Item(gap.map(Item::Gap));
        }
        if !crew.has_room(self.serial) {
            crew.wait(self.serial, cx.waker(), false);
            return Found::Nothing;
        }
        match self.take(crew, history, now) {
            Some(taken) => {
                crew.is_served(self.serial);
                Found::Item(self.delivery(crew, history, taken))
            }
            None => {
                crew.wait(self.serial, cx.waker(), true);
                Found::Nothing
            }
        }
    }

    fn take(&self, crew: &mut Crew, history: &History, now: Moment) -> Option<Taken> {
        let policy = Arc::clone(&crew.seat(self.serial)?.policy);
        crew.group.take(now, self.serial, &policy, |offset| slot(history, offset))
    }

    fn delivery(&self, crew: &Crew, history: &History, taken: Taken) -> Result<Item> {
        let place = self.topic.place(taken.offset);
        let cursor = match history.get(taken.offset) {
            Some(held) => held.cursor.clone(),
            None => self.topic.cursor(taken.offset)?,
        };
        let token = LeaseToken {
            event: self.topic.name.clone(),
            holder: crew.holder.clone(),
            entry: place.to_entry(),
            epoch: taken.epoch,
        };
        let transport = Arc::clone(&self.transport);
        Ok(Item::Delivery(Delivery::leased(token, taken.message, cursor, taken.attempt, transport)))
    }
}

impl Stream for Member {
    type Item = Result<Item>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if let Some(gap) = self.gap.take() {
            return Poll::Ready(Some(Ok(Item::Gap(gap))));
        }
        if self.ended {
            return Poll::Ready(None);
        }
        match self.look(cx) {
            Found::Item(item) => Poll::Ready(Some(item)),
            Found::Nothing => Poll::Pending,
            Found::End(error) => {
                self.ended = true;
                Poll::Ready(error.map(Err))
            }
        }
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        let mut wakes = Wakes::default();
        let now = self.registry.now();
        let mut state = self.topic.lock(now.wall);
        if let Some(crew) = state.crews.get_mut(self.crew) {
            crew.leave(self.serial);
        }
        // A message it was woken for goes to another.
        state.wake_for_work(self.crew, now.at, &mut wakes);
        let alarm = state.arm(None);
        drop(state);
        wakes.wake();
        if alarm {
            self.topic.alarm.notify_one();
        }
    }
}
