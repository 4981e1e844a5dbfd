//! One partition that this node reads for a group: who has which message, and the messages themselves.

use std::{collections::BTreeMap, sync::Arc};

use busgate_core::{Group, Message, Moment, Outcome, RetryPolicy, Slot, Taken, Verb};
use tokio::time::Instant;

use crate::offsets::{self, Author, Commit, Handover};

/// How many messages are read ahead of the takers.
const AHEAD: u64 = 4096;

/// How many bytes of messages are held: read ahead, and not finished.
const MAX_WEIGHT: usize = 32 * 1024 * 1024;

/// Where a partition stands with its group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Claim {
    /// The broker has not heard of this owner: nothing is handed out.
    New,
    /// It has.
    Held,
    /// It goes to another owner: nothing is handed out or settled any more.
    Leaving,
}

/// A partition and its group.
#[derive(Debug)]
pub(super) struct Track {
    /// Which assignment: what is told of an earlier one means nothing.
    pub(super) serial: u64,
    pub(super) group: Group,
    author: Author,
    claim: Claim,
    messages: BTreeMap<u64, Arc<Message>>,
    weight: usize,
    /// The offset that is read next.
    position: u64,
    /// When the broker is to hear of what changed, if anything did.
    due: Option<Instant>,
    /// How much a commit may tell.
    limit: usize,
    /// Whether reading stopped for want of room.
    is_full: bool,
}

impl Track {
    /// A partition that goes on as the last owner left it.
    pub(super) fn new(
        serial: u64,
        offset: u64,
        handover: Option<Handover>,
        author: Author,
        policy: &Arc<RetryPolicy>,
        limit: usize,
    ) -> Self {
        let group = match handover {
            Some(handover) => {
                Group::resume(handover.frontier, author.generation, policy, handover.unfinished)
            }
            None => Group::new(offset, author.generation),
        };
        Self {
            serial,
            group: group.with_confirmed_order(),
            author,
            claim: Claim::New,
            messages: BTreeMap::new(),
            weight: 0,
            position: offset,
            due: Some(Instant::now()),
            limit,
            is_full: false,
        }
    }

    /// The broker knows this owner.
    pub(super) fn claimed(&mut self) {
        if self.claim == Claim::New {
            self.claim = Claim::Held;
        }
    }

    pub(super) fn is_held(&self) -> bool {
        self.claim == Claim::Held
    }

    /// Whether it does not go elsewhere.
    pub(super) fn is_open(&self) -> bool {
        self.claim != Claim::Leaving
    }

    pub(super) fn is_new(&self) -> bool {
        self.claim == Claim::New
    }

    /// Hands nothing out any more, and has the broker hear how things stand.
    pub(super) fn leave(&mut self, now: Instant) {
        self.claim = Claim::Leaving;
        self.soil(now);
    }

    /// The offset that is read next.
    pub(super) const fn position(&self) -> u64 {
        self.position
    }

    /// Whether more is to be read. If not, [`Track::is_low`] tells when.
    pub(super) fn has_room(&mut self) -> bool {
        let has_room = self.ahead() < AHEAD && (self.weight < MAX_WEIGHT || self.messages.is_empty());
        self.is_full = !has_room;
        has_room
    }

    /// Whether reading stopped, and had better go on; it says so once.
    pub(super) fn is_low(&mut self) -> bool {
        let is_low = self.is_full && self.ahead() < AHEAD / 2 && self.weight < MAX_WEIGHT / 4 * 3;
        self.is_full &= !is_low;
        is_low
    }

    fn ahead(&self) -> u64 {
        self.position.saturating_sub(self.group.frontier())
    }

    /// Begins anew at this offset: the partition was made anew, or cut off.
    pub(super) fn restart(&mut self, begin: u64, now: Instant) {
        self.author.generation += 1;
        self.group = Group::new(begin, self.author.generation).with_confirmed_order();
        self.messages.clear();
        (self.weight, self.position) = (0, begin);
        self.soil(now);
    }

    /// Takes a message in.
    pub(super) fn read(&mut self, offset: u64, message: Message) {
        if offset < self.position {
            return;
        }
        self.position = offset + 1;
        if self.group.is_done(offset) {
            return;
        }
        let message = Arc::new(message);
        self.weight += message.weight();
        self.messages.insert(offset, message);
    }

    /// Whether a taker may find something.
    pub(super) fn has_work(&self) -> bool {
        let end = self.position.min(offsets::reach(&self.group, self.limit));
        self.is_held() && self.group.has_work(end)
    }

    /// How many messages takers may find, about.
    pub(super) fn waiting(&self) -> u64 {
        if !self.is_held() {
            return 0;
        }
        self.group.ready() as u64 + self.position.saturating_sub(self.group.frontier())
    }

    /// Hands a message out.
    pub(super) fn take(&mut self, now: Moment, member: u64, policy: &Arc<RetryPolicy>) -> Option<Taken> {
        if !self.is_held() {
            return None;
        }
        let reach = offsets::reach(&self.group, self.limit);
        let (messages, position) = (&self.messages, self.position);
        let taken = self.group.take(now, member, policy, |offset| slot(messages, position, reach, offset));
        // What compaction or a transaction left out is nothing that anybody missed.
        self.group.take_missed();
        taken
    }

    /// Settles a delivery, of this owner or an earlier one.
    pub(super) fn settle(
        &mut self,
        now: Moment,
        (offset, epoch): (u64, u64),
        verb: &Verb,
        jitter: f64,
    ) -> Outcome {
        if !matches!(verb, Verb::Release { .. }) {
            // A delivery after the last commit of an owner that is gone is known by its token only.
            self.group.recall(offset, epoch);
        }
        let outcome = self.group.settle(now, offset, epoch, verb, jitter);
        if outcome == Outcome::Acked {
            self.forget(offset);
        }
        outcome
    }

    /// Lets go of what retention has; how many of them nobody was done with.
    pub(super) fn trim(&mut self, begin: u64, now: Instant) -> u64 {
        if self.group.watermark() >= begin {
            return 0;
        }
        let kept = self.messages.split_off(&begin);
        for message in std::mem::replace(&mut self.messages, kept).into_values() {
            self.weight = self.weight.saturating_sub(message.weight());
        }
        self.position = self.position.max(begin);
        self.group.trim(begin);
        self.soil(now);
        self.group.take_missed()
    }

    fn forget(&mut self, offset: u64) {
        if let Some(message) = self.messages.remove(&offset) {
            self.weight = self.weight.saturating_sub(message.weight());
        }
    }

    /// Has commits tell less: the broker takes no more.
    pub(super) const fn shrink(&mut self, limit: usize) {
        self.limit = limit;
    }

    /// The broker is to hear of a change at this time, at the latest.
    pub(super) fn soil(&mut self, due: Instant) {
        self.due = Some(self.due.map_or(due, |known| known.min(due)));
    }

    pub(super) const fn due(&self) -> Option<Instant> {
        self.due
    }

    /// What the broker is to hear, and the mark of what is settled by it.
    pub(super) fn commit(&mut self, now: Moment) -> Option<(Commit, u64)> {
        self.due = None;
        let commit = offsets::write(&self.group, self.author, now, self.limit)?;
        Some((commit, self.group.settled()))
    }
}

fn slot(messages: &BTreeMap<u64, Arc<Message>>, position: u64, reach: u64, offset: u64) -> Slot {
    if offset >= position.min(reach) {
        return Slot::End;
    }
    match messages.get(&offset) {
        Some(message) => Slot::Message(Arc::clone(message)),
        None => {
            let next = messages.range(offset..).next().map_or(position, |(next, _)| *next);
            Slot::Hole { next }
        }
    }
}
