//! Query strings and `Last-Event-ID`: what a subscription or a page of history may be asked for in a URL.

use busgate_core::{AckMode, Pattern, Start, SubscribeRequest};
use busgate_wire::{
    convert,
    query::{HistoryQuery, SubscribeQuery, pairs},
};

use crate::{errors::refused, input::Input};

/// The first piece is the header, what follows the query.
pub(crate) fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let header = input.text();
    let query = String::from_utf8_lossy(input.rest());
    split(&query);
    subscription(&query, &header);
    match HistoryQuery::parse(&query).and_then(HistoryQuery::into_request) {
        Err(error) => refused(&error),
        Ok(request) => assert!((1..=1000).contains(&request.limit)),
    }
}

/// Decoding makes nothing longer, and what it decoded is found again when it is written with escapes alone.
fn split(query: &str) {
    match pairs(query) {
        Err(error) => refused(&error),
        Ok(read) => {
            let length: usize = read.iter().map(|(key, value)| key.len() + value.len()).sum();
            assert!(length <= query.len());
            if !query.contains('%') {
                let parts = query.split('&').filter(|pair| !pair.is_empty());
                let plain = parts.map(|pair| pair.split_once('=').unwrap_or((pair, "")));
                assert!(plain.eq(read.iter().map(|(key, value)| (&**key, &**value))), "{query}");
            }
            let escaped = |text: &str| text.bytes().map(|byte| format!("%{byte:02x}")).collect::<String>();
            let written: Vec<_> =
                read.iter().map(|(key, value)| format!("{}={}", escaped(key), escaped(value))).collect();
            assert!(pairs(&written.join("&")).is_ok_and(|again| again == read));
        }
    }
}

fn subscription(query: &str, header: &str) {
    let Ok(target) = Pattern::new("orders.*") else { return };
    let parsed = SubscribeQuery::parse(query).and_then(|mut options| {
        options.resume_after(header)?;
        let place = options.clone().take_last_event_id();
        Ok((options.into_request(target, AckMode::Auto)?, place))
    });
    match parsed {
        Err(error) => refused(&error),
        Ok((request, place)) => {
            if !header.is_empty() {
                assert_eq!(place.as_ref().map(ToString::to_string).as_deref(), Some(header));
            }
            if let Some(place) = place {
                assert_eq!(request.start, Start::After(place));
            }
            as_on_the_wire(&request);
        }
    }
}

/// The same subscription can be asked for on every door.
fn as_on_the_wire(request: &SubscribeRequest) {
    let counts = [request.max_in_flight, request.buffer, request.max_deliver.map(|count| count as usize)];
    assert!(counts.into_iter().flatten().all(|count| (1..=1_000_000).contains(&count)));
    let read = convert::subscribe(&convert::subscribe_request(request));
    assert!(read.as_ref().is_ok_and(|read| read == request), "{request:?} became {read:?}");
}
