//! `GET /v1/events/{name}/stream`: a subscription as server-sent events.

mod feed;

use std::sync::Arc;

use axum::{
    Extension,
    body::Body,
    extract::{RawQuery, State},
    response::Response,
};
use busgate_core::{AckMode, Error, Mode, Result, Start};
use busgate_wire::{query::SubscribeQuery, sse::EVENT_STREAM};
use http::{
    HeaderMap, HeaderName, HeaderValue,
    header::{CACHE_CONTROL, CONTENT_TYPE},
};

use self::feed::Feed;
use super::{
    extract::{Authenticated, Target},
    problem::Problem,
    request_id::RequestId,
};
use crate::app::App;

const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// Tells nginx and its like to pass each event on at once.
const ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");

/// A subscription as server-sent events.
///
/// Event types: `message`, `heartbeat`, `gap`, `draining`, `error`. The name may be a pattern.
#[utoipa::path(
    get, path = "/v1/events/{name}/stream", tag = "messages", operation_id = "stream",
    params(
        ("name" = String, Path, description = "an event, or a pattern: `*` is one segment, a final `>` one or more", pattern = r"^([A-Za-z0-9_-]+|\*)(\.([A-Za-z0-9_-]+|\*))*(\.>)?$|^>$", max_length = 200),
        ("delivery_mode" = Option<String>, Query, description = "broadcast or worker_pool", pattern = "^(broadcast|worker_pool)?$"),
        ("worker_group" = Option<String>, Query, description = "with worker_pool: the group, `default` unless set"),
        ("consumer_id" = Option<String>, Query, description = "a stable name, under which the place is kept"),
        ("start_from" = Option<String>, Query, description = "beginning, latest or timestamp", pattern = "^(beginning|latest|timestamp)?$"),
        ("start_time" = Option<String>, Query, description = "with start_from=timestamp: RFC 3339, or milliseconds since the Unix epoch"),
        ("start_after" = Option<String>, Query, description = "the cursor to go on after"),
        ("last_event_id" = Option<String>, Query, description = "the same, for those who can't set the header"),
        ("last-event-id" = Option<String>, Header, description = "the cursor to go on after"),
        ("latest_only" = Option<bool>, Query, description = "while the client is busy only the newest message waits"),
        ("max_age" = Option<String>, Query, description = "older messages are left out: 500ms, 30s, 1h"),
        ("ack" = Option<String>, Query, description = "auto (default), or manual: then by POST /v1/ack", pattern = "^(auto|manual)?$"),
        ("ack_wait" = Option<String>, Query, description = "how long a lease runs"),
        ("max_deliver" = Option<u32>, Query, description = "how often a message is delivered"),
        ("max_in_flight" = Option<u32>, Query, description = "how many deliveries may be unsettled"),
        ("buffer_size" = Option<u32>, Query, description = "how many messages a live subscriber may be behind"),
        ("slow_policy" = Option<String>, Query, description = "pause, drop_oldest, conflate or disconnect", pattern = "^(pause|drop_oldest|conflate|disconnect)?$"),
        ("encoding" = Option<String>, Query, description = "base64 (default), json or text", pattern = "^(base64|json|text)?$"),
    ),
    responses((status = 200, description = "the events, as they come", content_type = "text/event-stream", body = super::rest::Event), (status = "default", response = super::rest::Refusal)),
)]
pub(crate) async fn stream(
    State(app): State<Arc<App>>,
    Authenticated(caller): Authenticated,
    Target(target): Target,
    RawQuery(query): RawQuery,
    Extension(id): Extension<RequestId>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let mut options = options(query.as_deref(), &headers)?;
    let encoding = options.encoding();
    let back = target.is_wild() && options.take_last_event_id().is_some();
    let mut request = options.into_request(target, AckMode::Auto)?;
    // A browser comes back to a pattern with the place of one event of many, and a refusal would be the end of its
    // stream. A group or a named consumer has its places; any other goes on live, and is told that it missed something.
    let missed = back && request.mode == Mode::Broadcast { consumer: None };
    if missed {
        request.start = Start::Latest;
    }
    let session = app.gateway.subscribe(&caller, request).await?;
    let feed = Feed::new(session, encoding, app.doors.heartbeat, id, missed);
    let mut response = Response::new(Body::from_stream(feed.into_stream()));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(EVENT_STREAM));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(ACCEL_BUFFERING, HeaderValue::from_static("no"));
    Ok(response)
}

fn options(query: Option<&str>, headers: &HeaderMap) -> Result<SubscribeQuery> {
    let mut options = SubscribeQuery::parse(query.unwrap_or_default())?;
    if let Some(last) = headers.get(LAST_EVENT_ID) {
        let last = last.to_str().map_err(|_| Error::invalid("Last-Event-ID is no cursor"))?;
        options.resume_after(last)?;
    }
    Ok(options)
}
