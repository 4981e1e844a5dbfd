//! One subscription with leases.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use busgate_core::{Delivery, Error, Item, LeaseToken, Message, Result, Transport};
use futures_core::Stream;
use tokio::time::Instant;

use crate::{
    crew::{Crew, Entry, Wakes},
    error,
    event::End,
    token::Place,
};

/// A member of a group, or the one of a named consumer.
#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) transport: Arc<dyn Transport>,
    pub(crate) crew: Arc<Crew>,
    pub(crate) serial: u64,
    /// This node, as tokens name it.
    pub(crate) owner: u64,
    pub(crate) ended: bool,
}

/// What a look at the crew found.
enum Found {
    Item(Result<Item>),
    End(Option<Error>),
    Nothing,
}

impl Member {
    fn look(&self, cx: &Context<'_>) -> Found {
        match self.crew.event.ended() {
            Some(End::Unregistered) => return Found::End(None),
            Some(End::Closed) => return Found::End(Some(error::closed())),
            None => {}
        }
        let mut wakes = Wakes::default();
        let mut state = self.crew.state.lock();
        if state.is_given_up {
            return Found::End(Some(error::consumer_gone()));
        }
        let Some(seat) = state.seats.get_mut(self.serial) else {
            return Found::End(Some(error::taken_over()));
        };
        if let Some(gap) = seat.gap.take() {
            return Found::Item(Ok(Item::Gap(gap)));
        }
        let has_room = state.seats.has_room(self.serial);
        let taken = if has_room { state.take(Instant::now(), self.serial, &mut wakes) } else { None };
        if taken.is_none() {
            state.seats.wait(self.serial, cx.waker(), has_room);
        }
        let is_first = taken.as_ref().is_some_and(|(entry, _)| state.is_earliest(entry));
        drop(state);
        wakes.wake();
        if is_first {
            self.crew.alarm.notify_one();
        }
        match taken {
            Some((entry, message)) => Found::Item(self.delivery(&entry, message)),
            None => Found::Nothing,
        }
    }

    fn delivery(&self, entry: &Entry, message: Arc<Message>) -> Result<Item> {
        let (event, sequence) = (&self.crew.event, entry.delivered.stamp.sequence);
        let place = Place { owner: self.owner, life: event.life, sequence };
        let token = LeaseToken {
            event: event.name.clone(),
            holder: self.crew.holder.clone(),
            entry: place.to_entry(),
            epoch: entry.epoch(),
        };
        let cursor = event.before(sequence + 1).to_cursor()?;
        let transport = Arc::clone(&self.transport);
        Ok(Item::Delivery(Delivery::leased(token, message, cursor, entry.attempt(), transport)))
    }
}

impl Stream for Member {
    type Item = Result<Item>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
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
        self.crew.leave(self.serial);
    }
}
