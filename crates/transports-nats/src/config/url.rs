//! The URL of a transport, read option by option.

use std::str::FromStr;

use busgate_core::{
    Error, EventName, Result,
    url::{UrlOption, percent_decoded},
};

use super::{Credentials, Mapping, NatsConfig, Secret, Storage};

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

impl FromStr for NatsConfig {
    type Err = Error;

    fn from_str(url: &str) -> Result<Self> {
        parse(url)
    }
}

fn parse(url: &str) -> Result<NatsConfig> {
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
    for option in UrlOption::all(query) {
        set(&mut config, &mut pending, option?)?;
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
    let part = |coded| percent_decoded("user and password", coded);
    match who.split_once(':') {
        Some((user, password)) => {
            Ok(Credentials::Password { user: part(user)?, password: Secret::Text(part(password)?) })
        }
        None => Ok(Credentials::Token(Secret::Text(part(who)?))),
    }
}

fn set(config: &mut NatsConfig, pending: &mut Pending, option: UrlOption) -> Result<()> {
    match option.name() {
        "user" => pending.user = Some(option.into_text()),
        "password_file" => {
            let user = String::new();
            credentials(config, Credentials::Password { user, password: file(option) })?;
        }
        "token_file" => credentials(config, Credentials::Token(file(option)))?,
        "nkey" => credentials(config, Credentials::NKey(Secret::Text(option.into_text())))?,
        "nkey_file" => credentials(config, Credentials::NKey(file(option)))?,
        "creds_file" => credentials(config, Credentials::File(option.into_text().into()))?,
        "tls_ca" => config.tls.ca = Some(option.into_text().into()),
        "tls_cert" => pending.certificate = Some(option.into_text()),
        "tls_key" => pending.key = Some(option.into_text()),
        "tls_first" => config.tls.first = option.flag()?,
        "prefix" => config.prefix = option.into_text(),
        "replicas" => config.replicas = option.number(1..)?,
        "storage" => {
            config.storage = option.choice(&[("file", Storage::File), ("memory", Storage::Memory)])?;
        }
        "compression" => config.compression = option.flag()?,
        "domain" => api(config, pending, "domain", format!("$JS.{}.API", option.text()))?,
        "api_prefix" => api(config, pending, "api_prefix", option.into_text())?,
        "inbox_prefix" => config.inbox_prefix = Some(option.into_text()),
        "name" => config.name = option.into_text(),
        "ack_wait" => config.ack_wait = Some(option.positive_duration()?),
        "max_ack_pending" => config.max_ack_pending = option.number(1..)?,
        "connect_timeout" => config.connect_timeout = option.positive_duration()?,
        "request_timeout" => config.request_timeout = option.positive_duration()?,
        "dedup_window" => config.defaults.dedup_window = Some(option.duration()?),
        "retention_age" => config.defaults.retention_age = Some(option.positive_duration()?),
        "retention_bytes" => config.defaults.retention_bytes = Some(option.number(1..)?),
        "retention_messages" => config.defaults.retention_messages = Some(option.number(1..)?),
        _ => return map(config, &option),
    }
    Ok(())
}

/// A secret that is read from its file with each connection.
fn file(option: UrlOption) -> Secret {
    Secret::File(option.into_text().into())
}

fn map(config: &mut NatsConfig, option: &UrlOption) -> Result<()> {
    let Some(event) = option.name().strip_prefix("map.") else { return Err(option.unknown(OPTIONS)) };
    let event = EventName::new(event)?;
    let (stream, subject) = match option.text().split_once('/') {
        Some((stream, subject)) => (stream, Some(subject.to_owned())),
        None => (option.text(), None),
    };
    if stream.contains(['.', '*', '>', ' ']) || (stream.is_empty() && !config.core) {
        return Err(option.refused("<stream> or <stream>/<subject>"));
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

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
