//! What a law is played on: the real server in this process, and a client with short figures.

use std::{future::Future, net::SocketAddr, path::Path, sync::Arc, time::Duration};

use busgate::{Config, Server, Sources};
use busgate_client::{Builder, RemoteTransport};
use busgate_core::{EventConfig, EventName, Stats, Transport};
use busgate_transports_log::{LogConfig, LogTransport};
use busgate_transports_memory::{MemoryConfig, MemoryTransport};

/// How long anything may take that is expected to happen.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// How long one try of a call may take, and a call with all its tries.
pub(crate) const CALL_TIMEOUT: Duration = Duration::from_secs(2);
pub(crate) const DEADLINE: Duration = Duration::from_secs(15);

/// When a call is said to hang: over its deadline, and time for a busy machine.
pub(crate) const HUNG: Duration = Duration::from_secs(20);

/// All gateways share the secret, as the nodes of one back end do.
const CONFIG: &str = r#"
    grpc = "127.0.0.1:0"
    http = "127.0.0.1:0"
    drain_timeout = "5s"
    ack_secret = "0123456789abcdef0123456789abcdef"
"#;

/// A running gateway and what is behind it. Dropped, it is gone from one moment to the next.
#[derive(Debug)]
pub(crate) struct Gateway {
    server: Server,
    inner: Arc<dyn Transport>,
}

impl Gateway {
    /// A gateway over `inner`, with these lines in its configuration.
    pub(crate) async fn over(inner: Arc<dyn Transport>, lines: &str) -> Self {
        let text = format!("{CONFIG}\n{lines}");
        let sources = Sources { file: Some(("test.toml".into(), text)), ..Sources::none() };
        let config = Config::read(&sources).expect("a good configuration");
        let server = Server::builder().config(config).transport(Arc::clone(&inner)).start().await;
        Self { server: server.expect("it starts"), inner }
    }

    /// Over a memory of its own.
    pub(crate) async fn memory() -> Self {
        Self::over(MemoryTransport::new(MemoryConfig::default()), "").await
    }

    /// Over the embedded log in `directory`, once whoever had it before has let go of it.
    pub(crate) async fn log(directory: &Path) -> Self {
        let opened = async {
            loop {
                match LogTransport::open(LogConfig::new(directory)).await {
                    Ok(log) => return log,
                    Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
                }
            }
        };
        Self::over(soon(opened).await, "").await
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.server.addresses().grpc.expect("a gRPC listener")
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address())
    }

    /// The back end itself.
    pub(crate) fn inner(&self) -> &Arc<dyn Transport> {
        &self.inner
    }

    pub(crate) fn stats(&self) -> Stats {
        self.server.gateway().stats()
    }

    /// Goes away in good order.
    pub(crate) async fn drain(self) {
        soon(self.server.shutdown()).await.expect("a good end");
    }
}

/// A client that never gives up by itself, and comes back fast.
pub(crate) fn patient(url: impl Into<String>) -> Builder {
    RemoteTransport::builder(url)
        .retry(20, Duration::from_millis(5), Duration::from_millis(200))
        .call_timeout(CALL_TIMEOUT)
        .deadline(DEADLINE)
        .connect_timeout(Duration::from_secs(1))
        .no_circuit_breaker()
        .subscribe_reconnect(true, Duration::from_millis(5))
        .subscribe_max_errors(0)
        .keepalive(Duration::from_secs(1), Duration::from_millis(500))
}

/// That client, connected.
pub(crate) async fn connected(builder: Builder) -> Arc<dyn Transport> {
    soon(builder.connect()).await.expect("a connection")
}

pub(crate) fn event(name: &str) -> EventName {
    EventName::new(name).expect("a name")
}

/// The event of most laws, registered.
pub(crate) async fn orders(bus: &Arc<dyn Transport>) -> EventName {
    let orders = event("orders");
    soon(bus.register(&orders, &EventConfig::default())).await.expect("registered");
    orders
}

/// What comes of `future`, which must not take long.
pub(crate) async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.expect("in time")
}

/// Waits until something holds.
pub(crate) async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let waiting = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    assert!(tokio::time::timeout(PATIENCE, waiting).await.is_ok(), "not in time: {what}");
}
