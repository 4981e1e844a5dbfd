//! The transports there are: the only place that names them.

use std::{
    fmt,
    path::{Path, PathBuf},
    str::FromStr,
    sync::Arc,
};

use busgate_core::{Capabilities, Clock, Error, EventConfig, Result, Transport};
use busgate_transports_log::{LogConfig, LogTransport};
use busgate_transports_memory::{MemoryConfig, MemoryTransport};

mod shown;

pub(crate) use self::shown::without_secrets;

/// Where messages live, as a checked URL. It is shown without credentials.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TransportUrl {
    shown: String,
    backend: Backend,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Backend {
    Memory(MemoryConfig),
    Log(PathBuf),
}

/// What is allowed, for people.
const ALLOWED: &str = "memory: or log:DIR";

/// The transports that are known but not part of this build.
const NOT_BUILT_IN: [&str; 3] = ["redis", "nats", "kafka"];

impl FromStr for TransportUrl {
    type Err = String;

    /// The error says what is allowed.
    fn from_str(url: &str) -> std::result::Result<Self, String> {
        let backend = match url.split_once(':') {
            Some(("memory", _)) => Backend::Memory(url.parse().map_err(|error: Error| error.to_string())?),
            Some(("log", directory)) if !directory.is_empty() => Backend::Log(directory.into()),
            Some((scheme, _)) if NOT_BUILT_IN.contains(&scheme) => {
                return Err(format!("the {scheme} transport is not built in yet; {ALLOWED}"));
            }
            _ => return Err(ALLOWED.into()),
        };
        Ok(Self { shown: without_secrets(url), backend })
    }
}

impl TransportUrl {
    /// The directory it keeps its data in, if it does.
    #[must_use]
    pub fn directory(&self) -> Option<&Path> {
        match &self.backend {
            Backend::Memory(_) => None,
            Backend::Log(directory) => Some(directory),
        }
    }

    /// Whether other nodes may be on the same transport.
    #[must_use]
    pub const fn is_shared(&self) -> bool {
        match self.backend {
            Backend::Memory(_) | Backend::Log(_) => false,
        }
    }

    /// The same transport with its data in `directory`.
    pub(crate) fn with_directory(self, directory: PathBuf) -> std::result::Result<Self, String> {
        match self.backend {
            Backend::Memory(_) => Err("a data directory needs a transport that keeps data: log:".into()),
            Backend::Log(_) => {
                Ok(Self { shown: format!("log:{}", directory.display()), backend: Backend::Log(directory) })
            }
        }
    }

    /// Opens the transport. `defaults` is what an event gets where its own configuration is silent.
    ///
    /// # Errors
    /// What the transport says when it can't be opened.
    pub async fn open(&self, clock: Arc<dyn Clock>, defaults: &EventConfig) -> Result<Arc<dyn Transport>> {
        match &self.backend {
            Backend::Memory(config) => {
                let config = MemoryConfig {
                    max_messages: defaults.retention_messages.unwrap_or(config.max_messages),
                    max_bytes: defaults.retention_bytes.unwrap_or(config.max_bytes),
                    max_age: defaults.retention_age.or(config.max_age),
                    ..config.clone()
                };
                Ok(MemoryTransport::with_clock(config, clock))
            }
            Backend::Log(directory) => {
                let mut config = LogConfig { clock, ..LogConfig::new(directory) };
                override_with(&mut config.defaults, defaults);
                Ok(LogTransport::open(config).await?)
            }
        }
    }
}

/// What each transport can do, by its scheme.
pub(crate) fn capabilities() -> [(&'static str, Capabilities); 2] {
    [("memory", MemoryTransport::CAPABILITIES), ("log", LogTransport::CAPABILITIES)]
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
    fn what_is_not_built_in_is_named() {
        for url in ["redis://localhost", "nats://localhost:4222", "kafka://a:9092,b:9092"] {
            assert!(url.parse::<TransportUrl>().unwrap_err().contains("not built in yet"), "{url}");
        }
        for url in ["", "memory", "log:", "file:x"] {
            assert_eq!(url.parse::<TransportUrl>().unwrap_err(), ALLOWED, "{url}");
        }
        assert!("memory:x".parse::<TransportUrl>().is_err());
    }
}
