//! The events of core subjects: known to the nodes that are up, which tell each other.

use std::{
    collections::BTreeMap,
    sync::{Arc, Weak},
};

use async_nats::Subscriber;
use busgate_core::{EventName, Result, Tasks};
use futures_util::StreamExt;
use parking_lot::RwLock;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::{config::NatsConfig, error, event::End, link::Link, name};

/// What nodes tell each other.
#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
enum News {
    /// These events are registered.
    Known { from: u64, events: Vec<String> },
    /// This one is not any more.
    Gone { from: u64, event: String },
    /// A node has begun, and knows none yet.
    Asked { from: u64 },
}

/// One registered event.
#[derive(Debug)]
pub(super) struct Event {
    pub(super) subject: String,
    pub(super) life: u64,
    pub(super) end: watch::Sender<Option<End>>,
}

/// All that are registered, as far as this node was told.
#[derive(Debug)]
pub(super) struct Events {
    pub(super) link: Arc<Link>,
    pub(super) config: NatsConfig,
    /// This node, as it names itself to the others.
    pub(super) owner: u64,
    known: RwLock<BTreeMap<EventName, Event>>,
}

impl Events {
    /// Those that the configuration names are known from the start.
    pub(super) fn new(link: Arc<Link>, config: NatsConfig) -> Result<Arc<Self>> {
        let names: Vec<_> = config.maps.keys().cloned().collect();
        let events = Self { link, owner: name::fresh(), config, known: RwLock::default() };
        names.iter().try_for_each(|event| events.add(event).map(drop))?;
        Ok(Arc::new(events))
    }

    /// Hears what other nodes say, and asks what they know.
    pub(super) async fn listen(self: &Arc<Self>, tasks: &Tasks) -> Result<()> {
        let news = self.link.subscribe(self.news()).await?;
        tasks.spawn(follow(Arc::downgrade(self), news));
        self.announce(&News::Asked { from: self.owner });
        Ok(())
    }

    fn news(&self) -> String {
        format!("{}_busgate.core", self.config.prefix)
    }

    fn announce(&self, news: &News) {
        if let Ok(text) = serde_json::to_vec(news) {
            // At most once, as all else here.
            let _ = self.link.post(self.news().into(), text.into());
        }
    }

    /// These are registered.
    pub(super) fn tell_known(&self, events: Vec<String>) {
        self.announce(&News::Known { from: self.owner, events });
    }

    /// This one is not any more.
    pub(super) fn tell_gone(&self, event: &EventName) {
        self.announce(&News::Gone { from: self.owner, event: event.to_string() });
    }

    pub(super) fn names(&self) -> Vec<EventName> {
        self.known.read().keys().cloned().collect()
    }

    /// Whether it is new.
    pub(super) fn add(&self, name: &EventName) -> Result<bool> {
        let map = self.config.maps.get(name).and_then(|map| map.subject.clone());
        let subject = match map {
            Some(subject) => subject,
            None => name::subject(&self.config.prefix, name)?,
        };
        let mut events = self.known.write();
        let is_new = !events.contains_key(name);
        if is_new {
            let event = Event { subject, life: name::fresh(), end: watch::Sender::new(None) };
            events.insert(name.clone(), event);
        }
        Ok(is_new)
    }

    /// Whether it was there; its subscriptions end.
    pub(super) fn remove(&self, name: &EventName) -> bool {
        let removed = self.known.write().remove(name);
        removed.is_some_and(|event| {
            event.end.send_replace(Some(End::Unregistered));
            true
        })
    }

    /// Looks at one, if it is registered.
    pub(super) fn find<T>(&self, name: &EventName, look: impl FnOnce(&Event) -> T) -> Result<T> {
        if self.link.is_closed() {
            return Err(error::closed());
        }
        self.known.read().get(name).map(look).ok_or_else(|| error::not_registered(name))
    }

    fn hear(&self, news: News) {
        match news {
            News::Known { from, events } if from != self.owner => {
                for event in events.iter().filter_map(|name| EventName::new(name).ok()) {
                    // One that can't be a subject here can't be used here either.
                    let _ = self.add(&event);
                }
            }
            News::Gone { from, event } if from != self.owner => {
                if let Ok(event) = EventName::new(event) {
                    self.remove(&event);
                }
            }
            News::Asked { from } if from != self.owner => {
                let events: Vec<_> = self.known.read().keys().map(ToString::to_string).collect();
                if !events.is_empty() {
                    self.tell_known(events);
                }
            }
            News::Known { .. } | News::Gone { .. } | News::Asked { .. } => {}
        }
    }

    /// Ends every subscription.
    pub(super) fn close(&self) {
        let events = std::mem::take(&mut *self.known.write());
        for event in events.values() {
            event.end.send_replace(Some(End::Closed));
        }
    }
}

async fn follow(events: Weak<Events>, mut news: Subscriber) {
    while let Some(message) = news.next().await {
        let Some(events) = events.upgrade() else { return };
        if let Ok(news) = serde_json::from_slice(&message.payload) {
            events.hear(news);
        }
    }
}
