//! The URL, part by part.

mod security;

use std::str::FromStr;

use busgate_core::{Error, EventName, Result, url::UrlOption};

use self::security::Security;
use super::{Acks, Deduplication, GroupProtocol, KafkaConfig, Unkeyed, topic};

/// The port of a host that names none.
const DEFAULT_PORT: u16 = 9092;

/// Every option, for whoever wrote another one.
const OPTIONS: &str = "prefix, security, sasl, user, password, password_file, tls_ca, tls_cert, tls_key, tls_verify, \
    acks, linger_ms, compression, partitions, replication, min_insync_replicas, group_protocol, unkeyed, dedup, timeout, \
    connect_timeout, dedup_window, max_dedup_ids, retention_age, retention_bytes, tail_messages, tail_bytes, \
    map.<event>, client.<key>";

/// Settings of librdkafka that the transport itself relies on, or has an option for.
const RESERVED: [&str; 22] = [
    "bootstrap.servers",
    "metadata.broker.list",
    "security.protocol",
    "sasl.mechanism",
    "sasl.mechanisms",
    "sasl.username",
    "sasl.password",
    "acks",
    "request.required.acks",
    "linger.ms",
    "queue.buffering.max.ms",
    "compression.type",
    "compression.codec",
    "enable.idempotence",
    "enable.auto.commit",
    "enable.auto.offset.store",
    "enable.partition.eof",
    "auto.offset.reset",
    "group.id",
    "group.protocol",
    "transactional.id",
    "message.timeout.ms",
];

impl FromStr for KafkaConfig {
    type Err = Error;

    fn from_str(url: &str) -> Result<Self> {
        // The URL may have a password in it: it is not repeated.
        let rest = url
            .strip_prefix("kafka://")
            .ok_or_else(|| Error::invalid("the transport must begin with `kafka://`"))?;
        let (authority, query) = rest.split_once('?').unwrap_or((rest, ""));
        let authority = authority.trim_end_matches('/');
        let (login, hosts) =
            authority.rsplit_once('@').map_or((None, authority), |(login, hosts)| (Some(login), hosts));
        let mut config = Self::new(servers(hosts)?);
        let mut security = Security::default();
        if let Some(login) = login {
            security.log_in(login)?;
        }
        for option in UrlOption::all(query) {
            let option = option?;
            if !security.set(&option)? {
                set(&mut config, &option)?;
            }
        }
        (config.tls, config.sasl) = security.finish()?;
        check(&config)?;
        Ok(config)
    }
}

/// The brokers, each with a port.
fn servers(hosts: &str) -> Result<String> {
    let server = |host: &str| {
        let bare = host.rsplit_once(']').map_or(host, |(_, port)| port);
        let named = match bare.rsplit_once(':') {
            None => return Ok(format!("{host}:{DEFAULT_PORT}")),
            Some((_, port)) => port.parse::<u16>().is_ok(),
        };
        let known = named && !host.starts_with(':');
        known.then(|| host.to_owned()).ok_or_else(|| Error::invalid(format!("`{host}` must be host:port")))
    };
    if hosts.is_empty() || hosts.split(',').any(str::is_empty) || hosts.contains('/') {
        return Err(Error::invalid(
            "the transport must be `kafka://host:port`, with more hosts after commas",
        ));
    }
    Ok(hosts.split(',').map(server).collect::<Result<Vec<_>>>()?.join(","))
}

fn set(config: &mut KafkaConfig, option: &UrlOption) -> Result<()> {
    match option.name() {
        "prefix" => option.text().clone_into(&mut config.prefix),
        "acks" => {
            config.acks = option.choice(&[("all", Acks::All), ("-1", Acks::All), ("1", Acks::Leader)])?;
        }
        "linger_ms" => config.linger = std::time::Duration::from_millis(option.number(0..=10_000)?),
        "compression" => {
            let known = ["none", "gzip", "snappy", "lz4", "zstd"].map(|name| (name, name));
            option.choice(&known)?.clone_into(&mut config.compression);
        }
        "partitions" => config.partitions = option.number(1..=200)?,
        "replication" => config.replication = Some(option.number(1..=100)?),
        "min_insync_replicas" => config.min_insync_replicas = Some(option.number(1..=100)?),
        "group_protocol" => {
            let choices = [("consumer", GroupProtocol::Consumer), ("classic", GroupProtocol::Classic)];
            config.group_protocol = Some(option.choice(&choices)?);
        }
        "unkeyed" => {
            let choices = [("publisher", Unkeyed::Publisher), ("spread", Unkeyed::Spread)];
            config.unkeyed = option.choice(&choices)?;
        }
        "dedup" => {
            let choices = [("follow", Deduplication::Follow), ("strict", Deduplication::Strict)];
            config.dedup = option.choice(&choices)?;
        }
        "timeout" => config.timeout = option.positive_duration()?,
        "connect_timeout" => config.connect_timeout = option.positive_duration()?,
        "dedup_window" => config.defaults.dedup_window = Some(option.duration()?),
        "max_dedup_ids" => config.max_dedup_ids = option.number(1..=100_000_000)?,
        "retention_age" => config.defaults.retention_age = Some(option.positive_duration()?),
        "retention_bytes" => config.defaults.retention_bytes = Some(option.number(1..)?),
        "tail_messages" => config.tail_messages = option.number(16..=10_000_000)?,
        "tail_bytes" => config.tail_bytes = option.number(1 << 16..)?,
        _ => return set_named(config, option),
    }
    Ok(())
}

/// The options that name something themselves.
fn set_named(config: &mut KafkaConfig, option: &UrlOption) -> Result<()> {
    let (key, value) = (option.name(), option.text());
    if let Some(event) = key.strip_prefix("map.") {
        let event = EventName::new(event)?;
        topic::check(value)?;
        if config.maps.values().any(|topic| topic == value) {
            return Err(Error::invalid(format!(
                "transport option `{key}`: topic `{value}` is mapped already"
            )));
        }
        config.maps.insert(event, value.to_owned());
        return Ok(());
    }
    let Some(name) = key.strip_prefix("client.") else {
        return Err(option.unknown(OPTIONS));
    };
    if RESERVED.contains(&name) {
        return Err(Error::invalid(format!("transport option `{key}`: `{name}` is set by the gateway")));
    }
    config.client.insert(name.to_owned(), value.to_owned());
    Ok(())
}

fn check(config: &KafkaConfig) -> Result<()> {
    // The longest name of ours must fit behind it, and then some of an event's.
    if config.prefix.len() > 100 {
        return Err(Error::invalid("transport option `prefix` must have at most 100 bytes"));
    }
    if !config.prefix.is_empty() {
        topic::check(&config.prefix)?;
    }
    if config.acks == Acks::Leader && config.min_insync_replicas.is_some() {
        return Err(Error::invalid("transport option `min_insync_replicas` says nothing with `acks=1`"));
    }
    config.defaults.validate()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn read(url: &str) -> KafkaConfig {
        url.parse().unwrap()
    }

    #[test]
    fn hosts_without_a_port_get_the_usual_one() {
        assert_eq!(read("kafka://a,b:1,[::1]:2,[::1]/").servers, "a:9092,b:1,[::1]:2,[::1]:9092");
    }

    #[test]
    fn every_option_is_read() {
        let config = read(
            "kafka://h?prefix=p.&acks=1&linger_ms=7&compression=zstd&partitions=12&replication=3&\
             group_protocol=classic&unkeyed=spread&timeout=3s&connect_timeout=200ms&dedup=strict&dedup_window=0s&max_dedup_ids=9&\
             retention_age=2d&retention_bytes=99&tail_messages=64&tail_bytes=99999&map.orders=Legacy_Orders&\
             client.fetch.max.bytes=1048576",
        );
        assert_eq!((config.prefix.as_str(), config.acks, config.partitions), ("p.", Acks::Leader, 12));
        assert_eq!((config.linger, config.compression.as_str()), (Duration::from_millis(7), "zstd"));
        assert_eq!((config.replication, config.unkeyed), (Some(3), Unkeyed::Spread));
        assert_eq!(config.group_protocol, Some(GroupProtocol::Classic));
        assert_eq!(
            (config.timeout, config.connect_timeout),
            (Duration::from_secs(3), Duration::from_millis(200))
        );
        assert_eq!(config.defaults.dedup_window, Some(Duration::ZERO));
        assert_eq!((config.defaults.retention_bytes, config.max_dedup_ids), (Some(99), 9));
        assert_eq!((config.tail_messages, config.tail_bytes), (64, 99_999));
        assert_eq!(config.topic(&EventName::new("orders").unwrap()), "Legacy_Orders");
        assert_eq!(config.topic(&EventName::new("other").unwrap()), "p.other");
        assert_eq!(config.client.get("fetch.max.bytes").map(String::as_str), Some("1048576"));
        assert_eq!(read("kafka://h?min_insync_replicas=2").min_insync_replicas, Some(2));
        assert_eq!(config.dedup, Deduplication::Strict);
        assert!(!config.capabilities().ordered);
    }

    #[test]
    fn what_is_refused_is_named() {
        for (url, named) in [
            ("redis://h", "kafka://"),
            ("kafka://", "host:port"),
            ("kafka://h:x", "h:x"),
            ("kafka://h?linger=1", "linger"),
            ("kafka://h?partitions=0", "partitions"),
            ("kafka://h?acks=0", "acks"),
            ("kafka://h?user=u", "password"),
            ("kafka://u:p@h?password=x", "password"),
            ("kafka://h?tls_cert=x", "tls_key"),
            ("kafka://h?security=plaintext&tls_ca=x", "tls"),
            ("kafka://h?client.acks=1", "acks"),
            ("kafka://h?map.a=b/c", "b/c"),
            ("kafka://h?map.a=t&map.b=t", "map.b"),
            ("kafka://h?timeout=0s", "timeout"),
            ("kafka://h?acks=1&min_insync_replicas=2", "min_insync_replicas"),
            ("kafka://h?password_file=/no/such/file", "password_file"),
        ] {
            let error = url.parse::<KafkaConfig>().unwrap_err();
            assert!(error.message().contains(named), "{url}: {error}");
        }
    }

    #[test]
    fn no_error_repeats_a_secret() {
        for url in [
            "kafka://u:hunter2@",
            "kafka://u:hunter2%zz@h",
            "kafka://u:hunter2@h?nope=1",
            "http://u:hunter2@h",
        ] {
            assert!(!url.parse::<KafkaConfig>().unwrap_err().message().contains("hunter2"), "{url}");
        }
    }
}
