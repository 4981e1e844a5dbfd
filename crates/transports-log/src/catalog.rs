//! The registered events, by name.

use std::{collections::HashMap, sync::Arc};

use busgate_core::{Error, EventName, Result};
use parking_lot::RwLock;

use crate::event::Event;

/// Changed by the writer only, read by everyone.
#[derive(Debug, Default)]
pub(crate) struct Catalog(RwLock<HashMap<EventName, Arc<Event>>>);

impl Catalog {
    pub(crate) fn get(&self, name: &EventName) -> Option<Arc<Event>> {
        self.0.read().get(name).map(Arc::clone)
    }

    /// As [`Catalog::get`].
    ///
    /// # Errors
    /// `not_found`.
    pub(crate) fn find(&self, name: &EventName) -> Result<Arc<Event>> {
        self.get(name).ok_or_else(|| Error::not_found(format!("event `{name}` is not registered")))
    }

    /// All events, by name.
    pub(crate) fn all(&self) -> Vec<Arc<Event>> {
        let mut events: Vec<_> = self.0.read().values().map(Arc::clone).collect();
        events.sort_by(|one, other| one.name.cmp(&other.name));
        events
    }

    pub(crate) fn insert(&self, event: Arc<Event>) {
        self.0.write().insert(event.name.clone(), event);
    }

    pub(crate) fn remove(&self, name: &EventName) {
        self.0.write().remove(name);
    }
}
