//! The gateway: authorize, bound, filter and track. It knows no protocol.

mod config;
mod drain;
mod events;
mod nodes;
mod publish;
mod request;
mod session;
mod settle;
mod source;
mod stats;
mod subscribe;

use std::{
    future::Future,
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};

use tokio::sync::watch;

pub use self::{
    config::GatewayConfig,
    events::{MAX_PAGE, MAX_PAGE_BYTES},
    request::{
        AckKey, AckMode, AckStatus, Draft, End, EventDetail, History, HistoryRequest, Outbound, Outgoing,
        SettleAction, SettleAnswer, SettleRequest, SlowPolicy, SubscribeRequest,
    },
    session::{Deliveries, Session},
    stats::Stats,
};
use self::{drain::Drain, nodes::Nodes, stats::Counters};
use crate::{
    Authorizer, Caller, Capabilities, Clock, DeadLetters, Effect, Error, ErrorKind, EventName, Health,
    Operation, Pattern, Result, Tasks, Transport,
    ack::AckTracker,
    hub::{Bounds, Hub},
};

/// The gateway over one transport. Cloning it is cheap and gives the same gateway.
///
/// Every call is authorized before anything else happens.
#[derive(Clone, Debug)]
pub struct Gateway {
    inner: Arc<Inner>,
}

#[derive(Debug)]
pub(crate) struct Inner {
    transport: Arc<dyn Transport>,
    capabilities: Capabilities,
    authorizer: Arc<dyn Authorizer>,
    clock: Arc<dyn Clock>,
    config: GatewayConfig,
    tracker: AckTracker,
    hub: Hub,
    nodes: Nodes,
    counters: Counters,
    /// Changes with every registration made here, for pattern subscriptions.
    registrations: watch::Sender<u64>,
    drain: watch::Sender<Option<Drain>>,
    /// Whether there can be a drain: set before the first begins.
    may_drain: AtomicBool,
    tasks: Tasks,
}

impl Gateway {
    /// A gateway over `transport`.
    #[must_use]
    pub fn new(
        transport: Arc<dyn Transport>,
        authorizer: Arc<dyn Authorizer>,
        clock: Arc<dyn Clock>,
        config: GatewayConfig,
    ) -> Self {
        let transport = with_dead_letters(transport, &clock);
        let bounds = Bounds { messages: config.ring_messages, bytes: config.ring_bytes };
        let inner = Inner {
            capabilities: transport.capabilities(),
            hub: Hub::new(Arc::clone(&transport), bounds, config.call_timeout),
            transport,
            authorizer,
            clock,
            config,
            tracker: AckTracker::new(),
            nodes: Nodes::default(),
            counters: Counters::default(),
            registrations: watch::Sender::new(0),
            drain: watch::Sender::new(None),
            may_drain: AtomicBool::new(false),
            tasks: Tasks::new(),
        };
        Self { inner: Arc::new(inner) }
    }

    /// What the transport can do.
    #[must_use]
    pub fn capabilities(&self) -> Capabilities {
        self.inner.capabilities
    }

    /// The gateway's configuration.
    #[must_use]
    pub fn config(&self) -> &GatewayConfig {
        &self.inner.config
    }

    /// Tries the data path of the transport; `unhealthy` while draining.
    pub async fn health(&self) -> Health {
        if self.is_draining() {
            return Health::unhealthy("draining");
        }
        let probe = self.inner.transport.health();
        match tokio::time::timeout(self.inner.config.call_timeout, probe).await {
            Ok(health) => health,
            Err(_) => Health::unhealthy("the transport did not answer in time"),
        }
    }

    /// What the gateway has done and holds.
    #[must_use]
    pub fn stats(&self) -> Stats {
        Stats {
            sessions: self.inner.tracker.streams() as u64,
            in_flight: self.inner.tracker.in_flight() as u64,
            channels: self.inner.hub.channels() as u64,
            ..self.inner.counters.snapshot()
        }
    }

    /// Ends every task and session, hands leases back, and closes the transport.
    ///
    /// # Errors
    /// As [`Transport::close`].
    pub async fn close(&self) -> Result<()> {
        self.drain(Duration::ZERO).await;
        self.inner.settle_rest().await;
        self.inner.nodes.close().await;
        self.inner.transport.close().await
    }
}

impl Inner {
    async fn authorize(&self, caller: &Caller, operation: Operation, target: &Pattern) -> Result<()> {
        self.authorizer.authorize(caller, operation, target).await
    }

    async fn authorize_event(&self, caller: &Caller, operation: Operation, event: &EventName) -> Result<()> {
        self.authorize(caller, operation, &Pattern::from(event.clone())).await
    }

    /// Bounds a call of the transport.
    async fn in_time<T>(&self, effect: Effect, call: impl Future<Output = Result<T>> + Send) -> Result<T> {
        in_time(self.config.call_timeout, effect, call).await
    }
}

/// Bounds a call of a transport.
pub(crate) async fn in_time<T>(
    limit: Duration,
    effect: Effect,
    call: impl Future<Output = Result<T>> + Send,
) -> Result<T> {
    match tokio::time::timeout(limit, call).await {
        Ok(answer) => answer,
        Err(_) => Err(timed_out(effect)),
    }
}

/// Core's dead letters stand in where messages come back and the transport has none.
fn with_dead_letters(transport: Arc<dyn Transport>, clock: &Arc<dyn Clock>) -> Arc<dyn Transport> {
    let capabilities = transport.capabilities();
    if capabilities.dead_letters || !capabilities.redelivery {
        return transport;
    }
    DeadLetters::over(transport, Arc::clone(clock))
}

fn timed_out(effect: Effect) -> Error {
    Error::new(ErrorKind::Timeout, "the transport did not answer in time").with_effect(effect)
}
