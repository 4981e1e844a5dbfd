//! A group or named consumer on this node: who of it is here, what they hold, and the task that takes messages for them.

mod direct;
mod plan;
mod reclaim;
mod seat;
mod settling;
mod turn;

use std::{
    collections::VecDeque,
    sync::{Arc, atomic::AtomicU64},
    time::Duration,
};

use busgate_core::{Error, Gap, Holder, RetryPolicy, SubscribeOptions};
use hashbrown::HashMap;
use parking_lot::Mutex;
use tokio::{sync::Notify, time::Instant};

use self::seat::{Seat, SeatItem};
pub(crate) use self::{
    direct::Room,
    seat::{Poll, Taken},
    settling::Ours,
};
use crate::{id::EntryId, node::Node, topic::Topic};

/// How long what is read ahead stays ours; it is renewed for as long as it waits here. A node that is killed keeps the
/// others waiting for so long.
pub(crate) const AHEAD: Duration = Duration::from_secs(3);

/// How long the start of a lease may be kept back: what is settled by then needs no start.
const KEPT_BACK: Duration = Duration::from_millis(100);

/// How many messages a member gets at once.
const PORTION: usize = 128;

/// How often a group looks for messages it was not told of.
const LOOK: Duration = Duration::from_secs(1);

/// A group or named consumer on one event and node.
#[derive(Debug)]
pub(crate) struct Crew {
    pub(crate) topic: Arc<Topic>,
    pub(crate) holder: Holder,
    /// Its name on the stream.
    pub(crate) group: String,
    /// Its keys beside the stream.
    pub(crate) keys: [String; 6],
    state: Mutex<State>,
    /// The connection on which a turn was answered last.
    answered_on: AtomicU64,
    alarm: Notify,
}

#[derive(Debug)]
struct State {
    life: u64,
    seats: HashMap<u64, Seat>,
    /// Who waits for a message, longest first.
    idle: VecDeque<u64>,
    held: HashMap<EntryId, Held>,
    /// What was read ahead for members that left.
    returns: Vec<(EntryId, u64)>,
    /// Leases that began here and nowhere else yet, by when they have to be told, and when the first of them has to be.
    starts: VecDeque<(EntryId, Instant)>,
    since: Option<Instant>,
    /// Before this nothing of what is held ends or has to be renewed.
    check_at: Instant,
    /// How many messages are read at first.
    chunk: usize,
    /// Whether there were keys among the messages that came last.
    keyed: bool,
    /// Up to where the group has read or was asked to, as far as this node knows, and up to where there is something to read.
    read_to: EntryId,
    there_is: EntryId,
    /// When to look for messages next; `None` when there may be some right now.
    look_at: Option<Instant>,
    /// Whether the last turn that was answered left some.
    backlog: bool,
    /// Whether the last turn that took messages came to the end.
    through: bool,
    /// How many turns that take messages are on their way.
    turns: usize,
    /// For how many publishes there is room.
    rooms: usize,
    /// When there may be room for one again.
    no_room_before: Option<Instant>,
    /// Who is the consumer now; empty for worker groups.
    member: String,
    /// No task takes messages any more.
    over: bool,
}

/// A message in a member's hands, or on its way there.
#[derive(Clone, Debug)]
struct Held {
    serial: u64,
    epoch: u64,
    /// As in [`Taken`].
    place: Option<u16>,
    /// Until when it is ours.
    until: Instant,
    /// When it was yielded, unless it was read ahead only.
    yielded: Option<Instant>,
    /// Whether the server knows that it was yielded.
    told: bool,
    /// Whether it is being settled for good.
    leaving: bool,
    attempt: u32,
    policy: Arc<RetryPolicy>,
}

/// How a crew ends.
#[derive(Clone, Debug)]
pub(crate) enum End {
    /// Its event was unregistered.
    Unregistered,
    /// For this reason.
    Failed(Error),
}

/// Works for the crew until nobody is left.
pub(crate) async fn run(node: Arc<Node>, crew: Arc<Crew>) {
    tokio::select! {
        () = turn::run(Arc::clone(&node), Arc::clone(&crew)) => {}
        () = reclaim::run(node, crew) => {}
    }
}

impl Crew {
    pub(crate) fn new(topic: Arc<Topic>, holder: Holder, life: u64) -> Self {
        let group = crate::keys::group(&holder);
        let state = State {
            life,
            seats: HashMap::new(),
            idle: VecDeque::new(),
            held: HashMap::new(),
            returns: Vec::new(),
            starts: VecDeque::new(),
            since: None,
            check_at: Instant::now(),
            chunk: 32,
            keyed: false,
            read_to: EntryId::ZERO,
            there_is: EntryId::ZERO,
            look_at: None,
            backlog: false,
            through: false,
            turns: 0,
            rooms: 0,
            no_room_before: None,
            member: String::new(),
            over: false,
        };
        let keys = topic.keys.of_group(&group);
        Self {
            topic,
            holder,
            group,
            keys,
            state: Mutex::new(state),
            answered_on: AtomicU64::new(0),
            alarm: Notify::new(),
        }
    }

    /// Takes a subscription in; answers whether that was possible. A consumer has one: an earlier one ends.
    pub(crate) fn join(
        &self,
        serial: u64,
        options: &SubscribeOptions,
        member: &str,
        gap: Option<Gap>,
        life: u64,
    ) -> bool {
        let mut state = self.state.lock();
        if state.over {
            return false;
        }
        if !member.is_empty() {
            member.clone_into(&mut state.member);
            state.dismiss(&End::Failed(crate::error::taken_over()));
        }
        if state.life != life {
            state.begin_anew(life);
        }
        let policy = Arc::new(options.retry.clone());
        state.seats.insert(serial, Seat::new(policy, options.max_in_flight, gap));
        true
    }

    /// Lets a subscription go: what was read ahead for it goes back.
    pub(crate) fn leave(&self, serial: u64) {
        let mut state = self.state.lock();
        if let Some(seat) = state.seats.remove(&serial) {
            state.give_back(seat);
        }
        state.idle.retain(|idle| *idle != serial);
        drop(state);
        self.alarm.notify_one();
    }

    pub(crate) fn members(&self) -> usize {
        self.state.lock().seats.len()
    }

    /// There may be something to take.
    pub(crate) fn ring(&self) {
        self.state.lock().look_at = None;
        self.alarm.notify_one();
    }

    /// There is something to take up to this entry, unless it was read already.
    pub(crate) fn ring_for(&self, id: EntryId) {
        let mut state = self.state.lock();
        if state.read_to < id {
            state.there_is = state.there_is.max(id);
            drop(state);
            self.alarm.notify_one();
        }
    }

    /// A lease ended elsewhere: its place is free.
    pub(crate) fn forget(&self, id: EntryId) {
        self.state.lock().free(id);
        self.alarm.notify_one();
    }

    /// What a member finds; without anything its waker is called once there is.
    pub(crate) fn poll(&self, serial: u64, waker: &std::task::Waker) -> Poll {
        let now = Instant::now();
        let mut state = self.state.lock();
        let state = &mut *state;
        let Some(seat) = state.seats.get_mut(&serial) else { return Poll::Ended(End::Unregistered) };
        loop {
            match seat.next() {
                Some(SeatItem::Gap(gap)) => return Poll::Gap(gap),
                Some(SeatItem::Taken(taken)) => {
                    let held = state.held.get_mut(&taken.id);
                    // What the node could not renew in time may be with another by now.
                    let Some(held) = held.filter(|held| held.epoch == taken.epoch && held.until > now) else {
                        continue;
                    };
                    if held.yielded.replace(now).is_none() {
                        seat.yielded += 1;
                    }
                    held.until = now + held.policy.ack_wait;
                    state.check_at = state.check_at.min(held.until);
                    let told_by = now + KEPT_BACK.min(held.policy.ack_wait / 4);
                    state.starts.push_back((taken.id, told_by));
                    if state.since.is_none_or(|since| told_by < since) {
                        state.since = Some(told_by);
                        self.alarm.notify_one();
                    }
                    return Poll::Taken(taken, state.life);
                }
                None => break,
            }
        }
        if let Some(end) = seat.end.clone() {
            return Poll::Ended(end);
        }
        seat.wait(waker);
        if !seat.idle && seat.items.is_empty() {
            seat.idle = true;
            state.idle.push_back(serial);
            // Else there is nothing to take, and it is known when to look again.
            if state.is_rung() || state.held.is_empty() {
                self.alarm.notify_one();
            }
        }
        Poll::Pending
    }

    /// Ends every subscription.
    pub(crate) fn end(&self, end: &End) {
        self.state.lock().dismiss(end);
        self.alarm.notify_one();
    }
}

impl State {
    /// Whether there may be something to take right now.
    fn is_rung(&self) -> bool {
        self.look_at.is_none() || self.backlog || self.there_is > self.read_to
    }

    /// Ends every subscription; what was read ahead goes back.
    fn dismiss(&mut self, end: &End) {
        let mut returned = Vec::new();
        for seat in self.seats.values_mut().filter(|seat| seat.end.is_none()) {
            seat.end = Some(end.clone());
            returned.extend(seat.drain());
            seat.wake();
        }
        for taken in returned {
            self.put_back(&taken);
        }
        self.idle.clear();
    }

    /// Another life of the event: nothing of the earlier one is of use.
    fn begin_anew(&mut self, life: u64) {
        self.life = life;
        self.held.clear();
        self.returns.clear();
        self.starts.clear();
        (self.read_to, self.there_is) = (EntryId::ZERO, EntryId::ZERO);
        (self.look_at, self.backlog, self.through) = (None, false, false);
        for seat in self.seats.values_mut() {
            seat.drain();
            (seat.held, seat.yielded, seat.leaving, seat.asked) = (0, 0, 0, 0);
        }
    }

    fn give_back(&mut self, mut seat: Seat) {
        for taken in seat.drain() {
            self.put_back(&taken);
        }
    }

    fn put_back(&mut self, taken: &Taken) {
        if self.held.get(&taken.id).is_some_and(|held| held.epoch == taken.epoch && held.yielded.is_none()) {
            self.free(taken.id);
            self.returns.push((taken.id, taken.epoch));
            self.look_at = None;
        }
    }

    /// The place of a message is free again; who waited for that goes on.
    fn free(&mut self, id: EntryId) {
        let Some(held) = self.held.remove(&id) else { return };
        if let Some(seat) = self.seats.get_mut(&held.serial) {
            seat.free(&held);
        }
    }
}
