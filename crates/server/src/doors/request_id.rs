//! A name for every request, to find it again in the logs.

use std::{
    fmt,
    sync::{
        LazyLock,
        atomic::{AtomicU64, Ordering},
    },
};

use busgate_wire::status::REQUEST_ID_HEADER;
use http::{HeaderMap, HeaderName, HeaderValue};
use uuid::Uuid;

/// The header it travels in.
pub(super) const HEADER: HeaderName = HeaderName::from_static(REQUEST_ID_HEADER);

/// The longest id that a client may bring along.
const MAX_BYTES: usize = 128;

/// The name of a request: the client's own, or one that no other request of any node has.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct RequestId(HeaderValue);

/// What tells this process apart from all others.
static PROCESS: LazyLock<u64> = LazyLock::new(|| Uuid::new_v4().as_u64_pair().0);

static NEXT: AtomicU64 = AtomicU64::new(1);

impl RequestId {
    /// The id that the request brings along, if it is sane, else a new one.
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        match headers.get(&HEADER) {
            Some(value) if is_sane(value.as_bytes()) => Self(value.clone()),
            _ => Self::generate(),
        }
    }

    fn generate() -> Self {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let mut text = [0_u8; 32];
        write_hex(&mut text[..16], *PROCESS);
        write_hex(&mut text[16..], number);
        Self(HeaderValue::from_bytes(&text).unwrap_or_else(|_| HeaderValue::from_static("unnamed")))
    }

    /// As text.
    pub(crate) fn as_str(&self) -> &str {
        self.0.to_str().unwrap_or_default()
    }

    /// As a header's value.
    pub(crate) fn header(&self) -> HeaderValue {
        self.0.clone()
    }
}

fn is_sane(bytes: &[u8]) -> bool {
    let harmless = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.:/+=@".contains(byte);
    (1..=MAX_BYTES).contains(&bytes.len()) && bytes.iter().all(harmless)
}

fn write_hex(into: &mut [u8], mut number: u64) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for digit in into.iter_mut().rev() {
        *digit = DIGITS.get((number & 15) as usize).copied().unwrap_or(b'0');
        number >>= 4;
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(value: &[u8]) -> String {
        let mut headers = HeaderMap::new();
        headers.insert("x-request-id", HeaderValue::from_bytes(value).unwrap());
        RequestId::of(&headers).to_string()
    }

    #[test]
    fn a_sane_id_is_kept() {
        assert_eq!(of(b"req-1_a.b:c"), "req-1_a.b:c");
    }

    #[test]
    fn anything_else_is_replaced() {
        for bad in [&b""[..], b"a b", b"\"quoted\"", b"caf\xc3\xa9", &[b'x'; 129]] {
            assert_eq!(of(bad).len(), 32, "{bad:?}");
        }
    }

    #[test]
    fn no_two_requests_share_one() {
        let headers = HeaderMap::new();
        assert_ne!(RequestId::of(&headers), RequestId::of(&headers));
    }
}
