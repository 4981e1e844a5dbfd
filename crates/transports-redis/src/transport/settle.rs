//! Settling: what comes at the same time goes in one call per group.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use busgate_core::{Error, Holder, MAX_NACK_DELAY, Result, Settled, Settlement, Verb};
use futures_util::future::join_all;
use redis::{Cmd, Value};
use tokio::sync::oneshot;

use crate::{
    batch::Job,
    error, keys,
    lease::{self, Token},
    node::Node,
    reply::{Outcome, Reply},
    script,
    topic::Topic,
};

/// Settlements of one caller on one event.
#[derive(Debug)]
pub(crate) struct Settling {
    entries: Vec<Entry>,
    answer: oneshot::Sender<Vec<Result<Settled>>>,
}

/// One settlement, as the script is told.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    holder: Holder,
    token: Token,
    epoch: u64,
    verb: &'static str,
    /// A delay or a length; `None` leaves a delay to the policy of the delivery.
    time: Option<Duration>,
    done: Settled,
}

impl Settling {
    pub(super) fn new(entries: Vec<Entry>) -> (Self, oneshot::Receiver<Vec<Result<Settled>>>) {
        let (answer, answered) = oneshot::channel();
        (Self { entries, answer }, answered)
    }
}

impl Job for Settling {
    fn pieces(&self) -> usize {
        self.entries.len()
    }

    fn bytes(&self) -> usize {
        64 * self.entries.len()
    }

    fn is_awaited(&self) -> bool {
        !self.answer.is_closed()
    }
}

impl Entry {
    /// # Errors
    /// `invalid` for a token that is not one of ours, `unsupported` for a reject.
    pub(super) fn new(settlement: &Settlement) -> Result<Self> {
        let token = Token::parse(&settlement.token.entry)?;
        let none = Some(Duration::ZERO);
        let (verb, time, done) = match &settlement.verb {
            Verb::Ack => ("ack", none, Settled::Acked),
            Verb::Nack(nack) => ("nack", nack.delay.map(|delay| delay.min(MAX_NACK_DELAY)), Settled::Nacked),
            Verb::Extend(duration) => ("extend", Some(*duration), Settled::Extended),
            Verb::Release { counted: true } => ("release", none, Settled::Released),
            Verb::Release { counted: false } => ("forget", none, Settled::Released),
            Verb::Reject { .. } => {
                return Err(Error::unsupported("redis has no dead letters: they are the gateway's"));
            }
        };
        let holder = settlement.token.holder.clone();
        Ok(Self { holder, token, epoch: settlement.token.epoch, verb, time, done })
    }
}

/// Settles batches until none waits.
pub(super) async fn run(node: Arc<Node>, topic: Arc<Topic>) {
    while let Some(jobs) = topic.settling.next() {
        let entries: Vec<_> = jobs.iter().flat_map(|job| &job.entries).collect();
        let mut answers = settle_all(&node, &topic, &entries).await.into_iter();
        for job in jobs {
            let answer = answers.by_ref().take(job.entries.len()).collect();
            // Whoever no longer waits for it does not need it.
            let _ = job.answer.send(answer);
        }
    }
}

async fn settle_all(node: &Node, topic: &Topic, entries: &[&Entry]) -> Vec<Result<Settled>> {
    let mut groups: BTreeMap<(&Holder, u64), Vec<usize>> = BTreeMap::new();
    for (nth, entry) in entries.iter().enumerate() {
        groups.entry((&entry.holder, entry.token.life)).or_default().push(nth);
    }
    let calls = groups.into_iter().map(|((holder, life), places)| async move {
        let of_group: Vec<_> = places.iter().filter_map(|nth| entries.get(*nth).copied()).collect();
        let answers = match settle(node, topic, holder, life, &of_group).await {
            Ok(answers) => answers.into_iter().map(Ok).collect(),
            Err(error) => vec![Err(error); places.len()],
        };
        (places, answers)
    });
    let mut all: Vec<_> = entries.iter().map(|_| Err(error::nonsense("settle"))).collect();
    for (places, answers) in join_all(calls).await {
        for (nth, answer) in places.into_iter().zip(answers) {
            if let Some(slot) = all.get_mut(nth) {
                *slot = answer;
            }
        }
    }
    all
}

async fn settle(
    node: &Node,
    topic: &Topic,
    holder: &Holder,
    life: u64,
    entries: &[&Entry],
) -> Result<Vec<Settled>> {
    let group = keys::group(holder);
    let side = topic.keys.of_group(&group);
    let [held, leases, delayed, ready, lanes] = &side;
    let names = [topic.keys.stream.as_str(), &topic.keys.record, held, leases, delayed, ready, lanes];
    let crew = topic.crews.lock().get(holder).map(Arc::clone);
    let backoffs = match &crew {
        Some(crew) => crew.backoffs(entries.iter().map(|entry| (entry.token.entry, entry.epoch))),
        None => vec![None; entries.len()],
    };
    let arguments = |command: &mut Cmd| {
        command.arg(topic.mapped_flag()).arg(format!("{life:x}")).arg(&group).arg(&topic.keys.channel);
        command.arg(&group).arg(&node.name);
        for (entry, ours) in entries.iter().zip(&backoffs) {
            command.arg(entry.token.entry.to_string()).arg(lease::epoch_text(entry.epoch)).arg(entry.verb);
            let time = entry.time.or(*ours).and_then(|time| i64::try_from(time.as_millis()).ok());
            command.arg(time.unwrap_or(-1)).arg(u8::from(ours.is_none()));
        }
    };
    let value = node.link.run_replicated(&script::SETTLE, &names, arguments).await?;
    let mut reply = match Reply::outcome("settle", value)? {
        Outcome::Done(reply) => reply,
        Outcome::Gone(_) => return Ok(vec![Settled::Unknown; entries.len()]),
        Outcome::Other(..) => return Err(error::nonsense("settle")),
    };
    let (codes, came_back) = (reply.parts()?.rest(), reply.flag()?);
    if codes.len() != entries.len() {
        return Err(error::nonsense("settle"));
    }
    let done: Vec<_> = codes.iter().map(|code| *code == Value::Int(1)).collect();
    if let Some(crew) = crew {
        let settled = entries.iter().zip(&done).filter(|(_, done)| **done).map(|(entry, _)| {
            let extended = entry.time.filter(|_| entry.done == Settled::Extended);
            (entry.token.entry, entry.epoch, extended)
        });
        crew.settled(settled, came_back);
    }
    let answer = |(entry, done): (&&Entry, bool)| if done { entry.done } else { Settled::Stale };
    Ok(entries.iter().zip(done).map(answer).collect())
}
