//! What the errors of a group's consumer mean: which of them pass, and which end it.

use busgate_core::Error;
use rdkafka::{error::KafkaError, types::RDKafkaErrorCode as Code};

use crate::error;

/// Whether a commit that failed like this can be tried again by the same member.
pub(in crate::group) const fn may_pass(code: Code) -> bool {
    !matches!(
        code,
        Code::UnknownMemberId | Code::IllegalGeneration | Code::FencedMemberEpoch | Code::FencedInstanceId
    )
}

/// What an error means that a consumer can't get over.
#[derive(Debug)]
pub(in crate::group) enum Fatal {
    /// The broker does not lead groups.
    NotLed,
    /// Nothing can be done.
    Over(Error),
}

/// What an error of a consumer means, if it can't get over it.
pub(in crate::group) fn fatal(error: KafkaError) -> Option<Fatal> {
    let is_fatal = matches!(error, KafkaError::MessageConsumptionFatal(_));
    match error.rdkafka_error_code()? {
        Code::UnsupportedVersion | Code::UnsupportedFeature if is_fatal => return Some(Fatal::NotLed),
        Code::GroupAuthorizationFailed | Code::TopicAuthorizationFailed => {}
        _ if is_fatal => {}
        _ => return None,
    }
    Some(Fatal::Over(error::failed("the group can't be read", error)))
}
