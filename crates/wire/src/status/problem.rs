//! Errors as HTTP answers: status, headers and `application/problem+json` (RFC 9457).

use std::time::Duration;

use busgate_core::{Error, ErrorKind};
use bytes::Bytes;
use http::{
    HeaderMap, HeaderValue, Response, StatusCode,
    header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE},
};
use serde::{Deserialize, Serialize};

use super::{
    EFFECT_HEADER, KIND_HEADER, REQUEST_ID_HEADER, http_status, kind_of_http, read, retry_hint, shown, title,
};

/// The content type of an error's body.
pub const PROBLEM_JSON: &str = "application/problem+json";

/// What `type` starts with; the kind follows.
const TYPE_PREFIX: &str = "urn:busgate:error:";

/// The body of an HTTP error.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Problem {
    /// A name for the kind of problem.
    #[serde(rename = "type")]
    pub kind: String,
    /// The kind of problem, for people.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// This problem, for people.
    pub detail: String,
    /// The kind of error: `invalid`, `denied`, …
    pub code: String,
    /// What to name when asking about it.
    pub request_id: String,
}

impl Problem {
    /// The body that tells of `error`.
    #[must_use]
    pub fn new(error: &Error, request_id: &str) -> Self {
        let kind = error.kind();
        Self {
            kind: format!("{TYPE_PREFIX}{kind}"),
            title: title(kind).into(),
            status: http_status(kind).as_u16(),
            detail: shown(error).into(),
            code: kind.as_str().into(),
            request_id: request_id.into(),
        }
    }
}

/// The answer that tells an HTTP client of `error`.
#[must_use]
pub fn to_http(error: &Error, request_id: &str) -> Response<Bytes> {
    let body = serde_json::to_vec(&Problem::new(error, request_id)).unwrap_or_default();
    let mut response = Response::new(Bytes::from(body));
    *response.status_mut() = http_status(error.kind());
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(PROBLEM_JSON));
    headers.insert(KIND_HEADER, HeaderValue::from_static(error.kind().as_str()));
    headers.insert(EFFECT_HEADER, HeaderValue::from_static(error.effect().as_str()));
    if let Ok(id) = HeaderValue::from_str(request_id) {
        headers.insert(REQUEST_ID_HEADER, id);
    }
    if let Some(after) = retry_hint(error) {
        headers.insert(RETRY_AFTER, HeaderValue::from(whole_seconds(after)));
    }
    if error.kind() == ErrorKind::Unauthenticated {
        headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"busgate\""));
    }
    response
}

/// `Retry-After` knows whole seconds only: rounded up, so that no client comes too early.
fn whole_seconds(after: Duration) -> u64 {
    after.as_secs() + u64::from(after.subsec_nanos() > 0)
}

/// The error that an HTTP answer tells of: the very one when it names its kind, else the nearest.
#[must_use]
pub fn from_http(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Error {
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let problem: Option<Problem> = serde_json::from_slice(body).ok();
    let named = header(KIND_HEADER).or_else(|| problem.as_ref().map(|problem| problem.code.as_str()));
    let kind = named.and_then(ErrorKind::from_name).unwrap_or_else(|| kind_of_http(status));
    let detail = problem.as_ref().map(|problem| problem.detail.as_str());
    let message = detail.or_else(|| status.canonical_reason()).unwrap_or("http error");
    let request_id = problem.as_ref().map(|problem| problem.request_id.as_str());
    let request_id = request_id.or_else(|| header(REQUEST_ID_HEADER));
    let retry = header("retry-after").and_then(|seconds| seconds.parse().ok()).map(Duration::from_secs);
    read(kind, header(EFFECT_HEADER), message, request_id, retry)
}

#[cfg(test)]
mod tests {
    use busgate_core::Effect;
    use proptest::prelude::*;

    use super::*;

    fn through_the_wire(error: &Error) -> Error {
        let response = to_http(error, "r-1");
        from_http(response.status(), response.headers(), response.body())
    }

    #[test]
    fn every_error_comes_back_as_it_was() {
        for kind in ErrorKind::ALL.into_iter().filter(|kind| *kind != ErrorKind::Internal) {
            for effect in [Effect::None, Effect::Unknown] {
                let error = Error::new(kind, "what \"went\" wrong").with_effect(effect);
                let back = through_the_wire(&error);
                assert_eq!((back.kind(), back.effect(), back.message()), (kind, effect, error.message()));
            }
        }
    }

    #[test]
    fn internals_never_leave() {
        let response = to_http(&Error::internal("password is hunter2"), "r-1");
        let body = String::from_utf8(response.body().to_vec()).unwrap();
        assert!(!body.contains("hunter2"));
        assert!(body.contains(r#""request_id":"r-1""#));
    }

    #[test]
    fn the_body_is_a_problem() {
        let response = to_http(&Error::not_found("no event `a`"), "r-1");
        assert_eq!(response.status(), StatusCode::NOT_FOUND);
        assert_eq!(response.headers()["content-type"], "application/problem+json");
        let expected = concat!(
            r#"{"type":"urn:busgate:error:not_found","title":"Not found","status":404,"#,
            r#""detail":"no event `a`","code":"not_found","request_id":"r-1"}"#
        );
        assert_eq!(response.body(), expected);
    }

    #[test]
    fn hints_are_whole_seconds_rounded_up() {
        let after = |millis| {
            let error = Error::unavailable("x").with_retry_after(Duration::from_millis(millis));
            to_http(&error, "r").headers()["retry-after"].clone()
        };
        assert_eq!(after(1), "1");
        assert_eq!(after(1000), "1");
        assert_eq!(after(1001), "2");
    }

    #[test]
    fn a_lack_of_credentials_names_the_scheme() {
        let error = Error::new(ErrorKind::Unauthenticated, "no credentials");
        assert_eq!(to_http(&error, "r").headers()["www-authenticate"], "Bearer realm=\"busgate\"");
    }

    proptest! {
        #[test]
        fn no_answer_makes_it_panic(status in 100u16..1000, body: Vec<u8>) {
            let _ = from_http(StatusCode::from_u16(status).unwrap(), &HeaderMap::new(), &body);
        }
    }
}
