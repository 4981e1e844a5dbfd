//! The one consumer of a node that follows topics as they grow: of all events with live subscribers, and our own.

use std::{
    collections::HashMap,
    fmt,
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use busgate_core::{Error, Result};
use parking_lot::{Mutex, RwLock};
use rdkafka::{
    Message as _, TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
    message::BorrowedMessage,
    topic_partition_list::Offset,
};

use crate::{
    clients::{Clients, Context},
    error,
};

/// How long a fetch waits for something new. A topic that is taken on waits for the fetch that is on its way, so this
/// is how long that takes at most, where nothing else comes.
const FETCH_WAIT_MS: u32 = 50;

/// How often the thread looks whether it should end.
const LOOK: Duration = Duration::from_millis(100);

/// Takes in the records of one topic, on the tap's thread: it must not block.
pub(crate) trait Sink: Send + Sync + 'static {
    /// The next record of a partition. After records were lost, or the topic was made anew, its offset is not the one
    /// after the last.
    fn take(&self, record: &BorrowedMessage<'_>);
}

/// Follows topics.
pub(crate) struct Tap {
    inner: Arc<Inner>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

struct Inner {
    client: BaseConsumer<Context>,
    sinks: RwLock<HashMap<String, Arc<dyn Sink>>>,
    /// What is assigned changes in one place at a time.
    assigning: Mutex<()>,
    stop: AtomicBool,
}

/// A topic that is followed; dropping it ends that.
pub(crate) struct Following {
    tap: Weak<Inner>,
    topic: String,
    partitions: Mutex<Vec<i32>>,
}

impl Tap {
    pub(crate) fn new(clients: &Clients) -> Result<Self> {
        let client = clients.make(&clients.reader(FETCH_WAIT_MS))?;
        let (sinks, assigning, stop) = Default::default();
        let inner = Arc::new(Inner { client, sinks, assigning, stop });
        let polled = Arc::clone(&inner);
        let thread = thread::Builder::new()
            .name("busgate-kafka-tap".into())
            .spawn(move || polled.run())
            .map_err(|error| Error::unavailable("can't start a thread").with_source(error))?;
        Ok(Self { inner, thread: Mutex::new(Some(thread)) })
    }

    /// Hands `sink` all records of the topic from these offsets on, one for each partition.
    ///
    /// # Errors
    /// `exists` when the topic is followed already.
    pub(crate) fn follow(&self, topic: &str, from: &[i64], sink: Arc<dyn Sink>) -> Result<Following> {
        {
            let mut sinks = self.inner.sinks.write();
            if sinks.contains_key(topic) {
                return Err(Error::internal(format!("topic `{topic}` is followed already")));
            }
            sinks.insert(topic.to_owned(), sink);
        }
        let (tap, partitions) = (Arc::downgrade(&self.inner), Mutex::default());
        let following = Following { tap, topic: topic.to_owned(), partitions };
        following.add(from.iter().copied())?;
        Ok(following)
    }

    /// Ends: no sink is called any more.
    pub(crate) async fn close(&self) {
        self.inner.stop.store(true, Ordering::Release);
        let thread = self.thread.lock().take();
        let inner = Arc::clone(&self.inner);
        // It can only fail when the runtime ends, and then nobody waits.
        let _ = tokio::task::spawn_blocking(move || {
            if let Some(thread) = thread {
                let _ = thread.join();
            }
            inner.sinks.write().clear();
        })
        .await;
    }
}

impl Following {
    /// Follows the partitions after those that are followed, from these offsets on.
    pub(crate) fn add(&self, from: impl Iterator<Item = i64>) -> Result<()> {
        let Some(tap) = self.tap.upgrade() else { return Err(error::closed()) };
        let _assigning = tap.assigning.lock();
        let mut partitions = self.partitions.lock();
        let mut list = TopicPartitionList::new();
        for (partition, offset) in (partitions.len()..).zip(from) {
            let partition = i32::try_from(partition).unwrap_or(i32::MAX);
            list.add_partition_offset(&self.topic, partition, Offset::Offset(offset))
                .map_err(|error| error::failed("the topic can't be followed", error))?;
            partitions.push(partition);
        }
        if list.count() == 0 {
            return Ok(());
        }
        let assigned = tap.client.incremental_assign(&list);
        assigned.map_err(|error| error::failed("the topic can't be followed", error))
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        let Some(tap) = self.tap.upgrade() else { return };
        let _assigning = tap.assigning.lock();
        let mut list = TopicPartitionList::new();
        for partition in self.partitions.lock().drain(..) {
            list.add_partition(&self.topic, partition);
        }
        if list.count() > 0 {
            if let Err(error) = tap.client.incremental_unassign(&list) {
                tracing::debug!(%error, topic = self.topic, "a topic is still fetched");
            }
        }
        tap.sinks.write().remove(&self.topic);
    }
}

impl Inner {
    fn run(&self) {
        while !self.stop.load(Ordering::Acquire) {
            match self.client.poll(LOOK) {
                None => {}
                Some(Ok(record)) => {
                    let sink = self.sinks.read().get(record.topic()).cloned();
                    if let Some(sink) = sink {
                        sink.take(&record);
                    }
                }
                // librdkafka tries again by itself.
                Some(Err(error)) => tracing::debug!(%error, "following is held up"),
            }
        }
    }
}

impl fmt::Debug for Tap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tap").field("topics", &self.inner.sinks.read().len()).finish_non_exhaustive()
    }
}

impl fmt::Debug for Following {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Following").field("topic", &self.topic).finish_non_exhaustive()
    }
}
