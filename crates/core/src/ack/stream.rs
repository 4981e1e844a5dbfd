//! One client's unsettled deliveries: its window, its lease clock, and what goes back when it leaves.

use std::{collections::HashSet, num::NonZeroU64, sync::Arc, time::Duration};

use hashbrown::HashMap;
use tokio::time::Instant;

use super::{Claim, Deadlines, Seat, Slot, Ticket};
use crate::{
    Envelope, LeaseToken, MAX_SETTLING, RetryPolicy, Settled, Verb,
    sync::{Mutex, Notified, Notify},
};

/// Redeliveries of unnamed broadcast that may wait at once, at least.
const MIN_WAITING: usize = 64;

/// How much a client may hold, and for how long.
#[derive(Clone, Debug)]
pub(crate) struct Window {
    pub(crate) messages: usize,
    pub(crate) bytes: usize,
    pub(crate) retry: RetryPolicy,
}

/// A delivery of unnamed broadcast: the node itself brings it back.
#[derive(Clone, Debug)]
pub(crate) struct Local {
    pub(crate) envelope: Arc<Envelope>,
    pub(crate) attempt: u32,
}

/// What an entry holds.
#[derive(Debug)]
enum Held {
    Lease(LeaseToken),
    Local(Local),
}

impl Held {
    fn claim(&self) -> Claim {
        match self {
            Self::Lease(token) => Claim::Lease(token.clone()),
            Self::Local(Local { envelope, attempt }) => {
                Claim::Local { event: envelope.event.clone(), attempt: *attempt }
            }
        }
    }
}

#[derive(Debug)]
struct Entry {
    held: Held,
    weight: usize,
    admitted: Instant,
    /// Whether its client is done with it, and only the transport is still to say so.
    leaving: bool,
}

/// What a stream gives back when its client leaves.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct HandBack {
    /// The client had these.
    pub(crate) handed_off: Vec<LeaseToken>,
    /// These never reached it.
    pub(crate) kept_back: Vec<LeaseToken>,
}

#[derive(Debug, Default)]
struct State {
    next: u64,
    entries: HashMap<u64, Entry>,
    bytes: usize,
    /// How many of the entries are leaving, and their bytes.
    leaving: (usize, usize),
    /// Entries yielded since the last hand-off.
    fresh: Vec<u64>,
    deadlines: Deadlines<u64>,
    waiting: HashMap<u64, Local>,
    returns: Deadlines<u64>,
    /// Whether it has had deliveries that only this node redelivers.
    local: bool,
}

/// One client's unsettled deliveries.
#[derive(Debug)]
pub(crate) struct Stream {
    node: u64,
    id: u64,
    window: Window,
    /// What it holds of the gateway's limit of sessions.
    _seat: Seat,
    state: Mutex<State>,
    wake: Notify,
}

impl Stream {
    pub(super) fn new(node: u64, id: u64, seat: Seat, window: Window) -> Self {
        Self { node, id, window, _seat: seat, state: Mutex::default(), wake: Notify::new() }
    }

    /// How long its leases run.
    pub(crate) const fn ack_wait(&self) -> Duration {
        self.window.retry.ack_wait
    }

    pub(super) const fn id(&self) -> u64 {
        self.id
    }

    /// How many deliveries are unsettled.
    pub(crate) fn in_flight(&self) -> usize {
        self.state.lock().entries.len()
    }

    /// Whether the client may get another message, were it a redelivery.
    pub(crate) fn has_window(&self) -> bool {
        self.window.is_open(&self.state.lock())
    }

    /// Whether the client may get another message.
    pub(crate) fn has_room(&self) -> bool {
        let state = self.state.lock();
        self.window.is_open(&state) && state.waiting.len() < self.window.messages.max(MIN_WAITING)
    }

    /// Whether it may have deliveries that this node redelivers: then a settlement can bring the next wake-up nearer.
    pub(crate) fn redelivers(&self) -> bool {
        self.state.lock().local
    }

    /// Resolves when room may have been made, or a deadline set. Take it before asking [`Stream::has_room`].
    pub(crate) fn changed(&self) -> Notified<'_> {
        self.wake.notified()
    }

    /// Takes in a lease of the transport.
    pub(crate) fn admit_lease(&self, now: Instant, token: LeaseToken, weight: usize) -> Slot {
        self.admit(now, Held::Lease(token), weight)
    }

    /// Takes in a delivery that this node redelivers.
    pub(crate) fn admit_local(&self, now: Instant, local: Local) -> Slot {
        let weight = local.envelope.message.weight();
        self.admit(now, Held::Local(local), weight)
    }

    fn admit(&self, now: Instant, held: Held, weight: usize) -> Slot {
        let mut state = self.state.lock();
        let seq = state.next;
        state.next += 1;
        state.bytes += weight;
        state.local |= matches!(held, Held::Local(_));
        state.entries.insert(seq, Entry { held, weight, admitted: now, leaving: false });
        state.deadlines.set(seq, now + self.window.retry.ack_wait);
        state.fresh.push(seq);
        Slot { node: self.node, stream: self.id, seq }
    }

    /// Starts the lease clock of everything yielded since the last call. Answers the leases that the transport should
    /// restart as well, because the socket kept them waiting.
    pub(crate) fn hand_off(&self, now: Instant) -> Vec<LeaseToken> {
        let mut state = self.state.lock();
        let ack_wait = self.window.retry.ack_wait;
        let mut late = Vec::new();
        for seq in std::mem::take(&mut state.fresh) {
            let Some(entry) = state.entries.get(&seq) else { continue };
            if let Held::Lease(token) = &entry.held
                && now.saturating_duration_since(entry.admitted) > ack_wait / 20
            {
                late.push(token.clone());
            }
            state.deadlines.set(seq, now + ack_wait);
        }
        late
    }

    /// Takes out everything yielded since the last call: automatic acks.
    pub(crate) fn take_fresh(&self) -> Vec<LeaseToken> {
        let mut state = self.state.lock();
        let fresh = std::mem::take(&mut state.fresh);
        fresh.into_iter().filter_map(|seq| state.remove(seq)).filter_map(Entry::into_lease).collect()
    }

    /// What a client holds that settles by these numbers; `None` for what it does not hold any more, or never did.
    pub(crate) fn tickets(&self, numbers: impl Iterator<Item = NonZeroU64>) -> Vec<Option<Ticket>> {
        let state = self.state.lock();
        let ticket = |number: NonZeroU64| {
            let seq = number.get() - 1;
            let claim = state.entries.get(&seq)?.held.claim();
            Some(Ticket { slot: Slot { node: self.node, stream: self.id, seq }, claim })
        };
        numbers.map(ticket).collect()
    }

    /// The client is done with these, and the transport is being told: they take no room any more, as far as there are not
    /// too many. So a client that does not wait for its answers is not held up by a transport that syncs.
    pub(crate) fn begin_settling(&self, seqs: impl IntoIterator<Item = u64>) {
        let mut state = self.state.lock();
        let before = state.leaving.0;
        seqs.into_iter().for_each(|seq| state.set_leaving(seq, true));
        let freed = state.leaving.0 > before;
        drop(state);
        if freed {
            self.wake.notify_one();
        }
    }

    /// The transport did not settle these: the client holds them still.
    pub(crate) fn not_settled(&self, seqs: impl IntoIterator<Item = u64>) {
        let mut state = self.state.lock();
        seqs.into_iter().for_each(|seq| state.set_leaving(seq, false));
    }

    /// Frees the room of deliveries that are settled, wherever that happened.
    pub(crate) fn release(&self, seqs: impl IntoIterator<Item = u64>) {
        let mut state = self.state.lock();
        let freed = seqs.into_iter().filter(|seq| state.remove(*seq).is_some()).count();
        drop(state);
        if freed > 0 {
            self.wake.notify_one();
        }
    }

    /// Restarts the clock of a delivery whose lease was extended.
    pub(crate) fn extend(&self, seq: u64, until: Instant) {
        let mut state = self.state.lock();
        if state.entries.contains_key(&seq) {
            state.deadlines.set(seq, until);
            drop(state);
            self.wake.notify_one();
        }
    }

    /// Settles a delivery that only this node knows of.
    pub(crate) fn settle_local(&self, now: Instant, seq: u64, verb: &Verb) -> Settled {
        let mut state = self.state.lock();
        if !state.entries.contains_key(&seq) {
            return if seq < state.next { Settled::Stale } else { Settled::Unknown };
        }
        let settled = match verb {
            Verb::Extend(duration) => {
                state.deadlines.set(seq, now + *duration);
                drop(state);
                self.wake.notify_one();
                return Settled::Extended;
            }
            Verb::Ack => Settled::Acked,
            Verb::Reject { .. } => Settled::Rejected,
            Verb::Nack(_) => Settled::Nacked,
            Verb::Release { .. } => Settled::Released,
        };
        if let Some(Entry { held: Held::Local(local), .. }) = state.remove(seq) {
            let retry = &self.window.retry;
            match verb {
                Verb::Nack(nack) => {
                    let delay = nack.delay.unwrap_or_else(|| retry.delay_after(local.attempt));
                    state.bring_back(seq, local, now + delay, retry);
                }
                Verb::Release { counted: true } => state.bring_back(seq, local, now, retry),
                Verb::Release { counted: false } => state.wait(seq, local, now),
                Verb::Ack | Verb::Reject { .. } | Verb::Extend(_) => {}
            }
        }
        drop(state);
        self.wake.notify_one();
        settled
    }

    /// Frees the room of every lease that ran out, exactly when it did; unnamed broadcast comes back at once.
    pub(crate) fn expire(&self, now: Instant) {
        let mut state = self.state.lock();
        while let Some(seq) = state.deadlines.pop_due(now) {
            if let Some(Entry { held: Held::Local(local), .. }) = state.remove(seq) {
                state.bring_back(seq, local, now, &self.window.retry);
            }
        }
    }

    /// A redelivery that is due.
    pub(crate) fn pop_return(&self, now: Instant) -> Option<Local> {
        let mut state = self.state.lock();
        let seq = state.returns.pop_due(now)?;
        state.waiting.remove(&seq)
    }

    /// When the next lease runs out.
    pub(crate) fn next_expiry(&self) -> Option<Instant> {
        self.state.lock().deadlines.next()
    }

    /// When to look again: a lease that runs out makes room, or a redelivery of this node's; a redelivery that is due
    /// needs an open window.
    pub(crate) fn wake_at(&self, room: bool) -> Option<Instant> {
        let state = self.state.lock();
        let expiry = if room && !state.local { None } else { state.deadlines.next() };
        let back = if self.window.is_open(&state) { state.returns.next() } else { None };
        [expiry, back].into_iter().flatten().min()
    }

    /// Takes out everything, in time proportional to what this stream holds.
    pub(crate) fn hand_back(&self) -> HandBack {
        let state = {
            let mut state = self.state.lock();
            let next = state.next;
            std::mem::replace(&mut *state, State { next, ..State::default() })
        };
        let fresh: HashSet<u64> = state.fresh.into_iter().collect();
        let mut back = HandBack::default();
        for (seq, entry) in state.entries {
            if let Some(token) = entry.into_lease() {
                if fresh.contains(&seq) { back.kept_back.push(token) } else { back.handed_off.push(token) }
            }
        }
        back
    }
}

impl Window {
    fn is_open(&self, state: &State) -> bool {
        let (leaving, leaving_bytes) = state.leaving;
        let (held, held_bytes) = (state.entries.len() - leaving, state.bytes - leaving_bytes);
        held < self.messages && held_bytes < self.bytes && leaving < MAX_SETTLING
    }
}

impl State {
    fn remove(&mut self, seq: u64) -> Option<Entry> {
        self.set_leaving(seq, false);
        let entry = self.entries.remove(&seq)?;
        self.bytes -= entry.weight;
        self.deadlines.remove(seq);
        Some(entry)
    }

    fn set_leaving(&mut self, seq: u64, leaving: bool) {
        let Some(entry) = self.entries.get_mut(&seq).filter(|entry| entry.leaving != leaving) else { return };
        entry.leaving = leaving;
        let (count, bytes) = &mut self.leaving;
        if leaving {
            (*count, *bytes) = (*count + 1, *bytes + entry.weight);
        } else {
            (*count, *bytes) = (*count - 1, *bytes - entry.weight);
        }
    }

    fn bring_back(&mut self, seq: u64, mut local: Local, at: Instant, retry: &RetryPolicy) {
        if local.attempt >= retry.max_deliver {
            return;
        }
        local.attempt += 1;
        self.wait(seq, local, at);
    }

    fn wait(&mut self, seq: u64, local: Local, at: Instant) {
        self.waiting.insert(seq, local);
        self.returns.set(seq, at);
    }
}

impl Entry {
    fn into_lease(self) -> Option<LeaseToken> {
        match self.held {
            Held::Lease(token) => Some(token),
            Held::Local(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Cursor, EventName, GroupName, Holder, Message, MessageId, Nack};

    const ACK_WAIT: Duration = Duration::from_secs(10);

    fn stream(messages: usize) -> Stream {
        let retry = RetryPolicy { ack_wait: ACK_WAIT, max_deliver: 2, ..RetryPolicy::default() };
        Stream::new(1, 1, Seat::default(), Window { messages, bytes: 1000, retry })
    }

    fn token(epoch: u64) -> LeaseToken {
        let event = EventName::new("e").unwrap();
        LeaseToken { event, holder: Holder::Group(GroupName::default()), entry: "x".into(), epoch }
    }

    fn local() -> Local {
        let message = Arc::new(Message::new(MessageId::generate(), "x"));
        let envelope = Envelope::new(EventName::new("e").unwrap(), message, Cursor::new("1").unwrap());
        Local { envelope: Arc::new(envelope), attempt: 1 }
    }

    #[tokio::test(start_paused = true)]
    async fn a_lease_runs_out_at_t_and_not_before() {
        let stream = stream(1);
        let start = Instant::now();
        stream.admit_lease(start, token(1), 1);
        stream.hand_off(start);
        stream.expire(start + ACK_WAIT - Duration::from_nanos(1));
        assert_eq!(stream.in_flight(), 1);
        stream.expire(start + ACK_WAIT);
        assert_eq!(stream.in_flight(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn what_the_client_is_done_with_takes_no_room() {
        let stream = stream(2);
        let admit = |epoch| stream.admit_lease(Instant::now(), token(epoch), 1).seq;
        let held = [admit(1), admit(2)];
        assert!(!stream.has_room());
        stream.begin_settling(held);
        stream.begin_settling(held);
        assert!(stream.has_room());
        stream.not_settled([held[0]]);
        admit(3);
        assert!(!stream.has_room(), "two are held");
        stream.begin_settling([held[0]]);
        stream.release(held);
        assert_eq!((stream.in_flight(), stream.has_room()), (1, true));
        admit(4);
        assert!(!stream.has_room(), "what is gone is counted no more");
    }

    #[tokio::test(start_paused = true)]
    async fn only_so_many_may_wait_for_the_transport() {
        let stream = stream(MAX_SETTLING * 2);
        let settling: Vec<_> = (0..MAX_SETTLING as u64)
            .map(|epoch| stream.admit_lease(Instant::now(), token(epoch), 0).seq)
            .collect();
        stream.begin_settling(settling.iter().copied());
        assert!(!stream.has_room());
        stream.release([settling[7]]);
        assert!(stream.has_room());
    }

    #[tokio::test(start_paused = true)]
    async fn the_clock_starts_at_the_hand_off() {
        let stream = stream(1);
        let start = Instant::now();
        stream.admit_lease(start, token(1), 1);
        let handed = start + ACK_WAIT / 2;
        assert_eq!(stream.hand_off(handed), vec![token(1)], "the transport's clock is restarted too");
        stream.expire(start + ACK_WAIT);
        assert_eq!(stream.in_flight(), 1);
        assert_eq!(stream.wake_at(false), Some(handed + ACK_WAIT));
    }

    #[tokio::test(start_paused = true)]
    async fn settling_makes_room() {
        let stream = stream(1);
        let slot = stream.admit_lease(Instant::now(), token(1), 1);
        assert!(!stream.has_room());
        stream.release([slot.seq]);
        assert!(stream.has_room());
    }

    #[tokio::test(start_paused = true)]
    async fn the_window_counts_bytes_too() {
        let stream = stream(100);
        stream.admit_lease(Instant::now(), token(1), 1000);
        assert!(!stream.has_room());
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_never_handed_off_goes_back_uncounted() {
        let stream = stream(10);
        let now = Instant::now();
        stream.admit_lease(now, token(1), 1);
        stream.hand_off(now);
        stream.admit_lease(now, token(2), 1);
        let back = stream.hand_back();
        assert_eq!(back, HandBack { handed_off: vec![token(1)], kept_back: vec![token(2)] });
        assert_eq!(stream.hand_back(), HandBack::default());
    }

    #[tokio::test(start_paused = true)]
    async fn a_nacked_broadcast_comes_back_after_its_delay_until_attempts_are_used_up() {
        let stream = stream(10);
        let now = Instant::now();
        let slot = stream.admit_local(now, local());
        let nack = Verb::Nack(Nack { delay: Some(Duration::from_secs(3)), error: None });
        assert_eq!(stream.settle_local(now, slot.seq, &nack), Settled::Nacked);
        assert_eq!(stream.settle_local(now, slot.seq, &Verb::Ack), Settled::Stale);
        assert!(stream.pop_return(now + Duration::from_secs(2)).is_none());
        let back = stream.pop_return(now + Duration::from_secs(3)).unwrap();
        assert_eq!(back.attempt, 2);
        let slot = stream.admit_local(now, back);
        stream.settle_local(now, slot.seq, &nack);
        assert!(stream.pop_return(now + Duration::from_secs(9)).is_none(), "two attempts are all it gets");
    }

    #[tokio::test(start_paused = true)]
    async fn an_idle_broadcast_is_looked_at_when_its_lease_runs_out() {
        let stream = stream(10);
        let now = Instant::now();
        stream.admit_local(now, local());
        stream.hand_off(now);
        assert_eq!(stream.wake_at(true), Some(now + ACK_WAIT));
        stream.expire(now + ACK_WAIT);
        assert_eq!(stream.pop_return(now + ACK_WAIT).unwrap().attempt, 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_redelivery_that_is_due_waits_for_an_open_window_without_a_look() {
        let stream = stream(1);
        let now = Instant::now();
        let slot = stream.admit_local(now, local());
        let nack = Verb::Nack(Nack { delay: Some(Duration::ZERO), error: None });
        stream.settle_local(now, slot.seq, &nack);
        assert_eq!(stream.wake_at(true), Some(now));
        stream.admit_local(now, local());
        assert_eq!(stream.wake_at(false), Some(now + ACK_WAIT), "the window opens then at the earliest");
    }

    #[tokio::test(start_paused = true)]
    async fn many_redeliveries_keep_new_messages_out_but_not_each_other() {
        let stream = stream(1);
        let now = Instant::now();
        let nack = Verb::Nack(Nack { delay: Some(Duration::ZERO), error: None });
        for _ in 0..MIN_WAITING {
            let slot = stream.admit_local(now, local());
            stream.settle_local(now, slot.seq, &nack);
        }
        assert!(!stream.has_room());
        assert!(stream.has_window());
        assert_eq!(stream.wake_at(false), Some(now));
    }

    #[tokio::test(start_paused = true)]
    async fn automatic_acks_take_only_what_was_yielded() {
        let stream = stream(10);
        stream.admit_lease(Instant::now(), token(1), 1);
        assert_eq!(stream.take_fresh(), vec![token(1)]);
        assert!(stream.take_fresh().is_empty());
        assert_eq!(stream.in_flight(), 0);
    }
}
