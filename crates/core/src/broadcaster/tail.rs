//! The one reader of a stream's event.

use std::sync::{Arc, Weak};

use futures_util::StreamExt;
use tokio::sync::broadcast::Sender;

use super::{StreamEvent, Streamed, registry::Registry};
use crate::{Item, Subscription};

/// Feeds a stream's clients until its event ends. However it ends itself, its clients do too.
pub(super) struct Tail {
    pub(super) registry: Weak<Registry>,
    pub(super) stream: String,
    pub(super) sender: Sender<Streamed>,
}

impl Tail {
    pub(super) async fn run(self, mut subscription: Subscription) {
        while let Some(item) = subscription.next().await {
            let streamed = match item {
                Ok(Item::Delivery(delivery)) => {
                    Streamed::Event(Arc::new(StreamEvent::read(&delivery.message, &self.stream)))
                }
                Ok(Item::Gap(gap)) => Streamed::Missed(gap.missed),
                Err(error) => {
                    let kind = error.kind();
                    tracing::warn!(stream = %self.stream, %kind, %error, "stream ended");
                    return;
                }
            };
            // An error says that the last client left, and this task ends with it.
            let _ = self.sender.send(streamed);
        }
    }
}

impl Drop for Tail {
    fn drop(&mut self) {
        if let Some(registry) = self.registry.upgrade() {
            registry.end(&self.stream, &self.sender);
        }
    }
}
