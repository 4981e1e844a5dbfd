//! The consumer of one group on this node.

mod fault;
mod protocol;
mod rebalance;

use std::{fmt, sync::Arc, time::Duration};

use busgate_core::Result;
use parking_lot::Mutex;
use rdkafka::{
    Message as _, TopicPartitionList,
    config::FromClientConfigAndContext,
    consumer::{CommitMode, Consumer as _, base_consumer::PartitionQueue},
    error::{KafkaError, KafkaResult},
    topic_partition_list::{Offset, TopicPartitionListElem},
};

pub(super) use self::{
    fault::{Fatal, fatal, may_pass},
    protocol::protocol,
    rebalance::{Inbox, Signal},
};
use self::{
    protocol::settings_of,
    rebalance::{Consumer, Signals, give, take},
};
use crate::{clients::refused, config::GroupProtocol, error, offsets::Commit, shared::Shared};

/// How long a fetch waits for something new: the broker answers as soon as there is. A partition whose queue here is full
/// is left out of a fetch, and is asked for again only after it: so one that is behind must not wait long for the idle.
const FETCH_WAIT_MS: u32 = 50;

/// The messages of one partition.
pub(super) type Queue = PartitionQueue<Signals>;

/// What a group has committed of a partition.
#[derive(Debug)]
pub(super) struct Committed {
    pub(super) partition: i32,
    pub(super) offset: Option<u64>,
    pub(super) metadata: String,
}

/// The consumer. It must be dropped where blocking is fine: it leaves its group then.
pub(super) struct Client {
    consumer: Arc<Consumer>,
    inbox: Arc<Inbox>,
    topic: String,
    /// The rebalance that librdkafka waits to see done.
    pending: Mutex<Option<(bool, Vec<i32>)>>,
}

impl Client {
    /// A consumer of `group` that is no member yet.
    ///
    /// # Errors
    /// `invalid` for a setting librdkafka does not take.
    pub(super) fn new(
        shared: &Shared,
        protocol: GroupProtocol,
        (group, topic): (&str, &str),
        inbox: &Arc<Inbox>,
    ) -> Result<Self> {
        let mut settings = shared.clients.reader(FETCH_WAIT_MS);
        settings.set("group.id", group);
        let refresh = ("topic.metadata.refresh.interval.ms", "30000");
        for (key, value) in settings_of(protocol).iter().copied().chain([refresh]) {
            shared.clients.unless_asked(&mut settings, key, value);
        }
        let signals = Signals::new(shared.clients.context(), Arc::clone(inbox));
        let mut consumer = Consumer::from_config_and_context(&settings, signals).map_err(refused)?;
        let told = Arc::clone(inbox);
        consumer.set_nonempty_callback(move || told.wake.notify_one());
        let (consumer, inbox, topic) = (Arc::new(consumer), Arc::clone(inbox), topic.to_owned());
        Ok(Self { consumer, inbox, topic, pending: Mutex::new(None) })
    }

    /// Becomes a member of the group.
    pub(super) fn join(&self) -> Result<()> {
        let joined = self.consumer.subscribe(&[&self.topic]);
        joined.map_err(|error| error::failed("the group can't be joined", error))
    }

    /// Serves what is there for the callbacks. Answers an error that was told, if there was one.
    pub(super) fn serve(&self) -> Option<KafkaError> {
        let mut idle = 0;
        while idle < 2 {
            let before = self.inbox.len();
            match self.consumer.poll(Duration::ZERO) {
                Some(Err(error)) => return Some(error),
                // It was on its way before its partition had a queue of its own: it is fetched again.
                Some(Ok(record)) => {
                    idle = 0;
                    if let Err(error) = self.seek(record.partition(), record.offset().cast_unsigned()) {
                        tracing::warn!(%error, "a message came astray");
                    }
                }
                None if self.inbox.len() > before => idle = 0,
                None => idle += 1,
            }
        }
        None
    }

    /// What the group has committed of these partitions; blocks.
    pub(super) fn committed(&self, partitions: &[i32], shared: &Shared) -> Result<Vec<Committed>> {
        let what = "the group's offsets can't be read";
        let list = self.list(partitions.iter().map(|partition| (*partition, Offset::Invalid)))?;
        let found = self.consumer.committed_offsets(list, shared.config.timeout);
        let found = found.map_err(|error| error::failed(what, error))?;
        let read = |element: TopicPartitionListElem<'_>| {
            element.error().map_err(|error| error::failed(what, error))?;
            let offset = match element.offset() {
                Offset::Offset(offset) => u64::try_from(offset).ok(),
                _ => None,
            };
            Ok(Committed { partition: element.partition(), offset, metadata: element.metadata().to_owned() })
        };
        found.elements().into_iter().map(read).collect()
    }

    /// Commits; blocks. librdkafka tells nothing of a commit that nobody waits for.
    pub(super) fn commit(&self, commits: &[(i32, Commit)]) -> KafkaResult<()> {
        let mut list = TopicPartitionList::with_capacity(commits.len());
        for (partition, commit) in commits {
            let mut element = list.add_partition(&self.topic, *partition);
            element.set_offset(Offset::Offset(commit.offset.cast_signed()))?;
            element.set_metadata(&commit.metadata);
        }
        self.consumer.commit(&list, CommitMode::Sync)
    }

    /// Notes a rebalance that librdkafka waits to see done.
    pub(super) fn began(&self, is_assigned: bool, partitions: &[i32]) {
        *self.pending.lock() = Some((is_assigned, partitions.to_vec()));
    }

    /// The messages of a partition, apart from all others. To be called before the partition is read.
    pub(super) fn queue(&self, partition: i32) -> Option<Queue> {
        let mut queue = self.consumer.split_partition_queue(&self.topic, partition)?;
        let told = Arc::clone(&self.inbox);
        queue.set_nonempty_callback(move || told.wake.notify_one());
        Some(queue)
    }

    /// Reads these partitions from these offsets on: the end of a rebalance.
    pub(super) fn give(&self, from: &[(i32, u64)]) -> Result<()> {
        *self.pending.lock() = None;
        let from = from.iter().map(|(partition, offset)| (*partition, Offset::Offset(offset.cast_signed())));
        let given = give(&self.consumer, &self.list(from)?);
        given.map_err(|error| error::failed("partitions can't be read", error))
    }

    /// Goes on reading a partition at this offset.
    pub(super) fn seek(&self, partition: i32, offset: u64) -> Result<()> {
        let to = Offset::Offset(offset.cast_signed());
        let sought = self.consumer.seek(&self.topic, partition, to, Duration::ZERO);
        sought.map_err(|error| error::failed("a partition can't be read on", error))
    }

    /// Reads these partitions no more: the end of a rebalance.
    pub(super) fn take(&self, partitions: &[i32]) -> Result<()> {
        *self.pending.lock() = None;
        let list = self.list(partitions.iter().map(|partition| (*partition, Offset::Invalid)))?;
        take(&self.consumer, &list).map_err(|error| error::failed("partitions can't be let go", error))
    }

    fn list(&self, offsets: impl Iterator<Item = (i32, Offset)>) -> Result<TopicPartitionList> {
        let mut list = TopicPartitionList::new();
        for (partition, offset) in offsets {
            if offset == Offset::Invalid {
                list.add_partition(&self.topic, partition);
                continue;
            }
            let added = list.add_partition_offset(&self.topic, partition, offset);
            added.map_err(|error| error::failed("an offset is out of bounds", error))?;
        }
        Ok(list)
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.inbox.close();
        let mut open: Vec<_> = self.pending.lock().take().into_iter().collect();
        while let Some(signal) = self.inbox.pop() {
            match signal {
                Signal::Assigned(partitions) => open.push((true, partitions)),
                Signal::Revoked { partitions, .. } => open.push((false, partitions)),
            }
        }
        for (is_assigned, partitions) in open {
            let from: Vec<_> = partitions.iter().map(|partition| (*partition, 0)).collect();
            let told = if is_assigned { self.give(&from) } else { self.take(&partitions) };
            if let Err(error) = told {
                tracing::debug!(%error, "a rebalance at the end failed");
            }
        }
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("topic", &self.topic).finish_non_exhaustive()
    }
}
