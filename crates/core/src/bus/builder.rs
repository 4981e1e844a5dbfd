//! How a bus is made.

use std::{
    fmt,
    sync::{Arc, atomic::AtomicBool},
};

use parking_lot::Mutex;

use super::{
    Boxed, BoxedHandling, BoxedPublishing, Bus, Handling, Layer, Publishing,
    inner::{Inner, Lives, ToTransport, WrapHandling},
};
use crate::{Clock, DeadLetters, HARD_MAX_PAYLOAD_BYTES, Limits, RetryPolicy, SystemClock, Transport};

/// A layer around publishing, its type forgotten.
type WrapPublishing = Box<dyn Fn(BoxedPublishing) -> BoxedPublishing + Send + Sync>;

/// Makes a [`Bus`].
#[must_use]
pub struct BusBuilder {
    transport: Arc<dyn Transport>,
    clock: Arc<dyn Clock>,
    source: String,
    limits: Limits,
    retry: RetryPolicy,
    publishing: Vec<WrapPublishing>,
    handling: Vec<WrapHandling>,
}

impl BusBuilder {
    pub(super) fn new(transport: Arc<dyn Transport>) -> Self {
        Self {
            transport,
            clock: SystemClock::shared(),
            source: String::new(),
            // The gateway behind a transport may be configured to less, and says so itself.
            limits: Limits { max_payload_bytes: HARD_MAX_PAYLOAD_BYTES, ..Limits::default() },
            retry: RetryPolicy::default(),
            publishing: Vec::new(),
            handling: Vec::new(),
        }
    }

    /// Who publishes: the `source` of every message. Without one it is the gateway that says who it was.
    pub fn source(mut self, source: impl Into<String>) -> Self {
        self.source = source.into();
        self
    }

    /// What a message may weigh.
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// How long leases run and how messages come back, for all subscriptions that say nothing else.
    pub fn retry(mut self, policy: RetryPolicy) -> Self {
        self.retry = policy;
        self
    }

    /// Another clock than the machine's.
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Puts a layer around all publishing. The layer added first is the outermost.
    pub fn publishing<L>(mut self, layer: L) -> Self
    where
        L: Layer<BoxedPublishing, Service: Publishing + 'static> + Send + Sync + 'static,
    {
        self.publishing.push(Box::new(move |inner| Boxed::new(layer.layer(inner))));
        self
    }

    /// Puts a layer around the handlers of all subscriptions, outside of their own layers. The layer added first is
    /// the outermost.
    pub fn handling<L>(mut self, layer: L) -> Self
    where
        L: Layer<BoxedHandling, Service: Handling + 'static> + Send + Sync + 'static,
    {
        self.handling.push(Box::new(move |inner| Boxed::new(layer.layer(inner))));
        self
    }

    /// The bus.
    #[must_use]
    pub fn build(self) -> Bus {
        let Self { transport, clock, source, limits, retry, publishing, mut handling } = self;
        let transport = match transport.capabilities().dead_letters {
            true => transport,
            false => DeadLetters::over(transport, Arc::clone(&clock)),
        };
        let publishing = (!publishing.is_empty()).then(|| {
            let end = Boxed::new(ToTransport(Arc::clone(&transport)));
            publishing.iter().rev().fold(end, |inner, wrap| wrap(inner))
        });
        handling.reverse();
        let (live, closed) = (Mutex::new(Lives::default()), AtomicBool::new(false));
        Bus::from_inner(Inner { transport, clock, source, limits, retry, publishing, handling, live, closed })
    }
}

impl fmt::Debug for BusBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BusBuilder")
            .field("transport", &self.transport)
            .field("source", &self.source)
            .finish_non_exhaustive()
    }
}
