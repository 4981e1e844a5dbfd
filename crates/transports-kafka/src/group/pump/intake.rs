//! Messages on their way in.

use std::{pin::Pin, sync::Arc, time::Duration};

use busgate_core::{Message, Result};
use tokio::time::Instant;

use super::Pump;
use crate::{
    asker::Bounds,
    codec,
    group::{Crew, state::Wakes},
};

/// How many messages are taken in at a time.
const BATCH: usize = 512;

/// How long to wait before a question that failed is asked again.
const AGAIN: Duration = Duration::from_millis(200);

/// An answer to where the partitions begin.
pub(super) type Begins = Pin<Box<dyn Future<Output = Result<Vec<Bounds>>> + Send>>;

impl Pump {
    /// Takes messages in; whether there are more.
    pub(super) fn read(&mut self) -> bool {
        let mut is_busy = false;
        for (partition, queue) in &self.queues {
            let position = {
                let mut state = self.crew.state.lock();
                let track = state.tracks.get_mut(partition);
                track.and_then(|track| track.has_room().then(|| track.position()))
            };
            let Some(position) = position.filter(|_| !self.held.contains_key(partition)) else { continue };
            let mut batch = Vec::new();
            while batch.len() < BATCH {
                match queue.poll(Duration::ZERO) {
                    Some(Ok(record)) => {
                        let offset = codec::Place::of(&record).offset;
                        batch.push((offset.cast_unsigned(), codec::message(&record)));
                    }
                    Some(Err(error)) => {
                        tracing::debug!(%error, group = self.crew.id, partition, "reading is held up");
                        break;
                    }
                    None => break,
                }
            }
            is_busy |= batch.len() == BATCH;
            if goes_on(position, &batch) {
                take(&self.crew, *partition, batch);
            } else {
                self.passed.push(*partition);
                self.held.insert(*partition, batch);
            }
        }
        is_busy
    }

    /// Finds out where partitions begin that retention has passed by.
    pub(super) fn look(&mut self) {
        // What is missing is told to a member: with none it would be forgotten with the crew.
        let is_asked = self.begins.is_some() || Instant::now() < self.next_look;
        if self.passed.is_empty() || is_asked || self.crew.members() == 0 {
            return;
        }
        self.looked_at = std::mem::take(&mut self.passed);
        let (shared, event) = (Arc::clone(&self.crew.shared), Arc::clone(&self.crew.event));
        let asked = async move { shared.asker.bounds(&event.topic, event.partitions()).await };
        self.begins = Some(Box::pin(asked));
    }

    pub(super) fn pass_by(&mut self, bounds: Result<Vec<Bounds>>) {
        self.begins = None;
        let bounds = match bounds {
            Ok(bounds) => bounds,
            Err(error) => {
                tracing::debug!(%error, group = self.crew.id, "where its partitions begin can't be told yet");
                self.next_look = Instant::now() + AGAIN;
                self.passed.append(&mut self.looked_at);
                return;
            }
        };
        let begins: Vec<_> = bounds.iter().map(|bounds| bounds.begin).collect();
        if let Err(error) = self.crew.trim(&begins) {
            tracing::warn!(%error, group = self.crew.id, "what retention has taken can't be told");
        }
        for partition in std::mem::take(&mut self.looked_at) {
            let bounds = usize::try_from(partition).ok().and_then(|index| bounds.get(index));
            if let Some(bounds) = bounds {
                self.crew.go_on(partition, *bounds, &begins);
            }
            if let Some(batch) = self.held.remove(&partition) {
                take(&self.crew, partition, batch);
            }
        }
    }
}

/// Whether the messages are the ones that come next, without a hole. A hole is of a transaction or of compaction, or
/// retention was faster; what is before the place is of a partition that was made anew.
fn goes_on(position: u64, batch: &[(u64, Message)]) -> bool {
    (position..).zip(batch).all(|(expected, (offset, _))| expected == *offset)
}

fn take(crew: &Crew, partition: i32, batch: Vec<(u64, Message)>) {
    if batch.is_empty() {
        return;
    }
    let mut wakes = Wakes::default();
    let mut state = crew.state.lock();
    if let Some(track) = state.tracks.get_mut(&partition) {
        for (offset, message) in batch {
            track.read(offset, message);
        }
    }
    state.wake_for_work(Instant::now(), &mut wakes);
    drop(state);
    wakes.wake();
}
