//! What every door sees of the gateway it opens.

use std::{sync::Arc, time::Duration};

use busgate_core::{Caller, Gateway, Health, Result, Tasks};
use http::HeaderMap;
use tokio::{sync::Mutex, time::Instant};

use crate::{
    auth::{Authentication, origin::Origins},
    limits::{Connections, PublishRate},
    metrics::{Metrics, Snapshot},
};

/// How long a probe's finding is good for: each writes a message, and everybody may ask.
const FRESH: Duration = Duration::from_secs(1);

/// The gateway with everything that doors share. A door gets it as an `Arc`.
#[derive(Debug)]
pub(crate) struct App {
    /// What does the work.
    pub(crate) gateway: Gateway,
    /// Which web pages may call.
    pub(crate) origins: Origins,
    /// What is counted.
    pub(crate) metrics: Metrics,
    /// What requests and streams may take.
    pub(crate) doors: DoorOptions,
    /// The tasks of sockets that outlive their request; they end with the server.
    pub(crate) tasks: Tasks,
    /// The places for connections.
    pub(crate) connections: Arc<Connections>,
    /// Who calls.
    pub(crate) authentication: Authentication,
    /// How fast they may publish.
    pub(crate) rate: PublishRate,
    /// What the last probe found.
    pub(crate) probed: Mutex<Option<(Instant, Health)>>,
}

/// What requests and streams may take.
#[derive(Clone, Debug)]
pub(crate) struct DoorOptions {
    /// How often an idle stream shows a sign of life.
    pub(crate) heartbeat: Duration,
    /// The largest payload of a message.
    pub(crate) max_payload_bytes: usize,
    /// The largest body of a request.
    pub(crate) max_body_bytes: usize,
    /// How long a request's head may take.
    pub(crate) header_timeout: Duration,
    /// How long a client may leave what is sent to it unread before its connection ends.
    pub(crate) write_timeout: Duration,
    /// How long a request's body may take.
    pub(crate) body_timeout: Duration,
    /// The most concurrent streams of one HTTP/2 connection.
    pub(crate) max_streams: u32,
    /// Whether metrics and probes are on a listener of their own.
    pub(crate) separate_admin: bool,
}

impl App {
    /// Who sent these headers.
    ///
    /// # Errors
    /// `unauthenticated` without credentials that are known.
    pub(crate) fn caller(&self, headers: &HeaderMap) -> Result<Caller> {
        self.authentication.caller(headers)
    }

    /// Lets `caller` publish `messages` now.
    ///
    /// # Errors
    /// `exhausted` over its rate.
    pub(crate) fn admit(&self, caller: &Caller, messages: usize) -> Result<()> {
        self.rate.admit(caller, messages)
    }

    /// How the gateway is. Those who ask at about the same time share one probe; a drain shows at once.
    pub(crate) async fn health(&self) -> Health {
        if self.gateway.is_draining() {
            return self.gateway.health().await;
        }
        let mut probed = self.probed.lock().await;
        if let Some((at, health)) = probed.as_ref()
            && at.elapsed() < FRESH
        {
            return health.clone();
        }
        let health = self.gateway.health().await;
        *probed = Some((Instant::now(), health.clone()));
        health
    }

    /// What `/metrics` reads from elsewhere.
    pub(crate) fn snapshot(&self) -> Snapshot {
        Snapshot { stats: self.gateway.stats(), connections: self.connections.taken() }
    }
}
