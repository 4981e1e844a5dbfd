//! Publishing: what comes at the same time goes in one call.

use std::{
    collections::HashSet,
    pin::pin,
    sync::{Arc, atomic::Ordering},
    task::Poll,
};

use busgate_core::{Effect, Error, Message, Receipt, Result};
use redis::Cmd;
use tokio::sync::oneshot;

use crate::{
    batch::{Hand, Job, Load, MOST},
    codec::{
        self,
        remembered::{self, Remembered},
    },
    error,
    id::EntryId,
    link::Line,
    node::Node,
    reply::{Gone, Outcome, Reply},
    script,
    topic::Topic,
};

/// Messages of one caller.
#[derive(Debug)]
pub(crate) struct Publishing {
    messages: Vec<Message>,
    bytes: usize,
    answer: oneshot::Sender<Vec<Result<Receipt>>>,
}

impl Publishing {
    pub(super) fn new(messages: Vec<Message>) -> (Self, oneshot::Receiver<Vec<Result<Receipt>>>) {
        let (answer, answered) = oneshot::channel();
        let bytes = messages.iter().map(Message::weight).sum();
        (Self { messages, bytes, answer }, answered)
    }
}

impl Job for Publishing {
    fn load(&self) -> Load {
        Load { pieces: self.messages.len(), bytes: self.bytes }
    }

    fn is_awaited(&self) -> bool {
        !self.answer.is_closed()
    }
}

/// Cuts a batch into portions that one call can carry.
pub(super) fn portions(batch: Vec<Message>) -> Vec<Vec<Message>> {
    let mut portions = Vec::new();
    let (mut portion, mut load) = (Vec::new(), Load::default());
    for message in batch {
        let more = Load { pieces: 1, bytes: message.weight() };
        if !portion.is_empty() && (load + more).exceeds(MOST) {
            portions.push(std::mem::take(&mut portion));
            load = Load::default();
        }
        load = load + more;
        portion.push(message);
    }
    portions.push(portion);
    portions
}

/// Who publishes for an event.
#[derive(Debug)]
struct Publisher {
    node: Arc<Node>,
    topic: Arc<Topic>,
}

impl Hand<Publishing> for Publisher {
    type Line = Line;
    type Answer = (Vec<Publishing>, Result<Answer>);

    /// One that the script is known on.
    fn line(&self) -> Option<Line> {
        let known = self.topic.published_on.load(Ordering::Relaxed);
        self.node.link.line_now().filter(|line| line.number == known)
    }

    async fn send(&self, jobs: Vec<Publishing>, line: Option<Line>) -> Self::Answer {
        let answered = publish_and_ring(&self.node, &self.topic, &messages(&jobs), line).await;
        (jobs, answered)
    }

    async fn finish(&self, (jobs, answered): Self::Answer) {
        // What has to be sent again goes before what is new: nothing goes beside it until one batch has gone well alone.
        let known = match &answered {
            Ok(Answer::Added(added)) => (!added.rung).then_some(added.number),
            _ => Some(0),
        };
        known.into_iter().for_each(|number| self.topic.published_on.store(number, Ordering::Relaxed));
        let answered = match answered {
            Ok(Answer::Added(added)) => Ok(added),
            Ok(Answer::Gone(gone)) => renew(&self.node, &self.topic, &messages(&jobs), &gone).await,
            Ok(Answer::NoScript) => publish_or_renew(&self.node, &self.topic, &messages(&jobs)).await,
            Err(error) => Err(error),
        };
        let mut answers = match answered {
            Ok(added) => {
                added.last.into_iter().for_each(|last| self.topic.ring_for(last, added.rung));
                added.receipts.into_iter()
            }
            Err(error) => {
                let count = jobs.iter().map(|job| job.messages.len()).sum();
                vec![Err(error); count].into_iter()
            }
        };
        for job in jobs {
            let answer = answers.by_ref().take(job.messages.len()).collect();
            // Whoever no longer waits for it does not need it.
            let _ = job.answer.send(answer);
        }
    }
}

/// Publishes batches until none waits.
pub(super) async fn run(node: Arc<Node>, topic: Arc<Topic>) {
    let publisher = Publisher { node, topic };
    publisher.topic.publishing.drive(&publisher).await;
}

fn messages(jobs: &[Publishing]) -> Vec<&Message> {
    jobs.iter().flat_map(|job| &job.messages).collect()
}

/// What came of a batch.
enum Answer {
    Added(Added),
    Gone(Gone),
    /// The server does not have the script, and nothing was done.
    NoScript,
}

/// What was added.
struct Added {
    receipts: Vec<Result<Receipt>>,
    /// The place of the last message.
    last: Option<EntryId>,
    /// The connection.
    number: u64,
    /// Whether whoever waits for messages here was told ahead.
    rung: bool,
}

/// Whoever waits for messages here asks right behind them; other nodes are told by the server.
async fn publish_and_ring(
    node: &Node,
    topic: &Topic,
    messages: &[&Message],
    line: Option<Line>,
) -> Result<Answer> {
    let mut publishing = pin!(publish(node, topic, messages, line));
    match futures_util::poll!(&mut publishing) {
        Poll::Ready(answered) => answered,
        Poll::Pending => {
            topic.ring_ahead();
            publishing.await
        }
    }
}

async fn publish_or_renew(node: &Node, topic: &Topic, messages: &[&Message]) -> Result<Added> {
    match publish(node, topic, messages, None).await? {
        Answer::Added(added) => Ok(added),
        Answer::Gone(gone) => renew(node, topic, messages, &gone).await,
        Answer::NoScript => Err(error::nonsense("publish")),
    }
}

/// An event that a server without its data does not know is registered anew, and published to once more.
async fn renew(node: &Node, topic: &Topic, messages: &[&Message], gone: &Gone) -> Result<Added> {
    let seen = topic.seen.lock().as_ref().map(|(life, _)| *life);
    if let Some(life) = seen
        && node.renew(topic, life, gone).await?.is_some()
        && let Answer::Added(added) = publish(node, topic, messages, None).await?
    {
        return Ok(added);
    }
    Err(error::not_registered(&topic.name))
}

async fn publish(node: &Node, topic: &Topic, messages: &[&Message], line: Option<Line>) -> Result<Answer> {
    let keys = &topic.keys;
    let [ids, earlier] = &keys.ids;
    let names = [keys.stream.as_str(), &keys.record, ids, earlier, &keys.marks];
    let defaults = &node.config().defaults;
    let arguments = |command: &mut Cmd| {
        command.arg(topic.mapped_flag()).arg(&keys.channel);
        command.arg(defaults.dedup_window.unwrap_or_default().as_millis()).arg(node.default_age());
        command.arg(defaults.retention_bytes.unwrap_or(0)).arg(defaults.retention_messages.unwrap_or(0));
        command.arg(node.config().max_ids).arg(&node.name).arg(messages.len());
        let ids: HashSet<_> = messages.iter().map(|message| &message.id).collect();
        command.arg(u8::from(ids.len() < messages.len()));
        let ids: Vec<_> = messages.iter().map(|message| Remembered::new(message.id.as_str())).collect();
        let (first, last) = remembered::made(&ids);
        command.arg(first).arg(last).arg(ids);
        codec::write(messages, command);
    };
    let call = script::PUBLISH.call(&names, arguments).replicated();
    let rung = line.is_some();
    let number;
    let value = match line {
        Some(line) => {
            number = line.number;
            node.link.run_beside(line, call).await?
        }
        None => {
            let line = node.link.line().await?;
            number = line.number;
            Some(node.link.run_on(line, call).await?)
        }
    };
    let Some(value) = value else { return Ok(Answer::NoScript) };
    let mut reply = match Reply::outcome("publish", value)? {
        Outcome::Done(reply) => reply,
        Outcome::Gone(gone) => return Ok(Answer::Gone(gone)),
        Outcome::Other(..) => return Err(error::nonsense("publish")),
    };
    let life = reply.life()?.ok_or_else(|| error::nonsense("publish"))?;
    let places = reply.text()?;
    let (mut receipts, mut last) = (Vec::with_capacity(messages.len()), None);
    for (message, place) in messages.iter().zip(places.split(' ')) {
        let first = place.strip_prefix('=');
        let id = first.unwrap_or(place).parse().map_err(|_| error::nonsense("publish"))?;
        if first.is_none() {
            last = Some(id);
        }
        let cursor = Some(topic.cursor(life, id)?);
        receipts.push(Ok(Receipt { id: message.id.clone(), cursor, duplicate: first.is_some() }));
    }
    if receipts.len() != messages.len() {
        return Err(error::nonsense("publish"));
    }
    Ok(Answer::Added(Added { receipts, last, number, rung }))
}

/// What callers are told when nobody answers any more.
pub(super) fn unanswered() -> Error {
    error::closed().with_effect(Effect::Unknown)
}
