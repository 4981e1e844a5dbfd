//! One endpoint, as its URL names it.

use std::{fmt, net::IpAddr};

use busgate_core::{Error, Result};
use http::{Uri, uri::Scheme};

/// The port of a gateway's gRPC door.
const DEFAULT_PORT: u16 = 9090;

/// Where a gateway is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    origin: Uri,
    host: String,
    port: u16,
}

impl Target {
    /// Reads `http://host:port`, `https://host:port` or `host:port`.
    ///
    /// # Errors
    /// `invalid` for anything else.
    pub(crate) fn read(url: &str) -> Result<Self> {
        let plain = !url.contains("://");
        let full = if plain { format!("http://{url}") } else { url.to_owned() };
        let refused = |what: &str| Error::invalid(format!("the endpoint {url} {what}"));
        let uri: Uri = full.parse().map_err(|_| refused("is no URL, like http://127.0.0.1:9090"))?;
        let secure = uri.scheme() == Some(&Scheme::HTTPS);
        if !secure && uri.scheme() != Some(&Scheme::HTTP) {
            return Err(refused("must start with http:// or https://"));
        }
        if uri.path() != "/" || uri.query().is_some() {
            return Err(refused("must not have a path"));
        }
        let authority = uri.authority().ok_or_else(|| refused("has no host"))?;
        if authority.as_str().contains('@') {
            return Err(Error::invalid("an endpoint must not have credentials in its URL"));
        }
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        if host.is_empty() {
            return Err(refused("has no host"));
        }
        let usual = match (plain, secure) {
            (true, _) => DEFAULT_PORT,
            (false, true) => 443,
            (false, false) => 80,
        };
        let port = match authority.port_u16() {
            Some(port) => port,
            None if authority.as_str() == authority.host() => usual,
            None => return Err(refused("has no valid port")),
        };
        Self::new(secure, host, port).ok_or_else(|| refused("has no valid host"))
    }

    fn new(secure: bool, host: String, port: u16) -> Option<Self> {
        let scheme = if secure { Scheme::HTTPS } else { Scheme::HTTP };
        let authority =
            if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
        let origin = Uri::builder().scheme(scheme).authority(authority).path_and_query("/").build().ok()?;
        Some(Self { origin, host, port })
    }

    /// What requests to it start with.
    pub(crate) const fn origin(&self) -> &Uri {
        &self.origin
    }

    pub(crate) fn host(&self) -> &str {
        &self.host
    }

    pub(crate) const fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn is_tls(&self) -> bool {
        self.origin.scheme() == Some(&Scheme::HTTPS)
    }

    /// Whether what is sent there stays on this machine.
    pub(crate) fn is_loopback(&self) -> bool {
        self.host.eq_ignore_ascii_case("localhost")
            || self.host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.origin)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_way_to_write_one_is_read() {
        for (url, host, port, tls) in [
            ("http://127.0.0.1:9090", "127.0.0.1", 9090, false),
            ("https://bus.example.com", "bus.example.com", 443, true),
            ("http://bus.example.com/", "bus.example.com", 80, false),
            ("bus:7000", "bus", 7000, false),
            ("bus", "bus", 9090, false),
            ("http://[::1]:9090", "::1", 9090, false),
        ] {
            let target = Target::read(url).unwrap();
            assert_eq!((target.host(), target.port(), target.is_tls()), (host, port, tls), "{url}");
        }
    }

    #[test]
    fn what_is_no_endpoint_is_refused() {
        for url in [
            "",
            "http://",
            "ftp://bus",
            "http://bus/path",
            "http://bus?query",
            "http://user:key@bus",
            "http://bus:99999",
            "http://bus:",
            "a b",
        ] {
            assert!(Target::read(url).is_err(), "{url}");
        }
    }

    #[test]
    fn this_machine_is_told_from_others() {
        for (url, loopback) in [
            ("localhost", true),
            ("127.0.0.9:1", true),
            ("http://[::1]", true),
            ("10.0.0.1", false),
            ("localhost.example.com", false),
        ] {
            assert_eq!(Target::read(url).unwrap().is_loopback(), loopback, "{url}");
        }
    }
}
