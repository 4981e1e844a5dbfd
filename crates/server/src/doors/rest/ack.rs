//! `POST /v1/ack`: what became of deliveries, on whichever door they went out.

use std::sync::Arc;

use axum::{
    body::Body,
    extract::{RawQuery, State},
};
use busgate_core::{Error, ErrorKind};
use busgate_wire::json;

use super::{Answer, answer};
use crate::{
    app::App,
    doors::{
        body,
        extract::{Authenticated, no_options},
    },
};

/// Acks, nacks, rejects and extends deliveries.
#[utoipa::path(
    post, path = "/v1/ack", tag = "messages", operation_id = "ack",
    request_body(content = json::AckBody, content_type = "application/json"),
    responses((status = 200, description = "what became of each entry", body = json::AckAnswer), (status = "default", response = super::Refusal)),
)]
pub(super) async fn settle(
    State(app): State<Arc<App>>,
    Authenticated(caller): Authenticated,
    RawQuery(query): RawQuery,
    body: Body,
) -> Answer {
    no_options(query.as_deref())?;
    let body = body::read(body, app.doors.max_body_bytes, app.doors.body_timeout).await?;
    let batch = json::read_ack(&body)?;
    let most = app.gateway.config().limits.max_batch;
    if batch.len() > most {
        let message = format!("entries: {} is over the limit of {most}", batch.len());
        return Err(Error::new(ErrorKind::TooLarge, message).into());
    }
    let ids: Vec<String> = batch.iter().map(|entry| entry.ack_id.clone()).collect();
    let answers = app.gateway.settle(&caller, batch).await?;
    Ok(answer(&json::ack_answer(ids.iter().map(String::as_str), &answers)))
}
