//! Publishing: what comes at the same time goes in one call.

use std::{pin::pin, sync::Arc, task::Poll};

use busgate_core::{Effect, Error, Message, Receipt, Result};
use redis::Cmd;
use tokio::sync::oneshot;

use crate::{
    batch::{Job, MOST},
    codec, error,
    id::EntryId,
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
    fn pieces(&self) -> usize {
        self.messages.len()
    }

    fn bytes(&self) -> usize {
        self.bytes
    }

    fn is_awaited(&self) -> bool {
        !self.answer.is_closed()
    }
}

/// Cuts a batch into portions that one call can carry.
pub(super) fn portions(batch: Vec<Message>) -> Vec<Vec<Message>> {
    let mut portions = Vec::new();
    let (mut portion, mut bytes) = (Vec::new(), 0);
    for message in batch {
        let weight = message.weight();
        if !portion.is_empty() && (portion.len() == MOST.0 || bytes + weight > MOST.1) {
            portions.push(std::mem::take(&mut portion));
            bytes = 0;
        }
        bytes += weight;
        portion.push(message);
    }
    portions.push(portion);
    portions
}

/// Publishes batches until none waits.
pub(super) async fn run(node: Arc<Node>, topic: Arc<Topic>) {
    while let Some(jobs) = topic.publishing.next() {
        let messages: Vec<_> = jobs.iter().flat_map(|job| &job.messages).collect();
        let mut answers = match publish_and_ring(&node, &topic, &messages).await {
            Ok(receipts) => receipts.into_iter(),
            Err(error) => vec![Err(error); messages.len()].into_iter(),
        };
        for job in jobs {
            let answer = answers.by_ref().take(job.messages.len()).collect();
            // Whoever no longer waits for it does not need it.
            let _ = job.answer.send(answer);
        }
    }
}

/// Whoever waits for messages here asks right behind them; other nodes are told by the server.
async fn publish_and_ring(node: &Node, topic: &Topic, messages: &[&Message]) -> Result<Vec<Result<Receipt>>> {
    let mut publishing = pin!(publish_or_renew(node, topic, messages));
    let answered = match futures_util::poll!(&mut publishing) {
        Poll::Ready(answered) => answered,
        Poll::Pending => {
            topic.ring_ahead();
            publishing.await
        }
    };
    let (receipts, last) = answered?;
    last.into_iter().for_each(|last| topic.ring_for(last));
    Ok(receipts)
}

/// An event that a server without its data does not know is registered anew, and published to once more.
async fn publish_or_renew(node: &Node, topic: &Topic, messages: &[&Message]) -> Result<Receipts> {
    let gone = match publish(node, topic, messages).await? {
        Ok(receipts) => return Ok(receipts),
        Err(gone) => gone,
    };
    let seen = topic.seen.lock().as_ref().map(|(life, _)| *life);
    if let Some(life) = seen
        && node.renew(topic, life, &gone).await?.is_some()
    {
        return publish(node, topic, messages).await?.map_err(|_| error::not_registered(&topic.name));
    }
    Err(error::not_registered(&topic.name))
}

/// Receipts, and the place of the last message that was added.
type Receipts = (Vec<Result<Receipt>>, Option<EntryId>);

async fn publish(node: &Node, topic: &Topic, messages: &[&Message]) -> Result<Result<Receipts, Gone>> {
    let keys = &topic.keys;
    let [ids, earlier] = &keys.ids;
    let names = [keys.stream.as_str(), &keys.record, ids, earlier, &keys.marks];
    let defaults = &node.config().defaults;
    let arguments = |command: &mut Cmd| {
        command.arg(topic.mapped_flag()).arg(&keys.channel);
        command.arg(defaults.dedup_window.unwrap_or_default().as_millis()).arg(node.default_age());
        command.arg(defaults.retention_bytes.unwrap_or(0)).arg(defaults.retention_messages.unwrap_or(0));
        command.arg(node.config().max_ids).arg(&node.name).arg(messages.len());
        for message in messages {
            command.arg(message.weight());
            codec::write(message, command);
        }
    };
    let value = node.link.run_replicated(&script::PUBLISH, &names, arguments).await?;
    let mut reply = match Reply::outcome("publish", value)? {
        Outcome::Done(reply) => reply,
        Outcome::Gone(gone) => return Ok(Err(gone)),
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
    Ok(Ok((receipts, last)))
}

/// What callers are told when nobody answers any more.
pub(super) fn unanswered() -> Error {
    error::closed().with_effect(Effect::Unknown)
}
