//! The topic that has the registrations, which every node follows.

use std::sync::Arc;

use busgate_core::{EventName, MessageId, Result};
use parking_lot::Mutex;
use rdkafka::{Message as _, message::BorrowedMessage};
use tokio::{
    sync::watch,
    time::{Instant, timeout_at},
};

use super::{record::Registration, topic, view::View};
use crate::{
    admin::Plan,
    config::KafkaConfig,
    error,
    producer::Draft,
    shared::Shared,
    tap::{Following, Sink},
};

/// Its name, after the prefix and what all topics of ours begin with.
const TOPIC: &str = "events";

/// The key of the record by which a node tells that it has read all there is. No event has such a name.
const HELLO: &[u8] = b"\0hello";

/// The registrations as records: what is written, and how far they were read.
#[derive(Debug)]
pub(super) struct Journal {
    topic: String,
    view: Arc<View>,
    reached: watch::Sender<i64>,
    following: Mutex<Option<Following>>,
}

/// What the tap hands the records to.
#[derive(Debug)]
struct Intake {
    view: Arc<View>,
    reached: watch::Sender<i64>,
}

impl Sink for Intake {
    fn take(&self, record: &BorrowedMessage<'_>) {
        let name = record.key().and_then(|key| std::str::from_utf8(key).ok());
        if let Some(name) = name.and_then(|name| EventName::new(name).ok()) {
            match record.payload().map(Registration::parse) {
                None => self.view.remove(&name),
                Some(Some(registration)) => self.view.insert(name, registration),
                Some(None) => tracing::warn!(event = %name, "a registration can't be read"),
            }
        }
        self.reached.send_replace(record.offset() + 1);
    }
}

impl Journal {
    /// One whose registrations are taken into the view, once it is open.
    pub(super) fn new(config: &KafkaConfig, view: Arc<View>) -> Self {
        let (reached, _) = watch::channel(0);
        Self { topic: config.own_topic(TOPIC), view, reached, following: Mutex::default() }
    }

    /// Reads all registrations, and follows them from then on.
    ///
    /// # Errors
    /// When the broker does not let it, or not in time.
    pub(super) async fn open(&self, shared: &Shared) -> Result<()> {
        let config = vec![("cleanup.policy", "compact".to_owned())];
        let plan = Plan { name: self.topic.clone(), partitions: 1, config };
        topic::ensure(shared, &plan, shared.config.connect_timeout).await?;
        let begin = shared.asker.begins(&self.topic, 1).await?;
        let intake = Intake { view: Arc::clone(&self.view), reached: self.reached.clone() };
        let following = shared.tap.follow(&self.topic, &begin, Arc::new(intake))?;
        *self.following.lock() = Some(following);
        // Compaction may have taken the last records there were, so the end is known by writing there.
        let hello = MessageId::generate();
        self.write(shared, HELLO, Some(hello.as_str().as_bytes())).await
    }

    /// Waits until this node has read what others wrote before now.
    ///
    /// # Errors
    /// As the broker says, and when it takes too long.
    pub(super) async fn catch_up(&self, shared: &Shared) -> Result<()> {
        let end = shared.asker.ends(&self.topic, 1).await?;
        self.reach(shared, end.first().copied().unwrap_or(0)).await
    }

    /// Writes a record, and waits until it was read.
    ///
    /// # Errors
    /// As the broker says, and when it takes too long.
    pub(super) async fn write(&self, shared: &Shared, key: &[u8], value: Option<&[u8]>) -> Result<()> {
        let topic = self.topic.as_str();
        let draft =
            Draft { topic, partition: 0, key: Some(key), payload: value, headers: None, timestamp: None };
        let place = shared.producer.send_one(draft).await?;
        self.reach(shared, place.offset + 1).await
    }

    async fn reach(&self, shared: &Shared, offset: i64) -> Result<()> {
        let mut reached = self.reached.subscribe();
        let wait = timeout_at(Instant::now() + shared.config.timeout, reached.wait_for(|at| *at >= offset));
        match wait.await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) => Err(error::closed()),
            Err(_) => Err(error::late("the registrations")),
        }
    }

    /// Lets go of what is followed.
    pub(super) fn close(&self) {
        *self.following.lock() = None;
    }
}
