//! Publishing: what comes at the same time goes in one call.

mod call;

use std::{
    pin::pin,
    sync::{Arc, atomic::Ordering},
    task::Poll,
};

use busgate_core::{Effect, Error, Message, Receipt, Result};
use tokio::sync::oneshot;

use self::call::{Added, Answer, publish};
use crate::{
    batch::{Hand, Job, Load, MOST},
    codec,
    crew::{Room, Taken},
    error,
    link::Line,
    node::Node,
    reply::Gone,
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

    async fn finish(&self, (mut jobs, answered): Self::Answer) {
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
        let counts: Vec<_> = jobs.iter().map(|job| job.messages.len()).collect();
        let mut answers = match answered {
            Ok(mut added) => {
                added.hand_over(&mut jobs);
                let last = added.places.iter().rev().find_map(|place| *place);
                last.into_iter().for_each(|last| self.topic.ring_for(last, added.rung));
                added.receipts.into_iter()
            }
            Err(error) => vec![Err(error); counts.iter().sum()].into_iter(),
        };
        for (job, count) in jobs.into_iter().zip(counts) {
            let answer = answers.by_ref().take(count).collect();
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

impl Added {
    /// Hands what was added to the group that has taken it.
    fn hand_over(&mut self, jobs: &mut [Publishing]) {
        let Some((room, epoch)) = self.taken.take() else { return };
        let messages = jobs.iter_mut().flat_map(|job| std::mem::take(&mut job.messages));
        let added = messages.zip(&self.places).filter_map(|(message, place)| Some((message, (*place)?)));
        let taken = added.enumerate().map(|(place, (message, id))| Taken {
            id,
            epoch,
            attempt: 1,
            place: u16::try_from(place).ok(),
            message: Arc::new(codec::as_read(message)),
        });
        room.fill(taken.collect());
    }
}

/// Whoever waits for messages here asks right behind them; other nodes are told by the server.
async fn publish_and_ring(
    node: &Node,
    topic: &Topic,
    messages: &[&Message],
    line: Option<Line>,
) -> Result<Answer> {
    let way = line.map(|line| {
        let room = room(topic, &line, messages);
        (line, room)
    });
    let crew = way.iter().find_map(|(_, room)| Some(Arc::clone(&room.as_ref()?.crew)));
    let mut publishing = pin!(publish(node, topic, messages, way));
    match futures_util::poll!(&mut publishing) {
        Poll::Ready(answered) => answered,
        Poll::Pending => {
            topic.ring_ahead_but(crew.as_ref());
            publishing.await
        }
    }
}

/// Room in a group here that can take them all at once; what has a key has to wait for its turn.
fn room(topic: &Topic, line: &Line, messages: &[&Message]) -> Option<Room> {
    if messages.iter().any(|message| message.key.is_some()) {
        return None;
    }
    topic.crews.lock().values().find_map(|crew| crew.room(line.number, messages.len()))
}

async fn publish_or_renew(node: &Node, topic: &Topic, messages: &[&Message]) -> Result<Box<Added>> {
    match publish(node, topic, messages, None).await? {
        Answer::Added(added) => Ok(added),
        Answer::Gone(gone) => renew(node, topic, messages, &gone).await,
        Answer::NoScript => Err(error::nonsense("publish")),
    }
}

/// An event that a server without its data does not know is registered anew, and published to once more.
async fn renew(node: &Node, topic: &Topic, messages: &[&Message], gone: &Gone) -> Result<Box<Added>> {
    let seen = topic.seen.lock().as_ref().map(|(life, _)| *life);
    if let Some(life) = seen
        && node.renew(topic, life, gone).await?.is_some()
        && let Answer::Added(added) = publish(node, topic, messages, None).await?
    {
        return Ok(added);
    }
    Err(error::not_registered(&topic.name))
}

/// What callers are told when nobody answers any more.
pub(super) fn unanswered() -> Error {
    error::closed().with_effect(Effect::Unknown)
}
