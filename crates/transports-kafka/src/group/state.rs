//! What one group has on this node: its partitions, its members, and who waits for a commit.

mod commit;

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    ops::Bound,
    sync::Arc,
    task::Waker,
    time::Duration,
};

use busgate_core::{Gap, Holder, Moment, Outcome, RetryPolicy, Settled, SubscribeOptions, Taken, Verb};
use tokio::{sync::oneshot, time::Instant};

use self::commit::Waiter;
pub(super) use self::commit::{News, Sent};
use super::track::Track;
use crate::{lease::Entry, offsets::MAX_METADATA};

/// How long a delivery may be known to this node only: after that the broker hears of it, so that a message that takes
/// its node down has its attempts counted.
const DELIVERED: Duration = Duration::from_millis(500);

/// How long those who were woken have to come before others are woken.
const PATIENCE: Duration = Duration::from_millis(10);

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

/// Those to wake once the lock is free.
#[derive(Debug, Default)]
pub(super) struct Wakes {
    wakers: Vec<Waker>,
    /// Whether the pump has something to do.
    pub(super) pump: bool,
}

impl Wakes {
    pub(super) fn wake(self) {
        self.wakers.into_iter().for_each(Waker::wake);
    }
}

/// One delivery to settle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ask {
    /// Its place in the answers.
    pub(crate) index: usize,
    /// Which message.
    pub(crate) entry: Entry,
    /// Which delivery.
    pub(crate) epoch: u64,
    /// What to do.
    pub(crate) verb: Verb,
}

/// What became of those that could be settled here.
#[derive(Debug, Default)]
pub(crate) struct Settling {
    /// By their place in the answers.
    pub(crate) answers: Vec<(usize, Settled)>,
    /// Those that hold only once they are committed.
    pub(crate) pending: Vec<(usize, Settled)>,
    /// Tells whether they are; what is not may have been settled by another owner, or be as it was.
    pub(crate) committed: Option<oneshot::Receiver<bool>>,
}

/// What a group has on this node.
#[derive(Debug)]
pub(super) struct State {
    pub(super) tracks: BTreeMap<i32, Track>,
    seats: HashMap<u64, Seat>,
    idle: VecDeque<u64>,
    /// The partition that was served last.
    turn: i32,
    waiters: Vec<Waiter>,
    pub(super) policy: Arc<RetryPolicy>,
    pub(super) end: Option<End>,
    /// What was missed, for the next member that looks.
    pub(super) gaps: VecDeque<Gap>,
    recheck: Option<Instant>,
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
            seats: HashMap::new(),
            idle: VecDeque::new(),
            turn: -1,
            waiters: Vec::new(),
            policy: Arc::new(policy),
            end: None,
            gaps: VecDeque::new(),
            recheck: None,
            limit: MAX_METADATA,
            armed: None,
            idle_since: Instant::now(),
        }
    }

    pub(super) fn members(&self) -> usize {
        self.seats.len()
    }

    pub(super) fn is_seated(&self, member: u64) -> bool {
        self.seats.contains_key(&member)
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
            self.dismiss(now, |_| true, wakes);
        }
        // Attempts are not limited here: who is over this transport does that.
        let policy = Arc::new(RetryPolicy { max_deliver: u32::MAX, ..options.retry.clone() });
        self.policy = Arc::clone(&policy);
        let window = options.max_in_flight;
        let seat = Seat { policy, window, leased: 0, waker: None, is_idle: false, is_settled: false };
        self.seats.insert(member, seat);
    }

    /// From now on a newer subscription of the same consumer, on whichever node, ends this one.
    pub(super) fn settle_in(&mut self, member: u64) {
        if let Some(seat) = self.seats.get_mut(&member) {
            seat.is_settled = true;
        }
    }

    /// A subscription elsewhere takes over: those that were here before it end.
    pub(super) fn take_over(&mut self, now: Instant, wakes: &mut Wakes) {
        self.dismiss(now, |seat| seat.is_settled, wakes);
    }

    fn dismiss(&mut self, now: Instant, who: impl Fn(&Seat) -> bool, wakes: &mut Wakes) {
        let gone: Vec<_> =
            self.seats.iter().filter(|(_, seat)| who(seat)).map(|(member, _)| *member).collect();
        for member in gone {
            if let Some(seat) = self.seats.remove(&member) {
                wakes.wakers.extend(seat.waker);
            }
            self.idle.retain(|idle| *idle != member);
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
        if self.seats.remove(&member).is_some() {
            self.idle.retain(|idle| *idle != member);
            self.idle_since = now;
            wakes.pump |= self.seats.is_empty();
        }
        self.wake_for_work(now, wakes);
    }

    /// Ends everything, for this reason.
    pub(super) fn finish(&mut self, end: End, wakes: &mut Wakes) {
        self.end.get_or_insert(end);
        self.idle.clear();
        for seat in self.seats.values_mut() {
            wakes.wakers.extend(seat.waker.take());
        }
    }

    /// Whether the member's window has room.
    pub(super) fn has_room(&mut self, member: u64) -> bool {
        let Some(seat) = self.seats.get_mut(&member) else { return false };
        if seat.leased >= seat.window {
            seat.leased = self.tracks.values().map(|track| track.group.leased_by(member)).sum();
        }
        seat.leased < seat.window
    }

    /// Hands the next message out; the partitions take turns.
    pub(super) fn take(&mut self, now: Moment, member: u64, wakes: &mut Wakes) -> Option<(i32, Taken)> {
        let seat = self.seats.get_mut(&member)?;
        let (after, policy) = (self.turn, &seat.policy);
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
        seat.leased += 1;
        self.turn = partition;
        wakes.pump |= is_low;
        self.arm(deadline, wakes);
        self.arm(Some(now.at + DELIVERED), wakes);
        Some((partition, taken))
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

    /// Wakes idle members when there is something to take, and sees to it that others are if they don't come.
    pub(super) fn wake_for_work(&mut self, now: Instant, wakes: &mut Wakes) {
        if self.idle.is_empty() || !self.tracks.values().any(Track::has_work) {
            return;
        }
        let waiting: u64 = self.tracks.values().map(Track::waiting).sum();
        for _ in 0..waiting.max(1) {
            let Some(member) = self.idle.pop_front() else { break };
            if let Some(seat) = self.seats.get_mut(&member) {
                seat.is_idle = false;
                wakes.wakers.extend(seat.waker.take());
            }
        }
        if !self.idle.is_empty() && self.recheck.is_none() {
            self.recheck = Some(now + PATIENCE);
            self.arm(self.recheck, wakes);
        }
    }

    /// Leases ended: every member whose window was full may go on.
    pub(super) fn wake_full(&mut self, wakes: &mut Wakes) {
        for seat in self.seats.values_mut().filter(|seat| !seat.is_idle) {
            wakes.wakers.extend(seat.waker.take());
        }
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
        if self.recheck.is_some_and(|at| at <= now) {
            self.recheck = None;
            ended = true;
        }
        if ended {
            self.wake_full(wakes);
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
        self.armed = deadlines.chain(commits).chain(self.recheck).min();
        self.armed
    }

    /// Settles what belongs to partitions that are held here.
    pub(super) fn settle<'a>(
        &mut self,
        now: Moment,
        asks: impl Iterator<Item = &'a Ask>,
        wakes: &mut Wakes,
    ) -> Settling {
        let (mut settling, mut touched) = (Settling::default(), Vec::new());
        let mut is_changed = false;
        for ask in asks {
            let partition = ask.entry.partition;
            let Some(track) = self.tracks.get_mut(&partition).filter(|track| track.settles()) else {
                continue;
            };
            let outcome = track.settle(now, (ask.entry.offset, ask.epoch), &ask.verb, fastrand::f64());
            let answer = (ask.index, outcome.settled());
            if matches!(outcome, Outcome::Stale | Outcome::Unknown) {
                settling.answers.push(answer);
                continue;
            }
            is_changed = true;
            if must_last(&outcome) {
                track.soil(now.at);
                if !touched.contains(&(partition, track.serial)) {
                    touched.push((partition, track.serial));
                }
                settling.pending.push(answer);
            } else {
                track.soil(now.at + DELIVERED);
                settling.answers.push(answer);
            }
            let deadline = track.group.next_deadline();
            self.arm(deadline, wakes);
        }
        if is_changed {
            self.wake_full(wakes);
            self.wake_for_work(now.at, wakes);
        }
        if !touched.is_empty() {
            let (done, committed) = oneshot::channel();
            self.waiters.push(Waiter { tracks: touched, done });
            settling.committed = Some(committed);
            wakes.pump = true;
        }
        settling
    }
}

/// What a crash must not take back. A lease that was extended is one that runs out. One that was let go would run on with
/// the next owner, and hold its message up.
const fn must_last(outcome: &Outcome) -> bool {
    match outcome {
        Outcome::Stale | Outcome::Unknown | Outcome::Extended(_) => false,
        Outcome::Released
        | Outcome::Acked
        | Outcome::Nacked(_)
        | Outcome::Rejected(_)
        | Outcome::DeadLettered(_) => true,
    }
}
