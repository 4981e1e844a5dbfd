//! The transport itself.

mod catalog;
mod lag;
pub(crate) mod publish;
pub(crate) mod settle;
mod subscribe;

use std::{collections::BTreeMap, sync::Arc};

use async_trait::async_trait;
use busgate_core::{
    Capabilities, ConsumerLag, Cursor, Error, EventConfig, EventInfo, EventName, Fencing, Health, Message,
    Page, Passed, Places, ReadRequest, Receipt, Result, Settled, Settlement, SubscribeOptions, Subscription,
    Tasks, Transport, Turn,
};

use self::{
    publish::Publishing,
    settle::{Entry, Settling},
};
use crate::{config::RedisConfig, crew::End, ear, error, link::Link, node::Node};

/// Redis Streams as a transport.
#[derive(Debug)]
pub struct RedisTransport {
    node: Arc<Node>,
    tasks: Tasks,
}

impl RedisTransport {
    /// What it can do, whatever its options are. How durable `durable` is, is the server's setting: see the README.
    pub const CAPABILITIES: Capabilities = Capabilities {
        durable: true,
        replay: true,
        replay_from_time: true,
        worker_pool: true,
        redelivery: true,
        delayed_requeue: true,
        extend: true,
        ordered: true,
        ordered_keys: true,
        dedup: true,
        resume: true,
        any_node_settle: true,
        fenced: Fencing::Exact,
        dead_letters: false,
    };

    /// Connects to the server that `config` names.
    ///
    /// # Errors
    /// `invalid` and `unsupported` for the configuration, `unauthenticated` for the credentials, `unavailable` when the
    /// server can't be reached in time.
    pub async fn connect(config: RedisConfig) -> Result<Arc<Self>> {
        config.validate()?;
        let node = Arc::new(Node::new(Link::open(Arc::new(config)).await?));
        let tasks = Tasks::new();
        let keeper = Arc::clone(&node);
        tasks.spawn(async move { keeper.link.keep().await });
        tasks.spawn(ear::run(Arc::clone(&node)));
        Ok(Arc::new(Self { node, tasks }))
    }

    async fn publish_portion(
        &self,
        event: &EventName,
        messages: Vec<Message>,
        turn: Option<Turn>,
    ) -> Vec<Result<Receipt>> {
        let count = messages.len();
        let all = |error: Error| vec![Err(error); count];
        let topic = match self.node.topic(event) {
            Ok(topic) => topic,
            Err(error) => return all(error),
        };
        let (job, answered) = Publishing::new(messages);
        match topic.publishing.add(job) {
            Ok(true) => drop(self.tasks.spawn(publish::run(Arc::clone(&self.node), Arc::clone(&topic)))),
            Ok(false) => {}
            Err(error) => return all(error),
        }
        drop(turn);
        let answers = answered.await.unwrap_or_else(|_| all(publish::unanswered()));
        if answers.iter().any(Result::is_ok) {
            let topic = self.node.keep(topic);
            if topic.seen.lock().is_none()
                && let Err(error) = self.node.learn(&topic).await
            {
                tracing::debug!(%error, %event, "can't learn what an event was registered with");
            }
        }
        answers
    }

    async fn settle_event(&self, event: &EventName, entries: Vec<Entry>) -> Vec<Result<Settled>> {
        let count = entries.len();
        let topic = match self.node.topic(event) {
            Ok(topic) => topic,
            Err(error) => return vec![Err(error); count],
        };
        let (job, answered) = Settling::new(entries);
        match topic.settling.add(job) {
            Ok(true) => drop(self.tasks.spawn(settle::run(Arc::clone(&self.node), topic))),
            Ok(false) => {}
            Err(error) => return vec![Err(error); count],
        }
        answered.await.unwrap_or_else(|_| vec![Err(publish::unanswered()); count])
    }
}

#[async_trait]
impl Transport for RedisTransport {
    fn capabilities(&self) -> Capabilities {
        Self::CAPABILITIES
    }

    async fn register(&self, event: &EventName, config: &EventConfig) -> Result<()> {
        config.validate()?;
        let topic = self.node.topic(event)?;
        self.node.register(&topic, config).await?;
        self.node.learn(&self.node.keep(topic)).await
    }

    async fn unregister(&self, event: &EventName) -> Result<()> {
        let topic = self.node.topic(event)?;
        self.node.unregister(&topic).await?;
        *topic.seen.lock() = None;
        topic.ring();
        Ok(())
    }

    async fn events(&self) -> Result<Vec<EventInfo>> {
        self.node.events().await
    }

    async fn publish_in_turn(
        &self,
        event: &EventName,
        batch: Vec<Message>,
        turn: Turn,
    ) -> Vec<Result<Receipt>> {
        let mut answers = Vec::with_capacity(batch.len());
        if batch.is_empty() {
            return answers;
        }
        let mut portions = publish::portions(batch).into_iter().peekable();
        let mut turn = Some(turn);
        // One after the other: a batch keeps its order.
        while let Some(portion) = portions.next() {
            let last = turn.take_if(|_| portions.peek().is_none());
            answers.extend(self.publish_portion(event, portion, last).await);
        }
        answers
    }

    async fn subscribe(
        self: Arc<Self>,
        event: &EventName,
        options: SubscribeOptions,
    ) -> Result<Subscription> {
        options.validate()?;
        let topic = self.node.topic(event)?;
        match options.mode.holder() {
            Some(holder) => self.join(topic, holder, &options).await,
            None => self.read_on(topic, &options.start).await,
        }
    }

    async fn read(&self, event: &EventName, request: ReadRequest) -> Result<Page> {
        if request.limit == 0 {
            return Err(Error::invalid("limit must be 1 or more"));
        }
        let topic = self.node.topic(event)?;
        self.node.page(&topic, &request).await
    }

    fn passed(&self, reader: &Cursor, message: &Cursor) -> Result<Passed> {
        Places::passed(reader, message)
    }

    async fn settle(&self, batch: Vec<Settlement>) -> Vec<Result<Settled>> {
        // Most batches are of one event.
        if let Some(first) = batch.first()
            && batch.iter().all(|settlement| settlement.token.event == first.token.event)
            && let Ok(entries) = batch.iter().map(Entry::new).collect()
        {
            return self.settle_event(&first.token.event, entries).await;
        }
        let mut answers: Vec<Option<Result<Settled>>> = Vec::with_capacity(batch.len());
        let mut by_event: BTreeMap<&EventName, (Vec<usize>, Vec<Entry>)> = BTreeMap::new();
        for (nth, settlement) in batch.iter().enumerate() {
            match Entry::new(settlement) {
                Ok(entry) => {
                    let (places, entries) = by_event.entry(&settlement.token.event).or_default();
                    places.push(nth);
                    entries.push(entry);
                    answers.push(None);
                }
                Err(error) => answers.push(Some(Err(error))),
            }
        }
        let calls = by_event.into_iter().map(|(event, (places, entries))| async move {
            (places, self.settle_event(event, entries).await)
        });
        for (places, settled) in futures_util::future::join_all(calls).await {
            for (nth, settled) in places.into_iter().zip(settled) {
                if let Some(answer) = answers.get_mut(nth) {
                    *answer = Some(settled);
                }
            }
        }
        answers.into_iter().map(|answer| answer.unwrap_or_else(|| Err(publish::unanswered()))).collect()
    }

    async fn health(&self) -> Health {
        match self.node.probe().await {
            Ok(taken) => Health::healthy().with("round_trip_us", &taken.as_micros()),
            Err(error) => Health::unhealthy(error.message()),
        }
    }

    async fn lag(&self, event: &EventName) -> Result<Vec<ConsumerLag>> {
        let topic = self.node.topic(event)?;
        self.node.lag(&topic).await
    }

    async fn close(&self) -> Result<()> {
        self.node.link.close();
        for topic in self.node.kept() {
            for crew in topic.crews.lock().values() {
                crew.end(&End::Failed(error::closed()));
            }
            topic.ring();
        }
        self.tasks.close().await;
        Ok(())
    }
}
