//! Which events there are: registered ones from a compacted topic that every node follows, and topics that are there.

mod journal;
mod record;
pub(crate) mod topic;
mod view;

use std::{collections::HashSet, sync::Arc};

use busgate_core::{Error, ErrorKind, EventConfig, EventName, Result};
use tokio::sync::{Mutex, MutexGuard};

use self::{journal::Journal, record::Registration, view::View};
use crate::{config::KafkaConfig, error, event::Event, shared::Shared};

/// The events, as this node knows them.
#[derive(Debug)]
pub(crate) struct Registry {
    view: Arc<View>,
    journal: Journal,
    /// One change at a time: a topic is not made while it is being deleted.
    changing: Mutex<()>,
}

impl Registry {
    pub(crate) fn new(config: &KafkaConfig) -> Self {
        let view = Arc::<View>::default();
        Self { journal: Journal::new(config, Arc::clone(&view)), view, changing: Mutex::default() }
    }

    /// Reads all registrations, and follows them from then on.
    ///
    /// # Errors
    /// When the broker does not let it, or not in time.
    pub(crate) async fn open(&self, shared: &Shared) -> Result<()> {
        self.journal.open(shared).await
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
        self.journal.catch_up(shared).await?;
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
        self.journal.catch_up(shared).await?;
        if let Some(event) = self.view.get(name).filter(|event| event.is_registered) {
            agreed(&event, asked)?;
            return topic::mend(shared, &event).await;
        }
        let (topic, is_new) = topic::make(shared, name, asked).await?;
        let partitions = topic::settle(shared, &topic).await?;
        let life = if is_new { fastrand::u64(1..) } else { 0 };
        let ours = Registration { life, topic, partitions, is_ours: is_new, config: asked.clone() };
        self.journal.write(shared, name.as_str().as_bytes(), Some(ours.to_text().as_bytes())).await?;
        let Some(event) = self.view.get(name) else { return Err(error::unknown(name)) };
        if event.life != life {
            // Another node was first. Compaction keeps the last record, so the last one must be what holds.
            let text = Registration::of(&event).to_text();
            self.journal.write(shared, name.as_str().as_bytes(), Some(text.as_bytes())).await?;
        }
        agreed(&event, asked)
    }

    /// Keeps others from registering until it is let go of: while an event goes it can't be made anew.
    pub(crate) async fn change(&self) -> MutexGuard<'_, ()> {
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
        self.journal.write(shared, name.as_str().as_bytes(), None).await?;
        Ok(event)
    }

    /// All events there are: the registered ones, and topics that are there.
    ///
    /// # Errors
    /// As the broker says.
    pub(crate) async fn all(&self, shared: &Shared) -> Result<Vec<Arc<Event>>> {
        self.journal.catch_up(shared).await?;
        let topics = shared.asker.topics().await?;
        let mut events = self.view.registered();
        for event in &events {
            if let Some(count) = topics.get(&event.topic) {
                event.see_partitions(*count);
            }
        }
        let taken: HashSet<_> = events.iter().map(|event| event.topic.clone()).collect();
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
        self.journal.close();
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
