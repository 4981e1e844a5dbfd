//! What stands before every call: web pages of other origins are let in or kept out, and errors that tonic made of a
//! request it could not serve get the kind that ours have.

use std::sync::Arc;

use axum::{
    body::Body,
    extract::{Request, State},
    middleware::Next,
    response::Response,
};
use busgate_core::{Error, ErrorKind};
use busgate_wire::status::{self, EFFECT_HEADER, KIND_HEADER, REQUEST_ID_HEADER};
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, StatusCode,
    header::{
        ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
        ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS, CONTENT_TYPE,
        ORIGIN, VARY,
    },
};
use tonic::{Code, Status};

use super::call::unreadable;
use crate::{app::App, doors::request_id::RequestId};

const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");

/// How long a browser may remember what a page may send.
const PREFLIGHT_SECONDS: HeaderValue = HeaderValue::from_static("7200");

/// Lets a call in, and its answer out.
pub(super) async fn guard(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    if !is_web(request.headers()) {
        return named(next.run(request).await);
    }
    let page = match app.origins.check(request.uri(), request.headers()) {
        Ok(page) => page.and_then(|page| HeaderValue::from_str(page).ok()),
        Err(error) => return refused(&error, request.headers()),
    };
    let Some(page) = page else { return named(next.run(request).await) };
    let mut response = match *request.method() {
        Method::OPTIONS => preflight(request.headers()),
        _ => named(next.run(request).await),
    };
    let headers = response.headers_mut();
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, page);
    headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, exposed());
    headers.append(VARY, HeaderValue::from_static("origin"));
    response
}

/// Whether a web page calls, as far as a browser tells.
fn is_web(headers: &HeaderMap) -> bool {
    let web = |kind: &HeaderValue| kind.as_bytes().starts_with(b"application/grpc-web");
    headers.contains_key(ORIGIN) || headers.get(CONTENT_TYPE).is_some_and(web)
}

/// What a page may send: whatever it asks for, as the call itself is what is checked.
fn preflight(headers: &HeaderMap) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    let allow = response.headers_mut();
    allow.insert(ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("POST"));
    allow.insert(ACCESS_CONTROL_MAX_AGE, PREFLIGHT_SECONDS);
    if let Some(asked) = headers.get(ACCESS_CONTROL_REQUEST_HEADERS) {
        allow.insert(ACCESS_CONTROL_ALLOW_HEADERS, asked.clone());
    }
    response
}

/// What a page may read beside the body.
fn exposed() -> HeaderValue {
    let names = [
        "grpc-status",
        "grpc-message",
        "grpc-status-details-bin",
        KIND_HEADER,
        EFFECT_HEADER,
        REQUEST_ID_HEADER,
    ];
    HeaderValue::from_str(&names.join(",")).unwrap_or_else(|_| HeaderValue::from_static("grpc-status"))
}

fn refused(error: &Error, headers: &HeaderMap) -> Response {
    status::to_http(error, RequestId::of(headers).as_str()).map(Body::from)
}

/// The answer, with the kind of its error if tonic made one without.
fn named(mut response: Response) -> Response {
    let headers = response.headers();
    if !headers.contains_key(GRPC_STATUS) || headers.contains_key(KIND_HEADER) {
        return response;
    }
    let status = Status::from_header_map(headers).filter(|status| status.code() != Code::Ok);
    if let Some(status) = status {
        let error = match unreadable(&status) {
            error if error.kind() == ErrorKind::Unsupported && error.message().is_empty() => {
                Error::unsupported("there is no such method")
            }
            error => error,
        };
        // A status of the table always fits into headers.
        _ = status::to_grpc(&error, None).add_header(response.headers_mut());
    }
    response
}
