//! Settling: what comes at the same time goes in one call per group.

mod acks;

use std::{collections::BTreeMap, pin::pin, sync::Arc, task::Poll, time::Duration};

use busgate_core::{Error, Holder, MAX_NACK_DELAY, Result, Settled, Settlement, Verb};
use futures_util::future::join_all;
use redis::{Cmd, Value};
use tokio::sync::oneshot;

use self::acks::{Ack, by_run, write_acks};
use crate::{
    batch::{Hand, Job, Load},
    crew::{Crew, Ours},
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
    fn load(&self) -> Load {
        Load { pieces: self.entries.len(), bytes: 64 * self.entries.len() }
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

    /// Whether the delivery is over then.
    fn ends(&self) -> bool {
        self.done != Settled::Extended
    }
}

/// Who settles for an event.
#[derive(Debug)]
struct Settler {
    node: Arc<Node>,
    topic: Arc<Topic>,
}

impl Hand<Settling> for Settler {
    /// Which batch is done first does not matter.
    type Line = ();
    type Answer = ();

    fn line(&self) -> Option<()> {
        Some(())
    }

    async fn send(&self, jobs: Vec<Settling>, _: Option<()>) {
        let entries: Vec<_> = jobs.iter().flat_map(|job| &job.entries).collect();
        let mut answers = settle_all(&self.node, &self.topic, &entries).await.into_iter();
        for job in jobs {
            let answer = answers.by_ref().take(job.entries.len()).collect();
            // Whoever no longer waits for it does not need it.
            let _ = job.answer.send(answer);
        }
    }

    async fn finish(&self, (): ()) {}
}

/// Settles batches until none waits.
pub(super) async fn run(node: Arc<Node>, topic: Arc<Topic>) {
    let settler = Settler { node, topic };
    settler.topic.settling.drive(&settler).await;
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
    let Some(crew) = here else {
        let group = keys::group(holder);
        let place = Place { group: &group, keys: &topic.keys.of_group(&group), crew: None };
        let held = vec![None; entries.len()];
        let (done, _) = tell(node, topic, &place, life, entries, &held).await?;
        return Ok(answers(entries, done));
    };
    let place = Place { group: &crew.group, keys: &crew.keys, crew: Some(&crew) };
    let deliveries = entries.iter().map(|entry| (entry.token.entry, entry.epoch, entry.ends()));
    let held = crew.settling(deliveries);
    let told = tell(node, topic, &place, life, entries, &held).await;
    let done = told.as_ref().map_or(&[][..], |(done, _)| done);
    let is_done = |nth: usize| done.get(nth).copied().unwrap_or_default();
    if done.is_empty() || done.iter().any(|done| !done) {
        let open = entries.iter().enumerate().filter(|(nth, _)| !is_done(*nth));
        crew.not_settled(open.map(|(_, entry)| (entry.token.entry, entry.epoch)));
    }
    let (done, came_back) = told?;
    let settled = entries.iter().zip(&done).filter(|(_, done)| **done).map(|(entry, _)| {
        let extended = entry.time.filter(|_| entry.done == Settled::Extended);
        (entry.token.entry, entry.epoch, extended)
    });
    crew.settled(settled, came_back);
    Ok(answers(entries, done))
}

/// Whose deliveries are settled.
struct Place<'a> {
    group: &'a str,
    keys: &'a [String; 6],
    crew: Option<&'a Crew>,
}

/// Tells the server; answers what of it is done, and whether something came back to the group.
async fn tell(
    node: &Node,
    topic: &Topic,
    place: &Place<'_>,
    life: u64,
    entries: &[&Entry],
    held: &[Option<Ours>],
) -> Result<(Vec<bool>, bool)> {
    let names = topic.keys.all(place.keys);
    let line = node.link.line().await?;
    let order = by_run(entries, held);
    let arguments = |command: &mut Cmd| {
        command.arg(topic.mapped_flag()).arg(format!("{life:x}")).arg(place.group).arg(&topic.keys.channel);
        command.arg(place.group).arg(&node.name);
        match &order {
            Some(order) => write_acks(command, order),
            None => write_all(command, entries, held),
        }
    };
    let call = script::SETTLE.call(&names, arguments).replicated();
    let mut telling = pin!(node.link.run_on(line, call));
    let value = match futures_util::poll!(&mut telling) {
        Poll::Ready(answer) => answer?,
        Poll::Pending => {
            place.crew.into_iter().for_each(Crew::ask_behind);
            telling.await?
        }
    };
    let mut reply = match Reply::outcome("settle", value)? {
        Outcome::Done(reply) => reply,
        Outcome::Gone(_) => return Ok((Vec::new(), false)),
        Outcome::Other(..) => return Err(error::nonsense("settle")),
    };
    let (codes, came_back) = (reply.parts()?.rest(), reply.flag()?);
    let done = done(&codes, entries.len(), order.as_deref()).ok_or_else(|| error::nonsense("settle"))?;
    Ok((done, came_back))
}

/// What callers are told; nothing is done of an event that is gone.
fn answers(entries: &[&Entry], done: Vec<bool>) -> Vec<Settled> {
    if done.is_empty() {
        return vec![Settled::Unknown; entries.len()];
    }
    let answer = |(entry, done): (&&Entry, bool)| if done { entry.done } else { Settled::Stale };
    entries.iter().zip(done).map(answer).collect()
}

fn write_all(command: &mut Cmd, entries: &[&Entry], held: &[Option<Ours>]) {
    command.arg("");
    for (entry, ours) in entries.iter().zip(held) {
        command.arg(entry.token.entry).arg(lease::epoch_text(entry.epoch)).arg(entry.verb);
        let time = entry.time.or_else(|| ours.map(|ours| ours.backoff));
        let time = time.and_then(|time| i64::try_from(time.as_millis()).ok());
        command.arg(time.unwrap_or(-1)).arg(u8::from(ours.is_none()));
    }
}

/// Which entries are done, in the order of the batch.
fn done(codes: &[Value], count: usize, order: Option<&[Ack<'_>]>) -> Option<Vec<bool>> {
    if codes.is_empty() {
        return Some(vec![true; count]);
    }
    if codes.len() != count {
        return None;
    }
    let mut done: Vec<_> = codes.iter().map(|code| *code == Value::Int(1)).collect();
    if let Some(order) = order {
        for (ack, code) in order.iter().zip(codes) {
            *done.get_mut(ack.nth)? = *code == Value::Int(1);
        }
    }
    Some(done)
}
