//! Partitions that come and go, as the broker says: one change after the other, and none of them blocks.

use std::{sync::Arc, time::Duration};

use busgate_core::Result;
use tokio::{task::JoinHandle, time::Instant};

use super::Pump;
use crate::{
    group::{
        Crew,
        client::{Client, Committed},
        opening,
        track::Track,
    },
    offsets::{self, Author},
    shelf::Shelved,
};

/// How long partitions that go elsewhere wait for their last commit: one that is late would undo what the next owner
/// commits.
pub(super) const LAST_COMMIT: Duration = Duration::from_secs(10);

/// How long to wait before a question that failed is asked again.
const AGAIN: Duration = Duration::from_millis(200);

/// What the last owner of a partition left.
pub(super) type Left = (Committed, Shelved);

/// A rebalance that is on its way.
#[derive(Debug)]
pub(super) enum Change {
    None,
    /// What the last owner left is being read.
    Taking(Vec<i32>, JoinHandle<Result<Vec<Left>>>),
    /// Reading it failed: it is tried again at this time.
    TakingAgain(Vec<i32>, Instant),
    /// The last commit is on its way.
    Leaving(Vec<i32>, Instant),
}

impl Pump {
    pub(super) fn begin_taking(&mut self, partitions: Vec<i32>) {
        self.client.began(true, &partitions);
        if partitions.is_empty() {
            self.give(&[]);
            return;
        }
        let (client, crew) = (Arc::clone(&self.client), Arc::clone(&self.crew));
        let asked = partitions.clone();
        let read = tokio::task::spawn_blocking(move || left(&crew, &client, &asked));
        self.change = Change::Taking(partitions, read);
    }

    /// Goes on with partitions as their last owner left them.
    pub(super) fn take_up(&mut self, read: Result<Vec<Left>>) {
        let Change::Taking(partitions, _) = std::mem::replace(&mut self.change, Change::None) else { return };
        let read = match read {
            Ok(read) => read,
            Err(error) => {
                tracing::debug!(%error, group = self.crew.id, "a group's offsets can't be read yet");
                self.change = Change::TakingAgain(partitions, Instant::now() + AGAIN);
                return;
            }
        };
        let mut from = Vec::with_capacity(read.len());
        for (committed, shelved) in read {
            let Some(queue) = self.client.queue(committed.partition) else { continue };
            let partition = committed.partition;
            // One that the topic got since: who follows it takes it on.
            self.crew.event.see_partitions(u16::try_from(partition + 1).unwrap_or(0));
            self.serial += 1;
            let (offset, track) = self.track(&committed, shelved);
            from.push((partition, offset));
            self.intake.begin(partition, queue);
            self.crew.state.lock().tracks.insert(partition, track);
        }
        self.give(&from);
    }

    fn track(&self, committed: &Committed, shelved: Shelved) -> (u64, Track) {
        let now = self.crew.now();
        let life = self.crew.event.life;
        // A partition that is new since the group began is read from its beginning.
        let mut offset = committed.offset.unwrap_or(0);
        let mut handover = offsets::read(offset, &committed.metadata, now);
        if handover.as_ref().is_some_and(|handover| handover.author.life != life) {
            (offset, handover) = (0, None);
        }
        let generation = handover.as_ref().map_or(0, |handover| handover.author.generation);
        let generation = (generation + 1).max(opening::least_generation(now.wall));
        let (policy, limit) = {
            let state = self.crew.state.lock();
            (Arc::clone(&state.policy), state.limit)
        };
        let author = Author { life, generation };
        (offset, Track::new(self.serial, offset, (handover, shelved), author, &policy, limit))
    }

    fn give(&mut self, from: &[(i32, u64)]) {
        if let Err(error) = self.client.give(from) {
            tracing::warn!(%error, group = self.crew.id, "partitions can't be taken");
            let partitions: Vec<_> = from.iter().map(|(partition, _)| *partition).collect();
            self.crew.state.lock().lose(&partitions);
        }
        self.change = Change::None;
    }

    pub(super) fn begin_leaving(&mut self, partitions: Vec<i32>, lost: bool) {
        self.client.began(false, &partitions);
        let now = Instant::now();
        if !lost {
            let mut state = self.crew.state.lock();
            for partition in &partitions {
                if let Some(track) = state.tracks.get_mut(partition) {
                    track.leave(now);
                }
            }
        }
        self.change = Change::Leaving(partitions, if lost { now } else { now + LAST_COMMIT });
        self.telling.hurry(now);
    }

    /// Lets partitions go whose last commit is through, or will never be.
    pub(super) fn leave(&mut self) {
        match &self.change {
            Change::TakingAgain(partitions, at) if *at <= Instant::now() => {
                let partitions = partitions.clone();
                self.begin_taking(partitions);
                return;
            }
            Change::Leaving(..) => {}
            Change::None | Change::Taking(..) | Change::TakingAgain(..) => return,
        }
        let Change::Leaving(partitions, until) = &self.change else { return };
        let mut state = self.crew.state.lock();
        let is_told = |partition: &i32| state.tracks.get(partition).is_none_or(|track| track.due().is_none());
        let is_through = self.telling.is_idle() && partitions.iter().all(is_told);
        if !is_through && Instant::now() < *until {
            return;
        }
        state.lose(partitions);
        drop(state);
        for partition in partitions {
            self.intake.end(*partition);
        }
        if let Err(error) = self.client.take(partitions) {
            tracing::warn!(%error, group = self.crew.id, "partitions can't be let go");
        }
        self.change = Change::None;
    }
}

/// What the last owners of these partitions left; blocks.
fn left(crew: &Crew, client: &Client, partitions: &[i32]) -> Result<Vec<Left>> {
    let mut left = Vec::with_capacity(partitions.len());
    for committed in client.committed(partitions, &crew.shared)? {
        let now = crew.now();
        let told = committed.offset.and_then(|offset| offsets::read(offset, &committed.metadata, now));
        let tag = told.filter(|told| told.author.life == crew.event.life).and_then(|told| told.shelf);
        let shelved = match tag {
            Some(tag) => {
                let read = crew.store.read(&crew.shared, committed.partition, tag.id, now);
                tokio::runtime::Handle::current().block_on(read)?
            }
            None => Shelved::default(),
        };
        left.push((committed, shelved));
    }
    Ok(left)
}
