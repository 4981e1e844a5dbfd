//! Messages on their way in.

use std::{pin::Pin, sync::Arc, time::Duration};

use busgate_core::Result;
use rdkafka::types::RDKafkaErrorCode as Code;
use tokio::time::Instant;

use super::Pump;
use crate::{
    asker::Bounds,
    codec,
    group::{state::Wakes, track::Track},
};

/// How many messages are taken in at a time.
const BATCH: usize = 512;

/// An answer to where the partitions begin.
pub(super) type Begins = Pin<Box<dyn Future<Output = Result<Vec<Bounds>>> + Send>>;

impl Pump {
    /// Takes messages in; whether there are more.
    pub(super) fn read(&mut self) -> bool {
        let mut is_busy = false;
        for (partition, queue) in &self.queues {
            if !self.crew.state.lock().tracks.get_mut(partition).is_some_and(Track::has_room) {
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
        // What is missing is told to a member: with none it would be forgotten with the crew.
        if self.passed.is_empty() || self.begins.is_some() || self.crew.members() == 0 {
            return;
        }
        let (shared, event) = (Arc::clone(&self.crew.shared), Arc::clone(&self.crew.event));
        let asked = async move { shared.asker.bounds(&event.topic, event.partitions()).await };
        self.begins = Some(Box::pin(asked));
    }

    pub(super) fn pass_by(&mut self, bounds: Result<Vec<Bounds>>) {
        self.begins = None;
        let Ok(bounds) = bounds else { return };
        let begins: Vec<_> = bounds.iter().map(|bounds| bounds.begin).collect();
        if let Err(error) = self.crew.trim(&begins) {
            tracing::warn!(%error, group = self.crew.id, "what retention has taken can't be told");
        }
        for partition in std::mem::take(&mut self.passed) {
            let Some(bounds) = usize::try_from(partition).ok().and_then(|index| bounds.get(index)) else {
                continue;
            };
            let Some(from) = self.crew.go_on(partition, *bounds, &begins) else { continue };
            if let Err(error) = self.client.seek(partition, from) {
                tracing::warn!(%error, group = self.crew.id, partition, "a partition is not read");
            }
        }
    }
}
