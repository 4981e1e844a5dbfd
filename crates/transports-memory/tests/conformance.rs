//! The memory transport keeps every law, by tokio's paused clock and by the real one.

use std::sync::Arc;

use async_trait::async_trait;
use busgate_conformance::{Harness, Stop};
use busgate_core::Transport;
use busgate_transports_memory::{MemoryConfig, MemoryTransport};

#[derive(Debug)]
struct Memory;

#[async_trait]
impl Harness for Memory {
    async fn open(&self) -> Arc<dyn Transport> {
        MemoryTransport::new(MemoryConfig::default())
    }

    async fn open_second(&self, first: &Arc<dyn Transport>) -> Option<Arc<dyn Transport>> {
        Some(Arc::clone(first))
    }

    async fn reopen(&self, previous: Arc<dyn Transport>, _: Stop) -> Option<Arc<dyn Transport>> {
        drop(previous);
        Some(self.open().await)
    }
}

mod paused {
    use super::Memory;

    busgate_conformance::suite!(paused, Memory);
}

mod real {
    use super::Memory;

    busgate_conformance::suite!(real, Memory);
}
