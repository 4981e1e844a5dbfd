//! What a refusal must be, whatever was refused.

use busgate_core::{Effect, Error, ErrorKind};
use busgate_wire::status::{self, Close};
use http::{HeaderMap, HeaderValue};

/// A client's bytes were refused: as its own mistake, in few words that every door can say.
pub(crate) fn refused(error: &Error) {
    let kind = error.kind();
    let clients_own = matches!(kind, ErrorKind::Invalid | ErrorKind::TooLarge | ErrorKind::Unsupported);
    assert!(clients_own, "{kind}: {error}");
    assert_eq!(error.effect(), Effect::None);
    told(error);
}

/// An error can be told on every door, and is understood there as it was meant.
pub(crate) fn told(error: &Error) {
    let message = error.message();
    assert!(
        !message.is_empty() && message.len() <= Error::MAX_MESSAGE_BYTES,
        "{} bytes: {message:.200}",
        message.len()
    );
    assert!(!message.contains(char::is_control), "{message:?}");
    let answer = status::to_http(error, "r-1");
    let read = status::from_http(answer.status(), answer.headers(), answer.body());
    assert_eq!((read.kind(), read.message()), (error.kind(), message));
    let mut headers = HeaderMap::new();
    let written = status::to_grpc(error, None).add_header(&mut headers);
    assert!(written.is_ok());
    assert!(
        headers.values().map(HeaderValue::as_bytes).all(|value| value.len() <= 8 * Error::MAX_MESSAGE_BYTES)
    );
    let read = tonic::Status::from_header_map(&headers).map(|status| status::from_grpc(&status));
    assert_eq!(
        read.map(|read| (read.kind(), read.message().to_owned())),
        Some((error.kind(), message.to_owned()))
    );
    closes(&Close::error(error));
}

/// A close fits a close frame, and its code is one that a peer may send.
pub(crate) fn closes(close: &Close) {
    assert!(close.reason.len() <= 123, "{close:?}");
    assert!(matches!(close.code, 1000..=1003 | 1007..=1014 | 3000..=4999), "{close:?}");
}
