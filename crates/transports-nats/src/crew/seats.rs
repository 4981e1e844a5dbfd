//! The subscriptions of a group on this node, and whom to wake.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    task::Waker,
};

use busgate_core::{Gap, RetryPolicy, SubscribeOptions};

/// Those to wake once the lock is free.
#[derive(Debug, Default)]
pub(crate) struct Wakes(Vec<Waker>);

impl Wakes {
    pub(crate) fn wake(self) {
        self.0.into_iter().for_each(Waker::wake);
    }
}

/// One subscription.
#[derive(Debug)]
pub(crate) struct Seat {
    pub(crate) policy: Arc<RetryPolicy>,
    window: usize,
    leased: usize,
    /// What it has to be told first.
    pub(crate) gap: Option<Gap>,
    waker: Option<Waker>,
    is_idle: bool,
}

/// All subscriptions; those that wait for a message stand in a queue, longest first.
#[derive(Debug, Default)]
pub(crate) struct Seats {
    seats: HashMap<u64, Seat>,
    idle: VecDeque<u64>,
    capacity: usize,
}

impl Seats {
    pub(crate) fn join(&mut self, member: u64, options: &SubscribeOptions, gap: Option<Gap>) {
        let policy = Arc::new(options.retry.clone());
        let window = options.max_in_flight;
        self.capacity += window;
        self.seats.insert(member, Seat { policy, window, leased: 0, gap, waker: None, is_idle: false });
    }

    /// Whether it was there.
    pub(crate) fn leave(&mut self, member: u64) -> bool {
        let Some(seat) = self.seats.remove(&member) else { return false };
        self.capacity -= seat.window;
        self.idle.retain(|idle| *idle != member);
        true
    }

    /// Ends every subscription.
    pub(crate) fn dismiss(&mut self, wakes: &mut Wakes) {
        self.idle.clear();
        self.capacity = 0;
        wakes.0.extend(self.seats.drain().filter_map(|(_, seat)| seat.waker));
    }

    pub(crate) fn len(&self) -> usize {
        self.seats.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.seats.is_empty()
    }

    /// How many messages they may hold together.
    pub(crate) const fn capacity(&self) -> usize {
        self.capacity
    }

    pub(crate) fn get_mut(&mut self, member: u64) -> Option<&mut Seat> {
        self.seats.get_mut(&member)
    }

    pub(crate) fn has_room(&self, member: u64) -> bool {
        self.seats.get(&member).is_some_and(|seat| seat.leased < seat.window)
    }

    /// The member got a message without being woken for it, or by it.
    pub(crate) fn lease(&mut self, member: u64) {
        let Some(seat) = self.seats.get_mut(&member) else { return };
        seat.leased += 1;
        if std::mem::take(&mut seat.is_idle) {
            self.idle.retain(|idle| *idle != member);
        }
    }

    /// A lease of the member ended: it may have waited for that.
    pub(crate) fn free(&mut self, member: u64, wakes: &mut Wakes) {
        if let Some(seat) = self.seats.get_mut(&member) {
            seat.leased = seat.leased.saturating_sub(1);
            if !seat.is_idle {
                wakes.0.extend(seat.waker.take());
            }
        }
    }

    /// The member waits: for a message, or when its window is full for one of its own leases to end.
    pub(crate) fn wait(&mut self, member: u64, waker: &Waker, for_message: bool) {
        let Some(seat) = self.seats.get_mut(&member) else { return };
        match &mut seat.waker {
            Some(known) => known.clone_from(waker),
            None => seat.waker = Some(waker.clone()),
        }
        if for_message && !seat.is_idle {
            seat.is_idle = true;
            self.idle.push_back(member);
        }
    }

    pub(crate) fn has_idle(&self) -> bool {
        !self.idle.is_empty()
    }

    /// Wakes as many of those that wait as there are messages.
    pub(crate) fn wake_idle(&mut self, messages: usize, wakes: &mut Wakes) {
        for _ in 0..messages {
            let Some(member) = self.idle.pop_front() else { return };
            if let Some(seat) = self.seats.get_mut(&member) {
                seat.is_idle = false;
                wakes.0.extend(seat.waker.take());
            }
        }
    }

    /// Wakes everyone: the event ended.
    pub(crate) fn wake_all(&mut self, wakes: &mut Wakes) {
        self.idle.clear();
        for seat in self.seats.values_mut() {
            seat.is_idle = false;
            wakes.0.extend(seat.waker.take());
        }
    }
}
