//! Who calls: static API keys, or everybody where only the machine itself can call.

pub(crate) mod origin;

use std::fmt;

use busgate_core::{Caller, Error, ErrorKind, Result, Rules};
use http::{HeaderMap, HeaderName, HeaderValue, header::AUTHORIZATION};
use sha2::{Digest, Sha256};
use subtle::{Choice, ConditionallySelectable, ConstantTimeEq};

use crate::config::ApiKey;

const API_KEY: HeaderName = HeaderName::from_static("x-api-key");

/// Tells callers apart by what they send along.
pub(crate) struct Authentication(Scheme);

enum Scheme {
    /// No credentials are configured: everyone is the same.
    Open(Caller),
    Keys(Vec<([u8; 32], Caller)>),
}

impl Authentication {
    /// By these keys; without any, everyone is the same anonymous caller.
    pub(crate) fn new(keys: &[ApiKey]) -> Self {
        if keys.is_empty() {
            return Self(Scheme::Open(Caller::anonymous()));
        }
        Self(Scheme::Keys(
            keys.iter().map(|key| (key.sha256, Caller::principal(key.name.as_str()))).collect(),
        ))
    }

    /// Whether no credentials are configured.
    pub(crate) fn is_open(&self) -> bool {
        matches!(self.0, Scheme::Open(_))
    }

    /// Who sent these headers: `authorization: Bearer KEY` or `x-api-key: KEY`.
    ///
    /// # Errors
    /// `unauthenticated` without a key, or with one that nobody has.
    pub(crate) fn caller(&self, headers: &HeaderMap) -> Result<Caller> {
        match &self.0 {
            Scheme::Open(caller) => Ok(caller.clone()),
            Scheme::Keys(keys) => {
                let key = presented(headers)?.ok_or_else(|| {
                    unauthenticated("no credentials: send authorization: Bearer KEY or x-api-key: KEY")
                })?;
                find(keys, key).ok_or_else(|| unauthenticated("unknown credentials"))
            }
        }
    }
}

/// What each key's principal may do.
pub(crate) fn rules(keys: &[ApiKey]) -> Rules {
    let mut rules = Rules::new();
    for key in keys {
        for rule in &key.rules {
            rules.allow(key.name.as_str(), rule.clone());
        }
    }
    rules
}

/// Compares with every key, whichever is the right one, so that the time taken tells nothing.
fn find(keys: &[([u8; 32], Caller)], key: &[u8]) -> Option<Caller> {
    let digest: [u8; 32] = Sha256::digest(key).into();
    let mut found = u64::MAX;
    for (index, (known, _)) in (0..).zip(keys) {
        let same: Choice = known.ct_eq(&digest);
        found = u64::conditional_select(&found, &index, same);
    }
    keys.get(usize::try_from(found).ok()?).map(|(_, caller)| caller.clone())
}

fn presented(headers: &HeaderMap) -> Result<Option<&[u8]>> {
    if let Some(value) = headers.get(AUTHORIZATION) {
        let wrong = || unauthenticated("authorization must be: Bearer KEY");
        return bearer(value).map(Some).ok_or_else(wrong);
    }
    Ok(headers.get(API_KEY).map(HeaderValue::as_bytes))
}

fn bearer(value: &HeaderValue) -> Option<&[u8]> {
    let (scheme, key) = value.as_bytes().split_at_checked(7)?;
    scheme.eq_ignore_ascii_case(b"bearer ").then(|| key.trim_ascii())
}

fn unauthenticated(message: &'static str) -> Error {
    Error::new(ErrorKind::Unauthenticated, message)
}

impl fmt::Debug for Authentication {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_open() { "Authentication(open)" } else { "Authentication(keys)" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys() -> Authentication {
        Authentication::new(&[
            ApiKey::new("shop", "shop-key-0123456789", vec![]),
            ApiKey::new("stock", "stock-key-0123456789", vec![]),
        ])
    }

    fn caller(name: &str, value: &str) -> Result<String> {
        let mut headers = HeaderMap::new();
        headers.insert(HeaderName::from_bytes(name.as_bytes()).unwrap(), value.parse().unwrap());
        keys().caller(&headers).map(|caller| caller.name().to_owned())
    }

    #[test]
    fn a_key_is_known_in_either_header() {
        assert_eq!(caller("authorization", "Bearer shop-key-0123456789").unwrap(), "shop");
        assert_eq!(caller("authorization", "bearer stock-key-0123456789").unwrap(), "stock");
        assert_eq!(caller("x-api-key", "stock-key-0123456789").unwrap(), "stock");
    }

    #[test]
    fn anything_else_is_unauthenticated() {
        for (name, value) in [
            ("authorization", "Bearer nobody-has-this-key"),
            ("authorization", "Basic c2hvcDprZXk="),
            ("authorization", "shop-key-0123456789"),
            ("authorization", "Bearer "),
            ("x-api-key", ""),
            ("x-other", "shop-key-0123456789"),
        ] {
            assert_eq!(
                caller(name, value).unwrap_err().kind(),
                ErrorKind::Unauthenticated,
                "{name}: {value}"
            );
        }
    }

    #[test]
    fn without_keys_everyone_is_anonymous() {
        assert!(Authentication::new(&[]).caller(&HeaderMap::new()).unwrap().is_anonymous());
    }
}
