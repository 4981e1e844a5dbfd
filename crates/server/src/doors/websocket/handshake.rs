//! The opening handshake (RFC 6455, section 4), from an HTTP/1.1 request to its 101.

use busgate_core::{Error, Result};
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Version,
    header::{
        CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_EXTENSIONS, SEC_WEBSOCKET_KEY,
        SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION, UPGRADE,
    },
};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use super::{deflate, dialect::Dialect};

/// How long the text of a key is: 16 bytes in base64.
const KEY_LENGTH: usize = 24;

/// A handshake that a client may have.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Handshake {
    accept: String,
    /// What the client asked for that is known here.
    subprotocol: Option<Dialect>,
    deflates: bool,
}

impl Handshake {
    /// Checks what a client sent.
    ///
    /// # Errors
    /// `invalid` when it is no request for a WebSocket, and what is wrong with it.
    pub(super) fn of<B>(request: &Request<B>) -> Result<Self> {
        if request.version() != Version::HTTP_11 || request.method() != Method::GET {
            return Err(Error::invalid("a WebSocket is opened by a GET over HTTP/1.1"));
        }
        let headers = request.headers();
        if !lists(headers, &UPGRADE, "websocket") || !lists(headers, &CONNECTION, "upgrade") {
            return Err(Error::invalid(
                "only a WebSocket is served here: connection: Upgrade, upgrade: websocket",
            ));
        }
        if headers.get(SEC_WEBSOCKET_VERSION).is_none_or(|version| version != "13") {
            return Err(Error::invalid("sec-websocket-version must be 13"));
        }
        let key = headers.get(SEC_WEBSOCKET_KEY).map(HeaderValue::as_bytes);
        let key = key.filter(|key| key.len() == KEY_LENGTH);
        let key = key.ok_or_else(|| Error::invalid("sec-websocket-key must be 16 bytes in base64"))?;
        let mut asked = tokens(headers, &SEC_WEBSOCKET_PROTOCOL);
        let deflates = deflate::is_offered(tokens(headers, &SEC_WEBSOCKET_EXTENSIONS));
        Ok(Self { accept: derive_accept_key(key), subprotocol: asked.find_map(Dialect::of), deflates })
    }

    /// What the socket speaks: JSON when the client asks for nothing that is known.
    pub(super) fn dialect(&self) -> Dialect {
        self.subprotocol.unwrap_or(Dialect::Json)
    }

    /// Whether messages may be compressed, both ways.
    pub(super) const fn deflates(&self) -> bool {
        self.deflates
    }

    /// The answer that opens the socket.
    pub(super) fn response<B: Default>(&self) -> Response<B> {
        let mut response = Response::new(B::default());
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        let headers = response.headers_mut();
        headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
        headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
        if let Ok(accept) = HeaderValue::from_str(&self.accept) {
            headers.insert(SEC_WEBSOCKET_ACCEPT, accept);
        }
        if let Some(dialect) = self.subprotocol {
            headers.insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(dialect.subprotocol()));
        }
        if self.deflates {
            headers.insert(SEC_WEBSOCKET_EXTENSIONS, HeaderValue::from_static(deflate::ACCEPTED));
        }
        response
    }
}

fn lists(headers: &HeaderMap, name: &HeaderName, wanted: &str) -> bool {
    tokens(headers, name).any(|token| token.eq_ignore_ascii_case(wanted))
}

fn tokens<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> {
    let lines = headers.get_all(name).iter().filter_map(|line| line.to_str().ok());
    lines.flat_map(|line| line.split(',')).map(str::trim)
}

#[cfg(test)]
mod tests {
    use busgate_wire::frame::{SUBPROTOCOL_JSON, SUBPROTOCOL_PROTO};

    use super::*;

    const GOOD: [(&str, &str); 4] = [
        ("connection", "keep-alive, Upgrade"),
        ("upgrade", "websocket"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ];

    fn handshake(headers: impl IntoIterator<Item = (&'static str, &'static str)>) -> Result<Handshake> {
        let mut request = http::Request::new(());
        for (name, value) in headers {
            request.headers_mut().append(name, HeaderValue::from_static(value));
        }
        Handshake::of(&request)
    }

    fn asking(subprotocols: &'static str) -> Handshake {
        handshake(GOOD.into_iter().chain([("sec-websocket-protocol", subprotocols)])).unwrap()
    }

    #[test]
    fn the_key_of_the_rfc_is_answered_as_there() {
        let response = handshake(GOOD).unwrap().response::<()>();
        assert_eq!(response.headers()[SEC_WEBSOCKET_ACCEPT], "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    #[test]
    fn the_clients_first_known_subprotocol_wins() {
        for (asked, answered) in [
            ("busgate.v1.proto", Some(SUBPROTOCOL_PROTO)),
            ("busgate.v9, busgate.v1.json, busgate.v1.proto", Some(SUBPROTOCOL_JSON)),
            ("chat", None),
        ] {
            let response = asking(asked).response::<()>();
            let header = response.headers().get(SEC_WEBSOCKET_PROTOCOL);
            assert_eq!(header.map(|value| value.to_str().unwrap()), answered, "{asked}");
        }
        assert_eq!(asking("chat").dialect(), Dialect::Json);
    }

    #[test]
    fn another_method_or_version_is_refused() {
        let refused = |change: fn(&mut Request<()>)| {
            let mut request = Request::new(());
            for (name, value) in GOOD {
                request.headers_mut().append(name, HeaderValue::from_static(value));
            }
            change(&mut request);
            Handshake::of(&request).is_err()
        };
        assert!(!refused(|_| {}));
        assert!(refused(|request| *request.method_mut() = Method::HEAD));
        assert!(refused(|request| *request.version_mut() = Version::HTTP_2));
    }

    #[test]
    fn anything_else_is_refused() {
        for (name, value) in [
            ("connection", "keep-alive"),
            ("upgrade", "h2c"),
            ("sec-websocket-version", "8"),
            ("sec-websocket-key", "c2hvcnQ="),
        ] {
            let headers = GOOD.map(|(known, good)| (known, if known == name { value } else { good }));
            assert!(handshake(headers).is_err(), "{name}");
            assert!(handshake(GOOD.into_iter().filter(|(known, _)| *known != name)).is_err(), "no {name}");
        }
    }
}
