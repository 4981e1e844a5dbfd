//! Which web pages may call: the gateway's own, and those that are listed.

use busgate_core::{Error, ErrorKind, Result};
use http::{
    HeaderMap, Uri,
    header::{HOST, ORIGIN},
};

pub(crate) const ALLOWED: &str = "[scheme://]host[:port], where the host may start with `*.` for all its subdomains: https://*.example.com";

/// The rule by which pages of other origins are refused.
#[derive(Clone, Debug)]
pub(crate) struct Origins {
    listed: Vec<Pattern>,
    local_only: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Pattern {
    scheme: Option<String>,
    host: String,
    subdomains: bool,
    port: Option<u16>,
}

/// Whether `text` can stand in the list.
pub(crate) fn is_pattern(text: &str) -> bool {
    pattern(text).is_some()
}

impl Origins {
    /// Allows what is listed beside the gateway's own origin. `local_only`: everyone may do everything, so that a page
    /// whose name merely resolves to this machine must be listed as well.
    pub(crate) fn new(listed: &[String], local_only: bool) -> Self {
        Self { listed: listed.iter().filter_map(|text| pattern(text)).collect(), local_only }
    }

    /// The origin of the page that calls, if a page of another origin that is listed does.
    ///
    /// # Errors
    /// `denied` for any other origin than the gateway's own and those listed.
    pub(crate) fn check<'a>(&self, uri: &Uri, headers: &'a HeaderMap) -> Result<Option<&'a str>> {
        let host = uri.authority().map(http::uri::Authority::as_str);
        let host = host.or_else(|| headers.get(HOST).and_then(|host| host.to_str().ok()));
        if self.local_only && host.is_some_and(|host| self.is_foreign(host)) {
            return Err(denied(
                "without API keys the gateway answers to local names only: list this host in allowed_origins",
            ));
        }
        let Some(origin) = headers.get(ORIGIN) else { return Ok(None) };
        let origin = origin.to_str().map_err(|_| denied("the origin is not text"))?;
        let parsed = split(origin).ok_or_else(|| denied("this origin may not call"))?;
        if host.is_some_and(|host| is_same(&parsed, host)) {
            return Ok(None);
        }
        if self.listed.iter().any(|pattern| pattern.matches(&parsed)) {
            return Ok(Some(origin));
        }
        Err(denied("pages of another origin may not call unless allowed_origins lists it"))
    }

    /// Whether a host is a public name: what a page can make resolve to this machine (DNS rebinding).
    fn is_foreign(&self, authority: &str) -> bool {
        if is_address(authority) {
            return false;
        }
        let (host, port) = host_port(authority);
        let name = host.trim_end_matches('.');
        let local = !name.contains('.') || name.ends_with(".localhost");
        !local && !self.listed.iter().any(|pattern| pattern.matches_host(name, port))
    }
}

/// An origin, taken apart.
struct Parsed<'a> {
    scheme: &'a str,
    host: &'a str,
    port: Option<u16>,
}

impl Pattern {
    fn matches(&self, origin: &Parsed<'_>) -> bool {
        let scheme = self.scheme.as_ref().is_none_or(|scheme| scheme.eq_ignore_ascii_case(origin.scheme));
        let port = match (self.port, &self.scheme) {
            (Some(port), _) => origin.port.or_else(|| default_port(origin.scheme)) == Some(port),
            (None, Some(_)) => origin.port.is_none() || origin.port == default_port(origin.scheme),
            (None, None) => true,
        };
        scheme && port && self.matches_name(origin.host)
    }

    fn matches_host(&self, name: &str, port: Option<u16>) -> bool {
        self.matches_name(name) && (self.port.is_none() || port.is_none() || self.port == port)
    }

    fn matches_name(&self, name: &str) -> bool {
        if !self.subdomains {
            return name.eq_ignore_ascii_case(&self.host);
        }
        let name = name.to_ascii_lowercase();
        name.strip_suffix(&self.host).is_some_and(|rest| rest.len() > 1 && rest.ends_with('.'))
    }
}

fn pattern(text: &str) -> Option<Pattern> {
    let (scheme, rest) = match text.split_once("://") {
        Some((scheme, rest)) => (Some(scheme.to_ascii_lowercase()), rest),
        None => (None, text),
    };
    let (host, port) = host_port(rest);
    let whole = rest.len() == host.len() || port.is_some();
    let (subdomains, host) = host.strip_prefix("*.").map_or((false, host), |rest| (true, rest));
    let extra: &[u8] = if host.starts_with('[') { b".[]:" } else { b".-_" };
    let named =
        !host.is_empty() && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || extra.contains(&byte));
    let schemed = scheme
        .as_ref()
        .is_none_or(|scheme| !scheme.is_empty() && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric()));
    (whole && named && schemed).then(|| Pattern { scheme, host: host.to_ascii_lowercase(), subdomains, port })
}

fn split(origin: &str) -> Option<Parsed<'_>> {
    let (scheme, authority) = origin.split_once("://")?;
    let (host, port) = host_port(authority);
    (!host.is_empty()).then_some(Parsed { scheme, host, port })
}

/// A host with its port; an IPv6 address keeps its brackets.
fn host_port(authority: &str) -> (&str, Option<u16>) {
    match authority.rsplit_once(':') {
        Some((host, port)) if !host.contains(':') || host.ends_with(']') => match port.parse() {
            Ok(port) => (host, Some(port)),
            Err(_) => (authority, None),
        },
        _ => (authority, None),
    }
}

/// Whether a page of this origin talks to its own host.
fn is_same(origin: &Parsed<'_>, authority: &str) -> bool {
    let (host, port) = host_port(authority);
    let implied = default_port(origin.scheme);
    host.eq_ignore_ascii_case(origin.host) && port.or(implied) == origin.port.or(implied)
}

fn default_port(scheme: &str) -> Option<u16> {
    match scheme {
        "http" => Some(80),
        "https" => Some(443),
        _ => None,
    }
}

/// Whether an authority is an IP address: no domain ends in digits alone, nor has brackets.
fn is_address(authority: &str) -> bool {
    authority.starts_with('[')
        || authority.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'.' | b':'))
}

fn denied(message: &'static str) -> Error {
    Error::new(ErrorKind::Denied, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(origins: &Origins, host: &str, origin: &str) -> bool {
        let mut headers = HeaderMap::new();
        headers.insert(HOST, host.parse().unwrap());
        if !origin.is_empty() {
            headers.insert(ORIGIN, origin.parse().unwrap());
        }
        origins.check(&Uri::from_static("/v1/events"), &headers).is_ok()
    }

    #[test]
    fn a_page_may_call_its_own_host() {
        let own = Origins::new(&[], false);
        for (host, origin) in [
            ("a.example", ""),
            ("a.example", "http://a.example"),
            ("a.example:443", "https://a.example"),
            ("127.0.0.1:8080", "http://127.0.0.1:8080"),
            ("[::1]:8080", "http://[::1]:8080"),
        ] {
            assert!(check(&own, host, origin), "{host} {origin}");
        }
    }

    #[test]
    fn a_page_of_another_origin_may_not() {
        let own = Origins::new(&[], false);
        for origin in [
            "http://b.example",
            "http://a.example:81",
            "null",
            "http://a.example.evil",
            "a.example",
            "http://",
        ] {
            assert!(!check(&own, "a.example", origin), "{origin}");
        }
    }

    #[test]
    fn listed_origins_may() {
        let listed = ["https://*.example.com".into(), "app.test:3000".into(), "plain.test".into()];
        let origins = Origins::new(&listed, false);
        for origin in [
            "https://a.example.com",
            "https://a.b.example.com:443",
            "http://app.test:3000",
            "https://plain.test:99",
        ] {
            assert!(check(&origins, "gate", origin), "{origin}");
        }
        for origin in [
            "https://example.com",
            "http://a.example.com",
            "https://aexample.com",
            "http://app.test",
            "https://a.example.com:8443",
        ] {
            assert!(!check(&origins, "gate", origin), "{origin}");
        }
    }

    #[test]
    fn without_keys_a_public_name_for_this_machine_is_refused() {
        let local = Origins::new(&["ok.example".into()], true);
        for host in [
            "localhost:8080",
            "127.0.0.1:8080",
            "[::1]:8080",
            "gate",
            "a.localhost",
            "ok.example:8080",
            "127.0.0.1",
        ] {
            assert!(check(&local, host, ""), "{host}");
        }
        for host in ["evil.example:8080", "127.0.0.1.evil.example", "evil.example."] {
            assert!(!check(&local, host, ""), "{host}");
        }
    }

    #[test]
    fn patterns_are_hosts() {
        for good in ["example.com", "*.example.com", "https://example.com:8443", "http://[::1]:3000"] {
            assert!(is_pattern(good), "{good}");
        }
        for bad in ["", "*", "https://", "a b", "https://a/b", "a:b", "*.*.a"] {
            assert!(!is_pattern(bad), "{bad}");
        }
    }
}
