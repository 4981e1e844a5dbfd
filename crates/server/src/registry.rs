//! The transports there are: the only place that names them.

use std::{
    fmt,
    path::{Path, PathBuf},
    str::FromStr,
    sync::Arc,
};

use busgate_core::{Capabilities, Clock, Error, EventConfig, Result, Transport};
#[cfg(feature = "kafka")]
use busgate_transports_kafka::{KafkaConfig, KafkaTransport};
use busgate_transports_log::{LogConfig, LogTransport};
use busgate_transports_memory::{MemoryConfig, MemoryTransport};
#[cfg(feature = "nats")]
use busgate_transports_nats::{CoreTransport, NatsConfig, NatsTransport};
#[cfg(feature = "redis")]
use busgate_transports_redis::{RedisConfig, RedisTransport};
#[cfg(any(feature = "kafka", feature = "nats", feature = "redis"))]
use futures_util::FutureExt;

mod shown;

use self::shown::is_told_apart;
pub(crate) use self::shown::without_secrets;

/// Where messages live, as a checked URL. It is shown without credentials.
#[derive(Clone, Debug)]
pub struct TransportUrl {
    shown: String,
    backend: Backend,
}

#[derive(Clone, Debug)]
enum Backend {
    Memory(MemoryConfig),
    Log(PathBuf),
    #[cfg(feature = "redis")]
    Redis(Box<RedisConfig>),
    #[cfg(feature = "nats")]
    Nats(Box<NatsConfig>),
    #[cfg(feature = "kafka")]
    Kafka(Box<KafkaConfig>),
}

/// What is allowed, for people.
const ALLOWED: &str = "memory:, log:DIR, redis://HOST, nats://HOST or kafka://HOST, with options after a ?";

/// What is said of a URL whose credentials can't be told from the rest, so that none is repeated.
const UNENCODED: &str =
    "it can't be read: a ? or @ in a user, a password or an option must be percent-encoded";

/// The schemes of brokers, built in or not.
const BROKERS: [&str; 5] = ["redis", "rediss", "nats", "tls", "kafka"];

impl FromStr for TransportUrl {
    type Err = String;

    /// The error says what is allowed.
    fn from_str(url: &str) -> std::result::Result<Self, String> {
        let told = |error: Error| if is_told_apart(url) { error.to_string() } else { UNENCODED.into() };
        let (scheme, rest) = url.split_once(':').ok_or(ALLOWED)?;
        let backend = match scheme.split('+').next().unwrap_or_default() {
            "memory" => Backend::Memory(url.parse().map_err(told)?),
            "log" if !rest.is_empty() => Backend::Log(rest.into()),
            #[cfg(feature = "redis")]
            "redis" | "rediss" => Backend::Redis(Box::new(url.parse().map_err(told)?)),
            #[cfg(feature = "nats")]
            "nats" | "tls" => Backend::Nats(Box::new(url.parse().map_err(told)?)),
            #[cfg(feature = "kafka")]
            "kafka" => Backend::Kafka(Box::new(url.parse().map_err(told)?)),
            broker if BROKERS.contains(&broker) => return Err(format!("{broker} is not part of this build")),
            _ => return Err(ALLOWED.into()),
        };
        Ok(Self { shown: without_secrets(url), backend })
    }
}

impl TransportUrl {
    /// The directory it keeps its data in, if it does.
    #[must_use]
    pub fn directory(&self) -> Option<&Path> {
        if let Backend::Log(directory) = &self.backend { Some(directory) } else { None }
    }

    /// What kind it is, by its scheme: a word of a short list.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match &self.backend {
            Backend::Memory(_) => "memory",
            Backend::Log(_) => "log",
            #[cfg(feature = "redis")]
            Backend::Redis(_) => "redis",
            #[cfg(feature = "nats")]
            Backend::Nats(config) if config.core => "nats+core",
            #[cfg(feature = "nats")]
            Backend::Nats(_) => "nats",
            #[cfg(feature = "kafka")]
            Backend::Kafka(_) => "kafka",
        }
    }

    /// Whether other nodes may be on the same transport.
    #[must_use]
    pub const fn is_shared(&self) -> bool {
        !matches!(self.backend, Backend::Memory(_) | Backend::Log(_))
    }

    /// The same transport with its data in `directory`.
    pub(crate) fn with_directory(self, directory: PathBuf) -> std::result::Result<Self, String> {
        if self.directory().is_none() {
            return Err("a data directory needs a transport that keeps data here: log:".into());
        }
        Ok(Self { shown: format!("log:{}", directory.display()), backend: Backend::Log(directory) })
    }

    /// Opens the transport. `defaults` is what an event gets where its own configuration is silent.
    ///
    /// # Errors
    /// What the transport says when it can't be opened.
    pub async fn open(&self, clock: Arc<dyn Clock>, defaults: &EventConfig) -> Result<Arc<dyn Transport>> {
        // Boxed, as a driver's future is deep: whoever starts a gateway in a future of its own would meet rustc's limit.
        match self.backend.clone() {
            Backend::Memory(config) => {
                let config = MemoryConfig {
                    max_messages: defaults.retention_messages.unwrap_or(config.max_messages),
                    max_bytes: defaults.retention_bytes.unwrap_or(config.max_bytes),
                    max_age: defaults.retention_age.or(config.max_age),
                    ..config
                };
                Ok(MemoryTransport::with_clock(config, clock))
            }
            Backend::Log(directory) => {
                let mut config = LogConfig { clock, ..LogConfig::new(directory) };
                override_with(&mut config.defaults, defaults);
                Ok(LogTransport::open(config).await?)
            }
            #[cfg(feature = "redis")]
            Backend::Redis(config) => {
                let mut config = RedisConfig { clock, ..*config };
                override_with(&mut config.defaults, defaults);
                Ok(RedisTransport::connect(config).boxed().await?)
            }
            #[cfg(feature = "nats")]
            Backend::Nats(config) => {
                let mut config = NatsConfig { clock, ..*config };
                override_with(&mut config.defaults, defaults);
                if config.core {
                    return Ok(CoreTransport::connect(config).boxed().await?);
                }
                Ok(NatsTransport::connect(config).boxed().await?)
            }
            #[cfg(feature = "kafka")]
            Backend::Kafka(config) => {
                let mut config = KafkaConfig { clock, ..*config };
                override_with(&mut config.defaults, defaults);
                Ok(KafkaTransport::connect(config).boxed().await?)
            }
        }
    }
}

/// What each transport of this build can do as it is by default, by its scheme.
pub(crate) fn capabilities() -> Vec<(&'static str, Capabilities)> {
    vec![
        ("memory", MemoryTransport::CAPABILITIES),
        ("log", LogTransport::CAPABILITIES),
        #[cfg(feature = "redis")]
        ("redis", RedisTransport::CAPABILITIES),
        #[cfg(feature = "nats")]
        ("nats", NatsConfig::new("localhost").capabilities()),
        #[cfg(feature = "nats")]
        ("nats+core", NatsConfig { core: true, ..NatsConfig::new("localhost") }.capabilities()),
        #[cfg(feature = "kafka")]
        ("kafka", KafkaConfig::new("localhost").capabilities()),
    ]
}

impl fmt::Display for TransportUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

/// What is asked for, else what is there.
fn override_with(there: &mut EventConfig, asked: &EventConfig) {
    there.dedup_window = asked.dedup_window.or(there.dedup_window);
    there.retention_age = asked.retention_age.or(there.retention_age);
    there.retention_bytes = asked.retention_bytes.or(there.retention_bytes);
    there.retention_messages = asked.retention_messages.or(there.retention_messages);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_read_back_as_written() {
        for url in ["memory:", "memory:?max_messages=7", "log:./busgate-data", "log:/var/lib/busgate"] {
            assert_eq!(url.parse::<TransportUrl>().unwrap().to_string(), url);
        }
    }

    #[test]
    fn a_broker_is_shown_without_credentials() {
        for url in
            ["redis://u:hunter2@h:6379", "nats://u:hunter2@h:4222", "kafka://u:hunter2@h:9092?sasl=plain"]
        {
            let shown = url.parse::<TransportUrl>().unwrap();
            assert!(shown.is_shared() && shown.to_string().contains("://h:"), "{shown}");
            assert!(!format!("{shown} {shown:?}").contains("hunter2"), "{shown}");
        }
    }

    #[test]
    fn what_is_no_transport_is_told_what_is() {
        for url in ["", "memory", "log:", "file:x"] {
            assert_eq!(url.parse::<TransportUrl>().unwrap_err(), ALLOWED, "{url}");
        }
        assert!("memory:x".parse::<TransportUrl>().is_err());
    }

    #[test]
    fn a_mistake_in_a_url_tells_no_secret() {
        for url in [
            "redis://u:hunter2@h?nonsense=hunter2",
            "nats://u:hunter2@h?nonsense=hunter2",
            "kafka://h?nonsense=hunter2",
        ] {
            let error = url.parse::<TransportUrl>().unwrap_err();
            assert!(error.contains("nonsense") && !error.contains("hunter2"), "{error}");
        }
    }
}
