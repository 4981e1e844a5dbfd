//! The crews of a node: one for each group that was asked for here.

use std::{collections::HashMap, sync::Arc};

use busgate_core::{EventName, Holder};
use parking_lot::Mutex;

use crate::{api::ConsumerInfo, crew::Crew, event::Event};

/// Every crew there is, by what it is of.
#[derive(Debug, Default)]
pub(super) struct Crews(Mutex<HashMap<(EventName, Holder), Arc<Crew>>>);

impl Crews {
    pub(super) fn of(&self, event: &EventName, holder: &Holder) -> Option<Arc<Crew>> {
        self.0.lock().get(&(event.clone(), holder.clone())).map(Arc::clone)
    }

    /// The crew of this very consumer: the one there is, or what `make` makes in place of an earlier one.
    pub(super) fn keep(
        &self,
        event: &Event,
        holder: &Holder,
        info: &ConsumerInfo,
        make: impl FnOnce() -> Arc<Crew>,
    ) -> Arc<Crew> {
        let key = (event.name.clone(), holder.clone());
        let mut crews = self.0.lock();
        if let Some(crew) = crews.get(&key).filter(|crew| crew.is_of(event, info)) {
            return Arc::clone(crew);
        }
        let crew = make();
        crews.insert(key, Arc::clone(&crew));
        crew
    }

    /// Forgets those whose event has ended.
    pub(super) fn drop_ended(&self) {
        self.0.lock().retain(|_, crew| crew.event.ended().is_none());
    }

    /// Ends the subscriptions of a consumer that another node took over.
    pub(super) fn dismiss(&self, stream: &str, consumer: &str) {
        let crews: Vec<_> = self.0.lock().values().map(Arc::clone).collect();
        let theirs = |crew: &&Arc<Crew>| crew.event.stream == stream && crew.consumer == consumer;
        crews.iter().filter(theirs).for_each(|crew| crew.dismiss());
    }

    pub(super) fn take_all(&self) -> Vec<Arc<Crew>> {
        self.0.lock().drain().map(|(_, crew)| crew).collect()
    }
}
