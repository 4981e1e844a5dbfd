//! Server-sent events.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::gate::Gate;

const STREAM: &str = "/v1/events/a/stream";

#[tokio::test]
async fn a_stream_says_what_it_is_and_begins_at_once() {
    let gate = Gate::open().await;
    gate.register("a").await;
    let stream = gate.call("GET", STREAM).stream().await;
    for (name, value) in
        [("content-type", "text/event-stream"), ("x-accel-buffering", "no"), ("cache-control", "no-store")]
    {
        assert_eq!(stream.headers[name], value);
    }
}

#[tokio::test]
async fn messages_carry_their_cursor_and_come_as_they_are_published() {
    let gate = Gate::open().await;
    gate.register("a").await;
    let mut stream = gate.call("GET", STREAM).stream().await;
    let cursor = gate.publish("a", "live").await;
    let event = stream.next_of("message").await;
    assert_eq!(event.id.as_deref(), Some(&*cursor));
    assert_eq!((&event.data["payload"], &event.data["cursor"]), (&"bGl2ZQ==".into(), &cursor.into()));
    assert!(event.data.get("ack_id").is_none(), "acked automatically");
}

#[tokio::test]
async fn a_stream_goes_on_after_the_last_event_it_saw() {
    let gate = Gate::open().await;
    gate.register("a").await;
    let first = gate.publish("a", "1").await;
    gate.publish("a", "2").await;
    for (path, header) in [
        (STREAM.to_owned(), Some(first.as_str())),
        (format!("{STREAM}?last_event_id={first}"), None),
        (format!("{STREAM}?start_after={first}&start_from=beginning"), None),
        // The header is newer than the query it comes with.
        (format!("{STREAM}?last_event_id=nonsense"), Some(first.as_str())),
    ] {
        let mut call = gate.call("GET", &path);
        if let Some(header) = header {
            call = call.header("last-event-id", header);
        }
        let mut stream = call.stream().await;
        assert_eq!(stream.next_of("message").await.data["payload"], "Mg==", "{path}");
    }
}

#[tokio::test]
async fn a_cursor_that_retention_passed_by_is_a_gap() {
    let gate = Gate::open().await;
    gate.post("/v1/events/a", r#"{"retention_messages":2}"#).await.expect(200);
    let first = gate.publish("a", "1").await;
    for text in ["2", "3", "4", "5"] {
        gate.publish("a", text).await;
    }
    let mut stream = gate.call("GET", STREAM).header("last-event-id", first).stream().await;
    let gap = stream.next().await.unwrap();
    assert_eq!((gap.kind.as_str(), &gap.data["missed"]), ("gap", &2.into()));
    assert_eq!(stream.next_of("message").await.data["payload"], "NA==");
}

#[tokio::test]
async fn a_browser_that_comes_back_to_a_pattern_is_told_of_a_gap() {
    let gate = Gate::open().await;
    gate.register("a").await;
    let first = gate.publish("a", "1").await;
    let path = "/v1/events/*/stream?start_from=beginning";
    let mut stream = gate.call("GET", path).header("last-event-id", first.as_str()).stream().await;
    assert_eq!(stream.next().await.unwrap().kind, "gap");
    gate.publish("a", "2").await;
    assert_eq!(stream.next_of("message").await.data["payload"], "Mg==", "live, not all over again");
    // A group has its own place, whatever the browser says.
    let path = "/v1/events/*/stream?delivery_mode=worker_pool&start_from=beginning";
    let mut stream = gate.call("GET", path).header("last-event-id", first).stream().await;
    assert_eq!(stream.next().await.unwrap().data["payload"], "MQ==");
    gate.get("/v1/events/*/stream?start_after=x").await.expect_problem(501, "unsupported");
}

#[tokio::test]
async fn a_foreign_cursor_is_refused_before_the_stream_begins() {
    let gate = Gate::open().await;
    gate.register("a").await;
    gate.call("GET", STREAM).header("last-event-id", "nonsense").send().await.expect_problem(400, "invalid");
    gate.get("/v1/events/nobody/stream").await.expect_problem(404, "not_found");
}

#[tokio::test]
async fn a_silent_stream_shows_signs_of_life() {
    let gate = Gate::with("heartbeat = \"1s\"").await;
    gate.register("a").await;
    let mut stream = gate.call("GET", STREAM).stream().await;
    let beat = tokio::time::timeout(Duration::from_secs(10), stream.next()).await.unwrap().unwrap();
    assert_eq!((beat.kind.as_str(), beat.id, beat.data), ("heartbeat", None, serde_json::json!({})));
}

#[tokio::test]
async fn one_stream_can_follow_a_pattern() {
    let gate = Gate::open().await;
    gate.register("orders.eu").await;
    gate.register("orders.us").await;
    let mut stream = gate.call("GET", "/v1/events/orders.*/stream?encoding=text").stream().await;
    for event in ["orders.eu", "orders.us"] {
        gate.publish(event, "x").await;
        let data = stream.next_of("message").await.data;
        assert_eq!((&data["event"], &data["payload"]), (&event.into(), &"x".into()));
    }
}

#[tokio::test]
async fn payloads_can_be_read_as_json() {
    let gate = Gate::open().await;
    gate.register("a").await;
    gate.publish("a", "{\"n\":\n1}").await;
    let mut stream = gate.call("GET", &format!("{STREAM}?encoding=json&start_from=beginning")).stream().await;
    assert_eq!(stream.next_of("message").await.data["data"]["n"], 1);
}

#[tokio::test]
async fn a_worker_pool_shares_and_goes_on_where_it_was() {
    let gate = Gate::open().await;
    gate.register("a").await;
    let path =
        format!("{STREAM}?delivery_mode=worker_pool&worker_group=g&start_from=beginning&encoding=text");
    for text in ["1", "2", "3"] {
        gate.publish("a", text).await;
        let mut stream = gate.call("GET", &path).stream().await;
        assert_eq!(stream.next_of("message").await.data["payload"], text);
        settled(&gate).await;
    }
}

/// Waits until the automatic ack that follows a hand-off is made.
async fn settled(gate: &Gate) {
    let settled = async {
        while gate.server.gateway().stats().in_flight > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(crate::client::PATIENCE, settled).await.expect("acks follow the hand-off");
}

/// Two of them in one chunk would be a copy of both, for each subscriber.
#[tokio::test]
async fn a_large_message_is_a_chunk_of_its_own() {
    let gate = Gate::open().await;
    gate.register("a").await;
    for _ in 0..3 {
        gate.publish("a", &"x".repeat(200_000)).await;
    }
    let mut socket = tokio::net::TcpStream::connect(gate.address()).await.unwrap();
    let head = format!("GET {STREAM}?start_from=beginning&encoding=text HTTP/1.1\r\nhost: localhost\r\n\r\n");
    socket.write_all(head.as_bytes()).await.unwrap();
    let mut read = Vec::new();
    let all = async {
        while read.len() < 600_000 {
            socket.read_buf(&mut read).await.unwrap();
        }
    };
    tokio::time::timeout(crate::client::PATIENCE, all).await.unwrap();
    let text = String::from_utf8(read).unwrap();
    let sizes = text.lines().filter_map(|line| usize::from_str_radix(line, 16).ok());
    assert!(sizes.max().unwrap() < 300_000);
}

#[tokio::test]
async fn a_drain_is_told_and_ends_the_stream() {
    let gate = Gate::open().await;
    gate.register("a").await;
    let mut stream = gate.call("GET", STREAM).stream().await;
    let address = gate.address();
    let told = async {
        let told = stream.next_of("draining").await;
        assert!(told.data["retry_after_ms"].as_u64().unwrap() > 0 && told.id.is_none());
        assert_eq!(stream.next().await, None);
    };
    let (ended, ()) = tokio::join!(gate.server.shutdown(), told);
    ended.unwrap();
    assert!(tokio::net::TcpStream::connect(address).await.is_err());
}
