//! Worker groups and named consumers.

use std::sync::Arc;

use busgate_core::{
    ConsumerLag, Error, Holder, Result, Settled, Settlement, SubscribeOptions, Subscription, Transport,
};

use crate::{event::Event, shared::Shared};

/// The groups and named consumers of a node.
#[derive(Debug)]
pub(crate) struct Groups {
    shared: Arc<Shared>,
}

impl Groups {
    pub(crate) fn new(shared: Arc<Shared>) -> Arc<Self> {
        Arc::new(Self { shared })
    }

    /// Joins a group, or takes a named consumer over.
    pub(crate) async fn subscribe(
        self: Arc<Self>,
        _transport: Arc<dyn Transport>,
        event: Arc<Event>,
        _holder: Holder,
        _options: SubscribeOptions,
    ) -> Result<Subscription> {
        Err(Error::internal(format!("no groups of {} yet on {}", event.name, self.shared.node)))
    }

    /// Settles; the answers are in the order of the settlements.
    pub(crate) async fn settle(&self, batch: Vec<Settlement>) -> Vec<Result<Settled>> {
        vec![Err(Error::internal("no groups yet")); batch.len()]
    }

    /// How far each group and named consumer of the event is.
    pub(crate) async fn lag(&self, _event: &Arc<Event>) -> Result<Vec<ConsumerLag>> {
        Ok(Vec::new())
    }

    /// Deletes what the groups of an event that was unregistered leave behind: their topics and offsets.
    pub(crate) async fn forget(&self, _event: &Arc<Event>) -> Result<()> {
        Ok(())
    }

    /// Ends all subscriptions; called before the shared clients end.
    pub(crate) async fn close(&self) {}
}
