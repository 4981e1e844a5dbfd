//! The events there are.

use std::{
    collections::{HashMap, hash_map::RandomState},
    hash::BuildHasher,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use busgate_core::{Clock, EventConfig, EventName, Moment, Result};
use parking_lot::RwLock;
use tokio::time::Instant;

use crate::{
    config::MemoryConfig,
    error,
    topic::{End, Topic},
};

/// Every event by name; the lock is held for a look-up only.
#[derive(Debug)]
pub(crate) struct Registry {
    pub(crate) config: MemoryConfig,
    clock: Arc<dyn Clock>,
    topics: RwLock<Topics>,
    serial: AtomicU64,
    /// Draws incarnations that other processes do not draw.
    seed: RandomState,
}

#[derive(Debug, Default)]
struct Topics {
    by_name: HashMap<EventName, Arc<Topic>>,
    closed: bool,
}

impl Topics {
    /// Dead-letter events have as much room again as all others.
    fn check_room(&self, event: &EventName, most: usize) -> Result<()> {
        let kind = event.is_dead_letter();
        let known = self.by_name.keys().filter(|name| name.is_dead_letter() == kind).count();
        if known < most { Ok(()) } else { Err(error::exhausted("events", most)) }
    }
}

impl Registry {
    pub(crate) fn new(config: MemoryConfig, clock: Arc<dyn Clock>) -> Self {
        let seed = RandomState::new();
        Self { config, clock, topics: RwLock::default(), serial: AtomicU64::new(1), seed }
    }

    pub(crate) fn now(&self) -> Moment {
        Moment { at: Instant::now(), wall: self.clock.now() }
    }

    /// A number nobody else in this transport has.
    pub(crate) fn serial(&self) -> u64 {
        self.serial.fetch_add(1, Ordering::Relaxed)
    }

    pub(crate) fn check_open(&self) -> Result<()> {
        if self.topics.read().closed { Err(error::closed()) } else { Ok(()) }
    }

    pub(crate) fn find(&self, event: &EventName) -> Result<Arc<Topic>> {
        let topics = self.topics.read();
        if topics.closed {
            return Err(error::closed());
        }
        topics.by_name.get(event).map(Arc::clone).ok_or_else(|| error::not_registered(event))
    }

    /// The event, registered if it was not: a dead-letter event.
    pub(crate) fn ensure(&self, event: &EventName) -> Result<Arc<Topic>> {
        if let Ok(topic) = self.find(event) {
            return Ok(topic);
        }
        let mut topics = self.topics.write();
        if topics.closed {
            return Err(error::closed());
        }
        if let Some(topic) = topics.by_name.get(event) {
            return Ok(Arc::clone(topic));
        }
        topics.check_room(event, self.config.max_events)?;
        let topic = self.topic(event, &EventConfig::default());
        topics.by_name.insert(event.clone(), Arc::clone(&topic));
        Ok(topic)
    }

    pub(crate) fn register(&self, event: &EventName, config: &EventConfig) -> Result<()> {
        let mut topics = self.topics.write();
        if topics.closed {
            return Err(error::closed());
        }
        if let Some(known) = topics.by_name.get(event) {
            let same = config.is_default() || known.config == *config;
            return if same { Ok(()) } else { Err(error::registered_otherwise(event)) };
        }
        topics.check_room(event, self.config.max_events)?;
        topics.by_name.insert(event.clone(), self.topic(event, config));
        Ok(())
    }

    pub(crate) fn unregister(&self, event: &EventName) -> Result<()> {
        let mut topics = self.topics.write();
        if topics.closed {
            return Err(error::closed());
        }
        let topic = topics.by_name.remove(event).ok_or_else(|| error::not_registered(event))?;
        drop(topics);
        topic.finish(End::Unregistered);
        Ok(())
    }

    pub(crate) fn all(&self) -> Result<Vec<Arc<Topic>>> {
        let topics = self.topics.read();
        if topics.closed {
            return Err(error::closed());
        }
        let mut all: Vec<_> = topics.by_name.values().map(Arc::clone).collect();
        all.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(all)
    }

    pub(crate) fn close(&self) {
        let mut topics = self.topics.write();
        topics.closed = true;
        let all: Vec<_> = topics.by_name.drain().map(|(_, topic)| topic).collect();
        drop(topics);
        all.iter().for_each(|topic| topic.finish(End::Closed));
    }

    /// An event nobody else knows.
    pub(crate) fn topic(&self, event: &EventName, config: &EventConfig) -> Arc<Topic> {
        let incarnation = self.seed.hash_one(self.serial());
        Topic::new(event.clone(), config.clone(), incarnation, &self.config)
    }
}
