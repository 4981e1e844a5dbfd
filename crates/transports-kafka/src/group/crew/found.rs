//! What a member finds when it looks for its next item.

use std::{sync::Arc, task::Context};

use busgate_core::{Delivery, Error, ErrorKind, Item, LeaseToken, Moment, Result, Taken, Transport};

use super::Crew;
use crate::{
    error::closed,
    group::state::{End, State, wakes::Wakes},
    lease::Entry,
};

/// What a look for the next item found.
pub(crate) enum Found {
    /// Something to hand out.
    Item(Result<Item>),
    /// Nothing will come any more.
    End(Option<Error>),
    /// Nothing yet.
    Nothing,
}

/// The same, before the lock is let go of.
enum Next {
    Taken(i32, Taken),
    Found(Found),
}

impl Crew {
    /// The next item for a member.
    pub(crate) fn look(&self, member: u64, transport: &Arc<dyn Transport>, cx: &Context<'_>) -> Found {
        let (now, mut wakes) = (self.now(), Wakes::default());
        let mut state = self.state.lock();
        state.expire(now.at, &mut wakes);
        let found = self.next(&mut state, member, now, cx, &mut wakes);
        drop(state);
        self.wake(wakes);
        match found {
            Next::Taken(partition, taken) => Found::Item(self.delivery(partition, taken, transport)),
            Next::Found(found) => found,
        }
    }

    fn next(&self, state: &mut State, member: u64, now: Moment, cx: &Context<'_>, wakes: &mut Wakes) -> Next {
        if !state.is_seated(member) {
            let text = "the consumer has subscribed elsewhere";
            return Next::Found(Found::End(Some(Error::new(ErrorKind::Exists, text))));
        }
        match state.end {
            Some(End::Unregistered) => return Next::Found(Found::End(None)),
            Some(End::Closed | End::Idle) => return Next::Found(Found::End(Some(closed()))),
            None => {}
        }
        if let Some(gap) = state.gaps.pop_front() {
            return Next::Found(Found::Item(Ok(Item::Gap(gap))));
        }
        if !state.has_room(member) {
            state.wait(member, cx.waker(), false);
            return Next::Found(Found::Nothing);
        }
        match state.take(now, member, wakes) {
            Some((partition, taken)) => {
                state.is_served(member);
                Next::Taken(partition, taken)
            }
            None => {
                state.wait(member, cx.waker(), true);
                Next::Found(Found::Nothing)
            }
        }
    }

    fn delivery(&self, partition: i32, taken: Taken, transport: &Arc<dyn Transport>) -> Result<Item> {
        let entry = Entry { life: self.event.life, partition, offset: taken.offset };
        let cursor = self.event.own_cursor(entry.place())?;
        let token = LeaseToken {
            event: self.event.name.clone(),
            holder: self.holder.clone(),
            entry: entry.to_bytes(),
            epoch: taken.epoch,
        };
        let delivery = Delivery::leased(token, taken.message, cursor, taken.attempt, Arc::clone(transport));
        Ok(Item::Delivery(delivery))
    }
}
