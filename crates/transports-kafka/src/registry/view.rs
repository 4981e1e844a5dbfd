//! The events in memory.

use std::{collections::HashMap, sync::Arc, time::Duration};

use busgate_core::EventName;
use parking_lot::RwLock;
use tokio::time::Instant;

use super::record::Registration;
use crate::event::Event;

/// How long a name is taken for missing before the broker is asked again: registrations are seen at once, but a topic
/// that a native tool makes is not.
const MISSING: Duration = Duration::from_millis(500);

/// How many missing names are remembered.
const MAX_MISSING: usize = 1024;

/// The events, as far as the registrations were read.
#[derive(Debug, Default)]
pub(super) struct View(RwLock<State>);

#[derive(Debug, Default)]
struct State {
    registered: HashMap<EventName, Arc<Event>>,
    natives: HashMap<EventName, Arc<Event>>,
    missing: HashMap<EventName, Instant>,
}

impl View {
    pub(super) fn get(&self, name: &EventName) -> Option<Arc<Event>> {
        let state = self.0.read();
        state.registered.get(name).or_else(|| state.natives.get(name)).cloned()
    }

    pub(super) fn is_registered(&self, name: &EventName) -> bool {
        self.0.read().registered.contains_key(name)
    }

    pub(super) fn registered(&self) -> Vec<Arc<Event>> {
        self.0.read().registered.values().cloned().collect()
    }

    pub(super) fn known(&self) -> Vec<Arc<Event>> {
        let state = self.0.read();
        state.registered.values().chain(state.natives.values()).cloned().collect()
    }

    /// Takes a registration in. The first of a life holds: a later one was written by who did not know of it.
    pub(super) fn insert(&self, name: EventName, registration: Registration) {
        let mut state = self.0.write();
        state.missing.remove(&name);
        if state.registered.contains_key(&name) {
            return;
        }
        let native = state.natives.remove(&name);
        let mut event =
            Event::new(name.clone(), registration.topic, registration.life, registration.partitions);
        event.config = registration.config;
        event.is_registered = true;
        event.is_ours = registration.is_ours;
        match native {
            // Who reads the topic goes on: it is the same life.
            Some(native) if event.life == native.life => event.ended = native.ended.clone(),
            Some(native) => native.ended.cancel(),
            None => {}
        }
        state.registered.insert(name, Arc::new(event));
    }

    pub(super) fn remove(&self, name: &EventName) {
        let mut state = self.0.write();
        let Some(event) = state.registered.remove(name) else { return };
        if event.is_ours {
            // Its topic is being deleted: until that is done it is not a topic that is there.
            state.missing.insert(name.clone(), Instant::now() + MISSING);
        }
        event.ended.cancel();
    }

    /// A topic that is there, as an event.
    pub(super) fn see_native(&self, name: &EventName, topic: String, partitions: u16) -> Arc<Event> {
        let mut state = self.0.write();
        state.missing.remove(name);
        if let Some(event) = state.registered.get(name) {
            return Arc::clone(event);
        }
        let fresh = || Arc::new(Event::new(name.clone(), topic, 0, partitions));
        let event = state.natives.entry(name.clone()).or_insert_with(fresh);
        event.see_partitions(partitions);
        Arc::clone(event)
    }

    /// Forgets a topic that may be gone; its subscriptions go on waiting for it.
    pub(super) fn doubt(&self, name: &EventName) {
        self.0.write().natives.remove(name);
    }

    pub(super) fn is_known_missing(&self, name: &EventName) -> bool {
        self.0.read().missing.get(name).is_some_and(|until| *until > Instant::now())
    }

    pub(super) fn see_missing(&self, name: &EventName) {
        let mut state = self.0.write();
        if state.missing.len() >= MAX_MISSING {
            state.missing.clear();
        }
        state.missing.insert(name.clone(), Instant::now() + MISSING);
    }
}

#[cfg(test)]
mod tests {
    use busgate_core::EventConfig;

    use super::*;

    fn name() -> EventName {
        EventName::new("orders").unwrap()
    }

    fn registration(life: u64) -> Registration {
        let config = EventConfig::default();
        Registration { life, topic: "orders".into(), partitions: 3, is_ours: true, config }
    }

    #[test]
    fn the_first_registration_of_a_life_holds() {
        let view = View::default();
        view.insert(name(), registration(1));
        view.insert(name(), registration(2));
        assert_eq!(view.get(&name()).unwrap().life, 1);
        view.remove(&name());
        view.insert(name(), registration(2));
        assert_eq!(view.get(&name()).unwrap().life, 2);
    }

    #[test]
    fn an_event_ends_with_its_registration() {
        let view = View::default();
        let native = view.see_native(&name(), "orders".into(), 3);
        view.insert(name(), registration(0));
        assert!(!native.ended.is_cancelled(), "the topic is the same");
        view.remove(&name());
        assert!(native.ended.is_cancelled());
    }
}
