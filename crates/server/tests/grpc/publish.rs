//! Publishing: one message, a batch, a stream.

use busgate_core::ErrorKind;
use busgate_wire::{
    convert,
    proto::event::v1::{
        ListEventsRequest, PublishBatchRequest, PublishRequest, PublishStreamRequest, UnregisterEventRequest,
        publish_result::Outcome,
    },
};
use tokio_stream::StreamExt;
use tonic::Request;

use crate::gateway::{
    Gateway, KEYS, SHOP, all_of, by, draft, next, payloads, publish, register, soon, subscribe,
};

#[tokio::test]
async fn events_are_listed_until_they_are_unregistered() {
    let gateway = Gateway::start().await;
    let mut client = gateway.with_event("b.two").await;
    register(&mut client, "a.one").await;
    let listed = client.list_events(ListEventsRequest {}).await.unwrap().into_inner();
    assert_eq!(listed.events, ["a.one", "b.two"]);
    assert_eq!(listed.infos.iter().map(|info| &info.name).collect::<Vec<_>>(), ["a.one", "b.two"]);
    client.unregister_event(UnregisterEventRequest { name: "a.one".into() }).await.unwrap();
    let listed = client.list_events(ListEventsRequest {}).await.unwrap().into_inner();
    assert_eq!(listed.events, ["b.two"]);
}

#[tokio::test]
async fn everything_a_publisher_sends_arrives() {
    let gateway = Gateway::start().await;
    let mut client = gateway.with_event("orders.created").await;
    let sent = PublishRequest {
        event: "orders.created".into(),
        id: "m-1".into(),
        payload: (0..=255u8).collect::<Vec<_>>().into(),
        metadata: [("Content-Type".to_owned(), "json".to_owned()), ("x".to_owned(), "ÿ".to_owned())].into(),
        key: "customer-7".into(),
        content_type: "application/x-bytes".into(),
        ..PublishRequest::default()
    };
    let receipt = client.publish(sent.clone()).await.unwrap().into_inner();
    assert_eq!((receipt.id.as_str(), receipt.duplicate), ("m-1", false));
    let got = next(&mut subscribe(&mut client, all_of("orders.created")).await).await;
    assert_eq!((got.id, got.payload, got.metadata), (sent.id, sent.payload, sent.metadata));
    assert_eq!((got.key, got.content_type), (sent.key, sent.content_type));
    assert_eq!((got.event, got.cursor, got.retry_count), (sent.event, receipt.cursor, 0));
    assert_eq!(got.source, "remote");
    assert!(got.timestamp.is_some());
}

#[tokio::test]
async fn the_source_is_what_the_publisher_says_else_who_it_is() {
    let gateway = Gateway::configured(KEYS).await;
    let mut client = gateway.client().await;
    let name = "orders.created";
    gateway.register(name).await;
    client.publish(by(SHOP, draft(name, "a"))).await.unwrap();
    let mut request = by(SHOP, draft(name, "b"));
    request.metadata_mut().insert("x-source", "billing".parse().unwrap());
    client.publish(request).await.unwrap();
    let mut stream = client.subscribe(by(SHOP, all_of(name))).await.unwrap().into_inner();
    assert_eq!([next(&mut stream).await.source, next(&mut stream).await.source], ["shop", "billing"]);
}

#[tokio::test]
async fn the_source_of_a_message_goes_before_that_of_the_call() {
    let gateway = Gateway::start().await;
    let mut client = gateway.with_event("orders").await;
    let own = || PublishRequest { source: "till".into(), ..draft("orders", "own") };
    let named = |message| {
        let mut request = Request::new(message);
        request.metadata_mut().insert("x-source", "billing".parse().unwrap());
        request
    };
    client.publish(named(own())).await.unwrap();
    let messages = vec![own(), draft("orders", "none")];
    let mut batch = Request::new(PublishBatchRequest { messages });
    batch.metadata_mut().insert("x-source", "billing".parse().unwrap());
    client.publish_batch(batch).await.unwrap();
    let mut stream = subscribe(&mut client, all_of("orders")).await;
    for expected in ["till", "till", "billing"] {
        assert_eq!(next(&mut stream).await.source, expected);
    }
}

#[tokio::test]
async fn a_batch_is_answered_entry_by_entry_and_in_order() {
    let gateway = Gateway::configured("limits.max_payload_bytes = 8").await;
    let mut client = gateway.with_event("a").await;
    register(&mut client, "b").await;
    let messages = vec![
        PublishRequest { id: "one".into(), ..draft("a", "1") },
        draft("not a name", "2"),
        PublishRequest { id: "one".into(), ..draft("b", "3") },
        draft("nobody.knows", "4"),
        draft("a", "nine bytes"),
        PublishRequest { id: "one".into(), ..draft("a", "5") },
        draft("a", "6"),
    ];
    let answer = soon(client.publish_batch(PublishBatchRequest { messages })).await.unwrap().into_inner();
    let told = answer.results.into_iter().map(|result| match result.outcome.unwrap() {
        Outcome::Accepted(accepted) if accepted.duplicate => "duplicate".to_owned(),
        Outcome::Accepted(_) => "accepted".to_owned(),
        Outcome::Failure(failure) => format!("{} {}", failure.code, failure.effect),
    });
    let expected =
        ["accepted", "invalid none", "accepted", "not_found none", "too_large none", "duplicate", "accepted"];
    assert_eq!(told.collect::<Vec<_>>(), expected);
    assert_eq!(payloads(&mut subscribe(&mut client, all_of("a")).await, 2).await, ["1", "6"]);
}

#[tokio::test]
async fn a_stream_of_messages_is_answered_by_sequence_and_kept_in_order() {
    let gateway = Gateway::start().await;
    let mut client = gateway.with_event("a").await;
    register(&mut client, "b").await;
    const COUNT: u64 = 3000;
    let event = |sequence: u64| if sequence.is_multiple_of(3) { "b" } else { "a" };
    let frames = (0..COUNT).map(move |sequence| PublishStreamRequest {
        sequence,
        message: (sequence != 7).then(|| draft(event(sequence), &sequence.to_string())),
    });
    let mut request = Request::new(tokio_stream::iter(frames));
    request.metadata_mut().insert("x-source", "pipeline".parse().unwrap());
    let answers = soon(client.publish_stream(request)).await.unwrap().into_inner();
    let answers: Vec<_> = soon(answers.map(|answer| convert::read_streamed(answer.unwrap())).collect()).await;
    let mut sequences: Vec<_> = answers.iter().map(|(sequence, _)| *sequence).collect();
    sequences.sort_unstable();
    assert_eq!(sequences, (0..COUNT).collect::<Vec<_>>());
    let failed: Vec<_> =
        answers.iter().filter(|(_, answer)| answer.is_err()).map(|(sequence, _)| *sequence).collect();
    assert_eq!(failed, [7]);
    for name in ["a", "b"] {
        let sent: Vec<_> =
            (0..COUNT).filter(|n| *n != 7 && event(*n) == name).map(|n| n.to_string()).collect();
        let mut stream = subscribe(&mut client, all_of(name)).await;
        assert_eq!(next(&mut stream).await.source, "pipeline");
        let acked = busgate_wire::proto::event::v1::AckMode::Auto.into();
        let request = busgate_wire::proto::event::v1::SubscribeRequest { ack_mode: acked, ..all_of(name) };
        assert_eq!(payloads(&mut subscribe(&mut client, request).await, sent.len()).await, sent);
    }
}

async fn streamed(client: &mut crate::gateway::Client, count: u64) -> Vec<Result<(), ErrorKind>> {
    let frames = (0..count).map(|sequence| PublishStreamRequest { sequence, message: Some(draft("a", "x")) });
    let answers = soon(client.publish_stream(tokio_stream::iter(frames))).await.unwrap().into_inner();
    let read = |answer: Result<_, _>| convert::read_streamed(answer.unwrap()).1;
    soon(answers.map(|answer| read(answer).map(|_| ()).map_err(|error| error.kind())).collect()).await
}

#[tokio::test]
async fn a_stream_over_the_rate_is_told_from_there_on() {
    let gateway = Gateway::configured("limits.publish_rate = 1\nlimits.publish_burst = 3").await;
    let mut client = gateway.with_event("a").await;
    let answers = streamed(&mut client, 6).await;
    assert_eq!(answers[..3], [Ok(()); 3]);
    assert_eq!(answers[3..], [Err(ErrorKind::Exhausted); 3]);
}

#[tokio::test]
async fn a_stream_may_be_longer_than_a_batch() {
    let gateway = Gateway::configured("limits.max_batch = 2").await;
    let mut client = gateway.with_event("a").await;
    assert_eq!(streamed(&mut client, 20).await, [Ok(()); 20]);
}

#[tokio::test]
async fn answers_of_a_stream_do_not_wait_for_its_end() {
    let gateway = Gateway::start().await;
    let mut client = gateway.with_event("a").await;
    let (frames, sent) = tokio::sync::mpsc::channel(4);
    let frame = |sequence| PublishStreamRequest { sequence, message: Some(draft("a", "x")) };
    frames.send(frame(1)).await.unwrap();
    let sent = tokio_stream::wrappers::ReceiverStream::new(sent);
    let mut answers = soon(client.publish_stream(sent)).await.unwrap().into_inner();
    assert_eq!(soon(answers.message()).await.unwrap().unwrap().sequence, 1);
    frames.send(frame(2)).await.unwrap();
    assert_eq!(soon(answers.message()).await.unwrap().unwrap().sequence, 2);
    drop(frames);
    assert!(soon(answers.message()).await.unwrap().is_none());
}

#[tokio::test]
async fn over_the_publish_rate_is_exhausted_with_a_hint() {
    let gateway = Gateway::configured("limits.publish_rate = 1\nlimits.publish_burst = 1").await;
    let mut client = gateway.with_event("a").await;
    publish(&mut client, "a", "1").await;
    let error = crate::gateway::error(client.publish(draft("a", "2")).await);
    assert_eq!(error.kind(), ErrorKind::Exhausted);
    assert!(error.retry_after().is_some_and(|after| !after.is_zero()));
}
