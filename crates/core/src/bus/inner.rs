//! What a bus and everything made from it share.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures_util::future::join_all;
use parking_lot::Mutex;
use tokio::time::Instant;

use super::{
    BoxedHandling, BoxedPublishing, Publication, Service,
    live::Live,
    publish::{Sending, no_answer},
};
use crate::{Clock, Error, EventName, Limits, Message, MessageId, Receipt, Result, RetryPolicy, Transport};

/// Puts a bus-wide layer around a subscription's handler.
pub(super) type WrapHandling = Box<dyn Fn(BoxedHandling) -> BoxedHandling + Send + Sync>;

pub(super) struct Inner {
    pub(super) transport: Arc<dyn Transport>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) source: String,
    pub(super) limits: Limits,
    pub(super) retry: RetryPolicy,
    /// Present when the bus has layers for publishing.
    pub(super) publishing: Option<BoxedPublishing>,
    /// From the innermost out.
    pub(super) handling: Vec<WrapHandling>,
    pub(super) live: Mutex<Lives>,
    pub(super) closed: AtomicBool,
}

/// The subscriptions of a bus that may still run.
#[derive(Debug, Default)]
pub(super) struct Lives {
    closing: bool,
    all: Vec<Arc<Live>>,
}

impl Inner {
    /// A message as this bus publishes it.
    pub(super) fn message(&self, payload: Bytes, content_type: &str) -> Message {
        let mut message = Message::new(MessageId::generate(), payload);
        message.source.clone_from(&self.source);
        message.timestamp = self.clock.now();
        message.content_type = Some(content_type.to_owned());
        message
    }

    /// Refuses what every gateway would refuse, so that a program behaves the same on a local transport.
    pub(super) fn admit(&self, event: &EventName, message: Message) -> Result<Message> {
        refuse_own(event)?;
        self.limits.check(&message)?;
        Ok(message)
    }

    pub(super) fn send<'a>(&'a self, event: &'a EventName, messages: Vec<Message>) -> Sending<'a> {
        if self.closed.load(Ordering::Relaxed) {
            return Sending::Refused(Some(closed()));
        }
        match &self.publishing {
            None => Sending::Direct(self.transport.publish(event, messages)),
            Some(layers) => Sending::Layered(layers.start(Publication { event: event.clone(), messages })),
        }
    }

    /// Publishes those of a batch that could be written; the answers are in the order of the batch.
    pub(super) async fn send_all(
        &self,
        event: &EventName,
        batch: Vec<Result<Message>>,
    ) -> Vec<Result<Receipt>> {
        let mut messages = Vec::with_capacity(batch.len());
        let mut refused = Vec::with_capacity(batch.len());
        for message in batch {
            match message.and_then(|message| self.admit(event, message)) {
                Ok(message) => {
                    messages.push(message);
                    refused.push(None);
                }
                Err(error) => refused.push(Some(Err(error))),
            }
        }
        let count = messages.len();
        let mut sent = Vec::new();
        if count > 0 {
            sent = self.send(event, messages).await.unwrap_or_else(|error| vec![Err(error); count]);
        }
        let mut sent = sent.into_iter();
        refused.into_iter().map(|answer| answer.or_else(|| sent.next()).unwrap_or_else(no_answer)).collect()
    }

    /// Takes in a subscription.
    pub(super) fn keep(&self, live: &Arc<Live>) -> Result<()> {
        let mut lives = self.live.lock();
        if lives.closing {
            return Err(closed());
        }
        lives.all.retain(|live| !live.is_over());
        lives.all.push(Arc::clone(live));
        Ok(())
    }

    pub(super) fn refuse_if_closing(&self) -> Result<()> {
        if self.live.lock().closing { Err(closed()) } else { Ok(()) }
    }

    pub(super) async fn close(&self, grace: Duration) {
        let all = {
            let mut lives = self.live.lock();
            lives.closing = true;
            // Whoever closes meanwhile waits for the same.
            lives.all.clone()
        };
        let deadline = Instant::now() + grace;
        join_all(all.iter().map(|live| live.finish(Some(deadline)))).await;
        // What was in hand could still publish until now.
        self.closed.store(true, Ordering::Relaxed);
        self.live.lock().all.clear();
    }
}

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inner").field("source", &self.source).finish_non_exhaustive()
    }
}

/// The end of every stack of publishing layers.
#[derive(Debug)]
pub(super) struct ToTransport(pub(super) Arc<dyn Transport>);

impl Service<Publication> for ToTransport {
    type Response = Vec<Result<Receipt>>;
    type Error = Error;

    async fn call(&self, request: Publication) -> Result<Self::Response> {
        Ok(self.0.publish(&request.event, request.messages).await)
    }
}

pub(super) fn refuse_own(event: &EventName) -> Result<()> {
    if event.is_own() {
        return Err(Error::invalid(format!(
            "event `{event}`: names that start with `_` are the gateway's own"
        )));
    }
    Ok(())
}

fn closed() -> Error {
    Error::unavailable("the bus is closed")
}
