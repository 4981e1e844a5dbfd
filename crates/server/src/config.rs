//! The configuration: file, environment and flags put together and checked once, before anything starts.

mod credential;
mod defaults;
mod error;
mod key;
mod raw;
mod source;
mod value;

use std::{fmt, net::SocketAddr, path::PathBuf, time::Duration};

use busgate_core::{EventConfig, Limits, RetryPolicy};

pub use self::{
    credential::ApiKey,
    error::ConfigError,
    source::{Environment, Origin, Sources},
};
use self::{key::KEYS, raw::Raw};
use crate::registry::{TransportUrl, without_secrets};

/// Everything `busgate serve` can be told. `busgate config defaults` lists the keys.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where messages live.
    pub transport: TransportUrl,
    /// Whether to keep trying when the transport can't be reached at the start.
    pub wait: bool,
    /// What an event gets where its own configuration is silent; `None` is the transport's own default.
    pub defaults: EventConfig,
    /// Where HTTP is served.
    pub http: SocketAddr,
    /// Where gRPC is served.
    pub grpc: SocketAddr,
    /// Where metrics and health are served when not with HTTP.
    pub admin: Option<SocketAddr>,
    /// How many threads `busgate serve` works with; `None` is one a core. A server within another program has that program's.
    pub threads: Option<usize>,
    /// How it logs.
    pub log: Log,
    /// What ack ids are signed with, when it is shared between nodes.
    pub ack_secret: Option<Secret>,
    /// Origins of web pages that may call besides the gateway's own.
    pub allowed_origins: Vec<String>,
    /// How often an idle stream shows a sign of life.
    pub heartbeat: Duration,
    /// How long a stop waits for acks.
    pub drain_timeout: Duration,
    /// What connections and requests may take.
    pub bounds: Bounds,
    /// What a message may weigh.
    pub limits: Limits,
    /// How messages are delivered.
    pub delivery: Delivery,
    /// Who may do what; nobody in particular when empty.
    pub keys: Vec<ApiKey>,
}

/// How the process logs.
#[derive(Clone, Debug)]
pub struct Log {
    /// In which format; `None` goes by whether stderr is a terminal.
    pub json: Option<bool>,
    /// What is logged, as a filter of levels and modules.
    pub filter: String,
}

/// What connections and requests may take.
#[derive(Clone, Debug)]
pub struct Bounds {
    /// The largest body of an HTTP request.
    pub max_body_bytes: usize,
    /// The most connections over all listeners.
    pub max_connections: usize,
    /// The most connections of one address, if that is bounded.
    pub max_connections_per_ip: Option<usize>,
    /// The most live subscriptions.
    pub max_subscriptions: usize,
    /// The most events one pattern subscription stands for.
    pub max_pattern_events: usize,
    /// The most concurrent streams of one HTTP/2 connection.
    pub max_streams_per_connection: u32,
    /// How long a request's head may take.
    pub header_timeout: Duration,
    /// How long a client may leave what is sent to it unread before its connection ends.
    pub write_timeout: Duration,
    /// How long a request's body may take.
    pub body_timeout: Duration,
    /// The most messages a second that one principal may publish, if that is bounded.
    pub publish_rate: Option<u32>,
    /// How many of them at once.
    pub publish_burst: u32,
}

/// How messages are delivered unless a subscription says otherwise.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// How they come back and when that ends.
    pub retry: RetryPolicy,
    /// Whether publishing and subscribing make an unknown event known.
    pub auto_register: bool,
    /// How long the transport may take for a publish.
    pub publish_timeout: Duration,
    /// How long it may take to settle, list or read.
    pub call_timeout: Duration,
    /// How often pattern subscriptions look for events that other nodes registered.
    pub discovery_interval: Duration,
    /// How many recent messages of an event wait in memory for its live subscribers.
    pub ring_messages: usize,
    /// How many bytes of them.
    pub ring_bytes: usize,
}

/// Text that is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// The text, for the one who needs it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

impl Config {
    /// Puts the sources together and checks every value.
    ///
    /// # Errors
    /// Every mistake there is, each naming the key, the value and what is allowed.
    pub fn read(sources: &Sources) -> Result<Self, Vec<ConfigError>> {
        let raw = Raw::read(sources)?;
        let config = Self {
            transport: transport(&raw)?,
            wait: raw.get("wait")?,
            defaults: EventConfig {
                dedup_window: None,
                retention_age: raw.find("retention.age"),
                retention_bytes: raw.find("retention.bytes"),
                retention_messages: raw.find("retention.messages"),
            },
            http: raw.get("http")?,
            grpc: raw.get("grpc")?,
            admin: raw.find("admin"),
            threads: raw.find("threads"),
            log: log(&raw)?,
            ack_secret: ack_secret(&raw)?,
            allowed_origins: origins(&raw)?,
            heartbeat: raw.get("heartbeat")?,
            drain_timeout: raw.get("drain_timeout")?,
            bounds: bounds(&raw)?,
            limits: limits(&raw)?,
            delivery: delivery(&raw)?,
            keys: raw.get("keys")?,
        };
        config.check_addresses(&raw)?;
        Ok(config)
    }

    /// The environment's variables that are no key's: worth a warning, as they may be another program's.
    #[must_use]
    pub fn unknown_variables(environment: &Environment) -> Vec<&str> {
        let known =
            |name: &str| KEYS.iter().any(|key| key.variable() == name) || CLIENT_VARIABLES.contains(&name);
        environment.names().filter(|name| !known(name)).collect()
    }

    /// Without credentials everyone may do everything, so only the machine itself may reach the gateway.
    fn check_addresses(&self, raw: &Raw) -> Result<(), Vec<ConfigError>> {
        if !self.keys.is_empty() {
            return Ok(());
        }
        let listeners = [("http", Some(self.http)), ("grpc", Some(self.grpc)), ("admin", self.admin)];
        let open = |(path, address): (&'static str, Option<SocketAddr>)| {
            let address = address.filter(|address| !address.ip().is_loopback())?;
            Some(ConfigError::new(path, &format!("\"{address}\""), &raw.origin(path), WITHOUT_KEYS))
        };
        let errors: Vec<ConfigError> = listeners.into_iter().filter_map(open).collect();
        if errors.is_empty() { Ok(()) } else { Err(errors) }
    }
}

/// Every key with its default, what is allowed and its environment variable, as a file to start from.
pub use self::defaults::defaults;

/// The variables of the client commands.
pub(crate) const CLIENT_VARIABLES: [&str; 2] = ["BUSGATE_SERVER", "BUSGATE_API_KEY"];

const WITHOUT_KEYS: &str = "without API keys only a loopback address (127.0.0.1 or [::1]) may be listened on; \
     to listen elsewhere write API keys into the configuration file: \
     [[keys]] name = \"app\" key = \"…16 characters or more…\" rules = [{ operations = [\"*\"], events = [\">\"] }]";

fn transport(raw: &Raw) -> Result<TransportUrl, Vec<ConfigError>> {
    let text: String = raw.get("transport")?;
    let origin = raw.origin("transport");
    let dev: bool = raw.get("dev")?;
    let text = if dev && origin == Origin::Default { "memory:".to_owned() } else { text };
    let url: TransportUrl = text.parse().map_err(|allowed: String| {
        vec![ConfigError::new("transport", &format!("\"{}\"", without_secrets(&text)), &origin, &allowed)]
    })?;
    let Some(directory) = raw.find::<String>("data_dir") else { return Ok(url) };
    url.with_directory(PathBuf::from(&directory)).map_err(|allowed| {
        vec![ConfigError::new("data_dir", &format!("\"{directory}\""), &raw.origin("data_dir"), &allowed)]
    })
}

fn log(raw: &Raw) -> Result<Log, Vec<ConfigError>> {
    let format: String = raw.get("log_format")?;
    let dev: bool = raw.get("dev")?;
    let filter: String = raw.get("log_level")?;
    let quiet = dev && raw.origin("log_level") == Origin::Default;
    if let Err(error) = tracing_subscriber::EnvFilter::builder().parse(&filter) {
        let allowed =
            format!("{error}; error, warn, info, debug or trace, also by module: info,busgate=debug");
        return Err(vec![ConfigError::new(
            "log_level",
            &format!("\"{filter}\""),
            &raw.origin("log_level"),
            &allowed,
        )]);
    }
    Ok(Log {
        json: (format != "auto").then_some(format == "json"),
        filter: if quiet { "info,busgate=debug".into() } else { filter },
    })
}

fn ack_secret(raw: &Raw) -> Result<Option<Secret>, Vec<ConfigError>> {
    let secret: Option<String> = raw.find("ack_secret");
    if secret.as_ref().is_some_and(|secret| secret.len() < 32) {
        let origin = raw.origin("ack_secret");
        return Err(vec![ConfigError::new("ack_secret", "(not shown)", &origin, "text of 32 bytes or more")]);
    }
    Ok(secret.map(Secret))
}

fn origins(raw: &Raw) -> Result<Vec<String>, Vec<ConfigError>> {
    let origins: Vec<String> = raw.get("allowed_origins")?;
    match origins.iter().find(|origin| !crate::auth::origin::is_pattern(origin)) {
        Some(bad) => {
            let origin = raw.origin("allowed_origins");
            let allowed = crate::auth::origin::ALLOWED;
            Err(vec![ConfigError::new("allowed_origins", &format!("\"{bad}\""), &origin, allowed)])
        }
        None => Ok(origins),
    }
}

fn bounds(raw: &Raw) -> Result<Bounds, Vec<ConfigError>> {
    let some = |count: u64| (count > 0).then_some(count);
    Ok(Bounds {
        max_body_bytes: raw.get("limits.max_body_bytes")?,
        max_connections: raw.get("limits.max_connections")?,
        max_connections_per_ip: some(raw.get("limits.max_connections_per_ip")?)
            .and_then(|count| usize::try_from(count).ok()),
        max_subscriptions: raw.get("limits.max_subscriptions")?,
        max_pattern_events: raw.get("limits.max_pattern_events")?,
        max_streams_per_connection: raw.get("limits.max_streams_per_connection")?,
        header_timeout: raw.get("limits.header_timeout")?,
        write_timeout: raw.get("limits.write_timeout")?,
        body_timeout: raw.get("limits.body_timeout")?,
        publish_rate: some(raw.get("limits.publish_rate")?).and_then(|rate| u32::try_from(rate).ok()),
        publish_burst: raw.get("limits.publish_burst")?,
    })
}

fn limits(raw: &Raw) -> Result<Limits, Vec<ConfigError>> {
    Ok(Limits {
        max_payload_bytes: raw.get("limits.max_payload_bytes")?,
        max_metadata_entries: raw.get("limits.max_metadata_entries")?,
        max_metadata_bytes: raw.get("limits.max_metadata_bytes")?,
        max_key_bytes: raw.get("limits.max_key_bytes")?,
        max_batch: raw.get("limits.max_batch")?,
    })
}

fn delivery(raw: &Raw) -> Result<Delivery, Vec<ConfigError>> {
    Ok(Delivery {
        retry: RetryPolicy {
            ack_wait: raw.get("delivery.ack_wait")?,
            max_deliver: raw.get("delivery.max_deliver")?,
            backoff: raw.get("delivery.backoff")?,
        },
        auto_register: raw.get("delivery.auto_register")?,
        publish_timeout: raw.get("delivery.publish_timeout")?,
        call_timeout: raw.get("delivery.call_timeout")?,
        discovery_interval: raw.get("delivery.discovery_interval")?,
        ring_messages: raw.get("delivery.ring_messages")?,
        ring_bytes: raw.get("delivery.ring_bytes")?,
    })
}
