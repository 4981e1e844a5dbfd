//! A subscription as a state machine: frames, ticks and polls in; frames and items out. It knows no socket and no clock.

#[cfg(test)]
mod tests;
mod upkeep;

use std::time::Duration;

use busgate_core::{
    AckKey, Effect, Error, Gap, LeaseToken, Result, SettleAction, SettleAnswer, SettleRequest,
    SubscribeRequest,
};
use busgate_wire::convert::{ConsumeFrame, Frame, Received};
use tokio::time::Instant;

use super::{
    held::{Held, Numbered},
    intake::Intake,
    outbox::Outbox,
    plan::Plan,
    resume::Place,
};
use crate::token::Sealer;

/// How the session stands to its stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// There is none.
    Apart,
    /// Messages come.
    Up,
    /// The gateway goes away: what the program holds is settled, and no more comes.
    Draining,
    /// The program has left.
    Leaving,
}

/// What the program gets.
#[derive(Debug)]
pub(crate) enum Yielded {
    /// A message, with its lease if it has one.
    Message(Box<Received>, Option<LeaseToken>),
    /// Messages that can't be had.
    Gap(Gap),
    /// There is nothing more.
    End(Option<Error>),
}

/// Who waits for answers.
#[derive(Debug)]
enum Asker<W> {
    Program(W),
    /// The session itself, for what waits in it under these numbers.
    Session(Vec<Option<u64>>),
}

/// Answers for those who wait.
pub(crate) type Answered<W> = Vec<(W, Vec<SettleAnswer>)>;

/// One subscription.
#[derive(Debug)]
pub(crate) struct Session<W> {
    plan: Plan,
    sealer: Option<Sealer>,
    phase: Phase,
    /// Which stream it is: frames go to the latest only.
    stream: u64,
    place: Place,
    intake: Intake,
    outbox: Outbox<Asker<W>, (AckKey, SettleAction)>,
    held: Held,
    next_seq: u64,
    /// When the program last asked for something.
    asked_at: Option<Instant>,
    /// Whether it waits for that.
    waits: bool,
    /// Whether the gateway is still to be told that the program has left.
    leave_due: bool,
    /// Ack ids of what came and was never yielded, and can't be given back over the stream.
    orphans: Vec<String>,
    end: Option<Option<Error>>,
}

impl<W> Session<W> {
    pub(crate) fn new(plan: Plan, sealer: Option<Sealer>) -> Self {
        let place = Place::new(plan.request.start.clone(), plan.is_unnamed(), plan.replay);
        let intake = Intake::new(plan.room());
        Self {
            plan,
            sealer,
            phase: Phase::Apart,
            stream: 0,
            place,
            intake,
            outbox: Outbox::new(),
            held: Held::default(),
            next_seq: 0,
            asked_at: None,
            waits: false,
            leave_due: false,
            orphans: Vec::new(),
            end: None,
        }
    }

    /// Begins a stream: its number, and the frames that open it. There is no credit, so that nothing is sent to a program
    /// that does not ask.
    pub(crate) fn opening(&mut self) -> (u64, [ConsumeFrame; 2]) {
        self.stream += 1;
        let request = SubscribeRequest { start: self.place.start(), ..self.plan.request.clone() };
        (self.stream, [ConsumeFrame::Credit(0), ConsumeFrame::Subscribe(Box::new(request))])
    }

    /// Whether `stream` is the latest one.
    pub(crate) const fn is_current(&self, stream: u64) -> bool {
        self.stream == stream
    }

    /// A stream stands.
    pub(crate) fn opened(&mut self) {
        self.phase = if self.leave_due { Phase::Leaving } else { Phase::Up };
        if let Some(gap) = self.place.opened() {
            self.intake.gap(gap);
        }
        if self.waits {
            self.intake.ask();
        }
    }

    /// The next frame for the stream, if there is one.
    pub(crate) fn next_frame(&mut self) -> Option<ConsumeFrame> {
        if self.phase == Phase::Apart {
            return None;
        }
        if let Some((sequence, entries)) = self.outbox.next_frame() {
            return Some(ConsumeFrame::Settle { sequence, entries });
        }
        if self.phase == Phase::Leaving {
            return std::mem::take(&mut self.leave_due).then_some(ConsumeFrame::Leave);
        }
        let more = if self.phase == Phase::Up { self.intake.grant()? } else { return None };
        Some(ConsumeFrame::Credit(more))
    }

    /// Whether there is a frame to send.
    pub(crate) fn has_frame(&self) -> bool {
        self.phase != Phase::Apart
            && (self.outbox.is_queued()
                || self.leave_due
                || (self.phase == Phase::Up && self.intake.has_grant()))
    }

    /// Whether the stream may be read: what is not leased is bounded by its bytes here, what is leased by the gateway.
    pub(crate) fn may_read(&self) -> bool {
        !self.plan.is_unnamed() || self.phase == Phase::Leaving || !self.intake.is_heavy()
    }

    /// Takes a frame of the gateway.
    ///
    /// # Errors
    /// `internal` for a frame that breaks the protocol; the stream is of no use then.
    pub(crate) fn received(&mut self, now: Instant, frame: Frame) -> Result<Answered<W>> {
        match frame {
            Frame::Message(received) => self.message(now, received)?,
            Frame::Gap(gap) => {
                if let Some(cursor) = &gap.cursor {
                    self.place.passed(cursor);
                }
                self.intake.gap(gap);
            }
            Frame::Draining { .. } => self.draining(),
            Frame::Settled { sequence, answers } => {
                let answers = answers.into_iter().map(|(_, answer)| answer);
                let answered = self.outbox.answered(sequence, answers);
                return Ok(answered
                    .into_iter()
                    .filter_map(|(asker, own)| self.answered(now, asker, own))
                    .collect());
            }
        }
        Ok(Vec::new())
    }

    fn message(&mut self, now: Instant, received: Box<Received>) -> Result<()> {
        if self.plan.is_leased() && received.ack_id.is_none() {
            return Err(Error::internal("a delivery came without an ack id"));
        }
        match self.phase {
            Phase::Leaving | Phase::Draining => self.orphans.extend(received.ack_id),
            Phase::Apart | Phase::Up => {
                self.place.passed(&received.cursor);
                self.intake.message(now, received);
            }
        }
        Ok(())
    }

    /// What waits goes back, for others to get it; what the program holds it may finish.
    fn draining(&mut self) {
        if self.phase == Phase::Up {
            self.phase = Phase::Draining;
            if self.plan.is_leased() {
                self.give_back();
            }
        }
    }

    fn ack_wait(&self) -> Duration {
        self.plan.ack_wait()
    }

    /// The program asks for the next thing; `None` when it has to wait. Its lease clock starts now.
    ///
    /// The gateway is allowed more when the program asks, not when it gets something: what nobody asks for is better off
    /// with others.
    pub(crate) fn poll(&mut self, now: Instant) -> Option<Yielded> {
        self.asked_at = Some(now);
        if self.phase == Phase::Up {
            self.intake.ask();
        }
        let found = self.take(now);
        self.waits = found.is_none();
        found
    }

    fn take(&mut self, now: Instant) -> Option<Yielded> {
        loop {
            let Some(item) = self.intake.next() else {
                let error = self.end.as_mut()?.take();
                return Some(Yielded::End(error));
            };
            let waiting = match item {
                Ok(waiting) => waiting,
                Err(gap) => return Some(Yielded::Gap(gap)),
            };
            let Some(ack_id) = waiting.received.ack_id.as_deref() else {
                return Some(Yielded::Message(waiting.received, None));
            };
            let late = now.saturating_duration_since(waiting.leased_at);
            let ack_wait = self.ack_wait();
            if late >= ack_wait {
                // Its lease ran out here: it is somebody else's by now.
                continue;
            }
            let (seq, attempt) = (self.next_seq, waiting.received.attempt);
            let token = self.sealer.as_ref().map(|sealer| sealer.seal(seq, attempt, ack_id));
            self.next_seq += 1;
            if late > ack_wait / 20 && self.plan.extend {
                let action = SettleAction::Extend(ack_wait);
                let entry = (AckKey::Id(ack_id.to_owned()), action);
                self.outbox.push(vec![entry], Asker::Session(vec![None]));
            }
            if let Some(token) = &token {
                let stream = self.stream;
                let numbered = waiting.received.number.map(|number| Numbered { stream, number });
                self.held.keep(seq, token.clone(), numbered, now, ack_wait);
            }
            return Some(Yielded::Message(waiting.received, token));
        }
    }

    /// Whether the program has left.
    pub(crate) const fn is_leaving(&self) -> bool {
        self.leave_due || matches!(self.phase, Phase::Leaving)
    }

    /// Whether [`Self::poll`] has something.
    pub(crate) fn is_ready(&self) -> bool {
        !self.intake.is_empty() || self.end.is_some()
    }

    /// The program settles what came by this subscription, each with its ack id, which is asked for only where the present
    /// stream has no number for it. Answers whether that still goes over the stream: when it is gone, the waiter is dropped.
    pub(crate) fn settle<I: FnOnce() -> String>(
        &mut self,
        now: Instant,
        batch: impl Iterator<Item = (u64, SettleAction, I)>,
        waiter: W,
    ) -> bool {
        let stands = self.stands();
        let (mut entries, mut seqs) = (Vec::new(), Vec::new());
        for (seq, action, ack_id) in batch {
            let lease = if let SettleAction::Extend(lease) = action { Some(lease) } else { None };
            seqs.push((seq, lease));
            if stands {
                let number = self.held.number(seq, self.stream);
                entries.push((number.map_or_else(|| AckKey::Id(ack_id()), AckKey::Number), action));
            }
        }
        // After all have their keys: one that is there twice has one.
        for (seq, lease) in seqs {
            match lease {
                Some(lease) => self.held.extend(seq, now, lease),
                None => self.held.settle(seq),
            }
        }
        if stands {
            self.outbox.push(entries, Asker::Program(waiter));
        }
        stands
    }

    /// As [`Self::settle`], for a program that keeps its deliveries by their ack ids.
    pub(crate) fn settle_ids(&mut self, entries: Vec<SettleRequest>, waiter: W) -> bool {
        let stands = self.stands();
        if stands {
            let keyed = |SettleRequest { ack_id, action }| (AckKey::Id(ack_id), action);
            self.outbox.push(entries.into_iter().map(keyed).collect(), Asker::Program(waiter));
        }
        stands
    }

    const fn stands(&self) -> bool {
        matches!(self.phase, Phase::Up | Phase::Draining)
    }

    /// The program has left, or is made to.
    pub(crate) fn leave(&mut self) {
        if self.phase == Phase::Leaving {
            return;
        }
        self.leave_due = true;
        if self.phase != Phase::Apart {
            self.phase = Phase::Leaving;
        }
        self.orphans.extend(self.intake.take_leases());
        self.intake.clear();
    }

    /// The stream is gone. What waited and was leased will be delivered again, and is to be given back if it can be.
    pub(crate) fn broken(&mut self) -> Vec<(W, Effect)> {
        self.phase = Phase::Apart;
        if self.plan.is_unnamed() {
            // Nobody delivers it again: it is still to be yielded, with nothing to settle any more.
            self.intake.forget_leases();
        } else {
            self.orphans.extend(self.intake.take_leases());
        }
        self.intake.reset_credit();
        let waiting = self.outbox.fail().into_iter();
        waiting
            .filter_map(|(asker, effect)| match asker {
                Asker::Program(waiter) => Some((waiter, effect)),
                Asker::Session(_) => None,
            })
            .collect()
    }

    /// There will be no more streams: what is here may be yielded, then comes the end.
    pub(crate) fn finish(&mut self, error: Option<Error>) {
        self.end.get_or_insert(error);
    }

    /// The transport is closed: nothing more is yielded but that.
    pub(crate) fn cut(&mut self, error: Error) {
        self.leave();
        self.end = Some(Some(error));
    }

    /// Takes out the ack ids of what has to be given back some other way.
    pub(crate) fn take_orphans(&mut self) -> Vec<String> {
        std::mem::take(&mut self.orphans)
    }

    /// What the program holds.
    pub(crate) const fn held(&mut self) -> &mut Held {
        &mut self.held
    }

    /// Whether every settlement of the program is answered.
    pub(crate) fn is_settled(&self) -> bool {
        self.outbox.is_idle()
    }
}
