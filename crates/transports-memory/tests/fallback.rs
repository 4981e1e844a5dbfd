//! The laws hold where the transport has no dead letters of its own and core's stand in for them.

use std::sync::Arc;

use async_trait::async_trait;
use busgate_conformance::{Claim, Harness, Limited, Overlay, Stop, overlaid};
use busgate_core::{Capabilities, DeadLetters, SystemClock, Transport};
use busgate_transports_memory::{MemoryConfig, MemoryTransport};
use parking_lot::Mutex;

/// Each node has a stand-in of its own over the same memory.
#[derive(Debug, Default)]
struct StandIn {
    memory: Mutex<Option<Arc<dyn Transport>>>,
    outlives_its_nodes: bool,
}

impl StandIn {
    fn lasting() -> Self {
        Self { outlives_its_nodes: true, ..Self::default() }
    }

    fn over(memory: Arc<dyn Transport>) -> Arc<dyn Transport> {
        DeadLetters::over(memory, SystemClock::shared())
    }
}

#[async_trait]
impl Harness for StandIn {
    async fn open(&self) -> Arc<dyn Transport> {
        let memory = Limited::over(MemoryTransport::new(MemoryConfig::default()), [Claim::DeadLetters]);
        assert!(!memory.capabilities().dead_letters);
        let memory = if self.outlives_its_nodes { overlaid(Arc::new(Lasting(memory))) } else { memory };
        *self.memory.lock() = Some(Arc::clone(&memory));
        Self::over(memory)
    }

    async fn open_second(&self, _first: &Arc<dyn Transport>) -> Option<Arc<dyn Transport>> {
        self.memory.lock().clone().map(Self::over)
    }

    /// What a node knew is gone with it; the memory stays.
    async fn reopen(&self, previous: Arc<dyn Transport>, _: Stop) -> Option<Arc<dyn Transport>> {
        drop(previous);
        self.memory.lock().clone().filter(|_| self.outlives_its_nodes).map(Self::over)
    }
}

/// Memory that outlives the nodes over it.
#[derive(Debug)]
struct Lasting(Arc<dyn Transport>);

impl Overlay for Lasting {
    fn beneath(&self) -> &Arc<dyn Transport> {
        &self.0
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { durable: true, ..self.0.capabilities() }
    }
}

mod with_the_nodes {
    use super::StandIn;

    busgate_conformance::suite!(paused, StandIn::default());
}

mod beyond_the_nodes {
    use super::StandIn;

    busgate_conformance::suite!(paused, StandIn::lasting());
}
