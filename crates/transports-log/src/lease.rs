//! Seats: the state of one group or named consumer of one event, and the clock that takes leases back.

mod member;
mod token;
mod windows;

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
};

use busgate_core::{
    ConsumerLag, Group, Holder, Message, Moment, Outcome, RetryPolicy, Slot, Story, Taken, Verb,
};
use parking_lot::Mutex;
use tokio::{
    sync::{Notify, watch},
    time::Instant,
};

use self::windows::Windows;
pub(crate) use self::{member::Member, token::Entry};
use crate::{
    event::{Event, Look, Phase},
    store::{EventId, StateKey},
    writer::Queue,
};

/// The state of one holder.
///
/// Invariant: whatever changes the group marks the seat soiled, so that the next commit writes it down.
#[derive(Debug)]
pub(crate) struct Seat {
    pub(crate) event: EventId,
    pub(crate) holder: Holder,
    state: Mutex<State>,
    /// Tells members that there may be something to take.
    wake: watch::Sender<()>,
    /// Tells the clock that the next deadline came nearer.
    clock: Notify,
    soiled: AtomicBool,
    /// Whether it has been on disk: nobody is seated before.
    kept: AtomicBool,
    members: AtomicUsize,
    /// The member that came last; a named consumer has no other.
    latest: AtomicU64,
}

#[derive(Debug)]
struct State {
    group: Group,
    /// Up to where the last snapshot knows what was settled.
    written: u64,
    windows: Windows,
    /// When the clock will look next.
    armed: Option<Instant>,
    /// Whether a member waits although there are messages: a window is full, or too many are held back.
    throttled: bool,
}

/// What a member can do next.
#[derive(Debug)]
pub(crate) enum Step {
    /// Hand this out.
    Taken(Taken),
    /// Load what is from this offset on, and ask again.
    Load(u64),
    /// Wait.
    Idle,
}

/// What a look at the group brought.
#[derive(Debug)]
pub(crate) struct Turn {
    pub(crate) step: Step,
    /// How many messages nobody will get, because retention was faster.
    pub(crate) missed: u64,
}

impl State {
    /// Whether someone who waits may find something now: what came back, or room that a lease or a held message left.
    fn may_go_on(&mut self) -> bool {
        let room = std::mem::take(&mut self.throttled);
        room || self.group.ready() > 0
    }
}

impl Seat {
    pub(crate) fn new(event: &Event, holder: Holder, group: Group) -> Self {
        let (wake, _) = watch::channel(());
        let group = group.with_confirmed_order();
        let state = State { group, written: 0, windows: Windows::default(), armed: None, throttled: false };
        Self {
            event: event.id,
            holder,
            state: Mutex::new(state),
            wake,
            clock: Notify::new(),
            soiled: AtomicBool::new(false),
            kept: AtomicBool::new(false),
            members: AtomicUsize::new(0),
            latest: AtomicU64::new(0),
        }
    }

    pub(crate) fn key(&self) -> StateKey {
        StateKey::Holder(self.event, self.holder.clone())
    }

    /// The group as bytes. The seat is clean from here on, until something changes again.
    pub(crate) fn snapshot(&self, now: Moment) -> Vec<u8> {
        self.soiled.store(false, Ordering::Release);
        let mut state = self.state.lock();
        state.written = state.group.settled();
        state.group.snapshot(now)
    }

    /// Notes that the last snapshot is on disk: what is behind what it settled may go.
    pub(crate) fn confirm(&self) {
        let mut state = self.state.lock();
        let written = state.written;
        let wake = state.group.confirm(written);
        drop(state);
        if wake {
            self.wake();
        }
    }

    /// Whether it has ever been on disk.
    pub(crate) fn is_kept(&self) -> bool {
        self.kept.load(Ordering::Acquire)
    }

    /// Notes that it is on disk.
    pub(crate) fn set_kept(&self) {
        self.kept.store(true, Ordering::Release);
    }

    /// Notes that the next commit has to write the seat down.
    pub(crate) fn soil(self: &Arc<Self>, queue: &Queue) {
        if !self.soiled.swap(true, Ordering::AcqRel) {
            queue.soiled(Arc::clone(self));
        }
    }

    /// Tries to take a message for `member`, which has at most `window` at a time.
    pub(crate) fn take(
        self: &Arc<Self>,
        now: Moment,
        member: u64,
        (policy, window): (&Arc<RetryPolicy>, usize),
        event: &Event,
        queue: &Queue,
    ) -> Turn {
        let mut state = self.state.lock();
        let State { group, windows, throttled, .. } = &mut *state;
        self.report(group.expire(now.at), queue);
        let mut wanted = None;
        let taken = if group.leased_by(member) < window {
            group.take(now, member, policy, |offset| slot(event, windows, offset, &mut wanted))
        } else {
            *throttled = true;
            None
        };
        let missed = group.take_missed();
        let step = match (taken, wanted) {
            (Some(taken), _) => Step::Taken(taken),
            (None, Some(offset)) => Step::Load(offset),
            (None, None) => {
                windows.clear();
                *throttled |= group.frontier() < event.bounds().head;
                Step::Idle
            }
        };
        self.rearm(&mut state);
        drop(state);
        if missed > 0 || matches!(step, Step::Taken(_)) {
            self.soil(queue);
        }
        Turn { step, missed }
    }

    /// Keeps what was read from disk for the takers.
    pub(crate) fn keep(&self, from: u64, messages: Vec<Arc<Message>>) {
        self.state.lock().windows.keep(from, messages);
    }

    /// Settles one delivery. What dies of it is on its way to the dead letters.
    pub(crate) fn settle(
        self: &Arc<Self>,
        now: Moment,
        (entry, epoch): (Entry, u64),
        verb: &Verb,
        event: &Event,
        queue: &Queue,
    ) -> Outcome {
        let mut state = self.state.lock();
        if matches!(verb, Verb::Ack | Verb::Reject { .. }) && entry.offset < event.bounds().head {
            // An attempt is on disk a moment after its delivery: a crash in between must not make the token worthless.
            state.group.recall(entry.offset, epoch);
        }
        let outcome = state.group.settle(now, entry.offset, epoch, verb, jitter());
        if matches!(outcome, Outcome::Stale | Outcome::Unknown) {
            return outcome;
        }
        self.report(outcome.story().cloned(), queue);
        let wake = state.may_go_on();
        self.rearm(&mut state);
        drop(state);
        self.soil(queue);
        if wake {
            self.wake();
        }
        outcome
    }

    /// Takes back everything `member` has.
    pub(crate) fn return_member(self: &Arc<Self>, member: u64, queue: &Queue) {
        let mut state = self.state.lock();
        let dead = state.group.return_member(member);
        self.report(dead, queue);
        self.rearm(&mut state);
        drop(state);
        self.soil(queue);
        self.wake();
    }

    /// Settles what retention has dropped; answers whether that changed anything.
    pub(crate) fn trim(&self, first: u64) -> bool {
        let mut state = self.state.lock();
        if state.group.watermark() >= first {
            return false;
        }
        state.group.trim(first);
        drop(state);
        self.wake();
        true
    }

    /// Forgets a message that is among the dead letters.
    pub(crate) fn bury(&self, offset: u64) {
        let mut state = self.state.lock();
        state.group.bury(offset);
        let wake = state.may_go_on();
        drop(state);
        if wake {
            self.wake();
        }
    }

    /// Has a message that could not be put among the dead letters reported again at `at`.
    pub(crate) fn bury_later(&self, offset: u64, at: Instant) {
        let mut state = self.state.lock();
        state.group.bury_later(offset, at);
        self.rearm(&mut state);
    }

    pub(crate) fn wake(&self) {
        self.wake.send_modify(|()| {});
    }

    /// Ends the clock and wakes the members, who see for themselves that the event has ended.
    pub(crate) fn end(&self) {
        self.wake();
        self.clock.notify_one();
    }

    pub(crate) fn lag(&self, head: u64) -> ConsumerLag {
        let state = self.state.lock();
        let group = &state.group;
        ConsumerLag {
            holder: self.holder.clone(),
            waiting: Some(head.saturating_sub(group.frontier()) + group.held() as u64),
            in_flight: group.leased() as u64,
            delayed: group.delayed() as u64,
            members: self.members.load(Ordering::Relaxed) as u64,
        }
    }

    /// Takes back what runs out, when it runs out, for as long as the event is open.
    pub(crate) async fn tend(self: Arc<Self>, event: Arc<Event>, queue: Queue) {
        while event.phase() == Phase::Open {
            let deadline = {
                let mut state = self.state.lock();
                self.report(state.group.expire(Instant::now()), &queue);
                state.armed = state.group.next_deadline();
                if state.may_go_on() {
                    self.wake();
                }
                state.armed
            };
            match deadline {
                Some(deadline) => {
                    let _ = tokio::time::timeout_at(deadline, self.clock.notified()).await;
                }
                None => self.clock.notified().await,
            }
        }
    }

    /// Has the clock look again if something is due before it would.
    fn rearm(&self, state: &mut State) {
        let Some(next) = state.group.next_deadline() else { return };
        if state.armed.is_none_or(|armed| next < armed) {
            state.armed = Some(next);
            self.clock.notify_one();
        }
    }

    fn report(self: &Arc<Self>, dead: impl IntoIterator<Item = Story>, queue: &Queue) {
        for story in dead {
            queue.bury(Arc::clone(self), story);
        }
    }
}

fn slot(event: &Event, windows: &mut Windows, offset: u64, wanted: &mut Option<u64>) -> Slot {
    match event.look(offset) {
        Look::Here(message) => Slot::Message(message),
        Look::Gone { first } => Slot::Hole { next: first },
        Look::NotYet => Slot::End,
        Look::Cold => match windows.get(offset) {
            Some(message) => Slot::Message(message),
            None => {
                *wanted = Some(offset);
                Slot::End
            }
        },
    }
}

/// A number from 0 to 1 that spreads retries; it needs to be spread, not secret.
fn jitter() -> f64 {
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    let count = COUNTER.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
    f64::from((xxhash_rust::xxh3::xxh3_64(&count.to_le_bytes()) >> 32) as u32) / f64::from(u32::MAX)
}
