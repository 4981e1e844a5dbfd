//! The laws hold where the transport has no dead letters of its own and core's stand in for them.

use std::sync::Arc;

use async_trait::async_trait;
use busgate_conformance::{Claim, Harness, Limited};
use busgate_core::{DeadLetters, SystemClock, Transport};
use busgate_transports_memory::{MemoryConfig, MemoryTransport};

#[derive(Debug)]
struct StandIn;

#[async_trait]
impl Harness for StandIn {
    async fn open(&self) -> Arc<dyn Transport> {
        let memory = MemoryTransport::new(MemoryConfig::default());
        let bare = Limited::new(memory, [Claim::DeadLetters]);
        assert!(!bare.capabilities().dead_letters);
        DeadLetters::over(bare, SystemClock::shared())
    }

    async fn open_second(&self, first: &Arc<dyn Transport>) -> Option<Arc<dyn Transport>> {
        Some(Arc::clone(first))
    }
}

busgate_conformance::suite!(paused, StandIn);
