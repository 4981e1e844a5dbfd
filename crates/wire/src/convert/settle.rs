//! Settling.

use std::num::NonZeroU64;

use busgate_core::{AckKey, AckStatus, Error, Result, SettleAction, SettleAnswer, SettleRequest};

use super::{filled, time};
use crate::{proto::event::v1 as proto, settle::Fields};

/// Reads what is to be settled.
///
/// # Errors
/// `invalid` when an entry contradicts itself.
pub fn ack(request: proto::AckRequest) -> Result<Vec<SettleRequest>> {
    read_entries(request.entries)
}

/// Reads ack entries.
pub(super) fn read_entries(entries: Vec<proto::AckEntry>) -> Result<Vec<SettleRequest>> {
    entries.into_iter().map(read_entry).collect()
}

fn read_entry(entry: proto::AckEntry) -> Result<SettleRequest> {
    if entry.number != 0 {
        return Err(Error::invalid("a number says nothing outside of its stream: an ack_id is needed"));
    }
    let (ack_id, action) = read_parts(entry)?;
    Ok(SettleRequest { ack_id, action })
}

/// Reads ack entries of a stream, whose messages have numbers.
///
/// # Errors
/// `invalid` when an entry contradicts itself.
pub(super) fn read_keyed(entries: Vec<proto::AckEntry>) -> Result<Vec<(AckKey, SettleAction)>> {
    let read = |entry: proto::AckEntry| {
        let number = NonZeroU64::new(entry.number);
        let (ack_id, action) = read_parts(entry)?;
        match number {
            Some(_) if !ack_id.is_empty() => {
                Err(Error::invalid("an entry has an ack_id or a number, not both"))
            }
            Some(number) => Ok((AckKey::Number(number), action)),
            None => Ok((AckKey::Id(ack_id), action)),
        }
    };
    entries.into_iter().map(read).collect()
}

fn read_parts(entry: proto::AckEntry) -> Result<(String, SettleAction)> {
    let fields = Fields {
        error: entry.error,
        retry_after: time::read_duration("retry_after", entry.retry_after)?,
        terminate: entry.terminate,
        extend: time::read_duration("extend", entry.extend)?,
        release: match proto::Release::try_from(entry.release) {
            Ok(proto::Release::Unspecified) => None,
            Ok(proto::Release::Counted) => Some(true),
            Ok(proto::Release::Uncounted) => Some(false),
            Err(_) => return Err(Error::invalid(format!("release has no value {}", entry.release))),
        },
    };
    Ok((entry.ack_id, fields.action()?))
}

/// Writes what is to be settled.
#[must_use]
pub fn ack_request(entries: impl IntoIterator<Item = SettleRequest>) -> proto::AckRequest {
    proto::AckRequest { entries: entries.into_iter().map(write_entry).collect() }
}

fn write_entry(request: SettleRequest) -> proto::AckEntry {
    write_keyed((AckKey::Id(request.ack_id), request.action))
}

/// Writes one ack entry. A nack without a word says so itself: an empty error would be an ack.
pub(super) fn write_keyed((key, action): (AckKey, SettleAction)) -> proto::AckEntry {
    let entry = match key {
        AckKey::Id(ack_id) => proto::AckEntry { ack_id, ..proto::AckEntry::default() },
        AckKey::Number(number) => proto::AckEntry { number: number.get(), ..proto::AckEntry::default() },
    };
    match action {
        SettleAction::Ack => entry,
        SettleAction::Nack(nack) => {
            let error = nack.error.filter(|error| !error.is_empty() || nack.delay.is_some());
            let error = match nack.delay {
                None => error.unwrap_or_else(|| "nack".into()),
                Some(_) => error.unwrap_or_default(),
            };
            proto::AckEntry { error, retry_after: nack.delay.map(time::write_duration), ..entry }
        }
        SettleAction::Reject { reason } => proto::AckEntry { error: reason, terminate: true, ..entry },
        SettleAction::Extend(by) => proto::AckEntry { extend: Some(time::write_duration(by)), ..entry },
        SettleAction::Release { counted } => {
            let release = if counted { proto::Release::Counted } else { proto::Release::Uncounted };
            proto::AckEntry { release: release.into(), ..entry }
        }
    }
}

/// Writes what the entries became: `ack_ids` and `answers` in the order of the entries.
#[must_use]
pub fn acked(ack_ids: Vec<String>, answers: Vec<SettleAnswer>) -> proto::AckResponse {
    proto::AckResponse { results: write_results(ack_ids.into_iter().zip(answers)) }
}

/// Writes ack results.
pub(super) fn write_results(
    answers: impl IntoIterator<Item = (String, SettleAnswer)>,
) -> Vec<proto::AckResult> {
    let write = |(ack_id, answer): (String, SettleAnswer)| proto::AckResult {
        ack_id,
        status: write_status(answer.status).into(),
        message: answer.message.unwrap_or_default(),
    };
    answers.into_iter().map(write).collect()
}

/// Reads what the entries became, in their order.
///
/// # Errors
/// `internal` for a status that is not known.
pub fn read_acked(response: proto::AckResponse) -> Result<Vec<(String, SettleAnswer)>> {
    response.results.into_iter().map(read_result).collect()
}

/// Reads one ack result.
pub(super) fn read_result(result: proto::AckResult) -> Result<(String, SettleAnswer)> {
    let status = read_status(result.status)
        .ok_or_else(|| Error::internal(format!("an ack was answered with status {}", result.status)))?;
    Ok((result.ack_id, SettleAnswer { status, message: filled(result.message) }))
}

const fn write_status(status: AckStatus) -> proto::AckStatus {
    match status {
        AckStatus::Acked => proto::AckStatus::Acked,
        AckStatus::Nacked => proto::AckStatus::Nacked,
        AckStatus::Rejected => proto::AckStatus::Rejected,
        AckStatus::Extended => proto::AckStatus::Extended,
        AckStatus::Stale => proto::AckStatus::Stale,
        AckStatus::Unknown => proto::AckStatus::Unknown,
        AckStatus::NotOwner => proto::AckStatus::NotOwner,
        AckStatus::Invalid => proto::AckStatus::Invalid,
        AckStatus::Unavailable => proto::AckStatus::Unavailable,
        AckStatus::Released => proto::AckStatus::Released,
    }
}

fn read_status(number: i32) -> Option<AckStatus> {
    let known = proto::AckStatus::try_from(number).ok()?;
    AckStatus::ALL.into_iter().find(|status| write_status(*status) == known)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use busgate_core::Nack;

    use super::*;

    #[test]
    fn every_action_arrives() {
        let second = Duration::from_secs(1);
        for action in [
            SettleAction::Ack,
            SettleAction::Nack(Nack { delay: None, error: Some("no".into()) }),
            SettleAction::Nack(Nack { delay: Some(second), error: None }),
            SettleAction::Nack(Nack { delay: Some(Duration::ZERO), error: Some("no".into()) }),
            SettleAction::Reject { reason: "poison".into() },
            SettleAction::Extend(second),
            SettleAction::Release { counted: true },
            SettleAction::Release { counted: false },
        ] {
            let request = SettleRequest { ack_id: "a".into(), action };
            assert_eq!(ack(ack_request([request.clone()])).unwrap(), [request]);
        }
    }

    #[test]
    fn a_nack_without_a_word_never_becomes_an_ack() {
        let nack = SettleRequest { ack_id: "a".into(), action: SettleAction::Nack(Nack::default()) };
        let read = ack(ack_request([nack])).unwrap();
        assert!(matches!(read[0].action, SettleAction::Nack(Nack { delay: None, .. })));
    }

    #[test]
    fn a_number_stands_for_an_ack_id_on_its_stream_alone() {
        let entry = |ack_id: &str, number| proto::AckEntry {
            ack_id: ack_id.into(),
            number,
            ..proto::AckEntry::default()
        };
        let read = |entry| read_keyed(vec![entry]).map(|mut read| read.remove(0).0);
        assert_eq!(read(entry("", 7)).unwrap(), AckKey::Number(NonZeroU64::new(7).unwrap()));
        assert_eq!(read(entry("a", 0)).unwrap(), AckKey::Id("a".into()));
        assert!(read(entry("a", 7)).is_err(), "which of them?");
        assert!(ack(proto::AckRequest { entries: vec![entry("", 7)] }).is_err(), "of which stream?");
    }

    #[test]
    fn a_release_of_a_kind_that_is_not_known_is_refused() {
        let entry = proto::AckEntry { ack_id: "a".into(), release: 3, ..proto::AckEntry::default() };
        assert!(ack(proto::AckRequest { entries: vec![entry] }).is_err());
    }

    #[test]
    fn every_status_arrives_in_order() {
        let ids: Vec<_> = AckStatus::ALL.iter().map(|status| status.as_str().to_owned()).collect();
        let answers: Vec<_> = AckStatus::ALL.map(|status| SettleAnswer { status, message: None }).into();
        let read = read_acked(acked(ids.clone(), answers.clone())).unwrap();
        assert_eq!(read, ids.into_iter().zip(answers).collect::<Vec<_>>());
    }

    #[test]
    fn the_numbers_are_those_of_the_contract() {
        let numbers = AckStatus::ALL.map(|status| write_status(status) as i32);
        assert_eq!(numbers, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
    }
}
