//! Settling across nodes: by the node that handed a message out while it lives, and by the message's record when it is gone.

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use async_nats::{Message, Subscriber};
use busgate_core::{Error, LeaseToken, Result, Settled, Verb};
use futures_util::StreamExt;

use super::{
    Node,
    question::{self, Question},
};
use crate::{error, name, token::Place};

/// How long another node may take to settle what it handed out.
const NODE_PATIENCE: Duration = Duration::from_secs(2);

impl Node {
    pub(super) async fn hear_questions(self: &Arc<Self>) -> Result<()> {
        let questions = self.link.subscribe(self.subject_of(self.owner)).await?;
        self.tasks.spawn(answer(Arc::downgrade(self), questions));
        Ok(())
    }

    fn subject_of(&self, owner: u64) -> String {
        format!("{}_busgate.node.{owner:x}", self.config.prefix)
    }

    /// Settles one token, wherever it was handed out.
    pub(crate) async fn settle(self: &Arc<Self>, token: &LeaseToken, verb: &Verb) -> Result<Settled> {
        if matches!(verb, Verb::Reject { .. }) {
            return Err(Error::unsupported("dead letters are kept by the gateway"));
        }
        let place = Place::from_entry(&token.entry)?;
        if place.owner == self.owner {
            return self.settle_own(token, place, verb).await;
        }
        let question = Question::new(token, verb);
        let text = serde_json::to_vec(&question);
        let text =
            text.map_err(|cause| Error::internal("a settlement can't be written").with_source(cause))?;
        let subject = self.subject_of(place.owner).into();
        match self.link.ask_node(subject, text.into(), NODE_PATIENCE).await? {
            Some(answer) => question::read_answer(&answer),
            None => self.settle_orphan(token, place, verb).await,
        }
    }

    async fn settle_own(&self, token: &LeaseToken, place: Place, verb: &Verb) -> Result<Settled> {
        match self
            .crews
            .of(&token.event, &token.holder)
            .filter(|crew| crew.event.life == place.life && crew.event.ended().is_none())
        {
            Some(crew) => crew.settle(place.sequence, token.epoch, verb).await,
            None => Ok(Settled::Unknown),
        }
    }

    /// Settles what a node handed out that is gone.
    async fn settle_orphan(
        self: &Arc<Self>,
        token: &LeaseToken,
        place: Place,
        verb: &Verb,
    ) -> Result<Settled> {
        let event = match self.catalog.find(&token.event).await {
            Ok(event) if event.life == place.life => event,
            Ok(_) => return Ok(Settled::Unknown),
            Err(refused) if error::is_not_found(&refused) => return Ok(Settled::Unknown),
            Err(refused) => return Err(refused),
        };
        let crew = match self.crews.of(&token.event, &token.holder) {
            Some(crew) if crew.event.ended().is_none() => crew,
            _ => match self.link.consumer(&event.stream, &name::consumer(&token.holder)).await? {
                Some(info) => self.keep(&event, &token.holder, &info, info.delivered.stream_seq),
                None => return Ok(Settled::Unknown),
            },
        };
        crew.settle_orphan(place.sequence, token.epoch, verb).await
    }

    /// Answers another node's question.
    async fn reply(self: Arc<Self>, message: Message) {
        let Some(reply) = message.reply else { return };
        let settled = match question::read(&message.payload) {
            Ok((token, verb)) => match Place::from_entry(&token.entry) {
                Ok(place) if place.owner == self.owner => self.settle_own(&token, place, &verb).await,
                Ok(_) => Err(error::foreign_token()),
                Err(error) => Err(error),
            },
            Err(error) => Err(error),
        };
        let _ = self.link.post(reply, question::write_answer(&settled));
    }
}

/// Answers what other nodes ask, each question for itself.
async fn answer(node: Weak<Node>, mut questions: Subscriber) {
    while let Some(message) = questions.next().await {
        let Some(node) = node.upgrade() else { return };
        let task = Arc::clone(&node).reply(message);
        node.tasks.spawn(task);
    }
}
