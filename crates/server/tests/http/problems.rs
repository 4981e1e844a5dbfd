//! Bad input: each answer is of the one error table, and the server stays up.

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::gate::Gate;

#[tokio::test]
async fn malformed_bodies_are_invalid() {
    let gate = Gate::open().await;
    gate.register("a").await;
    for body in [
        "",
        "[]",
        "{",
        "nonsense",
        r#"{"payload":"!!!"}"#,
        r#"{"payload":5}"#,
        r#"{"metadata":{"a":1}}"#,
        r#"{"metadata":[]}"#,
        r#"{"unknown":1}"#,
        r#"{"id":""#,
        r#"{"text":"a","json":1}"#,
        r#"{"id":1e400}"#,
        r#"{"text":"\ud800"}"#,
    ] {
        gate.post("/v1/events/a/messages", body).await.expect_problem(400, "invalid");
    }
    let not_utf8 = gate.call("POST", "/v1/events/a/messages").header("content-type", "application/json");
    not_utf8.body(&b"{\"text\":\"\xff\xfe\"}"[..]).send().await.expect_problem(400, "invalid");
    let deep = format!("{{\"json\":{}{}}}", "[".repeat(200_000), "]".repeat(200_000));
    assert!([200, 400].contains(&gate.post("/v1/events/a/messages", &deep).await.status));
    for body in ["", "[]", r#"{"entries":1}"#, r#"{"entries":[{"ack_id":5}]}"#, r#"{"entries":[{}]}"#] {
        gate.post("/v1/ack", body).await.expect_problem(400, "invalid");
    }
    for body in ["[]", r#"{"retention_messages":"x"}"#, r#"{"retention_messages":-1}"#, r#"{"colour":"red"}"#]
    {
        gate.post("/v1/events/b", body).await.expect_problem(400, "invalid");
    }
    gate.post("/v1/events/a/messages", "{}").await.expect(200);
}

#[tokio::test]
async fn malformed_headers_are_invalid() {
    let gate = Gate::open().await;
    gate.register("a").await;
    let raw = || gate.call("POST", "/v1/events/a/messages").header("content-type", "text/plain").body("x");
    raw().header("x-meta-a", b"\xff").send().await.expect_problem(400, "invalid");
    raw().header("x-meta-a", "1").header("x-meta-a", "2").send().await.expect_problem(400, "invalid");
    raw().header("x-meta-", "1").send().await.expect_problem(400, "invalid");
    raw().header("x-message-id", "").send().await.expect(200);
    raw().header("x-message-id", "a".repeat(513)).send().await.expect_problem(400, "invalid");
}

#[tokio::test]
async fn unknown_options_are_named_with_what_is_allowed() {
    let gate = Gate::open().await;
    gate.register("a").await;
    for path in [
        "/v1/events?x=1",
        "/v1/events/a/messages?limit=0",
        "/v1/events/a/messages?limit=99999999999999999999",
        "/v1/events/a/messages?after=%00",
        "/v1/events/a/messages?order=desc",
        "/v1/events/a/stream?delivery_mode=fanout",
        "/v1/events/a/stream?mode=broadcast",
        "/v1/events/a/stream?start_from=%ff",
        "/v1/events/a/stream?max_in_flight=-1",
        "/v1/events/a.%3E.b/stream",
    ] {
        gate.get(path).await.expect_problem(400, "invalid");
    }
    let detail = gate.get("/v1/events/a/stream?delivery_mode=fanout").await.json()["detail"].clone();
    assert_eq!(detail, "delivery_mode must be broadcast, worker_pool, is `fanout`");
}

#[tokio::test]
async fn unknown_paths_and_methods_are_problems_too() {
    let gate = Gate::open().await;
    for path in ["/", "/v1", "/v2/events", "/v1/events/a/b/c", "/v1/events/", "/%ff"] {
        gate.get(path).await.expect_problem(404, "not_found");
    }
    for (method, path, allow) in [
        ("PUT", "/v1/events", "GET,HEAD"),
        ("PATCH", "/v1/events/a", "POST"),
        ("GET", "/v1/ack", "POST"),
        ("DELETE", "/v1/events/a/messages", "POST"),
    ] {
        let answer = gate.call(method, path).send().await;
        answer.expect_problem(405, "unsupported");
        assert!(answer.header("allow").contains(allow), "{method} {path}: {}", answer.header("allow"));
    }
}

#[tokio::test]
async fn what_is_no_http_closes_its_connection_only() {
    let gate = Gate::open().await;
    for nonsense in [
        &b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[..],
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET /\x00 HTTP/1.1\r\nhost: x\r\n\r\n",
        b"POST /v1/ack HTTP/1.1\r\nhost: x\r\ncontent-length: banana\r\n\r\n",
        b"POST /v1/ack HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\nZZ\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\xff\xff\xff\xff\xff\xff\xff\xff\xff",
    ] {
        let mut socket = TcpStream::connect(gate.address()).await.unwrap();
        socket.write_all(nonsense).await.unwrap();
        let mut answer = Vec::new();
        _ = tokio::time::timeout(crate::client::PATIENCE, socket.read_to_end(&mut answer))
            .await
            .expect("it ends");
        let text = String::from_utf8_lossy(&answer);
        assert!(!text.starts_with("HTTP/1.1 2"), "{text}");
    }
    gate.get("/healthz").await;
    assert_eq!(gate.get("/healthz").await.status, 200);
}

#[tokio::test]
async fn a_panic_ends_its_request_and_shows_nothing() {
    async fn boom() -> &'static str {
        panic!("the password is hunter2")
    }
    let gate = Gate::with_routes(axum::Router::new().route("/boom", axum::routing::get(boom))).await;
    let problem = gate.get("/boom").await.expect_problem(500, "internal");
    assert_eq!(problem["detail"], "internal error");
    assert_eq!(gate.get("/healthz").await.status, 200);
}
