//! Reading single messages of one partition.

use std::{collections::BTreeSet, sync::Arc};

use busgate_core::{Message, Result};

use super::{Limit, Reader};
use crate::{event::Event, shared::Shared};

/// How far apart messages may be to be read with what is between them.
const STRIDE: u64 = 512;

/// How many bytes are read at once, and in all.
const BYTES: usize = 8 * 1024 * 1024;

/// What was found.
#[derive(Debug, Default)]
pub(crate) struct Picked {
    /// By offset.
    pub(crate) messages: Vec<(u64, Arc<Message>)>,
    /// Those that are not there.
    pub(crate) lost: Vec<u64>,
    /// Where the partitions begin, if retention took some of those.
    pub(crate) begins: Option<Vec<i64>>,
}

impl Reader {
    /// Reads the messages at these offsets, which are in order: as many as there is room for, the first at least.
    ///
    /// # Errors
    /// As the broker says, and when it does not answer in time.
    pub(crate) async fn pick(
        &self,
        shared: &Shared,
        event: &Event,
        partition: i32,
        offsets: &[u64],
    ) -> Result<Picked> {
        let own = usize::try_from(partition).unwrap_or(0);
        let mut picked = Picked::default();
        let (mut rest, mut room) = (offsets, BYTES);
        while let Some((first, _)) = rest.split_first().filter(|_| room > 0) {
            let near = rest.partition_point(|offset| *offset < first.saturating_add(STRIDE));
            let (asked, later) = rest.split_at(near);
            let last = asked.last().unwrap_or(first);
            // The other partitions are of no interest, so they are read from beyond their ends.
            let mut from = vec![i64::MAX; usize::from(event.partitions()).max(own + 1)];
            if let Some(slot) = from.get_mut(own) {
                *slot = first.cast_signed();
            }
            let messages = usize::try_from(last - first).unwrap_or(usize::MAX).saturating_add(1);
            let chunk = self.page(shared, event, from, Limit { messages, bytes: room }).await?;
            if chunk.missed.is_some() && picked.begins.is_none() {
                picked.begins = Some(shared.asker.begins(&event.topic, event.partitions()).await?);
            }
            let wanted: BTreeSet<_> = asked.iter().copied().collect();
            let mut found = BTreeSet::new();
            let mut passed = chunk.next.get(own).map_or(0, |next| next.cast_unsigned());
            if chunk.end {
                passed = u64::MAX;
            }
            for (place, message) in chunk.messages {
                room = room.saturating_sub(message.weight());
                let offset = place.offset.cast_unsigned();
                if wanted.contains(&offset) {
                    found.insert(offset);
                    picked.messages.push((offset, message));
                }
            }
            let seen = asked.partition_point(|offset| *offset < passed);
            picked.lost.extend(asked.iter().take(seen).filter(|offset| !found.contains(offset)));
            if seen < asked.len() {
                // The room is used up; what is left is asked for again.
                break;
            }
            rest = later;
        }
        Ok(picked)
    }
}
