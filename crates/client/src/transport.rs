//! A gateway as a transport.

use std::sync::Arc;

use async_trait::async_trait;
use busgate_core::{
    Capabilities, ConsumerLag, Cursor, Effect, Error, ErrorKind, EventConfig, EventInfo, EventName, Health,
    Message, Page, Passed, Position, ReadRequest, Receipt, Result, Settled, Settlement, SubscribeOptions,
    Subscription, Transport, Turn,
};
use busgate_wire::convert::{self, Described};
use tokio::sync::watch;

use crate::{
    connection::{Connection, Service},
    options::{Builder, Options},
    publish::Publisher,
    state::ConnState,
    subscription::Subscriptions,
};

/// A gateway as a [`Transport`]: the drop-in bus back end.
///
/// What it can do is what the gateway's own transport can do, asked for once at the start. Everything goes over one
/// connection, which is kept standing in the background.
#[derive(Debug)]
pub struct RemoteTransport {
    pub(crate) connection: Arc<Connection>,
    pub(crate) described: Described,
    publisher: Publisher,
    pub(crate) subscriptions: Subscriptions,
}

impl RemoteTransport {
    /// Options for a connection to the gateway at `url`: `http://host:port`, `https://host:port`, or `host:port`.
    pub fn builder(url: impl Into<String>) -> Builder {
        Builder::new(url)
    }

    /// Connects with the default options.
    ///
    /// # Errors
    /// As [`Builder::connect`].
    pub async fn connect(url: impl Into<String>) -> Result<Arc<Self>> {
        Self::builder(url).connect().await
    }

    pub(crate) async fn open(options: Options) -> Result<Arc<Self>> {
        let connection = Connection::open(options).await?;
        let ask = |mut service: Service| async move { service.describe(convert::describe_request()).await };
        let described = convert::read_described(connection.call(Effect::None, ask).await?)?;
        let subscriptions = Subscriptions::new(Arc::clone(&connection), described.capabilities);
        let publisher =
            Publisher::new(Arc::clone(&connection), described.capabilities, described.max_payload_bytes);
        Ok(Arc::new(Self { connection, described, publisher, subscriptions }))
    }

    /// How the connection is.
    #[must_use]
    pub fn state(&self) -> ConnState {
        self.connection.state()
    }

    /// Follows the state of the connection.
    #[must_use]
    pub fn states(&self) -> watch::Receiver<ConnState> {
        self.connection.states()
    }

    /// Whether it is connected.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.state() == ConnState::Connected
    }

    /// Waits until it is connected.
    ///
    /// # Errors
    /// `unavailable` when it is closed instead.
    pub async fn ready(&self) -> Result<()> {
        match self.connection.connected().await {
            true => Ok(()),
            false => Err(Error::unavailable("the transport is closed")),
        }
    }

    /// The version of the gateway.
    #[must_use]
    pub fn gateway_version(&self) -> &str {
        &self.described.version
    }

    /// The largest payload the gateway takes, in bytes.
    #[must_use]
    pub const fn max_payload_bytes(&self) -> usize {
        self.described.max_payload_bytes
    }
}

#[async_trait]
impl Transport for RemoteTransport {
    fn capabilities(&self) -> Capabilities {
        self.described.capabilities
    }

    async fn register(&self, event: &EventName, config: &EventConfig) -> Result<()> {
        let request = convert::register_request(event, config);
        let rpc = |mut service: Service| {
            let request = request.clone();
            async move { service.register_event(request).await }
        };
        self.connection.call(Effect::Unknown, rpc).await.map(drop)
    }

    async fn unregister(&self, event: &EventName) -> Result<()> {
        let request = convert::unregister_request(event);
        let rpc = |mut service: Service| {
            let request = request.clone();
            async move { service.unregister_event(request).await }
        };
        match self.connection.call(Effect::Unknown, rpc).await {
            // An earlier try did it, and its answer was lost.
            Err(error) if error.kind() == ErrorKind::NotFound && error.effect() == Effect::Unknown => Ok(()),
            other => other.map(drop),
        }
    }

    async fn events(&self) -> Result<Vec<EventInfo>> {
        let rpc = |mut service: Service| async move { service.list_events(convert::events_request()).await };
        convert::read_events(&self.connection.call(Effect::None, rpc).await?)
    }

    async fn publish_in_turn(
        &self,
        event: &EventName,
        batch: Vec<Message>,
        turn: Turn,
    ) -> Vec<Result<Receipt>> {
        self.publisher.publish(event, batch, turn).await
    }

    async fn subscribe(
        self: Arc<Self>,
        event: &EventName,
        options: SubscribeOptions,
    ) -> Result<Subscription> {
        let transport: Arc<dyn Transport> = Arc::<Self>::clone(&self);
        self.subscriptions.subscribe(transport, event, options).await
    }

    async fn read(&self, event: &EventName, request: ReadRequest) -> Result<Page> {
        let request = convert::history_request(event, &request);
        let rpc = |mut service: Service| {
            let request = request.clone();
            async move { service.read_messages(request).await }
        };
        convert::read_history(self.connection.call(Effect::None, rpc).await?)
    }

    async fn find(&self, event: &EventName, place: &Cursor) -> Result<Option<Arc<Message>>> {
        let request = convert::lookup_request(event, place);
        let rpc = |mut service: Service| {
            let request = request.clone();
            async move { service.get_message(request).await }
        };
        convert::read_lookup(self.connection.call(Effect::None, rpc).await?)
    }

    fn passed(&self, reader: &Cursor, message: &Cursor) -> Result<Passed> {
        Position::passed(reader, message)
    }

    async fn settle(&self, batch: Vec<Settlement>) -> Vec<Result<Settled>> {
        self.subscriptions.settle(batch).await
    }

    async fn health(&self) -> Health {
        let rpc = |mut service: Service| async move { service.health(convert::health_request()).await };
        match self.connection.call(Effect::None, rpc).await {
            Ok(response) => convert::read_health(response),
            Err(error) => Health::unhealthy(error.message()),
        }
    }

    async fn lag(&self, event: &EventName) -> Result<Vec<ConsumerLag>> {
        let request = convert::detail_request(event);
        let rpc = |mut service: Service| {
            let request = request.clone();
            async move { service.get_event(request).await }
        };
        let detail = convert::read_detail(&self.connection.call(Effect::None, rpc).await?)?;
        Ok(detail.consumers)
    }

    async fn close(&self) -> Result<()> {
        self.subscriptions.close(self.connection.options().close).await;
        self.subscriptions.close(self.connection.options().close).await;
        self.publisher.close();
        self.connection.close();
        self.connection.tasks.close().await;
        Ok(())
    }
}
