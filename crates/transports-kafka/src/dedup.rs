//! The ids an event remembers: learnt from the event itself, so that every node knows what any node wrote, and nothing
//! has to be written beside it.

mod index;
mod learning;

use std::{collections::HashMap, sync::Arc, time::Duration};

use busgate_core::{Error, EventName, Message, MessageId, Result, Timestamp};
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
    config::Deduplication, error, event::Event, place::Place, reader::Limit, shared::Shared, tap::Sink,
};

/// How many messages are looked at at a time when the ids are read.
const PAGE: Limit = Limit { messages: 2000, bytes: 8 * 1024 * 1024 };

/// How long what is known of the ids is good: a publish goes by all that was there so long before it. A client that does
/// not know whether its message is there waits twice as long, so that any node it asks then knows.
const FRESH: Duration = Duration::from_millis(50);

/// How old it gets before it is renewed while messages are published: no publish waits for that unless it takes long.
const RENEW: Duration = Duration::from_millis(12);

/// How long it is waited for ids to be learnt as they come before they are read instead.
const STALL: Duration = Duration::from_millis(250);

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
    /// All that was there at this time was seen.
    ///
    /// Invariant: no id is claimed by what was seen more than [`FRESH`] before the publish, whatever held this node up in
    /// between (`what_another_node_wrote_is_known_after_an_interruption`).
    seen: Mutex<Instant>,
    /// Whoever sees to that; the others wait for it.
    looking: tokio::sync::Mutex<()>,
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
        Self {
            event: Arc::clone(event),
            length,
            index: Arc::new(index),
            loaded: tokio::sync::OnceCell::new(),
            seen: Mutex::new(Instant::now()),
            looking: tokio::sync::Mutex::default(),
            used: Mutex::new(Instant::now()),
        }
    }

    /// Claims the ids of a batch; what becomes of each.
    ///
    /// An id whose last message may or may not be there is claimed only once all that is there was seen; with
    /// `dedup=strict` that is so for every id.
    ///
    /// # Errors
    /// `unavailable` when it can't be seen in time: nothing was written.
    pub(crate) async fn claim(
        self: &Arc<Self>,
        shared: &Arc<Shared>,
        batch: &[Message],
    ) -> Result<Vec<Claim>> {
        let now = Instant::now();
        let age = now.saturating_duration_since(*self.seen.lock());
        if shared.config.dedup == Deduplication::Strict || self.index.has_doubts(batch) {
            self.see(shared, now).await?;
            self.index.believe(batch);
        } else if age > FRESH {
            self.see(shared, now - FRESH).await?;
        } else if age > RENEW && self.looking.try_lock().is_ok() {
            let (window, shared) = (Arc::clone(self), Arc::clone(shared));
            Arc::clone(&shared).tasks.spawn(async move {
                if let Err(error) = window.see(&shared, now - RENEW).await {
                    tracing::debug!(%error, event = %window.event.name, "ids can't be looked at");
                }
            });
        }
        Ok(self.index.claim(batch))
    }

    /// Waits until all that was there at a time is known.
    async fn see(&self, shared: &Shared, since: Instant) -> Result<()> {
        let looked = timeout(shared.config.half_timeout(), async {
            let _looking = self.looking.lock().await;
            let asked = Instant::now();
            if *self.seen.lock() < since {
                self.look(shared).await?;
                *self.seen.lock() = asked;
            }
            Ok::<_, Error>(())
        });
        match looked.await {
            Ok(Err(error)) if error.kind().is_transient() => Err(unknown().with_source(error)),
            Ok(looked) => looked,
            Err(_) => Err(unknown()),
        }
    }

    /// Takes in the ids of all that is there now.
    async fn look(&self, shared: &Shared) -> Result<()> {
        let Some(lesson) = self.loaded.get() else { return Ok(()) };
        let ends = shared.asker.ends(&self.event.topic, self.event.partitions()).await?;
        if timeout(STALL, lesson.reach(&ends)).await.is_ok() {
            return Ok(());
        }
        // Who learns is held up; or what is behind the last message is none, but the mark of a transaction.
        self.read(shared, lesson.next(), |id, place, _| self.index.learn(id.clone(), place)).await?;
        lesson.pass(&ends);
        Ok(())
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
        self.loaded.get_or_try_init(|| self.begin(shared)).await.map(drop)
    }

    async fn begin(&self, shared: &Shared) -> Result<Lesson> {
        let (topic, partitions) = (self.event.topic.as_str(), self.event.partitions());
        let asked = Instant::now();
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
        self.read(shared, next, |id, place, at| loading.learn(id, place, at)).await?;
        loading.finish();
        *self.seen.lock() = asked;
        Ok(lesson)
    }

    /// Reads the ids from these offsets on, to the end.
    async fn read(
        &self,
        shared: &Shared,
        mut next: Vec<i64>,
        learn: impl Fn(&MessageId, Place, Timestamp),
    ) -> Result<()> {
        loop {
            let chunk = shared.reader.page(shared, &self.event, next, PAGE).await?;
            for (place, message) in chunk.messages {
                learn(&message.id, place, message.timestamp);
            }
            next = chunk.next;
            if chunk.end {
                return Ok(());
            }
        }
    }
}

/// What another node wrote may be there, and nothing was written beside it.
fn unknown() -> Error {
    Error::unavailable("the ids that were published last can't be seen").with_retry_after(error::RETRY)
}

/// What a claim of an id that is being written waits for.
pub(crate) type Outcome = oneshot::Receiver<Result<Place>>;
