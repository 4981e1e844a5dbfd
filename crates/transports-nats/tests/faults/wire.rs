//! A way to a server that can be cut.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use busgate_core::Tasks;
use parking_lot::Mutex;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy},
    net::{TcpListener, TcpStream},
    sync::watch,
};

/// Relays each connection, until it is cut.
#[derive(Debug)]
pub(crate) struct Wire {
    address: SocketAddr,
    shared: Arc<Shared>,
    _tasks: Tasks,
}

#[derive(Debug)]
struct Shared {
    server: SocketAddr,
    is_closed: AtomicBool,
    /// What a client must not get through.
    trap: Mutex<Option<&'static str>>,
    cuts: watch::Sender<u64>,
}

impl Wire {
    pub(crate) async fn to(server: SocketAddr) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (is_closed, trap, cuts) = (AtomicBool::new(false), Mutex::default(), watch::Sender::new(0));
        let shared = Arc::new(Shared { server, is_closed, trap, cuts });
        let (tasks, relay) = (Tasks::new(), Tasks::new());
        let serving = Arc::clone(&shared);
        tasks.spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                if !serving.is_closed.load(Ordering::Acquire) {
                    relay.spawn(Arc::clone(&serving).relay(client));
                }
            }
        });
        Self { address, shared, _tasks: tasks }
    }

    pub(crate) const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Ends every connection.
    pub(crate) fn cut(&self) {
        self.shared.cuts.send_modify(|number| *number += 1);
    }

    /// Ends the connection on which a client sends this next; it does not arrive.
    pub(crate) fn cut_before(&self, text: &'static str) {
        *self.shared.trap.lock() = Some(text);
    }

    /// Ends every connection, and lets no other through.
    pub(crate) fn close(&self) {
        self.shared.is_closed.store(true, Ordering::Release);
        self.cut();
    }

    /// Lets connections through again.
    pub(crate) fn open(&self) {
        self.shared.is_closed.store(false, Ordering::Release);
    }
}

impl Shared {
    async fn relay(self: Arc<Self>, mut client: TcpStream) {
        let Ok(mut server) = TcpStream::connect(self.server).await else { return };
        let mut cuts = self.cuts.subscribe();
        let (mut from_client, mut to_client) = client.split();
        let (mut from_server, mut to_server) = server.split();
        tokio::select! {
            _ = cuts.changed() => {}
            _ = copy(&mut from_server, &mut to_client) => {}
            _ = self.watch(&mut from_client, &mut to_server) => {}
        }
    }

    /// Passes on what a client sends, up to what it must not get through.
    async fn watch(
        &self,
        from: &mut (impl AsyncReadExt + Unpin),
        to: &mut (impl AsyncWriteExt + Unpin),
    ) -> std::io::Result<()> {
        let mut chunk = vec![0; 1 << 16];
        loop {
            let read = from.read(&mut chunk).await?;
            let sent = &chunk[..read];
            let is_trapped = |text: &mut &str| sent.windows(text.len()).any(|part| part == text.as_bytes());
            if read == 0 || self.trap.lock().take_if(is_trapped).is_some() {
                return Ok(());
            }
            to.write_all(sent).await?;
        }
    }
}
