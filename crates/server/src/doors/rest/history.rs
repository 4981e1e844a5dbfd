//! `GET /v1/events/{name}/messages`: what is held, page by page, without a subscription.

use std::sync::Arc;

use axum::extract::{RawQuery, State};
use busgate_wire::{json, query::HistoryQuery};

use super::{Answer, answer};
use crate::{
    app::App,
    doors::extract::{Authenticated, Event},
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
