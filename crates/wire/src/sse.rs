//! Server-sent events (the WHATWG event stream format).
//!
//! Every line is written here and every value on it is JSON on one line or a cursor, which has no line breaks; so
//! nothing from a payload or a name can end a line, an event, or begin one.

use std::time::Duration;

use busgate_core::{Envelope, Error, Gap, Outbound};
use bytes::Bytes;
use serde::Serialize;

use crate::{
    encoding::{Encoding, EncodingSlot},
    json,
    parts::Parts,
    status, time,
};

/// The content type of an event stream.
pub const EVENT_STREAM: &str = "text/event-stream";

/// What a stream begins with: when to come back after a loss, and a comment that makes proxies pass on the headers.
pub const PREAMBLE: &str = "retry: 5000\n: connected\n\n";

/// A sign of life.
pub const HEARTBEAT: &str = "event: heartbeat\ndata: {}\n\n";

const END: &str = "\n\n";

/// A message as an event; its id is its cursor.
#[must_use]
pub fn message(outbound: &Outbound, encoding: Encoding) -> Parts {
    let slot = EncodingSlot::sse(encoding).index();
    let whole = outbound.envelope.encoded(slot, |envelope| whole(envelope, encoding));
    if json::is_all_shared(outbound) {
        return Parts::new(whole, Bytes::new());
    }
    let mut own = Vec::with_capacity(256);
    json::write_own(&mut own, outbound, None);
    own.extend_from_slice(END.as_bytes());
    let shared = whole.slice(..whole.len() - json::OWN_END.len() - END.len());
    Parts::new(shared, own.into())
}

fn whole(envelope: &Envelope, encoding: Encoding) -> Bytes {
    let mut out = Vec::with_capacity(json::room(envelope));
    out.extend_from_slice(b"id: ");
    out.extend_from_slice(envelope.cursor.as_str().as_bytes());
    out.extend_from_slice(b"\nevent: message\ndata: {");
    json::write_members(&mut out, envelope, encoding);
    out.extend_from_slice(json::OWN_END.as_bytes());
    out.extend_from_slice(END.as_bytes());
    out.into()
}

/// Messages that can't be replayed. Its id is where delivery goes on, so that the gap is told once.
#[must_use]
pub fn gap(gap: &Gap) -> Bytes {
    #[derive(Serialize)]
    struct Data<'a> {
        #[serde(skip_serializing_if = "Option::is_none")]
        missed: Option<u64>,
        #[serde(skip_serializing_if = "Option::is_none")]
        cursor: Option<&'a str>,
    }
    let cursor = gap.cursor.as_ref().map(busgate_core::Cursor::as_str);
    event("gap", cursor, &Data { missed: gap.missed, cursor })
}

/// The server is going away.
#[must_use]
pub fn draining(retry_after: Duration) -> Bytes {
    #[derive(Serialize)]
    struct Data {
        retry_after_ms: u64,
    }
    event("draining", None, &Data { retry_after_ms: time::millis(retry_after) })
}

/// Something failed; the stream ends after it.
#[must_use]
pub fn error(error: &Error, request_id: &str) -> Bytes {
    #[derive(Serialize)]
    struct Data<'a> {
        error: &'a str,
        code: &'static str,
        #[serde(skip_serializing_if = "Option::is_none")]
        retry_after_ms: Option<u64>,
        request_id: &'a str,
    }
    let retry_after_ms = status::retry_hint(error).map(time::millis);
    let data = Data { error: status::shown(error), code: error.kind().as_str(), retry_after_ms, request_id };
    event("error", None, &data)
}

fn event(kind: &str, id: Option<&str>, data: &impl Serialize) -> Bytes {
    let mut out = Vec::with_capacity(256);
    if let Some(id) = id {
        out.extend_from_slice(format!("id: {id}\n").as_bytes());
    }
    out.extend_from_slice(format!("event: {kind}\ndata: ").as_bytes());
    out.extend_from_slice(&json::to_bytes(data));
    out.extend_from_slice(END.as_bytes());
    out.into()
}

#[cfg(test)]
mod tests;
