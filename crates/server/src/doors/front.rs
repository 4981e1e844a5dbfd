//! What stands before every HTTP door: request ids, origins, the short way for publishing, problems, panics.

mod cors;

use std::{any::Any, panic::AssertUnwindSafe, sync::Arc};

use axum::Router;
use busgate_core::{Error, ErrorKind, Result};
use busgate_wire::status::KIND_HEADER;
use futures_util::FutureExt;
use http::{HeaderMap, HeaderValue, Method, Request, Response, Uri, header::CONTENT_ENCODING};
use hyper::body::Incoming;
use tokio::time::Instant;
use tower::ServiceExt;

use super::{
    body::{Never, Payload},
    problem::{self, Problem},
    request_id::{self, RequestId},
    rest,
};
use crate::{app::App, listen::Peer, metrics::Door};

/// The HTTP doors of one listener.
#[derive(Debug)]
pub(crate) struct Front {
    app: Arc<App>,
    router: Router,
    publishes: bool,
}

impl Front {
    /// The public doors, and `more` beside them.
    pub(crate) fn public(app: &Arc<App>, more: Router) -> Self {
        Self { app: Arc::clone(app), router: rest::public(app, more), publishes: true }
    }

    /// Metrics and probes alone.
    pub(crate) fn admin(app: &Arc<App>) -> Self {
        Self { app: Arc::clone(app), router: rest::admin(app), publishes: false }
    }

    /// Answers a request, whatever happens.
    pub(crate) async fn answer(
        self: Arc<Self>,
        request: Request<Incoming>,
        peer: Peer,
    ) -> Result<Response<Payload>, Never> {
        let started = Instant::now();
        let id = RequestId::of(request.headers());
        let door = door(request.uri().path());
        let handled = AssertUnwindSafe(self.handle(request, &id, &peer)).catch_unwind().await;
        let mut response = match handled.unwrap_or_else(|panic| Err(panicked(&*panic))) {
            Ok(response) => response,
            Err(error) => problem::answer(&error, &id).map(Payload::from),
        };
        response.headers_mut().insert(request_id::HEADER, id.header());
        let elapsed = started.elapsed();
        self.app.metrics.door(door).observe(failure(&response), elapsed);
        tracing::debug!(request_id = %id, status = response.status().as_u16(), ?elapsed, "answered");
        Ok(response)
    }

    async fn handle(
        &self,
        request: Request<Incoming>,
        id: &RequestId,
        peer: &Peer,
    ) -> Result<Response<Payload>> {
        let origin = self.app.origins.check(request.uri(), request.headers())?;
        refuse_encoded(request.headers())?;
        let origin = origin.and_then(|origin| HeaderValue::from_str(origin).ok());
        if let Some(origin) = &origin
            && let Some(preflight) = cors::preflight(&request, origin)
        {
            return Ok(preflight);
        }
        let handled = match event_of_publish(&request).filter(|_| self.publishes) {
            Some(event) => {
                let (parts, body) = request.into_parts();
                let event = parts.uri.path().get(event).unwrap_or_default();
                rest::publish::publish(&self.app, event, &parts.headers, parts.uri.query(), body).await
            }
            // Boxed, so that a connection that only publishes keeps no room for everything else.
            None => Box::pin(self.route(request, id, peer)).await,
        };
        let mut response = match handled {
            Ok(response) => response,
            Err(error) if origin.is_some() => problem::answer(&error, id).map(Payload::from),
            Err(error) => return Err(error),
        };
        if let Some(origin) = origin {
            cors::allow(response.headers_mut(), origin);
        }
        Ok(response)
    }

    async fn route(
        &self,
        mut request: Request<Incoming>,
        id: &RequestId,
        peer: &Peer,
    ) -> Result<Response<Payload>> {
        request.extensions_mut().insert(id.clone());
        request.extensions_mut().insert(peer.clone());
        let Ok(mut response) = self.router.clone().oneshot(request).await;
        if let Some(Problem(error)) = response.extensions_mut().remove::<Problem>() {
            return Err(error);
        }
        let status = response.status();
        let refused = status.is_client_error() || status.is_server_error();
        if !refused || failure(&response).is_some() {
            return Ok(response.map(Payload::Stream));
        }
        let mut described = problem::answer_to(status, id).map(Payload::from);
        if let Some(allow) = response.headers_mut().remove(http::header::ALLOW) {
            described.headers_mut().insert(http::header::ALLOW, allow);
        }
        Ok(described)
    }
}

/// A compressed body would be taken for what it is not.
fn refuse_encoded(headers: &HeaderMap) -> Result<()> {
    match headers.get(CONTENT_ENCODING) {
        Some(encoding) if !encoding.as_bytes().eq_ignore_ascii_case(b"identity") => {
            Err(Error::unsupported("content-encoding is not supported: send the body as it is"))
        }
        _ => Ok(()),
    }
}

/// The kind of error that an answer tells of.
fn failure<B>(response: &Response<B>) -> Option<ErrorKind> {
    if response.status().is_success() {
        return None;
    }
    response.headers().get(KIND_HEADER).and_then(|kind| ErrorKind::from_name(kind.to_str().ok()?))
}

/// Where in the path the event's name stands, if this is the call that everything is about. Names that are not
/// written plainly go the long way, to the same handler.
fn event_of_publish<B>(request: &Request<B>) -> Option<std::ops::Range<usize>> {
    const PREFIX: &str = "/v1/events/";
    const SUFFIX: &str = "/messages";
    if request.method() != Method::POST {
        return None;
    }
    let name = request.uri().path().strip_prefix(PREFIX)?.strip_suffix(SUFFIX)?;
    let plain = !name.is_empty() && !name.bytes().any(|byte| matches!(byte, b'/' | b'%'));
    plain.then(|| PREFIX.len()..PREFIX.len() + name.len())
}

fn door(path: &str) -> Door {
    match path.rsplit('/').next() {
        Some("stream") => Door::Sse,
        Some("subscribe" | "ws") => Door::Websocket,
        _ => Door::Rest,
    }
}

/// A panic is a bug: it ends the request, never the server, and its words stay in the log.
fn panicked(panic: &(dyn Any + Send)) -> Error {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
    Error::internal(format!("a handler panicked: {}", text.unwrap_or_default()))
}

/// The answer for a path that is not there.
pub(super) async fn no_such_path(uri: Uri) -> Problem {
    Problem(Error::not_found(format!("there is nothing at {}", uri.path())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(method: &str, path: &str) -> Option<String> {
        let request = Request::builder().method(method).uri(path).body(()).unwrap();
        event_of_publish(&request).map(|range| request.uri().path()[range].to_owned())
    }

    #[test]
    fn only_a_plain_publish_takes_the_short_way() {
        assert_eq!(event("POST", "/v1/events/orders.created/messages?x=1").unwrap(), "orders.created");
        for (method, path) in [
            ("GET", "/v1/events/a/messages"),
            ("POST", "/v1/events//messages"),
            ("POST", "/v1/events/a%2e/messages"),
            ("POST", "/v1/events/a/b/messages"),
            ("POST", "/v1/events/a/messages:batch"),
            ("POST", "/v1/events/messages"),
        ] {
            assert_eq!(event(method, path), None, "{method} {path}");
        }
    }
}
