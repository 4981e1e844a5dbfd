//! What this transport says when it cannot.

use std::{error::Error as StdError, time::Duration};

use async_nats::{
    RequestError, RequestErrorKind,
    jetstream::{
        self, ErrorCode,
        context::{PublishError, PublishErrorKind},
    },
};
use busgate_core::{Effect, Error, ErrorKind, EventName};

/// When a retry is worth it while the server is away.
const RETRY_AFTER: Duration = Duration::from_secs(1);

pub(crate) fn closed() -> Error {
    Error::unavailable("the transport is closed")
}

pub(crate) fn away() -> Error {
    Error::unavailable("the nats server is not reachable").with_retry_after(RETRY_AFTER)
}

pub(crate) fn no_jetstream() -> Error {
    Error::unavailable("nobody answers for jetstream").with_retry_after(RETRY_AFTER)
}

pub(crate) fn late() -> Error {
    Error::new(ErrorKind::Timeout, "the nats server did not answer in time")
        .with_effect(Effect::Unknown)
        .with_retry_after(RETRY_AFTER)
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

pub(crate) fn consumer_gone() -> Error {
    Error::unavailable("the group's consumer was deleted on the nats server").with_retry_after(RETRY_AFTER)
}

pub(crate) fn foreign_token() -> Error {
    Error::invalid("the lease is not one of this transport")
}

/// A request that was not answered.
pub(crate) fn request(error: RequestError) -> Error {
    match error.kind() {
        RequestErrorKind::TimedOut => late(),
        RequestErrorKind::NoResponders => no_jetstream(),
        RequestErrorKind::MaxPayloadExceeded => too_large(),
        RequestErrorKind::InvalidSubject | RequestErrorKind::Other => {
            away().with_effect(Effect::Unknown).with_source(error)
        }
    }
}

/// The same id is on its way in by another message: what becomes of that is not known yet.
const IN_PROCESS: ErrorCode = ErrorCode(10158);

/// What the server's API says when it refuses.
pub(crate) fn api(error: jetstream::Error) -> Error {
    let kind = match error.code() {
        404 => ErrorKind::NotFound,
        503 | 504 => ErrorKind::Unavailable,
        409 if error.error_code() == IN_PROCESS => ErrorKind::Unavailable,
        _ => match error.error_code() {
            ErrorCode::STREAM_MESSAGE_EXCEEDS_MAXIMUM => ErrorKind::TooLarge,
            ErrorCode::STREAM_STORE_FAILED
            | ErrorCode::STORAGE_RESOURCES_EXCEEDED
            | ErrorCode::MEMORY_RESOURCES_EXCEEDED
            | ErrorCode::ACCOUNT_RESOURCES_EXCEEDED
            | ErrorCode::INSUFFICIENT_RESOURCES
            | ErrorCode::MAXIMUM_CONSUMERS_LIMIT
            | ErrorCode::MAXIMUM_STREAMS_LIMIT => ErrorKind::Exhausted,
            _ => ErrorKind::Internal,
        },
    };
    let text = format!("jetstream refused: {error}");
    Error::new(kind, text).with_source(error)
}

/// A publish that was not taken.
pub(crate) fn publish(error: PublishError) -> Error {
    match error.kind() {
        PublishErrorKind::TimedOut | PublishErrorKind::BrokenPipe => late().with_source(error),
        PublishErrorKind::StreamNotFound => no_jetstream().with_source(error),
        PublishErrorKind::MaxPayloadExceeded => too_large(),
        PublishErrorKind::MaxAckPending => {
            Error::new(ErrorKind::Exhausted, "too many publishes wait for their answer")
                .with_retry_after(RETRY_AFTER)
        }
        PublishErrorKind::Other
        | PublishErrorKind::WrongLastSequence
        | PublishErrorKind::WrongLastMessageId => {
            let refused = error.source().and_then(|source| source.downcast_ref::<jetstream::Error>());
            match refused {
                Some(refused) => api(refused.clone()),
                None => away().with_effect(Effect::Unknown).with_source(error),
            }
        }
    }
}

/// A publish to a core subject that was not sent.
pub(crate) fn core_publish(error: async_nats::PublishError) -> Error {
    match error.kind() {
        async_nats::client::PublishErrorKind::MaxPayloadExceeded => too_large(),
        _ => away().with_source(error),
    }
}

fn too_large() -> Error {
    Error::new(ErrorKind::TooLarge, "the message with its headers is over the max_payload of the nats server")
}

/// Whether a publish surely changed nothing, and may be taken when it is tried again at once.
pub(crate) fn is_not_taken(error: &Error) -> bool {
    error.kind() == ErrorKind::Unavailable && error.effect() == Effect::None
}

/// Whether the thing asked for is not there.
pub(crate) fn is_not_found(error: &Error) -> bool {
    error.kind() == ErrorKind::NotFound
}
