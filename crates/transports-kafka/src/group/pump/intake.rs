//! Messages on their way in, and what is missing among them.

use std::{collections::HashMap, pin::Pin, sync::Arc, time::Duration};

use busgate_core::{Message, Result};
use tokio::time::Instant;

use crate::{
    asker::Bounds,
    codec,
    group::{Crew, client::Queue, state::wakes::Wakes},
    place::Place,
};

/// How many messages are taken in at a time.
const BATCH: usize = 512;

/// How long to wait before a question that failed is asked again.
const AGAIN: Duration = Duration::from_millis(200);

/// An answer to where the partitions begin.
type Asked = Pin<Box<dyn Future<Output = Result<Vec<Bounds>>> + Send>>;

/// What is read of the partitions that are held here.
pub(super) struct Intake {
    queues: HashMap<i32, Queue>,
    /// What was read behind a hole, until it is known what made it.
    held: HashMap<i32, Vec<(u64, Message)>>,
    /// Partitions that retention may have passed by.
    passed: Vec<i32>,
    /// Those that it is being asked of where they begin now: an answer tells nothing of a hole that was found later.
    looked_at: Vec<i32>,
    asked: Option<Asked>,
    /// When that is asked, at the earliest.
    next_look: Instant,
}

impl Intake {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            queues: HashMap::new(),
            held: HashMap::new(),
            passed: Vec::new(),
            looked_at: Vec::new(),
            asked: None,
            next_look: now,
        }
    }

    /// Reads a partition from now on.
    pub(super) fn begin(&mut self, partition: i32, queue: Queue) {
        self.held.remove(&partition);
        self.queues.insert(partition, queue);
    }

    /// Reads a partition no more.
    pub(super) fn end(&mut self, partition: i32) {
        self.queues.remove(&partition);
        self.held.remove(&partition);
    }

    /// Takes messages in; whether there are more.
    pub(super) fn read(&mut self, crew: &Crew) -> bool {
        let mut is_busy = false;
        for (partition, queue) in &self.queues {
            let position = {
                let mut state = crew.state.lock();
                let track = state.tracks.get_mut(partition);
                track.and_then(|track| track.has_room().then(|| track.position()))
            };
            let Some(position) = position.filter(|_| !self.held.contains_key(partition)) else { continue };
            let mut batch = Vec::new();
            while batch.len() < BATCH {
                match queue.poll(Duration::ZERO) {
                    Some(Ok(record)) => {
                        let offset = Place::of(&record).offset;
                        batch.push((offset.cast_unsigned(), codec::message(&record)));
                    }
                    Some(Err(error)) => {
                        tracing::debug!(%error, group = crew.id, partition, "reading is held up");
                        break;
                    }
                    None => break,
                }
            }
            is_busy |= batch.len() == BATCH;
            if goes_on(position, &batch) {
                take(crew, *partition, batch);
            } else {
                self.passed.push(*partition);
                self.held.insert(*partition, batch);
            }
        }
        is_busy
    }

    /// Finds out where partitions begin that retention has passed by.
    pub(super) fn look(&mut self, crew: &Crew) {
        // What is missing is told to a member: with none it would be forgotten with the crew.
        let is_asked = self.asked.is_some() || Instant::now() < self.next_look;
        if self.passed.is_empty() || is_asked || crew.members() == 0 {
            return;
        }
        self.looked_at = std::mem::take(&mut self.passed);
        let (shared, event) = (Arc::clone(&crew.shared), Arc::clone(&crew.event));
        let asked = async move { shared.asker.bounds(&event.topic, event.partitions()).await };
        self.asked = Some(Box::pin(asked));
    }

    /// Waits for the answer, and for ever if nothing is asked.
    pub(super) async fn bounds(&mut self) -> Result<Vec<Bounds>> {
        match &mut self.asked {
            Some(asked) => asked.await,
            None => std::future::pending().await,
        }
    }

    /// Takes the answer in: what made the holes is known.
    pub(super) fn pass_by(&mut self, crew: &Crew, bounds: Result<Vec<Bounds>>) {
        self.asked = None;
        let bounds = match bounds {
            Ok(bounds) => bounds,
            Err(error) => {
                tracing::debug!(%error, group = crew.id, "where its partitions begin can't be told yet");
                self.next_look = Instant::now() + AGAIN;
                self.passed.append(&mut self.looked_at);
                return;
            }
        };
        let begins: Vec<_> = bounds.iter().map(|bounds| bounds.begin).collect();
        if let Err(error) = crew.trim(&begins) {
            tracing::warn!(%error, group = crew.id, "what retention has taken can't be told");
        }
        for partition in std::mem::take(&mut self.looked_at) {
            let bounds = usize::try_from(partition).ok().and_then(|index| bounds.get(index));
            if let Some(bounds) = bounds {
                crew.go_on(partition, *bounds, &begins);
            }
            if let Some(batch) = self.held.remove(&partition) {
                take(crew, partition, batch);
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
