//! Who waits until what was settled is committed.

use tokio::sync::oneshot;

/// A partition, and which assignment of it.
pub(super) type TrackId = (i32, u64);

/// Somebody who waits, and for the commits of which partitions.
#[derive(Debug)]
struct Waiter {
    tracks: Vec<TrackId>,
    done: oneshot::Sender<bool>,
}

/// Those who wait.
#[derive(Debug, Default)]
pub(super) struct Waiters(Vec<Waiter>);

impl Waiters {
    /// Waits for these; tells whether they are committed.
    pub(super) fn add(&mut self, tracks: Vec<TrackId>) -> oneshot::Receiver<bool> {
        let (done, committed) = oneshot::channel();
        self.0.push(Waiter { tracks, done });
        committed
    }

    /// Those who wait for none of these.
    pub(super) fn take_all_but(&mut self, tracks: &[TrackId]) -> Self {
        let others = |waiter: &mut Waiter| !waiter.tracks.iter().any(|track| tracks.contains(track));
        Self(self.0.extract_if(.., others).collect())
    }

    /// All is committed.
    pub(super) fn committed(self) {
        for waiter in self.0 {
            // Whoever no longer waits does not need it.
            let _ = waiter.done.send(true);
        }
    }

    /// Those go on waiting whose partitions are all here; the others are told that it is over.
    pub(super) fn put_back(&mut self, waiters: Self, is_here: impl Fn(&TrackId) -> bool) {
        for waiter in waiters.0.into_iter().filter(|waiter| !waiter.done.is_closed()) {
            if waiter.tracks.iter().all(&is_here) {
                self.0.push(waiter);
            } else {
                let _ = waiter.done.send(false);
            }
        }
    }

    /// A partition is read elsewhere: who waits for it is told that it is over.
    pub(super) fn lose(&mut self, track: TrackId) {
        for waiter in self.0.extract_if(.., |waiter| waiter.tracks.contains(&track)) {
            let _ = waiter.done.send(false);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_waits_is_told_once_all_of_it_is_committed_or_some_is_lost() {
        let mut waiters = Waiters::default();
        let (mut one, mut both) = (waiters.add(vec![(0, 1)]), waiters.add(vec![(0, 1), (1, 2)]));
        let told = waiters.take_all_but(&[(1, 2)]);
        told.committed();
        assert!(one.try_recv().unwrap() && both.try_recv().is_err());
        let failed = waiters.take_all_but(&[]);
        waiters.put_back(failed, |_| true);
        waiters.lose((9, 9));
        assert!(both.try_recv().is_err(), "it is tried again");
        waiters.lose((1, 2));
        assert!(!both.try_recv().unwrap());
    }

    #[test]
    fn what_fails_is_not_tried_again_by_who_lost_the_partition() {
        let mut waiters = Waiters::default();
        let mut waits = waiters.add(vec![(0, 1)]);
        let failed = waiters.take_all_but(&[]);
        waiters.put_back(failed, |_| false);
        assert!(!waits.try_recv().unwrap());
    }
}
