//! Settling over REST what went out as server-sent events.

use serde_json::json;

use crate::gate::{CLERK, Gate, KEYS, SHOP};

const MANUAL: &str =
    "/v1/events/a/stream?ack=manual&delivery_mode=worker_pool&start_from=beginning&max_in_flight=1";

#[tokio::test]
async fn every_verb_answers_with_what_became_of_the_delivery() {
    let gate = Gate::open().await;
    gate.register("a").await;
    for text in ["1", "2", "3"] {
        gate.publish("a", text).await;
    }
    let mut stream = gate.call("GET", MANUAL).stream().await;
    let first = ack_id(&stream.next_of("message").await.data);
    assert_eq!(settle(&gate, &first, r#","extend":"30s""#).await, "extended");
    assert_eq!(settle(&gate, &first, "").await, "acked");
    assert_eq!(settle(&gate, &first, "").await, "stale");
    let second = ack_id(&stream.next_of("message").await.data);
    assert_eq!(settle(&gate, &second, r#","error":"busy","retry_after":"600s""#).await, "nacked");
    let third = ack_id(&stream.next_of("message").await.data);
    assert_eq!(settle(&gate, &third, r#","terminate":true,"error":"poison""#).await, "rejected");
}

#[tokio::test]
async fn a_nacked_message_comes_back_with_its_count() {
    let gate = Gate::open().await;
    gate.register("a").await;
    gate.publish("a", "x").await;
    let mut stream = gate.call("GET", MANUAL).stream().await;
    let first = stream.next_of("message").await.data;
    assert_eq!(first["retry_count"], 0);
    assert_eq!(settle(&gate, &ack_id(&first), r#","retry_after":"0.01s""#).await, "nacked");
    let again = stream.next_of("message").await.data;
    assert_eq!((&again["id"], &again["retry_count"]), (&first["id"], &json!(1)));
}

#[tokio::test]
async fn each_entry_has_its_own_answer() {
    let gate = Gate::open().await;
    gate.register("a").await;
    gate.publish("a", "x").await;
    let mut stream = gate.call("GET", MANUAL).stream().await;
    let good = ack_id(&stream.next_of("message").await.data);
    let body = json!({"entries": [{"ackId": "forged"}, {"ack_id": good}]}).to_string();
    let results = gate.post("/v1/ack", &body).await.expect(200)["results"].clone();
    assert_eq!((&results[0]["ackId"], &results[0]["status"]), (&json!("forged"), &json!("invalid")));
    assert_eq!((&results[1]["ackId"], &results[1]["status"]), (&json!(good), &json!("acked")));
}

#[tokio::test]
async fn a_request_of_nothing_but_forgeries_fails_as_a_whole() {
    let gate = Gate::open().await;
    gate.post("/v1/ack", r#"{"entries":[{"ack_id":"ack-123"}]}"#).await.expect_problem(400, "invalid");
}

#[tokio::test]
async fn only_who_received_a_delivery_settles_it() {
    let gate = Gate::with(KEYS).await;
    let call = |method: &str, path: &str, who: &str| gate.call(method, path).header("authorization", who);
    call("POST", "/v1/events/orders.a", SHOP).send().await.expect(200);
    call("POST", "/v1/events/orders.a/messages", SHOP).body("x").send().await.expect(200);
    let path = "/v1/events/orders.a/stream?ack=manual&start_from=beginning&delivery_mode=worker_pool";
    let mut stream = call("GET", path, SHOP).stream().await;
    let ack_id = ack_id(&stream.next_of("message").await.data);
    let body = json!({"entries": [{"ack_id": ack_id}]}).to_string();
    let settle = |who: &'static str| {
        let call = call("POST", "/v1/ack", who).header("content-type", "application/json").body(body.clone());
        async move { call.send().await.expect(200)["results"][0]["status"].clone() }
    };
    assert_eq!(settle(CLERK).await, "not_owner");
    assert_eq!(settle(SHOP).await, "acked");
}

fn ack_id(data: &serde_json::Value) -> String {
    data["ack_id"].as_str().unwrap().to_owned()
}

async fn settle(gate: &Gate, ack_id: &str, more: &str) -> String {
    let body = format!(r#"{{"entries":[{{"ack_id":"{ack_id}"{more}}}]}}"#);
    let answer = gate.post("/v1/ack", &body).await.expect(200);
    answer["results"][0]["status"].as_str().unwrap().to_owned()
}
