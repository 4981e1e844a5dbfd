//! What the Go client of the event-server relies on, line by line.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use busgate_wire::proto::event::v1::{
    AckStatus, EventConfig, RegisterEventRequest, StartPosition, SubscribeRequest,
};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tonic::transport::Endpoint;

use crate::gateway::{
    Client, Gateway, ack_of, all_of, draft, next, payloads, publish, register, settle, soon, subscribe,
    worker,
};

#[tokio::test]
async fn its_publishes_pass_beside_300_subscriptions_on_one_connection() {
    let gateway = Gateway::start().await;
    let mut client = gateway.with_event("orders").await;
    let mut streams = Vec::new();
    for _ in 0..300 {
        let request = SubscribeRequest { start_from: StartPosition::Latest.into(), ..all_of("orders") };
        streams.push(subscribe(&mut client, request).await);
    }
    publish(&mut client, "orders", "to all").await;
    for stream in &mut streams {
        assert_eq!(payloads(stream, 1).await, ["to all"]);
    }
}

#[tokio::test]
async fn a_connection_has_room_for_10_000_streams_and_more() {
    const SETTINGS: u8 = 4;
    const MAX_CONCURRENT_STREAMS: u16 = 3;
    let gateway = Gateway::start().await;
    let mut socket = TcpStream::connect(gateway.address()).await.unwrap();
    socket.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.unwrap();
    let mut head = [0; 9];
    soon(socket.read_exact(&mut head)).await.unwrap();
    assert_eq!(head[3], SETTINGS);
    let mut settings = vec![0; usize::from(u16::from_be_bytes([head[1], head[2]]))];
    soon(socket.read_exact(&mut settings)).await.unwrap();
    let streams = settings.chunks_exact(6).find_map(|setting| {
        let id = u16::from_be_bytes([setting[0], setting[1]]);
        (id == MAX_CONCURRENT_STREAMS).then(|| u32::from_be_bytes(setting[2..6].try_into().unwrap()))
    });
    assert!(streams.is_none_or(|streams| streams >= 10_000), "{streams:?}");
}

#[tokio::test]
async fn its_pings_without_a_stream_do_not_get_it_sent_away() {
    let gateway = Gateway::start().await;
    let connections = Arc::new(AtomicUsize::new(0));
    let (address, counted) = (gateway.address(), Arc::clone(&connections));
    let connect = tower::service_fn(move |_: http::Uri| {
        counted.fetch_add(1, Ordering::Relaxed);
        async move { TcpStream::connect(address).await.map(TokioIo::new) }
    });
    // Far more often than each 30 s, so that the test takes no time: what matters is how many there are.
    let endpoint: Endpoint = gateway
        .endpoint()
        .http2_keep_alive_interval(Duration::from_millis(5))
        .keep_alive_timeout(Duration::from_secs(5))
        .keep_alive_while_idle(true);
    let mut client = Client::new(endpoint.connect_with_connector(connect).await.unwrap());
    register(&mut client, "orders").await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    publish(&mut client, "orders", "still here").await;
    assert_eq!(connections.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn registering_twice_is_fine() {
    let gateway = Gateway::start().await;
    let mut client = gateway.client().await;
    register(&mut client, "orders").await;
    register(&mut client, "orders").await;
}

#[tokio::test]
async fn start_from_beginning_is_all_that_is_held_and_then_the_rest() {
    let gateway = Gateway::start().await;
    let mut client = gateway.with_event("orders").await;
    publish(&mut client, "orders", "1").await;
    publish(&mut client, "orders", "2").await;
    let mut stream = subscribe(&mut client, all_of("orders")).await;
    assert_eq!(payloads(&mut stream, 2).await, ["1", "2"]);
    publish(&mut client, "orders", "3").await;
    assert_eq!(payloads(&mut stream, 1).await, ["3"]);
}

#[tokio::test]
async fn an_ack_of_one_entry_with_an_empty_error_is_an_ack() {
    let gateway = Gateway::start().await;
    let mut client = gateway.with_event("orders").await;
    publish(&mut client, "orders", "1").await;
    for request in [worker("orders"), all_of("orders")] {
        let mut stream = subscribe(&mut client, request).await;
        let message = next(&mut stream).await;
        assert_eq!(settle(&mut client, vec![ack_of(&message)]).await, [AckStatus::Acked]);
    }
}

#[tokio::test]
async fn metadata_is_kept_exactly() {
    let gateway = Gateway::start().await;
    let mut client = gateway.with_event("orders").await;
    let metadata =
        [("Content-Type", "application/json"), ("content-type", "other"), ("X-Ünï", ""), ("a b", "c\nd")];
    let mut request = draft("orders", "{}");
    request.metadata = metadata.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
    client.publish(request.clone()).await.unwrap();
    let message = next(&mut subscribe(&mut client, all_of("orders")).await).await;
    assert_eq!((message.metadata, message.content_type.as_str()), (request.metadata, ""));
}

#[tokio::test]
async fn an_id_twice_is_a_duplicate_unless_the_window_is_off() {
    let gateway = Gateway::start().await;
    let mut client = gateway.with_event("orders").await;
    let config =
        Some(EventConfig { dedup_window: Some(prost_types::Duration::default()), ..EventConfig::default() });
    client.register_event(RegisterEventRequest { name: "raw".into(), config }).await.unwrap();
    for (event, expected) in [("orders", [false, true]), ("raw", [false, false])] {
        let mut seen = Vec::new();
        for _ in 0..2 {
            let mut request = draft(event, "x");
            request.id = "same".into();
            let receipt = soon(client.publish(request)).await.unwrap().into_inner();
            assert_eq!(receipt.id, "same");
            seen.push(receipt.duplicate);
        }
        assert_eq!(seen, expected, "{event}");
    }
}

#[tokio::test]
async fn a_worker_that_sends_a_consumer_id_as_well_is_a_worker() {
    let gateway = Gateway::start().await;
    let mut client = gateway.with_event("orders").await;
    publish(&mut client, "orders", "1").await;
    let request = SubscribeRequest { consumer_id: "node-1".into(), ..worker("orders") };
    assert_eq!(payloads(&mut subscribe(&mut client, request).await, 1).await, ["1"]);
}
