//! What a caller is told when the server refuses, or does not answer.

use std::time::Duration;

use busgate_core::{Effect, Error, ErrorKind, EventName};
use redis::{ErrorKind as Kind, RedisError, ServerErrorKind};

use crate::config::RedisConfig;

/// When to try again while the server is away.
pub(crate) const RETRY_AFTER: Duration = Duration::from_millis(500);

pub(crate) fn closed() -> Error {
    Error::unavailable("the transport is closed")
}

pub(crate) fn not_registered(event: &EventName) -> Error {
    Error::not_found(format!("event `{event}` is not registered"))
}

pub(crate) fn taken_over() -> Error {
    Error::new(ErrorKind::Exists, "another subscription took the consumer over")
}

pub(crate) fn unreachable(message: impl Into<std::sync::Arc<str>>) -> Error {
    Error::unavailable(message).with_retry_after(RETRY_AFTER)
}

/// Why there is no connection at all, by what lies beneath.
pub(crate) fn unconnected(config: &RedisConfig, error: Error) -> Error {
    let cause = std::error::Error::source(&error).map_or_else(|| error.to_string(), ToString::to_string);
    unreachable(format!("no connection to {config}: {cause}")).with_source(error)
}

pub(crate) fn busy() -> Error {
    Error::new(ErrorKind::Exhausted, "too many calls wait for redis").with_retry_after(RETRY_AFTER)
}

/// An answer that is not what was asked for.
pub(crate) fn nonsense(what: &str) -> Error {
    Error::internal(format!("redis answered {what} in a form that is not known")).with_effect(Effect::Unknown)
}

/// What became of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// The server did not take it.
    Refused,
    /// The connection is of no use any more.
    Broken,
    /// The server is not in the state to take it: another one may be.
    Unfit,
}

/// Whether another connection is needed.
pub(crate) fn trouble(error: &RedisError) -> Trouble {
    match error.kind() {
        Kind::Io | Kind::Parse | Kind::ClusterConnectionNotFound | Kind::AuthenticationFailed => {
            Trouble::Broken
        }
        Kind::Server(ServerErrorKind::ReadOnly | ServerErrorKind::MasterDown) => Trouble::Unfit,
        _ => Trouble::Refused,
    }
}

/// As a caller is told.
pub(crate) fn told(error: RedisError) -> Error {
    let told = match error.kind() {
        Kind::Io if error.is_timeout() => {
            Error::new(ErrorKind::Timeout, "redis did not answer in time").with_effect(Effect::Unknown)
        }
        Kind::Io | Kind::Parse => {
            unreachable("the connection to redis was lost").with_effect(Effect::Unknown)
        }
        Kind::ClusterConnectionNotFound => unreachable("no node of the redis cluster can be reached"),
        Kind::MasterNameNotFoundBySentinel => {
            unreachable("the sentinels know no master of this name that is up")
        }
        Kind::AuthenticationFailed => {
            Error::new(ErrorKind::Unauthenticated, "redis refuses the user or the password")
        }
        Kind::Server(kind) => of_server(kind, &error),
        _ => of_code(&error),
    };
    told.with_source(error)
}

fn of_server(kind: ServerErrorKind, error: &RedisError) -> Error {
    match kind {
        ServerErrorKind::BusyLoading => unreachable("redis is loading its data"),
        ServerErrorKind::ReadOnly => unreachable("redis is a replica now"),
        ServerErrorKind::MasterDown => unreachable("redis has lost its master"),
        ServerErrorKind::Moved
        | ServerErrorKind::Ask
        | ServerErrorKind::TryAgain
        | ServerErrorKind::ClusterDown => unreachable("the redis cluster is not ready for this event"),
        ServerErrorKind::NoPerm => {
            let detail = error.detail().unwrap_or_default();
            Error::internal(format!("the user may not do this on redis: {detail}"))
        }
        _ => of_code(error),
    }
}

fn of_code(error: &RedisError) -> Error {
    let detail = error.detail().unwrap_or_default();
    match error.code().unwrap_or_default() {
        "OOM" => Error::new(ErrorKind::Exhausted, "redis is out of memory").with_retry_after(RETRY_AFTER),
        "NOAUTH" | "WRONGPASS" => {
            Error::new(ErrorKind::Unauthenticated, "redis refuses the user or the password")
        }
        "MISCONF" | "NOREPLICAS" | "BUSY" | "CLUSTERDOWN" => {
            unreachable(format!("redis refuses writes: {detail}"))
        }
        "WRONGTYPE" => Error::invalid("the key of the event holds something else than a stream"),
        _ => Error::internal(format!("redis refused a call: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(reply: &str) -> Error {
        let (code, detail) = reply.split_once(' ').unwrap();
        told(redis::make_extension_error(code.into(), Some(detail.into())))
    }

    #[test]
    fn each_refusal_has_its_kind() {
        for (reply, kind, retried) in [
            ("OOM command not allowed", ErrorKind::Exhausted, true),
            ("WRONGPASS invalid username-password pair", ErrorKind::Unauthenticated, false),
            ("NOAUTH Authentication required.", ErrorKind::Unauthenticated, false),
            ("MISCONF Redis is configured to save", ErrorKind::Unavailable, true),
            ("NOREPLICAS Not enough good replicas", ErrorKind::Unavailable, true),
            ("WRONGTYPE Operation against a key", ErrorKind::Invalid, false),
            ("ERR no such thing", ErrorKind::Internal, false),
        ] {
            let error = of(reply);
            assert_eq!(error.kind(), kind, "{reply}");
            assert_eq!(error.retry_after().is_some(), retried, "{reply}");
            assert_eq!(error.effect(), Effect::None, "{reply}");
        }
    }

    #[test]
    fn a_lost_connection_leaves_the_effect_open() {
        let io = |kind: std::io::ErrorKind| RedisError::from(std::io::Error::from(kind));
        let lost = told(io(std::io::ErrorKind::BrokenPipe));
        assert_eq!((lost.kind(), lost.effect()), (ErrorKind::Unavailable, Effect::Unknown));
        let late = told(io(std::io::ErrorKind::TimedOut));
        assert_eq!((late.kind(), late.effect()), (ErrorKind::Timeout, Effect::Unknown));
        assert_eq!(trouble(&io(std::io::ErrorKind::BrokenPipe)), Trouble::Broken);
    }
}
