//! The bounds of the memory this transport may take, from a URL.

use std::{str::FromStr, time::Duration};

use busgate_core::{Error, Result};

/// How many messages an event holds unless told otherwise.
pub const DEFAULT_MAX_MESSAGES: u64 = 100_000;

/// How many bytes of messages an event holds unless told otherwise.
pub const DEFAULT_MAX_BYTES: u64 = 64 * 1024 * 1024;

/// How many events there may be unless told otherwise, and as many dead-letter events.
pub const DEFAULT_MAX_EVENTS: usize = 10_000;

/// How many groups and named consumers an event may have unless told otherwise.
pub const DEFAULT_MAX_GROUPS: usize = 1_000;

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
        for option in query.split('&') {
            let Some((key, value)) = option.split_once('=') else {
                return Err(Error::invalid(format!("transport option `{option}` must be key=value")));
            };
            config.set(key, value)?;
        }
        Ok(config)
    }
}

impl MemoryConfig {
    fn set(&mut self, key: &str, value: &str) -> Result<()> {
        match key {
            "max_messages" => self.max_messages = number(key, value)?,
            "max_bytes" => self.max_bytes = number(key, value)?,
            "max_age" => self.max_age = Some(duration(key, value)?),
            "max_events" => self.max_events = number(key, value)?,
            "max_groups" => self.max_groups = number(key, value)?,
            _ => {
                return Err(Error::invalid(format!(
                    "transport option `{key}` is none of max_messages, max_bytes, max_age, max_events, max_groups"
                )));
            }
        }
        Ok(())
    }
}

fn number<N: FromStr + PartialOrd + From<u8>>(key: &str, value: &str) -> Result<N> {
    let refused =
        || Error::invalid(format!("transport option `{key}` must be a number from 1, is `{value}`"));
    value.parse().ok().filter(|number| *number >= N::from(1)).ok_or_else(refused)
}

fn duration(key: &str, value: &str) -> Result<Duration> {
    let refused = || {
        Error::invalid(format!(
            "transport option `{key}` must be like 500ms, 30s, 10m, 2h or 7d, is `{value}`"
        ))
    };
    let digits = value.find(|c: char| !c.is_ascii_digit()).unwrap_or(value.len());
    let (number, unit) = value.split_at(digits);
    let number: u64 = number.parse().map_err(|_| refused())?;
    let millis: u64 = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return Err(refused()),
    };
    number.checked_mul(millis).filter(|millis| *millis > 0).map(Duration::from_millis).ok_or_else(refused)
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
            ("memory:?", "key=value"),
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
