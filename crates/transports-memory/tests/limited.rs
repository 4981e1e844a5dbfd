//! The laws hold where less is claimed: each capability is withheld once, and must be refused.

use std::sync::Arc;

use async_trait::async_trait;
use busgate_conformance::{Claim, Harness, Limited};
use busgate_core::Transport;
use busgate_transports_memory::{MemoryConfig, MemoryTransport};

#[derive(Debug)]
struct Without(&'static [Claim]);

#[async_trait]
impl Harness for Without {
    async fn open(&self) -> Arc<dyn Transport> {
        Limited::over(MemoryTransport::new(MemoryConfig::default()), self.0)
    }

    async fn open_second(&self, first: &Arc<dyn Transport>) -> Option<Arc<dyn Transport>> {
        Some(Arc::clone(first))
    }
}

macro_rules! without {
    ($($name:ident: $claims:expr;)*) => {
        $(
            mod $name {
                use super::{Claim, Without};

                busgate_conformance::suite!(paused, Without($claims));
            }
        )*
    };
}

without! {
    replay: &[Claim::Replay];
    replay_from_time: &[Claim::ReplayFromTime];
    worker_pool: &[Claim::WorkerPool];
    redelivery: &[Claim::Redelivery];
    delayed_requeue: &[Claim::DelayedRequeue];
    extend: &[Claim::Extend];
    dedup: &[Claim::Dedup];
    resume: &[Claim::Resume];
    dead_letters: &[Claim::DeadLetters];
    everything: &Claim::ALL;
}
