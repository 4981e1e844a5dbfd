//! Listeners: they take connections within bounds and let them end in good order.

mod connection;
mod protocol;
mod refusal;
mod socket;
mod timer;

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use busgate_core::Tasks;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

pub(crate) use self::{connection::Service, socket::Socket};
use crate::{
    app::App,
    limits::{Connections, Place},
};

/// How long a listener waits after a failure that will not be gone at once (no file descriptors left).
const BREATHER: Duration = Duration::from_millis(50);

/// How many refusals are under way at once; connections beyond are dropped without a word.
const MOST_REFUSALS: usize = 64;

/// The other end of a connection, and its place in the bound. A socket that outlives its request keeps a clone.
#[derive(Clone, Debug)]
pub(crate) struct Peer(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    address: SocketAddr,
    _place: Place,
}

impl Peer {
    /// Where it is.
    pub(crate) fn address(&self) -> SocketAddr {
        self.0.address
    }
}

/// A listener that is bound, and what it serves.
#[derive(Debug)]
pub(crate) struct Listener {
    socket: TcpListener,
    service: Service,
}

/// The connections of all listeners, and the two ways to end them.
#[derive(Debug)]
pub(crate) struct Listeners {
    accepting: Tasks,
    connections: Arc<Tasks>,
    goodbye: CancellationToken,
}

impl Listener {
    /// Binds `address`.
    pub(crate) async fn bind(address: SocketAddr, service: Service) -> io::Result<Self> {
        Ok(Self { socket: TcpListener::bind(address).await?, service })
    }

    /// Where it listens; with port 0 the one that was free.
    pub(crate) fn address(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }
}

impl Listeners {
    pub(crate) fn new() -> Self {
        Self { accepting: Tasks::new(), connections: Arc::default(), goodbye: CancellationToken::new() }
    }

    /// Takes connections from now on.
    pub(crate) fn serve(&self, listener: Listener, app: &Arc<App>) {
        let acceptor = Acceptor {
            service: listener.service,
            app: Arc::clone(app),
            connections: Arc::clone(&self.connections),
            refusals: Tasks::new(),
            goodbye: self.goodbye.clone(),
        };
        self.accepting.spawn(async move { acceptor.run(&listener.socket).await });
    }

    /// Takes no more connections, says goodbye on those there are (HTTP/2: GOAWAY), and waits until they have ended,
    /// at most `patience`. What is left then is cut.
    pub(crate) async fn close(&self, patience: Duration) {
        self.accepting.close().await;
        self.goodbye.cancel();
        let ended = async {
            while !self.connections.is_empty() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        if tokio::time::timeout(patience, ended).await.is_err() {
            tracing::warn!(connections = self.connections.len(), "cut what did not end in time");
        }
        self.connections.close().await;
    }
}

struct Acceptor {
    service: Service,
    app: Arc<App>,
    connections: Arc<Tasks>,
    refusals: Tasks,
    goodbye: CancellationToken,
}

impl Acceptor {
    async fn run(&self, socket: &TcpListener) {
        loop {
            match socket.accept().await {
                Ok((stream, address)) => self.admit(stream, address),
                Err(error) if is_of_one_connection(&error) => {}
                Err(error) => {
                    tracing::warn!(%error, "can't take a connection");
                    tokio::time::sleep(BREATHER).await;
                }
            }
        }
    }

    fn admit(&self, stream: TcpStream, address: SocketAddr) {
        let Some(place) = Connections::take(&self.app.connections, address.ip()) else {
            tracing::debug!(%address, "over the connection limit");
            if self.refusals.len() < MOST_REFUSALS {
                self.refusals.spawn(refusal::refuse(stream));
            }
            return;
        };
        // Without it small answers would wait for earlier ones to be confirmed.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "a connection was gone before it began");
            return;
        }
        let peer = Peer(Arc::new(Inner { address, _place: place }));
        let connection = connection::serve(
            stream,
            peer,
            self.service.clone(),
            Arc::clone(&self.app),
            self.goodbye.clone(),
        );
        self.connections.spawn(connection);
    }
}

/// Whether only the one connection failed, and the next may be fine.
fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionRefused
    )
}
