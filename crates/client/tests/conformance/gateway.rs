//! A gateway in this process, over a back end of its own.

use std::{path::Path, sync::Arc, time::Duration};

use busgate::{Config, Server, Sources, TransportUrl};
use busgate_core::{Clock, EventConfig, Transport};
use busgate_transports_log::{LogConfig, LogTransport};
use busgate_transports_memory::{MemoryConfig, MemoryTransport};

/// All gateways of a test are nodes of one service.
const CONFIG: &str = r#"
grpc = "127.0.0.1:0"
http = "127.0.0.1:0"
drain_timeout = "1s"
ack_secret = "the nodes of this test share it.."
"#;

/// A running gateway, and the back end behind it.
#[derive(Debug)]
pub(crate) struct Gateway {
    server: Server,
    inner: Arc<dyn Transport>,
}

impl Gateway {
    pub(crate) async fn over(inner: Arc<dyn Transport>) -> Self {
        let sources = Sources { file: Some(("test.toml".into(), CONFIG.into())), ..Sources::none() };
        let config = Config::read(&sources).unwrap();
        let server = Server::builder().config(config).transport(Arc::clone(&inner)).start().await.unwrap();
        Self { server, inner }
    }

    pub(crate) async fn memory() -> Self {
        Self::over(MemoryTransport::new(MemoryConfig::default())).await
    }

    pub(crate) async fn log(directory: &Path, clock: &Arc<dyn Clock>) -> Self {
        let config = LogConfig { clock: Arc::clone(clock), ..LogConfig::new(directory) };
        Self::over(LogTransport::open(config).await.unwrap()).await
    }

    /// A node of its own on the broker at `url`.
    pub(crate) async fn broker(url: &str, clock: &Arc<dyn Clock>) -> Self {
        let url: TransportUrl = url.parse().unwrap();
        Self::over(url.open(Arc::clone(clock), &EventConfig::default()).await.unwrap()).await
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.server.addresses().grpc.unwrap())
    }

    /// Another node over the same back end.
    pub(crate) async fn beside(&self) -> Self {
        Self::over(Arc::clone(&self.inner)).await
    }

    /// Goes away in good order, its back end included.
    pub(crate) async fn stop(self) {
        self.server.shutdown().await.unwrap();
    }

    /// Waits until the subscriptions that a law has let go of are gone, and have given back what they had not taken: a
    /// law that ends a node has let go of them before, and goes on from there.
    pub(crate) async fn settle_down(&self) {
        let (mut before, mut same) = (None, 0);
        for _ in 0..400 {
            let mut now = vec![self.server.gateway().stats().sessions];
            for info in self.inner.events().await.unwrap() {
                for lag in self.inner.lag(&info.name).await.unwrap() {
                    now.extend([lag.members, lag.in_flight]);
                }
            }
            let quiet = before.as_ref() == Some(&now) && now.first() == Some(&0);
            same = if quiet { same + 1 } else { 0 };
            if same == 4 {
                return;
            }
            before = Some(now);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}
