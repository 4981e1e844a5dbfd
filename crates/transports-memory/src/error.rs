//! What this transport says when it cannot.

use busgate_core::{Error, ErrorKind, EventName};

pub(crate) fn closed() -> Error {
    Error::unavailable("the transport is closed")
}

pub(crate) fn not_registered(event: &EventName) -> Error {
    Error::not_found(format!("event `{event}` is not registered"))
}

pub(crate) fn registered_otherwise(event: &EventName) -> Error {
    Error::new(ErrorKind::Exists, format!("event `{event}` is registered with another configuration"))
}

pub(crate) fn taken_over() -> Error {
    Error::new(ErrorKind::Exists, "another subscription of this consumer took over")
}

pub(crate) fn exhausted(what: &str, limit: usize) -> Error {
    Error::new(ErrorKind::Exhausted, format!("the limit of {limit} {what} is reached"))
}
