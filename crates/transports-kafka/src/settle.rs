//! Settling: by whoever reads the partition, on whichever node that is.
//!
//! What is read here is settled here. Everything else goes through a topic of ours that all nodes read from its end: the
//! owner settles it, commits, and answers in the same topic. Who gets no answer asks again; where nobody has the group at
//! all, this node joins it. So the death of an owner leaves nothing behind: the next one answers.

mod record;
mod relay;

use std::{collections::HashMap, sync::Arc, time::Duration};

use busgate_core::{Effect, Error, ErrorKind, EventName, Holder, Result, Settled, Settlement, Verb};
use tokio::time::{Instant, timeout_at};

pub(crate) use self::relay::Relay;
use crate::{
    error::RETRY,
    group::{Ask, Crew, Groups},
    lease::Entry,
};

/// How long the first question to other nodes waits for its answer; later ones wait longer.
const FIRST_WAIT: Duration = Duration::from_millis(200);

/// The longest wait of one question.
const LONGEST_WAIT: Duration = Duration::from_secs(2);

/// The answers of a batch, in its order.
type Answers = Vec<Option<Result<Settled>>>;

impl Groups {
    /// Settles; the answers are in the order of the settlements.
    pub(crate) async fn settle(&self, batch: Vec<Settlement>) -> Vec<Result<Settled>> {
        let mut answers: Answers = batch.iter().map(|_| None).collect();
        let mut by_holder: HashMap<(&EventName, &Holder), Vec<Ask>> = HashMap::new();
        for (index, settlement) in batch.iter().enumerate() {
            let Settlement { token, verb } = settlement;
            let entry = match verb {
                Verb::Reject { .. } => Err(Error::unsupported("kafka keeps no dead letters of its own")),
                _ => Entry::parse(&token.entry),
            };
            match entry {
                Ok(entry) => {
                    let ask = Ask { index, entry, epoch: token.epoch, verb: verb.clone() };
                    by_holder.entry((&token.event, &token.holder)).or_default().push(ask);
                }
                Err(error) => put(&mut answers, index, Err(error)),
            }
        }
        for ((event, holder), asks) in by_holder {
            self.settle_of(event, holder, asks, &mut answers).await;
        }
        let silent = || Err(Error::internal("no answer to a settlement"));
        answers.into_iter().map(|answer| answer.unwrap_or_else(silent)).collect()
    }

    /// Settles what belongs to one holder.
    async fn settle_of(&self, event: &EventName, holder: &Holder, asks: Vec<Ask>, answers: &mut Answers) {
        let Some(asks) = self.settle_here(event, holder, asks, answers).await else { return };
        let deadline = Instant::now() + self.shared.config.timeout;
        let indexes: Vec<_> = asks.iter().map(|ask| ask.index).collect();
        let settling = self.settle_anywhere(event, holder, asks, deadline, answers);
        let failed = match timeout_at(deadline, settling).await {
            Ok(Ok(())) => return,
            Ok(Err(error)) => error,
            Err(_) => Error::unavailable("no node that reads the message answered in time")
                .with_effect(Effect::Unknown)
                .with_retry_after(RETRY),
        };
        for index in indexes {
            if answers.get(index).is_some_and(Option::is_none) {
                put(answers, index, Err(failed.clone()));
            }
        }
    }

    /// Settles what is read here; the rest, if there is any.
    async fn settle_here(
        &self,
        event: &EventName,
        holder: &Holder,
        mut asks: Vec<Ask>,
        answers: &mut Answers,
    ) -> Option<Vec<Ask>> {
        if let Some(crew) = self.find(event, holder) {
            for (index, settled) in settle_with(&crew, &asks).await {
                put(answers, index, Ok(settled));
            }
            asks.retain(|ask| answers.get(ask.index).is_some_and(Option::is_none));
        }
        (!asks.is_empty()).then_some(asks)
    }

    /// Settles wherever the partitions are read, now or in a while.
    async fn settle_anywhere(
        &self,
        event: &EventName,
        holder: &Holder,
        mut asks: Vec<Ask>,
        deadline: Instant,
        answers: &mut Answers,
    ) -> Result<()> {
        let found = match self.shared.registry.find(&self.shared, event).await {
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            found => Some(found?),
        };
        let is_of_now = |ask: &Ask| found.as_ref().is_some_and(|event| event.life == ask.entry.life);
        for ask in asks.extract_if(.., |ask| !is_of_now(ask)) {
            put(answers, ask.index, Ok(Settled::Unknown));
        }
        let Some(found) = found.filter(|_| !asks.is_empty()) else { return Ok(()) };
        self.relay.open(&self.shared).await?;
        let (call, mut wait) = (self.relay.call(), FIRST_WAIT);
        loop {
            if let Some(crew) = self.find(event, holder) {
                // One that is just joining may get the partitions.
                let _ = timeout_at(deadline, crew.opened()).await;
            }
            let Some(rest) = self.settle_here(event, holder, asks, answers).await else { return Ok(()) };
            let until = (Instant::now() + wait).min(deadline);
            let asked = self.relay.ask(&self.shared, &call, event, holder, &rest, until).await?;
            for (index, settled) in asked.settled {
                put(answers, index, Ok(settled));
            }
            asks = rest;
            asks.retain(|ask| answers.get(ask.index).is_some_and(Option::is_none));
            if asks.is_empty() {
                return Ok(());
            }
            if !asked.is_heard && self.find(event, holder).is_none() {
                match self.visit(&found, holder).await {
                    Err(error) if error.kind() == ErrorKind::NotFound => {
                        asks.iter().for_each(|ask| put(answers, ask.index, Ok(Settled::Unknown)));
                        return Ok(());
                    }
                    visited => visited?,
                }
            }
            wait = (wait * 2).min(LONGEST_WAIT);
        }
    }
}

/// Settles with a crew of this node what it reads; an answer that has to last is given once it does.
pub(crate) async fn settle_with(crew: &Arc<Crew>, asks: &[Ask]) -> Vec<(usize, Settled)> {
    let settling = crew.settle(asks);
    let mut answers = settling.answers;
    if let Some(committed) = settling.committed
        && committed.await == Ok(true)
    {
        answers.extend(settling.pending);
    }
    answers
}

fn put(answers: &mut [Option<Result<Settled>>], index: usize, answer: Result<Settled>) {
    if let Some(slot) = answers.get_mut(index) {
        *slot = Some(answer);
    }
}
