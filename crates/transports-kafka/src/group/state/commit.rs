//! What the broker is told, and what follows once it knows.

use std::time::Duration;

use busgate_core::Moment;
use tokio::time::Instant;

use super::{
    State,
    waiters::{TrackId, Waiters},
    wakes::Wakes,
};
use crate::{group::track::Told, offsets::Commit, shelf::Entry};

/// How long to wait before a commit that failed is sent again.
const AGAIN: Duration = Duration::from_millis(100);

/// Below the time after which librdkafka sends a commit again of itself, over another connection, and tells nobody: it waits
/// for `retry.backoff.ms` first, which is 100.
const RESENT: Duration = Duration::from_millis(50);

/// What a commit needs to tell anything at all.
const LEAST_METADATA: usize = 128;

/// What goes to the broker at once.
#[derive(Debug, Default)]
pub(in crate::group) struct News {
    /// What is kept beside the commits, and before them.
    pub(in crate::group) entries: Vec<(i32, Entry)>,
    pub(in crate::group) commits: Vec<(i32, Commit)>,
}

/// A commit on its way.
#[derive(Debug)]
pub(in crate::group) struct Sent {
    /// Since when.
    pub(in crate::group) begun: Instant,
    /// What is settled by it, of which assignment.
    marks: Vec<(TrackId, u64)>,
    waiters: Waiters,
}

impl State {
    /// What the broker is to hear now.
    pub(in crate::group) fn begin_commit(&mut self, now: Moment) -> Option<(News, Sent)> {
        if !self.tracks.values().any(|track| track.due().is_some_and(|due| due <= now.at)) {
            return None;
        }
        let (mut news, mut marks, mut full) = (News::default(), Vec::new(), Vec::new());
        for (partition, track) in self.tracks.iter_mut().filter(|(_, track)| track.due().is_some()) {
            match track.commit(now) {
                Some(Told { entries, commit, mark }) => {
                    news.entries.extend(entries.into_iter().map(|entry| (*partition, entry)));
                    news.commits.push((*partition, commit));
                    marks.push(((*partition, track.serial), mark));
                }
                None => {
                    tracing::error!(partition, "a commit has no room for what is finished");
                    track.soil(now.at + AGAIN);
                    full.push((*partition, track.serial));
                }
            }
        }
        let waiters = self.waiters.take_all_but(&full);
        Some((news, Sent { begun: now.at, marks, waiters }))
    }

    /// The broker has heard.
    pub(in crate::group) fn committed(&mut self, sent: Sent, now: Instant, wakes: &mut Wakes) {
        if now.duration_since(sent.begun) >= RESENT {
            self.repeating.begin(now);
        }
        for ((partition, serial), mark) in sent.marks {
            if let Some(track) = self.track(partition, serial) {
                track.committed(mark, now);
            }
        }
        sent.waiters.committed();
        self.wake_for_work(now, wakes);
    }

    /// Has the broker hear everything again where something older may have arrived since.
    ///
    /// Invariant: what a late commit brings back is gone within two seconds
    /// (`a_commit_that_arrives_late_is_made_good`).
    pub(in crate::group) fn repeat(&mut self, now: Instant) {
        if self.repeating.is_due(now) {
            self.tracks.values_mut().for_each(|track| track.soil(now));
        }
    }

    /// The broker has not heard, or did not say so: it is told again. `is_aside` when it stopped at what goes before the
    /// commits.
    pub(in crate::group) fn not_committed(&mut self, sent: Sent, is_aside: bool, now: Instant) {
        for ((partition, serial), _) in sent.marks {
            if let Some(track) = self.track(partition, serial) {
                track.not_committed(is_aside, now);
                track.soil(now + AGAIN);
            }
        }
        self.repeating.begin(now);
        let tracks = &self.tracks;
        let is_here = |(partition, serial): &TrackId| {
            tracks.get(partition).is_some_and(|track| track.serial == *serial)
        };
        self.waiters.put_back(sent.waiters, is_here);
    }

    /// The broker may have missed this node for long: what is here may be another's by now.
    ///
    /// Invariant: nothing is handed out by an owner that the broker may have given up, until it has confirmed a commit that
    /// was begun since (`an_owner_that_was_cut_off_hands_out_nothing_that_the_next_one_settled`).
    pub(in crate::group) fn doubt(&mut self, now: Instant) {
        self.tracks.values_mut().for_each(|track| track.doubt(now));
    }

    /// The broker takes less than it was told.
    pub(in crate::group) fn shrink(&mut self) {
        self.limit = (self.limit / 2).max(LEAST_METADATA);
        tracing::warn!(limit = self.limit, "the broker allows offset metadata of less than 4 KB");
        for track in self.tracks.values_mut() {
            track.shrink(self.limit);
        }
    }

    /// Another node goes on with these partitions.
    pub(in crate::group) fn lose(&mut self, partitions: &[i32]) {
        for partition in partitions {
            let Some(track) = self.tracks.remove(partition) else { continue };
            self.waiters.lose((*partition, track.serial));
        }
    }
}
