//! `/v1/events`: register, unregister, list, describe.

use std::sync::Arc;

use axum::{
    body::Body,
    extract::{RawQuery, State},
};
use busgate_wire::json;

use super::{Answer, answer, done};
use crate::{
    app::App,
    doors::{
        body,
        extract::{Authenticated, Event, no_options},
    },
};

/// The largest registration.
const MAX_CONFIG_BYTES: usize = 64 * 1024;

/// Makes an event known.
#[utoipa::path(
    post, path = "/v1/events/{name}", tag = "events", operation_id = "register",
    params(("name" = String, Path, description = "dot-separated segments of [A-Za-z0-9_-]+", pattern = r"^[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*$", max_length = 200)),
    request_body(content = Option<json::ConfigBody>, content_type = "application/json"),
    responses((status = 200, description = "it is known", body = super::openapi::Done), (status = "default", response = super::Refusal)),
)]
pub(super) async fn register(
    State(app): State<Arc<App>>,
    Authenticated(caller): Authenticated,
    Event(event): Event,
    RawQuery(query): RawQuery,
    body: Body,
) -> Answer {
    no_options(query.as_deref())?;
    let body = body::read(body, MAX_CONFIG_BYTES, app.doors.body_timeout).await?;
    app.gateway.register(&caller, &event, &json::read_config(&body)?).await?;
    Ok(done())
}

/// Forgets an event and ends its subscriptions.
#[utoipa::path(
    delete, path = "/v1/events/{name}", tag = "events", operation_id = "unregister",
    params(("name" = String, Path, description = "the event", pattern = r"^[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*$", max_length = 200)),
    responses((status = 200, description = "it is forgotten", body = super::openapi::Done), (status = "default", response = super::Refusal)),
)]
pub(super) async fn unregister(
    State(app): State<Arc<App>>,
    Authenticated(caller): Authenticated,
    Event(event): Event,
    RawQuery(query): RawQuery,
) -> Answer {
    no_options(query.as_deref())?;
    app.gateway.unregister(&caller, &event).await?;
    Ok(done())
}

/// The events that the caller may see.
#[utoipa::path(
    get, path = "/v1/events", tag = "events", operation_id = "list",
    responses((status = 200, description = "the events, by name", body = json::EventsAnswer), (status = "default", response = super::Refusal)),
)]
pub(super) async fn list(
    State(app): State<Arc<App>>,
    Authenticated(caller): Authenticated,
    RawQuery(query): RawQuery,
) -> Answer {
    no_options(query.as_deref())?;
    Ok(answer(&json::events_answer(&app.gateway.events(&caller).await?)))
}

/// One event: its configuration, what it holds, and how far its consumers are.
#[utoipa::path(
    get, path = "/v1/events/{name}", tag = "events", operation_id = "describe",
    params(("name" = String, Path, description = "the event", pattern = r"^[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*$", max_length = 200)),
    responses((status = 200, description = "everything known of it", body = json::DetailAnswer), (status = "default", response = super::Refusal)),
)]
pub(super) async fn describe(
    State(app): State<Arc<App>>,
    Authenticated(caller): Authenticated,
    Event(event): Event,
    RawQuery(query): RawQuery,
) -> Answer {
    no_options(query.as_deref())?;
    Ok(answer(&json::detail_answer(&app.gateway.describe(&caller, &event).await?)))
}
