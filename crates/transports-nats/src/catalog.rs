//! The events there are: each a stream of ours, an existing stream, or a subject of one.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use async_nats::jetstream::{self, ErrorCode};
use busgate_core::{Error, EventConfig, EventInfo, EventName, Result};
use parking_lot::RwLock;

use crate::{
    api::StreamInfo,
    config::NatsConfig,
    error,
    event::{End, Event},
    link::Link,
    name,
    registration::Registration,
};

/// Every event that was asked for, as it was found.
#[derive(Debug)]
pub(crate) struct Catalog {
    link: Arc<Link>,
    config: NatsConfig,
    known: RwLock<HashMap<EventName, Known>>,
}

#[derive(Debug)]
struct Known {
    event: Arc<Event>,
    /// Whether it was seen on this connection: what was missed while there was none has to be looked up.
    generation: u64,
}

impl Catalog {
    pub(crate) fn new(link: Arc<Link>, config: NatsConfig) -> Self {
        Self { link, config, known: RwLock::default() }
    }

    /// The event, if there is one.
    pub(crate) async fn find(&self, name: &EventName) -> Result<Arc<Event>> {
        if self.link.is_closed() {
            return Err(error::closed());
        }
        let generation = self.link.generation();
        if let Some(known) = self.known.read().get(name).filter(|known| known.generation == generation) {
            return Ok(Arc::clone(&known.event));
        }
        self.look_up(name).await
    }

    /// The event as the server knows it now.
    pub(crate) async fn look_up(&self, name: &EventName) -> Result<Arc<Event>> {
        let generation = self.link.generation();
        let (subject, stream) = self.place_of(name)?;
        let info = match self.link.stream(&stream).await? {
            Some(info) => Some(info),
            None if self.config.maps.contains_key(name) => None,
            None => match self.link.stream_of(&subject).await? {
                Some(stream) => self.link.stream(&stream).await?,
                None => None,
            },
        };
        match info {
            Some(info) => Ok(self.keep(Event::new(name.clone(), subject, &info), generation)),
            None => {
                self.forget(name, End::Unregistered);
                Err(error::not_registered(name))
            }
        }
    }

    /// The subject of an event, and the stream where it should be.
    fn place_of(&self, name: &EventName) -> Result<(String, String)> {
        let own = name::subject(&self.config.prefix, name)?;
        Ok(match self.config.maps.get(name) {
            Some(map) => (map.subject.clone().unwrap_or(own), map.stream.clone()),
            None => (own, name::stream(&self.config.prefix, name)),
        })
    }

    fn keep(&self, found: Event, generation: u64) -> Arc<Event> {
        let mut known = self.known.write();
        if let Some(entry) = known.get_mut(&found.name)
            && (entry.event.life, &entry.event.stream) == (found.life, &found.stream)
            && entry.event.ended().is_none()
        {
            entry.generation = generation;
            return Arc::clone(&entry.event);
        }
        let event = Arc::new(found);
        let entry = Known { event: Arc::clone(&event), generation };
        if let Some(earlier) = known.insert(event.name.clone(), entry) {
            earlier.event.finish(End::Unregistered);
        }
        event
    }

    /// Ends the subscriptions of an event; the next who asks looks it up.
    pub(crate) fn forget(&self, name: &EventName, end: End) {
        let known = self.known.write().remove(name);
        if let Some(known) = known {
            known.event.finish(end);
        }
    }

    pub(crate) fn close(&self) {
        let all: Vec<_> = self.known.write().drain().collect();
        all.iter().for_each(|(_, known)| known.event.finish(End::Closed));
    }

    pub(crate) async fn register(&self, name: &EventName, config: &EventConfig) -> Result<()> {
        self.link.check()?;
        let (subject, stream) = self.place_of(name)?;
        let registration = Registration::new(name.clone(), config.clone(), &self.config.defaults);
        let wanted = registration.stream(stream, subject, &self.config)?;
        if self.config.maps.contains_key(name) {
            return self.agree(name, config).await;
        }
        let generation = self.link.generation();
        match self.link.create_stream(&wanted).await? {
            Ok(info) => {
                let [subject] = <[String; 1]>::try_from(wanted.subjects).unwrap_or_default();
                self.keep(Event::new(name.clone(), subject, &info), generation);
                Ok(())
            }
            Err(refused) if is_there(&refused) => self.agree(name, config).await,
            Err(refused) => Err(error::api(refused)),
        }
    }

    /// The event is there already: fine with the same configuration, or with none asked for.
    async fn agree(&self, name: &EventName, config: &EventConfig) -> Result<()> {
        let event = self.look_up(name).await?;
        let same = event.registration.as_ref().is_some_and(|known| known.config == *config);
        if same || config.is_default() { Ok(()) } else { Err(error::registered_otherwise(name)) }
    }

    /// Deletes the event's stream, if it is ours.
    pub(crate) async fn unregister(&self, name: &EventName) -> Result<Arc<Event>> {
        self.link.check()?;
        let event = self.look_up(name).await?;
        if event.registration.is_none() {
            return Err(Error::unsupported(format!(
                "the stream `{}` was not made here: delete it where it was made",
                event.stream
            )));
        }
        let was_there = self.link.delete_stream(&event.stream).await?;
        self.forget(name, End::Unregistered);
        if was_there { Ok(event) } else { Err(error::not_registered(name)) }
    }

    /// Every event that can be told from the streams there are.
    pub(crate) async fn list(&self) -> Result<Vec<EventInfo>> {
        self.link.check()?;
        let mut infos = BTreeMap::new();
        for info in self.link.streams().await? {
            for event in self.events_of(&info)? {
                infos.insert(event.name.clone(), event.info(&info)?);
            }
        }
        Ok(infos.into_values().collect())
    }

    fn events_of(&self, info: &StreamInfo) -> Result<Vec<Event>> {
        let mut events = Vec::new();
        for (name, map) in self.config.maps.iter().filter(|(_, map)| map.stream == info.config.name) {
            let (own, _) = self.place_of(name)?;
            let subject = map.subject.clone().unwrap_or(own);
            events.push(Event::new(name.clone(), subject, info));
        }
        if !events.is_empty() {
            return Ok(events);
        }
        for subject in &info.config.subjects {
            let name = subject.strip_prefix(&self.config.prefix).and_then(|name| EventName::new(name).ok());
            let Some(name) = name else { continue };
            let event = Event::new(name, subject.clone(), info);
            if !event.name.is_hidden() {
                events.push(event);
            }
        }
        Ok(events)
    }
}

fn is_there(refused: &jetstream::Error) -> bool {
    matches!(refused.error_code(), ErrorCode::STREAM_NAME_EXIST | ErrorCode::STREAM_SUBJECT_OVERLAP)
}
