//! The typed bus: values in, handlers out, over any [`Transport`], local or remote.
//!
//! ```
//! use std::sync::Arc;
//!
//! use busgate_core::Bus;
//! use busgate_transports_memory::{MemoryConfig, MemoryTransport};
//! use serde::{Deserialize, Serialize};
//!
//! #[derive(Debug, Serialize, Deserialize)]
//! struct Order {
//!     id: u64,
//!     cents: u64,
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let bus = Bus::new(MemoryTransport::new(MemoryConfig::default()));
//! let orders = bus.event::<Order>("order.created")?;
//! orders.register().await?;
//!
//! let (paid, mut receipts) = tokio::sync::mpsc::channel(16);
//! let billing = orders
//!     .subscribe()
//!     .group("billing")
//!     .handle(move |order, _context| {
//!         let paid = paid.clone();
//!         async move {
//!             paid.send(order.cents).await?; // any error gives the message back
//!             Ok(()) // done: acked
//!         }
//!     })
//!     .await?;
//!
//! orders.publish(&Order { id: 7, cents: 9_999 }).await?;
//! assert_eq!(receipts.recv().await, Some(9_999));
//! billing.stop().await;
//! # Ok(())
//! # }
//! ```
//!
//! Who gets what is the contract of [`Transport`]: a *group* shares the work, a *consumer* remembers where it was, and
//! without either everyone gets everything from now on. What a handler answers settles the message; see [`Failure`].
//! [`middleware`] goes around handlers and around publishing, with [`Service`] and [`Layer`] as the seams.

mod builder;
mod codec;
mod context;
mod event;
mod failure;
mod inner;
mod lanes;
mod live;
pub mod middleware;
mod publish;
mod service;
mod settler;
mod stats;
mod subscribe;
mod subscriber;
mod typed;
mod worker;

use std::{fmt, sync::Arc, time::Duration};

pub use self::{
    builder::BusBuilder,
    codec::{Codec, Decode, Encode, Json, Raw},
    context::Context,
    event::Event,
    failure::{BoxError, Failure, Verdict},
    publish::{Publication, Publish, Published, TRACEPARENT},
    service::{Boxed, BoxedHandling, BoxedPublishing, Handling, Identity, Layer, Publishing, Service, Stack},
    stats::SubscriberStats,
    subscribe::{MAX_CONCURRENCY, Subscribe},
    subscriber::{Subscriber, SubscriberState},
    typed::Typed,
};
use self::{inner::Inner, publish::no_answer};
use crate::{EventName, Result, Transport};

/// How long [`Bus::close`] waits for handlers.
pub const DEFAULT_CLOSE_GRACE: Duration = Duration::from_secs(30);

/// A typed bus over a transport. Cloning it is cheap; see the [module](self) for an example.
///
/// When the last of its clones, events and subscribers is dropped, its subscriptions end with it.
#[derive(Clone)]
pub struct Bus {
    inner: Arc<Inner>,
}

impl Bus {
    /// A bus with nothing else said.
    #[must_use]
    pub fn new(transport: Arc<dyn Transport>) -> Self {
        Self::builder(transport).build()
    }

    /// A bus with a source, a clock, or layers around all publishing and handling.
    pub fn builder(transport: Arc<dyn Transport>) -> BusBuilder {
        BusBuilder::new(transport)
    }

    fn from_inner(inner: Inner) -> Self {
        Self { inner: Arc::new(inner) }
    }

    /// The event of this name, its values written as JSON. Nothing is asked of the transport yet.
    ///
    /// # Errors
    /// `invalid` when it is no event name.
    pub fn event<T>(&self, name: impl AsRef<str>) -> Result<Event<T>> {
        Ok(Event::new(Arc::clone(&self.inner), EventName::new(name)?))
    }

    /// The transport underneath, for all that is not typed.
    #[must_use]
    pub fn transport(&self) -> &Arc<dyn Transport> {
        &self.inner.transport
    }

    /// As [`Bus::close_within`] with [`DEFAULT_CLOSE_GRACE`].
    pub async fn close(&self) {
        self.close_within(DEFAULT_CLOSE_GRACE).await;
    }

    /// Stops all subscriptions and waits until what is in hand is handled and settled. What is still being handled
    /// after `grace` goes back, uncounted. From then on publishing and subscribing answer `unavailable`.
    ///
    /// The transport stays open: it may serve others, and closing it is up to whoever opened it.
    pub async fn close_within(&self, grace: Duration) {
        self.inner.close(grace).await;
    }
}

impl fmt::Debug for Bus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bus").field("transport", &self.inner.transport).finish_non_exhaustive()
    }
}
