//! The ids an event remembers: learnt from the event itself, so that every node knows what any node wrote, and nothing
//! has to be written beside it.

mod index;
mod learning;

use std::{collections::HashMap, sync::Arc, time::Duration};

use busgate_core::{EventName, Message, MessageId, Result};
use parking_lot::Mutex;
use tokio::{
    sync::oneshot,
    time::{Instant, timeout},
};

pub(crate) use self::index::{Claim, Flight};
use self::{
    index::{Index, Loading},
    learning::{Learning, Lesson},
};
use crate::{
    codec::Place, config::Deduplication, error, event::Event, reader::Limit, shared::Shared, tap::Sink,
};

/// How many messages are looked at at a time when the ids are read.
const PAGE: Limit = Limit { messages: 2000, bytes: 8 * 1024 * 1024 };

/// The ids of the events that this node publishes to.
#[derive(Debug, Default)]
pub(crate) struct Dedup(Mutex<HashMap<EventName, Arc<Window>>>);

/// The ids of one event.
#[derive(Debug)]
pub(crate) struct Window {
    event: Arc<Event>,
    length: Duration,
    index: Arc<Index>,
    loaded: tokio::sync::OnceCell<Lesson>,
    used: Mutex<Instant>,
}

impl Dedup {
    /// The window of an event; `None` when it has none.
    ///
    /// # Errors
    /// When the ids can't be read.
    pub(crate) async fn window(
        &self,
        shared: &Arc<Shared>,
        event: &Arc<Event>,
    ) -> Result<Option<Arc<Window>>> {
        let length = shared.config.effective(&event.config).dedup_window.unwrap_or_default();
        if length.is_zero() {
            return Ok(None);
        }
        let window = {
            let mut windows = self.0.lock();
            let known = windows.get(&event.name).filter(|window| Arc::ptr_eq(&window.event, event)).cloned();
            known.unwrap_or_else(|| {
                let window = Arc::new(Window::new(shared, event, length));
                if let Some(earlier) = windows.insert(event.name.clone(), Arc::clone(&window)) {
                    earlier.end();
                }
                window
            })
        };
        window.load(shared).await?;
        Ok(Some(window))
    }

    /// Lets go of the windows of events that nobody publishes to any more: they can be read again. Those that stay take in
    /// partitions that are new.
    pub(crate) fn tidy(&self) {
        let now = Instant::now();
        let mut windows = self.0.lock();
        windows.retain(|_, window| {
            let idle = now.saturating_duration_since(*window.used.lock());
            !window.event.ended.is_cancelled() && idle < window.length.max(Duration::from_secs(60))
        });
        for window in windows.values() {
            if let Some(lesson) = window.loaded.get() {
                lesson.grow(window.event.partitions());
            }
        }
    }

    /// Lets go of all.
    pub(crate) fn close(&self) {
        self.0.lock().clear();
    }
}

impl Window {
    fn new(shared: &Arc<Shared>, event: &Arc<Event>, length: Duration) -> Self {
        let index = Index::new(length, shared.config.max_dedup_ids, Arc::clone(&shared.config.clock));
        let (event, index, loaded) = (Arc::clone(event), Arc::new(index), tokio::sync::OnceCell::new());
        Self { event, length, index, loaded, used: Mutex::new(Instant::now()) }
    }

    /// Claims the ids of a batch; what becomes of each.
    ///
    /// An id whose last message may or may not be there is claimed only once all that is there was seen; with
    /// `dedup=strict` that is so for every id.
    ///
    /// # Errors
    /// When it can't be seen in time.
    pub(crate) async fn claim(&self, shared: &Shared, batch: &[Message]) -> Result<Vec<Claim>> {
        if shared.config.dedup == Deduplication::Strict || self.index.has_doubts(batch) {
            self.catch_up(shared).await?;
            self.index.believe(batch);
        }
        Ok(self.index.claim(batch))
    }

    /// Waits until the ids of all that is there now were learnt.
    async fn catch_up(&self, shared: &Shared) -> Result<()> {
        let Some(lesson) = self.loaded.get() else { return Ok(()) };
        let ends = shared.asker.ends(&self.event.topic, self.event.partitions()).await?;
        let reached = timeout(shared.config.timeout, lesson.reach(&ends)).await;
        reached.map_err(|_| error::late("the ids that are remembered"))
    }

    /// Learns nothing more: the event is another one now.
    fn end(&self) {
        if let Some(lesson) = self.loaded.get() {
            lesson.end();
        }
    }

    /// Takes in what became of messages that were claimed.
    pub(crate) fn flight(&self, ids: Vec<MessageId>) -> Flight {
        Flight::new(Arc::clone(&self.index), ids)
    }

    /// Reads the ids of the window, once.
    async fn load(&self, shared: &Arc<Shared>) -> Result<()> {
        *self.used.lock() = Instant::now();
        self.loaded.get_or_try_init(|| self.read(shared)).await.map(drop)
    }

    async fn read(&self, shared: &Arc<Shared>) -> Result<Lesson> {
        let (topic, partitions) = (self.event.topic.as_str(), self.event.partitions());
        let ends = shared.asker.ends(topic, partitions).await?;
        // What comes from now on is learnt as it comes, and what was there before is read.
        let loading = Loading::start(&self.index);
        let learning = Learning::starting(&self.index, &ends);
        let sink: Arc<dyn Sink> = Arc::<Learning>::clone(&learning);
        let lesson = Lesson::new(learning, shared.ids.follow(topic, &ends, sink)?);
        let since = shared.now().minus(self.length);
        let mut next = shared.asker.at(topic, partitions, since).await?;
        let most = i64::try_from(shared.config.max_dedup_ids).unwrap_or(i64::MAX);
        for (next, end) in next.iter_mut().zip(&ends) {
            *next = (*next).max(end.saturating_sub(most));
        }
        loop {
            let chunk = shared.reader.page(shared, &self.event, next, PAGE).await?;
            for (place, message) in chunk.messages {
                loading.learn(&message.id, place, message.timestamp);
            }
            next = chunk.next;
            if chunk.end {
                break;
            }
        }
        loading.finish();
        Ok(lesson)
    }
}

/// What a claim of an id that is being written waits for.
pub(crate) type Outcome = oneshot::Receiver<Result<Place>>;
