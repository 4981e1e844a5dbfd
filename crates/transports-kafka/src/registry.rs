//! Which events there are: registered ones from a compacted topic that every node follows, and topics that are there.

mod record;
mod view;

use std::{sync::Arc, time::Duration};

use busgate_core::{Error, ErrorKind, EventConfig, EventName, MessageId, Result};
use rdkafka::{Message as _, message::BorrowedMessage};
use tokio::{
    sync::watch,
    time::{Instant, sleep, timeout_at},
};

use self::{record::Registration, view::View};
use crate::{
    admin::Plan,
    config::topic,
    error,
    event::Event,
    producer::Draft,
    shared::Shared,
    tap::{Following, Sink},
};

/// The topic that has the registrations, after the prefix.
const TOPIC: &str = "events";

/// The key of the record by which a node tells that it has read all there is. No event has such a name.
const HELLO: &[u8] = b"\0hello";

/// How long to wait between looks at a topic that was just made.
const SETTLING: Duration = Duration::from_millis(10);

/// The events, as this node knows them.
#[derive(Debug)]
pub(crate) struct Registry {
    topic: String,
    view: Arc<View>,
    following: parking_lot::Mutex<Option<Following>>,
    /// One change at a time: a topic is not made while it is being deleted.
    changing: tokio::sync::Mutex<()>,
}

/// What the tap hands the records to.
#[derive(Debug)]
struct Intake {
    view: Arc<View>,
    reached: watch::Sender<i64>,
}

impl Sink for Intake {
    fn take(&self, record: &BorrowedMessage<'_>) {
        let name = record.key().and_then(|key| std::str::from_utf8(key).ok());
        if let Some(name) = name.and_then(|name| EventName::new(name).ok()) {
            match record.payload().map(Registration::parse) {
                None => self.view.remove(&name),
                Some(Some(registration)) => self.view.insert(name, registration),
                Some(None) => tracing::warn!(event = %name, "a registration can't be read"),
            }
        }
        self.reached.send_replace(record.offset() + 1);
    }
}

impl Registry {
    pub(crate) fn new(own_topic: String) -> Self {
        Self {
            topic: own_topic,
            view: Arc::default(),
            following: parking_lot::Mutex::default(),
            changing: tokio::sync::Mutex::default(),
        }
    }

    /// The name of the topic that has the registrations, after the prefix.
    pub(crate) const fn topic_name() -> &'static str {
        TOPIC
    }

    /// Reads all registrations, and follows them from then on.
    ///
    /// # Errors
    /// When the broker does not let it, or not in time.
    pub(crate) async fn open(&self, shared: &Shared) -> Result<()> {
        let config = vec![("cleanup.policy", "compact".to_owned())];
        let plan = Plan { name: self.topic.clone(), partitions: 1, config };
        let found = shared.asker.partitions_within(&self.topic, shared.config.connect_timeout).await?;
        if found.is_none() {
            shared.admin.create(&plan).await?;
            self.settle(shared, &self.topic).await?;
        }
        let begin = shared.asker.begins(&self.topic, 1).await?;
        let (reached, _) = watch::channel(0);
        let intake = Intake { view: Arc::clone(&self.view), reached: reached.clone() };
        self.view.follow(reached);
        let following = shared.tap.follow(&self.topic, &begin, Arc::new(intake))?;
        *self.following.lock() = Some(following);
        // Compaction may have taken the last records there were, so the end is known by writing there.
        let hello = MessageId::generate();
        self.write(shared, HELLO, Some(hello.as_str().as_bytes())).await
    }

    /// The event, if there is one of this name.
    ///
    /// # Errors
    /// `not_found`, and as the broker says.
    pub(crate) async fn find(&self, shared: &Shared, name: &EventName) -> Result<Arc<Event>> {
        if let Some(event) = self.view.get(name) {
            return Ok(event);
        }
        if self.view.is_known_missing(name) {
            return Err(error::unknown(name));
        }
        self.catch_up(shared).await?;
        if let Some(event) = self.view.get(name) {
            return Ok(event);
        }
        let topic = shared.config.topic(name);
        if shared.config.event(&topic).is_some()
            && let Some(partitions) = shared.asker.partitions(&topic).await?
        {
            return Ok(self.view.see_native(name, topic, partitions));
        }
        self.view.see_missing(name);
        Err(error::unknown(name))
    }

    /// Makes an event known.
    ///
    /// # Errors
    /// `exists` when it is registered with another configuration, and as the broker says.
    pub(crate) async fn register(
        &self,
        shared: &Shared,
        name: &EventName,
        asked: &EventConfig,
    ) -> Result<()> {
        let _changing = self.change().await;
        self.catch_up(shared).await?;
        if let Some(event) = self.view.get(name).filter(|event| event.is_registered) {
            agreed(&event, asked)?;
            return self.mend(shared, &event).await;
        }
        let (topic, is_new) = self.make_topic(shared, name, asked).await?;
        self.settle(shared, &topic).await?;
        let partitions = shared.asker.partitions(&topic).await?.unwrap_or(1);
        let life = if is_new { fastrand::u64(1..) } else { 0 };
        let ours = Registration { life, topic, partitions, is_ours: is_new, config: asked.clone() };
        self.write(shared, name.as_str().as_bytes(), Some(ours.to_text().as_bytes())).await?;
        let Some(event) = self.view.get(name) else { return Err(error::unknown(name)) };
        if event.life != life {
            // Another node was first. Compaction keeps the last record, so the last one must be what holds.
            let text = Registration::of(&event).to_text();
            self.write(shared, name.as_str().as_bytes(), Some(text.as_bytes())).await?;
        }
        agreed(&event, asked)
    }

    /// Makes the topic of a registered event again, should it have been deleted behind its back.
    async fn mend(&self, shared: &Shared, event: &Event) -> Result<()> {
        if shared.asker.partitions(&event.topic).await?.is_some() {
            return Ok(());
        }
        tracing::warn!(event = %event.name, topic = event.topic, "the topic of a registered event was gone");
        let (partitions, config) = (event.partitions(), shared.config.effective(&event.config));
        let config = view::settings(&config, partitions);
        shared.admin.create(&Plan { name: event.topic.clone(), partitions, config }).await?;
        self.settle(shared, &event.topic).await
    }

    /// Keeps others from registering until it is let go of: while an event goes it can't be made anew.
    pub(crate) async fn change(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.changing.lock().await
    }

    /// Forgets an event; what it was.
    ///
    /// # Errors
    /// `not_found`; `unsupported` for a topic that was there and was never registered.
    pub(crate) async fn unregister(&self, shared: &Shared, name: &EventName) -> Result<Arc<Event>> {
        let event = self.find(shared, name).await?;
        if !event.is_registered {
            return Err(Error::unsupported(format!(
                "event `{name}` is a topic that the gateway did not make"
            )));
        }
        self.write(shared, name.as_str().as_bytes(), None).await?;
        Ok(event)
    }

    /// Deletes the topic of an event that was unregistered, and waits until nobody takes it for an event.
    ///
    /// # Errors
    /// As the broker says.
    pub(crate) async fn delete_topic(&self, shared: &Shared, event: &Event) -> Result<()> {
        shared.admin.delete(&[&event.topic]).await?;
        let deadline = Instant::now() + shared.config.timeout;
        while shared.asker.partitions(&event.topic).await?.is_some() && Instant::now() < deadline {
            sleep(SETTLING).await;
        }
        Ok(())
    }

    /// All events there are: the registered ones, and topics that are there.
    ///
    /// # Errors
    /// As the broker says.
    pub(crate) async fn all(&self, shared: &Shared) -> Result<Vec<Arc<Event>>> {
        self.catch_up(shared).await?;
        let topics = shared.asker.topics().await?;
        let mut events = self.view.registered();
        for event in &events {
            if let Some(count) = topics.get(&event.topic) {
                event.see_partitions(*count);
            }
        }
        let taken: std::collections::HashSet<_> = events.iter().map(|event| event.topic.clone()).collect();
        for (topic, partitions) in topics {
            let Some(name) = shared.config.event(&topic).filter(|name| !name.is_own()) else { continue };
            if !taken.contains(&topic) && !self.view.is_registered(&name) {
                events.push(self.view.see_native(&name, topic, partitions));
            }
        }
        events.sort_by(|left, right| left.name.cmp(&right.name));
        Ok(events)
    }

    /// Takes in how many partitions the topics have now.
    ///
    /// # Errors
    /// As the broker says.
    pub(crate) async fn refresh(&self, shared: &Shared) -> Result<()> {
        let topics = shared.asker.topics().await?;
        for event in self.known() {
            if let Some(count) = topics.get(&event.topic) {
                event.see_partitions(*count);
            }
        }
        Ok(())
    }

    /// The events this node knows of right now.
    pub(crate) fn known(&self) -> Vec<Arc<Event>> {
        self.view.known()
    }

    /// Forgets that a topic is there which may not be any more.
    pub(crate) fn doubt(&self, name: &EventName) {
        self.view.doubt(name);
    }

    /// Lets go of what is followed.
    pub(crate) fn close(&self) {
        *self.following.lock() = None;
    }

    /// Waits until this node has read what others wrote before now.
    async fn catch_up(&self, shared: &Shared) -> Result<()> {
        let end = shared.asker.ends(&self.topic, 1).await?;
        self.reach(shared, end.first().copied().unwrap_or(0)).await
    }

    /// Writes a record, and waits until it was read.
    async fn write(&self, shared: &Shared, key: &[u8], value: Option<&[u8]>) -> Result<()> {
        let topic = self.topic.as_str();
        let draft =
            Draft { topic, partition: 0, key: Some(key), payload: value, headers: None, timestamp: None };
        let place = shared.producer.send_one(draft).await?;
        self.reach(shared, place.offset + 1).await
    }

    async fn reach(&self, shared: &Shared, offset: i64) -> Result<()> {
        let mut reached = self.view.reached();
        let wait = timeout_at(Instant::now() + shared.config.timeout, reached.wait_for(|at| *at >= offset));
        match wait.await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) => Err(error::closed()),
            Err(_) => Err(error::late("the registrations")),
        }
    }

    /// Makes the topic of an event; its name, and whether it was not there before.
    async fn make_topic(
        &self,
        shared: &Shared,
        name: &EventName,
        asked: &EventConfig,
    ) -> Result<(String, bool)> {
        let wanted = topic::fitting(shared.config.topic(name));
        let partitions = shared.config.partitions;
        let config = shared.config.effective(asked);
        let mut plan = Plan { name: wanted, partitions, config: view::settings(&config, partitions) };
        let refused = match shared.admin.create(&plan).await {
            Ok(is_new) => return Ok((plan.name, is_new)),
            Err(error) if error.kind() == ErrorKind::Unsupported => error,
            Err(error) => return Err(error),
        };
        // To Kafka, names that differ only in dots and underscores are one.
        plan.name = topic::apart(&plan.name);
        let is_new = shared.admin.create(&plan).await.map_err(|_| refused)?;
        Ok((plan.name, is_new))
    }

    /// Waits until a topic that was just made is known to whoever asks for it.
    pub(crate) async fn settle(&self, shared: &Shared, topic: &str) -> Result<()> {
        let deadline = Instant::now() + shared.config.timeout;
        loop {
            if let Some(partitions) = shared.asker.partitions(topic).await? {
                match shared.asker.ends(topic, partitions).await {
                    Ok(_) => return Ok(()),
                    Err(error) if Instant::now() > deadline => return Err(error),
                    Err(_) => {}
                }
            }
            if Instant::now() > deadline {
                return Err(error::late("a new topic"));
            }
            sleep(SETTLING).await;
        }
    }
}

/// Whether what is asked for is what there is.
fn agreed(event: &Event, asked: &EventConfig) -> Result<()> {
    if asked.is_default() || event.config == *asked {
        return Ok(());
    }
    let text = format!("event `{}` is registered with another configuration", event.name);
    Err(Error::new(ErrorKind::Exists, text))
}
