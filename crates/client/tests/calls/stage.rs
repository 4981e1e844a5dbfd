//! What the laws are played on: a gateway in this process, over a back end that does as it is told.

use std::{
    collections::VecDeque,
    future::Future,
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use busgate::{Config, Server, Sources};
use busgate_client::{
    Builder, Connector, Error, EventConfig, EventInfo, EventName, Io, Message, MessageId, ReadRequest,
    Receipt, RemoteTransport, Result, Start, TcpConnector, Transport,
};
use busgate_conformance::{Overlay, overlaid};
use busgate_transports_memory::{MemoryConfig, MemoryTransport};
use parking_lot::Mutex;

/// How long anything may take that is expected to happen.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// How the back end takes a batch.
#[derive(Clone, Debug)]
pub(crate) enum Turn {
    /// It does nothing but fail.
    Fail(Error),
    /// It takes every second message, beginning with the first, and fails with this for the others.
    Half(Error),
    /// It takes all, and says so so late that nobody listens any more.
    Late,
}

/// A memory that does as it is told.
#[derive(Debug)]
pub(crate) struct Staged {
    inner: Arc<dyn Transport>,
    turns: Mutex<VecDeque<Turn>>,
    /// The ids of all messages that came, batch by batch.
    pub(crate) came: Mutex<Vec<Vec<String>>>,
    /// How often the list of events was asked for.
    pub(crate) listed: AtomicUsize,
    /// What a list of events fails with.
    pub(crate) unlisted: Mutex<Option<Error>>,
}

impl Staged {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            inner: MemoryTransport::new(MemoryConfig::default()),
            turns: Mutex::default(),
            came: Mutex::default(),
            listed: AtomicUsize::new(0),
            unlisted: Mutex::default(),
        })
    }

    /// How the next batches are taken; after them, all is well.
    pub(crate) fn next(&self, turns: impl IntoIterator<Item = Turn>) {
        self.turns.lock().extend(turns);
    }
}

#[async_trait]
impl Overlay for Staged {
    fn beneath(&self) -> &Arc<dyn Transport> {
        &self.inner
    }

    async fn events(&self) -> Result<Vec<EventInfo>> {
        self.listed.fetch_add(1, Ordering::SeqCst);
        let unlisted = self.unlisted.lock().clone();
        if let Some(error) = unlisted {
            return Err(error);
        }
        self.inner.events().await
    }

    async fn publish(&self, event: &EventName, batch: Vec<Message>) -> Vec<Result<Receipt>> {
        self.came.lock().push(batch.iter().map(|message| message.id.to_string()).collect());
        let turn = self.turns.lock().pop_front();
        match turn {
            None => self.inner.publish(event, batch).await,
            Some(Turn::Fail(error)) => vec![Err(error); batch.len()],
            Some(Turn::Half(error)) => {
                let mut answers = Vec::new();
                for (place, message) in batch.into_iter().enumerate() {
                    match place % 2 {
                        0 => answers.append(&mut self.inner.publish(event, vec![message]).await),
                        _ => answers.push(Err(error.clone())),
                    }
                }
                answers
            }
            Some(Turn::Late) => {
                let answers = self.inner.publish(event, batch).await;
                tokio::time::sleep(PATIENCE).await;
                answers
            }
        }
    }

    async fn close(&self) -> Result<()> {
        // Gateways come and go over it.
        Ok(())
    }
}

/// A gateway over `inner` at `address` (port 0 for any), with these lines in its configuration.
pub(crate) async fn gateway_at(address: SocketAddr, inner: &Arc<impl Overlay>, lines: &str) -> Server {
    let text = format!("http = \"127.0.0.1:0\"\ngrpc = \"{address}\"\ndrain_timeout = \"1s\"\n{lines}");
    let sources = Sources { file: Some(("test.toml".into(), text)), ..Sources::none() };
    let config = Config::read(&sources).unwrap();
    let inner = overlaid(Arc::clone(inner));
    // Who had the address before may need a moment to let go of it.
    for _ in 0..500 {
        match Server::builder().config(config.clone()).transport(Arc::clone(&inner)).start().await {
            Ok(server) => return server,
            Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    }
    panic!("{address} does not become free");
}

/// A gateway over `inner`.
pub(crate) async fn gateway(inner: &Arc<impl Overlay>) -> Server {
    gateway_at(any(), inner, "").await
}

/// Any free address of this machine.
pub(crate) fn any() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, 0).into()
}

pub(crate) fn address(server: &Server) -> SocketAddr {
    server.addresses().grpc.unwrap()
}

/// A client with short figures.
pub(crate) fn client(url: impl Into<String>) -> Builder {
    RemoteTransport::builder(url).retry(3, Duration::from_millis(20), Duration::from_millis(200))
}

/// A client of one gateway.
pub(crate) async fn connected(server: &Server) -> Arc<RemoteTransport> {
    soon(client(format!("http://{}", address(server))).connect()).await.unwrap()
}

/// What `future` gives, which must not take for ever.
pub(crate) async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.unwrap()
}

/// Waits until `condition` holds.
pub(crate) async fn until(condition: impl Fn() -> bool) {
    soon(async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

/// The event of all laws, registered.
pub(crate) async fn orders(transport: &RemoteTransport) -> EventName {
    let event = EventName::new("orders").unwrap();
    soon(transport.register(&event, &EventConfig::default())).await.unwrap();
    event
}

pub(crate) fn message(id: &str) -> Message {
    Message::new(MessageId::new(id).unwrap(), "x")
}

/// Publishes one message.
pub(crate) async fn publish(transport: &RemoteTransport, event: &EventName, id: &str) -> Result<Receipt> {
    soon(transport.publish(event, vec![message(id)])).await.remove(0)
}

/// The ids of everything that the event holds.
pub(crate) async fn held(transport: &RemoteTransport, event: &EventName) -> Vec<String> {
    let request = ReadRequest { start: Start::Beginning, limit: 1000, max_bytes: 1 << 20 };
    let page = soon(transport.read(event, request)).await.unwrap();
    page.messages.iter().map(|(_, message)| message.id.to_string()).collect()
}

/// A name service of one name: whatever the host, it leads to the address it has now.
#[derive(Clone, Debug)]
pub(crate) struct Names(Arc<Mutex<SocketAddr>>);

impl Names {
    pub(crate) fn lead_to(address: SocketAddr) -> Self {
        Self(Arc::new(Mutex::new(address)))
    }

    pub(crate) fn change(&self, address: SocketAddr) {
        *self.0.lock() = address;
    }
}

#[async_trait]
impl Connector for Names {
    async fn connect(&self, _: &str, _: u16) -> io::Result<Box<dyn Io>> {
        let address = *self.0.lock();
        TcpConnector.connect(&address.ip().to_string(), address.port()).await
    }
}
