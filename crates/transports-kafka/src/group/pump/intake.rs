//! Messages on their way in.

use std::{pin::Pin, sync::Arc, time::Duration};

use busgate_core::Result;
use rdkafka::types::RDKafkaErrorCode as Code;
use tokio::time::Instant;

use super::Pump;
use crate::{
    codec,
    group::{state::Wakes, track::Track},
};

/// How many messages are taken in at a time.
const BATCH: usize = 512;

/// An answer to where the partitions begin.
pub(super) type Begins = Pin<Box<dyn Future<Output = Result<Vec<i64>>> + Send>>;

impl Pump {
    /// Takes messages in; whether there are more.
    pub(super) fn read(&mut self) -> bool {
        let mut is_busy = false;
        for (partition, queue) in &self.queues {
            if !self.crew.state.lock().tracks.get(partition).is_some_and(Track::has_room) {
                continue;
            }
            let mut batch = Vec::new();
            while batch.len() < BATCH {
                match queue.poll(Duration::ZERO) {
                    Some(Ok(record)) => {
                        let offset = codec::Place::of(&record).offset;
                        batch.push((offset.cast_unsigned(), codec::message(&record)));
                    }
                    Some(Err(error)) => {
                        if error.rdkafka_error_code() == Some(Code::AutoOffsetReset) {
                            self.passed.push(*partition);
                        }
                        tracing::debug!(%error, group = self.crew.id, partition, "reading is held up");
                        break;
                    }
                    None => break,
                }
            }
            is_busy |= batch.len() == BATCH;
            if batch.is_empty() {
                continue;
            }
            let mut wakes = Wakes::default();
            let mut state = self.crew.state.lock();
            if let Some(track) = state.tracks.get_mut(partition) {
                for (offset, message) in batch {
                    track.read(offset, message);
                }
            }
            state.wake_for_work(Instant::now(), &mut wakes);
            drop(state);
            wakes.wake();
        }
        is_busy
    }

    /// Finds out where partitions begin that retention has passed by.
    pub(super) fn look(&mut self) {
        if self.passed.is_empty() || self.begins.is_some() {
            return;
        }
        let (shared, event) = (Arc::clone(&self.crew.shared), Arc::clone(&self.crew.event));
        let asked = async move { shared.asker.begins(&event.topic, event.partitions()).await };
        self.begins = Some(Box::pin(asked));
    }

    pub(super) fn pass_by(&mut self, begins: Result<Vec<i64>>) {
        self.begins = None;
        let Ok(begins) = begins else { return };
        if let Err(error) = self.crew.trim(&begins) {
            tracing::warn!(%error, group = self.crew.id, "what retention has taken can't be told");
        }
        for partition in std::mem::take(&mut self.passed) {
            let begin = usize::try_from(partition).ok().and_then(|index| begins.get(index)).copied();
            let position = self.crew.state.lock().tracks.get(&partition).map(Track::position);
            let (Some(begin), Some(position)) = (begin, position) else { continue };
            let from = position.max(u64::try_from(begin).unwrap_or(0));
            if let Err(error) = self.client.seek(partition, from) {
                tracing::warn!(%error, group = self.crew.id, partition, "a partition is not read");
            }
        }
    }
}
