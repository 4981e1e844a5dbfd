//! Publishing and reading over REST.

use serde_json::json;

use crate::gate::Gate;

const MESSAGES: &str = "/v1/events/a/messages";

#[tokio::test]
async fn the_seeds_own_calls_work_as_written() {
    let gate = Gate::open().await;
    gate.call("POST", "/v1/events/order.created").send().await.expect(200);
    gate.get("/v1/events").await.expect(200);
    let body = r#"{"payload":"eyJpZCI6Im9yZGVyLTEifQ==","metadata":{"source":"api"}}"#;
    let answer = gate.post("/v1/events/order.created/messages", body).await.expect(200);
    assert_eq!(answer["duplicate"], false);
    let held = gate.get("/v1/events/order.created/messages").await.expect(200);
    assert_eq!(held["messages"][0]["payload"], "eyJpZCI6Im9yZGVyLTEifQ==");
    assert_eq!(held["messages"][0]["metadata"], json!({"source": "api"}));
    assert_eq!(held["messages"][0]["source"], "remote");
    let health = gate.get("/v1/health").await.expect(200);
    assert_eq!((&health["status"], &health["message"]), (&json!("HEALTH_STATUS_HEALTHY"), &json!("ok")));
}

#[tokio::test]
async fn a_payload_is_written_in_three_ways() {
    let gate = Gate::open().await;
    gate.register("a").await;
    for (body, payload, content_type) in [
        (r#"{"payload":"aGk="}"#, "aGk=", ""),
        (r#"{"json":{"n": 1}}"#, "eyJuIjogMX0=", "application/json"),
        (r#"{"text":"hi","content_type":"text/x"}"#, "aGk=", "text/x"),
        ("{}", "", ""),
    ] {
        let cursor = gate.post(MESSAGES, body).await.expect(200)["cursor"].as_str().unwrap().to_owned();
        let held =
            gate.get(MESSAGES).await.expect(200)["messages"].as_array().unwrap().last().unwrap().clone();
        assert_eq!((held["cursor"].as_str(), held["payload"].as_str()), (Some(&*cursor), Some(payload)));
        assert_eq!(held["contentType"], content_type);
    }
}

#[tokio::test]
async fn a_body_of_any_other_type_is_the_payload() {
    let gate = Gate::open().await;
    gate.register("a").await;
    let call = gate
        .call("POST", MESSAGES)
        .header("content-type", "application/x-protobuf; v=1")
        .header("x-message-id", "m-1")
        .header("x-message-key", "k")
        .header("x-meta-colour", "bl\u{fc}e")
        .header("x-source", "till")
        .header("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
        .body(&b"\x00\xff\x01"[..]);
    assert_eq!(call.send().await.expect(200)["id"], "m-1");
    let held = &gate.get(MESSAGES).await.expect(200)["messages"][0];
    assert_eq!((&held["payload"], &held["key"]), (&json!("AP8B"), &json!("k")));
    assert_eq!(held["contentType"], "application/x-protobuf; v=1");
    assert_eq!(held["metadata"]["colour"], "bl\u{fc}e");
    assert_eq!(held["metadata"]["traceparent"], "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
    assert_eq!(held["source"], "till");
}

#[tokio::test]
async fn headers_complete_a_description_but_never_contradict_it() {
    let gate = Gate::open().await;
    gate.register("a").await;
    let json = |body: &'static str| {
        gate.call("POST", MESSAGES).header("content-type", "application/json").body(body)
    };
    let call = json(r#"{"text":"x","metadata":{"b":"2"}}"#);
    let call = call.header("x-message-id", "m-1").header("x-message-key", "k").header("x-meta-a", "1");
    assert_eq!(call.send().await.expect(200)["id"], "m-1");
    let held = &gate.get(MESSAGES).await.expect(200)["messages"][0];
    assert_eq!((&held["key"], &held["metadata"]), (&json!("k"), &json!({"a": "1", "b": "2"})));
    json(r#"{"id":"m-2"}"#).header("x-message-id", "m-2").send().await.expect(200);
    for (body, header) in [
        (r#"{"id":"m-3"}"#, "x-message-id"),
        (r#"{"key":"k"}"#, "x-message-key"),
        (r#"{"metadata":{"a":"1"}}"#, "x-meta-a"),
    ] {
        json(body).header(header, "other").send().await.expect_problem(400, "invalid");
    }
    let batch = gate.call("POST", "/v1/events/a/messages:batch").header("content-type", "application/json");
    let batch = batch.header("x-message-id", "m-4").body(r#"{"messages":[{}]}"#);
    batch.send().await.expect_problem(400, "invalid");
}

#[tokio::test]
async fn a_compressed_body_is_refused() {
    let gate = Gate::open().await;
    gate.register("a").await;
    let call = gate.call("POST", MESSAGES).header("content-encoding", "gzip").body(&b"\x1f\x8b"[..]);
    call.send().await.expect_problem(501, "unsupported");
    let call = gate.call("POST", MESSAGES).header("content-encoding", "identity").body("x");
    call.send().await.expect(200);
}

#[tokio::test]
async fn an_id_is_accepted_once() {
    let gate = Gate::open().await;
    gate.register("a").await;
    let first = gate.post(MESSAGES, r#"{"id":"one"}"#).await.expect(200);
    let again = gate.post(MESSAGES, r#"{"id":"one"}"#).await.expect(200);
    assert_eq!((&first["id"], &first["duplicate"]), (&json!("one"), &json!(false)));
    assert_eq!((&again["id"], &again["duplicate"]), (&json!("one"), &json!(true)));
}

#[tokio::test]
async fn a_batch_answers_for_each_entry_in_order() {
    let gate = Gate::open().await;
    gate.register("a").await;
    let body = r#"{"messages":[{"text":"1"},{"payload":"!"},{"text":"3","id":"x"},{"text":"4","id":"x"}]}"#;
    let lines = "{\"text\":\"1\"}\n{\"payload\":\"!\"}\n\n{\"text\":\"3\",\"id\":\"y\"}\n{\"text\":\"4\",\"id\":\"y\"}\n";
    for (content_type, body) in [("application/json", body), ("application/x-ndjson", lines)] {
        let call = gate.call("POST", "/v1/events/a/messages:batch").header("content-type", content_type);
        let results = call.body(body).send().await.expect(200)["results"].clone();
        assert_eq!(results[0]["accepted"]["duplicate"], false);
        assert_eq!(results[1]["failure"]["code"], "invalid");
        assert_eq!(results[2]["accepted"]["duplicate"], false);
        assert_eq!(results[3]["accepted"]["duplicate"], true);
    }
    let held = gate.get(MESSAGES).await.expect(200);
    let payloads: Vec<_> =
        held["messages"].as_array().unwrap().iter().map(|held| held["payload"].clone()).collect();
    assert_eq!(payloads, ["MQ==", "Mw==", "MQ==", "Mw=="]);
    let call = gate.call("POST", "/v1/events/a/messages:batch").header("content-type", "text/csv");
    call.body("a,b").send().await.expect_problem(400, "invalid");
}

#[tokio::test]
async fn history_is_read_page_by_page() {
    let gate = Gate::open().await;
    gate.register("a").await;
    for text in ["1", "2", "3"] {
        gate.publish("a", text).await;
    }
    let page = gate.get(&format!("{MESSAGES}?limit=2")).await.expect(200);
    assert_eq!((page["messages"].as_array().unwrap().len(), &page["end"]), (2, &json!(false)));
    let next = page["next"].as_str().unwrap();
    let page = gate.get(&format!("{MESSAGES}?limit=2&after={next}")).await.expect(200);
    assert_eq!((&page["messages"][0]["payload"], &page["end"]), (&json!("Mw=="), &json!(true)));
    let latest = gate.get(&format!("{MESSAGES}?start_from=latest")).await.expect(200);
    assert_eq!(latest["messages"], json!([]));
    gate.get("/v1/events/b/messages").await.expect_problem(404, "not_found");
}

#[tokio::test]
async fn one_message_is_looked_up_by_its_cursor() {
    let gate = Gate::open().await;
    gate.register("a").await;
    gate.register("b").await;
    for text in ["1", "2"] {
        gate.publish("a", text).await;
    }
    let page = gate.get(MESSAGES).await.expect(200);
    for held in page["messages"].as_array().unwrap() {
        let path = format!("{MESSAGES}/{}", held["cursor"].as_str().unwrap());
        assert_eq!(gate.get(&path).await.expect(200), *held);
        gate.get(&format!("{path}?x=1")).await.expect_problem(400, "invalid");
    }
    let theirs = page["next"].as_str().unwrap();
    gate.get(&format!("/v1/events/b/messages/{theirs}")).await.expect_problem(400, "invalid");
    gate.get(&format!("/v1/events/c/messages/{theirs}")).await.expect_problem(404, "not_found");
    gate.call("DELETE", "/v1/events/a").send().await.expect(200);
    gate.register("a").await;
    gate.get(&format!("{MESSAGES}/{theirs}")).await.expect_problem(404, "not_found");
}

#[tokio::test]
async fn what_a_later_version_will_do_is_refused_and_not_described() {
    let gate = Gate::open().await;
    gate.register("a").await;
    for (path, body) in [
        (MESSAGES, r#"{"text":"x","deliver_at":"2030-01-01T00:00:00Z"}"#),
        (MESSAGES, r#"{"text":"x","ttl":"5s"}"#),
        ("/v1/events/a/pull", "{}"),
        ("/v1/events/a/request", "{}"),
        ("/v1/deadletters/a", "{}"),
        ("/v1/schedules", "{}"),
        ("/v1/tickets", "{}"),
        ("/v1/cloudevents", "{}"),
    ] {
        gate.post(path, body).await.expect_problem(501, "unsupported");
    }
    gate.get("/v1/events/a/stream?filter=x").await.expect_problem(501, "unsupported");
    let described = gate.get("/openapi.json").await.expect(200)["paths"].to_string();
    for later in ["pull", "deadletters", "schedules", "tickets", "cloudevents", "deliver_at", "filter"] {
        assert!(!described.contains(later), "{later}");
    }
}

#[tokio::test]
async fn an_unknown_event_is_not_published_to() {
    let gate = Gate::open().await;
    gate.post(MESSAGES, "{}").await.expect_problem(404, "not_found");
    let gate = Gate::with("[delivery]\nauto_register = true").await;
    gate.post(MESSAGES, "{}").await.expect(200);
}

#[tokio::test]
async fn everything_works_over_http2_as_well() {
    let gate = Gate::open().await;
    gate.call("POST", "/v1/events/a").over_http2().send().await.expect(200);
    let call = gate.call("POST", MESSAGES).over_http2().header("content-type", "text/plain").body("x");
    call.send().await.expect(200);
    let mut stream = gate.call("GET", "/v1/events/a/stream?start_from=beginning").over_http2().stream().await;
    assert_eq!(stream.next_of("message").await.data["payload"], "eA==");
}
