//! The URL of a transport, read option by option.

use std::{str::FromStr, time::Duration};

use busgate_core::{Error, EventName, Result};

use super::{Credentials, Mapping, NatsConfig, Secret, Storage};
use crate::text;

const OPTIONS: &str = "ack_wait, api_prefix, compression, connect_timeout, creds_file, dedup_window, domain, \
    inbox_prefix, map.<event>, max_ack_pending, name, nkey, nkey_file, password_file, prefix, replicas, \
    request_timeout, retention_age, retention_bytes, retention_messages, storage, tls_ca, tls_cert, tls_first, \
    tls_key, token_file, user";

/// What options say that only makes sense together.
#[derive(Default)]
struct Pending {
    user: Option<String>,
    certificate: Option<String>,
    key: Option<String>,
    api: Option<&'static str>,
}

pub(super) fn parse(url: &str) -> Result<NatsConfig> {
    let (scheme, rest) = url.split_once("://").unwrap_or((url, ""));
    let (core, tls) = match scheme {
        "nats" => (false, false),
        "tls" => (false, true),
        "nats+core" => (true, false),
        "tls+core" => (true, true),
        _ => return Err(Error::invalid("a nats transport must begin with nats://, tls:// or nats+core://")),
    };
    let (authority, query) = rest.split_once('?').unwrap_or((rest, ""));
    let authority = authority.strip_suffix('/').unwrap_or(authority);
    let mut config = NatsConfig::new("");
    (config.core, config.tls.required) = (core, tls);
    let hosts = match authority.rsplit_once('@') {
        Some((who, hosts)) => {
            config.credentials = user_info(who)?;
            hosts
        }
        None => authority,
    };
    config.servers = hosts.split(',').map(server).collect::<Result<_>>()?;
    let mut pending = Pending::default();
    for option in query.split('&').filter(|option| !option.is_empty()) {
        let (key, value) = option
            .split_once('=')
            .ok_or_else(|| Error::invalid("every transport option must be key=value, and one is not"))?;
        let value = text::unpercent(value).ok_or_else(|| refused(key, "percent-encoded text"))?;
        set(&mut config, &mut pending, key, value)?;
    }
    conclude(&mut config, pending)?;
    config.validate()?;
    Ok(config)
}

/// `host:port`; the port may be left out, and an IPv6 address stands in brackets.
fn server(host: &str) -> Result<String> {
    let (name, port) = match host.rsplit_once(':') {
        Some((name, port)) if !port.contains(']') => (name, port),
        _ => (host, "4222"),
    };
    if name.is_empty() || name.contains(['/', '@', ' ']) || port.parse::<u16>().is_err() {
        return Err(Error::invalid("a nats transport needs host[:port] for each of its servers"));
    }
    Ok(format!("{name}:{port}"))
}

fn user_info(who: &str) -> Result<Credentials> {
    let part = |coded: &str| {
        text::unpercent(coded).ok_or_else(|| Error::invalid("user and password must be percent-encoded"))
    };
    match who.split_once(':') {
        Some((user, password)) => {
            Ok(Credentials::Password { user: part(user)?, password: Secret::Text(part(password)?) })
        }
        None => Ok(Credentials::Token(Secret::Text(part(who)?))),
    }
}

fn set(config: &mut NatsConfig, pending: &mut Pending, key: &str, value: String) -> Result<()> {
    match key {
        "user" => pending.user = Some(value),
        "password_file" => {
            let user = String::new();
            credentials(config, Credentials::Password { user, password: Secret::File(value.into()) })?;
        }
        "token_file" => credentials(config, Credentials::Token(Secret::File(value.into())))?,
        "nkey" => credentials(config, Credentials::NKey(Secret::Text(value)))?,
        "nkey_file" => credentials(config, Credentials::NKey(Secret::File(value.into())))?,
        "creds_file" => credentials(config, Credentials::File(value.into()))?,
        "tls_ca" => config.tls.ca = Some(value.into()),
        "tls_cert" => pending.certificate = Some(value),
        "tls_key" => pending.key = Some(value),
        "tls_first" => config.tls.first = flag(key, &value)?,
        "prefix" => config.prefix = value,
        "replicas" => config.replicas = number(key, &value)?,
        "storage" => {
            config.storage = match &*value {
                "file" => Storage::File,
                "memory" => Storage::Memory,
                _ => return Err(refused(key, "file or memory")),
            };
        }
        "compression" => config.compression = flag(key, &value)?,
        "domain" => api(config, pending, "domain", format!("$JS.{value}.API"))?,
        "api_prefix" => api(config, pending, "api_prefix", value)?,
        "inbox_prefix" => config.inbox_prefix = Some(value),
        "name" => config.name = value,
        "ack_wait" => config.ack_wait = Some(duration(key, &value)?),
        "max_ack_pending" => config.max_ack_pending = number(key, &value)?,
        "connect_timeout" => config.connect_timeout = duration(key, &value)?,
        "request_timeout" => config.request_timeout = duration(key, &value)?,
        "dedup_window" => config.defaults.dedup_window = Some(duration_or_zero(key, &value)?),
        "retention_age" => config.defaults.retention_age = Some(duration(key, &value)?),
        "retention_bytes" => config.defaults.retention_bytes = Some(number(key, &value)?),
        "retention_messages" => config.defaults.retention_messages = Some(number(key, &value)?),
        _ => return map(config, key, &value),
    }
    Ok(())
}

fn map(config: &mut NatsConfig, key: &str, value: &str) -> Result<()> {
    let Some(event) = key.strip_prefix("map.") else {
        return Err(Error::invalid(format!("transport option `{key}` is none of {OPTIONS}")));
    };
    let event = EventName::new(event)?;
    let (stream, subject) = match value.split_once('/') {
        Some((stream, subject)) => (stream, Some(subject.to_owned())),
        None => (value, None),
    };
    if stream.contains(['.', '*', '>', ' ']) || (stream.is_empty() && !config.core) {
        return Err(refused(key, "<stream> or <stream>/<subject>"));
    }
    config.maps.insert(event, Mapping { stream: stream.to_owned(), subject });
    Ok(())
}

fn credentials(config: &mut NatsConfig, credentials: Credentials) -> Result<()> {
    if config.credentials != Credentials::None {
        return Err(Error::invalid(
            "only one of user:password@, token@, password_file, token_file, nkey, nkey_file and creds_file may be given",
        ));
    }
    config.credentials = credentials;
    Ok(())
}

fn api(config: &mut NatsConfig, pending: &mut Pending, key: &'static str, prefix: String) -> Result<()> {
    if pending.api.is_some_and(|other| other != key) {
        return Err(Error::invalid("only one of the transport options domain and api_prefix may be given"));
    }
    pending.api = Some(key);
    config.api_prefix = prefix;
    Ok(())
}

fn conclude(config: &mut NatsConfig, pending: Pending) -> Result<()> {
    match (&mut config.credentials, pending.user) {
        (Credentials::Password { user, password: Secret::File(_) }, Some(name)) => *user = name,
        (Credentials::Password { password: Secret::File(_), .. }, None) => {
            return Err(Error::invalid("transport option `password_file` needs `user`"));
        }
        (_, Some(_)) => return Err(Error::invalid("transport option `user` needs `password_file`")),
        (_, None) => {}
    }
    config.tls.identity = match (pending.certificate, pending.key) {
        (Some(certificate), Some(key)) => Some((certificate.into(), key.into())),
        (None, None) => None,
        _ => return Err(Error::invalid("transport options tls_cert and tls_key need each other")),
    };
    if config.tls.first || config.tls.ca.is_some() || config.tls.identity.is_some() {
        config.tls.required = true;
    }
    Ok(())
}

fn refused(key: &str, wanted: &str) -> Error {
    Error::invalid(format!("transport option `{key}` must be {wanted}"))
}

fn flag(key: &str, value: &str) -> Result<bool> {
    match value {
        "true" | "1" | "yes" => Ok(true),
        "false" | "0" | "no" => Ok(false),
        _ => Err(refused(key, "true or false")),
    }
}

fn number<N: FromStr + PartialOrd + From<u8>>(key: &str, value: &str) -> Result<N> {
    value.parse().ok().filter(|number| *number >= N::from(1)).ok_or_else(|| refused(key, "a number from 1"))
}

fn duration(key: &str, value: &str) -> Result<Duration> {
    let duration = duration_or_zero(key, value)?;
    if duration.is_zero() { Err(refused(key, "more than zero")) } else { Ok(duration) }
}

fn duration_or_zero(key: &str, value: &str) -> Result<Duration> {
    let wanted = || refused(key, "like 500ms, 30s, 10m, 2h or 7d");
    let digits = value.find(|c: char| !c.is_ascii_digit()).unwrap_or(value.len());
    let (number, unit) = value.split_at(digits);
    let number: u64 = number.parse().map_err(|_| wanted())?;
    let millis: u64 = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        "" if number == 0 => 1,
        _ => return Err(wanted()),
    };
    number.checked_mul(millis).map(Duration::from_millis).ok_or_else(wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(url: &str) -> String {
        url.parse::<NatsConfig>().unwrap_err().message().to_owned()
    }

    #[test]
    fn every_option_is_read() {
        let config: NatsConfig =
            "nats://me:p%40ss@one:1,two?prefix=app.&replicas=3&storage=memory&domain=hub\
            &map.orders=ORDERS/shop.orders&map.bills=BILLS&ack_wait=20s&max_ack_pending=9&connect_timeout=1s\
            &request_timeout=2s&dedup_window=0&retention_age=7d&retention_bytes=5&retention_messages=6&name=x\
            &inbox_prefix=_MINE&tls_ca=/ca&tls_cert=/cert&tls_key=/key&tls_first=true&compression=true"
                .parse()
                .unwrap();
        assert_eq!(config.servers, ["one:1", "two:4222"]);
        let password = Secret::Text("p@ss".into());
        assert_eq!(config.credentials, Credentials::Password { user: "me".into(), password });
        assert_eq!((&*config.prefix, config.replicas, config.storage), ("app.", 3, Storage::Memory));
        assert_eq!(config.api_prefix, "$JS.hub.API");
        let orders = &config.maps[&EventName::new("orders").unwrap()];
        assert_eq!((&*orders.stream, orders.subject.as_deref()), ("ORDERS", Some("shop.orders")));
        assert_eq!(config.maps[&EventName::new("bills").unwrap()].subject, None);
        assert_eq!((config.ack_wait, config.max_ack_pending), (Some(Duration::from_secs(20)), 9));
        assert_eq!(config.defaults.dedup_window, Some(Duration::ZERO));
        assert_eq!(config.defaults.retention_age, Some(Duration::from_secs(7 * 86_400)));
        assert_eq!((config.defaults.retention_bytes, config.defaults.retention_messages), (Some(5), Some(6)));
        assert!(
            config.tls.required && config.tls.first && config.tls.identity.is_some() && config.compression
        );
        assert_eq!(config.inbox_prefix.as_deref(), Some("_MINE"));
        assert_eq!((&*config.name, config.connect_timeout), ("x", Duration::from_secs(1)));
    }

    #[test]
    fn each_way_to_say_who_we_are_is_read() {
        let who = |url: &str| url.parse::<NatsConfig>().unwrap().credentials;
        let file = |path: &str| Secret::File(path.into());
        assert_eq!(who("nats://tok@h"), Credentials::Token(Secret::Text("tok".into())));
        assert_eq!(who("nats://h?token_file=/t"), Credentials::Token(file("/t")));
        assert_eq!(who("nats://h?nkey_file=/n"), Credentials::NKey(file("/n")));
        assert_eq!(who("nats://h?creds_file=/c"), Credentials::File("/c".into()));
        let password = Credentials::Password { user: "me".into(), password: file("/p") };
        assert_eq!(who("nats://h?password_file=/p&user=me"), password);
    }

    #[test]
    fn what_is_refused_is_named_and_no_secret_repeated() {
        for (url, named) in [
            ("redis://x", "nats://"),
            ("nats://", "host"),
            ("nats://h:99999", "host"),
            ("nats://h?bogus=secret", "bogus"),
            ("nats://secret@h?creds_file=/c", "creds_file"),
            ("nats://h?user=secret", "password_file"),
            ("nats://h?password_file=/secret", "user"),
            ("nats://h?replicas=9", "replicas"),
            ("nats://h?storage=tape", "storage"),
            ("nats://h?domain=a&api_prefix=b", "api_prefix"),
            ("nats://h?tls_cert=/x", "tls_key"),
            ("nats://h?ack_wait=1", "ack_wait"),
            ("nats://h?prefix=a*b", "prefix"),
            ("nats://h?map.a=", "map.a"),
            ("nats+core://h?replicas=3", "jetstream"),
        ] {
            let refusal = refusal(url);
            assert!(refusal.contains(named) && !refusal.contains("secret"), "{url}: {refusal}");
        }
    }

    #[test]
    fn what_is_shown_has_no_secret() {
        let config: NatsConfig = "nats://me:secret@h?prefix=p.".parse().unwrap();
        assert_eq!(config.to_string(), "nats://h:4222");
        assert!(!format!("{config:?}").contains("secret"));
    }
}
