//! Reads a configuration from a URL.

use std::str::FromStr;

use busgate_core::{
    Error, Result,
    url::{UrlOption, percent_decoded},
};

use super::{Credentials, RedisConfig, Tls, Topology, option};

/// The port of a server, and that of a sentinel.
const PORTS: (u16, u16) = (6379, 26379);

impl FromStr for RedisConfig {
    type Err = Error;

    /// Reads `redis[s][+cluster|+sentinel]://[user[:password]@]host[:port][,host[:port]…][/database][?option=value&…]`.
    ///
    /// # Errors
    /// `invalid` for what is malformed or unknown; it is named, and no secret is repeated. `unsupported` for what can't
    /// be had together.
    fn from_str(url: &str) -> Result<Self> {
        let (scheme, rest) =
            url.split_once("://").ok_or_else(|| Error::invalid("a redis url begins with redis://"))?;
        let (place, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, database) = place.split_once('/').unwrap_or((place, ""));
        let (user, hosts) =
            authority.rsplit_once('@').map_or((None, authority), |(user, hosts)| (Some(user), hosts));
        let mut config = Self::new("", 0);
        (config.topology, config.tls) = match scheme {
            "redis" => (Topology::Single, None),
            "rediss" => (Topology::Single, Some(Tls::default())),
            "redis+cluster" => (Topology::Cluster, None),
            "rediss+cluster" => (Topology::Cluster, Some(Tls::default())),
            "redis+sentinel" => (Topology::Sentinel { master: String::new() }, None),
            "rediss+sentinel" => (Topology::Sentinel { master: String::new() }, Some(Tls::default())),
            _ => {
                return Err(Error::invalid(
                    "the scheme must be redis, rediss, or either with +cluster or +sentinel",
                ));
            }
        };
        if let Some(user) = user {
            config.credentials = credentials(user)?;
        }
        let default = if matches!(config.topology, Topology::Sentinel { .. }) { PORTS.1 } else { PORTS.0 };
        config.hosts = hosts.split(',').map(|host| address(host, default)).collect::<Result<_>>()?;
        if !database.is_empty() {
            config.database = database
                .parse()
                .ok()
                .filter(|number| (0..=1_000_000).contains(number))
                .ok_or_else(|| Error::invalid("the path of a redis url is the number of a database"))?;
        }
        for option in UrlOption::all(query) {
            option::set(&mut config, option?)?;
        }
        if matches!(&config.topology, Topology::Sentinel { master } if master.is_empty()) {
            return Err(Error::invalid("sentinels need the option master=<name>"));
        }
        config.validate()?;
        Ok(config)
    }
}

fn credentials(text: &str) -> Result<Credentials> {
    let (user, password) =
        text.split_once(':').map_or((text, None), |(user, password)| (user, Some(password)));
    let decoded = |text| percent_decoded("user and password", text);
    let user = decoded(user)?;
    Ok(Credentials {
        username: Some(user).filter(|user| !user.is_empty()),
        password: password.map(decoded).transpose()?,
    })
}

fn address(text: &str, default: u16) -> Result<(String, u16)> {
    let bad =
        || Error::invalid("a host is a name or an address, in brackets if it has colons, and maybe a port");
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (host, rest) = rest.split_once(']').ok_or_else(bad)?;
            (host, if rest.is_empty() { None } else { Some(rest.strip_prefix(':').ok_or_else(bad)?) })
        }
        None => text.split_once(':').map_or((text, None), |(host, port)| (host, Some(port))),
    };
    let host = if host.is_empty() { "127.0.0.1" } else { host };
    let port = port.map_or(Ok(default), str::parse).map_err(|_| bad())?;
    Ok((host.to_owned(), port))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(url: &str) -> RedisConfig {
        url.parse().unwrap()
    }

    fn refusal(url: &str) -> String {
        url.parse::<RedisConfig>().unwrap_err().message().to_owned()
    }

    #[test]
    fn a_url_tells_where_and_who() {
        let config = read("redis://me:s%40cret@one:7000,two,[::1]:7002/3?prefix=p:");
        let hosts = [("one", 7000), ("two", 6379), ("::1", 7002)].map(|(host, port)| (host.to_owned(), port));
        assert_eq!(config.hosts, hosts);
        assert_eq!(config.credentials.username.as_deref(), Some("me"));
        assert_eq!(config.credentials.password.as_deref(), Some("s@cret"));
        assert_eq!((config.database, config.prefix.as_str()), (3, "p:"));
        assert_eq!(read("redis://:pw@h").credentials.username, None);
        assert_eq!(read("redis+sentinel://h?master=main").hosts, [("h".to_owned(), 26379)]);
        assert!(read("rediss+cluster://h").tls.is_some());
    }

    #[test]
    fn what_is_shown_has_no_secret() {
        let config = read("redis://me:hunter2@h?sentinel_password=hunter2");
        assert!(!format!("{config:?} {config}").contains("hunter2"));
        for url in [
            "redis://me:hunter2@h/x",
            "redis://me:hunter2@h:x",
            "redis://u:hunter2%@h",
            "http://u:hunter2@h",
            "redis://h?password=hunter2",
        ] {
            assert!(!refusal(url).contains("hunter2"), "{url}: {}", refusal(url));
        }
    }

    #[test]
    fn what_is_unknown_or_does_not_go_together_is_refused() {
        assert!(refusal("redis://h?prefx=a").contains("prefx"));
        assert!(refusal("redis+sentinel://h").contains("master"));
        assert!(refusal("redis+cluster://h/1").contains("database"));
        assert!(refusal("redis+cluster://h?min_replicas=1").contains("min_replicas"));
        assert!(refusal("redis://h?tls_ca=x").contains("tls_ca"));
        assert!(refusal("rediss://h?tls_cert=x").contains("tls_key"));
        assert!(refusal("redis://h?master=x").contains("master"));
        assert!(refusal("redis://h?prefix=%7Ba").contains("prefix"));
        assert!(refusal("redis://h?map.bad..name=x").contains("map"));
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "\\PC*", query in "\\PC*") {
            let _ = text.parse::<RedisConfig>();
            let _ = format!("redis://{text}?{query}").parse::<RedisConfig>();
        }
    }
}
