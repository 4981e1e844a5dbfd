//! The topic that has the records of what is set aside of one event.

use std::collections::{BTreeMap, BTreeSet};

use busgate_core::{EventName, Keyed, Moment, Result, Standing, Unfinished};
use tokio::sync::OnceCell;

use super::{Entry, record};
use crate::{
    admin::Plan,
    config::{self, KafkaConfig},
    event::Event,
    producer::Draft,
    reader::Limit,
    registry::topic,
    shared::Shared,
};

/// What the topic's name begins with, after the prefix and what all topics of ours begin with.
const TOPIC: &str = "held.";

/// How the topic is kept: what is deleted or written again goes soon, so that there is little to read.
const SETTINGS: [(&str, &str); 5] = [
    ("cleanup.policy", "compact"),
    ("segment.bytes", "8388608"),
    ("segment.ms", "600000"),
    ("min.cleanable.dirty.ratio", "0.2"),
    ("delete.retention.ms", "3600000"),
];

/// How many records are written at once.
const BATCH: usize = 5000;

/// How much is read at once.
const PAGE: Limit = Limit { messages: 10_000, bytes: 4 * 1024 * 1024 };

/// The topic, and whose records in it.
#[derive(Debug)]
pub(crate) struct Store {
    event: EventName,
    topic: String,
    group: String,
    /// How many partitions the event had when this was made, and so how many the topic gets.
    wanted: u16,
    partitions: OnceCell<u16>,
}

/// What was set aside of a partition.
#[derive(Debug, Default)]
pub(crate) struct Shelved {
    /// By offset.
    pub(crate) known: Vec<Unfinished>,
    /// The records there are, by shelf and offset.
    pub(crate) records: Vec<(u64, u64)>,
}

impl Store {
    pub(crate) fn new(config: &KafkaConfig, event: &Event, group: &str) -> Self {
        let (topic, group) = (held_topic(config, event), group.to_owned());
        let (event, wanted) = (event.name.clone(), event.partitions());
        Self { event, topic, group, wanted, partitions: OnceCell::new() }
    }

    /// Writes records, and waits until they are kept.
    ///
    /// # Errors
    /// As the broker says, of those that are needed.
    pub(crate) async fn write(&self, shared: &Shared, entries: &[(i32, Entry)]) -> Result<()> {
        let partitions = match self.partitions(shared).await {
            Err(_) if !entries.iter().any(|(_, entry)| entry.is_needed) => return Ok(()),
            partitions => partitions?,
        };
        for batch in entries.chunks(BATCH) {
            let keys: Vec<_> = batch
                .iter()
                .map(|(partition, entry)| record::key(&self.group, *partition, entry.shelf, entry.offset))
                .collect();
            let drafts = batch.iter().zip(&keys).map(|((partition, entry), key)| Draft {
                topic: &self.topic,
                partition: of(*partition, partitions),
                key: Some(key.as_bytes()),
                payload: entry.value.as_deref(),
                headers: None,
                timestamp: None,
            });
            let answers = shared.producer.send(drafts.collect()).await;
            for ((_, entry), answer) in batch.iter().zip(answers) {
                match answer {
                    Err(error) if entry.is_needed => return Err(error),
                    Err(error) => tracing::debug!(%error, "a left-over record stays"),
                    Ok(_) => {}
                }
            }
        }
        Ok(())
    }

    /// Reads what is set aside of a partition on this shelf.
    ///
    /// # Errors
    /// As the broker says.
    pub(crate) async fn read(
        &self,
        shared: &Shared,
        partition: i32,
        shelf: u64,
        now: Moment,
    ) -> Result<Shelved> {
        let partitions = self.partitions(shared).await?;
        let topic = Event::new(self.event.clone(), self.topic.clone(), 0, partitions);
        let own = usize::try_from(of(partition, partitions)).unwrap_or(0);
        let mut next = vec![i64::MAX; usize::from(partitions)];
        if let Some(slot) = next.get_mut(own) {
            *slot = 0;
        }
        let (mut known, mut records) = (BTreeMap::new(), BTreeSet::new());
        loop {
            let chunk = shared.reader.page(shared, &topic, next, PAGE).await?;
            for (_, message) in chunk.messages {
                let found =
                    message.key.as_deref().and_then(|key| record::parse_key(key, &self.group, partition));
                let Some((of, offset)) = found else { continue };
                if message.payload.is_empty() {
                    records.remove(&(of, offset));
                    if of == shelf {
                        known.remove(&offset);
                    }
                    continue;
                }
                records.insert((of, offset));
                if of == shelf {
                    let read = record::parse(&message.payload, offset, now);
                    known.insert(offset, read.unwrap_or_else(|| unreadable(offset)));
                }
            }
            if chunk.end {
                break;
            }
            next = chunk.next;
        }
        Ok(Shelved { known: known.into_values().collect(), records: records.into_iter().collect() })
    }

    /// How many partitions the topic has, which is made if it is not there. They never get more.
    async fn partitions(&self, shared: &Shared) -> Result<u16> {
        let made = self.partitions.get_or_try_init(|| async {
            let config = SETTINGS.map(|(key, value)| (key, value.to_owned())).to_vec();
            let plan = Plan { name: self.topic.clone(), partitions: self.wanted, config };
            topic::ensure(shared, &plan, shared.config.timeout).await
        });
        made.await.copied()
    }
}

/// The name of the topic.
pub(crate) fn held_topic(config: &KafkaConfig, event: &Event) -> String {
    config::topic::fitting(config.own_topic(&format!("{TOPIC}{}", event.topic)))
}

/// A message of which nothing is known but that it is not finished.
fn unreadable(offset: u64) -> Unfinished {
    tracing::warn!(offset, "the record of a message that is set aside can't be read");
    let (key, standing) = (Keyed::Unknown, Standing::Fresh);
    Unfinished { offset, attempts: 0, epoch: 0, open: false, key, standing }
}

/// Where the records of a partition are.
fn of(partition: i32, partitions: u16) -> i32 {
    partition % i32::from(partitions.max(1))
}
