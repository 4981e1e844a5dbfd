//! A consumer of a node that follows topics as they grow: one for all events with live subscribers and our own topics, one
//! for the ids that events remember.

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
    ClientConfig, Message as _, TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
    message::BorrowedMessage,
    topic_partition_list::Offset,
};

use crate::{
    clients::{Clients, Context},
    error,
};

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
    timeout: Duration,
    stop: AtomicBool,
}

/// A topic that is followed; dropping it ends that.
pub(crate) struct Following {
    tap: Weak<Inner>,
    topic: String,
    partitions: Arc<Mutex<Partitions>>,
}

/// What is followed of a topic.
#[derive(Debug, Default)]
struct Partitions {
    /// How many are followed, or about to be.
    count: usize,
    assigned: Vec<i32>,
    ended: bool,
}

impl Tap {
    pub(crate) fn new(clients: &Clients, settings: &ClientConfig, timeout: Duration) -> Result<Self> {
        let client = clients.make(settings)?;
        let (sinks, assigning, stop) = Default::default();
        let inner = Arc::new(Inner { client, sinks, assigning, timeout, stop });
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
        let (tap, partitions) = (Arc::downgrade(&self.inner), Arc::default());
        let following = Following { tap, topic: topic.to_owned(), partitions };
        following.add(from);
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

impl Drop for Tap {
    fn drop(&mut self) {
        // The thread ends by itself: it is not waited for where that may be a runtime's.
        self.inner.stop.store(true, Ordering::Release);
    }
}

impl Following {
    /// Follows the partitions after those that are followed, from these offsets on.
    pub(crate) fn add(&self, from: &[i64]) {
        let Some(tap) = self.tap.upgrade() else { return };
        let mut starts = Vec::with_capacity(from.len());
        {
            let mut partitions = self.partitions.lock();
            for offset in from {
                starts.push((i32::try_from(partitions.count).unwrap_or(i32::MAX), *offset));
                partitions.count += 1;
            }
        }
        if starts.is_empty() {
            return;
        }
        let (topic, partitions) = (self.topic.clone(), Arc::clone(&self.partitions));
        // It waits for the broker, and nobody waits for it: what is read begins where it was said, whenever.
        tokio::task::spawn_blocking(move || {
            if let Err(error) = tap.assign(&topic, &partitions, &starts) {
                tracing::error!(%error, topic, "the topic can't be followed");
            }
        });
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        self.end();
    }
}

impl Following {
    /// Follows no longer: the topic may be followed anew.
    pub(crate) fn end(&self) {
        let Some(tap) = self.tap.upgrade() else { return };
        let _assigning = tap.assigning.lock();
        let mut partitions = self.partitions.lock();
        if std::mem::replace(&mut partitions.ended, true) {
            return;
        }
        let mut list = TopicPartitionList::new();
        for partition in partitions.assigned.drain(..) {
            list.add_partition(&self.topic, partition);
        }
        if list.count() > 0
            && let Err(error) = tap.client.incremental_unassign(&list)
        {
            tracing::debug!(%error, topic = self.topic, "a topic is still fetched");
        }
        tap.sinks.write().remove(&self.topic);
    }
}

impl Inner {
    /// Has librdkafka fetch the partitions from these offsets on.
    fn assign(&self, topic: &str, partitions: &Mutex<Partitions>, starts: &[(i32, i64)]) -> Result<()> {
        // A topic it does not know it would ask for within a second; one that is asked for it knows at once.
        if let Err(error) = self.client.fetch_metadata(Some(topic), self.timeout) {
            tracing::debug!(%error, topic, "the topic is not known yet");
        }
        let _assigning = self.assigning.lock();
        let mut partitions = partitions.lock();
        if partitions.ended {
            return Ok(());
        }
        let failed = |error| error::failed("the topic can't be followed", error);
        let mut list = TopicPartitionList::with_capacity(starts.len());
        for (partition, offset) in starts {
            list.add_partition_offset(topic, *partition, Offset::Offset(*offset)).map_err(failed)?;
        }
        self.client.incremental_assign(&list).map_err(failed)?;
        partitions.assigned.extend(starts.iter().map(|(partition, _)| *partition));
        Ok(())
    }

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
