//! `POST /v1/events/{name}/messages:batch`: many messages, an answer for each.

use std::sync::Arc;

use axum::{
    body::Body,
    extract::{RawQuery, State},
};
use busgate_core::{Draft, Error, EventName, Receipt, Result};
use busgate_wire::json::{self, JSON, NDJSON};
use bytes::Bytes;
use http::HeaderMap;

use super::{Answer, answer, said::Said};
use crate::{
    app::App,
    doors::{
        body,
        extract::{Authenticated, Event, no_options},
    },
};

/// Publishes many messages in order, and answers for each.
#[utoipa::path(
    post, path = "/v1/events/{name}/messages:batch", tag = "messages", operation_id = "publishBatch",
    params(("name" = String, Path, description = "the event", pattern = r"^[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*$", max_length = 200)),
    request_body(content((json::BatchBody = "application/json"), (String = "application/x-ndjson"))),
    responses((status = 200, description = "what became of each", body = json::BatchAnswer), (status = "default", response = super::Refusal)),
)]
pub(super) async fn publish(
    State(app): State<Arc<App>>,
    Authenticated(caller): Authenticated,
    Event(event): Event,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Body,
) -> Answer {
    no_options(query.as_deref())?;
    let said = Said::read(&headers);
    said.refuse_of_one()?;
    let body = body::read(body, app.doors.max_body_bytes, app.doors.body_timeout).await?;
    let mut places = Vec::new();
    let mut drafts = Vec::new();
    for read in entries(&said, &body, &event)? {
        let drafted = read.and_then(|mut draft| said.complete(&mut draft).map(|()| draft));
        places.push(drafted.map(|draft| drafts.push(draft)));
    }
    app.admit(&caller, drafts.len())?;
    let published = app.gateway.publish(&caller, &event, drafts).await?;
    Ok(answer(&json::batch_answer(&in_place(places, published))))
}

fn entries(said: &Said<'_>, body: &Bytes, event: &EventName) -> Result<Vec<Result<Draft>>> {
    match said.essence() {
        Some(kind) if kind.eq_ignore_ascii_case(JSON) => json::read_batch(body, event),
        Some(kind) if kind.eq_ignore_ascii_case(NDJSON) => Ok(json::read_lines(body, event)),
        _ => Err(Error::invalid(format!("content-type must be {JSON} or {NDJSON}"))),
    }
}

/// The answers in the order of the entries, of which only the well-formed were published.
fn in_place(places: Vec<Result<()>>, published: Vec<Result<Receipt>>) -> Vec<Result<Receipt>> {
    let mut published = published.into_iter();
    let answer = |place: Result<()>| {
        place.and_then(|()| {
            published.next().unwrap_or_else(|| Err(Error::internal("a message got no answer")))
        })
    };
    places.into_iter().map(answer).collect()
}
