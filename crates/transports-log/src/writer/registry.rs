//! Registering and forgetting events.

use std::sync::Arc;

use busgate_core::{DedupWindow, Error, ErrorKind, EventConfig, EventName, Result};

use super::{Log, Meta, Writer};
use crate::{
    event::{Bounds, Event, PROBE_EVENT, Phase},
    store::StateKey,
};

impl Writer {
    /// Registers an event, or finds it registered.
    pub(super) fn register(&mut self, name: &EventName, asked: &EventConfig) -> Result<Arc<Event>> {
        if let Some(event) = self.catalog.get(name) {
            if asked.is_default() || event.asked == *asked {
                return Ok(event);
            }
            let text = format!("event `{name}` is registered with another configuration");
            return Err(Error::new(ErrorKind::Exists, text));
        }
        self.check_room(name)?;
        let mut batch = self.store.begin()?;
        let meta = Meta::default();
        let id = batch.new_event();
        let event =
            Arc::new(Event::new(id, name.clone(), asked.clone(), self.config.tail(), Bounds::default()));
        batch.put(&StateKey::Event(id), &meta.encode(&event))?;
        batch.commit()?;
        self.adopt(&event, meta);
        Ok(event)
    }

    /// Dead-letter events have as much room again as all others, and the probe's event needs none.
    fn check_room(&self, name: &EventName) -> Result<()> {
        if name.as_str() == PROBE_EVENT {
            return Ok(());
        }
        let kind = name.is_dead_letter();
        let known = self.logs.values().filter(|log| log.event.name.is_dead_letter() == kind).count();
        if known < self.config.max_events {
            return Ok(());
        }
        let text = format!("there are {} events already", self.config.max_events);
        Err(Error::new(ErrorKind::Exhausted, text))
    }

    /// Takes an event that is on disk into the books.
    pub(crate) fn adopt(&mut self, event: &Arc<Event>, meta: Meta) {
        let config = self.config.effective(&event.asked);
        let ids = DedupWindow::new(config.dedup_window.unwrap_or_default(), self.config.max_dedup_ids);
        self.catalog.insert(Arc::clone(event));
        let log = Log { event: Arc::clone(event), config, meta, ids, oldest: None, damaged: false };
        self.logs.insert(event.id, log);
    }

    /// Forgets an event and all of its state; its messages are deleted bit by bit.
    pub(super) fn unregister(&mut self, event: &Arc<Event>) -> Result<()> {
        if !self.logs.contains_key(&event.id) {
            return Err(Error::not_found(format!("event `{}` is not registered", event.name)));
        }
        let mut batch = self.store.begin()?;
        batch.delete(&StateKey::Event(event.id))?;
        for seat in event.seats() {
            batch.delete(&seat.key())?;
        }
        batch.put(&StateKey::Grave(event.id), b"")?;
        batch.commit()?;
        self.graves.push(event.id);
        self.logs.remove(&event.id);
        self.catalog.remove(&event.name);
        event.end(Phase::Unregistered);
        Ok(())
    }
}
