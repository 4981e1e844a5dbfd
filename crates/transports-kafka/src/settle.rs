//! Settling: by whoever reads the partition, on whichever node that is.
//!
//! What is read here is settled here. Everything else goes through a topic of ours that all nodes read from its end: the
//! owner settles it, commits, and answers in the same topic. Who gets no answer asks again; where nobody has the group at
//! all, this node joins it. So the death of an owner leaves nothing behind: the next one answers.

mod record;
mod relay;

use std::{collections::HashMap, sync::Arc, time::Duration};

use busgate_core::{Effect, Error, ErrorKind, EventName, Holder, Result, Settled, Settlement, Verb};
use futures_util::future::{join, join_all};
use tokio::time::{Instant, timeout_at};

pub(crate) use self::relay::Relay;
use crate::{
    error::RETRY,
    group::{Ask, Crew, Groups},
    lease::Entry,
};

/// How long the first question to other nodes waits for its answer; later ones wait longer.
const FIRST_WAIT: Duration = Duration::from_millis(200);

/// How long a question has to stay unanswered before this node joins the group itself.
const SILENCE: Duration = Duration::from_millis(400);

/// The longest wait of one question.
const LONGEST_WAIT: Duration = Duration::from_secs(2);

/// The answers so far, by their place in the batch.
type Answers = HashMap<usize, Result<Settled>>;

impl Groups {
    /// Settles; the answers are in the order of the settlements.
    pub(crate) async fn settle(&self, batch: Vec<Settlement>) -> Vec<Result<Settled>> {
        let mut answers = Answers::with_capacity(batch.len());
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
                Err(error) => drop(answers.insert(index, Err(error))),
            }
        }
        let mut by_holder = by_holder.into_iter();
        let mut settle_next =
            || by_holder.next().map(|((event, holder), asks)| self.settle_of(event, holder, asks));
        // Nearly always it is all of one holder.
        if let Some(first) = settle_next() {
            let others = join_all(std::iter::from_fn(settle_next));
            let (settled, others) = join(first, others).await;
            answers.extend(others.into_iter().flatten());
            answers.extend(settled);
        }
        let silent = || Err(Error::internal("no answer to a settlement"));
        (0..batch.len()).map(|index| answers.remove(&index).unwrap_or_else(silent)).collect()
    }

    /// Settles what belongs to one holder, within the time of a call.
    async fn settle_of(&self, event: &EventName, holder: &Holder, asks: Vec<Ask>) -> Answers {
        let deadline = Instant::now() + self.shared.config.timeout;
        let indexes: Vec<_> = asks.iter().map(|ask| ask.index).collect();
        let mut answers = Answers::with_capacity(asks.len());
        let settling = async {
            match self.settle_here(event, holder, asks, &mut answers).await {
                // What rarely happens need not make every settlement larger.
                Some(rest) => {
                    Box::pin(self.settle_anywhere(event, holder, rest, deadline, &mut answers)).await
                }
                None => Ok(()),
            }
        };
        let failed = match timeout_at(deadline, settling).await {
            Ok(Ok(())) => return answers,
            Ok(Err(error)) => error,
            Err(_) => Error::unavailable("no node that reads the message could settle it in time")
                .with_effect(Effect::Unknown)
                .with_retry_after(RETRY),
        };
        for index in indexes {
            answers.entry(index).or_insert_with(|| Err(failed.clone()));
        }
        answers
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
                answers.insert(index, Ok(settled));
            }
            asks.retain(|ask| !answers.contains_key(&ask.index));
        }
        (!asks.is_empty()).then_some(asks)
    }

    /// Settles what is not read here, wherever the partitions are read, now or in a while.
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
        answers.extend(asks.iter().filter(|ask| !is_of_now(ask)).map(unknown));
        asks.retain(is_of_now);
        let Some(found) = found.filter(|_| !asks.is_empty()) else { return Ok(()) };
        self.relay.open(&self.shared).await?;
        let (mut call, mut wait) = (self.relay.call(), FIRST_WAIT);
        loop {
            let until = (Instant::now() + wait).min(deadline);
            let asked = self.relay.ask(&self.shared, &mut call, event, holder, &asks, until).await?;
            answers.extend(asked.settled.into_iter().map(|(index, settled)| (index, Ok(settled))));
            asks.retain(|ask| !answers.contains_key(&ask.index));
            if asks.is_empty() {
                return Ok(());
            }
            // Whoever joins moves partitions: not before it is sure that nobody answers.
            if !asked.is_heard && wait >= SILENCE && self.find(event, holder).is_none() {
                match self.visit(&found, holder).await {
                    Err(error) if error.kind() == ErrorKind::NotFound => {
                        answers.extend(asks.iter().map(unknown));
                        return Ok(());
                    }
                    visited => visited?,
                }
            }
            if let Some(crew) = self.find(event, holder) {
                // One that is just joining may get the partitions.
                let _ = timeout_at(deadline, crew.opened()).await;
            }
            // What another node did of this call would be stale here.
            answers.extend(call.late().into_iter().map(|(index, settled)| (index, Ok(settled))));
            asks.retain(|ask| !answers.contains_key(&ask.index));
            match self.settle_here(event, holder, asks, answers).await {
                Some(rest) => asks = rest,
                None => return Ok(()),
            }
            wait = (wait * 2).min(LONGEST_WAIT);
        }
    }
}

fn unknown(ask: &Ask) -> (usize, Result<Settled>) {
    (ask.index, Ok(Settled::Unknown))
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
