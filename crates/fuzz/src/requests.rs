//! gRPC requests: decoded, read as the server does, written as the client does, read again.

use std::fmt::Debug;

use busgate_core::{HistoryRequest, MAX_PAGE_BYTES, ReadRequest, Result};
use busgate_wire::{convert, proto::event::v1 as proto};
use prost::Message;

use crate::{errors::refused, input::Input};

/// The first byte says which request the others are.
pub(crate) fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let kind = input.byte();
    let bytes = input.rest();
    match kind % 11 {
        0 => same(
            bytes,
            |read| convert::register(&read),
            |(event, config)| convert::register_request(&event, &config),
        ),
        1 => same(bytes, |read| convert::unregister(&read), |event| convert::unregister_request(&event)),
        2 => same(bytes, convert::publish, |(event, draft)| convert::publish_request(&event, draft)),
        3 => batch(bytes),
        4 => stream(bytes),
        5 => same(bytes, |read| convert::subscribe(&read), |request| convert::subscribe_request(&request)),
        6 => same(bytes, convert::ack, convert::ack_request),
        7 => same(bytes, convert::consume, convert::consume_frame),
        8 => same(bytes, |read| convert::detail(&read), |event| convert::detail_request(&event)),
        9 => history(bytes),
        _ => same(
            bytes,
            |read| convert::lookup(&read),
            |(event, place)| convert::lookup_request(&event, &place),
        ),
    }
}

/// What is accepted is the same after the client has written it and the server has read it again.
fn same<M, V>(bytes: &[u8], read: impl Fn(M) -> Result<V>, write: impl Fn(V) -> M)
where
    M: Message + Default + PartialEq,
    V: Clone + Debug + PartialEq,
{
    let Some(message) = decode::<M>(bytes) else { return };
    match read(message) {
        Err(error) => refused(&error),
        Ok(value) => {
            let again = decode(&write(value.clone()).encode_to_vec()).map(&read);
            assert!(matches!(&again, Some(Ok(again)) if *again == value), "{value:?} became {again:?}");
        }
    }
}

/// A message, if the bytes are one; then it is written and read again as it is.
pub(crate) fn decode<M: Message + Default + PartialEq>(bytes: &[u8]) -> Option<M> {
    let message = M::decode(bytes).ok()?;
    let again = M::decode(&*message.encode_to_vec());
    assert!(again.is_ok_and(|again| again == message));
    Some(message)
}

/// What is wrong with one message is that message's own error.
fn batch(bytes: &[u8]) {
    let Some(request) = decode::<proto::PublishBatchRequest>(bytes) else { return };
    let entries = convert::batch(request);
    entries.iter().filter_map(|entry| entry.as_ref().err()).for_each(refused);
    let accepted: Vec<_> = entries.into_iter().flatten().collect();
    let again = decode(&convert::batch_request(accepted.clone()).encode_to_vec()).map(convert::batch);
    let again: Option<Vec<_>> = again.map(|entries| entries.into_iter().flatten().collect());
    assert_eq!(again, Some(accepted));
}

fn stream(bytes: &[u8]) {
    let Some(request) = decode::<proto::PublishStreamRequest>(bytes) else { return };
    match convert::stream_publish(request) {
        (_, Err(error)) => refused(&error),
        (sequence, Ok((event, draft))) => {
            let written = convert::stream_request(sequence, &event, draft.clone()).encode_to_vec();
            let (again, read) = decode(&written).map(convert::stream_publish).unzip();
            assert_eq!(again, Some(sequence));
            assert!(matches!(&read, Some(Ok(read)) if *read == (event, draft)), "{read:?}");
        }
    }
}

/// A client always says how many bytes a page may have.
fn history(bytes: &[u8]) {
    let Some(request) = decode::<proto::ReadMessagesRequest>(bytes) else { return };
    match convert::history(&request) {
        Err(error) => refused(&error),
        Ok((event, page)) => {
            let max_bytes = page.max_bytes.unwrap_or(MAX_PAGE_BYTES);
            let page = HistoryRequest { max_bytes: Some(max_bytes), ..page };
            let asked = ReadRequest { start: page.start.clone(), limit: page.limit, max_bytes };
            let written = convert::history_request(&event, &asked).encode_to_vec();
            let again = decode(&written).map(|again| convert::history(&again));
            assert!(matches!(&again, Some(Ok(again)) if *again == (event, page)), "{again:?}");
        }
    }
}
