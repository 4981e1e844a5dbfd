//! One unnamed broadcast subscriber: replays what it missed, then switches to live with no hole and no duplicate.

use std::{collections::VecDeque, sync::Arc};

use super::{
    Channel, ended,
    ring::{Found, Slot},
};
use crate::{Cursor, End, Envelope, Error, Gap, Passed, ReadRequest, Result, SlowPolicy, Start};

/// How much of the history is read at once.
const PAGE_MESSAGES: usize = 256;
const PAGE_BYTES: usize = 1024 * 1024;

/// How an event is followed.
#[derive(Clone, Debug)]
pub(crate) struct Follow {
    pub(crate) start: Start,
    pub(crate) slow: SlowPolicy,
    /// How far behind the head the follower may be before `slow` acts.
    pub(crate) buffer: u64,
}

/// What a follower yields.
#[derive(Debug)]
pub(crate) enum Step {
    Message(Arc<Envelope>),
    Gap(Gap),
    End(End),
}

/// One subscriber's place in an event.
///
/// Invariant: everything before `at` has been yielded (or was not asked for) and nothing after it has: tested by
/// `replay_meets_live_without_hole_or_duplicate`.
#[derive(Debug)]
pub(crate) struct Follower {
    channel: Arc<Channel>,
    slow: SlowPolicy,
    buffer: u64,
    /// The place in history up to which everything is yielded; `None` on a transport without replay.
    at: Option<Cursor>,
    /// Messages of the ring up to here were yielded from history.
    skip: Option<Cursor>,
    phase: Phase,
}

#[derive(Debug)]
enum Phase {
    /// Reading history from `start` on; the ring is joined at `join`, its head from before the last read.
    CatchUp {
        start: Start,
        join: u64,
        page: VecDeque<Slot>,
        end: bool,
    },
    Live {
        next: u64,
    },
}

impl Follower {
    pub(super) async fn attach(channel: Arc<Channel>, follow: Follow) -> Result<Self> {
        if let Some(End::Failed(error)) = channel.ring.end() {
            return Err(error);
        }
        let Follow { start, slow, buffer } = follow;
        // The head is taken before the end is read: what comes in between is in the ring and is skipped there.
        let join = channel.ring.head();
        let replay = channel.transport.capabilities().replay;
        let mut follower = Self {
            channel,
            slow,
            buffer: buffer.max(1),
            at: None,
            skip: None,
            phase: Phase::Live { next: join },
        };
        match start {
            Start::Latest if replay => {
                let end = follower.channel.end().await?;
                follower.at = Some(end.clone());
                follower.skip = Some(end);
            }
            Start::Latest => {}
            start => {
                if let Start::After(cursor) = &start {
                    follower.at = Some(cursor.clone());
                }
                follower.phase = Phase::CatchUp { start, join, page: VecDeque::new(), end: false };
                // The first page is read at once, so that a bad start is an error of the subscription.
                follower.read_on().await?;
            }
        }
        Ok(follower)
    }

    /// The next step. Cancel-safe: whatever was read is kept.
    pub(crate) async fn next(&mut self) -> Step {
        loop {
            if let Some(step) = self.try_next() {
                return step;
            }
            if self.is_catching_up() {
                if let Err(error) = self.read_on().await {
                    return Step::End(ended(error, true));
                }
                continue;
            }
            let channel = Arc::clone(&self.channel);
            let mut changed = std::pin::pin!(channel.ring.changed());
            changed.as_mut().enable();
            if let Some(step) = self.try_next() {
                return step;
            }
            if !self.is_catching_up() {
                changed.await;
            }
        }
    }

    /// The next step, if it takes no waiting.
    pub(crate) fn try_next(&mut self) -> Option<Step> {
        loop {
            match &mut self.phase {
                Phase::CatchUp { start, page, end, join } => {
                    if let Some(slot) = page.pop_front() {
                        return Some(self.pass_on(slot));
                    }
                    if !*end {
                        return None;
                    }
                    let join = *join;
                    if let Start::After(reached) = start {
                        self.at = Some(reached.clone());
                    }
                    self.go_live(join);
                }
                Phase::Live { next } => {
                    let next = *next;
                    match self.channel.ring.find(next) {
                        (Found::Nothing, _) => return None,
                        (Found::End(end), _) => return Some(Step::End(end)),
                        (Found::Slot(slot), behind) => match self.is_had(&slot) {
                            // What it had already, it is not behind with.
                            Ok(true) => self.phase = Phase::Live { next: next + 1 },
                            Ok(false) if behind <= self.allowance() => {
                                self.phase = Phase::Live { next: next + 1 };
                                return Some(self.pass_on(slot));
                            }
                            Ok(false) => {
                                if let Some(step) = self.fall_behind(next, false) {
                                    return Some(step);
                                }
                            }
                            Err(error) => return Some(Step::End(End::Failed(error))),
                        },
                        (Found::Evicted, _) => {
                            if let Some(step) = self.fall_behind(next, true) {
                                return Some(step);
                            }
                        }
                    }
                }
            }
        }
    }

    fn is_catching_up(&self) -> bool {
        matches!(self.phase, Phase::CatchUp { .. })
    }

    /// How far behind the head it may be; a paused one as far as the ring reaches.
    fn allowance(&self) -> u64 {
        match self.slow {
            SlowPolicy::Pause => u64::MAX,
            SlowPolicy::Conflate => 1,
            SlowPolicy::DropOldest | SlowPolicy::Disconnect => self.buffer,
        }
    }

    fn pass_on(&mut self, slot: Slot) -> Step {
        match slot {
            Slot::Message(envelope) => {
                self.at = Some(envelope.cursor.clone());
                Step::Message(envelope)
            }
            Slot::Gap(gap) => {
                if let Some(cursor) = &gap.cursor {
                    self.at = Some(cursor.clone());
                }
                Step::Gap(gap)
            }
        }
    }

    /// Whether a slot of the ring is about what was yielded from history already.
    fn is_had(&mut self, slot: &Slot) -> Result<bool> {
        let envelope = match slot {
            Slot::Message(envelope) => envelope,
            // A gap that ends before this follower's place is no gap to it, and must not take it back there.
            Slot::Gap(gap) => return self.is_past(gap.cursor.as_ref()),
        };
        let Some(skip) = &self.skip else { return Ok(false) };
        match self.channel.transport.passed(skip, &envelope.cursor)? {
            Passed::Had => Ok(true),
            Passed::New => Ok(false),
            Passed::NewFromHere => {
                self.skip = None;
                Ok(false)
            }
        }
    }

    fn is_past(&self, place: Option<&Cursor>) -> Result<bool> {
        let Some((at, place)) = self.at.as_ref().zip(place) else { return Ok(false) };
        Ok(self.channel.transport.passed(at, place)? == Passed::Had)
    }

    /// Whether everything before `cursor` was yielded from history already.
    fn had_up_to(&self, cursor: Option<&Cursor>) -> Result<bool> {
        let (Some(skip), Some(cursor)) = (&self.skip, cursor) else { return Ok(false) };
        Ok(self.channel.transport.passed(skip, cursor)? == Passed::Had)
    }

    /// History is read to its end: join the ring where it was before that read, or read on when the ring has moved past.
    fn go_live(&mut self, join: u64) {
        self.skip.clone_from(&self.at);
        if self.channel.ring.holds(join) {
            self.phase = Phase::Live { next: join };
        } else {
            self.catch_up();
        }
    }

    fn catch_up(&mut self) {
        let start = self.at.clone().map_or(Start::Beginning, Start::After);
        let join = self.channel.ring.head();
        self.phase = Phase::CatchUp { start, join, page: VecDeque::new(), end: false };
    }

    /// The policy for one that is too far behind. `None` means look again.
    fn fall_behind(&mut self, next: u64, evicted: bool) -> Option<Step> {
        let ring = &self.channel.ring;
        let head = ring.head();
        match self.slow {
            SlowPolicy::Disconnect => Some(Step::End(End::SlowConsumer)),
            SlowPolicy::Pause if self.at.is_some() => {
                debug_assert!(evicted, "a paused follower only falls behind when the ring has moved past it");
                self.catch_up();
                None
            }
            SlowPolicy::Conflate => {
                self.phase = Phase::Live { next: head.saturating_sub(1) };
                None
            }
            SlowPolicy::DropOldest | SlowPolicy::Pause => {
                let to = head.saturating_sub(self.buffer).max(next + 1);
                let to = if ring.holds(to) { to } else { head };
                self.phase = Phase::Live { next: to };
                let cursor = ring.cursor_before(to);
                match self.had_up_to(cursor.as_ref()) {
                    Ok(true) => None,
                    Ok(false) => {
                        // As long as anything has to be skipped, it may have had some of them: no more are missed.
                        Some(self.pass_on(Slot::Gap(Gap { missed: Some(to - next), cursor })))
                    }
                    Err(error) => Some(Step::End(End::Failed(error))),
                }
            }
        }
    }

    async fn read_on(&mut self) -> Result<()> {
        let Phase::CatchUp { start, .. } = &self.phase else { return Ok(()) };
        let request = ReadRequest { start: start.clone(), limit: PAGE_MESSAGES, max_bytes: PAGE_BYTES };
        let read = self.channel.read(request).await?;
        let Phase::CatchUp { start, page, end, .. } = &mut self.phase else {
            return Err(Error::internal("a follower stopped catching up while it read"));
        };
        page.extend(read.gap.map(Slot::Gap));
        let event = &self.channel.event;
        page.extend(
            read.messages.into_iter().map(|(cursor, message)| {
                Slot::Message(Arc::new(Envelope::new(event.clone(), message, cursor)))
            }),
        );
        if self.slow == SlowPolicy::Conflate {
            let newest = page.len().saturating_sub(1);
            page.drain(..if read.end { newest } else { page.len() });
        }
        *start = Start::After(read.next);
        *end = read.end;
        Ok(())
    }
}
