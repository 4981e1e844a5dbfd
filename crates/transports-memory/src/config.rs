//! The bounds of the memory this transport may take, from a URL.

use std::{str::FromStr, time::Duration};

use busgate_core::{Error, Result, url::UrlOption};

/// How many messages an event holds unless told otherwise.
pub const DEFAULT_MAX_MESSAGES: u64 = 100_000;

/// How many bytes of messages an event holds unless told otherwise.
pub const DEFAULT_MAX_BYTES: u64 = 64 * 1024 * 1024;

/// How many events there may be unless told otherwise, and as many dead-letter events.
pub const DEFAULT_MAX_EVENTS: usize = 10_000;

/// How many groups and named consumers an event may have unless told otherwise.
pub const DEFAULT_MAX_GROUPS: usize = 1_000;

/// Every option, for whoever wrote another one.
const OPTIONS: &str = "max_messages, max_bytes, max_age, max_events, max_groups";

/// The bounds of a memory transport.
///
/// As a URL: `memory:` or `memory:?max_messages=1000&max_bytes=1048576&max_age=10m&max_events=100&max_groups=10`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemoryConfig {
    /// How many messages an event holds.
    pub max_messages: u64,
    /// How many bytes of messages an event holds, but always its newest message.
    pub max_bytes: u64,
    /// How long an event holds a message; `None` is as long as it fits.
    pub max_age: Option<Duration>,
    /// How many events there may be, and as many dead-letter events.
    pub max_events: usize,
    /// How many groups and named consumers an event may have.
    pub max_groups: usize,
}

impl Default for MemoryConfig {
    fn default() -> Self {
        Self {
            max_messages: DEFAULT_MAX_MESSAGES,
            max_bytes: DEFAULT_MAX_BYTES,
            max_age: None,
            max_events: DEFAULT_MAX_EVENTS,
            max_groups: DEFAULT_MAX_GROUPS,
        }
    }
}

impl FromStr for MemoryConfig {
    type Err = Error;

    fn from_str(url: &str) -> Result<Self> {
        let Some(rest) = url.strip_prefix("memory:") else {
            return Err(Error::invalid(format!("transport `{url}` must begin with `memory:`")));
        };
        let mut config = Self::default();
        if rest.is_empty() {
            return Ok(config);
        }
        let Some(query) = rest.strip_prefix('?') else {
            return Err(Error::invalid(format!("transport `{url}` may only have options, after a `?`")));
        };
        for option in UrlOption::all(query) {
            config.set(&option?)?;
        }
        Ok(config)
    }
}

impl MemoryConfig {
    fn set(&mut self, option: &UrlOption) -> Result<()> {
        match option.name() {
            "max_messages" => self.max_messages = option.number(1..)?,
            "max_bytes" => self.max_bytes = option.number(1..)?,
            "max_age" => self.max_age = Some(option.positive_duration()?),
            "max_events" => self.max_events = option.number(1..)?,
            "max_groups" => self.max_groups = option.number(1..)?,
            _ => return Err(option.unknown(OPTIONS)),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_option_is_read() {
        let url = "memory:?max_messages=7&max_bytes=8&max_age=90s&max_events=3&max_groups=2";
        let expected = MemoryConfig {
            max_messages: 7,
            max_bytes: 8,
            max_age: Some(Duration::from_secs(90)),
            max_events: 3,
            max_groups: 2,
        };
        assert_eq!(url.parse::<MemoryConfig>().unwrap(), expected);
        assert_eq!("memory:".parse::<MemoryConfig>().unwrap(), MemoryConfig::default());
    }

    #[test]
    fn what_is_refused_is_named() {
        for (url, named) in [
            ("redis:", "redis:"),
            ("memory:x", "memory:x"),
            ("memory:?x", "key=value"),
            ("memory:?max_size=1", "max_size"),
            ("memory:?max_bytes=0", "max_bytes"),
            ("memory:?max_messages=-1", "max_messages"),
            ("memory:?max_age=10", "max_age"),
            ("memory:?max_age=0s", "max_age"),
            ("memory:?max_age=99999999999999999999d", "max_age"),
        ] {
            let error = url.parse::<MemoryConfig>().unwrap_err();
            assert!(error.message().contains(named), "{url}: {error}");
        }
    }
}
