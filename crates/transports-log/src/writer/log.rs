//! What the writer knows of one event, and what a cycle makes of it.

use std::{collections::HashMap, sync::Arc};

use busgate_core::{
    DedupWindow, EventConfig, EventName, Message, MessageId, Moment, Receipt, Result, Timestamp,
};
use bytes::Bytes;

use super::Parcel;
use crate::{
    codec::{self, Decoder, Encoder},
    event::{Bounds, Event},
    store::{Batch, Place, seal},
};

/// What changes with each commit of an event.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Meta {
    pub(crate) bounds: Bounds,
    /// The latest timestamp of any message so far.
    pub(crate) log_time: Timestamp,
    /// When the last message arrived.
    pub(crate) arrived: Timestamp,
}

/// One event, as it is on disk.
#[derive(Debug)]
pub(crate) struct Log {
    pub(crate) event: Arc<Event>,
    /// What holds for it.
    pub(crate) config: EventConfig,
    pub(crate) meta: Meta,
    pub(crate) ids: DedupWindow,
    /// When the oldest message held arrived, or something earlier.
    pub(crate) oldest: Option<Timestamp>,
    /// Its oldest messages are damaged: retention keeps its hands off.
    pub(crate) damaged: bool,
}

/// What a cycle adds to an event. It becomes part of the log when it is on disk, or is dropped.
#[derive(Debug)]
pub(super) struct Staged {
    pub(super) meta: Meta,
    pub(super) oldest: Option<Timestamp>,
    pub(super) messages: Vec<Arc<Message>>,
    ids: HashMap<MessageId, u64>,
}

/// A message's answer, which counts when the cycle is on disk.
#[derive(Debug)]
pub(super) struct Prepared {
    pub(super) receipt: Receipt,
    /// Whether it hangs on this cycle.
    pub(super) fresh: bool,
}

impl Log {
    pub(super) fn stage(&self) -> Staged {
        Staged { meta: self.meta, oldest: self.oldest, messages: Vec::new(), ids: HashMap::new() }
    }

    /// Adds a message to the stage and the batch, unless its id is remembered.
    pub(super) fn add(
        &mut self,
        staged: &mut Staged,
        batch: &mut Batch<'_>,
        parcel: &mut Parcel,
        now: Moment,
    ) -> Result<Prepared> {
        let id = &parcel.message.id;
        if self.ids.is_on() {
            let settled = self.ids.find(now.wall, id);
            if let Some(offset) = settled.or_else(|| staged.ids.get(id).copied()) {
                let cursor = Some(self.event.cursor(offset)?);
                let receipt = Receipt { id: id.clone(), cursor, duplicate: true };
                return Ok(Prepared { receipt, fresh: settled.is_none() });
            }
        }
        let meta = &mut staged.meta;
        let place = Place { event: self.event.id, offset: meta.bounds.head };
        let cursor = self.event.cursor(place.offset)?;
        meta.log_time = meta.log_time.max(parcel.message.timestamp);
        meta.arrived = meta.arrived.max(now.wall);
        seal(&mut parcel.record, place, meta.log_time, meta.arrived);
        batch.append(place, &parcel.record)?;
        meta.bounds.head += 1;
        meta.bounds.bytes += parcel.record.len() as u64;
        staged.oldest.get_or_insert(meta.arrived);
        if self.ids.is_on() {
            staged.ids.insert(id.clone(), place.offset);
        }
        staged.messages.push(Arc::clone(&parcel.message));
        Ok(Prepared {
            receipt: Receipt { id: id.clone(), cursor: Some(cursor), duplicate: false },
            fresh: true,
        })
    }

    /// The stage is on disk: it is the log now, and everyone may see it. Answers whether retention moved on.
    pub(super) fn apply(&mut self, staged: Staged, now: Moment) -> bool {
        let trimmed = staged.meta.bounds.first > self.meta.bounds.first;
        for message in &staged.messages {
            if let Some(offset) = staged.ids.get(&message.id) {
                self.ids.remember(now.wall, &message.id, *offset);
            }
        }
        self.meta = staged.meta;
        self.oldest = staged.oldest;
        self.event.show(staged.messages, self.meta.bounds);
        trimmed
    }
}

impl Meta {
    /// The state row of an event.
    pub(crate) fn encode(&self, event: &Event) -> Vec<u8> {
        let mut out = Encoder::default();
        out.text(event.name.as_str());
        codec::encode_config(&mut out, &event.asked);
        let Bounds { first, head, bytes } = self.bounds;
        out.u64(first).u64(head).u64(bytes).time(self.log_time).time(self.arrived);
        out.finish()
    }

    /// Reads the state row of an event.
    pub(crate) fn decode(value: Bytes) -> Result<(EventName, EventConfig, Self)> {
        let mut value = Decoder::new(value);
        let name = EventName::new(value.text()?)?;
        let asked = codec::decode_config(&mut value)?;
        let bounds = Bounds { first: value.u64()?, head: value.u64()?, bytes: value.u64()? };
        let meta = Self { bounds, log_time: value.time()?, arrived: value.time()? };
        Ok((name, asked, meta))
    }
}
