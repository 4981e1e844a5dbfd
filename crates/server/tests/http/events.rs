//! Events over REST.

use serde_json::json;

use crate::gate::Gate;

#[tokio::test]
async fn an_event_is_registered_listed_described_and_forgotten() {
    let gate = Gate::open().await;
    assert_eq!(gate.post("/v1/events/order.created", "").await.expect(200), json!({}));
    let listed = gate.get("/v1/events").await.expect(200);
    assert_eq!(listed["events"], json!(["order.created"]));
    assert_eq!(listed["infos"][0]["name"], "order.created");
    let detail = gate.get("/v1/events/order.created").await.expect(200);
    assert_eq!(detail["name"], "order.created");
    assert_eq!(detail["capabilities"]["replay"], true);
    assert_eq!(detail["consumers"], json!([]));
    assert_eq!(gate.call("DELETE", "/v1/events/order.created").send().await.expect(200), json!({}));
    gate.get("/v1/events/order.created").await.expect_problem(404, "not_found");
    gate.call("DELETE", "/v1/events/order.created").send().await.expect_problem(404, "not_found");
}

#[tokio::test]
async fn registering_again_is_fine_with_the_same_configuration_only() {
    let gate = Gate::open().await;
    let config = r#"{"retention_messages": 10, "dedupWindow": "1s"}"#;
    gate.post("/v1/events/a", config).await.expect(200);
    gate.post("/v1/events/a", config).await.expect(200);
    gate.post("/v1/events/a", "").await.expect(200);
    gate.post("/v1/events/a", r#"{"retention_messages": 11}"#).await.expect_problem(409, "exists");
    let config = &gate.get("/v1/events/a").await.expect(200)["config"];
    assert_eq!((&config["retentionMessages"], &config["dedupWindow"]), (&json!("10"), &json!("1s")));
}

#[tokio::test]
async fn a_description_tells_how_far_consumers_are() {
    let gate = Gate::open().await;
    gate.register("a").await;
    let first = gate.publish("a", "1").await;
    let last = gate.publish("a", "2").await;
    let mut stream = gate
        .call("GET", "/v1/events/a/stream?delivery_mode=worker_pool&worker_group=g&ack=manual&max_in_flight=1&start_from=beginning")
        .stream()
        .await;
    stream.next_of("message").await;
    let detail = gate.get("/v1/events/a").await.expect(200);
    assert_eq!((&detail["oldestCursor"], &detail["newestCursor"]), (&json!(first), &json!(last)));
    assert_eq!(detail["messages"], "2");
    let consumer = &detail["consumers"][0];
    assert_eq!((&consumer["kind"], &consumer["name"]), (&json!("group"), &json!("g")));
    assert_eq!((&consumer["waiting"], &consumer["inFlight"]), (&json!("1"), &json!("1")));
}

#[tokio::test]
async fn names_are_checked() {
    let gate = Gate::open().await;
    for bad in ["a..b", ".a", "a.", "a%20b", "%C3%A9", "a*", "a%2Fb", &"n".repeat(201)] {
        gate.post(&format!("/v1/events/{bad}"), "").await.expect_problem(400, "invalid");
    }
    for own in ["_dlq.a", "_x"] {
        gate.post(&format!("/v1/events/{own}"), "").await.expect_problem(400, "invalid");
    }
    // A name that is written with escapes is the same name.
    gate.register("a").await;
    gate.get("/v1/events/%61").await.expect(200);
    let call = gate.call("POST", "/v1/events/%61/messages").header("content-type", "text/plain").body("x");
    call.send().await.expect(200);
}

#[tokio::test]
async fn unregistering_ends_subscriptions() {
    let gate = Gate::open().await;
    gate.register("a").await;
    let mut stream = gate.call("GET", "/v1/events/a/stream").stream().await;
    gate.call("DELETE", "/v1/events/a").send().await.expect(200);
    assert_eq!(stream.next_of("error").await.data["code"], "closed");
    assert_eq!(stream.next().await, None);
}
