//! Messages that are read again, as they were let go of or never read here.

use std::{pin::Pin, sync::Arc};

use busgate_core::Result;
use tokio::time::Instant;

use super::Pump;
use crate::{group::state::Wakes, reader::Picked};

/// How many messages are read again at a time.
const BATCH: usize = 1024;

/// What was read again: of which partition in which assignment.
pub(super) type Fetching = Pin<Box<dyn Future<Output = (i32, u64, Result<Picked>)> + Send>>;

impl Pump {
    /// Reads again what was asked for.
    pub(super) fn fetch(&mut self) {
        if self.fetching.is_some() {
            return;
        }
        let Some((partition, serial, offsets)) = self.crew.state.lock().take_wanted(BATCH) else { return };
        let (shared, event) = (Arc::clone(&self.crew.shared), Arc::clone(&self.crew.event));
        self.fetching = Some(Box::pin(async move {
            (partition, serial, shared.reader.pick(&shared, &event, partition, &offsets).await)
        }));
    }

    pub(super) fn fetched(&mut self, (partition, serial, picked): (i32, u64, Result<Picked>)) {
        self.fetching = None;
        let picked = match picked {
            Ok(picked) => picked,
            Err(error) => {
                // They are asked for again.
                tracing::debug!(%error, group = self.crew.id, partition, "messages can't be read again yet");
                return;
            }
        };
        // What retention took is told as such, before it looks like a hole.
        if let Some(begins) = picked.begins
            && let Err(error) = self.crew.trim(&begins)
        {
            tracing::warn!(%error, group = self.crew.id, "what retention has taken can't be told");
        }
        let mut wakes = Wakes::default();
        let mut state = self.crew.state.lock();
        if let Some(track) = state.tracks.get_mut(&partition).filter(|track| track.serial == serial) {
            track.read_again(picked.messages, &picked.lost);
        }
        state.wake_for_work(Instant::now(), &mut wakes);
        drop(state);
        wakes.wake();
    }
}
