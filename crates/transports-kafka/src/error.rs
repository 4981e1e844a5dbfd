//! What librdkafka says, in the kinds of the contract.

use std::time::Duration;

use busgate_core::{Effect, Error, ErrorKind};
use rdkafka::{error::KafkaError, types::RDKafkaErrorCode as Code};

/// When it is worth to try again after the broker was away, or a queue was full.
pub(crate) const RETRY: Duration = Duration::from_millis(500);

/// The transport was closed.
pub(crate) fn closed() -> Error {
    Error::unavailable("the transport is closed")
}

/// There is no such event.
pub(crate) fn unknown(event: &impl std::fmt::Display) -> Error {
    Error::not_found(format!("event `{event}` is not registered"))
}

/// The broker did not answer within the time of a call.
pub(crate) fn late(what: &str) -> Error {
    Error::new(ErrorKind::Timeout, format!("kafka did not answer in time: {what}")).with_retry_after(RETRY)
}

/// What a failed call means that changed nothing, or can be repeated as it is.
pub(crate) fn failed(what: &str, error: KafkaError) -> Error {
    let code = match &error {
        KafkaError::AdminOp(code) => Some(*code),
        // Its client was closed.
        KafkaError::Canceled => Some(Code::DestroyBroker),
        error => error.rdkafka_error_code(),
    };
    let Some(code) = code else {
        return Error::internal(format!("{what}: {error}")).with_source(error);
    };
    of_code(what, code).with_source(error)
}

/// What a failed delivery of a message means.
///
/// Only what the broker refused, or what never left the queue, is known to have changed nothing.
pub(crate) fn undelivered(code: Code) -> Error {
    let error = of_code("the message was not taken", code);
    match code {
        Code::MessageSizeTooLarge
        | Code::InvalidMessageSize
        | Code::MessageBatchTooLarge
        | Code::InvalidTimestamp
        | Code::InvalidMessage
        | Code::QueueFull
        | Code::PurgeQueue
        | Code::NotEnoughReplicas
        | Code::TopicAuthorizationFailed
        | Code::ClusterAuthorizationFailed
        | Code::UnknownTopicOrPartition
        | Code::UnknownTopic
        | Code::UnknownPartition
        | Code::InvalidTopic
        | Code::PolicyViolation => error,
        _ => error.with_effect(Effect::Unknown),
    }
}

/// What an error code of librdkafka or of the broker means.
pub(crate) fn of_code(what: &str, code: Code) -> Error {
    let kind = match code {
        Code::MessageSizeTooLarge | Code::InvalidMessageSize | Code::MessageBatchTooLarge => {
            ErrorKind::TooLarge
        }
        Code::InvalidTimestamp | Code::InvalidMessage | Code::InvalidRecord => ErrorKind::Invalid,
        Code::QueueFull | Code::ThrottlingQuotaExceeded => ErrorKind::Exhausted,
        Code::UnknownTopicOrPartition | Code::UnknownTopic | Code::UnknownPartition => ErrorKind::NotFound,
        Code::MessageTimedOut | Code::OperationTimedOut | Code::RequestTimedOut | Code::TimedOutQueue => {
            ErrorKind::Timeout
        }
        Code::Authentication
        | Code::SaslAuthenticationFailed
        | Code::UnsupportedSASLMechanism
        | Code::IllegalSASLState => ErrorKind::Unauthenticated,
        Code::TopicAuthorizationFailed
        | Code::GroupAuthorizationFailed
        | Code::ClusterAuthorizationFailed
        | Code::SecurityDisabled => ErrorKind::Denied,
        Code::InvalidConfig
        | Code::InvalidTopic
        | Code::InvalidPartitions
        | Code::InvalidReplicationFactor
        | Code::PolicyViolation
        | Code::UnsupportedVersion
        | Code::UnsupportedFeature
        | Code::NotImplemented
        | Code::UnsupportedCompressionType
        | Code::UnsupportedForMessageFormat => ErrorKind::Unsupported,
        Code::TopicAlreadyExists => ErrorKind::Exists,
        // Whatever else a broker says is of a moment: a leader that moves, a disk that is slow, a node that is away.
        _ => ErrorKind::Unavailable,
    };
    let error = Error::new(kind, format!("{what}: {}", text(code)));
    if kind.is_transient() { error.with_retry_after(RETRY) } else { error }
}

/// The code's own words, without librdkafka's prefix.
fn text(code: Code) -> String {
    let text = code.to_string();
    let words = text.split_once(" (").map_or(text.as_str(), |(_, words)| words.trim_end_matches(')'));
    words.trim_start_matches("Broker: ").trim_start_matches("Local: ").to_lowercase()
}

#[cfg(test)]
mod tests {
    use busgate_core::Retry;

    use super::*;

    #[test]
    fn what_may_be_written_may_be_there() {
        assert_eq!(undelivered(Code::MessageTimedOut).effect(), Effect::Unknown);
        assert_eq!(undelivered(Code::BrokerTransportFailure).retry(), Retry::MayDuplicate);
        assert_eq!(undelivered(Code::NotEnoughReplicasAfterAppend).effect(), Effect::Unknown);
    }

    #[test]
    fn what_was_refused_is_not_there() {
        let error = undelivered(Code::MessageSizeTooLarge);
        assert_eq!((error.kind(), error.effect()), (ErrorKind::TooLarge, Effect::None));
        assert_eq!(undelivered(Code::TopicAuthorizationFailed).retry(), Retry::Never);
    }

    #[test]
    fn every_error_has_its_kind() {
        let late = failed("x", KafkaError::AdminOp(Code::OperationTimedOut));
        assert_eq!((late.kind(), late.retry()), (ErrorKind::Timeout, Retry::Safe));
        assert_eq!(failed("x", KafkaError::Canceled).kind(), ErrorKind::Unavailable);
    }

    #[test]
    fn a_text_is_lowercase_and_short() {
        assert_eq!(of_code("x", Code::MessageTimedOut).message(), "x: message timed out");
        assert_eq!(of_code("x", Code::TopicAuthorizationFailed).message(), "x: topic authorization failed");
    }
}
