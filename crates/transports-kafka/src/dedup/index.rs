//! The ids of one event: those that were written lately, and those that are being written.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use busgate_core::{Clock, DedupWindow, Effect, Error, Message, MessageId, Result, Timestamp};
use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::Outcome;
use crate::place::Place;

/// How many ids are kept whose message may or may not be there.
const MAX_DOUBTED: usize = 100_000;

/// The ids of one event.
#[derive(Debug)]
pub(super) struct Index {
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    window: DedupWindow,
    /// Who waits for what becomes of an id that is being written.
    flying: HashMap<MessageId, Vec<oneshot::Sender<Result<Place>>>>,
    /// Ids whose message may or may not be there.
    doubted: HashSet<MessageId>,
    /// What was learnt while older ids were read: the window takes them by their time.
    later: Option<Vec<(MessageId, Place, Timestamp)>>,
}

/// What became of the claim of an id.
#[derive(Debug)]
pub(crate) enum Claim {
    /// It is free, and is this publisher's to write.
    Ours,
    /// It was written before, there.
    Taken(Place),
    /// Another publisher is writing it.
    Flying(Outcome),
}

/// The ids of a batch that are being written; dropped before they were, nothing is known of them.
#[derive(Debug)]
pub(crate) struct Flight {
    index: Arc<Index>,
    ids: Vec<MessageId>,
}

impl Index {
    pub(super) fn new(length: Duration, max_ids: usize, clock: Arc<dyn Clock>) -> Self {
        let window = DedupWindow::new(length, max_ids);
        Self {
            clock,
            state: Mutex::new(State { window, flying: HashMap::new(), doubted: HashSet::new(), later: None }),
        }
    }

    pub(super) fn claim(&self, batch: &[Message]) -> Vec<Claim> {
        let now = self.clock.now();
        let mut state = self.state.lock();
        batch.iter().map(|message| state.claim(now, &message.id)).collect()
    }

    /// Takes in that a message with this id is there.
    pub(super) fn learn(&self, id: MessageId, place: Place) {
        let now = self.clock.now();
        let mut state = self.state.lock();
        match &mut state.later {
            Some(later) => later.push((id, place, now)),
            None => state.remember(now, &id, place),
        }
    }

    /// Whether a message of the batch may be there already, and nobody knows.
    pub(super) fn has_doubts(&self, batch: &[Message]) -> bool {
        let state = self.state.lock();
        !state.doubted.is_empty() && batch.iter().any(|message| state.doubted.contains(&message.id))
    }

    /// Takes in that all that is there was seen.
    pub(super) fn believe(&self, batch: &[Message]) {
        let mut state = self.state.lock();
        for message in batch {
            state.doubted.remove(&message.id);
        }
    }
}

impl State {
    fn claim(&mut self, now: Timestamp, id: &MessageId) -> Claim {
        if let Some(number) = self.window.find(now, id) {
            return Claim::Taken(Place::from_number(number));
        }
        if let Some(waiting) = self.flying.get_mut(id) {
            let (done, outcome) = oneshot::channel();
            waiting.push(done);
            return Claim::Flying(outcome);
        }
        self.flying.insert(id.clone(), Vec::new());
        Claim::Ours
    }

    fn doubt(&mut self, id: &MessageId) {
        if self.doubted.len() >= MAX_DOUBTED {
            self.doubted.clear();
        }
        self.doubted.insert(id.clone());
    }

    fn remember(&mut self, at: Timestamp, id: &MessageId, place: Place) {
        if self.window.find(at, id).is_none() {
            self.window.remember(at, id, place.to_number());
        }
    }
}

/// Ids that are being read: older ones first.
pub(super) struct Loading<'a>(&'a Index);

impl<'a> Loading<'a> {
    pub(super) fn start(index: &'a Index) -> Self {
        index.state.lock().later.get_or_insert_default();
        Self(index)
    }

    /// Takes in an id that was written at a time.
    pub(super) fn learn(&self, id: &MessageId, place: Place, at: Timestamp) {
        let now = self.0.clock.now();
        self.0.state.lock().remember(at.min(now), id, place);
    }

    /// Takes in what was written meanwhile.
    pub(super) fn finish(self) {
        let mut state = self.0.state.lock();
        for (id, place, at) in state.later.take().unwrap_or_default() {
            state.remember(at, &id, place);
        }
    }
}

impl Flight {
    pub(super) const fn new(index: Arc<Index>, ids: Vec<MessageId>) -> Self {
        Self { index, ids }
    }

    /// What became of each, in their order.
    pub(crate) fn land(mut self, outcomes: &[Result<Place>]) {
        let ids = std::mem::take(&mut self.ids);
        let now = self.index.clock.now();
        let mut state = self.index.state.lock();
        for (id, outcome) in ids.iter().zip(outcomes) {
            match outcome {
                Ok(place) => state.remember(now, id, *place),
                Err(error) if error.effect() == Effect::Unknown => state.doubt(id),
                Err(_) => {}
            }
            for waiting in state.flying.remove(id).unwrap_or_default() {
                // Whoever no longer waits does not need it.
                let _ = waiting.send(outcome.clone());
            }
        }
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        if self.ids.is_empty() {
            return;
        }
        let ids: HashSet<_> = self.ids.drain(..).collect();
        let mut state = self.index.state.lock();
        for id in ids {
            state.doubt(&id);
            for waiting in state.flying.remove(&id).unwrap_or_default() {
                let gave_up = Error::unavailable("who published the same id first gave up");
                let _ = waiting.send(Err(gave_up.with_effect(Effect::Unknown)));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use busgate_core::SystemClock;

    use super::*;

    const FIRST: Place = Place { partition: 3, offset: 70_000_000_000 };

    fn index() -> Arc<Index> {
        Arc::new(Index::new(Duration::from_secs(60), 100, SystemClock::shared()))
    }

    fn batch(ids: &[&str]) -> Vec<Message> {
        ids.iter().map(|id| Message::new(MessageId::new(id).unwrap(), "")).collect()
    }

    fn flight(index: &Arc<Index>, id: &str) -> Flight {
        Flight::new(Arc::clone(index), vec![MessageId::new(id).unwrap()])
    }

    #[tokio::test]
    async fn who_comes_second_gets_the_place_of_the_first() {
        let index = index();
        let mut claims = index.claim(&batch(&["a", "a"]));
        let Some(Claim::Flying(second)) = claims.pop() else { panic!("the second waits") };
        assert!(matches!(claims.pop(), Some(Claim::Ours)));
        flight(&index, "a").land(&[Ok(FIRST)]);
        assert_eq!(second.await.unwrap().unwrap(), FIRST);
        assert!(matches!(index.claim(&batch(&["a"])).pop(), Some(Claim::Taken(FIRST))));
    }

    #[tokio::test]
    async fn an_id_that_was_given_up_is_free_again() {
        let index = index();
        let mut claims = index.claim(&batch(&["a", "a"]));
        drop(flight(&index, "a"));
        let Some(Claim::Flying(second)) = claims.pop() else { panic!("the second waits") };
        assert_eq!(second.await.unwrap().unwrap_err().effect(), Effect::Unknown);
        assert!(index.has_doubts(&batch(&["a"])) && !index.has_doubts(&batch(&["b"])));
        assert!(matches!(index.claim(&batch(&["a"])).pop(), Some(Claim::Ours)));
    }

    #[test]
    fn what_another_node_wrote_is_taken() {
        let index = index();
        index.learn(MessageId::new("a").unwrap(), FIRST);
        assert!(matches!(index.claim(&batch(&["a"])).pop(), Some(Claim::Taken(FIRST))));
    }

    #[test]
    fn what_is_learnt_while_older_ids_are_read_comes_after_them() {
        let index = index();
        let loading = Loading::start(&index);
        index.learn(MessageId::new("new").unwrap(), FIRST);
        let old = index.clock.now().minus(Duration::from_secs(59));
        loading.learn(&MessageId::new("old").unwrap(), FIRST, old);
        loading.finish();
        assert_eq!(index.state.lock().window.len(), 2);
    }
}
