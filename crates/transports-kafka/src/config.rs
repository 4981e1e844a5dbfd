//! What the transport can be told, from a URL.

mod query;
mod security;
pub(crate) mod topic;

use std::{collections::BTreeMap, fmt, sync::Arc, time::Duration};

use busgate_core::{
    Capabilities, Clock, DEFAULT_DEDUP_WINDOW, DEFAULT_MAX_IDS, EventConfig, EventName, Fencing, SystemClock,
};

pub use self::security::{Mechanism, Sasl, Tls};

/// When the broker says that it has a message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Acks {
    /// When all replicas in sync have it.
    #[default]
    All,
    /// When the leader of the partition has it: it is lost with the leader.
    Leader,
}

/// How the members of a group find their partitions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GroupProtocol {
    /// The broker tells each member (KIP-848).
    Consumer,
    /// The members agree among themselves, with a cooperative assignor.
    Classic,
}

/// Which partition a message without a key goes to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Unkeyed {
    /// All messages of a publisher to one, so that its order is kept.
    #[default]
    Publisher,
    /// To one after the other: the order of a publisher is not kept.
    Spread,
}

/// How sure it is that an id is new, where several nodes publish to one event.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Deduplication {
    /// A node knows what others wrote some milliseconds later.
    #[default]
    Follow,
    /// Before an id is taken for new, all that is written by then is looked at: one more question to the broker for
    /// each publish, shared by those that wait.
    Strict,
}

/// The configuration of the transport, from `kafka://host:port[,host:port…][/]?option=value&…`.
///
/// `Display` leaves out every secret. The crate's README lists the options.
#[derive(Clone)]
pub struct KafkaConfig {
    /// The brokers to begin with: `host:port`, separated by commas.
    pub servers: String,
    /// What stands before an event's name in the name of its topic.
    pub prefix: String,
    /// Topics that are there, and the events they are.
    pub maps: BTreeMap<EventName, String>,
    /// Who the gateway is to the broker.
    pub sasl: Option<Sasl>,
    /// How the connection is encrypted, if it is.
    pub tls: Option<Tls>,
    /// When the broker says that it has a message.
    pub acks: Acks,
    /// How long a message waits for others to be sent with.
    pub linger: Duration,
    /// How batches are compressed: `none`, `gzip`, `snappy`, `lz4` or `zstd`.
    pub compression: String,
    /// How many partitions the topic of an event gets.
    pub partitions: u16,
    /// How many replicas a topic gets; the broker's default without one.
    pub replication: Option<u16>,
    /// How many replicas must be in sync for a message to be taken; the broker's default without one.
    pub min_insync_replicas: Option<u16>,
    /// How the members of a group find their partitions; by what the broker can, without one.
    pub group_protocol: Option<GroupProtocol>,
    /// Which partition a message without a key goes to.
    pub unkeyed: Unkeyed,
    /// How sure it is that an id is new.
    pub dedup: Deduplication,
    /// How long a call to the broker may take, publishing included.
    pub timeout: Duration,
    /// How long connecting may take.
    pub connect_timeout: Duration,
    /// Settings of librdkafka, by its names.
    pub client: BTreeMap<String, String>,
    /// Tells the time.
    pub clock: Arc<dyn Clock>,
    /// What an event gets where its own configuration is silent; the broker's own defaults where this is as well.
    pub defaults: EventConfig,
    /// How many message ids an event remembers within its deduplication window.
    pub max_dedup_ids: usize,
    /// How many of an event's newest messages are kept for live subscribers.
    pub tail_messages: usize,
    /// How many bytes of an event's newest messages are kept for live subscribers.
    pub tail_bytes: usize,
}

impl KafkaConfig {
    /// The defaults, with these brokers: `host:port`, separated by commas.
    #[must_use]
    pub fn new(servers: impl Into<String>) -> Self {
        Self {
            servers: servers.into(),
            prefix: String::new(),
            maps: BTreeMap::new(),
            sasl: None,
            tls: None,
            acks: Acks::All,
            linger: Duration::from_millis(1),
            compression: "none".into(),
            partitions: 4,
            replication: None,
            min_insync_replicas: None,
            group_protocol: None,
            unkeyed: Unkeyed::Publisher,
            dedup: Deduplication::Follow,
            timeout: Duration::from_secs(10),
            connect_timeout: Duration::from_secs(5),
            client: BTreeMap::new(),
            clock: SystemClock::shared(),
            defaults: EventConfig { dedup_window: Some(DEFAULT_DEDUP_WINDOW), ..EventConfig::default() },
            max_dedup_ids: DEFAULT_MAX_IDS,
            tail_messages: 4096,
            tail_bytes: 4 * 1024 * 1024,
        }
    }

    /// How long each half of a publish may take: to look whether an id is new, and to write. Both together are done
    /// before a client gives up that waits as long as a call may take, and asks another node.
    pub(crate) fn half_timeout(&self) -> Duration {
        self.timeout / 2
    }

    /// What the transport can do with this configuration.
    #[must_use]
    pub fn capabilities(&self) -> Capabilities {
        Capabilities {
            durable: true,
            replay: true,
            replay_from_time: true,
            worker_pool: true,
            redelivery: true,
            delayed_requeue: true,
            extend: true,
            ordered: self.unkeyed == Unkeyed::Publisher,
            ordered_keys: true,
            dedup: true,
            resume: true,
            any_node_settle: true,
            fenced: Fencing::Exact,
            dead_letters: false,
        }
    }

    /// What holds for an event that was registered with `asked`.
    #[must_use]
    pub(crate) fn effective(&self, asked: &EventConfig) -> EventConfig {
        EventConfig {
            dedup_window: asked.dedup_window.or(self.defaults.dedup_window),
            retention_age: asked.retention_age.or(self.defaults.retention_age),
            retention_bytes: asked.retention_bytes.or(self.defaults.retention_bytes),
            retention_messages: asked.retention_messages.or(self.defaults.retention_messages),
        }
    }
}

impl fmt::Display for KafkaConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "kafka://{}", self.servers)
    }
}

impl fmt::Debug for KafkaConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KafkaConfig")
            .field("servers", &self.servers)
            .field("prefix", &self.prefix)
            .field("maps", &self.maps)
            .field("sasl", &self.sasl)
            .field("tls", &self.tls)
            .field("group_protocol", &self.group_protocol)
            .field("client", &self.client.keys())
            .finish_non_exhaustive()
    }
}
