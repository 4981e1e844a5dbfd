//! The hub: each event is read once per node for broadcast, and shared by everyone who follows it.

mod follower;
mod ring;
#[cfg(test)]
mod tests;

use std::{
    collections::HashMap,
    sync::{Arc, Weak},
    time::Duration,
};

use futures_util::StreamExt;
use tokio::time::Instant;
use tracing::{debug, warn};

use self::ring::{Ring, Slot};
pub(crate) use self::{
    follower::{Follow, Follower, Step},
    ring::Bounds,
};
use crate::{
    Cursor, Effect, End, Envelope, Error, ErrorKind, EventName, Item, Page, ReadRequest, Result, Retry,
    Start, SubscribeOptions, Subscription, Tasks, Transport, gateway::in_time, sync::Mutex,
};

/// How long a lost tail waits before it is attached again: the first and the longest wait.
const REATTACH: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(5));

/// How long a tail may be lost without its followers noticing. Then their streams end, and the clients come back or go
/// to another gateway.
const PATIENCE: Duration = Duration::from_secs(10);

/// The live events of a node.
#[derive(Debug)]
pub(crate) struct Hub {
    transport: Arc<dyn Transport>,
    bounds: Bounds,
    /// How long one call of the transport may take.
    call_timeout: Duration,
    channels: Mutex<HashMap<EventName, Weak<Channel>>>,
}

/// One event that somebody follows. Its tail ends with the last follower.
#[derive(Debug)]
pub(crate) struct Channel {
    pub(crate) event: EventName,
    transport: Arc<dyn Transport>,
    call_timeout: Duration,
    pub(crate) ring: Arc<Ring>,
    /// Owns the tail.
    _tasks: Tasks,
}

impl Hub {
    pub(crate) fn new(transport: Arc<dyn Transport>, bounds: Bounds, call_timeout: Duration) -> Self {
        Self { transport, bounds, call_timeout, channels: Mutex::default() }
    }

    /// Starts following an event.
    ///
    /// A channel that was there before and has ended tells of an earlier life of the event, or of a time before it was
    /// registered; only one that was started for this call can say that the event is not there.
    pub(crate) async fn follow(&self, event: &EventName, follow: Follow) -> Result<Follower> {
        loop {
            let (channel, is_new) = self.channel(event);
            channel.ready().await;
            if is_new || channel.ring.end().is_none() {
                return Follower::attach(channel, follow).await;
            }
        }
    }

    /// An event was unregistered: whoever comes next follows its next life, not what is left of this one.
    pub(crate) fn forget(&self, event: &EventName) {
        self.channels.lock().remove(event);
    }

    /// How many events are read for clients.
    pub(crate) fn channels(&self) -> usize {
        let channels = self.channels.lock();
        channels.iter().filter(|(event, channel)| !event.is_hidden() && channel.strong_count() > 0).count()
    }

    /// The channel of an event, and whether it was started just now.
    fn channel(&self, event: &EventName) -> (Arc<Channel>, bool) {
        let mut channels = self.channels.lock();
        if let Some(channel) = channels.get(event).and_then(Weak::upgrade)
            && channel.ring.end().is_none()
        {
            return (channel, false);
        }
        channels.retain(|_, channel| channel.strong_count() > 0);
        let channel = Arc::new(Channel::start(event.clone(), self));
        channels.insert(event.clone(), Arc::downgrade(&channel));
        (channel, true)
    }
}

impl Channel {
    fn start(event: EventName, hub: &Hub) -> Self {
        let ring = Arc::new(Ring::new(hub.bounds));
        let tasks = Tasks::new();
        let (transport, call_timeout) = (Arc::clone(&hub.transport), hub.call_timeout);
        let tail = Tail {
            event: event.clone(),
            transport: Arc::clone(&transport),
            call_timeout,
            ring: Arc::clone(&ring),
            last: None,
            wait: REATTACH.0,
            lost: None,
        };
        tasks.spawn(tail.run());
        Self { event, transport, call_timeout, ring, _tasks: tasks }
    }

    /// Resolves when the tail is attached, or has ended.
    async fn ready(&self) {
        loop {
            let changed = self.ring.changed();
            if self.ring.is_ready() {
                return;
            }
            changed.await;
        }
    }

    /// Reads history, in time.
    pub(crate) async fn read(&self, request: ReadRequest) -> Result<Page> {
        in_time(self.call_timeout, Effect::None, self.transport.read(&self.event, request)).await
    }

    /// Where the event ends right now.
    pub(crate) async fn end(&self) -> Result<Cursor> {
        in_time(self.call_timeout, Effect::None, end_of(&*self.transport, &self.event)).await
    }
}

/// Reads an event into its ring.
struct Tail {
    event: EventName,
    transport: Arc<dyn Transport>,
    call_timeout: Duration,
    ring: Arc<Ring>,
    last: Option<Cursor>,
    wait: Duration,
    /// Since when nothing has come through.
    lost: Option<Instant>,
}

impl Tail {
    async fn run(mut self) {
        loop {
            let error = match in_time(self.call_timeout, Effect::None, self.attach()).await {
                Ok(subscription) => {
                    self.ring.open();
                    let attached = Instant::now();
                    let Some(error) = self.pump(subscription).await else {
                        return self.ring.finish(End::Closed);
                    };
                    if attached.elapsed() > PATIENCE {
                        self.healthy();
                    }
                    error
                }
                Err(error) => error,
            };
            let lost = self.lost.get_or_insert_with(Instant::now).elapsed();
            if error.retry() == Retry::Never || self.last.is_none() || lost >= PATIENCE {
                debug!(event = %self.event, %error, "the tail of an event ended");
                return self.ring.finish(ended(error, self.last.is_some()));
            }
            warn!(event = %self.event, %error, wait = ?self.wait, "the tail of an event was lost, attaching again");
            tokio::time::sleep(self.wait).await;
            self.wait = (self.wait * 2).min(REATTACH.1);
        }
    }

    const fn healthy(&mut self) {
        self.wait = REATTACH.0;
        self.lost = None;
    }

    /// Subscribes where it was, so that nothing between two attachments is missed.
    async fn attach(&mut self) -> Result<Subscription> {
        let start = if self.transport.capabilities().replay {
            if self.last.is_none() {
                self.last = Some(end_of(&*self.transport, &self.event).await?);
            }
            self.last.clone().map_or(Start::Latest, Start::After)
        } else {
            Start::Latest
        };
        Arc::clone(&self.transport).subscribe(&self.event, SubscribeOptions::broadcast(start)).await
    }

    /// Answers the error that ended the subscription; `None` when the event was unregistered.
    async fn pump(&mut self, mut subscription: Subscription) -> Option<Error> {
        while let Some(item) = subscription.next().await {
            match item {
                Ok(Item::Delivery(delivery)) => {
                    // A message shows that the tail works, or time does: a mere attachment does not.
                    self.healthy();
                    self.last = Some(delivery.cursor.clone());
                    let envelope =
                        Envelope::new(delivery.event.clone(), Arc::clone(&delivery.message), delivery.cursor);
                    self.ring.push(Slot::Message(Arc::new(envelope)));
                }
                Ok(Item::Gap(gap)) => {
                    self.last = gap.cursor.clone().or_else(|| self.last.take());
                    self.ring.push(Slot::Gap(gap));
                }
                Err(error) => return Some(error),
            }
        }
        None
    }
}

/// An event that is gone after it was there has been unregistered.
fn ended(error: Error, was_there: bool) -> End {
    if was_there && error.kind() == ErrorKind::NotFound { End::Closed } else { End::Failed(error) }
}

/// Where an event ends right now.
async fn end_of(transport: &dyn Transport, event: &EventName) -> Result<Cursor> {
    let request = ReadRequest { start: Start::Latest, limit: 1, max_bytes: 1 };
    Ok(transport.read(event, request).await?.next)
}
