//! This node among the others: its crews, and what nodes tell each other.
//!
//! Nodes need each other only while they live: a token is settled by the node that handed it out, and by its record
//! when that node is gone.

use std::{collections::HashMap, sync::Arc, time::Duration};

use async_nats::{Message, Subscriber};
use busgate_core::{
    ConsumerLag, Error, EventName, Gap, Holder, LeaseToken, Result, Settled, SubscribeOptions, Tasks, Verb,
};
use futures_util::{StreamExt, future::join_all};
use parking_lot::Mutex;
use tokio::time::timeout;

use crate::{
    api::ConsumerInfo,
    catalog::Catalog,
    config::NatsConfig,
    consumer,
    crew::{self, Crew},
    error,
    event::{End, Event},
    link::Link,
    name,
    records::Records,
    start::{known_stream, locate},
    token::Place,
};

mod wire;

use self::wire::{News, Question};

/// How long another node may take to settle what it handed out.
const NODE_PATIENCE: Duration = Duration::from_secs(2);

/// How long a node may take to say goodbye.
const GOODBYE: Duration = Duration::from_secs(2);

/// One gateway process.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) link: Arc<Link>,
    pub(crate) catalog: Catalog,
    pub(crate) records: Arc<Records>,
    pub(crate) config: NatsConfig,
    /// Its number, as tokens name it: another in every process.
    pub(crate) owner: u64,
    crews: Mutex<HashMap<(EventName, Holder), Arc<Crew>>>,
    tasks: Tasks,
}

impl Node {
    pub(crate) async fn start(config: NatsConfig) -> Result<Arc<Self>> {
        let link = Link::connect(&config).await?;
        let records = Arc::new(Records::new(Arc::clone(&link), &config));
        let catalog = Catalog::new(Arc::clone(&link), config.clone());
        let (owner, tasks) = (name::fresh(), Tasks::new());
        let node = Self { link, catalog, records, config, owner, crews: Mutex::default(), tasks };
        let node = Arc::new(node);
        node.listen().await?;
        Ok(node)
    }

    async fn listen(self: &Arc<Self>) -> Result<()> {
        let refused = |cause| error::away().with_source(cause);
        let questions = self.link.client.subscribe(self.subject_of(self.owner)).await.map_err(refused)?;
        let news = self.link.client.subscribe(self.news()).await.map_err(refused)?;
        self.tasks.spawn(answer(Arc::downgrade(self), questions));
        self.tasks.spawn(follow(Arc::downgrade(self), news));
        Ok(())
    }

    fn subject_of(&self, owner: u64) -> String {
        format!("{}_busgate.node.{owner:x}", self.config.prefix)
    }

    fn news(&self) -> String {
        format!("{}_busgate.news", self.config.prefix)
    }

    /// Tells all other nodes. Whoever does not hear it finds out later.
    pub(crate) fn announce(&self, news: &News) {
        if let Ok(text) = serde_json::to_vec(news) {
            let _ = self.link.post(self.news().into(), text.into());
        }
    }

    /// What was unregistered: its subscriptions end, on every node.
    pub(crate) async fn bury(&self, event: &Event) {
        self.announce(&News::Gone { from: self.owner, event: event.name.to_string() });
        self.crews.lock().retain(|_, crew| crew.event.ended().is_none());
        // What is left of it goes by its age.
        let _ = self.records.forget_all(&event.stream).await;
    }

    /// Takes a subscription into its crew; its serial.
    pub(crate) async fn join(
        self: &Arc<Self>,
        event: &Arc<Event>,
        holder: &Holder,
        options: &SubscribeOptions,
    ) -> Result<(Arc<Crew>, u64)> {
        // Now, and not when the first message comes back.
        self.records.ensure().await?;
        let consumer = name::consumer(holder);
        let (info, gap, seen) = match self.link.consumer(&event.stream, &consumer).await? {
            Some(info) => {
                let (gap, last) = self.passed_by(event, &info).await?;
                (info, gap, last)
            }
            None => {
                let (info, gap) = self.create(event, &consumer, options).await?;
                let seen = info.delivered.stream_seq;
                (info, gap, seen)
            }
        };
        let crew = self.keep(event, holder, &info, seen);
        let serial = self.link.serial();
        if matches!(holder, Holder::Consumer(_)) {
            let (stream, consumer) = (event.stream.clone(), consumer);
            self.announce(&News::Taken { from: self.owner, stream, consumer });
        }
        crew.join(serial, options, gap);
        Ok((crew, serial))
    }

    /// What retention took before the group got it; and up to where messages may have been delivered before.
    async fn passed_by(&self, event: &Event, info: &ConsumerInfo) -> Result<(Option<Gap>, u64)> {
        let stream = known_stream(&self.link, event).await?;
        // Servers of 2.9 may count back: there any message may have been delivered.
        let counts = self.link.client.is_server_compatible(2, 10, 0);
        let seen = if counts { info.delivered.stream_seq } else { stream.state.last_seq };
        let (next, first) = (info.reached().saturating_add(1), stream.state.first());
        if next >= first {
            return Ok((None, seen));
        }
        let cursor = Some(event.before(first).to_cursor()?);
        Ok((Some(Gap { missed: event.is_whole.then(|| first - next), cursor }), seen))
    }

    async fn create(
        &self,
        event: &Event,
        consumer: &str,
        options: &SubscribeOptions,
    ) -> Result<(ConsumerInfo, Option<Gap>)> {
        let (from, gap) = locate(&self.link, event, &options.start).await?;
        let config = consumer::of_group(event, consumer, options.retry.ack_wait, from, &self.config)?;
        match self.link.create_consumer(&event.stream, consumer, &config).await? {
            Ok(info) => Ok((info, gap)),
            Err(refused) if refused.code() == 404 => Err(error::not_registered(&event.name)),
            Err(refused) => match self.link.consumer(&event.stream, consumer).await? {
                // Another node was faster, and asked for another start.
                Some(info) => Ok((info, None)),
                None => Err(error::api(refused)),
            },
        }
    }

    /// The crew of a consumer: one for each on this node, with its task.
    fn keep(&self, event: &Arc<Event>, holder: &Holder, info: &ConsumerInfo, seen: u64) -> Arc<Crew> {
        let key = (event.name.clone(), holder.clone());
        let mut crews = self.crews.lock();
        if let Some(crew) = crews.get(&key).filter(|crew| crew.is_of(event, info)) {
            return Arc::clone(crew);
        }
        let crew = Crew::new(&self.link, &self.records, event, holder, info, seen);
        crews.insert(key, Arc::clone(&crew));
        self.tasks.spawn(crew::run(Arc::clone(&crew)));
        crew
    }

    fn crew(&self, token: &LeaseToken) -> Option<Arc<Crew>> {
        self.crews.lock().get(&(token.event.clone(), token.holder.clone())).map(Arc::clone)
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
            Some(answer) => wire::read_answer(&answer),
            None => self.settle_orphan(token, place, verb).await,
        }
    }

    async fn settle_own(&self, token: &LeaseToken, place: Place, verb: &Verb) -> Result<Settled> {
        match self.crew(token).filter(|crew| crew.event.life == place.life && crew.event.ended().is_none()) {
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
        let crew = match self.crew(token) {
            Some(crew) if crew.event.ended().is_none() => crew,
            _ => match self.link.consumer(&event.stream, &name::consumer(&token.holder)).await? {
                Some(info) => self.keep(&event, &token.holder, &info, info.delivered.stream_seq),
                None => return Ok(Settled::Unknown),
            },
        };
        crew.settle_orphan(place.sequence, token.epoch, verb).await
    }

    pub(crate) async fn lag(&self, event: &Event) -> Result<Vec<ConsumerLag>> {
        let consumers = self.link.consumers(&event.stream).await?;
        let lag = consumers.iter().filter_map(|info| {
            let holder = name::holder(&info.name)?;
            let crew = self.crews.lock().get(&(event.name.clone(), holder.clone())).map(Arc::clone);
            Some(match crew.filter(|crew| crew.is_of(event, info)) {
                Some(crew) => crew.lag(info),
                None => Crew::lag_elsewhere(holder, info),
            })
        });
        Ok(lag.collect())
    }

    /// Runs what must come to its end although nobody may wait for it.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn(task);
    }

    pub(crate) async fn close(&self) {
        self.link.close();
        self.catalog.close();
        let crews: Vec<_> = self.crews.lock().drain().map(|(_, crew)| crew).collect();
        crews.iter().for_each(|crew| {
            crew.event.finish(End::Closed);
            crew.wake_all();
        });
        // What was read ahead goes back at once; what is leased stays so until it is settled, or its time is over.
        let _ = timeout(GOODBYE, join_all(crews.iter().map(|crew| crew.at_rest()))).await;
        self.tasks.close().await;
        // The connection ends with the last who has it.
        let _ = self.link.client.flush().await;
    }

    fn hear(&self, news: &News) {
        match news {
            News::Gone { from, event } if *from != self.owner => {
                if let Ok(event) = EventName::new(event) {
                    self.catalog.forget(&event, End::Unregistered);
                }
                self.crews.lock().retain(|_, crew| crew.event.ended().is_none());
            }
            News::Taken { from, stream, consumer } if *from != self.owner => {
                let crews: Vec<_> = self.crews.lock().values().map(Arc::clone).collect();
                let theirs = |crew: &&Arc<Crew>| (&crew.event.stream, &crew.consumer) == (stream, consumer);
                crews.iter().filter(theirs).for_each(|crew| crew.dismiss());
            }
            News::Gone { .. } | News::Taken { .. } => {}
        }
    }

    /// Answers another node's question.
    async fn reply(self: Arc<Self>, message: Message) {
        let Some(reply) = message.reply else { return };
        let settled = match wire::read_question(&message.payload) {
            Ok((token, verb)) => match Place::from_entry(&token.entry) {
                Ok(place) if place.owner == self.owner => self.settle_own(&token, place, &verb).await,
                Ok(_) => Err(error::foreign_token()),
                Err(error) => Err(error),
            },
            Err(error) => Err(error),
        };
        let _ = self.link.post(reply, wire::write_answer(&settled));
    }
}

/// Answers what other nodes ask, each question for itself.
async fn answer(node: std::sync::Weak<Node>, mut questions: Subscriber) {
    while let Some(message) = questions.next().await {
        let Some(node) = node.upgrade() else { return };
        let task = Arc::clone(&node).reply(message);
        node.tasks.spawn(task);
    }
}

async fn follow(node: std::sync::Weak<Node>, mut news: Subscriber) {
    while let Some(message) = news.next().await {
        let Some(node) = node.upgrade() else { return };
        match serde_json::from_slice(&message.payload) {
            Ok(news) => node.hear(&news),
            Err(error) => tracing::debug!(%error, "another node says what can't be read"),
        }
    }
}
