//! Looking without taking: what the gateway can do, one event in detail, and what it holds.

use busgate_core::{ErrorKind, HARD_MAX_PAYLOAD_BYTES, MAX_PAGE, MAX_PAGE_BYTES};
use busgate_wire::{
    convert,
    proto::event::v1::{
        DescribeRequest, EventConfig, GetEventRequest, GetMessageRequest, ReadMessagesRequest,
        ReadMessagesResponse, RegisterEventRequest, StartPosition, UnregisterEventRequest,
    },
};
use tonic::Code;

use crate::gateway::{
    CLERK, Client, Gateway, KEYS, SHOP, by, draft, failure, next, publish, soon, subscribe, worker,
};

#[tokio::test]
async fn describe_tells_the_matrix() {
    let limits = format!("limits.max_payload_bytes = {HARD_MAX_PAYLOAD_BYTES}");
    let gateway = Gateway::configured(&limits).await;
    let mut client = gateway.client().await;
    let answer = client.describe(DescribeRequest {}).await.unwrap().into_inner();
    let described = convert::read_described(answer).unwrap();
    assert_eq!(described.capabilities, gateway.gateway().capabilities());
    assert_eq!(described.version, env!("CARGO_PKG_VERSION"));
    assert_eq!(described.max_payload_bytes, HARD_MAX_PAYLOAD_BYTES);
    assert_eq!((described.max_page, described.max_page_bytes), (MAX_PAGE, MAX_PAGE_BYTES));
    assert_eq!(described.max_batch, gateway.gateway().config().limits.max_batch);
}

#[tokio::test]
async fn whoever_is_known_may_ask_what_the_gateway_can_do() {
    let gateway = Gateway::configured(KEYS).await;
    let mut client = gateway.client().await;
    client.describe(by(CLERK, DescribeRequest {})).await.expect("any key will do");
    let unknown = (Code::Unauthenticated, ErrorKind::Unauthenticated);
    assert_eq!(failure(client.describe(DescribeRequest {}).await), unknown);
}

#[tokio::test]
async fn one_event_is_told_with_its_settings_and_who_is_how_far() {
    let gateway = Gateway::start().await;
    let mut client = gateway.client().await;
    let config = EventConfig { retention_messages: Some(10), ..EventConfig::default() };
    let request = RegisterEventRequest { name: "orders".into(), config: Some(config) };
    client.register_event(request).await.unwrap();
    for n in 0..3 {
        publish(&mut client, "orders", &n.to_string()).await;
    }
    let mut stream = subscribe(&mut client, worker("orders")).await;
    next(&mut stream).await;
    let answer = client.get_event(GetEventRequest { name: "orders".into() }).await.unwrap().into_inner();
    let detail = convert::read_detail(&answer).unwrap();
    assert_eq!((detail.info.messages, detail.info.config.retention_messages), (Some(3), Some(10)));
    assert_eq!(detail.capabilities, gateway.gateway().capabilities());
    let [lag] = &detail.consumers[..] else { panic!("{:?}", detail.consumers) };
    assert_eq!((lag.holder.to_string().as_str(), lag.members), ("group workers", 1));
    let nobody = client.get_event(GetEventRequest { name: "nobody.knows".into() }).await;
    assert_eq!(failure(nobody), (Code::NotFound, ErrorKind::NotFound));
}

async fn page(client: &mut Client, request: ReadMessagesRequest) -> ReadMessagesResponse {
    soon(client.read_messages(request)).await.expect("a page").into_inner()
}

fn of_orders() -> ReadMessagesRequest {
    ReadMessagesRequest { event: "orders".into(), ..ReadMessagesRequest::default() }
}

#[tokio::test]
async fn history_is_read_in_pages() {
    let gateway = Gateway::start().await;
    let mut client = gateway.with_messages(5).await;
    let (mut after, mut pages) = (String::new(), Vec::new());
    loop {
        let request = ReadMessagesRequest { start_after: after, limit: Some(2), ..of_orders() };
        let read = convert::read_history(page(&mut client, request).await).unwrap();
        pages.push(
            read.messages
                .iter()
                .map(|(_, message)| String::from_utf8_lossy(&message.payload).into_owned())
                .collect::<Vec<_>>()
                .join(" "),
        );
        after = read.next.to_string();
        if read.end {
            break;
        }
    }
    assert_eq!(pages, ["0 1", "2 3", "4"]);
}

#[tokio::test]
async fn the_end_is_a_place_before_anything_is_there() {
    let gateway = Gateway::start().await;
    let mut client = gateway.with_messages(1).await;
    let latest = ReadMessagesRequest { start_from: StartPosition::Latest.into(), ..of_orders() };
    let end = page(&mut client, latest).await;
    assert!(end.messages.is_empty() && end.end);
    publish(&mut client, "orders", "1").await;
    let request = ReadMessagesRequest { start_after: end.next_cursor, ..of_orders() };
    assert_eq!(page(&mut client, request).await.messages.len(), 1);
}

#[tokio::test]
async fn a_page_has_no_more_bytes_than_asked_and_never_more_than_the_gateways_own() {
    let gateway = Gateway::start().await;
    let mut client = gateway.with_event("orders").await;
    let large = "x".repeat(1000 * 1000);
    for _ in 0..10 {
        publish(&mut client, "orders", &large).await;
    }
    let count = async |max_bytes| {
        let request = ReadMessagesRequest { max_bytes, ..of_orders() };
        let mut client = client.clone().max_decoding_message_size(usize::MAX);
        page(&mut client, request).await.messages.len()
    };
    assert_eq!(count(Some(0)).await, 1, "one in any case");
    assert_eq!(count(Some(2_500_000)).await, 2);
    assert_eq!(count(Some(u64::MAX)).await, 8);
    assert_eq!(count(None).await, 8);
}

#[tokio::test]
async fn a_bad_page_is_told_by_the_table() {
    let gateway = Gateway::configured(KEYS).await;
    let mut client = gateway.client().await;
    gateway.register("orders").await;
    gateway.register("stock").await;
    client.publish(by(SHOP, draft("orders", "x"))).await.unwrap();
    let invalid = (Code::InvalidArgument, ErrorKind::Invalid);
    for (request, expected) in [
        (ReadMessagesRequest { limit: Some(0), ..of_orders() }, invalid),
        (ReadMessagesRequest { start_from: 9, ..of_orders() }, invalid),
        (ReadMessagesRequest { start_after: "not~ours".into(), ..of_orders() }, invalid),
        (ReadMessagesRequest { event: "orders.*".into(), ..of_orders() }, invalid),
        (
            ReadMessagesRequest { event: "stock".into(), ..of_orders() },
            (Code::PermissionDenied, ErrorKind::Denied),
        ),
    ] {
        let answer = client.read_messages(by(CLERK, request.clone())).await;
        assert_eq!(failure(answer), expected, "{request:?}");
    }
}

#[tokio::test]
async fn one_message_is_looked_up_by_its_own_cursor() {
    let gateway = Gateway::start().await;
    let mut client = gateway.with_messages(3).await;
    let held = convert::read_history(page(&mut client, of_orders()).await).unwrap();
    let lookup = |cursor: &str| GetMessageRequest { event: "orders".into(), cursor: cursor.into() };
    for (cursor, message) in &held.messages {
        let answer = soon(client.get_message(lookup(cursor.as_str()))).await.unwrap().into_inner();
        assert_eq!(convert::read_lookup(answer).unwrap().as_ref(), Some(message));
    }
    let nobodys = page(&mut client, ReadMessagesRequest { limit: Some(1), ..of_orders() }).await;
    client.unregister_event(UnregisterEventRequest { name: "orders".into() }).await.unwrap();
    gateway.register("orders").await;
    let answer = client.get_message(lookup(&nobodys.next_cursor)).await.unwrap().into_inner();
    assert_eq!(convert::read_lookup(answer).unwrap(), None, "a message of an earlier life");
}

#[tokio::test]
async fn a_bad_look_up_is_told_by_the_table() {
    let gateway = Gateway::configured(KEYS).await;
    let mut client = gateway.client().await;
    gateway.register("orders").await;
    gateway.register("stock").await;
    let place = client.publish(by(SHOP, draft("orders", "x"))).await.unwrap().into_inner().cursor;
    let invalid = (Code::InvalidArgument, ErrorKind::Invalid);
    for (event, cursor, expected) in [
        ("orders", "not~ours", invalid),
        ("orders", "", invalid),
        ("orders.*", &place, invalid),
        ("stock", &place, (Code::PermissionDenied, ErrorKind::Denied)),
    ] {
        let request = GetMessageRequest { event: event.into(), cursor: cursor.into() };
        assert_eq!(failure(client.get_message(by(CLERK, request)).await), expected, "{event} {cursor}");
    }
}
