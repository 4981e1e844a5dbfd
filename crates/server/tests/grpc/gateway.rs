//! A gateway of a test's own, and its clients.

use std::{future::Future, net::SocketAddr, sync::Arc, time::Duration};

use busgate::{Config, Server, Sources};
use busgate_core::{Caller, Error, ErrorKind, EventConfig, Transport};
use busgate_wire::{
    proto::event::v1::{
        AckEntry, AckRequest, AckStatus, DeliveryMode, Message, MessageFields, PublishRequest,
        PublishResponse, RegisterEventRequest, StartPosition, SubscribeRequest,
        event_service_client::EventServiceClient,
    },
    status::from_grpc,
};
use tonic::{
    Code, Request, Status, Streaming,
    transport::{Channel, Endpoint},
};

pub(crate) type Client = EventServiceClient<Channel>;

/// Two principals: `shop` may do everything, `clerk` may not publish.
pub(crate) const KEYS: &str = r#"
    [[keys]]
    name = "shop"
    key = "shop-key-0123456789"
    rules = [{ operations = ["*"], events = [">"] }]
    [[keys]]
    name = "clerk"
    key = "clerk-key-0123456789"
    rules = [{ operations = ["subscribe", "ack", "list"], events = ["orders.>", "orders"] }]
"#;

pub(crate) const SHOP: &str = "shop-key-0123456789";
pub(crate) const CLERK: &str = "clerk-key-0123456789";

/// How long anything may take that is expected to happen.
const PATIENCE: Duration = Duration::from_secs(20);

/// A gateway over memory; it ends with its test.
#[derive(Debug)]
pub(crate) struct Gateway {
    server: Server,
}

impl Gateway {
    pub(crate) async fn start() -> Self {
        Self::configured("").await
    }

    /// With these lines in its configuration.
    pub(crate) async fn configured(lines: &str) -> Self {
        Self::listening("127.0.0.1:0", &format!("transport = \"memory:\"\n{lines}")).await
    }

    /// Over the embedded log; `lines` say where it is.
    pub(crate) async fn over_log(grpc: &str, lines: &str) -> Self {
        Self::listening(grpc, lines).await
    }

    /// Over another transport.
    pub(crate) async fn over(transport: Arc<dyn Transport>) -> Self {
        let lines = "http = \"127.0.0.1:0\"\ngrpc = \"127.0.0.1:0\"\ndrain_timeout = \"5s\"";
        let sources = Sources { file: Some(("test.toml".into(), lines.into())), ..Sources::none() };
        let config = Config::read(&sources).expect("a good configuration");
        let builder = Server::builder().config(config).transport(transport);
        Self { server: builder.start().await.expect("it starts") }
    }

    async fn listening(grpc: &str, lines: &str) -> Self {
        let text = format!(
            "http = \"127.0.0.1:0\"\ngrpc = \"{grpc}\"\ndrain_timeout = \"5s\"\ndelivery.auto_register = false\n{lines}"
        );
        let sources = Sources { file: Some(("test.toml".into(), text)), ..Sources::none() };
        let config = Config::read(&sources).expect("a good configuration");
        Self { server: Server::builder().config(config).start().await.expect("it starts") }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.server.addresses().grpc.expect("a gRPC listener")
    }

    pub(crate) fn endpoint(&self) -> Endpoint {
        Endpoint::from_shared(format!("http://{}", self.address())).expect("an address")
    }

    /// A client on a connection of its own.
    pub(crate) async fn client(&self) -> Client {
        Client::new(self.endpoint().connect().await.expect("a connection"))
    }

    /// A client, and an event that is registered.
    pub(crate) async fn with_event(&self, event: &str) -> Client {
        let mut client = self.client().await;
        register(&mut client, event).await;
        client
    }

    /// A client, and the event `orders` with messages `0`, `1`, …
    pub(crate) async fn with_messages(&self, count: usize) -> Client {
        let mut client = self.with_event("orders").await;
        for n in 0..count {
            publish(&mut client, "orders", &n.to_string()).await;
        }
        client
    }

    /// Makes an event known without a client that may.
    pub(crate) async fn register(&self, event: &str) {
        let (event, config) = (event.parse().expect("a name"), EventConfig::default());
        let all = Caller::principal("shop");
        self.server.gateway().register(&all, &event, &config).await.expect("registered");
    }

    pub(crate) fn gateway(&self) -> busgate_core::Gateway {
        self.server.gateway().clone()
    }

    pub(crate) async fn shutdown(self) {
        self.server.shutdown().await.expect("a good end");
    }
}

/// What comes of `future`, which must not take long.
pub(crate) async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.expect("in time")
}

/// Waits until something holds.
pub(crate) async fn until(mut holds: impl FnMut() -> bool) {
    soon(async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    })
    .await;
}

/// A request of the holder of `key`.
pub(crate) fn by<T>(key: &str, message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("authorization", format!("Bearer {key}").parse().expect("a header"));
    request
}

pub(crate) async fn register(client: &mut Client, event: &str) {
    let request = RegisterEventRequest { name: event.into(), config: None };
    client.register_event(request).await.expect("registered");
}

pub(crate) fn draft(event: &str, payload: &str) -> PublishRequest {
    PublishRequest { event: event.into(), payload: payload.to_owned().into(), ..PublishRequest::default() }
}

pub(crate) async fn publish(client: &mut Client, event: &str, payload: &str) -> PublishResponse {
    soon(client.publish(draft(event, payload))).await.expect("published").into_inner()
}

/// Broadcast of all that is held.
pub(crate) fn all_of(event: &str) -> SubscribeRequest {
    SubscribeRequest {
        event: event.into(),
        delivery_mode: DeliveryMode::Broadcast.into(),
        start_from: StartPosition::Beginning.into(),
        ..SubscribeRequest::default()
    }
}

/// A member of the group `workers`, from the beginning.
pub(crate) fn worker(event: &str) -> SubscribeRequest {
    let mode = DeliveryMode::WorkerPool.into();
    SubscribeRequest { delivery_mode: mode, worker_group: "workers".into(), ..all_of(event) }
}

pub(crate) async fn subscribe(client: &mut Client, request: SubscribeRequest) -> Streaming<Message> {
    soon(client.subscribe(request)).await.expect("subscribed").into_inner()
}

/// The next message of a stream.
pub(crate) async fn next(stream: &mut Streaming<Message>) -> MessageFields {
    let message = soon(stream.message()).await.expect("no error").expect("a message");
    message.into_fields().expect("fields")
}

pub(crate) async fn payloads(stream: &mut Streaming<Message>, count: usize) -> Vec<String> {
    let mut payloads = Vec::new();
    for _ in 0..count {
        payloads.push(text(&next(stream).await));
    }
    payloads
}

pub(crate) fn text(message: &MessageFields) -> String {
    String::from_utf8(message.payload.to_vec()).expect("text")
}

pub(crate) fn ack_of(message: &MessageFields) -> AckEntry {
    AckEntry { ack_id: message.ack_id.clone(), ..AckEntry::default() }
}

/// What became of each entry.
pub(crate) async fn settle(client: &mut Client, entries: Vec<AckEntry>) -> Vec<AckStatus> {
    let response = soon(client.ack(AckRequest { entries })).await.expect("settled").into_inner();
    response.results.iter().map(|result| result.status()).collect()
}

pub(crate) fn millis(millis: u64) -> Option<prost_types::Duration> {
    prost_types::Duration::try_from(Duration::from_millis(millis)).ok()
}

/// The code and the kind of a failure, which must name its effect as well.
pub(crate) fn told(status: &Status) -> (Code, ErrorKind) {
    let trailer = |name| status.metadata().get(name).and_then(|value| value.to_str().ok());
    assert!(trailer("busgate-effect").is_some(), "no effect in {status:?}");
    let kind = trailer("busgate-error-kind").and_then(ErrorKind::from_name);
    (status.code(), kind.unwrap_or_else(|| panic!("no kind in {status:?}")))
}

/// The error that a failed call tells of.
pub(crate) fn error<T: std::fmt::Debug>(answer: Result<T, Status>) -> Error {
    from_grpc(&answer.expect_err("a failure"))
}

/// The failure of a call.
pub(crate) fn failure<T: std::fmt::Debug>(answer: Result<T, Status>) -> (Code, ErrorKind) {
    told(&answer.expect_err("a failure"))
}
