//! The server: a gateway with its doors open, to run as a process or inside another one.

mod builder;

use std::{error, fmt, net::SocketAddr, sync::Arc, time::Duration};

use busgate_core::{Error, Gateway, Tasks};

pub use self::builder::ServerBuilder;
use crate::{
    app::App,
    listen::{Listener, Listeners},
};

/// How long connections may take to end after the last message has gone out.
const GOODBYE: Duration = Duration::from_secs(3);

/// How often it looks whether the last socket has ended.
const POLL: Duration = Duration::from_millis(5);

/// How often measurements are folded.
const TIDY_INTERVAL: Duration = Duration::from_secs(5);

/// A running server. Dropping it ends everything at once; [`Server::shutdown`] does so without losing anything.
#[derive(Debug)]
pub struct Server {
    app: Arc<App>,
    listeners: Listeners,
    addresses: Addresses,
    drain_timeout: Duration,
    _upkeep: Tasks,
}

/// Where a server listens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Addresses {
    /// REST, SSE and WebSocket.
    pub http: Option<SocketAddr>,
    /// gRPC.
    pub grpc: Option<SocketAddr>,
    /// Metrics and probes, when they are on a listener of their own.
    pub admin: Option<SocketAddr>,
}

/// Why a server did not start.
#[derive(Debug)]
pub enum StartError {
    /// The transport could not be opened.
    Transport(Error),
    /// An address could not be listened on.
    Listen(SocketAddr, std::io::Error),
    /// What was asked for makes no sense, and why.
    Refused(String),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Transport(error) => write!(f, "the transport can't be opened: {error}"),
            Self::Listen(address, error) => write!(f, "can't listen on {address}: {error}"),
            Self::Refused(why) => f.write_str(why),
        }
    }
}

impl error::Error for StartError {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        match self {
            Self::Transport(error) => error::Error::source(error),
            Self::Listen(_, error) => Some(error),
            Self::Refused(_) => None,
        }
    }
}

impl Server {
    /// A server to put together.
    #[must_use]
    pub fn builder() -> ServerBuilder {
        ServerBuilder::default()
    }

    fn start(app: Arc<App>, listeners: [Option<Listener>; 3], drain_timeout: Duration) -> Self {
        let [http, grpc, admin] = &listeners;
        let address =
            |listener: &Option<Listener>| listener.as_ref().and_then(|listener| listener.address().ok());
        let addresses = Addresses { http: address(http), grpc: address(grpc), admin: address(admin) };
        let running = Listeners::new();
        for listener in listeners.into_iter().flatten() {
            running.serve(listener, &app);
        }
        let upkeep = Tasks::new();
        let measured = Arc::clone(&app);
        upkeep.spawn(async move {
            loop {
                tokio::time::sleep(TIDY_INTERVAL).await;
                measured.metrics.tidy();
            }
        });
        Self { app, listeners: running, addresses, drain_timeout, _upkeep: upkeep }
    }

    /// Where it listens.
    #[must_use]
    pub const fn addresses(&self) -> Addresses {
        self.addresses
    }

    /// The gateway behind the doors, to publish and subscribe without one.
    #[must_use]
    pub fn gateway(&self) -> &Gateway {
        &self.app.gateway
    }

    /// Goes away without losing anything: not ready any more, clients are told, acks are waited for, leases handed
    /// back, connections ended, the transport closed.
    ///
    /// # Errors
    /// What the transport says when it can't be closed.
    pub async fn shutdown(self) -> Result<(), Error> {
        tracing::info!(deadline = ?self.drain_timeout, "draining");
        self.app.gateway.drain(self.drain_timeout).await;
        self.listeners.close(GOODBYE).await;
        self.finish_sockets().await;
        self.app.tasks.close().await;
        self.app.gateway.close().await
    }

    /// Sockets answer what they were asked and say goodbye.
    async fn finish_sockets(&self) {
        let finished = async {
            while !self.app.tasks.is_empty() {
                tokio::time::sleep(POLL).await;
            }
        };
        if tokio::time::timeout(GOODBYE, finished).await.is_err() {
            tracing::warn!(sockets = self.app.tasks.len(), "cut what did not end in time");
        }
    }
}
