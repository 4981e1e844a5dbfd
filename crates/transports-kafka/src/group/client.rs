//! The consumer of one group on this node, and what librdkafka tells beside messages.

use std::{
    collections::VecDeque,
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use busgate_core::{Error, Result};
use parking_lot::Mutex;
use rdkafka::{
    ClientContext, Message as _, TopicPartitionList,
    config::{FromClientConfigAndContext, RDKafkaLogLevel},
    consumer::{
        BaseConsumer, CommitMode, Consumer as _, ConsumerContext, RebalanceProtocol,
        base_consumer::PartitionQueue,
    },
    error::{KafkaError, KafkaResult},
    topic_partition_list::Offset,
    types::{RDKafkaErrorCode as Code, RDKafkaRespErr},
};
use tokio::sync::Notify;

use crate::{
    clients::{Context, refused},
    config::{GroupProtocol, KafkaConfig},
    error,
    offsets::Commit,
    shared::Shared,
};

/// A consumer with its callbacks.
type Consumer = BaseConsumer<Signals>;

/// The messages of one partition.
pub(super) type Queue = PartitionQueue<Signals>;

/// What librdkafka tells.
#[derive(Debug)]
pub(super) enum Signal {
    /// These partitions are to be read here.
    Assigned(Vec<i32>),
    /// These are not any more; when they are lost, another member may have them by now.
    Revoked { partitions: Vec<i32>, lost: bool },
}

/// Where signals are kept until the pump looks.
#[derive(Debug, Default)]
pub(super) struct Inbox {
    signals: Mutex<VecDeque<Signal>>,
    /// Told when there may be something to do.
    pub(super) wake: Notify,
    is_closing: AtomicBool,
}

/// The callbacks.
pub(super) struct Signals {
    context: Context,
    inbox: Arc<Inbox>,
}

impl Inbox {
    pub(super) fn pop(&self) -> Option<Signal> {
        self.signals.lock().pop_front()
    }

    /// Another consumer may be made.
    pub(super) fn reopen(&self) {
        self.is_closing.store(false, Ordering::Release);
    }

    fn push(&self, signal: Signal) {
        self.signals.lock().push_back(signal);
        self.wake.notify_one();
    }

    fn len(&self) -> usize {
        self.signals.lock().len()
    }
}

impl ClientContext for Signals {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.context.log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.context.error(error, reason);
    }

    fn stats_raw(&self, _: &[u8]) {}
}

impl ConsumerContext for Signals {
    /// Nothing is given or taken here: the pump does it, in its time.
    fn rebalance(&self, consumer: &Consumer, what: RDKafkaRespErr, list: &mut TopicPartitionList) {
        let partitions = list.elements().iter().map(|element| element.partition()).collect();
        let is_assigned = what == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS;
        if self.inbox.is_closing.load(Ordering::Acquire) {
            // Nobody looks any more, and the consumer can't end before it is told.
            let told = if is_assigned { give(consumer, list) } else { take(consumer, list) };
            if let Err(error) = told {
                tracing::debug!(%error, "a rebalance at the end failed");
            }
            return;
        }
        self.inbox.push(if is_assigned {
            Signal::Assigned(partitions)
        } else {
            Signal::Revoked { partitions, lost: consumer.assignment_lost() }
        });
    }
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
        let config = &shared.config;
        let mut settings = shared.clients.reader(FETCH_WAIT_MS);
        settings.set("group.id", group);
        let mut set = |key: &str, value: &str| {
            if !config.client.contains_key(key) {
                settings.set(key, value);
            }
        };
        for (key, value) in settings_of(protocol) {
            set(key, value);
        }
        set("topic.metadata.refresh.interval.ms", "30000");
        let signals = Signals { context: shared.clients.context(), inbox: Arc::clone(inbox) };
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
            match self.consumer.poll(std::time::Duration::ZERO) {
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
        let read = |element: rdkafka::topic_partition_list::TopicPartitionListElem<'_>| {
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
        let sought = self.consumer.seek(&self.topic, partition, to, std::time::Duration::ZERO);
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
        self.inbox.is_closing.store(true, Ordering::Release);
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

/// What a group has committed of a partition.
#[derive(Debug)]
pub(super) struct Committed {
    pub(super) partition: i32,
    pub(super) offset: Option<u64>,
    pub(super) metadata: String,
}

/// Whether a commit that failed like this can be tried again by the same member.
pub(super) const fn may_pass(code: Code) -> bool {
    !matches!(
        code,
        Code::UnknownMemberId | Code::IllegalGeneration | Code::FencedMemberEpoch | Code::FencedInstanceId
    )
}

/// How long a fetch waits for something new: the broker answers as soon as there is. A partition whose queue here is full
/// is left out of a fetch, and is asked for again only after it: so one that is behind must not wait long for the idle.
const FETCH_WAIT_MS: u32 = 50;

/// Settings that only groups have that lead themselves.
const CLASSIC: [&str; 3] = ["session.timeout.ms", "heartbeat.interval.ms", "partition.assignment.strategy"];

/// How the members of groups find their partitions, unless the broker turned out not to lead groups.
pub(super) fn protocol(config: &KafkaConfig, is_led: bool) -> GroupProtocol {
    let is_classic = CLASSIC.iter().any(|key| config.client.contains_key(*key));
    match config.group_protocol {
        Some(protocol) => protocol,
        None if is_led && !is_classic => GroupProtocol::Consumer,
        None => GroupProtocol::Classic,
    }
}

fn settings_of(protocol: GroupProtocol) -> &'static [(&'static str, &'static str)] {
    match protocol {
        GroupProtocol::Consumer => &[("group.protocol", "consumer")],
        GroupProtocol::Classic => &[
            ("group.protocol", "classic"),
            ("partition.assignment.strategy", "cooperative-sticky"),
            ("session.timeout.ms", "10000"),
            ("heartbeat.interval.ms", "500"),
        ],
    }
}

fn give(consumer: &Consumer, list: &TopicPartitionList) -> KafkaResult<()> {
    match consumer.rebalance_protocol() {
        RebalanceProtocol::Cooperative => consumer.incremental_assign(list),
        RebalanceProtocol::Eager | RebalanceProtocol::None => consumer.assign(list),
    }
}

fn take(consumer: &Consumer, list: &TopicPartitionList) -> KafkaResult<()> {
    match consumer.rebalance_protocol() {
        RebalanceProtocol::Cooperative => consumer.incremental_unassign(list),
        RebalanceProtocol::Eager | RebalanceProtocol::None => consumer.unassign(),
    }
}

/// What an error means that a consumer can't get over.
#[derive(Debug)]
pub(super) enum Fatal {
    /// The broker does not lead groups.
    NotLed,
    /// Nothing can be done.
    Over(Error),
}

/// What an error of a consumer means, if it can't get over it.
pub(super) fn fatal(error: KafkaError) -> Option<Fatal> {
    let is_fatal = matches!(error, KafkaError::MessageConsumptionFatal(_));
    match error.rdkafka_error_code()? {
        Code::UnsupportedVersion | Code::UnsupportedFeature if is_fatal => return Some(Fatal::NotLed),
        Code::GroupAuthorizationFailed | Code::TopicAuthorizationFailed => {}
        _ if is_fatal => {}
        _ => return None,
    }
    Some(Fatal::Over(error::failed("the group can't be read", error)))
}
