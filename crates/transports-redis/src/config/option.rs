//! The options of a URL.

use std::{path::PathBuf, time::Duration};

use busgate_core::{Error, EventName, Result};

use super::{RedisConfig, Tls, Topology};

/// Every name but those of mapped events.
const NAMES: &str = "prefix, map.<event>, username, password_file, tls_ca, tls_cert, tls_key, connect_timeout, timeout, \
    min_replicas, min_replicas_timeout, reclaim_after, max_ids, dedup_window, retention_age, retention_bytes, \
    retention_messages, master, sentinel_username, sentinel_password, sentinel_password_file";

/// Sets one option.
pub(super) fn set(config: &mut RedisConfig, name: &str, value: String) -> Result<()> {
    if let Some(event) = name.strip_prefix("map.") {
        let event = EventName::new(event).map_err(|error| Error::invalid(format!("map.<event>: {error}")))?;
        config.map.insert(event, value);
        return Ok(());
    }
    match name {
        "prefix" => config.prefix = value,
        "username" => config.credentials.username = Some(value),
        "password_file" => config.credentials.password = Some(secret(name, &value)?),
        "sentinel_username" => config.sentinel_credentials.username = Some(value),
        "sentinel_password" => config.sentinel_credentials.password = Some(value),
        "sentinel_password_file" => config.sentinel_credentials.password = Some(secret(name, &value)?),
        "tls_ca" => tls(config, name)?.ca = Some(PathBuf::from(value)),
        "tls_cert" => tls(config, name)?.cert = Some(PathBuf::from(value)),
        "tls_key" => tls(config, name)?.key = Some(PathBuf::from(value)),
        "connect_timeout" => config.connect_timeout = duration(name, &value)?,
        "timeout" => config.timeout = duration(name, &value)?,
        "min_replicas" => config.min_replicas = number(name, &value)?,
        "min_replicas_timeout" => config.min_replicas_timeout = duration(name, &value)?,
        "reclaim_after" => config.reclaim_after = duration(name, &value)?,
        "max_ids" => config.max_ids = number(name, &value)?,
        "dedup_window" => config.defaults.dedup_window = Some(duration(name, &value)?),
        "retention_age" => config.defaults.retention_age = bound(duration(name, &value)?),
        "retention_bytes" => config.defaults.retention_bytes = bound(number(name, &value)?),
        "retention_messages" => config.defaults.retention_messages = bound(number(name, &value)?),
        "master" => match &mut config.topology {
            Topology::Sentinel { master } => *master = value,
            Topology::Single | Topology::Cluster => {
                return Err(Error::invalid("master goes with redis+sentinel:// only"));
            }
        },
        "password" => return Err(Error::invalid("a password stands before the host, or in password_file=")),
        _ => return Err(Error::invalid(format!("unknown option `{name}`: there are {NAMES}"))),
    }
    Ok(())
}

/// Zero is no bound.
fn bound<T: Default + PartialEq>(value: T) -> Option<T> {
    Some(value).filter(|value| *value != T::default())
}

fn tls<'a>(config: &'a mut RedisConfig, name: &str) -> Result<&'a mut Tls> {
    config.tls.as_mut().ok_or_else(|| Error::invalid(format!("{name} goes with rediss:// only")))
}

/// The first line of a file.
fn secret(name: &str, path: &str) -> Result<String> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| Error::invalid(format!("{name} can't be read: {}", error.kind())))?;
    Ok(text.lines().next().unwrap_or_default().to_owned())
}

fn number<T: std::str::FromStr>(name: &str, text: &str) -> Result<T> {
    text.parse().map_err(|_| Error::invalid(format!("{name} must be a number")))
}

/// `250ms`, `5s`, `2m`, `1h`, or a number of seconds.
fn duration(name: &str, text: &str) -> Result<Duration> {
    let bad = || Error::invalid(format!("{name} must be a time as 250ms, 5s, 2m, 1h"));
    let digits = text.trim_end_matches(|char: char| char.is_ascii_alphabetic());
    let count: u64 = digits.parse().map_err(|_| bad())?;
    let millis = match text.get(digits.len()..).unwrap_or_default() {
        "ms" => 1,
        "" | "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return Err(bad()),
    };
    count.checked_mul(millis).map(Duration::from_millis).ok_or_else(bad)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_units() {
        let read = |text| duration("timeout", text).ok().map(|time| time.as_millis());
        assert_eq!(
            ["250ms", "5s", "5", "2m", "1h"].map(read),
            [250, 5000, 5000, 120_000, 3_600_000].map(Some)
        );
        for bad in ["", "s", "-1s", "1.5s", "5 s", "1w", "99999999999999999999s", "18446744073709551615h"] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }

    #[test]
    fn options_are_kept() {
        let url = "redis://h?username=u&map.orders.eu=legacy%3Aorders&timeout=2s&connect_timeout=1s&min_replicas=2\
                   &min_replicas_timeout=500ms&reclaim_after=2m&max_ids=10&dedup_window=1m&retention_age=1h\
                   &retention_bytes=1000&retention_messages=0";
        let config: RedisConfig = url.parse().unwrap();
        assert_eq!(config.credentials.username.as_deref(), Some("u"));
        let (event, stream) = config.map.first_key_value().unwrap();
        assert_eq!((event.as_str(), stream.as_str()), ("orders.eu", "legacy:orders"));
        assert_eq!(
            (config.timeout, config.connect_timeout),
            (Duration::from_secs(2), Duration::from_secs(1))
        );
        assert_eq!((config.min_replicas, config.min_replicas_timeout), (2, Duration::from_millis(500)));
        assert_eq!((config.reclaim_after, config.max_ids), (Duration::from_secs(120), 10));
        assert_eq!(config.defaults.dedup_window, Some(Duration::from_secs(60)));
        assert_eq!(config.defaults.retention_age, Some(Duration::from_secs(3600)));
        assert_eq!((config.defaults.retention_bytes, config.defaults.retention_messages), (Some(1000), None));
    }

    #[test]
    fn a_password_is_read_from_its_file() {
        let file = std::env::temp_dir().join(format!("busgate-redis-secret-{}", std::process::id()));
        std::fs::write(&file, "s3cret\n").unwrap();
        let config: RedisConfig = format!("redis://h?password_file={}", file.display()).parse().unwrap();
        std::fs::remove_file(&file).unwrap();
        assert_eq!(config.credentials.password.as_deref(), Some("s3cret"));
        let missing = format!("redis://h?password_file={}", file.display()).parse::<RedisConfig>();
        assert!(missing.unwrap_err().message().starts_with("password_file"));
    }
}
