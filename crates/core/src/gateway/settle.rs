//! Settling by ack id, from any door and any node.

use std::{num::NonZeroU64, sync::Arc, time::Duration};

use tokio::time::Instant;

use super::{AckStatus, Deliveries, Gateway, Inner, SettleAction, SettleAnswer, SettleRequest};
use crate::{
    ACK_WAIT_RANGE, Caller, Effect, Error, ErrorKind, LeaseToken, MAX_NACK_DELAY, Operation, Result, Settled,
    Settlement, Verb,
    ack::{Claim, Refusal, Slot, Stream, Ticket},
};

/// The most entries one call may settle.
const MAX_SETTLE_BATCH: usize = 10_000;

/// The longest error or reason kept with a message, in bytes.
const MAX_REASON_BYTES: usize = 1024;

impl Gateway {
    /// Settles a batch by ack ids; the answers are in the order of the entries. An answer `acked` is as durable as the
    /// transport claims.
    ///
    /// # Errors
    /// `invalid` when there is nothing but invalid entries (a forged ack id, a duration out of bounds); `denied` when the
    /// caller may not settle on one of the events. Nothing is settled then.
    pub async fn settle(&self, caller: &Caller, batch: Vec<SettleRequest>) -> Result<Vec<SettleAnswer>> {
        let inner = &self.inner;
        refuse_many(batch.len())?;
        let owner = inner.config.ack_secret.owner(caller);
        let entry = |SettleRequest { ack_id, action }| {
            let ticket = inner.config.ack_secret.open(owner, &ack_id).map_err(refused);
            entry(ticket, action)
        };
        let entries: Vec<_> = batch.into_iter().map(entry).collect();
        inner.admit_settle(caller, &entries).await?;
        Ok(inner.settle_entries(entries).await)
    }

    /// As [`Gateway::settle`], by the numbers of what the caller's own session has delivered. What the session does not
    /// hold any more is `unknown`: its ack id may settle it yet.
    ///
    /// # Errors
    /// As [`Gateway::settle`].
    pub async fn settle_numbered(
        &self,
        caller: &Caller,
        deliveries: &Deliveries,
        batch: Vec<(NonZeroU64, SettleAction)>,
    ) -> Result<Vec<SettleAnswer>> {
        let inner = &self.inner;
        refuse_many(batch.len())?;
        let tickets = deliveries.0.tickets(batch.iter().map(|(number, _)| *number));
        let entry = |(ticket, (_, action)): (Option<Ticket>, (NonZeroU64, SettleAction))| {
            entry(ticket.ok_or_else(|| answered(&Ok(Settled::Unknown))), action)
        };
        let entries: Vec<_> = tickets.into_iter().zip(batch).map(entry).collect();
        inner.admit_settle(caller, &entries).await?;
        Ok(inner.settle_entries(entries).await)
    }
}

fn refuse_many(count: usize) -> Result<()> {
    if count <= MAX_SETTLE_BATCH {
        return Ok(());
    }
    let text = format!("at most {MAX_SETTLE_BATCH} entries can be settled at once");
    Err(Error::new(ErrorKind::TooLarge, text))
}

fn entry(ticket: Result<Ticket, SettleAnswer>, action: SettleAction) -> Entry {
    let verb = checked(action).map_err(|error| answer(AckStatus::Invalid, error.message()));
    Ok((ticket?, verb?))
}

/// What is asked for, or why not.
type Entry = Result<(Ticket, Verb), SettleAnswer>;

impl Inner {
    async fn admit_settle(&self, caller: &Caller, entries: &[Entry]) -> Result<()> {
        let mut events: Vec<_> = entries.iter().flatten().map(|(ticket, _)| ticket.claim.event()).collect();
        events.sort_unstable();
        events.dedup();
        for event in events {
            self.authorize_event(caller, Operation::Ack, event).await?;
        }
        let invalid = |entry: &Entry| matches!(entry, Err(answer) if answer.status == AckStatus::Invalid);
        match entries.first() {
            Some(Err(first)) if entries.iter().all(invalid) => {
                let why = first.message.as_deref().unwrap_or_default();
                Err(Error::invalid(format!("no entry is valid: {why}")))
            }
            _ => Ok(()),
        }
    }

    async fn settle_entries(self: &Arc<Self>, entries: Vec<Entry>) -> Vec<SettleAnswer> {
        let mut answers = Vec::with_capacity(entries.len());
        let mut leased = Vec::new();
        let mut places = Vec::new();
        for (place, entry) in entries.into_iter().enumerate() {
            match entry {
                Err(refused) => answers.push(Some(refused)),
                Ok((Ticket { slot, claim: Claim::Local { .. } }, verb)) => {
                    answers.push(Some(self.settle_local(slot, &verb)));
                }
                Ok((Ticket { slot, claim: Claim::Lease(token) }, verb)) => {
                    answers.push(None);
                    places.push((place, slot, verb.clone()));
                    leased.push(Settlement { token, verb });
                }
            }
        }
        let leaving =
            |(_, slot, verb): &(usize, Slot, Verb)| (!matches!(verb, Verb::Extend(_))).then_some(*slot);
        let leaving: Vec<_> = places.iter().filter_map(leaving).collect();
        self.on_streams(&leaving, |stream, seqs| stream.begin_settling(seqs));
        let results = self.settle_leases(leased).await;
        let (mut notes, mut done, mut failed) = (Vec::new(), Vec::new(), Vec::new());
        for ((place, slot, verb), result) in places.into_iter().zip(results) {
            match (&result, &verb) {
                (Ok(Settled::Extended), Verb::Extend(duration)) => self.extended(slot, *duration),
                (Ok(_), _) => done.push(slot),
                (Err(_), _) => failed.push(slot),
            }
            notes.extend(self.note(slot, &verb, &result));
            if let Some(answer) = answers.get_mut(place) {
                *answer = Some(answered(&result));
            }
        }
        self.on_streams(&done, |stream, seqs| stream.release(seqs));
        self.on_streams(&failed, |stream, seqs| stream.not_settled(seqs));
        self.tell(notes);
        let answers: Vec<_> = answers.into_iter().map(|answer| answer.unwrap_or_else(unanswered)).collect();
        self.count_settled(&answers);
        answers
    }

    /// Settles leases with the transport, in time, with an answer for each.
    pub(super) async fn settle_leases(&self, batch: Vec<Settlement>) -> Vec<Result<Settled>> {
        if batch.is_empty() {
            return Vec::new();
        }
        let count = batch.len();
        let call = async { Ok(self.transport.settle(batch).await) };
        self.in_time(Effect::Unknown, call).await.unwrap_or_else(|error| vec![Err(error); count])
    }

    /// Settles leases for the gateway itself: what fails comes back when its lease runs out.
    pub(super) async fn settle_all(&self, tokens: Vec<LeaseToken>, verb: Verb) {
        let batch: Vec<_> =
            tokens.into_iter().map(|token| Settlement { token, verb: verb.clone() }).collect();
        let results = self.settle_leases(batch).await;
        let acked = results.iter().filter(|result| matches!(result, Ok(Settled::Acked))).count();
        self.counters.acked.add(acked);
        if let Some(error) = results.into_iter().find_map(Result::err) {
            tracing::debug!(%error, ?verb, "the gateway could not settle, the leases will run out");
        }
    }

    /// Keeps the clock of a delivery in step with its lease.
    fn extended(&self, slot: Slot, duration: Duration) {
        if let Some(stream) = self.tracker.stream(slot) {
            stream.extend(slot.seq, Instant::now() + duration);
        }
    }

    /// Tells this node's streams of their deliveries: mostly all came by one.
    fn on_streams(&self, slots: &[Slot], tell: impl Fn(&Stream, &mut dyn Iterator<Item = u64>)) {
        for of_stream in slots.chunk_by(|one, next| (one.node, one.stream) == (next.node, next.stream)) {
            if let Some(stream) = of_stream.first().and_then(|slot| self.tracker.stream(*slot)) {
                tell(&stream, &mut of_stream.iter().map(|slot| slot.seq));
            }
        }
    }

    fn settle_local(&self, slot: Slot, verb: &Verb) -> SettleAnswer {
        let settled = self
            .tracker
            .stream(slot)
            .map_or(Settled::Unknown, |stream| stream.settle_local(Instant::now(), slot.seq, verb));
        answered(&Ok(settled))
    }

    fn count_settled(&self, answers: &[SettleAnswer]) {
        for answer in answers {
            let counter = match answer.status {
                AckStatus::Acked => &self.counters.acked,
                AckStatus::Nacked => &self.counters.nacked,
                AckStatus::Rejected => &self.counters.rejected,
                AckStatus::Extended => &self.counters.extended,
                AckStatus::Released => &self.counters.released,
                AckStatus::Stale
                | AckStatus::Unknown
                | AckStatus::NotOwner
                | AckStatus::Invalid
                | AckStatus::Unavailable => &self.counters.refused_acks,
            };
            counter.add(1);
        }
    }
}

fn checked(action: SettleAction) -> Result<Verb> {
    let (least, most) = ACK_WAIT_RANGE;
    let mut verb = Verb::from(action);
    match &mut verb {
        Verb::Extend(duration) if *duration < least || *duration > most => {
            return Err(Error::invalid(format!("extend must be {least:?} to {most:?}, is {duration:?}")));
        }
        Verb::Nack(nack) => {
            if nack.delay.is_some_and(|delay| delay > MAX_NACK_DELAY) {
                return Err(Error::invalid(format!("retry_after must be at most {MAX_NACK_DELAY:?}")));
            }
            if let Some(error) = &mut nack.error {
                cut(error);
            }
        }
        Verb::Reject { reason } => cut(reason),
        Verb::Ack | Verb::Extend(_) | Verb::Release { .. } => {}
    }
    Ok(verb)
}

fn cut(text: &mut String) {
    let end = text.floor_char_boundary(MAX_REASON_BYTES);
    text.truncate(end);
}

fn refused(refusal: Refusal) -> SettleAnswer {
    match refusal {
        Refusal::Invalid => answer(AckStatus::Invalid, "not an ack_id of this gateway"),
        Refusal::NotOwner => answer(AckStatus::NotOwner, "another principal received this message"),
    }
}

fn answered(result: &Result<Settled>) -> SettleAnswer {
    let plain = |status| SettleAnswer { status, message: None };
    match result {
        Ok(Settled::Acked) => plain(AckStatus::Acked),
        Ok(Settled::Nacked) => plain(AckStatus::Nacked),
        Ok(Settled::Released) => plain(AckStatus::Released),
        Ok(Settled::Rejected) => plain(AckStatus::Rejected),
        Ok(Settled::Extended) => plain(AckStatus::Extended),
        Ok(Settled::Stale) => answer(AckStatus::Stale, "settled already, or delivered again since"),
        Ok(Settled::Unknown) => answer(AckStatus::Unknown, "no such lease here any more"),
        Err(error) => match error.kind() {
            ErrorKind::Invalid | ErrorKind::Unsupported => answer(AckStatus::Invalid, error.message()),
            ErrorKind::NotFound | ErrorKind::Closed => answer(AckStatus::Unknown, error.message()),
            ErrorKind::Internal => answer(AckStatus::Unavailable, "could not be settled"),
            _ => answer(AckStatus::Unavailable, error.message()),
        },
    }
}

fn answer(status: AckStatus, message: &str) -> SettleAnswer {
    SettleAnswer { status, message: Some(message.to_owned()) }
}

fn unanswered() -> SettleAnswer {
    answer(AckStatus::Unavailable, "could not be settled")
}
