//! One partition that this node reads for a group: who has which message, and the messages themselves.

mod claim;
mod handover;

use std::sync::Arc;

use busgate_core::{Group, Message, Moment, Outcome, RetryPolicy, Slot, Taken, Verb};
use tokio::time::Instant;

use self::claim::Claim;
use super::payloads::Payloads;
use crate::{
    offsets::{self, Author, Commit, Handover},
    shelf::{Entry, MAX_ASIDE, Shelf, Shelved},
};

/// How many messages are read ahead of the takers.
const AHEAD: u64 = 4096;

/// A partition and its group.
#[derive(Debug)]
pub(super) struct Track {
    /// Which assignment: what is told of an earlier one means nothing.
    pub(super) serial: u64,
    pub(super) group: Group,
    author: Author,
    claim: Claim,
    payloads: Payloads,
    shelf: Shelf,
    /// The offset that is read next.
    position: u64,
    /// When the broker is to hear of what changed, if anything did.
    due: Option<Instant>,
    /// How much a commit may tell.
    limit: usize,
    /// Whether reading stopped for want of room.
    is_full: bool,
}

/// What the broker is to hear of a partition.
#[derive(Debug)]
pub(super) struct Told {
    /// What is kept beside the commit, and before it.
    pub(super) entries: Vec<Entry>,
    pub(super) commit: Commit,
    /// What is settled by it.
    pub(super) mark: u64,
}

impl Track {
    /// A partition that goes on as the last owner left it, with what that had set aside.
    pub(super) fn new(
        serial: u64,
        offset: u64,
        (handover, shelved): (Option<Handover>, Shelved),
        author: Author,
        policy: &Arc<RetryPolicy>,
        limit: usize,
    ) -> Self {
        let (group, aside) = match handover {
            Some(handover) => handover::resume(handover, shelved.known, author, policy),
            None => (handover::begin(offset, author), Vec::new()),
        };
        let away = aside.iter().map(|known| known.offset).filter(|known| *known < offset);
        Self {
            serial,
            group,
            author,
            claim: Claim::New,
            payloads: Payloads::without(away),
            shelf: Shelf::resume(&aside, shelved.records),
            position: offset,
            due: Some(Instant::now()),
            limit,
            is_full: false,
        }
    }

    /// The broker may have given the partition to somebody else: it is told how things stand, and says whether it has.
    pub(super) fn doubt(&mut self, now: Instant) {
        if self.claim.doubt() {
            self.soil(now);
        }
    }

    /// Whether deliveries are settled here.
    pub(super) fn settles(&self) -> bool {
        self.claim.settles()
    }

    fn is_held(&self) -> bool {
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
        self.payloads.shed(&self.group, Instant::now());
        let has_room = self.ahead() < AHEAD && self.payloads.has_room();
        self.is_full = !has_room;
        has_room
    }

    /// Whether reading stopped, and had better go on; it says so once.
    pub(super) fn is_low(&mut self) -> bool {
        let is_low = self.is_full && self.ahead() < AHEAD / 2 && self.payloads.is_low();
        self.is_full &= !is_low;
        is_low
    }

    fn ahead(&self) -> u64 {
        self.position.saturating_sub(self.group.frontier())
    }

    /// Begins anew at this offset: the partition was made anew, or cut off.
    pub(super) fn restart(&mut self, begin: u64, now: Instant) {
        self.author.generation += 1;
        self.group = handover::begin(begin, self.author);
        self.payloads = Payloads::default();
        self.shelf.clear();
        self.position = begin;
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
        self.payloads.insert(offset, Arc::new(message));
    }

    /// Whether a taker may find something.
    pub(super) fn has_work(&self) -> bool {
        let end = self.position.min(self.reach());
        self.is_held() && self.group.has_work(end)
    }

    /// How many messages takers may find, about.
    pub(super) fn waiting(&self) -> u64 {
        if !self.is_held() {
            return 0;
        }
        self.group.ready() as u64 + self.ahead()
    }

    /// Hands a message out.
    pub(super) fn take(&mut self, now: Moment, member: u64, policy: &Arc<RetryPolicy>) -> Option<Taken> {
        if !self.is_held() {
            return None;
        }
        let end = self.position.min(self.reach());
        let (payloads, mut holes) = (&mut self.payloads, Vec::new());
        let taken = self.group.take(now, member, policy, |offset| {
            let slot = payloads.slot(offset, end, now.at);
            if matches!(slot, Slot::Hole { .. }) {
                holes.push(offset);
            }
            slot
        });
        // What compaction or a transaction left out is nothing that anybody missed.
        self.group.take_missed();
        for offset in holes.into_iter().filter(|offset| self.group.is_done(*offset)) {
            self.shelf.finish(offset);
        }
        if let Some(taken) = &taken {
            self.shelf.touch(taken.offset);
        }
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
        match outcome {
            Outcome::Acked => {
                self.payloads.remove(offset);
                self.shelf.finish(offset);
            }
            Outcome::Stale | Outcome::Unknown => {}
            _ => self.shelf.touch(offset),
        }
        outcome
    }

    /// Lets go of what retention has; how many of them nobody was done with.
    pub(super) fn trim(&mut self, begin: u64, now: Instant) -> u64 {
        if self.group.watermark() >= begin {
            return 0;
        }
        self.payloads.trim(begin);
        self.position = self.position.max(begin);
        self.group.trim(begin);
        self.shelf.trim(&self.group, begin);
        self.soil(now);
        self.group.take_missed()
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

    /// What the broker is to hear.
    pub(super) fn commit(&mut self, now: Moment) -> Option<Told> {
        self.due = None;
        self.claim.ask();
        let entries = self.shelf.plan(&self.group, self.author, now, self.limit);
        let Some(commit) = offsets::write(&self.group, &self.shelf, self.author, now, self.limit) else {
            self.shelf.undo();
            return None;
        };
        Some(Told { entries, commit, mark: self.group.settled() })
    }

    /// The broker has heard.
    pub(super) fn committed(&mut self, mark: u64, now: Instant) {
        self.claim.hear();
        self.group.confirm(mark);
        self.shelf.landed(&self.group);
        if self.shelf.kept(now) {
            self.soil(now);
        }
    }

    /// The broker has not heard, or did not say so; `is_aside` when it was what is set aside that it has not.
    pub(super) fn not_committed(&mut self, is_aside: bool, now: Instant) {
        self.claim.doubt();
        if is_aside { self.shelf.failed(now) } else { self.shelf.landed(&self.group) }
    }

    /// Up to where fresh messages are handed out.
    fn reach(&self) -> u64 {
        offsets::reach(&self.group, &self.shelf, self.limit)
    }

    /// Whether so many messages wait that nothing fresh is handed out.
    pub(super) fn is_laden(&self) -> bool {
        self.group.held() >= MAX_ASIDE
    }

    /// Whether messages are to be read again.
    pub(super) fn wants(&self) -> bool {
        self.is_held() && self.payloads.wants()
    }

    /// Messages that are to be read again, which is told once.
    pub(super) fn take_wanted(&mut self, most: usize) -> Vec<u64> {
        if self.wants() { self.payloads.take_wanted(most) } else { Vec::new() }
    }

    /// Takes in messages that were read again.
    pub(super) fn read_again(&mut self, messages: Vec<(u64, Arc<Message>)>, lost: &[u64]) {
        for (offset, message) in messages {
            if !self.group.is_done(offset) {
                self.payloads.insert(offset, message);
            }
        }
        lost.iter().for_each(|offset| self.payloads.lose(*offset));
    }
}
