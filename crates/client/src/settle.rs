//! Settling: over the stream a delivery came by, else by a call, each entry answered for itself.

mod unary;

use std::sync::Arc;

use busgate_core::{
    AckStatus, Capabilities, Effect, Error, ErrorKind, EventName, Nack, Pattern, Result, SettleAction,
    SettleAnswer, SettleRequest, Settled, Settlement, Verb,
};
use futures_util::future::join_all;
use tokio::{
    sync::oneshot,
    time::{Instant, sleep, timeout_at},
};

pub(crate) use self::unary::{Unary, call};
use crate::{
    retry::{Next, Tries},
    stream::{FRAME_ENTRIES, Shared},
    subscription::Subscriptions,
    token::{self, Route},
};

/// One entry on its way.
#[derive(Debug)]
struct Entry {
    /// Its place in the batch.
    place: usize,
    settlement: Settlement,
    route: Route,
    /// A stream that did not answer, or could not settle it, is not asked again.
    by_call: bool,
}

impl Entry {
    fn request(&self) -> SettleRequest {
        let Settlement { token, verb } = &self.settlement;
        SettleRequest { ack_id: token::ack_id(token), action: action(verb.clone()) }
    }
}

/// Which way an entry goes.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Way {
    /// The stream of this number.
    Stream(u32),
    /// A call; a call that may not settle on one event fails as a whole, so that each event has its own.
    Call(EventName),
}

/// An entry that is not answered, and why.
type Unanswered = (Entry, Error);

impl Subscriptions {
    /// Settles a batch; the answers are in its order. What could not be settled for the moment is tried again as the
    /// options allow.
    pub(crate) async fn settle(&self, batch: Vec<Settlement>) -> Vec<Result<Settled>> {
        let _under_way = self.unary.begin();
        let mut answers: Vec<Option<Result<Settled>>> = Vec::new();
        let mut entries = Vec::with_capacity(batch.len());
        for (place, settlement) in batch.into_iter().enumerate() {
            match self.entry(place, settlement) {
                Ok(entry) => {
                    entries.push(entry);
                    answers.push(None);
                }
                Err(refused) => answers.push(Some(Err(refused))),
            }
        }
        let options = self.connection.options();
        let deadline = Instant::now() + options.deadline;
        let mut tries = Tries::new(options.retries.max_attempts, options.retries.backoff, deadline);
        while !entries.is_empty() {
            let failed = self.round(std::mem::take(&mut entries), deadline, &mut answers).await;
            let Some((_, error)) = failed.first() else { break };
            match tries.failed(error.clone(), Instant::now(), fastrand::f64()) {
                Next::Again(wait) if !self.connection.is_closed() => {
                    sleep(wait).await;
                    entries = failed.into_iter().map(|(entry, _)| Entry { by_call: true, ..entry }).collect();
                }
                Next::Again(_) | Next::Stop(_) => put(&mut answers, failed),
            }
        }
        let missing = || Err(Error::internal("a settlement was not answered").with_effect(Effect::Unknown));
        answers.into_iter().map(|answer| answer.unwrap_or_else(missing)).collect()
    }

    fn entry(&self, place: usize, settlement: Settlement) -> Result<Entry> {
        if self.connection.is_closed() {
            return Err(Error::unavailable("the transport is closed"));
        }
        refuse_unclaimed(&settlement.verb, &self.capabilities)?;
        let route = token::route(&settlement.token)?;
        Ok(Entry { place, settlement, route, by_call: false })
    }

    /// Tries all entries once. Answers those that may be tried again.
    async fn round(
        &self,
        entries: Vec<Entry>,
        deadline: Instant,
        answers: &mut [Option<Result<Settled>>],
    ) -> Vec<Unanswered> {
        let mut groups = self.grouped(entries);
        let outcomes = match groups.pop() {
            // Nearly always there is one.
            Some((way, entries)) if groups.is_empty() => self.by(way, entries, deadline).await,
            last => {
                let all = groups.into_iter().chain(last);
                join_all(all.map(|(way, entries)| self.by(way, entries, deadline)))
                    .await
                    .into_iter()
                    .flatten()
                    .collect()
            }
        };
        let mut again = Vec::new();
        for (entry, outcome) in outcomes {
            match outcome.and_then(|answer| settled(&answer)) {
                Err(error) if error.kind().is_transient() => again.push((entry, error)),
                answer => put_one(answers, entry.place, answer),
            }
        }
        again
    }

    fn grouped(&self, entries: Vec<Entry>) -> Vec<(Way, Vec<Entry>)> {
        let mut groups: Vec<(Way, Vec<Entry>)> = Vec::new();
        for entry in entries {
            let way = match entry.route.client == self.client && !entry.by_call {
                true => Way::Stream(entry.route.stream),
                false => Way::Call(entry.settlement.token.event.clone()),
            };
            match groups.iter_mut().find(|(known, _)| *known == way) {
                Some((_, group)) => group.push(entry),
                None => groups.push((way, vec![entry])),
            }
        }
        groups
    }

    async fn by(
        &self,
        way: Way,
        entries: Vec<Entry>,
        deadline: Instant,
    ) -> Vec<(Entry, Result<SettleAnswer>)> {
        match way {
            Way::Stream(stream) => self.over(stream, entries, deadline).await,
            Way::Call(_) => self.by_call(entries).await,
        }
    }

    /// Settles over the stream that the deliveries came by; by a call when that is gone, or goes before it answers.
    async fn over(
        &self,
        stream: u32,
        entries: Vec<Entry>,
        deadline: Instant,
    ) -> Vec<(Entry, Result<SettleAnswer>)> {
        let Some(shared) = self.stream(stream) else { return self.by_call(entries).await };
        let deadline = deadline.min(Instant::now() + self.connection.options().call_timeout);
        let mut asked = Vec::new();
        let mut entries = entries;
        while !entries.is_empty() {
            let rest = entries.split_off(entries.len().min(FRAME_ENTRIES));
            let chunk = std::mem::replace(&mut entries, rest);
            let answers = ask(&shared, &chunk);
            asked.push((chunk, answers));
        }
        let mut outcomes = Vec::new();
        for (chunk, answers) in asked {
            match answered(answers, deadline).await {
                Ok(Some(answers)) => {
                    // What a stream does not hold any more may be settled by its ack id yet: that is the transport's to say.
                    let told = chunk.into_iter().zip(answers);
                    let (unheld, held): (Vec<_>, Vec<_>) =
                        told.partition(|(_, answer)| answer.status == AckStatus::Unknown);
                    outcomes.extend(held.into_iter().map(|(entry, answer)| (entry, Ok(answer))));
                    outcomes.extend(self.by_call(unheld.into_iter().map(|(entry, _)| entry).collect()).await);
                }
                Ok(None) => outcomes.extend(self.by_call(chunk).await),
                Err(error) => {
                    outcomes.extend(chunk.into_iter().map(|entry| (entry, Err(error.clone()))));
                }
            }
        }
        outcomes
    }

    /// Settles by a call; all entries are of one event.
    async fn by_call(&self, entries: Vec<Entry>) -> Vec<(Entry, Result<SettleAnswer>)> {
        let Some(first) = entries.first() else { return Vec::new() };
        let events = Pattern::from(first.settlement.token.event.clone());
        let mut outcomes = Vec::with_capacity(entries.len());
        let mut entries = entries;
        while !entries.is_empty() {
            let rest = entries.split_off(entries.len().min(FRAME_ENTRIES));
            let chunk = std::mem::replace(&mut entries, rest);
            let requests = chunk.iter().map(Entry::request).collect();
            match self.unary.settle(&events, requests).await {
                Ok(answers) => outcomes.extend(chunk.into_iter().zip(answers.into_iter().map(Ok))),
                Err(error) => {
                    outcomes.extend(chunk.into_iter().map(|entry| (entry, Err(error.clone()))));
                }
            }
        }
        outcomes
    }
}

type Answers = oneshot::Receiver<Result<Vec<SettleAnswer>, Effect>>;

/// Queues entries on their stream; `None` when that is gone.
fn ask(shared: &Arc<Shared>, entries: &[Entry]) -> Option<Answers> {
    let batch = entries.iter().map(|entry| {
        let Settlement { token, verb } = &entry.settlement;
        (entry.route.seq, action(verb.clone()), || token::ack_id(token))
    });
    let (waiter, answers) = oneshot::channel();
    let queued = shared.with(|session| session.settle(Instant::now(), batch, waiter));
    queued.then_some(answers)
}

/// The answers; `None` when there are none to be had from the stream.
async fn answered(answers: Option<Answers>, deadline: Instant) -> Result<Option<Vec<SettleAnswer>>> {
    let Some(answers) = answers else { return Ok(None) };
    match timeout_at(deadline, answers).await {
        Ok(answers) => Ok(answers.ok().and_then(Result::ok)),
        Err(_) => {
            Err(Error::new(ErrorKind::Timeout, "the gateway did not answer in time")
                .with_effect(Effect::Unknown))
        }
    }
}

fn put(answers: &mut [Option<Result<Settled>>], failed: Vec<Unanswered>) {
    for (entry, error) in failed {
        put_one(answers, entry.place, Err(error));
    }
}

fn put_one(answers: &mut [Option<Result<Settled>>], place: usize, answer: Result<Settled>) {
    if let Some(slot) = answers.get_mut(place) {
        *slot = Some(answer);
    }
}

fn action(verb: Verb) -> SettleAction {
    match verb {
        Verb::Ack => SettleAction::Ack,
        Verb::Nack(nack) => SettleAction::Nack(nack),
        Verb::Reject { reason } => SettleAction::Reject { reason },
        Verb::Extend(lease) => SettleAction::Extend(lease),
        Verb::Release { counted } => SettleAction::Release { counted },
    }
}

/// What an answer means.
fn settled(answer: &SettleAnswer) -> Result<Settled> {
    let why = |otherwise: &str| answer.message.clone().unwrap_or_else(|| otherwise.to_owned());
    match answer.status {
        AckStatus::Acked => Ok(Settled::Acked),
        AckStatus::Nacked => Ok(Settled::Nacked),
        AckStatus::Rejected => Ok(Settled::Rejected),
        AckStatus::Extended => Ok(Settled::Extended),
        AckStatus::Released => Ok(Settled::Released),
        AckStatus::Stale => Ok(Settled::Stale),
        AckStatus::Unknown => Ok(Settled::Unknown),
        AckStatus::NotOwner => {
            Err(Error::new(ErrorKind::Denied, why("another principal received this message")))
        }
        AckStatus::Invalid => Err(Error::invalid(why("not a lease of this gateway"))),
        AckStatus::Unavailable => {
            Err(Error::unavailable(why("could not be settled")).with_effect(Effect::Unknown))
        }
    }
}

/// What the gateway's transport does not claim is refused here: the gateway could only say that it did not work out.
fn refuse_unclaimed(verb: &Verb, capabilities: &Capabilities) -> Result<()> {
    let refused = match verb {
        Verb::Nack(_) | Verb::Release { .. } if !capabilities.redelivery => "redelivery",
        Verb::Nack(Nack { delay: Some(_), .. }) if !capabilities.delayed_requeue => "delayed_requeue",
        Verb::Extend(_) if !capabilities.extend => "extend",
        Verb::Reject { .. } if !capabilities.dead_letters => "dead_letters",
        Verb::Ack | Verb::Nack(_) | Verb::Release { .. } | Verb::Extend(_) | Verb::Reject { .. } => {
            return Ok(());
        }
    };
    Err(Error::unsupported(format!("the gateway's transport has no {refused}")))
}
