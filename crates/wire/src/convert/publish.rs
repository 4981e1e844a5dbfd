//! Publishing: one message, a batch, a stream.

use std::sync::Arc;

use busgate_core::{Draft, Effect, Error, ErrorKind, EventName, MessageId, Receipt, Result};

use super::{filled, place, place_text, time};
use crate::{
    proto::event::v1::{
        Failure, PublishBatchRequest, PublishBatchResponse, PublishRequest, PublishResponse, PublishResult,
        PublishStreamRequest, PublishStreamResponse, publish_result::Outcome,
    },
    status,
};

/// Reads a message to publish.
///
/// # Errors
/// `invalid` for a bad name or id; `unsupported` for what a later version will know.
pub fn publish(request: PublishRequest) -> Result<(EventName, Draft)> {
    let event = EventName::new(&request.event)?;
    if request.deliver_at.is_some() {
        return Err(Error::unsupported("`deliver_at` is not supported"));
    }
    if request.ttl.is_some() {
        return Err(Error::unsupported("`ttl` is not supported"));
    }
    let draft = Draft {
        id: filled(request.id).map(MessageId::new).transpose()?,
        payload: request.payload,
        metadata: request.metadata,
        key: filled(request.key),
        content_type: filled(request.content_type),
        source: filled(request.source),
    };
    Ok((event, draft))
}

/// Writes a message to publish.
#[must_use]
pub fn publish_request(event: &EventName, draft: Draft) -> PublishRequest {
    PublishRequest {
        event: event.to_string(),
        id: draft.id.map(|id| id.to_string()).unwrap_or_default(),
        payload: draft.payload,
        metadata: draft.metadata,
        key: draft.key.unwrap_or_default(),
        content_type: draft.content_type.unwrap_or_default(),
        deliver_at: None,
        ttl: None,
        source: draft.source.unwrap_or_default(),
    }
}

/// Writes the answer to a publish.
#[must_use]
pub fn published(receipt: &Receipt) -> PublishResponse {
    PublishResponse {
        id: receipt.id.to_string(),
        cursor: place_text(receipt.cursor.as_ref()),
        duplicate: receipt.duplicate,
    }
}

/// Reads the answer to a publish.
///
/// # Errors
/// `invalid` when it is none.
pub fn read_published(response: &PublishResponse) -> Result<Receipt> {
    let cursor = place(&response.cursor)?;
    Ok(Receipt { id: MessageId::new(&response.id)?, cursor, duplicate: response.duplicate })
}

/// Reads a batch; what is wrong with one message is that message's own error.
#[must_use]
pub fn batch(request: PublishBatchRequest) -> Vec<Result<(EventName, Draft)>> {
    request.messages.into_iter().map(publish).collect()
}

/// Writes a batch.
#[must_use]
pub fn batch_request(drafts: impl IntoIterator<Item = (EventName, Draft)>) -> PublishBatchRequest {
    let messages = drafts.into_iter().map(|(event, draft)| publish_request(&event, draft)).collect();
    PublishBatchRequest { messages }
}

/// Writes the answer to a batch: one result a message, in their order.
#[must_use]
pub fn batch_answer(results: &[Result<Receipt>]) -> PublishBatchResponse {
    PublishBatchResponse { results: results.iter().map(result).collect() }
}

/// Reads the answer to a batch.
#[must_use]
pub fn read_batch_answer(response: PublishBatchResponse) -> Vec<Result<Receipt>> {
    response.results.into_iter().map(read_result).collect()
}

/// Reads a message of a publish stream: its sequence, and what it asks for.
pub fn stream_publish(request: PublishStreamRequest) -> (u64, Result<(EventName, Draft)>) {
    let message = request.message.ok_or_else(|| Error::invalid("message is missing"));
    (request.sequence, message.and_then(publish))
}

/// Writes a message of a publish stream.
#[must_use]
pub fn stream_request(sequence: u64, event: &EventName, draft: Draft) -> PublishStreamRequest {
    PublishStreamRequest { sequence, message: Some(publish_request(event, draft)) }
}

/// Writes the answer to the message of a publish stream that has this sequence.
#[must_use]
pub fn streamed(sequence: u64, receipt: &Result<Receipt>) -> PublishStreamResponse {
    PublishStreamResponse { sequence, result: Some(result(receipt)) }
}

/// Reads an answer of a publish stream: the sequence, and what became of that message.
pub fn read_streamed(response: PublishStreamResponse) -> (u64, Result<Receipt>) {
    (response.sequence, read_result(response.result.unwrap_or_default()))
}

fn result(result: &Result<Receipt>) -> PublishResult {
    let outcome = match result {
        Ok(receipt) => Outcome::Accepted(published(receipt)),
        Err(error) => Outcome::Failure(Failure {
            code: error.kind().as_str().into(),
            message: status::shown(error).into(),
            effect: error.effect().as_str().into(),
            retry_after: status::retry_hint(error).map(time::write_duration),
        }),
    };
    PublishResult { outcome: Some(outcome) }
}

fn read_result(result: PublishResult) -> Result<Receipt> {
    match result.outcome {
        Some(Outcome::Accepted(response)) => read_published(&response),
        Some(Outcome::Failure(failure)) => Err(read_failure(failure)),
        None => Err(Error::internal("a publish was answered without a result").with_effect(Effect::Unknown)),
    }
}

fn read_failure(failure: Failure) -> Error {
    let kind = ErrorKind::from_name(&failure.code).unwrap_or(ErrorKind::Internal);
    let effect = if failure.effect == "none" { Effect::None } else { Effect::Unknown };
    let error = Error::new(kind, Arc::<str>::from(failure.message)).with_effect(effect);
    match time::read_duration("retry_after", failure.retry_after) {
        Ok(Some(after)) => error.with_retry_after(after),
        _ => error,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use busgate_core::Cursor;

    use super::*;

    fn draft() -> Draft {
        Draft {
            id: Some(MessageId::new("m").unwrap()),
            payload: "x".into(),
            metadata: [("Content-Type".to_owned(), "a/b".to_owned())].into(),
            key: Some("k".into()),
            content_type: Some("c".into()),
            source: Some("shop".into()),
        }
    }

    #[test]
    fn every_field_of_a_message_arrives() {
        let event = EventName::new("orders.created").unwrap();
        for draft in [draft(), Draft::default()] {
            assert_eq!(
                publish(publish_request(&event, draft.clone())).unwrap(),
                (event.clone(), draft.clone())
            );
            let (sequence, read) = stream_publish(stream_request(7, &event, draft.clone()));
            assert_eq!((sequence, read.unwrap()), (7, (event.clone(), draft)));
        }
    }

    #[test]
    fn every_answer_arrives() {
        let receipts = [
            Receipt {
                id: MessageId::new("m").unwrap(),
                cursor: Some(Cursor::new("c").unwrap()),
                duplicate: false,
            },
            Receipt {
                id: MessageId::new("m").unwrap(),
                cursor: Some(Cursor::new("c").unwrap()),
                duplicate: true,
            },
            Receipt { id: MessageId::new("m").unwrap(), cursor: None, duplicate: true },
        ];
        for receipt in receipts {
            assert_eq!(read_published(&published(&receipt)).unwrap(), receipt);
        }
    }

    #[test]
    fn a_failure_keeps_kind_effect_and_hint() {
        for kind in ErrorKind::ALL {
            let error = Error::new(kind, "why").with_effect(Effect::Unknown);
            let error = error.with_retry_after(Duration::from_millis(250));
            let (sequence, back) = read_streamed(streamed(3, &Err(error)));
            let back = back.unwrap_err();
            assert_eq!((sequence, back.kind(), back.effect()), (3, kind, Effect::Unknown));
            assert_eq!(back.retry_after(), Some(Duration::from_millis(250)));
        }
    }

    #[test]
    fn what_a_later_version_will_know_is_refused_as_such() {
        let event = EventName::new("a").unwrap();
        let plain = || publish_request(&event, Draft::default());
        let later = PublishRequest { deliver_at: Some(prost_types::Timestamp::default()), ..plain() };
        assert_eq!(publish(later).unwrap_err().kind(), ErrorKind::Unsupported);
        let later = PublishRequest { ttl: Some(prost_types::Duration::default()), ..plain() };
        assert_eq!(publish(later).unwrap_err().kind(), ErrorKind::Unsupported);
    }

    #[test]
    fn a_bad_message_fails_alone() {
        let event = EventName::new("a").unwrap();
        let mut request = batch_request([(event.clone(), Draft::default()), (event, Draft::default())]);
        request.messages[0].event = "a b".into();
        let read: Vec<_> = batch(request).iter().map(Result::is_ok).collect();
        assert_eq!(read, [false, true]);
    }
}
