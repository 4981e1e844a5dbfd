//! Where the server is, and how its streams are used.

mod option;
mod url;

use std::{collections::BTreeMap, fmt, path::PathBuf, sync::Arc, time::Duration};

use busgate_core::{Clock, Error, EventConfig, EventName, Result, SystemClock};

/// How the servers are found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Topology {
    /// One server; of several addresses the first that is a master.
    Single,
    /// A cluster; the addresses are where to ask for the rest.
    Cluster,
    /// The addresses are of sentinels, which know where the master of this name is.
    Sentinel {
        /// The master's name.
        master: String,
    },
}

/// Who connects.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Credentials {
    /// The user, if it is not the default one.
    pub username: Option<String>,
    /// The password.
    pub password: Option<String>,
}

/// How connections are secured.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tls {
    /// The authorities to trust, as a PEM file; the system's without one.
    pub ca: Option<PathBuf>,
    /// The certificate to show, as a PEM file.
    pub cert: Option<PathBuf>,
    /// Its key, as a PEM file.
    pub key: Option<PathBuf>,
}

/// Where the server is, and how its streams are used. It is read from a URL (see the crate's README), or filled in.
#[derive(Clone)]
pub struct RedisConfig {
    /// How the servers are found.
    pub topology: Topology,
    /// Host and port of each known server (or sentinel).
    pub hosts: Vec<(String, u16)>,
    /// The number of the database.
    pub database: i64,
    /// Who connects to the servers.
    pub credentials: Credentials,
    /// Who connects to the sentinels.
    pub sentinel_credentials: Credentials,
    /// How connections are secured; `None` where they are not.
    pub tls: Option<Tls>,
    /// What every key begins with.
    pub prefix: String,
    /// Streams that are events under other names.
    pub map: BTreeMap<EventName, String>,
    /// How long connecting may take.
    pub connect_timeout: Duration,
    /// How long the server may take to answer.
    pub timeout: Duration,
    /// How many replicas must have a write before it is answered.
    pub min_replicas: u32,
    /// How long they may take.
    pub min_replicas_timeout: Duration,
    /// How long a message that another client holds in a group of ours must have been idle to be taken over.
    pub reclaim_after: Duration,
    /// How many message ids an event remembers at most.
    pub max_ids: u64,
    /// What an event gets where its own configuration is silent.
    pub defaults: EventConfig,
    /// The time of this node.
    pub clock: Arc<dyn Clock>,
}

impl RedisConfig {
    /// One server without a password, and everything else by default.
    #[must_use]
    pub fn new(host: impl Into<String>, port: u16) -> Self {
        Self {
            topology: Topology::Single,
            hosts: vec![(host.into(), port)],
            database: 0,
            credentials: Credentials::default(),
            sentinel_credentials: Credentials::default(),
            tls: None,
            prefix: String::new(),
            map: BTreeMap::new(),
            connect_timeout: Duration::from_secs(5),
            timeout: Duration::from_secs(5),
            min_replicas: 0,
            min_replicas_timeout: Duration::from_secs(1),
            reclaim_after: Duration::from_secs(60),
            max_ids: 200_000,
            defaults: EventConfig {
                dedup_window: Some(busgate_core::DEFAULT_DEDUP_WINDOW),
                retention_messages: Some(1_000_000),
                ..EventConfig::default()
            },
            clock: SystemClock::shared(),
        }
    }

    /// The same within what goes together.
    ///
    /// # Errors
    /// `invalid` for figures out of bounds; `unsupported` for what can't be had together.
    pub fn validate(&self) -> Result<()> {
        self.defaults.validate()?;
        let refused = |what: &str| Err(Error::unsupported(what.to_owned()));
        if self.hosts.is_empty() {
            return Err(Error::invalid("no host is named"));
        }
        if self.topology == Topology::Cluster {
            if self.database != 0 {
                return refused("a cluster has database 0 only");
            }
            if self.min_replicas > 0 {
                return refused(
                    "min_replicas can't be had on a cluster: WAIT asks one server, a batch may go to many",
                );
            }
        }
        if self.tls.as_ref().is_some_and(|tls| tls.cert.is_some() != tls.key.is_some()) {
            return Err(Error::invalid("tls_cert and tls_key go together"));
        }
        if self.prefix.contains(['{', '}']) {
            let tagged = self.prefix.split_once('{').and_then(|(_, rest)| rest.split_once('}'));
            let whole = tagged.is_some_and(|(tag, rest)| !tag.is_empty() && !rest.contains(['{', '}']));
            if !whole || tagged.is_some_and(|(tag, _)| tag.contains('{')) {
                return Err(Error::invalid("the braces of a prefix must hold one tag"));
            }
        }
        let bounded = |name: &str, time: Duration| {
            let fits = time >= Duration::from_millis(1) && time <= Duration::from_secs(3600);
            if fits { Ok(()) } else { Err(Error::invalid(format!("{name} must be 1ms to 1h"))) }
        };
        bounded("connect_timeout", self.connect_timeout)?;
        bounded("timeout", self.timeout)?;
        bounded("min_replicas_timeout", self.min_replicas_timeout)?;
        if self.min_replicas > 0 && self.min_replicas_timeout >= self.timeout {
            return Err(Error::invalid("min_replicas_timeout must be below timeout"));
        }
        Ok(())
    }
}

/// Without its secrets.
impl fmt::Display for RedisConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls.is_some() { "rediss" } else { "redis" };
        let kind = match self.topology {
            Topology::Single => "",
            Topology::Cluster => "+cluster",
            Topology::Sentinel { .. } => "+sentinel",
        };
        write!(f, "{scheme}{kind}://")?;
        for (nth, (host, port)) in self.hosts.iter().enumerate() {
            let comma = if nth > 0 { "," } else { "" };
            match host.contains(':') {
                true => write!(f, "{comma}[{host}]:{port}")?,
                false => write!(f, "{comma}{host}:{port}")?,
            }
        }
        write!(f, "/{}", self.database)?;
        if let Topology::Sentinel { master } = &self.topology {
            write!(f, "?master={master}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for RedisConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisConfig")
            .field("server", &self.to_string())
            .field("credentials", &self.credentials)
            .field("sentinel_credentials", &self.sentinel_credentials)
            .field("tls", &self.tls)
            .field("prefix", &self.prefix)
            .field("map", &self.map)
            .field("timeout", &self.timeout)
            .field("min_replicas", &self.min_replicas)
            .field("defaults", &self.defaults)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("username", &self.username)
            .field("password", &self.password.as_ref().map(|_| "(hidden)"))
            .finish()
    }
}
