//! `POST /v1/events/{name}/messages`: one message, as JSON or as it is.

use std::sync::Arc;

use axum::{
    body::Body as AnyBody,
    extract::{Path, RawQuery, State},
};
use busgate_core::{Draft, Error, EventName, MessageId, Result};
use busgate_wire::json::{self, JSON};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, header::CONTENT_TYPE};
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

const META_PREFIX: &str = "x-meta-";

/// What the headers say of a message, found in one pass.
#[derive(Default)]
pub(super) struct Said<'a> {
    content_type: Option<&'a HeaderValue>,
    source: Option<&'a HeaderValue>,
    id: Option<&'a HeaderValue>,
    key: Option<&'a HeaderValue>,
    /// W3C trace context travels from publisher to consumer as metadata.
    trace: [Option<(&'static str, &'a HeaderValue)>; 2],
}

impl<'a> Said<'a> {
    pub(super) fn read(headers: &'a HeaderMap) -> Self {
        let mut said = Self::default();
        let [parent, state] = &mut said.trace;
        for (name, value) in headers {
            match name.as_str() {
                "content-type" => said.content_type = Some(value),
                "x-source" => said.source = Some(value),
                "x-message-id" => said.id = Some(value),
                "x-message-key" => said.key = Some(value),
                "traceparent" => *parent = Some(("traceparent", value)),
                "tracestate" => *state = Some(("tracestate", value)),
                _ => {}
            }
        }
        said
    }

    /// The content type without its parameters.
    pub(super) fn essence(&self) -> Option<&'a str> {
        let content_type = self.content_type?.to_str().ok()?;
        Some(content_type.split(';').next().unwrap_or_default().trim())
    }

    /// Whether the body is a JSON description.
    fn is_json(&self) -> bool {
        self.essence().is_some_and(|essence| essence.eq_ignore_ascii_case(JSON))
    }

    /// Adds what holds whatever the body is: who publishes, and the trace.
    pub(super) fn complete(&self, draft: &mut Draft) -> Result<()> {
        if let Some(source) = self.source {
            draft.source = Some(text("x-source", source)?.to_owned());
        }
        for (name, value) in self.trace.into_iter().flatten() {
            if !draft.metadata.contains_key(name) {
                draft.metadata.insert(name.to_owned(), text(name, value)?.to_owned());
            }
        }
        Ok(())
    }
}

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
    let said = Said::read(headers);
    let json = said.is_json();
    let body = body::read(body, limit(json, &app.doors), app.doors.body_timeout).await?;
    let mut draft = if json { json::read_publish(&body, &event)? } else { raw(headers, &said, body)? };
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

fn raw(headers: &HeaderMap, said: &Said<'_>, payload: Bytes) -> Result<Draft> {
    let mut draft = Draft { payload, ..Draft::default() };
    for (name, value) in headers {
        if let Some(key) = name.as_str().strip_prefix(META_PREFIX) {
            let value = text(name.as_str(), value)?.to_owned();
            if draft.metadata.insert(key.to_owned(), value).is_some() {
                return Err(Error::invalid(format!("header {name} stands twice")));
            }
        }
    }
    let id = said.id.map(|id| text("x-message-id", id)).transpose()?;
    draft.id = id.map(MessageId::new).transpose()?;
    draft.key = said.key.map(|key| text("x-message-key", key)).transpose()?.map(ToOwned::to_owned);
    let content_type = said.content_type.map(|kind| text("content-type", kind)).transpose()?;
    draft.content_type = content_type.map(ToOwned::to_owned);
    Ok(draft)
}

fn text<'a>(name: &str, value: &'a HeaderValue) -> Result<&'a str> {
    std::str::from_utf8(value.as_bytes()).map_err(|_| Error::invalid(format!("header {name} is not UTF-8")))
}
