//! A member's place in its group: what was taken for it, and how it is woken.

use std::{collections::VecDeque, sync::Arc, task::Waker};

use busgate_core::{Gap, MAX_SETTLING, Message, RetryPolicy};

use super::{End, Held};
use crate::id::EntryId;

/// A message that was handed to this node.
#[derive(Debug)]
pub(crate) struct Taken {
    pub(crate) id: EntryId,
    pub(crate) epoch: u64,
    pub(crate) attempt: u32,
    /// Its place in the run of its epoch, if it came in one.
    pub(crate) place: Option<u16>,
    pub(crate) message: Arc<Message>,
}

/// What a member finds.
#[derive(Debug)]
pub(crate) enum Poll {
    Gap(Gap),
    /// A message, and the life of the event.
    Taken(Taken, u64),
    Ended(End),
    Pending,
}

#[derive(Debug)]
pub(super) enum SeatItem {
    Gap(Gap),
    Taken(Taken),
}

/// One subscription.
#[derive(Debug)]
pub(super) struct Seat {
    pub(super) policy: Arc<RetryPolicy>,
    window: usize,
    /// How many messages are taken for it and not settled.
    pub(super) held: usize,
    /// How many of those were yielded: the window is for these, but for those that are leaving.
    pub(super) yielded: usize,
    /// How many of those are being settled: who had them is done with them.
    pub(super) leaving: usize,
    /// How many more were asked for it.
    pub(super) asked: usize,
    pub(super) items: VecDeque<SeatItem>,
    waker: Option<Waker>,
    /// Whether it stands in the queue of the idle.
    pub(super) idle: bool,
    pub(super) end: Option<End>,
}

impl Seat {
    pub(super) fn new(policy: Arc<RetryPolicy>, window: usize, gap: Option<Gap>) -> Self {
        let items = gap.map(SeatItem::Gap).into_iter().collect();
        Self {
            policy,
            window,
            held: 0,
            yielded: 0,
            leaving: 0,
            asked: 0,
            items,
            waker: None,
            idle: false,
            end: None,
        }
    }

    /// How many messages can be taken for it, beside those that were asked for.
    pub(super) fn room(&self) -> usize {
        (self.window + self.leaving).saturating_sub(self.held + self.asked)
    }

    /// What it finds next, if its window has a place for that.
    pub(super) fn next(&mut self) -> Option<SeatItem> {
        let full = self.yielded.saturating_sub(self.leaving) >= self.window || self.leaving >= MAX_SETTLING;
        self.items.front().filter(|item| !full || matches!(item, SeatItem::Gap(_)))?;
        self.items.pop_front()
    }

    pub(super) fn wait(&mut self, waker: &Waker) {
        match &mut self.waker {
            Some(known) => known.clone_from(waker),
            None => self.waker = Some(waker.clone()),
        }
    }

    pub(super) fn wake(&mut self) {
        self.idle = false;
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    /// The place of one of its messages is free.
    pub(super) fn free(&mut self, held: &Held) {
        self.held = self.held.saturating_sub(1);
        self.leaving = self.leaving.saturating_sub(usize::from(held.leaving));
        if held.yielded.is_some() {
            self.yielded = self.yielded.saturating_sub(1);
        }
        if !self.items.is_empty() {
            self.wake();
        }
    }

    /// What was taken for it and not yielded; notices stay.
    pub(super) fn drain(&mut self) -> Vec<Taken> {
        let mut taken = Vec::new();
        let items = std::mem::take(&mut self.items);
        for item in items {
            match item {
                SeatItem::Taken(one) => taken.push(one),
                SeatItem::Gap(_) => self.items.push_back(item),
            }
        }
        taken
    }
}
