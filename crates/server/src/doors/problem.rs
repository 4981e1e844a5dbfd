//! An error on its way out of an HTTP door; the front writes it down, with the request's id.

use axum::response::{IntoResponse, Response};
use busgate_core::{Error, ErrorKind};
use busgate_wire::status::{self, PROBLEM_JSON};
use bytes::Bytes;
use http::{HeaderValue, StatusCode, header::CONTENT_TYPE};

use super::request_id::RequestId;

/// What a handler returns instead of an answer.
#[derive(Clone, Debug)]
pub(crate) struct Problem(pub(crate) Error);

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        Self(error)
    }
}

impl IntoResponse for Problem {
    /// An empty answer that carries the error along; the front replaces it.
    fn into_response(self) -> Response {
        let mut response = status::http_status(self.0.kind()).into_response();
        response.extensions_mut().insert(self);
        response
    }
}

/// The answer that tells a client of `error`.
pub(super) fn answer(error: &Error, id: &RequestId) -> http::Response<Bytes> {
    if error.kind() == ErrorKind::Internal {
        let source = std::error::Error::source(error).map(ToString::to_string);
        tracing::error!(request_id = %id, error = %error, source, "a request failed");
    }
    status::to_http(error, id.as_str())
}

/// The answer for an error that the framework made of its own, like a method that a path does not have.
pub(super) fn answer_to(code: StatusCode, id: &RequestId) -> http::Response<Bytes> {
    let reason = code.canonical_reason().unwrap_or("refused").to_lowercase();
    let error = Error::new(status::kind_of_http(code), reason);
    let problem = status::Problem { status: code.as_u16(), ..status::Problem::new(&error, id.as_str()) };
    let mut response = status::to_http(&error, id.as_str());
    *response.status_mut() = code;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(PROBLEM_JSON));
    *response.body_mut() = busgate_wire::json::to_bytes(&problem);
    response
}
