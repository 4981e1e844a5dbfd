//! History: what an event holds, page by page and message by message.

use std::sync::Arc;

use busgate_core::{
    Cursor, Envelope, EventName, History, HistoryRequest, MAX_PAGE, Message, Outbound, Page, ReadRequest,
    Result, Start,
};

use super::{
    message::{message, read_gap, read_message, write_gap},
    start::{read_start, write_start},
};
use crate::proto::event::v1 as proto;

/// How many messages a page has unless the client says.
const DEFAULT_LIMIT: u32 = 100;

/// Reads a request for a page. A limit over the gateway's own asks for as many as there can be.
///
/// # Errors
/// `invalid` for a bad name or start.
pub fn history(request: &proto::ReadMessagesRequest) -> Result<(EventName, HistoryRequest)> {
    let event = EventName::new(&request.event)?;
    let start = read_start(request.start_from, request.start_time, &request.start_after)?;
    let page = HistoryRequest {
        start: start.unwrap_or(Start::Beginning),
        limit: size(request.limit.unwrap_or(DEFAULT_LIMIT).into()).min(MAX_PAGE),
        max_bytes: request.max_bytes.map(size),
    };
    Ok((event, page))
}

/// Writes a request for a page.
#[must_use]
pub fn history_request(event: &EventName, request: &ReadRequest) -> proto::ReadMessagesRequest {
    let start = write_start(&request.start);
    proto::ReadMessagesRequest {
        event: event.to_string(),
        start_from: start.position.into(),
        start_time: start.time,
        start_after: start.after,
        limit: Some(u32::try_from(request.limit).unwrap_or(u32::MAX)),
        max_bytes: Some(request.max_bytes as u64),
    }
}

/// Writes a page.
#[must_use]
pub fn history_answer(page: &History) -> proto::ReadMessagesResponse {
    proto::ReadMessagesResponse {
        messages: page.messages.iter().map(held).collect(),
        gap: page.gap.as_ref().map(write_gap),
        next_cursor: page.next.to_string(),
        end: page.end,
    }
}

/// Reads a page.
///
/// # Errors
/// `invalid` for a malformed message or cursor.
pub fn read_history(response: proto::ReadMessagesResponse) -> Result<Page> {
    let read = |written| read_message(written).map(|read| (read.cursor, Arc::new(read.message)));
    Ok(Page {
        gap: response.gap.as_ref().map(read_gap).transpose()?,
        messages: response.messages.into_iter().map(read).collect::<Result<_>>()?,
        next: Cursor::new(response.next_cursor)?,
        end: response.end,
    })
}

/// Reads a request for one message.
///
/// # Errors
/// `invalid` for a bad name or cursor.
pub fn lookup(request: &proto::GetMessageRequest) -> Result<(EventName, Cursor)> {
    Ok((EventName::new(&request.event)?, Cursor::new(&request.cursor)?))
}

/// Writes a request for one message.
#[must_use]
pub fn lookup_request(event: &EventName, place: &Cursor) -> proto::GetMessageRequest {
    proto::GetMessageRequest { event: event.to_string(), cursor: place.to_string() }
}

/// Writes the message that was found, if one was.
#[must_use]
pub fn lookup_answer(found: Option<&Arc<Envelope>>) -> proto::GetMessageResponse {
    proto::GetMessageResponse { message: found.map(held) }
}

/// Reads the message that was found, if one was.
///
/// # Errors
/// `invalid` for a malformed message.
pub fn read_lookup(response: proto::GetMessageResponse) -> Result<Option<Arc<Message>>> {
    response.message.map(|found| read_message(found).map(|read| Arc::new(read.message))).transpose()
}

/// A message that nobody has to settle.
fn held(envelope: &Arc<Envelope>) -> proto::Message {
    message(Outbound { envelope: Arc::clone(envelope), attempt: 1, ack_id: None, number: None }, None)
}

fn size(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use busgate_core::{Gap, MessageId, Timestamp};
    use prost::Message as _;

    use super::*;

    fn event() -> EventName {
        EventName::new("orders").unwrap()
    }

    fn cursor(text: &str) -> Cursor {
        Cursor::new(text).unwrap()
    }

    #[test]
    fn every_part_of_a_request_arrives() {
        let at = Start::At(Timestamp::from_nanos(1_500_000_001));
        for start in [Start::Beginning, Start::Latest, at, Start::After(cursor("c1"))] {
            let asked = ReadRequest { start: start.clone(), limit: 7, max_bytes: 9 };
            let read = history(&history_request(&event(), &asked)).unwrap();
            assert_eq!(read, (event(), HistoryRequest { start, limit: 7, max_bytes: Some(9) }));
        }
    }

    #[test]
    fn a_page_is_a_hundred_from_the_beginning_unless_asked() {
        let bare = proto::ReadMessagesRequest { event: "orders".into(), ..Default::default() };
        let page = HistoryRequest { start: Start::Beginning, limit: 100, max_bytes: None };
        assert_eq!(history(&bare).unwrap(), (event(), page));
    }

    #[test]
    fn a_limit_of_nothing_stays_one_and_a_huge_one_is_the_most_there_is() {
        let limit = |limit| {
            let asked = ReadRequest { start: Start::Beginning, limit, max_bytes: 1 };
            history(&history_request(&event(), &asked)).unwrap().1.limit
        };
        assert_eq!((limit(0), limit(usize::MAX)), (0, MAX_PAGE));
    }

    #[test]
    fn every_part_of_a_page_arrives() {
        let mut sent = Message::new(MessageId::new("m").unwrap(), "x");
        sent.source = "shop".into();
        let envelope = Arc::new(Envelope::new(event(), Arc::new(sent.clone()), cursor("c1")));
        for gap in [None, Some(Gap { missed: Some(3), cursor: Some(cursor("c0")) })] {
            let page = History {
                gap: gap.clone(),
                messages: vec![Arc::clone(&envelope)],
                next: cursor("c1"),
                end: gap.is_none(),
            };
            let bytes = history_answer(&page).encode_to_vec();
            let read = read_history(proto::ReadMessagesResponse::decode(&bytes[..]).unwrap()).unwrap();
            assert_eq!(read.messages, [(cursor("c1"), Arc::new(sent.clone()))]);
            assert_eq!((read.gap, read.next, read.end), (gap.clone(), cursor("c1"), gap.is_none()));
        }
    }

    #[test]
    fn a_message_that_is_looked_up_arrives_or_its_absence_does() {
        let (place, sent) = (cursor("c1"), Arc::new(Message::new(MessageId::new("m").unwrap(), "x")));
        let asked = lookup(&lookup_request(&event(), &place)).unwrap();
        assert_eq!(asked, (event(), place.clone()));
        let envelope = Arc::new(Envelope::new(event(), Arc::clone(&sent), place));
        for (found, expected) in [(Some(&envelope), Some(sent)), (None, None)] {
            let bytes = lookup_answer(found).encode_to_vec();
            let read = read_lookup(proto::GetMessageResponse::decode(&bytes[..]).unwrap()).unwrap();
            assert_eq!(read, expected);
        }
    }

    #[test]
    fn a_place_that_is_no_cursor_is_refused() {
        for bad in ["", "a b"] {
            let request = proto::GetMessageRequest { event: "orders".into(), cursor: bad.into() };
            assert!(lookup(&request).is_err(), "{bad:?}");
        }
    }
}
