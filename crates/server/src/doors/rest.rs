//! REST: one file a resource, JSON in and out.

mod ack;
mod batch;
mod docs;
mod events;
mod health;
mod history;
mod later;
mod openapi;
pub(crate) mod publish;
mod said;
mod scrape;

use std::sync::Arc;

use axum::{
    Router,
    body::Body,
    response::{IntoResponse, Response},
    routing::{any, delete, get, post},
};
use busgate_wire::json::{self, JSON};
use bytes::Bytes;
use http::{HeaderValue, header::CONTENT_TYPE};
use serde::Serialize;

pub(crate) use self::openapi::{Event, Refusal};
use super::{front::no_such_path, problem::Problem, sse, websocket};
use crate::app::App;

/// What a handler answers.
type Answer = Result<Response, Problem>;

/// Everything that is served to clients over HTTP, and `more`.
pub(crate) fn public(app: &Arc<App>, more: Router) -> Router {
    let api = Router::new()
        .route("/v1/events", get(events::list))
        .route("/v1/events/{name}", post(events::register))
        .route("/v1/events/{name}", delete(events::unregister))
        .route("/v1/events/{name}", get(events::describe))
        .route("/v1/events/{name}/messages", post(publish::route))
        .route("/v1/events/{name}/messages", get(history::page))
        .route("/v1/events/{name}/messages/{cursor}", get(history::message))
        .route("/v1/events/{name}/messages:batch", post(batch::publish))
        .route("/v1/events/{name}/stream", get(sse::stream))
        .route("/v1/ack", post(ack::settle))
        .route("/v1/health", get(health::health))
        .route("/openapi.json", get(openapi::document))
        .route("/docs", get(docs::page));
    let api = later::PATHS.into_iter().fold(api, |api, path| api.route(path, any(later::refuse)));
    let api = if app.doors.separate_admin {
        api
    } else {
        api.merge(probes()).route("/metrics", get(scrape::authenticated))
    };
    api.merge(websocket::routes()).fallback(no_such_path).with_state(Arc::clone(app)).merge(more)
}

/// What is served to those who run the gateway.
pub(crate) fn admin(app: &Arc<App>) -> Router {
    probes().route("/metrics", get(scrape::metrics)).fallback(no_such_path).with_state(Arc::clone(app))
}

fn probes() -> Router<Arc<App>> {
    Router::new().route("/healthz", get(health::alive)).route("/readyz", get(health::ready))
}

/// An answer with a JSON body.
fn answer(body: &impl Serialize) -> Response {
    let mut response = Response::new(Body::from(json::to_bytes(body)));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(JSON));
    response
}

/// The answer of a call that has nothing to say.
fn done() -> Response {
    typed(JSON, Bytes::from_static(b"{}"))
}

fn typed(content_type: &'static str, body: Bytes) -> Response {
    ([(CONTENT_TYPE, content_type)], body).into_response()
}
