//! The options of a URL.

use std::fs;

use busgate_core::{Error, EventName, Result, url::UrlOption};

use super::{RedisConfig, Tls, Topology};

/// Every name but those of mapped events.
const NAMES: &str = "prefix, map.<event>, username, password_file, tls_ca, tls_cert, tls_key, connect_timeout, timeout, \
    min_replicas, min_replicas_timeout, reclaim_after, max_ids, dedup_window, retention_age, retention_bytes, \
    retention_messages, master, sentinel_username, sentinel_password, sentinel_password_file";

/// Sets one option.
pub(super) fn set(config: &mut RedisConfig, option: UrlOption) -> Result<()> {
    if let Some(event) = option.name().strip_prefix("map.") {
        let event = EventName::new(event).map_err(|error| Error::invalid(format!("map.<event>: {error}")))?;
        config.map.insert(event, option.into_text());
        return Ok(());
    }
    match option.name() {
        "prefix" => config.prefix = option.into_text(),
        "username" => config.credentials.username = Some(option.into_text()),
        "password_file" => config.credentials.password = Some(secret(&option)?),
        "sentinel_username" => config.sentinel_credentials.username = Some(option.into_text()),
        "sentinel_password" => config.sentinel_credentials.password = Some(option.into_text()),
        "sentinel_password_file" => config.sentinel_credentials.password = Some(secret(&option)?),
        "tls_ca" => tls(config, &option)?.ca = Some(option.text().into()),
        "tls_cert" => tls(config, &option)?.cert = Some(option.text().into()),
        "tls_key" => tls(config, &option)?.key = Some(option.text().into()),
        "connect_timeout" => config.connect_timeout = option.duration()?,
        "timeout" => config.timeout = option.duration()?,
        "min_replicas" => config.min_replicas = option.number(..)?,
        "min_replicas_timeout" => config.min_replicas_timeout = option.duration()?,
        "reclaim_after" => config.reclaim_after = option.duration()?,
        "max_ids" => config.max_ids = option.number(..)?,
        "dedup_window" => config.defaults.dedup_window = Some(option.duration()?),
        "retention_age" => config.defaults.retention_age = bound(option.duration()?),
        "retention_bytes" => config.defaults.retention_bytes = bound(option.number(..)?),
        "retention_messages" => config.defaults.retention_messages = bound(option.number(..)?),
        "master" => match &mut config.topology {
            Topology::Sentinel { master } => *master = option.into_text(),
            Topology::Single | Topology::Cluster => {
                return Err(Error::invalid("master goes with redis+sentinel:// only"));
            }
        },
        "password" => return Err(Error::invalid("a password stands before the host, or in password_file=")),
        _ => return Err(option.unknown(NAMES)),
    }
    Ok(())
}

/// Zero is no bound.
fn bound<T: Default + PartialEq>(value: T) -> Option<T> {
    Some(value).filter(|value| *value != T::default())
}

fn tls<'a>(config: &'a mut RedisConfig, option: &UrlOption) -> Result<&'a mut Tls> {
    let no_tls = || Error::invalid(format!("{} goes with rediss:// only", option.name()));
    config.tls.as_mut().ok_or_else(no_tls)
}

fn secret(option: &UrlOption) -> Result<String> {
    option.secret(fs::read_to_string(option.text()))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

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
        assert!(missing.unwrap_err().message().contains("password_file"));
    }
}
