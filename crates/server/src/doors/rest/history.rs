//! `GET /v1/events/{name}/messages…`: what is held, page by page or one by its cursor, without a subscription.

use std::sync::Arc;

use axum::extract::{RawQuery, State};
use busgate_core::Error;
use busgate_wire::{json, query::HistoryQuery};

use super::{Answer, answer};
use crate::{
    app::App,
    doors::extract::{Authenticated, Event, Place, no_options},
};

/// One page of what an event holds.
#[utoipa::path(
    get, path = "/v1/events/{name}/messages", tag = "messages", operation_id = "history",
    params(
        ("name" = String, Path, description = "the event", pattern = r"^[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*$", max_length = 200),
        ("start_from" = Option<String>, Query, description = "beginning, latest or timestamp", pattern = "^(beginning|latest|timestamp)?$"),
        ("start_time" = Option<String>, Query, description = "with start_from=timestamp: RFC 3339, or milliseconds since the Unix epoch"),
        ("after" = Option<String>, Query, description = "the cursor to go on after; `next` of the page before"),
        ("limit" = Option<u32>, Query, description = "how many messages at most", minimum = 1, maximum = 1000),
    ),
    responses((status = 200, description = "the page", body = json::HistoryAnswer), (status = "default", response = super::Refusal)),
)]
pub(super) async fn page(
    State(app): State<Arc<App>>,
    Authenticated(caller): Authenticated,
    Event(event): Event,
    RawQuery(query): RawQuery,
) -> Answer {
    let request = HistoryQuery::parse(query.as_deref().unwrap_or_default())?.into_request()?;
    Ok(answer(&json::history_answer(&app.gateway.history(&caller, &event, request).await?)))
}

/// The message at a place of an event.
#[utoipa::path(
    get, path = "/v1/events/{name}/messages/{cursor}", tag = "messages", operation_id = "message",
    params(
        ("name" = String, Path, description = "the event", pattern = r"^[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*$", max_length = 200),
        ("cursor" = String, Path, description = "the message's own cursor", pattern = "^[A-Za-z0-9_.:~-]+$", max_length = 2048),
    ),
    responses((status = 200, description = "the message", body = json::MessageBody), (status = "default", response = super::Refusal)),
)]
pub(super) async fn message(
    State(app): State<Arc<App>>,
    Authenticated(caller): Authenticated,
    Place(event, place): Place,
    RawQuery(query): RawQuery,
) -> Answer {
    no_options(query.as_deref())?;
    let found = app.gateway.find(&caller, &event, &place).await?;
    let found =
        found.ok_or_else(|| Error::not_found(format!("event `{event}` holds no message at `{place}`")))?;
    Ok(answer(&json::MessageBody::from(&*found)))
}
