//! Acks in JSON.

use busgate_core::{Result, SettleAnswer, SettleRequest};
use serde::{Deserialize, Serialize};

use super::{Bounded, Object, read};
use crate::{settle::Fields, time};

/// Deliveries to settle.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AckBody {
    /// What to do with each.
    #[cfg_attr(feature = "openapi", schema(value_type = Vec<AckEntry>))]
    pub entries: Bounded<Object<AckEntry>>,
}

/// What to do with one delivery: an ack, unless it says otherwise.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AckEntry {
    /// The ack id of the message.
    #[serde(alias = "ackId")]
    pub ack_id: String,
    /// Not empty: a nack, with what went wrong.
    #[serde(default)]
    pub error: Option<String>,
    /// A nack that comes back after this long (`1.5s`); without it, by the backoff schedule.
    #[serde(default, alias = "retryAfter")]
    pub retry_after: Option<String>,
    /// To the dead letters, with `error` as the reason.
    #[serde(default)]
    pub terminate: Option<bool>,
    /// The lease runs for this long (`30s`) from now, and nothing is settled yet.
    #[serde(default)]
    pub extend: Option<String>,
}

impl AckEntry {
    fn into_request(self) -> Result<SettleRequest> {
        let duration =
            |key, text: Option<String>| text.map(|text| time::parse_duration(key, &text)).transpose();
        let fields = Fields {
            error: self.error.unwrap_or_default(),
            retry_after: duration("retry_after", self.retry_after)?,
            terminate: self.terminate.unwrap_or_default(),
            extend: duration("extend", self.extend)?,
            release: None,
        };
        Ok(SettleRequest { ack_id: self.ack_id, action: fields.action()? })
    }
}

/// Reads `{"entries":[…]}`.
///
/// # Errors
/// `invalid` when it is malformed.
pub fn read_ack(body: &[u8]) -> Result<Vec<SettleRequest>> {
    let body: AckBody = read("body", body)?;
    body.entries.into_entries()?.into_iter().map(|Object(entry)| entry.into_request()).collect()
}

/// What became of the entries, in their order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AckAnswer {
    /// What became of each.
    pub results: Vec<AckOutcome>,
}

/// What became of one entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AckOutcome {
    /// The ack id of the entry.
    pub ack_id: String,
    /// `acked`, `nacked`, `rejected`, `extended`, `stale`, `unknown`, `not_owner`, `invalid`, `unavailable`
    /// or `released`.
    pub status: String,
    /// More, for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// The answer to acks: `ack_ids` and `answers` in the order of the entries.
#[must_use]
pub fn ack_answer<'a>(ack_ids: impl IntoIterator<Item = &'a str>, answers: &[SettleAnswer]) -> AckAnswer {
    let outcome = |(ack_id, answer): (&str, &SettleAnswer)| AckOutcome {
        ack_id: ack_id.into(),
        status: answer.status.as_str().into(),
        message: answer.message.clone(),
    };
    AckAnswer { results: ack_ids.into_iter().zip(answers).map(outcome).collect() }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use busgate_core::{AckStatus, Nack, SettleAction};
    use proptest::prelude::*;

    use super::*;
    use crate::json::to_bytes;

    #[test]
    fn snake_and_camel_are_alike() {
        for body in [
            r#"{"entries":[{"ack_id":"a","retry_after":"1.5s"}]}"#,
            r#"{"entries":[{"ackId":"a","retryAfter":"1.5s"}]}"#,
        ] {
            let delay = Some(Duration::from_millis(1500));
            let action = SettleAction::Nack(Nack { delay, error: None });
            assert_eq!(read_ack(body.as_bytes()).unwrap(), [SettleRequest { ack_id: "a".into(), action }]);
        }
    }

    #[test]
    fn the_seeds_own_example_is_an_ack() {
        let read = read_ack(br#"{"entries":[{"ack_id":"ack-123"}]}"#).unwrap();
        assert_eq!(read, [SettleRequest { ack_id: "ack-123".into(), action: SettleAction::Ack }]);
    }

    #[test]
    fn malformed_entries_are_refused() {
        for bad in [
            "{}",
            r#"{"entries":[{}]}"#,
            r#"{"entries":[["a"]]}"#,
            r#"[[{"ack_id":"a"}]]"#,
            r#"{"entries":[{"ack_id":1}]}"#,
            r#"{"entries":[{"ack_id":"a","nack":true}]}"#,
            r#"{"entries":[{"ack_id":"a","extend":"soon"}]}"#,
            r#"{"entries":[{"ack_id":"a","extend":"1s","terminate":true}]}"#,
        ] {
            assert!(read_ack(bad.as_bytes()).is_err(), "{bad}");
        }
    }

    #[test]
    fn outcomes_are_named_in_lower_case() {
        let answers = [
            SettleAnswer { status: AckStatus::Acked, message: None },
            SettleAnswer { status: AckStatus::NotOwner, message: Some("not yours".into()) },
        ];
        let expected = concat!(
            r#"{"results":[{"ackId":"a","status":"acked"},"#,
            r#"{"ackId":"b","status":"not_owner","message":"not yours"}]}"#
        );
        assert_eq!(to_bytes(&ack_answer(["a", "b"], &answers)), expected);
    }

    proptest! {
        #[test]
        fn no_body_makes_it_panic(body: Vec<u8>) {
            let _ = read_ack(&body);
        }
    }
}
