//! Settling: what comes at the same time goes in one call per group.

use std::{borrow::Cow, collections::BTreeMap, sync::Arc, time::Duration};

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
    let Some(first) = entries.first() else { return Vec::new() };
    let (holder, life) = (&first.holder, first.token.life);
    if entries.iter().all(|entry| entry.holder == *holder && entry.token.life == life) {
        return settle_group(node, topic, holder, life, entries).await;
    }
    let mut groups: BTreeMap<(&Holder, u64), Vec<usize>> = BTreeMap::new();
    for (nth, entry) in entries.iter().enumerate() {
        groups.entry((&entry.holder, entry.token.life)).or_default().push(nth);
    }
    let calls = groups.into_iter().map(|((holder, life), places)| async move {
        let of_group: Vec<_> = places.iter().filter_map(|nth| entries.get(*nth).copied()).collect();
        (places, settle_group(node, topic, holder, life, &of_group).await)
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

async fn settle_group(
    node: &Node,
    topic: &Topic,
    holder: &Holder,
    life: u64,
    entries: &[&Entry],
) -> Vec<Result<Settled>> {
    match settle(node, topic, holder, life, entries).await {
        Ok(answers) => answers.into_iter().map(Ok).collect(),
        Err(error) => vec![Err(error); entries.len()],
    }
}

async fn settle(
    node: &Node,
    topic: &Topic,
    holder: &Holder,
    life: u64,
    entries: &[&Entry],
) -> Result<Vec<Settled>> {
    let here = topic.crews.lock().get(holder).map(Arc::clone);
    let backoffs = match &here {
        Some(crew) => crew.backoffs(entries.iter().map(|entry| (entry.token.entry, entry.epoch))),
        None => vec![None; entries.len()],
    };
    let group =
        here.as_ref().map_or_else(|| Cow::Owned(keys::group(holder)), |crew| Cow::Borrowed(&*crew.group));
    let side = here
        .as_ref()
        .map_or_else(|| Cow::Owned(topic.keys.of_group(&group)), |crew| Cow::Borrowed(&crew.keys));
    let [held, leases, delayed, ready, lanes] = &*side;
    let names = [topic.keys.stream.as_str(), &topic.keys.record, held, leases, delayed, ready, lanes];
    let order = by_epoch(entries, &backoffs);
    let arguments = |command: &mut Cmd| {
        command.arg(topic.mapped_flag()).arg(format!("{life:x}")).arg(&*group).arg(&topic.keys.channel);
        command.arg(&*group).arg(&node.name);
        match &order {
            Some(order) => write_acks(command, order),
            None => write_all(command, entries, &backoffs),
        }
    };
    let value = node.link.run_replicated(&script::SETTLE, &names, arguments).await?;
    let mut reply = match Reply::outcome("settle", value)? {
        Outcome::Done(reply) => reply,
        Outcome::Gone(_) => return Ok(vec![Settled::Unknown; entries.len()]),
        Outcome::Other(..) => return Err(error::nonsense("settle")),
    };
    let (codes, came_back) = (reply.parts()?.rest(), reply.flag()?);
    let done = done(&codes, entries.len(), order.as_deref()).ok_or_else(|| error::nonsense("settle"))?;
    if let Some(crew) = &here {
        let settled = entries.iter().zip(&done).filter(|(_, done)| **done).map(|(entry, _)| {
            let extended = entry.time.filter(|_| entry.done == Settled::Extended);
            (entry.token.entry, entry.epoch, extended)
        });
        crew.settled(settled, came_back);
    }
    let answer = |(entry, done): (&&Entry, bool)| if done { entry.done } else { Settled::Stale };
    Ok(entries.iter().zip(done).map(answer).collect())
}

/// Acks of what this node holds, each with its place in the batch, those of one epoch together; nothing when there is
/// something else among them.
fn by_epoch<'a>(entries: &[&'a Entry], held: &[Option<Duration>]) -> Option<Vec<(usize, &'a Entry)>> {
    if !entries.iter().zip(held).all(|(entry, held)| entry.done == Settled::Acked && held.is_some()) {
        return None;
    }
    let mut order: Vec<_> = entries.iter().copied().enumerate().collect();
    // It is stable: of an entry that is there twice the first one is settled.
    order.sort_by_key(|(_, entry)| entry.epoch);
    Some(order)
}

/// How many ids one command of a script can take.
const MOST_IDS: usize = 2000;

fn write_acks(command: &mut Cmd, order: &[(usize, &Entry)]) {
    for of_epoch in order.chunk_by(|(_, one), (_, next)| one.epoch == next.epoch) {
        for part in of_epoch.chunks(MOST_IDS) {
            let epoch = part.first().map_or(0, |(_, entry)| entry.epoch);
            command.arg(lease::epoch_text(epoch)).arg(part.len());
            for (_, entry) in part {
                command.arg(entry.token.entry);
            }
        }
    }
    command.arg("");
}

fn write_all(command: &mut Cmd, entries: &[&Entry], held: &[Option<Duration>]) {
    command.arg("");
    for (entry, ours) in entries.iter().zip(held) {
        command.arg(entry.token.entry).arg(lease::epoch_text(entry.epoch)).arg(entry.verb);
        let time = entry.time.or(*ours).and_then(|time| i64::try_from(time.as_millis()).ok());
        command.arg(time.unwrap_or(-1)).arg(u8::from(ours.is_none()));
    }
}

/// Which entries are done, in the order of the batch.
fn done(codes: &[Value], count: usize, order: Option<&[(usize, &Entry)]>) -> Option<Vec<bool>> {
    if codes.is_empty() {
        return Some(vec![true; count]);
    }
    if codes.len() != count {
        return None;
    }
    let mut done: Vec<_> = codes.iter().map(|code| *code == Value::Int(1)).collect();
    if let Some(order) = order {
        for ((nth, _), code) in order.iter().zip(codes) {
            *done.get_mut(*nth)? = *code == Value::Int(1);
        }
    }
    Some(done)
}
