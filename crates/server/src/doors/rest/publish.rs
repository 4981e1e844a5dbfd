//! `POST /v1/events/{name}/messages`: one message, as JSON or as it is.

use std::sync::Arc;

use axum::{
    body::Body as AnyBody,
    extract::{Path, RawQuery, State},
};
use busgate_core::{Draft, Error, EventName, MessageId, Result};
use busgate_wire::json::{self, JSON};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Response, header::CONTENT_TYPE};
use http_body::Body;

use super::Answer;
use crate::{
    app::{App, DoorOptions},
    doors::{
        body::{self, Payload},
        extract::no_options,
        problem::Problem,
    },
};

const MESSAGE_ID: HeaderName = HeaderName::from_static("x-message-id");
const MESSAGE_KEY: HeaderName = HeaderName::from_static("x-message-key");
const SOURCE: HeaderName = HeaderName::from_static("x-source");
const META_PREFIX: &str = "x-meta-";
/// W3C trace context travels from publisher to consumer as metadata.
const TRACE: [HeaderName; 2] =
    [HeaderName::from_static("traceparent"), HeaderName::from_static("tracestate")];

/// Publishes one message.
///
/// `application/json` is read as a description of the message; a body of any other type is the payload itself.
#[utoipa::path(
    post, path = "/v1/events/{name}/messages", tag = "messages", operation_id = "publish",
    params(
        ("name" = String, Path, description = "the event"),
        ("x-source" = Option<String>, Header, description = "who published it, unless it is the caller"),
        ("x-message-id" = Option<String>, Header, description = "the message's id, with a body that is the payload itself"),
        ("x-message-key" = Option<String>, Header, description = "the ordering key, with a body that is the payload itself"),
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
    let body = body::read(body, limit(headers, &app.doors), app.doors.body_timeout).await?;
    let draft = draft(headers, body, &event)?;
    app.admit(&caller, 1)?;
    let receipt = app.gateway.publish_one(&caller, &event, draft).await?;
    let mut response = Response::new(Payload::Whole(json::to_bytes(&json::publish_answer(&receipt))));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(JSON));
    Ok(response)
}

/// JSON takes more room than the payload in it, even if every character is written as an escape.
fn limit(headers: &HeaderMap, doors: &DoorOptions) -> usize {
    if !is_json(headers) {
        return doors.max_payload_bytes;
    }
    doors.max_payload_bytes.saturating_mul(6).saturating_add(256 * 1024).min(doors.max_body_bytes)
}

fn draft(headers: &HeaderMap, body: Bytes, event: &EventName) -> Result<Draft> {
    let mut draft = if is_json(headers) { json::read_publish(&body, event)? } else { raw(headers, body)? };
    along(headers, &mut draft)?;
    Ok(draft)
}

/// What the headers say of a message, whatever its body is.
pub(super) fn along(headers: &HeaderMap, draft: &mut Draft) -> Result<()> {
    if let Some(source) = headers.get(SOURCE) {
        draft.source = Some(text("x-source", source)?.to_owned());
    }
    for name in TRACE {
        if let Some(value) = headers.get(&name)
            && !draft.metadata.contains_key(name.as_str())
        {
            draft.metadata.insert(name.as_str().to_owned(), text(name.as_str(), value)?.to_owned());
        }
    }
    Ok(())
}

fn raw(headers: &HeaderMap, payload: Bytes) -> Result<Draft> {
    let mut draft = Draft { payload, ..Draft::default() };
    for (name, value) in headers {
        if let Some(key) = name.as_str().strip_prefix(META_PREFIX) {
            let twice =
                draft.metadata.insert(key.to_owned(), text(name.as_str(), value)?.to_owned()).is_some();
            if twice {
                return Err(Error::invalid(format!("header {name} stands twice")));
            }
        }
    }
    let header = |name: HeaderName| headers.get(&name).map(|value| text(name.as_str(), value)).transpose();
    draft.id = header(MESSAGE_ID)?.map(MessageId::new).transpose()?;
    draft.key = header(MESSAGE_KEY)?.map(ToOwned::to_owned);
    draft.content_type = header(CONTENT_TYPE)?.map(ToOwned::to_owned);
    Ok(draft)
}

fn text<'a>(name: &str, value: &'a HeaderValue) -> Result<&'a str> {
    std::str::from_utf8(value.as_bytes()).map_err(|_| Error::invalid(format!("header {name} is not UTF-8")))
}

/// Whether the body is a JSON description.
fn is_json(headers: &HeaderMap) -> bool {
    essence(headers).is_some_and(|essence| essence.eq_ignore_ascii_case(JSON))
}

/// The content type without its parameters.
pub(super) fn essence(headers: &HeaderMap) -> Option<&str> {
    let content_type = headers.get(CONTENT_TYPE)?.to_str().ok()?;
    Some(content_type.split(';').next().unwrap_or_default().trim())
}
