//! Says to the transport what became of messages, as many at a time as there are, while the workers go on.

use std::sync::Arc;

use tokio::sync::mpsc::Receiver;

use super::{SubscriberState, live::Shared, stats::count};
use crate::{Settled, Settlement};

/// How many settlements go in one call.
const BATCH: usize = 512;

/// Settles until the last worker has gone, and says that the subscription is over then.
pub(super) async fn run(shared: Arc<Shared>, mut settlements: Receiver<Settlement>) {
    let mut left = false;
    loop {
        let mut batch = Vec::new();
        tokio::select! {
            biased;
            count = settlements.recv_many(&mut batch, BATCH) => {
                if count == 0 {
                    break;
                }
                settle(&shared, batch).await;
            }
            () = shared.stop.cancelled(), if !left => {
                // All workers may be busy: what was read ahead does not wait for them.
                shared.source.lock().await.take();
                left = true;
            }
        }
    }
    shared.source.lock().await.take();
    shared.state.send_modify(|state| {
        let error = match state {
            SubscriberState::Stopping(error) | SubscriberState::Ended(error) => error.take(),
            SubscriberState::Running => None,
        };
        *state = SubscriberState::Ended(error);
    });
}

async fn settle(shared: &Shared, batch: Vec<Settlement>) {
    for answer in shared.transport.settle(batch).await {
        match answer {
            Ok(Settled::Stale | Settled::Unknown) => {
                count(&shared.counters.stale);
                tracing::debug!(event = %shared.event, "a lease had run out before it was settled");
            }
            Ok(_) => {}
            Err(error) => {
                count(&shared.counters.unsettled);
                let kind = error.kind();
                tracing::warn!(event = %shared.event, %kind, %error, "not settled: the message comes back");
            }
        }
    }
}
