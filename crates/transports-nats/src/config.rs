//! Where the server is, who we are there, and what our streams are like; from a URL.

use std::{collections::BTreeMap, fmt, path::PathBuf, sync::Arc, time::Duration};

use busgate_core::{Clock, Error, EventConfig, EventName, Result, SystemClock};

pub use self::credentials::{Credentials, Secret};

mod capabilities;
mod credentials;
mod url;

/// How long the first connection may take unless told otherwise.
pub const DEFAULT_CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// How long the server may take for an answer unless told otherwise.
pub const DEFAULT_REQUEST_TIMEOUT: Duration = Duration::from_secs(5);

/// How many deliveries a group may have open or held back unless told otherwise.
pub const DEFAULT_MAX_ACK_PENDING: i64 = 65_536;

/// Where streams keep their messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Storage {
    /// On disk.
    #[default]
    File,
    /// In the server's memory: gone with it.
    Memory,
}

/// An existing stream that holds an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mapping {
    /// The stream.
    pub stream: String,
    /// The subject in it; `None` is the event's own.
    pub subject: Option<String>,
}

/// TLS of the connection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tls {
    /// Whether to speak it, also where the server does not ask for it (`tls://`).
    pub required: bool,
    /// Whether the handshake comes before the server's greeting.
    pub first: bool,
    /// Certificates of authorities to trust beside the system's.
    pub ca: Option<PathBuf>,
    /// Our certificate and its key.
    pub identity: Option<(PathBuf, PathBuf)>,
}

/// What a NATS transport needs to know.
///
/// As a URL: `nats://[user:password@|token@]host[:port][,host…][?option=value…]`; the options are in the crate's README.
#[derive(Clone)]
pub struct NatsConfig {
    /// `host:port`, one at least.
    pub servers: Vec<String>,
    /// Whether to use core subjects, without JetStream: at most once, and nothing is kept.
    pub core: bool,
    /// Who we are.
    pub credentials: Credentials,
    /// TLS.
    pub tls: Tls,
    /// What stands in front of every event's name in its subject.
    pub prefix: String,
    /// How many servers of a cluster keep each stream.
    pub replicas: usize,
    /// Where streams keep their messages.
    pub storage: Storage,
    /// Whether streams are compressed on disk (2.10 and later).
    pub compression: bool,
    /// In front of JetStream's API: `$JS.API`, or that of another domain or account.
    pub api_prefix: String,
    /// In front of the subjects answers come to.
    pub inbox_prefix: Option<String>,
    /// Existing streams, by the event they hold.
    pub maps: BTreeMap<EventName, Mapping>,
    /// After how long a server gives a dead node's deliveries to another; `None` follows a group's first subscription.
    pub ack_wait: Option<Duration>,
    /// How many deliveries a group may have open or held back.
    pub max_ack_pending: i64,
    /// How long the first connection may take.
    pub connect_timeout: Duration,
    /// How long the server may take for an answer.
    pub request_timeout: Duration,
    /// What the server's operator sees of us.
    pub name: String,
    /// What an event gets where its own configuration is silent.
    pub defaults: EventConfig,
    /// The clock.
    pub clock: Arc<dyn Clock>,
}

impl NatsConfig {
    /// For the server at `host:port`, with all defaults.
    #[must_use]
    pub fn new(server: impl Into<String>) -> Self {
        Self {
            servers: vec![server.into()],
            core: false,
            credentials: Credentials::None,
            tls: Tls::default(),
            prefix: String::new(),
            replicas: 1,
            storage: Storage::File,
            compression: false,
            api_prefix: "$JS.API".into(),
            inbox_prefix: None,
            maps: BTreeMap::new(),
            ack_wait: None,
            max_ack_pending: DEFAULT_MAX_ACK_PENDING,
            connect_timeout: DEFAULT_CONNECT_TIMEOUT,
            request_timeout: DEFAULT_REQUEST_TIMEOUT,
            name: "busgate".into(),
            defaults: EventConfig::default(),
            clock: SystemClock::shared(),
        }
    }

    /// Checks what the fields say together.
    ///
    /// # Errors
    /// `invalid`, naming the setting.
    pub fn validate(&self) -> Result<()> {
        let refused = |what: &str| Err(Error::invalid(format!("transport option {what}")));
        if self.servers.iter().all(String::is_empty) {
            return refused("`host` is missing");
        }
        if !(1..=5).contains(&self.replicas) {
            return refused("`replicas` must be 1 to 5");
        }
        let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        if !self.prefix.chars().all(plain) || self.prefix.len() > 48 || self.prefix.starts_with('.') {
            return refused("`prefix` must be at most 48 of [A-Za-z0-9._-]");
        }
        if self.max_ack_pending < 1 {
            return refused("`max_ack_pending` must be 1 or more");
        }
        if self.ack_wait.is_some_and(|wait| wait < Duration::from_secs(1)) {
            return refused("`ack_wait` must be 1s or more");
        }
        if self.core && (!self.maps.values().all(|map| map.stream.is_empty()) || self.replicas > 1) {
            return refused("`map` with a stream and `replicas` need jetstream: use nats:// for them");
        }
        self.defaults.validate()
    }
}

impl fmt::Debug for NatsConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NatsConfig")
            .field("servers", &self.servers)
            .field("core", &self.core)
            .field("credentials", &self.credentials)
            .field("tls", &self.tls)
            .field("prefix", &self.prefix)
            .field("replicas", &self.replicas)
            .field("storage", &self.storage)
            .field("maps", &self.maps)
            .finish_non_exhaustive()
    }
}

impl fmt::Display for NatsConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = match (self.core, self.tls.required) {
            (true, true) => "tls+core",
            (true, false) => "nats+core",
            (false, true) => "tls",
            (false, false) => "nats",
        };
        write!(f, "{scheme}://{}", self.servers.join(","))
    }
}
