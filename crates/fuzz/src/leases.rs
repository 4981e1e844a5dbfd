//! Leases of the stand-in for dead letters: what one node wrote around a transport's own, another one reads.

use std::{sync::Arc, time::Duration};

use busgate_core::{
    DeadLetters, ErrorKind, EventName, GroupName, Holder, Item, LeaseToken, MAX_ENTRY_BYTES, Nack,
    Settlement, Start, SubscribeOptions, SystemClock, Transport, Verb, fuzzing,
};
use busgate_transports_memory::{MemoryConfig, MemoryTransport};
use bytes::Bytes;
use futures_util::StreamExt;

use crate::{
    errors::told,
    input::Input,
    stage::{block_on, event, fill, needed},
};

/// The first byte says whether the others are an entry, or what is done to a genuine one.
pub(crate) fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    if input.byte().is_multiple_of(2) {
        reads_back(input.rest());
    } else {
        block_on(settled(input));
    }
}

/// What is read is written as it was, to the byte.
fn reads_back(entry: &[u8]) {
    let token = LeaseToken {
        event: event("orders"),
        holder: Holder::Group(GroupName::default()),
        entry: Bytes::copy_from_slice(entry),
        epoch: 1,
    };
    match fuzzing::rewrite_lease(&token) {
        Ok(written) => assert_eq!(written, token),
        Err(error) => assert_eq!(error.kind(), ErrorKind::Invalid, "{error:?}"),
    }
}

/// A changed lease settles something, or nothing, and never more than one message: the others stay as they are.
async fn settled(mut input: Input<'_>) {
    let transport = DeadLetters::over(MemoryTransport::new(MemoryConfig::default()), SystemClock::shared());
    let event = event("orders");
    needed(fill(&transport, &event, 3).await);
    let tokens = leased(&transport, &event).await;
    let verb = verb(&mut input);
    let Some(genuine) = tokens.first() else { unreachable!("nothing was delivered") };
    let changed = LeaseToken { entry: changed(&genuine.entry, input), ..genuine.clone() };
    let mut answers = transport.settle(vec![Settlement { token: changed, verb }]).await;
    assert_eq!(answers.len(), 1);
    if let Some(Err(error)) = answers.pop() {
        assert!(matches!(error.kind(), ErrorKind::Invalid | ErrorKind::Unsupported), "{error:?}");
        told(&error);
    }
    let [lag] = &*needed(transport.lag(&event).await) else { unreachable!("there is one group") };
    assert!(lag.in_flight + lag.delayed + lag.waiting.unwrap_or_default() >= 2, "{lag:?}");
}

async fn leased(transport: &Arc<impl Transport>, event: &EventName) -> Vec<LeaseToken> {
    let options = SubscribeOptions::pool(GroupName::default(), Start::Beginning);
    let mut work = needed(Arc::clone(transport).subscribe(event, options).await);
    let mut tokens = Vec::new();
    while tokens.len() < 3 {
        if let Some(Ok(Item::Delivery(delivery))) = work.next().await {
            tokens.extend(delivery.token().cloned());
        }
    }
    tokens
}

fn verb(input: &mut Input<'_>) -> Verb {
    let time = Duration::from_millis(input.number().into());
    match input.byte() % 5 {
        0 => Verb::Ack,
        1 => Verb::Nack(Nack { delay: Some(time), error: Some(input.text().into()) }),
        2 => Verb::Reject { reason: input.text().into() },
        3 => Verb::Release { counted: time.is_zero() },
        _ => Verb::Extend(time),
    }
}

/// An entry with some bits flipped, cut or with a tail, no longer than entries are.
fn changed(genuine: &Bytes, mut input: Input<'_>) -> Bytes {
    let mut bytes = genuine.to_vec();
    for _ in 0..input.byte() % 4 {
        let at = usize::from(input.byte()) % bytes.len();
        if let Some(byte) = bytes.get_mut(at) {
            *byte ^= input.byte();
        }
    }
    bytes.truncate(bytes.len() - usize::from(input.byte() % 8));
    bytes.extend_from_slice(input.rest());
    bytes.truncate(MAX_ENTRY_BYTES);
    bytes.into()
}
