//! The one connection of a node.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use async_nats::{
    Client, ConnectErrorKind, Event, Request, RequestErrorKind, Subject, Subscriber,
    connection::State,
    jetstream::{Context, ContextBuilder},
};
use busgate_core::{Error, ErrorKind, Result};
use bytes::Bytes;
use futures_util::FutureExt;
use tokio::{sync::watch, time::timeout};

use crate::{config::NatsConfig, error};

mod options;

/// How many publishes may wait for their answer.
const PUBLISHES: usize = 16_384;

/// The connection, and how it is.
pub(crate) struct Link {
    pub(crate) client: Client,
    pub(crate) context: Context,
    /// Counts connections: whoever waits for something of an earlier one waits in vain.
    generation: watch::Sender<u64>,
    closed: AtomicBool,
    serial: AtomicU64,
    api: String,
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link").field("state", &self.client.connection_state()).finish_non_exhaustive()
    }
}

impl Link {
    pub(crate) async fn connect(config: &NatsConfig) -> Result<Arc<Self>> {
        let (generation, _) = watch::channel(0);
        let changes = generation.clone();
        let options = options::of(config).await?.event_callback(move |event| {
            match event {
                Event::Connected => changes.send_modify(|number| *number += 1),
                Event::Disconnected => tracing::warn!("the nats server is gone"),
                Event::SlowConsumer(_) => tracing::warn!("a nats subscription does not keep up"),
                Event::ServerError(error) => tracing::warn!(%error, "the nats server complains"),
                Event::ClientError(error) => tracing::warn!(%error, "the nats client complains"),
                Event::LameDuckMode | Event::Draining | Event::Closed => {}
            }
            std::future::ready(())
        });
        let servers = options::servers(config)?;
        let connected = timeout(config.connect_timeout, options.connect(servers)).await;
        let client = match connected {
            Ok(Ok(client)) => client,
            Ok(Err(error)) => {
                let kind = match error.kind() {
                    ConnectErrorKind::Authentication | ConnectErrorKind::AuthorizationViolation => {
                        ErrorKind::Unauthenticated
                    }
                    _ => ErrorKind::Unavailable,
                };
                let text = format!("no connection to {config}: {error}");
                return Err(Error::new(kind, text).with_source(error));
            }
            Err(_) => return Err(Error::unavailable(format!("no connection to {config} in time"))),
        };
        let context = ContextBuilder::new()
            .timeout(config.request_timeout)
            .ack_timeout(config.request_timeout)
            .max_ack_inflight(PUBLISHES)
            .backpressure_on_inflight(true)
            .api_prefix(&config.api_prefix)
            .build(client.clone());
        let (closed, serial) = (AtomicBool::new(false), AtomicU64::new(1));
        let api = config.api_prefix.clone();
        Ok(Arc::new(Self { client, context, generation, closed, serial, api }))
    }

    /// Whether a call has anyone to go to: nothing is queued for a server that is away.
    pub(crate) fn check(&self) -> Result<()> {
        if self.closed.load(Ordering::Acquire) {
            return Err(error::closed());
        }
        self.check_connected()
    }

    fn check_connected(&self) -> Result<()> {
        if self.is_connected() { Ok(()) } else { Err(error::away()) }
    }

    fn is_connected(&self) -> bool {
        self.client.connection_state() == State::Connected
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::Release);
        // Wakes whoever waits for a new connection.
        self.generation.send_modify(|number| *number += 1);
    }

    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.generation.subscribe()
    }

    pub(crate) fn generation(&self) -> u64 {
        *self.generation.borrow()
    }

    /// In front of the subjects of JetStream's API.
    pub(crate) fn api(&self) -> &str {
        &self.api
    }

    /// A number nobody else on this connection has.
    pub(crate) fn serial(&self) -> u64 {
        self.serial.fetch_add(1, Ordering::Relaxed)
    }

    /// Hears what comes on a subject.
    pub(crate) async fn subscribe(&self, subject: impl Into<Subject>) -> Result<Subscriber> {
        let subscribed = self.client.subscribe(subject.into()).await;
        subscribed.map_err(|cause| error::away().with_source(cause))
    }

    /// Asks, and waits for the answer.
    pub(crate) async fn ask(&self, subject: Subject, payload: Bytes) -> Result<async_nats::Message> {
        self.check_connected()?;
        let request = Request::new().payload(payload);
        self.client.send_request(subject, request).await.map_err(error::request)
    }

    /// Asks another node; `None` when there is none any more.
    pub(crate) async fn ask_node(
        &self,
        subject: Subject,
        payload: Bytes,
        within: Duration,
    ) -> Result<Option<Bytes>> {
        self.check()?;
        let request = Request::new().payload(payload).timeout(Some(within));
        match self.client.send_request(subject, request).await {
            Ok(answer) => Ok(Some(answer.payload)),
            Err(refused)
                if matches!(refused.kind(), RequestErrorKind::NoResponders | RequestErrorKind::TimedOut) =>
            {
                Ok(None)
            }
            Err(refused) => Err(error::request(refused)),
        }
    }

    /// Sends what nobody answers, without waiting for the socket; whether there was room.
    pub(crate) fn post(&self, subject: Subject, payload: Bytes) -> bool {
        self.is_connected()
            && self.client.publish(subject, payload).now_or_never().is_some_and(|sent| sent.is_ok())
    }

    /// As [`Self::post`], for what has to be a request.
    pub(crate) fn post_request(&self, subject: String, payload: Bytes) -> bool {
        let reply = self.client.new_inbox();
        let sending = self.client.publish_with_reply(subject, reply, payload);
        self.is_connected() && sending.now_or_never().is_some_and(|sent| sent.is_ok())
    }
}
