//! One consumer, and how far it has read for the pages of one event.

use std::{collections::HashMap, time::Duration};

use busgate_core::{Message, Result};
use rdkafka::{
    Message as _, TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
    error::KafkaError,
    message::BorrowedMessage,
    topic_partition_list::Offset,
};
use tokio::time::Instant;

use super::{Chunk, Limit, lane::Lane};
use crate::{asker::Bounds, clients::Context, codec, error, event::Event, place::Place};

/// How many messages are read ahead of one partition while another one's next is waited for.
const AHEAD: usize = 4096;

/// How many bytes of messages are read ahead for the same reason.
const AHEAD_BYTES: usize = 8 * 1024 * 1024;

/// How long one wait for the broker takes at most.
const POLL: Duration = Duration::from_millis(100);

/// A consumer, in the hands of one page at a time.
pub(super) struct Session {
    client: BaseConsumer<Context>,
    topic: String,
    life: u64,
    lanes: Vec<Lane>,
    ahead: usize,
    ahead_bytes: usize,
    aimed: bool,
    parked: bool,
    /// The topics whose leaders it knows, and of how many partitions.
    known: HashMap<String, usize>,
    used: Instant,
}

impl Session {
    pub(super) fn new(client: BaseConsumer<Context>) -> Self {
        Self {
            client,
            topic: String::new(),
            life: 0,
            lanes: Vec::new(),
            ahead: 0,
            ahead_bytes: 0,
            aimed: false,
            parked: false,
            known: HashMap::new(),
            used: Instant::now(),
        }
    }

    pub(super) const fn used(&self) -> Instant {
        self.used
    }

    pub(super) const fn is_parked(&self) -> bool {
        self.parked
    }

    /// Whether it has read ahead for who wants to go on from here.
    pub(super) fn stands_at(&self, event: &Event, next: &[i64]) -> bool {
        self.parked
            && (self.life, self.topic.as_str()) == (event.life, event.topic.as_str())
            && self.lanes.len() == next.len()
            && self.lanes.iter().zip(next).all(|(lane, next)| lane.next == *next)
    }

    /// Tells it where to read next.
    pub(super) fn aim(&mut self, event: &Event, from: &[i64], bounds: &[Bounds]) {
        (self.parked, self.aimed) = (false, true);
        event.topic.clone_into(&mut self.topic);
        self.life = event.life;
        (self.ahead, self.ahead_bytes) = (0, 0);
        self.lanes = from.iter().zip(bounds).map(|(next, bounds)| Lane::new(*next, bounds.end)).collect();
    }

    /// Begins to read where it was told.
    fn seek(&mut self, timeout: Duration) -> Result<()> {
        self.aimed = false;
        // A topic it does not know it would ask for within a second; one that is asked for it knows at once.
        if self.known.get(&self.topic).is_none_or(|known| *known < self.lanes.len()) {
            let found = self.client.fetch_metadata(Some(&self.topic), timeout);
            found.map_err(|error| error::failed("the event can't be read", error))?;
            self.known.insert(self.topic.clone(), self.lanes.len());
        }
        let mut list = TopicPartitionList::new();
        for (partition, lane) in (0..).zip(&self.lanes) {
            if !lane.is_done() {
                list.add_partition_offset(&self.topic, partition, Offset::Offset(lane.next))
                    .map_err(|error| error::failed("the event can't be read", error))?;
            }
        }
        self.client.assign(&list).map_err(|error| error::failed("the event can't be read", error))
    }

    /// Keeps what it has read ahead, if there is more to come; else it fetches nothing any more.
    pub(super) fn park(&mut self, good: bool) {
        self.used = Instant::now();
        self.parked = good && !self.lanes.iter().all(Lane::is_empty);
        if self.parked {
            return;
        }
        self.lanes.clear();
        if let Err(error) = self.client.unassign() {
            tracing::debug!(%error, "a consumer still fetches");
        }
    }

    /// Reads a page, and where offsets were missing. It blocks.
    pub(super) fn fill(&mut self, limit: Limit, timeout: Duration) -> Result<(Chunk, Vec<Place>)> {
        let deadline = Instant::now() + timeout;
        if self.aimed {
            self.seek(timeout)?;
        }
        let (mut messages, mut holes, mut bytes) = (Vec::new(), Vec::new(), 0);
        while messages.len() < limit.messages && !self.lanes.iter().all(Lane::is_empty) {
            if let Some(index) = self.first() {
                let Some(lane) = self.lanes.get_mut(index) else { break };
                let weight = lane.front().map_or(0, |(_, weight)| weight);
                if !messages.is_empty() && bytes + weight > limit.bytes {
                    break;
                }
                bytes += weight;
                self.ahead -= 1;
                self.ahead_bytes = self.ahead_bytes.saturating_sub(weight);
                if let Some((offset, message)) = lane.pop() {
                    messages.push((Place { partition: partition(index), offset }, message));
                }
                continue;
            }
            if Instant::now() >= deadline {
                return Err(error::late("what is held"));
            }
            self.poll(&mut holes)?;
        }
        self.lanes.iter_mut().for_each(Lane::settle);
        let next = self.lanes.iter().map(|lane| lane.next).collect();
        let end = self.lanes.iter().all(Lane::is_empty);
        Ok((Chunk { missed: None, from: Vec::new(), messages, next, end }, holes))
    }

    /// The partition whose next message is the oldest, once the next of each is known; or once so much was read ahead
    /// that it is not waited for any longer.
    fn first(&self) -> Option<usize> {
        let enough = self.ahead >= AHEAD || self.ahead_bytes >= AHEAD_BYTES;
        if !enough && self.lanes.iter().any(Lane::is_unknown) {
            return None;
        }
        let fronts = self.lanes.iter().enumerate().filter_map(|(index, lane)| Some((lane.front()?.0, index)));
        fronts.min().map(|(_, index)| index)
    }

    fn poll(&mut self, holes: &mut Vec<Place>) -> Result<()> {
        let Self { client, lanes, ahead, ahead_bytes, .. } = self;
        match client.poll(POLL) {
            None => {}
            Some(Ok(record)) => {
                let message = || {
                    let message = codec::message(&record);
                    *ahead += 1;
                    *ahead_bytes += message.weight();
                    message
                };
                take(lanes, &record, message, holes);
            }
            Some(Err(KafkaError::PartitionEOF(partition))) => {
                let lane = usize::try_from(partition).ok().and_then(|index| lanes.get_mut(index));
                if let Some(lane) = lane {
                    lane.finish();
                }
            }
            Some(Err(error)) => {
                let error = error::failed("the event can't be read", error);
                if !error.kind().is_transient() {
                    return Err(error);
                }
                // librdkafka tries again by itself, until the page's time is up.
                tracing::debug!(%error, "reading is held up");
            }
        }
        Ok(())
    }
}

fn take(
    lanes: &mut [Lane],
    record: &BorrowedMessage<'_>,
    message: impl FnOnce() -> Message,
    holes: &mut Vec<Place>,
) {
    let lane = usize::try_from(record.partition()).ok().and_then(|index| lanes.get_mut(index));
    let expected = lane.and_then(|lane| lane.push(record.offset(), message));
    if let Some(offset) = expected {
        holes.push(Place { partition: record.partition(), offset });
    }
}

fn partition(index: usize) -> i32 {
    i32::try_from(index).unwrap_or(i32::MAX)
}
