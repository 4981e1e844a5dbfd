//! `POST /v1/events/{name}/messages`: one message, as JSON or as it is.

use std::sync::Arc;

use axum::{
    body::Body as AnyBody,
    extract::{Path, RawQuery, State},
};
use busgate_core::{EventName, Result};
use busgate_wire::json::{self, JSON};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, header::CONTENT_TYPE};
use http_body::Body;

use super::{Answer, said::Said};
use crate::{
    app::{App, DoorOptions},
    doors::{
        body::{self, Payload},
        extract::no_options,
        problem::Problem,
    },
};

/// Publishes one message.
///
/// `application/json` is read as a description of the message; a body of any other type is the payload itself.
#[utoipa::path(
    post, path = "/v1/events/{name}/messages", tag = "messages", operation_id = "publish",
    params(
        ("name" = String, Path, description = "the event", pattern = r"^[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*$", max_length = 200),
        ("x-source" = Option<String>, Header, description = "who published it, unless it is the caller"),
        ("x-message-id" = Option<String>, Header, description = "the message's id, unless the body names it"),
        ("x-message-key" = Option<String>, Header, description = "the ordering key, unless the body names it"),
    ),
    request_body(content((json::PublishBody = "application/json"), (Vec<u8> = "application/octet-stream"))),
    responses((status = 200, description = "it is accepted", body = json::PublishAnswer), (status = "default", response = super::Refusal)),
)]
pub(super) async fn route(
    State(app): State<Arc<App>>,
    Path(event): Path<String>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: AnyBody,
) -> Answer {
    let response = publish(&app, &event, &headers, query.as_deref(), body).await.map_err(Problem)?;
    Ok(response.map(AnyBody::new))
}

/// Publishes one message: the call that everything is about, straight from the front.
///
/// # Errors
/// As the gateway's, and `invalid` or `unsupported` for what the request says.
pub(crate) async fn publish<B>(
    app: &App,
    event: &str,
    headers: &HeaderMap,
    query: Option<&str>,
    body: B,
) -> Result<Response<Payload>>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: std::error::Error + Send + Sync + 'static,
{
    let caller = app.caller(headers)?;
    let event = EventName::new(event)?;
    no_options(query)?;
    let said = Said::read(headers);
    let json = said.is_json();
    let body = body::read(body, limit(json, &app.doors), app.doors.body_timeout).await?;
    let mut draft = if json { json::read_publish(&body, &event)? } else { said.as_it_is(body)? };
    said.complete(&mut draft)?;
    app.admit(&caller, 1)?;
    let receipt = app.gateway.publish_one(&caller, &event, draft).await?;
    let mut response = Response::new(Payload::Whole(json::write_receipt(&receipt)));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(JSON));
    Ok(response)
}

/// JSON takes more room than the payload in it, even if every character is written as an escape.
fn limit(json: bool, doors: &DoorOptions) -> usize {
    if !json {
        return doors.max_payload_bytes;
    }
    doors.max_payload_bytes.saturating_mul(6).saturating_add(256 * 1024).min(doors.max_body_bytes)
}
