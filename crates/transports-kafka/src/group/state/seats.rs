//! Who is here to take messages, and who of them waits for what.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    task::Waker,
    time::Duration,
};

use busgate_core::RetryPolicy;
use tokio::time::Instant;

use super::wakes::Wakes;

/// How long those who were woken have to come before others are woken.
const PATIENCE: Duration = Duration::from_millis(10);

/// One subscription.
#[derive(Debug)]
struct Seat {
    policy: Arc<RetryPolicy>,
    window: usize,
    /// How many leases it has, at most: those that ended are found out when the window seems full.
    leased: usize,
    waker: Option<Waker>,
    /// Whether it stands in the queue of the idle.
    is_idle: bool,
    /// Whether a newer subscription of the same consumer may end it.
    is_settled: bool,
}

/// The subscriptions, by their member.
#[derive(Debug, Default)]
pub(super) struct Seats {
    seats: HashMap<u64, Seat>,
    /// Those who wait for a message, in their turn.
    idle: VecDeque<u64>,
    /// When others are woken, should those who were not come.
    recheck: Option<Instant>,
}

impl Seats {
    pub(super) fn len(&self) -> usize {
        self.seats.len()
    }

    pub(super) fn has(&self, member: u64) -> bool {
        self.seats.contains_key(&member)
    }

    /// Takes a subscription in.
    pub(super) fn add(&mut self, member: u64, policy: Arc<RetryPolicy>, window: usize) {
        let seat = Seat { policy, window, leased: 0, waker: None, is_idle: false, is_settled: false };
        self.seats.insert(member, seat);
    }

    /// Lets a subscription go; whether it was here.
    pub(super) fn remove(&mut self, member: u64) -> bool {
        let seat = self.seats.remove(&member);
        self.idle.retain(|idle| *idle != member);
        seat.is_some()
    }

    /// A newer subscription of the same consumer may end this one.
    pub(super) fn settle_in(&mut self, member: u64) {
        if let Some(seat) = self.seats.get_mut(&member) {
            seat.is_settled = true;
        }
    }

    pub(super) fn members(&self) -> Vec<u64> {
        self.seats.keys().copied().collect()
    }

    /// Those whom a newer subscription of the same consumer may end.
    pub(super) fn settled(&self) -> Vec<u64> {
        self.seats.iter().filter(|(_, seat)| seat.is_settled).map(|(member, _)| *member).collect()
    }

    /// Ends a subscription, which finds that out.
    pub(super) fn dismiss(&mut self, member: u64, wakes: &mut Wakes) {
        wakes.wakers.extend(self.seats.get_mut(&member).and_then(|seat| seat.waker.take()));
        self.remove(member);
    }

    /// Wakes all: there is nothing more to wait for.
    pub(super) fn wake_all(&mut self, wakes: &mut Wakes) {
        self.idle.clear();
        for seat in self.seats.values_mut() {
            wakes.wakers.extend(seat.waker.take());
        }
    }

    pub(super) fn policy(&self, member: u64) -> Option<&Arc<RetryPolicy>> {
        self.seats.get(&member).map(|seat| &seat.policy)
    }

    /// Takes in that a message was handed to a member.
    pub(super) fn hand(&mut self, member: u64) {
        if let Some(seat) = self.seats.get_mut(&member) {
            seat.leased += 1;
        }
    }

    /// Whether the member's window has room; `leased` counts what it has by now.
    pub(super) fn has_room(&mut self, member: u64, leased: impl FnOnce() -> usize) -> bool {
        let Some(seat) = self.seats.get_mut(&member) else { return false };
        if seat.leased >= seat.window {
            seat.leased = leased();
        }
        seat.leased < seat.window
    }

    /// The member waits: for a message, or when its window is full for one of its own leases to end.
    pub(super) fn wait(&mut self, member: u64, waker: &Waker, for_message: bool) {
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

    /// The member got something without being woken: it does not wait any more.
    pub(super) fn is_served(&mut self, member: u64) {
        if let Some(seat) = self.seats.get_mut(&member).filter(|seat| seat.is_idle) {
            seat.is_idle = false;
            self.idle.retain(|idle| *idle != member);
        }
    }

    /// Whether anybody waits for a message.
    pub(super) fn is_any_idle(&self) -> bool {
        !self.idle.is_empty()
    }

    /// Wakes as many of the idle as there are messages; the others are, should these not come.
    pub(super) fn wake_idle(&mut self, messages: u64, now: Instant, wakes: &mut Wakes) {
        for _ in 0..messages {
            let Some(member) = self.idle.pop_front() else { break };
            if let Some(seat) = self.seats.get_mut(&member) {
                seat.is_idle = false;
                wakes.wakers.extend(seat.waker.take());
            }
        }
        if self.is_any_idle() {
            self.recheck.get_or_insert(now + PATIENCE);
        }
    }

    /// Wakes those who don't wait for a message: leases ended, and each may have room again.
    pub(super) fn wake_full(&mut self, wakes: &mut Wakes) {
        for seat in self.seats.values_mut().filter(|seat| !seat.is_idle) {
            wakes.wakers.extend(seat.waker.take());
        }
    }

    /// When it is looked whether those came who were woken.
    pub(super) const fn recheck(&self) -> Option<Instant> {
        self.recheck
    }

    /// Whether it is time to look; it says so once.
    pub(super) fn is_to_recheck(&mut self, now: Instant) -> bool {
        self.recheck.take_if(|at| *at <= now).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seats(members: &[u64]) -> Seats {
        let mut seats = Seats::default();
        for member in members {
            seats.add(*member, Arc::default(), 2);
        }
        seats
    }

    fn woken(wake: impl FnOnce(&mut Wakes)) -> usize {
        let mut wakes = Wakes::default();
        wake(&mut wakes);
        wakes.wakers.len()
    }

    #[test]
    fn as_many_are_woken_as_there_are_messages_and_the_others_if_they_do_not_come() {
        let (mut seats, now) = (seats(&[1, 2, 3]), Instant::now());
        (1..=3).for_each(|member| seats.wait(member, Waker::noop(), true));
        assert_eq!(woken(|wakes| seats.wake_idle(2, now, wakes)), 2);
        assert!(!seats.is_to_recheck(now) && seats.is_to_recheck(now + PATIENCE));
        assert!(!seats.is_to_recheck(now + PATIENCE), "once");
        assert_eq!(woken(|wakes| seats.wake_idle(2, now, wakes)), 1);
        assert_eq!(seats.recheck(), None, "nobody is left to wake");
    }

    #[test]
    fn whoever_waits_for_room_is_woken_by_the_end_of_a_lease_alone() {
        let (mut seats, now) = (seats(&[1, 2]), Instant::now());
        seats.wait(1, Waker::noop(), false);
        seats.wait(2, Waker::noop(), true);
        assert_eq!(woken(|wakes| seats.wake_full(wakes)), 1);
        assert_eq!(woken(|wakes| seats.wake_idle(9, now, wakes)), 1);
    }

    #[test]
    fn leases_are_counted_anew_only_when_the_window_seems_full() {
        let mut seats = seats(&[1]);
        assert!(seats.has_room(1, || unreachable!("it has had none")));
        seats.hand(1);
        seats.hand(1);
        assert!(!seats.has_room(1, || 2));
        assert!(seats.has_room(1, || 1));
        assert!(!seats.has_room(7, || 0), "nobody's");
    }
}
