//! A group or named consumer on one event: its progress and its members here.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    task::Waker,
};

use busgate_core::{Group, Holder, RetryPolicy, Slot, Story, SubscribeOptions};

use crate::history::History;

/// Tokens of another incarnation of the event never reach the group, so its epochs need no generation.
const GENERATION: u32 = 1;

/// Those to wake once the lock is free.
#[derive(Debug, Default)]
pub(crate) struct Wakes(Vec<Waker>);

impl Wakes {
    pub(crate) fn add(&mut self, waker: Option<Waker>) {
        self.0.extend(waker);
    }

    pub(crate) fn wake(self) {
        self.0.into_iter().for_each(Waker::wake);
    }
}

/// The progress of a holder, and who takes part.
#[derive(Debug)]
pub(crate) struct Crew {
    pub(crate) holder: Holder,
    pub(crate) group: Group,
    seats: HashMap<u64, Seat>,
    /// Who waits for a message, longest first.
    idle: VecDeque<u64>,
    /// The member that joined last, of a consumer.
    latest: u64,
}

/// One subscription.
#[derive(Debug)]
pub(crate) struct Seat {
    pub(crate) policy: Arc<RetryPolicy>,
    max_in_flight: usize,
    waker: Option<Waker>,
    /// Whether it stands in the queue of the idle.
    idle: bool,
}

impl Crew {
    pub(crate) fn new(holder: Holder, start: u64) -> Self {
        let group = Group::new(start, GENERATION);
        Self { holder, group, seats: HashMap::new(), idle: VecDeque::new(), latest: 0 }
    }

    pub(crate) fn members(&self) -> usize {
        self.seats.len()
    }

    /// Takes a subscription in; answers those whose attempts that used up. A consumer has one: an earlier one finds its
    /// seat gone, and what it did not settle comes again.
    pub(crate) fn join(&mut self, member: u64, options: &SubscribeOptions, wakes: &mut Wakes) -> Vec<Story> {
        let mut dead = Vec::new();
        if matches!(self.holder, Holder::Consumer(_)) {
            self.dismiss(wakes);
            dead = self.group.return_member(std::mem::replace(&mut self.latest, member));
        }
        let policy = Arc::new(options.retry.clone());
        let max_in_flight = options.max_in_flight;
        self.seats.insert(member, Seat { policy, max_in_flight, waker: None, idle: false });
        dead
    }

    /// Lets a subscription go.
    pub(crate) fn leave(&mut self, member: u64) {
        if self.seats.remove(&member).is_some() {
            self.idle.retain(|idle| *idle != member);
        }
    }

    /// Ends every subscription.
    pub(crate) fn dismiss(&mut self, wakes: &mut Wakes) {
        self.idle.clear();
        for (_, seat) in self.seats.drain() {
            wakes.add(seat.waker);
        }
    }

    pub(crate) fn seat(&self, member: u64) -> Option<&Seat> {
        self.seats.get(&member)
    }

    /// Whether the member's window has room.
    pub(crate) fn has_room(&self, member: u64) -> bool {
        self.seats.get(&member).is_some_and(|seat| self.group.leased_by(member) < seat.max_in_flight)
    }

    /// The member waits: for a message, or when its window is full for one of its own leases to end.
    pub(crate) fn wait(&mut self, member: u64, waker: &Waker, for_message: bool) {
        let Some(seat) = self.seats.get_mut(&member) else { return };
        match &mut seat.waker {
            Some(known) => known.clone_from(waker),
            None => seat.waker = Some(waker.clone()),
        }
        if for_message && !seat.idle {
            seat.idle = true;
            self.idle.push_back(member);
        }
    }

    /// The member got something without being woken: it does not wait any more.
    pub(crate) fn is_served(&mut self, member: u64) {
        if let Some(seat) = self.seats.get_mut(&member).filter(|seat| seat.idle) {
            seat.idle = false;
            self.idle.retain(|idle| *idle != member);
        }
    }

    /// Wakes as many idle members as there are messages.
    pub(crate) fn wake_idle(&mut self, messages: usize, wakes: &mut Wakes) {
        for _ in 0..messages {
            let Some(member) = self.idle.pop_front() else { return };
            if let Some(seat) = self.seats.get_mut(&member) {
                seat.idle = false;
                wakes.add(seat.waker.take());
            }
        }
    }

    pub(crate) fn has_idle(&self) -> bool {
        !self.idle.is_empty()
    }

    /// Wakes idle members for what came back, or for a message whose taker has not come; whether others wait on.
    pub(crate) fn wake_for_work(&mut self, end: u64, wakes: &mut Wakes) -> bool {
        if !self.has_idle() || !self.group.has_work(end) {
            return false;
        }
        self.wake_idle(self.group.ready().max(1), wakes);
        self.has_idle()
    }

    /// A lease of the member ended: it may have waited for that.
    pub(crate) fn wake_member(&mut self, member: u64, wakes: &mut Wakes) {
        if let Some(seat) = self.seats.get_mut(&member).filter(|seat| !seat.idle) {
            wakes.add(seat.waker.take());
        }
    }

    /// Leases ended: every member whose window has room again may have waited for that.
    pub(crate) fn wake_full(&mut self, wakes: &mut Wakes) {
        for seat in self.seats.values_mut().filter(|seat| !seat.idle) {
            wakes.add(seat.waker.take());
        }
    }
}

/// What a group finds at an offset of the history.
pub(crate) fn slot(history: &History, offset: u64) -> Slot {
    match history.get(offset) {
        Some(held) => Slot::Message(Arc::clone(&held.message)),
        None if offset < history.first() => Slot::Hole { next: history.first() },
        None => Slot::End,
    }
}
