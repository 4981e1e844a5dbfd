//! The error table: what each kind of error is on gRPC, HTTP and WebSocket, in both directions.
//!
//! Invariant: nothing else maps an [`ErrorKind`] to a protocol's code. The kind itself travels along, so that reading
//! an answer gives the very error that was written; the code alone is for those who know nothing of busgate.

mod close;
mod grpc;
mod problem;

use std::time::Duration;

use busgate_core::{Effect, Error, ErrorKind};
use http::StatusCode;
use tonic::Code;

pub use self::{
    close::{CLOSE_DONE, CLOSE_DRAINING, CLOSE_SLOW, Close},
    grpc::{from_grpc, to_grpc},
    problem::{PROBLEM_JSON, Problem, from_http, to_http},
};

/// The header or trailer that names the kind of error.
pub const KIND_HEADER: &str = "busgate-error-kind";

/// The header or trailer that says whether the failed call may have taken effect.
pub const EFFECT_HEADER: &str = "busgate-effect";

/// The header or trailer that names the request.
pub const REQUEST_ID_HEADER: &str = "x-request-id";

/// When to try again, for a transient error that does not say so itself.
pub const DEFAULT_RETRY_AFTER: Duration = Duration::from_secs(1);

/// One line of the table.
struct Line {
    grpc: Code,
    http: StatusCode,
    close: u16,
    title: &'static str,
}

const fn line(grpc: Code, http: StatusCode, close: u16, title: &'static str) -> Line {
    Line { grpc, http, close, title }
}

const fn table(kind: ErrorKind) -> Line {
    match kind {
        ErrorKind::Invalid => line(Code::InvalidArgument, StatusCode::BAD_REQUEST, 4400, "Invalid request"),
        ErrorKind::Unprocessable => {
            line(Code::InvalidArgument, StatusCode::UNPROCESSABLE_ENTITY, 4422, "Refused by the schema")
        }
        ErrorKind::TooLarge => line(Code::OutOfRange, StatusCode::PAYLOAD_TOO_LARGE, 1009, "Too large"),
        ErrorKind::Unauthenticated => {
            line(Code::Unauthenticated, StatusCode::UNAUTHORIZED, 4401, "Not authenticated")
        }
        ErrorKind::Denied => line(Code::PermissionDenied, StatusCode::FORBIDDEN, 4403, "Not allowed"),
        ErrorKind::NotFound => line(Code::NotFound, StatusCode::NOT_FOUND, 4404, "Not found"),
        ErrorKind::Exists => line(Code::AlreadyExists, StatusCode::CONFLICT, 4409, "Exists already"),
        ErrorKind::Closed => line(Code::Ok, StatusCode::GONE, 4410, "Event unregistered"),
        ErrorKind::Unsupported => {
            line(Code::Unimplemented, StatusCode::NOT_IMPLEMENTED, 4501, "Not supported")
        }
        ErrorKind::Exhausted => {
            line(Code::ResourceExhausted, StatusCode::TOO_MANY_REQUESTS, 1013, "Limit reached")
        }
        ErrorKind::Timeout => line(Code::DeadlineExceeded, StatusCode::GATEWAY_TIMEOUT, 1013, "Timed out"),
        ErrorKind::Unavailable => {
            line(Code::Unavailable, StatusCode::SERVICE_UNAVAILABLE, 1012, "Unavailable")
        }
        ErrorKind::Internal => {
            line(Code::Internal, StatusCode::INTERNAL_SERVER_ERROR, 1011, "Internal error")
        }
    }
}

/// The gRPC code of a kind.
#[must_use]
pub const fn grpc_code(kind: ErrorKind) -> Code {
    table(kind).grpc
}

/// The HTTP status of a kind.
#[must_use]
pub const fn http_status(kind: ErrorKind) -> StatusCode {
    table(kind).http
}

/// The WebSocket close code of a kind.
#[must_use]
pub const fn close_code(kind: ErrorKind) -> u16 {
    table(kind).close
}

/// What a kind is called, for people.
#[must_use]
pub const fn title(kind: ErrorKind) -> &'static str {
    table(kind).title
}

/// The kind a gRPC code most likely stands for, when nothing names it.
#[must_use]
pub const fn kind_of_grpc(code: Code) -> ErrorKind {
    match code {
        Code::Ok => ErrorKind::Closed,
        Code::InvalidArgument | Code::FailedPrecondition => ErrorKind::Invalid,
        Code::OutOfRange => ErrorKind::TooLarge,
        Code::Unauthenticated => ErrorKind::Unauthenticated,
        Code::PermissionDenied => ErrorKind::Denied,
        Code::NotFound => ErrorKind::NotFound,
        Code::AlreadyExists => ErrorKind::Exists,
        Code::Unimplemented => ErrorKind::Unsupported,
        Code::ResourceExhausted => ErrorKind::Exhausted,
        Code::DeadlineExceeded => ErrorKind::Timeout,
        Code::Unavailable | Code::Aborted | Code::Cancelled => ErrorKind::Unavailable,
        Code::Internal | Code::Unknown | Code::DataLoss => ErrorKind::Internal,
    }
}

/// The kind an HTTP status most likely stands for, when nothing names it.
#[must_use]
pub fn kind_of_http(status: StatusCode) -> ErrorKind {
    let exact = ErrorKind::ALL.into_iter().find(|kind| http_status(*kind) == status);
    exact.unwrap_or_else(|| match status {
        StatusCode::REQUEST_TIMEOUT => ErrorKind::Timeout,
        StatusCode::BAD_GATEWAY => ErrorKind::Unavailable,
        StatusCode::METHOD_NOT_ALLOWED => ErrorKind::Unsupported,
        StatusCode::URI_TOO_LONG | StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE => ErrorKind::TooLarge,
        _ if status.is_client_error() => ErrorKind::Invalid,
        _ => ErrorKind::Internal,
    })
}

/// The kind a WebSocket close code most likely stands for; `None` for a close that is no error.
#[must_use]
pub fn kind_of_close(code: u16) -> Option<ErrorKind> {
    match code {
        1000 | 1005 => None,
        1001 | CLOSE_SLOW => Some(ErrorKind::Unavailable),
        _ => {
            let exact = ErrorKind::ALL.into_iter().find(|kind| close_code(*kind) == code);
            Some(exact.unwrap_or(ErrorKind::Unavailable))
        }
    }
}

/// What a client may read of an error: its message, but nothing of an internal one.
#[must_use]
pub fn shown(error: &Error) -> &str {
    match error.kind() {
        ErrorKind::Internal => "internal error",
        _ => error.message(),
    }
}

/// When a retry is worth it, as it is told to the client: always for the kinds whose answers promise it.
#[must_use]
pub fn retry_hint(error: &Error) -> Option<Duration> {
    let promised = matches!(error.kind(), ErrorKind::Exhausted | ErrorKind::Unavailable);
    error.retry_after().or_else(|| promised.then_some(DEFAULT_RETRY_AFTER))
}

/// The effect with this wire name; what is not named is judged by the kind.
fn effect_of(name: Option<&str>, kind: ErrorKind) -> Effect {
    match name {
        Some("none") => Effect::None,
        Some("unknown") => Effect::Unknown,
        // An answer from something in between, or none at all: a call that may be repeated may have happened.
        _ if kind.is_transient() || kind == ErrorKind::Internal => Effect::Unknown,
        _ => Effect::None,
    }
}

fn read(
    kind: ErrorKind,
    effect: Option<&str>,
    message: &str,
    request_id: Option<&str>,
    retry: Option<Duration>,
) -> Error {
    let message = match request_id {
        Some(id) if kind == ErrorKind::Internal => format!("{message} (request {id})"),
        _ => message.to_owned(),
    };
    let error = Error::new(kind, message).with_effect(effect_of(effect, kind));
    match retry {
        Some(after) => error.with_retry_after(after),
        None => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The page of the contract, as it stands there.
    const PAGE: [(&str, Code, u16, u16); 13] = [
        ("invalid", Code::InvalidArgument, 400, 4400),
        ("unprocessable", Code::InvalidArgument, 422, 4422),
        ("too_large", Code::OutOfRange, 413, 1009),
        ("unauthenticated", Code::Unauthenticated, 401, 4401),
        ("denied", Code::PermissionDenied, 403, 4403),
        ("not_found", Code::NotFound, 404, 4404),
        ("exists", Code::AlreadyExists, 409, 4409),
        ("closed", Code::Ok, 410, 4410),
        ("unsupported", Code::Unimplemented, 501, 4501),
        ("exhausted", Code::ResourceExhausted, 429, 1013),
        ("timeout", Code::DeadlineExceeded, 504, 1013),
        ("unavailable", Code::Unavailable, 503, 1012),
        ("internal", Code::Internal, 500, 1011),
    ];

    #[test]
    fn every_kind_has_the_codes_of_the_contract() {
        for (name, grpc, http, close) in PAGE {
            let kind = ErrorKind::from_name(name).unwrap();
            assert_eq!(grpc_code(kind), grpc, "{name}");
            assert_eq!(http_status(kind).as_u16(), http, "{name}");
            assert_eq!(close_code(kind), close, "{name}");
        }
    }

    #[test]
    fn a_code_alone_reads_as_a_kind_of_that_code() {
        for kind in ErrorKind::ALL {
            assert_eq!(grpc_code(kind_of_grpc(grpc_code(kind))), grpc_code(kind));
            assert_eq!(kind_of_http(http_status(kind)), kind);
            assert_eq!(kind_of_close(close_code(kind)).map(close_code), Some(close_code(kind)));
        }
    }

    #[test]
    fn foreign_statuses_read_as_something_sensible() {
        assert_eq!(kind_of_http(StatusCode::BAD_GATEWAY), ErrorKind::Unavailable);
        assert_eq!(kind_of_http(StatusCode::IM_A_TEAPOT), ErrorKind::Invalid);
        assert_eq!(kind_of_http(StatusCode::INSUFFICIENT_STORAGE), ErrorKind::Internal);
        assert_eq!(kind_of_close(1000), None);
        assert_eq!(kind_of_close(1006), Some(ErrorKind::Unavailable));
    }

    #[test]
    fn an_unnamed_failure_that_may_be_repeated_may_have_happened() {
        assert_eq!(effect_of(None, ErrorKind::Unavailable), Effect::Unknown);
        assert_eq!(effect_of(Some("none"), ErrorKind::Unavailable), Effect::None);
        assert_eq!(effect_of(None, ErrorKind::NotFound), Effect::None);
    }
}
