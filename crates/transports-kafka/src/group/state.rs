//! What one group has on this node: its partitions, its members, and who waits for a commit.

pub(super) mod commit;
mod repeating;
mod seats;
pub(super) mod settling;
mod waiters;
pub(super) mod wakes;

use std::{
    collections::{BTreeMap, VecDeque},
    ops::Bound,
    sync::Arc,
    task::Waker,
    time::Duration,
};

use busgate_core::{Gap, Holder, Moment, RetryPolicy, SubscribeOptions, Taken};
use tokio::time::Instant;

use self::{repeating::Repeating, seats::Seats, waiters::Waiters, wakes::Wakes};
use super::track::Track;
use crate::offsets::MAX_METADATA;

/// How long a delivery may be known to this node only: after that the broker hears of it, so that a message that takes
/// its node down has its attempts counted.
const DELIVERED: Duration = Duration::from_millis(500);

/// How long a crew outlives its last member, so that one that comes back goes on at once.
pub(super) const LINGER: Duration = Duration::from_secs(2);

/// Why there will be no more deliveries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// The event was unregistered.
    Unregistered,
    /// The transport was closed.
    Closed,
    /// Nobody was left.
    Idle,
}

/// What a group has on this node.
#[derive(Debug)]
pub(super) struct State {
    pub(super) tracks: BTreeMap<i32, Track>,
    seats: Seats,
    /// The partition that was served last.
    turn: i32,
    waiters: Waiters,
    repeating: Repeating,
    pub(super) policy: Arc<RetryPolicy>,
    pub(super) end: Option<End>,
    /// What was missed, for the next member that looks.
    pub(super) gaps: VecDeque<Gap>,
    /// How much a commit may tell of a partition.
    pub(super) limit: usize,
    /// When the pump looks next.
    armed: Option<Instant>,
    /// Since when nobody is here.
    pub(super) idle_since: Instant,
}

impl State {
    pub(super) fn new() -> Self {
        let policy = RetryPolicy { max_deliver: u32::MAX, ..RetryPolicy::default() };
        Self {
            tracks: BTreeMap::new(),
            seats: Seats::default(),
            turn: -1,
            waiters: Waiters::default(),
            repeating: Repeating::default(),
            policy: Arc::new(policy),
            end: None,
            gaps: VecDeque::new(),
            limit: MAX_METADATA,
            armed: None,
            idle_since: Instant::now(),
        }
    }

    /// A partition, unless it was given away since.
    pub(super) fn track(&mut self, partition: i32, serial: u64) -> Option<&mut Track> {
        self.tracks.get_mut(&partition).filter(|track| track.serial == serial)
    }

    pub(super) fn members(&self) -> usize {
        self.seats.len()
    }

    pub(super) fn is_seated(&self, member: u64) -> bool {
        self.seats.has(member)
    }

    /// Takes a subscription in. A consumer has one: an earlier one finds its seat gone, and what it did not settle comes
    /// again.
    pub(super) fn join(
        &mut self,
        holder: &Holder,
        member: u64,
        options: &SubscribeOptions,
        now: Instant,
        wakes: &mut Wakes,
    ) {
        if matches!(holder, Holder::Consumer(_)) {
            self.dismiss(self.seats.members(), now, wakes);
        }
        // Attempts are not limited here: who is over this transport does that.
        let policy = Arc::new(RetryPolicy { max_deliver: u32::MAX, ..options.retry.clone() });
        self.policy = Arc::clone(&policy);
        self.seats.add(member, policy, options.max_in_flight);
    }

    /// From now on a newer subscription of the same consumer, on whichever node, ends this one.
    pub(super) fn settle_in(&mut self, member: u64) {
        self.seats.settle_in(member);
    }

    /// A subscription elsewhere takes over: those that were here before it end.
    pub(super) fn take_over(&mut self, now: Instant, wakes: &mut Wakes) {
        self.dismiss(self.seats.settled(), now, wakes);
    }

    fn dismiss(&mut self, members: Vec<u64>, now: Instant, wakes: &mut Wakes) {
        for member in members {
            self.seats.dismiss(member, wakes);
            for track in self.tracks.values_mut() {
                track.group.return_member(member);
                track.soil(now + DELIVERED);
            }
            wakes.pump = true;
        }
        // Who took over waits for the partitions.
        self.idle_since = now.checked_sub(LINGER).unwrap_or(now);
    }

    /// Lets a subscription go.
    pub(super) fn leave(&mut self, member: u64, now: Instant, wakes: &mut Wakes) {
        if self.seats.remove(member) {
            self.idle_since = now;
            wakes.pump |= self.seats.len() == 0;
        }
        self.wake_for_work(now, wakes);
    }

    /// Ends everything, for this reason.
    pub(super) fn finish(&mut self, end: End, wakes: &mut Wakes) {
        self.end.get_or_insert(end);
        self.seats.wake_all(wakes);
    }

    /// Whether the member's window has room.
    pub(super) fn has_room(&mut self, member: u64) -> bool {
        let tracks = &self.tracks;
        self.seats.has_room(member, || tracks.values().map(|track| track.group.leased_by(member)).sum())
    }

    /// Hands the next message out; the partitions take turns.
    pub(super) fn take(&mut self, now: Moment, member: u64, wakes: &mut Wakes) -> Option<(i32, Taken)> {
        let (after, policy) = (self.turn, self.seats.policy(member)?);
        let mut is_wanting = false;
        let mut try_one = |(partition, track): (&i32, &mut Track)| {
            let taken = track.take(now, member, policy);
            is_wanting |= track.wants();
            taken.map(|taken| {
                track.soil(now.at + DELIVERED);
                (*partition, taken, track.group.next_deadline(), track.is_low())
            })
        };
        let later = (Bound::Excluded(after), Bound::Unbounded);
        let found = self.tracks.range_mut(later).find_map(&mut try_one);
        let found = found.or_else(|| self.tracks.range_mut(..=after).find_map(&mut try_one));
        wakes.pump |= is_wanting;
        let (partition, taken, deadline, is_low) = found?;
        self.seats.hand(member);
        self.turn = partition;
        wakes.pump |= is_low;
        self.arm(deadline, wakes);
        self.arm(Some(now.at + DELIVERED), wakes);
        Some((partition, taken))
    }

    /// The member waits: for a message, or when its window is full for one of its own leases to end.
    pub(super) fn wait(&mut self, member: u64, waker: &Waker, for_message: bool) {
        self.seats.wait(member, waker, for_message);
    }

    /// The member got something without being woken: it does not wait any more.
    pub(super) fn is_served(&mut self, member: u64) {
        self.seats.is_served(member);
    }

    /// Wakes idle members when there is something to take, and sees to it that others are if they don't come.
    pub(super) fn wake_for_work(&mut self, now: Instant, wakes: &mut Wakes) {
        if !self.seats.is_any_idle() || !self.tracks.values().any(Track::has_work) {
            return;
        }
        let waiting: u64 = self.tracks.values().map(Track::waiting).sum();
        self.seats.wake_idle(waiting.max(1), now, wakes);
        self.arm(self.seats.recheck(), wakes);
    }

    /// Has the pump look again at this time.
    pub(super) fn arm(&mut self, at: Option<Instant>, wakes: &mut Wakes) {
        if let Some(at) = at.filter(|at| self.armed.is_none_or(|armed| *at < armed)) {
            self.armed = Some(at);
            wakes.pump = true;
        }
    }

    /// Takes back what ran out.
    pub(super) fn expire(&mut self, now: Instant, wakes: &mut Wakes) {
        let mut ended = false;
        for track in self.tracks.values_mut() {
            if track.group.next_deadline().is_some_and(|at| at <= now) {
                track.group.expire(now);
                track.soil(now + DELIVERED);
                ended = true;
            }
        }
        ended |= self.seats.is_to_recheck(now);
        if ended {
            self.seats.wake_full(wakes);
            self.wake_for_work(now, wakes);
        }
    }

    /// Messages of one partition that are to be read again, with its assignment.
    pub(super) fn take_wanted(&mut self, most: usize) -> Option<(i32, u64, Vec<u64>)> {
        let (partition, track) = self.tracks.iter_mut().find(|(_, track)| track.wants())?;
        Some((*partition, track.serial, track.take_wanted(most)))
    }

    /// When the pump has to look next, which it will.
    pub(super) fn rearm(&mut self) -> Option<Instant> {
        let deadlines = self.tracks.values().filter_map(|track| track.group.next_deadline());
        let commits = self.tracks.values().filter_map(Track::due);
        let others = [self.seats.recheck(), self.repeating.due()].into_iter().flatten();
        self.armed = deadlines.chain(commits).chain(others).min();
        self.armed
    }
}
