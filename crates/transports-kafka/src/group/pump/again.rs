//! Messages that are read again, as they were let go of or never read here.

use std::{pin::Pin, sync::Arc};

use busgate_core::Result;
use tokio::time::Instant;

use crate::{
    group::{Crew, state::wakes::Wakes},
    reader::Picked,
};

/// How many messages are read again at a time.
const BATCH: usize = 1024;

/// What was read again: of which partition in which assignment.
type Read = (i32, u64, Result<Picked>);

/// What is being read again.
#[derive(Default)]
pub(super) struct Again(Option<Pin<Box<dyn Future<Output = Read> + Send>>>);

impl Again {
    /// Reads again what is asked for, some at a time.
    pub(super) fn begin(&mut self, crew: &Crew) {
        if self.0.is_some() {
            return;
        }
        let Some((partition, serial, offsets)) = crew.state.lock().take_wanted(BATCH) else { return };
        let (shared, event) = (Arc::clone(&crew.shared), Arc::clone(&crew.event));
        self.0 = Some(Box::pin(async move {
            (partition, serial, shared.reader.pick(&shared, &event, partition, &offsets).await)
        }));
    }

    /// Waits for what is being read, and for ever if nothing is.
    pub(super) async fn read(&mut self) -> Read {
        match &mut self.0 {
            Some(reading) => reading.await,
            None => std::future::pending().await,
        }
    }

    /// Takes in what was read.
    pub(super) fn take_in(&mut self, crew: &Crew, (partition, serial, picked): Read) {
        self.0 = None;
        let picked = match picked {
            Ok(picked) => picked,
            Err(error) => {
                // They are asked for again.
                tracing::debug!(%error, group = crew.id, partition, "messages can't be read again yet");
                return;
            }
        };
        // What retention took is told as such, before it looks like a hole.
        if let Some(begins) = picked.begins
            && let Err(error) = crew.trim(&begins)
        {
            tracing::warn!(%error, group = crew.id, "what retention has taken can't be told");
        }
        let mut wakes = Wakes::default();
        let mut state = crew.state.lock();
        if let Some(track) = state.track(partition, serial) {
            track.read_again(picked.messages, &picked.lost);
        }
        state.wake_for_work(Instant::now(), &mut wakes);
        drop(state);
        wakes.wake();
    }
}
