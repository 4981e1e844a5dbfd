//! The laws hold where the transport has no dead letters of its own and core's stand in for them.

use std::sync::Arc;

use async_trait::async_trait;
use busgate_conformance::{Claim, Harness, Limited};
use busgate_core::{DeadLetters, SystemClock, Transport};
use busgate_transports_memory::{MemoryConfig, MemoryTransport};
use parking_lot::Mutex;

/// Each node has a stand-in of its own over the same memory.
#[derive(Debug, Default)]
struct StandIn(Mutex<Option<Arc<dyn Transport>>>);

impl StandIn {
    fn over(bare: Arc<dyn Transport>) -> Arc<dyn Transport> {
        DeadLetters::over(bare, SystemClock::shared())
    }
}

#[async_trait]
impl Harness for StandIn {
    async fn open(&self) -> Arc<dyn Transport> {
        let memory = MemoryTransport::new(MemoryConfig::default());
        let bare = Limited::over(memory, [Claim::DeadLetters]);
        assert!(!bare.capabilities().dead_letters);
        *self.0.lock() = Some(bare.clone());
        Self::over(bare)
    }

    async fn open_second(&self, _first: &Arc<dyn Transport>) -> Option<Arc<dyn Transport>> {
        self.0.lock().clone().map(Self::over)
    }
}

busgate_conformance::suite!(paused, StandIn::default());
