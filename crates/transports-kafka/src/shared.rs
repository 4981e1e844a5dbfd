//! What all parts of a node share: its clients, and what it knows of the events.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use busgate_core::{Error, Result, Tasks, Timestamp};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::{
    admin::Admin, asker::Asker, clients::Clients, config::KafkaConfig, dedup::Dedup, error,
    producer::Producer, reader::Reader, registry::Registry, retention, tail::Tails, tap::Tap,
};

/// One node's clients and knowledge.
pub(crate) struct Shared {
    /// What it was told.
    pub(crate) config: Arc<KafkaConfig>,
    /// Makes further clients.
    pub(crate) clients: Clients,
    /// Makes and deletes topics.
    pub(crate) admin: Admin,
    /// Asks for topics and offsets.
    pub(crate) asker: Asker,
    /// Writes.
    pub(crate) producer: Producer,
    /// Follows topics as they grow.
    pub(crate) tap: Tap,
    /// Follows topics for the ids in them.
    pub(crate) ids: Tap,
    /// Which events there are.
    pub(crate) registry: Registry,
    /// The tails of events with live subscribers.
    pub(crate) tails: Tails,
    /// Reads history.
    pub(crate) reader: Reader,
    /// The ids that events remember.
    pub(crate) dedup: Dedup,
    /// What runs beside the calls.
    pub(crate) tasks: Tasks,
    /// Ends with the transport.
    pub(crate) closing: CancellationToken,
    /// The name of this node among those on the same broker.
    pub(crate) node: String,
    closed: AtomicBool,
}

impl Shared {
    /// Connects.
    ///
    /// # Errors
    /// `invalid` for settings librdkafka does not take, `unauthenticated` when the broker refuses who it is,
    /// `unavailable` when there is none within the time.
    pub(crate) async fn connect(config: KafkaConfig) -> Result<Arc<Self>> {
        let config = Arc::new(config);
        let clients = Clients::new(&config);
        let shared = Arc::new(Self {
            admin: Admin::new(&clients, &config)?,
            asker: Asker::new(&clients, config.timeout)?,
            producer: Producer::new(&clients)?,
            tap: Tap::new(&clients, &clients.follower(), config.timeout)?,
            ids: Tap::new(&clients, &clients.learner(), config.timeout)?,
            registry: Registry::new(&config),
            tails: Tails::default(),
            reader: Reader::default(),
            dedup: Dedup::default(),
            tasks: Tasks::new(),
            closing: CancellationToken::new(),
            node: format!("{:016x}", fastrand::u64(..)),
            closed: AtomicBool::new(false),
            clients,
            config,
        });
        let opened = timeout(shared.config.connect_timeout, shared.registry.open(&shared)).await;
        let opened = opened.unwrap_or_else(|_| Err(Error::unavailable("kafka did not answer in time")));
        if let Err(error) = opened {
            let error = shared.reason(error);
            shared.close().await;
            return Err(error);
        }
        shared.tasks.spawn(Tails::tidy(Arc::downgrade(&shared)));
        shared.tasks.spawn(retention::run(Arc::downgrade(&shared)));
        Ok(shared)
    }

    /// The time.
    pub(crate) fn now(&self) -> Timestamp {
        self.config.clock.now()
    }

    /// Whether calls are taken.
    ///
    /// # Errors
    /// `unavailable` once it is closed.
    pub(crate) fn check_open(&self) -> Result<()> {
        if self.closed.load(Ordering::Acquire) { Err(error::closed()) } else { Ok(()) }
    }

    /// Ends everything; whether this was the first time.
    pub(crate) async fn close(&self) -> bool {
        let first = !self.closed.swap(true, Ordering::AcqRel);
        self.closing.cancel();
        self.tasks.close().await;
        self.dedup.close();
        self.tails.close();
        self.registry.close();
        self.tap.close().await;
        self.ids.close().await;
        self.reader.close().await;
        self.producer.close().await;
        first
    }

    /// Why connecting failed, where the broker said more than that it did.
    fn reason(&self, error: Error) -> Error {
        match self.clients.context().refusal() {
            Some(code) => error::of_code("kafka refuses the connection", code).with_source(error),
            None if error.kind().is_transient() => {
                let trouble = self.clients.context().trouble();
                let why = trouble.map(|trouble| format!(": {trouble}")).unwrap_or_default();
                Error::unavailable(format!("kafka at `{}` does not answer{why}", self.config.servers))
                    .with_source(error)
            }
            None => error,
        }
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared")
            .field("config", &self.config)
            .field("node", &self.node)
            .finish_non_exhaustive()
    }
}
