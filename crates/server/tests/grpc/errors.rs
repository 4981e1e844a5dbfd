//! Failures: each with its code, its kind and its effect.

use std::time::Duration;

use busgate_core::{Effect, ErrorKind, Retry};
use busgate_wire::proto::event::v1::{
    EventConfig, ListEventsRequest, PublishRequest, RegisterEventRequest, UnregisterEventRequest,
};
use tonic::Code;

use crate::{
    bytes,
    gateway::{CLERK, Gateway, KEYS, SHOP, all_of, by, draft, error, failure, millis, soon},
};

const INVALID: (Code, ErrorKind) = (Code::InvalidArgument, ErrorKind::Invalid);

#[tokio::test]
async fn a_bad_publish_is_told_by_the_table() {
    let gateway = Gateway::configured("limits.max_payload_bytes = 8").await;
    let mut client = gateway.with_event("orders").await;
    let unsupported = (Code::Unimplemented, ErrorKind::Unsupported);
    let large = (Code::OutOfRange, ErrorKind::TooLarge);
    let at = Some(prost_types::Timestamp { seconds: 4_000_000_000, nanos: 0 });
    for (request, expected) in [
        (draft("not a name", "x"), INVALID),
        (draft("", "x"), INVALID),
        (draft("_dlq.orders", "x"), INVALID),
        (draft("orders.*", "x"), INVALID),
        (PublishRequest { id: "a\nb".into(), ..draft("orders", "x") }, INVALID),
        (PublishRequest { deliver_at: at, ..draft("orders", "x") }, unsupported),
        (PublishRequest { ttl: millis(1), ..draft("orders", "x") }, unsupported),
        (draft("orders", "nine bytes"), large),
        (PublishRequest { key: "k".repeat(2000), ..draft("orders", "x") }, large),
        (draft("nobody.knows", "x"), (Code::NotFound, ErrorKind::NotFound)),
    ] {
        assert_eq!(failure(client.publish(request.clone()).await), expected, "{request:?}");
    }
    let mut request = tonic::Request::new(draft("orders", "x"));
    request.metadata_mut().insert("x-source", "é".parse().unwrap());
    assert_eq!(failure(client.publish(request).await), INVALID);
}

#[tokio::test]
async fn a_bad_registration_is_told_by_the_table() {
    let gateway = Gateway::start().await;
    let mut client = gateway.with_event("orders").await;
    let config = Some(EventConfig { retention_messages: Some(7), ..EventConfig::default() });
    let other = RegisterEventRequest { name: "orders".into(), config };
    assert_eq!(failure(client.register_event(other).await), (Code::AlreadyExists, ErrorKind::Exists));
    let bad = RegisterEventRequest { name: "_own".into(), config: None };
    assert_eq!(failure(client.register_event(bad).await), INVALID);
    let unknown = UnregisterEventRequest { name: "nobody.knows".into() };
    assert_eq!(failure(client.unregister_event(unknown).await), (Code::NotFound, ErrorKind::NotFound));
}

#[tokio::test]
async fn who_is_not_known_or_may_not_is_refused() {
    let gateway = Gateway::configured(KEYS).await;
    let mut client = gateway.client().await;
    gateway.register("orders").await;
    gateway.register("stock").await;
    let unknown = (Code::Unauthenticated, ErrorKind::Unauthenticated);
    assert_eq!(failure(client.publish(draft("orders", "x")).await), unknown);
    assert_eq!(failure(client.publish(by("nobody-has-this-key", draft("orders", "x"))).await), unknown);
    assert_eq!(failure(client.subscribe(all_of("orders")).await), unknown);
    assert_eq!(failure(client.list_events(ListEventsRequest {}).await), unknown);
    let denied = (Code::PermissionDenied, ErrorKind::Denied);
    assert_eq!(failure(client.publish(by(CLERK, draft("orders", "x"))).await), denied);
    assert_eq!(failure(client.subscribe(by(CLERK, all_of(">"))).await), denied);
    let mut keyed = tonic::Request::new(draft("orders", "x"));
    keyed.metadata_mut().insert("x-api-key", SHOP.parse().unwrap());
    client.publish(keyed).await.expect("a key in either header");
    let listed = client.list_events(by(CLERK, ListEventsRequest {})).await.unwrap().into_inner();
    assert_eq!(listed.events, ["orders"], "only what it may see");
}

#[tokio::test]
async fn what_may_have_happened_says_so_and_when_to_try_again() {
    let gateway = Gateway::start().await;
    let mut client = gateway.with_event("orders").await;
    gateway.gateway().drain(Duration::ZERO).await;
    let refused = error(client.publish(draft("orders", "x")).await);
    assert_eq!((refused.kind(), refused.effect()), (ErrorKind::Unavailable, Effect::None));
    assert_eq!(refused.retry(), Retry::Safe);
    assert!(refused.retry_after().is_some_and(|after| after >= Duration::from_secs(1)));
}

#[tokio::test]
async fn malformed_messages_are_invalid() {
    let gateway = Gateway::start().await;
    let channel = gateway.endpoint().connect().await.unwrap();
    for method in ["Publish", "Ack", "Subscribe", "RegisterEvent", "PublishBatch"] {
        let path: &'static str = Box::leak(format!("/event.v1.EventService/{method}").into_boxed_str());
        let answer = soon(bytes::call(&channel, path, b"\x0a\xff\xff\xff\xff\x0f".as_slice().into())).await;
        assert_eq!(failure(answer), INVALID, "{method}");
    }
    let streamed =
        bytes::call(&channel, "/event.v1.EventService/PublishStream", b"\x0a\xff".as_slice().into());
    assert_eq!(failure(soon(streamed).await), INVALID);
    // Fields that are not known are no error: a newer client may send them.
    soon(bytes::call(&channel, "/event.v1.EventService/Health", b"\xc8\x3e\x01".as_slice().into()))
        .await
        .unwrap();
}

#[tokio::test]
async fn what_is_not_there_is_unsupported() {
    let gateway = Gateway::start().await;
    let channel = gateway.endpoint().connect().await.unwrap();
    for method in ["/event.v1.EventService/Nope", "/event.v2.EventService/Publish", "/"] {
        let answer = bytes::call(&channel, method, bytes::Bytes::new()).await;
        assert_eq!(failure(answer), (Code::Unimplemented, ErrorKind::Unsupported), "{method}");
    }
}

#[tokio::test]
async fn a_request_over_the_bound_is_too_large() {
    let gateway = Gateway::configured("limits.max_body_bytes = 65536").await;
    let mut client = gateway.with_event("orders").await;
    let large = draft("orders", &"x".repeat(70_000));
    assert_eq!(failure(client.publish(large).await), (Code::OutOfRange, ErrorKind::TooLarge));
    client.publish(draft("orders", &"x".repeat(60_000))).await.expect("within the bound");
}
